"""Bins of the production radius: within a bin the table holds for every radius, and beyond the last there are no tracks."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastsim
from fastsim.detector.geometry import birth_radii, elements, radius_edges, surfaces_of
from fastsim.luts.build import rules_of
from fastsim.luts.kernels import make_scratch, solve_track

PION = 0.13957039


def _solve(detector, r, eta=0.2, pt=1.0):
    """(sigmas, number of dN_ch/deta) of a pion born at r, None where there is no track."""
    surfaces, rules = surfaces_of(detector), rules_of(detector)
    scratch = make_scratch(len(surfaces.position), rules.min_hits, 1)
    found = solve_track(surfaces, rules, pt, math.sinh(eta), PION, 1.0, r, np.ones(1), scratch)
    return np.sqrt(np.diag(scratch.total)) if found else None


@pytest.mark.parametrize("name", ["alice3_v1", "alice3_v2", "alice3_v3", "alice_its2", "alice_its3", "cld"])
def test_a_bin_among_layers_holds_for_every_radius_in_it(name):
    """From edge to edge the same layers are left, so nothing changes but by passive walls in between.

    A walk that begins anywhere in the bin crosses the same measuring surfaces; without its passive walls in the bin it
    gives the same covariance to rounding.
    """
    detector = fastsim.load_detector(name)
    edges = radius_edges(detector)
    measuring = {s.position for s in elements(detector) if s.is_sensitive and not s.is_disk}
    assert {round(r, 6) for r in measuring if r < edges[-1]} <= set(edges)
    compared = 0
    for (low, high), birth in zip(np.stack([edges[:-1], edges[1:]], axis=1), birth_radii(detector, edges), strict=True):
        assert birth == low
        walls = [s for s in detector.layers if not s.is_sensitive and low < s.r < high]
        bare = detector.model_copy(update={"layers": [s for s in detector.layers if s not in walls]})
        begin, end = _solve(bare, low), _solve(bare, high * (1 - 1e-9))
        assert (begin is None) == (end is None)
        if begin is not None:
            compared += 1
            np.testing.assert_allclose(end, begin, rtol=1e-6)
    assert compared >= 3


@pytest.mark.parametrize("name", ["alice_its2_tpc", "alice3_v4", "idea"])
def test_a_bin_among_rows_holds_to_a_factor_of_four(name):
    """A bin spans 30 % of the rows left; sigma(q/pt) goes with length^-2 to -2.5 (Gluckstern), so by some 1.6 each side."""
    detector = fastsim.load_detector(name)
    edges = radius_edges(detector)
    births = birth_radii(detector, edges)
    among_rows = [h for h, birth in enumerate(births) if birth > edges[h]]
    assert len(among_rows) > 5
    for h in among_rows:
        middle = _solve(detector, births[h], pt=5.0)
        if middle is None:
            continue
        for r in (edges[h], edges[h + 1] * (1 - 1e-9)):
            found = _solve(detector, r, pt=5.0)
            if found is None:  # too few of the last rows
                assert h >= len(births) - 6
                continue
            assert 0.25 < found[4] / middle[4] < 4.0


@pytest.mark.parametrize("name", ["alice_its2", "alice_its3", "alice_its2_tpc", "idea", "alice3_v2", "cld"])
def test_nothing_is_tracked_beyond_the_last_edge(name):
    detector = fastsim.load_detector(name)
    edge = radius_edges(detector)[-1]
    for eta in (0.0, 0.7, 2.0, 3.0):
        assert _solve(detector, edge, eta) is None
        assert _solve(detector, edge * 1.01, eta) is None
