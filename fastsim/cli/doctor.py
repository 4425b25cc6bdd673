"""`fastsim doctor`: is this installation fit to run?"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from fastsim.cli.console import out

if TYPE_CHECKING:
    from collections.abc import Iterator


def doctor() -> None:
    """Check versions, data folders, caches, cores and lookup tables; exit code 1 if something needs attention."""
    healthy = True
    for name, fine, text in _findings():
        healthy &= fine
        mark = "[bold green]ok [/]" if fine else "[bold red]BAD[/]"
        out.print(f"{mark} {escape(f'{name}: {text}')}", highlight=False)
    if not healthy:
        raise typer.Exit(1)


def _findings() -> Iterator[tuple[str, bool, str]]:
    from fastsim import __version__, plugins, resources
    from fastsim.jit import kernel_cache
    from fastsim.luts.store import cache_folder
    from fastsim.provenance import versions

    yield "fastsim", True, f"{__version__}, Python {platform.python_version()}"
    yield "packages", True, ", ".join(f"{name} {version}" for name, version in versions().items())
    for kind in ("cards", "detectors"):
        found = sorted(p.stem for p in resources.data_dir(kind).glob("*.toml"))
        yield kind, bool(found), f"{', '.join(found) or 'none'} in {resources.data_dir(kind)}"
    for name, folder in (("table cache", cache_folder()), ("kernel cache", kernel_cache())):
        yield (
            name,
            _is_writable(folder),
            f"{folder} ({'writable' if _is_writable(folder) else 'NOT writable: set FASTSIM_CACHE_DIR or NUMBA_CACHE_DIR'})",
        )
    yield "cores", True, _cores()
    yield "modules", True, ", ".join(plugins.installed())
    yield _tables()


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _cores() -> str:
    """Cores given to us, and what a batch system allows: the machine's number of cores says nothing there."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    given = {name: os.environ[name] for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS") if name in os.environ}
    return f"{allowed} usable" + "".join(f", {name}={value}" for name, value in given.items())


def _tables() -> tuple[str, bool, str]:
    from fastsim.cards import load_card
    from fastsim.luts.build import lut_key
    from fastsim.luts.store import file_name, find_lut
    from fastsim.species import by_name

    loaded = load_card("alice3")
    tracking = loaded.card.tracking
    kinds = [by_name(name) for name in tracking.species]
    names = [file_name(loaded.detector, kind, lut_key(loaded.detector, kind, tracking.grid)) for kind in kinds]
    ready = sum(find_lut(name) is not None for name in names)
    return (
        "tables",
        True,
        f"{ready} of {len(names)} of card alice3 ready"
        + ("" if ready == len(names) else "; the others are built on first use"),
    )
