"""Make the table and the picture of docs/learned.md: `python docs/make_learned.py`, from the top of the repository."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from fastsim.detector import load_detector
from fastsim.devices.rich import RichCounters, RichOptions
from fastsim.rng import Streams
from fastsim.species import NAMES
from tests.rich_tracks import batch_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.events import EventBatch

DOCS = Path(__file__).parent
DETECTOR = load_detector("alice3_v2")
DEVICE = next(device for device in DETECTOR.rich if device.name == "rich")
LEVELS = ("detailed", "learned", "parametric")
N = 20_000
ROWS: list[tuple[str, str, float, int]] = [
    ("π 0.60 GeV", "pi", 0.60, 1),
    ("π 0.65 GeV", "pi", 0.65, 1),
    ("π 1 GeV", "pi", 1.0, 1),
    ("π 3 GeV", "pi", 3.0, 1),
    ("π 10 GeV", "pi", 10.0, 1),
    ("e 1 GeV", "el", 1.0, 1),
    ("K 3 GeV", "ka", 3.0, 1),
    ("p 6 GeV", "pr", 6.0, 1),
    ("³He 20 GeV", "he3", 20.0, 1),
    ("K 1 GeV (no light)", "ka", 1.0, 1),
    ("π 3 GeV, 50 tracks an event", "pi", 3.0, 50),
    ("π 3 GeV, 300 tracks an event", "pi", 3.0, 300),
    ("π 3 GeV, 1000 tracks an event", "pi", 3.0, 1000),
]


class Seen(NamedTuple):
    """Of one kind of track: hits (mean, rms), share with a ring, angle (median, half of the central 68 %) [mrad], n sigma."""

    hits: float
    rms: float
    rings: float
    angle: float
    sigma: float
    mean: float
    width: float
    beyond: float  # share of rings with |n sigma| above 5


def measured(batch: EventBatch, level: str) -> dict[str, NDArray[Any]]:
    """What the counter measures, by the end of the columns' names."""
    options = RichOptions.model_validate({"name": "rich", "kind": "rich", "level": level})
    module = RichCounters(options, [DEVICE], DETECTOR.b_z)
    return {
        column.name.removeprefix("rich_"): array for column, array in module.apply(batch, Streams(1)).columns.items()
    }


def tracks(species: str, p: float, per_event: int, seed: int = 1, n: int = N) -> EventBatch:
    """Tracks of one momentum over the whole counter."""
    eta = np.random.default_rng(1000 + seed).uniform(-1.8, 1.8, n)  # another seed than that of phi in batch_of
    return batch_of(species, np.full(n, p), eta=eta, sigma_p=0.006, b_z=DETECTOR.b_z, per_event=per_event, seed=seed)


def seen(batch: EventBatch, species: str, level: str) -> Seen:
    """What one level makes of tracks of one species."""
    made = measured(batch, level)
    there = made["is_measured"]
    hits, angle = made["n_photons"][there], 1e3 * made["angle"][made["has_ring"]]
    pulls = made["n_sigma"][:, NAMES.index(species)]
    pulls = pulls[~np.isnan(pulls)]
    core = pulls[np.abs(pulls) < 5]
    low, middle, high = np.percentile(angle, [15.87, 50, 84.13]) if len(angle) else (np.nan, np.nan, np.nan)
    mean, width = (core.mean(), core.std()) if len(core) else (np.nan, np.nan)
    beyond = float(np.mean(np.abs(pulls) >= 5)) if len(pulls) else np.nan
    return Seen(
        hits.mean(), hits.std(), made["has_ring"][there].mean(), middle, 0.5 * (high - low), mean, width, beyond
    )


def table() -> str:
    """Levels side by side."""
    lines = ["| track | level | hits | rings | angle [mrad] | σ [mrad] | n σ | beyond 5σ |", "| --- " * 8 + "|"]
    for text, species, p, per_event in ROWS:
        batch = tracks(species, p, per_event)
        for level in LEVELS:
            a = seen(batch, species, level)
            pull = "" if np.isnan(a.mean) else f"{a.mean:+.2f} ± {a.width:.2f}"
            lost = "" if np.isnan(a.beyond) else f"{a.beyond:.3f}"
            lines.append(
                f"| {text if level == LEVELS[0] else ''} | {level} | {a.hits:.2f} ± {a.rms:.2f} | {a.rings:.3f} | "
                f"{' | ' if np.isnan(a.angle) else f'{a.angle:.2f} | {a.sigma:.3g}'} | {pull} | {lost} |"
            )
    return "\n".join(lines)


def separation(a: str, b: str, p: float, per_event: int, level: str, n: int = N) -> float:
    """Share of true `a`, with rings or without, that pass a cut on the likelihoods which 95 % of `b` pass."""
    scores = []
    for k, species in enumerate((a, b)):
        made = measured(tracks(species, p, per_event, seed=11 + k, n=n), level)
        both = made["log_likelihood"][made["is_measured"]]
        scores.append(both[:, NAMES.index(b)] - both[:, NAMES.index(a)])
    return float(np.mean(scores[0] > np.percentile(scores[1], 5.0)))


PAIRS = (
    ("el", "pi", 1.0),
    ("el", "pi", 2.0),
    ("pi", "ka", 1.0),
    ("pi", "ka", 6.0),
    ("pi", "ka", 10.0),
    ("ka", "pr", 10.0),
)


def separations() -> str:
    """Misidentification at 95 % efficiency."""
    lines = ["| true, taken for | GeV | tracks an event | detailed | learned | parametric |", "| --- " * 6 + "|"]
    for a, b, p in PAIRS:
        for per_event in (1, 300):
            cells = [f"{separation(a, b, p, per_event, level):.4f}" for level in LEVELS]
            lines.append(f"| {a}, {b} | {p:g} | {per_event} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


CENTRAL = 7600  # tracks in |eta| < 1.9: 2000 per unit, as in a central Pb-Pb collision
N_CENTRAL = 6
SELECTIONS = (
    ("π 0.6 to 0.8 GeV", "pi", 0.6, 0.8),
    ("π 0.8 to 1.2 GeV", "pi", 0.8, 1.2),
    ("π 1.2 to 5 GeV", "pi", 1.2, 5.0),
    ("K 0.6 to 1.9 GeV (no light)", "ka", 0.6, 1.9),
    ("K 2.3 to 5 GeV", "ka", 2.3, 5.0),
)


def central() -> tuple[EventBatch, NDArray[np.str_], NDArray[np.float64]]:
    """Toy of central collisions: tracks, species, momenta [GeV]; pt is 0.15 GeV plus a gamma distribution (2, 0.3 GeV)."""
    generator = np.random.default_rng(5)
    n = CENTRAL * N_CENTRAL
    eta = generator.uniform(-1.9, 1.9, n)
    p = (0.15 + generator.gamma(2.0, 0.3, n)) * np.cosh(eta)
    species = generator.choice(["pi", "ka", "pr"], n, p=[0.83, 0.11, 0.06])
    return batch_of(species, p, eta=eta, sigma_p=0.006, b_z=DETECTOR.b_z, per_event=CENTRAL, seed=77), species, p


def crowd() -> str:
    """Levels side by side in central collisions."""
    lines = ["| track | level | hits | rings | angle [mrad] | n σ | beyond 5σ | wrong species |", "| --- " * 8 + "|"]
    batch, species, p = central()
    made = {level: measured(batch, level) for level in LEVELS}
    hypotheses = [NAMES.index(name) for name in ("pi", "ka", "pr")]
    for text, name, low, high in SELECTIONS:
        for level in LEVELS:
            chosen = made[level]["is_measured"] & (species == name) & (p > low) & (p < high)
            hits, pulls = made[level]["n_photons"][chosen], made[level]["n_sigma"][chosen, NAMES.index(name)]
            pulls = pulls[~np.isnan(pulls)]
            core = pulls[np.abs(pulls) < 5]
            best = np.argmax(made[level]["log_likelihood"][chosen][:, hypotheses], axis=1)
            wrong = np.mean(best != hypotheses.index(NAMES.index(name)))
            angle = (
                1e3 * np.nanmedian(made[level]["angle"][chosen]) if made[level]["has_ring"][chosen].any() else np.nan
            )
            cells = [
                text if level == LEVELS[0] else "", level, f"{hits.mean():.2f} ± {hits.std():.2f}",
                f"{made[level]['has_ring'][chosen].mean():.3f}", "" if np.isnan(angle) else f"{angle:.1f}",
                f"{core.mean():+.2f} ± {core.std():.2f}" if len(core) else "",
                f"{np.mean(np.abs(pulls) >= 5):.3f}" if len(pulls) else "", f"{wrong:.3f}",
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def speed() -> str:
    """Time per track of each level, all included."""
    lines = ["| | " + " | ".join(LEVELS) + " |", "| --- " * 4 + "|"]
    batches = {"π 3 GeV, 1 an event": tracks("pi", 3.0, 1), "π 3 GeV, 1000 an event": tracks("pi", 3.0, 1000)}
    for text, batch in {**batches, "central collisions": central()[0]}.items():
        cells = []
        for level in LEVELS:
            measured(batch, level)
            start = time.perf_counter()
            measured(batch, level)
            cells.append(f"{1e6 * (time.perf_counter() - start) / batch.n_rows('track'):.1f} µs")
        lines.append(f"| {text} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw() -> None:
    """Hits, angle and n sigma of pions of 3 GeV, alone and among 1000."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  (after the choice of the backend)

    figure, axes = plt.subplots(2, 3, figsize=(10, 5.4), layout="constrained")
    for row, per_event in enumerate((1, 1000)):
        batch = tracks("pi", 3.0, per_event)
        for level, style in zip(LEVELS, ("stepfilled", "step", "step"), strict=True):
            made = measured(batch, level)
            shown = {"histtype": style, "label": level, "alpha": 0.4 if style == "stepfilled" else 1.0}
            axes[row, 0].hist(made["n_photons"][made["is_measured"]], np.arange(-0.5, 70), **shown)
            axes[row, 1].hist(1e3 * made["angle"], np.linspace(200, 280, 81), log=True, **shown)
            axes[row, 2].hist(made["n_sigma"][:, NAMES.index("pi")], np.linspace(-10, 10, 81), log=True, **shown)
        for axis, label in zip(axes[row], ("hits", "Cherenkov angle [mrad]", "n sigma of the pion"), strict=True):
            axis.set_xlabel(label)
        axes[row, 0].set_ylabel(f"pions of 3 GeV, {per_event} an event")
    axes[0, 0].legend(frameon=False)
    figure.savefig(DOCS / "learned.png", dpi=110)


def main() -> None:
    """Replace the tables between the marks, draw the picture, print the speed."""
    page = DOCS / "learned.md"
    text = page.read_text(encoding="utf-8")
    for mark, made in (("rings", table()), ("separation", separations()), ("crowd", crowd()), ("speed", speed())):
        before, _, rest = text.partition(f"<!-- {mark} -->")
        _, _, after = rest.partition("<!-- end -->")
        text = f"{before}<!-- {mark} -->\n{made}\n<!-- end -->{after}"
    page.write_text(text, encoding="utf-8")
    draw()


if __name__ == "__main__":
    main()
