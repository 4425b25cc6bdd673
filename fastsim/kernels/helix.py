"""A charged particle in a uniform field along z: an exact helix, and what a small change of it does further along.

The state at a point of the helix is its *local perigee*: (n, z, phi, tan_lambda, q_over_pt), where n is the displacement
along (-sin phi, cos phi) in the transverse plane. At the point of closest approach to the beam line n is `dca_xy`
and z is `dca_z`, so the covariance at the origin needs no further change of variables. Signed curvature
c = -k B q/pt is d(phi)/ds: with B along +z positive charges turn clockwise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastsim.jit import kernel
from fastsim.units import curvature_constant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel
def curvature_1(q_over_pt: float, b_z: float) -> float:
    """Signed curvature d(phi)/ds [1/cm] for q/pt [e/GeV] in a field b_z [T]. Source: PDG review, "Tracking"."""
    return -curvature_constant * b_z * q_over_pt


@kernel
def arc_length_1(r: float, c: float) -> float:
    """Transverse arc length [cm] from the origin to radius r [cm]; NaN where the helix does not reach r."""
    half = 0.5 * r * abs(c)
    if half > 1.0:
        return math.nan
    if half < 1e-6:
        return r
    return 2.0 * math.asin(half) / abs(c)


@kernel
def sinc_1(a: float) -> float:
    """sin(a) / a, also at 0 (series below 1e-3: relative error under 1e-14)."""
    if abs(a) < 1e-3:
        return 1.0 - a * a / 6.0 + a**4 / 120.0
    return math.sin(a) / a


@kernel
def excess_1(a: float) -> float:
    """(a - sin a) / a^2, also at 0 (series below 0.1: relative error under 1e-12)."""
    if abs(a) < 0.1:
        a2 = a * a
        return a / 6.0 * (1.0 - a2 / 20.0 * (1.0 - a2 / 42.0 * (1.0 - a2 / 72.0 * (1.0 - a2 / 110.0))))
    return (a - math.sin(a)) / (a * a)


@kernel
def transport(s: float, c: float, tan_lambda: float, b_z: float, jacobian: NDArray[np.float64]) -> None:
    """Fill the Jacobian (5, 5) of the local-perigee state over a transverse arc s [cm]; s < 0 goes back.

    A displacement at the far end that points along the track is undone by moving along it, so n stays perpendicular.
    Exact to first order in the change for any turning angle. Source: derived in docs/lut.md, tested by differences.
    """
    a = c * s
    sin_half = math.sin(0.5 * a)
    cos_half = math.cos(0.5 * a)
    sin_a = 2.0 * sin_half * cos_half
    cos_a = 1.0 - 2.0 * sin_half * sin_half
    half_sinc = sin_half / (0.5 * a) if abs(a) > 1e-3 else sinc_1(0.5 * a)
    sin_over_c = s * half_sinc * cos_half
    versine_over_c = 0.5 * a * s * half_sinc * half_sinc  # (1 - cos a) / c
    versine_over_c2 = 0.5 * s * s * half_sinc * half_sinc  # (1 - cos a) / c^2
    dc = -curvature_constant * b_z  # dc / d(q/pt)
    for i in range(5):
        for j in range(5):
            jacobian[i, j] = 0.0
    jacobian[0, 0] = cos_a
    jacobian[0, 2] = sin_over_c
    jacobian[0, 4] = versine_over_c2 * dc
    jacobian[1, 0] = -tan_lambda * sin_a
    jacobian[1, 1] = 1.0
    jacobian[1, 2] = -tan_lambda * versine_over_c
    jacobian[1, 3] = s
    jacobian[1, 4] = -tan_lambda * s * s * excess_1(a) * dc
    jacobian[2, 0] = -c * sin_a
    jacobian[2, 2] = cos_a
    jacobian[2, 4] = sin_over_c * dc
    jacobian[3, 3] = 1.0
    jacobian[4, 4] = 1.0


@kernel
def wrap_1(phi: float) -> float:
    """The angle in (-pi, pi]."""
    wrapped = phi - 2.0 * math.pi * math.floor(phi / (2.0 * math.pi) + 0.5)
    return math.pi if wrapped <= -math.pi else wrapped


@kernel
def perigee_1(
    x: float, y: float, z: float, px: float, py: float, pz: float, charge: float, b_z: float
) -> tuple[float, float, float, float, float]:
    """Track parameters at closest approach to the beam line x = y = 0, for a particle at (x, y, z) [cm] with p [GeV].

    Returns (dca_xy [cm], dca_z [cm], phi [rad], tan_lambda, q_over_pt [e/GeV]); dca_xy is positive to the left of the
    momentum. Written so that it is exact for straight tracks too (no difference of large radii). pt must be positive.
    """
    pt = math.hypot(px, py)
    cos_phi = px / pt
    sin_phi = py / pt
    tan_lambda = pz / pt
    q_over_pt = charge / pt
    c = curvature_1(q_over_pt, b_z)
    along = x * cos_phi + y * sin_phi
    across = -x * sin_phi + y * cos_phi
    norm = math.hypot(1.0 + c * across, c * along)
    dca_xy = (2.0 * across + c * (along * along + across * across)) / (norm + 1.0)
    turn = math.atan2(-c * along, 1.0 + c * across)
    s = turn / c if abs(turn) > 1e-9 else -along / (1.0 + c * across)
    phi = wrap_1(math.atan2(py, px) + turn)
    return dca_xy, z + s * tan_lambda, phi, tan_lambda, q_over_pt
