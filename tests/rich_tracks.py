"""Tracks and counters for tests of ring-imaging counters: no tracker, straight or bent tracks of any species."""

from __future__ import annotations

import numpy as np

from fastsim import columns as c
from fastsim.detector.devices.rich import Rich
from fastsim.devices.rich import RichCounters, RichOptions
from fastsim.events import EventBatch
from fastsim.rng import Streams
from fastsim.species import NAMES, SPECIES

# ALICE 3's barrel counter in numbers that `tracking.md` 5 has closed forms for.
BARREL = {
    "name": "rich", "focusing": "proximity", "r": 90.0, "half_length": 300.0, "thickness": 2.0, "index": 1.03,
    "pole_nm": 56.5, "wavelength_min_nm": 285.0, "wavelength_max_nm": 710.0, "n0": 209.0, "min_photons": 3,
    "gap": 25.0, "gap_index": 1.000283, "pixel": 0.1,
}  # fmt: skip
FORWARD = {
    "name": "gas", "focusing": "mirror", "z": 410.0, "r_min": 15.0, "r_max": 110.0, "thickness": 95.0, "index": 1.0014,
    "pole_nm": 73.7, "wavelength_min_nm": 200.0, "wavelength_max_nm": 700.0, "n0": 98.0, "min_photons": 3,
    "sigma_photon_mrad": 1.5,
}  # fmt: skip
B_Z = 1e-6  # T: straight tracks


def counter(**changes):
    """The barrel counter, or another: None removes a key."""
    table = {**BARREL, **changes}
    return Rich.model_validate({key: value for key, value in table.items() if value is not None})


def forward(**changes):
    table = {**FORWARD, **changes}
    return Rich.model_validate({key: value for key, value in table.items() if value is not None})


def batch_of(species, p, *, eta=0.0, phi=None, sigma_p=0.0, seed=1, per_event=1, b_z=B_Z, found=None, sign=1):
    """One track a row of momentum `p` [GeV] and `eta`, reconstructed with the relative error `sigma_p`."""
    p = np.atleast_1d(np.asarray(p, dtype=float))
    n = len(p)
    generator = np.random.default_rng(seed)
    kind = np.broadcast_to(np.array([NAMES.index(s) for s in np.atleast_1d(species)], dtype=np.int8), (n,)).copy()
    charge = np.array([SPECIES[k].charge for k in kind]) * sign
    eta = np.broadcast_to(np.asarray(eta, dtype=float), (n,))
    phi = generator.uniform(-np.pi, np.pi, n) if phi is None else np.broadcast_to(np.asarray(phi, dtype=float), (n,))
    pt = p / np.cosh(eta)
    reco = charge / pt * (1.0 + sigma_p * generator.normal(size=n))
    cov = np.zeros((n, 15))
    cov[:, 14] = (sigma_p * charge / pt) ** 2
    zero = np.zeros(n)
    columns = {
        c.SPECIES: kind, c.IS_RECONSTRUCTED: np.ones(n, dtype=bool) if found is None else found, c.COV_PACKED: cov,
        c.PT_TRUE: pt, c.ETA_TRUE: eta.copy(),
        **dict(zip(c.RECONSTRUCTED, (zero, zero, phi.copy(), np.sinh(eta), reco), strict=True)),
        **dict(zip(c.TRUE, (zero, zero, phi.copy(), np.sinh(eta), charge / pt), strict=True)),
    }  # fmt: skip
    offsets = np.append(np.arange(0, n, per_event), n).astype(np.int64)
    columns[c.EVENT_ID] = np.arange(len(offsets) - 1, dtype=np.uint64)
    columns[c.PARTICLE_INDEX] = (np.arange(n) - np.repeat(offsets[:-1], np.diff(offsets))).astype(np.int32)
    return EventBatch({"particle": offsets, "track": offsets}, columns)


def module_of(device, level="parametric", b_z=B_Z):
    options = RichOptions.model_validate({"name": "rich", "kind": "rich", "level": level})
    return RichCounters(options, [device], b_z)


def measure(device, batch, level="parametric", *, seed=1, b_z=B_Z):
    """What the module makes, by the end of the columns' names."""
    made = module_of(device, level, b_z).apply(batch, Streams(seed)).columns
    return {column.name.removeprefix(f"{device.name}_"): array for column, array in made.items()}
