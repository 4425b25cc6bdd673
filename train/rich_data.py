"""Training data for train/rich.py: rings of level "detailed" and what is known of them without following photons."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.devices.common import CHARGES, MASSES, N_SPECIES
from fastsim.devices.rich_fit import find_rings, look_around, search_1
from fastsim.devices.rich_learned import Known, find_known
from fastsim.devices.rich_photons import Hits, crossing_of, light_of_crossing, make_hits
from fastsim.jit import kernel
from fastsim.kernels.cherenkov import Blur, Counter, make_blur
from fastsim.kernels.rings import Rings, Tracks, make_rings
from fastsim.rng import Streams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.detector.devices.rich import Rich

PER_EVENT = 40
SPECIES_WEIGHTS = (0.15, 0.1, 0.3, 0.18, 0.15, 0.04, 0.02, 0.04, 0.02)  # in the order of species.SPECIES


class Sample(NamedTuple):
    """Rows (n,) of tracks on the counter."""

    known: Known
    rings: Rings
    n_beside: NDArray[np.int64]  # hits in the searched rectangle that are not of the ring
    tracks: Tracks
    offsets: NDArray[np.int64]


def make_tracks(b_z: float, n_events: int, seed: int) -> tuple[Tracks, NDArray[np.int64]]:
    """Events of PER_EVENT tracks in windows of eta and phi; their density is log-uniform, 0.5 to 400 per unit and rad.

    In central Pb-Pb collisions it is 320.
    """
    generator = np.random.default_rng(seed)
    n = n_events * PER_EVENT
    density = np.exp(generator.uniform(np.log(0.5), np.log(400.0), n_events))
    d_eta = np.where(density < 5.0, 3.8, 0.4)
    d_phi = np.minimum(PER_EVENT / (density * d_eta), 2.0 * np.pi)
    middle = np.where(density < 5.0, 0.0, generator.uniform(-1.9, 1.9, n_events))
    eta = np.repeat(middle, PER_EVENT) + np.repeat(d_eta, PER_EVENT) * generator.uniform(-0.5, 0.5, n)
    phi = np.repeat(generator.uniform(-np.pi, np.pi, n_events), PER_EVENT)
    phi += np.repeat(d_phi, PER_EVENT) * generator.uniform(-0.5, 0.5, n)
    species = generator.choice(N_SPECIES, n, p=SPECIES_WEIGHTS).astype(np.int8)
    rigidity = np.exp(generator.uniform(np.log(0.25), np.log(30.0), n))
    thresholds = MASSES[species] / CHARGES[species] * 4.05  # 1 / (beta gamma) at n = 1.03
    near = generator.random(n) < 0.25
    rigidity[near] = (thresholds * np.exp(generator.uniform(-0.05, 0.6, n)))[near]
    rigidity = np.maximum(rigidity, 0.02)
    q_over_pt = generator.choice([-1.0, 1.0], n) * np.cosh(eta) / rigidity
    cov = np.zeros((n, 15))
    cov[:, 14] = (0.006 * q_over_pt) ** 2
    parameters = np.column_stack([np.zeros(n), np.zeros(n), phi, np.sinh(eta), q_over_pt])
    offsets = np.arange(n_events + 1, dtype=np.int64) * PER_EVENT
    event_id = np.repeat(np.arange(n_events, dtype=np.uint64), PER_EVENT)
    index = np.tile(np.arange(PER_EVENT, dtype=np.int32), n_events)
    found = np.ones(n, dtype=bool)
    return Tracks(
        found, parameters, cov, species, rigidity, event_id, index, (MASSES / CHARGES) ** 2, CHARGES**2, b_z
    ), offsets


@kernel
def count_around(
    counter: Counter, blur: Blur, tracks: Tracks, offsets: NDArray[np.int64], hits: Hits, counts: NDArray[np.int64]
) -> None:
    """Numbers of hits (n,) in the rectangle that `find_rings` searches."""
    near = np.empty((1, 2))
    for event in range(len(offsets) - 1):
        for i in range(offsets[event], offsets[event + 1]):
            crossing = crossing_of(counter, tracks, i)
            if crossing.t_n > 0.0:
                window = search_1(counter, blur, crossing, light_of_crossing(counter, blur, crossing))
                low, high = hits.first[event], hits.first[event + 1]
                counts[i] = look_around(counter, crossing, hits, low, high, window, near)


def make_sample(device: Rich, b_z: float, n_events: int, seed: int) -> Sample:
    """Tracks, their detailed rings (as in `rich_fit.measure`), and what is known of them."""
    counter = device.counter()
    blur = make_blur(counter)
    tracks, offsets = make_tracks(b_z, n_events, seed)
    streams = Streams(seed)
    n = len(tracks.species)
    hits = make_hits(counter, blur, tracks, offsets, streams, "train")
    rings = make_rings(n, N_SPECIES)
    find_rings(counter, blur, tracks, offsets, hits, streams.key("train/dark"), rings)
    around = np.zeros(n, dtype=np.int64)
    count_around(counter, blur, tracks, offsets, hits, around)
    beside = around - np.nan_to_num(rings.n_photons).astype(np.int64)
    return Sample(find_known(counter, blur, tracks, offsets), rings, beside, tracks, offsets)
