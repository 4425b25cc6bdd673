"""Pile-up and the luminous region of a Delphes card: PileUpMerger as [pile_up] and [beam_spot]."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.detector.formulas import FormulaError, evaluate
from fastsim.importers.tformula import translate

if TYPE_CHECKING:
    from fastsim.importers.flow import Flow
    from fastsim.importers.report import Report
    from fastsim.importers.tcl import Module

_DISTRIBUTIONS = {0: "poisson", 2: "fixed"}  # PileUpDistribution; 1 is uniform up to twice the mean
_POINTS = (0.2, 0.4, 0.6)  # of the range, where a Gaussian is looked at


def translate_collisions(flow: Flow, file: str | None, report: Report) -> dict[str, Any]:
    """[pile_up] and [beam_spot]; `file` holds the minimum-bias events, for Delphes' own format is not read."""
    module = next(iter(flow.of_kind("PileUpMerger")), None)
    if module is None:
        return {}
    region = _luminous_region(module, report)
    tables: dict[str, Any] = {"beam_spot": region} if region else {}
    if region:
        report.say(module, "translated", "[beam_spot] of all collisions")
    mean = module.number("MeanPileUp", 10.0)
    distribution = _DISTRIBUTIONS.get(int(module.number("PileUpDistribution", 0)))
    if distribution is None:
        report.say(module, "no counterpart", "PileUpDistribution 1 (uniform); taken as Poisson of the same mean")
        distribution = "poisson"
    if file is None:
        text = f"mean of {mean:g} collisions: name a file of minimum-bias events with --pile-up (HepMC or what `run` reads)"
        report.say(module, "no counterpart", text)
        return tables
    report.say(module, "translated", f"[pile_up] from {file}; not rotated about the beam, as Delphes does")
    return tables | {"pile_up": {"file": file, "mean": mean, "distribution": distribution, **region}}


def _luminous_region(module: Module, report: Report) -> dict[str, float]:
    """sigma_z [cm] and sigma_t [ns] of VertexDistributionFormula, if it is a Gaussian in z [m] and t [s]."""
    found = module.get("VertexDistributionFormula")
    reach = {"z": module.number("ZVertexSpread", 0.15), "t": module.number("TVertexSpread", 1.5e-9)}
    if found is None:
        return {}
    place = f"VertexDistributionFormula (line {found.place.line})"
    try:
        formula = translate(found.text, {"z": "z", "t": "t"})
        sigmas = {axis: _gaussian_width(formula, axis, reach) for axis in reach}
    except FormulaError as error:
        report.say(module, "no counterpart", f"{place}: {error}")
        return {}
    if any(sigma is None for sigma in sigmas.values()):
        report.say(module, "no counterpart", f"{place}: not a Gaussian in z and t")
        return {}
    factor = {"z": 100.0, "t": 1e9}  # m to cm, s to ns
    region = {f"sigma_{axis}": float(f"{sigma * factor[axis]:.6g}") for axis, sigma in sigmas.items() if sigma}
    for axis, sigma in sigmas.items():
        if sigma and reach[axis] < 3 * sigma:
            text = f"{place}: Delphes cuts the Gaussian in {axis} at {reach[axis] / sigma:.2g} sigma, here it is whole"
            report.say(module, "translated", text)
    return region


def _gaussian_width(formula: str, axis: str, reach: dict[str, float]) -> float | None:
    """Sigma of a Gaussian in one variable, the other at 0; None if it is none."""
    points = np.array([0.0, *(share * reach[axis] for share in _POINTS)])
    variables = {name: points if name == axis else np.zeros(len(points)) for name in reach}
    values = np.broadcast_to(evaluate(formula, variables), len(points))
    if not (values[0] > 0 and np.all(np.isfinite(values)) and np.all(values[1:] > 1e-280)):
        return None
    inverse = -2.0 * np.log(values[1:] / values[0]) / points[1:] ** 2
    if np.any(inverse <= 0) or np.ptp(inverse) > 1e-6 * inverse[0]:
        return None
    return 1.0 / math.sqrt(float(np.mean(inverse)))
