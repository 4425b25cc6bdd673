"""The absorber against closed forms: range by Bethe's formula in iron itself, interaction lengths, decay in flight."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastsim.devices.muon import MuonIdentification, make_ranges
from fastsim.kernels.absorber import daughter_passes_1, passes_1, through_iron_1
from fastsim.rng import Streams
from fastsim.species import SPECIES, by_name
from tests.dedx_tracks import batch_of, column_of, detector

RANGES = make_ranges()
MU = by_name("mu").mass


def iron_power(p, mass):
    """Bethe's formula in iron [GeV cm2/g], PDG 34.5 with Sternheimer's constants of iron (I = 286 eV)."""
    bg, me = p / mass, 0.51099895e-3
    gamma = math.sqrt(1 + bg * bg)
    beta2 = bg * bg / (1 + bg * bg)
    x = math.log10(bg)
    if x > 3.1531:
        delta = 2 * math.log(10) * x - 4.2911
    elif x > -0.0012:
        delta = 2 * math.log(10) * x - 4.2911 + 0.14680 * (3.1531 - x) ** 2.9632
    else:
        delta = 0.12 * 10 ** (2 * (x + 0.0012))
    transfer = 2 * me * bg * bg / (1 + 2 * gamma * me / mass + (me / mass) ** 2)
    bracket = 0.5 * math.log(2 * me * bg * bg * transfer / 286e-9**2) - beta2 - delta / 2
    return 0.307075e-3 * 0.46557 / beta2 * bracket


def test_iron_at_its_minimum():
    assert min(iron_power(p, MU) for p in np.linspace(0.2, 0.6, 100)) == pytest.approx(1.451e-3, rel=0.01)  # PDG


@pytest.mark.parametrize("iron", [30.0, 70.0, 200.0])
def test_the_momentum_that_comes_through(iron):
    """Half of the muons pass at the momentum whose range in iron (own integral) is the thickness, to 3 %; steeply above."""
    areal = iron * 7.874

    def range_of(p):
        kinetic = np.geomspace(1e-3, math.sqrt(p * p + MU * MU) - MU, 2000)  # the last MeV is 0.1 g/cm2
        inverse = np.array([1 / iron_power(math.sqrt(t * (t + 2 * MU)), MU) for t in kinetic])
        return float(np.trapezoid(inverse, kinetic))

    momenta = np.geomspace(0.2, 6, 200)
    threshold = np.interp(areal, [range_of(p) for p in momenta], momenta)
    silicon = areal * 1.451 / 1.664
    passed = np.array([passes_1(RANGES, p, MU, 1.0, silicon) for p in momenta])
    assert np.interp(0.5, passed, momenta) == pytest.approx(threshold, rel=0.03)
    assert passed[momenta < 0.8 * threshold].max() < 1e-3
    assert passed[momenta > 1.25 * threshold].min() > 0.999
    if iron == 70.0:
        assert 0.9 < threshold < 1.1  # the energy loss is 70 cm * 11.4 MeV/cm = 0.80 GeV and some relativistic rise


def test_range_straggling():
    """Relative spread of the ranges of muons of some GeV: 2 to 4 % (Bohr; sqrt(m_e / m_mu) = 7 % times a factor below 1)."""
    momenta = np.linspace(0.8, 1.6, 4001)
    passed = np.array([passes_1(RANGES, p, MU, 1.0, 70 * 7.874 * 1.451 / 1.664) for p in momenta])
    low, middle, high = np.interp([0.1587, 0.5, 0.8413], passed, momenta)
    assert 0.02 < (high - low) / 2 / middle < 0.05


def test_punch_through():
    """Protons (no decay) of 20 GeV behind 70 cm: exp(-70 / 16.77) = 1.54 %."""
    proton = by_name("pr")
    found = through_iron_1(RANGES, 4, 20.0, proton.mass, 1.0, math.inf, MU, 200.0, 70.0)
    assert found == pytest.approx(math.exp(-4.174), rel=1e-3)
    assert found == pytest.approx(0.0154, abs=1e-4)
    assert through_iron_1(RANGES, 4, 0.8, proton.mass, 1.0, math.inf, MU, 200.0, 70.0) < 1e-9  # no range


@pytest.mark.parametrize(("species", "expected"), [("pi", 0.0177), ("ka", 0.125)])
def test_decay_in_flight(species, expected):
    """1 GeV over 1 m decays with 1.77 % (pion) and 12.5 % (kaon): seen behind so little iron that every daughter passes."""
    kind = by_name(species)
    index = [s.name for s in SPECIES].index(species)
    decays = 1 - math.exp(-100 * kind.mass / (1.0 * kind.c_tau))
    assert decays == pytest.approx(expected, rel=0.005)
    thin = through_iron_1(RANGES, index, 1.0, kind.mass, 1.0, kind.c_tau, MU, 100.0, 1e-3)
    share = 1.0 if species == "pi" else 0.6356
    assert thin == pytest.approx(decays * share + (1 - decays) * math.exp(-1e-3 / 16.77), rel=1e-4)


def test_daughters_by_brute_force():
    """100,000 decays of 4 GeV kaons and pions, isotropic in their frame, against the average over the flat spectrum."""
    rng = np.random.default_rng(1)
    for species in ("pi", "ka"):
        kind = by_name(species)
        energy, momentum = math.hypot(4.0, kind.mass), 4.0
        star = (kind.mass**2 - MU**2) / (2 * kind.mass)
        cosine = rng.uniform(-1, 1, 100_000)
        muon = (energy * math.hypot(star, MU) + momentum * star * cosine) / kind.mass
        thickness = 70 * 7.874 * 1.451 / 1.664
        passed = np.mean([passes_1(RANGES, math.sqrt(e * e - MU * MU), MU, 1.0, thickness) for e in muon[:20_000]])
        assert daughter_passes_1(RANGES, 4.0, kind.mass, MU, thickness) == pytest.approx(passed, abs=0.01)


def test_slanted_iron_is_thicker():
    """Straight muons of 1.2 GeV pass at 90 degrees and stop at eta = 1; pions' punch-through falls as exp(-cosh(eta) t)."""
    found = detector('[[muon]]\nname = "mid"\nr = 200.0\nhalf_length = 600.0\niron_cm = 70.0\n', b_z=0.1)
    module = MuonIdentification.from_options(
        MuonIdentification.Options(name="m", kind="muon_id", level="parametric"), found
    )
    muons = column_of(
        module.apply(batch_of("mu", np.array([1.25, 1.25]), eta=[0.0, 1.0]), Streams(1)), "mid_probability_true"
    )
    assert muons[0] > 0.99
    assert muons[1] < 0.01
    protons = column_of(
        module.apply(batch_of("pr", np.full(2, 30.0), eta=[0.0, 1.0]), Streams(1)), "mid_probability_true"
    )
    np.testing.assert_allclose(protons, np.exp(-70 / 16.77 * np.cosh([0.0, 1.0])), rtol=2e-3)


@pytest.mark.parametrize("place", ["r = 200.0\nhalf_length = 600.0", "z = 300.0\nr_min = 20.0\nr_max = 280.0"])
def test_projective_iron_is_as_thick_everywhere(place):
    """Straight protons punch through with exp(-70 / 16.77) at all angles; bent ones see some more."""
    found = detector(
        f'[[muon]]\nname = "mid"\n{place}\niron_cm = 70.0\nis_projective = true\n', b_z=0.1, half_length=250.0
    )
    module = MuonIdentification.from_options(
        MuonIdentification.Options(name="m", kind="muon_id", level="parametric"), found
    )
    etas = [1.2, 1.5, 2.0] if "z = " in place else [0.0, 1.0, 1.5]
    made = module.apply(batch_of("pr", np.full(3, 50.0), eta=etas), Streams(1))
    np.testing.assert_allclose(column_of(made, "mid_probability_true"), math.exp(-70 / 16.77), rtol=2e-3)
    soft = column_of(module.apply(batch_of("pr", np.full(3, 3.0), eta=etas), Streams(1)), "mid_probability_true")
    assert (soft < math.exp(-70 / 16.77)).all()
