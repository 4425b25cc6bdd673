"""From a detector to a table: what is in it, and what its hash depends on."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastsim
from fastsim.detector.geometry import surfaces_of
from fastsim.errors import LutError
from fastsim.luts import Grid, build_lut
from fastsim.luts import build as build_module
from fastsim.luts.build import lut_key, make_lut, resolve, rules_of
from fastsim.luts.file import EFFICIENCIES, hash_of, hashes_of, unfold
from fastsim.species import by_name
from fastsim.toml import Document, validate

SMALL = Grid(n_pt=12, n_eta=8, n_dnch=3)
PION = by_name("pi")
TRUE_SIGNS = np.array([-1, 1, -1, 1, 1])  # y -> -y at the same charge, as for B -> -B


@pytest.fixture(scope="module")
def detector():
    return fastsim.load_detector("alice3_v2")


@pytest.fixture(scope="module")
def lut(detector):
    return build_lut(detector, PION, SMALL, command="a test")


def _changed(detector, **changes):
    return type(detector).model_validate({**detector.model_dump(), **changes})


def _one(detector, kind, index, **changes):
    """The detector with one layer or disk changed."""
    elements = [element.model_dump() for element in getattr(detector, kind)]
    elements[index] |= changes
    return _changed(detector, **{kind: elements})


def _close(one, other, *, signs=None):
    """Two covariances to the precision of what is stored."""
    both = np.isfinite(one) & np.isfinite(other)
    assert (np.isfinite(one) == np.isfinite(other)).all()
    turned = one.copy()
    if signs is not None:
        turned[..., 5:] *= np.outer(signs, signs)[np.tril_indices(5, -1)]
    np.testing.assert_allclose(turned[both], other[both], atol=1e-4)


# --- what a table depends on ----------------------------------------------------------------------------------------


def test_surfaces_are_sorted_and_in_cm(detector):
    reversed_ = _changed(detector, layers=[layer.model_dump() for layer in reversed(detector.layers)])
    surfaces = surfaces_of(reversed_)
    n = surfaces.n_cylinders
    assert (np.diff(surfaces.position[:n]) > 0).all()
    assert surfaces.sigma[1, 0] == pytest.approx(2.5e-4)  # 2.5 um
    assert surfaces.efficiency[0] == 0.0  # the beam pipe measures nothing
    assert (np.diff(surfaces.position[n : surfaces.n_forward]) > 0).all()
    np.testing.assert_array_equal(surfaces.position[surfaces.n_forward :], -surfaces.position[n : surfaces.n_forward])
    assert rules_of(detector).b_z == 2.0


def test_key_depends_on_all_physics_and_on_nothing_else(detector):
    key = lut_key(detector, PION, SMALL)
    disks = [disk.model_dump() for disk in detector.disks]
    single = [disk | {"both_sides": False, "name": f"{disk['name']}+"} for disk in disks]
    single += [disk | {"z": -disk["z"], "both_sides": False, "name": f"{disk['name']}-"} for disk in disks]
    same = [
        _changed(detector, name="other", source="elsewhere"),
        _changed(detector, layers=[layer.model_dump() for layer in reversed(detector.layers)]),
        _changed(detector, disks=disks[::-1]),
        _changed(detector, disks=single),
        _one(detector, "layers", 1, name="renamed"),
    ]
    assert all(lut_key(other, PION, SMALL) == key for other in same)
    rules = detector.tracking.model_dump()
    measured = {"sigma_rphi_um": None, "sigma_z_um": None, "views": [{"sigma_um": 2.5, "stereo_angle": 0.0}]}
    different = [
        _changed(detector, b_z=-2.0),
        _changed(detector, r_edges=[0.0, 1.0, 80.0]),
        _one(detector, "layers", 1, r=0.51),
        _one(detector, "layers", 1, half_length=30.0),
        _one(detector, "layers", 1, x_over_x0=0.002),
        _one(detector, "layers", 1, areal_density=0.03),
        _one(detector, "layers", 1, sigma_rphi_um=3.0),
        _one(detector, "layers", 1, sigma_z_um=3.0),
        _one(detector, "layers", 1, efficiency=0.99),
        _one(detector, "layers", 1, **measured),
        _one(detector, "disks", 1, z=31.0),
        _one(detector, "disks", 1, r_min=0.6),
        _one(detector, "disks", 1, r_max=3.1),
        _one(detector, "disks", 1, sigma_r_um=3.0),
        _one(detector, "disks", 1, both_sides=False),
    ]
    different += [
        _changed(detector, tracking={**rules, **change})
        for change in (
            {"scattering": "no_log"}, {"energy_loss": "none"}, {"straggling": "none"},
            {"min_hits": 5}, {"max_sin_incidence": 0.9}, {"min_radius": 10.0},
            {"occupancy": {"average_rapidity": 0.5}}, {"occupancy": None},
        )
    ]  # fmt: skip
    keys = {key, *(lut_key(other, PION, SMALL) for other in different), lut_key(detector, by_name("ka"), SMALL)}
    assert len(keys) == len(different) + 2


def test_radiation_of_electrons_is_nothing_to_the_tables_of_others(detector):
    rules = detector.tracking.model_dump()
    others = [
        _changed(detector, tracking={**rules, **change}) for change in ({"electrons": "none"}, {"electron_scale": 1.25})
    ]
    everything = [detector, *others]
    assert len({lut_key(one, PION, SMALL) for one in everything}) == 1
    assert len({lut_key(one, by_name("el"), SMALL) for one in everything}) == 3
    for one in others:
        np.testing.assert_array_equal(
            build_lut(one, PION, SMALL).covariance, build_lut(detector, PION, SMALL).covariance
        )


def test_key_depends_on_the_grid(detector):
    changes = {
        "n_pt": 13, "n_eta": 6, "n_dnch": 4, "pt_min": 0.02, "pt_max": 50.0, "eta_max": 3.0, "dnch_min": 1.0, "dnch_max": 1e4,
        "r_edges": [0.0, 1.0],
    }  # fmt: skip
    assert set(changes) == set(Grid.model_fields)
    keys = {lut_key(detector, PION, SMALL.model_copy(update={name: value})) for name, value in changes.items()}
    assert len(keys | {lut_key(detector, PION, SMALL)}) == len(changes) + 1


def test_key_depends_on_the_maker_s_version(detector, monkeypatch):
    key = lut_key(detector, PION, SMALL)
    for name, value in (("PHYSICS_VERSION", 10**6), ("FORMAT", "fastsim-lut/999")):
        with monkeypatch.context() as patch:
            patch.setattr(build_module, name, value)
            assert lut_key(detector, PION, SMALL) != key


def test_grid_takes_the_detector_s_radii_and_occupancy(detector):
    full = resolve(SMALL, detector)
    assert full.r_edges[0] == 0.0
    assert full.r_edges[-1] == 80.0
    assert resolve(full, detector) == full
    assert resolve(SMALL.model_copy(update={"r_edges": [0.0, 7.0]}), detector).r_edges == [0.0, 7.0]
    without = _changed(detector, tracking={**detector.tracking.model_dump(), "occupancy": None})
    assert resolve(SMALL, without).n_dnch == 1


# --- what is in a table ---------------------------------------------------------------------------------------------


def test_header_says_what_made_it(detector, lut):
    header = lut.header
    assert (header.species, header.pdg, header.charge, header.detector, header.b_z) == ("pi", 211, 1, "alice3_v2", 2.0)
    assert header.key == lut_key(detector, PION, SMALL)
    assert header.sha256 == hash_of(hashes_of(lut.covariance, lut.efficiencies))
    assert header.command == "a test"
    assert header.origin == {"kind": "layers"}
    assert header.grid == resolve(SMALL, detector)
    assert header.efficiencies == list(EFFICIENCIES)
    assert (len(header.quantities), header.quantities[0], header.quantities[5]) == (
        15, "ln sigma_dca_xy [cm]", "rho_dca_z_dca_xy",
    )  # fmt: skip


def test_the_same_again(detector, lut):
    """To the bit; so hashes of numbers are hashes of physics."""
    again = build_lut(detector, PION, SMALL)
    assert again.header.sha256 == lut.header.sha256


def test_turning_the_field_round_mirrors_the_table(detector, lut):
    """B -> -B is the mirror y -> -y at the same charge: dca_xy and phi change sign, dca_z, tan_lambda and q/pt do not."""
    back = build_lut(_changed(detector, b_z=-2.0), PION, SMALL)
    _close(lut.covariance, back.covariance, signs=TRUE_SIGNS)
    for name in EFFICIENCIES:
        np.testing.assert_allclose(back.efficiencies[name], lut.efficiencies[name], atol=1e-4)


def test_a_mirrored_table_is_half_of_the_whole_one(detector, lut, monkeypatch):
    """z -> -z; an odd number of bins in eta, or a detector with two different sides, is never mirrored."""
    assert lut.header.mirrored
    monkeypatch.setattr(build_module, "is_mirrored", lambda _: False)
    whole = build_lut(detector, PION, SMALL)
    assert not whole.header.mirrored
    assert whole.covariance.shape[1] == 8
    covariance, efficiencies = unfold(lut)
    _close(covariance, whole.covariance)
    for name in EFFICIENCIES:
        np.testing.assert_allclose(efficiencies[name], whole.efficiencies[name], atol=1e-4)


def test_two_different_sides_are_not_mirrored(detector):
    grid = Grid(n_pt=4, n_eta=8, n_dnch=1, r_edges=[0.0, 0.1])
    one_sided = _one(detector, "disks", 0, both_sides=False)
    lut = build_lut(one_sided, PION, grid)
    assert not lut.header.mirrored
    assert lut.covariance.shape == (1, 8, 4, 15)
    assert not np.allclose(lut.covariance[:, ::-1, :, :5], lut.covariance[..., :5], equal_nan=True)
    assert not build_lut(detector, PION, grid.model_copy(update={"n_eta": 7})).header.mirrored


def test_what_is_beyond_the_birth_is_all_that_counts(detector, lut):
    """Born behind k layers is a detector without them: same table, of its bin, as of that detector's primaries."""
    edges = lut.header.grid.r_edges
    h = 3  # behind all three layers of the vertex detector
    assert edges[h] == 2.5
    layers = [layer.model_dump() for layer in detector.layers if layer.r > edges[h]]
    disks = [disk.model_dump() for disk in detector.disks if disk.r_min > edges[h]]
    outer = _changed(detector, layers=layers, disks=disks)
    central = np.abs(lut.header.grid.eta_centers[-4:]) < 2  # where no disk of the rest is cut by the radius of birth
    alone = build_lut(outer, PION, SMALL.model_copy(update={"r_edges": [0.0, 0.1]}))
    _close(lut.covariance[h][central], alone.covariance[0][central])


def test_efficiency_falls_with_occupancy(lut):
    for name in EFFICIENCIES:
        values = lut.efficiencies[name]
        assert (np.diff(values, axis=0) <= 0).all()
        assert (values[-1] < values[0])[lut.is_valid].mean() > 0.3
        assert (values[:, ~lut.is_valid] == 0).all()


@pytest.mark.parametrize("name", ["el", "he3"])
def test_every_stored_correlation_matrix_is_positive_definite(detector, name):
    lut = build_lut(detector, by_name(name), SMALL)
    for row in lut.covariance[lut.is_valid].astype(np.float64):
        matrix = np.eye(5)
        matrix[np.tril_indices(5, -1)] = row[5:]
        np.linalg.cholesky(matrix + np.tril(matrix, -1).T)


def test_detectors_that_find_no_track_are_refused(detector):
    """In two tesla 100 MeV turn round at 33 cm."""
    rules = {**detector.tracking.model_dump(), "min_radius": 70.0}
    grid = Grid(n_pt=2, n_eta=2, pt_min=0.01, pt_max=0.1, eta_max=0.5)
    with pytest.raises(LutError) as caught:
        build_lut(_changed(detector, tracking=rules), PION, grid)
    assert caught.value.what == "the table of pi holds no track at all"
    assert caught.value.where == "alice3_v2"
    assert caught.value.hint == "check min_hits, min_radius and the resolutions"


def test_cells_without_a_covariance_are_refused(detector, monkeypatch):
    """Correlations that stay no correlations however they are drawn in: whatever makes such, no table comes of it."""
    monkeypatch.setattr(build_module, "fill_table", lambda *_: 3)
    with pytest.raises(LutError) as caught:
        build_lut(detector, PION, SMALL)
    assert str(caught.value) == (
        "alice3_v2: 3 cells of pi have no positive definite covariance\n"
        "hint: the measuring layers do not determine all five track parameters; check their resolutions and radii"
    )


def test_layers_that_measure_one_view_only_find_no_track(detector):
    """Without any z there are three parameters, not five."""
    views = {"sigma_rphi_um": None, "sigma_z_um": None, "views": [{"sigma_um": 10.0, "stereo_angle": 0.0}]}
    layers = [layer.model_dump() | (views if layer.is_sensitive else {}) for layer in detector.layers]
    with pytest.raises(LutError, match="the table of pi holds no track at all"):
        build_lut(_changed(detector, layers=layers, disks=[]), PION, SMALL)


def test_numbers_that_cannot_be_a_table_are_refused(lut):
    """Whoever makes a table, it is checked before it is written."""
    arguments = {"detector": "x", "b_z": 2.0, "mirrored": True, "key": "k", "origin": {}, "command": ""}
    wrong = {name: values + np.float32(0.5) for name, values in lut.efficiencies.items()}
    with pytest.raises(LutError) as caught:
        make_lut(PION, lut.header.grid, lut.covariance, wrong, **arguments)
    assert str(caught.value) == "x: the table of pi every_hit_right holds efficiencies outside [0, 1]"
    with pytest.raises(LutError, match=r"the table of pi covariance is float32\(1, 4, 12, 15\), the header says"):
        make_lut(PION, lut.header.grid, lut.covariance[:1], lut.efficiencies, **arguments)


def test_rules_are_those_of_layers():
    with pytest.raises(TypeError, match="x is not made of layers"):
        rules_of(_formula_detector())


# --- formulas -------------------------------------------------------------------------------------------------------

FORMULA = {
    "species": ["pi", "he3"],
    "efficiency": "0.95 if pt > 0.2 else (r < 1) * 0.5",
    "sigma_pt_over_pt": "hypot(0.01 * pt, 0.002 * cosh(eta))",
    "sigma_dca_xy": "(5 + 20 / (p * sin(theta) ** 0.5)) * 1e-4 * (1 + r)",
    "sigma_dca_z": "6e-4 if abs(eta) < 1 else 9e-4",
    "sigma_phi": "1e-3 / pt",
    "sigma_tan_lambda": "1e-3 * mass / charge",
}
GRID = Grid(n_pt=5, n_eta=4, n_dnch=7, pt_min=0.1, pt_max=10.0, eta_max=2.0)


def _formula_detector(**changes):
    data = {"schema_version": 1, "name": "x", "source": "a test", "b_z": 2.0, "r_edges": [0.0, 1.0, 3.0]}
    detector = fastsim.load_detector("alice3_v2")
    return validate(type(detector), Document(data | {"formulas": [FORMULA | changes]}))


@pytest.mark.parametrize("name", ["pi", "he3"])
def test_a_table_of_formulas_is_the_formulas(name):
    """Typed here afresh, at the bins' centres: at r = 0 for the first bin of the production radius, else at mid-bin."""
    kind = by_name(name)
    lut = build_lut(_formula_detector(), kind, GRID)
    assert lut.covariance.shape == (2, 4, 5, 15)
    assert (lut.header.grid.n_dnch, lut.header.mirrored, lut.header.origin) == (1, False, {"kind": "formulas"})
    assert lut.header.efficiencies == ["every_hit_right"]
    for h, r in enumerate((0.0, 2.0)):
        for i, eta in enumerate(GRID.eta_centers):
            for j, pt in enumerate(GRID.pt_centers):
                efficiency = 0.95 if pt > 0.2 else 0.5 * (r < 1)
                assert lut.efficiencies["every_hit_right"][0, h, i, j] == pytest.approx(efficiency, rel=1e-6)
                if efficiency == 0:
                    assert np.isnan(lut.covariance[h, i, j]).all()
                    continue
                theta = 2 * np.arctan(np.exp(-eta))
                p = pt / np.sin(theta)
                sigma = [
                    (5 + 20 / (p * np.sqrt(np.sin(theta)))) * 1e-4 * (1 + r), 6e-4 if abs(eta) < 1 else 9e-4, 1e-3 / pt,
                    1e-3 * kind.mass / kind.charge, np.hypot(0.01 * pt, 0.002 * np.cosh(eta)) * kind.charge / pt,
                ]  # fmt: skip
                assert lut.covariance[h, i, j, :5] == pytest.approx(np.log(sigma), abs=1e-4)
                assert (lut.covariance[h, i, j, 5:] == 0).all()
    assert not lut.is_valid[1, :, 0].any()


@pytest.mark.parametrize(
    ("name", "formula", "what"),
    [
        ("efficiency", "1.2", "efficiency of pi, he3 is 1.2 at pt = 0.158489, eta = -1.5, r = 0"),
        ("efficiency", "0.5 * eta", "efficiency of pi, he3 is -0.75 at pt = 0.158489, eta = -1.5, r = 0"),
        ("efficiency", "log(eta)", "efficiency of pi, he3 is nan at pt = 0.158489, eta = -1.5, r = 0"),
        ("sigma_phi", "1e-3 * (eta < 1)", "sigma_phi of pi, he3 is 0 at pt = 0.158489, eta = 1.5, r = 0"),
        ("sigma_phi", "-1e-3", "sigma_phi of pi, he3 is -0.001 at pt = 0.158489, eta = -1.5, r = 0"),
        ("sigma_dca_z", "sqrt(2 - r)", "sigma_dca_z of pi, he3 is 0 at pt = 0.398107, eta = -1.5, r = 2"),
        ("sigma_dca_xy", "sqrt(pt - 1)", "sigma_dca_xy of pi, he3 is nan at pt = 0.158489, eta = -1.5, r = 0"),
        ("sigma_pt_over_pt", "1 / (pt - pt)", "sigma_pt_over_pt of pi, he3 is inf at pt = 0.158489, eta = -1.5, r = 0"),
        ("sigma_tan_lambda", "0", "sigma_tan_lambda of pi, he3 is 0 at pt = 0.158489, eta = -1.5, r = 0"),
    ],
)
def test_wrong_formulas_are_refused_with_the_point(name, formula, what):
    with pytest.raises(LutError) as caught:
        build_lut(_formula_detector(**{name: formula}), PION, GRID)
    assert caught.value.what == what
    assert caught.value.where == "x"
    assert caught.value.hint == "an efficiency lies in [0, 1], a resolution is positive where the efficiency is"


def test_a_resolution_may_be_anything_where_there_is_no_track():
    lut = build_lut(_formula_detector(efficiency="pt > 1", sigma_phi="sqrt(pt - 1)"), PION, GRID)
    assert np.array_equal(lut.is_valid[0, 0], GRID.pt_centers > 1)


def test_a_species_without_formulas():
    with pytest.raises(LutError) as caught:
        build_lut(_formula_detector(), by_name("ka"), GRID)
    assert str(caught.value) == "x: no formulas for species ka\nhint: there are some for pi, he3"


def test_key_depends_on_the_species_formula():
    key = lut_key(_formula_detector(), PION, GRID)
    assert lut_key(_formula_detector(species=["pi"]), PION, GRID) == key  # the others do not matter
    changed = [{name: "0.5" if name == "efficiency" else "1e-3"} for name in FORMULA if name != "species"]
    keys = {lut_key(_formula_detector(**change), PION, GRID) for change in changed}
    assert len(keys | {key}) == len(changed) + 1
    assert re.fullmatch("[0-9a-f]{64}", key)
