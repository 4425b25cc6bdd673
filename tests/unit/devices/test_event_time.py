"""The event time by brute force: densities on a fine grid, with all tracks and without each."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastsim.devices.event_time import CHI2_CUT, EventTimes, Starts, find_event_times
from tests.oracles import JIT_IS_OFF


def densities(t, starts, rows, mean, sigma):
    """Logarithm of the density of start times t (m,), straight from its definition."""
    log = -0.5 * ((t - mean) / sigma) ** 2
    for i in rows:
        chi2 = (t[:, None] - starts.time[i]) ** 2 * starts.precision[i]
        log = log + np.log((starts.weight[i] * np.exp(-chi2 / 2)).sum(axis=1) + math.exp(-CHI2_CUT / 2))
    return log


def random_starts(generator, n):
    """Times under three hypotheses as of soft tracks: two late by up to some ns, or hardly."""
    late = np.sort(generator.gamma(1.0, 0.3, (n, 2)), axis=1)
    time = np.column_stack([generator.normal(0, 0.03, n), -late[:, 0], -late[:, 1]])
    kind = generator.choice(3, n, p=[0.8, 0.1, 0.1])
    time -= time[np.arange(n), kind][:, None] - generator.normal(0, 0.03, n)[:, None]
    return Starts(time + generator.normal(0, 0.15), np.full((n, 3), 0.03**-2), np.tile([0.85, 0.1, 0.05], (n, 1)))


def event_times(starts, mean=0.05, sigma=0.2):
    n = len(starts.time)
    times = EventTimes(np.empty(1), np.empty(1), np.empty(1, dtype=np.int32), np.empty(n), np.empty(n))
    one = np.array([0, n])
    find_event_times(one, np.arange(n), one, starts, mean, sigma**2, times)
    return times


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_event_times_are_the_highest_maximum(n):
    """Of all tracks and of all but each: against a fine grid; the uncertainty is the curvature there, by differences."""
    generator = np.random.default_rng(n)
    grid = np.linspace(-2.0, 2.0, 8001)
    for _ in range(4 if JIT_IS_OFF else 100):
        starts = random_starts(generator, n)
        times = event_times(starts)
        for i, found, sigma in (
            (-1, times.time[0], times.sigma[0]),
            *zip(range(n), times.track_time, times.track_sigma, strict=True),
        ):
            rows = [k for k in range(n) if k != i]
            log = densities(grid, starts, rows, 0.05, 0.2)
            at = densities(np.array([found - 1e-4, found, found + 1e-4]), starts, rows, 0.05, 0.2)
            assert at[1] > log.max() - 0.01  # one per cent less dense: where two maxima are as good as equal
            curvature = -(at[0] - 2 * at[1] + at[2]) / 1e-8
            assert sigma == pytest.approx(1 / math.sqrt(max(curvature, 0.2**-2)), rel=1e-3)


@pytest.mark.parametrize("n", [7, 14, 60])
def test_of_many_tracks_each_is_left_out_by_a_step(n):
    """Beside the search without it: a few per cent of the uncertainty, and of all tracks the highest maximum as before."""
    generator = np.random.default_rng(n)
    grid = np.linspace(-1.0, 1.0, 4001)
    for _ in range(2 if JIT_IS_OFF else 10):
        starts = random_starts(generator, n)
        times = event_times(starts)
        assert times.n_tracks[0] == n
        assert (
            densities(times.time, starts, range(n), 0.05, 0.2)[0]
            > densities(grid, starts, range(n), 0.05, 0.2).max() - 1e-3
        )
        for i in range(min(n, 10)):
            rows = [k for k in range(n) if k != i]
            best = grid[np.argmax(densities(grid, starts, rows, 0.05, 0.2))]
            assert abs(times.track_time[i] - best) < 0.1 * times.track_sigma[i] + 5e-4


def test_the_beams_alone_and_a_far_track():
    """No tracks: the beams. One that fits nothing is left out, and does not widen the others' result."""
    nothing = Starts(np.empty((0, 3)), np.empty((0, 3)), np.empty((0, 3)))
    times = event_times(nothing)
    assert (times.time[0], times.sigma[0], times.n_tracks[0]) == (0.05, pytest.approx(0.2), 0)
    starts = Starts(np.array([[0.1], [0.12], [5.0]]), np.full((3, 1), 0.02**-2), np.ones((3, 1)))
    times = event_times(starts)
    assert times.time[0] == pytest.approx((0.05 / 0.04 + 0.22 / 4e-4) / (1 / 0.04 + 2 / 4e-4), abs=2e-4)
    assert times.sigma[0] == pytest.approx((1 / 0.04 + 2 / 4e-4) ** -0.5, rel=0.01)
    assert times.track_time[2] == pytest.approx(times.time[0], abs=1e-6)
