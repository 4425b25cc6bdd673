"""`fastsim detector`: look at detectors."""

from __future__ import annotations

from typing import Annotated

import typer

from fastsim.cli.console import out, print_json

app = typer.Typer(help="Look at detectors.", no_args_is_help=True)


@app.command()
def show(
    detector: Annotated[str, typer.Argument(help="Detector file, or the name of a shipped one.")],
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show a detector's layers, material and conventions."""
    from rich.table import Table

    from fastsim.detector import load_detector
    from fastsim.kernels.conventions import DESCRIPTIONS

    found = load_detector(detector)
    if json:
        print_json(found.model_dump(mode="json"))
        return
    table = Table(title=f"{found.name}: {found.b_z:g} T", title_justify="left", title_style="bold")
    for name in (
        "layer\n",
        "r\ncm",
        "half length\ncm",
        "|eta|\nbelow",
        "x/X0\n%",
        "σ r-phi\nµm",
        "σ z\nµm",
        "found\n%",
    ):
        table.add_column(name, justify="left" if name == "layer\n" else "right", no_wrap=True)
    from math import asinh

    total = 0.0
    for layer in sorted(found.layers, key=lambda item: item.r):
        total += layer.x_over_x0
        found_share = None if layer.efficiency is None else 100 * layer.efficiency
        hits = [f"{x:g}" if x is not None else "-" for x in (layer.sigma_rphi_um, layer.sigma_z_um, found_share)]
        table.add_row(
            layer.name,
            f"{layer.r:g}",
            f"{layer.half_length:g}",
            f"{asinh(layer.half_length / layer.r):.2f}",
            f"{100 * layer.x_over_x0:.3g}",
            *hits,
        )
    rules = found.tracking
    out.print(table)
    out.print(f"material at normal incidence: {100 * total:.2f} % of a radiation length", highlight=False)
    out.print(f"scattering: {rules.scattering} ({DESCRIPTIONS[rules.scattering]})", highlight=False)
    out.print(
        f"a track has at least {rules.min_hits} hits, reaches r = {rules.min_radius:g} cm, "
        f"crosses layers with sin(incidence) < {rules.max_sin_incidence:g}",
        highlight=False,
    )
    out.print(f"source: {found.source}", highlight=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of detector files, for editors."""
    from fastsim.detector import Detector

    print_json(Detector.model_json_schema())
