"""Mothers by ranges, against loops; families and faults as whole are tested through the files that have them."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.io.records import Rows, masses_of, mothers_in_range


def rows(n):
    """An event of one particle, and one of `n`, without contents."""
    sizes = np.array([1, n])
    return Rows("file", 0, np.arange(2), sizes, {}, {}, np.ones(2, dtype=np.int64), np.ones(2), {})


@pytest.mark.parametrize(
    ("first", "last", "mothers"),
    [
        (0, 0, []),
        (3, 3, [2]),
        (3, 0, [2]),
        (0, 3, [2]),
        (2, 4, [1, 2, 3]),
        (4, 2, [3]),
    ],
)
def test_mothers_in_range(first, last, mothers):
    some = rows(5)
    counts, found = mothers_in_range(some, np.array([1, 2, first, 2, 0, 0]), np.array([1, 2, last, 2, 0, 0]))
    assert counts.tolist() == [1, 1, len(mothers), 1, 0, 0]
    assert found.tolist() == [0, 1, *mothers, 1]
    assert some.faults == {}


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [(-1, 0, -1), (9, 9, 9), (0, 6, 6), (1, 2**31 - 1, 2**31 - 1), (-(2**31), 2**31 - 1, -(2**31)), (9, 2, 9)],
)
def test_mothers_outside_of_the_event_are_told_as_written(first, last, told):
    some = rows(5)
    counts, found = mothers_in_range(some, np.array([1, 2, first, 99, 0, 0]), np.array([1, 2, last, 99, 0, 0]))
    assert counts.tolist() == [1, 1, 0, 0, 0, 0]
    assert found.tolist() == [0, 1]
    assert some.faults == {1: f"particle 2 has the mother {told}, where there are particles 1 to 5"}


def test_mothers_are_capped():
    """100,000 particles that all have all as mothers would be 75 GiB."""
    n = 100_000
    some = rows(n)
    first, last = np.ones((2, n + 1), dtype=np.int64)
    last[1:] = n
    counts, found = mothers_in_range(some, first, last)
    assert (counts.sum(), found.tolist()) == (1, [0])
    assert some.faults == {1: "its 100000 particles have 10000000000 mothers in all"}
    some = rows(n)
    last[1:] = 100
    assert mothers_in_range(some, first, last)[0].sum() == 100 * n + 1
    assert some.faults == {}


def test_masses_in_the_order_of_the_codes():
    """PDG 2024 [GeV]."""
    assert masses_of(np.array([2212, 22, -211, 2212])).tolist() == pytest.approx(
        [0.93827209, 0.0, 0.13957039, 0.93827209]
    )
