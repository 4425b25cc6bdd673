"""Time of flight as a module: layers that cannot be, options, what is made, batches, several layers together."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastsim
from fastsim import columns as c
from fastsim.detector import load_detector
from fastsim.detector.devices import Tof as Layer
from fastsim.devices.event_time import Starts
from fastsim.devices.tof import MASSES_OVER_CHARGE, Tof, layers_of
from fastsim.devices.tof_response import (
    Helices,
    log_likelihood_1,
    make_measured,
    start_times,
    time_slopes_1,
)
from fastsim.errors import CardError, PluginError
from fastsim.pipeline import check, order
from fastsim.plugins import make_modules
from fastsim.rng import Streams
from fastsim.species import SPECIES
from fastsim.tracking.vertex import FittedVertex
from tests.object_events import assert_any_batch_size, only
from tests.oracles import JIT_IS_OFF
from tests.tof_events import (
    FORWARD,
    INNER,
    LIGHT,
    OUTER,
    applied,
    make_batch,
    module,
)

N = 500 if JIT_IS_OFF else 20_000

DETECTOR = """schema_version = 1
name = "small"
source = "a test"
b_z = 2.0
layers = [
  { name = "pipe", r = 1.0, half_length = 500.0, x_over_x0 = 0.001 },
  { name = "A", r = 2.0, half_length = 50.0, x_over_x0 = 0.01, sigma_rphi_um = 10.0, sigma_z_um = 10.0, efficiency = 1.0 },
  { name = "B", r = 20.0, half_length = 50.0, x_over_x0 = 0.01, sigma_rphi_um = 10.0, sigma_z_um = 10.0, efficiency = 1.0 },
  { name = "C", r = 40.0, half_length = 50.0, x_over_x0 = 0.01, sigma_rphi_um = 10.0, sigma_z_um = 10.0, efficiency = 1.0 },
]
disks = [
  { name = "D", z = 80.0, r_min = 5.0, r_max = 60.0, x_over_x0 = 0.01, sigma_rphi_um = 9.0, sigma_r_um = 9.0, efficiency = 1.0 },
]
[tracking]
scattering = "no_log"
min_hits = 3
max_sin_incidence = 0.9
min_radius = 0.0
"""


def loaded(tmp_path, *tables):
    path = tmp_path / "small.toml"
    path.write_text(DETECTOR + "".join(f"[[tof]]\n{table}\n" for table in tables))
    return load_detector(path)


LINES = "straight lines to it cross 1 measuring layers at most"
GOOD = 'name = "tof"\nr = 50.0\nhalf_length = 40.0\nsigma_ps = 20.0'


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        (GOOD.replace("20.0", "0.0"), 23, "tof[0].sigma_ps: must be greater than 0 (got 0.0, a number)"),
        (GOOD.replace("20.0", "-5.0"), 23, "tof[0].sigma_ps: must be greater than 0 (got -5.0, a number)"),
        (f"{GOOD}\nefficiency = 1.2", 24, "tof[0].efficiency: must be less than or equal to 1 (got 1.2, a number)"),
        (f"{GOOD}\ntail_from = 0.1", 24, "tof[0].tail_from: must be greater than or equal to 0.3 (got 0.1, a number)"),
        (f"{GOOD}\nmismatch = 1.0", 24, "tof[0].mismatch: must be less than 1 (got 1.0, a number)"),
        (f"{GOOD}\nmatching_area = -1.0", 24, "tof[0].matching_area: must be greater than or equal to 0 (got -1.0, a number)"),
        (f"{GOOD}\ninactive_fraction = 0.1", 24, "tof[0].inactive_fraction: needs pitch, the edge of the pixels"),
        (f"{GOOD}\npitch = 90.0", 24, "tof[0].pitch: 90 cm, larger than the layer (80 cm)"),
        (f"{GOOD}\nsigma = 3.0", 24, "tof[0].sigma: not a known key (did you mean 'sigma_ps'?)"),
        ('name = "tof"\nr = 50.0\nhalf_length = 40.0', 19, "tof[0].sigma_ps: missing"),
        (GOOD.replace("50.0", "40.0"), 21, "tof[0].r: 40 cm is where C is"),
        (GOOD.replace("50.0", "0.5"), 21, "tof[0].r: 0.5 cm lies inside pipe, the innermost layer, at 1 cm"),
        (GOOD.replace("= 40.0", "= 90.0"), 21, "tof[0].r: cuts through D, a disk at |z| = 80 cm, r = 5 to 60 cm"),
        (
            'name = "tof"\nz = 45.0\nr_min = 30.0\nr_max = 60.0\nsigma_ps = 20.0', 21,
            "tof[0].z: cuts through C, a cylinder at r = 40 cm with half_length 50 cm",
        ),
        ('name = "tof"\nz = 80.0\nr_min = 5.0\nr_max = 90.0\nsigma_ps = 20.0', 21, "tof[0].z: 80 cm is where D is"),
        (
            'name = "tof"\nz = 300.0\nr_min = 2.0\nr_max = 15.0\nsigma_ps = 20.0', 19,
            f"tof[0]: no track of the tracker gets there: {LINES} (tracking.min_hits is 3)",
        ),
    ],
)  # fmt: skip
def test_layers_that_cannot_be(tmp_path, table, line, message):
    """Each with the file, the line of the key (of the table where the fault is of all of it) and what is allowed."""
    with pytest.raises(CardError) as error:
        loaded(tmp_path, table)
    assert error.value.problems == [f"{tmp_path / 'small.toml'}:{line}: {message}"]


@pytest.mark.parametrize("table", ["5", 'name = "tof"\nr = "50"\nhalf_length = 40.0\nsigma_ps = true'])
def test_tables_of_wrong_types_are_told_by_the_schema_alone(tmp_path, table):
    path = tmp_path / "small.toml"
    text = f"tof = {table}\n" + DETECTOR if table == "5" else f"{DETECTOR}[[tof]]\n{table}\n"
    path.write_text(text)
    with pytest.raises(CardError, match="tof"):
        load_detector(path)


def test_layers_that_can_be(tmp_path):
    """Barrel and disks, with everything; and on detectors without layers nothing is asked of the tracker."""
    forward = 'name = "ftof"\nz = 100.0\nr_min = 20.0\nr_max = 60.0\nsigma_ps = 30.0\nboth_sides = false'
    full = f"{GOOD}\ntail_from = 0.9\nefficiency = 0.98\npitch = 0.1\ninactive_fraction = 0.05\nmismatch = 0.01"
    detector = loaded(tmp_path, full, forward)
    assert [layer.name for layer in detector.tof] == ["tof", "ftof"]
    path = tmp_path / "formulas.toml"
    sigmas = "\n".join(f'sigma_{k} = "0.01"' for k in ("pt_over_pt", "dca_xy", "dca_z", "phi", "tan_lambda"))
    path.write_text(
        f'schema_version = 1\nname = "f"\nsource = "a test"\nb_z = 1.0\nr_edges = [0.0, 10.0]\n'
        f'[[formulas]]\nspecies = ["pi"]\nefficiency = "1"\n{sigmas}\n[[tof]]\n{GOOD}\n'
    )
    assert load_detector(path).tof[0].r == 50.0


def card(tmp_path, options, *tables):
    loaded(tmp_path, *(tables or (GOOD,)))
    path = tmp_path / "card.toml"
    path.write_text(
        'extends = "alice3"\ndetector = "small.toml"\n[[modules]]\nname = "v"\nkind = "vertex"\nlevel = "fit"\n'
        f'[[modules]]\nkind = "tof"\nlevel = "parametric"\n{options}\n'
    )
    return fastsim.load_card(path)


@pytest.mark.parametrize(
    ("options", "tables", "problems"),
    [
        ('name = "t"\ndevices = ["tog"]', [GOOD], ["module 't': devices: no [[tof]] called 'tog' (there are: tof)"]),
        ('name = "t"', [], ["module 't': the detector has no [[tof]]"]),
        (
            'name = "tof"', [GOOD.replace('"tof"', '"tof_event"')],
            ["module 'tof': its event time has the name of the time of the layer \"tof_event\""],
        ),
    ],
)  # fmt: skip
def test_cards_that_ask_for_what_is_not_there(tmp_path, options, tables, problems):
    loaded_card = card(tmp_path, options, GOOD)
    own = loaded_card.__class__(**{**loaded_card.__dict__, "detector": loaded(tmp_path, *tables)})
    with pytest.raises(CardError) as error:
        make_modules(own)
    assert error.value.problems == problems


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "sigma_event_time_ps = 0.0",
            "sigma_event_time_ps: must be greater than or equal to 0.001 (got 0.0, a number)",
        ),
        ('event_time = "guess"', "event_time: must be 'tracks', 'true_species' or 'beams' (got 'guess', a string)"),
        ("fractions = { pi = 0.0 }", "fractions.pi: must be greater than 0 (got 0.0, a number)"),
        ("devices = []", "devices: list should have at least 1 item after validation, not 0 (got an array)"),
        (
            'event_time = "beams"\nfractions = { ka = 0.2 }',
            'fractions: belongs to event_time = "tracks" (it is "beams")',
        ),
    ],
)
def test_options_that_cannot_be(tmp_path, options, message):
    with pytest.raises(CardError) as error:
        make_modules(card(tmp_path, f'name = "t"\n{options}'))
    assert [problem.partition("modules[1].")[2] for problem in error.value.problems] == [message]


def test_it_wants_a_vertex(tmp_path):
    """Contributors make the event time, so a card without vertex stops before the first event."""
    modules = make_modules(card(tmp_path, 'name = "t"'))
    own = [m for m in modules if isinstance(m, Tof)]
    with pytest.raises(PluginError, match=r"module 't' needs .*event.vertex_x"):
        order(own)
    assert {c.VERTEX[0], c.IS_CONTRIBUTOR} <= set(own[0].needs) & set(FittedVertex.makes)
    assert [column.name for column in own[0].makes if column.table == "event"] == [
        "t_event_time", "t_sigma_event_time", "t_n_event_time",
    ]  # fmt: skip


def some_events(n_events=12, seed=1, **options):
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 12, n_events)
    n = counts.sum()
    t0 = generator.normal(0, 0.2, n_events)
    vertex = np.column_stack([generator.normal(0, 0.01, (n_events, 2)), generator.normal(0, 5, n_events), t0])
    given = {
        "species": generator.integers(0, 9, n), "pt": generator.uniform(0.2, 3, n), "eta": generator.uniform(-3.5, 3.5, n),
        "phi": generator.uniform(-np.pi, np.pi, n), "charge": generator.choice([-1, 1], n),
        "point": np.repeat(vertex, counts, axis=0), "vertex": vertex, "found": generator.random(n) < 0.9,
        "contributes": generator.random(n) < 0.8, "dnch_deta": generator.uniform(1, 1000, n_events),
    }  # fmt: skip
    return make_batch(counts, **{**given, **options})


WORST = {
    "tail_from": 0.9,
    "efficiency": 0.9,
    "pitch": 0.1,
    "inactive_fraction": 0.1,
    "mismatch": 0.1,
    "matching_area": 0.5,
}


@pytest.mark.parametrize("event_time", ["tracks", "true_species", "beams"])
def test_what_is_made(event_time):
    """The promise is kept; what was not measured is NaN, all the rest finite; only found tracks are measured."""
    batch = some_events(60)
    tof = module(*({**layer, **WORST} for layer in (INNER, OUTER, FORWARD)), event_time=event_time)
    made = tof.apply(only(batch, tof.needs), Streams(1))
    check(tof, batch, made)
    by_name = applied(tof, batch)
    found = batch[c.IS_RECONSTRUCTED]
    for name in ("itof", "otof", "ftof"):
        measured = by_name[f"{name}_is_measured"]
        assert 0 < measured.sum() < found.sum()
        assert not measured[~found].any()
        for column in ("time", "length", "beta", "mass2", "time_expected", "sigma", "n_sigma", "log_likelihood"):
            np.testing.assert_array_equal(
                np.isfinite(by_name[f"{name}_{column}"].reshape(len(found), -1)).all(axis=1), measured
            )
            np.testing.assert_array_equal(
                np.isnan(by_name[f"{name}_{column}"].reshape(len(found), -1)).any(axis=1), ~measured
            )
    np.testing.assert_array_equal(np.isfinite(by_name["tof_event_time"]), found)
    assert np.isfinite(by_name["event.tof_event_time"]).all()
    assert made.counts == {
        f"tracks measured by {n}": by_name[f"{n}_is_measured"].sum() for n in ("itof", "otof", "ftof")
    }
    if event_time == "beams":
        assert not by_name["event.tof_n_event_time"].any()
        np.testing.assert_allclose(by_name["event.tof_sigma_event_time"], 0.2)


def test_the_numbers_belong_together():
    """n-sigma, beta and squared mass from the other columns, as an analysis would."""
    batch = some_events(60)
    made = applied(module(OUTER), batch)
    m = made["otof_is_measured"]
    time, length = (made[f"otof_{k}"][m] - made["tof_event_time"][m] * (k == "time") for k in ("time", "length"))
    np.testing.assert_allclose(
        (time[:, None] - made["otof_time_expected"][m]) / made["otof_sigma"][m], made["otof_n_sigma"][m]
    )
    np.testing.assert_allclose(made["otof_beta"][m], length / time / LIGHT)
    p = np.hypot(1, batch[c.RECONSTRUCTED[3]][m]) / batch[c.RECONSTRUCTED[4]][m]
    np.testing.assert_allclose(made["otof_mass2"][m], p**2 * (1 / made["otof_beta"][m] ** 2 - 1), rtol=1e-9, atol=1e-9)
    gauss = -0.5 * made["otof_n_sigma"][m] ** 2 - np.log(np.sqrt(2 * np.pi) * made["otof_sigma"][m])
    np.testing.assert_allclose(made["otof_log_likelihood"][m], gauss, rtol=1e-9, atol=1e-9)
    assert (made["otof_sigma"][m] > np.hypot(0.02, made["tof_sigma_event_time"][m])[:, None] * (1 - 1e-12)).all()


@pytest.mark.parametrize(("tail", "mismatch"), [(math.inf, 0.0), (0.9, 0.0), (math.inf, 0.05), (0.9, 0.05)])
def test_likelihoods(tail, mismatch):
    """Densities in 1/ns from their definitions; far out finite, or that of wrong hits."""
    for n_sigma, sigma in ((-30.0, 0.03), (-1.2, 0.02), (0.3, 0.02), (2.5, 0.05), (25.0, 0.02)):
        shape = np.exp(-(n_sigma**2) / 2) if n_sigma < tail else np.exp(-tail * (n_sigma - tail / 2))
        density = (1 - mismatch) * shape / (math.sqrt(2 * math.pi) * sigma) + mismatch / 5.0
        assert log_likelihood_1(n_sigma, sigma, tail, mismatch) == pytest.approx(math.log(density), rel=1e-12)
    assert log_likelihood_1(-1e6, 1.0, tail, mismatch) == pytest.approx(math.log(mismatch / 5) if mismatch else -5e11)


def test_no_events_and_no_tracks():
    tof = module(INNER, FORWARD)
    for counts in ([], [0, 0]):
        batch = make_batch(counts, [], [], [], [], [], point=np.zeros((0, 4)), vertex=np.zeros((len(counts), 4)))
        made = tof.apply(batch, Streams(1))
        check(tof, batch, made)
        assert (made.columns[tof.makes[-4]] == 0.2).all()


@pytest.mark.parametrize("event_time", ["tracks", "true_species"])
def test_the_size_of_the_batch_changes_nothing(event_time):
    tof = module(*({**layer, **WORST} for layer in (INNER, OUTER, FORWARD)), event_time=event_time)
    assert_any_batch_size(tof, some_events(8), Streams(3))


def test_another_layer_moves_no_hit():
    """Draws belong to the module and the layer: with or without others, in any order, the same hits."""
    batch = some_events(30)
    own = {**OUTER, **WORST}
    alone, among = applied(module(own), batch), applied(module(FORWARD, own, INNER), batch)
    for column in ("is_measured", "time", "length", "time_expected"):
        np.testing.assert_array_equal(alone[f"otof_{column}"], among[f"otof_{column}"])
    other = module(own)
    other.name = "second"
    second = {column.name: v for column, v in other.apply(batch, Streams(1)).columns.items()}
    assert not np.array_equal(second["otof_time"], alone["otof_time"], equal_nan=True)


def test_several_layers_as_one_least_squares_problem():
    """Start time, variance and weight of a hypothesis, with the full covariance of three layers' times by numpy."""
    generator = np.random.default_rng(11)
    tables = [{**OUTER, "name": f"t{k}", "r": 20.0 + 30 * k, "sigma_ps": s} for k, s in enumerate((20.0, 50.0, 10.0))]
    layers = layers_of([Layer(**t) for t in tables], Tof.Options(name="t", kind="tof", level="parametric"))
    n = 3
    cov = np.zeros((n, 15))
    cov[:, 9], cov[:, 13], cov[:, 14] = 1e-4, 3e-5, [0.0, 4e-4, 1e-2]
    cov[0] = 0.0  # no uncertainty at all
    tan, q = np.array([0.3, -1.0, 2.0]), np.array([-1.5, 0.9, 2.0])
    tracks = Helices(np.zeros(n), np.zeros(n), np.zeros(n), tan, q, cov)
    measured = make_measured(generator.normal(4, 0.1, (3, n)), 9)
    measured.is_measured[:] = True
    measured.is_measured[1, 2] = False
    measured.length[:] = generator.uniform(80, 90, (3, n))
    measured.slopes[:] = generator.normal(0, 0.1, (3, n, 2))
    hypotheses, fractions = np.tile([2, 3, 4], (n, 1)), np.array([0.5, 0.3, 0.2])
    starts = Starts(np.empty((n, 3)), np.empty((n, 3)), np.empty((n, 3)))
    start_times(layers, MASSES_OVER_CHARGE, np.arange(n), hypotheses, fractions, tracks, measured, starts)
    for i in range(n):
        used = np.flatnonzero(measured.is_measured[:, i])
        for h, species in enumerate((2, 3, 4)):
            mass = SPECIES[species].mass
            p = math.sqrt(1 + tan[i] ** 2) / abs(q[i])
            expected = measured.length[used, i] / LIGHT * math.hypot(1.0, mass / p)  # L / (beta c)
            slopes = np.array([
                time_slopes_1(t, tan[i], q[i], mass, *measured.slopes[k, i])
                for k, t in zip(used, expected, strict=True)
            ])  # fmt: skip
            own = np.diag(layers.sigma[used] ** 2)
            v = own + slopes @ np.array([[cov[i, 14], cov[i, 13]], [cov[i, 13], cov[i, 9]]]) @ slopes.T
            d, inverse, one = measured.time[used, i] - expected, np.linalg.inv(v), np.ones(len(used))
            mean = (one @ inverse @ d) / (one @ inverse @ one)
            chi2 = (d - mean) @ inverse @ (d - mean)
            assert starts.time[i, h] == pytest.approx(mean, rel=1e-8)
            assert starts.precision[i, h] == pytest.approx(one @ inverse @ one, rel=1e-8)
            weight = fractions[h] * math.exp(-chi2 / 2) * math.sqrt(np.linalg.det(own) / np.linalg.det(v))
            assert starts.weight[i, h] == pytest.approx(weight, rel=1e-6, abs=1e-300)
