"""How far apart two species are in a device, in units of its resolution, against momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.species import NAMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.pid.sample import Sample

PAIRS = (("el", "pi"), ("pi", "ka"), ("ka", "pr"))
_FEWEST = 20  # tracks of a species in a bin: a mean of fewer says little


class Separation(NamedTuple):
    """Of a pair of species: centres of the bins [GeV], and n sigma in each (NaN where one is not measured)."""

    p: NDArray[np.float64]
    n_sigma: NDArray[np.float64]


def separation(sample: Sample, device: str, pair: tuple[str, str], edges: NDArray[np.float64]) -> Separation:
    """Half the sum of how far the tracks of each are from the other's hypothesis: the median over the tracks of a bin."""
    a, b = (NAMES.index(name) for name in pair)
    n_sigma, mask = sample.columns[f"{device}_n_sigma"], sample.columns[f"{device}_is_measured"]
    result = np.full(len(edges) - 1, np.nan)
    for k in range(len(result)):
        inside = mask & (sample.p >= edges[k]) & (sample.p < edges[k + 1])
        distances = [_distance(n_sigma[inside & (sample.species == x)], x, y) for x, y in ((a, b), (b, a))]
        result[k] = 0.5 * sum(distances)
    return Separation(np.sqrt(edges[1:] * edges[:-1]), result)


def _distance(n_sigma: NDArray[np.float64], own: int, other: int) -> float:
    """Of tracks of one species from another's hypothesis; those without either number do not count."""
    values = n_sigma[:, other] - n_sigma[:, own]
    values = values[np.isfinite(values)]
    return float(abs(np.median(values))) if len(values) >= _FEWEST else np.nan


def ranges_above(found: Separation, least: float = 3.0) -> list[tuple[float, float]]:
    """Ranges of momentum [GeV] in which a pair is at least so far apart; ends interpolated between bins."""
    above = np.isfinite(found.n_sigma) & (found.n_sigma >= least)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], above.astype(np.int8), [0]])))
    return [
        (_edge(found, first, first - 1, least), _edge(found, end - 1, end, least))
        for first, end in edges.reshape(-1, 2)
    ]


def _edge(found: Separation, inside: int, outside: int, least: float) -> float:
    """Where the separation passes `least` between two bins, in the logarithm of p."""
    if not (0 <= outside < len(found.p)) or np.isnan(found.n_sigma[outside]):
        return float(found.p[inside])
    share = (found.n_sigma[inside] - least) / (found.n_sigma[inside] - found.n_sigma[outside])
    return float(found.p[inside] * (found.p[outside] / found.p[inside]) ** share)
