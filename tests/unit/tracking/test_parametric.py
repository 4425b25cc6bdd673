"""Which particles become tracks, why the others do not, and what the smearing kernel does at its edges."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim import tracking as t
from fastsim.kernels.lookup import LutTable
from fastsim.rng import Streams, normals_1
from fastsim.species import SPECIES, UNKNOWN_CHARGE
from fastsim.tracking import parametric as p

EFFICIENCY, SMEARING = Streams(3).key("tracking/efficiency"), Streams(3).key("tracking/smearing")


MASS, C_TAU = np.array([kind.mass for kind in SPECIES]), np.array([kind.c_tau for kind in SPECIES])


def _table(efficiency=1.0, sigma=1e-3, rho=0.0, n_dnch=1):
    """A flat table of pions: same answer everywhere, 4 x 5 bins in |eta| < 2 and 0.1 to 10 GeV, born within 50 cm."""
    covariance = np.full((1, 1, 4, 5, 15), rho, dtype=np.float32)
    covariance[..., :5] = np.log(sigma)
    if efficiency == 0.0:
        covariance[:] = np.nan
    row = np.full(len(SPECIES), -1, dtype=np.int8)
    row[2] = 0
    return LutTable(
        row, covariance, np.full((1, 1, 4, 5, n_dnch), efficiency, dtype=np.float32), np.array([0.0, 50.0]),
        -2.0, 1.0, np.log(0.1), np.log(100.0) / 5, np.log(10.0), np.log(100.0) / n_dnch, False, False,
    )  # fmt: skip


def _smear(
    table, pt, eta, charge=1, pt_rule=p.CLAMP, eta_rule=p.NOT_RECONSTRUCTED, position=(0.0, 0.0, 0.0), dnch=1.0,
    dnch_rule=p.CLAMP, decays=False,
):  # fmt: skip
    pt, eta = np.broadcast_arrays(np.atleast_1d(np.asarray(pt, float)), np.asarray(eta, float))
    n = len(pt)
    tracks, status, outside = p.make_tracks(n), np.full(n, t.CANDIDATE, dtype=np.uint8), np.zeros(4, dtype=np.int64)
    settings = p.Settings(
        0.1, 10.0, 2.0, 1000.0, pt_rule, eta_rule, dnch_rule, 50.0, 2.0, decays, 80.0, 130.0, MASS, C_TAU
    )
    p.smear_tracks(
        table, settings, np.arange(n), np.zeros(n, dtype=np.uint64), np.arange(n, dtype=np.int32), np.full(n, float(dnch)),
        np.full(n, 2, dtype=np.int8), np.full(n, charge, dtype=np.int8), np.tile(position, (n, 1)), pt.copy(), np.zeros(n),
        pt * np.sinh(eta), np.empty((0, 5)), EFFICIENCY, SMEARING, status, outside, tracks,
    )  # fmt: skip
    return tracks, status, outside


@pytest.mark.parametrize(
    ("final", "charge", "species", "pt", "r", "z", "expected"),
    [
        (True, 1, 2, 1.0, 0.1, 0.0, t.CANDIDATE),
        (False, 1, 2, 1.0, 0.1, 0.0, t.NOT_A_TRACK),
        (True, 0, -1, 1.0, 0.1, 0.0, t.NOT_A_TRACK),
        (True, UNKNOWN_CHARGE, -1, 1.0, 0.1, 0.0, t.UNKNOWN_PDG),
        (True, 1, -1, 1.0, 0.1, 0.0, t.UNDEFINED_SPECIES),
        (True, 1, 2, 1.0, 0.48, 0.0, t.BORN_OUTSIDE),  # on the last radius is not inside
        (True, 1, 2, 1.0, 0.1, -250.0, t.BORN_OUTSIDE),
        (True, 1, 2, 0.0, 0.1, 0.0, t.OUT_OF_RANGE),  # along the beam: eta is infinite
        (True, 1, 2, 1e-310, 0.1, 0.0, t.OUT_OF_RANGE),
    ],
)
def test_classification(final, charge, species, pt, r, z, expected):
    status = np.zeros(1, dtype=np.uint8)
    p.classify(
        np.array([final]), np.array([charge], dtype=np.int8), np.array([species], dtype=np.int8), np.array([pt]), np.zeros(1),
        np.array([[0.0, r, z]]), 0.48, 250.0, status,
    )  # fmt: skip
    assert status[0] == expected


def test_every_status_has_a_name():
    assert set(t.STATUS) == {
        t.NOT_A_TRACK, t.RECONSTRUCTED, t.BORN_OUTSIDE, t.UNDEFINED_SPECIES, t.UNKNOWN_PDG, t.OUT_OF_RANGE, t.NO_SOLUTION,
        t.INEFFICIENCY, t.POINTS_AWAY,
    }  # fmt: skip


def test_zero_covariance_is_the_identity():
    """With sigma = 1e-40 what comes out is what went in."""
    tracks, status, _ = _smear(_table(sigma=1e-40), [0.5, 1.0, 3.0], [-1.0, 0.2, 1.9])
    assert (status == t.RECONSTRUCTED).all()
    np.testing.assert_allclose(tracks.smeared, tracks.true, rtol=0, atol=1e-38)
    np.testing.assert_allclose(tracks.pt, [0.5, 1.0, 3.0], rtol=1e-15)
    np.testing.assert_allclose(tracks.eta, [-1.0, 0.2, 1.9], rtol=1e-14)


def test_the_shift_is_cholesky_times_the_addressed_normals():
    """smeared - true = sigma L n with numpy's Cholesky and the six documented draws."""
    rho = 0.3
    tracks, *_ = _smear(_table(sigma=1e-2, rho=rho), [1.0, 1.0, 1.0], 0.1)
    lower = np.linalg.cholesky(np.full((5, 5), np.float32(rho), dtype=float) * (1 - np.eye(5)) + np.eye(5))
    for particle in range(3):
        normals = [n for draw in range(3) for n in normals_1(draw, particle, 0, SMEARING.k0, SMEARING.k1)]
        expected = np.exp(np.float64(np.float32(np.log(1e-2)))) * lower @ normals[:5]
        np.testing.assert_allclose(tracks.smeared[particle] - tracks.true[particle], expected, rtol=1e-9, atol=1e-15)


def test_negative_charge_mirrors_the_correlations():
    plus, minus = (_smear(_table(rho=0.2), 1.0, 0.0, charge=q)[0].cov_packed[0] for q in (1, -1))
    sign = np.array([-1, 1, -1, 1, -1])  # dca_xy, phi and q/pt change sign in the mirror, dca_z and tan_lambda do not
    np.testing.assert_allclose(minus, (np.outer(sign, sign)[np.tril_indices(5)]) * plus)


def test_no_efficiency_no_track():
    tracks, status, _ = _smear(_table(efficiency=0.0), 1.0, 0.0)
    assert status[0] == t.NO_SOLUTION
    assert tracks.efficiency[0] == 0.0
    assert np.isnan(tracks.smeared).all()
    assert np.isfinite(tracks.true).all()


def test_efficiency_loses_the_right_share():
    """Binomial: 2,000 tracks at 70 % within 4.5 sigma."""
    n, e = 2000, 0.7
    tracks, status, _ = _smear(_table(efficiency=e), np.full(n, 1.0), 0.0)
    assert abs(tracks.is_reconstructed.sum() - n * e) < 4.5 * np.sqrt(n * e * (1 - e))
    assert set(status) == {t.RECONSTRUCTED, t.INEFFICIENCY}
    np.testing.assert_array_equal(status == t.RECONSTRUCTED, tracks.is_reconstructed)


@pytest.mark.parametrize(
    ("pt", "eta", "pt_rule", "eta_rule", "expected", "outside"),
    [
        (0.05, 0.0, p.CLAMP, p.CLAMP, t.RECONSTRUCTED, [1, 0, 0, 0]),
        (0.05, 0.0, p.NOT_RECONSTRUCTED, p.CLAMP, t.OUT_OF_RANGE, [1, 0, 0, 0]),
        (50.0, 0.0, p.CLAMP, p.NOT_RECONSTRUCTED, t.RECONSTRUCTED, [0, 1, 0, 0]),
        (1.0, 2.5, p.CLAMP, p.CLAMP, t.RECONSTRUCTED, [0, 0, 1, 0]),
        (1.0, -2.5, p.CLAMP, p.NOT_RECONSTRUCTED, t.OUT_OF_RANGE, [0, 0, 1, 0]),
        (50.0, -2.5, p.CLAMP, p.NOT_RECONSTRUCTED, t.OUT_OF_RANGE, [0, 0, 1, 0]),  # lost by eta: pt is not asked
        (50.0, -2.5, p.NOT_RECONSTRUCTED, p.CLAMP, t.OUT_OF_RANGE, [0, 1, 1, 0]),
        (1.0, 1.999, p.ERROR, p.ERROR, t.RECONSTRUCTED, [0, 0, 0, 0]),
    ],
)
def test_overflow_rules(pt, eta, pt_rule, eta_rule, expected, outside):
    _, status, counted = _smear(_table(), pt, eta, pt_rule=pt_rule, eta_rule=eta_rule)
    assert status[0] == expected
    assert counted.tolist() == outside


def test_a_matrix_that_is_not_positive_definite_is_not_written_as_a_track():
    _, status, _ = _smear(_table(rho=-0.9), 1.0, 0.0)  # five parameters cannot all be anticorrelated
    assert status[0] == t.NO_SOLUTION


def test_reconstructed_charge_follows_the_smeared_curvature():
    tracks, *_ = _smear(_table(sigma=10.0), np.full(200, 1.0), 0.0)
    np.testing.assert_array_equal(tracks.charge, np.sign(tracks.smeared[:, 4]))
    assert {-1, 1} == set(tracks.charge)


def test_phi_is_wrapped():
    tracks, *_ = _smear(_table(sigma=2.0), np.full(200, 1.0), 0.0)
    assert (np.abs(tracks.smeared[:, 2]) <= np.pi).all()
    assert np.ptp(tracks.smeared[:, 2]) > np.pi


def test_parameters_are_taken_at_the_beam_line():
    """Straight up from (3, 4) mm off the beam: dca_xy by hand for a nearly straight 1 TeV track, pt clamped."""
    tracks, *_ = _smear(_table(), 1000.0, 0.0, position=(0.03, 0.04, 1.5))
    # momentum along x: left of it is +y, so dca_xy is y up to the bending over 0.3 mm
    np.testing.assert_allclose(tracks.true[0, :3], [0.04, 1.5, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    ("dnch", "rule", "expected", "counted"),
    [
        (5.0, p.ERROR, t.RECONSTRUCTED, 0),  # below the axis the first bin holds: fewer wrong hits are no other physics
        (2000.0, p.CLAMP, t.RECONSTRUCTED, 1),
        (2000.0, p.NOT_RECONSTRUCTED, t.OUT_OF_RANGE, 1),
        (0.0, p.CLAMP, t.RECONSTRUCTED, 0),  # an event without charged primaries
    ],
)
def test_occupancy_beyond_the_axis(dnch, rule, expected, counted):
    _, status, outside = _smear(_table(n_dnch=4), 1.0, 0.0, dnch=dnch, dnch_rule=rule)
    assert status[0] == expected
    assert outside.tolist() == [0, 0, 0, counted]


def test_born_beyond_the_last_radius_bin_is_no_track():
    _, status, _ = _smear(_table(), 1.0, 0.0, position=(0.0, 49.9, 0.0))
    assert status[0] == t.RECONSTRUCTED
    _, status, _ = _smear(_table(), 1.0, 0.0, position=(0.0, 50.0, 0.0))
    assert status[0] == t.NO_SOLUTION


@pytest.mark.parametrize("charge", [2, -2])
def test_charge_two_has_its_own_pt_and_half_the_radius(charge):
    """q/pt holds the charge; pt is the true one's estimate, not the rigidity."""
    tracks, *_ = _smear(_table(sigma=1e-6), 4.0, 0.3, charge=charge)
    assert tracks.true[0, 4] == pytest.approx(charge / 4.0, rel=1e-12)
    assert tracks.pt[0] == pytest.approx(4.0, rel=1e-4)
    assert tracks.charge[0] == charge


def test_decay_in_flight_by_hand():
    """reference/tracking.md 7: a pion of 1 GeV over 1 m decays with 1.77 %, a kaon with 12.5 % (nearly straight tracks)."""
    for mass, c_tau, share in ((0.13957039, 780.44, 0.0177), (0.493677, 371.12, 0.125)):
        found = 1.0 - p.survival_1(0.0, 1.0, 0.0, 1.0, 1e-6, 100.0, 1e9, mass, c_tau)
        assert found == pytest.approx(share, abs=0.00051)


def test_decay_in_flight_ends_where_the_tracker_does():
    """exp(-L m / (p c tau)) with L by hand: up to r, up to z, from the production radius, half a turn; stable: no decay."""
    mass, c_tau, pt, b_z = 0.13957039, 780.4421, 0.2, 2.0
    radius = pt / (0.299792458e-2 * b_z)  # 33.4 cm
    arc = 2 * radius * np.arcsin(40.0 / (2 * radius))
    by_arc = lambda s, tan: np.exp(-s * np.hypot(1, tan) * mass / (pt * np.hypot(1, tan) * c_tau))
    args = (1.0, b_z)
    assert p.survival_1(0.0, pt, 0.5, *args, 40.0, 1e9, mass, c_tau) == pytest.approx(by_arc(arc, 0.5))
    assert p.survival_1(0.0, pt, 2.0, *args, 40.0, 30.0, mass, c_tau) == pytest.approx(by_arc(15.0, 2.0))
    inner = 2 * radius * np.arcsin(10.0 / (2 * radius))
    assert p.survival_1(10.0, pt, 0.5, *args, 40.0, 1e9, mass, c_tau) == pytest.approx(by_arc(arc - inner, 0.5))
    assert p.survival_1(0.0, pt, 0.0, *args, 80.0, 1e9, mass, c_tau) == pytest.approx(by_arc(np.pi * radius, 0.0))
    assert p.survival_1(50.0, pt, 0.5, *args, 40.0, 1e9, mass, c_tau) == 1.0
    assert p.survival_1(0.0, pt, 0.5, *args, 40.0, 1e9, mass, np.inf) == 1.0


def test_decays_multiply_the_efficiency():
    stays = p.survival_1(0.0, 1.0, np.sinh(0.3), 1.0, 2.0, 80.0, 130.0, MASS[2], C_TAU[2])
    with_, without = (_smear(_table(efficiency=0.9), 1.0, 0.3, decays=d)[0].efficiency[0] for d in (True, False))
    assert with_ / without == pytest.approx(stays, rel=1e-12)


@pytest.mark.parametrize(("z", "eta", "expected"), [(49.9, 0.0, 1), (-50.1, 0.0, 0), (49.0, -1.0, 1), (49.0, 1.0, 1)])
def test_tracks_from_far_along_the_beam_are_none(z, eta, expected):
    """The tables are of tracks from the origin: what passes the beam line beyond max_dca_z = 50 cm has none."""
    tracks, status, _ = _smear(_table(), 1.0, eta, position=(0.1, 0.0, z))
    assert status[0] == (t.RECONSTRUCTED if expected else t.POINTS_AWAY)
    assert bool(tracks.is_reconstructed[0]) == bool(expected)
