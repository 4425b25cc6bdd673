"""Looking into output files: what they hold, what made them, and a digest of their columns."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from importlib import import_module
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
    return _json(str(file["provenance"]))


def content(path: Path) -> dict[str, dict[str, Any]]:
    """Trees of a ROOT file (RNTuples too), or the one table of a Parquet file: entries, and types of branches by name."""
    if is_parquet(path):
        from fastsim.io import parquet  # noqa: PLC0415  (which imports this file)

        n_events, fields = parquet.shape(path)
        return {"events": {"entries": n_events, "branches": fields}}
    with open_file(path) as file:
        found = {
            name: {"entries": file[name].num_entries, "branches": {b.name: b.typename for b in file[name].branches}}
            for name in trees(file)
        }
        for name, kind in file.classnames(cycle=False).items():
            if kind == "ROOT::RNTuple":
                fields = {field.name: field.typename for field in file[name].fields}
                found[name] = {"entries": file[name].num_entries, "branches": fields}
    return found


def file_format(path: Path) -> str | None:
    """The format (of `fastsim.io.output.FORMATS`) that a file has, by what is in it; None for other ROOT files.

    Raises InputError if it is missing, or neither a ROOT nor a Parquet file.
    """
    if is_parquet(path):
        return "parquet"
    with open_file(path) as file:
        kinds = file.classnames(cycle=False)
    if any(kind == "TTree" and re.match(r"DF_\d+/", name) for name, kind in kinds.items()):
        return "ao2d"
    named = {"Events": "nano", "Delphes": "delphes"}
    found = [named[name] for name, kind in kinds.items() if kind == "TTree" and name in named]
    if found:
        return found[0]
    return "rntuple" if "ROOT::RNTuple" in kinds.values() else None


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet files do."""
    if not path.is_file():
        raise InputError("no such file", where=str(path))
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def read_provenance(path: Path) -> dict[str, Any] | None:
    """What made a file of any format, None if it does not say."""
    if is_parquet(path):
        from fastsim.io import parquet  # noqa: PLC0415  (which imports this file)

        return _json(parquet.texts(path).get("provenance", ""))
    with open_file(path) as file:
        return provenance(file)


def identity_hash(identity: dict[str, Any]) -> str:
    """Hash of all that is in an identity (see `fastsim.provenance`) but the hash that it holds."""
    content = {key: value for key, value in identity.items() if key != "sha256"}
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _json(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def digest(path: Path) -> str:
    """Hash of all columns of all trees: names, types and values, not of bytes, times or compression."""
    kind = file_format(path)
    if kind in ("parquet", "rntuple"):
        from fastsim.io import columnar  # noqa: PLC0415  (which imports this file)

        return columnar.digest(import_module(f"fastsim.io.{kind}").read_groups(path))
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
