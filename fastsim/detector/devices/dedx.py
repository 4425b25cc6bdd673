"""The energy loss that layers of the tracker measure, as the detector file describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field

from fastsim import toml

if TYPE_CHECKING:
    from collections.abc import Iterator

    Fault = tuple[tuple[str | int, ...], str]

Gas = Literal["he90_isobutane10", "he", "ar50_ethane50", "ar"]
GASES: tuple[Gas, ...] = get_args(Gas)
_SILICON, _GAS = ("thickness_um",), ("gas",)
_ONLY_SILICON = (*_SILICON, "noise_kev", "threshold_kev", "tot_ns_per_kev", "tot_step_ns")
_ONLY_GAS = (*_GAS, "counting_efficiency")


class Dedx(toml.Strict):
    """Silicon layers of one thickness that measure energy loss, or a drift volume that counts clusters of ionisation."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="names the columns of the device")]
    layers: Annotated[
        list[str] | None, Field(min_length=1, description="names of the layers and disks whose sensors it is")
    ] = None
    drift_volume: Annotated[str | None, Field(description="name of the drift volume in which clusters are counted")] = (
        None
    )
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
    counting_efficiency: Annotated[
        float | None, Field(gt=0, le=1, description="probability that a cluster is counted")
    ] = None


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
        is_silicon, is_gas = "layers" in device, "drift_volume" in device
        if is_silicon == is_gas:
            yield path, "needs layers (of silicon, with thickness_um), or drift_volume (with gas), and not both"
            continue
        kind, others = ("layers", _ONLY_GAS) if is_silicon else ("drift_volume", _ONLY_SILICON)
        yield from (((*path, key), f"has no meaning with {kind}") for key in others if key in device)
        yield from (
            (path, f"with {kind} it needs {key}") for key in (_SILICON if is_silicon else _GAS) if key not in device
        )  # fmt: skip
        if ("tot_ns_per_kev" in device) != ("tot_step_ns" in device):
            yield path, "tot_ns_per_kev and tot_step_ns go together"
        yield from _faults_of_names(data, device, path, kind)


def _faults_of_names(data: dict[str, Any], device: dict[str, Any], path: tuple[str, int], kind: str) -> Iterator[Fault]:
    """Layers that are named twice, are not there, or do not measure."""
    elements = {
        element.get("name"): element
        for key in (("layers", "disks") if kind == "layers" else ("drift_volumes",))
        for element in _dicts(data.get(key))
    }
    listed = device[kind] if isinstance(device[kind], list) else [device[kind]]
    for j, name in enumerate(listed):
        if not isinstance(name, str):
            continue
        place: toml.Path = (*path, kind, j) if kind == "layers" else (*path, kind)
        if name in listed[:j]:
            yield place, f"{name!r} is listed twice"
        elif name not in elements:
            there = ", ".join(str(key) for key in elements) or "none"
            yield place, f"no {'layer or disk' if kind == 'layers' else 'drift volume'} {name!r} (there are: {there})"
        elif "efficiency" not in elements[name]:
            yield place, f"{name!r} is passive: only what measures (has an efficiency) can measure energy loss"


def _dicts(tables: Any) -> list[dict[str, Any]]:
    return [table for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
