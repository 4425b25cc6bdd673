"""What tests of faults share: a small batch, the single run that it must equal, and processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import fastsim
from fastsim.batch.collect import merge_batch
from fastsim.batch.manifest import open_batch, plan
from fastsim.batch.runner import RUNNING
from fastsim.batch.shard import Worker
from fastsim.batch.state import clear_dead, counts, survey, to_do
from fastsim.io.inspect import digest, read_provenance

N_EVENTS, PER_SHARD = 12, 4
VERTEX = '{name="vertex", kind="vertex", level="fit"}'
SETS = ['tracking.species=["pi"]', f'modules=[{VERTEX}, {{name="fault", kind="fault", level="parametric"}}]']
GUN = """schema_version = 1
kind = "gun"
n_events = {n}
[[particles]]
pdg = [211, -211]
n = 30
pt = {{ min = 0.2, max = 10 }}
eta = {{ min = -1, max = 1 }}
"""
PATIENCE = 40.0


def install_module(folder):
    """Put the module kind "fault" into a folder that is on Python's path, as an installer does."""
    shutil.copy(Path(__file__).parent / "fault_module.py", folder)
    about = folder / "fault_module-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fault-module\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[fastsim.modules]\nfault = fault_module:Fault\n")


class Known(NamedTuple):
    """What does not depend on how the work is done."""

    digest: str
    identity: str


def known(file):
    """Digest and identity of an output."""
    return Known(digest(file), read_provenance(file)["identity"]["sha256"])


class World(NamedTuple):
    """A batch of which nothing is made, one of which everything is, and its events made in one go."""

    planned: Path
    done: Path
    single: Known
    shard: Known  # number 1

    def fresh(self, folder):
        """A copy of the batch, nothing made."""
        shutil.copytree(self.planned, folder, dirs_exist_ok=True)
        return open_batch(folder)

    def made(self, folder):
        """A copy of the batch, all made."""
        shutil.copytree(self.done, folder, dirs_exist_ok=True)
        return open_batch(folder)


def make_world(folder, n_events=N_EVENTS, per_shard=PER_SHARD, *, is_made=True):
    """See World."""
    card = fastsim.load_card("alice3", sets=SETS)
    gun = folder / "gun.toml"
    gun.write_text(GUN.format(n=n_events))
    fastsim.simulate_files([gun], card, folder / "single.root")
    batch = plan([gun], card, folder / "planned", events_per_shard=per_shard, batch_size=1)
    shutil.copytree(batch.folder, folder / "done")
    if is_made:
        make(open_batch(folder / "done"))
    shard = known(open_batch(folder / "done").result(1)) if is_made else None
    return World(batch.folder, folder / "done", known(folder / "single.root"), shard)


_prepared = {}


def worker_of(batch, **options):
    """A worker; the start, which is the same for all of one kind, is made once."""
    worker = Worker(batch, **options)
    if batch.way_hash not in _prepared:
        _prepared[batch.way_hash] = worker._prepare()
    worker._prepared = _prepared[batch.way_hash]
    return worker


def make(batch, *indices):
    """Make shards here, by default all that are to be made."""
    worker = worker_of(batch)
    return [worker.run(index) for index in indices or to_do(survey(batch))]


def kinds(batch, **how):
    """The states of all shards, in one word each."""
    return [state.kind for state in survey(batch, **how)]


def finish(batch, single):
    """What is left to do is done, and the whole equals the single run; no traces are left."""
    clear_dead(batch)
    make(batch)
    assert counts(survey(batch, has_to_match=True))["done"] == batch.n_shards
    assert_whole(batch, single)


def assert_whole(batch, single):
    """All is done, equals the single run, and nothing else lies around."""
    merged = batch.out / "merged.root"
    done = merge_batch(batch, merged, overwrite=True)
    assert (known(merged), done.identity) == (single, single.identity)
    assert running(batch) == []
    assert list(batch.out.glob("*.part_*")) == []
    for index in range(batch.n_shards):
        assert sorted(p.name for p in batch.result(index).parent.iterdir()) == ["record.json", batch.file_name(index)]


def running(batch):
    """Names in the folder of runners."""
    folder = batch.out / RUNNING
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def flip(file):
    """Other bytes, the same size."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def change_record(result, **values):
    """Values in the record beside a result; None takes one away."""
    path = result.parent / "record.json"
    record = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))


def failures(batch):
    """What is written down of shards that failed."""
    return {path.stem: json.loads(path.read_text()) for path in (batch.out / "failed").glob("*.json")}


def command(*words):
    """How `fastsim` is called in a process of its own."""
    return [sys.executable, "-m", "fastsim", *map(str, words)]


class Process(subprocess.Popen):
    """`fastsim` in a session of its own, with everything it says in one text."""

    def __init__(self, *words, before=(), **options):
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
        super().__init__([*before, *command(*words)], **options)

    def end(self):
        """Exit code and what it said; nobody of its session may be left, nor hang."""
        try:
            said, _ = self.communicate(timeout=PATIENCE)
            wait_for(lambda: not self.members(), "the others of its session end")
        finally:
            self.kill_all()
        return self.returncode, said

    def members(self):
        """Processes of its session that still live (zombies do not)."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, words = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[3]) == self.pid and words[0] not in "ZX":
                found.append(pid)
        return found

    def signal_all(self, number):
        """A signal to all processes of its session."""
        os.killpg(self.pid, number)

    def kill_all(self):
        """No process is left behind by a test that fails."""
        for pid in self.members():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.wait()
        wait_for(lambda: not self.members(), "killed processes end")


@contextmanager
def process(*words, **options):
    """A process that does not outlive the test."""
    one = Process(*words, **options)
    try:
        yield one
    finally:
        one.kill_all()
        one.stdout.close()


def wait_for(condition, what, patience=PATIENCE):
    """Wait until something is true; gives it."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {patience} s in vain: {what}")


def with_module(patch, folder):
    """The module kind is installed, here and in processes that are started here."""
    install_module(folder)
    patch.delenv("FASTSIM_DISABLE_PLUGINS")
    patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    patch.setenv("FAULT_FOLDER", str(folder))
    patch.syspath_prepend(str(folder))


class Wait:
    """The module waits at an event until it is over."""

    def __init__(self, event_id):
        folder = Path(os.environ["FAULT_FOLDER"])
        self._wait, self._reached = folder / f"wait_{event_id}", folder / f"reached_{event_id}"
        self._reached.unlink(missing_ok=True)
        self._wait.touch()

    def reached(self):
        """Wait until it waits."""
        wait_for(self._reached.exists, f"{self._reached.name}")

    def over(self):
        """It goes on."""
        self._wait.unlink(missing_ok=True)


wait_at = Wait


@contextmanager
def raise_at(event_id):
    """The module raises at an event."""
    path = Path(os.environ["FAULT_FOLDER"]) / f"raise_{event_id}"
    path.touch()
    try:
        yield
    finally:
        path.unlink()


def signal_at(event_id, *names):
    """The module's process gets signals at an event, once."""
    (Path(os.environ["FAULT_FOLDER"]) / f"signal_{event_id}").write_text(" ".join(names))


def forget_all():
    """No file asks the module for anything."""
    for path in Path(os.environ["FAULT_FOLDER"]).glob("*_[0-9]*"):
        if path.is_file():
            path.unlink()
