"""HepMC files for tests, written by pyhepmc, and what pyhepmc reads of them (the oracle)."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import pyhepmc
from pyhepmc import GenEvent, GenHeavyIon, GenParticle, GenRunInfo, GenVertex

from fastsim.io.inputs import read_blocks
from fastsim.io.stream import ByteStream
from fastsim.rng import Streams
from fastsim.source import Limits, Range

MOMENTUM_UNITS = {"GEV": pyhepmc.Units.MomentumUnit.GEV, "MEV": pyhepmc.Units.MomentumUnit.MEV}
LENGTH_UNITS = {"MM": pyhepmc.Units.LengthUnit.MM, "CM": pyhepmc.Units.LengthUnit.CM}


def make_event(number=0, *, momentum_unit="GEV", length_unit="MM", vertex=(0.01, 0.02, 3.0, 0.5), weights=()):
    """Two beams give a pion and an eta, which decays on the spot (no position of its own), and a K0s, which flies."""
    event = GenEvent(MOMENTUM_UNITS[momentum_unit], LENGTH_UNITS[length_unit])
    event.event_number = number
    beams = [GenParticle((0, 0, sign * 6500.0, 6500.0), 2212, 4) for sign in (1, -1)]
    collision, decay, flight = GenVertex(vertex), GenVertex(), GenVertex((10.0 + number, 1.0, 5.0, 12.0))
    eta = GenParticle((-1.3, -0.5, -0.7, 1.7), 221, 2)
    kaon = GenParticle((1.0, 0.1, 0.2, 1.2), 310, 2)
    for beam in beams:
        collision.add_particle_in(beam)
    for particle in (GenParticle((0.3, 0.4, 0.5 + 0.1 * number, 0.75), 211, 1), eta, kaon):
        collision.add_particle_out(particle)
    decay.add_particle_in(eta)
    flight.add_particle_in(kaon)
    for pz in (-0.3, -0.4):
        decay.add_particle_out(GenParticle((-0.65, -0.25, pz, 0.85), 22, 1))
    for pdg in (211, -211):
        flight.add_particle_out(GenParticle((0.5, 0.05, 0.1, 0.6), pdg, 1))
    event.add_tree(beams)
    if weights:
        event.run_info = GenRunInfo()
        event.run_info.weight_names = [f"weight{i}" for i in range(len(weights))]
        event.weights = list(weights)
    return event


def with_ions(event, impact_parameter=7.5, event_plane_angle=0.25):
    """The same event as a heavy-ion collision."""
    event.heavy_ion = GenHeavyIon()
    event.heavy_ion.impact_parameter = impact_parameter
    event.heavy_ion.event_plane_angle = event_plane_angle
    return event


def as_text(events, version="hepmc3") -> bytes:
    """A whole HepMC file, as pyhepmc writes it."""
    pyhepmc.Setup.print_warnings = False
    buffer = io.BytesIO()
    with pyhepmc.open(buffer, "w", format=version) as stream:
        for event in events:
            stream.write(event)
    return buffer.getvalue()


def sample(n=3, version="hepmc3", **options) -> bytes:
    """A file of n small events."""
    return as_text([make_event(i, **options) for i in range(n)], version)


def empty(version="hepmc3") -> bytes:
    """A listing without events."""
    name = {"hepmc3": "Asciiv3", "hepmc2": "IO_GenEvent"}[version]
    return f"HepMC::Version 3.02.05\nHepMC::{name}-START_EVENT_LISTING\nHepMC::{name}-END_EVENT_LISTING\n\n".encode()


def gun(*particles) -> bytes:
    """One HepMC3 event of final particles (pdg, px, py, pz, e) that come from one vertex at the origin, as text."""
    return listing(gun_event(0, *particles))


def gun_event(number, *particles) -> bytes:
    """The text of such an event; numbers may be given as text ("nan")."""
    lines = [f"E {number} 1 {len(particles) + 2}", "U GEV MM"]
    lines += [f"P {i + 1} 0 2212 0 0 {sign}6500 6500 0.938 4" for i, sign in enumerate(("", "-"))]
    lines += ["V -1 0 [1,2] @ 0 0 0 0"]
    lines += [f"P {i + 3} -1 {pdg} {px} {py} {pz} {e} 0 1" for i, (pdg, px, py, pz, e) in enumerate(particles)]
    return ("\n".join(lines) + "\n").encode()


def listing(*events: bytes) -> bytes:
    """HepMC3 events as text, between header and footer."""
    return (
        b"HepMC::Version 3.02.05\nHepMC::Asciiv3-START_EVENT_LISTING\n"
        + b"".join(events)
        + b"HepMC::Asciiv3-END_EVENT_LISTING\n\n"
    )


NS_PER_CM = 1.0 / 29.9792458  # of light


class Oracle(NamedTuple):
    """What pyhepmc's event objects say, all events after one another, in GeV, cm and ns (HepMC3 converts)."""

    n_particles: list[int]
    n_vertices: list[int]
    particles: np.ndarray  # pdg, status, px, py, pz, energy, mass
    points: np.ndarray  # x, y, z, t of the production vertex (inherited if it has none of its own), 0 without one
    vertices: np.ndarray  # x, y, z, t
    production: list[int]  # position of the production vertex in the event, -1 without one
    end: list[int]
    mothers: list[set[int]]  # positions in the event
    daughters: list[set[int]]


def ask_pyhepmc(path) -> Oracle:
    """Loop over the events, particles and vertices of a file as a user of pyhepmc would."""
    found = Oracle([], [], [], [], [], [], [], [], [])
    with pyhepmc.open(str(path)) as stream:
        for event in stream:
            event.set_units(MOMENTUM_UNITS["GEV"], LENGTH_UNITS["CM"])
            found.n_particles.append(len(event.particles))
            found.n_vertices.append(len(event.vertices))
            found.vertices.extend(_point(vertex) for vertex in event.vertices)
            for particle in event.particles:
                p, origin, end = particle.momentum, particle.production_vertex, particle.end_vertex
                has_origin = origin is not None and origin.id != 0  # vertex 0 is the event itself
                found.particles.append((particle.pid, particle.status, p.px, p.py, p.pz, p.e, particle.generated_mass))
                found.points.append(_point(origin) if has_origin else (0.0,) * 4)
                found.production.append(-origin.id - 1 if has_origin else -1)
                found.end.append(-end.id - 1 if end is not None else -1)
                found.mothers.append({mother.id - 1 for mother in particle.parents})
                found.daughters.append({daughter.id - 1 for daughter in particle.children})
    return found._replace(**{name: np.array(getattr(found, name)) for name in ("particles", "points", "vertices")})


def _point(vertex):
    x = vertex.position
    return x.x, x.y, x.z, x.t * NS_PER_CM


def read(*paths, events=(0, None), max_events=1000, max_particles=200_000, allow_truncated=False):
    """All batches of some inputs, the events that could not be read with the reasons, and records of the inputs."""
    batches, bad, records = [], [], []
    items = read_blocks(
        [str(path) for path in paths],
        Streams(1),
        events=Range(*events),
        limits=Limits(max_events, max_particles),
        records=records,
        allow_truncated=allow_truncated,
    )
    for item in items:
        batch, unusable = item.block.read()
        batches.append(batch)
        bad += unusable
    return batches, bad, records


def contents(path) -> bytes:
    """All of a file, decompressed."""
    stream = ByteStream(str(path))
    text = b"".join(iter(stream.read, b""))
    stream.close()
    return text


def read_text(text, tmp_path, **options):
    path = tmp_path / "events.hepmc"
    path.write_bytes(text)
    return read(path, **options)
