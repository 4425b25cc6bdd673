"""What devices measure, in AO2D: under the names of ALICE 3's on-the-fly tasks where they have one, and under our own.

A row of each tree is a track. Sources: O2Physics ALICE3/DataModel/OTFTOF.h, OTFRICH.h and tracker PID tables of 2026.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastsim.io.aod_tables import Branch, Tree
from fastsim.species import SPECIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastsim.columns import Column

OWN = "O2fastsimpid"


def trees_of_devices(devices: Sequence[Column]) -> dict[str, Tree]:
    """Trees by name; none without devices."""
    if not devices:
        return {}
    return {OWN: Tree("track", tuple(branch for column in devices for branch in _branches(column)))}


def _branches(column: Column) -> list[Branch]:
    """Branches of a column: one, or one a hypothesis."""
    dtype = "float32" if column.dtype == "float64" else column.dtype
    name = "f" + "".join(word.capitalize() for word in column.name.split("_"))
    if not column.shape:
        return [Branch(name, dtype, column.unit, lambda frame: frame.track(column))]
    parts = [s.name for s in SPECIES] if column.shape == (len(SPECIES),) else list(map(str, range(column.shape[0])))
    return [
        Branch(f"{name}{part.capitalize()}", dtype, column.unit, lambda frame, k=k: frame.track(column)[:, k])  # type: ignore[misc]
        for k, part in enumerate(parts)
    ]
