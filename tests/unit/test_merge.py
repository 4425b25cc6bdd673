"""Shards merge into the file of the unsplit run, to the bit; what does not belong together is refused, with names."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import uproot

import fastsim
from fastsim import provenance
from fastsim.errors import InputError, UsageError
from fastsim.io import join
from fastsim.io.check import check
from fastsim.io.inspect import digest, read_provenance
from fastsim.merge import merge
from tests import hepmc_files as files

FORMATS = ["ao2d", "nano", "delphes", "parquet", "rntuple"]
GUN = """schema_version = 1
kind = "gun"
n_events = 5
[[particles]]
pdg = [211, -11]
n = 4
pt = { min = 0.1, max = 5 }
eta = { min = -1, max = 1 }
phi = { min = -3, max = 3 }
"""


@pytest.fixture(scope="module", autouse=True)
def same_code():
    """Shards are made by one code: who edits it while these tests run does not disturb them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "source_hash", lambda *_: "the code")
        yield


def run(path, inputs, *sets, events=(0, None), seed=None):
    card = fastsim.load_card("alice3", sets=["output.events_per_frame=7", *sets], seed=seed)
    fastsim.simulate_files([inputs] if isinstance(inputs, str) else inputs, card, path, events=events)
    return path


@pytest.fixture(scope="module")
def shards(ttbar, tmp_path_factory):
    """An unsplit AO2D file of 40 events in frames of 7, and shards cut within frames."""
    folder = tmp_path_factory.mktemp("shards")
    ranges = {"all": (0, None), "a": (0, 10), "b": (10, 12), "c": (12, 24), "d": (24, None), "none": (12, 12)}
    return {name: run(folder / f"{name}.root", ttbar, events=events) for name, events in ranges.items()}


def forged(path, source, change):
    """A copy whose provenance `change(record)` has changed, with the hash that it then should have."""
    shutil.copy(source, path)
    record = read_provenance(path)
    change(record)
    record["identity"] = provenance.sealed(record["identity"])
    return written(path, json.dumps(record))


def written(path, text):
    with uproot.update(path) as file:
        del file["provenance"]
        file["provenance"] = text
    return path


@pytest.mark.parametrize("order", ["abcd", "dcba", "bdac"])
def test_shards_become_the_unsplit_file(shards, tmp_path, order):
    """Frames 1 and 3 are split, frame 1 between three shards."""
    done = merge([shards[name] for name in order], tmp_path / "out.root")
    one, whole = read_provenance(tmp_path / "out.root"), read_provenance(shards["all"])
    assert digest(tmp_path / "out.root") == digest(shards["all"])
    assert one["identity"] == whole["identity"]
    assert one["summary"] == whole["summary"]
    assert done == (40, 4, whole["identity"]["sha256"], [], [])
    assert [part["events"] for part in one["circumstance"]["merged"]] == [[0, 10], [10, 12], [12, 24], [24, 40]]
    assert check(tmp_path / "out.root").n_faults == 0


def test_merged_files_and_empty_shards_can_be_merged(shards, tmp_path):
    merge([shards["b"], shards["a"]], tmp_path / "ab.root")
    merge([shards["d"], shards["none"], shards["c"]], tmp_path / "cd.root")
    merge([tmp_path / "cd.root", tmp_path / "ab.root"], tmp_path / "out.root")
    assert digest(tmp_path / "out.root") == digest(shards["all"])
    assert read_provenance(tmp_path / "out.root")["identity"] == read_provenance(shards["all"])["identity"]


def test_size_of_pieces_changes_nothing(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(join, "PIECE", "5 kB")
    merge([shards[name] for name in "abcd"], tmp_path / "out.root", compression_level=0)
    assert digest(tmp_path / "out.root") == digest(shards["all"])
    assert read_provenance(tmp_path / "out.root")["circumstance"]["output.compression_level"] == 0


@pytest.mark.parametrize("kind", FORMATS[1:])
def test_other_formats(ttbar, tmp_path, kind, monkeypatch):
    monkeypatch.setattr(join, "PIECE", "20 kB")
    option = f"output.format={kind!r}"
    whole = run(tmp_path / "whole", ttbar, option, events=(0, 9))
    parts = [run(tmp_path / f"{a}:{b}", ttbar, option, events=(a, b)) for a, b in ((4, 9), (0, 4), (4, 4))]
    merge(parts, tmp_path / "out")
    assert digest(tmp_path / "out") == digest(whole)
    assert read_provenance(tmp_path / "out")["identity"] == read_provenance(whole)["identity"]
    assert check(tmp_path / "out").n_faults == 0


@pytest.mark.parametrize("kind", FORMATS)
def test_shards_without_events(tmp_path, kind):
    (tmp_path / "none.hepmc").write_bytes(files.empty())
    option, source = f"output.format={kind!r}", str(tmp_path / "none.hepmc")
    parts = [run(tmp_path / f"{i}", source, option, events=events) for i, events in enumerate(((0, None), (0, 0)))]
    merge(parts, tmp_path / "out")
    assert digest(tmp_path / "out") == digest(parts[0])


def test_several_inputs_and_tables_of_version_0(ttbar, tmp_path):
    """Cut within and between the files; first and last mothers as numbers."""
    for name, n in (("a", 5), ("b", 6)):
        (tmp_path / f"{name}.hepmc").write_bytes(files.sample(n))
    inputs = [str(tmp_path / f"{name}.hepmc") for name in "ab"]
    old = ["output.ao2d.versions.mcparticle=0", "output.truth='all'"]
    whole = run(tmp_path / "whole.root", inputs, *old)
    ranges = ((0, 3), (3, 5), (5, 9), (9, None))
    parts = [run(tmp_path / f"{a}.root", inputs, *old, events=(a, b)) for a, b in ranges]
    merge(parts[::-1], tmp_path / "out.root")
    assert digest(tmp_path / "out.root") == digest(whole)
    assert read_provenance(tmp_path / "out.root")["identity"] == read_provenance(whole)["identity"]
    assert run(tmp_path / "ttbar.root", ttbar, *old, events=(0, 9))
    with pytest.raises(InputError, match=r"9.root: made of other inputs than .*ttbar.root\nhint: shards of one run"):
        merge([parts[3], tmp_path / "ttbar.root"], tmp_path / "other.root")
    assert not (tmp_path / "other.root").exists()


def test_gaps_are_refused_or_told(shards, tmp_path):
    with pytest.raises(
        InputError, match=r"events 10:24 are missing between .*a.root and .*d.root\nhint: make them, or"
    ):
        merge([shards["d"], shards["a"]], tmp_path / "out.root")
    done = merge([shards["d"], shards["a"]], tmp_path / "out.root", allow_gaps=True)
    assert done.missing == [(10, 24)]
    assert done.n_events == 26
    identity = read_provenance(tmp_path / "out.root")["identity"]
    assert identity["events"] == {"first": 0, "end": 40, "missing": [[10, 24]]}
    assert (
        identity["sha256"]
        == provenance.sealed(identity)["sha256"]
        != read_provenance(shards["all"])["identity"]["sha256"]
    )
    with uproot.open(tmp_path / "out.root") as file:
        assert file["DF_1/O2bc_001/fGlobalBC"].array().tolist() == [7, 8, 9]
    with pytest.raises(
        InputError, match="some are in both\nhint: leave one of them out; a file that was merged with gaps"
    ):
        merge([tmp_path / "out.root", shards["b"]], tmp_path / "more.root")


def test_overlaps_are_refused(shards, tmp_path):
    what = r"b.root: holds events 10:12, and .*all.root 0:40: some are in both"
    with pytest.raises(InputError, match=what):
        merge([shards["b"], shards["all"]], tmp_path / "out.root")
    shutil.copy(shards["a"], tmp_path / "again.root")
    with pytest.raises(InputError, match=r"holds events 0:10, and .* 0:10: some are in both"):
        merge([shards["a"], tmp_path / "again.root"], tmp_path / "out.root")
    with pytest.raises(UsageError, match=r"a.root: is given twice"):
        merge([shards["a"], shards["a"]], tmp_path / "out.root")


def test_output_is_not_to_be_an_input_or_there_already(shards, tmp_path):
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"a.root: is an input of this very run"):
            merge([shards["a"], shards["b"]], shards["a"], overwrite=overwrite)
    (tmp_path / "out.root").write_text("old")
    with pytest.raises(UsageError, match="exists already"):
        merge([shards["a"], shards["b"]], tmp_path / "out.root")
    assert (tmp_path / "out.root").read_text() == "old"
    merge([shards["a"], shards["b"]], tmp_path / "out.root", overwrite=True)
    assert check(tmp_path / "out.root").n_faults == 0


DIFFERENT = {
    "seed": (lambda r: r["identity"].update(run_seed=2), "run_seed is 2, there 1\nhint: shards of one run are made by"),
    "card": (
        lambda r: r["identity"]["resolved"]["card"]["tracking"].update(dnch_deta_eta_max=0.3),
        r"card.tracking.dnch_deta_eta_max is 0.3, there 0.8",
    ),
    "detector": (lambda r: r["identity"]["resolved"]["detector"].update(b_z=1.0), "detector.b_z is 1.0, there 2.0"),
    "table": (lambda r: r["identity"]["luts"]["pi"].update(key="k"), "luts.pi.key is 'k', there '"),
    "version": (
        lambda r: r["identity"].update(fastsim="9"),
        "fastsim is '9', there '.*'\nhint: make all files with one",
    ),
    "code": (
        lambda r: r["identity"].update(source_sha256="0"),
        "source_sha256 is '0', there 'the code'\nhint: make all",
    ),
    "conversion": (
        lambda r: r["identity"].update(converted={"from": "parquet"}),
        r"converted is \{'from': 'parquet'\}, there missing\nhint: merge the files as they were made, and convert",
    ),
    "package": (lambda r: r["identity"]["packages"].pop("numpy"), "packages.numpy is missing, there '"),
    "format": (
        lambda r: r["identity"].update(fastsim="9", units={"O2track/fZ": "mm"}),
        r"fastsim is '9', there '.*'\nhint: make all files",
    ),
    "two things": (
        lambda r: r["identity"].update(run_seed=2, fastsim="9"),
        r"fastsim is '9', there '.*' \(and 1 more\)",
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_files_made_in_other_ways_are_refused(shards, tmp_path, name):
    change, what = DIFFERENT[name]
    other = forged(tmp_path / "other.root", shards["b"], change)
    with pytest.raises(InputError, match=r"other.root: made in another way than .*a.root: " + what):
        merge([shards["a"], other], tmp_path / "out.root")


def test_formats_are_not_mixed(shards, ttbar, tmp_path):
    run(tmp_path / "nano.root", ttbar, "output.format='nano'", events=(10, 11))
    with pytest.raises(InputError, match=r"nano.root: is of the format nano, .*a.root of ao2d"):
        merge([shards["a"], tmp_path / "nano.root"], tmp_path / "out.root")


def test_files_of_others_and_damaged_provenance(shards, tmp_path):
    with uproot.recreate(tmp_path / "other.root") as file:
        file.mktree("t", {"x": np.dtype("f4")})
    with pytest.raises(
        InputError, match=r"has no provenance: not written by fastsim\nhint: ROOT's hadd merges any files"
    ):
        merge([shards["a"], tmp_path / "other.root"], tmp_path / "out.root")
    path = shutil.copy(shards["a"], tmp_path / "damaged.root")
    with pytest.raises(InputError, match=r"damaged.root: has no provenance"):
        merge([written(path, "{"), shards["b"]], tmp_path / "out.root")
    with pytest.raises(
        InputError, match=r"damaged.root: its provenance is damaged \(KeyError: 'identity'\)\nhint: make the file"
    ):
        merge([written(path, "{}"), shards["b"]], tmp_path / "out.root")
    record = read_provenance(shards["a"])
    record["identity"]["run_seed"] = 7
    with pytest.raises(InputError, match="its provenance was changed: the hash of its identity is another"):
        merge([written(path, json.dumps(record)), shards["b"]], tmp_path / "out.root")
    forged(path, shards["a"], lambda r: r["identity"]["resolved"]["card"]["output"].update(truth="some"))
    with pytest.raises(InputError, match="the options of its output are not those of this version"):
        merge([path], tmp_path / "out.root")
    with pytest.raises(InputError, match="no such file"):
        merge([tmp_path / "none.root"], tmp_path / "out.root")
    assert not (tmp_path / "out.root").exists()


def test_events_that_the_provenance_does_not_speak_of(shards, tmp_path):
    def say(events, n):
        def change(record):
            record["identity"]["events"] = dict(zip(("first", "end"), events, strict=True))
            record["summary"]["events"] = n

        return forged(tmp_path / "told.root", shards["b"], change)

    with pytest.raises(InputError, match=r"told.root: holds event 10, and its provenance speaks of 11:12"):
        merge([say((11, 12), 1)], tmp_path / "out.root")
    with pytest.raises(InputError, match=r"told.root: holds 2 events, and its provenance speaks of 3"):
        merge([say((10, 12), 3)], tmp_path / "out.root")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["told.root"]


def copy_frames(source, target, rename=lambda name: name, change=lambda _, columns: columns):
    """A copy of an AO2D file with other names of trees, or other columns."""
    with uproot.open(source) as file, join.RootFile(target, compression_level=0) as out:
        for key in (key for key, kind in file.classnames(cycle=False).items() if kind == "TTree"):
            if not (name := rename(key)):
                continue
            rows = change(key, {**next(iter(join.pieces(file[key])), {})})
            types = {b: t for b, t in join.branch_types(file[key]).items() if not rows or b in rows}
            out.add_tree(name, types)
            if rows:
                out.extend(name, rows)
        out.close({"provenance": str(file["provenance"])})
    return target


DAMAGED = {
    "a tree less": (
        {"rename": lambda name: name if name != "DF_1/O2track" else ""},
        "DF_1: has other trees than the frames before it",
    ),
    "a tree elsewhere": (
        {"rename": lambda name: name.replace("DF_1/O2track", "D/O2track")},
        "D/O2.*: a tree outside of data frames",
    ),
    "no frame": (
        {"rename": lambda name: name.replace("DF_1/", "D/")},
        "its columns are of no format that is known: the file is damaged",
    ),
    "a branch less": (
        {"change": lambda _, rows: {key: value for key, value in rows.items() if key != "fTgl"}},
        "O2track: has other branches than in the files before it",
    ),
    "events in disorder": (
        {"change": lambda _, rows: rows | ({"fGlobalBC": rows["fGlobalBC"][::-1]} if "fGlobalBC" in rows else {})},
        "its events are not in ascending order",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused(shards, tmp_path, name):
    how, what = DAMAGED[name]
    path = copy_frames(shards["b"], tmp_path / "damaged.root", **how)
    with pytest.raises(InputError, match=what):
        merge([shards["a"], path], tmp_path / "out.root")
    assert not (tmp_path / "out.root").exists()


def test_garbled_files_are_refused(shards, tmp_path):
    content = bytearray(shards["b"].read_bytes())
    with uproot.open(shards["b"]) as file:
        basket = file["DF_1/O2track/fTgl"].basket_key(0)
    start, size = basket.fSeekKey, basket.fNbytes
    content[start + size // 2 : start + size] = bytes(size - size // 2)
    (tmp_path / "bad.root").write_bytes(content)
    with pytest.raises(InputError, match=r"bad.root: DF_1/O2track.fTgl: cannot be read \(.*\): the file is damaged"):
        merge([shards["a"], tmp_path / "bad.root"], tmp_path / "out.root")
    (tmp_path / "cut.root").write_bytes(shards["b"].read_bytes()[:-100])
    with pytest.raises(InputError, match=r"cut.root: not a whole ROOT file"):
        merge([shards["a"], tmp_path / "cut.root"], tmp_path / "out.root")
    assert not (tmp_path / "out.root").exists()


def test_index_of_an_unknown_table_in_a_split_frame(shards, tmp_path, monkeypatch):
    monkeypatch.delitem(join.aod_names.LABELS, "Collisions")
    with pytest.raises(InputError, match=r"O2track.fIndexCollisions: refers to a table that is not known"):
        merge([shards["a"], shards["b"]], tmp_path / "out.root")


def test_more_rows_than_indices_can_name(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(join, "MAX_ROWS", 100)
    with pytest.raises(InputError, match=r"DF_\d/O2\w+ would have over 2\^31 rows"):
        merge([shards["a"], shards["b"]], tmp_path / "out.root")


def test_other_trees_in_a_flat_file(ttbar, tmp_path):
    option = "output.format='nano'"
    a, b = (run(tmp_path / f"{i}.root", ttbar, option, events=(i, i + 1)) for i in (0, 1))
    with uproot.update(b) as file:
        file.mktree("Runs", {"x": np.dtype("f4")})
    with pytest.raises(InputError, match=r"1.root: has the trees Events, Runs, the files before it others"):
        merge([a, b], tmp_path / "out.root")


@pytest.mark.parametrize("kind", FORMATS)
def test_independent_runs(ttbar, tmp_path, kind):
    """Seeds 1 and 2 of a gun, and another input: new positions in new data frames, columns as they were."""
    (tmp_path / "gun.toml").write_text(GUN)
    option = f"output.format={kind!r}"
    a = run(tmp_path / "a", str(tmp_path / "gun.toml"), option)
    b = run(tmp_path / "b", str(tmp_path / "gun.toml"), option, seed=2)
    d = run(tmp_path / "d", ttbar, option, seed=3, events=(9, 11))
    done = merge([a, b, d], tmp_path / "out", renumber=True)
    assert (done.n_events, done.notes, done.missing) == (12, [], [])
    assert check(tmp_path / "out").n_faults == 0
    runs = read_provenance(tmp_path / "out")["identity"]["runs"]
    assert [(one["run_seed"], one["shift"]) for one in runs] == [(1, 0), (2, 7), (3, 7)]
    if kind == "ao2d":  # 0-4, 5 events behind the next multiple of 7, and 9 and 10 behind the one after it
        with uproot.open(tmp_path / "out") as file, uproot.open(d) as last:
            ids = [file[f"DF_{i}/O2bc_001/fGlobalBC"].array().tolist() for i in range(3)]
            for branch in ("fIndexCollisions", "fTgl"):
                mine, other = file[f"DF_2/O2track/{branch}"].array(), last[f"DF_1/O2track/{branch}"].array()
                assert mine.tolist() == other.tolist()
        assert ids == [[0, 1, 2, 3, 4], [7, 8, 9, 10, 11], [16, 17]]
    with pytest.raises(
        InputError, match=r"out: holds independent runs, with events of new numbers\nhint: merge it with"
    ):
        merge([tmp_path / "out", a], tmp_path / "more")
    with pytest.raises(InputError, match=re.escape("has the same seed (1) as")):
        merge([tmp_path / "out", a], tmp_path / "more", renumber=True)
    c = run(tmp_path / "c", str(tmp_path / "gun.toml"), option, seed=4)
    assert merge([tmp_path / "out", c], tmp_path / "more", renumber=True).n_events == 17
    assert check(tmp_path / "more").n_faults == 0


def test_draws_in_common_are_refused(shards, ttbar, tmp_path):
    what = r"b.root: has the same seed \(1\) as .*all.root, and events of the same positions \(10:12 and 0:40\)\nhint: their"
    with pytest.raises(InputError, match=what):
        merge([shards["all"], shards["b"]], tmp_path / "out.root", renumber=True)
    run(tmp_path / "again.root", ttbar, events=(10, 12), seed=2)
    done = merge([shards["b"], tmp_path / "again.root"], tmp_path / "out.root", renumber=True)
    assert len(done.notes) == 1
    assert re.fullmatch(r".*b.root and .*again.root hold generated events of the same file, .*zst", done.notes[0])
