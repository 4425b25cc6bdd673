"""What straight tracks from the origin meet, and what a person would want to be warned of."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastsim.detector import geometry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from fastsim.detector.geometry import Surface
    from fastsim.detector.schema import Detector

SILICON_X0 = 21.82  # g/cm2 (PDG, "Atomic and nuclear properties of materials")
_ETA_LIMIT = 8.0
_ETA_STEP = 0.01
_SMALLEST_GAP = 0.03  # in eta: smaller ones are seams of the scan


class Material(NamedTuple):
    """x/X0 along straight lines from the origin, by what it belongs to, and measuring layers crossed; one value an eta."""

    passive: NDArray[np.float64]
    measuring: NDArray[np.float64]
    drift_volumes: NDArray[np.float64]
    n_measuring: NDArray[np.int64]

    @property
    def total(self) -> NDArray[np.float64]:
        """All of it."""
        return self.passive + self.measuring + self.drift_volumes


class Review(NamedTuple):
    """A detector of layers in a few numbers, and warnings."""

    n_measuring: int
    material_at_0: float
    eta_range: tuple[float, float] | None
    warnings: list[str]


def straight_line_material(detector: Detector, eta: ArrayLike) -> Material:
    """Material and measuring layers that a straight line from the origin crosses; `eta` (n,).

    A cylinder is crossed at z = r sinh(eta), its thickness seen under cosh(eta); a disk at r = z / sinh(eta), under
    cosh(eta) / |sinh(eta)|. Edges belong to the surface.
    """
    etas = np.atleast_1d(np.asarray(eta, dtype=np.float64))
    groups = {name: np.zeros(len(etas)) for name in ("passive", "measuring", "drift_volumes")}
    n_measuring = np.zeros(len(etas), dtype=np.int64)
    for surface in geometry.elements(detector):
        is_crossed, slant = _crossing(surface, etas)
        group = "drift_volumes" if surface.repeated else "measuring" if surface.is_sensitive else "passive"
        groups[group] += np.where(is_crossed, surface.x_over_x0 * slant, 0.0)
        n_measuring += is_crossed & surface.is_sensitive
    return Material(**groups, n_measuring=n_measuring)


def _crossing(surface: Surface, etas: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether the lines cross, and the slant factor of the thickness."""
    if not surface.is_disk:
        z = surface.position * np.sinh(etas)
        return (surface.low <= z) & (z <= surface.high), np.cosh(etas)
    with np.errstate(divide="ignore"):
        r = surface.position / np.sinh(etas)  # below 0 on the other side
        slant = np.cosh(etas) / np.abs(np.sinh(etas))
    is_crossed = (r > 0) & (surface.low <= r) & (r <= surface.high)
    return is_crossed, np.where(is_crossed, slant, 0.0)  # which is inf at eta = 0: no number times a thickness of 0


def review(detector: Detector) -> Review:
    """Numbers and warnings; a detector of formulas or tables has no layers, so nothing to say."""
    surfaces = geometry.elements(detector)
    if not surfaces or detector.tracking is None:
        return Review(0, 0.0, None, [])
    n = round(_ETA_LIMIT / _ETA_STEP)
    etas: NDArray[np.float64] = _ETA_STEP * (
        np.arange(-n, n, dtype=np.float64) + 0.5
    )  # bin centres: no line runs along an edge
    n_crossed = straight_line_material(detector, etas).n_measuring
    enough = n_crossed >= detector.tracking.min_hits
    covered = etas[enough]
    half = 0.5 * _ETA_STEP
    eta_range = (float(covered[0]) - half, float(covered[-1]) + half) if len(covered) else None
    warnings = [
        *_gaps(etas, enough, detector.tracking.min_hits),
        *_useless(surfaces, etas, enough, detector.tracking.min_hits),
        *_odd_material(detector),
    ]
    at_0 = float(straight_line_material(detector, 0.0).total[0])
    return Review(sum(s.is_sensitive for s in surfaces), at_0, eta_range, warnings)


def _gaps(etas: NDArray[np.float64], enough: NDArray[np.bool_], min_hits: int) -> Iterator[str]:
    """Ranges without tracks between ranges with tracks."""
    if not enough.any():
        yield f"no straight track from the origin crosses {min_hits} measuring layers (tracking.min_hits)"
        return
    half = 0.5 * _ETA_STEP
    inside = np.flatnonzero(enough)
    for last, following in itertools.pairwise(inside):
        low, high = etas[last] + half, etas[following] - half
        if high - low >= _SMALLEST_GAP:
            yield f"gap: from eta {low:.2f} to {high:.2f} a track crosses fewer than {min_hits} measuring layers"


def _useless(
    surfaces: list[Surface], etas: NDArray[np.float64], enough: NDArray[np.bool_], min_hits: int
) -> Iterator[str]:
    """Measuring layers of which no track makes use."""
    useless: dict[str, None] = {}  # the layers of a drift volume are told once
    for surface in surfaces:
        if surface.is_sensitive and not (_crossing(surface, etas)[0] & enough).any():
            useless[surface.name.rpartition(".")[0] if surface.repeated else surface.name] = None
    if enough.any():
        for name in useless:
            yield f"{name} measures, but no straight track from the origin that crosses it has {min_hits} measuring layers"


def _odd_material(detector: Detector) -> Iterator[str]:
    loses_energy = detector.tracking is not None and detector.tracking.energy_loss != "none"
    for element in [*detector.layers, *detector.disks, *detector.drift_volumes]:
        if not element.is_sensitive:
            continue
        if element.x_over_x0 == 0:
            yield f"{element.name} measures without material (x_over_x0 = 0)"
        elif element.areal_density is not None and (element.areal_density > 0 or loses_energy):
            silicon = element.areal_density / SILICON_X0
            if not 1 / 3 <= silicon / element.x_over_x0 <= 3:
                yield (
                    f"{element.name}: areal_density = {element.areal_density:g} g/cm2 of silicon is {_percent(silicon)} of a "
                    f"radiation length, x_over_x0 says {_percent(element.x_over_x0)}"
                )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"


def largest_eta(surface: Surface) -> float:
    """Largest |eta| of a straight line from the origin that crosses the surface; inf for a disk without a hole."""
    if surface.is_disk:
        return math.asinh(abs(surface.position) / surface.low) if surface.low > 0 else math.inf
    return math.asinh(surface.high / surface.position)


def smallest_eta(surface: Surface) -> float:
    """Smallest |eta| of a straight line from the origin that crosses the surface."""
    return math.asinh(abs(surface.position) / surface.high) if surface.is_disk else 0.0
