"""Beam spot: the whole event moves, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fastsim import columns as c
from fastsim import toml
from fastsim.errors import CardError
from fastsim.events import production_points
from fastsim.generate.beam_spot import BeamSpot, shift_events
from fastsim.rng import Streams
from fastsim.source import Limits
from tests.generated import assert_equal, assert_is_complete, shoot

SPOT = BeamSpot(x=0.1, y=-0.2, z=3, t=0.5, sigma_x_um=20, sigma_y_um=10, sigma_z=5, sigma_t=0.2)


def test_whole_events_move(tmp_path):
    (batch,) = shoot(tmp_path)
    before = {column: array.copy() for column, array in batch.columns.items()}
    moved = shift_events(batch, SPOT, Streams(1))
    assert_is_complete(moved)
    shift = np.column_stack([moved[column] - batch[column] for column in c.VERTEX_TRUE])
    assert len(np.unique(shift)) == shift.size
    np.testing.assert_allclose(
        production_points(moved) - production_points(batch), shift[batch.event_index("particle")], rtol=1e-14
    )
    for column, array in batch.columns.items():
        np.testing.assert_array_equal(array, before[column])  # the batch given stays as it was
        if column not in {*c.VERTEX_TRUE, *c.VERTEX_POSITION}:
            assert moved[column] is array


def test_places_are_gaussian(tmp_path):
    n = 20_000
    (batch,) = shoot(tmp_path, n_events=n, limits=Limits(n, 10**9))
    moved = shift_events(batch, SPOT, Streams(1))
    means, sigmas = (0.1, -0.2, 3, 0.5), (20e-4, 10e-4, 5, 0.2)  # cm, cm, cm, ns
    places = np.array([moved[column] for column in c.VERTEX_TRUE])
    for place, mean, sigma in zip(places, means, sigmas, strict=True):
        assert stats.kstest(place, stats.norm(mean, sigma).cdf).pvalue > 1e-3
    correlations = np.corrcoef(places)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 4 / math.sqrt(n)


def test_without_spread_all_events_move_alike(tmp_path):
    moved = shift_events(*shoot(tmp_path), BeamSpot(z=2), Streams(1))
    assert set(moved[c.VERTEX_TRUE[2]]) == set(moved[c.VERTEX_POSITION[2]]) == {2.0}
    assert set(moved[c.VERTEX_TRUE[0]]) == {0.0}


def test_cut_into_batches_changes_nothing(tmp_path):
    (batch,) = shoot(tmp_path)
    whole = shift_events(batch, SPOT, Streams(1))
    parts = [shift_events(batch.slice_events(a, b), SPOT, Streams(1)) for a, b in ((0, 1), (1, 1), (1, 13), (13, 20))]
    assert_equal(parts, [whole])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("sigma_z_cm = 5", r"beam_spot\.sigma_z_cm: not a known key \(did you mean 'sigma_z'\?\)"),
        ("sigma_z = -5", r"beam_spot\.sigma_z: must be greater than or equal to 0 \(got -5, an integer\)"),
    ],
)
def test_faults(tmp_path, key, message):
    path = tmp_path / "card.toml"
    path.write_text(key)
    with pytest.raises(CardError, match=message):
        toml.validate(BeamSpot, toml.read(path), inside=("beam_spot",))
