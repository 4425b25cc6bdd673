"""Real ROOT reads every branch of every format, by TTree and by RDataFrame, and agrees with uproot; hadd joins files."""

from __future__ import annotations

import importlib.util
import json
import pickle
import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

import fastsim
from fastsim.io import aod_devices, aod_tables
from fastsim.run import make_pipeline
from tests import output_files
from tests.flow_cards import flow_card

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ROOT") is None, reason="real ROOT is not installed (pip install --pre root)"
)

# ROOT's names of the types; AO2D's leaf letters O b B s S i I l L F are these.
ROOT_TYPES = {
    "bool": "Bool_t", "uint8": "UChar_t", "int8": "Char_t", "uint16": "UShort_t", "int16": "Short_t", "uint32": "UInt_t",
    "int32": "Int_t", "uint64": "ULong64_t", "int64": "Long64_t", "float32": "Float_t", "float64": "Double_t",
}  # fmt: skip
COUNTERS = {"delphes": "{}_size", "nano": "n{}"}


def read_with_root(path, folder):
    """Trees, RNTuples and texts as ROOT sees them."""
    script = Path(__file__).parent / "read_with_root.py"
    subprocess.run([sys.executable, script, path, folder / "seen"], check=True, timeout=300)
    return pickle.loads((folder / "seen").read_bytes())


@pytest.fixture(scope="module")
def seen(written, tmp_path_factory):
    return written, *read_with_root(written, tmp_path_factory.mktemp("root"))


def _devices(folder):
    """Columns of devices of the file's card, as a door gets them."""
    made = make_pipeline(flow_card(folder)).makes
    return [column for column in made if column.table == "cluster" or column.name.startswith(("ecal", "hcal"))]


def test_leaves_have_the_types_that_are_declared(seen, tmp_path_factory):
    path, trees, ntuples, texts = seen
    assert not ntuples
    if path.stem == "ao2d":
        output = fastsim.load_card("alice3").card.output
        model = aod_tables.trees(output) | aod_devices.trees_of_devices(_devices(tmp_path_factory.mktemp("card")))
        assert "O2a3ecal" in model
        assert set(trees) == {f"DF_{i}/{name}" for i in (0, 1) for name in model}
        for name, tree in trees.items():
            assert tree["leaves"] == aod_leaves(model[name.split("/")[1]].branches), name
        return
    (tree,) = trees.values()
    leaves = {name: (kind, length, counter) for name, kind, length, counter in tree["leaves"]}
    branches = json.loads(texts["branches"])
    counters = {counter for _, _, counter in leaves.values()} - {""}
    assert counters
    for name, branch in branches.items():
        counter = COUNTERS[path.stem].format(name.partition("." if path.stem == "delphes" else "_")[0])
        assert leaves[name] == (ROOT_TYPES[branch["type"]], 1, counter if counter in counters else ""), name
    assert set(leaves) - set(branches) == counters
    assert {leaves[name] for name in counters} == {("Int_t", 1, "")}


def aod_leaves(branches):
    """Leaves of the branches of a table; a counter stands directly before its list, as O2's reader demands."""
    expected = []
    for branch in branches:
        if str(branch.dtype).startswith("var"):
            kind = ROOT_TYPES[branch.dtype.removeprefix("var * ")]
            expected += [(f"{branch.name}_size", "Int_t", 1, ""), (branch.name, kind, 1, f"{branch.name}_size")]
        else:
            dtype = np.dtype(branch.dtype)
            expected.append((branch.name, ROOT_TYPES[dtype.base.name], int(np.prod(dtype.shape)), ""))
    return expected


def as_words(values):
    """The same with NaN as a word, which is equal to itself."""
    if isinstance(values, list):
        return [as_words(v) for v in values]
    return "nan" if values != values else values  # noqa: PLR0124  (that is how to find it)


def test_root_and_uproot_read_the_same(seen):
    path, trees, _, _ = seen
    with uproot.open(path) as file:
        for name, tree in trees.items():
            ours = {branch.name: ak.to_list(branch.array()) for branch in file[name].branches}
            assert tree["entries"] == file[name].num_entries, name
            assert set(tree["columns"]) == (set(ours) if tree["entries"] else set()), name
            for column, values in tree["columns"].items():
                assert as_words(values) == as_words(ours[column]), f"{name}.{column}"
            assert set(tree["first"]) == set(tree["columns"]), name
            for leaf, values in tree["first"].items():
                want = ours[leaf][: len(values)]
                got = [v if isinstance(w, list) else v[0] for v, w in zip(values, want, strict=True)]
                assert as_words(got) == as_words(want), f"{name}.{leaf}"


def test_root_reads_the_provenance(seen):
    _, _, _, texts = seen
    assert json.loads(texts["provenance"])["identity"]["run_seed"] == 1


def test_root_and_uproot_read_the_same_rntuple(ttbar, tmp_path):
    path = tmp_path / "out.root"
    output_files.write("rntuple", ttbar, path, events=(0, 3))
    trees, ntuples, texts = read_with_root(path, tmp_path)
    assert not trees
    assert json.loads(texts["provenance"])["identity"]["run_seed"] == 1
    with uproot.open(path) as file:
        events = file["events"].arrays()
    leaves = {}
    for name in events.fields:
        lists = {f"{name}.{member}": events[name, member] for member in events[name].fields}
        leaves |= lists or {name: events[name]}
    assert set(ntuples["events"]) == set(leaves)
    assert len(leaves["tracks.pt"][0]) > 10
    for name, values in ntuples["events"].items():
        assert as_words(values) == as_words(ak.to_list(leaves[name])), name


def hadd(target, *sources):
    """Join files with ROOT's own program."""
    program = Path(importlib.util.find_spec("ROOT").origin).parent / "bin" / "hadd"
    done = subprocess.run([program, target, *sources], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", output_files.TTREE_FORMATS)
def test_hadd_of_two_halves_is_the_whole(name, ttbar, tmp_path):
    """Halves that are cut where a data frame ends."""
    ranges = {"whole": (0, 4), "first": (0, 2), "second": (2, 4)}
    paths = {half: tmp_path / f"{half}.root" for half in ranges}
    for half, events in ranges.items():
        output_files.write(name, ttbar, paths[half], "output.events_per_frame=2", events=events)
    joined = tmp_path / "joined.root"
    hadd(joined, paths["first"], paths["second"])
    assert output_files.same(output_files.read(joined), output_files.read(paths["whole"]))


def test_hadd_of_data_frames_of_one_name_spoils_their_indices(ttbar, tmp_path):
    """It puts rows behind one another and changes no index: `fastsim merge` is for that, as docs/outputs.md says."""
    for half, events in (("first", (0, 1)), ("second", (1, 2))):
        output_files.write("ao2d", ttbar, tmp_path / f"{half}.root", "output.events_per_frame=2", events=events)
    joined = tmp_path / "joined.root"
    hadd(joined, tmp_path / "first.root", tmp_path / "second.root")
    found = output_files.read(joined)
    assert {name.split("/")[0] for name in found} == {"DF_0"}
    assert found["DF_0/O2collision_001/fIndexBCs"].tolist() == [0, 0]
    assert set(found["DF_0/O2track/fIndexCollisions"].tolist()) == {0}
