"""The geometry of a detector file: what cannot be built, and the surfaces that the kernels see.

`elements` spells a detector out: each cylinder and disk on its own, drift volumes layer by layer, disks of both sides
twice. Pictures and listings use the same.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim.kernels.surfaces import MOST_LOST, Surfaces
from fastsim.units import um

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastsim.detector.schema import Detector, DriftVolume, Element

    Fault = tuple[tuple[str | int, ...], str]

SAME_SURFACE = 1e-4  # cm: surfaces closer than 1 um are the same one written twice
MOST_NEGLECTED = 0.01  # probability to lose more hits than the table maker follows one by one
_SECOND = {"layers": "sigma_z_um", "disks": "sigma_r_um", "drift_volumes": "sigma_z_um"}


class Surface(NamedTuple):
    """One cylinder (position r, from `low` to `high` in z) or disk (position z, from `low` to `high` in r); cm."""

    name: str
    is_disk: bool
    position: float
    low: float
    high: float
    x_over_x0: float
    areal_density: float
    sigma: tuple[float, float]
    stereo: tuple[float, float]
    efficiency: float
    repeated: bool

    @property
    def is_sensitive(self) -> bool:
        """Whether it measures."""
        return self.efficiency > 0


def elements(detector: Detector) -> list[Surface]:
    """Every cylinder by radius, then every disk, outwards at z > 0 and at z < 0."""
    cylinders = [
        _surface(layer, layer.sigma_z_um, layer.r, -layer.half_length, layer.half_length) for layer in detector.layers
    ]
    for volume in detector.drift_volumes:
        cylinders += [_row(volume, number) for number in range(volume.n_layers)]
    disks = []
    for disk in detector.disks:
        for z in (disk.z, -disk.z) if disk.both_sides else (disk.z,):
            name = f"{disk.name}{'+' if z > 0 else '-'}" if disk.both_sides else disk.name
            disks.append(_surface(disk, disk.sigma_r_um, z, disk.r_min, disk.r_max, name=name, is_disk=True))
    return sorted(cylinders, key=lambda s: s.position) + sorted(disks, key=lambda s: (s.position < 0, abs(s.position)))


def _surface(
    element: Element, sigma_2_um: float | None, position: float, low: float, high: float, **changes: Any
) -> Surface:
    views = [(v.sigma_um, v.stereo_angle) for v in element.views or []]
    if element.sigma_rphi_um is not None and sigma_2_um is not None:
        views = [(element.sigma_rphi_um, 0.0), (sigma_2_um, 0.5 * math.pi)]
    (sigma_a, angle_a), (sigma_b, angle_b) = [*views, (math.inf, 0.0), (math.inf, 0.0)][:2]
    surface = Surface(
        element.name, False, position, low, high, element.x_over_x0, element.areal_density or 0.0,
        (sigma_a * um, sigma_b * um), (angle_a, angle_b), element.efficiency or 0.0, False,
    )  # fmt: skip
    return surface._replace(**changes)


def _row(volume: DriftVolume, number: int) -> Surface:
    r = volume.r_first + number * volume.pitch
    name = f"{volume.name}.{number}"
    row = _surface(volume, volume.sigma_z_um, r, -volume.half_length, volume.half_length, name=name, repeated=True)
    tilt = math.atan(volume.stereo_tan_per_cm * r) * (1 if number % 2 == 0 else -1)
    return row._replace(stereo=(row.stereo[0] + tilt, row.stereo[1])) if tilt else row


def surfaces_of(detector: Detector) -> Surfaces:
    """The detector as the kernels see it."""
    found = elements(detector)

    def column(name: str, dtype: type = np.float64) -> Any:
        return np.array([getattr(surface, name) for surface in found], dtype=dtype)

    n_cylinders = sum(not surface.is_disk for surface in found)
    return Surfaces(
        n_cylinders, n_cylinders + sum(surface.is_disk and surface.position > 0 for surface in found),
        column("position"), column("low"), column("high"), column("x_over_x0"), column("areal_density"),
        column("sigma").reshape(-1, 2), column("stereo").reshape(-1, 2), column("efficiency"), column("repeated", np.bool_),
    )  # fmt: skip


def is_mirrored(detector: Detector) -> bool:
    """Whether the detector looks the same from both sides, so that a table of eta > 0 is enough.

    Tilted stereo views change their sign in the mirror, so they do not look the same.
    """
    surfaces = elements(detector)
    tilted = [s for s in surfaces for angle in s.stereo if s.is_sensitive and angle not in {0.0, 0.5 * math.pi}]
    disks = {surface._replace(name="") for surface in surfaces if surface.is_disk}
    return not tilted and {disk._replace(position=-disk.position) for disk in disks} == disks


def radius_edges(detector: Detector) -> list[float]:
    """Bins of the production radius [cm]: a new one behind each measuring cylinder.

    Within a bin the same cylinders are left to measure, so the table is constant there. In drift volumes a bin spans 30 %
    of the rows that are left. The last edge is where no track can begin any more: beyond the disks, or where fewer than
    min_hits cylinders are left.
    """
    if detector.r_edges is not None:
        return list(detector.r_edges)
    measuring = [surface for surface in elements(detector) if surface.is_sensitive]
    cylinders = [surface for surface in measuring if not surface.is_disk]
    min_hits = detector.tracking.min_hits if detector.tracking else 1
    end = max((s.high for s in measuring if s.is_disk), default=0.0)
    rows_left = sum(surface.repeated for surface in cylinders)
    next_edge = rows_left  # rows that are left where the next bin begins
    edges = [0.0]
    for number, surface in enumerate(cylinders):
        if not surface.repeated or rows_left <= next_edge:
            edges.append(round(surface.position, 6))
        if surface.repeated:
            if rows_left <= next_edge:
                next_edge = int(0.7 * rows_left)
            rows_left -= 1
        if len(cylinders) - number - 1 < min_hits and surface.position >= end:
            if edges[-1] < surface.position:
                edges.append(round(surface.position, 6))
            break
    if edges[-1] < end:
        edges.append(end)
    return edges


def birth_radii(detector: Detector, edges: Sequence[float]) -> list[float]:
    """Production radius [cm] that each bin is solved for: where it begins, in the middle where rows follow each other."""
    rows = [surface.position for surface in elements(detector) if surface.repeated]
    radii = []
    for low, high in itertools.pairwise(edges):
        within = sum(low < row < high for row in rows)
        radii.append(0.5 * (low + high) if within > 1 else low)
    return radii


def faults_of_edges(edges: Any) -> Iterator[Fault]:
    """Bins of the production radius must begin at 0 and increase."""
    if isinstance(edges, list) and all(isinstance(edge, (int, float)) for edge in edges):
        if edges and edges[0] != 0:
            yield ("r_edges", 0), f"must be 0: primaries are born there (got {edges[0]})"
        for i, (a, b) in enumerate(itertools.pairwise(edges)):
            if not a < b:
                yield ("r_edges", i + 1), f"must be above {a} (got {b})"


def faults_of_layers(data: dict[str, Any]) -> Iterator[Fault]:
    """What cannot be built or does not measure; `data` is the raw file and may itself be faulty."""
    tables = [
        (key, i, table)
        for key in _SECOND
        for i, table in enumerate(data[key] if isinstance(data.get(key), list) else [])
        if isinstance(table, dict)
    ]
    if not tables:
        return
    yield from _names(tables)
    yield from _extents(tables)
    yield from _overlaps(tables)
    tracking = data.get("tracking")
    rules = tracking if isinstance(tracking, dict) else {}
    if rules.get("straggling", "none") != "none" and rules.get("energy_loss", "none") == "none":
        yield ("tracking", "straggling"), 'has no meaning without tracking.energy_loss = "mean"'
    n_measuring, reach = 0, 0.0
    efficiencies: list[float] = []
    for key, i, table in tables:
        yield from _measurement(key, i, table)
        if rules.get("energy_loss") == "mean" and "areal_density" not in table:
            yield (key, i), 'needs areal_density, because tracking.energy_loss = "mean"'
        if "efficiency" in table:
            n_measuring += _number(table, "n_layers", 1) * (1 + (key == "disks" and _both_sides(table)))
            reach = max(reach, _outer_radius(key, table))
            efficiencies += [_number(table, "efficiency", 1.0)] * (key != "drift_volumes")
    if isinstance(rules.get("min_hits"), int) and n_measuring < rules["min_hits"]:
        yield (tables[0][0],), f"{n_measuring} measuring layers, fewer than tracking.min_hits = {rules['min_hits']}"
    elif isinstance(rules.get("min_radius"), (int, float)) and 0 < reach < rules["min_radius"]:
        yield (
            ("tracking", "min_radius"),
            f"{rules['min_radius']} cm lies outside the last measuring layer, at {reach:g} cm",
        )
    neglected = _probability_to_lose_more_than(MOST_LOST, efficiencies)
    if neglected > MOST_NEGLECTED:
        text = f"more than {MOST_LOST} hits are lost with probability {neglected:.1%}; the table maker allows "
        yield (tables[0][0],), f"{text}{MOST_NEGLECTED:.0%} (a drift volume may lose any number)"


def _probability_to_lose_more_than(n: int, efficiencies: Sequence[float]) -> float:
    exactly = [1.0] + [0.0] * n  # probability of exactly 0..n lost hits so far
    for efficiency in efficiencies:
        for m in range(n, -1, -1):
            exactly[m] = exactly[m] * efficiency + (exactly[m - 1] * (1.0 - efficiency) if m else 0.0)
    return max(1.0 - sum(exactly), 0.0)


def _number(table: dict[str, Any], key: str, default: Any = None) -> Any:
    value = table.get(key)
    try:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        is_number = False
    return value if is_number else default


def _both_sides(table: dict[str, Any]) -> bool:
    return table.get("both_sides", True) is True


def _outer_radius(key: str, table: dict[str, Any]) -> float:
    if key == "drift_volumes":
        first, pitch, n = (_number(table, k, 0.0) for k in ("r_first", "pitch", "n_layers"))
        return float(first + pitch * max(n - 1, 0))
    return float(_number(table, "r_max" if key == "disks" else "r", 0.0))


def _names(tables: Sequence[tuple[str, int, dict[str, Any]]]) -> Iterator[Fault]:
    names: dict[str, str] = {}
    for key, i, table in tables:
        name = table.get("name")
        if isinstance(name, str) and names.setdefault(name, f"{key}[{i}]") != f"{key}[{i}]":
            yield (key, i, "name"), f"{name!r} is already the name of {names[name]}"


def _measurement(key: str, i: int, table: dict[str, Any]) -> Iterator[Fault]:
    pair = {"sigma_rphi_um", _SECOND[key]}
    given = pair & set(table)
    if "views" in table and given:
        yield (key, i, "views"), f"stands instead of {' and '.join(sorted(pair))}: give one or the other"
    elif "views" in table and "efficiency" not in table:
        yield (key, i), "a measuring layer also needs efficiency (a passive one has no views)"
    elif "views" not in table and (given or "efficiency" in table):
        missing = (pair | {"efficiency"}) - set(table)
        if missing:
            text = f"a measuring layer also needs {' and '.join(sorted(missing))}"
            yield (key, i), f"{text} (a passive one has none of the three, one with a single view has `views`)"
    views = table.get("views")
    if isinstance(views, list) and len(views) == 2 and all(isinstance(view, dict) for view in views):
        a, b = (_number(view, "stereo_angle") for view in views)
        if a is not None and b is not None and abs(math.sin(a - b)) < 1e-6:
            yield (key, i, "views"), "the two views measure the same direction"


def _extents(tables: Sequence[tuple[str, int, dict[str, Any]]]) -> Iterator[Fault]:
    for key, i, table in tables:
        if key != "disks":
            continue
        low, high, z = _number(table, "r_min"), _number(table, "r_max"), _number(table, "z")
        if low is not None and high is not None and not low < high:
            yield (key, i, "r_min"), f"{low} cm is not below r_max = {high} cm"
        if z is not None and _both_sides(table) and z <= 0:
            yield (key, i, "z"), f"must be above 0 for a disk on both sides (got {z})"
        elif z == 0:
            yield (key, i, "z"), "must not be 0"


def _overlaps(tables: Sequence[tuple[str, int, dict[str, Any]]]) -> Iterator[Fault]:
    cylinders = sorted(_cylinders(tables))
    for j, (r_b, _, b) in enumerate(cylinders):
        for r_a, high_a, a in cylinders[:j]:
            if r_b - high_a < SAME_SURFACE:
                place = f"at {r_a} cm" if high_a == r_a else f"from {r_a} to {high_a:g} cm"
                key = "r_first" if b[0] == "drift_volumes" else "r"
                yield (*b, key), f"{r_b} cm overlaps {a[0]}[{a[1]}] {place} (surfaces must be 1 um apart)"
                break
    disks = sorted(_disks(tables))
    written = {(key, i): table.get("z") for key, i, table in tables}
    extent = {place: (low, high) for _, low, high, place in disks}
    told = set()
    for (z_a, low_a, high_a, a), (z_b, low_b, high_b, b) in itertools.combinations(disks, 2):
        if a != b and abs(z_b - z_a) < SAME_SURFACE and low_a < high_b and low_b < high_a:
            told.add((min(a, b), max(a, b)))
    for first, second in sorted(told):
        low, high = extent[first]
        text = f"{written[second]} cm overlaps {first[0]}[{first[1]}], from r = {low} to {high} cm"
        yield (*second, "z"), f"{text} (surfaces must be 1 um apart)"
    lengths = {(key, i): _number(table, "half_length", 0.0) for key, i, table in tables if key != "disks"}
    cut = set()
    for r_a, high_a, a in cylinders:
        for z, low, high, b in disks:
            if abs(z) <= lengths[a] and low < high_a and r_a < high and (a, b) not in cut:
                cut.add((a, b))
                yield b, f"cuts through {a[0]}[{a[1]}], a cylinder at r = {r_a} cm with half_length {lengths[a]} cm"


def _cylinders(tables: Sequence[tuple[str, int, dict[str, Any]]]) -> Iterator[tuple[float, float, tuple[str, int]]]:
    """Inner and outer radius and place of the cylinders and drift volumes that have numbers."""
    for key, i, table in tables:
        r = _number(table, "r_first" if key == "drift_volumes" else "r")
        if key != "disks" and r is not None:
            yield r, _outer_radius(key, table), (key, i)


def _disks(tables: Sequence[tuple[str, int, dict[str, Any]]]) -> Iterator[tuple[float, float, float, tuple[str, int]]]:
    """Position, inner and outer radius and place of the disks that have numbers."""
    for key, i, table in tables:
        z, low, high = (_number(table, k) for k in ("z", "r_min", "r_max"))
        if key == "disks" and z is not None and low is not None and high is not None:
            yield from ((side, low, high, (key, i)) for side in ((z, -z) if _both_sides(table) else (z,)))
