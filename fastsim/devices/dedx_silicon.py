"""Energy loss in layers of silicon: truncated means of deposits, drawn at once or layer by layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastsim.columns import Column
from fastsim.detector.geometry import elements
from fastsim.devices.common import CHARGES, MASSES, N_SPECIES, is_measured, log_likelihood, n_sigma, of_track
from fastsim.devices.expected_loss import make_expected
from fastsim.devices.true_tracks import Tracks, start_1
from fastsim.errors import CardError
from fastsim.jit import kernel
from fastsim.kernels.energy_deposit import Straggling, draw_deposits_1, truncated_mean_1
from fastsim.kernels.slants import Crossings, Sensors, fill_crossings
from fastsim.kernels.truncated_mean import N_NUMBERS, Expected, draw_mean_1, fill_hypotheses
from fastsim.units import ns, um

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.detector import Detector
    from fastsim.detector.devices import Dedx
    from fastsim.events import Columns
    from fastsim.rng import Key

_KEV = 1e-6  # GeV
MOST_LOST = 0.01  # share of a minimum-ionising particle's hits below the threshold; beyond, it is a fault


@kernel
def measure_deposits(
    is_detailed: bool, table: Straggling, expected: Expected, sensors: Sensors, tracks: Tracks, b_z: float,
    masses: NDArray[np.float64], charges: NDArray[np.float64], key: Key, n_hits: NDArray[np.int32], dedx: NDArray[np.float64],
    tot: NDArray[np.float64], scores: NDArray[np.float64], log_likelihood: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fill number of hits, truncated mean [GeV/cm], its time over threshold at normal incidence [ns], and (n, 9) hypotheses."""
    n_layers = len(sensors.position)
    crossings = Crossings(np.empty(n_layers, dtype=np.int64), np.empty(n_layers))
    values = np.empty(n_layers + 1)
    room = np.empty((N_NUMBERS + 1, len(masses)))
    for i in range(len(n_hits)):
        u, v, tan_lambda, curvature, p = start_1(tracks, i, b_z)
        kind = tracks.species[i]
        crossed, sum_cosine = fill_crossings(sensors, u, v, tracks.position[i, 2], tan_lambda, curvature, crossings)
        if is_detailed:
            n, log_slant = draw_deposits_1(
                table, sensors, crossings, crossed, p, masses[kind], charges[kind], tracks.particle_index[i], tracks.event_id[i],
                key.k0, key.k1, values,
            )  # fmt: skip
            mean = truncated_mean_1(table, values, n) if n > 0 else math.nan
        else:
            n, log_slant, mean = draw_mean_1(
                expected, sensors, crossings, crossed, sum_cosine, math.log(p / charges[kind]), kind,
                tracks.particle_index[i], tracks.event_id[i], key.k0, key.k1, room,
            )  # fmt: skip
        n_hits[i] = n
        if n == 0:
            continue
        dedx[i] = mean
        tot[i] = (mean * sensors.thickness - sensors.threshold) * sensors.per_energy
        fill_hypotheses(
            expected,
            mean,
            n,
            log_slant,
            math.log(tracks.rigidity[i]),
            tracks.sigma_p[i],
            room,
            scores[i],
            log_likelihood[i],
        )


class Silicon:
    """Layers of silicon of one thickness."""

    def __init__(self, device: Dedx, detector: Detector, truncation: float | str, *, is_detailed: bool) -> None:
        self.name = device.name
        self._is_detailed = is_detailed
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
            n_cylinders,
            position,
            low,
            high,
            efficiency,
            bool((efficiency == 1.0).all()),
            thickness,
            sine,
            threshold,
            per_energy,
            tick,
        )
        resolution = tick / per_energy / math.sqrt(12.0) if per_energy else 0.0  # of a uniform distribution
        self._table, self._expected = make_expected(
            thickness, device.noise_kev * _KEV, threshold, resolution, n_most, truncation
        )
        _refuse_threshold(device, self._table, threshold)
        self._hits = Column(
            f"{self.name}_n_hits", "track", "int32", "", f"deposits in {self.name}, 0 if it was not measured"
        )
        self._dedx = of_track(self.name, "dedx", "GeV/cm", f"truncated mean of the energy loss in {self.name}")
        self._tot = of_track(
            self.name, "time_over_threshold", "ns", f"of the truncated mean, at normal incidence in {self.name}"
        )
        self.makes: tuple[Column, ...] = (
            is_measured(self.name), n_sigma(self.name), log_likelihood(self.name), self._hits, self._dedx,
        )  # fmt: skip
        if per_energy:
            self.makes += (self._tot,)

    def measure(self, tracks: Tracks, b_z: float, multiplicity: NDArray[np.float64], key: Key) -> Columns:
        """What it measures of these tracks."""
        del multiplicity
        n = len(tracks.event_id)
        hits = np.zeros(n, dtype=np.int32)
        dedx, tot = np.full(n, math.nan), np.full(n, math.nan)
        scores, likelihood = np.full((n, N_SPECIES), math.nan), np.full((n, N_SPECIES), math.nan)
        measure_deposits(
            self._is_detailed, self._table, self._expected, self._sensors, tracks, b_z, MASSES, CHARGES, key, hits, dedx, tot,
            scores, likelihood,
        )  # fmt: skip
        made = {
            is_measured(self.name): hits > 0,
            n_sigma(self.name): scores,
            log_likelihood(self.name): likelihood,
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
