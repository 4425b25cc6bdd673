"""A track's way out through the surfaces of a detector: where it crosses them, and what each crossing does to it.

The walk follows exact helix pieces from the beam line, losing energy in between if the rules say so. In the transverse plane it
knows u = r cos(beta) and v = r sin(beta), beta being the angle between the track and the radius vector (the incidence on a
cylinder). Along the arc s they turn: du/ds = 1 - c v, dv/ds = c u.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.energy_loss import (
    ELECTRON_MASS,
    momentum_after_1,
    radiation_variance_1,
    stopping_power_1,
    straggling_1,
)
from fastsim.kernels.helix import curvature_1, sinc_1, transport
from fastsim.kernels.scattering import highland_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.kernels.surfaces import Surfaces


class Rules(NamedTuple):
    """Field [T], conventions (numbers of `kernels.conventions`), and what a track is (lengths in cm)."""

    b_z: float
    scattering: int
    energy_loss: int
    straggling: int
    electrons: int
    electron_scale: float
    min_hits: int
    max_sin_incidence: float
    min_radius: float
    average_rapidity: float


class Path(NamedTuple):
    """Crossings of one track, in order; arrays over crossings, allocated once and filled by `walk`.

    `surface` index; `step` transverse arc from the crossing before [cm]; `r`, `z` where it is [cm]; `sin_incidence` in the
    bending plane; `views` (., 2, 2): what each view measures of a shift (n, z); `theta2` scattering variance; `q_over_pt`
    before the surface; `loss` (., 5): d(q/pt behind) / d(state before); `jitter` variance of q/pt behind by straggling and
    radiation; `jacobian`, `backward` (., 5, 5) over `step` outwards and inwards.
    """

    surface: NDArray[np.int64]
    step: NDArray[np.float64]
    r: NDArray[np.float64]
    z: NDArray[np.float64]
    sin_incidence: NDArray[np.float64]
    views: NDArray[np.float64]
    theta2: NDArray[np.float64]
    q_over_pt: NDArray[np.float64]
    loss: NDArray[np.float64]
    jitter: NDArray[np.float64]
    jacobian: NDArray[np.float64]
    backward: NDArray[np.float64]


def make_path(n: int) -> Path:
    """Room for `n` crossings."""

    def column(*shape: int) -> NDArray[np.float64]:
        return np.zeros((n, *shape))

    return Path(
        surface=np.zeros(n, dtype=np.int64), step=column(), r=column(), z=column(), sin_incidence=column(), views=column(2, 2),
        theta2=column(), q_over_pt=column(), loss=column(5), jitter=column(), jacobian=column(5, 5), backward=column(5, 5),
    )  # fmt: skip


@kernel
def arc_to_cylinder_1(u: float, v: float, c: float, r: float, max_sin_incidence: float) -> float:
    """Transverse arc [cm] from (u, v) outwards to radius r [cm] on a curvature c [1/cm]; NaN if the incidence is too flat."""
    v_there = v + 0.5 * c * (r * r - u * u - v * v)
    if abs(v_there) > max_sin_incidence * r:
        return math.nan
    u_there = math.sqrt(r * r - v_there * v_there)
    w = 1.0 - c * v
    w_there = 1.0 - c * v_there
    norm2 = c * c * u * u + w * w
    sin_over_c = (u_there * w - u * w_there) / norm2
    a = c * sin_over_c
    if abs(a) < 1e-6:
        return sin_over_c * (1.0 + a * a / 6.0)
    return math.atan2(a, (c * c * u * u_there + w * w_there) / norm2) / c


@kernel
def turn_1(u: float, v: float, c: float, s: float) -> tuple[float, float]:
    """(u, v) [cm] after the transverse arc s [cm]."""
    half = 0.5 * c * s
    sin_half = math.sin(half)
    cos_half = math.cos(half)
    chord = s * (sin_half / half if abs(half) > 1e-3 else sinc_1(half))
    cos_a = 1.0 - 2.0 * sin_half * sin_half
    return (
        u * cos_a + (1.0 - c * v) * chord * cos_half,
        v * cos_a + 2.0 * u * sin_half * cos_half + 0.5 * c * chord * chord,
    )


@kernel
def measure_1(
    is_disk: bool, angle: float, sin_incidence: float, cos_incidence: float, tan_lambda: float
) -> tuple[float, float]:
    """What a view at this stereo angle measures, at the surface, of a shift of the track by n and by z."""
    cos_angle = 1.0 if angle == 0.0 else math.cos(angle)  # most views are r-phi
    sin_angle = 0.0 if angle == 0.0 else math.sin(angle)
    if is_disk:  # at fixed z the track slides by -z / tan_lambda
        along_n = cos_angle * cos_incidence + sin_angle * sin_incidence
        along_t = cos_angle * sin_incidence - sin_angle * cos_incidence
        return along_n, -along_t / tan_lambda
    slide = sin_incidence / cos_incidence  # at fixed r it slides by n tan(incidence)
    return cos_angle / cos_incidence - sin_angle * tan_lambda * slide, -sin_angle


@kernel
def lose_energy_1(
    areal_density: float, slant: float, d_slant: float, r: float, sin_incidence: float, cos_incidence: float, tan_lambda: float,
    q_over_pt: float, c: float, mass: float, charge: float, straggling: int,
) -> tuple[float, float, float, float, float, float]:  # fmt: skip
    """Mean loss and straggling in a surface; `cos_incidence` is 0 for a disk.

    `slant` is the path through the surface in units of its thickness and `d_slant` the derivative of its logarithm by
    tan_lambda. Returns q/pt behind (NaN if the particle stops), its derivatives by n, phi, tan_lambda and q/pt before, and
    the variance of q/pt behind. The derivatives are exact: with dE/dx = -S(E), d(E behind)/d(E before) is
    S(E behind) / S(E before).
    """
    slope2 = 1.0 + tan_lambda * tan_lambda
    p = abs(charge / q_over_pt) * math.sqrt(slope2)
    x = areal_density * slant
    p_after = momentum_after_1(p, mass, charge, x)
    if p_after <= 0.0:
        return math.nan, 0.0, 0.0, 0.0, 1.0, 0.0
    energy = math.sqrt(p * p + mass * mass)
    energy_after = math.sqrt(p_after * p_after + mass * mass)
    power_after = stopping_power_1(p_after, mass, charge)
    by_p = power_after / stopping_power_1(p, mass, charge) * (energy_after / p_after) * (p / energy)
    by_x = -power_after * energy_after / p_after
    after = q_over_pt * p / p_after
    dp = p * tan_lambda / slope2
    by_tan = q_over_pt / p_after * (dp - p / p_after * (by_p * dp + by_x * x * d_slant))
    by_n = 0.0
    by_phi = 0.0
    if cos_incidence > 0.0:  # a cylinder: a flatter crossing is a longer one
        by_phi = -after / p_after * by_x * x * sin_incidence / cos_incidence
        by_n = by_phi * (c * sin_incidence / cos_incidence - 1.0 / (r * cos_incidence))
    spread = straggling_1(p, mass, charge, x, energy - energy_after, straggling)
    return (
        after,
        by_n,
        by_phi,
        by_tan,
        (p / p_after) ** 2 * by_p,
        (after * energy_after / (p_after * p_after) * spread) ** 2,
    )


@kernel
def cross(
    is_disk: bool, u: float, v: float, c: float, tan_lambda: float, q_over_pt: float, mass: float, charge: float,
    x_over_x0: float, areal_density: float, stereo: NDArray[np.float64], rules: Rules, views: NDArray[np.float64],
    loss: NDArray[np.float64],
) -> tuple[float, float, float]:  # fmt: skip
    """Cross a surface at (u, v): fills `views` (2, 2) and `loss` (5,) as in `Path`.

    Returns q/pt behind the surface (NaN if the particle stops in it), its variance there, and the slant x/X0.
    """
    r = math.hypot(u, v)
    sin_incidence = v / r
    cos_incidence = u / r
    slope2 = 1.0 + tan_lambda * tan_lambda
    slant = math.sqrt(slope2) / (abs(tan_lambda) if is_disk else cos_incidence)
    for m in range(2):
        views[m, 0], views[m, 1] = measure_1(is_disk, stereo[m], sin_incidence, cos_incidence, tan_lambda)
    after, by_n, by_phi, by_tan, by_q, jitter = q_over_pt, 0.0, 0.0, 0.0, 1.0, 0.0
    if rules.energy_loss > 0 and areal_density > 0.0:
        d_slant = tan_lambda / slope2 - (1.0 / tan_lambda if is_disk else 0.0)
        after, by_n, by_phi, by_tan, by_q, jitter = lose_energy_1(
            areal_density, slant, d_slant, r, sin_incidence, 0.0 if is_disk else cos_incidence, tan_lambda, q_over_pt, c, mass,
            charge, rules.straggling,
        )  # fmt: skip
    if rules.electrons > 0 and mass < 1.01 * ELECTRON_MASS:
        jitter += after * after * radiation_variance_1(x_over_x0 * slant)
    loss[0] = by_n
    loss[2] = by_phi
    loss[3] = by_tan
    loss[4] = by_q
    return after, jitter, x_over_x0 * slant


@kernel
def first_surfaces(surfaces: Surfaces, tan_lambda: float, r: float) -> tuple[int, int]:
    """The first cylinder outside radius r [cm], and the first disk on the side that a track goes to (one too many: none)."""
    cylinder = 0
    while cylinder < surfaces.n_cylinders and surfaces.position[cylinder] <= r:
        cylinder += 1
    if tan_lambda > 0.0:
        return cylinder, surfaces.n_cylinders
    return cylinder, surfaces.n_forward if tan_lambda < 0.0 else len(surfaces.position)


@kernel
def next_surface_1(
    surfaces: Surfaces, max_sin_incidence: float, u: float, v: float, z: float, c: float, tan_lambda: float, turned: float,
    cylinder: int, disk: int,
) -> tuple[int, float, int, int]:  # fmt: skip
    """The next cylinder or disk on the way out, of unlimited extent, and the arc to it [cm]; -1 if there is none.

    From (u, v, z) [cm] on a curvature c [1/cm], having turned by so much [rad]. `cylinder` and `disk` are the next ones, as
    from `first_surfaces`; those behind the surface that was found are returned.
    """
    last_disk = surfaces.n_forward if tan_lambda > 0.0 else len(surfaces.position)
    to_cylinder = math.inf
    if cylinder < surfaces.n_cylinders:
        to_cylinder = arc_to_cylinder_1(u, v, c, surfaces.position[cylinder], max_sin_incidence)
        if math.isnan(to_cylinder):
            cylinder = surfaces.n_cylinders
            to_cylinder = math.inf
    to_disk = math.inf
    if disk < last_disk:
        to_disk = (surfaces.position[disk] - z) / tan_lambda
        if turned + abs(c) * to_disk > math.pi:
            disk = last_disk
            to_disk = math.inf
    if min(to_cylinder, to_disk) == math.inf:
        return -1, math.inf, cylinder, disk
    if to_cylinder <= to_disk:
        return cylinder, to_cylinder, cylinder + 1, disk
    return disk, to_disk, cylinder, disk + 1


@kernel
def walk(
    surfaces: Surfaces,
    rules: Rules,
    pt: float,
    tan_lambda: float,
    mass: float,
    charge: float,
    r_birth: float,
    path: Path,
) -> int:
    """Follow a track from the beam line on its first way out; fills `path` and returns the number of crossings.

    `path.theta2` is left as the slant x/X0: see `scatter`. What lies inside the production radius `r_birth` [cm] is not there.
    A cylinder counts while the sine of the incidence in the bending plane stays within the rules, a disk within the first
    half turn.
    """
    q_over_pt = charge / pt
    c = curvature_1(q_over_pt, rules.b_z)
    u = 0.0
    v = 0.0
    z = 0.0
    turned = 0.0
    n = 0
    cylinder, disk = first_surfaces(surfaces, tan_lambda, r_birth)
    while True:
        i, s, cylinder, disk = next_surface_1(
            surfaces, rules.max_sin_incidence, u, v, z, c, tan_lambda, turned, cylinder, disk
        )
        if i < 0:
            return n
        u_there, v_there = turn_1(u, v, c, s)
        z_there = z + s * tan_lambda
        r_there = math.hypot(u_there, v_there)
        extent = r_there if i >= surfaces.n_cylinders else z_there
        if extent < surfaces.low[i] or extent > surfaces.high[i] or r_there <= r_birth:
            continue
        u = u_there
        v = v_there
        z = z_there
        turned += abs(c) * s
        path.surface[n] = i
        path.step[n] = s
        path.r[n] = r_there
        path.z[n] = z
        path.sin_incidence[n] = v / r_there
        path.q_over_pt[n] = q_over_pt
        transport(s, c, tan_lambda, rules.b_z, path.jacobian[n])
        after, path.jitter[n], path.theta2[n] = cross(
            i >= surfaces.n_cylinders, u, v, c, tan_lambda, q_over_pt, mass, charge, surfaces.x_over_x0[i],
            surfaces.areal_density[i], surfaces.stereo[i], rules, path.views[n], path.loss[n],
        )  # fmt: skip
        if math.isnan(after):
            return n
        n += 1
        if after != q_over_pt:
            q_over_pt = after
            c = curvature_1(q_over_pt, rules.b_z)


@kernel
def scatter(
    surfaces: Surfaces, rules: Rules, n: int, tan_lambda: float, mass: float, charge: float, path: Path
) -> None:
    """Turn the slant thicknesses in `path.theta2` into scattering variances, in the rules' convention."""
    total = 0.0
    t_path = 0.0  # as far as the outermost measuring surface: what lies behind it changes nothing
    for k in range(n):
        total += path.theta2[k]
        if surfaces.efficiency[path.surface[k]] > 0.0:
            t_path = total
    slope = math.sqrt(1.0 + tan_lambda * tan_lambda)
    for k in range(n):
        p = abs(charge / path.q_over_pt[k]) * slope
        beta = p / math.sqrt(p * p + mass * mass)
        t = path.theta2[k]
        path.theta2[k] = highland_1(t, max(t_path, t), p, beta, charge, rules.scattering) ** 2


@kernel
def go_back(rules: Rules, n: int, tan_lambda: float, path: Path) -> None:
    """Fill `path.backward`, the Jacobians of the same steps inwards."""
    for k in range(n):
        transport(-path.step[k], curvature_1(path.q_over_pt[k], rules.b_z), tan_lambda, rules.b_z, path.backward[k])
