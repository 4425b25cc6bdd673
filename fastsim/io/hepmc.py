"""HepMC2 and HepMC3 ASCII files: cut into events here, parsed by pyhepmc, turned into columns and our units.

pyhepmc ends silently where a file is truncated or garbled. So the file is cut into events by us, each block must give
as many events as it has, listings must be closed by their footer, and lines must hold numbers where numbers belong.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.events import EventBatch, offsets_from_counts
from fastsim.io.hepmc_text import fault_of
from fastsim.io.stream import EventFile
from fastsim.kernels.ancestry import inherit_positions
from fastsim.units import GeV, MeV, cm, cm_over_c, mm, mm_over_c

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_MARK = re.compile(rb"^(?:E |HepMC::)", re.MULTILINE)
_START = re.compile(rb"HepMC::(\S+)-START_EVENT_LISTING")
_STRAY = re.compile(rb"^[^HWANT\r\n]|\0", re.MULTILINE)  # no line of a header starts so
_FORMATS = {b"Asciiv3": "hepmc3", b"IO_GenEvent": "hepmc2"}
LARGEST = float(np.finfo(np.float32).max)  # files hold float32
_OTHER_FORMATS = (
    (b"root", "a ROOT file"),
    (b"<LesHouches", "a Les Houches file"),
    (b"<?xml", "an XML file"),
    (b"PK", "a zip file"),
)


class Event(NamedTuple):
    """The text of one event, its position in the whole input, and the file line where it starts."""

    text: bytes
    event_id: int
    line: int

    @property
    def event_number(self) -> str:
        """The generator's number, as written."""
        words = self.text[:64].split()
        return words[1].decode(errors="replace") if len(words) > 1 else "?"


@dataclass
class Block:
    """Some consecutive events of one file, as text, with the header that they need."""

    path: str
    header: bytes
    format: str
    events: list[Event] = field(default_factory=list)
    n_particles: int = 0
    bytes_read: int = 0

    def text(self, events: Sequence[Event]) -> bytes:
        """A complete HepMC file of these events."""
        name = b"Asciiv3" if self.format == "hepmc3" else b"IO_GenEvent"
        return b"".join([self.header, *(e.text for e in events), b"HepMC::" + name + b"-END_EVENT_LISTING\n\n"])


class InputRecord(NamedTuple):
    """What provenance says of an input: name, sha256 of the file as it lies on disk, and the events it gave."""

    name: str
    sha256: str
    first_event: int
    n_events: int


class _Cutter:
    """Cuts one file into events, keeping track of lines and of the listing's state."""

    def __init__(self, file: EventFile, first_event: int) -> None:
        self.file = file
        self.event_id = first_event
        self.line = 1
        self.version = b""  # the control line before a listing
        self.header = b""
        self.format = ""
        self.awaits_listing = False  # a version was given, and no listing yet
        self.in_listing = False
        self.last_event: Event | None = None

    def events(self) -> Iterator[Event]:
        """All events of the file, in order; raises InputError where the text is not a whole HepMC file.

        An event is known to be whole when something follows it: another event or the footer.
        """
        event: Event | None = None
        for segment in self._segments():
            if event:
                self.last_event = event
                yield event
                event = None
            line = self.line
            self.line += segment.count(b"\n")
            if segment.startswith(b"E "):
                if not self.in_listing:
                    raise self._error("an event outside a listing", line)
                event = Event(segment, self.event_id, line)
                self.event_id += 1
            elif segment.startswith(b"HepMC::"):
                self._control(segment, line)
            elif segment.strip():
                raise self._not_hepmc(segment)
        if not self.version:
            raise InputError("the file is empty", where=self.file.name)
        if self.awaits_listing:
            raise self._error("the file ends before its event listing starts: it is truncated", self.line)
        if self.in_listing:
            raise self._error("the file ends in the middle of an event listing (no footer): it is truncated", self.line)

    def _segments(self) -> Iterator[bytes]:
        """Text from one mark (event or control line) to the next."""
        rest, scanned = b"", 0
        first = True
        while piece := self.file.read():
            rest += piece
            if first and len(rest.lstrip()) >= 8 and not rest.lstrip().startswith(b"HepMC::"):
                raise self._not_hepmc(rest.lstrip())
            first = False
            end = rest.rfind(b"\n") + 1
            starts = [m.start() for m in _MARK.finditer(rest, scanned, end + 7) if m.start() < end]
            begin = 0
            for start in starts:
                if start > begin:
                    yield rest[begin:start]
                    begin = start
            rest = rest[begin:]
            scanned = max(end - begin, 1) if rest else 0
        last = rest.rfind(b"\n") + 1
        if last and rest.startswith(b"HepMC::", last):  # a footer without an end of line
            yield rest[:last]
            rest = rest[last:]
        if rest:
            yield rest

    def _control(self, segment: bytes, line: int) -> None:
        if start := _START.match(segment):
            if self.in_listing:
                raise self._error("a new listing starts before the footer of the last one", line)
            if start[1] not in _FORMATS:
                raise self._error(
                    f"listing of format {start[1].decode(errors='replace')!r} (known: Asciiv3, IO_GenEvent)", line
                )
            if stray := _STRAY.search(segment):
                at = line + segment.count(b"\n", 0, stray.start())
                raise self._error("a line that no header has, before the first event", at)
            self.format = _FORMATS[start[1]]
            self.header = self.version + segment
            self.in_listing = True
            self.awaits_listing = False
        elif b"-END_EVENT_LISTING" in segment:
            self.in_listing = False
        elif not segment.startswith(b"HepMC::Version"):
            raise self._error(f"{segment[:40]!r} is not a control line of HepMC", line)
        else:
            self.version = segment
            self.awaits_listing = not self.in_listing

    def _not_hepmc(self, text: bytes) -> InputError:
        kind = next((kind for magic, kind in _OTHER_FORMATS if text.startswith(magic)), "not a HepMC file")
        return InputError(
            f"{kind}: it starts with {text[:20]!r}, where HepMC2 and HepMC3 text files start with 'HepMC::Version'",
            where=self.file.name,
        )

    def _error(self, what: str, line: int) -> InputError:
        last = self.last_event
        good = (
            f"the last whole event before it is number {last.event_number} (position {last.event_id})"
            if last
            else "there is no whole event before it"
        )
        return InputError(f"{what}; {good}", where=f"{self.file.name}:{line}", hint="copy or produce the file again")


def read_blocks(
    inputs: Sequence[str],
    *,
    events: tuple[int, int | None] = (0, None),
    max_events: int,
    max_particles: int,
    records: list[InputRecord],
) -> Iterator[Block]:
    """Blocks of at most `max_events` events or about `max_particles` particles, over all inputs as one stream.

    `events` (first, end) selects positions in the whole input; what is skipped is not parsed. `records` is filled with
    what each input was. Raises InputError naming file and line where a file is not whole.
    """
    first, end = events
    position = 0
    bytes_before = 0
    for path in inputs:
        if end is not None and position >= end:
            break
        file = EventFile(path)
        try:
            cutter = _Cutter(file, position)
            block: Block | None = None
            n_before = position
            for event in _upto(cutter, end):
                position = event.event_id + 1
                if event.event_id < first:
                    continue
                if block is not None and block.header != cutter.header:
                    yield block
                    block = None
                block = block or Block(file.name, cutter.header, cutter.format)
                block.events.append(event)
                block.n_particles += event.text.count(b"\nP ")
                block.bytes_read = bytes_before + file.hashed.n_bytes
                if len(block.events) >= max_events or block.n_particles >= max_particles:
                    yield block
                    block = None
            if block:
                yield block
            records.append(InputRecord(file.name, file.finish(), n_before, position - n_before))
            bytes_before += file.hashed.n_bytes
        finally:
            file.close()


def _upto(cutter: _Cutter, end: int | None) -> Iterator[Event]:
    for event in cutter.events():
        if end is not None and event.event_id >= end:
            return
        yield event


def load_kernels() -> None:
    """Compile what the reader needs, or load it from numba's cache."""
    nobody = np.zeros(0, dtype=np.int32)
    inherit_positions(nobody, nobody, np.zeros((0, 4)))
    fault_of(b"", is_hepmc3=True)


def parse_block(block: Block) -> tuple[EventBatch, list[tuple[Event, str]]]:
    """Columns of a block's events, and the events that could not be read with the reason; those are left out."""
    good, bad = [], []
    for event in block.events:
        line, text = fault_of(event.text, is_hepmc3=block.format == "hepmc3")
        if line < 0:
            good.append(event)
        else:
            bad.append((event, f"line {event.line + line} is garbled, or does not fit the others: {text!r}"))
    parsed: list[_Parsed | None] = [*_parse(block, good)]
    if len(parsed) != len(good):  # find which: pyhepmc stops at the first one that it cannot read
        alone = [_parse(block, [event]) for event in good]
        parsed = [found[0] if len(found) == 1 else None for found in alone]
    kept = []
    for event, data in zip(good, parsed, strict=True):
        is_whole = data is not None and len(data.particles) == event.text.count(b"\nP ")
        reason = _unphysical(data) if data is not None and is_whole else "its particles and vertices do not add up"
        if reason:
            bad.append((event, reason))
        elif data is not None:
            kept.append((event, data))
    return to_batch([event for event, _ in kept], [data for _, data in kept]), sorted(
        bad, key=lambda pair: pair[0].event_id
    )


class _Parsed(NamedTuple):
    """One event in HepMC's own units, with the factors to ours."""

    particles: NDArray[Any]
    production_vertex: NDArray[np.int32]
    end_vertex: NDArray[np.int32]
    positions: NDArray[np.float64]
    momentum_unit: float
    event_number: int
    weight: float
    impact_parameter: float
    event_plane_angle: float
    origin: tuple[float, float, float, float]


def _parse(block: Block, events: Sequence[Event]) -> list[_Parsed]:
    """What pyhepmc reads of these events: fewer than asked for where it meets something that it cannot read."""
    import pyhepmc  # noqa: PLC0415  (0.15 s that --help does not need)

    pyhepmc.Setup.print_errors = False
    pyhepmc.Setup.print_warnings = False
    pyhepmc.Setup.debug_level = 0
    parsed: list[_Parsed] = []
    kind = pyhepmc.io.ReaderAscii if block.format == "hepmc3" else pyhepmc.io.ReaderAsciiHepMC2
    stream = pyhepmc.io.pyiostream(io.BytesIO(block.text(events)))  # must outlive the reader
    with contextlib.suppress(RuntimeError, ValueError), kind(stream) as reader:  # weights that do not fit their names
        for _ in events:  # not pyhepmc's own loop, which ends at an event without particles
            event = pyhepmc.GenEvent()
            if not reader.read_event(event):
                break
            parsed.append(_event(pyhepmc, event))
    return parsed


def _event(pyhepmc: Any, event: Any) -> _Parsed:
    data = pyhepmc.GenEventData()
    event.write_data(data)
    particles = np.array(data.particles)
    vertices = np.array(data.vertices)
    source, target = np.array(data.links1), np.array(data.links2)
    production = np.full(len(particles), -1, dtype=np.int32)
    end = np.full(len(particles), -1, dtype=np.int32)
    produced = (source < 0) & (target > 0)  # vertex -> particle; the other links are particle -> vertex
    production[target[produced] - 1] = -source[produced] - 1
    entering = (source > 0) & (target < 0)
    end[source[entering] - 1] = -target[entering] - 1
    lengths = (mm, mm_over_c) if data.length_unit == pyhepmc.Units.LengthUnit.MM else (cm, cm_over_c)
    factors = np.array([lengths[0]] * 3 + [lengths[1]])
    positions = np.column_stack([vertices[axis] for axis in "xyzt"]).reshape(-1, 4) * factors
    event_position = np.array([*event.event_pos()]) * factors
    inherit_positions(production, end, positions)
    positions[~positions.any(axis=1)] = event_position  # HepMC's rule for vertices without a position anywhere upstream
    ions = event.heavy_ion
    return _Parsed(
        particles, production, end, positions,
        momentum_unit=GeV if data.momentum_unit == pyhepmc.Units.MomentumUnit.GEV else MeV,
        event_number=event.event_number,
        weight=float(event.weights[0]) if len(event.weights) else 1.0,
        impact_parameter=float(ions.impact_parameter) if ions else np.nan,
        event_plane_angle=float(ions.event_plane_angle) if ions else np.nan,
        origin=_primary_vertex(particles, end, positions, event_position),
    )  # fmt: skip


def _primary_vertex(
    particles: NDArray[Any], end: NDArray[np.int32], positions: NDArray[np.float64], event_position: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    """Where the beams (status 4) meet; the event's position where there are no beams."""
    beams = np.flatnonzero((particles["status"] == 4) & (end >= 0))
    x, y, z, t = positions[end[beams[0]]] if len(beams) else event_position
    return float(x), float(y), float(z), float(t)


def _unphysical(data: _Parsed) -> str:
    """Why an event is not physics, or ""."""
    for name in ("px", "py", "pz", "e"):
        bad = np.flatnonzero(~(np.abs(data.particles[name]) < LARGEST))
        if len(bad):
            i = int(bad[0])
            return f"particle {i + 1} (PDG code {data.particles['pid'][i]}) has {name} = {data.particles[name][i]}"
    bad = np.flatnonzero(~np.isfinite(data.positions).all(axis=1))
    return f"vertex {-int(bad[0]) - 1} is at {data.positions[bad[0]].tolist()}" if len(bad) else ""


def to_batch(events: Sequence[Event], parsed: Sequence[_Parsed]) -> EventBatch:
    """One batch of the parsed events, in our units."""

    def flat(arrays: list[NDArray[Any]], dtype: str) -> NDArray[Any]:
        return np.concatenate(arrays).astype(dtype, copy=False) if arrays else np.zeros(0, dtype=dtype)

    def row(name: str, dtype: str) -> NDArray[Any]:
        return np.array([getattr(p, name) for p in parsed], dtype=dtype)

    def particle(name: str, column: c.Column) -> NDArray[Any]:
        return flat([p.particles[name] for p in parsed], column.dtype)

    sizes = np.array([len(p.particles) for p in parsed], dtype=np.int64)
    unit = np.repeat(row("momentum_unit", "float64"), sizes)
    px, py, pz, energy = (particle(name, c.ENERGY) * unit for name in ("px", "py", "pz", "e"))
    given = flat([p.particles["is_mass_set"] for p in parsed], "bool")
    invariant = np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0))
    positions = np.concatenate([p.positions for p in parsed]) if parsed else np.zeros((0, 4))
    columns = {
        c.EVENT_ID: np.array([e.event_id for e in events], dtype=np.uint64),
        c.EVENT_NUMBER: row("event_number", "int64"),
        c.WEIGHT: row("weight", "float64"),
        c.IMPACT_PARAMETER: row("impact_parameter", "float64"),
        c.EVENT_PLANE_ANGLE: row("event_plane_angle", "float64"),
        c.PDG: particle("pid", c.PDG),
        c.STATUS: particle("status", c.STATUS),
        c.ENERGY: energy,
        c.MASS: np.where(given, particle("mass", c.MASS) * unit, invariant),
        c.PRODUCTION_VERTEX: flat([p.production_vertex for p in parsed], "int32"),
        c.END_VERTEX: flat([p.end_vertex for p in parsed], "int32"),
        **dict(zip(c.MOMENTUM, (px, py, pz), strict=True)),
    }
    origins = row("origin", "float64").reshape(-1, 4)
    for axis in range(4):
        columns[c.VERTEX_TRUE[axis]] = np.ascontiguousarray(origins[:, axis])
        columns[c.VERTEX_POSITION[axis]] = np.ascontiguousarray(positions[:, axis])
    offsets = {
        "particle": offsets_from_counts(sizes),
        "vertex": offsets_from_counts(np.array([len(p.positions) for p in parsed], dtype=np.int64)),
        "event": np.arange(len(parsed) + 1, dtype=np.int64),
    }
    return EventBatch(offsets, columns)  # type: ignore[arg-type]
