"""`fastsim inspect`: what is in a file, and what made it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fastsim.cli.console import out, print_json, print_uncut
from fastsim.errors import InputError

if TYPE_CHECKING:
    from fastsim.io.check_tools import Check, Report

MANY = 15  # trees: with more of them, empty ones are told on one line


def inspect(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A ROOT or Parquet file, ours or another.")],
    digest: Annotated[bool, typer.Option("--digest", help="Print only the hash of all columns.")] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Check indices, order, counts, ranges and units; exit code 4 if any is wrong."),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print trees, branches and provenance (or checks) as JSON.")
    ] = False,
) -> None:
    """Show trees, branches and what made the file. The digest is equal for files with equal columns."""
    from fastsim.io import inspect as look

    if check:
        _check(path, json=json)
        return
    if digest:
        print(look.digest(path))
        return
    content, made_by = look.content(path), look.read_provenance(path)
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
    empty = [name for name, tree in content.items() if not tree["entries"]] if len(content) > MANY else []
    for name, tree in content.items():
        if name in empty:
            continue
        branches = [b for b in tree["branches"] if not b.endswith("_size")]
        shown = ", ".join(branches[:9]) + (f" and {len(branches) - 9} more" if len(branches) > 9 else "")
        table.add_row(escape(name), f"{tree['entries']:,}", escape(shown))
    if empty:
        table.add_row(f"{len(empty)} empty trees", "0", escape(", ".join(name.rpartition("/")[2] for name in empty)))
    out.print(table)
    if made_by is None:
        out.print("no provenance: not written by fastsim", highlight=False)
        return
    identity, circumstance = made_by["identity"], made_by["circumstance"]
    runs = identity.get("runs", [identity])
    inputs = [record for run in runs for record in run["inputs"]]
    rows = {
        "identity": identity["sha256"],
        "fastsim": f"{identity['fastsim']} {circumstance['git']}".strip(),
        "detector": identity["resolved"]["detector"]["name"],
        "seed": ", ".join(str(run["run_seed"]) for run in runs),
        "inputs": "; ".join(
            f"{name} ({record['n_events']} events)" for name, record in zip(circumstance["inputs"], inputs, strict=True)
        ),
        "made": f"{circumstance['created']} on {circumstance['host']}, card {circumstance['card']}",
    }
    if "merged" in circumstance:
        rows["merged"] = f"of {len(circumstance['merged'])} files"
    for key, value in rows.items():
        out.print(f"[bold]{key:>9}[/]  {escape(str(value))}", highlight=False)


def _check(path: Path, *, json: bool) -> None:
    """Print what was checked; exit with 4 if anything is wrong."""
    from fastsim.io.check import check

    report = check(path)
    if json:
        checks = [vars(one) for one in report.checks.values()]
        print_json(
            {"format": report.format, "faults": report.n_faults, "checks": checks, "not_checked": report.unchecked}
        )
    else:
        _print_checks(path, report)
    if report.n_faults:
        raise typer.Exit(InputError.exit_code)


def _by_tree(report: Report) -> dict[str, list[Check]]:
    """Rules by what they begin with: a tree, or in files of one tree a collection; empty trees together."""
    found: dict[str, list[Check]] = {}
    for check in report.checks.values():
        name = re.split(r"[.:_]" if report.format == "nano" else r"[.:]", check.what)[0]
        found.setdefault(name, []).append(check)
    empty = {name: checks for name, checks in found.items() if not any(check.n_rows for check in checks)}
    if len(empty) > 1:
        found = {name: checks for name, checks in found.items() if name not in empty}
        found[f"{len(empty)} empty tables"] = [check for checks in empty.values() for check in checks]
    return found


def _print_checks(path: Path, report: Report) -> None:
    from rich.table import Table

    table = Table("checked", title=escape(f"{path}, {report.format}"), title_justify="left", title_style="bold")
    for name in ("rules", "rows", "faults"):
        table.add_column(name, justify="right")
    for name, checks in _by_tree(report).items():  # all rules one by one: --json
        faults = f"[bold red]{n:,}[/]" if (n := sum(check.n_faults for check in checks)) else "ok"
        table.add_row(escape(name), f"{len(checks):,}", f"{max(check.n_rows for check in checks):,}", faults)
    print_uncut(table)
    for name, reason in report.unchecked.items():
        out.print(f"[bold yellow]not checked[/] {escape(name)}: {escape(reason)}", highlight=False)
    broken = [check for check in report.checks.values() if check.n_faults]
    for check in broken:
        out.print(f"[bold red]fault[/] {escape(check.what)}; first: {escape(check.first)}", highlight=False)
    if broken:
        out.print(f"[bold red]{len(broken)} of {len(report.checks)} rules are broken[/]", highlight=False)
    else:
        out.print(f"[bold]all {len(report.checks)} rules hold[/]", highlight=False)
