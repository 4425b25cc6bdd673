"""Particle gun: contract, addressing, and every message."""

from __future__ import annotations

import pickle
from hashlib import sha256
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from particle import Particle

from fastsim import columns as c
from fastsim.errors import CardError
from fastsim.generate import gun
from fastsim.generate.gun import Gun
from fastsim.rng import Streams
from fastsim.source import Limits, Range
from fastsim.species import SPECIES, mass_of
from tests.generated import PIONS, assert_equal, assert_is_complete, shoot, write

MIXED = """
[dnch_deta]
values = [100, 2000]
[vertex]
x = 0.01
y = -0.02
z = 3
t = 0.5
[[particles]]
pdg = [211, -211, 310]
weights = [1, 2, 3]
n_mean = 4.5
pt = { min = 0.05, max = 20, shape = "log_uniform" }
eta = { min = -4, max = 4 }
[[particles]]
pdg = [22]
n = 2
energy = { values = [1, 5] }
cos_theta = { min = -1, max = 1 }
phi = { min = 0, max = 1 }
"""


def test_batch_keeps_the_contract(tmp_path):
    (batch,) = shoot(tmp_path, MIXED)
    assert_is_complete(batch)
    assert batch.n_events == 20
    assert batch[c.EVENT_ID].tolist() == batch[c.EVENT_NUMBER].tolist() == list(range(20))
    assert (batch[c.STATUS] == 1).all()
    assert (batch[c.PRODUCTION_VERTEX] == 0).all()
    assert (batch[c.END_VERTEX] == -1).all()
    assert (batch[c.COLLISION] == 0).all()
    assert (batch[c.WEIGHT] == 1).all()
    assert set(batch[c.DNCH_DETA_GIVEN]) == {100.0, 2000.0}
    for columns in (c.VERTEX_TRUE, c.VERTEX_POSITION):
        np.testing.assert_array_equal(
            np.column_stack([batch[column] for column in columns]), np.tile([0.01, -0.02, 3, 0.5], (20, 1))
        )


def test_particles_are_on_shell_and_where_asked(tmp_path):
    (batch,) = shoot(tmp_path, MIXED, 200)
    px, py, pz, energy, mass = (batch[column] for column in (*c.MOMENTUM, c.ENERGY, c.MASS))
    np.testing.assert_allclose(energy**2, px**2 + py**2 + pz**2 + mass**2, rtol=1e-12)
    for pdg in (211, -211, 310, 22):
        chosen = batch[c.PDG] == pdg
        assert chosen.sum() > 50
        np.testing.assert_allclose(mass[chosen], Particle.from_pdgid(pdg).mass / 1000, rtol=1e-12)
    photons = batch[c.PDG] == 22
    np.testing.assert_allclose(np.unique(energy[photons].round(9)), [1, 5])
    phi = np.arctan2(py, px)[photons]
    assert phi.min() > 0
    assert phi.max() <= 1
    pt, p = np.hypot(px, py)[~photons], np.sqrt(px**2 + py**2 + pz**2)[~photons]
    assert pt.min() > 0.05
    assert pt.max() < 20 * (1 + 1e-12)
    assert (np.abs(np.arctanh(pz[~photons] / p)) < 4 + 1e-9).all()


def test_without_occupancy_particles_are_counted(tmp_path):
    assert np.isnan(shoot(tmp_path)[0][c.DNCH_DETA_GIVEN]).all()


def test_events_without_particles(tmp_path):
    (batch,) = shoot(tmp_path, PIONS.replace("n = 3", "n = 0"))
    assert_is_complete(batch)
    assert batch.n_rows("particle") == 0
    assert batch.n_rows("vertex") == 20


@pytest.mark.parametrize("limits", [Limits(1, 10**6), Limits(7, 10**6), Limits(1000, 20)])
def test_cut_into_blocks_changes_nothing(tmp_path, limits):
    parts = shoot(tmp_path, MIXED, limits=limits)
    assert len(parts) > 1
    assert_equal(parts, shoot(tmp_path, MIXED))


def test_range_of_events_changes_nothing(tmp_path):
    whole = shoot(tmp_path, MIXED)
    assert_equal(shoot(tmp_path, MIXED, events=Range(5, 12)), [whole[0].slice_events(5, 12)])
    assert_equal(shoot(tmp_path, MIXED, events=Range(5, 99)), [whole[0].slice_events(5, 20)])
    assert shoot(tmp_path, MIXED, events=Range(20, 30)) == []


def test_events_are_those_of_their_position_in_the_whole_input(tmp_path):
    late = shoot(tmp_path, MIXED, first_event=15, n_events=5)
    assert_equal(late, [shoot(tmp_path, MIXED)[0].slice_events(15, 20)])
    assert shoot(tmp_path, MIXED, first_event=15, events=Range(0, 15)) == []


def test_particles_do_not_depend_on_how_many_others_there_are(tmp_path):
    (few,) = shoot(tmp_path, PIONS)
    (many,) = shoot(tmp_path, PIONS.replace("n = 3", "n = 5") + PIONS)
    for column in (*c.MOMENTUM, c.PDG):
        np.testing.assert_array_equal(many[column].reshape(20, 8)[:, :3], few[column].reshape(20, 3))


def test_tables_and_seeds_differ(tmp_path):
    (twice,) = shoot(tmp_path, PIONS + PIONS)
    px = twice[c.MOMENTUM[0]].reshape(20, 6)
    assert len(np.unique(px)) == px.size
    assert not (shoot(tmp_path, seed=2)[0][c.MOMENTUM[0]] == shoot(tmp_path)[0][c.MOMENTUM[0]]).any()


def test_blocks_travel_to_workers(tmp_path):
    source = Gun(write(tmp_path, MIXED), Streams(1))
    block = next(source.blocks(0, Range(), Limits(1000, 1000)))
    assert_equal([pickle.loads(pickle.dumps(block)).read().batch], [block.read().batch])


def test_record_and_close(tmp_path):
    path = write(tmp_path)
    source = Gun(path, Streams(1))
    list(source.blocks(30, Range(), Limits(10, 10)))
    record = source.record()
    assert (record.name, record.first_event, record.n_events) == (path, 30, 20)
    assert record.sha256 == sha256(Path(path).read_bytes()).hexdigest()
    assert record.info == {"generators": ["fastsim gun"]}
    source.close()


def test_masses():
    for species in SPECIES:
        assert mass_of(-species.pdg) == species.mass
    assert mass_of(2112) == pytest.approx(Particle.from_pdgid(2112).mass / 1000, rel=1e-15)
    assert mass_of(-14) == 0.0
    # 12 u by definition (1 u = 931.49410372 MeV, CODATA 2022) less six electrons, whose binding is 1 keV in all
    assert mass_of(1000060120) == pytest.approx((12 * 931.49410372 - 6 * 0.51099895069) / 1000, abs=2e-6)
    assert mass_of(99999999) is None
    # hypertriton: m(p) + m(n) + m(Lambda) less 2.4 MeV of binding (PDG 2024 and arXiv:2209.07360) [GeV]
    assert mass_of(-1010010030) == pytest.approx(0.93827209 + 0.93956542 + 1.115683 - 0.0024, rel=0.01)
    assert mass_of(1103) is None  # a diquark: known to `particle`, without a mass


FAULTS = {
    "n = 3": ("", r"gun.toml:5: particles\[0\]: must give exactly one of n, n_mean \(there are: none\)"),
    "n = 3\n": ("n = 3\nn_mean = 2\n", r"exactly one of n, n_mean \(there are: n, n_mean\)"),
    "pt = {": ("p_t = {", r"gun.toml:8: particles\[0\]\.p_t: not a known key \(did you mean 'pt'\?\)"),
    "pt = { min = 0.1, max = 10 }": ("", r"exactly one of pt, p, energy \(there are: none\)"),
    "eta = {": ("theta = { min = 1, max = 2 }\neta = {", r"exactly one of eta, rapidity, theta, cos_theta \(there are: eta, th"),
    "min = 0.1, max = 10": ("min = -1, max = 10", r"pt: must be in 0 to 10000000 \(it is -1 to 10\)"),
    "{ min = 0.1, max = 10 }": ("{ values = [0, 1] }", r"pt: must be in 0 to 10000000, 0 excluded \(it is 0 to 1\)"),
    "min = -1, max = 1 }": ("min = -1, max = 20 }", r"eta: must be in -15 to 15 \(it is -1 to 20\)"),
    "eta = { min = -1, max = 1 }": ("theta = { min = 0, max = 1 }", r"theta: must be in 0 to 3.1415927, ends excluded \(it is 0"),
    "max = 1 }": ('max = 1, shape = "thermal", slope = 1 }', "eta: shape 'thermal' is for pt only"),
    "pdg = [211, -211]": ("pdg = [211, 99999999]", "pdg: 99999999 is not a particle of known mass"),
    "pdg = [211,": ("pdg = [100000000000000000000,", "pdg: 100000000000000000000 is not a particle of known mass"),
    "pdg = [211": ("weights = [1]\npdg = [211", r"weights must be as many as the PDG codes \(1 for 2\)"),
    "pt = { min = 0.1": ("energy = { min = 0.1", r"energy: 0.1 GeV is not above the mass of PDG code 211 \(0.13957 GeV\)"),
    "[211, -211]": ("[]", r"gun.toml:6: particles\[0\]\.pdg: .*at least 1 item"),
    "n_events = 20": ("n_events = 0", r"gun.toml:3: n_events: must be greater than or equal to 1 \(got 0, an integer\)"),
    'kind = "gun"': ('kind = "rifle"', r"gun.toml:2: kind: must be 'gun'"),
    "\n[[particles]]": (
        "dnch_deta = { values = [-1] }\n[[particles]]",
        r"gun.toml:4: dnch_deta: must not be negative, nor above 1e6, nor of shape 'thermal'",
    ),
    "[[particles]]": ("dnch_deta = { values = [1e300] }\n[[particles]]", "dnch_deta: must not be negative, nor above 1e6"),
    "\n[[particles]]\n": ("vertex.x = 1e300\n[[particles]]\n", r"vertex\.x: must be less than or equal to 1000000"),
    "[[particles]]\n": ("vertex.t = -1e7\n[[particles]]\n", r"vertex\.t: must be greater than or equal to -1000000"),
    "min = 0.1": ("min = 1e-320", r"pt: must be in 0 to 10000000, nothing but 0 below 1e-06 \(it is 9.99989e-321 to 10\)"),
    "min = 0.1, ": ('shape = "log_uniform", min = 1e-320, ', r"'log_uniform' needs max / min below 1e\+25 \(min = 1e-320, max"),
    "0.1, max = 10": ("0, max = 1e-9", "pt: must be in 0 to 10000000, nothing but 0 below 1e-06"),
    "eta = { min = -1, max = 1": ("theta = { min = 1e-9, max = 1", "theta: must be in 0 to 3.1415927, nothing but 0 below 1e-06"),
    "= [211, -211]": ("= [211, -211]\nweights = [1e300, 1e300]", "must be less than or equal to 1000000000000000"),
    "0.1, max = 10 }": ('0, max = 1, shape = "exponential", slope = 1e-300 }', "must be greater than or equal to 0.000001"),
    "max = 10": ("max = 0.1", r"gun.toml:8: particles\[0\]\.pt: min must be below max \(min = 0.1, max = 0.1\)"),
    ", max = 10": ("", r"particles\[0\]\.pt: a range needs both min and max"),
    "{ min = 0.1": ("{ values = [1], min = 0.1", "must give exactly one of: values; min and max; edges and contents"),
    "10 }": ("10, weights = [1] }", "weights does not go with min and max"),
    "max = 10 }": ('max = 10, shape = "power" }', "a range of shape 'power' needs a power"),
    " max = 10 }": (" max = 10, slope = 1 }", "a range of shape 'uniform' has no slope"),
    "{ min = 0.1, max": ('{ shape = "log_uniform", min = 0, max', r"shape 'log_uniform' needs min above 0 \(min = 0.0\)"),
    "= { min = 0.1, max = 10 }": ("= { values = [1, 2], weights = [0, 0] }", "weights must not all be 0"),
    " { min = 0.1, max = 10 }": (" { edges = [1, 2, 2], contents = [1, 1] }", "edges must increase"),
    "pt = { min = 0.1, max = 10 }\n": (
        "pt = { edges = [1, 2], contents = [1, 1] }\n",
        r"contents must be as many as the bins \(2 for 1\)",
    ),
    "\npt = { min = 0.1, max = 10 }": (
        "\npt = { edges = [1, 2], contents = [1], power = 2 }",
        "power does not go with edges",
    ),
    "\npt = { min = 0.1, max = 10 }\n": ("\npt = { values = [1], shape = 'uniform' }\n", "shape does not go with values"),
    "\neta = { min = -1, max = 1 }": ("", "exactly one of eta"),
}  # fmt: skip


@pytest.mark.parametrize("good", FAULTS)
def test_faults_are_named_with_their_line(tmp_path, good):
    bad, message = FAULTS[good]
    path = write(tmp_path)
    text = Path(path).read_text()
    assert good in text
    Path(path).write_text(text.replace(good, bad, 1))
    with pytest.raises(CardError, match=message):
        Gun(path, Streams(1))


def test_rapidity_goes_with_pt(tmp_path):
    text = PIONS.replace("pt =", "p =").replace("eta =", "rapidity =")
    with pytest.raises(CardError, match="rapidity goes with pt only"):
        shoot(tmp_path, text)


def test_the_example_in_the_docstring_works(tmp_path):
    path = tmp_path / "gun.toml"
    path.write_text(dedent((gun.__doc__ or "").split("\n\n", 1)[1].split("\n\nA particle", 1)[0]))
    block = next(Gun(str(path), Streams(1)).blocks(0, Range(), Limits(5, 10**6)))
    assert block.read().batch.n_rows("particle") == 50


def test_no_such_file(tmp_path):
    with pytest.raises(CardError, match=r"nothing\.toml: no such file"):
        Gun(str(tmp_path / "nothing.toml"), Streams(1))


def test_a_whole_range_of_angles_is_allowed_with_momentum(tmp_path):
    text = PIONS.replace("pt =", "p =").replace(
        "eta = { min = -1, max = 1 }", "theta = { values = [0, 3.141592653589793] }"
    )
    (batch,) = shoot(tmp_path, text)
    px, _, pz = (batch[column] for column in c.MOMENTUM)
    assert np.abs(px).max() < 1e-14
    assert np.abs(pz).min() > 0.1
    assert pz.min() < 0 < pz.max()
