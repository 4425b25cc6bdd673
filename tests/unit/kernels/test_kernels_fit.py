"""The pieces of the information filter, each against plain matrix algebra."""

import math

import numpy as np
import pytest

from fastsim.kernels.fit import (
    add_hit,
    add_noise,
    change_q_over_pt,
    change_state,
    cross_inwards,
    cross_outwards,
    fit_inwards,
    predict,
    scatter_noise,
    set_seed,
)
from fastsim.kernels.helix import transport
from fastsim.kernels.walk import make_path, scatter, walk
from tests.oracles import (
    PION_MASS,
    forward_disks,
    linear_track,
    make_rules,
    of_silicon,
    relative_difference,
)

SIZES = np.array([1e4, 1e3, 1e5, 10.0, 1.0])  # of the information's square root: n, z, phi, tan_lambda, q/pt


def random_information(seed):
    factor = np.random.default_rng(seed).normal(size=(5, 5)) * SIZES[:, None]
    return factor @ factor.T


def compare(found, expected, tolerance=1e-9):
    scale = np.sqrt(np.abs(np.diag(expected)))
    assert np.max(np.abs(found - expected) / np.outer(scale, scale)) < tolerance


@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("n_views", [0, 1, 2])
def test_a_hit_adds_the_information_of_its_views(share, n_views):
    """H^T W H with H = views in the first two columns; a view without resolution (inf) is none."""
    views = np.array([[1.3, -0.2], [0.4, 0.9]])
    sigma = np.array([3e-4, 7e-4])
    sigma[n_views:] = math.inf
    h = np.zeros((2, 5))
    h[:, :2] = views
    before = random_information(1)
    expected = before + share * h.T @ np.diag([sigma[0] ** -2, sigma[1] ** -2]) @ h
    found = before.copy()
    add_hit(found, sigma, views, share)
    assert found == pytest.approx(expected, rel=1e-13)
    assert np.array_equal(found, found.T)


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_added_to_the_covariance(seed):
    """(I^-1 + v g g^T)^-1 by numpy's inverse."""
    information = random_information(seed)
    g = np.array([0.0, 0.0, 1.3, 0.4, -0.7])
    variance = 10.0 ** (seed - 8)
    expected = np.linalg.inv(np.linalg.inv(information) + variance * np.outer(g, g))
    found = information.copy()
    add_noise(found, g[2], g[3], g[4], variance)
    scale = np.sqrt(np.diag(information))
    assert np.max(np.abs(found - expected) / np.outer(scale, scale)) < 1e-9


def test_no_noise_changes_nothing():
    information = random_information(2)
    found = information.copy()
    add_noise(found, 1.0, 1.0, 1.0, 0.0)
    assert np.array_equal(found, information)


@pytest.mark.parametrize("tan_lambda", [0.0, 1.4, -3.0])
def test_scattering_spreads_direction_and_momentum_as_tracking_md_says(tan_lambda):
    """reference/tracking.md 1.2: var(phi) = th^2/cos^2, var(tgl) = th^2 (1 + tgl^2)^2, cov and var of q/pt with it."""
    q_over_pt, theta2 = -1.6, 2e-6
    cosh2 = 1.0 + tan_lambda**2
    noise = np.zeros((5, 5))
    noise[2, 2] = theta2 * cosh2
    noise[3, 3] = theta2 * cosh2**2
    noise[3, 4] = noise[4, 3] = theta2 * cosh2 * tan_lambda * q_over_pt
    noise[4, 4] = theta2 * (tan_lambda * q_over_pt) ** 2
    information = random_information(3)
    expected = np.linalg.inv(np.linalg.inv(information) + noise)
    found = information.copy()
    scatter_noise(found, tan_lambda, q_over_pt, theta2)
    compare(found, expected, 1e-8)


@pytest.mark.parametrize("s", [12.0, -7.0])
def test_change_of_state_is_a_congruence(s):
    """F^T I F with all elements of the transport's Jacobian."""
    information = random_information(9)
    jacobian = np.zeros((5, 5))
    transport(s, 0.02, -0.8, 2.0, jacobian)
    found = information.copy()
    change_state(found, jacobian, np.zeros((5, 5)))
    compare(found, jacobian.T @ information @ jacobian, 1e-12)
    assert np.array_equal(found, found.T)


def test_change_of_q_over_pt_is_a_congruence():
    information = random_information(4)
    row = np.array([0.02, 0.0, -0.3, 0.1, 1.07])
    loss = np.eye(5)
    loss[4] = row
    found = information.copy()
    change_q_over_pt(found, row)
    compare(found, loss.T @ information @ loss, 1e-12)
    same = information.copy()
    change_q_over_pt(same, np.array([0.0, 0.0, 0.0, 0.0, 1.0]))
    assert np.array_equal(same, information)


def test_crossing_inwards_undoes_loss_and_adds_both_kinds_of_noise():
    """Covariance before = kicks + L^-1 (covariance behind + straggling) L^-T: what happens outwards, in reverse."""
    tan_lambda, q_over_pt, theta2, jitter = -0.7, 1.9, 3e-6, 4e-5
    row = np.array([0.02, 0.0, -0.3, 0.1, 1.07])
    loss = np.eye(5)
    loss[4] = row
    back = np.linalg.inv(loss)
    cosh2 = 1.0 + tan_lambda**2
    dip, across = np.array([0, 0, 0, cosh2, q_over_pt * tan_lambda]), np.array([0, 0, math.sqrt(cosh2), 0, 0])
    behind = np.linalg.inv(random_information(5))
    spread = behind + jitter * np.diag([0.0, 0.0, 0.0, 0.0, 1.0])
    before = back @ spread @ back.T + theta2 * (np.outer(dip, dip) + np.outer(across, across))
    found = random_information(5)
    cross_inwards(found, tan_lambda, q_over_pt, theta2, row, jitter)
    compare(found, np.linalg.inv(before), 1e-8)


def test_crossing_outwards_is_the_inverse_without_noise():
    """And with noise it is the sum in the other order: L (covariance before + kicks) L^T + straggling."""
    tan_lambda, q_over_pt, theta2, jitter = 1.2, -0.8, 3e-6, 4e-5
    row, work = np.array([0.02, 0.0, -0.3, 0.1, 1.07]), np.zeros(5)
    information = random_information(6)
    found = information.copy()
    cross_outwards(found, tan_lambda, q_over_pt, 0.0, row, 0.0, work)
    cross_inwards(found, tan_lambda, q_over_pt, 0.0, row, 0.0)
    compare(found, information, 1e-12)

    loss = np.eye(5)
    loss[4] = row
    cosh2 = 1.0 + tan_lambda**2
    dip, across = np.array([0, 0, 0, cosh2, q_over_pt * tan_lambda]), np.array([0, 0, math.sqrt(cosh2), 0, 0])
    kicked = np.linalg.inv(information) + theta2 * (np.outer(dip, dip) + np.outer(across, across))
    behind = loss @ kicked @ loss.T + jitter * np.diag([0.0, 0.0, 0.0, 0.0, 1.0])
    found = information.copy()
    cross_outwards(found, tan_lambda, q_over_pt, theta2, row, jitter, work)
    compare(found, np.linalg.inv(behind), 1e-8)


def prepared(surfaces, rules, pt, tan_lambda):
    path = make_path(len(surfaces.position))
    n = walk(surfaces, rules, pt, tan_lambda, PION_MASS, 1.0, 0.0, path)
    scatter(surfaces, rules, n, tan_lambda, PION_MASS, 1.0, path)
    return path, n


@pytest.mark.parametrize("tan_lambda", [0.4, -6.0])
def test_fit_of_some_hits_equals_least_squares(tan_lambda):
    """With hits missing at either end and in between: material behind the last hit does nothing."""
    surfaces, rules = forward_disks(), make_rules(2.0)
    path, n = prepared(surfaces, rules, 0.7, tan_lambda)
    track = linear_track(surfaces, 2.0, 0.7, tan_lambda)
    measuring = np.flatnonzero(track.efficiency > 0.0)
    for missing in ([], [0], [-1], [0, 3, -1], [-1, -2, -3]):
        share = (track.efficiency > 0.0).astype(float)
        share[measuring[missing]] = 0.0
        information = np.full((5, 5), 7.0)
        fit_inwards(surfaces, path, n, tan_lambda, share, information, np.zeros((5, 5)))
        assert relative_difference(np.linalg.inv(information), track.covariance(share > 0.0)) < 1e-6


def test_fit_without_hits_knows_nothing():
    surfaces = of_silicon(forward_disks())
    path, n = prepared(surfaces, make_rules(2.0, energy_loss=1), 0.7, 0.4)
    information = np.full((5, 5), 7.0)
    fit_inwards(surfaces, path, n, 0.4, np.zeros(n), information, np.zeros((5, 5)))
    assert not information.any()


@pytest.mark.parametrize("seed", range(4))
def test_prediction_is_the_inverse(seed):
    """Views of I^-1, by numpy."""
    views = np.array([[1.2, 0.3], [-0.1, 0.8]])
    information = random_information(seed) * 10.0 ** (-2 * seed)
    covariance = np.linalg.inv(information)[:2, :2]
    variance = np.zeros(2)
    predict(information, views, variance)
    assert variance == pytest.approx(np.diag(views @ covariance @ views.T), rel=1e-6)


def test_prediction_without_hits_is_the_seed():
    """DelphesO2 (reference/delpheso2.md 2.2, step 4): 25 cm2, 25 cm2, 0.49, 0.49, (30.5 q/pt)^2."""
    information, variance = np.full((5, 5), 7.0), np.zeros(2)
    set_seed(information, -0.5)
    assert np.diag(np.linalg.inv(information)) == pytest.approx([25.0, 25.0, 0.49, 0.49, (30.5 * 0.5) ** 2], rel=1e-12)
    predict(information, np.array([[1.0, 0.0], [0.6, 0.8]]), variance)
    assert variance == pytest.approx([25.0, 25.0], rel=1e-12)
