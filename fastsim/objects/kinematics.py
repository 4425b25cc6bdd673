"""Momenta, distances and orders that all objects share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim import columns as c
from fastsim.jit import kernel
from fastsim.species import by_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.columns import Column, Table
    from fastsim.events import EventBatch

PION_MASS = by_name("pi").mass  # GeV, of tracks that nobody identified
MOMENTUM: tuple[Column, ...] = (
    c.PT,
    c.ETA,
    c.RECONSTRUCTED[2],
    c.RECONSTRUCTED[3],
)  # pt, eta, phi, tan(lambda) of tracks

LEPTON_TRACK: dict[str, Column] = {"electron": c.ELECTRON_TRACK, "muon": c.MUON_TRACK}


class Tracks(NamedTuple):
    """Reconstructed tracks of a batch: their rows in the table, offsets by event, and (4, n) px, py, pz, energy [GeV]."""

    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    momenta: NDArray[np.float64]


@kernel
def fill_momenta(
    pt: NDArray[np.float64], phi: NDArray[np.float64], tan_lambda: NDArray[np.float64], mass: float,
    momenta: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fill px, py, pz and energy [GeV], (4, n), of tracks of one mass [GeV]."""
    for i in range(len(pt)):
        momenta[0, i] = pt[i] * math.cos(phi[i])
        momenta[1, i] = pt[i] * math.sin(phi[i])
        momenta[2, i] = pt[i] * tan_lambda[i]
        momenta[3, i] = math.sqrt(pt[i] * pt[i] * (1.0 + tan_lambda[i] * tan_lambda[i]) + mass * mass)


@kernel
def fill_directions(momenta: NDArray[np.float64], pt_eta_phi_mass: NDArray[np.float64]) -> None:
    """Fill pt [GeV], eta, phi and mass [GeV], (4, n), of px, py, pz, energy (4, n) with pt > 0. A negative mass^2 gives 0."""
    for i in range(momenta.shape[1]):
        px, py, pz, energy = momenta[0, i], momenta[1, i], momenta[2, i], momenta[3, i]
        pt = math.hypot(px, py)
        p = math.hypot(pt, pz)
        pt_eta_phi_mass[0, i] = pt
        pt_eta_phi_mass[1, i] = math.asinh(pz / pt)
        pt_eta_phi_mass[2, i] = math.atan2(py, px)
        pt_eta_phi_mass[3, i] = math.sqrt(max(0.0, (energy - p) * (energy + p)))


@kernel
def distance_1(eta_1: float, phi_1: float, eta_2: float, phi_2: float) -> float:
    """Distance in pseudorapidity and azimuth; both azimuths in [-pi, pi]."""
    between = abs(phi_1 - phi_2)
    return math.hypot(eta_1 - eta_2, min(between, 2.0 * math.pi - between))


def reconstructed_tracks(batch: EventBatch, selected: NDArray[np.bool_], mass: float = PION_MASS) -> Tracks:
    """The reconstructed ones among the `selected` tracks, with momenta of one mass [GeV] at closest approach to the beams."""
    rows = np.flatnonzero(batch[c.IS_RECONSTRUCTED] & selected)
    momenta = np.empty((4, len(rows)))
    pt, _, phi, tan_lambda = (batch[column][rows] for column in MOMENTUM)
    fill_momenta(pt, phi, tan_lambda, mass, momenta)
    return Tracks(rows, offsets_of_rows(rows, batch, "track"), momenta)


def offsets_of_rows(rows: NDArray[np.int64], batch: EventBatch, table: Table) -> NDArray[np.int64]:
    """Offsets by event of some rows (ascending) of a table."""
    return np.searchsorted(rows, batch.offsets[table]).astype(np.int64)


def event_of(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Event of each row of a table with these offsets."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def order_by_pt(events: NDArray[np.int64], pt: NDArray[np.float64]) -> NDArray[np.int64]:
    """The order in which events stay together and the hardest comes first; equal ones keep their order."""
    return np.lexsort((-pt, events))
