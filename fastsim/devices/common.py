"""What devices share: their columns, the hypotheses, and where tracks are seen from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fastsim.columns import Column
from fastsim.species import SPECIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_SPECIES: Final = len(SPECIES)
MASSES: Final = np.array([species.mass for species in SPECIES])  # GeV, in the order of `species.SPECIES`
CHARGES: Final = np.array([float(species.charge) for species in SPECIES])  # e, absolute


def is_measured(device: str) -> Column:
    """The mask of a device: where it is false, its other columns are NaN and mean nothing."""
    return Column(f"{device}_is_measured", "track", "bool", "", f"reconstructed, and measured by {device}")


def n_sigma(device: str) -> Column:
    """(measured - expected) / uncertainty for the nine hypotheses, in the order of `species.SPECIES`."""
    text = f"(measured - expected) / uncertainty in {device}, for each species in the order of fastsim.species.SPECIES"
    return Column(f"{device}_n_sigma", "track", "float64", "", text, (N_SPECIES,))


def of_track(device: str, name: str, unit: str, doc: str, shape: tuple[int, ...] = ()) -> Column:
    """A number that a device measures of a track."""
    return Column(f"{device}_{name}", "track", "float64", unit, doc, shape)


def momenta(p_over_z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Momenta [GeV] (n, 9) of tracks of rigidity `p_over_z` (n,) [GeV/e] for each hypothesis: what bends is p/z."""
    return np.asarray(p_over_z[:, None] * CHARGES)
