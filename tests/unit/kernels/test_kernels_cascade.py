"""Photons and electrons in surfaces: where, how often, how much energy, and what it does to a fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fastsim.kernels import cascade as k
from fastsim.kernels.energy_loss import ELECTRON_MASS
from fastsim.kernels.radiation import PAIR_ENERGIES, pair_rate_1, pair_rates, photon_rate_1
from fastsim.rng import Streams
from tests.oracles import (
    Layers,
    alice3_v2_layers,
    forward_disks,
    hits_on,
    linear_track,
    make_layers,
    make_rules,
    make_surfaces,
)

RATES = np.zeros(len(PAIR_ENERGIES))
pair_rates(RATES)
KEY = Streams(3).key("material/cascade")
SHELL = make_surfaces(make_layers([10.0], 0.05, efficiency=0.0))


def settings(*, lowest=0.005, conversions=True, bremsstrahlung=True):
    return k.Settings(lowest, conversions, bremsstrahlung, RATES)


def make_roots(n, pdg, energy, direction=(1.0, 0.0, 0.0), origin=(0.0, 0.0, 0.0)):
    roots = k.make_rows(n)
    mass = ELECTRON_MASS if abs(pdg) == 11 else 0.0
    d = np.array(direction) / np.linalg.norm(direction)
    roots.pdg[:], roots.status[:], roots.leaves[:] = pdg, 1, True
    roots.momentum[:, 3] = energy
    roots.momentum[:, :3] = np.sqrt(roots.momentum[:, 3:] ** 2 - mass**2) * d
    roots.origin[:, :3] = origin
    return roots


def follow(surfaces, roots, options=None, b_z=0.0, room=200_000):
    n = len(roots.pdg)
    rows, vertices = k.make_rows(room), k.make_vertices(room)
    n_rows, n_vertices = k.cascade(
        surfaces, make_rules(b_z), options or settings(), np.arange(n, dtype=np.uint64), np.full(n, 7, np.int32), KEY, roots,
        rows, vertices, k.make_scratch(len(surfaces.position)),
    )  # fmt: skip
    return k.Rows(*(a[:n_rows] for a in rows)), k.Vertices(*(a[:n_vertices] for a in vertices))


@pytest.mark.parametrize(
    ("direction", "slant"), [((1.0, 0.0, 0.0), 1.0), ((1.0, 1.0, 2.0), math.sqrt(3.0))], ids=["central", "forward"]
)
def test_photons_convert_as_often_as_the_thickness_says(direction, slant):
    """1 - exp(-rate t), t being the slant thickness: closed form; the pair is born just behind the surface."""
    n = 20_000
    roots = make_roots(n, 22, 2.0, direction)
    rows, vertices = follow(SHELL, roots, settings(bremsstrahlung=False))
    p = 1.0 - math.exp(-pair_rate_1(2.0, RATES) * 0.05 * slant)
    found = int((roots.end >= 0).sum())
    assert found == pytest.approx(n * p, abs=4.5 * math.sqrt(n * p * (1.0 - p)))
    assert len(rows.pdg) == 2 * found == 2 * len(vertices.root)
    assert np.hypot(vertices.position[:, 0], vertices.position[:, 1]) == pytest.approx(10.0, abs=2e-6)
    assert (np.hypot(vertices.position[:, 0], vertices.position[:, 1]) > 10.0).all()
    assert vertices.position[:, 3] == pytest.approx(10.0 * slant / 29.9792458)
    assert (roots.status[roots.end >= 0] == 2).all()
    assert not roots.leaves[roots.end >= 0].any()
    assert (rows.pdg[0::2] == 11).all()
    assert (rows.pdg[1::2] == -11).all()


def test_pairs_conserve_energy_and_stay_together():
    roots = make_roots(5000, 22, 2.0, (1.0, 1.0, 0.5))
    rows, vertices = follow(SHELL, roots, settings(bremsstrahlung=False))
    assert rows.momentum[0::2, 3] + rows.momentum[1::2, 3] == pytest.approx(2.0)
    p = np.linalg.norm(rows.momentum[:, :3], axis=1)
    assert rows.momentum[:, 3] == pytest.approx(np.hypot(p, ELECTRON_MASS))
    axis = np.array([1.0, 1.0, 0.5]) / 1.5
    angle = np.arccos(np.clip(rows.momentum[:, :3] @ axis / p, -1.0, 1.0))
    u = angle * rows.momentum[:, 3] / ELECTRON_MASS
    assert u[0::2] == pytest.approx(u[1::2], rel=1e-3)  # either side the same u = angle E / m
    assert u.mean() == pytest.approx(1.6, abs=4.5 * u.std() / math.sqrt(len(u) / 2))  # as the angles' own test
    across = np.cross(rows.momentum[0::2, :3], rows.momentum[1::2, :3])
    assert (np.abs(across @ axis) < 1e-9 * p[0::2] * p[1::2] + 1e-12).all()  # back to back in azimuth
    assert (vertices.root[rows.vertex] == vertices.root[rows.vertex[0::2]].repeat(2)).all()


def test_photons_through_layers_and_disks():
    """Brute force: each photon's straight line through every surface of ALICE 3, all in one numpy expression."""
    surfaces = forward_disks()
    generator = np.random.default_rng(2)
    n = 2000
    roots = make_roots(n, 22, 5.0)
    eta, phi = generator.uniform(-4.2, 4.2, n), generator.uniform(-math.pi, math.pi, n)
    roots.momentum[:, :3] = 5.0 * np.array([np.cos(phi) / np.cosh(eta), np.sin(phi) / np.cosh(eta), np.tanh(eta)]).T
    roots.origin[:, 2] = generator.normal(0.0, 5.0, n)
    thickness = np.zeros(n)
    is_disk = np.arange(len(surfaces.position)) >= surfaces.n_cylinders
    for i, position in enumerate(surfaces.position):
        if is_disk[i]:
            s = (position - roots.origin[:, 2]) / np.sinh(eta)
            met = (s > 0) & (s >= surfaces.low[i]) & (s <= surfaces.high[i])
            thickness += met * surfaces.x_over_x0[i] / np.abs(np.tanh(eta))
        else:
            z = roots.origin[:, 2] + position * np.sinh(eta)
            met = (z >= surfaces.low[i]) & (z <= surfaces.high[i])
            thickness += met * surfaces.x_over_x0[i] * np.minimum(np.cosh(eta), 1e9)
    for i in range(n):
        total = thickness[i]
        d = roots.momentum[i, :2] / np.linalg.norm(roots.momentum[i, :2])
        arguments = (surfaces, 0.0, 0.0, roots.origin[i, 2], d[0], d[1], math.sinh(eta[i]))
        assert math.isnan(k.fly_1(*arguments, total * (1.0 + 1e-9) + 1e-12))
        if total > 0.0:
            assert k.fly_1(*arguments, total * (1.0 - 1e-9)) > 0.0


@pytest.mark.parametrize("origin", [(3.0, 4.0, 1.0), (30.0, -20.0, 40.0)])
@pytest.mark.parametrize("tan_lambda", [-3.0, 0.4])
def test_lines_and_helices_cross_the_same_surfaces(origin, tan_lambda):
    """A helix without curvature is a line: both walks, each written on its own, add up to the same thickness."""
    surfaces = forward_disks()
    phi = 0.3
    cylinder, disk = k.begin_1(surfaces, *origin, tan_lambda)
    at, total = origin, 0.0
    while True:
        i, _, *at, thickness, cylinder, disk = k.cross_next_1(surfaces, *at, phi, 0.0, tan_lambda, 0.0, cylinder, disk)
        if i < 0:
            break
        total += thickness
    arguments = (surfaces, *origin, math.cos(phi), math.sin(phi), tan_lambda)
    assert total > 0.0
    assert math.isnan(k.fly_1(*arguments, total * (1.0 + 1e-9)))
    assert not math.isnan(k.fly_1(*arguments, total * (1.0 - 1e-9)))


def test_disks_in_one_plane_and_turns_of_more_than_a_half_end_no_walk():
    """A ring behind which another stands at the same z; and an electron that flies inwards and would turn back too late."""
    position = np.array([10.0, 100.0, 100.0, 120.0])
    low, high = np.array([-50.0, 5.0, 40.0, 5.0]), np.array([50.0, 39.0, 80.0, 80.0])
    surfaces = make_surfaces(make_layers([10.0], 0.01))._replace(
        n_cylinders=1, n_forward=4, position=position, low=low, high=high, x_over_x0=np.full(4, 0.01)
    )
    generator = np.random.default_rng(6)
    for tan_lambda, z in zip(generator.uniform(3.0, 10.0, 500), generator.uniform(-20.0, 20.0, 500), strict=True):
        assert crossed(surfaces, (0.0, 0.0, z), 0.4, 1e-4, tan_lambda)[-2:] == [1, 3]
    # from (8, 0) inwards on a circle of radius 5: it is back at r = 10 only behind more than half a turn
    assert crossed(surfaces, (8.0, 0.0, 98.0), math.pi - 0.6, 0.2, 1.0) == [1]


def crossed(surfaces, at, phi, c, tan_lambda):
    """The surfaces that a helix crosses."""
    cylinder, disk = k.begin_1(surfaces, *at, tan_lambda)
    turned, found = 0.0, []
    while True:
        i, s, *at, _, cylinder, disk = k.cross_next_1(surfaces, *at, phi, c, tan_lambda, turned, cylinder, disk)
        if i < 0:
            return found
        found.append(int(i))
        phi, turned = phi + c * s, turned + abs(c) * s


def test_electrons_radiate_as_bethe_and_heitler_say():
    """Number of photons: Poisson of PDG 34.29; mean energy left: exp(-t) of it, PDG 34.4 (less what is below the cut)."""
    n, t, energy = 20_000, 0.05, 10.0
    roots = make_roots(n, 11, energy)
    rows, vertices = follow(SHELL, roots, settings(conversions=False))
    is_photon = rows.pdg == 22
    n_photons = np.bincount(vertices.root[rows.vertex[is_photon]], minlength=n)
    mean = t * photon_rate_1(energy, 0.005)
    assert n_photons.mean() == pytest.approx(mean, abs=4.5 * math.sqrt(mean / n) + 0.01 * mean)  # less after the first
    left = np.full(n, energy)
    left[vertices.root[rows.vertex[~is_photon]]] = rows.momentum[~is_photon, 3]
    below = energy * (1.0 - math.exp(-t * 4.0 / 3.0 * 0.005 / energy))
    expected = energy * math.exp(-t) + below
    assert left.mean() == pytest.approx(expected, abs=4.5 * left.std() / math.sqrt(n))
    radiated = np.zeros(n)
    np.add.at(radiated, vertices.root[rows.vertex[is_photon]], rows.momentum[is_photon, 3])
    assert radiated + left == pytest.approx(energy)
    assert (rows.status[~is_photon] == k.IN_FLIGHT).all()
    assert roots.status.min() == 1  # the electron's own row stays final: it is the track
    assert (roots.leaves == (roots.end < 0)).all()


def test_what_is_left_follows_bethe_and_heitlers_distribution():
    """-ln z is gamma-distributed with t / ln 2 (R. Fruehwirth, CPC 154 (2003) 131).

    It has the mean of our spectrum, but too few photons that take nearly all, so it is not asked for z below a half.
    """
    n, t = 20_000, 0.2
    surfaces = make_surfaces(make_layers([10.0], t, efficiency=0.0))
    roots = make_roots(n, -11, 100.0)
    rows, vertices = follow(surfaces, roots, settings(lowest=0.0015, conversions=False))
    z = np.ones(n)
    last = (rows.pdg == -11) & rows.leaves
    z[vertices.root[rows.vertex[last]]] = rows.momentum[last, 3] / 100.0
    for at in (0.99, 0.9, 0.7, 0.5):
        assert (z < at).mean() == pytest.approx(stats.gamma.sf(-math.log(at), t / math.log(2.0)), rel=0.12)


def test_a_cascade_conserves_energy():
    """Photons of 20 GeV in a third of a radiation length and 2 T: pairs radiate, and what they radiate converts."""
    layers = make_layers(np.linspace(5.0, 40.0, 10), 0.06)
    roots = make_roots(300, 22, 20.0, (1.0, 0.5, 0.3))
    rows, vertices = follow(make_surfaces(layers), roots, b_z=2.0)
    total = np.zeros(300)
    np.add.at(total, vertices.root[rows.vertex], rows.momentum[:, 3] * rows.leaves)
    total += roots.momentum[:, 3] * roots.leaves
    assert total == pytest.approx(20.0)
    assert (rows.process == 5).sum() > 100
    assert (rows.process == 8).sum() > 100
    converted_again = (rows.pdg == 22) & (rows.end >= 0)
    assert converted_again.any()
    assert (rows.status[converted_again] == 2).all()
    assert (rows.leaves == (rows.end < 0)).all()
    children = rows.vertex[rows.process == 5].reshape(-1, 2)
    assert (children[:, 0] == children[:, 1]).all()


def test_a_radiating_electron_bends_more_from_there_on():
    """Places of later photons lie on the helix of the energy that is left: exact pieces, spelled out with numpy."""
    surfaces = make_surfaces(make_layers([10.0, 20.0, 30.0], 0.3))
    roots = make_roots(400, 11, 0.6, (1.0, 0.0, 0.2))
    rows, vertices = follow(surfaces, roots, settings(conversions=False), b_z=2.0)
    electrons = np.flatnonzero((rows.pdg == 11) & (rows.end >= 0))
    assert len(electrons) > 50
    for i in electrons:
        begin, end = vertices.position[rows.vertex[i]], vertices.position[rows.end[i]]
        p = rows.momentum[i, :3]
        radius = np.hypot(p[0], p[1]) / (0.299792458e-2 * 2.0)
        centre = begin[:2] + radius * np.array([-p[1], p[0]]) / np.hypot(p[0], p[1])  # a negative charge turns left
        assert np.hypot(*(end[:2] - centre)) == pytest.approx(radius, rel=1e-6)


@pytest.mark.parametrize("tan_lambda", [0.0, 1.2])
@pytest.mark.parametrize("charge", [-1.0, 1.0])
@pytest.mark.parametrize("where", [2, 6, 9])
def test_the_shift_is_that_of_a_generalised_least_squares_fit(tan_lambda, charge, where):
    """Hits of an exactly followed track that loses 3 % in one layer, fitted by generalised least squares in numpy."""
    surfaces = make_surfaces(alice3_v2_layers())
    pt, b_z, kept = 2.0, 2.0, 0.97
    rules = make_rules(b_z)
    scratch = k.make_scratch(len(surfaces.position))
    track = linear_track(surfaces, b_z, pt, tan_lambda, ELECTRON_MASS, charge)
    jolt = np.zeros((len(track.route.index), 1))
    jolt[where] = charge / pt * (1.0 / kept - 1.0)
    none = np.zeros_like(jolt)
    centre = np.array([[0.0], [0.0], [0.0], [tan_lambda], [charge / pt]])
    azimuth, other = hits_on(track.route, centre, charge, b_z, none, none, jolt)
    expected = (track.estimator()[0] @ track.views(azimuth, other)[track.rows(track.efficiency > 0)])[:, 0]
    scratch.kick[track.route.index[where]] = -0.299792458e-2 * b_z * jolt[where, 0]
    found = np.zeros(5)
    k.shift_fit(surfaces, rules, pt, tan_lambda, charge, 0.0, scratch, found)
    errors = np.sqrt(np.diag(track.covariance()))
    assert np.abs(found / errors - expected / errors).max() < 0.01 * np.abs(expected / errors).max()


def test_all_lost_before_the_first_layer_is_lost_for_the_fit():
    """A track that radiates in the beam pipe has the fitted q/pt of what is left, whatever the weights are."""
    surfaces = make_surfaces(alice3_v2_layers())
    scratch = k.make_scratch(len(surfaces.position))
    scratch.kick[0] = 0.299792458e-2 * 2.0 * (1.0 / 1.9 - 1.0 / 2.0)
    found = np.zeros(5)
    k.shift_fit(surfaces, make_rules(2.0), 2.0, 0.3, -1.0, 0.0, scratch, found)
    assert found[4] == pytest.approx(-(1.0 / 1.9 - 1.0 / 2.0), rel=2e-3)


def test_hits_that_it_does_not_make_any_more_do_not_count():
    """Left with 2 % of its momentum behind the seventh layer: as in a detector that ends where the electron gets to."""
    layers = alice3_v2_layers()
    surfaces, shorter = make_surfaces(layers), make_surfaces(Layers(*(column[:9] for column in layers)))
    kick = 0.299792458e-2 * 2.0 * (50.0 - 1.0) / 2.0
    found, expected = np.zeros((2, 5))
    scratch, short = k.make_scratch(len(surfaces.position)), k.make_scratch(9)
    scratch.kick[7] = short.kick[7] = kick
    scratch.reached[9:] = False
    k.shift_fit(surfaces, make_rules(2.0), 2.0, 0.3, -1.0, 0.0, scratch, found)
    k.shift_fit(shorter, make_rules(2.0), 2.0, 0.3, -1.0, 0.0, short, expected)
    assert found == pytest.approx(expected, rel=1e-9)
    assert expected[4] != 0.0
    scratch.reached[3:] = False  # too few for a fit
    found[:] = 0.25
    k.shift_fit(surfaces, make_rules(2.0), 2.0, 0.3, -1.0, 0.0, scratch, found)
    assert (found == 0.25).all()


def test_electrons_that_lose_nearly_all_keep_tracks_that_can_be():
    """Their hits end where they curl up, so no fit is further off than hits that are crossed below 60 degrees can tell."""
    surfaces = make_surfaces(alice3_v2_layers())
    roots = make_roots(20_000, 11, 2.0, (1.0, 0.2, 0.3))
    rows, vertices = follow(surfaces, roots, settings(conversions=False), b_z=2.0)
    left = np.full(20_000, 2.0)
    last = (rows.pdg == 11) & rows.leaves
    left[vertices.root[rows.vertex[last]]] = rows.momentum[last, 3]
    lost_nearly_all = left < 0.02
    assert lost_nearly_all.sum() >= 10
    assert np.abs(roots.shift[lost_nearly_all, 4]).max() > 0.5  # such kinks do count, as far as there are hits
    assert np.abs(roots.shift[:, 2]).max() < 0.5
    assert np.abs(roots.shift[:, 0]).max() < 1.0


def test_no_fit_no_shift():
    scratch = k.make_scratch(1)
    found = np.full(5, 0.25)
    k.shift_fit(SHELL, make_rules(2.0), 2.0, 0.0, -1.0, 0.0, scratch, found)
    assert (found == 0.25).all()


def test_without_room_it_says_so():
    roots = make_roots(100, 22, 20.0)
    rows, vertices = k.make_rows(20), k.make_vertices(20)
    surfaces = make_surfaces(make_layers([5.0], 1.0))
    result = k.cascade(
        surfaces, make_rules(2.0), settings(), np.arange(100, dtype=np.uint64), np.zeros(100, np.int32), KEY, roots, rows,
        vertices, k.make_scratch(1),
    )  # fmt: skip
    assert result == (-1, -1)


def test_a_root_does_not_depend_on_the_others():
    surfaces = make_surfaces(make_layers(np.linspace(5.0, 40.0, 5), 0.1))
    together, _ = follow(surfaces, make_roots(40, 22, 5.0), b_z=2.0)
    alone = make_roots(1, 22, 5.0)
    rows, vertices = k.make_rows(100), k.make_vertices(100)
    parts = []
    for event in range(40):
        alone = make_roots(1, 22, 5.0)
        n, _ = k.cascade(
            surfaces, make_rules(2.0), settings(), np.array([event], np.uint64), np.full(1, 7, np.int32), KEY, alone, rows,
            vertices, k.make_scratch(5),
        )  # fmt: skip
        parts.append(rows.momentum[:n].copy())
    np.testing.assert_array_equal(np.concatenate(parts), together.momentum)


def test_directions_turn_by_the_polar_angle():
    generator = np.random.default_rng(4)
    for d in [*generator.normal(size=(20, 3)), np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, -1.0])]:
        axis = d / np.linalg.norm(d)
        found = np.array(k.turned_1(tuple(axis), 0.3, 1.1))
        assert np.linalg.norm(found) == pytest.approx(1.0)
        assert found @ axis == pytest.approx(math.cos(0.3))
        other = np.array(k.turned_1(tuple(axis), 0.3, 1.1 + math.pi))
        assert (found + other) / 2.0 == pytest.approx(math.cos(0.3) * axis)
