"""Wrong hits: the search windows, the hit density and what the two efficiencies make of them (reference/delpheso2.md 2.2).

The windows are compared with a smoother that shares nothing with the filter: all unknowns in one least-squares problem,
`LinearTrack.predicted`.
"""

import itertools
import math

import numpy as np
import pytest

from fastsim.kernels.conventions import STRAGGLING
from fastsim.kernels.walk import make_path, walk
from fastsim.luts.kernels import make_scratch, solve_track
from tests.oracles import (
    JIT_IS_OFF,
    PION_MASS,
    forward_disks,
    linear_track,
    make_layers,
    make_rules,
    make_surfaces,
    of_silicon,
    random_detector,
    solve,
    straggling,
)


def areas(surfaces, rules, pt, tan_lambda, mass=PION_MASS, charge=1.0):
    """The table maker's x of P(right) = 1 / (1 + x dN/deta), crossing by crossing."""
    scratch = make_scratch(len(surfaces.position), rules.min_hits, 1)
    assert solve_track(surfaces, rules, pt, tan_lambda, mass, charge, 0.0, np.zeros(1), scratch)
    return scratch.right[
        : walk(surfaces, rules, pt, tan_lambda, mass, charge, 0.0, make_path(len(surfaces.position)))
    ].copy()


def expected_areas(track, average_rapidity):
    """2 pi s_rphi s_z times the density per dN/deta, with s^2 = in out / (in + out) + resolution^2 (steps 6 and 7).

    Density: 1 / (2 pi r^2) / sqrt(1 + 1/tan^2(2 atan(exp(-average rapidity)))) on cylinders, as DetectorK has it; on
    disks dN/deta |d eta/dr| / (2 pi r), with d eta/dr of eta = asinh(z/r) by differences.
    """
    result = np.zeros(len(track.r))
    measuring = np.flatnonzero(track.efficiency > 0.0)
    for k in measuring:
        i, r = track.route.index[k], track.r[k]
        inwards = track.predicted(k, inwards=True, prior_at=measuring[-1])
        outwards = track.predicted(k, inwards=False, prior_at=0)
        sigma, stereo = track.route.surfaces.sigma[i], track.route.surfaces.stereo[i]
        look = np.stack([np.cos(stereo), -np.sin(stereo)], axis=1)  # what the views measure of (r-phi, z)
        resolution = np.array([sigma[0], 0.0])  # along the wire of a single view only the prediction counts
        if np.isfinite(sigma[1]):
            resolution = np.sqrt(np.diag(np.linalg.inv(look.T @ np.diag(sigma**-2) @ look)))
        window = np.sqrt(inwards * outwards / (inwards + outwards) + resolution**2)
        if track.route.is_disk[k]:
            z = track.route.surfaces.position[i]
            by_r = (math.asinh(abs(z) / (r * (1 - 1e-6))) - math.asinh(abs(z) / (r * (1 + 1e-6)))) / (2e-6 * r)
            density = by_r / (2.0 * math.pi * r)
        else:
            tangent = math.tan(2.0 * math.atan(math.exp(-average_rapidity)))
            density = 1.0 / (2.0 * math.pi * r**2) / math.sqrt(1.0 + 1.0 / tangent**2)
        result[k] = 2.0 * math.pi * window[0] * window[1] * density
    return result


def test_windows_agree_with_an_independent_smoother_at_random():
    """Random detectors with cylinders, disks, tilted and single views, each direction begun with DelphesO2's seed."""
    generator = np.random.default_rng(8)
    compared = 0
    for _ in range(30 if JIT_IS_OFF else 120):
        surfaces = random_detector(generator)
        b_z, pt = generator.choice([0.5, 2.0]), 10.0 ** generator.uniform(-0.7, 1.5)
        tan_lambda, charge = math.sinh(generator.uniform(-3.0, 3.0)), generator.choice([-1.0, 1.0])
        rules = make_rules(b_z, 0, 5, average_rapidity=0.45)
        if solve(surfaces, rules, pt, tan_lambda, charge=charge).efficiency == 0.0:
            continue
        found = areas(surfaces, rules, pt, tan_lambda, charge=charge)
        track = linear_track(surfaces, b_z, pt, tan_lambda, charge=charge)
        assert found == pytest.approx(expected_areas(track, 0.45), rel=1e-4)
        compared += 1
    assert compared > (8 if JIT_IS_OFF else 40)


@pytest.mark.parametrize("eta", [0.3, -2.5])
@pytest.mark.parametrize("pt", [0.2, 3.0])
@pytest.mark.parametrize("convention", STRAGGLING)
def test_windows_of_alice3_with_energy_loss(eta, pt, convention):
    """Loss and its fluctuations are undone inwards and done outwards; 3e-4 for the tilt term of test_lut_monte_carlo."""
    surfaces = of_silicon(forward_disks())
    rules = make_rules(2.0, average_rapidity=0.0, energy_loss=1, straggling=STRAGGLING[convention])
    found = areas(surfaces, rules, pt, math.sinh(eta))
    track = linear_track(surfaces, 2.0, pt, math.sinh(eta), energy_loss=True, jolts=straggling(convention, PION_MASS))
    assert found == pytest.approx(expected_areas(track, 0.0), rel=3e-4)


def brute_force(surfaces, rules, index, x, dnch_deta):
    """(every hit right, no wrong pair) over all 3^n fates of the hits: lost, right, wrong."""
    efficiency = surfaces.efficiency[index]
    wrong = x * dnch_deta / (1.0 + x * dnch_deta)
    measuring = np.flatnonzero(efficiency > 0.0)
    right, found = 0.0, 0.0
    for fates in itertools.product("lrw", repeat=len(measuring)):
        weight = 1.0
        for k, fate in zip(measuring, fates, strict=True):
            e = efficiency[k]
            weight *= {"l": 1.0 - e, "r": e * (1.0 - wrong[k]), "w": e * wrong[k]}[fate]
        if len(fates) - fates.count("l") >= rules.min_hits:
            found += weight
            right += weight * ("w" not in fates)
    pairs = sum(wrong[a] * wrong[b] for a, b in itertools.pairwise(measuring))
    return right, found * (1.0 - min(pairs, 1.0))


@pytest.mark.parametrize("dnch_deta", [0.0, 3.0, 300.0, 10_000.0])
@pytest.mark.parametrize("min_hits", [3, 5, 7])
def test_efficiencies_are_sums_over_all_fates_of_the_hits(dnch_deta, min_hits):
    """2187 fates of seven hits; passive layers have none. 1 - sum of P(wrong) P(wrong) is DelphesO2's eff2 (step 8)."""
    efficiency = np.array([0.9, 0.0, 0.98, 1.0, 0.95, 0.97, 0.99, 0.8])
    layers = make_layers([1.0, 1.5, 2.0, 4.0, 8.0, 20.0, 40.0, 80.0], 0.01, 30e-4, 80e-4, efficiency)
    surfaces, rules = make_surfaces(layers), make_rules(2.0, 0, min_hits, average_rapidity=0.45)
    x = areas(surfaces, rules, 0.5, 0.3)
    found = solve(surfaces, rules, 0.5, 0.3, dnch_deta=(dnch_deta,)).efficiencies[:, 0]
    assert found == pytest.approx(brute_force(surfaces, rules, np.arange(8), x, dnch_deta), rel=1e-10)
    if dnch_deta == 0.0:
        assert found[0] == pytest.approx(found[1], rel=1e-12)


@pytest.mark.parametrize("eta", [0.2, 2.5])
@pytest.mark.parametrize("pt", [0.1, 0.3, 2.0])
@pytest.mark.parametrize("efficiency", [1.0, 0.97])
def test_efficiencies_fall_with_the_occupancy_from_their_limit(eta, pt, efficiency):
    """At dN/deta -> 0 both are P(>= min_hits), which needs no model; "no wrong pair" is the weaker demand.

    Their formula subtracts the sum over pairs, an upper bound of the chance of any pair, so where that sum nears 1
    eff2 may fall below eff: both are below 3 % there.
    """
    surfaces = forward_disks()
    surfaces = surfaces._replace(efficiency=np.where(surfaces.efficiency > 0.0, efficiency, 0.0))
    dnch_deta = np.concatenate([[0.0], 10.0 ** np.linspace(-3.0, 5.0, 30)])
    tan_lambda = math.sinh(eta)
    solution = solve(surfaces, make_rules(2.0, 0, 5, average_rapidity=0.45), pt, tan_lambda, dnch_deta=dnch_deta)
    plain = solve(surfaces, make_rules(2.0, 0, 5), pt, tan_lambda, dnch_deta=(1e5,)).efficiencies
    right, no_pair = solution.efficiencies
    assert right[0] == no_pair[0] == plain[0, 0] == plain[1, 0]
    assert right[1] == pytest.approx(right[0], rel=1e-3)
    assert np.all(np.diff(right) < 0.0)
    assert np.all(np.diff(no_pair) <= 0.0)
    assert no_pair[-1] < no_pair[0]
    assert np.all((no_pair >= right) | (right < 0.03))
    assert np.array_equal(solution.covariance, solve(surfaces, make_rules(2.0, 0, 5), pt, tan_lambda).covariance)


def test_hits_of_drift_volumes_are_never_wrong():
    """The area argument does not hold for wires: they lose hits, but confuse none."""
    layers = make_layers(np.linspace(2.0, 80.0, 20), 1e-4, 100e-4, efficiency=0.95)
    drift = make_surfaces(layers, repeated=True)
    rules = make_rules(2.0, average_rapidity=0.45)
    assert solve(drift, rules, 1.0, dnch_deta=(1e4,)).efficiency == solve(drift, rules, 1.0).efficiency
    silicon = make_surfaces(layers)
    assert solve(silicon, rules, 1.0, dnch_deta=(1e4,)).efficiency < solve(silicon, rules, 1.0).efficiency


@pytest.mark.parametrize("expected_wrong", [0.05, 0.5, 3.0])
def test_the_right_hit_is_the_nearest_one_by_the_area_law(expected_wrong):
    """1 / (1 + 2 pi s_y s_z rho): the right hit is Gaussian about the prediction, others are uniform in the plane.

    Nearest in chi^2. 50,000 throws on a plane of 12 sigma; with p = 1/(1 + x) the count has sqrt(p (1 - p) / n).
    """
    generator = np.random.default_rng(4)
    n, s_y, s_z, half = 50_000, 3e-4, 8e-4, 6.0
    density = expected_wrong / (2.0 * math.pi * s_y * s_z)
    mean = density * (2.0 * half * s_y) * (2.0 * half * s_z)
    right = (generator.normal(size=(n, 2)) ** 2).sum(axis=1)
    numbers = generator.poisson(mean, n)
    wrong = (generator.uniform(-half, half, (numbers.sum(), 2)) ** 2).sum(axis=1)
    nearest = np.full(n, np.inf)
    np.minimum.at(nearest, np.repeat(np.arange(n), numbers), wrong)
    p = 1.0 / (1.0 + expected_wrong)
    assert np.mean(right < nearest) == pytest.approx(p, abs=4.5 * math.sqrt(p * (1.0 - p) / n))
