"""ALICE 3 geometries of O2Physics: `a3geometry*.ini`, in ROOT's TEnv form ``layer.key: value``; cm, g/cm2, kG.

Upstream reads values with C's prefix rule, so that ``0.01*3.`` silently becomes 0.01; here it is a fault, or with
`lenient` the product. Source of keys and types: AliceO2Group/O2Physics ALICE3/Core/DetLayer.h, FastTracker.cxx.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from fastsim.detector.formulas import FormulaError, evaluate
from fastsim.detector.importers.draft import leading_number_of, number_of, tidy
from fastsim.detector.schema import load_detector
from fastsim.units import um

if TYPE_CHECKING:
    from fastsim.detector.importers.draft import Draft

KEYS = ("r", "z", "x0", "xrho", "resRPhi", "resZ", "eff", "type")
_RULES_OF = "alice3_v2"
_KILOGAUSS = 0.1  # tesla
_VERTEX, _INERT, _SILICON, _GAS, _TOF = -1, 0, 1, 2, 3
_GOOD = re.compile(r"([^\s.:]+)\.([^\s.:]+)\s*:\s*(\S.*)")
_NO_COLON = re.compile(r"([^\s.:]+)\.([^\s.:]+)\s+(\S.*)")
_SUFFIX = re.compile(r"(.*[\d.])[fFlL]")


class _Value(NamedTuple):
    line: int
    text: str


def read_ini(text: str, draft: Draft) -> None:
    """Fill the draft from the lines of an ini file."""
    sections = _sections(text, draft)
    world = sections.pop("global", {})
    for key, (line, value) in world.items():
        if key == "magneticfield":
            field = _number("global", key, _Value(line, value), draft)
            draft.b_z = None if field is None else tidy(field * _KILOGAUSS)
            draft.places["b_z",] = line
        else:
            draft.note(line, f"ignored: global.{key} (not part of a detector)")
    for name, values in sections.items():
        _layer(name, values, draft)
    _rules(draft)


def _rules(draft: Draft) -> None:
    """What counts as a track, which these files leave to the programs that read them."""
    rules = load_detector(_RULES_OF).tracking
    draft.tracking = rules.model_dump(exclude_none=True) if rules else {}
    draft.note(0, f"says nothing about what counts as a track: [tracking] has the rules of the detector {_RULES_OF}")
    reach = max((table["r"] for _, table in draft.layers if "efficiency" in table), default=0.0)
    if reach < draft.tracking["min_radius"]:
        draft.tracking["min_radius"] = 0.0
        draft.note(0, f"measures up to r = {reach:g} cm only: tracking.min_radius is 0")


def _sections(text: str, draft: Draft) -> dict[str, dict[str, _Value]]:
    """Layer, key and value of each line, with what could be made of malformed lines, so that each fault is told once."""
    sections: dict[str, dict[str, _Value]] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        match = _GOOD.fullmatch(line)
        if not match and (match := _NO_COLON.fullmatch(line)):
            draft.correct(number, f"no colon after the key in {line!r}", f"'{match[1]}.{match[2]}: {match[3]}'")
        if not match:
            draft.fault(number, f"not a line of the form layer.key: value (got {line!r})")
            continue
        section = sections.setdefault(match[1], {})
        if match[2] in section:
            draft.fault(number, f"{match[1]}.{match[2]} is given already in line {section[match[2]].line}")
        else:
            section[match[2]] = _Value(number, match[3])
    return sections


def _number(layer: str, key: str, value: _Value, draft: Draft) -> float | None:
    """The number of a key; a suffix or an expression is a correctable fault."""
    if (number := number_of(value.text)) is not None:
        return number
    where = f"{layer}.{key}: {value.text!r}"
    match = _SUFFIX.fullmatch(value.text)
    if match and (number := number_of(match[1])) is not None:
        draft.correct(value.line, f"{where} has a suffix, as C++ source has", f"{number:g}")
        return number
    if (first := leading_number_of(value.text)) and re.search(r"[\d.][fF]?\s*[-+*/]", value.text):
        try:
            number = tidy(float(evaluate(re.sub(r"(?<=[\d.])[fF]\b", "", value.text), {})))
        except (FormulaError, OverflowError):
            number = None
        if number is not None and number_of(repr(number)) is not None:
            draft.correct(value.line, f"{where} is an expression", f"{number:g} (O2Physics reads {float(first):g})")
            return number
    draft.fault(value.line, f"{where} is not a number")
    return None


def _layer(name: str, values: dict[str, _Value], draft: Draft) -> None:
    first = min(value.line for value in values.values())
    for key, value in values.items():
        if key == "deadPhiRegions":
            draft.note(value.line, f"ignored: {name}.{key}: dead regions in phi are NOT simulated")
        elif key not in KEYS:
            draft.note(value.line, f"ignored: {name}.{key} (not a key of O2Physics' geometries)")
    if missing := [key for key in KEYS if key not in values]:
        draft.fault(first, f"layer {name!r} has no {', '.join(missing)}")
    found = {key: _number(name, key, values[key], draft) for key in KEYS if key in values}
    if missing or any(number is None for number in found.values()):
        return
    r, z, x0, xrho, res_rphi, res_z, eff, kind = (found[key] or 0.0 for key in KEYS)
    if kind == _VERTEX:
        draft.note(first, f"left out: {name!r} is the vertex (type -1), not a layer")
        return
    table = {"name": name, "r": tidy(r), "half_length": tidy(z), "x_over_x0": x0, "areal_density": xrho}
    if kind in {_SILICON, _GAS}:
        table |= {"sigma_rphi_um": tidy(res_rphi / um), "sigma_z_um": tidy(res_z / um), "efficiency": eff}
    elif kind == _TOF:
        draft.note(values["type"].line, f"{name!r} is a TOF layer (type 3), which the tracking does not use: passive")
    elif kind != _INERT:
        draft.fault(values["type"].line, f"{name}.type: {values['type'].text} is not -1, 0, 1, 2 or 3")
        return
    elif eff > 0:
        draft.note(values["type"].line, f"{name!r} is inert (type 0) although its eff is {eff:g}: passive")
    draft.layers.append((first, table))
