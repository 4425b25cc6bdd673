"""The primary vertex as a module: levels and their options, what is made, batches; the smeared one."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

import fastsim
from fastsim import columns as c
from fastsim.errors import CardError
from fastsim.events import EventBatch
from fastsim.kernels.vertex_seed import UNKNOWN
from fastsim.plugins import make_modules
from fastsim.rng import Streams
from fastsim.tracking.vertex import FittedVertex, SmearedVertex, smear_vertices, usable
from tests.vertex_tracks import Tracks, make_tracks

PARAMETRIC = (
    'modules=[{name="vertex", kind="vertex", level="parametric", sigma_x_um=0, sigma_y_um=5.0, sigma_z_um=10.0}]'
)


def batch_of(events, is_reconstructed=None) -> EventBatch:
    """A batch with the columns that the fit reads."""
    tracks = events[0]
    for event in events[1:]:
        tracks += event
    counts = [len(event.parameters) for event in events]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    columns = {column: np.ascontiguousarray(tracks.parameters[:, k]) for k, column in enumerate(c.RECONSTRUCTED)}
    found = np.ones(len(tracks.parameters), dtype=bool) if is_reconstructed is None else is_reconstructed
    return EventBatch(
        {"particle": offsets, "track": offsets}, {**columns, c.COV_PACKED: tracks.cov_packed, c.IS_RECONSTRUCTED: found}
    )


def fitted(batch, b_z=2.0):
    return FittedVertex("vertex", b_z, 9.0).apply(batch, Streams(1)).columns


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (
            'level="fit", sigma_x_um=3.0',
            ['sigma_x_um: belongs to level "parametric", and this vertex has level "fit"'],
        ),
        (
            'level="parametric", sigma_x_um=1.0, chi2_cut=4.0',
            [
                'sigma_y_um: missing: level "parametric" needs it',
                'sigma_z_um: missing: level "parametric" needs it',
                'chi2_cut: belongs to level "fit", and this vertex has level "parametric"',
            ],
        ),
        ('level="smeared", sigma_x_um=1.0', ["level: must be 'parametric' or 'fit' (got 'smeared', a string)"]),
        ('level="fit", chi2_cut=0.0', ["chi2_cut: must be greater than 0 (got 0.0, a number)"]),
        ("chi2_cut=9.0", ["level: missing"]),
    ],
)
def test_options_of_the_other_level_are_refused(options, messages):
    card = fastsim.load_card("alice3", sets=[f'modules=[{{name="v", kind="vertex", {options}}}]'])
    with pytest.raises(CardError) as error:
        make_modules(card)
    assert [problem.partition(f"modules[0].{message.partition(':')[0]}")[2] for problem, message in zip(
        error.value.problems, messages, strict=True)] == [f":{message.partition(':')[2]}" for message in messages]  # fmt: skip


def test_the_level_chooses_the_module():
    (of_tracks,) = make_modules(fastsim.load_card("alice3"))
    assert isinstance(of_tracks, FittedVertex)
    assert not {*c.VERTEX_TRUE, c.IS_PRIMARY, c.COLLISION} & set(of_tracks.needs)  # no truth
    (smeared,) = make_modules(fastsim.load_card("alice3", sets=[PARAMETRIC]))
    assert isinstance(smeared, SmearedVertex)
    assert smeared.makes == of_tracks.makes


@pytest.mark.parametrize("name", fastsim.resources.shipped("cards"))
def test_shipped_cards_fit_the_vertex(name):
    modules = fastsim.load_card(name).card.modules
    assert [m["level"] for m in modules if m["kind"] == "vertex"] == ["fit"]


def test_what_is_made():
    """Columns in their types; contributors agree with their number; a track that was not found is no contributor."""
    events = [make_tracks((0.01, -0.02, 1.0), 12, 2.0, seed=1), make_tracks((0, 0, 0), 0, 2.0, seed=1)]
    found = np.arange(12) != 3
    made = fitted(batch_of(events, found))
    assert set(made) == set(FittedVertex.makes)
    for column, array in made.items():
        assert (array.dtype, array.shape[1:]) == (np.dtype(column.dtype), column.shape), column
    np.testing.assert_allclose([made[column][0] for column in c.VERTEX], [0.01, -0.02, 1.0], atol=1e-6)
    np.testing.assert_array_equal(made[c.IS_CONTRIBUTOR], found)
    assert made[c.N_CONTRIBUTORS].tolist() == [11, 0]
    assert [made[column][1] for column in c.VERTEX] == [0.0, 0.0, 0.0]
    assert made[c.VERTEX_COV][1].tolist() == [UNKNOWN, 0, UNKNOWN, 0, 0, UNKNOWN]


def test_a_batch_without_events_or_tracks():
    none = make_tracks((0, 0, 0), 0, 2.0, seed=1)
    assert fitted(batch_of([none]).slice_events(0, 0))[c.N_CONTRIBUTORS].shape == (0,)
    assert fitted(batch_of([none, none]))[c.N_CONTRIBUTORS].tolist() == [0, 0]


def test_tracks_that_are_no_helices_are_left_out():
    """NaN, infinite, without uncertainty, without curvature, with the centre on the wrong side: the others make the vertex."""
    tracks = make_tracks((0, 0, 0), 12, 2.0, seed=1)
    expected = fitted(batch_of([Tracks(tracks.parameters[6:], tracks.cov_packed[6:])]))
    tracks.parameters[0, 1] = np.nan
    tracks.parameters[1, 3] = np.inf
    tracks.cov_packed[2] = 0.0
    tracks.cov_packed[3, 5] = np.nan
    tracks.parameters[4, 4] = 0.0
    tracks.parameters[5, :] = [10.0, 0.0, 0.0, 0.0, 20.0]  # R = 8.3 cm
    np.testing.assert_array_equal(usable(*tracks, 2.0), np.arange(12) > 5)
    made = fitted(batch_of([tracks]))
    assert made[c.IS_CONTRIBUTOR].tolist() == [False] * 6 + [True] * 6
    for column in (*c.VERTEX, c.VERTEX_COV, c.VERTEX_CHI2, c.N_CONTRIBUTORS):
        np.testing.assert_array_equal(made[column], expected[column])


def test_the_size_of_the_batch_changes_nothing(ttbar):
    """To the bit, of events simulated at once and two by two."""
    whole = ak.concatenate(list(fastsim.simulate(ttbar, events=(0, 6))))
    parts = ak.concatenate(list(fastsim.simulate(ttbar, events=(0, 6), batch_size=2)))
    for column in FittedVertex.makes:
        of = (
            (lambda events, name: events.tracks[name])
            if column.table == "track"
            else (lambda events, name: events[name])
        )
        assert ak.array_equal(of(whole, column.name), of(parts, column.name)), column


def test_resolution_is_the_cards():
    """20,000 vertices: widths within 4.5 / sqrt(2 n), no correlation within 4.5 / sqrt(n), means likewise."""
    n = 20_000
    sigma = np.array([5e-4, 7e-4, 20e-4])
    vertex = np.tile([0.1, -0.2, 3.0], (n, 1))
    smear_vertices(np.arange(n, dtype=np.uint64), sigma, Streams(1).key("vertex/position"), vertex)
    pulls = (vertex - [0.1, -0.2, 3.0]) / sigma
    assert (np.abs(pulls.mean(axis=0)) < 4.5 / np.sqrt(n)).all()
    assert (np.abs(pulls.std(axis=0) - 1) < 4.5 / np.sqrt(2 * n)).all()
    assert np.abs(np.corrcoef(pulls.T)[np.triu_indices(3, 1)]).max() < 4.5 / np.sqrt(n)


def test_the_smeared_vertex(ttbar):
    """Zero resolution is the generated vertex; the covariance is the card's; contributors are reconstructed primaries."""
    events = next(fastsim.simulate(ttbar, fastsim.load_card("alice3", sets=[PARAMETRIC]), events=(0, 3)))
    assert ak.to_list(events.vertex_x) == ak.to_list(events.vertex_x_true)
    assert ak.to_list(events.vertex_y) != ak.to_list(events.vertex_y_true)
    np.testing.assert_allclose(events.vertex_cov, [[0, 0, 25e-8, 0, 0, 100e-8]] * 3)
    for event in events:
        primary = event.particles.is_physical_primary[event.tracks.particle_index]
        assert event.n_contributors == ak.sum(primary & event.tracks.is_reconstructed)
        assert ak.to_list(event.tracks.is_contributor) == ak.to_list(primary & event.tracks.is_reconstructed)
