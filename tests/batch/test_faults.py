"""Whatever happens to jobs of a batch, afterwards it is made whole, equal to the single run, or says what is wrong."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastsim.batch.collect import merge_batch
from fastsim.batch.manifest import open_batch, plan
from fastsim.batch.runner import RUNNING, signs_of_life
from fastsim.batch.state import clear_dead, survey, to_do
from fastsim.cards import load_card
from fastsim.errors import InputError, OutputError
from tests.batch.fault_batches import (
    PER_SHARD,
    SETS,
    change_record,
    failures,
    finish,
    flip,
    kinds,
    known,
    make,
    make_world,
    process,
    raise_at,
    running,
    wait_at,
    wait_for,
    worker_of,
)

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs fork, SIGKILL and /proc"),
    pytest.mark.usefixtures("no_faults_left"),
]


# --- killed ---

N_MOMENTS, N_OTHERS = 20, 9


@pytest.fixture(scope="module")
def forks(tmp_path_factory, faults):
    """What fault_forks.py tells, its batch, and the single run."""
    world = make_world(tmp_path_factory.mktemp("forks"), 2 * (N_MOMENTS + N_OTHERS), 2, is_made=False)
    script = Path(__file__).parent / "fault_forks.py"
    words = [sys.executable, str(script), str(world.planned), str(N_MOMENTS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], world


def test_killed_at_random_moments(forks):
    told = [line for line in forks[0] if line["what"] == "moment"]
    assert len(told) == N_MOMENTS
    assert Counter(line["phase"] for line in told if line["killed"]).total() >= 0.9 * N_MOMENTS
    assert {line["phase"] for line in told if line["killed"]} == {
        "start",
        "simulation",
        "writing",
        "hashing",
        "publishing",
    }
    for line in told:  # a result is whole, or not there at all
        assert line["state"] == "done" or (line["killed"] and line["state"] == "missing"), line


def test_killed_around_the_change_of_names(forks):
    told = {(line["when"], line["number"]): line for line in forks[0] if line["what"] == "name"}
    assert [line["killed"] for line in told.values()] == [True] * 4
    states = {"before 1": "missing", "after 1": "done", "after 2": "missing", "before 3": "missing"}
    assert {f"{when} {number}": line["state"] for (when, number), line in told.items()} == states


def test_two_runners_at_once(forks):
    """They pass the look for others, and put theirs in place, at the same moment."""
    told = [line for line in forks[0] if line["what"] == "two"]
    assert len(told) == 4
    for line in told:
        notes = sorted(answer["note"] for answer in line["notes"])  # no error
        assert notes == ["", "another runner was first, its file is kept"], line
        assert line["state"] == "done", line


def test_a_result_that_appears_while_an_old_one_is_replaced(forks):
    (line,) = (line for line in forks[0] if line["what"] == "late")
    assert line["state"] == "done"
    assert [answer.get("note") for answer in line["notes"]] == ["", ""], (
        line
    )  # the first one's is replaced by its equal


def test_what_killed_runners_left_is_made(forks):
    told, world = forks
    batch = open_batch(world.planned)
    assert len(told) == N_MOMENTS + N_OTHERS
    assert len(running(batch)) >= 0.9 * N_MOMENTS
    states = [line["state"] for line in told]
    assert kinds(batch, has_to_match=True) == states
    assert clear_dead(batch) >= 0.9 * N_MOMENTS
    assert running(batch) == []
    finish(batch, world.single)


def test_the_scheduler_is_killed(world, tmp_path, fastsim):
    """Its workers end with the shards that they have; meanwhile nobody else makes those."""
    batch, waits = world.fresh(tmp_path), [wait_at(1), wait_at(5)]
    with process("batch", "submit", batch.folder, "--engine", "local", "--workers", "2") as supervisor:
        for wait in waits:
            wait.reached()
        assert kinds(batch) == ["running", "running", "missing"]
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
        done = fastsim("batch", "resume", batch.folder)
        assert done.code == 0, done.err
        assert kinds(batch) == ["running", "running", "done"]
        for wait in waits:
            wait.over()
        wait_for(lambda: not supervisor.members(), "the workers end by themselves")
    assert kinds(batch) == ["done"] * 3
    finish(batch, world.single)


def test_workers_of_the_scheduler_are_killed(world, tmp_path):
    """They are replaced, and their shards made again."""
    batch, wait = world.fresh(tmp_path), wait_at(1)
    with process("batch", "submit", batch.folder, "--engine", "local", "--workers", "1") as supervisor:
        wait.reached()
        (sign,) = signs_of_life(batch.out)
        os.kill(sign.pid, signal.SIGKILL)
        wait.over()
        code, said = supervisor.end()
    assert code == 0, said
    assert "shard_0000: its process died (killed by signal 9, or out of memory); tried again (1)" in said
    assert (kinds(batch), failures(batch)) == (["done"] * 3, {})
    finish(batch, world.single)


# --- results that were damaged ---


DAMAGE = {
    "truncated": lambda file: os.truncate(file, file.stat().st_size - 1),
    "empty": lambda file: os.truncate(file, 0),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "removed": Path.unlink,
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "no record": lambda file: (file.parent / "record.json").unlink(),
    "empty record": lambda file: (file.parent / "record.json").write_text(""),
    "half a record": lambda file: os.truncate(file.parent / "record.json", 60),
    "binary record": lambda file: (file.parent / "record.json").write_bytes(b"\xff\xfe" * 50),
    "record is a list": lambda file: (file.parent / "record.json").write_text("[1]"),
    "record is deep": lambda file: (file.parent / "record.json").write_text("[" * 100_000),
    "record without a key": lambda file: change_record(file, skipped_events=None),
    "record of words": lambda file: change_record(file, n_events="many"),
    "infinite record": lambda file: change_record(file, n_bytes=float("inf")),
    "record of another file": lambda file: change_record(file, file="manifest.json"),
    "nothing in the folder": lambda file: (shutil.rmtree(file.parent), file.parent.mkdir()),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_results(world, tmp_path, damage):
    """They are seen and made again; the others are left as they are."""
    batch = world.made(tmp_path)
    others = [batch.result(index).stat().st_mtime_ns for index in (0, 2)]
    damage(batch.result(1))
    assert kinds(batch) == ["done", "broken", "done"]
    assert str(batch.result(1).parent) in survey(batch)[1].what
    with pytest.raises(InputError, match=r"1 of 3 shards are not done; shard_0001 is broken: .*/shard_0001"):
        merge_batch(batch, tmp_path / "all.root")
    assert not (tmp_path / "all.root").exists()
    make(batch)
    assert (known(batch.result(1)), running(batch), kinds(batch)) == (world.shard, [], ["done"] * 3)
    assert [batch.result(index).stat().st_mtime_ns for index in (0, 2)] == others


def test_all_commands_see_a_truncated_result(world, tmp_path, fastsim):
    batch = world.made(tmp_path / "batch")
    os.truncate(batch.result(1), 10_000)
    size = open_batch(world.done).result(1).stat().st_size
    fault = f"{batch.result(1)} has 10000 bytes, and had {size} when it was made"
    for command, code in (("status", 0), ("verify", 1)):
        done = fastsim("batch", command, batch.folder)
        assert (done.code, f"shard_0001: broken: {fault}" in done.out) == (code, True), done
    done = fastsim("batch", "merge", batch.folder, "-o", tmp_path / "all.root")
    hint = "hint: `fastsim batch resume` makes what is missing"
    what = f"error: {batch.out}: 1 of 3 shards are not done; shard_0001 is broken: {fault}\n{hint}\n"
    assert (done.code, done.err, (tmp_path / "all.root").exists()) == (4, what, False)
    finish(batch, world.single)


def test_other_bytes_of_the_same_size(world, tmp_path, fastsim):
    """Only reading all of it tells; what was found is known then, and the shard is made again."""
    batch = world.made(tmp_path / "batch")
    flip(batch.result(1))
    assert fastsim("batch", "status", batch.folder).out.count("broken") == 0
    verify = fastsim("batch", "verify", batch.folder)
    assert verify.code == 1
    fault = f"shard_0001: broken: {batch.result(1)} has other bytes than when it was made"
    assert fault in verify.out
    assert fault in fastsim("batch", "status", batch.folder).out
    finish(batch, world.single)


def test_merge_finds_other_bytes_too(world, tmp_path, fastsim):
    batch = world.made(tmp_path / "batch")
    flip(batch.result(2))
    merge = fastsim("batch", "merge", batch.folder, "-o", tmp_path / "all.root")
    assert (merge.code, (tmp_path / "all.root").exists()) == (4, False)
    assert f"shard_0002 is broken: {batch.result(2)} has other bytes than when it was made" in merge.err
    assert to_do(survey(batch)) == [2]
    finish(batch, world.single)


def swap(a, b):
    """Two files or folders change places."""
    between = a.with_name("between")
    a.rename(between)
    b.rename(a)
    between.rename(b)


def test_files_of_two_shards_are_swapped(world, tmp_path):
    batch = world.made(tmp_path)
    swap(batch.result(0), batch.result(1))
    assert kinds(batch, has_to_match=True) == ["broken", "broken", "done"]
    finish_after_verify(batch, world)


def test_folders_of_two_shards_are_swapped(world, tmp_path):
    batch = world.made(tmp_path)
    swap(batch.result(0).parent, batch.result(1).parent)
    assert kinds(batch) == ["broken", "broken", "done"]
    assert "is of another manifest" in survey(batch)[0].what
    finish_after_verify(batch, world)


def test_records_and_files_of_two_shards_are_swapped(world, tmp_path):
    """All names are right, only the events are others."""
    batch = world.made(tmp_path)
    one, other = batch.result(0), batch.result(1)
    swap(one.parent, other.parent)
    for file, name in ((one, other.name), (other, one.name)):
        file.with_name(name).rename(file)
        change_record(file, file=file.name)
    assert kinds(batch) == ["broken", "broken", "done"]
    change_record(one, first=0, end=4)  # only the file itself says the truth
    change_record(other, first=4, end=8)
    assert kinds(batch, has_to_match=True) == ["done"] * 3
    finish_after_verify(batch, world)


def finish_after_verify(batch, world):
    from fastsim.batch.state import verify

    assert [state.kind for state in verify(batch)] == ["broken", "broken", "done"]
    assert to_do(survey(batch)) == [0, 1]
    finish(batch, world.single)


def test_results_of_another_batch(world, tmp_path):
    """The same names and events, made with another seed."""
    batch = world.made(tmp_path / "batch")
    card = load_card("alice3", sets=SETS, seed=2)
    names = [i.name for i in batch.manifest.inputs]
    other = plan(names, card, tmp_path / "other", events_per_shard=PER_SHARD)
    make(other, 1)
    shutil.rmtree(batch.result(1).parent)
    shutil.copytree(other.result(1).parent, batch.result(1).parent)
    assert kinds(batch) == ["done", "broken", "done"]
    finish(batch, world.single)


# --- no room ---


@contextmanager
def file_size_limit(n_bytes):
    """No file may be larger; as a full disk, with another error number."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 0.95])
def test_no_room(world, tmp_path, share):
    """The same worker succeeds as soon as there is room."""
    limit = int(share * world.made(tmp_path / "made").result(1).stat().st_size)
    batch = world.fresh(tmp_path / "batch")
    worker = worker_of(batch)
    with file_size_limit(limit), pytest.raises(OutputError, match=r"cannot be written \(File too large\)") as caught:
        worker.run(1)
    assert (caught.value.exit_code, caught.value.hint) == (75, "a file-size limit is set (ulimit -f)")
    assert (kinds(batch), running(batch)) == (["missing"] * 3, [])
    assert worker.run(1).note == ""
    assert known(batch.result(1)) == world.shard


def test_no_room_for_a_job(world, tmp_path):
    batch = world.fresh(tmp_path)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    with process("batch", "run", batch.folder, "0", "1", preexec_fn=limit) as job:
        code, said = job.end()
    assert code == 75, said
    assert "cannot be written (File too large)" in said
    assert "hint: a file-size limit is set (ulimit -f)" in said
    assert "Traceback" not in said
    assert (kinds(batch), running(batch)) == (["missing"] * 3, [])
    assert failures(batch)["shard_0000"]["exit_code"] == 75
    finish(batch, world.single)
    assert failures(batch) == {}


# --- a plug-in that raises ---


def test_a_plug_in_raises_on_one_event(world, tmp_path, fastsim):
    batch = world.fresh(tmp_path)
    with raise_at(6):
        done = fastsim("batch", "submit", batch.folder, "--engine", "local", "--workers", "2")
        assert done.code == 70
        assert "shard_0001 failed (exit code 70): ZeroDivisionError: the plug-in does not like event 6" in done.err
        assert "tried again" not in done.err
        assert (kinds(batch), running(batch)) == (["done", "failed", "done"], [])
        assert failures(batch)["shard_0001"]["times"] == 1
        assert fastsim("batch", "resume", batch.folder).code == 0
        assert failures(batch)["shard_0001"]["times"] == 1  # not tried
    done = fastsim("batch", "resume", batch.folder)
    assert kinds(batch) == ["done", "failed", "done"]
    assert f"mend what failed, then: fastsim batch resume {batch.folder} --failed" in done.out
    assert fastsim("batch", "resume", batch.folder, "--failed").code == 0
    assert failures(batch) == {}
    finish(batch, world.single)


def test_a_plug_in_raises_in_a_job(world, tmp_path, fastsim):
    batch = world.fresh(tmp_path)
    with raise_at(6):
        done = fastsim("batch", "run", batch.folder, "0", "1", "2")
    assert (done.code, kinds(batch), running(batch)) == (70, ["done", "failed", "missing"], [])
    assert "ZeroDivisionError: the plug-in does not like event 6" in done.err
    make(batch, 1)
    finish(batch, world.single)


# --- two runners ---


def test_a_busy_shard(world, tmp_path, fastsim):
    batch, wait = world.fresh(tmp_path), wait_at(2)
    with process("batch", "run", batch.folder, "0") as first:
        wait.reached()
        done = fastsim("batch", "run", batch.folder, "0")
        assert done.code == 75
        assert done.err.startswith(
            f"error: {batch.out}: shard_0000 is being made by process {first.pid} on {socket.gethostname()} (last sign "
        )
        assert (kinds(batch), failures(batch)) == (["running", "missing", "missing"], {})
        wait.over()
        code, said = first.end()
    assert code == 0, said
    finish(batch, world.single)


def test_the_folder_of_a_runner_is_taken_away(world, tmp_path):
    """As by somebody who takes it for dead: worth a retry."""
    batch, wait = world.fresh(tmp_path), wait_at(2)
    with process("batch", "run", batch.folder, "0") as first:
        wait.reached()
        shutil.rmtree(batch.out / RUNNING)
        wait.over()
        code, said = first.end()
    assert code == 75, said
    assert "Traceback" not in said
    finish(batch, world.single)
