"""Expected times: closed forms of straight and bent tracks, and all derivatives by differences of the whole way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastsim.devices.tof_response import time_slopes_1
from fastsim.kernels.helix import curvature_1
from fastsim.kernels.reach import reach_1
from fastsim.kernels.time_of_flight import arc_slopes_1, arc_to_point_1, flight_time_1, tan_excess_1
from fastsim.kernels.vertex_seed import approach_1
from tests.oracles import KAON_MASS, PION_MASS, PROTON_MASS

LIGHT = 29.9792458  # cm/ns


@pytest.mark.parametrize("mass", [0.0, PION_MASS, PROTON_MASS])
@pytest.mark.parametrize("tan_lambda", [0.0, -2.0])
def test_time_is_path_over_velocity(mass, tan_lambda):
    pt, s = 0.7, 85.0
    p = pt * math.hypot(1.0, tan_lambda)
    beta = p / math.hypot(p, mass)
    assert flight_time_1(s, tan_lambda, -1.0 / pt, mass) == pytest.approx(
        s * math.hypot(1.0, tan_lambda) / (beta * LIGHT), rel=1e-14
    )


def test_a_charge_of_two_has_twice_the_rigidity():
    """3He of 3 GeV: 1/|q/pt| is 1.5 GeV."""
    expected = 100.0 / LIGHT * math.sqrt(1 + (2.80839161112 / 3.0) ** 2)
    assert flight_time_1(100.0, 0.0, 2.0 / 3.0, 2.80839161112 / 2.0) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("h", [0.0, 1e-9, 0.05, 0.0999999, 0.1000001, -0.7, 1.5])
def test_excess_of_the_tangent(h):
    """tan h - h, by its own series where it cancels (Abramowitz and Stegun 4.3.67)."""
    if abs(h) < 0.2:
        coefficients = [1 / 3, 2 / 15, 17 / 315, 62 / 2835, 1382 / 155925, 21844 / 6081075]
        expected = sum(a * h ** (2 * k + 1) for k, a in enumerate(coefficients))
    else:
        expected = (math.tan(h) - h) / h**2
    assert tan_excess_1(h) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("is_disk", [False, True])
@pytest.mark.parametrize("b_z", [2.0, -0.5])
@pytest.mark.parametrize("q_over_pt", [1e-4, 0.3, -1.5, 2.9])
@pytest.mark.parametrize("dca_xy", [0.0, 0.4, -3.0])
@pytest.mark.parametrize("tan_lambda", [0.6, -3.0])
def test_derivatives_of_the_expected_time(is_disk, b_z, q_over_pt, dca_xy, tan_lambda):
    """By q/pt and tan_lambda at fixed radius (or fixed z), by central differences of reach and time together."""
    r, z = 85.0, 90.0

    def time(q, tan):
        s = reach_1(0.0, -dca_xy, 0.3, tan, curvature_1(q, b_z), is_disk, z if is_disk else r, 0.0, 1e9, True)[0]
        return flight_time_1(s, tan, q, KAON_MASS)

    s = time(q_over_pt, tan_lambda) / flight_time_1(1.0, tan_lambda, q_over_pt, KAON_MASS)
    slopes = arc_slopes_1(is_disk, s, r, dca_xy, tan_lambda, curvature_1(q_over_pt, b_z), b_z)
    found = time_slopes_1(time(q_over_pt, tan_lambda), tan_lambda, q_over_pt, KAON_MASS, slopes[0] / s, slopes[1] / s)
    h = 1e-5
    by_q = (time(q_over_pt + h, tan_lambda) - time(q_over_pt - h, tan_lambda)) / (2 * h)
    by_tan = (time(q_over_pt, tan_lambda + h) - time(q_over_pt, tan_lambda - h)) / (2 * h)
    assert found == pytest.approx((by_q, by_tan), rel=1e-6, abs=1e-8)


def test_upstreams_derivative_by_pt():
    """O2Physics' formula for tracks from the beam line at mid-rapidity (reference/delpheso2.md 3.2): dt/dpt, both terms."""
    pt, b, r, mass = 0.8, 2.0, 0.85, KAON_MASS  # GeV, T, m, GeV
    a2 = (r * 0.299792458 * b) ** 2 / 2
    a1 = 0.299792458 * b * 0.299792458  # m/ns
    energy = math.hypot(mass, pt)
    upstream = (
        (pt**4 * math.acos(1 - a2 / pt**2) - 2 * a2 * pt**2 * energy**2 / math.sqrt(a2 * (2 * pt**2 - a2)))
        / (a1 * pt**3 * energy)
    )  # fmt: skip
    c = curvature_1(1 / pt, b)
    s = reach_1(0.0, 0.0, 0.0, 0.0, c, False, 85.0, 0.0, 1e9, True)[0]
    by_q = time_slopes_1(
        flight_time_1(s, 0.0, 1 / pt, mass), 0.0, 1 / pt, mass, arc_slopes_1(False, s, 85.0, 0.0, 0.0, c, b)[0] / s, 0.0
    )[0]
    assert -by_q / pt**2 == pytest.approx(upstream, rel=1e-9)


def test_arc_to_a_point_is_that_of_the_closest_approach():
    """Near and far vertices, both charges, straight tracks."""
    generator = np.random.default_rng(4)
    for scale in (1e-3, 0.1, 3.0, 20.0):
        for _ in range(50):
            dca_xy, phi = 0.1 * generator.normal(), generator.uniform(-np.pi, np.pi)
            c = generator.choice([0.0, 1e-6, 1e-3, 0.02]) * generator.choice([-1, 1])
            x, y = scale * generator.uniform(-1, 1, 2)
            helix = (dca_xy, math.cos(phi), math.sin(phi), c, x, y)
            assert arc_to_point_1(*helix) == pytest.approx(approach_1(*helix)[3], rel=1e-11, abs=1e-13)
