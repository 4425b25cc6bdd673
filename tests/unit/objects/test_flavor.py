"""Flavour of jets: what is heaviest among what is nearest."""

from __future__ import annotations

import math

import numpy as np
import pytest
from particle import PDGID

from fastsim.objects import flavor as f
from tests.object_events import make_batch, particle

HADRONS, PARTONS = f.Flavor(), f.Flavor(heavy="partons")


def label(others, jets=((0.0, 0.0),), options=HADRONS):
    """Flavour of jets at (eta, phi) in one event."""
    batch = make_batch([[]], [others])
    eta, phi = (np.array([jet[i] for jet in jets], dtype=float) for i in range(2))
    return f.flavor_of_jets(batch, np.array([0, len(jets)]), eta, phi, options).tolist()


@pytest.mark.parametrize(
    ("others", "by_hadrons", "by_partons"),
    [
        ([], 0, 0),
        ([particle(pdg=211, pt=50.0)], 0, 0),
        ([particle(pdg=21, pt=10.0)], 21, 21),
        ([particle(pdg=-2, pt=10.0), particle(pdg=21, pt=20.0)], 21, 21),  # the hardest of the light ones
        ([particle(pdg=-2, pt=30.0), particle(pdg=21, pt=20.0), particle(pdg=3, pt=10.0)], 2, 2),
        ([particle(pdg=3, pt=4.9)], 0, 0),  # too soft
        ([particle(pdg=6, pt=100.0), particle(pdg=24, pt=90.0), particle(pdg=22, pt=80.0)], 0, 0),
        ([particle(pdg=5, pt=50.0), particle(pdg=1, pt=60.0)], 1, 5),
        ([particle(pdg=-4, pt=50.0), particle(pdg=1, pt=60.0)], 1, 4),
        ([particle(pdg=-521, pt=50.0), particle(pdg=1, pt=60.0)], 5, 1),
        ([particle(pdg=4122, pt=50.0), particle(pdg=1, pt=60.0)], 4, 1),
        ([particle(pdg=421, pt=50.0), particle(pdg=-511, pt=6.0)], 5, 0),  # b before c, however soft
        ([particle(pdg=-511, pt=6.0), particle(pdg=421, pt=50.0)], 5, 0),
        ([particle(pdg=443, pt=50.0), particle(pdg=553, pt=50.0)], 0, 0),  # hidden charm and beauty
    ],
)
def test_what_is_near(others, by_hadrons, by_partons):
    assert label(others) == [by_hadrons]
    assert label(others, options=PARTONS) == [by_partons]


def test_only_within_the_distance():
    assert label([particle(pdg=511, pt=20.0, eta=0.29)]) == [5]
    assert label([particle(pdg=511, pt=20.0, eta=0.31)]) == [0]
    assert label([particle(pdg=511, pt=20.0, eta=0.31)], options=f.Flavor(delta_r=0.4)) == [5]
    assert label([particle(pdg=511, pt=20.0, phi=-3.1)], jets=[(0.0, 3.1)]) == [5]  # across phi = pi


def test_nearest_jet_only():
    """One hadron makes one b jet, even where two are close enough."""
    assert label([particle(pdg=511, pt=20.0, eta=0.2)], jets=[(0.0, 0.0), (0.3, 0.0)]) == [0, 5]
    assert label([particle(pdg=511, pt=20.0, eta=0.2), particle(pdg=21, pt=9.0)], jets=[(0.0, 0.0), (0.3, 0.0)]) == [
        21,
        5,
    ]


def tau(*decay, pt=30.0):
    return [particle(pdg=15, pt=pt, ends=1), *(particle(born=1, **given) for given in decay)]


NEUTRINO = {"pdg": 16, "pt": 10.0, "phi": 2.0}


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (tau({"pdg": -211, "pt": 20.0}, NEUTRINO), 15),
        (tau({"pdg": -211, "pt": 3.0}, {"pdg": 111, "pt": 3.0}, NEUTRINO), 15),  # together above 5 GeV
        (tau({"pdg": -211, "pt": 3.0}, NEUTRINO), 0),
        (tau({"pdg": 11, "pt": 20.0}, {"pdg": -12, "pt": 9.0}, NEUTRINO), 0),
        (tau({"pdg": 13, "pt": 20.0}, {"pdg": -14, "pt": 9.0}, NEUTRINO), 0),
        (tau({"pdg": 15, "pt": 20.0}, {"pdg": 22, "pt": 9.0}), 0),  # a copy that never decays
        (tau(), 0),
        (tau(NEUTRINO), 0),
        ([particle(pdg=15, pt=20.0)], 0),
        ([*tau({"pdg": -211, "pt": 20.0}, NEUTRINO), particle(pdg=1, pt=60.0)], 15),
        ([*tau({"pdg": -211, "pt": 20.0}, NEUTRINO), particle(pdg=411, pt=6.0)], 4),
    ],
)
def test_taus_that_decay_to_hadrons(others, expected):
    assert label(others) == [expected]


def test_visible_momentum_of_taus_in_several_events():
    """What is left of the decay without the neutrinos, each in its own event; vertices have the same numbers in both."""
    decays = [tau({"pdg": -211, "pt": 6.0, "phi": 0.5}, {"pdg": 111, "pt": 8.0, "phi": 0.5}, NEUTRINO), tau(NEUTRINO)]
    decays += [tau({"pdg": 211, "pt": 7.0, "eta": 1.0}, NEUTRINO)]
    batch = make_batch([[], [], []], decays)
    rows, visible = f.hadronic_taus(batch, np.abs(batch[f.c.PDG]))
    assert rows.tolist() == [0, 6]
    assert (
        pytest.approx(np.array([[14 * math.cos(0.5), 14 * math.sin(0.5), 0.0], [7.0, 0.0, 7.0 * math.sinh(1.0)]]))
        == visible.T
    )


def test_one_jet_by_brute_force():
    """Random partons and hadrons around random jets: for each jet, the best of those to which it is nearest."""
    rng = np.random.default_rng(5)
    codes, options = [1, 2, 3, 21, 411, 511, 211], f.Flavor(delta_r=0.7)
    others = [
        [
            particle(
                pdg=int(rng.choice(codes)), pt=rng.uniform(1, 30), eta=rng.uniform(-2, 2), phi=rng.uniform(-3.1, 3.1)
            )
            for _ in range(40)
        ]
        for _ in range(20)
    ]
    batch = make_batch([[]] * 20, others)
    eta, phi = rng.uniform(-2, 2, 120), rng.uniform(-3.1, 3.1, 120)
    offsets = np.arange(0, 121, 6)
    ours = f.flavor_of_jets(batch, offsets, eta, phi, options)
    for event in range(20):
        jets = range(offsets[event], offsets[event + 1])
        near = {jet: [] for jet in jets}
        for p in others[event]:
            distances = {j: math.hypot(eta[j] - p["eta"], math.remainder(phi[j] - p["phi"], 2 * math.pi)) for j in jets}
            closest = min(distances, key=distances.get)
            if distances[closest] <= 0.7 and p["pt"] > 5.0 and p["pdg"] != 211:
                near[closest].append(
                    (p["pdg"] == 511, p["pdg"] == 411, p["pt"], {511: 5, 411: 4}.get(p["pdg"], p["pdg"]))
                )
        assert [ours[j] for j in jets] == [max(near[j])[-1] if near[j] else 0 for j in jets]
    assert set(ours) == {0, 1, 2, 3, 4, 5, 21}


def test_hadrons_are_what_the_numbering_scheme_says():
    for code in f.B_HADRONS:
        assert PDGID(code).is_hadron
        assert PDGID(code).has_bottom
    for code in f.C_HADRONS:
        assert PDGID(code).is_hadron
        assert PDGID(code).has_charm
        assert not PDGID(code).has_bottom
    from particle import Particle

    for code in (*f.B_HADRONS, *f.C_HADRONS):
        assert Particle.from_pdgid(code).ctau > 0.01  # mm: that is weak, 20 orders of magnitude above strong decays


def test_no_jets_and_no_truth():
    batch = make_batch([[], []])
    assert f.flavor_of_jets(batch, np.zeros(3, dtype=np.int64), np.zeros(0), np.zeros(0), HADRONS).tolist() == []
