"""What lies around a batch changes: its inputs, its manifest, the clocks. Then it goes on, or says what is wrong."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from fastsim import simulate_files
from fastsim.batch.manifest import Manifest, plan, sealed
from fastsim.batch.runner import RUNNING, signs_of_life
from fastsim.batch.shard import BusyError, Worker
from fastsim.batch.state import clear_dead, survey, to_do
from fastsim.cards import load_card
from fastsim.errors import InputError
from tests import hepmc_files
from tests.batch.fault_batches import (
    SETS,
    failures,
    finish,
    flip,
    kinds,
    known,
    make,
    process,
    raise_at,
    running,
    wait_at,
)

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs fork, SIGKILL and /proc"),
    pytest.mark.usefixtures("no_faults_left"),
]


# --- inputs ---


@pytest.fixture
def moved(world, tmp_path):
    """A batch of a copy of the input, its first shard made; gives also the path of the copy."""
    batch = world.fresh(tmp_path / "batch")
    source = tmp_path / "gun.toml"
    shutil.copy(batch.manifest.inputs[0].name, source)
    batch = plan([source], load_card("alice3", sets=SETS), tmp_path / "moved", events_per_shard=4, batch_size=1)
    make(batch, 0)
    return batch, source


def test_an_input_of_another_size(moved, world, fastsim, monkeypatch):
    batch, source = moved
    old = source.read_text()
    source.write_text(old + "\n")
    monkeypatch.setattr(Worker, "_prepare", lambda _: pytest.fail("no work before"))
    done = fastsim("batch", "run", batch.folder, "1")
    monkeypatch.undo()
    assert done.code == 4
    assert done.err == (
        f"error: {source}: is not the file that it was when the work was planned\nhint: put the old file back, or plan again\n"
    )
    assert (kinds(batch), running(batch)) == (["done", "failed", "missing"], [])


def test_an_input_of_other_bytes(moved, world, fastsim):
    batch, source = moved
    old = source.read_text()
    source.write_text(old.replace("n = 30", "n = 31"))
    done = fastsim("batch", "run", batch.folder, "1")
    assert done.code == 4
    assert f"error: {source}: is not the file that it was when the work was planned\n" in done.err
    assert (kinds(batch), running(batch)) == (["done", "failed", "missing"], [])
    assert fastsim("batch", "resume", batch.folder).code == 2  # it was never submitted
    source.write_text(old)
    assert to_do(survey(batch)) == [2]
    make(batch, *to_do(survey(batch), failed_too=True))
    finish(batch, world.single)


def test_a_server_of_inputs(tmp_path):
    """Shards that do not read to the end of it, and one that does, which finds that it is another file."""
    pytest.importorskip("aiohttp")
    text = hepmc_files.sample(12)
    (tmp_path / "events.hepmc").write_bytes(text)
    card = load_card("alice3", sets=SETS)
    simulate_files([tmp_path / "events.hepmc"], card, tmp_path / "single.root")
    handler = partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/events.hepmc"
            batch = plan([url], card, tmp_path / "batch", events_per_shard=4)
            make(batch, 0, 1)
            (tmp_path / "events.hepmc").write_bytes(text.replace(b"P 3 ", b"P  3 ", 1))
            with pytest.raises(InputError, match="is not the file that it was when the work was planned"):
                make(batch, 2)
            (tmp_path / "events.hepmc").write_bytes(text)
            make(batch, 2)
        finally:
            server.shutdown()
    finish(batch, known(tmp_path / "single.root"))


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, *_):
        pass


def test_a_missing_input(moved, world, fastsim, tmp_path):
    batch, source = moved
    (tmp_path / "elsewhere").mkdir()
    source.rename(tmp_path / "elsewhere" / source.name)
    done = fastsim("batch", "run", batch.folder, "1")
    assert done.code == 4
    hint = "is its file system there on this machine? else say --input-dir"
    assert done.err == f"error: {source}: no such file\nhint: {hint}\n"
    assert kinds(batch) == ["done", "failed", "missing"]
    done = fastsim("batch", "run", batch.folder, "1", "2", "--input-dir", tmp_path / "elsewhere")
    assert (done.code, kinds(batch), failures(batch)) == (0, ["done"] * 3, {})
    finish(batch, world.single)


def test_a_wrong_file_in_the_folder_of_inputs(moved, fastsim, tmp_path):
    batch, source = moved
    (tmp_path / "elsewhere").mkdir()
    wrong = tmp_path / "elsewhere" / source.name
    wrong.write_text(source.read_text().replace("n = 30", "n = 31"))
    done = fastsim("batch", "run", batch.folder, "1", "--input-dir", wrong.parent)
    assert done.code == 4
    assert f"error: {wrong}: is not the file that it was when the work was planned\n" in done.err


def test_only_the_inputs_of_a_shard_are_looked_at(ttbar, tmp_path):
    """Two inputs; the one that other shards read is not there."""
    names = [tmp_path / "a.hepmc.zst", tmp_path / "b.hepmc.zst"]
    for name in names:
        shutil.copy(ttbar, name)
    batch = plan(names, load_card("alice3", sets=SETS), tmp_path / "batch", events_per_shard=40)
    names[0].rename(tmp_path / "gone")
    make(batch, 1)
    assert kinds(batch) == ["missing", "done"]


# --- manifests that were edited ---


def changed(*path, to):
    """Another value of a key of the manifest."""

    def edit(text):
        record = json.loads(text)
        inner = record
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to
        return json.dumps(record)

    return edit


WAS_CHANGED = "was changed after it was planned: its hash is another"
EDITS = {
    "events": (changed("shards", 1, "end", to=9), WAS_CHANGED),
    "seed": (changed("card", "card", "seed", to=2), WAS_CHANGED),
    "way": (changed("way", "run_seed", to=2), WAS_CHANGED),
    "hash": (changed("sha256", to="0" * 64), WAS_CHANGED),
    "input": (changed("inputs", 0, "name", to="/elsewhere"), WAS_CHANGED),
    "batch size": (changed("options", "batch_size", to=7), WAS_CHANGED),
    "negative events": (
        changed("shards", 0, "first", to=-1),
        "shards.0.first: Input should be greater than or equal to 0",
    ),
    "words": (changed("shards", 0, "first", to="zero"), "shards.0.first: Input should be a valid integer"),
    "no shards": (changed("shards", to=[]), "shards: List should have at least 1 item"),
    "other schema": (changed("schema_version", to=2), "schema_version: Input should be 1"),
    "other kind": (changed("kind", to="shopping list"), "kind: Input should be 'fastsim batch'"),
    "unknown key": (changed("more", to=1), "more: Extra inputs are not permitted"),
    "key missing": (
        lambda text: json.dumps({**json.loads(text), "way": None}),
        "way: Input should be an object",
    ),
    "truncated": (lambda text: text[: len(text) // 2], "Invalid JSON: EOF while parsing"),
    "empty": (lambda _: "", "Invalid JSON: EOF while parsing"),
    "a list": (lambda _: "[]", "Input should be an object"),
    "no JSON": (lambda _: "schema_version = 1", "Invalid JSON: expected value at line 1 column 1"),
    "deep": (lambda _: "[" * 100_000, "Invalid JSON: recursion limit exceeded"),
    "garbage": (lambda _: "\0\1\2", "Invalid JSON: expected value"),
}


@pytest.mark.parametrize(("edit", "what"), EDITS.values(), ids=EDITS)
def test_edited_manifests(world, tmp_path, fastsim, edit, what):
    """Every command refuses them, and says what to do."""
    batch = world.fresh(tmp_path)
    path = batch.folder / "manifest.json"
    path.write_text(edit(path.read_text()))
    for words in (["status"], ["run", "0"], ["resume"], ["verify"], ["merge", "-o", tmp_path / "all.root"]):
        done = fastsim("batch", words[0], batch.folder, *words[1:])
        assert done.code == 4
        assert done.err.startswith(f"error: {path}: ")
        assert what in done.err
        assert done.err.endswith("\nhint: plan again: `fastsim batch plan`\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["luts", "manifest.json"]


def test_manifests_that_cannot_be_read(world, tmp_path, fastsim):
    batch = world.fresh(tmp_path)
    (batch.folder / "manifest.json").write_bytes(b"\xff" + (batch.folder / "manifest.json").read_bytes())
    done = fastsim("batch", "status", batch.folder)
    assert (done.code, "not a manifest of a batch: Invalid JSON" in done.err) == (4, True)
    (batch.folder / "manifest.json").unlink()
    done = fastsim("batch", "status", batch.folder)
    assert (done.code, done.err) == (
        4,
        f"error: {batch.folder}/manifest.json: cannot be read (No such file or directory)\n",
    )
    (batch.folder / "manifest.json").mkdir()
    assert fastsim("batch", "status", batch.folder / "manifest.json").code == 4


def test_a_manifest_that_is_sealed_again(world, tmp_path, fastsim):
    """Its hash is right; what it says of the card and of the way does not go together."""
    batch = world.fresh(tmp_path)
    path = batch.folder / "manifest.json"
    edited = Manifest.model_validate_json(changed("card", "card", "seed", to=2)(path.read_text()))
    path.write_text(sealed(edited).model_dump_json())
    done = fastsim("batch", "run", batch.folder, "0")
    assert done.code == 2
    assert "would not do what was planned: run_seed was 1, is 2 here" in done.err


@pytest.mark.parametrize("damage", ["removed", "other bytes", "truncated"])
def test_tables_beside_the_manifest(world, tmp_path, fastsim, damage):
    batch = world.fresh(tmp_path)
    (table,) = (batch.folder / "luts").iterdir()
    {"removed": table.unlink, "other bytes": lambda: flip(table), "truncated": lambda: os.truncate(table, 5000)}[
        damage
    ]()
    done = fastsim("batch", "run", batch.folder, "0")
    assert done.code in (2, 3), done.err
    assert "Traceback" not in done.err
    assert str(batch.folder) in done.err
    assert kinds(batch)[0] == "failed"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"engine": "abacus"}', "[" * 100_000])
def test_damaged_settings(world, tmp_path, fastsim, text):
    batch = world.fresh(tmp_path)
    (batch.folder / "submit.json").write_text(text)
    done = fastsim("batch", "resume", batch.folder)
    assert done.code == 4
    assert done.err.startswith(f"error: {batch.folder}/submit.json: cannot be read (")
    assert done.err.endswith("\nhint: submit again, with --engine\n")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"exit_code": "x"}', '{"times": []}', "[" * 100_000])
def test_damaged_notes_of_failures(world, tmp_path, fastsim, text):
    """Nobody depends on them: the shard can be made."""
    batch = world.fresh(tmp_path)
    (batch.out / "failed").mkdir()
    (batch.out / "failed" / "shard_0001.json").write_text(text)
    assert fastsim("batch", "status", batch.folder).code == 0
    with raise_at(6), pytest.raises(ZeroDivisionError):
        make(batch, 1)
    assert failures(batch)["shard_0001"]["exit_code"] == 70
    make(batch, 1)
    assert failures(batch) == {}


# --- clocks ---

YEAR = 400 * 86_400.0


def forge(batch, *, host, age, pid=1, name="shard_0001", every=30.0, started="1"):
    """A runner's folder with a beat of some age."""
    folder = batch.out / RUNNING / f"{name}.{host}.{pid}"
    folder.mkdir(parents=True)
    beat = folder / "beat.json"
    says = {"shard": name, "host": host, "pid": pid, "started": started, "every": every, "n_events": 1}
    beat.write_text(json.dumps(says))
    now = beat.stat().st_mtime
    os.utime(beat, (now - age, now - age))
    return folder


@pytest.mark.parametrize(
    ("age", "is_alive"),
    [(0, True), (100, True), (140, False), (-100, True), (-140, False), (YEAR, False), (-YEAR, False)],
)
@pytest.mark.parametrize("wrong_by", [0.0, YEAR, -YEAR])
def test_beats_of_another_host(world, tmp_path, monkeypatch, age, is_alive, wrong_by):
    """The file system's time decides, whatever our own clock says; four missed beats are too many."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + wrong_by)
    batch = world.fresh(tmp_path)
    folder = forge(batch, host="elsewhere.example.org", age=age)
    (sign,) = signs_of_life(batch.out)
    assert (sign.shard, sign.host, sign.pid, sign.is_alive) == ("shard_0001", "elsewhere.example.org", 1, is_alive)
    assert sign.age == pytest.approx(age, abs=10)
    assert kinds(batch)[1] == ("running" if is_alive else "missing")
    if is_alive:
        with pytest.raises(BusyError, match=r"shard_0001 is being made by process 1 on elsewhere\.example\.org"):
            Worker(batch).run(1)
        assert clear_dead(batch) == 0
    else:
        assert clear_dead(batch) == 1
    assert folder.exists() == is_alive


@pytest.mark.parametrize("age", [0.0, YEAR, -YEAR])
def test_beats_of_this_host(world, tmp_path, age):
    """The process decides, not the age: ours lives; one that has ended, or another with its number, does not."""
    batch, host = world.fresh(tmp_path), socket.gethostname()
    mine = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    with subprocess.Popen(["true"]) as child:
        child.wait()
    forge(batch, host=host, age=age, pid=os.getpid(), name="shard_0000", started=mine)
    forge(batch, host=host, age=age, pid=os.getpid(), name="shard_0001", started="1")
    forge(batch, host=host, age=age, pid=child.pid, name="shard_0002", started=mine)
    assert [sign.is_alive for sign in signs_of_life(batch.out)] == [True, False, False]
    assert kinds(batch) == ["running", "missing", "missing"]
    assert clear_dead(batch) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1}', '{"pid": "x"}', "\0\0", "[" * 100_000])
def test_damaged_beats(world, tmp_path, text):
    """The name of the folder says whose it is."""
    batch = world.fresh(tmp_path)
    for pid in (os.getpid(), 2**22 + 1):  # the highest number is 2^22 (proc(5), pid_max)
        (forge(batch, host=socket.gethostname(), age=0, pid=pid) / "beat.json").write_text(text)
    assert {sign.pid: sign.is_alive for sign in signs_of_life(batch.out)} == {os.getpid(): True, 2**22 + 1: False}


@pytest.mark.parametrize("every", [float("inf"), float("nan"), -1.0])
def test_beats_that_promise_nonsense(world, tmp_path, every):
    batch = world.fresh(tmp_path)
    forge(batch, host="elsewhere", age=YEAR, every=every)
    assert clear_dead(batch) == 1


def faketime(days):
    """The words before a command whose clock is to be wrong."""
    if not shutil.which("faketime"):
        pytest.skip("faketime is not installed (Debian: faketime)")
    words = ["faketime", "-f", f"{days:+d}d"]
    script = "import time; print(time.time())"
    told = [
        subprocess.run([*w, sys.executable, "-c", script], capture_output=True, text=True, check=False)
        for w in (words, [])
    ]
    if told[0].returncode or abs(float(told[0].stdout) - float(told[1].stdout) - days * 86_400) > 600:
        pytest.skip(f"faketime does not work here: {told[0].stderr or told[0].stdout}")
    return words


def test_a_clock_that_is_ahead(world, tmp_path):
    """A runner whose clock is wrong, somebody who looks at it, whose clock is wrong too, and what it makes."""
    batch, wait = world.fresh(tmp_path), wait_at(2)
    with process("batch", "run", batch.folder, "0", before=faketime(400)) as first:
        wait.reached()
        assert kinds(batch) == ["running", "missing", "missing"]
        with process("batch", "status", batch.folder, "--json", before=faketime(-400)) as other:
            code, said = other.end()
        assert (code, json.loads(said)["counts"]["running"]) == (0, 1), said
        assert clear_dead(batch) == 0
        wait.over()
        assert first.end()[0] == 0
    finish(batch, world.single)


def test_a_clock_that_is_behind(world, tmp_path):
    """The runner is killed: it does not live on."""
    batch, wait = world.fresh(tmp_path), wait_at(2)
    with process("batch", "run", batch.folder, "0", before=faketime(-400)) as first:
        wait.reached()
        assert kinds(batch) == ["running", "missing", "missing"]
        first.kill_all()
    wait.over()
    assert kinds(batch) == ["missing"] * 3
    assert clear_dead(batch) == 1
    finish(batch, world.single)
