"""Conversions and bremsstrahlung as a module: the record that it leaves, what stays as it was, and its faults."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import uproot

from fastsim import columns as c
from fastsim import load_card, simulate, simulate_files
from fastsim.errors import CardError, LutError, PluginError
from fastsim.io.inspect import digest
from fastsim.kernels import cascade
from fastsim.module import Made
from fastsim.pipeline import check, order
from fastsim.rng import Streams
from fastsim.run import make_pipeline
from fastsim.tracking.material import Material
from tests.commands import run_fastsim
from tests.hepmc_files import read
from tests.material_card import CARD


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    path = tmp_path_factory.mktemp("cards") / "material.toml"
    path.write_text(CARD)
    return load_card(path)


@pytest.fixture(scope="module")
def batch(ttbar):
    """The record of 12 events, as it is read."""
    (found,), _, _ = read(ttbar, events=(0, 12))
    return found


@pytest.fixture(scope="module")
def grown(batch, card):
    """The same, through the material."""
    return grow(batch, card)[0]


def material_of(card):
    return next(module for module in make_pipeline(card).modules if isinstance(module, Material))


def grow(batch, card):
    made = material_of(card).apply(batch, Streams(card.card.seed))
    return batch.with_columns(made.columns).with_particles(made.particles), made


@pytest.fixture(scope="module")
def simulated(ttbar, card):
    return next(simulate(ttbar, card, events=(0, 30)))


@pytest.fixture(scope="module")
def plain(ttbar):
    return next(simulate(ttbar, "alice3", events=(0, 30)))


def own_rows(grown, batch):
    """Where the rows of the batch are now."""
    events = batch.event_index("particle")
    return np.arange(batch.n_rows("particle")) - batch.offsets["particle"][events] + grown.offsets["particle"][events]


def test_the_generators_rows_stay_where_they_are(batch, grown):
    rows = own_rows(grown, batch)
    for column in (c.PDG, *c.MOMENTUM, c.ENERGY, c.MASS, c.COLLISION, c.PRODUCTION_VERTEX):
        np.testing.assert_array_equal(grown[column][rows], batch[column])
    assert (grown[c.PROCESS][rows] == 0).all()
    changed = grown[c.END_VERTEX][rows] != batch[c.END_VERTEX]
    assert (batch[c.STATUS][changed] == 1).all()
    assert set(np.abs(batch[c.PDG][changed])) <= {11, 22}
    assert (grown[c.STATUS][rows][~changed] == batch[c.STATUS][~changed]).all()
    n_vertices = np.diff(batch.offsets["vertex"])
    for event in range(batch.n_events):
        here = slice(grown.offsets["vertex"][event], grown.offsets["vertex"][event] + n_vertices[event])
        there = slice(*batch.offsets["vertex"][event : event + 2])
        np.testing.assert_array_equal(grown[c.VERTEX_POSITION[2]][here], batch[c.VERTEX_POSITION[2]][there])


def test_every_new_particle_has_its_mother(batch, grown):
    """Spelled out in Python: energy in is energy out at each new vertex, whose place is one of a layer."""
    rows = set(own_rows(grown, batch).tolist())
    n_checked = 0
    for event in range(grown.n_events):
        begin, end = grown.offsets["particle"][event : event + 2]
        first_vertex = grown.offsets["vertex"][event]
        n_old = int(np.diff(batch.offsets["vertex"])[event])
        for vertex in range(n_old, int(np.diff(grown.offsets["vertex"])[event])):
            into = [i for i in range(begin, end) if grown[c.END_VERTEX][i] == vertex]
            out = [i for i in range(begin, end) if grown[c.PRODUCTION_VERTEX][i] == vertex]
            assert len(into) == 1
            assert not rows.intersection(out)
            pdg, energy = grown[c.PDG], grown[c.ENERGY]
            assert energy[out].sum() == pytest.approx(energy[into[0]], rel=1e-9)
            if pdg[into[0]] == 22:
                assert sorted(pdg[out]) == [-11, 11]
                assert grown[c.STATUS][into[0]] == 2
            else:
                assert sorted(set(np.abs(pdg[out]))) == [11, 22]
                assert grown[c.STATUS][into[0]] in {1, 201}
            x, y, _, _ = (grown[column][first_vertex + vertex] for column in c.VERTEX_POSITION)
            assert 0.4 < np.hypot(x, y) < 81.0
            n_checked += 1
    assert n_checked > 200


def test_what_leaves_the_tracker_has_the_energy_of_what_is_final(batch, grown):
    for event in range(batch.n_events):
        before, after = (slice(*b.offsets["particle"][event : event + 2]) for b in (batch, grown))
        final = batch[c.STATUS][before] == 1
        leaves = grown[c.LEAVES_TRACKER][after]
        assert grown[c.ENERGY][after][leaves].sum() == pytest.approx(batch[c.ENERGY][before][final].sum(), rel=1e-9)


def test_new_particles_are_not_primaries(simulated, plain):
    is_new = simulated.particles.process > 0
    assert not ak.any(simulated.particles.is_physical_primary[is_new])
    assert ak.all(simulated.particles.is_from_long_lived[simulated.particles.process == 5])
    n = ak.num(plain.particles)
    same = ak.local_index(simulated.particles.pdg) < n
    assert ak.all(simulated.particles.is_physical_primary[same] == plain.particles.is_physical_primary)
    assert ak.all(simulated.dnch_deta == plain.dnch_deta)


def test_other_tracks_are_the_same_to_the_bit(simulated, plain):
    """Draws are addressed by the position in the record, and new particles stand behind all others."""

    def of(events):
        tracks = events.tracks[(events.tracks.species != 0)]
        return ak.to_numpy(ak.flatten(tracks.q_over_pt)), ak.to_numpy(ak.flatten(tracks.particle_index))

    for found, expected in zip(of(simulated), of(plain), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_pairs_are_tracked_from_where_they_are_born(simulated):
    tracks = simulated.tracks
    born = simulated.particles[tracks.particle_index]
    is_pair = (born.process == 5) & tracks.is_reconstructed
    vertices = simulated.vertices[born.production_vertex[is_pair]]
    assert ak.sum(is_pair) > 50
    radius = ak.to_numpy(ak.flatten(np.hypot(vertices.x, vertices.y)))
    assert radius.max() < 60.0  # enough layers are left behind it
    assert np.median(radius) > 1.0


def test_batches_change_nothing(ttbar, card, tmp_path):
    found = []
    for size in (1, 5, 1000):
        simulate_files([ttbar], card, tmp_path / "out.root", events=(0, 12), batch_size=size, overwrite=True)
        found.append(digest(tmp_path / "out.root"))
    assert len(set(found)) == 1


def test_too_little_room_is_made_more(batch, card, monkeypatch, grown):
    make_rows = cascade.make_rows
    asked = []
    monkeypatch.setattr(cascade, "make_rows", lambda n: asked.append(n) or make_rows(n if len(asked) != 2 else 50))
    again, _ = grow(batch, card)
    assert len(asked) == 3
    np.testing.assert_array_equal(again[c.ENERGY], grown[c.ENERGY])
    np.testing.assert_array_equal(again[c.FIT_SHIFT], grown[c.FIT_SHIFT])


def test_ao2d_says_which_process_made_them(ttbar, card, tmp_path):
    simulate_files([ttbar], card, tmp_path / "out.root", events=(0, 12))
    with uproot.open(tmp_path / "out.root") as file:
        folder = next(key for key in file.keys(recursive=False) if key.startswith("DF_"))
        particles = file[folder]["O2mcparticle_001"].arrays(library="np")
    by_transport = particles["fFlags"] & 1 == 1
    for process in (5, 8):
        made = particles["fStatusCode"] == process
        assert made.sum() > 20
        assert by_transport[made].all()
        assert (np.abs(particles["fPdgCode"][made]) <= 22).all()


def test_bremsstrahlung_is_not_counted_twice(card):
    """Where it is drawn, the electrons' table holds none; where it is switched off, it does."""
    assert card.detector.tracking.electrons == "none"
    assert load_card("alice3").detector.tracking.electrons == "bethe_heitler"


def test_a_module_that_is_switched_off_makes_nothing(batch, tmp_path):
    path = tmp_path / "off.toml"
    path.write_text(CARD + "conversions = false\nbremsstrahlung = false\n")
    card = load_card(path)
    assert card.detector.tracking.electrons == "bethe_heitler"
    result, made = grow(batch, card)
    assert result.n_rows("particle") == batch.n_rows("particle")
    assert made.counts == {"photons that converted": 0, "electrons that radiated": 0}
    assert (result[c.LEAVES_TRACKER] == (batch[c.STATUS] == 1)).all()


def test_a_detector_without_layers_is_refused(tmp_path):
    path = tmp_path / "card.toml"
    path.write_text('extends = "cms_like"\n[[modules]]\nname = "material"\nkind = "material"\n')
    with pytest.raises(CardError, match=r"module 'material': .* has no layers, so photons and electrons meet nothing"):
        make_pipeline(load_card(path))


@pytest.mark.parametrize("value", ["0.001", "-1.0", "20.0", '"low"'])
def test_impossible_energies_are_refused(tmp_path, value):
    path = tmp_path / "card.toml"
    path.write_text(CARD + f"energy_min = {value}\n")
    with pytest.raises(CardError, match=r"card\.toml:\d+: modules\[1\]\.energy_min: must be"):
        make_pipeline(load_card(path))


class Late:
    name, needs, makes, makes_particles = "late", (c.CHARGE_TRUE, c.PDG), (), True


def test_modules_that_make_particles_run_first():
    with pytest.raises(
        PluginError, match=r"module 'late' makes particles, so it runs first and cannot need particle\.charge"
    ):
        order([Late()])


def test_particles_that_were_not_promised_are_refused(batch, card):
    _, made = grow(batch, card)
    late = Late()
    late.makes_particles = False
    with pytest.raises(PluginError, match=r"promised: no particles \(makes_particles is not set\), delivered: some"):
        check(late, batch, Made({}, {}, {}, made.particles))


def test_tables_in_a_folder_are_made_by_the_command_that_the_hint_names(tmp_path, ttbar, capsys):
    path = tmp_path / "card.toml"
    path.write_text(
        'extends = "alice3"\n[tracking]\nluts = "luts"\nspecies = ["el"]\ngrid = { n_pt = 8, n_eta = 4, n_dnch = 2 }\n'
        '[[modules]]\nname = "vertex"\nkind = "vertex"\nlevel = "fit"\n[[modules]]\nname = "material"\nkind = "material"\n'
    )
    with pytest.raises(LutError) as caught:
        next(simulate(ttbar, path, events=(0, 1)))
    command = caught.value.hint.split("`")[1]
    assert "--no-radiation" in command
    done = run_fastsim(capsys, *command.split()[1:], "--species", "el")
    assert done.code == 0, done.err
    assert len(next(simulate(ttbar, path, events=(0, 1)))) == 1
