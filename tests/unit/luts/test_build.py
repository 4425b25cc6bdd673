"""From a detector to a table: what is in it, and what its hash depends on."""

from __future__ import annotations

import numpy as np
import pytest

import fastsim
from fastsim.errors import LutError
from fastsim.luts import Grid, build_lut
from fastsim.luts.build import layers_of, lut_key, rules_of
from fastsim.species import by_name

SMALL = Grid(n_pt=12, n_eta=8)
PION = by_name("pi")


@pytest.fixture(scope="module")
def detector():
    return fastsim.load_detector("alice3_v2")


def _changed(detector, **changes):
    return type(detector).model_validate({**detector.model_dump(), **changes})


def _layer(detector, index, **changes):
    layers = [layer.model_dump() for layer in detector.layers]
    layers[index] |= changes
    return _changed(detector, layers=layers)


def test_layers_are_sorted_and_in_cm(detector):
    reversed_ = _changed(detector, layers=[layer.model_dump() for layer in reversed(detector.layers)])
    layers = layers_of(reversed_)
    assert (np.diff(layers.r) > 0).all()
    assert layers.sigma_rphi[1] == pytest.approx(2.5e-4)  # 2.5 um
    assert layers.efficiency[0] == 0.0  # the beam pipe measures nothing
    assert rules_of(detector).b_z == 2.0


def test_key_depends_on_all_physics_and_on_nothing_else(detector):
    key = lut_key(detector, PION, SMALL)
    same = [
        _changed(detector, name="other", source="elsewhere"),
        _changed(detector, layers=[layer.model_dump() for layer in reversed(detector.layers)]),
        _layer(detector, 1, name="renamed"),
    ]
    assert all(lut_key(other, PION, SMALL) == key for other in same)
    rules = detector.tracking.model_dump()
    different = [
        _changed(detector, b_z=-2.0),
        _changed(detector, tracking={**rules, "scattering": "no_log"}),
        _changed(detector, tracking={**rules, "min_hits": 5}),
        _changed(detector, tracking={**rules, "max_sin_incidence": 0.9}),
        _changed(detector, tracking={**rules, "min_radius": 10.0}),
        _layer(detector, 1, r=0.51),
        _layer(detector, 1, half_length=100.0),
        _layer(detector, 1, x_over_x0=0.002),
        _layer(detector, 1, sigma_rphi_um=3.0),
        _layer(detector, 1, sigma_z_um=3.0),
        _layer(detector, 1, efficiency=0.99),
    ]
    keys = {key} | {lut_key(other, PION, SMALL) for other in different}
    keys |= {lut_key(detector, by_name("ka"), SMALL), lut_key(detector, PION, Grid(n_pt=13, n_eta=8))}
    assert len(keys) == 1 + len(different) + 2


def test_turning_the_field_round_mirrors_the_table(detector):
    """B -> -B is the mirror y -> -y at the same charge: dca_xy and phi change sign, dca_z, tan_lambda and q/pt do not."""
    there, back = (build_lut(_changed(detector, b_z=b), PION, SMALL).values for b in (2.0, -2.0))
    sign = np.array([-1, 1, -1, 1, 1])
    np.testing.assert_allclose(back[..., :6], there[..., :6], rtol=1e-6)
    np.testing.assert_allclose(back[..., 6:], there[..., 6:] * np.outer(sign, sign)[np.tril_indices(5, -1)], atol=1e-6)


def test_header_says_what_made_it(detector):
    header = build_lut(detector, PION, SMALL, command="a test").header
    assert (header.species, header.pdg, header.charge, header.detector, header.b_z) == ("pi", 211, 1, "alice3_v2", 2.0)
    assert header.key == lut_key(detector, PION, SMALL)
    assert header.command == "a test"
    assert len(header.quantities) == 16


def test_table_of_the_kernels_is_the_table_of_the_reader(detector):
    """sigma() and efficiency() read the bin that holds an eta."""
    lut = build_lut(detector, PION, SMALL)
    eta_bin = int(np.searchsorted(SMALL.eta_edges, 0.3, side="right") - 1)
    valid = lut.efficiency(0.3) > 0
    np.testing.assert_allclose(lut.sigma("phi", 0.3)[valid], np.exp(lut.values[eta_bin, valid, 3].astype(float)))


def test_detectors_that_do_not_determine_a_track_are_refused(detector):
    rules = {**detector.tracking.model_dump(), "min_radius": 1e6}
    with pytest.raises(LutError, match="no track of species pi is found anywhere"):
        build_lut(_changed(detector, tracking=rules), PION, SMALL)


def test_layers_that_cannot_tell_a_curvature_are_refused(detector):
    """Three layers within 4 um: the correlations are 1 to float32, so that no track could be drawn from the table."""
    layer = detector.layers[1].model_dump()
    layers = [{**layer, "name": f"L{i}", "r": 30.0 + 2e-4 * i} for i in range(3)]
    rules = {**detector.tracking.model_dump(), "min_hits": 3}
    with pytest.raises(LutError, match="cells of pi have no positive definite covariance"):
        build_lut(_changed(detector, layers=layers, tracking=rules), PION, SMALL)
