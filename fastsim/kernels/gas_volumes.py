"""A track's way through the drift volumes of a tracker: cylindrical shells of many rows of wires or pads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from fastsim.jit import kernel
from fastsim.kernels.energy_deposit import place_1
from fastsim.kernels.walk import arc_to_cylinder_1, turn_1

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Volumes(NamedTuple):
    """Drift volumes by radius (n,) [cm], each of rows `pitch` apart, the outer ones half of that from its edges."""

    r_in: NDArray[np.float64]
    r_out: NDArray[np.float64]
    half_length: NDArray[np.float64]
    pitch: NDArray[np.float64]
    efficiency: NDArray[np.float64]


class Rate(NamedTuple):
    """Clusters of ionisation per cm of a unit charge over ln(beta gamma) of `axis` (first, 1 / step)."""

    axis: tuple[float, float]
    per_cm: NDArray[np.float64]


@kernel
def arcs_in_volume_1(
    volumes: Volumes, k: int, u: float, v: float, z: float, tan_lambda: float, c: float
) -> tuple[float, float]:
    """Transverse arcs [cm] at which the first way out enters volume k and leaves it; both 0 where it is not met.

    It ends at the far point of the circle. The start is (u, v) as in `kernels.walk` and z [cm]; c = d(phi)/ds [1/cm].
    """
    r2 = u * u + v * v
    half_length = volumes.half_length[k]
    if r2 >= volumes.r_out[k] * volumes.r_out[k] or abs(z) >= half_length:
        return 0.0, 0.0
    begin = 0.0
    if r2 < volumes.r_in[k] * volumes.r_in[k]:
        begin = arc_to_cylinder_1(u, v, c, volumes.r_in[k], 1.0)
        if not begin >= 0.0:  # not met, or by a start on its way in only behind the half turn
            return 0.0, 0.0
    end = arc_to_cylinder_1(u, v, c, volumes.r_out[k], 1.0)
    if math.isnan(end):
        end = (math.pi - math.atan2(abs(c) * u, 1.0 - c * v)) / abs(c)
    if tan_lambda != 0.0:
        end = min(end, (math.copysign(half_length, tan_lambda) - z) / tan_lambda)
    return (begin, end) if end > begin else (0.0, 0.0)


@kernel
def rows_crossed_1(volumes: Volumes, k: int, u: float, v: float, c: float, begin: float, end: float) -> int:
    """Rows of volume k between the arcs at which a track enters and leaves it."""
    u_end, v_end = turn_1(u, v, c, end)
    r_begin = max(math.sqrt(u * u + v * v), volumes.r_in[k]) if begin == 0.0 else volumes.r_in[k]
    r_end = min(math.sqrt(u_end * u_end + v_end * v_end), volumes.r_out[k])
    inner, outer = (r_begin - volumes.r_in[k]) / volumes.pitch[k], (r_end - volumes.r_in[k]) / volumes.pitch[k]
    return int(max(math.floor(outer + 0.5) - math.floor(inner + 0.5), 0))


@kernel
def rate_1(rate: Rate, log_bg: float) -> tuple[float, float]:
    """Clusters per cm of a unit charge, and the derivative by ln(beta gamma)."""
    k, g = place_1(log_bg, rate.axis, len(rate.per_cm))
    rise = rate.per_cm[k + 1] - rate.per_cm[k]
    return rate.per_cm[k] + g * rise, rise * rate.axis[1] if 0.0 < g < 1.0 else 0.0
