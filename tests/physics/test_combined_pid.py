"""Probabilities of species are probabilities: of tracks that are kaons with 70 to 80 %, so many are, for each device and all.

Species are drawn by the priors, at momenta that are the same for all. In a bin of n tracks with mean probability P the share of
those that are of the species is within 4.5 sqrt(P (1 - P) / n).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastsim.devices.combined import CombinedPid
from fastsim.devices.dedx import EnergyLoss
from fastsim.devices.muon import MuonIdentification
from fastsim.devices.preshower import PreshowerTag
from fastsim.rng import Streams
from fastsim.species import NAMES
from tests.dedx_tracks import batch_of, column_of, detector, names_of

PRIORS = {"el": 0.1, "mu": 0.15, "pi": 0.4, "ka": 0.2, "pr": 0.15}
ROWS = "half_length = 200.0, x_over_x0 = 2e-5, sigma_rphi_um = 100.0, sigma_z_um = 1000.0, efficiency = 1.0"
VOLUMES = f"""drift_volumes = [{{ name = "CHAMBER", r_first = 90.0, pitch = 1.0, n_layers = 50, {ROWS} }},
    {{ name = "ROWS", r_first = 145.0, pitch = 1.0, n_layers = 100, {ROWS} }}]""".replace("\n    ", " ")
DEVICES = f"""
[[dedx]]
name = "silicon"
layers = {names_of()}
thickness_um = 50.0
[[dedx]]
name = "clusters"
drift_volumes = ["CHAMBER"]
gas = "he90_isobutane10"
[[dedx]]
name = "charge"
drift_volumes = ["ROWS"]
gas = "ne90_co2_10_n2_5"
measures = "charge"
constant = 0.02
crowding = 0.001
[[muon]]
name = "mid"
r = 260.0
half_length = 400.0
iron_cm = 60.0
efficiency = 0.95
[[preshower]]
name = "preshower"
eta_max = 1.5
p_min = 0.1
efficiency = "0.8 * (1 - exp(-1.6 * (p - 0.05)))"
mistag = "0.05"
"""
FOUND = detector(DEVICES, more=VOLUMES)
N = 60_000


def measured(level, sigma_p=0.01):
    """Tracks with all devices' columns, and their true species."""
    rng = np.random.default_rng(3)
    species = rng.choice(list(PRIORS), N, p=list(PRIORS.values()))
    momenta = np.exp(rng.uniform(math.log(0.4), math.log(4.0), N))
    batch = batch_of(species, momenta, eta=rng.uniform(-1, 1, N), phi=rng.uniform(-3, 3, N), sigma_p=sigma_p)
    for kind, name in ((EnergyLoss, "dedx"), (MuonIdentification, "muon_id"), (PreshowerTag, "preshower")):
        options = kind.Options(name=name, kind=name, level=level if name == "dedx" else "parametric")
        batch = batch.with_columns(kind.from_options(options, FOUND).apply(batch, Streams(8)).columns)
    return batch, np.array([NAMES.index(name) for name in species])


@pytest.fixture(scope="module")
def drawn():
    return measured("parametric")


@pytest.fixture(scope="module")
def detailed():
    return measured("detailed")


def largest_fault(batch, true, devices, width=0.1):
    """Of all species and bins of probability with 200 tracks: by how much |share - P| is at most more than 4.5 of its errors."""
    options = CombinedPid.Options(name="pid", kind="pid", level="parametric", priors=PRIORS, devices=devices)
    made = CombinedPid.from_options(options, FOUND).apply(batch, Streams(1))
    probability = column_of(made, "pid_probability")
    np.testing.assert_allclose(probability.sum(axis=1), 1.0)
    faults = []
    for name in PRIORS:
        k = NAMES.index(name)
        for low in np.arange(0.0, 0.999, width):
            inside = (probability[:, k] >= low) & (probability[:, k] < low + width)
            if inside.sum() >= 200:
                mean = probability[inside, k].mean()
                error = math.sqrt(mean * (1 - mean) / inside.sum())
                faults.append(abs((true[inside] == k).mean() - mean) - 4.5 * error)
    assert len(faults) > 5
    return max(faults)


@pytest.mark.parametrize("device", ["silicon", "clusters", "charge", "mid", "preshower"])
def test_each_device(drawn, device):
    assert largest_fault(*drawn, [device]) < 0


def test_all_devices(drawn):
    """The default is all that the detector has; tracks that some did not measure are in it."""
    batch, true = drawn
    assert largest_fault(batch, true, None) < 0
    options = CombinedPid.Options(name="pid", kind="pid", level="parametric", priors=PRIORS)
    made = CombinedPid.from_options(options, FOUND).apply(batch, Streams(1))
    n, probability = column_of(made, "pid_n_devices"), column_of(made, "pid_probability")
    assert sorted(set(n.tolist())) == [2, 3, 4, 5]
    kaons = (probability[:, NAMES.index("ka")] > 0.7) & (probability[:, NAMES.index("ka")] < 0.8)
    share = (true[kaons] == NAMES.index("ka")).mean()
    assert share == pytest.approx(0.75, abs=4.5 * math.sqrt(0.19 / kaons.sum()) + 0.01)  # P is not uniform in the bin


@pytest.mark.parametrize("device", ["silicon", "charge"])
def test_what_tables_expect_of_single_hits(detailed, device):
    """Drawn hit by hit and row by row, probabilities are right to 0.01."""
    assert largest_fault(*detailed, [device]) < 0.01


def test_more_devices_are_better(drawn):
    """The mean of ln P of the true species rises with each device."""
    batch, true = drawn
    means = []
    for devices in (
        ["mid"],
        ["mid", "silicon"],
        ["mid", "silicon", "charge"],
        ["mid", "silicon", "charge", "preshower"],
    ):
        options = CombinedPid.Options(name="pid", kind="pid", level="parametric", priors=PRIORS, devices=devices)
        probability = column_of(CombinedPid.from_options(options, FOUND).apply(batch, Streams(1)), "pid_probability")
        means.append(np.log(probability[np.arange(N), true]).mean())
    assert (np.diff(means) > 0.005).all()
