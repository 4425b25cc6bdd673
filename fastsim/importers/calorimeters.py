"""Calorimeters of a Delphes card as [[calorimeters]]: a barrel and rings of disks on the cylinder of ParticlePropagator.

Delphes' formula is sigma(E) at an eta. A region lies between numbers that the formula compares eta with. If sigma^2 =
a^2 + b^2 E + c^2 E^2 at each eta of it, it becomes a device; where the terms change with eta it is cut into rings.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from fastsim.detector.formulas import evaluate
from fastsim.importers.flow import bare, code_in, number_in
from fastsim.importers.tracks import formula_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fastsim.importers.flow import Flow
    from fastsim.importers.report import Report
    from fastsim.importers.tcl import Module

KINDS = ("SimpleCalorimeter", "Calorimeter", "DualReadoutCalorimeter", "OldCalorimeter")
VARIABLES = {"pt": "pt", "eta": "eta", "phi": "phi", "energy": "energy"}
_BEHIND = 1.01  # an HCAL must be behind an ECAL, and that behind the layers; Delphes has them where it likes
_ENERGIES = np.geomspace(0.1, 1000.0, 13)  # GeV
_SHAPE_TOLERANCE = 1e-6  # of sigma, relative: formulas are exact
_RING_TOLERANCE = 0.2  # of sigma, relative, where rings stand for a resolution that changes with eta
_MOST_RINGS = 6
_INVISIBLE = {12, 14, 16}


class Terms(NamedTuple):
    """sigma^2 = noise^2 + stochastic^2 E + constant^2 E^2; E in GeV."""

    noise: float
    stochastic: float
    constant: float

    def sigma(self, energy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Resolution [GeV]."""
        return np.sqrt(self.noise**2 + self.stochastic**2 * energy + self.constant**2 * energy**2)


class Region(NamedTuple):
    """|eta| from `low` to `high`, its resolution, its growth with eta^2, and whether it is on both sides."""

    low: float
    high: float
    terms: Terms
    eta_squared: float
    both_sides: bool


# Settings of modules that name output arrays, their defaults, and what is in them (Calorimeter.cc, SimpleCalorimeter.cc,
# DualReadoutCalorimeter.cc).
_OUTPUTS = {
    "TowerOutputArray": ("towers", "towers"), "EFlowTrackOutputArray": ("eflowTracks", "tracks"),
    "EFlowTowerOutputArray": ("eflowTowers", "neutral"), "EFlowPhotonOutputArray": ("eflowPhotons", "neutral"),
    "EFlowNeutralHadronOutputArray": ("eflowNeutralHadrons", "neutral"), "PhotonOutputArray": ("photons", "photons"),
}  # fmt: skip


def names_of(flow: Flow) -> frozenset[str]:
    """The modules that are calorimeters."""
    return frozenset(module.name for module in flow.of_kind(*KINDS))


def _content(flow: Flow, array: str) -> str:
    """What is in an output array of a calorimeter: "tracks", "towers", "neutral" or "photons"; "" of other arrays."""
    name, _, output = array.partition("/")
    if name not in names_of(flow):
        return ""
    module = flow.modules[name]
    return next((what for key, (own, what) in _OUTPUTS.items() if module.text(key, own) == output), "")


def input_of(flow: Flow, array: str) -> Literal["tracks", "towers", "energy_flow"]:
    """What an array is made of: the neutral part of a calorimeter's energy flow, its towers, or tracks."""
    found = {_content(flow, way.origin) for way in flow.ways(array, stop=names_of(flow))}
    return "energy_flow" if "neutral" in found else "towers" if "towers" in found else "tracks"


def is_photons(flow: Flow, array: str) -> bool:
    """Whether an array is a calorimeter's and may hold photons."""
    return _content(flow, array) in {"neutral", "photons", "towers"}


def translate_calorimeters(
    flow: Flow, report: Report, *, outside: tuple[float, float] = (0.0, 0.0)
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """[[calorimeters]] of the detector, and the module of the card that serves them, None if there is none.

    `outside`: radius and |z| of the last layers [cm], which may lie beyond the card's cylinder.
    """
    propagator = next(iter(flow.of_kind("ParticlePropagator")), None)
    devices: list[dict[str, Any]] = []
    significance: list[float] = []
    if propagator is None:
        return [], None
    radius, half_length = 100 * propagator.number("Radius", 1.0), 100 * propagator.number("HalfLength", 3.0)
    growth = max(1.0, _BEHIND * outside[0] / radius, _BEHIND * outside[1] / half_length)
    radius, half_length = growth * radius, growth * half_length
    for module in flow.of_kind(*KINDS):
        before = len(devices)
        towers = _towers(module, report)
        for kind, prefix in _sections(module):
            formula = formula_of(module, f"{prefix}ResolutionFormula", report, VARIABLES)
            if not formula or not towers:
                continue
            scale = _BEHIND if kind == "hcal" else 1.0
            edge = round(math.asinh(half_length / radius), 6)
            for region in _split(_regions(formula, module, report), edge):
                number = 1 + sum(device["kind"] == kind for device in devices)
                cylinder = (radius * scale, half_length * scale)
                device = _device(region, f"{kind}_{number}", kind, cylinder, towers, module, report)
                if device:
                    device |= _response(module, kind, prefix)
                    devices.append(device)
            significance.append(_first(module, (f"{prefix}EnergySignificanceMin", f"{prefix}MinSignificance"), 0.0))
        if len(devices) > before:
            names = ", ".join(device["name"] for device in devices[before:])
            report.say(module, "translated", f"[[calorimeters]] {names}, and a module calorimeter")
    if not devices:
        return [], None
    if len(set(significance)) > 1:
        report.assume(f"calorimeter: significance {significance[0]:g} for all (the card has {significance})")
    if growth > 1.0:
        report.assume(
            f"calorimeters are {growth:.3g} times as far out as the card's cylinder: layers of the tracker reach beyond it"
        )
    if any(device["kind"] == "hcal" for device in devices):
        report.assume("hadronic calorimeters are 1 % farther out than the card's cylinder: ours are behind the ECAL")
    option: dict[str, Any] = {"name": "calorimeter", "kind": "calorimeter", "level": "parametric"}
    option["significance"] = significance[0]
    if flow.branches("Tower"):
        option |= tower_sizes(devices)
    return devices, option


def tower_sizes(devices: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Options of towers as large as those of the first calorimeter."""
    return {key: min(1.0, devices[0][key]) for key in ("tower_eta", "tower_phi")}


def _sections(module: Module) -> list[tuple[str, str]]:
    """(kind of ours, prefix of the settings) of what a module measures."""
    if module.kind == "SimpleCalorimeter":
        return [("ecal" if module.flag("IsEcal", default=False) else "hcal", "")]
    return [("ecal", "ECal"), ("hcal", "HCal")]


def _first(module: Module, keys: Sequence[str], default: float) -> float:
    return next((module.number(key, default) for key in keys if key in module.settings), default)


def _response(module: Module, kind: str, prefix: str) -> dict[str, Any]:
    """Threshold, and what an ECAL keeps of each particle's energy."""
    least = _first(module, (f"{prefix}EnergyMin",), 0.0)
    table: dict[str, Any] = {"thresholds": {"cell": least, "cluster": least}} if least else {}
    shares: dict[float, list[int]] = {}
    default = 1.0 if module.kind == "SimpleCalorimeter" else 0.0  # Delphes' own, of the ECAL part
    for pdg, share in module.entries("EnergyFraction", 2):
        first, code = number_in(module, bare(share).split()[:1]), abs(code_in(module, pdg))
        if code == 0:
            default = first
        elif code not in {11, 22, *_INVISIBLE} and code < 1_000_000:
            shares.setdefault(first, []).append(code)
    if kind == "hcal":
        return table
    table["hadron_fraction"] = default
    # pi0 decay before; muons leave nothing in either (EnergyFraction {13} {0}), which is ours without `mip`
    fractions = [
        {"pdg": codes, "fraction": share}
        for share, found in shares.items()
        if share != default and (codes := [code for code in found if code not in {13, 111}])
    ]
    return table | ({"fractions": fractions} if fractions else {})


def _towers(module: Module, report: Report) -> list[tuple[float, float, float]]:
    """(lower edge, upper edge in eta, size in phi) of the towers, ascending."""
    edges: dict[float, set[float]] = {}
    try:
        for eta, phis in module.entries("EtaPhiBins", 2):
            values = phis if isinstance(phis, tuple) else str(phis).split()
            for one in bare(eta).split():
                edges.setdefault(float(one), set()).update(float(value) for value in values)
    except ValueError as error:
        report.say(module, "no counterpart", f"EtaPhiBins: {error}")
        return []
    etas = sorted(edges)
    found = [(low, high, 2 * math.pi / (len(edges[high]) - 1)) for low, high in pairwise(etas) if len(edges[high]) > 1]
    if not found:
        what = "one edge in phi, of which Delphes makes no towers" if etas else "none that could be read"
        report.say(module, "no counterpart", f"towers (EtaPhiBins): {what}")
    return found


def _regions(formula: str, module: Module, report: Report) -> Iterator[Region]:
    """The regions of a resolution, from the middle outwards."""
    numbers = re.findall(r"eta\)? *(?:<=?|>=?) *-?([\d.]+)", formula)
    edges = sorted({0.0, *(float(number) for number in numbers), 6.0})
    found: list[Region] = []
    for low, high in pairwise(edges):
        for region in _terms_between(formula, low, high, module, report):
            last = found[-1] if found else None
            if last and last.high == region.low and last[2:] == region[2:]:
                found[-1] = last._replace(high=region.high)
            else:
                found.append(region)
    yield from found


def _split(regions: Iterator[Region], edge: float) -> Iterator[Region]:
    """Regions around eta = 0 end where the barrel does."""
    for region in regions:
        if region.low == 0.0 and region.high > edge:
            yield region._replace(high=edge)
            yield region._replace(low=edge)
        else:
            yield region


def _terms_between(formula: str, low: float, high: float, module: Module, report: Report) -> Iterator[Region]:
    """One region, or narrow rings, or nothing where there is no calorimeter or none that has a counterpart."""
    where = f"{low:g} < |eta| < {high:g}"
    etas = low + (high - low) * np.linspace(0.02, 0.98, 13)
    fits = [_terms(formula, eta) for eta in etas]
    mirrored = [_terms(formula, -eta) for eta in etas]
    if all(fit == _NOTHING for fit in [*fits, *mirrored]):
        return
    both = fits == mirrored
    if not both and any(fit != _NOTHING for fit in mirrored):
        report.say(module, "no counterpart", f"{where}: the two sides differ")
        return
    if any(fit is None for fit in fits):
        report.say(module, "no counterpart", f"{where}: the resolution is not a (+) b sqrt(E) (+) c E")
        return
    terms = [fit for fit in fits if fit is not None]
    growth = _growth(terms, etas)
    if growth is not None:
        k = growth[1]
        yield Region(low, high, growth[0], k, both)
        return
    for n in range(2, _MOST_RINGS + 1):
        steps = np.linspace(low, high, n + 1)
        middles = [_terms(formula, 0.5 * (a + b)) for a, b in pairwise(steps)]
        nearest = [middles[min(int((eta - low) / (high - low) * n), n - 1)] for eta in etas]
        worst = max(
            float(np.max(np.abs(m.sigma(_ENERGIES) / t.sigma(_ENERGIES) - 1))) if m else math.inf
            for m, t in zip(nearest, terms, strict=True)
        )
        if worst <= _RING_TOLERANCE:
            text = f"{where}: {n} rings for a resolution that changes with eta (off by up to {100 * worst:.0f} %)"
            report.say(module, "translated", text)
            for (a, b), m in zip(pairwise(steps), middles, strict=True):
                if m:
                    yield Region(round(float(a), 6), round(float(b), 6), m, 0.0, both)
            return
    report.say(
        module, "no counterpart", f"{where}: the resolution changes with eta more than {_MOST_RINGS} rings can follow"
    )


_NOTHING = Terms(0.0, 0.0, 0.0)


def _terms(formula: str, eta: float) -> Terms | None:
    """The three terms at an eta, None if the formula is of another shape there."""
    variables = {"eta": np.full(len(_ENERGIES), eta), "energy": _ENERGIES, "pt": np.zeros(1), "phi": np.zeros(1)}
    sigma = np.broadcast_to(evaluate(formula, variables), len(_ENERGIES))
    if not np.all(sigma):
        return _NOTHING if not np.any(sigma) else None
    rows = np.array([np.ones(len(_ENERGIES)), _ENERGIES, _ENERGIES**2]).T / (sigma**2)[:, np.newaxis]
    if not np.all(np.isfinite(rows)):
        return None
    squares = np.linalg.lstsq(rows, np.ones(len(_ENERGIES)), rcond=None)[0]
    largest = squares * np.array([1.0, _ENERGIES[6], _ENERGIES[6] ** 2])
    squares[np.abs(largest) < 1e-9 * np.max(largest)] = 0.0  # what is not there, but for rounding
    if np.min(squares) < 0:
        return None
    terms = Terms(*(float(f"{math.sqrt(square):.6g}") for square in squares))
    exact = np.sqrt(rows @ squares)
    return terms if np.max(np.abs(exact - 1)) < _SHAPE_TOLERANCE else None


def _growth(terms: Sequence[Terms], etas: NDArray[np.float64]) -> tuple[Terms, float] | None:
    """Terms that are the same at all etas, or all grow as 1 + k eta^2, and k; None if they do otherwise."""
    sizes = np.array([np.max(term) for term in terms])
    a, b = np.polynomial.polynomial.polyfit(etas**2, sizes, 1)
    k = float(f"{b / a:.4g}") if a > 0 and abs(b) * etas[-1] ** 2 > 1e-4 * a else 0.0
    first = Terms(*(float(f"{value / (1 + k * etas[0] ** 2):.5g}") for value in terms[0]))
    for term, eta in zip(terms, etas, strict=True):
        expected = np.array(first) * (1 + k * eta**2)
        if not np.allclose(expected, term, rtol=2e-3, atol=1e-9):
            return None
    return (first, k) if k >= 0 else None


def _device(
    region: Region, name: str, kind: str, cylinder: tuple[float, float], towers: Sequence[tuple[float, float, float]],
    module: Module, report: Report,
) -> dict[str, Any] | None:  # fmt: skip
    """One device for a region of a calorimeter on a cylinder (radius, half length [cm]); None where there are no towers."""
    radius, half_length = cylinder
    inside = [tower for tower in towers if region.low < 0.5 * (tower[0] + tower[1]) < region.high]
    if not inside:
        report.say(module, "no counterpart", f"{region.low:g} < |eta| < {region.high:g}: no towers there")
        return None
    low, high = region.low, min(region.high, max(tower[1] for tower in towers))
    sizes_eta = [round(b - a, 5) for a, b, _ in inside]
    sizes_phi = [tower[2] for tower in inside]
    size_eta, size_phi = float(np.median(sizes_eta)), float(np.median(sizes_phi))
    if max(sizes_eta) - min(sizes_eta) > 1e-3 or max(sizes_phi) - min(sizes_phi) > 1e-6:
        sizes = f"{min(sizes_eta):g} to {max(sizes_eta):g} in eta, {min(sizes_phi):.3g} to {max(sizes_phi):.3g} in phi"
        report.say(module, "translated", f"{low:g} < |eta| < {high:g}: towers of {sizes}: the median for all")
    if low == 0.0 and region.both_sides:
        place: dict[str, Any] = {"r": round(radius, 4), "half_length": round(radius * math.sinh(high), 4)}
    elif low == 0.0:
        report.say(module, "no counterpart", f"0 < |eta| < {high:g} on one side: barrels are symmetric")
        return None
    else:
        z = half_length  # also for what the formula tells apart on the barrel's last part: it is passed there, and met here
        place = {"z": round(z, 4), "r_min": round(z / math.sinh(high), 4), "r_max": round(z / math.sinh(low), 4)}
        place |= {} if region.both_sides else {"both_sides": False}
    terms = {key: value for key, value in region.terms._asdict().items() if value}
    terms |= {"eta_squared": region.eta_squared} if region.eta_squared else {}
    return {
        "name": name, "kind": kind, **place,
        "tower_eta": size_eta, "tower_phi": float(f"{size_phi:.6g}"),
        {"ecal": "electromagnetic", "hcal": "hadronic"}[kind]: terms,
    }  # fmt: skip
