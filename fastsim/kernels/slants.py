"""How steeply a helix crosses the sensors of a device: cylinders around the beam line, and disks across it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from fastsim.jit import kernel
from fastsim.kernels.walk import arc_to_cylinder_1

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Sensors(NamedTuple):
    """The layers of a device: cylinders by radius, then disks; lengths in cm, energies in GeV, times in ns.

    `is_efficient` says that all efficiencies are 1. Deposits are kept above `threshold`, and measured by the time over it,
    `per_energy` [ns/GeV], in steps of `tick` (0: exactly).
    """

    n_cylinders: int
    position: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    efficiency: NDArray[np.float64]
    is_efficient: bool
    thickness: float
    max_sin_incidence: float
    threshold: float
    per_energy: float
    tick: float


class Crossings(NamedTuple):
    """Layers that a track crosses, and the cosine of its angle to the normal there (thickness over path); to be filled."""

    layer: NDArray[np.int64]
    cosine: NDArray[np.float64]


@kernel
def fill_crossings(
    sensors: Sensors, u: float, v: float, z: float, tan_lambda: float, c: float, crossings: Crossings
) -> tuple[int, float]:
    """Fill the layers that a track crosses, in their order; returns their number and the sum of the cosines.

    The first way out from (u, v) as in `kernels.walk`, z [cm], with c = d(phi)/ds [1/cm]; layers within the start's radius are
    not crossed.
    """
    r2 = u * u + v * v
    w = 1.0 - c * v
    per_norm2 = 1.0 / (c * c * u * u + w * w)
    per_slope = 1.0 / math.sqrt(1.0 + tan_lambda * tan_lambda)
    n_cylinders = sensors.n_cylinders
    n = 0
    total = 0.0
    for i in range(n_cylinders):
        r = sensors.position[i]
        v_there = v + 0.5 * c * (r * r - r2)
        if r * r <= r2 or abs(v_there) > sensors.max_sin_incidence * r:
            continue
        u_there = math.sqrt(r * r - v_there * v_there)
        # The arc is between s (1 + (cs)^2 / 6) and s (1 + (pi/2 - 1)(cs)^2), s = sin(cs) / c, for less than a quarter turn:
        # mostly this is enough to know whether the layer's end is met.
        s = (u_there * w - u * (1.0 - c * v_there)) * per_norm2
        if s > 0.0 and c * c * u * u_there + w * (1.0 - c * v_there) > 0.0:
            sin2 = c * c * s * s
            near, far = z + tan_lambda * s * (1.0 + sin2 / 6.0), z + tan_lambda * s * (1.0 + 0.5708 * sin2)
        else:
            near = far = z + tan_lambda * arc_to_cylinder_1(u, v, c, r, 1.0)
        low, high = sensors.low[i], sensors.high[i]
        if not (low <= near <= high and low <= far <= high):
            if max(near, far) < low or min(near, far) > high:
                continue
            z_there = z + tan_lambda * arc_to_cylinder_1(u, v, c, r, 1.0)
            if not low <= z_there <= high:
                continue
        crossings.layer[n] = i
        crossings.cosine[n] = u_there / r * per_slope
        total += crossings.cosine[n]
        n += 1
    if tan_lambda == 0.0:
        return n, total
    cosine = abs(tan_lambda) * per_slope
    per_tan = 1.0 / tan_lambda
    r_birth = math.sqrt(r2)
    for i in range(n_cylinders, len(sensors.position)):
        s = (sensors.position[i] - z) * per_tan
        half = 0.5 * c * s
        if s <= 0.0 or abs(half) > 0.5 * math.pi:
            continue
        h2 = half * half
        if (
            s * (1.0 - h2 / 6.0) - r_birth > sensors.high[i] or s + r_birth < sensors.low[i]
        ):  # by a chord's least and most
            continue
        if h2 < 0.5:  # series, to 1e-9
            sinc = 1.0 - h2 / 6.0 * (1.0 - h2 / 20.0 * (1.0 - h2 / 42.0 * (1.0 - h2 / 72.0)))
            cos_half = 1.0 - h2 / 2.0 * (1.0 - h2 / 12.0 * (1.0 - h2 / 30.0 * (1.0 - h2 / 56.0 * (1.0 - h2 / 90.0))))
        else:
            sinc, cos_half = math.sin(half) / half, math.cos(half)
        # as `turn_1`, squared: r^2 changes by the chord along the first direction, and across
        chord = s * sinc
        along, across = chord * cos_half, chord * half * sinc
        r2_there = r2 + chord * chord + 2.0 * (u * along - v * across)
        low, high = sensors.low[i], sensors.high[i]
        if low * low <= r2_there <= high * high and r2_there > r2:
            crossings.layer[n] = i
            crossings.cosine[n] = cosine
            total += cosine
            n += 1
    return n, total
