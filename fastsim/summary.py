"""What a run tells: on its way (progress) and at its end (summary)."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastsim import columns as c
from fastsim.species import SPECIES
from fastsim.tracking import STATUS

if TYPE_CHECKING:
    from fastsim.events import EventBatch


class Progress(Protocol):
    """What `simulate_files` tells of its way."""

    def luts(self, species: str, done: int, total: int) -> None:
        """A lookup table is being built."""

    def kernels(self, *, ready: bool) -> None:
        """Kernels are being loaded (compiled, the first time), or are ready."""

    def events(self, n_events: int, n_bytes: int, total_bytes: int) -> None:
        """So many events are done, so many bytes of input are read (of `total_bytes`, 0 if unknown)."""


class Silent:
    """No progress shown."""

    def luts(self, species: str, done: int, total: int) -> None:
        """Nothing."""

    def kernels(self, *, ready: bool) -> None:
        """Nothing."""

    def events(self, n_events: int, n_bytes: int, total_bytes: int) -> None:
        """Nothing."""


@dataclass
class Summary:
    """What a run did: the table at its end, and JSON in the file."""

    n_events: int = 0
    n_particles: int = 0
    candidates: Counter[str] = field(default_factory=Counter)
    reconstructed: Counter[str] = field(default_factory=Counter)
    particles: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    bad_events: list[str] = field(default_factory=list)
    bad_event_ids: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))  # by step
    identity: str = ""  # sha256 of what made the output (see `fastsim.provenance`)
    stopped_at: int | None = None  # position of the first event that was not done any more, if the run was stopped

    def add(self, batch: EventBatch, counts: Counter[str], seconds: dict[str, float]) -> None:
        """Count a batch."""
        self.n_events += batch.n_events
        self.n_particles += batch.n_rows("particle")
        status = np.bincount(batch[c.TRACK_STATUS], minlength=len(STATUS))
        self.particles.update({name: int(status[code]) for code, name in STATUS.items()})
        species, found = batch[c.SPECIES], batch[c.IS_RECONSTRUCTED]
        for index, kind in enumerate(SPECIES):
            self.candidates[kind.name] += int(np.count_nonzero(species == index))
            self.reconstructed[kind.name] += int(np.count_nonzero((species == index) & found))
        self.counts.update(counts)
        for step, time_spent in seconds.items():
            self.seconds[step] += time_spent

    def merge(self, other: Summary) -> None:
        """Add what another counted of events behind these."""
        self.n_events += other.n_events
        self.n_particles += other.n_particles
        for name in ("candidates", "reconstructed", "particles", "counts"):
            getattr(self, name).update(getattr(other, name))
        self.bad_events += other.bad_events
        self.bad_event_ids += other.bad_event_ids
        self.notes += other.notes
        for step, time_spent in other.seconds.items():
            self.seconds[step] += time_spent

    def as_dict(self) -> dict[str, Any]:
        """Plain data, without the times."""
        return {
            "events": self.n_events,
            "particles": self.n_particles,
            "candidates": dict(self.candidates),
            "reconstructed": dict(self.reconstructed),
            "charged_final_particles": {k: v for k, v in self.particles.items() if k != STATUS[0]},
            "counts": dict(self.counts),
            "skipped_events": self.bad_events,
            "notes": self.notes,
        }
