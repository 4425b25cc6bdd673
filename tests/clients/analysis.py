"""One small analysis, and how a file of each format is read for it: with uproot and awkward, or with coffea.

A reader gives events with `tracks` (pt, phi, tan_lambda, charge, curvature [1/cm], particle: position in the event), `particles`
(pdg, pt, mother, x, y [cm]) and `jets` (pt; AO2D has none: anti-kt jets of its tracks). The analysis knows nothing of formats.
"""

from __future__ import annotations

import awkward as ak
import numpy as np
import uproot

K = 0.299792458e-2  # GeV / (T cm): 1/R of 1 GeV in 1 T
PION = 0.13957039  # GeV, PDG
K0S = 310


def k0s_masses(events):
    """Masses [GeV] of pairs of tracks of opposite charge whose particles are pions from one K0S.

    Momenta are those where the pions were made: tangents to the tracks' circles there.
    """
    tracks, particles = events.tracks, events.particles
    tracks = tracks[tracks.particle >= 0]
    own = particles[tracks.particle]
    tracks = ak.with_field(tracks, own.mother, "mother")
    is_daughter = (abs(own.pdg) == 211) & (own.mother >= 0)
    is_daughter = is_daughter & (particles.pdg[ak.where(is_daughter, own.mother, 0)] == K0S)
    tracks, own = tracks[is_daughter], own[is_daughter]
    # The circle's centre is 1/c to the left of where the track passes the z axis (to the right for negative c).
    centre_x = -np.sin(tracks.phi) / tracks.curvature
    centre_y = np.cos(tracks.phi) / tracks.curvature
    side = np.sign(tracks.curvature)
    phi = np.arctan2(-side * (centre_x - own.x), side * (centre_y - own.y))
    energy = np.sqrt(PION**2 + (tracks.pt * np.sqrt(1.0 + tracks.tan_lambda**2)) ** 2)
    momenta = ak.zip({
        "px": tracks.pt * np.cos(phi), "py": tracks.pt * np.sin(phi), "pz": tracks.pt * tracks.tan_lambda, "e": energy,
        "charge": tracks.charge, "mother": tracks.mother,
    })  # fmt: skip
    a, b = ak.unzip(ak.combinations(momenta, 2))
    is_pair = (a.mother == b.mother) & (a.charge * b.charge < 0)
    a, b = a[is_pair], b[is_pair]
    mass2 = (a.e + b.e) ** 2 - (a.px + b.px) ** 2 - (a.py + b.py) ** 2 - (a.pz + b.pz) ** 2
    return np.sort(np.sqrt(ak.to_numpy(ak.flatten(mass2))))


def pt_residuals(events):
    """(pt - true pt) / true pt of all tracks with a particle, and its true pt."""
    tracks = events.tracks[events.tracks.particle >= 0]
    true = events.particles.pt[tracks.particle]
    return ak.to_numpy(ak.flatten(tracks.pt / true - 1.0)), ak.to_numpy(ak.flatten(true))


def jet_pts(events):
    """Transverse momenta of all jets [GeV]."""
    return ak.to_numpy(ak.flatten(events.jets.pt))


def clustered(tracks):
    """Transverse momenta of anti-kt jets (R = 0.4, 5 GeV) of tracks as pions, hardest first, by FastJet."""
    import fastjet

    tracks = ak.zip({name: _wide(ak.Array(values)) for name, values in tracks.items()})
    momenta = ak.zip({
        "px": tracks.pt * np.cos(tracks.phi), "py": tracks.pt * np.sin(tracks.phi), "pz": tracks.pt * tracks.tan_lambda,
        "E": np.sqrt(PION**2 + tracks.pt**2 * (1.0 + tracks.tan_lambda**2)),
    }, with_name="Momentum4D")  # fmt: skip
    found = fastjet.ClusterSequence(momenta, fastjet.JetDefinition(fastjet.antikt_algorithm, 0.4)).inclusive_jets(5.0)
    return ak.sort(np.hypot(found.px, found.py), ascending=False)


def _events(tracks, particles, jets):
    """Numbers of files are float32; masses of fast particles need more digits on the way."""
    fields = {"tracks": tracks, "particles": particles, "jets": {"pt": jets}}
    wide = {name: ak.zip({k: _wide(ak.Array(v)) for k, v in rows.items()}) for name, rows in fields.items()}
    return ak.zip(wide, depth_limit=1)


def _wide(values):
    return ak.values_astype(values, np.float64) if "float" in str(values.type) else values


def read_ao2d(path, b_z):
    """Data frames of ALICE's AO2D; the field is not in the file."""
    frames = []
    with uproot.open(path) as file:
        names = [
            key for key, kind in file.classnames(cycle=False).items() if kind == "TDirectory" and key.startswith("DF_")
        ]
        for name in sorted(names, key=lambda key: int(key[3:])):
            trees = {key: file[f"{name}/{key}"].arrays() for key in ("O2track", "O2mctracklabel", "O2mcparticle_001")}
            n = file[f"{name}/O2collision_001"].num_entries
            frames.append(_frame(*trees.values(), n, b_z))
    return ak.concatenate(frames)


def _frame(track, label, particle, n, b_z):
    n_particles = np.bincount(particle.fIndexMcCollisions, minlength=n)
    n_tracks = np.bincount(track.fIndexCollisions, minlength=n)
    first = np.concatenate([[0], np.cumsum(n_particles)[:-1]])
    mother = ak.to_numpy(ak.fill_none(ak.firsts(particle.fIndexArray_Mothers), -1))
    mother = np.where(mother >= 0, mother - first[particle.fIndexMcCollisions], -1)
    index = ak.to_numpy(label.fIndexMcParticles)
    index = np.where(index >= 0, index - first[track.fIndexCollisions], -1)
    charge = np.sign(track.fSigned1Pt)
    tracks = {
        "pt": 1.0 / abs(track.fSigned1Pt), "phi": track.fAlpha, "tan_lambda": track.fTgl, "charge": charge,
        "curvature": -K * b_z * track.fSigned1Pt, "particle": index,
    }  # fmt: skip
    particles = {
        "pdg": particle.fPdgCode, "pt": np.hypot(particle.fPx, particle.fPy), "mother": mother,
        "x": particle.fVx, "y": particle.fVy,
    }  # fmt: skip
    tracks = {key: ak.unflatten(values, n_tracks) for key, values in tracks.items()}
    particles = {key: ak.unflatten(values, n_particles) for key, values in particles.items()}
    return _events(tracks, particles, clustered(tracks))


def read_delphes(path, b_z):
    """With uproot, by the names that branches of Delphes have."""
    del b_z
    with uproot.open(path) as file:
        return _delphes(lambda name, branch: file["Delphes"][f"{name}.{branch}"].array())


def read_delphes_coffea(path, b_z):
    """With coffea's DelphesSchema; the file has the other spelling."""
    del b_z
    from coffea.nanoevents import DelphesSchema, NanoEventsFactory

    events = NanoEventsFactory.from_root({str(path): "Delphes"}, schemaclass=DelphesSchema, mode="virtual").events()
    return _delphes(lambda name, branch: ak.without_parameters(ak.materialize(events[name, branch])))


def _delphes(get):
    tracks = {
        "pt": get("Track", "PT"), "phi": get("Track", "Phi"), "tan_lambda": get("Track", "CtgTheta"),
        "charge": get("Track", "Charge"), "curvature": 2.0 * 10.0 * get("Track", "C"), "particle": get("Track", "Particle"),
    }  # fmt: skip
    particles = {
        "pdg": get("Particle", "PID"), "pt": get("Particle", "PT"), "mother": get("Particle", "M1"),
        "x": get("Particle", "X") / 10.0, "y": get("Particle", "Y") / 10.0,
    }  # fmt: skip
    return _events(tracks, particles, get("Jet", "PT"))


def read_nano(path, b_z):
    """With uproot."""
    del b_z
    with uproot.open(path) as file:
        field = file["Events"]["bField"].array()
        return _nano(lambda name, branch: file["Events"][f"{name}_{branch}"].array(), field)


def read_nano_coffea(path, b_z):
    """With coffea's NanoAODSchema; mothers by its `parent`."""
    del b_z
    from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

    class Schema(NanoAODSchema):
        warn_missing_crossrefs = False

    events = NanoEventsFactory.from_root({str(path): "Events"}, schemaclass=Schema, mode="virtual").events()
    return _nano(lambda name, branch: ak.without_parameters(ak.materialize(events[name, branch])), events.bField)


def _nano(get, field):
    tracks = {
        "pt": get("Track", "pt"), "phi": get("Track", "phi"), "tan_lambda": np.sinh(get("Track", "eta")),
        "charge": get("Track", "charge"), "curvature": -K * field * get("Track", "charge") / get("Track", "pt"),
        "particle": get("Track", "genPartIdx"),
    }  # fmt: skip
    particles = {
        "pdg": get("GenPart", "pdgId"), "pt": get("GenPart", "pt"), "mother": get("GenPart", "genPartIdxMother"),
        "x": get("GenPart", "vx"), "y": get("GenPart", "vy"),
    }  # fmt: skip
    return _events(tracks, particles, get("Jet", "pt"))


def read_parquet(path, b_z):
    """Our own columns with awkward."""
    del b_z
    return _own(ak.from_parquet(path))


def read_rntuple(path, b_z):
    """Our own columns with uproot."""
    del b_z
    with uproot.open(path) as file:
        return _own(file["events"].arrays())


def _own(events):
    found = events.tracks[events.tracks.is_reconstructed]
    tracks = {
        "pt": found.pt, "phi": found.phi, "tan_lambda": found.tan_lambda, "charge": found.charge,
        "curvature": -K * events.b_z * found.q_over_pt, "particle": found.particle_index,
    }  # fmt: skip
    source = events.particles
    mothers = first_mothers(source)
    at = events.vertices[source.production_vertex]
    particles = {"pdg": source.pdg, "pt": np.hypot(source.px, source.py), "mother": mothers, "x": at.x, "y": at.y}
    return _events(tracks, particles, events.jets.pt)


def first_mothers(particles):
    """Position of the first particle that ends where each one comes from, -1 if none."""
    found = []
    for origins, ends in zip(ak.to_list(particles.production_vertex), ak.to_list(particles.end_vertex), strict=True):
        first = {}
        for row, vertex in enumerate(ends):
            first.setdefault(vertex, row)
        found.append([first.get(vertex, -1) if vertex >= 0 else -1 for vertex in origins])
    return ak.Array(found)


READERS = {
    "ao2d": ("ao2d", read_ao2d),
    "delphes": ("delphes", read_delphes),
    "delphes-coffea": ("delphes", read_delphes_coffea),
    "nano": ("nano", read_nano),
    "nano-coffea": ("nano", read_nano_coffea),
    "parquet": ("parquet", read_parquet),
    "rntuple": ("rntuple", read_rntuple),
}
