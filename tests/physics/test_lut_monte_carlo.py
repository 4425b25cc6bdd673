"""The table maker's fit against brute force that shares no code with it (tests/oracles.py).

First without statistics: one generalised least-squares fit per track, with the numerically differentiated exact helix
and the full covariance of the hits. Then with: tracks stepped through the detector, scattered, measured and fitted.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from fastsim.kernels.conventions import STRAGGLING
from fastsim.kernels.walk import make_path, walk
from tests.oracles import (
    ELECTRON_MASS,
    JIT_IS_OFF,
    K_CURVATURE,
    KAON_MASS,
    MUON_MASS,
    PION_MASS,
    PROTON_MASS,
    alice3_v2_layers,
    forward_disks,
    hits_on,
    linear_track,
    make_layers,
    make_rules,
    make_surfaces,
    merge_layers,
    of_silicon,
    passive_layers,
    random_detector,
    random_layers,
    relative_difference,
    solve,
    straggling,
)

N_TRACKS = 40_000
SIGMAS = 4.5


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


def random_track(generator, charges):
    return {
        "b_z": generator.choice([0.2, 0.5, 2.0, 3.8]),
        "pt": 10.0 ** generator.uniform(-1.0, 2.0),
        "tan_lambda": math.sinh(generator.uniform(-3.5, 3.5)),
        "mass": generator.choice([MUON_MASS, PION_MASS, KAON_MASS, PROTON_MASS]),
        "charge": generator.choice(charges),
        "max_sin_incidence": generator.uniform(0.7, 0.95),
    }


def solve_random(surfaces, track, **rules):
    rest = {key: track[key] for key in ("pt", "tan_lambda", "mass", "charge")}
    return solve(surfaces, make_rules(track["b_z"], 0, 5, track["max_sin_incidence"], **rules), **rest)


def test_covariance_with_disks_and_stereo_views_equals_generalised_least_squares_at_random():
    """Cylinders and disks mixed, forwards and backwards, views tilted or alone: as above, to 1e-5."""
    generator = np.random.default_rng(5)
    worst, compared, on_disks = 0.0, 0, 0
    for _ in range(60 if JIT_IS_OFF else 250):
        surfaces, track = random_detector(generator), random_track(generator, [-2.0, -1.0, 1.0, 2.0])
        solution = solve_random(surfaces, track)
        if solution.efficiency == 0.0:
            continue
        linear = linear_track(surfaces, **track)
        worst = max(worst, relative_difference(solution.covariance, linear.covariance()))
        compared += 1
        on_disks += bool(linear.route.is_disk.any())
    assert compared > (15 if JIT_IS_OFF else 80)
    assert on_disks > compared // 3
    assert worst < 1e-5


def test_covariance_with_energy_loss_equals_generalised_least_squares_at_random():
    """The model of the oracle loses energy on its own: by its momentum, slope and incidence at each surface.

    One term of the second order is neglected in the fit: a shifted track meets the surface a little earlier or later, and
    changes its curvature there. With this term in the oracle the difference stays below 5e-4 (of tracks that lose up to
    27 % of their momentum, at most 3 % of what they lose: found, not derived). Without it the rest is the
    kernel's integration of the loss, in steps of 5 % of the kinetic energy: no more than 10 times its relative error
    in momentum (scattering goes with p^-2, and the loss per momentum at beta gamma < 1 with p^-3).
    """
    generator = np.random.default_rng(5)
    compared, worst = 0, 0.0
    for _ in range(60 if JIT_IS_OFF else 400):
        surfaces, track = of_silicon(random_detector(generator)), random_track(generator, [1.0, 2.0])
        solution = solve_random(surfaces, track, energy_loss=1)
        if solution.efficiency == 0.0:
            continue
        with np.errstate(invalid="ignore"):
            full = linear_track(surfaces, **track, energy_loss=True)
        rules = make_rules(track["b_z"], 0, 5, track["max_sin_incidence"], energy_loss=1)
        path = make_path(len(surfaces.position))
        n = walk(surfaces, rules, *(track[key] for key in ("pt", "tan_lambda", "mass", "charge")), 0.0, path)
        p_last = abs(track["charge"] / path.q_over_pt[n - 1]) * math.hypot(1.0, track["tan_lambda"])
        if p_last < 0.3 * track["mass"] or n != len(full.r):  # about to stop: nothing linear is left
            continue
        compared += 1
        worst = max(worst, relative_difference(solution.covariance, full.covariance()))
        fixed = linear_track(surfaces, **track, energy_loss=True, tilts=False).covariance()
        momentum = np.max(np.abs(full.q_over_pt / path.q_over_pt[:n] - 1.0))
        assert momentum < 5e-4
        assert relative_difference(solution.covariance, fixed) < 1e-5 + 10.0 * momentum
    assert compared > (15 if JIT_IS_OFF else 120)
    assert worst < 5e-4


@pytest.mark.parametrize("eta", [0.3, -1.6, 2.5])
@pytest.mark.parametrize("convention", STRAGGLING)
@pytest.mark.parametrize(("pt", "mass"), [(0.15, PION_MASS), (0.6, PROTON_MASS), (3.0, KAON_MASS)])
def test_straggling_is_one_more_kick_per_surface(eta, convention, pt, mass):
    """Fluctuations of the loss as kicks of q/pt in the least-squares fit; what is left is the tilt term, as above."""
    surfaces, tan_lambda = of_silicon(forward_disks()), math.sinh(eta)
    rules = make_rules(2.0, energy_loss=1, straggling=STRAGGLING[convention])
    found = solve(surfaces, rules, pt, tan_lambda, mass).covariance
    jolts = straggling(convention, mass)
    oracle = linear_track(surfaces, 2.0, pt, tan_lambda, mass, energy_loss=True, jolts=jolts).covariance()
    assert relative_difference(found, oracle) < 3e-4
    if convention != "none" and pt < 1.0:  # and they matter: without them the test would fail
        plain = linear_track(surfaces, 2.0, pt, tan_lambda, mass, energy_loss=True).covariance()
        assert relative_difference(oracle, plain) > 6e-4


@pytest.mark.parametrize("eta", [0.3, 2.0])
def test_radiation_of_electrons_is_one_more_kick_per_surface(eta):
    """Bethe and Heitler's variance of the momentum, exp(-t ln 3 / ln 2) - exp(-2 t), as kicks of q/pt; exact."""
    surfaces, pt, tan_lambda = forward_disks(), 1.0, math.sinh(eta)

    def width(p, t, x):
        return p * np.sqrt(np.exp(-t * math.log(3.0) / math.log(2.0)) / np.exp(-2.0 * t) - 1.0)  # <z^2>/<z>^2 - 1

    found = solve(surfaces, make_rules(2.0, electrons=1), pt, tan_lambda, ELECTRON_MASS).covariance
    oracle = linear_track(surfaces, 2.0, pt, tan_lambda, ELECTRON_MASS, jolts=width).covariance()
    assert relative_difference(found, oracle) < 1e-6
    pions = solve(surfaces, make_rules(2.0, electrons=1), pt, tan_lambda, PION_MASS).covariance
    plain = solve(surfaces, make_rules(2.0), pt, tan_lambda, PION_MASS).covariance
    assert np.array_equal(pions, plain)


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
    assert len(track.r) == len(layers.r)
    expected = solve(layers, make_rules(b_z), pt, tan_lambda, mass, charge).covariance
    compare_with_simulated(generator, track, b_z, pt, tan_lambda, charge, expected)


def compare_with_simulated(generator, track, b_z, pt, tan_lambda, charge, expected):
    """Simulate, smear, fit; pulls of the sample covariance's elements and of the mean against the expected ones."""
    n = len(track.r)
    truth = np.array([0.0, 0.0, 0.0, tan_lambda, charge / pt])
    across, dip, jolt = generator.normal(size=(3, n, N_TRACKS)) * track.width.reshape(3, n, 1)
    centre = np.repeat(truth[:, None], N_TRACKS, axis=1)
    azimuth, other = hits_on(track.route, centre, charge, b_z, across, dip, jolt)
    assert np.isfinite(azimuth).all()
    residual = track.views(azimuth, other)
    residual += generator.normal(size=residual.shape) * track.sigma[:, None]
    fitted = track.estimator()[0] @ residual
    sample = np.cov(fitted)
    variances = np.diag(expected)
    error = np.sqrt((np.outer(variances, variances) + expected**2) / (N_TRACKS - 1))
    pulls = (sample - expected) / error
    assert np.max(np.abs(pulls)) < SIGMAS, pulls
    assert np.max(np.abs(fitted.mean(axis=1)) / np.sqrt(variances / N_TRACKS)) < SIGMAS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pt", "eta", "charge", "mass", "scale"),
    [
        (0.6, 2.5, -1.0, PION_MASS, 0.1),
        (3.0, 2.5, 1.0, PION_MASS, 1.0),
        (1.0, -2.5, 1.0, KAON_MASS, 0.3),
        (20.0, 3.2, -1.0, MUON_MASS, 1.0),
        (0.5, 1.6, 1.0, PROTON_MASS, 0.2),
    ],
)
def test_the_same_through_barrel_and_disks(pt, eta, charge, mass, scale):
    """ALICE 3 with 2 x 12 disks, without energy loss: forward tracks turn by up to half a turn between the disks."""
    generator = np.random.default_rng(int(1000 * pt) + 70)
    surfaces, tan_lambda = forward_disks(sigma_scale=scale, thickness_scale=scale**2), math.sinh(eta)
    track = linear_track(surfaces, 2.0, pt, tan_lambda, mass, charge)
    assert track.route.is_disk.sum() >= 3
    assert not track.route.is_disk.all()
    expected = solve(surfaces, make_rules(2.0), pt, tan_lambda, mass, charge).covariance
    compare_with_simulated(generator, track, 2.0, pt, tan_lambda, charge, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pt", "eta", "mass"),
    [(0.1, 0.2, PION_MASS), (0.1, -1.0, MUON_MASS), (0.1, 1.9, PION_MASS), (0.4, 0.5, PROTON_MASS)],
)
def test_the_same_for_slow_tracks_that_lose_energy(pt, eta, mass):
    """100 MeV: 1 to 3 % of the momentum are lost in every layer of 1 mm of silicon, the mean loss only.

    The areal density is the full one; kicks and resolutions are a tenth, lest their second order shows.
    """
    generator = np.random.default_rng(int(1000 * mass) + 70)
    surfaces, tan_lambda = of_silicon(forward_disks(sigma_scale=0.1)), math.sinh(eta)
    surfaces = surfaces._replace(x_over_x0=0.01 * surfaces.x_over_x0)
    track = linear_track(surfaces, 2.0, pt, tan_lambda, mass, energy_loss=True)
    assert abs(track.q_over_pt[-1]) > 1.01 / pt
    expected = solve(surfaces, make_rules(2.0, energy_loss=1), pt, tan_lambda, mass).covariance
    compare_with_simulated(generator, track, 2.0, pt, tan_lambda, 1.0, expected)


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


def followed(track, min_hits):
    """What the table maker sums: patterns up to 4 lost hits or until the rest is below 1e-4; then the rest as one.

    That pattern holds each hit with its mean share in the patterns with more than 4 lost hits, by enumeration.
    """
    measuring = np.flatnonzero(track.efficiency > 0.0)
    weights, sums = np.zeros(len(measuring) + 1), np.zeros((len(measuring) + 1, len(measuring)))
    for pattern in itertools.product([True, False], repeat=len(measuring)):
        found = np.array(pattern)
        probability = np.prod(np.where(found, track.efficiency[measuring], 1.0 - track.efficiency[measuring]))
        weights[(~found).sum()] += probability
        sums[(~found).sum()] += probability * found
    most = next((m for m in range(5) if weights[m + 1 :].sum() < 1e-4), 4)
    rest = weights[most + 1 :].sum()
    if rest < 1e-4:
        return most, 0.0, None
    share = np.zeros(len(track.r))
    share[measuring] = sums[most + 1 :].sum(axis=0) / rest
    if share.sum() < min_hits:
        return most, 0.0, None
    thinned = dataclasses.replace(track, sigma=track.sigma / np.sqrt(np.maximum(share, 1e-12))[track.crossing])
    return most, rest, thinned.covariance(share > 0.0)


def mean_of(patterns):
    return sum(weight * covariance for weight, covariance in patterns) / sum(weight for weight, _ in patterns)


@pytest.mark.parametrize("name", INEFFICIENT)
@pytest.mark.parametrize("min_hits", [3, 4])
@pytest.mark.parametrize("pt", [0.3, 5.0])
def test_lost_hits_are_averaged_over_all_patterns(name, min_hits, pt):
    """Efficiency and mean covariance over hit patterns against full enumeration with the least-squares fit.

    The efficiency is exact. So is the mean covariance if the patterns are cut where the table maker cuts them and the rest
    is one pattern with mean shares (see `followed`). That the mean over all patterns is larger is Jensen's
    inequality: a covariance is a convex function of the shares.
    """
    layers, b_z, tan_lambda = INEFFICIENT[name], 2.0, 0.4
    solution = solve(layers, make_rules(b_z, 0, min_hits), pt, tan_lambda, charge=-1.0)
    track = linear_track(layers, b_z, pt, tan_lambda, charge=-1.0)
    patterns = list(all_patterns(track, min_hits))
    assert solution.efficiency == pytest.approx(sum(weight for weight, _, _ in patterns), rel=1e-12)

    most, rest, of_rest = followed(track, min_hits)
    kept = [(weight, covariance) for weight, lost, covariance in patterns if lost <= most]
    if rest > 0.0:
        kept.append((rest, of_rest))
    assert relative_difference(solution.covariance, mean_of(kept)) < 1e-6
    full = mean_of([(weight, covariance) for weight, _, covariance in patterns])
    assert np.all(np.diag(solution.covariance) <= np.diag(full) * (1.0 + 1e-6))


@pytest.mark.parametrize(("efficiency", "allowed"), [(0.98, 5e-4), (0.95, 4e-3), (0.90, 6e-2)])
@pytest.mark.parametrize("pt", [0.3, 5.0])
def test_what_the_neglected_patterns_would_add(efficiency, allowed, pt):
    """ALICE 3's eleven layers, all 2048 patterns enumerated: every sigma of the table is too small by this, at most.

    The worst are d0 and z0 at 300 MeV: with all three vertex layers lost they are fifty times larger. From 5 GeV on
    the error is 8 times smaller.
    """
    layers = alice3_v2_layers()
    layers = layers._replace(efficiency=np.where(layers.efficiency > 0.0, efficiency, 0.0))
    solution = solve(layers, make_rules(2.0, 0, 3), pt, 0.4)
    patterns = list(all_patterns(linear_track(layers, 2.0, pt, 0.4), 3))
    assert solution.efficiency == pytest.approx(sum(weight for weight, _, _ in patterns), rel=1e-12)
    full = mean_of([(weight, covariance) for weight, _, covariance in patterns])
    too_small = 1.0 - np.sqrt(np.diag(solution.covariance) / np.diag(full))
    assert np.all(too_small > -1e-6)
    assert np.all(too_small < (allowed if pt < 1.0 else allowed / 8.0)), too_small


def test_hits_of_drift_volumes_enter_by_their_share():
    """`repeated` layers: one fit, each of these hits with its efficiency as a share of its information."""
    layers = make_layers(np.linspace(2.0, 80.0, 30), 1e-4, 50e-4, efficiency=0.8)
    surfaces = make_surfaces(layers, repeated=np.arange(30) > 3)
    surfaces.efficiency[:4] = 1.0
    found = solve(surfaces, make_rules(2.0), 1.0, 0.4).covariance
    track = linear_track(surfaces, 2.0, 1.0, 0.4)
    thinned = dataclasses.replace(track, sigma=track.sigma / np.sqrt(track.efficiency)[track.crossing])
    assert relative_difference(found, thinned.covariance()) < 1e-6


def test_full_efficiency_is_the_limit_of_the_average():
    """Efficiency 1 - epsilon: the mean moves by order epsilon; at exactly 1 nothing is averaged."""
    base = make_layers([2.0, 4.0, 8.0, 20.0, 40.0, 80.0], 0.005)
    perfect = solve(base, make_rules(), 1.0, 0.4).covariance
    nearly = solve(base._replace(efficiency=np.full(6, 1.0 - 1e-9)), make_rules(), 1.0, 0.4).covariance
    assert relative_difference(nearly, perfect) < 1e-6
    lossy = solve(base._replace(efficiency=np.full(6, 0.95)), make_rules(), 1.0, 0.4).covariance
    assert np.all(np.diag(lossy) > np.diag(perfect))
