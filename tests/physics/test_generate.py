"""Spectra of the gun against scipy, and what pile-up and heavy ions must keep."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from fastsim import columns as c
from fastsim.generate.pile_up import PileUp, overlay
from fastsim.generate.pythia import Pythia, generate, ready
from fastsim.rng import Streams
from fastsim.source import Limits, Range
from fastsim.tracking.primaries import Primaries
from tests.generated import assert_equal, shoot

N_EVENTS = 500
KAON = 0.493677
TABLE = "[[particles]]\npdg = [{pdg}]\nn = 40\n{momentum}\n{direction}\n"
FLAT = "eta = { min = -2, max = 2 }"


def quantities(folder, momentum, direction=FLAT, pdg=321):
    """Kinematics of 20,000 particles, from their momenta alone."""
    text = TABLE.format(pdg=pdg, momentum=momentum, direction=direction)
    (batch,) = shoot(folder, text, N_EVENTS, limits=Limits(N_EVENTS, 10**9))
    px, py, pz, energy = (batch[column] for column in (*c.MOMENTUM, c.ENERGY))
    pt, p = np.hypot(px, py), np.sqrt(px**2 + py**2 + pz**2)
    return {
        "pt": pt,
        "p": p,
        "energy": energy,
        "eta": np.arctanh(pz / p),
        "rapidity": np.arctanh(pz / energy),
        "theta": np.arctan2(pt, pz),
        "cos_theta": pz / p,
        "phi": np.arctan2(py, px),
    }


def thermal(slope, low, high):
    """Distribution function of dN/dpt ~ pt exp(-mT / slope) for kaons, integrated numerically."""
    grid = np.linspace(low, high, 20_001)
    density = grid * np.exp(-np.hypot(grid, KAON) / slope)
    cdf = integrate.cumulative_simpson(density, x=grid, initial=0)
    return lambda pt: np.interp(pt, grid, cdf / cdf[-1])


def power(n, low, high):
    return lambda x: (1 - (x / low) ** (1 - n)) / (1 - (high / low) ** (1 - n))


SPECTRA = {
    "uniform": ("min = 0.1, max = 10", stats.uniform(0.1, 9.9).cdf),
    "log_uniform": ("min = 0.1, max = 10, shape = 'log_uniform'", stats.loguniform(0.1, 10).cdf),
    "exponential": (
        "min = 0.6, max = 5, shape = 'exponential', slope = 0.8",
        stats.truncexpon(b=5.5, loc=0.6, scale=0.8).cdf,
    ),
    "power": ("min = 1, max = 50, shape = 'power', power = 4.5", power(4.5, 1, 50)),
    "histogram": (
        "edges = [0.5, 1, 2, 8], contents = [5, 0, 3]",
        stats.rv_histogram((np.array([5.0, 0, 3]), np.array([0.5, 1, 2, 8])), density=False).cdf,
    ),
}


@pytest.mark.parametrize("name", ["pt", "p", "energy"])
@pytest.mark.parametrize("shape", SPECTRA)
def test_momentum_spectra(tmp_path, name, shape):
    keys, cdf = SPECTRA[shape]
    pdg = 321 if name != "energy" else 22  # the spectra start below the kaon's mass
    found = quantities(tmp_path, f"{name} = {{ {keys} }}", pdg=pdg)
    assert stats.kstest(found[name], cdf).pvalue > 1e-3
    assert stats.kstest(found["eta"], stats.uniform(-2, 4).cdf).pvalue > 1e-3
    assert stats.kstest(found["phi"], stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3
    for a, b in ((name, "eta"), (name, "phi"), ("eta", "phi")):  # drawn independently: rank correlation
        assert stats.spearmanr(found[a], found[b]).pvalue > 1e-3


def test_thermal_spectrum(tmp_path):
    found = quantities(tmp_path, "pt = { min = 0, max = 5, shape = 'thermal', slope = 0.3 }")
    assert stats.kstest(found["pt"], thermal(0.3, 0, 5)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("name", "momentum", "low", "high"),
    [
        ("eta", "pt", -4, 4),
        ("rapidity", "pt", -1, 3),
        ("theta", "p", 0.2, 2.8),
        ("theta", "pt", 0.2, 2.8),
        ("cos_theta", "p", -1, 1),
    ],
)
def test_directions(tmp_path, name, momentum, low, high):
    found = quantities(tmp_path, f"{momentum} = {{ values = [1.5] }}", f"{name} = {{ min = {low}, max = {high} }}")
    np.testing.assert_allclose(found[momentum], 1.5, rtol=1e-12)
    assert stats.kstest(found[name], stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_mixture_and_occupancy_follow_their_weights(tmp_path):
    text = "dnch_deta = { values = [10, 20], weights = [1, 3] }\n" + TABLE.format(
        pdg="211, -211, 2212", momentum="weights = [5, 3, 2]\npt = { values = [1] }", direction=FLAT
    )
    (batch,) = shoot(tmp_path, text, N_EVENTS, limits=Limits(N_EVENTS, 10**9))
    _, counts = np.unique(batch[c.PDG], return_counts=True)  # -211, 211, 2212
    assert stats.chisquare(counts, np.array([0.3, 0.5, 0.2]) * counts.sum()).pvalue > 1e-3
    _, counts = np.unique(batch[c.DNCH_DETA_GIVEN], return_counts=True)
    assert stats.chisquare(counts, np.array([0.25, 0.75]) * N_EVENTS).pvalue > 1e-3


@pytest.mark.parametrize("mean", [0.5, 12, 200])
def test_poisson_numbers_of_particles(tmp_path, mean):
    text = f"[[particles]]\npdg = [211]\nn_mean = {mean}\npt = {{ values = [1] }}\n{FLAT}\n"
    (batch,) = shoot(tmp_path, text, N_EVENTS, limits=Limits(N_EVENTS, 10**9))
    n = np.diff(batch.offsets["particle"])
    assert abs(n.mean() - mean) < 4 * np.sqrt(mean / N_EVENTS)
    assert abs(n.var() - mean) < 4 * np.sqrt((mean + 2 * mean**2) / N_EVENTS)  # fourth central moment mu + 3 mu^2


def test_pile_up_keeps_primaries_and_occupancy(tmp_path):
    """What is primary in a minimum-bias event is so in pile-up, and charged densities add up."""
    pytest.importorskip("pythia8mc")
    path = tmp_path / "soft.cmnd"
    path.write_text("Main:numberOfEvents = 10\nBeams:eCM = 13000.\nSoftQCD:nonDiffractive = on\n")
    (block,) = Pythia(str(path), Streams(1)).blocks(0, Range(), Limits(10, 10**7))
    soft = block.read().batch
    hard = soft.slice_events(0, 4)
    merged = overlay(hard, soft, PileUp(file="x", mean=5, sigma_z=5.0), Streams(1))
    alone = Primaries(1.0).apply(soft, Streams(1)).columns
    together = Primaries(1.0).apply(merged, Streams(1)).columns
    assert merged.n_rows("particle") > 3 * hard.n_rows("particle")
    whole = {  # an event is told by the momenta of its particles
        soft[c.MOMENTUM[0]][a:b].tobytes(): i
        for i, (a, b) in enumerate(zip(soft.offsets["particle"][:-1], soft.offsets["particle"][1:], strict=True))
    }
    event = merged.event_index("particle")
    for i in range(4):
        density = 0.0
        for number in range(merged[c.COLLISION][event == i].max() + 1):
            rows = np.flatnonzero((event == i) & (merged[c.COLLISION] == number))
            source = whole[merged[c.MOMENTUM[0]][rows].tobytes()]
            a, b = soft.offsets["particle"][source : source + 2]
            for column in (c.IS_PRIMARY, c.FROM_LONG_LIVED):
                np.testing.assert_array_equal(together[column][rows], alone[column][a:b])
            density += alone[c.DNCH_DETA][source]
        assert together[c.DNCH_DETA][i] == pytest.approx(density)


@pytest.mark.slow
def test_a_heavy_ion_event_does_not_depend_on_those_before(tmp_path):
    """Angantyr draws from several generators; all are seeded anew, and begin anew with each chunk."""
    pytest.importorskip("pythia8mc")
    path = tmp_path / "ions.cmnd"
    path.write_text("Beams:idA = 1000080160\nBeams:idB = 1000080160\nBeams:eCM = 5360.\nHeavyIon:SigFitNGen = 0\n")
    source = Pythia(str(path), Streams(1))
    (block,) = source.blocks(0, Range(0, 20), Limits(1, 10**7))
    whole = block.read().batch
    (late,) = source.blocks(0, Range(17, 20), Limits(1, 10**7))
    assert_equal([late.read().batch], [whole.slice_events(17, 20)])
    pythia = ready(source._commands)
    generate(pythia, 1, 0)
    info = pythia.heavyIonsPtr.hiInfo
    assert whole[c.IMPACT_PARAMETER][0] == info.b() > 0
    values = [info.nCollND(), info.nAbsProj() + info.nDiffProj(), info.nAbsTarg() + info.nDiffTarg(), info.nCollTot()]
    assert [whole[column][0] for column in c.HEAVY_ION[:4]] == values
    assert np.isnan(whole[c.CROSS_SECTION[0]]).all()
