"""Plans, and what can be done with their folders: moved, packed, read by other cards, run by hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import fastsim
from fastsim.batch.collect import merge_batch
from fastsim.batch.manifest import Batch, open_batch, plan
from fastsim.batch.pack import pack
from fastsim.batch.shard import Worker
from fastsim.batch.state import survey
from fastsim.errors import CardError, FastsimError, InputError, UsageError
from fastsim.io.inspect import digest, read_provenance
from fastsim.luts.file import write_lut
from fastsim.merge import merge
from fastsim.species import by_name
from tests import hepmc_files as files
from tests.commands import run_fastsim

CARD = ['tracking.species=["pi"]', 'modules=[{name="vertex", kind="vertex", level="fit"}]']
GUN = """schema_version = 1
kind = "gun"
n_events = 7
[[particles]]
pdg = [211, -211]
n = 6
pt = { min = 0.2, max = 5 }
eta = { min = -1, max = 1 }
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Files of 5, 0, 6 and 7 events; the last is a recipe."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, n in (("a.hepmc", 5), ("b.hepmc", 6)):
        (folder / name).write_bytes(files.sample(n))
    (folder / "none.hepmc").write_text(
        "HepMC::Version 3.02.05\nHepMC::Asciiv3-START_EVENT_LISTING\nHepMC::Asciiv3-END_EVENT_LISTING\n"
    )
    (folder / "gun.toml").write_text(GUN)
    return [folder / name for name in ("a.hepmc", "none.hepmc", "b.hepmc", "gun.toml")]


def card(*sets):
    return fastsim.load_card("alice3", sets=[*CARD, *sets])


def make(batch: Batch):
    worker = Worker(batch)
    for index in range(batch.n_shards):
        worker.run(index)


def known(path):
    return digest(path), read_provenance(path)["identity"]


@pytest.mark.parametrize(
    ("per_shard", "events"), [(4, (0, None)), (5, (0, None)), (100, (0, None)), (3, (4, 13)), (1, (10, 12))]
)
def test_any_cut_gives_the_file_of_the_run(inputs, tmp_path, per_shard, events):
    """Cuts within and between files; columns and identity."""
    batch = plan(inputs, card(), tmp_path / "batch", events_per_shard=per_shard, events=events)
    make(batch)
    merge_batch(batch, tmp_path / "out.root")
    fastsim.simulate_files(inputs, card(), tmp_path / "single.root", events=events)
    assert known(tmp_path / "out.root") == known(tmp_path / "single.root")


def test_shards_know_their_inputs_only(inputs, tmp_path):
    """A shard of the last file opens no other; its identity still says what was before."""
    batch = plan(inputs, card(), tmp_path / "batch", events_per_shard=6)
    away = tmp_path / "gun.toml"
    shutil.copy(inputs[3], away)
    worker = Worker(Batch(batch.manifest, batch.folder, batch.out, tmp_path))
    hidden = [path.rename(path.with_suffix(".hidden")) for path in inputs]
    try:
        worker.run(2)
        with pytest.raises(InputError, match=r"b.hepmc: no such file\nhint: .*--input-dir"):
            worker.run(1)
    finally:
        for path, name in zip(hidden, inputs, strict=True):
            path.rename(name)
    (used,) = read_provenance(batch.result(2))["identity"]["inputs"]
    assert (used["first_event"], used["n_events"]) == (11, 7)
    assert len(used["before"]) == 64


def test_no_events(inputs, tmp_path):
    batch = plan(inputs[1:2], card(), tmp_path / "batch", events_per_shard=6)
    make(batch)
    assert merge_batch(batch, tmp_path / "out.root").n_events == 0
    fastsim.simulate_files(inputs[1:2], card(), tmp_path / "single.root")
    assert known(tmp_path / "out.root") == known(tmp_path / "single.root")


def test_shards_of_all_formats(inputs, tmp_path):
    for name, suffix in (("nano", "root"), ("parquet", "parquet")):
        batch = plan(inputs, card(f"output.format={name!r}"), tmp_path / name, events_per_shard=7)
        make(batch)
        merge_batch(batch, tmp_path / f"out.{suffix}", overwrite=True)
        fastsim.simulate_files(inputs, card(f"output.format={name!r}"), tmp_path / f"single.{suffix}", overwrite=True)
        assert known(tmp_path / f"out.{suffix}") == known(tmp_path / f"single.{suffix}")


def test_gaps_and_parts_of_a_merge(inputs, tmp_path):
    """A tree of merges gives what one merge does."""
    batch = plan(inputs, card(), tmp_path / "batch", events_per_shard=4)
    make(batch)
    whole = merge_batch(batch, tmp_path / "whole.root")
    halves = [tmp_path / f"{i}.root" for i in range(2)]
    for half, shards in zip(halves, ((0, 2), (2, 5)), strict=True):
        merge_batch(batch, half, shards=shards)
    assert merge(halves, tmp_path / "tree.root").identity == whole.identity
    assert digest(tmp_path / "tree.root") == digest(tmp_path / "whole.root")
    shutil.rmtree(batch.result(1).parent)
    with pytest.raises(
        InputError, match=r"1 of 5 shards are not done; shard_0001 is missing\nhint: .*resume.*--allow-gaps"
    ):
        merge_batch(batch, tmp_path / "out.root")
    assert merge_batch(batch, tmp_path / "out.root", allow_gaps=True).missing == [(4, 8)]
    for index in (0, 2, 3, 4):
        shutil.rmtree(batch.result(index).parent)
    with pytest.raises(InputError, match=r"5 of 5 shards are not done"):
        merge_batch(batch, tmp_path / "none.root", allow_gaps=True)


def test_unreadable_events_are_counted_over_all_shards(inputs, tmp_path):
    """Each shard may skip what the run may; the merge counts."""
    text = inputs[0].read_bytes().split(b"\nE ")
    for i in (1, 4):
        text[i + 1] = text[i + 1].replace(b"\nP 1", b"\nP x", 1)
    bad = tmp_path / "bad.hepmc"
    bad.write_bytes(b"\nE ".join(text))
    for most in (1, 2):
        batch = plan([bad], card(), tmp_path / str(most), events_per_shard=3, max_bad_events=most)
        make(batch)
        assert [state.n_events for state in survey(batch)] == [2, 1]
        if most == 1:
            with pytest.raises(InputError, match=r"2 events could not be read, 1 may be skipped in all: 1, 4"):
                merge_batch(batch, tmp_path / "out.root")
        else:
            merge_batch(batch, tmp_path / "out.root")
            fastsim.simulate_files([bad], card(), tmp_path / "single.root", max_bad_events=2)
            assert known(tmp_path / "out.root") == known(tmp_path / "single.root")


def test_packed_batches_work_where_nothing_else_is(inputs, tmp_path):
    """Pile-up files and recipes travel; inputs if asked for; the archive is run by its own script elsewhere."""
    pile_up = f'pile_up={{file="{inputs[2]}", mean=1.5}}'
    fastsim.simulate_files(inputs, card(pile_up), tmp_path / "single.root")
    batch = plan(inputs, card(pile_up), tmp_path / "batch", events_per_shard=9)
    names = pack(batch, tmp_path / "few.tar")
    assert {Path(name).name for name in names if name.startswith("files/")} == {"0_gun.toml", "1_b.hepmc"}
    pack(batch, tmp_path / "all.tar.gz", with_inputs=True)
    with tarfile.open(tmp_path / "all.tar.gz") as archive:
        archive.extractall(tmp_path / "elsewhere", filter="data")
    home = tmp_path / "elsewhere" / "fastsim_batch"
    shutil.rmtree(batch.folder)
    hidden = [path.rename(path.with_suffix(".hidden")) for path in inputs]
    try:
        environment = {**os.environ, "FASTSIM": f"{sys.executable} -m fastsim"}
        subprocess.run(
            [home / "run.sh", "0", "1"], env=environment, cwd=tmp_path, check=True, capture_output=True, timeout=120
        )
    finally:
        for path, name in zip(hidden, inputs, strict=True):
            path.rename(name)
    merge_batch(open_batch(home), tmp_path / "out.root")
    assert known(tmp_path / "out.root") == known(tmp_path / "single.root")


def test_detectors_of_ready_tables(inputs, tmp_path):
    """The tables that a detector file names are copied beside the manifest, and used there."""
    lut = fastsim.build_lut(fastsim.load_detector("alice3_v2"), by_name("pi"))
    write_lut(lut, tmp_path / "pi.lut")
    (tmp_path / "ready.toml").write_text(
        f'schema_version = 1\nname = "ready"\nsource = "a test"\nb_z = {lut.header.b_z}\n'
        f'[[tables]]\nspecies = "pi"\nfile = "pi.lut"\n'
        f'sha256 = "{lut.header.sha256}"\n'
    )
    ready = card(f'detector="{tmp_path}/ready.toml"')
    fastsim.simulate_files(inputs, ready, tmp_path / "single.root")
    batch = plan(inputs, ready, tmp_path / "batch", events_per_shard=10)
    (tmp_path / "pi.lut").unlink()
    make(batch)
    merge_batch(batch, tmp_path / "out.root")
    assert known(tmp_path / "out.root") == known(tmp_path / "single.root")


def test_plans_that_cannot_be(inputs, tmp_path):
    for what, error, message in (
        ({"inputs": ["-"]}, UsageError, "-: jobs cannot read standard input"),
        ({"inputs": ["/nowhere"]}, InputError, "/nowhere: no such file"),
        ({"inputs": ["/dev/null"]}, UsageError, "/dev/null: is not an ordinary file"),
        ({"events": (3, 99)}, InputError, "events 3:99 were asked for, the input has 18"),
        ({"loaded": card("modules=[]")}, CardError, "needs .* which no module makes"),
    ):
        given = {"inputs": inputs, "loaded": card(), **what}
        with pytest.raises(error, match=message):
            plan(folder=tmp_path / "batch", events_per_shard=4, **given)
        assert not (tmp_path / "batch" / "manifest.json").exists()
    batch = plan(inputs, card(), tmp_path / "batch", events_per_shard=4)
    with pytest.raises(UsageError, match="holds a batch already"):
        plan(inputs, card(), tmp_path / "batch", events_per_shard=4)
    for index in (-1, 5):
        with pytest.raises(UsageError, match=f"no shard {index}: the manifest has 5, from 0 to 4"):
            Worker(batch).run(index)


def test_another_installation_is_refused(inputs, tmp_path, monkeypatch):
    batch = plan(inputs, card(), tmp_path / "batch", events_per_shard=4)
    monkeypatch.setattr("fastsim.provenance.source_hash", lambda *_: "other")
    with pytest.raises(
        UsageError, match=r"source_sha256 was '.*, is 'other' here \(and 1 more\)\nhint: use the same installation"
    ):
        Worker(batch).run(0)
    (state, *_) = survey(batch)
    assert (state.kind, state.exit_code) == ("failed", 2)


def test_damaged_manifests(inputs, tmp_path):
    plan(inputs, card(), tmp_path / "batch", events_per_shard=4)
    path = tmp_path / "batch" / "manifest.json"
    whole = path.read_text()
    for text, message in (
        (whole.replace('"end": 4', '"end": 5', 1), "was changed after it was planned"),
        (whole[:100], "not a manifest of a batch: Invalid JSON"),
        (whole.replace('"schema_version": 1', '"schema_version": 2', 1), "schema_version: Input should be 1"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            open_batch(path)
    with pytest.raises(InputError, match="cannot be read"):
        open_batch(tmp_path / "other.json")


def test_archives_that_cannot_be(inputs, tmp_path):
    batch = plan(inputs, card(), tmp_path / "batch", events_per_shard=4)
    with pytest.raises(UsageError, match=r"is none of .tar, .tar.gz, .tar.xz"):
        pack(batch, tmp_path / "out.zip")
    with pytest.raises(UsageError, match="no such folder"):
        pack(batch, tmp_path / "nowhere" / "out.tar")
    inputs[2].rename(inputs[2].with_suffix(".hidden"))
    try:
        with pytest.raises(FastsimError, match="cannot be written"):
            pack(batch, tmp_path / "out.tar", with_inputs=True)
    finally:
        inputs[2].with_suffix(".hidden").rename(inputs[2])
    assert not list(tmp_path.glob("*.tar"))


def test_the_commands(inputs, tmp_path, capsys):
    done = run_fastsim(
        capsys,
        "batch",
        "plan",
        *inputs[:1],
        "--out-dir",
        tmp_path / "b",
        "--events-per-shard",
        3,
        "--seed",
        5,
        "--json",
    )
    assert json.loads(done.out) == {
        "manifest": str(tmp_path / "b" / "manifest.json"),
        "shards": 2,
        "events": 5,
        "inputs": 1,
    }
    done = run_fastsim(capsys, "batch", "status", tmp_path / "b")
    assert "missing       2" in done.out
    assert "go on with: fastsim batch resume" in done.out
    assert run_fastsim(capsys, "batch", "resume", tmp_path / "b").code == 2
    done = run_fastsim(capsys, "batch", "run", tmp_path / "b", 0, 1)
    assert done.out == "shard_0000: 3 events\nshard_0001: 2 events\n"
    assert "was done already" in run_fastsim(capsys, "batch", "run", tmp_path / "b", 1).out
    assert run_fastsim(capsys, "batch", "run", tmp_path / "b", 2).code == 2
    done = run_fastsim(capsys, "batch", "merge", tmp_path / "b", "-o", tmp_path / "out.root", "--json")
    assert json.loads(done.out)["n_events"] == 5
    done = run_fastsim(capsys, "batch", "pack", tmp_path / "b", "-o", tmp_path / "b.tar")
    assert "manifest.json" in done.out
