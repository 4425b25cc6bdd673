"""Everything that jobs of a batch need, in one archive that works wherever it is unpacked."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from fastsim.batch.manifest import NAME, TABLES, Manifest, sealed
from fastsim.errors import UsageError, cannot_write
from fastsim.io.inputs import RECIPES
from fastsim.io.rootio import PartialFile, refuse_existing

if TYPE_CHECKING:
    from fastsim.batch.manifest import Batch

_FOLDER = "fastsim_batch"
_FILES = "files"
_RUN = """#!/bin/bash
# Makes the shards that are named, as `./run.sh 0 1 2`; results come beside this file. fastsim must be installed: see README.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec ${FASTSIM:-fastsim} batch run "$here" --input-dir "${FASTSIM_INPUTS:-$PWD}" "$@"
"""


def pack(batch: Batch, out: Path, *, with_inputs: bool = False, overwrite: bool = False) -> list[str]:
    """Write the archive (.tar, .tar.gz or .tar.xz); returns the names in it.

    It holds the manifest, tables, recipes and pile-up files; other inputs only if asked for. Raises UsageError, OutputError.
    """
    endings = {".tar": "", ".gz": "gz", ".xz": "xz"}
    if out.suffix not in endings:
        raise UsageError("is none of .tar, .tar.gz, .tar.xz", where=str(out))
    refuse_existing(out, overwrite=overwrite)
    manifest, files = _relocated(batch, with_inputs=with_inputs)
    tables = sorted((batch.folder / TABLES).iterdir())
    files |= {f"{TABLES}/{path.name}": path for path in tables}
    texts = {NAME: manifest.model_dump_json(indent=1), "run.sh": _RUN}
    partial = PartialFile(out)
    try:
        mode = f"w:{endings[out.suffix]}"
        with tarfile.open(fileobj=partial.stream, mode=mode) as archive:  # type: ignore[call-overload]
            for name, text in texts.items():
                member = tarfile.TarInfo(f"{_FOLDER}/{name}")
                member.size, member.mode = len(text.encode()), 0o755 if name.endswith(".sh") else 0o644
                archive.addfile(member, BytesIO(text.encode()))
            for name, path in files.items():
                archive.add(path, f"{_FOLDER}/{name}", recursive=False)
        partial.keep()
    except OSError as error:
        raise cannot_write(error, out) from None
    finally:
        partial.discard()
    return [*texts, *files]


def _relocated(batch: Batch, *, with_inputs: bool) -> tuple[Manifest, dict[str, Path]]:
    """The manifest with names relative to the archive's folder for what it holds, and those files by name."""
    files: dict[str, Path] = {}

    def moved(name: str) -> str:
        source = Path(batch.found(name))
        target = f"{_FILES}/{len(files)}_{source.name}"
        files[target] = source
        return target

    manifest = batch.manifest
    inputs = [
        i.model_copy(update={"name": moved(i.name)}) if _is_packed(i.name, with_inputs=with_inputs) else i
        for i in manifest.inputs
    ]
    record = manifest.card
    pile_up = record["card"].get("pile_up")
    if pile_up:
        pile_up = {**pile_up, "file": [name if "://" in name else moved(name) for name in batch.pile_up()]}
        record = {**record, "card": {**record["card"], "pile_up": pile_up}}
    return sealed(manifest.model_copy(update={"inputs": inputs, "card": record})), files


def _is_packed(name: str, *, with_inputs: bool) -> bool:
    return "://" not in name and (with_inputs or Path(name).suffix.lower() in RECIPES)
