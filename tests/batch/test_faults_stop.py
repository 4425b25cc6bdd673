"""Jobs that are told to stop keep what is done, and the next one goes on from there; nothing hangs, nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

import fastsim as package
from fastsim.batch.manifest import open_batch, plan
from fastsim.batch.runner import signs_of_life
from fastsim.batch.shard import StoppedError, kept_parts
from fastsim.batch.state import survey
from fastsim.errors import InputError
from tests.batch.fault_batches import (
    SETS,
    assert_whole,
    change_record,
    failures,
    finish,
    flip,
    kinds,
    known,
    make,
    make_world,
    process,
    running,
    signal_at,
    wait_at,
    wait_for,
    worker_of,
)

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs signals and /proc"),
    pytest.mark.usefixtures("no_faults_left"),
]


def parts(batch):
    """Names of folders of parts."""
    return sorted(path.name for path in batch.out.glob("*.part_*"))


def stop_after(n_batches):
    """Asks to stop after so many batches of events."""
    left = iter([False] * n_batches + [True] * 100)  # before the first one too
    return lambda: next(left)


# --- stopped here ---


@pytest.mark.parametrize("stops", [[1, 1, 1], [2], [3], [1, 2]])
def test_stops_in_a_row(world, tmp_path, stops):
    """Digest and identity are those of the shard that was not stopped."""
    batch, position = world.fresh(tmp_path), 4
    for n_batches in stops:
        worker = worker_of(batch, is_to_stop=stop_after(n_batches))
        what = rf"^shard_0001 was stopped after {position + n_batches - 4} of 4 events, which are kept"
        with pytest.raises(StoppedError, match=what) as caught:
            worker.run(1)
        assert (caught.value.exit_code, caught.value.hint) == (75, "run it again: it goes on from there")
        assert (batch.out / f"shard_0001.part_{position}_{position + n_batches}" / "shard_0001.root").is_file()
        position += n_batches
        assert (kinds(batch)[1], running(batch)) == ("missing", [])
        assert survey(batch)[1].what == f"{position - 4} of 4 events are kept"
    (done,) = make(batch, 1)
    assert (done.n_events, done.note) == (4, f"went on at event {position}")
    assert known(batch.result(1)) == world.shard
    assert parts(batch) == []


def test_a_stop_after_the_last_events_is_none(world, tmp_path):
    batch = world.fresh(tmp_path)
    assert worker_of(batch, is_to_stop=stop_after(4)).run(1).note == ""
    assert known(batch.result(1)) == world.shard


def test_bad_events_of_parts_are_counted(ttbar, tmp_path):
    """The bad event lies in the part; the identity names it as that of the single run does."""
    from tests import hepmc_files

    text = hepmc_files.contents(ttbar).replace(b"P 3 ", b"P x ", 3).replace(b"P x ", b"P 3 ", 2)
    (tmp_path / "events.hepmc").write_bytes(text)
    card = package.load_card("alice3", sets=SETS)
    options = {"events": (0, 12), "max_bad_events": 1}
    package.simulate_files([tmp_path / "events.hepmc"], card, tmp_path / "single.root", **options)
    batch = plan([tmp_path / "events.hepmc"], card, tmp_path / "batch", events_per_shard=6, batch_size=2, **options)
    with pytest.raises(StoppedError, match="after 4 of 6 events"):
        worker_of(batch, is_to_stop=stop_after(2)).run(0)
    assert kept_parts(batch, 0)[0].skipped == [2]
    finish(batch, known(tmp_path / "single.root"))


DAMAGE = {
    "truncated": lambda file: os.truncate(file, 1000),
    "other bytes": flip,
    "no record": lambda file: (file.parent / "record.json").unlink(),
    "empty record": lambda file: (file.parent / "record.json").write_text(""),
    "record without a key": lambda file: change_record(file, skipped_events=None),
    "of another batch": lambda file: change_record(file, way="0" * 64),
    "longer than the shard": lambda file: change_record(file, end=9),
    "before the shard": lambda file: change_record(file, first=3),
    "without events": lambda file: change_record(file, end=4),
    "empty folder": lambda file: (shutil.rmtree(file.parent), file.parent.mkdir()),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_parts_are_not_used(world, tmp_path, damage):
    batch = world.fresh(tmp_path)
    with pytest.raises(StoppedError):
        worker_of(batch, is_to_stop=stop_after(2)).run(1)
    damage(batch.out / "shard_0001.part_4_6" / "shard_0001.root")
    assert kept_parts(batch, 1) == []
    assert survey(batch)[1].what == ""
    (done,) = make(batch, 1)
    assert done.note == ""
    assert known(batch.result(1)) == world.shard
    assert parts(batch) == []


def test_a_gap_between_parts(world, tmp_path):
    """What is behind the gap is not used."""
    batch = world.fresh(tmp_path)
    for _ in range(3):
        with pytest.raises(StoppedError):
            worker_of(batch, is_to_stop=stop_after(1)).run(1)
    assert parts(batch) == ["shard_0001.part_4_5", "shard_0001.part_5_6", "shard_0001.part_6_7"]
    shutil.rmtree(batch.out / "shard_0001.part_5_6")
    assert [part.end for part in kept_parts(batch, 1)] == [5]
    make(batch, 1)
    assert (known(batch.result(1)), parts(batch)) == (world.shard, [])


def test_no_part_of_an_input_that_was_replaced(world, tmp_path):
    """It has the right size, was not read to its end, and is put back before the rest is made."""
    source = tmp_path / "gun.toml"
    shutil.copy(open_batch(world.planned).manifest.inputs[0].name, source)
    card = package.load_card("alice3", sets=SETS)
    batch = plan([source], card, tmp_path / "batch", events_per_shard=4, batch_size=1)
    right = source.read_text()
    source.write_text(right.replace("n = 30", "n = 31"))
    with pytest.raises(InputError, match="is not the file that it was when the work was planned"):
        worker_of(batch, is_to_stop=stop_after(2)).run(1)
    assert (parts(batch), running(batch), kinds(batch)[1]) == ([], [], "failed")
    source.write_text(right)
    make(batch, 1)
    assert known(batch.result(1)) == world.shard


# --- signals ---


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_keeps_what_is_done(world, tmp_path, fastsim, name):
    batch = world.fresh(tmp_path)
    signal_at(6, name)
    done = fastsim("batch", "run", batch.folder, "1", "2")
    assert done.code == 75
    assert done.err == (
        "error: shard_0001 was stopped after 3 of 4 events, which are kept\nhint: run it again: it goes on from there\n"
    )
    assert (parts(batch), kinds(batch)) == (["shard_0001.part_4_7"], ["missing"] * 3)
    assert failures(batch) == {}
    assert fastsim("batch", "run", batch.folder, "1").out == "shard_0001: 4 events (went on at event 7)\n"
    finish(batch, world.single)


def test_a_signal_before_the_first_events_leaves_nothing(world, tmp_path, fastsim):
    batch = world.fresh(tmp_path)
    signal_at(4, "SIGTERM")
    done = fastsim("batch", "run", batch.folder, "1")
    assert (done.code, done.err) == (75, "stopped by SIGTERM: nothing is left under the name of the output\n")
    assert (parts(batch), running(batch), failures(batch)) == ([], [], {})
    assert kinds(batch) == ["missing"] * 3


def test_a_signal_that_comes_twice_is_one(world, tmp_path, fastsim):
    """As to the whole group of processes, and once more from their leader."""
    batch = world.fresh(tmp_path)
    signal_at(6, "SIGTERM", "SIGTERM")
    assert fastsim("batch", "run", batch.folder, "1").code == 75
    assert parts(batch) == ["shard_0001.part_4_7"]


def test_a_second_signal_ends_at_once(world, tmp_path, fastsim, monkeypatch):
    monkeypatch.setattr("fastsim.batch.stop._TOGETHER", 0.0)
    batch = world.fresh(tmp_path)
    signal_at(6, "SIGUSR1", "SIGTERM")
    done = fastsim("batch", "run", batch.folder, "1")
    assert (done.code, done.err) == (75, "stopped by SIGTERM: nothing is left under the name of the output\n")
    assert (parts(batch), running(batch)) == ([], [])


def test_a_signal_in_the_last_batch_changes_nothing(world, tmp_path, fastsim):
    batch = world.fresh(tmp_path)
    signal_at(7, "SIGTERM")
    assert fastsim("batch", "run", batch.folder, "1").code == 0
    assert kinds(batch)[1] == "done"
    assert known(batch.result(1)) == world.shard


def test_a_signal_in_the_last_batch_stops_before_the_next_shard(world, tmp_path, fastsim):
    batch = world.fresh(tmp_path)
    signal_at(3, "SIGTERM")
    done = fastsim("batch", "run", batch.folder, "0", "1")
    assert (done.code, done.err) == (75, "error: shard_0001 was not begun\nhint: run it again\n")
    assert (kinds(batch), parts(batch), failures(batch)) == (["done", "missing", "missing"], [], {})
    finish(batch, world.single)


# --- processes ---


def test_a_job_is_stopped_twice(faults, tmp_path):
    """USR1 as before a time limit, TERM as from an administrator; then it is done."""
    world = make_world(tmp_path, 8, 8, is_made=False)
    batch = open_batch(world.planned)
    for event_id, number, kept in (
        (3, signal.SIGUSR1, "shard_0000.part_0_4"),
        (5, signal.SIGTERM, "shard_0000.part_4_6"),
    ):
        wait = wait_at(event_id)
        with process("batch", "run", batch.folder, "0") as job:
            wait.reached()
            os.kill(job.pid, number)
            wait.over()
            code, said = job.end()
        assert code == 75, said
        assert "events, which are kept" in said
        assert kept in parts(batch)
    finish(batch, world.single)


@pytest.mark.parametrize("moment", ["start", "reading", "simulation"])
def test_workers_of_a_job_are_stopped(world, tmp_path, moment):
    """SIGTERM to all its processes, as when an administrator or a time limit ends the job."""
    batch = world.fresh(tmp_path)
    wait = wait_at(6)
    with process("batch", "run", batch.folder, "1", "--workers", "2") as job:
        if moment == "simulation":
            wait.reached()
        elif moment == "reading":
            wait_for(lambda: len(job.members()) > 2, "workers")
        else:
            wait_for(lambda: running(batch), "a runner's folder")
        job.signal_all(signal.SIGTERM)
        wait.over()
        code, said = job.end()
    assert code == 75, said
    assert "Traceback" not in said
    assert running(batch) == []
    finish(batch, world.single)


@pytest.mark.parametrize("moment", ["workers", "events"])
def test_workers_of_a_run_are_stopped(world, tmp_path, moment):
    """SIGTERM to all its processes: nothing is left, nobody hangs."""
    source, wait = open_batch(world.planned).manifest.inputs[0].name, wait_at(6)
    sets = [word for one in SETS for word in ("--set", one)]
    words = ["run", source, "-o", tmp_path / "out.root", "--workers", "2", "--batch-size", "1", *sets]
    with process(*words) as run:
        if moment == "events":
            wait.reached()
        else:
            wait_for(lambda: len(run.members()) > 2, "workers")
        run.signal_all(signal.SIGTERM)
        wait.over()
        code, said = run.end()
    assert code == 75, said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_for_all", [True, False])
def test_the_engine_is_stopped(world, tmp_path, is_for_all):
    """Workers keep what they have done, and end soon."""
    batch, waits = world.fresh(tmp_path), [wait_at(1), wait_at(4)]
    with process("batch", "submit", batch.folder, "--engine", "local", "--workers", "2") as engine:
        for wait in waits:
            wait.reached()
        (engine.signal_all if is_for_all else engine.send_signal)(signal.SIGTERM)
        for wait in waits:
            wait.over()
        code, said = engine.end()
    assert code == 75, said
    assert "Traceback" not in said
    assert (parts(batch), running(batch)) == (["shard_0000.part_0_2"], [])
    assert kinds(batch) == ["missing"] * 3
    finish(batch, world.single)


def test_a_worker_of_the_engine_is_stopped(world, tmp_path):
    """By somebody else: another one goes on."""
    batch, wait = world.fresh(tmp_path), wait_at(1)
    with process("batch", "submit", batch.folder, "--engine", "local", "--workers", "1") as engine:
        wait.reached()
        (sign,) = signs_of_life(batch.out)
        os.kill(sign.pid, signal.SIGTERM)
        wait.over()
        code, said = engine.end()
    assert code == 0, said
    assert "shard_0000 was stopped after 2 of 4 events, which are kept" in said
    assert_whole(batch, world.single)
