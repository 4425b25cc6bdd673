"""Words and lines of HepMC text, and the arrays that they go to: what both formats share (`hepmc_events` has the rest).

Grammar: HepMC3's ReaderAscii.cc and ReaderAsciiHepMC2.cc, and docs/inputs.md, which says what is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.units import GeV, MeV, cm, cm_over_c, mm, mm_over_c

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = float(np.finfo(np.float32).max)  # files hold float32
LARGEST_CODE = 2**31 - 1  # PDG codes have ten digits at most; so do all ids and counts
LONGEST_INFO = 12  # numbers of an attribute that are looked at
# Columns of `Events.info`: heavy ion, cross section, partons.
HEAVY_ION, CROSS_SECTION, PARTONS, N_INFO = 0, 6, 8, 15

IS_HEAVY_ION, IS_NEW_HEAVY_ION, IS_CROSS_SECTION, IS_PARTONS = 1, 2, 3, 4  # attributes

# Why an event is bad.
FAULTS = (
    "",
    "this line belongs to no event",
    "the event must start with: E number n_vertices n_particles [@ x y z t]",
    "units must stand before particles and vertices, once, and be: U GEV|MEV MM|CM",
    "weights must be as many as their names, on one line, and the first of them finite and below 3.4e38",
    "a particle must be: P id mother pdg px py pz e m status",
    "a particle's id must lie within the number of particles and differ from the others",
    "a mother must be a particle or a vertex of this event, and not the particle itself",
    "a vertex must be: V id status [id,...] [@ x y z t]",
    "a vertex's id must lie within the number of vertices and differ from the others",
    "the particles that end in a vertex must be particles of this event, and end in one vertex only",
    "the numbers of particles and vertices are not those that the first line announces",
    "a particle comes from a vertex that has no line",
    "the event must start with: E number n_mpi scale alphas[2] process vertex n_vertices beams[2] n_random ... n_weights ...",
    "a particle must be: P barcode pdg px py pz e m status theta phi end_vertex n_flow ...",
    "a vertex must be: V barcode id x y z t n_orphans n_outgoing n_weights ...",
    "the vertex before has announced another number of particles",
    "a particle ends in a vertex that is not there, or in the one that it comes from",
    "the particles are their own ancestors",
    "momenta, energies and masses must be finite, and below 3.4e38 GeV",
    "positions must be finite, and below 3.4e38 cm",
)
(
    FINE, NO_LINE, BAD_EVENT3, BAD_UNITS, BAD_WEIGHTS, BAD_PARTICLE3, BAD_ID, BAD_MOTHER, BAD_VERTEX3, BAD_VERTEX_ID, BAD_END,
    WRONG_COUNTS, NO_VERTEX, BAD_EVENT2, BAD_PARTICLE2, BAD_VERTEX2, NOT_ANNOUNCED, NO_END, CYCLE, NOT_FINITE, NOWHERE,
) = range(len(FAULTS))  # fmt: skip


class Particles(NamedTuple):
    """Columns of the particles, as in `columns`; momenta (5, n): px, py, pz, energy, mass."""

    pdg: NDArray[np.int32]
    status: NDArray[np.int32]
    momentum: NDArray[np.float64]
    production: NDArray[np.int32]
    end: NDArray[np.int32]


class Vertices(NamedTuple):
    """Positions (4, n): x, y, z, t; and two columns to work with: barcode or kind of line, first incoming particle."""

    position: NDArray[np.float64]
    label: NDArray[np.int64]
    mother: NDArray[np.int32]


class Events(NamedTuple):
    """A row an event: number, sizes (particles, vertices, weights), primary vertex (4), attributes, fault and its line."""

    number: NDArray[np.int64]
    size: NDArray[np.int64]
    origin: NDArray[np.float64]
    info: NDArray[np.float64]
    fault: NDArray[np.int64]


@kernel
def skip_blanks_1(text: NDArray[np.uint8], at: int) -> int:
    """The next character that is no blank or tab."""
    while text[at] == 32 or text[at] == 9:
        at += 1
    return at


@kernel
def end_of_line_1(text: NDArray[np.uint8], at: int, end: int) -> int:
    """Behind the end of the line, if nothing but blanks stands before it; else -1."""
    at = skip_blanks_1(text, at)
    if text[at] == 13:
        at += 1
    if at >= end:
        return end
    return at + 1 if text[at] == 10 else -1


@kernel
def blank_line_1(text: NDArray[np.uint8], at: int, end: int) -> int:
    """Behind the end of a line of blanks (and bare carriage returns), -1 if there is more in it."""
    while text[at] == 32 or text[at] == 9 or text[at] == 13:
        at += 1
    return min(at + 1, end) if text[at] == 10 or at >= end else -1


@kernel
def next_line_1(text: NDArray[np.uint8], at: int, end: int) -> int:
    """Behind the end of the line, whatever stands before it."""
    while at < end and text[at] != 10:
        at += 1
    return min(at + 1, end)


@kernel
def is_too_large_1(integers: NDArray[np.int64], n: int) -> bool:
    """Whether one of the first `n` is no 32-bit number."""
    for k in range(n):  # noqa: SIM110
        if abs(integers[k]) > LARGEST_CODE:
            return True
    return False


@kernel
def has_position_1(text: NDArray[np.uint8], at: int) -> bool:
    """Whether a blank and ``@`` come next."""
    return bool(text[at] <= 32 and text[skip_blanks_1(text, at)] == 64)


@kernel
def units_1(text: NDArray[np.uint8], at: int, end: int, factors: NDArray[np.float64]) -> int:
    """Read ``GEV|MEV MM|CM`` into `factors` (energy, length, time to ours): where the line ends, -1 if it is not that."""
    begin = skip_blanks_1(text, at)
    if begin == at or text[begin + 1] != 69 or text[begin + 2] != 86:  # EV
        return -1
    if text[begin] == 71:
        factors[0] = GeV
    elif text[begin] == 77:
        factors[0] = MeV
    else:
        return -1
    at = skip_blanks_1(text, begin + 3)
    if at == begin + 3 or text[at + 1] != 77:
        return -1
    if text[at] == 77:
        factors[1], factors[2] = mm, mm_over_c
    elif text[at] == 67:
        factors[1], factors[2] = cm, cm_over_c
    else:
        return -1
    return end_of_line_1(text, at + 2, end)


@kernel
def is_name_1(text: NDArray[np.uint8], at: int, name: NDArray[np.uint8]) -> bool:
    """Whether this name stands at `at`."""
    for i in range(len(name)):  # noqa: SIM110  (numba takes a loop)
        if text[at + i] != name[i]:
            return False
    return True


_CONTROL = np.frombuffer(b"HepMC::", dtype=np.uint8)
_ION = np.frombuffer(b"GenHeavyIon", dtype=np.uint8)
_SECTION = np.frombuffer(b"GenCrossSection", dtype=np.uint8)
_PDF = np.frombuffer(b"GenPdfInfo", dtype=np.uint8)


@kernel
def attribute_1(text: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """Which of the attributes that are kept a line holds, and where its numbers start; 0 if none. `at` is behind the A.

    Attributes of the whole event are those of object 0.
    """
    begin = skip_blanks_1(text, at)
    number = begin + int(text[begin] == 43 or text[begin] == 45)
    stop = number
    while text[stop] == 48:
        stop += 1
    name = skip_blanks_1(text, stop)
    if begin == at or stop == number or name == stop:  # noqa: PLR1714
        return 0, at
    if is_name_1(text, name, _SECTION):
        return IS_CROSS_SECTION, name + len(_SECTION)
    if is_name_1(text, name, _PDF):
        return IS_PARTONS, name + len(_PDF)
    if not is_name_1(text, name, _ION):
        return 0, at
    at = name + len(_ION)
    begin = skip_blanks_1(text, at)
    if begin == at or text[begin] != 118:  # v0, v1 or nothing: HepMC3's GenHeavyIon.cc
        return IS_HEAVY_ION, at
    stop = begin
    while stop < end and text[stop] != 32 and text[stop] != 9 and text[stop] != 10:
        stop += 1
    return (IS_NEW_HEAVY_ION if stop == begin + 2 and text[begin + 1] == 49 else IS_HEAVY_ION), stop


@kernel
def ends_badly_1(text: NDArray[np.uint8], at: int, end: int) -> int:
    """Count 1 if the number that ends at `at` is followed by a character that separates no words."""
    if text[at] == 13:
        return int(text[at + 1] != 10 and at + 1 < end)
    return int(text[at] != 32 and text[at] != 9 and text[at] != 10 and at < end)


@kernel
def keep_1(which: int, values: NDArray[np.float64], n: int, info: NDArray[np.float64]) -> None:
    """Keep what is kept of the numbers of an attribute, if there are enough of them."""
    if which == IS_CROSS_SECTION and n >= 2:
        for i in range(2):
            info[CROSS_SECTION + i] = values[i]
    elif which == IS_PARTONS and n >= 7:
        for i in range(7):
            info[PARTONS + i] = values[i]
    elif which > 0 and which <= IS_NEW_HEAVY_ION:
        impact = 7 if which == IS_NEW_HEAVY_ION else 9  # the new format has no spectators
        if n >= impact + 2:
            for i in range(6):  # four counts, impact parameter, event plane
                info[HEAVY_ION + i] = values[i if i < 4 else impact + i - 4]


@kernel
def find_marks(
    text: NDArray[np.uint8], begin: int, end: int, positions: NDArray[np.int64], lines: NDArray[np.int64]
) -> tuple[int, int]:
    """Find where lines in text[begin:end] start with "E " or "HepMC::": how many there are, and how many line ends.

    Fills `positions`, and `lines` with the number of line ends between `begin` and each, as far as there is room.
    text[begin - 1] is a line end.
    """
    n, n_lines, at = 0, 0, begin
    while at < end:
        stop = min(at + 64, end)
        n_new = n_capitals = np.int32(0)
        for c in text[at:stop]:  # a loop that becomes vector instructions: few pieces have a capital E or H
            n_new += np.int32(c == 10)
            n_capitals += np.int32((c == 69) | (c == 72))
        if n_capitals > 0:
            n_before = n_lines
            for i in range(at, stop):
                n_before = n_before + 1 if text[i] == 10 else n_before
                if text[i - 1] != 10:
                    continue
                is_event = text[i] == 69 and text[i + 1] == 32
                if is_event or is_name_1(text, i, _CONTROL):
                    if n < len(positions):
                        positions[n], lines[n] = i, n_before
                    n += 1
        n_lines += int(n_new)
        at = stop
    return n, n_lines
