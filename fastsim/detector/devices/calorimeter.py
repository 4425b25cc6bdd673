"""A calorimeter as the detector file describes it: where it is, how it is segmented, how well it measures, what it is made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from fastsim import toml
from fastsim.detector.devices.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastsim.toml import Path

MOST_CELLS = 2**31  # cells are numbered in 32 bits where random numbers are drawn for them


class Resolution(toml.Strict):
    """sigma(E)/E = (1 + eta_squared eta^2) (noise/E (+) stochastic/sqrt(E) (+) constant), added in quadrature; E in GeV."""

    noise: Annotated[float, Field(ge=0, le=100, description="of an occupied cell, whatever its energy [GeV]")] = 0.0
    stochastic: Annotated[float, Field(ge=0, le=10, description="of sampling and statistics, at 1 GeV")] = 0.0
    constant: Annotated[float, Field(ge=0, le=1, description="of calibration and uniformity")] = 0.0
    eta_squared: Annotated[float, Field(ge=0, le=10, description="growth of all terms (CMS' ECAL barrel: 0.64)")] = 0.0


class Position(toml.Strict):
    """Resolution of the impact point in each of the two directions: constant (+) stochastic/sqrt(E); E in GeV."""

    constant: Annotated[float, Field(ge=0, le=100, description="at high energy [cm]")] = 0.0
    stochastic: Annotated[float, Field(ge=0, le=100, description="at 1 GeV [cm]")] = 0.0


class Time(toml.Strict):
    """Resolution of a cluster's time: constant (+) stochastic/sqrt(E); E in GeV."""

    constant_ps: Annotated[float, Field(ge=0, le=1e6, description="at high energy [ps]")] = 0.0
    stochastic_ps: Annotated[float, Field(ge=0, le=1e6, description="at 1 GeV [ps]")] = 0.0


class Thresholds(toml.Strict):
    """What is read out, what begins a cluster, and what is kept; as measured."""

    cell: Annotated[float, Field(ge=0, le=100, description="softest cells [GeV]")] = 0.0
    seed: Annotated[float, Field(ge=0, le=100, description="softest cells that a cluster grows around [GeV]")] = 0.0
    cluster: Annotated[float, Field(ge=0, le=100, description="softest clusters [GeV]")] = 0.0


class Fraction(toml.Strict):
    """Share of some particles' energy that stays in the ECAL, as EnergyFraction of Delphes' cards."""

    pdg: Annotated[
        list[Annotated[int, Field(ge=1, le=2**31 - 1)]],
        Field(min_length=1, description="PDG codes; those of antiparticles are meant too"),
    ]
    fraction: Annotated[float, Field(ge=0, le=1, description="of the energy")]


class Material(toml.Strict):
    """What showers see, for level "detailed"; of a mixture, the effective numbers."""

    z: Annotated[float, Field(ge=1, le=100, description="atomic number")]
    x0: Annotated[float, Field(gt=0, le=1000, description="radiation length [cm]")]
    critical_energy_mev: Annotated[float, Field(gt=0, le=1000, description="critical energy [MeV]")]
    moliere_radius: Annotated[float, Field(gt=0, le=1000, description="Moliere radius [cm]")]
    lambda_i: Annotated[float, Field(gt=0, le=1000, description="nuclear interaction length [cm]")]
    depth: Annotated[float, Field(gt=0, le=1000, description="length along the way of a particle [cm]")]


class Calorimeter(Place):
    """A calorimeter; its place is the surface on which impact points are told."""

    kind: Annotated[Literal["ecal", "hcal"], Field(description="an hcal gets what particles leave behind an ecal")]
    cell_size: Annotated[
        float | None, Field(gt=0, le=100, description="cells of this size in r-phi and z, or in x and y [cm]")
    ] = None
    tower_eta: Annotated[float | None, Field(gt=0, le=5, description="or towers of this size in eta")] = None
    tower_phi: Annotated[float | None, Field(gt=0, le=1.6, description="and of this size in phi [rad]")] = None
    electromagnetic: Annotated[Resolution | None, Field(description="for photons and electrons; needed by an ecal")] = (
        None
    )
    hadronic: Annotated[
        Resolution | None,
        Field(description="for hadrons and muons; needed by an hcal. By default one is as the other"),
    ] = None
    position: Annotated[Position | None, Field(description="by default, the centre of the cell")] = None
    time: Annotated[Time | None, Field(description="by default no time is measured")] = None
    thresholds: Annotated[Thresholds, Field(description="in energy")] = Thresholds()
    mip: Annotated[
        float, Field(ge=0, le=100, description="mean energy of a muon, and least of a charged hadron [GeV]")
    ] = 0.0
    hadron_fraction: Annotated[
        float, Field(ge=0, le=1, description="ecal: share of a hadron's energy that stays there, at level parametric")
    ] = 0.0
    fractions: Annotated[
        list[Fraction], Field(default_factory=list, description="ecal: shares of particular particles, likewise")
    ]
    e_over_h: Annotated[
        float, Field(ge=0.3, le=10, description="response to electromagnetic over hadronic energy of a shower")
    ] = 1.0
    material: Annotated[Material | None, Field(description='needed by level "detailed"')] = None

    def resolutions(self) -> tuple[Resolution, Resolution]:
        """Of electromagnetic and hadronic energy."""
        own = self.electromagnetic or self.hadronic or Resolution()
        return own, self.hadronic or own


def faults_of_calorimeters(data: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """What cannot be of the calorimeters of a raw detector file, beyond what one field says and `faults_of_places`."""
    tables = data.get("calorimeters")
    devices = [
        (i, table) for i, table in enumerate(tables if isinstance(tables, list) else []) if isinstance(table, dict)
    ]
    for i, table in devices:
        path: Path = ("calorimeters", i)
        yield from _segmentation(path, table)
        needed = {"ecal": "electromagnetic", "hcal": "hadronic"}.get(str(table.get("kind")))
        if needed and needed not in table:
            yield (*path, needed), f"missing: an {table['kind']} needs it"
        for key in ("hadron_fraction", "fractions"):
            if table.get("kind") == "hcal" and key in table:
                yield (*path, key), "belongs to an ecal: an hcal gets what is left"
        codes = [
            code
            for entry in _list(table.get("fractions"))
            if isinstance(entry, dict)
            for code in _list(entry.get("pdg"))
        ]
        for code in sorted({code for code in codes if isinstance(code, int) and codes.count(code) > 1}):
            yield (*path, "fractions"), f"PDG code {code} has more than one share"
    yield from _order(data, devices)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(table: dict[str, Any], key: str) -> float | None:
    value = table.get(key)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9 else None


def _segmentation(path: Path, table: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    towers = [key for key in ("tower_eta", "tower_phi") if key in table]
    if ("cell_size" in table) == bool(towers) or len(towers) == 1:
        yield path, "needs cell_size (square cells), or tower_eta and tower_phi, and not both"
        return
    size = _number(table, "cell_size")
    length, width = _number(table, "half_length"), _number(table, "r") or _number(table, "r_max")
    if size is not None and size > 0 and width is not None:
        n = 2.0 * width / size * (2.0 * math.pi * (length or 0.0) / size if "r" in table else 4.0 * width / size)
        if n > MOST_CELLS:
            yield (*path, "cell_size"), f"makes {n:.2g} cells; at most {MOST_CELLS:.2g} can be told apart"
    if towers and _number(table, "r_min") == 0:
        yield (*path, "r_min"), "must be above 0: towers in eta do not reach the beam line"


def _order(data: dict[str, Any], devices: list[tuple[int, dict[str, Any]]]) -> Iterator[tuple[Path, str]]:
    """Calorimeters must lie outside the tracker, and an hcal behind an ecal."""
    measuring = [
        layer
        for key in ("layers", "disks", "drift_volumes")
        for layer in _list(data.get(key))
        if isinstance(layer, dict) and "efficiency" in layer
    ]
    ecals = [table for _, table in devices if table.get("kind") == "ecal"]
    for i, table in devices:
        key = "r" if "r" in table else "z"
        own = _number(table, key)
        for other in measuring:
            at = _before(table, other)
            if at is not None and own is not None and own <= at:
                text = f"{own:g} cm is not outside the tracker, whose layer {other.get('name')} is at {at:g} cm"
                yield ("calorimeters", i, key), text
                break
        for ecal in ecals if table.get("kind") == "hcal" else ():
            at = _before(table, ecal)
            if at is not None and own is not None and own <= at:
                yield ("calorimeters", i, key), f"{own:g} cm is not behind the ecal {ecal.get('name')!r}, at {at:g} cm"


def _before(table: dict[str, Any], other: dict[str, Any]) -> float | None:
    """Where something that a calorimeter must be behind ends, r or |z| [cm]; None if it is not in its way."""
    r = _number(other, "r")
    first, pitch, n_layers = (_number(other, key) for key in ("r_first", "pitch", "n_layers"))
    if first is not None and pitch is not None and n_layers is not None:
        r = first + pitch * (n_layers - 1)
    if "r" in table:
        return r
    low, high = _number(table, "r_min"), _number(table, "r_max")
    if low is None or high is None:
        return None
    if r is not None:
        return _number(other, "half_length") if low < r else None
    other_low, other_high, z = (_number(other, key) for key in ("r_min", "r_max", "z"))
    overlaps = other_low is not None and other_high is not None and low < other_high and other_low < high
    return abs(z) if overlaps and z is not None else None
