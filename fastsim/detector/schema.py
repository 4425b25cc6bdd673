"""The detector file: layers, material, field, and what counts as a track."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from fastsim import resources, toml
from fastsim.kernels.conventions import Convention

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAME_SURFACE = 1e-4  # cm: two cylinders closer than 1 um are the same surface written twice
MAX_NEGLECTED = 0.01  # largest probability to lose more than two hits that the table maker may neglect


class Layer(toml.Strict):
    """A cylinder around the beam line. With both resolutions and an efficiency it measures, without any it is passive."""

    name: Annotated[str, Field(min_length=1, description="unique name of the layer")]
    r: Annotated[float, Field(gt=0, le=1000, description="radius [cm]")]
    half_length: Annotated[float, Field(gt=0, le=10000, description="half length along the beam [cm]")]
    x_over_x0: Annotated[float, Field(ge=0, le=10, description="thickness in radiation lengths at normal incidence")]
    sigma_rphi_um: Annotated[float | None, Field(gt=0, description="hit resolution in r-phi [um]")] = None
    sigma_z_um: Annotated[float | None, Field(gt=0, description="hit resolution along the beam [um]")] = None
    efficiency: Annotated[float | None, Field(gt=0, le=1, description="probability of a hit")] = None

    @property
    def is_sensitive(self) -> bool:
        """Whether the layer measures."""
        return self.efficiency is not None


class TrackingRules(toml.Strict):
    """Physics conventions of the tracker, and what counts as a track."""

    scattering: Annotated[Convention, Field(description="convention of the multiple-scattering logarithm")]
    min_hits: Annotated[int, Field(ge=3, le=100, description="hits that a track needs")]
    max_sin_incidence: Annotated[
        float,
        Field(gt=0, lt=1, description="layers crossed at a larger sine of the bending-plane incidence do not count"),
    ]
    min_radius: Annotated[float, Field(ge=0, description="radius that a track must reach in the bending plane [cm]")]


class Detector(toml.Strict):
    """A detector: hardware only. How it is run is the card's business."""

    schema_version: Annotated[Literal[1], Field(description="version of this schema")]
    name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$", description="short name")]
    source: Annotated[str, Field(min_length=1, description="where the numbers come from")]
    b_z: Annotated[float, Field(ge=-20, le=20, description="field along the beam [T]")]
    tracking: Annotated[TrackingRules, Field(description="conventions and cuts of the tracking")]
    layers: Annotated[list[Layer], Field(min_length=1, description="cylinders, in any order")]

    @classmethod
    def faults(cls, data: dict[str, Any]) -> Iterator[tuple[toml.Path, str]]:
        """Faults between fields; `data` is the raw file."""
        if data.get("b_z") == 0:
            yield ("b_z",), "must not be 0: without a field no momentum is measured"
        layers = data.get("layers")
        if not isinstance(layers, list):
            return
        tables = [(i, layer) for i, layer in enumerate(layers) if isinstance(layer, dict)]
        yield from _duplicates(tables)
        n_sensitive = 0
        for i, layer in tables:
            given = [k for k in ("sigma_rphi_um", "sigma_z_um", "efficiency") if k in layer]
            n_sensitive += len(given) > 0
            if 0 < len(given) < 3:
                missing = {"sigma_rphi_um", "sigma_z_um", "efficiency"} - set(given)
                yield (
                    ("layers", i),
                    f"a measuring layer also needs {' and '.join(sorted(missing))} (a passive one has none of the three)",
                )
        rules = data.get("tracking")
        min_hits = rules.get("min_hits") if isinstance(rules, dict) else None
        if isinstance(min_hits, int) and n_sensitive < min_hits:
            yield ("layers",), f"{n_sensitive} measuring layers, fewer than tracking.min_hits = {min_hits}"
        radii = [
            layer["r"] for _, layer in tables if isinstance(layer.get("r"), (int, float)) and "efficiency" in layer
        ]
        reach = rules.get("min_radius") if isinstance(rules, dict) else None
        if isinstance(reach, (int, float)) and radii and reach > max(radii):
            yield ("tracking", "min_radius"), f"{reach} cm lies outside the last measuring layer, at {max(radii)} cm"
        efficiencies = [layer["efficiency"] for _, layer in tables if isinstance(layer.get("efficiency"), float)]
        neglected = _probability_to_lose_more_than(2, efficiencies)
        if neglected > MAX_NEGLECTED:
            yield (
                ("layers",),
                f"more than two hits are lost with probability {neglected:.1%}; the table maker allows {MAX_NEGLECTED:.0%}",
            )


def _duplicates(layers: list[tuple[int, dict[str, Any]]]) -> Iterator[tuple[toml.Path, str]]:
    names: dict[Any, int] = {}
    for i, layer in layers:
        name = layer.get("name")
        if isinstance(name, str) and names.setdefault(name, i) != i:
            yield ("layers", i, "name"), f"{name!r} is already the name of layers[{names[name]}]"
    radii = sorted((layer["r"], i) for i, layer in layers if isinstance(layer.get("r"), (int, float)))
    for (r_a, i_a), (r_b, i_b) in itertools.pairwise(radii):
        if r_b - r_a < SAME_SURFACE:
            yield ("layers", i_b, "r"), f"{r_b} cm overlaps layers[{i_a}] at {r_a} cm (surfaces must be 1 um apart)"


def _probability_to_lose_more_than(n: int, efficiencies: list[float]) -> float:
    exactly = [1.0] + [0.0] * n  # probability of exactly 0..n lost hits so far
    for efficiency in efficiencies:
        for m in range(n, -1, -1):
            exactly[m] = exactly[m] * efficiency + (exactly[m - 1] * (1.0 - efficiency) if m else 0.0)
    return max(1.0 - sum(exactly), 0.0)


def load_detector(name: str | Path, *, where: str = "") -> Detector:
    """The detector of a file, or a shipped one by its bare name; raises CardError with every fault."""
    return toml.validate(Detector, toml.read(resources.find("detectors", str(name), where=where)))
