"""Errors that users meet. Each says where, what, and what to do; the CLI prints them on two lines."""

from __future__ import annotations

import errno

RETRY = 75  # exit code of what may go well another time (sysexits.h: EX_TEMPFAIL)


class FastsimError(Exception):
    """Base of all errors that a user can cause or mend. ``exit_code`` is what the command line returns."""

    exit_code = 70

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\nhint: {self.hint}" if self.hint else text


class Terminated(BaseException):
    """A signal (its name is the argument) arrived: unwind, clean up, exit with 75, or 130 for Ctrl-C."""


class UsageError(FastsimError):
    """The command was called in a way that cannot work (an existing output included)."""

    exit_code = 2


class CardError(FastsimError):
    """A card or detector file is wrong. ``problems`` holds every fault found, one line each."""

    exit_code = 3

    def __init__(self, problems: list[str], *, hint: str = "") -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = problems


class LutError(FastsimError):
    """A lookup table is missing, broken, or not the one that the detector asks for."""

    exit_code = 3


class InputError(FastsimError):
    """The event file cannot be read, or holds something that is not physics."""

    exit_code = 4


class PluginError(FastsimError):
    """A module could not be found, or did not deliver what it promised."""

    exit_code = 5


class OutputError(FastsimError):
    """The output could not be written (disk full, quota, failing disk): worth a retry elsewhere."""

    exit_code = 75


_WORTH_A_RETRY = {
    errno.ENOSPC: "the disk is full: free some space or write elsewhere",
    errno.EFBIG: "a file-size limit is set (ulimit -f)",
    errno.EDQUOT: "your disk quota is used up",
    errno.EIO: "the disk or the network fails",
}


def cannot_write(error: OSError, where: object, hint: str = "") -> FastsimError:
    """What to raise when a file could not be written: OutputError if another disk or another day may help, else UsageError."""
    text = f"cannot be written ({error.strerror or error})"
    if error.errno in _WORTH_A_RETRY:
        return OutputError(text, where=str(where), hint=_WORTH_A_RETRY[error.errno])
    return UsageError(text, where=str(where), hint=hint)
