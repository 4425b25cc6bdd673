"""Runs modules over one batch: in the order that their declarations ask for, and checked against their promises."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from fastsim.columns import ENERGY, MOMENTUM, PDG, PROCESS, READ, STATUS, Column
from fastsim.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastsim.events import EventBatch, NewParticles
    from fastsim.module import Made, Module
    from fastsim.rng import Streams


class Pipeline:
    """Modules in working order. Raises PluginError for columns that two make or nobody does, and for cycles."""

    def __init__(self, modules: Sequence[Module], streams: Streams) -> None:
        self.modules = order(modules)
        self._streams = streams

    @property
    def needs(self) -> set[Column]:
        """All columns that some module reads."""
        return {column for module in self.modules for column in module.needs}

    @property
    def makes(self) -> tuple[Column, ...]:
        """All columns that modules make, in working order."""
        process = (PROCESS,) if any(map(makes_particles, self.modules)) else ()
        return (*process, *(column for module in self.modules for column in module.makes))

    def run(self, batch: EventBatch) -> tuple[EventBatch, Counter[str], dict[str, float]]:
        """The batch with all columns; counts for the summary; seconds per module."""
        counts = Counter[str]()
        seconds = {}
        for module in self.modules:
            start = time.perf_counter()
            made = module.apply(batch, self._streams)
            check(module, batch, made)
            batch = batch.with_columns(made.columns, made.offsets)
            if made.particles is not None:
                batch = batch.with_particles(made.particles)
            counts.update(made.counts)
            seconds[module.name] = time.perf_counter() - start
        return batch, counts, seconds


def makes_particles(module: Module) -> bool:
    """Whether a module may return new particles."""
    return getattr(module, "makes_particles", False)


def order(modules: Sequence[Module]) -> list[Module]:
    """Modules sorted so that each finds its columns made; independent ones by name, those that make particles first."""
    maker: dict[Column, str] = dict.fromkeys(READ, "the reader")
    for module in sorted(modules, key=lambda m: m.name):
        for column in module.makes:
            if column in maker:
                raise PluginError(f"both {maker[column]} and module {module.name!r} make the column {column}")
            maker[column] = f"module {module.name!r}"
    result = sorted(filter(makes_particles, modules), key=lambda m: m.name)
    for module in result:
        if early := sorted(str(column) for column in set(module.needs) - set(READ)):
            raise PluginError(
                f"module {module.name!r} makes particles, so it runs first and cannot need {', '.join(early)}"
            )
    ready = {*READ, *(column for module in result for column in module.makes)}
    waiting = sorted((m for m in modules if not makes_particles(m)), key=lambda m: m.name)
    while waiting:
        found = [m for m in waiting if ready.issuperset(m.needs)]
        if not found:
            lacking = {m.name: sorted(str(c) for c in m.needs if c not in ready) for m in waiting}
            text = "; ".join(f"module {name!r} needs {', '.join(columns)}" for name, columns in lacking.items())
            nobody = any(c not in maker for m in waiting for c in m.needs)
            raise PluginError(
                f"{text}, {'which no module makes' if nobody else 'which they make only from one another (a circle)'}"
            )
        waiting.remove(found[0])
        ready.update(found[0].makes)
        result.append(found[0])
    return result


def check(module: Module, batch: EventBatch, made: Made) -> None:
    """Compare what a module delivered with what it promised: columns, dtype, shape, no infinities."""
    faults = [f"promised: {c}, delivered: nothing" for c in module.makes if c not in made.columns]
    faults += [f"promised: nothing, delivered: {c}" for c in made.columns if c not in module.makes]
    if made.particles is not None:
        if not makes_particles(module):
            faults.append("promised: no particles (makes_particles is not set), delivered: some")
        faults += faults_of_particles(batch, made.particles)
    for column, array in made.columns.items():
        offsets = made.offsets.get(column.table, batch.offsets.get(column.table))
        n_rows = batch.n_events if column.table == "event" else int(offsets[-1]) if offsets is not None else -1
        promised = (np.dtype(column.dtype), (n_rows, *column.shape))
        if (array.dtype, array.shape) != promised:
            faults.append(f"{column}: promised: {promised[0]}{promised[1]}, delivered: {array.dtype}{array.shape}")
        elif array.dtype.kind == "f" and np.isinf(array).any():
            faults.append(f"{column}: {int(np.isinf(array).sum())} values are infinite")
    if faults:
        raise PluginError("; ".join(faults), where=f"module {module.name!r}")


def faults_of_particles(batch: EventBatch, new: NewParticles) -> Iterator[str]:
    """What `EventBatch.with_particles` could not put into the events."""
    n, n_vertices, n_ended = len(new.event), len(new.vertex_event), len(new.ended)
    lengths = {"vertex": n, "end": n, "vertex_position": n_vertices, "ended_in": n_ended, "ended_status": n_ended}
    if wrong := [f"{name} of {length}" for name, length in lengths.items() if len(getattr(new, name)) != length]:
        yield f"new particles: expected {', '.join(wrong)} rows"
        return
    if lacking := {PDG, STATUS, *MOMENTUM, ENERGY} - set(new.columns):
        yield f"new particles: without {', '.join(sorted(map(str, lacking)))}"
    for column, array in new.columns.items():
        if column.table != "particle" or array.shape != (n, *column.shape):
            yield f"new particles: {column}: expected {(n, *column.shape)}, delivered {array.shape}"
    ranges = {
        "event": (0, batch.n_events), "vertex_event": (0, batch.n_events), "vertex": (-1, n_vertices), "end": (-1, n_vertices),
        "ended": (0, batch.n_rows("particle")), "ended_in": (0, n_vertices),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        values = getattr(new, name)
        if len(values) and not low <= values.min() <= values.max() < high:
            yield f"new particles: {name} is {values.min()} to {values.max()}, must be {low} to {high - 1}"
        if name in {"event", "vertex_event"} and (np.diff(values) < 0).any():
            yield f"new particles: {name} must not decrease"
