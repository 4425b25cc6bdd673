"""Inputs of events, one after another: which source reads each is told by its first bytes, or by its suffix if it is a recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim import columns as c
from fastsim.errors import FastsimError, InputError, UsageError
from fastsim.events import EventBatch, offsets_from_counts
from fastsim.generate.gun import Gun
from fastsim.generate.pythia import Pythia
from fastsim.io import hepevt, lhef, root_events
from fastsim.io.hepmc import TextSource
from fastsim.io.stream import UNKNOWN, ByteStream
from fastsim.source import Limits, Range

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray

    from fastsim.columns import Table
    from fastsim.rng import Streams
    from fastsim.source import Block, InputRecord, Source

# Made in this process, from a text that says how.
RECIPES: dict[str, Callable[[str, Streams], Source]] = {".toml": Gun, ".cmnd": Pythia}
_TEXTS: tuple[tuple[Callable[[bytes], bool], Callable[[ByteStream], Source]], ...] = (
    (lhef.recognises, lhef.LhefEvents),
    (hepevt.recognises, hepevt.HepevtEvents),
)


class Item(NamedTuple):
    """A block, and how many bytes of all inputs are read when it is done."""

    block: Block
    bytes_done: int


def check_exists(names: Sequence[str]) -> None:
    """Raise InputError, before any work, if a local file is missing."""
    for name in names:
        if name != "-" and "://" not in name and not Path(name).exists():
            raise InputError("no such file", where=name)
    if list(names).count("-") > 1:
        raise UsageError("standard input is given twice, and can be read once", where="-")


def may_be_text(name: str) -> bool:
    """Whether an input may hold HepMC text, by its name."""
    return Path(name).suffix.lower() not in (*RECIPES, ".root", ".lhe")


def open_source(
    name: str, streams: Streams, *, allow_truncated: bool = False, has_mass: bool = True, read_ahead: bool = True
) -> Source:
    """The source that reads an input: a file, a pipe, a URL, a recipe, or "-" for standard input.

    Raises InputError (CardError for a recipe) if it cannot be read, or is of no format that is known.
    """
    recipe = RECIPES.get(Path(name).suffix.lower())
    if recipe and "://" in name:
        raise UsageError("recipes are not read from URLs", where=name, hint="copy it to a file first")
    if recipe:
        return recipe(name, streams)
    stream = ByteStream(name, read_ahead=read_ahead)
    if root_events.recognises(stream.start):
        stream.close()
        if not stream.is_file or stream.is_compressed:
            what = "ROOT files cannot be read from pipes and URLs, or compressed once more"
            raise UsageError(what, where=stream.name, hint="copy or unpack it to a file first")
        return root_events.RootEvents(name)
    kind = next((kind for recognises, kind in _TEXTS if recognises(stream.start[:4096])), None)
    try:
        return kind(stream) if kind else TextSource(stream, allow_truncated=allow_truncated, has_mass=has_mass)
    except FastsimError:
        stream.close()
        raise


def read_blocks(
    names: Sequence[str],
    streams: Streams,
    *,
    events: Range,
    limits: Limits,
    records: list[InputRecord],
    allow_truncated: bool = False,
    has_mass: bool = True,
    known: Sequence[InputRecord] = (),
    read_ahead: bool = True,
) -> Generator[Item]:
    """Blocks of all inputs as one stream with one numbering of events.

    `records` is filled with what each input was. Raises InputError naming file and line where an input is damaged. A block
    may lie in a buffer that is used again: read it before asking for the next.
    If it is `known` what each input is, those before the chosen events are not opened, and others must still be the same.
    """
    position = bytes_done = 0
    for index, name in enumerate(names):
        if events.end is not None and position >= events.end:
            break
        if known and position + known[index].n_events <= events.first:
            records.append(known[index])
            position += known[index].n_events
            continue
        source = open_source(name, streams, allow_truncated=allow_truncated, has_mass=has_mass, read_ahead=read_ahead)
        try:
            for block in source.blocks(position, events, limits):
                yield Item(block, bytes_done + block.bytes_read)
            records.append(source.record())
            if known and records[-1].sha256.startswith(UNKNOWN):  # a URL: whoever reads its last events compares it
                records[-1] = replace(records[-1], sha256=known[index].sha256)
            if known and records[-1].sha256 != known[index].sha256:
                raise replaced(name)
            position += records[-1].n_events
        finally:
            source.close()
        path = Path(name)
        bytes_done += path.stat().st_size if path.is_file() else 0


def count_events(names: Sequence[str], streams: Streams, *, allow_truncated: bool = False) -> list[InputRecord]:
    """What each input is, with the number of its events, which are not parsed. Raises InputError as `read_blocks` does."""
    records: list[InputRecord] = []
    behind_all = Range(2**62)
    for _ in read_blocks(
        names, streams, events=behind_all, limits=Limits(1000, 50_000), records=records, allow_truncated=allow_truncated
    ):
        pass
    return records


def replaced(name: str) -> InputError:
    """What to raise when an input is not what it was."""
    what = "is not the file that it was when the work was planned"
    return InputError(what, where=name, hint="put the old file back, or plan again")


def read_minimum_bias(names: Sequence[str], streams: Streams) -> tuple[EventBatch, list[InputRecord]]:
    """All particles and vertices of some inputs in one batch, kept in memory. Raises InputError at the first bad event.

    Final particles without a vertex get one, at their event's position: they are to move with it.
    """
    records: list[InputRecord] = []
    batches = []
    for item in read_blocks(names, streams, events=Range(), limits=Limits(1000, 50_000), records=records):
        batch, bad = item.block.read()
        if bad:
            raise bad[0][1]
        batches.append(_with_vertices(batch))
    counts: dict[Table, NDArray[np.int64]] = {}
    for table in _KEPT:
        counts[table] = np.concatenate([np.zeros(0, dtype=np.int64), *(np.diff(b.offsets[table]) for b in batches)])
    offsets = {table: offsets_from_counts(counts[table]) for table in _KEPT}
    kept = [column for column in c.READ if column.table in _KEPT] if batches else []
    return EventBatch(
        offsets, {column: np.concatenate([batch[column] for batch in batches]) for column in kept}
    ), records


_KEPT: tuple[Table, ...] = ("particle", "vertex")


def _with_vertices(batch: EventBatch) -> EventBatch:
    """A batch in which all final particles have a production vertex."""
    is_homeless = (batch[c.PRODUCTION_VERTEX] < 0) & (batch[c.STATUS] == 1)
    if not is_homeless.any():
        return batch
    event = batch.event_index("particle")
    n_vertices = np.diff(batch.offsets["vertex"])
    needs = np.unique(event[is_homeless])
    production = np.where(is_homeless, n_vertices[event], batch[c.PRODUCTION_VERTEX]).astype(np.int32)
    columns = {c.PRODUCTION_VERTEX: production}
    for position, true in zip(c.VERTEX_POSITION, c.VERTEX_TRUE, strict=True):
        columns[position] = np.insert(batch[position], batch.offsets["vertex"][needs + 1], batch[true][needs])
    n_vertices[needs] += 1
    return batch.with_columns(columns, {"vertex": offsets_from_counts(n_vertices)})
