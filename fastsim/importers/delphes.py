"""A Delphes card as a card and a detector file of ours, and what became of each of its modules.

What modules do and their defaults: delphes/delphes, modules/*.cc and classes/DelphesFormula.cc (3.5.1 development, 2026).
The card is read, never run; nothing of it is guessed: what has no counterpart is listed.
"""

from __future__ import annotations

import math
import re
import tomllib
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from fastsim import toml
from fastsim.cards import Card
from fastsim.detector import Detector
from fastsim.detector.importers import import_detector
from fastsim.devices.calorimeter import Calorimeters
from fastsim.devices.identification import Identification
from fastsim.errors import CardError
from fastsim.importers.calorimeters import tower_sizes, translate_calorimeters
from fastsim.importers.collisions import translate_collisions
from fastsim.importers.flow import Flow, is_plumbing
from fastsim.importers.objects import (
    translate_identification,
    translate_jets,
    translate_leptons,
    translate_met,
    translate_photons,
)
from fastsim.importers.report import Report, Row
from fastsim.importers.tcl import read_tcl
from fastsim.importers.text import toml_text
from fastsim.importers.tracks import KINDS, track_ways, translate_tracks
from fastsim.objects.jets import Jets
from fastsim.objects.leptons import Electrons, Muons
from fastsim.objects.met import MissingMomentum
from fastsim.objects.photons import Photons
from fastsim.tracking.material import Material

if TYPE_CHECKING:
    from pathlib import Path

    from fastsim.importers.tcl import Module, TclCard

_ROUTING = (
    "Merger",
    "PdgCodeFilter",
    "UniqueObjectFinder",
    "Cloner",
    "ConstituentFilter",
    "StatusPidFilter",
    "RecoPuFilter",
)
# Kinds that are known and have no counterpart in a translated card, and what one may do instead.
_WITHOUT = {
    "TimeSmearing": "times are measured by a [[tof]] of the detector: write one by hand (docs/tof.md)",
    "TimeOfFlight": "times are measured by a [[tof]] of the detector: write one by hand (docs/tof.md)",
    "ClusterCounting": "counted by a [[dedx]] of the detector: write one by hand (docs/dedx.md)",
    "TrackCountingTauTagging": "efficiencies by the number of prongs: tags here are by flavour",
    "TrackCountingBTagging": "tags by the number of displaced tracks: tags here are efficiencies",
    "TruthVertexFinder": "the vertex is fitted, by the module vertex",
    "VertexFinder": "the vertex is fitted, by the module vertex",
    "VertexFinderDA4D": "the vertex is fitted, by the module vertex",
    "VertexSorter": "the vertex is fitted, by the module vertex",
    "UnstablePropagator": "unstable charged particles decay where the generator says",
}
_DELPHES_KINDS = frozenset((
    "AngularSmearing", "BTagging", "BeamSpotFilter", "Calorimeter", "CscClusterEfficiency", "CscClusterId", "DecayFilter",
    "DenseTrackFilter", "DualReadoutCalorimeter", "Efficiency", "EnergyScale", "EnergySmearing", "FastJetFinder",
    "FastJetGridMedianEstimator", "Hector", "IdentificationMap", "ImpactParameterSmearing", "Isolation", "JetFakeParticle",
    "JetFlavorAssociation", "JetPileUpSubtractor", "LLPFilter", "LeptonDressing", "MomentumSmearing", "OldCalorimeter",
    "ParticleDensity", "ParticlePropagator", "PhotonID", "PileUpJetID", "PileUpMerger", "PileUpMergerPythia8", "RunPUPPI",
    "SimpleCalorimeter", "TaggingParticlesSkimmer", "TauTagging", "TrackCovariance", "TrackPileUpSubtractor", "TrackSmearing",
    "PhotonConversions", "TreeWriter", "Weighter", *_ROUTING, *_WITHOUT,
))  # fmt: skip
_BRANCHES = {"GenParticle", "Track", "Electron", "Muon", "Jet", "MissingET", "ScalarHT", "Vertex"}
_CLUSTER_BRANCHES = {"Photon", "Tower", "EFlowPhoton", "EFlowNeutralHadron"}  # of classes Photon and Tower
_NO_MATTER = {"PileUpFile", "SmearTowerCenter", "UseMomentumVector"}  # said elsewhere, or no part of what is measured
_LEAST_ETA, _ETA_STEP = 1.0, 0.5
_OPTIONS: dict[str, type[toml.Strict]] = {
    "electrons": Electrons.Options, "muons": Muons.Options, "jets": Jets.Options, "met": MissingMomentum.Options,
    "calorimeter": Calorimeters.Options, "photons": Photons.Options, "material": Material.Options,
    "identification": Identification.Options,
}  # fmt: skip


class ImportedCard(NamedTuple):
    """The texts of a card and of its detector file, and the list of what was carried over."""

    card: str
    detector: str
    rows: list[Row]


def import_card(
    path: Path, *, name: str, detector_file: str, pile_up: str | None = None, lenient: bool = False
) -> ImportedCard:
    """Translate a Delphes card; raises CardError with every fault of what cannot be a card or a detector.

    `name` is the detector's, `detector_file` what the card calls its file, `pile_up` a file of minimum-bias events. `lenient` is
    that of `import_detector`, for layer tables of TrackCovariance.
    """
    tcl = read_tcl(path)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-") or "imported"
    flow, report = Flow(tcl), Report()
    detector = _detector(tcl, flow, name, report, lenient=lenient)
    eta_max = detector.pop("eta_max")
    card = _card(tcl, flow, detector_file, eta_max, detector, pile_up, report)
    _rest(tcl, flow, report)
    rows = report.rows()
    toml.validate(Detector, toml.Document(detector, _origins(flow), str(path)))
    _check_card(card, path)
    head = _head(path, rows)
    return ImportedCard(toml_text(card, head), toml_text(detector, head), rows)


def _detector(tcl: TclCard, flow: Flow, name: str, report: Report, *, lenient: bool) -> dict[str, Any]:
    """The detector file as plain data, and the largest |eta| of tracks under "eta_max"."""
    propagator = next(iter(flow.of_kind("ParticlePropagator")), None)
    if propagator is None:
        raise CardError([f"{tcl.path}: no ParticlePropagator runs: there is no field and no tracker to translate"])
    source = f"Delphes card {tcl.path.name}, sha256 {sha256(tcl.path.read_bytes()).hexdigest()}"
    ways = track_ways(flow)
    layers = next(iter(flow.of_kind("TrackCovariance")), None)
    b_z, radius = propagator.number("Bz", 0.0), 100 * propagator.number("Radius", 1.0)
    if radius <= 0 or propagator.number("HalfLength", 3.0) <= 0:
        raise CardError([f"{propagator.place}: {propagator.name}: Radius and HalfLength must be above 0"])
    data: dict[str, Any] = {"schema_version": 1, "name": name, "source": source, "b_z": b_z}
    if layers:
        imported = import_detector(layers.place.path, lenient=lenient, name=name, b_z=b_z)
        data |= {key: value for key, value in tomllib.loads(imported.text).items() if key not in data}
        report.say(layers, "translated", "layers of the detector")
        for note in (note for note in imported.notes if "only this module" not in note):
            report.say(layers, "translated", note)
        for setting in layers.settings.values():
            setting.is_used = True
        for module in (module for way in ways.values() for module in way.modules):
            if module.kind == "Efficiency":
                report.say(module, "no counterpart", "with layers, the efficiency of tracks is that of their hits")
        data["eta_max"] = 4.0
    else:
        if not ways:
            raise CardError(
                [f"{tcl.path}: nothing leads from {propagator.name} to tracks: there is nothing to translate"]
            )
        formulas = translate_tracks(ways, report)
        data |= {"r_edges": [0.0, round(radius, 6)], "formulas": formulas.tables, "eta_max": formulas.eta_max}
        report.assume(
            f"tracks of particles born up to r = {radius:g} cm have the efficiencies and resolutions of primaries, as in Delphes"
        )
    report.say(
        propagator,
        "translated",
        f"b_z = {b_z:g} T, radius {radius:g} cm, half length "
        f"{100 * propagator.number('HalfLength', 3.0):g} cm (of calorimeters and production)",
    )
    devices, option = translate_calorimeters(flow, report, outside=_extent(data))
    if devices:
        data["calorimeters"] = devices
    data["_calorimeter"] = option
    return data


def _extent(data: dict[str, Any]) -> tuple[float, float]:
    """Radius of the outermost cylinder that measures, and |z| of the last such disk; cm."""
    radii = [layer["r"] for layer in data.get("layers", []) if "efficiency" in layer]
    radii += [
        volume["r_first"] + volume["pitch"] * (volume["n_layers"] - 1) for volume in data.get("drift_volumes", [])
    ]
    return max(radii, default=0.0), max(
        (abs(disk["z"]) for disk in data.get("disks", []) if "efficiency" in disk), default=0.0
    )


def _card(
    tcl: TclCard, flow: Flow, detector_file: str, eta_max: float, detector: dict[str, Any], pile_up: str | None, report: Report
) -> dict[str, Any]:  # fmt: skip
    """The card as plain data. Takes the calorimeter's module out of `detector`."""
    ways = track_ways(flow)
    species = [name for key, (_, names) in KINDS.items() if key in ways for name in names] or [
        "el",
        "mu",
        "pi",
        "ka",
        "pr",
    ]
    tracking = frozenset(module.name for way in ways.values() for module in way.modules)
    calorimeter = detector.pop("_calorimeter")
    has_clusters = calorimeter is not None
    leptons = translate_leptons(flow, tracking, report, has_clusters=has_clusters)
    photons = translate_photons(flow, report, has_clusters=has_clusters)
    kinds = [table["kind"].removesuffix("s") for table in (*leptons, *([photons] if photons else []))]
    jets = translate_jets(flow, kinds, report, has_clusters=has_clusters)
    met = translate_met(flow, kinds, report, has_jets=jets is not None, has_clusters=has_clusters)
    if any(table and table.get("input") == "towers" for table in (jets, met)):
        calorimeter |= tower_sizes(detector["calorimeters"])
    material = _conversions(flow, report, has_layers="formulas" not in detector)
    made = (table for table in (material, *leptons, photons, jets, met, calorimeter) if table)
    modules = [{"name": "vertex", "kind": "vertex", "level": "fit"}, *made, *translate_identification(flow, report)]
    seed = tcl.settings.get("RandomSeed")
    if seed:
        seed.is_used = True
    decays = flow.of_kind("DecayFilter")
    for module in decays:
        if "formulas" in detector:
            report.say(module, "no counterpart", "without layers nobody knows where a track ends")
        else:
            report.say(module, "translated", "tracking.decay_in_flight")
    eta_table = max(_LEAST_ETA, _ETA_STEP * math.ceil(round(eta_max / _ETA_STEP, 3) - 0.01))
    return {
        "schema_version": 1, "detector": detector_file, "seed": _seed(seed.text if seed else ""),
        "tracking": {
            "level": "parametric", "luts": "auto", "species": species, "undefined_species": "skip",
            **({"decay_in_flight": True} if decays and "formulas" not in detector else {}),
            "dnch_deta_eta_max": 0.8,  # for the summary only: no occupancy in these tables
            "overflow": {"pt": "clamp", "eta": "not_reconstructed", "dnch_deta": "clamp"},
            "grid": {"pt_max": 1000.0, "eta_max": eta_table, "n_eta": round(20 * eta_table)},
        },
        **translate_collisions(flow, pile_up, report),
        "modules": modules,
        "output": _output(flow, report, has_clusters=has_clusters),
    }  # fmt: skip


def _conversions(flow: Flow, report: Report, *, has_layers: bool) -> dict[str, Any] | None:
    """The module material, which converts photons in the layers of the detector."""
    found = flow.of_kind("PhotonConversions")
    for module in found:
        if has_layers:
            for setting in module.settings.values():
                setting.is_used = True
            text = "module material: photons convert in the layers of the detector, not in those of ConversionMap"
            report.say(module, "translated", text)
        else:
            report.say(module, "no counterpart", "photons convert in layers, and this card has none")
    if not found or not has_layers:
        return None
    return {"name": "material", "kind": "material", "level": "parametric", "conversions": True, "bremsstrahlung": False}


def _seed(text: str) -> int:
    return int(text) if text.strip().isdigit() else 1


def _output(flow: Flow, report: Report, *, has_clusters: bool) -> dict[str, Any]:
    for writer in flow.of_kind("TreeWriter"):
        report.say(writer, "translated", 'output.format = "delphes"')
        for array, branch, kind in writer.entries("Branch", 3):
            is_ours = kind in _BRANCHES or (has_clusters and kind in _CLUSTER_BRANCHES and branch in _CLUSTER_BRANCHES)
            if not is_ours or (kind == "Jet" and flow.is_generator_level(str(array))):
                report.say(writer, "translated", f"without branch {branch}")
    truth = "all" if flow.branches("GenParticle") else "none"
    return {"format": "delphes", "truth": truth, "events_per_frame": 1000, "compression_level": 1}


def _rest(tcl: TclCard, flow: Flow, report: Report) -> None:
    """Say what became of everything that nothing was said of yet."""
    for module in flow.modules.values():
        if report.status(module) is None:
            _say_rest(module, flow, report)
        unread = [
            key
            for key, setting in module.settings.items()
            if not (setting.is_used or is_plumbing(key) or key in _NO_MATTER)
        ]
        if unread and report.status(module) in {"translated", "partly"} and module.kind not in _ROUTING:
            report.say(module, "no counterpart", f"not carried over: {', '.join(unread)}")
    for module in tcl.modules.values():
        if module.name not in flow.modules:
            report.say(module, "not run", "not in ExecutionPath")
    for key, setting in tcl.settings.items():
        if not setting.is_used:
            report.leave(
                f"{setting.place.path.name}:{setting.place.line}", f"set {key}: an option of runs, or used by nothing"
            )
    for unknown in tcl.unknown:
        inside = f"in {unknown.module}: " if unknown.module else ""
        report.leave(f"{unknown.place.path.name}:{unknown.place.line}", f"{inside}{unknown.what}")


def _say_rest(module: Module, flow: Flow, report: Report) -> None:
    array = f"{module.name}/{module.text('OutputArray', 'jets')}"
    if module.kind not in _DELPHES_KINDS:
        report.say(module, "no counterpart", f"{module.kind} is no kind that is known here")
    elif module.kind in _WITHOUT:
        report.say(module, "no counterpart", _WITHOUT[module.kind])
    elif module.kind in {*_ROUTING, "FastJetFinder", "EnergyScale"} and flow.is_generator_level(array):
        report.say(module, "generator", "of generated particles, which are written themselves")
    elif module.kind in _ROUTING:
        report.say(module, "routing", "joins or selects arrays")
    elif module.kind in {"Efficiency", "Isolation"}:
        report.say(module, "no counterpart", "not on the way of tracks, electrons, muons or photons")
    else:
        report.say(module, "no counterpart", "nothing here does that")


def _origins(flow: Flow) -> dict[toml.Path, str]:
    propagator = flow.of_kind("ParticlePropagator")[0]
    at = propagator.settings.get("Bz")
    return {("b_z",): str(at.place if at else propagator.place)}


def _check_card(card: dict[str, Any], path: Path) -> None:
    """Raise CardError if the card or the options of its modules are none."""
    toml.validate(Card, toml.Document(card, {}, str(path)))
    for i, options in enumerate(card["modules"]):
        if options["kind"] in _OPTIONS:
            toml.validate(_OPTIONS[options["kind"]], toml.Document(options, {}, str(path)), inside=("modules", i))


def _head(path: Path, rows: list[Row]) -> list[str]:
    counts = {
        status: sum(row.status == status and bool(row.name) for row in rows)
        for status in ("translated", "partly", "no counterpart")
    }
    n_modules = sum(bool(row.name) for row in rows)
    lines = [
        f"Translated from the Delphes card {path.name} by `fastsim card import`. Of {n_modules} modules",
        f"{counts['translated']} were translated, {counts['partly']} partly, {counts['no counterpart']} have no counterpart.",
        "",
    ]
    for row in rows:
        what = f"{row.kind} {row.name}" if row.name and row.kind != row.name else row.name
        start = ": ".join(part for part in (row.place, what, row.status) if part)
        lines.append(f"{start}: {row.text}")
    return [*lines, ""]
