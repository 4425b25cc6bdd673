"""Energy loss in silicon and clusters in gas: closed forms of the PDG, scipy's Landau, resolutions, n-sigma that are normal.

Pulls: with n tracks the mean is within 4.5 / sqrt(n) and the width within 4.5 / sqrt(2 n); to this the tables add 0.02 each: they
are made of 40,000 tracks and interpolated. At level "parametric" the tables are also what is drawn from: there pulls are normal.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from fastsim.devices.dedx import EnergyLoss
from fastsim.devices.straggling import _LOGITS, shells, vavilov_density, vavilov_quantiles
from fastsim.kernels.energy_deposit import LANDAU_MODE, SILICON_DENSITY, offset_1, xi_per_cm_1
from fastsim.kernels.energy_loss import density_effect_1, largest_transfer_1, stopping_power_1
from fastsim.rng import Streams
from fastsim.species import NAMES, by_name
from tests.dedx_tracks import CHAMBER, LAYERS, batch_of, column_of, detector, names_of

LANDAU = stats.landau(loc=math.log(math.pi / 2), scale=math.pi / 2)  # scipy's, in the variable of Landau's own density
TABLE = 0.02
N = 20_000


def module_of(device, more="", level="detailed", **options):
    found = detector(f"[[dedx]]\n{device}", more=more)
    return EnergyLoss.from_options(EnergyLoss.Options(name="dedx", kind="dedx", level=level, **options), found)


@pytest.fixture(scope="module")
def silicon():
    return module_of(f'name = "its"\nlayers = {names_of()}\nthickness_um = 100.0')


@pytest.fixture(scope="module")
def parametric():
    return module_of(f'name = "its"\nlayers = {names_of()}\nthickness_um = 100.0', level="parametric")


def test_landaus_density_by_its_integral():
    """scipy's parameters as used here are those of phi = 1/pi int exp(-u ln u - lambda u) sin(pi u) du (PDG, Landau 1944)."""
    for x in (-2.0, LANDAU_MODE, 1.0, 10.0):
        integral, _ = integrate.quad(
            lambda u, x=x: math.exp(-u * math.log(u) - x * u) * math.sin(math.pi * u), 1e-300, 40, limit=400
        )
        assert LANDAU.pdf(x) == pytest.approx(integral / math.pi, rel=1e-6)


def test_vavilov_tends_to_landau():
    """For kappa = 1e-7: density to 2e-4 of the peak, quantiles from 1e-4 to 0.999 to 1 %."""
    grid, density = vavilov_density(1e-7, 0.9, 0.0)
    near = (grid > -4.0) & (grid < 300.0)
    np.testing.assert_allclose(density[near], LANDAU.pdf(grid[near]), atol=2e-4 * 0.18)
    quantiles = vavilov_quantiles(1e-7, 0.9, 0.0)
    inside = np.abs(_LOGITS) < 6.9
    expected = LANDAU.ppf(1 / (1 + np.exp(-_LOGITS[inside])))
    np.testing.assert_allclose(quantiles[inside], expected, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("kappa", [0.01, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("beta2", [0.1, 0.9])
def test_vavilovs_moments(kappa, beta2):
    """Mean, variance and third moment are those of the collisions: (1 - b2/2) / kappa and (1/2 - b2/3) / kappa^2."""
    grid, density = vavilov_density(kappa, beta2, 0.3)
    weight = density / density.sum()
    mean = weight @ grid
    assert mean == pytest.approx(-(1 - np.euler_gamma) - beta2 - math.log(kappa), abs=2e-3)
    assert weight @ (grid - mean) ** 2 == pytest.approx((1 - beta2 / 2) / kappa + 0.09, rel=0.01)
    assert weight @ (grid - mean) ** 3 == pytest.approx(
        (0.5 - beta2 / 3) / kappa**2, rel=0.02, abs=2e-3 * (0.09 + 1 / kappa) ** 1.5
    )


@pytest.mark.parametrize("kappa", [1e-4, 0.003, 0.0051, 0.02, 2.0])
def test_the_tail_ends_at_the_kinematic_limit(kappa):
    """The mean over the quantiles is Bethe's, the tail beyond the grid included (that beyond 1e-7 is not: 1e-7 / kappa)."""
    quantiles = vavilov_quantiles(kappa, 0.8, 0.5)
    logits = np.linspace(-16, 16, 200_001)
    probability = 1 / (1 + np.exp(-logits))
    mean = np.trapezoid(np.interp(logits, _LOGITS, quantiles) * probability * (1 - probability), logits)
    assert mean == pytest.approx(-(1 - np.euler_gamma) - 0.8 - math.log(kappa), abs=0.05)
    assert quantiles[-1] < 2.1 / kappa + 20.0  # two hard collisions
    assert (np.diff(quantiles) >= 0).all()


@pytest.mark.parametrize(
    ("bg", "thickness_um", "mpv", "fwhm"), [(9.464, 300, 78.8, 21.7), (3.5, 300, 78.5, 23.2), (3.5, 100, 24.1, 7.75)]
)
def test_most_probable_loss_of_the_pdg(bg, thickness_um, mpv, fwhm):
    """PDG 34.12 by hand (1 GeV/c muons have beta gamma = 9.464), FWHM = 4.02 xi; peak and width of the density agree to 1 %."""
    x = thickness_um * 1e-4
    beta2 = bg * bg / (1 + bg * bg)
    xi = 0.307075e3 / 2 * 0.49848 * 2.329 * x / beta2  # keV
    u = math.log10(bg)
    delta = 2 * math.log(10) * u - 4.4351 + 0.14921 * (2.8715 - u) ** 3.2546
    by_hand = xi * (math.log(2 * 510.99895 * bg * bg / 0.173) + math.log(xi / 0.173) + 0.2 - beta2 - delta)
    assert by_hand == pytest.approx(mpv, rel=0.003)
    assert 4.02 * xi == pytest.approx(fwhm, rel=0.003)
    grid, density = vavilov_density(xi * 1e-6 / largest_transfer_1(bg, 0.1057), beta2, 1e-9)
    peak = density.argmax()
    half = density[peak] / 2
    low, high = np.interp(half, density[:peak], grid[:peak]), np.interp(-half, -density[peak:], grid[peak:])
    scale = xi_per_cm_1(bg) * x * 1e6
    assert scale * (offset_1(bg) + math.log(x) + grid[peak]) == pytest.approx(by_hand, rel=0.01)
    assert scale * (high - low) == pytest.approx(4.02 * xi, rel=0.01)


def test_the_mean_is_bethes():
    """Mean of Vavilov's lambda in energy = the stopping power of `kernels.energy_loss`, to rounding."""
    for bg in (0.3, 1.0, 4.0, 50.0):
        xi = xi_per_cm_1(bg) * 0.03
        beta2 = bg * bg / (1 + bg * bg)
        mean = -(1 - np.euler_gamma) - beta2 - math.log(xi / largest_transfer_1(bg, 0.938))
        loss = xi * (offset_1(bg) + math.log(0.03) + mean)
        assert loss == pytest.approx(stopping_power_1(bg * 0.938, 0.938, 1.0) * SILICON_DENSITY * 0.03, rel=1e-9)


# H. Bichsel's own program, for muons of 1 GeV: github.com/bnachman/Bichsel (854471a9), plot_untouched/results,
# foldspec_muon_1000mev_20micron.dat and so on.
# Peak, full width at half maximum, and where the integral is 0.1, 0.3, 0.5, 0.7; keV, read off to half a per cent.
BICHSEL = {
    20: (3.97, 3.00, 3.14, 4.00, 4.83, 6.07),
    35: (7.52, 4.97, 6.20, 7.58, 8.93, 10.84),
    300: (79.7, 28.1, 71.9, 80.1, 88.1, 100.3),
}


@pytest.mark.parametrize("thickness_um", BICHSEL)
def test_thin_silicon(thickness_um):
    """Bichsel's losses in thin silicon: the middle to 2 %, the lowest tenth and the peak to 5 %, its width to 6 % from 35 um on.

    In 20 um the one line that stands for the L shell makes a shoulder, and the width at half height is not smooth.
    """
    bg, x = 9.46, thickness_um * 1e-4
    xi = xi_per_cm_1(bg) * x
    grid, density = vavilov_density(xi / largest_transfer_1(bg, 0.1057), 0.989, 1e-9, shells(bg, xi))
    smooth = np.convolve(density, np.full(5, 0.2), "same")  # plasmons are lines
    peak = smooth.argmax()
    half = smooth[peak] / 2
    low, high = np.interp(half, smooth[:peak], grid[:peak]), np.interp(-half, -smooth[peak:], grid[peak:])
    quantiles = np.interp([0.1, 0.3, 0.5, 0.7], np.cumsum(density) / density.sum(), grid)
    found = xi * 1e6 * (offset_1(bg) + math.log(x) + np.array([grid[peak], *quantiles]))
    expected = BICHSEL[thickness_um]
    assert found[0] == pytest.approx(expected[0], rel=0.05)
    assert xi * 1e6 * (high - low) == pytest.approx(expected[1], rel=0.06 if thickness_um > 20 else 0.2)
    assert found[1] == pytest.approx(expected[2], rel=0.05)
    np.testing.assert_allclose(found[2:], expected[3:], rtol=0.02)


def test_shells_keep_the_mean():
    """The mean of ln I over the electrons is that of silicon, and so the mean loss is Bethe's with bound electrons, too."""
    bg, scale = 3.0, xi_per_cm_1(3.0) * 0.005
    found = shells(bg, scale)
    assert sum(shell.share for shell in found) == pytest.approx(1.0)
    assert sum(s.share * math.log(s.energy * scale) for s in found) == pytest.approx(math.log(173e-9))
    beta2 = 0.9
    whole = math.log(2 * 0.51099895e-3 * 9.0 / 173e-9) - beta2 - density_effect_1(bg)
    assert sum(s.share * s.strength for s in found) == pytest.approx(whole)
    grid, density = vavilov_density(0.05, beta2, 0.1, found)
    weight = density / density.sum()
    assert weight @ grid == pytest.approx(-(1 - np.euler_gamma) - beta2 - math.log(0.05), abs=2e-3)
    more = sum(s.share * (s.strength - 1) * s.energy for s in found)  # resonances at I instead of free collisions below
    assert weight @ (grid - weight @ grid) ** 2 == pytest.approx((1 - beta2 / 2) / 0.05 + more + 0.01, rel=0.01)


PULLS = [
    ("el", 0.5),
    ("mu", 0.3),
    ("pi", 0.25),
    ("pi", 1.0),
    ("pi", 8.0),
    ("ka", 0.35),
    ("ka", 2.0),
    ("pr", 0.4),
    ("pr", 1.0),
]
PULLS += [("de", 1.0), ("tr", 2.0), ("he3", 1.2), ("he3", 4.0), ("al", 3.0)]


@pytest.mark.parametrize(("species", "p"), PULLS)
@pytest.mark.parametrize("eta", [0.0, 1.2])
def test_n_sigma_of_the_true_species(silicon, species, p, eta):
    """Mean 0 and width 1 from beta gamma 0.4 on, for charge 1 and 2 (p is that of the particle, p/z bends it)."""
    p = p * by_name(species).charge
    made = silicon.apply(batch_of(species, np.full(N, p), eta=eta, phi=np.linspace(-3, 3, N)), Streams(11))
    z = column_of(made, "its_n_sigma")[:, NAMES.index(species)]
    assert abs(z.mean()) < 4.5 / math.sqrt(N) + TABLE
    assert abs(z.std() - 1) < 4.5 / math.sqrt(2 * N) + TABLE
    assert stats.kstest(z, "norm").statistic < 1.63 / math.sqrt(N) + TABLE / math.sqrt(
        2 * math.pi
    )  # 1 % level, a shifted mean


@pytest.mark.parametrize(("species", "p"), PULLS)
def test_both_levels_are_one_distribution(silicon, parametric, species, p):
    """Quantiles of the truncated mean from 2 to 98 %, in units of its width; n-sigma of the parametric level is normal."""
    p = p * by_name(species).charge
    batch = batch_of(species, np.full(N, p), eta=0.7, phi=np.linspace(-3, 3, N))
    made = [module.apply(batch, Streams(seed)) for seed, module in enumerate((silicon, parametric))]
    probability = np.array([0.02, 0.1, 0.1587, 0.5, 0.8413, 0.9, 0.98])
    detailed, drawn = (np.quantile(np.log(column_of(m, "its_dedx")), probability) for m in made)
    density = stats.norm.pdf(stats.norm.ppf(probability))
    error = np.sqrt(2 * probability * (1 - probability) / N) / density
    assert (np.abs(drawn - detailed) / (0.5 * (detailed[4] - detailed[2])) < 4.5 * error + 2 * TABLE).all()
    z = column_of(made[1], "its_n_sigma")[:, NAMES.index(species)]
    assert abs(z.mean()) < 4.5 / math.sqrt(N)
    assert abs(z.std() - 1) < 4.5 / math.sqrt(2 * N)
    assert stats.kstest(z, "norm").pvalue > 1e-4


@pytest.mark.parametrize("eta", [1.5, 2.0, 3.0])
def test_n_sigma_with_thick_and_thin_crossings(eta):
    """Forward tracks cross barrel layers at a slant of up to 10 and disks at 1: mean within 0.1, width within 5 %."""
    numbers = "r_min = 1.0, r_max = 60.0, x_over_x0 = 0.01, sigma_rphi_um = 5.0, sigma_r_um = 5.0, efficiency = 1.0"
    disks = ", ".join(f'{{ name = "D{k}", z = {70.0 + 20 * k}, {numbers} }}' for k in range(8))
    names = names_of()[:-1] + "".join(f', "D{k}"' for k in range(8)) + "]"
    device = f'[[dedx]]\nname = "its"\nlayers = {names}\nthickness_um = 50.0'
    found = detector(device, more=f"disks = [{disks}]", half_length=60.0)
    module = EnergyLoss.from_options(EnergyLoss.Options(name="dedx", kind="dedx", level="detailed"), found)
    made = module.apply(batch_of("pi", np.full(N, 3.0), eta=eta, phi=np.linspace(-3, 3, N)), Streams(12))
    z = column_of(made, "its_n_sigma")[:, NAMES.index("pi")]
    assert column_of(made, "its_n_hits").min() >= 6
    assert abs(z.mean()) < 0.1
    assert abs(z.std() - 1) < 0.05


@pytest.mark.parametrize("truncation", [0.4, 0.6, "steps"])
@pytest.mark.parametrize("n_layers", [1, 2, 3, 5, 8])
def test_n_sigma_with_few_hits(truncation, n_layers):
    made = module_of(
        f'name = "its"\nlayers = {names_of(LAYERS[:n_layers])}\nthickness_um = 50.0', truncation=truncation
    ).apply(batch_of("pi", np.full(N, 0.7)), Streams(3))
    z = column_of(made, "its_n_sigma")[:, NAMES.index("pi")]
    core = np.abs(z) < 2.5  # beyond, tables go straight on
    assert abs(z[core].mean()) < 4.5 / math.sqrt(N) + TABLE
    width = math.sqrt(stats.truncnorm(-2.5, 2.5).var())
    assert z[core].std() == pytest.approx(width, abs=4.5 / math.sqrt(2 * N) + TABLE)


def test_momentum_resolution_is_in_the_width(silicon):
    """Protons of 0.5 GeV with 5 % of momentum resolution: the expected loss moves by 7 %, and n-sigma knows."""
    made = silicon.apply(batch_of("pr", np.full(N, 0.5), sigma_p=0.05), Streams(4))
    z = column_of(made, "its_n_sigma")[:, NAMES.index("pr")]
    assert abs(np.median(z)) < 0.05
    assert np.diff(np.quantile(z, [0.1587, 0.8413]))[0] / 2 == pytest.approx(1.0, abs=0.04)


def test_resolution_falls_with_the_hits():
    """Relative width of the truncated mean ~ n^-a, a between 0.43 (gas: Walenta et al., NIM 161 (1979) 45) and 0.5 (many hits).

    With few hits the largest one that is kept is still in Landau's tail, and the width falls faster: 0.59 from 4 to 8 hits.
    """
    widths = []
    radii = [20.0 + k for k in range(32)]
    for n in (8, 16, 32):
        found = detector(f'[[dedx]]\nname = "its"\nlayers = {names_of(radii[:n])}\nthickness_um = 300.0', layers=radii)
        options = EnergyLoss.Options(name="dedx", kind="dedx", level="detailed")
        made = EnergyLoss.from_options(options, found).apply(batch_of("pi", np.full(N, 2.0)), Streams(5))
        dedx = column_of(made, "its_dedx")
        widths.append(np.diff(np.quantile(dedx, [0.1587, 0.8413]))[0] / np.median(dedx))
    powers = -np.diff(np.log(widths)) / math.log(2)
    error = 4.5 * math.sqrt(2) / math.sqrt(N) / math.log(2)  # of the ratio of two widths
    assert (powers > 0.43).all()
    assert (powers < 0.5 + error).all()


def test_separation_follows_the_expected_losses(silicon):
    """Up to 3 sigma: the score of kaons as pions is that of their median among many pions; it vanishes near 1 GeV."""
    distances = {}
    for p in (0.35, 0.62, 0.68, 0.75, 1.2):
        kaons = silicon.apply(batch_of("ka", np.full(4000, p)), Streams(6))
        pions = column_of(silicon.apply(batch_of("pi", np.full(N, p)), Streams(7)), "its_dedx")
        median = np.median(column_of(kaons, "its_dedx"))
        distances[p] = np.median(column_of(kaons, "its_n_sigma")[:, NAMES.index("pi")])
        above = np.mean(pions > median)
        if p > 0.62:
            error = 4.5 * math.sqrt(above * (1 - above) / N) / stats.norm.pdf(stats.norm.isf(above))
            assert distances[p] == pytest.approx(
                stats.norm.isf(above), abs=error + 2 * TABLE + 4.5 * 1.25 / math.sqrt(4000)
            )
    assert distances[0.35] > 5
    assert list(distances.values()) == sorted(distances.values(), reverse=True)


@pytest.mark.parametrize("n_layers", [4, 11])
def test_beyond_the_tables(n_layers):
    """Straight on in ln(dE/dx) is right: the score at the quantile of 3.7 sigma is 3.7 to 0.3, for 200,000 tracks."""
    module = module_of(f'name = "its"\nlayers = {names_of(LAYERS[:n_layers])}\nthickness_um = 100.0')
    made = module.apply(batch_of("pi", np.full(200_000, 1.0)), Streams(13))
    z = column_of(made, "its_n_sigma")[:, NAMES.index("pi")]
    for score in (-3.7, 3.7):
        n = 200_000 * stats.norm.sf(3.7)
        error = 4.5 * math.sqrt(n) / 200_000 / stats.norm.pdf(3.7)
        assert np.quantile(z, stats.norm.cdf(score)) == pytest.approx(score, abs=0.3 + error)


def test_clusters_in_helium():
    """Numbers, paths and n-sigma in a chamber of helium: rates of Delphes, arcs of circles, normal for all species."""
    module = module_of(
        'name = "dch"\ndrift_volumes = ["DCH"]\ngas = "he90_isobutane10"\ncounting_efficiency = 0.8', CHAMBER
    )
    for species, p in (("el", 1.0), ("pi", 0.5), ("pi", 10.0), ("ka", 1.0), ("pr", 0.8), ("he3", 6.0)):
        made = module.apply(batch_of(species, np.full(N, p), eta=0.3, sigma_p=0.003), Streams(8))
        z = column_of(made, "dch_n_sigma")[:, NAMES.index(species)]
        assert abs(z.mean()) < 4.5 / math.sqrt(N)
        assert abs(z.std() - 1) < 4.5 / math.sqrt(2 * N)
    made = module.apply(
        batch_of("mu", np.full(N, 10 * by_name("mu").mass)), Streams(9)
    )  # beta gamma = 10: 13.03 per cm
    path = column_of(made, "dch_path_length")
    radius = 10 * by_name("mu").mass / (0.299792458e-2 * 2.0)
    expected = 2 * radius * (math.asin(199.5 / 2 / radius) - math.asin(99.5 / 2 / radius))
    np.testing.assert_allclose(path, expected, rtol=1e-9)
    clusters = column_of(made, "dch_n_clusters")
    assert clusters.mean() == pytest.approx(0.8 * 13.03 * expected, abs=4.5 * math.sqrt(0.8 * 13.03 * expected / N))
