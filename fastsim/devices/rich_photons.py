"""Ring-imaging Cherenkov counters at level "detailed": every photon, from its emission to a pixel.

Photons of all charged particles of an event fall on the same sensor, so each ring is looked for among the others' hits
(`rich_fit`). A photon that the sensor would not find is never made: a Poisson number that is thinned is a Poisson number.
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
    draw_number_1,
    focal_1,
    index_1,
    landing_1,
    photon_1,
    ring_of_1,
    slant_1,
    window_of_1,
)
from fastsim.kernels.rings import Crossing, Light, Tracks, cross_1, is_seen_1, light_1, track_variance_1
from fastsim.rng import Key, normals_1, uniforms_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.rng import Streams


@kernel
def crossing_of(counter: Counter, tracks: Tracks, i: int) -> Crossing:
    """Where track `i` crosses a counter."""
    p = tracks.parameters
    return cross_1(counter, p[i, 0], p[i, 1], p[i, 2], p[i, 3], p[i, 4], tracks.b_z)


@kernel
def light_of_crossing(counter: Counter, blur: Blur, crossing: Crossing) -> Light:
    """What is the same for all species of a track."""
    slant = slant_1(crossing.t_n)
    shape = ring_of_1(blur.values, blur.largest, blur.fast, slant)
    return light_1(counter, crossing, slant, shape, window_of_1(blur.windows, slant)[0])


@kernel
def largest_sin2_1(counter: Counter, ratio2: float) -> float:
    """sin^2 of the Cherenkov angle where the index is largest, for (mass / momentum)^2 `ratio2`; 0 if there is no light."""
    return max(1.0 - (1.0 + ratio2) / index_1(counter, counter.k_max) ** 2, 0.0)


@kernel
def count_photons(counter: Counter, tracks: Tracks, key: Key, counts: NDArray[np.int64]) -> None:
    """Numbers of photons (n,) before those of lower index are thinned out."""
    for i in range(len(counts)):
        crossing = crossing_of(counter, tracks, i)
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
        crossing = crossing_of(counter, tracks, i)
        particle, event = tracks.particle_index[i], tracks.event_id[i]
        species = tracks.species[i]
        ratio2 = tracks.mass2[species] / tracks.rigidity_true[i] ** 2
        light = light_of_crossing(counter, blur, crossing)
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


class Hits(NamedTuple):
    """Hits of all events, by event, tile, strip in x and y [cm]; those of event e are rows first[e] to first[e + 1].

    Strip k is from k to k + 1 times `width` [cm].
    """

    first: NDArray[np.int64]
    tile: NDArray[np.int64]
    strip: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    width: float


def make_hits(
    counter: Counter, blur: Blur, tracks: Tracks, offsets: NDArray[np.int64], streams: Streams, stream: str
) -> Hits:
    """What the sensors see of the tracks of events that begin at `offsets`; `stream` names the random numbers."""
    counts = np.zeros(len(tracks.species), dtype=np.int64)
    count_photons(counter, tracks, streams.key(f"{stream}/photons"), counts)
    first = offsets_from_counts(counts)
    places = np.empty((first[-1], 2))
    tiles = np.empty(first[-1], dtype=np.int64)
    emit(counter, blur, tracks, first, streams.key(f"{stream}/photon"), streams.key(f"{stream}/track"), places, tiles)
    event = np.repeat(np.searchsorted(offsets, np.arange(len(counts)), side="right") - 1, counts)
    width = 0.5 * float(blur.windows[-1, 3])  # of half a ring: windows have some strips
    strips = np.floor(places[:, 0] / width).astype(np.int64)
    order = np.lexsort((places[:, 1], strips, tiles, event))
    order = order[tiles[order] >= 0]
    begins = np.searchsorted(event[order], np.arange(len(offsets)))
    return Hits(begins, tiles[order], strips[order], places[order, 0], places[order, 1], width)
