"""Energy flow and towers as input of jets, missing momentum and isolation: hand-made clusters, expectations by hand."""

from __future__ import annotations

import math
import pickle
import re

import numpy as np
import pytest

from fastsim import columns as c
from fastsim import toml
from fastsim.errors import CardError, PluginError
from fastsim.events import offsets_from_counts
from fastsim.objects.inputs import find_objects, neutral_momenta
from fastsim.objects.jets import NO_TRACK, Jets
from fastsim.objects.kinematics import PION_MASS
from fastsim.objects.leptons import Electrons
from fastsim.objects.met import MissingMomentum
from fastsim.objects.photons import Photons
from fastsim.rng import Streams, uniforms_1
from tests.object_events import assert_any_batch_size, assert_same, make_batch, only, random_events, track

STREAMS = Streams(1)
VERTEX = (0.02, -0.01, 3.0)  # cm
RADIUS = 120.0


def cluster(energy=10.0, eta=0.0, phi=0.0, neutral=None, hcal=False, link=-1, em=1.0):
    """On a barrel, seen from `VERTEX` at eta and phi; `link`: position of a track; energy and `neutral` in GeV."""
    return {"energy": energy, "eta": eta, "phi": phi, "neutral": energy if neutral is None else neutral, "hcal": hcal,
            "link": link, "em": em}  # fmt: skip


def with_clusters(events, clusters, towers=None, vertex=VERTEX):
    """Tracks and clusters of events; towers are (em energy, had energy, eta, phi)."""
    batch = make_batch(events)
    flat = [q for event in clusters for q in event]
    place = np.array([
        RADIUS * np.array([math.cos(q["phi"]), math.sin(q["phi"]), math.sinh(q["eta"])]) + vertex for q in flat
    ]).reshape(-1, 3)  # fmt: skip
    n = len(events)
    columns = {
        **{column: np.full(n, value) for column, value in zip(c.VERTEX, vertex, strict=True)},
        **{column: np.ascontiguousarray(place[:, k]) for k, column in enumerate(c.CLUSTER_PLACE)},
        c.CLUSTER_ENERGY: [q["energy"] for q in flat],
        c.CLUSTER_NEUTRAL: [q["neutral"] for q in flat],
        c.CLUSTER_ETA: np.arcsinh(place[:, 2] / np.hypot(place[:, 0], place[:, 1])),
        c.CLUSTER_PHI: np.arctan2(place[:, 1], place[:, 0]),
        c.CLUSTER_IS_HCAL: [q["hcal"] for q in flat],
        c.CLUSTER_TRACK: [q["link"] for q in flat],
        c.CLUSTER_EM_TRUE: [q["em"] for q in flat],
    }
    offsets = {"cluster": offsets_from_counts(np.array([len(event) for event in clusters], dtype=np.int64))}
    if towers is not None:
        rows = np.array([q for event in towers for q in event], dtype=float).reshape(-1, 4)
        columns |= {c.TOWER[0]: rows[:, 0] + rows[:, 1], **{c.TOWER[k]: rows[:, k - 1] for k in range(1, 5)}}
        offsets["tower"] = offsets_from_counts(np.array([len(event) for event in towers], dtype=np.int64))
    return batch.with_columns({k: np.asarray(v, dtype=k.dtype) for k, v in columns.items()}, offsets)


def random_clusters(seed, sizes):
    rng = np.random.default_rng(seed)
    return [
        [
            cluster(0.5 + rng.exponential(5.0), rng.uniform(-2, 2), rng.uniform(-3, 3), hcal=bool(rng.random() < 0.3),
                    neutral=None if rng.random() < 0.7 else 0.0, em=rng.random())
            for _ in range(n)
        ]
        for n in sizes
    ]  # fmt: skip


def p4(pt, eta, phi, mass=0.0):
    return np.array(
        [pt * math.cos(phi), pt * math.sin(phi), pt * math.sinh(eta), math.hypot(pt * math.cosh(eta), mass)]
    )


# --- what counts ---


def test_neutrals_are_massless_and_come_from_the_vertex():
    batch = with_clusters(
        [[], []], [[cluster(8.0, 1.2, -2.0, neutral=3.0), cluster(5.0, neutral=0.0)], [cluster(2.0, -0.4, 3.0)]]
    )
    rows, momenta = neutral_momenta(batch)
    assert rows.tolist() == [0, 2]
    for k, (energy, eta, phi) in enumerate(((3.0, 1.2, -2.0), (2.0, -0.4, 3.0))):
        np.testing.assert_allclose(momenta[:, k], p4(energy / math.cosh(eta), eta, phi), rtol=1e-12)


def test_objects_of_energy_flow():
    """Tracks as pions, then clusters, event by event; cut in eta as seen from the vertex."""
    events = [[track(pt=3.0, eta=0.5), track(found=False)], [], [track(pt=2.0, eta=-1.9, phi=1.0)]]
    clusters = [[cluster(4.0, 0.7), cluster(4.0, 2.4)], [cluster(1.0, -0.1)], []]
    found = find_objects(with_clusters(events, clusters), "energy_flow", 2.0)
    assert found.offsets.tolist() == [0, 2, 3, 4]
    assert found.track.tolist() == [0, -1, -1, 2]
    assert found.cluster.tolist() == [-1, 0, 2, -1]
    assert set(found.tower) == {-1}
    expected = [p4(3.0, 0.5, 0.0, PION_MASS), p4(4 / math.cosh(0.7), 0.7, 0.0), p4(1 / math.cosh(0.1), -0.1, 0.0),
                p4(2.0, -1.9, 1.0, PION_MASS)]  # fmt: skip
    np.testing.assert_allclose(found.momenta.T, expected, rtol=1e-12, atol=1e-12)
    assert len(find_objects(with_clusters(events, clusters), "energy_flow").track) == 5


def test_objects_of_towers():
    batch = with_clusters([[track()]], [[]], [[(3.0, 2.0, 1.0, -2.0), (1.0, 0.0, 3.1, 0.0)]])
    found = find_objects(batch, "towers", 3.0)
    assert (found.tower.tolist(), found.track.tolist()) == ([0], [-1])
    np.testing.assert_allclose(found.momenta[:, 0], p4(5 / math.cosh(1.0), 1.0, -2.0), rtol=1e-12)


# --- jets ---


def jets(**options):
    own = {"name": "jets", "kind": "jets", "level": "parametric", "pt_min": 1.0, "input": "energy_flow", **options}
    return Jets.from_options(Jets.Options(**own), None)


def test_a_jet_of_tracks_and_clusters():
    """Sum of four-vectors; a cluster that tracks explain in part counts with the rest."""
    events = [[track(pt=20.0, eta=0.1, charge=-1), track(pt=5.0, eta=-2.0)]]
    clusters = [
        [cluster(30.0, 0.2, 0.1, neutral=9.0, link=0), cluster(6.0, 0.0, 0.05, hcal=True), cluster(3.0, 0.0, 2.5)]
    ]
    made = jets().apply(with_clusters(events, clusters), STREAMS).columns
    total = p4(20.0, 0.1, 0.0, PION_MASS) + p4(9 / math.cosh(0.2), 0.2, 0.1) + p4(6.0, 0.0, 0.05)
    pt = math.hypot(total[0], total[1])
    assert made[c.JET[0]][0] == pytest.approx(pt, rel=1e-12)
    assert made[c.JET[1]][0] == pytest.approx(math.asinh(total[2] / pt), rel=1e-9)
    assert made[c.JET[3]][0] ** 2 == pytest.approx(total[3] ** 2 - (total[:3] ** 2).sum(), rel=1e-6)
    assert made[c.JET_N_CHARGED].tolist() == [1, 1, 0]
    assert made[c.JET_N_NEUTRAL].tolist() == [2, 0, 1]
    assert made[c.JET_CHARGE].tolist() == [-1, 1, 0]
    assert made[c.CONSTITUENT_JET].tolist() == [0, 0, 0, 1, 2]
    assert made[c.CONSTITUENT_TRACK].tolist() == [0, -1, -1, 1, -1]
    assert made[c.CONSTITUENT_CLUSTER].tolist() == [-1, 0, 1, -1, 2]


def test_jets_of_towers():
    batch = with_clusters(
        [[track(pt=50.0)]], [[]], [[(3.0, 2.0, 1.0, 0.0), (4.0, 0.0, 1.1, 0.1), (9.0, 0.0, -1.0, 0.0)]]
    )
    own = jets(input="towers")
    made = own.apply(batch, STREAMS).columns
    assert made[c.CONSTITUENT_TOWER].tolist() == [2, 0, 1] if made[c.JET[0]][0] > 5.6 else [0, 1, 2]
    total = p4(5 / math.cosh(1.0), 1.0, 0.0) + p4(4 / math.cosh(1.1), 1.1, 0.1)
    np.testing.assert_allclose(sorted(made[c.JET[0]]), sorted([math.hypot(*total[:2]), 9 / math.cosh(1.0)]), rtol=1e-12)
    assert (made[c.JET_CHARGE].tolist(), made[c.JET_N_CHARGED].tolist()) == ([0, 0], [0, 0])
    assert set(made[c.CONSTITUENT_TRACK]) == {-1}
    assert c.CONSTITUENT_CLUSTER not in own.makes
    assert c.PT not in own.needs


def test_jets_of_towers_near_to_electrons_and_photons():
    """They go by the distance of their axis, 0.2; a jet of another event does not."""
    towers = [[(21.0, 0.0, 0.5, 1.0), (20.0, 0.0, -0.5, -1.0), (20.0, 0.0, 1.5, 3.0)], [(9.0, 0.0, 0.5, 1.0)]]
    batch = with_clusters([[track(pt=5.0), track(eta=0.5, phi=1.15)], [track()]], [[cluster()], []], towers)
    batch = batch.with_columns(
        {c.ELECTRON_TRACK: np.array([1], np.int32), c.PHOTON_CLUSTER: np.array([0], np.int32), c.PHOTON[1]: np.array([1.4]),
         c.PHOTON[2]: np.array([-3.18 + 2 * math.pi])},
        {table: offsets_from_counts(np.array([1, 0])) for table in ("electron", "photon")},
    )  # fmt: skip
    own = jets(input="towers", exclude=["photon", "electron"])
    made = own.apply(only(batch, own.needs), STREAMS)
    assert made.columns[c.CONSTITUENT_TOWER].tolist() == [1, 0]
    assert made.offsets["jet"].tolist() == [0, 1, 2]
    near = jets(input="towers", exclude=["photon", "electron"], exclude_delta_r=0.145).apply(batch, STREAMS)
    assert near.columns[c.CONSTITUENT_TOWER].tolist() == [0, 1, 0]


def test_photons_are_no_jets():
    """A jet that holds the cluster of a photon goes; the same cluster's neighbours go with it."""
    clusters = [[cluster(40.0), cluster(5.0, 0.1), cluster(9.0, 0.0, 2.0)], [cluster(30.0)]]
    batch = with_clusters([[track(pt=10.0, phi=-2.0)], []], clusters)
    batch = batch.with_columns(
        {c.PHOTON_CLUSTER: np.array([0], np.int32)}, {"photon": offsets_from_counts(np.array([1, 0]))}
    )
    own = jets(exclude=["photon"])
    made = own.apply(only(batch, own.needs), STREAMS)
    assert made.columns[c.CONSTITUENT_CLUSTER].tolist() == [-1, 2, 0]
    assert made.offsets["jet"].tolist() == [0, 2, 3]


def test_scale_of_jets():
    """All of the momentum by the factor, after pt_min; tags see the scaled jet; the order follows."""
    batch = with_clusters([[track(pt=10.0, eta=1.5), track(pt=9.0)]], [[cluster(2.0, 0.0, 2.0)]])
    tags = [{"name": "a", "kind": "b", "efficiency": {"light": "pt > 15"}}]
    plain = jets().apply(batch, STREAMS).columns
    made = jets(scale="1 + (abs(eta) < 1)", tags=tags, pt_min=3.0).apply(batch, STREAMS).columns
    assert plain[c.JET[0]] == pytest.approx([10.0, 9.0, 2.0])
    assert made[c.JET[0]] == pytest.approx([18.0, 10.0])
    assert made[c.JET[3]] == pytest.approx([2 * PION_MASS, PION_MASS], rel=1e-6)
    assert made[c.JET_B_TAG].tolist() == [1, 0]
    assert jets(scale=0.5).apply(batch, STREAMS).columns[c.JET[0]] == pytest.approx([5.0, 4.5, 1.0])
    one = with_clusters([[track(pt=10.0)]], [[]])
    for scale, fault in (
        ("pt - 12", "is -2, and must be above 0, at pt = 10,"),
        ("log(-pt)", "has no value at pt = 10,"),
    ):
        with pytest.raises(PluginError, match=rf"module 'jets': scale: the formula '{re.escape(scale)}' {fault}"):
            jets(scale=scale).apply(one, STREAMS)


def test_a_tag_draws_for_the_hardest_part():
    """A track by its particle, a cluster by its position: as for jets of tracks, and apart from every particle."""
    events = random_events(6, [30, 0, 30])
    clusters = random_clusters(7, [20, 5, 20])
    batch = with_clusters(events, clusters)
    made = jets(tags=[{"name": "half", "kind": "c", "efficiency": {"light": 0.5}}]).apply(batch, STREAMS)
    key, expected = STREAMS.key("jets/c_tag/half"), []
    first, n_clusters = made.offsets["jet_constituent"], 0
    for event in range(3):
        own = slice(first[event], first[event + 1])
        of = made.columns[c.CONSTITUENT_JET][own]
        for jet in range(made.offsets["jet"][event + 1] - made.offsets["jet"][event]):
            parts = []
            for t, k in zip(
                *(made.columns[x][own][of == jet] for x in (c.CONSTITUENT_TRACK, c.CONSTITUENT_CLUSTER)), strict=True
            ):
                q = clusters[event][k]
                parts.append(
                    (events[event][t]["pt"], int(t))
                    if t >= 0
                    else (q["energy"] / math.cosh(q["eta"]), NO_TRACK + int(k))
                )
                n_clusters += t < 0
            expected.append(uniforms_1(0, max(parts)[1], event, key.k0, key.k1)[0] < 0.5)
    assert n_clusters > 10
    assert made.columns[c.JET_C_TAG].tolist() == expected


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ('exclude = ["muon", "photon"]', "exclude[1]: there are no photons in jets of tracks"),
        ('input = "towers"\nexclude = ["muon"]', "exclude[0]: there are no muons in jets of towers"),
        ('input = "clusters"', "input: must be 'tracks', 'towers' or 'energy_flow' (got 'clusters', a string)"),
        ("scale = 0.0", "scale: must be above 0 (got 0.0)"),
        ('scale = "pt *"', "scale: not a formula"),
        ('scale = "mass"', "scale: 'mass' is not a variable (allowed: pt, eta, phi, energy, pi)"),
    ],
)  # fmt: skip
def test_faults_of_jets(tmp_path, options, fault):
    path = tmp_path / "jets.toml"
    path.write_text(f'name = "jets"\nkind = "jets"\nlevel = "parametric"\n{options}\n')
    with pytest.raises(CardError) as caught:
        toml.validate(Jets.Options, toml.read(path))
    assert fault in "\n".join(caught.value.problems)


# --- missing momentum ---


def met(**options):
    own = MissingMomentum.Options(name="met", kind="met", level="parametric", **{"input": "energy_flow", **options})
    return MissingMomentum.from_options(own, None)


def test_missing_momentum_of_the_energy_flow():
    """A track of 10 GeV, and a cluster of 10 GeV in pt opposite: nothing is missing but what is unlinked to both."""
    events = [[track(pt=10.0, eta=0.4)], [track(pt=10.0)], []]
    opposite = cluster(10 * math.cosh(1.1), 1.1, math.pi)
    clusters = [[opposite], [opposite, cluster(3.0, 0.0, math.pi / 2)], []]
    made = met().apply(with_clusters(events, clusters), STREAMS).columns
    assert made[c.MET] == pytest.approx([0.0, 3.0, 0.0], abs=1e-12)
    assert made[c.MET_PHI][1] == pytest.approx(-math.pi / 2)
    assert made[c.SCALAR_HT] == pytest.approx([20.0, 23.0, 0.0])
    made = met(eta_max=1.0).apply(with_clusters(events, clusters), STREAMS).columns
    assert made[c.MET] == pytest.approx([10.0, math.hypot(10, 3), 0.0], abs=1e-12)


def test_missing_momentum_of_towers_and_sums_of_photons():
    batch = with_clusters([[track(pt=7.0)]], [[]], [[(3.0, 2.0, 1.0, 0.0)]])
    made = met(input="towers").apply(batch, STREAMS).columns
    assert made[c.MET] == pytest.approx([5 / math.cosh(1.0)])
    assert made[c.SCALAR_HT] == pytest.approx([5 / math.cosh(1.0)])
    batch = batch.with_columns({c.PHOTON[0]: np.array([4.0, 2.0])}, {"photon": offsets_from_counts(np.array([2]))})
    own = met(input="towers", scalar_ht_of=["photon", "track"])
    assert own.apply(only(batch, own.needs), STREAMS).columns[c.SCALAR_HT] == pytest.approx([13.0])


# --- leptons ---


def test_isolation_of_electrons_with_neutrals():
    """Neutral clusters in the cone, softer than the least left out; what the electron's own track explains does not count."""
    events = [[track(species="el", pt=30.0), track(pt=2.0, phi=0.2)]]
    clusters = [[cluster(30.0, neutral=0.0, link=0), cluster(3.0, 0.1), cluster(0.4, 0.1), cluster(5.0, 0.0, 0.6)]]
    batch = with_clusters(events, clusters)
    options = {
        "name": "e",
        "kind": "electrons",
        "level": "parametric",
        "efficiency": 1.0,
        "isolation_input": "energy_flow",
    }
    own = Electrons.from_options(Electrons.Options(**options), None)
    made = own.apply(only(batch, own.needs), STREAMS).columns
    assert made[c.ELECTRON_SUM_PT] == pytest.approx([2.0])
    assert made[c.ELECTRON_SUM_NEUTRAL] == pytest.approx([3 / math.cosh(0.1)])
    for largest, n in ((0.17, 1), (0.16, 0)):
        kept = Electrons.from_options(Electrons.Options(**options, isolation_max=largest), None)
        assert len(kept.apply(batch, STREAMS).columns[c.ELECTRON_TRACK]) == n
    plain = Electrons.from_options(Electrons.Options(**{**options, "isolation_input": "tracks"}), None)
    assert c.ELECTRON_SUM_NEUTRAL not in plain.makes


# --- photons ---


def photons(**options):
    own = {"name": "photons", "kind": "photons", "level": "parametric", "efficiency": 1.0, **options}
    return Photons.from_options(Photons.Options(**own), None)


def test_photons_are_clusters_without_tracks():
    clusters = [
        [
            cluster(20.0, 0.5, 1.0), cluster(25.0, link=0), cluster(30.0, 1.0, -1.0), cluster(9.0, hcal=True),
            cluster(8.0, -0.5, 2.0, em=0.2), cluster(2.0, 0.6, 1.1, hcal=True),
        ],
        [cluster(3.0)],
    ]  # fmt: skip
    batch = with_clusters([[track(pt=25.0)], []], clusters)
    own = photons()
    made = own.apply(only(batch, own.needs), STREAMS)
    assert made.offsets["photon"].tolist() == [0, 2, 3]
    assert made.columns[c.PHOTON_CLUSTER].tolist() == [2, 0, 0]  # by pt: 30/cosh(1) = 19.4, 20/cosh(0.5) = 17.7
    assert made.columns[c.PHOTON[0]] == pytest.approx([30 / math.cosh(1), 20 / math.cosh(0.5), 3.0])
    assert made.columns[c.PHOTON[1]] == pytest.approx([1.0, 0.5, 0.0], abs=1e-12)
    assert made.columns[c.PHOTON[2]] == pytest.approx([-1.0, 1.0, 0.0], abs=1e-12)
    assert made.columns[c.PHOTON_ENERGY].tolist() == [30.0, 20.0, 3.0]
    assert made.columns[c.PHOTON_HAD_OVER_EM] == pytest.approx([0.0, 0.1, 0.0])
    assert made.columns[c.PHOTON_SUM_NEUTRAL] == pytest.approx([0.0, 2 / math.cosh(0.6), 0.0])
    everything = photons(fake_rate=1.0).apply(batch, STREAMS)
    assert everything.columns[c.PHOTON_CLUSTER].tolist() == [2, 0, 4, 0]


def test_isolation_of_photons():
    """Tracks and other neutrals in the cone, its own cluster not; the largest sum allowed is that over pt."""
    events = [[track(pt=1.5, phi=0.3), track(pt=0.4), track(pt=9.0, phi=0.6), track(pt=3.0, found=False)]]
    clusters = [[cluster(10.0), cluster(2.0, 0.2), cluster(0.3, 0.1), cluster(5.0, 0.1, 0.2, neutral=1.0, link=0)]]
    batch = with_clusters(events, clusters)
    made = photons(efficiency="pt > 5").apply(batch, STREAMS).columns
    assert made[c.PHOTON_SUM_PT] == pytest.approx([1.5])
    assert made[c.PHOTON_SUM_NEUTRAL] == pytest.approx([2 / math.cosh(0.2) + 1 / math.cosh(0.1)])
    total = 1.5 + 2 / math.cosh(0.2) + 1 / math.cosh(0.1)
    for largest, n in ((total / 10 + 1e-9, 1), (total / 10 - 1e-9, 0)):
        assert (
            len(photons(efficiency="pt > 5", isolation_max=largest).apply(batch, STREAMS).columns[c.PHOTON_CLUSTER])
            == n
        )


def test_efficiencies_of_photons():
    """As often as the card says, for what is one and what is none, within 4.5 sigma; a formula in pt and eta."""
    n = 4000
    clusters = [[cluster(20.0, 0.0, 0.0), cluster(20.0, 1.0, 2.0, em=0.1)]] * n
    made = photons(efficiency="0.8 * (abs(eta) < 0.5)", fake_rate="0.1 * (pt < 15)").apply(
        with_clusters([[]] * n, clusters), STREAMS
    )
    index = made.columns[c.PHOTON_CLUSTER]
    for which, expected in ((0, 0.8), (1, 0.1)):
        share = np.mean(index == which) * len(index) / n
        assert abs(share - expected) < 4.5 * math.sqrt(expected * (1 - expected) / n)
    key = STREAMS.key("photons/identification")
    drawn = [uniforms_1(0, 0, event, key.k0, key.k1)[0] < 0.8 for event in range(n)]
    assert (
        np.flatnonzero(drawn).tolist() == np.repeat(np.arange(n), np.diff(made.offsets["photon"]))[index == 0].tolist()
    )


@pytest.mark.parametrize(("key", "value", "fault"), [
    ("efficiency", '"pt >"', "efficiency: not a formula"), ("fake_rate", "1.5", "fake_rate: must be between 0 and 1 (got 1.5)"),
    ("isolation_delta_r", "0", "isolation_delta_r: must be greater than 0"),
])  # fmt: skip
def test_faults_of_photons(tmp_path, key, value, fault):
    path = tmp_path / "photons.toml"
    given = {"efficiency": "1.0", key: value}
    path.write_text(
        'name = "g"\nkind = "photons"\nlevel = "parametric"\n' + "".join(f"{k} = {v}\n" for k, v in given.items())
    )
    with pytest.raises(CardError) as caught:
        toml.validate(Photons.Options, toml.read(path))
    assert fault in "\n".join(caught.value.problems)


def test_a_formula_without_a_value():
    with pytest.raises(
        PluginError, match=r"module 'photons': efficiency: the formula 'log\(-pt\)' has no value at pt = 10,"
    ):
        photons(efficiency="log(-pt)").apply(with_clusters([[]], [[cluster()]]), STREAMS)


# --- all of them ---

ALL = {
    "jets": jets(exclude=["photon"], tags=[{"name": "t", "kind": "b", "efficiency": {"light": 0.3}}], scale="1.1"),
    "met": met(scalar_ht_of=["jet", "photon"]),
    "photons": photons(efficiency=0.7, fake_rate=0.3, isolation_max=2.0),
    "electrons": Electrons.from_options(
        Electrons.Options(name="e", kind="electrons", level="parametric", efficiency=0.8, isolation_input="energy_flow"), None
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def batch():
    batch = with_clusters(random_events(4, [20, 0, 30, 3, 0]), random_clusters(5, [15, 4, 0, 20, 0]))
    for name in ("photons", "jets"):
        made = ALL[name].apply(batch, STREAMS)
        batch = batch.with_columns(made.columns, made.offsets)
    return batch


@pytest.mark.parametrize("name", ALL)
def test_contract(batch, name):
    own = ALL[name]
    made = own.apply(only(batch, own.needs), STREAMS)
    assert set(made.columns) == set(own.makes)
    for column, array in made.columns.items():
        assert array.dtype == column.dtype
    assert_same(made, pickle.loads(pickle.dumps(own)).apply(batch, STREAMS))
    assert_any_batch_size(own, batch, STREAMS)


@pytest.mark.parametrize("kind", ["towers", "energy_flow"])
def test_events_without_anything(kind):
    empty = with_clusters([[], []], [[], []], [[], []])
    for own in (jets(input=kind), met(input=kind), photons(), ALL["electrons"]):
        made = own.apply(empty, STREAMS)
        for column in own.makes:
            assert made.columns[column].dtype == column.dtype
            assert column.table == "event" or len(made.columns[column]) == 0
