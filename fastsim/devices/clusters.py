"""From deposits to cells as they are read out, and from cells to clusters around local maxima.

The same for both levels: the parametric one fills a cell for each particle, the detailed one many.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.devices.deposits import Deposits, project_1
from fastsim.jit import kernel
from fastsim.kernels.cells import FIRST, Grids, neighbour_1, slot_1
from fastsim.rng import Key, normals_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_SHARED = 4  # local maxima that can stand around one cell


class Readout(NamedTuple):
    """How cells and clusters are measured, one row a calorimeter.

    `resolution` (., 2, 4): noise [GeV], stochastic, constant and eta_squared of electromagnetic and hadronic energy; `thresholds`
    (., 3): of cells, seeds and clusters [GeV]; `time` (., 2): constant and stochastic resolution [ns], negative where no time is
    measured; `share_length` (.,): how the weight of a cell between maxima falls with the distance from one [cm]; `log_weight`: w0
    of the position, 0 for a mean weighted by energy.
    """

    is_hcal: NDArray[np.bool_]
    resolution: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    time: NDArray[np.float64]
    share_length: NDArray[np.float64]
    log_weight: float


class Cells(NamedTuple):
    """Cells with energy, event by event: deposited (electromagnetic, hadronic), measured [GeV]; place (n, 3) [cm]; time [ns].

    `owner` (n, 4) rows of clusters that share the measured energy by `share` (n, 4); -1 for none.
    """

    calorimeter: NDArray[np.int64]
    cell: NDArray[np.int64]
    em: NDArray[np.float64]
    had: NDArray[np.float64]
    energy: NDArray[np.float64]
    place: NDArray[np.float64]
    time: NDArray[np.float64]
    owner: NDArray[np.int64]
    share: NDArray[np.float64]


class Clusters(NamedTuple):
    """Clusters, event by event: `place` (n, 3) on the surface [cm], GeV, ns; `seed` the row of the cell at the maximum."""

    calorimeter: NDArray[np.int64]
    seed: NDArray[np.int64]
    n_cells: NDArray[np.int32]
    energy: NDArray[np.float64]
    sigma: NDArray[np.float64]
    place: NDArray[np.float64]
    time: NDArray[np.float64]


def make_cells(n: int) -> Cells:
    """Room for `n`."""
    whole, real = np.zeros((2, n), dtype=np.int64), np.zeros((4, n))
    owner, share = np.full((n, MOST_SHARED), -1, dtype=np.int64), np.zeros((n, MOST_SHARED))
    return Cells(whole[0], whole[1], real[0], real[1], real[2], np.zeros((n, 3)), real[3], owner, share)


def make_clusters(n: int) -> Clusters:
    """Room for `n`."""
    whole, real = np.zeros((2, n), dtype=np.int64), np.zeros((3, n))
    return Clusters(whole[0], whole[1], np.zeros(n, np.int32), real[0], real[1], np.zeros((n, 3)), real[2])


@kernel
def table_size_1(n: int) -> int:
    """A power of two, at least twice as much as `n`."""
    size = 16
    while size < 2 * n:
        size *= 2
    return size


@kernel
def gather(
    offsets: NDArray[np.int64],
    deposits: Deposits,
    cell_of: NDArray[np.int64],
    cells: Cells,
    cell_offsets: NDArray[np.int64],
) -> int:
    """Add up the deposits of each cell; returns how many cells there are.

    `offsets` (n_events + 1,) of the deposits; fills `cell_of` (n_deposits,), the row of each one's cell, and of the cells the
    energies, and places and times weighted by them.
    """
    n = 0
    for event in range(len(offsets) - 1):
        cell_offsets[event] = n
        slots = np.full(table_size_1(offsets[event + 1] - offsets[event]), -1, dtype=np.int64)
        for i in range(offsets[event], offsets[event + 1]):
            at = slot_1(slots, cells.cell, deposits.cell[i])
            if slots[at] < 0:
                slots[at] = n
                cells.cell[n] = deposits.cell[i]
                cells.calorimeter[n] = deposits.calorimeter[i]
                n += 1
            row = slots[at]
            energy = deposits.em[i] + deposits.had[i]
            cell_of[i] = row
            cells.em[row] += deposits.em[i]
            cells.had[row] += deposits.had[i]
            cells.time[row] += energy * deposits.time[i]
            for axis in range(3):
                cells.place[row, axis] += energy * deposits.place[i, axis]
        for row in range(cell_offsets[event], n):
            energy = cells.em[row] + cells.had[row]
            cells.time[row] /= energy
            for axis in range(3):
                cells.place[row, axis] /= energy
    cell_offsets[-1] = n
    return n


@kernel
def variances_1(resolution: NDArray[np.float64], energy: float, eta: float) -> tuple[float, float]:
    """Variance [GeV^2] of an energy [GeV] by noise, and by what grows with energy."""
    growth = 1.0 + resolution[3] * eta * eta
    noise = growth * resolution[0]
    constant = resolution[2] * energy
    return noise * noise, growth * growth * (resolution[1] * resolution[1] * energy + constant * constant)


@kernel
def smear_1(energy: float, noise2: float, sigma2: float, normal_1: float, normal_2: float) -> float:
    """Draw a measured energy: log-normal of mean `energy` and variance `sigma2`, as Delphes, and Gaussian noise on top.

    Few sampled particles make a skew distribution, which never is negative; noise has no skew. Mean and variance are exact.
    """
    if sigma2 > 0.0:
        b2 = math.log(1.0 + sigma2 / (energy * energy))
        energy *= math.exp(math.sqrt(b2) * normal_1 - 0.5 * b2)
    return energy + math.sqrt(noise2) * normal_2


@kernel
def measure_cells(
    offsets: NDArray[np.int64], event_id: NDArray[np.uint64], grids: Grids, readout: Readout, key: Key, cells: Cells
) -> None:
    """Fill the measured energies, 0 below the threshold; the draw belongs to the event and the cell."""
    for event in range(len(offsets) - 1):
        for row in range(offsets[event], offsets[event + 1]):
            k = cells.calorimeter[row]
            eta = math.asinh(cells.place[row, 2] / math.hypot(cells.place[row, 0], cells.place[row, 1]))
            em_noise2, em2 = variances_1(readout.resolution[k, 0], cells.em[row], eta)
            had_noise2, had2 = variances_1(readout.resolution[k, 1], cells.had[row], eta)
            noise2 = had_noise2 if cells.em[row] == 0.0 else em_noise2
            first, second = normals_1(k, cells.cell[row] - grids.number[k, FIRST], event_id[event], key.k0, key.k1)
            measured = smear_1(cells.em[row] + cells.had[row], noise2, em2 + had2, first, second)
            cells.energy[row] = measured if measured >= readout.thresholds[k, 0] else 0.0


@kernel
def find_clusters(
    offsets: NDArray[np.int64], order: NDArray[np.int64], grids: Grids, readout: Readout, cells: Cells, clusters: Clusters,
    cluster_offsets: NDArray[np.int64],
) -> int:  # fmt: skip
    """Make clusters around cells that are higher than their eight neighbours; returns how many there are.

    `order` (n_cells,): rows of cells, the highest of an event first. A cell beside several maxima is shared among them by
    E_max exp(-2.5 d / R_M), as BaBar's (Nucl. Instrum. Meth. A479 (2002) 1); one further away goes with its highest neighbour,
    and is lost if that leads to no maximum above the seed threshold.
    """
    n = 0
    for event in range(len(offsets) - 1):
        begin, end = offsets[event], offsets[event + 1]
        cluster_offsets[event] = n
        slots = np.full(table_size_1(end - begin), -1, dtype=np.int64)
        around = np.full((end - begin, 8), -1, dtype=np.int64)
        highest = np.full(end - begin, -1, dtype=np.int64)
        own = np.full(end - begin, -1, dtype=np.int64)  # the cluster that a cell is the maximum of
        for row in range(begin, end):
            if cells.energy[row] > 0.0:
                slots[slot_1(slots, cells.cell, cells.cell[row])] = row
        for row in range(begin, end):
            if cells.energy[row] <= 0.0:
                continue
            k = cells.calorimeter[row]
            best = row
            m = 0
            for d_1 in range(-1, 2):
                for d_2 in range(-1, 2):
                    cell = neighbour_1(grids, k, cells.cell[row], d_1, d_2)
                    other = slots[slot_1(slots, cells.cell, cell)] if cell >= 0 else -1
                    if other < 0 or other == row:
                        continue
                    around[row - begin, m] = other
                    m += 1
                    if cells.energy[other] > cells.energy[best] or (
                        cells.energy[other] == cells.energy[best] and cells.cell[other] < cells.cell[best]
                    ):
                        best = other
            highest[row - begin] = best
            if best == row and cells.energy[row] >= readout.thresholds[k, 1]:
                own[row - begin] = n
                clusters.seed[n] = row
                clusters.calorimeter[n] = k
                n += 1
        for place in range(begin, end):
            row = order[place]
            if cells.energy[row] <= 0.0:
                break
            if own[row - begin] >= 0:
                cells.owner[row, 0] = own[row - begin]
                cells.share[row, 0] = 1.0
            else:
                share_cell(readout, begin, row, around[row - begin], highest[row - begin], own, cells)
    cluster_offsets[-1] = n
    return n


@kernel
def share_cell(
    readout: Readout,
    begin: int,
    row: int,
    around: NDArray[np.int64],
    highest: int,
    own: NDArray[np.int64],
    cells: Cells,
) -> None:
    """Fill owners and shares of a cell that is no maximum; its higher neighbours have theirs."""
    total = 0.0
    m = 0
    for other in around:
        if other < 0 or own[other - begin] < 0:
            continue
        d2 = 0.0
        for axis in range(3):
            d2 += (cells.place[row, axis] - cells.place[other, axis]) ** 2
        weight = cells.energy[other] * math.exp(-math.sqrt(d2) / readout.share_length[cells.calorimeter[row]])
        if m < MOST_SHARED:
            cells.owner[row, m] = own[other - begin]
            cells.share[row, m] = weight
            total += weight
            m += 1
    if m == 0 and highest != row and cells.owner[highest, 0] >= 0:
        best = 0
        for j in range(1, MOST_SHARED):
            if cells.share[highest, j] > cells.share[highest, best]:
                best = j
        cells.owner[row, 0] = cells.owner[highest, best]
        cells.share[row, 0] = 1.0
    for j in range(m):
        cells.share[row, j] /= total


@kernel
def measure_clusters(
    offsets: NDArray[np.int64], cell_offsets: NDArray[np.int64], event_id: NDArray[np.uint64], grids: Grids, readout: Readout,
    key: Key, cells: Cells, clusters: Clusters,
) -> None:  # fmt: skip
    """Fill energies, their uncertainties, places and times of clusters; the draw belongs to the event and the cell of the seed.

    Place: weighted by energy, or by max(0, w0 + ln(E_cell / E)) (T. C. Awes et al., Nucl. Instrum. Meth. A311 (1992) 130).
    """
    for event in range(len(offsets) - 1):
        for row in range(cell_offsets[event], cell_offsets[event + 1]):
            for j in range(MOST_SHARED):
                i = cells.owner[row, j]
                if i < 0:
                    break
                energy = cells.share[row, j] * cells.energy[row]
                clusters.energy[i] += energy
                clusters.time[i] += energy * cells.time[row]
                clusters.n_cells[i] += cells.share[row, j] >= 0.5
        weights = np.zeros(offsets[event + 1] - offsets[event])
        for row in range(cell_offsets[event], cell_offsets[event + 1]):
            for j in range(MOST_SHARED):
                i = cells.owner[row, j]
                if i < 0:
                    break
                weight = cells.share[row, j] * cells.energy[row]
                if readout.log_weight > 0.0:
                    weight = max(0.0, readout.log_weight + math.log(weight / clusters.energy[i]))
                weights[i - offsets[event]] += weight
                for axis in range(3):
                    clusters.place[i, axis] += weight * cells.place[row, axis]
        for i in range(offsets[event], offsets[event + 1]):
            k = clusters.calorimeter[i]
            place = clusters.place[i]
            for axis in range(3):
                place[axis] /= weights[i - offsets[event]]
            place[0], place[1], place[2] = project_1(grids, k, place[0], place[1], place[2])
            energy = clusters.energy[i]
            eta = math.asinh(place[2] / math.hypot(place[0], place[1]))
            noise2, sigma2 = variances_1(readout.resolution[k, 1 if readout.is_hcal[k] else 0], energy, eta)
            clusters.sigma[i] = math.sqrt(noise2 + sigma2)
            if readout.time[k, 0] < 0.0:
                clusters.time[i] = math.nan
                continue
            cell = cells.cell[clusters.seed[i]] - grids.number[k, FIRST]
            normal, _ = normals_1(k, cell, event_id[event], key.k0, key.k1)
            sigma = math.sqrt(readout.time[k, 0] ** 2 + readout.time[k, 1] ** 2 / energy)
            clusters.time[i] = clusters.time[i] / energy + sigma * normal


@kernel
def leading_particles(
    deposits: Deposits,
    cell_of: NDArray[np.int64],
    cells: Cells,
    particle: NDArray[np.int64],
    em_fraction: NDArray[np.float64],
) -> None:
    """Fill the particle (a row of `Visible`) that left most in each cluster, and the share of electromagnetic energy."""
    best = np.zeros(len(particle))
    last = np.full(len(particle), -1, dtype=np.int64)
    of_last, total, em = np.zeros(len(particle)), np.zeros(len(particle)), np.zeros(len(particle))
    for d in range(len(deposits.em)):
        row = cell_of[d]
        for j in range(MOST_SHARED):
            i = cells.owner[row, j]
            if i < 0:
                break
            energy = cells.share[row, j] * (deposits.em[d] + deposits.had[d])
            total[i] += energy
            em[i] += cells.share[row, j] * deposits.em[d]
            if last[i] != deposits.particle[d]:
                last[i] = deposits.particle[d]
                of_last[i] = 0.0
            of_last[i] += energy
            if of_last[i] > best[i]:
                best[i] = of_last[i]
                particle[i] = last[i]
    for i in range(len(particle)):
        em_fraction[i] = em[i] / total[i]
