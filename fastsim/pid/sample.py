"""Tracks to look at: single particles of many species through a card, or the events that the user gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.run import simulate
from fastsim.species import NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastsim.cards import LoadedCard

# 200 particles an event: a start time is found from the tracks themselves, and no event is crowded.
_GUN = """schema_version = 1
kind = "gun"
n_events = {n_events}
[[particles]]
pdg = [11, -11, 13, -13, 211, -211, 321, -321, 2212, -2212, 1000010020]
n = 200
p = {{ min = {p_min}, max = {p_max}, shape = "log_uniform" }}
eta = {{ min = {eta_min}, max = {eta_max} }}
"""
SPECIES = ("el", "mu", "pi", "ka", "pr", "de")  # of the gun


@dataclass(frozen=True)
class Sample:
    """Reconstructed tracks: momentum [GeV], eta, true species, and the columns of devices by name; arrays (n, ...)."""

    p: NDArray[np.float64]
    eta: NDArray[np.float64]
    species: NDArray[np.int8]
    columns: dict[str, NDArray[Any]]

    def of(self, species: str) -> NDArray[np.bool_]:
        """Which tracks are of a true species."""
        return np.asarray(self.species == NAMES.index(species))


def gun_sample(
    loaded: LoadedCard, eta: tuple[float, float], p: tuple[float, float], n_events: int, names: Sequence[str]
) -> Sample:
    """Single particles, uniform in eta and in the logarithm of p [GeV], with the named columns of tracks."""
    with TemporaryDirectory() as folder:
        gun = Path(folder) / "gun.toml"
        gun.write_text(_GUN.format(n_events=n_events, p_min=p[0], p_max=p[1], eta_min=eta[0], eta_max=eta[1]))
        return read_sample([gun], loaded, names)


def read_sample(inputs: Sequence[str | Path], loaded: LoadedCard, names: Sequence[str]) -> Sample:
    """The reconstructed tracks of inputs through a card, with the named columns."""
    import awkward as ak  # noqa: PLC0415

    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("pt", "eta", "species", *names)}
    for events in simulate(inputs, loaded):
        tracks = ak.flatten(events.tracks)
        found = ak.to_numpy(tracks.is_reconstructed)
        for name, values in parts.items():
            values.append(ak.to_numpy(tracks[name])[found])
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    p = joined["pt"] * np.cosh(joined["eta"])
    return Sample(p, joined["eta"], joined["species"], {name: joined[name] for name in names})
