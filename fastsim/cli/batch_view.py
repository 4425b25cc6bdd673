"""What `fastsim batch` shows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.markup import escape

from fastsim.cli.console import SECONDS_BETWEEN_LINES, err, out, print_json, print_uncut

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from fastsim.batch.engines.scripts import Submission
    from fastsim.batch.engines.tasks import Answer
    from fastsim.batch.manifest import Batch
    from fastsim.batch.state import State

_MOST_LINES = 20
_STYLES = {"done": "green", "running": "cyan", "failed": "red", "broken": "red", "missing": "yellow"}


def print_plan(batch: Batch, *, as_json: bool) -> None:
    """What was planned."""
    manifest, where = batch.manifest, batch.folder / "manifest.json"
    n_events = sum(shard.end - shard.first for shard in manifest.shards)
    if as_json:
        print_json(
            {"manifest": str(where), "shards": batch.n_shards, "events": n_events, "inputs": len(manifest.inputs)}
        )
        return
    seed = manifest.way["run_seed"]
    n_inputs = len(manifest.inputs)
    out.print(
        f"{n_events:,} events of {n_inputs} inputs in [bold]{batch.n_shards:,} shards[/], seed {seed}", highlight=False
    )
    out.print(
        f"[bold]{escape(str(where))}[/]; go on with: fastsim batch submit {escape(str(batch.folder))} --engine local"
    )


def print_state(batch: Batch, states: Sequence[State], *, as_json: bool) -> None:
    """A table of states; what is not done is named, with the reason."""
    from fastsim.batch.state import counts

    found = counts(states)
    if as_json:
        rows = [{**state._asdict(), "name": batch.name(state.shard)} for state in states]
        print_json({"counts": found, "events": sum(s.n_events for s in states if s.kind == "done"), "shards": rows})
        return
    from rich.table import Table

    table = Table(
        "", "shards", "events", title=escape(str(batch.out)), title_justify="left", title_style="bold", box=None
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, n in found.items():
        if n or kind == "done":
            n_events = sum(state.n_events for state in states if state.kind == kind)
            table.add_row(f"[{_STYLES[kind]}]{kind}[/]", f"{n:,}", f"{n_events:,}" if n_events else "")
    print_uncut(table)
    told = [state for state in states if state.kind != "done" and (state.what or state.kind != "missing")]
    for state in told[:_MOST_LINES]:
        code = f" (exit code {state.exit_code})" if state.exit_code else ""
        out.print(f"  {batch.name(state.shard)}: {state.kind}{code}: {state.what}", highlight=False, markup=False)
    if told[_MOST_LINES:]:
        out.print(f"  and {len(told) - _MOST_LINES} more: --json lists all", highlight=False)
    out.print(_next(batch, found), highlight=False, markup=False)


def _next(batch: Batch, found: dict[str, int]) -> str:
    """What to do."""
    if found["done"] == batch.n_shards:
        return f"all is done; go on with: fastsim batch merge {batch.folder} --out FILE"
    if found["broken"] or found["missing"]:
        return f"go on with: fastsim batch resume {batch.folder}"
    if found["failed"]:
        return f"mend what failed, then: fastsim batch resume {batch.folder} --failed"
    return "wait for what is running"


def print_submission(batch: Batch, done: Submission, *, dry_run: bool) -> None:
    """The files of a dry run, or what was submitted."""
    if dry_run:
        for file in done.files:
            out.print(f"[bold]# {escape(str(file.path))}[/]", highlight=False)
            print(file.text)
        return
    for file in done.files:
        out.print(f"wrote {file.path}", highlight=False, markup=False)
    for words, answer in zip(done.commands, done.answers, strict=False):
        out.print(f"{words[0]}: {answer}", highlight=False, markup=False)
    if not done.answers:
        commands = "; ".join(" ".join(words) for words in done.commands)
        out.print(f"{done.commands[0][0]} is not here; submit by hand: {commands}", highlight=False, markup=False)
    out.print(f"look after it with: fastsim batch status {batch.folder}", highlight=False, markup=False)


class Board:
    """Bars of all shards and of those that are being made; without a terminal a line a minute."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._bars: Progress | None = None
        self._all: TaskID | None = None
        self._own: dict[str, TaskID] = {}
        self._n_done = self._n_failed = self._n_shards = 0
        self._last_line = self._last_look = time.monotonic()

    def __enter__(self) -> Self:
        if err.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self._bars = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}", markup=False),
                TimeElapsedColumn(), TimeRemainingColumn(), console=err, transient=True,
            )  # fmt: skip
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def started(self, n_shards: int, n_workers: int) -> None:
        """See `fastsim.batch.engines.tasks.Told`."""
        self._n_shards = n_shards
        err.print(f"{n_shards:,} shards, {n_workers} at a time", highlight=False)
        if self._bars:
            self._all = self._bars.add_task("shards", total=n_shards, text="")

    def finished(self, answer: Answer) -> None:
        """A shard is done, or has failed for good."""
        self._n_done += not answer.error
        self._n_failed += bool(answer.error)
        if answer.error:
            name = self._batch.name(answer.shard)
            err.print(
                f"{name} failed (exit code {answer.exit_code}): {answer.error}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
        self._show()

    def again(self, answer: Answer, n_tries: int) -> None:
        """A shard is tried again."""
        name = self._batch.name(answer.shard)
        err.print(f"{name}: {answer.error}; tried again ({n_tries})", highlight=False, markup=False, soft_wrap=True)

    def passing(self) -> None:
        """Look at the signs of life now and then."""
        now = time.monotonic()
        if self._bars and now - self._last_look >= 1.0:
            self._last_look = now
            self._show_shards(self._bars)
        elif not self._bars and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            err.print(f"{self._n_done} of {self._n_shards} shards done, {self._n_failed} failed", highlight=False)

    def _show(self) -> None:
        if self._bars and self._all is not None:
            text = f"{self._n_done} of {self._n_shards}" + (f", {self._n_failed} failed" if self._n_failed else "")
            self._bars.update(self._all, completed=self._n_done + self._n_failed, text=text)

    def _show_shards(self, bars: Progress) -> None:
        from fastsim.batch.runner import signs_of_life

        alive = {sign.shard: sign for sign in signs_of_life(self._batch.out) if sign.is_alive}
        for name in set(self._own) - set(alive):
            bars.remove_task(self._own.pop(name))
        for name, sign in alive.items():
            shard = self._batch.manifest.shards[int(name.partition("_")[2])]
            total = shard.end - shard.first
            if name not in self._own:
                self._own[name] = bars.add_task(f"  {name}", total=total, text="")
            bars.update(self._own[name], completed=sign.n_events, text=f"{sign.n_events:,} of {total:,} events")
