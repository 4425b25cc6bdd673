"""What is kept of the generator's record, against a slow walk over it that knows nothing of the kernels."""

from __future__ import annotations

import numpy as np
import pytest
from particle import PDGID

from fastsim import columns as c
from fastsim.events import production_points
from fastsim.io.inputs import read_blocks
from fastsim.kernels.truth import HEAVY_QUARK, OTHER, PARTON, RESONANCE
from fastsim.rng import Streams
from fastsim.source import Limits, Range, make_batch
from fastsim.truth import kinds_of, select_truth

FINAL, DECAYED, BEAM = 1, 2, 4


def record(*particles, position=None):
    """One event from (pdg, status, production vertex, end vertex), -1 for none; particle i has px = i + 1."""
    pdg, status, production, end = (np.array(column, dtype=np.int32) for column in zip(*particles, strict=True))
    n, n_vertices = len(pdg), max(production.max(), end.max()) + 1
    offsets = {"particle": np.array([0, n]), "vertex": np.array([0, n_vertices])}
    columns = {c.PDG: pdg, c.STATUS: status, c.PRODUCTION_VERTEX: production, c.END_VERTEX: end}
    columns |= {column: np.arange(1.0, n + 1) for column in (*c.MOMENTUM, c.ENERGY, c.MASS)}
    columns |= {column: np.arange(n_vertices) * 1.0 if position is None else position for column in c.VERTEX_POSITION}
    columns |= {column: np.zeros(1) for column in c.VERTEX_TRUE}
    return make_batch(offsets, columns)


def families(batch, event=0):
    """Mothers (positions in the event) of each particle of an event."""
    own = slice(*batch.offsets["particle"][event : event + 2])
    production, end = batch[c.PRODUCTION_VERTEX][own].tolist(), batch[c.END_VERTEX][own].tolist()
    enter = {}
    for i, vertex in enumerate(end):
        if vertex >= 0:
            enter.setdefault(vertex, []).append(i)
    return [enter.get(vertex, []) if vertex >= 0 else [] for vertex in production]


def identity(batch, event=0):
    """Code and number of the particles of an event: `batches` numbers them in the column of the masses."""
    own = slice(*batch.offsets["particle"][event : event + 2])
    return list(zip(*(batch[column][own].tolist() for column in (c.PDG, c.MASS)), strict=True))


def kept(batch, truth="standard"):
    """Positions of the particles that are kept (of an event made by `record`), and their mothers' positions."""
    result = select_truth(batch, truth)
    positions = [int(px) - 1 for px in result[c.MOMENTUM[0]]]
    return positions, {
        i: [positions[m] for m in mothers] for i, mothers in zip(positions, families(result), strict=True)
    }


@pytest.fixture(scope="module")
def batches(ttbar, lead):
    """Events of the samples."""
    found = []
    for path in (ttbar, lead):
        items = read_blocks([str(path)], Streams(1), events=Range(0, 6), limits=Limits(6, 200_000), records=[])
        for item in items:
            batch = item.block.read().batch
            found.append(batch.with_columns({c.MASS: np.arange(1.0 * batch.n_rows("particle"))}))
    return found


# --- small records ----------------------------------------------------------------------------------------------------


def test_resonances_and_what_they_decay_to_are_kept_and_hang_together():
    """g g -> t (copy, copy) -> W b, W -> u dbar, with the shower between."""
    positions, mothers = kept(
        record(
            (21, 21, -1, 0), (21, 21, -1, 0),  # 0, 1
            (6, 22, 0, 1), (-6, 22, 0, -1),  # 2, 3
            (6, 44, 1, 2), (21, 43, 1, 7),  # 4, 5: a copy and its gluon
            (6, 62, 2, 3),  # 6: the last copy
            (24, 22, 3, 4), (5, 23, 3, -1),  # 7, 8
            (24, 52, 4, 5),  # 9
            (2, 23, 5, 6), (-1, 23, 5, -1),  # 10, 11
            (2, 51, 6, 7), (21, 51, 6, 7),  # 12, 13
        )
    )  # fmt: skip
    assert positions == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
    assert mothers == {0: [], 1: [], 2: [0, 1], 3: [0, 1], 6: [2], 7: [6], 8: [6], 9: [7], 10: [9], 11: [9]}


def test_hadrons_of_a_string_have_the_heavy_quark_as_mother_or_none():
    """c and a gluon to D and pions; two light partons to others; statuses of the shower."""
    positions, mothers = kept(
        record(
            (21, 51, -1, 0),
            (4, 51, 0, 1), (21, 51, 0, 2),  # 1, 2
            (4, 71, 1, 2),  # 3: the last c
            (421, DECAYED, 2, 3), (211, FINAL, 2, -1),  # 4, 5
            (-321, FINAL, 3, -1), (211, FINAL, 3, -1),  # 6, 7
            (1, 71, -1, 4), (-1, 71, -1, 4), (211, FINAL, 4, -1),  # 8, 9, 10
        )
    )  # fmt: skip
    assert positions == [3, 4, 5, 6, 7, 10]
    assert mothers == {3: [], 4: [3], 5: [3], 6: [4], 7: [4], 10: []}


def test_hadrons_from_partons_of_a_decay_hang_on_the_decay():
    """B -> u dbar d ubar, two strings: all partons lead to the B, and to it alone."""
    positions, mothers = kept(
        record(
            (511, DECAYED, -1, 0),
            (2, 91, 0, 1), (-1, 91, 0, 1), (1, 91, 0, 2), (-2, 91, 0, 2),  # 1 to 4
            (211, FINAL, 1, -1), (111, DECAYED, 1, 3), (-211, FINAL, 2, -1),  # 5, 6, 7
            (22, FINAL, 3, -1), (22, FINAL, 3, -1),  # 8, 9
        )
    )  # fmt: skip
    assert positions == [0, 5, 6, 7, 8, 9]
    assert mothers == {0: [], 5: [0], 6: [0], 7: [0], 8: [6], 9: [6]}


def test_nothing_hangs_on_the_beams_through_the_shower():
    positions, mothers = kept(
        record((2212, BEAM, -1, 0), (2, 31, 0, 1), (211, FINAL, 1, -1), (111, FINAL, 0, -1), (2212, BEAM, -1, 2))
    )
    assert positions == [0, 2, 3, 4]
    assert mothers == {0: [], 2: [], 3: [0], 4: []}


def test_leptons_and_photons_are_kept_as_last_copies():
    positions, mothers = kept(
        record(
            (23, 22, -1, 0), (15, 23, 0, 1), (-15, 23, 0, 2), (15, 51, 1, 3), (22, FINAL, 1, -1), (15, DECAYED, 3, 4),
            (16, FINAL, 4, -1), (-211, FINAL, 4, -1), (-15, DECAYED, 2, 5), (-16, FINAL, 5, -1),
            (11, 44, -1, 6), (11, FINAL, 6, -1),
        )
    )  # fmt: skip
    assert positions == [0, 1, 2, 4, 5, 6, 7, 8, 9, 11]
    assert mothers[5] == [1]
    assert mothers[6] == [5]
    assert mothers[8] == [2]
    assert mothers[11] == []


def test_final_particles_are_kept_whatever_comes_after_them():
    """Some generators write a final electron, and then its photon and itself again, all final."""
    positions, mothers = kept(record((11, FINAL, -1, 0), (11, FINAL, 0, -1), (22, FINAL, 0, -1)))
    assert positions == [0, 1, 2]
    assert mothers == {0: [], 1: [0], 2: [0]}


def test_places_of_decays_stay():
    batch = record((310, DECAYED, 0, 1), (211, FINAL, 1, -1), (-211, FINAL, 1, -1), position=np.array([0.0, 3.5]))
    result = select_truth(batch, "standard")
    assert production_points(result)[:, 0].tolist() == [0.0, 3.5, 3.5]


def test_reconstructed_keeps_ancestors_only():
    batch = record(
        (521, DECAYED, -1, 0), (310, DECAYED, 0, 1), (443, DECAYED, 0, 2), (211, FINAL, 1, -1), (-211, FINAL, 1, -1),
        (13, FINAL, 2, -1), (-13, FINAL, 2, -1), (211, FINAL, -1, -1),
    )  # fmt: skip
    tracks = {
        c.PARTICLE_INDEX: np.array([3, 5, 7], dtype=np.int32),
        c.IS_RECONSTRUCTED: np.array([True, False, False]),
    }
    batch = batch.with_columns(tracks, {"track": np.array([0, 3])})
    positions, mothers = kept(batch, "reconstructed")
    assert positions == [0, 1, 3]
    assert mothers == {0: [], 1: [0], 3: [1]}
    assert select_truth(batch, "reconstructed")[c.PARTICLE_INDEX].tolist() == [2, -1, -1]
    none = select_truth(batch, "none")
    assert (none.n_rows("particle"), none.n_rows("vertex"), none[c.PARTICLE_INDEX].tolist()) == (0, 0, [-1, -1, -1])
    assert select_truth(batch, "all") is batch


def test_events_without_particles_stay():
    for truth in ("standard", "reconstructed", "none"):
        empty = make_batch(
            {"particle": np.zeros(3, int), "vertex": np.zeros(3, int)},
            record((211, 1, -1, -1)).slice_events(0, 0).columns,
        )
        columns = {c.PARTICLE_INDEX: np.zeros(0, np.int32), c.IS_RECONSTRUCTED: np.zeros(0, bool)}
        empty = empty.with_columns(columns, {"track": np.zeros(3, int)})
        assert select_truth(empty, truth).n_events == 2


# --- whole events -----------------------------------------------------------------------------------------------------


RESONANCES = {6, 23, 24, 25}
LIGHT = {1, 2, 3, 9, 21}


def wanted(batch, event):
    """The rule in words, for the particles of one event; the particle package says what the codes are."""
    own = slice(*batch.offsets["particle"][event : event + 2])
    pdg, status, mothers = batch[c.PDG][own].tolist(), batch[c.STATUS][own].tolist(), families(batch, event)
    daughters = [[k for k, found in enumerate(mothers) if found == [i]] for i in range(len(pdg))]
    for i, code in enumerate(pdg):
        if status[i] in {FINAL, BEAM} or 21 <= status[i] <= 29:
            yield True
            continue
        of_resonance = len(mothers[i]) == 1 and abs(pdg[mothers[i][0]]) in RESONANCES
        if of_resonance and all(pdg[k] != pdg[mothers[i][0]] for k in daughters[mothers[i][0]]):
            yield True
            continue
        is_parton = abs(code) in LIGHT or PDGID(code).is_diquark or PDGID(code).is_generator_specific
        is_parton |= abs(code) in {110, 990, 9990}
        yield not is_parton and (status[i] == DECAYED or all(pdg[k] != code for k in daughters[i]))


def test_rule_on_whole_events(batches):
    for batch in batches:
        result = select_truth(batch, "standard")
        for event in range(batch.n_events):
            names = identity(batch, event)
            want = [name for name, is_it in zip(names, wanted(batch, event), strict=True) if is_it]
            assert identity(result, event) == want
            assert len(want) < 0.7 * len(names)


def test_mothers_are_the_nearest_that_are_kept(batches):
    """A recursive search up the full record: the end vertex of the nearest kept particles, the same on all ways."""
    for batch in batches[:2]:
        result = select_truth(batch, "standard")
        for event in range(batch.n_events):
            names, mothers = identity(batch, event), families(batch, event)
            status = batch[c.STATUS][batch.offsets["particle"][event] :]
            kept_names = set(identity(result, event))
            is_kept = [name in kept_names for name in names]
            known = {}

            def nearest(i, is_kept=is_kept, mothers=mothers, known=known, status=status):
                """Kept mothers of particle i; of its mothers if it has none, where all agree."""
                if i not in known:
                    own = [m for m in mothers[i] if is_kept[m]]
                    ways = {tuple(nearest(m)) for m in mothers[i]}
                    found = own or (list(ways.pop()) if len(ways) == 1 else [])
                    known[i] = [] if not own and any(status[m] == BEAM for m in found) else found
                return known[i]

            order = {name: i for i, name in enumerate(names)}
            got = {
                name: sorted(identity(result, event)[m] for m in ms)
                for name, ms in zip(identity(result, event), families(result, event), strict=True)
            }
            for name, found in got.items():
                assert found == sorted(names[m] for m in nearest(order[name]) if is_kept[m]), name


def test_nothing_moves_and_labels_hold(batches):
    """Production points of all that is kept: unchanged (the shower has no extent in these events)."""
    for batch in batches:
        points = dict(
            zip(
                [(e, n) for e in range(batch.n_events) for n in identity(batch, e)],
                production_points(batch).tolist(),
                strict=True,
            )
        )
        result = select_truth(batch, "standard")
        found = production_points(result)
        names = [(e, n) for e in range(result.n_events) for n in identity(result, e)]
        np.testing.assert_allclose(found, [points[name] for name in names], atol=1e-9)


def test_batches_do_not_matter(batches):
    for batch in batches:
        whole = select_truth(batch, "standard")
        parts = [select_truth(batch.slice_events(i, i + 1), "standard") for i in range(batch.n_events)]
        for column in whole.columns:
            np.testing.assert_array_equal(whole[column], np.concatenate([part[column] for part in parts]))


def test_kinds_agree_with_the_particle_package():
    codes = [
        *range(1, 100),
        *range(1000, 6000),
        110,
        211,
        421,
        521,
        553,
        2212,
        5122,
        990,
        9990,
        1000021,
        2000001,
        1000020040,
        100443,
        9010221,
        9902210,
    ]
    for code, kind in zip(codes, kinds_of(np.array(codes, dtype=np.int32)), strict=True):
        pdgid = PDGID(code)
        if pdgid.is_diquark or code in {1, 2, 3, 21}:
            assert kind == PARTON, code
        elif code in {4, 5}:
            assert kind == HEAVY_QUARK
        elif code in {6, 7, 8, 17, 18, 1000021, 2000001} or code in range(23, 81):
            assert kind == RESONANCE
        elif code in {110, 990, 9990} or code in range(81, 101):
            assert kind == PARTON, code
        elif pdgid.is_hadron or pdgid.is_lepton or pdgid.is_nucleus or code == 22:
            assert kind == OTHER, code
    ours, anti = (kinds_of(sign * np.array([4, 2101, 24, 6], dtype=np.int32)) for sign in (1, -1))
    np.testing.assert_array_equal(ours, anti)
