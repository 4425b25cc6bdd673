"""Tables of muon identification: probabilities over (eta, p, production z, multiplicity) by species; their file, and ROOT's.

The file is a .npz: `species` (names), and for each of them `NAME_eta`, `NAME_p`, `NAME_z`, `NAME_multiplicity` (edges) and
`NAME_probability`. Species that are not listed are never taken for muons.
"""

from __future__ import annotations

import itertools
import zipfile
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from fastsim.errors import InputError, LutError
from fastsim.luts.file import whole_file
from fastsim.species import NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

AXES: Final = ("eta", "p", "z", "multiplicity")
_ROOT_NAMES: Final = {
    "mu": "muon",
    "pi": "pion",
    "ka": "kaon",
    "pr": "proton",
}  # electrons are never muons, as upstream


class MuonTable(NamedTuple):
    """One species: edges of eta, p [GeV], production z [cm] and dN_ch/deta, and the probability in each bin (n0, n1, n2, n3)."""

    eta: NDArray[np.float64]
    p: NDArray[np.float64]
    z: NDArray[np.float64]
    multiplicity: NDArray[np.float64]
    probability: NDArray[np.float64]


def fault_of(table: MuonTable) -> str:
    """What is wrong with a table, empty if nothing is."""
    for name, edges in zip(AXES, table[:4], strict=True):
        rises = all(a < b for a, b in itertools.pairwise(edges.tolist()))
        if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or not rises:
            return f"the edges of {name} do not increase"
    shape = tuple(len(edges) - 1 for edges in table[:4])
    if table.probability.shape != shape:
        return f"has {table.probability.shape} probabilities for {shape} bins"
    if not ((table.probability >= 0) & (table.probability <= 1)).all():
        return "holds probabilities outside [0, 1]"
    return ""


def write_muon_tables(tables: Mapping[str, MuonTable], path: Path) -> None:
    """Write tables of some species, whole or not at all."""
    arrays: dict[str, Any] = {"species": np.array(sorted(tables))}
    for name, table in tables.items():
        arrays |= {f"{name}_{key}": value for key, value in table._asdict().items()}
    with whole_file(path) as stream:
        np.savez_compressed(stream, **arrays)


def read_muon_tables(path: Path) -> dict[str, MuonTable]:
    """Tables by species; raises LutError, naming the file, if it is missing or not a table."""
    hint = "make it with `fastsim detector import-muon`"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            names = [str(name) for name in found["species"]]
            tables = {
                name: MuonTable(*(found[f"{name}_{key}"].astype(np.float64) for key in MuonTable._fields))
                for name in names
            }
    except FileNotFoundError:
        raise LutError("no such table", where=str(path), hint=hint) from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise LutError(f"not a table of muon identification ({error})", where=str(path), hint=hint) from None
    for name, table in tables.items():
        fault = fault_of(table) if name in NAMES else "is no species"
        if fault:
            raise LutError(f"{name}: {fault}", where=str(path), hint=hint)
    return tables


def muon_tables_of_root(path: Path) -> dict[str, MuonTable]:
    """Tables of a ROOT file with THnSparse `mAccEffMuonPID_<muon|pion|kaon|proton>` (eta, p, v_z, multiplicity), as DelphesO2's.

    Raises InputError, naming file and object.
    """
    import uproot  # noqa: PLC0415  (0.4 s that nobody else here needs)

    keys = {species: f"mAccEffMuonPID_{name}" for species, name in _ROOT_NAMES.items()}
    try:
        with uproot.open(path) as file:
            tables = {species: _table_of(file[key]) for species, key in keys.items() if key in file}
    except Exception as error:  # uproot raises whatever a damaged file leads it to
        raise InputError(f"not a ROOT file of muon efficiencies ({error})", where=str(path)) from error
    for species, key in keys.items():
        fault = fault_of(tables[species]) if species in tables else "is not there"
        if fault:
            raise InputError(f"{key}: {fault}", where=str(path))
    return tables


def _table_of(histogram: Any) -> MuonTable:
    """A THnSparse as a dense table without under- and overflow."""
    axes = histogram.member("fAxes")
    if len(axes) != len(AXES):
        raise ValueError(f"{len(axes)} axes, not {len(AXES)}")
    shape = [int(axis.member("fNbins")) + 2 for axis in axes]
    bits = [size.bit_length() for size in shape]  # THnSparseCompactBinCoord packs one number after the other
    dense = np.zeros(shape)
    for chunk in histogram.member("fBinContent"):
        width = int(chunk.member("fSingleCoordinateSize"))
        packed = np.asarray(chunk.member("fCoordinates")).view(np.uint8).reshape(-1, width)
        contents = np.asarray(chunk.member("fContent"))[: len(packed)]  # the last chunk is not full
        code = np.zeros(len(packed), dtype=np.uint64)
        for k in range(width):
            code |= packed[:, k].astype(np.uint64) << np.uint64(8 * k)
        coordinates = []
        for n in bits:
            coordinates.append((code & np.uint64(2**n - 1)).astype(np.int64))
            code >>= np.uint64(n)
        dense[tuple(coordinates)] = contents
    eta, p, z, multiplicity = (np.asarray(axis.edges(), dtype=np.float64) for axis in axes)
    return MuonTable(eta, p, z, multiplicity, dense[1:-1, 1:-1, 1:-1, 1:-1])
