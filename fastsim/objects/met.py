"""Missing transverse momentum, and the scalar sum of transverse momenta."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.module import Made
from fastsim.objects.inputs import DESCRIPTION, NEEDS, Input, find_objects
from fastsim.objects.kinematics import LEPTON_TRACK, event_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.detector import Detector
    from fastsim.events import EventBatch
    from fastsim.rng import Streams

Part = Literal["track", "jet", "electron", "muon", "photon"]
NEEDED: dict[Part, tuple[Column, ...]] = {
    "track": NEEDS["tracks"],
    "jet": (c.JET[0],),
    "electron": (LEPTON_TRACK["electron"], c.PT),
    "muon": (LEPTON_TRACK["muon"], c.PT),
    "photon": (c.PHOTON[0],),
}


class MissingMomentum:
    """Module kind "met": minus the vector sum of what was reconstructed, and the scalar sum of what the card names."""

    class Options(module.Options):
        """What is summed."""

        input: Annotated[Input, Field(description=f"what is summed: {DESCRIPTION}")] = "tracks"
        eta_max: Annotated[
            float | None, Field(gt=0, description="only tracks, clusters and towers within this |eta|; by default all")
        ] = None
        scalar_ht_of: Annotated[
            list[Part] | None,
            Field(
                min_length=1,
                description='whose pt scalar_ht sums: by default what is summed; ["jet", "electron", "muon"] as Delphes',
            ),
        ] = None

    makes: tuple[Column, ...] = (c.MET, c.MET_PHI, c.SCALAR_HT)

    def __init__(self, name: str, kind: Input, eta_max: float | None, parts: Sequence[Part] | None) -> None:
        self.name = name
        self._input = kind
        self._eta_max = np.inf if eta_max is None else eta_max
        self._parts = None if parts is None else sorted(set(parts))
        self.needs: tuple[Column, ...] = (
            *NEEDS[kind], *(column for part in self._parts or () for column in NEEDED[part]),
        )  # fmt: skip

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> MissingMomentum:
        """The module as the card describes it."""
        del detector
        own = cast("MissingMomentum.Options", options)
        return cls(own.name, own.input, own.eta_max, own.scalar_ht_of)

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Sum up each event."""
        del streams
        objects = find_objects(batch, self._input, self._eta_max)
        events = event_of(objects.offsets)
        x, y = (
            0.0 - np.bincount(events, objects.momenta[axis], minlength=batch.n_events) for axis in range(2)
        )  # never -0.0
        if self._parts is None:
            scalar_ht = np.bincount(events, np.hypot(*objects.momenta[:2]), minlength=batch.n_events).astype(np.float64)
        else:
            scalar_ht = np.zeros(batch.n_events)
            for part in self._parts:
                at, pt = self._transverse_momenta(batch, part)
                scalar_ht += np.bincount(at, pt, minlength=batch.n_events)
        return Made({c.MET: np.hypot(x, y), c.MET_PHI: np.arctan2(y, x), c.SCALAR_HT: scalar_ht})

    def _transverse_momenta(self, batch: EventBatch, part: Part) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Event and pt of each object of a kind."""
        if part == "track":
            tracks = find_objects(batch, "tracks", self._eta_max)
            return event_of(tracks.offsets), batch[c.PT][tracks.track]
        if part in {"jet", "photon"}:
            return batch.event_index(part), batch[c.JET[0] if part == "jet" else c.PHOTON[0]]
        rows = batch.offsets["track"][batch.event_index(part)] + batch[LEPTON_TRACK[part]]
        return batch.event_index("track")[rows], batch[c.PT][rows]
