"""Time of flight: from true arrival times to the n-sigma of nine hypotheses, in every layer of a detector's `[[tof]]` tables.

Hits of true particles (`tof_hits`), what they tell of the reconstructed tracks (`tof_response`), and the time of the collision
(`event_time`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module, toml
from fastsim.devices.common import (
    CHARGES,
    MASSES,
    N_SPECIES,
    chosen,
    is_measured,
    log_likelihood,
    n_sigma,
    of_track,
    origins,
)
from fastsim.devices.event_time import EventTimes, Starts, find_event_times
from fastsim.devices.tof_hits import TofLayers, find_hits, mismatch_hits
from fastsim.devices.tof_response import (
    Helices,
    Measured,
    identify,
    make_measured,
    measure_tracks,
    start_times,
)
from fastsim.errors import CardError
from fastsim.module import Made
from fastsim.species import NAMES
from fastsim.units import ps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.detector import Detector
    from fastsim.detector.devices import Tof as TofTable
    from fastsim.events import Columns, EventBatch
    from fastsim.rng import Streams

MASSES_OVER_CHARGE = MASSES / CHARGES  # what curvature and time see: p/z is the rigidity
HADRONS = ("pi", "ka", "pr")  # hypotheses of the event time
STREAMS = ("efficiency", "time", "mismatch")


class Fractions(toml.Strict):
    """How often each hypothesis is right, among tracks of the primary vertex."""

    pi: Annotated[float, Field(gt=0, le=1, description="pions (muons and electrons count as such or as none)")] = 0.85
    ka: Annotated[float, Field(gt=0, le=1, description="kaons")] = 0.10
    pr: Annotated[float, Field(gt=0, le=1, description="protons")] = 0.05


class Tof:
    """Module kind "tof": time, length, beta, squared mass and n-sigma of each layer, and the event time."""

    class Options(module.Options):
        """Time of flight."""

        devices: Annotated[
            list[str] | None, Field(min_length=1, description="layers of the detector to use; by default all")
        ] = None
        event_time: Annotated[
            Literal["tracks", "true_species", "beams"],
            Field(
                description='"tracks": from the tracks, as pi, K or p; "true_species": as what they are; "beams": not measured'
            ),
        ] = "tracks"
        mean_event_time: Annotated[
            float, Field(ge=-1e6, le=1e6, description="mean time of collisions: the card's beam_spot.t [ns]")
        ] = 0.0
        sigma_event_time_ps: Annotated[
            float,
            Field(ge=1e-3, le=1e9, description="spread of the time of collisions: the card's beam_spot.sigma_t [ps]"),
        ] = 200.0
        fractions: Annotated[
            Fractions, Field(description="of pi, K and p among tracks, for the event time; their ratios count")
        ] = Fractions()
        tails: Annotated[bool, Field(description="late tails of the layers are drawn")] = True
        mismatch: Annotated[bool, Field(description="tracks get wrong hits, as often as the layers say")] = True

        @classmethod
        def faults(cls, data: dict[str, Any]) -> Iterator[tuple[toml.Path, str]]:
            """Fractions that nobody would look at."""
            if "fractions" in data and data.get("event_time", "tracks") in {"true_species", "beams"}:
                yield ("fractions",), f'belongs to event_time = "tracks" (it is "{data["event_time"]}")'

    def __init__(self, options: Tof.Options, tables: Sequence[TofTable], b_z: float) -> None:
        self.name = options.name
        self._options = options
        self._names = [table.name for table in tables]
        self._layers = layers_of(tables, options)
        self._b_z = float(b_z)
        self._fractions = np.array([getattr(options.fractions, name) for name in HADRONS])
        self._columns = [columns_of(name) for name in self._names]
        self._event_columns = event_time_columns(self.name)
        self.needs: tuple[Column, ...] = (
            c.EVENT_ID, c.DNCH_DETA, c.PRODUCTION_VERTEX, *c.VERTEX_POSITION, *c.VERTEX_TRUE, *c.MOMENTUM, c.CHARGE_TRUE,
            c.PARTICLE_INDEX, c.SPECIES, c.IS_RECONSTRUCTED, *c.RECONSTRUCTED, c.COV_PACKED, *c.VERTEX[:2], c.IS_CONTRIBUTOR,
        )  # fmt: skip
        self.makes: tuple[Column, ...] = (
            *(column for columns in self._columns for column in columns.values()), *self._event_columns,
        )  # fmt: skip

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> Tof:
        """The module as the card describes it."""
        own = cast("Tof.Options", options)
        made = cls(own, chosen(own.name, "tof", detector.tof, own.devices), detector.b_z)
        if len({str(column) for column in made.makes}) < len(made.makes):
            raise CardError(
                [f'module {own.name!r}: its event time has the name of the time of the layer "{own.name}_event"'],
                hint="give the module another name",
            )
        return made

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Hits of all tracks, what the reconstructed ones measure, the event time, and what it says of each hypothesis."""
        found = batch[c.IS_RECONSTRUCTED]
        events = batch.event_index("track")
        tracks = Helices._make([batch[column] for column in (*c.RECONSTRUCTED, c.COV_PACKED)])
        measured = make_measured(self._hit_times(batch, events, streams), N_SPECIES)
        measure_tracks(
            self._layers, self._b_z, found, events, batch[c.IS_CONTRIBUTOR], batch[c.VERTEX[0]], batch[c.VERTEX[1]], tracks,
            measured,
        )  # fmt: skip
        times = self._event_times(batch, tracks, measured)
        identify(self._layers, MASSES_OVER_CHARGE, times.track_time, times.track_sigma, tracks, measured)
        times.track_time[~found] = times.track_sigma[~found] = math.nan
        made: Columns = dict(zip(self._event_columns, times, strict=True))
        for k, columns in enumerate(self._columns):
            made |= {column: getattr(measured, field)[k] for field, column in columns.items()}
        return Made(made, counts=self._counts(measured))

    def _hit_times(self, batch: EventBatch, events: NDArray[np.int64], streams: Streams) -> NDArray[np.float64]:
        """Times (layers, n) [ns] of the hits that n tracks are given."""
        layers, found = self._layers, batch[c.IS_RECONSTRUCTED]
        may_mismatch = bool(((layers.mismatch > 0.0) | (layers.matching_area > 0.0)).any())
        keys = np.array([[streams.key(f"{self.name}/{name}/{what}") for what in STREAMS] for name in self._names])
        shape = len(self._names), len(found)
        px, py, pz = (batch[column] for column in c.MOMENTUM)
        time, light = np.empty(shape), np.empty(shape)
        rows = batch.offsets["particle"][events] + batch[c.PARTICLE_INDEX]
        find_hits(
            layers, self._b_z, np.ones_like(found) if may_mismatch else found,
            rows, origins(batch, rows, events),
            px, py, pz, batch[c.CHARGE_TRUE], MASSES[batch[c.SPECIES]],
            batch[c.PARTICLE_INDEX], batch[c.EVENT_ID][events], keys, time, light,
        )  # fmt: skip
        if not may_mismatch:
            return time
        matched = np.empty(shape)
        mismatch_hits(
            layers, batch.offsets["track"], found, batch[c.DNCH_DETA], batch[c.PARTICLE_INDEX], batch[c.EVENT_ID], keys, time,
            light, matched,
        )  # fmt: skip
        return matched

    def _event_times(self, batch: EventBatch, tracks: Helices, measured: Measured) -> EventTimes:
        """Event times from the contributors to the vertex that a layer measured."""
        n, options = batch.n_rows("track"), self._options
        usable = batch[c.IS_CONTRIBUTOR] & measured.is_measured.any(axis=0) & (options.event_time != "beams")
        used = np.flatnonzero(usable)
        if options.event_time == "true_species":
            hypotheses, fractions = batch[c.SPECIES][used].astype(np.int64)[:, None], np.ones(1)
        else:
            hypotheses = np.tile([NAMES.index(name) for name in HADRONS], (len(used), 1))
            fractions = self._fractions / self._fractions.sum()
        starts = Starts(*np.empty((3, len(used), len(fractions))))
        start_times(self._layers, MASSES_OVER_CHARGE, used, hypotheses, fractions, tracks, measured, starts)
        n_events = batch.n_events
        times = EventTimes(
            np.empty(n_events), np.empty(n_events), np.empty(n_events, dtype=np.int32), np.empty(n), np.empty(n)
        )
        find_event_times(
            batch.offsets["track"], used, np.searchsorted(used, batch.offsets["track"]), starts, options.mean_event_time,
            (options.sigma_event_time_ps * ps) ** 2, times,
        )  # fmt: skip
        return times

    def _counts(self, measured: Measured) -> dict[str, int]:
        return {
            f"tracks measured by {name}": int(m.sum())
            for name, m in zip(self._names, measured.is_measured, strict=True)
        }


def layers_of(tables: Sequence[TofTable], options: Tof.Options) -> TofLayers:
    """The layers for the kernels, with tails and wrong hits as the card says."""
    places = [table.surface() for table in tables]

    def column(values: list[Any], dtype: type = np.float64) -> NDArray[Any]:
        return np.array(values, dtype=dtype)

    return TofLayers(
        is_disk=column([place.is_disk for place in places], np.bool_),
        position=column([place.position for place in places]),
        low=column([place.low for place in places]),
        high=column([place.high for place in places]),
        both_sides=column([place.both_sides for place in places], np.bool_),
        sigma=column([table.sigma_ps * ps for table in tables]),
        tail=column([table.tail_from if table.tail_from and options.tails else math.inf for table in tables]),
        efficiency=column([table.efficiency for table in tables]),
        border=column([0.5 * (1.0 - math.sqrt(1.0 - table.inactive_fraction)) for table in tables]),
        pitch=column([table.pitch or 1.0 for table in tables]),
        mismatch=column([table.mismatch * options.mismatch for table in tables]),
        matching_area=column([table.matching_area * options.mismatch for table in tables]),
    )


def columns_of(device: str) -> dict[str, Column]:
    """Columns of a layer, by the fields of `Measured` that they are."""
    nine = (N_SPECIES,)
    hypotheses = "for each species in the order of fastsim.species.SPECIES"
    return {
        "is_measured": is_measured(device),
        "time": of_track(device, "time", "ns", f"measured by {device}; the event time is not subtracted"),
        "length": of_track(
            device, "length", "cm", f"reconstructed path to {device}, from the vertex if it contributes there"
        ),
        "beta": of_track(
            device, "beta", "", f"length / (time - event time) in {device}, in units of the speed of light"
        ),
        "mass2": of_track(device, "mass2", "GeV^2", f"(mass / charge)^2 by {device}; negative where beta is above 1"),
        "expected": of_track(device, "time_expected", "ns", f"time of flight to {device}, {hypotheses}", nine),
        "sigma": of_track(
            device, "sigma", "ns", f"of time - event time - time expected in {device}, {hypotheses}", nine
        ),
        "n_sigma": n_sigma(device),
        "log_likelihood": log_likelihood(device),
    }


def event_time_columns(name: str) -> tuple[Column, ...]:
    """Columns of the event time, in the order of `EventTimes`."""
    without = "of the collision from all its tracks but this one"
    return (
        c.Column(f"{name}_event_time", "event", "float64", "ns", "time of the collision, by its tracks and the beams"),
        c.Column(f"{name}_sigma_event_time", "event", "float64", "ns", "uncertainty of the event time"),
        c.Column(f"{name}_n_event_time", "event", "int32", "", "tracks that make the event time"),
        of_track(name, "event_time", "ns", f"time {without}, by the beams too"),
        of_track(name, "sigma_event_time", "ns", f"uncertainty of the time {without}"),
    )
