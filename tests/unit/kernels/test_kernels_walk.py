"""The pieces of the walk through a detector: arcs, views, energy loss and its derivatives, each by another method."""

import math

import numpy as np
import pytest

from fastsim.kernels.conventions import CONVENTIONS
from fastsim.kernels.helix import transport
from fastsim.kernels.walk import (
    arc_to_cylinder_1,
    cross,
    go_back,
    lose_energy_1,
    make_path,
    measure_1,
    scatter,
    turn_1,
    walk,
)
from tests.oracles import (
    K_CURVATURE,
    PION_MASS,
    PROTON_MASS,
    add_disks,
    alice3_v2_layers,
    arc_to_cylinder,
    find_route,
    forward_disks,
    helix_position,
    highland,
    linear_track,
    make_layers,
    make_rules,
    make_surfaces,
    momentum_behind,
    of_silicon,
)


def walked(surfaces, rules, pt, tan_lambda, mass=PION_MASS, charge=1.0, r_birth=0.0):
    path = make_path(len(surfaces.position))
    n = walk(surfaces, rules, float(pt), float(tan_lambda), mass, float(charge), float(r_birth), path)
    return path, n


@pytest.mark.parametrize("c", [0.0, 1e-12, -1e-7, 0.003, -0.02])
@pytest.mark.parametrize(("u", "v"), [(0.0, 0.0), (3.0, 0.5), (3.0, -2.0)])
def test_arc_and_turn_follow_the_helix(c, u, v):
    """Start at distance hypot(u, v), u along the direction, v = r sin(incidence); Newton's method to radius 20."""
    start = (u, -v, 0.0, 0.0, 0.0, c or 1e-300)  # along x: the point lies at -v beside the direction
    expected = float(arc_to_cylinder(start, 20.0, 18.0))
    s = arc_to_cylinder_1(u, v, c, 20.0, 0.99)
    assert s == pytest.approx(expected, rel=1e-10)
    x, y, _ = helix_position(start, expected)
    phi = c * expected
    there = turn_1(u, v, c, s)
    assert there[0] == pytest.approx(x * math.cos(phi) + y * math.sin(phi), rel=1e-10)
    assert there[1] == pytest.approx(x * math.sin(phi) - y * math.cos(phi), rel=1e-10, abs=1e-10)


def test_arc_ends_at_the_largest_incidence():
    """sin(incidence) = r / 2R from the beam line (reference/tracking.md 1.1): R = 50 cm and 0.85 reach 85 cm."""
    for c in (1.0 / 50.0, -1.0 / 50.0):
        assert arc_to_cylinder_1(0.0, 0.0, c, 84.9, 0.85) == pytest.approx(100.0 * math.asin(0.849), rel=1e-12)
        assert math.isnan(arc_to_cylinder_1(0.0, 0.0, c, 85.1, 0.85))
        assert math.isnan(arc_to_cylinder_1(0.0, 0.0, c, 100.1, 1.0))


@pytest.mark.parametrize("is_disk", [False, True])
@pytest.mark.parametrize("angle", [0.0, 0.5 * math.pi, 0.1, -0.7])
@pytest.mark.parametrize("sin_incidence", [0.0, 0.3, -0.9])
@pytest.mark.parametrize("tan_lambda", [0.8, -2.5])
def test_views_are_derivatives_of_the_crossing(is_disk, angle, sin_incidence, tan_lambda):
    """Move an exact helix sideways by n and along z by dz, and see where it now crosses the cylinder or the disk.

    cos(angle) r-phi - sin(angle) z on a cylinder, r in place of z on a disk (fastsim.kernels.surfaces), by differences.
    """
    r, c = 40.0, 0.01
    phi = 0.4 + math.asin(sin_incidence)
    x0, y0 = r * math.cos(0.4), r * math.sin(0.4)
    seen = np.zeros(2)
    for k in range(2):
        crossing = []
        for step in (1e-4, -1e-4):
            n, dz = (step, 0.0) if k == 0 else (0.0, step)
            start = (x0 - n * math.sin(phi), y0 + n * math.cos(phi), dz, phi, tan_lambda, c)
            s = -dz / tan_lambda if is_disk else arc_to_cylinder(start, r, 0.0)
            x, y, z = helix_position(start, s)
            second = math.hypot(x, y) if is_disk else z
            crossing.append(math.cos(angle) * r * math.atan2(y, x) - math.sin(angle) * second)
        seen[k] = (crossing[0] - crossing[1]) / 2e-4
    found = measure_1(is_disk, angle, sin_incidence, math.sqrt(1.0 - sin_incidence**2), tan_lambda)
    assert found == pytest.approx(seen, abs=1e-6 * max(1.0, abs(tan_lambda)))


@pytest.mark.parametrize("is_disk", [False, True])
@pytest.mark.parametrize("tan_lambda", [0.6, -1.7])
@pytest.mark.parametrize("charge", [1.0, 2.0])
def test_loss_and_its_derivatives(is_disk, tan_lambda, charge):
    """q/pt behind a surface as a function of the state before, written out and differentiated by differences.

    A shift n of the track changes where it crosses a cylinder, and so the incidence there. 1e-3 is the kernel's
    integration of the loss, whose steps may lose 5 % of the kinetic energy.
    """
    r, sin_incidence, pt, mass, density, b_z = 30.0, 0.55, 0.5, PROTON_MASS, 0.3, 2.0
    c = -K_CURVATURE * b_z * charge / pt
    phi0 = math.asin(sin_incidence)

    def behind(state):
        n, dz, phi, slope, q_over_pt = state
        start = (r - n * math.sin(phi), n * math.cos(phi), dz, phi, slope, -K_CURVATURE * b_z * q_over_pt)
        if is_disk:
            slant = math.hypot(1.0, slope) / abs(slope)
        else:
            s = float(arc_to_cylinder(start, r, 0.0))
            x, y, _ = helix_position(start, s)
            direction = phi + start[5] * s
            slant = math.hypot(1.0, slope) / ((x * math.cos(direction) + y * math.sin(direction)) / r)
        p = charge / abs(q_over_pt) * math.hypot(1.0, slope)
        return q_over_pt * p / float(momentum_behind(p, mass, charge, density * slant, 200))

    centre = np.array([0.0, 0.0, phi0, tan_lambda, charge / pt])
    expected = np.zeros(5)
    for k, step in enumerate([1e-3, 1e-3, 1e-4, 1e-4, 1e-4]):
        shift = np.eye(5)[k] * step
        expected[k] = (behind(centre + shift) - behind(centre - shift)) / (2.0 * step)
    u, v = r * math.cos(phi0), r * sin_incidence
    views, loss = np.zeros((2, 2)), np.zeros(5)
    rules = make_rules(b_z, energy_loss=1)
    stereo = np.array([0.0, 0.5 * math.pi])
    after, jitter, t = cross(
        is_disk, u, v, c, tan_lambda, charge / pt, mass, charge, 0.02, density, stereo, rules, views, loss
    )
    assert after == pytest.approx(behind(centre), rel=1e-4)
    assert loss == pytest.approx(expected, rel=1e-3, abs=1e-3 * np.abs(expected[:4]).max())
    assert jitter == 0.0
    slant = math.hypot(1.0, tan_lambda) / (abs(tan_lambda) if is_disk else math.cos(phi0))
    assert t == pytest.approx(0.02 * slant, rel=1e-12)
    for m in range(2):
        assert tuple(views[m]) == measure_1(is_disk, stereo[m], v / r, u / r, tan_lambda)


def test_crossing_without_energy_loss_leaves_the_state_alone():
    views, loss = np.ones((2, 2)), np.ones(5)
    rules = make_rules(2.0)
    after, jitter, _ = cross(
        False, 9.0, 1.0, 0.01, 0.5, 1.25, PION_MASS, 1.0, 0.01, 0.5, np.zeros(2), rules, views, loss
    )
    assert (after, jitter) == (1.25, 0.0)
    assert loss[[0, 2, 3, 4]].tolist() == [0.0, 0.0, 0.0, 1.0]


def test_a_particle_may_stop():
    """1 MeV of kinetic energy of a proton is a range of 4 mg/cm2 in silicon (PSTAR)."""
    p = math.sqrt((PROTON_MASS + 1e-3) ** 2 - PROTON_MASS**2)
    after, *_ = lose_energy_1(0.1, 1.0, 0.0, 10.0, 0.0, 1.0, 0.0, 1.0 / p, 0.0, PROTON_MASS, 1.0, 0)
    assert math.isnan(after)


@pytest.mark.parametrize("tan_lambda", [0.3, -2.0, 4.5])
@pytest.mark.parametrize("energy_loss", [0, 1])
def test_walk_records_every_crossing(tan_lambda, energy_loss):
    """Against the oracle's bisection: order, arcs, places, incidence, q/pt; Jacobians and views of each step.

    1e-5: the loss, integrated in steps of up to 5 %, of up to 10 % of the momentum.
    """
    surfaces, pt = of_silicon(forward_disks()), 0.4
    path, n = walked(surfaces, make_rules(2.0, energy_loss=energy_loss), pt, tan_lambda)
    track = linear_track(surfaces, 2.0, pt, tan_lambda, energy_loss=bool(energy_loss))
    route = track.route
    assert path.surface[:n].tolist() == route.index.tolist()
    assert path.step[:n] == pytest.approx(route.steps, rel=1e-5, abs=1e-5)
    assert path.r[:n] == pytest.approx(track.r, rel=1e-5)
    assert path.q_over_pt[:n] == pytest.approx(track.q_over_pt, rel=1e-5)
    z = np.where(route.is_disk, surfaces.position[route.index], track.other)
    assert path.z[:n] == pytest.approx(z, rel=1e-5)
    for k in range(n):
        expected = np.zeros((5, 5))
        transport(path.step[k], -K_CURVATURE * 2.0 * path.q_over_pt[k], tan_lambda, 2.0, expected)
        assert path.jacobian[k] == pytest.approx(expected, rel=1e-12, abs=1e-14)
        cosine = math.sqrt(1.0 - path.sin_incidence[k] ** 2)
        for m in range(2):
            angle = surfaces.stereo[path.surface[k], m]
            found = measure_1(bool(route.is_disk[k]), angle, path.sin_incidence[k], cosine, tan_lambda)
            assert path.views[k, m] == pytest.approx(found, rel=1e-9, abs=1e-9)


def test_walk_without_fields_or_slope():
    """Straight tracks, and tracks that never meet a disk."""
    surfaces = add_disks(make_surfaces(make_layers([1.0, 2.0, 3.0], half_length=10.0)), [20.0, -20.0], 1.0, 50.0)
    path, n = walked(surfaces, make_rules(1e-12), 1.0, 0.0)
    assert path.surface[:n].tolist() == [0, 1, 2]
    assert path.step[:n] == pytest.approx([1.0, 1.0, 1.0], rel=1e-12)
    path, n = walked(surfaces, make_rules(1e-12), 1.0, -4.0)  # at 20 cm it is at r = 5
    assert path.surface[:n].tolist() == [0, 1, 4]
    assert path.r[:n] == pytest.approx([1.0, 2.0, 5.0], rel=1e-12)


def test_walk_stays_within_the_extent_of_each_surface():
    """z = s tan(lambda); a short inner layer does not hide a long outer one, nor a small disk a large one."""
    layers = make_layers([10.0, 20.0, 30.0], half_length=np.array([5.0, 30.0, 30.0]))
    surfaces = add_disks(make_surfaces(layers), [40.0, 50.0, -40.0], [1.0, 45.0, 1.0], [30.0, 60.0, 60.0])
    for charge in (1.0, -1.0):
        for tan_lambda, expected in ((0.9, [1, 2, 4]), (-0.9, [1, 2, 5]), (1.2, [1])):
            path, n = walked(surfaces, make_rules(1e-9), 1.0, tan_lambda, charge=charge)
            assert path.surface[:n].tolist() == expected
        path, n = walked(surfaces, make_rules(1e-9), 1.0, 1.4, charge=charge)  # z = 28 at r = 20, r = 28.6 at z = 40
        assert path.surface[:n].tolist() == [1, 3]
    pt = 40.0 * K_CURVATURE  # R = 40 cm at 1 T: s = 80 asin(30/80) = 30.8 cm to r = 30
    assert walked(surfaces, make_rules(1.0), pt, 0.95)[0].surface[:2].tolist() == [1, 2]
    path, n = walked(surfaces, make_rules(1.0), pt, 0.98)  # z = 30.2 cm there; r = 39.1 at z = 40, 47.6 at z = 50
    assert path.surface[:n].tolist() == [1, 4]


def test_walk_leaves_out_what_is_inside_the_production_radius():
    """Cylinders up to r_birth, and disks that the track crosses within it."""
    surfaces = add_disks(make_surfaces(make_layers([1.0, 2.0, 3.0], half_length=20.0)), [25.0, 50.0], 1.0, 90.0)
    for r_birth, expected in ((0.0, [0, 1, 2, 3, 4]), (1.0, [1, 2, 3, 4]), (2.5, [2, 3, 4]), (6.0, [4]), (11.0, [])):
        path, n = walked(surfaces, make_rules(1e-9), 1.0, 5.0, r_birth=r_birth)  # disks are crossed at r = 5 and 10
        assert path.surface[:n].tolist() == expected
        if n:
            assert path.step[0] == pytest.approx(path.r[0], rel=1e-9)  # from the beam line all the same


@pytest.mark.parametrize("tan_lambda", [1.1, -2.0])
@pytest.mark.parametrize("name", CONVENTIONS)
def test_scattering_uses_the_slant_thickness_and_the_momentum_there(tan_lambda, name):
    """t cosh(eta) / cos(incidence) on cylinders and t cosh / |sinh| on disks; p before the surface (tracking.md 0)."""
    surfaces, mass = of_silicon(forward_disks()), PROTON_MASS
    path, n = walked(surfaces, make_rules(2.0, energy_loss=1), 0.5, tan_lambda, mass, 2.0)
    slope = math.hypot(1.0, tan_lambda)
    is_disk = path.surface[:n] >= surfaces.n_cylinders
    slant = slope / np.where(is_disk, abs(tan_lambda), np.sqrt(1.0 - path.sin_incidence[:n] ** 2))
    t = surfaces.x_over_x0[path.surface[:n]] * slant
    p = 2.0 / path.q_over_pt[:n] * slope
    last = np.flatnonzero(surfaces.efficiency[path.surface[:n]] > 0.0)[-1]
    options = {
        "pdg_per_layer": {},
        "fat_per_layer": {"log_beta": False},
        "pdg_whole_path": {"t_log": t[: last + 1].sum()},
        "no_log": {"use_log": False},
    }[name]
    scatter(surfaces, make_rules(2.0, CONVENTIONS[name]), n, tan_lambda, mass, 2.0, path)
    if name == "fat_per_layer":  # ln t alone, also for charge 2
        expected = 0.0136 * 2.0 * np.hypot(p, mass) / p**2 * np.sqrt(t) * (1.0 + 0.038 * np.log(t))
    else:
        expected = highland(t, p, mass, 2.0, **options)
    assert np.sqrt(path.theta2[:n]) == pytest.approx(expected, rel=1e-12)


def test_going_back_undoes_every_step():
    surfaces, tan_lambda = of_silicon(forward_disks()), -1.8
    path, n = walked(surfaces, make_rules(2.0, energy_loss=1), 0.3, tan_lambda)
    go_back(make_rules(2.0), n, tan_lambda, path)
    for k in range(n):
        assert path.backward[k] @ path.jacobian[k] == pytest.approx(np.eye(5), abs=1e-9)


def test_the_oracle_finds_the_same_route_at_the_edge_of_reach():
    """A route is a matter of yes and no: scan momenta around where ALICE 3's outermost layers fall out of reach."""
    surfaces = make_surfaces(alice3_v2_layers())
    for pt in np.linspace(0.05, 0.4, 36):
        path, n = walked(surfaces, make_rules(2.0, max_sin_incidence=0.85), pt, 0.4)
        assert path.surface[:n].tolist() == find_route(surfaces, 2.0, pt, 0.4, PION_MASS, 1.0, 0.85).index.tolist()
