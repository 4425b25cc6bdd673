"""Electrons and muons: who is identified, how isolated, in which order."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from fastsim import columns as c
from fastsim import toml
from fastsim.errors import CardError, PluginError
from fastsim.objects.leptons import Electrons, LeptonOptions, Muons
from fastsim.rng import Streams
from tests.object_events import assert_any_batch_size, assert_same, make_batch, only, random_events, track

STREAMS = Streams(1)


def module(kind=Electrons, **options):
    own = {"name": "found", "kind": "electrons", "level": "parametric", "efficiency": 1.0, **options}
    return kind.from_options(LeptonOptions(**own), None)


def indices(made, table="electron"):
    """Positions of the leptons' tracks, event by event."""
    column = c.ELECTRON_TRACK if table == "electron" else c.MUON_TRACK
    return [part.tolist() for part in np.split(made.columns[column], made.offsets[table][1:-1])]


EVENTS = [
    [track(species="el", pt=5.0), track(species="mu", pt=9.0), track(species="el", pt=8.0), track(pt=30.0)],
    [],
    [track(species="el", pt=2.0, found=False), track(species="pi"), track(species="el", pt=7.0)],
]


def test_true_species_hardest_first():
    batch = make_batch(EVENTS)
    assert indices(module().apply(batch, STREAMS)) == [[2, 0], [], [2]]
    assert indices(module(Muons).apply(batch, STREAMS), "muon") == [[1], [], []]


def test_efficiency_is_a_formula_of_what_was_reconstructed():
    batch = make_batch([[track(species="el", pt=p, eta=e) for p, e in ((9.0, 0.0), (11.0, 2.6), (12.0, 2.4))]])
    assert indices(module(efficiency="(pt > 10) * (abs(eta) <= 2.5)").apply(batch, STREAMS)) == [[2]]
    assert indices(module(efficiency=0.0).apply(batch, STREAMS)) == [[]]
    energy = 12.0 * math.cosh(2.4)
    assert indices(module(efficiency=f"abs(energy - {energy}) < 1e-4").apply(batch, STREAMS)) == [[2]]


def test_fakes_are_pions():
    batch = make_batch(EVENTS)
    assert indices(module(efficiency=0.0, fake_rate=1.0).apply(batch, STREAMS)) == [[3], [], [1]]
    assert indices(module(fake_rate="pt > 10").apply(batch, STREAMS)) == [[3, 2, 0], [], [2]]


@pytest.mark.parametrize("kind", [Electrons, Muons])
def test_isolation_by_brute_force(kind):
    events = random_events(3, [20, 0, 60, 1, 40])
    batch = make_batch(events)
    made = module(kind, isolation_delta_r=0.8, isolation_pt_min=1.0).apply(batch, STREAMS)
    sums = np.split(made.columns[kind.sum_column], made.offsets[kind.table][1:-1])
    for event, found, ours in zip(events, indices(made, kind.table), sums, strict=True):
        assert found == sorted(found, key=lambda i: -event[i]["pt"])
        assert set(found) == {i for i, t in enumerate(event) if t["species"] == kind.species and t["found"]}
        for i, value in zip(found, ours, strict=True):
            expected = sum(
                t["pt"]
                for j, t in enumerate(event)
                if j != i
                and t["found"]
                and t["pt"] >= 1.0
                and math.hypot(t["eta"] - event[i]["eta"], math.remainder(t["phi"] - event[i]["phi"], 2 * math.pi))
                <= 0.8
            )
            assert value == pytest.approx(expected, abs=1e-12)


def test_isolation_can_be_required():
    """Delphes' PTRatioMax: 1.3 GeV around 10 is more than 0.12; the other lepton has nothing near."""
    event = [track(species="el", pt=10.0), track(pt=1.3, eta=0.4), track(species="el", pt=6.0, phi=2.0)]
    batch = make_batch([event])
    assert indices(module().apply(batch, STREAMS)) == [[0, 2]]
    assert indices(module(isolation_max=0.12).apply(batch, STREAMS)) == [[2]]
    assert indices(module(isolation_max=0.13).apply(batch, STREAMS)) == [[0, 2]]
    assert indices(module(isolation_max=0.12, isolation_pt_min=1.31).apply(batch, STREAMS)) == [[0, 2]]


@pytest.mark.parametrize("kind", [Electrons, Muons])
def test_contract(kind):
    """No other columns are read, any batch size gives the same, also after a journey to a worker."""
    batch = make_batch(random_events(4, [30, 0, 5, 50]))
    ours = module(kind, efficiency="0.5 + 0.01 * pt", fake_rate=0.2)
    made = ours.apply(only(batch, ours.needs), STREAMS)
    assert set(made.columns) == set(ours.makes)
    for column, array in made.columns.items():
        assert array.dtype == column.dtype
    assert_same(made, pickle.loads(pickle.dumps(ours)).apply(batch, STREAMS))
    assert_any_batch_size(ours, batch, STREAMS)


def test_another_module_of_another_name_draws_otherwise():
    batch = make_batch([[track(species="el", pt=p) for p in range(1, 200)]])
    half = module(efficiency=0.5).apply(batch, STREAMS)
    other = module(efficiency=0.5, name="other").apply(batch, STREAMS)
    assert indices(half) != indices(other)


def test_faults_of_options():
    lines = {("efficiency",): "card.toml:7", ("fake_rate",): "card.toml:8", ("isolation_max",): "card.toml:9"}
    data = {
        "name": "electrons", "kind": "electrons", "level": "parametric", "efficiency": "0.9 * (pT > 10)", "fake_rate": 1.5,
        "isolation_max": -1.0,
    }  # fmt: skip
    with pytest.raises(CardError) as caught:
        toml.validate(Electrons.Options, toml.Document(data, lines), inside=("modules", 1))
    assert sorted(caught.value.problems) == [
        "card.toml:7: modules[1].efficiency: 'pT' is not a variable (allowed: pt, eta, phi, energy, pi)",
        "card.toml:8: modules[1].fake_rate: must be between 0 and 1 (got 1.5)",
        "card.toml:9: modules[1].isolation_max: must be greater than or equal to 0 (got -1.0, a number)",
    ]


def test_formula_without_a_value():
    batch = make_batch([[track(species="el", pt=5.0)]])
    with pytest.raises(
        PluginError, match=r"module 'found': efficiency: the formula 'log\(pt - 10\)' has no value at pt = 5"
    ):
        module(efficiency="log(pt - 10)").apply(batch, STREAMS)
