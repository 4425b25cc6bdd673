"""Tables of the charge that a row of a gas volume collects: clusters x electrons x gain, by their characteristic function.

A compound Poisson process: mu clusters are expected in a row; a cluster has n electrons with the probability p_n that the gas'
spectrum gives; each electron's gain is a gamma distribution of mean 1 (a Polya distribution of charges). Then the charge has the
transform exp(mu (sum p_n g^n - 1)), g being the gain's. Left out: diffusion, which shares charge between rows, and the read-out.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.devices.gas import SPECTRA, gas_rate
from fastsim.kernels.row_charge import RowCharge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.detector.devices.dedx import Gas
    from fastsim.devices.gas import Spectrum

    Array = NDArray[np.floating[Any]]

_EV = 1e-9  # GeV
_LOG_MU = np.linspace(math.log(2.0), math.log(20_000.0), 47)  # from grazed rows to stopping nuclei
_LOGITS = np.linspace(-16.0, 16.0, 129)
_N_FFT = 1 << 14
_N_POINTS = 4000  # of a row's charge below the truncation
_FINITE = 40  # rows, for which the excess of few rows is computed


def electrons_in_cluster(spectrum: Spectrum) -> Array:
    """Probabilities of 1, 2, ... electrons."""
    n = int((spectrum.highest - spectrum.lowest) / spectrum.per_electron) + 1
    edges = np.minimum(spectrum.lowest + spectrum.per_electron * np.arange(n + 1), spectrum.highest)
    above = edges ** (1.0 - spectrum.power)
    return np.asarray((above[:-1] - above[1:]) / (above[0] - above[-1]))


def charge_quantiles(mu: float, spectrum: Spectrum, probability: Array) -> Array:
    """Charge of a row [electrons] at probabilities, for `mu` expected clusters."""
    shares = electrons_in_cluster(spectrum)
    numbers = np.arange(1, len(shares) + 1)
    mean, square = float(shares @ numbers), float(shares @ numbers**2)
    gain2 = spectrum.gain**2
    width = math.sqrt(mu * (square + gain2 * mean))
    step = (mu * mean + 40.0 * width + 10.0 * len(shares)) / _N_FFT
    gain = (1.0 - 2j * math.pi * gain2 * np.fft.rfftfreq(_N_FFT, step)) ** (-1.0 / gain2)
    cluster = np.zeros_like(gain)
    for share in shares[::-1]:
        cluster = (cluster + share) * gain
    nothing = math.exp(-mu)  # a row without a cluster
    density = np.fft.irfft(np.conj(np.exp(mu * (cluster - 1.0)) - nothing), _N_FFT) / step
    below = nothing + np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1])) * step])
    growing = np.concatenate([[True], np.diff(np.maximum.accumulate(below)) > 0.0])
    return np.asarray(np.interp(probability, below[growing], step * np.flatnonzero(growing)))


@lru_cache(maxsize=8)
def make_row_charge(gas: Gas, kept: float) -> RowCharge:
    """Tables for a gas of `SPECTRA` and the share of the rows, the lowest, in the truncated mean.

    Mean and variance of the mean of the lowest share of n quantities are those of L-statistics (S. M. Stigler, Ann. Statist. 2
    (1974) 676): with e(u) = Q(u) - Q(kept), kept^2 n variance = integral of e^2 - (integral of e)^2 from 0 to `kept`. The mean of
    few rows is the integral of Q(u) with the probability that less than `kept` of the others are below u.
    """
    from scipy.stats import binom  # noqa: PLC0415  (0.5 s that --help does not need)

    spectrum = SPECTRA[gas]
    probability = 1.0 / (1.0 + np.exp(-_LOGITS))
    inside = kept * (np.arange(_N_POINTS) + 0.5) / _N_POINTS
    fine = (np.arange(4 * _N_POINTS) + 0.5) / (4 * _N_POINTS)
    whole = math.ceil(kept * _FINITE - 1e-9) - 1
    part = kept * _FINITE - whole
    others = [binom.cdf(whole - 1 + k, _FINITE - 1, fine) for k in (0, 1)]
    weight = ((1.0 - part) * others[0] + part * others[1]) / kept
    log_mean, more, variance = (np.empty(len(_LOG_MU)) for _ in range(3))
    quantiles = np.empty((len(_LOG_MU), len(_LOGITS)))
    for i, mu in enumerate(np.exp(_LOG_MU)):
        quantiles[i] = charge_quantiles(mu, spectrum, probability) / mu
        lowest = charge_quantiles(mu, spectrum, inside) / mu
        excess = lowest - charge_quantiles(mu, spectrum, np.array([kept]))[0] / mu
        mean = lowest.mean()
        log_mean[i] = math.log(mean)
        variance[i] = (excess @ excess / _N_POINTS - kept * excess.mean() ** 2) / kept / mean**2
        finite = float(weight @ (charge_quantiles(mu, spectrum, fine) / mu)) / len(fine)
        more[i] = _FINITE * math.log(finite / mean)
    axis = (float(_LOG_MU[0]), 1.0 / float(_LOG_MU[1] - _LOG_MU[0]))
    logits = (float(_LOGITS[0]), 1.0 / float(_LOGITS[1] - _LOGITS[0]))
    return RowCharge(
        axis, log_mean, more, variance, logits, quantiles, kept, math.log(spectrum.per_electron * _EV),
        math.log(float(gas_rate(gas).per_cm.min())),
    )  # fmt: skip
