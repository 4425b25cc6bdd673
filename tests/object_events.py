"""Tests of objects: hand-made events (tracks with their particles, and what else was generated), and jets by brute force."""

from __future__ import annotations

import math

import numpy as np

from fastsim import columns as c
from fastsim.events import EventBatch, offsets_from_counts
from fastsim.species import NAMES, SPECIES

TRACK = {"pt": 1.0, "eta": 0.0, "phi": 0.0, "charge": 1, "species": "pi", "found": True}
PARTICLE = {"pdg": 211, "pt": 1.0, "eta": 0.0, "phi": 0.0, "born": 0, "ends": -1}


def track(**given):
    return {**TRACK, **given}


def particle(**given):
    """`born` and `ends` are vertices of the event."""
    return {**PARTICLE, **given}


def make_batch(events, others=None, first_event=0):
    """Events are lists of `track`, `others` (one list an event) of `particle` that stand behind the tracks' own particles."""
    others = others or [[] for _ in events]
    tracks = [t for event in events for t in event]
    particles, index = [], []
    for event, more in zip(events, others, strict=True):
        index += range(len(event))
        own = [
            particle(
                pdg=SPECIES[NAMES.index(t["species"])].pdg * t["charge"], **{k: t[k] for k in ("pt", "eta", "phi")}
            )
            for t in event
        ]
        particles += own + list(more)
    sizes = [len(event) for event in events]
    n_vertices = [1 + max([0, *(max(p["born"], p["ends"]) for p in more)]) for more in others]
    values = {
        c.EVENT_ID: range(first_event, first_event + len(events)),
        c.PARTICLE_INDEX: index,
        c.SPECIES: [NAMES.index(t["species"]) for t in tracks],
        c.IS_RECONSTRUCTED: [t["found"] for t in tracks],
        c.PT: [t["pt"] for t in tracks],
        c.ETA: [t["eta"] for t in tracks],
        c.RECONSTRUCTED[2]: [t["phi"] for t in tracks],
        c.RECONSTRUCTED[3]: np.sinh([t["eta"] for t in tracks]),
        c.CHARGE: [t["charge"] for t in tracks],
        c.PDG: [p["pdg"] for p in particles],
        c.MOMENTUM[0]: [p["pt"] * np.cos(p["phi"]) for p in particles],
        c.MOMENTUM[1]: [p["pt"] * np.sin(p["phi"]) for p in particles],
        c.MOMENTUM[2]: [p["pt"] * np.sinh(p["eta"]) for p in particles],
        c.PRODUCTION_VERTEX: [p["born"] for p in particles],
        c.END_VERTEX: [p["ends"] for p in particles],
    }
    offsets = {
        "event": np.arange(len(events) + 1),
        "track": offsets_from_counts(np.array(sizes, dtype=np.int64)),
        "particle": offsets_from_counts(
            np.array([n + len(o) for n, o in zip(sizes, others, strict=True)], dtype=np.int64)
        ),
        "vertex": offsets_from_counts(np.array(n_vertices, dtype=np.int64)),
    }
    return EventBatch(offsets, {column: np.array(list(v), dtype=column.dtype) for column, v in values.items()})


def random_events(seed, sizes):
    """Events of so many tracks each, most of them found, of all species that leave tracks."""
    rng = np.random.default_rng(seed)
    return [
        [
            track(
                pt=0.1 + rng.exponential(2.0), eta=rng.uniform(-2.5, 2.5), phi=rng.uniform(-np.pi, np.pi),
                charge=int(rng.choice([-1, 1])), species=str(rng.choice(["el", "mu", "pi", "ka", "pr"])),
                found=bool(rng.random() < 0.9),
            )
            for _ in range(n)
        ]
        for n in sizes
    ]  # fmt: skip


def with_made(batch, made):
    return batch.with_columns(made.columns, made.offsets)


def only(batch, needs):
    """The batch with nothing but the columns that a module says it needs."""
    return EventBatch(batch.offsets, {column: batch[column] for column in needs})


def assert_same(made, other):
    """Two results, to the bit."""
    assert made.columns.keys() == other.columns.keys()
    for column in made.columns:
        np.testing.assert_array_equal(made.columns[column], other.columns[column], err_msg=str(column))
    for table in made.offsets:
        np.testing.assert_array_equal(made.offsets[table], other.offsets[table])


def assert_any_batch_size(module, batch, streams):
    """Event by event, and two by two, a module gives what it gives for all at once."""
    whole = with_made(batch, module.apply(batch, streams))
    for size in (1, 2):
        for first in range(0, batch.n_events, size):
            end = min(first + size, batch.n_events)
            part = batch.slice_events(first, end)
            made = module.apply(part, streams)
            expected = whole.slice_events(first, end)
            for column, array in made.columns.items():
                np.testing.assert_array_equal(array, expected[column], err_msg=str(column))
            for table, offsets in made.offsets.items():
                np.testing.assert_array_equal(offsets, expected.offsets[table])


POWERS = {"antikt": -1, "kt": 1, "cambridge": 0}


def brute_force(momenta, algorithm, radius, power):
    """Jets of one event by the definitions (arXiv:1111.6097, sections 2 and 4.5): sets of rows, with their momenta.

    All pairs are looked at in each step. Distances in rapidity and azimuth; ee_genkt: in energy and angle.
    """

    def weight(p):
        return p[3] ** (2 * power) if algorithm == "ee_genkt" else (p[0] ** 2 + p[1] ** 2) ** POWERS[algorithm]

    def distance(p, q):
        if algorithm == "ee_genkt":
            cosine = p[:3] @ q[:3] / math.sqrt(p[:3] @ p[:3] * (q[:3] @ q[:3]))
            return (1 - cosine) / (1 - math.cos(radius))
        rapidity = [0.5 * math.log((x[3] + x[2]) / (x[3] - x[2])) for x in (p, q)]
        phi = math.remainder(math.atan2(p[1], p[0]) - math.atan2(q[1], q[0]), 2 * math.pi)
        return ((rapidity[0] - rapidity[1]) ** 2 + phi**2) / radius**2

    left = [(frozenset([i]), p) for i, p in enumerate(momenta.T)]
    jets = {}
    while left:
        steps = [(weight(p), i, -1) for i, (_, p) in enumerate(left)]
        steps += [
            (min(weight(p), weight(q)) * distance(p, q), i, j)
            for i, (_, p) in enumerate(left)
            for j, (_, q) in enumerate(left[:i])
        ]
        _, i, j = min(steps)
        rows, p = left.pop(i)
        if j < 0:
            jets[rows] = p
        else:
            left[j] = (rows | left[j][0], p + left[j][1])
    return jets
