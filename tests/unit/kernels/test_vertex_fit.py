"""The adaptive fit of a vertex: closed forms, a full fit by brute force, outliers, what cannot be fitted, pulls."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize

from fastsim.kernels import vertex_fit as v
from fastsim.kernels.helix import perigee_1
from fastsim.kernels.vertex_seed import UNKNOWN
from tests.vertex_tracks import LOWER, Tracks, fit, from_directions, full, make_tracks

ALL = 1e4  # a cut that keeps every track with weight 1
NOTHING = [[0.0, 0.0, 0.0], np.diag([UNKNOWN] * 3)]
DIAGONAL = np.diag([10e-4, 20e-4, 1e-3, 1e-3, 1e-2]) ** 2


def test_weights_are_the_papers():
    """J. Phys. G 34 (2007) N343, eq. 3, as written there; half at the cut, and no overflow."""
    for chi2, cut, temperature in [(0.0, 9.0, 1.0), (4.0, 9.0, 1.0), (20.0, 9.0, 64.0), (12.0, 4.0, 2.0)]:
        one, other = math.exp(-chi2 / (2 * temperature)), math.exp(-cut / (2 * temperature))
        assert v.weight_1(chi2, cut, temperature) == pytest.approx(one / (one + other), rel=1e-14)
    assert v.weight_1(9.0, 9.0, 3.0) == 0.5
    assert v.weight_1(1e300, 9.0, 1.0) < 1e-300


def test_inverse_against_numpy():
    generator = np.random.default_rng(1)
    for _ in range(20):
        scales = 10.0 ** generator.uniform(-4, 4, 3)
        square = generator.normal(size=(3, 3))
        matrix = (square @ square.T + 0.1 * np.eye(3)) * np.outer(scales, scales)
        inverse = np.empty(6)
        v.invert_3(*matrix[[0, 0, 1, 0, 1, 2], [0, 1, 1, 2, 2, 2]], inverse)
        np.testing.assert_allclose(inverse[[[0, 1, 3], [1, 2, 4], [3, 4, 5]]] * np.outer(scales, scales),
                                   np.linalg.inv(matrix) * np.outer(scales, scales), rtol=1e-9, atol=1e-9)  # fmt: skip


@pytest.mark.parametrize("n", [3, 4, 7, 100])
def test_n_tracks_all_around(n):
    """Straight, at equal angles, tan_lambda = 0: sum of sin^2 is n / 2, so var x = var y = 2 var(dca_xy) / n, var z =
    var(dca_z) / n. At chi2 = 0 each track has the weight 1 / (1 + exp(-9 / 2)).
    """
    tracks = from_directions(2 * np.pi * np.arange(n) / n, np.zeros(n), covariance=DIAGONAL)
    for cut in (9.0, ALL):
        vertices, covariance, weights = fit([tracks], 0.0, cut)
        weight = 1.0 / (1.0 + math.exp(-0.5 * cut))
        expected = np.diag([2 * 10e-4**2, 2 * 10e-4**2, 20e-4**2]) / n / weight
        np.testing.assert_allclose(vertices.position[0], 0.0, atol=1e-12)
        np.testing.assert_allclose(covariance[0], expected, rtol=1e-6, atol=1e-16)
        np.testing.assert_allclose(weights, weight)
        assert (vertices.n_contributors[0], vertices.chi2[0]) == (n, pytest.approx(0.0, abs=1e-12))


def test_two_tracks_at_right_angles():
    """Along x at y = 3 um, z = 10 um and along y at x = -2 um, z = -20 um; z is their mean, chi2 is (30 um)^2 / (2 (20 um)^2)."""
    tracks = from_directions([0.0, 0.5 * np.pi], [0.0, 0.0], covariance=DIAGONAL)
    tracks.parameters[:, :2] = [[3e-4, 10e-4], [2e-4, -20e-4]]
    vertices, covariance, _ = fit([tracks], 0.0, ALL)
    np.testing.assert_allclose(vertices.position[0], [-2e-4, 3e-4, -5e-4], rtol=1e-6)
    np.testing.assert_allclose(covariance[0], np.diag([10e-4**2, 10e-4**2, 20e-4**2 / 2]), rtol=1e-6, atol=1e-16)
    assert vertices.chi2[0] == pytest.approx(30.0**2 / (2 * 20.0**2), rel=1e-6)
    assert vertices.n_contributors[0] == 2


def full_fit(tracks: Tracks, b_z, start):
    """The vertex and every track's momentum at once (3 + 3 n numbers from 5 n), by scipy: no lines, no transport, no weights."""
    n = len(tracks.parameters)
    whiten = [np.linalg.inv(np.linalg.cholesky(full(packed))) for packed in tracks.cov_packed]
    scale = np.concatenate([[1e-3] * 3, np.tile([1e-3, 1e-3, 1e-2], n)])
    origin = np.concatenate([start, tracks.parameters[:, 2:].ravel()])

    def residuals(unknown):
        values = origin + scale * unknown
        out = []
        for k, (phi, tan_lambda, q_over_pt) in enumerate(values[3:].reshape(n, 3)):
            pt = 1 / abs(q_over_pt)
            state = perigee_1(
                *values[:3], pt * math.cos(phi), pt * math.sin(phi), pt * tan_lambda, np.sign(q_over_pt), b_z
            )
            difference = np.array(state) - tracks.parameters[k]
            difference[2] = math.remainder(difference[2], 2 * math.pi)
            out.append(whiten[k] @ difference)
        return np.concatenate(out)

    found = optimize.least_squares(residuals, np.zeros(len(origin)), xtol=1e-14, ftol=1e-14, gtol=1e-14, jac="3-point")
    covariance = np.linalg.inv(found.jac.T @ found.jac) * np.outer(scale, scale)
    return (origin + scale * found.x)[:3], covariance[:3, :3], 2.0 * found.cost


@pytest.mark.parametrize("b_z", [0.0, 2.0, -4.0])
@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (0.5, -0.3, 7.0), (-2.0, 1.0, -20.0)])
@pytest.mark.parametrize("n", [2, 5])
def test_equals_a_full_fit_by_brute_force(n, place, b_z):
    """On measured tracks of 1 GeV: position to 2 % of its sigma, covariance and chi2 to 2 %.

    Not closer, because the lines are taken at the measured momenta, not at the fitted ones: they differ by 1e-3 rad and 1 %.
    """
    tracks = make_tracks(place, n, b_z, seed=n).smeared(np.random.default_rng(n))
    vertices, covariance, _ = fit([tracks], b_z, ALL)
    position, expected, chi2 = full_fit(tracks, b_z, place)
    sigma = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(vertices.position[0] / sigma, position / sigma, atol=0.02)
    np.testing.assert_allclose(covariance[0] / np.outer(sigma, sigma), expected / np.outer(sigma, sigma), atol=0.02)
    assert vertices.chi2[0] == pytest.approx(chi2, rel=0.02, abs=1e-3)


def test_soft_tracks_that_bend_equal_the_brute_force_too():
    """0.1 GeV in 2 T, a vertex 5 mm off the line: each helix bends by 75 um on the way, seven times its uncertainty."""
    place = (0.4, -0.3, 2.0)
    tracks = make_tracks(place, 6, 2.0, seed=3, pt=0.1).smeared(np.random.default_rng(3))
    tracks.parameters[:, 4] = np.copysign(10.0, tracks.parameters[:, 4])
    position, expected, _ = full_fit(tracks, 2.0, place)
    vertices, covariance, _ = fit([tracks], 2.0, ALL)
    sigma = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(vertices.position[0] / sigma, position / sigma, atol=0.02)
    np.testing.assert_allclose(covariance[0] / np.outer(sigma, sigma), expected / np.outer(sigma, sigma), atol=0.02)


@pytest.mark.parametrize("distance", [0.1, 1.0])
def test_tracks_from_elsewhere_have_no_weight(distance):
    """30 measured tracks, and 10 more from 1 mm and from 1 cm away (hundreds of sigma): the vertex does not move."""
    generator = np.random.default_rng(1)
    own = make_tracks((0, 0, 0), 30, 2.0, seed=1).smeared(generator)
    strays = make_tracks((distance, distance, distance), 10, 2.0, seed=2)
    alone, covariance_alone, weights_alone = fit([own], 2.0)
    vertices, _, weights = fit([own + strays], 2.0)
    sigma = np.sqrt(np.diag(covariance_alone[0]))
    assert weights[30:].max() < 1e-6
    np.testing.assert_allclose(vertices.position[0] / sigma, alone.position[0] / sigma, atol=1e-3)
    np.testing.assert_allclose(weights[:30], weights_alone, atol=1e-3)
    assert vertices.n_contributors[0] == np.count_nonzero(weights > 0.5)


@pytest.mark.parametrize("gap", [0.5, 0.05])
def test_a_collision_beside_it_does_not_pull(gap):
    """Another collision with half as many tracks, 5 mm and 0.5 mm (50 sigma of a track) away in z."""
    own = make_tracks((0.02, 0.01, 0), 30, 2.0, seed=1).smeared(np.random.default_rng(1))
    other = make_tracks((0.02, 0.01, gap), 15, 2.0, seed=2).smeared(np.random.default_rng(2))
    alone, covariance, _ = fit([own], 2.0)
    vertices, _, weights = fit([own + other], 2.0)
    sigma = np.sqrt(np.diag(covariance[0]))
    np.testing.assert_allclose(vertices.position[0] / sigma, alone.position[0] / sigma, atol=1e-3)
    assert weights[30:].max() < 1e-3


def test_events_that_cannot_be_fitted():
    """No track, one track, two from places 30 cm apart with nothing in common: the origin, to 10 cm, without contributors."""
    one = make_tracks((0.1, 0, 3), 1, 2.0, seed=1)
    apart = from_directions([0.0, 0.0], [0.0, 0.0], covariance=DIAGONAL)
    apart.parameters[1, 1] = 30.0
    vertices, covariance, weights = fit([Tracks(one.parameters[:0], one.cov_packed[:0]), one, apart], 2.0)
    for event in range(3):
        np.testing.assert_array_equal(vertices.position[event], NOTHING[0])
        np.testing.assert_array_equal(covariance[event], NOTHING[1])
    assert (vertices.n_contributors == 0).all()
    assert (vertices.chi2 == 0).all()
    assert (weights == 0).all()


@pytest.mark.parametrize("turn", [0.0, np.pi])
@pytest.mark.parametrize("b_z", [0.0, 2.0])
def test_parallel_tracks_leave_their_direction_unknown(turn, b_z):
    """Five along the diagonal of x and y, or two of them back: across sigma^2 / 5, along it the 10 cm known before."""
    tracks = from_directions(0.25 * np.pi + np.array([0, 0, 0, turn, turn]), np.zeros(5), covariance=DIAGONAL)
    tracks.parameters[:, 4] = 1e-6  # straight in any field
    vertices, covariance, _ = fit([tracks], b_z, ALL)
    along, across = np.array([1, 1, 0]) / math.sqrt(2), np.array([-1, 1, 0]) / math.sqrt(2)
    assert along @ covariance[0] @ along == pytest.approx(UNKNOWN, rel=1e-3)
    assert across @ covariance[0] @ across == pytest.approx(10e-4**2 / 5, rel=1e-3)
    np.testing.assert_allclose(vertices.position[0], 0.0, atol=1e-6)
    assert vertices.n_contributors[0] == 5


def test_a_track_with_a_singular_covariance_is_left_out():
    tracks = make_tracks((0, 0, 0), 5, 2.0, seed=1)
    tracks.cov_packed[0] = np.outer(np.ones(5), np.ones(5))[np.tril_indices(5)] * 1e-6
    vertices, covariance, weights = fit([tracks], 2.0)
    assert vertices.n_contributors[0] == 4
    assert weights[0] == 0.0
    assert np.isfinite(covariance).all()


def test_whatever_the_tracks_the_result_is_finite():
    """Parameters and uncertainties over many decades, in all combinations, also of the same track many times."""
    generator = np.random.default_rng(7)
    events = []
    for size in [2, 3, 5, 50] * 50:
        n = size if generator.random() < 0.7 else 1
        parameters = generator.normal(size=(n, 5)) * 10.0 ** generator.uniform(
            [-6, -6, 0, -3, -6], [2, 2, 1, 2, 2], (n, 5)
        )
        sigma = 10.0 ** generator.uniform([-7, -7, -6, -6, -8], [1, 2, 0, 2, 2], (n, 5))
        mixing = generator.normal(size=(n, 5, 5))
        mixing *= (sigma / np.linalg.norm(mixing, axis=2))[:, :, None]
        covariance = mixing @ mixing.transpose(0, 2, 1)
        rows = np.resize(np.arange(n), size)
        events.append(Tracks(parameters[rows], covariance[rows][:, LOWER[0], LOWER[1]]))
    for b_z in (0.0, 2.0):
        vertices, covariance, weights = fit(events, b_z)
        for array in (*vertices, covariance, weights):
            assert np.isfinite(array).all()
        assert (covariance[:, [0, 1, 2], [0, 1, 2]] > 0.0).all()
        assert ((vertices.n_contributors == 0) | (vertices.n_contributors > 1)).all()


def test_events_do_not_know_of_each_other():
    """To the bit: 20 events in one call, one by one, and in reverse order."""
    generator = np.random.default_rng(1)
    events = [
        make_tracks((0.1, 0, s), int(generator.integers(0, 40)), 2.0, seed=s).smeared(generator) for s in range(20)
    ]
    together, _, weights = fit(events, 2.0)
    one_by_one = [fit([event], 2.0) for event in events]
    backwards, _, _ = fit(events[::-1], 2.0)
    for k in range(4):
        np.testing.assert_array_equal(together[k], np.concatenate([one[0][k] for one in one_by_one]))
        np.testing.assert_array_equal(together[k], backwards[k][::-1])
    np.testing.assert_array_equal(weights, np.concatenate([one[2] for one in one_by_one]))


def expected_pull():
    """Width of the pulls of an estimate with weights w(chi2), of normal distances with two degrees of freedom.

    Huber, Robust Statistics, 3.2: variance E[w^2 r^2] / E[w r^2]^2 (as d(w r)/dr has the mean E[w r^2]), and E[r^2] is
    chi2 / 2 for each coordinate; the fit says 1 / E[w].
    """

    def mean(function):
        return integrate.quad(
            lambda x: 0.5 * math.exp(-0.5 * x) * function(x, 1 / (1 + math.exp((x - 9) / 2))), 0, 100
        )[0]

    true = mean(lambda x, w: w * w * x / 2) / mean(lambda x, w: w * x / 2) ** 2
    return math.sqrt(true * mean(lambda _, w: w))


@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (0.3, -0.2, 5.0)])
def test_pulls(place):
    """Normal tracks, 40 a vertex: mean 0 and the width that the weights make (0.996), within 4.5 standard errors."""
    from tests.oracles import JIT_IS_OFF

    n = 20 if JIT_IS_OFF else 1000
    generator = np.random.default_rng(4)
    tracks = make_tracks(place, 40, 2.0, seed=5)
    vertices, covariance, _ = fit([tracks.smeared(generator) for _ in range(n)], 2.0)
    pulls = (vertices.position - place) / np.sqrt(covariance[:, [0, 1, 2], [0, 1, 2]])
    assert 0.99 < expected_pull() < 1.0
    assert (np.abs(pulls.mean(axis=0)) < 4.5 / math.sqrt(n)).all()
    assert (np.abs(pulls.std(axis=0) - expected_pull()) < 4.5 / math.sqrt(2 * n)).all()
    whole = np.einsum("ni,nij,nj->n", vertices.position - place, np.linalg.inv(covariance), vertices.position - place)
    assert abs(whole.mean() - 3 * expected_pull() ** 2) < 4.5 * math.sqrt(
        6 / n
    )  # of a chi2 with three degrees of freedom
