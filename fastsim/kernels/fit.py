"""A track fit without hits: what the crossings of a path tell about the track, as an information filter.

The state is the local perigee (`kernels.helix`), so at the beam line the inverse of the information is the covariance of the
track parameters. Starting from zero information the result is exact for the linearised problem: no seed covariance enters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastsim.jit import kernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastsim.kernels.surfaces import Surfaces
    from fastsim.kernels.walk import Path


@kernel
def add_hit(
    information: NDArray[np.float64], sigma: NDArray[np.float64], views: NDArray[np.float64], share: float
) -> None:
    """Add a hit of up to two views with resolutions `sigma` (2,) [cm] to the information (5, 5), `share` of it."""
    for m in range(2):
        if sigma[m] < math.inf:
            weight = share / (sigma[m] * sigma[m])
            information[0, 0] += weight * views[m, 0] * views[m, 0]
            information[0, 1] += weight * views[m, 0] * views[m, 1]
            information[1, 1] += weight * views[m, 1] * views[m, 1]
    information[1, 0] = information[0, 1]


@kernel
def add_noise(information: NDArray[np.float64], g2: float, g3: float, g4: float, variance: float) -> None:
    """Spread the state along g = (0, 0, g2, g3, g4) with this variance: (I^-1 + v g g^T)^-1 by Sherman and Morrison."""
    if variance <= 0.0:
        return
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
def scatter_noise(information: NDArray[np.float64], tan_lambda: float, q_over_pt: float, theta2: float) -> None:
    """Two kicks of variance `theta2`: one in the dip plane changes tan_lambda and, |p| being kept, q/pt; one across it phi."""
    cosh2 = 1.0 + tan_lambda * tan_lambda
    add_noise(information, 0.0, cosh2, q_over_pt * tan_lambda, theta2)
    add_noise(information, math.sqrt(cosh2), 0.0, 0.0, theta2)


@kernel
def change_state(information: NDArray[np.float64], f: NDArray[np.float64], work: NDArray[np.float64]) -> None:
    """F^T I F in place, for a Jacobian F (5, 5) of `helix.transport` (its non-zero elements); `work` (5, 5) is overwritten."""
    for i in range(5):
        n, z, phi = information[i, 0], information[i, 1], information[i, 2]
        work[i, 0] = n * f[0, 0] + z * f[1, 0] + phi * f[2, 0]
        work[i, 1] = z
        work[i, 2] = n * f[0, 2] + z * f[1, 2] + phi * f[2, 2]
        work[i, 3] = z * f[1, 3] + information[i, 3]
        work[i, 4] = n * f[0, 4] + z * f[1, 4] + phi * f[2, 4] + information[i, 4]
    for j in range(5):
        n, z, phi = work[0, j], work[1, j], work[2, j]
        information[0, j] = f[0, 0] * n + f[1, 0] * z + f[2, 0] * phi
        information[1, j] = z
        information[2, j] = f[0, 2] * n + f[1, 2] * z + f[2, 2] * phi
        information[3, j] = f[1, 3] * z + work[3, j]
        information[4, j] = f[0, 4] * n + f[1, 4] * z + f[2, 4] * phi + work[4, j]
    for i in range(5):
        for j in range(i):
            information[i, j] = information[j, i]


@kernel
def change_q_over_pt(information: NDArray[np.float64], row: NDArray[np.float64]) -> None:
    """L^T I L in place, L being the identity but for its last row (energy loss): q/pt' = row . state."""
    if row[0] == 0.0 and row[2] == 0.0 and row[3] == 0.0 and row[4] == 1.0:
        return
    for i in range(5):  # I L
        last = information[i, 4]
        for j in range(4):
            information[i, j] += last * row[j]
        information[i, 4] = last * row[4]
    for j in range(5):  # L^T (I L)
        last = information[4, j]
        for i in range(4):
            information[i, j] += row[i] * last
        information[4, j] = row[4] * last


@kernel
def cross_inwards(
    information: NDArray[np.float64],
    tan_lambda: float,
    q_over_pt: float,
    theta2: float,
    loss: NDArray[np.float64],
    jitter: float,
) -> None:
    """From the state behind a surface to the state before it: straggling, energy loss, scattering, undone in this order."""
    add_noise(information, 0.0, 0.0, 1.0, jitter)
    change_q_over_pt(information, loss)
    scatter_noise(information, tan_lambda, q_over_pt, theta2)


@kernel
def cross_outwards(
    information: NDArray[np.float64], tan_lambda: float, q_over_pt: float, theta2: float, loss: NDArray[np.float64],
    jitter: float, row: NDArray[np.float64],
) -> None:  # fmt: skip
    """From the state before a surface to the state behind it; `row` (5,) is overwritten."""
    scatter_noise(information, tan_lambda, q_over_pt, theta2)
    for j in range(4):
        row[j] = -loss[j] / loss[4]
    row[4] = 1.0 / loss[4]
    change_q_over_pt(information, row)
    add_noise(information, 0.0, 0.0, 1.0, jitter)


@kernel
def fit_inwards(
    surfaces: Surfaces, path: Path, n: int, tan_lambda: float, share: NDArray[np.float64], information: NDArray[np.float64],
    work: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fill `information` (5, 5) at the beam line, of the hits of which `share` (n,) is there (0 or 1, or a mean)."""
    information[:, :] = 0.0
    seen = False
    for k in range(n - 1, -1, -1):
        if seen:
            cross_inwards(information, tan_lambda, path.q_over_pt[k], path.theta2[k], path.loss[k], path.jitter[k])
        if share[k] > 0.0:
            add_hit(information, surfaces.sigma[path.surface[k]], path.views[k], share[k])
            seen = True
        if seen:
            change_state(information, path.jacobian[k], work)


@kernel
def set_seed(information: NDArray[np.float64], q_over_pt: float) -> None:
    """Start with the information of DelphesO2's seed: 5 cm, 5 cm, 0.7 rad, 0.7 and 30.5 q/pt."""
    information[:, :] = 0.0
    information[0, 0] = 1.0 / 25.0
    information[1, 1] = 1.0 / 25.0
    information[2, 2] = 1.0 / 0.49
    information[3, 3] = 1.0 / 0.49
    information[4, 4] = 1.0 / (30.5 * q_over_pt) ** 2


@kernel
def predict(information: NDArray[np.float64], views: NDArray[np.float64], variance: NDArray[np.float64]) -> None:
    """Fill `variance` (2,) [cm2]: where a track is predicted on a surface, in its two views (2, 2).

    The covariance of (n, z) is the inverse of I_pp - I_pr I_rr^-1 I_rp, r being the other three parameters.
    """
    l22 = math.sqrt(information[2, 2])  # Cholesky factor of the three
    l32 = information[3, 2] / l22
    l42 = information[4, 2] / l22
    l33 = math.sqrt(information[3, 3] - l32 * l32)
    l43 = (information[4, 3] - l42 * l32) / l33
    l44 = math.sqrt(information[4, 4] - l42 * l42 - l43 * l43)
    n2 = information[0, 2] / l22
    n3 = (information[0, 3] - n2 * l32) / l33
    n4 = (information[0, 4] - n2 * l42 - n3 * l43) / l44
    z2 = information[1, 2] / l22
    z3 = (information[1, 3] - z2 * l32) / l33
    z4 = (information[1, 4] - z2 * l42 - z3 * l43) / l44
    nn = information[0, 0] - n2 * n2 - n3 * n3 - n4 * n4
    zz = information[1, 1] - z2 * z2 - z3 * z3 - z4 * z4
    nz = information[0, 1] - n2 * z2 - n3 * z3 - n4 * z4
    determinant = nn * zz - nz * nz
    for m in range(2):
        g, h = views[m, 0], views[m, 1]
        variance[m] = (g * g * zz - 2.0 * g * h * nz + h * h * nn) / determinant


@kernel
def noise_on_vector(
    information: NDArray[np.float64], vector: NDArray[np.float64], g2: float, g3: float, g4: float, variance: float
) -> None:
    """What `add_noise` does to the information's vector; to be called before it."""
    if variance <= 0.0:
        return
    towards = vector[2] * g2 + vector[3] * g3 + vector[4] * g4
    along = 1.0 / variance
    for i in range(5):
        u = information[i, 2] * g2 + information[i, 3] * g3 + information[i, 4] * g4
        along += u * (g2 if i == 2 else g3 if i == 3 else g4 if i == 4 else 0.0)
    for i in range(5):
        u = information[i, 2] * g2 + information[i, 3] * g3 + information[i, 4] * g4
        vector[i] -= towards / along * u


@kernel
def follow_kicks(path: Path, n: int, kicks: NDArray[np.float64], deviations: NDArray[np.float64]) -> None:
    """Fill `deviations` (n, 5): how far a track that q/pt changes on by `kicks` (n,) is off the path, before each surface."""
    for k in range(n):
        for i in range(5):
            deviations[k, i] = 0.0
        if k == 0:
            continue
        before = deviations[k - 1]
        lost = kicks[k - 1]
        for j in range(5):
            lost += path.loss[k - 1, j] * before[j]
        for i in range(5):
            for j in range(5):
                deviations[k, i] += path.jacobian[k, i, j] * (lost if j == 4 else before[j])


@kernel
def fit_kicks(
    surfaces: Surfaces, path: Path, n: int, tan_lambda: float, share: NDArray[np.float64], deviations: NDArray[np.float64],
    information: NDArray[np.float64], vector: NDArray[np.float64], work: NDArray[np.float64],
) -> None:  # fmt: skip
    """As `fit_inwards`, of hits that are off the path by `deviations` (n, 5), which the fit knows nothing of.

    The information (5, 5) and its `vector` (5,) at the beam line: their quotient is how far the fitted parameters are off.
    """
    information[:, :] = 0.0
    vector[:] = 0.0
    cosh2 = 1.0 + tan_lambda * tan_lambda
    seen = False
    for k in range(n - 1, -1, -1):
        q_over_pt, theta2, loss = path.q_over_pt[k], path.theta2[k], path.loss[k]
        if seen:
            noise_on_vector(information, vector, 0.0, 0.0, 1.0, path.jitter[k])
            add_noise(information, 0.0, 0.0, 1.0, path.jitter[k])
            last = vector[4]
            vector[4] = 0.0
            for j in range(5):
                vector[j] += loss[j] * last
            change_q_over_pt(information, loss)
            noise_on_vector(information, vector, 0.0, cosh2, q_over_pt * tan_lambda, theta2)
            add_noise(information, 0.0, cosh2, q_over_pt * tan_lambda, theta2)
            noise_on_vector(information, vector, math.sqrt(cosh2), 0.0, 0.0, theta2)
            add_noise(information, math.sqrt(cosh2), 0.0, 0.0, theta2)
        if share[k] > 0.0:
            sigma, views = surfaces.sigma[path.surface[k]], path.views[k]
            for m in range(2):
                if sigma[m] < math.inf:
                    off = views[m, 0] * deviations[k, 0] + views[m, 1] * deviations[k, 1]
                    weight = share[k] / (sigma[m] * sigma[m])
                    vector[0] += weight * views[m, 0] * off
                    vector[1] += weight * views[m, 1] * off
            add_hit(information, sigma, views, share[k])
            seen = True
        if seen:
            for j in range(5):
                work[0, j] = 0.0
                for i in range(5):
                    work[0, j] += path.jacobian[k, i, j] * vector[i]
            vector[:] = work[0]
            change_state(information, path.jacobian[k], work)
