"""The Delphes-like door: our columns under the branch names, types and units (mm, s, GeV) of Delphes' tree.

One table of collections, below. Sources: Delphes' classes/DelphesClasses.h (names, types), modules/TreeWriter.cc (what is
filled, units), modules/TrackCovariance.cc with external/TrackCovariance/TrkUtil.cc (signs and covariances of tracks),
classes/DelphesHepMC3Reader.cc (mothers and daughters), of Delphes 3.5.

Signs: `D0` is positive to the left of the momentum and `C` is half the signed curvature, negative for positive charges in a
positive field, as TrackCovariance has them (`Xd = -D0 sin(Phi)`, `Yd = D0 cos(Phi)`): only it gives covariances. Delphes'
ParticlePropagator, which cards without TrackCovariance use, has D0 with the other sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim import columns as c
from fastsim.io.delphes_flow import CONSTITUENTS, FLOW, PHOTON, SECOND, TOWER
from fastsim.io.flat import (
    Collection,
    Family,
    Field,
    FlatWriter,
    describe,
    pseudorapidity,
    rapidity,
    select,
    with_devices,
)
from fastsim.io.flat import branch as _f
from fastsim.kernels.ancestry import link_family
from fastsim.units import curvature_constant, m, mm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastsim.cards.schema import Output
    from fastsim.events import EventBatch
    from fastsim.io.flat import View

DCA_XY, DCA_Z, PHI, TAN_LAMBDA, Q_OVER_PT = range(5)


def _link(name: str, doc: str, source: Callable[[View], Any]) -> Field:
    return Field(name, "int32", "", doc, source, is_truth=True)


def _event(name: str, column: c.Column, dtype: str = "float32") -> Field:
    """An event column; Delphes has 0 where the generator says nothing."""
    return Field(name, dtype, column.unit, column.doc.removesuffix(", NaN if not given"), lambda v: v.event(column, 0))


def _half_curvature(view: View) -> NDArray[np.float64]:
    """Of C = -k B (q/pt) / 2 by q/pt, for each track [GeV/cm]."""
    return np.asarray(-0.5 * curvature_constant * view.of_tracks_event(c.B_Z))


def _momentum(view: View) -> NDArray[np.float64]:
    return np.asarray(view.track(c.PT) * np.hypot(1.0, view.track(c.RECONSTRUCTED[TAN_LAMBDA])))


def _pt_per_inverse(view: View) -> NDArray[np.float64]:
    """|d(pt) / d(q/pt)| = pt^2 / |q|."""
    return np.asarray(view.track(c.PT) ** 2 / np.abs(view.track(c.CHARGE)))


def _sigma_p(view: View) -> NDArray[np.float64]:
    """Of p = pt sqrt(1 + t^2), with the covariance of pt and t = tan(lambda) that Delphes leaves out."""
    t, p = view.track(c.RECONSTRUCTED[TAN_LAMBDA]), _momentum(view)
    by_inverse = -np.sign(view.track(c.CHARGE)) * _pt_per_inverse(view) * np.hypot(1.0, t)
    by_t = p * t / (1.0 + t * t)
    variance = (
        by_inverse**2 * view.covariance(Q_OVER_PT, Q_OVER_PT)
        + by_t**2 * view.covariance(TAN_LAMBDA, TAN_LAMBDA)
        + 2.0 * by_inverse * by_t * view.covariance(Q_OVER_PT, TAN_LAMBDA)
    )
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


# Delphes' parameters: ours, and what makes metres (1/metres for C) of them. Its off-diagonals are in metres, its diagonals in mm.
_METRES: dict[str, tuple[int, Callable[[View], Any]]] = {
    "D0": (DCA_XY, lambda v: 1.0 / m),  # noqa: ARG005
    "Phi": (PHI, lambda v: 1.0),  # noqa: ARG005
    "C": (Q_OVER_PT, lambda v: _half_curvature(v) * m),
    "DZ": (DCA_Z, lambda v: 1.0 / m),  # noqa: ARG005
    "CtgTheta": (TAN_LAMBDA, lambda v: 1.0),  # noqa: ARG005
}
_METRE_UNITS = {"D0": "m", "Phi": "rad", "C": "1/m", "DZ": "m", "CtgTheta": ""}


def _covariance(a: str, b: str) -> Field:
    (i, scale_i), (j, scale_j) = _METRES[a], _METRES[b]
    unit = "*".join(u for u in (_METRE_UNITS[a], _METRE_UNITS[b]) if u)
    doc = f"covariance of {a} and {b}, in metres as Delphes has it (the uncertainties are in mm)"
    return _f(f"Error{a}{b}", unit, doc, lambda v: scale_i(v) * scale_j(v) * v.covariance(i, j))


def _perigee(view: View) -> tuple[NDArray[np.float32], ...]:
    """Point of closest approach to the z axis (x, y, z) [mm]."""
    phi, d0 = view.track(c.RECONSTRUCTED[PHI]), view.track(c.RECONSTRUCTED[DCA_XY]) / mm
    points = -d0 * np.sin(phi), d0 * np.cos(phi), view.track(c.RECONSTRUCTED[DCA_Z]) / mm
    return tuple(axis.astype(np.float32) for axis in points)


def _siblings(batch: EventBatch) -> Family:
    """Daughters are written as a range, so siblings are brought together, behind the first of them."""
    n = batch.n_rows("particle")
    order, row = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    mothers, daughters = np.empty((n, 2), dtype=np.int32), np.empty((n, 2), dtype=np.int32)
    link_family(
        batch.offsets["particle"], batch.offsets["vertex"], batch[c.PRODUCTION_VERTEX], batch[c.END_VERTEX], 0,
        order, row, mothers, daughters,
    )  # fmt: skip
    first = batch.offsets["particle"][:-1]
    start = np.repeat(first, np.diff(batch.offsets["particle"]))
    mothers, daughters = (np.where(links >= 0, links - start[:, None], -1) for links in (mothers, daughters))
    mothers[
        mothers[:, 0] == mothers[:, 1], 1
    ] = -1  # Delphes' reader: one mother is M1 alone, one daughter both D1 and D2
    return Family(order, row - start, mothers.astype(np.int32), daughters.astype(np.int32))


def _sum_pt2(view: View) -> NDArray[np.float64]:
    weights = view.track(c.PT) ** 2 * view.track(c.IS_CONTRIBUTOR)
    return np.bincount(view.track_events, weights, view.batch.n_events).astype(np.float64)


def _lepton(name: c.Table, track: c.Column, sum_pt: c.Column, neutral: c.Column) -> tuple[Field, ...]:
    """Branches of electrons and muons: their track's, and the isolation."""

    def total(view: View) -> Any:
        charged = view.batch[sum_pt]
        return charged + view.batch[neutral] if neutral in view.batch else charged

    def own(column: c.Column) -> Callable[[View], Any]:
        return lambda v: v.of_object_track(name, track, v.batch[column])

    return (
        _f("PT", "GeV", "transverse momentum", own(c.PT)),
        _f("Eta", "", "pseudorapidity", own(c.ETA)),
        _f("Phi", "rad", "azimuth", own(c.RECONSTRUCTED[PHI])),
        _f("Charge", "e", "charge", own(c.CHARGE), "int32"),
        _f("D0", "mm", "transverse impact parameter", lambda v: own(c.RECONSTRUCTED[DCA_XY])(v) / mm),
        _f("DZ", "mm", "longitudinal impact parameter", lambda v: own(c.RECONSTRUCTED[DCA_Z])(v) / mm),
        _f("ErrorD0", "mm", "its uncertainty", lambda v: np.sqrt(own(c.COV_PACKED)(v)[:, 0]) / mm),
        _f("ErrorDZ", "mm", "its uncertainty", lambda v: np.sqrt(own(c.COV_PACKED)(v)[:, 2]) / mm),
        _f("IsolationVar", "", "SumPt / PT", lambda v: total(v) / own(c.PT)(v)),
        _f("SumPtCharged", "GeV", sum_pt.doc, lambda v: v.batch[sum_pt]),
        _f("SumPtNeutral", "GeV", f"{neutral.doc}; NaN if isolation is of tracks only",
           lambda v: v.batch[neutral] if neutral in v.batch else np.full(len(v.batch[sum_pt]), np.nan)),
        _f("SumPt", "GeV", "sum of the two, or of tracks only", total),
        _link("Particle", "position of its particle in Particle, -1 if none", lambda v: v.object_particle(name, track)),
        _f("Track", "", "position of its track in Track", lambda v: own_position(v, name, track), "int32"),
    )  # fmt: skip


def own_position(view: View, table: c.Table, track: c.Column) -> NDArray[np.int64]:
    """Position of the objects' tracks in Track, -1 if they have none."""
    return np.asarray(view.linked(table, track, "track", view.track_position))


def _jet(column: c.Column, name: str, dtype: str = "float32", doc: str = "") -> Field:
    return _f(name, column.unit, doc or column.doc, lambda v: v.batch[column], dtype)


def _particle_direction(index: int) -> Callable[[View], Any]:
    return lambda v: v.direction[index]


EVENT = Collection(
    "Event",
    "one",
    (
        _event("Number", c.EVENT_NUMBER, "int64"),
        _event("Weight", c.WEIGHT),
        _event("CrossSection", c.CROSS_SECTION[0]),
        _event("CrossSectionError", c.CROSS_SECTION[1]),
        _event("ID1", c.PARTONS[0], "int32"),
        _event("ID2", c.PARTONS[1], "int32"),
        _event("X1", c.PARTONS[2]),
        _event("X2", c.PARTONS[3]),
        _event("ScalePDF", c.PARTONS[4]),
        _event("PDF1", c.PARTONS[5]),
        _event("PDF2", c.PARTONS[6]),
    ),
)
PARTICLE = Collection(
    "Particle",
    "particle",
    (
        _f("PID", "", "PDG code", lambda v: v.particle(c.PDG), "int32"),
        _f("Status", "", c.STATUS.doc, lambda v: v.particle(c.STATUS), "int32"),
        _f("IsPU", "", "1 from a pile-up collision, else 0", lambda v: v.particle(c.COLLISION) > 0, "int32"),
        _f("M1", "", "first mother, -1 if none", lambda v: v.family.mothers[:, 0], "int32"),
        _f("M2", "", "last mother, -1 if there is one or none", lambda v: v.family.mothers[:, 1], "int32"),
        _f("D1", "", "first daughter, -1 if none", lambda v: v.family.daughters[:, 0], "int32"),
        _f("D2", "", "last daughter, -1 if none", lambda v: v.family.daughters[:, 1], "int32"),
        _f("Charge", "e", "charge, -999 if the code is unknown", lambda v: v.particle_charge, "int32"),
        _f("Mass", "GeV", "mass", lambda v: v.particle(c.MASS)),
        _f("E", "GeV", "energy", lambda v: v.particle(c.ENERGY)),
        *(_f(f"P{x}", "GeV", "momentum", lambda v, p=p: v.particle(p)) for x, p in zip("xyz", c.MOMENTUM, strict=True)),  # type: ignore[misc]
        _f("P", "GeV", "momentum", lambda v: np.hypot(v.direction[0], v.particle(c.MOMENTUM[2]))),
        _f("PT", "GeV", "transverse momentum", _particle_direction(0)),
        _f("Eta", "", "pseudorapidity, +-999.9 along the beam", _particle_direction(1)),
        _f("Phi", "rad", "azimuth", _particle_direction(2)),
        _f(
            "Rapidity", "", "rapidity, +-999.9 along the beam",
            lambda v: rapidity(v.direction[0], v.particle(c.MOMENTUM[2]), v.particle(c.MASS)),
        ),
        _f("T", "s", "time of production", lambda v: v.point(3) / SECOND),
        *(_f(x, "mm", "place of production", lambda v, axis=axis: v.point(axis) / mm) for axis, x in enumerate("XYZ")),  # type: ignore[misc]
    ),
    is_truth=True,
)  # fmt: skip
TRACK = Collection(
    "Track",
    "track",
    (
        _f("PID", "", "PDG code of the generated particle, as in Delphes", lambda v: v.track_pdg(), "int32"),
        _f("Charge", "e", "reconstructed charge", lambda v: v.track(c.CHARGE), "int32"),
        _f("P", "GeV", "momentum", _momentum),
        _f("PT", "GeV", "transverse momentum", lambda v: v.track(c.PT)),
        _f("Eta", "", "pseudorapidity", lambda v: v.track(c.ETA)),
        _f("Phi", "rad", "azimuth at closest approach", lambda v: v.track(c.RECONSTRUCTED[PHI])),
        _f("CtgTheta", "", "cotangent of the polar angle", lambda v: v.track(c.RECONSTRUCTED[TAN_LAMBDA])),
        _f("C", "1/mm", "half the signed curvature", lambda v: _half_curvature(v) * v.track(c.RECONSTRUCTED[4]) * mm),
        _f("Mass", "GeV", "of the generated species, as in Delphes", lambda v: v.track_mass()),
        _f("T", "s", "time of production, as generated", lambda v: v.track_time() / SECOND),
        *(_f(x, "mm", "point of closest approach", lambda v, axis=axis: v.once("perigee", _perigee)[axis])  # type: ignore[misc]
          for axis, x in (*enumerate("XYZ"), *enumerate(("Xd", "Yd", "Zd")))),
        _f("D0", "mm", "signed distance from the z axis, see the head", lambda v: v.track(c.RECONSTRUCTED[0]) / mm),
        _f("DZ", "mm", "z at closest approach", lambda v: v.track(c.RECONSTRUCTED[1]) / mm),
        _f("ErrorP", "GeV", "uncertainty", _sigma_p),
        _f("ErrorPT", "GeV", "uncertainty", lambda v: v.sigma(Q_OVER_PT) * _pt_per_inverse(v)),
        _f("ErrorPhi", "rad", "uncertainty", lambda v: v.sigma(PHI)),
        _f("ErrorCtgTheta", "", "uncertainty", lambda v: v.sigma(TAN_LAMBDA)),
        _f("ErrorD0", "mm", "uncertainty", lambda v: v.sigma(DCA_XY) / mm),
        _f("ErrorDZ", "mm", "uncertainty", lambda v: v.sigma(DCA_Z) / mm),
        _f("ErrorC", "1/mm", "uncertainty", lambda v: v.sigma(Q_OVER_PT) * np.abs(_half_curvature(v)) * mm),
        _covariance("D0", "Phi"),
        _covariance("D0", "C"),
        _covariance("D0", "DZ"),
        _covariance("D0", "CtgTheta"),
        _covariance("Phi", "C"),
        _covariance("Phi", "DZ"),
        _covariance("Phi", "CtgTheta"),
        _covariance("C", "DZ"),
        _covariance("C", "CtgTheta"),
        _covariance("DZ", "CtgTheta"),
        _link("Particle", "position of its particle in Particle, -1 if it is not kept", lambda v: v.track_particle),
        _f("VertexIndex", "", "0 if in the vertex, else -1", lambda v: v.track(c.IS_CONTRIBUTOR) - np.int32(1), "int32"),
    ),
)  # fmt: skip
COLLECTIONS: tuple[Collection, ...] = (
    EVENT,
    Collection("Weight", "weight", (_f("Weight", "", c.WEIGHT_VALUE.doc, lambda v: v.batch[c.WEIGHT_VALUE]),)),
    PARTICLE,
    TRACK,
    TOWER,
    Collection("Electron", "electron", _lepton("electron", c.ELECTRON_TRACK, c.ELECTRON_SUM_PT, c.ELECTRON_SUM_NEUTRAL)),
    Collection("Muon", "muon", _lepton("muon", c.MUON_TRACK, c.MUON_SUM_PT, c.MUON_SUM_NEUTRAL)),
    PHOTON,
    Collection(
        "Jet",
        "jet",
        (
            *(_jet(column, name) for column, name in zip(c.JET, ("PT", "Eta", "Phi", "Mass"), strict=True)),
            Field("Flavor", "uint32", "", c.JET_FLAVOR.doc, lambda v: np.abs(v.batch[c.JET_FLAVOR]), is_truth=True),
            _jet(c.JET_B_TAG, "BTag", "uint32"),
            _jet(c.JET_C_TAG, "CTag", "uint32", "not in Delphes: " + c.JET_C_TAG.doc),
            _jet(c.JET_TAU_TAG, "TauTag", "uint32"),
            _jet(c.JET_CHARGE, "Charge", "int32"),
            _jet(c.JET_N_CHARGED, "NCharged", "int32"),
            _jet(c.JET_N_NEUTRAL, "NNeutrals", "int32"),
        ),
    ),
    Collection(
        "JetConstituent",
        "jet_constituent",
        (
            _f("Jet", "", "not in Delphes: position in Jet", lambda v: v.batch[c.CONSTITUENT_JET], "int32"),
            _f(
                "Track", "", "not in Delphes: position of the constituent in Track, -1 if it is none",
                lambda v: own_position(v, "jet_constituent", c.CONSTITUENT_TRACK), "int32",
            ),
        ),
    ),
    Collection(
        "MissingET",
        "one",
        (
            _f("MET", "GeV", f"{c.MET.doc}; NaN if no module makes it", lambda v: v.event(c.MET)),
            _f("Eta", "", "0: transverse only", 0),
            _f("Phi", "rad", f"{c.MET_PHI.doc}; NaN if no module makes it", lambda v: v.event(c.MET_PHI)),
        ),
    ),
    Collection(
        "GenMissingET",
        "one",
        (
            _f("MET", "GeV", "of the sum of the final neutrinos", lambda v: np.hypot(*v.neutrinos[:2])),
            _f(
                "Eta", "", "of the sum of the final neutrinos, 0 if there are none",
                lambda v: np.where(v.neutrinos[2] == 0, 0, pseudorapidity(np.hypot(*v.neutrinos[:2]), v.neutrinos[2])),
            ),
            _f("Phi", "rad", "of the sum", lambda v: np.arctan2(*v.neutrinos[1::-1])),
        ),
        is_truth=True,
    ),
    Collection(
        "ScalarHT", "one",
        (_f("HT", "GeV", f"{c.SCALAR_HT.doc}; NaN if no module makes it", lambda v: v.event(c.SCALAR_HT)),),
    ),
    Collection(
        "Vertex",
        "one",
        (
            _f("T", "s", "0: no timing", 0),
            *(_f(x, "mm", column.doc, lambda v, column=column: v.batch[column] / mm)  # type: ignore[misc]
              for x, column in zip("XYZ", c.VERTEX, strict=True)),
            _f("ErrorT", "s", "0: no timing", 0, "float64"),
            *(_f(f"Error{x}", "mm", "uncertainty", lambda v, k=k: np.sqrt(v.batch[c.VERTEX_COV][:, k]) / mm, "float64")  # type: ignore[misc]
              for x, k in zip("XYZ", (0, 2, 5), strict=True)),
            _f("Index", "", "0", 0, "int32"),
            _f("NDF", "", "2 n - 3 of n tracks, at least 0",
               lambda v: np.maximum(2 * v.batch[c.N_CONTRIBUTORS] - 3, 0), "int32"),
            _f("SumPT2", "GeV^2", "sum of pt^2 of its tracks", _sum_pt2, "float64"),
        ),
    ),
)  # fmt: skip
_NEEDS: tuple[c.Column, ...] = (
    c.EVENT_NUMBER, c.WEIGHT, *c.CROSS_SECTION, *c.PARTONS, c.WEIGHT_VALUE, *c.VERTEX_TRUE, *c.VERTEX_POSITION, c.PDG,
    c.STATUS, *c.MOMENTUM, c.ENERGY, c.MASS, c.PRODUCTION_VERTEX, c.END_VERTEX, c.COLLISION, c.CHARGE_TRUE, c.B_Z,
    c.PARTICLE_INDEX, c.SPECIES, c.IS_RECONSTRUCTED, c.TRUE[4], *c.RECONSTRUCTED, c.COV_PACKED, c.PT, c.ETA, c.CHARGE,
    *c.VERTEX, c.VERTEX_COV, c.N_CONTRIBUTORS, c.IS_CONTRIBUTOR,
)  # fmt: skip


def needs(output: Output) -> tuple[c.Column, ...]:
    """Columns without which the tree cannot be written; objects and missing momentum are taken where they are made."""
    del output
    return _NEEDS


def collections(output: Output, devices: Sequence[c.Column] = ()) -> tuple[Collection, ...]:
    """What the file holds; missing momentum is summed only where all final particles are kept."""
    chosen = select(with_devices(_with_flow(devices), devices), output.truth)
    return tuple(item for item in chosen if item.name != "GenMissingET" or output.truth != "reconstructed")


def _with_flow(devices: Sequence[c.Column]) -> tuple[Collection, ...]:
    """All collections: the energy flow's where calorimeters make it."""
    if c.CLUSTER_NEUTRAL not in devices:
        lone = [field for field in PHOTON.fields if field.name != "EFlowPhoton"]
        return tuple(PHOTON._replace(fields=tuple(lone)) if item is PHOTON else item for item in COLLECTIONS)
    members = {"JetConstituent": CONSTITUENTS}
    return (*(item._replace(fields=(*item.fields, *members.get(item.name, ()))) for item in COLLECTIONS), *FLOW)


def units(output: Output, devices: Sequence[c.Column] = ()) -> dict[str, str]:
    """Units of the branches."""
    meanings = describe(collections(output, devices), _field_name(output))
    return {f"Delphes.{name}": meaning["unit"] for name, meaning in meanings.items() if meaning["unit"]}


def open_writer(path: Path, output: Output, devices: Sequence[c.Column] = ()) -> FlatWriter:
    """A new Delphes-like file."""
    return FlatWriter(
        path, "Delphes", collections(output, devices), None if output.truth == "none" else _siblings,
        compression_level=output.compression_level, counter_name="{}_size".format, field_name=_field_name(output),
    )  # fmt: skip


def _field_name(output: Output) -> Callable[[str, str], str]:
    """Track.PT, as branches of Delphes are called; or Track/Track.PT, their path, which coffea's DelphesSchema asks for."""
    return "{0}/{0}.{1}".format if output.delphes_names == "path" else "{}.{}".format
