"""Files in, files out: the whole of `fastsim run` as one function, and the same job batch by batch for Python."""

from __future__ import annotations

import inspect
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from fastsim import columns as c
from fastsim import provenance
from fastsim.cards import LoadedCard, load_card
from fastsim.errors import CardError, FastsimError, InputError
from fastsim.io import aod, hepmc
from fastsim.io.hepmc import Block, InputRecord, parse_block, read_blocks
from fastsim.io.rootio import refuse_existing
from fastsim.luts.store import LutSet, get_luts, no_table, without_numbers
from fastsim.pipeline import Pipeline
from fastsim.plugins import distribution, installed, load_kind, make_modules
from fastsim.rng import Streams
from fastsim.species import SPECIES, by_name
from fastsim.tracking import STATUS
from fastsim.tracking.parametric import ParametricTracking
from fastsim.tracking.primaries import Primaries
from fastsim.workers import map_in_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastsim.events import EventBatch
    from fastsim.module import Module

BATCH_EVENTS = 1000
BATCH_PARTICLES = 50_000  # keeps a batch near 50 MB and the progress bar moving; one Pb-Pb event may hold more


class Progress(Protocol):
    """What `simulate_files` tells of its way."""

    def luts(self, species: str, done: int, total: int) -> None:
        """A lookup table is being built."""

    def kernels(self, *, ready: bool) -> None:
        """Kernels are being loaded (compiled, the first time), or are ready."""

    def events(self, n_events: int, n_bytes: int, total_bytes: int) -> None:
        """So many events are done, so many bytes of input are read (of `total_bytes`, 0 if unknown)."""


class Silent:
    """No progress shown."""

    def luts(self, species: str, done: int, total: int) -> None:
        """Nothing."""

    def kernels(self, *, ready: bool) -> None:
        """Nothing."""

    def events(self, n_events: int, n_bytes: int, total_bytes: int) -> None:
        """Nothing."""


@dataclass
class Summary:
    """What a run did: the table at its end, and JSON in the file."""

    n_events: int = 0
    n_particles: int = 0
    candidates: Counter[str] = field(default_factory=Counter)
    reconstructed: Counter[str] = field(default_factory=Counter)
    particles: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    bad_events: list[str] = field(default_factory=list)
    bad_event_ids: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, batch: EventBatch, counts: Counter[str], seconds: dict[str, float]) -> None:
        """Count a batch."""
        self.n_events += batch.n_events
        self.n_particles += batch.n_rows("particle")
        status = np.bincount(batch[c.TRACK_STATUS], minlength=len(STATUS))
        self.particles.update({name: int(status[code]) for code, name in STATUS.items()})
        species, found = batch[c.SPECIES], batch[c.IS_RECONSTRUCTED]
        for index, kind in enumerate(SPECIES):
            self.candidates[kind.name] += int(np.count_nonzero(species == index))
            self.reconstructed[kind.name] += int(np.count_nonzero((species == index) & found))
        self.counts.update(counts)
        for step, time_spent in seconds.items():
            self.seconds[step] += time_spent

    def as_dict(self) -> dict[str, Any]:
        """Plain data, without the times."""
        return {
            "events": self.n_events,
            "particles": self.n_particles,
            "candidates": dict(self.candidates),
            "reconstructed": dict(self.reconstructed),
            "charged_final_particles": {k: v for k, v in self.particles.items() if k != STATUS[0]},
            "counts": dict(self.counts),
            "skipped_events": self.bad_events,
            "notes": self.notes,
        }


class Processed(NamedTuple):
    """One block, simulated."""

    batch: EventBatch
    counts: Counter[str]
    seconds: dict[str, float]
    bad: list[tuple[int, InputError]]


def process_block(block: Block, pipeline: Pipeline) -> Processed:
    """Parse a block and run the modules over it."""
    start = time.perf_counter()
    batch, unusable = parse_block(block)
    parsing = time.perf_counter() - start
    errors = []
    for event, reason in unusable:
        whole = [e for e in block.events if e.event_id < event.event_id]
        last = (
            f"event {whole[-1].event_number} (position {whole[-1].event_id})"
            if whole
            else f"position {event.event_id - 1}"
        )
        error = InputError(
            f"event {event.event_number} (position {event.event_id}): {reason}; last good: {last if event.event_id else 'none'}",
            where=f"{block.path}:{event.line}",
            hint="produce the file again, or skip such events with --max-bad-events N",
        )
        errors.append((event.event_id, error))
    try:
        batch, counts, seconds = pipeline.run(batch)
    except FastsimError as error:
        error.where = f"{block.path}: {error.where}"
        raise
    return Processed(batch, counts, {"parse": parsing, **seconds}, errors)


def make_pipeline(loaded: LoadedCard, luts: LutSet | None = None) -> Pipeline:
    """The modules of a card in working order; raises CardError or PluginError for what does not fit together."""
    tracking = loaded.card.tracking
    table = (
        luts.table(efficiency=tracking.efficiency, nearest=tracking.interpolation == "nearest") if luts else no_table()
    )
    modules: list[Module] = [
        Primaries(tracking.dnch_deta_eta_max),
        ParametricTracking(tracking, loaded.detector, table, luts.luts[0].header.grid if luts else None),
        *make_modules(loaded),
    ]
    return Pipeline(modules, Streams(loaded.card.seed))


def check_card(loaded: LoadedCard) -> None:
    """Raise CardError or PluginError if a card cannot run.

    It asks for tables that the detector has not, its modules do not fit, or they do not make what the output needs.
    """
    if problems := list(_table_problems(loaded)):
        raise CardError([f"{loaded.path}: tracking.{problem}" for problem in problems])
    made = {*c.READ, *(column for module in make_pipeline(loaded).modules for column in module.makes)}
    missing = [column for column in aod.NEEDS if column not in made]
    if missing:
        makers = sorted({kind for kind in installed() if set(missing) & set(getattr(load_kind(kind), "makes", ()))})
        names = ", ".join(map(str, missing))
        raise CardError(
            [f"{loaded.path}: the output {loaded.card.output.format!r} needs {names}, which no module makes"],
            hint=f"add a [[modules]] table with kind = {' or '.join(map(repr, makers))}" if makers else "",
        )


def _table_problems(loaded: LoadedCard) -> Iterator[str]:
    """What the card says of tables that a detector of formulas or of ready tables cannot do."""
    tracking, detector = loaded.card.tracking, loaded.detector
    known = [table.species for table in detector.tables] + [name for f in detector.formulas for name in f.species]
    unknown = [name for name in tracking.species if known and name not in known]
    if unknown:
        yield f"species: {detector.name} has nothing for {', '.join(unknown)} (it has {', '.join(known)})"
    if detector.formulas and tracking.efficiency != "every_hit_right":
        yield f"efficiency: {detector.name} is made of formulas, which know every_hit_right only (got {tracking.efficiency})"
    if detector.tables and tracking.luts != "auto":
        yield f'luts: {detector.name} names its tables itself: must be "auto" (got {tracking.luts!r})'
    if detector.tables and "grid" in tracking.model_fields_set:
        yield f"grid: the tables of {detector.name} have the axes that they have"


def load_kernels(pipeline: Pipeline) -> None:
    """Run the pipeline over no events: compiles the kernels, or loads them from numba's cache."""
    hepmc.load_kernels()
    process_block(Block("", b"", "hepmc3"), pipeline)


def find_luts(loaded: LoadedCard, progress: Progress) -> LutSet:
    """The tables that a card asks for, built where they are missing."""
    tracking = loaded.card.tracking
    folder = None if tracking.luts == "auto" else Path(tracking.luts)
    return get_luts(
        loaded.detector, tracking.grid, folder=folder, species=[by_name(name) for name in tracking.species],
        efficiencies=[tracking.efficiency], progress=progress.luts, command="fastsim run",
    )  # fmt: skip


def simulate_files(
    inputs: Sequence[str | Path],
    card: str | Path | LoadedCard,
    out: str | Path,
    *,
    events: tuple[int, int | None] = (0, None),
    batch_size: int = BATCH_EVENTS,
    workers: int = 1,
    overwrite: bool = False,
    max_bad_events: int = 0,
    progress: Progress | None = None,
) -> Summary:
    """Simulate files of events and write one output file.

    `events` (first, end) selects positions in the whole input; `batch_size` and `workers` cannot change the result.
    With several workers a script must guard its entry with ``if __name__ == "__main__":`` (they are started afresh).
    Raises FastsimError (see `fastsim.errors`) and then leaves nothing under the name of the output.
    """
    loaded = card if isinstance(card, LoadedCard) else load_card(card)
    progress = progress or Silent()
    names = _existing(inputs)
    refuse_existing(Path(out), overwrite=overwrite, inputs=[Path(name) for name in names if name != "-"])
    check_card(loaded)
    summary = Summary()
    if len(set(names)) < len(names):
        summary.notes.append("some input is given more than once: its events repeat, with other random numbers")
    luts, pipeline = _prepare(loaded, progress, summary)
    records: list[InputRecord] = []
    total = sum(Path(name).stat().st_size for name in names if Path(name).is_file())
    blocks = read_blocks(names, events=events, max_events=batch_size, max_particles=BATCH_PARTICLES, records=records)
    output = loaded.card.output
    writer = aod.AodWriter(
        Path(out), events_per_frame=output.events_per_frame, compression_level=output.compression_level
    )
    simulate_block = partial(process_block, pipeline=pipeline)
    progress.events(0, 0, total)
    with writer.file:
        for block, done in map_in_order(simulate_block, _timed(blocks, summary), workers):
            _accept(done, summary, max_bad_events)
            begin = time.perf_counter()
            writer.write(done.batch)
            summary.seconds["write"] += time.perf_counter() - begin
            progress.events(summary.n_events, block.bytes_read, total)
        _check_range(events, records, summary)
        progress.events(summary.n_events, total, total)
        begin = time.perf_counter()
        identity = provenance.identity(
            loaded, luts, _plugins_used(loaded), records, events, summary.bad_event_ids, aod.UNITS
        )
        settings = {"batch_size": batch_size, "workers": workers}
        circumstance = provenance.circumstance(records, luts, loaded, settings)
        record = {"identity": identity, "circumstance": circumstance, "summary": summary.as_dict()}
        writer.close({"provenance": provenance.as_json(record)})
        summary.seconds["write"] += time.perf_counter() - begin
    return summary


def simulate(
    inputs: str | Path | Sequence[str | Path],
    card: str | Path | LoadedCard = "alice3",
    *,
    seed: int | None = None,
    events: tuple[int, int | None] = (0, None),
    batch_size: int = BATCH_EVENTS,
) -> Iterator[Any]:
    """Simulate files of events and yield awkward arrays, one a batch: event columns, `particles`, `vertices`, `tracks`.

    The same numbers as `simulate_files` writes, before they are rounded to float32. `tracks` holds all candidates: select
    with ``events.tracks[events.tracks.is_reconstructed]``. `seed` overrides the card's. Raises FastsimError.
    """
    loaded = card if isinstance(card, LoadedCard) else load_card(card)
    if seed is not None:
        loaded = loaded.with_seed(seed)
    names = _existing([inputs] if isinstance(inputs, (str, Path)) else inputs)
    summary = Summary()
    _, pipeline = _prepare(loaded, Silent(), summary)
    records: list[InputRecord] = []
    blocks = read_blocks(names, events=events, max_events=batch_size, max_particles=BATCH_PARTICLES, records=records)
    for block in blocks:
        done = process_block(block, pipeline)
        _accept(done, summary, max_bad_events=0)
        yield done.batch.to_awkward()
    _check_range(events, records, summary)


def _existing(inputs: Sequence[str | Path]) -> list[str]:
    """Names of the inputs; raises InputError before any work if one is missing."""
    names = [str(name) for name in inputs]
    for name in names:
        if name != "-" and not Path(name).exists():
            raise InputError("no such file", where=name)
    return names


def _prepare(loaded: LoadedCard, progress: Progress, summary: Summary) -> tuple[LutSet, Pipeline]:
    """Tables found or built, kernels loaded or compiled."""
    start = time.perf_counter()
    luts = find_luts(loaded, progress)
    pipeline = make_pipeline(loaded, luts)
    luts = without_numbers(luts)
    summary.seconds["find or build tables"] = time.perf_counter() - start
    start = time.perf_counter()
    progress.kernels(ready=False)
    load_kernels(pipeline)
    progress.kernels(ready=True)
    summary.seconds["load kernels"] = time.perf_counter() - start
    return luts, pipeline


def _plugins_used(loaded: LoadedCard) -> dict[str, Any]:
    """Package, version and source of the module kinds that the card uses."""
    points = installed()
    used = {}
    for kind in sorted({table["kind"] for table in loaded.card.modules}):
        source = inspect.getsourcefile(load_kind(kind))  # type: ignore[arg-type]
        package = points[kind].dist
        used[kind] = {
            "package": distribution(points[kind]),
            "version": package.version if package else "",
            "source_sha256": provenance.source_hash(Path(source)) if source else "",
        }
    return used


def _check_range(events: tuple[int, int | None], records: Sequence[InputRecord], summary: Summary) -> None:
    """An empty selection is an error, one that ends behind the input a note."""
    first, end = events
    n_events = records[-1].first_event + records[-1].n_events if records else 0
    if first > 0 and n_events <= first and end != first:
        raise InputError(
            f"events {first}:{'' if end is None else end} were asked for, the input has only {n_events}",
            where=", ".join(record.name for record in records),
        )
    if end is not None and n_events < end:
        summary.notes.append(f"events up to {end} were asked for, the input has only {n_events}")


def _timed(blocks: Iterator[Block], summary: Summary) -> Iterator[Block]:
    """The same blocks, counting the time that reading and cutting takes."""
    while True:
        begin = time.perf_counter()
        block = next(blocks, None)
        summary.seconds["read"] += time.perf_counter() - begin
        if block is None:
            return
        yield block


def _accept(done: Processed, summary: Summary, max_bad_events: int) -> None:
    """Count a block; raise its error if more events are bad than the user allows."""
    for event_id, error in done.bad:
        summary.bad_events.append(f"{error.where}: {error.what}")
        summary.bad_event_ids.append(event_id)
        if len(summary.bad_events) > max_bad_events:
            raise error
    summary.add(done.batch, done.counts, done.seconds)
