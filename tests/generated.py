"""Guns for tests, and batches put together for comparison."""

from __future__ import annotations

import numpy as np

from fastsim import columns as c
from fastsim.generate.gun import Gun
from fastsim.rng import Streams
from fastsim.source import Limits, Range

ALL = Range()
LARGE = Limits(1000, 1_000_000)
HEAD = 'schema_version = 1\nkind = "gun"\nn_events = {n_events}\n'
PIONS = """
[[particles]]
pdg = [211, -211]
n = 3
pt = { min = 0.1, max = 10 }
eta = { min = -1, max = 1 }
"""


def write(folder, text=PIONS, n_events=20):
    """A gun file; text in front of the first table belongs to the top level."""
    path = folder / "gun.toml"
    path.write_text(HEAD.format(n_events=n_events) + text)
    return str(path)


def shoot(folder, text=PIONS, n_events=20, *, seed=1, first_event=0, events=ALL, limits=LARGE):
    """All batches of a gun."""
    gun = Gun(write(folder, text, n_events), Streams(seed))
    return [block.read().batch for block in gun.blocks(first_event, events, limits)]


def joined(batches):
    """Columns of some batches, one behind the other, and the number of rows of each event."""
    columns = {column: np.concatenate([batch[column] for batch in batches]) for column in batches[0].columns}
    sizes = {table: np.concatenate([np.diff(b.offsets[table]) for b in batches]) for table in batches[0].offsets}
    return columns, sizes


def assert_equal(some, others):
    """Both lists of batches hold the same events, to the bit."""
    for first, second in zip(joined(some), joined(others), strict=True):
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], err_msg=str(name))
            assert first[name].dtype == second[name].dtype


def assert_is_complete(batch):
    """All columns of the contract, with their dtype and length, and vertices that exist."""
    assert set(batch.columns) == set(c.READ)
    for column in c.READ:
        assert batch[column].dtype == column.dtype, column
        assert len(batch[column]) == batch.n_rows(column.table), column
    n_vertices = np.diff(batch.offsets["vertex"])[batch.event_index("particle")]
    for column in (c.PRODUCTION_VERTEX, c.END_VERTEX):
        assert (batch[column] >= -1).all()
        assert (batch[column] < n_vertices).all()
