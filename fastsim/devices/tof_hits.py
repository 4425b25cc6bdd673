"""Hits in time-of-flight layers: who arrives when, where the layer is alive, what time it says, and whose hit a track gets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.helix import curvature_1
from fastsim.kernels.reach import reach_1
from fastsim.kernels.walk import turn_1
from fastsim.rng import Word, normals_1, uniforms_1
from fastsim.units import speed_of_light

if TYPE_CHECKING:
    from numpy.typing import NDArray

EFFICIENCY, TIME, MISMATCH = 0, 1, 2  # streams of a layer: rows of `keys`


class TofLayers(NamedTuple):
    """Layers as arrays (n,), places as in `kernels.reach`.

    sigma [ns]; tail in units of sigma, inf for none; border as a part of the pixels' pitch [cm]; mismatch probability, and
    matching area [cm^2].
    """

    is_disk: NDArray[np.bool_]
    position: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    both_sides: NDArray[np.bool_]
    sigma: NDArray[np.float64]
    tail: NDArray[np.float64]
    efficiency: NDArray[np.float64]
    border: NDArray[np.float64]
    pitch: NDArray[np.float64]
    mismatch: NDArray[np.float64]
    matching_area: NDArray[np.float64]


@kernel
def is_active_1(is_disk: bool, r: float, z: float, azimuth: float, pitch: float, border: float) -> bool:
    """Whether a point of a layer [cm, rad] is off the borders of its square pixels.

    On a barrel as many pixels as fit stand side by side around the circumference; on disks they are a grid in x and y.
    """
    if is_disk:
        a, b = r * math.cos(azimuth) / pitch, r * math.sin(azimuth) / pitch
    else:
        a, b = azimuth / (2.0 * math.pi) * math.floor(2.0 * math.pi * r / pitch), z / pitch
    a -= math.floor(a)
    b -= math.floor(b)
    return border <= a <= 1.0 - border and border <= b <= 1.0 - border


@kernel
def tail_probability_1(tail: float) -> float:
    """Part of all hits that is late: a Gaussian that from `tail` sigma on goes over into exp(-tail x / sigma), smoothly."""
    late = math.exp(-0.5 * tail * tail) / tail
    return late / (math.sqrt(0.5 * math.pi) * math.erfc(-tail / math.sqrt(2.0)) + late)


@kernel
def deviation_1(tail: float, particle_index: int, event_id: Word, k0: Word, k1: Word) -> float:
    """Measured less true time in units of sigma: a standard normal, or one with a late tail.

    The shape is our assumption: the logarithm of the Gaussian goes on along its tangent. AliPhysics' AliTOFPIDResponse goes over
    at 0.89 sigma, to a smaller and longer exponential.
    """
    x, _ = normals_1(0, particle_index, event_id, k0, k1)
    if math.isinf(tail):
        return x
    late, depth = uniforms_1(1, particle_index, event_id, k0, k1)
    if late < tail_probability_1(tail):
        return tail - math.log(1.0 - depth) / tail
    draw = 2
    while x > tail:
        x, _ = normals_1(draw, particle_index, event_id, k0, k1)
        draw += 1
    return x


@kernel
def find_hits(
    layers: TofLayers,
    b_z: float,
    is_wanted: NDArray[np.bool_],
    row: NDArray[np.int64],
    point: NDArray[np.float64],
    px: NDArray[np.float64],
    py: NDArray[np.float64],
    pz: NDArray[np.float64],
    charge: NDArray[np.int8],
    mass: NDArray[np.float64],
    particle_index: NDArray[np.int32],
    event_id: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    time: NDArray[np.float64],
    light: NDArray[np.float64],
) -> None:
    """Fill `time` (layers, n) with what layers say of n tracks [ns], NaN where there is no hit, in the field `b_z` [T].

    And `light` (layers, n) with the time of light from the origin to where the true particle crosses, NaN where it does not.
    `point` (n, 4) of production [cm, cm, cm, ns]; `row` (n,) are rows of the particle columns momentum [GeV] and charge; `mass`
    (n,) [GeV]; `keys` (layers, 3, 2). Tracks that are not wanted get none.
    """
    is_disk, position, low, high, both_sides, sigma, tail, efficiency, border, pitch, _, _ = layers
    for n in range(len(row)):
        for k in range(len(sigma)):
            time[k, n] = light[k, n] = math.nan
        if not is_wanted[n]:
            continue
        i = row[n]
        pt = math.sqrt(px[i] * px[i] + py[i] * py[i])
        cos_phi, sin_phi = px[i] / pt, py[i] / pt
        u = point[n, 0] * cos_phi + point[n, 1] * sin_phi
        v = point[n, 0] * sin_phi - point[n, 1] * cos_phi
        tan_lambda = pz[i] / pt
        c = curvature_1(charge[i] / pt, b_z)
        m_over_pt = mass[n] / pt
        slope2 = 1.0 + tan_lambda * tan_lambda
        slowness = math.sqrt(slope2 + m_over_pt * m_over_pt) / speed_of_light  # of the transverse arc
        for k in range(len(sigma)):
            s, r, z = reach_1(u, v, point[n, 2], tan_lambda, c, is_disk[k], position[k], low[k], high[k], both_sides[k])
            if math.isnan(s):
                continue
            light[k, n] = math.sqrt(r * r + z * z) / speed_of_light
            if border[k] > 0.0:
                u_there, v_there = turn_1(u, v, c, s)
                azimuth = math.atan2(sin_phi, cos_phi) + c * s - math.atan2(v_there, u_there)
                if not is_active_1(is_disk[k], r, z, azimuth, pitch[k], border[k]):
                    continue
            if efficiency[k] < 1.0:
                u_hit, _ = uniforms_1(0, particle_index[n], event_id[n], keys[k, EFFICIENCY, 0], keys[k, EFFICIENCY, 1])
                if u_hit >= efficiency[k]:
                    continue
            late = deviation_1(tail[k], particle_index[n], event_id[n], keys[k, TIME, 0], keys[k, TIME, 1])
            time[k, n] = point[n, 3] + s * slowness + sigma[k] * late


@kernel
def mismatch_1(
    is_disk: bool, position: float, light: float, dnch_deta: float, mismatch: float, matching_area: float
) -> float:
    """Probability that a track gets another particle's hit: the layer's own, and another hit within the matching area.

    `position` [cm] and the time of `light` [ns] say where; the density of hits is that of straight tracks, even in eta.
    """
    distance = light * speed_of_light
    if is_disk:
        z, r = position, math.sqrt(max(distance * distance - position * position, 0.0))
        density = dnch_deta * z / (2.0 * math.pi * r * r * distance) if r > 0.0 else math.inf
    else:
        density = dnch_deta / (2.0 * math.pi * position * distance)  # r^2 cosh(eta) = r distance
    return 1.0 - (1.0 - mismatch) * math.exp(-matching_area * density) if matching_area > 0.0 else mismatch


@kernel
def mismatch_hits(
    layers: TofLayers,
    offsets: NDArray[np.int64],
    is_reconstructed: NDArray[np.bool_],
    dnch_deta: NDArray[np.float64],
    particle_index: NDArray[np.int32],
    event_id: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    found: NDArray[np.float64],
    light: NDArray[np.float64],
    time: NDArray[np.float64],
) -> None:
    """Fill `time` (layers, n) [ns] with the times `found` (layers, n), some of them of other particles of the same event.

    `offsets` of tracks; `dnch_deta` and `event_id` are per event. A wrong hit is any other of the layer, with equal chances. Real
    ones are near the track, so the times of light from the origin to the two places are exchanged.
    """
    hits = np.empty(found.shape[1], dtype=np.int64)
    for k in range(len(layers.sigma)):
        key = keys[k, MISMATCH]
        for event in range(len(offsets) - 1):
            n_hits = 0
            for i in range(offsets[event], offsets[event + 1]):
                time[k, i] = found[k, i]
                if not math.isnan(found[k, i]):
                    hits[n_hits] = i
                    n_hits += 1
            for i in range(offsets[event], offsets[event + 1]):
                if not is_reconstructed[i] or math.isnan(light[k, i]):
                    continue
                is_wrong, which = uniforms_1(0, particle_index[i], event_id[event], key[0], key[1])
                probability = mismatch_1(
                    layers.is_disk[k], layers.position[k], light[k, i], dnch_deta[event], layers.mismatch[k],
                    layers.matching_area[k],
                )  # fmt: skip
                has_own = not math.isnan(found[k, i])
                n_others = n_hits - has_own
                if is_wrong >= probability or n_others == 0:
                    continue
                position = min(int(which * n_others), n_others - 1)
                if has_own and hits[position] >= i:  # skip its own
                    position += 1
                other = hits[position]
                time[k, i] = found[k, other] - light[k, other] + light[k, i]
