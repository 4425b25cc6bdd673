"""Checks of files of our own columns: Parquet and RNTuple. Indices are positions within the event."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from fastsim import columns as c
from fastsim.io import check_tools as tools

if TYPE_CHECKING:
    from pathlib import Path

    from fastsim.columns import Column, Table
    from fastsim.io.columnar import Group

LINKS: dict[Column, Table] = {
    c.PRODUCTION_VERTEX: "vertex",
    c.END_VERTEX: "vertex",
    c.PARTICLE_INDEX: "particle",
    c.ELECTRON_TRACK: "track",
    c.MUON_TRACK: "track",
    c.CONSTITUENT_JET: "jet",
    c.CONSTITUENT_TRACK: "track",
    c.CONSTITUENT_CLUSTER: "cluster",
    c.CONSTITUENT_TOWER: "tower",
    c.PHOTON_CLUSTER: "cluster",
    c.CLUSTER_TRACK: "track",
    c.CLUSTER_PARTICLE: "particle",
}
RULES: dict[Column, tools.Rule] = {c.PDG: tools.NOT_ZERO, c.PT: tools.NOT_NEGATIVE}


def check_groups(path: Path, kind: str, report: tools.Report) -> int:
    """Check all groups of events of a file; gives the number of events. Raises InputError if it cannot be read."""
    n_events = 0
    last = -1
    for group in import_module(f"fastsim.io.{kind}").read_groups(path):
        _check_group(group, n_events, report)
        if c.EVENT_ID in group.columns:
            ids = group.columns[c.EVENT_ID].astype(np.int64)
            bad = np.diff(ids, prepend=last) <= 0
            report.add("event_id: ascends", bad, "event", ids, np.arange(n_events, n_events + group.n_events))
            last = int(ids[-1]) if len(ids) else last
        n_events += group.n_events
    return n_events


def _check_group(group: Group, first: int, report: tools.Report) -> None:
    for column, values in group.columns.items():
        counts = group.counts.get(column.table, np.ones(group.n_events, dtype=np.int64))
        rows = np.repeat(np.arange(first, first + group.n_events), counts)
        name, where = str(column), "event"
        if column in LINKS:
            if LINKS[column] in group.counts:
                bound = np.repeat(group.counts[LINKS[column]], counts)
                what = f"{name}: positions in {LINKS[column]}, or -1"
                report.add(what, tools.out_of_range(values, bound), where, values, rows)
            elif (values >= 0).any():
                report.unchecked[name] = f"the file has no table {LINKS[column]}"
            continue
        rules = [RULES[column]] if column in RULES else []
        if (
            values.dtype.kind == "f"
        ):  # of an event's numbers NaN says that they are not known, of others where the column says so
            may_be_nan = column.table == "event" or "NaN" in column.doc
            rules.append(tools.NOT_INFINITE if may_be_nan else tools.FINITE)
        for rule, is_bad in rules:
            found = tools.by_row(is_bad(values))
            if column.table == "track":  # candidates that are not reconstructed have no values
                found = found & group.columns[c.IS_RECONSTRUCTED]
            report.add(f"{name}: {rule}", found, where, values, rows)
