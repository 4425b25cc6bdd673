"""The time of a collision, from the times of its own tracks, whose species nobody knows.

ALICE (Eur. Phys. J. Plus 132 (2017) 99, arXiv:1610.03055) tries all combinations of pi, K and p for groups of tracks, and takes
that of smallest chi2. Here the species are weighed instead of chosen: the density of the tracks' times at a start time t is
the product over tracks of (sum over pi, K, p of fraction x Gaussian(t) + a floor), times the Gaussian of the beams' spread. Its
highest maximum is the event time, the curvature there the uncertainty. Far from each other the hypotheses exclude each other,
which is ALICE's choice; where they cannot be told apart the average counts, which a choice would bias (each track would take
the hypothesis that suits the others); and the floor leaves out who fits none: other species, decays, wrong hits, late ones.
A track under test is always left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHI2_CUT = 16.0  # chi2 at which a track has the floor's density: from 4 sigma on it counts less and less
FAR = 60.0  # chi2 from which on a hypothesis is nothing beside the floor: 1e-13 against 3e-4
N_SEEDS = 10  # tracks among whose hypotheses the maximum is searched: ALICE's groups have 10 (AliTOFT0v1)
FEW = 6  # up to so many tracks the maximum is searched anew without each of them
FIRST_STEPS = 2  # from each candidate, of few tracks
MAX_STEPS = 30
CONVERGED = 1e-8  # square of the last step in units of the uncertainty
_FLOOR = math.exp(-0.5 * CHI2_CUT)


class Starts(NamedTuple):
    """What tracks say of the start time under each hypothesis: time [ns], 1 / variance [1/ns^2], weight; (n, n hypotheses)."""

    time: NDArray[np.float64]
    precision: NDArray[np.float64]
    weight: NDArray[np.float64]


class EventTimes(NamedTuple):
    """Start time and its uncertainty [ns]: of events (n,), with the number of tracks, and of tracks without themselves."""

    time: NDArray[np.float64]
    sigma: NDArray[np.float64]
    n_tracks: NDArray[np.int32]
    track_time: NDArray[np.float64]
    track_sigma: NDArray[np.float64]


@kernel
def log_density_1(t: float, first: int, end: int, stride: int, starts: Starts, mean: float, variance: float) -> float:
    """Logarithm of the density at a start time t [ns] of the tracks `first:end:stride`, and of a Gaussian.

    Not more than some fifty tracks: their product must not underflow.
    """
    time, precision, weight = starts
    product = 1.0
    for k in range(first, end, stride):
        total = _FLOOR
        for h in range(time.shape[1]):
            away = time[k, h] - t
            chi2 = away * away * precision[k, h]
            if chi2 < FAR:
                total += weight[k, h] * math.exp(-0.5 * chi2)
        product *= total
    return math.log(product) - 0.5 * (mean - t) * (mean - t) / variance


@kernel
def slopes_1(
    t: float, first: int, end: int, stride: int, starts: Starts, mean: float, variance: float
) -> tuple[float, float, float]:
    """The derivative of `log_density_1`, minus the second one, and the summed weights.

    The first over the weights is the step of the method of expectation and maximisation.
    """
    time, precision, weight = starts
    weights = information = 1.0 / variance
    slope = (mean - t) * weights
    for k in range(first, end, stride):
        total = _FLOOR
        a = b = w = 0.0
        for h in range(time.shape[1]):
            away = time[k, h] - t
            inverse = precision[k, h]
            chi2 = away * away * inverse
            if chi2 < FAR:
                density = weight[k, h] * math.exp(-0.5 * chi2)
                total += density
                density *= inverse
                a += density * away
                b += density * chi2
                w += density
        one = 1.0 / total
        a *= one
        slope += a
        weights += w * one
        information += (w - b) * one + a * a
    return slope, information, weights


@kernel
def step_1(slope: float, information: float, weights: float) -> float:
    """Step [ns] towards a maximum: Newton's, but never more than two of the method of expectation and maximisation."""
    return slope / max(information, 0.5 * weights)


@kernel
def find_candidates(
    first: int, end: int, starts: Starts, mean: float, variance: float, found: NDArray[np.float64]
) -> int:
    """Fill `found` (n, 2) with start times [ns] near which the maximum may be, and the logarithm of the density; returns n.

    They are the times that some of the tracks `first:end` give under each hypothesis, and the beams' mean. Of few tracks
    also what lies some steps up from there: the maximum may be between two tracks that differ by some sigma.
    """
    time = starts.time
    stride = (end - first + N_SEEDS - 1) // N_SEEDS if end > first else 1
    found[0, 0] = mean
    found[0, 1] = log_density_1(mean, first, end, stride, starts, mean, variance)
    n = 1
    for k in range(first, end, stride):
        for h in range(time.shape[1]):
            t = time[k, h]
            found[n, 0], found[n, 1] = t, log_density_1(t, first, end, stride, starts, mean, variance)
            n += 1
            if end - first <= FEW:
                for _ in range(FIRST_STEPS):
                    slope, information, weights = slopes_1(t, first, end, stride, starts, mean, variance)
                    t += step_1(slope, information, weights)
                found[n, 0], found[n, 1] = t, log_density_1(t, first, end, stride, starts, mean, variance)
                n += 1
    return n


@kernel
def climb_1(
    t: float, first: int, end: int, stride: int, without: int, starts: Starts, mean: float, variance: float
) -> tuple[float, float]:
    """The maximum above a start time t [ns], and the information [1/ns^2] there, of `first:end:stride` but the `without`-th."""
    information = 1.0 / variance
    for _ in range(MAX_STEPS):
        slope, information, weights = slopes_1(t, first, end, stride, starts, mean, variance)
        if without >= 0:
            own_slope, own_information, own_weights = slopes_1(t, without, without + 1, 1, starts, t, math.inf)
            slope -= own_slope
            information -= own_information
            weights -= own_weights
        step = step_1(slope, information, weights)
        t += step
        if step * step * weights < CONVERGED:
            break
    return t, max(information, 1.0 / variance)


@kernel
def find_event_times(
    offsets: NDArray[np.int64], used: NDArray[np.int64], used_offsets: NDArray[np.int64], starts: Starts, mean: float,
    variance: float, times: EventTimes,
) -> None:  # fmt: skip
    """Fill `times` of all events and of all their tracks, the rows `offsets[event]:offsets[event + 1]`.

    Rows `used_offsets[event]:used_offsets[event + 1]` of `starts` are of the tracks `used`, which make the event time; the beams
    give `mean` [ns] and `variance` [ns^2]. Of few tracks the maximum without each is searched anew; of many it is a Newton step
    away.
    """
    event_time, event_sigma, n_tracks, track_time, track_sigma = times
    found = np.empty((2 * N_SEEDS * starts.time.shape[1] + 1, 2))
    for event in range(len(offsets) - 1):
        first, end = used_offsets[event], used_offsets[event + 1]
        n = find_candidates(first, end, starts, mean, variance, found)
        best = 0
        for j in range(1, n):
            best = j if found[j, 1] > found[best, 1] else best
        t, information = climb_1(found[best, 0], first, end, 1, -1, starts, mean, variance)
        sigma = 1.0 / math.sqrt(information)
        event_time[event], event_sigma[event], n_tracks[event] = t, sigma, end - first
        for i in range(offsets[event], offsets[event + 1]):
            track_time[i], track_sigma[i] = t, sigma
        for k in range(first, end):
            if end - first <= FEW:
                highest = -math.inf
                for j in range(n):
                    log = found[j, 1] - log_density_1(found[j, 0], k, k + 1, 1, starts, found[j, 0], math.inf)
                    if log > highest:
                        best, highest = j, log
                without, left = climb_1(found[best, 0], first, end, 1, k, starts, mean, variance)
            else:
                slope, own, _ = slopes_1(t, k, k + 1, 1, starts, t, math.inf)
                left = max(information - own, 1.0 / variance)
                without = t - slope / left
            track_time[used[k]], track_sigma[used[k]] = without, 1.0 / math.sqrt(left)
