"""What checks of all formats share: counting rows and faults, and the rules of indices, order and descent as array functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
PIECE = "32 MB"  # read at once of a tree of events
LONGEST = 60  # characters of a value that is shown


@dataclass
class Check:
    """One rule: what it says, in how many rows it was looked at and broken, and where first."""

    what: str
    n_rows: int = 0
    n_faults: int = 0
    first: str = ""


@dataclass
class Report:
    """All that was checked, in order, and what was not, with the reason."""

    format: str
    checks: dict[str, Check] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)

    @property
    def n_faults(self) -> int:
        """How many rows break a rule."""
        return sum(check.n_faults for check in self.checks.values())

    def add(self, what: str, is_bad: Mask, where: str, values: Any = None, rows: Any = None) -> None:
        """Count rows of a rule; `where` is the tree, `rows` (else positions) and `values` tell of the first bad one."""
        check = self.checks.setdefault(what, Check(what))
        check.n_rows += len(is_bad)
        n_faults = int(np.count_nonzero(is_bad))
        if n_faults and not check.n_faults:
            at = int(np.argmax(is_bad))
            value = "" if values is None else f": {str(np.asarray(values[at]).tolist())[:LONGEST]}"
            check.first = f"{where} row {at if rows is None else int(rows[at])}{value}"
        check.n_faults += n_faults

    def say(self, what: str, *, fault: str = "") -> None:
        """Count a rule of the file, with what is wrong."""
        check = self.checks.setdefault(what, Check(what))
        check.n_rows += 1
        check.n_faults += bool(fault)
        check.first = check.first or fault


def read(branch: Any, where: str, path: object, **entries: int) -> tuple[Any, Any]:
    """A branch as (counts, content) of lists, or (None, values); raises InputError if its bytes are damaged."""
    import awkward as ak  # noqa: PLC0415

    try:
        values = branch.array(library="ak", **entries)
    except Exception as error:  # uproot raises whatever the bytes lead it to
        what = f"{where}: cannot be read ({type(error).__name__}): the file is damaged"
        raise InputError(what, where=str(path), hint="copy or produce the file again") from error
    if values.ndim > 1 and "var" in str(values.type):
        return ak.to_numpy(ak.num(values)), ak.to_numpy(ak.flatten(values))
    return None, ak.to_numpy(values)


def out_of_range(index: NDArray[Any], n: Any, lowest: int = -1) -> Mask:
    """Whether each index is below `lowest`, or not below `n` (a number, or one for each)."""
    return np.asarray((index < lowest) | (index >= n))


def by_row(is_bad: Mask) -> Mask:
    """Whether anything is bad in each row, of one number or several."""
    return np.asarray(is_bad if is_bad.ndim == 1 else is_bad.any(axis=1))


def bad_slices(first: NDArray[Any], last: NDArray[Any], n: int) -> Mask:
    """Whether each range (both ends included) is neither (-1, -1) nor within n rows."""
    is_none = (first == -1) & (last == -1)
    return np.asarray(~is_none & ((first < 0) | (last < first) | (last >= n)))


def not_grouped(index: NDArray[Any]) -> Mask:
    """Rows that are not in ascending order of their index, or away from others with the same one; -1 belongs to nothing."""
    if not len(index):
        return np.zeros(0, dtype=np.bool_)
    highest = np.maximum.accumulate(np.concatenate([[-1], index[:-1]]))
    before = np.concatenate([[-2], index[:-1]])
    return np.asarray((index >= 0) & (index != before) & (index <= highest))


def in_cycles(child: NDArray[Any], mother: NDArray[Any], n: int) -> Mask:
    """Which of n particles are their own ancestors, by pairs of daughter and mother. Strong components: scipy's (Pearce)."""
    bad = np.zeros(n, dtype=np.bool_)
    if (mother < child).all():
        return bad
    from scipy.sparse import coo_array  # noqa: PLC0415  (0.3 s, and most files have mothers before daughters)
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    links = coo_array((np.ones(len(child), dtype=np.int8), (child, mother)), shape=(n, n))
    _, component = connected_components(links.tocsr(), directed=True, connection="strong")
    bad[child[child == mother]] = True
    return bad | (np.bincount(component)[component] > 1)


def not_their_mother(first: NDArray[Any], last: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> Mask:
    """Which particles have a daughter in their range (first, last) whose mothers, from `low` to `high`, leave them out.

    Ranges may overlap in any way: maxima over 2^k rows answer all ranges of that order of length, so this takes n log n.
    """
    rows = np.flatnonzero(first >= 0)
    order = np.frexp((last - first + 1)[rows])[1] - 1
    bad = np.zeros(len(first), dtype=np.bool_)
    lowest, highest = low, high
    for k in range(int(order.max(initial=-1)) + 1):
        if k:
            half = 1 << (k - 1)
            lowest, highest = np.maximum(lowest[:-half], lowest[half:]), np.minimum(highest[:-half], highest[half:])
        own = rows[order == k]
        a, b = first[own], last[own] - (1 << k) + 1
        bad[own] = (np.maximum(lowest[a], lowest[b]) > own) | (np.minimum(highest[a], highest[b]) < own)
    return bad


def lowest_and_highest(counts: NDArray[Any], content: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Smallest and largest number of each list; of empty ones what no range holds."""
    low = np.full(len(counts), np.iinfo(np.int64).max)
    high = np.full(len(counts), -1, dtype=np.int64)
    filled = counts > 0
    if filled.any():
        starts = (np.cumsum(counts) - counts)[filled]
        low[filled], high[filled] = np.minimum.reduceat(content, starts), np.maximum.reduceat(content, starts)
    return low, high


def offsets_of(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Where each list starts."""
    return np.asarray(np.cumsum(counts) - counts, dtype=np.int64)


Rule = tuple[str, "Callable[[NDArray[Any]], Mask]"]
NOT_ZERO: Rule = "is not 0", lambda v: v == 0
NOT_NEGATIVE: Rule = "is not negative", lambda v: v < 0
ANGLE: Rule = "is from -pi to pi", lambda v: np.abs(v) > np.pi * (1 + 1e-6)
BELOW_1: Rule = "is between -1 and 1", lambda v: np.abs(v) >= 1
CORRELATION: Rule = "is from -127 to 127", lambda v: np.abs(v.astype(np.int64)) > 127
FINITE: Rule = "is finite", lambda v: ~np.isfinite(v)
NOT_INFINITE: Rule = "is not infinite", np.isinf
