"""Table files: whole, self-describing and consistent, or an error that names the file and says what is wrong."""

from __future__ import annotations

import io
import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import fastsim
from fastsim.errors import LutError
from fastsim.luts import Grid, Lut, build_lut, read_lut, write_lut
from fastsim.luts.file import _pack, hash_of, hashes_of, unfold
from fastsim.species import by_name
from fastsim.toml import Document, validate

HINT = "make it again, with `fastsim lut build` or `lut import`"
EFFICIENCIES = ["every_hit_right", "no_wrong_pair"]


@pytest.fixture(scope="module")
def lut() -> Lut:
    """A mirrored table with two bins of occupancy and three of the production radius."""
    grid = Grid(n_pt=12, n_eta=8, n_dnch=2, r_edges=[0.0, 0.5, 1.2, 2.5])
    return build_lut(fastsim.load_detector("alice3_v2"), by_name("pi"), grid, command="a test")


@pytest.fixture
def path(tmp_path, lut):
    write_lut(lut, tmp_path / "pi.lut")
    return tmp_path / "pi.lut"


def rewrite(path, *, header=None, **parts):
    """The same zip with another header or other parts: bytes by name, None to leave one out."""
    with zipfile.ZipFile(path) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    if header:
        found["header.json"] = header(json.loads(found["header.json"]))
    found |= {f"{name}.npy": content for name, content in parts.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in found.items():
            if content is not None:
                archive.writestr(name, content)


def error_of(path, *arguments) -> str:
    with pytest.raises(LutError) as caught:
        read_lut(path, *arguments)
    assert caught.value.where == str(path)
    assert caught.value.hint == HINT
    assert caught.value.exit_code == 3
    return caught.value.what


def same(one: Lut, other: Lut) -> bool:
    """To the bit: headers (but for the hashes, which the writer takes), types and numbers."""
    one_header, other_header = (x.header.model_copy(update={"hashes": {}, "sha256": ""}) for x in (one, other))
    arrays = [(one.covariance, other.covariance)]
    arrays += [(values, other.efficiencies[name]) for name, values in one.efficiencies.items()]
    alike = all(a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True) for a, b in arrays)
    return alike and one_header == other_header and list(one.efficiencies) == list(other.efficiencies)


def test_round_trip(path, lut):
    again = read_lut(path)
    assert same(again, lut)
    assert again.covariance.shape == (3, 4, 12, 15)
    assert again.efficiencies["no_wrong_pair"].shape == (2, 3, 4, 12)
    assert again.covariance.flags.c_contiguous
    assert not again.is_valid.all()
    assert again.header.sha256 == hash_of(hashes_of(lut.covariance, lut.efficiencies))
    assert again.header.command == "a test"


def test_round_trip_in_double_precision(tmp_path, lut):
    """Imported tables are kept as they are."""
    doubles = replace(lut, covariance=lut.covariance.astype(np.float64) * (1.0 + 1e-12))
    write_lut(doubles, tmp_path / "double.lut")
    assert same(read_lut(tmp_path / "double.lut"), doubles)


def test_any_numbers_survive_the_packing(tmp_path, lut):
    """Random bits: whatever is no NaN comes back to the bit."""
    generator = np.random.default_rng(1)
    covariance = generator.normal(size=lut.covariance.shape).astype(np.float32)
    covariance[0, 0, 0, :3] = -0.0, np.finfo(np.float32).max, np.finfo(np.float32).tiny
    efficiencies = {name: generator.random((2, 3, 4, 12)).astype(np.float32) for name in EFFICIENCIES}
    random = replace(lut, covariance=covariance, efficiencies=efficiencies)
    write_lut(random, tmp_path / "random.lut")
    again = read_lut(tmp_path / "random.lut")
    assert same(again, random)
    assert np.signbit(again.covariance[0, 0, 0, 0])


def test_the_file_needs_nothing_but_zip_json_and_npy(path, lut):
    """Byte planes, most significant last, of the differences of neighbouring cells' bits along pt; quantities first."""
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("header.json"))
        parts = {name: np.load(io.BytesIO(archive.read(f"{name}.npy"))) for name in ("covariance", *EFFICIENCIES)}
    assert (header["species"], header["pdg"], header["b_z"], header["charge"]) == ("pi", 211, 2.0, 1)
    assert header["efficiencies"] == EFFICIENCIES
    assert len(header["quantities"]) == 15
    decoded = {}
    for name, planes in parts.items():
        bits = sum(planes[k].astype(np.uint64) << (8 * k) for k in range(4))
        decoded[name] = (np.cumsum(bits, axis=-1) & 0xFFFFFFFF).astype(np.uint32).view(np.float32)
    np.testing.assert_array_equal(np.moveaxis(decoded["covariance"], 0, -1), lut.covariance)
    for name in EFFICIENCIES:
        np.testing.assert_array_equal(decoded[name], lut.efficiencies[name])


# --- axes -----------------------------------------------------------------------------------------------------------


def test_edges_and_centres():
    grid = Grid(n_pt=2, n_eta=4, pt_min=0.1, pt_max=10.0, eta_max=2.0, n_dnch=2, dnch_min=1.0, dnch_max=100.0)
    assert grid.pt_edges == pytest.approx([0.1, 1.0, 10.0])
    assert grid.pt_centers == pytest.approx([10**-0.5, 10**0.5])
    assert grid.eta_edges == pytest.approx([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert grid.eta_centers == pytest.approx([-1.5, -0.5, 0.5, 1.5])
    assert grid.dnch_centers == pytest.approx([10**0.5, 10**1.5])
    assert Grid(r_edges=[0.0, 1.0, 5.0]).n_r == 2


def test_resolution_and_efficiency_are_of_the_bin_that_holds_eta(lut):
    """Bins of width 1 from 0 to 4, for both sides."""
    for eta, row in ((-4.0, 3), (-3.0, 3), (-2.999, 2), (-0.1, 0), (0.0, 0), (0.999, 0), (1.0, 1), (3.99, 3), (4.0, 3)):
        np.testing.assert_array_equal(lut.efficiency(eta), lut.efficiencies["every_hit_right"][0, 0, row])
        expected = np.exp(lut.covariance[0, row, :, 4].astype(float))
        np.testing.assert_allclose(lut.sigma("q_over_pt", eta), expected, rtol=1e-15)


def test_resolution_and_efficiency_of_a_radius_and_an_occupancy(lut):
    for r, h in ((0.0, 0), (0.499, 0), (0.5, 1), (1.2, 2), (2.499, 2)):
        expected = np.exp(lut.covariance[h, 1, :, 0].astype(float))
        np.testing.assert_allclose(lut.sigma("dca_xy", 1.5, r), expected, rtol=1e-15)
    for dnch, d in ((0.0, 0), (17.0, 0), (562.0, 1), (1e9, 1)):  # centres 17.8 and 562
        found = lut.efficiency(1.5, 0.7, dnch, "no_wrong_pair")
        np.testing.assert_array_equal(found, lut.efficiencies["no_wrong_pair"][d, 1, 1])


@pytest.mark.parametrize("eta", [-4.01, 9.0, float("nan")])
def test_beyond_the_table_there_is_no_resolution(lut, eta):
    with pytest.raises(LutError) as caught:
        lut.sigma("q_over_pt", eta)
    assert str(caught.value) == f"alice3_v2, pi: eta = {eta:g} is beyond the table's |eta| < 4"


@pytest.mark.parametrize("r", [-0.1, 2.5, float("nan")])
def test_beyond_the_last_radius_there_is_no_resolution(lut, r):
    with pytest.raises(LutError) as caught:
        lut.efficiency(0.0, r)
    assert str(caught.value) == f"alice3_v2, pi: r = {r:g} cm is not in the table's 0 to 2.5 cm"


def test_both_sides_of_a_mirrored_table(lut):
    """The other side has the signs of dca_z and tan_lambda turned round."""
    covariance, efficiencies = unfold(lut)
    assert covariance.shape == (3, 8, 12, 15)
    sign = np.array([1, -1, 1, -1, 1])
    signs = np.outer(sign, sign)[np.tril_indices(5, -1)]
    np.testing.assert_array_equal(covariance[:, 4:], lut.covariance)
    np.testing.assert_array_equal(covariance[:, 3::-1, :, :5], lut.covariance[..., :5])
    np.testing.assert_array_equal(covariance[:, 3::-1, :, 5:], lut.covariance[..., 5:] * signs)
    for name in EFFICIENCIES:
        np.testing.assert_array_equal(efficiencies[name][:, :, 4:], lut.efficiencies[name])
        np.testing.assert_array_equal(efficiencies[name][:, :, 3::-1], lut.efficiencies[name])
    both = replace(lut, header=lut.header.model_copy(update={"mirrored": False}))
    assert unfold(both)[0] is both.covariance


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ({"pt_min": 1.0, "pt_max": 1.0}, "pt_max: must be above pt_min = 1.0 (got 1.0)"),
        ({"pt_min": 200.0}, "pt_max: must be above pt_min = 200.0 (got 100.0)"),
        ({"pt_max": 0.001}, "pt_max: must be above pt_min = 0.01 (got 0.001)"),
        ({"dnch_min": 1e4}, "dnch_max: must be above dnch_min = 10000.0 (got 3162.2776601683795)"),
        ({"r_edges": [0.5, 1.0]}, "r_edges[0]: must be 0: primaries are born there (got 0.5)"),
        ({"r_edges": [0.0, 1.0, 1.0]}, "r_edges[2]: must be above 1.0 (got 1.0)"),
    ],
)
def test_grid_whose_edges_do_not_increase(data, what):
    with pytest.raises(fastsim.FastsimError) as caught:
        validate(Grid, Document(data))
    assert caught.value.what == what


# --- files that are none --------------------------------------------------------------------------------------------


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
            assert same(found, lut)


@pytest.mark.parametrize("name", ["covariance", *EFFICIENCIES])
def test_missing_part(path, name):
    rewrite(path, **{name: None})
    assert error_of(path).startswith(f"not a whole table (\"There is no item named '{name}.npy' in the archive\"")


def test_header_that_is_not_json(path):
    rewrite(path, header=lambda _: "{")
    assert error_of(path).startswith("not a whole table (Expecting property name")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"format": "fastsim-lut/1"}, "not a table that this version reads: format: Input should be 'fastsim-lut/2'"),
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


def packed(shape, dtype=np.float32, fill=0.0, *, is_covariance=False):
    return _pack(np.full(shape, fill, dtype=dtype), is_covariance=is_covariance)


def npy(values):
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=values.dtype == object)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            packed((3, 4, 11, 15), is_covariance=True),
            "covariance is float32(3, 4, 11, 15), the header says float32(3, 4, 12, 15)",
        ),
        (
            packed((3, 8, 12, 15), is_covariance=True),
            "covariance is float32(3, 8, 12, 15), the header says float32(3, 4, 12, 15)",
        ),
        (
            npy(np.zeros((3, 4, 12, 15), np.float32)),
            "not a whole table (covariance is float32(3, 4, 12, 15), not packed bytes)",
        ),
        (npy(np.zeros(7, np.uint8)), "not a whole table (covariance is uint8(7,), not packed bytes)"),
        (npy(np.array([{}], object)), "not a whole table (Object arrays cannot be loaded when allow_pickle=False)"),
    ],
)
def test_covariance_of_another_shape_or_type(path, content, what):
    rewrite(path, covariance=content)
    assert error_of(path) == what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (packed((1, 3, 4, 12)), "no_wrong_pair is float32(1, 3, 4, 12), the header says float32(2, 3, 4, 12)"),
        (
            packed((2, 3, 4, 12), np.float64),
            "no_wrong_pair is float64(2, 3, 4, 12), the header says float32(2, 3, 4, 12)",
        ),
        (packed((2, 3, 4, 12), fill=1.5), "no_wrong_pair holds efficiencies outside [0, 1]"),
        (packed((2, 3, 4, 12), fill=-0.5), "no_wrong_pair holds efficiencies outside [0, 1]"),
        (packed((2, 3, 4, 12), fill=np.nan), "no_wrong_pair holds efficiencies outside [0, 1]"),
    ],
)
def test_efficiency_of_another_shape_or_not_a_probability(path, content, what):
    rewrite(path, no_wrong_pair=content)
    assert error_of(path) == what
    assert read_lut(path, ["every_hit_right"]).header.species == "pi"  # the other one is whole


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("quantity", [1, 7, 14])
def test_cells_that_are_not_numbers(path, lut, value, quantity):
    covariance = lut.covariance.copy()
    assert lut.is_valid[0, 1, 9]
    covariance[0, 1, 9, quantity] = value
    rewrite(path, covariance=_pack(covariance, is_covariance=True))
    assert error_of(path) == "holds cells that are not numbers"


def test_a_table_without_any_track(path, lut):
    rewrite(path, covariance=_pack(np.full_like(lut.covariance, np.nan), is_covariance=True))
    assert error_of(path) == "holds no track at all"


def test_cells_without_a_track_may_be_nan(path, lut):
    covariance = lut.covariance.copy()
    covariance[0, 0] = np.nan
    write_lut(replace(lut, covariance=covariance), path)
    assert not read_lut(path).is_valid[0, 0].any()


def test_numbers_that_are_not_those_of_the_hashes(path, lut):
    """Scaled by hand, header untouched: refused, also where only another part is loaded."""
    rewrite(path, covariance=_pack(lut.covariance + np.float32(0.5), is_covariance=True))
    assert error_of(path, []).startswith("the numbers are not those that the header's hashes were taken of")


def test_header_of_another_species(path):
    """Numbers of pions under the name of kaons."""
    rewrite(path, header=lambda found: json.dumps(found | {"species": "ka"}))
    assert error_of(path) == "says species 'ka' with PDG code 211 and charge 1"


# --- parts ----------------------------------------------------------------------------------------------------------


def test_only_the_wanted_efficiencies_are_loaded(path, lut):
    found = read_lut(path, ["no_wrong_pair"])
    assert list(found.efficiencies) == ["no_wrong_pair"]
    np.testing.assert_array_equal(found.efficiencies["no_wrong_pair"], lut.efficiencies["no_wrong_pair"])
    assert read_lut(path, []).efficiencies == {}
    assert found.header.efficiencies == EFFICIENCIES


def test_an_efficiency_that_is_not_there(path):
    rewrite(path, header=lambda header: json.dumps(header | {"efficiencies": ["every_hit_right"]}), no_wrong_pair=None)
    assert list(read_lut(path).efficiencies) == ["every_hit_right"]
    assert error_of(path, ["every_hit_right", "no_wrong_pair"]) == "has no efficiency no_wrong_pair"


# --- writing --------------------------------------------------------------------------------------------------------


def test_writers_at_once_leave_one_whole_file(tmp_path, lut):
    path = tmp_path / "new" / "folder" / "pi.lut"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: write_lut(lut, path), range(40)))
    assert [p.name for p in path.parent.iterdir()] == ["pi.lut"]
    assert same(read_lut(path), lut)
    assert os.stat(path).st_mode & 0o777 == 0o644  # noqa: PTH116


def test_writing_that_fails_leaves_nothing(tmp_path, lut, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastsim.luts.file.os.fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_lut(lut, tmp_path / "pi.lut")
    assert list(tmp_path.iterdir()) == []


def test_writing_that_fails_leaves_the_old_one(path, lut, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastsim.luts.file.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_lut(replace(lut, covariance=np.zeros_like(lut.covariance)), path)
    assert same(read_lut(path), lut)
