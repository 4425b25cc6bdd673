"""Jets, their flavour, and b, c and tau tags with the card's efficiencies.

Of tracks, jets have the pt of the charged particles, some 65 % of all (arXiv:1706.04965); of the energy flow, that of all; of
towers, that of all but muons.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast, get_args

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module, toml
from fastsim.module import Made
from fastsim.objects.clustering import announce_fastjet, cluster
from fastsim.objects.efficiency import (
    Efficiency,
    accept,
    faults_of_efficiency,
    faults_of_formula,
    probabilities,
    values_of,
)
from fastsim.objects.flavor import NEEDS, Flavor, flavor_of_jets
from fastsim.objects.inputs import DESCRIPTION, Input, find_objects
from fastsim.objects.inputs import NEEDS as INPUT_NEEDS
from fastsim.objects.isolation import sum_around
from fastsim.objects.kinematics import event_of, fill_directions, order_by_pt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fastsim.columns import Column, Table
    from fastsim.detector import Detector
    from fastsim.events import Columns, EventBatch
    from fastsim.objects.inputs import Objects
    from fastsim.rng import Streams

Kind = Literal["b", "c", "tau"]
CODES: dict[str, int] = {"b": 5, "c": 4, "tau": 15}
TAG_COLUMNS: dict[str, Column] = {"b": c.JET_B_TAG, "c": c.JET_C_TAG, "tau": c.JET_TAU_TAG}
MOST_TAGS = 32  # bits of a tag's column
# Columns of constituents: the table that they name a position in, and rows of it.
_LINKS: dict[Column, tuple[Table, Callable[[Objects], NDArray[np.int64]]]] = {
    c.CONSTITUENT_TRACK: ("track", attrgetter("track")),
    c.CONSTITUENT_CLUSTER: ("cluster", attrgetter("cluster")),
    c.CONSTITUENT_TOWER: ("tower", attrgetter("tower")),
}
_MORE_LINKS: dict[Input, tuple[Column, ...]] = {
    "tracks": (), "energy_flow": (c.CONSTITUENT_CLUSTER,), "towers": (c.CONSTITUENT_TOWER,),
}  # fmt: skip
NO_TRACK = 1 << 30  # address of draws for jets whose hardest part is a cluster or a tower: no particle's index


class Excluded(NamedTuple):
    """Objects that may win over jets: a column that names their track or cluster, what constituents call that, eta and phi."""

    column: Column
    link: Column
    eta: Column
    phi: Column

    def needs(self, kind: Input) -> tuple[Column, ...]:
        """What jets of a kind need to know of them."""
        return (self.column, self.eta, self.phi) if kind == "towers" else (self.column,)


_EXCLUDED: dict[str, Excluded] = {
    "electron": Excluded(c.ELECTRON_TRACK, c.CONSTITUENT_TRACK, c.ETA, c.RECONSTRUCTED[2]),
    "muon": Excluded(c.MUON_TRACK, c.CONSTITUENT_TRACK, c.ETA, c.RECONSTRUCTED[2]),
    "photon": Excluded(c.PHOTON_CLUSTER, c.CONSTITUENT_CLUSTER, c.PHOTON[1], c.PHOTON[2]),
}


class TagEfficiency(toml.Strict):
    """How often jets of each flavour are tagged."""

    light: Annotated[Efficiency, Field(description="of light quarks and gluons, and of jets that nothing true is near")]
    b: Annotated[Efficiency | None, Field(description="of b jets; as light ones if not given")] = None
    c: Annotated[Efficiency | None, Field(description="of c jets; as light ones if not given")] = None
    tau: Annotated[Efficiency | None, Field(description="of hadronic taus; as light ones if not given")] = None


class Tag(toml.Strict):
    """One working point of a tagger."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="names the random stream; unique in its kind")]
    kind: Annotated[Kind, Field(description="what is tagged; the i-th working point of a kind sets bit i")]
    efficiency: Annotated[TagEfficiency, Field(description="by the true flavour of the jet")]


class Jets:
    """Module kind "jets": tracks, towers or the energy flow, clustered by FastJet; the hardest jet first."""

    class Options(module.Options):
        """How jets are found and tagged."""

        input: Annotated[Input, Field(description=f"what is clustered: {DESCRIPTION}")] = "tracks"
        algorithm: Annotated[
            Literal["antikt", "kt", "cambridge", "ee_genkt"], Field(description="ee_genkt works in angles and energies")
        ] = "antikt"
        radius: Annotated[float, Field(gt=0, le=10, description="radius parameter")] = 0.4
        power: Annotated[
            float, Field(ge=-10, le=10, description="of ee_genkt only: -1 is like anti-kt, 0 like Cambridge, 1 like kt")
        ] = -1.0
        pt_min: Annotated[float, Field(gt=0, description="softest jets, before `scale` [GeV]")] = 5.0
        eta_max: Annotated[
            float | None, Field(gt=0, description="only tracks, clusters and towers within this |eta|; by default all")
        ] = None
        scale: Annotated[
            float | str,
            Field(description="factor on jets' momenta: a number, or a formula in pt, eta, phi and energy [GeV]"),
        ] = 1.0
        exclude: Annotated[
            list[Literal["electron", "muon", "photon"]],
            Field(
                default_factory=list,
                description="drop jets that hold the track or cluster of one of these, as Delphes' UniqueObjectFinder",
            ),
        ]
        exclude_delta_r: Annotated[
            float,
            Field(gt=0, le=10, description="with towers, which hold no tracks: jets whose axis is so near to one"),
        ] = 0.2  # assumption: half of a usual radius
        flavor: Annotated[Flavor, Field(description="what gives a jet its true flavour")] = Flavor()
        tags: Annotated[list[Tag], Field(default_factory=list, description="working points of taggers")]

        @classmethod
        def faults(cls, data: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
            """Formulas that are none, names given twice, more tags than bits, objects that such jets cannot hold."""
            kind, exclude = data.get("input", "tracks"), data.get("exclude")
            for i, name in enumerate(exclude if isinstance(exclude, list) else []):
                if (kind, name) in {("towers", "muon"), ("tracks", "photon")}:
                    yield ("exclude", i), f"there are no {name}s in jets of {kind}"
            yield from faults_of_formula(data.get("scale"), ("scale",))
            if isinstance(scale := data.get("scale"), (int, float)) and not scale > 0:
                yield ("scale",), f"must be above 0 (got {scale!r})"
            tags = data.get("tags")
            seen = dict.fromkeys(get_args(Kind), 0)
            names = set()
            for i, tag in enumerate(tags if isinstance(tags, list) else []):
                if not isinstance(tag, dict):
                    continue
                efficiency = tag.get("efficiency")
                for flavor, value in efficiency.items() if isinstance(efficiency, dict) else ():
                    yield from faults_of_efficiency(value, ("tags", i, "efficiency", flavor))
                kind, name = str(tag.get("kind")), str(tag.get("name"))
                if (kind, name) in names:
                    yield ("tags", i, "name"), f"{name!r} is the name of another {kind} tag"
                names.add((kind, name))
                seen[kind] = seen.get(kind, 0) + 1
                if seen[kind] == MOST_TAGS + 1:
                    yield ("tags", i), f"at most {MOST_TAGS} {kind} tags, one a bit"

    def __init__(self, options: Jets.Options) -> None:
        self.name = options.name
        self._options = options
        self._eta_max = np.inf if options.eta_max is None else options.eta_max
        self._excluded = [_EXCLUDED[name] for name in sorted(set(options.exclude))]
        self.needs: tuple[Column, ...] = (
            c.EVENT_ID, c.PARTICLE_INDEX, c.CHARGE, *INPUT_NEEDS[options.input], *NEEDS,
            *(column for excluded in self._excluded for column in excluded.needs(options.input)),
        )  # fmt: skip
        self.makes: tuple[Column, ...] = (
            *c.JET, c.JET_CHARGE, c.JET_N_CHARGED, c.JET_N_NEUTRAL, c.JET_FLAVOR, c.JET_B_TAG, c.JET_C_TAG, c.JET_TAU_TAG,
            c.CONSTITUENT_JET, c.CONSTITUENT_TRACK, *_MORE_LINKS[options.input],
        )  # fmt: skip

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> Jets:
        """The module as the card describes it. Raises PluginError without FastJet."""
        del detector
        announce_fastjet()
        return cls(cast("Jets.Options", options))

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Cluster, scale, sort by pt, find the flavour, and tag."""
        own = self._options
        objects = find_objects(batch, own.input, self._eta_max)
        found = cluster(objects.momenta, objects.offsets, own.algorithm, own.radius, own.power, own.pt_min)
        kinematics = np.empty((4, found.momenta.shape[1]))
        fill_directions(found.momenta, kinematics)
        energy = self._scaled(kinematics, found.momenta[3])
        jet_of = np.repeat(np.arange(len(found.n_constituents)), found.n_constituents)
        events = event_of(found.offsets)
        if own.input == "towers":
            keep = self._far(batch, events, kinematics[1], kinematics[2])
        else:
            keep = self._kept(batch, objects, found.constituents, jet_of, len(events))
        order = order_by_pt(events, kinematics[0])
        order = order[keep[order]]
        events, kinematics = events[order], kinematics[:, order]
        offsets = np.searchsorted(events, np.arange(batch.n_events + 1)).astype(np.int64)
        jet_of, rows = _regrouped(order, found.constituents, jet_of, len(keep))
        flavor = flavor_of_jets(batch, offsets, kinematics[1], kinematics[2], own.flavor)
        at = rows[_hardest(jet_of, np.hypot(*objects.momenta[:2, rows]), len(order))]
        variables = dict(zip(("pt", "eta", "phi"), kinematics, strict=False)) | {"energy": energy[order]}
        track = objects.track[rows]
        is_track = track >= 0
        n_tracks, n_all = (np.bincount(which, minlength=len(order)) for which in (jet_of[is_track], jet_of))
        charge = np.bincount(jet_of[is_track], batch[c.CHARGE][track[is_track]], minlength=len(order))
        made: Columns = {
            **dict(zip(c.JET, kinematics, strict=True)),
            c.JET_CHARGE: charge.astype(np.int32),
            c.JET_N_CHARGED: n_tracks.astype(np.int32),
            c.JET_N_NEUTRAL: (n_all - n_tracks).astype(np.int32),
            c.JET_FLAVOR: flavor,
            **self._tags(flavor, variables, batch[c.EVENT_ID][events], _addresses(batch, objects, at, events), streams),
            **self._constituents(batch, objects, rows, events[jet_of]),
            c.CONSTITUENT_JET: (jet_of - offsets[events[jet_of]]).astype(np.int32),
        }
        constituents = np.searchsorted(events[jet_of], np.arange(batch.n_events + 1)).astype(np.int64)
        return Made(made, {"jet": offsets, "jet_constituent": constituents})

    def _constituents(
        self, batch: EventBatch, objects: Objects, rows: NDArray[np.int64], events: NDArray[np.int64]
    ) -> Columns:
        """Where constituents (`rows` of the objects, of these events) stand in their event."""
        made: Columns = {}
        for column, (table, at) in _LINKS.items():
            if column in self.makes:
                found = at(objects)[rows]
                made[column] = np.where(found >= 0, found - batch.offsets[table][events], -1).astype(np.int32)
        return made

    def _scaled(self, kinematics: NDArray[np.float64], energy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scale pt and mass in `kinematics` (4, n) as the card says; gives the energy [GeV]."""
        variables = dict(zip(("pt", "eta", "phi"), kinematics, strict=False)) | {"energy": energy}
        factor = values_of(self._options.scale, variables, where=f"module {self.name!r}: scale", above=0.0)
        kinematics[[0, 3]] *= factor
        return energy * factor

    def _kept(
        self, batch: EventBatch, objects: Objects, rows: NDArray[np.int64], jet_of: NDArray[np.int64], n_jets: int
    ) -> NDArray[np.bool_]:
        """Which jets hold none of what is no jet; `rows` are the constituents among the objects, `jet_of` the jet of each."""
        keep = np.ones(n_jets, dtype=np.bool_)
        for column, link, _, _ in self._excluded:
            where, at = _LINKS[link]
            is_taken = np.zeros(batch.n_rows(where) + 1, dtype=np.bool_)  # the last is for what is no such thing
            is_taken[batch.offsets[where][batch.event_index(column.table)] + batch[column]] = True
            keep[jet_of[is_taken[at(objects)[rows]]]] = False
        return keep

    def _far(
        self, batch: EventBatch, events: NDArray[np.int64], eta: NDArray[np.float64], phi: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Which jets of towers have no axis near to what is no jet."""
        near, none = np.zeros(len(events)), np.full(len(events), -1)
        for column, _, of_eta, of_phi in self._excluded:
            rows = np.arange(batch.n_rows(column.table))
            if of_eta.table == "track":
                rows = batch.offsets["track"][batch.event_index(column.table)] + batch[column]
            sums = np.empty(len(events))
            sum_around(
                events, eta, phi, none, batch.offsets[column.table], batch[of_eta][rows], batch[of_phi][rows],
                np.ones(len(rows)), self._options.exclude_delta_r, sums,
            )  # fmt: skip
            near += sums
        return np.asarray(near == 0.0)

    def _tags(
        self, flavor: NDArray[np.int32], variables: dict[str, NDArray[np.float64]], event_id: NDArray[np.uint64],
        index: NDArray[np.int32], streams: Streams,
    ) -> dict[Column, NDArray[np.uint32]]:  # fmt: skip
        """Bits of the working points that each jet passes. `index`: of the particle behind its hardest track, for the draw."""
        bits = {kind: np.zeros(len(flavor), dtype=np.uint32) for kind in TAG_COLUMNS}
        n_of_kind = dict.fromkeys(TAG_COLUMNS, 0)
        for tag in self._options.tags:
            where = f"module {self.name!r}: {tag.kind} tag {tag.name!r}"
            probability = np.empty(len(flavor))
            given = {CODES[key]: value for key, value in tag.efficiency if key in CODES and value is not None}
            of_jet = np.where(np.isin(flavor, list(given)), flavor, 0)
            for code, efficiency in {0: tag.efficiency.light, **given}.items():
                chosen = of_jet == code
                of_chosen = {key: value[chosen] for key, value in variables.items()}
                probability[chosen] = probabilities(efficiency, of_chosen, where=where)
            passed = accept(probability, event_id, index, streams.key(f"{self.name}/{tag.kind}_tag/{tag.name}"))
            bits[tag.kind] |= passed.astype(np.uint32) << np.uint32(n_of_kind[tag.kind])
            n_of_kind[tag.kind] += 1
        return {column: bits[kind] for kind, column in TAG_COLUMNS.items()}


def _addresses(
    batch: EventBatch, objects: Objects, rows: NDArray[np.int64], events: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Addresses of draws for jets of these hardest constituents: the particle of a track, the position of others."""
    track = objects.track[rows]
    found = np.empty(len(rows), dtype=np.int64)
    found[track >= 0] = batch[c.PARTICLE_INDEX][track[track >= 0]]
    for table, at in _LINKS.values():
        own = at(objects)[rows]
        is_own = own >= 0
        if table != "track" and is_own.any():
            found[is_own] = NO_TRACK + own[is_own] - batch.offsets[table][events[is_own]]
    return found.astype(np.int32)


def _regrouped(
    order: NDArray[np.int64], constituents: NDArray[np.int64], jet_of: NDArray[np.int64], n_jets: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """New jet of each constituent, and the constituents: jets in their new order, tracks as in their table."""
    place = np.full(n_jets, -1)
    place[order] = np.arange(len(order))
    new = place[jet_of]
    sorting = np.lexsort((constituents, new))[np.count_nonzero(new < 0) :]
    return new[sorting], constituents[sorting]


def _hardest(jet_of: NDArray[np.int64], pt: NDArray[np.float64], n_jets: int) -> NDArray[np.int64]:
    """Position of the hardest constituent of each jet."""
    first = np.searchsorted(jet_of, np.arange(n_jets))
    return order_by_pt(jet_of, pt)[first]
