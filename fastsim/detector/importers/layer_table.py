"""The 13 columns of a Delphes layer table, row by row, as layers, disks and drift volumes; metres in, cm out."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from fastsim.detector.importers.draft import number_of, tidy
from fastsim.units import m, um

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fastsim.detector.importers.draft import Draft

COLUMNS = (
    "type", "label", "min", "max", "position", "thickness", "radiation length", "number of measurements",
    "stereo angle up", "stereo angle down", "resolution up", "resolution down", "flag",
)  # fmt: skip
_BARREL, _DISK = 1, 2
_RIGHT_ANGLE = 0.5 * math.pi
_SAME_ANGLE = 1e-4  # rad: tables write pi/2 as 1.5708
_SHORTEST_VOLUME = 8  # rows: fewer of a kind stay layers
_SAME_RADIUS = 1e-3  # cm: tables round radii to six digits
_SAME_STEREO = 2e-5  # rad: and angles too
_MOST_ROWS = 2000  # ten times what Delphes has room for
_STEP_ASIDE = 2e-4  # cm: twice what a detector file takes for the same surface
_OVERHANG = 1.0  # cm: a disk may reach so far through a cylinder and still be taken to end there


class Row(NamedTuple):
    """One row; lengths in cm, resolutions in um, `views` as (resolution, stereo angle), none if it is passive."""

    line: int
    is_disk: bool
    label: str
    low: float
    high: float
    position: float
    x_over_x0: float
    views: tuple[tuple[float, float], ...]
    efficiency: float


def read_rows(lines: Iterable[tuple[int, str]], draft: Draft) -> None:
    """Fill the draft from the lines of a table."""
    rows = [row for number, line in lines if (row := _row(number, line.partition("#")[0].split(), draft))]
    if len(rows) > _MOST_ROWS or not (rows or draft.is_faulty):
        draft.fault(0, f"the layer table has {len(rows) or 'no'} rows (allowed: 1 to {_MOST_ROWS})")
        return
    cylinders = [row for row in rows if not row.is_disk]
    disks = _stepped_aside(_paired([row for row in rows if row.is_disk]), draft)
    volumes = list(_volumes(cylinders))
    in_volumes = {row.line for run in volumes for row in run}
    layers = [row for row in cylinders if row.line not in in_volumes]
    names = _names([*(run[0] for run in volumes), *layers, *(row for row, _ in disks)])
    for run in volumes:
        name = names[run[0].line]
        draft.drift_volumes.append((run[0].line, {"name": name, **_volume(run)}))
        draft.note(run[0].line, f"{len(run)} equal rows, to line {run[-1].line}, are the drift volume {name!r}")
    for row in layers:
        table = {"name": names[row.line], "r": row.position, "half_length": row.high, **_common(row, "sigma_z_um")}
        draft.layers.append((row.line, table))
    for row, both_sides in disks:
        r_max = _outer_radius(row, cylinders, draft)
        table = {"name": names[row.line], "z": row.position, "r_min": row.low, "r_max": r_max}
        table |= {} if both_sides else {"both_sides": False}
        draft.disks.append((row.line, {**table, **_common(row, "sigma_r_um")}))


def _row(line: int, words: list[str], draft: Draft) -> Row | None:
    """One row of the table, or None with its faults told."""
    if not words:
        return None
    if len(words) != len(COLUMNS):
        draft.fault(line, f"{len(words)} columns, a layer has {len(COLUMNS)}: {', '.join(COLUMNS)}")
        return None
    values = {name: number_of(word) for name, word in zip(COLUMNS, words, strict=True) if name != "label"}
    wrong = [f"{name} {words[COLUMNS.index(name)]!r}" for name, value in values.items() if value is None]
    if wrong:
        draft.fault(line, f"{words[1]}: not a number: {', '.join(wrong)}")
        return None
    found = {name: value for name, value in values.items() if value is not None}
    faults = [f"{words[1]}: {fault}" for fault in _faults(found)]
    for fault in faults:
        draft.fault(line, fault)
    if faults:
        return None
    return Row(
        line, found["type"] == _DISK, words[1], tidy(found["min"] * m), tidy(found["max"] * m),
        tidy(found["position"] * m), tidy(found["thickness"] / found["radiation length"]), _views(found), found["flag"],
    )  # fmt: skip


def _faults(found: dict[str, float]) -> Iterator[str]:
    """What has no meaning, or no counterpart here."""
    low, high, position = found["min"], found["max"], found["position"]
    is_barrel = found["type"] == _BARREL
    if found["type"] not in {_BARREL, _DISK}:
        yield f"type must be 1 (barrel) or 2 (disk) (got {found['type']:g})"
    if not low < high:
        yield f"min {low:g} m must be below max {high:g} m"
    elif is_barrel and abs(low + high) > 1e-9 * high:
        yield f"a barrel from {low:g} to {high:g} m is not symmetric (allowed: min = -max)"
    elif found["type"] == _DISK and low < 0:
        yield f"a disk's inner radius must not be negative (got {low:g} m)"
    if is_barrel and position <= 0:
        yield f"a barrel's radius must be above 0 (got {position:g} m)"
    elif found["type"] == _DISK and position == 0:
        yield "a disk must not be at z = 0"
    if found["thickness"] < 0:
        yield f"thickness must not be negative (got {found['thickness']:g} m)"
    if found["radiation length"] <= 0:
        yield f"radiation length must be above 0 (got {found['radiation length']:g} m)"
    n = found["number of measurements"]
    if n not in {0, 1, 2}:
        yield f"number of measurements must be 0, 1 or 2 (got {n:g})"
    elif not 0 <= found["flag"] <= 1:
        yield f"flag must be 0 (material only) or a hit efficiency up to 1 (got {found['flag']:g})"
    elif found["flag"] > 0 and n == 0:
        yield f"flag {found['flag']:g} says that it measures, but the number of measurements is 0"
    elif found["flag"] > 0 and any(found[f"resolution {side}"] <= 0 for side in ("up", "down")[: int(n)]):
        yield "a measuring layer needs resolutions above 0"


def _views(found: dict[str, float]) -> tuple[tuple[float, float], ...]:
    if found["flag"] == 0:
        return ()
    sides = ("up", "down")[: int(found["number of measurements"])]
    return tuple((tidy(found[f"resolution {s}"] * m / um), _angle(found[f"stereo angle {s}"])) for s in sides)


def _angle(angle: float) -> float:
    """The angle, exact where it means r-phi or z: there the view mirrors into itself."""
    exact = next((right for right in (0.0, _RIGHT_ANGLE) if abs(angle - right) < _SAME_ANGLE), None)
    return angle if exact is None else exact


def _common(row: Row, second: str) -> dict[str, Any]:
    """Material and measurement, as a detector file has them."""
    table: dict[str, Any] = {"x_over_x0": row.x_over_x0}
    if row.views:
        by_angle = {angle: sigma for sigma, angle in row.views}
        if set(by_angle) == {0.0, _RIGHT_ANGLE}:
            table |= {"sigma_rphi_um": by_angle[0.0], second: by_angle[_RIGHT_ANGLE]}
        else:
            table["views"] = [{"sigma_um": sigma, "stereo_angle": angle} for sigma, angle in row.views]
        table["efficiency"] = row.efficiency
    return table


def _names(rows: Sequence[Row]) -> dict[int, str]:
    """Unique names by line: labels that come once stay, others are numbered, cylinders first, outwards."""
    names: dict[int, str] = {}
    labels = {row.label for row in rows}
    for label in sorted(labels):
        mine = [row for row in rows if row.label == label]
        mine.sort(key=lambda row: (row.is_disk, row.position < 0, abs(row.position), row.low))
        joint = "_" if any(f"{label}{i + 1}" in labels for i in range(len(mine))) else ""
        for i, row in enumerate(mine, 1):
            names[row.line] = label if len(mine) == 1 else f"{label}{joint}{i}"
    return names


def _paired(disks: Sequence[Row]) -> list[tuple[Row, bool]]:
    """Disks, each with whether it stands for its mirror image at -z too."""
    left = list(disks)
    result = []
    for row in sorted(disks, key=lambda row: row.position < 0):
        if row not in left:
            continue
        left.remove(row)
        image = next((r for r in left if r[2:] == row._replace(label=r.label, position=-row.position)[2:]), None)
        if image:
            left.remove(image)
        result.append((row, image is not None))
    return result


def _stepped_aside(disks: list[tuple[Row, bool]], draft: Draft) -> list[tuple[Row, bool]]:
    """Rings at the same z that overlap in r, as tilted modules do: both are crossed, so one is moved a hair outwards."""
    done: list[tuple[Row, bool]] = []
    for row, both in sorted(disks, key=lambda disk: (disk[0].position, disk[0].low)):
        z, clash = row.position, None
        while other := next((r for r, _ in done if _overlaps(row._replace(position=z), r)), None):
            clash = clash or other
            z = tidy(z + math.copysign(_STEP_ASIDE, z))
        if clash:
            what = f"{row.label}: overlaps the disk of line {clash.line} in r, from {row.low:g} to {clash.high:g} cm"
            draft.correct(row.line, what, f"z = {z:g} cm, {1e4 * abs(z - row.position):.0f} um further out")
        done.append((row._replace(position=z), both))
    return done


def _overlaps(a: Row, b: Row) -> bool:
    return abs(a.position - b.position) < 0.75 * _STEP_ASIDE and a.low < b.high and b.low < a.high


def _outer_radius(disk: Row, cylinders: Sequence[Row], draft: Draft) -> float:
    """Outer radius of a disk: that of a cylinder which it pierces by a little."""
    high = disk.high
    for row in cylinders:
        if abs(disk.position) <= row.high and disk.low < row.position < high:
            what = f"{disk.label}: reaches through the barrel of line {row.line}, at r = {row.position:g} cm"
            if high - row.position > _OVERHANG:
                draft.fault(disk.line, what)
            else:
                draft.correct(disk.line, what, f"r_max = {row.position:g} cm instead of {high:g} cm")
                high = row.position
    return high


def _volumes(cylinders: Sequence[Row]) -> Iterator[list[Row]]:
    """Runs of equal measuring rows at equal distances, such as the wires of a drift chamber."""

    def kind(row: Row) -> tuple[Any, ...]:
        views = row.views[0][0] if len(row.views) == 1 else row.views or row.line
        return row.label, row.high, row.x_over_x0, row.efficiency, views

    for run in (piece for _, group in itertools.groupby(cylinders, key=kind) for piece in _spaced(list(group))):
        if len(run) < _SHORTEST_VOLUME:
            continue
        first, last = run[0].position, run[-1].position
        pitch = (last - first) / (len(run) - 1)
        is_regular = all(abs(first + i * pitch - row.position) < _SAME_RADIUS for i, row in enumerate(run))
        is_alone = sum(first <= row.position <= last for row in cylinders) == len(run)
        if pitch > 0 and is_regular and is_alone and (len(run[0].views) == 2 or _stereo(run) is not None):
            yield run


def _spaced(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows cut where their distance changes."""
    run: list[Row] = []
    for row in rows:
        distances = [b.position - a.position for a, b in itertools.pairwise([*run[:2], *run[-1:], row])]
        if len(run) > 1 and abs(distances[0] - distances[-1]) > 2 * _SAME_RADIUS:
            yield run
            run = []
        run.append(row)
    yield run


def _stereo(run: Sequence[Row]) -> float | None:
    """tan(stereo) / r [1/cm] of rows whose angle grows with r and alternates, from + on; None if it does otherwise."""
    slope = sum(math.tan(abs(row.views[0][1])) / row.position for row in run) / len(run)
    expected = ((-1) ** i * math.atan(slope * row.position) for i, row in enumerate(run))
    fits = all(abs(angle - row.views[0][1]) < _SAME_STEREO for angle, row in zip(expected, run, strict=True))
    return float(f"{slope:.6g}") if fits else None


def _volume(run: Sequence[Row]) -> dict[str, Any]:
    """A run as a drift volume."""
    first, last = run[0], run[-1]
    table: dict[str, Any] = {
        "r_first": first.position,
        "pitch": round((last.position - first.position) / (len(run) - 1), 6),
        "n_layers": len(run),
        "half_length": first.high,
    }
    if len(first.views) == 2:
        return table | _common(first, "sigma_z_um")
    table |= _common(first._replace(views=((first.views[0][0], 0.0),)), "sigma_z_um")
    return table | ({"stereo_tan_per_cm": slope} if (slope := _stereo(run)) else {})
