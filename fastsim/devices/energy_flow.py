"""Tracks and clusters: which belong together, and what energy the tracks do not explain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.devices.clusters import table_size_1
from fastsim.devices.deposits import arrive_1
from fastsim.jit import kernel
from fastsim.kernels.cells import (
    BOTH_SIDES,
    DISK,
    FIRST,
    HIGH,
    IS_DISK,
    KIND,
    LOW,
    N_1,
    N_2,
    POSITION,
    Grids,
    at_indices_1,
    cell_1,
    on_grid_1,
    slot_1,
)
from fastsim.kernels.helix import curvature_1
from fastsim.kernels.reach import may_meet_1

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Helices(NamedTuple):
    """Reconstructed tracks (n,): parameters at closest approach, as `columns.RECONSTRUCTED`; pt [GeV]; charge [e]; `is_used`."""

    dca_xy: NDArray[np.float64]
    dca_z: NDArray[np.float64]
    phi: NDArray[np.float64]
    tan_lambda: NDArray[np.float64]
    pt: NDArray[np.float64]
    charge: NDArray[np.int8]
    is_used: NDArray[np.bool_]


class Linked(NamedTuple):
    """Which tracks and clusters belong together.

    `cluster_of` (n_tracks, 2): row of the ECAL's and of the HCAL's cluster, or -1; of the clusters (n,) `track_of`, the row of
    the nearest track that is linked to it, or -1, and its `distance` [cm].
    """

    cluster_of: NDArray[np.int64]
    track_of: NDArray[np.int64]
    distance: NDArray[np.float64]


@kernel
def match(
    track_offsets: NDArray[np.int64], cluster_offsets: NDArray[np.int64], grids: Grids, is_hcal: NDArray[np.bool_], b_z: float,
    reach: float, helices: Helices, calorimeter: NDArray[np.int64], place: NDArray[np.float64], linked: Linked,
) -> None:  # fmt: skip
    """Link each track to the nearest cluster of the ECAL and of the HCAL that it meets, within `reach` cells.

    `calorimeter` (n,) and `place` (n, 3) [cm] are the clusters'; fills `linked`.
    """
    places, number = grids.place, grids.number
    dca_xy, dca_z, phi, tan_lambda, pts, charges, is_used = helices
    cluster_of, track_of, distance = linked
    is_there = np.zeros(2, dtype=np.bool_)
    for k in range(len(is_hcal)):
        is_there[int(is_hcal[k])] = True
    keys, on_grid = np.empty(len(place), dtype=np.int64), np.empty((len(place), 2))
    following = np.full(len(place), -1, dtype=np.int64)  # another cluster in the same cell
    for event in range(len(track_offsets) - 1):
        begin, end = cluster_offsets[event], cluster_offsets[event + 1]
        if begin == end:
            continue
        slots = np.full(table_size_1(end - begin), -1, dtype=np.int64)
        for i in range(begin, end):
            k, x, y, z = calorimeter[i], place[i, 0], place[i, 1], place[i, 2]
            on_grid[i, 0], on_grid[i, 1] = on_grid_1(grids, k, x, y, z)
            keys[i] = cell_1(grids, k, x, y, z)
            at = slot_1(slots, keys, keys[i])
            following[i] = slots[at]
            slots[at] = i
        for track in range(track_offsets[event], track_offsets[event + 1]):
            if not is_used[track]:
                continue
            pt, pz, charge = pts[track], pts[track] * tan_lambda[track], float(charges[track])
            bend = curvature_1(charge, b_z)
            is_near = False
            for k in range(len(is_hcal)):
                is_near = is_near or may_meet_1(
                    places[k, IS_DISK] > 0.0, places[k, POSITION], places[k, LOW], places[k, HIGH],
                    places[k, BOTH_SIDES] > 0.0, dca_xy[track], 0.0, dca_z[track], pt, 0.0, pz, bend,
                )  # fmt: skip
            if not is_near:
                continue
            cos_phi, sin_phi = math.cos(phi[track]), math.sin(phi[track])
            for section in range(2):
                if not is_there[section]:
                    continue
                arrival = arrive_1(
                    places, is_hcal, section, b_z, -dca_xy[track] * sin_phi, dca_xy[track] * cos_phi, dca_z[track], 0.0,
                    pt * cos_phi, pt * sin_phi, pz, pt, charge, math.inf,
                )  # fmt: skip
                k = arrival.calorimeter
                if k < 0:
                    continue
                kind, n_1, n_2, first = number[k, KIND], number[k, N_1], number[k, N_2], number[k, FIRST]
                g_1, g_2 = on_grid_1(grids, k, arrival.x, arrival.y, arrival.z)
                side = n_2 if kind == DISK and arrival.z < 0.0 else 0
                nearest = reach
                for i_1 in range(math.floor(g_1 - reach), math.floor(g_1 + reach) + 1):
                    for i_2 in range(math.floor(g_2 - reach), math.floor(g_2 + reach) + 1):
                        cell = at_indices_1(kind, n_1, n_2, i_1, i_2, side)
                        i = slots[slot_1(slots, keys, first + cell)] if cell >= 0 else -1
                        while i >= 0:
                            across, along = abs(on_grid[i, 0] - g_1), on_grid[i, 1] - g_2
                            if kind != DISK:
                                across = min(across, n_1 - across)
                            apart = math.sqrt(across * across + along * along)
                            if apart < nearest:
                                nearest = apart
                                cluster_of[track, section] = i
                            i = following[i]
                i = cluster_of[track, section]
                if i >= 0:
                    dx, dy, dz = place[i, 0] - arrival.x, place[i, 1] - arrival.y, place[i, 2] - arrival.z
                    d = math.sqrt(dx * dx + dy * dy + dz * dz)
                    if track_of[i] < 0 or d < distance[i]:
                        track_of[i] = track
                        distance[i] = d


def group_clusters(cluster_of: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Groups (n,) of clusters that tracks link, directly or by others."""
    both = (cluster_of >= 0).all(axis=1)
    if not both.any():
        return np.arange(n)
    from scipy.sparse import coo_array  # noqa: PLC0415  (0.2 s that --help does not need)
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    links = coo_array((np.ones(both.sum(), np.int8), tuple(cluster_of[both].T)), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


@kernel
def fill_neutral(
    cluster_of: NDArray[np.int64], group: NDArray[np.int64], track_energy: NDArray[np.float64],
    track_variance: NDArray[np.float64], energy: NDArray[np.float64], sigma: NDArray[np.float64],
    is_hcal: NDArray[np.bool_], significance: float, neutral: NDArray[np.float64],
) -> None:  # fmt: skip
    """Energy [GeV] of each cluster that no track explains, 0 where it is not significant.

    Clusters of a group (see `group_clusters`) are looked at together. What their sum exceeds the tracks' energies by is
    neutral if it is more than `significance` standard deviations of the difference, as in Delphes' SimpleCalorimeter; it is taken
    to be photons as far as the ECAL's clusters go, and neutral hadrons beyond, as in CMS (arXiv:1706.04965, section 4.4). A
    cluster without a track is neutral. Tracks (n_tracks,) have `track_energy` [GeV] and `track_variance` [GeV^2].
    """
    ecal, hcal, explained, variance = np.zeros((4, len(energy)))
    has_track = np.zeros(len(energy), dtype=np.bool_)
    for i in range(len(energy)):
        if is_hcal[i]:
            hcal[group[i]] += energy[i]
        else:
            ecal[group[i]] += energy[i]
        variance[group[i]] += sigma[i] * sigma[i]
    for track in range(len(cluster_of)):
        i = max(cluster_of[track, 0], cluster_of[track, 1])
        if i >= 0:
            explained[group[i]] += track_energy[track]
            variance[group[i]] += track_variance[track]
            has_track[group[i]] = True
    for i in range(len(energy)):
        g = group[i]
        neutral[i] = energy[i]
        if has_track[g]:
            excess = ecal[g] + hcal[g] - explained[g]
            if excess <= significance * math.sqrt(variance[g]):
                excess = 0.0
            photons = min(excess, ecal[g])
            neutral[i] *= (excess - photons) / hcal[g] if is_hcal[i] else photons / ecal[g]
