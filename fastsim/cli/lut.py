"""`fastsim lut`: build, check, show, draw, compare, import and export lookup tables."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastsim.cli.console import Bars, err, out, print_json
from fastsim.cli.tables import bins_text, print_comparison, resolutions
from fastsim.errors import LutError, UsageError, cannot_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastsim.detector import Detector
    from fastsim.luts import Grid, Lut

app = typer.Typer(help="Build, check, show, draw, compare, import and export lookup tables.", no_args_is_help=True)
SpeciesOption = Annotated[
    str | None,
    typer.Option("--species", help="Which species of a detector: el mu pi ka pr de tr he3 al (default: pi)."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
TABLE_HELP = "A .lut file, DelphesO2's .dat, or a detector (its table is found or built)."


@app.command()
def build(
    detector: Annotated[
        str | None, typer.Argument(help="Detector file, or the name of a shipped one.", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for the tables (default: the user's cache).")
    ] = None,
    species: Annotated[
        list[str] | None,
        typer.Option(help="el, mu, pi, ka, pr, de, tr, he3 or al; may be repeated (default: all there are)."),
    ] = None,
    pt_bins: Annotated[int, typer.Option(min=2, max=10000, help="Bins in pt, equal in the logarithm.")] = 200,
    eta_bins: Annotated[int, typer.Option(min=2, max=10000, help="Bins in eta.")] = 80,
    dnch_bins: Annotated[
        int, typer.Option(min=1, max=1000, help="Bins in dN_ch/deta, if the detector has an occupancy model.")
    ] = 20,
    pt_range: Annotated[tuple[float, float], typer.Option(help="Edges in pt in GeV.", metavar="LOW HIGH")] = (
        0.01,
        100.0,
    ),
    eta_max: Annotated[float, typer.Option(min=0.1, max=10.0, help="The tables cover -eta_max to eta_max.")] = 4.0,
    r_edges: Annotated[
        str | None, typer.Option(help="Edges of the production radius in cm, like 0,1,10 (default: the detector's).")
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option("--from-sample", help="Measure them in tracks of a full simulation (CSV, .npz, .root) instead."),
    ] = None,
    b_z: Annotated[float | None, typer.Option(help="Field of the sample in T.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the sample's detector.")] = None,
    no_radiation: Annotated[
        bool, typer.Option("--no-radiation", help="Electrons without bremsstrahlung: for cards with a module material.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Compute efficiency and covariance on a grid, for each species; or measure them in a full simulation."""
    from fastsim.luts import Grid

    if not 0 < pt_range[0] < pt_range[1]:
        raise UsageError(f"--pt-range {pt_range[0]:g} {pt_range[1]:g}: must increase and be positive")
    grid = Grid(
        n_pt=pt_bins, n_eta=eta_bins, n_dnch=dnch_bins, pt_min=pt_range[0], pt_max=pt_range[1], eta_max=eta_max,
        r_edges=_edges(r_edges),
    )  # fmt: skip
    chosen = [_species(item) for item in species or ()]
    if detector and sample is None and b_z is None and name is None:
        _build(detector, folder, chosen, grid, radiation=not no_radiation)
    elif not detector and sample and folder and b_z is not None and name:
        _build_from_sample(sample, folder, chosen, grid, b_z, name, overwrite=overwrite)
    else:
        raise UsageError("give a DETECTOR; or --from-sample with --b-z, --name and --out, and no detector")


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help=".lut files, or DelphesO2's .dat.")],
    detector: Annotated[str | None, typer.Option(help="They must also be tables of this detector.")] = None,
) -> None:
    """Check that tables are whole, unchanged, and positive definite everywhere. Exit code 3 if one is not."""
    from fastsim.detector import load_detector
    from fastsim.luts.check import check_lut

    expected = load_detector(detector) if detector else None
    problems, hints = [], set()
    for path in files:
        try:
            lut = _read(path)
            check_lut(lut, expected)
        except LutError as error:
            problems.append(f"{path}: {error.what}")
            hints.add(error.hint)
            continue
        header, n = lut.header, int(lut.is_valid.sum())
        text = f"{header.species} in {header.detector}, {n:,} of {lut.is_valid.size:,} cells have a track"
        out.print(f"{path}: fine, {text}; {', '.join(header.efficiencies)}", highlight=False, markup=False)
    if problems:
        hint = hints.pop() if len(hints) == 1 else ""  # of one fault it would be no help with the others
        raise LutError("\n".join(problems), hint=hint)


@app.command()
def show(
    table: Annotated[str, typer.Argument(help=TABLE_HELP)],
    species: SpeciesOption = None,
    eta: Annotated[float, typer.Option(help="In the eta bin that holds this value.")] = 0.0,
    r: Annotated[float, typer.Option(help="Of tracks born at this radius in cm.")] = 0.0,
    dnch_deta: Annotated[float, typer.Option(min=0.0, help="At the occupancy next to this one.")] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="Print header and numbers as JSON.")] = False,
) -> None:
    """Show resolution and efficiency against pt at one eta, production radius and occupancy."""
    from fastsim.columns import PARAMETERS

    lut = _find(table, species)
    sigma = {name: lut.sigma(name, eta, r) for name in PARAMETERS}
    efficiency = lut.efficiency(eta, r, dnch_deta)
    if json:
        others = {name: lut.efficiency(eta, r, dnch_deta, name).tolist() for name in lut.efficiencies}
        clean = {name: [x if x == x else None for x in values.tolist()] for name, values in sigma.items()}  # noqa: PLR0124
        pt = lut.header.grid.pt_centers.tolist()
        header = lut.header.model_dump()
        print_json(
            {"header": header, "pt": pt, "efficiency": efficiency.tolist(), "efficiencies": others, "sigma": clean}
        )
    else:
        out.print(resolutions(lut, sigma, efficiency, bins_text(lut, eta, r, dnch_deta)))


@app.command()
def plot(
    tables: Annotated[
        list[str], typer.Argument(help=f"{TABLE_HELP} Several have different lines (at one eta: colours).")
    ],
    path: Annotated[Path, typer.Option("--out", "-o", help="Picture to write: .png, .pdf or .svg.")],
    species: SpeciesOption = None,
    eta: Annotated[list[float] | None, typer.Option(help="Eta values, may be repeated (default: 0, 1, 2, 3).")] = None,
    r: Annotated[float, typer.Option(help="Of tracks born at this radius in cm.")] = 0.0,
    dnch_deta: Annotated[
        list[float] | None, typer.Option(help="Occupancies of the efficiency, may be repeated (default: the lowest).")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw momentum resolution, pointing and efficiency against pt."""
    from fastsim.detector.plot import check_format
    from fastsim.io.rootio import refuse_existing
    from fastsim.luts.plot import plot_luts

    check_format(path)
    refuse_existing(path, overwrite=overwrite)
    luts = [_find(table, species) for table in tables]
    plot_luts(luts, path, etas=eta, r=r, dnch_deta=dnch_deta or [0.0])
    out.print(str(path), highlight=False, markup=False)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(help=TABLE_HELP)],
    second: Annotated[str, typer.Argument(help="The other one.")],
    species: SpeciesOption = None,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0.0, help="Exit code 1 if a difference is larger in size, or nothing could be compared."),
    ] = None,
    r: Annotated[
        float | None, typer.Option(help="Compare the bins that hold this production radius in cm (default: 0).")
    ] = None,
    all_radii: Annotated[bool, typer.Option("--all-radii", help="Compare all bins of the production radius.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare the second table with the first: largest (with its sign) and median difference, and where the largest is."""
    from fastsim.luts.diff import compare_luts

    if all_radii and r is not None:
        raise UsageError("--r and --all-radii: one of them only")
    found = compare_luts(_find(first, species), _find(second, species), None if all_radii else r or 0.0)
    if json:
        print_json({**found._asdict(), "differences": [item._asdict() for item in found.differences]})
    else:
        print_comparison(found, first, second)
    if tolerance is not None and (found.largest > tolerance or not found.n_both):
        raise typer.Exit(1)


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="DelphesO2's lutCovm files of one detector.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the tables and the detector file.")],
    name: Annotated[str | None, typer.Option(help="Name of the detector (default: from the files' names).")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Import DelphesO2's binary tables, of any version; also writes the detector file to run them with."""
    from fastsim.luts.lutcovm import import_lutcovm
    from fastsim.luts.ready import write_ready

    name = _detector_name(name or _common_name(files[0]))
    luts, notes = [], []
    with Bars() as progress:
        for done, path in enumerate(files):
            progress.luts(path.name, done, len(files))
            lut, found = import_lutcovm(path, detector=name, command=f"fastsim lut import {path.name}")
            luts.append(lut)
            notes += [f"{path.name}: {note}" for note in found]
        progress.luts("", len(files), len(files))
    source = f"lutCovm tables of DelphesO2: {', '.join(path.name for path in files)}"
    paths = write_ready(folder, name, luts, source=source, notes=notes, overwrite=overwrite)
    _report(paths, notes)


@app.command()
def export(
    table: Annotated[str, typer.Argument(help=TABLE_HELP)],
    path: Annotated[Path, typer.Option("--out", "-o", help="File to write, like lutCovm.pi.dat.")],
    species: SpeciesOption = None,
    overwrite: Overwrite = False,
) -> None:
    """Export a table in the binary format of DelphesO2 and O2Physics, a detector's on their default grid."""
    from fastsim.io.rootio import refuse_existing
    from fastsim.luts.lutcovm import DEFAULT_GRID, export_lutcovm

    refuse_existing(path, overwrite=overwrite)
    lut = _find(table, species, DEFAULT_GRID)
    try:
        export_lutcovm(lut, path)
    except OSError as error:
        raise cannot_write(error, path) from None
    out.print(f"{path}  {path.stat().st_size / 1e6:.1f} MB", highlight=False, markup=False)


# --- building ---


def _build(detector: str, folder: Path | None, species: list[str], grid: Grid, *, radiation: bool) -> None:
    """Build from layers or formulas, and say what came out."""
    from contextlib import suppress
    from time import process_time

    from fastsim.cards.load import without_radiation
    from fastsim.detector import load_detector
    from fastsim.luts import build_lut, write_lut
    from fastsim.luts.ready import all_or_nothing
    from fastsim.luts.store import cache_folder, file_name
    from fastsim.species import by_name

    found = load_detector(detector)
    if not radiation:
        found = without_radiation(found)
    there = list(_species_of(found))
    chosen = species or there
    lines = []
    with Bars() as progress:
        progress.luts(chosen[0], 0, len(chosen))
        with suppress(LutError):  # compiles, which is not to be timed; so few cells may hold no track
            build_lut(found, by_name(chosen[0]), grid.model_copy(update={"n_pt": 2, "n_eta": 2}))
        for done, item in enumerate(chosen):
            progress.luts(item, done, len(chosen))
            begin = process_time()
            lut = build_lut(found, by_name(item), grid, command=f"fastsim lut build {detector}")
            seconds = process_time() - begin
            path = (folder or cache_folder()) / file_name(found, by_name(item), lut.header.key)
            with all_or_nothing(path.parent, [path]):
                write_lut(lut, path)
            lines.append(
                f"{path}  {path.stat().st_size / 1e6:.2f} MB, {1e6 * seconds / lut.is_valid.size:.2f} us per bin"
            )
        progress.luts("", len(chosen), len(chosen))
    for line in lines:
        out.print(line, highlight=False, markup=False)


def _species_of(detector: Detector) -> Iterator[str]:
    """The species that tables can be built of."""
    from fastsim.species import NAMES

    if detector.tables:
        raise UsageError(f"{detector.name} is made of ready tables: there is nothing to build")
    having = [name for formula in detector.formulas for name in formula.species] if detector.formulas else NAMES
    yield from (name for name in NAMES if name in having)


def _build_from_sample(
    sample: Path, folder: Path, species: list[str], grid: Grid, b_z: float, name: str, *, overwrite: bool
) -> None:
    """Build from a full simulation's tracks, and say what came out."""
    from fastsim.luts.ready import write_ready
    from fastsim.luts.sample import build_from_sample, species_in_sample
    from fastsim.luts.sample_file import read_sample
    from fastsim.species import by_name

    name = _detector_name(name)
    if not 0 < abs(b_z) <= 20:
        raise UsageError(f"--b-z {b_z:g}: must be up to 20 T, and not 0")
    luts, notes = [], []
    with Bars() as progress:
        tracks = read_sample(sample)
        chosen = [by_name(item) for item in species] or species_in_sample(tracks)
        for done, item in enumerate(chosen):
            progress.luts(item.name, done, len(chosen))
            command = f"fastsim lut build --from-sample {sample.name} --b-z {b_z:g} --name {name}"
            lut, found = build_from_sample(tracks, item, grid, detector=name, b_z=b_z, command=command)
            luts.append(lut)
            notes += [f"{item.name}: {note}" for note in found]
        progress.luts("", len(chosen), len(chosen))
    if not luts:
        raise LutError("no reconstructed track of a tracked species", where=str(sample))
    source = f"tracks of a full simulation: {sample.name}, sha256 {tracks.sha256}"
    _report(write_ready(folder, name, luts, source=source, notes=notes, overwrite=overwrite), notes)


def _report(paths: Sequence[Path], notes: Sequence[str]) -> None:
    for note in notes:
        err.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    for path in paths:
        out.print(str(path), highlight=False, markup=False)


# --- what was meant ---


def _species(name: str) -> str:
    from fastsim.species import NAMES

    if name not in NAMES:
        raise UsageError(f"--species {name}: not a tracked species", hint=f"allowed: {', '.join(NAMES)}")
    return name


def _edges(text: str | None) -> list[float] | None:
    """Numbers of `--r-edges`."""
    if text is None:
        return None
    try:
        edges = [float(part) for part in text.split(",")]
    except ValueError:
        edges = []
    if len(edges) < 2 or edges[0] != 0 or not all(a < b < 1e6 for a, b in itertools.pairwise(edges)):
        raise UsageError(f"--r-edges {text}: must be numbers that begin at 0 and increase, like 0,1,10")
    return edges


def _detector_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise UsageError(f"--name {name}: may hold letters, digits, dots, dashes and underscores only")
    return name


def _common_name(path: Path) -> str:
    """What a lutCovm file's name says besides the species: lutCovm.pi.5kG.rmin20.dat is of 5kG.rmin20."""
    from fastsim.species import NAMES

    parts = [part for part in path.name.removesuffix(".dat").split(".") if part not in {"lutCovm", *NAMES}]
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", ".".join(parts)) or "imported"


def _read(path: Path) -> Lut:
    """The table in a file of either kind."""
    from fastsim.luts import read_lut
    from fastsim.luts.file import SUFFIX as OURS
    from fastsim.luts.lutcovm import SUFFIX, import_lutcovm

    if path.suffix == SUFFIX:
        return import_lutcovm(path, detector=_common_name(path))[0]
    try:
        return read_lut(path)
    except LutError as error:
        if path.suffix != OURS and path.exists():  # never was a table of ours: there is nothing to rebuild
            raise LutError(error.what, where=error.where, hint="tables are .lut files, or DelphesO2's .dat") from None
        raise


def _find(table: str, species: str | None, grid: Grid | None = None) -> Lut:
    """The table in a file, or that of a detector."""
    from fastsim.detector import load_detector
    from fastsim.luts import get_luts
    from fastsim.species import by_name

    if table.endswith((".lut", ".dat")):
        lut = _read(Path(table))
        if species not in {None, lut.header.species}:
            raise UsageError(f"--species {_species(species or '')}: the table is of {lut.header.species}", where=table)
        return lut
    kind = by_name(_species(species or "pi"))
    with Bars() as progress:
        return get_luts(load_detector(table), grid, species=[kind], progress=progress.luts, command="fastsim lut").luts[
            0
        ]
