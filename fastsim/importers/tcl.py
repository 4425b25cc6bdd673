"""The part of Tcl that Delphes' cards are written in: `module`, `set`, `add`, `source`, `$NAME`, `[expr ...]`, counting loops.

No Tcl interpreter: nothing is executed, and what is not understood is kept with its place, to be listed. Rules of words,
braces, comments and continued lines: Tcl's manual page Tcl(n), rules 1 to 10.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastsim.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Value = str | tuple[Any, ...]  # of one word: its text, or the list that a `$NAME` stands for

_MOST_BYTES = 10_000_000  # far above any card
_MOST_COMMANDS = 100_000  # towers are counted in loops: the finest cards have some 10^4
_DEEPEST = 20  # files that source each other, loops in loops
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_OPERATORS: Final[dict[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.USub: operator.neg, ast.UAdd: operator.pos,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "acos": math.acos, "atan": math.atan, "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "int": int, "double": float,
    "abs": abs, "tan": math.tan, "round": round,
}  # fmt: skip


class Place(NamedTuple):
    """A line of a file."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Unknown(NamedTuple):
    """A command that is not understood, and why; `module` is the one that it stands in, "" outside."""

    place: Place
    what: str
    module: str = ""


class Word(NamedTuple):
    """One word of a command, as written; a braced one is taken as it is."""

    text: str
    line: int
    is_braced: bool


@dataclass
class Setting:
    """What was set, or added up, under one key."""

    place: Place
    values: list[Value]
    is_used: bool = False

    @property
    def text(self) -> str:
        """The text of a single value."""
        return " ".join(v if isinstance(v, str) else " ".join(map(str, v)) for v in self.values)


@dataclass
class Module:
    """One module of the card."""

    kind: str
    name: str
    place: Place
    settings: dict[str, Setting] = field(default_factory=dict)

    def get(self, key: str) -> Setting | None:
        """What is set under a key, which then counts as read."""
        found = self.settings.get(key)
        if found:
            found.is_used = True
        return found

    def text(self, key: str, default: str = "") -> str:
        """A text."""
        found = self.get(key)
        return found.text.strip() if found else default

    def number(self, key: str, default: float) -> float:
        """A number; raises CardError if it is none."""
        found = self.get(key)
        if found is None:
            return default
        try:
            value = float(found.text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise CardError([f"{found.place}: {self.name}: {key} must be a number (got {found.text.strip()!r})"])
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """Yes or no, as Tcl writes them."""
        return self.text(key, str(default)).lower() in {"1", "true", "yes", "on"}

    def entries(self, key: str, n: int) -> list[tuple[Value, ...]]:
        """What was added under a key, in groups of n."""
        found = self.get(key)
        values = found.values if found else []
        return [tuple(values[i : i + n]) for i in range(0, len(values) - n + 1, n)]


@dataclass
class TclCard:
    """A card as written: modules by name, what is set outside of them, and what was not understood."""

    path: Path
    modules: dict[str, Module] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    unknown: list[Unknown] = field(default_factory=list)


class _NotUnderstoodError(Exception):
    """Why a command is left out."""


def read_tcl(path: Path) -> TclCard:
    """Read a card and what it sources; raises CardError for files that are none, and for braces that are not closed."""
    card = TclCard(path)
    reader = _Reader(card)
    reader.source(path, card.settings, "", 0)
    return card


class _Reader:
    """Goes through the commands of a card."""

    def __init__(self, card: TclCard) -> None:
        self._card = card
        self._n = 0

    def source(self, path: Path, scope: dict[str, Setting], module: str, depth: int) -> None:
        self._run(_text_of(path), path, 1, scope, module, depth)

    def _run(self, text: str, path: Path, line: int, scope: dict[str, Setting], module: str, depth: int) -> None:
        if depth > _DEEPEST:
            raise CardError([f"{path}:{line}: files or loops more than {_DEEPEST} deep"])
        for command in commands(text, path, line):
            self._n += 1
            if self._n > _MOST_COMMANDS:
                raise CardError([f"{path}:{command[0].line}: more than {_MOST_COMMANDS} commands, loops included"])
            place = Place(path, command[0].line)
            try:
                self._command(command, place, scope, module, depth)
            except _NotUnderstoodError as error:
                self._card.unknown.append(Unknown(place, str(error), module))

    def _command(self, words: list[Word], place: Place, scope: dict[str, Setting], module: str, depth: int) -> None:
        name, n = words[0].text, len(words)
        if name == "module" and n == 4 and not module:
            found = Module(words[1].text, words[2].text, place)
            self._card.modules[found.name] = found
            self._run(words[3].text, place.path, words[3].line, found.settings, found.name, depth + 1)
        elif name == "set" and n == 3:
            value = self._value(words[2], scope)
            is_empty = words[2].is_braced and not words[2].text.strip()
            scope[words[1].text] = Setting(place, [] if is_empty else [value])
        elif name == "add" and n > 2:
            values = [self._value(word, scope) for word in words[2:]]
            scope.setdefault(words[1].text, Setting(place, [])).values += values
        elif name == "source" and n == 2:
            self.source(self._card.path.parent / str(self._value(words[1], scope)), scope, module, depth + 1)
        elif name == "incr" and n in {2, 3}:
            step = self._number(str(self._value(words[2], scope)) if n == 3 else "1", scope)
            scope[words[1].text] = Setting(place, [str(self._number(f"${words[1].text}", scope) + step)], is_used=True)
        elif name == "foreach" and n == 4:
            for item in str(self._value(words[2], scope)).split():
                scope[words[1].text] = Setting(place, [item], is_used=True)
                self._run(words[3].text, place.path, words[3].line, scope, module, depth + 1)
        elif name == "for" and n == 5:
            self._run(words[1].text, place.path, words[1].line, scope, module, depth + 1)
            while self._number(words[2].text, scope):
                self._run(words[4].text, place.path, words[4].line, scope, module, depth + 1)
                self._run(words[3].text, place.path, words[3].line, scope, module, depth + 1)
        else:
            text = " ".join(word.text for word in words)
            raise _NotUnderstoodError(f"{' '.join(text.split())[:60]!r} is not understood")

    def _value(self, word: Word, scope: dict[str, Setting]) -> Value:
        """A word with its variables and expressions put in."""
        if word.is_braced:
            return word.text
        if whole := _VARIABLE.fullmatch(word.text):
            values = self._variable(whole[1] or whole[2], scope)
            return values[0] if len(values) == 1 else tuple(values)
        if match := re.fullmatch(r"\[\s*expr\s+(.*)\]", word.text, re.DOTALL):
            return repr(self._number(match[1].strip().removeprefix("{").removesuffix("}"), scope))
        if "[" in word.text:
            raise _NotUnderstoodError(f"{word.text[:60]!r} is not understood (of commands in brackets only expr is)")
        return _VARIABLE.sub(lambda match: " ".join(map(str, self._variable(match[1] or match[2], scope))), word.text)

    def _variable(self, name: str, scope: dict[str, Setting]) -> list[Value]:
        found = scope.get(name) or self._card.settings.get(name)
        if found is None:
            raise _NotUnderstoodError(f"${name} is set nowhere")
        found.is_used = True
        return found.values

    def _number(self, text: str, scope: dict[str, Setting]) -> Any:
        """The value of an expression of numbers; whole ones stay whole, as in Tcl."""
        inside = _VARIABLE.sub(lambda m: f"({' '.join(map(str, self._variable(m[1] or m[2], scope)))})", text)
        try:
            return _evaluate(ast.parse(" ".join(inside.split()), mode="eval").body)
        except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError, TypeError) as error:
            raise _NotUnderstoodError(f"the expression {' '.join(text.split())[:60]!r} is not understood") from error


def _evaluate(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_evaluate(node.operand))
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left), _evaluate(node.right)
        if isinstance(node.op, ast.Div):
            return left // right if isinstance(left, int) and isinstance(right, int) else left / right
        if type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATORS:
        return _OPERATORS[type(node.ops[0])](_evaluate(node.left), _evaluate(node.comparators[0]))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        return _FUNCTIONS[node.func.id](*(_evaluate(argument) for argument in node.args))
    raise ValueError(ast.dump(node))


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise CardError([f"{path}: cannot be read ({error.strerror})"]) from None
    if len(raw) > _MOST_BYTES:
        raise CardError([f"{path}: larger than {_MOST_BYTES // 1_000_000} MB: not a card"])
    try:
        return raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise CardError([f"{path}: not text (byte {error.start} is no UTF-8)"]) from None


def commands(text: str, path: Path, line: int = 1) -> Iterator[list[Word]]:
    """The commands of a script, word by word; raises CardError where a brace or a quote is not closed."""
    at, words = 0, list[Word]()
    while at < len(text):
        character = text[at]
        if character == "\\" and text[at + 1 : at + 2] == "\n":  # the line goes on
            at += 2
            line += 1
        elif character in "\n;":
            if words:
                yield words
            words = []
            line += character == "\n"
            at += 1
        elif character.isspace():
            at += 1
        elif character == "#" and not words:
            while at < len(text) and text[at] != "\n":
                skips = 2 if text[at] == "\\" else 1
                line += text[at : at + skips].count("\n")
                at += skips
        else:
            word, at = _word(text, at, path, line)
            words.append(word)
            line += word.text.count("\n")
    if words:
        yield words


def _word(text: str, at: int, path: Path, line: int) -> tuple[Word, int]:
    """The word that begins at a place, and where it ends."""
    opening = text[at]
    if opening not in '{"':
        depth, end = 0, at
        while end < len(text) and (depth > 0 or not (text[end].isspace() or text[end] == ";")):
            if text.startswith("\\\n", end):
                break
            depth += {"[": 1, "]": -1}.get(text[end], 0)
            end += 1
        if depth > 0:
            raise CardError([f"{path}:{line}: a bracket that is opened here is not closed"])
        return Word(text[at:end], line, is_braced=False), end
    depth, end = 1, at + 1
    while end < len(text):
        if text[end] == "\\":
            end += 1
        elif opening == '"':
            depth -= text[end] == '"'
        else:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
        if depth == 0:
            return Word(text[at + 1 : end - 1], line, is_braced=opening == "{"), end
    kind = "brace" if opening == "{" else "quote"
    raise CardError([f"{path}:{line}: a {kind} that is opened here is not closed: the card is cut short"])
