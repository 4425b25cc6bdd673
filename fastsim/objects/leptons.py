"""Electrons and muons: identified with an efficiency, faked by pions at a rate, isolated or not; formulas are the card's.

No detector of theirs is simulated: the true species of the track is known, and the card says how often it is found out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.events import offsets_from_counts
from fastsim.jit import kernel
from fastsim.module import Made
from fastsim.objects.efficiency import Efficiency, accept, faults_of_efficiency, probabilities
from fastsim.objects.kinematics import MOMENTUM, distance_1, order_by_pt, reconstructed_tracks
from fastsim.species import NAMES, by_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastsim.columns import Column, Table
    from fastsim.detector import Detector
    from fastsim.events import Columns, EventBatch
    from fastsim.rng import Streams


@kernel
def sum_pt_around(
    offsets: NDArray[np.int64], event: NDArray[np.int64], track: NDArray[np.int64], counts: NDArray[np.bool_],
    pt: NDArray[np.float64], eta: NDArray[np.float64], phi: NDArray[np.float64], delta_r: float,
    sums: NDArray[np.float64],
) -> None:  # fmt: skip
    """Sum the pt [GeV] of the event's other tracks that count, within `delta_r` of each `track` (a row of the batch)."""
    for i in range(len(track)):
        own = track[i]
        sums[i] = 0.0
        for other in range(offsets[event[i]], offsets[event[i] + 1]):
            if counts[other] and other != own and distance_1(eta[own], phi[own], eta[other], phi[other]) <= delta_r:
                sums[i] += pt[other]


class LeptonOptions(module.Options):
    """How leptons of a kind are found."""

    efficiency: Annotated[Efficiency, Field(description="probability that its reconstructed track is identified")]
    fake_rate: Annotated[
        Efficiency, Field(description="probability that the reconstructed track of a charged pion is taken for one")
    ] = 0.0
    isolation_delta_r: Annotated[
        float, Field(gt=0, le=10, description="radius of the isolation cone in eta and phi")
    ] = 0.5
    isolation_pt_min: Annotated[float, Field(ge=0, description="softest tracks in the isolation sum [GeV]")] = 0.5
    isolation_max: Annotated[
        float | None,
        Field(ge=0, description="largest isolation sum over pt; by default isolation is written, not required"),
    ] = None

    @classmethod
    def faults(cls, data: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Formulas that are none."""
        for key in ("efficiency", "fake_rate"):
            yield from faults_of_efficiency(data.get(key), (key,))


class Leptons:
    """What electrons and muons share."""

    Options = LeptonOptions
    needs: tuple[Column, ...] = (c.EVENT_ID, c.PARTICLE_INDEX, c.SPECIES, c.IS_RECONSTRUCTED, *MOMENTUM)
    table: ClassVar[Table]
    species: ClassVar[str]
    track_column: ClassVar[Column]
    sum_column: ClassVar[Column]

    def __init__(self, options: LeptonOptions) -> None:
        self.name = options.name
        self._options = options

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> Self:
        """The module as the card describes it."""
        del detector
        return cls(cast("LeptonOptions", options))

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Identify, sum up what is around, and sort by pt."""
        own = self._options
        rows = self._identified(batch, streams)
        events = batch.event_index("track")[rows]
        pt = batch[c.PT]
        order = order_by_pt(events, pt[rows])
        rows, events = rows[order], events[order]
        sums = np.empty(len(rows))
        counts = batch[c.IS_RECONSTRUCTED] & (pt >= own.isolation_pt_min)
        sum_pt_around(
            batch.offsets["track"], events, rows, counts, pt, batch[c.ETA], batch[c.RECONSTRUCTED[2]],
            own.isolation_delta_r, sums,
        )  # fmt: skip
        if own.isolation_max is not None:
            isolated = sums <= own.isolation_max * pt[rows]
            rows, events, sums = rows[isolated], events[isolated], sums[isolated]
        made: Columns = {
            self.track_column: (rows - batch.offsets["track"][events]).astype(np.int32),
            self.sum_column: sums,
        }
        return Made(made, {self.table: offsets_from_counts(np.bincount(events, minlength=batch.n_events))})

    def _identified(self, batch: EventBatch, streams: Streams) -> NDArray[np.int64]:
        """Rows of the tracks that are taken for such leptons, ascending."""
        own = self._options
        found = [
            self._accepted(batch, streams, self.species, own.efficiency, "efficiency"),
            self._accepted(batch, streams, "pi", own.fake_rate, "fake_rate"),
        ]
        return np.sort(np.concatenate(found))

    def _accepted(
        self, batch: EventBatch, streams: Streams, species: str, efficiency: float | str, purpose: str
    ) -> NDArray[np.int64]:
        """Rows of the tracks of a true species that pass an efficiency."""
        tracks = reconstructed_tracks(batch, batch[c.SPECIES] == NAMES.index(species), by_name(self.species).mass)
        rows = tracks.rows
        variables = {
            "pt": batch[c.PT][rows],
            "eta": batch[c.ETA][rows],
            "phi": batch[c.RECONSTRUCTED[2]][rows],
            "energy": tracks.momenta[3],
        }
        event_id = batch[c.EVENT_ID][batch.event_index("track")[rows]]
        probability = probabilities(efficiency, variables, where=f"module {self.name!r}: {purpose}")
        key = streams.key(f"{self.name}/{purpose}")
        return rows[accept(probability, event_id, batch[c.PARTICLE_INDEX][rows], key)]


class Electrons(Leptons):
    """Module kind "electrons"."""

    table, species = "electron", "el"
    track_column, sum_column = c.ELECTRON_TRACK, c.ELECTRON_SUM_PT
    makes: tuple[Column, ...] = (c.ELECTRON_TRACK, c.ELECTRON_SUM_PT)


class Muons(Leptons):
    """Module kind "muons"."""

    table, species = "muon", "mu"
    track_column, sum_column = c.MUON_TRACK, c.MUON_SUM_PT
    makes: tuple[Column, ...] = (c.MUON_TRACK, c.MUON_SUM_PT)
