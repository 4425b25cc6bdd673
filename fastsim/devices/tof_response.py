"""What time-of-flight layers tell of reconstructed tracks: lengths, expected times and their uncertainties, the start time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.helix import curvature_1
from fastsim.kernels.reach import reach_1
from fastsim.kernels.time_of_flight import arc_slopes_1, arc_to_point_1, flight_time_1
from fastsim.units import speed_of_light

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.devices.event_time import Starts
    from fastsim.devices.tof_hits import TofLayers

WRONG_HITS = 5.0  # ns: slow protons arrive as much later than light, so wrong hits are spread over about that
ROOT_TWO_PI = math.sqrt(2.0 * math.pi)
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

    `slopes` (layers, n, 2): relative change of the length with q/pt [GeV/e] and tan_lambda. What `measure_tracks` does not fill,
    `identify` does; where nothing was measured, with NaN.
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
    log_likelihood: NDArray[np.float64]


def make_measured(time: NDArray[np.float64], n_species: int) -> Measured:
    """Room beside the hits' times (layers, n)."""
    shape = time.shape
    length, beta, mass2 = np.empty((3, *shape))
    expected, sigma, n_sigma, log_likelihood = np.empty((4, *shape, n_species))
    return Measured(
        np.zeros(shape, dtype=np.bool_), time, length, np.empty((*shape, 2)), beta, mass2, expected, sigma, n_sigma,
        log_likelihood,
    )  # fmt: skip


@kernel
def time_slopes_1(
    time: float, tan_lambda: float, q_over_pt: float, mass_over_charge: float, by_q: float, by_tan: float
) -> tuple[float, float]:
    """Derivatives of an expected time [ns] by q/pt and tan_lambda, from the relative ones of the length."""
    a = mass_over_charge * mass_over_charge * q_over_pt
    inverse = 1.0 / (1.0 + tan_lambda * tan_lambda + a * q_over_pt)
    return time * (by_q + a * inverse), time * (by_tan + tan_lambda * inverse)


@kernel
def measure_tracks(
    layers: TofLayers, b_z: float, is_reconstructed: NDArray[np.bool_], event: NDArray[np.int64],
    is_contributor: NDArray[np.bool_], vertex_x: NDArray[np.float64], vertex_y: NDArray[np.float64], tracks: Helices,
    measured: Measured,
) -> None:  # fmt: skip
    """Lengths of n tracks to the layers where they have a hit, in the field `b_z` [T], and how these change with the tracks.

    The way begins at the closest approach to the primary vertex (per event) for its contributors, to the beam line for others.
    Hits of tracks whose helix does not meet the layer's surface are dropped; the surface is taken as endless.
    """
    is_disk, position, _, _, both_sides, _, _, _, _, _, _, _ = layers
    all_dca_xy, all_dca_z, all_phi, all_tan_lambda, all_q_over_pt, _ = tracks
    is_measured, times, lengths, slopes, _, _, _, _, _, _ = measured
    for n in range(len(event)):
        if not is_reconstructed[n]:
            continue
        tan_lambda, q_over_pt, dca_xy = all_tan_lambda[n], all_q_over_pt[n], all_dca_xy[n]
        c = curvature_1(q_over_pt, b_z)
        slope = math.sqrt(1.0 + tan_lambda * tan_lambda)
        begin = math.nan
        for k in range(len(position)):
            if math.isnan(times[k, n]):
                continue
            s, r, _ = reach_1(
                0.0, -dca_xy, all_dca_z[n], tan_lambda, c, is_disk[k], position[k], 0.0, math.inf, both_sides[k]
            )
            if math.isnan(begin):
                begin = 0.0
                if is_contributor[n]:
                    x, y = vertex_x[event[n]], vertex_y[event[n]]
                    begin = arc_to_point_1(dca_xy, math.cos(all_phi[n]), math.sin(all_phi[n]), c, x, y)
            length = s - begin
            if not length > 0.0:
                continue
            by_q, by_tan = arc_slopes_1(is_disk[k], s, r, dca_xy, tan_lambda, c, b_z)
            is_measured[k, n] = True
            lengths[k, n] = length * slope
            slopes[k, n, 0], slopes[k, n, 1] = by_q / length, by_tan / length


@kernel
def start_times(
    layers: TofLayers, masses_over_charge: NDArray[np.float64], used: NDArray[np.int64], hypotheses: NDArray[np.int64],
    fractions: NDArray[np.float64], tracks: Helices, measured: Measured, starts: Starts,
) -> None:  # fmt: skip
    """Fill `starts` (m, n hypotheses) of the m tracks `used`, from all layers that measured one, under their `hypotheses`.

    The layers' own errors are independent, the track's are common: with weights W, derivatives G (layers, 2) and the track's
    covariance C the times have V^-1 = W - W G (C^-1 + G' W G)^-1 G' W (Woodbury). The weight of a hypothesis is its fraction,
    times the density of the layers' times relative to each other. Source: least squares, PDG review "Statistics".
    """
    precisions = 1.0 / (layers.sigma * layers.sigma)
    is_measured, times, lengths, slopes, _, _, _, _, _, _ = measured
    all_tan_lambda, all_q_over_pt, cov_packed = tracks.tan_lambda, tracks.q_over_pt, tracks.cov_packed
    start, precision, weights = starts
    for m in range(len(used)):
        i = used[m]
        c_tt, c_qt, c_qq = cov_packed[i, TAN], cov_packed[i, Q_TAN], cov_packed[i, Q]
        tan_lambda, q_over_pt = all_tan_lambda[i], all_q_over_pt[i]
        per_slope = 1.0 / math.sqrt(1.0 + tan_lambda * tan_lambda)
        for h in range(hypotheses.shape[1]):
            mass = masses_over_charge[hypotheses[m, h]]
            w = wd = wdd = wq = wt = wqq = wqt = wtt = wqd = wtd = 0.0
            for k in range(len(precisions)):
                if not is_measured[k, i]:
                    continue
                time = flight_time_1(lengths[k, i] * per_slope, tan_lambda, q_over_pt, mass)
                q, t = time_slopes_1(time, tan_lambda, q_over_pt, mass, slopes[k, i, 0], slopes[k, i, 1])
                weight = precisions[k]
                d = times[k, i] - time
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
            qq = 1.0 + c_qq * wqq + c_qt * wqt  # 1 + C G' W G
            qt = c_qq * wqt + c_qt * wtt
            tq = c_qt * wqq + c_tt * wqt
            tt = 1.0 + c_qt * wqt + c_tt * wtt
            determinant = qq * tt - qt * tq
            inverse = 1.0 / determinant
            m_qq = (tt * c_qq - qt * c_qt) * inverse  # (C^-1 + G' W G)^-1
            m_qt = (tt * c_qt - qt * c_tt) * inverse
            m_tt = (qq * c_tt - tq * c_qt) * inverse
            a = w - (m_qq * wq * wq + 2.0 * m_qt * wq * wt + m_tt * wt * wt)
            b = wd - (m_qq * wq * wqd + m_qt * (wq * wtd + wt * wqd) + m_tt * wt * wtd)
            d2 = wdd - (m_qq * wqd * wqd + 2.0 * m_qt * wqd * wtd + m_tt * wtd * wtd)
            start[m, h] = b / a
            precision[m, h] = a
            chi2 = max(d2 - b * b / a, 0.0)
            weights[m, h] = fractions[h] * math.exp(-0.5 * chi2) * math.sqrt(inverse)


@kernel
def identify(
    layers: TofLayers, masses_over_charge: NDArray[np.float64], event_time: NDArray[np.float64],
    sigma_event_time: NDArray[np.float64], tracks: Helices, measured: Measured,
) -> None:  # fmt: skip
    """What n tracks are, from event times (n,) [ns] that know nothing of them: beta, squared mass, and nine hypotheses."""
    sigmas, tails, mismatches = layers.sigma, layers.tail, layers.mismatch
    is_measured, times, lengths, slopes, beta, mass2, expected, sigma, n_sigma, log_likelihood = measured
    all_tan_lambda, all_q_over_pt, cov_packed = tracks.tan_lambda, tracks.q_over_pt, tracks.cov_packed
    for k in range(len(sigmas)):
        own, tail, mismatch = sigmas[k] * sigmas[k], tails[k], mismatches[k]
        for n in range(len(event_time)):
            if not is_measured[k, n]:
                times[k, n] = lengths[k, n] = beta[k, n] = mass2[k, n] = math.nan
                for h in range(len(masses_over_charge)):
                    expected[k, n, h] = sigma[k, n, h] = n_sigma[k, n, h] = log_likelihood[k, n, h] = math.nan
                continue
            time = times[k, n] - event_time[n]
            tan_lambda, q_over_pt = all_tan_lambda[n], all_q_over_pt[n]
            slope2 = 1.0 + tan_lambda * tan_lambda
            inverse_beta = time * speed_of_light / lengths[k, n]
            beta[k, n] = 1.0 / inverse_beta if inverse_beta != 0.0 else math.nan
            mass2[k, n] = slope2 / (q_over_pt * q_over_pt) * (inverse_beta * inverse_beta - 1.0)
            others = own + sigma_event_time[n] * sigma_event_time[n]
            arc = lengths[k, n] / math.sqrt(slope2)
            by_q, by_tan = slopes[k, n, 0], slopes[k, n, 1]
            c_tt, c_qt, c_qq = cov_packed[n, TAN], cov_packed[n, Q_TAN], cov_packed[n, Q]
            for h in range(len(masses_over_charge)):
                flight = flight_time_1(arc, tan_lambda, q_over_pt, masses_over_charge[h])
                q, t = time_slopes_1(flight, tan_lambda, q_over_pt, masses_over_charge[h], by_q, by_tan)
                variance = others + max(q * q * c_qq + 2.0 * q * t * c_qt + t * t * c_tt, 0.0)
                expected[k, n, h] = flight
                sigma[k, n, h] = math.sqrt(variance)
                n_sigma[k, n, h] = (time - flight) / sigma[k, n, h]
            for h in range(len(masses_over_charge)):
                log_likelihood[k, n, h] = log_likelihood_1(n_sigma[k, n, h], sigma[k, n, h], tail, mismatch)


@kernel
def log_likelihood_1(n_sigma: float, sigma: float, tail: float, mismatch: float) -> float:
    """Logarithm of the density [1/ns] of a time: Gaussian of width sigma [ns] with a late tail, and evenly spread wrong hits.

    The tail's norm, which all hypotheses share, is left out.
    """
    late = tail * (0.5 * tail - n_sigma) if n_sigma > tail else -0.5 * n_sigma * n_sigma
    if mismatch == 0.0:
        return late - math.log(ROOT_TWO_PI * sigma)
    right = (1.0 - mismatch) / (ROOT_TWO_PI * sigma) * math.exp(late)
    return math.log(right + mismatch / WRONG_HITS)
