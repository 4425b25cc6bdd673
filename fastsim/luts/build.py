"""From a detector to tables: prepares the geometry for the kernels and stamps the result with what made it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from fastsim.errors import LutError
from fastsim.kernels.conventions import CONVENTIONS
from fastsim.kernels.lookup import N_QUANTITIES
from fastsim.luts.file import AXES, FORMAT, INTERPOLATION, QUANTITIES, Grid, Header, Lut
from fastsim.luts.kernels import PHYSICS_VERSION, Layers, Rules, fill_table, make_scratch
from fastsim.units import um

if TYPE_CHECKING:
    from fastsim.detector import Detector
    from fastsim.species import Species


def layers_of(detector: Detector) -> Layers:
    """The detector's cylinders as the kernels see them, by increasing radius [cm]."""
    layers = sorted(detector.layers, key=lambda layer: layer.r)
    return Layers(
        r=np.array([layer.r for layer in layers], dtype=np.float64),
        half_length=np.array([layer.half_length for layer in layers], dtype=np.float64),
        x_over_x0=np.array([layer.x_over_x0 for layer in layers], dtype=np.float64),
        sigma_rphi=np.array([(layer.sigma_rphi_um or np.inf) * um for layer in layers]),
        sigma_z=np.array([(layer.sigma_z_um or np.inf) * um for layer in layers]),
        efficiency=np.array([layer.efficiency or 0.0 for layer in layers], dtype=np.float64),
    )


def rules_of(detector: Detector) -> Rules:
    """The detector's conventions as the kernels see them."""
    rules = detector.tracking
    return Rules(
        float(detector.b_z),
        CONVENTIONS[rules.scattering],
        rules.min_hits,
        float(rules.max_sin_incidence),
        float(rules.min_radius),
    )


def lut_key(detector: Detector, species: Species, grid: Grid) -> str:
    """Hash of everything that a table depends on: geometry, conventions, species, grid and the maker's physics version."""
    physics = {
        "physics_version": PHYSICS_VERSION,
        "format": FORMAT,
        "layers": [layer.tolist() for layer in layers_of(detector)],
        "rules": [float(value) for value in rules_of(detector)],
        "species": [species.pdg, species.mass, species.charge],
        "grid": grid.model_dump(),
    }
    return sha256(json.dumps(physics, sort_keys=True).encode()).hexdigest()


def build_lut(detector: Detector, species: Species, grid: Grid | None = None, *, command: str = "") -> Lut:
    """Compute the table of one species; raises LutError if the result is not a covariance matrix somewhere."""
    grid = grid or Grid()
    rules = rules_of(detector)
    layers = layers_of(detector)
    values = np.zeros((grid.n_eta, grid.n_pt, N_QUANTITIES), dtype=np.float32)
    n_bad = fill_table(
        layers, rules, grid.pt_centers, np.sinh(grid.eta_centers), species.mass, float(species.charge),
        make_scratch(len(layers.r), rules.min_hits), values,
    )  # fmt: skip
    if n_bad:
        raise LutError(
            f"{n_bad} cells of {species.name} have no positive definite covariance",
            where=detector.name,
            hint="the measuring layers do not determine all five track parameters; check their resolutions and radii",
        )
    if not values[..., 0].any():
        raise LutError(
            f"no track of species {species.name} is found anywhere",
            where=detector.name,
            hint="check min_hits and min_radius",
        )
    header = Header(
        format=FORMAT, species=species.name, pdg=species.pdg, mass=species.mass, charge=species.charge,
        detector=detector.name, b_z=detector.b_z, grid=grid, axes=AXES, interpolation=INTERPOLATION, quantities=QUANTITIES,
        key=lut_key(detector, species, grid), fastsim_version=version("fastsim"), physics_version=PHYSICS_VERSION,
        command=command, created=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    return Lut(header, values)
