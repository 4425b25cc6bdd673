"""The smeared primary vertex."""

from __future__ import annotations

import awkward as ak
import numpy as np

import fastsim
from fastsim.rng import Streams
from fastsim.tracking.vertex import smear_vertices


def test_resolution_is_the_cards():
    """20,000 vertices: widths within 4.5 / sqrt(2 n), no correlation within 4.5 / sqrt(n), means likewise."""
    n = 20_000
    sigma = np.array([5e-4, 7e-4, 20e-4])
    vertex = np.tile([0.1, -0.2, 3.0], (n, 1))
    smear_vertices(np.arange(n, dtype=np.uint64), sigma, Streams(1).key("vertex/position"), vertex)
    pulls = (vertex - [0.1, -0.2, 3.0]) / sigma
    assert (np.abs(pulls.mean(axis=0)) < 4.5 / np.sqrt(n)).all()
    assert (np.abs(pulls.std(axis=0) - 1) < 4.5 / np.sqrt(2 * n)).all()
    assert np.abs(np.corrcoef(pulls.T)[np.triu_indices(3, 1)]).max() < 4.5 / np.sqrt(n)


def test_zero_resolution_is_the_generated_vertex(ttbar):
    card = fastsim.load_card("alice3", sets=[f"modules.vertex.sigma_{axis}_um=0" for axis in "xyz"])
    events = next(fastsim.simulate(ttbar, card, events=(0, 2)))
    assert ak.to_list(events.vertex_x) == ak.to_list(events.vertex_x_true)


def test_contributors_are_reconstructed_physical_primaries(ttbar):
    events = next(fastsim.simulate(ttbar, events=(0, 3)))
    for event in events:
        primary = event.particles.is_physical_primary[event.tracks.particle_index]
        assert event.n_contributors == ak.sum(primary & event.tracks.is_reconstructed)
