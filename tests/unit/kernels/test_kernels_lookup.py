"""Interpolation in a table: exact at bin centres, continuous, bilinear, and always a correlation matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from fastsim.kernels.lookup import N_QUANTITIES, LutTable, lookup_1

N_ETA, N_PT = 6, 5
ETA_MIN, ETA_WIDTH, LOG_PT_MIN, LOG_PT_WIDTH = -1.5, 0.5, -3.0, 0.7
ETA = ETA_MIN + (np.arange(N_ETA) + 0.5) * ETA_WIDTH
LOG_PT = LOG_PT_MIN + (np.arange(N_PT) + 0.5) * LOG_PT_WIDTH
PAIRS = [(i, j) for i in range(5) for j in range(i)]


def random_correlations(generator, shape, strength=1.0):
    """Positive definite correlation matrices, some close to singular, packed without diagonal."""
    factor = generator.normal(size=(*shape, 5, 5)) * (1.0 + strength * np.arange(5))
    covariance = factor @ np.swapaxes(factor, -1, -2) + 1e-3 * np.eye(5)
    sigma = np.sqrt(np.einsum("...ii->...i", covariance))
    correlation = covariance / sigma[..., :, None] / sigma[..., None, :]
    return np.stack([correlation[..., i, j] for i, j in PAIRS], axis=-1)


def random_values(seed, n_species=2, n_eta=N_ETA, n_pt=N_PT):
    generator = np.random.default_rng(seed)
    shape = (n_species, n_eta, n_pt)
    values = np.empty((*shape, N_QUANTITIES), dtype=np.float32)
    values[..., 0] = generator.uniform(0.1, 1.0, shape)
    values[..., 1:6] = generator.normal(-5.0, 2.0, (*shape, 5))
    values[..., 6:] = random_correlations(generator, shape)
    return values


def table_of(values):
    return LutTable(values, ETA_MIN, ETA_WIDTH, LOG_PT_MIN, LOG_PT_WIDTH)


def looked_up(table, species, eta, log_pt):
    cell = np.full(N_QUANTITIES, 99.0)
    return bool(lookup_1(table, species, float(eta), float(log_pt), cell)), cell


def test_bin_centres_are_reproduced():
    values = random_values(1)
    table = table_of(values)
    for species in range(2):
        for i in range(N_ETA):
            for j in range(N_PT):
                found, cell = looked_up(table, species, ETA[i], LOG_PT[j])
                assert found
                assert cell == pytest.approx(values[species, i, j], rel=1e-6, abs=1e-6)


def test_interpolation_is_bilinear_and_constant_outside_the_centres():
    """scipy's RegularGridInterpolator at random points, clamped to the outermost centres.

    In double precision, with and without the JIT: only the table is float32 (numpy would multiply float32 by a Python
    float in float32, which costs 4e-8 of ln sigma and makes the two differ).
    """
    values = random_values(2)
    table = table_of(values)
    reference = RegularGridInterpolator((ETA, LOG_PT), values[1].astype(np.float64))
    generator = np.random.default_rng(3)
    for _ in range(200):
        eta = generator.uniform(ETA[0] - 2.0, ETA[-1] + 2.0)
        log_pt = generator.uniform(LOG_PT[0] - 2.0, LOG_PT[-1] + 2.0)
        found, cell = looked_up(table, 1, eta, log_pt)
        assert found
        expected = reference([[np.clip(eta, ETA[0], ETA[-1]), np.clip(log_pt, LOG_PT[0], LOG_PT[-1])]])[0]
        assert cell == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_no_step_at_bin_edges_and_centres():
    """The value at x - h and x + h differs by no more than slope x 2h, at every centre and edge of both axes."""
    table = table_of(random_values(4))
    h = 1e-7
    steepest = 2.0 * np.abs(table.values).max() / min(ETA_WIDTH, LOG_PT_WIDTH)
    for eta in np.arange(ETA_MIN, ETA[-1] + ETA_WIDTH, 0.5 * ETA_WIDTH):
        below, above = looked_up(table, 0, eta - h, -1.77)[1], looked_up(table, 0, eta + h, -1.77)[1]
        assert np.max(np.abs(above - below)) <= steepest * 2.0 * h
    for log_pt in np.arange(LOG_PT_MIN, LOG_PT[-1] + LOG_PT_WIDTH, 0.5 * LOG_PT_WIDTH):
        below, above = looked_up(table, 0, 0.31, log_pt - h)[1], looked_up(table, 0, 0.31, log_pt + h)[1]
        assert np.max(np.abs(above - below)) <= steepest * 2.0 * h


def test_a_corner_without_a_solution_is_efficiency_zero_and_leaves_the_covariance_to_the_others():
    values = random_values(5)
    values[0, 2, 1, 0] = 0.0
    values[0, 2, 1, 1:] = np.nan
    f_eta, f_pt = 0.3, 0.6
    found, cell = looked_up(table_of(values), 0, ETA[2] + f_eta * ETA_WIDTH, LOG_PT[1] + f_pt * LOG_PT_WIDTH)
    assert found
    weights = {(3, 1): f_eta * (1 - f_pt), (2, 2): (1 - f_eta) * f_pt, (3, 2): f_eta * f_pt}
    corners = {k: values[0, k[0], k[1]].astype(np.float64) for k in weights}
    assert cell[0] == pytest.approx(sum(w * corners[k][0] for k, w in weights.items()), rel=1e-6)
    rest = sum(w * corners[k][1:] for k, w in weights.items()) / sum(weights.values())
    assert cell[1:] == pytest.approx(rest, rel=1e-5, abs=1e-6)


def test_no_valid_corner_means_no_track():
    values = random_values(6)
    values[0, 1:3, 1:3, 0] = 0.0
    values[0, 1:3, 1:3, 1:] = np.nan
    found, cell = looked_up(table_of(values), 0, ETA[1] + 0.2, LOG_PT[1] + 0.2)
    assert not found
    assert cell[0] == 0.0


def test_exactly_on_an_invalid_centre_means_no_track():
    """No weight is left for the valid neighbours (and NaN x 0 must not come in)."""
    values = random_values(7)
    values[0, 0, 0, 0] = 0.0
    values[0, 0, 0, 1:] = np.nan
    assert not looked_up(table_of(values), 0, ETA[0] - 1.0, LOG_PT[0] - 1.0)[0]
    found, cell = looked_up(table_of(values), 0, ETA[1], LOG_PT[0] - 1.0)
    assert found
    assert np.isfinite(cell).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, N_PT), (N_ETA, 1)])
def test_axes_with_one_bin(shape):
    """One bin is a constant along its axis."""
    values = random_values(8, 1, *shape)
    found, cell = looked_up(table_of(values), 0, ETA[0], LOG_PT[0])
    assert found
    assert cell == pytest.approx(values[0, 0, 0], rel=1e-6, abs=1e-6)
    far = looked_up(table_of(values), 0, 50.0, 50.0)[1]
    assert far == pytest.approx(values[0, -1, -1], rel=1e-6, abs=1e-6)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), f_eta=st.floats(0.0, 1.0), f_pt=st.floats(0.0, 1.0), hole=st.integers(0, 4))
def test_the_result_is_a_correlation_matrix(seed, f_eta, f_pt, hole):
    """A mean of positive definite matrices with unit diagonal is one; also with a corner missing."""
    values = random_values(seed, 1, 2, 2)
    if hole < 4:
        values[0, hole // 2, hole % 2, 0] = 0.0
        values[0, hole // 2, hole % 2, 1:] = np.nan
    found, cell = looked_up(table_of(values), 0, ETA[0] + f_eta * ETA_WIDTH, LOG_PT[0] + f_pt * LOG_PT_WIDTH)
    if not found:
        return
    correlation = np.eye(5)
    for k, (i, j) in enumerate(PAIRS):
        correlation[i, j] = correlation[j, i] = cell[6 + k]
    corners = []
    for row in values[0].reshape(4, -1):
        if row[0] > 0.0:
            matrix = np.eye(5)
            for k, (i, j) in enumerate(PAIRS):
                matrix[i, j] = matrix[j, i] = row[6 + k]
            corners.append(np.linalg.eigvalsh(matrix)[0])
    assert np.linalg.eigvalsh(correlation)[0] >= min(corners) - 1e-12
    assert min(corners) > 0.0
