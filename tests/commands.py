"""The command line in this process: `run_fastsim` is what the `fastsim` command does, without the start of a Python."""

from __future__ import annotations

import signal
import sys
from typing import NamedTuple

import pytest

from fastsim.cli import main


class Done(NamedTuple):
    code: int
    out: str
    err: str


def run_fastsim(capsys: pytest.CaptureFixture[str], *arguments) -> Done:
    """Exit code, standard output and standard error of a command."""
    capsys.readouterr()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fastsim", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        else:
            code = 0
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return Done(code, *capsys.readouterr())
