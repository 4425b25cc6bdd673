"""What jets, missing momentum and isolation are made of: tracks, towers, or the energy flow of tracks and neutral clusters.

Clusters count with the energy that tracks do not explain (`cluster.neutral_energy`), without a mass, as seen from the
reconstructed primary vertex; Delphes' energy flow is seen from the origin. So are towers, here as there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from fastsim import columns as c
from fastsim.objects.kinematics import MOMENTUM, offsets_of_rows, reconstructed_tracks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.events import EventBatch

Input = Literal["tracks", "towers", "energy_flow"]
DESCRIPTION = 'reconstructed "tracks"; "towers" of calorimeters; or "energy_flow": tracks, and clusters beyond them'

NEUTRAL: tuple[Column, ...] = (*c.VERTEX, *c.CLUSTER_PLACE, c.CLUSTER_NEUTRAL)
NEEDS: dict[Input, tuple[Column, ...]] = {
    "tracks": (c.IS_RECONSTRUCTED, *MOMENTUM),
    "towers": (c.TOWER[0], *c.TOWER[3:]),
    "energy_flow": (c.IS_RECONSTRUCTED, *MOMENTUM, *NEUTRAL),
}


class Objects(NamedTuple):
    """What is clustered or summed: offsets by event, (4, n) px, py, pz, energy [GeV], and where in the batch it stands.

    `track`, `cluster` and `tower` (n,) are rows of these tables, -1 of what is none of them.
    """

    offsets: NDArray[np.int64]
    momenta: NDArray[np.float64]
    track: NDArray[np.int64]
    cluster: NDArray[np.int64]
    tower: NDArray[np.int64]


def find_objects(batch: EventBatch, kind: Input, eta_max: float = np.inf) -> Objects:
    """The objects of a kind within |eta| <= `eta_max`: in each event tracks first, each in the order of its table."""
    if kind == "towers":
        energy, eta, phi = (batch[column] for column in NEEDS["towers"])
        rows = np.flatnonzero(np.abs(eta) <= eta_max)
        p = (energy / np.cosh(eta))[rows]
        momenta = np.stack(
            [p * np.cos(phi[rows]), p * np.sin(phi[rows]), energy[rows] * np.tanh(eta[rows]), energy[rows]]
        )
        none = np.full(len(rows), -1)
        return Objects(offsets_of_rows(rows, batch, "tower"), momenta, none, none, rows)
    tracks = reconstructed_tracks(batch, np.abs(batch[c.ETA]) <= eta_max)
    none = np.full(len(tracks.rows), -1)
    if kind == "tracks":
        return Objects(tracks.offsets, tracks.momenta, tracks.rows, none, none)
    clusters, neutral = neutral_momenta(batch)
    within = np.abs(neutral[2]) <= np.tanh(eta_max) * neutral[3]  # |tanh(eta)| = |pz| / E
    clusters, neutral = clusters[within], neutral[:, within]
    events = [batch.event_index("track")[tracks.rows], batch.event_index("cluster")[clusters]]
    order = np.argsort(np.concatenate(events), kind="stable")
    no_cluster = np.full(len(clusters), -1)
    return Objects(
        tracks.offsets + offsets_of_rows(clusters, batch, "cluster"),
        np.concatenate([tracks.momenta, neutral], axis=1)[:, order],
        np.concatenate([tracks.rows, no_cluster])[order],
        np.concatenate([none, clusters])[order],
        np.full(len(order), -1),
    )


def neutral_momenta(batch: EventBatch) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of the clusters with energy that tracks do not explain, and px, py, pz, energy (4, n) [GeV] of that."""
    energy = batch[c.CLUSTER_NEUTRAL]
    rows = np.flatnonzero(energy > 0.0)
    return rows, from_vertex(batch, rows, energy[rows])


def from_vertex(batch: EventBatch, rows: NDArray[np.int64], energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """px, py, pz, energy (4, n) [GeV] of massless particles from the reconstructed vertex to the places of clusters."""
    events = batch.event_index("cluster")[rows]
    way = np.stack(
        [batch[place][rows] - batch[at][events] for place, at in zip(c.CLUSTER_PLACE, c.VERTEX, strict=True)]
    )
    return np.concatenate([way * (energy / np.sqrt((way**2).sum(axis=0))), energy[np.newaxis]])
