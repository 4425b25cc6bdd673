"""Tracks for tests of the vertex: helices from a point, with parameters as they are measured and a covariance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastsim.kernels.helix import perigee_1
from fastsim.kernels.vertex_fit import Vertices, fit_vertices
from fastsim.kernels.vertex_seed import seed_vertices

LOWER = np.tril_indices(5)
# A track of ALICE 3 at 1 GeV, roughly: dca_xy, dca_z 10 um, phi, tan_lambda 1 mrad, q/pt 1 %, some of them correlated.
SIGMA = np.array([10e-4, 10e-4, 1e-3, 1e-3, 1e-2])
RHO = np.eye(5)
RHO[0, 2] = RHO[2, 0] = -0.8
RHO[1, 3] = RHO[3, 1] = -0.7
RHO[2, 4] = RHO[4, 2] = 0.5
COVARIANCE = RHO * np.outer(SIGMA, SIGMA)


class Tracks(NamedTuple):
    """Parameters (n, 5) and covariances (n, 15)."""

    parameters: np.ndarray
    cov_packed: np.ndarray

    def __add__(self, other):
        return Tracks(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def smeared(self, generator):
        """The same tracks, measured once."""
        noise = np.zeros_like(self.parameters)
        for row, packed in zip(noise, self.cov_packed, strict=True):
            row[:] = np.linalg.cholesky(full(packed)) @ generator.normal(size=5)
        return self._replace(parameters=self.parameters + noise)


def full(packed):
    """A packed covariance as a matrix (5, 5)."""
    matrix = np.zeros((5, 5))
    matrix[LOWER] = packed
    return matrix + np.tril(matrix, -1).T


def make_tracks(place, n, b_z, *, seed, pt=1.0, covariance=COVARIANCE) -> Tracks:
    """Tracks of both charges from a point, evenly distributed in phi and |eta| < 1.5."""
    generator = np.random.default_rng(seed)
    phi, eta = generator.uniform(-np.pi, np.pi, n), generator.uniform(-1.5, 1.5, n)
    charge = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    parameters = [
        perigee_1(*place, pt * np.cos(p), pt * np.sin(p), pt * np.sinh(e), q, b_z)
        for p, e, q in zip(phi, eta, charge, strict=True)
    ]
    return Tracks(np.array(parameters).reshape(n, 5), np.tile(covariance[LOWER], (n, 1)))


def from_directions(phi, tan_lambda, place=(0.0, 0.0, 0.0), b_z=0.0, covariance=COVARIANCE) -> Tracks:
    """Tracks of 1 GeV from a point in these directions."""
    parameters = [perigee_1(*place, np.cos(p), np.sin(p), t, 1.0, b_z) for p, t in zip(phi, tan_lambda, strict=True)]
    return Tracks(np.array(parameters), np.tile(covariance[LOWER], (len(parameters), 1)))


def _flat(events):
    offsets = np.concatenate([[0], np.cumsum([len(event.parameters) for event in events], dtype=np.int64)]).astype(
        np.int64
    )
    parameters = np.concatenate([np.zeros((0, 5)), *(event.parameters for event in events)])
    cov_packed = np.concatenate([np.zeros((0, 15)), *(event.cov_packed for event in events)])
    return offsets, np.arange(len(parameters)), parameters, cov_packed


def seeds_of(events, b_z):
    """Seeds (n, 3) of a list of events."""
    seeds = np.full((len(events), 3), np.nan)
    seed_vertices(*_flat(events), b_z, seeds)
    return seeds


def fit(events, b_z, chi2_cut=9.0):
    """Vertices, full covariances (n, 3, 3) and weights of the tracks, of a list of events."""
    n = len(events)
    vertices = Vertices(np.zeros((n, 3)), np.full((n, 6), np.nan), np.full(n, np.nan), np.full(n, -1, dtype=np.int32))
    flat = _flat(events)
    weights = np.zeros(len(flat[1]))
    seed_vertices(*flat, b_z, vertices.position)
    fit_vertices(*flat, b_z, chi2_cut, vertices, weights)
    covariance = vertices.covariance[:, [[0, 1, 3], [1, 2, 4], [3, 4, 5]]]
    return vertices, covariance, weights
