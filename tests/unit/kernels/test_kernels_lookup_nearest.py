"""The nearest bin is DelphesO2's: float32, cut towards zero, clamped; against float32 in numpy (reference/delpheso2.md 1.4)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastsim.kernels.lookup import lookup_1
from fastsim.luts import Grid
from fastsim.luts.build import make_lut
from fastsim.luts.file import N_COVARIANCE
from fastsim.luts.store import LutSet
from fastsim.species import NAMES, by_name
from tests.oracles import JIT_IS_OFF

F = np.float32
# Limits and bins of axes as lutCovm has them (log10 of pt and nch): the default, the public files of 2020, others that are made.
AXES = {
    "default": ((20, 0.5, 3.5), (80, 4.0), (200, -2.0, 2.0)),
    "pi.5kG.100cm": ((1, 0.0, 4.0), (40, 2.0), (200, -2.0, 2.0)),
    "pi.5kG.fwd": ((1, 0.0, 4.0), (80, 4.0), (100, -2.0, 2.0)),
    "el.5kG": ((1, 0.0, 4.0), (1, 10.0), (100, -2.0, 2.0)),
    # As read from a file: what is not a float32 number is rounded there.
    "odd": ((7, float(F(0.3)), float(F(2.9))), (33, float(F(1.7))), (123, float(F(-1.3)), float(F(1.7)))),
}
N = 60 if JIT_IS_OFF else 2000


def theirs(x, n, low, high, *, is_log):
    """The bin of x, by float32 arithmetic alone."""
    x, low, high = F(math.log10(x) if is_log else x), F(low), F(high)
    width = F((high - low) / F(n))
    return min(max(int(F(x - low) / width), 0), n - 1)


def table_of(axes):
    """A table that tells which bin was used: pt and eta in the first two ln sigma, nch in the efficiency."""
    (n_dnch, dnch_low, dnch_high), (n_eta, eta_max), (n_pt, pt_low, pt_high) = axes
    grid = Grid(
        n_pt=n_pt, pt_min=10.0**pt_low, pt_max=10.0**pt_high, n_eta=n_eta, eta_max=eta_max,
        n_dnch=n_dnch, dnch_min=10.0**dnch_low, dnch_max=10.0**dnch_high, r_edges=[0.0, 100.0],
    )  # fmt: skip
    covariance = np.zeros((1, n_eta, n_pt, N_COVARIANCE))
    covariance[..., 0] = np.arange(n_pt)
    covariance[..., 1] = np.arange(n_eta)[:, None]
    efficiency = np.broadcast_to(np.arange(n_dnch)[:, None, None, None] / 1024.0, (n_dnch, 1, n_eta, n_pt))
    lut = make_lut(
        by_name("pi"), grid, covariance, {"every_hit_right": efficiency.astype(F)}, detector="test", b_z=1.0, mirrored=False,
        key="", origin={}, command="",
    )  # fmt: skip
    return LutSet((lut,), ("",)).table(nearest=True)


def ours(table, pt, eta, nch):
    cell = np.empty(16)
    assert lookup_1(table, NAMES.index("pi"), 0.0, float(eta), math.log(pt), math.log(nch), cell)
    return round(cell[0] * 1024), round(cell[2]), round(cell[1])


def around(edges):
    """Float32 values on the edges and next to them on both sides."""
    edges = np.asarray(edges, dtype=F)
    return np.concatenate([np.nextafter(edges, F(-np.inf)), edges, np.nextafter(edges, F(np.inf))])


def compare(axes, pt, eta, nch):
    nch_axis, (n_eta, eta_max), pt_axis = axes
    table = table_of(axes)
    for values in zip(map(float, pt), map(float, eta), map(float, nch), strict=True):
        expected = (
            theirs(values[2], *nch_axis, is_log=True),
            theirs(values[1], n_eta, -eta_max, eta_max, is_log=False),
            theirs(values[0], *pt_axis, is_log=True),
        )
        assert ours(table, *values) == expected, values


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_random_values_within_and_beyond_the_axes(axes):
    generator = np.random.default_rng(1)
    pt = (10.0 ** generator.uniform(-4, 4, N)).astype(F)
    eta = generator.uniform(-12, 12, N).astype(F)
    nch = (10.0 ** generator.uniform(-2, 6, N)).astype(F)
    compare(axes, pt, eta, nch)


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_values_on_the_edges_and_next_to_them(axes):
    """Edges are where rounding decides; float32 values, as tracks have there."""
    (n_dnch, *dnch), (n_eta, eta_max), (n_pt, *pts) = axes
    pt = around(10.0 ** np.linspace(*pts, n_pt + 1))
    eta = around(np.linspace(-eta_max, eta_max, n_eta + 1))
    nch = around(10.0 ** np.linspace(*dnch, n_dnch + 1))
    if JIT_IS_OFF:
        pt, eta, nch = pt[::5], eta[::3], nch[::2]
    n = max(len(pt), len(eta), len(nch))
    compare(axes, np.resize(pt, n), np.resize(eta, n), np.resize(nch, n))


def test_less_than_a_width_below_the_axis_is_the_first_bin_by_truncation_not_by_the_clamp():
    table = table_of(AXES["default"])
    for pt in (10**-2.019, 10**-2.5):
        assert ours(table, pt, 0.0, 100.0)[2] == 0
    assert theirs(10**-2.019, 200, -2.0, 2.0, is_log=True) == 0


def test_no_occupancy_at_all_is_the_first_bin():
    """An event without charged particles: log10(0) is -inf, which C++ casts to anything."""
    table = table_of(AXES["default"])
    assert ours(table, 1.0, 0.0, 1e-300)[0] == 0


def test_the_covariance_is_the_bin_s_own():
    """No mean of neighbours, wherever in the bin."""
    table = table_of(AXES["default"])
    for pt in np.geomspace(1.0001, 1.0471, 7):  # the bin from 10^0 to 10^0.02
        assert ours(table, pt, 0.001, 100.0) == (10, 40, 100)
