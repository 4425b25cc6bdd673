"""Missing transverse momentum and scalar HT."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from fastsim import columns as c
from fastsim.events import offsets_from_counts
from fastsim.objects.met import MissingMomentum
from fastsim.rng import Streams
from tests.object_events import assert_any_batch_size, assert_same, make_batch, only, random_events, track

STREAMS = Streams(1)


def module(**options):
    own = MissingMomentum.Options(name="met", kind="met", level="parametric", **{"scalar_ht_of": ["track"], **options})
    return MissingMomentum.from_options(own, None)


def test_closed_event():
    """Three momenta of 10 GeV at 120 degrees add up to nothing; without one of them, it is what is missing."""
    third = 2 * np.pi / 3
    star = [track(pt=10.0, eta=eta, phi=phi) for eta, phi in ((0.3, 0.1), (-1.0, 0.1 + third), (2.0, 0.1 - third))]
    lost = [{**star[0], "found": False}, *star[1:]]
    made = module().apply(make_batch([star, lost, []]), STREAMS)
    assert made.columns[c.MET] == pytest.approx([0.0, 10.0, 0.0], abs=1e-12)
    assert made.columns[c.MET_PHI][1] == pytest.approx(0.1)
    assert str(made.columns[c.MET_PHI][2]) == "0.0"
    assert made.columns[c.SCALAR_HT] == pytest.approx([30.0, 20.0, 0.0])


def test_only_central_tracks():
    batch = make_batch([[track(pt=3.0, eta=1.0), track(pt=4.0, eta=-2.5, phi=1.0)]])
    made = module(eta_max=2.0).apply(batch, STREAMS)
    assert (made.columns[c.MET][0], abs(made.columns[c.MET_PHI][0])) == pytest.approx((3.0, np.pi))
    assert made.columns[c.SCALAR_HT].tolist() == [3.0]


def test_sums_of_random_events():
    events = random_events(8, [15, 0, 40])
    made = module().apply(make_batch(events), STREAMS)
    for event, met, phi, ht in zip(events, *(made.columns[column] for column in module().makes), strict=True):
        found = [t for t in event if t["found"]]
        x, y = (-sum(t["pt"] * turn(t["phi"]) for t in found) for turn in (math.cos, math.sin))
        assert (met * math.cos(phi), met * math.sin(phi)) == pytest.approx((x, y), abs=1e-10)
        assert ht == pytest.approx(sum(t["pt"] for t in found), abs=1e-10)


def test_scalar_ht_of_objects():
    batch = make_batch([[track(pt=50.0), track(species="el", pt=20.0), track(species="mu", pt=7.0)], []])
    batch = batch.with_columns(
        {c.JET[0]: np.array([60.0, 15.0, 5.0]), c.ELECTRON_TRACK: np.array([1], np.int32), c.MUON_TRACK: np.array([2], np.int32)},
        {table: offsets_from_counts(np.array(n)) for table, n in (("jet", [2, 1]), ("electron", [1, 0]), ("muon", [1, 0]))},
    )  # fmt: skip
    objects = module(scalar_ht_of=["jet", "electron", "muon", "jet"])
    assert objects.apply(only(batch, objects.needs), STREAMS).columns[c.SCALAR_HT].tolist() == [102.0, 5.0]
    assert module(scalar_ht_of=["muon"]).apply(batch, STREAMS).columns[c.SCALAR_HT].tolist() == [7.0, 0.0]
    assert c.JET[0] not in module().needs


def test_contract():
    batch = make_batch(random_events(9, [30, 0, 5, 50]))
    ours = module()
    made = ours.apply(only(batch, ours.needs), STREAMS)
    assert set(made.columns) == set(ours.makes)
    assert_same(made, pickle.loads(pickle.dumps(ours)).apply(batch, STREAMS))
    assert_any_batch_size(ours, batch, STREAMS)
