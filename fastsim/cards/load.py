"""Loading a card: defaults < its parents < the card < ``--set``, each value with the place that it came from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fastsim import resources, toml
from fastsim.cards.schema import Card
from fastsim.detector import Detector, load_detector
from fastsim.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Where things lie and how they are packed: two runs that differ in these give equal columns.
NOT_PHYSICS: Any = {
    "extends": True,
    "detector": True,
    "tracking": {"luts"},
    "output": {"compression_level"},
    "pile_up": {"file"},
}
_NOT_PHYSICS_OF_DETECTOR: Any = {"tables": {"__all__": {"file"}}}


@dataclass(frozen=True)
class LoadedCard:
    """A card, its detector, and the resolved text of both with origins."""

    card: Card
    detector: Detector
    document: toml.Document
    path: Path

    def with_seed(self, seed: int) -> LoadedCard:
        """The same card with another seed; raises CardError if it is none."""
        document = toml.merge(self.document, toml.Document({"seed": seed}, {("seed",): "seed"}))
        return replace(self, card=toml.validate(Card, document), document=document)

    def canonical(self) -> str:
        """What can change a column, of the resolved card and detector, as canonical JSON: provenance hashes it."""
        return json.dumps(
            {
                "card": self.card.model_dump(mode="json", exclude=NOT_PHYSICS),
                "detector": self.detector.model_dump(mode="json", exclude=_NOT_PHYSICS_OF_DETECTOR),
            },
            sort_keys=True,
        )

    def as_record(self) -> dict[str, Any]:
        """All of it as plain data, for `from_record`."""
        return {
            "path": str(self.path),
            "card": self.card.model_dump(mode="json", exclude_unset=True),
            "detector": self.detector.model_dump(mode="json", exclude_unset=True),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any], where: str) -> LoadedCard:
        """The card of a record that `as_record` made; raises CardError if it is none of this version."""
        try:
            card = Card.model_validate_json(json.dumps(record["card"]))
            detector = Detector.model_validate_json(json.dumps(record["detector"]))
        except (KeyError, ValidationError) as error:
            raise CardError([f"{where}: its card is not one of this version of fastsim ({error})"]) from None
        return cls(card, detector, toml.Document(record["card"], {}, where), Path(record["path"]))


def load_card(name: str | Path, *, sets: Sequence[str] = (), seed: int | None = None) -> LoadedCard:
    """Load a card file, or a shipped one by its bare name; raises CardError with every fault and its place.

    `sets` are ``key=value`` texts, values as in TOML; `seed` overrides the card's.
    """
    path = resources.find("cards", str(name))
    document = _with_parents(path, [])
    for text in sets:
        document = toml.merge(document, toml.assignment(text, document))
    if seed is not None:
        document = toml.merge(document, toml.Document({"seed": seed}, {("seed",): "--seed"}, document.name))
    problems = []
    card = None
    try:
        card = toml.validate(Card, document)
    except CardError as error:
        problems += error.problems
    detector = None
    named = document.data.get("detector")
    if isinstance(named, str):
        try:
            detector = load_detector(named, where=document.where(("detector",)))
        except CardError as error:
            problems += error.problems
    if problems or card is None or detector is None:
        raise CardError(problems)
    return LoadedCard(card, _without_drawn_radiation(detector, card), document, path)


def _without_drawn_radiation(detector: Detector, card: Card) -> Detector:
    """The detector; where the card draws bremsstrahlung, its tables hold none, or it would count twice."""
    is_drawn = any(table["kind"] == "material" and table.get("bremsstrahlung", True) for table in card.modules)
    return without_radiation(detector) if is_drawn else detector


def without_radiation(detector: Detector) -> Detector:
    """The detector with tables of electrons that do not radiate."""
    if detector.tracking is None:
        return detector
    rules = detector.tracking.model_copy(update={"electrons": "none", "electron_scale": 1.0})
    return detector.model_copy(update={"tracking": rules})


def _with_parents(path: Path, children: list[Path]) -> toml.Document:
    """The card at `path` laid over its parents."""
    if path.resolve() in [child.resolve() for child in children]:
        chain = " -> ".join(str(p) for p in [*children, path])
        raise CardError([f"{path}: extends itself ({chain})"])
    document = toml.read(path)
    document = _absolute(document, path.parent)
    parent = document.data.get("extends")
    if parent is None:
        return document
    if not isinstance(parent, str):
        raise CardError([f"{document.where(('extends',))}: extends: must be a string (got {parent!r})"])
    base = resources.find("cards", parent, beside=path.parent, where=document.where(("extends",)))
    return toml.merge(_with_parents(base, [*children, path]), document)


def _absolute(document: toml.Document, folder: Path) -> toml.Document:
    """The card with paths that are relative to its own folder made absolute; bare names of shipped detectors stay."""
    data = dict(document.data)
    tracking = data.get("tracking")
    detector = data.get("detector")
    if isinstance(detector, str) and detector not in resources.shipped("detectors"):
        data["detector"] = os.path.normpath(folder.absolute() / detector)
    if isinstance(tracking, dict) and isinstance(tracking.get("luts"), str) and tracking["luts"] != "auto":
        data["tracking"] = {**tracking, "luts": os.path.normpath(folder.absolute() / tracking["luts"])}
    pile_up = data.get("pile_up")
    if isinstance(pile_up, dict) and "file" in pile_up:
        files = pile_up["file"] if isinstance(pile_up["file"], list) else [pile_up["file"]]
        if all(isinstance(file, str) for file in files):
            files = [file if "://" in file else os.path.normpath(folder.absolute() / file) for file in files]
            data["pile_up"] = {**pile_up, "file": files}
    return toml.Document(data, document.origins, document.name)
