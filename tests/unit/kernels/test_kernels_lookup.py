"""Interpolation in a table: exact at bin centres, continuous, bilinear, mirrored, and always a correlation matrix."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from fastsim.kernels.lookup import N_QUANTITIES, LutTable, lookup_1, nearest_1, radius_bin_1

N_DNCH, N_R, N_ETA, N_PT = 4, 3, 6, 5
ETA_MIN, ETA_WIDTH, LOG_PT_MIN, LOG_PT_WIDTH, LOG_DNCH_MIN, LOG_DNCH_WIDTH = -1.5, 0.5, -3.0, 0.7, 1.0, 1.3
ETA = ETA_MIN + (np.arange(N_ETA) + 0.5) * ETA_WIDTH
HALF_ETA = (np.arange(N_ETA) + 0.5) * ETA_WIDTH  # of a mirrored table
LOG_PT = LOG_PT_MIN + (np.arange(N_PT) + 0.5) * LOG_PT_WIDTH
LOG_DNCH = LOG_DNCH_MIN + (np.arange(N_DNCH) + 0.5) * LOG_DNCH_WIDTH
R_EDGES = np.array([0.0, 0.5, 3.0, 20.0])
PAIRS = [(i, j) for i in range(5) for j in range(i)]
# z -> -z turns dca_z and tan_lambda round and nothing else.
Z_SIGN = np.array([np.outer(s, s)[i, j] for s in [[1.0, -1.0, 1.0, -1.0, 1.0]] for i, j in PAIRS])


def random_correlations(generator, shape, strength=1.0):
    """Positive definite correlation matrices, some close to singular, packed without diagonal."""
    factor = generator.normal(size=(*shape, 5, 5)) * (1.0 + strength * np.arange(5))
    covariance = factor @ np.swapaxes(factor, -1, -2) + 1e-3 * np.eye(5)
    sigma = np.sqrt(np.einsum("...ii->...i", covariance))
    correlation = covariance / sigma[..., :, None] / sigma[..., None, :]
    return np.stack([correlation[..., i, j] for i, j in PAIRS], axis=-1)


def random_table(seed, *, n_rows=2, n_dnch=N_DNCH, n_r=N_R, n_eta=N_ETA, n_pt=N_PT, mirrored=False, nearest=False):
    """Tables of the species 0 to n_rows - 1; species n_rows has none."""
    generator = np.random.default_rng(seed)
    shape = (n_rows, n_r, n_eta, n_pt)
    covariance = np.empty((*shape, 15), dtype=np.float32)
    covariance[..., :5] = generator.normal(-5.0, 2.0, (*shape, 5))
    covariance[..., 5:] = random_correlations(generator, shape)
    efficiency = generator.uniform(0.1, 1.0, (*shape, n_dnch)).astype(np.float32)
    row = np.array([*range(n_rows), -1], dtype=np.int8)
    return LutTable(
        row, covariance, efficiency, R_EDGES[: n_r + 1].copy(), 0.0 if mirrored else ETA_MIN, ETA_WIDTH, LOG_PT_MIN, LOG_PT_WIDTH,
        LOG_DNCH_MIN, LOG_DNCH_WIDTH, mirrored, nearest,
    )  # fmt: skip


def looked_up(table, species, eta, log_pt, log_dnch=LOG_DNCH[0], r=0.0):
    cell = np.full(N_QUANTITIES, 99.0)
    found = lookup_1(table, species, float(r), float(eta), float(log_pt), float(log_dnch), cell)
    return bool(found), cell


def spoil(table, *cell):
    """Take the solution out of a cell [row, r, eta, pt]."""
    table.covariance[cell] = np.nan
    table.efficiency[cell] = 0.0


def matrix_of(rho):
    matrix = np.eye(5)
    for k, (i, j) in enumerate(PAIRS):
        matrix[i, j] = matrix[j, i] = rho[k]
    return matrix


@pytest.mark.parametrize("nearest", [False, True])
def test_bin_centres_are_reproduced(nearest):
    table = random_table(1, nearest=nearest)
    for species in range(2):
        for d, h, i, j in np.ndindex(N_DNCH, N_R, N_ETA, N_PT):
            found, cell = looked_up(table, species, ETA[i], LOG_PT[j], LOG_DNCH[d], 0.5 * (R_EDGES[h] + R_EDGES[h + 1]))
            assert found
            assert cell[0] == pytest.approx(table.efficiency[species, h, i, j, d], rel=1e-6)
            assert cell[1:] == pytest.approx(table.covariance[species, h, i, j], rel=1e-6, abs=1e-6)


def test_interpolation_is_linear_in_every_axis_and_constant_outside_the_centres():
    """scipy's RegularGridInterpolator at random points, clamped to the outermost centres.

    In double precision, with and without the JIT: only the table is float32 (numpy would multiply float32 by a Python
    float in float32, which costs 4e-8 of ln sigma and makes the two differ).
    """
    table = random_table(2)
    covariance = RegularGridInterpolator((ETA, LOG_PT), table.covariance[1, 2].astype(np.float64))
    efficiency = RegularGridInterpolator((ETA, LOG_PT, LOG_DNCH), table.efficiency[1, 2].astype(np.float64))
    generator = np.random.default_rng(3)
    for _ in range(300):
        point = [generator.uniform(axis[0] - 2.0, axis[-1] + 2.0) for axis in (ETA, LOG_PT, LOG_DNCH)]
        clamped = [np.clip(x, axis[0], axis[-1]) for x, axis in zip(point, (ETA, LOG_PT, LOG_DNCH), strict=True)]
        found, cell = looked_up(table, 1, *point, 5.0)
        assert found
        assert cell[0] == pytest.approx(efficiency([clamped])[0], rel=1e-9)
        assert cell[1:] == pytest.approx(covariance([clamped[:2]])[0], rel=1e-9, abs=1e-9)


def test_nearest_is_the_bin_that_holds_the_point():
    """Edges half-open; what lies beyond the outer edges has the outer bins. Bins to float32's rounding, as DelphesO2's."""
    table = random_table(4, nearest=True)
    generator = np.random.default_rng(5)
    for _ in range(300):
        log_dnch, eta, log_pt = (
            generator.uniform(low - 1.0, low + n * width + 1.0)
            for low, width, n in (
                (LOG_DNCH_MIN, LOG_DNCH_WIDTH, N_DNCH),
                (ETA_MIN, ETA_WIDTH, N_ETA),
                (LOG_PT_MIN, LOG_PT_WIDTH, N_PT),
            )
        )
        d, i, j = (int(np.abs(axis - x).argmin()) for axis, x in ((LOG_DNCH, log_dnch), (ETA, eta), (LOG_PT, log_pt)))
        found, cell = looked_up(table, 0, eta, log_pt, log_dnch)
        assert found
        assert cell[0] == table.efficiency[0, 0, i, j, d]
        assert (cell[1:] == table.covariance[0, 0, i, j]).all()


def test_nearest_at_the_edges():
    assert [nearest_1(x, -1.0, 0.5, 4, 1.0) for x in (-1.0, -0.5001, -0.5, 0.0, 0.9999, 1.0, 7.0, -7.0)] == [
        0, 0, 1, 2, 3, 3, 3, 0,
    ]  # fmt: skip


@pytest.mark.parametrize("h", [1e-12, 1e-9, 1e-6])
@pytest.mark.parametrize("mirrored", [False, True])
def test_no_step_at_bin_edges_and_centres(h, mirrored):
    """The value at x - h and x + h differs by no more than slope x 2h (and rounding), at every centre and edge of each axis."""
    table = random_table(6, mirrored=mirrored)
    largest = max(float(np.abs(table.covariance).max()), 1.0)
    steepest = 2.0 * largest / min(ETA_WIDTH, LOG_PT_WIDTH, LOG_DNCH_WIDTH)
    allowed = steepest * 2.0 * h + 64 * np.finfo(float).eps * largest

    def step(which, x):
        point = {"eta": 0.31, "log_pt": -1.77, "log_dnch": 2.9}
        below, above = (looked_up(table, 0, **(point | {which: x + side}))[1] for side in (-h, h))
        return np.max(np.abs(above - below))

    for eta in np.arange(-N_ETA, N_ETA + 0.1, 0.5) * ETA_WIDTH:  # of a mirrored table too, 0 included
        assert step("eta", eta) <= allowed, eta
    for log_pt in LOG_PT_MIN + np.arange(0, N_PT + 0.1, 0.5) * LOG_PT_WIDTH:
        assert step("log_pt", log_pt) <= allowed, log_pt
    for log_dnch in LOG_DNCH_MIN + np.arange(0, N_DNCH + 0.1, 0.5) * LOG_DNCH_WIDTH:
        assert step("log_dnch", log_dnch) <= allowed, log_dnch


# --- the mirror -----------------------------------------------------------------------------------------------------


def unfolded(table):
    """The same as a table of both sides, by turning z round."""
    other = table.covariance[:, :, ::-1].astype(np.float64)
    other[..., 5:] *= Z_SIGN
    covariance = np.concatenate([other.astype(np.float32), table.covariance], axis=2)
    efficiency = np.concatenate([table.efficiency[:, :, ::-1], table.efficiency], axis=2)
    low = -ETA_WIDTH * table.covariance.shape[2]
    return table._replace(covariance=covariance, efficiency=efficiency, eta_min=low, mirrored=False)


@pytest.mark.parametrize("n_eta", [1, 2, N_ETA])
@pytest.mark.parametrize("nearest", [False, True])
def test_a_mirrored_table_is_one_of_both_sides(n_eta, nearest):
    table = random_table(7, n_eta=n_eta, mirrored=True, nearest=nearest)
    both = unfolded(table)
    generator = np.random.default_rng(8)
    etas = [
        *generator.uniform(-n_eta * ETA_WIDTH - 0.5, n_eta * ETA_WIDTH + 0.5, 200),
        *HALF_ETA[:n_eta],
        *-HALF_ETA[:n_eta],
    ]
    for eta in etas:
        log_pt, log_dnch = generator.uniform(-3.5, 1.0), generator.uniform(0.5, 6.5)
        found, cell = looked_up(table, 1, eta, log_pt, log_dnch)
        assert found
        assert cell == pytest.approx(looked_up(both, 1, eta, log_pt, log_dnch)[1], rel=1e-12, abs=1e-12)


def test_the_two_sides_differ_by_the_signs_of_some_correlations():
    """dca_z and tan_lambda with dca_xy, phi and q_over_pt; and these pass through 0 at eta = 0."""
    table = random_table(9, mirrored=True)
    for eta in (1e-9, 0.1, 0.25, 0.4, 1.3, 5.0):
        here, there = (looked_up(table, 0, side * eta, -1.5)[1] for side in (1.0, -1.0))
        assert there[:6] == pytest.approx(here[:6], rel=1e-15)
        assert there[6:] == pytest.approx(here[6:] * Z_SIGN, rel=1e-15)
    for eta in (0.0, -0.0):
        cell = looked_up(table, 0, eta, LOG_PT[2])[1]
        centre = table.covariance[0, 0, 0, 2].astype(np.float64)
        assert (cell[6:][Z_SIGN < 0] == 0.0).all()
        assert cell[6:][Z_SIGN > 0] == pytest.approx(centre[5:][Z_SIGN > 0], rel=1e-12)
        assert cell[1:6] == pytest.approx(centre[:5], rel=1e-12)


def test_a_hole_next_to_the_mirror():
    """Both corners at the first bin are the same cell: without it there is nothing."""
    table = random_table(10, mirrored=True)
    spoil(table, 0, 0, 0, 0)
    for eta in (0.1, -0.1, 0.0):
        assert not looked_up(table, 0, eta, LOG_PT_MIN)[0]
        found, cell = looked_up(table, 0, eta, LOG_PT[0] + 0.1)  # the next bin in pt is left
        assert found
        assert cell[1:6] == pytest.approx(table.covariance[0, 0, 0, 1, :5], rel=1e-6)


# --- production radius, occupancy, species --------------------------------------------------------------------------


def test_bins_of_the_production_radius_are_half_open():
    radii = {0.0: 0, 0.4999: 0, 0.5: 1, 2.9999: 1, 3.0: 2, 19.999: 2, 20.0: -1, 1e9: -1, math.inf: -1, math.nan: -1}
    assert [radius_bin_1(R_EDGES, r) for r in radii] == list(radii.values())
    table = random_table(11)
    for r, h in radii.items():
        found, cell = looked_up(table, 0, ETA[1], LOG_PT[1], r=r)
        assert found == (h >= 0)
        if found:
            assert cell[1:] == pytest.approx(table.covariance[0, h, 1, 1], rel=1e-6, abs=1e-6)
        else:
            assert (cell == 0.0).all()


@pytest.mark.parametrize("nearest", [False, True])
def test_one_bin_of_occupancy_is_a_constant(nearest):
    table = random_table(12, n_dnch=1, nearest=nearest)
    values = {looked_up(table, 0, ETA[1], LOG_PT[1], log_dnch)[1][0] for log_dnch in (-50.0, 1.1, 3.0, 50.0)}
    assert len(values) == 1
    assert values.pop() == pytest.approx(table.efficiency[0, 0, 1, 1, 0], rel=1e-6)


def test_an_empty_event_has_the_lowest_occupancy():
    """ln 0 is -inf."""
    table = random_table(13)
    assert looked_up(table, 0, 0.3, -1.0, -math.inf)[1] == pytest.approx(
        looked_up(table, 0, 0.3, -1.0, -9.0)[1], rel=1e-15
    )


def test_occupancy_does_not_touch_the_covariance():
    table = random_table(14)
    low, high = (looked_up(table, 0, 0.3, -1.0, log_dnch)[1] for log_dnch in (1.7, 5.0))
    assert low[0] != high[0]
    assert (low[1:] == high[1:]).all()


def test_a_species_without_a_table():
    table = random_table(15)
    found, cell = looked_up(table, 2, ETA[0], LOG_PT[0])
    assert not found
    assert (cell == 0.0).all()


def test_rows_need_not_be_in_the_order_of_species():
    table = random_table(16)
    turned = table._replace(row=np.array([1, 0, -1], dtype=np.int8))
    for species in range(2):
        assert (looked_up(turned, species, 0.2, -1.0)[1] == looked_up(table, 1 - species, 0.2, -1.0)[1]).all()


# --- cells without a track ------------------------------------------------------------------------------------------


def test_a_corner_without_a_solution_is_efficiency_zero_and_leaves_the_covariance_to_the_others():
    table = random_table(17)
    spoil(table, 0, 0, 2, 1)
    f_eta, f_pt = 0.3, 0.6
    found, cell = looked_up(table, 0, ETA[2] + f_eta * ETA_WIDTH, LOG_PT[1] + f_pt * LOG_PT_WIDTH)
    assert found
    weights = {(3, 1): f_eta * (1 - f_pt), (2, 2): (1 - f_eta) * f_pt, (3, 2): f_eta * f_pt}
    assert cell[0] == pytest.approx(sum(w * table.efficiency[0, 0, *k, 0] for k, w in weights.items()), rel=1e-6)
    rest = sum(w * table.covariance[0, 0, *k].astype(np.float64) for k, w in weights.items()) / sum(weights.values())
    assert cell[1:] == pytest.approx(rest, rel=1e-6, abs=1e-6)


def test_no_valid_corner_means_no_track():
    table = random_table(18)
    for i, j in np.ndindex(2, 2):
        spoil(table, 0, 0, 1 + i, 1 + j)
    found, cell = looked_up(table, 0, ETA[1] + 0.2, LOG_PT[1] + 0.2)
    assert not found
    assert (cell == 0.0).all()
    assert looked_up(table, 0, ETA[1] + 0.2, LOG_PT[1] + 0.2, r=1.0)[0]  # born elsewhere


def test_exactly_on_an_invalid_centre_means_no_track():
    """No weight is left for the valid neighbours (and NaN x 0 must not come in)."""
    table = random_table(19)
    spoil(table, 0, 0, 0, 0)
    assert not looked_up(table, 0, ETA[0] - 1.0, LOG_PT[0] - 1.0)[0]
    found, cell = looked_up(table, 0, ETA[1], LOG_PT[0] - 1.0)
    assert found
    assert np.isfinite(cell).all()


def test_nearest_invalid_cell_means_no_track():
    table = random_table(20, nearest=True)
    spoil(table, 0, 0, 2, 1)
    assert not looked_up(table, 0, ETA[2] + 0.2, LOG_PT[1] - 0.1)[0]
    assert looked_up(table, 0, ETA[2] + 0.3, LOG_PT[1] - 0.1)[0]


@pytest.mark.parametrize("shape", [(1, 1), (1, N_PT), (N_ETA, 1)])
def test_axes_with_one_bin(shape):
    """One bin is a constant along its axis."""
    table = random_table(21, n_rows=1, n_r=1, n_eta=shape[0], n_pt=shape[1])
    found, cell = looked_up(table, 0, ETA[0], LOG_PT[0])
    assert found
    assert cell[1:] == pytest.approx(table.covariance[0, 0, 0, 0], rel=1e-6, abs=1e-6)
    far = looked_up(table, 0, 50.0, 50.0)[1]
    assert far[1:] == pytest.approx(table.covariance[0, 0, -1, -1], rel=1e-6, abs=1e-6)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 10**6),
    f_eta=st.floats(-1.0, 1.0),
    f_pt=st.floats(0.0, 1.0),
    hole=st.integers(0, 4),
    mirrored=st.booleans(),
)
def test_the_result_is_a_correlation_matrix(seed, f_eta, f_pt, hole, mirrored):
    """A mean of positive definite matrices with unit diagonal is one; also across the mirror, also with a corner missing."""
    table = random_table(seed, n_rows=1, n_r=1, n_eta=2, n_pt=2, mirrored=mirrored)
    if hole < 4:
        spoil(table, 0, 0, hole // 2, hole % 2)
    corners = [
        np.linalg.eigvalsh(matrix_of(table.covariance[0, 0, i, j, 5:].astype(np.float64)))[0]
        for i, j in np.ndindex(2, 2)
        if np.isfinite(table.covariance[0, 0, i, j, 0])
    ]
    assert min(corners) > 0.0
    first = HALF_ETA[0] if mirrored else ETA[0]
    found, cell = looked_up(table, 0, first + f_eta * ETA_WIDTH, LOG_PT[0] + f_pt * LOG_PT_WIDTH)
    if found:
        assert np.linalg.eigvalsh(matrix_of(cell[6:]))[0] >= min(corners) - 1e-12
        assert 0.0 <= cell[0] <= 1.0
    else:
        assert hole < 4
