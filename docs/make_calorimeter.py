"""Draws docs/calorimeter.png and fills in the table of both levels in docs/calorimeter.md: `python docs/make_calorimeter.py`."""

from __future__ import annotations

import itertools
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fastsim import columns as c
from tests.calorimeter_events import ECAL, HCAL, IRON, PBWO4, module, pointing, run
from tests.physics.test_calorimetry import PI0, masses, neutral_pion, spots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

ECAL_TERMS = {"noise": 0.01, "stochastic": 0.05, "constant": 0.005}
TABLE = {
    **ECAL, "electromagnetic": ECAL_TERMS, "hadron_fraction": 0.4, "mip": 0.25,
    "material": {**PBWO4, "depth": 25.0}, "thresholds": {"cell": 0.01, "seed": 0.05, "cluster": 0.1},
}  # fmt: skip
IRON_HCAL = {
    **HCAL, "hadronic": {"stochastic": 0.5, "constant": 0.03}, "material": IRON, "e_over_h": 1.3, "mip": 2.0,
    "thresholds": {"cell": 0.1, "seed": 0.3, "cluster": 0.5},
}  # fmt: skip
LEVELS = ("parametric", "detailed")
PAGE = Path(__file__).parent / "calorimeter.md"


def per_event(batch: Any, values: NDArray[np.float64], what: Any) -> NDArray[np.float64]:
    """`what` (sum or max) of the values of each event's clusters; 0 without."""
    return np.array(
        [what(values[a:b]) if b > a else 0.0 for a, b in itertools.pairwise(batch.offsets["cluster"].tolist())]
    )


def response(pdg: int, energy: float, level: str, n: int = 400) -> tuple[float, float]:
    """Mean and relative width of the sum of clusters."""
    batch = run(
        module(TABLE, IRON_HCAL, level=level, b_z=1e-9), [[pointing(pdg, energy, phi=0.01 * i)] for i in range(n)]
    )
    total = per_event(batch, batch[c.CLUSTER_ENERGY], np.sum)
    return float(total.mean() / energy), float(total.std() / total.mean())


def position(energy: float, level: str) -> float:
    """Width of z of the highest cluster of photons [mm]."""
    eta = np.random.default_rng(1).uniform(-0.2, 0.2, 400)
    batch = run(module(TABLE, level=level), [[pointing(22, energy, eta=e, phi=e)] for e in eta])
    z, e = batch[c.CLUSTER_PLACE[2]], batch[c.CLUSTER_ENERGY]
    best = [a + int(np.argmax(e[a:b])) for a, b in itertools.pairwise(batch.offsets["cluster"].tolist())]
    return float(np.std(z[best] - 120 * np.sinh(eta)) * 10)


def apart(energy: float, level: str) -> float:
    """Share of pi0 (all decay angles) with two clusters."""
    rng = np.random.default_rng(2)
    pairs = [
        neutral_pion(energy, cos, phi) for cos, phi in zip(rng.uniform(0, 1, 200), rng.uniform(-3, 3, 200), strict=True)
    ]
    batch = run(module(TABLE, level=level), pairs)
    return float((np.diff(batch.offsets["cluster"]) >= 2).mean())


def pair_masses(energy: float, level: str) -> NDArray[np.float64]:
    """Masses of pairs of the two clusters of a pi0, symmetric to 0.7 in the decay angle."""
    cosines = np.random.default_rng(3).uniform(0, 0.7, 800)
    own = module({**TABLE, "thresholds": {"cell": 0.01, "seed": 0.1, "cluster": 0.15}}, level=level)
    batch = run(own, [neutral_pion(energy, cos, 0.007 * i) for i, cos in enumerate(cosines)])
    pairs = np.flatnonzero(np.diff(batch.offsets["cluster"]) == 2)
    return np.concatenate([masses(batch.slice_events(i, i + 1))[0] for i in pairs])


def row(name: str, energy: float, values: Iterable[str]) -> str:
    """A line of the table."""
    return f"| {name} | {energy:g} | {' | '.join(values)} |"


def fill_in_table() -> None:
    """Compare both levels, between the marks in the page."""
    lines = ["| | energy [GeV] | parametric | detailed |", "| --- | --- | --- | --- |"]
    for pdg, name in ((22, "photon"), (211, "pi+"), (130, "K0L"), (13, "muon")):
        for energy in (2.0, 10.0, 50.0) if pdg != 13 else (10.0,):
            both = [response(pdg, energy, level) for level in LEVELS]
            lines += [row(f"{name}: mean, width", energy, (f"{m:.3f}, {w:.3f}" for m, w in both))]
    for energy in (1.0, 10.0):
        lines += [row("photon: width of z [mm]", energy, (f"{position(energy, level):.2f}" for level in LEVELS))]
    for energy in (3.0, 6.0, 10.0, 20.0):
        lines += [row("pi0 of two clusters", energy, (f"{apart(energy, level):.2f}" for level in LEVELS))]
    text, block = PAGE.read_text(encoding="utf-8"), "\n".join(lines)
    new = re.sub(r"(<!-- levels -->\n).*?(<!-- end -->)", rf"\g<1>{block}\n\2", text, flags=re.DOTALL)
    PAGE.write_text(new, encoding="utf-8")


def main() -> None:
    """Everything."""
    fill_in_table()
    figure, panels = plt.subplots(2, 2, figsize=(9.5, 7.2), layout="constrained")
    axis = panels[0, 0]
    energies = np.geomspace(0.5, 100, 9)
    axis.plot(
        energies, [100 * math.sqrt(0.01**2 / e**2 + 0.05**2 / e + 0.005**2) for e in energies], label="input terms"
    )
    for level, marker in zip(LEVELS, "os", strict=True):
        axis.plot(energies, [100 * response(22, e, level)[1] for e in energies], marker, ms=4, mfc="none", label=level)
    axis.set(xscale="log", yscale="log", xlabel="E [GeV]", ylabel="σ(E)/E [%]", title="photons")
    axis.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    axis.minorticks_off()
    axis.legend(frameon=False)
    axis = panels[0, 1]
    for level in LEVELS:
        mass = pair_masses(2.0, level)
        axis.hist(
            mass,
            np.linspace(0.09, 0.18, 46),
            histtype="step",
            label=f"{level}, {mass.mean() * 1e3:.1f} ± {mass.std() * 1e3:.1f} MeV",
        )
    axis.axvline(PI0, color="grey", lw=0.8)
    axis.set(xlabel="m(γγ) [GeV]", ylabel="pairs", title="π⁰ of 2 GeV")
    axis.set_ylim(top=170)
    axis.legend(frameon=False, fontsize=8, loc="upper left")
    axis = panels[1, 0]
    energies = np.array([2, 4, 6, 8, 10, 13, 16, 20, 25, 30], dtype=float)
    for level, marker in zip(LEVELS, "os", strict=True):
        axis.plot(energies, [apart(e, level) for e in energies], marker + "-", ms=4, lw=0.8, mfc="none", label=level)
    axis.axvline(2 * PI0 * 120 / 2.0, color="grey", lw=0.8)
    axis.text(2 * PI0 * 120 / 2.0 + 0.4, 0.8, "θ_min R = one cell", fontsize=8)
    axis.set(xlabel="E(π⁰) [GeV]", ylabel="share with two clusters", title="cells of 2 cm at 120 cm")
    axis.legend(frameon=False, loc="lower left")
    axis = panels[1, 1]
    radius = np.linspace(0.05, 4, 60)
    fine = {**ECAL, "r": 1000.0, "half_length": 40.0, "cell_size": 0.1, "electromagnetic": {}}
    for energy in (1.0, 50.0):
        deposits, _ = spots({**fine, "material": {**PBWO4, "depth": 40.0}}, 11, energy, 100)
        r = np.hypot(deposits.place[:, 1], deposits.place[:, 2]) / PBWO4["moliere_radius"]
        inside = [deposits.em[r < x].sum() / deposits.em.sum() for x in radius]
        axis.plot(radius, inside, label=f"electrons, {energy:g} GeV")
    axis.plot([1, 2, 3.5], [0.90, 0.95, 0.99], "k+", ms=10, label="Molière radius: 90, 95, 99 %")
    axis.set(xlabel="r [R_M]", ylabel="energy within r", title="PbWO₄, GFLASH spots")
    axis.legend(frameon=False)
    figure.savefig(Path(__file__).parent / "calorimeter.png", dpi=110)


if __name__ == "__main__":
    main()
