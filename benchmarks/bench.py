"""`make bench`: speed and memory of the main job, with pyhepmc's reading of the same file beside it.

All figures are CPU time of one process, medians of interleaved repetitions in this very run, so that ratios carry over
between machines. Nothing is asserted: targets are printed beside what was measured.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

import fastsim
from fastsim import columns as c
from fastsim.io.aod import AodWriter
from fastsim.io.hepmc import parse_block, read_blocks
from fastsim.luts import Grid, build_lut, get_luts, read_lut, write_lut
from fastsim.rng import Streams
from fastsim.run import Silent, find_luts, load_kernels, make_pipeline
from fastsim.species import SPECIES
from fastsim.tracking import parametric as p

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared" / "data" / "pp_ttbar_13TeV_100.hepmc.zst"
SAMPLE = SHARED if SHARED.is_file() else REPOSITORY / "tests" / "data" / "pp_ttbar_40.hepmc.zst"
REPEAT = 5


def cpu(function, *arguments):
    """CPU seconds and result of a call."""
    begin = time.process_time()
    result = function(*arguments)
    return time.process_time() - begin, result


def line(name, value, target=""):
    print(f"  {name:<58}{value:>18}   {target}")


def read_with_pyhepmc(text, format_):
    import io

    import pyhepmc

    with pyhepmc.open(io.BytesIO(text), format=format_) as file:
        return sum(len(event.particles) for event in file)


def whole_job():
    """Steps of the job on the ttbar sample, and pyhepmc's own reading of the same text."""
    loaded = fastsim.load_card("alice3")
    pipeline = make_pipeline(loaded, find_luts(loaded, Silent()))
    load_kernels(pipeline)
    (block,) = read_blocks([str(SAMPLE)], max_events=10**6, max_particles=10**9, records=[])
    text = block.text(block.events)
    times = {name: [] for name in ("pyhepmc", "cut and decompress", "parse to columns", "modules", "write")}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(REPEAT):
            times["pyhepmc"].append(cpu(read_with_pyhepmc, text, block.format)[0])
            seconds, _ = cpu(
                lambda: list(read_blocks([str(SAMPLE)], max_events=10**6, max_particles=10**9, records=[]))
            )
            times["cut and decompress"].append(seconds)
            seconds, (batch, _) = cpu(parse_block, block)
            times["parse to columns"].append(seconds)
            seconds, (batch, _, _) = cpu(pipeline.run, batch)
            times["modules"].append(seconds)
            times["write"].append(cpu(_write, batch, Path(folder) / "out.root")[0])
    n = batch.n_rows("particle")
    print(
        f"\nThe job: {SAMPLE.name}, {batch.n_events} events, {n} particles, {int(batch[c.IS_RECONSTRUCTED].sum())} tracks"
    )
    for name, values in times.items():
        line(
            name, f"{1e6 * median(values) / n:.3f} us/particle", f"{1e3 * median(values) / batch.n_events:.2f} ms/event"
        )
    after = median(a + b for a, b in zip(times["modules"], times["write"], strict=True))
    line("everything after reading / pyhepmc's reading", f"{after / median(times['pyhepmc']):.3f}", "target: below 1")


def _write(batch, path):
    writer = AodWriter(path, events_per_frame=1000, compression_level=1)
    with writer.file:
        writer.write(batch)
        writer.close({})


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
    chosen = sys.argv[1:] or ["whole_job", "smearing", "tables", "start_up", "memory", "workers"]
    for name in chosen:
        globals()[name]()
