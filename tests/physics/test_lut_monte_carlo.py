"""The table maker's fit against brute force that shares no code with it (tests/oracles.py).

First without statistics: one generalised least-squares fit per track, with the numerically differentiated exact helix
and the full covariance of the hits. Then with: tracks stepped through the detector, scattered, measured and fitted.
"""

import itertools
import math

import numpy as np
import pytest

from tests.oracles import (
    JIT_IS_OFF,
    K_CURVATURE,
    KAON_MASS,
    MUON_MASS,
    PION_MASS,
    PROTON_MASS,
    alice3_v2_layers,
    linear_track,
    make_layers,
    make_rules,
    merge_layers,
    passive_layers,
    relative_difference,
    solve,
    track_hits,
)

N_TRACKS = 40_000
SIGMAS = 4.5


def random_layers(generator):
    """A random barrel: 4 to 12 measuring layers and up to 4 passive ones, any resolution, thickness and length."""
    n = int(generator.integers(4, 13))
    n_passive = int(generator.integers(0, 5))
    hits = make_layers(
        np.sort(generator.uniform(0.5, 120.0, n)),
        10.0 ** generator.uniform(-4.0, -1.0, n) * (generator.random(n) < 0.8),
        10.0 ** generator.uniform(-4.0, -1.5, n),
        10.0 ** generator.uniform(-4.0, -1.0, n),
        half_length=generator.uniform(100.0, 400.0, n),
    )
    return merge_layers(
        hits, passive_layers(generator.uniform(0.4, 100.0, n_passive), 10.0 ** generator.uniform(-3.5, -1.0, n_passive))
    )


def test_covariance_equals_generalised_least_squares_at_random():
    """(A^T V^-1 A)^-1 with A, V from finite differences, for 150 random detectors, tracks, fields and species.

    All 15 elements, in units of sigma_i sigma_j. Truncation error of the differences is ~1e-7 here; the largest term is
    rounding in the least-squares solution, condition number x 1e-16.
    """
    generator = np.random.default_rng(11)
    worst, compared = 0.0, 0
    for _ in range(40 if JIT_IS_OFF else 150):
        layers = random_layers(generator)
        b_z = generator.choice([0.2, 0.5, 2.0, 3.8])
        pt = 10.0 ** generator.uniform(-1.0, 2.0)
        tan_lambda = math.sinh(generator.uniform(-1.5, 1.5))
        mass = generator.choice([MUON_MASS, PION_MASS, KAON_MASS, PROTON_MASS])
        charge = generator.choice([-2.0, -1.0, 1.0, 2.0])
        max_sin = generator.uniform(0.7, 0.95)
        solution = solve(layers, make_rules(b_z, 0, 3, max_sin), pt, tan_lambda, mass, charge)
        sin_incidence = 0.5 * layers.r * K_CURVATURE * b_z * abs(charge) / pt
        if np.count_nonzero((sin_incidence <= max_sin) & (layers.efficiency > 0.0)) < 3 or solution.efficiency == 0.0:
            continue
        track = linear_track(layers, b_z, pt, tan_lambda, mass, charge, max_sin)
        worst = max(worst, relative_difference(solution.covariance, track.covariance()))
        compared += 1
    assert compared > (25 if JIT_IS_OFF else 100)
    assert worst < 1e-5


@pytest.mark.parametrize("pt", [0.25, 1.0, 20.0])
@pytest.mark.parametrize("eta", [-1.3, 0.0, 0.8])
@pytest.mark.parametrize("charge", [-1.0, 1.0])
def test_covariance_of_alice3_v2_equals_generalised_least_squares(pt, eta, charge):
    """The same for the detector of the default card, signs of the correlations for both charges included."""
    layers, tan_lambda = alice3_v2_layers(), math.sinh(eta)
    solution = solve(layers, make_rules(), pt, tan_lambda, charge=charge)
    expected = linear_track(layers, 2.0, pt, tan_lambda, charge=charge).covariance()
    assert relative_difference(solution.covariance, expected) < 1e-6


# Crosses 80 cm in 2 T at sin(incidence) 0.93: there the direction is 68 degrees off the radius.
NEARLY_CURLING = 0.5 * 80.0 * K_CURVATURE * 2.0 / 0.93


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pt", "eta", "charge", "mass", "scale"),
    [
        (NEARLY_CURLING, 0.3, -1.0, PION_MASS, 0.1),
        (NEARLY_CURLING, -0.8, 1.0, MUON_MASS, 0.1),
        (0.35, 0.4, -1.0, PION_MASS, 1.0),
        (0.5, -1.0, -1.0, KAON_MASS, 1.0),
        (1.0, 1.2, 1.0, PION_MASS, 1.0),
        (10.0, -0.6, -1.0, PION_MASS, 1.0),
        (100.0, 0.0, 1.0, PROTON_MASS, 1.0),
    ],
)
def test_covariance_equals_that_of_simulated_and_fitted_tracks(pt, eta, charge, mass, scale):
    """Step 40,000 tracks through ALICE 3 v2, kick them in two planes with |p| kept, smear the hits, fit, compare.

    Sample covariance S of n Gaussian vectors: var(S_ij) = (C_ii C_jj + C_ij^2)/(n - 1) (Wishart). All 15 elements
    within 4.5 sigma of solve_track's, and the mean within 4.5 sigma of the truth. The tracks are not linearised, only
    the fit is; any covariance matrix is a statement to first order. At 68 degrees incidence second-order terms of
    full-size kicks would show (3 % of the variance of q/pt, a bias of 0.05 sigma), so there thickness is scaled by
    scale^2 and resolution by scale.
    """
    generator = np.random.default_rng(int(1000 * pt) + 7)
    layers, tan_lambda, b_z = alice3_v2_layers(sigma_scale=scale), math.sinh(eta), 2.0
    layers = layers._replace(x_over_x0=layers.x_over_x0 * scale**2)
    track = linear_track(layers, b_z, pt, tan_lambda, mass, charge)
    n = len(track.r)
    assert n == len(layers.r)
    truth = np.array([0.0, 0.0, 0.0, tan_lambda, charge / pt])
    across, dip = generator.normal(size=(2, n, N_TRACKS)) * track.theta[:, None]
    azimuth, z = track_hits(np.repeat(truth[:, None], N_TRACKS, axis=1), charge, b_z, track.r, across, dip)
    assert np.isfinite(azimuth).all()
    is_hit = track.efficiency > 0.0
    shift = np.remainder(azimuth - track.azimuth[:, None] + math.pi, 2.0 * math.pi) - math.pi
    residual = np.concatenate([shift * track.r[:, None], z - track.z[:, None]])
    residual += generator.normal(size=residual.shape) * track.sigma[:, None]
    estimator, _ = track.estimator(is_hit)
    fitted = estimator @ residual[track.rows(is_hit)]

    expected = solve(layers, make_rules(b_z), pt, tan_lambda, mass, charge).covariance
    sample = np.cov(fitted)
    variances = np.diag(expected)
    error = np.sqrt((np.outer(variances, variances) + expected**2) / (N_TRACKS - 1))
    pulls = (sample - expected) / error
    assert np.max(np.abs(pulls)) < SIGMAS, pulls
    assert np.max(np.abs(fitted.mean(axis=1)) / np.sqrt(variances / N_TRACKS)) < SIGMAS


def all_patterns(track, min_hits):
    """(probability, lost hits, GLS covariance) of every hit pattern that makes a track."""
    measuring = np.flatnonzero(track.efficiency > 0.0)
    for pattern in itertools.product([True, False], repeat=len(measuring)):
        found = np.array(pattern)
        efficiency = track.efficiency[measuring]
        probability = float(np.prod(np.where(found, efficiency, 1.0 - efficiency)))
        if found.sum() < min_hits or probability == 0.0:
            continue
        is_hit = np.zeros(len(track.r), dtype=bool)
        is_hit[measuring[found]] = True
        yield probability, int((~found).sum()), track.covariance(is_hit)


INEFFICIENT = {
    "6 layers of 0.95": make_layers([2.0, 4.0, 8.0, 20.0, 40.0, 80.0], 0.005, 10e-4, 15e-4, 0.95),
    "7 layers of 0.98 and a pipe": merge_layers(
        make_layers([1.8, 2.8, 3.8, 8.0, 20.0, 40.0, 80.0], 0.005, 5e-4, efficiency=0.98),
        passive_layers([1.6], [0.002]),
    ),
    "different ones, two perfect": make_layers(
        [2.0, 4.0, 8.0, 20.0, 40.0, 80.0], 0.01, 10e-4, 50e-4, np.array([0.9, 1.0, 0.7, 0.95, 1.0, 0.98])
    ),
}


@pytest.mark.parametrize("name", INEFFICIENT)
@pytest.mark.parametrize("min_hits", [3, 4])
@pytest.mark.parametrize("pt", [0.3, 5.0])
def test_lost_hits_are_averaged_over_all_patterns(name, min_hits, pt):
    """Efficiency and mean covariance over hit patterns against full enumeration with the least-squares fit.

    The efficiency is exact. The mean covariance is exact over patterns with up to two lost hits; against all patterns
    it is off by the neglected weight f times the difference of the two means, no more.
    """
    layers, b_z, tan_lambda = INEFFICIENT[name], 2.0, 0.4
    solution = solve(layers, make_rules(b_z, 0, min_hits), pt, tan_lambda, charge=-1.0)
    patterns = list(all_patterns(linear_track(layers, b_z, pt, tan_lambda, charge=-1.0), min_hits))
    assert solution.efficiency == pytest.approx(sum(weight for weight, _, _ in patterns), rel=1e-12)

    kept = [(weight, covariance) for weight, lost, covariance in patterns if lost <= 2]
    kept_weight = sum(weight for weight, _ in kept)
    kept_mean = sum(weight * covariance for weight, covariance in kept) / kept_weight
    assert relative_difference(solution.covariance, kept_mean) < 1e-6

    neglected = [(weight, covariance) for weight, lost, covariance in patterns if lost > 2]
    neglected_weight = sum(weight for weight, _ in neglected)
    full_mean = sum(weight * covariance for weight, _, covariance in patterns) / (kept_weight + neglected_weight)
    f = neglected_weight / (kept_weight + neglected_weight)
    if neglected:
        neglected_mean = sum(weight * covariance for weight, covariance in neglected) / neglected_weight
        bound = f * np.abs(neglected_mean - kept_mean)
    else:
        bound = np.zeros((5, 5))
    sigma = np.sqrt(np.diag(full_mean))
    assert np.all(np.abs(solution.covariance - full_mean) <= bound + 1e-6 * np.outer(sigma, sigma))


def test_full_efficiency_is_the_limit_of_the_average():
    """Efficiency 1 - epsilon: the mean moves by order epsilon; at exactly 1 nothing is averaged."""
    base = make_layers([2.0, 4.0, 8.0, 20.0, 40.0, 80.0], 0.005)
    perfect = solve(base, make_rules(), 1.0, 0.4).covariance
    nearly = solve(base._replace(efficiency=np.full(6, 1.0 - 1e-9)), make_rules(), 1.0, 0.4).covariance
    assert relative_difference(nearly, perfect) < 1e-6
    lossy = solve(base._replace(efficiency=np.full(6, 0.95)), make_rules(), 1.0, 0.4).covariance
    assert np.all(np.diag(lossy) > np.diag(perfect))
