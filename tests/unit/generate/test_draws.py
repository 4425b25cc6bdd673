"""Draws: quantiles against scipy and closed forms; Poisson numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from fastsim.generate.draws import Draw, poisson_1, sample_1
from fastsim.rng import Streams

U = [1e-12, 0.1, 0.5, 0.9, 1.0]
MASS = 0.493677


def quantiles(mass=MASS, **keys):
    sampler = Draw(**keys).sampler()
    return np.array([sample_1(sampler, u, mass) for u in U])


def test_ranges_against_scipy():
    assert quantiles(min=2, max=5) == pytest.approx(stats.uniform(2, 3).ppf(U))
    assert quantiles(min=2, max=50, shape="log_uniform") == pytest.approx(stats.loguniform(2, 50).ppf(U))
    assert quantiles(min=2, max=50, shape="power", power=1) == pytest.approx(stats.loguniform(2, 50).ppf(U))
    exponential = stats.truncexpon(b=48 / 3, loc=2, scale=3)
    assert quantiles(min=2, max=50, shape="exponential", slope=3) == pytest.approx(exponential.ppf(U))


@pytest.mark.parametrize("power", [5.0, 2.0, 0.5, -1.0])
def test_power_law_against_its_integral(power):
    whole = integrate.quad(lambda x: x**-power, 1, 20)[0]
    for x, u in zip(quantiles(min=1, max=20, shape="power", power=power), U, strict=True):
        assert integrate.quad(lambda x: x**-power, 1, x)[0] / whole == pytest.approx(u, abs=1e-9)


@pytest.mark.parametrize("distance", [1e-15, -1e-15, 1e-12, 1e-9, -1e-9])
def test_a_power_close_to_one_is_nearly_log_uniform(distance):
    """To first order in the distance the quantile's logarithm differs by distance L^2 u (u - 1) / 2, L = log(max / min)."""
    u, width = np.array(U), math.log(1000)
    found = np.log(quantiles(min=0.01, max=10, shape="power", power=1 + distance)) - math.log(0.01)
    assert found == pytest.approx(u * width + distance * width**2 * u * (u - 1) / 2, abs=1e-14)


@pytest.mark.parametrize(("low", "slope", "mass"), [(0, 0.3, MASS), (0.2, 0.1, 0), (1, 2, 5)])
def test_thermal_spectrum_against_its_integral(low, slope, mass):
    def density(pt):
        return pt * math.exp(-(math.hypot(pt, mass) - mass) / slope)

    whole = integrate.quad(density, low, 10, epsabs=0)[0]
    for pt, u in zip(quantiles(mass, min=low, max=10, shape="thermal", slope=slope), U, strict=True):
        assert integrate.quad(density, low, pt)[0] / whole == pytest.approx(u, abs=1e-8)


def test_values_and_histogram():
    assert quantiles(values=[3.0]).tolist() == [3.0] * 5
    assert quantiles(values=[1, 2, 3, 4], weights=[0, 3, 7, 0]).tolist() == [2, 2, 3, 3, 3]
    histogram = stats.rv_histogram((np.array([1.0, 3.0]), np.array([0.0, 1.0, 4.0])), density=False)
    assert quantiles(edges=[-1, 0, 1, 4, 9], contents=[0, 1, 3, 0]) == pytest.approx(histogram.ppf(U))


@given(st.floats(0, 1, exclude_min=True), st.floats(0.01, 10), st.floats(0.01, 100), st.floats(0.01, 20))
def test_draws_stay_in_their_range(u, low, width, slope):
    high = low + width
    for keys in ({}, {"shape": "log_uniform"}, {"shape": "power", "power": slope}, {"shape": "exponential", "slope": slope},
                 {"shape": "thermal", "slope": slope}):  # fmt: skip
        x = sample_1(Draw(min=low, max=high, **keys).sampler(), u, MASS)
        assert low <= x * (1 + 1e-12), keys
        assert x <= high * (1 + 1e-12), keys


def test_ends():
    assert (Draw(values=[3, 1]).low, Draw(values=[3, 1]).high) == (1, 3)
    assert (Draw(min=-1, max=2).low, Draw(min=-1, max=2).high) == (-1, 2)
    assert (Draw(edges=[0, 1, 5], contents=[1, 1]).low, Draw(edges=[0, 1, 5], contents=[1, 1]).high) == (0, 5)


@pytest.mark.parametrize("mean", [0.3, 5.0, 16.0, 40.0, 1000.0])
def test_poisson_numbers(mean):
    key = Streams(5).key("test")
    n = 20_000
    numbers = np.array([poisson_1(mean, 0, 0, event, *key) for event in range(n)])
    law = stats.poisson(mean)
    assert abs(numbers.mean() - mean) < 4 * math.sqrt(mean / n)
    variance_of_variance = (mean + 2 * mean**2) / n  # fourth central moment mu + 3 mu^2
    assert abs(numbers.var() - mean) < 4 * math.sqrt(variance_of_variance)
    edges = np.unique(law.ppf(np.linspace(0, 1, 21)[1:-1]))  # about equal populations
    observed = np.bincount(np.searchsorted(edges, numbers), minlength=len(edges) + 1)
    expected = n * np.diff(np.concatenate([[0], law.cdf(edges), [1]]))
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_poisson_of_nothing():
    assert poisson_1(0.0, 0, 0, 1, *Streams(1).key("test")) == 0
