"""Finding tables by the hash of what made them: shipped ones, the user's cache, or built now."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim import resources
from fastsim.errors import LutError
from fastsim.kernels.lookup import N_QUANTITIES, LutTable
from fastsim.luts.build import build_lut, lut_key
from fastsim.luts.file import SUFFIX, Grid, Lut, read_lut, write_lut
from fastsim.species import SPECIES, Species

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fastsim.detector import Detector

log = logging.getLogger(__name__)


class LutSet(NamedTuple):
    """Tables of all tracked species of one detector, and where each came from."""

    luts: tuple[Lut, ...]
    sources: tuple[str, ...]

    def table(self) -> LutTable:
        """All species as one array for the kernels; a species without a table has efficiency 0 everywhere."""
        grid = self.luts[0].header.grid
        values = np.full((len(SPECIES), grid.n_eta, grid.n_pt, N_QUANTITIES), np.nan, dtype=np.float32)
        values[..., 0] = 0.0
        names = [species.name for species in SPECIES]
        for lut in self.luts:
            values[names.index(lut.header.species)] = lut.values
        eta, log_pt = grid.eta_edges, np.log(grid.pt_edges)
        return LutTable(
            values, float(eta[0]), float(eta[1] - eta[0]), float(log_pt[0]), float((log_pt[-1] - log_pt[0]) / grid.n_pt)
        )


def file_name(detector: Detector, species: Species, key: str) -> str:
    """Name of a table: readable, and unique by its hash."""
    return f"{detector.name}.{species.name}.{key[:16]}{SUFFIX}"


def find_lut(name: str, folder: Path | None = None) -> Path | None:
    """The table of that file name: in `folder` alone if given, else among the shipped ones or in the user's cache."""
    places = [folder] if folder else [resources.data_dir("luts"), cache_folder()]
    return next((place / name for place in places if (place / name).is_file()), None)


def cache_folder() -> Path:
    """Where tables that are built on the way are kept."""
    return resources.cache_dir() / "luts"


def get_luts(
    detector: Detector,
    grid: Grid | None = None,
    *,
    folder: Path | None = None,
    species: Sequence[Species] = SPECIES,
    progress: Callable[[str, int, int], None] | None = None,
    command: str = "",
) -> LutSet:
    """Tables of a detector, one for each species.

    Looked for in `folder` alone if it is given (a missing one is a LutError), else in the shipped `luts/` and the
    user's cache; what is found nowhere is built and kept in the cache. `progress(name, done, total)` is told of builds.
    """
    grid = grid or Grid()
    luts, sources = [], []
    for done, kind in enumerate(species):
        key = lut_key(detector, kind, grid)
        name = file_name(detector, kind, key)
        path = find_lut(name, folder)
        if path is None and folder:
            raise LutError(
                f"no table of {kind.name} for this detector, grid and physics version ({name})",
                where=str(folder),
                hint=f'make it with `fastsim lut build {detector.name} --out {folder}`, or say luts = "auto" in the card',
            )
        if path is None:
            if progress:
                progress(kind.name, done, len(species))
            lut = build_lut(detector, kind, grid, command=command)
            path = cache_folder() / name
            _keep(lut, path)
        else:
            lut = read_lut(path)
            if lut.header.key != key:
                raise LutError(
                    "the table's hash is not the one of its name", where=str(path), hint="delete it, it will be rebuilt"
                )
        luts.append(lut)
        sources.append(str(path))
    if progress:
        progress("", len(species), len(species))
    return LutSet(tuple(luts), tuple(sources))


def _keep(lut: Lut, path: Path) -> None:
    """Keep a table in the cache; a cache that cannot be written costs time, not the run."""
    try:
        write_lut(lut, path)
    except OSError as error:
        log.warning("the table of %s could not be kept in %s (%s)", lut.header.species, path.parent, error)
