"""TOML with locations: every key knows its file and line, so that every fault can name them.

`tomllib` reads the values; a small scanner walks the same (by then well-formed) text for the lines. Cards, detectors
and whatever else users write go through `validate`, which reports all faults at once.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import typing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fastsim.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path as FilePath

Path = tuple[str | int, ...]
M = TypeVar("M", bound="Strict")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)


class Strict(BaseModel):
    """Base of all schemas: unknown keys, nan and inf are errors, nothing is converted (a quoted number is none), frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def faults(cls, data: dict[str, Any]) -> Iterator[tuple[Path, str]]:
        """Faults that concern several fields: (path, message). `data` may itself be faulty, so nothing is taken for granted."""
        del data
        yield from ()


@dataclass(frozen=True)
class Document:
    """Plain data and, for each path in it, where it was written ("file:line")."""

    data: dict[str, Any]
    origins: dict[Path, str] = field(default_factory=dict)
    name: str = ""

    def where(self, path: Path) -> str:
        """Place of the path, or of the nearest enclosing table that has one."""
        while path:
            if path in self.origins:
                return self.origins[path]
            path = path[:-1]
        return self.name


def read(path: FilePath) -> Document:
    """Read a TOML file with locations; raises CardError with file and line if it is missing or not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except FileNotFoundError:
        raise CardError([f"{path}: no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CardError([f"{path}: cannot be read ({error})"]) from None
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", str(error))
        place = f"{path}:{match[2]}" if match else str(path)
        raise CardError([f"{place}: not TOML: {match[1] if match else error}"]) from None
    lines = {p: f"{path}:{line}" for p, line in _Scanner(text).lines.items()}
    return Document(data, lines, str(path))


class _Scanner:
    """Line numbers of all keys and array elements of well-formed TOML."""

    _key = re.compile(r'[ \t]*("(?:[^"\\]|\\.)*"|\'[^\']*\'|[A-Za-z0-9_-]+)[ \t]*(\.?)')
    _skip = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
    _scalar = re.compile(
        r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\]|\\.)*"|\'[^\']*\'|[^,\]}\n#]+', re.DOTALL
    )

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self._n_tables: dict[Path, int] = {}
        self._document()

    def _mark(self, path: Path) -> None:
        self.lines.setdefault(path, self.text.count("\n", 0, self.at) + 1)

    def _next(self) -> str:
        """Skip white space and comments; the character that follows, "" at the end."""
        match = self._skip.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def _name(self) -> list[str]:
        names = []
        while match := self._key.match(self.text, self.at):
            self.at = match.end()
            names.append(next(iter(tomllib.loads(f"{match[1]} = 0"))))
            if not match[2]:
                break
        return names

    def _document(self) -> None:
        base: Path = ()
        while character := self._next():
            if character == "[":
                base = self._header()
            else:
                self._pair(base)

    def _header(self) -> Path:
        start = self.at
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        path: Path = ()
        names = self._name()
        end = self.at
        for i, name in enumerate(names):
            path = (*path, name)
            if is_array and i == len(names) - 1:
                self._n_tables[path] = self._n_tables.get(path, 0) + 1
            if path in self._n_tables:
                path = (*path, self._n_tables[path] - 1)
        self.at = start
        self._mark(path)
        self._mark(path[:-1] if is_array else path)
        self.at = self.text.index("]", end) + (2 if is_array else 1)
        return path

    def _pair(self, base: Path) -> None:
        start = self.at
        path = base
        for name in self._name():
            path = (*path, name)
            end, self.at = self.at, start
            self._mark(path)
            self.at = end
        self.at = self.text.index("=", self.at) + 1
        self._value(path)

    def _value(self, path: Path) -> None:
        opening = self._next()
        self._mark(path)
        if opening not in "[{":
            match = self._scalar.match(self.text, self.at)
            self.at = match.end() if match else self.at + 1
            return
        self.at += 1
        index = 0
        while (character := self._next()) not in "]}":
            if character == ",":
                self.at += 1
            elif opening == "[":
                self._value((*path, index))
                index += 1
            else:
                self._pair(path)
        self.at += 1


def validate(model: type[M], document: Document, *, inside: Path = ()) -> M:
    """The document as a `model`; raises CardError with place, value and rule of every fault.

    `inside` is the path of the document within a larger one, for the messages.
    """
    problems: list[tuple[str, str]] = []
    result = None
    try:
        result = model.model_validate(document.data)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            path: Path = fault["loc"]
            message = _message(model, path, fault["type"], fault["msg"], fault["input"])
            problems.append((document.where(path), f"{dotted((*inside, *path))}: {message}"))
    for path, message in model.faults(document.data):
        problems.append((document.where(path), f"{dotted((*inside, *path))}: {message}" if path else message))
    if problems or result is None:
        raise CardError([f"{place}: {text}" if place else text for place, text in problems])
    return result


def dotted(path: Path) -> str:
    """A path as people write it: ``layers[3].r``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _message(model: type[BaseModel], path: Path, kind: str, message: str, value: object) -> str:
    if kind == "extra_forbidden":
        allowed = sorted(_fields_at(model, path[:-1]))
        close = difflib.get_close_matches(str(path[-1]), allowed, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(allowed)}"
        return f"not a known key ({remedy})"
    if kind == "missing":
        return "missing"
    kind_of = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        list: "an array",
        dict: "a table",
    }
    text = message[0].lower() + message[1:]
    text = text.replace("input should be", "must be").replace("value error, ", "")
    text = re.sub(r"a valid dictionary or instance of \w+", "a table", text).replace("a valid list", "an array")
    kind_of_value = kind_of.get(type(value), type(value).__name__)
    shown = kind_of_value if isinstance(value, (dict, list)) else f"{value!r}, {kind_of_value}"
    return f"{text} (got {shown})"


def _fields_at(model: type[BaseModel], path: Path) -> set[str]:
    """Names of the fields that are allowed at a path of nested models."""
    for part in path:
        if isinstance(part, int):
            continue
        found = model.model_fields.get(part)
        inner = _model_in(found.annotation) if found else None
        if inner is None:
            return set()
        model = inner
    return set(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    arguments = typing.get_args(annotation)
    if not arguments and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in arguments:
        if found := _model_in(argument):
            return found
    return None


def merge(base: Document, above: Document) -> Document:
    """`above` laid over `base`: tables merge, everything else (arrays too) replaces."""
    data = dict(base.data)
    origins = dict(base.origins)
    for key, value in above.data.items():
        inner = {p[1:]: o for p, o in above.origins.items() if p[:1] == (key,)}
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            below = Document(data[key], {p[1:]: o for p, o in origins.items() if p[:1] == (key,)}, base.name)
            merged = merge(below, Document(value, inner, above.name))
            data[key] = merged.data
            inner = merged.origins
        else:
            data[key] = value
        origins = {p: o for p, o in origins.items() if p[:1] != (key,)} | {(key, *p): o for p, o in inner.items()}
    return Document(data, origins, above.name or base.name)


def assignment(text: str, base: Document) -> Document:
    """``tracking.b_z=1.0`` as a document laid over `base`; an array of named tables may be addressed by name.

    A bare word is a string, so that nobody has to quote quotes for a shell: ``output.truth=none``.
    """
    source = f"--set {text}"
    name, equals, value = text.partition("=")
    keys = [k.strip() for k in name.split(".")]
    if not equals or not all(keys):
        raise CardError([f"{source}: must read key=value"], hint="for example --set tracking.luts=/path/to/luts")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        parsed = {"value": value.strip()} if _WORD.fullmatch(value.strip()) else {}
    if list(parsed) != ["value"]:
        raise CardError([f"{source}: {value!r} is not a TOML value"], hint="strings need quotes: --set 'key=\"text\"'")
    changed = _assign(base, keys, parsed["value"], source)
    return Document(changed.data, changed.origins, base.name)


def _assign(base: Document, keys: list[str], value: Any, source: str) -> Document:
    key, *rest = keys
    if not rest:
        return Document({key: value}, {(key,): source}, source)
    below = base.data.get(key)
    origins = {p[1:]: o for p, o in base.origins.items() if p[:1] == (key,)}
    if not isinstance(below, list):
        inner = _assign(Document(below if isinstance(below, dict) else {}, origins, base.name), rest, value, source)
        table = {} if isinstance(below, dict) else {(key,): source}
        return Document({key: inner.data}, table | {(key, *p): o for p, o in inner.origins.items()}, source)
    index = next((i for i, e in enumerate(below) if isinstance(e, dict) and e.get("name") == rest[0]), None)
    if index is None or len(rest) == 1:
        names = ", ".join(str(e.get("name")) for e in below if isinstance(e, dict))
        raise CardError([f"{source}: no {key} entry called {rest[0]!r} (there are: {names})"])
    element = Document(below[index], {p[1:]: o for p, o in origins.items() if p[:1] == (index,)}, base.name)
    changed = merge(element, _assign(element, rest[1:], value, source))
    array = [*below[:index], changed.data, *below[index + 1 :]]
    origins = {p: o for p, o in origins.items() if p[:1] != (index,)} | {
        (index, *p): o for p, o in changed.origins.items()
    }
    return Document({key: array}, {(key, *p): o for p, o in origins.items()}, source)
