"""The table file: a zip of `header.json` and `values.npy`, self-describing, with the hash of what made it.

Values are at bin centres: efficiency, ln sigma of the five parameters, and the ten correlations, for charge +1. Kept as
(ln sigma, rho), because averages of correlation matrices are correlation matrices: interpolation stays positive
definite. Bin edges are half-open, [low, high), the last bin closed. What to do outside the axes is the card's decision.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field, ValidationError

from fastsim.columns import PARAMETER_UNITS, PARAMETERS
from fastsim.errors import LutError
from fastsim.kernels.lookup import N_QUANTITIES
from fastsim.toml import Strict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SUFFIX = ".lut"
FORMAT: Final = "fastsim-lut/1"


class Grid(Strict):
    """Axes of a table: pt in equal steps of ln pt, eta in equal steps."""

    n_pt: Annotated[int, Field(ge=2, le=10000, description="bins in pt")] = 200
    n_eta: Annotated[int, Field(ge=2, le=10000, description="bins in eta")] = 80
    pt_min: Annotated[float, Field(gt=0, description="lower edge in pt [GeV]")] = 0.01
    pt_max: Annotated[float, Field(gt=0, description="upper edge in pt [GeV]")] = 100.0
    eta_max: Annotated[float, Field(gt=0, le=10, description="the table covers -eta_max to eta_max")] = 4.0

    @classmethod
    def faults(cls, data: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Edges must increase."""
        low, high = data.get("pt_min", 0.01), data.get("pt_max", 100.0)
        if isinstance(low, (int, float)) and isinstance(high, (int, float)) and not low < high:
            yield ("pt_max",), f"must be above pt_min = {low} (got {high})"

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


class Header(Strict):
    """What a table says of itself."""

    format: Literal["fastsim-lut/1"]
    species: str
    pdg: int
    mass: float
    charge: int
    detector: str
    b_z: float
    grid: Grid
    axes: list[str]
    interpolation: str
    quantities: list[str]
    key: str
    fastsim_version: str
    physics_version: int
    command: str
    created: str


QUANTITIES = [
    "efficiency",
    *(f"ln sigma_{p} [{u or '1'}]" for p, u in zip(PARAMETERS, PARAMETER_UNITS, strict=True)),
    *(f"rho_{PARAMETERS[i]}_{PARAMETERS[j]}" for i in range(5) for j in range(i)),
]
AXES = ["eta: linear", "pt [GeV]: logarithmic"]
INTERPOLATION = (
    "bilinear in eta and ln pt between bin centres; a corner without a solution leaves the covariance to the others"
)


@dataclass(frozen=True)
class Lut:
    """A table of one species: header and values (n_eta, n_pt, 16) float32."""

    header: Header
    values: NDArray[np.float32]

    @property
    def sha256(self) -> str:
        """Hash of the numbers."""
        return sha256(np.ascontiguousarray(self.values).tobytes()).hexdigest()

    def sigma(self, parameter: str, eta: float) -> NDArray[np.float64]:
        """Resolution of a parameter in the bin of `eta`, (n_pt,) in its unit; NaN where there is no track."""
        values = self.values[self.eta_bin(eta), :, 1 + PARAMETERS.index(parameter)]
        return np.exp(values.astype(np.float64))

    def efficiency(self, eta: float) -> NDArray[np.float64]:
        """Efficiency in the bin of `eta` (n_pt,)."""
        return self.values[self.eta_bin(eta), :, 0].astype(np.float64)

    def eta_bin(self, eta: float) -> int:
        """Bin that holds `eta`; raises LutError beyond the table."""
        edges = self.header.grid.eta_edges
        if not abs(eta) <= edges[-1]:
            raise LutError(
                f"eta = {eta:g} is beyond the table's |eta| < {edges[-1]:g}",
                where=f"{self.header.detector}, {self.header.species}",
            )
        return min(int(np.searchsorted(edges, eta, side="right")) - 1, len(edges) - 2)


def write_lut(lut: Lut, path: Path) -> None:
    """Write the table, whole or not at all (other processes may be making the same one)."""
    buffer = io.BytesIO()
    np.save(buffer, lut.values, allow_pickle=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                archive.writestr("header.json", lut.header.model_dump_json(indent=1))
                archive.writestr("values.npy", buffer.getvalue())
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_lut(path: Path) -> Lut:
    """Read a table; raises LutError, naming the file, if it is missing, truncated, not a table, or inconsistent."""
    hint = "rebuild it with `fastsim lut build`"
    try:
        with zipfile.ZipFile(path) as archive:
            header = Header.model_validate(json.loads(archive.read("header.json")))
            values = np.load(io.BytesIO(archive.read("values.npy")), allow_pickle=False)
    except FileNotFoundError:
        raise LutError("no such table", where=str(path), hint=hint) from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise LutError(f"not a table that this version reads: {faults}", where=str(path), hint=hint) from None
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, RuntimeError) as error:
        raise LutError(f"not a whole table ({error})", where=str(path), hint=hint) from None
    expected = (header.grid.n_eta, header.grid.n_pt, N_QUANTITIES)
    if values.shape != expected or values.dtype != np.float32:
        raise LutError(
            f"values are {values.dtype}{values.shape}, the header says float32{expected}", where=str(path), hint=hint
        )
    valid = values[..., 0] > 0
    if not np.isfinite(values[valid]).all() or not ((values[..., 0] >= 0) & (values[..., 0] <= 1)).all():
        raise LutError("holds efficiencies outside [0, 1] or cells that are not numbers", where=str(path), hint=hint)
    return Lut(header, values)
