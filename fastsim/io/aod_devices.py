"""What devices measure, in AO2D: under the names of ALICE 3's on-the-fly tasks where they have one, and all under our own.

A row of each tree is a track, or a cluster. Sources: O2Physics (04410847) ALICE3/DataModel/OTFTOF.h, OTFRICH.h for the names (ps
and cm), ALICE3/TableProducer/OTF/onTheFlyTofPid.cxx, onTheFlyRichPid.cxx for what stands where nothing was measured;
ALICE3/DataModel/ECAL.h, MID.h, PRES.h for tables of DelphesO2's times. O2calo is of cells of EMCAL and PHOS, and stays empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsim import columns as c
from fastsim.io.aod_tables import Branch, Tree, index
from fastsim.objects.inputs import from_vertex
from fastsim.species import SPECIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.io.aod_frame import Frame

OWN = "O2fastsimpid"
NO_TIME, NO_LENGTH, NO_TOF, NO_RICH = -999.0, -100.0, -100.0, -1000.0  # the tasks' missing values
_PS = 1e3  # of a ns
_LONG = ("Electron", "Muon", "Pion", "Kaon", "Proton", "Deuteron", "Triton", "Helium3", "Alpha")
_SHORT = ("El", "Mu", "Pi", "Ka", "Pr", "De", "Tr", "He3", "Al")
_TOF = (("itof", "Inner"), ("otof", "Outer"))  # our devices, and theirs
_RICH = "rich"
_DECISIONS = (("mid", "muon", "O2mid", "fMIDIsMuon"), ("preshower", "electron", "O2pres", "fPRESIsElectron"))


def trees_of_devices(devices: Sequence[Column]) -> dict[str, Tree]:
    """Trees by name; none without devices."""
    known = {column.name: column for column in devices if column.table == "track"}
    own = (
        {OWN: Tree("track", tuple(branch for column in known.values() for branch in _branches(column)))}
        if known
        else {}
    )
    ecal = {"O2a3ecal": _ECAL} if c.CLUSTER_ENERGY in devices else {}
    return {**_tof_trees(known), **_rich_trees(known), **_decision_trees(known), **own, **ecal}


def _momentum(axis: int) -> Branch:
    """A cluster's energy in the direction from the vertex."""

    def values(frame: Frame) -> NDArray[np.float64]:
        return np.asarray(from_vertex(frame.batch, frame.clusters, frame.cluster(c.CLUSTER_ENERGY))[axis])

    return Branch(f"fP{'xyz'[axis]}", "float64", "GeV", values)


# A3ECAL: clusters of electromagnetic calorimeters; DelphesO2 wrote photons.
_ECAL = Tree(
    "cluster",
    (
        index("fIndexCollisions", "cluster"),
        Branch("fIndexTracks", "int32", "", lambda frame: frame.cluster_tracks()),
        Branch("fIndexMcParticles", "int32", "", lambda frame: frame.cluster_labels()),
        Branch("fE", "float64", "GeV", lambda frame: frame.cluster(c.CLUSTER_ENERGY)),
        *(_momentum(axis) for axis in range(3)),
        Branch("fPosPhi", "float32", "rad", lambda frame: frame.cluster(c.CLUSTER_PHI)),
        Branch("fPosZ", "float32", "cm", lambda frame: frame.cluster(c.CLUSTER_PLACE[2])),
    ),
)


def _decision_trees(known: dict[str, Column]) -> dict[str, Tree]:
    """MID of a device "mid" and PRES of a device "preshower": a row for each track that they measured."""
    trees = {}
    for device, what, name, branch in _DECISIONS:
        measured, decision = known.get(f"{device}_is_measured"), known.get(f"{device}_is_{what}")
        if measured and decision:
            own = Branch(branch, "uint8", "", lambda frame, decision=decision: frame.track(decision))  # type: ignore[misc]
            track = Branch("fIndexTracks", "int32", "", lambda frame: frame.track_rows())
            trees[name] = Tree("track", (index("fIndexCollisions", "track"), track, own), measured)
    return trees


def _tof_trees(known: dict[str, Column]) -> dict[str, Tree]:
    """UPGRADETOF and UPGRADETOFEXPT, if a module "tof" serves their layers."""
    if "tof_event_time" not in known or not any(f"{device}_n_sigma" in known for device, _ in _TOF):
        return {}
    measured = [
        _number("fTOFEventTime", "ps", known["tof_event_time"], NO_TIME, _PS),
        _number("fTOFEventTimeErr", "ps", known["tof_sigma_event_time"], NO_TIME, _PS),
    ]
    expected = []
    for device, place in _TOF:
        scores, times = known.get(f"{device}_n_sigma"), known.get(f"{device}_time_expected")
        for k, name in enumerate(_LONG):
            measured.append(_number(f"fNSigma{name}{place}TOF", "", scores, NO_TOF, index=k))
        time, length = known.get(f"{device}_time"), known.get(f"{device}_length")
        measured.append(
            Branch(
                f"f{place}TOFTrackTimeReco", "float32", "ps", _minus(time, known["tof_event_time"]) if time else NO_TIME
            )
        )
        measured.append(_number(f"f{place}TOFTrackLengthReco", "cm", length, NO_LENGTH))
        expected += [
            _number(f"f{place}TOFExpectedTime{name}", "ps", times, NO_TIME, _PS, k) for k, name in enumerate(_SHORT)
        ]
    return {"O2upgradetof": Tree("track", tuple(measured)), "O2upgradetofexpt": Tree("track", tuple(expected))}


def _rich_trees(known: dict[str, Column]) -> dict[str, Tree]:
    """UPGRADERICH and UPGRADERICHSIG, of the barrel."""
    if f"{_RICH}_n_sigma" not in known:
        return {}
    scores, has_ring = known[f"{_RICH}_n_sigma"], known[f"{_RICH}_has_ring"]
    expected = known[f"{_RICH}_angle_expected"]
    signals = [Branch("fHasSig", "bool", "", lambda frame: frame.track(has_ring))]
    signals += [
        Branch(f"fHasSig{name}", "bool", "", lambda frame, k=k: np.isfinite(frame.track(expected)[:, k]))  # type: ignore[misc]
        for k, name in enumerate(_SHORT)
    ]
    signals.append(Branch("fHasSigInGas", "bool", "", 0))
    rings = [_number(f"fNSigma{name}Rich", "", scores, NO_RICH, index=k) for k, name in enumerate(_LONG)]
    return {"O2upgraderich": Tree("track", tuple(rings)), "O2upgraderichsig": Tree("track", tuple(signals))}


def _number(
    name: str, unit: str, column: Column | None, missing: float, factor: float = 1.0, index: int | None = None
) -> Branch:
    """A column, or one hypothesis of it, with their missing value for NaN, and everywhere without such a device."""
    if column is None:
        return Branch(name, "float32", unit, missing)

    def values(frame: Frame) -> NDArray[np.float64]:
        found = frame.track(column) if index is None else frame.track(column)[:, index]
        return np.where(np.isnan(found), missing, factor * found)

    return Branch(name, "float32", unit, values)


def _minus(time: Column, start: Column) -> Callable[[Frame], NDArray[np.float64]]:
    """Measured times with the event time subtracted [ps]."""

    def values(frame: Frame) -> NDArray[np.float64]:
        found = _PS * (frame.track(time) - frame.track(start))
        return np.where(np.isnan(found), NO_TIME, found)

    return values


def _branches(column: Column) -> list[Branch]:
    """Branches of a column under our name: one, or one a hypothesis."""
    dtype = "float32" if column.dtype == "float64" else column.dtype
    name = "f" + "".join(word.capitalize() for word in column.name.split("_"))
    if not column.shape:
        return [Branch(name, dtype, column.unit, lambda frame: frame.track(column))]
    parts = [s.name for s in SPECIES] if column.shape == (len(SPECIES),) else list(map(str, range(column.shape[0])))
    return [
        Branch(f"{name}{part.capitalize()}", dtype, column.unit, lambda frame, k=k: frame.track(column)[:, k])  # type: ignore[misc]
        for k, part in enumerate(parts)
    ]
