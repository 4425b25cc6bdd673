"""HEPEVT as text: the standard event record of CERN 89-08 (vol. 3, p. 327) in the layout of HepMC3's WriterHEPEVT.

For each event ``E number n``, and for each particle a line ``status pdg mother1 mother2 daughter1 daughter2 px py pz e m``
and a line ``x y z t``, in GeV and mm (mm/c). The daughters are not looked at: mothers say the same (and HepMC3 writes 0).

pyhepmc reads this too and is what the tests compare with; but it drops particles that no vertex connects, whole events
if all are so, without a word, and puts the others into another order. So the numbers are read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.io.records import Rows, build_vertices, mothers_in_range, to_read
from fastsim.io.stream import ByteStream, segments
from fastsim.source import InputRecord
from fastsim.units import GeV, mm, mm_over_c

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastsim.events import Columns
    from fastsim.source import Limits, Range, Read

_EVENT = re.compile(rb"^[ \t]*E[ \t]", re.MULTILINE)
_NUMBER = rb"[ \t]+[-+.\w]+"
_START = re.compile(
    rb"\s*E[ \t]+[-+]?\d+[ \t]+\d+[ \t]*\r?\n\s*(\Z|[ \t]*[-+]?\d+([ \t]+[-+]?\d+){5}("
    + _NUMBER
    + rb"){5}[ \t]*\r?\n|[ \t]*E[ \t])"
)
_INTEGERS, _WORDS = 6, 15  # of one particle
_LONGEST = 64  # bytes of a number; numpy gives each word of a table the room of the longest


def recognises(start: bytes) -> bool:
    """Whether the first bytes of a file (decompressed, 1 kB or so) are those of HEPEVT text."""
    return _START.match(start) is not None


class HepevtEvents:
    """The events of one HEPEVT text file; a `Source`."""

    def __init__(self, path: str | ByteStream) -> None:
        self.stream = path if isinstance(path, ByteStream) else ByteStream(path)
        self.path = self.stream.name
        self._segments = segments(self.stream, _EVENT)
        before, self._first_segment = next(self._segments, b""), next(self._segments, b"")
        if before.strip() or not self._first_segment:
            what = f"not HEPEVT text: it starts with {before[:20]!r}, not with 'E number n_particles'"
            self.close()
            raise InputError(what, where=self.path)
        self._first_event = 0
        self._n_events = 0

    def blocks(self, first_event: int, events: Range, limits: Limits) -> Iterator[HepevtBlock]:
        """See `Source.blocks`. Events before the range are passed over as text."""
        self._first_event = first_event
        texts: list[bytes] = []
        n_particles = 0
        segment = self._first_segment
        while segment and (events.end is None or first_event + self._n_events < events.end):
            if first_event + self._n_events >= events.first:
                texts.append(segment)
                n_particles += segment.count(b"\n") // 2
            self._n_events += 1
            segment = next(self._segments, b"")
            if texts and (len(texts) >= limits.events or n_particles >= limits.particles):
                yield self._block(texts)
                texts, n_particles = [], 0
        if texts:
            yield self._block(texts)

    def _block(self, texts: list[bytes]) -> HepevtBlock:
        first = self._first_event + self._n_events - len(texts)
        return HepevtBlock(self.path, self.stream.hashed.n_bytes, first, tuple(texts))

    def record(self) -> InputRecord:
        """See `Source.record`."""
        info = {"format": "HEPEVT", "weight_names": []}
        return InputRecord(self.path, self.stream.finish(), self._first_event, self._n_events, info)

    def close(self) -> None:
        """Close the file."""
        self.stream.close()


@dataclass
class HepevtBlock:
    """Some consecutive events as text; `first_event` is the position of the first in the whole input."""

    path: str
    bytes_read: int
    first_event: int
    texts: tuple[bytes, ...]

    def read(self) -> Read:
        """See `Block.read`."""
        faults: dict[int, str] = {}
        numbers = np.zeros(len(self.texts), dtype=np.int64)
        tables = []
        for i, text in enumerate(self.texts):
            try:
                numbers[i], n = _first_line(text)
                table = _table(text, n)
            except ValueError as error:
                faults[i], table = str(error), np.zeros((0, _WORDS))
            tables.append(table)
        table = np.concatenate(tables)
        status, pdg, first, last = table[:, :4].astype(np.int64).T
        columns: Columns = {
            c.PDG: pdg.astype(np.int32),
            c.STATUS: status.astype(np.int32),
            **{
                column: np.ascontiguousarray(table[:, 6 + k]) * GeV
                for k, column in enumerate((*c.MOMENTUM, c.ENERGY, c.MASS))
            },
        }
        n_particles = np.array([len(table) for table in tables], dtype=np.int64)
        n_weights = np.ones(len(tables), dtype=np.int64)
        rows = Rows(
            self.path, self.first_event, numbers, n_particles, columns, {}, n_weights, np.ones(len(tables)), faults
        )  # fmt: skip
        mothers = mothers_in_range(rows, first, last)
        return to_read(rows, build_vertices(rows, table[:, 11:] * [mm, mm, mm, mm_over_c], *mothers))


def _first_line(text: bytes) -> tuple[int, int]:
    """Number of an event, and how many particles it announces; raises ValueError saying what is wrong."""
    if not text.rstrip(b" \t").endswith(b"\n"):
        raise ValueError("its last line has no end, so that the last number may be half of one: the file is truncated")
    words = text.partition(b"\n")[0].split()
    if len(words) != 3 or not all(re.fullmatch(rb"[-+]?\d{1,18}", word) for word in words[1:]):
        raise ValueError(f"its first line must be 'E number n_particles', and is {b' '.join(words)[:60]!r}")
    return int(words[1]), int(words[2])


def _table(text: bytes, n: int) -> NDArray[np.float64]:
    """The numbers of an event's particles (n, 15); raises ValueError saying what is wrong."""
    values = text.partition(b"\n")[2].split()
    if len(values) != n * _WORDS:
        raise ValueError(f"it announces {n} particles of {_WORDS} numbers, and has {len(values)} numbers")
    longest = max(values, key=len, default=b"")
    if len(longest) > _LONGEST:
        raise ValueError(f"{longest[:40]!r}, of {len(longest)} characters, is not a number")
    try:
        table = np.array(values, dtype="S").astype(np.float64).reshape(-1, _WORDS)
    except ValueError:
        odd = next(value for value in values if not _is_number(value))
        raise ValueError(f"{odd[:40]!r} is not a number") from None
    codes = table[:, :_INTEGERS]
    if not ((codes == np.trunc(codes)) & (np.abs(codes) < 2**31)).all():
        raise ValueError("status, PDG code, mothers and daughters must be whole numbers below 2147483648")
    return table


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
