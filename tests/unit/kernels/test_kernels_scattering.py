"""Highland's formula by hand, and the ratios of the conventions quoted in reference/tracking.md 0."""

import math

import pytest

from fastsim.kernels.conventions import CONVENTIONS, DESCRIPTIONS
from fastsim.kernels.scattering import highland_1

PDG, FAT, WHOLE, NO_LOG = (CONVENTIONS[name] for name in ("pdg_per_layer", "fat_per_layer", "pdg_whole_path", "no_log"))


def test_every_convention_is_described():
    assert set(DESCRIPTIONS) == set(CONVENTIONS)


def test_one_percent_at_1_gev_by_hand():
    """t = 0.01, beta p = 1 GeV: 13.6 mrad * 0.1 * (1 - 0.038 * 4.605170186) = 1.12200481 mrad; no log: 1.36 mrad."""
    for convention in (PDG, FAT, WHOLE):
        assert highland_1(0.01, 0.01, 1.0, 1.0, 1.0, convention) == pytest.approx(1.12200481e-3, rel=1e-8)
    assert highland_1(0.01, 0.01, 1.0, 1.0, 1.0, NO_LOG) == pytest.approx(1.36e-3, rel=1e-14)


@pytest.mark.parametrize(("t", "ratio"), [(1e-3, 0.74), (0.01, 0.83), (2.5e-5, 0.60)])
def test_the_log_term_s_size_is_as_documented(t, ratio):
    """reference/tracking.md 0: x0.74 at 0.1 %, x0.83 at 1 %, x0.60 at 2.5e-5 of a radiation length (two digits)."""
    with_log = highland_1(t, t, 1.0, 1.0, 1.0, FAT)
    assert with_log / highland_1(t, t, 1.0, 1.0, 1.0, NO_LOG) == pytest.approx(ratio, abs=0.005)


def test_beta_and_charge_enter_the_pdg_logarithm():
    """PDG 34.16, z = 2, beta = .5, p = 2 GeV, t = .02: 13.6 MeV/(.5*2 GeV)*2*sqrt(.02)*(1 + .038 ln(.02*4/.25))."""
    by_hand = 0.0136 / (0.5 * 2.0) * 2.0 * math.sqrt(0.02) * (1.0 + 0.038 * math.log(0.32))
    assert highland_1(0.02, 0.3, 2.0, 0.5, 2.0, PDG) == pytest.approx(by_hand, rel=1e-14)
    assert highland_1(0.02, 0.3, 2.0, 0.5, -2.0, PDG) == pytest.approx(by_hand, rel=1e-14)
    fat = 0.0136 / (0.5 * 2.0) * 2.0 * math.sqrt(0.02) * (1.0 + 0.038 * math.log(0.02))
    assert highland_1(0.02, 0.3, 2.0, 0.5, 2.0, FAT) == pytest.approx(fat, rel=1e-14)


def test_whole_path_takes_the_logarithm_of_the_path():
    """Lynch and Dahl: the formula holds for a path as a whole, so n equal layers add up to the slab they make."""
    total, n = 0.05, 10
    slab = highland_1(total, total, 0.7, 0.98, 1.0, PDG)
    layer = highland_1(total / n, total, 0.7, 0.98, 1.0, WHOLE)
    assert math.sqrt(n) * layer == pytest.approx(slab, rel=1e-14)


def test_112_gas_layers_of_idea():
    """reference/tracking.md 1.4: per-layer log factor .598 for t = 2.55e-5, .778 for the 0.29 % slab of all layers."""
    t, n = 2.55e-5, 112
    per_layer = math.sqrt(n) * highland_1(t, n * t, 1.0, 1.0, 1.0, FAT)
    slab = highland_1(n * t, n * t, 1.0, 1.0, 1.0, FAT)
    assert per_layer / slab == pytest.approx(0.598 / 0.778, rel=2e-3)


def test_no_material_no_kick_and_never_negative():
    """The bracket would be negative below t = exp(-1/0.038) = 4e-12: there the width is 0, never less."""
    for convention in CONVENTIONS.values():
        assert highland_1(0.0, 0.1, 1.0, 1.0, 1.0, convention) == 0.0
        assert highland_1(1e-13, 1e-13, 1.0, 1.0, 1.0, convention) >= 0.0
    assert highland_1(1e-13, 1e-13, 1.0, 1.0, 1.0, PDG) == 0.0
