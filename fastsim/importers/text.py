"""Cards and detectors as TOML text that people can read: a head of comments, formulas over several lines."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WIDTH = 110  # longer formulas are broken at their sums


def toml_text(data: Mapping[str, Any], head: Iterable[str] = ()) -> str:
    """The text of a document whose tables come after its plain values; `tomllib` reads `data` back."""
    lines = [f"# {_printable(line)}".rstrip() for line in head]
    lines += _body(data, "")
    text = "\n".join(lines) + "\n"
    assert _alike(tomllib.loads(text), data)  # noqa: S101  (our own writer)
    return text


def _body(table: Mapping[str, Any], path: str) -> list[str]:
    tables = {key: value for key, value in table.items() if _is_tables(value) or isinstance(value, dict)}
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if key not in tables]
    for key, value in tables.items():
        name = f"{path}{key}"
        if isinstance(value, dict):
            lines += ["", f"[{name}]", *_body(value, f"{name}.")]
        else:
            for one in value:
                inside = [f"{inner} = {_value(content)}" for inner, content in one.items()]
                lines += ["", f"[[{name}]]", *inside]
    return lines


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_inline(inner)}' for key, inner in value.items())} }}"
    if _is_tables(value):
        return "\n".join(["[", *(f"  {_value(one)}," for one in value), "]"])
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _inline(value: Any) -> str:
    """What stands in a line: inline tables may not be broken."""
    return json.dumps(_printable(value), ensure_ascii=False) if isinstance(value, str) else _value(value)


def _string(text: str) -> str:
    if "\n" in text and "\\" not in text and '"' not in text:  # a formula that is broken already
        return f'"""{text}"""'
    one_line = _inline(text)
    if len(one_line) <= _WIDTH or "\\" in one_line:
        return one_line
    return '"""(\n  ' + "\n  ".join(_broken(text)) + '\n)"""'


def _broken(formula: str) -> list[str]:
    """A formula cut at the sums outside of all brackets."""
    pieces, depth, begin = [], 0, 0
    for i, character in enumerate(formula):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and formula.startswith(" + ", i):
            pieces.append(formula[begin : i + 2])
            begin = i + 3
    return [*pieces, formula[begin:]]


def _alike(read: Any, data: Any) -> bool:
    """Whether the text says the same: of formulas, but for line ends and the brackets around them."""
    if isinstance(data, str):
        wanted = "".join(_printable("".join(data.split())))
        return isinstance(read, str) and "".join(read.split()) in {wanted, f"({wanted})"}
    if isinstance(data, dict):
        return set(read) == set(data) and all(_alike(read[key], data[key]) for key in data)
    if isinstance(data, list):
        return len(read) == len(data) and all(map(_alike, read, data))
    return bool(read == data)


def _printable(text: str) -> str:
    """File names may hold anything, TOML may not."""
    return "".join(character if character.isprintable() else "?" for character in text)
