"""Whether tracks can be made with a detector, tried on a coarse grid: what its file alone does not tell."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from fastsim.errors import LutError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastsim.detector import Detector

_PT = (1.0, 10.0)  # GeV: where every detector should find tracks


def check_solvable(detector: Detector) -> list[str]:
    """Warnings about layers; raises LutError if formulas or ready tables are wrong."""
    from fastsim.luts import Grid, build_lut, get_luts
    from fastsim.species import by_name

    if detector.tables:
        get_luts(detector, species=[by_name(table.species) for table in detector.tables])
    for name in (name for formula in detector.formulas for name in formula.species):
        build_lut(detector, by_name(name), Grid(n_pt=8, n_eta=8))
    return list(_unsolved(detector)) if detector.tracking else []


def _unsolved(detector: Detector) -> Iterator[str]:
    """Ranges of eta with enough layers, but where they do not make a track."""
    import numpy as np

    from fastsim.detector.geometry import radius_edges
    from fastsim.detector.review import review, straight_line_material
    from fastsim.luts import Grid, build_lut
    from fastsim.luts.file import unfold
    from fastsim.species import by_name

    covered = review(detector).eta_range
    if detector.tracking is None or covered is None:
        return  # told already
    grid = Grid(
        n_pt=6, n_eta=8, n_dnch=1, pt_min=_PT[0], pt_max=_PT[1], eta_max=min(max(map(abs, covered)), 8.0),
        r_edges=[float(edge) for edge in radius_edges(detector)[:2]],
    )  # fmt: skip
    enough = straight_line_material(detector, grid.eta_centers).n_measuring >= detector.tracking.min_hits
    try:
        has_track = np.isfinite(unfold(build_lut(detector, by_name("pi"), grid))[0][0, ..., 0]).any(axis=-1)
    except LutError as error:
        hint = f" ({error.hint})" if error.hint else ""
        yield f"no tracks can be made of pions of {_PT[0]:g} to {_PT[1]:g} GeV: {error.what}{hint}"
        return
    edges, k = grid.eta_edges, 0
    for is_missing, run in itertools.groupby((enough & ~has_track).tolist()):
        n = len(list(run))
        if is_missing:
            yield (
                f"no track from {_PT[0]:g} to {_PT[1]:g} GeV at {edges[k]:.2g} < eta < {edges[k + n]:.2g}, though enough layers "
                "measure there: do they measure both coordinates, and do tracks come within tracking.min_radius and "
                "max_sin_incidence?"
            )
        k += n
