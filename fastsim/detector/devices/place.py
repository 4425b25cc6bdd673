"""Where a device is: a cylinder around the beam line, or disks across it, reached from inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from fastsim import toml

if TYPE_CHECKING:
    from collections.abc import Iterator

_BARREL, _FORWARD = ("r", "half_length"), ("z", "r_min", "r_max")


class Place(toml.Strict):
    """Base of all devices: a name, and r and half_length, or z, r_min and r_max."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="names the columns of the device")]
    r: Annotated[float | None, Field(gt=0, le=1000, description="radius of a barrel [cm]")] = None
    half_length: Annotated[float | None, Field(gt=0, le=10_000, description="of a barrel, along the beam [cm]")] = None
    z: Annotated[float | None, Field(gt=0, le=10_000, description="distance of disks from the origin [cm]")] = None
    r_min: Annotated[float | None, Field(ge=0, le=1000, description="inner radius of disks [cm]")] = None
    r_max: Annotated[float | None, Field(gt=0, le=1000, description="outer radius of disks [cm]")] = None
    both_sides: Annotated[bool, Field(description="disks stand at +z and at -z, else at +z only")] = True

    @property
    def is_barrel(self) -> bool:
        """Whether it is a cylinder."""
        return self.r is not None

    def surface(self) -> PlaceNumbers:
        """For the kernels."""
        if self.r is not None and self.half_length is not None:
            return PlaceNumbers(False, self.r, 0.0, self.half_length, True)
        return PlaceNumbers(True, self.z or 0.0, self.r_min or 0.0, self.r_max or 0.0, self.both_sides)


class PlaceNumbers(NamedTuple):
    """A barrel: radius `position`, |z| up to `high`. Disks: |z| is `position`, radii from `low` to `high`; cm."""

    is_disk: bool
    position: float
    low: float
    high: float
    both_sides: bool


def faults_of_places(data: dict[str, Any], kinds: tuple[str, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What cannot be of the devices of a raw detector file: two shapes or none, radii in the wrong order, names given twice."""
    names: set[object] = set()
    for kind in kinds:
        tables = data.get(kind)
        for i, device in enumerate(tables if isinstance(tables, list) else []):
            if not isinstance(device, dict):
                continue
            path = (kind, i)
            has = [all(key in device for key in keys) for keys in (_BARREL, _FORWARD)]
            some = [any(key in device for key in keys) for keys in (_BARREL, _FORWARD)]
            if has[0] == has[1] or some != has:
                yield path, f"needs {' and '.join(_BARREL)} (a barrel), or {', '.join(_FORWARD)} (disks), and not both"
            r_min, r_max = device.get("r_min"), device.get("r_max")
            if isinstance(r_min, (int, float)) and isinstance(r_max, (int, float)) and r_min >= r_max:
                yield (*path, "r_max"), f"must be larger than r_min = {r_min:g} (got {r_max:g})"
            name = device.get("name")
            if isinstance(name, str) and name in names:
                yield (*path, "name"), f"{name!r} is taken: names select columns and random streams, and must differ"
            names.add(name)
