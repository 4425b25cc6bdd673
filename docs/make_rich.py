"""Make the picture and the table of docs/rich.md: `python docs/make_rich.py`, from the top of the repository."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from fastsim.kernels.cherenkov import light_of_1, make_blur, slant_1
from fastsim.species import NAMES, SPECIES
from tests.rich_tracks import batch_of, counter, forward, measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.detector.devices import Rich

DOCS = Path(__file__).parent
MASS = {species.name: species.mass for species in SPECIES}
SYMBOL = {species.name: species.symbol for species in SPECIES}
LEVELS = ("parametric", "detailed")
N = 20_000
TILES = {"is_projective": True, "n_sectors_z": 21}
DARK = {"dark_rate_khz": 100.0, "gate_ns": 2.0}
MIRROR = forward(sigma_photon_mrad=None, focal_length=150.0, pixel=0.3)
ROWS: list[tuple[str, Rich, str, float, float | None, float, int]] = [
    ("π 0.60 GeV, straight, η = 0", counter(), "pi", 0.60, 0.0, 1e-6, 1),
    ("π 0.65 GeV", counter(), "pi", 0.65, 0.0, 1e-6, 1),
    ("π 1 GeV", counter(), "pi", 1.0, 0.0, 1e-6, 1),
    ("π 10 GeV", counter(), "pi", 10.0, 0.0, 1e-6, 1),
    ("π 3 GeV, η = 0.9 (46° to the normal)", counter(), "pi", 3.0, 0.9, 1e-6, 1),
    ("³He 20 GeV", counter(), "he3", 20.0, 0.0, 1e-6, 1),
    ("π 0.65 GeV, 2 T", counter(), "pi", 0.65, 0.0, 2.0, 1),
    ("π 1 GeV, 2 T", counter(), "pi", 1.0, 0.0, 2.0, 1),
    ("e 0.35 GeV, 2 T (50° to the normal)", counter(), "el", 0.35, 0.0, 2.0, 1),
    ("e 0.30 GeV, 2 T (64°)", counter(), "el", 0.30, 0.0, 2.0, 1),
    ("π 3 GeV, 2 T, 21 projective tiles", counter(**TILES), "pi", 3.0, None, 2.0, 1),
    ("the same and 36 tiles around", counter(**TILES, n_sectors_phi=36), "pi", 3.0, None, 2.0, 1),
    ("π 1 GeV, 3 % X0 in front", counter(x_over_x0=0.03), "pi", 1.0, 0.0, 1e-6, 1),
    ("π 3 GeV, 100 kHz/mm², 2 ns", counter(**DARK), "pi", 3.0, 0.0, 1e-6, 1),
    ("π 0.4 GeV (no light), the same", counter(**DARK), "pi", 0.4, 0.0, 1e-6, 1),
    ("π 3 GeV, 50 tracks an event on the tiles", counter(**TILES), "pi", 3.0, None, 2.0, 50),
    ("π 3 GeV, 1000 tracks an event", counter(**TILES), "pi", 3.0, None, 2.0, 1000),
    ("gas, π 10 GeV", forward(), "pi", 10.0, 3.0, 1e-6, 1),
    ("gas, mirror of 150 cm, 3 mm pixels", MIRROR, "pi", 10.0, 3.0, 1e-6, 1),
]  # fmt: skip


def angle_of(species: str, p: NDArray[np.float64], index: float = 1.03) -> NDArray[np.float64]:
    """Cherenkov angle [rad], NaN below threshold."""
    cosine = np.sqrt(1.0 + (MASS[species] / p) ** 2) / index
    return np.arccos(np.where(cosine < 1.0, cosine, np.nan))


def table() -> str:
    """Both levels side by side."""
    lines = [
        "| track | hits P | hits D | rings P | rings D | σ P [mrad] | σ D [mrad] | n σ P | n σ D |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for text, device, species, p, eta, b_z, per_event in ROWS:
        etas = np.random.default_rng(2).uniform(-1.7, 1.7, N) if eta is None else eta  # another seed than that of phi
        batch = batch_of(species, np.full(N, p), eta=etas, sigma_p=0.006, b_z=b_z, per_event=per_event)
        cells: list[list[str]] = []
        for level in LEVELS:
            made: dict[str, Any] = measure(device, batch, level, b_z=b_z)
            pulls = made["n_sigma"][:, NAMES.index(species)]
            pulls = pulls[np.abs(pulls) < 5]
            width = 0.5e3 * np.diff(np.nanpercentile(made["angle"], [15.87, 84.13]))[0]
            cells.append([
                f"{np.nanmean(made['n_photons']):.2f}", f"{made['has_ring'][made['is_measured']].mean():.3f}", f"{width:.3g}",
                f"{pulls.mean():+.2f} ± {pulls.std():.2f}" if len(pulls) else "",
            ])  # fmt: skip
        lines.append(f"| {text} | " + " | ".join(x for pair in zip(*cells, strict=True) for x in pair) + " |")
    return "\n".join(lines)


def picture() -> None:
    """Angles, resolution, efficiency near threshold, separation."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, ((angles, resolution), (efficiency, separation)) = plt.subplots(
        2, 2, figsize=(11, 8), constrained_layout=True
    )
    generator = np.random.default_rng(1)
    grid = np.geomspace(0.3, 30.0, 400)
    for number, species in enumerate(NAMES[:5]):
        p = np.exp(generator.uniform(math.log(0.3), math.log(30.0), 3000))
        made = measure(counter(), batch_of(species, p, sigma_p=0.006, b_z=2.0), "detailed", b_z=2.0)
        angles.plot(p, 1e3 * made["angle"], ".", ms=1.5, color=f"C{number}")
        angles.plot(grid, 1e3 * angle_of(species, grid), color=f"C{number}", lw=0.8, label=SYMBOL[species])
    angles.set(
        xscale="log", xlabel="p [GeV]", ylabel="Cherenkov angle [mrad]", ylim=(0, 290), title="detailed, 2 T, n = 1.03"
    )
    angles.legend(loc="lower right")
    momenta = np.array([0.62, 0.7, 0.85, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0])
    blur = make_blur(counter().counter())
    theta = angle_of("pi", grid)
    photon = np.array([light_of_1(blur.values, blur.largest, t, math.tan(t) ** 2, slant_1(1.0))[0] for t in theta])
    resolution.plot(
        grid, 1e3 * np.sqrt(photon / (418.0 * np.sin(theta) ** 2)), "k", lw=0.8, label="σ₁ / √⟨N⟩, straight track"
    )
    for field, style in ((1e-6, "straight"), (2.0, "in 2 T")):
        for level, marker in zip(LEVELS, "os", strict=True):
            widths = []
            for p in momenta:
                made = measure(counter(), batch_of("pi", np.full(4000, p), b_z=field), level, b_z=field)
                widths.append(500.0 * np.diff(np.nanpercentile(made["angle"], [15.87, 84.13]))[0])
            face = "none" if level == "detailed" else None
            resolution.plot(
                momenta, widths, marker, mfc=face, color="C0" if field < 1 else "C3", label=f"{level}, {style}"
            )
    resolution.set(
        xscale="log", xlim=(0.55, 12), ylim=(0, 3), xlabel="p [GeV]", ylabel="σ of a pion's ring [mrad]", title="η = 0"
    )
    resolution.legend(fontsize=8)
    momenta = np.linspace(0.55, 0.8, 26)
    mean = np.nan_to_num(418.0 * np.sin(angle_of("pi", momenta)) ** 2)
    efficiency.plot(momenta, 1.0 - np.exp(-mean) * (1 + mean + mean**2 / 2), "k", lw=0.8, label="P(N ≥ 3)")
    for level, marker in zip(LEVELS, "os", strict=True):
        found = [measure(counter(), batch_of("pi", np.full(3000, p)), level)["has_ring"].mean() for p in momenta]
        efficiency.plot(momenta, found, marker, mfc="none" if level == "detailed" else None, ms=4, label=level)
    efficiency.set(xlabel="p [GeV]", ylabel="pions with a ring", title="near threshold")
    efficiency.legend()
    sigma = math.sqrt(photon[-1] / (418.0 * math.sin(theta[-1]) ** 2))
    for number, (light, heavy, low, high) in enumerate(
        [("el", "pi", 0.5, 2), ("pi", "ka", 2, 10), ("ka", "pr", 4, 16)]
    ):
        color = f"C{number}"
        difference = angle_of(light, grid) - angle_of(heavy, grid)
        separation.plot(grid, difference / sigma, color=color, lw=0.8, label=f"{SYMBOL[light]}/{SYMBOL[heavy]}, Δθ / σ")
        p = np.geomspace(1.1 * MASS[heavy] / math.sqrt(1.03**2 - 1), 30.0, 16)
        made = [
            np.nanmedian(
                measure(counter(), batch_of(light, np.full(800, x)), "detailed")["n_sigma"][:, NAMES.index(heavy)]
            )
            for x in p
        ]
        separation.plot(p, made, "s", mfc="none", color=color, ms=4)
        separation.plot([low, high], [0.35 + 0.07 * number] * 2, color=color, lw=4, alpha=0.5)
    separation.axhline(3.0, color="grey", lw=0.8)
    separation.set(xscale="log", yscale="log", ylim=(0.3, 200), title="bars: published 3 σ")
    separation.set(xlabel="p [GeV]", ylabel="separation [σ]")
    separation.legend(fontsize=8)
    figure.savefig(DOCS / "rich.png", dpi=100)


if __name__ == "__main__":
    page = DOCS / "rich.md"
    head, _, rest = page.read_text().partition("<!-- table -->\n")
    page.write_text(f"{head}<!-- table -->\n{table()}\n<!-- end -->{rest.partition('<!-- end -->')[2]}")
    picture()
