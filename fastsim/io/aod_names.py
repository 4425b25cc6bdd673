"""Naming conventions of ALICE's analysis data: which table a tree holds, and which table an index branch refers to.

Sources: AliceO2 Framework/Core/include/Framework/AnalysisDataModel.h and ASoA.h (DECLARE_SOA_INDEX_COLUMN and its SLICE and
ARRAY forms), Framework/Core/src/DataOutputDirector.cxx (tree names and versions).
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

# What index branches call a table -> the table, as its trees are called without "O2", version and "_iu".
LABELS = {
    "BCs": "bc",
    "BC": "bc",
    "Collisions": "collision",
    "McCollisions": "mccollision",
    "McParticles": "mcparticle",
    "Tracks": "track",
    "FwdTracks": "fwdtrack",
    "MFTTracks": "mfttrack",
    "V0s": "v0",
    "Cascades": "cascade",
    "Decay3Bodys": "decay3body",
    "Calos": "calo",
    "FT0s": "ft0",
    "FV0As": "fv0a",
    "FDDs": "fdd",
    "Zdcs": "zdc",
}
# Tables that are joined row by row.
JOINED = (
    (
        "track", "trackcov", "trackextra", "mctracklabel", "tracksalice3", "trackdca", "trackdcacov", "tracksextraa3",
        "upgradetof", "upgradetofmc", "upgradetofexpt", "upgraderich", "upgraderichsig", "upgradetrksig", "upgradetrkpid",
        "fastsimpid",
    ),
    ("collision", "mccollisionlabel", "collalice3"),
    ("fwdtrack", "fwdtrackcov", "mcfwdtracklabel"),
    ("mfttrack", "mcmfttracklabel"),
    ("calo", "mccalolabel"),
)  # fmt: skip
# Others whose content is known, so that nothing about them is left unsaid.
OTHERS = (
    "bc", "mccollision", "mcparticle", "v0", "cascade", "decay3body", "trackedcascade", "origin", "ft0", "fv0a", "fv0c", "fdd",
    "zdc", "hmpid", "calotrigger", "cpvcluster", "ambiguoustrack", "ambiguousmfttr", "ambiguousfwdtr", "mfttrackcov",
    "fwdtrkcl", "hepmcxsection", "hepmcpdfinfo", "hepmcheavyion", "rich", "frich", "ftof", "mid", "pres", "a3ecal", "photonconv",
)  # fmt: skip
KNOWN = {*OTHERS, *(name for group in JOINED for name in group)}
_TREE = re.compile(r"O2(?P<table>[a-z0-9]+?)(?:_iu)?(?:_(?P<version>\d{3}))?")
_INDEX = re.compile(r"fIndex(?P<kind>Slice|Array)?(?P<label>[A-Z][A-Za-z0-9]*)?(?:_\w+)?")


class Index(NamedTuple):
    """An index branch: one row, first and last of several, or a list; and the table, "" if it is unknown."""

    kind: Literal["one", "slice", "array"]
    label: str
    table: str


def table_of(tree: str) -> str:
    """The table that a tree ("O2track_iu", "DF_3/O2bc_001") holds, whatever its version; "" if it is no table's name."""
    found = _TREE.fullmatch(tree.rpartition("/")[2])
    return found["table"] if found else ""


def version_of(tree: str) -> int:
    """The version in a tree's name, 0 if it has none."""
    found = _TREE.fullmatch(tree.rpartition("/")[2])
    return int(found["version"] or 0) if found else 0


def index_of(branch: str, table: str) -> Index | None:
    """What a branch of a table refers to, None if it is no index; without a name it is the table itself (mothers)."""
    found = _INDEX.fullmatch(branch)
    if found is None:
        return None
    kind: Literal["one", "slice", "array"] = "one"
    if found["kind"]:
        kind = "slice" if found["kind"] == "Slice" else "array"
    label = found["label"] or ""
    return Index(kind, label or "own", LABELS.get(label, "") if label else table)


def frame_number(name: str) -> int | None:
    """The number of a directory DF_<n>, None for other names."""
    found = re.fullmatch(r"DF_(\d+)", name)
    return int(found[1]) if found else None
