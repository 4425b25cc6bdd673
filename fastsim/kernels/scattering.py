"""Multiple scattering in thin layers: the Highland-Lynch-Dahl width in the conventions that the field uses."""

from __future__ import annotations

import math

from fastsim.jit import kernel


@kernel
def highland_1(t: float, t_path: float, p: float, beta: float, charge: float, convention: int) -> float:
    """Rms projected scattering angle [rad] of a layer of t radiation lengths along the track.

    `t_path` is the thickness of the whole path; momentum p [GeV]; `convention` a number of
    `kernels.conventions.CONVENTIONS`. The logarithmic factor never goes below 0.
    Source: PDG review (2024), eq. 34.16; G. R. Lynch and O. I. Dahl, NIM B58 (1991) 6.
    """
    if t <= 0.0:
        return 0.0
    factor = 1.0
    if convention == 0:
        factor += 0.038 * math.log(t * charge * charge / (beta * beta))
    elif convention == 1:
        factor += 0.038 * math.log(t)
    elif convention == 2:
        factor += 0.038 * math.log(t_path * charge * charge / (beta * beta))
    return 0.0136 * abs(charge) / (beta * p) * math.sqrt(t) * max(factor, 0.0)
