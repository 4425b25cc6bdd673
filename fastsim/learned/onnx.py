"""Module kind "onnx": any trained model with a sidecar. Columns go in by formulas, columns named by the sidecar come out."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.columns import Column
from fastsim.detector.formulas import FormulaError, evaluate
from fastsim.errors import CardError
from fastsim.learned.model import Model, Variable, find_model, load_model
from fastsim.module import Made

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastsim.detector import Detector
    from fastsim.events import Columns, EventBatch
    from fastsim.rng import Streams

_KINDS = ("bool", "int", "uint", "float")  # of columns that formulas can read


class OnnxOptions(module.Options):
    """A trained model."""

    level: Annotated[Literal["learned"], Field(description="all that there is")]  # type: ignore[assignment]
    model: Annotated[
        str, Field(min_length=1, description="the .onnx file with its .json beside it, or the name of a shipped model")
    ]


class OnnxModule:
    """Runs a model on the rows of a table that its sidecar names; where it does not apply the columns are NaN.

    Makes `NAME_is_measured` (the mask) and `NAME_VALUE` for each value of the sidecar's outputs, NAME being the module's. Noise
    is addressed by event and by the row's particle (table track), or its position in the event (other tables).
    """

    Options = OnnxOptions

    def __init__(self, name: str, model: Model) -> None:
        self.name = name
        self._model = model
        self.fingerprint = model.fingerprint  # for the provenance
        sidecar = model.sidecar
        self._table = sidecar.rows.table
        found = {key: column_of(variable) for key, variable in sidecar.variables.items()}
        problems = [*_faults_of_variables(sidecar.variables, found, self._table), *_faults_of_formulas(model)]
        if problems:
            raise CardError([f"{model.where}: {problem}" for problem in problems])
        self._columns = {key: column for key, column in found.items() if isinstance(column, Column)}
        index = (c.PARTICLE_INDEX,) if self._table == "track" else ()
        self.needs: tuple[Column, ...] = tuple(dict.fromkeys([c.EVENT_ID, *index, *self._columns.values()]))
        self._mask = Column(f"{name}_is_measured", self._table, "bool", "", f"the model {sidecar.name} applies")
        self._made = {
            value.name: Column(f"{name}_{value.name}", self._table, "float64", value.unit, value.doc)
            for tensor in sidecar.outputs
            for value in tensor.values
        }
        self.makes: tuple[Column, ...] = (self._mask, *self._made.values())

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> OnnxModule:
        """The module as the card describes it; raises CardError for a model that cannot be, UsageError without onnxruntime."""
        del detector
        own = cast("OnnxOptions", options)
        return cls(own.name, load_model(find_model(own.model, where=f"module {own.name!r}: model")))

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Run the model on all its rows in one call."""
        n = batch.n_events if self._table == "event" else batch.n_rows(self._table)
        event = np.arange(n) if self._table == "event" else batch.event_index(self._table)
        variables = {key: self._values(batch, key, event) for key in self._columns}
        where = self._model.sidecar.rows.where
        rows = np.flatnonzero(_true(where, variables, n)) if where else np.arange(n)
        chosen = {key: values[rows] for key, values in variables.items()}
        values = {
            feature.name: np.broadcast_to(evaluate(feature.formula or feature.name, chosen), len(rows))
            for feature in self._model.features
        }
        found = self._model.run(
            values, batch[c.EVENT_ID][event[rows]], self._index(batch, event)[rows], streams.key(f"{self.name}/noise")
        )
        mask = np.zeros(n, dtype=np.bool_)
        mask[rows] = found.is_valid
        made: Columns = {self._mask: mask}
        for name, column in self._made.items():
            made[column] = np.full(n, np.nan)
            made[column][rows] = found.values[name]
        return Made(made, counts={f"{self.name}: {what}": number for what, number in found.counts.items()})

    def _values(self, batch: EventBatch, key: str, event: NDArray[np.int64]) -> NDArray[np.float64]:
        """A variable (rows,) of the model's table; what belongs to an event is the same for all its rows."""
        column, variable = self._columns[key], self._model.sidecar.variables[key]
        values = batch[column]
        for k in variable.element or []:
            values = values[:, k]
        values = values.astype(np.float64)
        return cast("NDArray[np.float64]", values[event] if column.table != self._table else values)

    def _index(self, batch: EventBatch, event: NDArray[np.int64]) -> NDArray[np.int32]:
        if self._table == "track":
            return cast("NDArray[np.int32]", batch[c.PARTICLE_INDEX])
        if self._table == "event":
            return np.zeros(len(event), dtype=np.int32)
        return (np.arange(len(event)) - batch.offsets[self._table][event]).astype(np.int32)


def _true(formula: str, variables: dict[str, NDArray[np.float64]], n: int) -> NDArray[np.bool_]:
    """Rows for which a condition holds; one without a value does not."""
    values = np.broadcast_to(evaluate(formula, variables), n)
    return np.asarray((values != 0.0) & ~np.isnan(values))


def column_of(variable: Variable) -> Column | str:
    """The column that a variable reads, or what is wrong with it."""
    table, _, name = variable.column.partition(".")
    for column in c.DECLARED:
        if str(column) == variable.column:
            return column
    if variable.dtype is None or variable.doc is None:
        known = [str(column) for column in c.DECLARED]
        close = difflib.get_close_matches(variable.column, known, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"allowed of {table}: {_names_of(table)}"
        return (
            f"{variable.column} is not a column of fastsim ({remedy}); one that another module makes needs dtype and doc "
            "as that module has them"
        )
    if table not in c.TABLES:
        return f"{table} is not a table (allowed: {', '.join(c.TABLES)})"
    return Column(name, cast("Any", table), variable.dtype, variable.unit, variable.doc, tuple(variable.shape or ()))


def _names_of(table: str) -> str:
    return ", ".join(sorted(column.name for column in c.DECLARED if column.table == table)) or "none"


def _faults_of_variables(variables: dict[str, Variable], found: dict[str, Column | str], table: str) -> Iterator[str]:
    for key, variable in variables.items():
        column = found[key]
        if isinstance(column, str):
            yield f"variables.{key}: {column}"
            continue
        if variable.unit != column.unit:
            yield f"variables.{key}: {column} is in {column.unit or 'no unit'!r} (got {variable.unit or 'no unit'!r})"
        if column.table not in (table, "event"):
            yield f"variables.{key}: {column} is not of the table {table} or event, whose rows the model knows"
        if not column.dtype.startswith(_KINDS):
            yield f"variables.{key}: {column} is {column.dtype}, not a number"
        given = variable.element or []
        if len(given) != len(column.shape) or any(
            not 0 <= k < size for k, size in zip(given, column.shape, strict=False)
        ):
            allowed = f"a position in {column.shape}" if column.shape else "left out: it is a single number"
            yield f"variables.{key}: element of {column} must be {allowed} (got {given})"


def _faults_of_formulas(model: Model) -> Iterator[str]:
    """Formulas with syntax or names that are none."""
    sidecar = model.sidecar
    sample = dict.fromkeys(sidecar.variables, np.ones(1))
    formulas = [(f"feature {feature.name}", feature.formula or feature.name) for feature in model.features]
    if sidecar.rows.where:
        formulas.append(("rows.where", sidecar.rows.where))
    for what, formula in formulas:
        try:
            evaluate(formula, sample)
        except FormulaError as error:
            yield f"{what}: {error}"
