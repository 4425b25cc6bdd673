"""Energy loss of a charged particle in thin layers: mean, fluctuations, and what radiation does to electrons.

All layers are counted as silicon of the same areal density, as in DelphesO2's table maker: the stopping power per g/cm2
of what trackers are made of differs from it by 5 % (carbon, beryllium) to 15 % (gas). Formulas: PDG review (2024),
"Passage of particles through matter"; constants of silicon: Sternheimer, Berger and Seltzer (1984) as listed there.
"""

from __future__ import annotations

import math

from fastsim.jit import kernel

ELECTRON_MASS = 0.51099895e-3  # GeV
_K = 0.307075e-3  # GeV cm2 / mol
_Z_OVER_A = 0.49848
_I = 173.0e-9  # GeV, mean excitation energy
_C, _X0, _X1, _A, _M, _D0 = 4.4351, 0.2014, 2.8715, 0.14921, 3.2546, 0.14  # density effect
_LOWEST_BETA_GAMMA = 0.05  # below it Bethe's formula fails; what is so slow stops within micrometres anyway
_FINEST = 0.05  # share of the kinetic energy that one step may lose


@kernel
def density_effect_1(beta_gamma: float) -> float:
    """Density correction delta in silicon (Sternheimer's parametrisation, PDG 34.2.5)."""
    x = math.log10(beta_gamma)
    if x >= _X1:
        return 2.0 * math.log(10.0) * x - _C
    if x >= _X0:
        return 2.0 * math.log(10.0) * x - _C + _A * math.pow(_X1 - x, _M)
    return _D0 * math.pow(10.0, 2.0 * (x - _X0))


@kernel
def largest_transfer_1(beta_gamma: float, mass: float) -> float:
    """Largest energy [GeV] that a heavy particle can give to an electron in one collision (PDG 34.4)."""
    ratio = ELECTRON_MASS / mass
    gamma = math.sqrt(1.0 + beta_gamma * beta_gamma)
    return 2.0 * ELECTRON_MASS * beta_gamma * beta_gamma / (1.0 + 2.0 * gamma * ratio + ratio * ratio)


@kernel
def stopping_power_1(p: float, mass: float, charge: float) -> float:
    """Mean ionisation loss -dE/dx [GeV cm2/g] in silicon: Bethe's formula (PDG 34.5), for electrons PDG 34.24."""
    beta_gamma = max(p / mass, _LOWEST_BETA_GAMMA)
    gamma = math.sqrt(1.0 + beta_gamma * beta_gamma)
    beta2 = (beta_gamma / gamma) ** 2
    delta = density_effect_1(beta_gamma)
    if mass < 1.01 * ELECTRON_MASS:
        transfer = (
            0.5 * ELECTRON_MASS * (gamma - 1.0)
        )  # of two equal electrons, the faster one is called the projectile
        bracket = 0.5 * (
            math.log(ELECTRON_MASS * beta_gamma * beta_gamma * transfer / (_I * _I))
            + (1.0 - beta2)
            - (2.0 * gamma - 1.0) / (gamma * gamma) * math.log(2.0)
            + 0.125 * ((gamma - 1.0) / gamma) ** 2
            - delta
        )
    else:
        transfer = largest_transfer_1(beta_gamma, mass)
        bracket = (
            0.5 * math.log(2.0 * ELECTRON_MASS * beta_gamma * beta_gamma * transfer / (_I * _I)) - beta2 - 0.5 * delta
        )
    return _K * charge * charge * _Z_OVER_A / beta2 * bracket


@kernel
def momentum_after_1(p: float, mass: float, charge: float, areal_density: float) -> float:
    """Momentum [GeV] behind so much silicon [g/cm2 along the track] by mean ionisation loss; 0 if the particle stops.

    Midpoint steps, each short enough to lose at most 5 % of the kinetic energy.
    """
    energy = math.sqrt(p * p + mass * mass)
    left = areal_density
    while left > 0.0:
        power = stopping_power_1(math.sqrt(energy * energy - mass * mass), mass, charge)
        step = min(left, _FINEST * (energy - mass) / power)
        middle = energy - 0.5 * step * power
        energy -= step * stopping_power_1(math.sqrt(middle * middle - mass * mass), mass, charge)
        left -= step
        if energy - mass < 1e-3 * mass:  # beta gamma = 0.045: the end of its range
            return 0.0
    return math.sqrt(energy * energy - mass * mass)


@kernel
def straggling_1(p: float, mass: float, charge: float, areal_density: float, lost: float, convention: int) -> float:
    """Rms fluctuation [GeV] of the energy lost in so much silicon [g/cm2 along the track], of which the mean is `lost`.

    Convention 1: Bohr's width with the relativistic correction, xi Tmax (1 - beta^2 / 2) (PDG 34.2.9; B. Rossi, High-energy
    particles (1952), 2.7); 2: AliRoot's 0.07 sqrt(lost / GeV), several times larger in thin layers; 0: none.
    """
    if convention == 0 or areal_density <= 0.0:
        return 0.0
    if convention == 2:
        return 0.07 * math.sqrt(lost)
    beta_gamma = p / mass
    beta2 = beta_gamma * beta_gamma / (1.0 + beta_gamma * beta_gamma)
    xi = 0.5 * _K * _Z_OVER_A * charge * charge * areal_density / beta2
    if mass < 1.01 * ELECTRON_MASS:
        transfer = 0.5 * (math.sqrt(p * p + mass * mass) - mass)
    else:
        transfer = largest_transfer_1(beta_gamma, mass)
    return math.sqrt(xi * transfer * (1.0 - 0.5 * beta2))


@kernel
def radiation_variance_1(t: float) -> float:
    """Relative variance of an electron's momentum behind t radiation lengths, by Bethe and Heitler's formula.

    The fraction z that is left has <z> = exp(-t) and <z^2> = exp(-t ln 3 / ln 2): this is <z^2>/<z>^2 - 1. As a Gaussian it is an
    approximation: the true distribution peaks at 1 with a long tail.
    Source: R. Fruehwirth, Computer Physics Communications 154 (2003) 131, sect. 2.
    """
    return math.exp(t * (2.0 - math.log(3.0) / math.log(2.0))) - 1.0
