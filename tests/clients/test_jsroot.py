"""JSROOT (what browsers show ROOT files with) reads every branch of every tree in Node, and agrees with uproot."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp

import awkward as ak
import numpy as np
import pytest
import uproot

VERSION = "7.11.2"
NODE, NPM = shutil.which("node"), shutil.which("npm")
SCRIPT = Path(__file__).parent / "read_with_jsroot.mjs"
pytestmark = pytest.mark.skipif(NODE is None or NPM is None, reason="node and npm are not installed")

LETTERS = {
    "bool": "O",
    "uint8": "b",
    "int8": "B",
    "uint16": "s",
    "int16": "S",
    "uint32": "i",
    "int32": "I",
    "uint64": "l",
    "int64": "L",
    "float32": "F",
    "float64": "D",
}  # fmt: skip  (ROOT, TTree::Branch)


@pytest.fixture(scope="session")
def jsroot():
    """The package, from npm once and then from the cache. Its scripts build a drawing library, which reading does not need."""
    home = Path(os.environ["FASTSIM_CACHE_DIR"]) / f"jsroot-{VERSION}"
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(dir=home.parent))
        command = [
            NPM,
            "install",
            "--ignore-scripts",
            "--omit=optional",
            "--no-audit",
            "--no-fund",
            "--fetch-retries=1",
        ]
        done = subprocess.run(
            [*command, "--prefix", folder, f"jsroot@{VERSION}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        if done.returncode:
            shutil.rmtree(folder)
            unreachable = re.search("ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT", done.stderr)
            (pytest.skip if unreachable else pytest.fail)(f"jsroot cannot be installed: {done.stderr[-500:]}")
        try:
            folder.rename(home)
        except OSError:  # another test run was faster
            shutil.rmtree(folder)
    return home / "node_modules" / "jsroot"


def read(jsroot, path):
    """What JSROOT sees in a file: its trees (entries, leaf lists, values by branch) and texts."""
    done = subprocess.run([NODE, SCRIPT, jsroot, path], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def leaf_list(branch, array):
    """What ROOT calls the leaves of a branch of numbers: name[length]/letter."""
    counter = branch.count_branch
    lengths = [counter.name] if counter is not None else [str(n) for n in np.shape(array)[1:]]
    content = ak.flatten(array, axis=None) if counter is not None else array
    return branch.name + "".join(f"[{n}]" for n in lengths) + "/" + LETTERS[ak.to_numpy(content).dtype.name]


def as_json(value):
    """The same value after a way through JSON, where NaN and infinities are words."""
    if isinstance(value, list):
        return [as_json(v) for v in value]
    words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return words.get(str(value), value) if isinstance(value, float) else value


def test_jsroot_and_uproot_read_the_same(jsroot, written):
    seen = read(jsroot, written)
    with uproot.open(written) as file:
        names = {name for name, kind in file.classnames(cycle=False).items() if kind == "TTree"}
        assert set(seen["trees"]) == names
        lists = 0
        for name, tree in seen["trees"].items():
            ours = file[name]
            assert tree["entries"] == ours.num_entries, name
            assert list(tree["values"]) == list(tree["leaves"]) == [branch.name for branch in ours.branches], name
            for branch in ours.branches:
                array = branch.array()
                assert tree["leaves"][branch.name] == leaf_list(branch, array), f"{name}.{branch.name}"
                assert tree["values"][branch.name] == as_json(ak.to_list(array)), f"{name}.{branch.name}"
                lists += array.ndim > 1 and ak.count(array) > 0
        assert lists > 0  # and not of nothing but numbers and empty lists
        texts = [name for name, kind in file.classnames(cycle=False).items() if kind == "TObjString"]
        assert "provenance" in texts
        assert seen["texts"] == {name: str(file[name]) for name in texts}
