"""Jets of the reconstructed tracks, their flavour, and b, c and tau tags with the card's efficiencies.

No calorimeter is simulated yet, so these are track jets: their pt is that of the charged particles, some 65 % of all
(arXiv:1706.04965).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module, toml
from fastsim.module import Made
from fastsim.objects.clustering import announce_fastjet, cluster
from fastsim.objects.efficiency import Efficiency, accept, faults_of_efficiency, probabilities
from fastsim.objects.flavor import NEEDS, Flavor, flavor_of_jets
from fastsim.objects.kinematics import (
    LEPTON_TRACK,
    MOMENTUM,
    event_of,
    fill_directions,
    order_by_pt,
    reconstructed_tracks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.detector import Detector
    from fastsim.events import Columns, EventBatch
    from fastsim.rng import Streams

Kind = Literal["b", "c", "tau"]
CODES: dict[str, int] = {"b": 5, "c": 4, "tau": 15}
TAG_COLUMNS: dict[str, Column] = {"b": c.JET_B_TAG, "c": c.JET_C_TAG, "tau": c.JET_TAU_TAG}
MOST_TAGS = 32  # bits of a tag's column


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
    """Module kind "jets": tracks clustered by FastJet; the hardest jet first."""

    class Options(module.Options):
        """How jets are found and tagged."""

        algorithm: Annotated[
            Literal["antikt", "kt", "cambridge", "ee_genkt"], Field(description="ee_genkt works in angles and energies")
        ] = "antikt"
        radius: Annotated[float, Field(gt=0, le=10, description="radius parameter")] = 0.4
        power: Annotated[
            float, Field(ge=-10, le=10, description="of ee_genkt only: -1 is like anti-kt, 0 like Cambridge, 1 like kt")
        ] = -1.0
        pt_min: Annotated[float, Field(gt=0, description="softest jets [GeV]")] = 5.0
        eta_max: Annotated[float | None, Field(gt=0, description="only tracks within this |eta|; by default all")] = (
            None
        )
        exclude: Annotated[
            list[Literal["electron", "muon"]],
            Field(
                default_factory=list,
                description="drop jets that hold the track of one of these leptons, as Delphes' UniqueObjectFinder",
            ),
        ]
        flavor: Annotated[Flavor, Field(description="what gives a jet its true flavour")] = Flavor()
        tags: Annotated[list[Tag], Field(default_factory=list, description="working points of taggers")]

        @classmethod
        def faults(cls, data: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
            """Formulas that are none, names given twice, more tags than bits."""
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

    makes: tuple[Column, ...] = (
        *c.JET, c.JET_CHARGE, c.JET_N_CHARGED, c.JET_N_NEUTRAL, c.JET_FLAVOR, c.JET_B_TAG, c.JET_C_TAG, c.JET_TAU_TAG,
        c.CONSTITUENT_JET, c.CONSTITUENT_TRACK,
    )  # fmt: skip

    def __init__(self, options: Jets.Options) -> None:
        self.name = options.name
        self._options = options
        self._eta_max = np.inf if options.eta_max is None else options.eta_max
        self.needs: tuple[Column, ...] = (
            c.EVENT_ID, c.PARTICLE_INDEX, c.IS_RECONSTRUCTED, c.CHARGE, *MOMENTUM, *NEEDS,
            *(LEPTON_TRACK[table] for table in sorted(set(options.exclude))),
        )  # fmt: skip

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> Jets:
        """The module as the card describes it. Raises PluginError without FastJet."""
        del detector
        announce_fastjet()
        return cls(cast("Jets.Options", options))

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Cluster, sort by pt, find the flavour, and tag."""
        own = self._options
        tracks = reconstructed_tracks(batch, np.abs(batch[c.ETA]) <= self._eta_max)
        found = cluster(tracks.momenta, tracks.offsets, own.algorithm, own.radius, own.power, own.pt_min)
        kinematics = np.empty((4, found.momenta.shape[1]))
        fill_directions(found.momenta, kinematics)
        jet_of = np.repeat(np.arange(len(found.n_constituents)), found.n_constituents)
        keep = self._kept(batch, tracks.rows[found.constituents], jet_of, len(found.n_constituents))
        events = event_of(found.offsets)
        order = order_by_pt(events, kinematics[0])
        order = order[keep[order]]
        events, kinematics = events[order], kinematics[:, order]
        offsets = np.searchsorted(events, np.arange(batch.n_events + 1)).astype(np.int64)
        jet_of, rows = _regrouped(order, found.constituents, jet_of, len(keep))
        rows = tracks.rows[rows]
        flavor = flavor_of_jets(batch, offsets, kinematics[1], kinematics[2], own.flavor)
        at = rows[_hardest(jet_of, batch[c.PT][rows], len(order))]
        variables = dict(zip(("pt", "eta", "phi"), kinematics, strict=False)) | {"energy": found.momenta[3, order]}
        made: Columns = {
            **dict(zip(c.JET, kinematics, strict=True)),
            c.JET_CHARGE: np.bincount(jet_of, batch[c.CHARGE][rows], minlength=len(order)).astype(np.int32),
            c.JET_N_CHARGED: np.bincount(jet_of, minlength=len(order)).astype(np.int32),
            c.JET_N_NEUTRAL: np.zeros(len(order), dtype=np.int32),
            c.JET_FLAVOR: flavor,
            **self._tags(flavor, variables, batch[c.EVENT_ID][events], batch[c.PARTICLE_INDEX][at], streams),
            c.CONSTITUENT_JET: (jet_of - offsets[events[jet_of]]).astype(np.int32),
            c.CONSTITUENT_TRACK: (rows - batch.offsets["track"][events[jet_of]]).astype(np.int32),
        }
        constituents = np.searchsorted(events[jet_of], np.arange(batch.n_events + 1)).astype(np.int64)
        return Made(made, {"jet": offsets, "jet_constituent": constituents})

    def _kept(
        self, batch: EventBatch, rows: NDArray[np.int64], jet_of: NDArray[np.int64], n_jets: int
    ) -> NDArray[np.bool_]:
        """Which jets hold none of the leptons that are no jets; `rows` are tracks, `jet_of` the jet of each."""
        is_lepton = np.zeros(batch.n_rows("track"), dtype=np.bool_)
        for table in self._options.exclude:
            is_lepton[batch.offsets["track"][batch.event_index(table)] + batch[LEPTON_TRACK[table]]] = True
        return np.asarray(np.bincount(jet_of[is_lepton[rows]], minlength=n_jets) == 0)

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
