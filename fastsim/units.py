"""Units and physical constants: GeV = cm = ns = tesla = radian = 1.

Multiply by a unit where a number enters (``r = 3 * mm``), divide where it leaves (``t / ps``).
"""

from __future__ import annotations

from typing import Final

GeV: Final = 1.0
MeV: Final = 1e-3
cm: Final = 1.0
mm: Final = 0.1
m: Final = 100.0
um: Final = 1e-4
ns: Final = 1.0
ps: Final = 1e-3
tesla: Final = 1.0

# Exact by definition of the metre (BIPM SI brochure, 9th ed.): 299792458 m/s.
speed_of_light: Final = 29.9792458  # cm/ns

# Curvature of a unit charge with pt = 1 GeV in 1 T: 1 / R = k B |q| / pt, k = c * 1e-9 GeV/(T m) (PDG, "Tracking").
curvature_constant: Final = 0.299792458e-2  # GeV / (T cm)

mm_over_c: Final = mm / speed_of_light  # HepMC's unit of time when lengths are mm [ns]
cm_over_c: Final = cm / speed_of_light
