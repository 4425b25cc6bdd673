"""5x5 algebra against numpy.linalg, and the parities against an explicit mirror."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsim.kernels.covariance import PARITY, cholesky_5, invert_5


def random_matrix(seed, decades, log10_condition):
    """Q diag Q^T with a given condition number, then scaled by units that span many decades."""
    generator = np.random.default_rng(seed)
    q, _ = np.linalg.qr(generator.normal(size=(5, 5)))
    correlation_like = q @ np.diag(10.0 ** np.linspace(0.0, -log10_condition, 5)) @ q.T
    scale = 10.0 ** generator.uniform(-0.5 * decades, 0.5 * decades, 5)
    matrix = correlation_like * np.outer(scale, scale)
    return 0.5 * (matrix + matrix.T), scale


@settings(derandomize=True, deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), decades=st.floats(0.0, 8.0), log10_condition=st.floats(0.0, 6.0))
def test_cholesky_equals_numpy_s(seed, decades, log10_condition):
    matrix, scale = random_matrix(seed, decades, log10_condition)
    lower = np.zeros((5, 5))
    assert cholesky_5(matrix, lower)
    assert np.max(np.abs(lower @ lower.T - matrix) / np.outer(scale, scale)) < 1e-14
    expected = np.linalg.cholesky(matrix)
    assert np.max(np.abs(lower - expected) / scale[:, None]) < 1e-14 * 10.0**log10_condition
    assert np.array_equal(lower, np.tril(lower))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), decades=st.floats(0.0, 12.0), log10_condition=st.floats(0.0, 8.0))
def test_inverse_equals_numpy_s_whatever_the_units(seed, decades, log10_condition):
    """Backward stable: error = condition number x rounding, however many decades the units span."""
    matrix, scale = random_matrix(seed, decades, log10_condition)
    inverse, work = np.zeros((5, 5)), np.zeros((2, 5, 5))
    assert invert_5(matrix, inverse, work)
    assert np.array_equal(inverse, inverse.T)
    expected = np.linalg.inv(matrix / np.outer(scale, scale))
    found = inverse * np.outer(scale, scale)
    assert np.max(np.abs(found - expected)) / np.max(np.abs(expected)) < 1e-14 * 10.0**log10_condition


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
@pytest.mark.parametrize("k", range(5))
def test_not_positive_definite_is_refused(bad, k):
    """A zero, negative or undefined variance at any place."""
    matrix = np.eye(5)
    matrix[k, k] = bad
    assert not cholesky_5(matrix, np.zeros((5, 5)))
    assert not invert_5(matrix, np.zeros((5, 5)), np.zeros((2, 5, 5)))


def test_a_correlation_beyond_one_is_refused():
    matrix = np.eye(5)
    matrix[4, 1] = matrix[1, 4] = 1.0000001
    assert not cholesky_5(matrix, np.zeros((5, 5)))
    assert not invert_5(matrix, np.zeros((5, 5)), np.zeros((2, 5, 5)))


def test_parity_is_the_mirror_image_of_a_track():
    """y -> -y: (x, y) and (px, py) of a track with (dca_xy, dca_z, phi, tan_lambda, q/pt) mirrored, point by point.

    Straight track: dca = -x sin(phi) + y cos(phi) changes sign with y and phi; z and tan_lambda stay; the sense of
    rotation turns round, so q/pt changes sign. Hence corr_ij of the opposite charge = sign_i sign_j corr_ij.
    """
    x, y, px, py = 1.0, 2.0, 0.6, 0.3
    phi, phi_mirrored = np.arctan2(py, px), np.arctan2(-py, px)
    dca = -x * np.sin(phi) + y * np.cos(phi)
    dca_mirrored = -x * np.sin(phi_mirrored) - y * np.cos(phi_mirrored)
    turning = np.sign(np.cross([px, py, 0.0], [-py, px, 0.0])[2])  # an acceleration to the left ...
    turning_mirrored = np.sign(np.cross([px, -py, 0.0], [-py, -px, 0.0])[2])  # ... is one to the right in the mirror
    signs = np.array([dca_mirrored / dca, 1.0, phi_mirrored / phi, 1.0, turning_mirrored / turning])
    expected = [signs[i] * signs[j] for i in range(5) for j in range(i)]
    assert pytest.approx(expected) == PARITY
