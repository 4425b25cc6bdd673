"""EventBatch: some events as flat columns with per-event offsets, the form in which everything travels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim.columns import (
    END_VERTEX,
    LEAVES_TRACKER,
    PROCESS,
    PRODUCTION_VERTEX,
    STATUS,
    TABLES,
    VERTEX_POSITION,
    VERTEX_TRUE,
    Column,
    Table,
)
from fastsim.jit import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Columns = dict[Column, "NDArray[Any]"]


class NewParticles(NamedTuple):
    """Rows behind the particles and vertices of each event, and what becomes of those that were there.

    `event` (n,) in the batch, in order; `columns` of the particles (n rows each), but for vertices and those of the batch
    that are 0 for new ones (`leaves_tracker`, if there is one: true for final ones that do not end); `vertex` and `end` (n,):
    which new vertex they come from and end in (-1: none). The new vertices have `vertex_event` (m,), in order, and
    `vertex_position` (m, 4) [cm, ns]. The old rows `ended` (k,) end in the new vertices `ended_in`, with status `ended_status`,
    and leave the tracker no more.
    """

    event: NDArray[np.int64]
    columns: Columns
    vertex: NDArray[np.int64]
    end: NDArray[np.int64]
    vertex_event: NDArray[np.int64]
    vertex_position: NDArray[np.float64]
    ended: NDArray[np.int64]
    ended_in: NDArray[np.int64]
    ended_status: NDArray[np.int32]


@dataclass(frozen=True)
class EventBatch:
    """Columns of some consecutive events.

    ``offsets[table]`` (n_events + 1,) int64: rows of event i are ``offsets[i]:offsets[i + 1]``; this is awkward's own
    layout. The event table has one row an event. Columns are added, never changed.
    """

    offsets: Mapping[Table, NDArray[np.int64]]
    columns: Mapping[Column, NDArray[Any]] = field(default_factory=dict)

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.offsets["particle"]) - 1

    def n_rows(self, table: Table) -> int:
        """Number of rows of a table, all events together."""
        return int(self.offsets[table][-1])

    def __getitem__(self, column: Column) -> NDArray[Any]:
        return self.columns[column]

    def __contains__(self, column: object) -> bool:
        return column in self.columns

    def with_columns(self, columns: Columns, offsets: Mapping[Table, NDArray[np.int64]] | None = None) -> EventBatch:
        """A batch that also has these columns (and, where new, these tables)."""
        return EventBatch({**self.offsets, **(offsets or {})}, {**self.columns, **columns})

    def with_particles(self, new: NewParticles) -> EventBatch:
        """A batch that has these particles, too, each event's behind its own; `columns.PROCESS` says what made them."""
        particles, order = rows_behind(self.offsets["particle"], new.event)
        vertices, vertex_order = rows_behind(self.offsets["vertex"], new.vertex_event)
        number = self.offsets["vertex"][new.vertex_event + 1] - self.offsets["vertex"][new.vertex_event]
        first = np.searchsorted(new.vertex_event, new.vertex_event)
        number = number + np.arange(len(first)) - first  # of each new vertex in its event
        end, status = self[END_VERTEX].copy(), self[STATUS].copy()
        end[new.ended], status[new.ended] = number[new.ended_in], new.ended_status
        columns = dict(self.columns)
        columns.setdefault(PROCESS, np.zeros(len(end), dtype=PROCESS.dtype))
        number_or_none = np.append(number, -1)  # the last is for -1
        behind = {
            LEAVES_TRACKER: (new.columns[STATUS] == 1) & (new.end < 0),
            **new.columns,
            PRODUCTION_VERTEX: number_or_none[new.vertex],
            END_VERTEX: number_or_none[new.end],
        }
        columns |= {END_VERTEX: end, STATUS: status}
        if LEAVES_TRACKER in columns:
            columns[LEAVES_TRACKER] = columns[LEAVES_TRACKER].copy()
            columns[LEAVES_TRACKER][new.ended] = False
        for column, array in columns.items():
            if column.table == "particle":
                added = behind.get(column, np.zeros((len(new.event), *column.shape)))
                columns[column] = np.concatenate([array, added.astype(column.dtype)])[order]
        for axis, column in enumerate(VERTEX_POSITION):
            columns[column] = np.concatenate([self[column], new.vertex_position[:, axis]])[vertex_order]
        return EventBatch({**self.offsets, "particle": particles, "vertex": vertices}, columns)

    def slice_events(self, first: int, end: int) -> EventBatch:
        """Events `first` to `end` (exclusive) as a batch of their own, without a copy of the columns."""
        offsets = {t: o[first : end + 1] - o[first] for t, o in self.offsets.items()}
        columns = {
            c: a[first:end] if c.table == "event" else a[self.offsets[c.table][first] : self.offsets[c.table][end]]
            for c, a in self.columns.items()
        }
        return EventBatch(offsets, columns)

    def event_index(self, table: Table) -> NDArray[np.int64]:
        """Event (position in the batch) of each row of a table."""
        return np.repeat(np.arange(self.n_events), np.diff(self.offsets[table]))

    def to_awkward(self) -> Any:
        """The batch as one awkward array of events: event columns, and a list of records for each other table."""
        import awkward as ak  # noqa: PLC0415  (0.4 s that kernels and small commands do not need)

        fields: dict[str, Any] = {c.name: a for c, a in self.columns.items() if c.table == "event"}
        for table in TABLES[1:]:
            members = {c.name: a for c, a in self.columns.items() if c.table == table}
            if members:
                contents = [
                    ak.contents.NumpyArray(a) if a.ndim == 1 else ak.from_numpy(a).layout for a in members.values()
                ]
                record = ak.contents.RecordArray(contents, list(members), length=self.n_rows(table))
                offsets = ak.index.Index64(self.offsets[table])
                fields["vertices" if table == "vertex" else f"{table}s"] = ak.Array(
                    ak.contents.ListOffsetArray(offsets, record)
                )
        return ak.zip(fields, depth_limit=1)


def rows_behind(offsets: NDArray[np.int64], events: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offsets (n + 1,) with one more row for each of `events`, behind those there, and which of old and new rows stand where."""
    old = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    counts = np.bincount(events, minlength=len(offsets) - 1)
    order = np.argsort(np.concatenate([old, events]), kind="stable")
    return offsets + offsets_from_counts(counts), order


def production_points(batch: EventBatch) -> NDArray[np.float64]:
    """Where and when each particle was produced (n, 4) [cm, cm, cm, ns]; the event's vertex if it has no vertex of its own."""
    points = np.empty((batch.n_rows("particle"), 4))
    for axis in range(4):
        _fill_points(
            batch.offsets["particle"], batch.offsets["vertex"], batch[PRODUCTION_VERTEX], batch[VERTEX_POSITION[axis]],
            batch[VERTEX_TRUE[axis]], points[:, axis],
        )  # fmt: skip
    return points


@kernel
def _fill_points(
    particles: NDArray[np.int64],
    vertices: NDArray[np.int64],
    production_vertex: NDArray[np.int32],
    positions: NDArray[np.float64],
    event_positions: NDArray[np.float64],
    points: NDArray[np.float64],
) -> None:
    """One coordinate of the production points, from offsets of particles and vertices."""
    for event in range(len(particles) - 1):
        for i in range(particles[event], particles[event + 1]):
            local = production_vertex[i]
            points[i] = positions[vertices[event] + local] if local >= 0 else event_positions[event]


def offsets_from_counts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Offsets (n + 1,) of n consecutive groups of these sizes."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
