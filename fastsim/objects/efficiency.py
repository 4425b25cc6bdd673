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
    n = len(variables["pt"])
    if not isinstance(efficiency, str):
        return np.full(n, efficiency)
    values = np.broadcast_to(evaluate(efficiency, variables), n)
    undefined = np.flatnonzero(np.isnan(values))
    if len(undefined):
        place = ", ".join(f"{name} = {variables[name][undefined[0]]:.6g}" for name in VARIABLES)
        raise PluginError(f"the formula {efficiency!r} has no value at {place}", where=where)
    return np.clip(values, 0.0, 1.0)


def faults_of_efficiency(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong with an efficiency of the card: (path, message)."""
    if isinstance(value, str):
        try:
            evaluate(value, dict.fromkeys(VARIABLES, np.ones(1)))
        except FormulaError as error:
            yield path, str(error)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and not 0 <= value <= 1:
        yield path, f"must be between 0 and 1 (got {value!r})"
