"""A time-of-flight layer as the detector file describes it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from fastsim.detector.devices.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Fault = tuple[tuple[str | int, ...], str]
    Numbers = dict[str, float]

N_LINES = 201  # straight lines, even in pseudorapidity, with which a layer is searched for tracks
SAME_SURFACE = 1e-4  # cm, as in `detector.geometry`


class Tof(Place):
    """A time-of-flight layer: a barrel, or disks."""

    sigma_ps: Annotated[float, Field(gt=0, le=1e6, description="time resolution, of the Gaussian core [ps]")]
    tail_from: Annotated[
        float | None,
        Field(ge=0.3, le=10, description="late tail: from so many sigma on the distribution falls exponentially"),
    ] = None
    efficiency: Annotated[float, Field(gt=0, le=1, description="probability of a hit on the active area")] = 1.0
    pitch: Annotated[float | None, Field(gt=0, le=100, description="edge of its square pixels [cm]")] = None
    inactive_fraction: Annotated[
        float, Field(ge=0, lt=1, description="part of each pixel's area, along its border, that gives no hit")
    ] = 0.0
    mismatch: Annotated[
        float, Field(ge=0, lt=1, description="probability that a track gets another particle's hit")
    ] = 0.0
    matching_area: Annotated[
        float,
        Field(
            ge=0, le=1e4, description="another hit within it is taken: adds 1 - exp(-area density) to mismatch [cm^2]"
        ),
    ] = 0.0


def faults_of_tof(data: dict[str, Any]) -> Iterator[Fault]:
    """What cannot be of the time-of-flight layers of a raw detector file, beside the places themselves.

    Borders without pixels; layers that stand in a layer of the tracker or cut through one, or that no track of it can hit.
    """
    tables = data.get("tof")
    for i, table in enumerate(tables if isinstance(tables, list) else []):
        if not isinstance(table, dict):
            continue
        numbers = _numbers(table)
        if numbers.get("inactive_fraction", 0.0) > 0.0 and "pitch" not in table:
            yield ("tof", i, "inactive_fraction"), "needs pitch, the edge of the pixels"
        if "pitch" in numbers and numbers["pitch"] > _extent(numbers):
            yield ("tof", i, "pitch"), f"{numbers['pitch']:g} cm, larger than the layer ({_extent(numbers):g} cm)"
        if {"r", "half_length"} <= set(numbers) or {"z", "r_min", "r_max"} <= set(numbers):
            yield from _among_layers(data, i, numbers)


def _numbers(table: dict[str, Any]) -> Numbers:
    return {
        k: float(v)
        for k, v in table.items()
        if isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e9
    }


def _extent(numbers: Numbers) -> float:
    """The smaller side of a layer [cm], unrolled."""
    if "r" in numbers:
        return min(2.0 * math.pi * numbers["r"], 2.0 * numbers.get("half_length", math.inf))
    return 2.0 * numbers.get("r_max", math.inf)


class _Layer(NamedTuple):
    """A cylinder (position r, up to `high` in |z|) or disk (position |z|, from `low` to `high` in r) of the tracker; cm."""

    name: str
    is_disk: bool
    position: float
    low: float
    high: float
    n_measuring: int


def _tracker(data: dict[str, Any]) -> list[_Layer]:
    """The tracker's layers, as far as they have numbers; a drift volume is one with many measurements."""
    layers = []
    for key, keys in (
        ("layers", ("r", "half_length")),
        ("drift_volumes", ("r_first", "half_length")),
        ("disks", ("z", "r_min", "r_max")),
    ):
        tables = data.get(key)
        for table in tables if isinstance(tables, list) else []:
            numbers = _numbers(table) if isinstance(table, dict) else {}
            if not set(keys) <= set(numbers):
                continue
            position, *extent = (numbers[k] for k in keys)
            n = int(numbers.get("n_layers", 1)) if "efficiency" in numbers else 0
            low = extent[0] if key == "disks" else 0.0
            layers.append(_Layer(str(table.get("name")), key == "disks", abs(position), low, extent[-1], n))
    return layers


def _among_layers(data: dict[str, Any], i: int, device: Numbers) -> Iterator[Fault]:
    """A layer against the cylinders and disks of the tracker."""
    tracker = _tracker(data)
    is_disk = "r" not in device
    place = device["z"] if is_disk else device["r"]
    low, high = (device["r_min"], device["r_max"]) if is_disk else (0.0, device["half_length"])
    path = ("tof", i, "z" if is_disk else "r")
    for layer in tracker:
        if layer.is_disk == is_disk:
            if abs(place - layer.position) < SAME_SURFACE and (not is_disk or (low < layer.high and layer.low < high)):
                yield path, f"{place:g} cm is where {layer.name} is"
        elif is_disk and place <= layer.high and low < layer.position < high:
            yield (
                path,
                f"cuts through {layer.name}, a cylinder at r = {layer.position:g} cm with half_length {layer.high:g} cm",
            )
        elif not is_disk and layer.position <= high and layer.low < place < layer.high:
            yield (
                path,
                f"cuts through {layer.name}, a disk at |z| = {layer.position:g} cm, r = {layer.low:g} to {layer.high:g} cm",
            )
    innermost = min((layer for layer in tracker if not layer.is_disk), key=lambda layer: layer.position, default=None)
    if innermost and not is_disk and place < innermost.position - SAME_SURFACE:
        yield path, f"{place:g} cm lies inside {innermost.name}, the innermost layer, at {innermost.position:g} cm"
    rules = data.get("tracking")
    min_hits = rules.get("min_hits") if isinstance(rules, dict) else None
    if tracker and isinstance(min_hits, int):
        slopes = (low / place, high / place) if not is_disk else (place / high, place / max(low, SAME_SURFACE))
        most = _most_hits(tracker, *slopes)
        if most < min_hits:
            text = f"straight lines to it cross {most} measuring layers at most (tracking.min_hits is {min_hits})"
            yield ("tof", i), f"no track of the tracker gets there: {text}"


def _most_hits(tracker: Sequence[_Layer], low: float, high: float) -> int:
    """Measuring layers on straight lines z = slope r from the origin, of that line of low <= slope <= high that crosses most."""
    begin, end = math.asinh(low), math.asinh(high)
    most = 0
    for k in range(N_LINES):
        slope = math.sinh(begin + (end - begin) * k / (N_LINES - 1))
        crossed = (
            layer.n_measuring
            for layer in tracker
            if (
                layer.low * slope <= layer.position <= layer.high * slope
                if layer.is_disk
                else layer.position * slope <= layer.high
            )
        )
        most = max(most, sum(crossed))
    return most
