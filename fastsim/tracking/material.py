"""What photons and electrons do in the tracker's material: they convert and radiate, before anything is measured.

New particles are rows behind the generator's. An electron that radiated stays as it was, for that is the track that one finds;
`fit_shift` says what the radiation does to its fitted parameters, and a row with status 201 what is left of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.detector.geometry import surfaces_of
from fastsim.errors import CardError
from fastsim.events import production_points
from fastsim.kernels import cascade as k
from fastsim.kernels.energy_loss import ELECTRON_MASS
from fastsim.kernels.radiation import PAIR_ENERGIES, pair_rates
from fastsim.luts.build import rules_of
from fastsim.module import Made, NewParticles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.detector import Detector
    from fastsim.events import EventBatch
    from fastsim.rng import Streams


class Material:
    """Module kind "material"."""

    class Options(module.Options):
        """What the card says."""

        level: Annotated[Literal["parametric"], Field(description="the only one")] = "parametric"
        conversions: Annotated[bool, Field(description="photons become pairs of electrons")] = True
        bremsstrahlung: Annotated[bool, Field(description="electrons radiate photons")] = True
        energy_min: Annotated[
            float, Field(ge=0.0015, le=10, description="photons of less energy neither convert nor are radiated [GeV]")
        ] = 0.005

    makes_particles = True
    needs: tuple[Column, ...] = (
        c.EVENT_ID, *c.VERTEX_TRUE, *c.VERTEX_POSITION, c.PDG, c.STATUS, *c.MOMENTUM, c.ENERGY, c.PRODUCTION_VERTEX, c.END_VERTEX,
        c.COLLISION,
    )  # fmt: skip
    makes: tuple[Column, ...] = (c.LEAVES_TRACKER, c.FIT_SHIFT)

    def __init__(self, options: Options, detector: Detector) -> None:
        self.name = options.name
        self._surfaces = surfaces_of(detector)
        self._rules = rules_of(detector)
        rates = np.zeros(len(PAIR_ENERGIES))
        pair_rates(rates)
        self._settings = k.Settings(float(options.energy_min), options.conversions, options.bremsstrahlung, rates)
        self._scratch = k.make_scratch(len(self._surfaces.position))

    @classmethod
    def from_options(cls, options: Any, detector: Detector) -> Material:
        """Raises CardError for a detector without layers."""
        if detector.tracking is None:
            raise CardError(
                [f"module {options.name!r}: {detector.name} has no layers, so photons and electrons meet nothing"],
                hint="formulas and ready tables hold what material does to tracks; leave the module out",
            )
        return cls(options, detector)

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Follow all final photons and electrons."""
        pdg, status, energy = batch[c.PDG], batch[c.STATUS], batch[c.ENERGY]
        is_root = (status == k.FINAL) & (batch[c.END_VERTEX] < 0) & (energy > self._settings.lowest)
        chosen = np.flatnonzero(is_root & ((np.abs(pdg) == k.ELECTRON) | (pdg == k.PHOTON)))
        event = np.searchsorted(batch.offsets["particle"], chosen, side="right") - 1
        roots = k.make_rows(len(chosen))
        roots.pdg[:], roots.status[:], roots.leaves[:] = pdg[chosen], status[chosen], True
        roots.origin[:] = production_points(batch)[chosen]
        for axis, column in enumerate((*c.MOMENTUM, c.ENERGY)):
            roots.momentum[:, axis] = batch[column][chosen]
        index = (chosen - batch.offsets["particle"][event]).astype(np.int32)
        rows, vertices = self._follow(roots, batch[c.EVENT_ID][event], index, streams)
        leaves = status == k.FINAL
        leaves[chosen] = roots.leaves
        shift = np.zeros((len(pdg), 5))
        shift[chosen] = roots.shift
        ended = np.flatnonzero(roots.end >= 0)
        counts = {
            "photons that converted": int((roots.status == k.DECAYED).sum() + (rows.status == k.DECAYED).sum()),
            "electrons that radiated": int((roots.end[np.abs(roots.pdg) == k.ELECTRON] >= 0).sum())
            + int((rows.end[(np.abs(rows.pdg) == k.ELECTRON) & (rows.status == k.FINAL)] >= 0).sum()),
        }
        columns = {**self._columns(rows), c.COLLISION: batch[c.COLLISION][chosen[vertices.root[rows.vertex]]]}
        particles = NewParticles(
            event[vertices.root[rows.vertex]], columns, rows.vertex, rows.end, event[vertices.root], vertices.position,
            chosen[ended], roots.end[ended], roots.status[ended],
        )  # fmt: skip
        return Made({c.LEAVES_TRACKER: leaves, c.FIT_SHIFT: shift}, {}, counts, particles)

    def _follow(
        self, roots: k.Rows, event_id: NDArray[np.uint64], index: NDArray[np.int32], streams: Streams
    ) -> tuple[k.Rows, k.Vertices]:  # fmt: skip
        """New rows and vertices, with as much room as they turn out to need: draws are addressed, so a second try is the same."""
        status = roots.status.copy()
        room = 64 + len(event_id)
        while True:
            rows, vertices = k.make_rows(room), k.make_vertices(room)
            n, n_vertices = k.cascade(
                self._surfaces, self._rules, self._settings, event_id, index, streams.key(f"{self.name}/cascade"), roots,
                rows, vertices, self._scratch,
            )  # fmt: skip
            if n >= 0:
                return k.first_rows(rows, n), k.Vertices(vertices.root[:n_vertices], vertices.position[:n_vertices])
            room *= 4
            roots.status[:], roots.end[:], roots.leaves[:], roots.shift[:] = status, -1, True, 0.0

    @staticmethod
    def _columns(rows: k.Rows) -> dict[Column, NDArray[Any]]:
        return {
            c.PDG: rows.pdg, c.STATUS: rows.status, c.PROCESS: rows.process, c.LEAVES_TRACKER: rows.leaves,
            c.FIT_SHIFT: rows.shift, c.ENERGY: rows.momentum[:, 3],
            c.MASS: np.where(rows.pdg == k.PHOTON, 0.0, ELECTRON_MASS),
            **{column: rows.momentum[:, axis] for axis, column in enumerate(c.MOMENTUM)},
        }  # fmt: skip
