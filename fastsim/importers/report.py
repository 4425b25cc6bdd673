"""What became of each module of a card: translated, only routing, of generated particles, not run, or without counterpart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from fastsim.importers.tcl import Module

Status = Literal["translated", "partly", "routing", "generator", "not run", "no counterpart", "assumed"]


class Row(NamedTuple):
    """One line of the list: where it stands (`file:line`, or ""), what kind of module, its name, what became of it, and how."""

    place: str
    kind: str
    name: str
    status: Status
    text: str


@dataclass
class Report:
    """Collects the list. Of a module several things may be said; if not all of them are good news it is translated partly."""

    _rows: dict[str, Row] = field(default_factory=dict)
    _others: list[Row] = field(default_factory=list)

    def say(self, module: Module, status: Status, text: str) -> None:
        """Tell what became of a module, or of a part of it."""
        known = self._rows.get(module.name)
        place = f"{module.place.path.name}:{module.place.line}"
        if known is None:
            self._rows[module.name] = Row(place, module.kind, module.name, status, text)
        elif text not in known.text.split("; "):
            pair = {known.status, status}
            both: Status = (
                known.status if len(pair) == 1 else "partly" if pair & {"translated", "partly"} else known.status
            )
            self._rows[module.name] = known._replace(status=both, text=f"{known.text}; {text}")

    def status(self, module: Module) -> Status | None:
        """What became of a module, None if nothing has been said of it."""
        row = self._rows.get(module.name)
        return row.status if row else None

    def assume(self, text: str) -> None:
        """Tell what the card does not say and what was taken."""
        self._others.append(Row("", "", "", "assumed", text))

    def leave(self, place: str, text: str) -> None:
        """Tell of something outside of modules that was left out."""
        self._others.append(Row(place, "", "", "no counterpart", text))

    def rows(self) -> list[Row]:
        """The modules in the order in which they were told of, then the rest."""
        return [*self._rows.values(), *self._others]
