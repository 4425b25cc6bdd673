"""What must hold for the covariance of any detector: information never hurts, material never helps, mirrors."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsim.kernels.conventions import CONVENTIONS
from fastsim.kernels.covariance import PARITY
from fastsim.kernels.surfaces import Surfaces
from tests.oracles import (
    add_disks,
    forward_disks,
    make_layers,
    make_rules,
    make_surfaces,
    merge_layers,
    of_silicon,
    passive_layers,
    solve,
)

HYPOTHESIS = settings(derandomize=True, deadline=None, max_examples=60)
PAIRS = [(i, j) for i in range(5) for j in range(i)]
# Of the inversion, 2e-16 times the condition number of the scaled information: three layers half a centimetre apart may be
# all that is left of a barrel (1e9), four disks 2.5 cm apart all that a track sees.
ROUNDING = 1e-6
ROUNDING_WITH_DISKS = 1e-6


@st.composite
def barrels(draw):
    """4 to 8 measuring layers at least half a centimetre apart, with and without material, efficient or not."""
    n = draw(st.integers(4, 8))
    gaps = [draw(st.floats(0.5, 12.0)) for _ in range(n)]
    return make_layers(
        np.cumsum(gaps),
        [draw(st.sampled_from([0.0, 0.001, 0.01, 0.05])) for _ in range(n)],
        [draw(st.floats(1e-4, 1e-2)) for _ in range(n)],
        [draw(st.floats(1e-4, 1e-1)) for _ in range(n)],
        [draw(st.sampled_from([1.0, 1.0, 0.97])) for _ in range(n)],
        half_length=draw(st.sampled_from([50.0, 1e6])),
    )


@st.composite
def tracks(draw):
    return {
        "pt": math.exp(draw(st.floats(math.log(0.3), math.log(50.0)))),
        "tan_lambda": math.sinh(draw(st.floats(-1.5, 1.5))),
        "charge": draw(st.sampled_from([-1.0, 1.0])),
    }


conventions = st.sampled_from(sorted(CONVENTIONS.values()))
# A new outermost measuring surface changes what "the whole path" is, so that layers may scatter more.
conventions_per_layer = st.sampled_from([n for name, n in CONVENTIONS.items() if name != "pdg_whole_path"])


def variances(layers, rules, track):
    solution = solve(layers, rules, **track)
    return np.diag(solution.covariance) if solution.efficiency > 0.0 else None


@HYPOTHESIS
@given(layers=barrels(), track=tracks(), convention=conventions, r=st.floats(0.3, 100.0), sigma=st.floats(1e-5, 1.0))
def test_a_perfect_massless_layer_never_worsens_anything(layers, track, convention, r, sigma):
    """One more measurement without material: every variance stays or shrinks (information adds)."""
    layers = layers._replace(efficiency=np.ones(len(layers.r)))
    rules = make_rules(2.0, convention)
    before = variances(layers, rules, track)
    if before is None:
        return
    after = variances(merge_layers(layers, make_layers([r], 0.0, sigma)), rules, track)
    assert np.all(after <= before * (1.0 + ROUNDING))


@HYPOTHESIS
@given(layers=barrels(), track=tracks(), convention=conventions, r=st.floats(0.3, 100.0), t=st.floats(1e-4, 0.2))
def test_more_passive_material_never_improves_anything(layers, track, convention, r, t):
    rules = make_rules(2.0, convention)
    before = variances(layers, rules, track)
    if before is None:
        return
    after = variances(merge_layers(layers, passive_layers([r], [t])), rules, track)
    assert np.all(after >= before * (1.0 - ROUNDING))


@HYPOTHESIS
@given(layers=barrels(), track=tracks(), convention=conventions)
def test_z_mirror(layers, track, convention):
    """eta -> -eta: z and tan(lambda) change sign, so their correlations with the other three do, and nothing else."""
    rules = make_rules(2.0, convention)
    one = solve(layers, rules, **track)
    other = solve(layers, rules, **(track | {"tan_lambda": -track["tan_lambda"]}))
    sign = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    assert other.efficiency == one.efficiency
    scale = np.sqrt(np.outer(np.diag(one.covariance), np.diag(one.covariance)))
    assert np.all(np.abs(other.covariance - one.covariance * np.outer(sign, sign)) <= ROUNDING * scale)


@HYPOTHESIS
@given(layers=barrels(), track=tracks(), convention=conventions)
def test_charge_mirror_is_parity(layers, track, convention):
    """y -> -y: the opposite charge has the same sigmas, and correlations multiplied by PARITY."""
    rules = make_rules(2.0, convention)
    one = solve(layers, rules, **track)
    other = solve(layers, rules, **(track | {"charge": -track["charge"]}))
    assert other.efficiency == one.efficiency
    if one.efficiency == 0.0:
        return
    for k, (i, j) in enumerate(PAIRS):
        scale = math.sqrt(one.covariance[i, i] * one.covariance[j, j])
        assert abs(other.covariance[i, j] - PARITY[k] * one.covariance[i, j]) <= ROUNDING * scale
    assert np.all(np.abs(np.diag(other.covariance) / np.diag(one.covariance) - 1.0) <= ROUNDING)


@HYPOTHESIS
@given(layers=barrels(), track=tracks(), convention=conventions)
def test_opposite_field_is_the_opposite_charge(layers, track, convention):
    """Only q B bends: turning the field round bends as the other charge does, q/pt keeping its sign.

    The covariance of (n, z, phi, tan, q/pt) for -B equals that for the opposite charge with q/pt -> -q/pt.
    """
    one = solve(layers, make_rules(-2.0, convention), **track)
    other = solve(layers, make_rules(2.0, convention), **(track | {"charge": -track["charge"]}))
    sign = np.array([1.0, 1.0, 1.0, 1.0, -1.0])
    assert other.efficiency == one.efficiency
    scale = np.sqrt(np.outer(np.diag(one.covariance), np.diag(one.covariance)))
    assert np.all(np.abs(other.covariance * np.outer(sign, sign) - one.covariance) <= ROUNDING * scale)


@HYPOTHESIS
@given(layers=barrels(), track=tracks(), share=st.floats(0.05, 0.95), r=st.floats(0.3, 100.0))
def test_material_at_one_radius_may_be_split(layers, track, share, r):
    """Without the log term theta^2 is proportional to thickness: two walls at one radius are one wall."""
    rules = make_rules(2.0, CONVENTIONS["no_log"])
    whole = solve(merge_layers(layers, passive_layers([r], [0.02])), rules, **track).covariance
    parts = passive_layers([r, r], [0.02 * share, 0.02 * (1.0 - share)])
    split = solve(merge_layers(layers, parts), rules, **track).covariance
    scale = np.sqrt(np.outer(np.diag(whole), np.diag(whole)))
    assert np.all(np.abs(split - whole) <= ROUNDING * scale)


@HYPOTHESIS
@given(layers=barrels(), track=tracks(), t=st.floats(0.001, 10.0))
def test_material_behind_the_last_hit_is_invisible(layers, track, t):
    """A kick after the last measurement moves no hit (conventions with a log per layer)."""
    rules = make_rules(2.0, CONVENTIONS["pdg_per_layer"])
    before = solve(layers, rules, **track)
    after = solve(merge_layers(layers, passive_layers([layers.r[-1] + 0.1], [t])), rules, **track)
    assert after.efficiency == before.efficiency
    assert np.array_equal(after.covariance, before.covariance)


@HYPOTHESIS
@given(layers=barrels(), track=tracks(), convention=conventions)
def test_covariances_are_covariances(layers, track, convention):
    """Symmetric and positive definite; correlations within 1 by Cauchy and Schwarz."""
    solution = solve(layers, make_rules(2.0, convention), **track)
    if solution.efficiency == 0.0:
        assert not solution.covariance.any()
        return
    assert np.array_equal(solution.covariance, solution.covariance.T)
    sigma = np.sqrt(np.diag(solution.covariance))
    assert np.linalg.eigvalsh(solution.covariance / np.outer(sigma, sigma))[0] > 0.0


@HYPOTHESIS
@given(layers=barrels(), track=tracks(), scale=st.floats(0.1, 10.0))
def test_lengths_have_no_scale(layers, track, scale):
    """Double all lengths and halve the field: dca doubles, angles and momenta keep their resolution."""
    one = solve(layers, make_rules(2.0), **track).covariance
    bigger = layers._replace(
        r=layers.r * scale, half_length=layers.half_length * scale,
        sigma_rphi=layers.sigma_rphi * scale, sigma_z=layers.sigma_z * scale,
    )  # fmt: skip
    other = solve(bigger, make_rules(2.0 / scale), **track).covariance
    unit = np.array([scale, scale, 1.0, 1.0, 1.0])
    size = np.sqrt(np.outer(np.diag(other), np.diag(other)))
    assert np.all(np.abs(other - one * np.outer(unit, unit)) <= ROUNDING * size)


@st.composite
def detectors(draw):
    """A short barrel and up to 5 disks, each on both sides; some with tilted views or one view only."""
    layers = draw(barrels())
    z_max = draw(st.floats(20.0, 100.0))
    surfaces = make_surfaces(layers._replace(half_length=np.full(len(layers.r), z_max)))
    z = z_max + np.cumsum([draw(st.floats(1.0, 50.0)) for _ in range(draw(st.integers(1, 5)))])
    t, sigma, sigma_r, efficiency = (
        np.array([draw(values) for _ in z])
        for values in (
            st.sampled_from([0.0, 0.001, 0.05]), st.floats(1e-4, 1e-2), st.floats(1e-4, 1e-1),
            st.sampled_from([1.0, 1.0, 0.97, 0.0]),
        )
    )  # fmt: skip
    both = np.concatenate([z, -z])
    columns = [np.tile(column, 2) for column in (t, sigma, sigma_r, efficiency)]
    surfaces = add_disks(surfaces, both, 0.5, draw(st.floats(20.0, 200.0)), *columns)
    if draw(st.booleans()):
        tilt = draw(st.floats(-0.2, 0.2))
        stereo, sigma = surfaces.stereo.copy(), surfaces.sigma.copy()
        stereo[::3] = [tilt, -tilt - 0.05]
        sigma[1::3, 1] = np.inf
        surfaces = surfaces._replace(stereo=stereo, sigma=sigma)
    return surfaces


@st.composite
def forward_tracks(draw):
    eta = draw(st.floats(-3.0, 3.0))
    return {
        "pt": math.exp(draw(st.floats(math.log(0.3), math.log(50.0)))),
        "tan_lambda": math.sinh(eta) if abs(eta) > 1e-9 else 0.0,  # 1 / 1e-308 is a warning without JIT
        "charge": draw(st.sampled_from([-1.0, 1.0])),
    }


def new_surface(r, z, sigma, t, efficiency):
    """Adds a cylinder at r, or a disk at z if that is not 0, to a detector."""

    def add(surfaces):
        if z != 0.0:
            return add_disks(surfaces, [z], 0.0, 1e6, t, sigma, efficiency=efficiency)
        one = make_surfaces(make_layers([r], t, sigma, efficiency=efficiency))
        at = int(np.searchsorted(surfaces.position[: surfaces.n_cylinders], r))
        columns = [np.insert(ours, at, theirs[0], axis=0) for ours, theirs in zip(surfaces[2:], one[2:], strict=True)]
        return Surfaces(surfaces.n_cylinders + 1, surfaces.n_forward + 1, *columns)

    return add


new_places = {"r": st.floats(0.3, 100.0), "z": st.sampled_from([0.0, 10.0, -10.0, 60.0, -60.0, 150.0, -150.0])}


def compare(after, before, size):
    assert np.all(np.abs(after - before) <= ROUNDING_WITH_DISKS * np.sqrt(np.outer(np.diag(size), np.diag(size))))


@HYPOTHESIS
@given(
    detector=detectors(),
    track=forward_tracks(),
    convention=conventions_per_layer,
    **new_places,
    sigma=st.floats(1e-4, 1.0),
)
def test_with_disks_a_perfect_massless_surface_never_worsens_anything(detector, track, convention, r, z, sigma):
    """As for barrels, the new one being a cylinder or a disk."""
    detector = detector._replace(efficiency=np.ceil(detector.efficiency))
    rules = make_rules(2.0, convention)
    before = variances(detector, rules, track)
    if before is None:
        return
    after = variances(new_surface(r, z, sigma, 0.0, 1.0)(detector), rules, track)
    assert np.all(after <= before * (1.0 + ROUNDING_WITH_DISKS))


@HYPOTHESIS
@given(detector=detectors(), track=forward_tracks(), convention=conventions, **new_places, t=st.floats(1e-4, 0.2))
def test_with_disks_more_passive_material_never_improves_anything(detector, track, convention, r, z, t):
    rules = make_rules(2.0, convention)
    before = variances(detector, rules, track)
    if before is None:
        return
    after = variances(new_surface(r, z, math.inf, t, 0.0)(detector), rules, track)
    assert np.all(after >= before * (1.0 - ROUNDING_WITH_DISKS))


@HYPOTHESIS
@given(detector=detectors(), track=forward_tracks(), loss=st.booleans())
def test_z_mirror_of_disks_and_stereo_views(detector, track, loss):
    """z -> -z of a symmetric detector: tilted views of cylinders, cos r-phi - sin z, change their angle; disks measure r."""
    detector = of_silicon(detector)
    rules = make_rules(2.0, energy_loss=int(loss), straggling=int(loss), average_rapidity=0.45)
    track = track | {"charge": 1.0}
    is_cylinder = np.arange(len(detector.position)) < detector.n_cylinders
    n = detector.n_forward
    size = len(detector.position) - n
    order = np.concatenate(
        [np.arange(detector.n_cylinders), np.arange(n, n + size), np.arange(detector.n_cylinders, n)]
    )
    mirrored = Surfaces(detector.n_cylinders, n, *(column[order] for column in detector[2:]))
    mirrored = mirrored._replace(
        position=np.where(is_cylinder, mirrored.position, -mirrored.position),
        stereo=np.where(is_cylinder[:, None], -detector.stereo, mirrored.stereo),
    )
    one = solve(detector, rules, **track, dnch_deta=(1.0, 1000.0))
    other = solve(mirrored, rules, **(track | {"tan_lambda": -track["tan_lambda"]}), dnch_deta=(1.0, 1000.0))
    sign = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    assert other.efficiencies == pytest.approx(one.efficiencies, rel=1e-5, abs=1e-8)
    compare(other.covariance, one.covariance * np.outer(sign, sign), one.covariance)


@HYPOTHESIS
@given(detector=detectors(), track=forward_tracks(), loss=st.booleans())
def test_charge_mirror_of_disks_and_stereo_views(detector, track, loss):
    """y -> -y: the opposite charge, all tilts reversed; PARITY of the correlations."""
    detector = of_silicon(detector)
    rules = make_rules(2.0, energy_loss=int(loss), straggling=int(loss), average_rapidity=0.45)
    is_second = np.isclose(detector.stereo, 0.5 * math.pi)
    mirrored = detector._replace(stereo=np.where(is_second, detector.stereo, -detector.stereo))
    one = solve(detector, rules, **track, dnch_deta=(1.0, 1000.0))
    other = solve(mirrored, rules, **(track | {"charge": -track["charge"]}), dnch_deta=(1.0, 1000.0))
    sign = np.ones((5, 5))
    for k, (i, j) in enumerate(PAIRS):
        sign[i, j] = sign[j, i] = PARITY[k]
    assert other.efficiencies == pytest.approx(one.efficiencies, rel=1e-5, abs=1e-8)
    compare(other.covariance, one.covariance * sign, one.covariance)


@HYPOTHESIS
@given(detector=detectors(), track=forward_tracks(), sigma=st.floats(1.01, 3.0))
def test_coarser_hits_are_never_better(detector, track, sigma):
    rules = make_rules(2.0)
    detector = detector._replace(efficiency=np.ceil(detector.efficiency))  # a bad pattern may cease to be a track
    before = variances(detector, rules, track)
    if before is None:
        return
    assert np.all(
        variances(detector._replace(sigma=detector.sigma * sigma), rules, track) >= before * (1.0 - ROUNDING_WITH_DISKS)
    )


@HYPOTHESIS
@given(detector=detectors(), track=forward_tracks(), r=st.floats(0.1, 50.0))
def test_who_is_born_later_is_never_measured_better(detector, track, r):
    """Fewer hits, and less material in front of the first: only with no material at all it is always worse."""
    detector = detector._replace(x_over_x0=np.zeros_like(detector.x_over_x0), efficiency=np.ceil(detector.efficiency))
    rules = make_rules(2.0)
    early, late = solve(detector, rules, **track), solve(detector, rules, **track, r=r)
    assert late.efficiency <= early.efficiency
    if late.efficiency > 0.0:
        assert np.all(np.diag(late.covariance) >= np.diag(early.covariance) * (1.0 - ROUNDING_WITH_DISKS))


@HYPOTHESIS
@given(detector=detectors(), track=forward_tracks(), scale=st.floats(0.1, 10.0))
def test_lengths_have_no_scale_with_disks(detector, track, scale):
    """As for barrels; occupancies go with (window / r)^2, which has no scale but for the seed's 5 cm: not compared."""
    one = solve(detector, make_rules(2.0), **track).covariance
    bigger = detector._replace(
        position=detector.position * scale,
        low=detector.low * scale,
        high=detector.high * scale,
        sigma=detector.sigma * scale,
    )
    other = solve(bigger, make_rules(2.0 / scale), **track).covariance
    unit = np.array([scale, scale, 1.0, 1.0, 1.0])
    compare(other, one * np.outer(unit, unit), other)


@pytest.mark.parametrize("eta", [0.4, 2.5])
@pytest.mark.parametrize("charge", [1.0, -1.0])
def test_the_sign_of_the_charge_does_not_matter_to_energy_loss(eta, charge):
    """Bethe's formula has z^2: the same sigmas for both charges (tables are made for positive ones)."""
    rules = make_rules(2.0, energy_loss=1, straggling=1)
    surfaces = of_silicon(forward_disks())
    positive = solve(surfaces, rules, 0.4, math.sinh(eta)).covariance
    found = solve(surfaces, rules, 0.4, math.sinh(eta), charge=charge).covariance
    assert np.diag(found) == pytest.approx(np.diag(positive), rel=1e-9)
