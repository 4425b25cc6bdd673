"""`fastsim detector`: look at detectors, check, import and begin them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fastsim.cli.console import err, out, print_json, print_uncut
from fastsim.cli.files import write_text
from fastsim.errors import CardError, LutError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastsim.detector import Detector, TrackingRules

app = typer.Typer(help="Look at detectors, check, import and begin them.", no_args_is_help=True)
Out = Annotated[Path, typer.Option("--out", "-o", help="Detector file to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]


@app.command()
def show(
    detector: Annotated[str, typer.Argument(help="Detector file, or the name of a shipped one.")],
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show a detector's layers, disks and drift volumes (or formulas, or tables), material and conventions."""
    from fastsim.detector import load_detector

    found = load_detector(detector)
    if json:
        print_json(found.model_dump(mode="json"))
        return
    table = _formulas(found) if found.formulas else _tables(found) if found.tables else _elements(found)
    table.title, table.title_justify, table.title_style = escape(f"{found.name}: {found.b_z:g} T"), "left", "bold"
    print_uncut(table)
    for line in _remarks(found):
        out.print(line, highlight=False, markup=False)


@app.command()
def check(detectors: Annotated[list[str], typer.Argument(help="Detector files, or names of shipped ones.")]) -> None:
    """Check detectors, formulas and tables included; every fault (exit code 3), and warnings of what may not be meant so."""
    from fastsim.cli.solve import check_solvable
    from fastsim.detector import load_detector
    from fastsim.detector.review import review

    problems: list[str] = []
    for name in detectors:
        try:
            found = load_detector(name)
        except CardError as error:
            problems += error.problems
            continue
        result = review(found)
        try:
            result.warnings.extend(check_solvable(found))
        except LutError as error:
            problems.append(f"{name}: {error.where}: {error.what}" + (f" ({error.hint})" if error.hint else ""))
            continue
        out.print(f"{found.name}: fine, {_summary(found, result)}", highlight=False, markup=False)
        for warning in result.warnings:
            out.print(f"  warning: {warning}", highlight=False, markup=False)
    if problems:
        raise CardError(problems)


@app.command()
def plot(
    detectors: Annotated[list[str], typer.Argument(help="Detector files, or names of shipped ones.")],
    path: Annotated[Path, typer.Option("--out", "-o", help="Picture to write: .png, .pdf or .svg.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing picture.")] = False,
) -> None:
    """Draw layout, material budget and number of hits."""
    from fastsim.detector import load_detector
    from fastsim.detector.plot import check_format, plot_detector
    from fastsim.io.rootio import refuse_existing

    check_format(path)
    refuse_existing(path, overwrite=overwrite)
    plot_detector([load_detector(detector) for detector in detectors], path)
    out.print(str(path), highlight=False, markup=False)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Delphes card or layer table, or an ALICE 3 a3geometry*.ini.")],
    path: Out,
    lenient: Annotated[bool, typer.Option("--lenient", help="Correct what can be corrected, and list it.")] = False,
    name: Annotated[str | None, typer.Option(help="Name of the detector (default: from the file's name).")] = None,
    b_z: Annotated[
        float | None, typer.Option("--b-z", help="Field along the beam in T, instead of the file's.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Translate another program's detector; what has no counterpart is refused, with file and line."""
    from fastsim.detector.importers import import_detector
    from fastsim.io.rootio import refuse_existing

    refuse_existing(path, overwrite=overwrite, inputs=[source])
    found = import_detector(source, lenient=lenient, name=name, b_z=b_z)
    write_text(path, found.text)
    for note in found.notes:
        err.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    out.print(f"{path}: look at it with `fastsim detector check {path}`", highlight=False, markup=False)


@app.command("import-muon")
def import_muon(
    source: Annotated[Path, typer.Argument(help="ROOT file with THnSparse mAccEffMuonPID_<muon|pion|kaon|proton>.")],
    path: Annotated[Path, typer.Option("--out", "-o", help="Table to write (.npz), for a detector's [[muon]].")],
    overwrite: Overwrite = False,
) -> None:
    """Translate DelphesO2's table of muon identification in (eta, p, production z, multiplicity)."""
    from fastsim.devices.muon_table import muon_tables_of_root, write_muon_tables
    from fastsim.io.rootio import refuse_existing

    refuse_existing(path, overwrite=overwrite, inputs=[source])
    write_muon_tables(muon_tables_of_root(source), path)
    out.print(str(path), highlight=False, markup=False)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the detector.")],
    path: Out,
    overwrite: Overwrite = False,
) -> None:
    """Write a small detector with every key explained, ready to edit."""
    import re

    from fastsim.detector.template import template
    from fastsim.io.rootio import refuse_existing

    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise UsageError(f"{name!r}: not a name for a detector", hint="letters, digits and _ . - only")
    refuse_existing(path, overwrite=overwrite)
    write_text(path, template(name))
    out.print(f"{path}: edit it, then `fastsim detector check {path}`", highlight=False, markup=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of detector files, for editors."""
    from fastsim.detector import Detector

    print_json(Detector.model_json_schema())


def _elements(found: Detector) -> Any:
    """Layers, disks and drift volumes; a drift volume is one row."""
    table = _table(
        "layer\n", "r\ncm", "z\ncm", "|eta|\n", "x/X0\n%", "density\ng/cm2", "σ r-phi\nµm", "σ z, r\nµm", "found\n%"
    )
    for layer in sorted(found.layers, key=lambda item: item.r):
        eta = f"< {math.asinh(layer.half_length / layer.r):.2f}"
        table.add_row(
            escape(layer.name), f"{layer.r:g}", f"± {layer.half_length:g}", eta, *_numbers(layer, layer.sigma_z_um)
        )
    table.add_section()
    for disk in sorted(found.disks, key=lambda item: (item.z < 0, abs(item.z))):
        high = f"{math.asinh(abs(disk.z) / disk.r_min):.2f}" if disk.r_min else "inf"
        eta = f"{math.asinh(abs(disk.z) / disk.r_max):.2f} - {high}"
        z = f"± {disk.z:g}" if disk.both_sides else f"{disk.z:+g}"
        table.add_row(escape(disk.name), f"{disk.r_min:g} - {disk.r_max:g}", z, eta, *_numbers(disk, disk.sigma_r_um))
    table.add_section()
    for volume in found.drift_volumes:
        last = volume.r_first + (volume.n_layers - 1) * volume.pitch
        eta = f"< {math.asinh(volume.half_length / last):.2f}"
        numbers = _numbers(volume, volume.sigma_z_um, n=volume.n_layers)
        table.add_row(escape(volume.name), f"{volume.r_first:g} - {last:g}", f"± {volume.half_length:g}", eta, *numbers)
    if table.rows:
        table.rows[-1].end_section = False
    return table


def _table(*columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table


def _numbers(element: Any, sigma_2_um: float | None, *, n: int = 1) -> list[str]:
    """Material (of all `n` layers), resolutions and efficiency."""
    density = "-" if element.areal_density is None else f"{n * element.areal_density:.3g}"
    sigmas = ["-" if sigma is None else f"{sigma:g}" for sigma in (element.sigma_rphi_um, sigma_2_um)]
    if element.views:
        views = [
            f"{view.sigma_um:g}" + f" at {view.stereo_angle:g}" * (view.stereo_angle != 0) for view in element.views
        ]
        sigmas = [*views, "-"][:2]
    share = "-" if element.efficiency is None else f"{100 * element.efficiency:g}"
    return [f"{100 * n * element.x_over_x0:.3g}", density, *sigmas, share]


def _formulas(found: Detector) -> Any:
    table = _table("species", "quantity", "formula")
    table.columns[1].justify = table.columns[2].justify = "left"
    table.columns[2].no_wrap = False
    for formula in found.formulas:
        for i, (key, text) in enumerate(formula.model_dump(exclude={"species"}).items()):
            table.add_row(" ".join(formula.species) if i == 0 else "", key, escape(" ".join(text.split())))
        table.add_section()
    return table


def _tables(found: Detector) -> Any:
    table = _table("species", "file", "sha256")
    for entry in found.tables:
        table.add_row(entry.species, escape(entry.file), f"{entry.sha256[:16]}…")
    return table


def _remarks(found: Detector) -> Iterator[str]:
    """What stands below the table."""
    if found.tracking:
        volumes = sum(volume.n_layers * volume.x_over_x0 for volume in found.drift_volumes)
        total = sum(layer.x_over_x0 for layer in found.layers) + volumes
        yield f"material at normal incidence: {100 * total:.2f} % of a radiation length"
        for volume in found.drift_volumes:
            stereo = f", tan(stereo) = ± {volume.stereo_tan_per_cm:g}/cm x r" if volume.stereo_tan_per_cm else ""
            yield f"{volume.name}: {volume.n_layers} layers, one every {volume.pitch:g} cm{stereo}; material is that of all"
        yield from _rules(found.tracking)
    if found.r_edges:
        yield f"bins of the production radius: {', '.join(f'{edge:g}' for edge in found.r_edges)} cm"
    yield f"source: {found.source}"


def _rules(rules: TrackingRules) -> Iterator[str]:
    from fastsim.kernels.conventions import DESCRIPTIONS

    yield f"scattering: {rules.scattering} ({DESCRIPTIONS[rules.scattering]})"
    scale = "" if rules.electron_scale == 1.0 else f", resolutions times {rules.electron_scale:g}"
    yield f"energy loss: {rules.energy_loss}, straggling: {rules.straggling}, electrons: {rules.electrons}{scale}"
    yield (
        f"a track has at least {rules.min_hits} hits, reaches r = {rules.min_radius:g} cm, "
        f"crosses layers with sin(incidence) < {rules.max_sin_incidence:g}"
    )
    occupancy = rules.occupancy
    yield f"wrong hits: {f'hit density at rapidity {occupancy.average_rapidity:g}' if occupancy else 'none'}"


def _summary(found: Detector, result: Any) -> str:
    if not found.tracking:
        species = [name for formula in found.formulas for name in formula.species] or [t.species for t in found.tables]
        return f"{'formulas' if found.formulas else 'tables'} for {', '.join(species)}"
    low, high = result.eta_range or (0.0, 0.0)
    reach = f"|eta| < {high:.2f}" if abs(low + high) < 1e-6 else f"{low:.2f} < eta < {high:.2f}"
    return (
        f"{result.n_measuring} measuring layers, {100 * result.material_at_0:.2f} % of a radiation length at eta = 0, "
        + (f"tracks at {reach}" if result.eta_range else "no tracks")
    )
