"""Energy that a charged particle leaves in thin silicon: Landau's and Vavilov's fluctuations, drawn and looked up in tables.

A loss is xi (L + lambda): xi = K/2 Z/A z^2 x / beta^2 is Landau's scale, xi (L - 0.2228) the most probable loss of PDG 34.12, and
lambda a number whose distribution (Vavilov's, widened by the shells of the atom) the table holds. Per length of path,
xi = z^2 `xi` and L = `offset` + ln(z^2 path). Tables are made by `fastsim.devices.straggling`.
Formulas: PDG review (2024), "Passage of particles through matter", 34.2.9.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.energy_loss import _I, _K, _Z_OVER_A, ELECTRON_MASS, density_effect_1
from fastsim.kernels.walk import arc_to_cylinder_1, turn_1
from fastsim.rng import Word, uniforms_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

SILICON_DENSITY = 2.329  # g/cm3, PDG
LANDAU_MODE = (
    -0.22278
)  # of Landau's density (K. S. Koelbig and B. Schorr, CPC 31 (1984) 97): with 1 - gamma it makes PDG's j = 0.200


@kernel
def xi_per_cm_1(beta_gamma: float) -> float:
    """Landau's xi [GeV/cm] of a unit charge in silicon (PDG, below eq. 34.12)."""
    return 0.5 * _K * _Z_OVER_A * SILICON_DENSITY * (1.0 + beta_gamma * beta_gamma) / (beta_gamma * beta_gamma)


@kernel
def offset_1(beta_gamma: float) -> float:
    """Where lambda = 0 is, in xi: L for a unit charge and a path of 1 cm of silicon (PDG 34.12 less j, plus 1 - gamma)."""
    bg2 = beta_gamma * beta_gamma
    xi = xi_per_cm_1(beta_gamma)
    return (
        math.log(2.0 * ELECTRON_MASS * bg2 / _I) + math.log(xi / _I) + 1.0 - np.euler_gamma - bg2 / (1.0 + bg2)
        - density_effect_1(beta_gamma)
    )  # fmt: skip


class Straggling(NamedTuple):
    """Fluctuations in one sensor, as kernels see them. Axes are (first, 1 / step); beyond its end an axis stays at the end.

    `xi` [GeV/cm] and `offset` over ln(beta gamma) of `fine`. `quantiles` (n_bg, n_path, n): lambda over ln(beta gamma) of
    `shape_bg`, ln(z^2 path [cm]) of `shape_path`, and ln(u / (1 - u)) of `logits`. `means` (n_bg, n_path, n_hits, n_scores):
    truncated mean of lambda over the same first two, the number of hits (from 1) and the normal score of `scores`; of the
    hits, the lowest `whole` (n_hits,) count in full and the next one as `part` (n_hits,). `log_thickness` is that of the sensor
    [cm], and `reference` the most probable loss of a minimum-ionising particle at normal incidence, in xi.
    """

    fine: tuple[float, float]
    xi: NDArray[np.float64]
    offset: NDArray[np.float64]
    shape_bg: tuple[float, float]
    shape_path: tuple[float, float]
    logits: tuple[float, float]
    quantiles: NDArray[np.float64]
    scores: tuple[float, float]
    means: NDArray[np.float64]
    whole: NDArray[np.int64]
    part: NDArray[np.float64]
    log_thickness: float
    reference: float


class Sensors(NamedTuple):
    """The layers of a device: cylinders by radius, then disks; lengths in cm, energies in GeV, times in ns.

    Deposits are kept above `threshold`, and measured by the time over it, `per_energy` [ns/GeV], in steps of `tick` (0: exactly).
    """

    n_cylinders: int
    position: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    efficiency: NDArray[np.float64]
    thickness: float
    max_sin_incidence: float
    threshold: float
    per_energy: float
    tick: float


@kernel
def place_1(x: float, axis: tuple[float, float], n: int) -> tuple[int, float]:
    """Lower one of n nodes and the fraction of the way to the next, on an axis (first, 1 / step)."""
    position = min(max((x - axis[0]) * axis[1], 0.0), n - 1.0)
    index = min(int(position), n - 2)
    return index, position - index


@kernel
def quantile_1(
    q: NDArray[np.float64], logits: tuple[float, float], i: int, f: float, j: int, g: float, u: float
) -> float:
    """Lambda at the probability u in (0, 1); (i, f) and (j, g) are the places on the first two axes of the quantiles `q`."""
    k, h = place_1(math.log(u / (1.0 - u)), logits, q.shape[2])
    low = (1.0 - h) * q[i, j, k] + h * q[i, j, k + 1]
    low_next = (1.0 - h) * q[i, j + 1, k] + h * q[i, j + 1, k + 1]
    high = (1.0 - h) * q[i + 1, j, k] + h * q[i + 1, j, k + 1]
    high_next = (1.0 - h) * q[i + 1, j + 1, k] + h * q[i + 1, j + 1, k + 1]
    return float((1.0 - f) * ((1.0 - g) * low + g * low_next) + f * ((1.0 - g) * high + g * high_next))


@kernel
def score_1(
    m: NDArray[np.float64], scores: tuple[float, float], i: int, f: float, j: int, g: float, n_hits: int, mean: float
) -> tuple[float, float]:
    """Normal score of a truncated mean of lambda of `n_hits` hits, and its derivative; straight on beyond the table.

    (i, f) and (j, g) are the places on the first two axes of the table `m` of means.
    """
    n = min(n_hits, m.shape[2]) - 1
    a, b, c, d = (1.0 - f) * (1.0 - g), (1.0 - f) * g, f * (1.0 - g), f * g
    corner, corner_j, corner_i, corner_ij = m[i, j, n], m[i, j + 1, n], m[i + 1, j, n], m[i + 1, j + 1, n]
    below = 0  # nodes, without a branch for each
    for k in range(1, m.shape[3] - 1):
        below += a * corner[k] + b * corner_j[k] + c * corner_i[k] + d * corner_ij[k] <= mean
    low, high = below, below + 1
    at_low = a * corner[low] + b * corner_j[low] + c * corner_i[low] + d * corner_ij[low]
    at_high = a * corner[high] + b * corner_j[high] + c * corner_i[high] + d * corner_ij[high]
    slope = 1.0 / (scores[1] * (at_high - at_low))
    return scores[0] + low / scores[1] + (mean - at_low) * slope, slope


@kernel
def read_out_1(threshold: float, per_energy: float, tick: float, deposit: float) -> float:
    """The deposit [GeV] that the read-out says, by the time over threshold if it has one; 0 below the threshold."""
    if deposit < threshold:
        return 0.0
    if tick <= 0.0:
        return deposit
    ticks = math.floor((deposit - threshold) * per_energy / tick)
    return threshold + (ticks + 0.5) * tick / per_energy


@kernel
def slant_1(
    is_disk: bool, position: float, low: float, high: float, max_sin_incidence: float, u: float, v: float, z: float,
    tan_lambda: float, c: float, r_birth: float,
) -> float:  # fmt: skip
    """Path through a layer in units of its thickness; 0 where it is not crossed on the first way out from (u, v), z [cm]."""
    slope = math.sqrt(1.0 + tan_lambda * tan_lambda)
    if not is_disk:
        if position <= r_birth:
            return 0.0
        sin_incidence = (v + 0.5 * c * (position * position - u * u - v * v)) / position
        if abs(sin_incidence) > max_sin_incidence:
            return 0.0
        longest = math.pi * (
            position + r_birth
        )  # no arc to it is longer, so most crossings are seen to be far from its ends
        if abs(z) + abs(tan_lambda) * longest > min(high, -low):
            z_there = z + tan_lambda * arc_to_cylinder_1(u, v, c, position, 1.0)
            if not low <= z_there <= high:
                return 0.0
        return slope / math.sqrt(1.0 - sin_incidence * sin_incidence)
    s = (position - z) / tan_lambda if tan_lambda != 0.0 else -1.0
    if s <= 0.0 or abs(c) * s > math.pi:
        return 0.0
    u_there, v_there = turn_1(u, v, c, s)
    r_there = math.hypot(u_there, v_there)
    return slope / abs(tan_lambda) if low <= r_there <= high and r_there > r_birth else 0.0


@kernel
def insert(values: NDArray[np.float64], n: int, value: float) -> None:
    """Put a value among the first n ascending ones."""
    k = n
    while k > 0 and values[k - 1] > value:
        values[k] = values[k - 1]
        k -= 1
    values[k] = value


@kernel
def truncated_mean_1(table: Straggling, values: NDArray[np.float64], n: int) -> float:
    """Mean of the lowest of n ascending values that the table's truncation keeps, the last of them in part."""
    whole = table.whole[n - 1]
    part = table.part[n - 1]
    total = part * values[whole]
    for k in range(whole):
        total += values[k]
    return float(total / (whole + part))


@kernel
def deposit_1(
    table: Straggling, sensors: Sensors, u: float, v: float, z: float, tan_lambda: float, c: float, r_birth: float, p: float,
    mass: float, charge: float, particle_index: int, event_id: Word, k0: Word, k1: Word, values: NDArray[np.float64],
) -> tuple[int, float]:  # fmt: skip
    """Cross the layers: fills `values` with energy per path [GeV/cm], ascending; as at normal incidence.

    The most probable loss per path rises with ln(path): it is taken out with the rise of a minimum-ionising particle, so that
    hits in barrel and disks can be compared.

    From the start (u, v) as in `kernels.walk`, z [cm], with momentum p [GeV] and c = d(phi)/ds [1/cm], born at the radius
    `r_birth`. Returns the number of hits and ln of their harmonic mean slant (thin crossings
    fluctuate most). One uniform a layer, addressed by its number.
    """
    log_bg = math.log(p / mass)
    i_bg, f_bg = place_1(log_bg, table.shape_bg, table.quantiles.shape[0])
    k, g = place_1(log_bg, table.fine, len(table.xi))
    z2 = charge * charge
    log_z2 = math.log(z2)
    xi = z2 * ((1.0 - g) * table.xi[k] + g * table.xi[k + 1])
    offset = (1.0 - g) * table.offset[k] + g * table.offset[k + 1]
    most = math.sqrt(p * p + mass * mass) - mass
    n = 0
    sum_inverse = 0.0
    drawn = -1
    pair = (0.0, 0.0)
    for i in range(len(sensors.position)):
        slant = slant_1(
            i >= sensors.n_cylinders, sensors.position[i], sensors.low[i], sensors.high[i], sensors.max_sin_incidence, u, v, z,
            tan_lambda, c, r_birth,
        )  # fmt: skip
        if slant == 0.0:
            continue
        if drawn != i // 2:
            drawn = i // 2
            pair = uniforms_1(drawn, particle_index, event_id, k0, k1)
        w = pair[0] if i % 2 == 0 else pair[1]
        if w >= sensors.efficiency[i]:
            continue
        w = min((w + 1e-17) / sensors.efficiency[i], 1.0 - 1e-16)  # what is left of it is uniform too, and has a logit
        path = slant * sensors.thickness
        log_path = math.log(path)
        log_z2_path = log_path + log_z2
        j_path, f_path = place_1(log_z2_path, table.shape_path, table.quantiles.shape[1])
        wandering = quantile_1(table.quantiles, table.logits, i_bg, f_bg, j_path, f_path, w)
        lost = xi * path * (offset + log_z2_path + wandering)
        measured = read_out_1(sensors.threshold, sensors.per_energy, sensors.tick, min(lost, most))
        if measured <= 0.0:
            continue
        log_slant = log_path - table.log_thickness
        insert(values, n, measured / path * table.reference / (table.reference + log_slant))
        n += 1
        sum_inverse += 1.0 / slant
    return n, math.log(n / sum_inverse) if n > 0 else 0.0


@kernel
def fill_n_sigma(
    table: Straggling, dedx: float, n_hits: int, log_slant: float, log_p: float, sigma_p: float,
    log_mass: NDArray[np.float64], log_charge: NDArray[np.float64], scores: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fill the deviations of a truncated mean [GeV/cm] from those expected of each species, as normal scores.

    Logarithms: `log_p` of p/z [GeV/e], `log_slant` of the hits' (harmonic) mean slant, and those of the species' masses [GeV]
    and charges. `sigma_p` is the relative resolution of p, which moves what is expected.
    """
    rise = (table.reference + log_slant) / table.reference
    for hypothesis in range(len(log_mass)):
        log_bg = log_p + log_charge[hypothesis] - log_mass[hypothesis]
        log_z2_path = table.log_thickness + log_slant + 2.0 * log_charge[hypothesis]
        k, g = place_1(log_bg, table.fine, len(table.xi))
        z2 = 1.0 if log_charge[hypothesis] == 0.0 else math.exp(2.0 * log_charge[hypothesis])
        xi = z2 * ((1.0 - g) * table.xi[k] + g * table.xi[k + 1])
        d_offset = table.offset[k + 1] - table.offset[k]
        i, f = place_1(log_bg, table.shape_bg, table.means.shape[0])
        j, h = place_1(log_z2_path, table.shape_path, table.means.shape[1])
        mean = dedx / xi * rise - table.offset[k] - g * d_offset - log_z2_path
        score, slope = score_1(table.means, table.scores, i, f, j, h, n_hits, mean)
        if 0.0 < g < 1.0:  # beyond the axis nothing moves
            d_xi = z2 * (table.xi[k + 1] - table.xi[k])
            moves = slope * (dedx / xi * rise * d_xi / xi + d_offset) * table.fine[1] * sigma_p
            score /= math.sqrt(1.0 + moves * moves)
        scores[hypothesis] = score
