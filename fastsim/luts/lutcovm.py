"""DelphesO2's binary tables (`lutCovm.*.dat`): every version in, the current one out.

The file is a dump of C structs, little endian with natural alignment: a header with four axis maps, then one entry a bin,
in the order nch > radius > eta > pt. Its covariance does not depend on nch, ours neither; its parameters (y, z, sin phi,
tan lambda, q/pt) at azimuth 0 are ours. Values are kept as float64 (ln sigma, rho), which gives back the same float32.
Source: AliceO2Group/DelphesO2 src/lutCovm.hh, its git history, and src/TrackSmearer.cc.
"""

from __future__ import annotations

import math
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim.errors import LutError
from fastsim.luts.build import make_lut
from fastsim.luts.check import is_positive_definite
from fastsim.luts.file import EFFICIENCIES, N_COVARIANCE, Grid, unfold, whole_file
from fastsim.species import SPECIES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastsim.luts.file import Lut
    from fastsim.species import Species

SUFFIX = ".dat"
# lutWrite.cc: what DelphesO2 and the ALICE 3 on-the-fly simulation make by default, one bin of the radius.
DEFAULT_GRID = Grid(
    n_pt=200, pt_min=0.01, pt_max=100.0, n_eta=80, eta_max=4.0, n_dnch=20, dnch_min=10**0.5, dnch_max=10**3.5,
    r_edges=[0.0, 100.0],
)  # fmt: skip
AXES = ("nch", "rad", "eta", "pt")
AXIS_MAP = np.dtype([("nbins", "<i4"), ("min", "<f4"), ("max", "<f4"), ("log", "u1"), ("padding", "V3")])
_UNVERSIONED = [("pdg", "<i4"), ("mass", "<f4"), ("field", "<f4"), *((axis, AXIS_MAP) for axis in AXES)]
_OURS = {"eff": EFFICIENCIES[0], "eff2": EFFICIENCIES[1], "itof": "itof", "otof": "otof"}
_IS_VALID = "is_valid"  # array of tables whose bins are valid at some nch only
_DIAGONAL = [0, 2, 5, 9, 14]
_PAIRS = [(i, j) for i in range(5) for j in range(i)]
_OFF_DIAGONAL = [i * (i + 1) // 2 + j for i, j in _PAIRS]
_MOST_BINS = 100_000
_MASS_TOLERANCE = 1e-3  # TDatabasePDG of other years, masses of atoms


class Version(NamedTuple):
    """A version of the format: its first word (0: none, the PDG code comes first), header and entry."""

    word: int
    entry: np.dtype[Any]

    @property
    def header(self) -> np.dtype[Any]:
        """Header of 80 bytes, 76 without the version word."""
        return np.dtype([("version", "<i4"), *_UNVERSIONED] if self.word else _UNVERSIONED)

    @property
    def text(self) -> str:
        """How to speak of it."""
        return f"version {self.word or 'none'}, entries of {self.entry.itemsize} bytes"


def _version(word: int, centers: tuple[str, ...], efficiencies: tuple[str, ...]) -> Version:
    def floats(names: tuple[str, ...]) -> list[tuple[str, str]]:
        return [(name, "<f4") for name in names]

    matrices = [("covm", "<f4", 15), ("eigval", "<f4", 5), ("eigvec", "<f4", (5, 5)), ("eiginv", "<f4", (5, 5))]
    flag = [("valid", "u1"), ("padding", "V3")]
    return Version(word, np.dtype([*floats(centers), *flag, *floats(efficiencies), *matrices]))


VERSIONS = (
    _version(0, ("eta", "pt"), ()),  # 2020-04-19, 292 bytes
    _version(0, ("eta", "pt"), ("eff",)),  # 2020-09-24, 296 bytes
    _version(20210611, ("nch", "eta", "pt"), ("eff",)),  # 300 bytes
    _version(20210731, ("nch", "eta", "pt"), ("eff", "itof", "otof")),  # 308 bytes
    _version(20210801, ("nch", "eta", "pt"), ("eff", "eff2", "itof", "otof")),  # 312 bytes, to this day
)
CURRENT = VERSIONS[-1]


def _cells_of(packed: NDArray[np.float32]) -> NDArray[np.float64]:
    """Our cells, ln sigma and rho (..., 15), of packed covariances (..., 15)."""
    matrix = packed.astype(np.float64)
    cells = np.empty_like(matrix)
    with np.errstate(all="ignore"):  # bins that are not valid hold zeros, or anything
        cells[..., :5] = 0.5 * np.log(matrix[..., _DIAGONAL])
        sigma = np.sqrt(matrix[..., _DIAGONAL])
        for k, (i, j) in enumerate(_PAIRS):
            cells[..., 5 + k] = matrix[..., _OFF_DIAGONAL[k]] / (sigma[..., i] * sigma[..., j])
    return cells


def _packed_of(cells: NDArray[np.float64], shrink: float = 1.0) -> NDArray[np.float64]:
    """Packed covariances (..., 15) of ln sigma and rho (..., 15), the correlations times `shrink`."""
    packed = np.empty_like(cells)
    packed[..., _DIAGONAL] = np.exp(2.0 * cells[..., :5])
    for k, (i, j) in enumerate(_PAIRS):
        packed[..., _OFF_DIAGONAL[k]] = shrink * cells[..., 5 + k] * np.exp(cells[..., i] + cells[..., j])
    return packed


# --- import ---


def import_lutcovm(path: Path, *, detector: str = "lutCovm", command: str = "") -> tuple[Lut, list[str]]:
    """The table in a file of any version, and notes on what is particular about it; raises LutError naming the file.

    Efficiencies: `every_hit_right` is eff (1 where the version has none), `no_wrong_pair` is eff2, and `itof`, `otof`. The
    header's origin keeps the axis maps as they were.
    """
    try:
        raw = path.read_bytes()
        version, header, entries = _parse(raw)
        species = _species_of(header)
        notes: list[str] = []
        grid = _grid_of(header, notes)
        covariance, valid = _covariance_of(entries, grid, notes)
        efficiencies = _efficiencies_of(entries, valid, notes)
        key = sha256(raw).hexdigest()
        origin = {
            "kind": "lutCovm", "version": version.word, "entry_bytes": version.entry.itemsize, "file": path.name,
            "sha256": key, "maps": {axis: _plain(header[axis]) for axis in AXES},
        }  # fmt: skip
        lut = make_lut(
            species._replace(mass=_short(header["mass"])), grid, covariance, efficiencies, detector=detector,
            b_z=_field_of(header), mirrored=False, key=key, origin=origin, command=command,
        )  # fmt: skip
    except OSError as error:
        raise LutError(f"cannot be read ({error.strerror})", where=str(path)) from None
    except LutError as error:
        error.where = str(path)
        raise
    return lut, notes


def _parse(raw: bytes) -> tuple[Version, Any, NDArray[Any]]:
    """Version, header and entries (n_nch, n_r, n_eta, n_pt)."""
    candidates = _candidates(raw)
    header = np.frombuffer(raw, candidates[0].header, count=1)[0]
    shape = tuple(int(header[axis]["nbins"]) for axis in AXES)
    for axis, n in zip(AXES, shape, strict=True):
        if not 1 <= n <= _MOST_BINS:
            raise LutError(f"the {axis} axis has {n} bins: not a lutCovm table")
    n_entries = math.prod(shape)
    sizes = {version: version.header.itemsize + n_entries * version.entry.itemsize for version in candidates}
    for version, size in sizes.items():
        if size == len(raw):
            return version, header, np.frombuffer(raw, version.entry, offset=version.header.itemsize).reshape(shape)
    expected = ", or ".join(f"{size} ({version.text})" for version, size in sizes.items())
    what = (
        "truncated" if len(raw) < min(sizes.values()) else "too long" if len(raw) > max(sizes.values()) else "odd size"
    )
    bins = " x ".join(map(str, shape))
    raise LutError(f"{what}: {len(raw)} bytes found, {expected} expected for {bins} bins in nch, radius, eta, pt")


def _candidates(raw: bytes) -> list[Version]:
    """The versions that the first word allows."""
    words = [version.word for version in VERSIONS if version.word]
    codes = [species.pdg for species in SPECIES]
    if len(raw) < CURRENT.header.itemsize:
        raise LutError(f"{len(raw)} bytes are fewer than a lutCovm header has ({CURRENT.header.itemsize})")
    word, swapped = (int.from_bytes(raw[:4], order, signed=True) for order in ("little", "big"))
    found = [version for version in VERSIONS if version.word == word or (version.word == 0 and word in codes)]
    if found and word:
        return found
    if swapped in words or swapped in codes:
        raise LutError("byte-swapped: written on a big-endian machine", hint="lutCovm files are little endian")
    raise LutError(
        f"the first word, {word}, is neither a known version ({', '.join(map(str, words))}) nor, as in files of 2020, the "
        f"PDG code of a tracked species ({', '.join(map(str, codes))})"
    )


def _species_of(header: Any) -> Species:
    pdg, mass = int(header["pdg"]), float(header["mass"])
    for species in SPECIES:
        if species.pdg == pdg:
            if not abs(mass / species.mass - 1.0) < _MASS_TOLERANCE:
                raise LutError(f"the header's mass is {mass:g} GeV, that of {species.name} ({pdg}) is {species.mass:g}")
            return species
    allowed = ", ".join(f"{species.pdg} ({species.name})" for species in SPECIES)
    raise LutError(f"the table is of PDG code {pdg}, which is not tracked", hint=f"allowed: {allowed}")


def _field_of(header: Any) -> float:
    b_z = _short(header["field"])
    if not 0 < abs(b_z) <= 20:
        raise LutError(f"the header's field is {b_z:g} T", hint="allowed: up to 20 T, and not 0")
    return b_z


def _grid_of(header: Any, notes: list[str]) -> Grid:
    """Our axes; raises LutError where the file's are of another kind."""
    n_dnch, n_r, n_eta, n_pt = (int(header[axis]["nbins"]) for axis in AXES)
    (nch_min, nch_max), (r_min, r_max), (eta_min, eta_max), (pt_min, pt_max) = (_limits(header, axis) for axis in AXES)
    is_log = {axis: bool(header[axis]["log"]) for axis in AXES}
    if not is_log["pt"] or n_pt < 2:
        raise LutError("the pt axis must be logarithmic and have two bins or more")
    if is_log["eta"] or eta_min != -eta_max:
        raise LutError(f"the eta axis must be linear and symmetric about 0 (from {eta_min:g} to {eta_max:g})")
    if not is_log["nch"] and n_dnch > 1:
        raise LutError("the nch axis must be logarithmic, or a single bin")
    if is_log["rad"] or r_min != 0:
        raise LutError(f"the radius axis must be linear and begin at 0 (at {r_min:g})")
    if eta_max > 10 and n_eta == 1:
        notes.append(f"its only eta bin reaches from {eta_min:g} to {eta_max:g}; here to |eta| = 10")
        eta_max = 10.0
    for axis, n, most in (("nch", n_dnch, 1000), ("eta", n_eta, 10_000), ("pt", n_pt, 10_000)):
        if n > most:
            raise LutError(f"the {axis} axis has {n} bins (at most {most})")
    if eta_max > 10:
        raise LutError(f"the eta axis reaches {eta_max:g} (at most 10)")
    dnch = {"dnch_min": nch_min, "dnch_max": nch_max} if is_log["nch"] else {}
    r_edges = np.linspace(0.0, r_max, n_r + 1).tolist()
    return Grid(
        n_pt=n_pt, n_eta=n_eta, n_dnch=n_dnch, pt_min=pt_min, pt_max=pt_max, eta_max=eta_max, r_edges=r_edges, **dnch
    )


def _limits(header: Any, axis: str) -> tuple[float, float]:
    """Limits of an axis, not their logarithms."""
    low, high, is_log = float(header[axis]["min"]), float(header[axis]["max"]), bool(header[axis]["log"])
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or (is_log and not -30 < low < high < 30):
        raise LutError(f"the {axis} axis goes from {low:g} to {high:g}{' (log10)' if is_log else ''}")
    return (10.0**low, 10.0**high) if is_log else (low, high)


def _covariance_of(
    entries: NDArray[Any], grid: Grid, notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Covariance (n_r, n_eta, n_pt, 15), NaN where never valid, and which entries are valid (n_nch, n_r, n_eta, n_pt)."""
    valid = entries["valid"] != 0
    is_track = valid.any(axis=0)
    if not is_track.any():
        raise LutError("no entry is valid: the table holds no track at all")
    covm = np.take_along_axis(entries["covm"], valid.argmax(axis=0)[np.newaxis, ..., np.newaxis], axis=0)[0]
    for slab, here in zip(entries["covm"], valid, strict=True):
        _refuse(here & ~np.isfinite(slab).all(axis=-1), "hold NaN: the file is not filled properly", grid)
        _refuse(here & (slab[..., _DIAGONAL] <= 0).any(axis=-1), "have a variance that is not positive", grid)
        _refuse(
            here & (slab != covm).any(axis=-1),
            "have another covariance than at lower nch, which is not supported",
            grid,
        )
    covariance = _cells_of(covm)
    covariance[~is_track] = np.nan
    n_bad = int((is_track & ~is_positive_definite(covariance)).sum())
    if n_bad:
        notes.append(
            f"{n_bad} of {is_track.sum()} matrices are not positive definite and kept as they are: no tracks are made from them"
        )
    return covariance, valid


def _refuse(bad: NDArray[np.bool_], what: str, grid: Grid) -> None:
    """Raise LutError if any of the valid entries (n_r, n_eta, n_pt) of an nch bin is bad."""
    if bad.any():
        _, i, j = np.unravel_index(int(np.argmax(bad)), bad.shape)
        where = f"the first at eta = {grid.eta_centers[i]:.3g}, pt = {grid.pt_centers[j]:.3g} GeV"
        raise LutError(f"{bad.sum()} entries are marked valid but {what} ({where})")


def _efficiencies_of(
    entries: NDArray[Any], valid: NDArray[np.bool_], notes: list[str]
) -> dict[str, NDArray[np.float32]]:
    """Efficiencies (n_nch, n_r, n_eta, n_pt) by our names, 0 where not valid."""
    efficiencies = {EFFICIENCIES[0]: valid.astype(np.float32)}
    for name, ours in _OURS.items():
        if name not in (entries.dtype.names or ()):
            continue
        values = np.where(valid, entries[name], np.float32(0.0))
        if not ((values >= (-math.inf if name == "eff2" else 0)) & (values <= 1)).all():
            raise LutError(f"{name} lies outside [0, 1] in valid entries, from {values.min():g} to {values.max():g}")
        if (negative := values < 0).any():  # eff2 is 1 less a sum of probabilities
            notes.append(f"{negative.sum()} values of {name} are negative, down to {values.min():g}; they are 0 here")
            values[negative] = 0.0
        efficiencies[ours] = values
    if (valid != valid[0]).any():
        notes.append("some entries are valid in a part of the nch bins only; where they are not the efficiency is 0")
        efficiencies[_IS_VALID] = valid.astype(np.float32)
    return efficiencies


def _plain(axis_map: Any) -> dict[str, Any]:
    kinds = {"nbins": int, "min": float, "max": float, "log": bool}
    return {key: kind(axis_map[key]) for key, kind in kinds.items()}


def _short(value: np.float32) -> float:
    """The shortest decimal number that is this float32: 0.2 is meant, not 0.20000000298."""
    return float(str(value))


# --- export ---


def export_lutcovm(lut: Lut, path: Path) -> None:
    """Write the table as DelphesO2's and O2Physics' readers take it, whole or not at all; an imported one has its old axis maps.

    eff2, itof and otof are those of the table, or eff where it has none (upstream's default itof and otof are the product of
    all layers). Raises LutError if the bins of the radius are not of equal width.
    """
    header = _header_of(lut)
    covariance, efficiencies = unfold(lut)
    slab = _entries_of(covariance, header, f"{lut.header.detector}, {lut.header.species}")
    is_track = np.isfinite(covariance[..., 0])
    default = efficiencies[EFFICIENCIES[0]]
    with whole_file(path) as stream:
        stream.write(header.tobytes())
        for n, nch in enumerate(_centers(header["nch"])):
            slab["nch"] = nch
            slab["valid"] = efficiencies[_IS_VALID][n] > 0 if _IS_VALID in efficiencies else is_track
            for name, ours in _OURS.items():
                slab[name] = efficiencies.get(ours, default)[n]
            stream.write(slab.tobytes())


def _header_of(lut: Lut) -> Any:
    ours, grid = lut.header, lut.header.grid
    edges = grid.r_edges or [0.0, 0.0]
    if not np.allclose(np.diff(edges), edges[-1] / grid.n_r, rtol=1e-6, atol=0.0):
        raise LutError(
            "lutCovm has bins of the radius of equal width only",
            where=f"{ours.detector}, {ours.species}",
            hint="export the detector instead of this table, or build one with `fastsim lut build --r-edges 0,100`",
        )
    maps = ours.origin.get("maps") if ours.origin.get("kind") == "lutCovm" else None
    maps = maps or {
        "nch": {"nbins": grid.n_dnch, "min": math.log10(grid.dnch_min), "max": math.log10(grid.dnch_max), "log": True},
        "rad": {"nbins": grid.n_r, "min": 0.0, "max": edges[-1], "log": False},
        "eta": {"nbins": grid.n_eta, "min": -grid.eta_max, "max": grid.eta_max, "log": False},
        "pt": {"nbins": grid.n_pt, "min": math.log10(grid.pt_min), "max": math.log10(grid.pt_max), "log": True},
    }
    header = np.zeros(1, dtype=CURRENT.header)[0]
    header["version"], header["pdg"], header["mass"], header["field"] = CURRENT.word, ours.pdg, ours.mass, ours.b_z
    for axis in AXES:
        for key, value in maps[axis].items():
            header[axis][key] = value
    return header


def _centers(axis_map: Any) -> NDArray[np.float32]:
    """Bin centres as the C++ code computes them: width in float32, the rest in double, kept as float32."""
    width = (axis_map["max"] - axis_map["min"]) / np.float32(axis_map["nbins"])
    centers = (np.float64(axis_map["min"]) + (np.arange(axis_map["nbins"]) + 0.5) * np.float64(width)).astype(
        np.float32
    )
    return np.power(10.0, centers.astype(np.float64)).astype(np.float32) if axis_map["log"] else centers


def _entries_of(covariance: NDArray[Any], header: Any, where: str) -> NDArray[Any]:
    """Entries (n_r, n_eta, n_pt) of one nch bin, without efficiencies."""
    is_track = np.isfinite(covariance[..., 0])
    slab = np.zeros(is_track.shape, dtype=CURRENT.entry)
    slab["eta"] = _centers(header["eta"])[:, np.newaxis]
    slab["pt"] = _centers(header["pt"])
    cells = covariance[is_track].astype(np.float64)
    packed = _float32_covariance(cells)
    if not (np.isfinite(packed).all() and (packed[:, _DIAGONAL] > 0).all()):
        raise LutError("a variance is too large or too small for single precision", where=where)
    values, vectors = _eigen(packed)
    slab["covm"][is_track], slab["eigval"][is_track], slab["eigvec"][is_track] = packed, values, vectors
    slab["eiginv"][is_track] = np.swapaxes(vectors, -1, -2)
    return slab


def _float32_covariance(cells: NDArray[np.float64]) -> NDArray[np.float32]:
    """Packed covariance (n, 15) of cells of ln sigma and rho (n, 15).

    Where rounding loses the positive definiteness of all but fully correlated parameters, the correlations are drawn in by
    as little as it needs, as in the table maker.
    """
    packed = np.empty((len(cells), N_COVARIANCE), dtype=np.float32)
    todo = np.arange(len(cells))
    for shrink in (1.0, 1.0 - 1e-6, 1.0 - 1e-5, 1.0 - 1e-4):
        with np.errstate(over="ignore", under="ignore"):  # the caller looks at the result
            packed[todo] = _packed_of(cells[todo], shrink)
        todo = todo[is_positive_definite(cells[todo]) & ~is_positive_definite(_cells_of(packed[todo]))]
        if not len(todo):
            break
    return packed


def _eigen(packed: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues (n, 5), largest first, and eigenvectors (n, 5, 5) as columns, of packed covariances (n, 15)."""
    matrix = np.empty((len(packed), 5, 5))
    rows, columns = np.tril_indices(5)
    matrix[:, rows, columns] = matrix[:, columns, rows] = packed
    values, vectors = np.linalg.eigh(matrix)
    return values[:, ::-1], vectors[:, :, ::-1]
