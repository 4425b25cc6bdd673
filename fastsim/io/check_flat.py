"""Checks of trees with a row an event and lists in it: like NanoAOD's `Events` and Delphes' `Delphes`, ours and others.

Conventions: CMS NanoAOD (counters nX, branches X_y, indices X_yIdx; https://cms-nanoaod-integration.web.cern.ch), Delphes 3.5
classes/DelphesClasses.h (X_size, X.Y; M1, M2, D1, D2 are positions in Particle). Indices are positions within the event.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim.io import check_tools as tools

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_NANO_INDEX = re.compile(r"(?P<target>\w+?)Idx(?P<suffix>Mother|\d*)")
NANO_RULES: dict[str, tools.Rule] = {
    "pdgId": tools.NOT_ZERO,
    "phi": tools.ANGLE,
    **dict.fromkeys(("pt", "ptErr", "dxyErr", "dzErr"), tools.NOT_NEGATIVE),
}
DELPHES_RULES: dict[str, tools.Rule] = {
    "Phi": tools.ANGLE,
    **dict.fromkeys(("PT", "P", "ErrorPT", "ErrorD0", "ErrorDZ", "ErrorPhi", "MET", "HT"), tools.NOT_NEGATIVE),
}
FAMILY = ("M1", "M2", "D1", "D2")


class Field(NamedTuple):
    """A branch: its collection ("" for numbers of the event), its name in it, and the branch."""

    collection: str
    name: str
    branch: Any


class Events:
    """Some events of a tree: lists as counts and content, read once."""

    def __init__(self, path: Path, tree: Any, first: int, end: int) -> None:
        self.path, self.tree, self.first, self.end = path, tree, first, end
        self._read: dict[str, tuple[Any, Any]] = {}

    def read(self, field: Field) -> tuple[Any, Any]:
        """Counts (None for numbers of events) and content."""
        name = field.branch.name
        if name not in self._read:
            where = f"{self.tree.name}.{name}"
            self._read[name] = tools.read(field.branch, where, self.path, entry_start=self.first, entry_stop=self.end)
        return self._read[name]

    def rows(self, counts: Any) -> NDArray[np.int64]:
        """Event of each row."""
        return np.repeat(np.arange(self.first, self.end), counts)


def check_nano(file: Any, path: Path, report: tools.Report, declared: Mapping[str, str]) -> int:
    """Check the tree Events; gives its number of rows."""
    tree = file["Events"]
    names = {
        b.count_branch.name: b.count_branch.name.removeprefix("n") for b in tree.branches if b.count_branch is not None
    }
    fields = []
    for branch in tree.branches:
        if branch.name not in names:
            collection = names[branch.count_branch.name] if branch.count_branch is not None else ""
            fields.append(Field(collection, branch.name.removeprefix(f"{collection}_"), branch))
    targets = {name.lower(): name for name in names.values()}
    links = {}
    for field in fields:
        found = _NANO_INDEX.fullmatch(field.name)
        if found and field.collection:
            links[field.branch.name] = targets.get(found["target"].lower(), "")
    _check_declared(fields, "Events", report, declared)
    for events in _events(path, tree):
        sizes = _check_fields(events, fields, links, NANO_RULES, report, _may_be_nan(file))
        for field in fields:
            if field.name == "genPartIdxMother" and field.collection == "GenPart":
                counts, mother = events.read(field)
                own = np.arange(len(mother)) - np.repeat(tools.offsets_of(counts), counts)
                what = f"{field.branch.name}: mothers before daughters"
                report.add(what, mother >= own, "Events", mother, events.rows(sizes["GenPart"]))
    return int(tree.num_entries)


def check_delphes(file: Any, path: Path, report: tools.Report, declared: Mapping[str, str]) -> int:
    """Check the tree Delphes, of ours or of Delphes' own; gives its number of rows."""
    tree = file["Delphes"]
    fields = []
    for branch in tree.itervalues(recursive=True):
        found = re.fullmatch(r"(?:\w+/)?(\w+)\.(\w+)(?:\[\d+\])?", branch.name)
        content = getattr(branch.interpretation, "content", None)
        dtype = getattr(content, "to_dtype", None)
        if found is None or found[2] in ("fUniqueID", "fBits"):
            continue
        if dtype is None or dtype.names or dtype.shape:
            report.unchecked[branch.name] = "neither numbers nor lists of numbers"
            continue
        fields.append(Field(found[1], found[2], branch))
    collections = {field.collection for field in fields}
    links = {}
    for field in fields:
        is_integer = field.branch.interpretation.content.to_dtype.kind == "i"
        if field.collection == "Particle" and field.name in FAMILY:
            links[field.branch.name] = "Particle"
        elif is_integer and field.name.removesuffix("Index") in collections:
            links[field.branch.name] = field.name.removesuffix("Index")
    _check_declared(fields, "Delphes", report, declared)
    family = [next((f for f in fields if (f.collection, f.name) == ("Particle", name)), None) for name in FAMILY]
    for events in _events(path, tree):
        _check_fields(events, fields, links, DELPHES_RULES, report, _may_be_nan(file))
        if None not in family:
            _check_descent(events, [field for field in family if field], report)
    return int(tree.num_entries)


def _events(path: Path, tree: Any) -> Iterator[Events]:
    """All events, some at a time."""
    step = max(1, tree.num_entries_for(tools.PIECE)) if tree.num_entries else 1
    for first in range(0, tree.num_entries, step):
        yield Events(path, tree, first, min(first + step, tree.num_entries))


def _check_declared(fields: list[Field], tree: str, report: tools.Report, declared: Mapping[str, str]) -> None:
    """Branches whose unit is declared are there."""
    there = {f"{tree}.{field.branch.name}" for field in fields}
    lacking = [name for name in declared if name not in there]
    if declared:
        fault = f"no branch {lacking[0]}" if lacking else ""
        report.say("branches with a declared unit are there", fault=fault)


def _may_be_nan(file: Any) -> set[str]:
    """Branches that say themselves that NaN is their missing value (files of ours describe their branches)."""
    if "branches" not in file.keys(cycle=False):
        return set()
    try:
        meanings = json.loads(str(file["branches"]))
        return {name for name, about in meanings.items() if "NaN" in about["meaning"]}
    except (ValueError, TypeError, KeyError, AttributeError):
        return set()


def _check_fields(
    events: Events, fields: list[Field], links: Mapping[str, str], rules: Mapping[str, tools.Rule], report: tools.Report,
    may_be_nan: set[str],
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Lengths, indices and ranges of all branches; gives the numbers of rows of each collection."""
    tree = events.tree.name
    sizes: dict[str, NDArray[Any]] = {}
    for field in fields:
        counts, _ = events.read(field)
        if counts is not None:
            expected = sizes.setdefault(field.collection, counts)
            report.add(
                f"{field.branch.name}: as many as others of {field.collection}", counts != expected, tree, counts
            )
    for field in fields:
        name = field.branch.name
        counts, values = events.read(field)
        rows = np.arange(events.first, events.end) if counts is None else events.rows(counts)
        if name in links:
            if links[name] in sizes:
                bound = np.repeat(sizes[links[name]], counts)
                report.add(
                    f"{name}: positions in {links[name]}, or -1", tools.out_of_range(values, bound), tree, values, rows
                )
            else:
                report.unchecked[name] = "an index of a collection that is not in the file"
            continue
        chosen = [rules[field.name]] if field.name in rules else []
        if values.dtype.kind == "f":
            chosen.append(tools.NOT_INFINITE if name in may_be_nan else tools.FINITE)
        for rule, is_bad in chosen:
            report.add(f"{name}: {rule}", is_bad(values), tree, values, rows)
    return sizes


def _check_descent(events: Events, family: list[Field], report: tools.Report) -> None:
    """No particle is its own ancestor."""
    counts = events.read(family[0])[0]
    n, start = int(counts.sum()), np.repeat(tools.offsets_of(counts), counts)
    pairs = []
    for field in family[:2]:
        mother = events.read(field)[1].astype(np.int64)
        inside = ~tools.out_of_range(mother, np.repeat(counts, counts), 0)
        pairs.append((np.flatnonzero(inside), (mother + start)[inside]))
    child, mother = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    report.add(
        "Particle.M1, M2: no particle is its own ancestor",
        tools.in_cycles(child, mother, n),
        events.tree.name,
        None,
        events.rows(counts),
    )
