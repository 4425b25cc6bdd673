"""Electrons and muons: identified with an efficiency, faked by pions at a rate, isolated or not; formulas are the card's.

No detector of theirs is simulated: the true species of the track is known, and the card says how often it is found out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim.events import offsets_from_counts
from fastsim.module import Made
from fastsim.objects.efficiency import Efficiency, accept, faults_of_efficiency, probabilities
from fastsim.objects.inputs import NEUTRAL
from fastsim.objects.isolation import IsolationOptions, charged_around, neutral_around
from fastsim.objects.kinematics import MOMENTUM, order_by_pt, reconstructed_tracks
from fastsim.species import NAMES, by_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastsim import module
    from fastsim.columns import Column, Table
    from fastsim.detector import Detector
    from fastsim.events import Columns, EventBatch
    from fastsim.rng import Streams


class LeptonOptions(IsolationOptions):
    """How leptons of a kind are found."""

    efficiency: Annotated[Efficiency, Field(description="probability that its reconstructed track is identified")]
    fake_rate: Annotated[
        Efficiency, Field(description="probability that the reconstructed track of a charged pion is taken for one")
    ] = 0.0
    isolation_input: Annotated[
        Literal["tracks", "energy_flow"], Field(description="what isolation sums: tracks, or neutral clusters too")
    ] = "tracks"

    @classmethod
    def faults(cls, data: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Formulas that are none."""
        for key in ("efficiency", "fake_rate"):
            yield from faults_of_efficiency(data.get(key), (key,))


class Leptons:
    """What electrons and muons share."""

    Options = LeptonOptions
    table: ClassVar[Table]
    species: ClassVar[str]
    track_column: ClassVar[Column]
    sum_column: ClassVar[Column]
    neutral_column: ClassVar[Column]

    def __init__(self, options: LeptonOptions) -> None:
        self.name = options.name
        self._options = options
        self._with_neutrals = options.isolation_input == "energy_flow"
        self.needs: tuple[Column, ...] = (
            c.EVENT_ID, c.PARTICLE_INDEX, c.SPECIES, c.IS_RECONSTRUCTED, *MOMENTUM, *(NEUTRAL if self._with_neutrals else ()),
        )  # fmt: skip
        self.makes: tuple[Column, ...] = (
            self.track_column, self.sum_column, *((self.neutral_column,) if self._with_neutrals else ()),
        )  # fmt: skip

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
        order = order_by_pt(events, batch[c.PT][rows])
        rows, events = rows[order], events[order]
        pt, eta, phi = (batch[column][rows] for column in MOMENTUM[:3])
        total = charged_around(batch, events, eta, phi, rows, own)
        made: Columns = {
            self.track_column: (rows - batch.offsets["track"][events]).astype(np.int32),
            self.sum_column: total,
        }
        if self._with_neutrals:
            made[self.neutral_column] = neutral_around(batch, events, eta, phi, np.full(len(rows), -1), own)
            total = total + made[self.neutral_column]
        keep = np.full(len(rows), fill_value=True) if own.isolation_max is None else total <= own.isolation_max * pt
        counts = np.bincount(events[keep], minlength=batch.n_events)
        return Made(
            {column: values[keep] for column, values in made.items()}, {self.table: offsets_from_counts(counts)}
        )

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
    track_column, sum_column, neutral_column = c.ELECTRON_TRACK, c.ELECTRON_SUM_PT, c.ELECTRON_SUM_NEUTRAL


class Muons(Leptons):
    """Module kind "muons"."""

    table, species = "muon", "mu"
    track_column, sum_column, neutral_column = c.MUON_TRACK, c.MUON_SUM_PT, c.MUON_SUM_NEUTRAL
