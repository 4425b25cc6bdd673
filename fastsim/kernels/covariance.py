"""Symmetric 5x5 matrices: Cholesky factor, inverse, and the packing (lower triangle, row by row, 15 numbers)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastsim.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

# PARITY[k] is -1 where the packed off-diagonal element k (without the diagonal) joins a transverse parameter (dca_xy,
# phi, q_over_pt) to a longitudinal one (dca_z, tan_lambda). Mirroring y -> -y turns a charge into its opposite and
# changes the sign of the transverse ones only, so these correlations change sign with the charge.
PARITY = np.array([-1.0, 1.0, -1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0])

SINGULAR = 1e-14


@kernel
def cholesky_5(matrix: NDArray[np.float64], lower: NDArray[np.float64]) -> bool:
    """Fill `lower` (5, 5) with L such that L L^T = matrix (5, 5); False if the matrix is not positive definite."""
    for i in range(5):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                lower[i, i] = math.sqrt(total)
            else:
                lower[i, j] = total / lower[j, j]
    return True


@kernel
def invert_5(matrix: NDArray[np.float64], inverse: NDArray[np.float64], work: NDArray[np.float64]) -> bool:
    """Fill `inverse` (5, 5) of a positive definite matrix (5, 5); False if it is not. `work` (2, 5, 5) is overwritten.

    The matrix is scaled to unit diagonal first: its elements carry different units and span many decades. One that is
    positive definite by rounding only (a pivot below 1e-14) counts as singular.
    """
    scaled = work[0]
    lower = work[1]
    for i in range(5):
        if not matrix[i, i] > 0.0:
            return False
    for i in range(5):
        for j in range(i + 1):
            scaled[i, j] = matrix[i, j] / math.sqrt(matrix[i, i] * matrix[j, j])
    if not cholesky_5(scaled, lower):
        return False
    for i in range(5):
        if lower[i, i] * lower[i, i] < SINGULAR:
            return False
    for i in range(5):  # invert L in place of `scaled`'s upper part: column by column forward substitution
        for j in range(i, 5):
            total = 1.0 if i == j else 0.0
            for k in range(i, j):
                total -= lower[j, k] * scaled[i, k]
            scaled[i, j] = total / lower[j, j]
    for i in range(5):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, 5):
                total += scaled[i, k] * scaled[j, k]
            total /= math.sqrt(matrix[i, i] * matrix[j, j])
            inverse[i, j] = total
            inverse[j, i] = total
    return True
