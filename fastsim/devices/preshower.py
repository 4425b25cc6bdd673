"""A preshower: electrons by two formulas of the detector file, efficiency and mis-tag; see `muon` for what is shared."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.detector.formulas import evaluate
from fastsim.devices.common import N_SPECIES, chosen
from fastsim.devices.muon import columns_of, decisions
from fastsim.devices.true_tracks import NEEDS, tracks_of
from fastsim.errors import PluginError
from fastsim.module import Made

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.detector import Detector
    from fastsim.events import Columns, EventBatch
    from fastsim.rng import Streams

ELECTRON = 0  # in `species.SPECIES`


class PreshowerTag:
    """Module kind "preshower": what the [[preshower]] of the detector take for electrons."""

    class Options(module.Options):
        """Electrons in a preshower."""

        devices: Annotated[
            list[str] | None, Field(min_length=1, description="names of the [[preshower]] to use; by default all")
        ] = None

    def __init__(self, options: Options, detector: Detector) -> None:
        self.name = options.name
        self._devices = chosen(options.name, "preshower", detector.preshower, options.devices)
        self.needs: tuple[Column, ...] = NEEDS
        self.makes: tuple[Column, ...] = tuple(
            column for d in self._devices for column in columns_of(d.name, "electron")
        )

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> PreshowerTag:
        """The module as the card describes it."""
        return cls(cast("PreshowerTag.Options", options), detector)

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Tag the reconstructed tracks in each device."""
        rows = np.flatnonzero(batch[c.IS_RECONSTRUCTED])
        tracks = tracks_of(batch, rows)
        tan_lambda = batch[c.RECONSTRUCTED[3]][rows]
        variables = {
            "p": tracks.rigidity, "pt": tracks.rigidity / np.sqrt(1.0 + tan_lambda**2), "eta": np.arcsinh(tan_lambda)
        }  # fmt: skip
        made: Columns = {}
        for device in self._devices:
            where = f"module {self.name!r}: preshower {device.name!r}"
            is_in = (np.abs(variables["eta"]) <= device.eta_max) & (variables["p"] > device.p_min)
            probability = np.full(len(rows), math.nan)
            inside = {k: v[is_in] for k, v in variables.items()}
            hypotheses = np.full((len(rows), N_SPECIES), math.nan)
            hypotheses[is_in] = _values(device.mistag, inside, where)[:, None]
            hypotheses[is_in, ELECTRON] = _values(device.efficiency, inside, where)
            probability[is_in] = hypotheses[is_in, tracks.species[is_in]]
            found = probability, hypotheses
            made |= decisions(
                device.name, "electron", found, tracks, streams.key(f"{self.name}/{device.name}"), rows, batch
            )
        return Made(made)


def _values(formula: str, variables: dict[str, NDArray[np.float64]], where: str) -> NDArray[np.float64]:
    """A formula's values, cut to 0 to 1; raises PluginError where it has none."""
    values = np.broadcast_to(evaluate(formula, variables), len(variables["p"]))
    undefined = np.flatnonzero(np.isnan(values))
    if len(undefined):
        place = ", ".join(f"{name} = {value[undefined[0]]:.6g}" for name, value in variables.items())
        raise PluginError(f"the formula {formula!r} has no value at {place}", where=where)
    return np.clip(values, 0.0, 1.0)
