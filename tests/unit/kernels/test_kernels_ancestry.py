"""Walks over the generator's record on small graphs whose answer is seen by eye."""

import numpy as np
import pytest

from fastsim.kernels.ancestry import complete_positions, mark_descendants, primary_vertex


def inherited(production, end, positions, event=(0, 0, 0, 0)):
    positions = np.ascontiguousarray(np.array(positions, dtype=np.float64).T)
    links = np.array(production, dtype=np.int32), np.array(end, dtype=np.int32)
    mother = np.zeros(positions.shape[1], dtype=np.int32)
    assert complete_positions(*links, np.array(event, dtype=np.float64), positions, mother)
    return positions.T


def marked(production, end, long_lived, offsets=None, vertex_offsets=None):
    production = np.array(production, dtype=np.int32)
    marks = np.zeros(len(production), dtype=np.bool_)
    offsets = [0, len(production)] if offsets is None else offsets
    vertex_offsets = [0, 1 + int(max(*production, *end))] if vertex_offsets is None else vertex_offsets
    flags = np.isin(np.arange(len(production)), long_lived)
    mark_descendants(
        np.array(offsets, dtype=np.int64), np.array(vertex_offsets, dtype=np.int64),
        production, np.array(end, dtype=np.int32), flags, marks,
    )  # fmt: skip
    return np.flatnonzero(marks).tolist()


def test_a_chain_inherits_the_last_position_upstream():
    """beam -> V0 (set) -> p1 -> V1 (unset) -> p2 -> V2 (unset) -> p3 -> V3 (set): HepMC3's GenVertex::position."""
    nothing, here, there = [0, 0, 0, 0], [1, 2, 3, 4], [9, 8, 7, 6]
    result = inherited([-1, 0, 1, 2], [0, 1, 2, 3], [here, nothing, nothing, there])
    assert result.tolist() == [here, here, here, there]


def test_the_order_of_particles_does_not_matter():
    """The same chain listed from the last particle to the first, and with vertices numbered backwards."""
    nothing, here = [0, 0, 0, 0], [1, 2, 3, 4]
    assert inherited([2, 1, 0, -1], [3, 2, 1, 0], [here, nothing, nothing, nothing]).tolist() == [here] * 4
    assert inherited([1, 2, 3, -1], [0, 1, 2, 3], [nothing, nothing, nothing, here]).tolist() == [here] * 4


def test_two_mothers_the_first_counts():
    """Vertex 2 has mothers from vertex 0 (listed first) and vertex 1."""
    zero, one, unset = [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]
    assert inherited([-1, -1, 0, 1], [0, 1, 2, 2], [zero, one, unset])[2].tolist() == zero
    assert inherited([-1, -1, 1, 0], [0, 1, 2, 2], [zero, one, unset])[2].tolist() == one


def test_one_coordinate_is_a_position():
    """Only all four zero means "no position": a vertex with nothing but a time keeps it."""
    only_time = [0.0, 0.0, 0.0, 0.5]
    assert inherited([-1, 0], [0, 1], [[1, 2, 3, 4], only_time])[1].tolist() == only_time


def test_nothing_to_inherit_stays_at_zero():
    assert not inherited([-1, 0], [0, 1], np.zeros((2, 4))).any()


def test_without_any_position_upstream_the_events_counts():
    assert inherited([-1, 0], [0, 1], np.zeros((2, 4)), event=(1, 2, 3, 4)).tolist() == [[1, 2, 3, 4]] * 2


@pytest.mark.parametrize(("production", "end"), [([0, 1], [1, 0]), ([0], [0]), ([2, 0, 1, -1], [0, 1, 2, 0])])
def test_cycles_are_told(production, end):
    """Vertex 0 -> p0 -> vertex 1 -> p1 -> vertex 0: broken records exist."""
    n = 1 + max(*production, *end)
    links = np.array(production, dtype=np.int32), np.array(end, dtype=np.int32)
    assert not complete_positions(*links, np.zeros(4), np.ones((4, n)), np.zeros(n, dtype=np.int32))


def test_a_long_chain_in_the_worst_order_takes_as_many_steps_as_a_short_one():
    """2000 vertices, each before the one that it comes from: linear, or this would take 4 million steps with the JIT off."""
    n = 2000
    positions = np.zeros((n, 4))
    positions[n - 1] = 7
    assert (inherited([*range(1, n), -1], [*range(n)], positions) == 7).all()
    assert len(marked([*range(1, n), -1], [*range(n)], [n - 1])) == n - 1


def test_primary_vertex():
    def found(production, end, status, beam=-1):
        arrays = (np.array(a, dtype=np.int32) for a in (production, end, status))
        return primary_vertex(*arrays, beam, 1 + max([-1, *production, *end]))

    assert found([-1, -1, 0, 0], [-1, 1, -1, -1], [4, 4, 1, 1]) == 1  # beams, one of which ends
    assert found([-1, -1, 0, 0], [1, 0, -1, -1], [3, 3, 1, 1], beam=1) == 0  # HepMC2 names one
    assert found([1, 0, -1], [0, -1, 1], [2, 1, 2]) == 1  # the first that no produced particle enters
    assert found([], [], []) == -1


# K0s (1) -> pi (2) and pi0 (3); pi0 -> gamma (4); 0 is the K0s' mother and 5 a sister of the K0s.
PRODUCTION, END = [-1, 0, 1, 1, 2, 0], [0, 1, -1, 2, -1, -1]


def test_all_descendants_and_nobody_else_are_marked():
    assert marked(PRODUCTION, END, [1]) == [2, 3, 4]
    assert marked(PRODUCTION, END, [3]) == [4]
    assert marked(PRODUCTION, END, [2, 4, 5]) == []
    assert marked(PRODUCTION, END, [0]) == [1, 2, 3, 4, 5]


def test_marks_do_not_depend_on_the_order_of_particles():
    reversed_marks = marked(PRODUCTION[::-1], END[::-1], [5 - 1])
    assert sorted(5 - i for i in reversed_marks) == [2, 3, 4]


def test_events_do_not_mix():
    """Vertex numbers start again in each event: a K0s in the first event marks nobody in the second."""
    n = len(PRODUCTION)
    offsets, vertices = [0, n, 2 * n], [0, 3, 6]
    assert marked(PRODUCTION * 2, END * 2, [1], offsets, vertices) == [2, 3, 4]
    assert marked(PRODUCTION * 2, END * 2, [n + 3], offsets, vertices) == [n + 4]


def test_a_cycle_marks_and_ends():
    assert marked([0, 1], [1, 0], [0]) == [0, 1]


def test_a_long_chain_against_a_recursive_walk():
    """Random trees: ancestors found by recursion in Python."""
    generator = np.random.default_rng(5)
    for _ in range(10):
        n = 40
        mother = np.array([-1] + [int(generator.integers(0, i)) for i in range(1, n)])
        label = generator.permutation(n)
        production, end = np.full(n, -1), np.full(n, -1)
        for i in range(n):
            if i in mother:
                end[label[i]] = i
            if mother[i] >= 0:
                production[label[i]] = mother[i]
        long_lived = generator.random(n) < 0.1

        def has_ancestor(i, mother=mother, long_lived=long_lived, label=label):
            up = mother[i]
            return up >= 0 and (long_lived[label[up]] or has_ancestor(up))

        expected = sorted(int(label[i]) for i in range(n) if has_ancestor(i))
        assert marked(production, end, np.flatnonzero(long_lived), vertex_offsets=[0, n]) == expected
