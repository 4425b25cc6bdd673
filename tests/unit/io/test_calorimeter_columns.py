"""Clusters, towers, photons and what jets are made of, in every format, against the columns in memory."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import uproot

import fastsim
from fastsim.io.check import check
from fastsim.io.convert import convert_file
from fastsim.io.inspect import digest
from tests.flow_cards import flow_card

EVENTS = (0, 8)
TABLES = ("clusters", "towers", "photons", "jets", "jet_constituents", "electrons", "muons")


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow")
    return lambda *sets: flow_card(folder, *sets)


@pytest.fixture(scope="module")
def memory(card, ttbar):
    events = ak.concatenate(list(fastsim.simulate(ttbar, card(), events=EVENTS)))
    assert ak.sum(ak.num(events.photons)) > 3
    return events


@pytest.fixture(scope="module")
def files(card, ttbar, tmp_path_factory):
    """A file of each format, checked."""
    folder = tmp_path_factory.mktemp("files")
    made = {}
    for kind in ("ao2d", "nano", "delphes", "parquet", "rntuple"):
        made[kind] = folder / f"{kind}.{'parquet' if kind == 'parquet' else 'root'}"
        sets = (f"output.format={kind}", "output.events_per_frame=3")
        fastsim.simulate_files([ttbar], card(*sets), made[kind], events=EVENTS, batch_size=5)
        report = check(made[kind])
        assert (report.n_faults, report.unchecked) == (0, {}), kind
    return made


def same(found, expected):
    """Equal as float32."""
    assert ak.to_list(ak.num(found)) == ak.to_list(ak.num(expected))
    np.testing.assert_array_equal(
        ak.to_numpy(ak.flatten(found)).astype(np.float32), ak.to_numpy(ak.flatten(expected)).astype(np.float32)
    )


def near(found, expected, **tolerance):
    """Equal up to the rounding of float32."""
    assert ak.to_list(ak.num(found)) == ak.to_list(ak.num(expected))
    np.testing.assert_allclose(
        ak.to_numpy(ak.flatten(found)), ak.to_numpy(ak.flatten(expected)), **{"rtol": 1e-5, "atol": 1e-5, **tolerance}
    )


def neutrals(events):
    """The clusters of the energy flow by hand: massless, from the primary vertex; energy, px, py, pz."""
    clusters = events.clusters[events.clusters.neutral_energy > 0]
    way = [clusters[axis] - events[f"vertex_{axis}"] for axis in "xyz"]
    length = np.sqrt(way[0] ** 2 + way[1] ** 2 + way[2] ** 2)
    momenta = {f"p{axis}": clusters.neutral_energy * w / length for axis, w in zip("xyz", way, strict=True)}
    return ak.zip({**{name: clusters[name] for name in clusters.fields}, **momenta})


@pytest.mark.parametrize("kind", ["parquet", "rntuple"])
def test_own_columns(files, memory, kind):
    if kind == "parquet":
        events = ak.from_parquet(files[kind])
    else:
        with uproot.open(files[kind]) as file:
            events = file["events"].arrays()
    for table in TABLES:
        assert events[table].fields == memory[table].fields
        for name in memory[table].fields:
            if name != "particle_index":  # positions among the kept particles
                same(events[table][name], memory[table][name])


@pytest.fixture(scope="module")
def delphes(files):
    with uproot.open(files["delphes"]) as file:
        tree = file["Delphes"]
        return {branch.name: branch.array() for branch in tree.branches}


def test_delphes_towers(delphes, memory):
    towers = memory.towers
    for branch, column in (
        ("E", "energy"),
        ("Eem", "em_energy"),
        ("Ehad", "had_energy"),
        ("Eta", "eta"),
        ("Phi", "phi"),
    ):
        same(delphes[f"Tower.{branch}"], towers[column])
    near(delphes["Tower.ET"], towers.energy * 2 / (np.exp(towers.eta) + np.exp(-towers.eta)))
    assert ak.all(np.isnan(delphes["Tower.T"]))


def test_delphes_energy_flow(delphes, memory):
    """Tracks, EFlowPhoton and EFlowNeutralHadron have all the energy that jets were made of."""
    flow = neutrals(memory)
    for name, is_hcal in (("EFlowPhoton", False), ("EFlowNeutralHadron", True)):
        mine = flow[flow.is_hcal == is_hcal]
        same(delphes[f"{name}.E"], mine.neutral_energy)
        near(delphes[f"{name}.ET"], np.hypot(mine.px, mine.py))
        near(delphes[f"{name}.Eta"], np.arcsinh(mine.pz / np.hypot(mine.px, mine.py)))
        near(delphes[f"{name}.Phi"], np.arctan2(mine.py, mine.px))
        same(delphes[f"{name}.{'Ehad' if is_hcal else 'Eem'}"], mine.neutral_energy)
        assert ak.all(delphes[f"{name}.{'Eem' if is_hcal else 'Ehad'}"] == 0)
        codes = delphes["Particle.PID"][delphes[f"{name}.Particle"]]
        share = ak.mean((codes == 22) | (abs(codes) == 11))
        assert share < 0.1 if is_hcal else share > 0.9  # an HCAL gets photons where there is no ECAL


def test_delphes_photons_and_leptons(delphes, memory):
    photons = memory.photons
    for branch, column in (
        ("PT", "pt"),
        ("Eta", "eta"),
        ("Phi", "phi"),
        ("E", "energy"),
        ("EhadOverEem", "had_over_em"),
    ):
        same(delphes[f"Photon.{branch}"], photons[column])
    near(delphes["Photon.SumPt"], photons.sum_pt_charged + photons.sum_pt_neutral)
    near(delphes["Photon.IsolationVar"] * delphes["Photon.PT"], delphes["Photon.SumPt"])
    near(delphes["EFlowPhoton.E"][delphes["Photon.EFlowPhoton"]], photons.energy)
    assert ak.all(np.isnan(delphes["Photon.T"]))  # of calorimeters without
    near(delphes["Electron.SumPtNeutral"], memory.electrons.sum_pt_neutral)
    near(delphes["Electron.SumPt"], memory.electrons.sum_pt_charged + memory.electrons.sum_pt_neutral)
    assert ak.all(np.isnan(delphes["Muon.SumPtNeutral"]))
    near(delphes["Muon.SumPt"], memory.muons.sum_pt_charged)


def jet_momenta(jet, constituents, n_jets):
    """Sums of px, py of the constituents of each jet, event by event, as pt."""
    found = []
    for event, jets in enumerate(jet):
        px, py = (
            np.bincount(ak.to_numpy(jets), ak.to_numpy(parts[event]), minlength=n_jets[event]) for parts in constituents
        )
        found.append(np.hypot(px, py))
    return ak.Array(found)


def test_delphes_jets_are_their_constituents(delphes, memory):
    """pt of each jet from its tracks, EFlowPhotons and EFlowNeutralHadrons, as a reader of the file finds them."""
    parts = [0.0, 0.0]
    total = 0
    for name, pt in (("Track", "PT"), ("EFlowPhoton", "ET"), ("EFlowNeutralHadron", "ET")):
        at = delphes[f"JetConstituent.{name}"]
        is_one = at >= 0
        own_pt, own_phi = (ak.fill_none(delphes[f"{name}.{b}"][ak.mask(at, is_one)], 0.0) for b in (pt, "Phi"))
        parts = [parts[0] + own_pt * np.cos(own_phi), parts[1] + own_pt * np.sin(own_phi)]
        total = total + is_one
    assert ak.all(total == 1)
    assert ak.all(delphes["JetConstituent.Tower"] == -1)
    n_jets = ak.num(delphes["Jet.PT"])
    near(jet_momenta(delphes["JetConstituent.Jet"], parts, n_jets), memory.jets.pt, rtol=1e-4)
    same(delphes["Jet.NNeutrals"], memory.jets.n_neutral)
    assert ak.sum(memory.jets.n_neutral) > 30


def test_delphes_jets_of_towers(card, ttbar, tmp_path):
    sets = (
        'modules.jets.input="towers"',
        "modules.jets.exclude=[]",
        'modules.met.input="towers"',
        "output.format=delphes",
    )
    fastsim.simulate_files([ttbar], card(*sets), tmp_path / "out.root", events=EVENTS)
    assert check(tmp_path / "out.root").n_faults == 0
    with uproot.open(tmp_path / "out.root") as file:
        tree = file["Delphes"].arrays()
    at = tree["JetConstituent.Tower"]
    et, phi = tree["Tower.ET"][at], tree["Tower.Phi"][at]
    n_jets = ak.num(tree["Jet.PT"])
    near(
        jet_momenta(tree["JetConstituent.Jet"], [et * np.cos(phi), et * np.sin(phi)], n_jets), tree["Jet.PT"], rtol=1e-4
    )
    assert ak.all(tree["JetConstituent.Track"] == -1)
    assert ak.all(tree["Jet.NCharged"] == 0)
    px, py = (ak.sum(tree["Tower.ET"] * turn(tree["Tower.Phi"]), axis=1) for turn in (np.cos, np.sin))
    np.testing.assert_allclose(ak.flatten(tree["MissingET.MET"]), np.hypot(px, py), rtol=1e-4)
    np.testing.assert_allclose(ak.flatten(tree["ScalarHT.HT"]), ak.sum(tree["Tower.ET"], axis=1), rtol=1e-5)


def test_nano(files, memory):
    with uproot.open(files["nano"]) as file:
        tree = file["Events"].arrays()
    photons, flow = memory.photons, neutrals(memory)
    for branch, column in (
        ("pt", "pt"),
        ("eta", "eta"),
        ("phi", "phi"),
        ("hoe", "had_over_em"),
        ("isoChg", "sum_pt_charged"),
    ):
        same(tree[f"Photon_{branch}"], photons[column])
    same(tree["Photon_energyErr"], memory.clusters.sigma_energy[photons.cluster_index])
    codes = tree["GenPart_pdgId"][tree["Photon_genPartIdx"]]
    assert ak.mean((codes == 22) | (abs(codes) == 11)) > 0.8
    near(tree["PFNeutral_pt"], np.hypot(flow.px, flow.py))
    assert ak.to_list(tree["PFNeutral_pdgId"]) == ak.to_list(ak.where(flow.is_hcal, 130, 22))
    # jets, from what the file holds
    n_jets = ak.num(tree["Jet_pt"])
    parts = [0.0, 0.0]
    for list_name, index, name in (("JetTrack", "trackIdx", "Track"), ("JetPFNeutral", "pfNeutralIdx", "PFNeutral")):
        at = tree[f"{list_name}_{index}"]
        pt, phi = tree[f"{name}_pt"][at], tree[f"{name}_phi"][at]
        for axis, turn in enumerate((np.cos, np.sin)):
            parts[axis] = parts[axis] + ak.Array([
                np.bincount(ak.to_numpy(j), ak.to_numpy(p), minlength=n)
                for j, p, n in zip(tree[f"{list_name}_jetIdx"], pt * turn(phi), n_jets, strict=True)
            ])  # fmt: skip
    near(np.hypot(*parts), memory.jets.pt, rtol=1e-4)
    is_in_jet = tree["Photon_jetIdx"] >= 0  # such jets were dropped
    assert not ak.any(is_in_jet)
    near(tree["Electron_isoNeutral"], memory.electrons.sum_pt_neutral)


def test_photons_know_their_jet(card, ttbar, tmp_path):
    path = tmp_path / "out.root"
    fastsim.simulate_files([ttbar], card("modules.jets.exclude=[]", "output.format=nano"), path, events=EVENTS)
    with uproot.open(path) as file:
        tree = file["Events"].arrays()
    jet = tree["Photon_jetIdx"]
    known = jet >= 0
    assert ak.sum(known) > 3
    d_eta = (tree["Photon_eta"] - tree["Jet_eta"][jet])[known]
    d_phi = np.abs(np.remainder((tree["Photon_phi"] - tree["Jet_phi"][jet])[known] + np.pi, 2 * np.pi) - np.pi)
    assert ak.max(np.hypot(d_eta, d_phi)) < 1.0  # twice the radius, at the very most


def test_ao2d_clusters(files, memory):
    """A3ECAL with the columns of O2Physics' ECAL.h, row by row; indices within the data frame."""
    clusters = memory.clusters[~memory.clusters.is_hcal]
    events = 0
    with uproot.open(files["ao2d"]) as file:
        for frame in range(3):
            n = min(3, EVENTS[1] - events)
            tree = file[f"DF_{frame}/O2a3ecal"].arrays()
            assert tree.fields == [
                "fIndexCollisions", "fIndexTracks", "fIndexMcParticles", "fE", "fPx", "fPy", "fPz", "fPosPhi", "fPosZ",
            ]  # fmt: skip
            mine = clusters[events : events + n]
            flat = ak.flatten(mine)
            counts = np.bincount(ak.to_numpy(tree.fIndexCollisions), minlength=n)
            assert counts.tolist() == ak.to_list(ak.num(mine))
            np.testing.assert_array_equal(tree.fE, flat.energy)
            np.testing.assert_array_equal(tree.fPosZ, ak.to_numpy(flat.z).astype(np.float32))
            np.testing.assert_allclose(np.sqrt(tree.fPx**2 + tree.fPy**2 + tree.fPz**2), flat.energy, rtol=1e-12)
            vertex = ak.flatten(ak.broadcast_arrays(memory.vertex_z[events : events + n], mine.z)[0])
            slope = (flat.z - vertex) / np.hypot(flat.x, flat.y)
            np.testing.assert_allclose(
                tree.fPz / np.hypot(tree.fPx, tree.fPy), slope, atol=1e-3
            )  # x, y of the vertex: 10 um
            track, label = (file[f"DF_{frame}/{name}"].arrays() for name in ("O2track", "O2mctracklabel"))
            linked = ak.to_numpy(tree.fIndexTracks) >= 0
            assert linked.tolist() == (ak.to_numpy(flat.track_index) >= 0).tolist()
            own = tree.fIndexTracks[linked]
            np.testing.assert_array_equal(track.fIndexCollisions[own], tree.fIndexCollisions[linked])
            # clusters of electrons are linked to the tracks of these electrons, as their labels say
            pdg = file[f"DF_{frame}/O2mcparticle_001"]["fPdgCode"].array(library="np")
            is_electron = np.abs(pdg[tree.fIndexMcParticles[linked]]) == 11
            agree = (label.fIndexMcParticles[own] == tree.fIndexMcParticles[linked])[is_electron]
            assert ak.mean(agree) > 0.7 or len(agree) < 5
            events += n


def test_ao2d_decisions(ttbar, tmp_path):
    """MID and PRES: a row for each measured track."""
    (tmp_path / "detector.toml").write_text(
        (fastsim.resources.find("detectors", "alice3_v2")).read_text()
        + '[[preshower]]\nname = "preshower"\neta_max = 1.75\np_min = 0.1\nefficiency = "0.8"\nmistag = "0.01"\n'
    )
    (tmp_path / "card.toml").write_text(
        'extends = "alice3"\ndetector = "detector.toml"\n[[modules]]\nname = "vertex"\nkind = "vertex"\nlevel = "fit"\n'
        '[[modules]]\nname = "mid"\nkind = "muon_id"\nlevel = "parametric"\n'
        '[[modules]]\nname = "pre"\nkind = "preshower"\nlevel = "parametric"\n'
    )
    loaded = fastsim.load_card(tmp_path / "card.toml")
    fastsim.simulate_files([ttbar], loaded, tmp_path / "out.root", events=EVENTS)
    assert check(tmp_path / "out.root").n_faults == 0
    events = ak.concatenate(list(fastsim.simulate(ttbar, loaded, events=EVENTS)))
    tracks = ak.flatten(events.tracks[events.tracks.is_reconstructed])
    with uproot.open(tmp_path / "out.root") as file:
        for name, branch, device, what in (
            ("O2mid", "fMIDIsMuon", "mid", "muon"), ("O2pres", "fPRESIsElectron", "preshower", "electron"),
        ):  # fmt: skip
            tree, collision = file[f"DF_0/{name}"].arrays(), file["DF_0/O2track"]["fIndexCollisions"].array()
            measured = ak.to_numpy(tracks[f"{device}_is_measured"])
            assert 0 < measured.sum() < len(measured)
            assert tree.fields == ["fIndexCollisions", "fIndexTracks", branch]
            np.testing.assert_array_equal(tree.fIndexTracks, np.flatnonzero(measured))
            np.testing.assert_array_equal(tree.fIndexCollisions, collision[tree.fIndexTracks])
            np.testing.assert_array_equal(tree[branch], tracks[f"{device}_is_{what}"][measured])


@pytest.mark.parametrize("kind", ["ao2d", "nano", "delphes"])
def test_without_truth_there_are_no_particles(card, ttbar, tmp_path, kind):
    path = tmp_path / "out.root"
    fastsim.simulate_files([ttbar], card(f"output.format={kind}", "output.truth=none"), path, events=(0, 2))
    assert check(path).n_faults == 0
    with uproot.open(path) as file:
        if kind == "ao2d":
            assert (file["DF_0/O2a3ecal"]["fIndexMcParticles"].array() == -1).to_list().count(False) == 0
        else:
            tree = file["Events" if kind == "nano" else "Delphes"]
            assert not any("genPartIdx" in name or ".Particle" in name for name in tree.keys())  # noqa: SIM118


def test_without_calorimeters_collections_are_there_and_empty(ttbar, tmp_path):
    for kind, names in (("delphes", ("Tower", "Photon")), ("nano", ("Photon",))):
        path = tmp_path / f"{kind}.root"
        fastsim.simulate_files(
            [ttbar], fastsim.load_card("alice3", sets=[f"output.format={kind}"]), path, events=(0, 1)
        )
        with uproot.open(path) as file:
            tree = file["Events" if kind == "nano" else "Delphes"]
            for name in names:
                size = f"n{name}" if kind == "nano" else f"{name}_size"
                assert tree[size].array().to_list() == [0]
            assert not any(name.startswith(("EFlow", "PFNeutral")) for name in tree.keys())  # noqa: SIM118


def test_from_parquet_to_others(files, tmp_path):
    """What a conversion writes is what the run writes, to the rounding of positions."""
    for kind in ("delphes", "nano", "ao2d"):
        convert_file(files["parquet"], tmp_path / f"{kind}.root", kind)
        assert check(tmp_path / f"{kind}.root").n_faults == 0
    with uproot.open(tmp_path / "delphes.root") as converted, uproot.open(files["delphes"]) as made:
        a, b = converted["Delphes"], made["Delphes"]
        assert a.keys() == b.keys()
        near(a["EFlowPhoton.ET"].array(), b["EFlowPhoton.ET"].array())
        same(a["JetConstituent.EFlowPhoton"].array(), b["JetConstituent.EFlowPhoton"].array())


def test_cut_of_a_run_does_not_matter(card, ttbar, tmp_path):
    digests = set()
    for k, options in enumerate(({}, {"batch_size": 1}, {"batch_size": 3, "workers": 2})):
        path = tmp_path / f"{k}.parquet"
        fastsim.simulate_files([ttbar], card("output.format=parquet"), path, events=EVENTS, **options)
        digests.add(digest(path))
    assert len(digests) == 1
