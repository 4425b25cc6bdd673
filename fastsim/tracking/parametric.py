"""Parametric tracking: every charged particle from inside the innermost layer is smeared by its lookup table.

In this order: which particles are candidates, the smearing of one track and of many, and the module.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.events import offsets_from_counts
from fastsim.jit import kernel
from fastsim.kernels.ancestry import mark_copied, mark_from_long_lived
from fastsim.kernels.covariance import PARITY, cholesky_5
from fastsim.kernels.helix import perigee_1, wrap_1
from fastsim.kernels.lookup import LutTable, lookup_1
from fastsim.module import Made
from fastsim.rng import Key, Word, normals_1, uniforms_1
from fastsim.species import UNKNOWN_CHARGE, charges_of, is_long_lived, species_of
from fastsim.tracking import (
    CANDIDATE,
    INEFFICIENCY,
    NO_SOLUTION,
    NOT_A_TRACK,
    OUT_OF_RANGE,
    RECONSTRUCTED,
    SECONDARY,
    UNDEFINED_SPECIES,
    UNKNOWN_PDG,
)  # fmt: skip

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.cards import Tracking
    from fastsim.columns import Column
    from fastsim.detector import Detector
    from fastsim.events import EventBatch
    from fastsim.rng import Streams

ERROR, NOT_RECONSTRUCTED, CLAMP = 0, 1, 2
_RULES = {"error": ERROR, "not_reconstructed": NOT_RECONSTRUCTED, "clamp": CLAMP}


@kernel
def classify(
    final: NDArray[np.bool_],
    charge: NDArray[np.int8],
    species: NDArray[np.int8],
    px: NDArray[np.float64],
    py: NDArray[np.float64],
    position: NDArray[np.float64],
    r_max: float,
    z_max: float,
    status: NDArray[np.uint8],
) -> None:
    """Fill `status` (n,): whether each particle is a candidate for a track, and if not, why. `position` (n, 3) [cm]."""
    for i in range(len(status)):
        if not final[i] or charge[i] == 0:
            status[i] = NOT_A_TRACK
        elif charge[i] == UNKNOWN_CHARGE:
            status[i] = UNKNOWN_PDG
        elif species[i] < 0:
            status[i] = UNDEFINED_SPECIES
        elif math.hypot(position[i, 0], position[i, 1]) >= r_max or abs(position[i, 2]) >= z_max:
            status[i] = SECONDARY
        elif px[i] == 0.0 and py[i] == 0.0:
            status[i] = OUT_OF_RANGE
        else:
            status[i] = CANDIDATE


@kernel
def smear_1(
    cell: NDArray[np.float64],
    charge: float,
    true: NDArray[np.float64],
    particle_index: int,
    event_id: Word,
    k0: Word,
    k1: Word,
    work: NDArray[np.float64],
    smeared: NDArray[np.float64],
    cov_packed: NDArray[np.float64],
) -> bool:
    """Draw one smeared parameter vector.

    `cell` (16,) as from the lookup, its five ln sigma are replaced by sigma; `true`, `smeared` (5,) and `cov_packed`
    (15,) [cm, cm, rad, -, 1/GeV]; `work` (2, 5, 5) is overwritten. Returns False if the matrix is not positive
    definite. Source: Cholesky, PDG review "Monte Carlo techniques".
    """
    sign = 1.0 if charge > 0 else -1.0
    k = 0
    for i in range(5):
        for j in range(i):
            rho = cell[6 + k]
            work[0, i, j] = rho * PARITY[k] if sign < 0.0 else rho
            k += 1
        work[0, i, i] = 1.0
    if not cholesky_5(work[0], work[1]):
        return False
    normal = (
        normals_1(0, particle_index, event_id, k0, k1)
        + normals_1(1, particle_index, event_id, k0, k1)
        + normals_1(2, particle_index, event_id, k0, k1)
    )
    k = 0
    for i in range(5):
        cell[1 + i] = math.exp(cell[1 + i])
        shift = 0.0
        for j in range(i + 1):
            shift += work[1, i, j] * normal[j]
            cov_packed[k] = work[0, i, j] * cell[1 + i] * cell[1 + j]
            k += 1
        smeared[i] = true[i] + cell[1 + i] * shift
    return True


class Settings(NamedTuple):
    """What the card and the table's axes say, for the kernel."""

    pt_min: float
    pt_max: float
    eta_max: float
    pt_rule: int
    eta_rule: int
    b_z: float


class Tracks(NamedTuple):
    """Columns of the track table that the kernel fills, n rows."""

    is_reconstructed: NDArray[np.bool_]
    efficiency: NDArray[np.float64]
    pt_true: NDArray[np.float64]
    eta_true: NDArray[np.float64]
    true: NDArray[np.float64]
    smeared: NDArray[np.float64]
    cov_packed: NDArray[np.float64]
    pt: NDArray[np.float64]
    eta: NDArray[np.float64]
    charge: NDArray[np.int8]


@kernel
def smear_tracks(
    table: LutTable,
    settings: Settings,
    rows: NDArray[np.int64],
    event_id: NDArray[np.uint64],
    particle_index: NDArray[np.int32],
    species: NDArray[np.int8],
    charge: NDArray[np.int8],
    position: NDArray[np.float64],
    px: NDArray[np.float64],
    py: NDArray[np.float64],
    pz: NDArray[np.float64],
    efficiency_key: Key,
    smearing_key: Key,
    status: NDArray[np.uint8],
    outside: NDArray[np.int64],
    tracks: Tracks,
) -> None:
    """Look up, lose or smear the candidates.

    `rows` (n,) are the candidates' rows among the particles (all particle columns and `status` are per particle);
    `event_id` and `particle_index` are per candidate. `outside` (3,) counts pt below, pt above and |eta| beyond the
    table. Rows that are not reconstructed keep NaN.
    """
    cell = np.empty(16)
    work = np.zeros((2, 5, 5))
    for n in range(len(rows)):
        i = rows[n]
        true = tracks.true[n]
        parameters = perigee_1(
            position[i, 0], position[i, 1], position[i, 2], px[i], py[i], pz[i], float(charge[i]), settings.b_z
        )
        for k in range(5):
            true[k] = parameters[k]
        pt = math.hypot(px[i], py[i])
        eta = math.asinh(pz[i] / pt)
        tracks.pt_true[n] = pt
        tracks.eta_true[n] = eta
        outside[0] += pt < settings.pt_min
        outside[1] += pt > settings.pt_max
        outside[2] += abs(eta) > settings.eta_max
        beyond_pt = pt < settings.pt_min or pt > settings.pt_max
        if (beyond_pt and settings.pt_rule != CLAMP) or (abs(eta) > settings.eta_max and settings.eta_rule != CLAMP):
            status[i] = OUT_OF_RANGE
            continue
        if not lookup_1(table, species[i], eta, math.log(pt), cell):
            status[i] = NO_SOLUTION
            tracks.efficiency[n] = 0.0
            continue
        tracks.efficiency[n] = cell[0]
        u, _ = uniforms_1(0, particle_index[n], event_id[n], efficiency_key.k0, efficiency_key.k1)
        if u >= cell[0]:
            status[i] = INEFFICIENCY
            continue
        smeared = tracks.smeared[n]
        if not smear_1(
            cell, float(charge[i]), true, particle_index[n], event_id[n], smearing_key.k0, smearing_key.k1,
            work, smeared, tracks.cov_packed[n],
        ):  # fmt: skip
            status[i] = NO_SOLUTION
            continue
        smeared[2] = wrap_1(smeared[2])
        status[i] = RECONSTRUCTED
        tracks.is_reconstructed[n] = True
        tracks.pt[n] = 1.0 / abs(smeared[4])
        tracks.eta[n] = math.asinh(smeared[3])
        tracks.charge[n] = 1 if smeared[4] > 0.0 else -1


def make_tracks(n: int) -> Tracks:
    """Empty rows: NaN, not reconstructed."""
    nan = math.nan
    return Tracks(
        is_reconstructed=np.zeros(n, dtype=np.bool_),
        efficiency=np.full(n, nan),
        pt_true=np.full(n, nan),
        eta_true=np.full(n, nan),
        true=np.full((n, 5), nan),
        smeared=np.full((n, 5), nan),
        cov_packed=np.full((n, 15), nan),
        pt=np.full(n, nan),
        eta=np.full(n, nan),
        charge=np.zeros(n, dtype=np.int8),
    )


class ParametricTracking:
    """The `[tracking]` table of a card at level "parametric"."""

    name = "tracking"
    needs: tuple[Column, ...] = c.READ
    makes: tuple[Column, ...] = (
        c.CHARGE_TRUE, c.FROM_LONG_LIVED, c.IS_PRIMARY, c.TRACK_STATUS, c.DNCH_DETA, c.PARTICLE_INDEX, c.SPECIES,
        c.IS_RECONSTRUCTED, c.EFFICIENCY, c.PT_TRUE, c.ETA_TRUE, *c.TRUE, *c.RECONSTRUCTED, c.COV_PACKED, c.PT, c.ETA, c.CHARGE,
    )  # fmt: skip

    def __init__(self, options: Tracking, detector: Detector, table: LutTable) -> None:
        innermost = min(detector.layers, key=lambda layer: layer.r)
        self._r_max, self._z_max = innermost.r, innermost.half_length
        grid = options.grid
        overflow = options.overflow
        self._options = options
        self._table = table
        self._settings = Settings(
            grid.pt_min, grid.pt_max, grid.eta_max, _RULES[overflow.pt], _RULES[overflow.eta], float(detector.b_z)
        )

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Classify all particles, smear the candidates, and measure the event's multiplicity density."""
        pdg = batch[c.PDG]
        codes, which = np.unique(pdg, return_inverse=True)
        charge = charges_of(codes)[which]
        species = species_of(codes)[which]
        long_lived = is_long_lived(codes)[which]
        px, py, pz = (batch[column] for column in c.MOMENTUM)
        position = self._positions(batch)
        final = batch[c.STATUS] == 1
        status = np.zeros(len(pdg), dtype=np.uint8)
        classify(final, charge, species, px, py, position, self._r_max, self._z_max, status)
        from_long_lived = self._from_long_lived(batch, long_lived)
        # A particle that the generator decayed (status 2) is as primary as one that it did not; beams are not.
        is_primary = long_lived & ~from_long_lived & (final | (batch[c.STATUS] == 2))

        rows = np.flatnonzero(status == CANDIDATE)
        events = np.searchsorted(batch.offsets["particle"], rows, side="right") - 1
        particle_index = (rows - batch.offsets["particle"][events]).astype(np.int32)
        tracks = make_tracks(len(rows))
        outside = np.zeros(3, dtype=np.int64)
        smear_tracks(
            self._table, self._settings, rows, batch[c.EVENT_ID][events], particle_index, species, charge, position, px, py, pz,
            streams.key("tracking/efficiency"), streams.key("tracking/smearing"), status, outside, tracks,
        )  # fmt: skip
        self._refuse(batch, status, outside)
        made = {
            c.CHARGE_TRUE: charge, c.FROM_LONG_LIVED: from_long_lived, c.IS_PRIMARY: is_primary, c.TRACK_STATUS: status,
            c.DNCH_DETA: self._dnch_deta(batch, is_primary & (charge != 0) & (charge != UNKNOWN_CHARGE)),
            c.PARTICLE_INDEX: particle_index, c.SPECIES: species[rows], c.IS_RECONSTRUCTED: tracks.is_reconstructed,
            c.EFFICIENCY: tracks.efficiency, c.PT_TRUE: tracks.pt_true, c.ETA_TRUE: tracks.eta_true,
            c.COV_PACKED: tracks.cov_packed, c.PT: tracks.pt, c.ETA: tracks.eta, c.CHARGE: tracks.charge,
        }  # fmt: skip
        for k in range(5):
            made[c.TRUE[k]] = np.ascontiguousarray(tracks.true[:, k])
            made[c.RECONSTRUCTED[k]] = np.ascontiguousarray(tracks.smeared[:, k])
        offsets = offsets_from_counts(np.bincount(events, minlength=batch.n_events))
        return Made(made, {"track": offsets}, self._counts(pdg, status, outside))

    @staticmethod
    def _positions(batch: EventBatch) -> NDArray[np.float64]:
        """Production points (n, 3) [cm]; the origin for particles without a production vertex."""
        local = batch[c.PRODUCTION_VERTEX]
        vertices = np.column_stack([*(batch[column] for column in c.VERTEX_POSITION[:3])])
        vertices = np.vstack([vertices, np.zeros((1, 3))])
        row = local + np.repeat(batch.offsets["vertex"][:-1], np.diff(batch.offsets["particle"]))
        return vertices[np.where(local >= 0, row, len(vertices) - 1)]

    @staticmethod
    def _from_long_lived(batch: EventBatch, long_lived: NDArray[np.bool_]) -> NDArray[np.bool_]:
        record = (batch.offsets["particle"], batch.offsets["vertex"], batch[c.PRODUCTION_VERTEX], batch[c.END_VERTEX])
        copied = np.zeros(len(long_lived), dtype=np.bool_)
        mark_copied(*record, batch[c.PDG], copied)
        marks = np.zeros(len(long_lived), dtype=np.bool_)
        mark_from_long_lived(*record, long_lived & (batch[c.STATUS] == 2) & ~copied, marks)
        return marks

    def _dnch_deta(self, batch: EventBatch, selected: NDArray[np.bool_]) -> NDArray[np.float64]:
        px, py, pz = (batch[column] for column in c.MOMENTUM)
        eta_max = self._options.dnch_deta_eta_max
        central = selected & (np.abs(pz) < math.sinh(eta_max) * np.hypot(px, py))
        total = np.concatenate([[0], np.cumsum(central)])
        offsets = batch.offsets["particle"]
        return np.asarray((total[offsets[1:]] - total[offsets[:-1]]) / (2.0 * eta_max))

    def _refuse(self, batch: EventBatch, status: NDArray[np.uint8], outside: NDArray[np.int64]) -> None:
        """Raise InputError for what the card calls an error."""
        if self._options.undefined_species == "error":
            bad = np.flatnonzero((status == UNDEFINED_SPECIES) | (status == UNKNOWN_PDG))
            if len(bad):
                event = int(np.searchsorted(batch.offsets["particle"], bad[0], side="right") - 1)
                position = bad[0] - batch.offsets["particle"][event]
                raise InputError(
                    f"particle {position} has PDG code {batch[c.PDG][bad[0]]}, for which there is no table",
                    where=f"event {batch[c.EVENT_ID][event]}",
                    hint='tracking.undefined_species = "skip" skips and counts such particles',
                )
        grid = self._options.grid
        for axis, count, text in (
            ("pt", outside[0] + outside[1], f"pt outside {grid.pt_min} to {grid.pt_max} GeV"),
            ("eta", outside[2], f"|eta| above {grid.eta_max}"),
        ):
            if count and getattr(self._options.overflow, axis) == "error":
                raise InputError(
                    f"{count} particles have {text}, where the table ends",
                    where=f"events {batch[c.EVENT_ID][0]} to {batch[c.EVENT_ID][-1]}",
                    hint=f'tracking.overflow.{axis} may also be "clamp" or "not_reconstructed"',
                )

    def _counts(self, pdg: NDArray[np.int32], status: NDArray[np.uint8], outside: NDArray[np.int64]) -> dict[str, int]:
        counts = Counter[str]()
        for axis, n in zip(("pt below the table", "pt above the table", "eta beyond the table"), outside, strict=True):
            rule = self._options.overflow.eta if axis.startswith("eta") else self._options.overflow.pt
            counts[f"{axis} ({rule.replace('_', ' ')})"] += int(n)
        for kind, text in ((UNDEFINED_SPECIES, "species without a table"), (UNKNOWN_PDG, "unknown PDG code")):
            codes, numbers = np.unique(pdg[status == kind], return_counts=True)
            for code, number in zip(codes, numbers, strict=True):
                counts[f"{text}: {code}"] += int(number)
        return {name: n for name, n in counts.items() if n}
