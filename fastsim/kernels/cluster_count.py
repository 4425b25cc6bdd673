"""Clusters of ionisation that are counted along a track in gas: a Poisson number, and what it says of a particle."""

from __future__ import annotations

import math

from fastsim.jit import kernel
from fastsim.rng import Word, uniforms_1


@kernel
def poisson_1(mean: float, particle_index: int, event_id: Word, k0: Word, k1: Word) -> int:
    """A Poisson number, from the draw 0 on: by inversion below a mean of 10, else by transformed rejection.

    Source: W. Hoermann, Insurance: Mathematics and Economics 12 (1993) 39, algorithm PTRS.
    """
    if mean < 10.0:
        w, _ = uniforms_1(0, particle_index, event_id, k0, k1)
        probability = math.exp(-mean)
        below = probability
        n = 0
        while w >= below and probability > 1e-20:  # rounding may keep `below` from 1
            n += 1
            probability *= mean / n
            below += probability
        return n
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    most = 0.9277 - 3.6224 / (b - 2.0)
    draw = 0
    while True:
        w, y = uniforms_1(draw, particle_index, event_id, k0, k1)
        draw += 1
        w -= 0.5
        y += 1e-17
        edge = 0.5 - abs(w) + 1e-17
        k = math.floor((2.0 * a / edge + b) * w + mean + 0.43)
        if edge >= 0.07 and y <= most:
            return int(k)
        if k < 0 or (edge < 0.013 and y > edge):
            continue
        left = math.log(y) + math.log(inverse_alpha) - math.log(a / (edge * edge) + b)
        if left <= k * math.log(mean) - mean - math.lgamma(k + 1.0):
            return int(k)


@kernel
def count_score_1(n_clusters: float, mean: float, by_log_p: float, sigma_p: float) -> tuple[float, float]:
    """(counted - expected) / uncertainty, and ln(likelihood) of a number that is Poisson's but for the momentum's resolution.

    `mean` is what is expected, `by_log_p` its derivative by ln(p), `sigma_p` relative. The likelihood, without what all species
    share, is exp(-D / (2 w)) / sqrt(w): D = 2 (n ln(n/mean) - n + mean) is the Poisson deviance, and w the variance over the
    mean (1 for a known momentum: then this is Poisson's law; for a large mean it is the normal one of the variance).
    """
    moves = by_log_p * sigma_p
    wider = 1.0 + moves * moves / mean
    deviance = 2.0 * (mean - n_clusters)
    if n_clusters > 0.0:
        deviance += 2.0 * n_clusters * math.log(n_clusters / mean)
    return (n_clusters - mean) / math.sqrt(mean * wider), -0.5 * (deviance / wider + math.log(wider))
