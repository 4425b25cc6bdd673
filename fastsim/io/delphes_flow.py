"""Calorimeters in the Delphes-like tree: towers, the neutral part of the energy flow, photons.

Sources: Delphes 3.5 classes/DelphesClasses.h (Tower, Photon), modules/TreeWriter.cc, modules/Isolation.cc; branches as in
cards/delphes_card_CMS.tcl, where EFlowPhoton and EFlowNeutralHadron are of the class Tower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim import columns as c
from fastsim.io.flat import Collection, Field
from fastsim.io.flat import branch as _f

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastsim.io.flat import View

SECOND = 1e9  # ns
ENERGY, EM, HAD, ETA, PHI = c.TOWER
SEEN_FROM = "as seen from the vertex"


def _photon(column: c.Column, name: str, doc: str = "") -> Field:
    return _f(name, column.unit, doc or column.doc, lambda v: v.batch[column])


def _of_cluster(column: c.Column) -> Callable[[View], Any]:
    """A column of the photons' clusters."""
    return lambda v: v.batch[column][v.rows_of("photon", c.PHOTON_CLUSTER, "cluster")]


def _isolation(view: View) -> NDArray[np.float64]:
    return np.asarray((view.batch[c.PHOTON_SUM_PT] + view.batch[c.PHOTON_SUM_NEUTRAL]) / view.batch[c.PHOTON[0]])


TOWER = Collection(
    "Tower",
    "tower",
    (
        _f("ET", "GeV", "transverse energy", lambda v: v.batch[ENERGY] / np.cosh(v.batch[ETA])),
        _f("Eta", "", ETA.doc, lambda v: v.batch[ETA]),
        _f("Phi", "rad", PHI.doc, lambda v: v.batch[PHI]),
        _f("E", "GeV", ENERGY.doc, lambda v: v.batch[ENERGY]),
        _f("T", "s", "NaN: towers have no time", np.nan),
        _f("Eem", "GeV", EM.doc, lambda v: v.batch[EM]),
        _f("Ehad", "GeV", HAD.doc, lambda v: v.batch[HAD]),
    ),
)
PHOTON = Collection(
    "Photon",
    "photon",
    (
        *(_photon(column, name) for column, name in zip(c.PHOTON, ("PT", "Eta", "Phi"), strict=True)),
        _photon(c.PHOTON_ENERGY, "E"),
        _f("T", "s", c.CLUSTER_TIME.doc, lambda v: _of_cluster(c.CLUSTER_TIME)(v) / SECOND),
        _photon(c.PHOTON_HAD_OVER_EM, "EhadOverEem"),
        _f("IsolationVar", "", "SumPt / PT", _isolation),
        _photon(c.PHOTON_SUM_PT, "SumPtCharged"),
        _photon(c.PHOTON_SUM_NEUTRAL, "SumPtNeutral"),
        _f("SumPt", "GeV", "sum of the two", lambda v: v.batch[c.PHOTON_SUM_PT] + v.batch[c.PHOTON_SUM_NEUTRAL]),
        Field(
            "Particle", "int32", "", "position in Particle of what left most of the energy, -1 if it is not kept",
            lambda v: v.cluster_particle(v.rows_of("photon", c.PHOTON_CLUSTER, "cluster")), is_truth=True,
        ),
        _f(
            "EFlowPhoton", "", "not in Delphes: position of its cluster in EFlowPhoton",
            lambda v: v.linked("photon", c.PHOTON_CLUSTER, "cluster", v.neutrals(False).position), "int32",
        ),
    ),
)  # fmt: skip


def _neutral(name: str, *, is_hcal: bool) -> Collection:
    """Clusters of one kind with the energy that tracks do not explain."""

    def own(k: int) -> Callable[[View], Any]:
        return lambda v: v.neutrals(is_hcal).kinematics[k]

    def of_cluster(column: c.Column) -> Callable[[View], Any]:
        return lambda v: v.batch[column][v.neutrals(is_hcal).rows]

    return Collection(
        name,
        "cluster",
        (
            _f("ET", "GeV", f"transverse energy, {SEEN_FROM}", own(0)),
            _f("Eta", "", f"pseudorapidity, {SEEN_FROM}", own(1)),
            _f("Phi", "rad", f"azimuth, {SEEN_FROM}", own(2)),
            _f("E", "GeV", c.CLUSTER_NEUTRAL.doc, own(3)),
            _f("T", "s", c.CLUSTER_TIME.doc, lambda v: of_cluster(c.CLUSTER_TIME)(v) / SECOND),
            _f("Eem", "GeV", "E" if not is_hcal else "0", 0 if is_hcal else own(3)),
            _f("Ehad", "GeV", "E" if is_hcal else "0", own(3) if is_hcal else 0),
            Field(
                "Particle", "int32", "", "position in Particle of what left most of the energy, -1 if it is not kept",
                lambda v: v.cluster_particle(v.neutrals(is_hcal).rows), is_truth=True,
            ),
        ),
        where=lambda v: v.neutrals(is_hcal).rows,
    )  # fmt: skip


def _constituent(name: str, column: c.Column, position: Callable[[View], NDArray[np.int64]]) -> Field:
    target: c.Table = "tower" if column == c.CONSTITUENT_TOWER else "cluster"
    doc = f"not in Delphes: position of the constituent in {name}, -1 if it is none"

    def source(view: View) -> NDArray[Any]:
        if column not in view.batch:  # jets of something else: the target need not be there
            return np.full(view.batch.n_rows("jet_constituent"), -1)
        return view.linked("jet_constituent", column, target, position(view))

    return _f(name, "", doc, source, "int32")


def _every(view: View) -> NDArray[np.int64]:
    """Position of each tower in its event."""
    return np.arange(view.batch.n_rows("tower")) - view.batch.offsets["tower"][view.batch.event_index("tower")]


FLOW = (_neutral("EFlowPhoton", is_hcal=False), _neutral("EFlowNeutralHadron", is_hcal=True))
CONSTITUENTS = (
    _constituent("EFlowPhoton", c.CONSTITUENT_CLUSTER, lambda v: v.neutrals(False).position),
    _constituent("EFlowNeutralHadron", c.CONSTITUENT_CLUSTER, lambda v: v.neutrals(True).position),
    _constituent("Tower", c.CONSTITUENT_TOWER, _every),
)
