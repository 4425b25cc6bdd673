"""Where the fit of an event's vertex begins: where its tracks cross, and along z where the sum of pt^2 is largest.

In the transverse plane all collisions of an event are close to each other, so all tracks say where; secondaries miss it.
Along z, tracks that pass there are added up in a window of their resolution. The collision with the largest sum of pt^2 is the
wanted one, as in CMS (arXiv:1405.6569, section 5).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.helix import curvature_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN = 100.0  # cm^2: variance of each coordinate before there are tracks
MAX_CROSSING_STEPS = 10
OFF_THE_LINE = (
    25.0  # chi2 of dca_xy above which a track is not added up: 5 sigma, as CMS (arXiv:1405.6569, section 5.1)
)
WINDOW = 3.0  # half width of the window in z, in units of the resolution that a quarter of the tracks has
HARD = 10.0  # GeV: harder tracks count as this, else one jet of a displaced b is a vertex (cmssw, PVClusterComparer)


@kernel
def approach_1(
    dca_xy: float, cos_phi: float, sin_phi: float, c: float, x: float, y: float
) -> tuple[float, float, float, float]:
    """A helix at its closest approach to the point (x, y) [cm] of the transverse plane.

    Returns the distance n [cm], positive where the helix passes to the left of the point, the cosine and sine of its
    direction there, and the transverse arc s [cm] from its closest approach to x = y = 0. As `helix.perigee_1`.
    """
    along = -x * cos_phi - y * sin_phi
    across = dca_xy + x * sin_phi - y * cos_phi
    cos_turn, sin_turn = 1.0 + c * across, -c * along
    norm = math.hypot(cos_turn, sin_turn)
    distance = (2.0 * across + c * (along * along + across * across)) / (norm + 1.0)
    turn = math.atan2(sin_turn, cos_turn)
    s = turn / c if abs(turn) > 1e-9 else -along / cos_turn
    cos_turn /= norm
    sin_turn /= norm
    return distance, cos_phi * cos_turn - sin_phi * sin_turn, sin_phi * cos_turn + cos_phi * sin_turn, s


@kernel
def ranked_1(values: NDArray[np.float64], n: int, rank: int) -> float:
    """The `rank`-th smallest (from 0) of the first `n` of `values`, which are reordered. Source: Hoare, CACM 4 (1961) 321."""
    low, high = 0, n - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            break
    return float(values[rank])


@kernel
def sort_by(values: NDArray[np.float64], order: NDArray[np.int64], n: int) -> None:
    """Reorder the first `n` of `order` so that `values[order]` rises. Source: Williams' heapsort, CACM 7 (1964) 347.

    (np.argsort takes a second to compile.)
    """
    start, end = n // 2, n
    while end > 1:
        if start > 0:
            start -= 1
        else:
            end -= 1
            order[0], order[end] = order[end], order[0]
        moving = order[start]
        place = start
        child = 2 * place + 1
        while child < end:
            if child + 1 < end and values[order[child + 1]] > values[order[child]]:
                child += 1
            if values[order[child]] <= values[moving]:
                break
            order[place] = order[child]
            place = child
            child = 2 * place + 1
        order[place] = moving


@kernel
def crossing_1(circles: NDArray[np.float64], n: int, work: NDArray[np.float64]) -> tuple[float, float, float]:
    """Where `n` tracks cross in the transverse plane, and their typical distance from there: x, y, scale [cm].

    A robust fit of a point: each track counts with 1 / (sigma^2 + scale^2 + distance^2), Cauchy's weight, and the scale is the
    median distance. `circles` (>= n, 5): dca_xy [cm], cosine and sine of phi, curvature [1/cm], variance of dca_xy [cm^2];
    `work` (>= 2, >= n) is overwritten.
    """
    x = y = scale = 0.0
    for step in range(MAX_CROSSING_STEPS):
        for k in range(n):
            work[0, k] = approach_1(circles[k, 0], circles[k, 1], circles[k, 2], circles[k, 3], x, y)[0]
            work[1, k] = abs(work[0, k])
        scale = ranked_1(work[1], n, n // 2)
        xx = yy = 1.0 / UNKNOWN
        xy = 0.0
        gx, gy = -x / UNKNOWN, -y / UNKNOWN
        for k in range(n):
            cosine, sine, distance = circles[k, 1], circles[k, 2], work[0, k]
            weight = 1.0 / (circles[k, 4] + scale * scale + distance * distance)
            xx += weight * sine * sine
            xy -= weight * sine * cosine
            yy += weight * cosine * cosine
            gx -= weight * sine * distance
            gy += weight * cosine * distance
        determinant = xx * yy - xy * xy
        dx, dy = (yy * gx - xy * gy) / determinant, (xx * gy - xy * gx) / determinant
        x += dx
        y += dy
        if step > 0 and dx * dx + dy * dy < 0.01 * scale * scale:
            break
    return x, y, scale


@kernel
def densest_z_1(work: NDArray[np.float64], n: int, order: NDArray[np.int64]) -> float:
    """Where along z [cm] the sum of pt^2 in a window is largest, of `n` >= 2 tracks.

    `work` (4, >= n): their z [cm], its uncertainty [cm], pt^2 [GeV^2], and room; `order` (>= n,) is overwritten. The window holds
    two tracks at least: it grows if none does.
    """
    z, sigma_z, pt2, room = work[0], work[1], work[2], work[3]
    for k in range(n):
        room[k] = sigma_z[k]
        order[k] = k
    half = WINDOW * ranked_1(room, n, n // 4)
    sort_by(z, order, n)
    best, best_sum = -1, -1.0
    while best < 0:
        low = high = 0
        total = 0.0
        for k in range(n):
            while high < n and z[order[high]] <= z[order[k]] + half:
                total += pt2[order[high]]
                high += 1
            while z[order[low]] < z[order[k]] - half:
                total -= pt2[order[low]]
                low += 1
            if high - low >= 2 and total > best_sum:
                best, best_sum = order[k], total
        half = half if best >= 0 else 4.0 * half
    mean = norm = 0.0
    for k in range(n):
        if abs(z[k] - z[best]) <= half:
            weight = 1.0 / (sigma_z[k] * sigma_z[k])
            mean += weight * (z[k] - z[best])
            norm += weight
    return float(z[best] + mean / norm)


@kernel
def seed_vertices(
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    parameters: NDArray[np.float64],
    cov_packed: NDArray[np.float64],
    b_z: float,
    seeds: NDArray[np.float64],
) -> None:
    """Fill `seeds` (n, 3) [cm] of n events; those with fewer than two tracks get the origin.

    `rows[offsets[event]:offsets[event + 1]]` are an event's usable tracks, rows of `parameters` (., 5) and `cov_packed` (., 15).
    """
    most = 0
    for event in range(len(seeds)):
        most = max(most, offsets[event + 1] - offsets[event])
    circles, work, order = np.empty((most, 5)), np.empty((4, most)), np.empty(most, dtype=np.int64)
    for event in range(len(seeds)):
        first, n = offsets[event], offsets[event + 1] - offsets[event]
        for k in range(n):
            i = rows[first + k]
            phi = parameters[i, 2]
            circles[k, 0], circles[k, 1], circles[k, 2] = parameters[i, 0], math.cos(phi), math.sin(phi)
            circles[k, 3], circles[k, 4] = curvature_1(parameters[i, 4], b_z), cov_packed[i, 0]
        seeds[event, 0] = seeds[event, 1] = seeds[event, 2] = 0.0
        if n < 2:
            continue
        x, y, scale = crossing_1(circles, n, work)
        n_near = 0
        for all_of_them in range(2):  # all tracks only where fewer than two pass there
            if n_near < 2:
                n_near = 0
                for k in range(n):
                    distance, _, _, s = approach_1(circles[k, 0], circles[k, 1], circles[k, 2], circles[k, 3], x, y)
                    i = rows[first + k]
                    tangent = parameters[i, 3]
                    z = parameters[i, 1] + s * tangent
                    passes = distance * distance <= OFF_THE_LINE * (circles[k, 4] + scale * scale)
                    if (passes or all_of_them == 1) and math.isfinite(z):
                        pt = min(1.0 / abs(parameters[i, 4]), HARD)
                        work[0, n_near], work[2, n_near] = z, pt * pt
                        work[1, n_near] = math.sqrt(cov_packed[i, 2] + tangent * tangent * scale * scale)
                        n_near += 1
        if n_near >= 2:
            seeds[event, 0], seeds[event, 1], seeds[event, 2] = x, y, densest_z_1(work, n_near, order)
