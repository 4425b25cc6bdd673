"""What the doors of our own columns share, Parquet and RNTuple: every column under its own name, a list of records a table.

The lists are called as in `EventBatch.to_awkward`: `particles`, `vertices`, `weights`, `tracks`, ... Numbers of events stay as
they are, others are rounded to float32. Events are written in groups, which are cut by the bytes written before: so batches of
any size give the same file, and no group outgrows memory. These files can be read back (`to_batch`); the others cannot.
"""

from __future__ import annotations

import itertools
import json
from abc import ABC, abstractmethod
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.events import EventBatch, offsets_from_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from fastsim.cards.schema import Output
    from fastsim.columns import Column, Table

GROUP_BYTES = 32 << 20  # the event that fills a group closes it: some thousand ttbar events
COLUMNS = "columns"  # under this key stands what is needed to know the columns again

Counts = dict[c.Table, "NDArray[np.int64]"]


class Group(NamedTuple):
    """Events that are written together: how many, each table's rows an event, and columns in the file's types."""

    n_events: int
    counts: Counts
    columns: dict[Column, NDArray[Any]]


def list_name(table: Table) -> str:
    """What the list of a table's rows is called."""
    return "vertices" if table == "vertex" else f"{table}s"


def written_dtype(column: Column) -> np.dtype[Any]:
    """The type in the file: float32 but for the numbers of events."""
    return np.dtype("float32" if column.dtype == "float64" and column.table != "event" else column.dtype)


def by_table(columns: Iterable[Column]) -> dict[Table, list[Column]]:
    """Columns of each table, in the order of tables."""
    tables: dict[Table, list[Column]] = {table: [] for table in c.TABLES}
    for column in columns:
        tables[column.table].append(column)
    return {table: members for table, members in tables.items() if members}


def needs(output: Output) -> tuple[Column, ...]:
    """What every run makes; the columns of the card's modules are written too."""
    del output
    return (
        *c.READ, c.CHARGE_TRUE, c.FROM_LONG_LIVED, c.IS_PRIMARY, c.TRACK_STATUS, c.DNCH_DETA, c.B_Z, c.PARTICLE_INDEX,
        c.SPECIES, c.IS_RECONSTRUCTED, c.EFFICIENCY, c.PT_TRUE, c.ETA_TRUE, *c.TRUE, *c.RECONSTRUCTED, c.COV_PACKED, c.PT,
        c.ETA, c.CHARGE,
    )  # fmt: skip


def units(output: Output, devices: Sequence[Column] = ()) -> dict[str, str]:
    """Units of the columns of every run and of devices; those that other modules make are said in the file."""
    names = {column: column.name if column.table == "event" else f"{list_name(column.table)}.{column.name}"
             for column in (*needs(output), *devices)}  # fmt: skip
    return {name: column.unit for column, name in names.items() if column.unit}


def is_written(column: Column, output: Output) -> bool:
    """Whether a column goes to the file; without truth there are no generated particles, and no links to them."""
    return output.truth != "none" or (
        column.table not in {"particle", "vertex"} and column not in {c.PARTICLE_INDEX, c.CLUSTER_PARTICLE}
    )


class ColumnarWriter(ABC):
    """Writes batches in groups. What a format does with a group is for the classes that derive from this one."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._columns: list[Column] = []
        self._n_bytes = 0  # of all events so far
        self._number = 0  # of the group that is being collected
        self._parts: list[Group] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    @abstractmethod
    def begin(self, columns: Sequence[Column]) -> None:
        """Declare the columns."""

    @abstractmethod
    def put(self, group: Group) -> None:
        """Write a group."""

    @abstractmethod
    def finish(self, texts: Mapping[str, str]) -> None:
        """Write texts and put the file in its place."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing behind; does nothing after `finish`."""

    def write(self, batch: EventBatch) -> None:
        """Add the events of a batch."""
        if not self._columns:
            self._declare([column for column in batch.columns if is_written(column, self._output)])
        sizes = np.zeros(batch.n_events, dtype=np.int64)
        for table, columns in by_table(self._columns).items():
            row = sum(written_dtype(column).itemsize * int(np.prod(column.shape)) for column in columns)
            sizes += row if table == "event" else row * np.diff(batch.offsets[table])
        number = (self._n_bytes + offsets_from_counts(sizes)[:-1]) // GROUP_BYTES
        starts = np.flatnonzero(np.diff(number, prepend=-1, append=-1))  # none, if all events of a batch were bad
        for first, end in itertools.pairwise(starts):
            if self._parts and number[first] != self._number:
                self._flush()
            self._number = int(number[first])
            self._parts.append(self._part(batch.slice_events(int(first), int(end))))
        self._n_bytes += int(sizes.sum())

    def close(self, texts: Mapping[str, str]) -> None:
        """Write what is left, and finish the file; one without events has the columns of every run."""
        if not self._columns:
            self._declare([column for column in needs(self._output) if is_written(column, self._output)])
        if self._parts:
            self._flush()
        self.finish({**texts, COLUMNS: describe(self._columns)})

    def _declare(self, columns: list[Column]) -> None:
        self._columns = [column for members in by_table(columns).values() for column in members]
        self.begin(self._columns)

    def _part(self, batch: EventBatch) -> Group:
        counts: Counts = {t: np.diff(batch.offsets[t]) for t in by_table(self._columns) if t != "event"}
        return Group(
            batch.n_events, counts, {column: batch[column].astype(written_dtype(column)) for column in self._columns}
        )

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        counts = {table: np.concatenate([part.counts[table] for part in parts]) for table in parts[0].counts}
        columns = {column: np.concatenate([part.columns[column] for part in parts]) for column in self._columns}
        self.put(Group(sum(part.n_events for part in parts), counts, columns))


def describe(columns: Sequence[Column]) -> str:
    """Columns as text."""
    return json.dumps([column._asdict() for column in columns], indent=1)


def described(text: str, where: str) -> list[Column]:
    """Columns of a text; raises InputError if it is not one of `describe`."""
    try:
        found = [c.Column(**{**fields, "shape": tuple(fields["shape"])}) for fields in json.loads(text)]
        for column in found:
            np.dtype(column.dtype)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError("its list of columns cannot be read", where=where) from error
    declared = {(column.table, column.name): column for column in _declared()}
    return [declared.get((column.table, column.name), column) for column in found]


def _declared() -> Iterator[Column]:
    """All columns of `fastsim.columns`."""
    for value in vars(c).values():
        yield from (item for item in (value if type(value) is tuple else (value,)) if isinstance(item, c.Column))


def to_batch(group: Group) -> EventBatch:
    """The events of a group in the program's types; tables and links that the file leaves out are there, and empty."""
    counts = {
        table: group.counts.get(table, np.zeros(group.n_events, dtype=np.int64)) for table in _ALWAYS
    } | group.counts
    offsets: dict[Table, NDArray[np.int64]] = {table: offsets_from_counts(n) for table, n in counts.items()}
    columns = {column: values.astype(column.dtype) for column, values in group.columns.items()}
    for column in (*c.READ, c.CHARGE_TRUE, c.FROM_LONG_LIVED, c.IS_PRIMARY, c.TRACK_STATUS):
        if column.table in {"particle", "vertex"} and column not in columns:
            columns[column] = np.empty(0, dtype=column.dtype)
    if c.PARTICLE_INDEX not in columns:
        columns[c.PARTICLE_INDEX] = np.full(int(offsets["track"][-1]), -1, dtype=np.int32)
    return EventBatch(offsets, columns)


_ALWAYS: tuple[Table, ...] = ("weight", "vertex", "particle", "track")


def digest(groups: Iterable[Group]) -> str:
    """Hash of all columns: names, types and values, whatever the groups are."""
    totals: dict[str, Any] = {}
    for group in groups:
        named = {f"{table}:counts": counts for table, counts in group.counts.items()}
        named |= {f"{column}:{values.dtype.str}{column.shape}": values for column, values in group.columns.items()}
        for name, values in named.items():
            totals.setdefault(name, sha256()).update(np.ascontiguousarray(values).tobytes())
    whole = sha256()
    for name in sorted(totals):
        whole.update(f"{name}:{totals[name].hexdigest()}\n".encode())
    return whole.hexdigest()
