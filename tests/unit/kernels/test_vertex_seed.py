"""Where the fit of a vertex begins: helices at a point, selection, order, crossing in the plane, density along z."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from fastsim.kernels import vertex_seed as v
from tests.oracles import helix_position
from tests.vertex_tracks import make_tracks, seeds_of


@pytest.mark.parametrize("c", [0.0, 1e-9, 0.006, -0.06, 0.5])
@pytest.mark.parametrize("point", [(0.0, 0.0), (0.3, -0.2), (-1.0, 1.5)])
def test_closest_approach_is_the_minimum_of_the_distance(c, point):
    """The stepped helix of the oracles, its distance from the point minimised by scipy."""
    dca, phi, tan_lambda = 0.02, 0.7, 1.3
    start = (-dca * math.sin(phi), dca * math.cos(phi), 0.1, phi, tan_lambda, c)

    def distance(s):
        x, y, _ = helix_position(start, s)
        return math.hypot(x - point[0], y - point[1])

    found = optimize.minimize_scalar(distance, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 1e-10})
    n, cosine, sine, s = v.approach_1(dca, math.cos(phi), math.sin(phi), c, *point)
    assert abs(n) == pytest.approx(found.fun, abs=1e-9)
    assert s == pytest.approx(found.x, abs=1e-6)
    np.testing.assert_allclose([cosine, sine], [math.cos(phi + c * s), math.sin(phi + c * s)], atol=1e-12)
    x, y, _ = helix_position(start, s)
    np.testing.assert_allclose([x, y], [point[0] - n * sine, point[1] + n * cosine], atol=1e-9)  # n to the left


@pytest.mark.parametrize("n", [1, 2, 3, 10, 101, 1000])
def test_rank_and_order_against_numpy(n):
    generator = np.random.default_rng(n)
    for values in (generator.normal(size=n), generator.integers(0, 5, n).astype(float), np.arange(n, 0.0, -1.0)):
        for rank in {0, n // 4, n // 2, n - 1}:
            assert v.ranked_1(values.copy(), n, rank) == np.sort(values)[rank]
        order = np.arange(n + 3)
        v.sort_by(values, order, n)
        np.testing.assert_array_equal(values[order[:n]], np.sort(values))
        assert set(order[:n]) == set(range(n))
        assert list(order[n:]) == list(range(n, n + 3))


@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (0.3, -0.2, 5.0), (-2.0, 1.0, -20.0)])
@pytest.mark.parametrize("b_z", [0.0, 2.0, -0.5])
def test_seed_of_exact_tracks_is_the_vertex(place, b_z):
    """50 tracks through a point and 20 that pass 1 cm or more from it: within a tenth of the resolution, 10 um."""
    tracks = make_tracks(place, 50, b_z, seed=1)
    strays = make_tracks((place[0] + 1.0, place[1] - 1.0, place[2] + 1.0), 20, b_z, seed=2)
    np.testing.assert_allclose(seeds_of([tracks + strays], b_z)[0], place, atol=1e-4)


def test_the_collision_with_the_largest_sum_of_pt2_is_the_seed():
    """Ten tracks of 2 GeV at z = 0 (40 GeV^2) against thirty of 1 GeV at z = 5 mm (30), and the other way round."""
    few, many = make_tracks((0, 0, 0), 10, 2.0, seed=1, pt=2.0), make_tracks((0, 0, 0.5), 30, 2.0, seed=2, pt=1.0)
    more = make_tracks((0, 0, 0.5), 50, 2.0, seed=3, pt=1.0)
    np.testing.assert_allclose(seeds_of([few + many, few + more], 2.0)[:, 2], [0.0, 0.5], atol=1e-4)


def test_one_hard_track_is_no_collision():
    """100 GeV alone at z = 3 cm; and two of 100 GeV count as two of 10 GeV: 200 GeV^2 against 60 tracks of 2 GeV (240)."""
    soft = make_tracks((0, 0, 0), 60, 2.0, seed=1, pt=2.0)
    alone, pair = (make_tracks((0, 0, 3), n, 2.0, seed=2, pt=100.0) for n in (1, 2))
    np.testing.assert_allclose(seeds_of([soft + alone, soft + pair], 2.0)[:, 2], 0.0, atol=1e-4)


def test_the_window_grows_until_it_holds_two_tracks():
    """Two tracks 1 cm apart in z, measured to 10 um: between them."""
    tracks = make_tracks((0, 0, 0), 1, 2.0, seed=1) + make_tracks((0, 0, 1), 1, 2.0, seed=2)
    assert 0.0 <= seeds_of([tracks], 2.0)[0, 2] <= 1.0


def test_events_without_two_tracks_begin_at_the_origin():
    one = make_tracks((0.1, 0.1, 1.0), 1, 2.0, seed=1)
    assert (seeds_of([make_tracks((0, 0, 0), 0, 2.0, seed=1), one], 2.0) == 0.0).all()
    assert seeds_of([], 2.0).shape == (0, 3)
