"""What 10^9 Pb-Pb events on 10^4 cores take, in shards of what size, and what gives way first: the tables of docs/scale.md.

`python -m benchmarks.schedule --picture docs/schedule.png` prints and draws them in a minute or two. Needs SimPy.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.schedule_model import (
    GENERATE_S,
    GENERATE_START_S,
    HOUR,
    MERGE_MB_PER_S,
    OUTPUT_MB,
    Result,
    Site,
    simulate,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Level:
    """One round of merges, all at the same time."""

    n_files: int  # afterwards
    mb_per_file: float
    seconds: float
    moved: float  # read and written, MB


def merge_tree(site: Site, n_files: int, mb_per_file: float, *, fan_in: int, most_mb: float = math.inf) -> list[Level]:
    """Rounds of merges until there is one file, or files would be larger than `most_mb`."""
    levels = []
    while n_files > 1:
        n_together = min(fan_in, n_files, int(most_mb / mb_per_file) if most_mb < math.inf else n_files)
        if n_together < 2:
            break
        total = n_files * mb_per_file
        n_files = math.ceil(n_files / n_together)
        rate = min(MERGE_MB_PER_S, site.most_each)
        one = site.start_warm + n_together * mb_per_file / rate
        by_cores = math.ceil(n_files / site.cores) * one
        by_link = max(total / site.read_mb_per_s, total / site.write_mb_per_s)
        mb_per_file = total / n_files
        levels.append(Level(n_files, mb_per_file, max(by_cores, by_link), 2 * total))
    return levels


GENERATED = {"input_mb": 0.0, "seconds_per_event": Site.seconds_per_event + GENERATE_S, "start_more": GENERATE_START_S}
NO_TRUTH = {"output_mb": OUTPUT_MB["ao2d"][1]}
CASES: dict[str, dict[str, Any]] = {
    "files, AO2D with truth": {},
    "files, AO2D without truth": NO_TRUTH,
    "generator in the job, AO2D with truth": GENERATED,
    "generator in the job, AO2D without truth": GENERATED | NO_TRUTH,
}
SIZES = (100, 1000, 10_000, 100_000)


def time_of(seconds: float) -> str:
    """For a person."""
    for unit, size in (("d", 86_400.0), ("h", HOUR), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def size_of(mb: float) -> str:
    """For a person."""
    for unit, size in (("PB", 1e9), ("TB", 1e6), ("GB", 1e3)):
        if mb >= size:
            return f"{mb / size:.3g} {unit}"
    return f"{mb:.3g} MB"


HEAD = (
    "| events a shard | jobs | job alone | 99 % done | makespan | efficiency | lost | read | written "
    "| used: cores, reading, writing, scheduler |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def row(site: Site, result: Result) -> str:
    """A line of the table; efficiency is useful time / (cores x makespan)."""
    alone = site.launch_seconds + site.start_warm + site.start_more + site.shards_per_job * (
        (site.shard_input_mb + site.events_per_shard * site.output_mb) / site.most_each
        + site.reread_seconds(0) + site.events_per_shard * site.seconds_per_event
    )  # fmt: skip
    used = ", ".join(f"**{u:.0%}**" if name == result.first else f"{u:.0%}" for name, u in result.used.items())
    by = f" x {site.shards_per_job}" if site.shards_per_job > 1 else ""
    return (
        f"| {site.events_per_shard:,}{by} | {site.n_jobs:,} | {time_of(alone)} | {time_of(result.almost)} "
        f"| {time_of(result.makespan)} | {result.used['cores']:.1%} | {result.lost / result.occupied:.1%} "
        f"| {size_of(result.read)} | {size_of(result.written)} | {used} |"
    )


def tables(base: Site, sizes: Iterable[int] = SIZES) -> dict[str, list[tuple[Site, Result]]]:
    """All cases and sizes; small shards also with as many a job as make it an hour."""
    found: dict[str, list[tuple[Site, Result]]] = {}
    for name, options in CASES.items():
        print(f"\n{name}\n\n{HEAD}")
        rows = found[name] = []
        for size in sizes:
            site = replace(base, events_per_shard=size, **options)
            n_together = min(int(HOUR / (size * site.seconds_per_event)), site.n_shards // (10 * site.cores))
            for n in (1, n_together) if size <= 1000 and n_together > 1 else (1,):
                one = replace(site, shards_per_job=n)
                rows.append((one, simulate(one)))
                print(row(*rows[-1]), flush=True)
    return found


def variations(site: Site) -> None:
    """What else matters, by shards of 10,000 events with a generator in the job, without truth."""
    base = replace(site, events_per_shard=10_000, **GENERATED, **NO_TRUTH)
    print("\nVariations\n\n| changed | 99 % done | lost |\n| --- | --- | --- |")
    for name, options in {
        "nothing": {},
        "no checkpoints": {"checkpoints": False},
        "kills 0.1 an hour": {"kills": 0.1},
        "kills 0.1 an hour, no checkpoints": {"kills": 0.1, "checkpoints": False},
        "jobs of 1000 events": {"events_per_shard": 1000},
        "jobs of 1000 events, 100 starts a second": {"events_per_shard": 1000, "starts_per_s": 100.0},
        "the same, kernels compiled by each job": {
            "events_per_shard": 1000,
            "starts_per_s": 100.0,
            "node_cache": False,
        },
    }.items():
        result = simulate(replace(base, **options))
        lost = result.lost / result.occupied
        print(f"| {name} | {time_of(result.almost)} | {lost:.2%} |", flush=True)


def merges(base: Site) -> None:
    """The tree, up to files of 10 GB and up to one."""
    print("\n| shards | fan-in | rounds | files, of | time | moved |\n| --- | --- | --- | --- | --- | --- |")
    for size in SIZES[:3]:
        for fan_in, most in ((10, 10_000.0), (100, 10_000.0), (100, math.inf)):
            site = replace(base, events_per_shard=size)
            levels = merge_tree(site, site.n_shards, size * site.output_mb, fan_in=fan_in, most_mb=most)
            if not levels:
                print(f"| {size:,} | {fan_in} | 0 | {site.n_shards:,} of {size_of(size * site.output_mb)} | 0 | 0 |")
                continue
            last, seconds, moved = levels[-1], sum(v.seconds for v in levels), sum(v.moved for v in levels)
            files = f"{last.n_files:,} of {size_of(last.mb_per_file)}"
            print(f"| {size:,} | {fan_in} | {len(levels)} | {files} | {time_of(seconds)} | {size_of(moved)} |")


def draw(found: dict[str, list[tuple[Site, Result]]], path: Path) -> None:
    """Makespan over the size of shards."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for (name, rows), marker in zip(found.items(), "osD^", strict=True):
        single = [(site.events_per_shard, result.makespan / HOUR) for site, result in rows if site.shards_per_job == 1]
        axes.plot(
            *zip(*single, strict=True), marker=marker, label=name, linestyle="--" if name.startswith("files") else "-"
        )
    alone = Site.n_events * Site.seconds_per_event / Site.cores / HOUR
    axes.axhline(alone, color="0.6", linewidth=0.8)
    axes.annotate("simulation alone", (1e5, alone), fontsize=8, ha="right", va="bottom")
    axes.set(xscale="log", yscale="log", xlabel="events a shard", ylabel="makespan [h]")
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, help="where to draw the makespans")
    chosen = parser.parse_args()
    begin = time.perf_counter()
    found = tables(Site())
    variations(Site())
    merges(Site())
    print(f"\n{time.perf_counter() - begin:.0f} s")
    if chosen.picture:
        draw(found, chosen.picture)


if __name__ == "__main__":
    main()
