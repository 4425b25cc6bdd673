"""Tracked species and what is needed of the PDG's numbering.

Masses and lifetimes are frozen here (a LUT must not change with a package release) and tested against the `particle`
package (PDG 2024); nuclei against CODATA 2022, for that package lists the masses of atoms. Everything else about a PDG
code is asked of `particle.PDGID`, which knows the numbering scheme.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim.units import MeV

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class Species(NamedTuple):
    """One kind of track: short name, positive PDG code, mass [GeV], charge [e] (absolute) and c tau [cm]."""

    name: str
    pdg: int
    mass: float
    charge: int
    symbol: str
    c_tau: float


SPECIES: tuple[Species, ...] = (
    Species("el", 11, 0.00051099895069, 1, "e", math.inf),
    Species("mu", 13, 0.1056583755, 1, "μ", 65863.84),
    Species("pi", 211, 0.13957039, 1, "π", 780.4421),
    Species("ka", 321, 0.493677, 1, "K", 371.1247),
    Species("pr", 2212, 0.93827208943, 1, "p", math.inf),
    Species("de", 1000010020, 1.875612945, 1, "d", math.inf),
    Species("tr", 1000010030, 2.80892113668, 1, "t", math.inf),
    Species("he3", 1000020030, 2.80839161112, 2, "³He", math.inf),
    Species("al", 1000020040, 3.7273794118, 2, "α", math.inf),
)
NAMES: tuple[str, ...] = tuple(s.name for s in SPECIES)

_MASSLESS = (12, 14, 16)  # `particle` gives no mass for neutrinos
_ATOMIC_MASS_UNIT = 0.93149410372  # GeV, CODATA 2022
_LAMBDA_MASS = 1.115683  # GeV, PDG 2024

_SMALL = 10_000  # nearly all PDG codes are smaller; nuclei are not
UNKNOWN_CHARGE = -128  # marks a PDG code without a known charge in `charges_of`

# Particles with a mean proper lifetime above 1 cm/c. What they decay to is secondary; ALICE-PUBLIC-2017-005, table 1.
LONG_LIVED: tuple[int, ...] = (
    11, 12, 13, 14, 16, 22, 130, 211, 310, 321, 2112, 2212, 3112, 3122, 3222, 3312, 3322, 3334,
)  # fmt: skip


def by_name(name: str) -> Species:
    """The species called `name`; raises KeyError with the allowed names."""
    if name not in NAMES:
        msg = f"species {name!r} (allowed: {', '.join(NAMES)})"
        raise KeyError(msg)
    return SPECIES[NAMES.index(name)]


@lru_cache(maxsize=65536)
def _charge(pdg: int) -> int:
    from particle import PDGID  # noqa: PLC0415  (67 ms that --help and the kernels do not need)

    three_charge = PDGID(pdg).three_charge
    if three_charge is None:
        return UNKNOWN_CHARGE
    return int(np.sign(three_charge)) * int(-(-abs(three_charge) // 3))  # quarks count as charged; none is final


@lru_cache(maxsize=65536)
def mass_of(pdg: int) -> float | None:
    """Mass of a PDG code [GeV]; None if it is not known.

    Nuclei have the mass of the atom (`particle`) less its electrons'; those that `particle` does not list, such as
    hypernuclei (L of 10LZZZAAAI Lambdas), that of their baryons in carbon-12: good to a percent, for these are bound alike.
    """
    from particle import PDGID, InvalidParticle, Particle, ParticleNotFound  # noqa: PLC0415  (as above)

    ours = [species.mass for species in SPECIES if species.pdg == abs(pdg)]
    if ours or abs(pdg) in _MASSLESS:
        return ours[0] if ours else 0.0
    code = PDGID(pdg)
    try:
        listed = Particle.from_pdgid(pdg).mass
    except (InvalidParticle, ParticleNotFound):
        n_lambdas = abs(pdg) // 10_000_000 % 10
        return (code.A - n_lambdas) * _ATOMIC_MASS_UNIT + n_lambdas * _LAMBDA_MASS if _is_nucleus(pdg) else None
    if listed is None:
        return None
    return float(listed) * MeV - (abs(code.Z) * SPECIES[0].mass if _is_nucleus(pdg) else 0.0)


@lru_cache(maxsize=65536)
def _is_nucleus(pdg: int) -> bool:
    from particle import PDGID  # noqa: PLC0415

    return abs(pdg) >= 1_000_000_000 and bool(PDGID(pdg).is_nucleus)  # PDG numbering scheme, item 16


def of_each(codes: NDArray[np.int32], function: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
    """`function`, which takes distinct PDG codes, for each of many codes."""
    small = np.where((codes > -_SMALL) & (codes < _SMALL), codes, 0) + _SMALL
    is_there = np.zeros(2 * _SMALL, dtype=np.bool_)  # a table: much quicker than np.unique, which sorts
    is_there[small] = True
    distinct = np.flatnonzero(is_there)
    values = function(np.asarray(distinct - _SMALL, dtype=np.int32))
    table = np.zeros(2 * _SMALL, dtype=values.dtype)
    table[distinct] = values
    result = table[small]
    large = np.flatnonzero((codes <= -_SMALL) | (codes >= _SMALL))
    if len(large):
        distinct, which = np.unique(codes[large], return_inverse=True)
        result[large] = function(distinct)[which]
    return np.asarray(result)


def charges_of(codes: NDArray[np.int32]) -> NDArray[np.int8]:
    """Charges [e] of distinct PDG codes; UNKNOWN_CHARGE where the numbering scheme has no such particle."""
    return np.array([_charge(int(code)) for code in codes], dtype=np.int8)


def species_of(codes: NDArray[np.int32]) -> NDArray[np.int8]:
    """Index into SPECIES of each PDG code (particles and antiparticles alike), -1 for those not tracked."""
    result = np.full(len(codes), -1, dtype=np.int8)
    for index, species in enumerate(SPECIES):
        result[np.abs(codes) == species.pdg] = index
    return result


def is_long_lived(codes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether each of distinct codes lives longer than 1 cm/c, so that what it decays to is secondary; nuclei do."""
    return np.array([abs(int(code)) in LONG_LIVED or _is_nucleus(int(code)) for code in codes], dtype=np.bool_)


@lru_cache(maxsize=65536)
def _is_hadron(pdg: int) -> bool:
    from particle import PDGID  # noqa: PLC0415  (as above)

    return bool(PDGID(pdg).is_hadron)


def is_hadron(codes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether each of distinct codes is a hadron by the PDG's numbering scheme."""
    return np.array([_is_hadron(int(code)) for code in codes], dtype=np.bool_)
