"""Ring-imaging Cherenkov counters at level "detailed": every photon, from its emission to a pixel, and rings fitted to pixels.

Photons of all charged particles of an event fall on the same sensor, so each ring is looked for among the others' hits. A
photon that the sensor would not find is never made: a Poisson number that is thinned is a Poisson number. The fit knows the
track (not its species): each hit gives one angle, as if the photon came from the middle of the radiator at the mean index; the
ring is where most of them agree.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.events import offsets_from_counts
from fastsim.jit import kernel
from fastsim.kernels.cherenkov import (
    Blur,
    Counter,
    blur_1,
    circle_of_1,
    draw_number_1,
    index_1,
    landing_1,
    light_of_1,
    photon_1,
    take_off_1,
    variance_1,
)
from fastsim.kernels.rings import (
    BAND,
    Crossing,
    Light,
    Rings,
    Tracks,
    band_1,
    compare,
    cross_1,
    focal_1,
    is_seen_1,
    light_1,
    momentum_1,
    sigma_of_ring_1,
    track_variance_1,
)
from fastsim.rng import Key, normals_1, uniforms_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.rng import Streams

BINS = 256  # of the search for a ring, from 0 to the largest angle
ROUNDS = 6  # of the fit; the window moves with the ring
MARGIN = 1.2  # hits up to so many radii of a fast particle's ring (at normal incidence) are looked at


@kernel
def crossing_of(counter: Counter, blur: Blur, tracks: Tracks, i: int) -> Crossing:
    """Where track `i` crosses a counter."""
    p = tracks.parameters
    return cross_1(counter, blur, p[i, 0], p[i, 1], p[i, 2], p[i, 3], p[i, 4], tracks.b_z)


@kernel
def largest_sin2_1(counter: Counter, ratio2: float) -> float:
    """sin^2 of the Cherenkov angle where the index is largest, for (mass / momentum)^2 `ratio2`; 0 if there is no light."""
    return max(1.0 - (1.0 + ratio2) / index_1(counter, counter.k_max) ** 2, 0.0)


@kernel
def count_photons(counter: Counter, blur: Blur, tracks: Tracks, key: Key, counts: NDArray[np.int64]) -> None:
    """Numbers of photons (n,) before those of lower index are thinned out."""
    for i in range(len(counts)):
        crossing = crossing_of(counter, blur, tracks, i)
        counts[i] = 0
        if crossing.t_n > 0.0:
            s = tracks.species[i]
            sin2 = largest_sin2_1(counter, tracks.mass2[s] / tracks.rigidity_true[i] ** 2)
            mean = counter.n0 * counter.thickness / crossing.t_n * tracks.charge2[s] * sin2
            counts[i] = draw_number_1(mean, tracks.particle_index[i], tracks.event_id[i], key)


@kernel
def emit(
    counter: Counter, blur: Blur, tracks: Tracks, first: NDArray[np.int64], photon_key: Key, track_key: Key,
    hits: NDArray[np.float64], tiles: NDArray[np.int64],
) -> None:  # fmt: skip
    """Follow the photons of all tracks; those of track i are rows first[i] to first[i + 1] of `hits` (., 2) [cm].

    `tiles` is -1 for photons that end elsewhere than in the sensor of the track's tile.
    """
    for i in range(len(first) - 1):
        if first[i + 1] == first[i]:
            continue
        crossing = crossing_of(counter, blur, tracks, i)
        particle, event = tracks.particle_index[i], tracks.event_id[i]
        species = tracks.species[i]
        ratio2 = tracks.mass2[species] / tracks.rigidity_true[i] ** 2
        light = light_1(counter, blur, crossing)
        track = track_variance_1(light, tracks.rigidity_true[i], ratio2)
        one, two = normals_1(0, particle, event, track_key.k0, track_key.k1)
        t = deflect_1(crossing.t_n, crossing.t_x, crossing.t_y, math.sqrt(track) * one, math.sqrt(track) * two)
        for row in range(first[i], first[i + 1]):
            number = 4 * (row - first[i])
            u_k, u_sin2 = uniforms_1(number, particle, event, photon_key.k0, photon_key.k1)
            u_s, u_phi = uniforms_1(number + 1, particle, event, photon_key.k0, photon_key.k1)
            normal = 0.0
            if counter.sigma_photon > 0.0:
                normal, _ = normals_1(number + 2, particle, event, photon_key.k0, photon_key.k1)
            x, y, is_found = follow_1(counter, crossing, t, ratio2, u_k, u_sin2, u_s, u_phi, normal)
            hits[row, 0] = x
            hits[row, 1] = y
            tiles[row] = crossing.tile if is_found else -1


@kernel
def deflect_1(t_n: float, t_x: float, t_y: float, one: float, two: float) -> tuple[float, float, float]:
    """A direction turned by two small angles [rad], across each other."""
    n, x, y = photon_1(t_n, t_x, t_y, math.cos(one), math.sin(one), 1.0, 0.0)
    m, v, w = photon_1(t_n, t_x, t_y, 0.0, 1.0, 0.0, 1.0)
    c, s = math.cos(two), math.sin(two)
    return c * n + s * m, c * x + s * v, c * y + s * w


@kernel
def follow_1(
    counter: Counter, crossing: Crossing, t: tuple[float, float, float], ratio2: float, u_k: float, u_sin2: float, u_s: float,
    u_phi: float, normal: float,
) -> tuple[float, float, bool]:  # fmt: skip
    """One photon: colour, emission point and azimuth by uniforms; where it is seen on the sensor [cm], and whether it is."""
    n = index_1(counter, counter.k_min + (counter.k_max - counter.k_min) * u_k)
    cos_theta = math.sqrt(1.0 + ratio2) / n
    sin2 = 1.0 - cos_theta * cos_theta
    if sin2 <= 0.0 or u_sin2 * largest_sin2_1(counter, ratio2) >= sin2:
        return 0.0, 0.0, False
    path = counter.thickness / t[0]
    s = path * u_s
    bent = s - 0.5 * path
    t_n = t[0] + crossing.b_n * bent
    t_x = t[1] + crossing.b_x * bent
    t_y = t[2] + crossing.b_y * bent
    norm = math.sqrt(t_n * t_n + t_x * t_x + t_y * t_y)
    t_n, t_x, t_y = t_n / norm, t_x / norm, t_y / norm
    sin_theta = math.sqrt(sin2)
    cos_phi, sin_phi = math.cos(2.0 * math.pi * u_phi), math.sin(2.0 * math.pi * u_phi)
    d_n, d_x, d_y = photon_1(t_n, t_x, t_y, cos_theta, sin_theta, cos_phi, sin_phi)
    landing = landing_1(n, d_n, counter.thickness - s * t[0], counter.gap, counter.gap_index)
    x = crossing.x + s * t[1] + landing * d_x
    y = crossing.y + s * t[2] + landing * d_y
    if math.isnan(landing) or not is_seen_1(crossing, x, y):
        return 0.0, 0.0, False
    if counter.is_mirror:
        if normal != 0.0:
            theta = math.acos(cos_theta) + counter.sigma_photon * normal
            d_n, d_x, d_y = photon_1(t_n, t_x, t_y, math.cos(theta), math.sin(theta), cos_phi, sin_phi)
        f = focal_1(counter)
        x, y = f * d_x / d_n, f * d_y / d_n
    elif math.isinf(crossing.x_high) and not counter.is_disk:  # a round barrel
        period = around_1(counter)
        x -= period * math.floor(x / period)
    if counter.pixel > 0.0:
        x = (math.floor(x / counter.pixel) + 0.5) * counter.pixel
        y = (math.floor(y / counter.pixel) + 0.5) * counter.pixel
    return x, y, True


@kernel
def around_1(counter: Counter) -> float:
    """Circumference of a round barrel's sensor [cm]."""
    return 2.0 * math.pi * (counter.position + counter.thickness + counter.gap)


@kernel
def angle_of_1(counter: Counter, crossing: Crossing, x: float, y: float) -> tuple[float, float, float, float]:
    """Cherenkov angle [rad] of a hit [cm], and the direction across the track (unit vector) in which it lies."""
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
    cosine = min(d_n * crossing.t_n + d_x * crossing.t_x + d_y * crossing.t_y, 1.0)
    sine = max(math.sqrt(1.0 - cosine * cosine), 1e-9)
    return (
        math.acos(cosine),
        (d_n - cosine * crossing.t_n) / sine,
        (d_x - cosine * crossing.t_x) / sine,
        (d_y - cosine * crossing.t_y) / sine,
    )


@kernel
def variance_at_1(counter: Counter, crossing: Crossing, theta: float, e_n: float, e_x: float, e_y: float) -> float:
    """Variance [rad^2] of the angle from a photon of the ring `theta` in this direction across the track; NaN: none is there."""
    c, s = math.cos(theta), math.sin(theta)
    d_n, d_x, d_y = c * crossing.t_n + s * e_n, c * crossing.t_x + s * e_x, c * crossing.t_y + s * e_y
    if math.isnan(landing_1(counter.index, d_n, 0.0, counter.gap, counter.gap_index)):
        return math.nan
    by_emission, by_place, by_index = blur_1(counter, crossing.t_n, crossing.t_x, crossing.t_y, d_n, d_x, d_y)
    by_emission += crossing.b_n * e_n + crossing.b_x * e_x + crossing.b_y * e_y
    return variance_1(counter, counter.thickness / crossing.t_n, by_emission, by_place, by_index)


class Hits(NamedTuple):
    """Hits of all events, by event, tile and x; those of event e are rows first[e] to first[e + 1]."""

    first: NDArray[np.int64]
    tile: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]


@kernel
def _search(hits: Hits, low: int, high: int, tile: int, x: float) -> int:
    """The first row from `low` to `high` that is not before (tile, x)."""
    while low < high:
        middle = (low + high) // 2
        if hits.tile[middle] < tile or (hits.tile[middle] == tile and hits.x[middle] < x):
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def gather(
    hits: Hits, low: int, high: int, tile: int, x: float, y: float, half: float, pixel: float, shift: float,
    near: NDArray[np.float64], n: int,
) -> int:  # fmt: skip
    """Append the hits of a tile within `half` [cm] of (x, y) in both directions to `near` (., 2), x changed by `shift`.

    A pixel counts once. Returns the number of hits in `near`, which may be more than it has room for: those are not written.
    """
    begin = _search(hits, low, high, tile, x - half)
    for row in range(begin, high):
        if hits.tile[row] != tile or hits.x[row] > x + half:
            break
        if abs(hits.y[row] - y) > half:
            continue
        is_new = True
        before = row - 1
        while pixel > 0.0 and before >= begin and hits.x[before] == hits.x[row]:
            is_new = is_new and hits.y[before] != hits.y[row]
            before -= 1
        if is_new:
            if n < len(near):
                near[n, 0] = hits.x[row] + shift
                near[n, 1] = hits.y[row]
            n += 1
    return n


@kernel
def look_around(
    counter: Counter, crossing: Crossing, hits: Hits, low: int, high: int, x: float, y: float, half: float,
    near: NDArray[np.float64],
) -> int:  # fmt: skip
    """All hits around a point of a track's tile, across the seam of a round barrel too; as `gather`."""
    n = gather(hits, low, high, crossing.tile, x, y, half, counter.pixel, 0.0, near, 0)
    if math.isinf(crossing.x_high) and not counter.is_disk and not counter.is_mirror:
        period = around_1(counter)
        if x - half < 0.0:
            n = gather(hits, low, high, crossing.tile, x + period, y, half, counter.pixel, -period, near, n)
        if x + half > period:
            n = gather(hits, low, high, crossing.tile, x - period, y, half, counter.pixel, period, near, n)
    return n


@kernel
def find_rings(
    counter: Counter, blur: Blur, tracks: Tracks, offsets: NDArray[np.int64], hits: Hits, dark_key: Key, rings: Rings
) -> None:
    """Fit the ring of each reconstructed track among the event's hits, and stray ones."""
    parameters, cov_packed = tracks.parameters, tracks.cov_packed
    is_measured, has_ring, n_photons, angle, sigma_angle, expected, n_sigma, log_likelihood = rings
    room = 256
    near = np.empty((room, 2))
    for event in range(len(offsets) - 1):
        low, high = hits.first[event], hits.first[event + 1]
        for i in range(offsets[event], offsets[event + 1]):
            crossing = crossing_of(counter, blur, tracks, i)
            if crossing.t_n <= 0.0 or not tracks.is_reconstructed[i]:
                continue
            light = light_1(counter, blur, crossing)
            x, y, half = search_1(counter, blur, crossing, light)
            area = 4.0 * half * half
            particle, number = tracks.particle_index[i], tracks.event_id[i]
            n_dark = draw_number_1(counter.dark * area, particle, number, dark_key)
            n = look_around(counter, crossing, hits, low, high, x, y, half, near)
            if n + n_dark > room:
                room = 2 * (n + n_dark)
                near = np.empty((room, 2))
                n = look_around(counter, crossing, hits, low, high, x, y, half, near)
            for k in range(n_dark):
                u_x, u_y = uniforms_1(1000 + k, particle, number, dark_key.k0, dark_key.k1)
                near[n, 0] = x + half * (2.0 * u_x - 1.0)
                near[n, 1] = y + half * (2.0 * u_y - 1.0)
                n += counter.is_mirror or is_seen_1(crossing, near[n, 0], near[n, 1])
            p, relative2 = momentum_1(
                parameters[i, 3], parameters[i, 4], cov_packed[i, 9], cov_packed[i, 13], cov_packed[i, 14]
            )
            theta, found = fit_ring(counter, blur, crossing, light, p, near[:n])
            share = min(band_1(counter, blur, light.slant) / area, 0.5)
            stray = (n - found) * share / (1.0 - share)  # as many as there are beside the ring
            is_measured[i] = True
            n_photons[i] = found
            if found >= counter.min_photons:
                has_ring[i] = True
                angle[i] = theta
                sigma_angle[i] = sigma_of_ring_1(
                    blur.values, blur.largest, crossing, light, p, float(found), theta, stray
                )
            else:
                theta = math.nan
            compare(
                blur.values, blur.largest, crossing, light, stray, p, relative2, float(found), theta, tracks.mass2,
                tracks.charge2, expected, n_sigma, log_likelihood, i,
            )  # fmt: skip


@kernel
def search_1(counter: Counter, blur: Blur, crossing: Crossing, light: Light) -> tuple[float, float, float]:
    """Where the hits of a track are looked for: middle and half side of a square [cm]."""
    if counter.is_mirror:
        f = focal_1(counter)
        half = MARGIN * f * math.tan(blur.fast) / crossing.t_n**2
        return f * crossing.t_x / crossing.t_n, f * crossing.t_y / crossing.t_n, half
    radius, centre = circle_of_1(blur.values, blur.largest, blur.fast, light.slant)
    return crossing.x + centre * crossing.t_x, crossing.y + centre * crossing.t_y, MARGIN * radius / crossing.t_n**2


@kernel
def fit_ring(
    counter: Counter, blur: Blur, crossing: Crossing, light: Light, p_over_z: float, near: NDArray[np.float64]
) -> tuple[float, int]:
    """Angle [rad] that most of the hits `near` (n, 2) agree on, and how many do: a weighted mean within BAND sigma.

    The weights are those of the angle where the search begins: a hit's own angle would favour hits of small angle.
    """
    track = track_variance_1(light, p_over_z, 0.0)
    hits = np.empty((len(near), 4))
    variances = np.empty(len(near))
    votes = np.zeros(BINS + 1)
    width = blur.largest / BINS
    for k in range(len(near)):
        hits[k] = angle_of_1(counter, crossing, near[k, 0], near[k, 1])
        if hits[k, 0] < blur.largest:
            votes[int(hits[k, 0] / width) + 1] += 1.0
    photon, _, _ = light_of_1(blur.values, blur.largest, blur.fast, math.tan(blur.fast) ** 2, light.slant)
    theta = most_voted_1(votes, width, 1.5 * math.sqrt(photon + track))
    for k in range(len(near)):
        variances[k] = variance_at_1(counter, crossing, theta, hits[k, 1], hits[k, 2], hits[k, 3])
    found = 0
    for _ in range(ROUNDS):
        weights, shift, found = 0.0, 0.0, 0
        for k in range(len(near)):
            delta = hits[k, 0] - theta
            if delta * delta < BAND * BAND * (variances[k] + track):
                weights += 1.0 / variances[k]
                shift += delta / variances[k]
                found += 1
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
    counts = np.zeros(len(tracks.species), dtype=np.int64)
    count_photons(counter, blur, tracks, streams.key(f"{stream}/photons"), counts)
    first = offsets_from_counts(counts)
    places = np.empty((first[-1], 2))
    tiles = np.empty(first[-1], dtype=np.int64)
    emit(counter, blur, tracks, first, streams.key(f"{stream}/photon"), streams.key(f"{stream}/track"), places, tiles)
    event = np.repeat(np.searchsorted(offsets, np.arange(len(counts)), side="right") - 1, counts)
    order = np.lexsort((places[:, 1], places[:, 0], tiles, event))
    order = order[tiles[order] >= 0]
    begins = np.searchsorted(event[order], np.arange(len(offsets)))
    hits = Hits(begins, tiles[order], places[order, 0], places[order, 1])
    find_rings(counter, blur, tracks, offsets, hits, streams.key(f"{stream}/dark"), rings)
