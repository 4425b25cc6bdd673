"""The command line: the only layer that prints. One file a noun; a command is options, one library call, print."""

from __future__ import annotations

import os
import sys
import traceback
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from fastsim.cli import card, detector, doctor, inspect, lut, plugins, run, warmup
from fastsim.cli.console import INTERRUPTED, Terminated, err
from fastsim.errors import FastsimError

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


def _choose_kernel_cache() -> None:
    """Keep compiled kernels in the user's cache, in a folder of this very source: numba does not see edits elsewhere."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    from fastsim import resources

    root = Path(__file__).resolve().parent.parent
    state = sha256()
    for source in sorted(root.rglob("*.py")):
        if source.parent.name != "cli":
            status = source.stat()
            state.update(f"{source.relative_to(root)} {status.st_size} {status.st_mtime_ns}\n".encode())
    os.environ["NUMBA_CACHE_DIR"] = str(resources.cache_dir() / "numba" / state.hexdigest()[:16])


def main() -> None:
    """Entry point of the `fastsim` command: our errors are two lines and an exit code, others a traceback (70)."""
    _choose_kernel_cache()
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
    except Exception:  # noqa: BLE001  (whatever nobody foresaw)
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
