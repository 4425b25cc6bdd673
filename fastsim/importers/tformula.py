"""ROOT's TFormula, as Delphes' cards use it, in the syntax of our formulas: `pt^2 && !(eta > 1)` and the like.

Numbers, variables, C's operators, `^` and `**`, and the functions below. What has two meanings, or none here, is refused: powers
of powers without brackets, two comparisons in a row, the quotient of two whole numbers (which C++ cuts). Names and order of
operators: ROOT's class reference of TFormula.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from fastsim.detector.formulas import FormulaError

if TYPE_CHECKING:
    from collections.abc import Mapping

# How tightly our syntax binds what a node is made of.
_CHOICE, _OR, _AND, _COMPARE, _SUM, _PRODUCT, _UNARY, _POWER, _ATOM = range(9)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*(?:::\w+)*)"
    r"|(?P<sign>\*\*|&&|\|\||<=|>=|==|!=|[-+*/^()<>!,?:]))"
)
_SAME: Final = ("sqrt", "exp", "log", "log10", "sin", "cos", "tan", "sinh", "cosh", "tanh", "abs")
_FUNCTIONS: Final[dict[str, tuple[str, int]]] = {
    **{name: (name, 1) for name in _SAME},
    "fabs": ("abs", 1), "min": ("min", 2), "max": ("max", 2), "hypot": ("hypot", 2),
    **{f"TMath::{name.capitalize()}": (name, 1) for name in _SAME},
    "TMath::SinH": ("sinh", 1), "TMath::CosH": ("cosh", 1), "TMath::TanH": ("tanh", 1),
    "TMath::Min": ("min", 2), "TMath::Max": ("max", 2), "TMath::Hypot": ("hypot", 2),
}  # fmt: skip
_POWERS: Final = ("pow", "TMath::Power")
_PI: Final = ("pi", "TMath::Pi")
_LONG_SUM = 30  # terms: longer ones are bracketed in groups, for a formula is read recursively


class _Node(NamedTuple):
    text: str
    level: int
    is_whole: bool = False  # a whole number, as written

    def at(self, level: int) -> str:
        """The text where something that binds so tightly is asked for."""
        return self.text if self.level >= level else f"({self.text})"


def translate(text: str, variables: Mapping[str, str]) -> str:
    """The formula in our syntax; `variables` are the names that it may hold and what each is here.

    Raises FormulaError, with the place in the text.
    """
    try:
        return _Parser(text.replace("\\", " "), variables).formula()
    except RecursionError:
        raise FormulaError("nested too deeply") from None


class _Parser:
    """Recursive descent, loosest operators first."""

    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._tokens: list[tuple[str, str, str]] = []  # kind, text, what follows it, for messages
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                raise FormulaError(f"not a formula at {_excerpt(text[at:])!r}")
            kind = str(match.lastgroup)
            self._tokens.append((kind, match[kind], _excerpt(text[match.start(kind) :])))
            at = match.end()
        self._tokens.append(("end", "", "its end"))
        self._at = 0

    def formula(self) -> str:
        node = self._choice()
        if self._tokens[self._at][0] != "end":
            self._fail("not a formula")
        return node.text

    def _fail(self, what: str, at: int | None = None) -> None:
        raise FormulaError(f"{what} at {self._tokens[self._at if at is None else at][2]!r}")

    def _sign(self, *signs: str) -> str:
        """The next token if it is one of these, else ""."""
        kind, text, _ = self._tokens[self._at]
        if kind == "sign" and text in signs:
            self._at += 1
            return text
        return ""

    def _expect(self, sign: str) -> None:
        if not self._sign(sign):
            self._fail(f"{sign!r} is missing")

    def _choice(self) -> _Node:
        condition = self._either()
        if not self._sign("?"):
            return condition
        yes = self._choice()
        self._expect(":")
        no = self._choice()
        return _Node(f"{yes.at(_OR)} if {condition.at(_OR)} else {no.at(_CHOICE)}", _CHOICE)

    def _either(self) -> _Node:
        node = self._both()
        while self._sign("||"):
            node = _Node(f"{node.at(_OR)} or {self._both().at(_AND)}", _OR)
        return node

    def _both(self) -> _Node:
        node = self._equality()
        while self._sign("&&"):
            node = _Node(f"{node.at(_AND)} and {self._equality().at(_COMPARE)}", _AND)
        return node

    def _equality(self) -> _Node:
        left = self._comparison()
        if sign := self._sign("==", "!="):
            a, b = left.at(_SUM), self._comparison().at(_SUM)
            equal = f"({a} >= {b}) * ({a} <= {b})"
            left = _Node(equal if sign == "==" else f"1 - {equal}", _PRODUCT if sign == "==" else _SUM)
            if self._sign("==", "!="):
                self._fail("two comparisons in a row, which C reads otherwise than one expects,", self._at - 1)
        return left

    def _comparison(self) -> _Node:
        left = self._sum()
        if sign := self._sign("<", "<=", ">", ">="):
            left = _Node(f"{left.at(_SUM)} {sign} {self._sum().at(_SUM)}", _COMPARE)
            if self._sign("<", "<=", ">", ">="):
                self._fail("two comparisons in a row, which C reads otherwise than one expects,", self._at - 1)
        return left

    def _sum(self) -> _Node:
        first = self._product()
        terms = [first.at(_PRODUCT)]
        while sign := self._sign("+", "-"):
            terms.append(f"{sign} {self._product().at(_PRODUCT)}")
        if len(terms) == 1:
            return first
        while len(terms) > _LONG_SUM:
            groups = [terms[i : i + _LONG_SUM] for i in range(0, len(terms), _LONG_SUM)]
            terms = [("+ " if i else "") + _bracketed(group) for i, group in enumerate(groups)]
        return _Node(" ".join(terms), _SUM)

    def _product(self) -> _Node:
        node = self._unary()
        while sign := self._sign("*", "/"):
            at = self._at
            right = self._unary()
            if sign == "/" and node.is_whole and right.is_whole:
                self._fail("a quotient of whole numbers, which C++ cuts to a whole one,", at)
            node = _Node(f"{node.at(_PRODUCT)} {sign} {right.at(_UNARY)}", _PRODUCT)
        return node

    def _unary(self) -> _Node:
        if self._sign("!"):
            return _Node(f"(not {self._unary().at(_COMPARE)})", _ATOM)
        if self._sign("-"):
            return _Node(f"-{self._unary().at(_UNARY)}", _UNARY)
        if self._sign("+"):
            return self._unary()
        base = self._atom()
        if not self._sign("^", "**"):
            return base
        sign = "-" if self._sign("-") else ""
        node = _Node(f"{base.at(_ATOM)}**{sign}{self._atom().at(_ATOM)}", _POWER)
        if self._sign("^", "**"):
            self._fail("a power of a power: which comes first?", self._at - 1)
        return node

    def _atom(self) -> _Node:
        kind, text, _ = self._tokens[self._at]
        if self._sign("("):
            node = self._choice()
            self._expect(")")
            return node._replace(is_whole=False) if node.level == _ATOM else _Node(f"({node.text})", _ATOM)
        if kind == "number":
            self._at += 1
            return _Node(repr(float(text)) if re.match(r"0\d", text) else text, _ATOM, is_whole=text.isdigit())
        if kind == "name":
            return self._name(text)
        self._fail("not a formula")
        raise AssertionError  # for mypy

    def _name(self, name: str) -> _Node:
        at = self._at
        self._at += 1
        if not self._sign("("):
            if name in self._variables:
                ours = self._variables[name]
                return _Node(ours, _ATOM if re.fullmatch(r"\w+(\([^()]*\))?", ours) else _CHOICE)
            if name == "pi":
                return _Node("pi", _ATOM)
            self._fail(f"{name!r} is not a variable here (allowed: {', '.join(self._variables)})", at)
        if name in _PI:
            self._expect(")")
            return _Node("pi", _ATOM)
        arguments = [self._choice()]
        while self._sign(","):
            arguments.append(self._choice())
        self._expect(")")
        if name in _POWERS and len(arguments) == 2:
            return _Node(f"{arguments[0].at(_ATOM)}**{arguments[1].at(_ATOM)}", _POWER)
        if name == "sq" and len(arguments) == 1:
            return _Node(f"{arguments[0].at(_ATOM)}**2", _POWER)
        if name not in _FUNCTIONS or len(arguments) != _FUNCTIONS[name][1]:
            self._fail(f"{name} with {len(arguments)} argument{'s' * (len(arguments) > 1)} is not a function here", at)
        return _Node(f"{_FUNCTIONS[name][0]}({', '.join(node.text for node in arguments)})", _ATOM)


def _bracketed(terms: list[str]) -> str:
    """Terms of a sum in brackets, each with its sign."""
    return f"({' '.join(terms).removeprefix('+ ')})"


def _excerpt(text: str) -> str:
    return " ".join(text.split())[:40]
