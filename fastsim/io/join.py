"""Joining files of one format, one behind the other, a piece at a time: one class a format.

Whether they belong together is for `fastsim.merge` to say.
`add` takes the next file and yields numbers of events as they are written. `shift` is added to the positions of its events.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, closing
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.events import EventBatch
from fastsim.io import aod_names
from fastsim.io.aod import MAX_ROWS
from fastsim.io.check_tools import read
from fastsim.io.columnar import to_batch
from fastsim.io.inspect import open_file, trees
from fastsim.io.output import FORMATS
from fastsim.io.rootio import FileWriter, RootFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from fastsim.cards.schema import Output

PIECE = "32 MB"  # read at once of a tree
EVENT_IDS = {"ao2d": ("bc", "fGlobalBC"), "nano": ("Events", "event")}  # which branch holds positions of events


class Shard(NamedTuple):
    """A file to be added: what is added to its events' positions, and the positions that it may hold, before that."""

    path: Path
    shift: int
    first: int
    end: int


class Joiner(Protocol):
    """A file being joined under a temporary name; leaving it without `close` leaves nothing behind."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def add(self, shard: Shard) -> Iterator[int]:
        """Add a file's events; raises InputError if it is damaged, or not like the others."""

    def close(self, texts: Mapping[str, str]) -> None:
        """Add named texts, finish the file and put it in place."""


def open_joiner(name: str, path: Path, output: Output) -> Joiner:
    """What joins files of a format; raises FastsimError if the output cannot be written."""
    kinds: dict[str, Callable[[str, Path, Output], Joiner]] = {
        "ao2d": FrameJoiner,
        "nano": TreeJoiner,
        "delphes": TreeJoiner,
    }
    kind = kinds.get(name, ColumnJoiner)
    return kind(name, path, output)


class RootJoiner(FileWriter):
    """What joiners of TTrees share: the file, and the branches of each tree as they were in the first file."""

    def __init__(self, name: str, path: Path, output: Output) -> None:
        self._id_branch = EVENT_IDS.get(name, ("", ""))
        self._types: dict[str, dict[str, Any]] = {}
        self._texts: dict[str, str] = {}
        self._last_id = -1
        self._output = output
        self.file = RootFile(path, compression_level=output.compression_level)

    def close(self, texts: Mapping[str, str]) -> None:
        """Write the texts, those of the first file too."""
        self.file.close({**texts, **{name: text for name, text in self._texts.items() if name not in texts}})

    def _open(self, shard: Shard) -> Any:
        file = open_file(shard.path)
        if not self._texts:
            kinds = file.classnames(cycle=False, recursive=False)
            self._texts = {name: str(file[name]) for name, kind in kinds.items() if kind == "TObjString"}
        return file

    def _check_branches(self, shard: Shard, name: str, tree: Any) -> None:
        """All trees of a name must have the same branches."""
        types = {b.name: b.typename for b in tree.branches}
        expected = self._types.setdefault(name, types)
        if types != expected:
            raise InputError(f"{name}: has other branches than in the files before it", where=str(shard.path))

    def _numbered(self, ids: NDArray[Any], shard: Shard) -> NDArray[Any]:
        """Positions of events in the joined file; raises InputError if they do not ascend, or are not the shard's."""
        if not len(ids):
            return ids
        found = ids.astype(np.int64)
        if found.min() < shard.first or found.max() >= shard.end:
            wrong = found[(found < shard.first) | (found >= shard.end)][0]
            raise InputError(
                f"holds event {wrong}, and its provenance speaks of {shard.first}:{shard.end}", where=str(shard.path)
            )
        if found[0] + shard.shift <= self._last_id or (np.diff(found) <= 0).any():
            raise InputError("its events are not in ascending order", where=str(shard.path))
        self._last_id = int(found[-1]) + shard.shift
        return (found + shard.shift).astype(ids.dtype)


class FrameJoiner(RootJoiner):
    """AO2D: data frames one after another; one that continues in the next file is put together again."""

    def __init__(self, name: str, path: Path, output: Output) -> None:
        super().__init__(name, path, output)
        self._number: int | None = None
        self._n_rows: dict[str, int] = {}  # of each table in the frame so far

    def add(self, shard: Shard) -> Iterator[int]:
        """See `Joiner.add`. Data frames without rows are left out."""
        with self._open(shard) as file:
            frames: dict[int, list[str]] = {}
            for tree in trees(file):
                number = aod_names.frame_number(tree.partition("/")[0])
                if number is None:
                    raise InputError(f"{tree}: a tree outside of data frames", where=str(shard.path))
                frames.setdefault(number, []).append(tree)
            for number in sorted(frames):
                in_order = [name for name in file.keys(cycle=False) if name in set(frames[number])]
                opened = {name.partition("/")[2]: file[name] for name in in_order}
                for name, tree in opened.items():
                    self._check_branches(shard, name, tree)
                if set(opened) != set(self._types):
                    raise InputError(f"DF_{number}: has other trees than the frames before it", where=str(shard.path))
                if any(tree.num_entries for tree in opened.values()):
                    yield self._add_frame(number + shard.shift // self._output.events_per_frame, opened, shard)
                elif self._number is None:
                    self._empty = {name: branch_types(tree) for name, tree in opened.items()}

    def close(self, texts: Mapping[str, str]) -> None:
        """Without any event there is one empty data frame, as a run writes it."""
        if self._number is None:
            self._start(0, self._empty)
        super().close(texts)

    def _start(self, number: int, types: Mapping[str, Mapping[str, Any]]) -> None:
        self.file.close_trees()
        self._number = number
        self._n_rows = {aod_names.table_of(name): 0 for name in types}
        for name, branches in types.items():
            self.file.add_tree(f"DF_{number}/{name}", branches)

    def _add_frame(self, number: int, opened: Mapping[str, Any], shard: Shard) -> int:
        """Add the rows of a data frame behind those that are there; gives its number of events."""
        if number != self._number:
            self._start(number, {name: branch_types(tree) for name, tree in opened.items()})
        for name, tree in opened.items():
            table = aod_names.table_of(name)
            for columns in pieces(tree):
                for branch, values in columns.items():
                    columns[branch] = self._moved(values, branch, table, shard)
                self.file.extend(f"DF_{number}/{name}", columns)
        for name, tree in opened.items():
            table = aod_names.table_of(name)
            self._n_rows[table] += tree.num_entries
            if self._n_rows[table] > MAX_ROWS:
                raise InputError(f"DF_{number}/{name} would have over 2^31 rows", where=str(shard.path))
        return next((tree.num_entries for name, tree in opened.items() if aod_names.table_of(name) == "bc"), 0)

    def _moved(self, values: Any, branch: str, table: str, shard: Shard) -> Any:
        """Values of a branch where its rows now are: indices by the rows before, positions of events by the shift."""
        if (table, branch) == self._id_branch:
            return self._numbered(values, shard)
        index = aod_names.index_of(branch, table)
        if index is None:
            return values
        n_before = self._n_rows.get(index.table) if index.table else None
        if n_before is None:
            if any(self._n_rows.values()):
                raise InputError(f"O2{table}.{branch}: refers to a table that is not known", where=str(shard.path))
            return values
        counts, content = values if isinstance(values, tuple) else (None, values)
        moved = np.where(content >= 0, content + content.dtype.type(n_before), content)
        return moved if counts is None else (counts, moved)


class TreeJoiner(RootJoiner):
    """One tree with a row an event, whose lists refer to rows of the same event only: rows one after another."""

    def add(self, shard: Shard) -> Iterator[int]:
        """See `Joiner.add`."""
        with self._open(shard) as file:
            names = trees(file)
            if self._types and set(names) != set(self._types):
                raise InputError(f"has the trees {', '.join(names)}, the files before it others", where=str(shard.path))
            for name in names:
                tree = file[name]
                if name not in self._types:
                    keys, counters = lists(tree)
                    names_of = {keys[branch]: counter for branch, counter in counters.items()}
                    self.file.add_tree(
                        name, branch_types(tree), counter_name=names_of.__getitem__, field_name=lambda _, branch: branch
                    )
                self._check_branches(shard, name, tree)
                for columns in pieces(tree):
                    if self._id_branch[0] == name:
                        columns[self._id_branch[1]] = self._numbered(columns[self._id_branch[1]], shard)
                    self.file.extend(name, columns)
                    rows = next(iter(columns.values()))
                    yield len(rows[0] if isinstance(rows, tuple) else rows)


class ColumnJoiner:
    """Files of our own columns: read back and written again, which groups their events as one run would have."""

    def __init__(self, name: str, path: Path, output: Output) -> None:
        self._module = import_module(FORMATS[name].module)
        self._stack = ExitStack()
        self._writer = FORMATS[name].open(path, output)

    def __enter__(self) -> Self:
        self._stack.enter_context(self._writer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, shard: Shard) -> Iterator[int]:
        """See `Joiner.add`."""
        with closing(self._module.read_groups(shard.path)) as groups:
            for group in groups:
                batch = to_batch(group)
                ids = (batch[c.EVENT_ID].astype(np.int64) + shard.shift).astype(np.uint64)
                self._writer.write(EventBatch(batch.offsets, {**batch.columns, c.EVENT_ID: ids}))
                yield batch.n_events

    def close(self, texts: Mapping[str, str]) -> None:
        """See `Joiner.close`."""
        self._writer.close(texts)


def lists(tree: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Lists, branch by branch: its key in `pieces`, which is its own name, or of all with its counter; its counter."""
    counters = {b.name: b.count_branch.name for b in tree.branches if b.count_branch is not None}
    n_counted = Counter(counters.values())
    return {
        name: name if n_counted[counter] == 1 else f"rows of {counter}" for name, counter in counters.items()
    }, counters


def branch_types(tree: Any) -> dict[str, Any]:
    """What `RootFile.add_tree` needs to make the tree again, in the order of the branches; lists by the names of `lists`."""
    from awkward.types import ListType, NumpyType, RecordType  # noqa: PLC0415

    keys, counters = lists(tree)
    members: dict[str, dict[str, Any]] = {}
    types: dict[str, Any] = {}
    for branch in tree.branches:
        if branch.name in keys:
            key = keys[branch.name]
            members.setdefault(key, {})[branch.name] = NumpyType(branch.interpretation.content.to_dtype.name)
            own = members[key]
            types[key] = ListType(own[key] if key in own else RecordType(list(own.values()), list(own)))
        elif branch.name not in counters.values():
            types[branch.name] = branch.interpretation.to_dtype.newbyteorder("=")
    return types


def pieces(tree: Any) -> Iterator[dict[str, Any]]:
    """Rows of a tree as `RootFile.extend` takes them, some at a time; raises InputError where they cannot be read."""
    keys, counters = lists(tree)
    step = max(1, tree.num_entries_for(PIECE)) if tree.num_entries else 1
    for start in range(0, tree.num_entries, step):
        columns: dict[str, Any] = {}
        for branch in tree.branches:
            if branch.name in counters.values():
                continue
            where, path = f"{tree.object_path.partition(';')[0].strip('/')}.{branch.name}", tree.file.file_path
            counts, values = read(branch, where, path, entry_start=start, entry_stop=start + step)
            key = keys.get(branch.name)
            if key in (None, branch.name):
                columns[branch.name] = values if counts is None else (counts, values)
            else:
                columns.setdefault(key, (counts, {}))[1][branch.name] = values
        yield columns
