"""Efficiencies from the card: a number, or a formula in pt, eta, phi and energy; and what passes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from fastsim.detector.formulas import FormulaError, evaluate
from fastsim.errors import PluginError
from fastsim.jit import kernel
from fastsim.rng import Key, uniforms_1

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

VARIABLES = ("pt", "eta", "phi", "energy")  # GeV, -, rad, GeV; as reconstructed
Efficiency = Annotated[
    float | str, Field(description="a number, or a formula in pt [GeV], eta, phi and energy [GeV]; cut to 0 to 1")
]


@kernel
def draw_accepted(
    probability: NDArray[np.float64], event_id: NDArray[np.uint64], index: NDArray[np.int32], key: Key,
    accepted: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Accept each with its probability: one uniform, addressed by the event and an index in it."""
    for i in range(len(probability)):
        accepted[i] = uniforms_1(0, index[i], event_id[i], key.k0, key.k1)[0] < probability[i]


def accept(
    probability: NDArray[np.float64], event_id: NDArray[np.uint64], index: NDArray[np.int32], key: Key
) -> NDArray[np.bool_]:
    """Which of some objects pass, each with its probability."""
    accepted = np.zeros(len(index), dtype=np.bool_)
    draw_accepted(probability, event_id, index, key, accepted)
    return accepted


def probabilities(
    efficiency: float | str, variables: Mapping[str, NDArray[np.float64]], *, where: str
) -> NDArray[np.float64]:
    """The efficiency of each object, cut to 0 to 1 as a comparison with a uniform does; raises PluginError where it is nan."""
    return np.clip(values_of(efficiency, variables, where=where), 0.0, 1.0)


def values_of(
    formula: float | str, variables: Mapping[str, NDArray[np.float64]], *, where: str, above: float | None = None
) -> NDArray[np.float64]:
    """A number or a formula for each object; raises PluginError where it is nan, or not `above` some number."""
    n = len(variables["pt"])
    values = np.broadcast_to(evaluate(formula, variables), n) if isinstance(formula, str) else np.full(n, formula)
    wrong = np.flatnonzero(np.isnan(values) if above is None else ~(values > above))
    if len(wrong):
        first = wrong[0]
        place = ", ".join(f"{name} = {variables[name][first]:.6g}" for name in VARIABLES)
        what = "has no value" if np.isnan(values[first]) else f"is {values[first]:.6g}, and must be above {above:g},"
        raise PluginError(f"the formula {formula!r} {what} at {place}", where=where)
    return values


def faults_of_efficiency(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong with an efficiency of the card: (path, message)."""
    yield from faults_of_formula(value, path)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not 0 <= value <= 1:
        yield path, f"must be between 0 and 1 (got {value!r})"


def faults_of_formula(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong with a formula of the card, if it is text: (path, message)."""
    if isinstance(value, str):
        try:
            evaluate(value, dict.fromkeys(VARIABLES, np.ones(1)))
        except FormulaError as error:
            yield path, str(error)
