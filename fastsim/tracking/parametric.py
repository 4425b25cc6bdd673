"""Parametric tracking: every charged particle is smeared by its lookup table, in the bin of its production radius.

In this order: which particles are candidates, the fate and the smearing of one track and of many, and the module.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim import columns as c
from fastsim.detector.geometry import elements
from fastsim.errors import CardError, InputError
from fastsim.events import offsets_from_counts, production_points
from fastsim.jit import kernel
from fastsim.kernels.covariance import PARITY, cholesky_5
from fastsim.kernels.helix import arc_length_1, curvature_1, perigee_1, wrap_1
from fastsim.kernels.lookup import LutTable, lookup_1
from fastsim.module import Made
from fastsim.rng import Key, Word, normals_1, uniforms_1
from fastsim.species import SPECIES, UNKNOWN_CHARGE, of_each, species_of
from fastsim.tracking import (
    BORN_OUTSIDE,
    CANDIDATE,
    INEFFICIENCY,
    NO_SOLUTION,
    NOT_A_TRACK,
    OUT_OF_RANGE,
    POINTS_AWAY,
    RECONSTRUCTED,
    STATUS,
    UNDEFINED_SPECIES,
    UNKNOWN_PDG,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.cards import Tracking
    from fastsim.columns import Column
    from fastsim.detector import Detector
    from fastsim.events import Columns, EventBatch
    from fastsim.luts.file import Grid
    from fastsim.rng import Streams

ALONG_THE_BEAM = 1e-9  # GeV: with less pt, eta and q/pt are beyond any table (and beyond a double in the end)
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
    """Fill `status` (n,): whether each particle is a candidate for a track, and if not, why. `position` (n, >= 3) [cm]."""
    for i in range(len(status)):
        if not final[i] or charge[i] == 0:
            status[i] = NOT_A_TRACK
        elif charge[i] == UNKNOWN_CHARGE:
            status[i] = UNKNOWN_PDG
        elif species[i] < 0:
            status[i] = UNDEFINED_SPECIES
        elif math.hypot(position[i, 0], position[i, 1]) >= r_max or abs(position[i, 2]) >= z_max:
            status[i] = BORN_OUTSIDE
        elif math.hypot(px[i], py[i]) < ALONG_THE_BEAM:
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
    """What the card, the table's axes and the detector say, for the kernel; mass [GeV] and c tau [cm] by species."""

    pt_min: float
    pt_max: float
    eta_max: float
    dnch_max: float
    pt_rule: int
    eta_rule: int
    dnch_rule: int
    dca_z_max: float
    b_z: float
    decays: bool
    r_out: float
    z_out: float
    mass: NDArray[np.float64]
    c_tau: NDArray[np.float64]


@kernel
def survival_1(
    r_birth: float,
    pt: float,
    tan_lambda: float,
    charge: float,
    b_z: float,
    r_out: float,
    z_out: float,
    mass: float,
    c_tau: float,
) -> float:
    """Probability not to decay before the end of the tracker at `r_out`, `z_out` [cm], or the first half turn.

    The path is that of a track from the beam line, from the production radius on: exp(-L m / (p c tau)).
    Source: PDG review, "Kinematics", 49.13; Delphes' DecayFilter removes the same tracks.
    """
    if math.isinf(c_tau):
        return 1.0
    c = curvature_1(charge / pt, b_z)
    end = arc_length_1(r_out, c)
    if math.isnan(end):
        end = math.pi / abs(c)
    if tan_lambda != 0.0:
        end = min(end, z_out / abs(tan_lambda))
    begin = arc_length_1(r_birth, c)
    if math.isnan(begin) or begin >= end:
        return 1.0
    return math.exp(-(end - begin) * mass / (pt * c_tau))  # sqrt(1 + tan^2) of path and momentum cancel


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
    dnch_deta: NDArray[np.float64],
    species: NDArray[np.int8],
    charge: NDArray[np.int8],
    position: NDArray[np.float64],
    px: NDArray[np.float64],
    py: NDArray[np.float64],
    pz: NDArray[np.float64],
    shift: NDArray[np.float64],
    efficiency_key: Key,
    smearing_key: Key,
    status: NDArray[np.uint8],
    outside: NDArray[np.int64],
    tracks: Tracks,
) -> None:
    """Look up, lose or smear the candidates.

    `rows` (n,) are the candidates' rows among the particles (all particle columns and `status` are per particle);
    `event_id`, `particle_index` and `dnch_deta` are per candidate. `outside` (4,) counts pt below, pt above, |eta| beyond and
    dN_ch/deta above the table (each only of those that the rules before let pass). Rows that are not reconstructed keep NaN.
    `shift` (n_particles, 5) is what the fitted parameters are off by before they are smeared; it may be empty.
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
        if abs(eta) > settings.eta_max:
            outside[2] += 1
            if settings.eta_rule != CLAMP:
                status[i] = OUT_OF_RANGE
                continue
        if pt < settings.pt_min or pt > settings.pt_max:
            outside[0 if pt < settings.pt_min else 1] += 1
            if settings.pt_rule != CLAMP:
                status[i] = OUT_OF_RANGE
                continue
        if dnch_deta[n] > settings.dnch_max:
            outside[3] += 1
            if settings.dnch_rule != CLAMP:
                status[i] = OUT_OF_RANGE
                continue
        r = math.hypot(position[i, 0], position[i, 1])
        points_away = abs(true[1]) > settings.dca_z_max
        if points_away or not lookup_1(
            table, species[i], r, eta, math.log(pt), math.log(max(dnch_deta[n], 1e-300)), cell
        ):
            status[i] = POINTS_AWAY if points_away else NO_SOLUTION
            tracks.efficiency[n] = 0.0
            continue
        if settings.decays:
            cell[0] *= survival_1(
                r, pt, pz[i] / pt, float(charge[i]), settings.b_z, settings.r_out, settings.z_out,
                settings.mass[species[i]], settings.c_tau[species[i]],
            )  # fmt: skip
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
        if len(shift) > 0:
            for k in range(5):
                smeared[k] += shift[i, k]
        smeared[2] = wrap_1(smeared[2])
        status[i] = RECONSTRUCTED
        tracks.is_reconstructed[n] = True
        n_charges = abs(charge[i])  # its magnitude is taken from the truth: the curvature alone measures pt / |q|
        tracks.pt[n] = n_charges / abs(smeared[4])
        tracks.eta[n] = math.asinh(smeared[3])
        tracks.charge[n] = n_charges if smeared[4] > 0.0 else -n_charges


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
    needs: tuple[Column, ...] = (*c.READ, c.CHARGE_TRUE, c.DNCH_DETA)
    makes: tuple[Column, ...] = (
        c.TRACK_STATUS, c.PARTICLE_INDEX, c.SPECIES, c.IS_RECONSTRUCTED, c.EFFICIENCY, c.PT_TRUE, c.ETA_TRUE, *c.TRUE,
        *c.RECONSTRUCTED, c.COV_PACKED, c.PT, c.ETA, c.CHARGE, c.B_Z,
    )  # fmt: skip

    def __init__(self, options: Tracking, detector: Detector, table: LutTable, grid: Grid | None = None) -> None:
        self._grid = grid or options.grid
        self._r_max = float(table.r_edges[-1])
        measuring = [surface for surface in elements(detector) if surface.is_sensitive]
        ends = [max(abs(s.low), abs(s.high)) if not s.is_disk else abs(s.position) for s in measuring]
        radii = [s.high if s.is_disk else s.position for s in measuring]
        self._z_max = max(ends, default=math.inf)
        if options.decay_in_flight and not measuring:
            raise CardError(
                [f"tracking.decay_in_flight: {detector.name} has no layers, so nobody knows where a track ends"],
                hint="put the decays into its formulas or tables, or say decay_in_flight = false",
            )
        overflow, axes = options.overflow, self._grid
        self._options = options
        self._table = table
        self._settings = Settings(
            axes.pt_min, axes.pt_max, axes.eta_max, axes.dnch_max if table.efficiency.shape[-1] > 1 else math.inf,
            _RULES[overflow.pt], _RULES[overflow.eta], _RULES[overflow.dnch_deta], float(options.max_dca_z),
            float(detector.b_z),
            options.decay_in_flight, max(radii, default=math.inf), self._z_max,
            np.array([kind.mass for kind in SPECIES]), np.array([kind.c_tau for kind in SPECIES]),
        )  # fmt: skip

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Classify all particles and smear the candidates."""
        pdg, charge = batch[c.PDG], batch[c.CHARGE_TRUE]
        species = of_each(pdg, species_of)
        species[self._table.row[species] < 0] = -1  # row[-1] is some species': it stays -1 then
        px, py, pz = (batch[column] for column in c.MOMENTUM)
        position = production_points(batch)
        status = np.zeros(len(pdg), dtype=np.uint8)
        classify(batch[c.STATUS] == 1, charge, species, px, py, position, self._r_max, self._z_max, status)
        rows = np.flatnonzero(status == CANDIDATE)
        events = np.searchsorted(batch.offsets["particle"], rows, side="right") - 1
        particle_index = (rows - batch.offsets["particle"][events]).astype(np.int32)
        tracks = make_tracks(len(rows))
        outside = np.zeros(4, dtype=np.int64)
        smear_tracks(
            self._table, self._settings, rows, batch[c.EVENT_ID][events], particle_index, batch[c.DNCH_DETA][events], species,
            charge, position, px, py, pz, batch[c.FIT_SHIFT] if c.FIT_SHIFT in batch else np.empty((0, 5)),
            streams.key("tracking/efficiency"), streams.key("tracking/smearing"), status, outside, tracks,
        )  # fmt: skip
        self._refuse(batch, status, outside)
        made: Columns = {
            c.TRACK_STATUS: status, c.PARTICLE_INDEX: particle_index, c.SPECIES: species[rows],
            c.IS_RECONSTRUCTED: tracks.is_reconstructed, c.EFFICIENCY: tracks.efficiency, c.PT_TRUE: tracks.pt_true,
            c.ETA_TRUE: tracks.eta_true, c.COV_PACKED: tracks.cov_packed, c.PT: tracks.pt, c.ETA: tracks.eta,
            c.CHARGE: tracks.charge, c.B_Z: np.full(batch.n_events, self._settings.b_z),
        }  # fmt: skip
        for k in range(5):
            made[c.TRUE[k]] = np.ascontiguousarray(tracks.true[:, k])
            made[c.RECONSTRUCTED[k]] = np.ascontiguousarray(tracks.smeared[:, k])
        offsets = offsets_from_counts(np.bincount(events, minlength=batch.n_events))
        return Made(made, {"track": offsets}, self._counts(pdg, status, outside))

    def _axes(self, outside: NDArray[np.int64]) -> tuple[tuple[str, str, int, str], ...]:
        """Axis, rule, number of candidates beyond it, and how to say so, for each side of the table."""
        grid, rules = self._grid, self._options.overflow
        below, above, beyond, crowded = (int(n) for n in outside)
        return (
            ("pt", rules.pt, below, f"pt below {grid.pt_min:g} GeV"),
            ("pt", rules.pt, above, f"pt above {grid.pt_max:g} GeV"),
            ("eta", rules.eta, beyond, f"|eta| above {grid.eta_max:g}"),
            ("dnch_deta", rules.dnch_deta, crowded, f"dN_ch/deta above {grid.dnch_max:g}"),
        )

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
        for axis, rule, n, text in self._axes(outside):
            if n and rule == "error":
                raise InputError(
                    f"particles with {text}, where the table ends: {n}",
                    where=f"events {batch[c.EVENT_ID][0]} to {batch[c.EVENT_ID][-1]}",
                    hint=f'tracking.overflow.{axis} may also be "clamp" or "not_reconstructed"',
                )

    def _counts(self, pdg: NDArray[np.int32], status: NDArray[np.uint8], outside: NDArray[np.int64]) -> dict[str, int]:
        counts = {f"{text} ({rule.replace('_', ' ')})": n for _, rule, n, text in self._axes(outside) if n}
        for kind in (UNDEFINED_SPECIES, UNKNOWN_PDG):
            codes, numbers = np.unique(pdg[status == kind], return_counts=True)
            for code, n in zip(codes, numbers, strict=True):
                counts[f"{STATUS[kind]}: {code}" if kind == UNKNOWN_PDG else f"{STATUS[kind]}: PDG {code}"] = int(n)
        return counts
