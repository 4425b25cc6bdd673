"""What batch systems tell a job: how many processors are its own, and that its time is up."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from fastsim.errors import Terminated

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

# Never the machine's number of cores, which is not what the job was given: Slurm (sbatch), HTCondor (starter's
# STARTER_NUM_THREADS_ENV_VARS) and whoever sets OpenMP's, Grid Engine, PBS, LSF. From their manuals.
_CPUS = ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS", "NSLOTS", "NCPUS", "PBS_NCPUS", "LSB_DJOB_NUMPROC")
_TOGETHER = 2.0  # seconds
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def processors() -> int:
    """How many processors the batch system gave to this job, 1 if it does not say."""
    texts = (os.environ.get(name, "") for name in _CPUS)
    return next((int(text) for text in texts if text.isdecimal() and int(text) > 0), 1)


def one_thread_each() -> None:
    """Tell libraries that are not loaded yet, and processes that are not started yet, to use one thread."""
    os.environ.update(dict.fromkeys(_THREADS, "1"))


class Stop:
    """A signal asks to stop: what is done is kept if there is any (`has_something`), else everything ends at once.

    A second signal ends everything at once too, unless it comes with the first: one that is sent to all processes of a job
    reaches some of them twice, when their leader passes it on.
    """

    def __init__(self, has_something: Callable[[], bool]) -> None:
        self.asked = ""  # name of the signal
        self._has_something = has_something
        self._when = 0.0
        for name in ("SIGTERM", "SIGUSR1"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._ask)

    def __call__(self) -> bool:
        """Whether it was asked for."""
        return bool(self.asked)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.asked and time.monotonic() - self._when < _TOGETHER:
            return
        if self.asked or not self._has_something():
            raise Terminated(name)
        self.asked, self._when = name, time.monotonic()
