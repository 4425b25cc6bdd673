"""Where a helix first meets a device from inside, and how long the way is."""

from __future__ import annotations

import math

from fastsim.jit import kernel
from fastsim.kernels.walk import arc_to_cylinder_1, turn_1


@kernel
def reach_1(
    u: float, v: float, z: float, tan_lambda: float, c: float, is_disk: bool, position: float, low: float, high: float,
    both_sides: bool,
) -> tuple[float, float, float]:  # fmt: skip
    """Transverse arc [cm] to a barrel or disk, and r and z [cm] there; (nan, nan, nan) where it is not met outwards.

    The start is given as in `kernels.walk`: (u, v) along and across the transverse direction there, seen from the beam line;
    c = d(phi)/ds [1/cm]. A barrel has radius `position` and ends at |z| = `high`; disks stand at |z| = `position` between the
    radii `low` and `high`. Only the first half turn is followed, and a start behind the device does not meet it.
    """
    nowhere = (math.nan, math.nan, math.nan)
    if is_disk:
        if tan_lambda == 0.0 or abs(z) >= position or (tan_lambda < 0.0 and not both_sides):
            return nowhere
        z_there = math.copysign(position, tan_lambda)
        s = (z_there - z) / tan_lambda
        # Most tracks miss most devices: found out cheaply first. The chord of half a turn is 2 / pi of the arc or more.
        if abs(c) * s > math.pi or 2.0 / math.pi * s > high + math.sqrt(u * u + v * v):
            return nowhere
        u_there, v_there = turn_1(u, v, c, s)
        r = math.sqrt(u_there * u_there + v_there * v_there)
        return (s, r, z_there) if low <= r <= high else nowhere
    shortest = position - math.sqrt(u * u + v * v)
    if shortest <= 0.0 or abs(tan_lambda) * shortest > high + abs(z):
        return nowhere
    s = arc_to_cylinder_1(u, v, c, position, 1.0)
    z_there = z + tan_lambda * s
    # A start on its way in may come out behind the half turn, which the arc's formula takes for one before the start.
    return (s, position, z_there) if s >= 0.0 and abs(z_there) <= high else nowhere


@kernel
def may_meet_1(
    is_disk: bool, position: float, low: float, high: float, both_sides: bool, x: float, y: float, z: float, px: float,
    py: float, pz: float, bend: float,
) -> bool:  # fmt: skip
    """Whether a particle from (x, y, z) [cm] may meet a place of `reach_1`: false only if it does not; quick, by bounds.

    `bend` [GeV/cm] is its curvature times its pt. A barrel: the way in r is at most that from the start, on which z must not run
    away, and at most the circle's diameter. Disks: the chord of half a turn is between 2 / pi of the arc and the arc.
    """
    pt2 = px * px + py * py
    r = abs(x) + abs(y)  # or less
    if is_disk:
        if pz == 0.0 or abs(z) >= position or (pz < 0.0 and not both_sides):
            return False
        along = math.copysign(position, pz) - z
        arc2_pz2 = along * along * pt2
        farthest = 0.5 * math.pi * (high + r)
        nearest = max(low - r, 0.0)
        turn = along * bend  # times pt / pz over pt
        return nearest * nearest * pz * pz <= arc2_pz2 <= farthest * farthest * pz * pz and abs(turn) <= math.pi * abs(
            pz
        )
    shortest = position - r
    if shortest <= 0.0:
        return x * x + y * y < position * position
    farthest = high + abs(z)
    if pz * pz * shortest * shortest > farthest * farthest * pt2:
        return False
    return bend * bend * shortest * shortest <= 4.0 * pt2
