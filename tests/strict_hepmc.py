"""HepMC text read slowly and strictly, in plain Python: the oracle of the reader that is quick.

It knows the whole file at once, one regular expression for each kind of number, and Python's own float(). The grammar is
the one that the reader promises (docs of fastsim.io.hepmc); the two share no line of code.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.source import Limits, Range
from fastsim.units import MeV, cm, cm_over_c, mm, mm_over_c

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LIMITS = Limits(events=1000, particles=50_000)
NAN = math.nan
FLOAT32_MAX = float(np.finfo(np.float32).max)
MARK = re.compile(rb"^(?:E |HepMC::)", re.MULTILINE)
INTEGER = re.compile(rb"[+-]?[0-9]+")
DECIMAL = re.compile(
    rb"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|inf|infinity)", re.IGNORECASE
)  # fmt: skip
STARTS = {b"HepMC::Asciiv3-START_EVENT_LISTING": 3, b"HepMC::IO_GenEvent-START_EVENT_LISTING": 2}
ENDS = {b"HepMC::Asciiv3-END_EVENT_LISTING": 3, b"HepMC::IO_GenEvent-END_EVENT_LISTING": 2}
VERSION = b"HepMC::Version"
BEAM = 4  # status


@dataclass(frozen=True)
class Event:
    """One event as its rows in the columns, in GeV, cm and ns."""

    number: int
    weights: tuple[float, ...]
    heavy_ion: tuple[float, ...]  # columns.HEAVY_ION
    cross_section: tuple[float, ...]  # columns.CROSS_SECTION
    partons: tuple[float, ...]  # columns.PARTONS
    primary: tuple[float, ...]  # columns.VERTEX_TRUE
    vertices: list[tuple[float, ...]]  # columns.VERTEX_POSITION
    pdg: list[int]
    status: list[int]
    momenta: list[tuple[float, ...]]  # px, py, pz, energy, mass
    production: list[int]
    end: list[int]


@dataclass(frozen=True)
class BadEvent:
    """Why an event cannot be read, in which line of the file, and whether it only lacks lines."""

    line: int
    what: str
    is_incomplete: bool = False


@dataclass
class Listing:
    """What a whole file holds: events and bad events by position, and the fault of the file itself (line, what)."""

    events: list[tuple[int, Event]] = field(default_factory=list)
    bad: list[tuple[int, BadEvent]] = field(default_factory=list)
    error: tuple[int, str] | None = None
    n_dropped: int = 0  # incomplete last event of a truncated file

    @property
    def bad_positions(self) -> list[int]:
        return [position for position, _ in self.bad]


class EventError(Exception):
    """Something is wrong with an event; `line` counts from its first."""

    def __init__(self, line: int, what: str, *, is_incomplete: bool = False) -> None:
        super().__init__(what)
        self.line, self.what, self.is_incomplete = line, what, is_incomplete


# --- the file ---


class FileError(Exception):
    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line, self.what = line, what


def parse(data: bytes, *, allow_truncated: bool = False) -> Listing:
    """Everything in a (decompressed) file."""
    found = Listing()
    try:
        _parse(data, found, allow_truncated)
    except FileError as fault:
        found.error = (fault.line, fault.what)
    return found


def _parse(data: bytes, found: Listing, allow_truncated: bool) -> None:
    if allow_truncated:  # a last line without its end is none, unless it is a whole footer
        whole, end_of_line, last = data.rpartition(b"\n")
        data = data if last.rstrip(b" \t") in ENDS else whole + end_of_line
    starts = [match.start() for match in MARK.finditer(data)]
    before = data[: starts[0]] if starts else data
    _only_blank(before.split(b"\n"), 1, "not a HepMC file")
    line = 1 + before.count(b"\n")
    kind = n_names = position = 0  # kind: 3 or 2 inside a listing, 0 outside
    awaits_listing = False
    for start, end in itertools.pairwise([*starts, len(data)]):
        text = data[start:end]
        is_cut = allow_truncated and end == len(data)
        if text.startswith(b"E "):
            if not kind:
                raise FileError(line, "an event outside a listing")
            _add(found, text, line, kind, n_names, position, is_cut)
            position += 1
        else:
            control, *rest = text.split(b"\n")
            word = _chomp(control).rstrip(b" \t")
            if word in STARTS:
                if kind:
                    raise FileError(line, "a listing starts where none may")
                kind, awaits_listing = STARTS[word], False
                n_names = _header(rest, line + 1, kind)
            else:
                kind, awaits_listing = _footer_or_version(word, line, kind)
                _only_blank(rest, line + 1, "only a listing may follow")
        line += text.count(b"\n")
    if not starts and not allow_truncated:
        raise FileError(line, "no listing")
    if (kind or awaits_listing) and not allow_truncated:
        raise FileError(line, "truncated")


def _footer_or_version(word: bytes, line: int, kind: int) -> tuple[int, bool]:
    if kind and word in ENDS:
        return 0, False
    if not kind and word.startswith(VERSION):
        return 0, True
    raise FileError(line, f"{word!r} cannot stand here")


def _header(lines: list[bytes], line: int, kind: int) -> int:
    """Number of weight names, 0 if there are none."""
    names: list[bytes] = []
    for i, text in enumerate(lines):
        if text.strip(b" \t\r") and text[:1] not in (b"H", b"W", b"A", b"N", b"T", b"C"):
            raise FileError(line + i, "not a line of a header")
        if b"\0" in text:
            raise FileError(line + i, "no text")
        if kind == 3 and text[:2] in (b"W ", b"W\t"):
            names += re.sub(rb"\\(.)", lambda m: b"\n" if m[1] == b"|" else m[1], _chomp(text)[2:]).split(b"\n")
    return sum(map(bool, names))


def _only_blank(lines: list[bytes], line: int, what: str) -> None:
    for i, text in enumerate(lines):
        if text.strip(b" \t\r"):
            raise FileError(line + i, what)


def _add(found: Listing, text: bytes, line: int, kind: int, n_names: int, position: int, is_cut: bool) -> None:
    event = parse_event(text, kind, n_names)
    if is_cut and (not text.endswith(b"\n") or (isinstance(event, BadEvent) and event.is_incomplete)):
        found.n_dropped += 1
    elif isinstance(event, Event):
        found.events.append((position, event))
    else:
        found.bad.append((position, BadEvent(line + event.line, event.what)))


# --- words ---


def _chomp(line: bytes) -> bytes:
    """A line without its CR."""
    return line.removesuffix(b"\r")


def _words(line: bytes) -> list[bytes]:
    return [word for word in line.replace(b"\t", b" ").split(b" ") if word]


def _integer(word: bytes, largest: int = 2**31 - 1, most_digits: int = 18) -> int:
    if not INTEGER.fullmatch(word):
        raise EventError(0, f"{word!r} is not an integer")
    value = int(word)
    if abs(value) > largest or len(word.lstrip(b"+-")) > most_digits:
        raise EventError(0, f"{word!r} is too large")
    return value


def _decimal(word: bytes) -> float:
    if len(word) > 4000 or not DECIMAL.fullmatch(word):
        raise EventError(0, f"{word!r} is not a number")
    return float(word)


def _decimals(words: list[bytes]) -> tuple[float, ...]:
    return tuple([_decimal(word) for word in words])


def _need(is_fine: bool, what: str, line: int = 0, *, is_incomplete: bool = False) -> None:
    if not is_fine:
        raise EventError(line, what, is_incomplete=is_incomplete)


# --- one event ---


@lru_cache(maxsize=50_000)
def parse_event(text: bytes, kind: int, n_names: int) -> Event | BadEvent:
    """One event, from its E line to the line before the next; a pure function, so that a cache is sound."""
    draft = Draft(kind)
    i = 0
    try:
        for i, line in enumerate(text.split(b"\n")):
            if line.strip(b" \t\r"):
                draft.add(_chomp(line), is_first=i == 0)
        i = 0  # what is wrong with the whole stands at its first line
        return (draft.finish3 if kind == 3 else draft.finish2)(n_names)
    except EventError as fault:
        return BadEvent(i, fault.what, fault.is_incomplete)


class Draft:
    """An event while its lines come in."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.number = self.n_vertices = self.n_particles = self.beam = 0
        self.weights: tuple[float, ...] = ()
        self.origin: tuple[float, ...] = (0.0,) * 4
        self.once: set[str] = set()  # kinds of lines that may come but once
        self.units = (1.0, mm, mm_over_c)
        self.heavy_ion, self.cross_section, self.partons = (NAN,) * 6, (NAN,) * 2, (NAN,) * 7
        # id or barcode -> what the line says, in the order of the lines
        self.vertices: dict[int, tuple[tuple[int, ...], tuple[float, ...]]] = {}
        self.particles: dict[int, tuple[int, int, int, tuple[float, ...]]] = {}
        self.rows2: list[tuple[int, int, int, int, int, tuple[float, ...]]] = []
        self.n_orphans = self.n_out = 0  # HepMC2: P lines that must still come

    def add(self, line: bytes, *, is_first: bool) -> None:
        letter, after = line[:1].decode("latin1"), line[1:2]
        is_word = after in (b"", b" ", b"\t")
        _need((letter == "E") == is_first, "the E line comes first, and once")
        _need(letter in "EUWAPVTNHFC", "a line that no event has")
        _need(letter == "P" or not (self.n_orphans or self.n_out), "the particles of a vertex follow it")
        method = getattr(self, f"{letter.lower()}{self.kind}", None)
        if method and (is_word or letter in "EUPV" or (letter, self.kind) == ("W", 3)):
            _need(is_word, "a letter alone begins a line")
            method(_words(line)[1:])

    def first(self, kind: str) -> None:
        """This kind of line may come once."""
        _need(kind not in self.once, f"a second {kind} line")
        self.once.add(kind)

    # HepMC3

    def e3(self, words: list[bytes]) -> None:
        _need(len(words) == 3 or (len(words) == 8 and words[3] == b"@"), "E number n_vertices n_particles @ x y z t")
        self.number = _integer(words[0], 10**18 - 1)
        self.n_vertices, self.n_particles = _integer(words[1]), _integer(words[2])
        _need(self.n_vertices >= 0 and self.n_particles >= 0, "counts are not negative")
        self.origin = _decimals(words[4:]) or self.origin

    def u3(self, words: list[bytes]) -> None:
        self.first("U")
        _need(not self.vertices and not self.particles and not self.rows2, "units come before particles and vertices")
        _need(len(words) == 2 and words[0] in (b"GEV", b"MEV") and words[1] in (b"MM", b"CM"), "units")
        lengths = (mm, mm_over_c) if words[1] == b"MM" else (cm, cm_over_c)
        self.units = (1.0 if words[0] == b"GEV" else MeV, *lengths)

    def w3(self, words: list[bytes]) -> None:
        self.first("W")
        self.weights = _decimals(words)

    def a3(self, words: list[bytes]) -> None:
        if len(words) < 2 or not INTEGER.fullmatch(words[0]) or int(words[0]):
            return
        self.attribute(words[1], words[2:])

    def attribute(self, name: bytes, words: list[bytes]) -> None:
        """Taken from the last of this name whose first numbers are numbers; what follows them does not matter."""
        is_v1 = words[:1] == [b"v1"]
        has_version = name == b"GenHeavyIon" and words[:1] != [] and words[0].startswith(b"v")
        n_needed = {b"GenHeavyIon": 9 if is_v1 else 11, b"GenCrossSection": 2, b"GenPdfInfo": 7}.get(name, 0)
        words = words[has_version:][:n_needed]
        if len(words) < n_needed or not all(len(word) <= 4000 and DECIMAL.fullmatch(word) for word in words):
            return
        values = _decimals(words)
        if name == b"GenHeavyIon":
            self.heavy_ion = (*values[:4], *values[-2:])
        elif name == b"GenCrossSection":
            self.cross_section = values
        elif name == b"GenPdfInfo":
            self.partons = values

    def p3(self, words: list[bytes]) -> None:
        _need(len(words) == 9, "P id mother pdg px py pz e m status")
        own, mother, pdg, status = (_integer(words[i]) for i in (0, 1, 2, 8))
        _need(1 <= own <= self.n_particles and own not in self.particles, "ids are 1 to n_particles, each once")
        _need(-self.n_vertices <= mother <= self.n_particles and mother != own, "no such mother")
        self.particles[own] = (mother, pdg, status, _decimals(words[3:8]))

    def v3(self, words: list[bytes]) -> None:
        _need(len(words) == 3 or (len(words) == 8 and words[3] == b"@"), "V id status [in] @ x y z t")
        own = _integer(words[0])
        _integer(words[1])
        _need(-self.n_vertices <= own < 0 and own not in self.vertices, "ids are -1 to -n_vertices, each once")
        _need(len(words[2]) >= 2 and words[2][:1] + words[2][-1:] == b"[]", "a list in brackets")
        _need(re.fullmatch(rb"[0-9]*(,[0-9]+)*", words[2][1:-1]) is not None, "a list of numbers without sign")
        inside = words[2][1:-1]
        incoming = tuple(_integer(word, most_digits=4000) for word in inside.split(b",")) if inside else ()
        _need(all(1 <= i <= self.n_particles for i in incoming), "no such particle")
        _need(len(set(incoming)) == len(incoming), "a particle twice")
        self.vertices[own] = (incoming, _decimals(words[4:]) or (0.0,) * 4)

    def finish3(self, n_names: int) -> Event:
        mothers = [mother for mother, *_ in self.particles.values()]
        short = list(dict.fromkeys(mother for mother in mothers if mother > 0))
        _need(
            len(self.particles) == self.n_particles and len(self.vertices) + len(short) == self.n_vertices,
            "not as many lines as the E line says",
            is_incomplete=True,
        )
        has_all = not n_names or len(self.weights) == n_names
        _need(has_all, "as many weights as names", is_incomplete="W" not in self.once)
        _need(all(mother >= 0 or mother in self.vertices for mother in mothers), "a mother without a V line")
        # the smallest counts below zero are free for the vertices that have no line of their own
        free = [i for i in range(-1, -self.n_vertices - 1, -1) if i not in self.vertices]
        vertices = dict(self.vertices) | {i: ((mother,), (0.0,) * 4) for i, mother in zip(free, short, strict=True)}
        of_mother = dict(zip(short, free, strict=True))
        end = [-1] * self.n_particles
        for own, (incoming, _) in vertices.items():
            for i in incoming:
                _need(end[i - 1] < 0, "a particle ends twice")
                end[i - 1] = -own - 1
        rows = [self.particles[i + 1] for i in range(self.n_particles)]
        production = [-of_mother.get(mother, mother) - 1 for mother, *_ in rows]
        return self.finish(
            [vertices[-i - 1][1] for i in range(self.n_vertices)],
            [(pdg, status, momentum) for _, pdg, status, momentum in rows],
            production,
            end,
            beam=-1,
        )

    # HepMC2

    def e2(self, words: list[bytes]) -> None:
        _need(len(words) >= 12, "E number n_mpi scale alpha_qcd alpha_qed process_id signal n_vertices beam1 beam2 ...")
        self.number = _integer(words[0], 10**18 - 1)
        _, _, _, self.n_vertices, self.beam, _ = (_integer(words[i]) for i in (1, 5, 6, 7, 8, 9))
        _decimals(words[2:5])
        n_random = _integer(words[10])
        _need(0 <= n_random <= len(words) - 12, "as many words as numbers say")
        _need(all(INTEGER.fullmatch(word) for word in words[11 : 11 + n_random]), "random states are integers")
        n_weights = _integer(words[11 + n_random])
        _need(n_weights == len(words) - 12 - n_random, "as many words as numbers say")
        self.weights = _decimals(words[12 + n_random :])

    u2 = u3

    def c2(self, words: list[bytes]) -> None:
        self.attribute(b"GenCrossSection", words)

    def h2(self, words: list[bytes]) -> None:
        self.attribute(b"GenHeavyIon", words)

    def f2(self, words: list[bytes]) -> None:
        self.attribute(b"GenPdfInfo", words)

    def v2(self, words: list[bytes]) -> None:
        _need(len(words) >= 9, "V barcode id x y z t n_orphans n_out n_weights ...")
        own = _integer(words[0])
        _integer(words[1])
        _need(own < 0 and own not in self.vertices, "barcodes of vertices are negative, each once")
        self.n_orphans, self.n_out, n_weights = (_integer(word) for word in words[6:9])
        _need(self.n_orphans >= 0 and self.n_out >= 0 and n_weights == len(words) - 9, "as many words as numbers say")
        _decimals(words[9:])
        self.vertices[own] = ((), _decimals(words[2:6]))

    def p2(self, words: list[bytes]) -> None:
        _need(len(words) >= 12, "P barcode pdg px py pz e m status theta phi end n_flow ...")
        own, pdg, status, end, n_flow = (_integer(words[i]) for i in (0, 1, 7, 10, 11))
        _need(n_flow >= 0 and len(words) == 12 + 2 * n_flow, "as many words as numbers say")
        momentum = _decimals(words[2:7])
        _decimals(words[8:10])
        _need(all(INTEGER.fullmatch(word) for word in words[12:]), "flows are integers")
        _need(self.n_orphans + self.n_out > 0, "a particle of no vertex")
        vertex = next(reversed(self.vertices))
        is_orphan = self.n_orphans > 0
        _need((end == vertex) == is_orphan and end <= 0, "an orphan ends in its vertex, an outgoing one does not")
        self.n_orphans, self.n_out = self.n_orphans - is_orphan, self.n_out - (not is_orphan)
        self.rows2.append((own, 0 if is_orphan else vertex, end, pdg, status, momentum))

    def finish2(self, _n_names: int) -> Event:
        is_whole = len(self.vertices) == self.n_vertices and self.n_orphans + self.n_out == 0
        _need(is_whole, "not as many lines as the numbers say", is_incomplete=True)
        row = {0: -1} | {barcode: i for i, barcode in enumerate(self.vertices)}
        _need(all(end in row for _, _, end, *_ in self.rows2), "no such end vertex")
        return self.finish(
            [point for _, point in self.vertices.values()],
            [(pdg, status, momentum) for *_, pdg, status, momentum in self.rows2],
            [row[vertex] for _, vertex, *_ in self.rows2],
            [row[end] for _, _, end, *_ in self.rows2],
            beam=next((i for i, (own, *_) in enumerate(self.rows2) if own == self.beam), -1),
        )

    # both

    def finish(self, points, particles, production, end, *, beam) -> Event:
        energy_unit, length, time = self.units
        first_in = [-1] * len(points)  # the lowest row that ends there
        for i in reversed(range(len(end))):
            if end[i] >= 0:
                first_in[end[i]] = i
        order = _upstream_first(len(points), production, end)
        scaled = [tuple(x * f for x, f in zip(p, (length, length, length, time), strict=True)) for p in points]
        origin = tuple(x * f for x, f in zip(self.origin, (length, length, length, time), strict=True))
        _need(all(abs(x) < FLOAT32_MAX for p in (*scaled, origin) for x in p), "a position is not finite")
        for vertex in order:
            if not any(points[vertex]):
                upstream = production[first_in[vertex]] if first_in[vertex] >= 0 else -1
                scaled[vertex] = scaled[upstream] if upstream >= 0 else origin
        _need(all(abs(x) < FLOAT32_MAX for x in self.weights[:1]), "the weight is not finite")
        momenta = [tuple(x * energy_unit for x in momentum) for _, _, momentum in particles]
        _need(all(abs(x) < FLOAT32_MAX for p in momenta for x in p), "a momentum is not finite")
        status = [s for _, s, _ in particles]
        fed = {e for e, p in zip(end, production, strict=True) if p >= 0}
        candidates = (
            *(e for e, s in zip(end, status, strict=True) if s == BEAM),
            end[beam] if beam >= 0 else -1,
            *(i for i in range(len(points)) if i not in fed),
        )
        primary = next((i for i in candidates if i >= 0), -1)
        return Event(
            self.number, self.weights or (1.0,), self.heavy_ion, self.cross_section, self.partons,
            scaled[primary] if primary >= 0 else origin,
            scaled, [pdg for pdg, _, _ in particles], status, momenta, production, end,
        )  # fmt: skip


def _upstream_first(n_vertices: int, production: list[int], end: list[int]) -> list[int]:
    """Vertices in an order in which ancestors come first; a fault if there is none (Kahn's algorithm)."""
    downstream: list[list[int]] = [[] for _ in range(n_vertices)]
    n_upstream = [0] * n_vertices
    for p, e in zip(production, end, strict=True):
        if p >= 0 and e >= 0:
            downstream[p].append(e)
            n_upstream[e] += 1
    order = [v for v in range(n_vertices) if not n_upstream[v]]
    for vertex in order:
        for below in downstream[vertex]:
            n_upstream[below] -= 1
            if not n_upstream[below]:
                order.append(below)  # the queue grows while it is walked
    _need(len(order) == n_vertices, "a particle among its own ancestors")
    return order


# --- comparison with the quick reader ---


@dataclass
class Fast:
    """What fastsim's reader makes of a file: all its batches after one another."""

    columns: dict[c.Column, NDArray[Any]]
    n_particles: list[int]
    n_vertices: list[int]
    n_weights: list[int]
    bad: list[tuple[int, InputError]]
    error: InputError | None


def read_fast(data: bytes, path: Path, *, allow_truncated: bool = False, limits: Limits = LIMITS) -> Fast:
    """The reader's answer to a file of these bytes, which is left at `path`."""
    from fastsim.io.hepmc import TextSource

    path.write_bytes(data)
    batches, bad, error = [], [], None
    try:
        source = TextSource(str(path), allow_truncated=allow_truncated)
        try:
            for block in source.blocks(0, Range(), limits):
                batch, unusable = block.read()
                batches.append(batch)
                bad += unusable
        finally:
            source.close()
    except InputError as caught:
        error = caught
    for batch in batches:
        assert all(batch[column].dtype == column.dtype for column in c.READ)

    def counts(table: c.Table) -> list[int]:
        return [n for batch in batches for n in np.diff(batch.offsets[table]).tolist()]

    columns = {column: np.concatenate([np.zeros(0, column.dtype), *(b[column] for b in batches)]) for column in c.READ}
    return Fast(columns, counts("particle"), counts("vertex"), counts("weight"), bad, error)


def difference(fast: Fast, strict: Listing) -> str:
    """Where the reader's answer is not the strict one, "" if they agree to the bit.

    If the file is damaged, the reader may have delivered any number of its first events before it says so.
    """
    if (fast.error is None) != (strict.error is None):
        return f"file: {fast.error!r} instead of {strict.error}"
    n = len(fast.n_particles) if strict.error else len(strict.events)
    n_bad = len(fast.bad) if strict.error else len(strict.bad)
    if [position for position, _ in fast.bad] != strict.bad_positions[:n_bad]:
        return f"bad events: {[(p, e.what) for p, e in fast.bad]} instead of {strict.bad}"
    events = [event for _, event in strict.events[:n]]
    expected = (
        ("particles", fast.n_particles, [len(event.pdg) for event in events]),
        ("vertices", fast.n_vertices, [len(event.vertices) for event in events]),
        ("weights", fast.n_weights, [len(event.weights) for event in events]),
    )
    for name, ours, theirs in expected:
        if ours != theirs:
            return f"number of {name}: {ours} instead of {theirs}"
    for column, values in columns_of([position for position, _ in strict.events[:n]], events).items():
        different = np.flatnonzero(~same(fast.columns[column].astype(values.dtype), values))
        if len(different):
            i = different[0]
            return f"{column}, row {i}: {fast.columns[column][i]!r} instead of {values[i]!r}"
    return ""


def same(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Equal to the bit, or both NaN."""
    assert a.shape == b.shape
    if a.dtype.kind != "f":
        return a == b
    return (a.view(np.uint64) == b.view(np.uint64)) | (np.isnan(a) & np.isnan(b))


def columns_of(positions: list[int], events: list[Event]) -> dict[c.Column, NDArray[Any]]:
    """The columns that a batch of these events must have."""
    n = len(events)
    single = {
        c.EVENT_ID: np.array(positions, dtype="uint64"),
        c.EVENT_NUMBER: np.array([event.number for event in events], dtype="int64"),
        c.WEIGHT: np.array([event.weights[0] for event in events], dtype="float64"),
        c.WEIGHT_VALUE: np.array([w for event in events for w in event.weights], dtype="float64"),
        c.DNCH_DETA_GIVEN: np.full(n, np.nan),
        c.PDG: np.array([x for event in events for x in event.pdg], dtype="int32"),
        c.STATUS: np.array([x for event in events for x in event.status], dtype="int32"),
        c.PRODUCTION_VERTEX: np.array([x for event in events for x in event.production], dtype="int32"),
        c.END_VERTEX: np.array([x for event in events for x in event.end], dtype="int32"),
    }
    single[c.COLLISION] = np.zeros(len(single[c.PDG]), dtype="int32")
    rows = (
        (c.HEAVY_ION, [event.heavy_ion for event in events]),
        (c.CROSS_SECTION, [event.cross_section for event in events]),
        (c.PARTONS, [event.partons for event in events]),
        (c.VERTEX_TRUE, [event.primary for event in events]),
        (c.VERTEX_POSITION, [point for event in events for point in event.vertices]),
        ((*c.MOMENTUM, c.ENERGY, c.MASS), [momentum for event in events for momentum in event.momenta]),
    )
    for columns, values in rows:
        table = np.array(values, dtype="float64").reshape(len(values), len(columns))
        single |= {column: np.ascontiguousarray(table[:, i]) for i, column in enumerate(columns)}
    return single
