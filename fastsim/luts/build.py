"""From a detector to tables: runs the kernels or the formulas over the grid and stamps the result with what made it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.detector.formulas import evaluate
from fastsim.detector.geometry import birth_radii, is_mirrored, radius_edges, surfaces_of
from fastsim.errors import LutError
from fastsim.kernels.conventions import CONVENTIONS, ELECTRONS, ENERGY_LOSS, STRAGGLING
from fastsim.kernels.energy_loss import ELECTRON_MASS
from fastsim.kernels.walk import Rules
from fastsim.luts.file import (
    AXES,
    EFFICIENCIES,
    FORMAT,
    INTERPOLATION,
    N_COVARIANCE,
    QUANTITIES,
    Grid,
    Header,
    Lut,
    fault_of,
    hash_of,
    hashes_of,
    n_eta_stored,
)  # fmt: skip
from fastsim.luts.kernels import PHYSICS_VERSION, fill_table, make_scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.detector import Detector
    from fastsim.detector.schema import Formula
    from fastsim.species import Species

NO_OCCUPANCY = -1.0  # as `Rules.average_rapidity`


def rules_of(detector: Detector) -> Rules:
    """The detector's conventions as the kernels see them."""
    rules = detector.tracking
    if rules is None:
        raise TypeError(f"{detector.name} is not made of layers")
    return Rules(
        float(detector.b_z), CONVENTIONS[rules.scattering], ENERGY_LOSS[rules.energy_loss], STRAGGLING[rules.straggling],
        ELECTRONS[rules.electrons], float(rules.electron_scale), rules.min_hits, float(rules.max_sin_incidence),
        float(rules.min_radius), float(rules.occupancy.average_rapidity) if rules.occupancy else NO_OCCUPANCY,
    )  # fmt: skip


def resolve(grid: Grid, detector: Detector) -> Grid:
    """The grid with the detector's bins of the production radius, and without an occupancy axis where there is no model."""
    has_occupancy = detector.tracking is not None and detector.tracking.occupancy is not None
    return grid.model_copy(
        update={
            "r_edges": [float(edge) for edge in grid.r_edges or radius_edges(detector)],
            "n_dnch": grid.n_dnch if has_occupancy else 1,
        }
    )


def _rounded(column: NDArray[Any]) -> list[Any]:
    """To 12 digits: the last bits of an arctangent are the machine's."""
    return [float(f"{x:.12g}") for x in column.ravel().tolist()]


def lut_key(detector: Detector, species: Species, grid: Grid) -> str:
    """Hash of everything that a table depends on: geometry, conventions, species, grid and the maker's physics version."""
    physics: dict[str, Any] = {
        "physics_version": PHYSICS_VERSION,
        "format": FORMAT,
        "b_z": float(detector.b_z),
        "species": [species.pdg, species.mass, species.charge],
        "grid": resolve(grid, detector).model_dump(),
    }
    if detector.formulas:
        physics["formula"] = _formula_of(detector, species).model_dump(exclude={"species"})
    elif detector.tables:
        physics["table"] = next((table.sha256 for table in detector.tables if table.species == species.name), "")
    else:
        surfaces = surfaces_of(detector)
        physics["surfaces"] = [column if isinstance(column, int) else _rounded(column) for column in surfaces]
        rules = rules_of(detector)
        if (
            species.mass > 1.01 * ELECTRON_MASS
        ):  # what electrons radiate is nothing to others: cards that draw it share them
            rules = rules._replace(electrons=ELECTRONS["bethe_heitler"], electron_scale=1.0)
        physics["rules"] = [float(value) for value in rules]
    return sha256(json.dumps(physics, sort_keys=True).encode()).hexdigest()


def build_lut(detector: Detector, species: Species, grid: Grid | None = None, *, command: str = "") -> Lut:
    """Compute the table of one species; raises LutError if the result is not a covariance matrix somewhere."""
    if detector.tables:
        raise LutError("is made of ready tables: there is nothing to build", where=detector.name)
    full = resolve(grid or Grid(), detector)
    if detector.formulas:
        covariance, efficiencies, mirrored = *_by_formulas(detector, species, full), False
    else:
        mirrored = full.n_eta % 2 == 0 and is_mirrored(detector)
        covariance, efficiencies = _by_layers(detector, species, full, mirrored=mirrored)
    return make_lut(
        species, full, covariance, efficiencies, detector=detector.name, b_z=detector.b_z, mirrored=mirrored,
        key=lut_key(detector, species, full), origin={"kind": "formulas" if detector.formulas else "layers"}, command=command,
    )  # fmt: skip


def make_lut(
    species: Species, grid: Grid, covariance: NDArray[Any], efficiencies: dict[str, NDArray[np.float32]], *, detector: str,
    b_z: float, mirrored: bool, key: str, origin: dict[str, Any], command: str,
) -> Lut:  # fmt: skip
    """A table with its header; raises LutError if the numbers cannot be one."""
    hashes = hashes_of(covariance, efficiencies)
    header = Header(
        format=FORMAT, species=species.name, pdg=species.pdg, mass=species.mass, charge=species.charge, detector=detector,
        b_z=b_z, grid=grid, mirrored=mirrored, axes=AXES, interpolation=INTERPOLATION, quantities=QUANTITIES,
        efficiencies=list(efficiencies), key=key, hashes=hashes, sha256=hash_of(hashes), origin=origin,
        fastsim_version=version("fastsim"), physics_version=PHYSICS_VERSION, command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    lut = Lut(header, covariance, efficiencies)
    if fault := fault_of(lut):
        hint = "check min_hits, min_radius and the resolutions" if "no track" in fault else ""
        raise LutError(f"the table of {species.name} {fault}", where=detector, hint=hint)
    return lut


def _by_layers(
    detector: Detector, species: Species, grid: Grid, *, mirrored: bool
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    surfaces, rules = surfaces_of(detector), rules_of(detector)
    n_eta = n_eta_stored(grid, mirrored=mirrored)
    covariance = np.empty((grid.n_r, n_eta, grid.n_pt, N_COVARIANCE), dtype=np.float32)
    efficiency = np.empty((2, grid.n_dnch, grid.n_r, n_eta, grid.n_pt), dtype=np.float32)
    r_births = np.array(birth_radii(detector, grid.r_edges or []))
    n_bad = fill_table(
        surfaces, rules, r_births, np.sinh(grid.eta_centers[-n_eta:]), grid.pt_centers, grid.dnch_centers,
        species.mass, float(species.charge), make_scratch(len(surfaces.position), rules.min_hits, grid.n_dnch),
        covariance, efficiency,
    )  # fmt: skip
    if n_bad:
        raise LutError(
            f"{n_bad} cells of {species.name} have no positive definite covariance",
            where=detector.name,
            hint="the measuring layers do not determine all five track parameters; check their resolutions and radii",
        )
    return covariance, dict(zip(EFFICIENCIES, efficiency, strict=True))


def _formula_of(detector: Detector, species: Species) -> Formula:
    for formula in detector.formulas:
        if species.name in formula.species:
            return formula
    raise LutError(
        f"no formulas for species {species.name}",
        where=detector.name,
        hint=f"there are some for {', '.join(name for formula in detector.formulas for name in formula.species)}",
    )


def _by_formulas(
    detector: Detector, species: Species, grid: Grid
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    formula = _formula_of(detector, species)
    shape = (grid.n_r, grid.n_eta, grid.n_pt)
    r_edges = np.array(grid.r_edges)
    r_births = np.concatenate([[0.0], 0.5 * (r_edges[1:-1] + r_edges[2:])])  # primaries at 0, the others in mid-bin
    r, eta, pt = np.meshgrid(r_births, grid.eta_centers, grid.pt_centers, indexing="ij")
    variables = {
        "pt": pt, "p": pt * np.cosh(eta), "eta": eta, "theta": 2.0 * np.arctan(np.exp(-eta)), "mass": species.mass,
        "charge": float(species.charge), "r": r,
    }  # fmt: skip
    efficiency = np.broadcast_to(evaluate(formula.efficiency, variables), shape)
    _check_formula(detector, formula, "efficiency", bad=~((efficiency >= 0) & (efficiency <= 1)), variables=variables)
    covariance = np.zeros((*shape, N_COVARIANCE), dtype=np.float32)
    names = ("sigma_dca_xy", "sigma_dca_z", "sigma_phi", "sigma_tan_lambda", "sigma_pt_over_pt")
    for k, name in enumerate(names):
        sigma = np.broadcast_to(evaluate(getattr(formula, name), variables), shape)
        bad = (efficiency > 0) & ~((sigma > 0) & np.isfinite(sigma))
        _check_formula(detector, formula, name, bad=bad, variables=variables)
        with np.errstate(all="ignore"):
            covariance[..., k] = np.log(sigma * species.charge / pt if name == "sigma_pt_over_pt" else sigma)
    covariance[efficiency <= 0] = np.nan
    return covariance, {EFFICIENCIES[0]: np.ascontiguousarray(efficiency[np.newaxis], dtype=np.float32)}


def _check_formula(
    detector: Detector, formula: Formula, name: str, *, bad: NDArray[np.bool_], variables: dict[str, Any]
) -> None:
    if bad.any():
        where = np.unravel_index(int(np.argmax(bad)), bad.shape)
        point = ", ".join(f"{key} = {variables[key][where]:g}" for key in ("pt", "eta", "r"))
        value = np.broadcast_to(evaluate(getattr(formula, name), variables), bad.shape)[where]
        raise LutError(
            f"{name} of {', '.join(formula.species)} is {value:g} at {point}",
            where=detector.name,
            hint="an efficiency lies in [0, 1], a resolution is positive where the efficiency is",
        )
