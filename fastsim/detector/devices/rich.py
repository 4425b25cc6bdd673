"""A ring-imaging Cherenkov detector as the detector file describes it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from fastsim.detector.devices.place import Place
from fastsim.kernels.cherenkov import FRANK_TAMM, Counter
from fastsim.units import mm, ns

if TYPE_CHECKING:
    from collections.abc import Iterator

    Fault = tuple[tuple[str | int, ...], str]

_MRAD = 1e-3
_KHZ = 1e-6  # 1/ns
_CM_PER_NM = 1e-7
_OF_FOCUSING = {
    "proximity": ("gap", "gap_index", "pixel"),
    "mirror": ("focal_length", "sigma_aberration_mrad", "sigma_photon_mrad"),
}


class Rich(Place):
    """A radiator at the device's place (`r` or `z` is its inner surface), and behind it a gap, or a mirror, and a sensor."""

    focusing: Annotated[
        Literal["proximity", "mirror"],
        Field(
            description='"proximity": thin radiator, gap, sensor; "mirror": photons of one direction meet in one point'
        ),
    ]
    thickness: Annotated[float, Field(gt=0, le=1000, description="of the radiator, at normal incidence [cm]")]
    index: Annotated[float, Field(gt=1, le=2, description="refractive index, rms over a fast particle's photons")]
    pole_nm: Annotated[
        float,
        Field(
            ge=0, le=1000, description="of the index, n^2 = 1 + a / (1 - (pole / wavelength)^2) [nm]; 0: no dispersion"
        ),
    ]
    wavelength_min_nm: Annotated[float, Field(ge=50, le=2000, description="band of the sensor and the radiator [nm]")]
    wavelength_max_nm: Annotated[float, Field(ge=50, le=2000, description="the band's other end [nm]")]
    efficiency: Annotated[
        float | None, Field(gt=0, le=1, description="probability to find a photon of the band (instead of n0)")
    ] = None
    n0: Annotated[
        float | None,
        Field(gt=0, le=10_000, description="photo-electrons per cm and sin^2 (instead of efficiency) [1/cm]"),
    ] = None
    min_photons: Annotated[int, Field(ge=1, le=100, description="photo-electrons that a ring needs")]
    gap: Annotated[float | None, Field(gt=0, le=1000, description="proximity: radiator to sensor [cm]")] = None
    gap_index: Annotated[float | None, Field(ge=1, le=2, description="proximity: refractive index of the gap")] = None
    pixel: Annotated[float | None, Field(gt=0, le=100, description="side of a square pixel [cm]")] = None
    focal_length: Annotated[float | None, Field(gt=0, le=10_000, description="mirror: focal length [cm]")] = None
    sigma_aberration_mrad: Annotated[
        float | None, Field(ge=0, le=100, description="mirror: its own part of the single-photon resolution [mrad]")
    ] = None
    sigma_photon_mrad: Annotated[
        float | None,
        Field(gt=0, le=100, description="mirror: single-photon resolution as a whole, instead of its terms"),
    ] = None
    sigma_track_mrad: Annotated[
        float, Field(ge=0, le=100, description="resolution of the track's direction there, in one projection [mrad]")
    ] = 0.0
    x_over_x0: Annotated[
        float,
        Field(ge=0, le=10, description="radiation lengths between the last hit and the radiator, normal incidence"),
    ] = 0.0
    dark_rate_khz: Annotated[float, Field(ge=0, description="dark counts per mm2 of the sensor [kHz/mm2]")] = 0.0
    gate_ns: Annotated[float, Field(ge=0, le=1e6, description="time in which dark counts join an event [ns]")] = 0.0
    is_projective: Annotated[
        bool, Field(description="barrel: tiles face the origin, of equal length in pseudorapidity")
    ] = False
    n_sectors_z: Annotated[
        int, Field(ge=1, le=1000, description="barrel: tiles along the beam, with walls between them")
    ] = 1
    n_sectors_phi: Annotated[
        int, Field(ge=1, le=1000, description="barrel: flat tiles around the beam, with walls between them; 1: round")
    ] = 1

    @property
    def depth(self) -> float:
        """Of the whole counter [cm]."""
        return self.thickness + (self.gap or 0.0)

    def counter(self) -> Counter:
        """For the kernels."""
        is_mirror = self.focusing == "mirror"
        is_given = self.sigma_photon_mrad is not None
        pole = 0.0 if is_given else self.pole_nm
        k_min, k_max = 1.0 / self.wavelength_max_nm, 1.0 / self.wavelength_min_nm
        strength, sigma_index = _dispersion(self.index, pole, k_min, k_max)
        return Counter(
            *self.surface(), is_mirror=is_mirror, thickness=self.thickness, index=self.index, gap=self.gap or 0.0,
            gap_index=self.index + 1.0 if is_mirror else self.gap_index or 1.0,  # no surface to be reflected at
            focal_length=0.0 if is_given else self.focal_length or 0.0, pixel=0.0 if is_given else self.pixel or 0.0,
            n0=self.n0 if self.n0 is not None else (self.efficiency or 0.0) * photons_per_cm(k_min, k_max),
            min_photons=self.min_photons, k_min=k_min, k_max=k_max, pole=pole, strength=strength, sigma_index=sigma_index,
            sigma_photon=_MRAD * (self.sigma_photon_mrad or self.sigma_aberration_mrad or 0.0),
            sigma_track=_MRAD * self.sigma_track_mrad, x_over_x0=self.x_over_x0,
            dark=self.dark_rate_khz * _KHZ / mm**2 * self.gate_ns * ns, is_projective=self.is_projective,
            n_z=self.n_sectors_z, n_phi=self.n_sectors_phi,
        )  # fmt: skip


def photons_per_cm(k_min: float, k_max: float) -> float:
    """Frank and Tamm's photons per cm and sin^2 of the Cherenkov angle between two 1/wavelengths [1/nm]."""
    return FRANK_TAMM * (k_max - k_min) / _CM_PER_NM


def _dispersion(index: float, pole: float, k_min: float, k_max: float) -> tuple[float, float]:
    """`strength` and `sigma_index` of `Counter`: Frank and Tamm's photons are even in energy but for sin^2 = 1 - 1/n^2."""
    k = k_min + (k_max - k_min) * (np.arange(1000) + 0.5) / 1000
    shape = 1.0 / (1.0 - (pole * k) ** 2)
    strength = index**2 - 1.0
    for _ in range(20):
        n2 = 1.0 + strength * shape
        weights = (1.0 - 1.0 / n2) / np.sum(1.0 - 1.0 / n2)
        strength *= (index**2 - 1.0) / (float(weights @ n2) - 1.0)
    spread = float(weights @ (np.sqrt(n2) - weights @ np.sqrt(n2)) ** 2)
    return strength, math.sqrt(spread) if pole > 0.0 else 0.0


def faults_of_riches(data: dict[str, Any]) -> Iterator[Fault]:
    """What cannot be among the [[rich]] tables of a raw detector file."""
    tables = data.get("rich")
    for i, rich in enumerate(tables if isinstance(tables, list) else []):
        if isinstance(rich, dict):
            for key, text in [*_optics(rich), *_light(rich), *_tiles(rich)]:
                yield ("rich", i, *key), text
            yield from _collisions(data, i, rich)


def _number(table: dict[str, Any], key: str, default: float = math.nan) -> float:
    value = table.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def _optics(rich: dict[str, Any]) -> Iterator[Fault]:
    focusing = rich.get("focusing")
    for other, keys in _OF_FOCUSING.items():
        for key in keys:
            if key in rich and focusing in _OF_FOCUSING and other != focusing and key != "pixel":
                yield (key,), f'belongs to focusing = "{other}", and this is "{focusing}"'
            elif key not in rich and other == focusing == "proximity":
                yield (key,), 'missing: focusing = "proximity" needs it'
    if focusing == "mirror":
        terms = [key for key in ("focal_length", "pixel", "sigma_aberration_mrad") if key in rich]
        if ("sigma_photon_mrad" in rich) == bool(terms):
            yield (
                (),
                "a mirror needs sigma_photon_mrad, or focal_length and pixel (and sigma_aberration_mrad), and not both",
            )
        elif terms and not {"focal_length", "pixel"} <= set(terms):
            yield (), "a mirror whose single-photon resolution is made of terms needs focal_length and pixel"
    if _number(rich, "gap_index") >= _number(rich, "index"):
        yield ("gap_index",), f"must be below that of the radiator, {rich['index']} (got {rich['gap_index']})"


def _light(rich: dict[str, Any]) -> Iterator[Fault]:
    low, high, pole = (_number(rich, key) for key in ("wavelength_min_nm", "wavelength_max_nm", "pole_nm"))
    if low >= high:
        yield ("wavelength_max_nm",), f"must be above wavelength_min_nm = {low:g} (got {high:g})"
    if pole >= low:
        yield ("pole_nm",), f"must be below wavelength_min_nm = {low:g}: there the index is infinite (got {pole:g})"
    if ("n0" in rich) == ("efficiency" in rich):
        yield (), "needs n0 or efficiency, and not both"
    elif "n0" in rich and 0 < low < high:
        most = photons_per_cm(1.0 / high, 1.0 / low)
        if _number(rich, "n0") > most:
            yield (
                ("n0",),
                f"above the {most:.4g} photons per cm from {low:g} to {high:g} nm (efficiency above 1)",
            )
    if ("dark_rate_khz" in rich) != ("gate_ns" in rich):
        yield (), "dark_rate_khz and gate_ns need each other"
    elif "dark_rate_khz" in rich and "sigma_photon_mrad" in rich:
        yield (
            ("dark_rate_khz",),
            "needs focal_length and pixel instead of sigma_photon_mrad: who knows the sensor's area?",
        )


def _tiles(rich: dict[str, Any]) -> Iterator[Fault]:
    for key in ("is_projective", "n_sectors_z", "n_sectors_phi"):
        if key in rich and "z" in rich:
            yield (key,), "belongs to a barrel, and this has disks"
    if (
        rich.get("focusing") == "mirror"
        and "r" in rich
        and (rich.get("n_sectors_phi", 1) == 1 or rich.get("is_projective"))
    ):
        yield (), "a barrel with mirrors needs n_sectors_phi (one mirror each), and is_projective = false"
    if rich.get("n_sectors_phi") == 2:
        yield ("n_sectors_phi",), "must be 1 (round) or at least 3: two flat tiles do not surround the beam"


def _collisions(data: dict[str, Any], i: int, rich: dict[str, Any]) -> Iterator[Fault]:
    """Parts of the tracker that lie in or behind a counter, and other devices that share its room."""
    own = _box(rich, _number(rich, "thickness", 0.0) + _number(rich, "gap", 0.0))
    is_barrel = "r" in rich
    key = "r" if is_barrel else "z"
    if own is None:
        return
    for kind in ("layers", "drift_volumes", "disks"):
        for element in _tables(data, kind):
            box = _box(element, (_number(element, "n_layers", 1.0) - 1.0) * _number(element, "pitch", 0.0))
            if box is None:
                continue
            behind = own[:2] if is_barrel else own[2:]
            if _meet(box, (behind[0], math.inf, *own[2:]) if is_barrel else (*own[:2], behind[0], math.inf)):
                yield (
                    ("rich", i, key),
                    f"{rich[key]} cm is inside the tracker: {element.get('name', kind)} is in it or behind it",
                )
                break
    for kind in ("tof", "rich", "calorimeters"):
        for j, other in enumerate(_tables(data, kind)):
            box = _box(
                other, _number(other, "thickness", 0.0) + _number(other, "gap", 0.0) + _number(other, "depth", 0.0)
            )
            if box is not None and (kind != "rich" or j < i) and _meet(own, box):
                extent = f"{rich[key]:g} to {own[1 if is_barrel else 3]:g} cm in {key}"
                yield ("rich", i, key), f"{extent} overlaps {kind}[{j}], {other.get('name', 'without name')}"


def _tables(data: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    tables = data.get(kind)
    return [table for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []


def _box(table: dict[str, Any], depth: float) -> tuple[float, float, float, float] | None:
    """Radii and distances |z| [cm] from, to; None where numbers are missing."""
    r, z = _number(table, "r", _number(table, "r_first")), _number(table, "z")
    box = (
        (abs(r), abs(r) + depth, 0.0, _number(table, "half_length"))
        if math.isfinite(r)
        else (_number(table, "r_min"), _number(table, "r_max"), abs(z), abs(z) + depth)
    )
    return box if all(math.isfinite(number) for number in box) else None


def _meet(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1] and a[2] <= b[3] and b[2] <= a[3]
