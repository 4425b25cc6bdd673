"""The vertex of a collision from its tracks: an adaptive fit (Fruehwirth, Waltenberger, Vanlaer, J. Phys. G 34 (2007) N343).

Each track says two things of a vertex: how far its helix passes from it across, in the transverse plane, and in z, at the closest
approach to it in that plane. Their covariance is that of the track's parameters, transported there. A track at the standardised
distance chi2 counts with the weight 1 / (1 + exp((chi2 - cut) / 2 T)), and T is lowered to 1: what does not belong to the vertex
fades out.

Before any track, the vertex is known to be at the origin to 10 cm in each direction (`UNKNOWN`): far more than a vertex's
uncertainty, so that it changes nothing but keeps every matrix regular, also that of parallel tracks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.covariance import SINGULAR
from fastsim.kernels.helix import curvature_1, transport
from fastsim.kernels.vertex_seed import UNKNOWN, approach_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The schedule of CMS's AdaptiveVertexFitter (cmssw, RecoVertex/VertexTools, GeometricAnnealing): T - 1 falls fourfold.
FIRST_TEMPERATURE, COOLING, COLD = 256.0, 0.25, 1.02
MAX_STEPS = 30  # at T = 1; 2 or 3 do, as a rule
CONVERGED = 1e-6  # of a change, in units of chi2: 1e-3 sigma
FAR = 1e4  # chi2 above which a track is not looked at: its weight at the first T is below 4e-9

MAX_LINEARISATIONS = 10
STRAIGHT = 20e-4  # cm: over this a track of 0.1 GeV in 2 T bends by 1e-3 um


class Vertices(NamedTuple):
    """What the fit gives of n events: position (n, 3) [cm], covariance (n, 6) [cm^2], chi2, number of contributors."""

    position: NDArray[np.float64]
    covariance: NDArray[np.float64]
    chi2: NDArray[np.float64]
    n_contributors: NDArray[np.int32]


@kernel
def invert_3(xx: float, xy: float, yy: float, xz: float, yz: float, zz: float, inverse: NDArray[np.float64]) -> None:
    """Fill the inverse (6,) of a positive definite matrix, in the same order. By Cholesky, of the matrix with unit diagonal.

    Pivots are kept above 1e-14, where rounding would decide: the inverse of any matrix with a positive diagonal is finite.
    """
    a, b, d = 1.0 / math.sqrt(xx), 1.0 / math.sqrt(yy), 1.0 / math.sqrt(zz)
    l10, l20 = xy * a * b, xz * a * d
    l11 = math.sqrt(max(1.0 - l10 * l10, SINGULAR))
    l21 = (yz * b * d - l20 * l10) / l11
    l22 = math.sqrt(max(1.0 - l20 * l20 - l21 * l21, SINGULAR))
    k10 = -l10 / l11  # the inverse of the triangle: (1, k10, k20), (1 / l11, k21), (1 / l22)
    k21 = -l21 / (l11 * l22)
    k20 = -(l20 + l21 * k10) / l22
    inverse[0] = (1.0 + k10 * k10 + k20 * k20) * a * a
    inverse[1] = (k10 / l11 + k20 * k21) * a * b
    inverse[2] = (1.0 / (l11 * l11) + k21 * k21) * b * b
    inverse[3] = k20 / l22 * a * d
    inverse[4] = k21 / l22 * b * d
    inverse[5] = d * d / (l22 * l22)


@kernel
def chi2_1(line: NDArray[np.float64], dx: float, dy: float, dz: float) -> float:
    """chi2 of a track, one of `linearise`, to the vertex that lies at (dx, dy, dz) [cm] from where it was made a line."""
    across = line[3] + line[1] * dx - line[0] * dy
    in_z = line[4] + line[2] * (line[0] * dx + line[1] * dy) - dz
    return float(across * across * line[5] + 2.0 * across * in_z * line[6] + in_z * in_z * line[7])


@kernel
def weight_1(chi2: float, chi2_cut: float, temperature: float) -> float:
    """Weight of a track in the vertex (Fruehwirth et al., J. Phys. G 34 (2007) N343, eq. 3): 1/2 at the cut."""
    return 1.0 / (1.0 + math.exp(min((chi2 - chi2_cut) / (2.0 * temperature), 700.0)))


@kernel
def linearise(
    rows: NDArray[np.int64],
    first: int,
    n: int,
    parameters: NDArray[np.float64],
    cov_packed: NDArray[np.float64],
    b_z: float,
    position: NDArray[np.float64],
    lines: NDArray[np.float64],
) -> int:
    """Tracks `rows[first:first + n]` as straight lines near `position` (3,) [cm]; returns how many can belong to a vertex there.

    These are brought to the front, of the rows and of `lines` (n, 8): cosine, sine, tan_lambda, the distances across and in z
    [cm], and the inverse of their covariance (across, mixed, z) [1/cm^2].
    """
    jacobian = np.empty((5, 5))
    kept = 0
    for k in range(first, first + n):
        i = rows[k]
        c = curvature_1(parameters[i, 4], b_z)
        tangent = parameters[i, 3]
        distance, cosine, sine, s = approach_1(
            parameters[i, 0], math.cos(parameters[i, 2]), math.sin(parameters[i, 2]), c, position[0], position[1]
        )
        transport(s, c, tangent, b_z, jacobian)
        # A change of phi also turns the point of closest approach about the line: it moves by -dca_xy along the track.
        turned = 1.0 + c * parameters[i, 0]
        jacobian[0, 2] *= turned
        jacobian[1, 2] = jacobian[1, 2] * turned + tangent * parameters[i, 0]
        nn = nz = zz = 0.0
        row = 0
        for a in range(5):
            for b in range(a + 1):
                element = cov_packed[i, row] * (0.5 if a == b else 1.0)
                nn += 2.0 * element * jacobian[0, a] * jacobian[0, b]
                nz += element * (jacobian[0, a] * jacobian[1, b] + jacobian[0, b] * jacobian[1, a])
                zz += 2.0 * element * jacobian[1, a] * jacobian[1, b]
                row += 1
        determinant = nn * zz - nz * nz
        if not determinant > SINGULAR * nn * zz:
            continue
        line = lines[kept]
        line[0], line[1], line[2], line[3] = cosine, sine, tangent, distance
        line[4] = parameters[i, 1] + s * tangent - position[2]
        line[5], line[6], line[7] = zz / determinant, -nz / determinant, nn / determinant
        if chi2_1(line, 0.0, 0.0, 0.0) < FAR:
            rows[k], rows[first + kept] = rows[first + kept], i
            kept += 1
    return kept


@kernel
def step_1(
    lines: NDArray[np.float64],
    n: int,
    position: NDArray[np.float64],
    shift: NDArray[np.float64],
    chi2_cut: float,
    temperature: float,
    covariance: NDArray[np.float64],
) -> float:
    """One weighted least-squares fit: weights at the present `shift` (3,) [cm] from `position`, which is replaced by the new one.

    Fills `covariance` (6,) [cm^2]; returns the square of the change in units of it.
    """
    xx = yy = zz = 1.0 / UNKNOWN
    xy = xz = yz = 0.0
    gx, gy, gz = -position[0] / UNKNOWN, -position[1] / UNKNOWN, -position[2] / UNKNOWN
    for k in range(n):
        line = lines[k]
        weight = weight_1(chi2_1(line, shift[0], shift[1], shift[2]), chi2_cut, temperature)
        cosine, sine, tangent = line[0], line[1], line[2]
        w_nn, w_nz, w_zz = weight * line[5], weight * line[6], weight * line[7]
        # The distances change by -a . shift and -b . shift, with a = (-sine, cosine, 0), b = (-tangent cosine, -tangent sine, 1).
        bx, by = -tangent * cosine, -tangent * sine
        xx += w_nn * sine * sine - 2.0 * w_nz * sine * bx + w_zz * bx * bx
        xy += -w_nn * sine * cosine + w_nz * (cosine * bx - sine * by) + w_zz * bx * by
        yy += w_nn * cosine * cosine + 2.0 * w_nz * cosine * by + w_zz * by * by
        xz += -w_nz * sine + w_zz * bx
        yz += w_nz * cosine + w_zz * by
        zz += w_zz
        p = w_nn * line[3] + w_nz * line[4]
        q = w_nz * line[3] + w_zz * line[4]
        gx += -sine * p + bx * q
        gy += cosine * p + by * q
        gz += q
    invert_3(xx, xy, yy, xz, yz, zz, covariance)
    dx = covariance[0] * gx + covariance[1] * gy + covariance[3] * gz - shift[0]
    dy = covariance[1] * gx + covariance[2] * gy + covariance[4] * gz - shift[1]
    dz = covariance[3] * gx + covariance[4] * gy + covariance[5] * gz - shift[2]
    shift[0] += dx
    shift[1] += dy
    shift[2] += dz
    return float(xx * dx * dx + yy * dy * dy + zz * dz * dz + 2.0 * (xy * dx * dy + xz * dx * dz + yz * dy * dz))


@kernel
def fit_vertices(
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    parameters: NDArray[np.float64],
    cov_packed: NDArray[np.float64],
    b_z: float,
    chi2_cut: float,
    vertices: Vertices,
    weights: NDArray[np.float64],
) -> None:
    """Fit the vertex of each event, from the seeds that are the `vertices.position`; fill `vertices` and `weights`, 0 before.

    `rows[offsets[event]:offsets[event + 1]]` are an event's usable tracks, which are reordered: rows of `parameters` (., 5),
    `cov_packed` (., 15) and `weights` (.,). Contributors have a weight above 1/2; chi2 is the sum of weight times chi2. With
    fewer than two contributors the vertex is what is known without tracks: the origin, with the covariance `UNKNOWN`.
    """
    lines, shift = np.empty((len(rows), 8)), np.empty(3)
    for event in range(len(offsets) - 1):
        first, position, covariance = offsets[event], vertices.position[event], vertices.covariance[event]
        n = 0
        temperature = FIRST_TEMPERATURE
        shift[0] = shift[1] = shift[2] = 0.0
        for _ in range(MAX_LINEARISATIONS):
            for axis in range(3):
                position[axis] += shift[axis]
                shift[axis] = 0.0
            n = linearise(rows, first, offsets[event + 1] - first, parameters, cov_packed, b_z, position, lines)
            while temperature > COLD:
                step_1(lines, n, position, shift, chi2_cut, temperature, covariance)
                temperature = 1.0 + (temperature - 1.0) * COOLING
            for _step in range(MAX_STEPS):
                if step_1(lines, n, position, shift, chi2_cut, 1.0, covariance) < CONVERGED:
                    break
            if max(abs(shift[0]), abs(shift[1]), abs(shift[2])) < STRAIGHT:
                break
        n_contributors = 0
        chi2 = 0.0
        for k in range(n):
            distance = chi2_1(lines[k], shift[0], shift[1], shift[2])
            weight = weight_1(distance, chi2_cut, 1.0)
            weights[rows[first + k]] = weight
            n_contributors += weight > 0.5
            chi2 += weight * distance
        if n_contributors >= 2:
            for axis in range(3):
                position[axis] += shift[axis]
            vertices.n_contributors[event], vertices.chi2[event] = n_contributors, chi2
            continue
        for k in range(n):
            weights[rows[first + k]] = 0.0
        position[0] = position[1] = position[2] = 0.0
        covariance[1] = covariance[3] = covariance[4] = 0.0
        covariance[0] = covariance[2] = covariance[5] = UNKNOWN
        vertices.n_contributors[event], vertices.chi2[event] = 0, 0.0
