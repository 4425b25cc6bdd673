"""Run by test_kill.py in a process of its own: python kill_writer.py INPUT FOLDER FORMAT...

Runs that start with everything loaded (forks of this process) are killed while they write: when their temporary file has
reached a random size, or some random milliseconds after it was nearly whole; two more of each format kill themselves before and
after the file gets its name. Run number i leaves what it leaves in FOLDER/i;
FOLDER/whole.FORMAT.* are what undisturbed runs write. Prints one JSON object a run.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import fastsim
from fastsim.io import columnar, rootio
from fastsim.io.output import FORMATS

MOMENTS = 50
LATE = 5  # one in so many is killed near the end, where the file is closed and gets its name
DEADLINE = 30.0

rootio.FLUSH_BYTES = columnar.GROUP_BYTES = 1  # a write for every batch or event
FEW = {"events": (0, 20), "batch_size": 2}


def card(format_name):
    """Small data frames, so that directories are made in the middle of a file; one table, so that runs start fast."""
    settings = [f"output.format={format_name!r}", "output.events_per_frame=5", 'tracking.species=["pi"]']
    return fastsim.load_card("alice3", sets=settings)


def kill_in(child, folder, size, pause):
    """Kill a run when its temporary file has a size; true if it was still running then."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        parts = list(folder.glob(".*.part"))
        try:
            if parts and parts[0].stat().st_size >= size:
                break
        except FileNotFoundError:  # renamed in between
            break
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return False
        time.sleep(0.0002)
    time.sleep(pause)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def start(source, card, out, dies=""):
    """A run in a process of its own; gives its number. `dies` "before" or "after" its file gets its name."""
    child = os.fork()
    if child:
        return child
    put_in_place = rootio._put_in_place

    def put_and_die(temporary, target):
        if dies != "before":
            put_in_place(temporary, target)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)

    rootio._put_in_place = put_and_die
    try:
        fastsim.simulate_files([source], card, out, **FEW)
    finally:
        os._exit(0)


def main(source, folder, formats):
    draws = random.Random(1)  # noqa: S311
    cards = {name: card(name) for name in formats}
    sizes = {}
    for name in formats:
        whole = folder / f"whole.{name}{FORMATS[name].suffix}"
        fastsim.simulate_files([source], cards[name], whole, **FEW)
        sizes[name] = whole.stat().st_size

    def tell(i, name, **result):
        print(json.dumps({"folder": str(folder / str(i)), "format": name, **result}), flush=True)

    for i in range(MOMENTS):
        name = formats[i % len(formats)]
        home = folder / str(i)
        home.mkdir()
        late = i // len(formats) % LATE == 0
        size = 0.95 * sizes[name] if late else draws.uniform(0, sizes[name])
        pause = draws.uniform(0, 0.1) if late else 0
        child = start(source, cards[name], home / f"out{FORMATS[name].suffix}")
        tell(i, name, size=size, killed=kill_in(child, home, size, pause))
    for name in formats:
        for dies in ("before", "after"):
            home = folder / f"{name}-{dies}"
            home.mkdir()
            status = os.waitpid(start(source, cards[name], home / f"out{FORMATS[name].suffix}", dies), 0)[1]
            tell(home.name, name, dies=dies, killed=os.WIFSIGNALED(status))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
