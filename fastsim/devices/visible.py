"""Which particles of the generator's record calorimeters see, and as what."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fastsim import columns as c
from fastsim.devices.common import origins
from fastsim.devices.deposits import ELECTROMAGNETIC, HADRON, INVISIBLE, MIP, Sections, Visible, reaches
from fastsim.jit import kernel
from fastsim.kernels.ancestry import mark_descendants
from fastsim.kernels.cells import BOTH_SIDES, HIGH, IS_DISK, LOW, POSITION
from fastsim.kernels.helix import curvature_1
from fastsim.kernels.reach import may_meet_1
from fastsim.species import of_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.events import EventBatch
    from fastsim.kernels.cells import Grids

FINAL, LATE = 1, 2  # marks of particles
DECAYED = 2  # status, as the generator's record has it
NEEDS: tuple[Column, ...] = (
    c.EVENT_ID, *c.VERTEX_TRUE, *c.VERTEX_POSITION, c.PDG, c.STATUS, *c.MOMENTUM, c.ENERGY, c.MASS, c.PRODUCTION_VERTEX,
    c.END_VERTEX, c.CHARGE_TRUE,
)  # fmt: skip


def families_of(codes: NDArray[np.int32]) -> NDArray[np.int8]:
    """What distinct PDG codes are to a calorimeter.

    Charged particles that are no hadrons pass as muons do; other neutral ones (neutrinos, dark matter) leave nothing.
    """
    return np.array([_family_and_baryons(int(code))[0] for code in codes], dtype=np.int8)


def kinds_of(codes: NDArray[np.int32]) -> NDArray[np.int8]:
    """The same, and 8 more for baryons and nuclei, whose mass is not absorbed, 8 less for antibaryons, whose mass is so twice."""
    return np.array([family + 8 * sign for family, sign in map(_family_and_baryons, codes.tolist())], dtype=np.int8)


@lru_cache(maxsize=65536)
def _family_and_baryons(code: int) -> tuple[int, int]:
    from particle import PDGID  # noqa: PLC0415  (67 ms that --help does not need)

    pdg = PDGID(code)
    sign = int(math.copysign(1, code)) if pdg.is_baryon or pdg.is_nucleus else 0
    if abs(code) in {11, 22, 111}:
        return ELECTROMAGNETIC, 0
    if pdg.is_hadron or pdg.is_nucleus:
        return HADRON, sign
    return (MIP if pdg.charge else INVISIBLE), 0


def find_visible(
    batch: EventBatch, grids: Grids, sections: Sections, codes: Sequence[int], b_z: float
) -> tuple[NDArray[np.int64], Visible]:
    """Rows and numbers of the particles that may leave energy: final ones, and those that decay behind a calorimeter's surface.

    What descends from one that decays behind is not counted again. `codes`: PDG codes with a share of their own. Some that
    cannot reach a calorimeter are left out already.
    """
    is_final = batch.columns.get(c.LEAVES_TRACKER, batch[c.STATUS] == 1)  # of electrons that radiated, the rest
    mark = np.empty(len(is_final), dtype=np.int8)
    px, py, pz = (batch[column] for column in c.MOMENTUM)
    x, y, z, _ = (batch[column] for column in c.VERTEX_POSITION)
    event_x, event_y, event_z, _ = (batch[column] for column in c.VERTEX_TRUE)
    mark_near(
        grids.place, b_z, batch.offsets["particle"], batch.offsets["vertex"], is_final, batch[c.STATUS], batch[c.END_VERTEX],
        batch[c.PRODUCTION_VERTEX], px, py, pz, batch[c.CHARGE_TRUE], x, y, z, event_x, event_y, event_z, mark,
    )  # fmt: skip
    rows = np.flatnonzero(mark)
    kinds = of_each(batch[c.PDG][rows], kinds_of)
    is_late = mark[rows] == LATE
    if is_late.any():
        late = rows[is_late]
        reached = np.zeros(len(late), dtype=np.bool_)
        own = _select(batch, late, kinds[is_late], codes)
        reaches(grids, sections, own, b_z, reached)
        reached &= own.family != INVISIBLE
        mark[late[~reached]] = 0
        parents, descendants = np.zeros((2, len(mark)), dtype=np.bool_)
        parents[late[reached]] = True
        record = (batch.offsets["particle"], batch.offsets["vertex"], batch[c.PRODUCTION_VERTEX], batch[c.END_VERTEX])
        mark_descendants(*record, parents, descendants)
        mark[descendants] = 0
        kept = mark[rows] != 0
        rows, kinds = rows[kept], kinds[kept]
    return rows, _select(batch, rows, kinds, codes)


@kernel
def mark_near(
    places: NDArray[np.float64], b_z: float, offsets: NDArray[np.int64], vertices: NDArray[np.int64],
    is_final: NDArray[np.bool_], status: NDArray[np.int32], end_vertex: NDArray[np.int32],
    production_vertex: NDArray[np.int32], px: NDArray[np.float64], py: NDArray[np.float64], pz: NDArray[np.float64],
    charge: NDArray[np.int8], x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64],
    event_x: NDArray[np.float64], event_y: NDArray[np.float64], event_z: NDArray[np.float64], mark: NDArray[np.int8],
) -> None:  # fmt: skip
    """Mark the particles that may meet a calorimeter: FINAL ones, and LATE ones, which decay further out than some surface.

    `places` as in `Grids`; `x`, `y`, `z` of vertices and of events [cm].
    """
    r2_min = z_min = math.inf
    for k in range(len(places)):
        if places[k, IS_DISK] > 0.0:
            z_min = min(z_min, places[k, POSITION])
        else:
            r2_min = min(r2_min, places[k, POSITION] * places[k, POSITION])
    for event in range(len(offsets) - 1):
        first = vertices[event]
        for i in range(offsets[event], offsets[event + 1]):
            mark[i] = 0
            kind = FINAL if is_final[i] else 0
            if kind == 0:
                if status[i] != DECAYED or end_vertex[i] < 0:
                    continue
                v = first + end_vertex[i]
                if x[v] * x[v] + y[v] * y[v] < r2_min and abs(z[v]) < z_min:
                    continue
                kind = LATE
            own_x, own_y, own_z = event_x[event], event_y[event], event_z[event]
            if production_vertex[i] >= 0:
                v = first + production_vertex[i]
                own_x, own_y, own_z = x[v], y[v], z[v]
            bend = curvature_1(float(charge[i]), b_z)
            for k in range(len(places)):
                if may_meet_1(
                    places[k, IS_DISK] > 0.0, places[k, POSITION], places[k, LOW], places[k, HIGH],
                    places[k, BOTH_SIDES] > 0.0, own_x, own_y, own_z, px[i], py[i], pz[i], bend,
                ):  # fmt: skip
                    mark[i] = kind
                    break


def _select(batch: EventBatch, rows: NDArray[np.int64], kinds: NDArray[np.int8], codes: Sequence[int]) -> Visible:
    """Some particles, as the kernels want them; `kinds` as from `kinds_of`."""
    event = np.searchsorted(batch.offsets["particle"], rows, side="right") - 1
    pdg, energy = batch[c.PDG][rows], batch[c.ENERGY][rows]
    points = origins(batch, rows, event)
    baryons = (kinds + 4) // 8  # -1, 0 or 1
    family = kinds - 8 * baryons
    group = family.astype(np.int16)
    for number, code in enumerate(codes):
        group[np.abs(pdg) == code] = HADRON + 1 + number
    ends = np.full(len(rows), math.inf)
    late = np.flatnonzero(batch[c.STATUS][rows] == DECAYED)
    if len(late):
        vertex = batch.offsets["vertex"][event[late]] + batch[c.END_VERTEX][rows[late]]
        end = np.stack([batch[column][vertex] for column in c.VERTEX_POSITION[:3]], axis=1)
        ends[late] = np.linalg.norm(end - points[late, :3], axis=1)
    return Visible(
        batch[c.EVENT_ID][event], (rows - batch.offsets["particle"][event]).astype(np.int32), points,
        np.stack([batch[column][rows] for column in c.MOMENTUM], axis=1), energy,
        np.maximum(energy - baryons * batch[c.MASS][rows], 0.0), batch[c.CHARGE_TRUE][rows], family, group, baryons != 0, ends,
    )  # fmt: skip
