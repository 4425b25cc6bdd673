"""Reading tracks of a full simulation: one row a particle, found or not, from CSV with header, .npz or ROOT (TTree, RNTuple).

Columns (nothing else): `pdg`, `pt_true`, `eta_true`; then either the five parameters and their `..._true`, or the 15 elements
`cov_<a>_<b>` of the covariance's lower triangle (`cov_dca_xy_dca_xy`, `cov_dca_z_dca_xy`, `cov_dca_z_dca_z`, ...: <a> not
before <b> in `columns.PARAMETERS`); optionally `is_reconstructed` (else all are), `r` (production radius) and `dnch_deta`.
Units are GeV, cm and radian. Where there is no track, what was reconstructed of it may be empty or NaN.
"""

from __future__ import annotations

import difflib
import math
import zipfile
import zlib
from hashlib import file_digest
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from fastsim.columns import PARAMETERS
from fastsim.errors import InputError
from fastsim.kernels.covariance import PARITY
from fastsim.species import SPECIES, charges_of, species_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

NEEDED: Final = ("pdg", "pt_true", "eta_true")
OPTIONAL: Final = ("is_reconstructed", "r", "dnch_deta")
TRUE: Final = tuple(f"{name}_true" for name in PARAMETERS)
PAIRS: Final = tuple((i, j) for i in range(5) for j in range(i + 1))
COVARIANCE: Final = tuple(f"cov_{PARAMETERS[i]}_{PARAMETERS[j]}" for i, j in PAIRS)
_UPPER: Final = {f"cov_{PARAMETERS[j]}_{PARAMETERS[i]}": name for name, (i, j) in zip(COVARIANCE, PAIRS, strict=True)}
HINT: Final = (
    f"a sample has {', '.join(NEEDED)}; {', '.join(PARAMETERS)} and each of these with _true, or else the 15 elements "
    f"{COVARIANCE[0]}, {COVARIANCE[1]}, ... {COVARIANCE[-1]}; optionally {', '.join(OPTIONAL)}; nothing else. "
    "Names are fastsim's; units GeV, cm, rad"
)
_BYTES, _ROWS = 1 << 25, 1_000_000  # read at once
_TRANSVERSE = (0, 2, 4)  # parameters that change sign with the charge in the mirror (see PARITY)
_CHARGE = charges_of(np.array([kind.pdg for kind in SPECIES])).astype(np.float64)  # of the positive code: e- is 11
_OFF = 0.1  # a tenth of the tracks may contradict their own truth by a tenth before it is taken for another unit


class Sample(NamedTuple):
    """Rows of a sample with tracked species.

    `species` (n,) position in SPECIES; `is_reconstructed` (n,); `pt` [GeV], `eta`, `r` [cm] and `dnch_deta` (n,), the last
    two None if not given; `values` 5 residuals or 15 covariance elements (n,) as for a positive charge, NaN if there is no track.
    """

    file: str
    sha256: str
    species: NDArray[np.int8]
    is_reconstructed: NDArray[np.bool_]
    pt: Doubles
    eta: Doubles
    r: Doubles | None
    dnch_deta: Doubles | None
    values: list[Doubles]


class _Chunk(NamedTuple):
    """Some rows of a file. The first has the number `first`, called line or row."""

    where: str
    unit: str
    first: int
    columns: dict[str, Doubles]

    def refuse(self, column: str, bad: NDArray[np.bool_], need: str, rows: NDArray[np.int64] | None = None) -> None:
        """Raise InputError for the first bad row; `rows` are the ones that `bad` speaks of, all if None."""
        if bad.any():
            at = int(np.argmax(bad))
            at = at if rows is None else int(rows[at])
            value, number = self.columns[column][at], self.first + at
            counted = "" if self.unit == "line" else " (the first is 0)"
            raise InputError(f"{column} is {value:.10g} in {self.unit} {number}{counted}: {need}", where=self.where)


def read_sample(path: Path) -> Sample:
    """Read a sample and check every row; raises InputError with file, column and row of the first fault."""
    file, tree = _split(path)
    if not file.is_file():
        raise InputError("no such file", where=str(path))
    readers: dict[str, Callable[[Path], Iterator[_Chunk]]] = {
        ".csv": _read_csv, ".npz": _read_npz, ".root": lambda name: _read_root(name, tree),
    }  # fmt: skip
    if file.suffix not in readers:
        raise InputError(f"a sample is a file {', '.join(readers)} (got {file.suffix!r})", where=str(path))
    pieces = [_tracks(chunk) for chunk in readers[file.suffix](file)]
    if not any(len(piece["species"]) for piece in pieces):
        hint = f"pdg codes of tracked species: {', '.join(str(kind.pdg) for kind in SPECIES)}, and their antiparticles"
        raise InputError("no row holds a tracked species", where=str(path), hint=hint)
    column: dict[str, Any] = {}
    for name in list(pieces[0]):
        column[name] = np.concatenate([piece.pop(name) for piece in pieces])  # and forgotten, one by one
    if column["pt"].min() > 1e3:
        hint = "pt_true is in GeV; these may be MeV"
        raise InputError("pt_true is above 1000 in every row", where=str(path), hint=hint)
    with file.open("rb") as stream:
        digest = file_digest(stream, "sha256").hexdigest()
    values = [column[str(k)] for k in range(len(COVARIANCE)) if str(k) in column]
    sample = Sample(
        str(path), digest, column["species"], column["is_reconstructed"], column["pt"], column["eta"], column.get("r"),
        column.get("dnch_deta"), values,
    )  # fmt: skip
    _check_signs(sample)
    return sample


def _check_signs(sample: Sample) -> None:
    """Raise InputError if most tracks have the wrong charge: a few may, at the highest pt."""
    if len(sample.values) != len(PARAMETERS):
        return
    found = sample.is_reconstructed
    true = np.abs(_CHARGE[sample.species[found]]) / sample.pt[found]
    n_wrong = int(np.count_nonzero(sample.values[4][found] < -true))  # from +true to below 0
    if n_wrong > 0.5 * len(true):
        raise InputError(
            f"q_over_pt has the other sign than the charge of pdg in {n_wrong} of {len(true)} tracks",
            where=sample.file,
            hint="q_over_pt is the charge over pt: positive for 211, negative for 11 (an electron)",
        )


def _split(path: Path) -> tuple[Path, str]:
    """File and tree of `file.root:tree`; an existing file of that name is meant literally."""
    name, colon, tree = path.name.rpartition(":")
    return (path.with_name(name), tree) if colon and name.endswith(".root") and not path.exists() else (path, "")


def _check_columns(names: Sequence[str], where: str) -> None:
    """Raise InputError unless these are the columns of a sample."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"columns given twice: {', '.join(twice)}", where=where)
    known = (*NEEDED, *OPTIONAL, *PARAMETERS, *TRUE, *COVARIANCE)
    for name in names:
        if name not in known:
            close = [_UPPER[name]] if name in _UPPER else difflib.get_close_matches(name, known, n=1)
            remedy = f" (did you mean {close[0]}?)" if close else ""
            raise InputError(f"unknown column {name!r}{remedy}", where=where, hint=HINT)
    residuals, elements = ([name for name in group if name in names] for group in ((*PARAMETERS, *TRUE), COVARIANCE))
    if residuals and elements:
        raise InputError(
            f"both {residuals[0]} and {elements[0]}: parameters or covariances, not both", where=where, hint=HINT
        )
    wanted = (*NEEDED, *(COVARIANCE if elements else (*PARAMETERS, *TRUE)))
    if missing := [name for name in wanted if name not in names]:
        raise InputError(f"missing column{'s' * (len(missing) > 1)} {', '.join(missing)}", where=where, hint=HINT)


def _read_csv(path: Path) -> Iterator[_Chunk]:
    with path.open("rb") as stream:
        header = stream.readline().decode("utf-8-sig", errors="replace").strip().lstrip("# ")
        names = [name.strip().strip("\"'") for name in header.split(",")]
        _check_columns(names, str(path))
        first = 2
        while block := stream.read(_BYTES):
            text = (block + stream.readline()).decode(errors="replace").replace("\r\n", "\n").removesuffix("\n")
            if not stream.peek(1) and not (text := text.rstrip()):
                return
            lines = _named_gaps(text).split("\n")
            numbers = _numbers(lines, names, str(path), first)
            yield _Chunk(str(path), "line", first, dict(zip(names, numbers.T, strict=True)))
            first += len(lines)


def _named_gaps(text: str) -> str:
    """Empty cells as nan: that is how some writers say it."""
    text = f"\n{text}\n"
    for gap, filled in ((",,", ",nan,"), (",,", ",nan,"), ("\n,", "\nnan,"), (",\n", ",nan\n")):
        text = text.replace(gap, filled)
    return text[1:-1]


def _numbers(lines: list[str], names: list[str], where: str, first: int) -> Doubles:
    """The cells (n_lines, n_columns) of a CSV; raises InputError with line and column of what is no number."""
    words = any(letter in line for line in lines for letter in "TtFf")  # true and false (and inf)
    converters: dict[int | str, Callable[[str], float]] | None = (
        {names.index("is_reconstructed"): _flag} if words and "is_reconstructed" in names else None
    )
    if not all(map(str.strip, lines)):  # numpy would pass over empty lines
        raise _fault_in_csv(lines, names, where, first)
    try:
        numbers: Doubles = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2, converters=converters)
    except ValueError as error:
        raise _fault_in_csv(lines, names, where, first, str(error)) from None
    if numbers.shape[1] != len(names):
        raise _fault_in_csv(lines, names, where, first)
    return numbers


def _flag(cell: str) -> float:
    """1 or 0 of true or false in any case; other numbers as they are."""
    word = cell.strip().lower()
    return float(word == "true") if word in {"true", "false"} else float(word)


def _fault_in_csv(lines: list[str], names: list[str], where: str, first: int, told: str = "") -> InputError:
    """The first line that is not as many numbers as there are names; `told` is what numpy said."""
    for number, line in enumerate(lines, start=first):
        cells = line.split(",") if line.strip() else []
        if len(cells) != len(names):
            return InputError(f"{len(cells)} cells in line {number}, the header has {len(names)}", where=where)
        for name, cell in zip(names, cells, strict=True):
            try:
                _flag(cell) if name == "is_reconstructed" else float(cell)
            except ValueError:
                return InputError(f"{name} is {cell.strip()!r} in line {number}: a number is needed", where=where)
    return InputError(f"no table of numbers from line {first} on ({told})", where=where)


def _read_npz(path: Path) -> Iterator[_Chunk]:
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream), np.load(stream, allow_pickle=False) as archive:
            _check_columns(archive.files, str(path))
            columns = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"not a whole .npz file ({error})", where=str(path)) from None
    n = columns["pdg"].size
    if any(column.shape != (n,) for column in columns.values()):
        shapes = ", ".join(f"{name} {column.shape}" for name, column in columns.items())
        raise InputError(f"columns must be arrays of one length (got {shapes})", where=str(path))
    for first in range(0, n, _ROWS):
        yield _chunk(str(path), first, {name: column[first : first + _ROWS] for name, column in columns.items()})


def _read_root(path: Path, tree: str) -> Iterator[_Chunk]:
    import uproot  # noqa: PLC0415  (0.5 s that small commands do not need)

    try:
        file = uproot.open(path)
        trees = [name for name, kind in file.classnames(cycle=False).items() if kind in {"TTree", "ROOT::RNTuple"}]
    except Exception as error:  # uproot raises whatever the bytes lead it to
        raise InputError(f"not a whole ROOT file ({type(error).__name__})", where=str(path)) from error
    with file:
        if not trees or (tree and tree not in trees):
            what = f"no tree {tree!r}" if tree else "no tree"
            raise InputError(f"{what} (there are: {', '.join(trees) or 'none'})", where=f"{path}:{tree}".rstrip(":"))
        where = f"{path}:{tree or trees[0]}"
        source = file[tree or trees[0]]
        _check_columns(source.keys(), where)
        for first in range(0, source.num_entries, _ROWS):
            try:
                columns = source.arrays(library="np", entry_start=first, entry_stop=first + _ROWS)
            except Exception as error:
                raise InputError(f"a branch cannot be read ({type(error).__name__}: {error})", where=where) from error
            yield _chunk(where, first, columns)


def _chunk(where: str, first: int, columns: dict[str, NDArray[Any]]) -> _Chunk:
    """Columns as numbers; raises InputError for those that are not one number a row."""
    for name, column in columns.items():
        if column.dtype.kind not in "biuf" or column.ndim != 1:
            raise InputError(
                f"{name} is not one number a row (got {column.dtype}{column.shape[1:] or ''})", where=where
            )
    return _Chunk(where, "row", first, {name: column.astype(np.float64) for name, column in columns.items()})


# --- rows -----------------------------------------------------------------------------------------------------------


def _tracks(chunk: _Chunk) -> dict[str, NDArray[Any]]:
    """Columns of `Sample` of a chunk's rows with tracked species; raises InputError for what cannot be."""
    pdg = chunk.columns["pdg"]
    chunk.refuse("pdg", ~((np.abs(pdg) < 2**31) & (pdg == np.rint(pdg))), "a PDG particle code is needed")
    species = species_of(pdg.astype(np.int32))
    rows = np.flatnonzero(species >= 0)
    column = {name: values[rows] for name, values in chunk.columns.items()}
    pt, eta, found = column["pt_true"], column["eta_true"], column.get("is_reconstructed", np.ones(len(rows)))
    if "is_reconstructed" in column:
        chunk.refuse("is_reconstructed", (found != 0) & (found != 1), "must be 0 or 1 (true or false)", rows)
    chunk.refuse("pt_true", ~(np.isfinite(pt) & (pt > 0)), "must be above 0 GeV", rows)
    chunk.refuse("eta_true", ~np.isfinite(eta), "must be finite", rows)
    result = {"species": species[rows], "is_reconstructed": found == 1, "pt": pt, "eta": eta}
    for name in ("r", "dnch_deta"):
        if name in column:
            chunk.refuse(name, ~(np.isfinite(column[name]) & (column[name] >= 0)), "must not be below 0", rows)
            result[name] = column[name]
    need = "a track needs it; what was not found has is_reconstructed = 0"
    for name in (*PARAMETERS, *TRUE, *COVARIANCE):
        if name in column:
            chunk.refuse(name, (found == 1) & ~np.isfinite(column[name]), need, rows)
    values = (_covariances if COVARIANCE[0] in column else _residuals)(chunk, column, rows)
    return result | {str(k): value for k, value in enumerate(values)}


def _charges(column: dict[str, Doubles]) -> Doubles:
    """Charges [e] of rows of tracked species."""
    species = species_of(column["pdg"].astype(np.int32))
    return np.asarray(np.sign(column["pdg"]) * _CHARGE[species])


def _residuals(chunk: _Chunk, column: dict[str, Doubles], rows: NDArray[np.int64]) -> list[Doubles]:
    """Reconstructed minus true, as of a positive charge."""
    charge = _charges(column)
    with np.errstate(invalid="ignore"):
        for name in ("phi", "phi_true"):
            chunk.refuse(name, np.abs(column[name]) > 2.001 * math.pi, "must be in radian", rows)
        wrong = np.abs(column["q_over_pt_true"] * column["pt_true"] / charge - 1.0) > _OFF
        if np.count_nonzero(wrong) > _OFF * len(wrong):
            chunk.refuse("q_over_pt_true", wrong, "is not the charge of pdg over pt_true [1/GeV]", rows)
        wrong = np.abs(column["tan_lambda_true"] - np.sinh(column["eta_true"])) > _OFF * np.cosh(column["eta_true"])
        if np.count_nonzero(wrong) > _OFF * len(wrong):
            chunk.refuse("tan_lambda_true", wrong, "is not sinh(eta_true)", rows)
        values = [column[name] - column[f"{name}_true"] for name in PARAMETERS]
        values[2] = np.remainder(values[2] + math.pi, 2.0 * math.pi) - math.pi
    for k in _TRANSVERSE:
        values[k] *= np.sign(charge)
    return values


def _covariances(chunk: _Chunk, column: dict[str, Doubles], rows: NDArray[np.int64]) -> list[Doubles]:
    """The elements of the lower triangle, as of a positive charge."""
    is_negative = _charges(column) < 0
    values = [column[name] for name in COVARIANCE]
    variance = [value for (i, j), value in zip(PAIRS, values, strict=True) if i == j]
    for (i, j), name, value in zip(PAIRS, COVARIANCE, values, strict=True):
        if i == j:
            chunk.refuse(name, value <= 0, "a variance is positive", rows)
    parity = iter(PARITY)
    for (i, j), name, value in zip(PAIRS, COVARIANCE, values, strict=True):
        if i != j:
            too_large = value * value > 1.00001 * variance[i] * variance[j]
            chunk.refuse(name, too_large, "a correlation lies within -1 and 1", rows)
            value[is_negative] *= next(parity)
    return values
