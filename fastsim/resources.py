"""Where the files that ship with fastsim are, and where it may keep its own: one place for all of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import platformdirs

from fastsim.errors import CardError

Kind = Literal["cards", "detectors", "luts"]
_PACKAGE = Path(__file__).resolve().parent


def data_dir(kind: Kind) -> Path:
    """Folder of the shipped cards, detectors or tables: in a wheel, or at the top of the repository (editable install)."""
    in_wheel = _PACKAGE / "_data"
    return (in_wheel if in_wheel.is_dir() else _PACKAGE.parent) / kind


def cache_dir() -> Path:
    """The user's cache for tables and machine code: FASTSIM_CACHE_DIR, or the platform's place for caches."""
    override = os.environ.get("FASTSIM_CACHE_DIR")
    return Path(override) if override else platformdirs.user_cache_path("fastsim", appauthor=False)


def shipped(kind: Kind) -> dict[str, Path]:
    """The files that ship with fastsim, by bare name."""
    return {path.stem: path for path in sorted(data_dir(kind).glob("*.toml"))}


def find(kind: Kind, name: str, *, beside: Path | None = None, where: str = "") -> Path:
    """The file meant by `name`: the bare name of a shipped file, or a path (relative to the folder `beside` if given)."""
    ours = shipped(kind)
    if name in ours:
        return ours[name]
    path = beside / name if beside else Path(name)
    if path.is_file():
        return path
    what = f"no such {kind.removesuffix('s')}: {name}"
    raise CardError(
        [f"{where}: {what}" if where else what], hint=f"shipped: {', '.join(ours)}; or give the path of a file"
    )
