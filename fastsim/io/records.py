"""Events that files give as rows of particles: vertices from mothers, what is no physics, and the batch.

Shared by the formats that uproot and pylhe read, and by HEPEVT. Everything here is linear in the number of particles,
but for one sort of the production points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.events import Columns, EventBatch, offsets_from_counts
from fastsim.jit import kernel
from fastsim.kernels.ancestry import order_of_vertices
from fastsim.source import Read, make_batch
from fastsim.species import mass_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = float(np.finfo(np.float32).max)  # files hold float32
BEAM = 4  # HepMC's status of an incoming beam particle


class Rows(NamedTuple):
    """Some consecutive events of a file, flat, in our units.

    `particles` has PDG code, status, momentum, energy and mass (n_rows,); `events` what the file says of each event beside
    its number. `faults` (position in these events -> reason) grows as faults are found; the first one counts.
    """

    path: str
    first_event: int
    event_numbers: NDArray[np.int64]
    n_particles: NDArray[np.int64]
    particles: Columns
    events: Columns
    n_weights: NDArray[np.int64]
    weights: NDArray[np.float64]
    faults: dict[int, str]

    def event_of_row(self) -> NDArray[np.int64]:
        """Event (position in these) of each particle (n_rows,)."""
        return np.repeat(np.arange(len(self.n_particles)), self.n_particles)


class Graph(NamedTuple):
    """Vertices of these events: how many each has, and which one (position in the event, -1 none) a particle has.

    `positions` (n_vertices, 4) [cm, cm, cm, ns]; where `is_given` (n_vertices,) is false, a vertex has that of the vertex
    upstream, in the end that of the event, `origins` (n_events, 4).
    """

    n_vertices: NDArray[np.int64]
    production: NDArray[np.int32]
    end: NDArray[np.int32]
    positions: NDArray[np.float64]
    is_given: NDArray[np.bool_]
    origins: NDArray[np.float64]


def particles_of(
    pdg: NDArray[np.int32], status: NDArray[np.int32], momentum: list[NDArray[np.float64]], mass: NDArray[np.float64]
) -> Columns:
    """Columns of particles whose energy is not given, but follows from momentum and mass [GeV]."""
    with np.errstate(over="ignore", invalid="ignore"):  # told as a bad event
        energy = np.sqrt(sum(p * p for p in momentum) + mass * mass)
    return {
        c.PDG: pdg,
        c.STATUS: status,
        **dict(zip(c.MOMENTUM, momentum, strict=True)),
        c.ENERGY: energy,
        c.MASS: mass,
    }


def masses_of(pdg: NDArray[np.int32]) -> NDArray[np.float64]:
    """Masses [GeV] (n_rows,) by PDG code, for formats that do not keep them; 0 where none is known, as in ALICE's O2."""
    codes, rows = np.unique(pdg, return_inverse=True)
    return np.array([mass_of(int(code)) or 0.0 for code in codes], dtype=np.float64)[rows]


def mothers_in_range(
    rows: Rows, first: NDArray[np.int64], last: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of mothers (n_rows,), and all mothers as rows of the event, of first and last mothers counted from 1.

    0 and 0: none. If the second is smaller than the first (Pythia writes 0), there is one mother; if only the first is 0,
    the second is the mother. Ranges that lie outside of the event are faults of it, and no mothers.
    """
    event = rows.event_of_row()
    n = rows.n_particles[event]
    low, high = np.where(first == 0, last, first), np.maximum(first, last)
    has_mothers = (first != 0) | (last != 0)
    fits = (low >= 1) & (high <= n)
    for i in _first_of_each(event, has_mothers & ~fits):
        _tell_mother(rows, i, low[i] if low[i] < 1 or low[i] > n[i] else high[i])
    counts = cap_mothers(rows, np.where(has_mothers & fits, high - low + 1, 0))
    starts = np.cumsum(counts) - counts
    return counts, np.repeat(low - 1 - starts, counts) + np.arange(counts.sum())


def cap_mothers(rows: Rows, n_mothers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of mothers (n_rows,), 0 in events that have far too many: ranges of all of n particles would be n^2 links."""
    event = rows.event_of_row()
    total = np.bincount(event, n_mothers, len(rows.n_particles))
    is_too_many = total > 100 * rows.n_particles + 1000
    for i in np.flatnonzero(is_too_many):
        rows.faults.setdefault(int(i), f"its {rows.n_particles[i]} particles have {total[i]:.0f} mothers in all")
    return np.where(is_too_many[event], 0, n_mothers)


def _tell_mother(rows: Rows, row: int, mother: int) -> None:
    """Make a mother, counted from 1, that a particle cannot have a fault of its event."""
    event = int(rows.event_of_row()[row])
    at = row - offsets_from_counts(rows.n_particles)[event] + 1
    fault = f"particle {at} has the mother {mother}, where there are particles 1 to {rows.n_particles[event]}"
    rows.faults.setdefault(event, fault)


def check_mothers(rows: Rows, n_mothers: NDArray[np.int64], mothers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each mother is a row of its event (n_all_mothers,); events where one is not are faults."""
    row = np.repeat(np.arange(len(n_mothers)), n_mothers)
    event = rows.event_of_row()[row]
    fits = (mothers >= 0) & (mothers < rows.n_particles[event])
    for i in _first_of_each(event, ~fits):
        _tell_mother(rows, row[i], mothers[i] + 1)
    return fits


def _first_of_each(event: NDArray[np.int64], is_bad: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first bad row of each event that has one; `event` (n_rows,) is sorted."""
    bad = np.flatnonzero(is_bad)
    return bad[np.unique(event[bad], return_index=True)[1]]


def build_vertices(
    rows: Rows, points: NDArray[np.float64], n_mothers: NDArray[np.int64], mothers: NDArray[np.int64]
) -> Graph:
    """Vertices of events whose particles name their mothers, and their production point (n_rows, 4) [cm, cm, cm, ns].

    One vertex for all particles with the same mothers and point; without mothers they have one too, but beams (status 4)
    have none. A particle ends in the first vertex, by row, whose daughters name it. Vertices are numbered by their first
    daughter's row.
    """
    n_events = len(rows.n_particles)
    event = rows.event_of_row()
    check_mothers(rows, n_mothers, mothers)
    usable = np.ones(n_events, dtype=np.bool_)
    usable[list(rows.faults)] = False
    mother_offsets = offsets_from_counts(n_mothers)
    is_beam = (rows.particles[c.STATUS] == BEAM) & (n_mothers == 0)
    production, end = np.full((2, len(event)), -1, dtype=np.int32)
    positions = np.zeros((len(event), 4))
    n_vertices = np.zeros(n_events, dtype=np.int64)
    siblings = _siblings(event, mother_offsets, mothers, points)
    offsets = offsets_from_counts(rows.n_particles)
    _link(
        offsets, usable, mother_offsets, mothers, points, siblings, is_beam, production, end, positions, n_vertices
    )  # fmt: skip
    is_used = np.arange(len(event)) - offsets[event] < n_vertices[event]
    positions = positions[is_used]
    return Graph(
        n_vertices, production, end, positions, np.ones(len(positions), dtype=np.bool_), np.zeros((n_events, 4))
    )  # fmt: skip


def _siblings(
    event: NDArray[np.int64], mother_offsets: NDArray[np.int64], mothers: NDArray[np.int64], points: NDArray[np.float64]
) -> NDArray[np.int64]:
    """A number (n_rows,) that particles share if their event, mothers and production point are the same.

    Sets of mothers are compared by the sum of 64 well-mixed bits of each (splitmix64, doi:10.1145/2714064.2660195).
    """
    mixed = (mothers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    sums = np.concatenate([[np.uint64(0)], np.cumsum(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)])
    keys = (*points.T, sums[mother_offsets[1:]] - sums[mother_offsets[:-1]], event)
    order = np.lexsort(keys)
    differs = np.zeros(len(event), dtype=np.bool_)
    for key in keys:
        differs[1:] |= key[order][1:] != key[order][:-1]
    groups = np.empty(len(event), dtype=np.int64)
    groups[order] = np.cumsum(differs)
    return groups


def keep_only(
    rows: Rows,
    keep: NDArray[np.bool_],
    points: NDArray[np.float64],
    n_mothers: NDArray[np.int64],
    mothers: NDArray[np.int64],
) -> tuple[Rows, NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """The same without some particles; links to those are cut."""
    if keep.all():
        return rows, points, n_mothers, mothers
    fits = check_mothers(rows, n_mothers, mothers)
    event = rows.event_of_row()
    daughter = np.repeat(np.arange(len(event)), n_mothers)
    mother = np.where(fits, offsets_from_counts(rows.n_particles)[event[daughter]] + mothers, 0)
    is_kept = fits & keep[daughter] & keep[mother]
    n_particles = np.bincount(event[keep], minlength=len(rows.n_particles))
    new_row = np.cumsum(keep) - 1
    new_mothers = new_row[mother[is_kept]] - offsets_from_counts(n_particles)[event[daughter[is_kept]]]
    new_n_mothers = np.bincount(daughter[is_kept], minlength=len(event))[keep]
    particles: Columns = {column: values[keep] for column, values in rows.particles.items()}
    return rows._replace(n_particles=n_particles, particles=particles), points[keep], new_n_mothers, new_mothers


@kernel
def _link(
    offsets: NDArray[np.int64],
    usable: NDArray[np.bool_],
    mother_offsets: NDArray[np.int64],
    mothers: NDArray[np.int64],
    points: NDArray[np.float64],
    siblings: NDArray[np.int64],
    is_beam: NDArray[np.bool_],
    production: NDArray[np.int32],
    end: NDArray[np.int32],
    positions: NDArray[np.float64],
    n_vertices: NDArray[np.int64],
) -> None:
    """See `build_vertices`. Vertex v of an event has the row `offsets[event] + v` of `positions`."""
    vertex_of = np.full(len(siblings), -1, dtype=np.int32)
    for event in range(len(n_vertices)):
        first = offsets[event]
        for i in range(first, offsets[event + 1]):
            if is_beam[i] or not usable[event]:
                continue
            vertex = vertex_of[siblings[i]]
            if vertex < 0:
                vertex = np.int32(n_vertices[event])
                n_vertices[event] += 1
                positions[first + vertex] = points[i]
                vertex_of[siblings[i]] = vertex
            production[i] = vertex
            for k in range(mother_offsets[i], mother_offsets[i + 1]):
                if end[first + mothers[k]] < 0:
                    end[first + mothers[k]] = vertex


@kernel
def _settle(
    offsets: NDArray[np.int64],
    vertex_offsets: NDArray[np.int64],
    status: NDArray[np.int32],
    production: NDArray[np.int32],
    end: NDArray[np.int32],
    is_given: NDArray[np.bool_],
    origins: NDArray[np.float64],
    positions: NDArray[np.float64],
    primary: NDArray[np.int64],
    is_cyclic: NDArray[np.bool_],
) -> None:
    """Walk down each event's vertices: positions from upstream, the primary vertex (-1 none), and whether there is a cycle.

    The primary vertex is where the first beam ends, else the first vertex that nothing comes into from another one.
    """
    for event in range(len(origins)):
        first, past = offsets[event], offsets[event + 1]
        base, n_vertices = vertex_offsets[event], vertex_offsets[event + 1] - vertex_offsets[event]
        first_mother = np.full(n_vertices, -1, dtype=np.int64)
        for i in range(past - 1, first - 1, -1):
            if end[i] >= 0:
                first_mother[end[i]] = i
                if status[i] == BEAM:
                    primary[event] = end[i]
        order = order_of_vertices(production[first:past], end[first:past], n_vertices)
        if primary[event] < 0 and len(order) > 0:
            primary[event] = order[0]
        for vertex in order:
            if not is_given[base + vertex]:
                mother = first_mother[vertex]
                from_vertex = mother >= 0 and production[mother] >= 0
                positions[base + vertex] = positions[base + production[mother]] if from_vertex else origins[event]
        is_cyclic[event] = len(order) < n_vertices


def to_read(rows: Rows, graph: Graph) -> Read:
    """The batch of the events that are physics, and the others with the reason."""
    n_events = len(rows.n_particles)
    offsets = offsets_from_counts(rows.n_particles)
    vertex_offsets = offsets_from_counts(graph.n_vertices)
    _check_numbers(rows, graph, offsets, vertex_offsets)
    primary = np.full(n_events, -1, dtype=np.int64)
    is_cyclic = np.zeros(n_events, dtype=np.bool_)
    _settle(
        offsets, vertex_offsets, rows.particles[c.STATUS], graph.production, graph.end, graph.is_given, graph.origins,
        graph.positions, primary, is_cyclic,
    )  # fmt: skip
    for i in np.flatnonzero(is_cyclic):
        rows.faults.setdefault(int(i), "its particles are their own ancestors")
    vertices = np.vstack([graph.positions, graph.origins])
    true = vertices[np.where(primary >= 0, vertex_offsets[:-1] + primary, len(graph.positions) + np.arange(n_events))]
    weight_offsets = offsets_from_counts(rows.n_weights)
    weights = np.insert(rows.weights, weight_offsets[:-1][rows.n_weights == 0], 1.0)  # none: one of 1
    weight_offsets = offsets_from_counts(np.maximum(rows.n_weights, 1))
    columns: Columns = {
        c.EVENT_ID: np.arange(rows.first_event, rows.first_event + n_events, dtype=np.uint64),
        c.EVENT_NUMBER: rows.event_numbers,
        c.WEIGHT: weights[weight_offsets[:-1]],
        **rows.events,
        c.WEIGHT_VALUE: weights,
        **{column: np.ascontiguousarray(true[:, axis]) for axis, column in enumerate(c.VERTEX_TRUE)},
        **{column: np.ascontiguousarray(graph.positions[:, axis]) for axis, column in enumerate(c.VERTEX_POSITION)},
        **rows.particles,
        c.PRODUCTION_VERTEX: graph.production,
        c.END_VERTEX: graph.end,
    }
    batch = make_batch({"particle": offsets, "vertex": vertex_offsets, "weight": weight_offsets}, columns)
    bad = [
        (
            rows.first_event + i,
            InputError(f"event {rows.event_numbers[i]} (position {rows.first_event + i}): {fault}", where=rows.path),
        )
        for i, fault in sorted(rows.faults.items())
    ]
    return Read(_without(batch, list(rows.faults)), bad)


def _check_numbers(rows: Rows, graph: Graph, offsets: NDArray[np.int64], vertex_offsets: NDArray[np.int64]) -> None:
    """Find momenta, energies, masses, places and weights that no file can hold, or that are no numbers."""
    event = rows.event_of_row()
    for column in (*c.MOMENTUM, c.ENERGY, c.MASS):
        values = rows.particles[column]
        is_bad: NDArray[np.bool_] = np.logical_not(np.abs(values) < LARGEST)
        for i in _first_of_each(event, is_bad):
            at = i - offsets[event[i]] + 1
            fault = f"particle {at} (PDG code {rows.particles[c.PDG][i]}) has {column.name} = {values[i]}"
            rows.faults.setdefault(int(event[i]), fault)
    event = np.repeat(np.arange(len(graph.n_vertices)), graph.n_vertices)
    for i in _first_of_each(event, np.logical_not((np.abs(graph.positions) < LARGEST).all(axis=1))):
        fault = f"vertex {i - vertex_offsets[event[i]] + 1} is at {graph.positions[i].tolist()}"
        rows.faults.setdefault(int(event[i]), fault)
    for i in np.flatnonzero(~(np.abs(graph.origins) < LARGEST).all(axis=1)):
        rows.faults.setdefault(int(i), f"it is at {graph.origins[i].tolist()}")
    weights = [(rows.weights, rows.n_weights)]
    if c.WEIGHT in rows.events:
        weights.append((rows.events[c.WEIGHT], np.ones_like(rows.n_weights)))
    for values, n_values in weights:
        event = np.repeat(np.arange(len(n_values)), n_values)
        for i in _first_of_each(event, np.logical_not(np.abs(values) < LARGEST)):
            rows.faults.setdefault(int(event[i]), f"it has the weight {values[i]}")


def _without(batch: EventBatch, events: list[int]) -> EventBatch:
    """The batch without some of its events."""
    if not events:
        return batch
    keep = np.ones(batch.n_events, dtype=np.bool_)
    keep[events] = False
    sizes = {table: np.diff(offsets) for table, offsets in batch.offsets.items()}
    columns: dict[c.Column, NDArray[Any]] = {
        column: values[np.repeat(keep, sizes[column.table])] for column, values in batch.columns.items()
    }
    return EventBatch({table: offsets_from_counts(n[keep]) for table, n in sizes.items()}, columns)
