"""Tests of energy loss and muons: tracks from anywhere, reconstructed as they are, in small detectors written here."""

from __future__ import annotations

import numpy as np

from fastsim import columns as c
from fastsim import toml
from fastsim.detector import Detector
from fastsim.events import EventBatch
from fastsim.species import NAMES, SPECIES

LAYERS = [0.5, 1.2, 2.5, 3.75, 7.0, 12.0, 20.0, 30.0, 45.0, 60.0, 80.0]  # cm: ALICE 3, barrel
MEASURING = "sigma_rphi_um = 5.0, efficiency = 1.0"
CHAMBER = """drift_volumes = [{ name = "DCH", r_first = 100.0, pitch = 1.0, n_layers = 100, half_length = 200.0, x_over_x0 = 2e-5,
    sigma_rphi_um = 100.0, sigma_z_um = 1000.0, efficiency = 1.0 }]""".replace("\n    ", " ")
RULES = """
[tracking]
scattering = "pdg_per_layer"
min_hits = 4
max_sin_incidence = 0.95
min_radius = 20.0
"""


def detector(devices="", layers=LAYERS, more="", b_z=2.0, half_length=400.0) -> Detector:
    """Cylinders with 1e-3 of a radiation length each, and what is in `devices` and `more` (TOML)."""
    rows = ", ".join(
        f'{{ name = "L{i}", r = {r}, half_length = {half_length}, x_over_x0 = 0.001, sigma_z_um = 5.0, {MEASURING} }}'
        for i, r in enumerate(layers)
    )
    text = f'schema_version = 1\nname = "small"\nsource = "tests"\nb_z = {b_z}\nlayers = [{rows}]\n{more}\n{RULES}\n{devices}'
    return toml.validate(Detector, toml.Document(__import__("tomllib").loads(text), {}, "small.toml"))


def names_of(layers=LAYERS) -> str:
    return str([f"L{i}" for i in range(len(layers))]).replace("'", '"')


def batch_of(
    species, p, eta=0.0, phi=0.3, charge=1, *, origin=(0.0, 0.0, 0.0), sigma_p=0.0, seed=1, first_event=0, size=100
):
    """Tracks of `species` (names or one) and true momenta p [GeV], `size` an event, reconstructed with a relative resolution."""
    n = max(np.size(v) for v in (species, p, eta, phi, charge))
    species = np.array([NAMES.index(name) for name in np.broadcast_to(species, n)])
    p, eta, phi, sign = (np.array(np.broadcast_to(v, n), dtype=float) for v in (p, eta, phi, charge))
    charge = np.sign(sign) * np.array([SPECIES[k].charge for k in species])
    pt = p / np.cosh(eta)
    events = np.arange(n) // size
    n_events = int(events[-1]) + 1 if n else 0
    offsets = np.searchsorted(events, np.arange(n_events + 1)).astype(np.int64)
    smeared = charge / pt * (1.0 + sigma_p * np.random.default_rng(seed).normal(size=n))
    cov = np.zeros((n, 15))
    cov[:, 14] = (sigma_p * smeared) ** 2
    columns = {
        c.EVENT_ID: np.arange(first_event, first_event + n_events, dtype=np.uint64),
        c.PARTICLE_INDEX: (np.arange(n) - offsets[events]).astype(np.int32),
        c.SPECIES: species.astype(np.int8),
        c.IS_RECONSTRUCTED: np.ones(n, dtype=bool),
        c.CHARGE_TRUE: charge.astype(np.int8),
        c.PDG: np.array([SPECIES[k].pdg for k in species], dtype=np.int32) * np.sign(sign).astype(np.int32),
        c.PRODUCTION_VERTEX: np.zeros(n, dtype=np.int32),
        c.DNCH_DETA: np.full(n_events, 100.0),
        c.MOMENTUM[0]: pt * np.cos(phi), c.MOMENTUM[1]: pt * np.sin(phi), c.MOMENTUM[2]: pt * np.sinh(eta),
        c.RECONSTRUCTED[1]: np.full(n, float(origin[2])), c.RECONSTRUCTED[3]: np.sinh(eta), c.RECONSTRUCTED[4]: smeared,
        c.COV_PACKED: cov, c.PT: np.abs(charge / smeared), c.ETA: eta,
    }  # fmt: skip
    for axis in range(4):
        value = origin[axis] if axis < 3 else 0.0
        columns[c.VERTEX_TRUE[axis]] = np.full(n_events, value)
        columns[c.VERTEX_POSITION[axis]] = np.full(n_events, value)
    tables = {
        "event": np.arange(n_events + 1),
        "vertex": np.arange(n_events + 1),
        "particle": offsets,
        "track": offsets,
    }
    return EventBatch({k: np.asarray(v, dtype=np.int64) for k, v in tables.items()}, columns)


def column_of(made, name):
    return next(values for column, values in made.columns.items() if column.name == name)
