"""What doors of one flat tree share: collections and their branches as a table, and the rows of a batch that are written.

A format is a tuple of `Collection`s. Their branches are filled from a `View` of a batch: the reconstructed tracks, the kept
particles in the format's order, and the links between them as positions within the event. Nothing reaches beyond an event, so
batches of any size give the same file.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

from fastsim import columns as c
from fastsim.columns import Table
from fastsim.events import production_points
from fastsim.io.rootio import FileWriter, RootFile
from fastsim.objects.inputs import from_vertex
from fastsim.objects.kinematics import fill_directions, offsets_of_rows
from fastsim.species import SPECIES, UNKNOWN_CHARGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastsim.cards.schema import Truth
    from fastsim.columns import Column
    from fastsim.events import EventBatch

Rows = Table | Literal["one"]
ALONG_BEAM = 999.9  # Delphes' pseudorapidity and rapidity of what has no transverse momentum (modules/TreeWriter.cc)

_MASS = np.array([species.mass for species in SPECIES])
_PDG = np.array(
    [species.pdg if species.pdg > 20 else -species.pdg for species in SPECIES]
)  # of charge +1: 211, but -11


class Family(NamedTuple):
    """Kept particles in the order of writing, and their links as positions within the event (-1: none)."""

    order: NDArray[np.int64]  # rows in the batch
    position: NDArray[np.int64]  # of each particle of the batch, as written
    mothers: NDArray[np.int32]  # of each written particle, as the format has them (n, 2)
    daughters: NDArray[np.int32]


class Neutrals(NamedTuple):
    """Neutral clusters: rows in the batch, their pt [GeV], eta, phi, energy [GeV] (4, n).

    And of every cluster the position in its event as written, -1 of those that are not.
    """

    rows: NDArray[np.int64]
    kinematics: NDArray[np.float64]
    position: NDArray[np.int64]


class View:
    """A batch as a format writes it. `link` orders its particles; without it the format has no truth."""

    def __init__(self, batch: EventBatch, link: Callable[[EventBatch], Family] | None) -> None:
        self.batch = batch
        self._link = link
        self._made: dict[Any, Any] = {}

    def once(self, what: Any, make: Callable[[View], Any]) -> Any:
        """What `make` makes of this view, made when first asked for: several branches need it."""
        if what not in self._made:
            self._made[what] = make(self)
        return self._made[what]

    @cached_property
    def family(self) -> Family:
        """The kept particles."""
        if self._link is None:
            raise AssertionError("a format without truth has no particles")
        return self._link(self.batch)

    @cached_property
    def tracks(self) -> NDArray[np.int64]:
        """Rows of the reconstructed tracks."""
        return np.flatnonzero(self.batch[c.IS_RECONSTRUCTED])

    @cached_property
    def track_events(self) -> NDArray[np.int64]:
        """Event (position in the batch) of each reconstructed track."""
        return np.asarray(self.batch.event_index("track")[self.tracks])

    def counts(self, collection: Collection) -> NDArray[np.int64]:
        """Rows of each event that are written."""
        rows = collection.rows
        if rows in {"event", "one"}:
            return np.ones(self.batch.n_events, dtype=np.int64)
        if rows == "track":
            return np.bincount(self.track_events, minlength=self.batch.n_events)
        table = cast("Table", rows)
        if table not in self.batch.offsets:
            return np.zeros(self.batch.n_events, dtype=np.int64)
        if collection.where:
            return np.diff(offsets_of_rows(collection.where(self), self.batch, table))
        return np.diff(self.batch.offsets[table])

    def event(self, column: Column, missing: float = np.nan) -> NDArray[Any]:
        """An event column; `missing` where it is not given, or was not made."""
        if column not in self.batch:
            return np.full(self.batch.n_events, missing)
        values = self.batch[column]
        return values if values.dtype.kind != "f" else np.where(np.isnan(values), missing, values)

    def track(self, column: Column) -> NDArray[Any]:
        """A track column of the reconstructed ones."""
        return np.asarray(self.batch[column][self.tracks])

    def of_tracks_event(self, column: Column) -> NDArray[Any]:
        """An event column, for each reconstructed track."""
        return np.asarray(self.batch[column][self.track_events])

    def particle(self, column: Column) -> NDArray[Any]:
        """A particle column in the order of writing."""
        return np.asarray(self.once(column, lambda v: v.batch[column][v.family.order]))

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """Where and when each particle of the batch was produced (n, 4) [cm, ns]."""
        return production_points(self.batch)

    def point(self, axis: int) -> NDArray[np.float64]:
        """Where (0-2) [cm] or when (3) [ns] each written particle was produced."""
        return np.asarray(self.points[self.family.order, axis])

    @cached_property
    def neutrinos(self) -> tuple[NDArray[np.float64], ...]:
        """Sum of the final neutrinos' momenta of each event (px, py, pz) [GeV]: what no detector sees."""
        chosen = np.flatnonzero((self.batch[c.STATUS] == 1) & np.isin(np.abs(self.batch[c.PDG]), (12, 14, 16)))
        events = np.searchsorted(self.batch.offsets["particle"], chosen, side="right") - 1
        n = self.batch.n_events
        return tuple(np.bincount(events, self.batch[column][chosen], n).astype(np.float64) for column in c.MOMENTUM)

    @cached_property
    def direction(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Transverse momentum [GeV], pseudorapidity and azimuth of the written particles."""
        px, py, pz = (self.particle(column) for column in c.MOMENTUM)
        pt = np.hypot(px, py)
        return pt, pseudorapidity(pt, pz), np.arctan2(py, px)

    @cached_property
    def particle_charge(self) -> NDArray[np.int32]:
        """Charge [e] of the written particles, -999 if their code is unknown (as Delphes)."""
        charge = self.particle(c.CHARGE_TRUE).astype(np.int32)
        charge[charge == UNKNOWN_CHARGE] = -999
        return charge

    @cached_property
    def _track_particle_rows(self) -> NDArray[np.int64]:
        """Row in the batch of each written track's particle, -1 if it is not kept."""
        index = self.track(c.PARTICLE_INDEX)
        return np.where(index >= 0, self.batch.offsets["particle"][self.track_events] + index, -1)

    @cached_property
    def track_particle(self) -> NDArray[np.int64]:
        """Position in its event of each written track's particle as written, -1 if it is not kept."""
        return _take(self.family.position, self._track_particle_rows)

    def track_time(self) -> NDArray[np.float64]:
        """When each written track's particle was produced [ns]; the event's time if it is not kept."""
        return _take(self.points[:, 3], self._track_particle_rows, self.of_tracks_event(c.VERTEX_TRUE[3]))

    def track_pdg(self) -> NDArray[np.int64]:
        """True PDG code of each written track."""
        return np.asarray(_PDG[self.track(c.SPECIES)] * np.sign(self.track(c.TRUE[4])).astype(np.int64))

    def track_mass(self) -> NDArray[np.float64]:
        """Mass of the true species of each written track [GeV]."""
        return np.asarray(_MASS[self.track(c.SPECIES)])

    def sigma(self, index: int) -> NDArray[np.float64]:
        """Uncertainty of the written tracks' `index`-th parameter."""
        return np.sqrt(self.covariance(index, index))

    def covariance(self, i: int, j: int) -> NDArray[np.float64]:
        """Covariance of the written tracks' parameters i and j."""
        i, j = max(i, j), min(i, j)
        return np.asarray(self.batch[c.COV_PACKED][self.tracks, i * (i + 1) // 2 + j])

    @cached_property
    def track_position(self) -> NDArray[np.int64]:
        """Position in its event of each track of the batch among the reconstructed ones, -1 for the others."""
        return self._positions("track", self.batch[c.IS_RECONSTRUCTED])

    def neutrals(self, *which: bool) -> Neutrals:
        """The clusters with energy that tracks do not explain, of ECALs (False) or HCALs (True), as jets take them."""
        return cast("Neutrals", self.once(("neutrals", which), lambda v: v.make_neutrals(which)))

    def make_neutrals(self, which: Sequence[bool]) -> Neutrals:
        """Of `neutrals`."""
        energy = self.batch[c.CLUSTER_NEUTRAL]
        is_one = (energy > 0.0) & np.isin(self.batch[c.CLUSTER_IS_HCAL], which)
        rows = np.flatnonzero(is_one)
        kinematics = np.empty((4, len(rows)))
        fill_directions(from_vertex(self.batch, rows, energy[rows]), kinematics)
        kinematics[3] = energy[rows]
        return Neutrals(rows, kinematics, self._positions("cluster", is_one))

    def constituents(self, column: Column) -> NDArray[np.int64]:
        """Rows of the jets' constituents that this column names something for."""
        return np.flatnonzero(self.batch[column] >= 0) if column in self.batch else np.zeros(0, dtype=np.int64)

    def linked(
        self, table: Table, column: Column, target: Table, values: NDArray[Any], missing: Any = -1
    ) -> NDArray[Any]:
        """`values` (one for each row of `target`) of what `column` of `table` names; `missing` where it names nothing."""
        if column not in self.batch:
            return np.full(self.batch.n_rows(table), missing)
        return _take(values, np.where(self.batch[column] >= 0, self.rows_of(table, column, target), -1), missing)

    def cluster_particle(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Position of the particle that left most in these clusters, as written; -1 if it is not kept."""
        found = self.linked("cluster", c.CLUSTER_PARTICLE, "particle", self.family.position)
        return np.asarray(found[rows])

    def _positions(self, table: Table, is_written: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Position in its event of each row of a table among the written ones, -1 for the others."""
        n_before = np.concatenate([[0], np.cumsum(is_written)])
        first = n_before[self.batch.offsets[table]]
        return np.where(is_written, n_before[:-1] - first[self.batch.event_index(table)], -1)

    def rows_of(self, table: Table, column: Column, target: Table) -> NDArray[np.int64]:
        """Row of `target` in the batch that `column` of `table` names, a position in the event."""
        return np.asarray(self.batch.offsets[target][self.batch.event_index(table)] + self.batch[column])

    def of_object_track(self, table: Table, column: Column, values: NDArray[Any]) -> NDArray[Any]:
        """`values` (one for each track of the batch) of the tracks that the objects of a table name."""
        return np.asarray(values[self.rows_of(table, column, "track")])

    def object_particle(self, table: Table, column: Column) -> NDArray[np.int64]:
        """Position of the particle of each object's track, as written; -1 if it is not kept."""
        track = self.rows_of(table, column, "track")
        index = self.batch[c.PARTICLE_INDEX][track]
        rows = np.where(index >= 0, self.batch.offsets["particle"][self.batch.event_index(table)] + index, -1)
        return _take(self.family.position, rows)


class Field(NamedTuple):
    """Name, type, unit and meaning of a branch, and how it is filled: a number, or a function of the view."""

    name: str
    dtype: str
    unit: str
    doc: str
    source: float | Callable[[View], Any]
    is_truth: bool = False


def branch(name: str, unit: str, doc: str, source: float | Callable[[View], Any], dtype: str = "float32") -> Field:
    """A branch that is no truth."""
    return Field(name, dtype, unit, doc, source)


class Collection(NamedTuple):
    """Branches with a row for each row of a table ("track": each reconstructed one; `where`: these rows), or "one" an event.

    With rows "event" they are numbers, one an event, not lists. A field without a name makes a list of numbers that is called
    as the collection.
    """

    name: str
    rows: Rows
    fields: tuple[Field, ...]
    is_truth: bool = False
    where: Callable[[View], NDArray[np.int64]] | None = None


def select(collections: Sequence[Collection], truth: Truth) -> tuple[Collection, ...]:
    """The collections that a file has; without truth there are no generated particles and no links to them."""
    if truth != "none":
        return tuple(collections)
    return tuple(
        collection._replace(fields=tuple(f for f in collection.fields if not f.is_truth))
        for collection in collections
        if not collection.is_truth
    )


def with_devices(collections: Sequence[Collection], devices: Sequence[Column]) -> tuple[Collection, ...]:
    """The collections with what devices measure of tracks: columns under their own names, hypotheses one by one."""
    fields = tuple(field for column in devices if column.table == "track" for field in _device_fields(column))
    return tuple(
        item._replace(fields=(*item.fields, *fields)) if item.name == "Track" else item for item in collections
    )


def _device_fields(column: Column) -> Iterator[Field]:
    dtype = "float32" if column.dtype == "float64" else column.dtype
    if not column.shape:
        yield Field(column.name, dtype, column.unit, column.doc, lambda view: view.track(column))
    for k in range(column.shape[0] if column.shape else 0):
        part = SPECIES[k].name if column.shape == (len(SPECIES),) else str(k)
        yield Field(f"{column.name}_{part}", dtype, column.unit, column.doc, lambda view, k=k: view.track(column)[:, k])  # type: ignore[misc]


def pseudorapidity(pt: NDArray[np.float64], pz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pseudorapidity; +-999.9 along the beam."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(pt > 0.0, np.arcsinh(pz / pt), np.copysign(ALONG_BEAM, pz))


def rapidity(pt: NDArray[np.float64], pz: NDArray[np.float64], mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rapidity atanh(pz/E) as asinh(pz/mt), mt^2 = pt^2 + m^2, which E and pz of nearly equal size do not spoil.

    A negative mass stands for a negative square (HepMC). +-999.9 along the beam and where mt is not real.
    """
    mt2 = pt**2 + mass * np.abs(mass)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((pt > 0.0) & (mt2 > 0.0), np.arcsinh(pz / np.sqrt(mt2)), np.copysign(ALONG_BEAM, pz))


def _take(values: NDArray[Any], rows: NDArray[np.int64], missing: Any = -1) -> NDArray[Any]:
    """`values[rows]`, `missing` where a row is -1."""
    if not len(values):
        return np.broadcast_to(missing, rows.shape)
    return np.where(rows >= 0, values[rows], missing)


class FlatWriter(FileWriter):
    """Writes batches to one tree of collections."""

    def __init__(
        self, path: Path, tree: str, collections: Sequence[Collection], link: Callable[[EventBatch], Family] | None, *,
        compression_level: int, counter_name: Callable[[str], str], field_name: Callable[[str, str], str],
    ) -> None:  # fmt: skip
        self._collections, self._link, self._tree, self._field_name = collections, link, tree, field_name
        self.file = RootFile(path, compression_level=compression_level)
        types: dict[str, Any] = {}
        for collection in collections:
            if collection.rows == "event":
                types |= {_join(field_name, collection, f): np.dtype(f.dtype) for f in collection.fields}
            elif is_list(collection):
                types[collection.name] = f"var * {collection.fields[0].dtype}"
            else:
                inside = ", ".join(f'"{f.name}": {f.dtype}' for f in collection.fields)
                types[collection.name] = f"var * {{{inside}}}"
        try:
            self.file.add_tree(tree, types, counter_name=counter_name, field_name=field_name)
        except BaseException:
            self.file.discard()
            raise

    def write(self, batch: EventBatch) -> None:
        """Add the events of a batch."""
        view = View(batch, self._link)
        columns: dict[str, Any] = {}
        for collection in self._collections:
            counts = view.counts(collection)
            values = {f.name: _fill(f, view, int(counts.sum())) for f in collection.fields}
            if collection.rows == "event":
                columns |= {_join(self._field_name, collection, f): values[f.name] for f in collection.fields}
            else:
                columns[collection.name] = (counts, values[""] if is_list(collection) else values)
        self.file.extend(self._tree, columns)

    def close(self, texts: Mapping[str, str]) -> None:
        """Add what the branches mean, and finish the file."""
        meanings = describe(self._collections, self._field_name)
        self.file.close({**texts, "branches": json.dumps(meanings, indent=1)})


def is_list(collection: Collection) -> bool:
    """Whether the collection is a list of numbers, not of records."""
    return collection.fields[0].name == ""


def _join(field_name: Callable[[str, str], str], collection: Collection, field: Field) -> str:
    """Name of a branch."""
    if not field.name:
        return collection.name
    return field_name(collection.name, field.name) if collection.name else field.name


def describe(collections: Sequence[Collection], field_name: Callable[[str, str], str]) -> dict[str, dict[str, str]]:
    """Type, unit and meaning of each branch."""
    return {
        _join(field_name, collection, f): {"type": f.dtype, "unit": f.unit, "meaning": f.doc}
        for collection in collections
        for f in collection.fields
    }


def _fill(field: Field, view: View, n: int) -> NDArray[Any]:
    """Values of a branch in its type."""
    if n == 0 or not callable(field.source):
        return np.full(n, 0 if callable(field.source) else field.source, dtype=field.dtype)
    return np.ascontiguousarray(field.source(view), dtype=field.dtype)
