"""The table maker's physics: what a set of cylinders measures of a track, by a track fit without hits.

An information filter runs along the exact helix from the outermost measurement inwards. The state is the local
perigee (`kernels.helix`), so at the origin the inverse of the information is the covariance of the track parameters.
Starting from zero information the result is exact for the linearised problem: no seed covariance enters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.covariance import cholesky_5, invert_5
from fastsim.kernels.helix import arc_length_1, curvature_1, transport
from fastsim.kernels.scattering import highland_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

PHYSICS_VERSION = 1  # part of every table's hash: change it whenever a number in a table could change


class Layers(NamedTuple):
    """Cylinders sorted by radius, as kernels see them; lengths in cm. Passive ones have efficiency 0."""

    r: NDArray[np.float64]
    half_length: NDArray[np.float64]
    x_over_x0: NDArray[np.float64]
    sigma_rphi: NDArray[np.float64]
    sigma_z: NDArray[np.float64]
    efficiency: NDArray[np.float64]


class Rules(NamedTuple):
    """What a track is: field [T], scattering convention, hits needed, largest sin(incidence), radius to be reached [cm]."""

    b_z: float
    convention: int
    min_hits: int
    max_sin_incidence: float
    min_radius: float


@kernel
def crossings(
    layers: Layers, rules: Rules, c: float, tan_lambda: float, index: NDArray[np.int64], arc: NDArray[np.float64]
) -> int:
    """Which layers a track from the origin crosses on its first way out: fills `index` and `arc` [cm], returns how many.

    A layer counts where sin(incidence) = r |c| / 2 stays within the rules and the crossing within the layer's length.
    """
    n = 0
    for i in range(len(layers.r)):
        if 0.5 * layers.r[i] * abs(c) > rules.max_sin_incidence:
            break
        s = arc_length_1(layers.r[i], c)
        if abs(s * tan_lambda) <= layers.half_length[i]:
            index[n] = i
            arc[n] = s
            n += 1
    return n


@kernel
def add_measurement(
    information: NDArray[np.float64], sigma_rphi: float, sigma_z: float, sin_incidence: float, tan_lambda: float
) -> None:
    """Add a hit on a cylinder, measured in r-phi and in z at fixed radius [cm], to the information (5, 5)."""
    cos_incidence = math.sqrt(1.0 - sin_incidence * sin_incidence)
    slide = tan_lambda * sin_incidence / cos_incidence  # dz at fixed r for a shift n across the track
    w_rphi = 1.0 / (cos_incidence * sigma_rphi) ** 2
    w_z = 1.0 / (sigma_z * sigma_z)
    information[0, 0] += w_rphi + w_z * slide * slide
    information[0, 1] += w_z * slide
    information[1, 0] += w_z * slide
    information[1, 1] += w_z


@kernel
def add_noise(information: NDArray[np.float64], g2: float, g3: float, g4: float, variance: float) -> None:
    """Spread the state along g = (0, 0, g2, g3, g4) with this variance: (I^-1 + v g g^T)^-1 by Sherman and Morrison."""
    u0 = information[0, 2] * g2 + information[0, 3] * g3 + information[0, 4] * g4
    u1 = information[1, 2] * g2 + information[1, 3] * g3 + information[1, 4] * g4
    u2 = information[2, 2] * g2 + information[2, 3] * g3 + information[2, 4] * g4
    u3 = information[3, 2] * g2 + information[3, 3] * g3 + information[3, 4] * g4
    u4 = information[4, 2] * g2 + information[4, 3] * g3 + information[4, 4] * g4
    u = (u0, u1, u2, u3, u4)
    scale = 1.0 / (1.0 / variance + u2 * g2 + u3 * g3 + u4 * g4)
    for i in range(5):
        for j in range(5):
            information[i, j] -= scale * u[i] * u[j]


@kernel
def move_inwards(information: NDArray[np.float64], jacobian: NDArray[np.float64], work: NDArray[np.float64]) -> None:
    """F^T I F in place, for the Jacobian F (5, 5) of the outward transport; `work` (5, 5) is overwritten."""
    for i in range(5):
        for j in range(5):
            total = 0.0
            for k in range(5):
                total += information[i, k] * jacobian[k, j]
            work[i, j] = total
    for i in range(5):
        for j in range(i + 1):
            total = 0.0
            for k in range(5):
                total += jacobian[k, i] * work[k, j]
            information[i, j] = total
            information[j, i] = total


class Scratch(NamedTuple):
    """Work space of one table, allocated once."""

    crossed: NDArray[np.int64]
    arc: NDArray[np.float64]
    theta2: NDArray[np.float64]
    jacobians: NDArray[np.float64]
    is_hit: NDArray[np.bool_]
    information: NDArray[np.float64]
    covariance: NDArray[np.float64]
    total: NDArray[np.float64]
    work: NDArray[np.float64]
    probabilities: NDArray[np.float64]


@kernel
def fit_pattern(layers: Layers, n: int, c: float, tan_lambda: float, q_over_pt: float, scratch: Scratch) -> bool:
    """Covariance at the origin for the hits marked in `scratch.is_hit`; fills `scratch.covariance`, False if singular."""
    information = scratch.information
    information[:, :] = 0.0
    cosh2 = 1.0 + tan_lambda * tan_lambda
    for k in range(n - 1, -1, -1):
        i = scratch.crossed[k]
        if scratch.is_hit[k]:
            add_measurement(information, layers.sigma_rphi[i], layers.sigma_z[i], 0.5 * c * layers.r[i], tan_lambda)
        variance = scratch.theta2[k]
        if variance > 0.0 and information[0, 0] > 0.0:
            # A kick in the dip plane changes tan_lambda and, |p| being kept, q/pt; one across it changes phi.
            add_noise(information, 0.0, cosh2, q_over_pt * tan_lambda, variance)
            add_noise(information, math.sqrt(cosh2), 0.0, 0.0, variance)
        move_inwards(information, scratch.jacobians[k], scratch.work[0])
    return invert_5(information, scratch.covariance, scratch.work)


@kernel
def prepare(
    layers: Layers, rules: Rules, c: float, tan_lambda: float, p: float, beta: float, charge: float, scratch: Scratch
) -> int:
    """Everything about the crossings that does not depend on which hits are found; returns the number of crossings."""
    n = crossings(layers, rules, c, tan_lambda, scratch.crossed, scratch.arc)
    slope = math.sqrt(1.0 + tan_lambda * tan_lambda)
    t_total = 0.0
    t_path = 0.0  # as far as the outermost measuring layer: what lies behind it changes nothing
    for k in range(n):
        i = scratch.crossed[k]
        sin_incidence = 0.5 * c * layers.r[i]
        scratch.theta2[k] = layers.x_over_x0[i] * slope / math.sqrt(1.0 - sin_incidence * sin_incidence)
        t_total += scratch.theta2[k]
        if layers.efficiency[i] > 0.0:
            t_path = t_total
    previous = 0.0
    for k in range(n):
        scratch.theta2[k] = (
            highland_1(scratch.theta2[k], max(t_path, scratch.theta2[k]), p, beta, charge, rules.convention) ** 2
        )
        transport(scratch.arc[k] - previous, c, tan_lambda, rules.b_z, scratch.jacobians[k])
        previous = scratch.arc[k]
    return n


@kernel
def probability_of_hits(layers: Layers, n: int, min_hits: int, scratch: Scratch) -> float:
    """Probability of at least `min_hits` hits on the crossed layers, each with its own efficiency (exact recursion)."""
    below = scratch.probabilities  # below[m] = P(exactly m hits so far), m < min_hits
    below[:] = 0.0
    below[0] = 1.0
    for k in range(n):
        efficiency = layers.efficiency[scratch.crossed[k]]
        for m in range(min_hits - 1, -1, -1):
            below[m] = below[m] * (1.0 - efficiency) + (below[m - 1] * efficiency if m > 0 else 0.0)
    missing = 0.0
    for m in range(min_hits):
        missing += below[m]
    return max(1.0 - missing, 0.0)


@kernel
def add_pattern(
    layers: Layers, rules: Rules, n: int, c: float, tan_lambda: float, q_over_pt: float, lost_a: int, lost_b: int,
    scratch: Scratch,
) -> float:  # fmt: skip
    """Add the covariance with up to two lost hits to `scratch.total`, by its probability, which is returned."""
    probability = 1.0
    n_hits = 0
    for k in range(n):
        efficiency = layers.efficiency[scratch.crossed[k]]
        lost = k in (lost_a, lost_b)
        scratch.is_hit[k] = efficiency > 0.0 and not lost
        n_hits += scratch.is_hit[k]
        if efficiency > 0.0:
            probability *= 1.0 - efficiency if lost else efficiency
    if n_hits < rules.min_hits or probability <= 0.0:
        return 0.0
    if not fit_pattern(layers, n, c, tan_lambda, q_over_pt, scratch):
        return 0.0
    for i in range(5):
        for j in range(5):
            scratch.total[i, j] += probability * scratch.covariance[i, j]
    return probability


@kernel
def solve_track(
    layers: Layers, rules: Rules, pt: float, tan_lambda: float, mass: float, charge: float, scratch: Scratch
) -> float:
    """Efficiency of a track from the origin; its mean covariance (5, 5) over hit patterns goes to `scratch.total`.

    Patterns with up to two lost hits are summed by their probability (the table maker refuses detectors where more
    would matter). Returns 0 where there is no track.
    """
    scratch.total[:, :] = 0.0
    q_over_pt = charge / pt
    c = curvature_1(q_over_pt, rules.b_z)
    if 0.5 * rules.min_radius * abs(c) > rules.max_sin_incidence:
        return 0.0
    p = pt * math.sqrt(1.0 + tan_lambda * tan_lambda)
    beta = p / math.sqrt(p * p + mass * mass)
    n = prepare(layers, rules, c, tan_lambda, p, beta, charge, scratch)
    efficiency = probability_of_hits(layers, n, rules.min_hits, scratch)
    if efficiency <= 0.0:
        return 0.0
    weight = add_pattern(layers, rules, n, c, tan_lambda, q_over_pt, -1, -1, scratch)
    for a in range(n):
        efficiency_a = layers.efficiency[scratch.crossed[a]]
        if 0.0 < efficiency_a < 1.0:
            weight += add_pattern(layers, rules, n, c, tan_lambda, q_over_pt, a, -1, scratch)
            for b in range(a):
                if 0.0 < layers.efficiency[scratch.crossed[b]] < 1.0:
                    weight += add_pattern(layers, rules, n, c, tan_lambda, q_over_pt, a, b, scratch)
    if weight <= 0.0:
        return 0.0
    for i in range(5):
        for j in range(5):
            scratch.total[i, j] /= weight
    return efficiency


@kernel
def store_cell(
    covariance: NDArray[np.float64], efficiency: float, cell: NDArray[np.float32], work: NDArray[np.float64]
) -> bool:
    """Write efficiency, ln sigma and rho to a cell (16,) float32; False if what was *stored* is not positive definite."""
    cell[0] = efficiency
    for i in range(5):
        cell[1 + i] = math.log(math.sqrt(covariance[i, i]))
    k = 6
    for i in range(5):
        work[0, i, i] = 1.0
        for j in range(i):
            cell[k] = covariance[i, j] / math.sqrt(covariance[i, i] * covariance[j, j])
            work[0, i, j] = cell[k]
            k += 1
    return cholesky_5(work[0], work[1])


@kernel
def fill_table(
    layers: Layers,
    rules: Rules,
    pt: NDArray[np.float64],
    tan_lambda: NDArray[np.float64],
    mass: float,
    charge: float,
    scratch: Scratch,
    table: NDArray[np.float32],
) -> int:
    """Fill a table (n_eta, n_pt, 16) for one species; returns the number of cells that could not be stored."""
    n_bad = 0
    for i in range(len(tan_lambda)):
        for j in range(len(pt)):
            cell = table[i, j]
            efficiency = solve_track(layers, rules, pt[j], tan_lambda[i], mass, charge, scratch)
            if efficiency > 0.0 and store_cell(scratch.total, efficiency, cell, scratch.work):
                continue
            n_bad += efficiency > 0.0
            cell[0] = 0.0
            cell[1:] = np.nan
    return n_bad


def make_scratch(n_layers: int, min_hits: int) -> Scratch:
    """Work space for `n_layers` layers."""
    return Scratch(
        crossed=np.zeros(n_layers, dtype=np.int64),
        arc=np.zeros(n_layers),
        theta2=np.zeros(n_layers),
        jacobians=np.zeros((n_layers, 5, 5)),
        is_hit=np.zeros(n_layers, dtype=np.bool_),
        information=np.zeros((5, 5)),
        covariance=np.zeros((5, 5)),
        total=np.zeros((5, 5)),
        work=np.zeros((2, 5, 5)),
        probabilities=np.zeros(min_hits),
    )
