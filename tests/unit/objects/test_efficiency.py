"""Efficiencies of the card and the draws against them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastsim.errors import PluginError
from fastsim.objects.efficiency import accept, faults_of_efficiency, probabilities
from fastsim.rng import Streams, uniforms_1

SOME = {
    "pt": np.array([1.0, 10.0, 100.0]),
    "eta": np.array([0.0, -2.0, 3.0]),
    "phi": np.array([0.0, 1.0, -1.0]),
    "energy": np.array([1.0, 40.0, 1000.0]),
}


@pytest.mark.parametrize(
    ("efficiency", "expected"),
    [
        (0.25, [0.25] * 3),
        ("0.5", [0.5] * 3),
        ("0.01 * pt", [0.01, 0.1, 1.0]),
        ("pt - 5", [0.0, 1.0, 1.0]),  # cut to 0 to 1
        ("sqrt(eta)", None),
        ("(abs(eta) <= 2) * (energy > 2) * (phi > 0) * 0.9", [0.0, 0.9, 0.0]),
        ("1 / (pt - 1)", [1.0, 1 / 9, 1 / 99]),  # infinite is 1
    ],
)
def test_value_of_a_formula(efficiency, expected):
    if expected is None:
        with pytest.raises(PluginError) as caught:
            probabilities(efficiency, SOME, where="module 'jets': b tag 'medium'")
        assert str(caught.value) == (
            "module 'jets': b tag 'medium': the formula 'sqrt(eta)' has no value at pt = 10, eta = -2, phi = 1, energy = 40"
        )
    else:
        assert probabilities(efficiency, SOME, where="").tolist() == pytest.approx(expected)


def test_delphes_b_tag_of_cms():
    """delphes_card_CMS.tcl: 0.85 tanh(0.0025 pt) 25 / (1 + 0.063 pt), here at 100 GeV by hand: 0.718..."""
    formula = "0.85 * tanh(0.0025 * pt) * 25.0 / (1 + 0.063 * pt)"
    expected = 0.85 * math.tanh(0.25) * 25 / 7.3
    assert probabilities(formula, SOME, where="")[2] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "must be between 0 and 1 (got 1.5)"),
        (-1, "must be between 0 and 1 (got -1)"),
        ("0.5 *", "not a formula (invalid syntax (<unknown>, line 1))"),
        ("p * 2", "'p' is not a variable (allowed: pt, eta, phi, energy, pi)"),
        ("pt ^ 2", "'pt ^ 2' is not allowed in a formula"),
    ],
)
def test_what_is_no_efficiency(value, message):
    assert list(faults_of_efficiency(value, ("efficiency",))) == [(("efficiency",), message)]


@pytest.mark.parametrize("value", [0, 1, 0.5, "pt", None, True, []])
def test_what_is_left_to_others(value):
    """The last three are not of the right type, which the schema says."""
    assert list(faults_of_efficiency(value, ())) == []


def test_draws_are_addressed():
    """Each passes if the first uniform of its address is below its probability; the order of rows means nothing."""
    n = 500
    key = Streams(7).key("jets/b_tag/medium")
    rng = np.random.default_rng(1)
    event_id, index = np.arange(n, dtype=np.uint64) // np.uint64(5), np.arange(n, dtype=np.int32) % 5
    probability = rng.random(n)
    passed = accept(probability, event_id, index, key)
    expected = [
        uniforms_1(0, i, e, key.k0, key.k1)[0] < p for i, e, p in zip(index, event_id, probability, strict=True)
    ]
    assert passed.tolist() == expected
    order = rng.permutation(n)
    assert (accept(probability[order], event_id[order], index[order], key) == passed[order]).all()
    assert not accept(np.zeros(n), event_id, index, key).any()
    assert accept(np.ones(n), event_id, index, key).all()
