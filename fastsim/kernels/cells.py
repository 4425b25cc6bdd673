"""The cells of a calorimeter: which one a point belongs to, where its centre is, and which are its neighbours.

A grid has two coordinates in units of cells: in a barrel the azimuth and z, in disks x and y, in towers the azimuth and the
pseudorapidity. Points beside the surface are seen from the origin: cells point there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from fastsim.jit import kernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BARREL: Final = 0
DISK: Final = 1
TOWERS: Final = 2
IS_DISK, POSITION, LOW, HIGH, BOTH_SIDES = range(5)  # columns of `Grids.place`
KIND, N_1, N_2, FIRST = range(4)  # columns of `Grids.number`


class Grids(NamedTuple):
    """Places and grids of calorimeters, one row a calorimeter. Few arrays, because each costs time in every call.

    `place` (n, 5) columns IS_DISK to BOTH_SIDES, as `detector.devices.place.PlaceNumbers` [cm]; `number` (n, 4): KIND, cells in
    the two coordinates, and the number of the first cell, so that cells of all calorimeters have different numbers; `step` (n, 2)
    size of cells in the two coordinates [rad, cm or 1].
    """

    place: NDArray[np.float64]
    number: NDArray[np.int64]
    step: NDArray[np.float64]


@kernel
def onto_surface_1(grids: Grids, k: int, x: float, y: float, z: float) -> tuple[float, float, float, bool]:
    """Where the line from the origin through a point crosses the surface of calorimeter `k` [cm], and whether it is there."""
    r = math.sqrt(x * x + y * y)
    if grids.place[k, IS_DISK] > 0.0:
        if z == 0.0 or (z < 0.0 and grids.place[k, BOTH_SIDES] == 0.0):
            return x, y, z, False
        scale = grids.place[k, POSITION] / abs(z)
        return x * scale, y * scale, z * scale, grids.place[k, LOW] <= r * scale <= grids.place[k, HIGH]
    if r == 0.0:
        return x, y, z, False
    scale = grids.place[k, POSITION] / r
    return x * scale, y * scale, z * scale, abs(z * scale) <= grids.place[k, HIGH]


@kernel
def on_grid_1(grids: Grids, k: int, x: float, y: float, z: float) -> tuple[float, float]:
    """Grid coordinates of a point on the surface of calorimeter `k`, from 0 on."""
    if grids.number[k, KIND] == DISK:
        return x / grids.step[k, 0] + 0.5 * grids.number[k, N_1], y / grids.step[k, 1] + 0.5 * grids.number[k, N_2]
    phi = math.atan2(y, x)
    along = z if grids.number[k, KIND] == BARREL else math.asinh(z / math.sqrt(x * x + y * y))
    return (phi + math.pi) / grids.step[k, 0], along / grids.step[k, 1] + 0.5 * grids.number[k, N_2]


@kernel
def cell_1(grids: Grids, k: int, x: float, y: float, z: float) -> int:
    """Number of the cell of calorimeter `k` at a point on its surface."""
    g_1, g_2 = on_grid_1(grids, k, x, y, z)
    i = min(max(int(g_1), 0), grids.number[k, N_1] - 1)  # the last in azimuth is closed, and so are the outermost
    j = min(max(int(g_2), 0), grids.number[k, N_2] - 1)
    side = grids.number[k, N_2] if grids.number[k, KIND] == DISK and z < 0.0 else 0
    return int(grids.number[k, FIRST] + (side + j) * grids.number[k, N_1] + i)


@kernel
def centre_1(grids: Grids, k: int, cell: int) -> tuple[float, float, float]:
    """Centre of a cell of calorimeter `k` [cm]."""
    own = cell - grids.number[k, FIRST]
    i = own % grids.number[k, N_1]
    j = own // grids.number[k, N_1]
    if grids.number[k, KIND] == DISK:
        z = grids.place[k, POSITION]
        if j >= grids.number[k, N_2]:
            j -= grids.number[k, N_2]
            z = -z
        return (
            (i + 0.5 - 0.5 * grids.number[k, N_1]) * grids.step[k, 0],
            (j + 0.5 - 0.5 * grids.number[k, N_2]) * grids.step[k, 1],
            z,
        )
    phi = (i + 0.5) * grids.step[k, 0] - math.pi
    along = (j + 0.5 - 0.5 * grids.number[k, N_2]) * grids.step[k, 1]
    if grids.place[k, IS_DISK] > 0.0:
        r = grids.place[k, POSITION] / abs(math.sinh(along)) if along != 0.0 else grids.place[k, HIGH]
        return r * math.cos(phi), r * math.sin(phi), math.copysign(grids.place[k, POSITION], along)
    z = along if grids.number[k, KIND] == BARREL else grids.place[k, POSITION] * math.sinh(along)
    return grids.place[k, POSITION] * math.cos(phi), grids.place[k, POSITION] * math.sin(phi), z


@kernel
def indices_1(kind: int, n_1: int, n_2: int, own: int) -> tuple[int, int, int]:
    """Indices of a cell, counted from the first of its calorimeter, in the two coordinates; and `n_2` on a disk's far side."""
    j = own // n_1
    i = own - j * n_1
    side = n_2 if kind == DISK and j >= n_2 else 0
    return i, j - side, side


@kernel
def at_indices_1(kind: int, n_1: int, n_2: int, i: int, j: int, side: int) -> int:
    """The inverse of `indices_1`; -1 beyond the edge. Azimuth closes (`i` up to one turn away); sides of disks are apart."""
    if kind != DISK:
        i += n_1 if i < 0 else (-n_1 if i >= n_1 else 0)
    if i < 0 or i >= n_1 or j < 0 or j >= n_2:
        return -1
    return (side + j) * n_1 + i


@kernel
def neighbour_1(grids: Grids, k: int, cell: int, d_1: int, d_2: int) -> int:
    """Number of the cell that is so many cells away; -1 beyond the edge."""
    kind, n_1, n_2, first = grids.number[k, KIND], grids.number[k, N_1], grids.number[k, N_2], grids.number[k, FIRST]
    i, j, side = indices_1(kind, n_1, n_2, cell - first)
    own = at_indices_1(kind, n_1, n_2, i + d_1, j + d_2, side)
    return first + own if own >= 0 else -1


@kernel
def slot_1(slots: NDArray[np.int64], keys: NDArray[np.int64], key: int) -> int:
    """Place of a key in an open table of positions in `keys`: that with the key, or the empty one (-1) where it belongs.

    The number of slots is a power of two, and more than there are keys. Hash: by multiplication (Knuth, TAOCP 3, 6.4).
    """
    mask = len(slots) - 1
    at = (((key ^ (key >> 13)) * 40503) >> 4) & mask
    while slots[at] >= 0 and keys[slots[at]] != key:
        at = (at + 1) & mask
    return at
