"""Smeared tracks against their truth and their covariance, on real events and on copies of one track."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

import fastsim
from fastsim import columns as c
from fastsim.kernels.lookup import lookup_1
from fastsim.luts import get_luts
from fastsim.rng import Streams
from fastsim.species import SPECIES
from fastsim.tracking import parametric as p

DIAGONAL = [0, 2, 5, 9, 14]


@pytest.fixture(scope="module")
def tracks(ttbar):
    """Reconstructed tracks of the ttbar sample, flat."""
    events = ak.concatenate(list(fastsim.simulate(ttbar)))
    found = ak.flatten(events.tracks)
    return found[found.is_reconstructed]


def _pulls(tracks, name, k):
    difference = ak.to_numpy(tracks[name]) - ak.to_numpy(tracks[f"{name}_true"])
    if name == "phi":
        difference = np.angle(np.exp(1j * difference))
    return difference / np.sqrt(ak.to_numpy(tracks.cov_packed)[:, DIAGONAL[k]])


@pytest.mark.parametrize("k", range(5), ids=c.PARAMETERS)
def test_pulls_on_ttbar_have_mean_0_and_width_1(tracks, k):
    """Standard errors of n normal pulls: mean 1/sqrt(n), width 1/sqrt(2 n). 4.5 of them: 7e-6 to fail by chance."""
    pulls = _pulls(tracks, c.PARAMETERS[k], k)
    n = len(pulls)
    assert n > 6000
    assert abs(pulls.mean()) < 4.5 / np.sqrt(n)
    assert abs(pulls.std() - 1) < 4.5 / np.sqrt(2 * n)


@pytest.mark.parametrize("k", range(5), ids=c.PARAMETERS)
def test_pulls_are_normal(tracks, k):
    from scipy import stats

    assert stats.kstest(_pulls(tracks, c.PARAMETERS[k], k), "norm").pvalue > 1e-5


@pytest.mark.parametrize("charge", [1, -1])
def test_sample_covariance_of_copies_of_a_track_is_the_tables(charge):
    """1e5 kaons of 0.7 GeV at eta 0.63: each sample covariance c_ij has variance (c_ii c_jj + c_ij^2) / n (Wishart)."""
    n = 100_000
    luts = get_luts(fastsim.load_detector("alice3_v2"))
    table = luts.table()
    pt, eta, phi = 0.7, 0.63, 2.1
    cell = np.empty(16)
    assert lookup_1(table, 3, 0.0, eta, np.log(pt), np.log(5.0), cell)
    sigma = np.exp(cell[1:6])
    # The expected matrix by hand from the cell: correlations between bending plane and z change sign with the charge.
    rho = np.eye(5)
    rho[np.tril_indices(5, -1)] = cell[6:]
    rho = np.tril(rho) + np.tril(rho, -1).T
    mirror = np.array([charge, 1, charge, 1, charge])
    expected = rho * np.outer(sigma * mirror, sigma * mirror)

    momentum = pt * np.array([np.cos(phi), np.sin(phi), np.sinh(eta)])
    tracks = p.make_tracks(n)
    kinds = [[kind.mass for kind in SPECIES], [kind.c_tau for kind in SPECIES]]
    settings = p.Settings(
        0.01, 100.0, 4.0, 3e3, p.CLAMP, p.CLAMP, p.CLAMP, 50.0, 2.0, False, 80.0, 350.0, *map(np.array, kinds)
    )
    p.smear_tracks(
        table, settings, np.arange(n), np.arange(n, dtype=np.uint64), np.full(n, 7, dtype=np.int32), np.full(n, 5.0),
        np.full(n, 3, dtype=np.int8), np.full(n, charge, dtype=np.int8), np.zeros((n, 3)),
        np.full(n, momentum[0]), np.full(n, momentum[1]), np.full(n, momentum[2]), np.empty((0, 5)),
        Streams(5).key("tracking/efficiency"), Streams(5).key("tracking/smearing"),
        np.zeros(n, dtype=np.uint8), np.zeros(4, dtype=np.int64), tracks,
    )  # fmt: skip
    assert tracks.is_reconstructed.mean() == pytest.approx(
        cell[0], abs=4.5 * np.sqrt(cell[0] * (1 - cell[0]) / n) + 1e-9
    )
    found = tracks.is_reconstructed
    np.testing.assert_allclose(tracks.true[0], [0, 0, phi, np.sinh(eta), charge / pt], atol=1e-12)
    sample = np.cov(tracks.smeared[found].T)
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / n)
    assert (np.abs(sample - expected) < 4.5 * error).all()
    packed = expected[np.tril_indices(5)]
    np.testing.assert_allclose(tracks.cov_packed[found][0], packed, rtol=1e-6, atol=1e-30)


def test_mean_efficiency_is_the_tables(tracks, ttbar):
    """Found candidates against the sum of their efficiencies: variance sum e (1 - e)."""
    events = ak.concatenate(list(fastsim.simulate(ttbar)))
    candidates = ak.flatten(events.tracks)
    efficiency = np.nan_to_num(ak.to_numpy(candidates.efficiency))
    expected, variance = efficiency.sum(), (efficiency * (1 - efficiency)).sum()
    assert abs(len(tracks) - expected) < 4.5 * np.sqrt(variance) + 1e-9


def test_dnch_deta_by_hand(ttbar):
    """Charged physical primaries in |eta| < 0.8 over 1.6, counted by walking up pyhepmc's own graph."""
    import pyhepmc
    from particle import PDGID

    from fastsim.species import LONG_LIVED

    batch = next(fastsim.simulate(ttbar, events=(0, 5)))
    with pyhepmc.open(ttbar) as file:
        for expected_of, event in zip(batch, file, strict=False):
            count = 0
            for particle in event.particles:
                if (
                    particle.status not in (1, 2)
                    or abs(particle.pid) not in LONG_LIVED
                    or PDGID(particle.pid).charge == 0
                ):
                    continue
                if abs(particle.momentum.eta()) < 0.8 and not _from_long_lived(particle, LONG_LIVED):
                    count += 1
            assert expected_of.dnch_deta == pytest.approx(count / 1.6)


def _from_long_lived(particle, long_lived):
    for mother in particle.parents:
        goes_on = any(child.pid == mother.pid for child in mother.children)
        if mother.status == 2 and abs(mother.pid) in long_lived and not goes_on:
            return True
        if _from_long_lived(mother, long_lived):
            return True
    return False
