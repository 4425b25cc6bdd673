"""Worker processes: items out, results back in order, and no way to hang.

Each worker has a pipe of its own with one item on the way. So the death of a worker is seen at once (a shared queue may
stay locked for ever when a process is killed in the middle of a message), and workers end by themselves when the main
process is gone.
"""

from __future__ import annotations

import signal
import traceback
from collections import deque
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

from fastsim.errors import FastsimError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

T = TypeVar("T")
R = TypeVar("R")


class WorkerError(FastsimError):
    """A worker process died (killed, or out of memory): worth a retry."""

    exit_code = 75


def map_in_order(function: Callable[[T], R], items: Iterator[T], workers: int) -> Iterator[tuple[T, R]]:
    """Each item with `function` of it, in order: here if `workers` is 1, else in so many processes.

    The function must be picklable. What it raises is raised here; raises WorkerError if a process dies.
    """
    if workers == 1:
        for item in items:
            yield item, function(item)
        return
    processes: list[SpawnProcess] = []
    idle: deque[Connection] = deque()
    busy: deque[tuple[T, Connection]] = deque()
    try:
        for _ in range(workers):
            process, pipe = start(function)
            processes.append(process)
            idle.append(pipe)
        for item in items:
            if not idle:
                yield _receive(busy, idle)
            pipe = idle.popleft()
            _send(pipe, item)
            busy.append((item, pipe))
        while busy:
            yield _receive(busy, idle)
    finally:
        for process in processes:
            process.kill()  # they have nothing to clean up
        for process in processes:
            process.join()


def start(function: Callable[[T], R]) -> tuple[SpawnProcess, Connection]:
    """A fresh process (not a fork: threads and numba do not survive one) and our end of the pipe to it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(function, theirs), daemon=True)
    with _no_interrupt():
        process.start()
    theirs.close()
    return process, ours


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ctrl-C reaches all processes of a terminal; those that start meanwhile inherit that they do not see it."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def _work(function: Callable[[T], R], pipe: Connection) -> None:
    """Life of a worker: items in, (result, None) or (None, error) out, until the other end of the pipe is closed.

    Signals that reach the whole group of processes are for the main process to act on.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    with suppress(EOFError, OSError):
        while True:
            item = pipe.recv()
            try:
                answer: tuple[R | None, Exception | None] = function(item), None
            except FastsimError as error:
                answer = None, error
            except Exception:  # noqa: BLE001  (it goes to the main process, which raises it)
                answer = None, RuntimeError(traceback.format_exc())
            pipe.send(answer)


def _send(pipe: Connection, item: T) -> None:
    try:
        pipe.send(item)
    except OSError:
        raise _died() from None


def _receive(busy: deque[tuple[T, Connection]], idle: deque[Connection]) -> tuple[T, R]:
    """The oldest item on the way and its result."""
    item, pipe = busy.popleft()
    try:
        result, error = pipe.recv()
    except (EOFError, OSError):
        raise _died() from None
    if error is not None:
        raise error
    idle.append(pipe)
    return item, result


def _died() -> WorkerError:
    return WorkerError("a worker process died (killed, or out of memory)", hint="try again with fewer --workers")
