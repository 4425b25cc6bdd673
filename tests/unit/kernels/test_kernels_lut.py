"""The table maker's cells: chances by brute force, windows and densities by hand, and what is stored."""

import itertools
import math

import numpy as np
import pytest

from fastsim.kernels.covariance import cholesky_5
from fastsim.luts.kernels import (
    EFFICIENCY_STEP,
    LN_SIGMA_STEP,
    RHO_STEP,
    directions,
    fill_table,
    hit_density_1,
    make_scratch,
    probability_of_hits,
    probability_of_wrong_pair,
    round_1,
    store_cell,
    window_1,
)
from tests.oracles import (
    K_CURVATURE,
    MUON_MASS,
    alice3_v2_layers,
    forward_disks,
    make_layers,
    make_rules,
    make_surfaces,
    merge_layers,
    passive_layers,
    solve,
)


def seven_layers(efficiency):
    """Work space with seven crossings of surfaces of these efficiencies and some danger of wrong hits."""
    surfaces = make_surfaces(make_layers(np.arange(1.0, 8.0), efficiency=efficiency))
    scratch = make_scratch(7, 7, 1)
    scratch.path.surface[:] = np.arange(7)
    scratch.right[:] = np.where(efficiency > 0.0, [1e-3, 0.0, 2e-3, 4e-4, 0.0, 3e-3, 1e-3], 0.0)
    return surfaces, scratch


@pytest.mark.parametrize("min_hits", [1, 3, 5, 7])
@pytest.mark.parametrize("dnch_deta", [0.0, 500.0])
@pytest.mark.parametrize(
    "efficiency",
    [[0.9, 0.0, 0.5, 1.0, 0.98, 0.3, 0.7], [1.0, 0.0, 1.0, 1.0, 1.0, 0.9, 0.8], [1.0] * 7],
    ids=["lossy", "four certain", "all certain"],
)
def test_probability_of_hits_is_the_sum_over_all_patterns(min_hits, dnch_deta, efficiency):
    """Brute force: each measuring layer lost, or found and right."""
    efficiency = np.array(efficiency)
    surfaces, scratch = seven_layers(efficiency)
    scratch = scratch._replace(found=np.zeros(min_hits))
    right = efficiency / (1.0 + dnch_deta * scratch.right)
    expected = sum(
        np.prod(np.where(pattern, right, 1.0 - efficiency))
        for pattern in itertools.product([False, True], repeat=7)
        if sum(pattern) >= min_hits and not (pattern[1] and efficiency[1] == 0.0)
    )
    assert probability_of_hits(surfaces, 7, min_hits, dnch_deta, scratch) == pytest.approx(
        expected, rel=1e-12, abs=1e-15
    )


def test_probability_of_a_wrong_pair_is_a_sum_over_neighbours():
    """Passive surfaces stand between none; never above 1."""
    surfaces, scratch = seven_layers(np.array([0.9, 0.0, 0.5, 1.0, 0.98, 0.3, 0.7]))
    for dnch_deta in (0.0, 50.0, 1e7):
        x = scratch.right[[0, 2, 3, 4, 5, 6]] * dnch_deta
        wrong = x / (1.0 + x)
        expected = min(float(np.sum(wrong[1:] * wrong[:-1])), 1.0)
        assert probability_of_wrong_pair(surfaces, 7, dnch_deta, scratch) == pytest.approx(expected, rel=1e-13)


def test_window_joins_both_directions_and_the_hit():
    """s^2 = in out / (in + out) + resolution^2 in each direction (reference/delpheso2.md 2.2, steps 6 and 7)."""
    inwards, outwards, sigma = np.array([4e-6, 1e-2]), np.array([1e-6, 3e-2]), np.array([5e-4, 2e-3])
    expected = math.sqrt(0.8e-6 + 25e-8) * math.sqrt(0.75e-2 + 4e-6)
    assert window_1(inwards, outwards, sigma, np.array([0.0, 0.5 * math.pi])) == pytest.approx(expected, rel=1e-13)
    wire = np.array([5e-4, math.inf])
    assert window_1(inwards, outwards, wire, np.zeros(2)) == pytest.approx(
        math.sqrt(0.8e-6 + 25e-8) * math.sqrt(0.75e-2), rel=1e-13
    )


@pytest.mark.parametrize("is_disk", [False, True])
def test_hit_density_is_that_of_straight_tracks(is_disk):
    """dN/deta = 1: a ring between two radii (a cylinder's between two z) holds as many tracks as it has eta."""
    r, z, step = 30.0, -80.0, 1e-4
    if is_disk:
        eta = [math.asinh(abs(z) / (r + sign * step)) for sign in (-1.0, 1.0)]
        expected = (eta[0] - eta[1]) / (2.0 * math.pi * r * 2.0 * step)
        assert hit_density_1(True, r, z, 0.45) == pytest.approx(expected, rel=1e-6)
    else:  # at the average rapidity, wherever the track goes (DetectorK)
        z_there = r * math.sinh(0.45)
        eta = [math.asinh((z_there + sign * step) / r) for sign in (-1.0, 1.0)]
        expected = (eta[1] - eta[0]) / (2.0 * math.pi * r * 2.0 * step)
        assert hit_density_1(False, r, z, 0.45) == pytest.approx(expected, rel=1e-6)


def test_directions_are_r_phi_and_z_or_r():
    """At incidence 0 a shift n is one in r-phi; a shift z is one in z, and on a disk one in r by -z / tan(lambda)."""
    views = np.zeros((2, 2))
    directions(False, 0.0, 0.5, views)
    assert np.abs(views) == pytest.approx(np.eye(2), abs=1e-15)
    directions(True, 0.0, 0.5, views)
    assert np.abs(views) == pytest.approx(np.diag([1.0, 2.0]), abs=1e-15)


def test_a_track_without_enough_hits_or_reach_is_no_track():
    """Fewer crossed layers than hits needed; radius to be reached beyond 2R sin; both mean efficiency 0."""
    layers = merge_layers(make_layers([2.0, 4.0, 6.0]), passive_layers([1.0, 5.0], 0.01))
    assert solve(layers, make_rules(min_hits=3), 1.0).efficiency == 1.0
    assert solve(layers, make_rules(min_hits=4), 1.0).efficiency == 0.0
    pt_limit = 0.5 * 100.0 * K_CURVATURE * 2.0 / 0.85
    rules = make_rules(2.0, max_sin_incidence=0.85, min_radius=100.0)
    assert solve(layers, rules, pt_limit * 1.001).efficiency == 1.0
    assert solve(layers, rules, pt_limit * 0.999).efficiency == 0.0


@pytest.mark.parametrize("efficiency", [0.98, 0.5])
def test_too_few_layers_are_no_track_whatever_their_efficiency(efficiency):
    """Three lossy layers and four hits: 0, not the rounding error of 1 - 1."""
    layers = make_layers([2.0, 4.0, 6.0], efficiency=efficiency)
    assert solve(layers, make_rules(min_hits=4), 1.0).efficiencies.tolist() == [[0.0], [0.0]]


def test_two_hits_do_not_make_a_track():
    """Five parameters from four numbers: singular, never a covariance."""
    solution = solve(make_layers([2.0, 4.0]), make_rules(min_hits=2), 1.0)
    assert solution.efficiency == 0.0
    assert not solution.covariance.any()


def test_rounding():
    assert [round_1(x, 0.25) for x in (0.1, 0.13, -0.1, -0.13, 1.0)] == [0.0, 0.25, 0.0, -0.25, 1.0]


def test_store_cell_keeps_sigmas_and_correlations():
    """Cell = ln sigma, lower triangle of the correlations row by row, within half a step of what was computed."""
    covariance = solve(alice3_v2_layers(), make_rules(), 0.5, 0.8, MUON_MASS).covariance
    cell = np.zeros(15, dtype=np.float32)
    assert store_cell(covariance, cell, np.zeros((2, 5, 5)))
    sigma = np.sqrt(np.diag(covariance))
    assert cell[:5] == pytest.approx(np.log(sigma), abs=0.5001 * LN_SIGMA_STEP)
    rho = [covariance[i, j] / sigma[i] / sigma[j] for i in range(5) for j in range(i)]
    assert cell[5:] == pytest.approx(np.array(rho), abs=0.5001 * RHO_STEP)
    steps = np.concatenate([cell[:5] / LN_SIGMA_STEP, cell[5:] / RHO_STEP])
    assert np.array_equal(steps, np.round(steps))


@pytest.mark.parametrize("missing", [1e-10, 1e-5])
def test_store_cell_draws_in_correlations_that_rounding_makes_one(missing):
    """A correlation of 1 - 1e-10 is rounded to 1: the stored matrix must have a Cholesky factor all the same."""
    covariance = np.eye(5)
    covariance[1, 0] = covariance[0, 1] = 1.0 - missing
    assert cholesky_5(covariance, np.zeros((5, 5)))
    cell = np.zeros(15, dtype=np.float32)
    assert store_cell(covariance, cell, np.zeros((2, 5, 5)))
    assert 1.0 - 4e-4 - RHO_STEP < cell[5] < 1.0
    assert not cell[6:].any()


def test_store_cell_refuses_what_is_no_covariance():
    covariance = np.eye(5)
    covariance[1, 0] = covariance[0, 1] = 1.01
    assert not store_cell(covariance, np.zeros(15, dtype=np.float32), np.zeros((2, 5, 5)))


def test_fill_table_holds_solve_track_in_every_cell():
    """Axes: production radius, eta, pt; efficiencies (kind, dN/deta, ...). No track: NaN, efficiency 0, not counted as bad."""
    surfaces, rules = forward_disks(), make_rules(2.0, 3, 5, 0.85, 20.0, average_rapidity=0.45)
    surfaces = surfaces._replace(efficiency=np.where(surfaces.efficiency > 0.0, 0.99, 0.0))
    r_births, tan_lambda, pt = np.array([0.0, 3.0, 50.0]), np.array([-7.0, 0.4]), np.array([0.05, 0.2, 3.0])
    dnch_deta = np.array([1.0, 200.0])
    covariance = np.zeros((3, 2, 3, 15), dtype=np.float32)
    efficiency = np.full((2, 2, 3, 2, 3), 7.0, dtype=np.float32)
    scratch = make_scratch(len(surfaces.position), 5, 2)
    n_bad = fill_table(
        surfaces, rules, r_births, tan_lambda, pt, dnch_deta, MUON_MASS, 1.0, scratch, covariance, efficiency
    )
    assert n_bad == 0
    n_tracks = 0
    for h, i, j in itertools.product(range(3), range(2), range(3)):
        expected = solve(surfaces, rules, pt[j], tan_lambda[i], MUON_MASS, r=r_births[h], dnch_deta=dnch_deta)
        cell = covariance[h, i, j]
        if expected.efficiency == 0.0:
            assert np.isnan(cell).all()
            assert not efficiency[:, :, h, i, j].any()
            continue
        n_tracks += 1
        assert np.exp(cell[:5]) == pytest.approx(np.sqrt(np.diag(expected.covariance)), rel=0.51 * LN_SIGMA_STEP)
        assert efficiency[:, :, h, i, j] == pytest.approx(expected.efficiencies, abs=0.51 * EFFICIENCY_STEP)
    assert np.isnan(covariance[:, :, 0]).all()  # 50 MeV does not reach 20 cm
    assert np.isnan(covariance[2, 1]).all()  # two layers are left outside 50 cm
    assert n_tracks == 8
