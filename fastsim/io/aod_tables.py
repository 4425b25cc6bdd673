"""The AO2D door's mapping: our columns under the names, types, units and precision of ALICE's analysis data model.

One table of branches a tree, below. Sources: AliceO2 Framework/Core/include/Framework/AnalysisDataModel.h of 2025 (versions,
columns), Detectors/AOD/src/AODProducerWorkflowSpec.cxx (packing, truncation), O2Physics' ALICE 3 on-the-fly tracker of 2026.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim import columns as c
from fastsim.io.aod_frame import Frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastsim.cards.schema import Output

TRACK_AT_VERTEX = 1  # o2::aod::track::TrackTypeEnum::Track: parameters at closest approach
PV_CONTRIBUTOR = 0x2  # o2::aod::track::TrackFlags
NO_EMCAL = -999.0  # the official missing value of positions at the EMCal
NO_RUN = -1
TRACK_TIME_RES = 100.0  # ns: no timing detector; DelphesO2 smears its track times by as much
ITS_HITS = 3  # DelphesO2's cluster map, in version 0 only: tables know no hits (so does the on-the-fly tracker)
UNKNOWN = -1  # of integers that generators may give

# Bits of the mantissa that the official producer keeps, out of 23 (its masks: 0xFFFFFFF0, ...FF00, ...FC00, ...E000, 0xFFFF0000).
FINE, MEDIUM, COARSE, VERTEX_COV, CHI2 = 19, 15, 13, 10, 7
FULL = 23


class Branch(NamedTuple):
    """Name, type and unit of a branch; how it is filled: a number, or a function of the frame; bits of the mantissa kept."""

    name: str
    dtype: Any
    unit: str
    source: float | Callable[[Frame], Any]
    bits: int = FULL


class Tree(NamedTuple):
    """What has a row in a tree: each event, particle, track, cluster, or nothing; its branches.

    `where`: a number of events without which there is no row, or a mask of tracks.
    """

    rows: str
    branches: tuple[Branch, ...]
    where: c.Column | None = None


def _constant(name: str, dtype: str, value: float = 0, unit: str = "") -> Branch:
    return Branch(name, dtype, unit, value)


def _constants(dtype: str, *names: str) -> tuple[Branch, ...]:
    return tuple(Branch(name, dtype, "", 0) for name in names)


def _event(name: str, column: c.Column, bits: int = FULL, dtype: str = "float32") -> Branch:
    return Branch(name, dtype, column.unit, lambda f: f.event(column), bits)


def _vertex_cov(*names: str) -> tuple[Branch, ...]:
    order = ("XX", "XY", "YY", "XZ", "YZ", "ZZ")

    def one(name: str) -> Branch:
        return Branch(
            f"fCov{name}", "float32", "cm^2", lambda f: f.event(c.VERTEX_COV)[:, order.index(name)], VERTEX_COV
        )

    return tuple(one(name) for name in names)


def _particle(name: str, column: c.Column, dtype: str = "float32", bits: int = FINE) -> Branch:
    return Branch(name, dtype, column.unit, lambda f: f.particle(column), bits)


def _point(name: str, axis: int) -> Branch:
    return Branch(name, "float32", c.VERTEX_POSITION[axis].unit, lambda f: f.points[f.particles, axis], FINE)


def _track(name: str, column: c.Column, bits: int = FULL) -> Branch:
    return Branch(name, "float32", column.unit, lambda f: f.track(column), bits)


def _sigma(name: str, index: int) -> Branch:
    return Branch(name, "float32", c.PARAMETER_UNITS[index], lambda f: f.sigma[:, index], MEDIUM)


def _rho(name: str, index: int) -> Branch:
    return Branch(name, "int8", "1/128", lambda f: f.rho[:, index])


def _relative(name: str, which: str, column: int) -> Branch:
    """First or last mother or daughter."""
    return Branch(name, "int32", "", lambda f: getattr(f, which)[:, column])


def _collision_time_res(frame: Frame) -> Any:
    """The mean of as many track times as the vertex has tracks."""
    return TRACK_TIME_RES / np.sqrt(np.maximum(frame.event(c.N_CONTRIBUTORS), 1))


def index(name: str, table: str = "event") -> Branch:
    """The row of the event that an event, a track, a particle or a cluster belongs to."""
    rows: dict[str, Callable[[Frame], Any]] = {
        "event": Frame.event_rows,
        "track": lambda f: f.n_events + f.track_events,
        "particle": lambda f: f.n_events + f.particle_events,
        "cluster": lambda f: f.n_events + f.cluster_events,
    }
    return Branch(name, "int32", "", rows[table])


_BC = (
    _constant("fRunNumber", "int32", NO_RUN),
    Branch("fGlobalBC", "uint64", "", lambda f: f.event(c.EVENT_ID)),  # must ascend strictly
    _constant("fTriggerMask", "uint64"),
)
_COLLISION = (
    (
        index("fIndexBCs"),
        _event("fPosX", c.VERTEX[0], FINE),
        _event("fPosY", c.VERTEX[1], FINE),
        _event("fPosZ", c.VERTEX[2], FINE),
    ),
    (
        _constant("fFlags", "uint16"),
        _event("fChi2", c.VERTEX_CHI2, CHI2),
        Branch("fNumContrib", "uint16", "", lambda f: np.minimum(f.event(c.N_CONTRIBUTORS), 65535)),
        _constant("fCollisionTime", "float32", unit="ns"),
        Branch("fCollisionTimeRes", "float32", "ns", _collision_time_res, MEDIUM),
    ),
)
_MC_COLLISION = (
    index("fIndexBCs"),
    _constant("fGeneratorsID", "int16"),
    _event("fPosX", c.VERTEX_TRUE[0], FINE),
    _event("fPosY", c.VERTEX_TRUE[1], FINE),
    _event("fPosZ", c.VERTEX_TRUE[2], FINE),
    _event("fT", c.VERTEX_TRUE[3]),
    _event("fWeight", c.WEIGHT),
    _event("fImpactParameter", c.IMPACT_PARAMETER),
)
_MC_PARTICLE = (
    (
        index("fIndexMcCollisions", "particle"),
        _particle("fPdgCode", c.PDG, "int32"),
        Branch("fStatusCode", "int32", "", Frame.status_code),
        Branch("fFlags", "uint8", "", Frame.particle_flags),
    ),
    (
        Branch("fWeight", "float32", "", lambda f: f.batch[c.WEIGHT][f.particle_events], FINE),
        _particle("fPx", c.MOMENTUM[0]),
        _particle("fPy", c.MOMENTUM[1]),
        _particle("fPz", c.MOMENTUM[2]),
        _particle("fE", c.ENERGY),
        *(_point(name, axis) for axis, name in enumerate(("fVx", "fVy", "fVz", "fVt"))),
    ),
)
# The local frame of a track is turned by alpha = phi, so that sin(phi - alpha) and x vanish and y is dca_xy.
_TRACK = (
    index("fIndexCollisions", "track"),
    _constant("fTrackType", "uint8", TRACK_AT_VERTEX),
    _constant("fX", "float32", unit="cm"),
    _track("fAlpha", c.RECONSTRUCTED[2], FINE),
    _track("fY", c.RECONSTRUCTED[0]),
    _track("fZ", c.RECONSTRUCTED[1]),
    _constant("fSnp", "float32"),
    _track("fTgl", c.RECONSTRUCTED[3], MEDIUM),
    _track("fSigned1Pt", c.RECONSTRUCTED[4], COARSE),
)
_TRACK_COV = (
    *(_sigma(f"fSigma{name}", i) for i, name in enumerate(("Y", "Z", "Snp", "Tgl", "1Pt"))),
    *(
        _rho(f"fRho{name}", i)
        for i, name in enumerate(("ZY", "SnpY", "SnpZ", "TglY", "TglZ", "TglSnp", "1PtY", "1PtZ", "1PtSnp", "1PtTgl"))
    ),
)


def _track_extra(its: Branch, *after_found: Branch) -> tuple[Branch, ...]:
    return (
        _constant("fTPCInnerParam", "float32", unit="GeV"),
        Branch("fFlags", "uint32", "", lambda f: f.track(c.IS_CONTRIBUTOR) * PV_CONTRIBUTOR),
        its,
        _constant("fTPCNClsFindable", "uint8"),
        _constant("fTPCNClsFindableMinusFound", "int8"),
        *after_found,
        _constant("fTPCNClsFindableMinusCrossedRows", "int8"),
        *_constants("uint8", "fTPCNClsShared", "fTRDPattern"),
        *_constants("float32", "fITSChi2NCl", "fTPCChi2NCl", "fTRDChi2"),
        _constant("fTOFChi2", "float32", -1.0),  # below 0: no TOF
        *_constants("float32", "fTPCSignal", "fTRDSignal"),
        _constant("fLength", "float32", unit="cm"),
        _constant("fTOFExpMom", "float32", unit="GeV"),
        _constant("fTrackEtaEMCAL", "float32", NO_EMCAL),
        _constant("fTrackPhiEMCAL", "float32", NO_EMCAL),
        _constant("fTrackTime", "float32", unit="ns"),
        _constant("fTrackTimeRes", "float32", TRACK_TIME_RES, "ns"),
    )


def _generator(column: c.Column, name: str, dtype: str = "float32") -> Branch:
    """What the generator may give: -1 for integers and 0 for others if it does not."""

    def values(frame: Frame) -> Any:
        return np.nan_to_num(frame.batch[column], nan=UNKNOWN if dtype == "int32" else 0.0)

    return Branch(name, dtype, column.unit, values)


# By the version that a reader asks for: the current ones are the last.
VERSIONS: dict[str, dict[int, Tree]] = {
    "bc": {0: Tree("event", _BC), 1: Tree("event", (*_BC, _constant("fInputMask", "uint64")))},
    "collision": {
        0: Tree("event", (*_COLLISION[0], *_vertex_cov("XX", "XY", "XZ", "YY", "YZ", "ZZ"), *_COLLISION[1])),
        1: Tree("event", (*_COLLISION[0], *_vertex_cov("XX", "XY", "YY", "XZ", "YZ", "ZZ"), *_COLLISION[1])),
    },
    "mccollision": {
        0: Tree("event", _MC_COLLISION),
        1: Tree("event", (*_MC_COLLISION, _event("fEventPlaneAngle", c.EVENT_PLANE_ANGLE))),
    },
    "mcparticle": {
        0: Tree(
            "particle",
            (
                *_MC_PARTICLE[0],
                *(
                    _relative(f"fIndexMcParticles_{name}{column}", which, column)
                    for name, which in (("Mother", "mothers"), ("Daughter", "daughters"))
                    for column in (0, 1)
                ),
                *_MC_PARTICLE[1],
            ),
        ),
        1: Tree(
            "particle",
            (
                *_MC_PARTICLE[0],
                Branch("fIndexArray_Mothers", "var * int32", "", Frame.mother_lists),
                Branch("fIndexSlice_Daughters", ("i4", (2,)), "", lambda f: f.daughters),
                *_MC_PARTICLE[1],
            ),
        ),
    },
    "trackextra": {
        0: Tree("track", _track_extra(_constant("fITSClusterMap", "uint8", ITS_HITS))),
        1: Tree("track", _track_extra(_constant("fITSClusterSizes", "uint32"))),
        2: Tree(
            "track",
            _track_extra(_constant("fITSClusterSizes", "uint32"), _constant("fTPCNClsFindableMinusPID", "int8")),
        ),
    },
}
_RECONSTRUCTED: dict[str, Tree] = {
    "O2collalice3": Tree("event", (_event("fMultDensity", c.DNCH_DETA),)),
    "O2tracksalice3": Tree("track", (_constant("fIsReconstructed", "bool", 1),)),
}
_TRUTH: dict[str, Tree] = {
    "O2mccollisionlabel": Tree("event", (index("fIndexMcCollisions"), _constant("fMcMask", "uint16"))),
    "O2mctracklabel": Tree(
        "track", (Branch("fIndexMcParticles", "int32", "", Frame.track_labels), _constant("fMcMask", "uint16"))
    ),
    "O2hepmcxsection": Tree(
        "event",
        (
            index("fIndexMcCollisions"),
            _constant("fGeneratorsID", "int16"),
            *_constants("uint64", "fAccepted", "fAttempted"),
            _generator(c.CROSS_SECTION[0], "fXsectGen"),
            _generator(c.CROSS_SECTION[1], "fXsectErr"),
            _constant("fPtHard", "float32", UNKNOWN, "GeV"),
            _constant("fNMPI", "int32", UNKNOWN),
            _constant("fProcessId", "int32", UNKNOWN),
        ),
        c.CROSS_SECTION[0],
    ),
    "O2hepmcpdfinfo": Tree(
        "event",
        (
            index("fIndexMcCollisions"),
            _constant("fGeneratorsID", "int16"),
            _generator(c.PARTONS[0], "fId1", "int32"),
            _generator(c.PARTONS[1], "fId2", "int32"),
            _constant("fPdfId1", "int32", UNKNOWN),
            _constant("fPdfId2", "int32", UNKNOWN),
            *(_generator(c.PARTONS[i], name) for i, name in enumerate(("fX1", "fX2", "fScalePdf", "fPdf1", "fPdf2"), 2)),
        ),
        c.PARTONS[0],
    ),
    "O2hepmcheavyion": Tree(
        "event",
        (
            index("fIndexMcCollisions"),
            _constant("fGeneratorsID", "int16"),
            *(_generator(c.HEAVY_ION[i], n, "int32") for i, n in enumerate(("fNcollHard", "fNpartProj", "fNpartTarg", "fNcoll"))),
            _constant("fNNwoundedCollisions", "int32", UNKNOWN),
            _constant("fNwoundedNCollisions", "int32", UNKNOWN),
            _constant("fNwoundedNwoundedCollisions", "int32", UNKNOWN),
            _constant("fSpectatorNeutrons", "int32", UNKNOWN),
            _constant("fSpectatorProtons", "int32", UNKNOWN),
            _generator(c.IMPACT_PARAMETER, "fImpactParameter"),
            _generator(c.EVENT_PLANE_ANGLE, "fEventPlaneAngle"),
            *_constants("float32", "fEccentricity", "fSigmaInelNN", "fCentrality"),
        ),
        c.HEAVY_ION[3],
    ),
}  # fmt: skip


def _empty(text: str) -> Tree:
    """Branches of detectors that are not simulated, in ROOT's letters: "fTime/F" a number, "[]" a list, "[4]" four."""
    letters = {
        "F": "float32",
        "b": "uint8",
        "B": "int8",
        "s": "uint16",
        "S": "int16",
        "i": "uint32",
        "I": "int32",
        "l": "uint64",
    }
    branches = []
    for word in text.split():
        name, _, letter = word.partition("/")
        name, bracket, size = name.partition("[")
        dtype: Any = letters[letter]
        if bracket:
            dtype = f"var * {dtype}" if size == "]" else (dtype, (int(size[:-1]),))
        branches.append(Branch(name, dtype, "", 0))
    return Tree("none", tuple(branches))


_FWD_COV = (
    "fSigmaX/F fSigmaY/F fSigmaPhi/F fSigmaTgl/F fSigma1Pt/F fRhoXY/B {} fRhoTglX/B fRhoTglY/B fRhoTglPhi/B fRho1PtX/B "
)
_FWD_COV += "fRho1PtY/B fRho1PtPhi/B fRho1PtTgl/B"
# What event selection and strangeness tasks subscribe to: they run on empty tables, not without them.
EMPTY: dict[str, Tree] = {
    name: _empty(text)
    for name, text in {
        "O2ambiguoustrack": "fIndexTracks/I fIndexSliceBCs[2]/I",
        "O2ambiguousmfttr": "fIndexMFTTracks/I fIndexSliceBCs[2]/I",
        "O2ambiguousfwdtr": "fIndexFwdTracks/I fIndexSliceBCs[2]/I",
        "O2ft0": "fIndexBCs/I fAmplitudeA[]/F fChannelA[]/b fAmplitudeC[]/F fChannelC[]/b fTimeA/F fTimeC/F fTriggerMask/b",
        "O2fv0a": "fIndexBCs/I fAmplitude[]/F fChannel[]/b fTime/F fTriggerMask/b",
        "O2fdd_001": "fIndexBCs/I fChargeA[8]/S fChargeC[8]/S fTimeA/F fTimeC/F fTriggerMask/b",
        "O2zdc_001": "fIndexBCs/I fEnergy[]/F fChannelE[]/b fAmplitude[]/F fTime[]/F fChannelT[]/b",
        "O2calo": "fIndexBCs/I fCellNumber/S fAmplitude/F fTime/F fCellType/B fCaloType/B",
        "O2calotrigger": "fIndexBCs/I fFastOrAbsID/S fLnAmplitude/S fTriggerBits/I fCaloType/B",
        "O2mccalolabel_001": "fIndexArrayMcParticles[]/I fAmplitudeA[]/F",
        "O2cpvcluster": "fIndexBCs/I fPosX/F fPosZ/F fAmplitude/F fClusterStatus/b",
        "O2hmpid_001": "fIndexTracks/I fHMPIDSignal/F fHMPIDXTrack/F fHMPIDYTrack/F fHMPIDXMip/F fHMPIDYMip/F fHMPIDNPhotons/I "
        "fHMPIDQMip/F fHMPIDClusSize/I fHMPIDMom/F fHMPIDPhotsCharge[10]/F",
        "O2v0_002": "fIndexCollisions/I fIndexTracks_Pos/I fIndexTracks_Neg/I fV0Type/b",
        "O2cascade_001": "fIndexCollisions/I fIndexV0s/I fIndexTracks/I",
        "O2decay3body": "fIndexCollisions/I fIndexTracks_0/I fIndexTracks_1/I fIndexTracks_2/I",
        "O2trackedcascade": "fIndexTracks/I fIndexTracks_ITS/I fIndexCascades/I fDecayX/F fDecayY/F fDecayZ/F fXiMass/F "
        "fOmegaMass/F fMatchingChi2/F fTopologyChi2/F fITSclsSize/F",
        "O2mfttrack_001": "fIndexCollisions/I fX/F fY/F fZ/F fPhi/F fTgl/F fSigned1Pt/F fMFTClusterSizesAndTrackFlags/l "
        "fChi2/F fTrackTime/F fTrackTimeRes/F",
        "O2mfttrackcov": "fIndexMFTTracks/I " + _FWD_COV.format("fRhoPhiX/B fRhoPhiY/B"),
        "O2mcmfttracklabel": "fIndexMcParticles/I fMcMask/b",
        "O2fwdtrack": "fIndexCollisions/I fTrackType/b fX/F fY/F fZ/F fPhi/F fTgl/F fSigned1Pt/F fNClusters/B fPDca/F "
        "fRAtAbsorberEnd/F fChi2/F fChi2MatchMCHMID/F fChi2MatchMCHMFT/F fMatchScoreMCHMFT/F fIndexMFTTracks/I "
        "fIndexFwdTracks_MatchMCHTrack/I fMCHBitMap/s fMIDBitMap/b fMIDBoards/i fTrackTime/F fTrackTimeRes/F",
        "O2fwdtrackcov": _FWD_COV.format("fRhoPhiY/B fRhoPhiX/B"),
        "O2mcfwdtracklabel": "fIndexMcParticles/I fMcMask/b",
        "O2fwdtrkcl": "fIndexFwdTracks/I fX/F fY/F fZ/F fClInfo/s",
    }.items()
}  # fmt: skip


def trees(output: Output) -> dict[str, Tree]:
    """The trees of a data frame, by name, as the card asks for them."""
    options = output.ao2d
    suffix = "_iu" if options.tracks == "track_iu" else ""
    versions = options.versions.model_dump()
    versioned = {
        f"O2{name}_{versions[name]:03d}" if versions[name] else f"O2{name}": tables[versions[name]]
        for name, tables in VERSIONS.items()
    }
    tracks = {f"O2track{suffix}": Tree("track", _TRACK), f"O2trackcov{suffix}": Tree("track", _TRACK_COV)}
    wanted = {**versioned, **tracks, **_RECONSTRUCTED, **_TRUTH, **(EMPTY if options.empty_tables else {})}
    return {
        name: tree
        for name, tree in wanted.items()
        if output.truth != "none" or not name.startswith(("O2mc", "O2hepmc"))
    }
