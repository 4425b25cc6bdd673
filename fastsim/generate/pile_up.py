"""Pile-up: other collisions of the same bunch crossing, taken from minimum-bias events, laid over each event.

The events' own rows stay where they are; the others follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.events import EventBatch, offsets_from_counts
from fastsim.generate.beam_spot import BeamSpot, draw_places
from fastsim.generate.draws import poisson_1
from fastsim.jit import kernel
from fastsim.rng import EVENT_LEVEL, uniforms_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.columns import Table
    from fastsim.rng import Streams


class PileUp(BeamSpot):
    """[pile_up]: how many other collisions there are, and where; their own places in `file` are added to that.

    The event's own collision is not at the pile-up's mean but at a place of its own: see [beam_spot].
    """

    file: Annotated[
        str | list[str], Field(min_length=1, description="minimum-bias events to draw from, with replacement")
    ]
    mean: Annotated[float, Field(ge=0, le=1000, description="mean number of other collisions in an event")]
    distribution: Annotated[
        Literal["poisson", "fixed"], Field(description='of that number; "fixed": the mean, a whole number, always')
    ] = "poisson"

    @model_validator(mode="after")
    def _fixed_is_whole(self) -> Self:
        if self.distribution == "fixed" and self.mean != int(self.mean):
            raise ValueError(f"mean must be a whole number if distribution is 'fixed' (it is {self.mean:g})")
        return self


class _Segments(NamedTuple):
    """The result in order: each event's own rows (collision 0), then its pile-up collisions; arrays (n_segments,)."""

    offsets: NDArray[np.int64]  # (n_events + 1,)
    event: NDArray[np.int64]
    collision: NDArray[np.int64]
    source: NDArray[np.int64]  # position of the minimum-bias event, 0 for collision 0


def overlay(batch: EventBatch, minimum_bias: EventBatch, options: PileUp, streams: Streams) -> EventBatch:
    """A batch of the same events with pile-up particles and vertices behind their own; event columns are unchanged.

    Both batches have the columns of `columns.READ`. Draws are addressed by event and collision (streams "pile_up/...").
    """
    if minimum_bias.n_events == 0:
        names = [options.file] if isinstance(options.file, str) else options.file
        raise InputError("there are no events to draw pile-up from", where=", ".join(names))
    segments = _draw_segments(batch[c.EVENT_ID], minimum_bias.n_events, options, streams)
    own = segments.collision == 0
    columns = dict(batch.columns)
    offsets = dict(batch.offsets)
    counts = {}
    tables: tuple[Table, ...] = ("particle", "vertex")
    for table in tables:
        ours, theirs = batch.offsets[table], minimum_bias.offsets[table]
        starts = np.where(own, ours[segments.event], theirs[segments.source])
        counts[table] = np.where(own, np.diff(ours)[segments.event], np.diff(theirs)[segments.source])
        offsets[table] = offsets_from_counts(counts[table])[segments.offsets]
        for column in [name for name in batch.columns if name.table == table]:
            columns[column] = np.empty(int(offsets[table][-1]), dtype=column.dtype)
            _gather(batch[column], minimum_bias[column], own, starts, counts[table], columns[column])
    vertices_before = offsets_from_counts(counts["vertex"])[:-1] - offsets["vertex"][segments.event]
    for column in (c.PRODUCTION_VERTEX, c.END_VERTEX):
        _renumber(vertices_before, counts["particle"], columns[column])
    columns[c.COLLISION] = np.repeat(segments.collision, counts["particle"]).astype(c.COLLISION.dtype)
    key = streams.key("pile_up/position")
    places = draw_places(options, batch[c.EVENT_ID][segments.event], segments.collision, key)
    places[:, own] = 0.0
    for column, place in zip(c.VERTEX_POSITION, places, strict=True):
        columns[column] += np.repeat(place, counts["vertex"])
    return EventBatch(offsets, columns)


def _draw_segments(ids: NDArray[np.uint64], n_minimum_bias: int, options: PileUp, streams: Streams) -> _Segments:
    numbers = np.full(len(ids), int(options.mean), dtype=np.int64)
    if options.distribution == "poisson":
        _draw_numbers(options.mean, ids, *streams.key("pile_up/number"), numbers)
    offsets = offsets_from_counts(numbers + 1)
    event = np.repeat(np.arange(len(ids)), numbers + 1)
    collision = np.arange(len(event)) - offsets[event]
    source = np.zeros(len(event), dtype=np.int64)
    _choose(n_minimum_bias, ids[event], collision, *streams.key("pile_up/event"), source)
    return _Segments(offsets, event, collision, source)


@kernel
def _draw_numbers(
    mean: float, ids: NDArray[np.uint64], k0: np.uint64, k1: np.uint64, numbers: NDArray[np.int64]
) -> None:
    for i in range(len(ids)):
        numbers[i] = poisson_1(mean, 0, EVENT_LEVEL, ids[i], k0, k1)


@kernel
def _choose(
    n: int,
    ids: NDArray[np.uint64],
    collision: NDArray[np.int64],
    k0: np.uint64,
    k1: np.uint64,
    source: NDArray[np.int64],
) -> None:
    for i in range(len(ids)):
        if collision[i] > 0:
            u, _ = uniforms_1(0, collision[i], ids[i], k0, k1)
            source[i] = int(u * n)


@kernel
def _gather(
    own: NDArray[Any],
    other: NDArray[Any],
    is_own: NDArray[np.bool_],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    merged: NDArray[Any],
) -> None:
    """Put segments of `own` and `other` behind one another into `merged`."""
    at = 0
    for i in range(len(starts)):
        for k in range(counts[i]):
            merged[at + k] = own[starts[i] + k] if is_own[i] else other[starts[i] + k]
        at += counts[i]


@kernel
def _renumber(vertices_before: NDArray[np.int64], counts: NDArray[np.int64], vertex: NDArray[np.int32]) -> None:
    """Positions among an event's vertices, in place, from positions among those of each segment; -1 stays."""
    at = 0
    for i in range(len(counts)):
        for row in range(at, at + counts[i]):
            if vertex[row] >= 0:
                vertex[row] += vertices_before[i]
        at += counts[i]
