"""The pieces of the table maker's track fit, each against plain matrix algebra or brute force."""

import itertools
import math

import numpy as np
import pytest

from fastsim.kernels.covariance import cholesky_5
from fastsim.luts.kernels import (
    add_measurement,
    add_noise,
    crossings,
    fill_table,
    make_scratch,
    move_inwards,
    prepare,
    probability_of_hits,
    store_cell,
)
from tests.oracles import (
    K_CURVATURE,
    MUON_MASS,
    PION_MASS,
    alice3_v2_layers,
    arc_to_cylinder,
    helix_position,
    highland,
    make_layers,
    make_rules,
    merge_layers,
    passive_layers,
    solve,
)


def random_information(seed):
    factor = np.random.default_rng(seed).normal(size=(5, 5)) * np.array([1e4, 1e3, 1e5, 10.0, 1.0])[:, None]
    return factor @ factor.T


def crossed(layers, rules, c, tan_lambda):
    index, arc = np.zeros(len(layers.r), dtype=np.int64), np.zeros(len(layers.r))
    n = crossings(layers, rules, float(c), float(tan_lambda), index, arc)
    return index[:n].tolist(), arc[:n]


def test_crossings_come_in_the_order_of_radius_at_the_arc_of_the_helix():
    """Arcs grow with radius, and an independent helix is on the cylinder there."""
    layers, c = alice3_v2_layers(), -0.004
    index, arc = crossed(layers, make_rules(), c, 0.3)
    assert index == list(range(len(layers.r)))
    assert np.all(np.diff(arc) > 0.0)
    x, y, _ = helix_position((0.0, 0.0, 0.0, 0.0, 0.3, c), arc)
    assert np.hypot(x, y) == pytest.approx(layers.r, rel=1e-12)


def test_crossings_end_where_the_track_runs_too_flat():
    """sin(incidence) = r / 2R (reference/tracking.md 1.1): with R = 50 cm and 0.85 the reach is 85 cm."""
    layers = make_layers([10.0, 84.9, 85.1, 99.0])
    assert crossed(layers, make_rules(max_sin_incidence=0.85), 1.0 / 50.0, 0.0)[0] == [0, 1]
    assert crossed(layers, make_rules(max_sin_incidence=0.85), -1.0 / 50.0, 0.0)[0] == [0, 1]
    assert crossed(layers, make_rules(max_sin_incidence=0.995), 1.0 / 50.0, 0.0)[0] == [0, 1, 2, 3]


def test_crossings_stay_within_the_length_of_each_layer():
    """z = s tan(lambda); a short inner layer does not hide a long outer one. Same for both signs."""
    layers = make_layers([10.0, 20.0, 30.0], half_length=np.array([5.0, 30.0, 30.0]))
    for tan_lambda in (0.9, -0.9):
        assert crossed(layers, make_rules(), 1e-9, tan_lambda)[0] == [1, 2]
    assert crossed(layers, make_rules(), 1e-9, 1.2)[0] == [1]
    assert crossed(layers, make_rules(), 1.0 / 40.0, 0.95)[0] == [1, 2]  # s = 80 asin(30/80) = 30.8 cm
    assert crossed(layers, make_rules(), 1.0 / 40.0, 0.98)[0] == [1]  # z = 30.2 cm at 30 cm


@pytest.mark.parametrize("sin_incidence", [0.0, 0.3, -0.3, 0.9])
def test_measurement_is_the_information_of_a_hit_on_a_cylinder(sin_incidence):
    """Move an exact helix sideways by n and along z by dz, and see where it now crosses the cylinder.

    H = d(r phi, z)/d(n, dz) by central differences; the information is H^T W H.
    """
    r, tan_lambda, sigma_rphi, sigma_z = 40.0, 0.8, 5e-4, 20e-4
    c = 2.0 * sin_incidence / r
    arc = r if c == 0.0 else 2.0 * math.asin(0.5 * r * c) / c
    x0, y0, z0 = helix_position((0.0, 0.0, 0.0, 0.0, tan_lambda, c), arc)
    phi = c * arc
    h = np.zeros((2, 5))
    step = 1e-4
    for k in range(2):
        crossing = []
        for sign in (1, -1):
            n, dz = (sign * step, 0.0) if k == 0 else (0.0, sign * step)
            start = (x0 - n * math.sin(phi), y0 + n * math.cos(phi), z0 + dz, phi, tan_lambda, c)
            x, y, z = helix_position(start, arc_to_cylinder(start, r, 0.0))
            crossing.append((r * math.atan2(y, x), z))
        h[:, k] = (np.array(crossing[0]) - np.array(crossing[1])) / (2.0 * step)
    expected = h.T @ np.diag([sigma_rphi**-2, sigma_z**-2]) @ h
    information = np.zeros((5, 5))
    add_measurement(information, sigma_rphi, sigma_z, sin_incidence, tan_lambda)
    assert information == pytest.approx(expected, rel=1e-6, abs=1e-6 * expected.max())


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_added_to_the_covariance(seed):
    """(I^-1 + v g g^T)^-1 by numpy's inverse."""
    information = random_information(seed)
    g = np.array([0.0, 0.0, 1.3, 0.4, -0.7])
    variance = 10.0 ** (seed - 8)
    scale = np.sqrt(np.diag(information))
    expected = np.linalg.inv(np.linalg.inv(information) + variance * np.outer(g, g))
    found = information.copy()
    add_noise(found, g[2], g[3], g[4], variance)
    assert np.max(np.abs(found - expected) / np.outer(scale, scale)) < 1e-9


def test_move_inwards_is_a_congruence():
    information = random_information(9)
    jacobian = np.random.default_rng(1).normal(size=(5, 5))
    expected = jacobian.T @ information @ jacobian
    found = information.copy()
    move_inwards(found, jacobian, np.zeros((5, 5)))
    assert found == pytest.approx(expected, rel=1e-12)
    assert np.array_equal(found, found.T)


@pytest.mark.parametrize("min_hits", [1, 3, 5])
def test_probability_of_hits_is_the_sum_over_all_patterns(min_hits):
    """Brute force over 2^7 patterns, with a passive, a perfect and five imperfect layers."""
    efficiency = np.array([0.9, 0.0, 0.5, 1.0, 0.98, 0.3, 0.7])
    layers = make_layers(np.arange(1.0, 8.0), efficiency=efficiency)
    scratch = make_scratch(7, min_hits)
    scratch.crossed[:] = np.arange(7)
    expected = sum(
        np.prod(np.where(pattern, efficiency, 1.0 - efficiency))
        for pattern in itertools.product([False, True], repeat=7)
        if sum(pattern) >= min_hits
    )
    assert probability_of_hits(layers, 7, min_hits, scratch) == pytest.approx(expected, rel=1e-13)


def test_prepare_uses_the_slant_thickness():
    """t / (cos(lambda) cos(beta)), sin(beta) = r/2R (reference/tracking.md 0), momentum p = pt cosh(eta)."""
    layers = make_layers([10.0, 60.0], 0.01)
    pt, tan_lambda, b_z = 0.3, 1.1, 2.0
    c = -K_CURVATURE * b_z / pt
    scratch = make_scratch(2, 1)
    p = pt * math.hypot(1.0, tan_lambda)
    assert prepare(layers, make_rules(b_z, 0, 1), c, tan_lambda, p, p / math.hypot(p, PION_MASS), 1.0, scratch) == 2
    for k, r in enumerate([10.0, 60.0]):
        incidence = math.asin(0.5 * r * abs(c))
        slant = 0.01 * math.hypot(1.0, tan_lambda) / math.cos(incidence)
        assert math.sqrt(scratch.theta2[k]) == pytest.approx(highland(slant, p, PION_MASS), rel=1e-13)


def test_a_track_without_enough_hits_or_reach_is_no_track():
    """Fewer crossed layers than hits needed; radius to be reached beyond 2R sin; both mean efficiency 0."""
    layers = merge_layers(make_layers([2.0, 4.0, 6.0]), passive_layers([1.0, 5.0], 0.01))
    assert solve(layers, make_rules(min_hits=3), 1.0).efficiency == 1.0
    assert solve(layers, make_rules(min_hits=4), 1.0).efficiency == 0.0
    pt_limit = 0.5 * 100.0 * K_CURVATURE * 2.0 / 0.85
    rules = make_rules(2.0, max_sin_incidence=0.85, min_radius=100.0)
    assert solve(layers, rules, pt_limit * 1.001).efficiency == 1.0
    assert solve(layers, rules, pt_limit * 0.999).efficiency == 0.0


def test_two_hits_do_not_make_a_track():
    """Five parameters from four numbers: singular, never a covariance."""
    solution = solve(make_layers([2.0, 4.0]), make_rules(min_hits=2), 1.0)
    assert solution.efficiency == 0.0
    assert not solution.covariance.any()


def test_store_cell_keeps_sigmas_and_correlations():
    """Cell = efficiency, ln sigma, lower triangle of the correlations row by row; stored in single precision."""
    covariance = solve(alice3_v2_layers(), make_rules(), 0.5, 0.8, MUON_MASS).covariance
    cell = np.zeros(16, dtype=np.float32)
    assert store_cell(covariance, 0.75, cell, np.zeros((2, 5, 5)))
    sigma = np.sqrt(np.diag(covariance))
    expected = [0.75, *np.log(sigma), *(covariance[i, j] / sigma[i] / sigma[j] for i in range(5) for j in range(i))]
    assert cell == pytest.approx(np.array(expected), rel=1e-6, abs=1e-7)


def test_store_cell_refuses_what_single_precision_makes_singular():
    """A correlation of 1 - 1e-10 becomes 1 in float32: the stored matrix would have no Cholesky factor."""
    covariance = np.eye(5)
    covariance[1, 0] = covariance[0, 1] = 1.0 - 1e-10
    assert cholesky_5(covariance, np.zeros((5, 5)))
    assert not store_cell(covariance, 1.0, np.zeros(16, dtype=np.float32), np.zeros((2, 5, 5)))


def test_fill_table_holds_solve_track_in_every_cell():
    """Rows are eta, columns pt; a cell without a track has efficiency 0 and NaN, and does not count as bad."""
    layers, rules = alice3_v2_layers(), make_rules(2.0, 3, 7, 0.85, 20.0)
    pt, tan_lambda = np.array([0.05, 0.2, 3.0]), np.array([-1.0, 0.4])
    table = np.zeros((2, 3, 16), dtype=np.float32)
    assert fill_table(layers, rules, pt, tan_lambda, MUON_MASS, 1.0, make_scratch(len(layers.r), 7), table) == 0
    assert np.all(table[:, 0, 0] == 0.0)
    assert np.isnan(table[:, 0, 1:]).all()
    for i in range(2):
        for j in (1, 2):
            expected = solve(layers, rules, pt[j], tan_lambda[i], MUON_MASS).covariance
            assert np.exp(table[i, j, 1:6]) == pytest.approx(np.sqrt(np.diag(expected)), rel=1e-5)
