"""Files in, files out: the whole of `fastsim run` as one function, and the same job batch by batch for Python."""

from __future__ import annotations

import inspect
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastsim import columns as c
from fastsim import provenance
from fastsim.cards import LoadedCard, load_card
from fastsim.errors import CardError, FastsimError, InputError
from fastsim.generate.beam_spot import shift_events
from fastsim.generate.pile_up import overlay
from fastsim.io import hepmc
from fastsim.io.inputs import check_exists, may_be_text, read_blocks, read_minimum_bias
from fastsim.io.output import FORMATS, check_suffix
from fastsim.io.rootio import refuse_existing
from fastsim.luts.store import LutSet, get_luts, no_table, without_numbers
from fastsim.pipeline import Pipeline
from fastsim.plugins import distribution, installed, load_kind, make_modules
from fastsim.rng import Streams
from fastsim.source import Limits, Range, no_events
from fastsim.species import by_name
from fastsim.summary import Silent, Summary
from fastsim.tracking.parametric import ParametricTracking
from fastsim.tracking.primaries import Primaries
from fastsim.truth import select_truth
from fastsim.workers import map_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fastsim.cards.schema import Truth
    from fastsim.events import EventBatch
    from fastsim.generate.beam_spot import BeamSpot
    from fastsim.generate.pile_up import PileUp
    from fastsim.io.inputs import Item
    from fastsim.module import Module
    from fastsim.source import InputRecord
    from fastsim.summary import Progress

BATCH_EVENTS = 1000
BATCH_PARTICLES = 50_000  # keeps a batch near 50 MB and the progress bar moving; one Pb-Pb event may hold more


class Processed(NamedTuple):
    """One block, simulated: its events with the truth that is kept, and what was counted before."""

    batch: EventBatch
    summary: Summary
    bad: list[tuple[int, InputError]]

    @property
    def end(self) -> int:
        """Position behind the last event, bad ones included."""
        ids = [*self.batch[c.EVENT_ID][-1:].tolist(), *(event_id for event_id, _ in self.bad)]
        return max(ids, default=-1) + 1


@dataclass(frozen=True)
class Simulation:
    """What happens to a block: its events are read, placed and overlaid as the card says, and go through the modules."""

    pipeline: Pipeline
    streams: Streams
    beam_spot: BeamSpot | None = None
    pile_up: PileUp | None = None
    minimum_bias: EventBatch | None = None
    truth: Truth = "all"

    def limits(self, batch_size: int) -> Limits:
        """How large a block of events may be, so that it is not too large with its pile-up."""
        n_more = 0.0
        if self.pile_up and self.minimum_bias and self.minimum_bias.n_events:
            n_more = self.pile_up.mean * self.minimum_bias.n_rows("particle") / self.minimum_bias.n_events
        n_events = min(batch_size, max(1, int(BATCH_PARTICLES / n_more))) if n_more else batch_size
        return Limits(n_events, BATCH_PARTICLES)

    def __call__(self, item: Item) -> Processed:
        """Read and simulate a block."""
        start = time.perf_counter()
        batch, bad = item.block.read()
        parsed = time.perf_counter()
        if self.beam_spot:
            batch = shift_events(batch, self.beam_spot, self.streams)
        if self.pile_up and self.minimum_bias:
            batch = overlay(batch, self.minimum_bias, self.pile_up, self.streams)
        placed = time.perf_counter()
        try:
            batch, counts, seconds = self.pipeline.run(batch)
        except FastsimError as error:
            error.where = f"{item.block.path}: {error.where}"
            raise
        before = {"parse": parsed - start}
        if self.beam_spot or self.pile_up:
            before["beam spot and pile-up"] = placed - parsed
        summary = Summary()
        summary.add(batch, counts, {**before, **seconds})
        start = time.perf_counter()
        batch = select_truth(batch, self.truth)
        summary.seconds["select truth"] = time.perf_counter() - start
        return Processed(batch, summary, bad)


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
    output = loaded.card.output
    missing = [column for column in FORMATS[output.format].needs(output) if column not in made]
    if missing:
        makers = sorted({kind for kind in installed() if set(missing) & set(getattr(load_kind(kind), "makes", ()))})
        names = ", ".join(map(str, missing))
        raise CardError(
            [f"{loaded.path}: the output {output.format!r} needs {names}, which no module makes"],
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


def load_kernels(pipeline: Pipeline, text_versions: Sequence[int] = (2, 3), truth: Truth = "all") -> None:
    """Read and simulate no events: compiles the kernels, or loads them from numba's cache.

    Those that read HepMC text of the given versions too.
    """
    select_truth(pipeline.run(no_events())[0], truth)
    for version in text_versions:
        hepmc.empty_block(version).read()


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
    allow_truncated: bool = False,
    progress: Progress | None = None,
    job: Job | None = None,
    known: Sequence[InputRecord] = (),
    is_to_stop: Callable[[], bool] = lambda: False,
    read_ahead: bool = True,
) -> Summary:
    """Simulate files of events and write one output file.

    `events` (first, end) selects positions in the whole input; `batch_size` and `workers` cannot change the result.
    With several workers a script must guard its entry with ``if __name__ == "__main__":`` (they are started afresh).
    A `job` that was prepared before (with this card) saves its start, what is `known` of all inputs saves reading those that
    are before the events. If `is_to_stop` says so after some batch, the file ends there (`Summary.stopped_at`), which needs
    `known` inputs. `read_ahead` in a thread helps if there is a processor for it.
    Raises FastsimError (see `fastsim.errors`) and then leaves nothing under the name of the output.
    """
    loaded = card if isinstance(card, LoadedCard) else load_card(card)
    progress = progress or Silent()
    names = [str(name) for name in inputs]
    opened = (
        [name for name, record in zip(names, known, strict=True) if record.has((events[0], events[1] or 2**63))]
        if known
        else names
    )
    check_exists(opened)
    refuse_existing(Path(out), overwrite=overwrite, inputs=[Path(name) for name in opened if name != "-"])
    check_suffix(Path(out), loaded.card.output.format)
    check_card(loaded)
    summary = Summary()
    if len(set(opened)) < len(opened):
        summary.notes.append("some input is given more than once: its events repeat, with other random numbers")
    job = job or prepare(
        loaded, progress, summary, has_text=any(map(may_be_text, names)), truth=loaded.card.output.truth
    )
    records: list[InputRecord] = []
    output = loaded.card.output
    door = FORMATS[output.format]
    total = sum(Path(name).stat().st_size for name in opened if Path(name).is_file())
    items = read_blocks(
        names, job.simulation.streams, events=Range(*events), limits=job.simulation.limits(batch_size), records=records,
        allow_truncated=allow_truncated, has_mass=c.MASS in {*door.needs(output), *job.simulation.pipeline.needs}, known=known,
        read_ahead=read_ahead,
    )  # fmt: skip
    writer = door.open(Path(out), output, job.simulation.pipeline.makes)
    progress.events(0, 0, total)
    with closing(items), writer:
        for item, done in map_in_order(job.simulation, _timed(items, summary), workers):
            _accept(done, summary, max_bad_events)
            begin = time.perf_counter()
            writer.write(done.batch)
            summary.seconds["write"] += time.perf_counter() - begin
            progress.events(summary.n_events, item.bytes_done, total)
            if is_to_stop() and (events[1] is None or done.end < events[1]):
                summary.stopped_at = done.end
                break
        if summary.stopped_at is None:
            end = _check_range(events, records, summary)
        else:
            end = summary.stopped_at
            read = [record for record in known if record.first_event < end]
            records = [replace(record, n_events=min(record.n_events, end - record.first_event)) for record in read]
        if not summary.n_events:  # an empty file has all columns too
            writer.write(job.simulation.pipeline.run(no_events())[0])
        progress.events(summary.n_events, total, total)
        begin = time.perf_counter()
        identity = provenance.identity(job.way, records, (events[0], end), summary.bad_event_ids)
        summary.identity = identity["sha256"]
        settings = {"batch_size": batch_size, "workers": workers}
        circumstance = provenance.circumstance(records, (events[0], end), job.luts, loaded, settings)
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
    """Simulate events and yield awkward arrays, one a batch: event columns, `particles`, `vertices`, `weights`, `tracks`.

    The same numbers as `simulate_files` writes, before they are rounded to float32. `tracks` holds all candidates: select
    with ``events.tracks[events.tracks.is_reconstructed]``. `seed` overrides the card's. Raises FastsimError.
    """
    loaded = card if isinstance(card, LoadedCard) else load_card(card)
    if seed is not None:
        loaded = loaded.with_seed(seed)
    names = [str(name) for name in ([inputs] if isinstance(inputs, (str, Path)) else inputs)]
    check_exists(names)
    summary = Summary()
    job = prepare(loaded, Silent(), summary, has_text=any(map(may_be_text, names)))
    records: list[InputRecord] = []
    streams, limits = job.simulation.streams, job.simulation.limits(batch_size)
    with closing(read_blocks(names, streams, events=Range(*events), limits=limits, records=records)) as items:
        for item in items:
            done = job.simulation(item)
            _accept(done, summary, max_bad_events=0)
            yield done.batch.to_awkward()
    _check_range(events, records, summary)


class Job(NamedTuple):
    """What a run needs beside its inputs."""

    luts: LutSet  # without their numbers: the kernels have them
    simulation: Simulation
    way: dict[str, Any]  # see `fastsim.provenance`


def prepare(
    loaded: LoadedCard, progress: Progress, summary: Summary, *, has_text: bool = True, truth: Truth = "all"
) -> Job:
    """Tables found or built, kernels loaded or compiled (of HepMC text too if the inputs have it), minimum-bias events read."""
    start = time.perf_counter()
    luts = find_luts(loaded, progress)
    pipeline = make_pipeline(loaded, luts)
    luts = without_numbers(luts)
    summary.seconds["find or build tables"] = time.perf_counter() - start
    start = time.perf_counter()
    progress.kernels(ready=False)
    load_kernels(pipeline, (3,) if has_text else (), truth)
    progress.kernels(ready=True)
    summary.seconds["load kernels"] = time.perf_counter() - start
    pile_up, streams = loaded.card.pile_up, Streams(loaded.card.seed)
    minimum_bias = None
    records: list[InputRecord] = []
    if pile_up:
        start = time.perf_counter()
        files = [pile_up.file] if isinstance(pile_up.file, str) else pile_up.file
        minimum_bias, records = read_minimum_bias(files, streams.of("pile_up"))
        summary.seconds["read pile-up"] = time.perf_counter() - start
    output = loaded.card.output
    way = provenance.way(
        loaded, luts, _plugins_used(loaded), records, FORMATS[output.format].units(output, pipeline.makes)
    )
    models = {module.name: getattr(module, "fingerprint", None) for module in pipeline.modules}
    if any(models.values()):
        way["models"] = {name: found for name, found in models.items() if found}
    return Job(luts, Simulation(pipeline, streams, loaded.card.beam_spot, pile_up, minimum_bias, truth), way)


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


def _check_range(events: tuple[int, int | None], records: Sequence[InputRecord], summary: Summary) -> int:
    """An empty selection is an error, one that ends behind the input a note. Returns where it really ends."""
    first, end = events
    n_events = records[-1].first_event + records[-1].n_events if records else 0
    if first > 0 and n_events <= first and end != first:
        raise InputError(
            f"events {first}:{'' if end is None else end} were asked for, the input has only {n_events}",
            where=", ".join(record.name for record in records),
        )
    summary.notes += [
        f"{record.name}: truncated; its {record.n_events} whole events were kept"
        for record in records
        if record.info.get("truncated")
    ]
    if end is not None and n_events < end:
        summary.notes.append(f"events up to {end} were asked for, the input has only {n_events}")
    return max(first, n_events if end is None else min(end, n_events))


def _timed(blocks: Iterator[Item], summary: Summary) -> Iterator[Item]:
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
    summary.merge(done.summary)
