"""Draws docs/dedx.png: deposits in silicon, dE/dx against p, resolution, separations, clusters in helium. Run by hand."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
mpl.use("Agg")
import matplotlib.pyplot as plt

from fastsim.devices.dedx import EnergyLoss
from fastsim.devices.gas import gas_rate
from fastsim.devices.straggling import shell_variance, vavilov_density
from fastsim.kernels.energy_deposit import offset_1, xi_per_cm_1
from fastsim.rng import Streams
from fastsim.species import NAMES, by_name
from tests.dedx_tracks import batch_of, column_of, detector, names_of

KEV_PER_UM = 1e6 / 1e4  # GeV/cm
PAIRS = (("el", "pi"), ("pi", "ka"), ("ka", "pr"), ("pr", "de"))


def silicon(thickness_um: float = 100.0) -> EnergyLoss:
    """The eleven barrel layers of ALICE 3."""
    found = detector(f'[[dedx]]\nname = "its"\nlayers = {names_of()}\nthickness_um = {thickness_um}')
    return EnergyLoss.from_options(EnergyLoss.Options(name="dedx", kind="dedx", level="parametric"), found)


def deposits(axes: plt.Axes) -> None:
    """Landau with and without the shells, in 50 and 300 um."""
    for thickness, colour in ((50, "C0"), (300, "C3")):
        xi = xi_per_cm_1(4.0) * thickness * 1e-4
        for sigma, style in ((1e-9, "--"), (math.sqrt(shell_variance(0.94) / xi), "-")):
            grid, density = vavilov_density(1e-3, 0.94, sigma)
            energy = xi * 1e6 * (offset_1(4.0) + math.log(thickness * 1e-4) + grid) / thickness
            label = f"{thickness} um" + (", free electrons" if style == "--" else "")
            axes.plot(energy, density * thickness / (xi * 1e6), style, color=colour, label=label)
    axes.set(
        xlim=(0, 0.8), xlabel="deposit / path [keV/um]", ylabel="density [um/keV]", title="silicon, beta gamma = 4"
    )
    axes.legend(fontsize=8)


def bands(axes: plt.Axes, module: EnergyLoss) -> None:
    """Truncated mean of all species against p."""
    rng = np.random.default_rng(1)
    for name in ("el", "pi", "ka", "pr", "de", "he3"):
        p = np.exp(rng.uniform(math.log(0.12), math.log(5.0), 6000)) * by_name(name).charge
        made = module.apply(batch_of(name, p), Streams(1))
        axes.plot(p, column_of(made, "its_dedx") * KEV_PER_UM, ",", label=by_name(name).symbol)
    axes.set(
        xscale="log",
        yscale="log",
        ylim=(0.15, 30),
        xlabel="p [GeV]",
        ylabel="truncated mean [keV/um]",
        title="11 x 100 um",
    )
    legend = axes.legend(fontsize=8)
    for line in legend.get_lines():
        line.set(marker="o", markersize=4)


def separations(axes: plt.Axes, module: EnergyLoss) -> None:
    """Median n-sigma of the lighter hypothesis for the heavier particle."""
    p = np.repeat(np.geomspace(0.12, 5.0, 40), 500)
    for light, heavy in PAIRS:
        made = module.apply(batch_of(heavy, p, phi=np.tile(np.linspace(-3, 3, 500), 40)), Streams(2))
        z = np.median(np.abs(column_of(made, "its_n_sigma")[:, NAMES.index(light)]).reshape(40, 500), axis=1)
        axes.plot(p[::500], z, label=f"{by_name(light).symbol} / {by_name(heavy).symbol}")
    axes.axhline(3, color="grey", lw=0.8)
    axes.set(xscale="log", ylim=(0, 15), xlabel="p [GeV]", ylabel="separation [sigma]", title="11 x 100 um")
    axes.legend(fontsize=8)


def clusters(axes: plt.Axes) -> None:
    """Rates against beta gamma."""
    for gas in ("he90_isobutane10", "he", "ar"):
        (first, per_step), rate = gas_rate(gas)
        axes.plot(np.exp(first + np.arange(len(rate)) / per_step), rate, label=gas)
    axes.axvspan(0.1, 0.5, color="grey", alpha=0.2)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="beta gamma",
        ylabel="clusters / cm",
        title="gas; grey: beyond Delphes' table",
    )
    axes.legend(fontsize=8)


def main() -> None:
    """Draw."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    module = silicon()
    deposits(axes[0, 0])
    bands(axes[0, 1], module)
    separations(axes[1, 0], module)
    clusters(axes[1, 1])
    figure.savefig(Path(__file__).with_name("dedx.png"), dpi=110)


if __name__ == "__main__":
    main()
