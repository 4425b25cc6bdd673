"""A module from outside: the polar angle of reconstructed tracks, with a resolution of its own."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.jit import kernel
from fastsim.rng import normals_1

THETA = c.Column("theta_example", "track", "float64", "rad", "polar angle, smeared by the example plug-in")


@kernel
def smear_angles(event_id, particle_index, sigma, k0, k1, theta):
    """Add a normal shift to each angle in place."""
    for i in range(len(theta)):
        theta[i] += sigma * normals_1(0, particle_index[i], event_id[i], k0, k1)[0]


class Angle:
    """Module kind "angle"."""

    class Options(module.Options):
        """Resolution of the polar angle."""

        sigma_mrad: Annotated[float, Field(ge=0, description="resolution [mrad]")]

    needs = (c.EVENT_ID, c.PARTICLE_INDEX, c.RECONSTRUCTED[3])
    makes = (THETA,)

    def __init__(self, name, sigma):
        self.name = name
        self._sigma = sigma

    @classmethod
    def from_options(cls, options, detector):
        """The module as the card describes it."""
        del detector
        return cls(options.name, 1e-3 * options.sigma_mrad)

    def apply(self, batch, streams):
        """Smear the angle of every track."""
        theta = np.arctan2(1.0, batch[c.RECONSTRUCTED[3]])
        event_id = batch[c.EVENT_ID][batch.event_index("track")]
        smear_angles(event_id, batch[c.PARTICLE_INDEX], self._sigma, *streams.key(f"{self.name}/angle"), theta)
        return module.Made({THETA: theta})
