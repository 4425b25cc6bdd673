"""What must hold for the covariance of any detector: information never hurts, material never helps, mirrors."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsim.kernels.conventions import CONVENTIONS
from fastsim.kernels.covariance import PARITY
from tests.oracles import make_layers, make_rules, merge_layers, passive_layers, solve

HYPOTHESIS = settings(derandomize=True, deadline=None, max_examples=60)
PAIRS = [(i, j) for i in range(5) for j in range(i)]
ROUNDING = 1e-8  # of the inversion: condition numbers of the scaled information stay below 1e7 for these detectors


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
    for k, (i, j) in enumerate(PAIRS):
        scale = math.sqrt(one.covariance[i, i] * one.covariance[j, j])
        assert abs(other.covariance[i, j] - PARITY[k] * one.covariance[i, j]) <= ROUNDING * scale
    assert np.all(np.abs(np.diag(other.covariance) / np.diag(one.covariance) - 1.0) <= ROUNDING) or not one.efficiency


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
