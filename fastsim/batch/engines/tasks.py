"""What processes that make many shards run: the same worker as long as they live, and answers instead of exceptions."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fastsim.batch.manifest import open_batch
from fastsim.batch.shard import Worker, exit_code_of
from fastsim.batch.stop import Stop
from fastsim.errors import RETRY, FastsimError, Terminated

if TYPE_CHECKING:
    from fastsim.batch.manifest import Batch


class Answer(NamedTuple):
    """What became of a shard: events and a note; or an error, with the exit code that says whether it is worth a retry."""

    shard: int
    n_events: int = 0
    note: str = ""
    error: str = ""
    exit_code: int = 0


class Told(Protocol):
    """Is told how far an engine is."""

    def started(self, n_shards: int, n_workers: int) -> None:
        """So many shards are to be made."""

    def finished(self, answer: Answer) -> None:
        """A shard is done, or has failed for good."""

    def again(self, answer: Answer, n_tries: int) -> None:
        """A shard failed for the n-th time and is tried again."""

    def passing(self) -> None:
        """About a second went by."""


@dataclass(frozen=True)
class Task:
    """Makes shards of a batch; can be sent to another process."""

    manifest: str
    out: str
    input_dir: str | None
    every: float = 30.0
    takes_signals: bool = False

    def __call__(self, index: int) -> Answer:
        """Make one."""
        with _one_at_a_time:
            worker = _worker(self)
            try:
                done = worker.run(index)
            except Terminated as name:
                return Answer(index, error=f"stopped by {name}", exit_code=RETRY)
            except FastsimError as error:
                return Answer(index, error=str(error), exit_code=error.exit_code)
            except Exception as error:  # noqa: BLE001  (other shards go on)
                return Answer(index, error=f"{type(error).__name__}: {error}", exit_code=exit_code_of(error))
            return Answer(index, done.n_events, done.note)


def task_of(batch: Batch, *, every: float, takes_signals: bool = False) -> Task:
    """The task of a batch."""
    input_dir = str(batch.input_dir) if batch.input_dir else None
    return Task(str(batch.folder), str(batch.out), input_dir, every, takes_signals)


_one_at_a_time = threading.Lock()  # a worker of Dask may have several threads


@cache
def _worker(task: Task) -> Worker:
    input_dir = Path(task.input_dir) if task.input_dir else None
    worker = Worker(open_batch(task.manifest, out=Path(task.out), input_dir=input_dir), every=task.every)
    if task.takes_signals:
        worker.is_to_stop = Stop(lambda: worker.n_events > 0)
    return worker


def is_worth_a_retry(answer: Answer, n_tries: int, retries: int) -> bool:
    """Whether a shard is to be tried again after so many tries."""
    return answer.exit_code == RETRY and n_tries <= retries
