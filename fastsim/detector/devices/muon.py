"""Muon identification and the preshower as the detector file describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from fastsim import toml
from fastsim.detector.devices.place import Place, faults_of_places
from fastsim.detector.formulas import FormulaError, evaluate

if TYPE_CHECKING:
    from collections.abc import Iterator

    Fault = tuple[tuple[str | int, ...], str]

_ABSORBER = ("r", "half_length", "z", "r_min", "r_max", "both_sides", "iron_cm", "is_projective", "efficiency")
VARIABLES = ("p", "pt", "eta")  # GeV, as reconstructed
DEVICES = ("tof", "rich", "dedx", "calorimeters", "muon", "preshower")


class Muon(Place):
    """Muon identification: a table of probabilities, or iron with its front at the place given and chambers behind it."""

    table: Annotated[
        str | None,
        Field(description="table of probabilities, relative to the detector file: `fastsim detector import-muon`"),
    ] = None
    p_min: Annotated[float, Field(ge=0, le=1000, description="softest tracks that it identifies [GeV]")] = 0.0
    iron_cm: Annotated[
        float | None, Field(gt=0, le=1000, description="thickness of the iron at normal incidence [cm]")
    ] = None
    is_projective: Annotated[
        bool,
        Field(description="the iron is thinner where it is crossed at a slant, and iron_cm for all straight tracks"),
    ] = False
    efficiency: Annotated[float, Field(gt=0, le=1, description="of the chambers, for what comes through the iron")] = (
        1.0
    )


class Preshower(toml.Strict):
    """Electrons by the beginning of their showers: two formulas in p, pt [GeV] and eta."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="names the columns of the device")]
    eta_max: Annotated[float, Field(gt=0, le=10, description="largest pseudorapidity of its tracks")]
    p_min: Annotated[float, Field(ge=0, le=1000, description="softest of its tracks [GeV]")]
    efficiency: Annotated[str, Field(description="probability to take an electron for one, cut to 0 to 1")]
    mistag: Annotated[str, Field(description="probability to take another particle for an electron, cut to 0 to 1")]


def faults_of_muons(data: dict[str, Any]) -> Iterator[Fault]:
    """What cannot be of [[muon]] and [[preshower]] of a raw detector file."""
    tables = {kind: data[kind] if isinstance(data.get(kind), list) else [] for kind in DEVICES}
    absorbers = [device if isinstance(device, dict) and "table" not in device else None for device in tables["muon"]]
    yield from faults_of_places({"muon": absorbers}, ("muon",))
    for i, device in enumerate(tables["muon"]):
        if not isinstance(device, dict):
            continue
        if "table" in device:
            yield from ((("muon", i, key), "has no meaning with a table") for key in _ABSORBER if key in device)
        elif "iron_cm" not in device:
            yield ("muon", i), "needs a table, or iron_cm and the place of its front"
    for i, device in enumerate(tables["preshower"]):
        for key in ("efficiency", "mistag") if isinstance(device, dict) else ():
            if isinstance(device.get(key), str):
                try:
                    evaluate(device[key], dict.fromkeys(VARIABLES, np.ones(1)))
                except FormulaError as error:
                    yield ("preshower", i, key), str(error)
    names = [
        (kind, i, device["name"])
        for kind in DEVICES
        for i, device in enumerate(tables[kind])
        if isinstance(device, dict) and isinstance(device.get("name"), str)
    ]
    for k, (kind, i, name) in enumerate(names):
        if kind in {"muon", "preshower"} and name in {other for _, _, other in names[:k]}:
            yield (kind, i, "name"), f"{name!r} is taken: names select columns and random streams, and must differ"
