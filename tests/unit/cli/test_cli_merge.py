"""`fastsim merge` and `fastsim inspect --check` as people call them: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys

import pytest
import uproot

import fastsim
from fastsim import provenance
from fastsim.io.inspect import digest
from fastsim.merge import merge


@pytest.fixture(scope="module")
def shards(ttbar, tmp_path_factory):
    """Events 0:3, 3:5, and 8:9."""
    folder = tmp_path_factory.mktemp("shards")
    card = fastsim.load_card("alice3", sets=["output.events_per_frame=2"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "source_hash", lambda *_: "the code")
        for first, end in ((0, 3), (3, 5), (8, 9)):
            fastsim.simulate_files([ttbar], card, folder / f"{first}.root", events=(first, end))
    return folder


def test_merge_and_check(fastsim, shards, tmp_path):
    out = tmp_path / "out.root"
    done = fastsim("merge", out, shards / "3.root", shards / "0.root")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{out}  5 events of 2 files, ")
    done = fastsim("inspect", out)
    assert "   merged  of 2 files\n" in done.out
    done = fastsim("inspect", out, "--check")
    assert done.code == 0
    assert re.search(r"│ O2track +│ +\d\d │ +[\d,]+ │ +ok │", done.out)
    assert re.search(r"│ \d+ empty tables +│ +\d+ │ +0 │ +ok │", done.out)
    assert done.out.rstrip().endswith(" rules hold")
    data = json.loads(fastsim("inspect", out, "--check", "--json").out)
    assert (data["format"], data["faults"], data["not_checked"]) == ("ao2d", 0, {})
    row = next(one for one in data["checks"] if one["what"] == "O2bc_001.fGlobalBC: ascends")
    assert row == {"what": "O2bc_001.fGlobalBC: ascends", "n_rows": 5, "n_faults": 0, "first": ""}


def test_gaps_and_json(fastsim, shards, tmp_path):
    out = tmp_path / "out.root"
    done = fastsim("merge", out, shards / "8.root", shards / "0.root", shards / "3.root")
    assert done.code == 4
    assert "error: events 5:8 are missing between " in done.err
    assert not out.exists()
    done = fastsim("merge", out, shards / "8.root", shards / "0.root", "--allow-gaps")
    assert "note events 3:8 are missing\n" in done.out
    done = fastsim("merge", out, shards / "8.root", shards / "0.root", "--allow-gaps", "--json", "--overwrite")
    data = json.loads(done.out)
    assert (data["n_events"], data["missing"], data["output"]) == (4, [[3, 8]], str(out))
    assert fastsim("merge", out, shards / "0.root").code == 2
    assert fastsim("merge", out, shards / "0.root", "--overwrite", "--quiet").out == ""


def test_renumbered(fastsim, ttbar, shards, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "source_hash", lambda *_: "the code")
    sets = ("--set", "output.events_per_frame=2")
    assert (
        fastsim("run", ttbar, "-o", tmp_path / "b.root", "--events", "0:1", "--seed", "5", "--quiet", *sets).code == 0
    )
    done = fastsim("merge", tmp_path / "out.root", shards / "0.root", tmp_path / "b.root")
    assert done.code == 4
    assert "hint: shards of one run are made by the same command but for --events; independent runs" in done.err
    done = fastsim("merge", tmp_path / "out.root", shards / "0.root", tmp_path / "b.root", "--renumber")
    assert "hold generated events of the same file" in done.out
    done = fastsim("inspect", tmp_path / "out.root")
    assert "     seed  1, 5\n" in done.out


def test_inspect_tells_faults(fastsim, shards, tmp_path):
    path = shutil.copy(shards / "0.root", tmp_path / "bad.root")
    with uproot.update(path) as file:
        text = str(file["provenance"])
        del file["provenance"]
        file["provenance"] = text.replace('"run_seed": 1', '"run_seed": 2')
    done = fastsim("inspect", path, "--check")
    assert done.code == 4
    assert "was changed, or is missing" in done.out
    assert "1 of " in done.out.splitlines()[-1]
    assert " rules are broken" in done.out.splitlines()[-1]
    data = json.loads(fastsim("inspect", path, "--check", "--json").out)
    assert data["faults"] == 1
    other = tmp_path / "other.root"
    with uproot.recreate(other) as file:
        file.mktree("DF_0/O2mine", {"fX": "f4"}).extend({"fX": [1.0]})
    done = fastsim("inspect", other, "--check")
    assert done.code == 0
    assert "not checked O2mine: a table that is not known" in done.out
    (tmp_path / "text.root").write_text("text")
    done = fastsim("inspect", tmp_path / "text.root", "--check")
    assert (done.code, done.out) == (4, "")
    assert "not a whole ROOT file" in done.err


def test_inspect_of_our_own_columns(fastsim, ttbar, tmp_path):
    for kind in ("parquet", "rntuple"):
        path = tmp_path / kind
        fastsim("run", ttbar, "-o", path, "--events", "0:2", "--quiet", "--set", f"output.format={kind!r}")
        done = fastsim("inspect", path)
        assert done.code == 0
        assert "events" in done.out
        assert "event_id" in done.out
        assert "detector  " in done.out
        assert fastsim("inspect", path, "--digest").out.strip() == digest(path)
        assert fastsim("inspect", path, "--check").code == 0


def test_progress_on_a_terminal(shards, tmp_path):
    """Bars are drawn on stderr, and the file is as without."""
    merge([shards / "0.root"], tmp_path / "quiet.root")
    main, end = pty.openpty()
    command = [sys.executable, "-m", "fastsim", "merge", str(tmp_path / "out.root"), str(shards / "0.root")]
    done = subprocess.run(command, stderr=end, stdout=subprocess.PIPE, text=True, check=True)
    os.close(end)
    assert "3 events of 1 files" in done.stdout
    assert b"events" in os.read(main, 10_000)
    os.close(main)
    assert digest(tmp_path / "out.root") == digest(tmp_path / "quiet.root")
