"""What time-of-flight layers tell of reconstructed tracks: lengths, expected times and their uncertainties, the start time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.helix import curvature_1
from fastsim.kernels.reach import reach_1
from fastsim.kernels.time_of_flight import arc_slopes_1, flight_time_1
from fastsim.kernels.vertex_seed import approach_1
from fastsim.units import speed_of_light

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.devices.event_time import Starts
    from fastsim.devices.tof_hits import TofLayers

WRONG_HITS = 5.0  # ns: slow protons arrive as much later than light, so wrong hits are spread over about that
TAN, Q_TAN, Q = 9, 13, 14  # elements of a packed covariance: tan_lambda, (q/pt, tan_lambda), q/pt


class Helices(NamedTuple):
    """Reconstructed tracks (n,): parameters at closest approach to the beam line [cm, cm, rad, -, e/GeV], and `cov_packed`."""

    dca_xy: NDArray[np.float64]
    dca_z: NDArray[np.float64]
    phi: NDArray[np.float64]
    tan_lambda: NDArray[np.float64]
    q_over_pt: NDArray[np.float64]
    cov_packed: NDArray[np.float64]


class Measured(NamedTuple):
    """What the layers measure of tracks: (layers, n), with nine hypotheses (layers, n, 9). Times in ns, lengths in cm.

    `slopes` (layers, n, 2): relative change of the length with q/pt [GeV/e] and tan_lambda. `sigma` holds the track's part of
    the uncertainty until `identify` adds the others.
    """

    is_measured: NDArray[np.bool_]
    time: NDArray[np.float64]
    length: NDArray[np.float64]
    slopes: NDArray[np.float64]
    beta: NDArray[np.float64]
    mass2: NDArray[np.float64]
    expected: NDArray[np.float64]
    sigma: NDArray[np.float64]
    n_sigma: NDArray[np.float64]


def make_measured(time: NDArray[np.float64], n_species: int) -> Measured:
    """Nothing measured yet but the hits' times (layers, n)."""
    shape = time.shape

    def empty(*more: int) -> NDArray[np.float64]:
        return np.full((*shape, *more), np.nan)

    return Measured(
        np.zeros(shape, dtype=np.bool_), time, empty(), empty(2), empty(), empty(), *(empty(n_species) for _ in range(3)),
    )  # fmt: skip


@kernel
def time_slopes_1(
    time: float, tan_lambda: float, q_over_pt: float, mass_over_charge: float, by_q: float, by_tan: float
) -> tuple[float, float]:
    """Derivatives of an expected time [ns] by q/pt and tan_lambda, from the relative ones of the length."""
    a = mass_over_charge * mass_over_charge * q_over_pt
    norm = 1.0 + tan_lambda * tan_lambda + a * q_over_pt
    return time * (by_q + a / norm), time * (by_tan + tan_lambda / norm)


@kernel
def measure_tracks(
    layers: TofLayers,
    b_z: float,
    masses_over_charge: NDArray[np.float64],
    is_reconstructed: NDArray[np.bool_],
    event: NDArray[np.int64],
    is_contributor: NDArray[np.bool_],
    vertex_x: NDArray[np.float64],
    vertex_y: NDArray[np.float64],
    tracks: Helices,
    measured: Measured,
) -> None:
    """Lengths, expected times and their uncertainties of n tracks that have a hit, in the field `b_z` [T].

    The way begins at the closest approach to the primary vertex (per event) for its contributors, to the beam line for others.
    Hits of tracks whose helix does not meet the layer's surface are dropped; the surface is taken as endless.
    """
    for n in range(len(event)):
        if not is_reconstructed[n]:
            continue
        tan_lambda, q_over_pt, dca_xy = tracks.tan_lambda[n], tracks.q_over_pt[n], tracks.dca_xy[n]
        c = curvature_1(q_over_pt, b_z)
        slope = math.sqrt(1.0 + tan_lambda * tan_lambda)
        cov = tracks.cov_packed[n]
        begin = math.nan
        for k in range(len(layers.sigma)):
            if math.isnan(measured.time[k, n]):
                continue
            s, r, _ = reach_1(
                0.0, -dca_xy, tracks.dca_z[n], tan_lambda, c, layers.is_disk[k], layers.position[k], 0.0, math.inf,
                layers.both_sides[k],
            )  # fmt: skip
            if math.isnan(begin):
                begin = 0.0
                if is_contributor[n]:
                    x, y = vertex_x[event[n]], vertex_y[event[n]]
                    begin = approach_1(dca_xy, math.cos(tracks.phi[n]), math.sin(tracks.phi[n]), c, x, y)[3]
            length = s - begin
            if not length > 0.0:
                continue
            by_q, by_tan = arc_slopes_1(layers.is_disk[k], s, r, dca_xy, tan_lambda, c, b_z)
            by_q /= length
            by_tan /= length
            measured.is_measured[k, n] = True
            measured.length[k, n] = length * slope
            measured.slopes[k, n, 0], measured.slopes[k, n, 1] = by_q, by_tan
            for h in range(len(masses_over_charge)):
                time = flight_time_1(length, tan_lambda, q_over_pt, masses_over_charge[h])
                q, t = time_slopes_1(time, tan_lambda, q_over_pt, masses_over_charge[h], by_q, by_tan)
                measured.expected[k, n, h] = time
                measured.sigma[k, n, h] = math.sqrt(
                    max(q * q * cov[Q] + 2.0 * q * t * cov[Q_TAN] + t * t * cov[TAN], 0.0)
                )


@kernel
def start_times(
    layers: TofLayers,
    masses_over_charge: NDArray[np.float64],
    used: NDArray[np.int64],
    hypotheses: NDArray[np.int64],
    fractions: NDArray[np.float64],
    tracks: Helices,
    measured: Measured,
    starts: Starts,
) -> None:
    """Fill `starts` of the tracks `used`, from all layers that measured one, under `hypotheses` (n, n hypotheses).

    The layers' own errors are independent, the track's are common: with weights W, derivatives G (layers, 2) and the track's
    covariance C the times have V^-1 = W - W G (C^-1 + G' W G)^-1 G' W (Woodbury). The weight of a hypothesis is its fraction,
    times the density of the layers' times relative to each other. Source: least squares, PDG review "Statistics".
    """
    for i in used:
        cov = tracks.cov_packed[i]
        tan_lambda, q_over_pt = tracks.tan_lambda[i], tracks.q_over_pt[i]
        for h in range(hypotheses.shape[1]):
            species = hypotheses[i, h]
            w = wd = wdd = wq = wt = wqq = wqt = wtt = wqd = wtd = 0.0
            for k in range(len(layers.sigma)):
                if not measured.is_measured[k, i]:
                    continue
                time = measured.expected[k, i, species]
                q, t = time_slopes_1(
                    time, tan_lambda, q_over_pt, masses_over_charge[species], measured.slopes[k, i, 0],
                    measured.slopes[k, i, 1],
                )  # fmt: skip
                weight = 1.0 / (layers.sigma[k] * layers.sigma[k])
                d = measured.time[k, i] - time
                w += weight
                wd += weight * d
                wdd += weight * d * d
                wq += weight * q
                wt += weight * t
                wqq += weight * q * q
                wqt += weight * q * t
                wtt += weight * t * t
                wqd += weight * q * d
                wtd += weight * t * d
            qq = 1.0 + cov[Q] * wqq + cov[Q_TAN] * wqt  # 1 + C G' W G
            qt = cov[Q] * wqt + cov[Q_TAN] * wtt
            tq = cov[Q_TAN] * wqq + cov[TAN] * wqt
            tt = 1.0 + cov[Q_TAN] * wqt + cov[TAN] * wtt
            determinant = qq * tt - qt * tq
            m_qq = (tt * cov[Q] - qt * cov[Q_TAN]) / determinant  # (C^-1 + G' W G)^-1
            m_qt = (tt * cov[Q_TAN] - qt * cov[TAN]) / determinant
            m_tt = (qq * cov[TAN] - tq * cov[Q_TAN]) / determinant
            a = w - (m_qq * wq * wq + 2.0 * m_qt * wq * wt + m_tt * wt * wt)
            b = wd - (m_qq * wq * wqd + m_qt * (wq * wtd + wt * wqd) + m_tt * wt * wtd)
            d2 = wdd - (m_qq * wqd * wqd + 2.0 * m_qt * wqd * wtd + m_tt * wtd * wtd)
            starts.time[i, h] = b / a
            starts.variance[i, h] = 1.0 / a
            chi2 = max(d2 - b * b / a, 0.0)
            starts.weight[i, h] = fractions[h] * math.exp(-0.5 * chi2) / math.sqrt(determinant)


@kernel
def identify(
    layers: TofLayers,
    event_time: NDArray[np.float64],
    sigma_event_time: NDArray[np.float64],
    tracks: Helices,
    measured: Measured,
) -> None:
    """beta, squared mass, n-sigma and their uncertainties of n tracks, from event times (n,) [ns] that know nothing of them."""
    for k in range(len(layers.sigma)):
        own = layers.sigma[k] * layers.sigma[k]
        for n in range(len(event_time)):
            if not measured.is_measured[k, n]:
                continue
            time = measured.time[k, n] - event_time[n]
            inverse_beta = time * speed_of_light / measured.length[k, n]
            p = math.sqrt(1.0 + tracks.tan_lambda[n] ** 2) / tracks.q_over_pt[n]
            measured.beta[k, n] = 1.0 / inverse_beta if inverse_beta != 0.0 else math.nan
            measured.mass2[k, n] = p * p * (inverse_beta * inverse_beta - 1.0)
            others = own + sigma_event_time[n] ** 2
            for h in range(measured.sigma.shape[2]):
                sigma = math.sqrt(others + measured.sigma[k, n, h] * measured.sigma[k, n, h])
                measured.sigma[k, n, h] = sigma
                measured.n_sigma[k, n, h] = (time - measured.expected[k, n, h]) / sigma


def log_likelihoods(
    n_sigma: NDArray[np.float64], sigma: NDArray[np.float64], tail: float, mismatch: float
) -> NDArray[np.float64]:
    """Logarithm of the density [1/ns] of times: Gaussians of width sigma [ns] with a late tail, and evenly spread wrong hits.

    Any shape; the tail's norm, which all hypotheses share, is left out. (numpy's logarithms are quicker than a kernel's.)
    """
    late = -0.5 * n_sigma**2
    if not math.isinf(tail):
        late = np.where(n_sigma > tail, tail * (0.5 * tail - n_sigma), late)
    right = late - np.log(math.sqrt(2.0 * math.pi) * sigma)
    return np.logaddexp(right + math.log(1.0 - mismatch), math.log(mismatch / WRONG_HITS)) if mismatch > 0.0 else right
