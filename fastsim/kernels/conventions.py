"""Conventions by name: what detector files may say and kernels understand as numbers.

Those of the multiple-scattering logarithm differ by up to 40 % (`reference/tracking.md` 0 has who uses what), so a
detector file must name the one that it means.
"""

from __future__ import annotations

from typing import Final, Literal

Convention = Literal["pdg_per_layer", "fat_per_layer", "pdg_whole_path", "no_log"]
CONVENTIONS: Final[dict[Convention, int]] = {"pdg_per_layer": 0, "fat_per_layer": 1, "pdg_whole_path": 2, "no_log": 3}
DESCRIPTIONS: Final[dict[Convention, str]] = {
    "pdg_per_layer": "PDG formula, 1 + 0.038 ln(t z^2 / beta^2) with the thickness t of each layer on its own",
    "fat_per_layer": "1 + 0.038 ln(t) of each layer, as DelphesO2's table maker switches it on",
    "pdg_whole_path": "PDG formula, the logarithm taken of the whole path's thickness",
    "no_log": "no logarithmic term, as O2's correctForMaterial",
}

EnergyLoss = Literal["none", "mean"]
ENERGY_LOSS: Final[dict[EnergyLoss, int]] = {"none": 0, "mean": 1}

Straggling = Literal["none", "bohr", "aliroot"]
STRAGGLING: Final[dict[Straggling, int]] = {"none": 0, "bohr": 1, "aliroot": 2}

Electrons = Literal["none", "bethe_heitler"]
ELECTRONS: Final[dict[Electrons, int]] = {"none": 0, "bethe_heitler": 1}
