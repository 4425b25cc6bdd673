"""Clusters of ionisation along a track in gas: the path in a drift volume, a Poisson number, and what it says of a particle."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from fastsim.jit import kernel
from fastsim.kernels.energy_deposit import place_1
from fastsim.kernels.walk import arc_to_cylinder_1
from fastsim.rng import Word, uniforms_1

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Volume(NamedTuple):
    """A drift volume [cm], and the clusters per cm counted of a unit charge over ln(beta gamma) of `fine` (first, 1 / step)."""

    r_in: float
    r_out: float
    half_length: float
    shortest: float
    fine: tuple[float, float]
    rate: NDArray[np.float64]


@kernel
def path_in_volume_1(volume: Volume, u: float, v: float, z: float, tan_lambda: float, c: float) -> float:
    """Length [cm] of the first way out through a volume, up to the far point of the circle; 0 where it is not met.

    The start is (u, v) as in `kernels.walk` and z [cm]; c = d(phi)/ds [1/cm].
    """
    r = math.hypot(u, v)
    if r >= volume.r_out or abs(z) >= volume.half_length:
        return 0.0
    begin = 0.0
    if r < volume.r_in:
        begin = arc_to_cylinder_1(u, v, c, volume.r_in, 1.0)
        if not begin >= 0.0:  # not met, or by a start on its way in only behind the half turn
            return 0.0
    end = arc_to_cylinder_1(u, v, c, volume.r_out, 1.0)
    if math.isnan(end):
        end = (math.pi - math.atan2(abs(c) * u, 1.0 - c * v)) / abs(c)
    if tan_lambda != 0.0:
        end = min(end, (math.copysign(volume.half_length, tan_lambda) - z) / tan_lambda)
    return max(end - begin, 0.0) * math.sqrt(1.0 + tan_lambda * tan_lambda)


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
def rate_1(volume: Volume, p: float, mass: float, charge: float) -> tuple[float, float]:
    """Counted clusters per cm of a particle of momentum p [GeV], and the derivative by ln(p)."""
    k, g = place_1(math.log(p / mass), volume.fine, len(volume.rate))
    rise = volume.rate[k + 1] - volume.rate[k]
    z2 = charge * charge
    return z2 * (volume.rate[k] + g * rise), z2 * rise * volume.fine[1] if 0.0 < g < 1.0 else 0.0


@kernel
def count_score_1(
    volume: Volume, n_clusters: float, length: float, p: float, sigma_p: float, mass: float, charge: float
) -> float:
    """(counted - expected) / uncertainty of the number: that of a Poisson number, and of the momentum (relative, `sigma_p`)."""
    rate, by_log_p = rate_1(volume, p, mass, charge)
    moves = by_log_p * length * sigma_p
    return (n_clusters - rate * length) / math.sqrt(rate * length + moves * moves)
