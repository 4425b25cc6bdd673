"""Pile-up against a plain loop over events, and the laws of its numbers."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fastsim import columns as c
from fastsim import toml
from fastsim.errors import CardError, InputError
from fastsim.events import EventBatch, offsets_from_counts
from fastsim.generate.pile_up import PileUp, overlay
from fastsim.rng import Streams
from fastsim.source import make_batch
from tests.generated import assert_equal, assert_is_complete

SPREAD = {"sigma_x_um": 20.0, "sigma_y_um": 10.0, "sigma_z": 5.0, "sigma_t": 0.2, "z": 0.5}


def record(sizes, seed, first_event=0):
    """Events of so many particles and vertices, with random links (-1 among them) and values that tell rows apart."""
    random = np.random.default_rng(seed)
    offsets = {
        "particle": offsets_from_counts(np.array([n for n, _ in sizes], dtype=np.int64)),
        "vertex": offsets_from_counts(np.array([n for _, n in sizes], dtype=np.int64)),
    }
    n_vertices = np.repeat([n for _, n in sizes], np.diff(offsets["particle"]))
    columns = {}
    for column in c.READ:
        if column.table in offsets and column != c.COLLISION:
            n = int(offsets[column.table][-1])
            columns[column] = random.uniform(1, 1000, n).astype(column.dtype)
    for column in (c.PRODUCTION_VERTEX, c.END_VERTEX):
        columns[column] = random.integers(-1, n_vertices).astype(np.int32) if len(n_vertices) else columns[column]
    for column in c.VERTEX_TRUE:
        columns[column] = random.uniform(-1, 1, len(sizes))
    ids = np.arange(first_event, first_event + len(sizes))
    return make_batch(offsets, columns | {c.EVENT_ID: ids.astype(np.uint64), c.EVENT_NUMBER: ids})


HARD = record([(3, 2), (0, 0), (5, 1), (2, 3)], 1)
SOFT = record([(2, 1), (4, 3), (0, 0), (1, 0), (7, 2)], 2)


def rows(batch, event, table):
    a, b = batch.offsets[table][event : event + 2]
    return {column: batch[column][a:b] for column in batch.columns if column.table == table}


CODES = {int(rows(SOFT, i, "particle")[c.PDG][0]): i for i in (0, 1, 3, 4)}  # event 2 has no particles


def found(particles):
    """Number and minimum-bias event (told by its first PDG code) of the pile-up collisions of an event."""
    numbers, first = np.unique(particles[c.COLLISION], return_index=True)
    return [(n, CODES[int(particles[c.PDG][i])]) for n, i in zip(numbers, first, strict=True) if n > 0]


def test_events_are_those_of_a_plain_loop():
    merged = overlay(HARD, SOFT, PileUp(file="x", mean=6, **SPREAD), Streams(1))
    assert_is_complete(merged)
    n_seen = 0
    for event in range(HARD.n_events):
        particles, vertices = rows(merged, event, "particle"), rows(merged, event, "vertex")
        own, own_vertices = rows(HARD, event, "particle"), rows(HARD, event, "vertex")
        n_own = len(own[c.PDG])
        for column, array in {**own, **own_vertices}.items():
            np.testing.assert_array_equal((particles | vertices)[column][: len(array)], array)
        assert (np.diff(particles[c.COLLISION]) >= 0).all()
        assert (particles[c.COLLISION][n_own:] > 0).all()
        for number, source in found(particles):
            n_seen += 1
            mine = particles[c.COLLISION] == number
            there, there_vertices = rows(SOFT, source, "particle"), rows(SOFT, source, "vertex")
            for column in (c.PDG, c.STATUS, *c.MOMENTUM, c.ENERGY, c.MASS):
                np.testing.assert_array_equal(particles[column][mine], there[column])
            shifts = []
            for column in (c.PRODUCTION_VERTEX, c.END_VERTEX):
                now, before = particles[column][mine], there[column]
                assert ((now < 0) == (before < 0)).all()
                assert (now[now >= 0] >= len(own_vertices[c.VERTEX_POSITION[0]])).all()
                for position in c.VERTEX_POSITION:
                    moved = vertices[position][now[now >= 0]] - there_vertices[position][before[before >= 0]]
                    shifts.append((position, moved))
            for position in c.VERTEX_POSITION:  # one shift for all of a collision
                moved = np.concatenate([m for p, m in shifts if p == position])
                assert np.ptp(moved) < 1e-10 if len(moved) else True
    assert n_seen > 5
    for column in c.READ:
        if column.table in {"event", "weight"}:
            assert merged[column] is HARD[column]


def test_without_pile_up_nothing_changes():
    assert_equal([overlay(HARD, SOFT, PileUp(file="x", mean=0), Streams(1))], [HARD])


def test_no_events():
    nothing = overlay(HARD.slice_events(0, 0), SOFT, PileUp(file="x", mean=3), Streams(1))
    assert nothing.n_events == 0
    assert_is_complete(nothing)


@given(st.lists(st.integers(0, 4), max_size=3), st.floats(0, 20), st.integers(0, 2**64 - 1))
@settings(max_examples=30)
def test_cut_into_batches_changes_nothing(cuts, mean, seed):
    options = PileUp(file="x", mean=mean, **SPREAD)
    edges = [0, *sorted(cuts), 4]
    parts = [overlay(HARD.slice_events(a, b), SOFT, options, Streams(seed)) for a, b in pairwise(edges)]
    assert_equal(parts, [overlay(HARD, SOFT, options, Streams(seed))])


def test_inputs_stay_as_they_were():
    before = {column: SOFT[column].copy() for column in SOFT.columns}
    own = {column: HARD[column].copy() for column in HARD.columns}
    overlay(HARD, SOFT, PileUp(file="x", mean=6, **SPREAD), Streams(1))
    for column, array in before.items():
        np.testing.assert_array_equal(SOFT[column], array)
        np.testing.assert_array_equal(HARD[column], own[column])


def _many(n, mean, **options):
    """Collisions (event, minimum-bias event, place) over n events of nothing; the minimum-bias events have one particle."""
    nothing = record([(0, 0)] * n, 3)
    soft = record([(1, 1)] * 5, 4)
    zero = {column: np.zeros(5) for column in c.VERTEX_POSITION}
    soft = EventBatch(soft.offsets, {**soft.columns, **zero, c.PDG: np.arange(5, dtype=np.int32)})
    return overlay(nothing, soft, PileUp(file="x", mean=mean, **options), Streams(1))


@pytest.mark.parametrize("mean", [2.5, 60.0])
def test_numbers_are_poisson(mean):
    n = 10_000
    numbers = np.diff(_many(n, mean).offsets["particle"])
    assert abs(numbers.mean() - mean) < 4 * math.sqrt(mean / n)
    assert abs(numbers.var() - mean) < 4 * math.sqrt((mean + 2 * mean**2) / n)  # fourth central moment mu + 3 mu^2


def test_fixed_numbers():
    assert set(np.diff(_many(10, 7, distribution="fixed").offsets["particle"])) == {7}


def test_choice_is_uniform_and_places_are_gaussian():
    merged = _many(4000, 5, **SPREAD)
    assert stats.chisquare(np.bincount(merged[c.PDG], minlength=5)).pvalue > 1e-3
    places = np.array([merged[column] for column in c.VERTEX_POSITION])
    for place, mean, sigma in zip(places, (0, 0, 0.5, 0), (20e-4, 10e-4, 5, 0.2), strict=True):
        assert stats.kstest(place, stats.norm(mean, sigma).cdf).pvalue > 1e-3
    assert len(np.unique(places)) == places.size


def test_minimum_bias_without_events_is_refused():
    with pytest.raises(InputError, match=r"a\.hepmc, b\.hepmc: there are no events to draw pile-up from"):
        overlay(HARD, SOFT.slice_events(0, 0), PileUp(file=["a.hepmc", "b.hepmc"], mean=1), Streams(1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('file = "a"\nmean = 2.5\ndistribution = "fixed"', "mean must be a whole number if distribution is 'fixed'"),
        ('file = "a"\nmean = 2000', r"card.toml:2: pile_up\.mean: must be less than or equal to 1000"),
        ("mean = 20", r"pile_up\.file: missing"),
        ('file = "a"\nmean = 2\nsigma_z_cm = 1', r"card.toml:3: pile_up\.sigma_z_cm: not a known key"),
    ],
)
def test_faults(tmp_path, text, message):
    path = tmp_path / "card.toml"
    path.write_text(text)
    with pytest.raises(CardError, match=message):
        toml.validate(PileUp, toml.read(path), inside=("pile_up",))
