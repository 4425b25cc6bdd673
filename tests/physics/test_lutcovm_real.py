"""The four public lutCovm files of 2020 (DelphesO2, FAT): imported, exported, and still the same; and run as they are."""

from __future__ import annotations

import math
import pathlib
import struct

import numpy as np
import pytest

import fastsim
from fastsim.kernels.lookup import lookup_1
from fastsim.luts import get_luts
from fastsim.luts.lutcovm import _eigen, export_lutcovm, import_lutcovm
from fastsim.luts.ready import write_ready
from fastsim.species import NAMES, by_name
from tests.physics.test_lut_real_tables import ENTRY, FOLDER, HEADER

# file: species, field [T], bins in nch, r, eta, pt, valid entries, of these not positive definite (their own eigenvalues)
FILES = {
    "el.5kG": ("el", 0.5, (1, 1, 1, 100), 76, 0),
    "ka.2kG.20cm": ("ka", 0.2, (1, 1, 40, 200), 7964, 1234),
    "pi.5kG.100cm": ("pi", 0.5, (1, 1, 40, 200), 6200, 0),
    "pi.5kG.fwd": ("pi", 0.2, (1, 1, 80, 100), 7008, 2),  # 0.2 T in the header, 5 kG in the name
}


def path_of(name) -> pathlib.Path:
    path = FOLDER / f"lutCovm.{name}.dat"
    if not path.exists():
        pytest.skip(f"{path.resolve()} is not here: DelphesO2's tables are not part of the project")
    return path


@pytest.fixture(params=FILES)
def name(request):
    return request.param


def test_import(name):
    species, b_z, shape, n_valid, n_bad = FILES[name]
    lut, notes = import_lutcovm(path_of(name))
    header, grid = lut.header, lut.header.grid
    assert (header.species, header.b_z) == (species, b_z)
    assert (grid.n_dnch, grid.n_r, grid.n_eta, grid.n_pt) == shape
    assert header.efficiencies == ["every_hit_right"]
    assert int(lut.is_valid.sum()) == n_valid
    assert [note.split(" matrices")[0] for note in notes if "positive" in note] == [f"{n_bad} of {n_valid}"] * bool(
        n_bad
    )


def test_export_holds_the_same_numbers(name, tmp_path):
    """The covariances to the bit; centres and flags too; eigenvalues to single precision of the largest."""
    raw = path_of(name).read_bytes()
    old = np.frombuffer(raw, ENTRY, offset=HEADER.itemsize)
    valid = old["valid"]
    lut, _ = import_lutcovm(path_of(name))
    out = tmp_path / "out.dat"
    export_lutcovm(lut, out)
    new = out.read_bytes()
    assert len(new) == 80 + 312 * len(old)
    assert new[:4] == struct.pack("<i", 20210801)
    assert new[4:16] == raw[:12]  # PDG code, mass and field
    for k in range(4):
        assert new[16 + 16 * k :][:13] == raw[12 + 16 * k :][:13]
    entries = np.frombuffer(new, np.uint8, offset=80).reshape(-1, 312)
    column = lambda first, last: np.ascontiguousarray(entries[:, first:last]).view("<f4")
    np.testing.assert_array_equal(entries[:, 12], valid)
    for offset, axis in ((4, "eta"), (8, "pt")):
        np.testing.assert_array_equal(column(offset, offset + 4)[:, 0], old[axis])
    assert column(32, 92)[valid].tobytes() == old["covm"][valid].tobytes()
    largest = old["eigval"][valid][:, :1]
    assert (np.abs(column(92, 112)[valid] - old["eigval"][valid]) <= 2e-7 * largest).all()
    again, _ = import_lutcovm(out)
    np.testing.assert_array_equal(again.covariance, lut.covariance)
    assert again.header.grid == lut.header.grid


def test_eigenvectors_are_theirs_up_to_the_sign():
    """Columns, largest eigenvalue first; compared where no two eigenvalues are close."""
    path = path_of("pi.5kG.100cm")
    old = np.frombuffer(path.read_bytes(), ENTRY, offset=HEADER.itemsize)
    lut, _ = import_lutcovm(path)
    valid = old["valid"]
    assert int(valid.sum()) == int(lut.is_valid.sum())
    _, vectors = _eigen(old["covm"][valid])
    distinct = (old["eigval"][valid][:, :-1] / old["eigval"][valid][:, 1:] > 1.5).all(axis=1)
    assert distinct.sum() > 1000
    overlap = np.abs(np.einsum("nik,nik->nk", vectors[distinct], old["eigvec"][valid][distinct]))
    assert overlap == pytest.approx(1.0, abs=2e-6)


def test_they_can_be_run(name, tmp_path):
    """Through the detector file, as a card does; the nearest bin's covariance is that of the file to single precision."""
    species = FILES[name][0]
    lut, notes = import_lutcovm(path_of(name), detector="d2")
    *_, detector_file = write_ready(tmp_path, "d2", [lut], source="DelphesO2, 2020", notes=notes)
    found = get_luts(fastsim.load_detector(detector_file), species=[by_name(species)])
    table = found.table(nearest=True)
    old = np.frombuffer(path_of(name).read_bytes(), ENTRY, offset=HEADER.itemsize)
    cell = np.empty(16)
    for entry in old[:: len(old) // 97]:
        is_track = lookup_1(table, NAMES.index(species), 0.0, float(entry["eta"]), math.log(entry["pt"]), 0.0, cell)
        assert is_track == entry["valid"]
        if is_track:
            assert cell[0] == 1.0
            assert np.exp(2 * cell[1:6]) == pytest.approx(entry["covm"][[0, 2, 5, 9, 14]], rel=3e-6)


def test_eta_beyond_the_only_bin_of_the_electrons_is_ten():
    lut, notes = import_lutcovm(path_of("el.5kG"))
    assert lut.header.grid.eta_max == 10.0
    assert any("its only eta bin" in note for note in notes)
