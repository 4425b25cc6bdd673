"""Real ROOT reads every branch of every tree, by TTree and by RDataFrame, and agrees with uproot."""

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
from fastsim.io.aod import TREES

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ROOT") is None, reason="real ROOT is not installed (pip install --pre root)"
)

# ROOT's names of the types; AO2D's leaf letters O b B s S i I l L F are these.
ROOT_TYPES = {
    "bool": "Bool_t", "uint8": "UChar_t", "int8": "Char_t", "uint16": "UShort_t", "int16": "Short_t", "uint32": "UInt_t",
    "int32": "Int_t", "uint64": "ULong64_t", "int64": "Long64_t", "float32": "Float_t", "float64": "Double_t",
}  # fmt: skip


@pytest.fixture(scope="module")
def seen(ttbar, tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    card = fastsim.load_card("alice3", sets=["output.events_per_frame=2"])
    fastsim.simulate_files([ttbar], card, folder / "out.root", events=(0, 3))
    script = Path(__file__).parent / "read_with_root.py"
    subprocess.run([sys.executable, script, folder / "out.root", folder / "seen"], check=True, timeout=300)
    return folder / "out.root", *pickle.loads((folder / "seen").read_bytes())


def test_leaves_have_the_types_of_the_data_model(seen):
    _, trees, _ = seen
    assert set(trees) == {f"DF_{i}/{name}" for i in (0, 1) for name in TREES}
    for name, tree in trees.items():
        expected = []
        for branch in TREES[name.split("/")[1]]:
            if str(branch.dtype).startswith("var"):  # the counter directly before its list, as O2's reader demands
                expected += [(f"{branch.name}_size", "Int_t", 1, ""), (branch.name, "Int_t", 1, f"{branch.name}_size")]
            else:
                dtype = np.dtype(branch.dtype)
                expected.append((branch.name, ROOT_TYPES[dtype.base.name], int(np.prod(dtype.shape)), ""))
        assert tree["leaves"] == expected, name


def test_root_and_uproot_read_the_same(seen):
    path, trees, _ = seen
    with uproot.open(path) as file:
        for name, tree in trees.items():
            ours = file[name].arrays()
            assert tree["entries"] == len(ours) > 0
            for column, values in tree["columns"].items():
                assert ak.to_list(ours[column]) == values, f"{name}.{column}"
            for leaf, values in tree["first"].items():
                want = ak.to_list(ours[leaf][: len(values)])
                got = [v if isinstance(w, list) else v[0] for v, w in zip(values, want, strict=True)]
                assert got == want, f"{name}.{leaf}"
            assert set(tree["columns"]) >= {branch.name for branch in TREES[name.split("/")[1]]}


def test_root_reads_the_provenance(seen):
    _, _, text = seen
    assert json.loads(text)["identity"]["run_seed"] == 1
