"""`fastsim lut`: build, show and plot lookup tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastsim.cli.console import Bars, out, print_json
from fastsim.errors import UsageError

if TYPE_CHECKING:
    from fastsim.luts import Lut

app = typer.Typer(help="Build, show and plot lookup tables.", no_args_is_help=True)
Detector = Annotated[str, typer.Argument(help="Detector file, or the name of a shipped one.")]


@app.command()
def build(
    detector: Detector,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for the tables (default: the user's cache).")
    ] = None,
    species: Annotated[
        list[str] | None, typer.Option(help="el, mu, pi, ka or pr; may be repeated (default: all).")
    ] = None,
    pt_bins: Annotated[int, typer.Option(min=2, max=10000, help="Bins in pt, equal in the logarithm.")] = 200,
    eta_bins: Annotated[int, typer.Option(min=2, max=10000, help="Bins in eta.")] = 80,
    pt_range: Annotated[tuple[float, float], typer.Option(help="Edges in pt [GeV].")] = (0.01, 100.0),
    eta_max: Annotated[float, typer.Option(min=0.1, max=10.0, help="The tables cover -eta_max to eta_max.")] = 4.0,
) -> None:
    """Compute efficiency and the full covariance on a grid in pt and eta, for each species."""
    from time import process_time

    from fastsim.detector import load_detector
    from fastsim.luts import Grid, build_lut, write_lut
    from fastsim.luts.store import cache_folder, file_name
    from fastsim.species import NAMES, by_name

    chosen = [_species(name) for name in species or NAMES]
    if not 0 < pt_range[0] < pt_range[1]:
        raise UsageError(f"--pt-range {pt_range[0]:g} {pt_range[1]:g}: must increase and be positive")
    found = load_detector(detector)
    grid = Grid(n_pt=pt_bins, n_eta=eta_bins, pt_min=pt_range[0], pt_max=pt_range[1], eta_max=eta_max)
    target = folder or cache_folder()
    lines = []
    with Bars() as progress:
        for done, name in enumerate(chosen):
            progress.luts(name, done, len(chosen))
            begin = process_time()
            lut = build_lut(found, by_name(name), grid, command=f"fastsim lut build {detector}")
            seconds = process_time() - begin
            path = target / file_name(found, by_name(name), lut.header.key)
            try:
                write_lut(lut, path)
            except OSError as error:
                raise UsageError(f"cannot be written ({error.strerror})", where=str(path)) from None
            lines.append(
                f"{path}  {path.stat().st_size / 1e6:.2f} MB, {1e6 * seconds / lut.values[..., 0].size:.2f} us per bin"
            )
        progress.luts("", len(chosen), len(chosen))
    for line in lines:
        out.print(line, highlight=False)


@app.command()
def show(
    table: Annotated[str, typer.Argument(help="A .lut file, or a detector (its table is found or built).")],
    species: Annotated[str, typer.Option(help="Which species of a detector.")] = "pi",
    eta: Annotated[float, typer.Option(help="In the eta bin that holds this value.")] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="Print header and numbers as JSON.")] = False,
) -> None:
    """Show resolution and efficiency against pt at one eta."""
    import numpy as np
    from rich.table import Table

    from fastsim.columns import PARAMETERS

    lut = _find(table, species)
    pt = lut.header.grid.pt_centers
    sigma = {name: lut.sigma(name, eta) for name in PARAMETERS}
    efficiency = lut.efficiency(eta)
    if json:
        clean = {name: [None if np.isnan(x) else x for x in values.tolist()] for name, values in sigma.items()}
        print_json(
            {"header": lut.header.model_dump(), "pt": pt.tolist(), "efficiency": efficiency.tolist(), "sigma": clean}
        )
        return
    header = lut.header
    low, high = header.grid.eta_edges[[lut.eta_bin(eta), lut.eta_bin(eta) + 1]]
    shown = Table(
        title=f"Resolution of {header.species} in {header.detector}, {header.b_z:g} T, {low:g} < eta < {high:g}",
        title_justify="left",
        title_style="bold",
    )
    units = {"pt": "GeV", "found": "%", "σ(pt)/pt": "%", "dca_xy": "µm", "dca_z": "µm", "phi": "mrad", "tan λ": "1e-3"}
    for name, unit in units.items():
        shown.add_column(f"{name}\n{unit}", justify="right", no_wrap=True)
    shown.add_column("σ(pt)/pt\nlog scale", no_wrap=True)
    valid = np.flatnonzero(efficiency > 0)
    picks = sorted(
        {int(np.argmin(np.abs(np.log(pt / x)))) for x in (0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 50, 100)}
    )
    relative = sigma["q_over_pt"] * pt
    longest = np.nanmax(np.log(relative[valid] / np.nanmin(relative[valid]))) or 1.0
    for i in picks:
        if i not in valid:
            shown.add_row(f"{pt[i]:.3g}", "0", *["-"] * 5, "")
            continue
        bar = "▇" * (1 + round(9 * float(np.log(relative[i] / np.nanmin(relative[valid])) / longest)))
        values = (
            100 * relative[i],
            1e4 * sigma["dca_xy"][i],
            1e4 * sigma["dca_z"][i],
            1e3 * sigma["phi"][i],
            1e3 * sigma["tan_lambda"][i],
        )
        shown.add_row(f"{pt[i]:.3g}", f"{100 * efficiency[i]:.3g}", *(f"{x:.3g}" for x in values), bar)
    out.print(shown)


@app.command()
def plot(
    tables: Annotated[list[str], typer.Argument(help=".lut files, or detectors (their tables are found or built).")],
    path: Annotated[Path, typer.Option("--out", "-o", help="Picture to write: .png, .pdf or .svg.")],
    species: Annotated[str, typer.Option(help="Which species of a detector.")] = "pi",
    eta: Annotated[list[float] | None, typer.Option(help="Eta values, may be repeated (default: 0, 1, 2, 3).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing picture.")] = False,
) -> None:
    """Draw momentum resolution, pointing and efficiency against pt."""
    from fastsim.io.rootio import refuse_existing
    from fastsim.luts.plot import plot_luts

    refuse_existing(path, overwrite=overwrite)
    plot_luts([_find(table, species) for table in tables], path, etas=eta or [0.0, 1.0, 2.0, 3.0])
    out.print(str(path), highlight=False)


def _species(name: str) -> str:
    from fastsim.species import NAMES

    if name not in NAMES:
        raise UsageError(f"--species {name}: not a tracked species", hint=f"allowed: {', '.join(NAMES)}")
    return name


def _find(table: str, species: str) -> Lut:
    """The table in a file, or that of a detector."""
    from fastsim.detector import load_detector
    from fastsim.luts import get_luts, read_lut
    from fastsim.species import by_name

    if table.endswith(".lut"):
        return read_lut(Path(table))
    kind = by_name(_species(species))
    with Bars() as progress:
        return get_luts(load_detector(table), species=[kind], progress=progress.luts, command="fastsim lut").luts[0]
