"""`fastsim convert`: columns into another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fastsim.cli.console import out, stop_on_signals


def convert(
    path: Annotated[Path, typer.Argument(metavar="IN", help="A Parquet or RNTuple file of fastsim.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    to: Annotated[str, typer.Option("--format", "-f", help="ao2d, delphes, nano, parquet or rntuple.")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Options of the output: output.key=value, as in a card.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Write the columns of a file in another format. Only Parquet and RNTuple files hold all that others need."""
    stop_on_signals()
    from fastsim.io.convert import convert_file

    n_events = convert_file(path, output, to, sets=sets or (), overwrite=overwrite)
    size = output.stat().st_size / 1e6
    out.print(f"{n_events:,} events, [bold]{escape(str(output))}[/]  {size:,.1f} MB", highlight=False)
