"""Energy loss in silicon and clusters in gas: closed forms of the PDG, scipy's Landau, resolutions, n-sigma that are normal.

Pulls: with n tracks the mean is within 4.5 / sqrt(n) and the width within 4.5 / sqrt(2 n); to this the tables add 0.02 each: they
are made of 40,000 tracks and interpolated.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from fastsim.devices.dedx import EnergyLoss
from fastsim.devices.straggling import _LOGITS, shell_variance, vavilov_density, vavilov_quantiles
from fastsim.kernels.energy_deposit import LANDAU_MODE, SILICON_DENSITY, offset_1, xi_per_cm_1
from fastsim.kernels.energy_loss import largest_transfer_1, stopping_power_1
from fastsim.rng import Streams
from fastsim.species import NAMES, by_name
from tests.dedx_tracks import CHAMBER, LAYERS, batch_of, column_of, detector, names_of

LANDAU = stats.landau(loc=math.log(math.pi / 2), scale=math.pi / 2)  # scipy's, in the variable of Landau's own density
TABLE = 0.02
N = 20_000


def module_of(device, more="", **options):
    found = detector(f"[[dedx]]\n{device}", more=more)
    return EnergyLoss.from_options(EnergyLoss.Options(name="dedx", kind="dedx", level="parametric", **options), found)


@pytest.fixture(scope="module")
def silicon():
    return module_of(f'name = "its"\nlayers = {names_of()}\nthickness_um = 100.0')


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


@pytest.mark.parametrize(("thickness_um", "mpv", "fwhm"), [(50, 12.7, 7.4), (100, 26.5, 12.9), (300, 85.9, 30.2)])
def test_thin_silicon(thickness_um, mpv, fwhm):
    """With the shells' Gaussian, peak within 5 % and width within 12 % of Bichsel's for highly relativistic particles.

    H. Bichsel, Rev. Mod. Phys. 60 (1988) 663, fits in eV and um: peak t (190 + 16.3 ln t) below 110 um, t (195 + 16 ln t) above;
    width t (259.6 - 28.41 ln t) below 260 um, 71.3 t (1 + 39.4 t^-0.8) above. Landau's width alone is half of it at 50 um.
    """
    bg, x = 500.0, thickness_um * 1e-4
    xi = xi_per_cm_1(bg) * x
    grid, density = vavilov_density(1e-4, 1.0, math.sqrt(shell_variance(1.0) / xi))
    peak = density.argmax()
    half = density[peak] / 2
    low, high = np.interp(half, density[:peak], grid[:peak]), np.interp(-half, -density[peak:], grid[peak:])
    assert xi * 1e6 * (offset_1(bg) + math.log(x) + grid[peak]) == pytest.approx(mpv, rel=0.055)
    assert xi * 1e6 * (high - low) == pytest.approx(fwhm, rel=0.12)


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


@pytest.mark.parametrize("eta", [1.5, 2.0, 3.0])
def test_n_sigma_with_thick_and_thin_crossings(eta):
    """Forward tracks cross barrel layers at a slant of up to 10 and disks at 1: mean within 0.1, width within 5 %."""
    numbers = "r_min = 1.0, r_max = 60.0, x_over_x0 = 0.01, sigma_rphi_um = 5.0, sigma_r_um = 5.0, efficiency = 1.0"
    disks = ", ".join(f'{{ name = "D{k}", z = {70.0 + 20 * k}, {numbers} }}' for k in range(8))
    names = names_of()[:-1] + "".join(f', "D{k}"' for k in range(8)) + "]"
    device = f'[[dedx]]\nname = "its"\nlayers = {names}\nthickness_um = 50.0'
    found = detector(device, more=f"disks = [{disks}]", half_length=60.0)
    module = EnergyLoss.from_options(EnergyLoss.Options(name="dedx", kind="dedx", level="parametric"), found)
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
        options = EnergyLoss.Options(name="dedx", kind="dedx", level="parametric")
        made = EnergyLoss.from_options(options, found).apply(batch_of("pi", np.full(N, 2.0)), Streams(5))
        dedx = column_of(made, "its_dedx")
        widths.append(np.diff(np.quantile(dedx, [0.1587, 0.8413]))[0] / np.median(dedx))
    powers = -np.diff(np.log(widths)) / math.log(2)
    error = 4.5 * math.sqrt(2) / math.sqrt(N) / math.log(2)  # of the ratio of two widths
    assert (powers > 0.43).all()
    assert (powers < 0.5 + error).all()


def test_separation_follows_the_expected_losses(silicon):
    """n-sigma of the pion hypothesis for kaons = the distance of the peaks over the width, to 15 %; it vanishes near 1 GeV."""
    distances = {}
    for p in (0.35, 0.5, 0.7, 1.2):
        batch = batch_of("ka", np.full(4000, p))
        z = np.median(column_of(silicon.apply(batch, Streams(6)), "its_n_sigma")[:, NAMES.index("pi")])
        pions = column_of(silicon.apply(batch_of("pi", np.full(4000, p)), Streams(7)), "its_dedx")
        kaons = column_of(silicon.apply(batch, Streams(6)), "its_dedx")
        distances[p] = z
        upwards = np.quantile(pions, 0.977) - np.median(pions)  # two sigma on the side where the kaons are
        assert z == pytest.approx(2 * (np.median(kaons) - np.median(pions)) / upwards, rel=0.25, abs=0.3)
    assert distances[0.35] > 6
    assert distances[0.7] > distances[1.2]


def test_clusters_in_helium():
    """Numbers, paths and n-sigma in a chamber of helium: rates of Delphes, arcs of circles, normal for all species."""
    module = module_of(
        'name = "dch"\ndrift_volume = "DCH"\ngas = "he90_isobutane10"\ncounting_efficiency = 0.8', CHAMBER
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
