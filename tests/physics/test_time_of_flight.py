"""Time of flight: pulls, event times, separation ranges, charge-2 nuclei, secondaries, by closed forms and by small steps."""

from __future__ import annotations

import itertools
import math
import re

import awkward as ak
import numpy as np
import pytest

import fastsim
from fastsim import columns as c
from fastsim.species import NAMES, SPECIES
from tests.oracles import K_CURVATURE
from tests.tof_events import (
    FORWARD,
    INNER,
    LIGHT,
    OUTER,
    PERFECT,
    applied,
    assert_normal,
    indices,
    make_batch,
    module,
    of_species,
)

MASS = {s.name: s.mass for s in SPECIES}
N = 20_000


def one_by_one(species, pt, eta, *, seed=1, **more):
    """One track an event, in all directions and of both charges."""
    generator = np.random.default_rng(seed)
    n = len(np.atleast_1d(pt))
    return make_batch(
        np.ones(n),
        species,
        pt,
        eta,
        generator.uniform(-np.pi, np.pi, n),
        generator.choice([-1, 1], n),
        seed=seed,
        **more,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", [INNER, OUTER, FORWARD], ids=lambda layer: layer["name"])
def test_n_sigma_of_the_true_species_is_normal(name, layer):
    """All nine, from the lowest momenta that reach the layer well inside its range, up; the event time is known.

    A track that just reaches the layer is measured where the error of its length is not linear in that of q/pt: excluded by
    twice the smallest rigidity, pt / z = k B r / 2.
    """
    generator = np.random.default_rng(3)
    species = NAMES.index(name)
    z = SPECIES[species].charge
    rigidity = 2 * K_CURVATURE * 2.0 * 85.0 / 2 * generator.uniform(1.0, 4.0, N) ** 2
    eta = generator.uniform(2.3, 3.5, N) if layer is FORWARD else generator.uniform(-1.5, 1.5, N)
    batch = one_by_one(species, z * rigidity, eta)
    made = applied(module(layer, **PERFECT), batch)
    measured = made[f"{layer['name']}_is_measured"]
    assert measured.mean() > 0.95
    assert_normal(of_species(made[f"{layer['name']}_n_sigma"], species)[measured])


def test_the_track_is_part_of_the_uncertainty():
    """Slow 3He in a layer without errors of its own: all of the width is the track's, with its correlations."""
    n = N
    batch = one_by_one(NAMES.index("he3"), np.full(n, 2.0), np.full(n, 0.9))
    made = applied(module({**OUTER, "sigma_ps": 0.01}, **PERFECT), batch)
    pulls = of_species(made["otof_n_sigma"], NAMES.index("he3"))
    assert (of_species(made["otof_sigma"], NAMES.index("he3")) > 5e-3).all()
    assert_normal(pulls)


@pytest.mark.parametrize("n_tracks", [1, 2, 3, 4, 5, 12])
def test_event_time_with_true_species(n_tracks):
    """Collisions spread by 200 ps: pulls of the event time and of the tracks have width 1, from one track on.

    With the known species it is a weighted mean with the beams: 1 / sigma^2 = 1 / 200^2 + n / 20^2 for equal tracks.
    """
    n_events = N // n_tracks
    generator = np.random.default_rng(n_tracks)
    n, t0 = n_events * n_tracks, generator.normal(0, 0.2, n_events)
    species = generator.choice(indices(["pi", "ka", "pr"]), n)
    batch = make_batch(
        np.full(n_events, n_tracks), species, generator.uniform(0.5, 3, n), generator.uniform(-1, 1, n),
        generator.uniform(-np.pi, np.pi, n), generator.choice([-1, 1], n), resolution=0.01,
        point=np.column_stack([np.zeros((n, 3)), np.repeat(t0, n_tracks)]), vertex=np.column_stack([np.zeros((n_events, 3)), t0]),
    )  # fmt: skip
    made = applied(module(OUTER, event_time="true_species"), batch)
    assert (made["event.tof_n_event_time"] == n_tracks).all()
    sigma = made["event.tof_sigma_event_time"]
    # The floor takes weight from tracks at 3 sigma and more: a percent.
    np.testing.assert_allclose(np.median(sigma), (1 / 0.2**2 + n_tracks / 0.02**2) ** -0.5, rtol=0.01)
    assert_normal((made["event.tof_event_time"] - t0) / sigma)
    without = (1 / 0.2**2 + (n_tracks - 1) / 0.02**2) ** -0.5
    np.testing.assert_allclose(np.median(made["tof_sigma_event_time"]), without, rtol=0.01)
    assert_normal(
        (made["tof_event_time"] - np.repeat(t0, n_tracks)) / made["tof_sigma_event_time"], 4.5 * n_tracks**0.5
    )
    # Tracks of an event share its others, so their n-sigma are correlated: first of each event.
    assert_normal(of_species(made["otof_n_sigma"], species)[::n_tracks])


def test_the_mistake_of_upstream():
    """DelphesO2 keeps the track in its own event time from 5 tracks on, and adds the errors: variance (N - 1) / (N + 1).

    The same from our columns, beside ours, which is 1 (reference/tracking.md 4: width 0.816 at N = 5).
    """
    n_tracks, n_events = 5, 8000
    generator = np.random.default_rng(5)
    n = n_events * n_tracks
    batch = make_batch(
        np.full(n_events, n_tracks),
        2,
        generator.uniform(2, 3, n),
        0.0,
        generator.uniform(-np.pi, np.pi, n),
        1,
        resolution=0.01,
    )
    made = applied(module(OUTER, event_time="true_species", sigma_event_time_ps=1e6), batch)
    difference = (
        made["otof_time"] - np.repeat(made["event.tof_event_time"], n_tracks) - made["otof_time_expected"][:, 2]
    )
    theirs = difference / np.hypot(0.02, np.repeat(made["event.tof_sigma_event_time"], n_tracks))
    expected = (n_tracks - 1) / (n_tracks + 1)
    assert (
        abs(theirs.var() / expected - 1) < 4.5 * np.sqrt(2 / (n_events * (n_tracks - 1))) + 0.01
    )  # the floor: a percent
    assert_normal(made["otof_n_sigma"][::n_tracks, 2])


def mixed_events(n_tracks, n_events, *, seed=1, resolution=1.0):
    """pi, K and p as often as the module thinks, soft as in pp, collisions spread by 200 ps."""
    generator = np.random.default_rng(seed)
    n, t0 = n_events * n_tracks, generator.normal(0, 0.2, n_events)
    species = generator.choice(indices(["pi", "ka", "pr"]), n, p=[0.85, 0.10, 0.05])
    batch = make_batch(
        np.full(n_events, n_tracks), species, 0.25 + generator.gamma(2.0, 0.3, n), generator.uniform(-1, 1, n),
        generator.uniform(-np.pi, np.pi, n), generator.choice([-1, 1], n), resolution=resolution, seed=seed,
        point=np.column_stack([np.zeros((n, 3)), np.repeat(t0, n_tracks)]), vertex=np.column_stack([np.zeros((n_events, 3)), t0]),
    )  # fmt: skip
    return batch, species, t0


def core(pulls):
    """Width of a Gaussian from the part within 3 sigma; the width of a normal cut there is 0.98658."""
    cut = pulls[np.abs(pulls) < 3]
    return cut.std() / 0.98658, len(cut)


@pytest.mark.parametrize(
    ("n_tracks", "most_wrong"), [(1, 0.08), (2, 0.01), (3, 2e-3), (4, 1e-3), (5, 1e-3), (9, 1e-3), (40, 1e-3)]
)
@pytest.mark.parametrize("layers", [[OUTER], [INNER, OUTER]], ids=["one layer", "two layers"])
def test_event_time_with_unknown_species(layers, n_tracks, most_wrong):
    """Cores of width 1 and mean 0; wrong combinations of species in the tails, which die out with the number of tracks."""
    n_events = N // n_tracks
    batch, species, t0 = mixed_events(n_tracks, n_events)
    made = applied(module(*layers), batch)
    pulls = (made["event.tof_event_time"] - t0) / made["event.tof_sigma_event_time"]
    width, n = core(pulls)
    assert abs(width - 1) < 4.5 / np.sqrt(2 * n)
    assert abs(pulls[np.abs(pulls) < 3].mean()) < 4.5 / np.sqrt(n)
    assert (np.abs(pulls) > 5).mean() < most_wrong
    # n-sigma of the first track of each event, whose event time comes of the others.
    n_sigma = of_species(made["otof_n_sigma"], species)[::n_tracks]
    width, n = core(n_sigma[~np.isnan(n_sigma)])
    assert abs(width - 1) < 4.5 / np.sqrt(2 * n)


def test_one_track_alone_is_taken_for_the_most_probable_species():
    """Fractions times the spread of the collisions, by hand: as often wrong as that; two layers compare times by themselves."""
    batch, species, t0 = mixed_events(1, N)
    p = np.sqrt(sum(batch[column] ** 2 for column in c.MOMENTUM))
    made = applied(module(OUTER), batch)
    length = made["otof_length"]
    time = length[:, None] / LIGHT * np.sqrt(1 + (np.array([MASS[k] for k in ("pi", "ka", "pr")]) / p[:, None]) ** 2)
    starts = t0[:, None] + of_species(time, species - 2)[:, None] - time
    best = np.argmax(np.log([0.85, 0.10, 0.05]) - starts**2 / 2 / (0.2**2 + 0.02**2), axis=1)
    expected = np.abs(of_species(starts, best) - t0) > 0.15
    pulls = (made["event.tof_event_time"] - t0) / made["event.tof_sigma_event_time"]
    wrong = np.abs(pulls) > 7
    assert 0.03 < expected.mean() < 0.07
    assert abs(wrong.mean() - expected.mean()) < 0.05 * expected.mean()
    both = applied(module(INNER, OUTER), batch)
    pulls = (both["event.tof_event_time"] - t0) / both["event.tof_sigma_event_time"]
    assert (np.abs(pulls) > 7).mean() < 0.1 * wrong.mean()


def test_many_tracks_beat_the_beams():
    """sigma / sqrt(n) of n equal tracks; the species are found out, so it costs nothing not to know them."""
    n_tracks, n_events = 100, 200
    batch, _, t0 = mixed_events(n_tracks, n_events)
    known = applied(module(OUTER, event_time="true_species"), batch)
    unknown = applied(module(OUTER), batch)
    assert np.median(known["event.tof_sigma_event_time"]) == pytest.approx(0.02 / np.sqrt(n_tracks), rel=0.1)
    for made in (known, unknown):
        assert_normal((made["event.tof_event_time"] - t0) / made["event.tof_sigma_event_time"])
    ratio = unknown["event.tof_sigma_event_time"] / known["event.tof_sigma_event_time"]
    assert 0.99 < np.median(ratio) < 1.2


def test_all_combinations_of_few_tracks():
    """ALICE's way (arXiv:1610.03055): of all 3^n combinations the one of least chi2, as probable as its species are.

    With hypotheses that exclude each other both find the same combination, and its weighted mean.
    """
    n_tracks, n_events = 4, 200
    batch, _, _ = mixed_events(n_tracks, n_events, resolution=0.01)
    made = applied(module(OUTER), batch)
    start = made["otof_time"][:, None] - made["otof_time_expected"][:, 2:5]
    gap = np.abs(start[:, :, None] - start[:, None, :])[:, *np.triu_indices(3, 1)].min(axis=1)
    fractions, compared = np.log([0.85, 0.10, 0.05]), 0
    for event in range(n_events):
        rows = slice(event * n_tracks, (event + 1) * n_tracks)
        if gap[rows].min() < 0.2:  # ten sigma
            continue
        best = (math.inf, 0.0)
        for choice in itertools.product(range(3), repeat=n_tracks):
            times = np.append(start[rows][np.arange(n_tracks), choice], 0.0)
            weights = np.append(np.full(n_tracks, 0.02**-2), 0.2**-2)
            mean = (weights * times).sum() / weights.sum()
            chi2 = (weights * (times - mean) ** 2).sum() - 2 * fractions[list(choice)].sum()
            best = min(best, (chi2, mean, np.abs(times - mean)[:-1].max()))
        if best[2] < 0.05:  # within 2.5 sigma, where the floor counts nothing
            assert made["event.tof_event_time"][event] == pytest.approx(best[1], abs=1e-3)
            compared += 1
    assert compared > 50


@pytest.mark.parametrize(
    ("layer", "eta"), [(INNER, 0.0), (OUTER, 0.0), (FORWARD, 2.6)], ids=["19 cm", "85 cm", "forward"]
)
@pytest.mark.parametrize(("light", "heavy"), [("el", "pi"), ("pi", "ka"), ("ka", "pr")])
def test_separation_ranges_of_alice_3(layer, eta, light, heavy):
    """3 sigma at L / (c sigma) (1/beta_1 - 1/beta_2) = 3 of straight tracks (reference/tracking.md 4), to 5 %; printed.

    The published ranges are of this kind: 20 ps (Letter of Intent, CERN-LHCC-2022-009).
    """
    p = np.geomspace(0.2, 20.0, 4000)
    length = (layer["r"] if "r" in layer else layer["z"] / math.tanh(eta)) * (math.cosh(eta) if "r" in layer else 1.0)

    def inverse_beta(name):
        return np.sqrt(1 + (MASS[name] / p) ** 2)

    def last_above(separation):
        return p[np.flatnonzero(separation > 3.0)[-1]]

    expected = last_above(length / LIGHT / 0.02 * (inverse_beta(heavy) - inverse_beta(light)))
    batch = make_batch(np.ones(len(p)), NAMES.index(light), p / math.cosh(eta), eta, 0.3, 1, resolution=0.3)
    n_sigma = applied(module(layer, **PERFECT), batch)[f"{layer['name']}_n_sigma"]
    found = last_above(n_sigma[:, NAMES.index(light)] - n_sigma[:, NAMES.index(heavy)])
    print(f"{layer['name']} {light}/{heavy}: 3 sigma up to {found:.2f} GeV, closed form {expected:.2f} GeV")
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", ["he3", "al"])
def test_charge_2(name):
    """Of momentum p at rigidity p / 2: time, beta and the squared mass over charge; and as a proton of the same rigidity."""
    species = NAMES.index(name)
    pt = np.array([2.5, 4.0, 10.0])
    batch = one_by_one(species, pt, 0.0, resolution=1e-6)
    made = applied(module({**OUTER, "sigma_ps": 1e-3}, **PERFECT), batch)
    beta = pt / np.hypot(pt, MASS[name])
    radius = pt / 2 / (K_CURVATURE * 2.0)
    length = 2 * radius * np.arcsin(85.0 / 2 / radius)
    np.testing.assert_allclose(made["otof_length"], length, rtol=1e-6)
    np.testing.assert_allclose(of_species(made["otof_time_expected"], species), length / beta / LIGHT, rtol=1e-5)
    np.testing.assert_allclose(made["otof_time"], length / beta / LIGHT, rtol=1e-5)
    np.testing.assert_allclose(made["otof_beta"], beta, rtol=1e-5)
    np.testing.assert_allclose(made["otof_mass2"], (MASS[name] / 2) ** 2, rtol=1e-3)
    as_proton = length / LIGHT * np.sqrt(1 + (MASS["pr"] / (pt / 2)) ** 2)
    np.testing.assert_allclose(made["otof_time_expected"][:, NAMES.index("pr")], as_proton, rtol=1e-5)


def stepped(point, momentum, charge, mass, b_z, r):
    """Time [ns] when a particle in the field crosses the radius r [cm], by Runge and Kutta's method in steps of 5 ps."""
    energy = math.sqrt(momentum @ momentum + mass * mass)
    state, time, h = np.concatenate([point[:3], momentum]), point[3], 0.005

    def derivative(y):
        velocity = y[3:] / energy * LIGHT
        turn = K_CURVATURE * b_z * charge  # dp/dt = q v x B, p in GeV and v in cm/ns
        return np.concatenate([velocity, turn * np.array([velocity[1], -velocity[0], 0.0])])

    while math.hypot(state[0], state[1]) < r:
        last = state
        a = derivative(state)
        b = derivative(state + 0.5 * h * a)
        d = derivative(state + 0.5 * h * b)
        e = derivative(state + h * d)
        state = state + h / 6 * (a + 2 * b + 2 * d + e)
        time += h
    radii = math.hypot(last[0], last[1]), math.hypot(state[0], state[1])
    return time - h * (radii[1] - r) / (radii[1] - radii[0])


@pytest.mark.parametrize("b_z", [2.0, -0.5])
def test_pions_of_a_k0s(b_z):
    """Decays 3 to 18 cm away: the K0S flies with its own velocity, then each pion on its helix; by small steps.

    What is expected of a pion from the vertex is earlier: the K0S is slower than its pions, and the way has a bend.
    """
    generator = np.random.default_rng(8)
    n, mass_k0 = 60, 0.497611
    distance, eta, phi = generator.uniform(3, 18, n), generator.uniform(-1, 1, n), generator.uniform(-np.pi, np.pi, n)
    pt = generator.uniform(0.6, 2.0, n)
    direction = np.array([np.cos(phi), np.sin(phi), np.sinh(eta)]) / np.cosh(eta)
    p = pt * np.cosh(eta)
    born = 0.123
    point = np.vstack([distance * direction, born + distance * np.hypot(p, mass_k0) / p / LIGHT]).T
    own_phi = phi + generator.normal(0, 0.2, n)
    charge = generator.choice([-1, 1], n)
    vertex = np.tile([0, 0, 0, born], (n, 1))
    batch = make_batch(
        np.ones(n), 2, pt, eta, own_phi, charge, point=point, vertex=vertex, b_z=b_z, resolution=1e-6, contributes=False
    )
    made = applied(module({**OUTER, "sigma_ps": 1e-3}, b_z=b_z, **PERFECT), batch)
    assert made["otof_is_measured"].all()
    for i in range(n):
        momentum = pt[i] * np.array([np.cos(own_phi[i]), np.sin(own_phi[i]), np.sinh(eta[i])])
        expected = stepped(point[i], momentum, charge[i], MASS["pi"], b_z, 85.0)
        assert made["otof_time"][i] == pytest.approx(expected, abs=2e-5)  # 20 fs: the draws have 1 fs
    assert (made["otof_time"] - born > made["otof_time_expected"][:, 2]).mean() > 0.9


def test_the_sign_of_the_field():
    """Reversed field and charges: the same helices. Reversed field alone: from the beam line the mirrored ones, as long."""
    n = 500
    generator = np.random.default_rng(9)
    species, pt, eta = generator.integers(0, 9, n), generator.uniform(1, 5, n), generator.uniform(-3, 3, n)
    tracks = {"species": species, "pt": pt, "eta": eta, "phi": generator.uniform(-np.pi, np.pi, n)}
    charge = generator.choice([-1, 1], n)
    layers = ({**OUTER, "sigma_ps": 1e-3}, {**FORWARD, "sigma_ps": 1e-3})
    reference, other, mirrored = (
        applied(
            module(*layers, b_z=b_z, **PERFECT), make_batch(np.ones(n), **tracks, charge=q, b_z=b_z, resolution=1e-6)
        )
        for b_z, q in ((2.0, charge), (-2.0, -charge), (-2.0, charge))
    )
    for made in (other, mirrored):
        for name in ("otof", "ftof"):
            np.testing.assert_array_equal(made[f"{name}_is_measured"], reference[f"{name}_is_measured"])
            for column in ("length", "time", "time_expected"):
                np.testing.assert_allclose(made[f"{name}_{column}"], reference[f"{name}_{column}"], atol=2e-4)


def test_late_tails():
    """Beyond 0.89 sigma exponential: the part that is late, its mean, and the Gaussian below; from numerical integrals."""
    n, tail = 40_000, 0.89
    batch = one_by_one(np.full(n, 2), np.full(n, 2.0), np.zeros(n), resolution=1e-6)
    made = applied(module({**OUTER, "tail_from": tail}, **PERFECT), batch)
    x = made["otof_n_sigma"][:, 2]
    grid = np.linspace(-10, 40, 500_001)
    density = np.where(grid < tail, np.exp(-(grid**2) / 2), np.exp(-tail * (grid - tail / 2)))
    density /= density.sum()
    mean = (density * grid).sum()
    sigma = math.sqrt((density * grid**2).sum() - mean**2)
    assert abs(x.mean() - mean) < 4.5 * sigma / math.sqrt(n)
    for cut in (-1.0, 0.0, 0.5, tail, 2.0, 4.0):
        expected = density[grid > cut].sum()
        assert abs((x > cut).mean() - expected) < 4.5 * math.sqrt(expected * (1 - expected) / n)
    off = applied(module({**OUTER, "tail_from": tail}, tails=False, **PERFECT), batch)
    assert_normal(off["otof_n_sigma"][:, 2])


def test_pulls_in_ttbar_events(ttbar, tmp_path):
    """All of it, on real events: tables, vertices, event times of unknown species; tracks of the primary vertex.

    Born at the vertex, for what decays nearby is another story. 0.3 % may be beyond 3 sigma, as many as of a normal.
    """
    original = fastsim.resources.find("detectors", "alice3_v2").read_text()
    detector = tmp_path / "alice3_tof.toml"
    kept = re.sub(r"(?ms)^\[\[(tof|rich|dedx|calorimeters)\]\].*?(?=^\[|\Z)", "", original)
    tables = ""
    for layer in (INNER, OUTER, FORWARD):
        lines = [f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in layer.items()]
        tables += "\n\n[[tof]]\n" + "\n".join(lines)
    detector.write_text(kept + tables + "\n")
    card = tmp_path / "card.toml"
    spot = "sigma_x_um = 50.0, sigma_y_um = 50.0, sigma_z = 5.0, sigma_t = 0.2"
    kinds = ('name = "vertex", kind = "vertex", level = "fit"', 'name = "tof", kind = "tof", level = "parametric"')
    modules = "".join(f"  {{ {kind} }},\n" for kind in kinds)
    card.write_text(f'extends = "alice3"\ndetector = "{detector}"\nbeam_spot = {{ {spot} }}\nmodules = [\n{modules}]\n')
    events = ak.concatenate(list(fastsim.simulate([ttbar] * 5, card)))
    pulls = ak.to_numpy((events.tof_event_time - events.vertex_t_true) / events.tof_sigma_event_time)
    assert_normal(pulls)
    particles = events.particles[events.tracks.particle_index]
    vertex = events.vertices[particles.production_vertex]
    away = (
        (vertex.x - events.vertex_x_true) ** 2
        + (vertex.y - events.vertex_y_true) ** 2
        + (vertex.z - events.vertex_z_true) ** 2
    )
    tracks = ak.flatten(events.tracks[events.tracks.is_contributor & (away < 1e-8)])
    for layer in (INNER, OUTER, FORWARD):
        measured = tracks[tracks[f"{layer['name']}_is_measured"]]
        species = ak.to_numpy(measured.species)
        n_sigma = of_species(ak.to_numpy(measured[f"{layer['name']}_n_sigma"]), species)
        for name in ("pi", "ka", "pr"):
            own = n_sigma[species == NAMES.index(name)]
            width, n = core(own)
            # Tracks of an event share its time, which is known to a tenth of the layer's resolution.
            assert abs(width - 1) < 4.5 / np.sqrt(2 * n) + 0.01
            assert abs(np.median(own)) < 4.5 * np.sqrt(np.pi / 2 / n) + 0.02
            assert (np.abs(own) > 5).mean() < 2e-3
