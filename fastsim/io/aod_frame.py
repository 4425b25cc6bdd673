"""Some events of one data frame: what the branches of an AO2D file are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim import columns as c
from fastsim.events import production_points
from fastsim.kernels.ancestry import link_family

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.events import EventBatch

DECAY_PROCESS = 4  # TMCProcess kPDecay: the status of particles "produced by transport"
STATUS_ENCODED = 5  # o2::mcgenstatus::MCGenStatusEncoding, bits 29-31
PRODUCED_BY_TRANSPORT, FROM_BACKGROUND_EVENT, PHYSICAL_PRIMARY = 0x1, 0x2, 0x4  # o2::aod::mcparticle::enums

_OFF_DIAGONAL = [1, 3, 4, 6, 7, 8, 10, 11, 12, 13]  # in the packed covariance, in the order of fRho*
_DIAGONAL = [0, 2, 5, 9, 14]


class Frame(NamedTuple):
    """Some events of one data frame: where they start in it, and the order and links of what is written."""

    batch: EventBatch
    n_events: int
    n_particles: int
    particles: NDArray[np.int64]  # rows in the order of writing: siblings stand together
    particle_row: NDArray[np.int64]  # row in the frame of each particle of the batch
    mothers: NDArray[np.int32]  # first and last (n, 2), -1 if there are none
    daughters: NDArray[np.int32]
    points: NDArray[np.float64]  # where and when each particle was produced (n, 4)
    particle_events: NDArray[np.int64]  # events in the batch of the particles: siblings are of one, so in any order
    tracks: NDArray[np.int64]  # rows of reconstructed tracks
    track_events: NDArray[np.int64]  # and their events in the batch
    sigma: NDArray[np.float64]
    rho: NDArray[np.int8]
    n_tracks: int  # in the frame before these events
    clusters: NDArray[np.int64]  # rows of the clusters of electromagnetic calorimeters

    def rows(self, of: str) -> int:
        """How many rows a table of events, particles, tracks or clusters gets."""
        return {
            "event": self.batch.n_events, "particle": len(self.particles), "track": len(self.tracks),
            "cluster": len(self.clusters), "none": 0,
        }[of]  # fmt: skip

    def event(self, column: c.Column) -> NDArray[Any]:
        """An event column, NaN as 0 (the data model has no missing values)."""
        return np.asarray(np.nan_to_num(self.batch[column]) if column.dtype == "float64" else self.batch[column])

    def event_rows(self) -> NDArray[np.int64]:
        """Rows of the events in the frame."""
        return np.arange(self.n_events, self.n_events + self.batch.n_events)

    def particle(self, column: c.Column) -> NDArray[Any]:
        """A particle column in the order of writing."""
        return np.asarray(self.batch[column][self.particles])

    def mother_lists(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Numbers of mothers, and all mothers: at most first and last, as the official producer writes them."""
        is_one = np.empty(self.mothers.shape, dtype=np.bool_)
        is_one[:, 0], is_one[:, 1] = self.mothers[:, 0] >= 0, self.mothers[:, 1] > self.mothers[:, 0]
        return is_one.sum(axis=1), self.mothers.ravel()[is_one.ravel()]

    def status_code(self) -> NDArray[Any]:
        """Generator particles: HepMC status in bits 0-8, encoded by 5 in bits 29-31. Others: the process that made them."""
        status = self.particle(c.STATUS).astype(np.int64)
        encoded = (status & 0x1FF) | ((status & 0x3FF) << 9) | (STATUS_ENCODED << 29)
        signed = encoded.astype(np.uint32).view(np.int32)
        made = np.where(self.particle(c.FROM_LONG_LIVED), DECAY_PROCESS, signed)
        process = self._process()
        return np.asarray(np.where(process > 0, process, made))

    def _process(self) -> NDArray[Any]:
        """What made the particles that are not the generator's: ROOT's TMCProcess, as in `columns.PROCESS`."""
        return self.particle(c.PROCESS) if c.PROCESS in self.batch else np.zeros(len(self.particles), dtype=np.uint8)

    def particle_flags(self) -> NDArray[Any]:
        """Where particles come from, by ALICE's definitions."""
        return np.asarray(
            (self.particle(c.FROM_LONG_LIVED) | (self._process() > 0)) * PRODUCED_BY_TRANSPORT
            + (self.particle(c.COLLISION) > 0) * FROM_BACKGROUND_EVENT
            + self.particle(c.IS_PRIMARY) * PHYSICAL_PRIMARY
        )

    def track(self, column: c.Column) -> NDArray[Any]:
        """A track column of the reconstructed ones."""
        return np.asarray(self.batch[column][self.tracks])

    def track_rows(self) -> NDArray[np.int64]:
        """Rows of the tracks in the frame."""
        return np.arange(self.n_tracks, self.n_tracks + len(self.tracks))

    def track_labels(self) -> NDArray[np.int64]:
        """Rows in the frame of the tracks' particles, -1 where a track has none."""
        return self._labels(self.track_events, self.track(c.PARTICLE_INDEX))

    def cluster(self, column: c.Column) -> NDArray[Any]:
        """A column of the clusters."""
        return np.asarray(self.batch[column][self.clusters])

    @property
    def cluster_events(self) -> NDArray[np.int64]:
        """Events of the clusters in the batch."""
        return self.batch.event_index("cluster")[self.clusters]

    def cluster_tracks(self) -> NDArray[np.int64]:
        """Rows in the frame of the tracks that are linked to the clusters, -1 if none."""
        index = self.cluster(c.CLUSTER_TRACK)
        rows = self.batch.offsets["track"][self.cluster_events] + np.maximum(index, 0)
        return np.where(index >= 0, self.n_tracks + np.searchsorted(self.tracks, rows), -1)

    def cluster_labels(self) -> NDArray[np.int64]:
        """Rows in the frame of the particles that left most in the clusters, -1 where they are not kept."""
        if c.CLUSTER_PARTICLE not in self.batch:
            return np.full(len(self.clusters), -1, dtype=np.int64)
        return self._labels(self.cluster_events, self.cluster(c.CLUSTER_PARTICLE))

    def _labels(self, events: NDArray[np.int64], index: NDArray[np.int32]) -> NDArray[np.int64]:
        """Rows in the frame of particles, named by their position in the event."""
        if not len(self.particle_row):
            return np.full(len(index), -1, dtype=np.int64)
        rows = self.batch.offsets["particle"][events] + np.maximum(index, 0)
        return np.where(index >= 0, self.particle_row[np.minimum(rows, len(self.particle_row) - 1)], -1)


def make_frame(batch: EventBatch, n_events: int, n_particles: int, n_tracks: int = 0) -> Frame:
    """The events of a batch behind so many others of the same data frame.

    Daughters are written as a range, so siblings are brought together, behind the first of them.
    """
    n = batch.n_rows("particle")
    order, row = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    mothers, daughters = np.empty((n, 2), dtype=np.int32), np.empty((n, 2), dtype=np.int32)
    link_family(
        batch.offsets["particle"], batch.offsets["vertex"], batch[c.PRODUCTION_VERTEX], batch[c.END_VERTEX], n_particles,
        order, row, mothers, daughters,
    )  # fmt: skip
    tracks = np.flatnonzero(batch[c.IS_RECONSTRUCTED])
    packed = batch[c.COV_PACKED][tracks]
    sigma = np.sqrt(packed[:, _DIAGONAL])
    i, j = np.tril_indices(5, -1)
    rho = np.clip(np.trunc(128.0 * packed[:, _OFF_DIAGONAL] / (sigma[:, i] * sigma[:, j])), -127, 127)
    points = production_points(batch)
    is_ecal = ~batch[c.CLUSTER_IS_HCAL] if c.CLUSTER_IS_HCAL in batch else np.zeros(0, dtype=np.bool_)
    return Frame(
        batch, n_events, n_particles, order, row, mothers, daughters, points, batch.event_index("particle"),
        tracks, batch.event_index("track")[tracks], sigma, rho.astype(np.int8),
        n_tracks, np.flatnonzero(is_ecal),
    )  # fmt: skip
