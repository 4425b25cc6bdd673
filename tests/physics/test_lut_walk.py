"""The walk through a detector against an integration of the equations of motion (scipy), and its reach and production radius."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from fastsim.kernels.walk import make_path, walk
from tests.oracles import (
    JIT_IS_OFF,
    K_CURVATURE,
    KAON_MASS,
    MUON_MASS,
    PION_MASS,
    PROTON_MASS,
    add_disks,
    forward_disks,
    make_layers,
    make_rules,
    make_surfaces,
    merge_layers,
    of_silicon,
    passive_layers,
    random_detector,
    solve,
    stopping_power,
    without,
)


def walked(surfaces, rules, pt, tan_lambda, mass=PION_MASS, charge=1.0, r_birth=0.0):
    path = make_path(len(surfaces.position))
    n = walk(surfaces, rules, float(pt), float(tan_lambda), mass, float(charge), float(r_birth), path)
    return path, n


def integrated(surfaces, b_z, pt, tan_lambda, mass, charge, max_sin_incidence):
    """dx/ds = t, dt/ds = c (z-hat x t) until the next surface, dE/dx through it, and so on; s is the transverse arc.

    Yields (surface, step, r, z, sine of the incidence, momentum before).
    """
    state, turned, gone = np.array([0.0, 0.0, 0.0, 1.0, 0.0]), 0.0, set()
    slope = math.hypot(1.0, tan_lambda)
    p = pt * slope
    while True:
        c = -K_CURVATURE * b_z * charge * slope / p

        def motion(_, at, c=c):
            return [at[3], at[4], tan_lambda, -c * at[4], c * at[3]]

        def event(i):
            def crossing(_, at):
                return (at[2] if i >= surfaces.n_cylinders else math.hypot(at[0], at[1])) - surfaces.position[i]

            return crossing

        events = [event(i) for i in range(len(surfaces.position))]
        left = max((math.pi - turned) / abs(c), 0.0)
        motion_to = solve_ivp(
            motion, (0.0, min(left, 1500.0)), state, events=events, rtol=1e-11, atol=1e-11, max_step=5.0
        )
        found = []
        for i, (times, states) in enumerate(zip(motion_to.t_events, motion_to.y_events, strict=True)):
            for s, there in zip(times, states, strict=True):
                r, radial = math.hypot(there[0], there[1]), there[0] * there[3] + there[1] * there[4]
                sine = (there[0] * there[4] - there[1] * there[3]) / r
                extent = r if i >= surfaces.n_cylinders else there[2]
                is_out = i < surfaces.n_cylinders and (radial < 0.0 or abs(sine) > max_sin_incidence)
                if i not in gone and s > 1e-9 and not is_out and surfaces.low[i] <= extent <= surfaces.high[i]:
                    found.append((s, i, r, sine, there))
        if not found:
            return
        s, i, r, sine, state = min(found, key=lambda hit: hit[0])
        turned += abs(c) * s
        gone.add(i)
        yield i, s, r, state[2], sine, p
        cosine = (state[0] * state[3] + state[1] * state[4]) / r
        x = surfaces.areal_density[i] * slope / (abs(tan_lambda) if i >= surfaces.n_cylinders else cosine)
        if x > 0.0:
            start = [math.hypot(p, mass)]
            loss = solve_ivp(
                lambda _, e: [-float(stopping_power(math.sqrt(e[0] ** 2 - mass**2), mass, charge))],
                (0.0, x), start, rtol=1e-10, atol=1e-13,
            )  # fmt: skip
            p = math.sqrt(loss.y[0, -1] ** 2 - mass**2)


@pytest.mark.parametrize("energy_loss", [0, 1])
def test_walk_agrees_with_an_integration_of_the_motion(energy_loss):
    """Which surfaces, in which order, where, at what incidence and momentum: random detectors, tracks and species.

    The kernel integrates the loss in steps of 5 % of the kinetic energy: 1e-4 of what is lost (tested elsewhere).
    """
    generator = np.random.default_rng(3)
    n_cells, n_on_disks = 0, 0
    for _ in range(8 if JIT_IS_OFF else 30):
        surfaces = of_silicon(random_detector(generator))
        if not energy_loss:
            surfaces = surfaces._replace(areal_density=np.zeros_like(surfaces.areal_density))
        b_z, charge = generator.choice([0.5, 2.0]), generator.choice([1.0, 2.0])
        mass = generator.choice([MUON_MASS, PION_MASS, KAON_MASS, PROTON_MASS])
        pt = charge * (0.1 + mass) * 10.0 ** generator.uniform(0.0, 1.5)
        tan_lambda, max_sin = math.sinh(generator.uniform(-3.0, 3.0)), generator.uniform(0.5, 0.95)
        rules = make_rules(b_z, max_sin_incidence=max_sin, energy_loss=energy_loss)
        path, n = walked(surfaces, rules, pt, tan_lambda, mass, charge)
        expected = list(integrated(surfaces, b_z, pt, tan_lambda, mass, charge, max_sin))
        index, step, r, z, sine, p = (np.array(column) for column in zip(*expected, strict=True))
        assert path.surface[:n].tolist() == index.tolist()
        found_p = charge / np.abs(path.q_over_pt[:n]) * math.hypot(1.0, tan_lambda)
        assert found_p == pytest.approx(p, abs=1e-12 * p[0] + 2e-4 * (p[0] - p[-1]))
        tolerance = 1e-7 + 100.0 * float(np.max(np.abs(found_p / p - 1.0)))  # cm: of 100 cm
        assert path.step[:n] == pytest.approx(step, abs=tolerance)
        assert path.r[:n] == pytest.approx(r, abs=tolerance)
        assert path.z[:n] == pytest.approx(z, abs=tolerance * max(1.0, abs(tan_lambda)))
        assert path.sin_incidence[:n] == pytest.approx(sine, abs=1e-9 + 0.1 * tolerance)
        n_cells += n
        n_on_disks += np.count_nonzero(index >= surfaces.n_cylinders)
    assert n_cells > (40 if JIT_IS_OFF else 150)
    assert n_on_disks > n_cells // 20


def test_surfaces_inside_the_production_radius_are_not_there():
    """A track born at r sees what the detector without everything inside r shows to a track from the beam line."""
    surfaces = of_silicon(forward_disks())
    rules = make_rules(2.0, energy_loss=1, straggling=1)
    is_disk = np.arange(len(surfaces.position)) >= surfaces.n_cylinders
    for r in (0.49, 2.0, 3.7, 8.0, 31.0):
        outer = without(surfaces, ~is_disk & (surfaces.position <= r))
        low = np.where(np.arange(len(outer.position)) >= outer.n_cylinders, np.maximum(outer.low, r), outer.low)
        for tan_lambda in (0.3, -2.0, 5.0):
            found = solve(surfaces, rules, 0.8, tan_lambda, r=r)
            expected = solve(outer._replace(low=low), rules, 0.8, tan_lambda)
            assert found.efficiency == expected.efficiency
            assert np.array_equal(found.covariance, expected.covariance)
            assert found.efficiency > 0.0 or r == 31.0


def test_reach():
    """min_radius: the circle's diameter times the largest sine must exceed it, for forward tracks as for central ones.

    sin(incidence) at radius r is r / 2R (tracking.md 1.1): R = pt / (k B |q|). Disks inside count all the same.
    """
    surfaces = forward_disks()
    rules = make_rules(2.0, max_sin_incidence=0.85, min_radius=60.0)
    for charge in (1.0, -1.0, 2.0):
        limit = 0.5 * 60.0 * K_CURVATURE * 2.0 * abs(charge) / 0.85
        for tan_lambda in (0.1, -4.0):
            assert solve(surfaces, rules, limit * 1.0001, tan_lambda, charge=charge).efficiency == 1.0
            assert solve(surfaces, rules, limit * 0.9999, tan_lambda, charge=charge).efficiency == 0.0


def test_cylinders_end_where_the_incidence_is_too_flat_but_disks_do_not():
    """R = 50 cm: at sin 0.85 cylinders end at r = 85 cm; disks count for half a turn, that is z = pi R tan(lambda)."""
    surfaces = make_surfaces(make_layers([10.0, 84.9, 85.1, 99.0], half_length=1000.0))
    surfaces = add_disks(surfaces, [50.0, 156.9, 157.3], r_max=200.0)
    pt = 50.0 * K_CURVATURE * 2.0
    for charge in (1.0, -1.0):
        path, n = walked(surfaces, make_rules(2.0, max_sin_incidence=0.85), pt, 1.0, charge=charge)
        assert path.surface[:n].tolist() == [0, 4, 1, 5]  # s = 10.0, 50.0, 101.4, 156.9: half a turn is 157.08
        path, n = walked(surfaces, make_rules(2.0, max_sin_incidence=0.995), pt, 1.0, charge=charge)
        assert path.surface[:n].tolist() == [0, 4, 1, 2, 3, 5]


def test_a_particle_that_stops_leaves_no_more_hits():
    """A slow proton in thick walls: range by the integral of dx/dE, silicon."""
    walls = merge_layers(passive_layers([5.0, 15.0], 0.0), make_layers([1.0, 2.0, 3.0, 10.0, 20.0], sigma=1e-3))
    mass, pt = PROTON_MASS, 0.5
    energies = np.linspace(mass * 1.002, math.hypot(pt, mass), 20001)
    middle = 0.5 * (energies[1:] + energies[:-1])
    reach = np.sum(np.diff(energies) / stopping_power(np.sqrt(middle**2 - mass**2), mass))  # g/cm2
    for share, hits in ((0.49, 5), (0.55, 4), (1.02, 3)):
        surfaces = make_surfaces(walls, areal_density=np.where(walls.efficiency > 0.0, 0.0, share * reach))
        path, n = walked(surfaces, make_rules(0.5, energy_loss=1), pt, 0.0, mass)
        assert np.count_nonzero(surfaces.efficiency[path.surface[:n]] > 0.0) == hits
