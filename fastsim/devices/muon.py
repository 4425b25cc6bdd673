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
from fastsim.devices.common import CHARGES, MASSES, N_SPECIES, chosen, is_measured, log_likelihood, of_track
from fastsim.devices.muon_table import read_muon_tables
from fastsim.devices.true_tracks import NEEDS, Tracks, spread, start_1, tracks_of
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
LEAST = 1e-6  # no decision is taken to be less likely, whatever a table says
_AXIS = np.linspace(math.log(0.06), math.log(1e5), 1200)


def make_ranges() -> Ranges:
    """Ranges from beta gamma 0.06 (where a particle stops within micrometres) to 1e5."""
    length, variance = np.empty(len(_AXIS)), np.empty(len(_AXIS))
    fill_ranges(np.exp(_AXIS), MASSES[MUON], length, variance)
    return Ranges((float(_AXIS[0]), (len(_AXIS) - 1) / float(_AXIS[-1] - _AXIS[0])), length, variance)


@kernel
def pass_absorber(
    ranges: Ranges, place: PlaceNumbers, iron: float, is_projective: bool, p_min: float, tracks: Tracks, b_z: float,
    masses: NDArray[np.float64], charges: NDArray[np.float64], c_tau: NDArray[np.float64], probability: NDArray[np.float64],
    hypotheses: NDArray[np.float64], efficiency: float,
) -> None:  # fmt: skip
    """Fill the probability to come through `iron` [cm at normal incidence] of the tracks that reach its front; else NaN.

    Tracks below the reconstructed `p_min` [GeV/e] are not looked at. `probability` (n,) is that of the true particle,
    `hypotheses` (n, 9) those of each species with the reconstructed p/z.
    """
    for i in range(len(probability)):
        if tracks.rigidity[i] < p_min:
            continue
        u, v, tan_lambda, curvature, p = start_1(tracks, i, b_z)
        s, r, z = reach_1(
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
            hypotheses[i] = 0.0
            continue
        k = tracks.species[i]
        way, thickness = s * slope, iron * slope / cosine
        if is_projective:  # of that of a straight track from the origin to this place
            thickness *= place.position / math.hypot(r, z)
        probability[i] = efficiency * through_iron_1(
            ranges, k, p, masses[k], charges[k], c_tau[k], masses[MUON], way, thickness
        )
        for k in range(len(masses)):
            hypotheses[i, k] = efficiency * through_iron_1(
                ranges,
                k,
                tracks.rigidity[i] * charges[k],
                masses[k],
                charges[k],
                c_tau[k],
                masses[MUON],
                way,
                thickness,
            )


@kernel
def decide(
    probability: NDArray[np.float64], hypotheses: NDArray[np.float64], tracks: Tracks, key: Key,
    decision: NDArray[np.bool_], log_likelihood: NDArray[np.float64],
) -> None:  # fmt: skip
    """Take tracks for what the device looks for, each with its probability (NaN: not measured, never); fill likelihoods (n, 9).

    The likelihood of a decision is the hypothesis' probability of it, at least `LEAST`.
    """
    for i in range(len(probability)):
        if math.isnan(probability[i]):
            continue
        decision[i] = uniforms_1(0, tracks.particle_index[i], tracks.event_id[i], key.k0, key.k1)[0] < probability[i]
        for k in range(hypotheses.shape[1]):
            likely = hypotheses[i, k] if decision[i] else 1.0 - hypotheses[i, k]
            log_likelihood[i, k] = 0.0 if likely == 1.0 else math.log(max(likely, LEAST))


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
        self.needs: tuple[Column, ...] = (*NEEDS, c.RECONSTRUCTED[1], c.DNCH_DETA)
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
        eta, z = np.arcsinh(batch[c.RECONSTRUCTED[3]][rows]), batch[c.RECONSTRUCTED[1]][rows]
        made: Columns = {}
        for device in self._devices:
            if device.table:
                found = look_up(self._tables[device.name], tracks, eta, z, multiplicity)
            else:
                found = np.full(len(rows), math.nan), np.full((len(rows), N_SPECIES), math.nan)
                pass_absorber(
                    self._ranges, device.surface(), device.iron_cm or 0.0, device.is_projective, device.p_min, tracks,
                    self._b_z, MASSES, CHARGES, C_TAU, *found, device.efficiency,
                )  # fmt: skip
            found[0][tracks.rigidity < device.p_min] = math.nan
            made |= decisions(
                device.name, "muon", found, tracks, streams.key(f"{self.name}/{device.name}"), rows, batch
            )
        return Made(made)


def columns_of(device: str, what: str) -> tuple[Column, Column, Column, Column]:
    """Mask, decision, its likelihoods and the true probability, of a device that looks for `what`."""
    text = f"{device}'s probability to take the true particle for one: for weights, not for selections"
    return (
        is_measured(device),
        Column(f"{device}_is_{what}", "track", "bool", "", f"measured by {device}, and taken for a {what}"),
        log_likelihood(device),
        of_track(device, "probability_true", "", text),
    )


def decisions(
    device: str, what: str, found: tuple[NDArray[np.float64], NDArray[np.float64]], tracks: Tracks, key: Key,
    rows: NDArray[np.int64], batch: EventBatch,
) -> Columns:  # fmt: skip
    """The columns of `columns_of`, from the probabilities of the true species (n,) and of each hypothesis (n, 9).

    Where the true one is NaN, nothing was measured.
    """
    probability, hypotheses = found
    decision, likelihood = np.zeros(len(rows), dtype=np.bool_), np.full(hypotheses.shape, math.nan)
    decide(probability, hypotheses, tracks, key, decision, likelihood)
    values = (~np.isnan(probability), decision, likelihood, probability)
    return {
        column: spread(value, rows, column, batch)
        for column, value in zip(columns_of(device, what), values, strict=True)
    }


def look_up(
    tables: dict[str, MuonTable], tracks: Tracks, eta: NDArray[np.float64], z: NDArray[np.float64],
    multiplicity: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Probabilities at the reconstructed eta and p of the true species (n,), and of each hypothesis (n, 9).

    The true one takes the true z of production, hypotheses that of the closest approach `z` [cm]. Beyond the last bin in p, z and
    multiplicity the outer bin counts; outside the table's eta and below its p nothing is measured (NaN). Species without a
    table are never muons.
    """
    probability, hypotheses = np.zeros(len(eta)), np.zeros((len(eta), N_SPECIES))
    for name, table in tables.items():
        species = NAMES.index(name)
        p = tracks.rigidity * CHARGES[species]
        hypotheses[:, species] = _at(table, eta, p, z, multiplicity)
        mine = np.flatnonzero(tracks.species == species)
        probability[mine] = _at(table, eta[mine], p[mine], tracks.position[mine, 2], multiplicity[mine])
    widest = max(float(np.abs(table.eta).max()) for table in tables.values())
    lowest = min(float(table.p[0]) for table in tables.values())
    probability[(np.abs(eta) > widest) | (tracks.rigidity < lowest)] = math.nan
    return probability, hypotheses


def _at(table: MuonTable, *where: NDArray[np.float64]) -> NDArray[np.float64]:
    bins = tuple(bin_of(edges, values) for edges, values in zip(table[:4], where, strict=True))
    return np.asarray(table.probability[bins])
