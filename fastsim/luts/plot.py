"""Pictures of lookup tables. matplotlib is imported only here, and only when a picture is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsim.errors import UsageError
from fastsim.species import by_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastsim.luts.file import Lut

_LINES = ("-", "--", ":", "-.")


def plot_luts(luts: Sequence[Lut], path: Path, *, etas: Sequence[float]) -> None:
    """Draw sigma(pt)/pt, pointing in r-phi and z, and efficiency against pt to a PNG, PDF or SVG file.

    One colour an eta, one line style a table. Raises UsageError if matplotlib is missing or the format unknown.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  (the extra `plot`)
        from matplotlib.ticker import LogLocator  # noqa: PLC0415
    except ImportError:
        raise UsageError("drawing needs matplotlib", hint="pip install 'fastsim[plot]'") from None
    figure = Figure(figsize=(11, 7.6), layout="constrained")
    (top_left, top_right), (bottom_left, bottom_right) = figure.subplots(2, 2, sharex=True)
    colors = [f"C{i}" for i in range(len(etas))]
    for number, lut in enumerate(luts):
        pt = lut.header.grid.pt_centers
        for eta, color in zip(etas, colors, strict=True):
            style = {
                "color": color,
                "linestyle": _LINES[number % len(_LINES)],
                "label": f"η = {eta:g}" if number == 0 else None,
            }
            top_left.plot(pt, 100 * pt * lut.sigma("q_over_pt", eta), **style)
            top_right.plot(pt, 1e4 * lut.sigma("dca_xy", eta), **style)
            bottom_left.plot(pt, 1e4 * lut.sigma("dca_z", eta), **style)
            bottom_right.plot(pt, 100 * lut.efficiency(eta), **style)
    for axes, label in (
        (top_left, "σ(pT) / pT  [%]"),
        (top_right, "σ(DCA) in r-φ  [µm]"),
        (bottom_left, "σ(DCA) along z  [µm]"),
        (bottom_right, "efficiency  [%]"),
    ):
        axes.set(xscale="log", ylabel=label)
        axes.grid(visible=True, which="major", alpha=0.4)
        axes.grid(visible=True, which="minor", alpha=0.12)
        if axes is not bottom_right:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for axes in (bottom_left, bottom_right):
        axes.set_xlabel("pT  [GeV]")
        axes.set_xlim(*_range(luts))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    bottom_right.set_ylim(-3, 105)
    top_left.legend()
    names = [f"{by_name(lut.header.species).symbol}, {lut.header.detector}, {lut.header.b_z:g} T" for lut in luts]
    if len(luts) > 1:
        names = [
            f"{name} ({style})"
            for name, style in zip(names, ("solid", "dashed", "dotted", "dash-dotted") * len(luts), strict=False)
        ]
    figure.suptitle("; ".join(names))
    try:
        figure.savefig(path, dpi=120)
    except (ValueError, OSError) as error:
        raise UsageError(f"cannot be drawn: {error}", where=str(path)) from None


def _range(luts: Sequence[Lut]) -> tuple[float, float]:
    """The range in pt where any table has tracks, and a little below, so that the onset is seen."""
    edges = [lut.header.grid.pt_edges[:-1][(lut.values[..., 0] > 0).any(axis=0)] for lut in luts]
    return 0.7 * float(min(np.min(e) for e in edges)), float(max(lut.header.grid.pt_max for lut in luts))
