"""What can be wrong with the numbers of a table, beyond what reading it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.errors import LutError
from fastsim.luts.build import lut_key
from fastsim.luts.file import hash_of, hashes_of
from fastsim.species import by_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.detector import Detector
    from fastsim.luts.file import Lut


def is_positive_definite(covariance: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether the cells (..., 15) of ln sigma and rho are positive definite, by Cholesky as in the tracking; NaN is not."""
    lower = np.zeros((*covariance.shape[:-1], 5, 5))
    good: NDArray[np.bool_] = np.isfinite(covariance).all(axis=-1)
    k = 5
    with np.errstate(all="ignore"):  # what is not a matrix runs along
        for i in range(5):
            for j in range(i):
                done = (lower[..., i, :j] * lower[..., j, :j]).sum(axis=-1)
                lower[..., i, j] = (covariance[..., k] - done) / lower[..., j, j]
                k += 1
            left = 1.0 - (lower[..., i, :i] ** 2).sum(axis=-1)
            good &= left > 0.0
            lower[..., i, i] = np.sqrt(left)
    return good


def check_lut(lut: Lut, detector: Detector | None = None) -> None:
    """Raise LutError if a matrix is not positive definite, the hash is not that of the numbers, or of another detector."""
    header = lut.header
    if hash_of(hashes_of(lut.covariance, lut.efficiencies)) != header.sha256:
        raise LutError("the numbers are not those that the header's sha256 was taken of", hint="make the table again")
    bad = lut.is_valid & ~is_positive_definite(lut.covariance)
    if bad.any():
        h, i, j = np.unravel_index(int(np.argmax(bad)), bad.shape)
        eta = header.grid.eta_centers[-bad.shape[1] :][i]
        raise LutError(
            f"{bad.sum()} of {lut.is_valid.sum()} matrices are not positive definite (the first at eta = {eta:.3g}, "
            f"pt = {header.grid.pt_centers[j]:.3g} GeV, in bin {h} of the radius)",
            hint="no tracks are made where it is so",
        )
    if detector:
        _check_maker(lut, detector)


def _check_maker(lut: Lut, detector: Detector) -> None:
    """Raise LutError if the table is not the detector's."""
    header = lut.header
    if detector.tables:
        told = {table.species: table.sha256 for table in detector.tables}.get(header.species, "none")
        found = header.sha256
    else:
        told, found = lut_key(detector, by_name(header.species), header.grid), header.key
    if told != found:
        raise LutError(
            f"its hash is {found[:16]}, that of {header.species} in {detector.name} is {told[:16]}",
            hint="the detector or the physics has changed since: build the table again",
        )
