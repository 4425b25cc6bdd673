"""Mothers by ranges, against loops; families and faults as whole are tested through the files that have them."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.io.records import masses_of, mothers_in_range


@pytest.mark.parametrize(
    ("first", "last", "mothers"),
    [
        (0, 0, []),
        (3, 3, [2]),
        (3, 0, [2]),
        (0, 3, [2]),
        (2, 4, [1, 2, 3]),
        (4, 2, [3]),
        (-1, 0, [-1]),
        (9, 9, [5]),  # outside of five particles, and told as that
        (1, 2**31 - 1, [0, 1, 2, 3, 4, 5]),
        (-(2**31), 2**31 - 1, [-1, 0, 1, 2, 3, 4, 5]),
    ],
)
def test_mothers_in_range(first, last, mothers):
    counts, found = mothers_in_range(np.array([1, first, 2]), np.array([1, last, 2]), np.full(3, 5))
    assert counts.tolist() == [1, len(mothers), 1]
    assert found.tolist() == [0, *mothers, 1]


def test_masses_in_the_order_of_the_codes():
    """PDG 2024 [GeV]."""
    assert masses_of(np.array([2212, 22, -211, 2212])).tolist() == pytest.approx(
        [0.93827209, 0.0, 0.13957039, 0.93827209]
    )
