"""What a photon or an electron does in t radiation lengths: pairs and bremsstrahlung, their energies and angles.

Cross sections are per radiation length, so the material enters only by its screening of the nuclei, which is taken as silicon's
(it matters below some 100 MeV). The formulas are those of Bethe and Heitler with screening and the Coulomb correction, as in the
Geant4 Physics Reference Manual, "Gamma conversion", after J. C. Butcher and H. Messel, Nucl. Phys. 20 (1960) 15; for complete
screening they are the PDG's (review, "Passage of particles through matter", 34.4 and 34.5).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.energy_loss import ELECTRON_MASS
from fastsim.rng import Word, uniforms_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Z: Final = 14.0
_ALPHA_Z2: Final[float] = (_Z / 137.036) ** 2
_COULOMB: Final[float] = _ALPHA_Z2 * (
    1.0 / (1.0 + _ALPHA_Z2) + 0.20206 - 0.0369 * _ALPHA_Z2 + 0.0083 * _ALPHA_Z2**2
)  # PDG 34.27 (H. Davies, H. A. Bethe, L. C. Maximon, Phys. Rev. 93 (1954) 788)
_HALF_F: Final[float] = 4.0 / 3.0 * math.log(_Z) + 4.0 * _COULOMB
_SCREENING: Final[float] = 136.0 * ELECTRON_MASS / _Z ** (1.0 / 3.0)
_COMPLETE: Final[float] = 20.867 - _HALF_F  # the first screening function, of complete screening
PAIR_ENERGIES: Final = np.geomspace(
    2.0 * ELECTRON_MASS, 1e4, 241
)  # GeV; from 10 TeV on nothing changes but the LPM effect


@kernel
def pair_spectrum_1(x: float, energy: float) -> float:
    """Pairs per radiation length and unit of x, the electron's share of the photon's energy [GeV]; 0 where there is none."""
    delta = _SCREENING / (energy * x * (1.0 - x))
    if delta <= 1.0:
        phi_1 = 20.867 - 3.242 * delta + 0.625 * delta * delta
        phi_2 = 20.209 - 1.930 * delta - 0.086 * delta * delta
    else:
        phi_1 = 21.12 - 4.184 * math.log(delta + 0.952)
        phi_2 = phi_1
    even = 1.0 - 2.0 * x * (1.0 - x)
    return max(even * (phi_1 - _HALF_F) + 2.0 / 3.0 * x * (1.0 - x) * (phi_2 - _HALF_F), 0.0) / _COMPLETE


@kernel
def pair_rate_1(energy: float, rates: NDArray[np.float64]) -> float:
    """Pairs per radiation length of a photon [GeV], interpolated in what `pair_rates` gives; 7/9 at high energies."""
    if energy <= 2.0 * ELECTRON_MASS:
        return 0.0
    last = len(rates) - 1
    at = min(math.log(energy / PAIR_ENERGIES[0]) / math.log(PAIR_ENERGIES[1] / PAIR_ENERGIES[0]), float(last))
    low = min(int(at), last - 1)
    return float(rates[low] + (at - low) * (rates[low + 1] - rates[low]))


@kernel
def pair_rates(rates: NDArray[np.float64]) -> None:
    """Fill `rates` with the integrals of the spectrum at PAIR_ENERGIES (midpoint rule, good to 1e-4)."""
    n = 400
    for i in range(len(rates)):
        energy = PAIR_ENERGIES[i]
        low = ELECTRON_MASS / energy
        width = (1.0 - 2.0 * low) / n
        rates[i] = 0.0
        for k in range(n if width > 0.0 else 0):
            rates[i] += width * pair_spectrum_1(low + (k + 0.5) * width, energy)


@kernel
def draw_share_1(energy: float, draw: int, index: int, event_id: Word, k0: Word, k1: Word) -> tuple[float, int]:
    """The electron's share of a photon's energy, by rejection, and the next draw number. The spectrum nowhere exceeds 1."""
    low = ELECTRON_MASS / energy
    while True:
        u, v = uniforms_1(draw, index, event_id, k0, k1)
        draw += 1
        x = low + u * (1.0 - 2.0 * low)
        if v < pair_spectrum_1(x, energy) or draw > 1_000_000:  # (never so many: it accepts one of two)
            return x, draw


@kernel
def photon_rate_1(energy: float, lowest: float) -> float:
    """Photons above `lowest` [GeV] that an electron radiates per radiation length (PDG 34.29, without its small term)."""
    y = lowest / energy
    if y >= 1.0:
        return 0.0
    return -4.0 / 3.0 * math.log(y) - 4.0 / 3.0 * (1.0 - y) + 0.5 * (1.0 - y * y)


@kernel
def draw_photon_1(
    energy: float, lowest: float, draw: int, index: int, event_id: Word, k0: Word, k1: Word
) -> tuple[float, int]:
    """Energy [GeV] of a photon above `lowest` that an electron radiates, by rejection from 1/k, and the next draw number."""
    ratio = math.log(energy / lowest)
    while True:
        u, v = uniforms_1(draw, index, event_id, k0, k1)
        draw += 1
        y = math.exp(-u * ratio)
        if v < 1.0 - y + 0.75 * y * y or draw > 1_000_000:
            return energy * y, draw


@kernel
def draw_angle_1(energy: float, draw: int, index: int, event_id: Word, k0: Word, k1: Word) -> tuple[float, float, int]:
    """Polar and azimuthal angle [rad] of pairs and photons for an electron of this energy [GeV], and the next draw number.

    The polar angle is u m/E, with Y.-S. Tsai's distribution of u as a sum of two (Geant4 Physics Reference Manual,
    "Gamma conversion"; GEANT 3.21 manual, PHYS 211 and 341).
    """
    which, turn = uniforms_1(draw, index, event_id, k0, k1)
    a, b = uniforms_1(draw + 1, index, event_id, k0, k1)
    steepness = 0.625 if which < 0.25 else 1.875
    u = -math.log((1.0 - a) * (1.0 - b)) / steepness
    return min(u * ELECTRON_MASS / energy, math.pi), 2.0 * math.pi * turn, draw + 2
