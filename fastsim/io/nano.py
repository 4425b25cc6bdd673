"""The NanoAOD-like door: our columns under the branch names, types and units (cm, GeV) of CMS' NanoAOD.

One table of collections, below. Sources: CMSSW PhysicsTools/NanoAOD (genparticles_cff, electrons_cff, muons_cff, jets_cff,
vertices_cff, globals_cff) for names and meanings; coffea's NanoAODSchema for what a reader asks for. What CMS does not have
(`Track`, `JetTrack`, `HeavyIon`, `GenWeight`) follows the same manner. Positions are relative to the first primary vertex
(`dxy`, `dz`), with the sign of reco::TrackBase::dxy: positive to the left of the momentum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim import columns as c
from fastsim.io.flat import Collection, Family, Field, FlatWriter, describe, select, with_devices
from fastsim.io.flat import branch as _f
from fastsim.kernels.gen_status import order_by_descent, status_flags
from fastsim.species import SPECIES, is_hadron, of_each

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastsim.cards.schema import Output
    from fastsim.events import EventBatch
    from fastsim.io.flat import View

PHI, TAN_LAMBDA = c.RECONSTRUCTED[2:4]


def _truth(name: str, doc: str, source: Callable[[View], Any]) -> Field:
    return Field(name, "int32", "", doc, source, is_truth=True)


def _event(name: str, column: c.Column, dtype: str = "float32", missing: float = np.nan) -> Field:
    return _f(name, column.unit, column.doc, lambda v: v.event(column, missing), dtype)


def _made(name: str, column: c.Column) -> Field:
    return _f(name, column.unit, f"{column.doc}; NaN if no module makes it", lambda v: v.event(column))


def _table(name: str, column: c.Column, dtype: str = "float32") -> Field:
    return _f(name, column.unit, column.doc, lambda v: v.batch[column], dtype)


def by_descent(batch: EventBatch) -> Family:
    """Mothers before their daughters: readers walk up by index, and some never return from anything else."""
    n = batch.n_rows("particle")
    order, position, links = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64), np.empty((4, n), dtype=np.int32)
    order_by_descent(
        batch.offsets["particle"], batch.offsets["vertex"], batch[c.PRODUCTION_VERTEX], batch[c.END_VERTEX], batch[c.PDG],
        order, position, links,
    )  # fmt: skip
    return Family(order, position, links.T[:, :2], links.T[:, 2:])


def _flags(view: View) -> NDArray[np.int32]:
    pdg, family = view.particle(c.PDG), view.family
    flags = np.empty(len(pdg), dtype=np.int32)
    links = np.ascontiguousarray(np.column_stack([family.mothers, family.daughters]).T)
    status_flags(view.batch.offsets["particle"], pdg, view.particle(c.STATUS), of_each(pdg, is_hadron), links, flags)
    return flags


class _Tracks:
    """Quantities of tracks relative to the vertex, for the tracks of a collection: the rows in the batch that `rows` gives."""

    def __init__(self, rows: Callable[[View], NDArray[np.int64]], events: Callable[[View], NDArray[np.int64]]) -> None:
        self._rows, self._events = rows, events

    def column(self, column: c.Column) -> Callable[[View], Any]:
        return lambda v: v.batch[column][self._rows(v)]

    def dxy(self, view: View) -> NDArray[np.float64]:
        """Signed distance of the vertex from the track's tangent in the transverse plane (reco::TrackBase::dxy) [cm]."""
        sin, cos, x, y, _ = self._geometry(view)
        return np.asarray(view.batch[c.RECONSTRUCTED[0]][self._rows(view)] + x * sin - y * cos)

    def dz(self, view: View) -> NDArray[np.float64]:
        """Of the tangent where it passes the vertex (reco::TrackBase::dz) [cm]."""
        sin, cos, x, y, z = self._geometry(view)
        rows = self._rows(view)
        return np.asarray(view.batch[c.RECONSTRUCTED[1]][rows] - z + (x * cos + y * sin) * view.batch[TAN_LAMBDA][rows])

    def _geometry(self, view: View) -> Any:
        """Sine and cosine of the azimuth, and the vertex of the event."""
        return view.once(self, self._make_geometry)

    def _make_geometry(self, view: View) -> tuple[NDArray[np.float64], ...]:
        phi, events = view.batch[PHI][self._rows(view)], self._events(view)
        return np.sin(phi), np.cos(phi), *(view.batch[column][events] for column in c.VERTEX)

    def sigma(self, index: int) -> Callable[[View], Any]:
        return lambda v: np.sqrt(v.batch[c.COV_PACKED][self._rows(v), index * (index + 3) // 2])

    def sigma_pt(self, view: View) -> NDArray[np.float64]:
        """Of pt = |q| / |q/pt|."""
        rows = self._rows(view)
        return np.asarray(self.sigma(4)(view) * view.batch[c.PT][rows] ** 2 / np.abs(view.batch[c.CHARGE][rows]))

    def fields(self) -> tuple[Field, ...]:
        """Branches that tracks and leptons share."""
        return (
            _f("pt", "GeV", "transverse momentum", self.column(c.PT)),
            _f("eta", "", "pseudorapidity", self.column(c.ETA)),
            _f("phi", "rad", "azimuth at closest approach to the z axis", self.column(PHI)),
            _f("charge", "e", "charge", self.column(c.CHARGE), "int32"),
            _f("dxy", "cm", "transverse impact parameter with respect to PV, with sign", self.dxy),
            _f("dxyErr", "cm", "its uncertainty without the vertex'", self.sigma(0)),
            _f("dz", "cm", "longitudinal impact parameter with respect to PV, with sign", self.dz),
            _f("dzErr", "cm", "its uncertainty without the vertex'", self.sigma(1)),
            _f("ptErr", "GeV", "uncertainty", self.sigma_pt),
        )


_TRACKS = _Tracks(lambda v: v.tracks, lambda v: v.track_events)


def _lepton(table: c.Table, track: c.Column, sum_pt: c.Column, neutral: c.Column, pdg: int) -> tuple[Field, ...]:
    tracks = _Tracks(lambda v: v.rows_of(table, track, "track"), lambda v: v.batch.event_index(table))

    def of_neutrals(view: View) -> Any:
        return view.batch[neutral] if neutral in view.batch else np.full(len(view.batch[sum_pt]), np.nan)

    mass = next(species.mass for species in SPECIES if species.pdg == pdg)
    return (
        *tracks.fields(),
        _f("mass", "GeV", "mass", mass),
        _f("pdgId", "", "PDG code by the charge", lambda v: -pdg * np.sign(tracks.column(c.CHARGE)(v)), "int32"),
        _f("isoChg", "GeV", f"not in NanoAOD: {sum_pt.doc}", lambda v: v.batch[sum_pt]),
        _f("isoNeutral", "GeV", f"not in NanoAOD: {neutral.doc}; NaN if isolation is of tracks only", of_neutrals),
        _f("relIsoChg", "", "not in NanoAOD: isoChg / pt", lambda v: v.batch[sum_pt] / tracks.column(c.PT)(v)),
        _f("jetIdx", "", "jet that has its track, -1 if none",
           lambda v: _jet_of(v, table, track, c.CONSTITUENT_TRACK, "track"), "int32"),
        _f("trackIdx", "", "its track", lambda v: v.of_object_track(table, track, v.track_position), "int32"),
        _truth("genPartIdx", "its generated particle, -1 if it is not kept", lambda v: v.object_particle(table, track)),
    )  # fmt: skip


def _jet_of(view: View, table: c.Table, column: c.Column, constituent: c.Column, target: c.Table) -> NDArray[np.int64]:
    """Position of the jet that holds each object's track or cluster (`target`), -1 if there is none."""
    jets = np.full(view.batch.n_rows(target), -1)
    rows = view.constituents(constituent)
    if len(rows):
        jets[view.rows_of("jet_constituent", constituent, target)[rows]] = view.batch[c.CONSTITUENT_JET][rows]
    return view.linked(table, column, target, jets)


def _constituents_in(view: View, column: c.Column, target: c.Table, position: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of jets' constituents among what is written of a table, for those that are of it."""
    return view.linked("jet_constituent", column, target, position)[view.constituents(column)]


def _of_photon(column: c.Column) -> Callable[[View], Any]:
    """A column of the photons' clusters."""
    return lambda v: v.batch[column][v.rows_of("photon", c.PHOTON_CLUSTER, "cluster")]


def _axes(columns: tuple[c.Column, ...], names: tuple[str, ...]) -> tuple[Field, ...]:
    return tuple(_event(name, column) for name, column in zip(names, columns, strict=False))


def _hadron_flavour(view: View) -> NDArray[np.int64]:
    flavour = np.abs(view.batch[c.JET_FLAVOR])
    return np.where((flavour == 4) | (flavour == 5), flavour, 0)


COLLECTIONS: tuple[Collection, ...] = (
    Collection(
        "",
        "event",
        (
            _f("run", "", "1", 1, "uint32"),
            _f("luminosityBlock", "", "1", 1, "uint32"),
            _event("event", c.EVENT_ID, "uint64"),
            _event("genWeight", c.WEIGHT),
            _event("bField", c.B_Z),
        ),
    ),
    Collection("GenWeight", "weight", (_table("", c.WEIGHT_VALUE),)),
    Collection(
        "Generator",
        "event",
        (
            _event("weight", c.WEIGHT),
            _event("id1", c.PARTONS[0], "int32", 0),
            _event("id2", c.PARTONS[1], "int32", 0),
            *_axes(c.PARTONS[2:], ("x1", "x2", "scalePDF", "xpdf1", "xpdf2")),
            _event("xsec", c.CROSS_SECTION[0]),
            _event("xsecErr", c.CROSS_SECTION[1]),
        ),
    ),
    Collection(
        "HeavyIon",
        "event",
        _axes(
            c.HEAVY_ION,
            ("nCollHard", "nPartProjectile", "nPartTarget", "nColl", "impactParameter", "eventPlaneAngle"),
        ),
    ),
    Collection(
        "PV",
        "event",
        (
            *_axes(c.VERTEX, ("x", "y", "z")),
            *(
                _f(f"{axis}Err", "cm", "not in NanoAOD: uncertainty", lambda v, k=k: np.sqrt(v.batch[c.VERTEX_COV][:, k]))  # type: ignore[misc]
                for axis, k in (("x", 0), ("y", 2), ("z", 5))
            ),
            _f("ndof", "", "2 n - 3 of n tracks, at least 0", lambda v: np.maximum(2 * v.batch[c.N_CONTRIBUTORS] - 3, 0)),
            _event("chi2", c.VERTEX_CHI2),
            _f("npvs", "", "1 if two tracks or more make it, else 0", lambda v: v.batch[c.N_CONTRIBUTORS] > 1, "int32"),
        ),
    ),
    Collection("GenVtx", "event", _axes(c.VERTEX_TRUE, ("x", "y", "z", "t0")), is_truth=True),
    Collection(
        "GenPart",
        "particle",
        (
            _f("pt", "GeV", "transverse momentum", lambda v: v.direction[0]),
            _f("eta", "", "pseudorapidity, +-999.9 along the beam", lambda v: v.direction[1]),
            _f("phi", "rad", "azimuth", lambda v: v.direction[2]),
            _f("mass", "GeV", "mass", lambda v: v.particle(c.MASS)),
            _f("pdgId", "", "PDG code", lambda v: v.particle(c.PDG), "int32"),
            _f("status", "", c.STATUS.doc, lambda v: v.particle(c.STATUS), "int32"),
            _f("statusFlags", "", "bits of reco::GenStatusFlags 0 to 10, 12 and 13, within what is kept", _flags, "int32"),
            _f("genPartIdxMother", "", "first mother, before it in the list; -1 if none",
               lambda v: v.family.mothers[:, 0], "int32"),
            *(_f(f"v{x}", "cm", "place of production", lambda v, axis=axis: v.point(axis))  # type: ignore[misc]
              for axis, x in enumerate("xyz")),
            _f("collision", "", c.COLLISION.doc, lambda v: v.particle(c.COLLISION), "int32"),
        ),
        is_truth=True,
    ),
    Collection(
        "Track",
        "track",
        (
            *_TRACKS.fields(),
            _f("phiErr", "rad", "uncertainty", _TRACKS.sigma(2)),
            _f("tanLambdaErr", "", "uncertainty of sinh(eta)", _TRACKS.sigma(3)),
            _f("fromPV", "", "whether the vertex is made of it too", lambda v: v.track(c.IS_CONTRIBUTOR), "bool"),
            _truth("genPartIdx", "its generated particle, -1 if it is not kept", lambda v: v.track_particle),
        ),
    ),
    Collection("Electron", "electron", _lepton("electron", c.ELECTRON_TRACK, c.ELECTRON_SUM_PT, c.ELECTRON_SUM_NEUTRAL, 11)),
    Collection("Muon", "muon", _lepton("muon", c.MUON_TRACK, c.MUON_SUM_PT, c.MUON_SUM_NEUTRAL, 13)),
    Collection(
        "Photon",
        "photon",
        (
            *(_table(column.name, column) for column in c.PHOTON),
            _f("pdgId", "", "22", 22, "int32"),
            _f("energyErr", "GeV", "uncertainty of the energy", _of_photon(c.CLUSTER_SIGMA)),
            _table("hoe", c.PHOTON_HAD_OVER_EM),
            _f("isoChg", "GeV", f"not in NanoAOD: {c.PHOTON_SUM_PT.doc}", lambda v: v.batch[c.PHOTON_SUM_PT]),
            _f("isoNeutral", "GeV", f"not in NanoAOD: {c.PHOTON_SUM_NEUTRAL.doc}", lambda v: v.batch[c.PHOTON_SUM_NEUTRAL]),
            _f("time", "ns", f"not in NanoAOD: {c.CLUSTER_TIME.doc}", _of_photon(c.CLUSTER_TIME)),
            _f("jetIdx", "", "jet that has its cluster, -1 if none",
               lambda v: _jet_of(v, "photon", c.PHOTON_CLUSTER, c.CONSTITUENT_CLUSTER, "cluster"), "int32"),
            _truth("genPartIdx", "generated particle that left most of the energy, -1 if it is not kept",
                   lambda v: v.cluster_particle(v.rows_of("photon", c.PHOTON_CLUSTER, "cluster"))),
        ),
    ),
    Collection(
        "Jet",
        "jet",
        (
            *(_table(column.name, column) for column in c.JET),
            _f("sumCharge", "e", f"{c.JET_CHARGE.doc} (coffea puts 0 for what is called Jet_charge)",
               lambda v: v.batch[c.JET_CHARGE], "int32"),
            _f("nConstituents", "", "tracks and neutral constituents",
               lambda v: v.batch[c.JET_N_CHARGED] + v.batch[c.JET_N_NEUTRAL], "int32"),
            _truth("partonFlavour", c.JET_FLAVOR.doc, lambda v: v.batch[c.JET_FLAVOR]),
            _truth("hadronFlavour", "5 or 4 where |partonFlavour| is, else 0", _hadron_flavour),
            _table("bTag", c.JET_B_TAG, "uint32"),
            _table("cTag", c.JET_C_TAG, "uint32"),
            _table("tauTag", c.JET_TAU_TAG, "uint32"),
        ),
    ),
    Collection(
        "JetTrack",
        "jet_constituent",
        (
            _f("jetIdx", "", "its jet", lambda v: v.batch[c.CONSTITUENT_JET][v.constituents(c.CONSTITUENT_TRACK)], "int32"),
            _f("trackIdx", "", "its track",
               lambda v: _constituents_in(v, c.CONSTITUENT_TRACK, "track", v.track_position), "int32"),
        ),
        where=lambda v: v.constituents(c.CONSTITUENT_TRACK),
    ),
    Collection(
        "MET",
        "event",
        (_made("pt", c.MET), _made("phi", c.MET_PHI), _made("sumEt", c.SCALAR_HT)),
    ),
    Collection(
        "GenMET",
        "event",
        (
            _f("pt", "GeV", "of the sum of the final neutrinos", lambda v: np.hypot(*v.neutrinos[:2])),
            _f("phi", "rad", "of the sum", lambda v: np.arctan2(*v.neutrinos[1::-1])),
        ),
        is_truth=True,
    ),
)  # fmt: skip
# Where calorimeters make it, the neutral part of the energy flow; codes as in CMS' particle flow: 22 and 130.
FLOW: tuple[Collection, ...] = (
    Collection(
        "PFNeutral",
        "cluster",
        (
            *(_f(name, unit, f"{doc}, as seen from PV", lambda v, k=k: v.neutrals(False, True).kinematics[k])  # type: ignore[misc]
              for k, (name, unit, doc) in enumerate((
                  ("pt", "GeV", "transverse momentum"), ("eta", "", "pseudorapidity"), ("phi", "rad", "azimuth")))),
            _f("mass", "GeV", "0", 0),
            _f("charge", "e", "0", 0, "int32"),
            _f("pdgId", "", "22 in electromagnetic calorimeters, 130 in hadronic ones",
               lambda v: np.where(v.batch[c.CLUSTER_IS_HCAL], 130, 22)[v.neutrals(False, True).rows], "int32"),
            _f("energy", "GeV", c.CLUSTER_NEUTRAL.doc, lambda v: v.neutrals(False, True).kinematics[3]),
            _f("time", "ns", c.CLUSTER_TIME.doc, lambda v: v.batch[c.CLUSTER_TIME][v.neutrals(False, True).rows]),
            _truth("genPartIdx", "generated particle that left most of the energy, -1 if it is not kept",
                   lambda v: v.cluster_particle(v.neutrals(False, True).rows)),
        ),
        where=lambda v: v.neutrals(False, True).rows,
    ),
    Collection(
        "JetPFNeutral",
        "jet_constituent",
        (
            _f("jetIdx", "", "its jet", lambda v: v.batch[c.CONSTITUENT_JET][v.constituents(c.CONSTITUENT_CLUSTER)], "int32"),
            _f("pfNeutralIdx", "", "its cluster in PFNeutral",
               lambda v: _constituents_in(v, c.CONSTITUENT_CLUSTER, "cluster", v.neutrals(False, True).position), "int32"),
        ),
        where=lambda v: v.constituents(c.CONSTITUENT_CLUSTER),
    ),
)  # fmt: skip
_NEEDS: tuple[c.Column, ...] = (
    c.EVENT_ID, c.WEIGHT, *c.CROSS_SECTION, *c.PARTONS, *c.HEAVY_ION, c.WEIGHT_VALUE, *c.VERTEX_TRUE, *c.VERTEX_POSITION,
    c.PDG, c.STATUS, *c.MOMENTUM, c.MASS, c.PRODUCTION_VERTEX, c.END_VERTEX, c.COLLISION, c.B_Z, c.PARTICLE_INDEX,
    c.IS_RECONSTRUCTED, *c.RECONSTRUCTED, c.COV_PACKED, c.PT, c.ETA, c.CHARGE, *c.VERTEX, c.VERTEX_COV, c.VERTEX_CHI2,
    c.N_CONTRIBUTORS, c.IS_CONTRIBUTOR,
)  # fmt: skip


def needs(output: Output) -> tuple[c.Column, ...]:
    """Columns without which the tree cannot be written; objects and missing momentum are taken where they are made."""
    del output
    return _NEEDS


def collections(output: Output, devices: Sequence[c.Column] = ()) -> tuple[Collection, ...]:
    """What the file holds; missing momentum is summed only where all final particles are kept."""
    flow = FLOW if c.CLUSTER_NEUTRAL in devices else ()
    chosen = select(with_devices((*COLLECTIONS, *flow), devices), output.truth)
    return tuple(item for item in chosen if item.name != "GenMET" or output.truth != "reconstructed")


def units(output: Output, devices: Sequence[c.Column] = ()) -> dict[str, str]:
    """Units of the branches."""
    meanings = describe(collections(output, devices), "{}_{}".format)
    return {f"Events.{name}": meaning["unit"] for name, meaning in meanings.items() if meaning["unit"]}


def open_writer(path: Path, output: Output, devices: Sequence[c.Column] = ()) -> FlatWriter:
    """A new NanoAOD-like file."""
    return FlatWriter(
        path, "Events", collections(output, devices), None if output.truth == "none" else by_descent,
        compression_level=output.compression_level, counter_name="n{}".format, field_name="{}_{}".format,
    )  # fmt: skip
