"""Beam spot: the place of each collision, drawn from the luminous region. Generators put theirs at the origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import toml
from fastsim.jit import kernel
from fastsim.rng import EVENT_LEVEL, normals_1
from fastsim.units import um

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.events import EventBatch
    from fastsim.rng import Key, Streams


class BeamSpot(toml.Strict):
    """[beam_spot]: Gaussian luminous region, added to where the generator put the collision."""

    x: Annotated[float, Field(ge=-100, le=100, description="mean [cm]")] = 0.0
    y: Annotated[float, Field(ge=-100, le=100, description="mean [cm]")] = 0.0
    z: Annotated[float, Field(ge=-1000, le=1000, description="mean [cm]")] = 0.0
    t: Annotated[float, Field(ge=-1e6, le=1e6, description="mean [ns]")] = 0.0
    sigma_x_um: Annotated[float, Field(ge=0, le=1e6, description="spread [um]")] = 0.0
    sigma_y_um: Annotated[float, Field(ge=0, le=1e6, description="spread [um]")] = 0.0
    sigma_z: Annotated[float, Field(ge=0, le=1000, description="spread [cm]")] = 0.0
    sigma_t: Annotated[float, Field(ge=0, le=1e6, description="spread [ns]")] = 0.0


def draw_places(
    spot: BeamSpot, event_ids: NDArray[np.uint64], collisions: NDArray[np.int64], key: Key
) -> NDArray[np.float64]:
    """Places (4, n) [cm, cm, cm, ns] of collisions, addressed by event and by the collision's number in it."""
    places = np.empty((4, len(event_ids)))
    _fill_normals(event_ids, collisions, *key, places)
    places *= np.array([[spot.sigma_x_um * um], [spot.sigma_y_um * um], [spot.sigma_z], [spot.sigma_t]])
    places += np.array([[spot.x], [spot.y], [spot.z], [spot.t]])
    return places


@kernel
def _fill_normals(
    event_ids: NDArray[np.uint64],
    collisions: NDArray[np.int64],
    k0: np.uint64,
    k1: np.uint64,
    normals: NDArray[np.float64],
) -> None:
    for i in range(len(event_ids)):
        normals[0, i], normals[1, i] = normals_1(0, collisions[i], event_ids[i], k0, k1)
        normals[2, i], normals[3, i] = normals_1(1, collisions[i], event_ids[i], k0, k1)


def shift_events(batch: EventBatch, spot: BeamSpot, streams: Streams) -> EventBatch:
    """A batch with each event as a whole moved to a place of its own. Stream "beam_spot/position"."""
    whole_event = np.full(batch.n_events, EVENT_LEVEL, dtype=np.int64)
    places = draw_places(spot, batch[c.EVENT_ID], whole_event, streams.key("beam_spot/position"))
    n_vertices = np.diff(batch.offsets["vertex"])
    columns = {}
    for true, position, place in zip(c.VERTEX_TRUE, c.VERTEX_POSITION, places, strict=True):
        columns[true] = batch[true] + place
        columns[position] = batch[position] + np.repeat(place, n_vertices)
    return batch.with_columns(columns)
