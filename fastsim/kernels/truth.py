"""Which particles of a generator's record are kept, and how those that are kept hang together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.ancestry import group_by_origin, order_of_vertices

if TYPE_CHECKING:
    from numpy.typing import NDArray

OTHER: Final = 0  # hadrons, leptons, photons
PARTON: Final = 1  # light quarks, gluons, diquarks, and what stands for strings, clusters and the like
HEAVY_QUARK: Final = 2  # c, b
FROM_SIMULATION: Final = 201  # HepMC leaves this status and those above to the simulation of the detector
RESONANCE: Final = 3  # t, W, Z, H and all that decays at once to partons or leptons and is no hadron


@kernel
def keep_standard(
    offsets: NDArray[np.int64], vertex_offsets: NDArray[np.int64],
    production_vertex: NDArray[np.int32], end_vertex: NDArray[np.int32], pdg: NDArray[np.int32],
    status: NDArray[np.int32], kind: NDArray[np.uint8], keep: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Mark final (HepMC status 1), decayed (2), beam (4), hard-process (21 to 29) and our own (201) particles, and last copies.

    Of quarks and gluons only the hard process, the last c and b quarks, and what resonances decay to. (Statuses: HepMC3,
    "Particle status codes"; 21 to 29 are Pythia's, which the other generators use for the same or not at all.)
    """
    for event in range(len(offsets) - 1):
        begin, end = offsets[event], offsets[event + 1]
        n_vertices = vertex_offsets[event + 1] - vertex_offsets[event]
        mother = np.full(n_vertices, -1, dtype=np.int64)  # the one that enters; -2 if there are more
        for i in range(begin, end):
            vertex = end_vertex[i]
            if vertex >= 0:
                mother[vertex] = i if mother[vertex] == -1 else -2
        for i in range(begin, end):
            keep[i] = kind[i] != PARTON or status[i] == 1  # for now: as if all were the last copies
        is_decay = np.ones(n_vertices, dtype=np.bool_)  # none of the daughters is the mother again
        for i in range(begin, end):
            vertex = production_vertex[i]
            if vertex >= 0 and mother[vertex] >= 0 and pdg[mother[vertex]] == pdg[i]:
                is_decay[vertex] = False
                if (
                    status[mother[vertex]] != 1
                    and status[mother[vertex]] != 2
                    and status[mother[vertex]] < FROM_SIMULATION
                ):
                    keep[mother[vertex]] = False
        for i in range(begin, end):
            vertex = production_vertex[i]
            if vertex >= 0 and mother[vertex] >= 0 and is_decay[vertex] and kind[mother[vertex]] == RESONANCE:
                keep[i] = True
            if status[i] == 4 or (status[i] >= 21 and status[i] <= 29):
                keep[i] = True


@kernel
def relink(
    offsets: NDArray[np.int64], vertex_offsets: NDArray[np.int64],
    production_vertex: NDArray[np.int32], end_vertex: NDArray[np.int32], status: NDArray[np.int32], keep: NDArray[np.bool_],
    new_production: NDArray[np.int32], new_end: NDArray[np.int32], keep_vertex: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Hang kept particles on their nearest kept ancestors; vertices (numbered anew) that none of them needs are not kept.

    Particles of a vertex that no kept one enters move up to the vertex where a kept ancestor ends, if that is the same on all
    ways up: through the branchings of a shower, and from the string of a B's partons to the B. Else (most strings) they
    keep their vertex, which then has no mother. Nothing moves up to the beams.
    """
    for event in range(len(offsets) - 1):
        own = slice(offsets[event], offsets[event + 1])
        first_vertex, n_vertices = vertex_offsets[event], vertex_offsets[event + 1] - vertex_offsets[event]
        production, ends, is_kept = production_vertex[own], end_vertex[own], keep[own]
        target = _nearest_ends(production, ends, status[own], is_kept, n_vertices)
        is_used = keep_vertex[first_vertex : first_vertex + n_vertices]
        for i in range(len(ends)):
            if is_kept[i] and production[i] >= 0:
                is_used[target[production[i]]] = True
            if is_kept[i] and ends[i] >= 0:
                is_used[ends[i]] = True
        number = np.cumsum(is_used) - 1
        for i in range(len(ends)):
            if is_kept[i] and production[i] >= 0:
                new_production[offsets[event] + i] = number[target[production[i]]]
            if is_kept[i] and ends[i] >= 0:
                new_end[offsets[event] + i] = number[ends[i]]


@kernel
def _nearest_ends(
    production_vertex: NDArray[np.int32], end_vertex: NDArray[np.int32], status: NDArray[np.int32], keep: NDArray[np.bool_],
    n_vertices: int,
) -> NDArray[np.int32]:  # fmt: skip
    """For each vertex of one event the one upstream where a kept particle ends, the same on all ways; else itself."""
    first, rows = group_by_origin(end_vertex, n_vertices)  # the particles that enter each vertex
    target = np.full(n_vertices, -1, dtype=np.int32)
    order = np.arange(n_vertices, dtype=np.int32)
    for i in range(len(end_vertex)):
        if production_vertex[i] >= 0 and end_vertex[i] >= 0 and production_vertex[i] >= end_vertex[i]:
            order = order_of_vertices(production_vertex, end_vertex, n_vertices)  # most records need no sorting
            break
    for k in range(len(order)):
        vertex = int(order[k])
        common = -2  # nothing seen yet
        for i in rows[first[vertex] : first[vertex + 1]]:
            if keep[i]:
                common = vertex if status[i] != 4 else -1
                break
            above = int(target[production_vertex[i]]) if production_vertex[i] >= 0 else -1
            if common != -2 and common != above:  # noqa: PLR1714  (no sets in kernels)
                above = -1
            common = above
        target[vertex] = max(common, -1)
    for k in range(n_vertices):
        if target[k] < 0:
            target[k] = k
    return target
