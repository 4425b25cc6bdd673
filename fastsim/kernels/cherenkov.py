"""Cherenkov light: angle and number of photons, their way through a flat radiator to the sensor, and what blurs the angle.

In the frame of a tile: n along its normal (outwards), x and y along its surfaces. A track crosses the radiator in direction t
(unit vector); a photon leaves it at the Cherenkov angle in direction d. Refraction keeps index times (d_x, d_y), so a photon
that is emitted `depth` before the exit lands at (d_x, d_y) times `landing_1` from there.

Sources: PDG review, "Passage of particles through matter" 34.7 and "Particle detectors at accelerators" 35.5; T. Ypsilantis and
J. Seguinot, NIM A 343 (1994) 30 (resolution of proximity-focusing counters).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.rng import Key, uniforms_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRANK_TAMM: Final = 2.0 * math.pi / 137.035999177  # photons per unit of path / wavelength and sin^2 (CODATA 2022)
MOST_AT_ONCE = (
    300.0  # mean of a Poisson number that is drawn with one uniform: exp(-300) is far from the smallest double
)
SLANTS = 32  # points of `Blur` from SMALLEST_COSINE to 1
SMALLEST_COSINE = 0.2  # flattest incidence of tracks on a tile, and of light on its sensor, that is followed
ANGLES = 48  # points of `Blur` from 0 to the largest angle
AZIMUTHS = 48


class Counter(NamedTuple):
    """A ring-imaging counter as numbers: place as in `PlaceNumbers`; lengths in cm, angles in rad, 1/wavelengths in 1/nm.

    n^2 = 1 + `strength` / (1 - (`pole` k)^2) at k = 1/wavelength; `index`^2 is the mean of that over the photons that are found
    of a fast particle, evenly in energy from `k_min` to `k_max` but for sin^2, and `sigma_index` is the rms of n. `n0`:
    photo-electrons per cm and sin^2. `sigma_photon`: what a mirror adds to each photon (or all there is); a counter with a
    mirror has no gap and any large `gap_index`. `dark`: stray hits per cm^2 of the sensor and event.
    """

    is_disk: bool
    position: float
    low: float
    high: float
    both_sides: bool
    is_mirror: bool
    thickness: float
    index: float  # type: ignore[assignment]  # (tuples have a method of this name)
    gap: float
    gap_index: float
    focal_length: float
    pixel: float
    n0: float
    min_photons: int
    k_min: float
    k_max: float
    pole: float
    strength: float
    sigma_index: float
    sigma_photon: float
    sigma_track: float
    x_over_x0: float
    dark: float
    is_projective: bool
    n_z: int
    n_phi: int


@kernel
def index_1(counter: Counter, k: float) -> float:
    """Refractive index of the radiator at 1/wavelength `k` [1/nm]: one pole of Sellmeier's formula."""
    return math.sqrt(1.0 + counter.strength / (1.0 - (counter.pole * k) ** 2))


@kernel
def poisson_1(mean: float, u: float) -> int:
    """The Poisson number that a uniform `u` in [0, 1) stands for (inversion); `mean` up to MOST_AT_ONCE."""
    p = math.exp(-mean)
    below = p
    n = 0
    while u >= below and p > 1e-300:
        n += 1
        p *= mean / n
        below += p
    return n


@kernel
def draw_number_1(mean: float, particle_index: int, event_id: int, key: Key) -> int:
    """A Poisson number of any mean."""
    n = 0
    draw = 0
    while mean > 0.0:
        part = min(mean, MOST_AT_ONCE)
        u, _ = uniforms_1(draw, particle_index, event_id, key.k0, key.k1)
        n += poisson_1(part, u)
        mean -= part
        draw += 1
    return n


@kernel
def landing_1(index: float, d_n: float, depth: float, gap: float, gap_index: float) -> float:
    """Where a photon lands, in units of its (d_x, d_y), after `depth` [cm] of radiator and the gap; NaN if it does not.

    It may not get out, or be so flat in the gap (a cosine below SMALLEST_COSINE) that no sensor takes it.
    """
    inside = gap_index * gap_index - index * index * (1.0 - d_n * d_n)
    if d_n <= 0.0 or inside <= (SMALLEST_COSINE * gap_index) ** 2:
        return math.nan
    return depth / d_n + gap * index / math.sqrt(inside)


@kernel
def take_off_1(rho: float, index: float, depth: float, gap: float, gap_index: float) -> float:
    """The sine of the angle to the normal, in the radiator, of a photon that lands at distance `rho` [cm]: inverts `landing_1`.

    Newton's method for q = index * sine in depth q / sqrt(index^2 - q^2) + gap q / sqrt(gap_index^2 - q^2) = rho, a convex
    function: from above it comes down to the root without overshooting.
    """
    if rho <= 0.0:
        return 0.0
    tangent = rho / gap if gap > 0.0 else math.inf
    q = gap_index * tangent / math.sqrt(1.0 + tangent * tangent) if gap > 0.0 else 0.999 * gap_index
    for _ in range(20):
        a = index * index - q * q
        b = gap_index * gap_index - q * q
        in_a = depth / math.sqrt(a)
        in_b = gap / math.sqrt(b)
        step = (q * (in_a + in_b) - rho) / (in_a * index * index / a + in_b * gap_index * gap_index / b)
        q -= step
        if abs(step) < 1e-10:
            break
    return q / index


@kernel
def photon_1(
    t_n: float, t_x: float, t_y: float, cos_theta: float, sin_theta: float, cos_phi: float, sin_phi: float
) -> tuple[float, float, float]:
    """Direction of a photon at angle theta to the track, phi around it; phi = 0 leans most towards the normal's far side."""
    across = math.sqrt(t_x * t_x + t_y * t_y)
    if across < 1e-12:
        return cos_theta, sin_theta * cos_phi, sin_theta * sin_phi
    a_x, a_y = t_x / across, t_y / across  # first axis: (-across, t_n a); second: (0, -a_y, a_x)
    return (
        cos_theta * t_n - sin_theta * cos_phi * across,
        cos_theta * t_x + sin_theta * (cos_phi * t_n * a_x - sin_phi * a_y),
        cos_theta * t_y + sin_theta * (cos_phi * t_n * a_y + sin_phi * a_x),
    )


@kernel
def blur_1(
    counter: Counter, t_n: float, t_x: float, t_y: float, d_n: float, d_x: float, d_y: float
) -> tuple[float, float, float]:
    """How the angle that one photon gives moves: with its emission point, with the place of its hit, with its index.

    Per cm along the track, per cm on the sensor (length of the gradient), per unit of index. The photon is taken to come from
    the middle of the track's path in the radiator, at the mean index; these are the exact derivatives of that reconstruction.
    At normal incidence without a radiator's thickness the last is 1 / (n sin cos) of the Cherenkov angle; without a gap it is
    1 / (n tan).
    """
    n = counter.index
    cos_theta = d_n * t_n + d_x * t_x + d_y * t_y
    sin_theta = math.sqrt(max(1.0 - cos_theta * cos_theta, 1e-30))
    by_index = cos_theta / (n * sin_theta)  # of the true angle
    if counter.is_mirror:
        return 0.0, 1.0 / counter.focal_length if counter.focal_length > 0.0 else 0.0, by_index
    depth = 0.5 * counter.thickness
    sine = math.sqrt(max(d_x * d_x + d_y * d_y, 1e-30))
    r_x, r_y = d_x / sine, d_y / sine  # outwards in the sensor's plane
    inside = counter.gap_index**2 - n * n * sine * sine
    root = math.sqrt(inside)
    rho = sine * (depth / d_n + counter.gap * n / root)
    drho = depth / (d_n * d_n) + counter.gap * n * d_n * counter.gap_index**2 / (inside * root)
    along = (sine * t_n - d_n * (t_x * r_x + t_y * r_y)) / (sin_theta * drho)  # d(angle) / d(rho)
    across = -sine * (t_y * r_x - t_x * r_y) / (sin_theta * rho)
    g_x = along * r_x - across * r_y
    g_y = along * r_y + across * r_x
    by_emission = g_x * (t_x - t_n * d_x / d_n) + g_y * (t_y - t_n * d_y / d_n)
    turn = by_index / sin_theta  # the true direction turns away from the track
    e_n, e_x, e_y = (
        turn * (cos_theta * d_n - t_n),
        turn * (cos_theta * d_x - t_x),
        turn * (cos_theta * d_y - t_y),
    )
    q_x, q_y = d_x + n * e_x, d_y + n * e_y
    bent = n * (d_x * q_x + d_y * q_y) / (inside * root)
    x = depth * (e_x - d_x * e_n / d_n) / d_n + counter.gap * (q_x / root + n * d_x * bent)
    y = depth * (e_y - d_y * e_n / d_n) / d_n + counter.gap * (q_y / root + n * d_y * bent)
    return by_emission, math.sqrt(g_x * g_x + g_y * g_y), g_x * x + g_y * y


@kernel
def variance_1(counter: Counter, path: float, by_emission: float, by_place: float, by_index: float) -> float:
    """Variance [rad^2] of the angle from one photon: emission along the `path` [cm], pixels, colour, mirror."""
    return (
        (by_emission * path) ** 2 / 12.0
        + (by_place * counter.pixel) ** 2 / 12.0
        + (by_index * counter.sigma_index) ** 2
        + counter.sigma_photon**2
    )


class Blur(NamedTuple):
    """What is computed once for a counter: angle of a fast particle and the largest of the tables [rad], and rings.

    `values` (., ., 5) over Cherenkov angle (rows, from 0 to `largest`) and the cosine of the incidence on the tile: variance of
    one photon, harmonic mean over the ring, times tan^2 of the angle (which is finite at 0); the same without the emission
    point; fraction of the light that leaves the radiator; radius of the ring on the sensor [cm]; how far its centre is from
    the point behind the entry, over the sine of the incidence [cm]. `windows` (., 4) over the cosine, of the ring of a fast
    particle: area within one sigma of a photon [cm^2]; how far its middle is from the point behind the entry, over the sine [cm];
    half its lengths along the track's slope and across [cm].
    """

    fast: float
    largest: float
    values: NDArray[np.float64]
    windows: NDArray[np.float64]


@kernel
def _fill_blur(counter: Counter, largest: float, values: NDArray[np.float64]) -> None:
    for i in range(ANGLES):
        theta = largest * max(i, 1e-3) / (ANGLES - 1)
        for j in range(SLANTS):
            t_n = SMALLEST_COSINE + (1.0 - SMALLEST_COSINE) * j / (SLANTS - 1)
            values[i, j] = _ring(counter, theta, t_n)


@kernel
def _ring(counter: Counter, theta: float, t_n: float) -> tuple[float, float, float, float, float]:
    t_n = min(t_n, 1.0 - 1e-6)  # so that the centre has a direction
    t_x = math.sqrt(1.0 - t_n * t_n)
    path = counter.thickness / t_n
    weights, weights_0 = 0.0, 0.0
    out = 0
    places = np.zeros((AZIMUTHS, 2))
    for k in range(AZIMUTHS):
        phi = 2.0 * math.pi * (k + 0.5) / AZIMUTHS
        d_n, d_x, d_y = photon_1(t_n, t_x, 0.0, math.cos(theta), math.sin(theta), math.cos(phi), math.sin(phi))
        landing = landing_1(counter.index, d_n, 0.5 * counter.thickness, counter.gap, counter.gap_index)
        if math.isnan(landing):
            continue
        by_emission, by_place, by_index = blur_1(counter, t_n, t_x, 0.0, d_n, d_x, d_y)
        weights += 1.0 / variance_1(counter, path, by_emission, by_place, by_index)
        weights_0 += 1.0 / variance_1(counter, path, 0.0, by_place, by_index)
        places[out, 0] = 0.5 * path * t_x + landing * d_x
        places[out, 1] = landing * d_y
        out += 1
    if out == 0:
        return 0.0, 0.0, 0.0, 0.0, 0.0
    centre = 0.0
    for k in range(out):
        centre += places[k, 0] / out
    radius = 0.0
    for k in range(out):
        radius += math.sqrt((places[k, 0] - centre) ** 2 + places[k, 1] ** 2) / out
    tan2 = math.tan(theta) ** 2
    return out / weights * tan2, out / weights_0 * tan2, out / AZIMUTHS, radius, centre / t_x


@kernel
def _fill_windows(counter: Counter, theta: float, windows: NDArray[np.float64]) -> None:
    """The table `windows` of `Blur`, by sums over azimuths; the area by differences, d(place)/d(angle) x d(place)/d(azimuth)."""
    h = 1e-4
    for j in range(SLANTS):
        t_n = min(SMALLEST_COSINE + (1.0 - SMALLEST_COSINE) * j / (SLANTS - 1), 1.0 - 1e-6)
        t_x = math.sqrt(1.0 - t_n * t_n)
        low, high, widest = math.inf, -math.inf, 0.0
        for k in range(4 * AZIMUTHS):
            phi = 2.0 * math.pi * (k + 0.5) / (4 * AZIMUTHS)
            x, y = _place(counter, t_n, t_x, theta, phi)
            if math.isnan(x):
                continue
            low, high, widest = min(low, x), max(high, x), max(widest, abs(y))
            d_n, d_x, d_y = photon_1(t_n, t_x, 0.0, math.cos(theta), math.sin(theta), math.cos(phi), math.sin(phi))
            variance = variance_1(counter, counter.thickness / t_n, *blur_1(counter, t_n, t_x, 0.0, d_n, d_x, d_y))
            smaller, larger = _place(counter, t_n, t_x, theta - h, phi), _place(counter, t_n, t_x, theta + h, phi)
            before, behind = _place(counter, t_n, t_x, theta, phi - h), _place(counter, t_n, t_x, theta, phi + h)
            by_angle, by_phi = (
                (larger[0] - smaller[0], larger[1] - smaller[1]),
                (behind[0] - before[0], behind[1] - before[1]),
            )
            cross = by_angle[0] * by_phi[1] - by_angle[1] * by_phi[0]
            if not math.isnan(cross):  # at the edge of what gets out
                windows[j, 0] += 2.0 * math.sqrt(variance) * abs(cross) / (4.0 * h * h) * 2.0 * math.pi / (4 * AZIMUTHS)
        if widest > 0.0:
            windows[j, 1], windows[j, 2], windows[j, 3] = 0.5 * (low + high) / t_x, 0.5 * (high - low), widest


@kernel
def _place(counter: Counter, t_n: float, t_x: float, theta: float, phi: float) -> tuple[float, float]:
    """Where a photon lands [cm] from the point behind the entry, NaN if it does not."""
    d_n, d_x, d_y = photon_1(t_n, t_x, 0.0, math.cos(theta), math.sin(theta), math.cos(phi), math.sin(phi))
    if counter.is_mirror:
        f = focal_1(counter)
        return f * d_x / d_n, f * d_y / d_n
    landing = landing_1(counter.index, d_n, 0.5 * counter.thickness, counter.gap, counter.gap_index)
    return 0.5 * counter.thickness / t_n * t_x + landing * d_x, landing * d_y


@kernel
def focal_1(counter: Counter) -> float:
    """Focal length [cm]; 1 where angles are given instead, so that places are tangents of angles."""
    return counter.focal_length if counter.focal_length > 0.0 else 1.0


def make_blur(counter: Counter) -> Blur:
    """The tables of a counter, up to 1.25 times the angle at the speed of light."""
    fast = math.acos(1.0 / counter.index)
    values, windows = np.zeros((ANGLES, SLANTS, 5)), np.zeros((SLANTS, 4))
    _fill_blur(counter, 1.25 * fast, values)
    _fill_windows(counter, fast, windows)
    return Blur(fast, 1.25 * fast, values, windows)


@kernel
def slant_1(t_n: float) -> tuple[int, float]:
    """Column of `Blur` below this cosine of the incidence, and the fraction of the step to the next."""
    b = min(max((t_n - SMALLEST_COSINE) / (1.0 - SMALLEST_COSINE), 0.0), 1.0) * (SLANTS - 1)
    j = min(int(b), SLANTS - 2)
    return j, b - j


@kernel
def ring_of_1(
    v: NDArray[np.float64], largest: float, theta: float, slant: tuple[int, float]
) -> tuple[float, float, float, float, float]:
    """The five columns of `Blur` (whose `values` and `largest` are `v` and `largest`) at an angle and a `slant_1`; linear."""
    a = min(max(theta / largest, 0.0), 1.0) * (ANGLES - 1)
    i = min(int(a), ANGLES - 2)
    f = a - i
    j, g = slant
    below, above = (1.0 - f) * (1.0 - g), f * (1.0 - g)  # weights of the four points
    low, high = (1.0 - f) * g, f * g
    return (
        below * v[i, j, 0] + low * v[i, j + 1, 0] + above * v[i + 1, j, 0] + high * v[i + 1, j + 1, 0],
        below * v[i, j, 1] + low * v[i, j + 1, 1] + above * v[i + 1, j, 1] + high * v[i + 1, j + 1, 1],
        below * v[i, j, 2] + low * v[i, j + 1, 2] + above * v[i + 1, j, 2] + high * v[i + 1, j + 1, 2],
        below * v[i, j, 3] + low * v[i, j + 1, 3] + above * v[i + 1, j, 3] + high * v[i + 1, j + 1, 3],
        below * v[i, j, 4] + low * v[i, j + 1, 4] + above * v[i + 1, j, 4] + high * v[i + 1, j + 1, 4],
    )


@kernel
def light_of_1(
    v: NDArray[np.float64], largest: float, theta: float, tan2: float, slant: tuple[int, float]
) -> tuple[float, float, float]:
    """Variances of one photon [rad^2] of a ring, all and without the emission point, and fraction of the light that gets out.

    As `ring_of_1`; `tan2` is the squared tangent of `theta`.
    """
    all_, rest, out, _, _ = ring_of_1(v, largest, theta, slant)
    return all_ / tan2, rest / tan2, out


@kernel
def circle_of_1(v: NDArray[np.float64], largest: float, theta: float, slant: tuple[int, float]) -> tuple[float, float]:
    """Radius of a ring [cm], and its distance from the point behind the entry over the sine [cm]; as `ring_of_1`."""
    _, _, _, radius, centre = ring_of_1(v, largest, theta, slant)
    return radius, centre


@kernel
def window_of_1(windows: NDArray[np.float64], slant: tuple[int, float]) -> tuple[float, float, float, float]:
    """The four columns of `Blur.windows` at a `slant_1`; linear."""
    j, g = slant
    h = 1.0 - g
    return (
        h * windows[j, 0] + g * windows[j + 1, 0],
        h * windows[j, 1] + g * windows[j + 1, 1],
        h * windows[j, 2] + g * windows[j + 1, 2],
        h * windows[j, 3] + g * windows[j + 1, 3],
    )


@kernel
def bent_1(variance: float, rest: float, bend: float) -> float:
    """Variance of one photon, harmonic mean over the ring, of a track that bends in the radiator.

    `variance` is that of a straight track and `rest` its part without the emission point. The angle moves by (A + B cos phi) s
    with the emission point s: where the two cancel, photons are worth more than elsewhere. With a^2 = variance - rest and
    `bend` b^2 the mean of 1 / ((a + b cos phi)^2 + rest) over phi is Im[1 / sqrt((a - i v)^2 - b^2)] / v, v^2 = rest.
    """
    if bend <= 0.0:
        return variance
    a2 = max(variance - rest, 0.0)
    real = a2 - rest - bend
    imaginary = 2.0 * math.sqrt(a2 * rest)
    m = math.sqrt(real * real + imaginary * imaginary)
    # without cancellation: the smaller root by the product of the two
    root = math.sqrt(0.5 * (m - real)) if real < 0.0 else 0.5 * imaginary / math.sqrt(0.5 * (m + real))
    return math.sqrt(rest) * m / root if root > 0.0 else variance
