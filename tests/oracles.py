"""Shared helpers of the tests: builders of kernel inputs, and independent physics in plain numpy.

Nothing in the second half uses the kernels: the helix is stepped by its closed form, crossings are found by bisection and
Newton's method, energy loss is integrated by Runge and Kutta's, derivatives are finite differences, and a track fit is one
generalised least-squares problem with the full covariance of the hits (scattering included) instead of a filter.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastsim.kernels.surfaces import Surfaces
from fastsim.kernels.walk import Rules
from fastsim.luts.kernels import make_scratch, solve_track

JIT_IS_OFF = os.environ.get("NUMBA_DISABLE_JIT", "0") not in {"", "0"}

K_CURVATURE = (
    299792458.0 * 1e-9 * 1e-2
)  # GeV / (T cm): a GeV/c of unit charge in 1 T has R = 1 / K_CURVATURE = 333.56 cm
PION_MASS = 0.13957039  # GeV, PDG
KAON_MASS = 0.493677  # GeV, PDG
PROTON_MASS = 0.93827209  # GeV, PDG
MUON_MASS = 0.1056583755  # GeV, PDG
ELECTRON_MASS = 0.51099895e-3  # GeV, PDG

PARAMETERS = ("dca_xy", "dca_z", "phi", "tan_lambda", "q_over_pt")


# --- inputs of the kernels ------------------------------------------------------------------------------------------


class Layers(NamedTuple):
    """Cylinders sorted by radius, each with two views; lengths in cm. Passive ones have efficiency 0."""

    r: np.ndarray
    half_length: np.ndarray
    x_over_x0: np.ndarray
    sigma_rphi: np.ndarray
    sigma_z: np.ndarray
    efficiency: np.ndarray


def make_layers(r, x_over_x0=0.0, sigma=10e-4, sigma_z=None, efficiency=1.0, half_length=1e6) -> Layers:
    """Layers from arrays or scalars [cm]; `sigma` holds for both views unless `sigma_z` is given."""
    r = np.asarray(r, dtype=np.float64)
    columns = [half_length, x_over_x0, sigma, sigma if sigma_z is None else sigma_z, efficiency]
    return Layers(r, *(np.array(np.broadcast_to(column, r.shape), dtype=np.float64) for column in columns))


def merge_layers(*sets: Layers) -> Layers:
    """All layers of several sets, sorted by radius."""
    columns = [np.concatenate(column) for column in zip(*sets, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Layers(*(column[order] for column in columns))


def passive_layers(r, x_over_x0) -> Layers:
    """Material without hits."""
    return make_layers(r, x_over_x0, efficiency=0.0)


def make_surfaces(layers: Layers, areal_density=0.0, repeated=False) -> Surfaces:
    """Layers as the kernels see them; `areal_density` [g/cm2] and `repeated` as arrays or scalars."""
    n = len(layers.r)
    return Surfaces(
        n, n, layers.r, -layers.half_length, layers.half_length, layers.x_over_x0,
        np.array(np.broadcast_to(areal_density, n), dtype=np.float64),
        np.ascontiguousarray(np.stack([layers.sigma_rphi, layers.sigma_z], axis=1)),
        np.tile([0.0, 0.5 * math.pi], (n, 1)), layers.efficiency, np.array(np.broadcast_to(repeated, n), dtype=bool),
    )  # fmt: skip


def add_disks(
    surfaces: Surfaces, z, r_min=0.0, r_max=1e6, x_over_x0=0.0, sigma=10e-4, sigma_r=None, efficiency=1.0
) -> Surfaces:  # fmt: skip
    """The same with disks at these z [cm] of either sign; `sigma` holds for r-phi and r unless `sigma_r` is given."""
    z = np.asarray(z, dtype=np.float64)
    columns = [r_min, r_max, x_over_x0, sigma, sigma if sigma_r is None else sigma_r, efficiency]
    low, high, t, sigma_1, sigma_2, e = (np.broadcast_to(np.asarray(c, dtype=np.float64), z.shape) for c in columns)
    position = np.concatenate([surfaces.position, z])
    kind = np.concatenate([np.arange(len(surfaces.position)) >= surfaces.n_cylinders, np.ones(len(z), dtype=bool)])
    order = np.lexsort([np.abs(position), np.where(kind, np.where(position > 0.0, 1, 2), 0)])

    def joined(old, new):
        return np.ascontiguousarray(np.concatenate([old, new])[order])

    return Surfaces(
        surfaces.n_cylinders, surfaces.n_cylinders + int(np.count_nonzero(kind & (position > 0.0))), position[order],
        joined(surfaces.low, low), joined(surfaces.high, high), joined(surfaces.x_over_x0, t),
        joined(surfaces.areal_density, np.zeros(len(z))), joined(surfaces.sigma, np.stack([sigma_1, sigma_2], axis=1)),
        joined(surfaces.stereo, np.tile([0.0, 0.5 * math.pi], (len(z), 1))), joined(surfaces.efficiency, e),
        joined(surfaces.repeated, np.zeros(len(z), dtype=bool)),
    )  # fmt: skip


def of_silicon(surfaces: Surfaces) -> Surfaces:
    """With the areal density of as many radiation lengths of silicon (21.82 g/cm2, PDG)."""
    return surfaces._replace(areal_density=21.82 * surfaces.x_over_x0)


def without(surfaces: Surfaces, is_gone) -> Surfaces:
    """Without the surfaces that the mask (n,) marks."""
    keep = ~np.asarray(is_gone, dtype=bool)
    columns = [np.ascontiguousarray(column[keep]) for column in surfaces[2:]]
    n_cylinders = int(np.count_nonzero(keep[: surfaces.n_cylinders]))
    return Surfaces(n_cylinders, int(np.count_nonzero(keep[: surfaces.n_forward])), *columns)


def make_rules(
    b_z=2.0, convention=0, min_hits=3, max_sin_incidence=0.95, min_radius=0.0, *,
    energy_loss=0, straggling=0, electrons=0, electron_scale=1.0, average_rapidity=-1.0,
) -> Rules:  # fmt: skip
    return Rules(
        float(b_z), int(convention), int(energy_loss), int(straggling), int(electrons), float(electron_scale), int(min_hits),
        float(max_sin_incidence), float(min_radius), float(average_rapidity),
    )  # fmt: skip


@dataclass
class Solution:
    """What `solve_track` gives."""

    efficiency: float
    covariance: np.ndarray
    efficiencies: np.ndarray

    @property
    def sigma(self) -> dict[str, float]:
        return dict(zip(PARAMETERS, np.sqrt(np.diag(self.covariance)).tolist(), strict=True))


def solve(
    layers: Layers | Surfaces,
    rules: Rules,
    pt: float,
    tan_lambda=0.0,
    mass=PION_MASS,
    charge=1.0,
    *,
    r=0.0,
    dnch_deta=(0.0,),
) -> Solution:
    """`solve_track` with its own work space; `efficiency` is that of right hits at the first `dnch_deta`."""
    surfaces = make_surfaces(layers) if isinstance(layers, Layers) else layers
    dnch = np.array(dnch_deta, dtype=np.float64)
    scratch = make_scratch(len(surfaces.position), rules.min_hits, len(dnch))
    is_track = solve_track(
        surfaces, rules, float(pt), float(tan_lambda), float(mass), float(charge), float(r), dnch, scratch
    )
    covariance = scratch.total.copy() if is_track else np.zeros((5, 5))
    return Solution(float(scratch.efficiency[0, 0]), covariance, scratch.efficiency.copy())


def alice3_v2_layers(*, sigma_scale=1.0) -> Layers:
    """The ALICE 3 "v2" barrel (reference/tracking.md 2.1): two passive beam pipes, 3 inner and 8 outer layers."""
    inner = make_layers([0.5, 1.2, 2.5], 0.001, 2.5e-4 * sigma_scale, half_length=250.0)
    outer = make_layers([3.75, 7, 12, 20, 30, 45, 60, 80], 0.01, 10e-4 * sigma_scale, half_length=250.0)
    return merge_layers(inner, outer, passive_layers([0.48, 3.7], [0.00042, 0.0014]))


def forward_disks(*, sigma_scale=1.0, thickness_scale=1.0) -> Surfaces:
    """ALICE 3 v2 with the disks of its letter of intent (reference/tracking.md 2.1) on both sides."""
    layers = alice3_v2_layers(sigma_scale=sigma_scale)
    surfaces = make_surfaces(layers._replace(x_over_x0=layers.x_over_x0 * thickness_scale))
    surfaces = surfaces._replace(low=np.full(len(layers.r), -60.0), high=np.full(len(layers.r), 60.0))
    for z, r_min, r_max, t, sigma in (
        ([26.0, 30.0, 34.0], 0.5, 2.5, 0.001, 2.5e-4),
        ([77.0, 100.0, 122.0], 5.0, 35.0, 0.01, 10e-4),
        ([150.0, 180.0, 220.0, 260.0, 300.0, 350.0], 5.0, 80.0, 0.01, 10e-4),
    ):
        both = np.concatenate([z, -np.array(z)])
        surfaces = add_disks(surfaces, both, r_min, r_max, t * thickness_scale, sigma * sigma_scale)
    return surfaces


# --- independent physics --------------------------------------------------------------------------------------------


def highland(t, p, mass, charge=1.0, *, t_log=None, log_beta=True, use_log=True):
    """Rms plane-projected angle (PDG 34.16), typed here afresh: 13.6 MeV / (beta p) |z| sqrt(t) (1 + 0.038 ln ...)."""
    beta = p / np.hypot(p, mass)
    bracket = 1.0
    if use_log:
        bracket = 1.0 + 0.038 * np.log((t if t_log is None else t_log) * ((charge / beta) ** 2 if log_beta else 1.0))
    return 0.0136 / (beta * p) * abs(charge) * np.sqrt(t) * bracket


def helix_position(start, s):
    """(x, y, z) after the transverse arc s; start = (x, y, z, phi, tan_lambda, c). Any shapes that broadcast."""
    x, y, z, phi, tan_lambda, c = start
    half = 0.5 * c * s
    chord = s * np.sinc(half / np.pi)
    return x + chord * np.cos(phi + half), y + chord * np.sin(phi + half), z + s * tan_lambda


def arc_to_cylinder(start, r, guess):
    """Transverse arc from `start` to its crossing of radius r near `guess`, by Newton's method on x^2 + y^2 = r^2."""
    phi, c = start[3], start[5]
    s = np.array(guess, dtype=np.float64, copy=True)
    for _ in range(12):
        x, y, _ = helix_position(start, s)
        slope = 2.0 * (x * np.cos(phi + c * s) + y * np.sin(phi + c * s))
        s = s - (x * x + y * y - r * r) / slope
    return s


def kick_direction(phi, tan_lambda, pt, across, dip):
    """Turn the momentum by angles `across` (in the plane of the track and phi-hat) and `dip`, keeping |p|.

    Exact: the new direction is a unit vector in the frame (track, phi-hat, dip-hat). Returns phi, tan_lambda, pt.
    """
    p = pt * np.hypot(1.0, tan_lambda)
    lam = np.arctan(tan_lambda)
    e_track = np.array([np.cos(lam) * np.cos(phi), np.cos(lam) * np.sin(phi), np.sin(lam)])
    e_phi = np.array([-np.sin(phi), np.cos(phi), np.zeros_like(phi)])
    e_dip = np.array([-np.sin(lam) * np.cos(phi), -np.sin(lam) * np.sin(phi), np.cos(lam)])
    u = e_track + np.tan(across) * e_phi + np.tan(dip) * e_dip
    u = u / np.sqrt((u * u).sum(axis=0))
    u_t = np.hypot(u[0], u[1])
    return np.arctan2(u[1], u[0]), u[2] / u_t, p * u_t


def stopping_power(p, mass, charge=1.0):
    """-dE/dx [GeV cm2/g] of a heavy particle in silicon, PDG 34.5 and 34.2.5 typed afresh in MeV."""
    gamma_beta, m_e = p / mass, 0.51099895
    gamma = np.sqrt(1.0 + gamma_beta**2)
    beta2 = 1.0 - 1.0 / gamma**2
    t_max = 2.0 * m_e * gamma_beta**2 / (1.0 + 2.0 * gamma * m_e / (1e3 * mass) + (m_e / (1e3 * mass)) ** 2)
    x = np.log10(gamma_beta)
    delta = 2.0 * math.log(10.0) * x - 4.4351 + 0.14921 * np.maximum(2.8715 - x, 0.0) ** 3.2546
    delta = np.where(x < 0.2014, 0.14 * 10.0 ** (2.0 * (x - 0.2014)), delta)
    logarithm = 0.5 * np.log(2.0 * m_e * gamma_beta**2 * t_max / 173e-6**2)
    return 1e-3 * 0.307075 * charge**2 * 0.49848 / beta2 * (logarithm - beta2 - 0.5 * delta)


def momentum_behind(p, mass, charge, x, n_steps=30):
    """Momentum behind x [g/cm2] of silicon along the track: the loss per thickness integrated by Runge and Kutta's method."""
    h = x / n_steps
    energy = np.sqrt(p * p + mass * mass)

    def slope(e):
        return -stopping_power(np.sqrt(e * e - mass * mass), mass, charge)

    for _ in range(n_steps):
        k1 = slope(energy)
        k2 = slope(energy + 0.5 * h * k1)
        k3 = slope(energy + 0.5 * h * k2)
        k4 = slope(energy + h * k3)
        energy = energy + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    return np.sqrt(energy * energy - mass * mass)


def straggling(convention, mass):
    """Rms of the momentum behind (p, t radiation lengths, x g/cm2) by fluctuations of the loss, of a unit charge.

    "bohr": xi Tmax (1 - beta^2/2), xi = 0.1535 MeV cm2/g (Z/A) x/beta^2 (PDG 34.2.9); "aliroot": 0.07 sqrt(dE/GeV)
    (reference/tracking.md 0). dp = (E/p) dE behind the surface.
    """

    def width(p, _, x):
        behind, gamma_beta = momentum_behind(p, mass, 1.0, x), p / mass
        beta2, electron = gamma_beta**2 / (1.0 + gamma_beta**2), ELECTRON_MASS / mass
        t_max = 2.0 * ELECTRON_MASS * gamma_beta**2 / (1.0 + 2.0 * np.hypot(1.0, gamma_beta) * electron + electron**2)
        energy = {
            "none": 0.0 * x,
            "bohr": np.sqrt(0.1535375e-3 * 0.49848 * x / beta2 * t_max * (1.0 - 0.5 * beta2)),
            "aliroot": 0.07 * np.sqrt(np.hypot(p, mass) - np.hypot(behind, mass)),
        }[convention]
        return energy * np.hypot(behind, mass) / behind

    return width


@dataclass
class Route:
    """The surfaces that a track crosses, and the transverse arcs between them."""

    surfaces: Surfaces
    index: np.ndarray
    steps: np.ndarray
    energy_loss: bool
    mass: float

    @property
    def is_disk(self):
        return self.index >= self.surfaces.n_cylinders


def step_through(route: Route, parameters, charge, b_z, across, dip, jolt, nominal=None):
    """Tracks through the surfaces of a route: exact helix pieces, behind each crossing kicks, mean loss and a jolt of q/pt.

    parameters (5, n) at the origin: n along (-sin phi, cos phi) at closest approach, z, phi, tan_lambda, q/pt.
    across, dip, jolt (n_crossings, n). Yields x, y, z, phi, tan_lambda, pt at each crossing, before what happens there.
    With the `nominal` track's (n_crossings, 6) the state changes its curvature there, and not where the track itself
    crosses the surface: that is how a state at a fixed point is propagated, if the surface's tilt is neglected.
    """
    dca, z, phi, tan_lambda, q_over_pt = (np.array(row, dtype=np.float64) for row in parameters)
    x, y = -dca * np.sin(phi), dca * np.cos(phi)
    pt = charge / q_over_pt
    for k, i in enumerate(route.index):
        position = route.surfaces.position[i]
        c = -K_CURVATURE * b_z * charge / pt
        start = (x, y, z, phi, tan_lambda, c)
        if route.is_disk[k]:
            s = (position - z) / tan_lambda
        else:
            s = arc_to_cylinder(start, position, np.full(np.shape(x), route.steps[k]))
        x, y, z = helix_position(start, s)
        phi = phi + c * s
        yield x, y, z, phi, tan_lambda, pt
        turned, tan_lambda, pt = kick_direction(phi, tan_lambda, pt, across[k], dip[k])
        phi = phi + np.mod(turned - phi + np.pi, 2 * np.pi) - np.pi
        pt_before = pt
        if route.energy_loss:
            if route.is_disk[k]:
                slant = np.hypot(1.0, tan_lambda) / np.abs(tan_lambda)
            else:
                slant = np.hypot(1.0, tan_lambda) / ((x * np.cos(phi) + y * np.sin(phi)) / np.hypot(x, y))
            p = pt * np.hypot(1.0, tan_lambda)
            density = route.surfaces.areal_density[i]
            pt = pt * momentum_behind(p, route.mass, charge, density * slant) / p
        if nominal is not None:
            along = (x - nominal[k, 0]) * np.cos(nominal[k, 3]) + (y - nominal[k, 1]) * np.sin(nominal[k, 3])
            phi = phi - K_CURVATURE * b_z * charge * (1.0 / pt - 1.0 / pt_before) * along
        pt = charge / (charge / pt + jolt[k])


def hits_on(route: Route, parameters, charge, b_z, across, dip, jolt):
    """Hits of tracks: azimuth (n_crossings, n), and z on cylinders or r on disks (n_crossings, n)."""
    azimuth, other = [], []
    stepping = step_through(route, parameters, charge, b_z, across, dip, jolt)
    for on_disk, (x, y, z, *_) in zip(route.is_disk, stepping, strict=True):
        azimuth.append(np.arctan2(y, x))
        other.append(np.hypot(x, y) if on_disk else z)
    return np.array(azimuth), np.array(other)


def find_route(
    surfaces: Surfaces, b_z, pt, tan_lambda, mass, charge=1.0, max_sin_incidence=0.95, *, energy_loss=False, r_birth=0.0
) -> Route:  # fmt: skip
    """Surfaces that a track from the origin along x crosses on its first way out, by bisection on each piece of helix."""
    x = y = z = phi = turned = 0.0
    route = Route(surfaces, np.zeros(0, dtype=np.int64), np.zeros(0), energy_loss, mass)
    is_left = np.ones(len(surfaces.position), dtype=bool)
    is_disk = np.arange(len(surfaces.position)) >= surfaces.n_cylinders
    while True:
        c = -K_CURVATURE * b_z * charge / pt
        start = (x, y, z, phi, tan_lambda, c)
        outwards = math.atan2(y + math.cos(phi) / c, x - math.sin(phi) / c)  # direction of the circle's centre
        heading = phi + math.copysign(0.5 * math.pi, -c)  # of the track as seen from the centre
        to_apex = math.remainder(outwards - heading, 2.0 * math.pi) * math.copysign(1.0, c) % (2.0 * math.pi) / abs(c)
        s = np.full(len(is_left), np.inf)
        if tan_lambda != 0.0:
            s[is_disk] = (surfaces.position[is_disk] - z) / tan_lambda
        s[is_disk & (turned + abs(c) * s > math.pi)] = np.inf
        s[~is_disk] = bisect(
            lambda s, start=start: np.hypot(*helix_position(start, s)[:2]) - surfaces.position[~is_disk],
            np.zeros(surfaces.n_cylinders), np.full(surfaces.n_cylinders, to_apex),
        )  # fmt: skip
        is_crossed = is_left & (s > 0.0) & np.isfinite(s)
        s[~is_crossed] = 0.0
        x_s, y_s, z_s = helix_position(start, s)
        r_s, phi_s = np.hypot(x_s, y_s), phi + c * s
        extent = np.where(is_disk, r_s, z_s)
        is_flat = np.abs(x_s * np.sin(phi_s) - y_s * np.cos(phi_s)) > max_sin_incidence * r_s
        is_crossed &= ~(is_flat & ~is_disk) & (surfaces.low <= extent) & (extent <= surfaces.high) & (r_s > r_birth)
        is_crossed &= is_disk | (np.abs(r_s - surfaces.position) < 1e-6)  # else it was out of reach
        crossings = [(s[i], i) for i in np.flatnonzero(is_crossed)]
        if not crossings:
            return route
        s, i = min(crossings)
        is_left[i] = False
        (x, y, z), phi, turned = helix_position(start, s), phi + c * s, turned + abs(c) * s
        route.index, route.steps = np.append(route.index, i), np.append(route.steps, s)
        if energy_loss:
            cosine = (x * math.cos(phi) + y * math.sin(phi)) / math.hypot(x, y)
            slant = math.hypot(1.0, tan_lambda) / (abs(tan_lambda) if is_disk[i] else cosine)
            p = pt * math.hypot(1.0, tan_lambda)
            pt *= float(momentum_behind(p, mass, charge, surfaces.areal_density[i] * slant)) / p


def bisect(function, low, high):
    """Roots of a rising function between two numbers each (arrays)."""
    for _ in range(60):
        middle = 0.5 * (low + high)
        is_above = function(middle) > 0.0
        low, high = np.where(is_above, low, middle), np.where(is_above, middle, high)
    return 0.5 * (low + high)


@dataclass
class LinearTrack:
    """The linearised measurement of one track: hits = design @ (5 parameters) + kicks @ angles + noise.

    Rows are views; kicks are angles across, angles in the dip plane, and jolts of q/pt, of all crossings each.
    """

    route: Route
    r: np.ndarray  # where the surfaces are crossed
    theta: np.ndarray  # rms angle of each crossing
    width: np.ndarray  # (3 n) rms of all kicks
    design: np.ndarray  # (n_rows, 5)
    kicks: np.ndarray  # (n_rows, 3 n)
    first: np.ndarray  # (n, 5 + 3 n): derivatives of r-phi at each crossing
    second: np.ndarray  # (n, 5 + 3 n): of z on cylinders, of r on disks
    states: np.ndarray  # (n, 5, 5 + 3 n): of the local perigee before each crossing
    q_over_pt: np.ndarray  # before each crossing
    azimuth: np.ndarray
    other: np.ndarray  # z on cylinders, r on disks
    crossing: np.ndarray  # (n_rows) where the view is
    angle: np.ndarray  # (n_rows) its stereo angle
    sigma: np.ndarray  # (n_rows)
    efficiency: np.ndarray

    def rows(self, is_hit):
        return np.flatnonzero(np.asarray(is_hit)[self.crossing])

    def views(self, azimuth, other):
        """What the views see (n_rows, n) of hits (n_crossings, n), relative to the nominal ones."""
        shift = np.remainder(azimuth - self.azimuth[:, None] + math.pi, 2.0 * math.pi) - math.pi
        return self.look(shift * self.r[:, None], other - self.other[:, None])

    def look(self, first, second):
        return np.cos(self.angle)[:, None] * first[self.crossing] - np.sin(self.angle)[:, None] * second[self.crossing]

    def hit_covariance(self, is_hit):
        """V of the hits: resolution on the diagonal, scattering correlates all hits behind each layer."""
        rows = self.rows(is_hit)
        half_kicks = self.kicks[rows] * self.width
        return np.diag(self.sigma[rows] ** 2) + half_kicks @ half_kicks.T

    def estimator(self, is_hit=None):
        """The generalised least-squares estimator G (5, n_rows) and its covariance (A^T V^-1 A)^-1."""
        is_hit = self.efficiency > 0.0 if is_hit is None else is_hit
        whiten = np.linalg.inv(np.linalg.cholesky(self.hit_covariance(is_hit)))
        a = whiten @ self.design[self.rows(is_hit)]
        scale = np.sqrt((a * a).sum(axis=0))
        q, r = np.linalg.qr(a / scale)
        r_inverse = np.linalg.inv(r) / scale[:, None]
        return r_inverse @ q.T @ whiten, r_inverse @ r_inverse.T

    def covariance(self, is_hit=None):
        return self.estimator(is_hit)[1]

    def predicted(self, k, *, inwards, prior_at=None):
        """Variances of r-phi and z (r) at crossing k, before its surface, by the hits outside (inside) of it.

        All unknowns at once: track parameters and kicks, the latter with their widths; DelphesO2's seed (5 cm, 0.7 rad,
        0.7, 30.5 q/pt) holds for the state at crossing `prior_at`, usually k itself. Kicks on the other side of k
        are left out: what is not known of the state there is nothing but parameters again.
        """
        n = len(self.r)
        is_behind = np.tile(np.arange(n) >= k, 3)
        use = np.concatenate([np.ones(5, dtype=bool), is_behind if inwards else ~is_behind])
        use[5:] &= self.width > 0.0
        rows = (self.crossing > k) if inwards else (self.crossing < k)
        h = np.concatenate([self.design, self.kicks], axis=1)[rows][:, use] / self.sigma[rows][:, None]
        at = k if prior_at is None else prior_at
        q_over_pt = np.abs(self.q_over_pt[at])
        seed = self.states[at][:, use] / np.array([5.0, 5.0, 0.7, 0.7, 30.5 * q_over_pt])[:, None]
        weights = np.diag(np.concatenate([np.zeros(5), 1.0 / self.width[use[5:]]]))[5:]
        a = np.concatenate([h, seed, weights])
        scale = np.sqrt((a * a).sum(axis=0))
        r_inverse = np.linalg.inv(np.linalg.qr(a / scale)[1])
        look = np.stack([self.first[k], self.second[k]])[:, use] / scale
        return ((look @ r_inverse) ** 2).sum(axis=1)


def linear_track(
    layers: Layers | Surfaces, b_z, pt, tan_lambda=0.0, mass=PION_MASS, charge=1.0, max_sin_incidence=0.95, width=highland,
    *, energy_loss=False, jolts=None, r_birth=0.0, tilts=True,
) -> LinearTrack:  # fmt: skip
    """Linearise the exact track model about a track from the origin along x, by central differences.

    `jolts(p, t, x)` gives the rms of p behind a surface of t radiation lengths and x g/cm2 along the track. Without
    `tilts` see `step_through`.
    """
    surfaces = make_surfaces(layers) if isinstance(layers, Layers) else layers
    route = find_route(
        surfaces, b_z, pt, tan_lambda, mass, charge, max_sin_incidence, energy_loss=energy_loss, r_birth=r_birth
    )
    n = len(route.index)
    centre = np.array([0.0, 0.0, 0.0, tan_lambda, charge / pt])
    nominal = np.array(list(step_through(route, centre[:, None], charge, b_z, *np.zeros((3, n, 1)))))[:, :, 0]
    x, y, z, phi, _, pt_there = nominal.T
    r, slope = np.hypot(x, y), math.hypot(1.0, tan_lambda)
    cosine = (x * np.cos(phi) + y * np.sin(phi)) / r
    slant = slope / np.where(route.is_disk, abs(tan_lambda), cosine)
    t = surfaces.x_over_x0[route.index] * slant
    theta, jolt = np.zeros(n), np.zeros(n)
    is_scatterer = t > 0.0
    theta[is_scatterer] = width(t[is_scatterer], pt_there[is_scatterer] * slope, mass, charge)
    if jolts is not None:
        density = surfaces.areal_density[route.index] * slant
        p_behind = momentum_behind(pt_there * slope, mass, charge, density) if energy_loss else pt_there * slope
        jolt = abs(charge) * slope / p_behind**2 * jolts(pt_there * slope, t, density)

    reach = np.sum(route.steps)
    turn = 1e-4 / reach  # small angles that move the outermost hit by a micrometre
    q_step = min(2e-4 / (reach * K_CURVATURE * b_z), 0.1 * abs(charge) / pt)
    step = np.concatenate(
        [[1e-4, 1e-4, turn, turn, q_step], np.full(n, turn / slope), np.full(n, turn / slope**2), np.full(n, q_step)]
    )
    n_column = 5 + 3 * n
    parameters = np.repeat(centre[:, None], 2 * n_column, axis=1)
    kicks = np.zeros((3 * n, 2 * n_column))
    for k in range(n_column):
        target = parameters if k < 5 else kicks
        row = k if k < 5 else k - 5
        target[row, 2 * k] += step[k]
        target[row, 2 * k + 1] -= step[k]
    stepping = step_through(
        route, parameters, charge, b_z, kicks[:n], kicks[n : 2 * n], kicks[2 * n :], None if tilts else nominal
    )
    track = np.array(list(stepping))
    azimuth, other = np.arctan2(y, x), np.where(route.is_disk, r, z)

    def derivative(values):
        return (values[..., 0::2] - values[..., 1::2]) / (2.0 * step)

    turned = np.remainder(np.arctan2(track[:, 1], track[:, 0]) - azimuth[:, None] + math.pi, 2.0 * math.pi) - math.pi
    on_disk = np.where(route.is_disk[:, None], np.hypot(track[:, 0], track[:, 1]), track[:, 2])
    first, second = derivative(turned * r[:, None]), derivative(on_disk)
    dx, dy = track[:, 0] - x[:, None], track[:, 1] - y[:, None]
    along = dx * np.cos(phi)[:, None] + dy * np.sin(phi)[:, None]
    c = -K_CURVATURE * b_z * charge / pt_there[:, None]
    states = np.stack(
        [
            dy * np.cos(phi)[:, None] - dx * np.sin(phi)[:, None], track[:, 2] - along * track[:, 4], track[:, 3] - c * along,
            track[:, 4], charge / track[:, 5],
        ], axis=1,
    )  # fmt: skip

    sigma = surfaces.sigma[route.index]
    crossing, view = np.nonzero(np.isfinite(sigma) & (surfaces.efficiency[route.index] > 0.0)[:, None])
    result = LinearTrack(
        route, r, theta, np.concatenate([theta, theta, jolt]), np.zeros(0), np.zeros(0), first, second, derivative(states),
        charge / pt_there, azimuth, other,
        crossing, surfaces.stereo[route.index][crossing, view], sigma[crossing, view], surfaces.efficiency[route.index],
    )  # fmt: skip
    rows = result.look(first, second)
    result.design, result.kicks = rows[:, :5], rows[:, 5:]
    return result


def random_layers(generator):
    """A random barrel: 4 to 12 measuring layers and up to 4 passive ones, any resolution, thickness and length."""
    n = int(generator.integers(4, 13))
    n_passive = int(generator.integers(0, 5))
    hits = make_layers(
        np.sort(generator.uniform(0.5, 120.0, n)),
        10.0 ** generator.uniform(-4.0, -1.0, n) * (generator.random(n) < 0.8),
        10.0 ** generator.uniform(-4.0, -1.5, n),
        10.0 ** generator.uniform(-4.0, -1.0, n),
        half_length=generator.uniform(100.0, 400.0, n),
    )
    return merge_layers(
        hits, passive_layers(generator.uniform(0.4, 100.0, n_passive), 10.0 ** generator.uniform(-3.5, -1.0, n_passive))
    )


def random_detector(generator) -> Surfaces:
    """Short layers, not symmetric, and 3 to 9 disks on either side; some with tilted views, some with one view only."""
    surfaces = make_surfaces(random_layers(generator))
    n = len(surfaces.position)
    surfaces = surfaces._replace(low=-generator.uniform(10.0, 150.0, n), high=generator.uniform(10.0, 150.0, n))
    n = int(generator.integers(3, 10))
    surfaces = add_disks(
        surfaces, generator.uniform(15.0, 300.0, n) * generator.choice([-1.0, 1.0], n), generator.uniform(0.5, 5.0, n),
        generator.uniform(10.0, 150.0, n), 10.0 ** generator.uniform(-4.0, -1.0, n) * (generator.random(n) < 0.8),
        10.0 ** generator.uniform(-4.0, -1.5, n), 10.0 ** generator.uniform(-4.0, -1.0, n), 1.0 * (generator.random(n) < 0.8),
    )  # fmt: skip
    stereo, sigma = surfaces.stereo.copy(), surfaces.sigma.copy()
    for i, kind in enumerate(generator.integers(0, 4, len(stereo))):
        if kind == 0:
            angle = generator.uniform(-0.3, 0.3)
            stereo[i] = [angle, -angle - 0.1]
        elif kind == 1:
            stereo[i], sigma[i, 1] = [generator.uniform(-0.2, 0.2), 0.0], np.inf
    return surfaces._replace(stereo=stereo, sigma=sigma)


def relative_difference(covariance, expected) -> float:
    """Largest difference of two covariance matrices in units of the expected sigmas' products."""
    sigma = np.sqrt(np.diag(expected))
    return float(np.max(np.abs(covariance - expected) / np.outer(sigma, sigma)))


def gluckstern(n_points: int, sigma: float, lever: float, pt: float, b_z: float) -> float:
    """sigma(pt)/pt of equidistant points without material: R. L. Gluckstern, NIM 24 (1963) 381, exact in N."""
    n = n_points - 1
    shape = 720.0 * n**3 / ((n - 1) * (n + 1) * (n + 2) * (n + 3))
    return pt / (K_CURVATURE * b_z) * sigma / lever**2 * math.sqrt(shape)
