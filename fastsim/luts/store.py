"""Finding tables by the hash of what made them: shipped ones, the user's cache, or built now; or those a detector names."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim import resources
from fastsim.errors import LutError
from fastsim.kernels.lookup import LutTable
from fastsim.luts.build import build_lut, lut_key, resolve
from fastsim.luts.file import SUFFIX, Efficiency, Grid, Lut, read_lut, write_lut
from fastsim.species import NAMES, SPECIES, Species

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastsim.detector import Detector

log = logging.getLogger(__name__)


class LutSet(NamedTuple):
    """Tables of a run's species of one detector, all on the same axes, and where each came from."""

    luts: tuple[Lut, ...]
    sources: tuple[str, ...]

    def table(self, *, efficiency: Efficiency = "every_hit_right", nearest: bool = False) -> LutTable:
        """The species' tables as arrays for the kernels."""
        header = self.luts[0].header
        grid = header.grid
        if without := [
            source for lut, source in zip(self.luts, self.sources, strict=True) if efficiency not in lut.efficiencies
        ]:
            raise LutError(
                f"has no efficiency {efficiency!r} (it has {', '.join(self.luts[0].efficiencies)})",
                where=without[0],
                hint="see tracking.efficiency in the card",
            )
        row = np.full(len(SPECIES), -1, dtype=np.int8)
        for i, lut in enumerate(self.luts):
            row[NAMES.index(lut.header.species)] = i
        eta = grid.eta_edges
        log_pt, log_dnch = (
            np.log([low, high]) for low, high in ((grid.pt_min, grid.pt_max), (grid.dnch_min, grid.dnch_max))
        )
        return LutTable(
            row,
            np.ascontiguousarray([lut.covariance for lut in self.luts], dtype=np.float32),
            np.ascontiguousarray([np.moveaxis(lut.efficiencies[efficiency], 0, -1) for lut in self.luts]),
            np.array(grid.r_edges, dtype=np.float64),
            0.0 if header.mirrored else float(eta[0]), float(eta[1] - eta[0]),
            float(log_pt[0]), float((log_pt[1] - log_pt[0]) / grid.n_pt),
            float(log_dnch[0]), float((log_dnch[1] - log_dnch[0]) / grid.n_dnch),
            header.mirrored, nearest,
        )  # fmt: skip


def without_numbers(luts: LutSet) -> LutSet:
    """Only what the tables say of themselves: once the kernels have their arrays, these need no memory."""
    return LutSet(
        tuple(replace(lut, covariance=np.empty((0, 0, 0, 15), dtype=np.float32), efficiencies={}) for lut in luts.luts),
        luts.sources,
    )


def no_table() -> LutTable:
    """A table of no species, to make modules from before tables are there."""
    return LutTable(
        np.full(len(SPECIES), -1, dtype=np.int8), np.zeros((0, 1, 2, 2, 15), dtype=np.float32),
        np.zeros((0, 1, 2, 2, 1), dtype=np.float32), np.array([0.0, 1.0]), 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, False, False,
    )  # fmt: skip


def file_name(detector: Detector, species: Species, key: str) -> str:
    """Name of a table: readable, and unique by its hash."""
    return f"{detector.name}.{species.name}.{key[:16]}{SUFFIX}"


def build_command(detector: Detector, grid: Grid) -> str:
    """The command that builds the tables of a detector on a grid."""
    options = {
        "--pt-bins": grid.n_pt, "--eta-bins": grid.n_eta, "--eta-max": grid.eta_max, "--dnch-bins": grid.n_dnch,
        "--pt-range": f"{grid.pt_min:g} {grid.pt_max:g}",
    }  # fmt: skip
    usual = resolve(Grid(), detector)
    usual_values = [usual.n_pt, usual.n_eta, usual.eta_max, usual.n_dnch, f"{usual.pt_min:g} {usual.pt_max:g}"]
    words = [
        f"{key} {value}" for (key, value), other in zip(options.items(), usual_values, strict=True) if value != other
    ]
    if grid.r_edges != usual.r_edges:
        words.append(f"--r-edges {','.join(f'{edge:g}' for edge in grid.r_edges or [])}")
    tracking = detector.tracking
    if tracking and tracking.electrons == "none" and "electrons" in tracking.model_fields_set:
        words.append("--no-radiation")  # a card's module material may have said so, not the file
    return " ".join(["fastsim lut build", detector.name, *words])


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
    efficiencies: Sequence[Efficiency] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    command: str = "",
) -> LutSet:
    """Tables of a detector, one for each species, with the named efficiencies (all if None).

    Looked for in `folder` alone if it is given (a missing one is a LutError), else in the shipped `luts/` and the
    user's cache; what is found nowhere is built and kept in the cache. `progress(name, done, total)` is told of builds.
    A detector of ready tables has only those.
    """
    grid = resolve(grid or Grid(), detector)
    luts, sources = [], []
    for done, kind in enumerate(species):
        if detector.tables:
            lut, source = _named(detector, kind, efficiencies)
        else:
            told = partial(progress, kind.name, done, len(species)) if progress else None
            lut, source = _found(detector, kind, grid, folder, efficiencies, told, command)
        luts.append(lut)
        sources.append(source)
    if progress and not detector.tables:
        progress("", len(species), len(species))
    _check_alike(luts, sources)
    return LutSet(tuple(luts), tuple(sources))


def _found(
    detector: Detector, kind: Species, grid: Grid, folder: Path | None, efficiencies: Sequence[Efficiency] | None,
    build_begins: Callable[[], object] | None, command: str,
) -> tuple[Lut, str]:  # fmt: skip
    """The table by its hash, or built and kept."""
    key = lut_key(detector, kind, grid)
    name = file_name(detector, kind, key)
    path = find_lut(name, folder)
    if path is None and folder:
        raise LutError(
            f"no table of {kind.name} for this detector, grid and physics version ({name})",
            where=str(folder),
            hint=f'make it with `{build_command(detector, grid)} --out {folder}`, or say luts = "auto" in the card',
        )
    if path is None:
        if build_begins:
            build_begins()
        lut = build_lut(detector, kind, grid, command=command)
        path = cache_folder() / name
        _keep(lut, path)
        return lut, str(path)
    try:
        return _checked(path, key, kind, _available(detector, efficiencies)), str(path)
    except LutError as error:
        if path.parent != cache_folder():
            raise
        log.warning("%s: it is built anew", error)  # our own cache: a job was killed, or the disk was full
        path.unlink()
        return _found(detector, kind, grid, folder, efficiencies, build_begins, command)


def _checked(path: Path, key: str, kind: Species, efficiencies: Sequence[Efficiency] | None) -> Lut:
    """The table in a file; raises LutError if it is not the one of this key and species."""
    lut = read_lut(path, efficiencies)
    if (lut.header.key, lut.header.species) != (key, kind.name):
        raise LutError(
            "the table's hash is not the one of its name", where=str(path), hint="delete it, it will be rebuilt"
        )
    return lut


def _available(detector: Detector, efficiencies: Sequence[Efficiency] | None) -> Sequence[Efficiency] | None:
    """Formulas know one efficiency only."""
    return None if detector.formulas else efficiencies


def _named(detector: Detector, kind: Species, efficiencies: Sequence[Efficiency] | None) -> tuple[Lut, str]:
    """The table that a detector file names for the species; raises LutError if it is not the one that was meant."""
    for entry in detector.tables:
        if entry.species == kind.name:
            lut = read_lut(Path(entry.file))
            header = lut.header
            wanted = header.efficiencies if efficiencies is None else efficiencies
            if missing := [name for name in wanted if name not in lut.efficiencies]:
                raise LutError(f"has no efficiency {', '.join(missing)}", where=entry.file)
            for what, told, found in (
                ("hash", entry.sha256, header.sha256),
                ("species", entry.species, header.species),
                ("field", detector.b_z, header.b_z),
            ):
                if told != found:
                    raise LutError(
                        f"the table's {what} is {found}, {detector.name} says {told}",
                        where=entry.file,
                        hint="make or import the table again, or correct the detector file",
                    )
            return replace(lut, efficiencies={k: v for k, v in lut.efficiencies.items() if k in wanted}), entry.file
    raise LutError(
        f"no table for species {kind.name}",
        where=detector.name,
        hint=f"it has some for {', '.join(entry.species for entry in detector.tables)}; see tracking.species in the card",
    )


def _check_alike(luts: Sequence[Lut], sources: Sequence[str]) -> None:
    """Raise LutError if tables of one set have different axes: the kernels take one set of axes for all."""
    for lut, source in zip(luts, sources, strict=True):
        if (lut.header.grid, lut.header.mirrored) != (luts[0].header.grid, luts[0].header.mirrored):
            raise LutError(f"has other axes than {sources[0]}", where=source, hint="make them with one grid")


def _keep(lut: Lut, path: Path) -> None:
    """Keep a table in the cache; a cache that cannot be written costs time, not the run."""
    try:
        write_lut(lut, path)
    except OSError as error:
        log.warning("the table of %s could not be kept in %s (%s)", lut.header.species, path.parent, error)
