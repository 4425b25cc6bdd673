"""coffea opens our NanoAOD-like and Delphes-like files: collections, vectors, families, in the modes that analyses use."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import uproot

import fastsim
from tests.flow_cards import flow_card

coffea = pytest.importorskip("coffea.nanoevents")

TREES = {"nano": "Events", "delphes": "Delphes"}


class Nano(coffea.NanoAODSchema):
    """The schema, with the links that CMS does not have; CMS' own collections that are missing here give no warnings."""

    warn_missing_crossrefs = False
    all_cross_references = coffea.NanoAODSchema.all_cross_references | {"Track_genPartIdx": "GenPart"}


SCHEMAS = {"nano": Nano, "delphes": coffea.DelphesSchema}


@pytest.fixture(scope="module")
def files(ttbar, tmp_path_factory):
    folder = tmp_path_factory.mktemp("coffea")
    sets = ["output.delphes_names='path'"]
    for name in TREES:
        card = fastsim.load_card("atlas_like", sets=[f"output.format='{name}'", *sets])
        fastsim.simulate_files([ttbar], card, folder / name)
        fastsim.simulate_files([ttbar], card, folder / f"{name}_empty", events=(0, 0))
    return folder


def open_with_coffea(path, name, mode):
    return coffea.NanoEventsFactory.from_root({str(path): TREES[name]}, schemaclass=SCHEMAS[name], mode=mode).events()


@pytest.fixture(scope="module", params=["eager", "virtual"])
def nano(request, files):
    return open_with_coffea(files / "nano", "nano", request.param)


@pytest.fixture(scope="module", params=["eager", "virtual"])
def delphes(request, files):
    return open_with_coffea(files / "delphes", "delphes", request.param)


def test_nano_families(nano):
    """Parents and children name each other; a parent of another kind is found over copies."""
    particles = nano.GenPart
    index = ak.local_index(particles.pdgId)
    mother = particles.genPartIdxMother
    assert ak.to_list(ak.num(particles.children, axis=2)) == [
        np.bincount(np.array([m for m in row if m >= 0], dtype=int), minlength=len(row)).tolist()
        for row in ak.to_list(mother)
    ]
    back = ak.flatten(ak.broadcast_arrays(index, particles.children.genPartIdxMother), axis=None)
    assert ak.all(back[: len(back) // 2] == back[len(back) // 2 :])
    distinct = particles.distinctParent
    known = ~ak.is_none(distinct.pdgId, axis=1)
    assert ak.all(distinct.pdgId[known] != particles.pdgId[known])
    w = particles[(abs(particles.pdgId) == 24) & particles.hasFlags(["isLastCopy", "fromHardProcess"])]
    assert ak.all(ak.num(w) == 2)  # two W bosons in each ttbar event, both from top quarks
    assert ak.all(abs(w.distinctParent.pdgId) == 6)


def test_nano_vectors_and_links(nano):
    """Objects are vectors; leptons find their generated particles and jets, tracks theirs."""
    tops = nano.GenPart[(abs(nano.GenPart.pdgId) == 6) & nano.GenPart.hasFlags("isLastCopy")]
    assert abs(np.median(ak.to_numpy(ak.flatten(tops.mass))) - 173.0) < 1.0  # GeV; 80 of a width of 1.4
    assert ak.all((tops[:, 0] + tops[:, 1]).mass > 0.999 * ak.sum(tops.mass, axis=1))
    for leptons, code in ((nano.Electron, 11), (nano.Muon, 13)):
        assert ak.sum(ak.num(leptons)) > 3
        assert ak.all(abs(leptons.matched_gen.pdgId) == code)
        assert ak.all(leptons.matched_gen.delta_r(leptons) < 0.02)
    jets = nano.Jet[nano.Jet.hadronFlavour == 5]
    assert ak.sum(ak.num(jets)) > 20
    assert ak.all(nano.Jet.delta_r(nano.Jet) < 1e-5)
    tracks = nano.Track
    matched = nano.GenPart._apply_global_index(tracks.genPartIdxG)
    kept = ~ak.is_none(matched.pdgId, axis=1)
    assert ak.all(kept)
    assert ak.sum(matched.pt) > 0
    assert ak.all(nano.MET.pt > 0)
    assert len(nano.PV.x) == len(nano)


def test_delphes_collections(delphes, files):
    with uproot.open(files / "delphes") as file:
        tree = file["Delphes"]
        for name in ("Track", "Particle", "Jet", "Electron", "Muon"):
            assert ak.to_list(ak.num(delphes[name])) == ak.to_list(tree[f"{name}_size"].array())
            assert ak.all(delphes[name].pt == tree[f"{name}/{name}.PT"].array())
    assert ak.to_list(delphes.Event.Number) == list(range(40))
    assert len(delphes.MissingET.MET) == len(delphes.ScalarHT.HT) == len(delphes.GenMissingET) == 40
    assert ak.sum(ak.num(delphes.Photon)) == ak.sum(ak.num(delphes.Tower)) == 0


def test_delphes_vectors(delphes):
    """Four-vectors add up: two photons have the mass of the pi0 that they come from."""
    particles = delphes.Particle
    pions = particles[(particles.PID == 111) & (particles.D2 == particles.D1 + 1) & (abs(particles.Eta) < 2)]
    pions = pions[pions.PT < 10]
    first, second = particles[pions.D1], particles[pions.D2]
    assert ak.sum(ak.num(pions)) > 1000
    assert ak.all((first.PID == 22) & (second.PID == 22))
    mass = ak.to_numpy(ak.flatten((first + second).mass))
    np.testing.assert_allclose(mass, 0.1349768, atol=3e-3)  # PDG; float32 of momenta up to 40 GeV leave this much
    assert ak.all(delphes.Jet.delta_r(delphes.Jet) < 1e-5)
    assert ak.all(delphes.Electron.mass == 0)  # the schema's choice


@pytest.fixture(scope="module", params=["eager", "virtual"])
def with_calorimeters(request, ttbar, tmp_path_factory):
    """A function that opens a file of events with clusters, towers and photons."""
    folder = tmp_path_factory.mktemp("calorimeters")

    def call(name):
        if not (folder / name).exists():
            sets = (f"output.format='{name}'", "output.delphes_names='path'", "modules.jets.exclude=[]")
            fastsim.simulate_files([ttbar], flow_card(folder, *sets), folder / name, events=(0, 20))
        return open_with_coffea(folder / name, name, request.param)

    return call


def test_delphes_energy_flow_adds_up(with_calorimeters):
    """Jets are the sums of their parts as coffea's vectors; photons and towers are massless vectors."""
    events = with_calorimeters("delphes")
    parts = events.JetConstituent
    total = {}
    for name in ("Track", "EFlowPhoton", "EFlowNeutralHadron"):
        at = parts[name][parts[name] >= 0]
        jet = parts.Jet[parts[name] >= 0]
        vectors = events[name][at]
        for axis in ("px", "py", "pz"):
            values = getattr(vectors, axis)
            total[axis] = total.get(axis, 0.0) + ak.Array([
                np.bincount(ak.to_numpy(j), ak.to_numpy(v), minlength=n)
                for j, v, n in zip(jet, values, ak.num(events.Jet), strict=True)
            ])  # fmt: skip
    for axis, values in total.items():
        np.testing.assert_allclose(ak.flatten(values), ak.flatten(getattr(events.Jet, axis)), rtol=1e-4, atol=1e-3)
    assert ak.sum(ak.num(events.Photon)) > 10
    assert ak.all(events.Photon.mass == 0)
    np.testing.assert_allclose(
        ak.flatten(events.Tower.energy), ak.flatten(events.Tower.ET * np.cosh(events.Tower.Eta)), rtol=1e-5
    )
    own = events.EFlowPhoton[events.Photon.EFlowPhoton]
    assert ak.all(own.delta_r(events.Photon) < 1e-5)
    assert ak.all(abs(own.pt / events.Photon.pt - 1) < 1e-5)
    codes = events.Particle[events.Photon.Particle].PID
    assert ak.mean(codes == 22) > 0.5


def test_nano_photons_and_neutrals(with_calorimeters):
    """Photons are candidates with their generated particle and jet; neutral candidates are vectors."""
    events = with_calorimeters("nano")
    photons = events.Photon
    assert ak.sum(ak.num(photons)) > 10
    assert ak.all(photons.charge == 0)
    is_photon = photons.matched_gen.pdgId == 22
    assert ak.mean(is_photon) > 0.5
    assert ak.all(photons.matched_gen.delta_r(photons)[is_photon & (abs(photons.eta) < 1.2)] < 0.05)
    jets = photons.matched_jet
    known = ~ak.is_none(jets.pt, axis=1)
    assert ak.sum(known) > 5
    assert ak.all(jets.delta_r(photons)[known] < 1.0)
    assert ak.all(ak.num(events.PFNeutral.pdgId) > 0)
    assert set(ak.flatten(events.PFNeutral.pdgId)) == {22, 130}


@pytest.mark.parametrize("name", TREES)
def test_files_without_events_open(files, name):
    events = open_with_coffea(files / f"{name}_empty", name, "virtual")
    assert len(events) == 0
    assert len(events.Track) == 0
    assert "Jet" in events.fields


def test_the_other_spelling_is_not_for_coffea(ttbar, tmp_path):
    """Why there are two: with Track.PT uproot's users find their branches, and the schema finds no collections."""
    card = fastsim.load_card("alice3", sets=["output.format='delphes'"])
    fastsim.simulate_files([ttbar], card, tmp_path / "out.root", events=(0, 1))
    with pytest.raises(KeyError):
        open_with_coffea(tmp_path / "out.root", "delphes", "eager")
