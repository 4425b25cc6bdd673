"""Energy loss in gas: clusters of ionisation that are counted, and charges that rows of pads or wires collect."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastsim.columns import Column
from fastsim.devices.common import CHARGES, MASSES, N_SPECIES, is_measured, log_likelihood, n_sigma, of_track
from fastsim.devices.gas import gas_rate
from fastsim.devices.gas_charge import make_row_charge
from fastsim.devices.true_tracks import Tracks, start_1
from fastsim.jit import kernel
from fastsim.kernels.cluster_count import count_score_1, poisson_1
from fastsim.kernels.gas_volumes import Rate, Volumes, arcs_in_volume_1, rate_1
from fastsim.kernels.row_charge import (
    Crossed,
    Errors,
    RowCharge,
    cross_volumes,
    draw_rows,
    expected_1,
    mean_of_volumes_1,
    sum_up,
)
from fastsim.rng import normals_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.detector import Detector
    from fastsim.detector.devices import Dedx
    from fastsim.events import Columns
    from fastsim.rng import Key

_KEPT = 0.6  # with truncation = "steps", which is of silicon


@kernel
def count_clusters(
    volumes: Volumes, rate: Rate, tracks: Tracks, b_z: float, masses: NDArray[np.float64], charges: NDArray[np.float64],
    key: Key, n_clusters: NDArray[np.float64], length: NDArray[np.float64], scores: NDArray[np.float64],
    log_likelihood: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fill counted clusters, path [cm] and (n, 9) hypotheses of tracks that cross a row of the volumes; the others keep NaN."""
    log_mass, log_charge = np.log(masses), np.log(charges)
    for i in range(len(length)):
        u, v, tan_lambda, curvature, p = start_1(tracks, i, b_z)
        path = 0.0
        for k in range(len(volumes.pitch)):
            begin, end = arcs_in_volume_1(volumes, k, u, v, tracks.position[i, 2], tan_lambda, curvature)
            path += end - begin
        path *= math.sqrt(1.0 + tan_lambda * tan_lambda)
        if path < volumes.pitch[0]:
            continue
        kind = tracks.species[i]
        per_cm, _ = rate_1(rate, math.log(p / masses[kind]))
        length[i] = path
        n_clusters[i] = poisson_1(
            charges[kind] * charges[kind] * per_cm * path, tracks.particle_index[i], tracks.event_id[i], key.k0, key.k1
        )
        log_p = math.log(tracks.rigidity[i])
        for h in range(len(masses)):
            per_cm, by_log_p = rate_1(rate, log_p + log_charge[h] - log_mass[h])
            full = charges[h] * charges[h] * path
            scores[i, h], log_likelihood[i, h] = count_score_1(
                n_clusters[i], per_cm * full, by_log_p * full, tracks.sigma_p[i]
            )


@kernel
def measure_charges(
    is_detailed: bool, table: RowCharge, log_rates: Rate, volumes: Volumes, errors: Errors, tracks: Tracks,
    multiplicity: NDArray[np.float64], b_z: float, masses: NDArray[np.float64], charges: NDArray[np.float64], key: Key,
    n_rows: NDArray[np.int32], dedx: NDArray[np.float64], scores: NDArray[np.float64], log_likelihood: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fill number of rows, truncated mean [GeV/cm] and (n, 9) hypotheses of tracks with enough rows; the others keep NaN.

    The charge per cluster is divided by that of a minimum-ionising particle in the same rows, and multiplied by the one in rows
    of 1 cm: so rows of any length can be compared. All is done in logarithms, and widths are relative.
    """
    n_volumes = len(volumes.pitch)
    crossed = Crossed(np.zeros(n_volumes, dtype=np.int64), np.empty(n_volumes))
    means, values = np.empty(n_volumes), np.empty(1 + int(np.max((volumes.r_out - volumes.r_in) / volumes.pitch) + 0.5))
    log_mass, log_charge = np.log(masses), np.log(charges)
    reference, _, _ = expected_1(table, table.log_minimum, 0.0)
    for i in range(len(n_rows)):
        u, v, tan_lambda, c, p = start_1(tracks, i, b_z)
        z = tracks.position[i, 2]
        kind = tracks.species[i]
        index, event = tracks.particle_index[i], tracks.event_id[i]
        log_rate, _ = rate_1(log_rates, math.log(p / masses[kind]))
        log_rate += 2.0 * log_charge[kind]
        if is_detailed:
            draw_rows(
                table, volumes, crossed, means, values, log_rate, u, v, z, tan_lambda, c, index, event, key.k0, key.k1
            )
        else:
            cross_volumes(volumes, crossed, u, v, z, tan_lambda, c, index, event, key.k0, key.k1)
        n, log_path, volumes_per_row = sum_up(crossed)
        if n == 0:
            continue
        n_rows[i] = n
        beside2 = errors.constant * errors.constant + errors.crowding * errors.crowding * multiplicity[i]
        normal, _ = normals_1(0, index, event, key.k0, key.k1)
        minimum, _, _ = expected_1(table, table.log_minimum + log_path, volumes_per_row)
        if is_detailed:
            y = log_rate + math.log(mean_of_volumes_1(table, crossed, means, n)) + math.sqrt(beside2) * normal
        else:
            log_mean, _, variance = expected_1(table, log_rate + log_path, volumes_per_row)
            y = log_rate + log_mean - minimum + math.sqrt(variance / n + beside2) * normal
        dedx[i] = math.exp(y + reference + table.log_electron)
        log_p = math.log(tracks.rigidity[i])
        per_row = 1.0 / n
        for h in range(len(masses)):
            log_rate, by_log_p = rate_1(log_rates, log_p + log_charge[h] - log_mass[h])
            log_rate += 2.0 * log_charge[h]
            log_mean, by_log_rate, variance = expected_1(table, log_rate + log_path, volumes_per_row)
            moves = by_log_p * (1.0 + by_log_rate) * tracks.sigma_p[i]
            variance = variance * per_row + beside2 + moves * moves
            distance = y - log_rate - log_mean + minimum
            scores[i, h] = distance / math.sqrt(variance)
            log_likelihood[i, h] = -0.5 * (distance * distance / variance + math.log(variance))


def make_volumes(device: Dedx, detector: Detector) -> Volumes:
    """The drift volumes of a device, by radius."""
    wanted = set(device.drift_volumes or [])
    found = sorted((v for v in detector.drift_volumes if v.name in wanted), key=lambda v: v.r_first)
    first, pitch, n, half_length, efficiency = (
        np.array([float(getattr(v, key) or 0.0) for v in found])
        for key in ("r_first", "pitch", "n_layers", "half_length", "efficiency")
    )
    r_in = first - 0.5 * pitch
    return Volumes(r_in, r_in + n * pitch, half_length, pitch, efficiency)


class Clusters:
    """Drift volumes in which clusters are counted."""

    def __init__(self, device: Dedx, detector: Detector) -> None:
        self.name = device.name
        rate = gas_rate(device.gas or "ar")
        efficiency = 1.0 if device.counting_efficiency is None else device.counting_efficiency
        self._rate = Rate(rate.axis, efficiency * rate.per_cm)
        self._volumes = make_volumes(device, detector)
        self._clusters = of_track(self.name, "n_clusters", "", f"clusters of ionisation counted in {self.name}")
        self._length = of_track(self.name, "path_length", "cm", f"of the track in {self.name}")
        self.makes: tuple[Column, ...] = (
            is_measured(self.name), n_sigma(self.name), log_likelihood(self.name), self._clusters, self._length,
        )  # fmt: skip

    def measure(self, tracks: Tracks, b_z: float, multiplicity: NDArray[np.float64], key: Key) -> Columns:
        """What it measures of these tracks."""
        del multiplicity
        n = len(tracks.event_id)
        clusters, length = np.full(n, math.nan), np.full(n, math.nan)
        scores, likelihood = np.full((n, N_SPECIES), math.nan), np.full((n, N_SPECIES), math.nan)
        count_clusters(
            self._volumes, self._rate, tracks, b_z, MASSES, CHARGES, key, clusters, length, scores, likelihood
        )
        values = (~np.isnan(length), scores, likelihood, clusters, length)
        return dict(zip(self.makes, values, strict=True))


class Charges:
    """Drift volumes whose rows measure charge."""

    def __init__(self, device: Dedx, detector: Detector, truncation: float | str, *, is_detailed: bool) -> None:
        self.name = device.name
        self._is_detailed = is_detailed
        gas = device.gas or "ar"
        rate = gas_rate(gas)
        self._log_rates = Rate(rate.axis, np.log(rate.per_cm))
        self._table = make_row_charge(gas, _KEPT if isinstance(truncation, str) else truncation)
        self._volumes = make_volumes(device, detector)
        self._errors = Errors(device.constant, device.crowding)
        self._rows = Column(
            f"{self.name}_n_hits", "track", "int32", "", f"rows with a charge in {self.name}, 0 if it was not measured"
        )
        text = f"truncated mean of the charges in {self.name}, times the energy per electron, as in rows of 1 cm"
        self.makes: tuple[Column, ...] = (
            is_measured(self.name), n_sigma(self.name), log_likelihood(self.name), self._rows,
            of_track(self.name, "dedx", "GeV/cm", text),
        )  # fmt: skip

    def measure(self, tracks: Tracks, b_z: float, multiplicity: NDArray[np.float64], key: Key) -> Columns:
        """What it measures of these tracks."""
        n = len(tracks.event_id)
        rows, dedx = np.zeros(n, dtype=np.int32), np.full(n, math.nan)
        scores, likelihood = np.full((n, N_SPECIES), math.nan), np.full((n, N_SPECIES), math.nan)
        measure_charges(
            self._is_detailed, self._table, self._log_rates, self._volumes, self._errors, tracks, multiplicity, b_z, MASSES,
            CHARGES, key, rows, dedx, scores, likelihood,
        )  # fmt: skip
        return dict(zip(self.makes, (rows > 0, scores, likelihood, rows, dedx), strict=True))
