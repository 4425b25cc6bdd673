"""Checks of AO2D files, ours and others, by ALICE's naming conventions: one data frame at a time, one branch at a time.

Rules: AliceO2 Framework/Core (ASoA.h: indices, slices, grouping), Detectors/AOD/src/AODProducerWorkflowSpec.cxx (packing).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.io import check_tools as tools
from fastsim.io.aod_names import JOINED, KNOWN, frame_number, index_of, table_of, version_of
from fastsim.io.inspect import trees

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

PV_CONTRIBUTOR = 0x2  # o2::aod::track::TrackFlags
MAX_CONTRIBUTORS = 65535
COVARIANCES = ("trackcov", "fwdtrackcov", "mfttrackcov")
# By branch, in every table that has it.
RULES: dict[str, tools.Rule] = {
    "fPdgCode": tools.NOT_ZERO,
    "fAlpha": tools.ANGLE,
    "fSnp": tools.BELOW_1,
    **dict.fromkeys(("fTrackTimeRes", "fCollisionTimeRes", "fCovXX", "fCovZZ"), tools.NOT_NEGATIVE),
}
GROUPED = {"track": "fIndexCollisions", "fwdtrack": "fIndexCollisions", "mcparticle": "fIndexMcCollisions"}
# Units of the data model, where a file declares any.
UNITS = {
    "cm": ("fPosX", "fPosY", "fPosZ", "fX", "fY", "fZ", "fVx", "fVy", "fVz", "fSigmaY", "fSigmaZ", "fLength"),
    "cm^2": ("fCovXX", "fCovXY", "fCovYY", "fCovXZ", "fCovYZ", "fCovZZ"),
    "GeV": ("fPx", "fPy", "fPz", "fE", "fTPCInnerParam", "fTOFExpMom"),
    "1/GeV": ("fSigned1Pt", "fSigma1Pt"),
    "ns": ("fT", "fVt", "fCollisionTime", "fCollisionTimeRes", "fTrackTime", "fTrackTimeRes"),
    "rad": ("fAlpha",),
}


def check_frames(file: Any, path: Path, report: tools.Report, declared: Mapping[str, str], *, is_ours: bool) -> int:
    """Check all data frames of a file; gives the number of events in them."""
    _check_units(declared, report)
    names: dict[str, list[str]] = {}
    for tree in trees(file):
        directory, _, name = tree.rpartition("/")
        if frame_number(directory) is None:
            report.unchecked[tree] = "a tree outside of data frames"
        else:
            names.setdefault(directory, []).append(name)
    n_events = 0
    for directory in sorted(names, key=lambda name: frame_number(name) or 0):
        frame = Frame(path, directory, {name: file[f"{directory}/{name}"] for name in names[directory]}, report)
        frame.check(is_ours=is_ours)
        n_events += frame.n_rows.get("bc", 0)
        written = {f"{name}.{branch.name}" for name, tree in frame.trees.items() for branch in tree.branches}
        lacking = [branch for branch in declared if branch not in written]
        if declared:
            fault = f"{directory}: no branch {lacking[0]}" if lacking else ""
            report.say("branches with a declared unit are there", fault=fault)
    return n_events


def _check_units(declared: Mapping[str, str], report: tools.Report) -> None:
    """Units that the file declares are those of the data model."""
    expected = {branch: unit for unit, branches in UNITS.items() for branch in branches}
    for name, unit in declared.items():
        right = expected.get(name.rpartition(".")[2], unit)
        report.say("declared units are those of the data model", fault=f"{name}: {unit}, not {right}" * (unit != right))


class Frame:
    """The trees of a data frame, and the rules between them."""

    def __init__(self, path: Path, directory: str, opened: Mapping[str, Any], report: tools.Report) -> None:
        self.path, self.directory, self.trees, self.report = path, directory, opened, report
        self.tree_of = {table_of(name): name for name in opened}
        self.n_rows = {table: opened[name].num_entries for table, name in self.tree_of.items()}

    def check(self, *, is_ours: bool) -> None:
        """Apply all rules."""
        self._check_lengths()
        for name, tree in self.trees.items():
            if table_of(name) not in KNOWN:
                self.report.unchecked.setdefault(
                    name, "a table that is not known: only its indices and that numbers are finite"
                )
            counters = {b.count_branch.name for b in tree.branches if b.count_branch is not None}
            for branch in tree.branches:
                if branch.name not in counters:
                    self._check_branch(name, branch)
        self._check_bcs()
        for table in COVARIANCES:
            self._check_sigmas(table)
        for table, branch in GROUPED.items():
            if self._has(table, branch):
                index = self._values(table, branch)
                self._add(table, f"{branch}: ascending, equal ones together", tools.not_grouped(index), index)
        self._check_vertex_covariance()
        self._check_family()
        if is_ours:
            self._check_labels()
            self._check_contributors()

    def _has(self, table: str, *branches: str) -> bool:
        return table in self.tree_of and all(b in self.trees[self.tree_of[table]].keys() for b in branches)  # noqa: SIM118

    def _read(self, table: str, branch: str) -> tuple[Any, Any]:
        name = self.tree_of[table]
        return tools.read(self.trees[name][branch], f"{self.directory}/{name}.{branch}", self.path)

    def _values(self, table: str, branch: str) -> NDArray[Any]:
        return np.asarray(self._read(table, branch)[1])

    def _add(self, table: str, rule: str, is_bad: tools.Mask, values: Any = None, rows: Any = None) -> None:
        name = self.tree_of[table]
        self.report.add(
            f"{name}.{rule}" if rule.startswith("f") else f"{name}: {rule}",
            is_bad,
            f"{self.directory}/{name}",
            values,
            rows,
        )

    def _check_lengths(self) -> None:
        for group in JOINED:
            there = [table for table in group if table in self.n_rows]
            for table in there[1:]:
                n, n_first = self.n_rows[table], self.n_rows[there[0]]
                what = f"{self.tree_of[table]}: as many rows as {self.tree_of[there[0]]}"
                self.report.say(what, fault=f"{self.directory}: {n} rows, not {n_first}" * (n != n_first))

    def _check_branch(self, name: str, branch: Any) -> None:
        table, label = table_of(name), f"{name}.{branch.name}"
        where = f"{self.directory}/{name}"
        index = index_of(branch.name, table)
        counts, values = tools.read(branch, f"{self.directory}/{label}", self.path)
        rows = None if counts is None else np.repeat(np.arange(len(counts)), counts)
        if index is not None:
            if index.table not in self.n_rows:
                if (values != -1).any():
                    self.report.unchecked[label] = f"refers to {index.label}, which is not known or not in the file"
                return
            n, target = self.n_rows[index.table], self.tree_of[index.table]
            if index.kind == "slice" and values.ndim == 2:
                self.report.add(
                    f"{label}: first and last row of {target}, or -1, -1", tools.bad_slices(values[:, 0], values[:, 1], n),
                    where, values,
                )  # fmt: skip
                return
            is_needed = index.kind == "array" or (table, branch.name) == ("mcparticle", "fIndexMcCollisions")
            bad = tools.by_row(tools.out_of_range(values, n, 0 if is_needed else -1))
            self.report.add(f"{label}: rows of {target}" + ", or -1" * (not is_needed), bad, where, values, rows)
            return
        finite = (
            tools.NOT_INFINITE if table == "fastsimpid" else tools.FINITE
        )  # NaN: a device did not measure the track
        rules = [finite] if values.dtype.kind == "f" else []
        if branch.name in RULES:
            rules.append(RULES[branch.name])
        if branch.name.startswith("fRho") and table in COVARIANCES:
            rules.append(tools.CORRELATION)
        for rule, is_bad in rules:
            self.report.add(f"{label}: {rule}", tools.by_row(is_bad(values)), where, values, rows)

    def _check_bcs(self) -> None:
        if self._has("bc", "fGlobalBC"):
            bc = self._values("bc", "fGlobalBC")
            self._add("bc", "fGlobalBC: ascends", np.concatenate([[False], bc[1:] <= bc[:-1]])[: len(bc)], bc)

    def _check_sigmas(self, table: str) -> None:
        """An uncertainty of 0 (or below) is a fault but where all five are 0: there is none."""
        if table not in self.tree_of:
            return
        names = [b.name for b in self.trees[self.tree_of[table]].branches if b.name.startswith("fSigma")]
        if not names:
            return
        sigma = np.column_stack([self._values(table, name) for name in names])
        self._add(table, "fSigma*: all above 0, or all 0", (sigma <= 0).any(axis=1) & (sigma != 0).any(axis=1), sigma)

    def _check_vertex_covariance(self) -> None:
        """Correlations of at most 1, with what is left of rounding to 10 bits; in version 0 the names lie (XZ, YY swapped)."""
        names = ("fCovXX", "fCovXY", "fCovYY", "fCovXZ", "fCovYZ", "fCovZZ")
        if not self._has("collision", *names) or version_of(self.tree_of["collision"]) == 0:
            return
        xx, xy, yy, xz, yz, zz = (self._values("collision", name).astype(np.float64) for name in names)
        slack = 1 + 2.0**-8
        bad = (yy < 0) | (xy**2 > slack * xx * yy) | (xz**2 > slack * xx * zz) | (yz**2 > slack * yy * zz)
        self._add("collision", "fCov*: a covariance", bad, np.column_stack([xx, xy, yy, xz, yz, zz]))

    def _family(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]] | None:
        """Numbers of mothers and all mothers; first and last daughter; of any version of the table."""
        if self._has("mcparticle", "fIndexArray_Mothers", "fIndexSlice_Daughters"):
            counts, mothers = self._read("mcparticle", "fIndexArray_Mothers")
            first, last = self._values("mcparticle", "fIndexSlice_Daughters").T
            return counts, mothers, first, last
        old = [f"fIndexMcParticles_{name}{i}" for name in ("Mother", "Daughter") for i in (0, 1)]
        if self._has("mcparticle", *old):
            m0, m1, first, last = (self._values("mcparticle", name) for name in old)
            both = np.column_stack([m0, m1])
            return (both >= 0).sum(axis=1), both[both >= 0], first, last
        return None

    def _check_family(self) -> None:
        family = self._family()
        if family is None:
            return
        counts, mothers, first, last = family
        n = len(counts)
        child = np.repeat(np.arange(n), counts)
        inside = ~tools.out_of_range(mothers, n, 0)
        whole = np.where(tools.bad_slices(first, last, n), -1, first)
        child, mothers_in = child[inside], mothers[inside].astype(np.int64)
        self._add("mcparticle", "mothers: no particle is its own ancestor", tools.in_cycles(child, mothers_in, n))
        low, high = tools.lowest_and_highest(np.bincount(child, minlength=n), mothers_in)
        self._add("mcparticle", "daughters: have it as mother", tools.not_their_mother(whole, last, low, high))
        if self._has("mcparticle", "fIndexMcCollisions"):
            collision = self._values("mcparticle", "fIndexMcCollisions")
            is_other = collision[child] != collision[mothers_in]
            self._add("mcparticle", "mothers: of the same MC collision", is_other, rows=child)

    def _check_labels(self) -> None:
        """The particle of a track is of the MC collision of the track's collision: so it is in files of ours."""
        needed = (
            ("track", "fIndexCollisions"), ("mctracklabel", "fIndexMcParticles"), ("mccollisionlabel", "fIndexMcCollisions"),
            ("mcparticle", "fIndexMcCollisions"),
        )  # fmt: skip
        if not all(self._has(*one) for one in needed):
            return
        collision, particle, of_collision, of_particle = (self._values(*one) for one in needed)
        n = min(len(collision), len(particle))
        collision, particle = collision[:n], particle[:n]
        known = ~tools.out_of_range(collision, len(of_collision), 0) & ~tools.out_of_range(
            particle, len(of_particle), 0
        )
        rows = np.flatnonzero(known)
        is_other = of_collision[collision[rows]] != of_particle[particle[rows]]
        self._add("mctracklabel", "particles are of the track's collision", is_other, particle[rows], rows)

    def _check_contributors(self) -> None:
        """A collision has as many contributors as tracks are flagged so."""
        needed = (("collision", "fNumContrib"), ("track", "fIndexCollisions"), ("trackextra", "fFlags"))
        if not all(self._has(*one) for one in needed):
            return
        n_contributors, collision, flags = (self._values(*one) for one in needed)
        n = min(len(collision), len(flags))
        used = collision[:n][(flags[:n] & PV_CONTRIBUTOR) > 0]
        used = used[~tools.out_of_range(used, len(n_contributors), 0)]
        counted = np.minimum(np.bincount(used, minlength=len(n_contributors)), MAX_CONTRIBUTORS)
        self._add(
            "collision", "fNumContrib: as many as tracks that contribute", counted != n_contributors, n_contributors
        )
