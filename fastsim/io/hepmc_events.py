"""HepMC events from text to flat arrays: Asciiv3 (HepMC3) and IO_GenEvent (HepMC2), one pass over the bytes.

`read_events` is the loop over events; a bad event leaves nothing behind but its fault. Speed comes from doing little:
numbers are rounded as they are met (`decimal`), and nothing is made per particle but its row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsim.io import hepmc_text as t
from fastsim.io.decimal import TOO_LARGE, numbers_1
from fastsim.io.hepmc_text import Events, Particles, Vertices
from fastsim.jit import kernel
from fastsim.kernels.ancestry import complete_positions, primary_vertex
from fastsim.units import GeV, mm, mm_over_c

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NOT_SEEN = -2  # mother of a particle whose line has not come
_PENDING = -2  # end of a particle that is a mother by shorthand: its vertex has no line, and no number yet
_SHORTHAND = -10  # mothers at or below: -10 - row of the particle that ends where this one comes from
LARGEST = t.LARGEST
# So that numba sees plain numbers, not attributes of a module.
_P, _V, _U, _W, _A, _C, _F, _H = 80, 86, 85, 87, 65, 67, 70, 72
_IGNORED_3 = np.isin(np.arange(256), np.frombuffer(b"TNHFC", dtype=np.uint8))
_IGNORED_2 = np.isin(np.arange(256), np.frombuffer(b"TNAW", dtype=np.uint8))
_BLANK = np.isin(np.arange(256), np.frombuffer(b" \t\r\n", dtype=np.uint8))
_LARGEST_CODE, _ANY = t.LARGEST_CODE, 1 << 62


@kernel
def read_event3(  # noqa: PLR0911  (long, because calls that take arrays cost as much as reading a number)
    text: NDArray[np.uint8], words: NDArray[np.uint64], begin: int, end: int, n_names: int, n_kept: int,
    particles: Particles, vertices: Vertices, weights: NDArray[np.float64], factors: NDArray[np.float64],
    position: NDArray[np.float64], info: NDArray[np.float64], size: NDArray[np.int64],
) -> tuple[int, int]:  # fmt: skip
    """Read text[begin:end], one event of Asciiv3, into the first rows: the fault (`hepmc_text.FAULTS`) and its line.

    `position` (4,) and `factors` (3,) get the event's position and units, `size` (4,) the numbers of particles, vertices
    and weights, and the event's own number.
    """
    integers, values = np.empty(4, dtype=np.int64), np.empty(t.LONGEST_INFO)
    n, at = numbers_1(text, words, begin + 1, 3, 0, 0, 0, integers, values)
    number, n_vertices, n_particles = integers[0], integers[1], integers[2]
    n_position = 4
    if n == 3 and t.has_position_1(text, at):
        n_position, at = numbers_1(text, words, t.skip_blanks_1(text, at) + 1, 0, 4, 0, 4, integers, position)
    at = t.end_of_line_1(text, at, end)
    if n < 3 or n_position < 4 or at < 0 or abs(number) >= TOO_LARGE:
        return t.BAD_EVENT3, begin
    if not (0 <= n_vertices <= _LARGEST_CODE and 0 <= n_particles <= _LARGEST_CODE):
        return t.BAD_EVENT3, begin
    if n_particles > len(particles.pdg) or n_vertices > len(vertices.label):  # more than there are lines
        return t.WRONG_COUNTS, begin
    particles.production[:n_particles] = _NOT_SEEN
    particles.end[:n_particles] = -1
    vertices.label[:n_vertices] = 0  # 1: has a line, 2: by shorthand
    n_seen, n_lines, n_shorthand, n_weights, has_units = 0, 0, 0, -1, False
    while at < end:
        line, kind = at, text[at]
        if kind == _P:
            n, at = numbers_1(text, words, at + 1, 3, 5, 1, n_kept, integers, values)
            at = at + 1 if text[at] == 10 else t.end_of_line_1(text, at, end)
            identity, mother = integers[0], integers[1]
            if n < 9 or at < 0 or abs(integers[2]) > _LARGEST_CODE or abs(integers[3]) > _LARGEST_CODE:
                return t.BAD_PARTICLE3, line
            if not 0 < identity <= n_particles or particles.production[identity - 1] != _NOT_SEEN:
                return t.BAD_ID, line
            if not -n_vertices <= mother <= n_particles or mother == identity:
                return t.BAD_MOTHER, line
            row = identity - 1
            for k in range(5):
                value = values[k] * factors[0]
                if not abs(value) < LARGEST:
                    return t.NOT_FINITE, line
                particles.momentum[k, row] = value
            particles.pdg[row] = integers[2]
            particles.status[row] = integers[3]
            n_seen += 1
            particles.production[row] = -mother - 1 if mother <= 0 else _SHORTHAND - (mother - 1)
            if mother > 0 and particles.end[mother - 1] == -1:
                if n_shorthand == n_vertices:
                    return t.WRONG_COUNTS, begin
                particles.end[mother - 1] = _PENDING
                vertices.mother[n_shorthand] = mother - 1
                n_shorthand += 1
            elif mother > 0 and particles.end[mother - 1] != _PENDING:
                return t.BAD_END, line
        elif kind == _V:
            n, at = numbers_1(text, words, at + 1, 2, 0, 0, 0, integers, values)
            identity, row = integers[0], -integers[0] - 1
            at = at + 1 if text[at] == 32 and text[at + 1] == 91 else t.skip_blanks_1(text, at)
            if n < 2 or abs(identity) > _LARGEST_CODE or abs(integers[1]) > _LARGEST_CODE or text[at] != 91:  # [
                return t.BAD_VERTEX3, line
            if not 0 <= row < n_vertices or vertices.label[row] != 0:
                return t.BAD_VERTEX_ID, line
            is_open = text[at + 1] != 93  # ]
            while is_open:
                mother, at = 0, at + 1
                first = at
                digit = np.int64(text[at]) - 48
                while 0 <= digit <= 9:
                    mother = 10 * mother + digit if mother <= n_particles else mother
                    at += 1
                    digit = np.int64(text[at]) - 48
                if at == first or (text[at] != 44 and text[at] != 93):  # , ]
                    return t.BAD_VERTEX3, line
                if not 0 < mother <= n_particles or particles.end[mother - 1] != -1:
                    return t.BAD_END, line
                particles.end[mother - 1] = row
                is_open = text[at] == 44
            at += 2 if text[at] == 91 else 1  # [] is closed at once
            n_position = 4
            for k in range(4):
                values[k] = 0.0
            if text[at] == 32 and text[at + 1] == 64:  # @
                n_position, at = numbers_1(text, words, at + 2, 0, 4, 0, 4, integers, values)
            elif text[at] != 10 and t.has_position_1(text, at):
                n_position, at = numbers_1(text, words, t.skip_blanks_1(text, at) + 1, 0, 4, 0, 4, integers, values)
            at = at + 1 if text[at] == 10 else t.end_of_line_1(text, at, end)
            if at < 0 or n_position < 4:
                return t.BAD_VERTEX3, line
            for axis in range(4):
                value = values[axis] * factors[1 if axis < 3 else 2]
                if not abs(value) < LARGEST:
                    return t.NOWHERE, line
                vertices.position[axis, row] = value
            vertices.label[row] = 1
            n_lines += 1
        elif kind == _U:
            at = t.units_1(text, at + 1, end, factors)
            if at < 0 or has_units or n_seen + n_lines > 0:
                return t.BAD_UNITS, line
            has_units = True
        elif kind == _W:
            n, at = numbers_1(text, words, at + 1, 0, len(weights), 0, len(weights), integers, weights)
            at = t.end_of_line_1(text, at, end)
            if at < 0 or n_weights >= 0:
                return t.BAD_WEIGHTS, line
            n_weights = n
            if n > 0 and not abs(weights[0]) < LARGEST:
                return t.BAD_WEIGHTS, line
        elif kind == _A:
            which, at = t.attribute_1(text, at + 1, end)
            if which > 0:
                n, at = numbers_1(text, words, at, 0, t.LONGEST_INFO, 0, t.LONGEST_INFO, integers, values)
                t.keep_1(which, values, n - t.ends_badly_1(text, at, end), info)
            at = t.next_line_1(text, at, end)
        elif _IGNORED_3[kind]:
            at = t.next_line_1(text, at, end)
        else:
            at = t.blank_line_1(text, at, end) if _BLANK[kind] else -1
            if at < 0:
                return t.NO_LINE, line
    if n_names > 0 and n_weights != n_names:
        return t.BAD_WEIGHTS, begin
    if n_seen != n_particles or n_lines + n_shorthand != n_vertices:
        return t.WRONG_COUNTS, begin
    size[0], size[1], size[2], size[3] = n_particles, n_vertices, n_weights, number
    return resolve3(particles, vertices, n_particles, n_shorthand), begin


@kernel
def place_1(point: NDArray[np.float64], factors: NDArray[np.float64], position: NDArray[np.float64], row: int) -> bool:
    """Put a point, in our units, into `position` (4, n): whether it is finite."""
    is_finite = True
    for axis in range(4):
        value = point[axis] * factors[1 if axis < 3 else 2]
        is_finite &= abs(value) < LARGEST
        position[axis, row] = value
    return is_finite


@kernel
def resolve3(particles: Particles, vertices: Vertices, n_particles: int, n_shorthand: int) -> int:
    """Number the vertices without a line, which fill the gaps in order of their first mention, and link to them."""
    row = 0
    for k in range(n_shorthand):
        while vertices.label[row] != 0:
            row += 1
        vertices.label[row] = 2
        vertices.position[:, row] = 0.0
        particles.end[vertices.mother[k]] = row
    for i in range(n_particles):
        production = particles.production[i]
        if production <= _SHORTHAND:
            particles.production[i] = particles.end[_SHORTHAND - production]
        elif production >= 0 and vertices.label[production] != 1:
            return t.NO_VERTEX
    return t.FINE


@kernel
def read_event2(  # noqa: PLR0911  (as read_event3)
    text: NDArray[np.uint8], words: NDArray[np.uint64], begin: int, end: int, n_kept: int,
    particles: Particles, vertices: Vertices, weights: NDArray[np.float64], factors: NDArray[np.float64],
    info: NDArray[np.float64], size: NDArray[np.int64],
) -> tuple[int, int, int]:  # fmt: skip
    """Read text[begin:end], one event of IO_GenEvent, as `read_event3` does: fault, line, row of the first beam or -1."""
    integers, values = np.empty(8, dtype=np.int64), np.empty(t.LONGEST_INFO)
    at = read_start2(text, words, begin, end, integers, values, weights)
    number, n_vertices, beam, n_weights = integers[0], integers[4], integers[5], integers[7]
    if at < 0:
        return t.BAD_EVENT2, begin, -1
    n, n_lines, n_incoming, n_outgoing, has_units, is_plain, beam_row = 0, 0, 0, 0, False, True, -1
    barcode = np.int64(0)
    while at < end:
        line, kind = at, text[at]
        if not _BLANK[kind] and (kind == _P) != (n_incoming + n_outgoing > 0):
            return t.NOT_ANNOUNCED, line, -1
        if kind == _P:
            n_read, at = numbers_1(text, words, at + 1, 2, 5, 1, n_kept, integers, values)
            n_more, at = numbers_1(text, words, at, 0, 2, 2, 2, integers[3:], values[5:])
            identity, end_code, n_flow = integers[0], integers[3], integers[4]
            at = skip_integers_1(text, words, at, 2 * n_flow, integers[5:], values)
            at = t.end_of_line_1(text, at, end) if at > 0 else -1
            if n_read < 8 or n_more < 4 or at < 0 or n_flow < 0 or t.is_too_large_1(integers, 5):
                return t.BAD_PARTICLE2, line, -1
            if end_code > 0 or (end_code == barcode) != (n_incoming > 0):
                return t.NO_END, line, -1
            for k in range(5):
                value = values[k] * factors[0]
                if not abs(value) < LARGEST:
                    return t.NOT_FINITE, line, -1
                particles.momentum[k, n] = value
            particles.pdg[n] = integers[1]
            particles.status[n] = integers[2]
            particles.production[n] = -1 if n_incoming > 0 else n_lines - 1
            particles.end[n] = end_code
            if identity == beam and beam != 0 and beam_row < 0:
                beam_row = n
            n_outgoing -= int(n_incoming == 0)
            n_incoming -= int(n_incoming > 0)
            n += 1
        elif kind == _V:
            n_read, at = numbers_1(text, words, at + 1, 2, 4, 3, 4, integers, values)
            barcode, n_incoming, n_outgoing, n_extra = integers[0], integers[2], integers[3], integers[4]
            if n_read < 9 or t.is_too_large_1(integers, 5) or barcode >= 0 or min(n_incoming, n_outgoing, n_extra) < 0:
                return t.BAD_VERTEX2, line, -1
            if not place_1(values, factors, vertices.position, n_lines):
                return t.NOWHERE, line, -1
            while n_extra > 0 and n_read > 0:
                n_read, at = numbers_1(text, words, at, 0, min(n_extra, len(values)), 0, 0, integers, values)
                n_extra -= n_read
            at = t.end_of_line_1(text, at, end)
            if at < 0 or n_extra > 0:
                return t.BAD_VERTEX2, line, -1
            vertices.label[n_lines] = barcode
            n_lines += 1
            is_plain &= barcode == -n_lines
        elif kind == _U:
            at = t.units_1(text, at + 1, end, factors)
            if at < 0 or has_units or n_lines > 0:
                return t.BAD_UNITS, line, -1
            has_units = True
        elif kind in (_C, _H, _F):
            n_values, at = numbers_1(text, words, at + 1, 0, t.LONGEST_INFO, 0, t.LONGEST_INFO, integers, values)
            which = t.IS_CROSS_SECTION if kind == _C else t.IS_HEAVY_ION if kind == _H else t.IS_PARTONS
            t.keep_1(which, values, n_values - t.ends_badly_1(text, at, end), info)
            at = t.next_line_1(text, at, end)
        elif _IGNORED_2[kind]:
            at = t.next_line_1(text, at, end)
        else:
            at = t.blank_line_1(text, at, end) if _BLANK[kind] else -1
            if at < 0:
                return t.NO_LINE, line, -1
    if n_incoming + n_outgoing > 0 or n_lines != n_vertices:
        return t.WRONG_COUNTS, begin, -1
    size[0], size[1], size[2], size[3] = n, n_vertices, n_weights, number
    return resolve2(particles.end[:n], vertices.label[:n_vertices], is_plain), begin, beam_row


@kernel
def skip_integers_1(
    text: NDArray[np.uint8], words: NDArray[np.uint64], at: int, n: int, integers: NDArray[np.int64], values: NDArray[np.float64]
) -> int:  # fmt: skip
    """Where `n` integers from `at` on end, -1 if there are fewer."""
    while n > 0:
        n_read, at = numbers_1(text, words, at, min(n, len(integers)), 0, 0, 0, integers, values)
        if n_read == 0:
            return -1
        n -= n_read
    return at


@kernel
def read_start2(
    text: NDArray[np.uint8], words: NDArray[np.uint64], begin: int, end: int, integers: NDArray[np.int64],
    values: NDArray[np.float64], weights: NDArray[np.float64],
) -> int:  # fmt: skip
    """Read the E line of IO_GenEvent: the next line, or -1.

    `integers` (8,) gets the event's number, two that are not used, the signal's vertex, the number of vertices, barcodes
    of the beams, and the number of weights.
    """
    n, at = numbers_1(text, words, begin + 1, 2, 3, 6, 3, integers, values)
    if (
        n < 11
        or abs(integers[0]) >= TOO_LARGE
        or t.is_too_large_1(integers[1:], 7)
        or integers[4] < 0
        or integers[7] < 0
    ):
        return -1
    at = skip_integers_1(text, words, at, integers[7], np.empty(8, dtype=np.int64), values)
    n, at = numbers_1(text, words, at, 1, 0, 0, 0, integers[7:], values) if at > 0 else (0, at)
    if n < 1 or not 0 <= integers[7] <= _LARGEST_CODE:
        return -1
    n, at = numbers_1(text, words, at, 0, min(integers[7], len(weights)), 0, len(weights), integers, weights)
    return t.end_of_line_1(text, at, end) if n == integers[7] and (n == 0 or abs(weights[0]) < LARGEST) else -1


@kernel
def resolve2(ends: NDArray[np.int32], barcodes: NDArray[np.int64], is_plain: bool) -> int:  # noqa: FBT001
    """Turn the barcodes of end vertices into rows: directly if they count down from -1, else through a hash table."""
    n = len(barcodes)
    n_slots = 2
    while n_slots < 2 * n and not is_plain:
        n_slots *= 2
    slots = np.full(n_slots, -1, dtype=np.int32)
    if not is_plain:
        for row in range(n):
            slot = (barcodes[row] * 2654435761) & (n_slots - 1)
            while slots[slot] >= 0:
                if barcodes[slots[slot]] == barcodes[row]:
                    return t.BAD_VERTEX_ID
                slot = (slot + 1) & (n_slots - 1)
            slots[slot] = row
    for i in range(len(ends)):
        code = int(ends[i])
        row = -code - 1
        if code != 0 and not is_plain:
            slot = (code * 2654435761) & (n_slots - 1)
            while slots[slot] >= 0 and barcodes[slots[slot]] != code:
                slot = (slot + 1) & (n_slots - 1)
            row = int(slots[slot])
            if row < 0:
                return t.NO_END
        if row >= n:
            return t.NO_END
        ends[i] = row
    return t.FINE


@kernel
def finish_event(
    particles: Particles, vertices: Vertices, size: NDArray[np.int64], factors: NDArray[np.float64],
    position: NDArray[np.float64], beam: int, origin: NDArray[np.float64],
) -> int:  # fmt: skip
    """Find positions where none are given, and the primary vertex: the fault, if the event is no physics."""
    for axis in range(4):
        position[axis] *= factors[1 if axis < 3 else 2]
        if not abs(position[axis]) < LARGEST:
            return t.NOWHERE
    production, end = particles.production[: size[0]], particles.end[: size[0]]
    if not complete_positions(production, end, position, vertices.position[:, : size[1]], vertices.mother[: size[1]]):
        return t.CYCLE
    vertex = primary_vertex(production, end, particles.status[: size[0]], beam, size[1])
    for axis in range(4):
        origin[axis] = vertices.position[axis, vertex] if vertex >= 0 else position[axis]
    return t.FINE


@kernel
def settle_event(
    k: int, fault: int, line: int, weights: NDArray[np.float64], size: NDArray[np.int64], events: Events,
    rows: NDArray[np.int64],
) -> None:  # fmt: skip
    """Note what became of event `k`, and move `rows` (next free particle, vertex, weight) behind it if it is good."""
    if size[2] <= 0 and fault == t.FINE:
        weights[rows[2]] = 1.0
        size[2] = 1
    events.number[k] = size[3]
    events.fault[k, 0], events.fault[k, 1] = fault, line
    for j in range(3):
        events.size[k, j] = size[j] if fault == t.FINE else 0
        rows[j] += events.size[k, j]


@kernel
def read_events3(
    text: NDArray[np.uint8], words: NDArray[np.uint64], starts: NDArray[np.int64], n_names: int, n_kept: int,
    particles: Particles, vertices: Vertices, weights: NDArray[np.float64], events: Events,
) -> None:  # fmt: skip
    """Read the events text[starts[k]:starts[k + 1]] of Asciiv3 with `n_names` names of weights (0: any number of them).

    Of momentum, energy and mass the first `n_kept` are kept; the others need only be numbers.

    Arrays must have room for a particle and a vertex in each line. Rows of a bad event are used again for the next one.
    """
    rows, size = np.zeros(3, dtype=np.int64), np.zeros(4, dtype=np.int64)
    factors, position = np.empty(3), np.empty(4)
    for k in range(len(starts) - 1):
        factors[0], factors[1], factors[2] = GeV, mm, mm_over_c
        position[:] = 0.0
        events.info[k] = np.nan
        size[:] = 0
        own, theirs = free_rows(particles, vertices, rows)
        fault, line = read_event3(
            text, words, starts[k], starts[k + 1], n_names, n_kept, own, theirs, weights[rows[2] :], factors, position,
            events.info[k], size,
        )  # fmt: skip
        if fault == t.FINE:
            fault = finish_event(own, theirs, size, factors, position, -1, events.origin[k])
        settle_event(k, fault, line, weights, size, events, rows)


@kernel
def read_events2(
    text: NDArray[np.uint8], words: NDArray[np.uint64], starts: NDArray[np.int64], n_kept: int,
    particles: Particles, vertices: Vertices, weights: NDArray[np.float64], events: Events,
) -> None:  # fmt: skip
    """Read events of IO_GenEvent, as `read_events3` does those of Asciiv3."""
    rows, size = np.zeros(3, dtype=np.int64), np.zeros(4, dtype=np.int64)
    factors, position = np.empty(3), np.empty(4)
    for k in range(len(starts) - 1):
        factors[0], factors[1], factors[2] = GeV, mm, mm_over_c
        position[:] = 0.0
        events.info[k] = np.nan
        size[:] = 0
        own, theirs = free_rows(particles, vertices, rows)
        fault, line, beam = read_event2(
            text,
            words,
            starts[k],
            starts[k + 1],
            n_kept,
            own,
            theirs,
            weights[rows[2] :],
            factors,
            events.info[k],
            size,
        )
        if fault == t.FINE:
            fault = finish_event(own, theirs, size, factors, position, beam, events.origin[k])
        settle_event(k, fault, line, weights, size, events, rows)


@kernel
def free_rows(particles: Particles, vertices: Vertices, rows: NDArray[np.int64]) -> tuple[Particles, Vertices]:
    """The rows behind those that are in use."""
    n, v = rows[0], rows[1]
    return Particles(
        particles.pdg[n:], particles.status[n:], particles.momentum[:, n:], particles.production[n:], particles.end[n:]
    ), Vertices(vertices.position[:, v:], vertices.label[v:], vertices.mother[v:])
