"""What tests of event sources share: reading all of one, and comparing with what pyhepmc says of the same events."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pyhepmc

from fastsim import columns as c
from fastsim.source import Limits, Range

NS_PER_MM = 0.1 / 29.9792458  # of light
PARTICLE = (c.PDG, c.STATUS, *c.MOMENTUM, c.ENERGY, c.MASS)


def read_all(source, *, first_event=0, events=(0, None), limits=(1000, 200_000)):
    """All reads of a source, each block having gone through a pipe, and its record."""
    try:
        blocks = list(source.blocks(first_event, Range(*events), Limits(*limits)))
        reads = [pickle.loads(pickle.dumps(block)).read() for block in blocks]
        record = source.record()
    finally:
        source.close()
    assert record.sha256 == hashlib.sha256(Path(record.name).read_bytes()).hexdigest()
    done = [block.bytes_read for block in blocks]
    assert done == sorted(done)
    assert not done or done[-1] <= Path(record.name).stat().st_size
    return reads, record


def joined(reads, column):
    """One column of several reads."""
    return np.concatenate([read.batch[column] for read in reads])


def reasons(reads):
    """Position -> message of what could not be read."""
    return {position: str(error) for read in reads for position, error in read.bad}


def assert_sound(read):
    """All columns, with their types and lengths, and links that exist."""
    batch = read.batch
    assert set(batch.columns) == set(c.READ)
    for column, values in batch.columns.items():
        assert values.dtype == column.dtype, column
        assert len(values) == batch.n_rows(column.table), column
    for column in (c.PRODUCTION_VERTEX, c.END_VERTEX):
        n_vertices = np.diff(batch.offsets["vertex"])[batch.event_index("particle")]
        assert ((batch[column] >= -1) & (batch[column] < n_vertices)).all()


def mothers_of(batch, event):
    """Mothers (rows in the event) of each particle of one event."""
    one = batch.slice_events(event, event + 1)
    ends = one[c.END_VERTEX]
    return [set(np.flatnonzero(ends == vertex)) if vertex >= 0 else set() for vertex in one[c.PRODUCTION_VERTEX]]


def points_of(batch, event):
    """Production point of each particle of one event (n, 4), NaN where it has no vertex."""
    one = batch.slice_events(event, event + 1)
    points = np.column_stack([one[column] for column in c.VERTEX_POSITION])
    return np.vstack([points, np.full(4, np.nan)])[one[c.PRODUCTION_VERTEX]]


def assert_like_pyhepmc(batch, events):
    """The batch says what pyhepmc's own objects say of the same events, row by row."""
    assert batch.n_events == len(events)
    for i, event in enumerate(events):
        event.set_units(pyhepmc.Units.MomentumUnit.GEV, pyhepmc.Units.LengthUnit.MM)
        one = batch.slice_events(i, i + 1)
        assert one[c.EVENT_NUMBER][0] == event.event_number
        expected = [
            (p.pid, p.status, p.momentum.px, p.momentum.py, p.momentum.pz, p.momentum.e, p.generated_mass)
            for p in event.particles
        ]
        np.testing.assert_allclose(np.column_stack([one[x] for x in PARTICLE]), expected, rtol=1e-14, atol=1e-300)
        vertices = [
            (0.1 * v.position.x, 0.1 * v.position.y, 0.1 * v.position.z, NS_PER_MM * v.position.t)
            for v in event.vertices
        ]
        np.testing.assert_allclose(np.column_stack([one[x] for x in c.VERTEX_POSITION]), vertices, rtol=1e-14)
        mothers = [{mother.id - 1 for mother in p.parents} for p in event.particles]
        assert mothers_of(batch, i) == mothers
        ends = [-1 if p.end_vertex is None else -p.end_vertex.id - 1 for p in event.particles]
        assert one[c.END_VERTEX].tolist() == ends
        beams = [p for p in event.particles if p.status == 4]
        if beams:
            at = beams[0].end_vertex.position
            true = [0.1 * at.x, 0.1 * at.y, 0.1 * at.z, NS_PER_MM * at.t]
            np.testing.assert_allclose([one[x][0] for x in c.VERTEX_TRUE], true, rtol=1e-14)
