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
from fastsim.rng import Word, uniforms_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.kernels.slants import Crossings, Sensors

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
    `shape_bg`, ln(z^2 path [cm]) of `shape_path`, and ln(u / (1 - u)) of `logits`. Of n hits (from 1) in a truncated mean, the
    lowest `whole` (n_hits,) count in full and the next one as `part` (n_hits,). `log_thickness` is that of the sensor [cm], and
    `reference` the most probable loss of a minimum-ionising particle at normal incidence, in xi.
    """

    fine: tuple[float, float]
    xi: NDArray[np.float64]
    offset: NDArray[np.float64]
    shape_bg: tuple[float, float]
    shape_path: tuple[float, float]
    logits: tuple[float, float]
    quantiles: NDArray[np.float64]
    whole: NDArray[np.int64]
    part: NDArray[np.float64]
    log_thickness: float
    reference: float


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
def read_out_1(threshold: float, per_energy: float, tick: float, deposit: float) -> float:
    """The deposit [GeV] that the read-out says, by the time over threshold if it has one; 0 below the threshold."""
    if deposit < threshold:
        return 0.0
    if tick <= 0.0:
        return deposit
    ticks = math.floor((deposit - threshold) * per_energy / tick)
    return threshold + (ticks + 0.5) * tick / per_energy


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
def draw_deposits_1(
    table: Straggling, sensors: Sensors, crossings: Crossings, n_crossed: int, p: float, mass: float,
    charge: float, particle_index: int, event_id: Word, k0: Word, k1: Word, values: NDArray[np.float64],
) -> tuple[int, float]:  # fmt: skip
    """Fill `values` with the energy per path [GeV/cm] in each layer that is crossed, ascending; as at normal incidence.

    The most probable loss per path rises with ln(path): it is taken out with the rise of a minimum-ionising particle, so that
    hits in barrel and disks can be compared.

    Returns the number of hits and ln of their harmonic mean slant (thin crossings fluctuate most). Of `crossings`, as
    `kernels.slants` fills them, the first `n_crossed` count; momentum and mass in GeV. One uniform a layer, addressed by its
    number.
    """
    log_bg = math.log(p / mass)
    i_bg, f_bg = place_1(log_bg, table.shape_bg, table.quantiles.shape[0])
    z2 = charge * charge
    log_z2 = math.log(z2)
    k_bg, g = place_1(log_bg, table.fine, len(table.xi))
    xi = z2 * ((1.0 - g) * table.xi[k_bg] + g * table.xi[k_bg + 1])
    offset = (1.0 - g) * table.offset[k_bg] + g * table.offset[k_bg + 1]
    most = math.sqrt(p * p + mass * mass) - mass
    n = 0
    sum_cosine = 0.0
    drawn = -1
    pair = (0.0, 0.0)
    for k in range(n_crossed):
        i, cosine = crossings.layer[k], crossings.cosine[k]
        if drawn != i // 2:
            drawn = i // 2
            pair = uniforms_1(drawn, particle_index, event_id, k0, k1)
        w = pair[0] if i % 2 == 0 else pair[1]
        if w >= sensors.efficiency[i]:
            continue
        w = min((w + 1e-17) / sensors.efficiency[i], 1.0 - 1e-16)  # what is left of it is uniform too, and has a logit
        path = sensors.thickness / cosine
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
        sum_cosine += cosine
    return n, math.log(n / sum_cosine) if n > 0 else 0.0
