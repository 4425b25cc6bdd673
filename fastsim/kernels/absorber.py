"""What comes through an iron absorber: muons by their range, hadrons that do not interact, and muons from decays before it.

Range and its variance of a particle of mass M and unit charge are M times functions of beta gamma alone (but for the largest
transfer, where the muon's mass is taken): R/M and var(R)/M are tables over ln(beta gamma). Iron counts as silicon of the areal
density that takes as much energy from a minimum-ionising particle (PDG: 1.451 and 1.664 MeV cm2/g): good to a few per cent.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from fastsim.jit import kernel
from fastsim.kernels.energy_deposit import place_1
from fastsim.kernels.energy_loss import _K, _Z_OVER_A, largest_transfer_1, stopping_power_1

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IRON_DENSITY = 7.874  # g/cm3, PDG
IRON_INTERACTION_LENGTH = 16.77  # cm, nuclear, PDG
IRON_IN_SILICON = 1.451 / 1.664  # minimum stopping powers per g/cm2, PDG
_CERTAIN = 4.0  # 8e-9 from 0 or 1
MUON, PION, KAON = 1, 2, 3  # in `species.SPECIES`
KAON_TO_MUON = 0.6356  # branching fraction of K -> mu nu, PDG; pions: 0.99988


class Ranges(NamedTuple):
    """R/M [g/cm2 of silicon, per GeV] and var(R)/M [(g/cm2)^2/GeV] over ln(beta gamma) of the axis (first, 1 / step)."""

    axis: tuple[float, float]
    length: NDArray[np.float64]
    variance: NDArray[np.float64]


@kernel
def fill_ranges(
    bg: NDArray[np.float64], mass: float, length: NDArray[np.float64], variance: NDArray[np.float64]
) -> None:
    """Integrate range and variance per mass from the lowest beta gamma (where both are 0) up, by the trapezoid rule.

    d(R) = dE / S; d(var R) = w dE / S^3, with Bohr's fluctuation w = K/2 Z/A Tmax (1 - beta^2/2) / beta^2 of the loss per g/cm2.
    """
    length[0] = 0.0
    variance[0] = 0.0
    before = 0.0
    spread_before = 0.0
    for k in range(len(bg)):
        bg2 = bg[k] * bg[k]
        beta2 = bg2 / (1.0 + bg2)
        power = stopping_power_1(bg[k] * mass, mass, 1.0)
        wide = 0.5 * _K * _Z_OVER_A * largest_transfer_1(bg[k], mass) * (1.0 - 0.5 * beta2) / beta2
        now = 1.0 / power
        spread = wide / power**3
        if k > 0:
            step = math.sqrt(1.0 + bg2) - math.sqrt(1.0 + bg[k - 1] * bg[k - 1])
            length[k] = length[k - 1] + 0.5 * step * (before + now)
            variance[k] = variance[k - 1] + 0.5 * step * (spread_before + spread)
        before = now
        spread_before = spread


@kernel
def passes_1(ranges: Ranges, p: float, mass: float, charge: float, thickness: float) -> float:
    """Probability that the range is longer than a thickness [g/cm2 of silicon]; a charge z shortens it by z^2."""
    k, g = place_1(math.log(p / mass), ranges.axis, len(ranges.length))
    scale = mass / (charge * charge)
    length = scale * (ranges.length[k] + g * (ranges.length[k + 1] - ranges.length[k]))
    variance = scale / (charge * charge) * (ranges.variance[k] + g * (ranges.variance[k + 1] - ranges.variance[k]))
    if variance <= 0.0:
        return 0.0
    missing = (thickness - length) / math.sqrt(2.0 * variance)
    if abs(missing) > _CERTAIN:
        return 0.0 if missing > 0.0 else 1.0
    return 0.5 * math.erfc(missing)


@kernel
def threshold_1(ranges: Ranges, mass: float, thickness: float) -> tuple[float, float]:
    """Energy [GeV] of a particle of unit charge whose mean range is a thickness [g/cm2 of silicon], and its straggling."""
    low, high = 0, len(ranges.length) - 1
    wanted = thickness / mass
    while high - low > 1:
        middle = (low + high) // 2
        if ranges.length[middle] <= wanted:
            low = middle
        else:
            high = middle
    rise = ranges.length[high] - ranges.length[low]
    g = min(max((wanted - ranges.length[low]) / rise, 0.0), 1.0)
    bg, bg_next = math.exp(ranges.axis[0] + low / ranges.axis[1]), math.exp(ranges.axis[0] + high / ranges.axis[1])
    energy, energy_next = mass * math.sqrt(1.0 + bg * bg), mass * math.sqrt(1.0 + bg_next * bg_next)
    variance = mass * (ranges.variance[low] + g * (ranges.variance[high] - ranges.variance[low]))
    return energy + g * (energy_next - energy), math.sqrt(variance) * (energy_next - energy) / (mass * rise)


@kernel
def daughter_passes_1(ranges: Ranges, p: float, mass: float, muon_mass: float, thickness: float) -> float:
    """Probability that the muon of a decay to mu nu in flight has range enough: its energy is uniform (PDG, "Kinematics").

    From E (1 - p/E) .. (1 + p/E) of the parent's, times (1 + (m_mu/m)^2)/2 and (1 - (m_mu/m)^2)/2: the mean of the normal
    distribution function of the straggling over this interval.
    """
    energy = math.sqrt(p * p + mass * mass)
    ratio2 = (muon_mass / mass) ** 2
    middle = 0.5 * energy * (1.0 + ratio2)
    reach = 0.5 * p * (1.0 - ratio2)
    needed, sigma = threshold_1(ranges, muon_mass, thickness)
    below, above = (middle - reach - needed) / sigma, (middle + reach - needed) / sigma
    return (_ramp_1(above) - _ramp_1(below)) / (above - below)


@kernel
def _ramp_1(x: float) -> float:
    """Integral of the normal distribution function up to x."""
    if abs(x) > 6.0:
        return max(x, 0.0)
    return 0.5 * x * math.erfc(-x / math.sqrt(2.0)) + math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


@kernel
def through_iron_1(
    ranges: Ranges,
    species: int,
    p: float,
    mass: float,
    charge: float,
    c_tau: float,
    muon_mass: float,
    way: float,
    iron: float,
) -> float:
    """Probability that a muon comes out behind `iron` [cm along the track], or a hadron that looks like one.

    `way` [cm] is the path from where the particle was born to the front. Electrons (species 0) never come through. Pions and
    kaons decay before it with 1 - exp(-way m / (p c tau)); the others come through as exp(-iron / lambda) if they have the range.
    """
    if species == 0:
        return 0.0
    thickness = iron * IRON_DENSITY * IRON_IN_SILICON
    if species == MUON:
        return passes_1(ranges, p, mass, charge, thickness)
    punched = passes_1(ranges, p, mass, charge, thickness)
    if punched > 0.0:
        punched *= math.exp(-iron / IRON_INTERACTION_LENGTH)
    if not math.isfinite(c_tau):
        return punched
    left = math.exp(-way * mass / (p * c_tau))
    share = KAON_TO_MUON if species == KAON else 1.0
    return left * punched + (1.0 - left) * share * daughter_passes_1(ranges, p, mass, muon_mass, thickness)
