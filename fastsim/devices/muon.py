"""Muon identification: by a table of probabilities, or by an absorber; the true particle decides how likely it is.

The decision is the reconstructed quantity. The probability is that of the true particle, like the tracking's efficiency.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.columns import Column
from fastsim.devices.common import CHARGES, MASSES, chosen, is_measured, of_track
from fastsim.devices.dedx import Tracks, spread, start_1, tracks_of
from fastsim.devices.muon_table import read_muon_tables
from fastsim.jit import kernel
from fastsim.kernels.absorber import MUON, Ranges, fill_ranges, through_iron_1
from fastsim.kernels.reach import reach_1
from fastsim.kernels.walk import turn_1
from fastsim.module import Made
from fastsim.rng import uniforms_1
from fastsim.species import NAMES, SPECIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.detector import Detector
    from fastsim.detector.devices.place import PlaceNumbers
    from fastsim.devices.muon_table import MuonTable
    from fastsim.events import Columns, EventBatch
    from fastsim.rng import Key, Streams

C_TAU = np.array([species.c_tau for species in SPECIES])  # cm
_AXIS = np.linspace(math.log(0.06), math.log(1e5), 1200)


def make_ranges() -> Ranges:
    """Ranges from beta gamma 0.06 (where a particle stops within micrometres) to 1e5."""
    length, variance = np.empty(len(_AXIS)), np.empty(len(_AXIS))
    fill_ranges(np.exp(_AXIS), MASSES[MUON], length, variance)
    return Ranges((float(_AXIS[0]), (len(_AXIS) - 1) / float(_AXIS[-1] - _AXIS[0])), length, variance)


@kernel
def pass_absorber(
    ranges: Ranges, place: PlaceNumbers, iron: float, tracks: Tracks, b_z: float, masses: NDArray[np.float64],
    charges: NDArray[np.float64], c_tau: NDArray[np.float64], probability: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fill the probability to come through `iron` [cm at normal incidence] of the tracks that reach its front; else NaN."""
    for i in range(len(probability)):
        u, v, tan_lambda, curvature, p = start_1(tracks, i, b_z)
        s, r, _ = reach_1(
            u, v, tracks.position[i, 2], tan_lambda, curvature, place.is_disk, place.position, place.low, place.high,
            place.both_sides,
        )  # fmt: skip
        if math.isnan(s):
            continue
        slope = math.sqrt(1.0 + tan_lambda * tan_lambda)
        cosine = abs(tan_lambda)
        if not place.is_disk:
            cosine = turn_1(u, v, curvature, s)[0] / r
        if cosine <= 0.05:  # along the surface
            probability[i] = 0.0
            continue
        k = tracks.species[i]
        probability[i] = through_iron_1(
            ranges, k, p, masses[k], charges[k], c_tau[k], masses[MUON], s * slope, iron * slope / cosine
        )


@kernel
def decide(probability: NDArray[np.float64], tracks: Tracks, key: Key, decision: NDArray[np.bool_]) -> None:
    """Take tracks for what the device looks for, each with its probability (NaN: never)."""
    for i in range(len(probability)):
        decision[i] = uniforms_1(0, tracks.particle_index[i], tracks.event_id[i], key.k0, key.k1)[0] < probability[i]


def bin_of(edges: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bin of each value; the outer bins hold what lies beyond."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


class MuonIdentification:
    """Module kind "muon_id": what the [[muon]] of the detector identify."""

    class Options(module.Options):
        """Muon identification."""

        devices: Annotated[
            list[str] | None, Field(min_length=1, description="names of the [[muon]] to use; by default all")
        ] = None

    def __init__(self, options: Options, detector: Detector) -> None:
        self.name = options.name
        self._b_z = float(detector.b_z)
        self._devices = chosen(options.name, "muon", detector.muon, options.devices)
        self._tables = {d.name: read_muon_tables(Path(d.table)) for d in self._devices if d.table}
        self._ranges = make_ranges()
        self.needs: tuple[Column, ...] = (
            c.EVENT_ID, *c.VERTEX_TRUE, *c.VERTEX_POSITION, c.PRODUCTION_VERTEX, *c.MOMENTUM, c.CHARGE_TRUE, c.PARTICLE_INDEX,
            c.SPECIES, c.IS_RECONSTRUCTED, *c.RECONSTRUCTED[3:], c.COV_PACKED, c.DNCH_DETA,
        )  # fmt: skip
        self.makes: tuple[Column, ...] = tuple(
            column for device in self._devices for column in columns_of(device.name, "muon")
        )

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> MuonIdentification:
        """The module as the card describes it; reads its tables."""
        return cls(cast("MuonIdentification.Options", options), detector)

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Identify the reconstructed tracks in each device."""
        rows = np.flatnonzero(batch[c.IS_RECONSTRUCTED])
        tracks = tracks_of(batch, rows)
        multiplicity = batch[c.DNCH_DETA][batch.event_index("track")[rows]]
        tan_lambda = batch[c.RECONSTRUCTED[3]][rows]
        made: Columns = {}
        for device in self._devices:
            if device.table:
                probability = look_up(self._tables[device.name], tracks, np.arcsinh(tan_lambda), multiplicity)
            else:
                probability = np.full(len(rows), math.nan)
                pass_absorber(
                    self._ranges,
                    device.surface(),
                    device.iron_cm or 0.0,
                    tracks,
                    self._b_z,
                    MASSES,
                    CHARGES,
                    C_TAU,
                    probability,
                )
                probability *= device.efficiency
            probability[tracks.rigidity < device.p_min] = math.nan
            made |= decisions(
                device.name, "muon", probability, tracks, streams.key(f"{self.name}/{device.name}"), rows, batch
            )
        return Made(made)


def columns_of(device: str, what: str) -> tuple[Column, Column, Column]:
    """Mask, decision and probability of a device that looks for `what`."""
    text = f"{device}'s probability to take the true particle for one: for weights, not for selections"
    return (
        is_measured(device),
        Column(f"{device}_is_{what}", "track", "bool", "", f"measured by {device}, and taken for a {what}"),
        of_track(device, "probability_true", "", text),
    )


def decisions(
    device: str,
    what: str,
    probability: NDArray[np.float64],
    tracks: Tracks,
    key: Key,
    rows: NDArray[np.int64],
    batch: EventBatch,
) -> Columns:
    """The columns of `columns_of`; where the probability is NaN, nothing was measured."""
    decision = np.zeros(len(rows), dtype=np.bool_)
    decide(probability, tracks, key, decision)
    values = (~np.isnan(probability), decision, probability)
    return {
        column: spread(value, rows, column, batch)
        for column, value in zip(columns_of(device, what), values, strict=True)
    }


def look_up(
    tables: dict[str, MuonTable], tracks: Tracks, eta: NDArray[np.float64], multiplicity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probabilities by the true species, at the reconstructed eta and p.

    Beyond the last bin in p, z and multiplicity the outer bin counts; outside the table's eta and below its p nothing is measured
    (NaN). Species without a table are never muons.
    """
    probability = np.zeros(len(eta))
    for name, table in tables.items():
        mine = np.flatnonzero(tracks.species == NAMES.index(name))
        where = (
            eta[mine],
            tracks.rigidity[mine] * CHARGES[NAMES.index(name)],
            tracks.position[mine, 2],
            multiplicity[mine],
        )
        bins = tuple(bin_of(edges, values) for edges, values in zip(table[:4], where, strict=True))
        probability[mine] = table.probability[bins]
    widest = max(float(np.abs(table.eta).max()) for table in tables.values())
    lowest = min(float(table.p[0]) for table in tables.values())
    probability[(np.abs(eta) > widest) | (tracks.rigidity < lowest)] = math.nan
    return probability
