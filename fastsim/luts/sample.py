"""A table from tracks of a full simulation: from what was reconstructed and what was true, or from the fit's covariances.

Residuals make sigma by half the width of their central 68.27 %, which tails hardly move, and correlations by the tracks within
4 sigma in all parameters. Covariances are averaged as they are, so they should come from a fit whose pulls are 1. A cell
holds the mean over the tracks in it, so the grid must be as fine as the resolution changes, and coarse enough for the statistics.
`sample_file` has the columns that are needed.
"""

from __future__ import annotations

import json
import math
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.columns import PARAMETERS
from fastsim.errors import InputError, LutError
from fastsim.luts.build import make_lut
from fastsim.luts.file import EFFICIENCIES, FORMAT, N_COVARIANCE, Grid, Lut
from fastsim.luts.kernels import store_cell
from fastsim.luts.sample_file import HINT, PAIRS, Sample, read_sample
from fastsim.species import SPECIES, Species

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

SAMPLE_VERSION = 1  # part of the key: change it whenever a number in a table could change
MIN_TRACKS = 30  # fewer in a cell are no measurement of 15 numbers
R_MAX = 100.0  # cm: upper edge of the production radius if the sample does not tell
_LARGEST_DCA = 1.0  # cm
CLIP = 4.0  # robust sigmas: loses 3e-4 of Gaussian tracks, and less than 1e-3 of the width
CENTRAL = math.erf(math.sqrt(0.5))  # 68.27 %
# Relative error of half the central width is WIDTH_ERROR / sqrt(n), by the variance of two Gaussian quantiles (for the rms
# it would be 0.71): p (1 - p) / (n f^2) each and p^2 / (n f^2) together, p = 0.1587, f = 0.2420.
WIDTH_ERROR = 0.962


def species_in_sample(sample: Path | Sample) -> list[Species]:
    """The tracked species of which there is at least one reconstructed track."""
    sample = sample if isinstance(sample, Sample) else read_sample(sample)
    return [SPECIES[k] for k in np.unique(sample.species[sample.is_reconstructed])]


def build_from_sample(
    sample: Path | Sample, species: Species, grid: Grid, *, detector: str, b_z: float, command: str
) -> tuple[Lut, list[str]]:
    """The table of one species and notes on its statistics.

    `sample` may be read before, by `read_sample`, if it is wanted for several species. Particles and antiparticles make one
    table. Without `grid.r_edges` there is one bin of the production radius; without `dnch_deta` in the sample one of the
    occupancy. Raises InputError if the sample cannot be used, LutError if no cell has enough tracks.
    """
    sample = sample if isinstance(sample, Sample) else read_sample(sample)
    rows = np.flatnonzero(sample.species == SPECIES.index(species))
    if not len(rows):
        there = ", ".join(SPECIES[k].name for k in np.unique(sample.species))
        raise InputError(f"no rows of {species.name} (there are {there})", where=sample.file)
    grid = _axes(sample, grid)
    shape = (grid.n_r, grid.n_eta, grid.n_pt)
    cell, notes = _cells(sample, rows, grid)
    rows, cell = rows[cell >= 0], cell[cell >= 0]
    efficiency, n, more = _efficiency(sample, rows, cell, grid)
    notes += more
    if not (n >= MIN_TRACKS).any():
        raise LutError(
            f"no cell holds {MIN_TRACKS} reconstructed tracks of {species.name}; the fullest holds {n.max(initial=0)}",
            where=sample.file,
            hint="use fewer bins in pt and eta, or more tracks",
        )
    use = sample.is_reconstructed[rows] & (n[cell] >= MIN_TRACKS)
    rows, cell = rows[use], cell[use]
    covariance = np.full((n.size, N_COVARIANCE), np.nan, dtype=np.float32)
    if len(sample.values) == len(PARAMETERS):
        full, more = _from_residuals(sample, rows, cell, n, grid)
        notes += more
    else:
        full = _from_covariances(sample, rows, cell, n)
    _store(full, covariance, n, sample.file, grid)
    notes += _odd_units(covariance)
    lut = make_lut(
        species, grid, covariance.reshape(*shape, N_COVARIANCE), {EFFICIENCIES[0]: efficiency.reshape(-1, *shape)},
        detector=detector, b_z=b_z, mirrored=False, key=_key(sample, species, grid, b_z),
        origin={"kind": "sample", "file": sample.file.rsplit("/", 1)[-1], "sha256": sample.sha256, "tracks": len(rows)},
        command=command,
    )  # fmt: skip
    return lut, [*_statistics(n, is_residual=len(sample.values) == len(PARAMETERS)), *notes]


def _key(sample: Sample, species: Species, grid: Grid, b_z: float) -> str:
    """Hash of all that the table depends on."""
    parts: dict[str, Any] = {
        "sample": sample.sha256, "sample_version": SAMPLE_VERSION, "format": FORMAT, "b_z": b_z,
        "species": [species.pdg, species.mass, species.charge], "grid": grid.model_dump(),
    }  # fmt: skip
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _statistics(n: NDArray[np.int64], *, is_residual: bool) -> list[str]:
    """What the numbers of tracks in the cells mean for the table."""
    filled = n[n >= MIN_TRACKS]
    middle = float(np.median(filled))
    notes = [f"a filled cell holds {middle:.0f} reconstructed tracks in the median"]
    if is_residual:
        notes[0] += (
            f": sigma is known to {WIDTH_ERROR / math.sqrt(middle):.1%}, correlations to {1 / math.sqrt(middle):.2g}"
        )
    if filled.size < n.size:
        notes.append(
            f"{n.size - filled.size} of {n.size} cells have no solution: fewer than {MIN_TRACKS} reconstructed tracks"
        )
    return notes


def _odd_units(covariance: NDArray[np.float32]) -> list[str]:
    """A note if the tracks miss the beam line by more than any tracker's resolution; `covariance` (n_cells, 15)."""
    middle = float(np.exp(np.nanmedian(covariance[:, 0])))
    name = PARAMETERS[0]
    return [f"sigma of {name} is {middle:.3g} cm in the median cell: is {name} in cm?"] if middle > _LARGEST_DCA else []


# --- cells ----------------------------------------------------------------------------------------------------------


def _axes(sample: Sample, grid: Grid) -> Grid:
    """The grid with its bins of the production radius, and of the occupancy only if the sample tells it."""
    edges = grid.r_edges
    if edges is None:
        largest = 0.0 if sample.r is None else float(sample.r.max(initial=0.0))
        edges = [0.0, largest or R_MAX]
    elif len(edges) > 2 and sample.r is None:
        raise InputError("no column r, but the grid has bins of the production radius", where=sample.file, hint=HINT)
    n_dnch = 1 if sample.dnch_deta is None else grid.n_dnch
    return grid.model_copy(update={"r_edges": [float(edge) for edge in edges], "n_dnch": n_dnch})


def _bin(edges: Doubles, x: Doubles) -> NDArray[np.int64]:
    """Bins that hold x: half-open, the last one closed; -1 and n outside."""
    found = np.searchsorted(edges, x, side="right") - 1
    found[x == edges[-1]] = len(edges) - 2
    return found


def _cells(sample: Sample, rows: NDArray[np.int64], grid: Grid) -> tuple[NDArray[np.int64], list[str]]:
    """Cell (n_rows,) of each row, -1 outside the grid; notes on these."""
    axes: list[tuple[str, Doubles, Doubles]] = [
        ("eta", grid.eta_edges, sample.eta), ("pt", grid.pt_edges, sample.pt),
    ]  # fmt: skip
    if sample.r is not None:
        axes.insert(0, ("r", np.array(grid.r_edges), sample.r))
    cell = np.zeros(len(rows), dtype=np.int64)
    is_inside = np.ones(len(rows), dtype=np.bool_)
    ranges = []
    for name, edges, column in axes:
        x = column[rows]
        index = _bin(edges, x)
        is_inside &= (index >= 0) & (index < len(edges) - 1)
        cell = cell * (len(edges) - 1) + index
        ranges.append(f"{name} from {x.min():g} to {x.max():g}")
    cell[~is_inside] = -1
    if not is_inside.any():
        raise LutError(
            f"no row lies in the grid: the sample has {', '.join(ranges)}",
            where=sample.file,
            hint="change the grid's axes; pt is in GeV",
        )
    n_outside = int(np.count_nonzero(~is_inside))
    return cell, [f"{n_outside} of {len(rows)} rows lie outside the grid and were left out"] if n_outside else []


def _efficiency(
    sample: Sample, rows: NDArray[np.int64], cell: NDArray[np.int64], grid: Grid
) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
    """Efficiency (n_dnch, n_cells), 0 where there is no solution; reconstructed tracks (n_cells,); notes.

    The outer bins in dN_ch/deta hold what lies beyond, as the lookup uses them. A bin with too few rows for an efficiency takes
    that of the nearest one of the same cell, at last that of all.
    """
    n_cells, n_dnch = grid.n_r * grid.n_eta * grid.n_pt, grid.n_dnch
    index, notes = cell, []
    if sample.dnch_deta is not None:
        edges = np.geomspace(grid.dnch_min, grid.dnch_max, n_dnch + 1)
        found = _bin(edges, sample.dnch_deta[rows])
        if n_beyond := int(np.count_nonzero((found < 0) | (found >= n_dnch))):
            notes.append(f"{n_beyond} rows beyond the axis of dN_ch/deta were counted in its outer bins")
        index = cell + n_cells * np.clip(found, 0, n_dnch - 1)
    total, right = (
        np.bincount(part, minlength=n_cells * n_dnch).reshape(n_dnch, n_cells)
        for part in (index, index[sample.is_reconstructed[rows]])
    )
    n = right.sum(axis=0)
    is_valid = n >= MIN_TRACKS
    few = total < MIN_TRACKS
    efficiency = np.where(few, np.nan, right / np.maximum(total, 1))
    measured = efficiency.copy()
    for d in range(n_dnch):
        for other in sorted(range(n_dnch), key=lambda k, d=d: abs(k - d)):  # type: ignore[misc]
            efficiency[d] = np.where(np.isnan(efficiency[d]), measured[other], efficiency[d])
    efficiency = np.where(np.isnan(efficiency), n / np.maximum(total.sum(axis=0), 1), efficiency)
    efficiency[:, ~is_valid] = 0.0
    if n_few := int(np.count_nonzero(few[:, is_valid])):
        notes.append(
            f"{n_few} bins in dN_ch/deta of filled cells have fewer than {MIN_TRACKS} rows and took the nearest one's"
        )
    return efficiency.astype(np.float32), n, notes


# --- covariances ----------------------------------------------------------------------------------------------------


def _from_residuals(
    sample: Sample, rows: NDArray[np.int64], cell: NDArray[np.int64], n: NDArray[np.int64], grid: Grid
) -> tuple[Doubles, list[str]]:
    """Covariances (n_cells, 5, 5) of the residuals, and a note if their middle is not 0."""
    order = np.argsort(cell, kind="stable")
    rows, cell = rows[order], cell[order]
    per_cell = np.bincount(cell, minlength=n.size)
    sigma, bias = np.ones((2, n.size, 5))
    scaled = np.empty((5, len(rows)))
    for k, name in enumerate(PARAMETERS):
        x = sample.values[k][rows]
        low, middle, high = _quantiles(x, cell, per_cell)
        sigma[:, k] = 0.5 * (high - low)
        if (exact := (per_cell > 0) & ~(sigma[:, k] > 0)).any():
            raise InputError(
                f"{name} equals {name}_true {_place(grid, int(np.argmax(exact)))}: there is no resolution",
                where=sample.file,
                hint=f"{name} must be what was reconstructed, {name}_true what was generated",
            )
        bias[:, k] = middle / sigma[:, k]
        scaled[k] = (x - middle[cell]) / sigma[cell, k]
    is_central = (np.abs(scaled) <= CLIP).all(axis=0)
    rho = _correlations(scaled[:, is_central], cell[is_central], n.size)
    typical = np.median(np.abs(bias[per_cell > 0]), axis=0)
    notes = [
        f"{name} is off by {off:.2g} sigma in the median cell: the table holds resolutions, no offsets"
        for name, off in zip(PARAMETERS, typical, strict=True)
        if off > max(0.1, 3.0 / math.sqrt(float(np.median(per_cell[per_cell > 0]))))
    ]
    return rho * sigma[:, :, np.newaxis] * sigma[:, np.newaxis, :], notes


def _quantiles(x: Doubles, cell: NDArray[np.int64], n: NDArray[np.int64]) -> tuple[Doubles, Doubles, Doubles]:
    """Lower, middle and upper quantile (n_cells,) of x (n_rows,) in each cell; rows are sorted by cell; NaN in empty cells.

    Blom's positions, unbiased for Gaussian order statistics: with the usual ones sigma would come out 3 % small at 30 tracks.
    """
    x = x[np.lexsort((x, cell))]
    start = np.cumsum(n) - n
    found = []
    for p in (0.5 - 0.5 * CENTRAL, 0.5, 0.5 + 0.5 * CENTRAL):
        position = np.clip(p * (n + 0.25) - 0.625, 0.0, np.maximum(n - 1, 0))
        low = position.astype(np.int64)
        below = x[np.minimum(start + low, len(x) - 1)]
        above = x[np.minimum(start + np.minimum(low + 1, np.maximum(n - 1, 0)), len(x) - 1)]
        found.append(np.where(n > 0, below + (position - low) * (above - below), np.nan))
    return found[0], found[1], found[2]


def _correlations(x: Doubles, cell: NDArray[np.int64], n_cells: int) -> Doubles:
    """Correlation matrices (n_cells, 5, 5) of x (5, n_rows) in each cell, about its means."""
    n = np.maximum(np.bincount(cell, minlength=n_cells), 1)
    mean = np.array([np.bincount(cell, row, n_cells) / n for row in x])
    rho = np.empty((n_cells, 5, 5))
    for i, j in PAIRS:
        rho[:, i, j] = rho[:, j, i] = np.bincount(cell, x[i] * x[j], n_cells) / n - mean[i] * mean[j]
    spread = np.sqrt(np.maximum(np.einsum("cii->ci", rho), np.finfo(float).tiny))
    rho /= spread[:, :, np.newaxis] * spread[:, np.newaxis, :]
    return rho


def _from_covariances(
    sample: Sample, rows: NDArray[np.int64], cell: NDArray[np.int64], n: NDArray[np.int64]
) -> Doubles:
    """Mean covariances (n_cells, 5, 5)."""
    full = np.empty((n.size, 5, 5))
    for (i, j), column in zip(PAIRS, sample.values, strict=True):
        full[:, i, j] = full[:, j, i] = np.bincount(cell, column[rows], n.size) / np.maximum(n, 1)
    return full


def _store(full: Doubles, covariance: NDArray[np.float32], n: NDArray[np.int64], where: str, grid: Grid) -> None:
    """Write ln sigma and rho of filled cells (n_cells, 15), drawn in so little that they stay positive definite in float32."""
    work = np.empty((4, 5, 5))
    for k in np.flatnonzero(n >= MIN_TRACKS):
        if not store_cell(full[k], covariance[k], work):
            raise InputError(
                f"the covariance {_place(grid, int(k))} is not positive definite",
                where=where,
                hint="two parameters are fully correlated there, or columns are confused",
            )


def _place(grid: Grid, cell: int) -> str:
    """A cell's centre in words."""
    h, i, j = np.unravel_index(cell, (grid.n_r, grid.n_eta, grid.n_pt))
    r = f", r = {(grid.r_edges or [0.0])[h]:g} cm" if grid.n_r > 1 else ""
    return f"at pt = {grid.pt_centers[j]:.3g} GeV, eta = {grid.eta_centers[i]:.3g}{r}"
