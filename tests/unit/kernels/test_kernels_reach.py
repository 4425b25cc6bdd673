"""Where helices meet devices, by brute force: small steps along each, on displaced starts, curlers and one-sided disks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastsim.kernels.helix import curvature_1
from fastsim.kernels.reach import may_meet_1, reach_1
from tests.oracles import JIT_IS_OFF

N = 300 if JIT_IS_OFF else 3000
STEPS = 20_000  # along half a turn


def by_steps(u, v, z, tan_lambda, c, is_disk, position, low, high, both_sides):
    """First crossing outwards within half a turn, or None; the start lies at (u, -v), the direction there is along x."""
    s = np.linspace(0.0, math.pi / abs(c), STEPS)
    r = np.hypot(u + np.sin(c * s) / c, -v + (1.0 - np.cos(c * s)) / c)
    z_there = z + tan_lambda * s
    beyond = np.abs(z_there) >= position if is_disk else r >= position
    if beyond[0] or not beyond.any():
        return None
    k = int(np.argmax(beyond))
    inside = low <= r[k] <= high and (both_sides or z_there[k] > 0) if is_disk else abs(z_there[k]) <= high
    return (s[k], r[k], z_there[k]) if inside else None


def at_random(generator, *, is_disk):
    """Radii of curvature from 4 to 60 cm, starts up to 25 cm off the beam line in any direction; a device at 30 cm."""
    c = generator.choice([-1, 1]) / generator.uniform(4, 60)
    rho, beta = generator.uniform(0, 25), generator.uniform(-math.pi, math.pi)
    start = (rho * math.cos(beta), rho * math.sin(beta), generator.uniform(-20, 20), 2 * generator.normal(), c)
    low, high = (5.0, 40.0) if is_disk else (0.0, 70.0)
    return (*(float(x) for x in start), is_disk, 30.0, low, high, bool(generator.random() < 0.5))


@pytest.mark.parametrize("is_disk", [False, True], ids=["barrel", "disks"])
def test_brute_force(is_disk):
    """Found or not as by steps, at the same place within a step; but for those within a step of an edge."""
    generator = np.random.default_rng(1)
    n_found = n_edges = 0
    for _ in range(N):
        track = at_random(generator, is_disk=is_disk)
        step = math.pi / abs(track[4]) / (STEPS - 1)
        expected, (s, r, z) = by_steps(*track), reach_1(*track)
        if math.isnan(s) is not (expected is None):
            wider = (*track[:7], track[7] - 2 * step, track[8] + (2 + 2 * abs(track[3])) * step, track[9])
            narrower = (*track[:7], track[7] + 2 * step, track[8] - (2 + 2 * abs(track[3])) * step, track[9])
            assert (by_steps(*wider) is None) != (by_steps(*narrower) is None), track
            n_edges += 1
        elif expected is not None:
            n_found += 1
            assert s == pytest.approx(expected[0], abs=1.001 * step)
            assert r == pytest.approx(expected[1], abs=1.001 * step)
            assert z == pytest.approx(expected[2], abs=1.001 * step * max(1.0, abs(track[3])))
    assert n_found > 0.2 * N
    assert n_edges <= 2 + 0.002 * N


def test_straight_tracks_and_the_beam_line():
    """Without curvature: Pythagoras. From the beam line: s = 2 R asin(r / 2 R)."""
    assert reach_1(0.0, 0.0, 1.0, 0.5, 0.0, False, 80.0, 0.0, 100.0, True) == pytest.approx((80.0, 80.0, 41.0))
    s, r, z = reach_1(3.0, 4.0, 0.0, 0.0, 0.0, False, 13.0, 0.0, 100.0, True)
    assert (s, r, z) == pytest.approx((math.sqrt(169.0 - 16.0) - 3.0, 13.0, 0.0))
    assert reach_1(0.0, 0.0, 0.0, -4.0, 0.0, True, 100.0, 5.0, 30.0, True) == pytest.approx((25.0, 25.0, -100.0))
    radius = 50.0
    assert reach_1(0.0, 0.0, 0.0, 0.0, 1 / radius, False, 90.0, 0.0, 1.0, True)[0] == pytest.approx(
        2 * radius * math.asin(0.9)
    )


@pytest.mark.parametrize(
    "track",
    [
        (0.0, 0.0, 0.0, 0.1, 1 / 39.9, False, 80.0, 0.0, 500.0, True),  # reaches 79.8 cm
        (50.0, 0.0, 0.0, 0.1, 0.001, False, 50.0, 0.0, 500.0, True),  # born on it
        (60.0, 0.0, 0.0, 0.1, 0.001, False, 50.0, 0.0, 500.0, True),  # born behind it
        (0.0, 0.0, 0.0, 7.0, 0.001, False, 80.0, 0.0, 500.0, True),  # too far along z
        (0.0, 0.0, 0.0, 0.0, 0.001, True, 100.0, 0.0, 500.0, True),  # across the beam
        (0.0, 0.0, 100.0, 1.0, 0.001, True, 100.0, 0.0, 500.0, True),  # born on the disk
        (0.0, 0.0, -120.0, 1.0, 0.001, True, 100.0, 0.0, 500.0, True),  # born behind the other one
        (0.0, 0.0, 0.0, -1.0, 0.001, True, 100.0, 0.0, 500.0, False),  # only one side
        (0.0, 0.0, 0.0, 1.0, 1 / 30.0, True, 100.0, 0.0, 500.0, True),  # more than half a turn: 100 > 94.2 cm
        (0.0, 0.0, 0.0, 20.0, 0.001, True, 100.0, 6.0, 500.0, True),  # through the hole
        (0.0, 0.0, 0.0, 1.0, 0.001, True, 100.0, 6.0, 50.0, True),  # past the rim
    ],
)
def test_nowhere(track):
    assert all(math.isnan(number) for number in reach_1(*track))


def test_inwards_and_out_again_within_half_a_turn_or_not():
    """A start moving inwards: straight through to the other side; on a tight circle it comes out behind the half turn."""
    s, _, _ = reach_1(-20.0, 0.0, 0.0, 0.0, 0.0, False, 30.0, 0.0, 10.0, True)
    assert s == pytest.approx(50.0)
    tight = (
        -12.278800262091622,
        -4.509860538287579,
        -16.47704057401414,
        0.8245,
        0.0929238318,
        False,
        30.0,
        0.0,
        80.0,
        True,
    )
    assert math.isnan(reach_1(*tight)[0])


@pytest.mark.parametrize("place", [(False, 120.0, 0.0, 200.0, True), (True, 250.0, 15.0, 120.0, True),
                                   (True, 250.0, 15.0, 120.0, False), (True, 40.0, 30.0, 60.0, True)])  # fmt: skip
def test_who_cannot_meet_a_place_is_found_out_and_nobody_else(place):
    """Never false for what `reach_1` finds; true for others in at most a quarter of all cases. Prompt and displaced points."""
    generator = np.random.default_rng(8)
    found = wrong = 0
    n = 2000
    for _ in range(n):
        point = generator.normal(size=3) * generator.choice([0.01, 10.0, 60.0])
        phi, eta, pt = generator.uniform(-np.pi, np.pi), generator.uniform(-4, 4), np.exp(generator.uniform(-3, 2))
        charge, b_z = generator.choice([-1.0, 0.0, 1.0, 2.0]), 2.0
        px, py, pz = pt * math.cos(phi), pt * math.sin(phi), pt * math.sinh(eta)
        u, v = point[0] * math.cos(phi) + point[1] * math.sin(phi), point[0] * math.sin(phi) - point[1] * math.cos(phi)
        bend = curvature_1(charge, b_z)
        meets = not math.isnan(reach_1(u, v, point[2], pz / pt, bend / pt, *place)[0])
        may = may_meet_1(*place, *point, px, py, pz, bend)
        assert may or not meets, (place, point, px, py, pz, charge)
        found += meets
        wrong += may and not meets
    assert found > 0.03 * n
    assert wrong < 0.25 * n
