"""What a source of events is: files in some format, a particle gun, a generator in this process.

A source gives blocks. A block is cheap to send to a worker process, which reads it: `read` is a pure function of the block,
so that the number of workers and the cut into blocks change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from fastsim import columns as c
from fastsim.events import Columns, EventBatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from fastsim.columns import Column, Table
    from fastsim.errors import InputError


class Range(NamedTuple):
    """Events `first` (included) to `end` (excluded, None for all), by their position in the whole input."""

    first: int = 0
    end: int | None = None


class Limits(NamedTuple):
    """How large a block may get: so many events, or about so many particles; one event may hold more."""

    events: int
    particles: int


class Read(NamedTuple):
    """The events of a block: all columns of `columns.READ`; and those that could not be read, with the reason.

    Events that could not be read are not in the batch. Their places in the numbering stay.
    """

    batch: EventBatch
    bad: list[tuple[int, InputError]]


class Block(Protocol):
    """Some consecutive events of one input."""

    @property
    def path(self) -> str:
        """Name of the input, for messages."""
        ...

    @property
    def bytes_read(self) -> int:
        """Bytes of this input that are read when the block is done, for the progress bar."""
        ...

    def read(self) -> Read:
        """The events; never raises for a bad one."""
        ...


@dataclass(frozen=True)
class InputRecord:
    """What provenance says of an input.

    sha256 of the file as it lies on disk (or of what stands for it, such as the settings of a generator), the position of
    its first event in the whole input, how many events it gave (those before and after the chosen range included, as far
    as it was read), and what its header says: weight names, generators.
    """

    name: str
    sha256: str
    first_event: int
    n_events: int
    info: Mapping[str, Any] = field(default_factory=dict)

    def has(self, events: tuple[int, int]) -> bool:
        """Whether it holds events of a range (first, end)."""
        return max(self.first_event, events[0]) < min(self.first_event + self.n_events, events[1])


class Source(Protocol):
    """One input, open. Opening it raises InputError if it is not what it should be."""

    def blocks(self, first_event: int, events: Range, limits: Limits) -> Iterator[Block]:
        """Blocks of the chosen events. `first_event` is the position of this input's first event in the whole input.

        What is not chosen is not parsed. Ends when the input or the range does. Raises InputError where the input is
        damaged beyond single events.
        """
        ...

    def record(self) -> InputRecord:
        """What was read; to be asked once, after the last block."""
        ...

    def close(self) -> None:
        """Let go of files and threads."""
        ...


DEFAULTS: dict[Column, float] = {
    c.WEIGHT: 1.0,
    **dict.fromkeys((*c.HEAVY_ION, *c.CROSS_SECTION, *c.PARTONS, c.DNCH_DETA_GIVEN), np.nan),
    c.COLLISION: 0,
}


def make_batch(offsets: Mapping[Table, NDArray[np.int64]], columns: Columns) -> EventBatch:
    """A batch with all columns of `columns.READ`: those that a source does not know get the default.

    `offsets` for particle and vertex (n_events + 1,), and for weight if there is more than one weight an event.
    """
    n_events = len(offsets["particle"]) - 1
    full: dict[Table, NDArray[np.int64]] = {"event": np.arange(n_events + 1, dtype=np.int64), **offsets}
    result = dict(columns)
    for column, value in DEFAULTS.items():
        if column not in result:
            result[column] = np.full(int(full[column.table][-1]), value, dtype=column.dtype)
    if "weight" not in full:
        full["weight"] = full["event"]
        result[c.WEIGHT_VALUE] = result[c.WEIGHT]
    return EventBatch(full, result)


def no_events() -> EventBatch:
    """A batch of none."""
    nothing = np.zeros(1, dtype=np.int64)
    columns = {column: np.zeros((0, *column.shape), dtype=column.dtype) for column in c.READ}
    return make_batch({"particle": nothing, "vertex": nothing, "weight": nothing}, columns)
