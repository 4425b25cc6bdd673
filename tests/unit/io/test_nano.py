"""The NanoAOD-like tree: mothers first, status flags against a transcription of CMS' rules, tracks relative to the vertex."""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import awkward as ak
import numpy as np
import pytest
import uproot
from particle import PDGID

from fastsim import columns as c
from fastsim.events import EventBatch
from fastsim.io.flat import View
from fastsim.io.nano import COLLECTIONS, _flags, by_descent
from fastsim.species import is_hadron
from tests.flat_events import output, simulated, write

FLAGS = {
    "isPrompt": 0,
    "isDecayedLeptonHadron": 1,
    "isTauDecayProduct": 2,
    "isPromptTauDecayProduct": 3,
    "isDirectTauDecayProduct": 4,
    "isDirectPromptTauDecayProduct": 5,
    "isDirectHadronDecayProduct": 6,
    "isHardProcess": 7,
    "fromHardProcess": 8,
    "isHardProcessTauDecayProduct": 9,
    "isDirectHardProcessTauDecayProduct": 10,
    "isFirstCopy": 12,
    "isLastCopy": 13,
}  # fmt: skip  (reco::GenStatusFlags)


@pytest.fixture(scope="module")
def batch(ttbar):
    return simulated(ttbar, 6)


@pytest.fixture(scope="module")
def tree(batch, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("nano") / "out.root", [batch], output("nano"))
    with uproot.open(path) as file:
        return file["Events"].arrays()


hadron = cache(lambda pdg: bool(PDGID(pdg).is_hadron))


class Helper:
    """CMSSW's MCTruthHelper, rule by rule, walking over lists of mothers and daughters of one event."""

    def __init__(self, batch, event):
        rows = slice(*batch.offsets["particle"][event : event + 2])
        self.pdg, self.status = batch[c.PDG][rows].tolist(), batch[c.STATUS][rows].tolist()
        origin, end = batch[c.PRODUCTION_VERTEX][rows].tolist(), batch[c.END_VERTEX][rows].tolist()
        into, out_of = defaultdict(list), defaultdict(list)
        for i, (first, last) in enumerate(zip(origin, end, strict=True)):
            out_of[first].append(i)
            into[last].append(i)
        into[-1], out_of[-1] = [], []
        self.mothers, self.daughters = [into[v] for v in origin], [out_of[v] for v in end]

    def mother(self, p):
        return self.mothers[p][0] if self.mothers[p] else None

    def previous_copy(self, p):
        return next((m for m in self.mothers[p] if self.pdg[m] == self.pdg[p]), None)

    def next_copy(self, p):
        return next((d for d in self.daughters[p] if self.pdg[d] == self.pdg[p]), None)

    def first_copy(self, p):
        while self.previous_copy(p) is not None:
            p = self.previous_copy(p)
        return p

    def is_hadron(self, p):
        return hadron(self.pdg[p])

    def is_decayed_lepton_hadron(self, p):
        is_lepton = abs(self.pdg[p]) in (
            13,
            15,
        )  # these count as decayed where they decay; CMS asks for status 2 of them too
        decays = self.status[p] == 2 or (is_lepton and self.status[p] != 1 and self.daughters[p])
        return bool(decays and (is_lepton or self.is_hadron(p)) and self.next_copy(p) is None)

    def decayed_mother(self, p, code=None):
        p = self.mother(p)
        while p is not None and not (self.is_decayed_lepton_hadron(p) and code in (None, abs(self.pdg[p]))):
            p = self.mother(p)
        return p

    def unique_mother(self, p):
        mother = self.mother(p)
        while mother is not None and self.pdg[mother] == self.pdg[p]:
            mother = self.mother(mother)
        return mother

    def is_hard_process(self, p):
        if self.status[p] == 3 or 20 < self.status[p] < 30:
            return True
        mother = self.mother(p)
        if self.status[p] not in (1, 2) or mother is None:
            return False
        after = self.next_copy(mother)
        radiates = after is not None and 50 < self.status[after] < 60
        return self.status[self.first_copy(mother)] == 22 and not radiates

    def from_hard_process(self, p):
        while p is not None:
            if self.is_hard_process(p):
                return True
            p = self.previous_copy(p)
        return False

    def flags(self, p):
        tau, decayed = self.decayed_mother(p, 15), self.decayed_mother(p)
        is_direct = tau is not None and tau == decayed
        unique = self.unique_mother(p)
        hard_tau = tau is not None and self.from_hard_process(tau)
        prompt_tau = tau is not None and self.decayed_mother(tau) is None
        found = {
            "isPrompt": decayed is None,
            "isDecayedLeptonHadron": self.is_decayed_lepton_hadron(p),
            "isTauDecayProduct": tau is not None,
            "isPromptTauDecayProduct": prompt_tau,
            "isDirectTauDecayProduct": is_direct,
            "isDirectPromptTauDecayProduct": is_direct and prompt_tau,
            "isDirectHadronDecayProduct": unique is not None
            and self.is_hadron(unique)
            and self.is_decayed_lepton_hadron(unique),
            "isHardProcess": self.is_hard_process(p),
            "fromHardProcess": self.from_hard_process(p),
            "isHardProcessTauDecayProduct": hard_tau,
            "isDirectHardProcessTauDecayProduct": hard_tau and is_direct,
            "isFirstCopy": self.previous_copy(p) is None,
            "isLastCopy": self.next_copy(p) is None,
        }
        return sum(1 << FLAGS[name] for name, is_set in found.items() if is_set)


def test_hadrons():
    """Mesons and baryons of PDG tables; leptons, bosons, quarks, diquarks and nuclei are none."""
    codes = {211: 1, -321: 1, 310: 1, 130: 1, 111: 1, 333: 1, 443: 1, -511: 1, 2212: 1, -2112: 1, 3122: 1, 5122: 1, 10441: 1,
             11: 0, -15: 0, 16: 0, 22: 0, 21: 0, 5: 0, -6: 0, 24: 0, 25: 0, 2101: 0, 1000010020: 0}  # fmt: skip
    assert is_hadron(np.array(list(codes), dtype=np.int32)).tolist() == [bool(value) for value in codes.values()]


def check_flags(batch):
    view = View(batch, by_descent)
    flags, first = _flags(view), batch.offsets["particle"]
    seen = 0
    for event in range(batch.n_events):
        helper = Helper(batch, event)
        for k in range(first[event], first[event + 1]):
            assert flags[k] == helper.flags(view.family.order[k] - first[event])
            seen |= int(flags[k])
    return seen


@pytest.mark.parametrize(("truth", "n_events"), [("all", 2), ("standard", 20), ("reconstructed", 20)])
def test_status_flags_are_those_of_cms(ttbar, truth, n_events):
    """Every particle of some ttbar events, whatever is kept of them; in 20 events all rules are met by some particle."""
    seen = check_flags(simulated(ttbar, n_events, truth))
    assert n_events < 20 or seen == sum(1 << bit for bit in FLAGS.values())


def test_mothers_stand_before_their_daughters(tree):
    mother = tree["GenPart_genPartIdxMother"]
    assert ak.all(mother < ak.local_index(mother))
    assert ak.all(mother >= -1)


def record(links, pdg=None, status=None):
    """One event of particles (production vertex, end vertex) as a batch."""
    n = len(links)
    n_vertices = 1 + max(max(link) for link in links)
    columns = {
        c.PDG: np.array(pdg or [21] * n, dtype=np.int32),
        c.STATUS: np.array(status or [2] * n, dtype=np.int32),
        c.PRODUCTION_VERTEX: np.array([origin for origin, _ in links], dtype=np.int32),
        c.END_VERTEX: np.array([end for _, end in links], dtype=np.int32),
    }
    return EventBatch({"particle": np.array([0, n]), "vertex": np.array([0, n_vertices])}, columns)


def test_records_in_any_order_are_sorted():
    """A chain written backwards, and random graphs whose particles are shuffled: every mother is before its daughters."""
    family = by_descent(record([(1, -1), (0, 1), (-1, 0)]))
    assert family.order.tolist() == [2, 1, 0]
    assert family.mothers[:, 0].tolist() == [-1, 0, 1]
    rng = np.random.default_rng(3)
    for _ in range(50):
        n_vertices = int(rng.integers(1, 8))
        links = [(-1, int(rng.integers(n_vertices)))]
        for _ in range(20):
            origin = int(rng.integers(n_vertices))
            links.append((origin, int(rng.integers(origin + 1, n_vertices)) if origin + 1 < n_vertices else -1))
        links = [links[i] for i in rng.permutation(len(links))]
        batch = record(links, pdg=rng.integers(1, 4, len(links)).tolist())
        family = by_descent(batch)
        assert sorted(family.order) == list(range(len(links)))
        np.testing.assert_array_equal(family.position[family.order], np.arange(len(links)))
        assert (family.mothers[:, 0] < np.arange(len(links))).all()
        for k, i in enumerate(family.order):
            mothers = [j for j, (_, end) in enumerate(links) if end >= 0 and end == links[i][0]]
            assert family.mothers[k, 0] == (family.position[mothers[0]] if mothers else -1)
        check_flags(batch)


def test_ordered_records_stay_as_they_are(batch):
    """Pythia writes mothers first."""
    np.testing.assert_array_equal(by_descent(batch).order, np.arange(batch.n_rows("particle")))


def test_impact_parameters_are_relative_to_the_vertex(tree, batch):
    """reco::TrackBase::dxy and dz, written with the reference point and momentum of the track."""
    view = View(batch, None)
    phi, d0, z0, t = (view.track(c.RECONSTRUCTED[k]) for k in (2, 0, 1, 3))
    vx, vy, vz = -d0 * np.sin(phi), d0 * np.cos(phi), z0
    px, py, pz, pt = np.cos(phi), np.sin(phi), t, 1.0
    x, y, z = (view.of_tracks_event(column) for column in c.VERTEX)
    dxy = (-(vx - x) * py + (vy - y) * px) / pt
    dz = (vz - z) - ((vx - x) * px + (vy - y) * py) / pt * (pz / pt)
    np.testing.assert_allclose(ak.flatten(tree["Track_dxy"]), dxy, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(ak.flatten(tree["Track_dz"]), dz, rtol=1e-5, atol=1e-6)


def test_primary_tracks_point_to_the_vertex(ttbar):
    """Pulls of dxy of the tracks from the true vertex, which has no uncertainty: width 1 within 5 standard errors."""
    batch = simulated(ttbar, 40)
    for column, true in zip(c.VERTEX, c.VERTEX_TRUE, strict=False):
        batch = batch.with_columns({column: batch[true]})
    view = View(batch, by_descent)
    fields = {
        field.name: field for collection in COLLECTIONS if collection.name == "Track" for field in collection.fields
    }
    rows = batch.offsets["particle"][view.track_events] + view.track(c.PARTICLE_INDEX)
    points = view.points[rows, :3] - np.column_stack([view.of_tracks_event(column) for column in c.VERTEX_TRUE[:3]])
    prompt = (np.abs(points).max(axis=1) < 1e-7) & (view.track(c.PT) > 0.5)
    for name in ("dxy", "dz"):
        pulls = (fields[name].source(view) / fields[f"{name}Err"].source(view))[prompt]
        assert abs(np.std(pulls) - 1.0) < 5.0 / np.sqrt(2.0 * prompt.sum()) + 0.01  # tangent for helix: under 1 %
        assert abs(np.mean(pulls)) < 5.0 / np.sqrt(prompt.sum())


def test_events_are_numbered_in_the_whole_input(tree, batch):
    assert ak.to_list(tree["event"]) == batch[c.EVENT_ID].tolist()
    assert set(tree["run"]) == set(tree["luminosityBlock"]) == {1}
    np.testing.assert_array_equal(ak.flatten(tree["GenWeight"]), batch[c.WEIGHT_VALUE].astype(np.float32))


def test_objects_and_what_they_point_to(ttbar, tmp_path):
    batch = simulated(ttbar, 40, "standard", "atlas_like")
    with uproot.open(write(tmp_path / "out.root", [batch], output("nano"))) as file:
        tree = file["Events"].arrays()
    assert ak.sum(tree["nElectron"]) + ak.sum(tree["nMuon"]) > 10
    for name, code in (("Electron", 11), ("Muon", 13)):
        index = tree[f"{name}_trackIdx"]
        for branch in ("pt", "eta", "phi", "charge", "dxy", "dz", "dxyErr", "ptErr", "genPartIdx"):
            assert ak.to_list(tree[f"{name}_{branch}"]) == ak.to_list(tree[f"Track_{branch}"][index])
        assert ak.all(tree["GenPart_pdgId"][tree[f"{name}_genPartIdx"]] == tree[f"{name}_pdgId"])
        assert set(ak.flatten(abs(tree[f"{name}_pdgId"]))) <= {code}
        for tracks, jets, of_jet, members in zip(
            *(
                ak.to_list(tree[k])
                for k in (f"{name}_trackIdx", f"{name}_jetIdx", "JetTrack_jetIdx", "JetTrack_trackIdx")
            ),
            strict=True,
        ):
            assert jets == [of_jet[members.index(t)] if t in members else -1 for t in tracks]
    assert ak.any(tree["Jet_hadronFlavour"] == 5)
    assert ak.all((tree["Jet_hadronFlavour"] == 0) | (tree["Jet_hadronFlavour"] == abs(tree["Jet_partonFlavour"])))
    np.testing.assert_array_equal(tree["MET_pt"], batch[c.MET].astype(np.float32))
    assert ak.to_list(tree["Jet_nConstituents"]) == [
        [members.count(jet) for jet in range(n)]
        for members, n in zip(ak.to_list(tree["JetTrack_jetIdx"]), tree["nJet"], strict=True)
    ]
