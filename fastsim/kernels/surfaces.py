"""A detector's measuring and scattering surfaces as arrays: what kernels see of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_LOST = 4  # hits that a pattern of its own may lack in the table maker


class Surfaces(NamedTuple):
    """Cylinders by increasing radius, then disks at z > 0, then disks at z < 0, both outwards. Lengths in cm.

    `position` is r of a cylinder and z of a disk; it extends over `low` to `high` in z (cylinder) or r (disk).
    `sigma`, `stereo` (n, 2): resolution and angle of up to two views, inf where there is none; a view measures
    cos(angle) r-phi - sin(angle) z (r on a disk). Passive surfaces have efficiency 0. Surfaces of drift volumes are
    `repeated`: many, so that losing one of them hardly matters. Areal density in g/cm2.
    """

    n_cylinders: int
    n_forward: int
    position: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    x_over_x0: NDArray[np.float64]
    areal_density: NDArray[np.float64]
    sigma: NDArray[np.float64]
    stereo: NDArray[np.float64]
    efficiency: NDArray[np.float64]
    repeated: NDArray[np.bool_]
