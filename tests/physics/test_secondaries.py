"""Secondaries become tracks by the tables' production radius: daughters of K0S and Lambda, conversion electrons."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

import fastsim
from fastsim.luts import get_luts
from fastsim.species import NAMES


@pytest.fixture(scope="module")
def events(ttbar):
    return ak.concatenate(list(fastsim.simulate(ttbar)))


@pytest.fixture(scope="module")
def tracks(events):
    """All candidates, flat, with their production radius and the mother's PDG code."""
    particles = events.particles[events.tracks.particle_index]
    vertices = events.vertices[particles.production_vertex]
    radius = ak.flatten(np.hypot(vertices.x, vertices.y))
    # a particle's mother is the one that ends where it begins
    ends, codes = events.particles.end_vertex, events.particles.pdg
    mothers = [
        [dict(zip(e, p, strict=True)).get(v, 0) for v in vs]
        for e, p, vs in zip(ends.to_list(), codes.to_list(), particles.production_vertex.to_list(), strict=True)
    ]
    return ak.to_numpy(radius), np.concatenate([np.array(m) for m in mothers if m]), ak.flatten(events.tracks)


@pytest.mark.parametrize(("mother", "least"), [(310, 100), (3122, 30)])
def test_daughters_of_weak_decays_are_reconstructed(tracks, mother, least):
    """Between the first and the last radius of the table, many are found; beyond them, none is."""
    radius, mothers, candidates = tracks
    mine = (np.abs(mothers) == mother) & (np.abs(ak.to_numpy(candidates.eta_true)) < 1.2)
    found = ak.to_numpy(candidates.is_reconstructed)
    displaced = mine & (radius > 0.5)
    assert np.count_nonzero(displaced) > least
    assert np.count_nonzero(displaced & found) > 0.3 * np.count_nonzero(displaced)
    assert not (mine & (radius > 80.0) & found).any()  # nothing measures there


def test_efficiency_and_resolution_are_those_of_the_radius_bin(tracks):
    """Nearest table row by hand, for tracks close to a bin centre in pt and eta: same efficiency, same sigma."""
    radius, _, candidates = tracks
    luts = dict(zip(NAMES, get_luts(fastsim.load_detector("alice3_v2")).luts, strict=True))
    edges = np.array(luts["pi"].header.grid.r_edges)
    compared = 0
    for species, pt, eta, r, sigma2, found in zip(
        ak.to_numpy(candidates.species), ak.to_numpy(candidates.pt_true), ak.to_numpy(candidates.eta_true), radius,
        ak.to_numpy(candidates.cov_packed)[:, 0], ak.to_numpy(candidates.is_reconstructed), strict=True,
    ):  # fmt: skip
        if not found or not 0.5 < r < edges[-1] or not 0.5 < pt < 5.0 or abs(eta) > 1.0:
            continue
        lut = luts[NAMES[species]]
        h = int(np.searchsorted(edges, r, side="right")) - 1
        centers = lut.header.grid.pt_centers
        j = int(np.argmin(np.abs(np.log(centers / pt))))
        i = int(abs(eta) / 0.1)
        around = lut.covariance[h, max(i - 1, 0) : i + 2, j - 1 : j + 2, 0]
        if np.isfinite(around).all() and np.ptp(around) < 0.5:
            compared += 1
            assert around.min() - 1e-6 <= 0.5 * np.log(sigma2) <= around.max() + 1e-6
    assert compared > 50


def test_secondaries_point_worse_than_primaries(tracks):
    """Without the inner layers the extrapolation is longer: at 1 GeV several times worse than 3.7 um."""
    radius, _, candidates = tracks
    found = ak.to_numpy(candidates.is_reconstructed)
    pt = ak.to_numpy(candidates.pt_true)
    central = found & (pt > 0.8) & (pt < 1.2) & (np.abs(ak.to_numpy(candidates.eta_true)) < 1)
    sigma = 1e4 * np.sqrt(ak.to_numpy(candidates.cov_packed)[:, 0])
    assert np.median(sigma[central & (radius < 0.5)]) < 6.0
    assert np.median(sigma[central & (radius > 2.5)]) > 20.0
