"""Modules run in the order that their declarations ask for, and are held to their promises."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from fastsim import columns as c
from fastsim.columns import Column
from fastsim.errors import PluginError
from fastsim.events import EventBatch, NewParticles
from fastsim.module import Made
from fastsim.pipeline import Pipeline, check, order
from fastsim.rng import Streams

A = Column("a", "particle", "float64", "", "one")
B = Column("b", "particle", "float64", "", "two")
E = Column("e", "event", "int32", "", "of an event")
V = Column("v", "track", "float64", "", "a vector", (3,))


class Toy:
    def __init__(self, name, needs=(), makes=(), made=None):
        self.name, self.needs, self.makes, self._made = name, needs, makes, made

    def apply(self, _batch, _streams):
        return self._made


@pytest.fixture
def batch():
    offsets = {"particle": np.array([0, 2, 3]), "vertex": np.array([0, 1, 1]), "event": np.arange(3)}
    return EventBatch(offsets, {c.PDG: np.array([11, 211, 13], np.int32)})


def names(modules):
    return [module.name for module in order(modules)]


def test_order_follows_needs_whatever_the_order_of_the_card():
    modules = [Toy("z", (c.PDG,), (A,)), Toy("m", (A,), (B,)), Toy("a", (B, A)), Toy("k")]
    for shuffled in itertools.permutations(modules):
        assert names(shuffled) == ["k", "z", "m", "a"]


def test_independent_modules_run_by_name():
    assert names([Toy("b"), Toy("c"), Toy("a")]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("modules", "text"),
    [
        (
            [Toy("one", makes=(A,)), Toy("two", makes=(A,))],
            "both module 'one' and module 'two' make the column particle.a",
        ),
        ([Toy("one", makes=(c.PDG,))], "both the reader and module 'one' make the column particle.pdg"),
        ([Toy("one", (A, c.PDG))], "module 'one' needs particle.a, which no module makes"),
        (
            [Toy("one", (A,), (B,)), Toy("two", (B,), (A,))],
            "module 'one' needs particle.a; module 'two' needs particle.b, which they make only from one another (a circle)",
        ),
        ([Toy("one", (A,), (A,))], "module 'one' needs particle.a, which they make only from one another (a circle)"),
    ],
)
def test_columns_that_cannot_be_made(modules, text):
    with pytest.raises(PluginError) as caught:
        order(modules)
    assert caught.value.what == text


def test_run_adds_columns_counts_and_times(batch):
    first = Toy("first", (), (A,), Made({A: np.ones(3)}, counts={"n": 2}))
    second = Toy("second", (A,), (V,), Made({V: np.zeros((1, 3))}, {"track": np.array([0, 0, 1])}, {"n": 3}))
    result, counts, seconds = Pipeline([second, first], Streams(1)).run(batch)
    np.testing.assert_array_equal(result[A], np.ones(3))
    assert result.n_rows("track") == 1
    assert A not in batch  # the batch that came in is as it was
    assert counts == {"n": 5}
    assert list(seconds) == ["first", "second"]


@pytest.mark.parametrize(
    ("makes", "columns", "text"),
    [
        ((A, E), {A: np.ones(3)}, "promised: event.e, delivered: nothing"),
        ((), {A: np.ones(3)}, "promised: nothing, delivered: particle.a"),
        ((A,), {A: np.ones(2)}, "particle.a: promised: float64(3,), delivered: float64(2,)"),
        ((A,), {A: np.ones(3, np.float32)}, "particle.a: promised: float64(3,), delivered: float32(3,)"),
        ((E,), {E: np.ones(3, np.int32)}, "event.e: promised: int32(2,), delivered: int32(3,)"),
        ((A,), {A: np.ones((3, 1))}, "particle.a: promised: float64(3,), delivered: float64(3, 1)"),
        ((V,), {V: np.ones((3, 3))}, "track.v: promised: float64(-1, 3), delivered: float64(3, 3)"),
        ((A,), {A: np.array([1.0, np.inf, -np.inf])}, "particle.a: 2 values are infinite"),
        (
            (A, E),
            {A: np.ones(2), B: np.ones(3)},
            (
                "promised: event.e, delivered: nothing; promised: nothing, delivered: particle.b; particle.a: "
                "promised: float64(3,), delivered: float64(2,)"
            ),
        ),
    ],
)
def test_broken_promises(batch, makes, columns, text):
    with pytest.raises(PluginError, match=re.escape(text)) as caught:
        check(Toy("toy", (), makes), batch, Made(columns))
    assert caught.value.where == "module 'toy'"
    assert caught.value.what == text
    assert caught.value.exit_code == 5


def test_nan_means_not_there_and_is_fine(batch):
    check(Toy("toy", (), (A,)), batch, Made({A: np.full(3, np.nan)}))


FINAL_PHOTON = {c.PDG: 22, c.STATUS: 1, c.MOMENTUM[0]: 1.0, c.MOMENTUM[1]: 0.0, c.MOMENTUM[2]: 0.0, c.ENERGY: 1.0}


def photons(**changes):
    """A photon in each of the two events, the first from a new vertex where row 1 ends, the second from nowhere."""
    columns = {column: np.full(2, value, column.dtype) for column, value in FINAL_PHOTON.items()}
    given = {
        "event": np.array([0, 1]), "columns": columns, "vertex": np.array([0, -1]), "end": np.array([-1, -1]),
        "vertex_event": np.array([0]), "vertex_position": np.full((1, 4), 3.0), "ended": np.array([1]),
        "ended_in": np.array([0]), "ended_status": np.array([2], np.int32),
    }  # fmt: skip
    return NewParticles(**{**given, **changes})


class Maker(Toy):
    makes_particles = True


@pytest.fixture
def record(batch):
    """The batch with all that new particles change."""
    columns = {
        c.STATUS: np.ones(3, np.int32), c.PRODUCTION_VERTEX: np.array([0, 0, -1], np.int32),
        c.END_VERTEX: np.full(3, -1, np.int32), c.LEAVES_TRACKER: np.ones(3, np.bool_),
        **dict.fromkeys(c.VERTEX_POSITION, np.zeros(1)),
    }  # fmt: skip
    return batch.with_columns(columns)


def test_new_particles_that_do_not_say_so_leave_the_tracker_and_their_mothers_do_not(record):
    grown, _, _ = Pipeline([Maker("maker", made=Made({}, particles=photons()))], Streams(1)).run(record)
    assert grown[c.PDG].tolist() == [11, 211, 22, 13, 22]
    assert grown[c.LEAVES_TRACKER].tolist() == [True, False, True, True, True]
    assert grown[c.STATUS].tolist() == [1, 2, 1, 1, 1]
    assert grown[c.PRODUCTION_VERTEX].tolist() == [0, 0, 1, -1, -1]  # the last comes from no vertex
    assert grown[c.END_VERTEX].tolist() == [-1, 1, -1, -1, -1]
    assert grown[c.VERTEX_POSITION[0]].tolist() == [0.0, 3.0]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"end": np.array([-1])}, "new particles: expected end of 2 rows"),
        (
            {"columns": {c.PDG: np.full(2, 22, np.int32)}},
            "new particles: without particle.energy, particle.px, particle.py, particle.pz, particle.status",
        ),
        (
            {"columns": {**photons().columns, c.MASS: np.zeros(3)}},
            "new particles: particle.mass: expected (2,), delivered (3,)",
        ),
        ({"event": np.array([1, 0])}, "new particles: event must not decrease"),
        ({"event": np.array([0, 2])}, "new particles: event is 0 to 2, must be 0 to 1"),
        ({"vertex": np.array([1, -1])}, "new particles: vertex is -1 to 1, must be -1 to 0"),
        ({"ended": np.array([3])}, "new particles: ended is 3 to 3, must be 0 to 2"),
    ],
)  # fmt: skip
def test_new_particles_that_cannot_be(record, changes, text):
    maker = Maker("maker", made=Made({}, particles=photons(**changes)))
    with pytest.raises(PluginError) as caught:
        Pipeline([maker], Streams(1)).run(record)
    assert caught.value.what == text
