"""Module kinds: built-in and installed ones come through the same door, the entry point group `fastsim.modules`."""

from __future__ import annotations

import difflib
import os
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, cast

from fastsim import toml
from fastsim.errors import CardError, PluginError

if TYPE_CHECKING:
    from fastsim.cards import LoadedCard
    from fastsim.module import Module, ModuleKind

GROUP = "fastsim.modules"


def installed() -> dict[str, EntryPoint]:
    """Kinds by name. With FASTSIM_DISABLE_PLUGINS=1 only our own. Raises PluginError if two packages provide one kind."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if os.environ.get("FASTSIM_DISABLE_PLUGINS") == "1" and distribution(point) != "fastsim":
            continue
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise PluginError(
                f"two packages provide the module kind {point.name!r}: {distribution(other)} ({other.value}) "
                f"and {distribution(point)} ({point.value})",
                hint="uninstall one of them",
            )
    return dict(sorted(found.items()))


def distribution(point: EntryPoint) -> str:
    """Name of the package that an entry point belongs to."""
    return point.dist.name if point.dist else "unknown"


def load_kind(kind: str, *, where: str = "") -> ModuleKind:
    """The class behind a kind; CardError if there is none of that name, PluginError if it cannot be imported."""
    kinds = installed()
    if kind not in kinds:
        close = difflib.get_close_matches(kind, kinds, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"installed: {', '.join(kinds)}"
        raise CardError(
            [
                f"{where}: {kind!r} is not an installed module kind ({remedy})"
                if where
                else f"no module kind {kind!r} ({remedy})"
            ]
        )
    point = kinds[kind]
    try:
        return cast("ModuleKind", point.load())
    except Exception as error:  # whatever a foreign package raises on import
        raise PluginError(f"the module kind {kind!r} cannot be loaded: {error!r}", where=distribution(point)) from error


def make_modules(loaded: LoadedCard) -> list[Module]:
    """Modules of a card's [[modules]] tables; raises CardError with the faults of all of them."""
    problems: list[str] = []
    modules = []
    for i, table in enumerate(loaded.card.modules):
        path = ("modules", i)
        try:
            kind = load_kind(table["kind"], where=f"{loaded.document.where((*path, 'kind'))}: modules[{i}].kind")
            origins = {p[2:]: o for p, o in loaded.document.origins.items() if p[:2] == path}
            document = toml.Document(table, origins, loaded.document.where(path))
            options = toml.validate(kind.Options, document, inside=path)
            modules.append(kind.from_options(options, loaded.detector))
        except CardError as error:
            problems += error.problems
    if problems:
        raise CardError(problems)
    return modules
