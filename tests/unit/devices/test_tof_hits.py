"""Hits in time-of-flight layers: who has one, where a layer is alive, wrong ones; lengths and times of simple tracks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastsim import columns as c
from fastsim.devices.tof_hits import is_active_1, mismatch_1
from fastsim.species import NAMES
from tests.oracles import JIT_IS_OFF
from tests.tof_events import (
    FORWARD,
    LIGHT,
    OUTER,
    PERFECT,
    applied,
    assert_normal,
    indices,
    make_batch,
    module,
)

N = 500 if JIT_IS_OFF else 20_000


def central(n, **more):
    """Hard pions straight out, one an event, in all directions."""
    phi = np.random.default_rng(4).uniform(-np.pi, np.pi, n)
    eta = np.random.default_rng(5).uniform(-0.8, 0.8, n)
    return make_batch(np.ones(n), 2, 5.0, eta, phi, 1, resolution=1e-6, **more)


def binomial(found, expected):
    n = len(found)
    assert abs(np.mean(found) - expected) < 4.5 * math.sqrt(expected * (1 - expected) / n), np.mean(found)


@pytest.mark.parametrize("layer", [OUTER, FORWARD], ids=["barrel", "disks"])
def test_efficiency_and_active_area(layer):
    """Hits times active area; on disks and on barrels of any circumference."""
    batch = central(N)
    if layer is FORWARD:
        generator = np.random.default_rng(6)
        batch = make_batch(
            np.ones(N), 2, 5.0, generator.uniform(2.5, 3.5, N), generator.uniform(-np.pi, np.pi, N), 1, resolution=1e-6
        )
    name = f"{layer['name']}_is_measured"
    assert applied(module(layer), batch)[name].all()
    binomial(applied(module({**layer, "efficiency": 0.7}), batch)[name], 0.7)
    binomial(applied(module({**layer, "pitch": 0.13, "inactive_fraction": 0.2}), batch)[name], 0.8)
    binomial(applied(module({**layer, "pitch": 0.13, "inactive_fraction": 0.2, "efficiency": 0.5}), batch)[name], 0.4)


def test_pixels_by_hand():
    """1 cm pixels, a tenth dead on each side: 36 % of the area. Around a barrel of 6.5 cm circumference stand six."""
    border = 0.5 * (1 - math.sqrt(1 - 0.36))
    assert border == pytest.approx(0.1)
    r = 6.5 / (2 * math.pi)
    pixel = 2 * math.pi / 6
    for fraction, expected in ((0.05, False), (0.15, True), (0.5, True), (0.85, True), (0.95, False)):
        assert is_active_1(False, r, 0.5, (3 + fraction) * pixel, 1.0, border) is expected
        assert is_active_1(False, r, -2 + fraction, 0.5 * pixel, 1.0, border) is expected
        x, y = -3 + fraction, 2.5
        assert is_active_1(True, math.hypot(x, y), 100.0, math.atan2(y, x), 1.0, border) is expected
        assert is_active_1(True, math.hypot(x, y), 100.0, math.atan2(x, y), 1.0, border) is expected


def test_a_hit_lies_where_the_helix_is():
    """Pixels as large as a third of the barrel, most of each dead: who is measured points to the middle of one, at the layer."""
    r, pitch = 50.0, 2 * math.pi * 50.0 / 3.0001
    layer = {
        "name": "t",
        "r": r,
        "half_length": 500.0,
        "sigma_ps": 20.0,
        "pitch": min(pitch, 100.0),
        "inactive_fraction": 0.9,
    }
    n_pixels = math.floor(2 * math.pi * r / 100.0)
    phi = np.linspace(-3, 3, 301)
    pt = 0.5
    batch = make_batch(np.ones(301), 2, pt, 0.9, phi, -1, resolution=1e-6)
    found = applied(module(layer), batch)["t_is_measured"]
    azimuth = phi + math.asin(0.299792458e-2 * 2.0 * r / 2 / pt)  # negative ones turn left: phi + half the turn
    z = 2 * pt / (0.299792458e-2 * 2.0) * math.asin(0.299792458e-2 * 2.0 * r / 2 / pt) * math.sinh(0.9)
    border = 0.5 * (1 - math.sqrt(0.1))
    a, b = (azimuth / (2 * math.pi) * n_pixels) % 1, (z / 100.0) % 1
    expected = (np.abs(a - 0.5) < 0.5 - border) & (abs(b - 0.5) < 0.5 - border)
    np.testing.assert_array_equal(found, expected)
    assert found.any()


def test_a_track_that_misses_has_no_hit():
    """Too soft for the radius, too far along the beam; and on the wrong side of disks that stand at +z only."""
    batch = make_batch([4], 2, [0.2, 5.0, 5.0, 5.0], [0.0, 2.5, 3.0, -3.0], 0.5, 1, resolution=1e-6)
    made = applied(module(OUTER, {**FORWARD, "both_sides": False}), batch)
    assert made["otof_is_measured"].tolist() == [False, False, False, False]
    assert made["ftof_is_measured"].tolist() == [False, True, True, False]
    short = applied(
        module({**OUTER, "half_length": 80.0}), make_batch([2], 2, 5.0, [0.8, 1.0], 0.5, 1, resolution=1e-6)
    )
    assert short["otof_is_measured"].tolist() == [True, False]  # z = 75.5 and 99.9 cm


def test_hits_of_tracks_that_are_no_helices_are_dropped():
    """Reconstructed so badly that the layer is not met: NaN, or with too little pt."""
    batch = central(3)
    batch.columns[c.RECONSTRUCTED[4]][0] = np.nan
    batch.columns[c.RECONSTRUCTED[4]][1] = 100.0
    made = applied(module(OUTER), batch)
    assert made["otof_is_measured"].tolist() == [False, False, True]
    assert made["event.tof_n_event_time"].tolist() == [0, 0, 1]


def test_length_begins_at_the_vertex():
    """Collisions 1 cm off the line, straight tracks: 85 cm less what lies before, for contributors."""
    vertex = np.array([[1.0, 0.0, 0.0, 0.0]])
    phi = np.array([0.0, np.pi, np.pi / 2])
    kinds = [
        applied(
            module({**OUTER, "sigma_ps": 1e-3}, **PERFECT),
            make_batch([3], 2, 1e4, 0.0, phi, 1, point=vertex, vertex=vertex, resolution=1e-9, contributes=contributes),
        )
        for contributes in (True, False)
    ]
    np.testing.assert_allclose(kinds[0]["otof_length"], [84.0, 86.0, math.sqrt(85**2 - 1)], atol=1e-3)
    np.testing.assert_allclose(kinds[0]["otof_n_sigma"][:, 2] * kinds[0]["otof_sigma"][:, 2], 0.0, atol=2e-5)
    np.testing.assert_allclose(kinds[1]["otof_length"], [85.0, 85.0, math.sqrt(85**2 - 1)], atol=1e-3)


def test_wrong_hits_are_those_of_others():
    """Half of all tracks get one: of a slow proton and a pion in one event each has its own time or that of the other."""
    n = N // 2
    batch = make_batch(
        np.full(n, 2),
        np.tile(indices(["pi", "pr"]), n),
        0.8,
        np.tile([0.0, 0.7], n),
        np.tile([0.0, 2.0], n),
        1,
        resolution=1e-6,
    )
    layer = {**OUTER, "sigma_ps": 1.0}
    own = applied(module(layer, **PERFECT), batch)
    made = applied(module({**layer, "mismatch": 0.5}, **PERFECT), batch)
    assert made["otof_is_measured"].all()
    swapped = own["otof_time"].reshape(n, 2)[:, ::-1].reshape(-1)
    straight = (
        85.0 / LIGHT * np.tile([1.0, math.cosh(0.7)], n)
    )  # where the tracks cross: bent, but as far along z within 1 %
    moved = swapped + np.tile([-1, 1], n) * np.abs(straight[1] - straight[0])
    is_own = made["otof_time"] == own["otof_time"]
    binomial(is_own, 0.5)
    np.testing.assert_allclose(made["otof_time"][~is_own], moved[~is_own], atol=0.05)
    off = applied(module({**layer, "mismatch": 0.5}, mismatch=False, **PERFECT), batch)
    np.testing.assert_array_equal(off["otof_time"], own["otof_time"])


def test_a_track_without_hit_may_get_another_one_but_never_its_own():
    """Alone in the event: nothing to be mistaken for. Of three with half of the hits lost, 90 % take any that is there."""
    alone = applied(module({**OUTER, "mismatch": 0.9}, **PERFECT), central(50))
    assert alone["otof_is_measured"].all()
    assert (np.abs(alone["otof_n_sigma"][:, 2]) < 6).all()
    n = N // 4
    phi = np.tile([0.0, 2.0, 4.0], n)
    batch = make_batch(np.full(n, 3), 2, 5.0, 0.0, phi, 1, resolution=1e-6)
    layer = {**OUTER, "efficiency": 0.5}
    own = ~np.isnan(applied(module(layer, **PERFECT), batch)["otof_time"].reshape(n, 3))
    made = applied(module({**layer, "mismatch": 0.9}, **PERFECT), batch)
    measured = made["otof_is_measured"].reshape(n, 3)
    others = own.sum(axis=1)[:, None] - own
    assert not measured[~own & (others == 0)].any()
    assert measured[own].all()
    binomial(measured[~own & (others > 0)], 0.9)


def test_unfound_tracks_leave_hits_too():
    """A found pion beside a lost proton: with wrong hits it may get the proton's, which is late by 0.5 ns and more."""
    n = 400
    batch = make_batch(np.full(n, 2), np.tile(indices(["pi", "pr"]), n), 0.8, 0.0, np.tile([0.0, 2.0], n), 1,
                       resolution=1e-6, found=np.tile([True, False], n))  # fmt: skip
    made = applied(module({**OUTER, "mismatch": 0.5}, **PERFECT), batch)
    assert not made["otof_is_measured"][1::2].any()
    binomial(made["otof_n_sigma"][::2, 2] > 20, 0.5)


def test_occupancy():
    """dN/deta = 1000 at 19 cm: 0.44 hits in a square centimetre at mid-rapidity; straight tracks, counted on a ring by hand."""
    density = 1000 / (2 * math.pi * 19.0**2)
    assert mismatch_1(False, 19.0, 19.0 / LIGHT, 1000.0, 0.0, 1.0) == pytest.approx(1 - math.exp(-density))
    assert mismatch_1(False, 19.0, 19.0 / LIGHT, 1000.0, 0.2, 1.0) == pytest.approx(1 - 0.8 * math.exp(-density))
    assert mismatch_1(False, 19.0, 19.0 / LIGHT, 1000.0, 0.2, 0.0) == 0.2
    z, r, width = 405.0, 40.0, 1e-4
    n_hits = 1000.0 * (math.asinh(z / (r - width)) - math.asinh(z / (r + width)))
    on_disk = n_hits / (2 * math.pi * r * 2 * width)
    assert mismatch_1(True, z, math.hypot(z, r) / LIGHT, 1000.0, 0.0, 0.5) == pytest.approx(
        1 - math.exp(-0.5 * on_disk)
    )
    z, r = 30.0, 19.0
    n_hits = 1000.0 * (math.asinh((z + width) / r) - math.asinh((z - width) / r))
    on_barrel = n_hits / (2 * math.pi * r * 2 * width)
    assert mismatch_1(False, r, math.hypot(z, r) / LIGHT, 1000.0, 0.0, 0.5) == pytest.approx(
        1 - math.exp(-0.5 * on_barrel)
    )
    assert mismatch_1(True, z, z / LIGHT, 1000.0, 0.0, 0.5) == 1.0  # on the axis


def test_draws_are_normal():
    """Times of one layer, without tails, with the event time known: Gaussian of the width that the file says."""
    made = applied(module(OUTER, **PERFECT), central(N))
    n_sigma = made["otof_n_sigma"][:, NAMES.index("pi")]
    assert_normal(n_sigma)
    np.testing.assert_allclose(made["otof_sigma"][:, 2], 0.02, rtol=1e-3)
