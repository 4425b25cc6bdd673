"""`fastsim card`: check, show, make and import cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fastsim.cli.console import out, print_json, print_uncut
from fastsim.cli.files import write_text
from fastsim.errors import CardError, UsageError

app = typer.Typer(help="Check, show, make and import cards.", no_args_is_help=True)


@app.command()
def check(cards: Annotated[list[str], typer.Argument(help="Card files, or names of shipped ones.")]) -> None:
    """Check cards, their detectors and their modules; every fault with file and line. Exit code 3 if there are any."""
    from fastsim.cards import load_card
    from fastsim.run import check_card

    problems: list[str] = []
    for name in cards:
        try:
            loaded = load_card(name)
            check_card(loaded)
        except CardError as error:
            problems += error.problems
        else:
            out.print(f"{loaded.path}: fine (detector {loaded.detector.name})", highlight=False, markup=False)
    if problems:
        raise CardError(problems)


@app.command()
def show(
    card: Annotated[str, typer.Argument(help="Card file, or the name of a shipped one.")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Change the card: key=value, values as in TOML.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the resolved card and detector as JSON.")] = False,
) -> None:
    """Show the resolved card, each value with the place that it comes from."""
    from json import loads

    from fastsim.cards import load_card

    loaded = load_card(card, sets=sets or ())
    if json:
        print_json(loads(loaded.canonical()))
        return
    values = list(_leaves(loaded.card.model_dump(exclude_none=True), ()))
    width = max(len(f"{key} = {value!r}") for _, key, value in values)
    for path, key, value in values:
        origin = loaded.document.origins.get(path, "default")
        out.print(f"{f'{key} = {value!r}':<{width}}  # {origin}", highlight=False, markup=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of cards, for editors (`#:schema` in the first line of a card)."""
    from fastsim.cards import Card

    print_json(Card.model_json_schema())


@app.command()
def new(
    path: Annotated[Path, typer.Argument(help="File to write.")],
    base: Annotated[str, typer.Option("--from", help="Shipped card to start from.")] = "alice3",
) -> None:
    """Write a new card that extends a shipped one, ready to edit."""
    from fastsim.cards import load_card

    loaded = load_card(base)
    if path.exists():
        raise UsageError("exists already", where=str(path), hint="choose another name")
    text = [
        f"# Everything that is not said here is as in the card {base!r} (see: fastsim card show {base}).",
        f'extends = "{base}"',
        "",
        '# detector = "my_detector.toml"   # relative to this file, or the name of a shipped one',
        f"seed = {loaded.card.seed}",
        "",
        "[tracking]",
        f'# undefined_species = "{loaded.card.tracking.undefined_species}"',
        "",
        "[output]",
        f"events_per_frame = {loaded.card.output.events_per_frame}",
        "",
    ]
    write_text(path, "\n".join(text))
    out.print(f"{path}: edit it, then `fastsim card check {path}`", highlight=False, markup=False)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Delphes card (.tcl).")],
    path: Annotated[
        Path, typer.Option("--out", "-o", help="Card to write; its detector goes beside it, as <name>_detector.toml.")
    ],
    pile_up: Annotated[
        str | None, typer.Option("--pile-up", help="File of minimum-bias events, for cards with pile-up.")
    ] = None,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Correct what can be corrected in layer tables, and list it.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Translate a Delphes card; what became of each of its modules is listed, here and at the head of both files."""
    from rich.table import Table
    from rich.text import Text

    from fastsim.importers import import_card
    from fastsim.io.rootio import refuse_existing

    detector = path.with_name(f"{path.stem}_detector.toml")
    for one in (path, detector):
        refuse_existing(one, overwrite=overwrite, inputs=[source])
    found = import_card(source, name=path.stem, detector_file=detector.name, pile_up=pile_up, lenient=lenient)
    write_text(detector, found.detector)
    write_text(path, found.card)
    if json:
        print_json([row._asdict() for row in found.rows])
        return
    table = Table("module", "", "what became of it")
    for row in found.rows:
        name = row.name if row.kind in {row.name, ""} else f"{row.kind} {row.name}"
        table.add_row(*(Text(text) for text in (" ".join(filter(None, (name, row.place))), row.status, row.text)))
    print_uncut(table)
    out.print(f"{path}, {detector}: check them with `fastsim card check {path}`", highlight=False, markup=False)


def _leaves(value: Any, path: tuple[str | int, ...]) -> Any:
    """(path, dotted name, value) of everything that is not a table."""
    from fastsim.toml import dotted

    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path, dotted(path), value
