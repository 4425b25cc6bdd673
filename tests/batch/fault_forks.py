"""Run by test_faults.py in a process of its own: python fault_forks.py BATCH MOMENTS

The batch's shards are made in forks of this process, where everything is loaded. One half of them is killed: MOMENTS of them
at random moments of each phase in turn, a few more just before and after the names change. The others are made by two runners
at once. Prints one JSON object a shard.
"""

import contextlib
import json
import os
import random
import select
import shutil
import signal
import sys
import time
from pathlib import Path

from fastsim.batch import runner, shard
from fastsim.batch.manifest import open_batch
from fastsim.batch.runner import read_result
from fastsim.batch.shard import Worker
from fastsim.io import rootio

PHASES = ("start", "simulation", "writing", "hashing", "publishing")
DEADLINE = 30.0


class Child:
    """A fork that makes a shard, and tells on a pipe where it is."""

    def __init__(self, batch, job, index, setup=lambda _: None):
        read, self._write = os.pipe()
        self._wait, self._go = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(self._write)
            os.close(self._wait)
            self._read, self._text = read, b""
            return
        try:
            worker = Worker(batch)
            worker._prepared = job
            _mark_phases(self)
            setup(self)
            try:
                self.tell("end", note=worker.run(index).note)
            except BaseException as error:  # noqa: BLE001  (told to the test)
                self.tell("end", error=repr(error))
        finally:
            os._exit(0)

    def tell(self, phase, **more):
        """Here I am."""
        os.write(self._write, (json.dumps({"phase": phase, "time": time.monotonic(), **more}) + "\n").encode())

    def stop_here(self, name):
        """Wait for the parent's word."""
        self.tell(name)
        os.read(self._wait, 1)

    def go(self):
        """The parent's word; it may have come to its end already."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._go, b".")

    def until(self, phase):
        """What it tells when it reaches a phase (or its end)."""
        while True:
            line, newline, rest = self._text.partition(b"\n")
            if not newline:
                more = os.read(self._read, 1 << 16) if select.select([self._read], [], [], DEADLINE)[0] else b""
                if not more:
                    return {"phase": "gone"}
                self._text += more
                continue
            self._text = rest
            if (told := json.loads(line))["phase"] in (phase, "end"):
                return told

    def end(self):
        """Wait for its end; true if it was killed."""
        status = os.waitpid(self.pid, 0)[1]
        os.close(self._read)
        os.close(self._go)
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _mark_phases(child):
    """Tell when each phase begins; short ones take longer, so that moments in them can be met."""
    child.tell("start")

    def marked(function, phase, seconds=0.0):
        def call(*arguments, **options):
            child.tell(phase)
            time.sleep(seconds)
            return function(*arguments, **options)

        return call

    def slow(function):
        def call(*arguments):
            time.sleep(0.005)
            result = function(*arguments)
            time.sleep(0.005)
            return result

        return call

    shard.simulate_files = marked(shard.simulate_files, "simulation")
    rootio.RootFile.close = marked(rootio.RootFile.close, "writing")
    shard.record_of = marked(shard.record_of, "hashing")
    runner.Runner.publish = marked(runner.Runner.publish, "publishing")
    runner.sha256_of = slow(runner.sha256_of)
    runner._sync = slow(runner._sync)
    runner.write_whole = slow(runner.write_whole)


def dies(when, number):
    """The runner kills itself before or after the n-th time that a folder gets another name."""

    def setup(_child):
        rename, n_calls = Path.rename, 0

        def rename_and_die(path, target):
            nonlocal n_calls
            n_calls += 1
            if (when, n_calls) == ("before", number):
                os.kill(os.getpid(), signal.SIGKILL)
            result = rename(path, target)
            if (when, n_calls) == ("after", number):
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        Path.rename = rename_and_die

    return setup


def both_pass(child):
    """Nobody goes on before the other one has looked whether the shard is busy; nor puts it in place before the other one."""
    refuse, publish = Worker._refuse_busy, runner.Runner.publish

    def refuse_and_stop(*arguments):
        refuse(*arguments)
        child.stop_here("checked")

    def stop_and_publish(*arguments):
        child.stop_here("made")
        return publish(*arguments)

    Worker._refuse_busy, runner.Runner.publish = refuse_and_stop, stop_and_publish


def looks_and_waits(child):
    """Between the look at what is there and its replacement the other runner may put its own in place."""
    look = runner.read_result

    def look_and_stop(folder, *planned):
        found = look(folder, *planned)
        if found.fault and folder.exists():
            child.stop_here("looked")
        return found

    runner.read_result = look_and_stop


def spoil(batch, job, index):
    """A result that was truncated after it was made."""
    Child(batch, job, index).end()
    file = batch.result(index)
    os.truncate(file, file.stat().st_size // 2)


def durations(batch, job, index):
    """Seconds of each phase of a runner that nobody disturbs; its work is thrown away."""
    child = Child(batch, job, index)
    begins = [child.until(phase)["time"] for phase in (*PHASES, "end")]
    child.end()
    shutil.rmtree(batch.result(index).parent)
    return {phase: b - a for phase, a, b in zip(PHASES, begins, begins[1:], strict=False)}


def state(batch, index):
    """What is there of a shard."""
    target = batch.result(index).parent
    fault = read_result(target, has_to_match=True).fault
    return "missing" if not target.exists() else "broken" if fault else "done"


def main(folder, n_moments):
    batch, draws = open_batch(folder), random.Random(1)  # noqa: S311
    job = Worker(batch)._prepare()
    numbers = iter(range(batch.n_shards))

    def tell(index, what, **more):
        print(json.dumps({"shard": index, "what": what, "state": state(batch, index), **more}), flush=True)

    seconds = durations(batch, job, 0)
    for i in range(n_moments):
        index, phase = next(numbers), PHASES[i % len(PHASES)]
        child = Child(batch, job, index)
        child.until(phase)
        time.sleep(draws.uniform(0, 0.9) * seconds[phase])
        os.kill(child.pid, signal.SIGKILL)
        tell(index, "moment", phase=phase, killed=child.end())
    for when, number, is_there in (("before", 1, False), ("after", 1, False), ("after", 2, True), ("before", 3, True)):
        index = next(numbers)
        if is_there:  # 1: it is not empty, 2: the old one goes away, 3: the new one
            spoil(batch, job, index)
        tell(index, "name", when=when, number=number, killed=Child(batch, job, index, dies(when, number)).end())
    for is_there in (False, False, True, True):
        index = next(numbers)
        if is_there:
            spoil(batch, job, index)
        two = [Child(batch, job, index, both_pass) for _ in range(2)]
        for moment in ("checked", "made"):
            for child in two:
                child.until(moment)
            for child in two:
                child.go()
        tell(index, "two", is_there=is_there, notes=[child.until("end") for child in two])
        for child in two:
            child.end()
    index = next(numbers)
    spoil(batch, job, index)
    late = Child(batch, job, index, lambda child: (both_pass(child), looks_and_waits(child)))
    late.until("checked")
    late.go()
    late.until("made")
    late.go()
    late.until("looked")
    early = Child(batch, job, index, lambda _: setattr(Worker, "_refuse_busy", lambda *_: None))
    first = early.until("end")
    early.end()
    late.go()
    late.go()  # in case that it looks again
    tell(index, "late", notes=[first, late.until("end")])
    late.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
