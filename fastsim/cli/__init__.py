"""The command line: the only layer that prints. One file a noun; a command is options, one library call, print."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from fastsim.cli import batch, card, convert, detector, doctor, inspect, lut, merge, pid, plugins, run, warmup
from fastsim.cli.console import INTERRUPTED, err
from fastsim.errors import FastsimError, OutputError, Terminated, cannot_write

app = typer.Typer(
    name="fastsim",
    help="Fast detector simulation: generator events in, analysis-ready reconstructed tracks out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.add_typer(card.app, name="card")
app.add_typer(detector.app, name="detector")
app.add_typer(lut.app, name="lut")
app.command("inspect")(inspect.inspect)
app.command("merge")(merge.merge)
app.command("convert")(convert.convert)
app.add_typer(batch.app, name="batch")
app.add_typer(pid.app, name="pid")
app.add_typer(plugins.app, name="plugins")
app.command("warmup")(warmup.warmup)
app.command("doctor")(doctor.doctor)


def _version(value: bool) -> None:
    if value:
        from fastsim import __version__

        print(f"fastsim {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of all commands."""


def main() -> None:
    """Entry point of the `fastsim` command: our errors are two lines and an exit code, others a traceback (70)."""
    try:
        app()
    except FastsimError as error:
        err.print(f"[bold red]error:[/] {_escape(error)}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except Terminated as signal:
        is_ctrl_c = str(signal) == "SIGINT"
        what = "interrupted" if is_ctrl_c else f"stopped by {signal}"
        err.print(f"[bold red]{what}:[/] nothing is left under the name of the output", highlight=False)
        sys.exit(INTERRUPTED if is_ctrl_c else 75)
    except MemoryError:
        err.print("[bold red]error:[/] out of memory; try fewer --workers, or a smaller --batch-size", highlight=False)
        sys.exit(75)
    except Exception as error:  # noqa: BLE001  (whatever nobody foresaw)
        if isinstance(error, OSError) and isinstance(
            full := cannot_write(error, error.filename or "a cache"), OutputError
        ):
            err.print(f"[bold red]error:[/] {_escape(full)}", highlight=False, soft_wrap=True)
            sys.exit(full.exit_code)
        traceback.print_exc()
        err.print("[bold red]this is a bug in fastsim:[/] please report it with the lines above", highlight=False)
        sys.exit(70)
    finally:
        _flush()


def _flush() -> None:
    """Write what is left of standard output; who read it may have gone away (`fastsim ... | head`), which is no fault."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _escape(error: FastsimError) -> str:
    from rich.markup import escape

    return escape(str(error)).replace("\nhint:", "\n[bold]hint:[/]")
