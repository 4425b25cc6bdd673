"""How much two tables differ: each resolution, correlation and efficiency, and where most."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from fastsim.columns import PARAMETERS
from fastsim.errors import LutError
from fastsim.jit import kernel
from fastsim.kernels.lookup import LutTable, lookup_1
from fastsim.luts.file import N_COVARIANCE, unfold
from fastsim.luts.store import LutSet
from fastsim.species import NAMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.luts.file import Efficiency, Grid, Lut

    Doubles = NDArray[np.float64]

_NAMES = [
    *(f"sigma_{name}" for name in PARAMETERS),
    *(f"rho_{PARAMETERS[i]}_{PARAMETERS[j]}" for i in range(5) for j in range(i)),
]


class Difference(NamedTuple):
    """How much larger one quantity is in the second table than in the first, relative to the first for resolutions.

    `largest` in absolute value, with its sign, and the bin centre where it is; `median` of the signed differences.
    """

    name: str
    is_relative: bool
    largest: float
    median: float
    pt: float
    eta: float
    r: float
    dnch_deta: float | None


class Comparison(NamedTuple):
    """Differences of all quantities; cells valid in both, in the first or second only; whether interpolated."""

    differences: list[Difference]
    n_both: int
    n_first_only: int
    n_second_only: int
    is_interpolated: bool

    @property
    def largest(self) -> float:
        """The largest of all in absolute value."""
        return max((abs(found.largest) for found in self.differences), default=0.0)


class _Points(NamedTuple):
    """Where to compare: production radius [cm] (lower edges, which select the bins), eta, pt [GeV] and dN_ch/deta."""

    r: Doubles
    eta: Doubles
    pt: Doubles
    dnch_deta: Doubles


def compare_luts(first: Lut, second: Lut, r: float | None = None) -> Comparison:
    """Compare two tables of one species, cell by cell, or on different axes at the coarser one's centres in the common range.

    At the production radius `r` [cm], each table in its bin that holds it, or in all bins. A cell that is valid in one table
    only has efficiency 0 in the other, and is left out of the covariance.
    """
    if first.header.species != second.header.species:
        raise LutError(f"a table of {first.header.species} cannot be compared with one of {second.header.species}")
    names = [name for name in first.efficiencies if name in second.efficiencies]
    is_same = first.header.grid == second.header.grid
    points = _points(first.header.grid, second.header.grid)
    if r is not None:  # the tables say so if they do not reach that far
        bins = [lut.r_bin(r) for lut in (first, second)]
        points = points._replace(r=points.r[bins[0]][np.newaxis] if is_same else np.array([r]))
    cov_a, eff_a = _own(first, r) if is_same else _sample(first, points, names)
    cov_b, eff_b = _own(second, r) if is_same else _sample(second, points, names)
    valid_a, valid_b = np.isfinite(cov_a[..., 0]), np.isfinite(cov_b[..., 0])
    both = valid_a & valid_b
    found = []
    for k, name in enumerate(_NAMES if both.any() else []):
        a, b = (covariance[..., k].astype(np.float64) for covariance in (cov_a, cov_b))
        with np.errstate(invalid="ignore"):
            difference = np.expm1(b - a) if k < 5 else b - a
        found.append(_difference(name, difference, both, points, is_relative=k < 5))
    either = valid_a | valid_b
    for name in names:
        difference = eff_b[name].astype(np.float64) - eff_a[name]
        found.append(
            _difference(name, difference, np.broadcast_to(either, difference.shape), points, is_relative=False)
        )
    only = int((valid_a & ~valid_b).sum()), int((valid_b & ~valid_a).sum())
    return Comparison(found, int(both.sum()), *only, not is_same)


def _difference(
    name: str, difference: Doubles, where: NDArray[np.bool_], points: _Points, *, is_relative: bool
) -> Difference:
    """The largest in absolute value and the median over the cells in question.

    `difference` is (n_r, n_eta, n_pt), with n_dnch in front for efficiencies.
    """
    values = np.where(where, np.abs(difference), -1.0)
    place = np.unravel_index(int(np.argmax(values)), values.shape)
    *d, h, i, j = place
    middle = float(np.median(difference[where])) if where.any() else 0.0
    occupancy = float(points.dnch_deta[d[0]]) if d and len(points.dnch_deta) > 1 else None
    largest = float(difference[place]) if where.any() else 0.0
    return Difference(
        name, is_relative, largest, middle, float(points.pt[j]), float(points.eta[i]), float(points.r[h]), occupancy
    )


def _own(lut: Lut, r: float | None) -> tuple[NDArray[Any], dict[str, NDArray[np.float32]]]:
    """The numbers of a table in the bin of `r`, or in all."""
    covariance, efficiencies = unfold(lut)
    if r is None:
        return covariance, efficiencies
    h = lut.r_bin(r)
    return covariance[h : h + 1], {name: values[:, h : h + 1] for name, values in efficiencies.items()}


def _points(a: Grid, b: Grid) -> _Points:
    """Bin centres of the coarser grid, axis by axis, as far as both reach."""

    def coarser(low: float, high: float, of_a: Doubles, of_b: Doubles) -> Doubles:
        count = [((centers >= low) & (centers <= high)).sum() for centers in (of_a, of_b)]
        centers = of_a if count[0] <= count[1] else of_b
        return centers[(centers >= low) & (centers <= high)]

    edges = [np.array(grid.r_edges) for grid in (a, b)]
    eta_max = min(a.eta_max, b.eta_max)
    points = _Points(
        coarser(0.0, min(e[-1] for e in edges), *(e[:-1] for e in edges)),
        coarser(-eta_max, eta_max, a.eta_centers, b.eta_centers),
        coarser(max(a.pt_min, b.pt_min), min(a.pt_max, b.pt_max), a.pt_centers, b.pt_centers),
        a.dnch_centers if a.n_dnch <= b.n_dnch else b.dnch_centers,
    )
    if not all(len(axis) for axis in points):
        raise LutError("the tables have no bins in common")
    return points


def _sample(lut: Lut, points: _Points, names: list[str]) -> tuple[NDArray[Any], dict[str, NDArray[np.float32]]]:
    """Covariance (n_r, n_eta, n_pt, 15) and efficiencies (n_dnch, n_r, n_eta, n_pt) by name, interpolated at the points."""
    shape = (len(points.r), len(points.eta), len(points.pt))
    covariance = np.empty((*shape, N_COVARIANCE))
    efficiencies = {}
    for name in names:
        efficiency = np.empty((len(points.dnch_deta), *shape), dtype=np.float32)
        table = LutSet((lut,), ("",)).table(efficiency=cast("Efficiency", name))
        _look_up(
            table, NAMES.index(lut.header.species), points.r, points.eta, np.log(points.pt), np.log(points.dnch_deta),
            covariance, efficiency,
        )  # fmt: skip
        efficiencies[name] = efficiency
    return covariance, efficiencies


@kernel
def _look_up(
    table: LutTable, species: int, r: Doubles, eta: Doubles, log_pt: Doubles, log_dnch: Doubles, covariance: Doubles,
    efficiency: NDArray[np.float32],
) -> None:  # fmt: skip
    """Fill `covariance` (n_r, n_eta, n_pt, 15), NaN without a track, and `efficiency` (n_dnch, n_r, n_eta, n_pt)."""
    cell = np.empty(16)
    for h in range(len(r)):
        for i in range(len(eta)):
            for j in range(len(log_pt)):
                for d in range(len(log_dnch)):
                    found = lookup_1(table, species, r[h], eta[i], log_pt[j], log_dnch[d], cell)
                    efficiency[d, h, i, j] = cell[0]
                    for k in range(15):
                        covariance[h, i, j, k] = cell[1 + k] if found else math.nan
