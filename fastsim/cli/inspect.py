"""`fastsim inspect`: what is in a file, and what made it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from fastsim.cli.console import out, print_json


def inspect(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A ROOT file, ours or another.")],
    digest: Annotated[bool, typer.Option("--digest", help="Print only the hash of all columns.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print trees, branches and provenance as JSON.")] = False,
) -> None:
    """Show trees, branches and what made the file. The digest is equal for files with equal columns."""
    from fastsim.io import inspect as look

    if digest:
        print(look.digest(path))
        return
    with look.open_file(path) as file:
        content = {
            name: {"entries": file[name].num_entries, "branches": {b.name: b.typename for b in file[name].branches}}
            for name in look.trees(file)
        }
        made_by = look.provenance(file)
    if json:
        print_json({"trees": content, "provenance": made_by})
    else:
        _print(path, content, made_by)


def _print(path: Path, content: dict[str, Any], made_by: dict[str, Any] | None) -> None:
    from rich.table import Table

    table = Table(
        "tree", title=escape(f"{path}, {path.stat().st_size / 1e6:,.1f} MB"), title_justify="left", title_style="bold"
    )
    table.add_column("rows", justify="right")
    table.add_column("branches")
    for name, tree in content.items():
        branches = [b for b in tree["branches"] if not b.endswith("_size")]
        shown = ", ".join(branches[:9]) + (f" and {len(branches) - 9} more" if len(branches) > 9 else "")
        table.add_row(escape(name), f"{tree['entries']:,}", escape(shown))
    out.print(table)
    if made_by is None:
        out.print("no provenance: not written by fastsim", highlight=False)
        return
    identity, circumstance = made_by["identity"], made_by["circumstance"]
    rows = {
        "identity": identity["sha256"],
        "fastsim": f"{identity['fastsim']} {circumstance['git']}".strip(),
        "detector": identity["resolved"]["detector"]["name"],
        "seed": identity["run_seed"],
        "inputs": "; ".join(
            f"{name} ({record['n_events']} events)"
            for name, record in zip(circumstance["inputs"], identity["inputs"], strict=True)
        ),
        "made": f"{circumstance['created']} on {circumstance['host']}, card {circumstance['card']}",
    }
    for key, value in rows.items():
        out.print(f"[bold]{key:>9}[/]  {escape(str(value))}", highlight=False)
