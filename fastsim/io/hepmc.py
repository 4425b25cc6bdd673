"""HepMC2 and HepMC3 ASCII files as a source of events: cut into blocks of whole events here, parsed by `hepmc_events`.

Nothing is lost silently: listings must be closed by their footer, every event must hold what its first line announces, and
lines must hold numbers where numbers belong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.events import offsets_from_counts
from fastsim.io import hepmc_text as t
from fastsim.io.decimal import PADDING, words_of
from fastsim.io.hepmc_events import read_events2, read_events3
from fastsim.io.stream import ByteStream
from fastsim.source import InputRecord, Range, Read, make_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastsim.source import Limits

_START = re.compile(rb"HepMC::(\S+)-START_EVENT_LISTING[ \t]*\r?\n")
_END = re.compile(rb"HepMC::(Asciiv3|IO_GenEvent)-END_EVENT_LISTING[ \t]*(\r?\n[ \t\r\n]*)?\Z")
_VERSION = re.compile(rb"HepMC::Version[^\n]*\n[ \t\r\n]*\Z")
_STRAY = re.compile(rb"^(?![HWANTC]|[ \t\r]*$)|\0", re.MULTILINE)  # no line of a header starts so
_VERSIONS = {b"Asciiv3": 3, b"IO_GenEvent": 2}
BYTES_PER_PARTICLE = 160  # of text, vertices included: 145 in Pb-Pb, 153 in ttbar
LONGEST_EVENT = 1 << 31  # bytes of text
_HEAD = 1  # bytes before the text in the buffer: a line end, so that the first line starts like all others


class _Listing(NamedTuple):
    """What the header of a listing says."""

    version: int
    n_names: int


@dataclass(frozen=True)
class TextBlock:
    """Some consecutive events of one listing, as text.

    The text may lie in a buffer that is used again for the next block: read (or pickle) a block before asking for the next.
    """

    path: str
    text: NDArray[np.uint8]
    starts: NDArray[np.int64]  # of the events in the text, and the end of the last
    lines: NDArray[np.int64]  # of the file, where the events start, and the one behind the last
    first_event: int
    version: int
    n_names: int
    bytes_read: int
    has_mass: bool = True  # False: nobody wants it, and its numbers are not converted

    def read(self) -> Read:
        """Parse the events. Bad ones are told with file, line, and what was expected there."""
        n_bytes, n_lines = int(self.starts[-1] - self.starts[0]), int(self.lines[-1] - self.lines[0]) + 1
        particles, vertices, weights, events = _arrays(n_bytes, n_lines, len(self.starts) - 1)
        n_kept = 5 if self.has_mass else 4
        arguments = (self.text, words_of(self.text), self.starts)
        if self.version == 3:
            read_events3(*arguments, self.n_names, n_kept, particles, vertices, weights, events)
        else:
            read_events2(*arguments, n_kept, particles, vertices, weights, events)
        is_good = events.fault[:, 0] == t.FINE
        n, v, w = events.size.sum(axis=0)
        first_weight = offsets_from_counts(events.size[is_good, 2])
        columns: dict[c.Column, NDArray[Any]] = {
            c.EVENT_ID: (self.first_event + np.flatnonzero(is_good)).astype(np.uint64),
            c.EVENT_NUMBER: events.number[is_good],
            c.WEIGHT: weights[first_weight[:-1]],
            c.WEIGHT_VALUE: weights[:w],
            c.PDG: particles.pdg[:n],
            c.STATUS: particles.status[:n],
            c.PRODUCTION_VERTEX: particles.production[:n],
            c.END_VERTEX: particles.end[:n],
        }
        columns |= zip((*c.MOMENTUM, c.ENERGY, c.MASS)[:n_kept], particles.momentum[:n_kept, :n], strict=True)
        columns |= zip(c.VERTEX_POSITION, vertices.position[:, :v], strict=True)
        columns |= zip(c.VERTEX_TRUE, np.ascontiguousarray(events.origin[is_good].T), strict=True)
        info = np.ascontiguousarray(events.info[is_good].T)
        columns |= zip((*c.HEAVY_ION, *c.CROSS_SECTION, *c.PARTONS), info, strict=True)
        offsets: dict[c.Table, NDArray[np.int64]] = {
            "particle": offsets_from_counts(events.size[is_good, 0]),
            "vertex": offsets_from_counts(events.size[is_good, 1]),
            "weight": first_weight,
        }
        bad = [self._error(int(k), *events.fault[k].tolist()) for k in np.flatnonzero(~is_good)]
        return Read(make_batch(offsets, columns), bad)

    def _error(self, k: int, fault: int, at: int) -> tuple[int, InputError]:
        event_id = self.first_event + k
        begin, end = int(self.starts[k]), int(self.starts[k + 1])
        line = int(self.lines[k]) + int(np.count_nonzero(self.text[begin:at] == ord("\n")))
        text = self.text[at:end].tobytes().partition(b"\n")[0].rstrip()
        shown = text[:60].decode(errors="replace") + ("..." if len(text) > 60 else "")
        what = f"event {_number(self.text[begin:end])} (position {event_id}): {t.FAULTS[fault]}; the line is {shown!r}"
        hint = "produce the file again, or skip such events with --max-bad-events N"
        return event_id, InputError(what, where=f"{self.path}:{line}", hint=hint)


def empty_block(version: int) -> TextBlock:
    """A block of no events: reading it loads the kernels."""
    nothing = np.zeros(1, dtype=np.int64)
    return TextBlock("", np.zeros(PADDING, dtype=np.uint8), nothing, nothing, 0, version, 0, 0)


def _unescaped(text: str) -> str:
    r"""Text with its line ends back, which HepMC3 writes as \|, and \\ for \."""
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "|" else found[1], text)


def _names_of_weights2(text: bytes) -> list[str]:
    """Names of weights in an event of HepMC2: N 2 "one" "other"."""
    found = re.search(rb"^N \d+((?: +\"[^\"\n]*\")+)", text, re.MULTILINE)
    return [name.decode(errors="replace") for name in re.findall(rb'"([^"]*)"', found[1])] if found else []


def _number(text: NDArray[np.uint8]) -> str:
    """The generator's number of an event, as written."""
    words = text[:64].tobytes().split()
    return words[1][:20].decode(errors="replace") if len(words) > 1 else "?"


def _arrays(n_bytes: int, n_lines: int, n_events: int) -> tuple[t.Particles, t.Vertices, NDArray[np.float64], t.Events]:
    """Room for whatever so many bytes and lines can hold.

    Not much more than is needed: memory that is given back to the system has to be cleared by it the next time, which costs
    a tenth of the parsing. (Weights are few, and what is not touched costs nothing.)
    """
    n = v = n_lines

    def codes(size: int) -> NDArray[np.int32]:
        return np.empty(size, dtype=np.int32)

    return (
        t.Particles(codes(n), codes(n), np.empty((5, n)), codes(n), codes(n)),
        t.Vertices(np.empty((4, v)), np.empty(v, dtype=np.int64), codes(v)),
        np.empty(n_bytes // 2 + n_events + 1),
        t.Events(
            np.empty(n_events, dtype=np.int64), np.empty((n_events, 3), dtype=np.int64), np.empty((n_events, 4)),
            np.empty((n_events, t.N_INFO)), np.empty((n_events, 2), dtype=np.int64),
        ),
    )  # fmt: skip


class _Buffer:
    """Text that is read and not yet cut, in an array that is used again and again.

    It grows for an event that does not fit, and shrinks again behind it.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.begin = self.end = _HEAD
        self.data = np.zeros(_HEAD + size + PADDING, dtype=np.uint8)
        self.data[0] = ord("\n")
        self._rest = memoryview(b"")

    def fill(self, stream: ByteStream) -> bool:
        """Move what is left to the front and read until the buffer is full: False at the end of the stream."""
        n = self.end - self.begin
        room = max(
            self.size, 2 * n if 2 * n > len(self.data) or 8 * n < len(self.data) else len(self.data) - _HEAD - PADDING
        )
        left = self.data[self.begin : self.end].copy()
        if _HEAD + room + PADDING != len(self.data):
            self.data = np.zeros(_HEAD + room + PADDING, dtype=np.uint8)
            self.data[0] = ord("\n")
        self.data[_HEAD : _HEAD + n] = left
        self.begin, self.end = _HEAD, _HEAD + n
        is_open = True
        while self.end < _HEAD + room:
            piece = self._rest or memoryview(stream.read())
            is_open = len(piece) > 0
            if not is_open:
                break
            n_fit = min(len(piece), _HEAD + room - self.end)
            self.data[self.end : self.end + n_fit] = np.frombuffer(piece, dtype=np.uint8, count=n_fit)
            self._rest = piece[n_fit:]
            self.end += n_fit
        self.data[self.end : self.end + PADDING] = 0
        return is_open


class _Marks(NamedTuple):
    """Lines in a buffer that start an event or a control line, each up to the next one."""

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    line: NDArray[np.int64]  # of each, and behind the last
    is_control: NDArray[np.bool_]


class TextSource:
    """One HepMC text file, pipe or URL. Raises InputError where it is not a whole HepMC file.

    With `allow_truncated` an end in the middle of a listing is none: the whole events before it are kept. Without
    `has_mass` there is no such column, and less to do.
    """

    def __init__(self, path: str | ByteStream, *, allow_truncated: bool = False, has_mass: bool = True) -> None:
        self.stream = path if isinstance(path, ByteStream) else ByteStream(path)
        self.path = self.stream.name
        self._allow_truncated = allow_truncated
        self._has_mass = has_mass
        self._is_truncated = False
        self._listing: _Listing | None = None  # the one that is open
        self._is_new = False  # no event of it was met yet
        self._version = -1  # line of a version that no listing has followed yet, -1 if there is none
        self._info: dict[str, Any] = {}
        self._line = 1  # where the buffer begins
        self._first_event = self._position = 0
        self._last = "there is no whole event before it"

    def blocks(self, first_event: int, events: Range, limits: Limits) -> Iterator[TextBlock]:
        """See `fastsim.source.Source`."""
        self._first_event = self._position = first_event
        buffer = _Buffer(limits.particles * BYTES_PER_PARTICLE)
        is_open = is_first = True
        while is_open and not self._is_behind(events):
            is_open = self._fill(buffer)
            if not is_open and self._allow_truncated:
                self._drop_cut_line(buffer)
            if is_first:
                self._check_start(buffer.data[buffer.begin : buffer.end])
                is_first = False
            yield from self._cut(buffer, events, limits, is_open=is_open)
            if buffer.end - buffer.begin > LONGEST_EVENT:
                raise self._error(f"an event of more than {LONGEST_EVENT >> 20} MB of text", self._line)
        if not self._is_behind(events):
            self._check_end(buffer)

    def record(self) -> InputRecord:
        """See `fastsim.source.Source`."""
        info = {
            **{name: values for name, values in self._info.items() if values},
            **({"truncated": True} if self._is_truncated else {}),
        }
        n_events = self._position - self._first_event
        return InputRecord(self.path, self.stream.finish(), self._first_event, n_events, info)

    def close(self) -> None:
        """See `fastsim.source.Source`."""
        self.stream.close()

    def _is_behind(self, events: Range) -> bool:
        return events.end is not None and self._position >= events.end

    def _fill(self, buffer: _Buffer) -> bool:
        try:
            return buffer.fill(self.stream)
        except InputError:
            if not self._allow_truncated:
                raise
            buffer.data[buffer.end : buffer.end + PADDING] = 0
            self._is_truncated = True
            return False

    def _drop_cut_line(self, buffer: _Buffer) -> None:
        """Forget a last line without its end, unless it is a whole footer."""
        text = buffer.data[buffer.begin : buffer.end].tobytes()
        cut = text.rfind(b"\n") + 1
        if cut < len(text) and not _END.match(text, cut):
            self._is_truncated = True
            buffer.end = buffer.begin + cut
            buffer.data[buffer.end : buffer.end + PADDING] = 0

    def _cut(self, buffer: _Buffer, events: Range, limits: Limits, *, is_open: bool) -> Iterator[TextBlock]:
        """Blocks of the events that are whole in the buffer. What goes on behind its end stays in it."""
        marks = self._find_marks(buffer, is_open=is_open)
        before = buffer.data[buffer.begin : marks.begin[0] if len(marks.begin) else buffer.end]
        # Only possible before the first mark.
        if (len(marks.begin) or not is_open) and before.tobytes().strip(b" \t\r\n"):
            raise not_hepmc(self.path, before.tobytes())
        n = len(marks.begin) - int(is_open)
        goes_on = not is_open and n > 0 and not marks.is_control[-1]  # the last event, which no footer closes
        n -= int(goes_on)
        k = 0
        for control in (*np.flatnonzero(marks.is_control[: max(n, 0)]).tolist(), n):
            yield from self._run(buffer, marks, k, control, events, limits)
            if self._is_behind(events):
                return
            if control < n:
                self._control(
                    buffer.data[marks.begin[control] : marks.end[control]].tobytes(), int(marks.line[control])
                )
            k = control + 1
        if goes_on and (self._listing is None or self._is_last_whole(buffer, marks)):
            yield from self._run(buffer, marks, n, n + 1, events, limits)
            n += 1
        if 0 <= n < len(marks.begin):
            self._line, buffer.begin = int(marks.line[n]), int(marks.begin[n])

    def _run(
        self, buffer: _Buffer, marks: _Marks, first: int, end: int, events: Range, limits: Limits
    ) -> Iterator[TextBlock]:
        """Blocks of the events first:end of the buffer, which follow on each other."""
        if first < end and self._listing is None:
            raise self._error("an event outside a listing", int(marks.line[first]))
        if events.end is not None:
            end = min(end, first + events.end - self._position)
        n_skipped = min(max(events.first - self._position, 0), max(end - first, 0))
        first += n_skipped
        self._position += n_skipped
        while first < end:
            by_size = int(np.searchsorted(marks.end[:end], marks.begin[first] + buffer.size, side="right"))
            last = min(first + limits.events, max(by_size, first + 1))
            yield self._block(buffer, marks, first, last)
            self._last = (
                f"the last whole event before it is number {_number(buffer.data[marks.begin[last - 1] : marks.end[last - 1]])} "
                f"(position {self._position + last - first - 1})"
            )
            self._position += last - first
            first = last

    def _block(self, buffer: _Buffer, marks: _Marks, first: int, end: int) -> TextBlock:
        """Events first:end of the buffer."""
        begin, stop = int(marks.begin[first]), int(marks.end[end - 1])
        version, names = self._listing or (3, 0)
        if version == 2 and self._is_new:
            self._note("weight_names", _names_of_weights2(buffer.data[begin : marks.end[first]].tobytes()))
        self._is_new = False
        return TextBlock(
            self.path, buffer.data[begin : stop + PADDING], np.append(marks.begin[first:end], stop) - begin,
            marks.line[first : end + 1], self._position, version, names, self.stream.hashed.n_bytes, self._has_mass,
        )  # fmt: skip

    def _find_marks(self, buffer: _Buffer, *, is_open: bool) -> _Marks:
        """Where events and control lines start; the last few bytes of an open buffer are too few to tell."""
        n, room = 0, 1024
        while n == 0 or n > room:
            room = max(room, n)
            begin, line = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
            n, n_lines = t.find_marks(buffer.data, buffer.begin, buffer.end - (7 if is_open else 0), begin, line)
            if n == 0:
                break
        begin, line = begin[:n], np.append(line[:n], n_lines) + self._line
        return _Marks(begin, np.append(begin[1:], buffer.end), line, buffer.data[begin] == ord("H"))

    def _is_last_whole(self, buffer: _Buffer, marks: _Marks) -> bool:
        """Whether the last event of a file without a footer is to be kept."""
        last = len(marks.begin) - 1
        return self._allow_truncated and not self._block(buffer, marks, last, last + 1).read().bad

    def _control(self, segment: bytes, line: int) -> None:
        """A control line, and the lines that follow it up to the next one or an event."""
        if start := _START.match(segment):
            if self._listing:
                raise self._error("a new listing starts before the footer of the last one", line)
            if start[1] not in _VERSIONS:
                raise self._error(
                    f"listing of format {start[1].decode(errors='replace')!r} (known: Asciiv3, IO_GenEvent)", line
                )
            if stray := _STRAY.search(segment, start.end()):
                raise self._error(
                    "a line that no header has, before the first event", line + segment.count(b"\n", 0, stray.start())
                )
            self._listing = self._header(segment[start.end() :], _VERSIONS[start[1]])
            self._is_new = True
            self._version = -1
        elif _END.match(segment):
            if not self._listing:
                raise self._error("a footer without a listing", line)
            self._listing = None
        elif _VERSION.match(segment):
            if self._listing:
                raise self._error("a new listing starts before the footer of the last one", line)
            self._version = line
        else:
            raise self._error(
                f"{segment.split(maxsplit=1)[0][:40].decode(errors='replace')!r} does not belong here, or what follows it",
                line,
            )

    def _header(self, text: bytes, version: int) -> _Listing:
        """Names of weights and of the tools that made the events. HepMC2 has none of them here."""
        words: dict[str, list[str]] = {"W": [], "T": []}
        for entry in text.decode(errors="replace").split("\n"):
            if version == 3 and entry[:1] in words and entry[1:2] in (" ", "\t"):
                words[entry[0]].append(_unescaped(entry[2:].removesuffix("\r")))
        names = [name for entry in words["W"] for name in entry.split("\n") if name.strip()]
        self._note("weight_names", names)
        self._note("generators", [" ".join(tool.split("\n")).strip() for tool in words["T"]])
        return _Listing(version, len(names))

    def _note(self, what: str, values: list[str]) -> None:
        """Keep what a listing says of all its events; by the first event from where it holds, if listings differ."""
        known = self._info.get(what)
        if known is None and self._position == self._first_event:
            self._info[what] = values
        elif isinstance(known, dict):
            known[str(self._position)] = values
        elif (known or []) != values:
            self._info[what] = {str(self._first_event): known or [], str(self._position): values}

    def _check_start(self, data: NDArray[np.uint8]) -> None:
        start = data[:4096].tobytes().lstrip(b" \t\r\n")
        if not start and self._is_truncated:
            return
        if not start:
            raise InputError("the file is empty", where=self.path)
        if not start.startswith(b"HepMC::"):
            raise not_hepmc(self.path, start)

    def _check_end(self, buffer: _Buffer) -> None:
        """Refuse a file that ends in the middle."""
        self._is_truncated |= self._allow_truncated and (self._version >= 0 or self._listing is not None)
        if self._is_truncated:
            return
        if self._version >= 0:
            raise self._error("the file ends before its event listing starts: it is truncated", self._version)
        if self._listing:
            line = self._line + int(np.count_nonzero(buffer.data[buffer.begin : buffer.end] == ord("\n")))
            raise self._error(
                "the file ends in the middle of an event listing (no footer): it is truncated", line,
                hint="copy or produce the file again, or keep its whole events with --allow-truncated",
            )  # fmt: skip

    def _error(self, what: str, line: int, hint: str = "copy or produce the file again") -> InputError:
        return InputError(f"{what}; {self._last}", where=f"{self.path}:{line}", hint=hint)


_OTHER_FORMATS = (
    (b"root", "a ROOT file"),
    (b"<LesHouches", "a Les Houches file"),
    (b"<?xml", "an XML file"),
    (b"PK", "a zip file"),
)


def not_hepmc(path: str, start: bytes) -> InputError:
    """What to say of a file that starts otherwise."""
    kind = next((kind for magic, kind in _OTHER_FORMATS if start.startswith(magic)), "not a HepMC file")
    return InputError(
        f"{kind}: it starts with {start[:20]!r}, where HepMC2 and HepMC3 text files start with 'HepMC::Version'",
        where=path,
    )
