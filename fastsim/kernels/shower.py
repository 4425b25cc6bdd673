"""Shapes of showers: electromagnetic ones by GFLASH, hadronic ones by Bock's parametrisation.

GFLASH: G. Grindhammer, S. Peters, hep-ex/0001020, appendix A.1 (homogeneous media, electrons). Its mean profile (T = ln y -
0.858) and its mean of ln T for single showers (ln(ln y - 0.812)) are different things; only the latter set is used here. The
tail's growth with energy is 0.0421; Geant4's tuning class has 0.0412, with digits exchanged.
Hadrons: R. K. Bock et al., Nucl. Instrum. Meth. 186 (1981) 533; f_em: T. A. Gabriel et al., Nucl. Instrum. Meth. A338 (1994) 336,
with D. E. Groom's numbers (PDG review, "Particle detectors at accelerators", hadronic calorimeters).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from fastsim.jit import kernel

LEAST_LN_Y: Final = 2.0  # below E = 7 Ec the parametrisation has no meaning: shapes stay as there
LARGEST_SIGMA: Final = 0.5  # of ln T and ln alpha, as Geant4's GFlashSamplingShowerParameterisation
PION_SCALE: Final = 1.0  # GeV, E0 of f_em = 1 - (E/E0)^(m-1) for pions and kaons (PDG: 0.7 to 1.0 in iron)
BARYON_SCALE: Final = 2.6  # GeV, for protons and neutrons
EM_POWER: Final = -0.18  # m - 1, m = 0.80 to 0.87
SIGMA_F_EM: Final = (
    0.15  # fluctuation of f_em: 45 % of it for pions of 10 GeV; our assumption, no parametrisation was at hand
)


class Shape(NamedTuple):
    """Gamma profiles of one electromagnetic shower and of its spots; depths in X0.

    `t_max` of the maximum; `tau_per_x0`: tau of the radial profile is t/<t> <alpha>/(<alpha> - 1), hep-ex/0001020 section 3.2.
    """

    t_max: float
    alpha: float
    beta: float
    alpha_spots: float
    beta_spots: float
    tau_per_x0: float


@kernel
def gamma_p_1(a: float, x: float) -> float:
    """Regularised lower incomplete gamma function P(a, x), a > 0; relative error below 1e-12.

    Series below x = a + 1, continued fraction above (Abramowitz and Stegun 6.5.29 and 6.5.31, by Lentz' method).
    """
    if x <= 0.0:
        return 0.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1.0:
        term = 1.0 / a
        total = term
        n = a
        while abs(term) > 1e-14 * total:
            n += 1.0
            term *= x / n
            total += term
        return front * total
    b = x + 1.0 - a
    c = 1e300
    d = 1.0 / b
    h = d
    for i in range(1, 500):
        an = -i * (i - a)
        b += 2.0
        d = 1.0 / (an * d + b)
        c = b + an / c
        h *= d * c
        if abs(d * c - 1.0) < 1e-14:
            break
    return 1.0 - front * h


@kernel
def mean_shape_1(ln_y: float, z: float) -> tuple[float, float, float, float, float]:
    """GFLASH, homogeneous: <ln T>, sigma(ln T), <ln alpha>, sigma(ln alpha), their correlation; y = E/Ec, z the atomic number."""
    ln_y = max(ln_y, LEAST_LN_Y)
    return (
        math.log(ln_y - 0.812),
        min(1.0 / (-1.4 + 1.26 * ln_y), LARGEST_SIGMA),
        math.log(0.81 + (0.458 + 2.26 / z) * ln_y),
        min(1.0 / (-0.58 + 0.86 * ln_y), LARGEST_SIGMA),
        0.705 - 0.023 * ln_y,
    )


@kernel
def shape_1(ln_y: float, z: float, normal_1: float, normal_2: float) -> Shape:
    """Draw the longitudinal shape of one shower, from two normals."""
    ln_t, sigma_t, ln_alpha, sigma_alpha, rho = mean_shape_1(ln_y, z)
    common = math.sqrt(0.5 * (1.0 + rho)) * normal_1
    opposed = math.sqrt(0.5 * (1.0 - rho)) * normal_2
    t_max = math.exp(ln_t + sigma_t * (common + opposed))
    alpha = max(math.exp(ln_alpha + sigma_alpha * (common - opposed)), 1.1)
    alpha_spots = max(alpha * (0.639 + 0.00334 * z), 1.1)
    mean_alpha = math.exp(ln_alpha)
    return Shape(
        t_max,
        alpha,
        (alpha - 1.0) / t_max,
        alpha_spots,
        (alpha_spots - 1.0) / (t_max * (0.698 + 0.00212 * z)),
        (alpha - 1.0) / (alpha * t_max) * mean_alpha / (mean_alpha - 1.0),
    )


@kernel
def radial_1(tau: float, ln_energy: float, z: float) -> tuple[float, float, float]:
    """GFLASH, homogeneous: median radii of core and tail [R_M], and the core's share, at depth tau; ln of the energy in GeV.

    Each is 2 r R^2 / (r^2 + R^2)^2, so that a quantile u lies at R sqrt(u / (1 - u)).
    """
    core = 0.0251 + 0.00319 * ln_energy + (0.1162 - 0.000381 * z) * tau
    k_4 = 0.3585 + 0.0421 * ln_energy
    tail = (0.659 - 0.00309 * z) * (math.exp(-2.59 * (tau - 0.645)) + math.exp(k_4 * (tau - 0.645)))
    u = (0.401 + 0.00187 * z - tau) / (1.313 - 0.0686 * ln_energy)
    share = (2.632 - 0.00094 * z) * math.exp(u - math.exp(u))
    return max(core, 0.01), tail, min(max(share, 0.0), 1.0)


@kernel
def n_spots_1(energy: float, z: float) -> float:
    """GFLASH, homogeneous: number of spots of a shower of this energy [GeV]; their number makes the lateral fluctuations."""
    return 93.0 * math.log(max(z, 2.0)) * float(energy**0.876)


@kernel
def em_share_1(energy: float, is_baryon: bool) -> float:
    """Mean share of electromagnetic energy in a hadronic shower [GeV]; 0 below the threshold of neutral pions."""
    scale = BARYON_SCALE if is_baryon else PION_SCALE
    return 0.0 if energy <= scale else 1.0 - float((energy / scale) ** EM_POWER)


@kernel
def response_1(energy: float, is_baryon: bool, e_over_h: float) -> float:
    """Mean response to a hadron, over that to an electron of this energy [GeV]: f_em + (1 - f_em) h/e."""
    share = em_share_1(energy, is_baryon)
    return share + (1.0 - share) / e_over_h


@kernel
def bock_1(energy: float) -> tuple[float, float, float]:
    """Bock: a, b [1/X0] and d [1/lambda] of the profiles t^(a-1) e^(-bt) and l^(a-1) e^(-dl) behind the first interaction."""
    ln_energy = math.log(max(energy, 1.0))
    return 0.6165 + 0.3183 * ln_energy, 0.2198, max(0.9099 - 0.0237 * ln_energy, 0.5)
