"""The table maker's fit against the closed forms of the literature (reference/tracking.md 1.1-1.3 and 3)."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from fastsim.kernels.conventions import CONVENTIONS, STRAGGLING
from tests.oracles import (
    ELECTRON_MASS,
    K_CURVATURE,
    PION_MASS,
    PROTON_MASS,
    add_disks,
    alice3_v2_layers,
    forward_disks,
    gluckstern,
    highland,
    linear_track,
    make_layers,
    make_rules,
    make_surfaces,
    merge_layers,
    momentum_behind,
    of_silicon,
    passive_layers,
    solve,
    straggling,
)

PDG, FAT, NO_LOG = (CONVENTIONS[name] for name in ("pdg_per_layer", "fat_per_layer", "no_log"))


@pytest.mark.parametrize("n_points", [3, 4, 5, 10, 20, 50])
@pytest.mark.parametrize("first_radius", [1.0, 30.0])
def test_gluckstern(n_points, first_radius):
    """R. L. Gluckstern, NIM 24 (1963) 381: N equidistant points over L = 100 cm, exact in N for L/2R << 1.

    pt = 1 TeV in 1 T: corrections are of order (r/2R)^2 = (130/667000)^2 = 4e-8. Where the first layer lies does not
    matter.
    """
    sigma, lever, pt, b_z = 20e-4, 100.0, 1000.0, 1.0
    layers = make_layers(np.linspace(first_radius, first_radius + lever, n_points), sigma=sigma)
    solution = solve(layers, make_rules(b_z), pt)
    assert solution.sigma["q_over_pt"] * pt == pytest.approx(gluckstern(n_points, sigma, lever, pt, b_z), rel=2e-7)


def test_gluckstern_of_three_points_is_the_sagitta():
    """N = 3: sagitta s = L^2/8R and sigma_s = sqrt(3/2) sigma give sigma(pt)/pt = pt/(kB) sigma/L^2 sqrt(96)."""
    solution = solve(make_layers([10.0, 60.0, 110.0], sigma=20e-4), make_rules(1.0), 1000.0)
    expected = 1000.0 / (K_CURVATURE * 1.0) * 20e-4 / 100.0**2 * math.sqrt(96.0)
    assert solution.sigma["q_over_pt"] * 1000.0 == pytest.approx(expected, rel=2e-7)


@pytest.mark.parametrize("n_points", [3, 5, 10, 20])
@pytest.mark.parametrize("pt", [1.0, 10.0])
def test_scattering_only(n_points, pt):
    """Perfect equidistant points that each scatter by theta0: N - 2 kinks measure pt independently.

    sigma(pt)/pt = pt/(kB) theta0 (N - 1)/(L sqrt(N - 2)) (reference/tracking.md 1.3). sigma = 10 nm; B = 0.01 T keeps
    (L/2R)^2 below 1e-6, so the layers are crossed perpendicularly.
    """
    lever, b_z, t = 100.0, 0.01, 0.01
    layers = make_layers(np.linspace(5.0, 5.0 + lever, n_points), t, sigma=1e-6)
    theta0 = highland(t, pt, PION_MASS)
    expected = pt / (K_CURVATURE * b_z) * theta0 * (n_points - 1) / (lever * math.sqrt(n_points - 2))
    assert solve(layers, make_rules(b_z), pt).sigma["q_over_pt"] * pt == pytest.approx(expected, rel=1e-5)


def curvature_from_far_away(r_scatterer):
    """Far, coarse layers behind a wall that hides the direction: they fix the curvature and nothing else.

    Wall: 1e4 radiation lengths (1.4 rad at 1 GeV). Layers at 1e4..1e5 cm, 1 cm resolution: sigma(c) is of order
    1e-9 / cm, that is 1e-8 cm at 4 cm radius; extrapolated to the wall they know the position to 1 cm.
    """
    return merge_layers(passive_layers([r_scatterer], [1e4]), make_layers(np.linspace(1e4, 1e5, 5), sigma=1.0))


@pytest.mark.parametrize("eta", [0.0, 0.7, -1.2])
@pytest.mark.parametrize("pt", [0.5, 5.0])
def test_pointing_of_two_layers_behind_a_beam_pipe(eta, pt):
    """sigma^2 = s^2 (r1^2 + r2^2)/(r2 - r1)^2 + theta1^2 r1^2 + thetab^2 rb^2 in both views (tracking.md 1.3).

    At an angle x -> x cosh(eta), p = pt cosh(eta), theta^2 -> theta^2 cosh^2(eta) across and cosh^4(eta) in z: the
    well-known b/(p sin^{3/2}) and b/(p sin^{5/2}). The field (1e-6 T) bends by nothing at these radii.
    """
    rb, r1, r2, sigma_rphi, sigma_z = 1.6, 1.8, 3.9, 3e-4, 5e-4
    pixels = make_layers([r1, r2], 0.003, sigma_rphi, sigma_z)
    layers = merge_layers(passive_layers([rb], [0.0014]), pixels, curvature_from_far_away(4.0))
    solution = solve(layers, make_rules(1e-6, NO_LOG, 5), pt, math.sinh(eta))
    p = pt * math.cosh(eta)
    theta_1 = highland(0.003 * math.cosh(eta), p, PION_MASS, use_log=False)
    theta_b = highland(0.0014 * math.cosh(eta), p, PION_MASS, use_log=False)
    lever = (r1**2 + r2**2) / (r2 - r1) ** 2
    kicks = theta_1**2 * r1**2 + theta_b**2 * rb**2
    assert solution.sigma["dca_xy"] == pytest.approx(
        math.sqrt(sigma_rphi**2 * lever + kicks * math.cosh(eta) ** 2), rel=1e-5
    )
    assert solution.sigma["dca_z"] == pytest.approx(
        math.sqrt(sigma_z**2 * lever + kicks * math.cosh(eta) ** 4), rel=1e-5
    )


@pytest.mark.parametrize("eta", [0.0, 0.7, 1.5, -1.5])
@pytest.mark.parametrize("charge", [1.0, -1.0])
def test_one_scatterer_in_front_of_a_perfect_tracker(eta, charge):
    """The exact probe of reference/tracking.md 1.3: a kick theta0 with |p| conserved, and nothing else.

    sigma(pt)/pt = theta0 sinh|eta|, sigma(tan lambda) = theta0 cosh^2(eta), sigma(phi) = theta0 cosh(eta); pt and
    tan(lambda) change together, q/pt with the sign of q tan(lambda). theta0 by hand for the slant thickness. Forgetting
    the pt terms is the classic forward-region error. "Perfect" is 0.1 um: 1e-3 of the kicks, 1e-6 in quadrature.
    """
    r_scatterer, t, pt, b_z = 0.1, 0.02, 1.0, 2.0
    layers = merge_layers(passive_layers([r_scatterer], [t]), make_layers(np.linspace(0.101, 100.0, 12), sigma=1e-5))
    solution = solve(layers, make_rules(b_z, PDG), pt, math.sinh(eta), charge=charge)
    p = pt * math.cosh(eta)
    beta = p / math.hypot(p, PION_MASS)
    incidence = math.asin(0.5 * r_scatterer * K_CURVATURE * b_z / pt)
    slant = t * math.cosh(eta) / math.cos(incidence)
    theta0 = 13.6e-3 / (beta * p) * math.sqrt(slant) * (1.0 + 0.038 * math.log(slant / beta**2))
    assert solution.sigma["phi"] == pytest.approx(theta0 * math.cosh(eta), rel=1e-5)
    assert solution.sigma["tan_lambda"] == pytest.approx(theta0 * math.cosh(eta) ** 2, rel=1e-5)
    if eta == 0.0:  # nothing but the perfect layers' resolution is left
        assert solution.sigma["q_over_pt"] * pt < 1e-3 * theta0
        return
    assert solution.sigma["q_over_pt"] * pt == pytest.approx(theta0 * math.sinh(abs(eta)), rel=1e-4)
    correlation = solution.covariance[4, 3] / solution.sigma["q_over_pt"] / solution.sigma["tan_lambda"]
    assert correlation == pytest.approx(math.copysign(1.0, charge * eta), abs=1e-4)


@pytest.mark.parametrize("n_points", [3, 6, 11])
@pytest.mark.parametrize("eta", [0.0, 0.9, -2.0])
def test_straight_line_in_z(n_points, eta):
    """sigma(slope) = sigma/sqrt(Sxx), sigma(z0) = sigma sqrt(1/N + rbar^2/Sxx), Sxx = L^2 N(N + 1)/(12(N - 1)).

    Textbook regression (reference/tracking.md 1.3), at 1 TeV where the views do not mix; independent of eta, because z
    is measured along the beam.
    """
    sigma_z, first, lever = 15e-4, 4.0, 96.0
    r = np.linspace(first, first + lever, n_points)
    solution = solve(make_layers(r, sigma=1e-4, sigma_z=sigma_z), make_rules(0.5), 1000.0, math.sinh(eta))
    sxx = lever**2 * n_points * (n_points + 1) / (12 * (n_points - 1))
    assert solution.sigma["tan_lambda"] == pytest.approx(sigma_z / math.sqrt(sxx), rel=1e-5)
    z0 = sigma_z * math.sqrt(1.0 / n_points + (first + lever / 2) ** 2 / sxx)
    assert solution.sigma["dca_z"] == pytest.approx(z0, rel=1e-5)


@pytest.mark.parametrize("pt", [0.3, 1.0, 3.0, 10.0, 30.0, 100.0])
def test_exact_is_never_better_than_the_quadrature_sum_of_the_limits(pt):
    """V -> (A^T V^-1 A)^-1 is superadditive: exact^2 >= resolution-only^2 + scattering-only^2, for every parameter."""
    exact = solve(alice3_v2_layers(), make_rules(), pt, 0.6).covariance
    layers = alice3_v2_layers()
    no_material = solve(layers._replace(x_over_x0=np.zeros_like(layers.r)), make_rules(), pt, 0.6).covariance
    scale = 1e-3
    perfect = layers._replace(sigma_rphi=layers.sigma_rphi * scale, sigma_z=layers.sigma_z * scale)
    only_scattering = solve(perfect, make_rules(), pt, 0.6).covariance - no_material * scale**2
    for k in range(5):
        assert exact[k, k] >= (no_material[k, k] + only_scattering[k, k]) * (1.0 - 1e-9)


def test_exact_against_quadrature_for_six_layers_of_two_percent():
    """reference/tracking.md 1.3: 6 layers, 2 % each, 10 GeV, 3.8 T: exact .3731 %, quadrature .3656 %.

    The set-up is not spelled out there; L = 120 cm, sigma = 20 um and no log term give both of its figures.
    """
    pt, b_z, lever, sigma, t = 10.0, 3.8, 120.0, 20e-4, 0.02
    layers = make_layers(np.linspace(4.0, 4.0 + lever, 6), t, sigma)
    exact = solve(layers, make_rules(b_z, NO_LOG), pt).sigma["q_over_pt"] * pt
    theta0 = highland(t, pt, PION_MASS, use_log=False)
    scattering = pt / (K_CURVATURE * b_z) * theta0 * 5 / (lever * math.sqrt(4))
    quadrature = math.hypot(gluckstern(6, sigma, lever, pt, b_z), scattering)
    assert quadrature == pytest.approx(0.3656e-2, abs=0.00005e-2 + 1e-7)
    assert exact == pytest.approx(0.3731e-2, abs=0.00005e-2)


@pytest.mark.parametrize(
    ("convention", "d0_um", "sigma_pt_percent"), [(NO_LOG, 16.1, 0.784), (PDG, 12.4, 0.648)], ids=["no_log", "log"]
)
def test_alice3_v2_figures(convention, d0_um, sigma_pt_percent):
    """reference/tracking.md 3, "Tension found": v2 layers, 2 T, pions at eta = 0.

    d0 at 200 MeV: 16.1 um without the log, 12.4 with it; sigma(pt)/pt at 1 GeV .784 % and .648 %. To the digits given.
    """
    rules = make_rules(2.0, convention, max_sin_incidence=0.95)
    assert solve(alice3_v2_layers(), rules, 0.2).sigma["dca_xy"] * 1e4 == pytest.approx(d0_um, abs=0.05)
    assert solve(alice3_v2_layers(), rules, 1.0).sigma["q_over_pt"] * 100 == pytest.approx(sigma_pt_percent, abs=5e-4)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_convention_reaches_the_fit(name):
    """solve_track against an independent least-squares fit, with the width of each convention written out by hand."""
    pt, tan_lambda = 0.4, 0.9
    layers = alice3_v2_layers()
    c = K_CURVATURE * 2.0 / pt
    slant = layers.x_over_x0 * math.hypot(1.0, tan_lambda) / np.sqrt(1.0 - (0.5 * layers.r * c) ** 2)
    width = {
        "pdg_per_layer": highland,
        "fat_per_layer": lambda t, p, m, q: highland(t, p, m, q, log_beta=False),
        "pdg_whole_path": lambda t, p, m, q: highland(t, p, m, q, t_log=slant.sum()),
        "no_log": lambda t, p, m, q: highland(t, p, m, q, use_log=False),
    }[name]
    expected = linear_track(layers, 2.0, pt, tan_lambda, width=width).covariance()
    found = solve(layers, make_rules(2.0, CONVENTIONS[name]), pt, tan_lambda).covariance
    sigma = np.sqrt(np.diag(expected))
    assert found / np.outer(sigma, sigma) == pytest.approx(expected / np.outer(sigma, sigma), abs=1e-6)


@pytest.mark.parametrize("eta", [1.5, -1.5, 3.0])
@pytest.mark.parametrize("charge", [1.0, -1.0])
def test_one_scatterer_in_a_disk_in_front_of_perfect_ones(eta, charge):
    """The same probe with everything in disks: the slant thickness is t cosh(eta) / |sinh(eta)|, whatever the turning.

    "Perfect" is 0.1 um in 20 disks, as far as 47 cm of radius: 1e-3 of the kicks, 1e-6 in quadrature.
    """
    t, pt, b_z = 0.02, 1.0, 2.0
    side = math.copysign(1.0, eta)
    surfaces = make_surfaces(make_layers([]))
    surfaces = add_disks(surfaces, [0.2 * side], x_over_x0=t, efficiency=0.0)
    surfaces = add_disks(surfaces, side * np.linspace(0.201, 47.0 * math.sinh(abs(eta)), 20), sigma=1e-5)
    solution = solve(surfaces, make_rules(b_z, PDG), pt, math.sinh(eta), charge=charge)
    p = pt * math.cosh(eta)
    beta = p / math.hypot(p, PION_MASS)
    slant = t * math.cosh(eta) / math.sinh(abs(eta))
    theta0 = 13.6e-3 / (beta * p) * math.sqrt(slant) * (1.0 + 0.038 * math.log(slant / beta**2))
    assert solution.sigma["phi"] == pytest.approx(theta0 * math.cosh(eta), rel=1e-5)
    assert solution.sigma["tan_lambda"] == pytest.approx(theta0 * math.cosh(eta) ** 2, rel=1e-5)
    assert solution.sigma["q_over_pt"] * pt == pytest.approx(theta0 * math.sinh(abs(eta)), rel=1e-5)
    correlation = solution.covariance[4, 3] / solution.sigma["q_over_pt"] / solution.sigma["tan_lambda"]
    assert correlation == pytest.approx(math.copysign(1.0, charge * eta), abs=1e-5)


def test_straight_tracks_through_disks_are_a_regression_in_z():
    """Disks measure x = z / tan(lambda) and y at known z: without bending, two regressions in z (textbook, as above).

    At 1e-6 T, with far coarse disks that only fix the curvature (1 mm at 1e5 to 1e6 cm: 1e-9 of the direction). In the
    frame of the track sigma(d0) is sigma_y's intercept and sigma(z0) = tan(lambda) that of x.
    """
    sigma_rphi, sigma_r, tan_lambda = 12e-4, 20e-4, math.sinh(2.2)
    z = np.linspace(30.0, 120.0, 7)
    near = add_disks(make_surfaces(make_layers([])), z, sigma=sigma_rphi, sigma_r=sigma_r)
    wall = add_disks(near, [121.0], x_over_x0=1e4, efficiency=0.0)
    surfaces = add_disks(wall, np.linspace(1e4, 1e5, 5), sigma=1.0)
    solution = solve(surfaces, make_rules(1e-6, NO_LOG, 7), 1.0, tan_lambda)
    mean, sxx = z.mean(), ((z - z.mean()) ** 2).sum()
    intercept = math.sqrt(1.0 / len(z) + mean**2 / sxx)
    assert solution.sigma["dca_xy"] == pytest.approx(sigma_rphi * intercept, rel=1e-5)
    assert solution.sigma["dca_z"] == pytest.approx(sigma_r * intercept * tan_lambda, rel=1e-5)
    assert solution.sigma["phi"] == pytest.approx(sigma_rphi / math.sqrt(sxx) * tan_lambda, rel=1e-5)
    assert solution.sigma["tan_lambda"] == pytest.approx(sigma_r / math.sqrt(sxx) * tan_lambda**2, rel=1e-5)


@pytest.mark.parametrize("turning", [0.02, 1.0, 2.4])
@pytest.mark.parametrize("first_radius", [2.0, 40.0])
def test_karimaki(turning, first_radius):
    """V. Karimaki, NIM A410 (1998) 284: the explicit matrix of (d0, phi, curvature) for any L/R, no scattering.

    His residual rho r^2/2 - (1 + rho d) r sin(phi - phi_i) + rho d^2/2 + d (eq. 2.2 of his NIM A305 (1991) 187) is the
    distance to the circle; its derivatives at d = 0 are 1 - rho^2 r^2/2, r cos(phi - phi_i) and r^2/2. A hit on a
    cylinder weighs by sigma cos(incidence) across the track. The same by differences of |P - centre| - R.
    """
    sigma, b_z, outermost = 15e-4, 2.0, 100.0
    r = np.linspace(first_radius, outermost, 9)
    rho = 2.0 * math.sin(0.5 * turning) / outermost
    pt = K_CURVATURE * b_z / rho
    sin_incidence = 0.5 * r * rho
    weight = 1.0 / (sigma**2 * (1.0 - sin_incidence**2))
    along = r * np.sqrt(1.0 - sin_incidence**2)
    gradient = np.stack([1.0 - 0.5 * rho**2 * r**2, along, 0.5 * r**2], axis=1)
    expected = np.linalg.inv((gradient * weight[:, None]).T @ gradient)

    points = np.stack([along, r * sin_incidence], axis=1)  # a circle through the origin along x, turning left

    def distance(d, phi, curvature):
        centre = (d + 1.0 / curvature) * np.array([-math.sin(phi), math.cos(phi)])
        return 1.0 / curvature - np.hypot(*(points - centre).T)

    steps = np.array([1e-3, 1e-6, 1e-4 * rho])
    columns = []
    for k in range(3):
        shift = np.zeros(3)
        shift[k] = steps[k]
        centre = np.array([0.0, 0.0, rho])
        columns.append((distance(*(centre + shift)) - distance(*(centre - shift))) / (2.0 * steps[k]))
    differences = np.stack(columns, axis=1) * np.array([-1.0, -1.0, -1.0])
    assert differences == pytest.approx(gradient, rel=1e-4, abs=1e-4 * np.abs(gradient).max())

    solution = solve(make_layers(r, sigma=sigma), make_rules(b_z, max_sin_incidence=0.999), pt, charge=-1.0)
    found = solution.covariance[np.ix_([0, 2, 4], [0, 2, 4])] * np.outer(*2 * [[1.0, 1.0, -K_CURVATURE * b_z]])
    size = np.sqrt(np.diag(expected))
    assert found / np.outer(size, size) == pytest.approx(expected / np.outer(size, size), abs=1e-6)


def one_layer_in_front(areal_density, x_over_x0):
    """A layer at 1 mm, of this mass but without scattering if x/X0 is 0, in front of good ones (1 um)."""
    layers = merge_layers(passive_layers([0.1], [x_over_x0]), make_layers(np.linspace(0.101, 100.0, 12), sigma=1e-4))
    return make_surfaces(layers, areal_density=np.where(layers.r == 0.1, areal_density, 0.0))


@pytest.mark.parametrize("eta", [0.0, 1.2])
@pytest.mark.parametrize(("pt", "mass"), [(0.2, PION_MASS), (1.0, PROTON_MASS), (5.0, PION_MASS)])
@pytest.mark.parametrize("convention", ["none", "bohr", "aliroot"])
def test_straggling_in_one_layer_in_front_of_a_perfect_tracker(eta, pt, mass, convention):
    """The momentum behind the layer is known: what is left is the spread of the loss, taken back through the layer.

    Widths by hand (oracles.straggling), slant 0.5 g/cm2 cosh(eta), d(p behind)/d(p before) by differences of the loss.
    """
    x = 0.5 * math.cosh(eta)
    p = pt * math.cosh(eta)
    spread = straggling(convention, mass)(p, 0.0, x)
    slope = (momentum_behind(p + 1e-5, mass, 1.0, x) - momentum_behind(p - 1e-5, mass, 1.0, x)) / 2e-5
    expected = spread / slope / p
    rules = make_rules(2.0, energy_loss=1, straggling=STRAGGLING[convention])
    solution = solve(one_layer_in_front(0.5, 0.0), rules, pt, math.sinh(eta), mass)
    without = solve(one_layer_in_front(0.0, 0.0), make_rules(2.0), pt, math.sinh(eta), mass)
    added = solution.covariance[4, 4] - without.covariance[4, 4]
    assert added * pt**2 == pytest.approx(expected**2, rel=1e-3, abs=1e-11)


@pytest.mark.parametrize("t", [0.001, 0.02, 0.3])
@pytest.mark.parametrize("eta", [0.0, 1.2])
def test_radiation_in_one_layer_in_front_of_a_perfect_tracker(t, eta):
    """Bethe and Heitler: what is left, z, has density (-ln z)^(t/ln 2 - 1) / Gamma(t/ln 2); its relative
    variance is that of q/pt.

    The moments by integration over u = -ln z: <z^n> = int u^(a-1) e^(-u (n+1)) du / Gamma(a). Together with scattering
    (q/pt changes by tan(lambda) times the kick, tracking.md 1.3), which at eta = 0 does nothing.
    """
    a = t * math.cosh(eta) / math.log(2.0)

    def moment(n):  # with u = w^(1/a) the integrand is regular: du u^(a-1) = dw / a
        integral, _ = quad(
            lambda w: math.exp(-(n + 1) * w ** (1.0 / a)), 0.0, 60.0**a, epsabs=1e-13, epsrel=1e-11, limit=500
        )
        return integral / math.gamma(a + 1.0)

    variance = moment(2) / moment(1) ** 2 - 1.0
    surfaces = one_layer_in_front(0.0, t)
    found = solve(surfaces, make_rules(2.0, electrons=1), 5.0, math.sinh(eta), ELECTRON_MASS)
    plain = solve(surfaces, make_rules(2.0), 5.0, math.sinh(eta), ELECTRON_MASS)
    added = (found.covariance[4, 4] - plain.covariance[4, 4]) * 5.0**2
    assert added == pytest.approx(variance, rel=1e-5)


def test_the_scale_of_electrons():
    """Delphes' ElectronScaleFactor: the covariance times its square, of electrons only."""
    rules = make_rules(2.0, electron_scale=1.25)
    for mass, factor in ((ELECTRON_MASS, 1.25**2), (PION_MASS, 1.0)):
        scaled = solve(alice3_v2_layers(), rules, 1.0, 0.4, mass).covariance
        plain = solve(alice3_v2_layers(), make_rules(2.0), 1.0, 0.4, mass).covariance
        assert scaled == pytest.approx(factor * plain, rel=1e-14)


@pytest.mark.parametrize("eta", [0.4, -2.5])
@pytest.mark.parametrize("energy_loss", [0, 1])
def test_charge_two_bends_by_its_rigidity(eta, energy_loss):
    """An alpha of pt = 4 GeV is a unit charge of half its mass and pt = 2 GeV, in a detector twice as dense.

    Same curvature p/z; scattering z/(beta p) is the same without the logarithm; loss goes with z^2 and the momentum
    with z, so dp/p per thickness is twice as large. Tmax depends a little on the mass: 2 m_e gamma/M = 1e-4 in the log.
    """
    alpha = 3.7273794
    surfaces = of_silicon(forward_disks())
    heavier = surfaces._replace(areal_density=2.0 * surfaces.areal_density)
    rules = make_rules(2.0, NO_LOG, energy_loss=energy_loss)
    found = solve(surfaces, rules, 4.0, math.sinh(eta), alpha, 2.0)
    expected = solve(heavier, rules, 2.0, math.sinh(eta), 0.5 * alpha, 1.0)
    size = np.sqrt(np.diag(expected.covariance))
    assert found.efficiency == expected.efficiency
    difference = np.abs(found.covariance - expected.covariance) / np.outer(size, size)
    assert np.max(difference) < (1e-4 if energy_loss else 1e-9)


def test_an_alpha_without_material_is_a_proton_of_half_the_momentum():
    """q/pt, and nothing else of the particle, matters where there is nothing to scatter on."""
    surfaces = forward_disks(thickness_scale=0.0)
    found = solve(surfaces, make_rules(2.0), 4.0, 1.3, 3.7273794, 2.0).covariance
    expected = solve(surfaces, make_rules(2.0), 2.0, 1.3, PROTON_MASS, 1.0).covariance
    assert found == pytest.approx(expected, rel=1e-10)
