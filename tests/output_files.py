"""Output files of every format: written, and read by no code of ours."""

from __future__ import annotations

import awkward as ak
import uproot

import fastsim
from fastsim.io.output import FORMATS

TTREE_FORMATS = [name for name, door in FORMATS.items() if door.suffix == ".root" and name != "rntuple"]


def write(name, source, path, *sets, **options):
    """Simulate a file into a file of a format."""
    card = fastsim.load_card("alice3", sets=[f"output.format={name!r}", *sets])
    return fastsim.simulate_files([source], card, path, **options)


def suffix(name):
    """How files of a format are called."""
    return FORMATS[name].suffix


def read(path):
    """Everything in a file: {"tree/branch": array}."""
    if path.suffix == ".parquet":
        return _fields("", ak.from_parquet(path))
    found = {}
    with uproot.open(path) as file:
        for name, kind in file.classnames(cycle=False).items():
            if kind == "TTree":
                found |= {f"{name}/{branch.name}": branch.array() for branch in file[name].branches}
            elif kind == "ROOT::RNTuple":
                found |= _fields(f"{name}/", file[name].arrays())
    return found


def _fields(prefix, rows):
    return {f"{prefix}{name}": rows[name] for name in rows.fields}


def same(a, b):
    """Whether two contents are equal, NaN being itself."""
    return set(a) == set(b) and all(ak.array_equal(a[name], b[name], equal_nan=True) for name in a)
