"""Shared helpers of the tests: builders of kernel inputs, and independent physics in plain numpy.

Nothing in the second half uses the kernels: the helix is stepped by its closed form, layer crossings are found by
Newton's method, derivatives are finite differences, and a track fit is one generalised least-squares problem with the
full covariance of the hits (scattering included) instead of a filter.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np

from fastsim.luts.kernels import Layers, Rules, Scratch, make_scratch, solve_track

JIT_IS_OFF = os.environ.get("NUMBA_DISABLE_JIT", "0") not in {"", "0"}

K_CURVATURE = (
    299792458.0 * 1e-9 * 1e-2
)  # GeV / (T cm): a GeV/c of unit charge in 1 T has R = 1 / K_CURVATURE = 333.56 cm
PION_MASS = 0.13957039  # GeV, PDG
KAON_MASS = 0.493677  # GeV, PDG
PROTON_MASS = 0.93827209  # GeV, PDG
MUON_MASS = 0.1056583755  # GeV, PDG

PARAMETERS = ("dca_xy", "dca_z", "phi", "tan_lambda", "q_over_pt")


# --- inputs of the kernels ------------------------------------------------------------------------------------------


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


def make_rules(b_z=2.0, convention=0, min_hits=3, max_sin_incidence=0.95, min_radius=0.0) -> Rules:
    return Rules(float(b_z), int(convention), int(min_hits), float(max_sin_incidence), float(min_radius))


@dataclass
class Solution:
    """What `solve_track` gives."""

    efficiency: float
    covariance: np.ndarray

    @property
    def sigma(self) -> dict[str, float]:
        return dict(zip(PARAMETERS, np.sqrt(np.diag(self.covariance)).tolist(), strict=True))


def solve(layers: Layers, rules: Rules, pt: float, tan_lambda=0.0, mass=PION_MASS, charge=1.0) -> Solution:
    """`solve_track` with its own work space."""
    scratch: Scratch = make_scratch(len(layers.r), rules.min_hits)
    efficiency = solve_track(layers, rules, float(pt), float(tan_lambda), float(mass), float(charge), scratch)
    return Solution(efficiency, scratch.total.copy())


def alice3_v2_layers(*, sigma_scale=1.0) -> Layers:
    """The ALICE 3 "v2" barrel (reference/tracking.md 2.1): two passive beam pipes, 3 inner and 8 outer layers."""
    inner = make_layers([0.5, 1.2, 2.5], 0.001, 2.5e-4 * sigma_scale, half_length=250.0)
    outer = make_layers([3.75, 7, 12, 20, 30, 45, 60, 80], 0.01, 10e-4 * sigma_scale, half_length=250.0)
    return merge_layers(inner, outer, passive_layers([0.48, 3.7], [0.00042, 0.0014]))


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


def track_hits(parameters, charge, b_z, radii, across, dip):
    """Hits of tracks on cylinders, with kicks behind each: exact helix pieces between them.

    parameters (5, n) at the origin: n along (-sin phi, cos phi) at closest approach, z, phi, tan_lambda, q/pt.
    across, dip (n_layers, n). Returns azimuth (n_layers, n) and z (n_layers, n) of the crossings.
    """
    dca, z, phi, tan_lambda, q_over_pt = (np.array(row, dtype=np.float64) for row in parameters)
    x, y = -dca * np.sin(phi), dca * np.cos(phi)
    pt = charge / q_over_pt
    azimuths, zs = [], []
    r_now = 0.0
    for k, r in enumerate(radii):
        c = -K_CURVATURE * b_z * charge / pt
        start = (x, y, z, phi, tan_lambda, c)
        # first guess: arc between the radii for a track through the axis, from chord lengths
        s = arc_to_cylinder(start, r, 2.0 * (np.arcsin(0.5 * r * abs(c)) - np.arcsin(0.5 * r_now * abs(c))) / abs(c))
        x, y, z = helix_position(start, s)
        phi = phi + c * s
        azimuths.append(np.arctan2(y, x))
        zs.append(z)
        turned, tan_lambda, pt = kick_direction(phi, tan_lambda, pt, across[k], dip[k])
        phi = phi + np.mod(turned - phi + np.pi, 2 * np.pi) - np.pi
        r_now = r
    return np.array(azimuths), np.array(zs)


@dataclass
class LinearTrack:
    """The linearised measurement of one track: hits = design @ (5 parameters) + kicks @ angles + noise."""

    r: np.ndarray  # crossed layers
    index: np.ndarray
    theta: np.ndarray  # rms angle of each crossed layer
    design: np.ndarray  # (2 n, 5): r-phi of all layers, then z of all layers
    kicks: np.ndarray  # (2 n, 2 n): angles across, then angles in the dip plane
    azimuth: np.ndarray
    z: np.ndarray
    sigma: np.ndarray  # (2 n)
    efficiency: np.ndarray

    def rows(self, is_hit):
        return np.flatnonzero(np.concatenate([is_hit, is_hit]))

    def hit_covariance(self, is_hit):
        """V of the hits: resolution on the diagonal, scattering correlates all hits behind each layer."""
        rows = self.rows(is_hit)
        half_kicks = self.kicks[rows] * np.concatenate([self.theta, self.theta])
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


def linear_track(
    layers: Layers, b_z, pt, tan_lambda=0.0, mass=PION_MASS, charge=1.0, max_sin_incidence=0.95, width=highland
) -> LinearTrack:
    """Linearise the exact track model about a track from the origin along x, by central differences."""
    r, half_length, x_over_x0, sigma_rphi, sigma_z, efficiency = (np.asarray(column) for column in layers)
    c = K_CURVATURE * b_z * abs(charge) / pt
    sin_incidence = 0.5 * r * abs(c)
    arc = 2.0 * np.arcsin(np.minimum(sin_incidence, 1.0)) / abs(c)
    index = np.flatnonzero((sin_incidence <= max_sin_incidence) & (np.abs(arc * tan_lambda) <= half_length))
    r, n = r[index], len(index)
    t = x_over_x0[index] * np.hypot(1.0, tan_lambda) / np.sqrt(1.0 - sin_incidence[index] ** 2)
    theta = np.zeros(n)
    is_scatterer = t > 0.0
    theta[is_scatterer] = width(t[is_scatterer], pt * np.hypot(1.0, tan_lambda), mass, charge)

    centre = np.array([0.0, 0.0, 0.0, tan_lambda, charge / pt])
    turn = 1e-4 / np.max(r)  # small angles that move the outermost hit by a micrometre
    q_step = min(2e-4 / (np.max(r) * K_CURVATURE * b_z), 0.1 * abs(charge) / pt)
    steps = np.array([1e-4, 1e-4, turn, turn, q_step])
    n_kick = 2 * n
    n_column = 5 + n_kick
    step = np.concatenate([steps, np.full(n_kick, turn)])
    parameters = np.repeat(centre[:, None], 2 * n_column, axis=1)
    angles = np.zeros((n_kick, 2 * n_column))
    for k in range(n_column):
        target = parameters if k < 5 else angles
        row = k if k < 5 else k - 5
        target[row, 2 * k] += step[k]
        target[row, 2 * k + 1] -= step[k]
    azimuth, z = track_hits(parameters, charge, b_z, r, angles[:n], angles[n:])
    hits = np.concatenate([azimuth * r[:, None], z])
    derivatives = (hits[:, 0::2] - hits[:, 1::2]) / (2.0 * step)
    nominal_azimuth, nominal_z = track_hits(centre[:, None], charge, b_z, r, np.zeros((n, 1)), np.zeros((n, 1)))
    return LinearTrack(
        r, index, theta, derivatives[:, :5], derivatives[:, 5:], nominal_azimuth[:, 0], nominal_z[:, 0],
        np.concatenate([sigma_rphi[index], sigma_z[index]]), efficiency[index],
    )  # fmt: skip


def relative_difference(covariance, expected) -> float:
    """Largest difference of two covariance matrices in units of the expected sigmas' products."""
    sigma = np.sqrt(np.diag(expected))
    return float(np.max(np.abs(covariance - expected) / np.outer(sigma, sigma)))


def gluckstern(n_points: int, sigma: float, lever: float, pt: float, b_z: float) -> float:
    """sigma(pt)/pt of equidistant points without material: R. L. Gluckstern, NIM 24 (1963) 381, exact in N."""
    n = n_points - 1
    shape = 720.0 * n**3 / ((n - 1) * (n + 1) * (n + 2) * (n + 3))
    return pt / (K_CURVATURE * b_z) * sigma / lever**2 * math.sqrt(shape)
