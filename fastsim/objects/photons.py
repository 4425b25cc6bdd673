"""Photons: clusters of an ECAL without a track, identified with an efficiency, isolated or not; formulas are the card's.

Shapes of showers are not simulated at every level, so what identification makes of a cluster is given, as for leptons: how often
one that photons or electrons left is kept, and how often one of hadrons. Delphes asks nobody whose energy it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim.events import offsets_from_counts
from fastsim.module import Made
from fastsim.objects.efficiency import Efficiency, accept, faults_of_efficiency, probabilities
from fastsim.objects.inputs import NEUTRAL, from_vertex
from fastsim.objects.isolation import IsolationOptions, charged_around, neutral_around, sum_around
from fastsim.objects.kinematics import MOMENTUM, fill_directions, order_by_pt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastsim import module
    from fastsim.columns import Column
    from fastsim.detector import Detector
    from fastsim.events import Columns, EventBatch
    from fastsim.rng import Streams

H_OVER_E_CONE = 0.15  # CMSSW, RecoEgamma/EgammaPhotonProducers/python/photons_cfi.py: hOverEConeSize


class Photons:
    """Module kind "photons"."""

    class Options(IsolationOptions):
        """How photons are found."""

        efficiency: Annotated[
            Efficiency,
            Field(description="probability that a cluster of photons or electrons, without a track, is kept"),
        ]
        fake_rate: Annotated[
            Efficiency,
            Field(description="probability that a cluster of hadrons, without a track, is taken for a photon"),
        ] = 0.0

        @classmethod
        def faults(cls, data: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
            """Formulas that are none."""
            for key in ("efficiency", "fake_rate"):
                yield from faults_of_efficiency(data.get(key), (key,))

    needs: tuple[Column, ...] = (
        c.EVENT_ID, c.IS_RECONSTRUCTED, *MOMENTUM, *NEUTRAL, c.CLUSTER_ENERGY, c.CLUSTER_ETA, c.CLUSTER_PHI, c.CLUSTER_IS_HCAL,
        c.CLUSTER_TRACK, c.CLUSTER_EM_TRUE,
    )  # fmt: skip
    makes: tuple[Column, ...] = (
        c.PHOTON_CLUSTER, *c.PHOTON, c.PHOTON_ENERGY, c.PHOTON_SUM_PT, c.PHOTON_SUM_NEUTRAL, c.PHOTON_HAD_OVER_EM,
    )  # fmt: skip

    def __init__(self, options: Photons.Options) -> None:
        self.name = options.name
        self._options = options

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> Photons:
        """The module as the card describes it."""
        del detector
        return cls(cast("Photons.Options", options))

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Identify, sum up what is around, and sort by pt."""
        rows, directions = self._identified(batch, streams)
        events = batch.event_index("cluster")[rows]
        order = order_by_pt(events, directions[0])
        rows, events = rows[order], events[order]
        pt, eta, phi = (np.ascontiguousarray(values[order]) for values in directions)
        charged = charged_around(batch, events, eta, phi, np.full(len(rows), -1), self._options)
        neutral = neutral_around(batch, events, eta, phi, rows, self._options)
        had_over_em = self._had_over_em(batch, rows, events)
        keep = np.ones(len(rows), dtype=np.bool_)
        if self._options.isolation_max is not None:
            keep = charged + neutral <= self._options.isolation_max * pt
        made: Columns = {
            c.PHOTON_CLUSTER: (rows - batch.offsets["cluster"][events]).astype(np.int32),
            **dict(zip(c.PHOTON, (pt, eta, phi), strict=True)),
            c.PHOTON_ENERGY: batch[c.CLUSTER_ENERGY][rows],
            c.PHOTON_SUM_PT: charged,
            c.PHOTON_SUM_NEUTRAL: neutral,
            c.PHOTON_HAD_OVER_EM: had_over_em,
        }
        counts = np.bincount(events[keep], minlength=batch.n_events)
        return Made({column: values[keep] for column, values in made.items()}, {"photon": offsets_from_counts(counts)})

    def _identified(self, batch: EventBatch, streams: Streams) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows of the clusters that are taken for photons, ascending, and their pt [GeV], eta, phi (3, n)."""
        rows = np.flatnonzero(
            ~batch[c.CLUSTER_IS_HCAL] & (batch[c.CLUSTER_TRACK] < 0) & (batch[c.CLUSTER_ENERGY] > 0.0)
        )
        energy = batch[c.CLUSTER_ENERGY][rows]
        directions = np.empty((4, len(rows)))
        fill_directions(from_vertex(batch, rows, energy), directions)
        variables = dict(zip(("pt", "eta", "phi", "energy"), (*directions[:3], energy), strict=True))
        is_photon = batch[c.CLUSTER_EM_TRUE][rows] >= 0.5
        probability = np.empty(len(rows))
        for key, mine in (("efficiency", is_photon), ("fake_rate", ~is_photon)):
            of_mine = {name: values[mine] for name, values in variables.items()}
            formula = getattr(self._options, key)
            probability[mine] = probabilities(formula, of_mine, where=f"module {self.name!r}: {key}")
        events = batch.event_index("cluster")[rows]
        index = (rows - batch.offsets["cluster"][events]).astype(np.int32)
        kept = accept(probability, batch[c.EVENT_ID][events], index, streams.key(f"{self.name}/identification"))
        return rows[kept], directions[:3, kept]

    @staticmethod
    def _had_over_em(batch: EventBatch, rows: NDArray[np.int64], events: NDArray[np.int64]) -> NDArray[np.float64]:
        """Energy of hadronic clusters around these clusters, seen from the origin, over their own."""
        eta, phi = batch[c.CLUSTER_ETA], batch[c.CLUSTER_PHI]
        energy = np.where(batch[c.CLUSTER_IS_HCAL], batch[c.CLUSTER_ENERGY], 0.0)
        sums = np.empty(len(rows))
        sum_around(events, eta[rows], phi[rows], rows, batch.offsets["cluster"], eta, phi, energy, H_OVER_E_CONE, sums)
        return np.asarray(sums / batch[c.CLUSTER_ENERGY][rows])
