"""Ring-imaging Cherenkov counters at level "learned": a network draws what the photons of level "detailed" would have given.

What is known of a track's light without following photons, and of the light of its neighbours, goes in; number of hits, angle and
number of hits beside the ring come out. Species are compared by the same formulas as at the other levels. The network was trained
by train/rich.py for one counter in one field: docs/learned.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from fastsim.devices.rich_fit import MOST_IN_BAND, compare_species, search_1
from fastsim.devices.rich_photons import around_1, crossing_of, light_of_crossing
from fastsim.errors import CardError
from fastsim.jit import kernel
from fastsim.kernels.cherenkov import Blur, Counter, circle_of_1, ring_of_1, window_of_1
from fastsim.kernels.rings import (
    BAND,
    Rings,
    Tracks,
    momentum_1,
    ring_1,
    seen_1,
    sigma_of_ring_1,
    track_variance_1,
)
from fastsim.learned.model import Model, find_model, load_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.rng import Streams


FEATURES: Final = ("log_hits", "light", "cos_incidence", "seen", "bend", "in_band", "nearby")
OUTPUTS: Final = ("n_photons", "is_near", "place", "n_beside")
DARKEST: Final = -0.2  # of the feature "light": without light, even blue
FAINTEST: Final = 0.1  # hits that are added before the logarithm
NARROWEST: Final = 0.1  # half width of a ring's band [cm]: about a pixel
FARTHEST: Final = 50.0  # radius of a ring, at most [cm]: flat incidence stretches it
FAR: Final = 1e-4  # share of a ring that may be in the window at any distance: who is not alone is seen to be so
SMALLEST: Final = 1e-4  # angle of a ring [rad]: a circle has some size


class Known(NamedTuple):
    """What is known of the rings of tracks (n,), those included that were not reconstructed.

    `features` (n, 7) in the order of FEATURES; `theta` [rad] (0: no light at the mean index), variances [rad^2] of it from one
    photon and of the arc, `mean` number of hits; on the sensor: `tile` (-1: not there), centre, radius and width [cm] of
    the ring that is looked for, `window` (n, 4) that is searched: its middle from the centre, and half sides [cm]; share of
    the ring's band in it.
    """

    features: NDArray[np.float64]
    theta: NDArray[np.float64]
    photon: NDArray[np.float64]
    common: NDArray[np.float64]
    mean: NDArray[np.float64]
    tile: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    radius: NDArray[np.float64]
    width: NDArray[np.float64]
    window: NDArray[np.float64]
    share: NDArray[np.float64]


@kernel
def fill_known(counter: Counter, blur: Blur, tracks: Tracks, known: Known) -> None:
    """What a track's own light says: all but the last two features."""
    features, theta, photons, commons, means, tiles, xs, ys, radii, widths, windows, shares = known
    values, largest = blur.values, blur.largest
    fast2 = 1.0 - 1.0 / (counter.index * counter.index)
    for i in range(len(theta)):
        crossing = crossing_of(counter, tracks, i)
        if crossing.t_n <= 0.0:
            continue
        light = light_of_crossing(counter, blur, crossing)
        species = tracks.species[i]
        ratio2 = tracks.mass2[species] / tracks.rigidity_true[i] ** 2
        sin2 = 1.0 - (1.0 + ratio2) / light.index2
        seen_at = blur.fast
        if sin2 > 0.0:
            theta[i] = math.asin(math.sqrt(sin2))
            track = track_variance_1(light, tracks.rigidity_true[i], ratio2)
            means[i], photons[i], commons[i] = ring_1(
                ring_of_1(values, largest, theta[i], light.slant), crossing, light, sin2, tracks.charge2[species], track
            )
            seen_at = theta[i]
        radius, centre = circle_of_1(values, largest, seen_at, light.slant)
        x, y, half_x, half_y = search_1(counter, blur, crossing, light)
        features[i, 0] = math.log(means[i] + FAINTEST)
        features[i, 1] = max(sin2 / fast2, DARKEST)
        features[i, 2] = crossing.t_n
        features[i, 3] = seen_1(crossing, radius, centre)
        features[i, 4] = math.sqrt(light.bend)
        fast_radius, fast_centre = circle_of_1(values, largest, blur.fast, light.slant)
        tiles[i], xs[i], ys[i] = crossing.tile, fast_centre * crossing.t_x, fast_centre * crossing.t_y
        if not counter.is_mirror:
            xs[i] += crossing.x
            ys[i] += crossing.y
        windows[i, 0], windows[i, 1], windows[i, 2], windows[i, 3] = x - xs[i], y - ys[i], half_x, half_y
        band, _, _, _ = window_of_1(blur.windows, light.slant)
        widths[i] = max(BAND * band / (4.0 * math.pi * fast_radius), NARROWEST)
        radii[i] = min(max(radius, widths[i]), FARTHEST)
        shares[i] = min(light.band / max(4.0 * half_x * half_y, light.band), MOST_IN_BAND)


@kernel
def crossed_1(distance: float, radius: float, width: float, other: float) -> float:
    """Fraction of a circle of radius `other` within `width` of one of `radius` [cm], `distance` between the centres."""
    twice = 2.0 * max(distance, 1e-9) * other
    from_both = distance * distance + other * other
    outer = min(max(((radius + width) ** 2 - from_both) / twice, -1.0), 1.0)
    inner = min(max((max(radius - width, 0.0) ** 2 - from_both) / twice, -1.0), 1.0)
    return (math.acos(inner) - math.acos(outer)) / math.pi


@kernel
def inside_1(dx: float, dy: float, window: NDArray[np.float64], other: float) -> float:
    """About the fraction of a ring of radius `other` [cm], (dx, dy) from another's centre, in that one's window: of its box."""
    x, y, half_x, half_y = window[0], window[1], window[2], window[3]
    along = (min(x + half_x, dx + other) - max(x - half_x, dx - other)) / (2.0 * other)
    across = (min(y + half_y, dy + other) - max(y - half_y, dy - other)) / (2.0 * other)
    return float(max(along, 0.0) * max(across, 0.0))


@kernel
def fill_crowd(period: float, order: NDArray[np.int64], event: NDArray[np.int64], known: Known) -> None:
    """The features of neighbours: expected hits of theirs in the track's band, and in the window that is searched (square roots).

    `order` sorts tracks by event, tile and x; `period` [cm] is the sensor's in x, infinite if it has borders.
    """
    features, _, _, _, mean, tile, x, y, radius, width, window, _ = known
    n = len(order)
    first = 0
    while first < n:
        end = first + 1
        while end < n and event[order[end]] == event[order[first]] and tile[order[end]] == tile[order[first]]:
            end += 1
        size = end - first
        reach = 0.0
        widest = 0.0
        for k in range(first, end):
            i = order[k]
            reach = max(reach, abs(window[i, 0]) + window[i, 2], radius[i] + width[i])
            widest = max(widest, radius[order[k]])
        for k in range(size):
            i = order[first + k]
            for step in range(1, size):
                j = order[first + (k + step) % size]
                dx = x[j] - x[i] + (period if k + step >= size else 0.0)
                if dx > reach + widest:
                    break
                dy = y[j] - y[i]
                distance = math.sqrt(dx * dx + dy * dy)
                features[i, 5] += mean[j] * crossed_1(distance, radius[i], width[i], radius[j])
                features[j, 5] += mean[i] * crossed_1(distance, radius[j], width[j], radius[i])
                features[i, 6] += mean[j] * max(inside_1(dx, dy, window[i], radius[j]), FAR)
                features[j, 6] += mean[i] * max(inside_1(-dx, -dy, window[j], radius[i]), FAR)
        first = end
    for i in range(len(features)):
        features[i, 5] = math.sqrt(features[i, 5])
        features[i, 6] = math.sqrt(features[i, 6])


def find_known(counter: Counter, blur: Blur, tracks: Tracks, offsets: NDArray[np.int64]) -> Known:
    """What is known of the tracks of events that begin at `offsets`."""
    n = len(tracks.species)
    theta, photon, common, mean, x, y, radius, width, share = np.zeros((9, n))
    features, tile = np.zeros((n, len(FEATURES))), np.full(n, -1)
    known = Known(features, theta, photon, common, mean, tile, x, y, radius, width, np.zeros((n, 4)), share)
    fill_known(counter, blur, tracks, known)
    event = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((known.x, known.tile, event))
    order = order[known.tile[order] >= 0]
    is_round = not counter.is_disk and not counter.is_mirror and counter.n_phi == 1
    fill_crowd(around_1(counter) if is_round else math.inf, order, event, known)
    return known


@kernel
def fill_rings(
    counter: Counter,
    blur: Blur,
    tracks: Tracks,
    known: Known,
    rows: NDArray[np.int64],
    drawn: NDArray[np.float64],
    rings: Rings,
) -> None:
    """Rings of the tracks `rows` (n,) from what the model has drawn (n, 4), in the order of OUTPUTS."""
    parameters, cov_packed = tracks.parameters, tracks.cov_packed
    theta_true, photon, common, share = known.theta, known.photon, known.common, known.share
    is_measured, has_ring, n_photons, angle, sigma_angle, _, _, _ = rings
    values, largest = blur.values, blur.largest
    for row in range(len(rows)):
        i = rows[row]
        crossing = crossing_of(counter, tracks, i)
        light = light_of_crossing(counter, blur, crossing)
        p, relative2 = momentum_1(
            parameters[i, 3], parameters[i, 4], cov_packed[i, 9], cov_packed[i, 13], cov_packed[i, 14]
        )
        n = math.floor(drawn[row, 0] + 0.5)
        place = drawn[row, 2]
        if drawn[row, 1] > 0.5 and theta_true[i] > 0.0:
            theta = abs(theta_true[i] + place * math.sqrt(photon[i] / max(n, 1.0) + common[i]))
        else:
            theta = largest * min(abs(place), 1.0)
        theta = max(theta, SMALLEST)
        stray = drawn[row, 3] * share[i] / (1.0 - share[i])
        is_measured[i] = True
        n_photons[i] = n
        if n >= counter.min_photons:
            has_ring[i] = True
            angle[i] = theta
            sigma_angle[i] = sigma_of_ring_1(
                ring_of_1(values, largest, theta, light.slant), crossing, light, p, n, theta, stray
            )
        else:
            theta = math.nan
        compare_species(blur, tracks, crossing, light, stray, p, relative2, n, theta, rings, i)


class LearnedRings:
    """The model of one counter."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def measure(
        self,
        counter: Counter,
        blur: Blur,
        tracks: Tracks,
        offsets: NDArray[np.int64],
        streams: Streams,
        stream: str,
        rings: Rings,
    ) -> dict[str, int]:
        """Fill `rings` as `rich_fit.measure` does; how many tracks were outside the training's range, by feature."""
        known = find_known(counter, blur, tracks, offsets)
        rows = np.flatnonzero(tracks.is_reconstructed & (known.tile >= 0))
        values = {name: known.features[rows, k] for k, name in enumerate(FEATURES)}
        key = streams.key(f"{stream}/learned")
        found = self.model.run(values, tracks.event_id[rows], tracks.particle_index[rows], key)
        drawn = np.column_stack([found.values[name] for name in OUTPUTS])
        fill_rings(counter, blur, tracks, known, rows, drawn, rings)
        return found.counts


def bound_to(counter: Counter, b_z: float) -> dict[str, float | int | bool]:
    """The numbers of a counter and its field [T] that a model belongs to."""
    return {**counter._asdict(), "b_z": b_z}


def load_rings(name: str, device: str, counter: Counter, b_z: float, where: str) -> LearnedRings:
    """The model `name` for a counter; raises CardError if it was made for another one, or is none of rings."""
    path = find_model(name, where=f"{where}: model")
    model = load_model(path)
    found = [feature.name for feature in model.features]
    made = [value.name for tensor in model.sidecar.outputs for value in tensor.values]
    if found != list(FEATURES) or made != list(OUTPUTS):
        text = f"{path} is no model of rings: it reads {', '.join(found)} and makes {', '.join(made)}"
        raise CardError([f"{where}: {text} (needed: {', '.join(FEATURES)}; {', '.join(OUTPUTS)})"])
    wanted, there = bound_to(counter, b_z), model.sidecar.made_for
    problems = [
        f"{where}: {path} was trained for another counter than {device}: {key} = {there.get(key, 'missing')} there, {value} here"
        for key, value in wanted.items()
        if not _same(there.get(key), value)
    ]
    if problems:
        raise CardError(problems, hint='train one for this counter (train/rich.py), or choose level = "detailed"')
    return LearnedRings(model)


def _same(a: object, b: float) -> bool:
    return isinstance(a, (int, float)) and math.isclose(a, b, rel_tol=1e-9)
