"""The reconstructed tracks as the true particles that they were: what modules need that follow them through a device."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim import columns as c
from fastsim.devices.common import origins
from fastsim.jit import kernel
from fastsim.kernels.helix import curvature_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.events import EventBatch

# What `tracks_of` reads.
NEEDS: tuple[Column, ...] = (
    c.EVENT_ID, *c.VERTEX_TRUE, *c.VERTEX_POSITION, c.PRODUCTION_VERTEX, *c.MOMENTUM, c.CHARGE_TRUE, c.PARTICLE_INDEX,
    c.SPECIES, c.IS_RECONSTRUCTED, *c.RECONSTRUCTED[3:], c.COV_PACKED,
)  # fmt: skip


class Tracks(NamedTuple):
    """The reconstructed tracks (n,), as true particles, with the reconstructed p/z [GeV/e] and its relative resolution."""

    event_id: NDArray[np.uint64]
    particle_index: NDArray[np.int32]
    position: NDArray[np.float64]
    px: NDArray[np.float64]
    py: NDArray[np.float64]
    pz: NDArray[np.float64]
    charge: NDArray[np.int8]
    species: NDArray[np.int8]
    rigidity: NDArray[np.float64]
    sigma_p: NDArray[np.float64]


@kernel
def start_1(tracks: Tracks, i: int, b_z: float) -> tuple[float, float, float, float, float]:
    """Where track i begins, as `kernels.walk` sees it: u, v [cm], tan(lambda), d(phi)/ds [1/cm], p [GeV]."""
    px, py, pz = tracks.px[i], tracks.py[i], tracks.pz[i]
    pt2 = px * px + py * py
    pt = math.sqrt(pt2)
    x, y = tracks.position[i, 0], tracks.position[i, 1]
    u, v = (x * px + y * py) / pt, (x * py - y * px) / pt
    return u, v, pz / pt, curvature_1(tracks.charge[i] / pt, b_z), math.sqrt(pt2 + pz * pz)


def tracks_of(batch: EventBatch, rows: NDArray[np.int64]) -> Tracks:
    """The tracks of these rows."""
    events = batch.event_index("track")[rows]
    particle_index = batch[c.PARTICLE_INDEX][rows]
    particles = batch.offsets["particle"][events] + particle_index
    tan_lambda, q_over_pt = (batch[column][rows] for column in c.RECONSTRUCTED[3:])
    cov = batch[c.COV_PACKED]
    slope2 = 1.0 + tan_lambda * tan_lambda
    by_tan = tan_lambda / slope2  # d(ln p) of tan(lambda); of q/pt it is -1 / (q/pt)
    variance = by_tan * by_tan * cov[rows, 9] + (cov[rows, 14] / q_over_pt - 2.0 * by_tan * cov[rows, 13]) / q_over_pt
    px, py, pz = (batch[column][particles] for column in c.MOMENTUM)
    return Tracks(
        batch[c.EVENT_ID][events], particle_index, origins(batch, particles, events), px, py, pz,
        batch[c.CHARGE_TRUE][particles], batch[c.SPECIES][rows], np.sqrt(slope2) / np.abs(q_over_pt),
        np.sqrt(np.maximum(variance, 0.0)),
    )  # fmt: skip


def spread(values: NDArray[Any], rows: NDArray[np.int64], column: Column, batch: EventBatch) -> NDArray[Any]:
    """Values of some rows as a column of all tracks: false, 0 or NaN elsewhere."""
    if len(rows) == batch.n_rows("track"):
        return np.ascontiguousarray(values, dtype=column.dtype)
    nothing = math.nan if column.dtype == "float64" else 0
    filled = np.full((batch.n_rows("track"), *column.shape), nothing, dtype=column.dtype)
    filled[rows] = values
    return filled
