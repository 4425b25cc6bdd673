"""Which particles are physical primaries, and how many charged ones there are per unit of pseudorapidity.

The definition is ALICE's (ALICE-PUBLIC-2017-005): a particle with a mean proper lifetime above 1 cm/c that does not stem
from the decay of another such particle. In this order: the kernels that walk over the record are in `kernels.ancestry`, the
module is here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastsim import columns as c
from fastsim.kernels.ancestry import mark_decayed, mark_descendants
from fastsim.module import Made
from fastsim.species import UNKNOWN_CHARGE, charges_of, is_long_lived, of_each

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.events import EventBatch
    from fastsim.rng import Streams


class Primaries:
    """Part of every run: charges by the PDG code, physical primaries, dN_ch/deta."""

    name = "primaries"
    needs: tuple[Column, ...] = (c.PDG, c.STATUS, *c.MOMENTUM, c.PRODUCTION_VERTEX, c.END_VERTEX, c.DNCH_DETA_GIVEN)
    makes: tuple[Column, ...] = (c.CHARGE_TRUE, c.FROM_LONG_LIVED, c.IS_PRIMARY, c.DNCH_DETA)

    def __init__(self, dnch_deta_eta_max: float) -> None:
        self._eta_max = dnch_deta_eta_max

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Walk over the records of a batch."""
        del streams
        charge, long_lived = of_each(batch[c.PDG], charges_of), of_each(batch[c.PDG], is_long_lived)
        record = (batch.offsets["particle"], batch.offsets["vertex"], batch[c.PRODUCTION_VERTEX], batch[c.END_VERTEX])
        decayed = np.zeros(len(charge), dtype=np.bool_)
        mark_decayed(*record, batch[c.PDG], long_lived & (batch[c.STATUS] == 2), decayed)
        from_long_lived = np.zeros(len(charge), dtype=np.bool_)
        mark_descendants(*record, decayed, from_long_lived)
        # One that the generator decayed is as primary as one that it left to the detector; beams and copies are not.
        is_primary = long_lived & ~from_long_lived & ((batch[c.STATUS] == 1) | decayed)
        if c.PROCESS in batch:
            is_primary &= batch[c.PROCESS] == 0
        return Made(
            {
                c.CHARGE_TRUE: charge,
                c.FROM_LONG_LIVED: from_long_lived,
                c.IS_PRIMARY: is_primary,
                c.DNCH_DETA: self._dnch_deta(batch, is_primary & (charge != 0) & (charge != UNKNOWN_CHARGE)),
            }
        )

    def _dnch_deta(self, batch: EventBatch, selected: NDArray[np.bool_]) -> NDArray[np.float64]:
        rows = np.flatnonzero(selected)
        px, py, pz = (batch[column][rows] for column in c.MOMENTUM)
        central = rows[np.abs(pz) < math.sinh(self._eta_max) * np.hypot(px, py)]
        counted = np.diff(np.searchsorted(central, batch.offsets["particle"])) / (2.0 * self._eta_max)
        given = batch[c.DNCH_DETA_GIVEN]
        return np.where(np.isnan(given), counted, given)
