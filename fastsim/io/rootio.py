"""ROOT files with TTrees, through uproot: whole or not at all, written seldom and large."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastsim.errors import FastsimError, UsageError, cannot_write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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


class RootFile:
    """A ROOT file being written under a temporary name beside its target; `close` puts it in place.

    Rows given to `extend` are collected and written in large pieces; tree names may hold a directory ("DF_0/O2track").
    A branch is given as a numpy array (n,) or (n, k), or as (counts, content) for a list of numbers a row.
    """

    def __init__(self, path: Path, *, compression_level: int) -> None:
        import uproot  # noqa: PLC0415  (0.5 s that small commands do not need)

        self.path = path.resolve()  # a link keeps pointing to where its file is
        self.temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        compression = uproot.ZSTD(compression_level) if compression_level else None
        try:
            self._file = uproot.recreate(self.temporary, compression=compression)
        except OSError as error:
            raise self._error(error) from None
        self._trees: dict[str, Any] = {}
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

    def add_tree(self, name: str, types: Mapping[str, Any]) -> None:
        """Declare a TTree: branch name -> dtype, (dtype, (k,)) for a fixed array, or "var * int32" for a list."""
        # Always mktree: assigning a dict to a key writes an RNTuple.
        try:
            self._trees[name] = self._file.mktree(name, dict(types), counter_name=lambda branch: f"{branch}_size")
        except OSError as error:
            raise self._error(error) from None
        self._rows[name] = []

    def extend(self, name: str, columns: Mapping[str, Any]) -> None:
        """Add rows to a tree."""
        self._rows[name].append(columns)
        self._n_bytes += sum(part.nbytes for a in columns.values() for part in (a if isinstance(a, tuple) else (a,)))
        if self._n_bytes > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is collected."""
        try:
            for name, parts in self._rows.items():
                if any(_n_rows(part) for part in parts):
                    self._trees[name].extend({branch: _join([part[branch] for part in parts]) for branch in parts[0]})
                parts.clear()
        except OSError as error:
            raise self._error(error) from None
        self._n_bytes = 0

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
        try:
            for name, text in texts.items():
                self._file[name] = text
            self._file.close()
            with self.temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            self.temporary.replace(self.path)
        except OSError as error:
            raise self._error(error) from None
        self._is_done = True

    def discard(self) -> None:
        """Leave nothing behind."""
        try:
            self._file.close()
        except Exception as error:  # noqa: BLE001  (the file is thrown away: whatever uproot says of it does not matter)
            log.debug("closing the discarded file: %s", error)
        self.temporary.unlink(missing_ok=True)
        self._is_done = True

    def _error(self, error: OSError) -> FastsimError:
        return cannot_write(error, self.path, "nothing is left under the final name")


def _n_rows(columns: Mapping[str, Any]) -> int:
    first = next(iter(columns.values()))
    return len(first[0] if isinstance(first, tuple) else first)


def _join(parts: list[Any]) -> Any:
    """Pieces of one branch as what uproot writes."""
    if not isinstance(parts[0], tuple):
        return np.concatenate(parts)
    import awkward as ak  # noqa: PLC0415

    counts = np.concatenate([counts for counts, _ in parts])
    return ak.unflatten(np.concatenate([content for _, content in parts]), counts)
