"""`fastsim` in this process."""

from __future__ import annotations

import errno
from functools import partial

import pytest

from tests.commands import run_fastsim


@pytest.fixture
def fastsim(capsys):
    """Call as ``fastsim("card", "check", path)``; gives exit code, stdout and stderr."""
    return partial(run_fastsim, capsys)


@pytest.fixture
def full_disk(monkeypatch):
    """Files can be made, but there is no room for what is in them (as it is until the last moment on many systems)."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
