"""What particles leave in calorimeters: who gets there, how much of its energy stays where, and in which cell.

This is the parametric level: a particle leaves its energy in one point of an ECAL, and what is left behind it in one of an HCAL.
Level "detailed" is in `shower`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.cells import BOTH_SIDES, HIGH, IS_DISK, LOW, POSITION, Grids, cell_1, centre_1
from fastsim.kernels.helix import curvature_1, sinc_1
from fastsim.kernels.reach import reach_1
from fastsim.kernels.shower import response_1
from fastsim.rng import Key, normals_1
from fastsim.units import speed_of_light

if TYPE_CHECKING:
    from numpy.typing import NDArray

INVISIBLE: Final = 0  # what a particle is to a calorimeter
ELECTROMAGNETIC: Final = 1
MIP: Final = 2
HADRON: Final = 3

ALONG_THE_BEAM: Final = 1e-9  # GeV of pt: with less, no calorimeter is met


class Sections(NamedTuple):
    """How calorimeters respond, one row a calorimeter.

    `fraction` (., n_classes): share of the energy that stays in an ECAL; `mip` [GeV]; `e_over_h`; `position` (., 2): constant
    [cm] and stochastic resolution of the impact point, negative for the cell's centre; `constant` (., 2): constant terms of the
    resolution of electromagnetic and hadronic energy; `material` (., 6): z, X0 [cm], Ec [GeV], R_M, lambda_I, depth [cm].
    """

    is_hcal: NDArray[np.bool_]
    fraction: NDArray[np.float64]
    mip: NDArray[np.float64]
    e_over_h: NDArray[np.float64]
    position: NDArray[np.float64]
    constant: NDArray[np.float64]
    material: NDArray[np.float64]


class Visible(NamedTuple):
    """Particles that may reach a calorimeter, one element each.

    `points` (n, 4) where and when produced [cm, ns]; `p` (n, 3) momentum, `energy`, and `seen`: what a calorimeter absorbs of it
    [GeV]; `family` (n,) INVISIBLE to HADRON, `group` (n,) column of `Sections.fraction`; `ends` (n,) straight distance to the
    decay [cm], inf if there is none.
    """

    event_id: NDArray[np.uint64]
    particle_index: NDArray[np.int32]
    points: NDArray[np.float64]
    p: NDArray[np.float64]
    energy: NDArray[np.float64]
    seen: NDArray[np.float64]
    charge: NDArray[np.int8]
    family: NDArray[np.int8]
    group: NDArray[np.int16]
    is_baryon: NDArray[np.bool_]
    ends: NDArray[np.float64]


class Deposits(NamedTuple):
    """Energies in cells; those of a particle stand together. `particle` is a row of `Visible`; `place` (n, 3) [cm]; GeV, ns."""

    particle: NDArray[np.int64]
    calorimeter: NDArray[np.int64]
    cell: NDArray[np.int64]
    em: NDArray[np.float64]
    had: NDArray[np.float64]
    place: NDArray[np.float64]
    time: NDArray[np.float64]


class Arrival(NamedTuple):
    """The calorimeter of a section that a particle meets first (-1: none), where, in which direction, and when [cm, ns]."""

    calorimeter: int
    x: float
    y: float
    z: float
    along_x: float
    along_y: float
    along_z: float
    time: float


def make_deposits(n: int) -> Deposits:
    """Room for `n`."""
    whole, real = np.zeros((3, n), dtype=np.int64), np.zeros((3, n))
    return Deposits(whole[0], whole[1], whole[2], real[0], real[1], np.zeros((n, 3)), real[2])


@kernel
def arrive_1(
    places: NDArray[np.float64], is_hcal: NDArray[np.bool_], section: int, b_z: float, x: float, y: float, z: float, time: float,
    px: float, py: float, pz: float, energy: float, charge: float, ends: float,
) -> Arrival:  # fmt: skip
    """Where a particle from (x, y, z) first meets a calorimeter of a section (0: ECAL, 1: HCAL), before it decays.

    `places` are those of `Grids`.
    """
    pt = math.sqrt(px * px + py * py)
    if pt < ALONG_THE_BEAM:
        return Arrival(-1, x, y, z, 0.0, 0.0, 0.0, time)
    cos_phi = px / pt
    sin_phi = py / pt
    tan_lambda = pz / pt
    c = curvature_1(charge / pt, b_z)
    found = -1
    s = math.inf
    for k in range(len(is_hcal)):
        if int(is_hcal[k]) == section:
            s_k, _, _ = reach_1(
                x * cos_phi + y * sin_phi, x * sin_phi - y * cos_phi, z, tan_lambda, c, places[k, IS_DISK] > 0.0,
                places[k, POSITION], places[k, LOW], places[k, HIGH], places[k, BOTH_SIDES] > 0.0,
            )  # fmt: skip
            if s_k < s:
                found = k
                s = s_k
    if found < 0:
        return Arrival(-1, x, y, z, 0.0, 0.0, 0.0, time)
    half = 0.5 * c * s
    chord = s * sinc_1(half)
    if chord * chord + s * s * tan_lambda * tan_lambda > ends * ends:
        return Arrival(-1, x, y, z, 0.0, 0.0, 0.0, time)
    cos_half = math.cos(half)
    sin_half = math.sin(half)
    cos_end = cos_half * cos_half - sin_half * sin_half
    sin_end = 2.0 * sin_half * cos_half
    slope = math.sqrt(1.0 + tan_lambda * tan_lambda)
    return Arrival(
        found,
        x + chord * (cos_phi * cos_half - sin_phi * sin_half),
        y + chord * (sin_phi * cos_half + cos_phi * sin_half),
        z + s * tan_lambda,
        (cos_phi * cos_end - sin_phi * sin_end) / slope,
        (sin_phi * cos_end + cos_phi * sin_end) / slope,
        tan_lambda / slope,
        time + s * energy / (pt * speed_of_light),  # path / (beta c), with path / p = s / pt
    )


@kernel
def deposit(grids: Grids, sections: Sections, visible: Visible, b_z: float, key: Key, deposits: Deposits) -> int:
    """Fill what each particle leaves; returns how many deposits there are, at most two a particle.

    Photons and electrons leave the share of their ECAL there, a hadron its share or, if charged, at least the energy of a
    minimum-ionising particle, and the rest in an HCAL; where none of a section is met, the other gets all. The mean response to
    hadrons is that of their mean electromagnetic share. Muons leave the energy of a minimum-ionising particle in each.
    """
    n = 0
    places = grids.place
    is_hcal, fraction, mip, e_over_h, position, _, _ = sections
    event_id, particle_index, points, p, energies, seen, charges, family, group, is_baryon, all_ends = visible
    particle, calorimeter, cells, em, had, place, time = deposits
    most = np.zeros(fraction.shape[1])  # shares that ECALs take at most
    most_mip = 0.0
    is_there = np.zeros(2, dtype=np.bool_)
    for k in range(len(is_hcal)):
        is_there[int(is_hcal[k])] = True
        if not is_hcal[k]:
            most_mip = max(most_mip, mip[k])
            for one in range(len(most)):
                most[one] = max(most[one], fraction[k, one])
    for i in range(len(energies)):
        left = seen[i] if family[i] != INVISIBLE else 0.0
        ends = all_ends[i]
        for section in range(2):
            if left <= 0.0:
                break
            is_mip = charges[i] != 0 and most_mip > 0.0
            if not is_there[section] or (section == 0 and most[group[i]] == 0.0 and not is_mip and ends == math.inf):
                continue  # for speed: nothing takes anything
            at = arrive_1(
                places, is_hcal, section, b_z, points[i, 0], points[i, 1], points[i, 2], points[i, 3], p[i, 0], p[i, 1],
                p[i, 2], energies[i], float(charges[i]), ends,
            )  # fmt: skip
            k = at.calorimeter
            if k < 0:
                continue
            ends = math.inf  # the ECAL's material comes first
            energy = left if section == 1 else seen[i] * fraction[k, group[i]]
            if family[i] == MIP:
                energy = min(left, mip[k])
            elif family[i] == HADRON and charges[i] != 0:
                energy = min(left, max(energy, mip[k]))
            left -= energy
            if energy <= 0.0:
                continue
            em[n] = energy if family[i] == ELECTROMAGNETIC else 0.0
            had[n] = 0.0 if family[i] == ELECTROMAGNETIC else energy
            if family[i] == HADRON and e_over_h[k] != 1.0:
                had[n] *= response_1(seen[i], is_baryon[i], e_over_h[k])
            particle[n] = i
            calorimeter[n] = k
            cells[n] = cell_1(grids, k, at.x, at.y, at.z)
            time[n] = at.time
            constant = position[k, 0]
            if constant < 0.0:
                place[n, 0], place[n, 1], place[n, 2] = centre_1(grids, k, cells[n])
            else:
                sigma = math.sqrt(constant * constant + position[k, 1] * position[k, 1] / energy)
                first, second = normals_1(section, particle_index[i], event_id[i], key.k0, key.k1)
                place[n, 0], place[n, 1], place[n, 2] = along_surface_1(
                    places[k, IS_DISK] > 0.0, places[k, POSITION], at, sigma * first, sigma * second
                )
            n += 1
    return n


@kernel
def along_surface_1(
    is_disk: bool, position: float, at: Arrival, first: float, second: float
) -> tuple[float, float, float]:
    """A point of a surface (of a barrel of this radius, or a disk), moved along it by two lengths [cm]."""
    if is_disk:
        return at.x + first, at.y + second, at.z
    angle = first / position
    cos_angle = math.cos(angle)
    sin_angle = math.sin(angle)
    return at.x * cos_angle - at.y * sin_angle, at.y * cos_angle + at.x * sin_angle, at.z + second


@kernel
def reaches(grids: Grids, sections: Sections, visible: Visible, b_z: float, reached: NDArray[np.bool_]) -> None:
    """Which particles meet any calorimeter before they decay."""
    for i in range(len(visible.energy)):
        x, y, z, t = visible.points[i, 0], visible.points[i, 1], visible.points[i, 2], visible.points[i, 3]
        for section in range(2):
            at = arrive_1(
                grids.place, sections.is_hcal, section, b_z, x, y, z, t, visible.p[i, 0], visible.p[i, 1], visible.p[i, 2],
                visible.energy[i], float(visible.charge[i]), visible.ends[i],
            )  # fmt: skip
            reached[i] |= at.calorimeter >= 0


@kernel
def project_1(is_disk: bool, position: float, x: float, y: float, z: float) -> tuple[float, float, float]:
    """A mean of points on a surface (of a barrel of this radius, or a disk), brought back onto it [cm]."""
    if is_disk:
        return x, y, z
    scale = position / math.sqrt(x * x + y * y)
    return x * scale, y * scale, z
