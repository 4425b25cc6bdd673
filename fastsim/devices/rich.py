"""Ring-imaging Cherenkov counters: photo-electrons, the ring's angle, and how well each species explains them.

Level "parametric" is here: the number is drawn from Poisson's law and the angle from a normal one, of the width that
`kernels.cherenkov` derives. Level "detailed", photon by photon, is in `devices.rich_photons` and `devices.rich_fit`, level
"learned" (a network that was trained on it) in `devices.rich_learned`. See docs/rich.md and docs/learned.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module, toml
from fastsim.columns import Column
from fastsim.devices import common, rich_fit, rich_learned
from fastsim.devices.common import CHARGES, MASSES, N_SPECIES, is_measured, n_sigma, of_track
from fastsim.errors import CardError
from fastsim.jit import kernel
from fastsim.kernels.cherenkov import (
    MOST_AT_ONCE,
    Blur,
    Counter,
    draw_number_1,
    light_of_1,
    make_blur,
    poisson_1,
    ring_of_1,
    slant_1,
    window_of_1,
)
from fastsim.kernels.rings import (
    BAND,
    NOWHERE,
    Rings,
    Tracks,
    angle_1,
    compare_1,
    cross_1,
    light_1,
    make_rings,
    momentum_1,
    ring_1,
    sigma_of_ring_1,
    track_variance_1,
    variance_of_ring_1,
    without_light_1,
)
from fastsim.module import Made
from fastsim.rng import Key, normals_1, uniforms_1

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastsim.detector import Detector
    from fastsim.detector.devices import Rich
    from fastsim.events import Columns, EventBatch
    from fastsim.rng import Streams


@kernel
def measure_rings(counter: Counter, blur: Blur, tracks: Tracks, keys: tuple[Key, Key, Key], rings: Rings) -> None:
    """Draw the hits and the ring of each reconstructed track that crosses the counter."""
    number_key, stray_key, angle_key = keys
    fast, largest, values, windows = blur
    found, parameters, cov_packed, kinds, rigidity, event_id, particle_index, mass2, charge2, b_z = tracks
    is_measured, has_ring, n_photons, angle, sigma_angle, expected, n_sigma, log_likelihood = rings
    photon_0, _, _ = light_of_1(values, largest, fast, math.tan(fast) ** 2, slant_1(1.0))
    search = min(4.0 * BAND * math.sqrt(photon_0) / largest, 1.0)  # 1 / places: half of the windows that do not overlap
    for i in range(len(found)):
        crossing = NOWHERE
        if found[i]:
            crossing = cross_1(
                counter, parameters[i, 0], parameters[i, 1], parameters[i, 2], parameters[i, 3], parameters[i, 4], b_z
            )
        is_measured[i] = crossing.t_n > 0.0
        has_ring[i] = False
        n_photons[i] = angle[i] = sigma_angle[i] = math.nan
        if not is_measured[i]:
            for h in range(len(mass2)):
                expected[i, h] = n_sigma[i, h] = log_likelihood[i, h] = math.nan
            continue
        slant = slant_1(crossing.t_n)
        fast_shape = ring_of_1(values, largest, fast, slant)
        light = light_1(counter, crossing, slant, fast_shape, window_of_1(windows, slant)[0])
        species = kinds[i]
        ratio2 = mass2[species] / (rigidity[i] * rigidity[i])
        sin2 = 1.0 - (1.0 + ratio2) / light.index2
        theta, mean, photon, common = 0.0, 0.0, 0.0, 0.0
        if sin2 > 0.0:
            theta = math.asin(math.sqrt(sin2))
            track = track_variance_1(light, rigidity[i], ratio2)
            shape = ring_of_1(values, largest, theta, slant)
            mean, photon, common = ring_1(shape, crossing, light, sin2, charge2[species], track)
        own = draw_number_1(mean, particle_index[i], event_id[i], number_key)
        n, v = own, 0.0
        if light.stray > 0.0:  # without a ring of its own, the best of many places
            u, v = uniforms_1(0, particle_index[i], event_id[i], stray_key.k0, stray_key.k1)
            n += poisson_1(min(light.stray, MOST_AT_ONCE), u if own > 0 else u**search)
        p, relative2 = momentum_1(
            parameters[i, 3], parameters[i, 4], cov_packed[i, 9], cov_packed[i, 13], cov_packed[i, 14]
        )
        n_photons[i] = n
        measured = math.nan
        if n >= counter.min_photons:
            if own > 0:
                normal, _ = normals_1(0, particle_index[i], event_id[i], angle_key.k0, angle_key.k1)
                sigma = math.sqrt(variance_of_ring_1(photon, common, float(n), mean, light.stray))
                measured = abs(theta + sigma * normal)  # an angle has no sign
            else:  # n stray hits: large rings have more room for each of them
                measured = largest * v ** (1.0 / (n + 1.0))
            has_ring[i] = True
            angle[i] = measured
            shape = ring_of_1(values, largest, measured, slant)
            sigma_angle[i] = sigma_of_ring_1(shape, crossing, light, p, float(n), measured, light.stray)
        nothing = without_light_1(float(n), measured, light.stray, largest)
        for h in range(len(mass2)):
            theta = angle_1(light, p, mass2[h])
            expected[i, h], n_sigma[i, h], log_likelihood[i, h] = theta, math.nan, nothing
            if theta > 0.0:
                shape = ring_of_1(values, largest, theta, slant)
                n_sigma[i, h], log_likelihood[i, h] = compare_1(
                    shape, crossing, light, light.stray, p, relative2, float(n), measured, theta, mass2[h], charge2[h],
                    largest,
                )  # fmt: skip


class RichOptions(module.Options):
    """Ring-imaging Cherenkov counters."""

    level: Annotated[  # type: ignore[assignment]
        Literal["parametric", "detailed", "learned"],
        Field(
            description='"parametric": number and angle are drawn; "detailed": photon by photon; "learned": by a trained model'
        ),
    ]
    devices: Annotated[
        list[str] | None, Field(min_length=1, description="names of [[rich]] tables of the detector; all, if absent")
    ] = None
    model: Annotated[
        str | None,
        Field(min_length=1, description="learned: an .onnx file, or a shipped model; rich_alice3, if absent"),
    ] = None

    @classmethod
    def faults(cls, data: dict[str, Any]) -> Iterator[tuple[toml.Path, str]]:
        """A model that nobody asks."""
        if "model" in data and data.get("level") != "learned":
            yield ("model",), f'belongs to level = "learned", and this is {data.get("level")!r}'


def columns_of(device: str) -> tuple[Column, ...]:
    """The columns of a counter, in the order of `Rings`."""
    each = "for each species in the order of fastsim.species.SPECIES"
    return (
        is_measured(device),
        Column(f"{device}_has_ring", "track", "bool", "", f"enough photo-electrons for a ring in {device}"),
        of_track(device, "n_photons", "", f"photo-electrons in the ring of {device}"),
        of_track(device, "angle", "rad", f"Cherenkov angle in {device}, NaN without a ring"),
        of_track(device, "sigma_angle", "rad", f"uncertainty of the Cherenkov angle in {device}"),
        of_track(
            device, "angle_expected", "rad", f"Cherenkov angle in {device}, {each}; NaN below threshold", (N_SPECIES,)
        ),
        n_sigma(device),
        common.log_likelihood(device),
    )


class RichCounters:
    """Module kind "rich": all ring-imaging counters of the detector, or those that the card names."""

    Options = RichOptions
    makes: tuple[Column, ...] = ()  # of an instance: the devices' columns
    needs: tuple[Column, ...] = (
        c.EVENT_ID, c.PARTICLE_INDEX, c.SPECIES, c.IS_RECONSTRUCTED, *c.RECONSTRUCTED, c.COV_PACKED, c.PT_TRUE, c.ETA_TRUE,
    )  # fmt: skip

    def __init__(self, options: RichOptions, devices: list[Rich], b_z: float) -> None:
        self.name = options.name
        self._b_z = float(b_z)
        self._needs_all = options.level != "parametric"
        self._counters = {device.name: device.counter() for device in devices}
        self._blurs = {name: make_blur(counter) for name, counter in self._counters.items()}
        self.makes = tuple(column for name in self._counters for column in columns_of(name))
        self._learned: dict[str, rich_learned.LearnedRings] = {}
        if options.level == "learned":
            model, where = options.model or "rich_alice3", f"module {self.name!r}"
            for name, counter in self._counters.items():
                self._learned[name] = rich_learned.load_rings(model, name, counter, self._b_z, where)
        self.fingerprint = {
            name: rings.model.fingerprint for name, rings in self._learned.items()
        }  # for the provenance
        if self._needs_all:
            self.needs = (*self.needs, *c.TRUE)  # where the light of tracks falls that were not reconstructed

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> RichCounters:
        """The module as the card describes it; raises CardError for devices that the detector does not have."""
        own = cast("RichOptions", options)
        known = {device.name: device for device in detector.rich}
        wanted = list(known) if own.devices is None else own.devices
        problems = [
            f"module {own.name!r}: devices: {name!r} is no [[rich]] of {detector.name} (allowed: {', '.join(known) or 'none'})"
            for name in wanted
            if name not in known
        ]
        if len(set(wanted)) < len(wanted):
            problems.append(f"module {own.name!r}: devices: a name is given twice (got {', '.join(wanted)})")
        if not known and own.devices is None:
            problems.append(f"module {own.name!r}: {detector.name} has no [[rich]]")
        if problems:
            raise CardError(problems, hint="counters are described in the detector file: docs/rich.md")
        return cls(own, [known[name] for name in wanted], detector.b_z)

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Measure the rings of all tracks, counter by counter."""
        tracks = self._tracks(batch)
        made: Columns = {}
        counts: dict[str, int] = {}
        for name, counter in self._counters.items():
            rings = make_rings(len(tracks.species), N_SPECIES, is_filled=self._needs_all)
            blur, stream = self._blurs[name], f"{self.name}/{name}"
            if name in self._learned:
                offsets = batch.offsets["track"]
                outside = self._learned[name].measure(counter, blur, tracks, offsets, streams, stream, rings)
                counts |= {f"{name}: {what}": number for what, number in outside.items()}
            elif self._needs_all:
                rich_fit.measure(counter, blur, tracks, batch.offsets["track"], streams, stream, rings)
            else:
                number, stray, angle = (streams.key(f"{stream}/{purpose}") for purpose in ("number", "stray", "angle"))
                measure_rings(counter, blur, tracks, (number, stray, angle), rings)
            made |= dict(zip(columns_of(name), rings, strict=True))
        return Made(made, counts=counts)

    def _tracks(self, batch: EventBatch) -> Tracks:
        found = batch[c.IS_RECONSTRUCTED]
        parameters = np.column_stack([batch[column] for column in c.RECONSTRUCTED])
        if self._needs_all:
            true = np.column_stack([batch[column] for column in c.TRUE])
            parameters = np.where(found[:, None], parameters, true)
        species = batch[c.SPECIES]
        rigidity = batch[c.PT_TRUE] * np.cosh(batch[c.ETA_TRUE]) / CHARGES[species]
        return Tracks(
            found, parameters, batch[c.COV_PACKED], species, rigidity, batch[c.EVENT_ID][batch.event_index("track")],
            batch[c.PARTICLE_INDEX], (MASSES / CHARGES) ** 2, CHARGES**2, self._b_z,
        )  # fmt: skip
