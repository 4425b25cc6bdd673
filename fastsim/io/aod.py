"""The AO2D door: ALICE's analysis data, one ROOT directory of TTrees a data frame. What is in them is in `aod_tables`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim import columns as c
from fastsim.errors import CardError
from fastsim.io.aod_devices import trees_of_devices
from fastsim.io.aod_frame import Frame, make_frame
from fastsim.io.aod_tables import FULL, Branch, Tree, trees
from fastsim.io.rootio import FileWriter, RootFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastsim.cards.schema import Output
    from fastsim.events import EventBatch

MAX_ROWS = 2**31 - 1  # rows are named by int32 within a data frame

_NEEDS: tuple[c.Column, ...] = (
    c.EVENT_ID, c.WEIGHT, *c.HEAVY_ION, *c.CROSS_SECTION, *c.PARTONS, *c.VERTEX_TRUE, *c.VERTEX_POSITION, c.PDG, c.STATUS,
    *c.MOMENTUM, c.ENERGY, c.PRODUCTION_VERTEX, c.END_VERTEX, c.COLLISION, c.FROM_LONG_LIVED, c.IS_PRIMARY, c.DNCH_DETA,
    c.PARTICLE_INDEX, c.IS_RECONSTRUCTED, *c.RECONSTRUCTED, c.COV_PACKED, *c.VERTEX, c.VERTEX_COV, c.VERTEX_CHI2,
    c.N_CONTRIBUTORS, c.IS_CONTRIBUTOR,
)  # fmt: skip


def needs(output: Output) -> tuple[c.Column, ...]:
    """Columns that the trees are made of."""
    del output
    return _NEEDS


def units(output: Output, devices: Sequence[c.Column] = ()) -> dict[str, str]:
    """Units of the branches."""
    return {
        f"{name}.{b.name}": b.unit for name, tree in _trees(output, devices).items() for b in tree.branches if b.unit
    }


def _trees(output: Output, devices: Sequence[c.Column]) -> dict[str, Tree]:
    return {**trees(output), **trees_of_devices(devices)}


def open_writer(path: Path, output: Output, devices: Sequence[c.Column] = ()) -> AodWriter:
    """A new AO2D file."""
    return AodWriter(path, output, devices)


class AodWriter(FileWriter):
    """Writes batches to an AO2D file. Data frames are cut by event id, so their content depends on nothing else."""

    def __init__(self, path: Path, output: Output, devices: Sequence[c.Column]) -> None:
        self._events_per_frame = output.events_per_frame
        self._is_truncated = output.ao2d.truncate
        self._trees = _trees(output, devices)
        self._frame_number = -1
        self._n_events = 0
        self._n_particles = 0
        self._n_tracks = 0
        self.file = RootFile(path, compression_level=output.compression_level)

    def write(self, batch: EventBatch) -> None:
        """Add the events of a batch."""
        number = (batch[c.EVENT_ID] // np.uint64(self._events_per_frame)).astype(np.int64)
        starts = [*np.flatnonzero(np.diff(number, prepend=-1)), batch.n_events]
        for first, end in itertools.pairwise(starts):
            self._start_frame(int(number[first]))
            part = batch.slice_events(int(first), int(end))
            frame = make_frame(part, self._n_events, self._n_particles, self._n_tracks)
            for name, tree in self._trees.items():
                columns = self._columns(tree, frame)
                if columns:
                    self.file.extend(f"{self._directory}/{name}", columns)
            self._n_events += frame.batch.n_events
            self._n_particles += frame.batch.n_rows("particle")
            self._n_tracks += len(frame.tracks)
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
        self._n_events = self._n_particles = self._n_tracks = 0
        for name, tree in self._trees.items():
            self.file.add_tree(f"{self._directory}/{name}", {b.name: _type(b.dtype) for b in tree.branches})

    def _columns(self, tree: Tree, frame: Frame) -> dict[str, Any]:
        """What a frame adds to a tree; nothing if it has no rows for it."""
        n_rows = frame.rows(tree.rows)
        given = np.ones(n_rows, dtype=np.bool_)
        if tree.where:
            given = frame.track(tree.where) if tree.where.table == "track" else ~np.isnan(frame.batch[tree.where])
        if not given.any():
            return {}
        columns = {b.name: self._fill(b, frame, n_rows) for b in tree.branches}
        return columns if given.all() else {name: values[given] for name, values in columns.items()}

    def _fill(self, branch: Branch, frame: Frame, n_rows: int) -> Any:
        """Values of a branch in its type and precision."""
        if not callable(branch.source):
            return np.broadcast_to(np.array(branch.source, dtype=branch.dtype), n_rows)  # filled when it is written
        values = branch.source(frame)
        if isinstance(values, tuple):
            return values
        array = np.ascontiguousarray(values, dtype=np.dtype(branch.dtype).base)
        return truncated(array, branch.bits) if self._is_truncated and branch.bits < FULL else array


def truncated(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """float32 values with only the first `bits` of 23 bits of their mantissas, as the official producer truncates them."""
    if values.dtype != np.float32:
        return values
    mask = np.uint32(0xFFFFFFFF << (FULL - bits) & 0xFFFFFFFF)
    return (values.view(np.uint32) & mask).view(np.float32)


def _type(dtype: Any) -> Any:
    """A branch's type as uproot takes it at once: it would parse "var * int32" with a grammar, for 2 ms."""
    if not str(dtype).startswith("var"):
        return np.dtype(dtype)
    from awkward.types import ListType, NumpyType  # noqa: PLC0415

    return ListType(NumpyType(dtype.removeprefix("var * ")))
