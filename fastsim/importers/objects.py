"""Electrons, muons, photons, jets, missing momentum and identification of a Delphes card, as modules of a card of ours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.detector.formulas import evaluate
from fastsim.importers.calorimeters import input_of, is_photons, names_of
from fastsim.importers.flow import bare, code_in
from fastsim.importers.tracks import formula_of, grid, product, translated
from fastsim.species import NAMES, SPECIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastsim.importers.flow import Flow
    from fastsim.importers.report import Report
    from fastsim.importers.tcl import Module

VARIABLES = {"pt": "pt", "eta": "eta", "phi": "phi", "energy": "energy", "ctgTheta": "sinh(eta)"}
_NOT_ISOLATED = 1000.0  # cards that ask for no isolation set PTRatioMax to 9999
_ALGORITHMS = {4: "kt", 5: "cambridge", 6: "antikt", 10: "ee_genkt"}  # JetAlgorithm of FastJetFinder
_FLAVORS = {"5": "b", "4": "c", "15": "tau"}
_SAME_AS_LIGHT = ("1", "2", "3", "21")
_PDG = {species.pdg: species.name for species in SPECIES}


def translate_leptons(
    flow: Flow, tracking: frozenset[str], report: Report, *, has_clusters: bool
) -> list[dict[str, Any]]:
    """Modules electrons and muons: the way of what TreeWriter calls so, back to the modules of `tracking`."""
    tables = []
    for kind, branch in (("electrons", "Electron"), ("muons", "Muon")):
        branches = sorted(flow.branches(branch), key=lambda pair: pair[1] != branch)
        if not branches:
            continue
        array, name = branches[0]
        for _, other in branches[1:]:
            report.leave("", f"branch {other}: there is one list of {kind}, that of branch {name}")
        table: dict[str, Any] = {"name": kind, "kind": kind, "level": "parametric"}
        efficiencies: list[str] = []
        way = next(flow.ways(array, stop=tracking), None)
        modules = [m for m in (way.modules if way else ()) if m.name not in tracking]
        for module in modules:
            if module.kind == "Efficiency" and (formula := formula_of(module, "EfficiencyFormula", report, VARIABLES)):
                efficiencies.append(formula)
                report.say(module, "translated", f"efficiency of {kind}")
        table["efficiency"] = product(efficiencies) if efficiencies else 1.0
        isolation, is_required = _isolation_of(flow, modules)
        if isolation:
            table |= _isolation(isolation, report, is_required=is_required)
            is_flow = input_of(flow, isolation.text("IsolationInputArray")) == "energy_flow"
            if is_flow and has_clusters:
                table["isolation_input"] = "energy_flow"
            elif is_flow:
                report.say(isolation, "translated", "sums are of tracks, Delphes': of energy flow")
        if not efficiencies:
            report.assume(f"{kind}: efficiency 1, for the card has no formula of its own for them")
        tables.append(table)
    return tables


def translate_photons(flow: Flow, report: Report, *, has_clusters: bool) -> dict[str, Any] | None:
    """The module photons: the way of what TreeWriter calls so, back to a calorimeter."""
    branches = sorted(flow.branches("Photon"), key=lambda pair: pair[1] != "Photon")
    if not branches or not has_clusters:
        return None
    array, name = branches[0]
    way = next((way for way in flow.ways(array, stop=names_of(flow)) if is_photons(flow, way.origin)), None)
    if way is None:
        report.leave("", f"branch {name}: nothing leads from a calorimeter to it")
        return None
    for _, other in branches[1:]:
        report.leave("", f"branch {other}: there is one list of photons, that of branch {name}")
    efficiencies: list[str] = []
    table: dict[str, Any] = {"name": "photons", "kind": "photons", "level": "parametric"}
    for module in way.modules:
        if module.kind == "Efficiency" and (formula := formula_of(module, "EfficiencyFormula", report, VARIABLES)):
            efficiencies.append(formula)
            report.say(module, "translated", "efficiency of photons, and of what else leaves a cluster without a track")
    isolation, is_required = _isolation_of(flow, way.modules)
    if isolation:
        table |= _isolation(isolation, report, is_required=is_required)
    table["efficiency"] = table["fake_rate"] = _number(product(efficiencies)) if efficiencies else 1.0
    report.assume("photons are clusters that no track is linked to; Delphes takes what is left of others, too")
    return table


def _isolation_of(flow: Flow, modules: Sequence[Module]) -> tuple[Module | None, bool]:
    """The isolation of what these modules lead to, and whether it is required; or it is on a way of its own."""
    required = next((m for m in reversed(modules) if m.kind == "Isolation"), None)
    if required:
        return required, True
    known = {m.name for m in modules}
    found = flow.of_kind("Isolation")
    return next((m for m in found if m.text("CandidateInputArray").split("/")[0] in known), None), False


def _isolation(module: Module, report: Report, *, is_required: bool) -> dict[str, Any]:
    """Options of isolation, without what is summed."""
    table: dict[str, Any] = {
        "isolation_delta_r": module.number("DeltaRMax", 0.5),
        "isolation_pt_min": module.number("PTMin", 0.5),
    }
    largest = module.number("PTRatioMax", 0.1)
    if module.flag("UsePTSum", default=False):
        report.say(module, "translated", "PTSumMax has no counterpart: isolation is written, not required")
    elif largest < _NOT_ISOLATED and is_required:
        table["isolation_max"] = largest
    report.say(module, "translated", "cone and thresholds of isolation")
    return table


def _input(flow: Flow, array: str, *, has_clusters: bool) -> tuple[dict[str, str], str]:
    """The option of what something is made of, and how to say it."""
    kind = input_of(flow, array)
    words = {"tracks": "tracks", "towers": "towers", "energy_flow": "energy flow"}[kind]
    if kind == "tracks" or has_clusters:
        return ({"input": kind} if kind != "tracks" else {}), f"of {words}"
    return {}, f"of tracks (Delphes: of {words}, at the same pt)"


def translate_jets(flow: Flow, objects: list[str], report: Report, *, has_clusters: bool) -> dict[str, Any] | None:
    """The module jets: the finder behind the branch Jet, flavour, tags. `objects`: kinds that there are, as "electron"."""
    finders = [m for m in flow.of_kind("FastJetFinder") if not flow.is_generator_level(f"{m.name}/jets")]
    written = {
        m.name
        for array, branch in flow.branches("Jet")
        if branch == "Jet"
        for way in flow.ways(array)
        for m in way.modules
    }
    finders.sort(key=lambda m: m.name not in written)
    finder = next(
        (
            m
            for m in finders
            if int(m.number("JetAlgorithm", 6)) in _ALGORITHMS and not m.flag("ExclusiveClustering", default=False)
        ),
        None,
    )
    for module in finders:
        if module is not finder:
            report.say(
                module,
                "no counterpart",
                "there is one list of jets, clustered by (anti-)kt, Cambridge or ee_genkt, inclusive",
            )
    if finder is None:
        return None
    algorithm = _ALGORITHMS[int(finder.number("JetAlgorithm", 6))]
    option, words = _input(flow, f"{finder.name}/jets", has_clusters=has_clusters)
    table: dict[str, Any] = {
        "name": "jets", "kind": "jets", "level": "parametric", **option, "algorithm": algorithm,
        "radius": finder.number("ParameterR", 0.5),
    }  # fmt: skip
    if algorithm == "ee_genkt":
        table["power"] = finder.number("ParameterP", -1.0)
    table["pt_min"] = finder.number("JetPTMin", 10.0)
    report.say(finder, "translated", f"module jets, {words}")
    first = next((m for m in flow.of_kind("UniqueObjectFinder") if m.name in written), None)
    if first:
        kind = option.get("input", "tracks")
        unknown = {"towers": "muon", "tracks": "photon"}.get(kind, "")
        table["exclude"] = _before_jets(first, [name for name in objects if name != unknown])
        names = ", ".join(f"{name}s" for name in table["exclude"])
        report.say(first, "translated", f"jets that are one of these are left out: {names or 'none'}")
        if kind == "towers":
            report.say(
                first, "translated", "of towers, those within 0.2 of one; in Delphes, with a true particle in common"
            )
    behind = {finder.name, *(m.name for m in flow.of_kind("EnergyScale") if _reads(flow, m, {finder.name}))}
    for module in flow.of_kind("EnergyScale"):
        if module.name in behind and (formula := formula_of(module, "ScaleFormula", report, VARIABLES)):
            table["scale"] = _number(formula)
            report.say(module, "translated", "scale of jets")
    for module in flow.of_kind("JetFlavorAssociation"):
        if _reads(flow, module, behind):
            delta_r, least = module.number("DeltaR", 0.5), module.number("PartonPTMin", 0.0)
            table["flavor"] = {"heavy": "partons", "delta_r": delta_r, "pt_min": least}
            report.say(module, "translated", "flavor of jets by partons")
    if tags := _tags(flow, behind, report):
        table["tags"] = tags
    return table


def _reads(flow: Flow, module: Module, names: set[str]) -> bool:
    return any(array.split("/")[0] in names for array in flow.inputs(module))


def _before_jets(module: Module, objects: list[str]) -> list[str]:
    """Of these kinds of objects, those that take precedence over jets."""
    found: list[str] = []
    for _, name in module.entries("InputArray", 2):
        if name == "jets":
            break
        found += [kind for kind in objects if name == f"{kind}s"]
    return found


def _tags(flow: Flow, jets: set[str], report: Report) -> list[dict[str, Any]]:
    """Working points, in the order of their bits."""
    modules = [m for m in flow.of_kind("BTagging", "TauTagging") if _reads(flow, m, jets)]
    modules.sort(key=lambda m: m.number("BitNumber", 0))
    tags = []
    for module in modules:
        efficiency: dict[str, float | str] = {}
        for code, text in module.entries("EfficiencyFormula", 2):
            formula = translated(bare(text), module, report, VARIABLES, key=f"EfficiencyFormula {{{bare(code)}}}")
            flavor = "light" if bare(code) == "0" else _FLAVORS.get(bare(code).lstrip("-"))
            if flavor and formula:
                efficiency[flavor] = _number(formula)
            elif formula and bare(code) not in _SAME_AS_LIGHT:
                report.say(module, "no counterpart", f"EfficiencyFormula {{{bare(code)}}}: no flavour of ours")
            elif formula:
                report.say(module, "translated", f"EfficiencyFormula {{{bare(code)}}} left out: light flavours are one")
        if not efficiency:
            continue
        kind = "tau" if module.kind == "TauTagging" else "c" if _at(efficiency, "c") > _at(efficiency, "b") else "b"
        name = re.sub(r"\W", "_", module.name).lower()
        tags.append({"name": name, "kind": kind, "efficiency": {"light": efficiency.pop("light", 0.0), **efficiency}})
        bit = sum(tag["kind"] == kind for tag in tags) - 1
        report.say(
            module, "translated", f"{kind} tag {name!r}, bit {bit} (the card's: {module.number('BitNumber', 0):g})"
        )
    return tags


def _at(efficiency: dict[str, float | str], flavor: str) -> float:
    """Efficiency at 50 GeV and eta = 0, to tell what a tagger tags."""
    value = efficiency.get(flavor, 0.0)
    variables = {"pt": np.full(1, 50.0), "eta": np.zeros(1), "phi": np.zeros(1), "energy": np.full(1, 50.0)}
    return float(np.ravel(evaluate(value, variables))[0]) if isinstance(value, str) else value


def _number(formula: str) -> float | str:
    """A formula that is nothing but a number, as one."""
    try:
        return float(formula)
    except ValueError:
        return formula


def translate_met(
    flow: Flow, objects: list[str], report: Report, *, has_jets: bool, has_clusters: bool
) -> dict[str, Any] | None:
    """The module met, if TreeWriter writes a MissingET that is not of generated particles."""
    found: dict[str, Any] | None = None
    for array, _ in flow.branches("MissingET"):
        module = flow.modules.get(array.partition("/")[0])
        if module and module.kind == "Merger" and not flow.is_generator_level(array):
            option, words = _input(flow, array, has_clusters=has_clusters)
            report.say(module, "translated", f"module met, {words}")
            found = {"name": "met", "kind": "met", "level": "parametric", **option}
    for array, _ in flow.branches("ScalarHT"):
        module = flow.modules.get(array.split("/")[0])
        if module is None or found is None:
            continue
        names = {source.split("/")[-1].removesuffix("s") for source in flow.inputs(module)}
        parts = [*(["jet"] if has_jets and "jet" in names else []), *(part for part in objects if part in names)]
        if parts:
            found["scalar_ht_of"] = parts
        report.say(module, "translated", f"scalar_ht of {', '.join(parts) or 'what met is of'}")
        if left := sorted(names - set(parts)):
            report.say(module, "translated", f"without {', '.join(left)}, which are not made here")
    return found


def translate_identification(flow: Flow, report: Report) -> list[dict[str, Any]]:
    """Modules identification, one for each IdentificationMap."""
    return [table for module in flow.of_kind("IdentificationMap") if (table := _identification(module, report))]


def _identification(module: Module, report: Report) -> dict[str, Any] | None:
    rules: list[dict[str, Any]] = []
    entries = [
        (code_in(module, code), code_in(module, taken), bare(text))
        for code, taken, text in module.entries("EfficiencyFormula", 3)
    ]
    listed = {_PDG.get(abs(code)) for code, _, _ in entries}
    for code, taken, text in entries:
        what = f"{{{code}}} {{{taken}}}"
        if code and _charge(code) != _charge(taken or code):
            report.say(module, "no counterpart", f"{what}: charges of opposite sign")
            continue
        true = [name for name in NAMES if name not in listed] if code == 0 else [_PDG.get(abs(code), "")]
        for name in true:
            taken_for = _PDG.get(abs(taken), "") if taken else name
            if not name or not taken_for:
                report.say(module, "no counterpart", f"{what}: no species of ours")
                continue
            mass = next(species.mass for species in SPECIES if species.name == name)
            variables = {
                "pt": "pt",
                "eta": "eta",
                "phi": "phi",
                "energy": f"hypot(p, {mass!r})",
                "ctgTheta": "sinh(eta)",
            }
            if formula := translated(text, module, report, variables, key=what):
                rules.append({"true": name, "taken_for": taken_for, "probability": _number(formula)})
    if not rules:
        return None
    _cut_to_one(rules, module, report)
    name = re.sub(r"\W", "_", module.name).lower()
    text = f"module {name} of {len(rules)} rules; tracks that no rule takes stay, with code 0 (Delphes drops them)"
    report.say(module, "translated", text)
    return {"name": name, "kind": "identification", "rules": rules, "level": "parametric"}


def _cut_to_one(rules: list[dict[str, Any]], module: Module, report: Report) -> None:
    """Where the probabilities of a species add up to more than 1, what comes later gets what is left, as Delphes does it."""
    for species in dict.fromkeys(rule["true"] for rule in rules):
        variables = grid(species) | {"phi": 0.0}
        before: list[str] = []
        total = np.zeros(1)
        for rule in [rule for rule in rules if rule["true"] == species]:
            own = f"({rule['probability']})"
            total = total + evaluate(own, variables)
            if np.any(total > 1.0) and before:
                rule["probability"] = f"max(0, min({own}, 1 - ({' + '.join(before)})))"
                report.say(
                    module, "translated", f"probabilities of {species} add up to more than 1: the last one is cut"
                )
                total = np.minimum(total, 1.0)
            before.append(own)


def _charge(code: int) -> int:
    """Sign of the charge of a PDG code of a lepton or a hadron that is tracked."""
    return (-1 if code > 0 else 1) if abs(code) in {11, 13} else (1 if code > 0 else -1)
