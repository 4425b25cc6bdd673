"""Talking to people: results go to stdout, talk to stderr; bars on a terminal, one line a minute elsewhere."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console

from fastsim.errors import Terminated

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from rich.progress import Progress, TaskID

INTERRUPTED = 130  # the shells' convention for a program ended by Ctrl-C
SECONDS_BETWEEN_LINES = 60.0

# Names and options are printed as they are: `--events a:b` holds no emoji (and markup is off wherever they appear).
out = Console(soft_wrap=True, emoji=False)
err = Console(stderr=True, emoji=False)
_WIDTH = 110  # columns: a table is not cut when it goes into a file


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise Terminated(signal.Signals(number).name)


def stop_on_signals() -> None:
    """Turn Ctrl-C and the signals that batch systems send before they kill into an orderly stop."""
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:  # it may have to be ignored: nohup, jobs with &
        signal.signal(signal.SIGINT, _terminate)
    for name in ("SIGHUP", "SIGUSR1"):  # a closed connection, and what batch systems send first
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(getattr(signal, name), _terminate)


def print_uncut(table: Any) -> None:
    """Print a table uncut, however narrow the terminal (or the pipe, which counts as 80 columns)."""
    Console(width=max(out.width, _WIDTH), emoji=False).print(table)


def print_json(data: Any) -> None:
    """Print data for other programs."""
    print(json.dumps(data, indent=1))


class Bars:
    """Progress of tables and events: rich bars if stderr is a terminal, else one line a minute."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._start = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if err.is_terminal and not self._quiet:
            from rich.progress import (
                BarColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bars = Progress(
                SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}", markup=False),
                TimeElapsedColumn(), TimeRemainingColumn(), console=err,
                transient=True,
            )  # fmt: skip
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def luts(self, species: str, done: int, total: int) -> None:
        """A table is being built (the first one compiles the kernels too)."""
        self._show("lookup tables", done, total, f"{species or 'done'} ({done} of {total})")

    def kernels(self, *, ready: bool) -> None:
        """Kernels are compiled on the first run, which takes some ten seconds, and loaded from the cache later."""
        self._start = time.monotonic()
        self._show("kernels", int(ready), 1 if ready else None, "ready" if ready else "loading, or compiling once")

    def events(self, n_events: int, n_bytes: int, total_bytes: int) -> None:
        """Events are done."""
        rate = n_events / max(time.monotonic() - self._start, 1e-9)
        self._show("events", n_bytes, total_bytes or None, f"{n_events:,} ({rate:,.0f}/s)" if n_events else "")

    def _show(self, name: str, done: int, total: int | None, text: str) -> None:
        if self._bars:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, text=text)
            self._bars.update(self._tasks[name], completed=done, total=total, text=text)
        elif not self._quiet and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            share = f", {100.0 * done / total:.0f} % of the input" if total else ""
            err.print(f"{name}: {text}{share}", highlight=False, markup=False)
