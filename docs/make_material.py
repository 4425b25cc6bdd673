"""Draws docs/material.png: what conversions see of ALICE 3, and how radiation changes the momenta of electrons.

Particle guns through the card's detector; prints the figures of docs/material.md.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np

import fastsim

if TYPE_CHECKING:
    from numpy.typing import NDArray

GUN = """
schema_version = 1
kind = "gun"
n_events = {n_events}
dnch_deta = {{ values = [10] }}
[[particles]]
pdg = {pdg}
n = 50
pt = {{ values = [{pt}] }}
eta = {{ min = -1, max = 1 }}
"""
CARD = """
extends = "alice3"
[[modules]]
name = "vertex"
kind = "vertex"
level = "fit"
"""
MATERIAL = """
[[modules]]
name = "material"
kind = "material"
"""


def shoot(folder: Path, pdg: str, pt: float, n_events: int, *, drawn: bool = True) -> Any:
    """Events of a gun, with conversions and bremsstrahlung or without."""
    card, gun = folder / "card.toml", folder / "gun.toml"
    card.write_text(CARD + (MATERIAL if drawn else ""))
    gun.write_text(GUN.format(pdg=pdg, pt=pt, n_events=n_events))
    return ak.concatenate(list(fastsim.simulate(gun, card)))


def conversion_points(events: Any) -> NDArray[np.float64]:
    """Radii [cm] of conversions of primary photons."""
    electrons = events.particles[(events.particles.process == 5) & (events.particles.pdg == 11)]
    vertices = events.vertices[electrons.production_vertex]
    return ak.to_numpy(ak.flatten(np.hypot(vertices.x, vertices.y)))


def momentum_ratios(events: Any) -> NDArray[np.float64]:
    """Reconstructed over generated pt of the gun's electrons."""
    tracks = events.tracks[events.tracks.is_reconstructed]
    if "process" in events.particles.fields:
        tracks = tracks[events.particles.process[tracks.particle_index] == 0]
    return ak.to_numpy(ak.flatten(tracks.pt / tracks.pt_true))


def main() -> None:
    """Draw it."""
    import matplotlib as mpl  # noqa: PLC0415  (as in the package)

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        radii = conversion_points(shoot(folder, "[22]", 5.0, 1000))
        ratios = {
            pt: [momentum_ratios(shoot(folder, "[11, -11]", pt, 400, drawn=drawn)) for drawn in (False, True)]
            for pt in (0.5, 5.0)
        }
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    left.hist(radii, bins=np.geomspace(0.4, 90, 160), weights=np.full(len(radii), 100 / 50_000))
    left.set(xscale="log", xlabel="radius of the conversion [cm]", ylabel="photons of 5 GeV [%]", title="|eta| < 1")
    for axis, (pt, (gaussian, drawn)) in zip((middle, right), ratios.items(), strict=True):
        for values, label in ((gaussian, "Gaussian, in the table"), (drawn, "drawn")):
            axis.hist(values, bins=np.linspace(0.4, 1.1, 141), histtype="step", density=True, label=label)
            kept = np.abs(values - 1) < 0.05
            sys.stdout.write(
                f"pt {pt:g} GeV, {label}: {values.mean():.4f} mean, {100 * (values < 0.95).mean():.1f} % below 0.95, "
                f"{100 * (values < 0.8).mean():.1f} % below 0.8, width of those within 5 %: {100 * values[kept].std():.2f} %\n"
            )
        axis.set(yscale="log", xlabel="pt / generated pt", title=f"electrons of {pt:g} GeV")
        axis.legend(loc="upper left", frameon=False)
    sys.stdout.write(f"photons that convert: {100 * len(radii) / 50_000:.2f} %\n")
    figure.savefig(Path(__file__).with_name("material.png"), dpi=110)


if __name__ == "__main__":
    main()
