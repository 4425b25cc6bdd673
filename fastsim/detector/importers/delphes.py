"""Delphes' TrackCovariance layer tables: whole cards (.tcl, without a Tcl interpreter) or the bare 13 columns; metres.

Columns and defaults: delphes/delphes external/TrackCovariance/SolGeom.cc and modules/TrackCovariance.cc. Delphes skips
rows that it cannot read; here they are faults.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.detector.formulas import FormulaError, evaluate
from fastsim.detector.importers.draft import number_of, tidy
from fastsim.detector.importers.layer_table import read_rows

if TYPE_CHECKING:
    from fastsim.detector.importers.draft import Draft

_DEFAULT_MIN_HITS = 6  # GetInt("NMinHits", 6)
_PLUMBING = ("InputArray", "OutputArray", "DetectorGeometry")
_SCALES = ("ElectronScaleFactor", "MuonScaleFactor", "ChargedHadronScaleFactor")


class _Setting(NamedTuple):
    """What a card sets: the line, and the text of each further line if it is a block in braces."""

    line: int
    text: str
    block: list[tuple[int, str]]


def read_table(text: str, draft: Draft) -> None:
    """Fill the draft from a bare layer table, which knows neither the field nor the cuts."""
    read_rows(list(enumerate(text.splitlines(), 1)), draft)
    _rules({}, {}, draft)


def read_card(text: str, draft: Draft) -> None:
    """Fill the draft from the one TrackCovariance module of a card."""
    lines = [(number, line.partition("#")[0]) for number, line in enumerate(text.splitlines(), 1)]
    top = _settings(lines)
    modules = _modules(lines)
    if not modules and "DetectorGeometry" in top:
        modules = {top["DetectorGeometry"].line: lines}  # only the geometry, as people pass it around
    if len(modules) != 1:
        where = f"those of lines {', '.join(map(str, modules))}" if modules else "none"
        draft.fault(0, f"must have exactly one TrackCovariance module (got {where}): only they have layers")
        return
    ((begin, inside),) = modules.items()
    settings = _settings(inside)
    if sum(_depth(line) for _, line in inside):
        draft.fault(begin, "a brace that is opened here is not closed: the card is cut short")
    elif "DetectorGeometry" not in settings:
        draft.fault(begin, "the TrackCovariance module sets no DetectorGeometry")
    else:
        read_rows(settings["DetectorGeometry"].block, draft)
        _rules(settings, {key: found for key, found in top.items() if not found.block}, draft)
        if inside is not lines:
            draft.note(begin, "only this module is imported: efficiencies, timing and calorimeters of the card are not")


def _depth(line: str) -> int:
    return line.count("{") - line.count("}")


def _modules(lines: list[tuple[int, str]]) -> dict[int, list[tuple[int, str]]]:
    """The lines inside each TrackCovariance module, by the line that it begins in."""
    found: dict[int, list[tuple[int, str]]] = {}
    begin, depth = 0, 0
    for number, line in lines:
        if match := re.match(r"\s*module\s+TrackCovariance\s+\S+\s*\{", line):
            begin, depth = number, _depth(line)
            inside = line[match.end() :]
            found[begin] = [(number, inside if depth > 0 else inside.rpartition("}")[0])]
        elif begin:
            depth += _depth(line)
            found[begin].append((number, line if depth > 0 else line.rpartition("}")[0]))
        if depth <= 0:
            begin = 0
    return found


def _settings(lines: list[tuple[int, str]]) -> dict[str, _Setting]:
    """What is set at the outermost level: the last one counts, as in Tcl."""
    found: dict[str, _Setting] = {}
    depth, key = 0, ""
    for number, line in lines:
        outside, depth = depth == 0, max(depth + _depth(line), 0)
        if outside and (match := re.match(r"\s*set\s+(\w+)\s+(\S.*?)\s*;?\s*$", line)):
            key, text = match[1], match[2]
            found[key] = _Setting(number, text.strip('"{} \t'), [])
            if text.startswith("{"):
                found[key].block.append((number, text[1:] if depth else text[1:].rpartition("}")[0]))
        elif not outside and key and found[key].block:
            found[key].block.append((number, line if depth else line.rpartition("}")[0]))
        if depth == 0:
            key = ""
    return found


def _rules(settings: dict[str, _Setting], variables: dict[str, _Setting], draft: Draft) -> None:
    """Field, cuts and scale factors of the module."""
    for key, setting in settings.items():
        if key not in {"Bz", "NMinHits", *_SCALES, *_PLUMBING, *variables}:
            draft.note(setting.line, f"ignored: {key} (not a parameter of TrackCovariance)")
    if "Bz" in settings:
        draft.b_z = _number("Bz", settings["Bz"], variables, draft)
        draft.places["b_z",] = settings["Bz"].line
    min_hits: float | None = _DEFAULT_MIN_HITS
    if "NMinHits" in settings:
        min_hits = _number("NMinHits", settings["NMinHits"], variables, draft)
        draft.places["tracking", "min_hits"] = settings["NMinHits"].line
        if min_hits is not None and min_hits != int(min_hits):
            draft.fault(settings["NMinHits"].line, f"NMinHits must be a whole number (got {min_hits:g})")
    else:
        draft.note(0, f"sets no NMinHits: {_DEFAULT_MIN_HITS}, which is Delphes' default")
    scales = {key: _scale(key, settings[key], draft) if key in settings else 1.0 for key in _SCALES}
    draft.tracking = {
        "scattering": "pdg_per_layer",
        **({"electron_scale": scales["ElectronScaleFactor"]} if scales["ElectronScaleFactor"] != 1.0 else {}),
        "min_hits": int(min_hits or 0),
        "max_sin_incidence": 0.99,  # Delphes has no such cut, but its scattering diverges at 1
        "min_radius": 0.0,
    }


def _number(key: str, setting: _Setting, variables: dict[str, _Setting], draft: Draft) -> float | None:
    """A number, or that of a variable set at the top of the card."""
    text, seen = setting.text, set()
    while (match := re.fullmatch(r"\$\{?(\w+)\}?", text)) and match[1] not in seen:
        seen.add(match[1])
        if match[1] not in variables:
            draft.fault(setting.line, f"{key}: {text} is set nowhere at the top of the card")
            return None
        text = variables[match[1]].text
    value = number_of(text)
    if value is None:
        draft.fault(setting.line, f"{key}: {text!r} is neither a number nor a variable (expressions are not evaluated)")
    return value


def _scale(key: str, setting: _Setting, draft: Draft) -> float:
    """A constant factor on the resolutions; that of electrons is kept, others have no counterpart."""
    text = " ".join(line for _, line in setting.block) or setting.text
    text = text.replace("^", "**").replace("&&", " and ").replace("||", " or ")
    eta = np.linspace(-5.0, 5.0, 101)
    try:
        values = np.broadcast_to(evaluate(text, {"eta": eta, "pt": np.ones(101), "energy": np.cosh(eta)}), 101)
        central = tidy(float(values[50]))
    except (FormulaError, OverflowError) as error:
        draft.fault(setting.line, f"{key}: {error}")
        return 1.0
    if not np.all(values == values[50]):
        draft.correct(
            setting.line, f"{key} depends on eta, which has no counterpart here", f"{central:g}, its value at eta = 0"
        )
    if key == "ElectronScaleFactor":
        return central
    if central != 1.0:
        draft.correct(setting.line, f"{key} = {central:g} has no counterpart here", "1")
    return 1.0
