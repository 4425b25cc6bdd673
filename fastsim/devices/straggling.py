"""Tables of the energy loss fluctuations in a silicon sensor, and of the truncated means that tracks have there.

Vavilov's density is computed from its characteristic function: a compound Poisson process of collisions with d(n)/d(E) =
xi (1 - beta^2 E / Tmax) / E^2 up to the kinematic limit Tmax (P. V. Vavilov, Sov. Phys. JETP 5 (1957) 749; B. Schorr, Computer
Physics Communications 7 (1974) 215). For kappa = xi / Tmax -> 0 it is Landau's. Electrons of silicon are bound: a shell with the
share f of them and the energy I has no collisions below I, and instead xi f (ln(2 m beta^2 gamma^2 / I) - beta^2 - delta) / I of
them at I, so that the mean loss is Bethe's (R. Talman, NIM 159 (1979) 189; J. F. Bak et al., Nucl. Phys. B288 (1987) 681).
Noise of the read-out is a Gaussian. Everything here is deterministic: integrals by FFT, averages with addressed draws.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.energy_deposit import LANDAU_MODE, Straggling, insert, offset_1, xi_per_cm_1
from fastsim.kernels.energy_loss import ELECTRON_MASS, density_effect_1
from fastsim.kernels.truncated_mean import END_SCORE
from fastsim.rng import Key, Streams, uniforms_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

# Shells of silicon: share of the 14 electrons, energy [GeV]. M is the plasmon (17 eV: H. Bichsel, Rev. Mod. Phys. 60 (1988) 663).
# K is its edge, 1839 eV (X-ray data booklet, LBNL-490, table 1-1), times exp(1/2), as the mean of ln(E / edge) is 1/2 where
# absorption falls as E^-3 behind the edge. L is such that the mean of ln I is that of 173 eV (PDG).
_M, _K, _MEAN = 17e-9, 1839e-9 * math.exp(0.5), 173e-9
_SHELLS: Final = ((2 / 14, _K), (8 / 14, (_MEAN**14 / (_K**2 * _M**4)) ** 0.125), (4 / 14, _M))
_BG_MIN, _BG_MAX = 0.1, 1e5  # beta gamma: below 0.1 nothing crosses a tracker, above 1000 nothing changes any more
_N_FINE = 513
_SHAPE_BG = np.log(np.geomspace(0.1, 5.0, 12))  # above, the shape changes in the far tail only
_N_PATHS = 6  # factors of 2: slant and charge 2 (which is four times the path)
_LOGITS = np.linspace(-16.0, 16.0, 129)  # probabilities of 1e-7 to 1 - 1e-7
SCORES = np.linspace(-END_SCORE, END_SCORE, 25)
_N_FFT = 4096
_MINIMUM = 4.0  # beta gamma of a minimum-ionising particle
_N_TRACKS = 40_000  # scores are known to 0.006 at 0 and to 0.07 at 3
_WINDOW = 0.1  # half width in score
_BETWEEN = 0.2  # kappa: Landau-like below, near to a Gaussian above
_LAST = 200.0  # lambda, half of the grid: beyond it, hard collisions are counted one by one


class Shell(NamedTuple):
    """What a shell of the atom does: share of the electrons, resonant collisions times energy per share, energy; in xi."""

    share: float
    strength: float
    energy: float


def shells(beta_gamma: float, scale: float) -> tuple[Shell, ...]:
    """The shells for a particle whose xi is `scale` [GeV]."""
    beta2 = beta_gamma**2 / (1.0 + beta_gamma**2)
    screened = beta2 + density_effect_1(beta_gamma)
    return tuple(
        Shell(share, max(math.log(2.0 * ELECTRON_MASS * beta_gamma**2 / energy) - screened, 0.0), energy / scale)
        for share, energy in _SHELLS
    )


def _ein(w: NDArray[np.complexfloating[Any]]) -> NDArray[np.complexfloating[Any]]:
    """Integral of (exp(s) - 1) / s from 0 to w."""
    from scipy.special import exp1  # noqa: PLC0415  (0.1 s that --help does not need)

    is_small = np.abs(w) < 1e-3
    safe = np.where(is_small, 1.0, w)
    return np.asarray(np.where(is_small, w + 0.25 * w * w, -exp1(-safe) - np.log(-safe + 0j) - np.euler_gamma))


def vavilov_density(kappa: float, beta2: float, sigma: float, bound: tuple[Shell, ...] = ()) -> tuple[Array, Array]:
    """Grid of lambda and Vavilov's density there, with bound electrons, widened by a Gaussian of width `sigma` (in xi).

    lambda = (loss - mean loss) / xi - (1 - gamma) - beta^2 - ln(kappa), which tends to Landau's. The transform is taken along a
    line beside the real axis, exp(-tilt lambda) times the density, so that the long tail does not come back on the other side.
    """
    narrow2 = sum(shell.share * shell.strength * shell.energy for shell in bound) + sigma * sigma
    width = math.hypot(math.sqrt((1.0 - 0.5 * beta2) / kappa), math.sqrt(narrow2))
    step = 0.1 * min(1.0, width)
    tilt = 14.0 / (_N_FFT * step)  # what comes back is 1e-6 of the tail, and rounding is 1e-10 of the density
    z = 1j * 2.0 * math.pi * np.fft.rfftfreq(_N_FFT, step) - tilt
    w = z / kappa
    g = _ein(w)
    log_phi = z * g - kappa * (np.exp(w) - 1.0 - w) - beta2 * kappa * (g - w) + 0.5 * (sigma * z) ** 2
    for share, strength, energy in bound:  # collisions at its energy come, those of free electrons below go
        v = z * energy
        log_phi += share * ((strength + 1.0) * (np.exp(v) - 1.0 - v) / energy - z * _ein(v))
    mean = -(1.0 - np.euler_gamma) - beta2 - math.log(kappa)
    first = -8.0 - 6.0 * math.sqrt(narrow2) if kappa < 1.0 else mean - 0.25 * _N_FFT * step
    tilted = np.fft.irfft(np.conj(np.exp(log_phi + z * (mean - first))), _N_FFT) / step
    offsets = step * np.arange(_N_FFT)
    return first + offsets, np.maximum(tilted, 0.0) * np.exp(tilt * offsets)


def vavilov_quantiles(kappa: float, beta2: float, sigma: float, bound: tuple[Shell, ...] = ()) -> Array:
    """Lambda at the probabilities of `_LOGITS`.

    Where the grid ends below the largest loss, what lies beyond is one hard collision and the rest of the loss: the probability
    of a collision above y (in xi) is 1/y - kappa - beta^2 kappa ln(1 / (kappa y)).
    """
    grid, density = vavilov_density(kappa, beta2, sigma, bound)
    steps = 0.5 * (density[1:] + density[:-1]) * (grid[1] - grid[0])
    growing = np.concatenate([[True], steps > 0.0])
    is_cut = kappa * _LAST < 0.75
    if is_cut:
        growing &= grid < _LAST
    grid, below = grid[growing], np.concatenate([[0.0], np.cumsum(steps)])[growing]
    values = np.interp(1.0 / (1.0 + np.exp(-_LOGITS)), below, grid)
    if is_cut:
        y = np.geomspace(0.5 * _LAST, 1.0 / kappa, 400)
        more = 1.0 / y - kappa - beta2 * kappa * np.log(1.0 / (kappa * y))
        above = 1.0 / (1.0 + np.exp(_LOGITS))
        beyond = above < 1.0 - below[-1]
        from_end = np.interp([*above[beyond], 1.0 - below[-1]], more[::-1], y[::-1])
        values[beyond] = grid[-1] + from_end[:-1] - from_end[-1]
    return np.asarray(values)


def kept_hits(truncation: float | str, n: int) -> tuple[int, float]:
    """How many of n hits a truncated mean takes: the lowest so many in full, and the next one in part.

    `truncation` is the share that is kept, or "steps": 1 of 1 or 2 hits, 2 of 3 or 4, 3 of 5 or 6, 4 of more (O2Physics,
    ALICE3/TableProducer/OTF/onTheFlyTrackerPid.cxx).
    """
    if isinstance(truncation, str):
        kept = float(min((n + 1) // 2, 4))
    elif n > 2:
        kept = max(truncation * n, 1.0)
    else:
        kept = 1.0  # a part of the larger of two is a tail of rare values
    whole = math.ceil(kept - 1e-9) - 1
    return whole, kept - whole


@kernel
def _draw(n_points: int, n: int, key: Key, ordered: NDArray[np.float64]) -> None:
    """Fill (n_points, n) with ordered uniforms, one addressed draw for two; every second row mirrors the one before."""
    for i in range(0, n_points, 2):
        for j in range(0, n, 2):
            pair = uniforms_1(j // 2, n, i, key.k0, key.k1)
            insert(ordered[i], j, pair[0])
            if j + 1 < n:
                insert(ordered[i], j + 1, pair[1])
        for j in range(n):
            ordered[i + 1, j] = 1.0 - ordered[i, n - 1 - j]


@lru_cache(maxsize=8)
def _weights(is_landau: bool, n_most: int, truncation: float | str) -> Array:
    """Weights (n_most, n_scores, n) of quantiles at `_LOGITS` in the truncated mean of 1, 2, ... hits at the scores of `SCORES`.

    Of many tracks with hits from a distribution that is like it (Landau's, or near to a Gaussian), those whose truncated mean has
    this score are averaged: at which probabilities they have their hits. For another distribution this is exact to first order
    in the difference, and for one that is only shifted or stretched.
    """
    from scipy.special import logit, ndtr  # noqa: PLC0415  (as above)

    quantiles = vavilov_quantiles(1e-4, 0.9, 1.0) if is_landau else vavilov_quantiles(1.0, 0.1, 0.5)
    weights = np.zeros((n_most, len(SCORES), len(_LOGITS) + 1))
    key = Streams(1).key("straggling")
    for n in range(1, n_most + 1):
        whole, part = kept_hits(truncation, n)
        n_tracks = _N_TRACKS if n <= 8 else _N_TRACKS // 2
        ordered = np.empty((n_tracks, n))
        _draw(n_tracks, n, key, ordered)
        position = (logit(np.clip(ordered[:, : whole + 1], 1e-16, 1.0 - 1e-16)) - _LOGITS[0]) / (
            _LOGITS[1] - _LOGITS[0]
        )
        position = np.clip(position, 0.0, len(_LOGITS) - 1.001)
        index = position.astype(np.int64)
        fraction = position - index
        share = np.ones(whole + 1)
        share[whole] = part
        share /= whole + part
        rank = np.argsort((quantiles[index] + fraction * np.diff(quantiles)[index]) @ share, kind="stable")
        for k, score in enumerate(SCORES):
            first, end = (round(float(ndtr(score + side)) * n_tracks) for side in (-_WINDOW, _WINDOW))
            rows = rank[first:end]
            shares = np.broadcast_to(share / len(rows), (len(rows), whole + 1))
            for node, part_of in ((index[rows], 1.0 - fraction[rows]), (index[rows] + 1, fraction[rows])):
                weights[n - 1, k] += np.bincount(node.ravel(), (shares * part_of).ravel(), len(_LOGITS) + 1)
    return np.asarray(weights[:, :, :-1])


def truncated_means(quantiles: Array, lost: float, is_landau: bool, n_most: int, truncation: float | str) -> Array:
    """Truncated mean of 1, 2, ... hits at the normal scores of `SCORES`: (n_most, n_scores).

    Hits are drawn from the upper 1 - `lost` of the distribution that has these `quantiles` at `_LOGITS`.
    """
    from scipy.special import logit, ndtr  # noqa: PLC0415  (as above)

    probability = 1.0 / (1.0 + np.exp(-_LOGITS))
    kept = quantiles if lost < 1e-6 else np.interp(logit(lost + (1.0 - lost) * probability), _LOGITS, quantiles)
    means = _weights(is_landau, n_most, truncation) @ kept
    means[0] = np.interp(logit(ndtr(SCORES)), _LOGITS, kept)
    return np.asarray(means)


@lru_cache(maxsize=8)
def make_straggling(
    thickness: float, noise: float, threshold: float, resolution: float, n_most: int, truncation: float | str
) -> tuple[Straggling, Array]:
    """Tables for tracks with up to `n_most` hits in sensors of a thickness [cm].

    Also the truncated means of lambda (n_bg, n_path, n_hits, n_scores), on the table's axes and at the normal scores `SCORES`.

    `noise` of the read-out and the rms `resolution` that the clock leaves, and the lowest deposit that counts: GeV.
    """
    fine = np.linspace(math.log(_BG_MIN), math.log(_BG_MAX), _N_FINE)
    xi = np.array([xi_per_cm_1(bg) for bg in np.exp(fine)])
    offset = np.array([offset_1(bg) for bg in np.exp(fine)])
    paths = math.log(thickness) + math.log(2.0) * np.arange(_N_PATHS)
    kept = [kept_hits(truncation, n) for n in range(1, n_most + 1)]
    quantiles = np.empty((len(_SHAPE_BG), _N_PATHS, len(_LOGITS)))
    means = np.empty((len(_SHAPE_BG), _N_PATHS, n_most, len(SCORES)))
    for i, bg in enumerate(np.exp(_SHAPE_BG)):
        beta2 = bg * bg / (1.0 + bg * bg)
        for j, log_path in enumerate(paths):
            scale = xi_per_cm_1(bg) * math.exp(log_path)
            kappa = scale / (2.0 * ELECTRON_MASS * bg * bg)  # of a heavy particle
            bound = shells(bg, scale)
            quantiles[i, j] = vavilov_quantiles(kappa, beta2, noise / scale, bound)
            measured = quantiles[i, j]
            if resolution > 0.0:
                measured = vavilov_quantiles(kappa, beta2, math.hypot(noise, resolution) / scale, bound)
            least = threshold / scale - offset_1(bg) - log_path
            lost = 1.0 / (1.0 + math.exp(-float(np.interp(least, measured, _LOGITS))))
            means[i, j] = truncated_means(measured, lost, kappa < _BETWEEN, n_most, truncation)
    table = Straggling(
        axis_of(fine), xi, offset, axis_of(_SHAPE_BG), axis_of(paths), axis_of(_LOGITS), quantiles,
        np.array([whole for whole, _ in kept]), np.array([part for _, part in kept]), math.log(thickness),
        offset_1(_MINIMUM) + LANDAU_MODE + math.log(thickness),
    )  # fmt: skip
    return table, means


def axis_of(nodes: Array) -> tuple[float, float]:
    """First node and nodes per unit, of equidistant ones."""
    return float(nodes[0]), (len(nodes) - 1) / float(nodes[-1] - nodes[0])
