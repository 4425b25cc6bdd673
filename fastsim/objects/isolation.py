"""Isolation of leptons and photons: what else is in a cone around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.jit import kernel
from fastsim.objects.inputs import neutral_momenta
from fastsim.objects.kinematics import distance_1, fill_directions, offsets_of_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.events import EventBatch


class IsolationOptions(module.Options):
    """Cone and thresholds."""

    isolation_delta_r: Annotated[
        float, Field(gt=0, le=10, description="radius of the isolation cone in eta and phi")
    ] = 0.5
    isolation_pt_min: Annotated[
        float, Field(ge=0, description="softest tracks and neutrals in the isolation sums [GeV]")
    ] = 0.5
    isolation_max: Annotated[
        float | None,
        Field(ge=0, description="largest isolation sum over pt; by default isolation is written, not required"),
    ] = None


@kernel
def sum_around(
    event: NDArray[np.int64], eta: NDArray[np.float64], phi: NDArray[np.float64], own: NDArray[np.int64],
    offsets: NDArray[np.int64], other_eta: NDArray[np.float64], other_phi: NDArray[np.float64],
    weight: NDArray[np.float64], delta_r: float, sums: NDArray[np.float64],
) -> None:  # fmt: skip
    """Sum the weights of what is within `delta_r` of each object and in its event, but for its `own` row (-1: none)."""
    for i in range(len(event)):
        sums[i] = 0.0
        for other in range(offsets[event[i]], offsets[event[i] + 1]):
            if (
                weight[other] > 0.0
                and other != own[i]
                and distance_1(eta[i], phi[i], other_eta[other], other_phi[other]) <= delta_r
            ):
                sums[i] += weight[other]


def charged_around(
    batch: EventBatch, event: NDArray[np.int64], eta: NDArray[np.float64], phi: NDArray[np.float64],
    own: NDArray[np.int64], options: IsolationOptions,
) -> NDArray[np.float64]:  # fmt: skip
    """Sum of pt [GeV] of the reconstructed tracks in the cone; `own`: rows of tracks that do not count, -1 for none."""
    counts = batch[c.IS_RECONSTRUCTED] & (batch[c.PT] >= options.isolation_pt_min)
    sums = np.empty(len(event))
    sum_around(
        event, eta, phi, own, batch.offsets["track"], batch[c.ETA], batch[c.RECONSTRUCTED[2]],
        np.where(counts, batch[c.PT], 0.0), options.isolation_delta_r, sums,
    )  # fmt: skip
    return sums


def neutral_around(
    batch: EventBatch, event: NDArray[np.int64], eta: NDArray[np.float64], phi: NDArray[np.float64],
    own: NDArray[np.int64], options: IsolationOptions,
) -> NDArray[np.float64]:  # fmt: skip
    """Sum of pt [GeV] of the neutrals of the energy flow in the cone; `own`: clusters that do not count, -1 for none."""
    clusters, momenta = neutral_momenta(batch)
    directions = np.empty((4, len(clusters)))
    fill_directions(momenta, directions)
    pt, other_eta, other_phi, _ = directions
    position = np.full(batch.n_rows("cluster") + 1, -1)  # the last is for an `own` of -1
    position[clusters] = np.arange(len(clusters))
    sums = np.empty(len(event))
    sum_around(
        event, eta, phi, position[own], offsets_of_rows(clusters, batch, "cluster"), other_eta, other_phi,
        np.where(pt >= options.isolation_pt_min, pt, 0.0), options.isolation_delta_r, sums,
    )  # fmt: skip
    return sums
