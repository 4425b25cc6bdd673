"""Tracks of a Delphes card: efficiencies and resolutions on the way of charged hadrons, electrons and muons, as [[formulas]].

Modules of Delphes that are understood, with what they smear: Efficiency, MomentumSmearing (relative pt), EnergySmearing (energy),
TrackSmearing (d0, dz [mm], relative p, cot(theta), phi), ImpactParameterSmearing (x, y, z [mm] of the closest approach alike),
AngularSmearing (eta, phi).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim.detector import load_detector
from fastsim.detector.formulas import FormulaError, evaluate
from fastsim.importers.tformula import translate
from fastsim.species import by_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fastsim.importers.flow import Flow, Way
    from fastsim.importers.report import Report
    from fastsim.importers.tcl import Module

# Output array of ParticlePropagator, its default name, and the species that are in it.
KINDS = {
    "ElectronOutputArray": ("electrons", ("el",)),
    "MuonOutputArray": ("muons", ("mu",)),
    "ChargedHadronOutputArray": ("chargedHadrons", ("pi", "ka", "pr", "de", "tr", "he3", "al")),
}
VARIABLES = {"pt": "pt", "eta": "eta", "energy": "hypot(p, mass)", "ctgTheta": "sinh(eta)"}
SIGMAS = ("sigma_pt_over_pt", "sigma_dca_xy", "sigma_dca_z", "sigma_phi", "sigma_tan_lambda")
SOURCE_OF_MISSING = "cms_like"  # the shipped detector with all five, from arXiv:1405.6569
_TRACK_SMEARING = {  # key of TrackSmearing: what it is here, our expression of it
    "D0ResolutionFormula": ("sigma_dca_xy", "0.1 * ({})"),  # mm
    "DZResolutionFormula": ("sigma_dca_z", "0.1 * ({})"),
    "PResolutionFormula": ("sigma_pt_over_pt", "{}"),
    "CtgThetaResolutionFormula": ("sigma_tan_lambda", "{}"),
    "PhiResolutionFormula": ("sigma_phi", "{}"),
}
_ANGULAR = {
    "EtaResolutionFormula": ("sigma_tan_lambda", "cosh(eta) * ({})"),
    "PhiResolutionFormula": ("sigma_phi", "{}"),
}


class TrackFormulas(NamedTuple):
    """[[formulas]] as plain tables, and the largest |eta| at which any of them has tracks."""

    tables: list[dict[str, Any]]
    eta_max: float


def track_ways(flow: Flow) -> dict[str, Way]:
    """The way of each kind of charged particle (key of `KINDS`) from ParticlePropagator to complete tracks."""
    propagator = next(iter(flow.of_kind("ParticlePropagator")), None)
    if propagator is None:
        return {}
    origins = {f"{propagator.name}/{propagator.text(key, default)}": key for key, (default, _) in KINDS.items()}
    found: dict[str, Way] = {}
    for array in _track_arrays(flow):
        for way in flow.ways(array):
            key = origins.get(way.origin)
            if key and key not in found:
                found[key] = way
    return found


def _track_arrays(flow: Flow) -> Iterator[str]:
    """Where complete tracks are: what calorimeters get, what is written, what mergers join."""
    for module in flow.of_kind("SimpleCalorimeter", "Calorimeter", "DualReadoutCalorimeter", "OldCalorimeter"):
        yield module.text("TrackInputArray")
    yield from (array for array, _ in flow.branches("Track"))
    for module in flow.of_kind("Merger"):
        yield from flow.inputs(module)
    for module in flow.of_kind(
        "MomentumSmearing", "EnergySmearing", "Efficiency"
    ):  # a card without mergers and writers
        yield f"{module.name}/{module.text('OutputArray', 'stableParticles')}"


def translate_tracks(ways: dict[str, Way], report: Report) -> TrackFormulas:
    """Formulas of each kind; what is missing is taken from the shipped detector `SOURCE_OF_MISSING`, and said."""
    known = {name: formula for formula in load_detector(SOURCE_OF_MISSING).formulas for name in formula.species}
    tables, eta_max = [], 0.0
    missing: dict[str, list[str]] = {}
    for key, (_, species) in KINDS.items():
        if key not in ways:
            report.assume(f"no tracks of {key.removesuffix('OutputArray')}s: nothing of the card leads to them")
            continue
        efficiencies, sigmas = _along(ways[key], report)
        table: dict[str, Any] = {"species": list(species), "efficiency": product(efficiencies)}
        for name in SIGMAS:
            table[name] = _in_quadrature(sigmas[name]) or getattr(known[species[0]], name)
            if not sigmas[name]:
                missing.setdefault(name, []).append(species[0])
        eta_max = max(eta_max, _tidied(table, report, what=key.removesuffix("OutputArray")))
        tables.append(table)
    for kinds in dict.fromkeys(tuple(kinds) for kinds in missing.values()):
        of = "" if len(kinds) == len(tables) else f" of {', '.join(kinds)}"
        names = ", ".join(name for name, found in missing.items() if tuple(found) == kinds)
        report.assume(
            f"{names}{of}: the card says nothing; those of the shipped detector {SOURCE_OF_MISSING} (CMS, arXiv:1405.6569)"
        )
    return TrackFormulas(tables, eta_max)


def _along(way: Way, report: Report) -> tuple[list[str], dict[str, list[str]]]:
    """Efficiencies and resolutions of the modules on a way."""
    efficiencies: list[str] = []
    sigmas: dict[str, list[str]] = {name: [] for name in SIGMAS}
    for module in way.modules:
        if module.kind == "Efficiency":
            if formula := formula_of(module, "EfficiencyFormula", report):
                efficiencies.append(formula)
                report.say(module, "translated", "efficiency of tracks, in [[formulas]]")
        elif module.kind in _SMEARERS:
            _SMEARERS[module.kind](module, sigmas, report)
    if (
        sigmas["sigma_pt_over_pt"]
        and sigmas["sigma_tan_lambda"]
        and any(m.kind == "TrackSmearing" for m in way.modules)
    ):
        # TrackSmearing draws p and cot(theta), not pt: sigma(pt)/pt has a part of either (its ptError)
        part = f"tanh(eta) / cosh(eta) * ({_in_quadrature(sigmas['sigma_tan_lambda'])})"
        sigmas["sigma_pt_over_pt"].append(part)
    return efficiencies, sigmas


def _momentum(module: Module, sigmas: dict[str, list[str]], report: Report) -> None:
    if formula := formula_of(module, "ResolutionFormula", report):
        sigmas["sigma_pt_over_pt"].append(formula)
        report.say(
            module, "translated", "resolution of pt, in [[formulas]]; Gaussian in q/pt, Delphes: log-normal in pt"
        )


def _energy(module: Module, sigmas: dict[str, list[str]], report: Report) -> None:
    if formula := formula_of(module, "ResolutionFormula", report):
        sigmas["sigma_pt_over_pt"].append(f"hypot(p, mass) / p**2 * ({formula})")  # dp/p = E dE / p^2
        report.say(module, "translated", "resolution of the energy as one of pt, in [[formulas]]")


def _track(module: Module, sigmas: dict[str, list[str]], report: Report) -> None:
    for key, (name, ours) in _TRACK_SMEARING.items():
        formula = formula_of(module, key, report)
        if formula and is_zero(formula):
            report.say(module, "translated", f"{key} is 0: left out")
        elif formula:
            sigmas[name].append(ours.format(formula))
            report.say(module, "translated", "resolutions of track parameters, in [[formulas]]")
        elif module.get(key.replace("Formula", "File")):
            report.say(module, "no counterpart", f"{key.replace('Formula', 'File')}: histograms are not read")


def _impact(module: Module, sigmas: dict[str, list[str]], report: Report) -> None:
    if formula := formula_of(module, "ResolutionFormula", report):
        for name in ("sigma_dca_xy", "sigma_dca_z"):
            sigmas[name].append(f"0.1 * ({formula})")
        report.say(module, "translated", "resolution of dca_xy and dca_z, in [[formulas]]")


def _angles(module: Module, sigmas: dict[str, list[str]], report: Report) -> None:
    for key, (name, ours) in _ANGULAR.items():
        formula = formula_of(module, key, report)
        if formula and not is_zero(formula):
            sigmas[name].append(ours.format(formula))
        if formula:
            report.say(module, "translated", "resolution of angles, in [[formulas]]")


_SMEARERS: dict[str, Callable[[Module, dict[str, list[str]], Report], None]] = {
    "MomentumSmearing": _momentum,
    "EnergySmearing": _energy,
    "TrackSmearing": _track,
    "ImpactParameterSmearing": _impact,
    "AngularSmearing": _angles,
}


def formula_of(module: Module, key: str, report: Report, variables: dict[str, str] = VARIABLES) -> str:
    """A formula of a module in our syntax; "" if it has none, or none that has a counterpart, which is then said."""
    found = module.get(key)
    return translated(found.text, module, report, variables, at=str(found.place.line), key=key) if found else ""


def translated(
    text: str, module: Module, report: Report, variables: dict[str, str] = VARIABLES, *, at: str = "", key: str = ""
) -> str:
    """A formula of a module's entry, likewise."""
    try:
        formula = translate(text, variables)
        evaluate(formula, dict.fromkeys(("pt", "p", "eta", "phi", "energy", "mass"), np.ones(1)))
    except FormulaError as error:
        report.say(module, "no counterpart", f"{key or 'formula'}{f' (line {at})' if at else ''}: {error}")
        return ""
    return formula


def is_zero(formula: str) -> bool:
    """Whether a formula is 0 wherever one looks."""
    values = np.broadcast_to(evaluate(formula, grid("pi")), GRID_SHAPE)
    return bool(np.all(values == 0))


GRID_SHAPE = (241, 121)


def grid(species: str) -> dict[str, NDArray[np.float64] | float]:
    """Points in eta, from -6 to 6 in steps of 0.05 (off the edges), pt from 10 MeV to 1 TeV."""
    eta, pt = np.meshgrid(
        np.linspace(-6.001, 6.001, GRID_SHAPE[0]), np.geomspace(0.01001, 1000.0, GRID_SHAPE[1]), indexing="ij"
    )
    mass = by_name(species).mass
    return {"pt": pt, "p": pt * np.cosh(eta), "eta": eta, "mass": mass, "charge": 1.0, "r": 0.0}


def product(formulas: list[str]) -> str:
    """The product of some formulas, 1 of none."""
    return " * ".join(f"({formula})" for formula in formulas) if len(formulas) > 1 else (formulas or ["1"])[0]


def _in_quadrature(formulas: list[str]) -> str:
    if len(formulas) < 2:
        return "".join(formulas)
    return "sqrt(" + " + ".join(f"({formula})**2" for formula in formulas) + ")"


def _tidied(table: dict[str, Any], report: Report, *, what: str) -> float:
    """Make the formulas what tables accept, and give the largest |eta| with tracks.

    Efficiencies are cut to 0 to 1 and relative resolutions of pt to 1, as Delphes does; where Delphes leaves pt as it is, there
    are no tracks.
    """
    variables = grid(table["species"][0])
    efficiency = np.broadcast_to(evaluate(table["efficiency"], variables), GRID_SHAPE)
    sigma = np.broadcast_to(evaluate(table["sigma_pt_over_pt"], variables), GRID_SHAPE)
    if (efficiency > 1).any() or (efficiency < 0).any():
        table["efficiency"] = f"min(1, max(0, {table['efficiency']}))"
    if ((sigma > 1) & (efficiency > 0)).any():
        table["sigma_pt_over_pt"] = f"min(1, {table['sigma_pt_over_pt']})"
    has_tracks = efficiency > 0
    unsmeared = np.zeros_like(has_tracks)
    for name in SIGMAS:
        value = np.broadcast_to(evaluate(table[name], variables), GRID_SHAPE)
        wrong = has_tracks & ~((value > 0) & np.isfinite(value))
        if wrong.any():
            table["efficiency"] = f"({table['efficiency']}) * ({table[name]} > 0)"
            unsmeared |= wrong
            where = tuple(np.argwhere(wrong)[0])
            report.assume(
                f"{what}: no tracks where {name} is 0 (for example pt = {np.asarray(variables['pt'])[where]:.3g}, "
                f"eta = {np.asarray(variables['eta'])[where]:.3g}); Delphes does not smear there"
            )
    etas = np.abs(np.asarray(variables["eta"]))[has_tracks & ~unsmeared]
    return float(np.max(etas, initial=0.0))
