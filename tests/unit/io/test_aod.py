"""The AO2D file against the columns that it was made of, and against the rules of ALICE's data model."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pytest
import uproot

import fastsim
from fastsim.io.aod import TREES, UNITS

EVENTS = (0, 10)


@pytest.fixture(scope="module")
def made(ttbar, tmp_path_factory):
    """A file of 10 events in three data frames, its trees, and the same events in memory."""
    path = tmp_path_factory.mktemp("aod") / "out.root"
    card = fastsim.load_card("alice3", sets=["output.events_per_frame=4"])
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
    assert identity["units"] == UNITS
    assert set(identity["luts"]) == {"el", "mu", "pi", "ka", "pr", "de", "tr", "he3", "al"}
    assert provenance["circumstance"]["workers"] == 1
    assert provenance["summary"]["events"] == 10


def test_identity_does_not_depend_on_circumstance(made, ttbar, tmp_path):
    card = fastsim.load_card("alice3", sets=["output.events_per_frame=4"])
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
    from fastsim.io.aod import _family

    # beam -> v0 -> (1, 2, 4); 2 -> v1 -> (3, 5). Particle 3 stands between siblings 2 and 4.
    batch = EventBatch(
        {"particle": np.array([0, 6]), "vertex": np.array([0, 2]), "event": np.array([0, 1])},
        {
            c.PRODUCTION_VERTEX: np.array([-1, 0, 0, 1, 0, 1], dtype=np.int32),
            c.END_VERTEX: np.array([0, -1, 1, -1, -1, -1], dtype=np.int32),
        },
    )
    order, row, (counts, mothers), daughters = _family(batch, 100)
    assert order.tolist() == [0, 1, 2, 4, 3, 5]
    assert row.tolist() == [100, 101, 102, 104, 103, 105]
    assert counts.tolist() == [0, 1, 1, 1, 1, 1]
    assert mothers.tolist() == [100, 100, 100, 102, 102]
    assert daughters.tolist() == [[101, 103], [-1, -1], [104, 105], [-1, -1], [-1, -1], [-1, -1]]
