"""The table maker's cells: a track's chance to be found and its mean covariance, over all that can happen to its hits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.covariance import cholesky_5, invert_5
from fastsim.kernels.energy_loss import ELECTRON_MASS
from fastsim.kernels.fit import add_hit, change_state, cross_inwards, cross_outwards, fit_inwards, predict, set_seed
from fastsim.kernels.helix import curvature_1
from fastsim.kernels.surfaces import MOST_LOST
from fastsim.kernels.walk import Path, go_back, make_path, measure_1, scatter, walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.kernels.surfaces import Surfaces
    from fastsim.kernels.walk import Rules

PHYSICS_VERSION = 2  # part of every table's hash: change it whenever a number in a table could change

EVERY_HIT_RIGHT, NO_WRONG_PAIR = 0, 1  # DelphesO2's eff and eff2
LN_SIGMA_STEP, RHO_STEP, EFFICIENCY_STEP = 2.0**-14, 2.0**-15, 2.0**-16  # precision of stored values
NEGLECTED = 1e-4  # probability of the patterns that are not worth a fit


class Scratch(NamedTuple):
    """Work space of one table, allocated once."""

    path: Path
    share: NDArray[np.float64]
    lossy: NDArray[np.int64]
    chosen: NDArray[np.int64]
    symmetric: NDArray[np.float64]
    right: NDArray[np.float64]
    inwards: NDArray[np.float64]
    information: NDArray[np.float64]
    covariance: NDArray[np.float64]
    total: NDArray[np.float64]
    work: NDArray[np.float64]
    found: NDArray[np.float64]
    views: NDArray[np.float64]
    row: NDArray[np.float64]
    efficiency: NDArray[np.float64]


def make_scratch(n_surfaces: int, min_hits: int, n_dnch: int) -> Scratch:
    """Work space for so many surfaces and occupancies."""
    return Scratch(
        path=make_path(n_surfaces), share=np.zeros(n_surfaces), lossy=np.zeros(n_surfaces, dtype=np.int64),
        chosen=np.zeros(MOST_LOST, dtype=np.int64), symmetric=np.zeros(MOST_LOST + 1), right=np.zeros(n_surfaces),
        inwards=np.zeros((n_surfaces, 2)), information=np.zeros((5, 5)), covariance=np.zeros((5, 5)), total=np.zeros((5, 5)),
        work=np.zeros((2, 5, 5)), found=np.zeros(min_hits), views=np.zeros((2, 2)), row=np.zeros(5),
        efficiency=np.zeros((2, n_dnch)),
    )  # fmt: skip


@kernel
def add_fit(surfaces: Surfaces, n: int, tan_lambda: float, probability: float, scratch: Scratch) -> float:
    """Add the covariance of the hits in `scratch.share` to `scratch.total` with this probability, which is returned.

    Returns 0 if the hits do not determine a track.
    """
    fit_inwards(surfaces, scratch.path, n, tan_lambda, scratch.share, scratch.information, scratch.work[0])
    if not invert_5(scratch.information, scratch.covariance, scratch.work):
        return 0.0
    cosh2 = 1.0 + tan_lambda * tan_lambda
    if scratch.covariance[2, 2] > 1.0 or scratch.covariance[3, 3] > cosh2 * cosh2:
        return 0.0  # azimuth or dip angle is not even known to a radian
    for i in range(5):
        for j in range(5):
            scratch.total[i, j] += probability * scratch.covariance[i, j]
    return probability


@kernel
def mean_covariance(surfaces: Surfaces, rules: Rules, n: int, tan_lambda: float, scratch: Scratch) -> bool:
    """Fill `scratch.total` with the mean covariance over the hits that may be lost; False if nothing can be fitted.

    Patterns are summed by their probability, more and more lost hits until the rest is below 1e-4 or four are lost. The rest
    is taken as one pattern: each hit enters with the share of them in which it is there (their covariance is then too
    small; tests/physics says by how much). The hits of drift volumes always enter by their efficiency: there are many.
    """
    scratch.total[:, :] = 0.0
    n_hits = 0
    n_lossy = 0
    none = 1.0  # probability that nothing is lost
    symmetric = scratch.symmetric  # [m]: sum over all m-tuples of the product of their odds to be lost
    symmetric[:] = 0.0
    symmetric[0] = 1.0
    for k in range(n):
        i = scratch.path.surface[k]
        e = surfaces.efficiency[i]
        scratch.share[k] = e if surfaces.repeated[i] or e <= 0.0 else 1.0
        n_hits += e > 0.0
        if 0.0 < e < 1.0 and not surfaces.repeated[i]:
            scratch.lossy[n_lossy] = k
            n_lossy += 1
            none *= e
            for m in range(MOST_LOST, 0, -1):
                symmetric[m] += symmetric[m - 1] * (1.0 - e) / e
    weight = 0.0
    rest = 1.0
    for n_lost in range(min(MOST_LOST, n_lossy) + 1):
        if n_hits - n_lost >= rules.min_hits:
            weight += add_patterns(surfaces, n, tan_lambda, n_lossy, n_lost, none, scratch)
        rest -= none * symmetric[n_lost]
        if rest < NEGLECTED:
            break
    if rest >= NEGLECTED:
        weight += add_rest(surfaces, rules, n, tan_lambda, none, rest, scratch)
    if weight <= 0.0:
        return False
    for i in range(5):
        for j in range(5):
            scratch.total[i, j] /= weight
    return True


@kernel
def add_patterns(
    surfaces: Surfaces, n: int, tan_lambda: float, n_lossy: int, n_lost: int, none: float, scratch: Scratch
) -> float:
    """Add the covariances of all patterns with exactly `n_lost` lost hits to `scratch.total`; returns their probability."""
    chosen = scratch.chosen
    for m in range(n_lost):
        chosen[m] = m
    weight = 0.0
    while True:
        probability = none
        for m in range(n_lost):
            k = scratch.lossy[chosen[m]]
            e = surfaces.efficiency[scratch.path.surface[k]]
            probability *= (1.0 - e) / e
            scratch.share[k] = 0.0
        weight += add_fit(surfaces, n, tan_lambda, probability, scratch)
        for m in range(n_lost):
            scratch.share[scratch.lossy[chosen[m]]] = 1.0
        m = n_lost - 1  # the next combination in lexical order
        while m >= 0 and chosen[m] == n_lossy - n_lost + m:
            m -= 1
        if m < 0:
            return weight
        chosen[m] += 1
        for following in range(m + 1, n_lost):
            chosen[following] = chosen[following - 1] + 1


@kernel
def add_rest(
    surfaces: Surfaces, rules: Rules, n: int, tan_lambda: float, none: float, rest: float, scratch: Scratch
) -> float:
    """Add all patterns with more than MOST_LOST lost hits as one, with each hit's mean share in them; returns its probability."""
    expected = 0.0
    for k in range(n):
        i = scratch.path.surface[k]
        e = surfaces.efficiency[i]
        if 0.0 < e < 1.0 and not surfaces.repeated[i]:
            few = 0.0  # probability that of the others at most MOST_LOST are lost
            without = 0.0
            for m in range(MOST_LOST + 1):
                without = scratch.symmetric[m] - without * (1.0 - e) / e
                few += none / e * without
            scratch.share[k] = min(max(e * (1.0 - few) / rest, 0.0), 1.0)
        expected += scratch.share[k]
    if expected < rules.min_hits:
        return 0.0
    return add_fit(surfaces, n, tan_lambda, rest, scratch)


@kernel
def wrong_hit_areas(surfaces: Surfaces, rules: Rules, n: int, tan_lambda: float, scratch: Scratch) -> None:
    """Fill `scratch.right` (n,): x such that the right hit is picked with probability 1 / (1 + x dN_ch/deta).

    The window on a surface is that of the predictions from outside and from inside together, each begun with DelphesO2's seed,
    plus the hit's own resolution; the hit density is that of tracks from the beam line. 0 where there is no danger:
    passive surfaces, and drift volumes, which this model does not describe.
    Source: DelphesO2 DetectorK::SolveTrack (reference/delpheso2.md 2.2, steps 5 to 7).
    """
    path = scratch.path
    information = scratch.information
    seen = False
    for k in range(n - 1, -1, -1):
        i = path.surface[k]
        if seen:
            cross_inwards(information, tan_lambda, path.q_over_pt[k], path.theta2[k], path.loss[k], path.jitter[k])
        if surfaces.efficiency[i] > 0.0:
            if not seen:
                set_seed(information, path.q_over_pt[k])
                seen = True
            if not surfaces.repeated[i]:
                directions(i >= surfaces.n_cylinders, path.sin_incidence[k], tan_lambda, scratch.views)
                predict(information, scratch.views, scratch.inwards[k])
            add_hit(information, surfaces.sigma[i], path.views[k], 1.0)
        if seen:
            change_state(information, path.jacobian[k], scratch.work[0])
    go_back(rules, n, tan_lambda, path)
    set_seed(information, path.q_over_pt[0])
    outwards = scratch.row[:2]
    for k in range(n):
        i = path.surface[k]
        if k > 0:
            change_state(information, path.backward[k], scratch.work[0])
        scratch.right[k] = 0.0
        if surfaces.efficiency[i] > 0.0:
            if not surfaces.repeated[i]:
                is_disk = i >= surfaces.n_cylinders
                directions(is_disk, path.sin_incidence[k], tan_lambda, scratch.views)
                predict(information, scratch.views, outwards)
                area = window_1(scratch.inwards[k], outwards, surfaces.sigma[i], surfaces.stereo[i])
                density = hit_density_1(is_disk, path.r[k], path.z[k], rules.average_rapidity)
                scratch.right[k] = 2.0 * math.pi * area * density
            add_hit(information, surfaces.sigma[i], path.views[k], 1.0)
        cross_outwards(
            information, tan_lambda, path.q_over_pt[k], path.theta2[k], path.loss[k], path.jitter[k], scratch.row
        )


@kernel
def directions(is_disk: bool, sin_incidence: float, tan_lambda: float, views: NDArray[np.float64]) -> None:
    """Fill `views` (2, 2) with what r-phi and the other direction on a surface measure."""
    cos_incidence = math.sqrt(1.0 - sin_incidence * sin_incidence)
    for m in range(2):
        views[m, 0], views[m, 1] = measure_1(is_disk, 0.5 * math.pi * m, sin_incidence, cos_incidence, tan_lambda)


@kernel
def window_1(
    inwards: NDArray[np.float64], outwards: NDArray[np.float64], sigma: NDArray[np.float64], stereo: NDArray[np.float64]
) -> float:
    """Product of the two widths [cm2] of a search window, in r-phi and across it.

    The two predictions (2,) together, and what the hit's views (resolutions and angles, (2,)) say of either direction;
    along the wire of a single view nothing is measured, and only the prediction limits the window.
    """
    along, across = sigma[0] * sigma[0], 0.0
    if sigma[1] < math.inf:
        w_a, w_b = 1.0 / (sigma[0] * sigma[0]), 1.0 / (sigma[1] * sigma[1])
        determinant = w_a * w_b * math.sin(stereo[0] - stereo[1]) ** 2
        along = (w_a * math.sin(stereo[0]) ** 2 + w_b * math.sin(stereo[1]) ** 2) / determinant
        across = (w_a * math.cos(stereo[0]) ** 2 + w_b * math.cos(stereo[1]) ** 2) / determinant
    return math.sqrt(
        (inwards[0] * outwards[0] / (inwards[0] + outwards[0]) + along)
        * (inwards[1] * outwards[1] / (inwards[1] + outwards[1]) + across)
    )


@kernel
def hit_density_1(is_disk: bool, r: float, z: float, average_rapidity: float) -> float:
    """Hits per cm2 and unit of dN_ch/deta, of straight tracks from the origin; on cylinders at the average rapidity."""
    density = 1.0 / (2.0 * math.pi * r * r)
    if is_disk:
        return density * abs(z) / math.hypot(r, z)  # at fixed z: d eta / dr = tanh(eta) / r
    return density / math.cosh(average_rapidity)  # at fixed r: d eta / dz = 1 / (r cosh(eta))


@kernel
def probability_of_hits(surfaces: Surfaces, n: int, min_hits: int, dnch_deta: float, scratch: Scratch) -> float:
    """Probability of at least `min_hits` hits, each found with its surface's efficiency, and none of them wrong (exact)."""
    exactly = scratch.found  # exactly[m] = P(m hits so far and all right), m < min_hits
    exactly[:] = 0.0
    exactly[0] = 1.0
    any_number = 1.0  # P(all right), any number of hits
    n_certain = 0
    for k in range(n):
        e = surfaces.efficiency[scratch.path.surface[k]]
        n_certain += e == 1.0
        if e > 0.0:
            any_number *= 1.0 - e + e / (1.0 + scratch.right[k] * dnch_deta)
    if n_certain >= min_hits:
        return any_number
    for k in range(n):
        e = surfaces.efficiency[scratch.path.surface[k]]
        if e > 0.0:
            right = e / (1.0 + scratch.right[k] * dnch_deta)
            for m in range(min_hits - 1, -1, -1):
                exactly[m] = exactly[m] * (1.0 - e) + (exactly[m - 1] * right if m > 0 else 0.0)
    for m in range(min_hits):
        any_number -= exactly[m]
    return max(any_number, 0.0)


@kernel
def probability_of_wrong_pair(surfaces: Surfaces, n: int, dnch_deta: float, scratch: Scratch) -> float:
    """Sum over neighbouring measuring surfaces of the probability that both hits are wrong, at most 1 (DelphesO2's eff2)."""
    total = 0.0
    before = 0.0
    for k in range(n):
        if surfaces.efficiency[scratch.path.surface[k]] > 0.0:
            x = scratch.right[k] * dnch_deta
            wrong = x / (1.0 + x)
            total += before * wrong
            before = wrong
    return min(total, 1.0)


@kernel
def solve_track(
    surfaces: Surfaces, rules: Rules, pt: float, tan_lambda: float, mass: float, charge: float, r_birth: float,
    dnch_deta: NDArray[np.float64], scratch: Scratch,
) -> bool:  # fmt: skip
    """Mean covariance (5, 5) of a track in `scratch.total`, its efficiencies (2, n_dnch) in `scratch.efficiency`.

    Born at radius `r_birth` [cm] on a track from the beam line; `dnch_deta` (n_dnch,). False where there is no track.
    """
    scratch.efficiency[:, :] = 0.0
    if 0.5 * rules.min_radius * abs(curvature_1(charge / pt, rules.b_z)) > rules.max_sin_incidence:
        return False
    n = walk(surfaces, rules, pt, tan_lambda, mass, charge, r_birth, scratch.path)
    scatter(surfaces, rules, n, tan_lambda, mass, charge, scratch.path)
    scratch.right[:n] = 0.0
    found = probability_of_hits(surfaces, n, rules.min_hits, 0.0, scratch)
    if found <= 0.0 or not mean_covariance(surfaces, rules, n, tan_lambda, scratch):
        return False
    if rules.average_rapidity >= 0.0:
        wrong_hit_areas(surfaces, rules, n, tan_lambda, scratch)
    for d in range(len(dnch_deta)):
        scratch.efficiency[EVERY_HIT_RIGHT, d] = probability_of_hits(surfaces, n, rules.min_hits, dnch_deta[d], scratch)
        scratch.efficiency[NO_WRONG_PAIR, d] = found * (
            1.0 - probability_of_wrong_pair(surfaces, n, dnch_deta[d], scratch)
        )
    if mass < 1.01 * ELECTRON_MASS:
        for i in range(5):
            for j in range(5):
                scratch.total[i, j] *= rules.electron_scale * rules.electron_scale
    return True


@kernel
def round_1(x: float, step: float) -> float:
    """Round x to a multiple of `step`."""
    return math.floor(x / step + 0.5) * step


@kernel
def store_cell(covariance: NDArray[np.float64], cell: NDArray[np.float32], work: NDArray[np.float64]) -> bool:
    """Write ln sigma and rho to a cell (15,) float32; False if what was *stored* is not positive definite.

    Rounded to steps that no track sees (6e-5 of sigma, 1.5e-5 in rho), which makes files several times smaller. Parameters that
    are all but fully correlated (slow nuclei) may lose that by rounding: then the correlations are drawn in by as
    little as it needs, at most 4e-4.
    """
    for i in range(5):
        cell[i] = round_1(0.5 * math.log(covariance[i, i]), LN_SIGMA_STEP)
    for shrink in (1.0, 1.0 - 3e-5, 1.0 - 1e-4, 1.0 - 4e-4):
        k = 5
        for i in range(5):
            work[0, i, i] = 1.0
            for j in range(i):
                cell[k] = round_1(shrink * covariance[i, j] / math.sqrt(covariance[i, i] * covariance[j, j]), RHO_STEP)
                work[0, i, j] = cell[k]
                k += 1
        if cholesky_5(work[0], work[1]):
            return True
    return False


@kernel
def fill_table(
    surfaces: Surfaces,
    rules: Rules,
    r_births: NDArray[np.float64],
    tan_lambda: NDArray[np.float64],
    pt: NDArray[np.float64],
    dnch_deta: NDArray[np.float64],
    mass: float,
    charge: float,
    scratch: Scratch,
    covariance: NDArray[np.float32],
    efficiency: NDArray[np.float32],
) -> int:
    """Fill `covariance` (n_r, n_eta, n_pt, 15) and `efficiency` (2, n_dnch, n_r, n_eta, n_pt); returns how many cells failed."""
    n_bad = 0
    for h in range(len(r_births)):
        for i in range(len(tan_lambda)):
            for j in range(len(pt)):
                cell = covariance[h, i, j]
                is_track = solve_track(
                    surfaces, rules, pt[j], tan_lambda[i], mass, charge, r_births[h], dnch_deta, scratch
                )
                if is_track and store_cell(scratch.total, cell, scratch.work):
                    for k in range(2):
                        for d in range(len(dnch_deta)):
                            efficiency[k, d, h, i, j] = round_1(scratch.efficiency[k, d], EFFICIENCY_STEP)
                    continue
                n_bad += is_track
                cell[:] = np.nan
                efficiency[:, :, h, i, j] = 0.0
    return n_bad
