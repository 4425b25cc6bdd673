"""ROOT files for tests, written by ROOT itself, with classes of the members that HepMC3, EDM4hep, podio and O2 have.

Names, order and types of the members are those of the packages' own headers, and branches are split as theirs are, so
that the bytes are laid out as in files that the packages write.
"""

from __future__ import annotations

import warnings
from functools import cache, wraps

import numpy as np
import pytest

DECLARATIONS = """
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace HepMC3 {  // HepMC3/Data/*.h, HepMC3/FourVector.h
class Units { public: enum MomentumUnit { MEV, GEV }; enum LengthUnit { MM, CM }; };
class FourVector {
 public: FourVector(double a = 0, double b = 0, double c = 0, double d = 0) : m_v1(a), m_v2(b), m_v3(c), m_v4(d) {}
 private: double m_v1; double m_v2; double m_v3; double m_v4;
};
struct GenParticleData { int pid; int status; bool is_mass_set; double mass; FourVector momentum; };
struct GenVertexData { int status; FourVector position; };
struct GenEventData {
  int event_number; Units::MomentumUnit momentum_unit; Units::LengthUnit length_unit;
  std::vector<GenParticleData> particles; std::vector<GenVertexData> vertices; std::vector<double> weights;
  FourVector event_pos; std::vector<int> links1; std::vector<int> links2; std::vector<int> attribute_id;
  std::vector<std::string> attribute_name; std::vector<std::string> attribute_string;
};
struct GenRunInfoData {
  std::vector<std::string> weight_names; std::vector<std::string> tool_name; std::vector<std::string> tool_version;
  std::vector<std::string> tool_description; std::vector<std::string> attribute_name;
  std::vector<std::string> attribute_string;
};
}

namespace podio { struct ObjectID { int index; uint32_t collectionID; }; }
namespace edm4hep {  // edm4hep.yaml, schema 2
struct Vector3f { float x; float y; float z; };
struct Vector3d { double x; double y; double z; };
struct Vector2i { int32_t a; int32_t b; };
struct MCParticleData {
  int32_t PDG; int32_t generatorStatus; int32_t simulatorStatus; float charge; float time; double mass;
  Vector3d vertex; Vector3d endpoint; Vector3d momentum; Vector3d momentumAtEndpoint; Vector3f spin; Vector2i colorFlow;
  unsigned int parents_begin; unsigned int parents_end; unsigned int daughters_begin; unsigned int daughters_end;
};
struct EventHeaderData {
  int32_t eventNumber; int32_t runNumber; uint64_t timeStamp; double weight; unsigned int weights_begin;
  unsigned int weights_end;
};
struct GeneratorEventParametersData {
  double eventScale; double alphaQED; double alphaQCD; int signalProcessId; double sqrts;
  unsigned int crossSections_begin; unsigned int crossSections_end;
  unsigned int crossSectionErrors_begin; unsigned int crossSectionErrors_end;
  unsigned int signalVertex_begin; unsigned int signalVertex_end;
};
struct GeneratorPdfInfoData {
  std::array<int, 2> partonId; std::array<int, 2> lhapdfId; std::array<double, 2> x; std::array<double, 2> xf; double scale;
};
}

namespace o2 {  // SimulationDataFormat/MCTrack.h, class version 8
template <class T> class MCTrackT {
 public:
  T mStartVertexMomentumX; T mStartVertexMomentumY; T mStartVertexMomentumZ;
  T mStartVertexCoordinatesX; T mStartVertexCoordinatesY; T mStartVertexCoordinatesZ; T mStartVertexCoordinatesT;
  T mWeight; Int_t mPdgCode; Int_t mMotherTrackId; Int_t mSecondMotherTrackId; Int_t mFirstDaughterTrackId;
  Int_t mLastDaughterTrackId; Int_t mProp; Int_t mStatusCode;
};
}
"""


@cache
def root():
    """ROOT, knowing the classes above; skips the test where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel says that it is an early one
        ROOT = pytest.importorskip("ROOT", reason="ROOT (the wheel `root`) writes the test files", exc_type=ImportError)
    ROOT.gInterpreter.Declare(DECLARATIONS)
    return ROOT


def quiet(function):
    """Let ROOT warn, which filterwarnings = error would make exceptions in the middle of its C++."""

    @wraps(function)
    def wrapped(*args, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **options)

    return wrapped


def fill(vector, values):
    vector.clear()
    for value in values:
        vector.push_back(value)


def data_of(event):
    """A pyhepmc event as HepMC3's ROOT writers have it: members in a dict."""
    import pyhepmc

    data = pyhepmc.GenEventData()
    event.write_data(data)
    particles, vertices = np.array(data.particles), np.array(data.vertices)
    return {
        "event_number": data.event_number,
        "units": (int(data.momentum_unit), int(data.length_unit)),
        "particles": [
            (
                int(p["pid"]),
                int(p["status"]),
                bool(p["is_mass_set"]),
                float(p["mass"]),
                [float(p[k]) for k in ("px", "py", "pz", "e")],
            )
            for p in particles
        ],
        "vertices": [(int(v["status"]), [float(v[k]) for k in "xyzt"]) for v in vertices],
        "weights": list(data.weights),
        "event_pos": [data.event_pos.x, data.event_pos.y, data.event_pos.z, data.event_pos.t],
        "links1": [int(i) for i in data.links1],
        "links2": [int(i) for i in data.links2],
        "attributes": list(zip(data.attribute_id, data.attribute_name, data.attribute_string, strict=True)),
    }


@quiet
def write_hepmc3(path, events, *, weight_names=(), tools=(), as_tree=True):
    """What WriterRootTree writes (or, without `as_tree`, WriterRoot) of events as from `data_of`."""
    ROOT = root()
    file = ROOT.TFile(str(path), "RECREATE")
    record, run = ROOT.HepMC3.GenEventData(), ROOT.HepMC3.GenRunInfoData()
    fill(run.weight_names, weight_names)
    for name, version, description in tools:
        run.tool_name.push_back(name)
        run.tool_version.push_back(version)
        run.tool_description.push_back(description)
    tree = ROOT.TTree("hepmc3_tree", "hepmc3_tree")
    tree.Branch("hepmc3_event", record)
    tree.Branch("GenRunInfo", run)
    for i, event in enumerate(events):
        record.event_number = event["event_number"]
        record.momentum_unit, record.length_unit = event["units"]
        record.particles.clear()
        for pid, status, is_mass_set, mass, momentum in event["particles"]:
            particle = ROOT.HepMC3.GenParticleData()
            particle.pid, particle.status, particle.is_mass_set, particle.mass = pid, status, is_mass_set, mass
            particle.momentum = ROOT.HepMC3.FourVector(*momentum)
            record.particles.push_back(particle)
        record.vertices.clear()
        for status, position in event["vertices"]:
            vertex = ROOT.HepMC3.GenVertexData()
            vertex.status, vertex.position = status, ROOT.HepMC3.FourVector(*position)
            record.vertices.push_back(vertex)
        record.event_pos = ROOT.HepMC3.FourVector(*event["event_pos"])
        for name in ("weights", "links1", "links2"):
            fill(getattr(record, name), event[name])
        for k, name in enumerate(("attribute_id", "attribute_name", "attribute_string")):
            fill(getattr(record, name), [attribute[k] for attribute in event["attributes"]])
        tree.Fill()
        if not as_tree:
            file.WriteObject(record, f"{i + 1:15d}")
    if as_tree:
        file.WriteTObject(tree)
    file.Close()


@quiet
def write_edm4hep(path, events, *, collection="MCParticles", old_names=False, weight_names=(), other=()):
    """What podio's ROOTWriter writes. An event: dict of number, weight, weights, cross_sections, pdf, particles.

    A particle: dict of pdg, status, simulator_status, time [ns], mass, vertex [mm], momentum, parents (rows).
    `other`: names of further, empty collections of particles.
    """
    ROOT = root()
    file = ROOT.TFile(str(path), "RECREATE")
    tree = ROOT.TTree("events", "events data tree")
    kinds = {
        "": "edm4hep::MCParticleData",
        "head": "edm4hep::EventHeaderData",
        "parameters": "edm4hep::GeneratorEventParametersData",
        "pdf": "edm4hep::GeneratorPdfInfoData",
    }
    data = {key: ROOT.std.vector[kind]() for key, kind in kinds.items()}
    parents, daughters = ROOT.std.vector["podio::ObjectID"](), ROOT.std.vector["podio::ObjectID"]()
    weights, sections, errors = (ROOT.std.vector["double"]() for _ in range(3))
    empty = {name: ROOT.std.vector["edm4hep::MCParticleData"]() for name in other}
    names = (
        (f"{collection}#0", f"{collection}#1", "EventHeader_0")
        if old_names
        else (f"_{collection}_parents", f"_{collection}_daughters", "_EventHeader_weights")
    )
    branches = [
        (collection, data[""]),
        (names[0], parents),
        (names[1], daughters),
        ("EventHeader", data["head"]),
        (names[2], weights),
        ("GeneratorEventParameters", data["parameters"]),
        ("_GeneratorEventParameters_crossSections", sections),
        ("_GeneratorEventParameters_crossSectionErrors", errors),
        ("GeneratorPdfInfo", data["pdf"]),
        *empty.items(),
    ]
    for name, value in branches:
        tree.Branch(name, value)
    for event in events:
        for _, value in branches:
            value.clear()
        for particle in event["particles"]:
            data[""].push_back(_edm4hep_particle(ROOT, particle, parents))
        head = ROOT.edm4hep.EventHeaderData()
        head.eventNumber, head.weight = event.get("number", 0), event.get("weight", 1.0)
        fill(weights, event.get("weights", ()))
        head.weights_begin, head.weights_end = 0, len(weights)
        data["head"].push_back(head)
        for section, error in event.get("cross_sections", ()):
            sections.push_back(section)
            errors.push_back(error)
        if len(sections):
            parameters = ROOT.edm4hep.GeneratorEventParametersData()
            parameters.crossSections_end = parameters.crossSectionErrors_end = len(sections)
            data["parameters"].push_back(parameters)
        if "pdf" in event:
            info = ROOT.edm4hep.GeneratorPdfInfoData()
            for k in range(2):
                info.partonId[k], info.x[k], info.xf[k] = (
                    event["pdf"]["id"][k],
                    event["pdf"]["x"][k],
                    event["pdf"]["xf"][k],
                )
            info.scale = event["pdf"]["scale"]
            data["pdf"].push_back(info)
        tree.Fill()
    tree.Write()
    _write_podio_names(ROOT, weight_names)
    file.Close()


def _edm4hep_particle(ROOT, particle, parents):
    row = ROOT.edm4hep.MCParticleData()
    row.PDG, row.generatorStatus, row.mass = particle["pdg"], particle["status"], particle["mass"]
    row.simulatorStatus, row.time = particle.get("simulator_status", 0), particle["time"]
    for axis, x, p in zip("xyz", particle["vertex"], particle["momentum"], strict=True):
        setattr(row.vertex, axis, x)
        setattr(row.momentum, axis, p)
    row.parents_begin = len(parents)
    for mother in particle["parents"]:
        link = ROOT.podio.ObjectID()
        link.index, link.collectionID = mother, 7
        parents.push_back(link)
    row.parents_end = particle.get("parents_end", len(parents))
    return row


def _write_podio_names(ROOT, weight_names):
    """The frame of metadata, in which EDM4hep keeps the names of weights."""
    tree = ROOT.TTree("metadata", "metadata data tree")
    keys, values = ROOT.std.vector["std::string"](), ROOT.std.vector["std::vector<std::string>"]()
    fill(keys, ["generatorName", "EventWeightNames"])
    names = ROOT.std.vector["std::string"]()
    fill(names, ["whizard"])
    values.push_back(names)
    fill(names, weight_names)
    values.push_back(names)
    tree.Branch("GPStringKeys", keys)
    tree.Branch("GPStringValues", values)
    tree.Fill()
    tree.Write()


def o2_status(hepmc, generator):
    """Both status codes in one word: 9 bits, 10 bits, 10 unused, and 5 in the uppermost 3 bits (MCGenStatus.h)."""
    word = (hepmc & 0x1FF) | (generator & 0x3FF) << 9 | 5 << 29
    return word - (1 << 32)


@quiet
def write_o2(path, events, *, tree_name="o2sim"):
    """What o2-sim writes of the kinematics: lists of particles, each a dict of the members without their `m`."""
    ROOT = root()
    file = ROOT.TFile(str(path), "RECREATE")
    tree = ROOT.TTree(tree_name, tree_name)
    tracks = ROOT.std.vector["o2::MCTrackT<float>"]()
    tree.Branch("MCTrack", tracks)
    for event in events:
        tracks.clear()
        for particle in event:
            track = ROOT.o2.MCTrackT["float"]()
            for name in ("MotherTrackId", "SecondMotherTrackId", "FirstDaughterTrackId", "LastDaughterTrackId"):
                setattr(track, f"m{name}", -1)
            for name, value in particle.items():
                setattr(track, f"m{name}", value)
            tracks.push_back(track)
        tree.Fill()
    tree.Write()
    file.Close()
