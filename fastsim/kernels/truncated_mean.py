"""What is expected of the truncated mean of a track's deposits in silicon: its distribution for each species, drawn and compared.

In y = ln(energy per path) the distribution is nearly normal, and more so with more hits. It is described by y at the normal
scores -3, 0 and 3 and four numbers for what is left: distances x to the median are bent into
t = x (A + B) / (2AB + (A - B) x), -1 at x = -B and 1 at A, and the score is 3t + (a + bt + ct^2 + dt^3)(1 - t^2). Beyond the ends
it goes straight on. Tables are made by `fastsim.devices.expected_loss`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.energy_deposit import place_1
from fastsim.rng import Word, normals_1, uniforms_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.kernels.slants import Crossings, Sensors

END_SCORE = 3.0
N_NUMBERS = 7  # low end, median, high end, a, b, c, d


class Expected(NamedTuple):
    """Distributions of y = ln(truncated mean [GeV/cm]) for the species of `fastsim.species`; axes are (first, 1 / step).

    `rows` (n_p n_slant n_hits, N_NUMBERS n_species) over ln(p/z [GeV/e]) of `p`, ln(slant) of `slant` and the number of hits
    (from 1, the quickest): seven numbers, each for all species. `reference` is the most probable loss of a minimum-ionising
    particle at normal incidence, in xi: its rise with ln(path) is taken out of truncated means, but not of y.
    """

    p: tuple[float, float]
    n_p: int
    slant: tuple[float, float]
    n_slant: int
    n_hits: int
    rows: NDArray[np.float64]
    reference: float


@kernel
def rise_1(expected: Expected, log_slant: float) -> float:
    """By how much the most probable loss per path of a minimum-ionising particle is more than at normal incidence."""
    return (expected.reference + log_slant) / expected.reference


@kernel
def corners_1(
    expected: Expected, log_p: float, log_slant: float, n_hits: int
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64, float, float]:
    """The four rows around a track, and the fractions on the axes p and slant. Unsigned: no check for negative indices."""
    i, f = place_1(log_p, expected.p, expected.n_p)
    j, g = place_1(log_slant, expected.slant, expected.n_slant)
    here = np.uint64((i * expected.n_slant + j) * expected.n_hits + min(n_hits, expected.n_hits) - 1)
    next_slant = here + np.uint64(expected.n_hits)
    next_p = here + np.uint64(expected.n_slant * expected.n_hits)
    return here, next_slant, next_p, next_p + np.uint64(expected.n_hits), f, g


@kernel
def score_1(t: float, a: float, b: float, c: float, d: float) -> tuple[float, float]:
    """Score at t, and the derivative by t."""
    left = 1.0 - t * t
    more = a + t * (b + t * (c + t * d))
    return END_SCORE * t + more * left, END_SCORE + (b + t * (2.0 * c + 3.0 * d * t)) * left - 2.0 * more * t


@kernel
def distance_1(above: float, below: float, a: float, b: float, c: float, d: float, score: float) -> float:
    """How far y is above its median at a normal score; `above` and `below` are the distances of the ends."""
    inside = min(max(score, -END_SCORE), END_SCORE)
    t = inside / END_SCORE
    for _ in range(4):  # Newton's steps
        value, slope = score_1(t, a, b, c, d)
        t = min(max(t - (value - inside) / slope, -1.0), 1.0)
    x = 2.0 * above * below * t / (above + below - (above - below) * t)
    if score == inside:
        return x
    _, slope = score_1(t, a, b, c, d)
    inverse = 1.0 / (2.0 * above * below + (above - below) * x)
    return x + (score - inside) / (slope * 2.0 * above * below * (above + below) * inverse * inverse)


@kernel
def draw_mean_1(
    expected: Expected, sensors: Sensors, crossings: Crossings, n_crossed: int, sum_cosine: float,
    log_p: float, species: int, particle_index: int, event_id: Word, k0: Word, k1: Word, room: NDArray[np.float64],
) -> tuple[int, float, float]:  # fmt: skip
    """Draw a track's truncated mean [GeV/cm] at once; returns the number of hits, ln of their harmonic mean slant, and the mean.

    Of `crossings`, as `kernels.slants` fills them, the first `n_crossed` count; `sum_cosine` is theirs, and `log_p` is that of
    the true p/z [GeV/e]. Layers that are not fully efficient have a uniform each, the mean has a normal. `room` as in
    `fill_hypotheses`.
    """
    n = n_crossed
    if not sensors.is_efficient:
        n = 0
        sum_cosine = 0.0
        drawn = -1
        pair = (0.0, 0.0)
        for k in range(n_crossed):
            i = crossings.layer[k]
            if drawn != i // 2:
                drawn = i // 2
                pair = uniforms_1(drawn, particle_index, event_id, k0, k1)
            if (pair[0] if i % 2 == 0 else pair[1]) < sensors.efficiency[i]:
                n += 1
                sum_cosine += crossings.cosine[k]
    if n == 0:
        return 0, 0.0, math.nan
    score, _ = normals_1(len(sensors.position), particle_index, event_id, k0, k1)
    log_slant = math.log(n / sum_cosine)
    here, next_slant, next_p, next_both, f, g = corners_1(expected, log_p, log_slant, n)
    a, b, c, d = (1.0 - f) * (1.0 - g), (1.0 - f) * g, f * (1.0 - g), f * g
    rows = expected.rows
    n_species = rows.shape[1] // N_NUMBERS
    for number in range(N_NUMBERS):
        column = np.uint64(number * n_species + species)
        from_p = a * rows[here, column] + b * rows[next_slant, column]
        room[number, 0] = from_p + c * rows[next_p, column] + d * rows[next_both, column]
    above, below = room[2, 0] - room[1, 0], room[1, 0] - room[0, 0]
    y = room[1, 0] + distance_1(above, below, room[3, 0], room[4, 0], room[5, 0], room[6, 0], score)
    return n, log_slant, max(math.exp(y) / rise_1(expected, log_slant), sensors.threshold / sensors.thickness)


@kernel
def fill_hypotheses(
    expected: Expected, dedx: float, n_hits: int, log_slant: float, log_p: float, sigma_p: float, room: NDArray[np.float64],
    scores: NDArray[np.float64], log_likelihood: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fill the deviations of a truncated mean [GeV/cm] from those expected of each species, as normal scores, and ln(density).

    Logarithms: `log_p` of p/z [GeV/e], `log_slant` of the hits' (harmonic) mean slant. `sigma_p` is the relative resolution of p,
    which moves what is expected. The density is that of y: the normal one of the score times its derivative, without
    1/sqrt(2 pi). `room` (N_NUMBERS + 1, n_species) is for what is in between.
    """
    y = math.log(dedx * rise_1(expected, log_slant))
    here, next_slant, next_p, next_both, f, g = corners_1(expected, log_p, log_slant, n_hits)
    a, b, c, d = (1.0 - f) * (1.0 - g), (1.0 - f) * g, f * (1.0 - g), f * g
    rows = expected.rows
    n_species = len(scores)
    for number in range(N_NUMBERS):
        for h in range(n_species):
            k = np.uint64(number * n_species + h)
            room[number, h] = a * rows[here, k] + b * rows[next_slant, k] + c * rows[next_p, k] + d * rows[next_both, k]
    per_step = expected.p[1] * sigma_p if 0.0 < f < 1.0 else 0.0  # beyond the axis nothing moves
    for h in range(n_species):  # how far the median moves with the momentum
        k = np.uint64(n_species + h)
        by_p = (1.0 - g) * (rows[next_p, k] - rows[here, k]) + g * (rows[next_both, k] - rows[next_slant, k])
        room[N_NUMBERS, h] = by_p * per_step
    for h in range(n_species):
        middle = room[1, h]
        above, below = room[2, h] - middle, middle - room[0, h]
        x = y - middle
        inside = min(max(x, -below), above)
        width = above + below
        inverse = 1.0 / (2.0 * above * below + (above - below) * inside)
        t = inside * width * inverse
        score, by_t = score_1(t, room[3, h], room[4, h], room[5, h], room[6, h])
        slope = by_t * 2.0 * above * below * width * inverse * inverse
        score += slope * (x - inside)
        moved = slope * room[N_NUMBERS, h]
        narrower = 1.0 / (1.0 + moved * moved)
        room[0, h] = narrower * slope * slope
        scores[h] = score * math.sqrt(narrower)
    for h in range(n_species):
        log_likelihood[h] = 0.5 * (math.log(room[0, h]) - scores[h] * scores[h])
