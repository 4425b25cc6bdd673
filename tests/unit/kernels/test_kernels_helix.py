"""Helix kernels against closed forms, finite differences of an independent helix, and brute-force minimisation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from fastsim.kernels.helix import arc_length_1, curvature_1, excess_1, perigee_1, sinc_1, transport, wrap_1
from tests.oracles import K_CURVATURE, helix_position

HYPOTHESIS = settings(derandomize=True, deadline=None, max_examples=100)
MIRROR = np.diag([-1.0, 1.0, -1.0, 1.0, -1.0])  # y -> -y: n, phi and q/pt change sign


def jacobian_of(s, c, tan_lambda, b_z):
    jacobian = np.full((5, 5), np.nan)
    transport(float(s), float(c), float(tan_lambda), float(b_z), jacobian)
    return jacobian


def state_further_along(delta, s, q_over_pt, tan_lambda, b_z):
    """Independent: displace the helix by `delta` in its first local perigee, return its displacement in the last.

    The displaced helix is followed (closed form) to where it crosses the plane through the undisturbed end point that
    contains the undisturbed track's normal and z: that is the point with no displacement along the track.
    """
    c = -K_CURVATURE * b_z * q_over_pt
    end = helix_position((0.0, 0.0, 0.0, 0.0, tan_lambda, c), s)
    phi_end = c * s
    start = (0.0, delta[0], delta[1], delta[2], tan_lambda + delta[3], -K_CURVATURE * b_z * (q_over_pt + delta[4]))
    arc = s
    for _ in range(20):
        x, y, z = helix_position(start, arc)
        along = (x - end[0]) * math.cos(phi_end) + (y - end[1]) * math.sin(phi_end)
        arc -= along / math.cos(start[3] + start[5] * arc - phi_end)
    across = -(x - end[0]) * math.sin(phi_end) + (y - end[1]) * math.cos(phi_end)
    return np.array([across, z - end[2], start[3] + start[5] * arc - phi_end, delta[3], delta[4]])


def jacobian_by_differences(s, q_over_pt, tan_lambda, b_z):
    steps = np.array([1e-3, 1e-3, 1e-5, 1e-5, 1e-5 / (K_CURVATURE * abs(b_z) * max(abs(s), 1.0))])
    columns = []
    for k in range(5):
        delta = np.zeros(5)
        delta[k] = steps[k]
        plus = state_further_along(delta, s, q_over_pt, tan_lambda, b_z)
        minus = state_further_along(-delta, s, q_over_pt, tan_lambda, b_z)
        columns.append((plus - minus) / (2.0 * steps[k]))
    return np.array(columns).T


def test_curvature_is_that_of_the_pdg():
    """PDG review, "Tracking": p cos(lambda) = 0.3 z B R; 1 GeV/c in 1 T has R = 333.5641 cm (1e11 / 299792458)."""
    assert 1.0 / curvature_1(-1.0, 1.0) == pytest.approx(333.56409519815204, rel=1e-14)
    assert curvature_1(0.5, 2.0) < 0.0  # a positive charge turns clockwise in a field along +z: F = q v x B
    assert curvature_1(0.0, 2.0) == 0.0


@pytest.mark.parametrize("r", [0.5, 7.0, 80.0])
@pytest.mark.parametrize("c", [1e-3, -5e-3, 0.01, 1e-5, -1e-7, 1e-12])
def test_arc_length_ends_at_the_radius(r, c):
    """An independent helix followed over the arc from the origin is at radius r; the arc is the first crossing."""
    s = arc_length_1(r, c)
    x, y, _ = helix_position((0.0, 0.0, 0.0, 0.3, 0.0, c), s)
    assert math.hypot(x, y) == pytest.approx(r, rel=1e-12)
    assert r <= s * (1 + 1e-15)
    assert s <= math.pi / abs(c)


def test_arc_length_limits():
    """Straight: s = r. Largest reach r = 2R: half a turn, s = pi R. Beyond: no crossing."""
    assert arc_length_1(80.0, 0.0) == 80.0
    assert arc_length_1(80.0, 2.0 / 80.0) == pytest.approx(math.pi * 40.0, rel=1e-14)
    assert math.isnan(arc_length_1(80.0, 2.001 / 80.0))


@pytest.mark.parametrize("c", [0.9e-6 * 2 / 80, 1.1e-6 * 2 / 80])
def test_arc_length_has_no_step_at_its_straight_line_branch(c):
    """2R asin(r/2R) = r (1 + (r/2R)^2/6 + ...): leaving the term out below r/2R = 1e-6 costs 1.7e-13 at most."""
    assert arc_length_1(80.0, c) == pytest.approx(80.0 * (1.0 + (40.0 * c) ** 2 / 6.0), rel=2e-13)


@pytest.mark.parametrize("a", [0.0, 1e-9, 0.9e-3, 1.1e-3, 0.099, 0.101, 1.0, -2.0, 6.0])
def test_series_of_the_stable_functions(a):
    """sin(a)/a and (a - sin a)/a^2 against their Taylor series in exact rational steps (30 terms)."""
    sinc = sum((-1) ** k * a ** (2 * k) / math.factorial(2 * k + 1) for k in range(30))
    excess = sum((-1) ** k * a ** (2 * k + 1) / math.factorial(2 * k + 3) for k in range(30))
    assert sinc_1(a) == pytest.approx(sinc, rel=1e-13)
    assert excess_1(a) == pytest.approx(excess, rel=1e-11)


@HYPOTHESIS
@given(
    turn=st.floats(-5.5, 5.5),
    q_over_pt=st.floats(0.02, 10.0),
    tan_lambda=st.floats(-4.0, 4.0),
    b_z=st.sampled_from([-2.0, -0.2, 0.5, 2.0, 4.0]),
    charge=st.sampled_from([-1.0, 1.0]),
)
def test_transport_is_the_derivative_of_the_exact_helix(turn, q_over_pt, tan_lambda, b_z, charge):
    """Every element against central differences, any turning angle, both charges and field signs, forth and back.

    Truncation error of the differences is of order step^2 = 1e-10 relative to the size of the elements.
    """
    q = charge * q_over_pt
    c = -K_CURVATURE * b_z * q
    s = min(max(turn / abs(c), -500.0), 500.0)
    expected = jacobian_by_differences(s, q, tan_lambda, b_z)
    jacobian = jacobian_of(s, c, tan_lambda, b_z)
    size = np.abs(expected).max(axis=0) + 1e-3  # per column: its elements grow with s and with s^2
    assert np.max(np.abs(jacobian - expected) / size) < 2e-7


@HYPOTHESIS
@given(s=st.floats(-200.0, 200.0), c=st.floats(-0.02, 0.02), tan_lambda=st.floats(-4.0, 4.0))
def test_transport_there_and_back_is_the_identity(s, c, tan_lambda):
    product = jacobian_of(-s, c, tan_lambda, 2.0) @ jacobian_of(s, c, tan_lambda, 2.0)
    scale = np.abs(jacobian_of(-s, c, tan_lambda, 2.0)) @ np.abs(jacobian_of(s, c, tan_lambda, 2.0)) + 1e-300
    assert np.max(np.abs(product - np.eye(5)) / np.maximum(scale, 1.0)) < 1e-11


@HYPOTHESIS
@given(
    s1=st.floats(-200.0, 200.0), s2=st.floats(-200.0, 200.0), c=st.floats(-0.02, 0.02), tan_lambda=st.floats(-4.0, 4.0)
)
def test_transport_composes(s1, s2, c, tan_lambda):
    """F(s1 + s2) = F(s2) F(s1): the local perigee at a point does not remember how it was reached."""
    one = jacobian_of(s1 + s2, c, tan_lambda, 2.0)
    first, second = jacobian_of(s1, c, tan_lambda, 2.0), jacobian_of(s2, c, tan_lambda, 2.0)
    scale = np.abs(second) @ np.abs(first)
    assert np.max(np.abs(one - second @ first) / np.maximum(scale, 1.0)) < 1e-11


def test_transport_of_a_straight_track():
    """c -> 0: n += s dphi + s^2/2 dc, z += s dtan, phi += s dc, with dc = -k B d(q/pt)."""
    s, b_z = 70.0, 1.5
    expected = np.eye(5)
    expected[0, 2] = s
    expected[0, 4] = -0.5 * s * s * K_CURVATURE * b_z
    expected[1, 3] = s
    expected[2, 4] = -s * K_CURVATURE * b_z
    assert jacobian_of(s, 0.0, 0.7, b_z) == pytest.approx(expected, rel=1e-14)
    nearly = jacobian_of(s, 1e-10, 0.7, b_z)
    assert np.max(np.abs(nearly - expected) / (np.abs(expected) + s)) < 1e-6


@HYPOTHESIS
@given(s=st.floats(-200.0, 200.0), c=st.floats(-0.02, 0.02), tan_lambda=st.floats(-4.0, 4.0))
def test_transport_mirrors_with_the_charge(s, c, tan_lambda):
    """y -> -y turns a charge into its opposite: F(-c) = M F(c) M, with M = -1 on n, phi, q/pt."""
    assert jacobian_of(s, -c, tan_lambda, 2.0) == pytest.approx(MIRROR @ jacobian_of(s, c, tan_lambda, 2.0) @ MIRROR)


@pytest.mark.parametrize(
    ("angle", "expected"),
    [
        (0.0, 0.0),
        (math.pi, math.pi),
        (-math.pi, math.pi),
        (3.0 * math.pi, math.pi),
        (1.5 * math.pi, -0.5 * math.pi),
        (-7.0, -7.0 + 2.0 * math.pi),
        (np.nextafter(math.pi, 4.0), -math.pi),
    ],
)
def test_wrap_into_the_half_open_interval(angle, expected):
    wrapped = wrap_1(float(angle))
    assert -math.pi < wrapped <= math.pi
    assert math.cos(wrapped - expected) == pytest.approx(1.0, abs=1e-15)


@HYPOTHESIS
@given(angle=st.floats(-100.0, 100.0))
def test_wrap_keeps_the_angle_and_the_range(angle):
    wrapped = wrap_1(angle)
    assert -math.pi < wrapped <= math.pi
    assert math.remainder(wrapped - angle, 2.0 * math.pi) == pytest.approx(0.0, abs=1e-13)


def perigee_by_brute_force(x, y, z, phi, tan_lambda, c):
    """Closest approach within half a turn either way: scan the distance, then the root of its derivative."""
    start = (x, y, z, phi, tan_lambda, c)
    reach = min(math.pi / abs(c) if c != 0.0 else math.inf, 10.0 * math.hypot(x, y) + 1.0)
    arcs = np.linspace(-reach, reach, 20001)
    px, py, _ = helix_position(start, arcs)
    best = int(np.argmin(np.hypot(px, py)))

    def slope(s):
        px, py, _ = helix_position(start, s)
        return px * math.cos(phi + c * s) + py * math.sin(phi + c * s)

    step = arcs[1] - arcs[0]
    s = brentq(slope, arcs[best] - step, arcs[best] + step, xtol=1e-13, rtol=1e-15)
    px, py, pz = helix_position(start, s)
    phi_there = phi + c * s
    return np.array([-px * math.sin(phi_there) + py * math.cos(phi_there), pz, phi_there])


@pytest.mark.parametrize("charge", [-1.0, 1.0, 2.0])
@pytest.mark.parametrize("b_z", [-2.0, 0.5, 2.0])
def test_perigee_is_the_closest_point_found_by_brute_force(charge, b_z):
    """Positions up to 60 cm out and momenta from 10 MeV (R = 1.7 cm in 2 T) to 10 GeV; often behind the centre."""
    generator = np.random.default_rng(17)
    behind_the_centre = 0
    for _ in range(60):
        x, y, z = generator.uniform(-60.0, 60.0, 3) * generator.choice([0.01, 0.1, 1.0])
        pt = 10.0 ** generator.uniform(-2.0, 1.0)
        phi, tan_lambda = generator.uniform(-math.pi, math.pi), generator.normal()
        c = -K_CURVATURE * b_z * charge / pt
        behind_the_centre += 1.0 + c * (-x * math.sin(phi) + y * math.cos(phi)) < 0.0
        found = perigee_1(x, y, z, pt * math.cos(phi), pt * math.sin(phi), pt * tan_lambda, charge, b_z)
        dca, z_there, phi_there = perigee_by_brute_force(x, y, z, phi, tan_lambda, c)
        assert found[0] == pytest.approx(dca, abs=1e-9)
        assert found[1] == pytest.approx(z_there, abs=1e-8 * (1.0 + abs(tan_lambda) / abs(c)))
        assert math.remainder(found[2] - phi_there, 2.0 * math.pi) == pytest.approx(0.0, abs=1e-9)
        assert -math.pi < found[2] <= math.pi
        assert found[3] == pytest.approx(tan_lambda, rel=1e-13)
        assert found[4] == pytest.approx(charge / pt, rel=1e-13)
    assert behind_the_centre > 0


@HYPOTHESIS
@given(
    dca=st.floats(-5.0, 5.0),
    z=st.floats(-20.0, 20.0),
    phi=st.floats(-3.1, 3.1),
    tan_lambda=st.floats(-4.0, 4.0),
    log_pt=st.floats(math.log(0.05), math.log(1e4)),
    charge=st.sampled_from([-2.0, -1.0, 1.0, 2.0]),
    b_z=st.sampled_from([-3.8, -0.5, 0.2, 2.0]),
    fraction=st.floats(-0.98, 0.98),
)
def test_perigee_is_recovered_from_any_point_of_the_helix(dca, z, phi, tan_lambda, log_pt, charge, b_z, fraction):
    """Start from known perigee parameters, follow the helix up to half a turn either way, and ask for the perigee.

    Beyond a quarter turn 1 + c across is negative. Straight tracks are followed 100 cm at most.
    """
    pt = math.exp(log_pt)
    c = -K_CURVATURE * b_z * charge / pt
    if 1.0 + c * dca < 0.1:  # the point nearest to the beam line is on the other side of the circle
        dca = -dca
    s = fraction * min(math.pi / abs(c), 100.0)
    start = (-dca * math.sin(phi), dca * math.cos(phi), z, phi, tan_lambda, c)
    x, y, z_there = helix_position(start, s)
    phi_there = phi + c * s
    found = perigee_1(
        float(x),
        float(y),
        float(z_there),
        pt * math.cos(phi_there),
        pt * math.sin(phi_there),
        pt * tan_lambda,
        charge,
        b_z,
    )
    assert found[0] == pytest.approx(dca, abs=1e-10)
    assert found[1] == pytest.approx(z, abs=1e-9)
    assert math.remainder(found[2] - phi, 2.0 * math.pi) == pytest.approx(0.0, abs=1e-11)
    assert found[3] == pytest.approx(tan_lambda, rel=1e-12)
    assert found[4] == pytest.approx(charge / pt, rel=1e-12)


@pytest.mark.parametrize("charge", [0.0, 1e-9, 1.0])
def test_perigee_of_a_straight_track_is_a_line_s(charge):
    """Neutral or stiff (pt 1e7 GeV): foot of the perpendicular, dca = (r x u)_z with its sign: left is positive."""
    x, y, z, ux, uy, tan_lambda = 3.0, -2.0, 5.0, 0.6, 0.8, 0.5
    pt = 1e7
    dca, z_there, phi, _, _ = perigee_1(x, y, z, pt * ux, pt * uy, pt * tan_lambda, charge, 2.0)
    along = x * ux + y * uy
    assert dca == pytest.approx(-x * uy + y * ux, rel=1e-8)
    assert z_there == pytest.approx(z - along * tan_lambda, rel=1e-8)
    assert phi == pytest.approx(math.atan2(uy, ux), rel=1e-8)


def test_dca_is_positive_when_the_beam_line_is_to_the_right_of_the_track():
    """A straight track along x at y = +1 passes the beam line on its right: displacement to the left of p, positive."""
    assert perigee_1(-4.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0)[0] == 1.0
    assert perigee_1(-4.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0)[0] == -1.0


def test_perigee_at_the_beam_line_is_the_point_itself():
    found = perigee_1(0.0, 0.0, 1.5, 0.3, -0.4, 0.2, -1.0, 2.0)
    assert found == pytest.approx((0.0, 1.5, math.atan2(-0.4, 0.3), 0.4, -2.0), rel=1e-14, abs=1e-15)
