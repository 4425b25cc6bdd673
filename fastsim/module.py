"""All that the author of a module imports: what a module is, and the base of its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import Field

from fastsim.columns import Column, Table
from fastsim.events import Columns, EventBatch, NewParticles
from fastsim.rng import Key, Streams
from fastsim.toml import Strict

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from fastsim.detector import Detector

__all__ = ["Column", "Columns", "EventBatch", "Key", "Made", "Module", "NewParticles", "Options", "Streams"]


class Options(Strict):
    """Base of a module's options: what every [[modules]] table of a card has."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="names the random streams and the columns")]
    kind: Annotated[str, Field(description="which module: see `fastsim plugins`")]
    level: Annotated[Literal["parametric"], Field(description="how the subsystem is simulated")]


class Made(NamedTuple):
    """What a module made of a batch: new columns, offsets of new tables, counts for the summary, and new particles.

    A module that makes particles says so by ``makes_particles = True``. It then runs before all others, on what the reader
    gives, and its columns are those of the rows that were there.
    """

    columns: Columns
    offsets: Mapping[Table, NDArray[np.int64]] = {}
    counts: Mapping[str, int] = {}
    particles: NewParticles | None = None


class Module(Protocol):
    """Reads columns, makes columns. `apply` is pure: same batch and streams, same result."""

    name: str
    needs: tuple[Column, ...]
    makes: tuple[Column, ...]

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Make the promised columns for a batch."""
        ...


class ModuleKind(Protocol):
    """A class found under the entry point group `fastsim.modules`."""

    Options: type[Options]

    @classmethod
    def from_options(cls, options: Any, detector: Detector) -> Module:
        """A module as the card describes it; loads files here, never in `apply`."""
        ...
