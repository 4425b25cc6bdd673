"""Les Houches event files (LHEF; hep-ph/0609017 and, with many weights, arXiv:1405.1067), parsed by pylhe.

The file is cut into events here and pylhe gets them block by block, so that a broken event costs that event only, and a
file that ends too early is told: pylhe would end silently.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim import columns as c
from fastsim.errors import InputError, UsageError
from fastsim.io.records import BEAM, Rows, build_vertices, mothers_in_range, to_read
from fastsim.io.stream import ByteStream, segments
from fastsim.source import InputRecord
from fastsim.units import GeV, cm_over_c, mm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastsim.events import Columns
    from fastsim.source import Limits, Range, Read

_EVENT = re.compile(rb"<event[\s>]|</LesHouchesEvents")
_END = b"</event>"
_LAST = re.compile(rb"</LesHouchesEvents\s*>(\s|<!--.*?-->)*", re.DOTALL)
_UNREAD = re.compile(rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>", re.DOTALL)
_UNREAD_OPENS = re.compile(rb"<!--|<!\[CDATA\[")
_NAMES = re.compile(rb"<initrwgt.*?</initrwgt\s*>", re.DOTALL)
_INIT = re.compile(rb"<init[\s>].*?</init\s*>", re.DOTALL)
_INCOMING = -1  # LHEF's status of an incoming particle
_NOMINAL = "XWGTUP"  # the standard's name of the event's own weight


def recognises(start: bytes) -> bool:
    """Whether the first bytes of a file (decompressed, 1 kB or so) are those of a Les Houches event file."""
    return b"<LesHouchesEvents" in start


class LhefEvents:
    """The events of one Les Houches file; a `Source`."""

    def __init__(self, path: str | ByteStream) -> None:
        self.stream = path if isinstance(path, ByteStream) else ByteStream(path)
        self.path = self.stream.name
        self._segments = segments(self.stream, _EVENT)
        try:
            self._read_header()
        except InputError:
            self.close()
            raise
        self._first_event = 0
        self._n_events = 0

    def _read_header(self) -> None:
        header = self._text_of_header()
        if not recognises(header):
            raise InputError("not a Les Houches event file: it has no <LesHouchesEvents>", where=self.path)
        self._first_segment = next(self._segments, b"")
        found, names = _INIT.search(header), _NAMES.search(header)
        if not found:
            raise InputError("the file has no <init> block before its first event", where=self.path)
        if _END in header:
            raise InputError("there is an </event> before the first <event>", where=self.path)
        block = names[0] if names else b""
        self._header = b'<LesHouchesEvents version="3.0">\n<header>\n' + block + b"\n</header>\n" + found[0] + b"\n"
        try:
            file = _parse(self._header, ())[0]
        except _UnreadableError as error:
            raise InputError(f"pylhe cannot read the <init> or <initrwgt> block: {error}", where=self.path) from None
        ids = file.header.initrwgt.list_weights_ids() if file.header else []
        if not ids:
            ids = [
                text.decode(errors="replace")
                for text in re.findall(rb"<wgt\s+id\s*=\s*['\"]([^'\"]*)", self._first_segment)
            ]
        self.weight_names = (_NOMINAL, *ids)
        self.generators = [f"{g.name} {g.version}".strip() for g in file.init.generators]
        sections = file.init.procInfo
        self.cross_section = (np.nan, np.nan)
        if sections:
            self.cross_section = (sum(p.xSection for p in sections), math.hypot(*(p.error for p in sections)))

    def _text_of_header(self) -> bytes:
        """What stands before the first <event>, without comments and CDATA, in which an <event> may stand, too."""
        header = next(self._segments, b"")
        closing = _left_open(header, b"")
        while closing:
            part = next(self._segments, b"")
            if not part:
                raise InputError("a comment or CDATA of the header has no end", where=self.path)
            header += part
            closing = _left_open(part, closing)
        return _UNREAD.sub(b"", header)

    def blocks(self, first_event: int, events: Range, limits: Limits) -> Iterator[LhefBlock]:
        """See `Source.blocks`. Events before the range are passed over as text."""
        self._first_event = first_event
        texts: list[bytes] = []
        n_particles = 0
        segment = self._first_segment
        while segment.startswith(b"<event"):
            position = first_event + self._n_events
            if events.end is not None and position >= events.end:
                break
            self._n_events += 1
            if position >= events.first:
                texts.append(segment)
                n_particles += segment.count(b"\n")  # nearly: one line a particle
            if len(texts) >= limits.events or n_particles >= limits.particles:
                yield self._block(texts)
                texts, n_particles = [], 0
            segment = next(self._segments, b"")
        if texts:
            yield self._block(texts)
        if not segment or (segment.startswith(b"</") and b">" not in segment):
            what = f"the file ends before </LesHouchesEvents>, after {self._n_events} events: it is truncated"
            raise InputError(what, where=self.path, hint="copy or produce the file again")
        if segment.startswith(b"</") and not (_LAST.fullmatch(segment) and not next(self._segments, b"")):
            what = f"something follows on </LesHouchesEvents>, after {self._n_events} events: are there several files in it?"
            raise InputError(what, where=self.path, hint="split it, and give the files one after another")

    def _block(self, texts: list[bytes]) -> LhefBlock:
        first = self._n_events - len(texts)
        return LhefBlock(
            self.path, self.stream.hashed.n_bytes, self._header, self.weight_names, self.cross_section,
            self._first_event + first, first, tuple(texts),
        )  # fmt: skip

    def record(self) -> InputRecord:
        """See `Source.record`."""
        info = {"format": "LHEF", "weight_names": [*self.weight_names], "generators": self.generators}
        return InputRecord(self.path, self.stream.finish(), self._first_event, self._n_events, info)

    def close(self) -> None:
        """Close the file."""
        self.stream.close()


@dataclass
class LhefBlock:
    """Some consecutive events as text. `first_event` is the position of the first in the whole input, `first` in the file."""

    path: str
    bytes_read: int
    header: bytes
    weight_names: tuple[str, ...]
    cross_section: tuple[float, float]
    first_event: int
    first: int
    texts: tuple[bytes, ...]

    def read(self) -> Read:
        """See `Block.read`."""
        faults: dict[int, str] = {}
        try:
            parsed: Sequence[Any] = _parse(self.header, self.texts)[1]
        except _UnreadableError:  # find which
            parsed = [self._alone(i, faults) for i in range(len(self.texts))]
        for i, event in enumerate(parsed):
            if event is not None and i not in faults and (fault := _fault_of(event, self.weight_names)):
                faults[i] = fault
        return self._to_read([event if i not in faults else None for i, event in enumerate(parsed)], faults)

    def _alone(self, i: int, faults: dict[int, str]) -> Any:
        try:
            return _parse(self.header, self.texts[i : i + 1])[1][0]
        except _UnreadableError as error:
            faults[i] = f"pylhe cannot read it: {error}"
            return None

    def _to_read(self, events: list[Any], faults: dict[int, str]) -> Read:
        """Columns of the events; those with a fault (None) have no particles."""
        n_particles = np.array([len(event.particles) if event else 0 for event in events], dtype=np.int64)
        particles = [particle for event in events if event for particle in event.particles]

        def column(name: str, dtype: str = "float64") -> Any:
            return np.array([getattr(particle, name) for particle in particles], dtype=dtype)

        status = column("status", "int32")
        columns: Columns = {
            c.PDG: column("id", "int32"),
            c.STATUS: np.where(status == _INCOMING, BEAM, status).astype(np.int32),
            **{p: column(p.name) * GeV for p in c.MOMENTUM},
            c.ENERGY: column("e") * GeV,
            c.MASS: column("m") * GeV,
        }
        weights = [
            [event.eventinfo.weight, *(event.weights[n] for n in self.weight_names[1:])] for event in events if event
        ]
        n_weights = np.array([len(self.weight_names) if event else 0 for event in events], dtype=np.int64)
        rows = Rows(
            self.path, self.first_event, np.arange(self.first, self.first + len(events)), n_particles, columns,
            {q: np.full(len(events), value) for q, value in zip(c.CROSS_SECTION, self.cross_section, strict=True)},
            n_weights, np.array(weights, dtype=np.float64).ravel(), faults,
        )  # fmt: skip
        mothers = mothers_in_range(rows, column("mother1", "int64"), column("mother2", "int64"))
        points = [point for event in events if event for point in _points(event.particles)]
        return to_read(rows, build_vertices(rows, np.array(points, dtype=np.float64).reshape(-1, 4), *mothers))


def _left_open(text: bytes, closing: bytes) -> bytes:
    """What closes the comment or CDATA that is open at the end of a text, if any; `closing` is that at its beginning."""
    at = 0
    while True:
        if not closing:
            found = _UNREAD_OPENS.search(text, at)
            if not found:
                return b""
            closing, at = b"-->" if found[0] == b"<!--" else b"]]>", found.end()
        at = text.find(closing, at) + len(closing)
        if at < len(closing):
            return closing
        closing = b""


class _UnreadableError(Exception):
    """What pylhe says of text that it cannot read, or what it drops silently."""


def _parse(header: bytes, texts: Sequence[bytes]) -> tuple[Any, list[Any]]:
    """The file object and the events that pylhe makes of a header and the texts of events."""
    try:
        import pylhe  # noqa: PLC0415  (1 s that other formats do not need)
    except ImportError:
        raise UsageError("reading LHEF needs pylhe", hint="pip install 'fastsim[lhef]'") from None

    n_ends = {text.count(_END) for text in texts}
    if n_ends - {1}:
        what = "it has no </event>" if 0 in n_ends else "an event that has no <event> follows on it"
        raise _UnreadableError(what)
    ends = [text.find(_END) + len(_END) for text in texts]
    whole = b"\n".join([header, *(text[:end] for text, end in zip(texts, ends, strict=True)), b"</LesHouchesEvents>\n"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pylhe warns of broken XML, and ends
            file = pylhe.LHEFile.frombuffer(io.BytesIO(whole))
            events = list(file.events)
    except Exception as error:  # noqa: BLE001  (garbled numbers lead pylhe to any error there is)
        raise _UnreadableError(f"{type(error).__name__}: {error}") from None
    if len(events) != len(texts):
        raise _UnreadableError(f"{len(events)} events come of {len(texts)}")
    return file, events


def _fault_of(event: Any, weight_names: Sequence[str]) -> str:
    """Why an event that pylhe has read cannot be used, or ""."""
    announced, n = event.eventinfo.nparticles, len(event.particles)
    if announced != n:
        return f"it announces {announced} particles and has {n}"
    missing = [name for name in weight_names[1:] if name not in event.weights]
    if missing or len(event.weights) != len(weight_names) - 1:
        odd = missing or sorted(set(event.weights) - set(weight_names))
        verb = "has no weight" if missing else "has a weight that the file does not name,"
        return f"it {verb} {odd[0]!r}"
    codes = (v for p in event.particles for v in (p.id, p.status, p.mother1, p.mother2))
    large = next((v for v in codes if abs(v) >= 2**31), None)
    return f"{large} is too large a code" if large is not None else ""


def _points(particles: Sequence[Any]) -> list[tuple[float, float, float, float]]:
    """Where and when each particle is produced [cm, cm, cm, ns].

    Where its first mother has decayed: after the proper decay length c tau (VTIMUP) [mm], that is c tau p / m from its own
    production point. Mothers stand before daughters; a particle without such a mother starts at the origin.
    """
    points: list[tuple[float, float, float, float]] = []
    for i, particle in enumerate(particles):
        at = particle.mother1 - 1
        point = (0.0, 0.0, 0.0, 0.0)
        if 0 <= at < i:
            mother, point = particles[at], points[at]
            if mother.lifetime > 0.0 and mother.m > 0.0:
                step = mother.lifetime * mm / mother.m
                x, y, z = (x + step * p for x, p in zip(point, (mother.px, mother.py, mother.pz), strict=False))
                point = (x, y, z, point[3] + step * mother.e * cm_over_c)
        points.append(point)
    return points
