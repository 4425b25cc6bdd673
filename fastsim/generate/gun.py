"""Particle gun: events of particles drawn from the distributions of a TOML file.

    schema_version = 1
    kind = "gun"
    n_events = 10000
    dnch_deta = { values = [100, 2000] }            # the occupancy that the event stands in

    [[particles]]
    pdg = [211, -211, 321, -321]
    n = 10                                          # or n_mean, Poisson
    pt = { min = 0.05, max = 20, shape = "log_uniform" }
    eta = { min = -4, max = 4 }

A particle's draws are addressed by event, [[particles]] table and its number within the table: what else is in the event
does not change it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from fastsim import columns as c
from fastsim import toml
from fastsim.events import offsets_from_counts
from fastsim.generate.draws import Draw, Sampler, Weight, check_weights, cumulative, poisson_1, sample_1
from fastsim.jit import kernel
from fastsim.rng import EVENT_LEVEL, Key, uniforms_1
from fastsim.source import InputRecord, Range, Read, make_batch
from fastsim.species import mass_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.events import Columns
    from fastsim.rng import Streams
    from fastsim.source import Limits

MOMENTA = ("pt", "p", "energy")
DIRECTIONS = ("eta", "rapidity", "theta", "cos_theta")
_LEAST = 1e-6  # GeV, and what else above 0 may be asked for: less is no track, and its inverse no number
# Lowest and highest that may be asked for; files hold float32, and cosh(15) is 1.6 million.
_BOUNDS = {
    **dict.fromkeys(MOMENTA, (0.0, 1e7)),
    "eta": (-15.0, 15.0),
    "rapidity": (-15.0, 15.0),
    "theta": (0.0, math.pi),
    "cos_theta": (-1.0, 1.0),
    "phi": (-2.0 * math.pi, 2.0 * math.pi),
}
_WHOLE_TURN = Draw(min=-math.pi, max=math.pi)


class Vertex(toml.Strict):
    """Where and when all particles of an event are produced."""

    x: Annotated[float, Field(ge=-1e6, le=1e6, description="[cm]")] = 0.0
    y: Annotated[float, Field(ge=-1e6, le=1e6, description="[cm]")] = 0.0
    z: Annotated[float, Field(ge=-1e6, le=1e6, description="[cm]")] = 0.0
    t: Annotated[float, Field(ge=-1e6, le=1e6, description="[ns]")] = 0.0


class Particles(toml.Strict):
    """One kind of shot: which particles, how many in an event, and where they go."""

    pdg: Annotated[list[int], Field(min_length=1, description="PDG codes to draw from; antiparticles are negative")]
    weights: Annotated[list[Weight] | None, Field(description="of the PDG codes; equal if absent")] = None
    n: Annotated[int | None, Field(ge=0, le=1_000_000, description="how many in each event")] = None
    n_mean: Annotated[float | None, Field(ge=0, le=1_000_000, description="how many in the mean, a Poisson number")] = (
        None
    )
    pt: Annotated[Draw | None, Field(description="transverse momentum [GeV]")] = None
    p: Annotated[Draw | None, Field(description="momentum [GeV]")] = None
    energy: Annotated[Draw | None, Field(description="energy, mass included [GeV]")] = None
    eta: Annotated[Draw | None, Field(description="pseudorapidity")] = None
    rapidity: Annotated[Draw | None, Field(description="rapidity, with pt only")] = None
    theta: Annotated[Draw | None, Field(description="polar angle [rad]")] = None
    cos_theta: Annotated[Draw | None, Field(description="its cosine: uniform from -1 to 1 is isotropic")] = None
    phi: Annotated[Draw, Field(description="azimuth, all around if absent [rad]")] = _WHOLE_TURN

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for names in (("n", "n_mean"), MOMENTA, DIRECTIONS):
            given = [name for name in names if getattr(self, name) is not None]
            if len(given) != 1:
                raise ValueError(
                    f"must give exactly one of {', '.join(names)} (there are: {', '.join(given) or 'none'})"
                )
        if self.weights is not None:
            check_weights(self.weights, len(self.pdg), "PDG codes")
        if self.rapidity is not None and self.pt is None:
            raise ValueError("rapidity goes with pt only")
        self._check_bounds()
        self._check_masses()
        return self

    def _check_bounds(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            draw = getattr(self, name)
            if draw is None:
                continue
            if draw.shape == "thermal" and name != "pt":
                raise ValueError(f"{name}: shape 'thermal' is for pt only")
            excluded = ""
            if name in MOMENTA and draw.values is not None and draw.low <= 0:
                excluded = ", 0 excluded"
            elif self.pt is not None and name in {"theta", "cos_theta"} and (draw.low <= low or draw.high >= high):
                excluded = ", ends excluded"  # along the beam there is no pt
            elif name in {*MOMENTA, "theta"} and (0 < draw.low < _LEAST or draw.high < _LEAST):
                excluded = f", nothing but 0 below {_LEAST:g}"
            if excluded or draw.low < low or draw.high > high:
                rule = f"must be in {low:.8g} to {high:.8g}{excluded}"
                raise ValueError(f"{name}: {rule} (it is {draw.low:g} to {draw.high:g})")

    def _check_masses(self) -> None:
        for pdg in self.pdg:
            mass = mass_of(pdg)
            if mass is None or abs(pdg) >= 2**31:
                raise ValueError(f"pdg: {pdg} is not a particle of known mass (PDG code; package `particle`)")
            energy = self.energy
            if energy is not None and (energy.low < mass or (energy.values is not None and energy.low == mass)):
                raise ValueError(f"energy: {energy.low:g} GeV is not above the mass of PDG code {pdg} ({mass:g} GeV)")


class GunFile(toml.Strict):
    """A particle gun."""

    schema_version: Annotated[Literal[1], Field(description="version of this schema")]
    kind: Annotated[Literal["gun"], Field(description='"gun"')]
    n_events: Annotated[int, Field(ge=1, le=10**12, description="number of events")]
    dnch_deta: Annotated[
        Draw | None, Field(description="dN_ch/deta that each event stands in; counted from its particles if absent")
    ] = None
    vertex: Annotated[Vertex, Field(description="where all particles are produced")] = Vertex()
    particles: Annotated[list[Particles], Field(min_length=1, description="what is shot")]

    @field_validator("dnch_deta")
    @classmethod
    def _is_occupancy(cls, draw: Draw | None) -> Draw | None:
        if draw is not None and (draw.low < 0 or draw.high > 1e6 or draw.shape == "thermal"):
            raise ValueError("must not be negative, nor above 1e6, nor of shape 'thermal'")
        return draw


class Shot(NamedTuple):
    """A [[particles]] table as the kernel takes it; masses (n,) [GeV] and cdf (n,) belong to the PDG codes (n,)."""

    pdg: NDArray[np.int32]
    mass: NDArray[np.float64]
    cdf: NDArray[np.float64]
    momentum_kind: int
    momentum: Sampler
    direction_kind: int
    direction: Sampler
    phi: Sampler
    key: Key


def shot_of(table: Particles, key: Key) -> Shot:
    """The table for the kernel, with the key of its stream."""
    momentum = next(i for i, name in enumerate(MOMENTA) if getattr(table, name) is not None)
    direction = next(i for i, name in enumerate(DIRECTIONS) if getattr(table, name) is not None)
    return Shot(
        np.array(table.pdg, dtype=np.int32),
        np.array([mass_of(pdg) for pdg in table.pdg], dtype=np.float64),
        cumulative(table.weights or [1.0] * len(table.pdg)),
        momentum, getattr(table, MOMENTA[momentum]).sampler(),
        direction, getattr(table, DIRECTIONS[direction]).sampler(),
        table.phi.sampler(), key,
    )  # fmt: skip


@kernel
def shoot(
    shot: Shot,
    event_ids: NDArray[np.uint64],
    first: NDArray[np.int64],
    counts: NDArray[np.int64],
    pdg: NDArray[np.int32],
    particles: NDArray[np.float64],
) -> None:
    """Fill rows `first[e]` to `first[e] + counts[e]` of `pdg` (n,) and `particles` (5, n): px, py, pz, energy, mass [GeV]."""
    for event in range(len(event_ids)):
        for number in range(counts[event]):
            u_momentum, u_direction = uniforms_1(0, number, event_ids[event], shot.key.k0, shot.key.k1)
            u_phi, u_pdg = uniforms_1(1, number, event_ids[event], shot.key.k0, shot.key.k1)
            i = np.searchsorted(shot.cdf, 1.0 - u_pdg)
            mass = shot.mass[i]
            amount = sample_1(shot.momentum, 1.0 - u_momentum, mass)
            where = sample_1(shot.direction, 1.0 - u_direction, mass)
            phi = sample_1(shot.phi, 1.0 - u_phi, mass)
            pt, pz = _pt_and_pz_1(shot.momentum_kind, amount, shot.direction_kind, where, mass)
            row = first[event] + number
            pdg[row] = shot.pdg[i]
            particles[0, row] = pt * math.cos(phi)
            particles[1, row] = pt * math.sin(phi)
            particles[2, row] = pz
            particles[3, row] = math.sqrt(pt * pt + pz * pz + mass * mass)
            particles[4, row] = mass


@kernel
def _pt_and_pz_1(
    momentum_kind: int, amount: float, direction_kind: int, where: float, mass: float
) -> tuple[float, float]:
    if direction_kind == 1:  # rapidity, which goes with pt
        return amount, math.hypot(amount, mass) * math.sinh(where)
    if direction_kind == 0:
        cosine, sine = math.tanh(where), 1.0 / math.cosh(where)
    elif direction_kind == 2:
        cosine, sine = math.cos(where), math.sin(where)
    else:
        cosine, sine = where, math.sqrt((1.0 - where) * (1.0 + where))
    if momentum_kind == 0:
        return amount, amount * cosine / sine
    p = amount if momentum_kind == 1 else math.sqrt((amount - mass) * (amount + mass))
    return p * sine, p * cosine


@kernel
def draw_counts(
    mean: float, event_ids: NDArray[np.uint64], k0: np.uint64, k1: np.uint64, counts: NDArray[np.int64]
) -> None:
    """Poisson numbers, one an event."""
    for i in range(len(counts)):
        counts[i] = poisson_1(mean, 0, EVENT_LEVEL, event_ids[i], k0, k1)


@kernel
def draw_values(
    sampler: Sampler, event_ids: NDArray[np.uint64], k0: np.uint64, k1: np.uint64, values: NDArray[np.float64]
) -> None:
    """One number an event."""
    for i in range(len(values)):
        u, _ = uniforms_1(0, EVENT_LEVEL, event_ids[i], k0, k1)
        values[i] = sample_1(sampler, 1.0 - u, 0.0)


@dataclass(frozen=True)
class GunBlock:
    """Events `first` to `end` (positions in the whole input) of a gun."""

    path: str
    settings: GunFile
    streams: Streams
    first: int
    end: int
    bytes_read: int

    def read(self) -> Read:
        """Shoot; nothing can go wrong."""
        ids = np.arange(self.first, self.end, dtype=np.uint64)
        counts = [self._counts(i, table, ids) for i, table in enumerate(self.settings.particles)]
        offsets = offsets_from_counts(np.sum(counts, axis=0))
        pdg = np.zeros(int(offsets[-1]), dtype=np.int32)
        particles = np.zeros((5, len(pdg)))
        first = offsets[:-1].copy()
        for i, (table, n) in enumerate(zip(self.settings.particles, counts, strict=True)):
            shoot(shot_of(table, self.streams.key(f"gun/{i}")), ids, first, n, pdg, particles)
            first += n
        vertex = self.settings.vertex
        columns: Columns = {
            c.EVENT_ID: ids,
            c.EVENT_NUMBER: ids.astype(np.int64),
            c.PDG: pdg,
            c.STATUS: np.ones_like(pdg),
            **dict(zip((*c.MOMENTUM, c.ENERGY, c.MASS), particles, strict=True)),
            c.PRODUCTION_VERTEX: np.zeros_like(pdg),
            c.END_VERTEX: np.full_like(pdg, -1),
            **self._everywhere(c.VERTEX_TRUE, vertex),
            **self._everywhere(c.VERTEX_POSITION, vertex),
        }
        if self.settings.dnch_deta:
            columns[c.DNCH_DETA_GIVEN] = np.empty(len(ids))
            draw_values(
                self.settings.dnch_deta.sampler(), ids, *self.streams.key("gun/dnch_deta"), columns[c.DNCH_DETA_GIVEN]
            )
        one_each = np.arange(len(ids) + 1, dtype=np.int64)
        return Read(make_batch({"particle": offsets, "vertex": one_each}, columns), [])

    def _counts(self, index: int, table: Particles, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        counts = np.full(len(ids), table.n or 0, dtype=np.int64)
        if table.n_mean is not None:
            draw_counts(table.n_mean, ids, *self.streams.key(f"gun/{index}/n"), counts)
        return counts

    def _everywhere(self, names: tuple[Column, ...], vertex: Vertex) -> dict[Column, NDArray[np.float64]]:
        place = (vertex.x, vertex.y, vertex.z, vertex.t)
        return {name: np.full(self.end - self.first, value) for name, value in zip(names, place, strict=True)}


class Gun:
    """The events of a gun file, a `fastsim.source.Source`; raises CardError with file and line of every fault in it."""

    def __init__(self, path: str, streams: Streams) -> None:
        document = toml.read(Path(path))
        self.path = path
        self._settings = toml.validate(GunFile, document)
        text = Path(path).read_bytes()
        self._n_bytes, self._sha256 = len(text), sha256(text).hexdigest()
        self._streams = streams
        self._first_event = 0

    def blocks(self, first_event: int, events: Range, limits: Limits) -> Iterator[GunBlock]:
        """Blocks of the chosen events; a range that ends behind the last event ends there."""
        self._first_event = first_event
        size = sum((table.n or 0) + (table.n_mean or 0.0) for table in self._settings.particles)
        step = min(limits.events, max(1, int(limits.particles / max(size, 1.0))))
        end = first_event + self._settings.n_events
        if events.end is not None:
            end = min(end, events.end)
        for first in range(max(first_event, events.first), end, step):
            past = min(first + step, end)
            n_bytes = self._n_bytes * (past - first_event) // self._settings.n_events  # as if they were read evenly
            yield GunBlock(self.path, self._settings, self._streams, first, past, n_bytes)

    def record(self) -> InputRecord:
        """What was made; the hash is that of the file."""
        return InputRecord(
            self.path, self._sha256, self._first_event, self._settings.n_events, {"generators": ["fastsim gun"]}
        )

    def close(self) -> None:
        """Nothing is open."""
