"""What drift-chamber gases do: clusters of ionisation per cm as a function of beta gamma, and electrons in a cluster."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from fastsim.kernels.gas_volumes import Rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.detector.devices.dedx import Gas

# Clusters per cm of a unit charge at 1 atm (Garfield++): Delphes, external/TrackCovariance/TrkUtil.cc, TrkUtil::Nclusters.
_BETA_GAMMA: Final = (0.5, 0.8, 1, 2, 3, 4, 5, 8, 10, 12, 15, 20, 50, 100, 200, 500, 1000, 10_000)
_CLUSTERS: Final[dict[Gas, tuple[float, ...]]] = {
    "he90_isobutane10": (
        42.94, 23.6, 18.97, 12.98, 12.2, 12.13, 12.24, 12.73, 13.03, 13.29, 13.63, 14.08, 15.56, 16.43, 16.8, 16.95,
        16.98, 16.98,
    ),
    "he": (11.79, 6.5, 5.23, 3.59, 3.38, 3.37, 3.4, 3.54, 3.63, 3.7, 3.8, 3.92, 4.33, 4.61, 4.78, 4.87, 4.89, 4.89),
    "ar50_ethane50": (
        130.04, 71.55, 57.56, 39.44, 37.08, 36.9, 37.25, 38.76, 39.68, 40.49, 41.53, 42.91, 46.8, 48.09, 48.59, 48.85,
        48.93, 48.93,
    ),
    "ar": (
        88.69, 48.93, 39.41, 27.09, 25.51, 25.43, 25.69, 26.78, 27.44, 28.02, 28.77, 29.78, 32.67, 33.75, 34.24, 34.57,
        34.68, 34.68,
    ),
}  # fmt: skip
_AXIS = np.linspace(math.log(0.1), math.log(1e4), 1025)


class Spectrum(NamedTuple):
    """Of a gas whose charge is measured: clusters per cm of a minimum-ionising particle, and their energies [eV].

    The rate is `clusters` times ALEPH's form of Bethe's formula with the parameters `aleph`. Energies of clusters go as
    E^-`power` from `lowest` to `highest`, and give 1 + (E - lowest) / `per_electron` electrons. `gain` is the relative width of
    the gas gain of one electron.
    """

    clusters: float
    aleph: tuple[float, float, float, float, float]
    lowest: float
    highest: float
    power: float
    per_electron: float
    gain: float


# AliceO2 Detectors/TPC/base/include/TPCBase/ParameterGas.h (1c98c1d9), the simulation of ALICE's TPC.
SPECTRA: Final[dict[Gas, Spectrum]] = {
    "ne90_co2_10_n2_5": Spectrum(14.0, (0.0820172, 9.94795, 8.97292e-5, 2.05873, 1.65272), 20.77, 1e4, 2.2, 37.3, 0.78),
}


def aleph_1(bg: NDArray[np.float64], parameters: tuple[float, ...]) -> NDArray[np.float64]:
    """ALEPH's form of Bethe's formula, as ALICE writes it (AliceO2 DataFormatsTPC/BetheBlochAleph.h)."""
    p1, p2, p3, p4, p5 = parameters
    aa = (bg / np.sqrt(1.0 + bg * bg)) ** p4
    return np.asarray((p2 - aa - np.log(p3 + bg**-p5)) * p1 / aa)


def _log_beta(log_bg: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-0.5 * np.log1p(np.exp(-2.0 * log_bg)))


def gas_rate(gas: Gas) -> Rate:
    """Clusters per cm of a unit charge at 1 atm.

    Delphes' points are joined by a monotone cubic spline in ln(beta gamma). Below 0.5, where Delphes has no clusters at all,
    the power of beta of the first two points goes on (-1.8: nearly that of Bethe's formula) down to 0.1; above 10,000 the
    plateau does.
    """
    axis = (float(_AXIS[0]), 1.0 / float(_AXIS[1] - _AXIS[0]))
    if gas in SPECTRA:
        return Rate(axis, SPECTRA[gas].clusters * aleph_1(np.exp(_AXIS), SPECTRA[gas].aleph))
    from scipy.interpolate import PchipInterpolator  # noqa: PLC0415  (0.1 s that --help does not need)

    at, clusters = np.log(_BETA_GAMMA), np.log(_CLUSTERS[gas])
    power = (clusters[1] - clusters[0]) / (_log_beta(at[1:2]) - _log_beta(at[:1]))
    below = clusters[0] + power * (_log_beta(_AXIS) - _log_beta(at[:1]))
    rate = np.exp(np.where(at[0] > _AXIS, below, PchipInterpolator(at, clusters)(np.maximum(_AXIS, at[0]))))
    return Rate(axis, rate)
