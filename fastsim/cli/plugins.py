"""`fastsim plugins`: which module kinds are installed, and their options."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from fastsim.cli.console import out, print_json

app = typer.Typer(help="Show the installed module kinds.", invoke_without_command=True)


@app.callback()
def listing(
    context: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False
) -> None:
    """List module kinds with the package that provides them and the columns that they make."""
    if context.invoked_subcommand:
        return
    from rich.table import Table

    from fastsim.plugins import distribution, installed, load_kind

    rows = []
    for name, point in installed().items():
        kind = load_kind(name)
        makes = [str(column) for column in getattr(kind, "makes", ())]
        version = point.dist.version if point.dist else ""
        rows.append({"kind": name, "package": distribution(point), "version": version, "makes": makes})
    if json:
        print_json(rows)
        return
    table = Table("kind", "package", "version", "makes")
    for row in rows:
        table.add_row(
            *(escape(str(row[key])) for key in ("kind", "package", "version")), escape(", ".join(row["makes"]))
        )
    out.print(table)


@app.command()
def show(kind: Annotated[str, typer.Argument(help="Module kind.")]) -> None:
    """Show the options of a module kind, as a table `modules` of a card takes them."""
    from rich.table import Table

    from fastsim.plugins import load_kind

    found = load_kind(kind)
    table = Table(
        "option", "type", "needed", "meaning", title=escape(f"{kind}: {found.Options.__doc__}"), title_justify="left"
    )
    for name, field in found.Options.model_fields.items():
        kind_of = getattr(field.annotation, "__name__", str(field.annotation)).removeprefix("typing.")
        needed = "yes" if field.is_required() else f"no ({field.default!r})"
        table.add_row(*map(escape, (name, kind_of, needed, field.description or "")))
    out.print(table)
