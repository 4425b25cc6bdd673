"""Checks of the text of one HepMC event, before pyhepmc sees it.

pyhepmc takes what it finds at the start of a damaged number, and crashes on particles and vertices that are not there
and on units that do not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsim.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LINE_KIND = np.zeros(256, dtype=np.bool_)  # letters that lines of HepMC2 and HepMC3 events start with
_LINE_KIND[np.frombuffer(b"EPVUWANCHFT\r", dtype=np.uint8)] = True
_SEPARATOR = np.zeros(256, dtype=np.bool_)
_SEPARATOR[np.frombuffer(b" \t\r", dtype=np.uint8)] = True
LARGEST_CODE = 2**31 - 1  # PDG codes have ten digits at most; pyhepmc keeps 32 bits and would wrap
_UNITS = (b"U GEV MM", b"U MEV MM", b"U GEV CM", b"U MEV CM")


@kernel
def number_1(text: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """End of the number that starts at `at`, -1 if there is none; and its value up to the first character that is not a digit."""
    i = at
    sign = 1
    if i < end and (text[i] == 43 or text[i] == 45):  # + -
        sign = -1 if text[i] == 45 else 1
        i += 1
    value = np.int64(0)
    n_digits = 0
    while i < end and 48 <= text[i] <= 57:
        if value < 1 << 40:
            value = 10 * value + np.int64(text[i]) - 48
        i += 1
        n_digits += 1
    if i < end and n_digits == 0 and (text[i] | 32 == 110 or text[i] | 32 == 105):  # nan, inf: bad events, but numbers
        letters = 0
        while i < end and 97 <= (text[i] | 32) <= 122:
            letters += 1
            i += 1
        return (i if letters == 3 or letters == 8 else -1), 0  # noqa: PLR1714
    if i < end and text[i] == 46:  # .
        i += 1
        while i < end and 48 <= text[i] <= 57:
            i += 1
            n_digits += 1
    if n_digits > 0 and i < end and text[i] | 32 == 101:  # e
        i += 1
        if i < end and (text[i] == 43 or text[i] == 45):
            i += 1
        if not (i < end and 48 <= text[i] <= 57):
            return -1, 0
        while i < end and 48 <= text[i] <= 57:
            i += 1
    return (i if n_digits > 0 else -1), int(sign * value)


@kernel
def words_1(
    text: NDArray[np.uint8], begin: int, end: int, separator: NDArray[np.bool_], values: NDArray[np.int64]
) -> int:
    """Numbers of a line, separated by blanks: how many, and the leading integers of the first; -1 if a word is not a number."""
    n = 0
    at = begin
    while True:
        while at < end and separator[text[at]]:
            at += 1
        if at >= end:
            return n
        at, value = number_1(text, at, end)
        if at < 0 or (at < end and not separator[text[at]]):
            return -1
        if n < len(values):
            values[n] = value
        n += 1


@kernel
def vertex3_1(
    text: NDArray[np.uint8], begin: int, end: int, n_particles: int, n_vertices: int, separator: NDArray[np.bool_],
    values: NDArray[np.int64],
) -> bool:  # fmt: skip
    """Whether a line of HepMC3 is a vertex: ``-1 0 [1,2]`` and perhaps ``@ x y z t``."""
    opening = begin
    while opening < end and text[opening] != 91:  # [
        opening += 1
    if words_1(text, begin, opening, separator, values) != 2 or not -n_vertices <= values[0] < 0:
        return False
    at = opening + 1
    while at < end and text[at] != 93:  # ]
        at, value = number_1(text, at, end)
        if not 1 <= value <= n_particles or at < 0 or at >= end or (text[at] != 44 and text[at] != 93):  # , ]
            return False
        at += text[at] == 44
    if at >= end:
        return False
    at += 1
    while at < end and separator[text[at]]:
        at += 1
    if at >= end:
        return True
    return text[at] == 64 and words_1(text, at + 1, end, separator, values) == 4  # @


@kernel
def find_fault(
    text: NDArray[np.uint8], version: int, n_particles: int, line_kind: NDArray[np.bool_], separator: NDArray[np.bool_]
) -> int:
    """Where the first line starts that cannot belong to the event, -1 if there is none.

    `text` is one event from its E line on, of HepMC `version` 2 or 3 with `n_particles` lines of particles. Lines of
    attributes, weights and the like are not looked into.
    """
    values = np.zeros(12, dtype=np.int64)
    is_mother = np.zeros(n_particles + 1, dtype=np.bool_)  # HepMC3: particles whose end vertex has no line of its own
    n_vertices = seen_vertices = seen_particles = 0
    n_announced = n_particles
    n_outgoing = 0  # HepMC2: lines of particles that must still follow the vertex
    begin = 0
    while begin < len(text):
        end = begin
        while end < len(text) and text[end] != 10:
            end += 1
        kind = text[begin] if end > begin else 13
        is_fine = line_kind[kind] and (kind == 69) == (begin == 0)
        if kind == 69 and version == 3:  # E number n_vertices n_particles @ x y z t
            stop = begin + 1
            while stop < end and text[stop] != 64:  # @
                stop += 1
            is_fine &= words_1(text, begin + 1, stop, separator, values) == 3 and values[1] >= 0
            n_announced = values[2]
            n_vertices = values[1]
            is_fine &= stop == end or words_1(text, stop + 1, end, separator, values) == 4
        elif kind == 69:  # E number n_mpi scale alpha alpha id barcode n_vertices beam beam n_random .. n_weights ..
            n = words_1(text, begin + 1, end, separator, values)
            n_vertices = values[7]
            is_fine &= values[10] >= 0 and n >= 12 + values[10] and (values[10] > 0 or n == 12 + values[11])
        elif kind == 80 and version == 3:  # P id mother pdg px py pz e m status
            seen_particles += 1
            is_fine &= words_1(text, begin + 1, end, separator, values) == 9 and values[0] == seen_particles
            is_fine &= abs(values[2]) <= LARGEST_CODE
            mother = values[1]
            is_fine &= -n_vertices <= mother <= n_particles and mother != values[0]
            if is_fine and mother > 0:
                seen_vertices += not is_mother[mother]
                is_mother[mother] = True
        elif kind == 80:  # P barcode pdg px py pz e m status theta phi vertex n_flow, and two words a flow
            n_outgoing -= 1
            n = words_1(text, begin + 1, end, separator, values)
            is_fine &= n >= 12 and n == 12 + 2 * values[11] and n_outgoing >= 0 and abs(values[1]) <= LARGEST_CODE
        elif kind == 86 and version == 3:
            seen_vertices += 1
            is_fine &= vertex3_1(text, begin + 1, end, n_particles, n_vertices, separator, values)
        elif kind == 86:  # V barcode id x y z t n_in n_out n_weights, and the weights
            seen_vertices += 1
            n = words_1(text, begin + 1, end, separator, values)
            is_fine &= n_outgoing == 0 and n >= 9 and n == 9 + values[8] and values[0] < 0
            is_fine &= values[6] >= 0 and values[7] >= 0
            n_outgoing = values[6] + values[7]
        if not is_fine:
            return begin
        begin = end + 1
    return -1 if n_outgoing == 0 and seen_vertices == n_vertices and n_announced == n_particles else 0


def fault_of(text: bytes, *, is_hepmc3: bool) -> tuple[int, str]:
    """The first line that cannot belong to the event: its number from 0 and its text; (-1, "") if there is none."""
    at = find_fault(
        np.frombuffer(text, dtype=np.uint8), 3 if is_hepmc3 else 2, text.count(b"\nP "), _LINE_KIND, _SEPARATOR
    )
    unit = text.find(b"\nU")
    while at < 0 <= unit:
        if _line_at(text, unit + 1) not in _UNITS:
            at = unit + 1
        unit = text.find(b"\nU", unit + 1)
    return (text.count(b"\n", 0, at), _line_at(text, at)[:60].decode(errors="replace")) if at >= 0 else (-1, "")


def _line_at(text: bytes, at: int) -> bytes:
    end = text.find(b"\n", at)
    return text[at : end if end >= 0 else len(text)].rstrip()
