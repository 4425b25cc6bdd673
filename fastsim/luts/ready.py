"""Ready tables: `.lut` files made from others' files, and the detector file that names them, so that they can be run."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from fastsim.detector.importers.toml_text import detector_text
from fastsim.errors import LutError, UsageError, cannot_write
from fastsim.luts.file import SUFFIX, whole_file, write_lut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fastsim.luts.file import Lut


def ready_paths(folder: Path, name: str, luts: Sequence[Lut]) -> list[Path]:
    """The files that `write_ready` writes: one a table, and last the detector file."""
    return [*(folder / f"{name}.{lut.header.species}{SUFFIX}" for lut in luts), folder / f"{name}.toml"]


def write_ready(
    folder: Path, name: str, luts: Sequence[Lut], *, source: str, notes: Sequence[str] = (), overwrite: bool = False
) -> list[Path]:
    """Write tables and the detector file that names them, and return their paths; `notes` become the file's head.

    Raises LutError if they cannot be tables of one detector, UsageError if a file exists already or cannot be written,
    OutputError if the disk is full; then nothing new is left.
    """
    _check_one_detector(luts)
    paths = ready_paths(folder, name, luts)
    for path in paths:
        if path.exists() and not overwrite:
            raise UsageError(
                "exists already", where=str(path), hint="choose another folder or name, or say --overwrite"
            )
    head = detector_text({"schema_version": 1, "name": name, "source": source, "b_z": luts[0].header.b_z}, notes)
    entries = [
        f'\n[[tables]]\nspecies = "{lut.header.species}"\nfile = {json.dumps(path.name)}\nsha256 = "{lut.header.sha256}"\n'
        for lut, path in zip(luts, paths, strict=False)
    ]
    with all_or_nothing(folder, paths):
        for lut, path in zip(luts, paths, strict=False):
            write_lut(lut, path)
        with whole_file(paths[-1]) as stream:  # last, so that it never names what is not there
            stream.write("".join([head, *entries]).encode())
    return paths


@contextmanager
def all_or_nothing(folder: Path, paths: Sequence[Path] = ()) -> Iterator[None]:
    """Where files are written: if one fails, those of `paths` and the folders that were not there before go again.

    An OSError becomes UsageError, or OutputError if the disk is full.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    new = [path for path in paths if not path.exists()]
    try:
        yield
    except BaseException as error:
        with suppress(OSError):  # others may have put something there
            for path in new:
                path.unlink(missing_ok=True)
            for place in made:
                place.rmdir()
        if isinstance(error, OSError):
            raise cannot_write(error, paths[0] if len(paths) == 1 else folder) from None
        raise


def _check_one_detector(luts: Sequence[Lut]) -> None:
    """A detector has one field, one table a species, and all on the same axes."""
    first = luts[0].header
    seen: dict[str, str] = {}
    for lut in luts:
        header = lut.header
        where = str(header.origin.get("file", header.species))
        hint = f"they are tables of different detectors, so take them one by one (the first is {_file(luts[0])})"
        if header.b_z != first.b_z:
            raise LutError(f"its field is {header.b_z:g} T, that of the first {first.b_z:g} T", where=where, hint=hint)
        if header.grid != first.grid:
            raise LutError("has other axes than the first", where=where, hint=hint)
        if header.species in seen:
            raise LutError(f"is a table of {header.species}, as {seen[header.species]}", where=where, hint=hint)
        seen[header.species] = where


def _file(lut: Lut) -> str:
    return str(lut.header.origin.get("file", lut.header.species))
