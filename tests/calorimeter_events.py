"""Tests of calorimeters: particles from given points, detectors that hold nothing but calorimeters, and clusters by event."""

from __future__ import annotations

import math

import numpy as np

from fastsim import columns as c
from fastsim import toml
from fastsim.detector import Detector
from fastsim.devices.calorimeter import Calorimeters
from fastsim.events import EventBatch, offsets_from_counts
from fastsim.pipeline import check
from fastsim.rng import Streams
from fastsim.species import charges_of, mass_of

STREAMS = Streams(1)
# PbWO4: PDG, "Atomic and nuclear properties of materials" (X0, lambda_I, Ec, R_M); z: mean by weight (Pb 82, W 74, O 8)
PBWO4 = {
    "z": 68.4, "x0": 0.8903, "critical_energy_mev": 9.64, "moliere_radius": 1.959, "lambda_i": 20.27, "depth": 22.26,
}  # fmt: skip
IRON = {
    "z": 26.0,
    "x0": 1.757,
    "critical_energy_mev": 21.68,
    "moliere_radius": 1.719,
    "lambda_i": 16.77,
    "depth": 170.0,
}
ECAL = {
    "name": "ecal", "kind": "ecal", "r": 120.0, "half_length": 200.0, "cell_size": 2.0,
    "electromagnetic": {"noise": 0.002, "stochastic": 0.02, "constant": 0.01},
    "position": {"constant": 0.15, "stochastic": 0.3},
}  # fmt: skip
HCAL = {
    "name": "hcal", "kind": "hcal", "r": 180.0, "half_length": 300.0, "cell_size": 10.0,
    "hadronic": {"stochastic": 0.6, "constant": 0.05},
}  # fmt: skip
BASE = {
    "schema_version": 1, "name": "test", "source": "a test", "b_z": 2.0, "r_edges": [0.0, 10.0],
    "formulas": [{
        "species": ["pi"], "efficiency": "1.0", "sigma_pt_over_pt": "0.01", "sigma_dca_xy": "0.001", "sigma_dca_z": "0.001",
        "sigma_phi": "0.001", "sigma_tan_lambda": "0.001",
    }],
}  # fmt: skip


def detector(*calorimeters, **changed):
    """A detector with these [[calorimeters]]; raises CardError as for a file."""
    return toml.validate(Detector, toml.Document({**BASE, "calorimeters": list(calorimeters), **changed}))


def module(*calorimeters, b_z=2.0, **options):
    own = {"name": "calorimeter", "kind": "calorimeter", "level": "parametric", **options}
    return Calorimeters.from_options(Calorimeters.Options(**own), detector(*calorimeters, b_z=b_z))


def particle(pdg=22, p=(1.0, 0.0, 0.0), at=(0.0, 0.0, 0.0), time=0.0, found=False, status=1, ends=None, mother=None):
    """`ends`: where a decayed particle decays; `mother`: position of the one that it comes from; `found`: has a track."""
    return {
        "pdg": pdg, "p": p, "at": at, "time": time, "found": found, "status": status, "ends": ends, "mother": mother,
    }  # fmt: skip


def pointing(pdg, energy, eta=0.0, phi=0.0, **given):
    """A particle of this energy from the origin."""
    mass = mass_of(pdg) or 0.0
    p = math.sqrt(energy**2 - mass**2)
    return particle(
        pdg, (p / math.cosh(eta) * math.cos(phi), p / math.cosh(eta) * math.sin(phi), p * math.tanh(eta)), **given
    )


def make_batch(events, first_event=0, sigma=0.01):
    """Particles as read, with one vertex each (a daughter is born where its mother ends), and tracks of those that are found."""
    columns = {}
    everyone = [q for event in events for q in event]
    n_of = [len(event) for event in events]
    points, production, ends = [], [], []
    for event in events:
        own = [(*q["at"], q["time"]) for q in event]
        end = []
        for q in event:
            end.append(len(own) if q["ends"] is not None else -1)
            if q["ends"] is not None:
                own.append((*q["ends"], q["time"]))
        production += [i if q["mother"] is None else end[q["mother"]] for i, q in enumerate(event)]
        ends += end
        points.append(own)
    flat = np.array([p for own in points for p in own]).reshape(-1, 4)
    for axis in range(4):
        columns[c.VERTEX_POSITION[axis]] = flat[:, axis]
        columns[c.VERTEX_TRUE[axis]] = np.zeros(len(events))
    p = np.array([q["p"] for q in everyone], dtype=float).reshape(-1, 3)
    mass = np.array([mass_of(q["pdg"]) or 0.0 for q in everyone])
    charge = charges_of(np.array([q["pdg"] for q in everyone], dtype=np.int32))
    columns |= {
        c.EVENT_ID: np.arange(first_event, first_event + len(events), dtype=np.uint64),
        c.PDG: np.array([q["pdg"] for q in everyone], dtype=np.int32),
        c.STATUS: np.array([q["status"] for q in everyone], dtype=np.int32),
        **{c.MOMENTUM[axis]: np.ascontiguousarray(p[:, axis]) for axis in range(3)},
        c.MASS: mass,
        c.ENERGY: np.sqrt((p**2).sum(axis=1) + mass**2),
        c.PRODUCTION_VERTEX: np.array(production, dtype=np.int32),
        c.END_VERTEX: np.array(ends, dtype=np.int32),
        c.CHARGE_TRUE: charge,
    }
    is_track = (charge != 0) & (columns[c.STATUS] == 1)
    pt = np.hypot(p[:, 0], p[:, 1])[is_track]
    n = int(is_track.sum())
    cov = np.zeros((n, 15))
    cov[:, 14] = (sigma * np.abs(charge[is_track]) / pt) ** 2
    zero = np.zeros(n)
    parameters = (zero, zero, np.arctan2(p[:, 1], p[:, 0])[is_track], p[is_track, 2] / pt, charge[is_track] / pt)
    columns |= {
        c.IS_RECONSTRUCTED: np.array([q["found"] for q in everyone], dtype=bool)[is_track],
        **dict(zip(c.RECONSTRUCTED, parameters, strict=True)),
        c.COV_PACKED: cov,
        c.PT: pt,
        c.CHARGE: charge[is_track],
    }
    offsets = {
        "event": np.arange(len(events) + 1),
        "particle": offsets_from_counts(np.array(n_of, dtype=np.int64)),
        "vertex": offsets_from_counts(np.array([len(own) for own in points], dtype=np.int64)),
    }
    offsets["track"] = np.concatenate([[0], np.cumsum(is_track)])[offsets["particle"]].astype(np.int64)
    return EventBatch(offsets, columns)


def run(own, events, streams=STREAMS, **given):
    """What the module makes of these events, as a batch."""
    batch = make_batch(events, **given)
    made = own.apply(batch, streams)
    check(own, batch, made)
    return batch.with_columns(made.columns, made.offsets)


def first_clusters(batch, column, n=1):
    """A cluster column of events with exactly `n` clusters, (n_events, n)."""
    assert (np.diff(batch.offsets["cluster"]) == n).all()
    return batch[column].reshape(-1, n)
