"""What the doors of one tree share: rows and links of a batch, empty collections, and files without truth or events."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest
import uproot

from fastsim import columns as c
from fastsim.errors import OutputError
from fastsim.events import EventBatch
from fastsim.io import delphes, nano
from fastsim.io.flat import View, pseudorapidity, rapidity
from fastsim.io.inspect import digest
from tests.flat_events import output, pieces, simulated, write

DOORS = {"delphes": (delphes, "Delphes"), "nano": (nano, "Events")}
OBJECTS = ("Electron", "Muon", "Jet")


@pytest.fixture(scope="module")
def batch(ttbar):
    return simulated(ttbar, 6)


@pytest.mark.parametrize("name", DOORS)
def test_batches_of_any_size_give_the_same_file(batch, tmp_path, name):
    whole, single, mixed = (
        digest(write(tmp_path / f"{k}.root", batches, output(name)))
        for k, batches in enumerate([[batch], pieces(batch, 1), [*pieces(batch, 4)]])
    )
    assert whole == single == mixed


@pytest.mark.parametrize("name", DOORS)
def test_branches_have_the_types_and_names_of_the_table(batch, tmp_path, name):
    module, tree = DOORS[name]
    options = output(name)
    with uproot.open(write(tmp_path / "out.root", [batch], options)) as file:
        assert file.classnames(cycle=False)[tree] == "TTree"
        found = {branch.name: branch.interpretation for branch in file[tree].branches}
    expected = {}
    for collection in module.collections(options):
        counter = {"delphes": f"{collection.name}_size", "nano": f"n{collection.name}"}[name]
        if collection.rows != "event":
            assert found.pop(counter).numpy_dtype == np.int32
        for f in collection.fields:
            dot = {"delphes": ".", "nano": "_"}[name]
            expected[dot.join(part for part in (collection.name, f.name) if part)] = f.dtype
    got = {key: (kind.content if hasattr(kind, "content") else kind).to_dtype.name for key, kind in found.items()}
    assert got == expected


@pytest.mark.parametrize("name", DOORS)
def test_a_file_says_what_its_branches_mean(batch, tmp_path, name):
    module, tree = DOORS[name]
    options = output(name)
    with uproot.open(write(tmp_path / "out.root", [batch], options)) as file:
        text = str(file["branches"])
        names = {branch.name for branch in file[tree].branches}
    for key, unit in module.units(options).items():
        assert key.split(".", 1)[1] in names
        assert unit in text


@pytest.mark.parametrize("name", DOORS)
def test_without_truth_there_are_no_particles_and_no_links(ttbar, tmp_path, name):
    batch = simulated(ttbar, 3, "none")
    with uproot.open(write(tmp_path / "out.root", [batch], output(name, truth="none"))) as file:
        branches = {branch.name for branch in file[DOORS[name][1]].branches}
    truth = [
        branch for branch in branches
        if branch.startswith(("Particle", "GenPart", "GenMissingET", "GenMET", "GenVtx"))
        or branch.endswith((".Particle", "genPartIdx"))
    ]  # fmt: skip
    assert not truth
    assert any(branch.startswith("Track") for branch in branches)


@pytest.mark.parametrize("name", DOORS)
def test_missing_momentum_of_the_truth_only_where_all_final_particles_are(ttbar, tmp_path, name):
    names = {}
    for truth in ("all", "standard", "reconstructed"):
        path = write(tmp_path / f"{truth}.root", [simulated(ttbar, 2, truth)], output(name, truth=truth))
        with uproot.open(path) as file:
            names[truth] = any("GenM" in branch.name for branch in file[DOORS[name][1]].branches)
    assert names == {"all": True, "standard": True, "reconstructed": False}


@pytest.mark.parametrize("name", DOORS)
def test_a_file_without_events_has_all_branches(batch, tmp_path, name):
    tree = DOORS[name][1]
    paths = write(tmp_path / "none.root", [], output(name)), write(tmp_path / "some.root", [batch], output(name))
    with uproot.open(paths[0]) as empty, uproot.open(paths[1]) as full:
        assert empty[tree].num_entries == 0
        assert empty[tree].keys() == full[tree].keys()
        assert len(empty[tree].arrays()) == 0


@pytest.mark.parametrize("name", DOORS)
def test_objects_that_no_module_makes_are_there_and_empty(batch, tmp_path, name):
    with uproot.open(write(tmp_path / "out.root", [batch], output(name))) as file:
        tree = file[DOORS[name][1]]
        for collection in OBJECTS:
            counter = {"delphes": f"{collection}_size", "nano": f"n{collection}"}[name]
            assert ak.to_list(tree[counter].array()) == [0] * batch.n_events
        missing = tree[{"delphes": "MissingET.MET", "nano": "MET_pt"}[name]].array()
    assert np.isnan(ak.to_numpy(ak.flatten(missing, axis=None))).all()


@pytest.mark.parametrize("name", DOORS)
def test_a_writer_that_is_left_leaves_nothing(batch, tmp_path, name):
    with DOORS[name][0].open_writer(tmp_path / "out.root", output(name)) as writer:
        writer.write(batch)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", DOORS)
def test_a_tree_that_cannot_be_begun_leaves_nothing(tmp_path, name, monkeypatch):
    def full(*words, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("uproot.writing.writable.WritableDirectory.mktree", full)
    with pytest.raises(OutputError, match="No space left on device"):
        DOORS[name][0].open_writer(tmp_path / "out.root", output(name))
    assert list(tmp_path.iterdir()) == []


def test_a_format_without_truth_has_no_particles_to_give(batch):
    with pytest.raises(AssertionError, match="a format without truth has no particles"):
        _ = View(batch, None).family


def test_pseudorapidity_and_rapidity():
    """By their definitions, -ln tan(theta/2) and ln((E + pz)/(E - pz))/2; +-999.9 along the beam, as Delphes."""
    rng = np.random.default_rng(1)
    pt, pz, mass = rng.exponential(2.0, 1000), rng.normal(0.0, 20.0, 1000), rng.exponential(1.0, 1000)
    energy = np.sqrt(pt**2 + pz**2 + mass**2)
    theta = np.arctan2(pt, pz)
    np.testing.assert_allclose(pseudorapidity(pt, pz), -np.log(np.tan(theta / 2.0)), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        rapidity(pt, pz, mass), 0.5 * np.log((energy + pz) / (energy - pz)), rtol=1e-9, atol=1e-12
    )
    beams = np.zeros(2), np.array([6500.0, -6500.0])
    assert pseudorapidity(*beams).tolist() == [999.9, -999.9]
    assert rapidity(*beams, np.full(2, 0.938)).tolist() == [999.9, -999.9]
    spacelike = rapidity(np.array([1.0, 3.0]), np.array([-2.0, 4.0]), np.array([-2.0, -1.0]))
    np.testing.assert_allclose(spacelike, [-999.9, np.arcsinh(4.0 / np.sqrt(8.0))], rtol=1e-12)


def test_links_between_tracks_and_particles(batch):
    """Particles in any order: the track's particle, found by the link, has the track's true momentum."""
    view = View(batch, nano.by_descent)
    first = batch.offsets["particle"][view.track_events]
    written = view.family.order[first + view.track_particle]
    pt = np.hypot(batch[c.MOMENTUM[0]], batch[c.MOMENTUM[1]])[written]
    np.testing.assert_allclose(pt, view.track(c.PT_TRUE), rtol=1e-12)
    np.testing.assert_array_equal(batch[c.PDG][written], view.track_pdg())


def test_tracks_whose_particle_is_not_kept(batch):
    """Links of -1 stay -1, and the time is the event's."""
    index = batch[c.PARTICLE_INDEX].copy()
    index[::2] = -1
    lost = EventBatch(batch.offsets, {**batch.columns, c.PARTICLE_INDEX: index})
    view = View(lost, nano.by_descent)
    gone = index[view.tracks] < 0
    assert (view.track_particle[gone] == -1).all()
    assert (view.track_particle[~gone] >= 0).all()
    np.testing.assert_array_equal(view.track_time()[gone], view.of_tracks_event(c.VERTEX_TRUE[3])[gone])


def test_missing_momentum_is_that_of_the_neutrinos(batch):
    """Against a loop over the particles."""
    view = View(batch, nano.by_descent)
    for event in range(batch.n_events):
        rows = range(*batch.offsets["particle"][event : event + 2])
        chosen = [i for i in rows if batch[c.STATUS][i] == 1 and abs(batch[c.PDG][i]) in {12, 14, 16}]
        for axis in range(3):
            assert math.isclose(
                view.neutrinos[axis][event], math.fsum(batch[c.MOMENTUM[axis]][i] for i in chosen), abs_tol=1e-9
            )


@pytest.mark.parametrize("name", DOORS)
def test_events_without_tracks(batch, tmp_path, name):
    """Nothing was found: the tracks' lists are empty, the particles are there."""
    lost = batch.with_columns({c.IS_RECONSTRUCTED: np.zeros(batch.n_rows("track"), dtype=np.bool_)})
    with uproot.open(write(tmp_path / "out.root", pieces(lost, 2), output(name))) as file:
        tree = file[DOORS[name][1]].arrays()
    tracks, particles = {"delphes": ("Track_size", "Particle_size"), "nano": ("nTrack", "nGenPart")}[name]
    assert ak.to_list(tree[tracks]) == [0] * batch.n_events
    assert ak.to_list(tree[particles]) == np.diff(batch.offsets["particle"]).tolist()
    assert ak.to_list(tree[{"delphes": "Track.PT", "nano": "Track_pt"}[name]]) == [[]] * batch.n_events
