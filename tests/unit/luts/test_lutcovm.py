"""DelphesO2's binary tables: every version is read, what is wrong is refused by name, and the export is theirs to the byte."""

from __future__ import annotations

import math
import os
import struct

import numpy as np
import pytest

import fastsim
from fastsim.errors import LutError, UsageError
from fastsim.luts import Grid, build_lut, get_luts, read_lut, write_lut
from fastsim.luts import lutcovm as module
from fastsim.luts.check import check_lut, is_positive_definite
from fastsim.luts.lutcovm import export_lutcovm, import_lutcovm
from fastsim.luts.ready import write_ready
from fastsim.species import SPECIES, by_name
from tests.lutcovm_files import AXES, VERSIONS, Axis, efficiency, pack_file, random_covm

SHAPE = (3, 1, 4, 5)
PAIRS = [(i, j) for i in range(5) for j in range(i)]
DIAGONAL = [0, 2, 5, 9, 14]  # YY ZZ SnpSnp TglTgl 1Pt1Pt
# Offsets in an entry of version 20210801, typed from reference/delpheso2.md 1.3.
OFFSETS = {"nch": 0, "eta": 4, "pt": 8, "eff": 16, "eff2": 20, "itof": 24, "otof": 28}
COVM, EIGVAL, EIGVEC, EIGINV, HEADER, ENTRY = 32, 92, 112, 212, 80, 312


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lutCovm.pi.dat"


def imported(path, raw):
    path.write_bytes(raw)
    return import_lutcovm(path)


def error_of(path, raw) -> LutError:
    path.write_bytes(raw)
    with pytest.raises(LutError) as caught:
        import_lutcovm(path)
    assert caught.value.where == str(path)
    assert caught.value.exit_code == 3
    return caught.value


def matrices(packed):
    """Full matrices (..., 5, 5) of packed ones (..., 15)."""
    packed = np.asarray(packed)
    full = np.zeros((*packed.shape[:-1], 5, 5))
    rows, columns = np.tril_indices(5)
    full[..., rows, columns] = full[..., columns, rows] = packed
    return full


def floats(raw, index, offset, n=1):
    """Floats of an entry of an exported file."""
    found = struct.unpack_from(f"<{n}f", raw, HEADER + ENTRY * index + offset)
    return found[0] if n == 1 else np.array(found)


# --- import ---


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_read(path, version):
    covm = random_covm()
    lut, notes = imported(path, pack_file(version, covm=covm))
    sigma = np.sqrt(np.einsum("...ii->...i", matrices(covm)))
    assert np.exp(lut.covariance[..., :5]) == pytest.approx(sigma, rel=1e-14)
    rho = matrices(covm) / sigma[..., :, None] / sigma[..., None, :]
    for k, (i, j) in enumerate(PAIRS):
        assert lut.covariance[..., 5 + k] == pytest.approx(rho[..., i, j], rel=1e-14)
    names = {"eff": "every_hit_right", "eff2": "no_wrong_pair", "itof": "itof", "otof": "otof"}
    there = VERSIONS[version][2]
    assert lut.header.efficiencies == ["every_hit_right", *(names[name] for name in there if name != "eff")]
    for name in there:
        np.testing.assert_array_equal(lut.efficiencies[names[name]], efficiency(name, SHAPE))
    if "eff" not in there:
        np.testing.assert_array_equal(lut.efficiencies["every_hit_right"], np.ones(SHAPE))
    assert notes == []
    check_lut(lut)


def test_header_and_axes(path):
    lut, _ = imported(path, pack_file(field=0.2, mass=0.1396))
    header, grid = lut.header, lut.header.grid
    assert (header.species, header.pdg, header.charge, header.b_z, header.mass) == ("pi", 211, 1, 0.2, 0.1396)
    assert not header.mirrored
    assert (grid.n_dnch, grid.n_r, grid.n_eta, grid.n_pt) == SHAPE
    assert grid.pt_edges[[0, -1]] == pytest.approx([0.1, 10.0])
    assert grid.eta_edges == pytest.approx([-2, -1, 0, 1, 2])
    assert (grid.dnch_min, grid.dnch_max) == pytest.approx((10**0.5, 10**3.5))
    assert grid.r_edges == [0.0, 100.0]
    assert header.origin["kind"] == "lutCovm"
    assert header.origin["version"] == 20210801
    assert header.origin["maps"]["nch"] == {"nbins": 3, "min": 0.5, "max": 3.5, "log": True}
    assert len(header.origin["sha256"]) == 64


@pytest.mark.parametrize("species", SPECIES, ids=lambda s: s.name)
def test_every_species(path, species):
    lut, _ = imported(path, pack_file(pdg=species.pdg, mass=species.mass))
    assert (lut.header.species, lut.header.charge) == (species.name, species.charge)


def test_entries_are_in_the_order_nch_radius_eta_pt(path):
    axes = AXES | {"rad": Axis(2, 0.0, 10.0, False)}
    covm = random_covm(3, (2, 4, 5))
    lut, _ = imported(path, pack_file(axes=axes, covm=covm))
    assert lut.header.grid.r_edges == [0.0, 5.0, 10.0]
    assert np.exp(2 * lut.covariance[1, 3, 2, 4]) == pytest.approx(covm[1, 3, 2, 14], rel=1e-6)
    assert lut.efficiencies["itof"][2, 1, 0, 3] == efficiency("itof", (3, 2, 4, 5))[2, 1, 0, 3]


def test_what_is_not_valid_is_no_track_whatever_it_holds(path):
    valid = np.ones(SHAPE[1:], dtype=bool)
    valid[0, 1, 2] = valid[0, 3, 0] = False
    covm = random_covm()
    covm[0, 1, 2] = np.nan
    covm[0, 3, 0] = -1.0
    lut, notes = imported(path, pack_file(covm=covm, valid=valid))
    np.testing.assert_array_equal(lut.is_valid, valid)
    assert np.isnan(lut.covariance[~valid]).all()
    for values in lut.efficiencies.values():
        assert (values[:, ~valid] == 0).all()
        assert (values[:, valid] > 0).all()
    assert notes == []


def test_bins_that_are_valid_at_some_nch_only(path, tmp_path):
    """O2Physics' table maker draws random numbers, so that bins fail at high multiplicity."""
    valid = np.ones(SHAPE, dtype=bool)
    valid[2, 0, 1, 1] = valid[0, 0, 2, 3] = valid[1, 0, 2, 3] = False
    valid[:, 0, 0, 0] = False
    covm = np.broadcast_to(random_covm(), (*SHAPE, 15)).copy()
    covm[0, 0, 2, 3] = 0.0  # not valid here, so nobody looks
    lut, notes = imported(path, pack_file(covm=covm, valid=valid))
    assert notes == ["some entries are valid in a part of the nch bins only; where they are not the efficiency is 0"]
    np.testing.assert_array_equal(lut.is_valid, valid.any(axis=0))
    assert ((lut.efficiencies["every_hit_right"] > 0) == valid).all()
    export_lutcovm(lut, tmp_path / "out.dat")
    raw = (tmp_path / "out.dat").read_bytes()
    for index, expected in enumerate(valid.ravel()):
        assert raw[HEADER + ENTRY * index + 12] == expected


def test_one_bin_of_eta_that_never_ends(path):
    """As in the public lutCovm.el.5kG.dat of 2020."""
    axes = AXES | {"eta": Axis(1, -1e6, 1e6, False)}
    lut, notes = imported(path, pack_file("2020-04", axes=axes))
    assert (lut.header.grid.n_eta, lut.header.grid.eta_max) == (1, 10.0)
    assert notes == ["its only eta bin reaches from -1e+06 to 1e+06; here to |eta| = 10"]
    export_lutcovm(lut, path)
    assert struct.unpack_from("<iff?", path.read_bytes(), 48) == (1, -1e6, 1e6, False)
    assert floats(path.read_bytes(), 0, OFFSETS["eta"]) == 0.0


def test_one_linear_bin_of_nch(path):
    axes = AXES | {"nch": Axis(1, 0.0, 4.0, False)}
    lut, _ = imported(path, pack_file(axes=axes))
    assert lut.header.grid.n_dnch == 1
    export_lutcovm(lut, path)
    assert struct.unpack_from("<iff?", path.read_bytes(), 16) == (1, 0.0, 4.0, False)


def test_matrices_that_are_not_positive_definite_are_kept_and_told(path):
    """FAT sets cov(y, z) to 0 and combines variances, so |rho| > 1 occurs in real files."""
    covm = random_covm()
    covm[0, 1, 3, 1] = 1.05 * math.sqrt(covm[0, 1, 3, 0] * covm[0, 1, 3, 2])
    lut, notes = imported(path, pack_file(covm=covm))
    assert notes == ["1 of 20 matrices are not positive definite and kept as they are: no tracks are made from them"]
    assert lut.covariance[0, 1, 3, 5] == pytest.approx(1.05)
    with pytest.raises(
        LutError, match=r"1 of 20 matrices are not positive definite \(the first at eta = -0.5, pt = 2.51 GeV"
    ):
        check_lut(lut)
    export_lutcovm(lut, path)
    raw = path.read_bytes()
    assert floats(raw, 1 * 5 + 3, COVM, 15) == pytest.approx(covm[0, 1, 3], rel=0)
    assert floats(raw, 1 * 5 + 3, EIGVAL, 5).min() < 0


def test_eff2_below_zero_is_told(path):
    """1 less a sum of probabilities of neighbouring layers, which may exceed 1."""
    eff2 = efficiency("eff2", SHAPE)
    eff2[2, 0, 1, 1] = -0.25
    lut, notes = imported(path, pack_file(eff2=eff2))
    assert notes == ["1 values of eff2 are negative, down to -0.25; they are 0 here"]
    assert lut.efficiencies["no_wrong_pair"][2, 0, 1, 1] == 0.0


# --- refusals ---


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(LutError) as caught:
        import_lutcovm(tmp_path / "no.dat")
    assert str(caught.value) == f"{tmp_path / 'no.dat'}: cannot be read (No such file or directory)"


@pytest.mark.parametrize("version", VERSIONS)
def test_truncated_and_too_long(path, version):
    raw = pack_file(version)
    size = VERSIONS[version][3]
    text = f"version {VERSIONS[version][0] or 'none'}, entries of {size} bytes"
    for wrong in (raw[:-1], raw[: len(raw) // 2], raw + b"\0"):
        what = error_of(path, wrong).what
        assert f"{len(wrong)} bytes found" in what
        assert f"{len(raw)} ({text})" in what
        assert what.endswith("for 3 x 1 x 4 x 5 bins in nch, radius, eta, pt")
    assert error_of(path, raw[:-1000]).what.startswith("truncated: ")
    assert error_of(path, raw + bytes(1000)).what.startswith("too long: ")


def test_of_two_sizes_without_a_version_both_are_told(path):
    what = error_of(path, pack_file("2020-04")[:-4]).what
    assert "17596 (version none, entries of 292 bytes), or 17836 (version none, entries of 296 bytes) expected" in what
    what = error_of(path, pack_file("2020-04") + bytes(4)).what
    assert what.startswith("odd size: 17600 bytes found")


def test_shorter_than_a_header(path):
    assert error_of(path, b"abc").what == "3 bytes are fewer than a lutCovm header has (80)"


@pytest.mark.parametrize("version", ["2020-09", "20210801"])
def test_byte_swapped(path, version):
    error = error_of(path, pack_file(version, order=">"))
    assert str(error) == f"{path}: byte-swapped: written on a big-endian machine\nhint: lutCovm files are little endian"


@pytest.mark.parametrize("word", [20300101, 3122, 0, -5])
def test_unknown_version(path, word):
    what = error_of(path, pack_file(word=word)).what
    assert what.startswith(
        f"the first word, {word}, is neither a known version (20210611, 20210731, 20210801) nor, as in "
    )
    assert what.endswith(
        "PDG code of a tracked species (11, 13, 211, 321, 2212, 1000010020, 1000010030, 1000020030, 1000020040)"
    )


def test_a_species_that_is_not_tracked(path):
    error = error_of(path, pack_file(pdg=3122))
    assert error.what == "the table is of PDG code 3122, which is not tracked"
    assert error.hint.startswith("allowed: 11 (el), 13 (mu), 211 (pi), ")


@pytest.mark.parametrize("mass", [0.13957 * 1.002, 0.0, math.nan])
def test_another_mass(path, mass):
    assert error_of(path, pack_file(mass=mass)).what == (
        f"the header's mass is {np.float32(mass):g} GeV, that of pi (211) is 0.13957"
    )


@pytest.mark.parametrize("field", [0.0, math.nan, 25.0])
def test_a_field_that_is_none(path, field):
    assert error_of(path, pack_file(field=field)).what == f"the header's field is {field:g} T"


@pytest.mark.parametrize(
    ("name", "axis", "message"),
    [
        ("pt", Axis(5, 0.1, 10.0, False), "the pt axis must be logarithmic and have two bins or more"),
        ("pt", Axis(1, -1.0, 1.0, True), "the pt axis must be logarithmic and have two bins or more"),
        ("pt", Axis(5, 1.0, -1.0, True), "the pt axis goes from 1 to -1 (log10)"),
        ("pt", Axis(5, -1.0, 100.0, True), "the pt axis goes from -1 to 100 (log10)"),
        ("eta", Axis(4, -1.0, 2.0, False), "the eta axis must be linear and symmetric about 0 (from -1 to 2)"),
        ("eta", Axis(4, -2.0, 2.0, True), "the eta axis must be linear and symmetric about 0 (from 0.01 to 100)"),
        ("eta", Axis(4, -20.0, 20.0, False), "the eta axis reaches 20 (at most 10)"),
        ("eta", Axis(4, math.nan, 2.0, False), "the eta axis goes from nan to 2"),
        ("nch", Axis(3, 1.0, 100.0, False), "the nch axis must be logarithmic, or a single bin"),
        ("nch", Axis(0, 0.5, 3.5, True), "the nch axis has 0 bins: not a lutCovm table"),
        ("nch", Axis(1001, 0.5, 3.5, True), "the nch axis has 1001 bins (at most 1000)"),
        ("rad", Axis(1, 0.0, 2.0, True), "the radius axis must be linear and begin at 0 (at 1)"),
        ("rad", Axis(1, 5.0, 100.0, False), "the radius axis must be linear and begin at 0 (at 5)"),
    ],
)
def test_axes_of_another_kind(path, name, axis, message):
    axes = AXES | {"eta": Axis(1, -2.0, 2.0, False), "pt": Axis(2, -1.0, 1.0, True)} | {name: axis}
    assert error_of(path, pack_file(axes=axes)).what == message


def test_filled_with_nan(path):
    covm = random_covm()
    covm[0, 2, 1] = np.nan
    assert error_of(path, pack_file(covm=covm)).what == (
        "1 entries are marked valid but hold NaN: the file is not filled properly (the first at eta = 0.5, pt = 0.398 GeV)"
    )


@pytest.mark.parametrize("value", [0.0, -1e-9])
def test_a_variance_that_is_none(path, value):
    covm = random_covm()
    covm[0, 2, 1, 9] = value
    assert error_of(path, pack_file(covm=covm)).what.startswith(
        "1 entries are marked valid but have a variance that is not positive (the first at eta = 0.5"
    )


def test_covariance_that_depends_on_nch(path):
    covm = np.broadcast_to(random_covm(), (*SHAPE, 15)).copy()
    covm[1, 0, 3, 4, 7] *= np.float32(1.001)
    assert (
        "have another covariance than at lower nch, which is not supported" in error_of(path, pack_file(covm=covm)).what
    )


def test_no_track_at_all(path):
    assert error_of(path, pack_file(valid=np.zeros(SHAPE))).what == "no entry is valid: the table holds no track at all"


@pytest.mark.parametrize(("name", "value"), [("eff", 1.5), ("eff", -0.1), ("itof", math.nan), ("eff2", 1.01)])
def test_efficiencies_that_are_none(path, name, value):
    values = efficiency(name, SHAPE)
    values[1, 0, 2, 2] = value
    assert error_of(path, pack_file(**{name: values})).what.startswith(f"{name} lies outside [0, 1] in valid entries")


# --- export ---


def test_the_bytes_are_those_of_the_reference(path, tmp_path):
    """Header and entries field by field, at offsets typed from reference/delpheso2.md 1.1 to 1.4."""
    axes = AXES | {"rad": Axis(2, 0.0, 50.0, False)}
    covm = random_covm(5, (2, 4, 5))
    shape = (3, 2, 4, 5)
    lut, _ = imported(path, pack_file(axes=axes, covm=covm, field=0.2))
    export_lutcovm(lut, tmp_path / "out.dat")
    raw = (tmp_path / "out.dat").read_bytes()
    assert len(raw) == 80 + 312 * math.prod(shape)
    assert struct.unpack_from("<ii", raw, 0) == (20210801, 211)
    assert struct.unpack_from("<ff", raw, 8) == (np.float32(0.13957), np.float32(0.2))
    for offset, axis in zip((16, 32, 48, 64), axes.values(), strict=True):
        assert struct.unpack_from("<iffB3s", raw, offset) == (axis.n, axis.low, axis.high, axis.log, b"\0\0\0")
    for index, (n, h, i, j) in enumerate(np.ndindex(shape)):
        for name, center in (
            ("nch", axes["nch"].centers()[n]),
            ("eta", axes["eta"].centers()[i]),
            ("pt", axes["pt"].centers()[j]),
        ):
            assert floats(raw, index, OFFSETS[name]) == pytest.approx(center, rel=1e-6)
        assert raw[HEADER + ENTRY * index + 12 :][:4] == b"\1\0\0\0"
        for name in ("eff", "eff2", "itof", "otof"):
            assert floats(raw, index, OFFSETS[name]) == efficiency(name, shape)[n, h, i, j]
        assert floats(raw, index, COVM, 15).astype(np.float32).tobytes() == covm[h, i, j].tobytes()


def test_what_is_not_valid_is_exported_as_zeros(path):
    valid = np.ones(SHAPE[1:], dtype=bool)
    valid[0, 1, 2] = False
    lut, _ = imported(path, pack_file(valid=valid))
    export_lutcovm(lut, path)
    raw = path.read_bytes()
    for n in range(3):
        start = HEADER + ENTRY * (n * 20 + 7)
        assert raw[start + 12 : start + ENTRY] == bytes(ENTRY - 12)


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_lost_there_and_back(path, tmp_path, version):
    first, _ = imported(path, pack_file(version))
    export_lutcovm(first, tmp_path / "out.dat")
    again, _ = import_lutcovm(tmp_path / "out.dat")
    np.testing.assert_array_equal(again.covariance, first.covariance)
    for name, values in first.efficiencies.items():
        np.testing.assert_array_equal(again.efficiencies[name], values)
    assert again.header.grid == first.header.grid
    assert again.header.origin["maps"] == first.header.origin["maps"]
    assert (again.header.b_z, again.header.mass) == (first.header.b_z, first.header.mass)
    write_lut(again, tmp_path / "a.lut")
    assert read_lut(tmp_path / "a.lut").header.sha256 == again.header.sha256
    export_lutcovm(read_lut(tmp_path / "a.lut"), tmp_path / "third.dat")
    assert (tmp_path / "third.dat").read_bytes() == (tmp_path / "out.dat").read_bytes()


@pytest.mark.parametrize("seed", range(20))
def test_the_same_bits_of_the_covariance_whatever_its_size(seed):
    """Through (ln sigma, rho) and back, over the whole range of float32 (the smallest are denormal)."""
    generator = np.random.default_rng(seed)
    packed = (10.0 ** generator.uniform(-40, 38, (500, 15)) * generator.choice([-1, 1], (500, 15))).astype(np.float32)
    packed[:, DIAGONAL] = np.abs(packed[:, DIAGONAL])
    packed[:, 1] = 0.0
    back = module._packed_of(module._cells_of(packed)).astype(np.float32)
    assert back.tobytes() == packed.tobytes()


def test_eigenvectors_are_columns_and_rebuild_the_covariance(path):
    covm = random_covm(7)
    lut, _ = imported(path, pack_file(covm=covm))
    export_lutcovm(lut, path)
    raw = path.read_bytes()
    for index in range(20):
        covariance = matrices(covm.reshape(20, 15)[index])
        values = floats(raw, index, EIGVAL, 5)
        vectors = floats(raw, index, EIGVEC, 25).reshape(5, 5)
        inverse = floats(raw, index, EIGINV, 25).reshape(5, 5)
        assert (np.diff(values) <= 0).all()  # ROOT's TMatrixDSymEigen: largest first
        for k in range(5):
            assert covariance @ vectors[:, k] == pytest.approx(values[k] * vectors[:, k], abs=1e-6 * values[0])
        assert vectors @ np.diag(values) @ vectors.T == pytest.approx(covariance, abs=1e-6 * values[0])
        assert inverse @ vectors == pytest.approx(np.eye(5), abs=1e-6)


def test_smearing_as_delpheso2_does_gives_the_covariance(path):
    """Reference 1.6, steps 5 and 6: into the eigen-frame, five Gaussians, and back by the inverse."""
    covm = random_covm(9)
    lut, _ = imported(path, pack_file(covm=covm))
    export_lutcovm(lut, path)
    raw = path.read_bytes()
    values = floats(raw, 13, EIGVAL, 5)
    vectors, inverse = (floats(raw, 13, offset, 25).reshape(5, 5) for offset in (EIGVEC, EIGINV))
    normal = np.random.default_rng(1).normal(size=(20_000, 5)) * np.sqrt(values)
    smeared = np.einsum("ji,nj->ni", inverse, normal)  # p_i = sum_j eiginv[j][i] p'_j
    np.testing.assert_allclose(np.einsum("ji,nj->ni", vectors, smeared), normal, atol=1e-5 * math.sqrt(values[0]))
    covariance = matrices(covm[0, 2, 3])
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert np.cov(smeared.T) / scale == pytest.approx(covariance / scale, abs=5 / math.sqrt(20_000) * math.sqrt(2))


@pytest.fixture(scope="module")
def detector():
    return fastsim.load_detector("alice3_v2")


@pytest.fixture(scope="module")
def built(detector):
    return build_lut(detector, by_name("pi"), Grid(n_pt=12, n_eta=8, n_dnch=4, r_edges=[0.0, 100.0]))


def test_a_built_table_is_unfolded(built, path):
    """z -> -z turns dca_z and tan(lambda) around and nothing else; only eta > 0 is stored."""
    assert built.header.mirrored
    export_lutcovm(built, path)
    raw = path.read_bytes()
    assert struct.unpack_from("<iff?", raw, 48) == (8, -4.0, 4.0, False)
    assert struct.unpack_from("<iff?", raw, 64) == (12, -2.0, 2.0, True)
    assert struct.unpack_from("<iff?", raw, 16) == (4, 0.5, 3.5, True)
    assert struct.unpack_from("<iff?", raw, 32) == (1, 0.0, 100.0, False)
    turn = np.diag([1.0, -1.0, 1.0, -1.0, 1.0])
    for n, i, j in np.ndindex(4, 4, 12):
        index, mirror = ((n * 8 + eta) * 12 + j for eta in (4 + i, 3 - i))
        assert raw[HEADER + ENTRY * index + 12] == raw[HEADER + ENTRY * mirror + 12] == built.is_valid[0, i, j]
        covariance, other = (matrices(floats(raw, k, COVM, 15)) for k in (index, mirror))
        np.testing.assert_array_equal(other, turn @ covariance @ turn)
        if built.is_valid[0, i, j]:
            sigma = np.exp(built.covariance[0, i, j, :5].astype(float))
            assert np.sqrt(np.diag(covariance)) == pytest.approx(sigma, rel=1e-6)
        for name, ours in (("eff", "every_hit_right"), ("eff2", "no_wrong_pair"), ("itof", "every_hit_right")):
            assert (
                floats(raw, index, OFFSETS[name])
                == built.efficiencies[ours][n, 0, i, j]
                == floats(raw, mirror, OFFSETS[name])
            )


def test_built_exported_imported_is_the_same_to_single_precision(built, path):
    export_lutcovm(built, path)
    again, notes = import_lutcovm(path)
    assert notes == []
    positive = again.covariance[:, 4:]
    assert positive[built.is_valid] == pytest.approx(built.covariance[built.is_valid], abs=3e-7)
    assert again.header.grid.pt_centers == pytest.approx(built.header.grid.pt_centers)
    np.testing.assert_array_equal(again.efficiencies["no_wrong_pair"][:, :, 4:], built.efficiencies["no_wrong_pair"])


def test_bins_of_the_radius_must_be_of_equal_width(detector, path):
    for edges in ([0.0, 1.0, 10.0], [0.0, 5.0, 9.99]):
        lut = build_lut(detector, by_name("pi"), Grid(n_pt=4, n_eta=4, n_dnch=1, r_edges=edges))
        with pytest.raises(LutError) as caught:
            export_lutcovm(lut, path)
        assert caught.value.what == "lutCovm has bins of the radius of equal width only"
        assert "--r-edges 0,100" in caught.value.hint
        assert not path.exists()
    lut = build_lut(detector, by_name("pi"), Grid(n_pt=4, n_eta=4, n_dnch=1, r_edges=[0.0, 5.0, 10.0]))
    export_lutcovm(lut, path)
    assert struct.unpack_from("<iff?", path.read_bytes(), 32) == (2, 0.0, 10.0, False)


def test_what_single_precision_cannot_hold(path, tmp_path):
    lut, _ = imported(path, pack_file())
    lut.covariance[0, 0, 0, 2] = 60.0  # sigma = e^60
    with pytest.raises(LutError, match="lutCovm, pi: a variance is too large or too small for single precision"):
        export_lutcovm(lut, tmp_path / "out.dat")
    assert list(tmp_path.iterdir()) == [path]


def test_rounding_does_not_lose_what_is_positive_definite(path):
    """All but fully correlated parameters of slow nuclei: the correlation is drawn in, by 1e-4 at most."""
    cells = np.zeros((200, 15))
    cells[:, :5] = np.random.default_rng(3).uniform(-10, 0, (200, 5))
    cells[:, 5] = 1.0 - 3e-8
    assert is_positive_definite(cells).all()
    rounded = module._packed_of(cells).astype(np.float32)
    assert not is_positive_definite(module._cells_of(rounded)).all()
    packed = module._float32_covariance(cells)
    assert is_positive_definite(module._cells_of(packed)).all()
    assert module._cells_of(packed)[:, 5] == pytest.approx(1.0, abs=2e-6)
    assert module._cells_of(packed)[:, :5] == pytest.approx(cells[:, :5], abs=1e-7)


def test_written_whole_or_not_at_all(path, tmp_path, monkeypatch):
    lut, _ = imported(path, pack_file())
    old = path.read_bytes()

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    for target in (path, tmp_path / "new.dat"):
        with pytest.raises(OSError, match="No space left"):
            export_lutcovm(lut, target)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_positive_definite_is_what_numpy_says():
    """Against eigenvalues, on matrices on both sides of the border."""
    generator = np.random.default_rng(11)
    cells = generator.normal(-3.0, 1.0, (3000, 15))
    cells[:, 5:] = generator.uniform(-0.7, 0.7, (3000, 10))
    rho = np.broadcast_to(np.eye(5), (3000, 5, 5)).copy()
    for k, (i, j) in enumerate(PAIRS):
        rho[:, i, j] = rho[:, j, i] = cells[:, 5 + k]
    smallest = np.linalg.eigvalsh(rho)[:, 0]
    clear = np.abs(smallest) > 1e-9
    assert 300 < (smallest > 0).sum() < 2700
    np.testing.assert_array_equal(is_positive_definite(cells)[clear], smallest[clear] > 0)
    cells[0, 7] = np.nan
    assert not is_positive_definite(cells[:1])[0]


# --- tables that can be run ---


def test_the_detector_file_finds_its_tables(path, tmp_path):
    pi, _ = imported(path, pack_file(field=0.2))
    ka, _ = imported(path, pack_file(field=0.2, pdg=321, mass=0.4937))
    paths = write_ready(tmp_path / "out", "theirs", [pi, ka], source="a test", notes=["a note"])
    assert [p.name for p in paths] == ["theirs.pi.lut", "theirs.ka.lut", "theirs.toml"]
    assert paths[-1].read_text().startswith("# a note\n")
    detector = fastsim.load_detector(paths[-1])
    assert (detector.name, detector.b_z, detector.source) == ("theirs", 0.2, "a test")
    found = get_luts(detector, species=[by_name("ka"), by_name("pi")])
    np.testing.assert_array_equal(found.luts[0].covariance, ka.covariance)
    np.testing.assert_array_equal(found.luts[1].covariance, pi.covariance)
    check_lut(found.luts[0], detector)
    with pytest.raises(LutError, match=r"its hash is .*, that of pi in alice3_v2 is "):
        check_lut(pi, fastsim.load_detector("alice3_v2"))
    with pytest.raises(UsageError, match=r"theirs.pi.lut: exists already"):
        write_ready(tmp_path / "out", "theirs", [pi], source="a test")
    write_ready(tmp_path / "out", "theirs", [pi], source="a test", overwrite=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"field": 0.5}, "its field is 0.5 T, that of the first 0.2 T"),
        ({"axes": AXES | {"eta": Axis(4, -1.0, 1.0, False)}}, "has other axes than the first"),
        ({"pdg": 211, "mass": 0.13957}, "is a table of pi, as lutCovm.pi.dat"),
    ],
)
def test_tables_of_different_detectors(path, tmp_path, changes, message):
    pi, _ = imported(path, pack_file(field=0.2))
    other, _ = imported(path, pack_file(**{"field": 0.2, "pdg": 321, "mass": 0.4937, **changes}))
    with pytest.raises(LutError) as caught:
        write_ready(tmp_path / "out", "theirs", [pi, other], source="a test")
    assert caught.value.what == message
    assert not (tmp_path / "out").exists()


def test_a_table_whose_numbers_were_changed(path):
    lut, _ = imported(path, pack_file())
    lut.covariance[0, 0, 0, 0] += 1e-9
    with pytest.raises(LutError, match="the numbers are not those that the header's sha256 was taken of"):
        check_lut(lut)
