"""Frozen masses and charges against the `particle` package and the PDG's numbering."""

from __future__ import annotations

import math

import numpy as np
import pytest
from particle import PDGID, Particle
from scipy.constants import physical_constants

from fastsim.species import LONG_LIVED, SPECIES, UNKNOWN_CHARGE, by_name, charges_of, is_long_lived, species_of

NUCLEI = {"de": "deuteron", "tr": "triton", "he3": "helion", "al": "alpha particle"}  # as CODATA calls them


@pytest.mark.parametrize("species", [s for s in SPECIES if s.name not in NUCLEI], ids=lambda s: s.name)
def test_masses_and_charges_are_the_pdgs(species):
    """Within one unit of the PDG's uncertainty, which moves between editions."""
    listed = Particle.from_pdgid(species.pdg)
    assert abs(species.mass - listed.mass / 1000) <= max(listed.mass_upper or 0, 1e-6) / 1000
    assert species.charge == abs(listed.charge)


@pytest.mark.parametrize("species", [s for s in SPECIES if s.name in NUCLEI], ids=lambda s: s.name)
def test_nuclei_have_the_masses_of_nuclei(species):
    """CODATA's of bare nuclei, to the 1e-9 by which editions differ; the PDG's table in `particle` has those of atoms."""
    mass, unit, _ = physical_constants[f"{NUCLEI[species.name]} mass energy equivalent in MeV"]
    assert unit == "MeV"
    assert species.mass == pytest.approx(mass / 1000, rel=2e-9)
    assert species.charge == abs(Particle.from_pdgid(species.pdg).charge) == PDGID(species.pdg).Z
    electrons = species.charge * physical_constants["electron mass energy equivalent in MeV"][0]
    assert Particle.from_pdgid(species.pdg).mass == pytest.approx(mass + electrons, rel=2e-5)  # atoms, as said


@pytest.mark.parametrize("species", SPECIES, ids=lambda s: s.name)
def test_lifetimes_are_the_pdgs(species):
    """c tau [cm] against `particle` [mm], within what its rounded widths allow; nuclei and the proton do not decay here."""
    listed = Particle.from_pdgid(species.pdg).ctau
    if species.name in ("mu", "pi", "ka"):
        assert species.c_tau == pytest.approx(listed / 10, rel=2e-4)
    else:
        assert species.c_tau == math.inf


def test_pion_s_lifetime_by_hand():
    """PDG 2024: tau(pi) = 26.033 ns, tau(mu) = 2196.9811 ns, tau(K) = 12.38 ns, times 29.9792458 cm/ns."""
    for name, tau, uncertainty in (("pi", 26.033, 0.005), ("mu", 2196.9811, 0.0022), ("ka", 12.38, 0.020)):
        assert abs(by_name(name).c_tau - tau * 29.9792458) < uncertainty * 29.9792458


def test_charges():
    codes = np.array([11, -11, 211, 2212, 22, 310, 3312, 1000020030, 2, 21, 99999999], dtype=np.int32)
    assert charges_of(codes).tolist() == [-1, 1, 1, 1, 0, 0, -1, 2, 1, 0, UNKNOWN_CHARGE]


def test_antiparticles_are_the_same_species():
    assert species_of(np.array([-11, 13, 211, -321, -2212, 3112], dtype=np.int32)).tolist() == [0, 1, 2, 3, 4, -1]


def test_long_lived_is_lifetime_above_one_cm():
    """The list of ALICE-PUBLIC-2017-005 against the PDG's lifetimes of all hadrons and leptons it knows.

    K0 and anti-K0 are not listed: they are not mass states and the PDG gives them no lifetime.
    """
    for particle in Particle.findall(lambda p: 0 < int(p.pdgid) < 10000 and p.ctau is not None):
        code = int(particle.pdgid)
        if (
            code in (1, 2, 3, 4, 5, 6, 7, 8, 21, 23, 24, 25, 311)
            or particle.pdgid.is_quark
            or particle.pdgid.is_diquark
        ):
            continue
        assert is_long_lived(np.array([code], dtype=np.int32))[0] == (particle.ctau > 10.0), particle.name  # mm
    assert is_long_lived(np.array([1000010020, -1000020040], dtype=np.int32)).all()
    assert len(set(LONG_LIVED)) == 18


def test_unknown_name():
    with pytest.raises(KeyError, match="allowed: el, mu, pi, ka, pr"):
        by_name("pion")
