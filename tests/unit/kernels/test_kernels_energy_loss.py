"""Energy loss against the PDG's formulas typed here afresh, printed reference values, an ODE solver and integrals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import constants
from scipy.integrate import quad, solve_ivp
from scipy.special import gamma as gamma_function

from fastsim.kernels.conventions import STRAGGLING
from fastsim.kernels.energy_loss import (
    largest_transfer_1,
    momentum_after_1,
    radiation_variance_1,
    stopping_power_1,
    straggling_1,
)  # fmt: skip
from fastsim.species import SPECIES, by_name

GEV = constants.giga * constants.electron_volt
M_E = constants.m_e * constants.c**2 / GEV
R_E = constants.physical_constants["classical electron radius"][0] * 100.0  # cm
K = 4.0 * math.pi * constants.N_A * R_E**2 * M_E  # GeV cm2 / mol
Z_OVER_A = 14 / 28.0854
I = 173e-9  # noqa: E741  (the PDG's letter) GeV

HEAVY = [kind for kind in SPECIES if kind.name != "el"]
ELECTRON, PION, HELION = (by_name(name) for name in ("el", "pi", "he3"))


def density_effect(beta_gamma):
    """Sternheimer, Berger and Seltzer, At. Data Nucl. Data Tables 30 (1984) 261: silicon, a semiconductor (delta0 = 0.14)."""
    x = math.log10(beta_gamma)
    c, x0, x1, a, k, delta0 = 4.4351, 0.2014, 2.8715, 0.14921, 3.2546, 0.14
    if x < x0:
        return delta0 * 10 ** (2 * (x - x0))
    return 2 * math.log(10) * x - c + (a * (x1 - x) ** k if x < x1 else 0.0)


def stopping_power(p, mass, charge):
    """GeV cm2/g: PDG (2024) 34.5, for electrons 34.24."""
    energy = math.hypot(p, mass)
    beta, gamma = p / energy, energy / mass
    delta = density_effect(beta * gamma)
    if mass == ELECTRON.mass:
        inner = M_E * (beta * gamma) ** 2 * M_E * (gamma - 1) / 2 / I**2
        bracket = math.log(inner) + (1 - beta**2) - (2 * gamma - 1) / gamma**2 * math.log(2)
        return 0.5 * K * Z_OVER_A / beta**2 * (bracket + ((gamma - 1) / gamma) ** 2 / 8 - delta)
    largest = 2 * M_E * (beta * gamma) ** 2 / (1 + 2 * gamma * M_E / mass + (M_E / mass) ** 2)
    half_log = 0.5 * math.log(2 * M_E * (beta * gamma) ** 2 * largest / I**2)
    return K * charge**2 * Z_OVER_A / beta**2 * (half_log - beta**2 - delta / 2)


def momentum_behind(p, mass, charge, areal_density):
    """dE/dx integrated by scipy to 1e-10."""
    rest = math.hypot(p, mass)

    def slope(_, lost):
        return [stopping_power(math.sqrt((rest - lost[0]) ** 2 - mass**2), mass, charge)]

    lost = solve_ivp(slope, (0.0, areal_density), [0.0], rtol=1e-10, atol=1e-16).y[0, -1]
    return math.sqrt((rest - lost) ** 2 - mass**2)


def range_of(p, mass, charge, stop_at):
    """g/cm2 until the kinetic energy is that share of the mass."""
    rest = math.hypot(p, mass)
    return quad(lambda t: 1 / stopping_power(math.sqrt(t * (t + 2 * mass)), mass, charge), stop_at * mass, rest - mass)[
        0
    ]


@pytest.mark.parametrize(("beta_gamma", "printed"), [(1.0, 2.495), (10.0, 1.794), (100.0, 2.171)])
def test_printed_values_of_silicon(beta_gamma, printed):
    """reference/tracking.md 1.5 [MeV cm2/g], which are those of pions (the mass enters by the largest transfer)."""
    found = 1e3 * stopping_power_1(beta_gamma * PION.mass, PION.mass, 1.0)
    assert round(found, 3) == printed


def test_minimum_of_silicon():
    """1.664 MeV cm2/g at beta gamma of about 3.5: reference/tracking.md 1.5, and the PDG's table of silicon."""
    beta_gamma = np.linspace(2.0, 6.0, 401)
    loss = np.array([1e3 * stopping_power_1(b * PION.mass, PION.mass, 1.0) for b in beta_gamma])
    assert round(loss.min(), 3) == 1.664
    assert beta_gamma[loss.argmin()] == pytest.approx(3.5, abs=0.1)


@pytest.mark.parametrize("species", SPECIES, ids=lambda s: s.name)
def test_stopping_power_is_the_pdgs_formula(species):
    """To the digits of K, Z/A and the electron mass (3e-5), across the three pieces of the density effect."""
    for beta_gamma in np.geomspace(0.06, 2e4, 60):
        p = beta_gamma * species.mass
        found = stopping_power_1(p, species.mass, float(species.charge))
        assert found == pytest.approx(stopping_power(p, species.mass, species.charge), rel=3e-5)


@pytest.mark.parametrize("x", [0.2014, 2.8715])
def test_density_effect_has_no_step(x):
    below, above = (stopping_power_1(10 ** (x + h) * PION.mass, PION.mass, 1.0) for h in (-1e-7, 1e-7))
    assert below == pytest.approx(above, rel=1e-4)  # delta0 and Cbar are given to three digits


def test_twice_the_charge_loses_four_times_as_much_at_the_same_velocity():
    for beta_gamma in (0.1, 1.0, 30.0):
        one, two = (stopping_power_1(beta_gamma * HELION.mass, HELION.mass, charge) for charge in (1.0, 2.0))
        assert two == pytest.approx(4.0 * one, rel=1e-14)
    negative = stopping_power_1(1.0, PION.mass, -1.0)
    assert negative == stopping_power_1(1.0, PION.mass, 1.0)


def test_largest_transfer_is_kinematics():
    """A head-on collision with an electron at rest, by boosting into the centre of mass and back."""
    for species in HEAVY:
        for p in (0.05, 1.0, 100.0):
            energy = math.hypot(p, species.mass)
            beta = p / (energy + M_E)  # of the centre of mass
            gamma = 1.0 / math.sqrt((1.0 - beta) * (1.0 + beta))
            electron_energy = gamma * gamma * M_E * (1.0 + beta * beta)  # turned round there, boosted back
            found = largest_transfer_1(p / species.mass, species.mass)
            assert found == pytest.approx(electron_energy - M_E, rel=3e-9)  # CODATA's two editions


@pytest.mark.parametrize("species", SPECIES, ids=lambda s: s.name)
@pytest.mark.parametrize("areal_density", [0.0233, 0.233, 2.33])  # 100 um, 1 mm, 1 cm of silicon
def test_momentum_behind_a_layer_is_the_integral_of_the_loss(species, areal_density):
    """A midpoint step that loses the share s of the kinetic energy is off by some s^2 / 5 of the loss; none is above 5 %.

    Towards the end of the range these add up to a few 1e-3.
    """
    for beta_gamma in (0.3, 0.6, 1.0, 3.0, 30.0, 1000.0):
        p = beta_gamma * species.mass
        energy = math.hypot(p, species.mass)
        if range_of(p, species.mass, species.charge, 5e-3) < areal_density:
            continue
        expected = math.hypot(momentum_behind(p, species.mass, species.charge, areal_density), species.mass)
        found = math.hypot(momentum_after_1(p, species.mass, float(species.charge), areal_density), species.mass)
        share = (energy - expected) / (energy - species.mass)
        tolerance = 4e-3 if share > 0.5 else 3e-5 + 0.25 * min(share, 0.05) ** 2  # the constants' digits, and the step
        assert energy - found == pytest.approx(energy - expected, rel=tolerance, abs=1e-14 * energy), (
            beta_gamma,
            share,
        )


def test_no_material_no_loss():
    assert momentum_after_1(1.0, PION.mass, 1.0, 0.0) == pytest.approx(1.0, rel=1e-15)


@pytest.mark.parametrize("species", HEAVY, ids=lambda s: s.name)
def test_particles_stop_at_the_end_of_their_range(species):
    """The range to a kinetic energy of 1e-3 of the mass, below which a particle counts as stopped."""
    for beta_gamma in (0.2, 0.5, 1.0):
        p = beta_gamma * species.mass
        end = range_of(p, species.mass, species.charge, 1e-3)
        assert momentum_after_1(p, species.mass, float(species.charge), 0.98 * end) > 0.0
        for areal_density in (1.02 * end, 10.0 * end, 1e6 * end):
            assert momentum_after_1(p, species.mass, float(species.charge), areal_density) == 0.0


@pytest.mark.parametrize("species", SPECIES, ids=lambda s: s.name)
def test_less_is_left_behind_more_material(species):
    """Monotonous, and never NaN, from the lowest momenta on."""
    for p in (1e-4, 1e-3, 1e-2, 0.1, 1.0):
        left = [momentum_after_1(p, species.mass, float(species.charge), x) for x in np.linspace(0.0, 1.0, 40)]
        assert np.isfinite(left).all()
        assert (np.diff(left) <= 0.0).all()


# --- fluctuations ---------------------------------------------------------------------------------------------------

NONE, BOHR, ALIROOT = (STRAGGLING[name] for name in ("none", "bohr", "aliroot"))


@pytest.mark.parametrize("species", SPECIES, ids=lambda s: s.name)
def test_bohr_s_straggling_is_the_second_moment_of_single_losses(species):
    """Variance of a compound Poisson sum = integral of T^2 dsigma, dsigma = xi (1 - beta^2 T / Tmax) dT / T^2 (PDG 34.9)."""
    for p in (0.1, 0.5, 3.0, 20.0):
        energy = math.hypot(p, species.mass)
        beta, gamma = p / energy, energy / species.mass
        if species is ELECTRON:
            largest = 0.5 * (energy - species.mass)
        else:
            largest = 2 * M_E * (beta * gamma) ** 2 / (1 + 2 * gamma * M_E / species.mass + (M_E / species.mass) ** 2)
        xi = 0.5 * K * Z_OVER_A * species.charge**2 * 0.0233 / beta**2
        variance = xi * quad(lambda t, b=beta, m=largest: 1.0 - b * b * t / m, 0.0, largest)[0]
        found = straggling_1(p, species.mass, float(species.charge), 0.0233, 1e-4, BOHR)
        assert found == pytest.approx(math.sqrt(variance), rel=3e-5)


def test_straggling_of_thin_layers_adds_in_quadrature():
    thin, thick = (straggling_1(1.0, PION.mass, 1.0, x, 1e-4, BOHR) for x in (0.01, 0.04))
    assert thick == pytest.approx(2.0 * thin, rel=1e-14)


def test_aliroot_s_straggling():
    """0.07 sqrt(dE / GeV): 0.84 % of p per 1 mm of silicon at p = 0.2 GeV (reference/tracking.md 0), for a pion."""
    lost = 0.2329 * 1.664e-3  # of a minimum ionising particle
    spread = straggling_1(0.2, PION.mass, 1.0, 0.2329, lost, ALIROOT)
    assert spread == pytest.approx(0.07 * math.sqrt(lost), rel=1e-14)
    assert round(spread * math.hypot(0.2, PION.mass) / 0.2**2, 4) == 0.0084


def test_no_straggling():
    assert straggling_1(1.0, PION.mass, 1.0, 0.1, 1e-4, NONE) == 0.0
    assert straggling_1(1.0, PION.mass, 1.0, 0.0, 0.0, BOHR) == 0.0
    assert straggling_1(1.0, PION.mass, 1.0, 0.0, 0.0, ALIROOT) == 0.0


@pytest.mark.parametrize("t", [1e-3, 0.01, 0.1, 0.5, 1.0, 3.0])
def test_bethe_heitler_s_variance_is_that_of_its_density(t):
    """f(z) = (-ln z)^(c - 1) / Gamma(c), c = t / ln 2; with u = -ln z the moments are integrals of u^(c - 1) e^(-(n + 1) u)."""
    c = t / math.log(2)

    def moment(n):
        head = quad(lambda u: math.exp(-(n + 1) * u), 0.0, 1.0, weight="alg", wvar=(c - 1, 0))[0]
        tail = quad(lambda u: u ** (c - 1) * math.exp(-(n + 1) * u), 1.0, math.inf)[0]
        return (head + tail) / gamma_function(c)

    assert moment(0) == pytest.approx(1.0, rel=1e-8)
    assert moment(1) == pytest.approx(math.exp(-t), rel=1e-8)
    assert radiation_variance_1(t) == pytest.approx(moment(2) / moment(1) ** 2 - 1.0, rel=1e-6)


def test_no_material_no_radiation():
    assert radiation_variance_1(0.0) == 0.0
