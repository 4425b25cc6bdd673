"""Rings of level "detailed": looked for among all hits of an event, around where each track crosses the sensor.

The fit knows the track (not its species): each hit gives one angle, as if the photon came from the middle of the radiator at the
mean index; the ring is where most of them agree.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastsim.devices.rich_photons import Hits, around_1, crossing_of, light_of_crossing, make_hits
from fastsim.jit import kernel
from fastsim.kernels.cherenkov import (
    Blur,
    Counter,
    blur_1,
    draw_number_1,
    focal_1,
    landing_1,
    light_of_1,
    ring_of_1,
    take_off_1,
    variance_1,
    window_of_1,
)
from fastsim.kernels.rings import (
    BAND,
    Crossing,
    Light,
    Rings,
    Tracks,
    angle_1,
    compare_1,
    is_seen_1,
    momentum_1,
    sigma_of_ring_1,
    track_variance_1,
    without_light_1,
)
from fastsim.rng import Key, uniforms_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.rng import Streams

BINS = 256  # of the search for a ring, from 0 to the largest angle
ROUNDS = 6  # of the fit; the window moves with the ring
FAR_OFF = 15.0  # resolutions of a photon from where the fit begins: no hit from there on belongs to the ring
MARGIN = 1.2  # hits up to so many times the size of a fast particle's ring are looked at
MOST_IN_BAND = 0.5  # of the area that is searched: beside the ring there must be room to count stray hits


@kernel
def angle_of_1(counter: Counter, crossing: Crossing, x: float, y: float) -> tuple[float, float, float, float]:
    """Cherenkov angle [rad] of a hit [cm], and the direction (unit vector) of its photon."""
    if counter.is_mirror:
        f = focal_1(counter)
        norm = math.sqrt(f * f + x * x + y * y)
        d_n, d_x, d_y = f / norm, x / norm, y / norm
    else:
        path = counter.thickness / crossing.t_n
        x -= crossing.x + 0.5 * path * crossing.t_x
        y -= crossing.y + 0.5 * path * crossing.t_y
        rho = math.sqrt(x * x + y * y)
        sine = take_off_1(rho, counter.index, 0.5 * counter.thickness, counter.gap, counter.gap_index)
        d_n = math.sqrt(1.0 - sine * sine)
        d_x, d_y = (sine * x / rho, sine * y / rho) if rho > 0.0 else (0.0, 0.0)
    return between_1(d_n - crossing.t_n, d_x - crossing.t_x, d_y - crossing.t_y), d_n, d_x, d_y


@kernel
def fill_angles(
    f: float, t_n: float, t_x: float, t_y: float, near: NDArray[np.float64], angles: NDArray[np.float64]
) -> None:  # fmt: skip
    """The angles [rad] of hits `near` (n, 2) [cm] in the focal plane of a mirror, as `angle_of_1` gives them for small ones."""
    for k in range(len(near)):
        x, y = near[k, 0], near[k, 1]
        cosine = (f * t_n + x * t_x + y * t_y) / math.sqrt(f * f + x * x + y * y)
        c2 = max(2.0 - 2.0 * cosine, 0.0)  # the chord squared; the series is good to 1e-5 up to 1, to 1e-12 up to 0.01
        series = 1.0 / 24.0 + c2 * (3.0 / 640.0 + c2 * (5.0 / 7168.0 + c2 * 35.0 / 294912.0))
        angles[k] = math.sqrt(c2) * (1.0 + c2 * series)


@kernel
def bending_1(crossing: Crossing, f: float, x: float, y: float) -> float:
    """How the angle of a photon at (x, y) [cm] in a focal plane moves with its emission point, for the track bends [1/cm]."""
    t_n, t_x, t_y = crossing.t_n, crossing.t_x, crossing.t_y
    along = (f * t_n + x * t_x + y * t_y) / (t_n * t_n + t_x * t_x + t_y * t_y)
    e_n, e_x, e_y = f - along * t_n, x - along * t_x, y - along * t_y
    norm = math.sqrt(e_n * e_n + e_x * e_x + e_y * e_y)
    return (crossing.b_n * e_n + crossing.b_x * e_x + crossing.b_y * e_y) / max(norm, 1e-9)


@kernel
def between_1(dx: float, dy: float, dz: float) -> float:
    """Angle [rad] between two unit vectors of this difference: 2 asin(chord / 2); a series for small ones (1e-12)."""
    c2 = dx * dx + dy * dy + dz * dz
    chord = math.sqrt(c2)
    if c2 < 0.01:
        return chord * (1.0 + c2 * (1.0 / 24.0 + c2 * (3.0 / 640.0 + c2 * 5.0 / 7168.0)))
    return 2.0 * math.asin(min(0.5 * chord, 1.0))


@kernel
def variance_at_1(
    counter: Counter, crossing: Crossing, cosine: float, sine: float, d_n: float, d_x: float, d_y: float
) -> float:  # fmt: skip
    """Variance [rad^2] of the angle from a photon of a ring, by the cosine and sine of that; NaN: none is there.

    Its azimuth around the track is that of the direction d.
    """
    t_n, t_x, t_y = crossing.t_n, crossing.t_x, crossing.t_y
    along = d_n * t_n + d_x * t_x + d_y * t_y
    e_n, e_x, e_y = d_n - along * t_n, d_x - along * t_x, d_y - along * t_y  # across the track
    scale = 1.0 / max(math.sqrt(e_n * e_n + e_x * e_x + e_y * e_y), 1e-9)
    e_n, e_x, e_y = e_n * scale, e_x * scale, e_y * scale
    d_n, d_x, d_y = cosine * t_n + sine * e_n, cosine * t_x + sine * e_x, cosine * t_y + sine * e_y
    if math.isnan(landing_1(counter.index, d_n, 0.0, counter.gap, counter.gap_index)):
        return math.nan
    by_emission, by_place, by_index = blur_1(counter, t_n, t_x, t_y, d_n, d_x, d_y)
    by_emission += crossing.b_n * e_n + crossing.b_x * e_x + crossing.b_y * e_y
    return variance_1(counter, counter.thickness / t_n, by_emission, by_place, by_index)


@kernel
def _search(
    tiles: NDArray[np.int64], strips: NDArray[np.int64], ys: NDArray[np.float64], low: int, high: int, tile: int, strip: int,
    y: float,
) -> int:  # fmt: skip
    """The first row from `low` to `high` that is not before (tile, strip, y)."""
    while low < high:
        middle = (low + high) // 2
        is_before = tiles[middle] < tile
        if tiles[middle] == tile:
            is_before = strips[middle] < strip or (strips[middle] == strip and ys[middle] < y)
        if is_before:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def gather(
    hits: Hits, low: int, high: int, tile: int, window: tuple[float, float, float, float], pixel: float, shift: float,
    near: NDArray[np.float64], n: int,
) -> int:  # fmt: skip
    """Append the hits of a tile in a window (middle and half sides [cm]) to `near` (., 2), x changed by `shift`.

    A pixel counts once. Returns the number of hits in `near`, which may be more than it has room for: those are not written.
    """
    _, tiles, strips, xs, ys, width = hits
    x, y, half_x, half_y = window
    for strip in range(math.floor((x - half_x) / width), math.floor((x + half_x) / width) + 1):
        begin = _search(tiles, strips, ys, low, high, tile, strip, y - half_y)
        for row in range(begin, high):
            if tiles[row] != tile or strips[row] != strip or ys[row] > y + half_y:
                break
            if abs(xs[row] - x) > half_x:
                continue
            is_new = True
            before = row - 1
            while pixel > 0.0 and before >= begin and ys[before] == ys[row]:
                is_new = is_new and xs[before] != xs[row]
                before -= 1
            if is_new:
                if n < len(near):
                    near[n, 0] = xs[row] + shift
                    near[n, 1] = ys[row]
                n += 1
    return n


@kernel
def look_around(
    counter: Counter, crossing: Crossing, hits: Hits, low: int, high: int, window: tuple[float, float, float, float],
    near: NDArray[np.float64],
) -> int:  # fmt: skip
    """All hits in a `window` of `search_1` on a track's tile, across the seam of a round barrel too; as `gather`."""
    x, y, half_x, half_y = window
    n = gather(hits, low, high, crossing.tile, window, counter.pixel, 0.0, near, 0)
    if math.isinf(crossing.x_high) and not counter.is_disk and not counter.is_mirror:
        period = around_1(counter)
        if x - half_x < 0.0:
            behind = (x + period, y, half_x, half_y)
            n = gather(hits, low, high, crossing.tile, behind, counter.pixel, -period, near, n)
        if x + half_x > period:
            before = (x - period, y, half_x, half_y)
            n = gather(hits, low, high, crossing.tile, before, counter.pixel, period, near, n)
    return n


@kernel
def find_rings(
    counter: Counter, blur: Blur, tracks: Tracks, offsets: NDArray[np.int64], hits: Hits, dark_key: Key, rings: Rings
) -> None:
    """Fit the ring of each reconstructed track among the event's hits, and stray ones."""
    parameters, cov_packed = tracks.parameters, tracks.cov_packed
    is_measured, has_ring, n_photons, angle, sigma_angle, _, _, _ = rings
    room = 256
    near = np.empty((room, 2))
    for event in range(len(offsets) - 1):
        low, high = hits.first[event], hits.first[event + 1]
        for i in range(offsets[event], offsets[event + 1]):
            crossing = crossing_of(counter, tracks, i)
            if crossing.t_n <= 0.0 or not tracks.is_reconstructed[i]:
                continue
            light = light_of_crossing(counter, blur, crossing)
            window = search_1(counter, blur, crossing, light)
            x, y, half_x, half_y = window
            area = max(4.0 * half_x * half_y, light.band)
            particle, number = tracks.particle_index[i], tracks.event_id[i]
            n_dark = draw_number_1(counter.dark * area, particle, number, dark_key)
            n = look_around(counter, crossing, hits, low, high, window, near)
            if n + n_dark > room:
                room = 2 * (n + n_dark)
                near = np.empty((room, 2))
                n = look_around(counter, crossing, hits, low, high, window, near)
            for k in range(n_dark):
                u_x, u_y = uniforms_1(1000 + k, particle, number, dark_key.k0, dark_key.k1)
                near[n, 0] = x + half_x * (2.0 * u_x - 1.0)
                near[n, 1] = y + half_y * (2.0 * u_y - 1.0)
                n += counter.is_mirror or is_seen_1(crossing, near[n, 0], near[n, 1])
            p, relative2 = momentum_1(
                parameters[i, 3], parameters[i, 4], cov_packed[i, 9], cov_packed[i, 13], cov_packed[i, 14]
            )
            theta, found = fit_ring(counter, blur, crossing, light, p, near[:n])
            share = min(light.band / area, MOST_IN_BAND)
            stray = (n - found) * share / (1.0 - share)  # as many as there are beside the ring
            is_measured[i] = True
            n_photons[i] = found
            if found >= counter.min_photons:
                has_ring[i] = True
                angle[i] = theta
                shape = ring_of_1(blur.values, blur.largest, theta, light.slant)
                sigma_angle[i] = sigma_of_ring_1(shape, crossing, light, p, float(found), theta, stray)
            else:
                theta = math.nan
            compare_species(blur, tracks, crossing, light, stray, p, relative2, float(found), theta, rings, i)


@kernel
def compare_species(
    blur: Blur, tracks: Tracks, crossing: Crossing, light: Light, stray: float, p_over_z: float, relative2: float, n: float,
    theta: float, rings: Rings, i: int,
) -> None:  # fmt: skip
    """Fill row `i` of what each species expects, with `n` hits and the ring of angle `theta` [rad] (NaN: no ring)."""
    mass2, charge2, largest = tracks.mass2, tracks.charge2, blur.largest
    nothing = without_light_1(n, theta, stray, largest)
    for h in range(len(mass2)):
        angle = angle_1(light, p_over_z, mass2[h])
        rings.expected[i, h], rings.log_likelihood[i, h] = angle, nothing
        if angle > 0.0:
            shape = ring_of_1(blur.values, largest, angle, light.slant)
            rings.n_sigma[i, h], rings.log_likelihood[i, h] = compare_1(
                shape, crossing, light, stray, p_over_z, relative2, n, theta, angle, mass2[h], charge2[h], largest
            )


@kernel
def search_1(counter: Counter, blur: Blur, crossing: Crossing, light: Light) -> tuple[float, float, float, float]:
    """Where the hits of a track are looked for: middle and half sides of a rectangle [cm] around the ring of a fast particle.

    On a tile with straight borders, what of it is on the tile.
    """
    _, middle, along, across = window_of_1(blur.windows, light.slant)
    x, y = middle * crossing.t_x, middle * crossing.t_y
    sine = math.sqrt(crossing.t_x * crossing.t_x + crossing.t_y * crossing.t_y)
    c, s = (crossing.t_x / sine, crossing.t_y / sine) if sine > 0.0 else (1.0, 0.0)
    half_x = MARGIN * math.sqrt((along * c) ** 2 + (across * s) ** 2)  # of an ellipse
    half_y = MARGIN * math.sqrt((along * s) ** 2 + (across * c) ** 2)
    if counter.is_mirror or counter.is_disk:
        return (x, y, half_x, half_y) if counter.is_mirror else (crossing.x + x, crossing.y + y, half_x, half_y)
    low, high = max(crossing.x + x - half_x, crossing.x_low), min(crossing.x + x + half_x, crossing.x_high)
    below, above = max(crossing.y + y - half_y, crossing.y_low), min(crossing.y + y + half_y, crossing.y_high)
    return 0.5 * (low + high), 0.5 * (below + above), 0.5 * max(high - low, 0.0), 0.5 * max(above - below, 0.0)


@kernel
def fit_ring(
    counter: Counter, blur: Blur, crossing: Crossing, light: Light, p_over_z: float, near: NDArray[np.float64]
) -> tuple[float, int]:
    """Angle [rad] that most of the hits `near` (n, 2) agree on, and how many do: a weighted mean within BAND sigma.

    The weights are those of the angle where the search begins: a hit's own angle would favour hits of small angle.
    """
    fast, largest, values, _ = blur
    track = track_variance_1(light, p_over_z, 0.0)
    angles, seen = np.empty(len(near)), np.empty((len(near), 3))
    if counter.is_mirror:  # many hits, in crowds: quickly
        fill_angles(focal_1(counter), crossing.t_n, crossing.t_x, crossing.t_y, near, angles)
    else:
        for k in range(len(near)):
            angles[k], seen[k, 0], seen[k, 1], seen[k, 2] = angle_of_1(counter, crossing, near[k, 0], near[k, 1])
    votes = np.zeros(BINS + 1)
    per_width = BINS / largest
    for k in range(len(near)):
        if angles[k] < largest:
            votes[int(angles[k] * per_width) + 1] += 1.0
    photon, _, _ = light_of_1(values, largest, fast, math.tan(fast) ** 2, light.slant)
    theta = most_voted_1(votes, largest / BINS, 1.5 * math.sqrt(photon + track))
    cosine, sine = math.cos(theta), math.sin(theta)
    photon_of_mirror = 0.0
    if counter.is_mirror:  # the same all around, but for the track's bending
        _, by_place, by_index = blur_1(counter, 1.0, 0.0, 0.0, cosine, sine, 0.0)
        photon_of_mirror = variance_1(counter, 0.0, 0.0, by_place, by_index)
    path = counter.thickness / crossing.t_n
    reach = (2.0 * BAND if counter.is_mirror else FAR_OFF) * math.sqrt(photon + track + light.bend)
    n = 0
    inverse, limits = np.empty(len(near)), np.empty(len(near))
    for k in range(len(near)):
        if abs(angles[k] - theta) < reach:
            if counter.is_mirror:
                by_emission = bending_1(crossing, focal_1(counter), near[k, 0], near[k, 1])
                variance = photon_of_mirror + (by_emission * path) ** 2 / 12.0
            else:
                variance = variance_at_1(counter, crossing, cosine, sine, seen[k, 0], seen[k, 1], seen[k, 2])
            angles[n], inverse[n], limits[n] = angles[k], 1.0 / variance, BAND * BAND * (variance + track)
            n += 1
    found = 0
    for _ in range(ROUNDS):
        weights, shift, found = 0.0, 0.0, 0
        for k in range(n):
            delta = angles[k] - theta
            weight = inverse[k] if delta * delta < limits[k] else 0.0  # without a branch: half of them are
            weights += weight
            shift += delta * weight
            found += weight > 0.0
        if found == 0 or abs(shift) < 1e-9 * weights:
            break
        theta += shift / weights
    return theta, found


@kernel
def most_voted_1(votes: NDArray[np.float64], width: float, half: float) -> float:
    """Middle of the window of +-`half` with most votes; `votes` (n + 1,) in bins of `width` from entry 1 on, summed up here."""
    n = len(votes) - 1
    for k in range(n):
        votes[k + 1] += votes[k]
    reach = max(int(half / width + 0.5), 1)
    best, first, last = 0.0, 0, 0
    for k in range(n):
        total = votes[min(k + reach + 1, n)] - votes[max(k - reach, 0)]
        if total > best:
            best, first = total, k
        if total == best:
            last = k
    return (0.5 * (first + last) + 0.5) * width if last - first <= 2 * reach else (first + 0.5) * width


def measure(
    counter: Counter,
    blur: Blur,
    tracks: Tracks,
    offsets: NDArray[np.int64],
    streams: Streams,
    stream: str,
    rings: Rings,
) -> None:
    """Fill `rings` for the tracks of events that begin at `offsets`; `stream` names the counter's random numbers."""
    hits = make_hits(counter, blur, tracks, offsets, streams, stream)
    find_rings(counter, blur, tracks, offsets, hits, streams.key(f"{stream}/dark"), rings)
