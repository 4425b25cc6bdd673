"""Calorimeters at level "detailed": showers as spots of energy, put into cells.

An electromagnetic shower is GFLASH's: a photon goes on for a random depth, the shape fluctuates from shower to shower, spots lie
around the axis. A hadron passes as a minimum-ionising particle until its first interaction; behind it energy lies as Bock's
profiles say, the electromagnetic share changing from shower to shower. Both go on from the ECAL into the HCAL.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from fastsim.devices.deposits import ELECTROMAGNETIC, HADRON, Arrival, Deposits, Sections, Visible, arrive_1
from fastsim.jit import kernel
from fastsim.kernels.cells import Grids, cell_1, centre_1, onto_surface_1, slot_1
from fastsim.kernels.shower import (
    SIGMA_F_EM,
    Shape,
    bock_1,
    em_share_1,
    gamma_p_1,
    n_spots_1,
    radial_1,
    shape_1,
)
from fastsim.rng import Key, Word, normals_1, uniforms_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEP: Final = 0.5  # X0, in which profiles are integrated
FARTHEST: Final = 5.0  # R_M, or lambda_I: spots end there, for a 1/r^2 tail has no mean square
CORE_OF_PIONS: Final = 1.0 / 3.0  # R_M: 90 % of the energy of neutral pions' showers lies within one R_M
CORE_OF_HADRONS: Final = 0.2294  # lambda_I, 1/sqrt(19): 95 % within one (PDG review, "Hadronic calorimeters")
HADRON_SPOTS: Final = 30.0  # per GeV, our choice: fewer would make the lateral shape fluctuate more
FIRST_SPOT: Final = 3  # draws 0 to 2 are those of the shower as a whole
EM, HAD, THROUGH = 0, 1, 2  # parts of a deposit: electromagnetic, hadronic, and before the first interaction
Z, X0, EC, RM, LAMBDA, DEPTH = range(6)  # columns of `Sections.material`


class Shower(NamedTuple):
    """One shower: `start` where it begins [X0, or lambda of a hadron]; `begun` the same in X0; `before` energy lost before [GeV].

    `share` of electromagnetic energy, `a`, `b`, `d` as `kernels.shower.bock_1`; `z` of the first calorimeter.
    """

    is_em: bool
    showers: bool
    energy: float
    ln_energy: float
    z: float
    shape: Shape
    start: float
    begun: float
    before: float
    share: float
    a: float
    b: float
    d: float


class Patch(NamedTuple):
    """Cells that one shower has reached: `slots` of `cell` (see `kernels.cells.slot_1`), and what they got."""

    slots: NDArray[np.int64]
    cell: NDArray[np.int64]
    calorimeter: NDArray[np.int64]
    energy: NDArray[np.float64]


@kernel
def make_patch(n: int) -> Patch:
    """Room for `n` cells."""
    size = 16
    while size < 2 * n:
        size *= 2
    return Patch(
        np.full(size, -1, dtype=np.int64), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.zeros(n)
    )


@kernel
def make_room(n: int) -> Deposits:
    """Room for `n` deposits."""
    return Deposits(
        np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.zeros(n), np.zeros(n),
        np.zeros((n, 3)), np.zeros(n),
    )  # fmt: skip


@kernel
def larger(deposits: Deposits, n: int) -> Deposits:
    """The same deposits, with room for at least `n`."""
    room = make_room(max(n, 2 * len(deposits.em)))
    for row in range(len(deposits.em)):
        room.particle[row] = deposits.particle[row]
        room.calorimeter[row] = deposits.calorimeter[row]
        room.cell[row] = deposits.cell[row]
        room.em[row] = deposits.em[row]
        room.had[row] = deposits.had[row]
        room.time[row] = deposits.time[row]
        for axis in range(3):
            room.place[row, axis] = deposits.place[row, axis]
    return room


@kernel
def begin_1(sections: Sections, first: int, last: int, visible: Visible, i: int, key: Key) -> tuple[Shower, float]:
    """Draw what a shower is as a whole; also the normal of its constant term. `first`, `last`: calorimeters in its way, or -1."""
    event_id, index = visible.event_id[i], visible.particle_index[i]
    normal_1, normal_2 = normals_1(0, index, event_id, key.k0, key.k1)
    gain, of_share = normals_1(1, index, event_id, key.k0, key.k1)
    free = -math.log(1.0 - uniforms_1(2, index, event_id, key.k0, key.k1)[0])  # mean free paths
    energy = visible.seen[i]
    is_em = visible.family[i] == ELECTROMAGNETIC
    z = sections.material[first, Z]
    start, begun, before = 0.0, 0.0, 0.0
    if is_em:
        start = 9.0 / 7.0 * free if visible.charge[i] == 0 else 0.0
        begun = start
    else:
        start = free
        left = free
        for k in (first, last):
            if k >= 0 and left > 0.0:
                material = sections.material[k]
                within = min(left * material[LAMBDA], material[DEPTH])
                begun += within / material[X0]
                if visible.charge[i] != 0:
                    before += sections.mip[k] * within / material[DEPTH]
                left -= within / material[LAMBDA]
        before = min(before, energy)
    share = em_share_1(energy, visible.is_baryon[i])
    widest = min(share, 1.0 - share)
    share += min(max(SIGMA_F_EM * of_share, -widest), widest)  # cut on both sides alike, so that the mean stays
    a, b, d = bock_1(energy)
    shape = shape_1(math.log(energy / sections.material[first, EC]), z, normal_1, normal_2)
    showers = is_em or visible.family[i] == HADRON
    return Shower(is_em, showers, energy, math.log(energy), z, shape, start, begun, before, share, a, b, d), gain


@kernel
def until_1(shower: Shower, x0: float, interactions: float, through: float) -> tuple[float, float, float, float]:
    """Energy [GeV] until a depth: electromagnetic, hadronic, before the interaction; and the share of GFLASH's spots until there.

    The depth is `x0` radiation lengths and `interactions` interaction lengths; `through`: what a minimum-ionising particle loses.
    """
    if shower.is_em:
        t = x0 - shower.start
        spots = gamma_p_1(shower.shape.alpha_spots, shower.shape.beta_spots * t)
        return shower.energy * gamma_p_1(shower.shape.alpha, shower.shape.beta * t), 0.0, 0.0, spots
    if not shower.showers or interactions <= shower.start:
        return 0.0, 0.0, min(through, shower.energy), 0.0
    left = shower.energy - shower.before
    em = left * shower.share * gamma_p_1(shower.a, shower.b * (x0 - shower.begun))
    had = left * (1.0 - shower.share) * gamma_p_1(shower.a, shower.d * (interactions - shower.start))
    return em, had, shower.before, 0.0


@kernel
def quantile_1(scale: float, u: float, largest: float) -> float:
    """Radius below which a share u of 2 r R^2/(r^2 + R^2)^2 lies, of what lies within `largest`; R is `scale`."""
    within = u * largest * largest / (largest * largest + scale * scale)
    return scale * math.sqrt(within / (1.0 - within))


@kernel
def spot_1(grids: Grids, k: int, at: Arrival, depth: float, radius: float, azimuth: float) -> int:
    """Cell of a spot at a depth along the axis and a distance from it [cm]; -1 outside the calorimeter.

    The two directions across the axis are those in which its polar angle and its azimuth grow.
    """
    across = math.sqrt(at.along_x * at.along_x + at.along_y * at.along_y)
    cos_phi = at.along_x / across
    sin_phi = at.along_y / across
    first = radius * math.cos(azimuth)
    second = radius * math.sin(azimuth)
    x, y, z, is_inside = onto_surface_1(
        grids,
        k,
        at.x + depth * at.along_x + first * at.along_z * cos_phi - second * sin_phi,
        at.y + depth * at.along_y + first * at.along_z * sin_phi + second * cos_phi,
        at.z + depth * at.along_z - first * across,
    )
    return cell_1(grids, k, x, y, z) if is_inside else -1


@kernel
def fill_spots(
    grids: Grids, k: int, at: Arrival, material: NDArray[np.float64], shower: Shower, part: int, tau: float, depth: float,
    step: float, amount: float, n_spots: int, draw: int, index: int, event_id: Word, key: Key, patch: Patch, n: int,
) -> tuple[int, float]:  # fmt: skip
    """Put `amount` [GeV] into the cells as spots at depths from `depth` to `depth + step` [cm].

    Returns the number of cells in the patch, which were `n`, and the energy beside the calorimeter.
    """
    core, tail, in_core = radial_1(tau, shower.ln_energy, shower.z)
    energy = amount / n_spots
    lost = 0.0
    for j in range(n_spots):
        u_1, u_2 = uniforms_1(draw + 2 * j, index, event_id, key.k0, key.k1)
        u_3, u_4 = uniforms_1(draw + 2 * j + 1, index, event_id, key.k0, key.k1)
        radius = 0.0
        if shower.is_em:
            radius = material[RM] * quantile_1(core if u_1 < in_core else tail, u_2, FARTHEST)
        elif part == EM:
            radius = material[RM] * quantile_1(CORE_OF_PIONS, u_2, FARTHEST)
        elif part == HAD:
            radius = material[LAMBDA] * quantile_1(CORE_OF_HADRONS, u_2, FARTHEST)
        cell = spot_1(grids, k, at, depth + step * (j + u_4) / n_spots, radius, 2.0 * math.pi * u_3)
        if cell < 0:
            lost += energy
            continue
        where = slot_1(patch.slots, patch.cell, cell)
        if patch.slots[where] < 0:
            patch.slots[where] = n
            patch.cell[n] = cell
            patch.calorimeter[n] = k
            patch.energy[n] = 0.0
            n += 1
        patch.energy[patch.slots[where]] += energy
    return n, lost


@kernel
def develop(
    grids: Grids, sections: Sections, visible: Visible, i: int, key: Key, first: Arrival, second: Arrival, patch: Patch
) -> tuple[Patch, int, float]:
    """Follow one shower through the calorimeters in its way, step by step.

    Returns the cells (a larger patch if that given was too small), how many there are, and the energy [GeV] that ended nowhere.
    """
    k_1, k_2 = first.calorimeter, second.calorimeter
    shower, gain = begin_1(sections, k_1 if k_1 >= 0 else k_2, k_2 if k_1 >= 0 else -1, visible, i, key)
    n, draw = 0, FIRST_SPOT
    x0, interactions, through, lost = 0.0, 0.0, 0.0, 0.0
    before = (0.0, 0.0, 0.0, 0.0)
    for section in range(2):
        at = first if section == 0 else second
        k = at.calorimeter
        if k < 0:
            continue
        material = sections.material[k]
        n_steps = max(1, math.ceil(material[DEPTH] / (STEP * material[X0])))
        step = material[DEPTH] / n_steps
        factor = max(0.0, 1.0 + sections.constant[k, 0 if shower.is_em else 1] * gain)
        for m in range(n_steps):
            x0 += step / material[X0]
            interactions += step / material[LAMBDA]
            if visible.charge[i] != 0:
                through += sections.mip[k] / n_steps
            until = until_1(shower, x0, interactions, through)
            tau = max(0.0, (x0 - 0.5 * step / material[X0] - shower.start) * shower.shape.tau_per_x0)
            for part in range(3):
                amount = factor * (until[part] - before[part])
                if amount <= 0.0:
                    continue
                n_spots = 1
                if shower.is_em:
                    n_spots = max(1, round(n_spots_1(shower.energy, shower.z) * (until[3] - before[3])))
                elif part != THROUGH:
                    n_spots = max(1, round(HADRON_SPOTS * amount))
                if part == HAD:
                    amount /= sections.e_over_h[k]
                if n + n_spots > len(patch.cell):
                    patch = larger_patch(patch, n, n + n_spots)
                n, beside = fill_spots(
                    grids, k, at, material, shower, part, tau, m * step, step, amount, n_spots, draw, visible.particle_index[i],
                    visible.event_id[i], key, patch, n,
                )  # fmt: skip
                lost += beside
                draw += 2 * n_spots
            before = until
    return patch, n, lost + shower.energy - before[0] - before[1] - before[2]


@kernel
def larger_patch(patch: Patch, n: int, needed: int) -> Patch:
    """The same `n` cells, with room for more."""
    room = make_patch(2 * needed)
    for row in range(n):
        room.slots[slot_1(room.slots, room.cell, patch.cell[row])] = row
        room.cell[row] = patch.cell[row]
        room.calorimeter[row] = patch.calorimeter[row]
        room.energy[row] = patch.energy[row]
    return room


@kernel
def shower(
    grids: Grids, sections: Sections, visible: Visible, b_z: float, key: Key, lost: NDArray[np.float64]
) -> tuple[int, Deposits]:
    """Deposits of all particles, with the cells' centres as places; returns how many there are, and them.

    `lost` (n,) becomes the energy [GeV] of each particle that no cell got: behind, beside, or that of a muon that goes on. Draws
    belong to the particle, and their number counts up.
    """
    deposits = make_room(16 + 32 * len(visible.energy))
    patch = make_patch(1024)
    n = 0
    for i in range(len(visible.energy)):
        x, y, z, t = visible.points[i, 0], visible.points[i, 1], visible.points[i, 2], visible.points[i, 3]
        px, py, pz = visible.p[i, 0], visible.p[i, 1], visible.p[i, 2]
        energy, charge, ends = visible.energy[i], float(visible.charge[i]), visible.ends[i]
        first = arrive_1(grids.place, sections.is_hcal, 0, b_z, x, y, z, t, px, py, pz, energy, charge, ends)
        if first.calorimeter >= 0:
            ends = math.inf  # the ECAL's material comes first
        second = arrive_1(grids.place, sections.is_hcal, 1, b_z, x, y, z, t, px, py, pz, energy, charge, ends)
        if (first.calorimeter < 0 and second.calorimeter < 0) or visible.seen[i] <= 0.0:
            continue
        patch, n_own, lost[i] = develop(grids, sections, visible, i, key, first, second, patch)
        if n + n_own > len(deposits.em):
            deposits = larger(deposits, n + n_own)
        for row in range(n_own):
            k = patch.calorimeter[row]
            deposits.particle[n] = i
            deposits.calorimeter[n] = k
            deposits.cell[n] = patch.cell[row]
            is_em = visible.family[i] == ELECTROMAGNETIC
            deposits.em[n] = patch.energy[row] if is_em else 0.0
            deposits.had[n] = 0.0 if is_em else patch.energy[row]
            deposits.place[n, 0], deposits.place[n, 1], deposits.place[n, 2] = centre_1(grids, k, patch.cell[row])
            deposits.time[n] = second.time if sections.is_hcal[k] else first.time
            n += 1
        for slot in range(len(patch.slots)):
            patch.slots[slot] = -1
    return n, deposits
