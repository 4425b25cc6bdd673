"""Identification by formulas: shares of a large sample against the formulas, and what a card may not say."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim import columns as c
from fastsim import toml
from fastsim.columns import Column
from fastsim.devices.identification import Identification, Rule
from fastsim.errors import CardError, PluginError
from fastsim.rng import Streams
from tests.object_events import make_batch, track

CODE = Column("lhcb_pdg", "track", "int32", "", "")
RULES = [
    {"true": "ka", "taken_for": "ka", "probability": "0.5 + 0.05 * p"},
    {"true": "ka", "taken_for": "pi", "probability": 0.2},
    {"true": "el", "taken_for": "el", "probability": 1.0},
]


def module(rules=RULES):
    return Identification("lhcb", [Rule.model_validate(rule) for rule in rules])


def identified(batch, rules=RULES, seed=1):
    (codes,) = module(rules).apply(batch, Streams(seed)).columns.values()
    return codes


def events(n, **given):
    return make_batch([[track(**given) for _ in range(10)] for _ in range(n // 10)])


def test_shares_are_those_of_the_formulas():
    """20,000 kaons of p = 2 GeV: 0.6 as kaons, 0.2 as pions, the rest as nothing; 4 standard errors."""
    n = 20_000
    codes = identified(events(n, species="ka", charge=-1, pt=2.0))
    for code, share in ((-321, 0.6), (-211, 0.2), (0, 0.2)):
        assert abs(np.mean(codes == code) - share) < 4 * np.sqrt(share * (1 - share) / n)


def test_charge_gives_the_sign_and_others_are_not_identified():
    batch = make_batch(
        [
            [
                track(species="el", charge=1),
                track(species="el", charge=-1),
                track(species="pr"),
                track(species="el", found=False),
            ]
        ]
    )
    assert identified(batch).tolist() == [-11, 11, 0, 0]


def test_cut_of_batches_does_not_matter():
    batch = events(200, species="ka")
    whole = identified(batch)
    parts = [identified(batch.slice_events(i, i + 4)) for i in range(0, 20, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert (whole != identified(batch, seed=2)).any()


def test_probabilities_that_are_none():
    at = r"ka at pt = 1, p = 1, eta = 0, phi = 0 are "
    for probability, what in (("2 * pt", at + r"\[2.0\]: below 0, or above 1"), ("log(-pt)", at + r"\[nan\]")):
        with pytest.raises(PluginError, match=what):
            identified(events(10, species="ka"), [{"true": "ka", "taken_for": "ka", "probability": probability}])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"probability": "pt +"}, "not a formula"),
        ({"probability": "energy"}, "'energy' is not a variable"),
        ({"probability": 1.5}, r"must be between 0 and 1 \(got 1.5\)"),
        ({"true": "kaon"}, r"rules\[0\].true: must be 'el', 'mu'"),
    ],
)
def test_cards_that_cannot_be(rule, message):
    table = {"name": "lhcb", "kind": "identification", "level": "parametric", "rules": [{**RULES[1], **rule}]}
    with pytest.raises(CardError, match=message):
        toml.validate(Identification.Options, toml.Document(table, {}, "card.toml"))


def test_needs_and_makes():
    assert module().makes == (CODE._replace(doc=module().makes[0].doc),)
    assert c.SPECIES in module().needs
