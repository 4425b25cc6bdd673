"""The primary vertex: the generated one, smeared by the resolution that the card gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.jit import kernel
from fastsim.module import Made
from fastsim.rng import EVENT_LEVEL, Key, normals_1
from fastsim.units import um

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.detector import Detector
    from fastsim.events import EventBatch
    from fastsim.rng import Streams


@kernel
def smear_vertices(
    event_id: NDArray[np.uint64], sigma: NDArray[np.float64], key: Key, vertex: NDArray[np.float64]
) -> None:
    """Add independent normal shifts of width `sigma` (3,) [cm] to vertices (n, 3) [cm] in place."""
    for event in range(len(event_id)):
        first = normals_1(0, EVENT_LEVEL, event_id[event], key.k0, key.k1)
        second = normals_1(1, EVENT_LEVEL, event_id[event], key.k0, key.k1)
        vertex[event, 0] += sigma[0] * first[0]
        vertex[event, 1] += sigma[1] * first[1]
        vertex[event, 2] += sigma[2] * second[0]


class Vertex:
    """Module kind "vertex": position with the card's resolution, and how many primary tracks point to it."""

    class Options(module.Options):
        """Resolution of the primary vertex."""

        sigma_x_um: Annotated[float, Field(ge=0, description="resolution in x [um]")]
        sigma_y_um: Annotated[float, Field(ge=0, description="resolution in y [um]")]
        sigma_z_um: Annotated[float, Field(ge=0, description="resolution in z [um]")]

    needs: tuple[Column, ...] = (
        c.EVENT_ID, *c.VERTEX_TRUE[:3], c.COLLISION, c.IS_PRIMARY, c.IS_RECONSTRUCTED, c.PARTICLE_INDEX,
    )  # fmt: skip
    makes: tuple[Column, ...] = (*c.VERTEX, c.VERTEX_COV, c.VERTEX_CHI2, c.N_CONTRIBUTORS, c.IS_CONTRIBUTOR)

    def __init__(self, name: str, sigma: tuple[float, float, float]) -> None:
        self.name = name
        self._sigma = np.array(sigma)

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> Vertex:
        """The module as the card describes it."""
        del detector
        own = cast("Vertex.Options", options)
        return cls(own.name, (own.sigma_x_um * um, own.sigma_y_um * um, own.sigma_z_um * um))

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Smear the vertex of each event and count its contributors."""
        vertex = np.column_stack([batch[column] for column in c.VERTEX_TRUE[:3]])
        smear_vertices(batch[c.EVENT_ID], self._sigma, streams.key(f"{self.name}/position"), vertex)
        events = batch.event_index("track")
        particles = batch.offsets["particle"][events] + batch[c.PARTICLE_INDEX]
        is_own = batch[c.IS_PRIMARY] & (batch[c.COLLISION] == 0)  # not of a pile-up collision
        contributes = batch[c.IS_RECONSTRUCTED] & is_own[particles]
        covariance = np.zeros((batch.n_events, 6))
        covariance[:, [0, 2, 5]] = self._sigma**2
        made = {
            c.N_CONTRIBUTORS: np.bincount(events[contributes], minlength=batch.n_events).astype(np.int32),
            c.IS_CONTRIBUTOR: contributes,
            c.VERTEX_COV: covariance,
            c.VERTEX_CHI2: np.zeros(batch.n_events),
        }
        for axis in range(3):
            made[c.VERTEX[axis]] = np.ascontiguousarray(vertex[:, axis])
        return Made(made)
