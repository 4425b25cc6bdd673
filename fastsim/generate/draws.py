"""Distributions that a gun file can ask for, and draws from them: values, ranges with a shape, histograms, counts."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from fastsim import toml
from fastsim.jit import kernel
from fastsim.rng import Word, uniforms_1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Shape = Literal["uniform", "log_uniform", "power", "exponential", "thermal"]
Weight = Annotated[float, Field(ge=0, le=1e15)]
_UNIFORM, _LOG_UNIFORM, _POWER, _EXPONENTIAL, _THERMAL, _VALUES, _HISTOGRAM = range(7)
_WIDEST = 1e25  # max / min of a power law: to the power of 11 it is a number still
_LEAST = 2.0**-53  # what a uniform resolves: a tail that holds less is cut there
_CODES: dict[Shape, int] = {
    "uniform": _UNIFORM,
    "log_uniform": _LOG_UNIFORM,
    "power": _POWER,
    "exponential": _EXPONENTIAL,
    "thermal": _THERMAL,
}


class Sampler(NamedTuple):
    """A distribution as the kernels take it: code of its shape, range, slope or power; values or edges (n,) with cdf (n,)."""

    code: int
    low: float
    high: float
    parameter: float
    x: NDArray[np.float64]
    cdf: NDArray[np.float64]


class Draw(toml.Strict):
    """Where a number comes from. One of: `values`, with `weights`; `min` and `max`, with a shape; `edges` and `contents`."""

    values: Annotated[list[float] | None, Field(min_length=1, description="one of these; one value: it is fixed")] = (
        None
    )
    weights: Annotated[list[Weight] | None, Field(description="of the values; equal if absent")] = None
    min: Annotated[float | None, Field(description="lower end of a range, itself excluded")] = None
    max: Annotated[float | None, Field(description="upper end of a range")] = None
    shape: Annotated[
        Shape | None,
        Field(
            description='density in the range: "uniform" (if absent); "log_uniform", 1/x; "power", x^-power; "exponential", '
            'exp(-x / slope); "thermal", pt exp(-mT / slope), for pt only'
        ),
    ] = None
    slope: Annotated[
        float | None, Field(ge=1e-6, description='of "exponential" and "thermal", in the unit of x (GeV)')
    ] = None
    power: Annotated[float | None, Field(ge=-10, le=100, description='of "power": the density falls as x^-power')] = (
        None
    )
    edges: Annotated[list[float] | None, Field(min_length=2, description="of a histogram, uniform in each bin")] = None
    contents: Annotated[list[Weight] | None, Field(description="of the histogram's bins")] = None

    @model_validator(mode="after")
    def _is_one_form(self) -> Self:
        forms = (self.values is not None, self.min is not None or self.max is not None, self.edges is not None)
        if sum(forms) != 1:
            raise ValueError("must give exactly one of: values; min and max; edges and contents")
        checks = (self._check_values, self._check_range, self._check_histogram)
        checks[forms.index(True)]()
        return self

    def _check_values(self) -> None:
        self._refuse_beside("values", "shape", "slope", "power", "contents")
        if self.weights is not None:
            check_weights(self.weights, len(self.values or []), "values")

    def _check_range(self) -> None:
        self._refuse_beside("min and max", "weights", "contents")
        if self.min is None or self.max is None:
            raise ValueError("a range needs both min and max")
        if self.min >= self.max:
            raise ValueError(f"min must be below max (min = {self.min}, max = {self.max})")
        wanted = {"power": "power", "exponential": "slope", "thermal": "slope"}.get(self.shape or "")
        for name in ("slope", "power"):
            if (getattr(self, name) is None) == (name == wanted):
                rule = "needs a" if name == wanted else "has no"
                raise ValueError(f"a range of shape {self.shape or 'uniform'!r} {rule} {name}")
        if self.shape in {"log_uniform", "power"} and self.min <= 0:
            raise ValueError(f"a range of shape {self.shape!r} needs min above 0 (min = {self.min})")
        if self.shape in {"log_uniform", "power"} and self.max > _WIDEST * self.min:
            rule = f"needs max / min below {_WIDEST:g}"
            raise ValueError(f"a range of shape {self.shape!r} {rule} (min = {self.min}, max = {self.max})")

    def _check_histogram(self) -> None:
        self._refuse_beside("edges", "weights", "shape", "slope", "power")
        edges = self.edges or []
        if any(a >= b for a, b in pairwise(edges)):
            raise ValueError("edges must increase")
        check_weights(self.contents or [], len(edges) - 1, "bins", "contents")

    def _refuse_beside(self, form: str, *names: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                raise ValueError(f"{name} does not go with {form}")

    @property
    def low(self) -> float:
        """No draw is below this; of ranges and histograms, none is equal to it."""
        return min(self.values or [self._range()[0]])

    @property
    def high(self) -> float:
        """No draw is above this."""
        return max(self.values or [self._range()[1]])

    def _range(self) -> tuple[float, float]:
        if self.edges is not None:
            return self.edges[0], self.edges[-1]
        assert self.min is not None  # noqa: S101  (one of the three forms is there)
        assert self.max is not None  # noqa: S101
        return self.min, self.max

    def sampler(self) -> Sampler:
        """For the kernels."""
        if self.values is not None:
            cdf = cumulative(self.weights or [1.0] * len(self.values))
            return Sampler(_VALUES, 0.0, 0.0, 0.0, np.array(self.values, dtype=np.float64), cdf)
        if self.edges is not None:
            cdf = np.concatenate([[0.0], cumulative(self.contents or [])])
            return Sampler(_HISTOGRAM, 0.0, 0.0, 0.0, np.array(self.edges, dtype=np.float64), cdf)
        low, high = self._range()
        parameter = self.slope if self.slope is not None else self.power if self.power is not None else 0.0
        return Sampler(
            _CODES[self.shape or "uniform"], float(low), float(high), float(parameter), np.zeros(0), np.zeros(0)
        )


def check_weights(weights: Sequence[float], n: int, of: str, name: str = "weights") -> None:
    """Raise ValueError if there are not `n` weights or all are zero."""
    if len(weights) != n:
        raise ValueError(f"{name} must be as many as the {of} ({len(weights)} for {n})")
    if sum(weights) <= 0:
        raise ValueError(f"{name} must not all be 0")


def cumulative(weights: Sequence[float]) -> NDArray[np.float64]:
    """Probability (n,) to be at or before each of these; the last is exactly 1."""
    total = np.cumsum(np.array(weights, dtype=np.float64))
    return np.asarray(total / total[-1])


@kernel
def sample_1(sampler: Sampler, u: float, mass: float) -> float:
    """The value below which the distribution holds a fraction `u` in (0, 1]; `mass` [GeV] matters to "thermal" only."""
    if sampler.code < _VALUES:
        return _range_1(sampler.code, sampler.low, sampler.high, sampler.parameter, mass, u)
    x, cdf = sampler.x, sampler.cdf
    i = np.searchsorted(cdf, u)  # the first that is not below u, so never one of weight 0
    if sampler.code == _VALUES:
        return float(x[i])
    fraction = (u - cdf[i - 1]) / (cdf[i] - cdf[i - 1])
    return float(x[i - 1] + fraction * (x[i] - x[i - 1]))


@kernel
def _range_1(code: int, low: float, high: float, parameter: float, mass: float, u: float) -> float:
    if code == _UNIFORM:
        return low + u * (high - low)
    if code == _LOG_UNIFORM or (code == _POWER and parameter == 1.0):
        return low * math.pow(high / low, u)
    if code == _POWER:
        a = 1.0 - parameter
        gone = max(u * math.expm1(a * math.log(high / low)), _LEAST - 1.0)
        return min(high, low * math.exp(math.log1p(gone) / a))
    if code == _EXPONENTIAL:
        gone = min(-u * math.expm1((low - high) / parameter), 1.0 - _LEAST)
        return min(high, low - parameter * math.log1p(-gone))
    return _thermal_1(low, high, parameter, mass, u)


@kernel
def _thermal_1(low: float, high: float, slope: float, mass: float, u: float) -> float:
    """Pt of dN/dpt ~ pt exp(-mT / slope), whose integral from pt up is (mT + slope) exp(-mT / slope) slope; by bisection."""
    least = math.hypot(low, mass)
    above_low = least + slope
    mt = math.hypot(high, mass)
    above_high = (mt + slope) * math.exp((least - mt) / slope)
    wanted = above_low + u * (above_high - above_low)
    for _ in range(50):
        pt = 0.5 * (low + high)
        mt = math.hypot(pt, mass)
        if (mt + slope) * math.exp((least - mt) / slope) > wanted:
            low = pt
        else:
            high = pt
    return high


@kernel
def poisson_1(mean: float, draw: int, particle_index: int, event_id: Word, k0: Word, k1: Word) -> int:
    """A Poisson number by inversion, as a sum of numbers of mean 16 at most, one draw each from `draw` on."""
    total = 0
    while mean > 0.0:
        part = min(mean, 16.0)
        mean -= part
        u, _ = uniforms_1(draw, particle_index, event_id, k0, k1)
        draw += 1
        probability = math.exp(-part)
        below = probability
        n = 0
        while u >= below and probability > 1e-20:  # rounding may keep `below` from 1
            n += 1
            probability *= part / n
            below += probability
        total += n
    return total
