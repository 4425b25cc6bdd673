"""Level "learned" of the ring-imaging counter against level "detailed", with the tolerances of docs/learned.md.

A difference may be that of the samples (4 standard errors) plus what the model is allowed: hits 1.5 % in mean and 4 % in width,
1 % of the rings, the angle 5 % of its resolution and the resolution 4 %, n sigma 0.05 in mean and width, a likelihood cut 1 %.
"""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.detector import load_detector
from fastsim.devices.rich import RichCounters, RichOptions
from fastsim.rng import Streams
from fastsim.species import NAMES
from tests.rich_tracks import batch_of

DETECTOR = load_detector("alice3_v2")
DEVICE = next(device for device in DETECTOR.rich if device.name == "rich")
N = 12_000
LEVELS = ("detailed", "learned")


def rings(level, species, p, per_event, seed=1):
    eta = np.random.default_rng(1000 + seed).uniform(-1.8, 1.8, N)
    batch = batch_of(species, np.full(N, p), eta=eta, sigma_p=0.006, b_z=DETECTOR.b_z, per_event=per_event, seed=seed)
    made = measured(level, batch, seed)
    return {name: array[made["is_measured"]] for name, array in made.items()}


def measured(level, batch, seed=1):
    options = RichOptions.model_validate({"name": "rich", "kind": "rich", "level": level})
    made = RichCounters(options, [DEVICE], DETECTOR.b_z).apply(batch, Streams(seed)).columns
    return {column.name.removeprefix("rich_"): array for column, array in made.items()}


def agree(a, b, error, allowed):
    assert abs(a - b) < 4.0 * error + allowed, (a, b, error, allowed)


@pytest.mark.parametrize(
    ("species", "p", "per_event"),
    [
        ("pi", 0.60, 1), ("pi", 0.65, 1), ("pi", 1.0, 1), ("pi", 3.0, 1), ("pi", 10.0, 1), ("el", 1.0, 1), ("ka", 3.0, 1),
        ("pr", 6.0, 1), ("he3", 20.0, 1), ("pi", 3.0, 300), ("pi", 3.0, 1000),
    ],
)  # fmt: skip
def test_rings_are_as_in_detail(species, p, per_event):
    detailed, learned = (rings(level, species, p, per_event) for level in LEVELS)
    n = len(detailed["n_photons"])
    assert len(learned["n_photons"]) == n
    hits = [made["n_photons"] for made in (detailed, learned)]
    mean, rms = hits[0].mean(), hits[0].std()
    agree(mean, hits[1].mean(), rms * np.sqrt(2.0 / n), 0.015 * mean)
    agree(rms, hits[1].std(), rms / np.sqrt(n), 0.04 * rms)
    share = [made["has_ring"].mean() for made in (detailed, learned)]
    agree(*share, np.sqrt(2.0 * share[0] * (1.0 - share[0]) / n), 0.01)
    angles = [np.percentile(made["angle"][made["has_ring"]], [15.87, 50.0, 84.13]) for made in (detailed, learned)]
    sigma = [0.5 * (high - low) for low, _, high in angles]
    n_rings = n * share[0]
    agree(
        angles[0][1], angles[1][1], 1.25 * sigma[0] * np.sqrt(2.0 / n_rings), 0.05 * sigma[0]
    )  # of a median: sqrt(pi / 2)
    agree(
        *sigma, 1.0 * sigma[0] * np.sqrt(2.0 / n_rings), 0.04 * sigma[0]
    )  # half the distance of two quantiles: 0.93 sigma
    pulls = [made["n_sigma"][:, NAMES.index(species)] for made in (detailed, learned)]
    core = [pull[np.abs(pull) < 5.0] for pull in pulls]
    agree(core[0].mean(), core[1].mean(), core[0].std() * np.sqrt(2.0 / n_rings), 0.05)
    agree(core[0].std(), core[1].std(), core[0].std() * np.sqrt(2.0 / n_rings), 0.05)


@pytest.mark.parametrize("per_event", [1, 300])
@pytest.mark.parametrize(
    ("a", "b", "p"), [("pi", "ka", 10.0), ("pi", "ka", 12.0), ("el", "pi", 3.5), ("pi", "ka", 1.0)]
)
def test_species_are_told_apart_as_in_detail(a, b, p, per_event):
    """Share of `a` that passes a cut on the difference of the likelihoods which 95 % of the `b` of the detailed level pass."""
    found = []
    for species, seed in ((b, 2), (a, 3)):
        both = [rings(level, species, p, per_event, seed)["log_likelihood"] for level in LEVELS]
        found.append([x[:, NAMES.index(b)] - x[:, NAMES.index(a)] for x in both])
    cut = np.percentile(found[0][0], 5.0)
    for detailed, learned in found:
        share = np.mean(detailed > cut)
        agree(share, np.mean(learned > cut), np.sqrt(2.0 * max(share * (1.0 - share), 1e-4) / len(detailed)), 0.01)


def test_central_collisions_are_nearly_as_in_detail():
    """A crowd of another composition than in the training: hits 4 %, 1 % of the rings, 2 % of the tails and of wrong species."""
    generator = np.random.default_rng(5)
    n, per_event = 22_800, 7600  # dN/deta = 2000
    eta = generator.uniform(-1.9, 1.9, n)
    p = (0.15 + generator.gamma(2.0, 0.3, n)) * np.cosh(eta)
    species = generator.choice(["pi", "ka", "pr"], n, p=[0.83, 0.11, 0.06])
    batch = batch_of(species, p, eta=eta, sigma_p=0.006, b_z=DETECTOR.b_z, per_event=per_event, seed=77)
    made = {level: measured(level, batch) for level in LEVELS}
    for name, low, high in (("pi", 0.6, 0.8), ("pi", 0.8, 1.2), ("pi", 1.2, 5.0), ("ka", 2.3, 5.0)):
        chosen = made["detailed"]["is_measured"] & (species == name) & (p > low) & (p < high)
        hits = [made[level]["n_photons"][chosen] for level in LEVELS]
        agree(hits[0].mean(), hits[1].mean(), hits[0].std() * np.sqrt(2.0 / chosen.sum()), 0.04 * hits[0].mean())
        shares = []
        for level in LEVELS:
            pulls = made[level]["n_sigma"][chosen, NAMES.index(name)]
            best = np.argmax(
                made[level]["log_likelihood"][chosen][:, [NAMES.index(x) for x in ("pi", "ka", "pr")]], axis=1
            )
            wrong = best != ("pi", "ka", "pr").index(name)
            shares.append([made[level]["has_ring"][chosen].mean(), np.nanmean(np.abs(pulls) >= 5.0), wrong.mean()])
        for a, b, allowed in zip(*shares, (0.01, 0.02, 0.02), strict=True):
            agree(a, b, np.sqrt(2.0 * max(a * (1.0 - a), 1e-4) / chosen.sum()), allowed)


def test_there_are_no_hits_without_light():
    made = rings("learned", "ka", 1.0, 1)
    assert not made["n_photons"].any()
