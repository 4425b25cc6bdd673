"""What is handed to Slurm and HTCondor: the files themselves, and HTCondor's own parser on the description."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import fastsim
from fastsim.batch.engines import scripts
from fastsim.batch.manifest import Batch, plan
from fastsim.batch.settings import load, make_settings, save
from fastsim.errors import InputError, UsageError
from tests.commands import run_fastsim

SETS = ['tracking.species=["pi"]', 'modules=[{name="vertex", kind="vertex", level="fit"}]']


@pytest.fixture(scope="module")
def batch(ttbar, tmp_path_factory) -> Batch:
    """40 events in 8 shards, with pile-up from a file."""
    folder = tmp_path_factory.mktemp("scripts")
    pile_up = f"pile_up={{file={ttbar!r}, mean=0.5}}"
    card = fastsim.load_card("alice3", sets=[*SETS, pile_up])
    return plan([ttbar], card, folder / "a batch", events_per_shard=5)


def texts(files):
    return {file.path.suffix: file.text for file in files}


def test_an_array_has_a_line_of_shards_for_each_task(batch):
    settings = make_settings(
        engine="slurm", shards_per_job=3, retries=2, most_at_once=10, options=["--partition=short"]
    )
    files, commands = scripts.slurm(batch, [0, 2, 3, 5, 7], settings)
    found = texts(files)
    assert found[".shards"] == "0 2 3\n5 7\n"
    script = found[".slurm"]
    assert "#SBATCH --array=0-1%10\n" in script
    assert "#SBATCH --partition=short\n" in script
    assert f"{sys.executable} -m fastsim batch run '{batch.folder}/manifest.json' $shards &" in script
    assert '-lt 2 ]; then\n  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"' in script
    assert commands == [["sbatch", "--parsable", str(files[1].path)]]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_arrays_are_cut_where_slurm_does(batch):
    settings = make_settings(engine="slurm")
    files, commands = scripts.slurm(batch, list(range(2500)), settings)
    assert [file.path.name for file in files] == [
        f"000{part}{suffix}" for part in ("", "_1", "_2") for suffix in (".shards", ".slurm")
    ]
    assert [file.text.count("\n") for file in files[::2]] == [1000, 1000, 500]
    assert "#SBATCH --array=0-499\n" in files[5].text
    assert len(commands) == 3


def test_the_script_does_what_slurm_would(batch, tmp_path, monkeypatch):
    """The lines of a task, the exit code passed on, a requeue after 75 only, signals passed on."""
    fake = tmp_path / "bin"
    fake.mkdir()
    for name, text in (("scontrol", 'echo "$@" >> $SAID'), ("job", 'echo "$@" >> $SAID; exit $CODE')):
        (fake / name).write_text(f"#!/bin/bash\n{text}\n")
        (fake / name).chmod(0o755)
    monkeypatch.setattr(scripts.shutil, "which", lambda _: None)
    settings = make_settings(engine="slurm", shards_per_job=2, retries=1, command="job", setup=f"PATH={fake}:$PATH")
    done = scripts.submit(batch, [0, 1, 4], settings, dry_run=False)
    script = next(file.path for file in done.files if file.path.suffix == ".slurm")
    for code, restarts, said in (("0", "0", ""), ("4", "0", ""), ("75", "0", "requeue 12_1\n"), ("75", "1", "")):
        log = tmp_path / f"{code}{restarts}"
        environment = {
            **os.environ, "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_JOB_ID": "12", "SLURM_RESTART_COUNT": restarts, "CODE": code,
            "SAID": str(log),
        }  # fmt: skip
        assert subprocess.run(["bash", script], env=environment, check=False).returncode == int(code)
        assert log.read_text() == f"batch run {batch.folder}/manifest.json 4\n" + said


def test_submissions_are_counted_and_can_be_submitted_by_hand(batch, capsys, monkeypatch):
    monkeypatch.setattr(scripts.shutil, "which", lambda _: None)
    before = len(list((batch.out / "jobs").glob("*.slurm")))
    for _ in range(2):
        done = run_fastsim(capsys, "batch", "submit", batch.folder, "--engine", "slurm")
        assert done.code == 0
        assert "sbatch is not here; submit by hand: sbatch --parsable" in done.out
    assert len(list((batch.out / "jobs").glob("*.slurm"))) == before + 2


def test_a_dry_run_prints_and_writes_nothing(batch, capsys):
    before = sorted(batch.out.rglob("*"))
    done = run_fastsim(capsys, "batch", "submit", batch.folder, "-e", "htcondor", "--dry-run")
    assert done.code == 0
    assert "queue shards, inputs from" in done.out
    assert sorted(batch.out.rglob("*")) == before
    done = run_fastsim(capsys, "batch", "submit", batch.folder, "-e", "local", "--dry-run")
    assert (done.code, "there are no files to print" in done.err) == (2, True)


def test_htcondor_reads_the_description(batch, ttbar):
    """With HTCondor's own bindings: the description is understood, and its list gives a job a line."""
    htcondor = pytest.importorskip("htcondor2", reason="the bindings of HTCondor are not installed")
    settings = make_settings(engine="htcondor", shards_per_job=4, memory="3G", time="1-02:00:00", most_at_once=7)
    files, commands = scripts.htcondor(batch, list(range(8)), settings)
    found = texts(files)
    submit = htcondor.Submit(found[".sub"])
    assert submit["request_memory"] == "3GB"
    assert submit["transfer_output_files"] == "results/"
    assert submit["max_materialize"] == "7"
    assert submit["retry_until"] == "(ExitCode =!= 75) && (ExitBySignal =!= True)"
    assert submit.getQArgs() == f"shards, inputs from {files[1].path}"
    scripts.submit(batch, list(range(8)), settings, dry_run=False)
    written = max((batch.out / "jobs").glob("*.jobs"))
    jobs = list(submit.itemdata(f"shards, inputs from {written}"))
    assert [(job["shards"], job["inputs"]) for job in jobs] == [("0:1:2:3", ttbar), ("4:5:6:7", ttbar)]
    assert commands[0][0] == "condor_submit"
    assert int(submit["+MaxRuntime"] if "+MaxRuntime" in submit else submit["MY.MaxRuntime"]) == 26 * 3600


def test_what_htcondor_starts_works_in_a_sandbox(batch, ttbar, tmp_path):
    """As HTCondor does it: inputs, manifest and tables lie in an empty folder, results/ goes back to the batch's."""
    settings = make_settings(engine="htcondor", command=f"{sys.executable} -m fastsim")
    done = scripts.submit(batch, [6], settings, dry_run=False)
    program = next(file.path for file in done.files if file.path.suffix == ".sh")
    assert program.stat().st_mode & stat.S_IXUSR
    sandbox = tmp_path / "sandbox"
    (sandbox / "luts").mkdir(parents=True)
    for path in (batch.folder / "luts").iterdir():
        (sandbox / "luts" / path.name).symlink_to(path)
    for path in (str(batch.folder / "manifest.json"), ttbar):
        (sandbox / Path(path).name).symlink_to(path)
    subprocess.run([program, "6:7"], cwd=sandbox, check=True, capture_output=True, timeout=120)
    for shard, first in ((6, 30), (7, 35)):
        record = json.loads((sandbox / "results" / f"shard_000{shard}" / "record.json").read_text())
        assert (record["first"], record["end"], record["n_events"]) == (first, first + 5, 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"engine": "pbs"}, "--engine pbs: Input should be 'local', 'dask', 'slurm' or 'htcondor'"),
        ({"engine": "slurm", "memory": "2 GB"}, "--memory 2 GB: String should match pattern"),
        ({"engine": "slurm", "time": "soon"}, "--time soon: String should match pattern"),
        ({"engine": "dask", "cluster": "k8s"}, "--cluster k8s: Input should be"),
    ],
)
def test_settings_that_cannot_be(values, message):
    with pytest.raises(UsageError, match=message):
        make_settings(**values)


def test_settings_are_kept_for_resume(batch, tmp_path):
    other = Batch(batch.manifest, batch.folder, tmp_path)
    assert load(other) is None
    settings = make_settings(engine="slurm", options=["--qos=long"])
    save(other, settings)
    assert load(other) == settings
    (tmp_path / "submit.json").write_text("{")
    with pytest.raises(InputError, match=r"submit.json: cannot be read .*\nhint: submit again, with --engine"):
        load(other)


def test_times_are_those_of_slurm():
    """Sbatch(1), --time: MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS."""
    for text, seconds in (("02:00:00", 7200), ("30:15", 1815), ("1-12:30", 131_400), ("2-00:00:01", 172_801)):
        assert scripts._seconds(text) == seconds
