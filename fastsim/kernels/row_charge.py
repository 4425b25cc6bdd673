"""The charge that the rows of a gas volume collect of a track, and its truncated mean.

Of each volume that a track crosses, the lowest charges per length are averaged, and the volumes are averaged by their numbers of
rows. All that matters in a row is the number of clusters expected in it, mu: tables are over ln(mu). The truncated mean of many
rows is log-normal to a good approximation. Lengths are in cm, charges in electrons; tables are made by
`fastsim.devices.gas_charge`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from fastsim.jit import kernel
from fastsim.kernels.energy_deposit import insert, place_1
from fastsim.kernels.gas_volumes import Volumes, arcs_in_volume_1, rows_crossed_1
from fastsim.kernels.walk import turn_1
from fastsim.rng import Word, normals_1, uniforms_1

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST_IN_VOLUME = 5  # rows: with fewer, a volume's truncated mean is not used
FEWEST = 20  # rows in all: with fewer, a track is not measured
_STEEP = 0.8  # sine of the incidence up to which all rows of a volume are crossed at that of its middle


class RowCharge(NamedTuple):
    """Charges of a row over ln(mu) of `axis` (first, 1 / step).

    Of the truncated mean per mu of many rows: its logarithm `log_mean`; what n rows have more, relatively, times n: `excess`; and
    its relative variance times n: `variance`. `quantiles` (n_mu, n) of a row's charge per mu, at ln(u / (1 - u)) of `logits`;
    `kept` is the share of the rows, the lowest, in the mean. `log_electron` is ln of the energy per electron [GeV],
    `log_minimum` of the clusters per cm of a minimum-ionising particle.
    """

    axis: tuple[float, float]
    log_mean: NDArray[np.float64]
    excess: NDArray[np.float64]
    variance: NDArray[np.float64]
    logits: tuple[float, float]
    quantiles: NDArray[np.float64]
    kept: float
    log_electron: float
    log_minimum: float


class Errors(NamedTuple):
    """Relative resolutions that no number of rows takes away: `constant`, and `crowding` per root of dN_ch/deta."""

    constant: float
    crowding: float


class Crossed(NamedTuple):
    """The volumes that a track crosses (n,): rows, and ln of the mean path in one [cm]; to be filled."""

    n_rows: NDArray[np.int64]
    log_path: NDArray[np.float64]


@kernel
def sum_up(crossed: Crossed) -> tuple[int, float, float]:
    """Rows that count, the mean of ln(path in a row), and the number of volumes per row; (0, 0, 0) if they are too few."""
    n = 0
    n_volumes = 0
    log_path = 0.0
    for k in range(len(crossed.n_rows)):
        if crossed.n_rows[k] >= FEWEST_IN_VOLUME:
            n += crossed.n_rows[k]
            n_volumes += 1
            log_path += crossed.n_rows[k] * crossed.log_path[k]
    if n < FEWEST:
        return 0, 0.0, 0.0
    return n, log_path / n, n_volumes / n


@kernel
def expected_1(table: RowCharge, log_mu: float, volumes_per_row: float) -> tuple[float, float, float]:
    """Ln of the truncated mean per mu, its derivative by ln(mu), and the variance times the number of rows."""
    i, f = place_1(log_mu, table.axis, len(table.log_mean))
    low = table.log_mean[i] + table.excess[i] * volumes_per_row
    rise = table.log_mean[i + 1] + table.excess[i + 1] * volumes_per_row - low
    return low + f * rise, rise * table.axis[1], table.variance[i] + f * (table.variance[i + 1] - table.variance[i])


@kernel
def cross_volumes(
    volumes: Volumes, crossed: Crossed, u: float, v: float, z: float, tan_lambda: float, c: float, particle_index: int,
    event_id: Word, k0: Word, k1: Word,
) -> None:  # fmt: skip
    """Fill the rows with a charge (of those that are not fully efficient, a normal number) and ln of the mean path in one."""
    r2 = u * u + v * v
    w = 1.0 - c * v
    per_norm2 = 1.0 / (c * c * u * u + w * w)
    slope = math.sqrt(1.0 + tan_lambda * tan_lambda)
    for k in range(len(volumes.pitch)):
        r_in, r_out, pitch = volumes.r_in[k], volumes.r_out[k], volumes.pitch[k]
        v_out = v + 0.5 * c * (r_out * r_out - r2)
        n = 0
        if r2 < r_in * r_in and abs(v_out) < _STEEP * r_out:
            u_out = math.sqrt(r_out * r_out - v_out * v_out)
            s = (u_out * w - u * (1.0 - c * v_out)) * per_norm2
            far = s * (1.0 + 0.5708 * c * c * s * s)  # the arc is less, as in `kernels.slants`
            is_forward = s > 0.0 and c * c * u * u_out + w * (1.0 - c * v_out) > 0.0
            if is_forward and max(abs(z), abs(z + tan_lambda * far)) < volumes.half_length[k]:
                n = int((r_out - r_in) / pitch + 0.5)
                r = 0.5 * (r_in + r_out)
                sine = (v + 0.5 * c * (r * r - r2)) / r
                crossed.log_path[k] = math.log(pitch * slope / math.sqrt(1.0 - sine * sine))
        if n == 0:
            begin, end = arcs_in_volume_1(volumes, k, u, v, z, tan_lambda, c)
            n = rows_crossed_1(volumes, k, u, v, c, begin, end) if end > 0.0 else 0
            crossed.log_path[k] = math.log((end - begin) * slope / n) if n > 0 else 0.0
        efficiency = volumes.efficiency[k]
        if efficiency < 1.0 and n > 0:
            normal, _ = normals_1(1 + k, particle_index, event_id, k0, k1)
            n = min(max(round(n * efficiency + normal * math.sqrt(n * efficiency * (1.0 - efficiency))), 0), n)
        crossed.n_rows[k] = n


@kernel
def draw_rows(
    table: RowCharge, volumes: Volumes, crossed: Crossed, means: NDArray[np.float64], values: NDArray[np.float64],
    log_rate: float, u: float, v: float, z: float, tan_lambda: float, c: float, particle_index: int, event_id: Word, k0: Word,
    k1: Word,
) -> None:  # fmt: skip
    """Fill the rows with a charge, ln of the mean path in one, and the truncated mean of each volume [charge per cluster].

    Row by row: the path by its own incidence, and one uniform, addressed by the row's number.
    """
    r2 = u * u + v * v
    slope = math.sqrt(1.0 + tan_lambda * tan_lambda)
    number = 2
    for k in range(len(volumes.pitch)):
        crossed.n_rows[k] = 0
        pitch = volumes.pitch[k]
        n_layers = int((volumes.r_out[k] - volumes.r_in[k]) / pitch + 0.5)
        _, end = arcs_in_volume_1(volumes, k, u, v, z, tan_lambda, c)
        first = number
        number += n_layers
        if end == 0.0:
            continue
        u_end, v_end = turn_1(u, v, c, end)
        r2_end = u_end * u_end + v_end * v_end
        n = 0
        total = 0.0
        for j in range(n_layers):
            r = volumes.r_in[k] + (j + 0.5) * pitch
            v_there = v + 0.5 * c * (r * r - r2)
            if r * r < r2 or r * r > r2_end * (1.0 + 1e-12) or abs(v_there) >= r:
                continue
            w, _ = uniforms_1(first + j, particle_index, event_id, k0, k1)
            if w >= volumes.efficiency[k]:
                continue
            w = min((w + 1e-17) / volumes.efficiency[k], 1.0 - 1e-16)
            path = pitch * slope / math.sqrt(max(1.0 - (v_there / r) ** 2, 0.01))
            i, f = place_1(log_rate + math.log(path), table.axis, len(table.log_mean))
            m, h = place_1(math.log(w / (1.0 - w)), table.logits, table.quantiles.shape[1])
            low = table.quantiles[i, m] + h * (table.quantiles[i, m + 1] - table.quantiles[i, m])
            high = table.quantiles[i + 1, m] + h * (table.quantiles[i + 1, m + 1] - table.quantiles[i + 1, m])
            insert(values, n, low + f * (high - low))
            n += 1
            total += path
        crossed.n_rows[k] = n
        if n < FEWEST_IN_VOLUME:
            continue
        crossed.log_path[k] = math.log(total / n)
        kept = table.kept * n
        whole = math.ceil(kept - 1e-9) - 1
        mean = (kept - whole) * values[whole]
        for j in range(whole):
            mean += values[j]
        means[k] = mean / kept


@kernel
def mean_of_volumes_1(table: RowCharge, crossed: Crossed, means: NDArray[np.float64], n_rows: int) -> float:
    """Mean of the volumes' truncated means by their rows, each over that of a minimum-ionising particle there."""
    total = 0.0
    for k in range(len(means)):
        n = crossed.n_rows[k]
        if n >= FEWEST_IN_VOLUME:
            here, _, _ = expected_1(table, table.log_minimum + crossed.log_path[k], 1.0 / n)
            total += n / n_rows * means[k] * math.exp(-here)
    return total
