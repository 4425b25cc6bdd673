"""Arithmetic from text, safely: numbers, the named variables, operators and a few functions; nothing else is evaluated.

Conditions are numbers too, so published piecewise resolutions read as they are printed:
``(abs(eta) <= 0.5) * sqrt(0.06**2 + (1.3e-3 * pt)**2) + ...``, or ``a if abs(eta) < 1.5 else b``.
"""

from __future__ import annotations

import ast
import math
import operator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

VARIABLES: Final = ("pt", "p", "eta", "theta", "mass", "charge", "r")
_CONSTANTS: Final = {"pi": math.pi}
_OPERATORS: Final[dict[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: np.divide, ast.Pow: np.power,
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: np.logical_not, ast.And: np.logical_and, ast.Or: np.logical_or,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], int]]] = {
    **{name: (getattr(np, name), 1) for name in ("sqrt", "exp", "log", "log10", "sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "abs": (np.abs, 1), "min": (np.minimum, 2), "max": (np.maximum, 2), "hypot": (np.hypot, 2),
}  # fmt: skip
_LONGEST = (
    100_000  # characters: above the resolution tables of Delphes' cards (20 kB), far below what exhausts the parser
)


class FormulaError(ValueError):
    """What is wrong with a formula, and where in it."""


def evaluate(text: str, variables: Mapping[str, Any]) -> NDArray[np.float64]:
    """The value of a formula for arrays of variables that broadcast; raises FormulaError.

    The result may hold inf or nan where the formula has none: the caller knows where that matters.
    """
    try:
        with np.errstate(all="ignore"):
            return np.asarray(_value(parse(text), text, variables), dtype=np.float64)
    except RecursionError:
        raise FormulaError("nested too deeply") from None


def parse(text: str) -> ast.expr:
    """The syntax tree of a formula; raises FormulaError if it is not one expression."""
    if len(text) > _LONGEST:
        raise FormulaError(f"longer than {_LONGEST} characters")
    try:
        return ast.parse(" ".join(text.split()), mode="eval").body  # published formulas run over many lines
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FormulaError(f"not a formula ({error})") from None


def _value(node: ast.expr, text: str, variables: Mapping[str, Any]) -> Any:  # noqa: PLR0911  (one for each kind of node)
    def value(inner: ast.expr) -> Any:
        return _value(inner, text, variables)

    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        try:
            return float(node.value)
        except OverflowError:
            raise FormulaError("a number with more digits than a float holds") from None
    if isinstance(node, ast.Name):
        if node.id in variables or node.id in _CONSTANTS:
            return variables.get(node.id, _CONSTANTS.get(node.id))
        raise FormulaError(f"{node.id!r} is not a variable (allowed: {', '.join([*variables, *_CONSTANTS])})")
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](value(node.left), value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return np.multiply(_OPERATORS[type(node.op)](value(node.operand)), 1.0)
    if isinstance(node, ast.BoolOp):
        result = value(node.values[0])
        for other in node.values[1:]:
            result = _OPERATORS[type(node.op)](result, value(other))
        return np.multiply(result, 1.0)
    if isinstance(node, ast.Compare) and all(type(op) in _OPERATORS for op in node.ops):
        sides = [value(node.left), *(value(side) for side in node.comparators)]
        result = True
        for op, left, right in zip(node.ops, sides[:-1], sides[1:], strict=True):
            result = np.logical_and(result, _OPERATORS[type(op)](left, right))
        return np.multiply(result, 1.0)
    if isinstance(node, ast.IfExp):
        return np.where(np.asarray(value(node.test), dtype=bool), value(node.body), value(node.orelse))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id not in _FUNCTIONS:
            raise FormulaError(f"{node.func.id!r} is not a function (allowed: {', '.join(_FUNCTIONS)})")
        function, n = _FUNCTIONS[node.func.id]
        if len(node.args) != n:
            raise FormulaError(f"{node.func.id} takes {n} argument{'s' * (n > 1)} (got {len(node.args)})")
        return function(*(value(argument) for argument in node.args))
    source = ast.get_source_segment(" ".join(text.split()), node) or text
    raise FormulaError(f"{source!r} is not allowed in a formula")


def faults_of_formulas(formulas: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong with a detector file's formulas: syntax, names, species given twice."""
    sample = dict.fromkeys(VARIABLES, np.ones(1))
    seen: dict[str, int] = {}
    for i, table in enumerate(formulas if isinstance(formulas, list) else []):
        if not isinstance(table, dict):
            continue
        for key, text in table.items():
            if key != "species" and isinstance(text, str):
                try:
                    evaluate(text, sample)
                except FormulaError as error:
                    yield ("formulas", i, key), str(error)
        for name in table["species"] if isinstance(table.get("species"), list) else []:
            if isinstance(name, str) and seen.setdefault(name, i) != i:
                yield ("formulas", i, "species"), f"{name!r} has formulas already, in formulas[{seen[name]}]"
