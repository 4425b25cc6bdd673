"""Objects of simulated events: tags as often as published, b jets where b hadrons are, the same in any batch and worker."""

from __future__ import annotations

import math
from contextlib import closing

import awkward as ak
import numpy as np
import pytest

import fastsim
from fastsim import columns as c
from fastsim.io.inputs import read_blocks
from fastsim.objects.jets import Jets
from fastsim.objects.leptons import LeptonOptions, Muons
from fastsim.rng import Streams
from fastsim.run import prepare
from fastsim.source import Limits, Range
from fastsim.summary import Silent, Summary
from fastsim.workers import map_in_order
from tests.object_events import make_batch, particle, track

OBJECTS = ("electrons", "muons", "jets", "jet_constituents", "met", "met_phi", "scalar_ht")


@pytest.fixture(scope="module")
def ttbar_events(ttbar):
    """40 ttbar events in the card like CMS."""
    return ak.concatenate(list(fastsim.simulate(ttbar, "cms_like")))


def _options(name):
    (table,) = [t for t in fastsim.load_card("cms_like").card.modules if t["name"] == name]
    return table


@pytest.mark.parametrize(
    ("flavor", "pdg", "pt", "expected"),
    [
        ("b", 511, 50.0, 0.85 * math.tanh(0.125) * 25.0 / 4.15),
        ("b", 511, 200.0, 0.85 * math.tanh(0.5) * 25.0 / 13.6),
        ("c", 421, 50.0, 0.25 * math.tanh(0.9) / 1.065),
        ("light", 21, 100.0, 0.0138),
    ],
)
def test_b_tags_of_cms(flavor, pdg, pt, expected):
    """20,000 jets of one track: as often tagged as delphes_card_CMS.tcl says (after arXiv:1211.4462), within 4.5 sigma."""
    n = 20_000
    events = [[track(pt=pt)]] * n
    batch = make_batch(events, [[particle(pdg=pdg, pt=pt)]] * n)
    jets = Jets.from_options(Jets.Options(**{**_options("jets"), "exclude": []}), None)
    made = jets.apply(batch, Streams(1))
    assert len(made.columns[c.JET_B_TAG]) == n, flavor
    share = np.mean(made.columns[c.JET_B_TAG] & 1)
    assert abs(share - expected) < 4.5 * math.sqrt(expected * (1 - expected) / n)


def test_muon_efficiency_of_cms():
    """0.95 between 10 GeV and 1 TeV, 0.95 exp(0.5 - 5e-4 pt) above, nothing beyond |eta| = 2.4."""
    n = 5_000
    muons = Muons.from_options(LeptonOptions(**_options("muons")), None)
    for pt, eta, expected in [
        (50.0, 1.0, 0.95),
        (3000.0, -2.0, 0.95 * math.exp(-1.0)),
        (9.0, 0.0, 0.0),
        (50.0, 2.5, 0.0),
    ]:
        made = muons.apply(make_batch([[track(species="mu", pt=pt, eta=eta)]] * n), Streams(1))
        share = len(made.columns[c.MUON_TRACK]) / n
        assert abs(share - expected) <= 4.5 * math.sqrt(expected * (1 - expected) / n)


def _b_hadrons(event):
    """(pt, eta, phi) of the hadrons of the event that hold a b quark and decay to none that do: by the record's links."""
    from particle import PDGID

    particles = event.particles
    pdg = np.asarray(particles.pdg)
    is_b = {code: PDGID(int(code)).is_hadron and PDGID(int(code)).has_bottom for code in np.unique(pdg)}
    born = np.asarray(particles.production_vertex)
    from_b = {int(particles.end_vertex[i]) for i in range(len(pdg)) if is_b[pdg[i]]}
    again = {int(born[i]) for i in range(len(pdg)) if is_b[pdg[i]] and born[i] in from_b}
    for i in range(len(pdg)):
        if is_b[pdg[i]] and int(particles.end_vertex[i]) not in again:
            px, py, pz = (float(particles[name][i]) for name in ("px", "py", "pz"))
            pt = math.hypot(px, py)
            yield pt, math.asinh(pz / pt), math.atan2(py, px)


def test_b_jets_are_where_b_hadrons_are(ttbar_events):
    """Hard b hadrons of top decays have a jet of flavour 5 near them, and jets of flavour 5 have a b hadron.

    The hadrons are found by another way: those without a daughter that holds a b. Nine in ten have their jet: it needs 10 GeV
    in charged particles, one in ten may fall short of it or be nearer to a harder jet.
    """
    lost, n_hadrons = 0, 0
    for event in ttbar_events:
        hadrons = list(_b_hadrons(event))
        b_jets = [(float(j.eta), float(j.phi)) for j in event.jets if j.flavor == 5]

        def near(one, other):
            return math.hypot(one[0] - other[0], math.remainder(one[1] - other[1], 2 * math.pi)) <= 0.5

        for jet in b_jets:
            assert any(near(jet, hadron[1:]) for hadron in hadrons if hadron[0] > 5)
        hard = [hadron[1:] for hadron in hadrons if hadron[0] > 30 and abs(hadron[1]) < 2]
        n_hadrons += len(hard)
        lost += sum(not any(near(jet, hadron) for jet in b_jets) for hadron in hard)
    assert n_hadrons > 40
    assert lost <= 0.1 * n_hadrons + 3 * math.sqrt(0.1 * 0.9 * n_hadrons)


def test_hadrons_and_partons_agree(ttbar):
    """Two definitions of b jets, which share nothing but the axis: nine in ten jets above 20 GeV have the same answer."""
    labels = []
    for heavy in ("hadrons", "partons"):
        card = fastsim.load_card("cms_like", sets=[f'modules.jets.flavor.heavy="{heavy}"'])
        jets = ak.concatenate(list(fastsim.simulate(ttbar, card))).jets
        labels.append(ak.to_numpy(ak.flatten(jets.flavor[jets.pt > 20])) == 5)
    assert np.sum(labels[0]) > 30
    assert np.mean(labels[0] == labels[1]) > 0.9


def _comes_from_hadron(event, row):
    """Whether the first ancestor of another kind is a hadron: by the record's links."""
    particles = event.particles
    pdg, ends = np.abs(np.asarray(particles.pdg)), np.asarray(particles.end_vertex)
    while pdg[row] in (11, 13, 15):
        row = np.flatnonzero(ends == particles.production_vertex[row])[0]
    return pdg[row] > 100


def test_leptons_of_w_are_isolated(ttbar):
    """Electrons and muons above 3 GeV of W decays are isolated more often than those of hadrons, by at least 3 sigma."""
    sets = [
        f"modules.{kind}.{key}"
        for kind in ("electrons", "muons")
        for key in ('efficiency="pt > 3"', "isolation_max=1e9")
    ]
    events = ak.concatenate(list(fastsim.simulate(ttbar, fastsim.load_card("cms_like", sets=sets))))
    isolated = {True: [], False: []}
    for event in events:
        for table in ("electrons", "muons"):
            for lepton in event[table]:
                of_lepton = event.tracks[lepton.track_index]
                from_hadron = _comes_from_hadron(event, of_lepton.particle_index)
                isolated[bool(from_hadron)].append(lepton.sum_pt_charged < 0.25 * of_lepton.pt)
    share, other = (np.mean(isolated[key]) for key in (False, True))
    both = np.mean(isolated[False] + isolated[True])
    sigma = math.sqrt(both * (1 - both) * (1 / len(isolated[False]) + 1 / len(isolated[True])))
    assert share - other > 3 * sigma
    assert share > 0.5


def test_isolation_max_keeps_the_isolated(ttbar, ttbar_events):
    card = fastsim.load_card("cms_like", sets=["modules.muons.isolation_max=1e9"])
    muons = ak.concatenate([events.muons for events in fastsim.simulate(ttbar, card)])
    pt = ttbar_events.tracks.pt[muons.track_index]
    assert ak.to_list(muons.track_index[muons.sum_pt_charged <= 0.25 * pt]) == ak.to_list(
        ttbar_events.muons.track_index
    )
    assert ak.count(muons.track_index) > ak.count(ttbar_events.muons.track_index)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_batch_size(ttbar, ttbar_events, batch_size):
    parts = ak.concatenate(list(fastsim.simulate(ttbar, "cms_like", events=(0, 15), batch_size=batch_size)))
    for name in OBJECTS:
        assert ak.array_equal(parts[name], ttbar_events[:15][name]), name


def test_two_workers(ttbar, ttbar_events):
    loaded = fastsim.load_card("cms_like")
    job = prepare(loaded, Silent(), Summary())
    with closing(
        read_blocks([ttbar], job.simulation.streams, events=Range(), limits=Limits(4, 10**6), records=[])
    ) as items:
        parts = [done.batch.to_awkward() for _, done in map_in_order(job.simulation, items, 2)]
    events = ak.concatenate(parts)
    for name in OBJECTS:
        assert ak.array_equal(events[name], ttbar_events[name]), name


def test_missing_momentum_is_what_was_not_seen(ttbar_events):
    """Seen and missing momentum cancel."""
    tracks = ttbar_events.tracks[ttbar_events.tracks.is_reconstructed]
    x = ak.sum(tracks.pt * np.cos(tracks.phi), axis=1) + ttbar_events.met * np.cos(ttbar_events.met_phi)
    y = ak.sum(tracks.pt * np.sin(tracks.phi), axis=1) + ttbar_events.met * np.sin(ttbar_events.met_phi)
    assert ak.max(abs(x)) < 1e-9
    assert ak.max(abs(y)) < 1e-9
