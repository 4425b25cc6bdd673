"""EventBatch: offsets, slices, and awkward arrays without a copy."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from fastsim import columns as c
from fastsim.events import EventBatch, offsets_from_counts


@pytest.fixture
def batch():
    offsets = {"particle": np.array([0, 3, 3, 5]), "vertex": np.array([0, 1, 1, 1]), "event": np.arange(4)}
    return EventBatch(offsets, {c.EVENT_ID: np.array([7, 8, 9], dtype=np.uint64), c.PDG: np.arange(5, dtype=np.int32)})


def test_offsets():
    assert offsets_from_counts(np.array([3, 0, 2])).tolist() == [0, 3, 3, 5]


def test_rows(batch):
    assert batch.n_events == 3
    assert batch.n_rows("particle") == 5
    assert batch.event_index("particle").tolist() == [0, 0, 0, 2, 2]


def test_slice(batch):
    part = batch.slice_events(1, 3)
    assert part[c.EVENT_ID].tolist() == [8, 9]
    assert part[c.PDG].tolist() == [3, 4]
    assert part.offsets["particle"].tolist() == [0, 0, 2]
    assert np.shares_memory(part[c.PDG], batch[c.PDG])


def test_awkward_shares_memory(batch):
    array = batch.to_awkward()
    assert ak.to_list(array.particles.pdg) == [[0, 1, 2], [], [3, 4]]
    assert ak.to_list(array.event_id) == [7, 8, 9]
    assert np.shares_memory(ak.to_numpy(ak.flatten(array.particles.pdg)), batch[c.PDG])


def test_columns_are_added_not_changed(batch):
    more = batch.with_columns({c.STATUS: np.ones(5, dtype=np.int32)})
    assert c.STATUS in more
    assert c.STATUS not in batch
