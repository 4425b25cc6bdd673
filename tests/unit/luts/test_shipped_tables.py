"""The tables in luts/ are those of the default card, and what the table maker makes today."""

from __future__ import annotations

import numpy as np
import pytest

import fastsim
from fastsim import resources
from fastsim.luts import Grid, build_lut, read_lut
from fastsim.luts.build import lut_key
from fastsim.luts.kernels import EFFICIENCY_STEP, LN_SIGMA_STEP, RHO_STEP
from fastsim.luts.store import file_name
from fastsim.species import NAMES, by_name


def test_luts_holds_the_tables_of_the_default_card_and_no_other():
    loaded = fastsim.load_card("alice3")
    grid = loaded.card.tracking.grid
    expected = {file_name(loaded.detector, kind, lut_key(loaded.detector, kind, grid)) for kind in map(by_name, NAMES)}
    found = list(resources.data_dir("luts").glob("*.lut"))
    assert {path.name for path in found} == expected, "make luts"
    assert sum(path.stat().st_size for path in found) / read_lut(found[0]).header.grid.n_r < 10e6  # bytes a radius bin


@pytest.mark.slow
def test_a_shipped_table_is_what_is_built_now():
    """Whoever changes a number in a table raises PHYSICS_VERSION; two machines may round differently by one step."""
    detector = fastsim.load_detector("alice3_v2")
    kind = by_name("ka")
    name = file_name(detector, kind, lut_key(detector, kind, Grid()))
    shipped, built = read_lut(resources.data_dir("luts") / name), build_lut(detector, kind)
    np.testing.assert_array_equal(shipped.is_valid, built.is_valid)
    valid = built.is_valid
    difference = np.abs(shipped.covariance[valid] - built.covariance[valid])
    assert difference[:, :5].max() <= 1.01 * LN_SIGMA_STEP
    assert (
        np.quantile(difference[:, 5:], 0.9999) <= 1.01 * RHO_STEP
    )  # a few matrices need more shrinking than elsewhere
    for key, values in built.efficiencies.items():
        assert np.abs(shipped.efficiencies[key] - values).max() <= 1.01 * EFFICIENCY_STEP
