"""ROOT files with TTrees, through uproot: whole or not at all, written seldom and large."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastsim.errors import UsageError, cannot_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

FLUSH_BYTES = 32 << 20  # rows are kept in memory up to this size: every write costs some 5 ms a tree whatever its size
log = logging.getLogger(__name__)


def refuse_existing(path: Path, *, overwrite: bool, inputs: Sequence[Path] = ()) -> None:
    """Raise UsageError if the output cannot be put there (or would replace an input), before any work is done."""
    if path.is_dir():
        raise UsageError("is a directory, not a file to write", where=str(path))
    if path.exists() and not path.is_file():
        raise UsageError(
            "is not an ordinary file", where=str(path), hint="files appear whole, which pipes and devices cannot"
        )
    if any(path.exists() and other.exists() and path.samefile(other) for other in inputs):
        raise UsageError("is an input of this very run", where=str(path), hint="choose another name for the output")
    if path.exists() and not overwrite:
        raise UsageError("exists already", where=str(path), hint="choose another name, or say --overwrite")
    if not path.parent.is_dir():
        raise UsageError("no such folder", where=str(path.parent), hint="make it first")


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Says of an OSError inside what it means for the file to write: raises OutputError or UsageError."""
    try:
        yield
    except OSError as error:
        raise cannot_write(error, path, "nothing is left under the final name") from None


class RootFile:
    """A ROOT file being written under a temporary name beside its target; `close` puts it in place.

    Rows given to `extend` are collected and written in large pieces; tree names may hold a directory ("DF_0/O2track").
    A branch is given as a numpy array (n,) or (n, k), or as (counts, content) for a list of numbers a row; a collection, whose
    branches share one counter, as (counts, {name: content}).
    """

    def __init__(self, path: Path, *, compression_level: int) -> None:
        import uproot  # noqa: PLC0415  (0.5 s that small commands do not need)

        self.path, self.temporary = _names(path)
        compression = uproot.ZSTD(compression_level) if compression_level else None
        with errors_of(self.path):
            try:
                self._file = uproot.recreate(self.temporary, compression=compression)
            except OSError:
                with suppress(OSError):  # the disk can be full after the first bytes
                    self.temporary.unlink()
                raise
        self._trees: dict[str, Any] = {}
        self._ntuples: dict[str, Any] = {}
        self._rows: dict[str, list[Mapping[str, Any]]] = {}
        self._n_bytes = 0
        self._is_done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_done:
            self.discard()

    def add_tree(
        self,
        name: str,
        types: Mapping[str, Any],
        *,
        counter_name: Callable[[str], str] = "{}_size".format,
        field_name: Callable[[str, str], str] = "{}.{}".format,
    ) -> None:
        """Declare a TTree.

        Branch name -> dtype, (dtype, (k,)) for a fixed array, "var * int32" for a list, "var * {pt: float32, ...}" for a
        collection; `counter_name` of a list or collection, `field_name` of a collection and its member.
        """
        # Always mktree: assigning a dict to a key writes an RNTuple.
        with errors_of(self.path):
            self._trees[name] = self._file.mktree(name, dict(types), counter_name=counter_name, field_name=field_name)
        self._rows[name] = []

    def extend(self, name: str, columns: Mapping[str, Any]) -> None:
        """Add rows to a tree."""
        self._rows[name].append(columns)
        self._n_bytes += sum(_n_bytes(values) for values in columns.values())
        if self._n_bytes > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is collected."""
        with errors_of(self.path):
            for name, parts in self._rows.items():
                if any(_n_rows(part) for part in parts):
                    self._trees[name].extend({branch: _join([part[branch] for part in parts]) for branch in parts[0]})
                parts.clear()
        self._n_bytes = 0

    def add_ntuple(self, name: str, form: Any) -> None:
        """Declare an RNTuple by the form of an awkward array of records."""
        with errors_of(self.path):
            self._ntuples[name] = self._file.mkrntuple(name, form)

    def extend_ntuple(self, name: str, rows: Any) -> None:
        """Write an awkward array of records as a cluster of an RNTuple."""
        with errors_of(self.path):
            self._ntuples[name].extend(rows)

    def close_trees(self) -> None:
        """Write what is collected and forget the trees: no more rows for them."""
        self.flush()
        self._trees.clear()
        self._rows.clear()
        # uproot keeps every tree and directory for later use: 0.2 MB a data frame, for ever. Nothing public forgets them.
        self._file._file._trees.clear()  # noqa: SLF001
        self._file._subdirs.clear()  # noqa: SLF001

    def close(self, texts: Mapping[str, str]) -> None:
        """Write named texts, make sure that all is on disk, and give the file its final name."""
        self.close_trees()
        with errors_of(self.path):
            for name, text in texts.items():
                self._file[name] = text
            self._file.close()
            _put_in_place(self.temporary, self.path)
        self._is_done = True

    def discard(self) -> None:
        """Leave nothing behind."""
        try:
            self._file.close()
        except Exception as error:  # noqa: BLE001  (the file is thrown away: whatever uproot says of it does not matter)
            log.debug("closing the discarded file: %s", error)
        self.temporary.unlink(missing_ok=True)
        self._is_done = True


class FileWriter:
    """Base of what writes to one RootFile: leaving it by an exception leaves nothing behind."""

    file: RootFile

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.__exit__(kind, error, trace)


class PartialFile:
    """A file of bytes under a temporary name beside its target; `keep` puts it in place. Raises as RootFile does."""

    def __init__(self, path: Path) -> None:
        self.path, self.temporary = _names(path)
        self._is_done = False
        with errors_of(self.path):
            self.stream = self.temporary.open("wb")

    def keep(self) -> None:
        """Make sure that all is on disk, and give the file its final name."""
        with errors_of(self.path):
            self.stream.close()
            _put_in_place(self.temporary, self.path)
        self._is_done = True

    def discard(self) -> None:
        """Leave nothing behind; does nothing after `keep`."""
        if self._is_done:
            return
        try:
            self.stream.close()
        except OSError as error:
            log.debug("closing the discarded file: %s", error)
        self.temporary.unlink(missing_ok=True)
        self._is_done = True


def _names(path: Path) -> tuple[Path, Path]:
    """Where a file goes, and what it is called until it is whole; a link keeps pointing to where its file is."""
    target = path.resolve()
    return target, target.with_name(f".{target.name}.{os.getpid()}.part")


def _put_in_place(temporary: Path, target: Path) -> None:
    """Make sure that all is on disk, and give the file its final name."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(target)


def _n_rows(columns: Mapping[str, Any]) -> int:
    first = next(iter(columns.values()))
    return len(first[0] if isinstance(first, tuple) else first)


def _n_bytes(values: Any) -> int:
    if isinstance(values, tuple):
        return sum(map(_n_bytes, values))
    return sum(map(_n_bytes, values.values())) if isinstance(values, dict) else int(values.nbytes)


def _join(parts: list[Any]) -> Any:
    """Pieces of one branch or collection as what uproot writes."""
    if not isinstance(parts[0], tuple):
        return _concatenate(parts)
    import awkward as ak  # noqa: PLC0415

    counts = _concatenate([counts for counts, _ in parts])
    contents = [content for _, content in parts]
    if isinstance(contents[0], dict):
        members = {name: _concatenate([content[name] for content in contents]) for name in contents[0]}
        layouts = [ak.contents.NumpyArray(values) for values in members.values()]
        inside = ak.contents.RecordArray(layouts, list(members), length=int(counts.sum()))
    else:
        inside = ak.contents.NumpyArray(_concatenate(contents))
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(offsets), inside))


def _concatenate(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
