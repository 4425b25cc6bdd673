"""Rings of a Cherenkov counter: where a track crosses a tile, how much of its ring the sensor sees, what each species would do.

The light itself is in `kernels.cherenkov`; both levels of the counter use what is here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.cherenkov import SMALLEST_COSINE, Counter, bent_1
from fastsim.kernels.helix import curvature_1
from fastsim.kernels.reach import reach_1
from fastsim.kernels.scattering import highland_1
from fastsim.kernels.walk import turn_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRAY: Final = (
    1e-3  # hits in a ring without any light, at least: no counter is free of them, and a likelihood needs a floor
)
LOG_STRAY: Final = math.log(STRAY)
NOTHING: Final = -40.0  # logarithm of what is nothing beside 1
BAND: Final = 3.0  # hits within so many sigma of the ring belong to it


class Crossing(NamedTuple):
    """A track on a tile; see `kernels.cherenkov` for the frame.

    Direction (t_n, t_x, t_y) in the middle of the radiator; its change per path (b_n, b_x, b_y) [1/cm] in the field; the
    point of the sensor behind the entry (x, y) [cm]; the tile, and its borders on the sensor [cm] (of a disk: radii, in
    `x_low` and `x_high`). `t_n` is 0 where there is nothing to measure.
    """

    is_disk: bool
    t_n: float
    t_x: float
    t_y: float
    b_n: float
    b_x: float
    b_y: float
    x: float
    y: float
    tile: int
    x_low: float
    x_high: float
    y_low: float
    y_high: float


NOWHERE: Final = Crossing(False, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0.0, 0.0, 0.0, 0.0)


@kernel
def cross_1(
    counter: Counter,
    dca_xy: float,
    dca_z: float,
    phi: float,
    tan_lambda: float,
    q_over_pt: float,
    b_z: float,
) -> Crossing:
    """Where and how a helix, given at closest approach to the beam line, crosses a counter."""
    c = curvature_1(q_over_pt, b_z)
    s, r, z = reach_1(
        0.0, -dca_xy, dca_z, tan_lambda, c, counter.is_disk, counter.position, counter.low, counter.high,
        counter.both_sides,
    )  # fmt: skip
    if math.isnan(s) or not 0.0 < abs(q_over_pt) < math.inf:
        return NOWHERE
    cos_lambda = 1.0 / math.sqrt(1.0 + tan_lambda * tan_lambda)
    sin_lambda = tan_lambda * cos_lambda
    if counter.is_disk:
        if abs(sin_lambda) < SMALLEST_COSINE:
            return NOWHERE
        u, v = turn_1(0.0, -dca_xy, c, s)
        radial = phi + c * s - math.atan2(v, u)
        along = phi + c * s + 0.5 * c * counter.thickness / abs(tan_lambda)
        t_x, t_y = cos_lambda * math.cos(along), cos_lambda * math.sin(along)
        return Crossing(
            True, abs(sin_lambda), t_x, t_y, 0.0, -c * cos_lambda * t_y, c * cos_lambda * t_x,
            r * math.cos(radial), r * math.sin(radial), 0 if z > 0.0 else 1, counter.low, counter.high, 0.0, 0.0,
        )  # fmt: skip
    v = -dca_xy + 0.5 * c * (r * r - dca_xy * dca_xy)  # as in walk.arc_to_cylinder_1
    u = math.sqrt(r * r - v * v)
    depth = counter.thickness + counter.gap
    in_phi, lean, x, x_low, x_high = _in_azimuth(counter, phi + c * s - math.atan2(v, u), r, r + depth)
    out, across = _turned(u / r, v / r, lean)
    in_z = _row_1(counter, r, z)
    cos_tilt, sin_tilt, far, y_low, y_high = tile_1(counter, in_z)
    y = far * (z * cos_tilt - r * sin_tilt) / (r * cos_tilt + z * sin_tilt) if counter.is_projective else z
    t_n = cos_lambda * out * cos_tilt + sin_lambda * sin_tilt
    if t_n < SMALLEST_COSINE:
        return NOWHERE
    out, across = _turned(out, across, 0.5 * c * counter.thickness / t_n * cos_lambda)
    turn = c * cos_lambda * cos_lambda
    return Crossing(
        False, cos_lambda * out * cos_tilt + sin_lambda * sin_tilt, cos_lambda * across,
        sin_lambda * cos_tilt - cos_lambda * out * sin_tilt,
        -turn * across * cos_tilt, turn * out, turn * across * sin_tilt,
        x, y, in_z * counter.n_phi + in_phi, x_low, x_high, y_low, y_high,
    )  # fmt: skip


@kernel
def _turned(cosine: float, sine: float, angle: float) -> tuple[float, float]:
    if angle == 0.0:
        return cosine, sine
    c, s = math.cos(angle), math.sin(angle)
    return cosine * c - sine * s, sine * c + cosine * s


@kernel
def _in_azimuth(counter: Counter, azimuth: float, r: float, r_sensor: float) -> tuple[int, float, float, float, float]:
    """Tile, azimuth from its middle, place on the sensor and the tile's borders there [cm]; one tile: it goes around."""
    turns = azimuth / (2.0 * math.pi)
    turns -= math.floor(turns)
    if counter.n_phi == 1:
        return 0, 0.0, 2.0 * math.pi * r_sensor * turns, -math.inf, math.inf
    tile = min(int(turns * counter.n_phi), counter.n_phi - 1)
    lean = 2.0 * math.pi * (turns - (tile + 0.5) / counter.n_phi)
    edge = r_sensor * math.tan(math.pi / counter.n_phi)
    return tile, lean, r * math.tan(lean), -edge, edge


@kernel
def _row_1(counter: Counter, r: float, z: float) -> int:
    """Tile along the beam: those that face the origin are of equal length in pseudorapidity, others of equal length."""
    part = z / counter.high
    if counter.is_projective:
        part = _asinh_1(z / r) / _asinh_1(counter.high / counter.position)
    return min(max(int(0.5 * (part + 1.0) * counter.n_z), 0), counter.n_z - 1)


@kernel
def _asinh_1(x: float) -> float:
    """As math.asinh, to 1e-16 absolutely, in a third of the time."""
    a = abs(x)
    return math.copysign(math.log(a + math.sqrt(1.0 + a * a)), x)


@kernel
def tile_1(counter: Counter, row: int) -> tuple[float, float, float, float, float]:
    """A tile of a barrel: cosine and sine of its tilt, distance of its middle from the origin, borders on the sensor [cm].

    Tiles that face the origin end at planes through it: on the sensor at tan(tilt - tilt of the middle), tan(tilt) = sinh(eta).
    """
    if not counter.is_projective:
        step = 2.0 * counter.high / counter.n_z
        return 1.0, 0.0, 0.0, row * step - counter.high, (row + 1) * step - counter.high
    half = _asinh_1(counter.high / counter.position) / counter.n_z  # of a tile, in eta
    e, e_half = math.exp((2 * row + 1 - counter.n_z) * half), math.exp(half)
    sinh, cosh = 0.5 * (e - 1.0 / e), 0.5 * (e + 1.0 / e)
    low, high = 0.5 * (e / e_half - e_half / e), 0.5 * (e * e_half - 1.0 / (e * e_half))  # sinh of the borders' eta
    far = counter.position * cosh
    sensor = far + counter.thickness + counter.gap
    y_low, y_high = sensor * (low - sinh) / (1.0 + low * sinh), sensor * (high - sinh) / (1.0 + high * sinh)
    return 1.0 / cosh, sinh / cosh, far, y_low, y_high


@kernel
def is_seen_1(crossing: Crossing, x: float, y: float) -> bool:
    """Whether a place on the sensor [cm] belongs to the tile that the track has crossed."""
    if crossing.is_disk:
        return crossing.x_low**2 <= x * x + y * y <= crossing.x_high**2
    return crossing.x_low <= x <= crossing.x_high and crossing.y_low <= y <= crossing.y_high


@kernel
def beyond_1(distance: float, radius: float) -> float:
    """Half of the arc [rad] of a circle that lies beyond a straight border at this distance from its centre."""
    if distance >= radius:
        return 0.0
    return math.pi if distance <= -radius else math.acos(distance / radius)


@kernel
def seen_1(crossing: Crossing, radius: float, centre: float) -> float:
    """Fraction of a ring that falls on the track's tile; `radius` and `centre` as of `circle_of_1`."""
    x = crossing.x + centre * crossing.t_x
    y = crossing.y + centre * crossing.t_y
    if crossing.is_disk:
        r = math.sqrt(x * x + y * y)
        lost = 2.0 * (beyond_1(r - crossing.x_low, radius) + beyond_1(crossing.x_high - r, radius))
    else:
        a, b = beyond_1(x - crossing.x_low, radius), beyond_1(crossing.x_high - x, radius)
        c, d = beyond_1(y - crossing.y_low, radius), beyond_1(crossing.y_high - y, radius)
        if a + b + c + d == 0.0:
            return 1.0
        corner = 0.5 * math.pi  # what lies beyond two borders is lost once
        twice = (
            max(a + c - corner, 0.0) + max(a + d - corner, 0.0) + max(b + c - corner, 0.0) + max(b + d - corner, 0.0)
        )
        lost = 2.0 * (a + b + c + d) - twice
    return max(1.0 - lost / (2.0 * math.pi), 0.0)


Shape = tuple[float, float, float, float, float]  # the columns of `Blur` at some angle and slant


@kernel
def angle_1(light: Light, p_over_z: float, mass2: float) -> float:
    """Cherenkov angle [rad] of a species of this (mass / charge)^2 [GeV^2] at a rigidity [GeV]; NaN below threshold."""
    cos2 = (1.0 + mass2 / (p_over_z * p_over_z)) / light.index2
    return math.acos(math.sqrt(cos2)) if cos2 < 1.0 else math.nan


class Light(NamedTuple):
    """What is the same for all species of a track.

    Squared index of the radiator; slant (see `slant_1`); path in the radiator [cm] and n0 times that; variances [rad^2] of
    the track's bending there and of its direction at high momentum; what scattering adds to that,
    times beta^2 and rigidity^2 [GeV^2]; of the ring of a fast particle, within BAND sigma: dark counts, and area [cm^2] on the
    tile; whether all rings lie within the borders.
    """

    index2: float
    slant: tuple[int, float]
    path: float
    n0_path: float
    bend: float
    track: float
    scatter: float
    stray: float
    band: float
    is_whole: bool


@kernel
def light_1(counter: Counter, crossing: Crossing, slant: tuple[int, float], shape: Shape, area: float) -> Light:
    """Prepare a track's crossing: `slant` is its `slant_1`, `shape` that of a fast particle's ring, `area` from `window_of_1`."""
    path = counter.thickness / crossing.t_n
    turn2 = crossing.b_n * crossing.b_n + crossing.b_x * crossing.b_x + crossing.b_y * crossing.b_y
    scatter = 0.0
    if counter.x_over_x0 > 0.0:
        thick = counter.x_over_x0 / crossing.t_n
        scatter = highland_1(thick, thick, 1.0, 1.0, 1.0, 1)
    seen = seen_1(crossing, shape[3], shape[4])
    return Light(
        counter.index * counter.index, slant, path, counter.n0 * path, turn2 * path * path / 12.0,
        counter.sigma_track * counter.sigma_track, scatter * scatter, counter.dark * BAND * area * seen, BAND * area * seen,
        seen == 1.0,
    )  # fmt: skip


@kernel
def track_variance_1(light: Light, p_over_z: float, ratio2: float) -> float:
    """Variance [rad^2] of the track's direction at the radiator, in one projection; `ratio2` is (mass / momentum)^2."""
    return light.track + light.scatter * (1.0 + ratio2) / (p_over_z * p_over_z)


@kernel
def ring_1(
    shape: Shape, crossing: Crossing, light: Light, sin2: float, charge2: float, track: float
) -> tuple[float, float, float]:
    """What a ring of angle `theta` (`sin2`: its squared sine) has, of a particle with this squared charge.

    `values` and `largest` are those of the counter's `Blur`; `track` is the variance [rad^2] of the track's direction in one
    projection. Returns the mean number of photo-electrons, the variance of the angle from one of them, and the part of the
    variance of the ring that does not fall with their number: around a whole ring the track's direction averages out, in an
    arc it does not.
    """
    photon, rest, out, radius, centre = shape
    inverse_tan2 = (1.0 - sin2) / sin2
    photon = bent_1(photon * inverse_tan2, rest * inverse_tan2, light.bend)
    mean = light.n0_path * charge2 * sin2 * out
    common = 0.0
    if not light.is_whole:
        seen = seen_1(crossing, radius, centre)
        mean *= seen
        if 0.0 < seen < 1.0 and track > 0.0:
            common = track * (math.sin(math.pi * seen) / (math.pi * seen)) ** 2
    return mean, photon + track - common, common


@kernel
def variance_of_ring_1(photon: float, common: float, n: float, mean: float, stray: float) -> float:
    """Variance of a ring [rad^2] of `n` hits: stray ones lie evenly within BAND sigma, so each adds BAND^2 / 3 variances."""
    if stray > 0.0:
        photon *= 1.0 + (BAND * BAND / 3.0 - 1.0) * stray / (mean + stray)
    return photon / n + common


@kernel
def momentum_1(tan_lambda: float, q_over_pt: float, c_tt: float, c_qt: float, c_qq: float) -> tuple[float, float]:
    """Rigidity [GeV] of a track and its relative variance, from parameters and covariances of tan(lambda) and q/pt."""
    slope2 = 1.0 + tan_lambda * tan_lambda
    by_slope = tan_lambda / slope2
    relative2 = c_qq / (q_over_pt * q_over_pt) + by_slope * (by_slope * c_tt - 2.0 * c_qt / q_over_pt)
    return math.sqrt(slope2) / abs(q_over_pt), max(relative2, 0.0)


@kernel
def sigma_of_ring_1(
    shape: Shape, crossing: Crossing, light: Light, p_over_z: float, n: float, theta: float, stray: float
) -> float:
    """Resolution [rad] of a ring of `n` hits that is seen at `theta`, whatever the particle was."""
    sine = math.sin(theta)
    sin2 = sine * sine
    ratio2 = max(light.index2 * (1.0 - sin2) - 1.0, 0.0)  # of a particle with this angle
    track = track_variance_1(light, p_over_z, ratio2)
    mean, photon, common = ring_1(shape, crossing, light, sin2, 1.0, track)
    return math.sqrt(variance_of_ring_1(photon, common, n, mean, stray))


@kernel
def without_light_1(n: float, theta: float, stray: float, largest: float) -> float:
    """Log-likelihood of `n` hits and the ring of angle `theta` [rad] (NaN: no ring), all stray; a ring may have any angle."""
    floor = max(stray, STRAY)
    return n * math.log(floor) - floor - (0.0 if math.isnan(theta) else math.log(largest))


@kernel
def compare_1(
    shape: Shape, crossing: Crossing, light: Light, stray: float, p_over_z: float, relative2: float, n: float, theta: float,
    angle: float, mass2: float, charge2: float, largest: float,
) -> tuple[float, float]:  # fmt: skip
    """Compare `n` hits and the ring of angle `theta` [rad] (NaN: no ring) with a species that has light; see docs/rich.md.

    `shape` is that of a ring of its `angle_1`, `angle`; `p_over_z` and `relative2` are as from `momentum_1`, `mass2` is
    (mass / charge)^2. Returns n sigma (NaN without a ring) and the log-likelihood (the factorial of n left out).
    """
    floor = max(stray, STRAY)
    log_floor = math.log(floor) if stray > STRAY else LOG_STRAY
    has_ring = not math.isnan(theta)
    log_even = -math.log(largest)
    ratio2 = mass2 / (p_over_z * p_over_z)
    cos2 = (1.0 + ratio2) / light.index2
    sin2 = 1.0 - cos2
    track = track_variance_1(light, p_over_z, ratio2)
    mean, photon, common = ring_1(shape, crossing, light, sin2, charge2, track)
    hits = mean + floor
    log_hits = math.log(hits)
    total = n * log_hits - hits
    if not has_ring:
        return math.nan, total
    by_momentum2 = (
        ratio2 * ratio2 * relative2 / (light.index2 * light.index2 * cos2 * sin2)
    )  # d(angle) / d(ln p) = m^2 / (n p E sin)
    variance = variance_of_ring_1(photon, common, n, mean, stray) + by_momentum2
    pull = (theta - angle) / math.sqrt(variance)
    # All hits stray: with probability (floor / hits)^n; else the ring is where it should be.
    log_stray = n * (log_floor - log_hits)
    log_ring = -0.5 * (pull * pull + math.log(2.0 * math.pi * variance))
    if log_stray > NOTHING:
        log_ring += math.log1p(-math.exp(log_stray)) if log_stray < 0.0 else -math.inf
    log_stray += log_even
    low, high = min(log_ring, log_stray), max(log_ring, log_stray)
    return pull, total + high + (math.log1p(math.exp(low - high)) if low > high + NOTHING else 0.0)


class Tracks(NamedTuple):
    """Tracks (n,) as the counters read them: reconstructed parameters, and what of the truth the light depends on.

    Of the species (9,): `mass2` (mass / charge)^2 [GeV^2] and `charge2`. Kernels take the arrays out of it before they loop:
    numba counts references at each access.
    """

    is_reconstructed: NDArray[np.bool_]
    parameters: NDArray[np.float64]  # (n, 5)
    cov_packed: NDArray[np.float64]  # (n, 15)
    species: NDArray[np.int8]
    rigidity_true: NDArray[np.float64]
    event_id: NDArray[np.uint64]
    particle_index: NDArray[np.int32]
    mass2: NDArray[np.float64]
    charge2: NDArray[np.float64]
    b_z: float


class Rings(NamedTuple):
    """What is measured of tracks (n,), and of their comparison with each species (n, 9)."""

    is_measured: NDArray[np.bool_]
    has_ring: NDArray[np.bool_]
    n_photons: NDArray[np.float64]
    angle: NDArray[np.float64]
    sigma_angle: NDArray[np.float64]
    expected: NDArray[np.float64]
    n_sigma: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]


def make_rings(n: int, n_species: int, *, is_filled: bool = True) -> Rings:
    """Rows of tracks that are not measured, or that are to be filled."""
    no, one, each = np.zeros((2, n), dtype=np.bool_), np.empty((3, n)), np.empty((3, n, n_species))
    if is_filled:
        one[:] = each[:] = math.nan
    return Rings(no[0], no[1], one[0], one[1], one[2], each[0], each[1], each[2])
