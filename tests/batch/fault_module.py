"""A module kind for tests of faults: makes nothing, and does what files in the folder $FAULT_FOLDER ask for, event by event.

`wait_N`: make `reached_N`, and wait until the file is gone; `raise_N`: raise; `signal_N`: send itself the signals named in it.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from fastsim import columns as c
from fastsim import module

_PATIENCE = 60.0


class Fault:
    """Module kind "fault"."""

    class Options(module.Options):
        """None of its own."""

    needs = (c.EVENT_ID,)
    makes = ()

    def __init__(self, name):
        self.name = name

    @classmethod
    def from_options(cls, options, detector):
        """The module as the card describes it."""
        del detector
        return cls(options.name)

    def apply(self, batch, streams):
        """Nothing, or what is asked for."""
        del streams
        if folder := os.environ.get("FAULT_FOLDER"):
            for event_id in batch[c.EVENT_ID].tolist():
                _act(Path(folder), event_id)
        return module.Made({})


def _act(folder, event_id):
    wait, cause, signals = (folder / f"{what}_{event_id}" for what in ("wait", "raise", "signal"))
    if wait.exists():
        (folder / f"reached_{event_id}").touch()
        deadline = time.monotonic() + _PATIENCE
        while wait.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
    if cause.exists():
        raise ZeroDivisionError(f"the plug-in does not like event {event_id}")
    if signals.exists():
        names = signals.read_text().split()
        signals.unlink()
        for name in names:
            os.kill(os.getpid(), getattr(signal, name))
