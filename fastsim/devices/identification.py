"""Identification by formulas: the probability that a track of one species is taken for another, as Delphes' IdentificationMap.

What a Delphes card knows of particle identification, and what papers publish as tables of efficiency and misidentification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module, toml
from fastsim.columns import Column
from fastsim.detector.formulas import FormulaError, evaluate
from fastsim.errors import PluginError
from fastsim.jit import kernel
from fastsim.module import Made
from fastsim.rng import Key, uniforms_1
from fastsim.species import NAMES, by_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastsim.detector import Detector
    from fastsim.events import EventBatch
    from fastsim.rng import Streams

VARIABLES = ("pt", "p", "eta", "phi")  # reconstructed: GeV, GeV, -, rad
_TOLERANCE = 1e-9  # by which probabilities may exceed 1: sums of printed numbers
UNIDENTIFIED = 0


class Rule(toml.Strict):
    """One entry of the map."""

    true: Annotated[Literal[NAMES], Field(description="true species")]  # type: ignore[valid-type]
    taken_for: Annotated[Literal[NAMES], Field(description="species that it is taken for")]  # type: ignore[valid-type]
    probability: Annotated[
        float | str, Field(description="a number, or a formula in pt, p [GeV], eta and phi (reconstructed)")
    ]


@kernel
def choose(
    cumulative: NDArray[np.float64],
    event_id: NDArray[np.uint64],
    index: NDArray[np.int32],
    key: Key,
    chosen: NDArray[np.int64],
) -> None:
    """The first of the outcomes (n, k) whose cumulative probability is above a uniform; -1 if none is."""
    for i in range(len(index)):
        u = uniforms_1(0, index[i], event_id[i], key.k0, key.k1)[0]
        chosen[i] = -1
        for k in range(cumulative.shape[1]):
            if u < cumulative[i, k]:
                chosen[i] = k
                break


class Identification:
    """Module kind "identification": a PDG code for each track, drawn from the card's map; 0 if it is not identified."""

    class Options(module.Options):
        """Identification by formulas."""

        rules: Annotated[list[Rule], Field(min_length=1, description="what each species is taken for, and how often")]

        @classmethod
        def faults(cls, data: dict[str, Any]) -> Iterator[tuple[toml.Path, str]]:
            """Formulas that are none, numbers that are no probabilities."""
            rules = data.get("rules")
            for i, rule in enumerate(rules if isinstance(rules, list) else []):
                value = rule.get("probability") if isinstance(rule, dict) else None
                if isinstance(value, str):
                    try:
                        evaluate(value, dict.fromkeys(VARIABLES, np.ones(1)))
                    except FormulaError as error:
                        yield ("rules", i, "probability"), str(error)
                elif isinstance(value, (int, float)) and not isinstance(value, bool) and not 0 <= value <= 1:
                    yield ("rules", i, "probability"), f"must be between 0 and 1 (got {value!r})"

    needs: tuple[Column, ...] = (
        c.EVENT_ID, c.PARTICLE_INDEX, c.SPECIES, c.IS_RECONSTRUCTED, c.CHARGE, c.PT, c.ETA, c.RECONSTRUCTED[2],
    )  # fmt: skip

    def __init__(self, name: str, rules: list[Rule]) -> None:
        self.name = name
        self._rules = rules
        self._column = Column(
            f"{name}_pdg",
            "track",
            "int32",
            "",
            "PDG code that the track is taken for, with the sign of its charge; 0 if none",
        )
        self.makes: tuple[Column, ...] = (self._column,)

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> Identification:
        """The module as the card describes it."""
        del detector
        own = cast("Identification.Options", options)
        return cls(own.name, own.rules)

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Draw what each reconstructed track is taken for."""
        codes = np.zeros(batch.n_rows("track"), dtype=np.int32)
        key = streams.key(f"{self.name}/identity")
        for species in {rule.true for rule in self._rules}:
            rows = np.flatnonzero(batch[c.IS_RECONSTRUCTED] & (batch[c.SPECIES] == NAMES.index(species)))
            if not len(rows):
                continue
            rules = [rule for rule in self._rules if rule.true == species]
            chosen = np.empty(len(rows), dtype=np.int64)
            event_id = batch[c.EVENT_ID][batch.event_index("track")[rows]]
            choose(self._cumulative(batch, rows, rules), event_id, batch[c.PARTICLE_INDEX][rows], key, chosen)
            taken = np.array([_code(rule.taken_for) for rule in rules] + [UNIDENTIFIED])[chosen]
            codes[rows] = np.where(batch[c.CHARGE][rows] < 0, -taken, taken)
        return Made({self._column: codes})

    def _cumulative(self, batch: EventBatch, rows: NDArray[np.int64], rules: list[Rule]) -> NDArray[np.float64]:
        pt, eta = batch[c.PT][rows], batch[c.ETA][rows]
        variables = {"pt": pt, "p": pt * np.cosh(eta), "eta": eta, "phi": batch[c.RECONSTRUCTED[2]][rows]}
        table = np.empty((len(rows), len(rules)))
        for k, rule in enumerate(rules):
            table[:, k] = (
                rule.probability if isinstance(rule.probability, float) else evaluate(str(rule.probability), variables)
            )
        cumulative = np.cumsum(table, axis=1)
        wrong = np.flatnonzero(~((table >= 0).all(axis=1) & (cumulative[:, -1] <= 1 + _TOLERANCE)))
        if len(wrong):
            place = ", ".join(f"{name} = {values[wrong[0]]:.6g}" for name, values in variables.items())
            what = f"probabilities of {rules[0].true} at {place} are {table[wrong[0]].tolist()}: below 0, or above 1 in all"
            raise PluginError(what, where=f"module {self.name!r}")
        return cumulative


def _code(name: str) -> int:
    """PDG code of the positive particle of a species: 211, but -11."""
    species = by_name(name)
    return -species.pdg if species.pdg in (11, 13) else species.pdg
