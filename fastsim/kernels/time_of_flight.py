"""Time of flight along a helix: the expected time of a hypothesis, and how it changes with the track's parameters.

With curvature and dip fixed, the path is s sqrt(1 + tan^2) and the rigidity is sqrt(1 + tan^2) / |q/pt|, so the time of a
particle of mass m and charge z is t = (s / speed of light) sqrt(1 + tan^2 + (m / z)^2 (q/pt)^2), and its derivatives are short.
"""

from __future__ import annotations

import math

from fastsim.jit import kernel
from fastsim.units import curvature_constant, speed_of_light


@kernel
def flight_time_1(s: float, tan_lambda: float, q_over_pt: float, mass_over_charge: float) -> float:
    """Time [ns] over a transverse arc s [cm] at rigidity 1 / |q_over_pt| [GeV/e] for m/z [GeV/e]."""
    a = mass_over_charge * q_over_pt
    return s / speed_of_light * math.sqrt(1.0 + tan_lambda * tan_lambda + a * a)


@kernel
def tan_excess_1(h: float) -> float:
    """(tan h - h) / h^2, also at 0 (series below 0.1: relative error under 1e-11)."""
    if abs(h) < 0.1:
        h2 = h * h
        return h / 3.0 * (1.0 + h2 * (2.0 / 5.0 + h2 * (17.0 / 105.0 + h2 * (62.0 / 945.0 + h2 * (1382.0 / 51975.0)))))
    return (math.tan(h) - h) / (h * h)


@kernel
def arc_to_point_1(dca_xy: float, cos_phi: float, sin_phi: float, c: float, x: float, y: float) -> float:
    """Transverse arc [cm] from a helix's closest approach to the beam line to that to a point (x, y) [cm] within a quarter turn.

    As `vertex_seed.approach_1`; a series where it is short (1e-12).
    """
    along = (x * cos_phi + y * sin_phi) / (1.0 + c * (dca_xy + x * sin_phi - y * cos_phi))
    tangent = c * along
    if abs(tangent) > 0.03:
        return math.atan(tangent) / c
    t2 = tangent * tangent
    return along * (1.0 - t2 * (1.0 / 3.0 - t2 * (1.0 / 5.0 - t2 * (1.0 / 7.0 - t2 / 9.0))))


@kernel
def arc_slopes_1(
    is_disk: bool, s: float, r: float, dca_xy: float, tan_lambda: float, c: float, b_z: float
) -> tuple[float, float]:
    """Derivatives of the arc s [cm], from the closest approach to the beam line to a barrel of radius r [cm] or a disk.

    By q/pt [cm GeV/e] and by tan_lambda [cm], at fixed dca_xy and dca_z [cm], phi; c = d(phi)/ds [1/cm]. On a barrel
    4 sin^2(c s / 2) = c^2 (r^2 - dca_xy^2) / (1 + c dca_xy), the cosine rule in the triangle of the helix's centre, the beam
    line and the hit; on a disk s tan_lambda = z - dca_z.
    """
    if is_disk:
        return 0.0, -s / tan_lambda
    bend = 1.0 + c * dca_xy
    half = 0.5 * c * s
    chord = math.sqrt((r * r - dca_xy * dca_xy) / bend)
    by_c = 0.5 * s * s * tan_excess_1(half) - 0.5 * chord * dca_xy / (bend * math.cos(half))
    return -curvature_constant * b_z * by_c, 0.0
