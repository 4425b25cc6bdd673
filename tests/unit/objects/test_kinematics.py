"""Momenta, distances and orders."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsim.objects import kinematics as k
from tests.object_events import make_batch, track

PT, ETA, PHI = st.floats(1e-2, 1e4), st.floats(-6, 6), st.floats(-3.14159, 3.14159)


def _momenta(pt, phi, tan_lambda, mass):
    momenta = np.empty((4, 1))
    k.fill_momenta(np.array([pt]), np.array([phi]), np.array([tan_lambda]), mass, momenta)
    return momenta


@settings(deadline=None)  # the first call compiles
@given(PT, ETA, PHI, st.floats(0, 10))
def test_there_and_back(pt, eta, phi, mass):
    """pt, eta and phi come back from px, py, pz, energy; the mass to what is left of it in energy^2 - p^2."""
    momenta = _momenta(pt, phi, math.sinh(eta), mass)
    back = np.empty((4, 1))
    k.fill_directions(momenta, back)
    energy = momenta[3, 0]
    assert back[0, 0] == pytest.approx(pt, rel=1e-12)
    assert back[1, 0] == pytest.approx(eta, rel=1e-12, abs=1e-12)
    assert back[2, 0] == pytest.approx(phi, rel=1e-12, abs=1e-12)
    assert back[3, 0] ** 2 == pytest.approx(mass**2, rel=1e-9, abs=1e-14 * energy**2)


def test_momentum_of_three_four_five():
    """pt 5 at tan(phi) = 4/3 with pz 12: p = 13, and with mass 84 the energy is 85."""
    assert _momenta(5.0, math.atan2(4, 3), 12 / 5, 84.0)[:, 0] == pytest.approx([3.0, 4.0, 12.0, 85.0], rel=1e-14)


def test_mass_squared_below_zero_is_rounding():
    back = np.empty((4, 1))
    k.fill_directions(np.array([[3.0], [4.0], [0.0], [5.0 - 1e-15]]), back)
    assert back[:, 0] == pytest.approx([5.0, 0.0, math.atan2(4, 3), 0.0])


@settings(deadline=None)
@given(ETA, PHI, ETA, PHI)
def test_distance_is_the_shorter_way_round(eta_1, phi_1, eta_2, phi_2):
    turned = math.remainder(phi_1 - phi_2, 2 * math.pi)
    assert k.distance_1(eta_1, phi_1, eta_2, phi_2) == pytest.approx(math.hypot(eta_1 - eta_2, turned), abs=1e-12)


def test_tracks_that_are_found_and_selected():
    batch = make_batch([[track(pt=1.0), track(found=False)], [], [track(pt=2.0, eta=1.0), track(pt=3.0)]])
    tracks = k.reconstructed_tracks(batch, np.array([True, True, False, True]))
    assert tracks.rows.tolist() == [0, 3]
    assert tracks.offsets.tolist() == [0, 1, 1, 2]
    assert tracks.momenta[3] == pytest.approx([math.hypot(1.0, k.PION_MASS), math.hypot(3.0, k.PION_MASS)])


def test_hardest_first_and_equal_ones_in_their_order():
    order = k.order_by_pt(np.array([0, 0, 0, 1, 1]), np.array([1.0, 3.0, 3.0, 5.0, 7.0]))
    assert order.tolist() == [1, 2, 0, 4, 3]
