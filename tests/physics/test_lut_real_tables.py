"""Our tables against real ones: DelphesO2's public `lutCovm` files of 2020 (FAT, AliRoot's Kalman filter).

What had to be assumed (reference/delpheso2.md 2.2, 2.4, 7.3), and what the files say about it:

* layout "default": pipe 1.6 cm (0.14 % X0); 1.8, 2.8, 3.8 cm (0.05 %, 1 um); 8, 20, 25, 40, 55, 80, 100 cm (0.5 %,
  5 um); both views alike, cylinders without an end, at least 4 hits, never one lost, no energy loss;
* scattering `fat_per_layer`: 1 + 0.038 ln t of each layer's slant thickness, no beta in the logarithm;
* field, mass and grid are the header's; values hold at bin centres, charge +1, parameters (y, z, sin phi, tan lambda,
  q/pt), y along (-sin phi, cos phi) as our dca_xy; sin phi is an angle about 0, so its sigma is that of phi;
* a track must reach 100 cm (20 cm in the kaon file) with sin(incidence) <= 0.95: the pion file's first valid pt, at
  sin 0.922 in every row, and last invalid one, at sin 0.966, agree;
* FAT combines y and z at the vertex with an outward fit of sigma 5 cm, 1/C = 1/C_in + 1/25 cm^2, and sets cov(y, z)
  to 0 (2.2, point 6). That matters for slow kaons only (sigma of millimetres) and is applied to our figures before
  comparing.

What does not agree, and why: AliRoot caps variances (snp, tgl 1; q/pt 1e4; y, z 1e4 cm^2) after each step and scales
the correlations with them (7.3). It starts from a seed near those caps, so at low momentum information is lost and its
sigma(q/pt) is up to 20 % *worse* than the optimal fit below about 2 GeV; what is correlated with q/pt is off likewise.
There the comparison demands only that ours is better, by no more than 25 %.
`test_covariance_caps_explain_the_low_momentum_difference` puts the caps into an independent filter: its q/pt is within
5 % of the files', and without caps it is ours; the order of AliRoot's rotations and caps could not be found out better
than that. Kaons below 40 MeV (beta < 0.08, kicks of the order of a radian) are left out: there the caps reach the other
parameters too.
"""

import math
import pathlib

import numpy as np
import pytest

from fastsim.kernels.conventions import CONVENTIONS
from tests.oracles import JIT_IS_OFF, K_CURVATURE, make_layers, make_rules, merge_layers, passive_layers, solve

FOLDER = pathlib.Path(__file__).parents[2] / ".." / "shared" / "data" / "lut"
FILES = {"pi.5kG.100cm": 100.0, "ka.2kG.20cm": 20.0}  # radius that a track must reach [cm]

AXIS = np.dtype([("n", "<i4"), ("low", "<f4"), ("high", "<f4"), ("log", "?"), ("pad", "V3")])
HEADER = np.dtype(
    [("pdg", "<i4"), ("mass", "<f4"), ("field", "<f4"), ("nch", AXIS), ("rad", AXIS), ("eta", AXIS), ("pt", AXIS)]
)
ENTRY = np.dtype(
    [
        ("eta", "<f4"), ("pt", "<f4"), ("valid", "?"), ("pad", "V3"), ("covm", "<f4", 15), ("eigval", "<f4", 5),
        ("eigvec", "<f4", (5, 5)), ("eiginv", "<f4", (5, 5)),
    ]
)  # fmt: skip
SEED_VARIANCE = 25.0  # cm^2, FAT's outward fit at the vertex


def read(name):
    path = FOLDER / f"lutCovm.{name}.dat"
    if not path.exists():
        pytest.skip(f"{path.resolve()} is not here: DelphesO2's tables are not part of the project")
    content = path.read_bytes()
    header = np.frombuffer(content[: HEADER.itemsize], HEADER)[0]
    entries = np.frombuffer(content[HEADER.itemsize :], ENTRY)
    return header, entries.reshape(int(header["eta"]["n"]), int(header["pt"]["n"]))


def default_layout():
    return merge_layers(
        passive_layers([1.6], [0.0014]),
        make_layers([1.8, 2.8, 3.8], 0.0005, 1e-4),
        make_layers([8, 20, 25, 40, 55, 80, 100], 0.005, 5e-4),
    )


def unpack(packed):
    matrix = np.zeros((5, 5))
    matrix[np.tril_indices(5)] = packed
    return matrix + np.tril(matrix, -1).T


def rules_for(header, min_radius):
    return make_rules(float(header["field"]), CONVENTIONS["fat_per_layer"], 4, 0.95, min_radius)


def as_fat_stores(covariance):
    """The variances of y and z combined with the outward fit's (5 cm)^2."""
    stored = covariance.copy()
    for k in (0, 1):
        stored[k, k] = covariance[k, k] * SEED_VARIANCE / (covariance[k, k] + SEED_VARIANCE)
    return stored


def cells(name, min_pt=0.0, max_pt=math.inf):
    """(pt, their covariance, ours) of the valid cells with |eta| < 1.75; every 7th with the JIT off."""
    header, entries = read(name)
    layers, rules = default_layout(), rules_for(header, FILES[name])
    barrel = entries[np.abs(entries["eta"][:, 0]) < 1.75].ravel()
    barrel = barrel[barrel["valid"] & (barrel["pt"] > min_pt) & (barrel["pt"] < max_pt)]
    assert len(barrel) > 500
    for entry in barrel[:: 37 if JIT_IS_OFF else 1]:
        pt = float(entry["pt"])
        solution = solve(layers, rules, pt, math.sinh(float(entry["eta"])), float(header["mass"]))
        assert solution.efficiency == 1.0
        yield pt, float(entry["eta"]), unpack(entry["covm"].astype(np.float64)), as_fat_stores(solution.covariance)


@pytest.mark.parametrize("name", FILES)
def test_sigmas_agree_with_delpheso2(name):
    """d0, z0, phi and tan(lambda) within 0.5 %, over all pions from 81 MeV and kaons from 40 MeV to 98 GeV.

    The files are single precision (6e-8) and FAT's caps leave at most 0.3 % in phi, so 0.5 % leaves no room for a wrong
    layer: a tenth more material in the pipe moves d0 by 4 %, in the first layer by 1.6 %.
    """
    worst = np.zeros(4)
    for _, _, theirs, ours in cells(name, min_pt=0.04):
        ratio = np.sqrt(np.diag(ours) / np.diag(theirs))[:4]
        worst = np.maximum(worst, np.abs(ratio - 1.0))
    assert np.all(worst < 0.005), worst


@pytest.mark.parametrize("name", FILES)
def test_the_whole_covariance_agrees_with_delpheso2_above_2_gev(name):
    """All five sigmas within 2e-5, all correlations within 2e-4 (cov(y, z), which FAT sets to zero, aside)."""
    worst_sigma, worst_correlation = 0.0, 0.0
    for _, _, theirs, ours in cells(name, min_pt=2.0):
        sigma, reference = np.sqrt(np.diag(ours)), np.sqrt(np.diag(theirs))
        worst_sigma = max(worst_sigma, np.max(np.abs(sigma / reference - 1.0)))
        difference = ours / np.outer(sigma, sigma) - theirs / np.outer(reference, reference)
        difference[0, 1] = difference[1, 0] = 0.0
        worst_correlation = max(worst_correlation, np.max(np.abs(difference)))
    assert worst_sigma < 2e-5
    assert worst_correlation < 2e-4


@pytest.mark.parametrize("name", FILES)
def test_momentum_resolution_is_never_worse_than_delpheso2_s(name):
    """Where AliRoot's caps lose information (below 2 GeV) the optimal fit is better, by 25 % at most."""
    for _, _, theirs, ours in cells(name, min_pt=0.04, max_pt=2.0):
        assert 0.75 < math.sqrt(ours[4, 4] / theirs[4, 4]) < 1.002


def test_reach_agrees_with_delpheso2():
    """The same cells of the pion file have a track: sin(incidence) at 100 cm up to 0.95, whatever eta is."""
    header, entries = read("pi.5kG.100cm")
    layers, rules = default_layout(), rules_for(header, 100.0)
    step = 13 if JIT_IS_OFF else 1
    for entry in entries[::step, 30:60].ravel():
        solution = solve(layers, rules, float(entry["pt"]), math.sinh(float(entry["eta"])), float(header["mass"]))
        assert (solution.efficiency > 0.0) == bool(entry["valid"])


def capped(covariance):
    """AliExternalTrackParam's limits: variances cut at (1e4 cm^2, 1e4 cm^2, 1, 1, 1e4), correlations kept."""
    limits = np.array([1e4, 1e4, 1.0, 1.0, 1e4])
    scale = np.sqrt(np.minimum(1.0, limits / np.diag(covariance)))
    return covariance * np.outer(scale, scale)


def uncapped(covariance):
    return covariance


def filter_in_aliroot_s_manner(layers, b_z, pt, tan_lambda, mass, limit, seed):
    """A covariance filter after 2.2 and 7.3 of the reference: seed; per layer update, scatter, propagate, each capped.

    State (y, z, snp, tgl, q/pt) in the frame of the layer, x = const planes tangent to the cylinder; the Jacobian of
    the propagation and rotation is taken by differences of the exact helix. Only caps and seed differ from an optimal
    filter.
    """
    q_over_pt = 1.0 / pt
    c = -K_CURVATURE * b_z * q_over_pt
    p = pt * math.hypot(1.0, tan_lambda)
    beta = p / math.hypot(p, mass)
    radii = [0.0, *layers.r]

    def at(r):  # azimuth of the crossing, direction relative to the radius
        half = math.asin(0.5 * r * c)
        return half, half

    def propagate(state, r_from, r_to):
        """From the tangent plane at r_from to that at r_to: exact intersection with the plane."""
        y, z, snp, tgl, qpt = state
        curvature = -K_CURVATURE * b_z * qpt
        alpha = at(r_to)[0] - at(r_from)[0]
        x, y = r_from * math.cos(alpha) + y * math.sin(alpha), -r_from * math.sin(alpha) + y * math.cos(alpha)
        phi = math.asin(snp) - alpha
        new_snp = math.sin(phi) + curvature * (r_to - x)
        new_phi = math.asin(new_snp)
        s = (new_phi - phi) / curvature
        y += (math.cos(phi) - math.cos(new_phi)) / curvature
        return np.array([y, z + s * tgl, new_snp, tgl, qpt]), s

    def jacobian(r_from, r_to):
        centre = np.array([0.0, 0.0, math.sin(at(r_from)[1]), tan_lambda, q_over_pt])
        steps = np.array([1e-5, 1e-5, 1e-6, 1e-6, 1e-5 * q_over_pt])
        columns = []
        for k in range(5):
            delta = np.zeros(5)
            delta[k] = steps[k]
            plus, minus = propagate(centre + delta, r_from, r_to)[0], propagate(centre - delta, r_from, r_to)[0]
            columns.append((plus - minus) / (2.0 * steps[k]))
        return np.array(columns).T

    covariance = limit(np.diag(seed))
    for k in range(len(radii) - 1, 0, -1):
        r, layer = radii[k], k - 1
        if layers.efficiency[layer] > 0.0:
            gain = covariance[:, :2] @ np.linalg.inv(
                covariance[:2, :2] + np.diag([layers.sigma_rphi[layer] ** 2, layers.sigma_z[layer] ** 2])
            )
            keep = np.eye(5)
            keep[:, :2] -= gain
            noise = np.diag([layers.sigma_rphi[layer] ** 2, layers.sigma_z[layer] ** 2])
            covariance = limit(keep @ covariance @ keep.T + gain @ noise @ gain.T)
        snp = math.sin(at(r)[1])
        t = layers.x_over_x0[layer] * math.sqrt((1.0 + tan_lambda**2) / (1.0 - snp**2))
        theta = 0.0136 / (beta * p) * math.sqrt(t) * (1.0 + 0.038 * math.log(t))
        dip = np.array([0.0, 0.0, 0.0, 1.0 + tan_lambda**2, tan_lambda * q_over_pt])
        across = np.array([0.0, 0.0, math.sqrt((1.0 - snp**2) * (1.0 + tan_lambda**2)), 0.0, 0.0])
        covariance = limit(covariance + theta**2 * (np.outer(dip, dip) + np.outer(across, across)))
        f = jacobian(r, radii[k - 1])
        covariance = limit(f @ covariance @ f.T)
    return covariance


def test_covariance_caps_explain_the_low_momentum_difference():
    """With AliRoot's seed and caps, q/pt of pions from 0.1 to 0.7 GeV moves from 9-18 % below the file's to within 5 %.

    Without caps (and with a seed that does not matter) the same filter gives solve_track's sigmas.
    """
    header, entries = read("pi.5kG.100cm")
    layers, b_z, mass = default_layout(), float(header["field"]), float(header["mass"])
    for i, j in [(20, 50), (27, 55), (20, 60), (30, 70), (33, 80), (12, 90)]:
        entry = entries[i, j]
        assert entry["valid"]
        pt, tan_lambda = float(entry["pt"]), math.sinh(float(entry["eta"]))
        theirs = np.sqrt(entry["covm"][[0, 2, 5, 9, 14]].astype(np.float64))
        ours = np.sqrt(np.diag(solve(layers, rules_for(header, 100.0), pt, tan_lambda, mass).covariance))
        seed = [25.0, 25.0, 0.49, 0.49, (30.5 / pt) ** 2]
        emulated = np.sqrt(np.diag(filter_in_aliroot_s_manner(layers, b_z, pt, tan_lambda, mass, capped, seed)))
        seed = [1e6, 1e6, 1e4, 1e4, 1e6]
        optimal = np.sqrt(np.diag(filter_in_aliroot_s_manner(layers, b_z, pt, tan_lambda, mass, uncapped, seed)))
        assert emulated[:4] == pytest.approx(theirs[:4], rel=0.002)
        assert emulated[4] == pytest.approx(theirs[4], rel=0.05)
        assert 0.82 < ours[4] / theirs[4] < 0.92
        assert optimal == pytest.approx(ours, rel=1e-4)
