"""Tracks and clusters: which belong together, and what energy the tracks do not explain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.devices.deposits import arrive_1
from fastsim.jit import kernel
from fastsim.kernels.cells import DISK, KIND, N_1, Grids, cell_1, neighbour_1, on_grid_1, slot_1

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Helices(NamedTuple):
    """Reconstructed tracks: parameters at closest approach (n, 5) as `columns.RECONSTRUCTED`; pt [GeV]; charge [e]; `is_used`."""

    parameters: NDArray[np.float64]
    pt: NDArray[np.float64]
    charge: NDArray[np.int8]
    is_used: NDArray[np.bool_]


@kernel
def match(
    track_offsets: NDArray[np.int64], cluster_offsets: NDArray[np.int64], grids: Grids, is_hcal: NDArray[np.bool_], b_z: float,
    reach: float, helices: Helices, calorimeter: NDArray[np.int64], place: NDArray[np.float64], cluster_of: NDArray[np.int64],
    track_of: NDArray[np.int64], distance: NDArray[np.float64],
) -> None:  # fmt: skip
    """Link each track to the nearest cluster of the ECAL and of the HCAL that it meets, within `reach` cells.

    `calorimeter` (n,) and `place` (n, 3) [cm] are the clusters'. Fills `cluster_of` (n_tracks, 2), the row of a cluster or
    -1, and of the clusters `track_of` (n,), the row of the nearest track that is linked to it, or -1, and its `distance` [cm].
    """
    window = math.ceil(reach)
    for event in range(len(track_offsets) - 1):
        begin, end = cluster_offsets[event], cluster_offsets[event + 1]
        size = 16
        while size < 2 * (end - begin):
            size *= 2
        slots = np.full(size, -1, dtype=np.int64)
        keys = np.empty(end - begin, dtype=np.int64)
        following = np.full(end - begin, -1, dtype=np.int64)  # another cluster in the same cell
        for i in range(end - begin):
            keys[i] = cell_1(
                grids, calorimeter[begin + i], place[begin + i, 0], place[begin + i, 1], place[begin + i, 2]
            )
            at = slot_1(slots, keys, keys[i])
            following[i] = slots[at]
            slots[at] = i
        for track in range(track_offsets[event], track_offsets[event + 1]):
            if not helices.is_used[track]:
                continue
            own_parameters = helices.parameters[track]
            dca_xy, dca_z, phi, tan_lambda = own_parameters[0], own_parameters[1], own_parameters[2], own_parameters[3]
            cos_phi, sin_phi = math.cos(phi), math.sin(phi)
            pt = helices.pt[track]
            for section in range(2):
                arrival = arrive_1(
                    grids.place, is_hcal, section, b_z, -dca_xy * sin_phi, dca_xy * cos_phi, dca_z, 0.0,
                    pt * cos_phi, pt * sin_phi, pt * tan_lambda, pt, float(helices.charge[track]), math.inf,
                )  # fmt: skip
                k = arrival.calorimeter
                if k < 0:
                    continue
                g_1, g_2 = on_grid_1(grids, k, arrival.x, arrival.y, arrival.z)
                own = cell_1(grids, k, arrival.x, arrival.y, arrival.z)
                nearest = reach
                for d_1 in range(-window, window + 1):
                    for d_2 in range(-window, window + 1):
                        cell = neighbour_1(grids, k, own, d_1, d_2)
                        i = slots[slot_1(slots, keys, cell)] if cell >= 0 else -1
                        while i >= 0:
                            c_1, c_2 = on_grid_1(
                                grids, k, place[begin + i, 0], place[begin + i, 1], place[begin + i, 2]
                            )
                            across = abs(c_1 - g_1)
                            if grids.number[k, KIND] != DISK:
                                across = min(across, grids.number[k, N_1] - across)
                            apart = math.hypot(across, c_2 - g_2)
                            if apart < nearest:
                                nearest = apart
                                cluster_of[track, section] = begin + i
                            i = following[i]
                found = cluster_of[track, section]
                if found >= 0:
                    d2 = (place[found, 0] - arrival.x) ** 2 + (place[found, 1] - arrival.y) ** 2
                    d = math.sqrt(d2 + (place[found, 2] - arrival.z) ** 2)
                    if track_of[found] < 0 or d < distance[found]:
                        track_of[found] = track
                        distance[found] = d


def neutral_energy(
    cluster_of: NDArray[np.int64], track_energy: NDArray[np.float64], track_variance: NDArray[np.float64],
    energy: NDArray[np.float64], sigma: NDArray[np.float64], is_hcal: NDArray[np.bool_], significance: float,
) -> NDArray[np.float64]:  # fmt: skip
    """Energy [GeV] of each cluster that no track explains, 0 where it is not significant.

    Clusters that a track links, directly or by others, are looked at together. What their sum exceeds the tracks' energies by is
    neutral if it is more than `significance` standard deviations of the difference, as in Delphes' SimpleCalorimeter; it is taken
    to be photons as far as the ECAL's clusters go, and neutral hadrons beyond, as in CMS (arXiv:1706.04965, section 4.4). A
    cluster without a track is neutral.
    """
    from scipy.sparse import coo_array  # noqa: PLC0415  (0.2 s that --help does not need)
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    n = len(energy)
    both = (cluster_of >= 0).all(axis=1)
    links = coo_array((np.ones(both.sum(), np.int8), tuple(cluster_of[both].T)), shape=(n, n))
    n_groups, group = connected_components(links, directed=False)
    is_linked = (cluster_of >= 0).any(axis=1)
    of_track = group[cluster_of[is_linked].max(axis=1)]
    ecal = np.bincount(group, np.where(is_hcal, 0.0, energy), minlength=n_groups)
    hcal = np.bincount(group, np.where(is_hcal, energy, 0.0), minlength=n_groups)
    explained = np.bincount(of_track, track_energy[is_linked], minlength=n_groups)
    variance = np.bincount(group, sigma**2, minlength=n_groups)
    variance += np.bincount(of_track, track_variance[is_linked], minlength=n_groups)
    has_track = np.bincount(of_track, minlength=n_groups) > 0
    excess = ecal + hcal - explained
    excess = np.where(has_track & (excess <= significance * np.sqrt(variance)), 0.0, np.maximum(excess, 0.0))
    photons = np.minimum(excess, ecal)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(is_hcal, ((excess - photons) / hcal)[group], (photons / ecal)[group])
    return np.where(has_track[group], shares * energy, energy)
