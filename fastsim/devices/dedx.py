"""Energy loss in the tracker: truncated means of silicon's deposits, clusters counted in gas; n-sigma of nine species.

What a particle leaves is drawn from its true velocity and path in each layer; what is expected of a hypothesis comes from tables
that are made at the start (`straggling`), for the reconstructed momentum. Energy lost on the way does not slow it down here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.columns import Column
from fastsim.detector.geometry import elements
from fastsim.devices.common import CHARGES, MASSES, N_SPECIES, chosen, is_measured, n_sigma, of_track
from fastsim.devices.gas import gas_rate
from fastsim.devices.straggling import make_straggling
from fastsim.errors import CardError
from fastsim.events import production_points
from fastsim.jit import kernel
from fastsim.kernels.cluster_count import Volume, count_score_1, path_in_volume_1, poisson_1, rate_1
from fastsim.kernels.energy_deposit import Sensors, Straggling, deposit_1, fill_n_sigma, truncated_mean_1
from fastsim.kernels.helix import curvature_1
from fastsim.module import Made
from fastsim.units import ns, um

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastsim.detector import Detector
    from fastsim.detector.devices import Dedx
    from fastsim.events import Columns, EventBatch
    from fastsim.rng import Key, Streams

_KEV = 1e-6  # GeV
MOST_LOST = 0.01  # share of a minimum-ionising particle's hits below the threshold; beyond, it is a fault


class Tracks(NamedTuple):
    """The reconstructed tracks (n,), as true particles, with the reconstructed p/z [GeV/e] and its relative resolution."""

    event_id: NDArray[np.uint64]
    particle_index: NDArray[np.int32]
    position: NDArray[np.float64]
    px: NDArray[np.float64]
    py: NDArray[np.float64]
    pz: NDArray[np.float64]
    charge: NDArray[np.int8]
    species: NDArray[np.int8]
    rigidity: NDArray[np.float64]
    sigma_p: NDArray[np.float64]


@kernel
def start_1(tracks: Tracks, i: int, b_z: float) -> tuple[float, float, float, float, float]:
    """Where track i begins, as `kernels.walk` sees it: u, v [cm], tan(lambda), d(phi)/ds [1/cm], p [GeV]."""
    px, py, pz = tracks.px[i], tracks.py[i], tracks.pz[i]
    pt = math.hypot(px, py)
    x, y = tracks.position[i, 0], tracks.position[i, 1]
    u, v = (x * px + y * py) / pt, (x * py - y * px) / pt
    return u, v, pz / pt, curvature_1(tracks.charge[i] / pt, b_z), math.hypot(pt, pz)


@kernel
def measure_deposits(
    table: Straggling, sensors: Sensors, tracks: Tracks, b_z: float, masses: NDArray[np.float64],
    charges: NDArray[np.float64], key: Key, n_hits: NDArray[np.int32], dedx: NDArray[np.float64], tot: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fill number of hits, truncated mean [GeV/cm], its time over threshold at normal incidence [ns], and n-sigma (n, 9)."""
    values = np.empty(len(sensors.position) + 1)
    log_mass, log_charge = np.log(masses), np.log(charges)
    for i in range(len(n_hits)):
        u, v, tan_lambda, curvature, p = start_1(tracks, i, b_z)
        kind = tracks.species[i]
        n, log_slant = deposit_1(
            table, sensors, u, v, tracks.position[i, 2], tan_lambda, curvature, math.hypot(u, v), p, masses[kind],
            charges[kind], tracks.particle_index[i], tracks.event_id[i], key.k0, key.k1, values,
        )  # fmt: skip
        n_hits[i] = n
        if n == 0:
            continue
        dedx[i] = truncated_mean_1(table, values, n)
        tot[i] = (dedx[i] * sensors.thickness - sensors.threshold) * sensors.per_energy
        log_p = math.log(tracks.rigidity[i])
        fill_n_sigma(table, dedx[i], n, log_slant, log_p, tracks.sigma_p[i], log_mass, log_charge, scores[i])


@kernel
def count_clusters(
    volume: Volume, tracks: Tracks, b_z: float, masses: NDArray[np.float64], charges: NDArray[np.float64], key: Key,
    n_clusters: NDArray[np.float64], length: NDArray[np.float64], scores: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fill counted clusters, path [cm] and n-sigma (n, 9) of tracks that cross the volume; the others keep NaN."""
    for i in range(len(length)):
        u, v, tan_lambda, curvature, p = start_1(tracks, i, b_z)
        path = path_in_volume_1(volume, u, v, tracks.position[i, 2], tan_lambda, curvature)
        if path < volume.shortest:
            continue
        kind = tracks.species[i]
        rate, _ = rate_1(volume, p, masses[kind], charges[kind])
        length[i] = path
        n_clusters[i] = poisson_1(rate * path, tracks.particle_index[i], tracks.event_id[i], key.k0, key.k1)
        for hypothesis in range(len(masses)):
            charge = charges[hypothesis]
            scores[i, hypothesis] = count_score_1(
                volume, n_clusters[i], path, tracks.rigidity[i] * charge, tracks.sigma_p[i], masses[hypothesis], charge
            )


class EnergyLoss:
    """Module kind "dedx": what the [[dedx]] of the detector measure."""

    class Options(module.Options):
        """Energy loss in the tracker."""

        devices: Annotated[
            list[str] | None, Field(min_length=1, description="names of the [[dedx]] to use; by default all")
        ] = None
        truncation: Annotated[
            float | Literal["steps"],
            Field(
                description='share of the hits, the lowest, in the mean; "steps": 1 of 1-2, 2 of 3-4, 3 of 5-6, 4 of more'
            ),
        ] = 0.6

        @classmethod
        def faults(cls, data: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
            """A share that is none."""
            share = data.get("truncation")
            if isinstance(share, (int, float)) and not isinstance(share, bool) and not 0.2 <= share <= 0.7:
                yield (
                    ("truncation",),
                    f"must be between 0.2 and 0.7, where the largest deposits cannot enter (got {share!r})",
                )

    def __init__(self, options: Options, detector: Detector) -> None:
        self.name = options.name
        self._b_z = float(detector.b_z)
        self._parts: list[Silicon | Gas] = [
            Silicon(device, detector, options.truncation) if device.layers else Gas(device, detector)
            for device in chosen(options.name, "dedx", detector.dedx, options.devices)
        ]
        self.needs: tuple[Column, ...] = (
            c.EVENT_ID, *c.VERTEX_TRUE, *c.VERTEX_POSITION, c.PRODUCTION_VERTEX, *c.MOMENTUM, c.CHARGE_TRUE, c.PARTICLE_INDEX,
            c.SPECIES, c.IS_RECONSTRUCTED, *c.RECONSTRUCTED[3:], c.COV_PACKED,
        )  # fmt: skip
        self.makes: tuple[Column, ...] = tuple(column for part in self._parts for column in part.makes)

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> EnergyLoss:
        """The module as the card describes it; makes the tables of its sensors."""
        return cls(cast("EnergyLoss.Options", options), detector)

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Measure the reconstructed tracks in each device."""
        rows = np.flatnonzero(batch[c.IS_RECONSTRUCTED])
        tracks = tracks_of(batch, rows)
        made: Columns = {}
        for part in self._parts:
            measured = part.measure(tracks, self._b_z, streams.key(f"{self.name}/{part.name}"))
            made |= {column: spread(values, rows, column, batch) for column, values in measured.items()}
        return Made(made)


def tracks_of(batch: EventBatch, rows: NDArray[np.int64]) -> Tracks:
    """The tracks of these rows."""
    events = batch.event_index("track")[rows]
    particle_index = batch[c.PARTICLE_INDEX][rows]
    particles = batch.offsets["particle"][events] + particle_index
    tan_lambda, q_over_pt = (batch[column][rows] for column in c.RECONSTRUCTED[3:])
    cov = batch[c.COV_PACKED][rows]
    slope2 = 1.0 + tan_lambda * tan_lambda
    by_tan = tan_lambda / slope2  # d(ln p) of tan(lambda); of q/pt it is -1 / (q/pt)
    variance = by_tan * by_tan * cov[:, 9] + (cov[:, 14] / q_over_pt - 2.0 * by_tan * cov[:, 13]) / q_over_pt
    px, py, pz = (batch[column][particles] for column in c.MOMENTUM)
    return Tracks(
        batch[c.EVENT_ID][events], particle_index, production_points(batch)[particles], px, py, pz,
        batch[c.CHARGE_TRUE][particles], batch[c.SPECIES][rows], np.sqrt(slope2) / np.abs(q_over_pt),
        np.sqrt(np.maximum(variance, 0.0)),
    )  # fmt: skip


def spread(values: NDArray[Any], rows: NDArray[np.int64], column: Column, batch: EventBatch) -> NDArray[Any]:
    """Values of some rows as a column of all tracks: false, 0 or NaN elsewhere."""
    nothing = math.nan if column.dtype == "float64" else 0
    filled = np.full((batch.n_rows("track"), *column.shape), nothing, dtype=column.dtype)
    filled[rows] = values
    return filled


class Silicon:
    """Layers of silicon of one thickness."""

    def __init__(self, device: Dedx, detector: Detector, truncation: float | str) -> None:
        self.name = device.name
        wanted = set(device.layers or [])
        names = {layer.name for layer in detector.layers} | {
            disk.name for disk in detector.disks if not disk.both_sides
        }
        wanted |= {
            f"{name}{side}" for name in wanted - names for side in "+-"
        }  # as `elements` calls both disks of a pair
        found = [surface for surface in elements(detector) if surface.name in wanted]
        position, low, high, efficiency = (
            np.array([getattr(s, key) for s in found]) for key in ("position", "low", "high", "efficiency")
        )
        n_cylinders = sum(not surface.is_disk for surface in found)
        n_most = n_cylinders + max(
            sum(s.is_disk and (s.position > 0) == forward for s in found) for forward in (False, True)
        )
        sine = detector.tracking.max_sin_incidence if detector.tracking else 0.999
        thickness, threshold = (device.thickness_um or 0.0) * um, device.threshold_kev * _KEV
        per_energy, tick = (device.tot_ns_per_kev or 0.0) * ns / _KEV, (device.tot_step_ns or 0.0) * ns
        self._sensors = Sensors(
            n_cylinders, position, low, high, efficiency, thickness, sine, threshold, per_energy, tick
        )
        resolution = tick / per_energy / math.sqrt(12.0) if per_energy else 0.0  # of a uniform distribution
        self._table = make_straggling(thickness, device.noise_kev * _KEV, threshold, resolution, n_most, truncation)
        _refuse_threshold(device, self._table, threshold)
        self._hits = Column(
            f"{self.name}_n_hits", "track", "int32", "", f"deposits in {self.name}, 0 if it was not measured"
        )
        self._dedx = of_track(self.name, "dedx", "GeV/cm", f"truncated mean of the energy loss in {self.name}")
        self._tot = of_track(
            self.name, "time_over_threshold", "ns", f"of the truncated mean, at normal incidence in {self.name}"
        )
        self.makes: tuple[Column, ...] = (is_measured(self.name), n_sigma(self.name), self._hits, self._dedx)
        if per_energy:
            self.makes += (self._tot,)

    def measure(self, tracks: Tracks, b_z: float, key: Key) -> Columns:
        """What it measures of these tracks."""
        n = len(tracks.event_id)
        hits = np.zeros(n, dtype=np.int32)
        dedx, tot, scores = np.full(n, math.nan), np.full(n, math.nan), np.full((n, N_SPECIES), math.nan)
        measure_deposits(self._table, self._sensors, tracks, b_z, MASSES, CHARGES, key, hits, dedx, tot, scores)
        made = {
            is_measured(self.name): hits > 0,
            n_sigma(self.name): scores,
            self._hits: hits,
            self._dedx: dedx,
            self._tot: tot,
        }
        return {column: made[column] for column in self.makes}


def _refuse_threshold(device: Dedx, table: Straggling, threshold: float) -> None:
    """Raise CardError for a threshold in the signal of a minimum-ionising particle."""
    bg = math.log(4.0)
    k = round((bg - table.fine[0]) * table.fine[1])
    log_path = table.shape_path[0]
    level = threshold / (table.xi[k] * math.exp(log_path)) - table.offset[k] - log_path
    i = round((bg - table.shape_bg[0]) * table.shape_bg[1])
    logits = table.logits[0] + np.arange(table.quantiles.shape[2]) / table.logits[1]
    lost = 1.0 / (1.0 + math.exp(-float(np.interp(level, table.quantiles[i, 0], logits))))
    if lost > MOST_LOST:
        text = f"a minimum-ionising particle leaves less than threshold_kev = {device.threshold_kev:g} in {lost:.1%}"
        raise CardError(
            [f"dedx {device.name!r}: {text} of the layers of {device.thickness_um:g} um (at most {MOST_LOST:.0%})"],
            hint="thicker sensors, less noise or a lower threshold",
        )


class Gas:
    """A drift volume in which clusters are counted."""

    def __init__(self, device: Dedx, detector: Detector) -> None:
        self.name = device.name
        fine, rate = gas_rate(device.gas or "ar")
        efficiency = 1.0 if device.counting_efficiency is None else device.counting_efficiency
        (volume,) = [volume for volume in detector.drift_volumes if volume.name == device.drift_volume]
        first = volume.r_first - 0.5 * volume.pitch
        self._volume = Volume(
            first, first + volume.n_layers * volume.pitch, volume.half_length, volume.pitch, fine, efficiency * rate
        )
        self._clusters = of_track(self.name, "n_clusters", "", f"clusters of ionisation counted in {self.name}")
        self._length = of_track(self.name, "path_length", "cm", f"of the track in {self.name}")
        self.makes: tuple[Column, ...] = (is_measured(self.name), n_sigma(self.name), self._clusters, self._length)

    def measure(self, tracks: Tracks, b_z: float, key: Key) -> Columns:
        """What it measures of these tracks."""
        n = len(tracks.event_id)
        clusters, length, scores = np.full(n, math.nan), np.full(n, math.nan), np.full((n, N_SPECIES), math.nan)
        count_clusters(self._volume, tracks, b_z, MASSES, CHARGES, key, clusters, length, scores)
        return {
            is_measured(self.name): ~np.isnan(length), n_sigma(self.name): scores, self._clusters: clusters, self._length: length,
        }  # fmt: skip
