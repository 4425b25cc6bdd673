"""Draws docs/dedx.png: deposits in silicon, dE/dx against p in silicon and a TPC, separations, clusters. Run by hand."""

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
from fastsim.devices.straggling import shells, vavilov_density
from fastsim.kernels.energy_deposit import offset_1, xi_per_cm_1
from fastsim.rng import Streams
from fastsim.species import NAMES, by_name
from tests.dedx_tracks import batch_of, column_of, detector, names_of

KEV = 1e6
PAIRS = (("el", "pi"), ("pi", "ka"), ("ka", "pr"), ("pr", "de"))
ROWS = "half_length = 250.0, x_over_x0 = 3.6e-5, sigma_rphi_um = 1000.0, sigma_z_um = 1000.0, efficiency = 1.0"
TPC = f"""drift_volumes = [{{ name = "A", r_first = 85.2, pitch = 0.75, n_layers = 63, {ROWS} }},
  {{ name = "B", r_first = 135.1, pitch = 1.0, n_layers = 64, {ROWS} }},
  {{ name = "C", r_first = 199.2, pitch = 1.5, n_layers = 32, {ROWS} }}]"""


def silicon(level: str = "parametric", thickness_um: float = 100.0) -> EnergyLoss:
    """The eleven barrel layers of ALICE 3."""
    found = detector(f'[[dedx]]\nname = "its"\nlayers = {names_of()}\nthickness_um = {thickness_um}')
    return EnergyLoss.from_options(EnergyLoss.Options(name="dedx", kind="dedx", level=level), found)


def tpc() -> EnergyLoss:
    """ALICE's TPC."""
    device = '[[dedx]]\nname = "tpc"\ndrift_volumes = ["A", "B", "C"]\ngas = "ne90_co2_10_n2_5"\nmeasures = "charge"\n'
    more = "constant = 0.025\ncrowding = 8.7e-4\n"
    found = detector(device + more, layers=[2.0, 3.0], more=TPC, b_z=0.5, half_length=250.0)
    return EnergyLoss.from_options(EnergyLoss.Options(name="dedx", kind="dedx", level="parametric"), found)


def deposits(axes: plt.Axes) -> None:
    """Losses in 20, 50 and 300 um, with bound electrons and with free ones."""
    for thickness, colour in ((20, "C2"), (50, "C0"), (300, "C3")):
        xi = xi_per_cm_1(4.0) * thickness * 1e-4
        for bound, style in (((), "--"), (shells(4.0, xi), "-")):
            grid, density = vavilov_density(1e-3, 0.94, 1e-9 if not bound else 0.05, bound)
            energy = xi * KEV * (offset_1(4.0) + math.log(thickness * 1e-4) + grid) / thickness
            label = f"{thickness} um" + (", free electrons" if style == "--" else "")
            axes.plot(energy, density * thickness / (xi * KEV), style, color=colour, label=label)
    axes.set(
        xlim=(0, 0.7), xlabel="deposit / path [keV/um]", ylabel="density [um/keV]", title="silicon, beta gamma = 4"
    )
    axes.legend(fontsize=8)


def bands(axes: plt.Axes, module: EnergyLoss, device: str, title: str, p: tuple[float, float]) -> None:
    """Truncated mean of all species against p."""
    rng = np.random.default_rng(1)
    for name in ("el", "mu", "pi", "ka", "pr", "de", "he3"):
        momenta = np.exp(rng.uniform(math.log(p[0]), math.log(p[1]), 6000)) * by_name(name).charge
        made = module.apply(batch_of(name, momenta, eta=rng.uniform(-0.5, 0.5, 6000)), Streams(1))
        dedx = column_of(made, f"{device}_dedx") * KEV
        axes.plot(momenta / by_name(name).charge, dedx, ",", label=by_name(name).symbol)
    axes.set(xscale="log", yscale="log", xlabel="p/z [GeV]", ylabel="truncated mean [keV/cm]", title=title)
    legend = axes.legend(fontsize=8, ncols=2)
    for line in legend.get_lines():
        line.set(marker="o", markersize=4)


def separations(axes: plt.Axes, module: EnergyLoss, device: str, title: str) -> None:
    """Median n-sigma of the lighter hypothesis for the heavier particle."""
    p = np.repeat(np.geomspace(0.12, 20.0, 40), 500)
    for light, heavy in PAIRS:
        made = module.apply(batch_of(heavy, p, phi=np.tile(np.linspace(-3, 3, 500), 40), eta=0.2), Streams(2))
        score = np.abs(column_of(made, f"{device}_n_sigma")[:, NAMES.index(light)]).reshape(40, 500)
        axes.plot(p[::500], np.median(score, axis=1), label=f"{by_name(light).symbol} / {by_name(heavy).symbol}")
    axes.axhline(3, color="grey", lw=0.8)
    axes.set(xscale="log", ylim=(0, 12), xlabel="p [GeV]", ylabel="separation [sigma]", title=title)
    axes.legend(fontsize=8)


def clusters(axes: plt.Axes) -> None:
    """Rates against beta gamma."""
    for gas in ("he90_isobutane10", "he", "ar", "ne90_co2_10_n2_5"):
        rate = gas_rate(gas)
        axes.plot(np.exp(rate.axis[0] + np.arange(len(rate.per_cm)) / rate.axis[1]), rate.per_cm, label=gas)
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
    figure, axes = plt.subplots(3, 2, figsize=(10, 11), layout="constrained")
    layers, rows = silicon(), tpc()
    deposits(axes[0, 0])
    clusters(axes[0, 1])
    bands(axes[1, 0], layers, "its", "silicon, 11 x 100 um", (0.12, 5.0))
    bands(axes[1, 1], rows, "tpc", "ALICE's TPC, 159 rows", (0.15, 20.0))
    separations(axes[2, 0], layers, "its", "silicon, 11 x 100 um")
    separations(axes[2, 1], rows, "tpc", "ALICE's TPC, 159 rows")
    figure.savefig(Path(__file__).with_name("dedx.png"), dpi=110)


if __name__ == "__main__":
    main()
