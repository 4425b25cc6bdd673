"""Pythia 8 in this process: events of a command file, each a pure function of (run seed, commands, event id).

Pythia's generator is seeded anew before each event, and its initialisation with a seed of the run, so an event does not
depend on those before it: the tests hold this for soft and hard processes. With some settings Pythia keeps more than that
from event to event: diffraction (SoftQCD other than nonDiffractive alone, Diffraction:doHard), photons as or in the beams,
HadronLevel:Rescatter, heavy ions. Such events are made in chunks of 1000 ids (250 if a nucleus has 40 nucleons or fewer, 20
for two heavy ones), each from a new Pythia and in order, so that an event depends on its chunk alone, whatever was asked
for. That costs an initialisation a chunk (2 to 4 s, as long as 1000 soft events take; about 10 s for heavy ions), and the
events of a chunk that stand before the first one chosen.

Promised is the same event on the same machine by the same build of Pythia, not across versions. Not taken, for it would
break the promise: `Random:seed` (the run's seed is used), events read from files (`Beams:frameType` 4, 5), other settings
that name files, and `PhaseSpace:increaseMaximum`. Seeds of one run differ for all events up to 900 million, which is all
that Pythia has: runs of other seeds repeat some of them (two of a million events each share about a thousand), so large
samples are better made as ranges of events of one run.

The cross section is estimated once, from hard processes alone: Pythia's own running estimate depends on the events before.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim import columns as c
from fastsim.errors import InputError, UsageError
from fastsim.events import offsets_from_counts
from fastsim.generate.pythia_commands import read_commands
from fastsim.jit import kernel
from fastsim.rng import EVENT_LEVEL, Streams, uniforms_1
from fastsim.source import InputRecord, Range, Read, make_batch
from fastsim.units import mm, mm_over_c

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastsim.events import Columns
    from fastsim.source import Limits

log = logging.getLogger(__name__)

N_SEEDS = 900_000_000  # Pythia's seeds are 1 to this
_STEP = 373_587_883  # a prime, so that event ids walk through all seeds before one comes again
_ATTEMPTS = 10
_N_CROSS_SECTION = 10_000
_CHUNK, _LIGHT_ION_CHUNK, _ION_CHUNK = 1_000, 250, 20  # what is made again, and what is kept in memory
_LIGHT = 40  # mass number
_VARIES = re.compile(r"softqcd:(?!nondiffractive).*|diffraction:dohard|hadronlevel:rescatter|pdf:beam[ab]2gamma")
_TYPICAL_SIZE, _TYPICAL_ION_SIZE = 1_500, 50_000  # particles an event, for the size of blocks only


class Commands(NamedTuple):
    """What makes a Pythia: the command file's name (for messages) and text, and the seed of the run."""

    path: str
    text: str
    run_seed: int


def seed_of(event_id: int, attempt: int, run_seed: int) -> int:
    """Pythia's seed of an event: never that of another event of the run, unless Pythia failed at the first attempt."""
    offset, _ = uniforms_1(0, EVENT_LEVEL, 0, *Streams(run_seed).key("pythia/seeds"))
    if attempt == 0:
        return 1 + (int(offset * N_SEEDS) + event_id * _STEP) % N_SEEDS
    u, _ = uniforms_1(attempt, EVENT_LEVEL, event_id, *Streams(run_seed).key("pythia"))
    return 1 + int(u * N_SEEDS)


def configure(commands: Commands, *more: str) -> Any:
    """A Pythia with these commands and `more`, not initialised; raises InputError with the line that it does not know."""
    try:
        pythia8mc = importlib.import_module("pythia8mc")
    except ImportError as error:
        raise UsageError(
            f"needs Pythia 8, which cannot be imported ({error})",
            where=commands.path,
            hint="pip install 'fastsim[pythia]'",
        ) from None
    pythia = pythia8mc.Pythia("", False)
    read_commands(pythia, commands.path, commands.text)
    u, _ = uniforms_1(0, EVENT_LEVEL, 0, *Streams(commands.run_seed).key("pythia/init"))
    seed = 1 + int(u * N_SEEDS)
    ours = ("Print:quiet = on", "Print:useErrorStream = on", "Print:verbosity = 1", "Random:setSeed = on")
    for line in (*ours, f"Random:seed = {seed}", *more):
        pythia.readString(line)
    _check_settings(pythia, commands.path)
    return pythia


def _check_settings(pythia: Any, path: str) -> None:
    if pythia.mode("Beams:frameType") in {4, 5}:
        raise InputError(
            "Beams:frameType 4 and 5 read events from elsewhere, so that events cannot be made on their own",
            where=path,
            hint="let Pythia write HepMC, and read that",
        )
    if not pythia.flag("ProcessLevel:all"):
        raise InputError(
            "ProcessLevel:all = off: there are no collisions", where=path, hint="a particle gun may be meant"
        )
    if pythia.flag("PhaseSpace:increaseMaximum"):
        raise InputError(
            "PhaseSpace:increaseMaximum = on makes an event depend on those before it",
            where=path,
            hint="leave it off: such events get a weight above 1",
        )


def initialised(commands: Commands) -> Any:
    """A new Pythia, initialised, which takes seconds, for heavy ions more."""
    pythia = configure(commands)
    if not pythia.init():
        raise InputError(
            "Pythia could not be initialised with these commands",
            where=commands.path,
            hint="Pythia's own reason, if it gave one, stands above; most often no process is switched on",
        )
    return pythia


@lru_cache(maxsize=4)
def ready(commands: Commands) -> Any:
    """The one initialised Pythia of this process."""
    return initialised(commands)


def chunk_of(pythia: Any) -> int:
    """How many events must be made in order, from a new Pythia on, for each to be the same again; 0: none must.

    Where the mass of the colliding systems varies (diffraction, photons, nucleons of nuclei), the interpolation of
    multiparton interactions is kept for the next system of nearly the same mass; rescattering keeps more, too.
    """
    beams = [pythia.mode(f"Beams:id{side}") for side in "AB"]
    if pythia.heavyIonsPtr is not None:  # a nucleus is 10LZZZAAAI
        lightest = min(abs(code) // 10 % 1000 if abs(code) > 10**9 else 1 for code in beams)
        return _LIGHT_ION_CHUNK if lightest <= _LIGHT else _ION_CHUNK
    flags = [name for name, flag in pythia.settings.getFlagMap("").items() if flag.valNow]
    return _CHUNK if 22 in beams or any(_VARIES.fullmatch(name) for name in flags) else 0


def cross_section(commands: Commands) -> tuple[float, float]:
    """Generated cross section and its statistical uncertainty [pb]; NaN for heavy ions."""
    if ready(commands).heavyIonsPtr is not None:
        return np.nan, np.nan
    pythia = configure(commands, "PartonLevel:all = off")
    pythia.init()
    for _ in range(_N_CROSS_SECTION):
        pythia.next()
    info = pythia.infoPython()
    return info.sigmaGen() * 1e9, info.sigmaErr() * 1e9  # from mb


class _Event(NamedTuple):
    """One event: columns of its particles and vertices, and values of its row."""

    columns: Columns
    row: dict[c.Column, float]
    weights: list[float]


def generate(pythia: Any, run_seed: int, event_id: int) -> _Event | None:
    """The event of this id; None if Pythia fails at it again and again."""
    ions = pythia.heavyIonsPtr
    for attempt in range(_ATTEMPTS):
        for i, part in enumerate(ions.pythia if ions is not None else []):  # some have generators of their own
            u, _ = uniforms_1(attempt, i, event_id, *Streams(run_seed).key("pythia/ions"))
            part.rndm.init(1 + int(u * N_SEEDS))
        pythia.rndm.init(seed_of(event_id, attempt, run_seed))
        batch = pythia.nextBatch(1, "skip")
        if len(batch):
            return _convert(pythia, batch.layout.content("prt").content)
    return None


def _convert(pythia: Any, record: Any) -> _Event:
    """Columns from Pythia's record by the conventions of Pythia8ToHepMC3 (HepMC's interface to it), without row 0."""

    def array(content: Any, name: str) -> NDArray[Any]:
        return np.asarray(content.content(name).data)

    names = ("id", "status", "mother1", "mother2", "daughter1")
    pdg, status, mother1, mother2, daughter1 = (array(record, name) for name in names)
    momentum, given = record.content("p"), record.content("vProd")
    production = np.full(len(pdg), -1, dtype=np.int32)
    end = np.full(len(pdg), -1, dtype=np.int32)
    vertices = np.zeros((len(pdg), 4))
    index = np.asarray(given.index)
    points = np.zeros((len(pdg), 4))
    points[index >= 0] = np.column_stack([array(given.content, axis) for axis in ("px", "py", "pz", "e")])[
        index[index >= 0]
    ]
    n_vertices = link_vertices(status, mother1, mother2, points, production, end, vertices)
    vertices = vertices[:n_vertices]
    vertices *= np.array([mm, mm, mm, mm_over_c])
    hepmc_status = status_hepmc(pythia, pdg, status, daughter1)
    beams = np.flatnonzero((hepmc_status == 4) & (end >= 0))
    origin = vertices[end[beams[0]]] if len(beams) else np.zeros(4)
    columns: Columns = {
        c.PDG: pdg[1:],
        c.STATUS: hepmc_status[1:],
        **{name: array(momentum, axis)[1:] for name, axis in zip(c.MOMENTUM, ("px", "py", "pz"), strict=True)},
        c.ENERGY: array(momentum, "e")[1:],
        c.MASS: array(record, "m")[1:],
        c.PRODUCTION_VERTEX: production[1:],
        c.END_VERTEX: end[1:],
        **dict(zip(c.VERTEX_POSITION, vertices.T, strict=True)),
    }
    return _Event(columns, _row(pythia, origin), list(pythia.infoPython().weightValueVector()))


def _row(pythia: Any, origin: NDArray[np.float64]) -> dict[c.Column, float]:
    info = pythia.infoPython()
    row: dict[c.Column, float] = {c.WEIGHT: info.weight(), **dict(zip(c.VERTEX_TRUE, origin.tolist(), strict=True))}
    partons = (info.id1pdf(), info.id2pdf(), info.x1pdf(), info.x2pdf(), info.QFac(), info.pdf1(), info.pdf2())
    row.update(zip(c.PARTONS, partons, strict=True))
    ions: tuple[float, ...] = (np.nan,) * 6
    if pythia.heavyIonsPtr is not None:
        hi = pythia.heavyIonsPtr.hiInfo
        projectile, target = hi.nAbsProj() + hi.nDiffProj(), hi.nAbsTarg() + hi.nDiffTarg()
        ions = (hi.nCollND(), projectile, target, hi.nCollTot(), hi.b(), hi.phi())
    row.update(zip(c.HEAVY_ION, ions, strict=True))
    return row


def status_hepmc(
    pythia: Any, pdg: NDArray[np.int32], status: NDArray[np.int32], daughter1: NDArray[np.int32]
) -> NDArray[np.int32]:
    """HepMC's status (n,) of Pythia's: `Particle::statusHepMC` of Pythia 8.317, for arrays."""
    codes, which = np.unique(pdg, return_inverse=True)
    may_decay = np.array([pythia.particleData.isHadron(int(code)) or abs(code) in {13, 15} for code in codes])[which]
    daughter = np.abs(status)[daughter1]
    decayed = may_decay & (pdg[daughter1] != pdg) & (daughter > 90) & (daughter < 95)
    result = np.where((status <= -11) & (status >= -200), -status, 0)
    result[decayed] = 2
    result[status == -12] = 4
    result[status > 0] = 1
    return result.astype(np.int32)


@kernel
def mothers_1(status: int, mother1: int, mother2: int) -> tuple[int, int, int]:
    """Mothers of a particle as (first, last, step), row 0 among them: `Particle::motherList` of Pythia 8.317."""
    kind = abs(status)
    if kind in {11, 12}:
        return 0, 0, 1
    if not mother2 or mother2 == mother1:
        return mother1, mother1, 1
    first, last = min(mother1, mother2), max(mother1, mother2)
    is_range = (80 < kind < 90) or (100 < kind < 107)  # hadrons from strings
    return first, last, 1 if is_range else last - first


@kernel
def link_vertices(
    status: NDArray[np.int32],
    mother1: NDArray[np.int32],
    mother2: NDArray[np.int32],
    points: NDArray[np.float64],
    production: NDArray[np.int32],
    end: NDArray[np.int32],
    vertices: NDArray[np.float64],
) -> int:
    """Fill production and end vertex (n,), -1 before, and vertices (n, 4), 0 before; the number of vertices.

    As in Pythia8ToHepMC3: particles share the end vertex of their first mother; a vertex is where the first of its
    particles with a place was produced; a mother that is claimed again moves to the later vertex.
    """
    n_vertices = 0
    for i in range(1, len(status)):
        first, last, step = mothers_1(status[i], mother1[i], mother2[i])
        if first == 0:
            first = last
        if first == 0:
            continue
        vertex = end[first]
        if vertex < 0:
            vertex = n_vertices
            n_vertices += 1
            for mother in range(first, last + 1, step):
                end[mother] = vertex
        production[i] = vertex
        if points[i].any() and not vertices[vertex].any():
            vertices[vertex] = points[i]
    return n_vertices


@dataclass(frozen=True)
class PythiaBlock:
    """Events `first` to `end` (positions in the whole input) of one chunk, see `chunk_of`; the cross section is [pb]."""

    commands: Commands
    first: int
    end: int
    chunk: int
    cross_section: tuple[float, float]
    bytes_read: int

    @property
    def path(self) -> str:
        """Name of the command file."""
        return self.commands.path

    def read(self) -> Read:
        """Generate, from the chunk's first event on; an event at which Pythia fails ten times is bad."""
        pythia = initialised(self.commands) if self.chunk else ready(self.commands)
        for event_id in range(self.first - self.first % self.chunk if self.chunk else self.first, self.first):
            generate(pythia, self.commands.run_seed, event_id)  # thrown away
        made: dict[int, _Event] = {}
        bad = []
        for event_id in range(self.first, self.end):
            event = generate(pythia, self.commands.run_seed, event_id)
            if event:
                made[event_id] = event
            else:
                what = f"Pythia failed {_ATTEMPTS} times at event {event_id}"
                bad.append((event_id, InputError(what, where=self.path, hint="loosen its checks or cuts")))
        events = list(made.values())
        columns: Columns = {
            column: np.concatenate([np.zeros(0, dtype=column.dtype), *(e.columns[column] for e in events)])
            for column in c.READ
            if column.table in {"particle", "vertex"} and column != c.COLLISION
        }
        columns |= {
            column: np.array([e.row[column] for e in events], dtype=column.dtype)
            for column in (c.WEIGHT, *c.VERTEX_TRUE, *c.PARTONS, *c.HEAVY_ION)
        }
        columns[c.EVENT_ID] = np.array(list(made), dtype=np.uint64)
        columns[c.EVENT_NUMBER] = columns[c.EVENT_ID].astype(np.int64)
        columns[c.WEIGHT_VALUE] = np.array([w for e in events for w in e.weights], dtype=np.float64)
        for column, value in zip(c.CROSS_SECTION, self.cross_section, strict=True):
            columns[column] = np.full(len(events), value)
        sizes = {
            "particle": [len(e.columns[c.PDG]) for e in events],
            "vertex": [len(e.columns[c.VERTEX_POSITION[0]]) for e in events],
            "weight": [len(e.weights) for e in events],
        }
        offsets = {table: offsets_from_counts(np.array(n, dtype=np.int64)) for table, n in sizes.items()}
        return Read(make_batch(offsets, columns), bad)  # type: ignore[arg-type]


class Pythia:
    """Events of a Pythia command file (Main:numberOfEvents of them), a `fastsim.source.Source`.

    Opening it initialises Pythia; raises InputError for commands that it does not know or cannot work with.
    """

    def __init__(self, path: str, streams: Streams) -> None:
        try:
            raw = Path(path).read_bytes()
            text = raw.decode()
        except FileNotFoundError:
            raise InputError("no such file", where=path) from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read ({error})", where=path) from None
        if re.search(r"^\s*Random:(setSeed|seed)\b", text, re.IGNORECASE | re.MULTILINE):
            log.warning("%s: Random:seed is not used: events are seeded from the run's seed", path)
        self.path = path
        self._commands = Commands(path, text, streams.run_seed)
        self._pythia = ready(self._commands)
        self._cross_section = cross_section(self._commands)
        self._n_bytes, self._sha256 = len(raw), sha256(raw).hexdigest()
        self._n_events = int(self._pythia.mode("Main:numberOfEvents"))
        self._first_event = 0

    def blocks(self, first_event: int, events: Range, limits: Limits) -> Iterator[PythiaBlock]:
        """Blocks of the chosen events; a range that ends behind the last event ends there.

        Where events depend on those before, a block is a whole chunk (see `chunk_of`), or what the range leaves of it,
        even where that is more than `limits`: in parts, each part would begin the chunk again.
        """
        self._first_event = first_event
        size = _TYPICAL_SIZE if self._pythia.heavyIonsPtr is None else _TYPICAL_ION_SIZE
        step = min(limits.events, max(1, limits.particles // size))
        chunk = chunk_of(self._pythia)
        end = first_event + self._n_events
        if events.end is not None:
            end = min(end, events.end)
        past = max(first_event, events.first)
        while past < end:
            first = past
            past = min(end, first - first % chunk + chunk if chunk else first + step)
            n_bytes = self._n_bytes * (past - first_event) // self._n_events  # as if they were read evenly
            yield PythiaBlock(self._commands, first, past, chunk, self._cross_section, n_bytes)

    def record(self) -> InputRecord:
        """What was made; the hash is that of the command file."""
        info = {
            "generators": [f"Pythia {importlib.metadata.version('pythia8mc')}"],
            "weight_names": list(self._pythia.infoPython().weightNameVector()),
        }
        return InputRecord(self.path, self._sha256, self._first_event, self._n_events, info)

    def close(self) -> None:
        """Nothing is open."""
