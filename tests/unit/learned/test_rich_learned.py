"""Level "learned" of ring-imaging counters: neighbours against brute force, which models a counter refuses, batches."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest

import fastsim
from fastsim import resources
from fastsim.devices import rich_learned
from fastsim.devices.rich import RichCounters, RichOptions, columns_of
from fastsim.devices.rich_learned import FAR, FEATURES, OUTPUTS, Known, crossed_1, fill_crowd, inside_1
from fastsim.errors import CardError
from fastsim.io.inspect import digest
from fastsim.kernels.rings import make_rings
from fastsim.learned.model import MODELS, load_model
from fastsim.pipeline import check
from fastsim.plugins import make_modules
from fastsim.rng import Streams
from tests.learned_models import write
from tests.rich_tracks import batch_of

DETECTOR = fastsim.load_card("alice3").detector
DETECTOR_FILE = resources.shipped("detectors")["alice3_v2"]
DEVICE = next(device for device in DETECTOR.rich if device.name == "rich")


def module(level="learned"):
    options = RichOptions.model_validate({"name": "rich", "kind": "rich", "level": level})
    return RichCounters(options, [DEVICE], DETECTOR.b_z)


def crowd(n=600, per_event=150, **more):
    generator = np.random.default_rng(9)
    species = generator.choice(["pi", "ka", "el", "pr"], n)
    eta = generator.uniform(-1.9, 1.9, n)
    return batch_of(
        species, generator.uniform(0.5, 5.0, n), eta=eta, sigma_p=0.006, b_z=DETECTOR.b_z, per_event=per_event, **more
    )


# --- neighbours ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distance", "radius", "other"),
    [(2.0, 6.6, 6.6), (6.0, 6.6, 6.6), (11.0, 6.6, 6.6), (5.0, 6.6, 3.0), (8.0, 5.0, 6.6)],
)
def test_share_of_a_ring_in_the_band_of_another(distance, radius, other):
    """Points on the circle, one by one; the circle that is cut."""
    width = 0.4
    phi = 2.0 * math.pi * (np.arange(200_000) + 0.5) / 200_000
    at = np.hypot(distance + other * np.cos(phi), other * np.sin(phi))
    assert crossed_1(distance, radius, width, other) == pytest.approx(np.mean(np.abs(at - radius) < width), rel=1e-3)


def test_rings_that_do_not_meet_and_rings_that_are_one():
    assert crossed_1(14.0, 6.6, 0.4, 6.6) == 0.0  # beside
    assert crossed_1(1.0, 6.6, 0.4, 3.0) == 0.0  # inside
    assert crossed_1(1.0, 3.0, 0.4, 6.6) == 0.0  # around
    assert crossed_1(0.0, 6.6, 0.4, 6.6) == 1.0
    assert crossed_1(0.1, 6.6, 0.4, 6.6) == 1.0


def test_crossings_of_rings_everywhere_add_up_to_the_area_of_the_band():
    """Centres evenly over the plane: the share of a ring in the band is on average the band's area over the plane's."""
    radius, other, width = 6.6, 5.0, 0.2
    d = np.linspace(0.0, 15.0, 150_001)
    share = np.array([crossed_1(x, radius, width, other) for x in d])
    mean = np.sum(share * 2.0 * math.pi * d) * (d[1] - d[0])
    assert mean == pytest.approx(4.0 * math.pi * radius * width, rel=1e-3)


def test_share_of_a_ring_in_a_window():
    square = np.array([0.0, 0.0, 8.0, 8.0])
    assert inside_1(0.0, 0.0, square, 6.6) == 1.0
    assert inside_1(8.0, 0.0, square, 6.6) == pytest.approx(0.5)
    assert inside_1(20.0, 0.0, square, 6.6) == 0.0
    assert inside_1(0.0, 0.0, np.array([0.0, 0.0, 3.3, 3.3]), 6.6) == pytest.approx(0.25)
    assert inside_1(3.0, -2.0, np.array([3.0, -2.0, 3.3, 6.6]), 6.6) == pytest.approx(0.5)


@pytest.mark.parametrize("period", [math.inf, 100.0])
def test_neighbours_are_all_pairs_of_a_tile(period):
    """Against all pairs of three events; on a round sensor the nearer way counts."""
    generator = np.random.default_rng(3)
    n = 120
    event, tile = np.repeat(np.arange(3), n // 3), generator.integers(0, 2, n)
    x, y = generator.uniform(0.0, 100.0, n), generator.uniform(-10.0, 10.0, n)
    mean, radius = generator.uniform(0.0, 20.0, n), generator.uniform(1.0, 7.0, n)
    width, half = generator.uniform(0.1, 0.5, n), generator.uniform(4.0, 9.0, (n, 2))
    window = np.column_stack([generator.uniform(-3.0, 3.0, (n, 2)), half])
    zero = np.zeros(n)
    known = Known(np.zeros((n, len(FEATURES))), zero, zero, zero, mean, tile, x, y, radius, width, window, zero)
    far = np.abs(window[:, 0]) + window[:, 2]
    fill_crowd(period, np.lexsort((x, tile, event)), event, known)
    expected = np.zeros((n, 2))
    pairs = [(event == event[i]) & (tile == tile[i]) for i in range(n)]
    for i in range(n):
        for j in range(n):
            if i != j and event[i] == event[j] and tile[i] == tile[j]:
                reach = max(far[pairs[i]].max(), (radius + width)[pairs[i]].max()) + radius[pairs[i]].max()
                dx = x[j] - x[i]
                if math.isfinite(period):
                    dx -= period * round(dx / period)
                distance = math.hypot(dx, y[j] - y[i])
                inside = max(inside_1(dx, y[j] - y[i], window[i], radius[j]), FAR * (abs(dx) <= reach))
                expected[i] += mean[j] * np.array([crossed_1(distance, radius[i], width[i], radius[j]), inside])
    assert np.allclose(known.features[:, 5:], np.sqrt(expected), rtol=1e-9, atol=1e-9)


# --- the module ---------------------------------------------------------------------------------------------------------------


def test_columns_masks_and_limits_are_those_of_the_other_levels():
    found = np.random.default_rng(1).random(600) < 0.8
    batch = crowd(found=found)
    made = module().apply(batch, Streams(1))
    check(module(), batch, made)
    assert tuple(made.columns) == columns_of("rich") == module().makes
    assert module().needs == module("detailed").needs
    other = module("detailed").apply(batch, Streams(1)).columns
    mask, ring, hits, angle = list(made.columns.values())[:4]
    assert np.array_equal(mask, other[columns_of("rich")[0]])
    assert np.array_equal(np.isnan(hits), ~mask)
    assert np.array_equal(ring, mask & (np.nan_to_num(hits) >= DEVICE.min_photons))
    assert np.array_equal(np.isnan(angle), ~ring)
    assert np.array_equal(hits[mask], np.floor(hits[mask]))


@pytest.mark.parametrize("size", [1, 3])
def test_batches_change_nothing(size):
    batch = crowd(per_event=60)
    whole = module().apply(batch, Streams(1)).columns
    for first in range(0, batch.n_events, size):
        end = min(first + size, batch.n_events)
        part = module().apply(batch.slice_events(first, end), Streams(1)).columns
        rows = slice(batch.offsets["track"][first], batch.offsets["track"][end])
        for column, array in part.items():
            assert np.array_equal(array, whole[column][rows], equal_nan=True), column


def test_no_tracks():
    batch = crowd().slice_events(0, 0)
    assert all(len(array) == 0 for array in module().apply(batch, Streams(1)).columns.values())


def test_it_reaches_other_processes():
    batch = crowd()
    sent = pickle.loads(pickle.dumps(module()))
    for column, array in sent.apply(batch, Streams(1)).columns.items():
        assert np.array_equal(array, module().apply(batch, Streams(1)).columns[column], equal_nan=True)


def test_what_is_drawn_becomes_a_ring():
    """Hits rounded, places near the true angle in units of its resolution, wide ones in units of the largest angle."""
    batch = batch_of("pi", np.full(5, 3.0), eta=0.01, b_z=DETECTOR.b_z)
    counter = DEVICE.counter()
    blur = module()._blurs["rich"]
    tracks = module()._tracks(batch)
    known = rich_learned.find_known(counter, blur, tracks, batch.offsets["track"])
    known.theta[3] = 0.0  # as if there were no light
    drawn = np.array([[20.0, 1, 2.0, 0], [20.0, 0, 0.5, 0], [2.0, 1, 0.0, 0], [20.0, 1, 5.0, 0], [20.0, 0, 0.0, 0]])
    rings = make_rings(5, 9)
    rich_learned.fill_rings(counter, blur, tracks, known, np.arange(5), drawn, rings)
    sigma = math.sqrt(known.photon[0] / 20.0)
    assert rings.angle[0] == pytest.approx(known.theta[0] + 2.0 * sigma, rel=1e-12)
    assert rings.n_sigma[0, 2] == pytest.approx(2.0, rel=0.02)  # of the pion
    assert rings.angle[1] == pytest.approx(0.5 * blur.largest)
    assert rings.has_ring.tolist() == [True, True, False, True, True]
    assert math.isnan(rings.angle[2])
    assert rings.angle[3] == blur.largest
    assert rings.angle[4] == rich_learned.SMALLEST
    assert np.isfinite(rings.log_likelihood).all()


def test_tracks_outside_the_training_are_counted():
    """A single flat track of charge 2 is beyond nothing; 3,000 rings on one spot are beyond all that was trained."""
    batch = batch_of("pi", np.full(3000, 3.0), eta=0.01, phi=0.1, b_z=DETECTOR.b_z, per_event=3000)
    made = module().apply(batch, Streams(1))
    assert made.counts["rich: nearby outside the training, clamped"] == 3000
    assert module().apply(batch_of("pi", np.full(10, 3.0), b_z=DETECTOR.b_z), Streams(1)).counts == {}


# --- which model --------------------------------------------------------------------------------------------------------------


def card_of(tmp_path, options, detector=""):
    text = f'extends = "alice3"\n{detector}modules = [{{ name = "r", kind = "rich", devices = ["rich"], {options} }}]\n'
    (tmp_path / "card.toml").write_text(text)
    return fastsim.load_card(tmp_path / "card.toml")


def problems(tmp_path, *arguments):
    with pytest.raises(CardError) as caught:
        make_modules(card_of(tmp_path, *arguments))
    return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]


def test_another_counter_needs_another_model(tmp_path):
    text = DETECTOR_FILE.read_text()
    (tmp_path / "other.toml").write_text(
        text.replace("index = 1.03\n", "index = 1.04\n").replace("gap = 25.0", "gap = 20.0")
    )
    found = problems(tmp_path, 'level = "learned"', 'detector = "other.toml"\n')
    where = f"module 'r': {MODELS / 'rich_alice3.onnx'} was trained for another counter than rich"
    assert f"{where}: index = 1.03 there, 1.04 here" in found
    assert f"{where}: gap = 25.0 there, 20.0 here" in found


def test_a_model_of_something_else_is_refused(tmp_path):
    path = write(tmp_path)
    needed = f"(needed: {', '.join(FEATURES)}; {', '.join(OUTPUTS)})"
    assert problems(tmp_path, f'level = "learned", model = "{path}"') == [
        f"module 'r': toy.onnx is no model of rings: it reads pt, slope2 and makes a, b {needed}"
    ]
    assert problems(tmp_path, 'level = "learned", model = "other"') == ["module 'r': model: no such model: other"]
    (problem,) = problems(tmp_path, 'level = "parametric", model = "other"')
    assert problem.endswith("modules[0].model: belongs to level = \"learned\", and this is 'parametric'")


def test_the_shipped_model_says_what_it_is():
    model = load_model(MODELS / "rich_alice3.onnx")
    table = json.loads((MODELS / "rich_alice3.json").read_text())
    assert table["licence"] == "BSD-3-Clause"
    assert table["origin"].startswith("train/rich.py --events ")
    assert [value["name"] for value in table["outputs"][0]["values"]] == list(OUTPUTS)
    assert [feature.name for feature in model.features] == list(FEATURES)
    assert {path.stem for path in MODELS.glob("*.onnx")} == {path.stem for path in MODELS.glob("*.json")}


def test_a_card_with_it_runs_in_several_processes(ttbar, tmp_path):
    (tmp_path / "card.toml").write_text(
        'extends = "alice3"\nmodules = [{ name = "rich", kind = "rich", level = "learned", devices = ["rich"] }]\n'
        '[output]\nformat = "parquet"\n'
    )
    digests = set()
    for number, (size, workers) in enumerate(((1000, 1), (2, 1), (3, 2))):
        out = tmp_path / f"{number}.parquet"
        fastsim.simulate_files([ttbar], tmp_path / "card.toml", out, events=(0, 6), batch_size=size, workers=workers)
        digests.add(digest(out))
    assert len(digests) == 1
