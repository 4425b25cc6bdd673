"""Units at the doors: the traps that change answers silently."""

from __future__ import annotations

import pytest
from scipy import constants

from fastsim import units as u


def test_curvature():
    """R [m] = pt / (0.3 B q): 333.5641 cm for 1 GeV in 1 T (tracking.md 1.1), and k from c itself."""
    assert 1 / u.curvature_constant == pytest.approx(333.5641, abs=5e-5)
    assert u.curvature_constant == pytest.approx(constants.c * 1e-9 / 100, rel=1e-15)


def test_light():
    assert u.speed_of_light == pytest.approx(constants.c * 100 * 1e-9, rel=1e-15)
    assert u.mm_over_c == pytest.approx(0.1 / 29.9792458)
    assert u.cm_over_c == pytest.approx(10 * u.mm_over_c)


def test_relative_to_base():
    assert (u.mm, u.um, u.m, u.MeV, u.ps) == (0.1, 1e-4, 100.0, 1e-3, 1e-3)
