"""`fastsim batch`: one run as many jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from fastsim.cli.batch_view import Board, print_plan, print_state, print_submission
from fastsim.cli.console import Bars, err, out, print_json, stop_on_signals
from fastsim.cli.run import chosen_events, chosen_seed
from fastsim.errors import UsageError

if TYPE_CHECKING:
    from fastsim.batch.manifest import Batch
    from fastsim.batch.settings import Settings

app = typer.Typer(
    help="One run as many jobs: plan, run or submit the shards, look after them, merge. See docs/batch.md.",
    no_args_is_help=True,
)

Place = Annotated[Path, typer.Argument(metavar="BATCH", help="The manifest, or the folder that it lies in.")]
OutDir = Annotated[Path | None, typer.Option("--out-dir", help="Where results are, if not beside the manifest.")]
InputDir = Annotated[
    Path | None, typer.Option("--input-dir", help="A folder to look for inputs in first, by their names.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def plan(
    inputs: Annotated[list[str], typer.Argument(help="Inputs, as of `fastsim run`; not pipes.")],
    out_dir: Annotated[Path, typer.Option("--out-dir", help="Folder for the manifest, the tables and the results.")],
    events_per_shard: Annotated[int, typer.Option(min=1, help="Events of one job.")],
    card: Annotated[str, typer.Option("--card", "-c", help="Card file, or the name of a shipped one.")] = "alice3",
    seed: Annotated[str | None, typer.Option(help='Seed of the run (instead of the card\'s), or "random".')] = None,
    format_: Annotated[
        str | None, typer.Option("--format", "-f", help="Format of the output (instead of the card's).")
    ] = None,
    truth: Annotated[
        str | None, typer.Option(help="Generated particles that are kept (instead of the card's).")
    ] = None,
    events: Annotated[
        str | None, typer.Option(help="Only events A:B of the whole input (from 0, B exclusive).")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Events in memory at once; cannot change the result.")] = 1000,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Change the card: key=value, values as in TOML.")
    ] = None,
    max_bad_events: Annotated[int, typer.Option(min=0, help="Skip up to so many unreadable events in all.")] = 0,
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Keep the whole events of HepMC text that ends in the middle.")
    ] = False,
    json: Json = False,
) -> None:
    """Count the events, build the tables, and cut the run into shards: the manifest."""
    stop_on_signals()
    a_seed, a_range = chosen_seed(seed), chosen_events(events)
    from fastsim.batch.manifest import plan as make_plan
    from fastsim.cards import load_card

    chosen = [f"output.{key}={value}" for key, value in (("format", format_), ("truth", truth)) if value is not None]
    loaded = load_card(card, sets=[*(sets or ()), *chosen], seed=a_seed)
    with Bars(quiet=json) as progress:
        batch = make_plan(
            inputs, loaded, out_dir, events_per_shard=events_per_shard, events=a_range, batch_size=batch_size,
            max_bad_events=max_bad_events, allow_truncated=allow_truncated, progress=progress,
        )  # fmt: skip
    print_plan(batch, as_json=json)


@app.command()
def run(
    place: Place,
    shards: Annotated[list[int], typer.Argument(metavar="SHARD...", help="Numbers of shards, made one after another.")],
    out_dir: OutDir = None,
    input_dir: InputDir = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default the processors that the batch system gave.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Make shards: what a job does. Exit codes: 0 done, 75 try again, others (2 to 5, 70) do not.

    SIGTERM and SIGUSR1 end it after the events in memory; what is done is kept, and the next run goes on from there.
    """
    stop_on_signals()
    from fastsim.batch.stop import Stop, one_thread_each, processors

    n_workers = workers or processors()
    one_thread_each()
    from fastsim.batch.manifest import open_batch
    from fastsim.batch.shard import Worker

    batch = open_batch(place, out=out_dir, input_dir=input_dir)
    for shard in shards:
        batch.check_index(shard)
    with Bars(quiet=quiet) as progress:
        worker = Worker(batch, workers=n_workers, progress=progress)
        worker.is_to_stop = Stop(lambda: worker.n_events > 0)
        for shard in shards:
            done = worker.run(shard)
            if not quiet:
                note = f" ({done.note})" if done.note else ""
                out.print(f"{batch.name(shard)}: {done.n_events:,} events{note}", highlight=False, markup=False)


@app.command()
def submit(
    place: Place,
    engine: Annotated[str, typer.Option("--engine", "-e", help="local, dask, slurm or htcondor.")],
    workers: Annotated[
        int | None, typer.Option(min=1, help="local, dask: processes (or jobs of a Dask cluster).")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="Times that a shard is tried again after what is worth it.")] = 3,
    shards_per_job: Annotated[int, typer.Option(min=1, help="slurm, htcondor: shards of one job.")] = 1,
    cpus: Annotated[int, typer.Option(min=1, help="slurm, htcondor: processors of a job.")] = 1,
    memory: Annotated[str, typer.Option(help="Memory of a job.")] = "2G",
    time: Annotated[str, typer.Option(help="Time limit of a job.")] = "02:00:00",
    most_at_once: Annotated[int | None, typer.Option(min=1, help="slurm, htcondor: jobs at the same time.")] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", help="A line for the head of the job, as --partition=short.")
    ] = None,
    setup: Annotated[str, typer.Option(help="Shell commands before fastsim, as `source venv/bin/activate`.")] = "",
    command: Annotated[str, typer.Option(help="How fastsim is called on the nodes.")] = "",
    scheduler: Annotated[str, typer.Option(help="dask: address of a scheduler that runs already.")] = "",
    cluster: Annotated[str, typer.Option(help="dask: slurm or htcondor jobs as workers (dask-jobqueue).")] = "",
    out_dir: OutDir = None,
    input_dir: InputDir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="slurm, htcondor: print the files, submit nothing.")
    ] = False,
) -> None:
    """Have the shards made that are missing. local and dask wait for the end; slurm and htcondor do not."""
    stop_on_signals()
    from fastsim.batch.manifest import open_batch
    from fastsim.batch.settings import make_settings, save
    from fastsim.batch.stop import processors

    batch = open_batch(place, out=out_dir, input_dir=input_dir)
    settings = make_settings(
        engine=engine, workers=workers or processors(), retries=retries, shards_per_job=shards_per_job, cpus=cpus, memory=memory,
        time=time, most_at_once=most_at_once, options=options or [], setup=setup, command=command, scheduler=scheduler,
        cluster=cluster,
    )  # fmt: skip
    if not dry_run:
        save(batch, settings)
    _submit(batch, settings, failed_too=False, dry_run=dry_run)


@app.command()
def resume(
    place: Place,
    failed: Annotated[
        bool, typer.Option("--failed", help="Also what failed for a reason that does not pass by itself.")
    ] = False,
    out_dir: OutDir = None,
    input_dir: InputDir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="slurm, htcondor: print the files, submit nothing.")
    ] = False,
) -> None:
    """Submit again, as last time, what is missing or broken; what is done or running stays."""
    stop_on_signals()
    from fastsim.batch.manifest import open_batch
    from fastsim.batch.settings import load

    batch = open_batch(place, out=out_dir, input_dir=input_dir)
    settings = load(batch)
    if settings is None:
        raise UsageError("was never submitted", where=str(batch.out), hint="fastsim batch submit --engine ...")
    _submit(batch, settings, failed_too=failed, dry_run=dry_run)


def _submit(batch: Batch, settings: Settings, *, failed_too: bool, dry_run: bool) -> None:
    from fastsim.batch.state import clear_dead, survey, to_do

    clear_dead(batch)
    states = survey(batch)
    indices = to_do(states, failed_too=failed_too)
    if not indices:
        print_state(batch, states, as_json=False)
        return
    if settings.engine in ("slurm", "htcondor"):
        from fastsim.batch.engines.scripts import queued
        from fastsim.batch.engines.scripts import submit as submit_scripts

        if (waiting := queued(batch)) and not dry_run:
            what = f"{len(waiting)} jobs are still queued or running: {', '.join(waiting[:5])}"
            raise UsageError(what, where=str(batch.out), hint="wait for them, or cancel them (scancel, condor_rm)")
        print_submission(batch, submit_scripts(batch, indices, settings, dry_run=dry_run), dry_run=dry_run)
        return
    if dry_run:
        raise UsageError("--dry-run: there are no files to print for this engine")
    if settings.engine == "local":
        from fastsim.batch.engines.local import run as run_all
    else:
        from fastsim.batch.engines.dask import run as run_all
    with Board(batch) as board:
        answers = run_all(batch, indices, settings, board)
    print_state(batch, survey(batch), as_json=False)
    if codes := [answer.exit_code for answer in answers if answer.exit_code]:
        raise typer.Exit(75 if 75 in codes else codes[0])


@app.command()
def status(place: Place, out_dir: OutDir = None, json: Json = False) -> None:
    """What is done, running, failed, broken or missing."""
    from fastsim.batch.manifest import open_batch
    from fastsim.batch.state import survey

    batch = open_batch(place, out=out_dir)
    print_state(batch, survey(batch), as_json=json)


@app.command()
def verify(place: Place, out_dir: OutDir = None, json: Json = False) -> None:
    """Read every file of the batch: bytes, provenance, indices. Exit code 1 if one is wrong."""
    stop_on_signals()
    from fastsim.batch.manifest import open_batch
    from fastsim.batch.state import verify as verify_all

    batch = open_batch(place, out=out_dir)
    with Bars(quiet=json) as progress:
        states = verify_all(batch, lambda done: progress.events(done, done, batch.n_shards))
    print_state(batch, states, as_json=json)
    if any(state.kind == "broken" for state in states):
        raise typer.Exit(1)


@app.command()
def merge(
    place: Place,
    output: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    shards: Annotated[str | None, typer.Option(help="Only shards A:B (B exclusive): for a tree of merges.")] = None,
    allow_gaps: Annotated[bool, typer.Option("--allow-gaps", help="Merge what is there.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    compression_level: Annotated[
        int | None, typer.Option(min=0, max=9, help="zstd level; else as in the card.")
    ] = None,
    out_dir: OutDir = None,
    json: Json = False,
) -> None:
    """Check all shards, and merge them into the file that the run makes unsplit."""
    stop_on_signals()
    from fastsim.batch.collect import merge_batch
    from fastsim.batch.manifest import open_batch

    batch = open_batch(place, out=out_dir)
    first, end = chosen_events(shards, "--shards")
    with Bars(quiet=json) as progress:
        done = merge_batch(
            batch, output, shards=(first, batch.n_shards if end is None else end), allow_gaps=allow_gaps, overwrite=overwrite,
            compression_level=compression_level, progress=progress,
        )  # fmt: skip
    if json:
        print_json({**done._asdict(), "output": str(output)})
        return
    for start, stop in done.missing:
        err.print(f"[bold yellow]note[/] events {start}:{stop} are missing", highlight=False)
    size = output.stat().st_size / 1e6
    text = f"{done.n_events:,} events of {done.n_files} shards, {size:,.1f} MB"
    out.print(f"[bold]{escape(str(output))}[/]  {text}", highlight=False)


@app.command()
def pack(
    place: Place,
    output: Annotated[Path, typer.Option("--out", "-o", help="The archive: .tar, .tar.gz or .tar.xz.")],
    with_inputs: Annotated[bool, typer.Option("--with-inputs", help="Inputs too, not only recipes.")] = False,
    input_dir: InputDir = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing archive.")] = False,
) -> None:
    """Put the manifest, tables, recipes and pile-up files into one archive that works wherever it is unpacked."""
    stop_on_signals()
    from fastsim.batch.manifest import open_batch
    from fastsim.batch.pack import pack as make_pack

    names = make_pack(open_batch(place, input_dir=input_dir), output, with_inputs=with_inputs, overwrite=overwrite)
    for name in names:
        out.print(f"  {name}", highlight=False, markup=False)
    out.print(f"[bold]{escape(str(output))}[/]  {output.stat().st_size / 1e6:,.1f} MB", highlight=False)
