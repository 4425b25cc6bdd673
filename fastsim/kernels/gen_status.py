"""Generated particles as CMS' analyses see them: mothers before daughters, one mother each, and status flags.

Source of the flags: CMSSW PhysicsTools/HepMCCandAlgos/interface/MCTruthHelper.h and DataFormats/HepMCCandidate/interface/
GenStatusFlags.h (the order of the bits). They follow the first mother and copies under the same PDG code. One rule is wider:
muons and taus that decay count as decayed whatever their status, since Pythia's HepMC3 writer leaves those of the hard process at
23 where the HepMC2 writer, which CMS uses, has 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.ancestry import group_by_origin, order_of_vertices

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOTHER: Final = 0  # rows of `links`
COPIED_FROM: Final = 1
DAUGHTER: Final = 2
COPIED_TO: Final = 3

IS_PROMPT: Final = 1 << 0
IS_DECAYED_LEPTON_HADRON: Final = 1 << 1
IS_TAU_DECAY_PRODUCT: Final = 1 << 2
IS_PROMPT_TAU_DECAY_PRODUCT: Final = 1 << 3
IS_DIRECT_TAU_DECAY_PRODUCT: Final = 1 << 4
IS_DIRECT_PROMPT_TAU_DECAY_PRODUCT: Final = 1 << 5
IS_DIRECT_HADRON_DECAY_PRODUCT: Final = 1 << 6
IS_HARD_PROCESS: Final = 1 << 7
FROM_HARD_PROCESS: Final = 1 << 8
IS_HARD_PROCESS_TAU_DECAY_PRODUCT: Final = 1 << 9
IS_DIRECT_HARD_PROCESS_TAU_DECAY_PRODUCT: Final = 1 << 10
IS_FIRST_COPY: Final = 1 << 12
IS_LAST_COPY: Final = 1 << 13  # 11 and 14, "before final-state radiation", need the shower, which is not always kept


@kernel
def order_by_descent(
    offsets: NDArray[np.int64], vertex_offsets: NDArray[np.int64],
    production_vertex: NDArray[np.int32], end_vertex: NDArray[np.int32],
    pdg: NDArray[np.int32], order: NDArray[np.int64], position: NDArray[np.int64], links: NDArray[np.int32],
) -> None:  # fmt: skip
    """Bring mothers before their daughters, event by event; an event in which they are so already stays as it is.

    `order` (n,) becomes the particles in their new order, `position` (n,) the new position in its event of each particle;
    `links` (4, n), in the new order, the positions of its first mother, of the first mother with the same PDG code, of its first
    daughter, and of the first daughter with the same code; -1 if there is none.
    """
    for event in range(len(offsets) - 1):
        begin, end = offsets[event], offsets[event + 1]
        n_vertices = vertex_offsets[event + 1] - vertex_offsets[event]
        first_in, incoming = group_by_origin(end_vertex[begin:end], n_vertices)
        first_out, outgoing = group_by_origin(production_vertex[begin:end], n_vertices)
        is_ordered = True
        for i in range(begin, end):
            vertex = production_vertex[i]
            if vertex >= 0 and first_in[vertex] < first_in[vertex + 1]:
                is_ordered &= begin + incoming[first_in[vertex + 1] - 1] < i
        if is_ordered:
            for i in range(begin, end):
                order[i], position[i] = i, i - begin
        else:
            ordered = order_of_vertices(production_vertex[begin:end], end_vertex[begin:end], n_vertices)
            k = begin
            for i in range(begin, end):
                if production_vertex[i] < 0:
                    order[k], position[i] = i, k - begin
                    k += 1
            for vertex in ordered:
                for j in range(first_out[vertex], first_out[vertex + 1]):
                    order[k], position[begin + outgoing[j]] = begin + outgoing[j], k - begin
                    k += 1
        for k in range(begin, end):
            links[:, k] = -1
            i = order[k]
            vertex = production_vertex[i]
            if vertex >= 0 and first_in[vertex] < first_in[vertex + 1]:
                links[MOTHER, k] = position[begin + incoming[first_in[vertex]]]
                for j in incoming[first_in[vertex] : first_in[vertex + 1]]:
                    if pdg[begin + j] == pdg[i]:
                        links[COPIED_FROM, k] = position[begin + j]
                        break
            vertex = end_vertex[i]
            if vertex >= 0 and first_out[vertex] < first_out[vertex + 1]:
                links[DAUGHTER, k] = position[begin + outgoing[first_out[vertex]]]
                for j in outgoing[first_out[vertex] : first_out[vertex + 1]]:
                    if pdg[begin + j] == pdg[i]:
                        links[COPIED_TO, k] = position[begin + j]
                        break


@kernel
def status_flags(
    offsets: NDArray[np.int64], pdg: NDArray[np.int32], status: NDArray[np.int32], is_hadron: NDArray[np.bool_],
    links: NDArray[np.int32], flags: NDArray[np.int32],
) -> None:  # fmt: skip
    """Fill the flags (n,) of particles in the order and with the links that `order_by_descent` gives; arrays in this order."""
    for event in range(len(offsets) - 1):
        begin = offsets[event]
        n = offsets[event + 1] - begin
        first_copy = np.empty(n, dtype=np.int32)
        unlike = np.empty(n, dtype=np.int32)  # first ancestor, by first mothers, with another PDG code
        decayed, tau = (
            np.empty(n, dtype=np.int32),
            np.empty(n, dtype=np.int32),
        )  # next ancestor that decayed; tau that did
        for i in range(n):
            k = begin + i
            up, copied = links[MOTHER, k], links[COPIED_FROM, k]
            code = abs(pdg[k])
            flag = 0
            first_copy[i] = i if copied < 0 else first_copy[copied]
            unlike[i] = -1 if up < 0 else (up if pdg[begin + up] != pdg[k] else unlike[up])
            if copied < 0:
                flag |= IS_FIRST_COPY
            if links[COPIED_TO, k] < 0:
                flag |= IS_LAST_COPY
                is_decayed = status[k] == 2 or (status[k] != 1 and links[DAUGHTER, k] >= 0 and not is_hadron[k])
                if is_decayed and (is_hadron[k] or code in {13, 15}):
                    flag |= IS_DECAYED_LEPTON_HADRON
            is_hard = status[k] == 3 or 20 < status[k] < 30
            if not is_hard and up >= 0 and (status[k] in {1, 2}):
                after = links[COPIED_TO, begin + up]
                radiates = after >= 0 and 50 < status[begin + after] < 60
                is_hard = status[begin + first_copy[up]] == 22 and not radiates
            if is_hard:
                flag |= IS_HARD_PROCESS | FROM_HARD_PROCESS
            if copied >= 0:
                flag |= flags[begin + copied] & FROM_HARD_PROCESS
            has_decayed = up >= 0 and flags[begin + up] & IS_DECAYED_LEPTON_HADRON != 0
            decayed[i] = -1 if up < 0 else (up if has_decayed else decayed[up])
            tau[i] = -1 if up < 0 else (up if has_decayed and abs(pdg[begin + up]) == 15 else tau[up])
            if decayed[i] < 0:
                flag |= IS_PROMPT
            if tau[i] >= 0:
                of_tau, is_direct = flags[begin + tau[i]], tau[i] == decayed[i]
                flag |= IS_TAU_DECAY_PRODUCT | (IS_DIRECT_TAU_DECAY_PRODUCT if is_direct else 0)
                if of_tau & IS_PROMPT:
                    flag |= IS_PROMPT_TAU_DECAY_PRODUCT | (IS_DIRECT_PROMPT_TAU_DECAY_PRODUCT if is_direct else 0)
                if of_tau & FROM_HARD_PROCESS:
                    flag |= IS_HARD_PROCESS_TAU_DECAY_PRODUCT
                    flag |= IS_DIRECT_HARD_PROCESS_TAU_DECAY_PRODUCT if is_direct else 0
            origin = begin + unlike[i]
            if unlike[i] >= 0 and is_hadron[origin] and flags[origin] & IS_DECAYED_LEPTON_HADRON != 0:
                flag |= IS_DIRECT_HADRON_DECAY_PRODUCT
            flags[k] = flag
