"""Tests of energy flow: the shipped card like CMS with calorimeters, and objects made of what one chooses.

Calorimeters: Delphes' cards/delphes_card_CMS.tcl (0593ac3a): resolutions, thresholds and shares, on its cylinder; coarser towers
where it changes their size, and one ring where the resolution changes with eta.
"""

from __future__ import annotations

import fastsim
from fastsim import resources

CALORIMETERS = """
[[calorimeters]]
name = "ecal"
kind = "ecal"
r = 129.0
half_length = 274.0
tower_eta = 0.0174
tower_phi = 0.0174533
electromagnetic = { noise = 0.4, stochastic = 0.11, constant = 0.008, eta_squared = 0.64 }
thresholds = { cell = 0.5, cluster = 0.5 }
fractions = [{ pdg = [310, 3122], fraction = 0.3 }]

[[calorimeters]]
name = "ecal_forward"
kind = "ecal"
z = 300.0
r_min = 30.0
r_max = 140.0
tower_eta = 0.0174
tower_phi = 0.0174533
electromagnetic = { noise = 0.9, stochastic = 0.25, constant = 0.018 }
thresholds = { cell = 0.5, cluster = 0.5 }
fractions = [{ pdg = [310, 3122], fraction = 0.3 }]

[[calorimeters]]
name = "hcal"
kind = "hcal"
r = 131.0
half_length = 276.0
tower_eta = 0.087
tower_phi = 0.0872665
hadronic = { stochastic = 1.5, constant = 0.05 }
thresholds = { cell = 1.0, cluster = 1.0 }

[[calorimeters]]
name = "hcal_forward"
kind = "hcal"
z = 303.0
r_min = 30.0
r_max = 142.0
tower_eta = 0.17
tower_phi = 0.174533
hadronic = { stochastic = 1.5, constant = 0.05 }
thresholds = { cell = 1.0, cluster = 1.0 }
"""
CARD = """
extends = "cms_like"
schema_version = 1
detector = "detector.toml"

[[modules]]
name = "vertex"
kind = "vertex"
level = "fit"

[[modules]]
name = "calorimeter"
kind = "calorimeter"
level = "parametric"
tower_eta = 0.087
tower_phi = 0.0872665

[[modules]]
name = "electrons"
kind = "electrons"
level = "parametric"
efficiency = "0.9 * (pt > 5)"
isolation_input = "energy_flow"

[[modules]]
name = "muons"
kind = "muons"
level = "parametric"
efficiency = "0.95 * (pt > 5)"

[[modules]]
name = "photons"
kind = "photons"
level = "parametric"
efficiency = "0.95 * (pt > 5)"
fake_rate = 0.02

[[modules]]
name = "jets"
kind = "jets"
level = "parametric"
input = "energy_flow"
radius = 0.5
pt_min = 10.0
exclude = ["photon", "electron", "muon"]

[[modules]]
name = "met"
kind = "met"
level = "parametric"
input = "energy_flow"
"""


def flow_card(folder, *sets):
    """The card, from files in a folder."""
    detector = resources.find("detectors", "cms_like").read_text().split("# What identifies")[0]
    (folder / "detector.toml").write_text(detector + CALORIMETERS)
    (folder / "card.toml").write_text(CARD)
    return fastsim.load_card(folder / "card.toml", sets=sets)


def visible(particles):
    """What detectors could see of the final state: no neutrinos."""
    code = abs(particles.pdg)
    return particles[(particles.status == 1) & (code != 12) & (code != 14) & (code != 16)]
