"""Photons and electrons on their way through a detector's surfaces: pairs, radiated photons, and what these do in turn.

Straight lines and exact helix pieces from the true origin, outwards. What happens in a surface happens just behind it, so a new
particle does not see the rest of it. Nuclei take up momentum, but no energy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from fastsim.jit import kernel
from fastsim.kernels.covariance import invert_5
from fastsim.kernels.energy_loss import ELECTRON_MASS
from fastsim.kernels.fit import fit_kicks, follow_kicks
from fastsim.kernels.helix import curvature_1, sinc_1
from fastsim.kernels.radiation import draw_angle_1, draw_photon_1, draw_share_1, pair_rate_1, photon_rate_1
from fastsim.kernels.walk import Path, first_surfaces, make_path, next_surface_1, scatter, walk
from fastsim.rng import Key, Word, uniforms_1
from fastsim.units import speed_of_light

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.kernels.surfaces import Surfaces
    from fastsim.kernels.walk import Rules

PHOTON: Final = 22
ELECTRON: Final = 11
FINAL: Final = 1
DECAYED: Final = 2
IN_FLIGHT: Final = 201  # HepMC leaves 201 and above to the simulation of the detector
PAIR: Final = 5  # numbers of processes: ROOT's TMCProcess, kPPair and kPBrem
BREMSSTRAHLUNG: Final = 8
ROOM: Final = 8  # rows that must be free before anything is added: with less, `cascade` gives up
FLATTEST: Final = 0.05  # sine of the flattest crossing of a cylinder: it is 20 times as thick then, and no more
BEHIND: Final = 1e-6  # cm: how far behind a surface new particles begin, so that they have crossed it


class Settings(NamedTuple):
    """Lowest photon energy that counts [GeV], and what is simulated; rates of pairs as from `radiation.pair_rates`."""

    lowest: float
    conversions: bool
    bremsstrahlung: bool
    rates: NDArray[np.float64]


class Rows(NamedTuple):
    """Particles: code, status, momentum and energy (n, 4), place and time (n, 4) of origin, vertex where they end or -1.

    Also whether they are what leaves the tracker, and how far their fitted track parameters are off (n, 5). New ones have
    the vertex that they come from and the process, too.
    """

    pdg: NDArray[np.int32]
    status: NDArray[np.int32]
    momentum: NDArray[np.float64]
    origin: NDArray[np.float64]
    end: NDArray[np.int64]
    leaves: NDArray[np.bool_]
    shift: NDArray[np.float64]
    vertex: NDArray[np.int64]
    process: NDArray[np.uint8]


class Vertices(NamedTuple):
    """New vertices: which root each stems from (n,), place and time (n, 4) [cm, ns]."""

    root: NDArray[np.int64]
    position: NDArray[np.float64]


class Scratch(NamedTuple):
    """Work space of one detector, allocated once."""

    path: Path
    kick: NDArray[np.float64]  # change of curvature by surface
    reached: NDArray[np.bool_]  # by surface: whether the electron gets there, flat crossings apart
    kicks: NDArray[np.float64]  # by crossing of the path
    deviations: NDArray[np.float64]
    share: NDArray[np.float64]
    information: NDArray[np.float64]
    covariance: NDArray[np.float64]
    vector: NDArray[np.float64]
    work: NDArray[np.float64]


def make_rows(n: int) -> Rows:
    """Room for `n` particles."""
    return Rows(
        np.zeros(n, np.int32), np.zeros(n, np.int32), np.zeros((n, 4)), np.zeros((n, 4)), np.full(n, -1, np.int64),
        np.zeros(n, np.bool_), np.zeros((n, 5)), np.full(n, -1, np.int64), np.zeros(n, np.uint8),
    )  # fmt: skip


def first_rows(rows: Rows, n: int) -> Rows:
    """The first `n` rows, without a copy."""
    return Rows(
        rows.pdg[:n], rows.status[:n], rows.momentum[:n], rows.origin[:n], rows.end[:n], rows.leaves[:n], rows.shift[:n],
        rows.vertex[:n], rows.process[:n],
    )  # fmt: skip


def make_vertices(n: int) -> Vertices:
    """Room for `n` vertices."""
    return Vertices(np.zeros(n, np.int64), np.zeros((n, 4)))


def make_scratch(n_surfaces: int) -> Scratch:
    """Work space for so many surfaces."""
    return Scratch(
        make_path(n_surfaces), np.zeros(n_surfaces), np.ones(n_surfaces, np.bool_), np.zeros(n_surfaces),
        np.zeros((n_surfaces, 5)), np.zeros(n_surfaces), np.zeros((5, 5)), np.zeros((5, 5)), np.zeros(5), np.zeros((2, 5, 5)),
    )  # fmt: skip


@kernel
def cross_next_1(
    surfaces: Surfaces, x: float, y: float, z: float, phi: float, c: float, tan_lambda: float, turned: float, cylinder: int,
    disk: int,
) -> tuple[int, float, float, float, float, float, int, int]:  # fmt: skip
    """The next surface that is really met (-1: none), the arc to it [cm], x, y, z [cm] there and its slant x/X0.

    Then the cylinder and the disk to look at next, as in `walk.next_surface_1`.
    """
    cos_phi, sin_phi = math.cos(phi), math.sin(phi)
    u = x * cos_phi + y * sin_phi
    v = x * sin_phi - y * cos_phi
    while True:
        i, s, cylinder, disk = next_surface_1(surfaces, 1.0, u, v, z, c, tan_lambda, turned, cylinder, disk)
        if i < 0:
            return -1, 0.0, 0.0, 0.0, 0.0, 0.0, cylinder, disk
        if s < 0.0:  # a cylinder more than half a turn away; or a disk in the plane of the one before, of other radii
            continue
        chord = s * sinc_1(0.5 * c * s)
        x_there = x + chord * math.cos(phi + 0.5 * c * s)
        y_there = y + chord * math.sin(phi + 0.5 * c * s)
        z_there = z + s * tan_lambda
        r = math.hypot(x_there, y_there)
        is_disk = i >= surfaces.n_cylinders
        extent = r if is_disk else z_there
        if extent < surfaces.low[i] or extent > surfaces.high[i]:
            continue
        outwards = (x_there * math.cos(phi + c * s) + y_there * math.sin(phi + c * s)) / r if r > 0.0 else 1.0
        cosine = abs(tan_lambda) if is_disk else max(outwards, FLATTEST)
        slant = math.sqrt(1.0 + tan_lambda * tan_lambda) / cosine
        return i, s, x_there, y_there, z_there, surfaces.x_over_x0[i] * slant, cylinder, disk


@kernel
def fly_1(
    surfaces: Surfaces, x: float, y: float, z: float, e_x: float, e_y: float, tan_lambda: float, thickness: float
) -> float:
    """Transverse way [cm] of a straight line outwards until it has crossed so many radiation lengths; NaN if it never has.

    The line begins at (x, y, z) [cm] in the transverse direction (e_x, e_y). As `cross_next_1`, without its trigonometry.
    """
    u = x * e_x + y * e_y
    v = x * e_y - y * e_x
    slope = math.sqrt(1.0 + tan_lambda * tan_lambda)
    cylinder, disk = begin_1(surfaces, x, y, z, tan_lambda)
    last = surfaces.n_forward if tan_lambda > 0.0 else len(surfaces.position)
    to_disk = (surfaces.position[disk] - z) / tan_lambda if disk < last else math.inf
    while True:
        to_cylinder = u_there = math.inf
        if cylinder < surfaces.n_cylinders:
            u_there = math.sqrt(surfaces.position[cylinder] ** 2 - v * v)
            to_cylinder = u_there - u
        s = min(to_cylinder, to_disk)
        if s == math.inf:
            return math.nan
        if to_cylinder <= to_disk:
            r = surfaces.position[cylinder]
            if surfaces.low[cylinder] <= z + s * tan_lambda <= surfaces.high[cylinder]:
                thickness -= surfaces.x_over_x0[cylinder] * slope / max(u_there / r, FLATTEST)
            cylinder += 1
        else:
            r2 = (u + s) ** 2 + v * v
            if surfaces.low[disk] ** 2 <= r2 <= surfaces.high[disk] ** 2:
                thickness -= surfaces.x_over_x0[disk] * slope / abs(tan_lambda)
            disk += 1
            to_disk = (surfaces.position[disk] - z) / tan_lambda if disk < last else math.inf
        if thickness <= 0.0:
            return s


@kernel
def begin_1(surfaces: Surfaces, x: float, y: float, z: float, tan_lambda: float) -> tuple[int, int]:
    """The cylinder and the disk that a particle from (x, y, z) [cm] may meet first."""
    cylinder, disk = first_surfaces(surfaces, tan_lambda, math.hypot(x, y))
    last = surfaces.n_forward if tan_lambda > 0.0 else len(surfaces.position)
    while disk < last and (surfaces.position[disk] - z) * tan_lambda <= 0.0:
        disk += 1
    return cylinder, disk


@kernel
def add_row(
    rows: Rows, n: int, pdg: int, status: int, process: int, vertex: int, origin: NDArray[np.float64],
    d: tuple[float, float, float], energy: float, mass: float,
) -> None:  # fmt: skip
    """Fill row `n`: a particle of this energy [GeV] in the direction `d` from `origin` (4,)."""
    p = math.sqrt(max(energy * energy - mass * mass, 0.0))
    rows.pdg[n] = pdg
    rows.status[n] = status
    rows.process[n] = process
    rows.vertex[n] = vertex
    rows.end[n] = -1
    rows.leaves[n] = True
    for axis in range(3):
        rows.momentum[n, axis] = p * d[axis]
    rows.momentum[n, 3] = energy
    rows.origin[n] = origin
    rows.shift[n] = 0.0


@kernel
def add_vertex(
    vertices: Vertices, n: int, root: int, x: float, y: float, z: float, t: float, d: tuple[float, float, float]
) -> None:
    """Fill vertex `n`, just behind (x, y, z) [cm] in the direction `d`."""
    vertices.root[n] = root
    vertices.position[n, 0] = x + BEHIND * d[0]
    vertices.position[n, 1] = y + BEHIND * d[1]
    vertices.position[n, 2] = z + BEHIND * d[2]
    vertices.position[n, 3] = t


@kernel
def turned_1(d: tuple[float, float, float], polar: float, azimuth: float) -> tuple[float, float, float]:
    """The unit vector at these angles [rad] from the unit vector `d`."""
    sine = math.sin(polar)
    a, b, along = sine * math.cos(azimuth), sine * math.sin(azimuth), math.cos(polar)
    transverse = math.hypot(d[0], d[1])
    if transverse < 1e-12:
        return a, b * d[2], along * d[2]
    e_x, e_y = d[0] / transverse, d[1] / transverse  # axes: in the plane of the beam, and across it
    return (
        a * e_x * d[2] - b * e_y + along * d[0],
        a * e_y * d[2] + b * e_x + along * d[1],
        -a * transverse + along * d[2],
    )


@kernel
def convert(
    surfaces: Surfaces, settings: Settings, source: Rows, i: int, root: int, index: int, event_id: Word, key: Key, draw: int,
    rows: Rows, n: int, vertices: Vertices, n_vertices: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Photon `i` of `source` may become a pair, rows `n` and `n` + 1; the numbers of draws, rows and vertices from then on."""
    x, y, z, t = source.origin[i, 0], source.origin[i, 1], source.origin[i, 2], source.origin[i, 3]
    energy = source.momentum[i, 3]
    p_x, p_y, p_z = source.momentum[i, 0], source.momentum[i, 1], source.momentum[i, 2]
    pt = math.hypot(p_x, p_y)
    rate = pair_rate_1(energy, settings.rates)
    if rate <= 0.0 or pt <= 0.0:
        return draw, n, n_vertices
    p = math.hypot(pt, p_z)
    d = (p_x / p, p_y / p, p_z / p)
    u, _ = uniforms_1(draw, index, event_id, key.k0, key.k1)
    draw += 1
    s = fly_1(surfaces, x, y, z, p_x / pt, p_y / pt, p_z / pt, -math.log(1.0 - u) / rate)
    if math.isnan(s):
        return draw, n, n_vertices
    s *= p / pt
    x, y, z, t = x + s * d[0], y + s * d[1], z + s * d[2], t + s / speed_of_light
    add_vertex(vertices, n_vertices, root, x, y, z, t, d)
    source.end[i] = n_vertices
    source.status[i] = DECAYED
    source.leaves[i] = False
    share, draw = draw_share_1(energy, draw, index, event_id, key.k0, key.k1)
    polar, azimuth, draw = draw_angle_1(share * energy, draw, index, event_id, key.k0, key.k1)
    other = polar * share / (1.0 - share)  # the same u = polar E / m on the other side
    origin = vertices.position[n_vertices]
    add_row(
        rows, n, ELECTRON, FINAL, PAIR, n_vertices, origin, turned_1(d, polar, azimuth), share * energy, ELECTRON_MASS
    )
    add_row(
        rows, n + 1, -ELECTRON, FINAL, PAIR, n_vertices, origin, turned_1(d, min(other, math.pi), azimuth + math.pi),
        (1.0 - share) * energy, ELECTRON_MASS,
    )  # fmt: skip
    return draw, n + 2, n_vertices + 1


@kernel
def radiate(
    surfaces: Surfaces, rules: Rules, settings: Settings, source: Rows, i: int, root: int, index: int, event_id: Word, key: Key,
    draw: int, rows: Rows, n: int, vertices: Vertices, n_vertices: int, scratch: Scratch,
) -> tuple[int, int, int]:  # fmt: skip
    """Electron `i` of `source` may radiate: new rows are photons, and the electron with what energy is left to it.

    Its own row stays: it is what the tracker sees, and gets the shift that this means for its fit. Returns as `convert`.
    """
    x, y, z, t = source.origin[i, 0], source.origin[i, 1], source.origin[i, 2], source.origin[i, 3]
    p_x, p_y, p_z, energy = source.momentum[i, 0], source.momentum[i, 1], source.momentum[i, 2], source.momentum[i, 3]
    pt = math.hypot(p_x, p_y)
    if pt <= 1e-6 or energy <= settings.lowest:
        return draw, n, n_vertices
    charge = -1.0 if source.pdg[i] > 0 else 1.0
    pt_true, r_birth = pt, math.hypot(x, y)
    phi, tan_lambda, turned = math.atan2(p_y, p_x), p_z / pt, 0.0
    slope = math.sqrt(1.0 + tan_lambda * tan_lambda)
    c = curvature_1(charge / pt, rules.b_z)
    cylinder, disk = begin_1(surfaces, x, y, z, tan_lambda)
    current = -1  # the row that it flies on as; -1: its own
    scratch.kick[:] = 0.0
    scratch.reached[:] = False
    while True:
        surface, s, x, y, z, left, cylinder, disk = cross_next_1(
            surfaces, x, y, z, phi, c, tan_lambda, turned, cylinder, disk
        )
        if surface < 0 or n + ROOM > len(rows.pdg):
            break
        t += s * slope / speed_of_light
        phi += c * s
        turned += abs(c) * s
        d = (math.cos(phi) / slope, math.sin(phi) / slope, tan_lambda / slope)
        is_flat = abs(x * d[1] - y * d[0]) * slope > rules.max_sin_incidence * math.hypot(x, y)
        scratch.reached[surface] = surface >= surfaces.n_cylinders or not is_flat
        before, n_before = energy, n
        while n + ROOM <= len(rows.pdg):
            rate = photon_rate_1(energy, settings.lowest)
            u, _ = uniforms_1(draw, index, event_id, key.k0, key.k1)
            draw += 1
            if rate > 0.0:
                left += math.log(1.0 - u) / rate
            if rate <= 0.0 or left <= 0.0:
                break
            k, draw = draw_photon_1(energy, settings.lowest, draw, index, event_id, key.k0, key.k1)
            polar, azimuth, draw = draw_angle_1(energy, draw, index, event_id, key.k0, key.k1)
            if energy - k > 2.0 * ELECTRON_MASS:
                if n == n_before:
                    add_vertex(vertices, n_vertices, root, x, y, z, t, d)
                origin = vertices.position[n_vertices]
                add_row(rows, n, PHOTON, FINAL, BREMSSTRAHLUNG, n_vertices, origin, turned_1(d, polar, azimuth), k, 0.0)
                n += 1
                energy -= k
        if n == n_before:
            continue
        add_row(
            rows, n, source.pdg[i], IN_FLIGHT, BREMSSTRAHLUNG, n_vertices, vertices.position[n_vertices], d, energy, ELECTRON_MASS
        )  # fmt: skip
        if current < 0:
            source.end[i] = n_vertices
            source.leaves[i] = False
        else:
            rows.end[current] = n_vertices
            rows.leaves[current] = False
        current = n
        n += 1
        n_vertices += 1
        pt *= math.sqrt((energy * energy - ELECTRON_MASS**2) / (before * before - ELECTRON_MASS**2))
        scratch.kick[surface] += curvature_1(charge / pt, rules.b_z) - c
        c = curvature_1(charge / pt, rules.b_z)
    if current >= 0 and rules.b_z != 0.0:
        shift_fit(surfaces, rules, pt_true, tan_lambda, charge, r_birth, scratch, source.shift[i])
    return draw, n, n_vertices


@kernel
def shift_fit(
    surfaces: Surfaces, rules: Rules, pt: float, tan_lambda: float, charge: float, r_birth: float, scratch: Scratch,
    shift: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fill `shift` (5,): what the changes of curvature in `scratch.kick` [1/cm] do to the parameters of the fitted track.

    To first order, as the table maker fits it: every hit that the electron still makes, weighted as if it had not radiated.
    0 where these are too few for a fit.
    """
    n = walk(surfaces, rules, pt, tan_lambda, ELECTRON_MASS, charge, r_birth, scratch.path)
    scatter(surfaces, rules, n, tan_lambda, ELECTRON_MASS, charge, scratch.path)
    n_hits = 0
    for k in range(n):
        i = scratch.path.surface[k]
        scratch.kicks[k] = scratch.kick[i] / curvature_1(1.0, rules.b_z)
        efficiency = surfaces.efficiency[i] if scratch.reached[i] else 0.0
        scratch.share[k] = efficiency if surfaces.repeated[i] else 1.0 if efficiency > 0.0 else 0.0
        n_hits += int(efficiency > 0.0)
    if n_hits < max(rules.min_hits, 3):  # three points make a helix
        return
    follow_kicks(scratch.path, n, scratch.kicks, scratch.deviations)
    fit_kicks(
        surfaces, scratch.path, n, tan_lambda, scratch.share, scratch.deviations, scratch.information, scratch.vector,
        scratch.work[0],
    )  # fmt: skip
    if not invert_5(scratch.information, scratch.covariance, scratch.work):
        return
    for i in range(5):
        shift[i] = 0.0
        for j in range(5):
            shift[i] += scratch.covariance[i, j] * scratch.vector[j]


@kernel
def cascade(
    surfaces: Surfaces, rules: Rules, settings: Settings, event_id: NDArray[np.uint64],
    index: NDArray[np.int32], key: Key, roots: Rows, rows: Rows, vertices: Vertices, scratch: Scratch,
) -> tuple[int, int]:  # fmt: skip
    """Follow photons and electrons (`roots`, with the ids of their events and their positions in them), and what they make.

    `rows` and `vertices` (as long) are filled, root by root. Draws are addressed by the root. Returns the numbers of new rows and
    vertices, -1 if there was not room enough.
    """
    n = 0
    n_vertices = 0
    for root in range(len(event_id)):
        first = n
        draw = 0
        next_row = n - 1  # as if the root stood before its own new rows
        while next_row < n:
            source, i = (roots, root) if next_row < first else (rows, next_row)
            is_final = source.status[i] == FINAL
            if (
                is_final
                and settings.conversions
                and source.pdg[i] == PHOTON
                and source.momentum[i, 3] > settings.lowest
            ):
                draw, n, n_vertices = convert(
                    surfaces, settings, source, i, root, index[root], event_id[root], key, draw, rows, n, vertices,
                    n_vertices,
                )  # fmt: skip
            elif is_final and settings.bremsstrahlung and abs(source.pdg[i]) == ELECTRON:
                draw, n, n_vertices = radiate(
                    surfaces, rules, settings, source, i, root, index[root], event_id[root], key, draw, rows, n, vertices,
                    n_vertices, scratch,
                )  # fmt: skip
            if n + ROOM > len(rows.pdg):
                return -1, -1
            next_row += 1
    return n, n_vertices
