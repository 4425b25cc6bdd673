"""Slurm and HTCondor: plain files that a person can read, keep and submit by hand; submitted where the command for it is."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fastsim.batch.manifest import NAME, TABLES, write_whole
from fastsim.errors import FastsimError, UsageError

if TYPE_CHECKING:
    from fastsim.batch.manifest import Batch
    from fastsim.batch.settings import Settings

JOBS = "jobs"  # folder of what is submitted
LOGS = "logs"
_MOST_TASKS = 1000  # of a Slurm array: MaxArraySize is 1001 unless the administrator says otherwise (slurm.conf(5))


_NUMBER = re.compile(r"\d+(?=;|\.?$)")  # sbatch --parsable: "12" or "12;cluster"; condor_submit: "... to cluster 12."


class File(NamedTuple):
    """A file to be written beside the manifest."""

    path: Path
    text: str


class Submission(NamedTuple):
    """The files, the words that submit each job description, and what the scheduler answered ([] if not submitted)."""

    files: list[File]
    commands: list[list[str]]
    answers: list[str]


class SubmitError(FastsimError):
    """The scheduler did not take a job: worth a retry."""

    exit_code = 75


def slurm(batch: Batch, indices: list[int], settings: Settings) -> tuple[list[File], list[list[str]]]:
    """Scripts of job arrays, and the commands that submit them."""
    lines = _lines(indices, settings.shards_per_job)
    files, commands = [], []
    for part, first in enumerate(range(0, len(lines), _MOST_TASKS)):
        own = lines[first : first + _MOST_TASKS]
        script, shards = (_new_name(batch, part, suffix) for suffix in (".slurm", ".shards"))
        files += [
            File(shards, "".join(f"{line}\n" for line in own)),
            File(script, _array(batch, settings, shards, len(own))),
        ]
        commands.append(["sbatch", "--parsable", str(script)])
    return files, commands


def htcondor(batch: Batch, indices: list[int], settings: Settings) -> tuple[list[File], list[list[str]]]:
    """A submit description with file transfer, a job a line of its list, and the command that submits it."""
    submit, jobs, program = (_new_name(batch, 0, suffix) for suffix in (".sub", ".jobs", ".sh"))
    lines = []
    for line in _lines(indices, settings.shards_per_job):
        numbers = [int(word) for word in line.split()]
        names = [i.name for index in numbers for i in batch.inputs_of(index)] + batch.pile_up()
        files_of_job = dict.fromkeys(batch.found(name) for name in names if "://" not in name)
        if twice := [name for name, n in Counter(Path(name).name for name in files_of_job).items() if n > 1]:
            what = f"two inputs of one job are called {twice[0]}, and HTCondor puts all into one folder"
            raise UsageError(what, where=str(batch.folder), hint="give them different names, or fewer --shards-per-job")
        lines.append(f"{line.replace(' ', ':')} {', '.join(files_of_job)}\n")
    files = [
        File(program, _program(settings)),
        File(jobs, "".join(lines)),
        File(submit, _description(batch, settings, program, jobs)),
    ]
    return files, [["condor_submit", str(submit)]]


def submit(batch: Batch, indices: list[int], settings: Settings, *, dry_run: bool) -> Submission:
    """Write the files and, unless it is a dry run or the command is not here, submit them. Raises SubmitError."""
    files, commands = (slurm if settings.engine == "slurm" else htcondor)(batch, indices, settings)
    if dry_run:
        return Submission(files, commands, [])
    (batch.out / LOGS).mkdir(parents=True, exist_ok=True)
    (batch.out / JOBS).mkdir(exist_ok=True)
    for file in files:
        write_whole(file.path, file.text)
        if file.text.startswith("#!"):
            file.path.chmod(0o755)
    if not shutil.which(commands[0][0]):
        return Submission(files, commands, [])
    answers = []
    for words in commands:
        answers.append(_run(words, batch.out))
        if job := _NUMBER.search(answers[-1]):
            write_whole(Path(words[-1]).with_suffix(".id"), f"{words[0]} {job[0]}\n")
    return Submission(files, commands, answers)


def queued(batch: Batch) -> list[str]:
    """Jobs of earlier submissions that still wait or run, as the scheduler says ([] where its command is not)."""
    found = []
    for path in sorted((batch.out / JOBS).glob("*.id")):
        ask = {
            "sbatch": ["squeue", "-h", "-r", "-o", "%i %T", "-j"],
            "condor_submit": ["condor_q", "-af:j", "JobStatus"],
        }
        program, _, job = path.read_text(encoding="utf-8").strip().partition(" ")
        words = [*ask.get(program, [""]), job]
        if shutil.which(words[0]):
            done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
            found += done.stdout.splitlines() if done.returncode == 0 else []  # an old job is an error: invalid id
    return found


def _run(words: list[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SubmitError(f"{words[0]}: {done.stderr.strip() or f'exit code {done.returncode}'}", where=words[-1])
    return done.stdout.strip()


def _lines(indices: list[int], n: int) -> list[str]:
    """Shards of each job."""
    return [" ".join(map(str, indices[first : first + n])) for first in range(0, len(indices), n)]


def _new_name(batch: Batch, part: int, suffix: str) -> Path:
    """A name that is not taken: submissions are counted."""
    folder = batch.out / JOBS
    n_before = len({path.name.partition(".")[0].partition("_")[0] for path in folder.glob("[0-9]*")})
    return folder / f"{n_before:03d}{f'_{part}' if part else ''}{suffix}"


def _command(settings: Settings) -> str:
    """How fastsim is called in jobs that share our file system."""
    return settings.command or f"{shlex.quote(sys.executable)} -m fastsim"


def _where(batch: Batch) -> str:
    words = [str(batch.folder / NAME)]
    if batch.out != batch.folder:
        words += ["--out-dir", str(batch.out)]
    if batch.input_dir:
        words += ["--input-dir", str(batch.input_dir)]
    return shlex.join(words)


def _array(batch: Batch, settings: Settings, shards: Path, n_tasks: int) -> str:
    limit = f"%{settings.most_at_once}" if settings.most_at_once else ""
    head = [
        f"--job-name=fastsim-{batch.out.name}",
        f"--array=0-{n_tasks - 1}{limit}",
        "--ntasks=1",
        f"--cpus-per-task={settings.cpus}",
        f"--mem={settings.memory}",
        f"--time={settings.time}",
        "--signal=B:USR1@120",  # two minutes before the end: enough to finish a batch of events and keep what is done
        "--requeue",
        "--open-mode=append",
        f"--output={batch.out / LOGS}/%A_%a.log",
        *settings.options,
    ]
    directives = "\n".join(f"#SBATCH {line}" for line in head)
    return f"""#!/bin/bash
# Written by `fastsim batch submit`. Each task makes the shards of one line of {shards.name}.
{directives}

{settings.setup}
shards=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {shlex.quote(str(shards))})
{_command(settings)} batch run {_where(batch)} $shards &
job=$!
trap 'kill -USR1 $job' USR1
trap 'kill -TERM $job' TERM
wait $job; code=$?
while [ $code -gt 128 ] && kill -0 $job 2> /dev/null; do wait $job; code=$?; done  # a signal ends `wait`, not the job
if [ $code -eq 75 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {settings.retries} ]; then
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"  # 75: worth a retry
fi
exit $code
"""


def _program(settings: Settings) -> str:
    return f"""#!/bin/bash
# Written by `fastsim batch submit`. Results appear in results/, which HTCondor brings back whatever becomes of the job.
mkdir -p results
export FASTSIM_CACHE_DIR=${{FASTSIM_CACHE_DIR:-$PWD/cache}}
{settings.setup}
exec {settings.command or "fastsim"} batch run {NAME} --input-dir . --out-dir results ${{1//:/ }}
"""


def _description(batch: Batch, settings: Settings, program: Path, jobs: Path) -> str:
    retry = "retry_until = (ExitCode =!= 75) && (ExitBySignal =!= True)"
    lines = [
        "# Written by `fastsim batch submit`. Each line of the list is a job: its shards (1:2:3), and the inputs that it reads.",
        "universe = vanilla",
        f"executable = {program}",
        "arguments = $(shards)",
        f"initialdir = {batch.out}",
        "should_transfer_files = YES",
        f"transfer_input_files = {batch.folder / NAME}, {batch.folder / TABLES}, $(inputs)",
        "transfer_output_files = results/",
        "when_to_transfer_output = ON_EXIT",
        f"output = {LOGS}/$(ClusterId)_$(ProcId).out",
        f"error = {LOGS}/$(ClusterId)_$(ProcId).err",
        f"log = {LOGS}/$(ClusterId).log",
        f"request_cpus = {settings.cpus}",
        f"request_memory = {settings.memory}B",
        "request_disk = 4GB",
        f"+MaxRuntime = {_seconds(settings.time)}",
        "# 75: worth a retry (disk, node, memory); others are not.",
        f"max_retries = {settings.retries}",
        retry,
        *([f"max_materialize = {settings.most_at_once}"] if settings.most_at_once else []),
        *settings.options,
        f"queue shards, inputs from {jobs}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _seconds(text: str) -> int:
    """Of a time as Slurm writes it: MM:SS, HH:MM:SS, D-HH:MM:SS (sbatch(1), --time)."""
    days, _, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if len(parts) == 2:  # with days HH:MM, without MM:SS
        parts = [*parts, 0] if days else [0, *parts]
    hours, minutes, seconds = parts
    return int(days or 0) * 86_400 + hours * 3600 + minutes * 60 + seconds
