"""Twenty jobs of a node start on one cold cache of kernels: each kernel is compiled once, whoever of them is killed.

The jobs are processes of their own that wait for each other with everything but the kernels loaded. What they compile is told
by numba (its event of a compiler pass that every compilation runs once), not by us.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each process compiles for itself")

N_JOBS = 20
JOB = """
import logging, os, sys, time
import numpy as np
from numba.core import event
from fastsim import jit
from fastsim.kernels import covariance, helix
from fastsim.rng import normals_1

stop_in = sys.argv[1] if len(sys.argv) > 1 else ""

class Tell(event.Listener):
    def on_start(self, event):
        if event.data["name"].startswith("nopython_type_inference") and event.data["module"].startswith("fastsim"):
            print("compile", event.data["qualname"], event.data["args"], flush=True)
            if event.data["qualname"] == stop_in:
                time.sleep(300)
    def on_end(self, event):
        pass

event.register("numba:run_pass", Tell())
logging.basicConfig(format="log %(message)s", stream=sys.stdout)
logging.getLogger("fastsim.jit").setLevel("DEBUG")
print("ready", flush=True)
sys.stdin.readline()
jacobian, inverse = np.empty((5, 5)), np.empty((5, 5))
helix.transport(10.0, 1e-3, 0.5, 2.0, jacobian)
covariance.invert_5(jacobian @ jacobian.T, inverse, np.empty((2, 5, 5)))
draws = normals_1(0, 1, np.uint64(2), np.uint64(3), np.uint64(4))
print("result", jacobian.sum(), inverse.sum(), *draws, flush=True)
"""


@pytest.fixture
def start(tmp_path):
    """Start a job that says "ready" and then waits for a line."""
    others = ("NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT", "TMPDIR")
    clean = {key: value for key, value in os.environ.items() if key not in others}
    jobs = []

    def start_one(*arguments):
        temporary = tmp_path / f"job-{len(jobs)}"  # as schedulers do
        temporary.mkdir()
        env = clean | {"FASTSIM_CACHE_DIR": str(tmp_path / "cache"), "TMPDIR": str(temporary)}
        command = [sys.executable, "-c", JOB, *arguments]
        jobs.append(subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return jobs[-1]

    yield start_one
    for job in jobs:
        job.kill()
        job.communicate()


def _go(jobs):
    for job in jobs:
        assert job.stdout.readline() == "ready\n"
    for job in jobs:
        job.stdin.write("\n")
        job.stdin.flush()


def _until(job, beginning):
    """The lines of a job up to the one that begins so."""
    lines = []
    for line in job.stdout:
        lines.append(line)
        if line.startswith(beginning):
            return lines
    raise AssertionError(lines)


def _end(jobs):
    """What was compiled how often in all; all jobs ended well and found the same."""
    texts = [job.communicate(timeout=100)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * len(jobs)
    lines = [line for text in texts for line in text.splitlines()]
    results = [line for line in lines if line.startswith("result")]
    assert len(results) == len(jobs)
    assert len(set(results)) == 1
    return Counter(line for line in lines if line.startswith("compile"))


def test_each_kernel_is_compiled_once(start, tmp_path):
    jobs = [start() for _ in range(N_JOBS)]
    _go(jobs)
    compiled = _end(jobs)
    assert {line.split()[1] for line in compiled} >= {
        "transport",
        "sinc_1",
        "cholesky_5",
        "invert_5",
        "philox_1",
        "normals_1",
    }
    assert set(compiled.values()) == {1}
    files = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(files) == len(compiled)
    assert all(name.endswith(".kernel") for name in files)


def test_warm_start_waits_for_nobody(start, tmp_path):
    """While another process has the turn, and needs it no more than to sleep."""
    first = start()
    _go([first])
    assert _end([first])
    (missing,) = (tmp_path / "cache").rglob("normals_1-*.kernel")
    content = missing.read_bytes()
    missing.unlink()
    compiler = start("normals_1")
    _go([compiler])
    _until(compiler, "compile normals_1")
    missing.write_bytes(content)
    warm = start()
    _go([warm])
    assert not _end([warm])
    assert compiler.poll() is None


@pytest.mark.parametrize("moment", ["transport", "sinc_1", "invert_5"])
def test_killed_in_the_middle_of_compiling(start, moment):
    """In a kernel that Python calls, in one that this one calls, and in a later one."""
    victim = start(moment)
    _go([victim])
    before = Counter(line.strip() for line in _until(victim, f"compile {moment}") if line.startswith("compile"))
    others = [start() for _ in range(3)]
    _go(others)
    for job in others:
        _until(job, "log wait")
    assert all(job.poll() is None for job in others)
    victim.send_signal(signal.SIGKILL)
    after = _end(others)
    assert set(after.values()) == {1}
    assert victim.wait() == -signal.SIGKILL
    unfinished = set(before) & set(after)
    assert any(line.startswith(f"compile {moment} ") for line in unfinished)
    assert all(line.split()[1] in {moment, "transport", "invert_5"} for line in unfinished)
