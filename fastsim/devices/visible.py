"""Which particles of the generator's record calorimeters see, and as what."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fastsim import columns as c
from fastsim.devices.deposits import ELECTROMAGNETIC, HADRON, INVISIBLE, MIP, Sections, Visible, reaches
from fastsim.events import production_points
from fastsim.kernels.ancestry import mark_descendants
from fastsim.kernels.cells import IS_DISK, POSITION
from fastsim.species import of_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.events import EventBatch
    from fastsim.kernels.cells import Grids

NEEDS: tuple[Column, ...] = (
    c.EVENT_ID, *c.VERTEX_TRUE, *c.VERTEX_POSITION, c.PDG, c.STATUS, *c.MOMENTUM, c.ENERGY, c.MASS, c.PRODUCTION_VERTEX,
    c.END_VERTEX, c.CHARGE_TRUE,
)  # fmt: skip


def families_of(codes: NDArray[np.int32]) -> NDArray[np.int8]:
    """What distinct PDG codes are to a calorimeter.

    Charged particles that are no hadrons pass as muons do; other neutral ones (neutrinos, dark matter) leave nothing.
    """
    return np.array([_family_and_baryons(int(code))[0] for code in codes], dtype=np.int8)


def baryons_of(codes: NDArray[np.int32]) -> NDArray[np.int8]:
    """1 for baryons and nuclei, whose mass is not absorbed, -1 for antibaryons, whose mass is so twice; else 0."""
    return np.array([_family_and_baryons(int(code))[1] for code in codes], dtype=np.int8)


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

    What descends from one that decays behind is not counted again. `codes`: PDG codes with a share of their own.
    """
    pdg, status = batch[c.PDG], batch[c.STATUS]
    family = of_each(pdg, families_of)
    points = production_points(batch)
    is_left = batch.columns.get(c.LEAVES_TRACKER, status == 1)  # of electrons that radiated, the rest
    is_seen = is_left & (family != INVISIBLE)
    late = np.flatnonzero((status == 2) & (family != INVISIBLE) & _ends_far(batch, grids))
    if len(late):
        reached = np.zeros(len(late), dtype=np.bool_)
        reaches(grids, sections, _select(batch, late, family, points, codes), b_z, reached)
        parents, descendants = np.zeros((2, len(pdg)), dtype=np.bool_)
        parents[late[reached]] = True
        record = (batch.offsets["particle"], batch.offsets["vertex"], batch[c.PRODUCTION_VERTEX], batch[c.END_VERTEX])
        mark_descendants(*record, parents, descendants)
        is_seen = (is_seen | parents) & ~descendants
    rows = np.flatnonzero(is_seen)
    return rows, _select(batch, rows, family, points, codes)


def _ends_far(batch: EventBatch, grids: Grids) -> NDArray[np.bool_]:
    """Which particles decay further out than some calorimeter begins."""
    x, y, z, _ = (batch[column] for column in c.VERTEX_POSITION)
    is_disk = grids.place[:, IS_DISK] > 0.0
    r_min = grids.place[~is_disk, POSITION].min(initial=math.inf)
    z_min = grids.place[is_disk, POSITION].min(initial=math.inf)
    is_far = (np.hypot(x, y) >= r_min) | (np.abs(z) >= z_min)
    end = batch[c.END_VERTEX]
    result = np.zeros(len(end), dtype=np.bool_)
    if is_far.any():
        decayed = np.flatnonzero(end >= 0)
        result[decayed] = is_far[(batch.offsets["vertex"][batch.event_index("particle")] + end)[decayed]]
    return result


def _select(
    batch: EventBatch,
    rows: NDArray[np.int64],
    family: NDArray[np.int8],
    points: NDArray[np.float64],
    codes: Sequence[int],
) -> Visible:
    """Some particles, as the kernels want them."""
    event = np.searchsorted(batch.offsets["particle"], rows, side="right") - 1
    pdg, own, energy = batch[c.PDG][rows], family[rows], batch[c.ENERGY][rows]
    baryons = of_each(pdg, baryons_of)
    group = own.astype(np.int16)
    for number, code in enumerate(codes):
        group[np.abs(pdg) == code] = HADRON + 1 + number
    ends = np.full(len(rows), math.inf)
    late = np.flatnonzero(batch[c.STATUS][rows] == 2)
    if len(late):
        vertex = batch.offsets["vertex"][event[late]] + batch[c.END_VERTEX][rows[late]]
        end = np.stack([batch[column][vertex] for column in c.VERTEX_POSITION[:3]], axis=1)
        ends[late] = np.linalg.norm(end - points[rows[late], :3], axis=1)
    return Visible(
        batch[c.EVENT_ID][event], (rows - batch.offsets["particle"][event]).astype(np.int32), points[rows],
        np.stack([batch[column][rows] for column in c.MOMENTUM], axis=1), energy,
        np.maximum(energy - baryons * batch[c.MASS][rows], 0.0), batch[c.CHARGE_TRUE][rows], own, group, baryons != 0, ends,
    )  # fmt: skip
