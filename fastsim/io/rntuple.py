"""The RNTuple door: our own columns in ROOT's successor of the TTree; units and meanings stand in the text `columns`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.errors import InputError
from fastsim.events import offsets_from_counts
from fastsim.io.columnar import (
    COLUMNS,
    ColumnarWriter,
    Counts,
    Group,
    by_table,
    described,
    list_name,
    needs,
    units,
    written_dtype,
)
from fastsim.io.inspect import open_file
from fastsim.io.rootio import RootFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastsim.cards.schema import Output
    from fastsim.columns import Column

__all__ = ["needs", "open_writer", "read_groups", "texts", "units"]

EVENTS = "events"


def open_writer(path: Path, output: Output, devices: Sequence[Column] = ()) -> RNTupleWriter:
    """A new ROOT file with an RNTuple."""
    del devices  # all columns are written
    return RNTupleWriter(path, output)


class RNTupleWriter(ColumnarWriter):
    """Writes an RNTuple `events`; a group is a cluster."""

    def __init__(self, path: Path, output: Output) -> None:
        super().__init__(output)
        self._file = RootFile(path, compression_level=output.compression_level)

    def begin(self, columns: Sequence[Column]) -> None:
        """Declare the columns."""
        nothing = {t: np.zeros(0, dtype=np.int64) for t in by_table(columns)}
        values = {column: np.zeros((0, *column.shape), dtype=written_dtype(column)) for column in columns}
        self._file.add_ntuple(EVENTS, _array(Group(0, nothing, values)).layout.form)

    def put(self, group: Group) -> None:
        """Write a cluster."""
        self._file.extend_ntuple(EVENTS, _array(group))

    def finish(self, texts: Mapping[str, str]) -> None:
        """Write the texts."""
        self._file.close(texts)

    def discard(self) -> None:
        """Leave nothing behind."""
        self._file.__exit__(None, None, None)


def _array(group: Group) -> Any:
    """A group as an awkward array of events, without a copy."""
    import awkward as ak  # noqa: PLC0415  (0.4 s that kernels and small commands do not need)

    def content(column: Column) -> Any:
        values = group.columns[column]
        inside = ak.contents.NumpyArray(values.reshape(-1))
        size = int(np.prod(column.shape))
        return ak.contents.RegularArray(inside, size, zeros_length=len(values)) if column.shape else inside

    fields: dict[str, Any] = {}
    for table, columns in by_table(group.columns).items():
        members = {column.name: content(column) for column in columns}
        if table == "event":
            fields |= members
        else:
            offsets = offsets_from_counts(group.counts[table])
            record = ak.contents.RecordArray(list(members.values()), list(members), length=int(offsets[-1]))
            fields[list_name(table)] = ak.contents.ListOffsetArray(ak.index.Index64(offsets), record)
    return ak.Array(ak.contents.RecordArray(list(fields.values()), list(fields), length=group.n_events))


def texts(path: Path) -> dict[str, str]:
    """The texts of a file of ours; raises InputError if it is not one."""
    with open_file(path) as file:
        kinds = file.classnames(cycle=False)
        if kinds.get(EVENTS) != "ROOT::RNTuple" or COLUMNS not in kinds:
            raise InputError("a ROOT file, but not an RNTuple of fastsim", where=str(path))
        return {name: str(file[name]) for name, kind in kinds.items() if kind == "TObjString"}


def read_groups(path: Path) -> Iterator[Group]:
    """What was written, cluster by cluster; raises InputError."""
    columns = described(texts(path)[COLUMNS], str(path))
    with open_file(path) as file:
        ntuple = file[EVENTS]
        clusters = [(found.num_first_entry, found.num_entries) for found in ntuple.cluster_summaries]
        for first, n in clusters or [(0, 0)]:
            try:
                events = ntuple.arrays(entry_start=first, entry_stop=first + n)
            except Exception as error:  # uproot raises whatever the bytes lead it to
                raise InputError(f"not a whole ROOT file ({type(error).__name__})", where=str(path)) from error
            yield _group(events, columns)


def _group(events: Any, columns: Sequence[Column]) -> Group:
    import awkward as ak  # noqa: PLC0415

    counts: Counts = {}
    values: dict[Column, NDArray[Any]] = {}
    for table, own in by_table(columns).items():
        rows = events
        if table != "event":
            counts[table] = ak.to_numpy(ak.num(events[list_name(table)])).astype(np.int64)
            rows = ak.flatten(events[list_name(table)])
        for column in own:
            values[column] = np.ascontiguousarray(ak.to_numpy(rows[column.name]))
    return Group(len(events), counts, values)
