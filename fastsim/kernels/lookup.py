"""One cell of a lookup table in, by interpolation: efficiency, five log sigmas and ten correlations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_QUANTITIES = 16  # efficiency, 5 log sigma, 10 rho


class LutTable(NamedTuple):
    """The tables of all species on one grid, as a kernel sees them.

    values (n_species, n_eta, n_pt, 16) float32: efficiency, ln sigma of the five parameters (their units), and the ten
    correlations (lower triangle without diagonal, row by row) for charge +1, at bin centres. Cells without a
    solution have efficiency 0 and NaN elsewhere. The axes are uniform in eta and in ln pt.
    """

    values: NDArray[np.float32]
    eta_min: float
    eta_width: float
    log_pt_min: float
    log_pt_width: float


@kernel
def fraction_1(x: float, low: float, width: float, n: int) -> tuple[int, float]:
    """Lower bin centre and the fraction of the way to the next, constant in the outer half bins."""
    position = (x - low) / width - 0.5
    position = min(max(position, 0.0), n - 1.0)
    index = min(int(position), max(n - 2, 0))
    return index, position - index


@kernel
def lookup_1(table: LutTable, species: int, eta: float, log_pt: float, cell: NDArray[np.float64]) -> bool:
    """Fill `cell` (16,) by bilinear interpolation between bin centres; False (efficiency 0) where there is no solution.

    Averages of correlation matrices are correlation matrices, so the result stays positive definite. A corner without
    a solution counts as efficiency 0 and leaves the covariance to the other corners.
    """
    n_eta = table.values.shape[1]
    n_pt = table.values.shape[2]
    i_eta, f_eta = fraction_1(eta, table.eta_min, table.eta_width, n_eta)
    i_pt, f_pt = fraction_1(log_pt, table.log_pt_min, table.log_pt_width, n_pt)
    for k in range(16):
        cell[k] = 0.0
    total = 0.0
    for corner in range(4):
        j_eta = corner // 2
        j_pt = corner % 2
        weight = (f_eta if j_eta == 1 else 1.0 - f_eta) * (f_pt if j_pt == 1 else 1.0 - f_pt)
        if weight <= 0.0:
            continue
        row = table.values[species, i_eta + j_eta, i_pt + j_pt]
        if row[0] > 0.0:
            total += weight
            for k in range(16):
                cell[k] += weight * np.float64(row[k])  # float64 with the JIT off too
    if total <= 0.0:
        return False
    for k in range(1, 16):
        cell[k] /= total
    return math.isfinite(cell[1])
