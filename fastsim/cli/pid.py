"""`fastsim pid`: pictures of what a card's devices identify, and efficiency and purity of cuts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastsim.cli.console import out, print_json, print_uncut

app = typer.Typer(help="Particle identification: pictures and cuts.", no_args_is_help=True)
Sets = Annotated[list[str] | None, typer.Option("--set", help="Change the card: key=value, values as in TOML.")]


@app.command()
def plot(
    card: Annotated[str, typer.Argument(help="Card file, or the name of a shipped one.")],
    path: Annotated[Path, typer.Option("--out", "-o", help="PNG, PDF or SVG file.")],
    events: Annotated[int, typer.Option(min=1, help="Events of 200 particles.")] = 300,
    p_range: Annotated[tuple[float, float], typer.Option(help="Momenta from, to [GeV].")] = (0.1, 30.0),
    sets: Sets = None,
) -> None:
    """Draw what each device measures against momentum, and how far it separates e/pi, pi/K and K/p."""
    from fastsim.cards import load_card
    from fastsim.pid.plot import plot_pid

    found = plot_pid(load_card(card, sets=sets or ()), path, n_events=events, p=p_range)
    for device, pairs in found.items():
        for pair, ranges in pairs.items():
            text = ", ".join(f"{low:.2f} to {high:.2f}" for low, high in ranges) or "nowhere"
            out.print(f"{device}: {pair} 3 sigma apart at {text} GeV/c", highlight=False, markup=False)
    out.print(f"wrote {path}", highlight=False, markup=False)


@app.command()
def table(
    card: Annotated[str, typer.Argument(help="Card file, or the name of a shipped one.")],
    inputs: Annotated[list[str], typer.Argument(help="Events, as of `fastsim run`.")],
    cut: Annotated[
        str, typer.Option(help='A formula in p, pt, eta and what devices measure, as "abs(otof_n_sigma_ka) < 3".')
    ],
    sets: Sets = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Efficiency and purity of a cut, for each true species among the reconstructed tracks."""
    from fastsim.cards import load_card
    from fastsim.pid.sample import read_sample
    from fastsim.pid.table import table_of_cut
    from fastsim.run import make_pipeline

    loaded = load_card(card, sets=sets or ())
    made = [column for column in make_pipeline(loaded).makes if column.table == "track"]
    lines = table_of_cut(read_sample(inputs, loaded, [column.name for column in made]), cut, made)
    if json:
        print_json([line._asdict() for line in lines])
        return
    from rich.table import Table

    shown = Table("species", "tracks", "pass", "efficiency", "share of all that pass", box=None)
    for column in shown.columns[1:]:
        column.justify = "right"
    for line in lines:
        efficiency = f"{100 * line.efficiency:.2f} ± {100 * line.sigma_efficiency:.2f} %"
        shown.add_row(line.species, f"{line.n:,}", f"{line.n_passed:,}", efficiency, f"{100 * line.purity:.2f} %")
    print_uncut(shown)
