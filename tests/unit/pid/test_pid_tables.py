"""Separations against a device of known resolution, and efficiency and purity of cuts against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim.columns import Column
from fastsim.devices.common import is_measured, n_sigma
from fastsim.errors import UsageError
from fastsim.pid.sample import Sample
from fastsim.pid.separation import Separation, ranges_above, separation
from fastsim.pid.table import table_of_cut
from fastsim.species import NAMES

PI, KA = NAMES.index("pi"), NAMES.index("ka")


def sample_of(n=40_000, seed=1):
    """Pions and kaons in a device that sees them 12 / p sigma apart, exactly Gaussian; a tenth is not measured."""
    generator = np.random.default_rng(seed)
    p = np.exp(generator.uniform(np.log(0.5), np.log(20), n))
    species = generator.choice([PI, KA], n).astype(np.int8)
    seen = np.where(species == KA, 12 / p, 0.0) + generator.normal(size=n)
    scores = np.full((n, 9), np.nan)
    scores[:, PI], scores[:, KA] = seen, seen - 12 / p
    mask = generator.uniform(size=n) < 0.9
    scores[~mask] = np.nan
    columns = {"dev_is_measured": mask, "dev_n_sigma": scores, "dev_angle": np.where(mask, seen, np.nan)}
    return Sample(p, np.zeros(n), species, columns)


def test_separation_of_a_gaussian_device():
    """12 / p at the bin's tracks: the median over a bin of 5 % lies within 3 % of that at its centre."""
    edges = np.geomspace(0.5, 20, 75)
    found = separation(sample_of(), "dev", ("pi", "ka"), edges)
    np.testing.assert_allclose(found.n_sigma, 12 / found.p, rtol=0.03)
    ((low, high),) = ranges_above(found)
    assert low == pytest.approx(0.5, rel=0.03)
    assert high == pytest.approx(4.0, rel=0.03)


def test_bins_without_enough_tracks_have_none():
    found = separation(sample_of(200), "dev", ("pi", "pr"), np.geomspace(0.5, 20, 5))
    assert np.isnan(found.n_sigma).all()
    assert ranges_above(found) == []


def test_several_ranges():
    p = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    assert ranges_above(Separation(p, np.array([4.0, 2.0, np.nan, 5.0, 4.0]))) == [
        (1.0, pytest.approx(2**0.5)),
        (8.0, 16.0),
    ]


MADE = [is_measured("dev"), n_sigma("dev"), Column("dev_angle", "track", "float64", "rad", "")]


def test_cuts_are_counted():
    sample = sample_of(2000)
    lines = {line.species: line for line in table_of_cut(sample, "(abs(dev_n_sigma_ka) < 2) * (p < 3)", MADE)}
    passed = sample.columns["dev_is_measured"] & (
        np.abs(np.nan_to_num(sample.columns["dev_n_sigma"][:, KA], nan=9)) < 2
    )
    passed &= sample.p < 3
    assert set(lines) == {"pi", "ka"}
    for index, name in ((PI, "pi"), (KA, "ka")):
        own = sample.species == index
        line, n, k = lines[name], own.sum(), (own & passed).sum()
        assert (line.n, line.n_passed) == (n, k)
        assert line.efficiency == pytest.approx(k / n)
        assert line.sigma_efficiency == pytest.approx(np.sqrt(k / n * (1 - k / n) / n))
        assert line.purity == pytest.approx(k / passed.sum())
    assert table_of_cut(sample, "dev_angle > 1e9", MADE)[0].purity == 0


def test_cuts_that_are_none():
    with pytest.raises(
        UsageError, match=r"--cut 'dev_sigma > 1': 'dev_sigma' is not a variable \(allowed: p, pt, eta, dev_is"
    ):
        table_of_cut(sample_of(10), "dev_sigma > 1", MADE)
