"""Efficiency and purity of any cut on what devices measure, species by species."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim.detector.formulas import FormulaError, evaluate
from fastsim.errors import UsageError
from fastsim.species import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.pid.sample import Sample


class Line(NamedTuple):
    """Of a true species: reconstructed tracks, those that pass, the share of them, and of all that pass how many are of it."""

    species: str
    n: int
    n_passed: int
    efficiency: float
    sigma_efficiency: float
    purity: float


def table_of_cut(sample: Sample, cut: str, made: Iterable[Column]) -> list[Line]:
    """How a cut treats each species; raises UsageError if it is no formula of what the card makes.

    The cut is a formula in p, pt, eta and the columns of devices, hypotheses by their names: ``abs(tof_n_sigma_ka) < 3``.
    What was not measured is NaN, which passes no comparison.
    """
    variables = variables_of(sample, made)
    try:
        value = np.broadcast_to(evaluate(cut, variables), sample.p.shape)
    except FormulaError as error:
        raise UsageError(f"--cut {cut!r}: {error}") from None
    passed = np.isfinite(value) & (value != 0)
    lines = []
    for index, name in enumerate(NAMES):
        own = sample.species == index
        n, k = int(own.sum()), int((own & passed).sum())
        if n:
            share = k / n
            lines.append(
                Line(name, n, k, share, float(np.sqrt(share * (1 - share) / n)), k / passed.sum() if k else 0.0)
            )
    return lines


def variables_of(sample: Sample, made: Iterable[Column]) -> Mapping[str, NDArray[Any]]:
    """Numbers by the names that a cut may use."""
    variables: dict[str, NDArray[Any]] = {"p": sample.p, "pt": sample.p / np.cosh(sample.eta), "eta": sample.eta}
    for column in made:
        values = sample.columns.get(column.name)
        if values is None:
            continue
        if not column.shape:
            variables[column.name] = values
        elif column.shape == (len(NAMES),):
            variables |= {f"{column.name}_{name}": values[:, k] for k, name in enumerate(NAMES)}
    return variables
