"""Missing transverse momentum, and the scalar sum of transverse momenta."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.module import Made
from fastsim.objects.kinematics import LEPTON_TRACK, MOMENTUM, event_of, reconstructed_tracks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.detector import Detector
    from fastsim.events import EventBatch
    from fastsim.rng import Streams

Part = Literal["track", "jet", "electron", "muon"]
NEEDED: dict[Part, tuple[Column, ...]] = {
    "track": (),
    "jet": (c.JET[0],),
    "electron": (LEPTON_TRACK["electron"],),
    "muon": (LEPTON_TRACK["muon"],),
}


class MissingMomentum:
    """Module kind "met": minus the vector sum of the reconstructed tracks, and the scalar sum of what the card names."""

    class Options(module.Options):
        """What is summed."""

        eta_max: Annotated[float | None, Field(gt=0, description="only tracks within this |eta|; by default all")] = (
            None
        )
        scalar_ht_of: Annotated[
            list[Part],
            Field(
                default_factory=lambda: ["track"],
                min_length=1,
                description='whose pt scalar_ht sums: ["track"], or ["jet", "electron", "muon"] as Delphes',
            ),
        ]

    makes: tuple[Column, ...] = (c.MET, c.MET_PHI, c.SCALAR_HT)

    def __init__(self, name: str, eta_max: float | None, parts: Sequence[Part]) -> None:
        self.name = name
        self._eta_max = np.inf if eta_max is None else eta_max
        self._parts = sorted(set(parts))
        self.needs: tuple[Column, ...] = (
            c.IS_RECONSTRUCTED, *MOMENTUM, *(column for part in self._parts for column in NEEDED[part]),
        )  # fmt: skip

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> MissingMomentum:
        """The module as the card describes it."""
        del detector
        own = cast("MissingMomentum.Options", options)
        return cls(own.name, own.eta_max, own.scalar_ht_of)

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Sum up each event."""
        del streams
        tracks = reconstructed_tracks(batch, np.abs(batch[c.ETA]) <= self._eta_max)
        events = event_of(tracks.offsets)
        x, y = (
            0.0 - np.bincount(events, tracks.momenta[axis], minlength=batch.n_events) for axis in range(2)
        )  # never -0.0
        scalar_ht = np.zeros(batch.n_events)
        for part in self._parts:
            at, pt = self._transverse_momenta(batch, part, tracks.rows)
            scalar_ht += np.bincount(at, pt, minlength=batch.n_events)
        return Made({c.MET: np.hypot(x, y), c.MET_PHI: np.arctan2(y, x), c.SCALAR_HT: scalar_ht})

    @staticmethod
    def _transverse_momenta(
        batch: EventBatch, part: Part, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Event and pt of each object of a kind; `rows` are the tracks that count."""
        if part == "jet":
            return batch.event_index("jet"), batch[c.JET[0]]
        if part != "track":
            rows = batch.offsets["track"][batch.event_index(part)] + batch[LEPTON_TRACK[part]]
        return batch.event_index("track")[rows], batch[c.PT][rows]
