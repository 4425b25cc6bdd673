"""`fastsim merge`: outputs of shards, or of independent runs, into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fastsim.cli.console import Bars, out, print_json, stop_on_signals


def merge(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Output files of fastsim run, in any order.")],
    renumber: Annotated[
        bool, typer.Option("--renumber", help="Independent runs (other seed or inputs): events get new numbers.")
    ] = False,
    allow_gaps: Annotated[bool, typer.Option("--allow-gaps", help="Events between the files may be missing.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    compression_level: Annotated[
        int | None, typer.Option(min=0, max=9, help="zstd level, 0 for none; else as in the first file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was merged as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Merge shards of one run (made with --events) into what the run writes unsplit; or independent runs."""
    stop_on_signals()
    from fastsim.merge import merge as merge_files

    with Bars(quiet=quiet or json) as progress:
        done = merge_files(
            inputs, output, renumber=renumber, allow_gaps=allow_gaps, overwrite=overwrite,
            compression_level=compression_level, progress=progress,
        )  # fmt: skip
    if json:
        print_json({**done._asdict(), "output": str(output)})
    elif not quiet:
        for first, end in done.missing:
            out.print(f"[bold yellow]note[/] events {first}:{end} are missing", highlight=False)
        for text in done.notes:
            out.print(f"[bold yellow]note[/] {escape(text)}", highlight=False)
        name = escape(str(output))
        out.print(
            f"[bold]{name}[/]  {done.n_events:,} events of {done.n_files} files, {output.stat().st_size / 1e6:,.1f} MB"
        )
