"""Looking into output files: what they hold, what made them, and a digest of their columns."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

STEP = 2_000_000  # rows of a tree in memory at once


def open_file(path: Path) -> Any:
    """A ROOT file, opened; raises InputError if it is missing or not one."""
    import uproot  # noqa: PLC0415

    if not path.is_file():
        raise InputError("no such file", where=str(path))
    try:
        file = uproot.open(path)
    except Exception as error:  # uproot raises whatever the bytes lead it to
        raise InputError(f"not a whole ROOT file ({type(error).__name__})", where=str(path)) from error
    size, announced = path.stat().st_size, file.file.fEND
    if size < announced:
        file.close()
        raise InputError(f"not a whole ROOT file ({size} of {announced} bytes)", where=str(path))
    return file


def trees(file: Any) -> list[str]:
    """Names of all TTrees, without cycles, sorted."""
    return sorted(name for name, kind in file.classnames(cycle=False).items() if kind == "TTree")


def provenance(file: Any) -> dict[str, Any] | None:
    """What made the file, None if it does not say."""
    if "provenance" not in file.keys(cycle=False):
        return None
    try:
        found: dict[str, Any] = json.loads(str(file["provenance"]))
    except (ValueError, TypeError):
        return None
    return found


def digest(path: Path) -> str:
    """Hash of all columns of all trees: names, types and values, not of bytes, times or compression."""
    total = sha256()
    with open_file(path) as file:
        for name in trees(file):
            tree = file[name]
            for branch in tree.branches:
                total.update(f"{name}/{branch.name}:{tree.num_entries}".encode())
                for start in range(0, tree.num_entries, STEP):
                    for part in _parts(branch.array(library="ak", entry_start=start, entry_stop=start + STEP)):
                        total.update(f"{part.dtype.str}".encode())
                        total.update(np.ascontiguousarray(part).tobytes())
    return total.hexdigest()


def _parts(array: Any) -> list[np.ndarray[Any, Any]]:
    """The numbers of a branch: counts and content of lists, or the array itself."""
    import awkward as ak  # noqa: PLC0415

    if array.ndim > 1 and array.type.content.__class__.__name__ == "ListType":
        return [ak.to_numpy(ak.num(array)), ak.to_numpy(ak.flatten(array))]
    return [ak.to_numpy(array)]
