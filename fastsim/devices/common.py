"""What devices share: their columns, the hypotheses, and where tracks are seen from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import numpy as np

from fastsim import columns as c
from fastsim.columns import Column
from fastsim.errors import CardError
from fastsim.jit import kernel
from fastsim.species import SPECIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastsim.events import EventBatch


class Named(Protocol):
    """What has a name."""

    @property
    def name(self) -> str:
        """Of the device."""
        ...


D = TypeVar("D", bound=Named)
NOT_MEASURED: Final = "; NaN where not measured"
N_SPECIES: Final = len(SPECIES)
MASSES: Final = np.array([species.mass for species in SPECIES])  # GeV, in the order of `species.SPECIES`
CHARGES: Final = np.array([float(species.charge) for species in SPECIES])  # e, absolute


def is_measured(device: str) -> Column:
    """The mask of a device: where it is false, its other columns are NaN and mean nothing."""
    return Column(f"{device}_is_measured", "track", "bool", "", f"reconstructed, and measured by {device}")


def n_sigma(device: str) -> Column:
    """(measured - expected) / uncertainty for the nine hypotheses, in the order of `species.SPECIES`."""
    text = f"(measured - expected) / uncertainty in {device}, for each species of fastsim.species.SPECIES{NOT_MEASURED}"
    return Column(f"{device}_n_sigma", "track", "float64", "", text, (N_SPECIES,))


def log_likelihood(device: str) -> Column:
    """Ln of the likelihood of what was measured, for the nine hypotheses, up to a constant that they share."""
    text = f"ln of the likelihood of what {device} measured, for each species of fastsim.species.SPECIES{NOT_MEASURED}"
    return Column(f"{device}_log_likelihood", "track", "float64", "", text, (N_SPECIES,))


def of_track(device: str, name: str, unit: str, doc: str, shape: tuple[int, ...] = ()) -> Column:
    """A number that a device measures of a track."""
    return Column(f"{device}_{name}", "track", "float64", unit, doc + NOT_MEASURED, shape)


def momenta(p_over_z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Momenta [GeV] (n, 9) of tracks of rigidity `p_over_z` (n,) [GeV/e] for each hypothesis: what bends is p/z."""
    return np.asarray(p_over_z[:, None] * CHARGES)


def chosen(module: str, kind: str, devices: Sequence[D], names: Sequence[str] | None) -> list[D]:
    """The devices of these names, or all; raises CardError if there are none, or not that one."""
    there = ", ".join(device.name for device in devices)
    if not devices:
        raise CardError([f"module {module!r}: the detector has no [[{kind}]]"], hint="add one to the detector file")
    missing = sorted(set(names or []) - {device.name for device in devices})
    if missing:
        raise CardError([f"module {module!r}: devices: no [[{kind}]] called {missing[0]!r} (there are: {there})"])
    return [device for device in devices if names is None or device.name in names]


def origins(batch: EventBatch, particles: NDArray[np.int64], events: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where and when some particles (rows (n,), with their events) were produced (n, 4) [cm, cm, cm, ns].

    As `events.production_points`, which is for all particles.
    """
    points = np.empty((len(particles), 4))
    x, y, z, t = (batch[column] for column in c.VERTEX_POSITION)
    event_x, event_y, event_z, event_t = (batch[column] for column in c.VERTEX_TRUE)
    _fill_origins(
        particles, events, batch.offsets["vertex"], batch[c.PRODUCTION_VERTEX], x, y, z, t, event_x, event_y, event_z, event_t,
        points,
    )  # fmt: skip
    return points


@kernel
def _fill_origins(
    particles: NDArray[np.int64], events: NDArray[np.int64], vertices: NDArray[np.int64], production_vertex: NDArray[np.int32],
    x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64], t: NDArray[np.float64],
    event_x: NDArray[np.float64], event_y: NDArray[np.float64], event_z: NDArray[np.float64], event_t: NDArray[np.float64],
    points: NDArray[np.float64],
) -> None:  # fmt: skip
    for i in range(len(particles)):
        event = events[i]
        local = production_vertex[particles[i]]
        if local >= 0:
            vertex = vertices[event] + local
            points[i, 0], points[i, 1], points[i, 2], points[i, 3] = x[vertex], y[vertex], z[vertex], t[vertex]
        else:
            points[i, 0], points[i, 1] = event_x[event], event_y[event]
            points[i, 2], points[i, 3] = event_z[event], event_t[event]
