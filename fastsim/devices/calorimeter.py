"""Calorimeters: clusters of photons, electrons and hadrons, towers, and what tracks have to do with them.

The steps are elsewhere: what particles leave in cells in `deposits` (level "parametric") and `shower` ("detailed"), clusters in
`clusters`, tracks in `energy_flow`. Here is the module that joins them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.devices.clusters import (
    Cells,
    Clusters,
    Readout,
    find_clusters,
    gather,
    leading_particles,
    make_cells,
    make_clusters,
    make_links,
    measure_cells,
    measure_clusters,
    share_cells,
)
from fastsim.devices.common import is_measured, of_track
from fastsim.devices.deposits import ELECTROMAGNETIC, HADRON, Deposits, Sections, Visible, deposit, make_deposits
from fastsim.devices.energy_flow import Helices, Linked, fill_neutral, group_clusters, match
from fastsim.devices.shower import shower
from fastsim.devices.visible import NEEDS, families_of, find_visible
from fastsim.errors import CardError
from fastsim.events import offsets_from_counts
from fastsim.kernels.cells import BARREL, DISK, TOWERS, Grids
from fastsim.module import Made
from fastsim.species import by_name
from fastsim.units import MeV, ps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.detector import Detector
    from fastsim.detector.devices import Calorimeter
    from fastsim.events import Columns, EventBatch
    from fastsim.rng import Streams
    from fastsim.toml import Path

PION_MASS = by_name("pi").mass  # GeV, of tracks that nobody identified
CURVATURE_VARIANCE = 14  # of q/pt in a packed covariance
LOG_WEIGHT = 4.0  # w0 of positions, the optimum of Nucl. Instrum. Meth. A311 (1992) 130
CELLS_OF_NOISE = 3.0  # sqrt(9): the noise of a cluster is that of three by three cells
SHARED = 2.5  # R_M in which the weight of a shared cell falls by 1/e, inverse: see `clusters.find_clusters`


class Calorimeters:
    """Module kind "calorimeter": all calorimeters of the detector together."""

    class Options(module.Options):
        """How calorimeters are simulated."""

        level: Annotated[  # type: ignore[assignment]
            Literal["parametric", "detailed"],
            Field(description='"parametric": a particle, a cell; "detailed": showers of many spots'),
        ]
        devices: Annotated[
            list[str] | None,
            Field(min_length=1, description="names of the calorimeters that are there; by default all"),
        ] = None
        match_cells: Annotated[
            float, Field(gt=0, le=10, description="a track is linked to the nearest cluster within so many cells")
        ] = 1.5
        significance: Annotated[
            float,
            Field(
                ge=0, le=100, description="energy beyond that of tracks is neutral above so many standard deviations"
            ),
        ] = 2.0
        tower_eta: Annotated[
            float | None, Field(gt=0, le=1, description="size of towers; by default there are none")
        ] = None
        tower_phi: Annotated[float | None, Field(gt=0, le=1, description="size of towers, about [rad]")] = None

        @classmethod
        def faults(cls, data: dict[str, Any]) -> Iterator[tuple[Path, str]]:
            """Towers of one size only."""
            given = [key for key in ("tower_eta", "tower_phi") if key in data]
            if len(given) == 1:
                yield (given[0],), "needs the other size of towers too: tower_eta and tower_phi"

    def __init__(self, options: Calorimeters.Options, devices: dict[int, Calorimeter], b_z: float) -> None:
        self.name = options.name
        self._options = options
        self._devices = list(devices.values())
        self._numbers = np.array(list(devices), dtype=np.int8)
        self._b_z = b_z
        self._codes = sorted({code for d in self._devices for entry in d.fractions for code in entry.pdg})
        self._is_detailed = options.level == "detailed"
        self._grids = make_grids(self._devices)
        self._sections = make_sections(self._devices, self._codes)
        self._readout = make_readout(self._devices, self._is_detailed)
        self.needs: tuple[Column, ...] = (
            *NEEDS, c.IS_RECONSTRUCTED, *c.RECONSTRUCTED, c.COV_PACKED, c.PT, c.CHARGE,
        )  # fmt: skip
        self._of_tracks = [
            (is_measured(d.name), of_track(d.name, "energy", "GeV", f"of the cluster in {d.name} that the track is linked to"),
             of_track(d.name, "e_over_p", "", f"energy in {d.name} over the track's momentum"))
            for d in self._devices
        ]  # fmt: skip
        self.makes: tuple[Column, ...] = (
            *c.CLUSTER, *(c.TOWER if options.tower_eta else ()), *(column for three in self._of_tracks for column in three),
        )  # fmt: skip

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> Calorimeters:
        """The module as the card describes it; raises CardError if the detector lacks what it asks for."""
        own = cast("Calorimeters.Options", options)
        there = {d.name: (i, d) for i, d in enumerate(detector.calorimeters)}
        names = list(there) if own.devices is None else own.devices
        problems = [
            f"modules.{own.name}.devices: {name!r} is no calorimeter of {detector.name} (it has: {', '.join(there) or 'none'})"
            for name in names
            if name not in there
        ]
        if not there and own.devices is None:
            problems.append(f"module {own.name!r}: {detector.name} has no [[calorimeters]]")
        devices = dict(sorted(there[name] for name in names if name in there))
        problems += [
            f'module {own.name!r}: level "detailed" needs the material of calorimeter {d.name!r} in {detector.name}'
            for d in devices.values()
            if own.level == "detailed" and d.material is None
        ]
        if problems:
            raise CardError(problems)
        return cls(own, devices, detector.b_z)

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Deposits, cells, clusters, tracks."""
        rows, visible = find_visible(batch, self._grids, self._sections, self._codes, self._b_z)
        deposits = self._deposits(visible, streams)
        events = (np.searchsorted(batch.offsets["particle"], rows, side="right") - 1)[deposits.particle]
        cells, cell_of, cell_offsets = self._cells(batch, deposits, events, streams)
        clusters, offsets = self._clusters(batch, cells, cell_offsets, streams)
        particle, em_fraction = np.zeros(len(clusters.energy), dtype=np.int64), np.zeros(len(clusters.energy))
        leading_particles(deposits, cell_of, cells, particle, em_fraction)
        # keep what is above threshold; calorimeter by calorimeter, highest energy first
        event = np.repeat(np.arange(batch.n_events), np.diff(offsets))
        kept = clusters.energy >= self._readout.thresholds[clusters.calorimeter, 2]
        order = np.lexsort((-clusters.energy, clusters.calorimeter, event))
        order = order[kept[order]]
        clusters = Clusters._make(array[order] for array in clusters)
        offsets = np.searchsorted(event[order], np.arange(batch.n_events + 1)).astype(np.int64)
        made: Columns = {
            c.CLUSTER_PARTICLE: visible.particle_index[particle[order]],
            c.CLUSTER_EM_TRUE: em_fraction[order],
            **self._measured(clusters),
            **self._tracks(batch, clusters, offsets),
        }
        if self._options.tower_eta is None or self._options.tower_phi is None:
            return Made(made, {"cluster": offsets})
        cell_event = np.repeat(np.arange(batch.n_events), np.diff(cell_offsets))
        towers, tower_offsets = self._towers(
            cells, cell_event, batch.n_events, self._options.tower_eta, self._options.tower_phi
        )
        return Made({**made, **towers}, {"cluster": offsets, "tower": tower_offsets})

    def _deposits(self, visible: Visible, streams: Streams) -> Deposits:
        if self._is_detailed:
            lost = np.zeros(len(visible.energy))
            key = streams.key(f"{self.name}/shower")
            n, deposits = shower(self._grids, self._sections, visible, self._b_z, key, lost)
        else:
            deposits = make_deposits(2 * len(visible.energy))
            n = deposit(self._grids, self._sections, visible, self._b_z, streams.key(f"{self.name}/place"), deposits)
        return Deposits._make(array[:n] for array in deposits)

    def _cells(
        self, batch: EventBatch, deposits: Deposits, events: NDArray[np.int64], streams: Streams
    ) -> tuple[Cells, NDArray[np.int64], NDArray[np.int64]]:
        offsets = np.searchsorted(events, np.arange(batch.n_events + 1)).astype(np.int64)
        cells, cell_of = make_cells(len(events)), np.zeros(len(events), dtype=np.int64)
        cell_offsets = np.zeros(batch.n_events + 1, dtype=np.int64)
        n = gather(offsets, deposits, cell_of, cells, cell_offsets)
        cells = Cells._make(array[:n] for array in cells)
        key = streams.key(f"{self.name}/energy")
        measure_cells(cell_offsets, batch[c.EVENT_ID], self._grids, self._readout, key, cells)
        return cells, cell_of, cell_offsets

    def _clusters(
        self, batch: EventBatch, cells: Cells, cell_offsets: NDArray[np.int64], streams: Streams
    ) -> tuple[Clusters, NDArray[np.int64]]:
        clusters, offsets = make_clusters(len(cells.energy)), np.zeros(batch.n_events + 1, dtype=np.int64)
        links = make_links(len(cells.energy))
        n = find_clusters(cell_offsets, self._grids, self._readout, cells, links, clusters, offsets)
        share_cells(self._readout, links, cells)
        clusters = Clusters._make(array[:n] for array in clusters)
        key = streams.key(f"{self.name}/time")
        measure_clusters(offsets, cell_offsets, batch[c.EVENT_ID], self._grids, self._readout, key, cells, clusters)
        return clusters, offsets

    def _measured(self, clusters: Clusters) -> Columns:
        x, y, z = (np.ascontiguousarray(clusters.place[:, axis]) for axis in range(3))
        return {
            c.CLUSTER_ENERGY: clusters.energy, c.CLUSTER_SIGMA: clusters.sigma,
            **dict(zip(c.CLUSTER_PLACE, (x, y, z), strict=True)),
            c.CLUSTER_ETA: np.arcsinh(z / np.hypot(x, y)), c.CLUSTER_PHI: np.arctan2(y, x), c.CLUSTER_TIME: clusters.time,
            c.CLUSTER_N_CELLS: clusters.n_cells, c.CLUSTER_CALORIMETER: self._numbers[clusters.calorimeter],
            c.CLUSTER_IS_HCAL: self._sections.is_hcal[clusters.calorimeter],
        }  # fmt: skip

    def _tracks(self, batch: EventBatch, clusters: Clusters, offsets: NDArray[np.int64]) -> Columns:
        """Links between tracks and clusters, and what they tell of both."""
        n, n_clusters = batch.n_rows("track"), len(clusters.energy)
        linked = Linked(
            np.full((n, 2), -1, dtype=np.int64), np.full(n_clusters, -1, dtype=np.int64), np.full(n_clusters, math.nan)
        )
        match(
            batch.offsets["track"], offsets, self._grids, self._sections.is_hcal, self._b_z, self._options.match_cells,
            Helices._make(batch[column] for column in (*c.RECONSTRUCTED[:4], c.PT, c.CHARGE, c.IS_RECONSTRUCTED)),
            clusters.calorimeter, clusters.place, linked,
        )  # fmt: skip
        rows = np.flatnonzero((linked.cluster_of >= 0).any(axis=1))
        cluster_of = linked.cluster_of[rows]
        p = batch[c.PT][rows] * np.hypot(1.0, batch[c.RECONSTRUCTED[3]][rows])
        relative2 = batch[c.COV_PACKED][rows, CURVATURE_VARIANCE] / batch[c.RECONSTRUCTED[4]][rows] ** 2
        neutral = np.empty(n_clusters)
        fill_neutral(
            cluster_of, group_clusters(cluster_of, n_clusters), np.hypot(p, PION_MASS), relative2 * p**2, clusters.energy,
            clusters.sigma, self._sections.is_hcal[clusters.calorimeter], self._options.significance, neutral,
        )  # fmt: skip
        first_track = batch.offsets["track"][np.repeat(np.arange(batch.n_events), np.diff(offsets))]
        made: Columns = {
            c.CLUSTER_TRACK: np.where(linked.track_of >= 0, linked.track_of - first_track, -1).astype(np.int32),
            c.CLUSTER_DISTANCE: linked.distance,
            c.CLUSTER_NEUTRAL: neutral,
        }
        for k, (mask, of_energy, e_over_p) in enumerate(self._of_tracks):
            cluster = cluster_of[:, int(self._sections.is_hcal[k])]
            mine = (cluster >= 0) & (clusters.calorimeter[cluster] == k)
            energy = clusters.energy[cluster[mine]]
            made[mask], made[of_energy], made[e_over_p] = np.zeros(n, dtype=np.bool_), *np.full((2, n), math.nan)
            made[mask][rows[mine]] = True
            made[of_energy][rows[mine]] = energy
            made[e_over_p][rows[mine]] = energy / p[mine]
        return made

    def _towers(
        self, cells: Cells, event: NDArray[np.int64], n_events: int, size_eta: float, size_phi: float
    ) -> tuple[Columns, NDArray[np.int64]]:
        """Sums of measured cells, by their places; azimuth is divided evenly, into towers of about the given size."""
        used = np.flatnonzero(cells.energy > 0.0)
        event, place = event[used], cells.place[used]
        n_phi = max(1, round(2.0 * math.pi / size_phi))
        eta = np.arcsinh(place[:, 2] / np.hypot(place[:, 0], place[:, 1]))
        i_eta = np.floor(eta / size_eta).astype(np.int64)
        i_phi = np.minimum(
            (np.arctan2(place[:, 1], place[:, 0]) + math.pi) * n_phi / (2.0 * math.pi), n_phi - 1
        ).astype(np.int64)
        lowest, n_eta = -(2**15), 2**16
        numbers, of = np.unique(((event * n_eta + i_eta - lowest) * n_phi) + i_phi, return_inverse=True)
        is_hcal = self._sections.is_hcal[cells.calorimeter[used]]
        em, had = np.zeros((2, len(numbers)))
        np.add.at(em, of[~is_hcal], cells.energy[used][~is_hcal])
        np.add.at(had, of[is_hcal], cells.energy[used][is_hcal])
        own_eta, own_phi = numbers // n_phi % n_eta + lowest, numbers % n_phi
        values = (em + had, em, had, (own_eta + 0.5) * size_eta, (own_phi + 0.5) * 2.0 * math.pi / n_phi - math.pi)
        counts = np.bincount(numbers // n_phi // n_eta, minlength=n_events)
        return dict(zip(c.TOWER, values, strict=True)), offsets_from_counts(counts)


def make_grids(devices: Sequence[Calorimeter]) -> Grids:
    """Places and cells of calorimeters, for the kernels."""
    places = [d.surface() for d in devices]
    numbers, steps = [], []
    first = 0
    for d, place in zip(devices, places, strict=True):
        if d.cell_size is None:
            kind, step_2 = TOWERS, d.tower_eta or 1.0
            n_1 = max(3, round(2.0 * math.pi / (d.tower_phi or 1.0)))
            half = math.asinh(place.high / place.position if d.is_barrel else place.position / place.low)
        else:
            kind, step_2, half = (BARREL if d.is_barrel else DISK), d.cell_size, place.high
            around = max(3, round(2.0 * math.pi * place.position / d.cell_size))
            n_1 = around if d.is_barrel else 2 * math.ceil(half / d.cell_size)
        n_2 = 2 * math.ceil(half / step_2)
        numbers.append((kind, n_1, n_2, first))
        steps.append((step_2 if kind == DISK else 2.0 * math.pi / n_1, step_2))
        first += n_1 * n_2 * (2 if kind == DISK else 1)
    return Grids(
        np.array(places, dtype=np.float64), np.array(numbers, dtype=np.int64), np.array(steps, dtype=np.float64)
    )


def make_sections(devices: Sequence[Calorimeter], codes: Sequence[int]) -> Sections:
    """How calorimeters respond, for the kernels; `codes`: PDG codes with a share of their own in some of them."""
    n = len(devices)
    fraction = np.zeros((n, HADRON + 1 + len(codes)))
    families = families_of(np.array(codes, dtype=np.int32))
    for k, d in enumerate(devices):
        fraction[k, ELECTROMAGNETIC] = 1.0
        fraction[k, HADRON] = d.hadron_fraction
        fraction[k, HADRON + 1 :] = fraction[k, families]
        for entry in d.fractions:
            for code in entry.pdg:
                fraction[k, HADRON + 1 + codes.index(code)] = entry.fraction
    position = np.array([(d.position.constant, d.position.stochastic) if d.position else (-1.0, 0.0) for d in devices])
    material = np.zeros((n, 6))
    for k, d in enumerate(devices):
        if d.material:
            m = d.material
            material[k] = m.z, m.x0, m.critical_energy_mev * MeV, m.moliere_radius, m.lambda_i, m.depth
    return Sections(
        np.array([d.kind == "hcal" for d in devices]), fraction, np.array([d.mip for d in devices]),
        np.array([d.e_over_h for d in devices]), position, np.array([[r.constant for r in d.resolutions()] for d in devices]),
        material,
    )  # fmt: skip


def make_readout(devices: Sequence[Calorimeter], is_detailed: bool) -> Readout:
    """How calorimeters are read out. In detail, showers have had their constant term, and a cell has a third of the noise."""
    resolution = np.array(
        [[(r.noise, r.stochastic, r.constant, r.eta_squared) for r in d.resolutions()] for d in devices],
        dtype=np.float64,
    )
    if is_detailed:
        resolution[:, :, 0] /= CELLS_OF_NOISE
        resolution[:, :, 2] = 0.0
    times = [(d.time.constant_ps * ps, d.time.stochastic_ps * ps) if d.time else (-1.0, 0.0) for d in devices]
    lengths = [
        (d.material.moliere_radius if d.material else d.cell_size or (d.r or d.z or 1.0) * (d.tower_phi or 1.0))
        / SHARED
        for d in devices
    ]
    return Readout(
        np.array([d.kind == "hcal" for d in devices]), resolution,
        np.array([(d.thresholds.cell, d.thresholds.seed, d.thresholds.cluster) for d in devices], dtype=np.float64),
        np.array(times), np.array(lengths), LOG_WEIGHT if is_detailed else 0.0,
    )  # fmt: skip
