"""Electrons and photons of a gun through ALICE 3's material, end to end: what is reconstructed of them."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest

from fastsim import simulate
from tests.material_card import CARD

GUN = """
schema_version = 1
kind = "gun"
n_events = {n_events}
dnch_deta = {{ values = [10] }}
[[particles]]
pdg = {pdg}
n = 50
pt = {{ values = [{pt}] }}
eta = {{ min = -0.5, max = 0.5 }}
"""


@pytest.fixture(scope="module")
def shoot(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guns")
    (folder / "card.toml").write_text(CARD)

    def call(pdg, pt, n_events=200):
        (folder / "gun.toml").write_text(GUN.format(pdg=pdg, pt=pt, n_events=n_events))
        return ak.concatenate(list(simulate(folder / "gun.toml", folder / "card.toml")))

    return call


@pytest.fixture(scope="module")
def electrons(shoot):
    """Reconstructed tracks of electrons of 2 GeV, and their particles."""
    events = shoot("[11, -11]", 2.0)
    particles = events.particles[events.tracks.particle_index]
    is_chosen = events.tracks.is_reconstructed & (particles.process == 0)
    return ak.flatten(events.tracks[is_chosen]), ak.flatten(particles[is_chosen])


@pytest.mark.parametrize("radiated", [False, True])
def test_pulls_about_what_the_fit_should_give(electrons, radiated):
    """All five have mean 0 and width 1 about the true parameters, shifted by what radiation does to a fit."""
    tracks, particles = electrons
    chosen = ak.to_numpy(particles.end_vertex >= 0) == radiated
    packed, shift = ak.to_numpy(tracks.cov_packed)[chosen], ak.to_numpy(particles.fit_shift)[chosen]
    share = (shift[:, 4] != 0.0).mean()  # behind the last layer it changes nothing any more
    assert share > 0.8 if radiated else share == 0.0
    n = int(chosen.sum())
    for i, name in enumerate(("dca_xy", "dca_z", "phi", "tan_lambda", "q_over_pt")):
        difference = ak.to_numpy(tracks[name] - tracks[f"{name}_true"])[chosen] - shift[:, i]
        if name == "phi":
            difference = np.remainder(difference + math.pi, 2.0 * math.pi) - math.pi
        pull = difference / np.sqrt(packed[:, i * (i + 3) // 2])
        assert pull.mean() == pytest.approx(0.0, abs=4.5 / math.sqrt(n)), name
        assert pull.std() == pytest.approx(1.0, abs=4.5 / math.sqrt(2.0 * n)), name


def test_fitted_momenta_lie_between_before_and_after(electrons):
    """The fit sees the mean of a curve that bends more and more: neither what was, nor what is left."""
    _, particles = electrons
    chosen = ak.to_numpy(particles.end_vertex >= 0)
    shift = np.abs(ak.to_numpy(particles.fit_shift)[chosen, 4])
    towards = -ak.to_numpy(particles.pdg)[chosen] * ak.to_numpy(particles.fit_shift)[chosen, 4]
    assert (towards >= 0.0).all()  # q/pt of an electron gets more negative
    assert np.median(shift) < 0.5 * 0.2  # of 1 / 2 GeV


def test_a_pair_gives_its_photon_back(shoot):
    """Sum of the two reconstructed momenta of pairs that did not radiate, against the photon's: mean 1, and nearly no mass."""
    events = shoot("[22]", 4.0, 400)
    tracks = events.tracks
    particles = events.particles[tracks.particle_index]
    is_good = tracks.is_reconstructed & (particles.process == 5) & (particles.end_vertex < 0)
    good = ak.zip(
        {"vertex": particles.production_vertex, "pdg": particles.pdg, "pt": tracks.pt, "true": tracks.pt_true}
    )[is_good]
    first, second = ak.unzip(ak.combinations(good, 2))
    pairs = (first.vertex == second.vertex) & (first.pdg == -second.pdg)
    ratio = ak.to_numpy(ak.flatten((first.pt + second.pt)[pairs] / (first.true + second.true)[pairs]))
    assert len(ratio) > 100
    assert np.median(ratio) == pytest.approx(
        1.0, abs=4.5 * 1.2533 * np.subtract(*np.percentile(ratio, [84, 16])) / 2 / len(ratio) ** 0.5
    )
    total = ak.to_numpy(ak.flatten((first.true + second.true)[pairs]))
    assert total == pytest.approx(4.0, rel=0.01)


def test_how_many_photons_convert(shoot):
    """1 - exp(-7/9 t) with the sum of all layers, t = 0.0847 cosh(eta) (PDG's 7/9 is 1 % more than ours)."""
    n_events = 400
    events = shoot("[22]", 50.0, n_events)
    n = 50 * n_events
    eta = np.linspace(-0.5, 0.5, 1001)
    expected = np.mean(1.0 - np.exp(-7.0 / 9.0 * 0.08482 * np.cosh(eta)))
    found = int(ak.sum((events.particles.process == 5) & (events.particles.pdg == 11)))
    second = int(
        ak.sum((events.particles.pdg == 22) & (events.particles.process == 8) & (events.particles.end_vertex >= 0))
    )
    assert found - second == pytest.approx(n * expected, abs=4.5 * math.sqrt(n * expected) + 0.01 * n * expected)
