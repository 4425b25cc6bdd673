"""The jet table: order, constituents, charge, leptons that are no jets, flavour and tags."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from fastsim import columns as c
from fastsim import toml
from fastsim.errors import CardError, PluginError
from fastsim.events import offsets_from_counts
from fastsim.objects.jets import Jets
from fastsim.objects.kinematics import PION_MASS
from fastsim.rng import Streams, uniforms_1
from tests.object_events import (
    assert_any_batch_size,
    assert_same,
    brute_force,
    make_batch,
    only,
    particle,
    random_events,
    track,
    with_made,
)

STREAMS = Streams(1)
TAG = {"name": "medium", "kind": "b", "efficiency": {"light": 0.1, "b": 1.0}}


def module(**options):
    own = {"name": "jets", "kind": "jets", "level": "parametric", "pt_min": 1.0, "tags": [], "exclude": [], **options}
    return Jets.from_options(Jets.Options(**own), None)


def constituents(made):
    """[event][jet] -> positions of its tracks."""
    per_event = []
    jets, rows = made.offsets["jet"], made.offsets["jet_constituent"]
    for event in range(len(jets) - 1):
        own = slice(rows[event], rows[event + 1])
        jet, index = made.columns[c.CONSTITUENT_JET][own], made.columns[c.CONSTITUENT_TRACK][own]
        assert (np.diff(jet) >= 0).all()
        per_event.append([index[jet == j].tolist() for j in range(jets[event + 1] - jets[event])])
    return per_event


@pytest.mark.parametrize(
    "options", [{}, {"algorithm": "kt", "radius": 0.7}, {"algorithm": "ee_genkt", "radius": 1.5, "power": -1.0}]
)
def test_jets_by_brute_force(options):
    """Momenta of found tracks as pions, clustered by definition, hardest jets first."""
    events = random_events(2, [12, 0, 1, 20])
    made = module(**options).apply(make_batch(events), STREAMS)
    for i, (event, ours) in enumerate(zip(events, constituents(made), strict=True)):
        found = [j for j, t in enumerate(event) if t["found"]]
        p = [event[j]["pt"] * math.cosh(event[j]["eta"]) for j in found]
        momenta = np.array(
            [
                [event[j]["pt"] * math.cos(event[j]["phi"]) for j in found],
                [event[j]["pt"] * math.sin(event[j]["phi"]) for j in found],
                [event[j]["pt"] * math.sinh(event[j]["eta"]) for j in found],
                np.hypot(p, PION_MASS),
            ]
        )
        algorithm = options.get("algorithm", "antikt")
        expected = brute_force(momenta, algorithm, options.get("radius", 0.4), options.get("power", 0.0))
        hard = [(jet, q) for jet, q in expected.items() if math.hypot(q[0], q[1]) >= 1.0]
        hard.sort(key=lambda jet: -math.hypot(jet[1][0], jet[1][1]))
        assert ours == [sorted(found[k] for k in rows) for rows, _ in hard]
        own = slice(made.offsets["jet"][i], made.offsets["jet"][i + 1])
        pt, eta, phi, mass = (made.columns[column][own] for column in c.JET)
        for k, (rows, q) in enumerate(hard):
            size = math.sqrt(q[:3] @ q[:3])
            assert pt[k] == pytest.approx(math.hypot(q[0], q[1]), rel=1e-12)
            assert eta[k] == pytest.approx(0.5 * math.log((size + q[2]) / (size - q[2])), abs=1e-9)
            assert phi[k] == pytest.approx(math.atan2(q[1], q[0]), abs=1e-12)
            assert mass[k] ** 2 == pytest.approx(q[3] ** 2 - size**2, abs=1e-12 * q[3] ** 2)
            assert made.columns[c.JET_N_CHARGED][own][k] == len(rows)
            assert made.columns[c.JET_CHARGE][own][k] == sum(event[found[r]]["charge"] for r in rows)
            assert made.columns[c.JET_N_NEUTRAL][own][k] == 0


def test_one_track():
    made = module().apply(make_batch([[track(pt=3.0, eta=1.0, phi=-2.0, charge=-1)]]), STREAMS)
    assert [made.columns[column][0] for column in c.JET] == pytest.approx([3.0, 1.0, -2.0, PION_MASS], rel=1e-9)
    assert made.columns[c.JET_CHARGE].tolist() == [-1]
    assert constituents(made) == [[[0]]]


def test_two_tracks_in_one_jet():
    """Pt of 3 and 4 GeV, 0.2 rad apart: the sides of a triangle."""
    made = module().apply(make_batch([[track(pt=3.0), track(pt=4.0, phi=0.2)]]), STREAMS)
    assert made.columns[c.JET[0]] == pytest.approx([math.sqrt(9 + 16 + 24 * math.cos(0.2))])
    mass2 = 2 * PION_MASS**2 + 2 * (math.hypot(3, PION_MASS) * math.hypot(4, PION_MASS) - 12 * math.cos(0.2))
    assert made.columns[c.JET[3]] == pytest.approx([math.sqrt(mass2)])


def test_only_central_tracks():
    event = [track(pt=3.0, eta=0.1), track(pt=9.0, eta=2.6), track(pt=5.0, eta=-2.4)]
    assert constituents(module(eta_max=2.5).apply(make_batch([event]), STREAMS)) == [[[2], [0]]]


def test_leptons_are_no_jets():
    """As Delphes' UniqueObjectFinder: a jet with the track of an identified lepton goes, the others move up."""
    event = [
        track(species="el", pt=30.0),
        track(pt=5.0, eta=0.1),
        track(pt=9.0, eta=2.0),
        track(species="mu", pt=4.0, eta=-2.0),
    ]
    batch = make_batch([[track(pt=7.0)], event])
    batch = batch.with_columns(
        {c.ELECTRON_TRACK: np.array([0], np.int32), c.MUON_TRACK: np.array([3], np.int32)},
        {table: offsets_from_counts(np.array([0, 1])) for table in ("electron", "muon")},
    )
    assert constituents(module().apply(batch, STREAMS)) == [[[0]], [[0, 1], [2], [3]]]
    assert constituents(module(exclude=["electron"]).apply(batch, STREAMS)) == [[[0]], [[2], [3]]]
    both = module(exclude=["muon", "electron"])
    assert constituents(both.apply(only(batch, both.needs), STREAMS)) == [[[0]], [[2]]]
    assert c.MUON_TRACK not in module(exclude=["electron"]).needs


def test_flavor_and_tags_by_flavor():
    """Efficiencies of 0 and 1, so that the bits are known."""
    others = [
        particle(pdg=511, pt=20.0, phi=0.0), particle(pdg=421, pt=20.0, phi=1.0), particle(pdg=21, pt=20.0, phi=-1.0),
        particle(pdg=15, pt=20.0, phi=2.0, ends=1), particle(pdg=-211, pt=15.0, phi=2.0, born=1),
    ]  # fmt: skip
    batch = make_batch([[track(pt=30.0 - i, phi=phi) for i, phi in enumerate((0.0, 1.0, -1.0, 2.0, -2.5))]], [others])
    tags = [
        {"name": "a", "kind": "b", "efficiency": {"b": 1.0, "light": 0.0}},
        {"name": "b", "kind": "b", "efficiency": {"c": "pt / pt", "light": "0"}},
        {"name": "c", "kind": "b", "efficiency": {"light": 1.0, "c": 0.0}},
        {"name": "a", "kind": "tau", "efficiency": {"tau": 1.0, "light": 0.0}},
        {"name": "d", "kind": "c", "efficiency": {"light": "pt < 27"}},
    ]
    made = module(tags=tags).apply(batch, STREAMS)
    assert made.columns[c.JET_FLAVOR].tolist() == [5, 4, 21, 15, 0]
    assert made.columns[c.JET_B_TAG].tolist() == [0b101, 0b010, 0b100, 0b100, 0b100]
    assert made.columns[c.JET_C_TAG].tolist() == [0, 0, 0, 0, 1]
    assert made.columns[c.JET_TAU_TAG].tolist() == [0, 0, 0, 1, 0]


def test_a_tag_draws_for_the_hardest_track():
    """So the draw is that of the same jet, however many jets there are beside it."""
    events = random_events(6, [40, 40, 40])
    batch = make_batch(events)
    made = module(tags=[{"name": "half", "kind": "c", "efficiency": {"light": 0.5}}]).apply(batch, STREAMS)
    key = STREAMS.key("jets/c_tag/half")
    expected = []
    for event_id, (event, jets) in enumerate(zip(events, constituents(made), strict=True)):
        for rows in jets:
            index = max(rows, key=lambda row: event[row]["pt"])
            expected.append(uniforms_1(0, index, event_id, key.k0, key.k1)[0] < 0.5)
    assert made.columns[c.JET_C_TAG].tolist() == expected
    harder = module(pt_min=6.0, tags=[{"name": "half", "kind": "c", "efficiency": {"light": 0.5}}]).apply(
        batch, STREAMS
    )
    hard = made.columns[c.JET[0]] >= 6.0
    assert 0 < hard.sum() < len(hard)
    assert harder.columns[c.JET_C_TAG].tolist() == made.columns[c.JET_C_TAG][hard].tolist()


def test_32_tags_fill_the_bits():
    tags = [{"name": f"t{i}", "kind": "b", "efficiency": {"light": 1.0}} for i in range(32)]
    made = module(tags=tags).apply(make_batch([[track(pt=5.0)]]), STREAMS)
    assert made.columns[c.JET_B_TAG].tolist() == [2**32 - 1]


@pytest.mark.parametrize("events", [[], [[]], [[], []], [[track(found=False)]], [[track(pt=0.5)]]])
def test_no_jets(events):
    batch = make_batch(events)
    ours = module(tags=[TAG])
    made = ours.apply(batch, STREAMS)
    for column in ours.makes:
        assert (made.columns[column].dtype, len(made.columns[column])) == (np.dtype(column.dtype), 0)
    assert made.offsets["jet"].tolist() == made.offsets["jet_constituent"].tolist() == [0] * (len(events) + 1)


def test_contract():
    batch = make_batch(random_events(7, [30, 0, 1, 80, 10]))
    ours = module(tags=[TAG, {**TAG, "kind": "tau", "efficiency": {"light": "0.3 + 0.01 * energy"}}])
    made = ours.apply(only(batch, ours.needs), STREAMS)
    assert set(made.columns) == set(ours.makes)
    for column, array in made.columns.items():
        assert array.dtype == column.dtype
    assert_same(made, pickle.loads(pickle.dumps(ours)).apply(batch, STREAMS))
    assert_any_batch_size(ours, batch, STREAMS)
    jets = with_made(batch, made).to_awkward()
    assert (
        jets.jets.pt[:, :1] == [[max(event, default=0)] if len(event) else [] for event in jets.jets.pt]
    ).layout is not None


FAULTY = """
name = "jets"
kind = "jets"
level = "parametric"
algorithm = "sisckone"
radius = 0.0
pt_min = 0
flavor = { heavy = "quarks", delta_R = 0.5 }
tags = [
  { name = "a", kind = "b", efficiency = { b = "0.8 * tanh(p)", light = 0.01 } },
  { name = "a", kind = "b", efficiency = { light = 2.0 } },
  { name = "a", kind = "c", efficiency = { c = 0.5, light = "pt >" } },
  { name = "top", kind = "t", efficiency = { light = 0.5 } },
  { name = "b", kind = "b", efficiency = { b = 0.5 } },
  "tight",
]
"""


def test_faults_of_options(tmp_path):
    path = tmp_path / "jets.toml"
    path.write_text(FAULTY)
    with pytest.raises(CardError) as caught:
        toml.validate(Jets.Options, toml.read(path), inside=("modules", 3))
    problems = [problem.removeprefix(f"{path}:") for problem in caught.value.problems]
    assert problems == [
        "5: modules[3].algorithm: must be 'antikt', 'kt', 'cambridge' or 'ee_genkt' (got 'sisckone', a string)",
        "6: modules[3].radius: must be greater than 0 (got 0.0, a number)",
        "7: modules[3].pt_min: must be greater than 0 (got 0, an integer)",
        "8: modules[3].flavor.heavy: must be 'hadrons' or 'partons' (got 'quarks', a string)",
        "8: modules[3].flavor.delta_R: not a known key (did you mean 'delta_r'?)",
        "13: modules[3].tags[3].kind: must be 'b', 'c' or 'tau' (got 't', a string)",
        "14: modules[3].tags[4].efficiency.light: missing",
        "15: modules[3].tags[5]: must be a table (got 'tight', a string)",
        "10: modules[3].tags[0].efficiency.b: 'p' is not a variable (allowed: pt, eta, phi, energy, pi)",
        "11: modules[3].tags[1].efficiency.light: must be between 0 and 1 (got 2.0)",
        "11: modules[3].tags[1].name: 'a' is the name of another b tag",
        "12: modules[3].tags[2].efficiency.light: not a formula (invalid syntax (<unknown>, line 1))",
    ]


def test_more_tags_than_bits():
    tags = [{"name": f"t{i}", "kind": "tau", "efficiency": {"light": 1.0}} for i in range(34)]
    data = {"name": "jets", "kind": "jets", "level": "parametric", "tags": tags}
    with pytest.raises(CardError) as caught:
        toml.validate(Jets.Options, toml.Document(data, {("tags", 32): "card.toml:40"}))
    assert caught.value.problems == ["card.toml:40: tags[32]: at most 32 tau tags, one a bit"]


def test_formula_without_a_value():
    tags = [{"name": "tight", "kind": "b", "efficiency": {"light": "log(pt - 10)"}}]
    with pytest.raises(
        PluginError, match=r"module 'jets': b tag 'tight': the formula 'log\(pt - 10\)' has no value at pt = 5,"
    ):
        module(tags=tags).apply(make_batch([[track(pt=5.0)]]), STREAMS)
