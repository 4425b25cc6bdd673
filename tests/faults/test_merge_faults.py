"""A merged file is whole or not there: killed, stopped, and on a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastsim
from fastsim import provenance
from fastsim.io.check import check

# The command, slowed down and with a word on stderr as events are written, so that a signal finds it in its middle.
MAIN = """
import sys, time
from fastsim.io import join
pieces = join.pieces
def slow(tree):
    print("running", file=sys.stderr, flush=True)
    time.sleep(0.01)
    yield from pieces(tree)
join.pieces = slow
from fastsim.cli import main
sys.argv[0] = "fastsim"
main()
"""


@pytest.fixture(scope="module")
def shards(ttbar, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    card = fastsim.load_card("alice3", sets=["output.events_per_frame=2"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "source_hash", lambda *_: "the code")
        for first, end in ((0, 9), (9, 18)):
            fastsim.simulate_files([ttbar], card, folder / f"{first}.root", events=(first, end))
    return [str(path) for path in sorted(folder.iterdir())]


def start(shards, tmp_path, program=MAIN):
    """Start a merge and wait until it writes."""
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "main.py").write_text(program)
    command = [
        sys.executable,
        str(tmp_path / "main.py"),
        "merge",
        str(tmp_path / "out" / "out.root"),
        *shards,
        "--overwrite",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr.readline() == "running\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75)])
def test_signal_in_the_middle_leaves_nothing(shards, tmp_path, number, code):
    process = start(shards, tmp_path)
    process.send_signal(number)
    _, text = process.communicate(timeout=30)
    assert process.returncode == code
    assert text.endswith(f"stopped by {signal.Signals(number).name}: nothing is left under the name of the output\n")
    assert list((tmp_path / "out").iterdir()) == []


def test_killed_at_any_time_leaves_nothing_or_the_whole(shards, tmp_path):
    """At ten moments over the whole time that it takes; the old file stays until the new one is there."""
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "out.root"
    begin = time.monotonic()
    start(shards, tmp_path).communicate(timeout=60)
    takes = time.monotonic() - begin
    whole = out.read_bytes()[:4]
    assert whole == b"root"
    for wait in np.linspace(0, min(takes, 4), 8):
        out.write_text("old")
        process = start(shards, tmp_path)
        time.sleep(wait)
        process.kill()
        process.communicate(timeout=30)
        assert out.read_bytes() == b"old" or check(out).n_faults == 0


@pytest.mark.parametrize("limit", [1_000, 50_000, 150_000])
def test_full_disk(shards, tmp_path, limit):
    """A file-size limit is the one full device that every machine has."""
    out = tmp_path / "out.root"
    out.write_text("old")
    program = (
        "import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-m", "fastsim", "merge", str(out), *shards, "--overwrite"]
    done = subprocess.run(
        [sys.executable, "-c", program, *command],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert (
        done.stderr == f"error: {out}: cannot be written (File too large)\nhint: a file-size limit is set (ulimit -f)\n"
    )
    assert done.returncode == 75
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.root"]


def test_folder_that_is_not_there(shards, tmp_path):
    command = [sys.executable, "-m", "fastsim", "merge", str(tmp_path / "none" / "out.root"), *shards]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no such folder" in done.stderr
