"""The energy loss that layers of the tracker measure, as the detector file describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field

from fastsim import toml

if TYPE_CHECKING:
    from collections.abc import Iterator

    Fault = tuple[tuple[str | int, ...], str]

Gas = Literal["he90_isobutane10", "he", "ar50_ethane50", "ar", "ne90_co2_10_n2_5"]
WITH_CHARGE: tuple[Gas, ...] = (
    "ne90_co2_10_n2_5",
)  # whose electrons per cluster are known: `fastsim.devices.gas.SPECTRA`
_SILICON, _GAS = ("thickness_um",), ("gas",)
_ONLY_SILICON = (*_SILICON, "noise_kev", "threshold_kev", "tot_ns_per_kev", "tot_step_ns")
_ONLY_CLUSTERS, _ONLY_CHARGE = ("counting_efficiency",), ("constant", "crowding")
_ONLY_GAS = (*_GAS, "measures", *_ONLY_CLUSTERS, *_ONLY_CHARGE)


class Dedx(toml.Strict):
    """Silicon layers of one thickness that measure energy loss, or drift volumes that count clusters or collect charge."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="names the columns of the device")]
    layers: Annotated[
        list[str] | None, Field(min_length=1, description="names of the layers and disks whose sensors it is")
    ] = None
    drift_volumes: Annotated[
        list[str] | None, Field(min_length=1, description="names of the drift volumes whose gas it is")
    ] = None
    thickness_um: Annotated[
        float | None, Field(ge=10, le=1000, description="active thickness of the silicon at normal incidence [um]")
    ] = None
    noise_kev: Annotated[
        float, Field(ge=0, le=100, description="rms noise of a deposit (1 keV is 277 electrons) [keV]")
    ] = 0.0
    threshold_kev: Annotated[float, Field(ge=0, le=100, description="deposits below it are no hits here [keV]")] = 0.0
    tot_ns_per_kev: Annotated[
        float | None, Field(gt=0, le=1e4, description="time over threshold per energy above the threshold [ns/keV]")
    ] = None
    tot_step_ns: Annotated[float | None, Field(gt=0, le=1e4, description="step of the clock that measures it [ns]")] = (
        None
    )
    gas: Annotated[Gas | None, Field(description="gas at 1 atm, which gives the clusters per cm")] = None
    measures: Annotated[
        Literal["clusters", "charge"],
        Field(description='in gas: the number of clusters of ionisation, or the charges of the rows ("charge")'),
    ] = "clusters"
    counting_efficiency: Annotated[
        float | None, Field(gt=0, le=1, description="probability that a cluster is counted")
    ] = None
    constant: Annotated[
        float,
        Field(ge=0, le=0.5, description="charge: relative resolution that more rows do not better (calibration, pads)"),
    ] = 0.0
    crowding: Annotated[
        float,
        Field(ge=0, le=0.1, description="charge: relative resolution per root of dN_ch/deta, from overlapping tracks"),
    ] = 0.0


def faults_of_dedx(data: dict[str, Any]) -> Iterator[Fault]:
    """What cannot be of a raw detector file's [[dedx]]: neither silicon nor gas, layers that are not there or do not measure."""
    tables = data.get("dedx")
    names = {
        device.get("name")
        for kind in ("tof", "rich", "calorimeters", "muon", "preshower")
        for device in _dicts(data.get(kind))
    }
    for i, device in enumerate(tables if isinstance(tables, list) else []):
        if not isinstance(device, dict):
            continue
        path = ("dedx", i)
        name = device.get("name")
        if isinstance(name, str) and name in names:
            yield (*path, "name"), f"{name!r} is taken: names select columns and random streams, and must differ"
        names.add(name)
        is_silicon, is_gas = "layers" in device, "drift_volumes" in device
        if is_silicon == is_gas:
            yield path, "needs layers (of silicon, with thickness_um), or drift_volumes (with gas), and not both"
            continue
        kind, others = ("layers", _ONLY_GAS) if is_silicon else ("drift_volumes", _ONLY_SILICON)
        yield from (((*path, key), f"has no meaning with {kind}") for key in others if key in device)
        yield from (
            (path, f"with {kind} it needs {key}") for key in (_SILICON if is_silicon else _GAS) if key not in device
        )  # fmt: skip
        if ("tot_ns_per_kev" in device) != ("tot_step_ns" in device):
            yield path, "tot_ns_per_kev and tot_step_ns go together"
        if is_gas:
            yield from _faults_of_gas(device, path)
        yield from _faults_of_names(data, device, path, kind)


def _faults_of_gas(device: dict[str, Any], path: tuple[str, int]) -> Iterator[Fault]:
    """What does not go with clusters or with charge."""
    is_charge = device.get("measures") == "charge"
    what, others = ("charges", _ONLY_CLUSTERS) if is_charge else ("clusters", _ONLY_CHARGE)
    yield from (((*path, key), f"has no meaning where {what} are measured") for key in others if key in device)
    if is_charge and device.get("gas") in set(get_args(Gas)) - set(WITH_CHARGE):
        yield (*path, "gas"), f"electrons per cluster are not known of it (known: {', '.join(WITH_CHARGE)})"


def _faults_of_names(data: dict[str, Any], device: dict[str, Any], path: tuple[str, int], kind: str) -> Iterator[Fault]:
    """Layers that are named twice, are not there, or do not measure."""
    elements = {
        element.get("name"): element
        for key in (("layers", "disks") if kind == "layers" else ("drift_volumes",))
        for element in _dicts(data.get(key))
    }
    listed = device[kind] if isinstance(device[kind], list) else []
    for j, name in enumerate(listed):
        if not isinstance(name, str):
            continue
        place: toml.Path = (*path, kind, j)
        if name in listed[:j]:
            yield place, f"{name!r} is listed twice"
        elif name not in elements:
            there = ", ".join(str(key) for key in elements) or "none"
            yield place, f"no {'layer or disk' if kind == 'layers' else 'drift volume'} {name!r} (there are: {there})"
        elif "efficiency" not in elements[name]:
            yield place, f"{name!r} is passive: only what measures (has an efficiency) can measure energy loss"


def _dicts(tables: Any) -> list[dict[str, Any]]:
    return [table for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
