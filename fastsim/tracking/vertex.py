"""The primary vertex: fitted from the smeared tracks, or the generated one with the resolution that the card gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import module
from fastsim.jit import kernel
from fastsim.kernels.vertex_fit import Vertices, fit_vertices
from fastsim.kernels.vertex_seed import seed_vertices
from fastsim.module import Made
from fastsim.rng import EVENT_LEVEL, Key, normals_1
from fastsim.units import curvature_constant, um

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.detector import Detector
    from fastsim.events import Columns, EventBatch
    from fastsim.rng import Streams
    from fastsim.toml import Path

SIGMAS = ("sigma_x_um", "sigma_y_um", "sigma_z_um")
DIAGONAL = [0, 2, 5, 9, 14]  # of a packed covariance
OF_LEVEL: dict[str, tuple[str, ...]] = {"parametric": SIGMAS, "fit": ("chi2_cut",)}


@kernel
def smear_vertices(
    event_id: NDArray[np.uint64], sigma: NDArray[np.float64], key: Key, vertex: NDArray[np.float64]
) -> None:
    """Add independent normal shifts of width `sigma` (3,) [cm] to vertices (n, 3) [cm] in place."""
    for event in range(len(event_id)):
        first = normals_1(0, EVENT_LEVEL, event_id[event], key.k0, key.k1)
        second = normals_1(1, EVENT_LEVEL, event_id[event], key.k0, key.k1)
        vertex[event, 0] += sigma[0] * first[0]
        vertex[event, 1] += sigma[1] * first[1]
        vertex[event, 2] += sigma[2] * second[0]


class Vertex:
    """Module kind "vertex": position, covariance, chi2 and contributors of the primary vertex."""

    class Options(module.Options):
        """The primary vertex."""

        # One level more than other kinds have.
        level: Annotated[  # type: ignore[assignment]
            Literal["parametric", "fit"],
            Field(description='"fit": from the smeared tracks; "parametric": the generated one, smeared'),
        ]
        chi2_cut: Annotated[
            float,
            Field(gt=0, le=1e4, description="fit: chi2 (two degrees of freedom) at which a track's weight is one half"),
        ] = 9.0
        sigma_x_um: Annotated[float | None, Field(ge=0, description="parametric: resolution in x [um]")] = None
        sigma_y_um: Annotated[float | None, Field(ge=0, description="parametric: resolution in y [um]")] = None
        sigma_z_um: Annotated[float | None, Field(ge=0, description="parametric: resolution in z [um]")] = None

        @classmethod
        def faults(cls, data: dict[str, Any]) -> Iterator[tuple[Path, str]]:
            """Options of the other level, and missing resolutions."""
            level = data.get("level")
            for other, keys in OF_LEVEL.items():
                for key in keys:
                    if other == level == "parametric" and key not in data:
                        yield (key,), 'missing: level "parametric" needs it'
                    elif other != level and key in data and level in OF_LEVEL:
                        yield (key,), f'belongs to level "{other}", and this vertex has level "{level}"'

    makes: tuple[Column, ...] = (*c.VERTEX, c.VERTEX_COV, c.VERTEX_CHI2, c.N_CONTRIBUTORS, c.IS_CONTRIBUTOR)

    @classmethod
    def from_options(cls, options: module.Options, detector: Detector) -> FittedVertex | SmearedVertex:
        """The module as the card describes it."""
        own = cast("Vertex.Options", options)
        if own.level == "fit":
            return FittedVertex(own.name, detector.b_z, own.chi2_cut)
        return SmearedVertex(own.name, [(getattr(own, key) or 0.0) * um for key in SIGMAS])


class FittedVertex:
    """Level "fit": an adaptive fit of all reconstructed tracks; those of other collisions and of decays get no weight."""

    needs: tuple[Column, ...] = (c.IS_RECONSTRUCTED, *c.RECONSTRUCTED, c.COV_PACKED)
    makes = Vertex.makes

    def __init__(self, name: str, b_z: float, chi2_cut: float) -> None:
        self.name = name
        self._b_z = float(b_z)
        self._chi2_cut = float(chi2_cut)

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Fit the vertex of each event; those with fewer than two contributors have none, and the origin as position."""
        del streams
        parameters = np.column_stack([batch[column] for column in c.RECONSTRUCTED])
        cov_packed = batch[c.COV_PACKED]
        rows = np.flatnonzero(batch[c.IS_RECONSTRUCTED] & usable(parameters, cov_packed, self._b_z))
        offsets = np.searchsorted(rows, batch.offsets["track"])
        n = batch.n_events
        fitted = Vertices(np.zeros((n, 3)), np.zeros((n, 6)), np.zeros(n), np.zeros(n, dtype=np.int32))
        weights = np.zeros(len(parameters))
        seed_vertices(offsets, rows, parameters, cov_packed, self._b_z, fitted.position)
        fit_vertices(offsets, rows, parameters, cov_packed, self._b_z, self._chi2_cut, fitted, weights)
        return made_of(fitted.position, fitted.covariance, fitted.chi2, fitted.n_contributors, weights > 0.5)


class SmearedVertex:
    """Level "parametric": the generated vertex, moved by the card's resolution; reconstructed primaries contribute."""

    needs: tuple[Column, ...] = (
        c.EVENT_ID, *c.VERTEX_TRUE[:3], c.COLLISION, c.IS_PRIMARY, c.IS_RECONSTRUCTED, c.PARTICLE_INDEX,
    )  # fmt: skip
    makes = Vertex.makes

    def __init__(self, name: str, sigma: list[float]) -> None:
        self.name = name
        self._sigma = np.array(sigma)

    def apply(self, batch: EventBatch, streams: Streams) -> Made:
        """Smear the vertex of each event and count its contributors."""
        vertex = np.column_stack([batch[column] for column in c.VERTEX_TRUE[:3]])
        smear_vertices(batch[c.EVENT_ID], self._sigma, streams.key(f"{self.name}/position"), vertex)
        events = batch.event_index("track")
        particles = batch.offsets["particle"][events] + batch[c.PARTICLE_INDEX]
        is_own = batch[c.IS_PRIMARY] & (batch[c.COLLISION] == 0)  # not of a pile-up collision
        contributes = batch[c.IS_RECONSTRUCTED] & is_own[particles]
        covariance = np.zeros((batch.n_events, 6))
        covariance[:, [0, 2, 5]] = self._sigma**2
        n_contributors = np.bincount(events[contributes], minlength=batch.n_events).astype(np.int32)
        return made_of(vertex, covariance, np.zeros(batch.n_events), n_contributors, contributes)


def usable(parameters: NDArray[np.float64], cov_packed: NDArray[np.float64], b_z: float) -> NDArray[np.bool_]:
    """Which tracks (n,) are helices with uncertainties.

    Finite numbers, positive variances, some pt, and no centre on the beam line or beyond it: smearing can make such curls.
    """
    bend = 1.0 - curvature_constant * b_z * parameters[:, 4] * parameters[:, 0]
    return np.asarray(
        np.isfinite(parameters).all(axis=1) & np.isfinite(cov_packed).all(axis=1) & (bend > 0.0)
        & (cov_packed[:, DIAGONAL] > 0.0).all(axis=1) & (parameters[:, 4] != 0.0)
    )  # fmt: skip


def made_of(
    position: NDArray[np.float64],
    covariance: NDArray[np.float64],
    chi2: NDArray[np.float64],
    n_contributors: NDArray[np.int32],
    contributes: NDArray[np.bool_],
) -> Made:
    """The promised columns: position (n, 3) [cm], covariance (n, 6) [cm^2] and so on of n events."""
    made: Columns = dict(zip(c.VERTEX, np.ascontiguousarray(position.T), strict=True))
    made |= {
        c.VERTEX_COV: covariance,
        c.VERTEX_CHI2: chi2,
        c.N_CONTRIBUTORS: n_contributors,
        c.IS_CONTRIBUTOR: contributes,
    }
    return Made(made)
