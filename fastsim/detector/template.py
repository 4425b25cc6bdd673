"""A detector to begin with: small, complete, and every key explained."""

from __future__ import annotations

_TEXT = """\
# A detector: hardware only. Lengths in cm, resolutions in um, field in T; how it is run is said in a card.
# Look at it:  fastsim detector check FILE;  fastsim detector plot FILE --out picture.png;  fastsim lut show FILE
schema_version = 1
name = "@NAME@"  # letters, digits and _ . -
source = "template of fastsim, invented: say here where your numbers come from"
b_z = 2.0  # T, along the beam; a negative field bends the other way

# Cylinders around the beam, in any order.
#   r, half_length   radius, and half the length along the beam [cm]
#   x_over_x0        thickness at normal incidence in radiation lengths (a fraction: 0.01 is 1 %)
#   areal_density    thickness for the energy loss [g/cm2 of silicon]: 0.0233 is 100 um; may be left out if energy_loss = "none"
#   sigma_rphi_um, sigma_z_um   hit resolutions [um]
#   efficiency       probability of a hit
# A layer with the last three measures; one without any of them is only material.
layers = [
  { name = "pipe",   r = 2.0,   half_length = 200.0, x_over_x0 = 0.0025, areal_density = 0.15 },  # a beam pipe of 0.9 mm of beryllium
  { name = "inner1", r = 2.5,   half_length = 20.0,  x_over_x0 = 0.003,  areal_density = 0.0655, sigma_rphi_um = 5.0,  sigma_z_um = 5.0,  efficiency = 0.99 },
  { name = "inner2", r = 4.0,   half_length = 20.0,  x_over_x0 = 0.003,  areal_density = 0.0655, sigma_rphi_um = 5.0,  sigma_z_um = 5.0,  efficiency = 0.99 },
  { name = "inner3", r = 6.0,   half_length = 20.0,  x_over_x0 = 0.003,  areal_density = 0.0655, sigma_rphi_um = 5.0,  sigma_z_um = 5.0,  efficiency = 0.99 },
  { name = "outer1", r = 20.0,  half_length = 60.0,  x_over_x0 = 0.01,   areal_density = 0.2182, sigma_rphi_um = 10.0, sigma_z_um = 50.0, efficiency = 0.99 },
  { name = "outer2", r = 35.0,  half_length = 60.0,  x_over_x0 = 0.01,   areal_density = 0.2182, sigma_rphi_um = 10.0, sigma_z_um = 50.0, efficiency = 0.99 },
  { name = "outer3", r = 50.0,  half_length = 100.0, x_over_x0 = 0.01,   areal_density = 0.2182, sigma_rphi_um = 10.0, sigma_z_um = 50.0, efficiency = 0.99 },
  { name = "outer4", r = 75.0,  half_length = 100.0, x_over_x0 = 0.01,   areal_density = 0.2182, sigma_rphi_um = 10.0, sigma_z_um = 50.0, efficiency = 0.99 },
  { name = "outer5", r = 100.0, half_length = 100.0, x_over_x0 = 0.01,   areal_density = 0.2182, sigma_rphi_um = 10.0, sigma_z_um = 50.0, efficiency = 0.99 },
]

# Disks across the beam, from r_min to r_max; there is another one at -z unless both_sides = false.
# Instead of two resolutions any measuring element may have one or two `views`, for strips or wires under an angle:
#   views = [{ sigma_um = 10.0, stereo_angle = 0.02 }, { sigma_um = 10.0, stereo_angle = -0.02 }]   # rad; 0 is r-phi
disks = [
  { name = "disk1", z = 25.0,  r_min = 3.0,  r_max = 18.0,  x_over_x0 = 0.003, areal_density = 0.0655, sigma_rphi_um = 5.0,  sigma_r_um = 5.0,  efficiency = 0.99 },
  { name = "disk2", z = 40.0,  r_min = 3.0,  r_max = 18.0,  x_over_x0 = 0.003, areal_density = 0.0655, sigma_rphi_um = 5.0,  sigma_r_um = 5.0,  efficiency = 0.99 },
  { name = "disk3", z = 65.0,  r_min = 5.0,  r_max = 45.0,  x_over_x0 = 0.01,  areal_density = 0.2182, sigma_rphi_um = 10.0, sigma_r_um = 50.0, efficiency = 0.99 },
  { name = "disk4", z = 85.0,  r_min = 6.0,  r_max = 45.0,  x_over_x0 = 0.01,  areal_density = 0.2182, sigma_rphi_um = 10.0, sigma_r_um = 50.0, efficiency = 0.99 },
  { name = "disk5", z = 110.0, r_min = 8.0,  r_max = 100.0, x_over_x0 = 0.01,  areal_density = 0.2182, sigma_rphi_um = 10.0, sigma_r_um = 50.0, efficiency = 0.99 },
  { name = "disk6", z = 140.0, r_min = 10.0, r_max = 100.0, x_over_x0 = 0.01,  areal_density = 0.2182, sigma_rphi_um = 10.0, sigma_r_um = 50.0, efficiency = 0.99 },
  { name = "disk7", z = 180.0, r_min = 12.0, r_max = 100.0, x_over_x0 = 0.01,  areal_density = 0.2182, sigma_rphi_um = 10.0, sigma_r_um = 50.0, efficiency = 0.99 },
]

# A drift chamber or TPC: many equal layers, of which this gives the numbers of one. Remove the # signs to have it (and the
# outer layers, which stand where it would be).
# drift_volumes = [
#   { name = "gas", r_first = 15.0, pitch = 1.0, n_layers = 80, half_length = 100.0, x_over_x0 = 2e-5, areal_density = 0.002, sigma_rphi_um = 100.0, sigma_z_um = 500.0, efficiency = 0.98 },
# ]

[tracking]
scattering = "pdg_per_layer"  # of the multiple-scattering logarithm: "pdg_per_layer", "fat_per_layer", "pdg_whole_path", "no_log"
energy_loss = "mean"          # in areal_density; or "none"
straggling = "bohr"           # fluctuation of the energy loss: "none", "bohr", "aliroot"
electrons = "bethe_heitler"   # radiation of electrons; or "none"
electron_scale = 1.0          # factor on the resolutions of electrons
min_hits = 5                  # layers with a hit that a track needs
max_sin_incidence = 0.95      # layers crossed at a larger sine of the angle in the bending plane do not count
min_radius = 0.0              # cm, that a track's helix must reach

# [tracking.occupancy]        # wrong hits at high multiplicity, as in DelphesO2's table maker
# average_rapidity = 0.45

# What identifies particles: docs/pid.md. [[rich]], [[dedx]], [[muon]], [[preshower]] and [[calorimeters]] have pages of their own.
# [[tof]]
# name = "tof"                # names its columns
# r = 110.0                   # or z, r_min and r_max; outside the tracker
# half_length = 150.0
# sigma_ps = 30.0
"""  # noqa: E501


def template(name: str) -> str:
    """The text of a detector file that loads and gives tables."""
    return _TEXT.replace("@NAME@", name)
