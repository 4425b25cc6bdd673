"""Table files: whole, self-describing and consistent, or an error that names the file and says what is wrong."""

from __future__ import annotations

import io
import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastsim
from fastsim.errors import LutError
from fastsim.luts import Grid, Lut, build_lut, read_lut, write_lut
from fastsim.species import by_name
from fastsim.toml import Document, validate

HINT = "rebuild it with `fastsim lut build`"


@pytest.fixture(scope="module")
def lut() -> Lut:
    return build_lut(fastsim.load_detector("alice3_v2"), by_name("pi"), Grid(n_pt=12, n_eta=8), command="a test")


@pytest.fixture
def path(tmp_path, lut):
    write_lut(lut, tmp_path / "pi.lut")
    return tmp_path / "pi.lut"


def rewrite(path, *, header=None, values=None, **names):
    """The same zip with another header or other values."""
    with zipfile.ZipFile(path) as archive:
        old_header, old_values = archive.read("header.json"), archive.read("values.npy")
    buffer = io.BytesIO()
    if values is not None:
        np.save(buffer, values, allow_pickle=values.dtype == object)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            names.get("header_name", "header.json"), header(json.loads(old_header)) if header else old_header
        )
        archive.writestr(
            names.get("values_name", "values.npy"), buffer.getvalue() if values is not None else old_values
        )


def error_of(path) -> str:
    with pytest.raises(LutError) as caught:
        read_lut(path)
    assert caught.value.where == str(path)
    assert caught.value.hint == HINT
    assert caught.value.exit_code == 3
    return caught.value.what


def test_round_trip(path, lut):
    again = read_lut(path)
    assert again.header == lut.header
    np.testing.assert_array_equal(again.values, lut.values)
    assert again.sha256 == lut.sha256
    assert again.header.command == "a test"


def test_the_file_needs_nothing_but_zip_json_and_npy(path, lut):
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("header.json"))
        values = np.load(io.BytesIO(archive.read("values.npy")))
    assert (header["species"], header["pdg"], header["b_z"], header["charge"]) == ("pi", 211, 2.0, 1)
    assert values.shape == (8, 12, len(header["quantities"])) == (8, 12, 16)


def test_edges_and_centres():
    grid = Grid(n_pt=2, n_eta=4, pt_min=0.1, pt_max=10.0, eta_max=2.0)
    assert grid.pt_edges == pytest.approx([0.1, 1.0, 10.0])
    assert grid.pt_centers == pytest.approx([10**-0.5, 10**0.5])
    assert grid.eta_edges == pytest.approx([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert grid.eta_centers == pytest.approx([-1.5, -0.5, 0.5, 1.5])


def test_resolution_and_efficiency_are_of_the_bin_that_holds_eta(lut):
    for eta, row in (
        (-4.0, 0),
        (-3.5, 0),
        (-3.0, 1),
        (0.0, 4),
        (3.99, 7),
        (4.0, 7),
    ):  # bins of width 1 from -4
        np.testing.assert_array_equal(lut.efficiency(eta), lut.values[row, :, 0])
        np.testing.assert_allclose(lut.sigma("q_over_pt", eta), np.exp(lut.values[row, :, 5].astype(float)), rtol=1e-15)


@pytest.mark.parametrize("eta", [-4.01, 9.0, float("nan")])
def test_beyond_the_table_there_is_no_resolution(lut, eta):
    with pytest.raises(LutError) as caught:
        lut.sigma("q_over_pt", eta)
    assert str(caught.value) == f"alice3_v2, pi: eta = {eta:g} is beyond the table's |eta| < 4"


@pytest.mark.parametrize("data", [{"pt_min": 1.0, "pt_max": 1.0}, {"pt_min": 200.0}, {"pt_max": 0.001}])
def test_grid_whose_edges_do_not_increase(data):
    with pytest.raises(fastsim.FastsimError, match=r"pt_max: must be above pt_min = \S+ \(got \S+\)"):
        validate(Grid, Document(data))


def test_missing_file(tmp_path):
    assert error_of(tmp_path / "no.lut") == "no such table"


def test_not_a_table(tmp_path):
    (tmp_path / "text.lut").write_text("efficiency = 1\n")
    assert error_of(tmp_path / "text.lut") == "not a whole table (File is not a zip file)"
    (tmp_path / "empty.lut").touch()
    assert error_of(tmp_path / "empty.lut") == "not a whole table (File is not a zip file)"
    (tmp_path / "folder.lut").mkdir()
    assert "Is a directory" in error_of(tmp_path / "folder.lut")


def test_truncated_anywhere(path):
    whole = path.read_bytes()
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        assert error_of(path).startswith("not a whole table (")


def test_damaged_anywhere(path, lut):
    """A flipped byte is found by the zip's checksums, or touches nothing that is read."""
    whole = path.read_bytes()
    for at in range(0, len(whole), 41):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            found = read_lut(path)
        except LutError as error:
            assert error.where == str(path)  # noqa: PT017
        else:
            np.testing.assert_array_equal(found.values, lut.values)
            assert found.header == lut.header


def test_missing_part(path):
    rewrite(path, values_name="other.npy")
    assert error_of(path).startswith("not a whole table (\"There is no item named 'values.npy' in the archive\"")


def test_header_that_is_not_json(path):
    rewrite(path, header=lambda _: "{")
    assert error_of(path).startswith("not a whole table (Expecting property name")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"format": "fastsim-lut/9"}, "not a table that this version reads: format: Input should be 'fastsim-lut/1'"),
        ({"colour": "red"}, "not a table that this version reads: colour: Extra inputs are not permitted"),
        ({"mass": "0.1"}, "not a table that this version reads: mass: Input should be a valid number"),
        ({"pdg": None}, "not a table that this version reads: pdg: Input should be a valid integer"),
    ],
)
def test_header_of_another_kind(path, change, what):
    rewrite(path, header=lambda header: json.dumps(header | change))
    assert error_of(path) == what


def test_header_without_a_key(path):
    rewrite(path, header=lambda header: json.dumps({k: v for k, v in header.items() if k not in ("b_z", "key")}))
    assert error_of(path) == "not a table that this version reads: b_z: Field required; key: Field required"


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.zeros((8, 11, 16), np.float32), "values are float32(8, 11, 16), the header says float32(8, 12, 16)"),
        (np.zeros((8, 12, 16), np.float64), "values are float64(8, 12, 16), the header says float32(8, 12, 16)"),
        (np.zeros(3, np.float32), "values are float32(3,), the header says float32(8, 12, 16)"),
        (np.array([{}], object), "not a whole table (Object arrays cannot be loaded when allow_pickle=False)"),
    ],
)
def test_values_of_another_shape_or_type(path, values, what):
    rewrite(path, values=values)
    assert error_of(path) == what


@pytest.mark.parametrize(
    ("where", "value"), [(..., np.nan), ((0, 0, 0), 1.5), ((0, 0, 0), -0.5), ((4, 9, 3), np.nan), ((4, 9, 3), np.inf)]
)
def test_values_that_are_not_numbers_or_not_probabilities(path, lut, where, value):
    values = lut.values.copy()
    assert values[4, 9, 0] > 0
    values[where] = value
    rewrite(path, values=values)
    assert error_of(path) == "holds efficiencies outside [0, 1] or cells that are not numbers"


def test_cells_without_a_track_may_be_nan(path, lut):
    values = lut.values.copy()
    values[0, 0] = np.nan
    values[0, 0, 0] = 0.0
    rewrite(path, values=values)
    assert np.isnan(read_lut(path).values[0, 0, 1:]).all()


def test_writers_at_once_leave_one_whole_file(tmp_path, lut):
    path = tmp_path / "new" / "folder" / "pi.lut"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: write_lut(lut, path), range(40)))
    assert [p.name for p in path.parent.iterdir()] == ["pi.lut"]
    np.testing.assert_array_equal(read_lut(path).values, lut.values)
    assert os.stat(path).st_mode & 0o777 == 0o644  # noqa: PTH116


def test_writing_that_fails_leaves_nothing(tmp_path, lut, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastsim.luts.file.os.fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_lut(lut, tmp_path / "pi.lut")
    assert list(tmp_path.iterdir()) == []
