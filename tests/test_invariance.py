"""The project's first promise: batch size, workers, file splits and unrelated modules cannot change one bit."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys

import awkward as ak
import numpy as np
import pytest

import fastsim
from fastsim.io.inspect import digest
from tests.hepmc_files import contents, read


@pytest.fixture(scope="module")
def reference(ttbar, tmp_path_factory):
    """Digest of 12 events, simulated in one go."""
    out = tmp_path_factory.mktemp("reference") / "out.root"
    fastsim.simulate_files([ttbar], "alice3", out, events=(0, 12), batch_size=1000)
    return digest(out)


def _digest(inputs, out, **options):
    fastsim.simulate_files(inputs, options.pop("card", "alice3"), out, events=options.pop("events", (0, 12)), **options)
    return digest(out)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_batch_size(ttbar, tmp_path, reference, batch_size):
    assert _digest([ttbar], tmp_path / "out.root", batch_size=batch_size) == reference


def test_two_workers(ttbar, tmp_path, reference):
    assert _digest([ttbar], tmp_path / "out.root", batch_size=5, workers=2) == reference


def test_file_split_in_two(ttbar, tmp_path, reference):
    header, *events, footer = re.split(rb"^(?=E |HepMC::Asciiv3-END)", contents(ttbar), flags=re.MULTILINE)
    parts = []
    for number, (first, end) in enumerate([(0, 5), (5, 12)]):
        path = tmp_path / f"part{number}.hepmc"
        path.write_bytes(b"".join([header, *events[first:end], footer]))
        parts.append(path)
    assert _digest(parts, tmp_path / "out.root") == reference


def test_another_seed_gives_other_tracks(ttbar, tmp_path, reference):
    assert _digest([ttbar], tmp_path / "out.root", card=fastsim.load_card("alice3", seed=2)) != reference


def test_seed_zero_is_ordinary(ttbar, tmp_path, reference):
    zero = _digest([ttbar], tmp_path / "zero.root", card=fastsim.load_card("alice3", seed=0))
    assert zero != reference
    assert zero == _digest([ttbar], tmp_path / "again.root", card=fastsim.load_card("alice3", seed=0), batch_size=3)


def test_part_of_the_input_gives_the_same_events(ttbar):
    """Events 5 to 9 alone are the events 5 to 9 of the whole."""
    whole = ak.concatenate(list(fastsim.simulate(ttbar, events=(0, 12))))
    part = ak.concatenate(list(fastsim.simulate(ttbar, events=(5, 9), batch_size=3)))
    assert ak.array_equal(whole[5:9], part, equal_nan=True)


def test_another_module_moves_nothing(ttbar, tmp_path):
    """With or without a vertex, smeared or fitted, the tracks stay as they are."""
    text = 'extends = "alice3"\nmodules = [\n'
    first = '{ name = "vertex", kind = "vertex", level = "parametric", sigma_x_um = 5.0, sigma_y_um = 5.0, sigma_z_um = 5.0 },\n'
    (tmp_path / "none.toml").write_text('extends = "alice3"\nmodules = []\n')
    (tmp_path / "one.toml").write_text(f"{text}{first}]\n")
    cards = (tmp_path / "none.toml", tmp_path / "one.toml", "alice3")
    without, *others = (next(fastsim.simulate(ttbar, card, events=(0, 3))) for card in cards)
    for other in others:
        assert "vertex_x" in other.fields
        assert ak.array_equal(without.tracks, other.tracks[without.tracks.fields], equal_nan=True)
    assert "vertex_x" not in without.fields


def test_permuted_particles_draw_the_same(ttbar):
    """A draw belongs to its particle: the kernel gives each track the same result in any order of rows."""
    from fastsim import columns as c
    from fastsim.events import production_points
    from fastsim.rng import Streams
    from fastsim.run import find_luts, make_pipeline
    from fastsim.summary import Silent
    from fastsim.tracking import parametric as p

    loaded = fastsim.load_card("alice3")
    (batch,), _, _ = read(ttbar, events=(0, 2))
    luts = find_luts(loaded, Silent())
    table = luts.table()
    made, _, _ = make_pipeline(loaded, luts).run(batch)
    tracking = p.ParametricTracking(loaded.card.tracking, loaded.detector, table)
    streams = Streams(1)
    events = made.event_index("track")
    rows = made.offsets["particle"][events] + made[c.PARTICLE_INDEX]
    order = np.random.default_rng(1).permutation(len(rows))
    tracks = p.make_tracks(len(rows))
    px, py, pz = (made[column] for column in c.MOMENTUM)
    charge = made[c.CHARGE_TRUE]
    p.smear_tracks(
        table, tracking._settings, rows[order], made[c.EVENT_ID][events[order]], made[c.PARTICLE_INDEX][order],
        made[c.DNCH_DETA][events[order]], p.species_of(made[c.PDG]), charge, production_points(made), px, py, pz,
        np.empty((0, 5)), streams.key("tracking/efficiency"), streams.key("tracking/smearing"), np.zeros(len(charge), np.uint8),
        np.zeros(4, dtype=np.int64), tracks,
    )  # fmt: skip
    for k in range(5):
        np.testing.assert_array_equal(tracks.smeared[:, k], made[c.RECONSTRUCTED[k]][order])


def test_the_jit_changes_nothing(ttbar, tmp_path):
    """One event without numba's compiler, in a process of its own: the same numbers to rounding (libm may differ)."""
    with_jit = next(
        fastsim.simulate(ttbar, events=(2, 3))
    )  # builds the tables, which would take minutes without the JIT
    script = (
        "import pickle, sys, awkward as ak, fastsim\n"
        "events = next(fastsim.simulate(sys.argv[1], events=(2, 3)))\n"
        "form, length, container = ak.to_buffers(ak.to_packed(events.tracks))\n"
        "pickle.dump((form.to_json(), length, container), open(sys.argv[2], 'wb'))\n"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", script, ttbar, tmp_path / "tracks"], check=True, env=environment)
    form, length, container = pickle.loads((tmp_path / "tracks").read_bytes())
    without = ak.from_buffers(form, length, container)
    for name in with_jit.tracks.fields:
        ours, theirs = (ak.to_numpy(ak.flatten(t[name])) for t in (with_jit.tracks, without))
        np.testing.assert_allclose(theirs, ours, rtol=1e-12, atol=1e-18, err_msg=name)


def test_no_hidden_generator():
    """Nothing in the package draws from numpy's or Python's generators."""
    from pathlib import Path

    for source in Path(fastsim.__file__).parent.rglob("*.py"):
        text = source.read_text()
        for word in ("np.random", "numpy.random", "default_rng", "import random"):
            assert word not in text, f"{source}: {word}"
