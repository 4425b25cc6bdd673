"""Probabilities of all devices together, against Bayes' formula by hand."""

from __future__ import annotations

import numpy as np
import pytest

import fastsim
from fastsim import toml
from fastsim.devices.combined import CombinedPid
from fastsim.devices.common import is_measured, log_likelihood
from fastsim.errors import CardError, PluginError
from fastsim.rng import Streams
from fastsim.species import NAMES
from tests.object_events import make_batch, track

PI, KA, PR = (NAMES.index(name) for name in ("pi", "ka", "pr"))


def batch_of(*likelihoods):
    """One track for each pair of likelihoods of the devices "a" and "b" ({species: value}, or None if it did not measure)."""
    batch = make_batch([[track(pt=2.0) for _ in likelihoods], [track(found=False)]])
    for k, device in enumerate("ab"):
        mask = np.array([pair[k] is not None for pair in likelihoods] + [False])
        values = np.full((len(mask), 9), np.nan)
        for i in np.flatnonzero(mask):
            values[i] = np.log([likelihoods[i][k].get(s, 1e-30) for s in range(9)])
        batch = batch.with_columns({is_measured(device): mask, log_likelihood(device): values})
    return batch


def probabilities(batch, priors):
    made = CombinedPid("pid", ["a", "b"], priors).apply(batch, Streams(1)).columns
    return tuple(made.values())


def test_bayes():
    """P(K) = prior x likelihoods, over the sum; devices without a measurement say nothing."""
    a, b = {PI: 0.3, KA: 0.6}, {PI: 0.9, KA: 0.1, PR: 0.5}
    p, n = probabilities(batch_of((a, b), (a, None), (None, None)), {"pi": 8.0, "ka": 2.0})
    both = np.array([8 * 0.3 * 0.9, 2 * 0.6 * 0.1])
    np.testing.assert_allclose(p[0, [PI, KA]], both / both.sum(), rtol=1e-12)
    one = np.array([8 * 0.3, 2 * 0.6])
    np.testing.assert_allclose(p[1, [PI, KA]], one / one.sum(), rtol=1e-12)
    np.testing.assert_allclose(p[2, [PI, KA]], [0.8, 0.2], rtol=1e-12)
    assert p[:3, PR].tolist() == [0, 0, 0]
    assert np.isnan(p[3]).all()
    assert n.tolist() == [2, 1, 0, 0]


def test_likelihoods_of_any_size():
    """Far from every hypothesis nothing under- or overflows."""
    batch = batch_of(({PI: 1e-30, KA: 1e-28}, None))
    values = batch[log_likelihood("a")] - 1e5
    p, _ = probabilities(batch.with_columns({}).with_columns({}), {"pi": 1.0, "ka": 1.0})
    shifted = CombinedPid("pid", ["c"], {"pi": 1.0, "ka": 1.0})
    moved = batch.with_columns({is_measured("c"): batch[is_measured("a")], log_likelihood("c"): values})
    np.testing.assert_allclose(shifted.apply(moved, Streams(1)).columns[shifted.makes[0]][0], p[0], rtol=1e-9)
    assert p[0, KA] == pytest.approx(100 / 101)


def test_priors_may_be_formulas():
    p, _ = probabilities(batch_of((None, None)), {"pi": "1 / p", "ka": "0.25 * (eta < 1)"})
    np.testing.assert_allclose(p[0, [PI, KA]], [2 / 3, 1 / 3])
    for priors in ({"pi": "pt - 5"}, {"pi": "0 * pt"}, {"pi": "log(-pt)"}):
        with pytest.raises(PluginError, match="priors at pt = 2, p = 2, eta = 0 are"):
            probabilities(batch_of((None, None)), priors)


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ({"pi": "pt +"}, "not a formula"),
        ({"pi": -1.0}, "must not be negative"),
        ({"kaon": 1.0}, r"priors.kaon.*must be 'el', 'mu'"),
        ({}, "at least 1"),
    ],
)
def test_cards_that_cannot_be(priors, message):
    table = {"name": "pid", "kind": "pid", "level": "parametric", "priors": priors}
    with pytest.raises(CardError, match=message):
        toml.validate(CombinedPid.Options, toml.Document(table, {}, "card.toml"))


def test_devices_that_are_not_there():
    detector = fastsim.load_detector("alice_its3")
    options = CombinedPid.Options(name="pid", kind="pid", level="parametric", priors={"pi": 1.0})
    with pytest.raises(CardError, match=r"no device identifies in alice_its3 \(there are: none\)"):
        CombinedPid.from_options(options, detector)
    options = options.model_copy(update={"devices": ["tof"]})
    with pytest.raises(CardError, match="devices: no 'tof'"):
        CombinedPid.from_options(options, detector)
