"""A detector on its way from another format: its tables, where each came from, and what was wrong or taken otherwise."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastsim import toml
from fastsim.detector.schema import Detector
from fastsim.errors import CardError

if TYPE_CHECKING:
    from pathlib import Path

HINT_LENIENT = "--lenient corrects what can be corrected, and lists it"
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


@dataclass
class Draft:
    """What a reader has found. Rows are (line, table as in a detector file), lengths in cm, `b_z` in T.

    `places` are the lines of values that stand in no row.
    """

    path: Path
    lenient: bool
    b_z: float | None = None
    tracking: dict[str, Any] = field(default_factory=dict)
    layers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    disks: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    drift_volumes: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    places: dict[toml.Path, int] = field(default_factory=dict)
    _notes: list[tuple[int, str]] = field(default_factory=list)
    _faults: list[tuple[int, str]] = field(default_factory=list)
    _is_correctable: bool = False

    def fault(self, line: int, what: str) -> None:
        """Something that cannot be imported; line 0 is the file as a whole."""
        self._faults.append((line, what))

    def note(self, line: int, what: str) -> None:
        """Something that the user should know."""
        self._notes.append((line, what))

    @property
    def notes(self) -> list[str]:
        """What the user should know, in the order of the lines."""
        return [
            f"{self.path.name}:{n}: {what}" if n else f"{self.path.name}: {what}" for n, what in sorted(self._notes)
        ]

    def correct(self, line: int, what: str, taken: str) -> None:
        """Something wrong whose meaning is clear: a fault, or with `lenient` a note of what it was taken as."""
        if self.lenient:
            self.note(line, f"{what}; taken as {taken}")
        else:
            self._is_correctable = True
            self.fault(line, what)

    @property
    def is_faulty(self) -> bool:
        """Whether anything cannot be imported."""
        return bool(self._faults)

    def stop_if_faulty(self, hint: str = "") -> None:
        """Raise CardError with every fault, in the order of the lines."""
        if self._faults:
            problems = [f"{self.path}:{n}: {what}" if n else f"{self.path}: {what}" for n, what in sorted(self._faults)]
            raise CardError(problems, hint=hint or (HINT_LENIENT if self._is_correctable else ""))

    def checked_data(self, name: str, source: str) -> dict[str, Any]:
        """The whole detector as plain data that the schema accepts; raises CardError with the lines of the source."""
        tables = {
            "layers": sorted(self.layers, key=lambda row: row[1]["r"]),
            "disks": sorted(self.disks, key=lambda row: (row[1]["z"] < 0, abs(row[1]["z"]), row[1]["r_min"])),
            "drift_volumes": sorted(self.drift_volumes, key=lambda row: row[1]["r_first"]),
        }
        data = {"schema_version": 1, "name": name, "source": source, "b_z": self.b_z}
        data |= {kind: [table for _, table in rows] for kind, rows in tables.items() if rows}
        data |= {"tracking": self.tracking}
        origins: dict[toml.Path, str] = {
            (kind, i): f"{self.path}:{line}" for kind, rows in tables.items() for i, (line, _) in enumerate(rows)
        }
        origins |= {path: f"{self.path}:{line}" for path, line in self.places.items()}
        toml.validate(Detector, toml.Document(data, origins, str(self.path)))
        return data


def number_of(text: str) -> float | None:
    """The number that the whole text is, or None: no suffix, no expression, no nan, no inf."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def leading_number_of(text: str) -> str:
    """The number that the text begins with, as C's strtod reads it; "" if there is none."""
    match = _NUMBER.match(text)
    return match[0] if match else ""


def tidy(value: float) -> float:
    """The number without the dust of a unit conversion: twelve significant digits."""
    return float(f"{value:.12g}")
