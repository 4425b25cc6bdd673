"""Output is whole or not there: a full device, signals, and killed workers, each in a Python of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests import hepmc_files as files

# The command, with a word on stderr when the first block is done, so that a signal finds the run in its middle.
MAIN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it, and it is inherited
from fastsim import run
accept = run._accept
def tell(*words):
    accept(*words)
    print("running", file=sys.stderr, flush=True)
run._accept = tell
from fastsim.cli import main
if __name__ == "__main__":
    sys.argv[0] = "fastsim"
    main()
"""


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """More events than any test has time for."""
    path = tmp_path_factory.mktemp("input") / "events.hepmc"
    one = files.sample(200).partition(b"E 0 3 9")
    body = (one[1] + one[2]).removesuffix(files.empty().splitlines(keepends=True)[2] + b"\n")
    path.write_bytes(one[0] + body * 400 + b"HepMC::Asciiv3-END_EVENT_LISTING\n")
    return path


@pytest.fixture
def start(events, tmp_path):
    """Start a run and wait until it is in its middle; gives the process and its children."""
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "out").mkdir()
    started = []

    def call(workers=1):
        command = [
            sys.executable,
            str(tmp_path / "main.py"),
            "run",
            str(events),
            "-o",
            str(tmp_path / "out" / "out.root"),
        ]
        process = subprocess.Popen(
            [*command, "--quiet", "--batch-size", "100", "--workers", str(workers)], stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stderr.readline() == "running\n"
        assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".part"]
        return process, psutil.Process(process.pid).children(recursive=True)

    yield call
    for process in started:
        if process.poll() is None:
            for hanging in [*psutil.Process(process.pid).children(recursive=True), process]:
                hanging.kill()
        process.communicate()


def end(process) -> tuple[int, str]:
    """Exit code and what was said, without our own word."""
    _, text = process.communicate(timeout=30)
    return process.returncode, "".join(line for line in text.splitlines(keepends=True) if line != "running\n")


def all_gone(children) -> bool:
    """Whether the children end, within a few seconds."""
    return not psutil.wait_procs(children, timeout=10)[1]


@pytest.mark.parametrize(
    ("workers", "number", "code", "text"),
    [
        (1, signal.SIGINT, 130, "interrupted: nothing is left under the name of the output\n"),
        (2, signal.SIGINT, 130, "interrupted: nothing is left under the name of the output\n"),
        (1, signal.SIGTERM, 75, "stopped by SIGTERM: nothing is left under the name of the output\n"),
        (2, signal.SIGTERM, 75, "stopped by SIGTERM: nothing is left under the name of the output\n"),
        (1, signal.SIGUSR1, 75, "stopped by SIGUSR1: nothing is left under the name of the output\n"),
    ],
)
def test_signal_in_the_middle_leaves_nothing(start, tmp_path, workers, number, code, text):
    process, children = start(workers)
    assert len(children) >= (2 if workers == 2 else 0)
    process.send_signal(number)
    assert end(process) == (code, text)
    assert list((tmp_path / "out").iterdir()) == []
    assert all_gone(children)


def ignores_interrupts(process) -> bool:
    """Whether a worker is past its start."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return bool(int(status["SigIgn"], 16) & 1 << (signal.SIGINT - 1))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_interrupt_of_the_whole_group_as_a_terminal_sends_it(start, tmp_path):
    process, children = start(2)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    while not all(ignores_interrupts(child) for child in workers):
        time.sleep(0.05)
    for child in workers:
        child.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    code, text = end(process)
    assert code == 130
    assert text == "interrupted: nothing is left under the name of the output\n"
    assert list((tmp_path / "out").iterdir()) == []
    assert all_gone(children)


def test_killed_worker_is_worth_a_retry(start, tmp_path):
    process, children = start(2)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == 2
    workers[0].kill()
    code, text = end(process)
    assert code == 75
    assert text == "error: a worker process died (killed, or out of memory)\nhint: try again with fewer --workers\n"
    assert list((tmp_path / "out").iterdir()) == []
    assert all_gone(children)


def test_killed_run_leaves_nothing_under_the_name_of_the_output(start, tmp_path):
    process, _ = start()
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "out" / "out.root").exists()


@pytest.mark.parametrize("old", [False, True])
def test_file_that_grows_too_large(events, tmp_path, old):
    """A file-size limit is the one full device that every machine has."""
    out = tmp_path / "out"
    out.mkdir()
    if old:
        (out / "out.root").write_text("old")
    command = [
        sys.executable,
        "-m",
        "fastsim",
        "run",
        str(events),
        "-o",
        str(out / "out.root"),
        "--quiet",
        "--overwrite",
    ]
    program = (
        "import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)); os.execv(sys.argv[1], sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command, "--events", ":8000"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.stderr == (
        f"error: {out / 'out.root'}: cannot be written (File too large)\nhint: a file-size limit is set (ulimit -f)\n"
    )
    assert done.returncode == 75
    assert [path.name for path in out.iterdir()] == ["out.root"] * old
    if old:
        assert (out / "out.root").read_text() == "old"


def test_two_runs_into_one_folder_do_not_disturb_each_other(tmp_path):
    (tmp_path / "events.hepmc").write_bytes(files.sample(3))
    command = [sys.executable, "-m", "fastsim", "run", str(tmp_path / "events.hepmc"), "--quiet", "--overwrite", "-o"]
    both = [subprocess.Popen([*command, str(tmp_path / "out.root")]) for _ in range(2)]
    assert [process.wait(timeout=100) for process in both] == [0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.hepmc", "out.root"]
