"""Calorimeters: cells, who leaves what where, clusters by brute force, tracks, and what is refused."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import gammainc

from fastsim import columns as c
from fastsim import toml
from fastsim.detector import Detector
from fastsim.devices import clusters as cl
from fastsim.devices.calorimeter import Calorimeters, make_grids, make_readout
from fastsim.devices.energy_flow import fill_neutral, group_clusters
from fastsim.errors import CardError
from fastsim.kernels import cells
from fastsim.kernels.shower import bock_1, em_share_1, gamma_p_1, mean_shape_1, n_spots_1, radial_1, response_1
from fastsim.rng import Streams
from fastsim.species import mass_of
from fastsim.units import speed_of_light
from tests.calorimeter_events import (
    BASE,
    ECAL,
    HCAL,
    IRON,
    PBWO4,
    detector,
    first_clusters,
    make_batch,
    module,
    particle,
    pointing,
    run,
)
from tests.object_events import assert_any_batch_size, only

EXACT = {**ECAL, "electromagnetic": {}, "position": {}}  # measures without errors
EXACT_HCAL = {**HCAL, "hadronic": {}}
ENDCAP = {
    **{k: v for k, v in EXACT.items() if k not in ("r", "half_length")},
    "name": "endcap", "z": 250.0, "r_min": 15.0, "r_max": 120.0,
}  # fmt: skip
TOWERS = {**{k: v for k, v in EXACT.items() if k != "cell_size"}, "tower_eta": 0.02, "tower_phi": 0.02}
TOWERS_FORWARD = {**{k: v for k, v in ENDCAP.items() if k != "cell_size"}, "tower_eta": 0.1, "tower_phi": 0.1}


@pytest.mark.parametrize(
    "table", [ECAL, ENDCAP, TOWERS, TOWERS_FORWARD], ids=["barrel", "disks", "towers", "forward towers"]
)
def test_cells_and_their_centres(table):
    """The cell of a cell's centre is the cell; neighbours are one step away; numbers do not repeat."""
    devices = detector(HCAL, table).calorimeters
    grids = make_grids(devices)
    rng = np.random.default_rng(1)
    first, last = (
        grids.number[1, cells.FIRST],
        grids.number[1, cells.FIRST] + grids.number[1, cells.N_1] * grids.number[1, cells.N_2],
    )
    assert first == grids.number[0, cells.N_1] * grids.number[0, cells.N_2]
    for _ in range(300):
        direction = rng.normal(size=3)
        x, y, z, is_there = cells.onto_surface_1(grids, 1, *direction)
        if not is_there:
            continue
        cell = cells.cell_1(grids, 1, x, y, z)
        assert (
            first <= cell < last + (grids.number[1, cells.N_1] * grids.number[1, cells.N_2] if table is ENDCAP else 0)
        )
        centre = cells.centre_1(grids, 1, cell)
        assert cells.cell_1(grids, 1, *centre) == cell
        g = np.array(cells.on_grid_1(grids, 1, x, y, z))
        g_centre = np.array(cells.on_grid_1(grids, 1, *centre))
        assert (np.abs(g - g_centre) <= 0.5 + 1e-9).all()
        for d_1, d_2 in ((1, 0), (-1, 1), (0, -1)):
            other = cells.neighbour_1(grids, 1, cell, d_1, d_2)
            if other >= 0:
                step = np.array(cells.on_grid_1(grids, 1, *cells.centre_1(grids, 1, other))) - g_centre
                if table is not ENDCAP:
                    step[0] = math.remainder(step[0], grids.number[1, cells.N_1])
                assert step == pytest.approx([d_1, d_2], abs=1e-6)
                assert cells.neighbour_1(grids, 1, other, -d_1, -d_2) == cell


def test_points_beside_the_surface_are_seen_from_the_origin():
    grids = make_grids(detector(ECAL, ENDCAP).calorimeters)
    assert cells.onto_surface_1(grids, 0, 0.0, 240.0, 100.0) == pytest.approx((0.0, 120.0, 50.0, True))
    assert not cells.onto_surface_1(grids, 0, 0.0, 120.0, 200.1)[3]
    assert cells.onto_surface_1(grids, 1, 50.0, 0.0, -500.0) == pytest.approx((25.0, 0.0, -250.0, True))
    assert not cells.onto_surface_1(grids, 1, 20.0, 0.0, 500.0)[3]  # nearer to the beam than r_min
    assert not cells.onto_surface_1(grids, 1, 20.0, 0.0, 0.0)[3]
    assert not cells.onto_surface_1(grids, 0, 0.0, 0.0, 1.0)[3]


def test_disks_on_one_side():
    own = module({**ENDCAP, "both_sides": False})
    batch = run(own, [[pointing(22, 5.0, eta=2.0)], [pointing(22, 5.0, eta=-2.0)]])
    assert np.diff(batch.offsets["cluster"]).tolist() == [1, 0]


def test_incomplete_gamma():
    for a in (0.3, 0.62, 1.0, 3.7, 25.0):
        for x in (0.0, 1e-6, 0.4, 1.9, 4.0, 26.5, 90.0):
            assert gamma_p_1(a, x) == pytest.approx(gammainc(a, x), rel=1e-11, abs=1e-13)


def test_gflash_numbers_by_hand():
    """hep-ex/0001020 A.1 for lead (Z = 82), y = 1000, 10 GeV, tau = 1; worked out on paper with ln y = 6.9078, ln E = 2.3026."""
    ln_t, sigma_t, ln_alpha, sigma_alpha, rho = mean_shape_1(math.log(1000.0), 82.0)
    assert (math.exp(ln_t), 1 / sigma_t) == pytest.approx((6.0958, 7.3038), abs=1e-4)
    assert (math.exp(ln_alpha), 1 / sigma_alpha, rho) == pytest.approx((4.1641, 5.3607, 0.5461), abs=1e-4)
    core, tail, share = radial_1(1.0, math.log(10.0), 82.0)
    assert core == pytest.approx(0.0251 + 0.00735 + 0.08496, abs=1e-4)
    assert tail == pytest.approx(0.40562 * (math.exp(-0.91945) + math.exp(0.355 * 0.45543)), rel=1e-3)  # k_4 with .0421
    u = (0.55434 - 1.0) / 1.15504
    assert share == pytest.approx(2.55492 * math.exp(u - math.exp(u)), rel=1e-3)
    assert n_spots_1(10.0, 82.0) == pytest.approx(93 * 4.4067 * 7.5162, rel=1e-4)
    assert mean_shape_1(0.5, 82.0) == mean_shape_1(2.0, 82.0)  # no meaning below


def test_hadronic_numbers_by_hand():
    assert bock_1(10.0) == pytest.approx((1.34942, 0.2198, 0.85533), abs=1e-5)
    assert bock_1(0.1) == bock_1(1.0)
    assert em_share_1(0.9, False) == 0.0
    assert em_share_1(100.0, False) == pytest.approx(1 - 100**-0.18)
    assert em_share_1(100.0, True) == pytest.approx(1 - (100 / 2.6) ** -0.18)
    assert response_1(100.0, False, 1.0) == pytest.approx(1.0)
    assert response_1(0.5, False, 2.0) == pytest.approx(0.5)


NEUTRON, KAON = mass_of(2112), 10.0
RESPONSES = [
    (22, 10.0, 10.0, 0.0), (11, 10.0, 10.0, 0.0), (-11, 10.0, 10.0, 0.0), (111, 10.0, 10.0, 0.0),
    (13, 10.0, 0.25, 2.0), (211, 10.0, 1.0, 9.0), (2112, 10.0, 0.1 * (10 - NEUTRON), 0.9 * (10 - NEUTRON)),
    (-2112, 10.0, 0.1 * (10 + NEUTRON), 0.9 * (10 + NEUTRON)), (130, KAON, 1.0, 9.0), (310, 10.0, 3.0, 7.0),
    (3122, 10.0, 0.3 * (10 - mass_of(3122)), 0.7 * (10 - mass_of(3122))),
    (1000010020, 10.0, 0.1 * (10 - mass_of(1000010020)), 0.9 * (10 - mass_of(1000010020))),
    (12, 10.0, 0.0, 0.0), (-14, 10.0, 0.0, 0.0), (1000022, 10.0, 0.0, 0.0), (211, 0.3, 0.25, 0.05),
]  # fmt: skip
SHARING = {**EXACT, "hadron_fraction": 0.1, "mip": 0.25, "fractions": [{"pdg": [310, 3122], "fraction": 0.3}]}


@pytest.mark.parametrize(("pdg", "energy", "ecal", "hcal"), RESPONSES)
def test_response_to_each_kind(pdg, energy, ecal, hcal):
    """Photons and electrons leave all, muons that of a minimum-ionising particle, hadrons shares of what can be absorbed.

    Neutrinos leave nothing. Without field, so that soft ones arrive.
    """
    own = module(SHARING, {**EXACT_HCAL, "mip": 2.0}, b_z=1e-9)
    batch = run(own, [[pointing(pdg, energy, eta=0.2, phi=0.4)]])
    found = dict(zip(batch[c.CLUSTER_IS_HCAL].tolist(), batch[c.CLUSTER_ENERGY].tolist(), strict=True))
    assert found.get(False, 0.0) == pytest.approx(ecal, rel=1e-9)
    assert found.get(True, 0.0) == pytest.approx(hcal, rel=1e-9)


def test_without_an_ecal_all_is_left_for_the_hcal():
    own = module(EXACT_HCAL)
    assert run(own, [[pointing(22, 10.0)], [pointing(211, 5.0)]])[c.CLUSTER_ENERGY] == pytest.approx([10.0, 5.0])


def test_smaller_response_to_hadrons():
    """f_em + (1 - f_em) h/e, worked out for 100 GeV: f_em = 0.5635."""
    own = module({**EXACT_HCAL, "e_over_h": 1.5})
    energy = run(own, [[pointing(211, 100.0)]])[c.CLUSTER_ENERGY]
    assert energy == pytest.approx([100 * (0.56348 + 0.43652 / 1.5)], rel=1e-4)


def test_a_charged_particle_arrives_where_its_circle_does():
    """From a displaced point, by two circles that cross (computed in the plane); time along the helix."""
    p, at, b_z = (1.0, 0.5, 0.4), (3.0, -2.0, 5.0), 2.0
    own = module({**EXACT, "position": {}, "time": {}, "hadron_fraction": 1.0}, b_z=b_z)
    batch = run(own, [[particle(211, p, at, time=0.7)]])
    pt = math.hypot(*p[:2])
    radius = pt / (0.299792458e-2 * b_z)
    centre = np.array(at[:2]) + radius * np.array([p[1], -p[0]]) / pt  # positive charges turn clockwise
    d = np.hypot(*centre)
    a = (120.0**2 - radius**2 + d**2) / (2 * d)
    h = math.sqrt(120.0**2 - a**2)
    both = [a * centre / d + sign * h * np.array([-centre[1], centre[0]]) / d for sign in (1, -1)]
    angle = math.inf
    for point in both:
        turned = [math.atan2(q[1], q[0]) for q in (np.array(at[:2]) - centre, point - centre)]
        turn = (turned[0] - turned[1]) % (2 * math.pi)
        if turn < angle:
            angle, found = turn, point
    assert [batch[column][0] for column in c.CLUSTER_PLACE[:2]] == pytest.approx(found, abs=1e-9)
    s = angle * radius
    assert batch[c.CLUSTER_PLACE[2]][0] == pytest.approx(at[2] + s * p[2] / pt, abs=1e-9)
    momentum = math.sqrt(pt**2 + p[2] ** 2)
    beta = momentum / math.hypot(momentum, mass_of(211))
    assert batch[c.CLUSTER_TIME][0] == pytest.approx(0.7 + s * momentum / pt / (beta * speed_of_light), abs=1e-9)


def test_the_nearer_of_barrel_and_disks_takes_it():
    own = module(EXACT, ENDCAP)
    batch = run(
        own,
        [
            [pointing(22, 5.0, eta=0.5)],
            [pointing(22, 5.0, eta=2.0)],
            [pointing(22, 5.0, eta=-1.55)],
            [pointing(22, 5.0, eta=4.0)],
        ],
    )
    assert np.diff(batch.offsets["cluster"]).tolist() == [1, 1, 1, 0]
    assert batch[c.CLUSTER_CALORIMETER].tolist() == [0, 1, 1]
    assert batch[c.CLUSTER_ETA] == pytest.approx([0.5, 2.0, -1.55])


def test_what_decays_behind_the_surface_is_seen_itself():
    """K0S to two pi0: inside the barrel the photons count, behind its surface the kaon does, and nobody counts twice."""
    kaon = pointing(310, 10.0)

    def event(r):
        daughters = [particle(22, (5.0, y, 0.0), mother=0) for y in (0.2, -0.2)]
        return [{**kaon, "status": 2, "ends": (r, 0.0, 0.0)}, *daughters]

    own = module({**EXACT, "fractions": [{"pdg": [310], "fraction": 0.3}]}, EXACT_HCAL)
    batch = run(own, [event(60.0), event(130.0), event(200.0), [kaon]])
    found = [
        sorted(batch[c.CLUSTER_ENERGY][batch.offsets["cluster"][i] : batch.offsets["cluster"][i + 1]]) for i in range(4)
    ]
    assert found[0] == pytest.approx([math.hypot(5, 0.2)] * 2)
    assert found[1] == found[2] == found[3] == pytest.approx([3.0, 7.0])
    assert batch[c.CLUSTER_PARTICLE].tolist() == [1, 2, 0, 0, 0, 0, 0, 0]


def test_born_behind_or_along_the_beam_is_not_seen():
    own = module(EXACT)
    batch = run(
        own, [[particle(22, (1.0, 0, 0), (121.0, 0, 0)), particle(22, (0.0, 0.0, 5.0)), particle(11, (0.05, 0, 0))]]
    )
    assert len(batch[c.CLUSTER_ENERGY]) == 0


@pytest.mark.parametrize(("d_phi", "n"), [(0.9, 1), (2.1, 2)])
def test_two_photons_of_one_or_two_clusters(d_phi, n):
    """Closer than a cell: one, of both energies at the mean place; more than two apart: two."""
    own = module(EXACT)
    step = own._grids.step[0, 0]
    pair = [pointing(22, 3.0, phi=0.1), pointing(22, 1.0, phi=0.1 + d_phi * step)]
    batch = run(own, [pair])
    assert batch[c.CLUSTER_ENERGY] == pytest.approx([4.0] if n == 1 else [3.0, 1.0])
    assert batch[c.CLUSTER_EM_TRUE] == pytest.approx(1.0)
    assert batch[c.CLUSTER_PARTICLE].tolist() == [0, 1][:n]
    expected = [0.1 + 0.25 * d_phi * step] if n == 1 else [0.1, 0.1 + d_phi * step]
    assert batch[c.CLUSTER_PHI] == pytest.approx(expected, abs=1e-5)


def test_across_the_edge_of_azimuth():
    own = module(EXACT)
    batch = run(own, [[pointing(22, 3.0, phi=math.pi - 1e-3), pointing(22, 1.0, phi=-math.pi + 1e-3)]])
    assert batch[c.CLUSTER_ENERGY] == pytest.approx([4.0])
    assert batch[c.CLUSTER_PHI] == pytest.approx([math.pi - 5e-4], abs=1e-6)


def brute_force_clusters(energies, neighbours, places, seed, length):
    """Clusters of one calorimeter by the text of `find_clusters`: cell -> {seed: share}. Arguments by cell."""
    maxima = [
        a for a, e in energies.items() if e >= seed and all(energies[b] < e for b in neighbours[a] if b in energies)
    ]
    shares = {}
    for a in sorted(energies, key=lambda a: -energies[a]):
        near = [b for b in neighbours[a] if b in maxima]
        if a in maxima:
            shares[a] = {a: 1.0}
        elif near:
            weights = {b: energies[b] * math.exp(-np.linalg.norm(places[a] - places[b]) / length) for b in near}
            shares[a] = {b: w / sum(weights.values()) for b, w in weights.items()}
        else:
            best = max((b for b in neighbours[a] if b in energies), key=lambda b: energies[b], default=a)
            owners = shares.get(best) if best != a and energies[best] > energies[a] else None
            shares[a] = {max(owners, key=owners.get): 1.0} if owners else {}
    return shares


def test_clusters_by_brute_force():
    """A patch of 12 x 12 cells across the edge of azimuth, some of them empty."""
    own = detector({**ECAL, "thresholds": {"seed": 0.3}})
    grids, readout = make_grids(own.calorimeters), make_readout(own.calorimeters, False)
    rng = np.random.default_rng(3)
    middle = cells.cell_1(grids, 0, -120.0, 1e-6, 0.5)
    patch = [cells.neighbour_1(grids, 0, middle, i, j) for i in range(-6, 6) for j in range(-6, 6)]
    used = rng.permutation([cell for cell in patch if rng.random() < 0.7])
    room = cl.make_cells(len(used))
    room.cell[:] = used
    room.energy[:] = rng.exponential(0.5, len(used)) * (rng.random(len(used)) < 0.95)
    room.place[:] = [cells.centre_1(grids, 0, cell) for cell in used]
    found = cl.make_clusters(len(used))
    links = cl.make_links(len(used))
    n = cl.find_clusters(np.array([0, len(used)]), grids, readout, room, links, found, np.zeros(2, dtype=np.int64))
    cl.share_cells(readout, links, room)
    energies = {cell: e for cell, e in zip(used.tolist(), room.energy, strict=True) if e > 0}
    neighbours = {
        a: [cells.neighbour_1(grids, 0, a, i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j] for a in energies
    }
    places = dict(zip(used.tolist(), room.place, strict=True))
    expected = brute_force_clusters(energies, neighbours, places, 0.3, 2.0 / 2.5)
    assert n == sum(a in shares for a, shares in expected.items()) > 5
    assert any(len(s) > 1 for s in expected.values())
    for row, cell in enumerate(used.tolist()):
        ours = {int(used[found.seed[o]]): s for o, s in zip(room.owner[row], room.share[row], strict=True) if o >= 0}
        assert ours == pytest.approx(expected.get(cell, {}))


def test_thresholds():
    """Of cells, of the highest cell, of the cluster."""
    photons = [[pointing(22, e)] for e in (0.05, 0.2, 0.5, 2.0)]
    for thresholds, left in (({"cell": 0.1}, 3), ({"seed": 0.3}, 2), ({"cluster": 1.0}, 1)):
        assert len(run(module({**EXACT, "thresholds": thresholds}), photons)[c.CLUSTER_ENERGY]) == left


def test_order_of_clusters():
    """Calorimeter by calorimeter, highest energy first."""
    own = module({**EXACT, "hadron_fraction": 0.5}, EXACT_HCAL)
    batch = run(
        own,
        [
            [
                pointing(22, 1.0, phi=1.0),
                pointing(22, 3.0, phi=2.0),
                pointing(211, 4.0, phi=-1.0),
                pointing(130, 9.0, phi=-2.0),
            ]
        ],
    )
    assert batch[c.CLUSTER_CALORIMETER].tolist() == [0, 0, 0, 0, 1, 1]
    assert batch[c.CLUSTER_ENERGY] == pytest.approx([4.5, 3.0, 2.0, 1.0, 4.5, 2.0])


def test_towers_add_both_calorimeters():
    """Sizes of 0.1 in eta, and 63 towers around."""
    own = module({**EXACT, "hadron_fraction": 0.25}, EXACT_HCAL, tower_eta=0.1, tower_phi=0.1)
    batch = run(own, [[], [pointing(130, 8.0, eta=-0.36, phi=0.52), pointing(22, 3.0, eta=0.77, phi=-3.14)]])
    energy, em, had, eta, phi = (batch[column] for column in c.TOWER)
    assert batch.offsets["tower"].tolist() == [0, 0, 2]
    assert (energy, em, had) == (pytest.approx([8.0, 3.0]), pytest.approx([2.0, 3.0]), pytest.approx([6.0, 0.0]))
    assert eta == pytest.approx([-0.35, 0.75])
    assert phi == pytest.approx([(36.5 / 63) * 2 * math.pi - math.pi, 0.5 / 63 * 2 * math.pi - math.pi])
    assert c.TOWER[0] not in module(EXACT).makes


def test_tracks_are_linked_to_their_clusters():
    own = module({**EXACT, "hadron_fraction": 0.25, "mip": 0.2}, EXACT_HCAL)
    event = [
        pointing(22, 7.0, phi=2.0), pointing(211, 4.0, phi=0.3, found=True), pointing(-11, 5.0, phi=-1.0, found=True),
        pointing(13, 6.0, eta=0.5, found=True), pointing(-211, 4.0, phi=-2.5), pointing(211, 0.2, found=True),
    ]  # fmt: skip
    batch = run(own, [[], event])
    mask, energy, e_over_p, h_mask, h_energy, _ = (batch[column] for column in own.makes[-6:])
    assert mask.tolist() == [True, True, True, False, False]
    assert h_mask.tolist() == [True, False, False, False, False]
    assert energy[:3] == pytest.approx([1.0, 5.0, 0.2])
    assert np.isnan(energy[3:]).all()
    assert h_energy[0] == pytest.approx(3.0)
    assert e_over_p[1] == pytest.approx(1.0, abs=1e-6)
    linked = dict(zip(batch[c.CLUSTER_PARTICLE].tolist()[:5], batch[c.CLUSTER_TRACK].tolist()[:5], strict=True))
    assert linked == {0: -1, 1: 0, 2: 1, 3: 2, 4: -1}
    distance = batch[c.CLUSTER_DISTANCE][:5]
    assert np.isnan(distance[[i == -1 for i in batch[c.CLUSTER_TRACK][:5]]]).all()
    assert np.nanmax(distance) < 1e-9


def test_energy_flow_of_a_pion_and_a_photon():
    """A photon in the pion's cluster is what exceeds the track; alone, the pion leaves nothing neutral."""
    own = module({**EXACT, "hadron_fraction": 0.25}, EXACT_HCAL)
    pion = pointing(211, 8.0, found=True)
    batch = run(own, [[pion], [pion, pointing(22, 5.0, phi=-0.055)], [pointing(22, 5.0)], [pointing(130, 8.0)]])
    neutral, offsets = batch[c.CLUSTER_NEUTRAL], batch.offsets["cluster"]
    assert neutral[: offsets[1]].tolist() == [0.0, 0.0]
    assert offsets[2] - offsets[1] == 2  # merged in the ecal
    assert neutral[offsets[1] : offsets[2]] == pytest.approx([5.0, 0.0], abs=1e-6)
    assert neutral[offsets[2] :] == pytest.approx([5.0, 2.0, 6.0])


def test_energy_flow_by_hand():
    """Clusters: ecal 4 and 2, hcal 9 and 6 GeV, each of 1 GeV uncertainty; tracks link 4 with 9 (5 GeV), 2 with nothing (3)."""
    energy, is_hcal = np.array([4.0, 2.0, 9.0, 6.0]), np.array([False, False, True, True])
    links = np.array([[0, 2], [1, -1], [-1, -1]])
    group = group_clusters(links, 4)
    assert (group[0], group[1] == group[3], group[0] == group[1]) == (group[2], False, False)
    found = np.empty(4)
    for significance, expected in ((3.9, [4.0, 0.0, 4.0, 6.0]), (4.1, [0.0, 0.0, 0.0, 6.0])):  # 8 / sqrt(1 + 1 + 2) = 4
        fill_neutral(
            links,
            group,
            np.array([5.0, 3.0, 7.0]),
            np.array([2.0, 0.1, 0.1]),
            energy,
            np.ones(4),
            is_hcal,
            significance,
            found,
        )
        assert found.tolist() == pytest.approx(expected)


def many(seed=5, sizes=(30, 0, 1, 17)):
    rng = np.random.default_rng(seed)
    return [
        [
            pointing(
                int(rng.choice([22, 211, -211, 11, 130, 2112, 13])), 1.0 + rng.exponential(4.0), eta=rng.uniform(-1.2, 1.2),
                phi=rng.uniform(-3.14, 3.14), found=bool(rng.random() < 0.9),
            )
            for _ in range(n)
        ]
        for n in sizes
    ]  # fmt: skip


FULL = (
    {
        **ECAL,
        "material": PBWO4,
        "mip": 0.25,
        "hadron_fraction": 0.2,
        "time": {"constant_ps": 30.0, "stochastic_ps": 50.0},
    },
    {**HCAL, "material": IRON, "mip": 2.0, "e_over_h": 1.3},
)


@pytest.mark.parametrize("level", ["parametric", "detailed"])
def test_any_batch_size_and_only_what_is_needed(level):
    own = module(*FULL, level=level, tower_eta=0.1, tower_phi=0.1)
    batch = make_batch(many(), first_event=7)
    assert_any_batch_size(own, only(batch, own.needs), Streams(3))
    for nothing in ([], [[]]):
        assert len(run(own, nothing)[c.CLUSTER_ENERGY]) == 0


@pytest.mark.parametrize("level", ["parametric", "detailed"])
def test_others_move_no_draw(level):
    """Particles elsewhere, and another order of particles of other events, leave a cluster as it is."""
    own = module(*FULL, level=level)
    alone = run(own, [[pointing(22, 5.0, phi=1.0)]])
    crowd = run(own, [[pointing(22, 5.0, phi=1.0), pointing(22, 3.0, phi=-2.0)]])
    assert alone[c.CLUSTER_ENERGY][0] == crowd[c.CLUSTER_ENERGY][0]
    assert alone[c.CLUSTER_TIME][0] == crowd[c.CLUSTER_TIME][0]


@pytest.mark.parametrize("level", ["parametric", "detailed"])
def test_the_jit_changes_nothing(level, tmp_path):
    """The same numbers to rounding in a process without numba's compiler."""
    script = (
        "import pickle, sys\n"
        "from tests.unit.devices.test_calorimeter import FULL, many, module, run\n"
        "batch = run(module(*FULL, level=sys.argv[1]), many(sizes=(3,)))\n"
        "pickle.dump({str(k): v for k, v in batch.columns.items()}, open(sys.argv[2], 'wb'))\n"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    root = Path(__file__).parent.parent.parent.parent
    subprocess.run([sys.executable, "-c", script, level, tmp_path / "out"], check=True, env=environment, cwd=root)
    without = pickle.loads((tmp_path / "out").read_bytes())
    for column, array in run(module(*FULL, level=level), many(sizes=(3,))).columns.items():
        np.testing.assert_allclose(without[str(column)], array, rtol=1e-9, atol=1e-12, err_msg=str(column))


def refused(**changed):
    """Message for an ECAL with these keys; None takes one away."""
    table = {k: v for k, v in {**ECAL, **changed}.items() if v is not None}
    with pytest.raises(CardError) as error:
        detector(table)
    return str(error.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cell_size": None}, "needs cell_size (square cells), or tower_eta and tower_phi, and not both"),
        ({"tower_eta": 0.1, "tower_phi": 0.1}, "needs cell_size (square cells), or tower_eta and tower_phi, and not both"),
        ({"cell_size": None, "tower_eta": 0.1}, "needs cell_size (square cells), or tower_eta and tower_phi, and not both"),
        ({"cell_size": 0.001}, "makes 3e+11 cells; at most 2.1e+09 can be told apart"),
        ({"electromagnetic": None}, "electromagnetic: missing: an ecal needs it"),
        ({"kind": "hcal"}, "hadronic: missing: an hcal needs it"),
        ({"kind": "hcal", "hadronic": {}, "hadron_fraction": 0.1}, "hadron_fraction: belongs to an ecal"),
        ({"electromagnetic": {"stochastic": -0.1}}, "greater than or equal to 0"),
        ({"fractions": [{"pdg": [310], "fraction": 1.2}]}, "less than or equal to 1"),
        ({"fractions": [{"pdg": [310, 310], "fraction": 0.2}]}, "PDG code 310 has more than one share"),
        ({"e_over_h": 0.0}, "greater than or equal to 0.3"),
        ({"material": {**PBWO4, "x0": 0.0}}, "greater than 0"),
        ({"kind": "zdc"}, "'ecal' or 'hcal'"),
        ({"r": None, "half_length": None, "z": 250.0, "r_min": 0.0, "r_max": 100.0, "cell_size": None, "tower_eta": 0.1,
          "tower_phi": 0.1}, "r_min: must be above 0: towers in eta do not reach the beam line"),
    ],
)  # fmt: skip
def test_refused(changed, message):
    assert message in refused(**changed)


def test_refused_places(tmp_path):
    """With file and line."""
    with pytest.raises(CardError, match=r"170 cm is not behind the ecal 'ecal', at 180 cm"):
        detector({**ECAL, "r": 180.0}, {**HCAL, "r": 170.0})
    with pytest.raises(CardError, match=r"z: 240 cm is not behind the ecal 'endcap', at 250 cm"):
        detector(
            ENDCAP,
            {
                **{k: v for k, v in ENDCAP.items() if k != "electromagnetic"},
                "name": "h",
                "kind": "hcal",
                "z": 240.0,
                "hadronic": {},
            },
        )
    path = tmp_path / "detector.toml"
    path.write_text("""schema_version = 1
name = "small"
source = "a test"
b_z = 2.0
layers = [
  { name = "last", r = 80.0, half_length = 100.0, x_over_x0 = 0.01, sigma_rphi_um = 10, sigma_z_um = 10, efficiency = 1.0 },
]
[[calorimeters]]
name = "ecal"
kind = "ecal"
r = 79.5
half_length = 100.0
cell_size = 2.0
electromagnetic = { stochastic = 0.1 }
[[calorimeters]]
name = "forward"
kind = "ecal"
z = 90.0
r_min = 20.0
r_max = 100.0
cell_size = 2.0
electromagnetic = { stochastic = 0.1 }
[[disks]]
name = "D0"
z = -95.0
r_min = 5.0
r_max = 30.0
x_over_x0 = 0.01
both_sides = false
sigma_rphi_um = 10
sigma_r_um = 10
efficiency = 1.0
""")
    with pytest.raises(CardError) as error:
        toml.validate(Detector, toml.read(path))
    told = str(error.value)
    assert f"{path}:11: calorimeters[0].r: 79.5 cm is not outside the tracker, whose layer last is at 80 cm" in told
    assert f"{path}:18: calorimeters[1].z: 90 cm is not outside the tracker, whose layer last is at 100 cm" in told
    path.write_text(
        path.read_text()
        .replace("z = 90.0\nr_min = 20.0", "z = 94.0\nr_min = 82.0")
        .replace("r_max = 30.0", "r_max = 85.0")
    )
    with pytest.raises(CardError, match=r":18: .*: 94 cm is not outside the tracker, whose layer D0 is at 95 cm"):
        toml.validate(Detector, toml.read(path))
    volume = {"name": "drift", "r_first": 36.0, "pitch": 1.0, "n_layers": 100, "half_length": 200.0, "efficiency": 1.0}
    with pytest.raises(CardError, match=r"120 cm is not outside the tracker, whose layer drift is at 135 cm"):
        detector(ECAL, drift_volumes=[volume])


def test_faulty_tables_are_told_not_raised():
    """Validators get raw files."""
    for tables in (3, [3], [{"fractions": 3, "cell_size": "x", "r": True}], [{"fractions": [3, {"pdg": 3}]}]):
        with pytest.raises(CardError):
            toml.validate(Detector, toml.Document({**BASE, "calorimeters": tables}))


def test_refused_options():
    with pytest.raises(
        CardError, match=r"modules.calorimeter.devices: 'emcal' is no calorimeter of test \(it has: ecal\)"
    ):
        module(ECAL, devices=["emcal"])
    with pytest.raises(CardError, match=r"module 'calorimeter': test has no \[\[calorimeters\]\]"):
        module()
    with pytest.raises(CardError, match=r"needs the material of calorimeter 'ecal' in test"):
        module(ECAL, level="detailed")
    faults = list(Calorimeters.Options.faults({"tower_eta": 0.1}))
    assert faults == [(("tower_eta",), "needs the other size of towers too: tower_eta and tower_phi")]


def test_particles_of_clusters_follow_what_is_kept_of_the_truth():
    from fastsim.truth import select_truth

    event = [
        particle(2212, (0.0, 0.0, 6500.0), status=4, ends=(0.0, 0.0, 0.0)),
        particle(21, (1.0, 0.0, 3.0), status=44, mother=0),
    ]
    event += [pointing(22, 5.0, mother=0)]
    batch = run(module(EXACT), [event])
    assert batch[c.CLUSTER_PARTICLE].tolist() == [2]
    kept = select_truth(batch, "standard")
    assert kept[c.PDG][kept[c.CLUSTER_PARTICLE]].tolist() == [22]
    assert len(kept[c.PDG]) < 3
    assert select_truth(batch, "none")[c.CLUSTER_PARTICLE].tolist() == [-1]


def test_only_some_devices():
    own = module(EXACT, EXACT_HCAL, devices=["hcal"])
    batch = run(own, [[pointing(22, 5.0)]])
    assert first_clusters(batch, c.CLUSTER_ENERGY) == pytest.approx(5.0)
    assert batch[c.CLUSTER_CALORIMETER].tolist() == [1]
    assert "ecal_energy" not in {column.name for column in own.makes}
