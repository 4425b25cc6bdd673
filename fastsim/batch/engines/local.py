"""Worker processes of this machine, one shard at a time each; those that die are replaced."""

from __future__ import annotations

from collections import deque
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, cast

from fastsim import workers
from fastsim.batch.engines.tasks import Answer, is_worth_a_retry, task_of
from fastsim.batch.state import clear_dead
from fastsim.batch.stop import one_thread_each
from fastsim.errors import RETRY

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from fastsim.batch.engines.tasks import Task, Told
    from fastsim.batch.manifest import Batch
    from fastsim.batch.settings import Settings

_PATIENCE = 60.0  # seconds that a worker may take to end its batch of events and keep what is done


def run(batch: Batch, indices: list[int], settings: Settings, told: Told) -> list[Answer]:
    """Make shards; returns what became of each."""
    one_thread_each()
    task = task_of(batch, every=1.0, takes_signals=True)
    crew = _Crew(task)
    queue = deque((index, 1) for index in indices)
    answers: list[Answer] = []
    told.started(len(indices), min(settings.workers, len(indices)))
    try:
        while queue or crew.busy:
            while queue and len(crew.busy) < settings.workers:
                crew.give(*queue.popleft())
            for answer, n_tries in crew.take():
                if is_worth_a_retry(answer, n_tries, settings.retries):
                    told.again(answer, n_tries)
                    queue.append((answer.shard, n_tries + 1))
                else:
                    answers.append(answer)
                    told.finished(answer)
            told.passing()
    finally:
        crew.dismiss()
        clear_dead(batch)
    return answers


class _Crew:
    """Processes, each with at most one shard."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._idle: list[tuple[SpawnProcess, Connection]] = []
        self.busy: dict[Connection, tuple[SpawnProcess, int, int]] = {}

    def give(self, index: int, n_tries: int) -> None:
        """A shard to one who is idle, or new."""
        while True:
            process, pipe = self._idle.pop() if self._idle else workers.start(self._task)
            try:
                pipe.send(index)
            except OSError:  # it died meanwhile
                process.join()
                continue
            self.busy[pipe] = process, index, n_tries
            return

    def take(self) -> list[tuple[Answer, int]]:
        """Answers that are there, after a second at most, with the number of tries."""
        found = []
        for pipe in cast("list[Connection]", wait(list(self.busy), timeout=1.0)):
            process, index, n_tries = self.busy.pop(pipe)
            try:
                answer, error = pipe.recv()
            except (EOFError, OSError):
                process.join()
                answer, error = Answer(index, error=f"its process died ({_cause(process)})", exit_code=75), None
            else:
                if answer is not None and answer.exit_code == RETRY:  # it may be this process, or it was asked to stop
                    process.kill()
                    process.join()
                    pipe.close()
                else:
                    self._idle.append((process, pipe))
            if error is not None:
                raise error
            found.append((answer, n_tries))
        return found

    def dismiss(self) -> None:
        """Ask all to stop; who has done some events keeps them."""
        for pipe, (process, _, _) in self.busy.items():
            process.terminate()
            pipe.close()  # nobody takes its answer: it ends
        for process, _ in self._idle:
            process.kill()
        for process in [*(process for process, _, _ in self.busy.values()), *(process for process, _ in self._idle)]:
            process.join(_PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()


def _cause(process: SpawnProcess) -> str:
    code = process.exitcode
    return f"killed by signal {-code}, or out of memory" if code is not None and code < 0 else f"exit code {code}"
