"""What is right passes, whoever wrote it; one thing broken at a time is named, with its first row."""

from __future__ import annotations

import json
import shutil

import awkward as ak
import numpy as np
import pytest
import uproot

import fastsim
from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.io import check_tools as tools
from fastsim.io.aod_names import index_of, table_of, version_of
from fastsim.io.check import check
from fastsim.io.join import branch_types, pieces
from fastsim.io.rootio import RootFile
from tests import hepmc_files as files

GUN = """schema_version = 1
kind = "gun"
n_events = 5
[[particles]]
pdg = [211, -11, 2212]
n = 4
pt = { min = 0.1, max = 5 }
eta = { min = -4, max = 4 }
phi = { min = -3, max = 3 }
"""
OLD = [
    *(f"output.ao2d.versions.{name}=0" for name in ("bc", "collision", "mccollision", "mcparticle", "trackextra")),
    "output.ao2d.tracks='track_iu'",
]


def make(path, inputs, *sets, events=(0, 4)):
    card = fastsim.load_card("alice3", sets=["output.events_per_frame=3", *sets])
    fastsim.simulate_files([inputs], card, path, events=events)
    return path


@pytest.fixture(scope="module")
def made(ttbar, tmp_path_factory):
    """Good files of four events, by format; and an AO2D file with tables of version 0."""
    folder = tmp_path_factory.mktemp("check")
    kinds = {kind: [f"output.format={kind!r}"] for kind in ("ao2d", "nano", "delphes", "parquet", "rntuple")}
    return {kind: make(folder / kind, ttbar, *sets) for kind, sets in {**kinds, "old": OLD}.items()}


def faults(path):
    """Broken rules: number of faults, and the first."""
    return {one.what: (one.n_faults, one.first) for one in check(path).checks.values() if one.n_faults}


def rewrite(source, target, change):
    """A copy of an AO2D file, in which `change(name, columns)` changes columns of trees."""
    with uproot.open(source) as file, RootFile(target, compression_level=0) as out:
        for name in [key for key, kind in file.classnames(cycle=False).items() if kind == "TTree"]:
            tree = file[name]
            columns = next(iter(pieces(tree)), None)
            out.add_tree(name, branch_types(tree))
            if columns is not None and change(name, columns) is not False:
                out.extend(name, columns)
        texts = [key for key, kind in file.classnames(cycle=False).items() if kind == "TObjString"]
        out.close({name: str(file[name]) for name in texts})
    return target


@pytest.mark.parametrize("kind", ["ao2d", "old", "nano", "delphes", "parquet", "rntuple"])
def test_good_files_have_no_faults(made, kind):
    report = check(made[kind])
    assert faults(made[kind]) == {}
    assert report.unchecked == {}
    assert report.format == ("ao2d" if kind == "old" else kind)
    assert report.checks["provenance: as many events as in the file"].n_rows == 1


@pytest.mark.parametrize(
    ("kind", "truth"),
    [
        ("ao2d", "all"),
        ("ao2d", "reconstructed"),
        ("ao2d", "none"),
        ("nano", "none"),
        ("delphes", "all"),
        ("delphes", "none"),
    ],
)
def test_every_choice_of_truth_is_good(ttbar, tmp_path, kind, truth):
    assert (
        faults(make(tmp_path / "out", ttbar, f"output.format={kind!r}", f"output.truth={truth!r}", events=(0, 2))) == {}
    )


@pytest.mark.parametrize(
    ("kind", "source"),
    [("ao2d", "lead"), ("ao2d", "gun"), ("ao2d", "pile-up"), ("nano", "lead"), ("nano", "gun"), ("delphes", "pile-up")],
)
def test_heavy_ions_guns_and_pile_up_are_good(lead, ttbar, tmp_path, kind, source):
    gun = tmp_path / "gun.toml"
    gun.write_text(GUN)
    sets = ["pile_up.mean=2", f"pile_up.file={ttbar!r}"] if source == "pile-up" else []
    name = {"lead": lead, "gun": str(gun), "pile-up": ttbar}[source]
    assert faults(make(tmp_path / "out", name, f"output.format={kind!r}", *sets, events=(0, 2))) == {}


@pytest.mark.parametrize("kind", ["ao2d", "nano", "delphes", "parquet", "rntuple"])
def test_a_file_without_events_is_good(tmp_path, kind):
    (tmp_path / "none.hepmc").write_bytes(files.empty())
    path = make(tmp_path / "out", str(tmp_path / "none.hepmc"), f"output.format={kind!r}", events=(0, None))
    assert faults(path) == {}


# Tree (in the first data frame), branch, row, value -> rule, and what is said of the first row.
BROKEN = {
    "collision of a track": (
        "O2track.fIndexCollisions",
        -1,
        77,
        "O2track.fIndexCollisions: rows of O2collision_001, or -1",
    ),
    "negative index": ("O2track.fIndexCollisions", 0, -2, "O2track.fIndexCollisions: rows of O2collision_001, or -1"),
    "order of tracks": ("O2track.fIndexCollisions", 0, 1, "O2track.fIndexCollisions: ascending, equal ones together"),
    "particle of a track": (
        "O2mctracklabel.fIndexMcParticles",
        3,
        10**6,
        "O2mctracklabel.fIndexMcParticles: rows of O2mcparticle_001, or -1",
    ),
    "particle of another collision": ("O2mctracklabel.fIndexMcParticles", 0, -1, None),
    "BC of a collision": ("O2collision_001.fIndexBCs", 1, 3, "O2collision_001.fIndexBCs: rows of O2bc_001, or -1"),
    "BC twice": ("O2bc_001.fGlobalBC", 1, 0, "O2bc_001.fGlobalBC: ascends"),
    "MC collision of a particle": (
        "O2mcparticle_001.fIndexMcCollisions",
        0,
        -1,
        "O2mcparticle_001.fIndexMcCollisions: rows of O2mccollision_001",
    ),
    "order of particles": (
        "O2mcparticle_001.fIndexMcCollisions",
        0,
        2,
        "O2mcparticle_001.fIndexMcCollisions: ascending, equal ones together",
    ),
    "daughters reversed": (
        "O2mcparticle_001.fIndexSlice_Daughters",
        0,
        (5, 4),
        "O2mcparticle_001.fIndexSlice_Daughters: first and last row of O2mcparticle_001, or -1, -1",
    ),
    "half a range": (
        "O2mcparticle_001.fIndexSlice_Daughters",
        0,
        (-1, 4),
        "O2mcparticle_001.fIndexSlice_Daughters: first and last row of O2mcparticle_001, or -1, -1",
    ),
    "others' daughters": (
        "O2mcparticle_001.fIndexSlice_Daughters",
        0,
        (0, 0),
        "O2mcparticle_001: daughters: have it as mother",
    ),
    "no code": ("O2mcparticle_001.fPdgCode", 2, 0, "O2mcparticle_001.fPdgCode: is not 0"),
    "NaN": ("O2mcparticle_001.fPx", 4, np.nan, "O2mcparticle_001.fPx: is finite"),
    "infinite": ("O2track.fTgl", 4, np.inf, "O2track.fTgl: is finite"),
    "angle": ("O2track.fAlpha", 4, 3.2, "O2track.fAlpha: is from -pi to pi"),
    "sine": ("O2track.fSnp", 4, 1.0, "O2track.fSnp: is between -1 and 1"),
    "correlation": ("O2trackcov.fRhoTglZ", 4, -128, "O2trackcov.fRhoTglZ: is from -127 to 127"),
    "no uncertainty": ("O2trackcov.fSigmaZ", 4, 0, "O2trackcov.fSigma*: all above 0, or all 0"),
    "negative uncertainty": ("O2trackcov.fSigmaZ", 4, -1e-3, "O2trackcov.fSigma*: all above 0, or all 0"),
    "time": ("O2trackextra_002.fTrackTimeRes", 4, -1, "O2trackextra_002.fTrackTimeRes: is not negative"),
    "covariance": ("O2collision_001.fCovXY", 1, 1.0, "O2collision_001.fCov*: a covariance"),
    "contributors": (
        "O2collision_001.fNumContrib",
        1,
        3,
        "O2collision_001.fNumContrib: as many as tracks that contribute",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_number_changed_is_named(made, tmp_path, name):
    where, row, value, rule = BROKEN[name]
    tree, _, branch = where.partition(".")

    def change(path, columns):
        if path == f"DF_0/{tree}":
            columns[branch] = columns[branch].copy()
            columns[branch][row] = value
            seen.append(len(columns[branch]))

    seen = []
    found = faults(rewrite(made["ao2d"], tmp_path / "out.root", change))
    assert seen
    if rule is None:  # a track without a particle is a fake: allowed
        assert found == {}
    else:
        assert found[rule][0] == {"order of tracks": 2, "order of particles": 3}.get(name, 1)
        assert f"DF_0/{tree} row " in found[rule][1]


def test_first_row_is_named_in_later_frames_too(made, tmp_path):
    def change(path, columns):
        if path == "DF_1/O2track":
            columns["fSnp"] = columns["fSnp"].copy()
            columns["fSnp"][[3, 8]] = (-1.5, 2)

    found = faults(rewrite(made["ao2d"], tmp_path / "out.root", change))
    assert found == {"O2track.fSnp: is between -1 and 1": (2, "DF_1/O2track row 3: -1.5")}


def test_swapped_particles_of_two_collisions_are_named(made, tmp_path):
    def change(path, columns):
        if path == "DF_0/O2mctracklabel":
            labels = columns["fIndexMcParticles"].copy()
            labels[[0, -1]] = labels[[-1, 0]]
            columns["fIndexMcParticles"] = labels

    found = faults(rewrite(made["ao2d"], tmp_path / "out.root", change))
    assert list(found) == ["O2mctracklabel: particles are of the track's collision"]
    assert found[next(iter(found))][0] == 2


@pytest.mark.parametrize("table", ["O2trackcov", "O2mctracklabel", "O2trackextra_002", "O2mccollisionlabel"])
def test_tables_of_different_length_are_named(made, tmp_path, table):
    def change(path, columns):
        if path == f"DF_0/{table}":
            for name in columns:
                columns[name] = columns[name][:-1]

    found = faults(rewrite(made["ao2d"], tmp_path / "out.root", change))
    first = "O2collision_001" if "collision" in table else "O2track"
    assert "rows, not" in found[f"{table}: as many rows as {first}"][1]


def test_cycle_of_mothers_is_named(made, tmp_path):
    def change(path, columns):
        if path == "DF_0/O2mcparticle_001":
            counts, mothers = columns["fIndexArray_Mothers"]
            mothers, start = mothers.copy(), np.cumsum(counts) - counts
            child = next(i for i in np.flatnonzero(counts == 1) if counts[mothers[start[i]]] == 1)
            mothers[start[mothers[start[child]]]] = child  # its mother's mother is itself
            columns["fIndexArray_Mothers"] = (counts, mothers)

    found = faults(rewrite(made["ao2d"], tmp_path / "out.root", change))
    assert found["O2mcparticle_001: mothers: no particle is its own ancestor"][0] == 2


def test_mothers_of_another_collision_and_out_of_range_are_named(made, tmp_path):
    def change(path, columns):
        if path == "DF_0/O2mcparticle_001":
            counts, mothers = columns["fIndexArray_Mothers"]
            mothers = mothers.copy()
            mothers[0], mothers[-1] = -1, 0
            columns["fIndexArray_Mothers"] = (counts, mothers)

    found = faults(rewrite(made["ao2d"], tmp_path / "out.root", change))
    assert found["O2mcparticle_001.fIndexArray_Mothers: rows of O2mcparticle_001"][0] == 1
    assert found["O2mcparticle_001: mothers: of the same MC collision"][0] == 1


def test_first_and_last_mothers_of_version_0(made, tmp_path):
    def change(path, columns):
        if path == "DF_0/O2mcparticle":
            columns["fIndexMcParticles_Mother0"] = columns["fIndexMcParticles_Mother0"].copy()
            columns["fIndexMcParticles_Mother0"][10] = 10

    found = faults(rewrite(made["old"], tmp_path / "out.root", change))
    assert found["O2mcparticle: mothers: no particle is its own ancestor"] == (1, "DF_0/O2mcparticle row 10")


def test_units_and_branches_that_are_declared(made, tmp_path):
    with uproot.open(made["ao2d"]) as file:
        record = json.loads(str(file["provenance"]))
    record["identity"]["units"]["O2track.fZ"] = "mm"
    record["identity"]["units"]["O2track.fNone"] = "cm"
    path = shutil.copy(made["ao2d"], tmp_path / "out.root")
    with uproot.update(path) as file:
        file["provenance"] = json.dumps(record)
    assert faults(path) == {
        "declared units are those of the data model": (1, "O2track.fZ: mm, not cm"),
        "branches with a declared unit are there": (2, "DF_0: no branch O2track.fNone"),
        "provenance: the hash of the identity": (1, "was changed, or is missing"),
    }


def test_events_that_are_lost_are_missed(made, tmp_path):
    path = rewrite(made["ao2d"], tmp_path / "out.root", lambda path, _: not path.startswith("DF_1"))
    assert faults(path) == {"provenance: as many events as in the file": (1, "3 events, not 4")}


def foreign(path, **trees):
    """A small file as others might write it: trees by name, columns by name."""
    with uproot.recreate(path) as file:
        for name, columns in trees.items():
            arrays = {key: np.asarray(values) for key, values in columns.items()}
            tree = file.mktree(
                f"DF_12/{name}", {key: (a.dtype, a.shape[1:]) if a.ndim > 1 else a.dtype for key, a in arrays.items()}
            )
            tree.extend(arrays)
    return path


def i4(values):
    return np.array(values, dtype="i4")


def test_foreign_files_and_what_is_not_known_of_them(tmp_path):
    path = foreign(
        tmp_path / "AO2D.root",
        O2bc_001={"fGlobalBC": np.array([5, 9], dtype="u8")},
        O2collision_001={"fIndexBCs": np.array([0, -1], dtype="i4")},
        O2track_iu={"fIndexCollisions": np.array([-1, 0, 0, 1], dtype="i4"), "fSnp": np.zeros(4, dtype="f4")},
        O2ambiguoustrack={"fIndexTracks": np.array([0], dtype="i4"), "fIndexSliceBCs": np.array([[0, 2]], dtype="i4")},
        O2v0_002={"fIndexTracks_Pos": np.array([3], dtype="i4"), "fIndexTracks_Neg": np.array([4], dtype="i4")},
        O2mytable={"fIndexCollisions": i4([2]), "fIndexThings": i4([3]), "fX": np.array([np.nan])},
    )  # fmt: skip
    report = check(path)
    assert faults(path) == {
        "O2ambiguoustrack.fIndexSliceBCs: first and last row of O2bc_001, or -1, -1": (1, "DF_12/O2ambiguoustrack row 0: [0, 2]"),
        "O2v0_002.fIndexTracks_Neg: rows of O2track_iu, or -1": (1, "DF_12/O2v0_002 row 0: 4"),
        "O2mytable.fIndexCollisions: rows of O2collision_001, or -1": (1, "DF_12/O2mytable row 0: 2"),
        "O2mytable.fX: is finite": (1, "DF_12/O2mytable row 0: nan"),
    }  # fmt: skip
    assert report.unchecked == {
        "O2mytable": "a table that is not known: only its indices and that numbers are finite",
        "O2mytable.fIndexThings": "refers to Things, which is not known or not in the file",
        "provenance": "not written by fastsim",
    }


def test_tracks_without_a_collision_may_stand_first_or_last(tmp_path):
    for index in ([-1, -1, 0, 1], [0, 0, 1, -1]):
        tracks = {"fIndexCollisions": np.array(index, dtype="i4")}
        path = foreign(tmp_path / "a.root", O2collision_001={"fFlags": np.zeros(2, dtype="u2")}, O2track=tracks)
        assert faults(path) == {}


def test_trees_outside_of_frames_are_told(made, tmp_path):
    path = shutil.copy(made["ao2d"], tmp_path / "out.root")
    with uproot.update(path) as file:
        file.mktree("more/stuff", {"x": np.dtype("f4")}).extend({"x": np.zeros(1, dtype="f4")})
    assert check(path).unchecked == {"more/stuff": "a tree outside of data frames"}


@pytest.mark.parametrize("kind", ["ao2d", "nano", "delphes", "parquet", "rntuple"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_files_are_an_error(made, tmp_path, kind, share):
    content = made[kind].read_bytes()
    path = tmp_path / "cut"
    path.write_bytes(content[: max(10, int(share * len(content)))])
    with pytest.raises(InputError, match=r"cut: not a whole (ROOT|Parquet) file"):
        check(path)


def test_garbled_files_are_an_error(made, tmp_path):
    content = bytearray(made["ao2d"].read_bytes())
    with uproot.open(made["ao2d"]) as file:
        basket = file["DF_0/O2mcparticle_001/fPx"].basket_key(0)
        start, size = basket.fSeekKey, basket.fNbytes
    content[start + size // 2 : start + size - 8] = bytes(size - size // 2 - 8)
    path = tmp_path / "out.root"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"DF_0/O2mcparticle_001.fPx: cannot be read \(.*\): the file is damaged"):
        check(path)


def test_missing_and_unknown_files_are_errors(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        check(tmp_path / "none.root")
    (tmp_path / "text").write_text("text")
    with pytest.raises(InputError, match="not a whole ROOT file"):
        check(tmp_path / "text")
    with uproot.recreate(tmp_path / "other.root") as file:
        file.mktree("t", {"x": np.dtype("f4")})
    with pytest.raises(InputError, match="no data frames, and no tree Events or Delphes: nothing that can be checked"):
        check(tmp_path / "other.root")


def flat(path, tree, lists, *, counter, field, numbers=None):
    """A tree of two events with lists, as others might write it."""
    types, columns = {}, {}
    for name, fields in lists.items():
        columns[name] = ak.zip({key: ak.Array([np.asarray(e) for e in values]) for key, values in fields.items()})
        types[name] = columns[name].type.content
    for name, values in (numbers or {}).items():
        columns[name] = np.asarray(values)
        types[name] = columns[name].dtype
    with uproot.recreate(path) as file:
        file.mktree(tree, types, counter_name=counter, field_name=field).extend(columns)
    return path


def nano(path, **changes):
    """GenPart of 3 and 1 particles, Jet of 1 and 2, Electron of 0 and 1."""
    lists = {
        "GenPart": {
            "genPartIdxMother": [[-1, 0, 0], [-1]],
            "pdgId": [[23, 11, -11], [13]],
            "phi": [[0.0, 1.0, -2.0], [3.0]],
        },
        "Jet": {"pt": [[20.0], [30.0, 25.0]], "electronIdx1": [[-1], [0, -1]]},
        "Electron": {"jetIdx": [[], [1]], "genPartIdx": [[], [0]], "photonIdx": [[], [0]]},
    }
    for where, values in changes.items():
        collection, _, name = where.partition("_")
        lists[collection][name] = values
    return flat(path, "Events", lists, counter="n{}".format, field="{}_{}".format, numbers={"MET_pt": [1.0, 2.0]})


def test_nano_of_others(tmp_path):
    path = nano(tmp_path / "nano.root")
    assert faults(path) == {}
    assert check(path).unchecked["Electron_photonIdx"] == "an index of a collection that is not in the file"


@pytest.mark.parametrize(
    ("where", "values", "rule", "first"),
    [
        ("Electron_jetIdx", [[], [2]], "Electron_jetIdx: positions in Jet, or -1", "Events row 1: 2"),
        ("Jet_electronIdx1", [[0], [0, -1]], "Jet_electronIdx1: positions in Electron, or -1", "Events row 0: 0"),
        (
            "GenPart_genPartIdxMother",
            [[-1, 0, 3], [-1]],
            "GenPart_genPartIdxMother: positions in GenPart, or -1",
            "Events row 0: 3",
        ),
        (
            "GenPart_genPartIdxMother",
            [[-1, 2, 0], [-1]],
            "GenPart_genPartIdxMother: mothers before daughters",
            "Events row 0: 2",
        ),
        (
            "GenPart_genPartIdxMother",
            [[-1, 0, 0], [0]],
            "GenPart_genPartIdxMother: mothers before daughters",
            "Events row 1: 0",
        ),
        ("GenPart_pdgId", [[23, 0, 1], [13]], "GenPart_pdgId: is not 0", "Events row 0: 0"),
        ("GenPart_phi", [[0.0, 1.0, -2.0], [4.0]], "GenPart_phi: is from -pi to pi", "Events row 1: 4.0"),
        ("Jet_pt", [[np.nan], [1.0, 1.0]], "Jet_pt: is finite", "Events row 0: nan"),
        ("Jet_pt", [[5.0], [1.0, -1.0]], "Jet_pt: is not negative", "Events row 1: -1.0"),
    ],
)
def test_faults_of_nano(tmp_path, where, values, rule, first):
    assert faults(nano(tmp_path / "nano.root", **{where: values}))[rule] == (1, first)


def delphes(path, **changes):
    """Particle of 3 and 1, Track of 2 and 1."""
    lists = {
        "Particle": {
            "PID": [[23, 11, -11], [13]],
            "M1": [[-1, 0, 0], [-1]],
            "M2": [[-1, -1, -1], [-1]],
            "D1": [[1, -1, -1], [-1]],
            "D2": [[2, -1, -1], [-1]],
        },
        "Track": {"PT": [[1.0, 2.0], [3.0]], "Phi": [[0.0, 1.0], [2.0]], "Particle": [[1, 2], [0]]},
    }
    for where, values in changes.items():
        collection, _, name = where.partition("_")
        lists[collection][name] = values
    return flat(path, "Delphes", lists, counter="{}_size".format, field="{}.{}".format)


def test_delphes_of_others(tmp_path):
    assert faults(delphes(tmp_path / "delphes.root")) == {}


@pytest.mark.parametrize(
    ("where", "values", "rule", "first"),
    [
        ("Particle_M1", [[-1, 0, 3], [-1]], "Particle.M1: positions in Particle, or -1", "Delphes row 0: 3"),
        ("Particle_M2", [[-1, 0, 0], [-2]], "Particle.M2: positions in Particle, or -1", "Delphes row 1: -2"),
        ("Particle_D1", [[1, -1, -1], [1]], "Particle.D1: positions in Particle, or -1", "Delphes row 1: 1"),
        ("Particle_D2", [[9, -1, -1], [-1]], "Particle.D2: positions in Particle, or -1", "Delphes row 0: 9"),
        ("Track_Particle", [[1, 2], [1]], "Track.Particle: positions in Particle, or -1", "Delphes row 1: 1"),
        ("Particle_M1", [[-1, 0, 0], [0]], "Particle.M1, M2: no particle is its own ancestor", "Delphes row 1"),
        ("Track_PT", [[1.0, np.inf], [3.0]], "Track.PT: is finite", "Delphes row 0: inf"),
        ("Track_PT", [[1.0, -1.0], [3.0]], "Track.PT: is not negative", "Delphes row 0: -1.0"),
        ("Track_Phi", [[1.0, -1.0], [-4.0]], "Track.Phi: is from -pi to pi", "Delphes row 1: -4.0"),
    ],
)
def test_faults_of_delphes(tmp_path, where, values, rule, first):
    assert faults(delphes(tmp_path / "delphes.root", **{where: values}))[rule] == (1, first)


def test_lists_that_differ_in_length_are_named(tmp_path):
    """Each with a counter of its own, as careless writers have it."""
    columns = {"Jet.PT": ak.Array([[1.0, 2.0], [1.0]]), "Jet.Eta": ak.Array([[1.0], [1.0]])}
    with uproot.recreate(tmp_path / "delphes.root") as file:
        file.mktree("Delphes", {k: v.type.content for k, v in columns.items()}, counter_name="{}_size".format).extend(
            columns
        )
    found = faults(tmp_path / "delphes.root")
    assert found == {"Jet.Eta: as many as others of Jet": (1, "Delphes row 0: 1")}


def test_branches_that_are_no_numbers_are_told(tmp_path):
    with uproot.recreate(tmp_path / "delphes.root") as file:
        file.mktree("Delphes", {"Tower.Edges": np.dtype(("f4", (4,)))}).extend(
            {"Tower.Edges": np.zeros((2, 4), dtype="f4")}
        )
    assert check(tmp_path / "delphes.root").unchecked["Tower.Edges"] == "neither numbers nor lists of numbers"


@pytest.mark.parametrize("kind", ["parquet", "rntuple"])
def test_faults_of_our_own_columns(made, tmp_path, kind, monkeypatch):
    from importlib import import_module

    door = import_module(f"fastsim.io.{kind}")
    read = door.read_groups

    def broken(path):
        for group in read(path):
            columns = {column: values.copy() for column, values in group.columns.items()}
            columns[c.EVENT_ID][1] = 0
            columns[c.PARTICLE_INDEX][3] = 10**6
            columns[c.END_VERTEX][2] = -2
            columns[c.PDG][5] = 0
            columns[c.MOMENTUM[0]][7] = np.nan
            yield group._replace(columns=columns)

    monkeypatch.setattr(door, "read_groups", broken)
    assert faults(made[kind]) == {
        "particle.pdg: is not 0": (1, "event row 0: 0"),
        "particle.px: is finite": (1, "event row 0: nan"),
        "particle.end_vertex: positions in vertex, or -1": (1, "event row 0: -2"),
        "track.particle_index: positions in particle, or -1": (1, "event row 0: 1000000"),
        "event_id: ascends": (1, "event row 1: 0"),
    }


def brute_force_family(first, last, mothers):
    """Whether some daughter of each particle's range has no mothers that span it."""
    return [
        f >= 0 and any(not mothers[d] or not min(mothers[d]) <= p <= max(mothers[d]) for d in range(f, e + 1))
        for p, (f, e) in enumerate(zip(first, last, strict=True))
    ]


@pytest.mark.parametrize("seed", range(20))
def test_daughters_against_brute_force(seed):
    generator = np.random.default_rng(seed)
    n = 60
    first = generator.integers(-1, n, n)
    last = np.where(first >= 0, np.minimum(first + generator.integers(0, 30, n), n - 1), -1)
    mothers = [list(generator.integers(0, n, generator.integers(0, 3))) for _ in range(n)]
    mothers = [[*m, 0, n - 1] if generator.random() < 0.9 else m for m in mothers]
    counts, content = np.array([len(m) for m in mothers]), np.array([x for m in mothers for x in m])
    low, high = tools.lowest_and_highest(counts, content)
    assert tools.not_their_mother(first, last, low, high).tolist() == brute_force_family(first, last, mothers)


@pytest.mark.parametrize("seed", range(20))
def test_cycles_against_brute_force(seed):
    generator = np.random.default_rng(seed)
    n = 30
    child, mother = generator.integers(0, n, (2, 25))
    reach = np.zeros((n, n), dtype=int)
    reach[child, mother] = 1
    for _ in range(5):  # paths of up to 2^5 steps
        reach = ((reach + reach @ reach) > 0).astype(int)
    assert tools.in_cycles(child, mother, n).tolist() == (np.diag(reach) > 0).tolist()


@pytest.mark.parametrize(
    ("index", "bad"),
    [
        ([], []),
        ([0, 0, 1, 3], [0, 0, 0, 0]),
        ([-1, 0, 0, 1], [0, 0, 0, 0]),
        ([0, 1, 0], [0, 0, 1]),
        ([0, -1, 0, 1], [0, 0, 1, 0]),
        ([2, 1, 1, 3], [0, 1, 0, 0]),
    ],
)
def test_order_and_groups(index, bad):
    assert tools.not_grouped(np.array(index, dtype=int)).astype(int).tolist() == bad


@pytest.mark.parametrize(
    ("branch", "kind", "table"),
    [
        ("fIndexCollisions", "one", "collision"),
        ("fIndexTracks_Pos", "one", "track"),
        ("fIndexMcParticles_Mother0", "one", "mcparticle"),
        ("fIndexFwdTracks_MatchMCHTrack", "one", "fwdtrack"),
        ("fIndexSliceBCs", "slice", "bc"),
        ("fIndexSlice_Daughters", "slice", "mcparticle"),
        ("fIndexArray_Mothers", "array", "mcparticle"),
        ("fIndexArrayMcParticles", "array", "mcparticle"),
        ("fIndexHf2Prongs", "one", ""),
    ],
)
def test_names_of_indices(branch, kind, table):
    found = index_of(branch, "mcparticle")
    assert (found.kind, found.table) == (kind, table)


def test_names_of_tables():
    names = ["O2track_iu", "DF_3/O2bc_001", "O2trackcov_iu_001", "O2mccollisionlabel", "DbgEventExtra"]
    assert [table_of(name) for name in names] == ["track", "bc", "trackcov", "mccollisionlabel", ""]
    assert [version_of(name) for name in names] == [0, 1, 1, 0, 0]
    assert index_of("fPosX", "collision") is None
