"""Walks over the generator's record: who comes from whom, and where vertices without a position are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsim.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@kernel
def inherit_positions(
    production_vertex: NDArray[np.int32], end_vertex: NDArray[np.int32], positions: NDArray[np.float64]
) -> None:
    """Give each vertex of one event without a position (all four zero) that of the vertex its first mother came from.

    `positions` (n_vertices, 4) is changed in place. This is HepMC3's rule (GenVertex::position). Particles may stand in
    any order; a cycle ends when nothing changes any more.
    """
    n_vertices = len(positions)
    first_mother = np.full(n_vertices, -1, dtype=np.int64)
    for particle in range(len(end_vertex)):
        vertex = end_vertex[particle]
        if vertex >= 0 and first_mother[vertex] < 0:
            first_mother[vertex] = particle
    changed = True
    while changed:
        changed = False
        for vertex in range(n_vertices):
            if positions[vertex].any():
                continue
            mother = first_mother[vertex]
            upstream = production_vertex[mother] if mother >= 0 else -1
            if upstream >= 0 and positions[upstream].any():
                positions[vertex] = positions[upstream]
                changed = True


@kernel
def mark_from_long_lived(
    offsets: NDArray[np.int64],
    vertex_offsets: NDArray[np.int64],
    production_vertex: NDArray[np.int32],
    end_vertex: NDArray[np.int32],
    is_decayed_long_lived: NDArray[np.bool_],
    marks: NDArray[np.bool_],
) -> None:
    """Mark every particle with an ancestor among `is_decayed_long_lived`, event by event, in any order of particles."""
    for event in range(len(offsets) - 1):
        first_vertex = vertex_offsets[event]
        vertex_marks = np.zeros(vertex_offsets[event + 1] - first_vertex, dtype=np.bool_)
        changed = True
        while changed:
            changed = False
            for i in range(offsets[event], offsets[event + 1]):
                if production_vertex[i] >= 0 and vertex_marks[production_vertex[i]] and not marks[i]:
                    marks[i] = True
                    changed = True
                if (marks[i] or is_decayed_long_lived[i]) and end_vertex[i] >= 0 and not vertex_marks[end_vertex[i]]:
                    vertex_marks[end_vertex[i]] = True
                    changed = True


@kernel
def mark_decayed(
    offsets: NDArray[np.int64],
    vertex_offsets: NDArray[np.int64],
    production_vertex: NDArray[np.int32],
    end_vertex: NDArray[np.int32],
    pdg: NDArray[np.int32],
    candidates: NDArray[np.bool_],
    marks: NDArray[np.bool_],
) -> None:
    """Mark the candidates that decay: alone into their end vertex, and not to go on under the same PDG code.

    Generators also end particles in vertices that are no decays: copies after a recoil or a radiated photon, and
    rescattering, where two go in.
    """
    for event in range(len(offsets) - 1):
        n_vertices = vertex_offsets[event + 1] - vertex_offsets[event]
        n_mothers = np.zeros(n_vertices, dtype=np.int64)
        mother = np.full(n_vertices, -1, dtype=np.int64)
        for i in range(offsets[event], offsets[event + 1]):
            if end_vertex[i] >= 0:
                n_mothers[end_vertex[i]] += 1
                mother[end_vertex[i]] = i
        for i in range(offsets[event], offsets[event + 1]):
            marks[i] = candidates[i] and end_vertex[i] >= 0 and n_mothers[end_vertex[i]] == 1
        for i in range(offsets[event], offsets[event + 1]):
            vertex = production_vertex[i]
            if vertex >= 0 and n_mothers[vertex] == 1 and pdg[mother[vertex]] == pdg[i]:
                marks[mother[vertex]] = False
