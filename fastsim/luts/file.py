"""The table file: a zip of `header.json` and arrays, self-describing, with the hash of what made it.

Values are at bin centres: ln sigma of the five parameters and their ten correlations for charge +1, and efficiencies. Kept as
(ln sigma, rho), because averages of correlation matrices are correlation matrices: interpolation stays positive definite. The
covariance does not depend on the occupancy and is not stored for each; where the detector looks the same from both sides only
eta > 0 is stored. Bin edges are half-open, [low, high), the last one of eta and pt closed. What to do outside the axes is the
card's decision.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, Literal

import numpy as np
from pydantic import Field, ValidationError

from fastsim.columns import PARAMETER_UNITS, PARAMETERS
from fastsim.detector.geometry import faults_of_edges
from fastsim.errors import LutError
from fastsim.kernels.covariance import PARITY
from fastsim.species import SPECIES
from fastsim.toml import Strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

SUFFIX = ".lut"
FORMAT: Final = "fastsim-lut/2"
EFFICIENCIES: Final = ("every_hit_right", "no_wrong_pair")
Efficiency = Literal["every_hit_right", "no_wrong_pair"]
N_COVARIANCE: Final = 15


class Grid(Strict):
    """Axes of a table: pt and dN_ch/deta in equal steps of the logarithm, eta in equal steps, bins of the production radius."""

    n_pt: Annotated[int, Field(ge=2, le=10000, description="bins in pt")] = 200
    n_eta: Annotated[int, Field(ge=1, le=10000, description="bins in eta")] = 80
    pt_min: Annotated[float, Field(gt=0, description="lower edge in pt [GeV]")] = 0.01
    pt_max: Annotated[float, Field(gt=0, description="upper edge in pt [GeV]")] = 100.0
    eta_max: Annotated[float, Field(gt=0, le=10, description="the table covers -eta_max to eta_max")] = 4.0
    n_dnch: Annotated[
        int, Field(ge=1, le=1000, description="bins in dN_ch/deta; 1 where the detector has no occupancy model")
    ] = 20
    dnch_min: Annotated[float, Field(gt=0, description="lower edge in dN_ch/deta")] = 10**0.5
    dnch_max: Annotated[float, Field(gt=0, description="upper edge in dN_ch/deta")] = 10**3.5
    r_edges: Annotated[
        list[float] | None,
        Field(min_length=2, description="bins of the production radius [cm]; by default the detector's"),
    ] = None

    @classmethod
    def faults(cls, data: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Edges must increase."""
        for axis in ("pt", "dnch"):
            low, high = (data.get(f"{axis}_{end}", cls.model_fields[f"{axis}_{end}"].default) for end in ("min", "max"))
            if isinstance(low, (int, float)) and isinstance(high, (int, float)) and not low < high:
                yield (f"{axis}_max",), f"must be above {axis}_min = {low} (got {high})"
        yield from faults_of_edges(data.get("r_edges"))

    @property
    def pt_edges(self) -> NDArray[np.float64]:
        """Edges (n_pt + 1,) [GeV]."""
        return np.geomspace(self.pt_min, self.pt_max, self.n_pt + 1)

    @property
    def eta_edges(self) -> NDArray[np.float64]:
        """Edges (n_eta + 1,)."""
        return np.linspace(-self.eta_max, self.eta_max, self.n_eta + 1)

    @property
    def pt_centers(self) -> NDArray[np.float64]:
        """Geometric centres (n_pt,) [GeV]."""
        edges = self.pt_edges
        return np.sqrt(edges[1:] * edges[:-1])

    @property
    def eta_centers(self) -> NDArray[np.float64]:
        """Centres (n_eta,)."""
        edges = self.eta_edges
        return 0.5 * (edges[1:] + edges[:-1])

    @property
    def dnch_centers(self) -> NDArray[np.float64]:
        """Geometric centres (n_dnch,)."""
        edges = np.geomspace(self.dnch_min, self.dnch_max, self.n_dnch + 1)
        return np.sqrt(edges[1:] * edges[:-1])

    @property
    def n_r(self) -> int:
        """Bins of the production radius."""
        return len(self.r_edges or (0, 0)) - 1


class Header(Strict):
    """What a table says of itself."""

    format: Literal["fastsim-lut/2"]
    species: str
    pdg: int
    mass: float
    charge: int
    detector: str
    b_z: float
    grid: Grid
    mirrored: bool
    axes: list[str]
    interpolation: str
    quantities: list[str]
    efficiencies: list[str]
    key: str
    hashes: dict[str, str]
    sha256: str
    origin: dict[str, Any]
    fastsim_version: str
    physics_version: int
    command: str
    created: str


QUANTITIES = [
    *(f"ln sigma_{p} [{u or '1'}]" for p, u in zip(PARAMETERS, PARAMETER_UNITS, strict=True)),
    *(f"rho_{PARAMETERS[i]}_{PARAMETERS[j]}" for i in range(5) for j in range(i)),
]
AXES = [
    "dnch_deta: logarithmic (efficiencies only)",
    "r [cm]: edges",
    "eta: linear (eta > 0 only if mirrored)",
    "pt [GeV]: logarithmic",
]
INTERPOLATION = (
    "linear in eta, ln pt and ln dN_ch/deta between bin centres, the bin's own value in r; a corner without a solution "
    "leaves the covariance to the others"
)


@dataclass(frozen=True)
class Lut:
    """A table of one species.

    `covariance` (n_r, n_eta, n_pt, 15): ln sigma and rho, NaN where there is no track; float32, or float64 in imported
    tables. `efficiencies`: arrays (n_dnch, n_r, n_eta, n_pt) float32 by name. n_eta is half the grid's if mirrored.
    """

    header: Header
    covariance: NDArray[Any]
    efficiencies: dict[str, NDArray[np.float32]]

    def sigma(self, parameter: str, eta: float, r: float = 0.0) -> NDArray[np.float64]:
        """Resolution of a parameter in the bins of `eta` and `r`, (n_pt,) in its unit; NaN where there is no track."""
        values = self.covariance[self.r_bin(r), self.eta_bin(eta), :, PARAMETERS.index(parameter)].astype(np.float64)
        sigma: NDArray[np.float64] = np.exp(values)
        return sigma

    def efficiency(
        self, eta: float, r: float = 0.0, dnch_deta: float = 0.0, name: str = EFFICIENCIES[0]
    ) -> NDArray[np.float64]:
        """Efficiency in the bins of `eta` and `r` (n_pt,), in the bin of `dnch_deta` (the outer ones hold what lies beyond)."""
        nearest = self.dnch_bin(dnch_deta)
        values: NDArray[np.float64] = self.efficiencies[name][nearest, self.r_bin(r), self.eta_bin(eta)].astype(
            np.float64
        )
        return values

    @cached_property
    def is_valid(self) -> NDArray[np.bool_]:
        """Where there are tracks (n_r, n_eta, n_pt)."""
        valid: NDArray[np.bool_] = np.isfinite(self.covariance[..., 0])
        return valid

    def dnch_bin(self, dnch_deta: float) -> int:
        """Bin that holds the occupancy, the outer ones hold what lies beyond."""
        ratio = np.log(self.header.grid.dnch_centers / max(dnch_deta, 1e-300))
        return int(np.argmin(np.abs(ratio)))

    def eta_bin(self, eta: float) -> int:
        """Stored bin that holds `eta`; raises LutError beyond the table."""
        edges = self.header.grid.eta_edges
        if not abs(eta) <= edges[-1]:
            raise self._outside(f"eta = {eta:g} is beyond the table's |eta| < {edges[-1]:g}")
        if self.header.mirrored:
            edges, eta = edges[len(edges) // 2 :], abs(eta)
        return min(int(np.searchsorted(edges, eta, side="right")) - 1, len(edges) - 2)

    def r_bin(self, r: float) -> int:
        """Bin that holds the production radius `r` [cm]; raises LutError beyond the table."""
        edges = self.header.grid.r_edges or []
        if not 0 <= r < edges[-1]:
            raise self._outside(f"r = {r:g} cm is not in the table's 0 to {edges[-1]:g} cm")
        return int(np.searchsorted(edges, r, side="right")) - 1

    def _outside(self, what: str) -> LutError:
        return LutError(what, where=f"{self.header.detector}, {self.header.species}")


def n_eta_stored(grid: Grid, *, mirrored: bool) -> int:
    """Number of eta bins in the arrays."""
    return grid.n_eta // 2 if mirrored else grid.n_eta


def unfold(lut: Lut) -> tuple[NDArray[Any], dict[str, NDArray[np.float32]]]:
    """Covariance and efficiencies over the whole range of eta, whether stored or mirrored."""
    if not lut.header.mirrored:
        return lut.covariance, lut.efficiencies
    other = lut.covariance[:, ::-1].copy()
    other[..., 5:] *= PARITY.astype(other.dtype)  # z -> -z turns the same correlations around as the opposite charge
    efficiencies = {k: np.concatenate([v[:, :, ::-1], v], axis=2) for k, v in lut.efficiencies.items()}
    return np.concatenate([other, lut.covariance], axis=1), efficiencies


def hashes_of(covariance: NDArray[Any], efficiencies: dict[str, NDArray[np.float32]]) -> dict[str, str]:
    """Hash of each array of a table, by name."""
    arrays = {"covariance": covariance, **efficiencies}
    return {name: sha256(np.ascontiguousarray(values).data).hexdigest() for name, values in sorted(arrays.items())}


def hash_of(hashes: dict[str, str]) -> str:
    """Hash of all numbers of a table, from those of its arrays."""
    return sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def write_lut(lut: Lut, path: Path) -> None:
    """Write the table with the hashes of its numbers, whole or not at all (other processes may be making the same one)."""
    hashes = hashes_of(lut.covariance, lut.efficiencies)
    header = lut.header.model_copy(update={"hashes": hashes, "sha256": hash_of(hashes)})
    with whole_file(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("header.json", header.model_dump_json(indent=1))
        archive.writestr("covariance.npy", _pack(lut.covariance, is_covariance=True))
        for name, values in lut.efficiencies.items():
            archive.writestr(f"{name}.npy", _pack(values))


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears under its name when all is on disk, or not at all (others may be making the same one)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _pack(values: NDArray[Any], *, is_covariance: bool = False) -> bytes:
    """An array as .npy bytes of what compresses well: differences of neighbouring cells' bits, first bytes first."""
    quantity_first = np.moveaxis(values, -1, 0) if is_covariance else values
    bits = np.ascontiguousarray(quantity_first).view(f"u{values.dtype.itemsize}")
    differences = np.diff(bits, axis=-1, prepend=bits.dtype.type(0))
    planes = differences.view(np.uint8).reshape(-1, values.dtype.itemsize).T.reshape(values.dtype.itemsize, *bits.shape)
    buffer = io.BytesIO()
    np.save(buffer, planes, allow_pickle=False)
    return buffer.getvalue()


def _unpack(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """An array of the zip; the inverse of `_pack`. Raises ValueError if it is not one."""
    planes = np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
    if planes.dtype != np.uint8 or planes.ndim < 2 or len(planes) not in {4, 8}:
        raise ValueError(f"{name} is {planes.dtype}{planes.shape}, not packed bytes")
    size, *shape = planes.shape
    differences = np.ascontiguousarray(planes.reshape(size, -1).T).view(f"<u{size}").reshape(shape)
    values = np.cumsum(differences, axis=-1, dtype=differences.dtype).view(f"<f{size}")
    return np.ascontiguousarray(np.moveaxis(values, 0, -1)) if name == "covariance" else values


def read_lut(path: Path, efficiencies: Sequence[str] | None = None) -> Lut:
    """Read a table, with the named efficiencies or all.

    Raises LutError, naming the file, if it is missing, truncated, not a table, or inconsistent.
    """
    hint = "make it again, with `fastsim lut build` or `lut import`"
    try:
        with zipfile.ZipFile(path) as archive:
            header = Header.model_validate(json.loads(archive.read("header.json")))
            covariance = _unpack(archive, "covariance")
            wanted = header.efficiencies if efficiencies is None else list(efficiencies)
            found = {name: _unpack(archive, name) for name in wanted if name in header.efficiencies}
    except FileNotFoundError:
        raise LutError("no such table", where=str(path), hint=hint) from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise LutError(f"not a table that this version reads: {faults}", where=str(path), hint=hint) from None
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        KeyError,
        ValueError,
        EOFError,
        RuntimeError,
        MemoryError,
    ) as error:
        raise LutError(f"not a whole table ({error})", where=str(path), hint=hint) from None
    lut = Lut(header, covariance, found)
    missing = [name for name in wanted if name not in found]
    fault = f"has no efficiency {', '.join(missing)}" if missing else fault_of(lut)
    if not fault and not hashes_of(covariance, found).items() <= header.hashes.items():
        fault = "the numbers are not those that the header's hashes were taken of"
    if fault or hash_of(header.hashes) != header.sha256:
        raise LutError(fault or "the header's hashes do not fit its sha256", where=str(path), hint=hint)
    return lut


def fault_of(lut: Lut) -> str:  # noqa: PLR0911  (one for each kind of fault)
    """What is wrong with the numbers of a table, empty if nothing is."""
    header, grid = lut.header, lut.header.grid
    kind_of = next((kind for kind in SPECIES if kind.name == header.species), None)
    if kind_of is None or (kind_of.pdg, kind_of.charge) != (header.pdg, header.charge):
        return f"says species {header.species!r} with PDG code {header.pdg} and charge {header.charge}"
    if header.mirrored and grid.n_eta % 2:
        return f"cannot be mirrored with {grid.n_eta} bins in eta"
    shape = (grid.n_r, n_eta_stored(grid, mirrored=header.mirrored), grid.n_pt)
    kind = lut.covariance.dtype
    if lut.covariance.shape != (*shape, N_COVARIANCE) or kind not in (np.float32, np.float64):
        return f"covariance is {kind}{lut.covariance.shape}, the header says float32{(*shape, N_COVARIANCE)}"
    if not lut.is_valid.any():
        return "holds no track at all"
    if not (np.isfinite(lut.covariance).all(axis=-1) | np.isnan(lut.covariance).all(axis=-1)).all():
        return "holds cells that are not numbers"
    for name, values in lut.efficiencies.items():
        if values.shape != (grid.n_dnch, *shape) or values.dtype != np.float32:
            return f"{name} is {values.dtype}{values.shape}, the header says float32{(grid.n_dnch, *shape)}"
        if not ((values >= 0) & (values <= 1)).all():
            return f"{name} holds efficiencies outside [0, 1]"
    return ""
