"""Checking output files: indices, order, counts, ranges and units, as far as the format says what is right.

The rules of a format are in `check_aod`, `check_flat` and `check_columns`. Memory is that of one data frame, or some events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastsim.errors import InputError
from fastsim.io.check_aod import check_frames
from fastsim.io.check_columns import check_groups
from fastsim.io.check_flat import check_delphes, check_nano
from fastsim.io.check_tools import Report
from fastsim.io.inspect import file_format, identity_hash, open_file, read_provenance

if TYPE_CHECKING:
    from pathlib import Path


def check(path: Path) -> Report:
    """Check a file of any format that fastsim writes, whoever made it.

    Raises InputError if it is not a whole file, cannot be read, or is of no format that is known.
    """
    kind = file_format(path)
    if kind is None:
        raise InputError("no data frames, and no tree Events or Delphes: nothing that can be checked", where=str(path))
    report = Report(kind)
    made_by = read_provenance(path)
    identity = made_by.get("identity", {}) if made_by else {}
    if kind in ("parquet", "rntuple"):
        n_events = check_groups(path, kind, report)
    else:
        with open_file(path) as file:
            units = identity.get("units", {})
            if kind == "ao2d":
                n_events = check_frames(file, path, report, units, is_ours=bool(made_by))
            else:
                n_events = {"nano": check_nano, "delphes": check_delphes}[kind](file, path, report, units)
    if made_by is None:
        report.unchecked["provenance"] = "not written by fastsim"
    else:
        _check_provenance(made_by, n_events, report)
    return report


def _check_provenance(made_by: dict[str, Any], n_events: int, report: Report) -> None:
    """The identity has its hash, and the summary counts the events that are there."""
    identity = made_by.get("identity")
    is_right = isinstance(identity, dict) and identity.get("sha256") == identity_hash(identity)
    report.say("provenance: the hash of the identity", fault="" if is_right else "was changed, or is missing")
    summary = made_by.get("summary")
    told = summary.get("events") if isinstance(summary, dict) else None
    report.say(
        "provenance: as many events as in the file", fault=f"{n_events} events, not {told}" if told != n_events else ""
    )
