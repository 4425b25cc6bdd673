"""What all devices say together: the probability of each species, from their likelihoods and the card's priors (Bayes).

As ALICE does it (Eur. Phys. J. Plus 131 (2016) 168): devices are independent, each gives the likelihood of its measurement for
each species, one that did not measure a track says nothing of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.columns import Column
from fastsim.detector.formulas import FormulaError, evaluate
from fastsim.devices.common import is_measured, log_likelihood
from fastsim.errors import CardError, PluginError
from fastsim.jit import kernel
from fastsim.module import Made
from fastsim.species import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastsim.detector import Detector
    from fastsim.events import EventBatch
    from fastsim.rng import Streams
    from fastsim.toml import Path

VARIABLES = ("pt", "p", "eta")
_SpeciesName = Literal[NAMES]  # type: ignore[valid-type]


@kernel
def add_device(
    measured: NDArray[np.bool_],
    log_likelihood: NDArray[np.float64],
    log_p: NDArray[np.float64],
    n_devices: NDArray[np.int8],
) -> None:
    """Add a device's likelihoods (n, 9) to ln of the probabilities of the tracks that it measured."""
    for i in range(len(measured)):
        if measured[i]:
            n_devices[i] += 1
            for k in range(log_p.shape[1]):
                log_p[i, k] += log_likelihood[i, k]


@kernel
def norm(rows: NDArray[np.int64], p: NDArray[np.float64]) -> None:
    """Probabilities from logarithms, in these rows of (n, 9)."""
    for i in rows:
        largest = p[i].max()
        total = 0.0
        for k in range(p.shape[1]):
            p[i, k] = math.exp(p[i, k] - largest)
            total += p[i, k]
        for k in range(p.shape[1]):
            p[i, k] /= total


class CombinedPid:
    """Module kind "pid": probabilities of the species of each reconstructed track; 0 for species without a prior."""

    class Options(module.Options):
        """Particle identification by all devices."""

        devices: Annotated[
            list[str] | None,
            Field(min_length=1, description="names of devices of the detector file; by default all that identify"),
        ] = None
        priors: Annotated[
            dict[_SpeciesName, float | str],
            Field(
                min_length=1,
                description="relative abundance of each species: a number, or a formula in pt, p [GeV] and eta",
            ),
        ]

        @classmethod
        def faults(cls, data: dict[str, Any]) -> Iterator[tuple[Path, str]]:
            """Formulas that are none, numbers below 0."""
            priors = data.get("priors")
            for name, value in (priors if isinstance(priors, dict) else {}).items():
                if isinstance(value, str):
                    try:
                        evaluate(value, dict.fromkeys(VARIABLES, np.ones(1)))
                    except FormulaError as error:
                        yield ("priors", name), str(error)
                elif isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0:
                    yield ("priors", name), f"must not be negative (got {value!r})"

    def __init__(self, name: str, devices: list[str], priors: dict[str, float | str]) -> None:
        self.name = name
        self._devices = [(is_measured(device), log_likelihood(device)) for device in devices]
        self._priors = {NAMES.index(species): prior for species, prior in priors.items()}
        self._probability = Column(
            f"{name}_probability", "track", "float64", "", "probability of each species, in the order of fastsim.species.SPECIES",
            (len(NAMES),),
        )  # fmt: skip
        self._n_devices = Column(f"{name}_n_devices", "track", "int8", "", "devices that measured the track")
        self.needs: tuple[Column, ...] = (
            c.IS_RECONSTRUCTED, c.PT, c.ETA, *(column for pair in self._devices for column in pair),
        )  # fmt: skip
        self.makes: tuple[Column, ...] = (self._probability, self._n_devices)

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> CombinedPid:
        """The module as the card describes it; raises CardError for devices that are not there."""
        own = cast("CombinedPid.Options", options)
        kinds = (detector.tof, detector.rich, detector.dedx, detector.muon, detector.preshower)
        there = [device.name for kind in kinds for device in kind]
        missing = sorted(set(own.devices or []) - set(there))
        if missing or not there:
            what = (
                f"module {own.name!r}: devices: no {missing[0]!r}"
                if missing
                else f"module {own.name!r}: no device identifies"
            )
            raise CardError([f"{what} in {detector.name} (there are: {', '.join(there) or 'none'})"])
        return cls(own.name, own.devices or there, own.priors)

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Multiply likelihoods and priors, and norm."""
        del streams
        rows = np.flatnonzero(batch[c.IS_RECONSTRUCTED])
        probability = np.full((batch.n_rows("track"), len(NAMES)), np.nan)
        probability[rows] = self._log_priors(batch, rows)
        n_devices = np.zeros(batch.n_rows("track"), dtype=np.int8)
        for mask, column in self._devices:
            add_device(batch[mask], batch[column], probability, n_devices)
        norm(rows, probability)
        return Made({self._probability: probability, self._n_devices: n_devices})

    def _log_priors(self, batch: EventBatch, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Logarithms of the priors (n, 9), -inf for species without one; raises PluginError where there is none at all."""
        pt, eta = batch[c.PT][rows], batch[c.ETA][rows]
        variables = {"pt": pt, "p": pt * np.cosh(eta), "eta": eta}
        priors = np.zeros((len(rows), len(NAMES)))
        for k, prior in self._priors.items():
            priors[:, k] = prior if isinstance(prior, float) else evaluate(str(prior), variables)
        wrong = np.flatnonzero(~((priors >= 0).all(axis=1) & (priors.sum(axis=1) > 0)))
        if len(wrong):
            place = ", ".join(f"{name} = {values[wrong[0]]:.6g}" for name, values in variables.items())
            what = f"priors at {place} are {priors[wrong[0]].tolist()}: none may be negative, and one must be positive"
            raise PluginError(what, where=f"module {self.name!r}")
        with np.errstate(divide="ignore"):
            return np.log(priors)
