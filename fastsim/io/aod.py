"""The AO2D door: our columns under the names, types and units of ALICE's analysis data model.

One table of branches a tree, below. Sources: AliceO2 Framework/Core/include/Framework/AnalysisDataModel.h (versions and
columns as of O2Physics' ALICE 3 on-the-fly tracker of 2026), Detectors/AOD/src/AODProducerWorkflowSpec.cxx (packing).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from fastsim import columns as c
from fastsim.errors import CardError
from fastsim.events import production_points
from fastsim.io.rootio import RootFile
from fastsim.kernels.ancestry import link_family

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from fastsim.cards.schema import Output
    from fastsim.events import EventBatch

TRACK_AT_VERTEX = 1  # o2::aod::track::TrackTypeEnum::Track: parameters at closest approach
PV_CONTRIBUTOR = 0x2  # o2::aod::track::TrackFlags
PRODUCED_BY_TRANSPORT, FROM_BACKGROUND_EVENT, PHYSICAL_PRIMARY = 0x1, 0x2, 0x4  # o2::aod::mcparticle::enums
DECAY_PROCESS = 4  # TMCProcess kPDecay: the status of particles "produced by transport"
STATUS_ENCODED = 5  # o2::mcgenstatus::MCGenStatusEncoding, bits 29-31
NO_EMCAL = -999.0  # the official missing value of positions at the EMCal
NO_RUN = -1
MAX_ROWS = 2**31 - 1  # rows are named by int32 within a data frame
TRACK_TIME_RES = 100.0  # ns: no timing detector; DelphesO2 smears its track times by as much

_OFF_DIAGONAL = [1, 3, 4, 6, 7, 8, 10, 11, 12, 13]  # in the packed covariance, in the order of fRho*
_DIAGONAL = [0, 2, 5, 9, 14]


class Frame(NamedTuple):
    """Some events of one data frame: where they start in it, and the order and links of what is written."""

    batch: EventBatch
    n_events: int
    n_particles: int
    particles: NDArray[np.int64]  # rows in the order of writing: siblings stand together
    particle_row: NDArray[np.int64]  # row in the frame of each particle of the batch
    mothers: tuple[NDArray[np.int64], NDArray[np.int32]]
    daughters: NDArray[np.int32]
    points: NDArray[np.float64]  # where and when each particle was produced (n, 4)
    tracks: NDArray[np.int64]  # rows of reconstructed tracks
    sigma: NDArray[np.float64]
    rho: NDArray[np.int8]

    def event(self, column: c.Column) -> NDArray[Any]:
        """An event column, NaN as 0 (the data model has no missing values)."""
        return np.asarray(np.nan_to_num(self.batch[column]) if column.dtype == "float64" else self.batch[column])

    def event_rows(self) -> NDArray[np.int64]:
        """Rows of the events in the frame."""
        return np.arange(self.n_events, self.n_events + self.batch.n_events)

    def particle(self, column: c.Column) -> NDArray[Any]:
        """A particle column in the order of writing."""
        return np.asarray(self.batch[column][self.particles])

    def track(self, column: c.Column) -> NDArray[Any]:
        """A track column of the reconstructed ones."""
        return np.asarray(self.batch[column][self.tracks])

    def track_particles(self) -> NDArray[np.int64]:
        """Rows (in the batch) of the tracks' particles."""
        events = self.batch.event_index("track")[self.tracks]
        return np.asarray(self.batch.offsets["particle"][events] + self.track(c.PARTICLE_INDEX))


class Branch(NamedTuple):
    """Name, type and unit of a branch, and how it is filled: a number, or a function of the frame."""

    name: str
    dtype: Any
    unit: str
    source: float | Callable[[Frame], Any]


def _constant(name: str, dtype: str, value: float = 0, unit: str = "") -> Branch:
    return Branch(name, dtype, unit, value)


def _event(name: str, column: c.Column) -> Branch:
    return Branch(name, "float32", column.unit, lambda f: f.event(column))


def _particle(name: str, column: c.Column, dtype: str = "float32") -> Branch:
    return Branch(name, dtype, column.unit, lambda f: f.particle(column))


def _point(name: str, axis: int) -> Branch:
    return Branch(name, "float32", c.VERTEX_POSITION[axis].unit, lambda f: f.points[f.particles, axis])


def _track(name: str, column: c.Column) -> Branch:
    return Branch(name, "float32", column.unit, lambda f: f.track(column))


def _sigma(name: str, index: int) -> Branch:
    return Branch(name, "float32", c.PARAMETER_UNITS[index], lambda f: f.sigma[:, index])


def _rho(name: str, index: int) -> Branch:
    return Branch(name, "int8", "1/128", lambda f: f.rho[:, index])


def _vertex_cov(name: str, index: int) -> Branch:
    return Branch(name, "float32", "cm^2", lambda f: f.event(c.VERTEX_COV)[:, index])


def _status_code(frame: Frame) -> NDArray[Any]:
    """Generator particles: HepMC status in bits 0-8, encoded by 5 in bits 29-31. Others: the process that made them."""
    status = frame.particle(c.STATUS).astype(np.int64)
    encoded = (status & 0x1FF) | ((status & 0x3FF) << 9) | (STATUS_ENCODED << 29)
    signed = encoded.astype(np.uint32).view(np.int32)
    return np.asarray(np.where(frame.particle(c.FROM_LONG_LIVED), DECAY_PROCESS, signed))


def _particle_flags(frame: Frame) -> NDArray[Any]:
    return np.asarray(
        frame.particle(c.FROM_LONG_LIVED) * PRODUCED_BY_TRANSPORT
        + (frame.particle(c.COLLISION) > 0) * FROM_BACKGROUND_EVENT
        + frame.particle(c.IS_PRIMARY) * PHYSICAL_PRIMARY
    )


def _track_flags(frame: Frame) -> NDArray[Any]:
    return frame.track(c.IS_CONTRIBUTOR) * PV_CONTRIBUTOR


TREES: dict[str, tuple[Branch, ...]] = {
    "O2bc_001": (
        _constant("fRunNumber", "int32", NO_RUN),
        Branch("fGlobalBC", "uint64", "", lambda f: f.event(c.EVENT_ID)),  # must ascend strictly
        _constant("fTriggerMask", "uint64"),
        _constant("fInputMask", "uint64"),
    ),
    "O2collision_001": (
        Branch("fIndexBCs", "int32", "", Frame.event_rows),
        _event("fPosX", c.VERTEX[0]),
        _event("fPosY", c.VERTEX[1]),
        _event("fPosZ", c.VERTEX[2]),
        *(_vertex_cov(f"fCov{name}", i) for i, name in enumerate(("XX", "XY", "YY", "XZ", "YZ", "ZZ"))),
        _constant("fFlags", "uint16"),
        _event("fChi2", c.VERTEX_CHI2),
        Branch("fNumContrib", "uint16", "", lambda f: np.minimum(f.event(c.N_CONTRIBUTORS), 65535)),
        _constant("fCollisionTime", "float32", unit="ns"),
        _constant("fCollisionTimeRes", "float32", unit="ns"),
    ),
    "O2collalice3": (_event("fMultDensity", c.DNCH_DETA),),
    "O2mccollisionlabel": (
        Branch("fIndexMcCollisions", "int32", "", Frame.event_rows),
        _constant("fMcMask", "uint16"),
    ),
    "O2mccollision_001": (
        Branch("fIndexBCs", "int32", "", Frame.event_rows),
        _constant("fGeneratorsID", "int16"),
        _event("fPosX", c.VERTEX_TRUE[0]),
        _event("fPosY", c.VERTEX_TRUE[1]),
        _event("fPosZ", c.VERTEX_TRUE[2]),
        _event("fT", c.VERTEX_TRUE[3]),
        _event("fWeight", c.WEIGHT),
        _event("fImpactParameter", c.IMPACT_PARAMETER),
        _event("fEventPlaneAngle", c.EVENT_PLANE_ANGLE),
    ),
    "O2mcparticle_001": (
        Branch("fIndexMcCollisions", "int32", "", lambda f: f.n_events + f.batch.event_index("particle")[f.particles]),
        _particle("fPdgCode", c.PDG, "int32"),
        Branch("fStatusCode", "int32", "", _status_code),
        Branch("fFlags", "uint8", "", _particle_flags),
        Branch("fIndexArray_Mothers", "var * int32", "", lambda f: f.mothers),
        Branch("fIndexSlice_Daughters", ("i4", (2,)), "", lambda f: f.daughters),
        Branch("fWeight", "float32", "", lambda f: f.batch[c.WEIGHT][f.batch.event_index("particle")[f.particles]]),
        _particle("fPx", c.MOMENTUM[0]),
        _particle("fPy", c.MOMENTUM[1]),
        _particle("fPz", c.MOMENTUM[2]),
        _particle("fE", c.ENERGY),
        *(_point(name, axis) for axis, name in enumerate(("fVx", "fVy", "fVz", "fVt"))),
    ),
    # The local frame of a track is turned by alpha = phi, so that sin(phi - alpha) and x vanish and y is dca_xy.
    "O2track": (
        Branch("fIndexCollisions", "int32", "", lambda f: f.n_events + f.batch.event_index("track")[f.tracks]),
        _constant("fTrackType", "uint8", TRACK_AT_VERTEX),
        _constant("fX", "float32", unit="cm"),
        _track("fAlpha", c.RECONSTRUCTED[2]),
        _track("fY", c.RECONSTRUCTED[0]),
        _track("fZ", c.RECONSTRUCTED[1]),
        _constant("fSnp", "float32"),
        _track("fTgl", c.RECONSTRUCTED[3]),
        _track("fSigned1Pt", c.RECONSTRUCTED[4]),
    ),
    "O2trackcov": (
        *(_sigma(name, i) for i, name in enumerate(("fSigmaY", "fSigmaZ", "fSigmaSnp", "fSigmaTgl", "fSigma1Pt"))),
        *(
            _rho(f"fRho{name}", i)
            for i, name in enumerate(
                ("ZY", "SnpY", "SnpZ", "TglY", "TglZ", "TglSnp", "1PtY", "1PtZ", "1PtSnp", "1PtTgl")
            )
        ),
    ),
    "O2trackextra_002": (
        _constant("fTPCInnerParam", "float32", unit="GeV"),
        Branch("fFlags", "uint32", "", _track_flags),
        _constant("fITSClusterSizes", "uint32"),  # the tables know no hits: 0, as the ALICE 3 on-the-fly tracker
        _constant("fTPCNClsFindable", "uint8"),
        _constant("fTPCNClsFindableMinusFound", "int8"),
        _constant("fTPCNClsFindableMinusPID", "int8"),
        _constant("fTPCNClsFindableMinusCrossedRows", "int8"),
        _constant("fTPCNClsShared", "uint8"),
        _constant("fTRDPattern", "uint8"),
        _constant("fITSChi2NCl", "float32"),
        _constant("fTPCChi2NCl", "float32"),
        _constant("fTRDChi2", "float32"),
        _constant("fTOFChi2", "float32", -1.0),  # below 0: no TOF
        _constant("fTPCSignal", "float32"),
        _constant("fTRDSignal", "float32"),
        _constant("fLength", "float32", unit="cm"),
        _constant("fTOFExpMom", "float32", unit="GeV"),
        _constant("fTrackEtaEMCAL", "float32", NO_EMCAL),
        _constant("fTrackPhiEMCAL", "float32", NO_EMCAL),
        _constant("fTrackTime", "float32", unit="ns"),
        _constant("fTrackTimeRes", "float32", TRACK_TIME_RES, "ns"),
    ),
    "O2mctracklabel": (
        Branch("fIndexMcParticles", "int32", "", lambda f: f.particle_row[f.track_particles()]),
        _constant("fMcMask", "uint16"),
    ),
}
_NEEDS: tuple[c.Column, ...] = (
    c.EVENT_ID, c.WEIGHT, c.IMPACT_PARAMETER, c.EVENT_PLANE_ANGLE, *c.VERTEX_TRUE, *c.VERTEX_POSITION, c.PDG, c.STATUS,
    *c.MOMENTUM, c.ENERGY, c.PRODUCTION_VERTEX, c.END_VERTEX, c.COLLISION, c.FROM_LONG_LIVED, c.IS_PRIMARY, c.DNCH_DETA,
    c.PARTICLE_INDEX, c.IS_RECONSTRUCTED, *c.RECONSTRUCTED, c.COV_PACKED, *c.VERTEX, c.VERTEX_COV, c.VERTEX_CHI2,
    c.N_CONTRIBUTORS, c.IS_CONTRIBUTOR,
)  # fmt: skip


def needs(output: Output) -> tuple[c.Column, ...]:
    """Columns that the trees are made of."""
    del output
    return _NEEDS


def units(output: Output) -> dict[str, str]:
    """Units of the branches."""
    del output
    return {f"{tree}.{b.name}": b.unit for tree, branches in TREES.items() for b in branches if b.unit}


def open_writer(path: Path, output: Output) -> AodWriter:
    """A new AO2D file."""
    return AodWriter(path, output)


def _family(
    batch: EventBatch, n_before: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[Any, Any], NDArray[np.int32]]:
    """Order of writing, row of each particle, mothers (at most first and last, as the official producer), daughters.

    Daughters are written as a range, so siblings are brought together, behind the first of them.
    """
    n = batch.n_rows("particle")
    order, row = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    mothers, daughters = np.empty((n, 2), dtype=np.int32), np.empty((n, 2), dtype=np.int32)
    link_family(
        batch.offsets["particle"], batch.offsets["vertex"], batch[c.PRODUCTION_VERTEX], batch[c.END_VERTEX], n_before,
        order, row, mothers, daughters,
    )  # fmt: skip
    counts = (mothers[:, 0] >= 0).astype(np.int64) + (mothers[:, 1] > mothers[:, 0])
    return order, row, (counts, mothers[np.arange(2) < counts[:, None]]), daughters


def _frame(batch: EventBatch, n_events: int, n_particles: int) -> Frame:
    order, row, mothers, daughters = _family(batch, n_particles)
    tracks = np.flatnonzero(batch[c.IS_RECONSTRUCTED])
    packed = batch[c.COV_PACKED][tracks]
    sigma = np.sqrt(packed[:, _DIAGONAL])
    i, j = np.tril_indices(5, -1)
    rho = np.trunc(128.0 * packed[:, _OFF_DIAGONAL] / (sigma[:, i] * sigma[:, j]))
    return Frame(
        batch,
        n_events,
        n_particles,
        order,
        row,
        mothers,
        daughters,
        production_points(batch),
        tracks,
        sigma,
        np.clip(rho, -127, 127).astype(np.int8),
    )


class AodWriter:
    """Writes batches to an AO2D file. Data frames are cut by event id, so their content depends on nothing else."""

    def __init__(self, path: Path, output: Output) -> None:
        self._events_per_frame = output.events_per_frame
        self._frame_number = -1
        self._n_events = 0
        self._n_particles = 0
        self.file = RootFile(path, compression_level=output.compression_level)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.__exit__(kind, error, trace)

    def write(self, batch: EventBatch) -> None:
        """Add the events of a batch."""
        number = (batch[c.EVENT_ID] // np.uint64(self._events_per_frame)).astype(np.int64)
        starts = [*np.flatnonzero(np.diff(number, prepend=-1)), batch.n_events]
        for first, end in itertools.pairwise(starts):
            self._start_frame(int(number[first]))
            frame = _frame(batch.slice_events(int(first), int(end)), self._n_events, self._n_particles)
            for tree, branches in TREES.items():
                self.file.extend(f"{self._directory}/{tree}", {b.name: _fill(b, frame, tree) for b in branches})
            self._n_events += frame.batch.n_events
            self._n_particles += frame.batch.n_rows("particle")
            if self._n_particles > MAX_ROWS:
                raise CardError(
                    [f"output.events_per_frame: data frame {self._frame_number} would hold over 2^31 particles"],
                    hint="lower output.events_per_frame",
                )

    def close(self, texts: Mapping[str, str]) -> None:
        """Finish the file; a run without events gives one empty data frame."""
        if self._frame_number < 0:
            self._start_frame(0)
        self.file.close(texts)

    @property
    def _directory(self) -> str:
        return f"DF_{self._frame_number}"

    def _start_frame(self, number: int) -> None:
        if number == self._frame_number:
            return
        self.file.close_trees()
        self._frame_number = number
        self._n_events = self._n_particles = 0
        for tree, branches in TREES.items():
            types = {b.name: np.dtype(b.dtype) if not str(b.dtype).startswith("var") else b.dtype for b in branches}
            self.file.add_tree(f"{self._directory}/{tree}", types)


_ROWS = {
    "O2mcparticle_001": "particle",
    "O2track": "track",
    "O2trackcov": "track",
    "O2trackextra_002": "track",
    "O2mctracklabel": "track",
}


def _fill(branch: Branch, frame: Frame, tree: str) -> Any:
    """Values of a branch in its type."""
    if callable(branch.source):
        values = branch.source(frame)
        if isinstance(values, tuple):
            return values
        return np.ascontiguousarray(values, dtype=np.dtype(branch.dtype).base)
    table = _ROWS.get(tree, "event")
    n = {"event": frame.batch.n_events, "particle": len(frame.particles), "track": len(frame.tracks)}[table]
    return np.full(n, branch.source, dtype=branch.dtype)
