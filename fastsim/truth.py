"""How much of the generator's record goes to the output: the card's `output.truth`.

Writers see a batch whose particles and vertices are those that are kept. Nothing else changes: tracks and their numbers are
made before, from the whole record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsim import columns as c
from fastsim.events import EventBatch
from fastsim.kernels.ancestry import mark_descendants
from fastsim.kernels.truth import HEAVY_QUARK, OTHER, PARTON, RESONANCE, keep_standard, relink
from fastsim.species import of_each

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fastsim.cards.schema import Truth
    from fastsim.columns import Column, Table
    from fastsim.events import Columns


# PDG numbering scheme (Phys. Rev. D 110 (2024) 030001, section 45): 1-8 quarks, 9 and 21 gluons, 81-100 for generators,
# 110 and 990 reggeon and pomeron, 4 digits with a 0 before the last diquarks, 23-80 bosons, 7 digits particles beyond the
# Standard Model, unless the third from the end names a quark: excited hadrons, R-hadrons, Pythia's diffractive states.


def select_truth(batch: EventBatch, truth: Truth) -> EventBatch:
    """The batch with what is kept of its particles and vertices.

    `track.particle_index` and `cluster.particle_index` follow, and are -1 where the particle is not kept.
    """
    if truth == "all":
        return batch
    keep = _keep(batch, truth)
    record = (batch.offsets["particle"], batch.offsets["vertex"], batch[c.PRODUCTION_VERTEX], batch[c.END_VERTEX])
    production, end = np.full((2, len(keep)), -1, dtype=np.int32)
    keep_vertex = np.zeros(batch.n_rows("vertex"), dtype=np.bool_)
    relink(*record, batch[c.STATUS], keep, production, end, keep_vertex)
    kept: dict[Table, NDArray[np.bool_]] = {"particle": keep, "vertex": keep_vertex}
    columns: Columns = {
        column: array[kept[column.table]] if column.table in kept else array for column, array in batch.columns.items()
    }
    columns[c.PRODUCTION_VERTEX], columns[c.END_VERTEX] = production[keep], end[keep]
    offsets: Mapping[Table, NDArray[np.int64]] = {
        **batch.offsets,
        **{table: np.concatenate([[0], np.cumsum(mask)])[batch.offsets[table]] for table, mask in kept.items()},
    }
    for column in (c.PARTICLE_INDEX, c.CLUSTER_PARTICLE):
        if column in batch:
            columns[column] = _new_index(batch, column, keep, offsets)
    return EventBatch(offsets, columns)


def _keep(batch: EventBatch, truth: Truth) -> NDArray[np.bool_]:
    """Which particles are kept (n,)."""
    keep = np.zeros(batch.n_rows("particle"), dtype=np.bool_)
    if truth == "none":
        return keep
    record = (batch.offsets["particle"], batch.offsets["vertex"], batch[c.PRODUCTION_VERTEX], batch[c.END_VERTEX])
    keep_standard(*record, batch[c.PDG], batch[c.STATUS], of_each(batch[c.PDG], kinds_of), keep)
    if truth == "reconstructed":
        is_found = batch[c.IS_RECONSTRUCTED]
        events = batch.event_index("track")[is_found]
        found = np.zeros(len(keep), dtype=np.bool_)
        found[batch.offsets["particle"][events] + batch[c.PARTICLE_INDEX][is_found]] = True
        ancestors = np.zeros(len(keep), dtype=np.bool_)
        mark_descendants(*record[:2], batch[c.END_VERTEX], batch[c.PRODUCTION_VERTEX], found, ancestors)  # upwards
        keep &= found | ancestors
    return keep


def _new_index(
    batch: EventBatch, column: Column, keep: NDArray[np.bool_], offsets: Mapping[Table, NDArray[np.int64]]
) -> NDArray[np.int32]:
    """Where the particles of tracks or clusters are now."""
    events = batch.event_index(column.table)
    rows = batch.offsets["particle"][events] + batch[column]
    position = np.cumsum(keep)[rows] - 1 - offsets["particle"][events]
    return np.where(keep[rows], position, -1).astype(np.int32)


def kinds_of(codes: NDArray[np.int32]) -> NDArray[np.uint8]:
    """What distinct PDG codes are, for the kernels."""
    kind = np.full(len(codes), OTHER, dtype=np.uint8)
    code = np.abs(codes.astype(np.int64))
    is_diquark = (code > 1000) & (code < 10_000) & (code // 10 % 10 == 0)
    is_stand_in = ((code > 80) & (code <= 100)) | np.isin(code, (110, 990, 9990))
    kind[(code <= 3) | np.isin(code, (9, 21)) | is_diquark | is_stand_in] = PARTON
    kind[np.isin(code, (4, 5))] = HEAVY_QUARK
    is_new = (code > 1_000_000) & (code < 10_000_000) & (code // 100 % 10 == 0)
    kind[np.isin(code, (6, 7, 8, 17, 18)) | ((code >= 23) & (code <= 80)) | is_new] = RESONANCE
    return kind
