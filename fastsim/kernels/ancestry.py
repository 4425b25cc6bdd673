"""Walks over the generator's record: who comes from whom, and where vertices without a position are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsim.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@kernel
def group_by_origin(
    production_vertex: NDArray[np.int32], n_vertices: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The particles that come from each vertex of one event: ``rows[first[v]:first[v + 1]]``."""
    first = np.zeros(n_vertices + 2, dtype=np.int32)
    for i in range(len(production_vertex)):
        first[production_vertex[i] + 2] += int(production_vertex[i] >= 0)
    for vertex in range(n_vertices):
        first[vertex + 2] += first[vertex + 1]
    rows = np.empty(first[n_vertices + 1], dtype=np.int32)
    for i in range(len(production_vertex)):
        if production_vertex[i] >= 0:
            rows[first[production_vertex[i] + 1]] = i
            first[production_vertex[i] + 1] += 1
    return first, rows


@kernel
def mark_descendants(
    offsets: NDArray[np.int64],
    vertex_offsets: NDArray[np.int64],
    production_vertex: NDArray[np.int32],
    end_vertex: NDArray[np.int32],
    seeds: NDArray[np.bool_],
    marks: NDArray[np.bool_],
) -> None:
    """Mark every particle with an ancestor among `seeds`, event by event, in any order of particles.

    With production and end vertices exchanged: every particle with a descendant among them.
    """
    for event in range(len(offsets) - 1):
        own = slice(offsets[event], offsets[event + 1])
        n_vertices = vertex_offsets[event + 1] - vertex_offsets[event]
        ends, is_seed = end_vertex[own], seeds[own]
        is_marked = np.zeros(n_vertices, dtype=np.bool_)
        reached, n, done = np.empty(n_vertices, dtype=np.int32), 0, 0  # vertices whose particles are to be marked
        for i in range(len(ends)):
            if is_seed[i] and ends[i] >= 0 and not is_marked[ends[i]]:
                is_marked[ends[i]] = True
                reached[n] = ends[i]
                n += 1
        if n == 0:
            continue
        first, rows = group_by_origin(production_vertex[own], n_vertices)
        while done < n:
            vertex = reached[done]
            done += 1
            for k in range(first[vertex], first[vertex + 1]):
                marks[offsets[event] + rows[k]] = True
                end = ends[rows[k]]
                if end >= 0 and not is_marked[end]:
                    is_marked[end] = True
                    reached[n] = end
                    n += 1


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


@kernel
def order_of_vertices(
    production_vertex: NDArray[np.int32], end_vertex: NDArray[np.int32], n_vertices: int
) -> NDArray[np.int32]:
    """The vertices of one event such that each stands behind those that its incoming particles come from.

    Shorter than `n_vertices` if some are their own ancestors. (A. B. Kahn, Commun. ACM 5 (1962) 558.)
    """
    first, rows = group_by_origin(production_vertex, n_vertices)
    n_before = np.zeros(n_vertices, dtype=np.int32)
    for i in range(len(end_vertex)):
        if production_vertex[i] >= 0 and end_vertex[i] >= 0:
            n_before[end_vertex[i]] += 1
    order = np.empty(n_vertices, dtype=np.int32)
    n, done = 0, 0
    for vertex in range(n_vertices):
        if n_before[vertex] == 0:
            order[n] = vertex
            n += 1
    while done < n:
        vertex = order[done]
        done += 1
        for k in range(first[vertex], first[vertex + 1]):
            follows = end_vertex[rows[k]]
            if follows < 0:
                continue
            n_before[follows] -= 1
            if n_before[follows] == 0:
                order[n] = follows
                n += 1
    return order[:n]


@kernel
def complete_positions(
    production_vertex: NDArray[np.int32], end_vertex: NDArray[np.int32], event_position: NDArray[np.float64],
    positions: NDArray[np.float64], mother: NDArray[np.int32],
) -> bool:  # fmt: skip
    """Give each vertex of one event without a position (all four zero) that of the vertex its first mother came from.

    `positions` (4, n_vertices) is changed in place; `event_position` (4,) is for those with none anywhere upstream. This
    is HepMC3's rule (GenVertex::position). `mother` (n_vertices,) becomes the first particle that ends there. False if
    particles are their own ancestors. Linear in the size of the event.
    """
    n_vertices = positions.shape[1]
    mother[:] = -1
    is_ordered = True
    for i in range(len(end_vertex) - 1, -1, -1):
        if end_vertex[i] >= 0:
            mother[end_vertex[i]] = i
            is_ordered &= production_vertex[i] < end_vertex[i]
    order = np.empty(0, dtype=np.int32)
    if not is_ordered:
        order = order_of_vertices(production_vertex, end_vertex, n_vertices)
        if len(order) < n_vertices:
            return False
    for k in range(n_vertices):
        vertex = k if is_ordered else order[k]
        if positions[0, vertex] == 0 and positions[1, vertex] == 0 and positions[2, vertex] == 0:  # noqa: SIM102
            if positions[3, vertex] == 0:
                upstream = production_vertex[mother[vertex]] if mother[vertex] >= 0 else -1
                for axis in range(4):
                    positions[axis, vertex] = positions[axis, upstream] if upstream >= 0 else event_position[axis]
    return True


@kernel
def primary_vertex(
    production_vertex: NDArray[np.int32],
    end_vertex: NDArray[np.int32],
    status: NDArray[np.int32],
    beam: int,
    n_vertices: int,
) -> int:
    """Find the vertex where the beams (status 4) meet, or the particle `beam` (-1: unknown) ends.

    Else the first vertex that no produced particle enters; -1 if there is none.
    """
    for i in range(len(status)):
        if status[i] == 4 and end_vertex[i] >= 0:
            return int(end_vertex[i])
    if beam >= 0 and end_vertex[beam] >= 0:
        return int(end_vertex[beam])
    is_entered = np.zeros(n_vertices, dtype=np.bool_)
    for i in range(len(status)):
        if production_vertex[i] >= 0 and end_vertex[i] >= 0:
            is_entered[end_vertex[i]] = True
    for vertex in range(n_vertices):
        if not is_entered[vertex]:
            return vertex
    return -1


@kernel
def link_family(
    offsets: NDArray[np.int64], vertex_offsets: NDArray[np.int64],
    production_vertex: NDArray[np.int32], end_vertex: NDArray[np.int32], n_before: int,
    order: NDArray[np.int64], row: NDArray[np.int64], mothers: NDArray[np.int32], daughters: NDArray[np.int32],
) -> None:  # fmt: skip
    """Bring siblings together, behind the first of them, and link families by the rows that they then have.

    `order` (n,) becomes the particles in their new order, `row` (n,) the new row of each particle, from `n_before` on;
    `mothers` and `daughters` (n, 2), in the new order, the first and last row of each, -1 if there are none.
    """
    for event in range(len(offsets) - 1):
        begin, end = offsets[event], offsets[event + 1]
        n_vertices = vertex_offsets[event + 1] - vertex_offsets[event]
        first, rows = group_by_origin(production_vertex[begin:end], n_vertices)
        k = begin
        for i in range(begin, end):
            vertex = production_vertex[i]
            if vertex < 0:
                order[k], row[i] = i, n_before + k
                k += 1
            elif begin + rows[first[vertex]] == i:
                for sibling in rows[first[vertex] : first[vertex + 1]]:
                    order[k], row[begin + sibling] = begin + sibling, n_before + k
                    k += 1
        low, high = np.full(n_vertices, -1, dtype=np.int64), np.full(n_vertices, -1, dtype=np.int64)
        for i in range(begin, end):
            vertex = end_vertex[i]
            if vertex >= 0:
                low[vertex] = row[i] if low[vertex] < 0 else min(low[vertex], row[i])
                high[vertex] = max(high[vertex], row[i])
        for k in range(begin, end):
            origin, vertex = production_vertex[order[k]], end_vertex[order[k]]
            mothers[k, 0] = low[origin] if origin >= 0 else -1
            mothers[k, 1] = high[origin] if origin >= 0 else -1
            has_daughters = vertex >= 0 and first[vertex] < first[vertex + 1]
            daughters[k, 0] = row[begin + rows[first[vertex]]] if has_daughters else -1
            daughters[k, 1] = row[begin + rows[first[vertex + 1] - 1]] if has_daughters else -1
