"""Events in ROOT files: HepMC3's trees, EDM4hep's, and the kinematics of ALICE's O2, all through uproot.

What a file is, is told by the classes of its branches:

- ``HepMC3::GenEventData`` (HepMC3's WriterRootTree; rootIO/ in HepMC3): as in HepMC3's text, attributes included.
- ``vector<edm4hep::MCParticleData>`` (podio's ROOTWriter; edm4hep.yaml): particles that the simulation made
  (bit 30 of simulatorStatus) are left out. mm, ns, GeV; the energy is that of momentum and mass, as EDM4hep's own.
- ``vector<o2::MCTrackT<float>>`` (o2-sim; SimulationDataFormat/MCTrack.h): the generator's particles, those whose
  process is kPPrimary; what the transport made is left out, for that is our own task. cm, ns, GeV; mass by PDG code.
  The event header is not read: there are no weights, and the event's number is its place in the tree.

Not read: HepMC3's WriterRoot (one key an event: uproot cannot), and RNTuples.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim import columns as c
from fastsim.errors import FastsimError, InputError
from fastsim.events import Columns, offsets_from_counts
from fastsim.io.records import Graph, Rows, build_vertices, cap_mothers, keep_only, masses_of, particles_of, to_read
from fastsim.source import InputRecord
from fastsim.units import GeV, MeV, cm, cm_over_c, mm, mm_over_c, ns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from fastsim.source import Limits, Range, Read

HEPMC3, EDM4HEP, O2 = "HepMC3", "EDM4hep", "O2"
_CLASSES = (
    (HEPMC3, re.compile(r"HepMC3?::GenEventData")),
    (EDM4HEP, re.compile(r"vector<edm4hep::MCParticleData>")),
    (O2, re.compile(r"vector<o2::MCTrackT<(float|double)> ?>")),
)
_COUNTERS = {HEPMC3: "particles/particles.pid", EDM4HEP: "{}.PDG", O2: "{}.mPdgCode"}
_GENERATED = ("MCParticles", "GenParticles", "MCParticle")  # where EDM4hep files have several collections of particles
_KNOWN = "known are HepMC3's WriterRootTree, EDM4hep's and podio's ROOTWriter, and the kinematics of o2-sim"
_MADE_BY_SIMULATION = 1 << 30  # EDM4hep's BITCreatedInSimulation


def recognises(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a ROOT file."""
    return start.startswith(b"root")


class RootEvents:
    """The events of one ROOT file; a `Source`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = _open(path)
        with contextlib.ExitStack() as undo, _telling(path):
            undo.callback(self._file.close)
            self._kind, self._tree, self._branch = _find(self._file, path)
            self.n_events = int(self._file[self._tree].num_entries)
            self.weight_names, self.generators = _header(self._file, self._kind, self._tree)
            undo.pop_all()
        self._first_event = 0

    def blocks(self, first_event: int, events: Range, limits: Limits) -> Iterator[RootBlock]:
        """See `Source.blocks`. Numbers of particles are read ahead, `limits.events` events at a time."""
        self._first_event = first_event
        at = max(events.first - first_event, 0)
        stop = self.n_events if events.end is None else min(events.end - first_event, self.n_events)
        size = Path(self.path).stat().st_size
        counts = np.zeros(0, dtype=np.int64)
        while at < stop:
            if not len(counts):
                ahead = _Part(self.path, self._file[self._tree], at, min(at + limits.events, stop))
                counts = ahead.counts(f"{self._branch}/{_COUNTERS[self._kind].format(self._branch)}")
            n_events = min(int(np.searchsorted(np.cumsum(counts), limits.particles)) + 1, len(counts))
            begin, at, counts = at, at + n_events, counts[n_events:]
            yield RootBlock(
                self.path, size * at // self.n_events, self._kind, self._tree, self._branch, self.weight_names,
                begin, at, first_event + begin,
            )  # fmt: skip

    def record(self) -> InputRecord:
        """See `Source.record`."""
        with Path(self.path).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        info = {"format": f"{self._kind} (ROOT)", "weight_names": [*self.weight_names], "generators": self.generators}
        return InputRecord(self.path, digest, self._first_event, self.n_events, info)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class RootBlock:
    """Entries `first` to `end` (excluded) of a tree; `first_event` is the position of the first in the whole input."""

    path: str
    bytes_read: int
    kind: str
    tree: str
    branch: str
    weight_names: tuple[str, ...]
    first: int
    end: int
    first_event: int

    def read(self) -> Read:
        """See `Block.read`. Raises InputError where the file itself is damaged."""
        with _open(self.path) as file:
            with _telling(self.path):
                tree = file[self.tree]
            part = _Part(self.path, tree, self.first, self.end)
            rows, graph = _READERS[self.kind](self, part)
        if self.weight_names:
            for i in np.flatnonzero(rows.n_weights != len(self.weight_names)):
                fault = f"it has {rows.n_weights[i]} weights, where the file names {len(self.weight_names)}"
                rows.faults.setdefault(int(i), fault)
        return to_read(rows, graph)


class _Part:
    """Some entries of a tree, as flat arrays."""

    def __init__(self, path: str, tree: Any, first: int, end: int) -> None:
        self.path, self.tree, self.first, self.end = path, tree, first, end

    def array(self, branch: str) -> Any:
        """An awkward array, one element an event."""
        with _telling(self.path):
            return self.tree[branch].array(entry_start=self.first, entry_stop=self.end, library="ak")

    def counts(self, branch: str) -> NDArray[np.int64]:
        """Number of elements in each event (n_events,)."""
        import awkward as ak  # noqa: PLC0415  (0.4 s that small commands do not need)

        return np.asarray(ak.to_numpy(ak.num(self.array(branch), axis=1)), dtype=np.int64)

    def flat(self, branch: str, dtype: str) -> NDArray[Any]:
        """All elements of all events; or one each where the branch has no lists."""
        import awkward as ak  # noqa: PLC0415

        array = self.array(branch)
        return np.asarray(ak.to_numpy(ak.flatten(array, axis=1) if array.ndim > 1 else array), dtype=dtype)

    def first_of(self, branch: str, index: int | None = None, none: float = np.nan) -> NDArray[np.float64]:
        """The first element of each event (n_events,), or a component of it; `none` where there is none or no such branch."""
        import awkward as ak  # noqa: PLC0415

        if branch not in self.tree:
            return np.full(self.end - self.first, none)
        first = ak.firsts(self.array(branch), axis=1)
        return np.asarray(ak.to_numpy(ak.fill_none(first if index is None else first[:, index], none)), dtype="float64")


def _open(path: str) -> Any:
    """The ROOT file, by uproot; raises InputError if there is none."""
    import uproot  # noqa: PLC0415  (0.5 s that small commands do not need)

    try:
        Path(path).open("rb").close()
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from None
    with _telling(path):
        return uproot.open({path: None})


@contextlib.contextmanager
def _telling(path: str) -> Iterator[None]:
    """Errors of uproot as ours."""
    try:
        yield
    except (FastsimError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  (damaged bytes lead uproot to any error there is)
        line = next(iter(str(error).strip().splitlines()), "")
        raise InputError(
            f"the ROOT file is truncated or damaged ({type(error).__name__}: {line[:120]})",
            where=path,
            hint="copy or produce the file again",
        ) from None


def _find(file: Any, path: str) -> tuple[str, str, str]:
    """Kind of the events, their tree, and its branch; raises InputError if there are none, or it is not clear which."""
    trees = [*dict.fromkeys(file.keys(filter_classname="TTree", cycle=False))]
    found = [
        (kind, tree, branch.name)
        for tree in trees
        for branch in file[tree].branches
        for kind, pattern in _CLASSES
        if pattern.fullmatch(branch.typename)
    ]
    if len(found) > 1:
        found = next(([f] for name in _GENERATED for f in found if f[2] == name), found)
    if len(found) == 1:
        return found[0]
    classes = set(file.classnames(recursive=False).values())
    if found:
        what = f"several branches hold events: {', '.join(f'{tree}/{branch}' for _, tree, branch in found)}"
        raise InputError(what, where=path, hint=f"keep one, or name it {_GENERATED[0]}")
    if "HepMC3::GenEventData" in classes:
        raise InputError(
            "a ROOT file of HepMC3's WriterRoot, which only HepMC3 itself can read",
            where=path,
            hint="convert it with HepMC3's convert_example to hepmc3 (text) or roottree",
        )
    there = f"trees in it: {', '.join(trees)}" if trees else "it has no trees"
    ntuples = " (and RNTuples, which are not read)" if "ROOT::RNTuple" in classes else ""
    raise InputError(f"a ROOT file without events of a known class; {there}{ntuples}", where=path, hint=_KNOWN)


def _header(file: Any, kind: str, tree: str) -> tuple[tuple[str, ...], list[str]]:
    """Names of the weights, and the generators, where the file says them."""
    if kind == HEPMC3 and "GenRunInfo" in file[tree] and file[tree].num_entries:
        run = file[tree]["GenRunInfo"]
        names, tools, versions = (
            run[key].array(entry_stop=1).to_list()[0] for key in ("weight_names", "tool_name", "tool_version")
        )
        return tuple(names), [f"{tool} {version}".strip() for tool, version in zip(tools, versions, strict=True)]
    if kind == EDM4HEP and "metadata" in file and "GPStringKeys" in file["metadata"]:
        keys, values = (file["metadata"][f"GPString{part}"].array().to_list() for part in ("Keys", "Values"))
        pairs = dict(zip(keys[0], values[0], strict=True)) if keys else {}
        return tuple(pairs.get("EventWeightNames", ())), []
    return (), []


def _read_hepmc3(block: RootBlock, part: _Part) -> tuple[Rows, Graph]:
    """Events of HepMC3's trees: particles, vertices, and links between them."""
    at = block.branch
    n_particles = part.counts(f"{at}/particles/particles.pid")
    n_vertices = part.counts(f"{at}/vertices/vertices.status")
    gev = np.where(part.flat(f"{at}/momentum_unit", "int64") == 1, GeV, MeV)  # HepMC3::Units: MEV 0, GEV 1; MM 0, CM 1
    in_mm = part.flat(f"{at}/length_unit", "int64") == 0
    lengths = np.column_stack([*[np.where(in_mm, mm, cm)] * 3, np.where(in_mm, mm_over_c, cm_over_c)])
    unit = np.repeat(gev, n_particles)

    def four(name: str) -> list[NDArray[np.float64]]:
        return [part.flat(f"{at}/{name}.m_v{i}", "float64") for i in range(1, 5)]

    with np.errstate(over="ignore", invalid="ignore"):
        px, py, pz, energy = (p * unit for p in four("particles/particles.momentum"))
        invariant = np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0))
        is_given = part.flat(f"{at}/particles/particles.is_mass_set", "bool")
        mass = np.where(is_given, part.flat(f"{at}/particles/particles.mass", "float64") * unit, invariant)
        positions = np.column_stack(four("vertices/vertices.position")) * np.repeat(lengths, n_vertices, axis=0)
    particles: Columns = {
        c.PDG: part.flat(f"{at}/particles/particles.pid", "int32"),
        c.STATUS: part.flat(f"{at}/particles/particles.status", "int32"),
        **dict(zip(c.MOMENTUM, (px, py, pz), strict=True)),
        c.ENERGY: energy,
        c.MASS: mass,
    }
    rows = Rows(
        block.path, block.first_event, part.flat(f"{at}/event_number", "int64"), n_particles, particles,
        _attributes(part, at), part.counts(f"{at}/weights"), part.flat(f"{at}/weights", "float64"), {},
    )  # fmt: skip
    production, end = _links(part, at, rows, n_vertices)
    origins = np.column_stack(four("event_pos")) * lengths
    return rows, Graph(n_vertices, production, end, positions, positions.any(axis=1), origins)


def _links(
    part: _Part, at: str, rows: Rows, n_vertices: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Production and end vertex of each particle (n_rows,). A link goes from a particle (> 0) to a vertex (< 0), or back."""
    counts, others = (part.counts(f"{at}/links{i}") for i in (1, 2))
    for i in np.flatnonzero(counts != others):
        rows.faults.setdefault(int(i), f"{counts[i]} of its links start, and {others[i]} end")
    fits = counts == others
    source = part.flat(f"{at}/links1", "int64")[np.repeat(fits, counts)]
    target = part.flat(f"{at}/links2", "int64")[np.repeat(fits, others)]
    event = np.repeat(np.arange(len(counts)), np.where(fits, counts, 0))
    goes_in = source > 0
    particle, vertex = np.where(goes_in, source, target), -np.where(goes_in, target, source)
    is_link = (particle > 0) & (vertex > 0) & (particle <= rows.n_particles[event]) & (vertex <= n_vertices[event])
    for i in np.flatnonzero(~is_link):
        rows.faults.setdefault(
            int(event[i]), f"its link from {source[i]} to {target[i]} is between nothing that it has"
        )
    row = offsets_from_counts(rows.n_particles)[event] + particle - 1
    ends: list[NDArray[np.int32]] = []
    event_of_row = rows.event_of_row()
    for is_it, verb in ((is_link & ~goes_in, "comes from"), (is_link & goes_in, "ends in")):
        vertices = np.full(int(rows.n_particles.sum()), -1, dtype=np.int32)
        vertices[row[is_it]] = vertex[is_it] - 1
        for i in np.flatnonzero(np.bincount(row[is_it], minlength=len(vertices)) > 1):
            rows.faults.setdefault(int(event_of_row[i]), f"one of its particles {verb} more than one vertex")
        ends.append(vertices)
    return ends[0], ends[1]


def _attributes(part: _Part, at: str) -> Columns:
    """What HepMC3's attributes of the event say of heavy ions, cross section and partons; NaN where it cannot be read."""
    import awkward as ak  # noqa: PLC0415

    ids, names, texts = (part.array(f"{at}/attribute_{key}") for key in ("id", "name", "string"))
    found: Columns = {}
    for name, columns, numbers_of in (
        ("GenHeavyIon", c.HEAVY_ION, _heavy_ion),
        ("GenCrossSection", c.CROSS_SECTION, _numbers),
        ("GenPdfInfo", c.PARTONS, _numbers),
    ):
        texts_of_events = ak.firsts(texts[(ids == 0) & (names == name)], axis=1).to_list()
        table = np.full((len(texts_of_events), len(columns)), np.nan)
        for i, text in enumerate(texts_of_events):
            with contextlib.suppress(ValueError):
                if text is not None:
                    table[i] = numbers_of(text, len(columns))
        found |= {column: np.ascontiguousarray(table[:, k]) for k, column in enumerate(columns)}
    return found


def _numbers(text: str, n: int) -> list[float]:
    return [float(word) for word in text.split()[:n]]


def _heavy_ion(text: str, _: int) -> list[float]:
    """The columns `HEAVY_ION` of HepMC3's text, which has had two versions: hence by HepMC3 itself."""
    from pyhepmc import GenHeavyIon  # noqa: PLC0415  (0.15 s that --help does not need)

    ion = GenHeavyIon()
    if not ion.from_string(text):
        raise ValueError
    return [
        ion.Ncoll_hard, ion.Npart_proj, ion.Npart_targ, ion.Ncoll, ion.impact_parameter, ion.event_plane_angle,
    ]  # fmt: skip


def _read_edm4hep(block: RootBlock, part: _Part) -> tuple[Rows, Graph]:
    """Events of EDM4hep: particles with their mothers."""
    at = block.branch

    def column(name: str, dtype: str = "float64") -> NDArray[Any]:
        return part.flat(f"{at}/{at}.{name}", dtype)

    particles = particles_of(
        column("PDG", "int32"), column("generatorStatus", "int32"), [column(f"momentum.{axis}") * GeV for axis in "xyz"],
        column("mass") * GeV,
    )  # fmt: skip
    points = np.column_stack([*(column(f"vertex.{axis}") * mm for axis in "xyz"), column("time") * ns])
    n_events = block.end - block.first
    head = "EventHeader/EventHeader"
    number, weight = part.first_of(f"{head}.eventNumber"), part.first_of(f"{head}.weight", none=1.0)
    number = np.where(np.isnan(number), np.arange(block.first, block.end), number)
    events = {c.WEIGHT: weight, **_edm4hep_events(part)}
    n_weights, weights = np.ones(n_events, dtype=np.int64), weight
    vector = next((name for name in ("_EventHeader_weights", "EventHeader_0") if name in part.tree), "")
    if vector:  # where it is empty, the event's own weight is all there is
        counts = part.counts(vector)
        n_weights = np.maximum(counts, 1)
        weights = np.insert(
            part.flat(vector, "float64"), offsets_from_counts(counts)[:-1][counts == 0], weight[counts == 0]
        )
    rows = Rows(
        block.path, block.first_event, number.astype(np.int64), part.counts(f"{at}/{at}.PDG"), particles, events, n_weights,
        weights, {},
    )  # fmt: skip
    relation = next((name for name in (f"_{at}_parents", f"{at}#0") if name in part.tree), "")
    if not relation:
        raise InputError(
            f"{at} has no mothers: neither a branch _{at}_parents nor {at}#0", where=block.path, hint=_KNOWN
        )
    n_mothers, mothers = _slices(
        rows, column("parents_begin", "int64"), column("parents_end", "int64"),
        part.counts(f"{relation}/{relation}.index"), part.flat(f"{relation}/{relation}.index", "int64"),
    )  # fmt: skip
    is_generated = (column("simulatorStatus", "int64") & _MADE_BY_SIMULATION) == 0
    rows, points, n_mothers, mothers = keep_only(rows, is_generated, points, n_mothers, mothers)
    return rows, build_vertices(rows, points, n_mothers, mothers)


def _slices(
    rows: Rows, begin: NDArray[np.int64], end: NDArray[np.int64], n_links: NDArray[np.int64], links: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What a podio relation gives each particle: how many, and all of them; `begin` and `end` count within the event."""
    event = rows.event_of_row()
    fits = (begin >= 0) & (begin <= end) & (end <= n_links[event])
    for i in np.unique(event[~fits]):
        rows.faults.setdefault(int(i), f"a particle's mothers are not among the {n_links[i]} that the event lists")
    counts = cap_mothers(rows, np.where(fits, end - begin, 0))
    starts = offsets_from_counts(n_links)[event] + begin - (np.cumsum(counts) - counts)
    return counts, links[np.repeat(starts, counts) + np.arange(counts.sum())]


def _edm4hep_events(part: _Part) -> Columns:
    """Cross section and partons, where the file has them."""
    at, pdf = "GeneratorEventParameters", "GeneratorPdfInfo/GeneratorPdfInfo"
    section, error = (part.first_of(f"_{at}_{name}") for name in ("crossSections", "crossSectionErrors"))
    partons = [part.first_of(f"{pdf}.{name}[2]", k) for name in ("partonId", "x") for k in (0, 1)]
    partons += [part.first_of(f"{pdf}.scale"), *(part.first_of(f"{pdf}.xf[2]", k) for k in (0, 1))]
    return dict(zip((*c.CROSS_SECTION, *c.PARTONS), (section, error, *partons), strict=True))


def _read_o2(block: RootBlock, part: _Part) -> tuple[Rows, Graph]:
    """Events of O2's kinematics: particles with their mothers."""

    def column(name: str, dtype: str = "float64") -> NDArray[Any]:
        return part.flat(f"{block.branch}/{block.branch}.m{name}", dtype)

    pdg, properties = column("PdgCode", "int32"), column("Prop", "int32")
    momentum = [column(f"StartVertexMomentum{axis}") * GeV for axis in "XYZ"]
    points = np.column_stack([column(f"StartVertexCoordinates{axis}") for axis in "XYZT"]) * [cm, cm, cm, ns]
    mothers = np.column_stack([column(f"{which}MotherTrackId", "int64") for which in ("", "Second")])
    is_named = mothers >= 0
    is_named[:, 1] &= mothers[:, 1] != mothers[:, 0]
    n_events = block.end - block.first
    rows = Rows(
        block.path, block.first_event, np.arange(block.first, block.end), part.counts(f"{block.branch}/{block.branch}.mPdgCode"),
        particles_of(pdg, _o2_status(column("StatusCode", "int32"), properties), momentum, masses_of(pdg)),
        {}, np.ones(n_events, dtype=np.int64), np.ones(n_events), {},
    )  # fmt: skip
    is_primary = (properties >> 1) & 0x3F == 0  # bits 1 to 6: the process, in TMCProcess's numbering; kPPrimary is 0
    rows, points, n_mothers, mothers = keep_only(rows, is_primary, points, is_named.sum(axis=1), mothers[is_named])
    return rows, build_vertices(rows, points, n_mothers, mothers)


def _o2_status(codes: NDArray[np.int32], properties: NDArray[np.int32]) -> NDArray[np.int32]:
    """HepMC's status. Its bits 0 to 8 (signed) if bits 29 to 31 are 5, else the number itself (MCGenStatus.h).

    Generators that say nothing leave 0; then a particle that is to be transported (bit 31 of the properties) is final.
    """
    status = np.where((codes >> 29) & 7 == 5, ((codes & 0x1FF) ^ 0x100) - 0x100, codes)
    return np.where((status == 0) & (properties < 0), 1, status).astype(np.int32)


_READERS: Mapping[str, Any] = {HEPMC3: _read_hepmc3, EDM4HEP: _read_edm4hep, O2: _read_o2}
