"""From deposits to cells as they are read out, and from cells to clusters around local maxima.

The same for both levels: the parametric one fills a cell for each particle, the detailed one many.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.devices.deposits import Deposits, project_1
from fastsim.jit import kernel
from fastsim.kernels.cells import FIRST, IS_DISK, KIND, N_1, N_2, POSITION, Grids, at_indices_1, indices_1, slot_1
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
    """A power of two, at least four times as much as `n`: most slots that are looked at are empty."""
    size = 16
    while size < 4 * n:
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
    calorimeter, number, em, had, _, place, time, _, _ = cells
    _, own_calorimeter, own_number, own_em, own_had, own_place, own_time = deposits
    for event in range(len(offsets) - 1):
        cell_offsets[event] = n
        slots = np.full(table_size_1(offsets[event + 1] - offsets[event]), -1, dtype=np.int64)
        for i in range(offsets[event], offsets[event + 1]):
            at = slot_1(slots, number, own_number[i])
            if slots[at] < 0:
                slots[at] = n
                number[n] = own_number[i]
                calorimeter[n] = own_calorimeter[i]
                n += 1
            row = slots[at]
            energy = own_em[i] + own_had[i]
            cell_of[i] = row
            em[row] += own_em[i]
            had[row] += own_had[i]
            time[row] += energy * own_time[i]
            for axis in range(3):
                place[row, axis] += energy * own_place[i, axis]
        for row in range(cell_offsets[event], n):
            energy = em[row] + had[row]
            time[row] /= energy
            for axis in range(3):
                place[row, axis] /= energy
    cell_offsets[-1] = n
    return n


@kernel
def variances_1(
    resolution: NDArray[np.float64], k: int, kind: int, energy: float, x: float, y: float, z: float
) -> tuple[float, float]:
    """Variance [GeV^2] of an energy [GeV] at a place by noise, and by what grows with energy; `kind`: 1 if it is hadronic."""
    growth = 1.0
    if resolution[k, kind, 3] > 0.0:
        eta = math.asinh(z / math.sqrt(x * x + y * y))
        growth += resolution[k, kind, 3] * eta * eta
    noise = growth * resolution[k, kind, 0]
    stochastic, constant = resolution[k, kind, 1], resolution[k, kind, 2] * energy
    return noise * noise, growth * growth * (stochastic * stochastic * energy + constant * constant)


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
    number, resolution, thresholds = grids.number, readout.resolution, readout.thresholds
    calorimeter, numbers, em, had, energy, place, _, _, _ = cells
    for event in range(len(offsets) - 1):
        for row in range(offsets[event], offsets[event + 1]):
            k = calorimeter[row]
            em_noise2, em2 = variances_1(resolution, k, 0, em[row], place[row, 0], place[row, 1], place[row, 2])
            had_noise2, had2 = variances_1(resolution, k, 1, had[row], place[row, 0], place[row, 1], place[row, 2])
            noise2 = had_noise2 if em[row] == 0.0 else em_noise2
            first, second = normals_1(k, numbers[row] - number[k, FIRST], event_id[event], key.k0, key.k1)
            measured = smear_1(em[row] + had[row], noise2, em2 + had2, first, second)
            energy[row] = measured if measured >= thresholds[k, 0] else 0.0


class Links(NamedTuple):
    """Cells (n,) and the eight around each: `around` (n, 8) their rows, -1 behind the last; `highest` (n,) that of most energy.

    That may be the cell itself: then it is a maximum, and `own` (n,) is its cluster, -1 for none.
    """

    around: NDArray[np.int64]
    highest: NDArray[np.int64]
    own: NDArray[np.int64]


def make_links(n: int) -> Links:
    """Room for `n` cells."""
    return Links(np.empty((n, 8), dtype=np.int64), np.full(n, -1, dtype=np.int64), np.full(n, -1, dtype=np.int64))


@kernel
def find_clusters(
    offsets: NDArray[np.int64], grids: Grids, readout: Readout, cells: Cells, links: Links, clusters: Clusters,
    cluster_offsets: NDArray[np.int64],
) -> int:  # fmt: skip
    """Make clusters around cells that are higher than their eight neighbours; returns how many there are. Fills `links`."""
    number, thresholds = grids.number, readout.thresholds
    calorimeter, numbers, _, _, energy, _, _, _, _ = cells
    around, highest, own = links
    cluster_calorimeter, seed, _, _, _, _, _ = clusters
    n = 0
    for event in range(len(offsets) - 1):
        begin, end = offsets[event], offsets[event + 1]
        cluster_offsets[event] = n
        slots = np.full(table_size_1(end - begin), -1, dtype=np.int64)
        for row in range(begin, end):
            if energy[row] > 0.0:
                slots[slot_1(slots, numbers, numbers[row])] = row
        for row in range(begin, end):
            if energy[row] <= 0.0:
                continue
            k = calorimeter[row]
            kind, n_1, n_2, first = number[k, KIND], number[k, N_1], number[k, N_2], number[k, FIRST]
            i, j, side = indices_1(kind, n_1, n_2, numbers[row] - first)
            best = row
            m = 0
            for d in range(9):
                cell = at_indices_1(kind, n_1, n_2, i + d // 3 - 1, j + d % 3 - 1, side)
                other = slots[slot_1(slots, numbers, first + cell)] if cell >= 0 else -1
                if other < 0 or other == row:
                    continue
                around[row, m] = other
                m += 1
                if energy[other] > energy[best] or (energy[other] == energy[best] and numbers[other] < numbers[best]):
                    best = other
            if m < 8:
                around[row, m] = -1
            highest[row] = best
            if best == row and energy[row] >= thresholds[k, 1]:
                own[row] = n
                seed[n] = row
                cluster_calorimeter[n] = k
                n += 1
    cluster_offsets[-1] = n
    return n


@kernel
def share_cells(readout: Readout, links: Links, cells: Cells) -> None:
    """Fill owners and shares of all cells.

    A cell beside several maxima is shared among them by E_max exp(-2.5 d / R_M), as BaBar's (Nucl. Instrum. Meth. A479 (2002) 1);
    one further away goes with its highest neighbour, and is lost if that leads to no maximum above the seed threshold.
    """
    share_length = readout.share_length
    calorimeter, _, _, _, energy, place, _, owner, share = cells
    around, highest, own = links
    far = 0
    for row in range(len(energy)):
        if own[row] >= 0:
            owner[row, 0] = own[row]
            share[row, 0] = 1.0
            continue
        if highest[row] < 0 or highest[row] == row:
            continue
        total = 0.0
        m = 0
        for other in around[row]:
            if other < 0 or m == MOST_SHARED:
                break
            if own[other] < 0:
                continue
            dx, dy, dz = (
                place[row, 0] - place[other, 0], place[row, 1] - place[other, 1], place[row, 2] - place[other, 2],
            )  # fmt: skip
            distance = math.sqrt(dx * dx + dy * dy + dz * dz)
            owner[row, m] = own[other]
            share[row, m] = energy[other] * math.exp(-distance / share_length[calorimeter[row]])
            total += share[row, m]
            m += 1
        for j in range(m):
            share[row, j] /= total
        far += m == 0
    while far > 0:  # each round, those next to where the last has been
        left = 0
        for row in range(len(energy)):
            up = highest[row]
            if up < 0 or up == row or owner[row, 0] >= 0:
                continue
            if owner[up, 0] < 0:
                left += 1
                continue
            best = 0
            for j in range(1, MOST_SHARED):
                best = j if share[up, j] > share[up, best] else best
            owner[row, 0] = owner[up, best]
            share[row, 0] = 1.0
        if left == far:
            break
        far = left


@kernel
def measure_clusters(
    offsets: NDArray[np.int64], cell_offsets: NDArray[np.int64], event_id: NDArray[np.uint64], grids: Grids, readout: Readout,
    key: Key, cells: Cells, clusters: Clusters,
) -> None:  # fmt: skip
    """Fill energies, their uncertainties, places and times of clusters; the draw belongs to the event and the cell of the seed.

    Place: weighted by energy, or by max(0, w0 + ln(E_cell / E)) (T. C. Awes et al., Nucl. Instrum. Meth. A311 (1992) 130).
    """
    is_hcal, resolution, _, time, _, log_weight = readout
    _, cell_numbers, _, _, cell_energy, cell_place, cell_time, owner, share = cells
    calorimeter, seed, n_cells, energies, sigma, place, times = clusters
    places, first = grids.place, grids.number[:, FIRST]
    weights = np.zeros(len(energies))
    for row in range(cell_offsets[-1]):
        for j in range(MOST_SHARED):
            i = owner[row, j]
            if i < 0:
                break
            energy = share[row, j] * cell_energy[row]
            energies[i] += energy
            times[i] += energy * cell_time[row]
            n_cells[i] += share[row, j] >= 0.5
    for row in range(cell_offsets[-1]):
        for j in range(MOST_SHARED):
            i = owner[row, j]
            if i < 0:
                break
            weight = share[row, j] * cell_energy[row]
            if log_weight > 0.0:
                weight = max(0.0, log_weight + math.log(weight / energies[i]))
            weights[i] += weight
            for axis in range(3):
                place[i, axis] += weight * cell_place[row, axis]
    for event in range(len(offsets) - 1):
        for i in range(offsets[event], offsets[event + 1]):
            k = calorimeter[i]
            energy = energies[i]
            x, y, z = project_1(
                places[k, IS_DISK] > 0.0, places[k, POSITION], place[i, 0] / weights[i], place[i, 1] / weights[i],
                place[i, 2] / weights[i],
            )  # fmt: skip
            place[i, 0], place[i, 1], place[i, 2] = x, y, z
            noise2, sigma2 = variances_1(resolution, k, 1 if is_hcal[k] else 0, energy, x, y, z)
            sigma[i] = math.sqrt(noise2 + sigma2)
            if time[k, 0] < 0.0:
                times[i] = math.nan
                continue
            normal, _ = normals_1(k, cell_numbers[seed[i]] - first[k], event_id[event], key.k0, key.k1)
            resolution2 = time[k, 0] * time[k, 0] + time[k, 1] * time[k, 1] / energy
            times[i] = times[i] / energy + math.sqrt(resolution2) * normal


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
