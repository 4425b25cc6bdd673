"""Which door writes which format."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, cast

from fastsim.columns import DECLARED
from fastsim.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from fastsim.cards.schema import Output
    from fastsim.columns import Column
    from fastsim.events import EventBatch


class Writer(Protocol):
    """A file being written under a temporary name; leaving it without `close` leaves nothing behind."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, batch: EventBatch) -> None:
        """Add the events of a batch; batches come in the order of event ids."""

    def close(self, texts: Mapping[str, str]) -> None:
        """Add named texts (provenance), finish the file and put it in place."""


class Door(NamedTuple):
    """A format: where it is written, and what that file looks like to people."""

    module: str
    suffix: str
    doc: str

    def needs(self, output: Output) -> tuple[Column, ...]:
        """Columns without which the format cannot be written; it takes others where they are."""
        return cast("tuple[Column, ...]", import_module(self.module).needs(output))

    def units(self, output: Output, made: Iterable[Column] = ()) -> dict[str, str]:
        """Units of what is written, by its name in the file; `made` is what the modules make."""
        return cast("dict[str, str]", import_module(self.module).units(output, _of_devices(made)))

    def open(self, path: Path, output: Output, made: Iterable[Column] = ()) -> Writer:
        """Begin a file; raises FastsimError if it cannot be written or a library is missing."""
        return cast("Writer", import_module(self.module).open_writer(path, output, _of_devices(made)))


def _of_devices(made: Iterable[Column]) -> tuple[Column, ...]:
    """What devices measure, of tracks and as clusters: each door writes it under its names."""
    return tuple(
        column for column in made if column.table == "cluster" or (column.table == "track" and column not in DECLARED)
    )


FORMATS: dict[str, Door] = {
    "ao2d": Door("fastsim.io.aod", ".root", "ALICE's AO2D: TTrees in data frames, read by O2Physics"),
    "delphes": Door("fastsim.io.delphes", ".root", "a tree like Delphes', for uproot and coffea"),
    "nano": Door("fastsim.io.nano", ".root", "a tree like CMS NanoAOD, for uproot and coffea"),
    "parquet": Door("fastsim.io.parquet", ".parquet", "our own columns, for awkward and pandas"),
    "rntuple": Door("fastsim.io.rntuple", ".root", "our own columns in a ROOT RNTuple"),
}


def check_suffix(path: Path, format_: str) -> None:
    """Raise UsageError if a file is to have a name that says another kind of file than its format is."""
    suffixes = {door.suffix for door in FORMATS.values()}
    suffix = FORMATS[format_].suffix
    if path.suffix.lower() in suffixes - {suffix}:
        what = f"ends in {path.suffix}, and the format {format_!r} makes {suffix} files"
        raise UsageError(
            what, where=str(path), hint=f"name it {path.with_suffix(suffix).name}, or choose another --format"
        )
