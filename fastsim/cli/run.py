"""`fastsim run`: events in, a file out, a summary at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastsim.cli.console import Bars, err, out, print_json, stop_on_signals
from fastsim.errors import UsageError

if TYPE_CHECKING:
    from fastsim.summary import Summary

ONCE = (
    "find or build tables",
    "load kernels",
    "read pile-up",
)  # steps whose time does not depend on the number of particles


def run(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="HepMC text (plain or .gz/.bz2/.xz/.zst; pipes, URLs, - for standard input), HepMC3/EDM4hep/O2 ROOT files, "
            "LHEF, HEPEVT; or recipes: a particle gun (.toml), Pythia 8 commands (.cmnd)."
        ),
    ],
    output: Annotated[Path, typer.Option("--out", "-o", help="Output file.")],
    card: Annotated[str, typer.Option("--card", "-c", help="Card file, or the name of a shipped one.")] = "alice3",
    seed: Annotated[str | None, typer.Option(help='Seed of the run (instead of the card\'s), or "random".')] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", "-f", help="ao2d, delphes, nano, parquet or rntuple (instead of the card's)."),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(
            help="Generated particles that are kept: standard, reconstructed, all or none (instead of the card's)."
        ),
    ] = None,
    events: Annotated[
        str | None, typer.Option(help="Only events A:B of the whole input (from 0, B exclusive).")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Events in memory at once; cannot change the result.")] = 1000,
    workers: Annotated[int, typer.Option(min=1, help="Processes; cannot change the result.")] = 1,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Change the card: key=value, values as in TOML.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    max_bad_events: Annotated[int, typer.Option(min=0, help="Skip (and report) up to so many unreadable events.")] = 0,
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Keep the whole events of HepMC text that ends in the middle.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")] = False,
) -> None:
    """Simulate events: read or generate them, smear tracks, write a file with covariances and truth."""
    stop_on_signals()
    a_seed, a_range = chosen_seed(seed), chosen_events(events)
    from fastsim.cards import load_card
    from fastsim.run import simulate_files

    chosen = [f"output.{key}={value}" for key, value in (("format", format_), ("truth", truth)) if value is not None]
    loaded = load_card(card, sets=[*(sets or ()), *chosen], seed=a_seed)
    if not (quiet or json):
        err.print(f"{loaded.detector.name}, card {loaded.path}, seed {loaded.card.seed}", highlight=False, markup=False)
    with Bars(quiet=quiet or json) as progress:
        summary = simulate_files(
            inputs, loaded, output, events=a_range, batch_size=batch_size, workers=workers, overwrite=overwrite,
            max_bad_events=max_bad_events, allow_truncated=allow_truncated, progress=progress,
        )  # fmt: skip
    if json:
        print_json({**summary.as_dict(), "seed": loaded.card.seed, "output": str(output)})
    elif not quiet:
        _print_summary(summary, output, loaded.card.seed)


def chosen_seed(text: str | None) -> int | None:
    """The seed of `--seed`; raises UsageError."""
    if text == "random":
        from secrets import randbits

        return randbits(64)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or int(text) >= 2**64:
        raise UsageError(f"--seed {text}: must be a whole number from 0 to 2^64 - 1, or random")
    return int(text)


def chosen_events(text: str | None, option: str = "--events") -> tuple[int, int | None]:
    """The range of `--events`; raises UsageError."""
    if text is None:
        return 0, None
    first, colon, end = text.partition(":")
    if not colon or any(part and not part.isdecimal() for part in (first, end)):
        raise UsageError(f"{option} {text}: must read A:B, A: or :B with whole numbers")
    result = int(first or 0), int(end) if end else None
    if result[1] is not None and result[1] < result[0]:
        raise UsageError(f"{option} {text}: ends before it starts")
    return result


def _print_summary(summary: Summary, output: Path, seed: int) -> None:
    from rich.markup import escape
    from rich.table import Table

    from fastsim.species import SPECIES
    from fastsim.tracking import NOT_A_TRACK, RECONSTRUCTED, STATUS

    tracks = Table(title="Tracks", title_justify="left", title_style="bold", caption_justify="left")
    for name in ("species", "candidates", "reconstructed", "share"):
        tracks.add_column(name, justify="left" if name == "species" else "right")
    for species in SPECIES:
        n, found = summary.candidates[species.name], summary.reconstructed[species.name]
        if n:
            tracks.add_row(species.symbol, f"{n:,}", f"{found:,}", f"{100 * found / n:.1f} %")
    n, found = sum(summary.candidates.values()), sum(summary.reconstructed.values())
    tracks.add_section()
    tracks.add_row("all", f"{n:,}", f"{found:,}", f"{100 * found / n:.1f} %" if n else "-")

    losses = Table(
        "reason", title="Charged final particles that are not tracks", title_justify="left", title_style="bold"
    )
    losses.add_column("particles", justify="right")
    for code, name in STATUS.items():
        if code not in (NOT_A_TRACK, RECONSTRUCTED) and summary.particles[name]:
            losses.add_row(escape(name), f"{summary.particles[name]:,}")
    times = Table("step", title="Time", title_justify="left", title_style="bold")
    times.add_column("s", justify="right")
    times.add_column("us/particle", justify="right")
    for step, seconds in summary.seconds.items():
        per_particle = f"{1e6 * seconds / summary.n_particles:.2f}" if summary.n_particles and step not in ONCE else ""
        times.add_row(escape(step), f"{seconds:.2f}", per_particle)

    out.print(
        f"\n[bold]{summary.n_events:,} events[/], {summary.n_particles:,} particles, seed {seed}", highlight=False
    )
    for table in (tracks, losses, times):
        if table.row_count:
            out.print(table)
    for text, n in summary.counts.items():
        out.print(f"  {text}: {n:,}", highlight=False, markup=False)
    for text in summary.notes:
        out.print(f"[bold yellow]note[/] {escape(text)}", highlight=False)
    for text in summary.bad_events:
        out.print(f"[bold yellow]skipped[/] {escape(text)}", highlight=False)
    size = output.stat().st_size / 1e6
    name = escape(str(output))
    out.print(f"[bold]{name}[/]  {size:,.1f} MB; look into it with: fastsim inspect {name}", highlight=False)
