"""One shard: made once, whole, by whoever is told to, and never twice."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastsim import provenance
from fastsim.batch.manifest import write_whole
from fastsim.batch.runner import DAMAGED, Result, Runner, clear_away, read_result, record_of, sha256_of, signs_of_life
from fastsim.errors import RETRY, FastsimError, InputError, UsageError
from fastsim.io.inputs import may_be_text, replaced
from fastsim.merge import merge
from fastsim.run import Job, prepare, simulate_files
from fastsim.summary import Silent, Summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastsim.batch.manifest import Batch
    from fastsim.cards import LoadedCard
    from fastsim.summary import Progress

FAILED = "failed"


class BusyError(FastsimError):
    """Another runner makes this shard now: worth a retry, in case that it dies."""

    exit_code = 75


class StoppedError(FastsimError):
    """Asked to stop before the end: worth a retry, which goes on from there."""

    exit_code = 75


class Outcome(NamedTuple):
    """What was done of a shard."""

    shard: int
    n_events: int
    note: str  # "" if it was simply made


@dataclass
class Worker:
    """Runs shards of one batch, one after another; what they share is prepared once.

    `is_to_stop` is asked before a shard, and after each batch of events: then what is done is kept, and the next runner goes on
    from there.
    """

    batch: Batch
    workers: int = 1
    every: float = 30.0  # seconds between signs of life
    is_to_stop: Callable[[], bool] = lambda: False
    progress: Progress = field(default_factory=Silent)
    n_events: int = 0  # done so far of the shard that is being made
    _prepared: tuple[LoadedCard, Job] | None = None

    def run(self, index: int) -> Outcome:
        """Make a shard, unless it is there already. Raises FastsimError, and writes down why."""
        batch = self.batch
        name, target = batch.name(batch.check_index(index)), batch.out / batch.name(index)
        done = result_of(batch, index)
        if not done.fault:
            return Outcome(index, int(done.record["n_events"]), "was done already")
        self._refuse_busy(name)
        if self.is_to_stop():
            raise StoppedError(f"{name} was not begun", hint="run it again")
        try:
            return self._make(index, name, target)
        except StoppedError:
            raise
        except Exception as error:
            note_failure(batch, index, error)
            raise

    def _refuse_busy(self, name: str) -> None:
        for sign in signs_of_life(self.batch.out, name):
            if sign.is_alive:
                what = f"{name} is being made by process {sign.pid} on {sign.host} (last sign {max(sign.age, 0.0):.0f} s ago)"
                raise BusyError(what, where=str(self.batch.out))
            clear_away(sign)

    def _make(self, index: int, name: str, target: Path) -> Outcome:
        batch, shard = self.batch, self.batch.manifest.shards[index]
        check_inputs(batch, index)
        begin, self.n_events = time.monotonic(), 0
        with Runner(batch.out, name, every=self.every) as runner:
            loaded, job = self._prepared = self._prepared or self._prepare()
            parts = kept_parts(batch, index)
            first = parts[-1].end if parts else shard.first
            file = runner.folder / batch.file_name(index)
            summary = self._simulate(loaded, job, index, first, file, runner)
            if summary.stopped_at is not None:
                end = summary.stopped_at
                check_inputs(batch, index, read_until=end)
                record = _record(batch, file, (first, end), summary.bad_event_ids, summary.identity)
                runner.publish(batch.out / f"{name}.part_{first}_{end}", record)
                what = (
                    f"{name} was stopped after {end - shard.first} of {shard.end - shard.first} events, which are kept"
                )
                raise StoppedError(what, hint="run it again: it goes on from there")
            skipped, identity = [i for part in parts for i in part.skipped] + summary.bad_event_ids, summary.identity
            if parts:
                whole = runner.folder / f"whole_{file.name}"
                identity = merge([*(part.file for part in parts), file], whole).identity
                whole.replace(file)
            record = _record(batch, file, (shard.first, shard.end), skipped, identity)
            is_ours = runner.publish(target, {**record, "seconds": round(time.monotonic() - begin, 3)})
        forget_failure(batch, index)
        for folder in batch.out.glob(f"{name}.part_*"):  # damaged ones too
            shutil.rmtree(folder, ignore_errors=True)
        note = f"went on at event {first}" if parts else ""
        return Outcome(index, record["n_events"], note if is_ours else "another runner was first, its file is kept")

    def _prepare(self) -> tuple[LoadedCard, Job]:
        """Tables read and kernels loaded; raises UsageError if they would not do what was planned."""
        loaded = self.batch.card()
        has_text = any(may_be_text(i.name) for i in self.batch.manifest.inputs)
        job = prepare(loaded, self.progress, Summary(), has_text=has_text, truth=loaded.card.output.truth)
        mine = json.loads(json.dumps(job.way))
        if different := provenance.differences(self.batch.manifest.way, mine):
            key, planned, found = different[0]
            more = f" (and {len(different) - 1} more)" if different[1:] else ""
            what = f"would not do what was planned: {key} was {planned}, is {found} here{more}"
            raise UsageError(
                what, where=str(self.batch.folder), hint="use the same installation everywhere, or plan again"
            )
        return loaded, job

    def _simulate(self, loaded: LoadedCard, job: Job, index: int, first: int, file: Path, runner: Runner) -> Summary:
        batch, options = self.batch, self.batch.manifest.options
        known = batch.inputs()
        return simulate_files(
            [record.name for record in known], loaded, file, events=(first, batch.manifest.shards[index].end),
            batch_size=options.batch_size, workers=self.workers, max_bad_events=options.max_bad_events,
            allow_truncated=options.allow_truncated, progress=_Counted(self, runner), job=job, known=known,
            is_to_stop=self.is_to_stop, read_ahead=self.workers > 1,
        )  # fmt: skip


class _Counted:
    """Progress that the runner's sign of life tells too."""

    def __init__(self, worker: Worker, runner: Runner) -> None:
        self.luts, self.kernels = worker.progress.luts, worker.progress.kernels
        self._worker, self._runner = worker, runner

    def events(self, n_events: int, n_bytes: int, total_bytes: int) -> None:
        """See `fastsim.summary.Progress`."""
        self._worker.n_events = self._runner.n_events = n_events
        self._worker.progress.events(n_events, n_bytes, total_bytes)


def _record(batch: Batch, file: Path, events: tuple[int, int], skipped: list[int], identity: str) -> dict[str, Any]:
    first, end = events
    return record_of(
        file, first=first, end=end, n_events=end - first - len(skipped), skipped_events=skipped, identity=identity,
        way=batch.way_hash,
    )  # fmt: skip


def result_of(batch: Batch, index: int, *, has_to_match: bool = False) -> Result:
    """What lies in a shard's place: of this plan, and whole, or with what is wrong."""
    shard = batch.manifest.shards[index]
    planned = {"file": batch.file_name(index), "first": shard.first, "end": shard.end, "way": batch.way_hash}
    return read_result(batch.out / batch.name(index), planned, has_to_match=has_to_match)


class Part(NamedTuple):
    """The beginning of a shard that was stopped, or what follows on one: events `first` to `end` (excluded)."""

    file: Path
    first: int
    end: int
    skipped: list[int]  # events that could not be read


def kept_parts(batch: Batch, index: int) -> list[Part]:
    """What was kept of a shard that is not done: parts one behind another from its beginning, all whole."""
    found: dict[int, Part] = {}
    shard = batch.manifest.shards[index]
    for folder in batch.out.glob(f"{batch.name(index)}.part_*"):
        result = read_result(folder, {"way": batch.way_hash}, has_to_match=True)
        record = result.record
        if not result.fault and shard.first <= record["first"] < record["end"] < shard.end:
            part = Part(folder / record["file"], record["first"], record["end"], record["skipped_events"])
            found[part.first] = max(part, found.get(part.first, part), key=lambda p: p.end)
    parts: list[Part] = []
    position = shard.first
    while position in found:
        parts.append(found[position])
        position = parts[-1].end
    return parts


def check_inputs(batch: Batch, index: int, *, read_until: int | None = None) -> None:
    """Raise InputError if an input of a shard is missing, or has another size than when it was planned.

    What was read to its end was compared then; of what was not, because of a stop at some event, all bytes are compared here.
    """
    for planned in batch.inputs_of(index):
        if planned.n_bytes is not None:
            path = Path(batch.found(planned.name))
            if not path.is_file():
                hint = "is its file system there on this machine? else say --input-dir"
                raise InputError("no such file", where=str(path), hint=hint)
            is_open = read_until is not None and 0 < read_until - planned.first_event <= planned.n_events
            if path.stat().st_size != planned.n_bytes or (is_open and sha256_of(path) != planned.sha256):
                raise replaced(str(path))


def note_failure(batch: Batch, index: int, error: Exception) -> None:
    """Write down why a shard failed, for `status`; a disk that cannot hold even that is told by the error itself."""
    path = batch.out / FAILED / f"{batch.name(index)}.json"
    is_ours = isinstance(error, FastsimError)
    note = {
        "error": str(error) if is_ours else f"{type(error).__name__}: {error}",
        "exit_code": exit_code_of(error), "times": int(failure(batch, index).get("times", 0)) + 1,
        **{key: value for key, value in provenance.here_and_now().items() if key in ("created", "host")},
    }  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(note, indent=1))
    except OSError:
        return


def exit_code_of(error: BaseException) -> int:
    """What the command line returns for it."""
    if isinstance(error, FastsimError):
        return error.exit_code
    return RETRY if isinstance(error, MemoryError) else 70


def failure(batch: Batch, index: int) -> dict[str, Any]:
    """Why a shard failed last time, {} if it did not."""
    try:
        found = json.loads((batch.out / FAILED / f"{batch.name(index)}.json").read_text(encoding="utf-8"))
        return {**found, "times": int(found["times"]), "exit_code": int(found["exit_code"])}
    except (OSError, *DAMAGED):
        return {}


def forget_failure(batch: Batch, index: int) -> None:
    """It succeeded."""
    (batch.out / FAILED / f"{batch.name(index)}.json").unlink(missing_ok=True)
