"""The cluster of the fixture is a real Slurm: arrays, exit codes, requeues, signals and restarts work as its manual says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.batch import slurm_cluster
from tests.batch.slurm_cluster import SlurmCluster


def submit(cluster, folder, text, *options):
    """Submit a batch script of these lines; its output goes to `TASK.out` in `folder`, 0.out without an array."""
    script = folder / "job.sh"
    script.write_text(f"#!/bin/bash\n{text}\n")
    output = "%a.out" if any("--array" in option for option in options) else "0.out"
    return cluster.run("sbatch", "--parsable", f"--output={folder}/{output}", "--open-mode=append", *options, script)


def wait_for(holds, timeout=30):
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def descendants(cluster):
    return psutil.Process(cluster._keeper.pid).children(recursive=True)


def test_array(slurm, tmp_path):
    job = submit(slurm, tmp_path, "echo $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_TASK_COUNT", "--array=1-4")
    assert slurm.wait(job) == dict.fromkeys((1, 2, 3, 4), ("COMPLETED", "0:0"))
    assert [(tmp_path / f"{task}.out").read_text() for task in (1, 2, 3, 4)] == [
        f"{task} of 4\n" for task in (1, 2, 3, 4)
    ]


def test_exit_code(slurm, tmp_path):
    job = submit(slurm, tmp_path, "[ $SLURM_ARRAY_TASK_ID != 3 ] || exit 75", "--array=2,3")
    assert slurm.wait(job) == {2: ("COMPLETED", "0:0"), 3: ("FAILED", "75:0")}


def test_a_task_requeues_itself_once(slurm, tmp_path):
    """By array and task: the last task's $SLURM_JOB_ID is the array's, and would send all tasks round again."""
    text = """
echo "restarts: ${SLURM_RESTART_COUNT:-none}"
[ "$SLURM_RESTART_COUNT" -o $SLURM_ARRAY_TASK_ID = 0 ] && exit
[ $SLURM_JOB_ID = $SLURM_ARRAY_JOB_ID ] && echo "the last"
scontrol requeue ${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
sleep 60  # Slurm ends this
"""
    job = submit(slurm, tmp_path, text, "--array=0,1")
    assert slurm.wait(job) == dict.fromkeys((0, 1), ("COMPLETED", "0:0"))
    lines = [(tmp_path / f"{task}.out").read_text().splitlines() for task in (0, 1)]
    assert lines[0] == ["restarts: none"]
    assert [line for line in lines[1] if "slurmstepd" not in line] == ["restarts: none", "the last", "restarts: 1"]


def test_a_signal_reaches_the_trap_of_a_batch_script(slurm, tmp_path):
    text = """
trap 'echo caught; exit 9' USR1
sleep 60 &
echo ready
wait
"""
    job = submit(slurm, tmp_path, text)
    wait_for(lambda: (tmp_path / "0.out").exists() and "ready" in (tmp_path / "0.out").read_text())
    slurm.run("scancel", "--signal=USR1", "--batch", job)
    assert slurm.wait(job) == {0: ("FAILED", "9:0")}
    assert (tmp_path / "0.out").read_text() == "ready\ncaught\n"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restarted_controller_loses_no_job(slurm, tmp_path, how):
    """Two tasks run, two wait; one of the running ones ends while nobody is there to hear of it."""
    text = """
echo $SLURM_ARRAY_TASK_ID
while [ ! -e go$SLURM_ARRAY_TASK_ID ]; do sleep 0.1; done
"""
    job = submit(slurm, tmp_path, text, "--array=0-3", f"--chdir={tmp_path}")
    wait_for(lambda: (tmp_path / "0.out").exists() and (tmp_path / "1.out").exists())
    if how == signal.SIGKILL:  # what is not written yet is rightly forgotten
        state, started = slurm.folder / "state" / "job_state", time.time()
        wait_for(lambda: state.stat().st_mtime > started)
    before = slurm.pids["slurmctld"]
    slurm.kill_controller(how)
    (tmp_path / "go0").touch()
    time.sleep(0.5)
    with pytest.raises(RuntimeError, match="scontrol ping: exit code 1"):
        slurm.run("scontrol", "ping")
    slurm.restart_controller()
    assert slurm.pids["slurmctld"] != before
    assert len(slurm.tasks(job)) == 4
    for task in (1, 2, 3):
        (tmp_path / f"go{task}").touch()
    assert slurm.wait(job) == dict.fromkeys(range(4), ("COMPLETED", "0:0"))
    assert [(tmp_path / f"{task}.out").read_text() for task in range(4)] == [f"{task}\n" for task in range(4)]


def test_two_clusters_live_side_by_side_and_leave_nothing(slurm, tmp_path):
    """Nothing means: also not what a job has put into a session of its own and left behind."""
    with SlurmCluster(cpus=1) as other:
        job = submit(other, tmp_path, "env -i setsid sleep 300 &\nsetsid sleep 300 &\nwait")
        wait_for(lambda: [process.name() for process in descendants(other)].count("sleep") == 2)
        assert other.run("squeue", "-h", "-o", "%A %T") == f"{job} RUNNING"
        processes = descendants(other)
        assert {"munged", "slurmctld", "slurmd", "slurmstepd"} <= {process.name() for process in processes}
        assert not {process.pid for process in processes} & {process.pid for process in descendants(slurm)}
        addresses = {connection.laddr.ip for process in processes for connection in process.net_connections()}
        if slurm_cluster.own_address().startswith("127."):
            assert all(address.startswith("127.") for address in addresses)
        folder = other.folder
    assert [process for process in processes if process.is_running()] == []
    assert not folder.exists()
    other.stop()  # a second time changes nothing
    assert slurm.run("sinfo", "-h", "-o", "%P %c") == "main* 2"


def test_nothing_is_left_when_the_tests_are_killed():
    script = """
import os, signal
from tests.batch.slurm_cluster import SlurmCluster
cluster = SlurmCluster()
cluster.start()
print(cluster.folder, *cluster.pids.values(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    if lacks := slurm_cluster.missing():
        pytest.skip(f"no Slurm here, missing: {', '.join(lacks)}")
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder, *pids = done.stdout.split()
    assert len(pids) == 3
    wait_for(lambda: not any(psutil.pid_exists(int(pid)) for pid in pids))
    wait_for(lambda: not Path(folder).exists())


def test_errors_say_what_slurm_said(slurm, tmp_path):
    with pytest.raises(RuntimeError, match=r"sbatch .*--array=1-x .*: exit code 1: .*Invalid job array specification"):
        submit(slurm, tmp_path, "true", "--array=1-x")
    job = submit(slurm, tmp_path, "true", "--hold")
    with pytest.raises(TimeoutError, match=rf"job {job} did not end in 0.1 s: \{{0: \('PENDING', '0:0'\)\}}"):
        slurm.wait(job, timeout=0.1)
    slurm.run("scancel", job)
    assert slurm.wait(job) == {0: ("CANCELLED", "0:0")}


def test_tasks_that_never_ran_are_reported_one_by_one(slurm, tmp_path):
    job = submit(slurm, tmp_path, "true", "--hold", "--array=0-200:2,205%3")
    slurm.run("scancel", job)
    assert slurm.wait(job) == dict.fromkeys([*range(0, 201, 2), 205], ("CANCELLED", "0:0"))


def test_a_cluster_that_does_not_start_shows_the_logs(slurm, monkeypatch):
    monkeypatch.setattr(slurm_cluster, "CONFIGURATION", slurm_cluster.CONFIGURATION + "NoSuchWord=1\n")
    cluster = SlurmCluster()
    with pytest.raises(RuntimeError, match="NoSuchWord"):
        cluster.start()
    assert not cluster.folder.exists()
    assert cluster._keeper.returncode == 0


def test_what_is_missing(monkeypatch):
    monkeypatch.setattr(slurm_cluster, "SBIN", "")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert slurm_cluster.missing() == [*slurm_cluster.DAEMONS, *slurm_cluster.COMMANDS, "root's rights"]
