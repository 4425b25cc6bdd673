"""Tests of time of flight: events of true particles with their reconstructed tracks, and the module for some layers."""

from __future__ import annotations

import numpy as np

from fastsim import columns as c
from fastsim.detector.devices import Tof as Layer
from fastsim.devices.tof import Tof
from fastsim.events import EventBatch, offsets_from_counts
from fastsim.kernels.helix import perigee_1
from fastsim.rng import Streams
from fastsim.species import NAMES, SPECIES
from tests.vertex_tracks import LOWER, RHO

LIGHT = 29.9792458  # cm/ns
INNER = {"name": "itof", "r": 19.0, "half_length": 62.0, "sigma_ps": 20.0}
OUTER = {"name": "otof", "r": 85.0, "half_length": 340.0, "sigma_ps": 20.0}
FORWARD = {"name": "ftof", "z": 405.0, "r_min": 15.0, "r_max": 100.0, "sigma_ps": 20.0}
PERFECT = {"event_time": "beams", "sigma_event_time_ps": 1e-3}  # all collisions at 0
SIGMA = np.array([10e-4, 10e-4, 1e-3, 1e-3, 0.007])  # ALICE 3 at 1 GeV, roughly; the last relative


def module(*layers, b_z=2.0, **options):
    """The module for these layers, each a dictionary of the detector file."""
    own = Tof.Options(name="tof", kind="tof", level="parametric", **options)
    return Tof(own, [Layer(**layer) for layer in layers], b_z)


def indices(names):
    return np.array([NAMES.index(name) for name in names], dtype=np.int8)


def make_batch(
    counts, species, pt, eta, phi, charge, *, point=0.0, vertex=None, b_z=2.0, resolution=1.0, seed=1, found=True,
    contributes=True, dnch_deta=10.0,
):  # fmt: skip
    """Events of so many tracks each; all else by track (or one for all).

    `point` (n, 4) of production, `vertex` (n events, 4) generated and, in x and y, reconstructed. Parameters are smeared with the
    covariance times `resolution` squared.
    """
    counts = np.asarray(counts, dtype=np.int64)
    n, n_events = int(counts.sum()), len(counts)
    species = np.broadcast_to(np.asarray(species, dtype=np.int8), n)
    pt, eta, phi = (np.broadcast_to(np.asarray(x, dtype=float), n) for x in (pt, eta, phi))
    charge = np.broadcast_to(charge, n) * np.array([s.charge for s in SPECIES])[species]
    point = np.array(np.broadcast_to(point, (n, 4)), dtype=float)
    vertex = np.zeros((n_events, 4)) if vertex is None else np.asarray(vertex, dtype=float)
    momentum = pt * np.array([np.cos(phi), np.sin(phi), np.sinh(eta)])
    true = np.array([perigee_1(*point[i, :3], *momentum[:, i], float(charge[i]), b_z) for i in range(n)]).reshape(n, 5)
    sigma = np.tile(resolution * SIGMA, (n, 1))
    sigma[:, 4] *= np.abs(true[:, 4])
    normal = np.random.default_rng(seed).normal(size=(n, 5)) @ np.linalg.cholesky(RHO).T
    reconstructed = true + sigma * normal
    offsets = offsets_from_counts(counts)
    local = np.arange(n) - np.repeat(offsets[:-1], counts)
    pdg = np.array([s.pdg for s in SPECIES])[species] * np.sign(charge)
    columns = {
        c.EVENT_ID: np.arange(n_events),
        c.DNCH_DETA: np.broadcast_to(dnch_deta, n_events),
        c.PRODUCTION_VERTEX: local,
        c.PARTICLE_INDEX: local,
        c.SPECIES: species,
        c.PDG: pdg,
        c.CHARGE_TRUE: charge,
        c.IS_RECONSTRUCTED: np.broadcast_to(found, n),
        c.IS_CONTRIBUTOR: np.broadcast_to(contributes, n) & np.broadcast_to(found, n),
        c.COV_PACKED: (sigma[:, :, None] * sigma[:, None, :] * RHO)[:, *LOWER],
        **dict(zip(c.MOMENTUM, momentum, strict=True)),
        **dict(zip(c.VERTEX_POSITION, point.T, strict=True)),
        **dict(zip(c.VERTEX_TRUE, vertex.T, strict=True)),
        **dict(zip(c.VERTEX[:2], vertex.T, strict=False)),
        **dict(zip(c.RECONSTRUCTED, reconstructed.T, strict=True)),
    }
    tables = {"particle": offsets, "vertex": offsets, "track": offsets}
    return EventBatch(tables, {column: np.ascontiguousarray(v).astype(column.dtype) for column, v in columns.items()})


def applied(tof, batch, seed=1):
    """Made columns by name; event columns as "event.name"."""
    made = tof.apply(batch, Streams(seed)).columns
    return {f"event.{k.name}" if k.table == "event" else k.name: v for k, v in made.items()}


def of_species(values, species):
    """Of values (n, 9), each track's own."""
    return values[np.arange(len(values)), species]


def assert_normal(pulls, deviations=4.5):
    """Mean 0 and width 1 within so many standard errors, 1 / sqrt(n) and 1 / sqrt(2 n); 4.5: 7e-6 to fail by chance."""
    n = len(pulls)
    assert n > 0
    assert abs(pulls.mean()) < deviations / np.sqrt(n), pulls.mean()
    assert abs(pulls.std() - 1) < deviations / np.sqrt(2 * n), pulls.std()
