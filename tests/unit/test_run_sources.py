"""Guns, generators, beam spot and pile-up from end to end: what is in the file against closed forms and plain loops."""

from __future__ import annotations

import json
import shutil
from functools import partial

import awkward as ak
import numpy as np
import pytest
import uproot
from particle import PDGID
from scipy import stats

import fastsim
from fastsim import columns as c
from fastsim.io.inspect import digest
from fastsim.luts import get_luts
from fastsim.rng import Streams
from fastsim.source import Limits, Range
from fastsim.tracking import STATUS
from tests import every_source
from tests import hepmc_files as files
from tests.commands import run_fastsim

SIGMAS = 4.5  # 7e-6 to fail by chance
GUN = """schema_version = 1
kind = "gun"
n_events = {n_events}
dnch_deta = {{ values = [{dnch}] }}
[[particles]]
pdg = [211, -211]
n = {n}
pt = {{ values = [{pt}] }}
eta = {{ values = [{eta}] }}
"""


def gun(folder, **values):
    path = folder / "gun.toml"
    path.write_text(GUN.format(**{"n_events": 100, "dnch": "100", "n": 10, "pt": 1.0, "eta": 0.3, **values}))
    return path


def table(path, name, *branches):
    """Branches of a tree of the only data frame, in one dict of arrays."""
    with uproot.open(path) as file:
        return file[f"DF_0/{name}"].arrays(branches, library="np")


def identity_of(path):
    with uproot.open(path) as file:
        return json.loads(str(file["provenance"]))["identity"]


# --- particle gun ---


def test_occupancy_of_a_gun_is_that_of_its_events(tmp_path):
    """What the file asks for, not the ten pions that are there."""
    fastsim.simulate_files([gun(tmp_path, dnch="10, 2000")], "alice3", tmp_path / "out.root")
    density = table(tmp_path / "out.root", "O2collalice3", "fMultDensity")["fMultDensity"]
    n = np.count_nonzero(density == 2000)
    assert set(density) == {10.0, 2000.0}
    assert abs(n - 50) < SIGMAS * np.sqrt(100 / 4)
    (batch,) = fastsim.simulate(tmp_path / "gun.toml")
    assert batch.dnch_deta.tolist() == density.tolist()


def test_a_gun_without_occupancy_is_counted(tmp_path):
    path = gun(tmp_path)
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "dnch" not in line))
    (batch,) = fastsim.simulate(path)
    assert batch.dnch_deta.tolist() == pytest.approx([10 / 1.6] * 100)  # all of them within |eta| < 0.8


@pytest.mark.parametrize(("k_pt", "eta"), [(60, 0.05), (84, 2.05)])
def test_tracks_of_a_gun_have_the_tables_resolution_and_efficiency(tmp_path, k_pt, eta):
    """At the centre of a cell nothing is interpolated: the numbers are the table's own, read from its file."""
    loaded = fastsim.load_card("alice3")
    lut = next(lut for lut in get_luts(loaded.detector).luts if lut.header.species == "pi")
    grid = lut.header.grid
    pt, eta = grid.pt_centers[k_pt], grid.eta_centers[np.argmin(np.abs(grid.eta_centers - eta))]
    dnch = grid.dnch_centers[[3, -1]]
    path = gun(
        tmp_path, n_events=1000, n=20, dnch=", ".join(map(repr, dnch.tolist())), pt=repr(float(pt)), eta=float(eta)
    )
    events = ak.concatenate(list(fastsim.simulate(path, loaded)))
    for density in dnch:
        tracks = ak.flatten(events.tracks[events.dnch_deta == density])
        found = tracks[tracks.is_reconstructed]
        expected = lut.efficiency(eta, 0.0, density)[k_pt]
        n = len(tracks)
        assert n > 8000
        assert abs(len(found) / n - expected) < SIGMAS * np.sqrt(expected * (1 - expected) / n) + 1e-6
        for name in c.PARAMETERS:
            pulls = (ak.to_numpy(found[name]) - ak.to_numpy(found[f"{name}_true"])) / lut.sigma(name, eta)[k_pt]
            if name == "phi":
                pulls = pulls[np.abs(pulls) < 100]  # not those that cross +-pi
            assert abs(pulls.mean()) < SIGMAS / np.sqrt(len(pulls))
            assert (
                abs(pulls.std() - 1) < SIGMAS / np.sqrt(2 * len(pulls)) + 1e-3
            )  # tables are rounded: 2^-14 of ln sigma


# --- Pythia ---


def test_pythia_from_end_to_end(tmp_path):
    from fastsim.io.inputs import open_source

    pytest.importorskip("pythia8mc")
    path = every_source.write("pythia", tmp_path)
    summary = fastsim.simulate_files([path], fastsim.load_card("alice3", sets=EXACT), tmp_path / "out.root")
    (block,) = open_source(str(path), Streams(1)).blocks(0, Range(), Limits(100, 10**6))
    batch = block.read().batch
    particles = table(tmp_path / "out.root", "O2mcparticle_001", "fPdgCode", "fPx", "fE")
    assert sorted(particles["fPdgCode"]) == sorted(batch[c.PDG])
    assert sorted(particles["fE"]) == sorted(batch[c.ENERGY].astype(np.float32))
    charged = sum(
        PDGID(pdg).charge != 0 for pdg, status in zip(batch[c.PDG], batch[c.STATUS], strict=True) if status == 1
    )
    assert sum(n for name, n in summary.particles.items() if name != STATUS[0]) == charged
    assert sum(summary.reconstructed.values()) > 0.3 * charged
    (given,) = identity_of(tmp_path / "out.root")["inputs"]
    assert given["generators"][0].startswith("Pythia 8.")
    assert given["n_events"] == every_source.N_EVENTS


def test_the_runs_seed_makes_other_events(tmp_path):
    for kind in ("gun", "pythia"):
        path = every_source.write(kind, tmp_path)
        (one,), (other,) = (fastsim.simulate(path, seed=seed) for seed in (1, 2))
        assert ak.to_list(one.particles.px) != ak.to_list(other.particles.px)


# --- beam spot ---

SPOT = {
    "x": 0.05,
    "y": -0.02,
    "z": 1.5,
    "t": 0.1,
    "sigma_x_um": 40.0,
    "sigma_y_um": 20.0,
    "sigma_z": 3.0,
    "sigma_t": 0.2,
}


EXACT = ["output.truth=all", "output.ao2d.truncate=false"]
SMEARED = ["modules.vertex.level=parametric", *(f"modules.vertex.sigma_{axis}_um=5.0" for axis in "xyz")]


def card_with(name, values, *more):
    return fastsim.load_card("alice3", sets=[*(f"{name}.{key}={json.dumps(v)}" for key, v in values.items()), *more])


def test_collisions_are_where_the_beams_meet(tmp_path):
    """Positions of 1000 collisions are the card's Gaussians; reconstructed vertices follow them."""
    path = gun(tmp_path, n_events=1000, n=1)
    card = card_with("beam_spot", SPOT, *EXACT, *SMEARED)
    fastsim.simulate_files([path], card, tmp_path / "out.root")
    true = table(tmp_path / "out.root", "O2mccollision_001", "fPosX", "fPosY", "fPosZ", "fT")
    widths = [SPOT["sigma_x_um"] * 1e-4, SPOT["sigma_y_um"] * 1e-4, SPOT["sigma_z"], SPOT["sigma_t"]]
    for values, mean, sigma in zip(true.values(), (SPOT[axis] for axis in "xyzt"), widths, strict=True):
        assert stats.kstest(values, stats.norm(mean, sigma).cdf).pvalue > 1e-5
    for (_, some), (_, others) in zip(list(true.items())[:3], list(true.items())[1:], strict=True):
        assert abs(stats.pearsonr(some, others).statistic) < SIGMAS / np.sqrt(1000)
    found = table(tmp_path / "out.root", "O2collision_001", "fPosX", "fPosY", "fPosZ")
    for axis, values in found.items():
        assert np.std(values - true[axis]) == pytest.approx(5e-4, rel=SIGMAS / np.sqrt(2 * 1000))  # the card's 5 um
    places = table(tmp_path / "out.root", "O2mcparticle_001", "fVx", "fVy", "fVz", "fVt")
    for at, collision in zip(places.values(), true.values(), strict=True):
        np.testing.assert_array_equal(at, collision)


def test_impact_parameters_stay_those_about_the_beam_line(tmp_path):
    """Tracks start on the beam spot and bend in 2 T: their distance to x = y = 0 is that of a circle, |C| - R."""
    path = gun(tmp_path, n_events=500, n=4)
    events = ak.concatenate(list(fastsim.simulate(path, card_with("beam_spot", SPOT))))
    x, y, z = (
        ak.to_numpy(ak.flatten(ak.broadcast_arrays(events[f"vertex_{a}_true"], events.tracks.pt_true)[0]))
        for a in "xyz"
    )
    tracks, particles = ak.flatten(events.tracks), ak.flatten(events.particles)
    phi = np.arctan2(ak.to_numpy(particles.py), ak.to_numpy(particles.px))  # where the pion starts
    q = np.sign(ak.to_numpy(tracks.q_over_pt_true))
    radius = 1.0 / (0.299792458e-2 * 2.0)  # cm, of 1 GeV in 2 T
    centre_x, centre_y = x + q * radius * np.sin(phi), y - q * radius * np.cos(phi)
    distance = np.abs(np.hypot(centre_x, centre_y) - radius)
    np.testing.assert_allclose(np.abs(ak.to_numpy(tracks.dca_xy_true)), distance, rtol=1e-6, atol=1e-9)
    assert distance.std() > 0.01  # 0.5 mm off the line: far more than the resolution
    step = x * np.cos(phi) + y * np.sin(phi)  # back along the track to the closest point; the arc is straight to 1e-5
    np.testing.assert_allclose(ak.to_numpy(tracks.dca_z_true), z - step * np.sinh(0.3), atol=1e-4)
    found = tracks[tracks.is_reconstructed]
    difference = ak.to_numpy(found.dca_xy) - ak.to_numpy(found.dca_xy_true)
    assert difference.std() < 10e-4  # the table's resolution, not the spot's width


def test_a_beam_spot_changes_no_momentum(tmp_path):
    path = gun(tmp_path)
    (here,), (there,) = (fastsim.simulate(path, card) for card in ("alice3", card_with("beam_spot", SPOT)))
    for name in ("px", "py", "pz", "pdg", "is_physical_primary"):
        assert ak.array_equal(here.particles[name], there.particles[name])


# --- pile-up ---

PION = (211, 0.5, 0.3, 0.1, 1.0)
KAON_AWAY = (321, 0.2, 0.3, 5.0, 5.1)  # at eta = 3.3, beyond what is counted


@pytest.fixture
def soft(tmp_path):
    """Two minimum-bias events: of one pion, and of two pions, a kaon far forward and a photon. Beams are in both."""
    path = tmp_path / "soft.hepmc"
    path.write_bytes(
        files.listing(files.gun_event(0, PION), files.gun_event(1, PION, PION, KAON_AWAY, (22, 1, 0, 0, 1)))
    )
    return path


@pytest.fixture
def hard(tmp_path):
    """Twenty events of one to three charged kaons of their own momenta."""
    path = tmp_path / "hard.hepmc"
    kaons = [(321, 1.0 + 0.1 * i, 0.2, -0.3, 9.0) for i in range(20)]
    path.write_bytes(files.listing(*(files.gun_event(i, *[kaon] * (1 + i % 3)) for i, kaon in enumerate(kaons))))
    return path


def piled(soft, *more, **options):
    values = {"mean": 3, "distribution": "fixed", "sigma_z": 5.0, "sigma_x_um": 20.0, **options}
    return card_with("pile_up", {"file": str(soft), **values}, *more)


def test_pile_up_is_there_and_told_from_the_event(tmp_path, soft, hard):
    """Rows, flags, contributors and dN_ch/deta, counted in the file itself."""
    fastsim.simulate_files([hard], fastsim.load_card("alice3", sets=EXACT), tmp_path / "alone.root")
    fastsim.simulate_files([hard], piled(soft, *EXACT, *SMEARED), tmp_path / "piled.root")
    names = (
        "fIndexMcCollisions",
        "fPdgCode",
        "fStatusCode",
        "fFlags",
        "fPx",
        "fPy",
        "fPz",
        "fE",
        "fVx",
        "fVy",
        "fVz",
        "fVt",
    )
    alone, all_of_it = (table(tmp_path / f"{n}.root", "O2mcparticle_001", *names) for n in ("alone", "piled"))
    labels = table(tmp_path / "piled.root", "O2mctracklabel", "fIndexMcParticles")["fIndexMcParticles"]
    density = table(tmp_path / "piled.root", "O2collalice3", "fMultDensity")["fMultDensity"]
    contributors = table(tmp_path / "piled.root", "O2collision_001", "fNumContrib")["fNumContrib"]
    flags = table(tmp_path / "piled.root", "O2trackextra_002", "fFlags")["fFlags"]
    assert not (alone["fFlags"] & 0x2).any()
    for i in range(20):
        own = alone["fIndexMcCollisions"] == i
        rows = np.flatnonzero(all_of_it["fIndexMcCollisions"] == i)
        mine, others = rows[: own.sum()], rows[own.sum() :]
        for name in names:
            np.testing.assert_array_equal(all_of_it[name][mine], alone[name][own])
        assert not (all_of_it["fFlags"][mine] & 0x2).any()
        assert (all_of_it["fFlags"][others] & 0x2).all()
        n_pions = np.count_nonzero(all_of_it["fPdgCode"][others] == 211)
        n_large = np.count_nonzero(all_of_it["fPdgCode"][others] == 22)  # each larger event has one photon
        assert len(others) == 3 * (3 - n_large) + 6 * n_large  # two beams and one or four particles
        assert n_pions == 3 + n_large
        assert density[i] == pytest.approx((1 + i % 3 + n_pions) / 1.6)
        assert contributors[i] == np.count_nonzero(np.isin(labels, mine))
    is_own = (all_of_it["fFlags"][labels] & 0x2) == 0
    np.testing.assert_array_equal((flags & 0x2) != 0, is_own)  # PVContributor
    assert 0 < np.count_nonzero(~is_own) < len(labels)


def test_mothers_and_daughters_of_pile_up_are_its_own(tmp_path, soft, hard):
    fastsim.simulate_files([hard], piled(soft), tmp_path / "piled.root")
    flags = table(tmp_path / "piled.root", "O2mcparticle_001", "fFlags")["fFlags"]
    with uproot.open(tmp_path / "piled.root") as file:
        mothers = file["DF_0/O2mcparticle_001"]["fIndexArray_Mothers"].array().to_list()
        places = file["DF_0/O2mcparticle_001"]["fVz"].array().to_numpy()
    n_checked = 0
    for row, of_row in enumerate(mothers):
        for mother in of_row:
            assert (flags[mother] & 0x2) == (flags[row] & 0x2)
            siblings = [r for r in range(max(row - 4, 0), row) if mothers[r] == of_row]
            assert all(places[r] == places[row] for r in siblings)  # one place for a collision
            n_checked += 1
    assert n_checked > 100


def test_number_of_pile_up_collisions_is_poisson(tmp_path, soft):
    path = gun(tmp_path, n_events=2000, n=1)
    card = piled(soft, mean=2.5, distribution="poisson")
    numbers = np.concatenate(
        [
            [len(set(one) - {0}) for one in ak.to_list(batch.particles.collision)]
            for batch in fastsim.simulate(path, card)
        ]
    )
    assert abs(numbers.mean() - 2.5) < SIGMAS * np.sqrt(2.5 / 2000)
    observed = np.bincount(np.minimum(numbers, 7), minlength=8)
    expected = 2000 * np.append(stats.poisson(2.5).pmf(range(7)), stats.poisson(2.5).sf(6))
    assert stats.chisquare(observed, expected).pvalue > 1e-5


def test_occupancy_of_a_gun_holds_with_pile_up(tmp_path, soft):
    """The file says in what density the events stand; particles that are laid over do not add to it."""
    (batch,) = fastsim.simulate(gun(tmp_path), piled(soft))
    assert set(batch.dnch_deta.tolist()) == {100.0}


def test_pile_up_has_places_of_its_own(tmp_path, soft):
    """The event is at the beam spot, pile-up at its own mean; both about what their files say."""
    card = fastsim.load_card(
        "alice3",
        sets=[
            "beam_spot.z=-4.0",
            f'pile_up.file="{soft}"',
            "pile_up.mean=2",
            'pile_up.distribution="fixed"',
            "pile_up.z=7.0",
        ],
    )
    (batch,) = fastsim.simulate(gun(tmp_path, n_events=5), card)
    assert set(batch.vertex_z_true.tolist()) == {-4.0}
    for places in ak.to_list(batch.vertices.z):
        assert places == [-4.0, 7.0, 7.0]


def test_pile_up_from_several_files_and_recipes(tmp_path, soft):
    """The card may name anything that fastsim reads; relative names are relative to the card."""
    (tmp_path / "cards").mkdir()
    shutil.move(gun(tmp_path, n_events=50, n=7), tmp_path / "cards" / "soft.toml")
    text = 'extends = "alice3"\n[pile_up]\nfile = ["soft.toml", "../soft.hepmc"]\nmean = 20\ndistribution = "fixed"\n'
    (tmp_path / "cards" / "card.toml").write_text(text)
    (batch,) = fastsim.simulate(gun(tmp_path, n_events=40), tmp_path / "cards" / "card.toml")
    sizes = np.concatenate([np.bincount(one)[1:] for one in ak.to_list(batch.particles.collision)])
    assert set(sizes) == {7, 3, 6}
    assert abs(np.count_nonzero(sizes == 7) - 800 * 50 / 52) < SIGMAS * np.sqrt(800 * 50 * 2 / 52**2)


def test_blocks_are_small_where_there_is_much_pile_up(tmp_path):
    """A block with its pile-up is to stay near 50,000 particles, or one event: else memory grows with the pile-up."""
    soft = gun(tmp_path, n_events=10, n=500)
    sizes = [len(batch) for batch in fastsim.simulate(every_source.write("hepmc3", tmp_path), piled(soft, mean=60))]
    assert sizes == [1] * every_source.N_EVENTS
    sizes = [len(batch) for batch in fastsim.simulate(every_source.write("hepmc3", tmp_path), piled(soft, mean=1))]
    assert sizes == [every_source.N_EVENTS]


def test_pile_up_of_final_particles_only_is_where_it_belongs(tmp_path):
    """Events without vertices: their particles go to the places that are drawn, and not to the event's vertex."""
    soft = tmp_path / "final.hepmc"
    lone = [b"E %d 0 1 @ 0 0 %d 0\nP 1 0 211 0.5 0 0 0.52 0.14 1\n" % (i, 10 * (1 + i)) for i in range(2)]
    soft.write_bytes(files.listing(*lone))
    card = fastsim.load_card("alice3", sets=[f'pile_up.file="{soft}"', "pile_up.mean=30", "pile_up.z=100.0"])
    (batch,) = fastsim.simulate(gun(tmp_path, n_events=4), card)
    piled_up = batch.particles[batch.particles.collision > 0]
    z = batch.vertices.z[piled_up.production_vertex]
    assert ak.all((z == 101.0) | (z == 102.0))
    assert len(set(ak.flatten(z).tolist())) == 2


def test_pile_up_of_the_events_own_recipe_is_not_the_events_again(tmp_path):
    path = gun(tmp_path, n_events=20, n=1)
    path.write_text(path.read_text().replace("values = [1.0]", "min = 1, max = 2"))
    (batch,) = fastsim.simulate(path, piled(path))
    momenta = ak.to_numpy(batch.particles.px)
    assert len(set(momenta[:, 0]) & set(momenta[:, 1:].ravel())) == 0


# --- promises ---


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """Twelve events with pile-up of a gun and of text, and a beam spot: inputs, card, and digest in one go."""
    folder = tmp_path_factory.mktemp("crowded")
    (folder / "soft.hepmc").write_bytes(files.sample(5))
    (folder / "soft.toml").write_text(every_source.gun(10))
    parts = [folder / f"{i}.hepmc" for i in range(3)]
    events = [files.gun_event(i, *[(211, 1.0 + 0.1 * i, 0.2 * k, 0.3, 9.0) for k in range(4)]) for i in range(12)]
    (folder / "all.hepmc").write_bytes(files.listing(*events))
    for part, (first, end) in zip(parts, ((0, 2), (2, 3), (3, 12)), strict=True):
        part.write_bytes(files.listing(*events[first:end]))
    card = folder / "card.toml"
    card.write_text(
        'extends = "alice3"\n[beam_spot]\nsigma_x_um = 20.0\nsigma_z = 5.0\n'
        '[pile_up]\nfile = ["soft.hepmc", "soft.toml"]\nmean = 3.5\nsigma_x_um = 20.0\nsigma_z = 5.0\n'
    )
    fastsim.simulate_files([folder / "all.hepmc"], card, folder / "reference.root")
    return folder, card, digest(folder / "reference.root")


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 5}, {"batch_size": 5, "workers": 2}], ids=str)
def test_batches_and_workers_change_nothing(crowded, tmp_path, options):
    folder, card, reference = crowded
    fastsim.simulate_files([folder / "all.hepmc"], card, tmp_path / "out.root", **options)
    assert digest(tmp_path / "out.root") == reference


def test_file_splits_change_nothing(crowded, tmp_path):
    folder, card, reference = crowded
    fastsim.simulate_files([folder / f"{i}.hepmc" for i in range(3)], card, tmp_path / "out.root")
    assert digest(tmp_path / "out.root") == reference


def test_a_range_gives_the_same_events(crowded):
    folder, card, _ = crowded
    whole = ak.concatenate(list(fastsim.simulate(folder / "all.hepmc", card)))
    part = ak.concatenate(list(fastsim.simulate(folder / "all.hepmc", card, events=(4, 9), batch_size=2)))
    assert ak.array_equal(whole[4:9], part, equal_nan=True)


def test_identity_holds_the_pile_up_files_by_content(crowded, tmp_path):
    from hashlib import sha256

    folder, card, reference = crowded
    identity = identity_of(folder / "reference.root")
    assert [one["sha256"] for one in identity["pile_up"]] == [
        sha256((folder / name).read_bytes()).hexdigest() for name in ("soft.hepmc", "soft.toml")
    ]
    moved = [
        str(shutil.copy(folder / name, tmp_path / f"other{end}"))
        for name, end in (("soft.hepmc", ""), ("soft.toml", ".toml"))
    ]
    loaded = fastsim.load_card(card, sets=[f"pile_up.file={json.dumps(moved)}"])
    fastsim.simulate_files([folder / "all.hepmc"], loaded, tmp_path / "out.root")
    assert identity_of(tmp_path / "out.root") == identity
    assert digest(tmp_path / "out.root") == reference
    (tmp_path / "other").write_bytes(files.sample(4))
    fastsim.simulate_files([folder / "all.hepmc"], loaded, tmp_path / "changed.root")
    assert identity_of(tmp_path / "changed.root")["sha256"] != identity["sha256"]
    assert digest(tmp_path / "changed.root") != reference


def test_identity_holds_spot_and_pile_up(tmp_path, soft):
    path = gun(tmp_path, n_events=2)
    changes = [
        (),
        ("beam_spot.sigma_z=1.0",),
        ("beam_spot.sigma_z=2.0",),
        *((f'pile_up.file="{soft}"', f"pile_up.mean={n}") for n in (1, 2)),
    ]
    found = set()
    for i, sets in enumerate(changes):
        fastsim.simulate_files([path], fastsim.load_card("alice3", sets=sets), tmp_path / f"{i}.root")
        found.add(identity_of(tmp_path / f"{i}.root")["sha256"])
    assert len(found) == len(changes)


# --- faults ---


@pytest.fixture
def command(capsys):
    return partial(run_fastsim, capsys)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "soft.hepmc: no such file"),
        (b"no events", "soft.hepmc: not a HepMC file"),
        (files.empty(), "soft.hepmc: there are no events to draw pile-up from"),
        (files.sample(3)[:-60], "the file ends in the middle of an event listing"),
        (files.sample(3).replace(b"P 3 -1", b"P 3 *1", 1), "soft.hepmc:8: event 0 (position 0): a particle must be"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--max-bad-events", "5", "--allow-truncated")])
def test_a_bad_pile_up_file_is_an_error(tmp_path, command, text, what, more):
    """Minimum-bias events are drawn from again and again, so that none of them may be bad."""
    if text is not None:
        (tmp_path / "soft.hepmc").write_bytes(text)
    (tmp_path / "card.toml").write_text('extends = "alice3"\n[pile_up]\nfile = "soft.hepmc"\nmean = 3\n')
    done = command("run", gun(tmp_path), "-o", tmp_path / "out.root", "-q", "--card", tmp_path / "card.toml", *more)
    assert done.code == 4
    assert done.err.startswith(f"error: {tmp_path}")
    assert what in done.err
    assert not (tmp_path / "out.root").exists()


def test_a_bad_card_is_an_error_before_any_work(tmp_path, command):
    (tmp_path / "card.toml").write_text(
        'extends = "alice3"\n[beam_spot]\nsigma_x = 1\n[pile_up]\nfile = []\nmean = -1\n'
    )
    done = command("run", gun(tmp_path), "-o", tmp_path / "out.root", "--card", tmp_path / "card.toml")
    assert done.code == 3
    lines = done.err.splitlines()
    assert any("card.toml:3: beam_spot.sigma_x: not a known key " in line for line in lines)
    assert any("card.toml:6: pile_up.mean: must be greater than or equal to 0" in line for line in lines)
    assert any("card.toml:5: pile_up.file" in line for line in lines)


def test_a_bad_recipe_is_an_error_of_the_card_kind(tmp_path, command):
    path = gun(tmp_path)
    path.write_text(path.read_text().replace("eta", "etha"))
    done = command("run", path, "-o", tmp_path / "out.root", "--quiet")
    assert done.code == 3
    assert f"{path}:9: particles[0].etha: not a known key (did you mean 'eta'?)" in done.err
