"""The detector file: layers, disks, material, field, and what counts as a track; or formulas, or ready tables.

What concerns one field is checked here by pydantic, what concerns several by `detector.geometry`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from fastsim import resources, toml
from fastsim.detector import geometry
from fastsim.detector.devices import Calorimeter, Dedx, Muon, Preshower, Rich, Tof
from fastsim.detector.devices.calorimeter import faults_of_calorimeters
from fastsim.detector.devices.dedx import faults_of_dedx
from fastsim.detector.devices.muon import faults_of_muons
from fastsim.detector.devices.place import faults_of_places
from fastsim.detector.devices.rich import faults_of_riches
from fastsim.detector.devices.tof import faults_of_tof
from fastsim.detector.formulas import faults_of_formulas
from fastsim.kernels.conventions import Convention, Electrons, EnergyLoss, Straggling
from fastsim.species import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Name = Annotated[str, Field(min_length=1, description="unique name")]
XOverX0 = Annotated[float, Field(ge=0, le=10, description="thickness in radiation lengths at normal incidence")]
HalfLength = Annotated[float, Field(gt=0, le=10000, description="half length along the beam [cm]")]
SigmaRphi = Annotated[float | None, Field(gt=0, description="hit resolution in r-phi [um]")]
SigmaZ = Annotated[float | None, Field(gt=0, description="hit resolution along the beam [um]")]


class View(toml.Strict):
    """One measured direction, for one-view and stereo layers."""

    sigma_um: Annotated[float, Field(gt=0, description="hit resolution across the strips or wires [um]")]
    stereo_angle: Annotated[
        float,
        Field(
            ge=-1.6,
            le=1.6,
            description="measures cos(angle) r-phi - sin(angle) z (r on a disk); 0 is r-phi, pi/2 is z [rad]",
        ),
    ]


class Element(toml.Strict):
    """What layers, disks and drift volumes share. With resolution and efficiency it measures, without any it is passive."""

    name: Name
    x_over_x0: XOverX0
    areal_density: Annotated[
        float | None, Field(ge=0, description="material for energy loss, at normal incidence [g/cm2 of silicon]")
    ] = None
    sigma_rphi_um: SigmaRphi = None
    views: Annotated[
        list[View] | None,
        Field(min_length=1, max_length=2, description="one or two views, instead of the two resolutions"),
    ] = None
    efficiency: Annotated[float | None, Field(gt=0, le=1, description="probability of a hit")] = None

    @property
    def is_sensitive(self) -> bool:
        """Whether it measures."""
        return self.efficiency is not None


class Layer(Element):
    """A cylinder around the beam line."""

    r: Annotated[float, Field(gt=0, le=1000, description="radius [cm]")]
    half_length: HalfLength
    sigma_z_um: SigmaZ = None


class Disk(Element):
    """A disk across the beam line."""

    z: Annotated[float, Field(ge=-10000, le=10000, description="position along the beam [cm]")]
    r_min: Annotated[float, Field(ge=0, le=1000, description="inner radius [cm]")]
    r_max: Annotated[float, Field(gt=0, le=1000, description="outer radius [cm]")]
    both_sides: Annotated[bool, Field(description="there is another one at -z")] = True
    sigma_r_um: Annotated[float | None, Field(gt=0, description="hit resolution in r [um]")] = None


class DriftVolume(Element):
    """Many equal measuring layers: the pad rows of a TPC, the wires of a drift chamber. Numbers are those of one layer."""

    r_first: Annotated[float, Field(gt=0, le=1000, description="radius of the first layer [cm]")]
    pitch: Annotated[float, Field(gt=0, le=100, description="distance between layers [cm]")]
    n_layers: Annotated[int, Field(ge=1, le=1000, description="number of layers")]
    half_length: HalfLength
    sigma_z_um: SigmaZ = None
    stereo_tan_per_cm: Annotated[
        float, Field(ge=0, lt=0.1, description="tan(stereo angle) / radius of one-view layers, sign alternating [1/cm]")
    ] = 0.0


class Occupancy(toml.Strict):
    """Wrong hits by other particles' hits: the good-hit probability of DelphesO2's table maker."""

    average_rapidity: Annotated[
        float, Field(ge=0, le=5, description="hit density is dN_ch/deta / (2 pi r^2 cosh y) with this y")
    ]


class TrackingRules(toml.Strict):
    """Physics conventions of the tracker, and what counts as a track."""

    scattering: Annotated[Convention, Field(description="convention of the multiple-scattering logarithm")]
    energy_loss: Annotated[EnergyLoss, Field(description="mean energy loss in the layers' areal density")] = "none"
    straggling: Annotated[Straggling, Field(description="fluctuation of the energy loss")] = "none"
    electrons: Annotated[Electrons, Field(description="radiation of electrons")] = "none"
    electron_scale: Annotated[
        float, Field(ge=1, le=10, description="factor on all resolutions of electrons (IDEA's Delphes card: 1.25)")
    ] = 1.0
    min_hits: Annotated[int, Field(ge=3, le=100, description="layers with a hit that a track needs")]
    max_sin_incidence: Annotated[
        float,
        Field(gt=0, lt=1, description="layers crossed at a larger sine of the bending-plane incidence do not count"),
    ]
    min_radius: Annotated[float, Field(ge=0, description="radius that a track's helix must reach [cm]")]
    occupancy: Annotated[Occupancy | None, Field(description="wrong hits at high multiplicity; none if absent")] = None


class Formula(toml.Strict):
    """Resolutions of some species as expressions in pt, p [GeV], eta, theta, mass, charge and r (production radius [cm])."""

    species: Annotated[list[Literal[NAMES]], Field(min_length=1, description="species that it holds for")]  # type: ignore[valid-type]
    efficiency: Annotated[str, Field(description="probability of a track, 0 to 1")]
    sigma_pt_over_pt: Annotated[str, Field(description="relative resolution of pt")]
    sigma_dca_xy: Annotated[str, Field(description="resolution of dca_xy [cm]")]
    sigma_dca_z: Annotated[str, Field(description="resolution of dca_z [cm]")]
    sigma_phi: Annotated[str, Field(description="resolution of phi [rad]")]
    sigma_tan_lambda: Annotated[str, Field(description="resolution of tan(lambda)")]


class Table(toml.Strict):
    """A ready table, for example made from full simulation or imported from DelphesO2."""

    species: Annotated[Literal[NAMES], Field(description="the species that it is for")]  # type: ignore[valid-type]
    file: Annotated[str, Field(description="table file, relative to the detector file")]
    sha256: Annotated[
        str, Field(pattern="^[0-9a-f]{64}$", description="hash of its numbers: `fastsim lut show --json`")
    ]


class Detector(toml.Strict):
    """A detector: hardware only. How it is run is the card's business."""

    schema_version: Annotated[Literal[1], Field(description="version of this schema")]
    name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="short name")]
    source: Annotated[str, Field(min_length=1, description="where the numbers come from")]
    b_z: Annotated[float, Field(ge=-20, le=20, description="field along the beam [T]")]
    tracking: Annotated[
        TrackingRules | None, Field(description="conventions and cuts of the tracking; not with formulas or tables")
    ] = None
    layers: Annotated[list[Layer], Field(default_factory=list, description="cylinders, in any order")]
    disks: Annotated[list[Disk], Field(default_factory=list, description="disks, in any order")]
    drift_volumes: Annotated[
        list[DriftVolume], Field(default_factory=list, description="volumes of many equal measuring layers")
    ]
    formulas: Annotated[
        list[Formula], Field(default_factory=list, description="resolutions by formulas, instead of layers")
    ]
    tables: Annotated[list[Table], Field(default_factory=list, description="ready tables, instead of layers")]
    tof: Annotated[list[Tof], Field(default_factory=list, description="time-of-flight layers")]
    rich: Annotated[list[Rich], Field(default_factory=list, description="ring-imaging Cherenkov detectors")]
    dedx: Annotated[list[Dedx], Field(default_factory=list, description="layers that measure energy loss")]
    calorimeters: Annotated[list[Calorimeter], Field(default_factory=list, description="calorimeters")]
    muon: Annotated[list[Muon], Field(default_factory=list, description="muon identification")]
    preshower: Annotated[list[Preshower], Field(default_factory=list, description="preshowers")]
    r_edges: Annotated[
        list[float] | None,
        Field(
            min_length=2,
            max_length=41,
            description="bins of the production radius in the tables [cm]; by default from the layers",
        ),
    ] = None

    @classmethod
    def faults(cls, data: dict[str, Any]) -> Iterator[tuple[toml.Path, str]]:
        """Faults between fields; `data` is the raw file."""
        if data.get("b_z") == 0:
            yield ("b_z",), "must not be 0: without a field no momentum is measured"
        layered = [key for key in ("layers", "disks", "drift_volumes") if data.get(key)]
        kinds = [", ".join(layered)] * bool(layered) + [key for key in ("formulas", "tables") if data.get(key)]
        if len(kinds) != 1:
            got = " and ".join(kinds) or "none"
            yield (
                (),
                f"a detector has layers (or disks, drift_volumes), or formulas, or tables: exactly one (got {got})",
            )
        elif layered and "tracking" not in data:
            yield ("tracking",), "missing: a detector of layers needs it"
        elif not layered and "tracking" in data:
            yield ("tracking",), f"has no meaning with {kinds[0]}"
        if kinds == ["formulas"] and "r_edges" not in data:
            yield ("r_edges",), "missing: with formulas it says up to which production radius there are tracks"
        yield from faults_of_places(data, ("tof", "rich", "calorimeters"))
        yield from faults_of_calorimeters(data)
        yield from faults_of_tof(data)
        yield from faults_of_riches(data)
        yield from faults_of_dedx(data)
        yield from faults_of_muons(data)
        yield from geometry.faults_of_edges(data.get("r_edges"))
        yield from geometry.faults_of_layers(data)
        yield from faults_of_formulas(data.get("formulas"))


def load_detector(name: str | Path, *, where: str = "") -> Detector:
    """The detector of a file, or a shipped one by its bare name; raises CardError with every fault."""
    path = resources.find("detectors", str(name), where=where)
    detector = toml.validate(Detector, toml.read(path))
    tables = [table.model_copy(update={"file": str(path.parent / table.file)}) for table in detector.tables]
    muon = [m.model_copy(update={"table": str(path.parent / m.table)}) if m.table else m for m in detector.muon]
    return detector.model_copy(update={"tables": tables, "muon": muon})
