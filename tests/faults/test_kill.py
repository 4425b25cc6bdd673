"""A writer that is killed leaves nothing, or everything, under the name of the output: 50 random moments, all formats."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fastsim.io.output import FORMATS
from tests import output_files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")


def test_killed_at_random_moments(ttbar, tmp_path):
    script = Path(__file__).parent / "kill_writer.py"
    command = [sys.executable, str(script), ttbar, str(tmp_path), *FORMATS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(runs) == 50 + 2 * len(FORMATS)
    whole = {name: output_files.read(tmp_path / f"whole.{name}{door.suffix}") for name, door in FORMATS.items()}
    n_cut = 0
    for run in runs:
        name, left = run["format"], sorted(Path(run["folder"]).iterdir())
        out = f"out{FORMATS[name].suffix}"
        if "dies" in run:  # the two sides of the one moment that counts
            assert run["killed"], run
            assert [path.name == out for path in left] == [run["dies"] == "after"], run
        if [path.name for path in left] == [out]:
            assert output_files.same(output_files.read(left[0]), whole[name]), run
            continue
        assert run["killed"], run
        assert len(left) <= 1, run
        for path in left:  # hidden, and of no format's name
            assert path.name.startswith(f".{out}."), run
            assert path.name.endswith(".part"), run
            n_cut += path.stat().st_size > 0
    assert n_cut >= 20  # they were killed in the middle of a file
