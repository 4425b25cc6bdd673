"""Energy loss in the tracker: truncated means of silicon's deposits and of a gas' charges, clusters counted in gas.

What a particle leaves is drawn from its true velocity and path; what is expected of a hypothesis comes from tables that are
made at the start (`straggling`, `gas`), for the reconstructed momentum. Energy lost on the way does not slow it down here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.devices.common import chosen
from fastsim.devices.dedx_gas import Charges, Clusters
from fastsim.devices.dedx_silicon import Silicon
from fastsim.devices.true_tracks import NEEDS, spread, tracks_of
from fastsim.module import Made

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastsim.columns import Column
    from fastsim.detector import Detector
    from fastsim.detector.devices import Dedx
    from fastsim.events import Columns, EventBatch
    from fastsim.rng import Streams


class EnergyLoss:
    """Module kind "dedx": what the [[dedx]] of the detector measure."""

    class Options(module.Options):
        """Energy loss in the tracker."""

        level: Annotated[  # type: ignore[assignment]
            Literal["parametric", "detailed"],
            Field(description='"parametric": a draw for each track; "detailed": one for each layer or row'),
        ]
        devices: Annotated[
            list[str] | None, Field(min_length=1, description="names of the [[dedx]] to use; by default all")
        ] = None
        truncation: Annotated[
            float | Literal["steps"],
            Field(
                description='share of the lowest hits in the mean; "steps" (silicon): 1 of 1-2, 2 of 3-4, 3 of 5-6, 4 of more'
            ),
        ] = 0.6

        @classmethod
        def faults(cls, data: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
            """A share that is none."""
            share = data.get("truncation")
            if isinstance(share, (int, float)) and not isinstance(share, bool) and not 0.2 <= share <= 0.7:
                yield (
                    ("truncation",),
                    f"must be between 0.2 and 0.7, where the largest deposits cannot enter (got {share!r})",
                )

    def __init__(self, options: Options, detector: Detector) -> None:
        self.name = options.name
        self._b_z = float(detector.b_z)
        self._parts = [
            _part(device, detector, options) for device in chosen(options.name, "dedx", detector.dedx, options.devices)
        ]
        self.needs: tuple[Column, ...] = (*NEEDS, c.DNCH_DETA)
        self.makes: tuple[Column, ...] = tuple(column for part in self._parts for column in part.makes)

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> EnergyLoss:
        """The module as the card describes it; makes the tables of its sensors."""
        return cls(cast("EnergyLoss.Options", options), detector)

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Measure the reconstructed tracks in each device."""
        rows = np.flatnonzero(batch[c.IS_RECONSTRUCTED])
        tracks = tracks_of(batch, rows)
        multiplicity = batch[c.DNCH_DETA][batch.event_index("track")[rows]]
        made: Columns = {}
        for part in self._parts:
            measured = part.measure(tracks, self._b_z, multiplicity, streams.key(f"{self.name}/{part.name}"))
            made |= {column: spread(values, rows, column, batch) for column, values in measured.items()}
        return Made(made)


def _part(device: Dedx, detector: Detector, options: EnergyLoss.Options) -> Silicon | Clusters | Charges:
    is_detailed = options.level == "detailed"
    if device.layers:
        return Silicon(device, detector, options.truncation, is_detailed=is_detailed)
    if device.measures == "clusters":
        return Clusters(device, detector)
    return Charges(device, detector, options.truncation, is_detailed=is_detailed)
