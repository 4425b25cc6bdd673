"""The AO2D file against the columns that it was made of, and against the rules of ALICE's data model."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pytest
import uproot

import fastsim
from fastsim import columns as c
from fastsim.cards import load_card
from fastsim.io.aod import truncated, units
from fastsim.io.aod_frame import make_frame
from fastsim.io.aod_tables import EMPTY, VERSIONS, trees
from fastsim.source import make_batch
from tests import hepmc_files as files

EVENTS = (0, 10)
EXACT = ["output.events_per_frame=4", "output.truth=all", "output.ao2d.truncate=false"]
TREES = trees(load_card("alice3").card.output)


def read(path):
    """All trees of a file, by name with the frame."""
    with uproot.open(path) as file:
        return {key: file[key].arrays() for key in file.keys(cycle=False) if "/" in key}


@pytest.fixture(scope="module")
def made(ttbar, tmp_path_factory):
    """A file of 10 events in three data frames, its trees, and the same events in memory."""
    path = tmp_path_factory.mktemp("aod") / "out.root"
    card = fastsim.load_card("alice3", sets=EXACT)
    fastsim.simulate_files([ttbar], card, path, events=EVENTS)
    events = ak.concatenate(list(fastsim.simulate(ttbar, card, events=EVENTS)))
    with uproot.open(path) as file:
        trees = {key: file[key].arrays() for key in file.keys(cycle=False) if "/" in key}
        kinds = file.classnames(cycle=False)
        provenance = json.loads(str(file["provenance"]))
    return path, trees, events, kinds, provenance


def test_all_trees_are_ttrees_in_numbered_frames(made):
    _, trees, _, kinds, _ = made
    assert {key.split("/")[0] for key in trees} == {"DF_0", "DF_1", "DF_2"}
    assert {kinds[key] for key in trees} == {"TTree"}
    assert {key.split("/")[1] for key in trees} == set(TREES)


def test_frames_are_cut_by_event(made):
    _, trees, *_ = made
    assert [len(trees[f"DF_{i}/O2bc_001"]) for i in range(3)] == [4, 4, 2]
    assert ak.to_list(trees["DF_1/O2bc_001"].fGlobalBC) == [4, 5, 6, 7]  # strictly ascending event positions


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_indices_are_in_range_sorted_and_consistent(made, frame):
    """Row numbers within the frame; tracks grouped by collision, particles by MC collision (required for slicing)."""
    _, trees, *_ = made
    tree = {name: trees[f"DF_{frame}/{name}"] for name in TREES}
    n_events, n_particles = len(tree["O2collision_001"]), len(tree["O2mcparticle_001"])
    for name, column, n in (
        ("O2track", "fIndexCollisions", n_events),
        ("O2mcparticle_001", "fIndexMcCollisions", n_events),
        ("O2collision_001", "fIndexBCs", n_events),
        ("O2mccollision_001", "fIndexBCs", n_events),
        ("O2mccollisionlabel", "fIndexMcCollisions", n_events),
    ):
        index = ak.to_numpy(tree[name][column])
        assert (np.diff(index) >= 0).all()
        assert index.min() >= 0
        assert index.max() < n
    label = ak.to_numpy(tree["O2mctracklabel"].fIndexMcParticles)
    assert label.min() >= 0
    assert label.max() < n_particles
    same_event = ak.to_numpy(tree["O2mcparticle_001"].fIndexMcCollisions)[label]
    np.testing.assert_array_equal(same_event, ak.to_numpy(tree["O2track"].fIndexCollisions))
    lengths = {len(tree[name]) for name in ("O2track", "O2trackcov", "O2trackextra_002", "O2mctracklabel")}
    assert len(lengths) == 1


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_family_links_agree_both_ways(made, frame):
    """Mothers come before their daughters; every daughter in a mother's range names it (as first or last mother)."""
    _, trees, *_ = made
    particles = trees[f"DF_{frame}/O2mcparticle_001"]
    mothers, daughters = ak.to_list(particles.fIndexArray_Mothers), ak.to_numpy(particles.fIndexSlice_Daughters)
    event = ak.to_numpy(particles.fIndexMcCollisions)
    for row, found in enumerate(mothers):
        assert len(found) <= 2
        assert all(0 <= m < row for m in found)
        for m in found:
            assert daughters[m][0] <= row <= daughters[m][1]
            assert event[m] == event[row]
    for row, (first, last) in enumerate(daughters):
        assert (first == -1) == (last == -1)
        for daughter in range(first, last + 1) if first >= 0 else ():
            assert min(mothers[daughter]) <= row <= max(mothers[daughter])


def test_track_values(made):
    _, trees, events, *_ = made
    tracks = ak.flatten(events.tracks[events.tracks.is_reconstructed])
    written = ak.concatenate([trees[f"DF_{i}/O2track"] for i in range(3)])
    columns = {"fAlpha": "phi", "fY": "dca_xy", "fZ": "dca_z", "fTgl": "tan_lambda", "fSigned1Pt": "q_over_pt"}
    for branch, column in columns.items():
        np.testing.assert_array_equal(ak.to_numpy(written[branch]), ak.to_numpy(tracks[column]).astype(np.float32))
    assert set(ak.to_list(written.fTrackType)) == {1}


def test_covariance_survives_the_packing(made):
    """sigma is exact to float32, rho is cut to 1/128 towards zero, as the official producer does."""
    _, trees, events, *_ = made
    tracks = ak.flatten(events.tracks[events.tracks.is_reconstructed])
    written = ak.concatenate([trees[f"DF_{i}/O2trackcov"] for i in range(3)])
    names = ("Y", "Z", "Snp", "Tgl", "1Pt")
    packed = ak.to_numpy(tracks.cov_packed)
    k = 0
    for i in range(5):
        for j in range(i + 1):
            sigma_i, sigma_j = (ak.to_numpy(written[f"fSigma{names[m]}"]).astype(float) for m in (i, j))
            if i == j:
                np.testing.assert_allclose(sigma_i**2, packed[:, k], rtol=3e-7)
            else:
                rho = ak.to_numpy(written[f"fRho{names[i]}{names[j]}"]) / 128
                exact = packed[:, k] / (sigma_i * sigma_j)
                assert (np.abs(rho) <= np.abs(exact) + 1e-6).all()
                assert (np.abs(rho - exact) < 1 / 128 + 1e-6).all()
            k += 1


def test_truth_is_complete(made):
    """All particles of the record, each with its momentum, mothers' event and production point."""
    _, trees, events, *_ = made
    written = ak.concatenate([trees[f"DF_{i}/O2mcparticle_001"] for i in range(3)])
    particles = ak.flatten(events.particles)
    assert len(written) == len(particles)
    for branch, column in (("fPx", "px"), ("fPy", "py"), ("fPz", "pz"), ("fE", "energy"), ("fPdgCode", "pdg")):
        assert sorted(ak.to_list(written[branch])) == sorted(ak.to_numpy(particles[column]).astype(np.float32).tolist())


def test_labels_point_to_the_particle_that_made_the_track(made):
    _, trees, events, *_ = made
    tracks = ak.flatten(events.tracks[events.tracks.is_reconstructed])
    pdg = ak.concatenate(
        [
            trees[f"DF_{i}/O2mcparticle_001"].fPdgCode[trees[f"DF_{i}/O2mctracklabel"].fIndexMcParticles]
            for i in range(3)
        ]
    )
    px = ak.concatenate(
        [trees[f"DF_{i}/O2mcparticle_001"].fPx[trees[f"DF_{i}/O2mctracklabel"].fIndexMcParticles] for i in range(3)]
    )
    codes = np.array([11, 13, 211, 321, 2212])
    np.testing.assert_array_equal(np.abs(ak.to_numpy(pdg)), codes[ak.to_numpy(tracks.species)])
    pt = ak.to_numpy(tracks.pt_true)
    assert (np.abs(ak.to_numpy(px)) <= pt * (1 + 1e-6)).all()


def test_status_and_flags(made):
    """MCGenStatusEncoding: HepMC status in bits 0-8, 5 in bits 29-31; (1, 1) is -1610612223 (compiled from O2's header)."""
    _, trees, *_ = made
    particles = trees["DF_0/O2mcparticle_001"]
    status, flags = ak.to_numpy(particles.fStatusCode), ak.to_numpy(particles.fFlags)
    transported = (flags & 1) == 1
    assert set(status[transported]) == {4}  # TMCProcess kPDecay
    generator = status[~transported]
    assert ((generator.view(np.uint32) >> 29) == 5).all()
    assert -1610612223 in generator
    assert not (flags[transported] & 4).any()
    assert set(np.abs(ak.to_numpy(particles.fPdgCode))[(flags & 4) == 4]) <= {
        11, 12, 13, 14, 16, 22, 130, 211, 310, 321, 2112, 2212, 3112, 3122, 3222, 3312, 3322, 3334,
    }  # fmt: skip


def test_contributors_are_the_flagged_tracks(made):
    _, trees, *_ = made
    for i in range(3):
        flags = ak.to_numpy(trees[f"DF_{i}/O2trackextra_002"].fFlags)
        event = ak.to_numpy(trees[f"DF_{i}/O2track"].fIndexCollisions)
        counted = np.bincount(event[(flags & 2) == 2], minlength=len(trees[f"DF_{i}/O2collision_001"]))
        np.testing.assert_array_equal(counted, ak.to_numpy(trees[f"DF_{i}/O2collision_001"].fNumContrib))


def test_provenance(made, ttbar):
    from hashlib import sha256
    from pathlib import Path

    *_, provenance = made
    identity = provenance["identity"]
    assert identity["run_seed"] == 1
    assert identity["random_numbers"] == "philox4x32-10/1"
    assert identity["inputs"][0]["sha256"] == sha256(Path(ttbar).read_bytes()).hexdigest()
    assert identity["resolved"]["detector"]["name"] == "alice3_v2"
    assert identity["units"] == units(load_card("alice3", sets=EXACT).card.output)
    assert set(identity["luts"]) == {"el", "mu", "pi", "ka", "pr", "de", "tr", "he3", "al"}
    assert provenance["circumstance"]["workers"] == 1
    assert provenance["summary"]["events"] == 10


def test_identity_does_not_depend_on_circumstance(made, ttbar, tmp_path):
    card = fastsim.load_card("alice3", sets=EXACT)
    fastsim.simulate_files([ttbar], card, tmp_path / "out.root", events=EVENTS, batch_size=3)
    with uproot.open(tmp_path / "out.root") as file:
        assert json.loads(str(file["provenance"]))["identity"] == made[4]["identity"]


def test_no_events_give_an_empty_frame(ttbar, tmp_path):
    fastsim.simulate_files([ttbar], "alice3", tmp_path / "out.root", events=(3, 3))
    with uproot.open(tmp_path / "out.root") as file:
        assert {key for key in file.keys(cycle=False) if "/" in key} == {f"DF_0/{name}" for name in TREES}
        assert file["DF_0/O2track"].num_entries == 0


def test_siblings_that_stand_apart_are_written_together():
    """Daughters are a range in the file, so the writer reorders; labels and mothers follow."""
    from fastsim import columns as c
    from fastsim.events import EventBatch
    from fastsim.io.aod_frame import make_frame

    # beam -> v0 -> (1, 2, 4); 2 -> v1 -> (3, 5). Particle 3 stands between siblings 2 and 4.
    batch = EventBatch(
        {
            "particle": np.array([0, 6]),
            "vertex": np.array([0, 2]),
            "event": np.array([0, 1]),
            "track": np.array([0, 0]),
        },
        {
            c.PRODUCTION_VERTEX: np.array([-1, 0, 0, 1, 0, 1], dtype=np.int32),
            c.END_VERTEX: np.array([0, -1, 1, -1, -1, -1], dtype=np.int32),
            c.IS_RECONSTRUCTED: np.zeros(0, dtype=np.bool_),
            c.COV_PACKED: np.zeros((0, 15)),
            **{column: np.zeros(2) for column in c.VERTEX_POSITION},
            **{column: np.zeros(1) for column in c.VERTEX_TRUE},
        },
    )
    frame = make_frame(batch, 0, 100)
    assert frame.particles.tolist() == [0, 1, 2, 4, 3, 5]
    assert frame.particle_row.tolist() == [100, 101, 102, 104, 103, 105]
    counts, mothers = frame.mother_lists()
    assert counts.tolist() == [0, 1, 1, 1, 1, 1]
    assert mothers.tolist() == [100, 100, 100, 102, 102]
    assert frame.daughters.tolist() == [[101, 103], [-1, -1], [104, 105], [-1, -1], [-1, -1], [-1, -1]]


@pytest.fixture(scope="module")
def default(ttbar, tmp_path_factory):
    """The same events as the default card writes them."""
    path = tmp_path_factory.mktemp("aod_default") / "out.root"
    fastsim.simulate_files([ttbar], "alice3", path, events=EVENTS)
    return read(path)


def test_tables_of_other_detectors_are_there_and_empty(default):
    for name, tree in EMPTY.items():
        table = default[f"DF_0/{name}"]
        assert len(table) == 0
        assert set(table.fields) >= {branch.name for branch in tree.branches}


def test_numbers_are_cut_as_the_official_producer_cuts_them(made, default):
    """Its masks (AODProducerWorkflowSpec.cxx): 0xFFFFFFF0 for positions and alpha, ...FF00 tgl and sigma, ...FC00 q/pt."""
    _, exact, *_ = made
    tables = {
        "O2track": {"fAlpha": 0xFFFFFFF0, "fTgl": 0xFFFFFF00, "fSigned1Pt": 0xFFFFFC00, "fY": 0xFFFFFFFF},
        "O2trackcov": {"fSigmaY": 0xFFFFFF00, "fSigma1Pt": 0xFFFFFF00},
        "O2collision_001": {"fPosX": 0xFFFFFFF0, "fCovXX": 0xFFFFE000, "fChi2": 0xFFFF0000},
        "O2mccollision_001": {"fPosZ": 0xFFFFFFF0},
    }
    for table, masks in tables.items():
        for name, mask in masks.items():
            want = np.concatenate([ak.to_numpy(exact[f"DF_{i}/{table}"][name]) for i in range(3)])
            got = ak.to_numpy(default[f"DF_0/{table}"][name])
            np.testing.assert_array_equal(
                got.view(np.uint32), want.view(np.uint32) & np.uint32(mask), f"{table}.{name}"
            )


def test_cutting_loses_less_than_the_last_bit_that_is_kept():
    values = np.array([0, 1, -1, 1 / 3, -1e-30, 3e38, 1e-44], dtype=np.float32)
    np.testing.assert_array_equal(truncated(values, 23), values)
    for bits in (7, 10, 19):
        cut = truncated(values, bits)
        assert (np.abs(cut) <= np.abs(values)).all()
        normal = np.abs(values) > 1e-37
        np.testing.assert_allclose(cut[normal], values[normal], rtol=2.0**-bits)
    whole = np.arange(5)
    assert truncated(whole, 7) is whole


def test_default_truth_keeps_what_the_exact_file_says_of_it(made, default):
    """Labels lead to the same particle; families of hadrons are whole."""
    _, exact, *_ = made
    label = default["DF_0/O2mctracklabel"].fIndexMcParticles
    kept = default["DF_0/O2mcparticle_001"]
    for name in ("fPdgCode", "fFlags", "fStatusCode"):
        want = np.concatenate(
            [
                ak.to_numpy(exact[f"DF_{i}/O2mcparticle_001"][name][exact[f"DF_{i}/O2mctracklabel"].fIndexMcParticles])
                for i in range(3)
            ]
        )
        np.testing.assert_array_equal(ak.to_numpy(kept[name][label]), want)
    k0s = np.flatnonzero(ak.to_numpy(kept.fPdgCode) == 310)
    decayed = k0s[ak.to_numpy(kept.fIndexSlice_Daughters)[k0s, 0] >= 0]
    assert len(decayed) > 10
    charge = {211: 1, -211: -1, 111: 0, 22: 0, 11: -1, -11: 1, 13: -1, -13: 1, 12: 0, -12: 0, 14: 0, -14: 0}
    codes = ak.to_list(kept.fPdgCode)
    for first, last in ak.to_numpy(kept.fIndexSlice_Daughters)[decayed]:
        assert sum(charge[codes[i]] for i in range(first, last + 1)) == 0


def test_tracks_without_particle_have_no_label():
    """A batch in which some, and one in which all, particles of the tracks are not kept."""
    for n, index, expected in ((2, [-1, 1, -1], [-1, 8, -1]), (0, [-1, -1, -1], [-1, -1, -1])):
        offsets = {"particle": np.array([0, n]), "vertex": np.array([0, 0])}
        columns = {column: np.zeros(n) for column in (*c.MOMENTUM, c.ENERGY, c.MASS)}
        columns |= {column: np.full(n, -1, dtype=np.int32) for column in (c.PRODUCTION_VERTEX, c.END_VERTEX)}
        columns |= {c.PDG: np.full(n, 211, np.int32), c.STATUS: np.ones(n, np.int32)}
        columns |= {column: np.zeros(1) for column in c.VERTEX_TRUE} | {
            column: np.zeros(0) for column in c.VERTEX_POSITION
        }
        tracks = {
            c.PARTICLE_INDEX: np.array(index, dtype=np.int32), c.IS_RECONSTRUCTED: np.ones(3, dtype=bool),
            c.COV_PACKED: np.ones((3, 15)),
        }  # fmt: skip
        batch = make_batch(offsets, columns).with_columns(tracks, {"track": np.array([0, 3])})
        assert make_frame(batch, n_events=3, n_particles=7).track_labels().tolist() == expected


def test_no_truth_is_a_file_like_data(ttbar, tmp_path):
    card = fastsim.load_card("alice3", sets=["output.truth=none"])
    fastsim.simulate_files([ttbar], card, tmp_path / "out.root", events=(0, 2))
    tables = read(tmp_path / "out.root")
    assert not [name for name in tables if "mc" in name]
    assert len(tables["DF_0/O2track"]) > 100


@pytest.mark.parametrize("version", [0, 1])
def test_older_versions_hold_the_same_numbers(ttbar, tmp_path, version):
    names = ("bc", "collision", "mccollision", "mcparticle", "trackextra")
    sets = [f"output.ao2d.versions.{name}={version}" for name in names]
    card = fastsim.load_card("alice3", sets=[*sets, "output.ao2d.tracks=track_iu", "output.ao2d.empty_tables=false"])
    fastsim.simulate_files([ttbar], card, tmp_path / "out.root", events=(0, 3))
    fastsim.simulate_files([ttbar], "alice3", tmp_path / "current.root", events=(0, 3))
    tables, current = read(tmp_path / "out.root"), read(tmp_path / "current.root")
    assert not set(EMPTY) & {name.split("/")[1] for name in tables}
    assert {"DF_0/O2track_iu", "DF_0/O2trackcov_iu"} <= set(tables)
    suffix = "_001" if version else ""
    for name in names:
        table, newest = tables[f"DF_0/O2{name}{suffix}"], current[f"DF_0/O2{name}_{max(VERSIONS[name]):03d}"]
        assert [f for f in table.fields if not f.endswith("_size")] == [
            b.name for b in VERSIONS[name][version].branches
        ]
        for field in set(table.fields) & set(newest.fields):
            assert ak.to_list(table[field]) == ak.to_list(newest[field])
    if version == 0:
        old, new = tables["DF_0/O2mcparticle"], current["DF_0/O2mcparticle_001"]
        mothers = ak.to_list(new.fIndexArray_Mothers)
        assert ak.to_list(old.fIndexMcParticles_Mother0) == [m[0] if m else -1 for m in mothers]
        assert ak.to_list(old.fIndexMcParticles_Mother1) == [m[-1] if m else -1 for m in mothers]
        assert ak.to_list(old.fIndexMcParticles_Daughter1) == ak.to_list(new.fIndexSlice_Daughters[:, 1])


def test_what_the_generator_says_of_the_event(default, tmp_path):
    """Rows only for events of which it says something: the sample has no such attributes."""
    names = ("O2hepmcxsection", "O2hepmcpdfinfo", "O2hepmcheavyion")
    assert {len(default[f"DF_0/{name}"]) for name in names} == {0}
    plain = files.gun_event(5, (211, 1.0, 0.2, 0.3, 1.1))
    text = files.listing(plain, plain).replace(
        b"U GEV MM\n",
        b"U GEV MM\nA 0 GenCrossSection 12.5 0.25 7 9\nA 0 GenPdfInfo 21 -1 0.01 0.2 91.2 3 4 10042 10042\n",
        1,
    )
    (tmp_path / "in.hepmc").write_bytes(text)
    fastsim.simulate_files([tmp_path / "in.hepmc"], "alice3", tmp_path / "out.root")
    tables = {name: read(tmp_path / "out.root")[f"DF_0/{name}"] for name in names}
    assert [len(table) for table in tables.values()] == [1, 1, 0]
    cross, partons = ak.to_list(tables["O2hepmcxsection"])[0], ak.to_list(tables["O2hepmcpdfinfo"])[0]
    assert (cross["fIndexMcCollisions"], cross["fXsectGen"], cross["fXsectErr"], cross["fNMPI"]) == (0, 12.5, 0.25, -1)
    assert (partons["fId1"], partons["fId2"], partons["fX2"], partons["fPdf2"]) == (21, -1, np.float32(0.2), 4.0)
