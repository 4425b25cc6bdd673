"""Every engine for real: the ttbar sample in shards, some jobs killed, resumed, merged, gives the file of the single run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import dask
import pytest

import fastsim
from fastsim.batch.collect import merge_batch
from fastsim.batch.engines import dask as dask_engine
from fastsim.batch.engines import local
from fastsim.batch.engines.scripts import submit
from fastsim.batch.manifest import plan, sealed
from fastsim.batch.runner import signs_of_life
from fastsim.batch.settings import make_settings, save
from fastsim.batch.state import clear_dead, survey, to_do
from fastsim.errors import UsageError
from fastsim.io.inspect import digest, read_provenance
from tests.commands import run_fastsim


@pytest.fixture(scope="module")
def single(ttbar, tmp_path_factory):
    """Digest and identity of the single run."""
    path = tmp_path_factory.mktemp("single") / "out.root"
    fastsim.simulate_files([ttbar], "alice3", path)
    return digest(path), read_provenance(path)["identity"]["sha256"]


@pytest.fixture
def batch(ttbar, tmp_path):
    """40 events in 7 shards."""
    return plan([ttbar], fastsim.load_card("alice3"), tmp_path / "batch", events_per_shard=6)


class Told:
    """Keeps what an engine tells; `passing` may do something."""

    def __init__(self, passing=lambda: None):
        self.n_shards, self.n_again, self.answers, self.passing = 0, 0, [], passing

    def started(self, n_shards, _):
        self.n_shards = n_shards

    def finished(self, answer):
        self.answers.append(answer)

    def again(self, *_):
        self.n_again += 1


def kill_one(batch, killed, most=1):
    """Kill a process that makes a shard."""

    def look():
        alive = [sign for sign in signs_of_life(batch.out) if sign.is_alive]
        if alive and len(killed) < most:
            os.kill(alive[0].pid, signal.SIGKILL)
            killed.append(alive[0].shard)

    return look


def assert_is_single(batch, single, path):
    done = merge_batch(batch, path)
    assert (digest(path), done.identity) == single
    assert read_provenance(path)["identity"]["sha256"] == single[1]


def test_local(batch, single, tmp_path):
    """A worker is killed, replaced, and its shard tried again."""
    killed = []
    told = Told(kill_one(batch, killed))
    answers = local.run(batch, list(range(7)), make_settings(engine="local", workers=2), told)
    assert len(killed) == told.n_again == 1
    assert sorted((answer.shard, answer.n_events) for answer in answers) == [(i, 6 if i < 6 else 4) for i in range(7)]
    assert list((batch.out / "running").iterdir()) == []
    assert_is_single(batch, single, tmp_path / "out.root")


def test_local_gives_up_what_is_not_worth_a_retry(batch):
    """An input that is gone: each shard fails once, and says so."""
    gone = batch.manifest.inputs[0].model_copy(update={"name": "/nowhere/events.hepmc"})
    manifest = sealed(batch.manifest.model_copy(update={"inputs": [gone]}))
    (batch.folder / "manifest.json").write_text(manifest.model_dump_json())
    told = Told()
    answers = local.run(batch, [0, 1], make_settings(engine="local"), told)
    assert told.n_again == 0
    assert [(answer.shard, answer.exit_code) for answer in answers] == [(0, 4), (1, 4)]
    assert answers[0].error.startswith("/nowhere/events.hepmc: no such file")


def test_dask(batch, single, tmp_path):
    """A local cluster of two processes; Dask replaces the one that is killed, and runs its task again."""
    killed = []
    told = Told(kill_one(batch, killed))
    answers = dask_engine.run(batch, list(range(7)), make_settings(engine="dask", workers=2), told)
    assert len(killed) == 1
    assert sorted(answer.shard for answer in answers) == list(range(7))
    assert {answer.exit_code for answer in answers} == {0}
    assert_is_single(batch, single, tmp_path / "out.root")


def test_dask_scheduler_that_is_not_there(batch):
    settings = make_settings(engine="dask", scheduler="tcp://127.0.0.1:9")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(UsageError, match="cannot be reached"),
    ):
        dask_engine.run(batch, [0], settings, Told())


@pytest.fixture
def slurm_here(slurm, monkeypatch):
    """Slurm's commands are those of the test's cluster."""
    for name, value in slurm.env.items():
        if name.startswith("SLURM") or name == "PATH":
            monkeypatch.setenv(name, value)
    return slurm


def test_slurm(batch, single, tmp_path, slurm_here, capsys):
    """Plan, submit, kill jobs, resume, merge."""
    options = ("--option=--requeue", "--shards-per-job", 2, "--retries", 0, "--time", "00:10:00", "--memory", "1G")
    done = run_fastsim(capsys, "batch", "submit", batch.folder, "--engine", "slurm", *options)
    assert done.code == 0, done.err
    killed, job = [], int(done.out.split("sbatch: ")[1].split()[0])
    kill = kill_one(batch, killed)
    for _ in range(600):
        kill()
        if killed:
            break
        time.sleep(0.05)
    refused = run_fastsim(capsys, "batch", "resume", batch.folder)
    assert (refused.code, "jobs are still queued or running" in refused.err) == (2, True)
    states = slurm_here.wait(job, 120)
    assert len(states) == 4
    assert sum(code != "0:0" for _, code in states.values()) == 1, states
    clear_dead(batch)
    assert 1 <= len(to_do(survey(batch))) <= 2
    done = run_fastsim(capsys, "batch", "resume", batch.folder)
    assert done.code == 0, done.err
    slurm_here.wait(int(done.out.split("sbatch: ")[1].split()[0]), 120)
    assert to_do(survey(batch)) == []
    assert_is_single(batch, single, tmp_path / "out.root")


def test_slurm_requeues_what_is_worth_it(batch, slurm_here, tmp_path):
    """A job that is told to stop before its first events exits with 75, is queued again by its script, and then makes it."""
    first = tmp_path / "first"
    setup = f"if [ ! -e {first} ]; then touch {first}; ulimit -f 1; fi"  # files of at most 1 kB, the first time
    settings = make_settings(engine="slurm", setup=setup, memory="1G", time="00:10:00", retries=1)
    save(batch, settings)
    answer = submit(batch, [3], settings, dry_run=False).answers[0]
    for _ in range(600):
        if (batch.out / "shard_0003" / "record.json").exists():
            break
        time.sleep(0.1)
    log = next((batch.out / "logs").glob(f"{answer}_*.log")).read_text()
    assert "a file-size limit is set" in log
    assert log.rstrip().endswith("shard_0003: 6 events")


def test_dask_on_slurm(batch, single, tmp_path, slurm_here, monkeypatch):
    """dask-jobqueue: workers are Slurm jobs; one is killed, and replaced."""
    killed = []
    settings = make_settings(engine="dask", cluster="slurm", workers=2, memory="1G", time="00:10:00")
    config = {"jobqueue.slurm.interface": "lo", "distributed.deploy.lost-worker-timeout": "1s"}
    with dask.config.set(config):
        answers = dask_engine.run(batch, list(range(7)), settings, Told(kill_one(batch, killed)))
    assert len(killed) == 1
    assert {answer.exit_code for answer in answers} == {0}
    assert_is_single(batch, single, tmp_path / "out.root")


def test_the_command_for_local(batch, single, tmp_path, capsys):
    done = run_fastsim(capsys, "batch", "submit", batch.folder, "-e", "local", "--workers", 2)
    assert (done.code, done.out.count("done       7      40")) == (0, 1), done
    done = run_fastsim(capsys, "batch", "status", batch.folder, "--json")
    assert json.loads(done.out)["counts"] == {"done": 7, "running": 0, "failed": 0, "broken": 0, "missing": 0}
    done = run_fastsim(capsys, "batch", "verify", batch.folder)
    assert done.code == 0
    assert run_fastsim(capsys, "batch", "merge", batch.folder, "-o", tmp_path / "out.root").code == 0
    assert digest(tmp_path / "out.root") == single[0]
    assert "all is done" in run_fastsim(capsys, "batch", "resume", batch.folder).out


def test_processors_are_those_that_the_job_was_given(monkeypatch):
    """Never the machine's."""
    script = "from fastsim.batch.stop import processors; print(processors())"
    for variables, n in (({}, 1), ({"SLURM_CPUS_PER_TASK": "3", "OMP_NUM_THREADS": "9"}, 3), ({"NSLOTS": "many"}, 1)):
        clean = {k: v for k, v in os.environ.items() if not k.endswith(("_THREADS", "CPUS_PER_TASK"))}
        done = subprocess.run(
            [sys.executable, "-c", script], env=clean | variables, capture_output=True, text=True, check=True
        )
        assert int(done.stdout) == n
