"""A detector as the text of a detector file: one inline table a line, columns aligned, as people write them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FIRST = ("schema_version", "name", "source", "b_z")
_UNITS = {
    "layers": "cylinders; r and half_length in cm",
    "disks": "disks; z, r_min and r_max in cm; both_sides: there is another one at -z",
    "drift_volumes": "many equal measuring layers, one every `pitch` [cm]; the numbers are those of one layer",
}


def detector_text(data: Mapping[str, Any], comments: Sequence[str] = ()) -> str:
    """The detector file. `comments` become its head; `data` is what `tomllib` reads back."""
    lines = [f"# {_printable(comment)}".rstrip() for comment in comments]
    lines += [f"{key} = {_value(data[key])}{'  # T' if key == 'b_z' else ''}" for key in _FIRST]
    for key, text in _UNITS.items():
        if data.get(key):
            lines += ["", f"# {text}", f"{key} = [", *_rows(data[key]), "]"]
    if data.get("tracking"):
        lines += ["", "[tracking]", *(f"{key} = {_value(value)}" for key, value in data["tracking"].items())]
    return "\n".join(lines) + "\n"


def _rows(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Inline tables with the same keys below each other."""
    keys = list(dict.fromkeys(key for table in sorted(tables, key=len, reverse=True) for key in table))
    cells = [{key: f"{key} = {_value(value)}, " for key, value in table.items()} for table in tables]
    widths = {key: max(len(row.get(key, "")) for row in cells) for key in keys}
    lines = ["".join(row.get(key, "").ljust(widths[key]) for key in keys).rstrip().rstrip(",") for row in cells]
    return [f"  {{ {line} }}," for line in lines]


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(_printable(value), ensure_ascii=False)
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_value(inner)}' for key, inner in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _printable(text: str) -> str:
    """File names may hold anything, TOML may not."""
    return "".join(character if character.isprintable() else "?" for character in text)
