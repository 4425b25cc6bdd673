"""`make bench`: speed and memory of the main job, with pyhepmc's reading of the same file beside it.

All figures are CPU time of one process, medians of interleaved repetitions in this very run, so that ratios carry over
between machines. Nothing is asserted: targets are printed beside what was measured.
"""

from __future__ import annotations

import gzip
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from isal import igzip

import fastsim
from fastsim import columns as c
from fastsim.io.decimal import PADDING
from fastsim.io.hepmc import BYTES_PER_PARTICLE, TextBlock
from fastsim.io.inputs import read_blocks
from fastsim.io.output import FORMATS
from fastsim.io.rootio import RootFile
from fastsim.io.stream import ByteStream, zstd
from fastsim.luts import Grid, build_lut, get_luts, read_lut, write_lut
from fastsim.plugins import load_kind
from fastsim.rng import Streams
from fastsim.run import BATCH_PARTICLES, find_luts, load_kernels, make_pipeline
from fastsim.source import Limits, Range
from fastsim.species import SPECIES
from fastsim.summary import Silent
from fastsim.tracking import parametric as p
from fastsim.truth import select_truth

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared" / "data" / "pp_ttbar_13TeV_100.hepmc.zst"
SAMPLE = SHARED if SHARED.is_file() else REPOSITORY / "tests" / "data" / "pp_ttbar_40.hepmc.zst"
LEAD = SHARED.with_name("PbPb_5.5TeV_6.hepmc.zst")
LEAD = LEAD if LEAD.is_file() else REPOSITORY / "tests" / "data" / "PbPb_2.hepmc.zst"
REPEAT = 5


def cpu(function, *arguments):
    """CPU seconds and result of a call."""
    begin = time.process_time()
    result = function(*arguments)
    return time.process_time() - begin, result


def line(name, value, target=""):
    print(f"  {name:<58}{value:>18}   {target}")


def decompressed(path, folder):
    """The file as plain text, and its bytes."""
    stream = ByteStream(str(path))
    text = b"".join(iter(stream.read, b""))
    stream.close()
    plain = Path(folder) / path.with_suffix("").name
    plain.write_bytes(text)
    return plain, text


def read_with_pyhepmc(path):
    """The peer, at its best: arrays of particles, vertices and links, no loop over objects."""
    import pyhepmc

    n = 0
    with pyhepmc.open(str(path)) as file:
        for event in file:
            data = pyhepmc.GenEventData()
            event.write_data(data)
            n += len(data.particles)
    return n


def parse(text):
    """Text in memory to batches, in blocks of the size that `fastsim run` uses."""
    data = np.zeros(len(text) + PADDING, dtype=np.uint8)
    data[: len(text)] = np.frombuffer(text, dtype=np.uint8)
    marks = np.array([m.start() for m in re.finditer(rb"^E |^HepMC::Asciiv3-END", text, re.MULTILINE)])
    size = BATCH_PARTICLES * BYTES_PER_PARTICLE
    blocks, k = [], 0
    while k < len(marks) - 1:
        last = max(k + 1, int(np.searchsorted(marks, marks[k] + size, side="right")) - 1)
        begin, end = int(marks[k]), int(marks[last])
        lines = np.array([*[0] * (last - k), text.count(b"\n", begin, end)])
        blocks.append(TextBlock("", data[begin : end + PADDING], marks[k : last + 1] - begin, lines, k, 3, 0, 0))
        k = last

    def run():
        return sum(block.read().batch.n_rows("particle") for block in blocks)

    return run


def reading():
    """The parser and pyhepmc on the same text in memory, and what decompression leaves of its speed."""
    print("\nReading HepMC3 text, CPU of one core; the peer is pyhepmc with GenEventData")
    per_particle = {}
    for name, sample, factor in (("ttbar", SAMPLE, 25), ("Pb-Pb", LEAD, 1000)):
        with tempfile.TemporaryDirectory() as folder:
            path, text = decompressed(sample, folder)
            job = parse(text)
            job()
            seconds, n = min(cpu(job) for _ in range(2 * REPEAT))
            peer = min(cpu(read_with_pyhepmc, path)[0] for _ in range(2 if name == "ttbar" else 1))
            per_particle[name] = seconds / n
            mb = len(text) / 1e6
            line(
                f"{name}: parse, correctly rounded, {mb:.0f} MB",
                f"{mb / seconds:.0f} MB/s",
                "target: 600, prototype 1000",
            )
            line(f"{name}: pyhepmc / ours", f"{peer / seconds:.0f}", f"target: {factor}; pyhepmc {mb / peer:.1f} MB/s")
            line(f"{name}: per particle", f"{1e9 * seconds / n:.0f} ns")
    line("per particle, Pb-Pb / ttbar", f"{per_particle['Pb-Pb'] / per_particle['ttbar']:.2f}", "target: at most 1.2")


def compressed():
    """Files of each compression: reading them all beside their decompressor alone, wall time of two cores."""
    print("\nCompressed files: wall time, decompression in a thread")
    with tempfile.TemporaryDirectory() as folder:
        path, text = decompressed(SAMPLE, folder)
        text = 4 * text
        for name, squeeze, opener in (
            ("plain", bytes, None), ("zst", lambda _: 4 * SAMPLE.read_bytes(), zstd.open), ("gz", gzip.compress, igzip.open),
        ):  # fmt: skip
            packed = path.with_suffix(f".{name}")
            packed.write_bytes(squeeze(text))
            ours = min(wall(read_all, packed) for _ in range(REPEAT))
            alone = min(wall(drain, opener, packed) for _ in range(REPEAT)) if opener else None
            target = f"the decompressor alone: {len(text) / 1e6 / alone:.0f} MB/s, target: 0.8 of it" if alone else ""
            line(f"{name}: file to columns", f"{len(text) / 1e6 / ours:.0f} MB/s", target)


def wall(function, *arguments):
    begin = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begin


def drain(opener, path):
    with opener(path) as file:
        while file.read(1 << 20):
            pass


def read_all(path):
    records = []
    limits = Limits(1000, BATCH_PARTICLES)
    for item in read_blocks([str(path)], Streams(1), events=Range(), limits=limits, records=records):
        item.block.read()


def job():
    """`fastsim run` end to end on uncompressed text, start-up excluded, with pyhepmc's reading beside it."""
    loaded = fastsim.load_card("alice3")
    for sample, times, goal in (
        (SAMPLE, 4, "target: 1.2 ms/event; Delphes, no covariances: 6.0"),
        (LEAD, 2, "target: 5 ms/MB; Delphes: 30, with covariances 130"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            path, text = decompressed(sample, folder)
            steps = [whole_job(loaded, [str(path)] * times, Path(folder) / "out.root") for _ in range(REPEAT + 1)]
            best = min(steps[1:], key=lambda s: s["sum"])
            peer = cpu(read_with_pyhepmc, path)[0] * times
            n, mb = best.pop("events"), times * len(text) / 1e6
        print(
            f"\nThe job: {times} x {sample.name} uncompressed, {n} events, {mb:.0f} MB of text, AO2D, zstd level 1, CPU"
        )
        for step, seconds in {**best, "pyhepmc reading alone": peer}.items():
            target = goal if step == "sum" else ""
            value = f"{1e3 * seconds / n:.3f} ms/event"
            print(f"  {step:<40}{value:>22}{1e3 * seconds / mb:>12.3f} ms/MB   {target}")
        line("everything / pyhepmc's reading", f"{best['sum'] / peer:.4f}")
        line("write / (read and simulate)", f"{best['write'] / (best['sum'] - best['write']):.2f}", "target: at most 1")


def whole_job(loaded, names, out):
    """CPU seconds of the steps of one run."""
    pipeline = make_pipeline(loaded, find_luts(loaded, Silent()))
    load_kernels(pipeline)
    streams, limits = Streams(loaded.card.seed), Limits(1000, BATCH_PARTICLES)
    steps = dict.fromkeys(("read", "simulate", "select truth", "write", "sum"), 0.0)
    n = 0
    begin = time.process_time()
    items = read_blocks(names, streams, events=Range(), limits=limits, records=[])
    output = FORMATS["ao2d"].open(out, loaded.card.output)
    with output:
        while True:
            seconds, item = cpu(next, items, None)
            steps["read"] += seconds
            if item is None:
                break
            seconds, read = cpu(item.block.read)
            steps["read"] += seconds
            seconds, (batch, _, _) = cpu(pipeline.run, read.batch)
            steps["simulate"] += seconds
            seconds, batch = cpu(select_truth, batch, loaded.card.output.truth)
            steps["select truth"] += seconds
            steps["write"] += cpu(output.write, batch)[0]
            n += batch.n_events
        steps["write"] += cpu(output.close, {})[0]
    steps["sum"] = time.process_time() - begin
    return {**steps, "events": n}


def formats():
    """Each format: writing, and bytes a track with the default truth and with none; AO2D beside uproot on plain arrays."""
    print("\nFormats: zstd level 1, CPU for the sample x 4 in memory, size of the sample alone")
    for name, door in FORMATS.items():
        size, seconds = {}, {}
        for truth in ("none", "standard"):
            loaded = fastsim.load_card("alice3", sets=[f"output.format={name}", f"output.truth={truth}"])
            batches, once = simulated(loaded, 4), simulated(loaded, 1)  # what repeats compresses too well
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / f"out{door.suffix}"
                seconds[truth] = min(cpu(write_all, door, out, loaded, batches)[0] for _ in range(REPEAT))
                write_all(door, out, loaded, once)
                size[truth] = out.stat().st_size
        n_tracks = sum(int(np.count_nonzero(batch[c.IS_RECONSTRUCTED])) for batch in once)
        n_events = sum(batch.n_events for batch in batches)
        target = "target: at most 100 without truth" if name == "ao2d" else ""
        each = f"{size['none'] / n_tracks:.0f} B/track without truth, {size['standard'] / n_tracks:.0f} with"
        print(f"  {name:<10}{1e3 * seconds['standard'] / n_events:>8.3f} ms/event   {each}   {target}")
    plain_arrays()


def simulated(loaded, times):
    """Batches of the sample, ready to be written."""
    pipeline = make_pipeline(loaded, find_luts(loaded, Silent()))
    items = read_blocks(
        [str(SAMPLE)] * times, Streams(1), events=Range(), limits=Limits(1000, BATCH_PARTICLES), records=[]
    )
    return [select_truth(pipeline.run(item.block.read().batch)[0], loaded.card.output.truth) for item in items]


def write_all(door, out, loaded, batches):
    with door.open(out, loaded.card.output) as writer:
        for batch in batches:
            writer.write(batch)
        writer.close({})


def plain_arrays():
    """An AO2D file of ours beside what uproot alone takes for its branches, given as arrays of whole frames.

    The file part is ours without making the branches: collecting pieces, joining, writing, fsync.
    """
    import uproot

    loaded = fastsim.load_card("alice3")
    batches = simulated(loaded, 4)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours.root", Path(folder) / "theirs.root"
        types, pieces = {}, []
        with FORMATS["ao2d"].open(ours, loaded.card.output) as writer:
            add_tree, extend = writer.file.add_tree, writer.file.extend
            writer.file.add_tree = lambda name, kinds: (types.update({name: kinds}), add_tree(name, kinds))
            writer.file.extend = lambda name, columns: (pieces.append((name, columns)), extend(name, columns))
            for batch in batches:
                writer.write(batch)
            writer.close({})
        with uproot.open(ours) as file:
            trees = {name: file[name].arrays() for name in types}

        def plain():
            with uproot.recreate(theirs, compression=uproot.ZSTD(1)) as file:
                for name, arrays in trees.items():
                    tree = file.mktree(name, types[name], counter_name="{}_size".format)
                    if len(arrays):
                        tree.extend({field: arrays[field] for field in types[name]})

        def file_part():
            with RootFile(ours, compression_level=1) as file:
                for name, kinds in types.items():
                    file.add_tree(name, kinds)
                for name, columns in pieces:
                    file.extend(name, columns)
                file.close({})

        seconds = [[cpu(job)[0] for job in (plain, file_part, whole(ours, loaded, batches))] for _ in range(2 * REPEAT)]
    uproots, part, all_of_it = (min(column) for column in zip(*seconds, strict=True))
    line("ao2d: uproot on the same arrays / our file part", f"{uproots / part:.2f}", "target: 0.8")
    line("ao2d: uproot on the same arrays / ours, branches made", f"{uproots / all_of_it:.2f}")


def whole(out, loaded, batches):
    return lambda: write_all(FORMATS["ao2d"], out, loaded, batches)


def first_event():
    """CPU of a whole command for one event, with kernels compiled before and from an empty cache."""
    print("\nThe first event: `fastsim run --events 0:1`, CPU of the whole process")
    with tempfile.TemporaryDirectory() as folder:
        path, _ = decompressed(SAMPLE, folder)
        command = [sys.executable, "-m", "fastsim", "run", str(path), "--events", "0:1", "-q", "--overwrite", "-o"]
        environment = {**os.environ, "FASTSIM_CACHE_DIR": f"{folder}/cache"}
        sets = [
            "output.truth=all",
            "modules.vertex.level=parametric",
            *(f"modules.vertex.sigma_{x}_um=5.0" for x in "xyz"),
        ]
        bare = [word for key in sets for word in ("--set", key)]
        for name, more, target in (
            ("empty cache, reader and tracking (all truth, no fit of the vertex)", bare, "target: 15 s"),
            ("warm cache, the same", bare, "target: 2 s"),
            ("empty cache, default card", [], ""),
            ("warm cache, default card", [], ""),
        ):
            if name.startswith("empty"):
                environment["FASTSIM_CACHE_DIR"] = tempfile.mkdtemp(dir=folder)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([*command, f"{folder}/out.root", *more], env=environment, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            line(name, f"{after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.1f} s", target)


def smearing():
    """One million tracks through look-up, efficiency draw, Cholesky and six normals."""
    n = 1_000_000
    table = get_luts(fastsim.load_detector("alice3_v2")).table()
    generator = np.random.default_rng(1)
    pt, phi = np.exp(generator.uniform(np.log(0.15), np.log(20), n)), generator.uniform(-np.pi, np.pi, n)
    eta = generator.uniform(-3, 3, n)
    kinds = np.array([kind.mass for kind in SPECIES]), np.array([kind.c_tau for kind in SPECIES])
    settings = p.Settings(0.01, 100.0, 4.0, 3e3, p.CLAMP, p.CLAMP, p.CLAMP, 50.0, 2.0, False, 80.0, 350.0, *kinds)
    arguments = (
        table, settings, np.arange(n), np.arange(n, dtype=np.uint64) // np.uint64(100),
        (np.arange(n) % 100).astype(np.int32), np.full(n, 50.0), generator.integers(0, 5, n).astype(np.int8),
        generator.choice([-1, 1], n).astype(np.int8), np.zeros((n, 3)), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta),
        Streams(1).key("tracking/efficiency"), Streams(1).key("tracking/smearing"),
    )  # fmt: skip
    tracks = p.make_tracks(n)
    values = []
    for _ in range(REPEAT + 1):
        status = np.zeros(n, dtype=np.uint8)
        values.append(cpu(p.smear_tracks, *arguments, status, np.zeros(4, dtype=np.int64), tracks)[0])
    print("\nSmearing: 1e6 tracks, all included")
    line("smear_tracks", f"{1e6 * median(values[1:]) / n:.3f} us/track", "target: 0.6, prototype 0.39")
    line("of which reconstructed", f"{100 * tracks.is_reconstructed.mean():.1f} %")


def devices():
    """What identifies and measures energy at ALICE 3, module by module, at the levels of its card; and rings in detail."""
    loaded = fastsim.load_card("alice3_pid")
    pipeline = make_pipeline(loaded, find_luts(loaded, Silent()))
    made_by = {entry["name"] for entry in loaded.card.modules if entry["kind"] != "vertex"}
    parts = [module for module in pipeline.modules if module.name in made_by]
    for kind, level in (("calorimeter", "parametric"), ("rich", "detailed")):
        if level == "detailed" or kind not in {entry["kind"] for entry in loaded.card.modules}:
            own = load_kind(kind)
            options = own.Options.model_validate({"name": f"{kind}_{level}", "kind": kind, "level": level})
            parts.append(own.from_options(options, loaded.detector))
    streams = Streams(loaded.card.seed)
    for sample in (SAMPLE, LEAD):
        seconds, n = dict.fromkeys([part.name for part in parts], 0.0), 0
        limits = Limits(1000, BATCH_PARTICLES)
        for item in read_blocks([str(sample)], streams, events=Range(), limits=limits, records=[]):
            batch = pipeline.run(item.block.read().batch)[0]
            n += batch.n_rows("track")
            for part in parts:
                part.apply(batch, streams)
                seconds[part.name] += min(cpu(part.apply, batch, streams)[0] for _ in range(2 * REPEAT))
        print(
            f"\nDevices of ALICE 3: {sample.name}, {n} charged particles that are looked at, CPU of each module's apply"
        )
        detailed = seconds.pop("rich_detailed")
        for name, own in seconds.items():
            line(name, f"{1e6 * own / n:.3f} us/track")
        line("all of them", f"{1e6 * sum(seconds.values()) / n:.3f} us/track", "target: 1.5")
        line("rich, photon by photon", f"{1e6 * detailed / n:.2f} us/track", "target: 30")


def tables():
    """A full set of tables, what an edited layer costs, and files."""
    detector = fastsim.load_detector("alice3_v2")
    one_radius = [0.0, 0.5]
    build_lut(detector, SPECIES[0], Grid(n_pt=2, n_eta=2))

    def build(species, grid):
        return [build_lut(detector, kind, grid) for kind in species]

    full = Grid(r_edges=one_radius)
    values, luts = zip(*(cpu(build, SPECIES, full) for _ in range(REPEAT)), strict=True)
    quick = [cpu(build, SPECIES[:5], Grid(n_eta=40, n_pt=100, r_edges=one_radius, n_dnch=1))[0] for _ in range(REPEAT)]
    every_radius = cpu(build, SPECIES, Grid())[0]
    print(f"\nLookup tables of {detector.name} (35 measuring layers and disks, all physics on), CPU after compilation")
    line("9 species x 20 dN_ch/deta x 80 eta x 200 pt", f"{median(values):.2f} s", "target: 4 s")
    n_cells = sum(lut.covariance[..., 0].size for lut in luts[0])
    line("per cell solved (eta > 0 only: the detector is mirrored)", f"{1e6 * median(values) / n_cells:.1f} us")
    line("an edited layer: 5 species x 40 eta x 100 pt", f"{median(quick):.3f} s", "target: 0.3 s")
    line("9 species with all 11 bins of the production radius", f"{every_radius:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{lut.header.species}.lut" for lut in luts[0]]
        for lut, path in zip(luts[0], paths, strict=True):
            write_lut(lut, path)
        line(
            "9 species on disk",
            f"{sum(path.stat().st_size for path in paths) / 1e6:.2f} MB",
            "target: 10 MB; DelphesO2 899",
        )
        shipped = get_luts(detector, efficiencies=["every_hit_right"])
        names = [Path(source) for source in shipped.sources]
        line("the same with 11 radius bins", f"{sum(path.stat().st_size for path in names) / 1e6:.2f} MB")
        loading = [cpu(lambda: [read_lut(path, ["every_hit_right"]) for path in names])[0] for _ in range(REPEAT)]
        line("loading one species (11 radius bins)", f"{1e3 * median(loading) / len(names):.1f} ms", "target: 50 ms")


def start_up():
    """`fastsim --help`, and what it loads."""
    code = (
        "import sys; sys.argv = ['fastsim', '--help']\nimport fastsim.cli\n"
        "try: fastsim.cli.main()\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    begin = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    seconds = time.perf_counter() - begin
    heavy = {"numba", "uproot", "awkward", "pyhepmc", "onnxruntime"} & set(out.split())
    print("\nStart-up")
    line("fastsim --help (wall)", f"{seconds:.2f} s")
    line("heavy packages loaded by it", ", ".join(heavy) or "none", "target: none")


def memory():
    """Peak memory with the sample given three and thirty times."""
    print("\nPeak memory (resident), same batch size")
    peaks = {}
    for times in (3, 30):
        with tempfile.TemporaryDirectory() as folder:
            code = (
                "import fastsim, pathlib\n"
                f"fastsim.simulate_files([{str(SAMPLE)!r}] * {times}, 'alice3', {folder + '/out.root'!r})\n"
                "lines = pathlib.Path('/proc/self/status').read_text().splitlines()\n"  # ru_maxrss would be the parent's
                "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')))"
            )
            out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        peaks[times] = int(out) / 1024
        line(f"sample x {times}", f"{peaks[times]:.0f} MB")
    line("ratio", f"{peaks[30] / peaks[3]:.3f}", "target: within 10 %")


def workers():
    """Wall time of the job with one and two processes (start-up of the second included)."""
    print("\nWorkers: wall time, sample x 5")
    for number in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            fastsim.simulate_files([SAMPLE] * 5, "alice3", Path(folder) / "out.root", workers=number)
            line(f"{number} worker{'s' * (number > 1)}", f"{time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    print(f"fastsim {fastsim.__version__}, Python {sys.version.split()[0]}, sample {SAMPLE}")
    chosen = sys.argv[1:] or [
        "job", "formats", "reading", "compressed", "first_event", "smearing", "devices", "tables", "start_up", "memory",
        "workers",
    ]  # fmt: skip
    for name in chosen:
        globals()[name]()
