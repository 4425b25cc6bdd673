"""Charges of a TPC's rows: brute force, Allison and Cobb's resolution, ALICE's measured dE/dx against beta gamma and charge."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fastsim.devices.dedx import EnergyLoss
from fastsim.devices.gas import SPECTRA, aleph_1, gas_rate
from fastsim.devices.gas_charge import charge_quantiles, electrons_in_cluster, make_row_charge
from fastsim.kernels.gas_volumes import rate_1
from fastsim.kernels.row_charge import expected_1
from fastsim.rng import Streams
from fastsim.species import NAMES, by_name
from tests.dedx_tracks import batch_of, column_of, detector

GAS = "ne90_co2_10_n2_5"
NEON = SPECTRA[GAS]
TABLE = make_row_charge(GAS, 0.6)
ALICE = """drift_volumes = [
  { name = "A", r_first = 85.2, pitch = 0.75, n_layers = 63, half_length = 250.0, NUMBERS },
  { name = "B", r_first = 135.1, pitch = 1.0, n_layers = 64, half_length = 250.0, NUMBERS },
  { name = "C", r_first = 199.2, pitch = 1.5, n_layers = 32, half_length = 250.0, NUMBERS },
]""".replace("NUMBERS", "x_over_x0 = 3.6e-5, sigma_rphi_um = 1000.0, sigma_z_um = 1000.0, efficiency = EFFICIENCY")
N = 20_000


def module_of(level, more="", efficiency=1.0):
    device = f'[[dedx]]\nname = "tpc"\ndrift_volumes = ["A", "B", "C"]\ngas = "{GAS}"\nmeasures = "charge"\n{more}'
    found = detector(
        device, layers=[2.0, 3.0], more=ALICE.replace("EFFICIENCY", str(efficiency)), b_z=0.5, half_length=250.0
    )
    return EnergyLoss.from_options(EnergyLoss.Options(name="dedx", kind="dedx", level=level), found)


@pytest.fixture(scope="module")
def levels():
    return {level: module_of(level) for level in ("parametric", "detailed")}


def charges_by_brute_force(mu, n, rng):
    """Charges of n rows: clusters, energies by the inverse of their law, electrons, and the gain of each."""
    clusters = rng.poisson(mu, n)
    u = rng.random(clusters.sum())
    low, high = NEON.lowest ** (1 - NEON.power), NEON.highest ** (1 - NEON.power)
    energy = (low + u * (high - low)) ** (1 / (1 - NEON.power))
    electrons = 1 + np.floor((energy - NEON.lowest) / NEON.per_electron)
    shape = electrons / NEON.gain**2
    charge = rng.gamma(shape, NEON.gain**2)
    return np.bincount(np.repeat(np.arange(n), clusters), charge, n)


def test_electrons_in_a_cluster():
    """Seven of ten clusters are a single electron; in all some 34 electrons per cm, as is usual for neon mixtures."""
    shares = electrons_in_cluster(NEON)
    assert shares.sum() == pytest.approx(1.0)
    first = 1 - ((NEON.lowest + NEON.per_electron) / NEON.lowest) ** -1.2
    assert shares[0] == pytest.approx(first / (1 - (NEON.highest / NEON.lowest) ** -1.2))
    assert NEON.clusters * (shares @ np.arange(1, len(shares) + 1)) == pytest.approx(34.4, abs=0.1)


@pytest.mark.parametrize("mu", [3.0, 14.0, 80.0])
def test_charges_of_a_row(mu):
    """Probabilities of 40,000 rows by brute force are uniform: Kolmogorov's test at 1e-4."""
    drawn = charges_by_brute_force(mu, 40_000, np.random.default_rng(1))
    logits = np.linspace(-16, 16, 400)
    probability = 1 / (1 + np.exp(-logits))
    found = np.interp(drawn[drawn > 0], charge_quantiles(mu, NEON, probability), probability)
    assert np.mean(drawn == 0) == pytest.approx(math.exp(-mu), abs=4.5 * math.sqrt(math.exp(-mu) / 40_000) + 1e-4)
    nothing = math.exp(-mu)
    assert stats.kstest((found - nothing) / (1 - nothing), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("n", [30, 160])
def test_truncated_mean_of_many_rows(n):
    """Mean and width of 4000 truncated means by brute force; with 30 rows the mean is 1.5 % above that of many."""
    rng, mu = np.random.default_rng(2), 14.0
    rows = np.sort(charges_by_brute_force(mu, 4000 * n, rng).reshape(-1, n), axis=1)
    means = rows[:, : round(0.6 * n)].mean(axis=1)
    log_mean, _, variance = expected_1(TABLE, math.log(mu), 1.0 / n)
    width = math.sqrt(variance / n)
    assert means.mean() == pytest.approx(mu * math.exp(log_mean), rel=4.5 * width / math.sqrt(4000) + 1e-3)
    assert means.std() / means.mean() == pytest.approx(width, rel=4.5 / math.sqrt(8000) + 0.02)
    assert expected_1(TABLE, math.log(mu), 1.0 / 30)[0] - expected_1(TABLE, math.log(mu), 0.0)[0] == pytest.approx(
        0.015, abs=0.003
    )


@pytest.mark.parametrize("n", [60, 100, 160])
@pytest.mark.parametrize("length", [0.75, 1.0, 1.5])
def test_allison_and_cobb(n, length):
    """Relative width 0.41 n^-0.43 (length x pressure)^-0.32 to 16 %, for 160 rows of 1 cm to 3 % (cm, atm).

    W. W. M. Allison and J. H. Cobb, Ann. Rev. Nucl. Part. Sci. 30 (1980) 253; A. H. Walenta et al., NIM 161 (1979) 45. It is a
    fit to measurements in many gases; ours falls faster with n, as independent rows do, and with the length.
    """
    _, _, variance = expected_1(TABLE, math.log(NEON.clusters * length), 1.0 / n)
    formula = 0.41 * n**-0.43 * length**-0.32
    assert math.sqrt(variance / n) == pytest.approx(formula, rel=0.03 if (n, length) == (160, 1.0) else 0.16)


def test_what_alice_measures():
    """ALICE's parametrisation of the TPC signal, from beta gamma 0.2 to 10,000 to 4 %, and its rise with z^2.3 to 6 %.

    Ours comes from clusters and their electrons; ALICE's is a fit of ALEPH's formula to measured truncated means (AliceO2
    DataFormats/Detectors/TPC/include/DataFormatsTPC/PIDResponse.h). Both are 1 at 3.5.
    """
    rate = gas_rate(GAS)

    def signal(bg, z=1):
        log_rate = math.log(rate_1(rate, math.log(bg))[0] * z * z)
        return math.exp(log_rate + expected_1(TABLE, log_rate, 0.0)[0])

    def alice(bg):
        return float(aleph_1(np.array(bg), (0.19310481, 4.26696118, 0.00522579, 2.38124907, 0.98055396)))

    for bg in (0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 10_000.0):
        assert signal(bg) / signal(3.5) == pytest.approx(alice(bg) / alice(3.5), rel=0.04)
    for bg in (0.5, 1.0, 3.5):
        assert signal(bg, 2) / signal(bg) == pytest.approx(2**2.3, rel=0.06)


PULLS = [("pi", 0.5, 0.0), ("pi", 3.0, 0.8), ("ka", 0.4, 0.3), ("pr", 0.7, 0.5), ("el", 1.0, 0.0), ("he3", 1.5, 0.3)]
PULLS += [("pi", 1.0, 1.2), ("pi", 1.0, 1.35)]  # out of the end: 93 and 63 rows


@pytest.mark.parametrize(("species", "p", "eta"), PULLS)
def test_n_sigma_of_the_true_species(levels, species, p, eta):
    """Normal at level parametric; in detail, row by row, mean within 0.1, width within 2 % and normal to as much."""
    batch = batch_of(species, np.full(N, p * by_name(species).charge), eta=eta, phi=np.linspace(-3, 3, N))
    mine = NAMES.index(species)
    made = {level: module.apply(batch, Streams(3)) for level, module in levels.items()}
    z = {level: column_of(m, "tpc_n_sigma")[:, mine] for level, m in made.items()}
    assert abs(z["parametric"].mean()) < 4.5 / math.sqrt(N)
    assert abs(z["parametric"].std() - 1) < 4.5 / math.sqrt(2 * N)
    assert stats.kstest(z["parametric"], "norm").pvalue > 1e-4
    assert abs(z["detailed"].mean()) < 4.5 / math.sqrt(N) + 0.1
    assert abs(z["detailed"].std() - 1) < 4.5 / math.sqrt(2 * N) + 0.02
    assert stats.kstest(z["detailed"] - z["detailed"].mean(), "norm").statistic < 1.63 / math.sqrt(N) + 0.01
    np.testing.assert_array_equal(
        column_of(made["parametric"], "tpc_n_hits"), column_of(made["detailed"], "tpc_n_hits")
    )


def test_rows_that_are_not_efficient():
    """With 90 % the numbers of rows have the mean and width of the binomial law at both levels, and the pulls stay."""
    for level in ("parametric", "detailed"):
        made = module_of(level, efficiency=0.9).apply(batch_of("pi", np.full(N, 1.0)), Streams(5))
        rows, z = column_of(made, "tpc_n_hits"), column_of(made, "tpc_n_sigma")[:, NAMES.index("pi")]
        assert rows.mean() == pytest.approx(0.9 * 159, abs=4.5 * math.sqrt(0.09 * 159 / N))
        assert rows.std() == pytest.approx(math.sqrt(0.09 * 159 + 3 / 12), rel=4.5 / math.sqrt(2 * N) + 0.01)
        assert abs(z.mean()) < 0.05
        assert abs(z.std() - 1) < 0.04


def test_resolution_of_alice():
    """5.5 % for isolated tracks, 6.5 % where dN/deta is 1600: published 5.2 to 5.5 % in pp, 6.5 % in central Pb-Pb."""
    module = module_of("detailed", more="constant = 0.025\ncrowding = 0.00087")
    for multiplicity, expected in ((0.0, 0.055), (1600.0, 0.065)):
        batch = batch_of("pi", np.full(N, 0.5))
        dnch = next(c for c in module.needs if c.name == "dnch_deta")
        batch = batch.with_columns({dnch: np.full(batch.n_events, multiplicity)})
        dedx = column_of(module.apply(batch, Streams(6)), "tpc_dedx")
        assert dedx.std() / dedx.mean() == pytest.approx(expected, abs=0.001 + 4.5 * expected / math.sqrt(2 * N))


def test_too_few_rows():
    """Tracks that turn back in the first rows, or leave by the end in front of them, are not measured."""
    module = module_of("parametric")
    made = module.apply(batch_of("pi", [0.065, 0.072, 1.0], eta=[0.0, 0.0, 1.75]), Streams(1))
    assert column_of(made, "tpc_n_hits").tolist() == [0, 0, 0]
    assert np.isnan(column_of(made, "tpc_dedx")).all()
    assert np.isnan(column_of(made, "tpc_log_likelihood")).all()
    assert not column_of(made, "tpc_is_measured").any()
