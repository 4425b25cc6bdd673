"""The shipped detectors: they load, hold what their sources say, and each has a card."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest

from fastsim import resources
from fastsim.cards.load import load_card
from fastsim.detector import Detector, load_detector
from fastsim.detector.formulas import evaluate
from fastsim.detector.geometry import elements
from fastsim.species import NAMES, by_name

# Measuring cylinders, measuring disks (both sides), field [T]
LAYERED = {
    "alice3_v1": (12, 20, 2.0),
    "alice3_v2": (11, 24, 2.0),
    "alice3_v3": (11, 24, 2.0),
    "alice3_v4": (10 + 159, 0, 0.5),
    "alice_its2": (7, 0, 0.5),
    "alice_its2_tpc": (7 + 159, 0, 0.5),
    "alice_its3": (7, 0, 0.5),
    "cld": (12, 34, 2.0),
    "idea": (5 + 112 + 3, 12, 2.0),
}
LIKE = {"atlas_like": 2.0, "cms_like": 3.8}

# Rows of DetectorGeometry in Delphes' cards, as printed there: type (1 barrel, 2 disk), label, min, max, position, thickness,
# radiation length [m], number of measurements, stereo angles, resolutions [m], flag.
CARD_ROWS = {
    "idea": """
        1 PIPE -100 100 0.01 0.00241 0.35276 0 0 0 0 0 0
        1 VTXLOW -0.0965 0.0965 0.0137 0.000309 0.0937 2 0 1.5708 3e-06 3e-06 1
        1 VTXLOW -0.257 0.257 0.0340 0.000309 0.0937 2 0 1.5708 3e-06 3e-06 1
        1 VTXHIGH -0.1631 0.1631 0.141 0.000415 0.0937 2 0 1.5708 3e-06 3e-06 1
        1 VTXHIGH -0.340 0.340 0.315 0.000415 0.0937 2 0 1.5708 7e-06 7e-06 1
        1 DCHCANI -2.125 2.125 0.345 0.0002 0.237223 0 0 0 0 0 0
        1 DCH -2 2 0.36 0.0147748 579 1 0.0203738 0 0.0001 0 1
        1 DCH -2 2 0.374775 0.0147748 579 1 -0.0212097 0 0.0001 0 1
        1 DCH -2 2 0.596396 0.0147748 579 1 0.0337442 0 0.0001 0 1
        1 DCH -2 2 1.11351 0.0147748 579 1 -0.0629434 0 0.0001 0 1
        1 DCH -2 2 1.57153 0.0147748 579 1 0.0887177 0 0.0001 0 1
        1 DCH -2 2 1.98523 0.0147748 579 1 0.111898 0 0.0001 0 1
        1 DCH -2 2 2 0.0147748 579 1 -0.112723 0 0.0001 0 1
        1 DCHCANO -2.125 2.125 2.02 0.02 1.667 0 0 0 0 0 0
        1 BSILWRP -2.35 2.35 2.06 0.00047 0.0937 2 0 1.5708 7e-006 9e-005 1
        1 MAG -2.5 2.5 2.25 0.05 0.0658 0 0 0 0 0 0
        1 BPRESH -2.55 2.55 2.45 0.02 1 2 0 1.5708 7e-005 0.01 1
        2 VTXFILLER 0.141 0.156 -0.195 0.000244 0.02 0 0 0 0 0 0
        2 VTXDSK 0.034 0.28 0.3023 0.000909 0.0937 2 0 1.5708 7e-06 7e-06 1
        2 VTXDSK 0.108 0.3 -0.93 0.000909 0.0937 2 0 1.5708 7e-06 7e-06 1
        2 DCHWALL 0.345 2.02 -2.125 0.25 5.55 0 0 0 0 0 0
        2 FSILWRP 0.30 2.02 2.32 0.00047 0.0937 2 0 1.5708 7e-006 9e-005 1
        2 FRAD 0.38 2.09 2.49 0.0043 0.005612 0 0 0 0 0 0
        2 FPRESH 0.39 2.43 -2.55 0.02 1 2 0 1.5708 7e-005 0.01 1
    """,
    "cld": """
        1 PIPE -100 100 0.01 0.00235 0.35276 0 0 0 0 0 0
        1 VTX -0.125 0.125 0.0175 4.5e-005 0.0937 2 0 1.5708 3e-006 3e-006 1
        1 VTX -0.125 0.125 0.0575 0.000557 0.0937 0 0 0 0 0 0
        1 VTX -0.5 0.5 0.112 0.000337 0.0937 0 0 0 0 0 0
        1 ITK -0.6923 0.6923 0.67 0.000956 0.0937 2 0 1.5708 7e-006 9e-005 1
        1 ITK -2.3 2.3 0.686 0.001171 0.0937 0 0 0 0 0 0
        1 OTK -1.2642 1.2642 2.136 0.000956 0.0937 2 0 1.5708 7e-006 9e-005 1
        1 OTK -1.2642 1.2642 2.126 0.000117 0.0937 0 0 0 0 0 0
        2 VTXDSK 0.0345 0.102 -0.229 4.4e-005 0.0937 2 0 1.5708 3e-006 3e-006 1
        2 VTXDSK 0.045 0.102 0.3 0.000557 0.0937 0 0 0 0 0 0
        2 ITKDSK 0.2495 0.657 -1.661 0.000956 0.0937 2 0 1.5708 7e-006 9e-005 1
        2 ITKDSK 0.293 0.641 1.956 0.000346 0.0937 0 0 0 0 0 0
        2 OTKDSK 0.718 2.08 1.883 0.000956 0.0937 2 0 1.5708 7e-006 9e-005 1
        2 OTKDSK 0.127 0.65 -0.5016 0.000562 0.0937 0 0 0 0 0 0
    """,
}


@lru_cache
def shipped(name: str) -> Detector:
    """A shipped detector, read once."""
    return load_detector(name)


def material(name: str, r_min: float = 0.0, r_max: float = math.inf) -> float:
    """Sum of x/X0 of the cylinders between two radii [cm], at normal incidence at z = 0."""
    return sum(s.x_over_x0 for s in elements(shipped(name)) if not s.is_disk and r_min < s.position < r_max)


def test_these_are_all_shipped_detectors():
    assert sorted(resources.shipped("detectors")) == sorted({*LAYERED, *LIKE})


@pytest.mark.parametrize("name", LAYERED)
def test_layered_detector_has_its_measuring_layers_and_field(name):
    detector = shipped(name)
    measuring = [s for s in elements(detector) if s.is_sensitive]
    n_disks = sum(s.is_disk for s in measuring)
    assert (detector.name, len(measuring) - n_disks, n_disks, detector.b_z) == (name, *LAYERED[name])


@pytest.mark.parametrize("name", [*LAYERED, *LIKE])
def test_each_has_a_card_of_its_name(name):
    loaded = load_card("alice3" if name == "alice3_v2" else name)
    assert loaded.detector.name == name
    assert loaded.path.parent == resources.data_dir("cards")


@pytest.mark.parametrize("name", LAYERED)
def test_layers_of_energy_loss_have_the_radiation_length_of_some_material(name):
    detector = shipped(name)
    if detector.tracking.energy_loss == "none":
        return
    lengths = [s.areal_density / s.x_over_x0 for s in elements(detector)]
    assert min(lengths) > 10  # g/cm2; iron has 13.8
    assert max(lengths) < 70  # beryllium has 65.2


@pytest.mark.parametrize("name", ["alice3_v1", "alice3_v2", "alice3_v3"])
def test_alice3_has_four_hits_as_far_as_eta_3_9(name):
    slope = math.sinh(3.9)
    hit = [
        s for s in elements(shipped(name))
        if s.is_sensitive and s.low <= (s.position / slope if s.is_disk else s.position * slope) <= s.high and s.position > 0
    ]  # fmt: skip
    assert len(hit) >= 6
    assert max(s.position for s in hit if s.is_disk) >= 279.0


# Delphes' cards


@pytest.mark.parametrize(("name", "n"), [("idea", 144), ("cld", 100)])
def test_elements_are_as_many_as_rows_in_the_card(name, n):
    assert len(elements(shipped(name))) == n


@pytest.mark.parametrize(
    ("name", "row"), [(name, row) for name, rows in CARD_ROWS.items() for row in rows.strip().split("\n")]
)
def test_row_of_the_card_is_there(name, row):
    kind, _, *numbers = row.split()
    low, high, position, thickness, x0, n, up, down, sigma_up, sigma_down, flag = map(float, numbers)
    found = [
        s for s in elements(shipped(name))
        if s.is_disk == (kind == "2") and s.position == pytest.approx(100 * position, abs=1e-3)
    ]  # fmt: skip
    assert len(found) == 1
    surface = found[0]
    assert (surface.low, surface.high) == pytest.approx((100 * low, 100 * high))
    assert surface.x_over_x0 == pytest.approx(thickness / x0, rel=1e-5)
    assert surface.efficiency == flag
    if n > 0:
        assert (surface.sigma[0], surface.stereo[0]) == pytest.approx((100 * sigma_up, up), abs=1e-6)
    if n > 1:
        assert (surface.sigma[1], surface.stereo[1]) == pytest.approx((100 * sigma_down, down), abs=1e-5)
    assert sum(sigma < math.inf for sigma in surface.sigma) == n


# material against published values


def test_drift_chamber_of_idea_is_1_6_percent_in_the_barrel_and_5_in_the_endcap():
    """PoS(EPS-HEP2021)786: 0.016 and 0.05 radiation lengths."""
    assert material("idea", 34.0, 203.0) == pytest.approx(0.016, abs=0.0005)
    wall = next(s for s in elements(shipped("idea")) if s.name == "DCHWALL+")
    assert wall.x_over_x0 == pytest.approx(0.05, abs=0.006)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("alice3_v2", 0.042e-2 + 3 * 0.1e-2 + 0.14e-2 + 8 * 1.0e-2),
        ("alice_its2", 0.224e-2 + 3 * 0.35e-2 + 4 * 0.8e-2),
        ("alice_its3", 0.14e-2 + 3 * 0.09e-2 + 4 * 0.8e-2),
    ],
)
def test_total_material_at_normal_incidence(name, published):
    """Beryllium pipes; layers of ALICE 3's Letter of Intent, of ITS2 (arXiv:2111.08301) and ITS3 (arXiv:2601.07405)."""
    assert material(name) == pytest.approx(published)


def test_tpc_has_its_rows_where_upstream_has_them():
    rows = [s.position for s in elements(shipped("alice_its2_tpc")) if s.repeated]
    expected = [*(85.2 + 0.75 * np.arange(63)), *(135.1 + np.arange(64)), *(199.2 + 1.5 * np.arange(32))]
    assert rows == pytest.approx(expected)


# formulas


def value(name: str, quantity: str, species: str, pt: float, eta: float, r: float = 0.0) -> float:
    """A formula of a detector at a point."""
    formula = next(f for f in shipped(name).formulas if species in f.species)
    s = by_name(species)
    variables = {
        "pt": pt, "p": pt * math.cosh(eta), "eta": eta, "theta": 2 * math.atan(math.exp(-eta)), "mass": s.mass,
        "charge": float(s.charge), "r": r,
    }  # fmt: skip
    return float(evaluate(getattr(formula, quantity), variables))


@pytest.mark.parametrize("name", LIKE)
def test_formulas_hold_for_every_species_and_give_numbers(name):
    detector = shipped(name)
    assert sorted(s for f in detector.formulas for s in f.species) == sorted(NAMES)
    assert detector.b_z == LIKE[name]
    for species in NAMES:
        for pt in (0.11, 0.9, 1.1, 120.0, 900.0):
            for eta in (-2.49, -1.2, 0.0, 0.7, 2.0):
                inside = [value(name, "efficiency", species, pt, eta, r) for r in detector.r_edges]
                assert 0.5 <= inside[0] <= 0.99
                assert inside == sorted(inside, reverse=True)
                assert inside[-1] == 0.0
                for quantity in ("sigma_pt_over_pt", "sigma_dca_xy", "sigma_dca_z", "sigma_phi", "sigma_tan_lambda"):
                    sigma = value(name, quantity, species, pt, eta)
                    assert sigma > 0
                    assert sigma == value(name, quantity, species, pt, -eta)
        assert value(name, "efficiency", species, 0.09, 0.0) == 0.0
        assert value(name, "efficiency", species, 5.0, 2.51) == 0.0


def test_cms_like_meets_the_abstract_of_its_paper():
    """arXiv:1405.6569: muons of 100 GeV in |eta| < 1.4: 2.8 % in pt, 10 um and 30 um in the impact parameters."""
    for quantity, published, tolerance in [
        ("sigma_pt_over_pt", 0.028, 0.1), ("sigma_dca_xy", 10e-4, 0.1), ("sigma_dca_z", 30e-4, 0.15),
    ]:  # fmt: skip
        mean = np.mean([value("cms_like", quantity, "mu", 100.0, eta) for eta in np.linspace(0.0, 1.4, 29)])
        assert mean == pytest.approx(published, rel=tolerance)


@pytest.mark.parametrize(
    ("eta", "quantity", "at_infinity", "p_equal"),
    [
        (0.375, "sigma_dca_xy", 10e-4, 14.0),
        (1.625, "sigma_dca_xy", 12e-4, 20.0),
        (0.375, "sigma_phi", 70e-6, 39.0),
        (1.625, "sigma_phi", 92e-6, 49.0),
        (0.375, "sigma_tan_lambda", 0.7e-3, 5.0),
        (1.625, "sigma_tan_lambda", 1.2e-3, 10.0),
    ],
)
def test_atlas_like_goes_through_the_published_values(eta, quantity, at_infinity, p_equal):
    assert value("atlas_like", quantity, "pi", 1e5, eta) == pytest.approx(at_infinity, rel=2e-3)
    assert value("atlas_like", quantity, "pi", p_equal, eta) == pytest.approx(math.sqrt(2) * at_infinity, rel=2e-3)
