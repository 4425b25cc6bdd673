"""One cell of a lookup table, by interpolation or as the nearest bin: efficiency, five log sigmas and ten correlations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.covariance import PARITY

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_QUANTITIES = 16  # efficiency, 5 log sigma, 10 rho
_LN10 = math.log(10.0)


class LutTable(NamedTuple):
    """The tables of a run's species on one grid, as a kernel sees them.

    `row` (n_species,): row of each species, -1 if it has no table. `covariance` (n_rows, n_r, n_eta, n_pt, 15) float32: ln sigma
    of the five parameters and the ten correlations (lower triangle without diagonal, row by row) for charge +1, at bin
    centres, NaN where there is no track. `efficiency` (n_rows, n_r, n_eta, n_pt, n_dnch) float32. The axes are uniform in eta,
    ln pt and ln dN_ch/deta; `r_edges` (n_r + 1,) [cm]. `mirrored`: bins of eta > 0 only. `nearest`: no interpolation.
    """

    row: NDArray[np.int8]
    covariance: NDArray[np.float32]
    efficiency: NDArray[np.float32]
    r_edges: NDArray[np.float64]
    eta_min: float
    eta_width: float
    log_pt_min: float
    log_pt_width: float
    log_dnch_min: float
    log_dnch_width: float
    mirrored: bool
    nearest: bool


@kernel
def fraction_1(x: float, low: float, width: float, n: int) -> tuple[int, float]:
    """Lower bin centre and the fraction of the way to the next, constant in the outer half bins."""
    position = (x - low) / width - 0.5
    position = min(max(position, 0.0), n - 1.0)
    index = min(int(position), max(n - 2, 0))
    return index, position - index


@kernel
def nearest_1(x: float, low: float, width: float, n: int, unit: float) -> int:
    """The bin that holds x, the outer ones hold what lies beyond; in float32 and in `unit`, cut towards zero, as DelphesO2."""
    lowest = np.float32(low / unit)
    step = (np.float32((low + n * width) / unit) - lowest) / np.float32(n)
    position = float((np.float32(x / unit) - lowest) / step)
    return int(min(max(position, 0.0), n - 1.0))


@kernel
def radius_bin_1(edges: NDArray[np.float64], r: float) -> int:
    """The bin of a production radius; -1 beyond the last edge."""
    for h in range(len(edges) - 1):
        if r < edges[h + 1]:
            return h
    return -1


@kernel
def between_1(x: float, low: float, width: float, n: int, nearest: bool, unit: float) -> tuple[int, float]:
    """Lower bin and the share of the next one: by interpolation, or all of the nearest."""
    if nearest:
        return nearest_1(x, low, width, n, unit), 0.0
    return fraction_1(x, low, width, n)


@kernel
def lookup_1(
    table: LutTable, species: int, r: float, eta: float, log_pt: float, log_dnch: float, cell: NDArray[np.float64]
) -> bool:
    """Fill `cell` (16,): efficiency, ln sigma, rho for charge +1; False where there is no track.

    Bilinear in eta and ln pt between bin centres, linear in ln dN_ch/deta, in the bin of the production radius r [cm]; or the
    nearest bin. Averages of correlation matrices are correlation matrices, so the result stays positive definite. A corner
    without a solution counts as efficiency 0 and leaves the covariance to the other corners.
    """
    cell[:] = 0.0
    row = table.row[species]
    h = radius_bin_1(table.r_edges, r)
    if row < 0 or h < 0:
        return False
    covariance = table.covariance[row, h]
    efficiency = table.efficiency[row, h]
    n_eta, n_pt, n_dnch = efficiency.shape
    flip = table.mirrored and eta < 0.0
    eta = abs(eta) if table.mirrored else eta
    i_eta, f_eta = between_1(eta, table.eta_min, table.eta_width, n_eta, table.nearest, 1.0)
    i_pt, f_pt = between_1(log_pt, table.log_pt_min, table.log_pt_width, n_pt, table.nearest, _LN10)
    d, f_d = between_1(log_dnch, table.log_dnch_min, table.log_dnch_width, n_dnch, table.nearest, _LN10)
    if table.mirrored and not table.nearest and eta < 0.5 * table.eta_width:
        i_eta = -1  # between the first bin and its mirror image
        f_eta = 0.5 + eta / table.eta_width
    total = 0.0
    for corner in range(4):
        j_eta = i_eta + corner // 2
        j_pt = i_pt + corner % 2
        weight = (f_eta if corner >= 2 else 1.0 - f_eta) * (f_pt if corner % 2 == 1 else 1.0 - f_pt)
        i = max(j_eta, 0)  # the mirror image of bin 0 is bin -1
        if weight <= 0.0 or math.isnan(covariance[i, j_pt, 0]):
            continue
        total += weight
        found = np.float64(efficiency[i, j_pt, d])  # float64 with the JIT off too
        if f_d > 0.0:
            found += f_d * (np.float64(efficiency[i, j_pt, d + 1]) - found)
        cell[0] += weight * found
        for k in range(15):
            cell[1 + k] += weight * np.float64(covariance[i, j_pt, k])
        if j_eta < 0:
            for k in range(10):
                cell[6 + k] += weight * (PARITY[k] - 1.0) * np.float64(covariance[i, j_pt, 5 + k])
    if total <= 0.0:
        cell[:] = 0.0
        return False
    scale = 1.0 / total
    for k in range(1, 16):
        cell[k] *= scale
    if flip:
        for k in range(10):
            cell[6 + k] *= PARITY[k]
    return True
