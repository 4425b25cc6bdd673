"""Tables of the truncated mean of deposits in silicon that is expected of each species: over momentum, slant, number of hits."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.devices.common import CHARGES, MASSES, N_SPECIES
from fastsim.devices.straggling import SCORES, axis_of, make_straggling
from fastsim.kernels.truncated_mean import END_SCORE, N_NUMBERS, Expected

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.kernels.energy_deposit import Straggling

    Array = NDArray[np.floating[Any]]

_LOG_P = np.linspace(math.log(0.03), math.log(300.0), 93)  # GeV/e; in steps of 0.1, the median is straight to 0.2 %
_LOG_SLANT = math.log(2.0) * np.arange(5)
_LEAST = 1e-3  # of the losses, in xi: what is measured is above 0
_LEAST_SLOPE = 0.5  # of the score by t; 3 where it is straight


@lru_cache(maxsize=8)
def make_expected(
    thickness: float, noise: float, threshold: float, resolution: float, n_most: int, truncation: float | str
) -> tuple[Straggling, Expected]:
    """Tables of the fluctuations and of truncated means; arguments as of `straggling.make_straggling`."""
    table, means = make_straggling(thickness, noise, threshold, resolution, n_most, truncation)
    rows = np.empty((len(_LOG_P), len(_LOG_SLANT), n_most, N_NUMBERS, N_SPECIES))
    for species, (mass, charge) in enumerate(zip(MASSES, CHARGES, strict=True)):
        log_bg = _LOG_P + math.log(charge / mass)
        log_z2_path = _LOG_SLANT + table.log_thickness + 2.0 * math.log(charge)
        at_bg = _between(means, _places(log_bg, table.shape_bg, means.shape[0]))
        mean = np.moveaxis(
            _between(np.moveaxis(at_bg, 1, 0), _places(log_z2_path, table.shape_path, means.shape[1])), 0, 1
        )
        fine = _places(log_bg, table.fine, len(table.xi))
        xi, offset = (_between(values, fine)[:, None, None, None] for values in (table.xi, table.offset))
        losses = np.maximum(offset + log_z2_path[:, None, None] + mean, _LEAST)
        rows[..., species] = _seven_numbers(np.log(charge * charge * xi * losses))
    expected = Expected(
        axis_of(_LOG_P), len(_LOG_P), axis_of(_LOG_SLANT), len(_LOG_SLANT), n_most,
        rows.reshape(-1, N_NUMBERS * N_SPECIES), table.reference,
    )  # fmt: skip
    return table, expected


def _places(x: Array, axis: tuple[float, float], n: int) -> tuple[NDArray[np.int64], Array]:
    """As `kernels.energy_deposit.place_1`, of many."""
    position = np.clip((x - axis[0]) * axis[1], 0.0, n - 1.0)
    index = np.minimum(position.astype(np.int64), n - 2)
    return index, position - index


def _between(table: Array, places: tuple[NDArray[np.int64], Array]) -> Array:
    """A table at places on its first axis."""
    index, fraction = places
    fraction = fraction.reshape(-1, *[1] * (table.ndim - 1))
    return np.asarray((1.0 - fraction) * table[index] + fraction * table[index + 1])


def _seven_numbers(y: Array) -> Array:
    """Ends, median and four terms (..., N_NUMBERS) of a distribution from y at `SCORES` (..., n), as `kernels.truncated_mean`.

    The terms are those of least squares, with the normal density as weight, made smaller where the score would not rise.
    """
    low, middle, high = y[..., 0], y[..., len(SCORES) // 2], y[..., -1]
    x, above, below = y - middle[..., None], (high - middle)[..., None], (middle - low)[..., None]
    t = x * (above + below) / (2.0 * above * below + (above - below) * x)
    weight = np.exp(-0.25 * SCORES * SCORES)[:, None]
    terms = (1.0 - t * t)[..., None] * t[..., None] ** np.arange(4) * weight
    left = (SCORES - END_SCORE * t)[..., None] * weight
    normal = np.swapaxes(terms, -1, -2)
    fitted = np.linalg.solve(normal @ terms + 1e-9 * np.eye(4), normal @ left)[..., 0]
    grid = np.linspace(-1.0, 1.0, 41)
    slopes = np.stack([k * grid ** max(k - 1, 0) * (1.0 - grid**2) - 2.0 * grid ** (k + 1) for k in range(4)])
    steepest = np.minimum((fitted @ slopes).min(axis=-1), -1e-9)
    fitted *= np.minimum((_LEAST_SLOPE - END_SCORE) / steepest, 1.0)[..., None]
    return np.concatenate([np.stack([low, middle, high], axis=-1), fitted], axis=-1)
