"""`fastsim` in this process."""

from __future__ import annotations

from functools import partial

import pytest

from tests.commands import run_fastsim


@pytest.fixture
def fastsim(capsys):
    """Call as ``fastsim("card", "check", path)``; gives exit code, stdout and stderr."""
    return partial(run_fastsim, capsys)
