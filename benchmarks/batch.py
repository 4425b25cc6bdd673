"""`make bench`: what cutting a run into shards costs, and what merging them costs beside uproot's own reading and writing.

Nothing is asserted: targets are printed beside what was measured, medians of interleaved repetitions.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import awkward as ak
import uproot

import fastsim
from fastsim import workers
from fastsim.batch.collect import merge_batch
from fastsim.batch.manifest import open_batch, plan
from fastsim.batch.shard import Worker
from fastsim.io.inspect import trees

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared" / "data" / "pp_ttbar_13TeV_100.hepmc.zst"
SAMPLE = SHARED if SHARED.is_file() else REPOSITORY / "tests" / "data" / "pp_ttbar_40.hepmc.zst"
REPEAT = 5
TIMES = 20  # the sample so often: as many shards


def line(name, value, target=""):
    print(f"  {name:<58}{value:>18}   {target}")


class Timed:
    """Makes shards in a process of its own; answers with CPU and wall seconds."""

    def __init__(self, folder):
        self.folder = folder
        self._worker = None

    def __call__(self, index):
        self._worker = self._worker or Worker(open_batch(self.folder))
        cpu, wall = time.process_time(), time.perf_counter()
        self._worker.run(index)
        return time.process_time() - cpu, time.perf_counter() - wall


def two_workers(folder):
    """CPU per event with one process and with two at the same time, after both are warm."""
    card = fastsim.load_card("alice3")
    batch = plan([SAMPLE] * 3 * (2 + 3 * REPEAT), card, folder, events_per_shard=3 * _n_sample())
    crew = [workers.start(Timed(str(folder))) for _ in range(2)]
    shards = iter(range(batch.n_shards))

    def together(pipes):
        begin = time.perf_counter()
        for _, pipe in pipes:
            pipe.send(next(shards))
        answers = [pipe.recv() for _, pipe in pipes]
        assert not [error for _, error in answers if error], answers
        return [seconds for seconds, _ in answers], time.perf_counter() - begin

    together(crew)  # kernels and tables
    cpu, wall = {1: [], 2: []}, {1: [], 2: []}
    for i in range(REPEAT):
        for pipes in ([crew[i % 2]], crew):
            seconds, total = together(pipes)
            cpu[len(pipes)] += [s for s, _ in seconds]
            wall[len(pipes)].append(total / len(pipes))
    for process, pipe in crew:
        pipe.close()
        process.join()
    n = 3 * _n_sample()
    print("\nWorkers, ttbar events in shards of their own")
    for number in (1, 2):
        line(
            f"{number} at a time: CPU, wall",
            f"{1e3 * median(cpu[number]) / n:.3f}, {1e3 * median(wall[number]) / n:.3f} ms/event",
        )
    line("CPU per event, two / one", f"{median(cpu[2]) / median(cpu[1]):.3f}", "target: 1.08")
    line("wall per event, one / two", f"{median(wall[1]) / median(wall[2]):.2f}")


def overhead(folder):
    """A shard of one event, beside the time that its event takes in a long run."""
    batch = plan([SAMPLE], fastsim.load_card("alice3"), folder, events_per_shard=1, events=(0, REPEAT + 2))
    worker = Worker(batch)
    worker.run(0)
    seconds = []
    for index in range(1, batch.n_shards):
        begin = time.perf_counter()
        worker.run(index)
        seconds.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "fastsim", "batch", "run", str(folder), "0", "--quiet"], check=True, capture_output=True
    )
    print("\nOverhead of a shard")
    line("a shard of one event, after start-up (wall)", f"{median(seconds):.2f} s", "target: 2 s")
    line("a job that finds its shard done (wall)", f"{time.perf_counter() - begin:.2f} s")


def uproot_alone(files, out):
    """Read all branches of all trees, and write the same columns to as many trees as the merged file has."""
    collected = {}
    for path in files:
        with uproot.open(path) as file:
            for name in trees(file):
                rows = {branch.name: branch.array(library="ak") for branch in file[name].branches}
                collected.setdefault(name, []).append(rows)
    with uproot.recreate(out, compression=uproot.ZSTD(1)) as file:
        for name, parts in collected.items():
            joined = {branch: ak.concatenate([part[branch] for part in parts]) for branch in parts[0]}
            written = {branch: array for branch, array in joined.items() if f"{branch.removesuffix('_size')}" == branch}
            tree = file.mktree(name, {branch: ak.type(array).content for branch, array in written.items()})
            tree.extend(written)


def merging(folder):
    """`batch merge` beside uproot."""
    batch = plan([SAMPLE] * TIMES, fastsim.load_card("alice3"), folder, events_per_shard=_n_sample())
    worker = Worker(batch)
    for index in range(batch.n_shards):
        worker.run(index)
    files = [batch.result(index) for index in range(batch.n_shards)]
    ours, theirs = [], []
    for _ in range(REPEAT):
        begin = time.process_time()
        merge_batch(batch, Path(folder) / "ours.root", overwrite=True)
        ours.append(time.process_time() - begin)
        begin = time.process_time()
        uproot_alone(files, Path(folder) / "theirs.root")
        theirs.append(time.process_time() - begin)
    n_bytes = sum(path.stat().st_size for path in files)
    print(f"\nMerging {len(files)} shards of {n_bytes / len(files) / 1e6:.1f} MB, CPU")
    line("fastsim batch merge (bytes checked, indices moved)", f"{n_bytes / 1e6 / median(ours):.0f} MB/s")
    line("uproot: read and write the same columns", f"{n_bytes / 1e6 / median(theirs):.0f} MB/s")
    line("speed, ours / uproot's", f"{median(theirs) / median(ours):.2f}", "target: 0.8")
    for first, last in ((0, TIMES // 2), (0, TIMES)):
        code = (
            "import pathlib\nfrom fastsim.batch.collect import merge_batch\nfrom fastsim.batch.manifest import open_batch\n"
            f"out = pathlib.Path({str(folder / 'm.root')!r})\n"
            f"merge_batch(open_batch({str(folder)!r}), out, shards=({first}, {last}), overwrite=True)\n"
            "lines = pathlib.Path('/proc/self/status').read_text().splitlines()\n"
            "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')))"
        )
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        line(f"peak memory, {last - first} shards", f"{int(out) / 1024:.0f} MB", "target: constant")


def _n_sample():
    return 100 if SAMPLE == SHARED else 40


if __name__ == "__main__":
    print(f"fastsim {fastsim.__version__}, Python {sys.version.split()[0]}, sample {SAMPLE}")
    for measure in (two_workers, overhead, merging):
        with tempfile.TemporaryDirectory() as place:
            measure(Path(place) / "batch")
    print(f"\n  peak memory of all of this: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
