"""Batches for tests of the doors of flat trees: simulated events, and the same writers in memory."""

from __future__ import annotations

from contextlib import closing
from functools import cache

import fastsim
from fastsim.cards.schema import Output
from fastsim.io.inputs import read_blocks
from fastsim.rng import Streams
from fastsim.run import Simulation, find_luts, make_pipeline
from fastsim.source import Limits, Range
from fastsim.summary import Silent
from fastsim.truth import select_truth


@cache
def simulated(path, n_events, truth="all", card="alice3"):
    """The first events of a file as a batch, as a writer gets it."""
    loaded = fastsim.load_card(card)
    pipeline = make_pipeline(loaded, find_luts(loaded, Silent()))
    streams, records = Streams(loaded.card.seed), []
    with closing(
        read_blocks([path], streams, events=Range(0, n_events), limits=Limits(n_events, 200_000), records=records)
    ) as items:
        batch = Simulation(pipeline, streams)(next(items)).batch
    return select_truth(batch, truth)


def output(format_, **changes):
    """Options of an output."""
    return Output(**{"format": format_, "events_per_frame": 1000, "compression_level": 1, **changes})


def write(path, batches, options):
    """Write batches through a format's door."""
    door = fastsim.io.output.FORMATS[options.format]
    with door.open(path, options) as writer:
        for batch in batches:
            writer.write(batch)
        writer.close({"provenance": "{}"})
    return path


def pieces(batch, size):
    """The batch in batches of `size` events."""
    return [batch.slice_events(first, min(first + size, batch.n_events)) for first in range(0, batch.n_events, size)]
