"""Pictures of lookup tables. matplotlib is imported only here, and only when a picture is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.errors import UsageError
from fastsim.species import by_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastsim.luts.file import Lut

_LINES = ("-", "--", ":", "-.")
_ETAS = (0.0, 1.0, 2.0, 3.0)


def plot_luts(
    luts: Sequence[Lut],
    path: Path,
    *,
    etas: Sequence[float] | None = None,
    r: float = 0.0,
    dnch_deta: Sequence[float] = (0.0,),
) -> None:
    """Draw sigma(pt)/pt, pointing in r-phi and z, and efficiency against pt to a PNG, PDF or SVG file.

    One colour an eta (by default 0, 1, 2, 3, as far as the tables reach), one line style a table, fainter lines for higher
    occupancies; of tracks born at radius `r` [cm]. Raises UsageError if matplotlib is missing or the format unknown.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  (the extra `plot`)
    except ImportError:
        raise UsageError("drawing needs matplotlib", hint="pip install 'fastsim[plot]'") from None
    etas = etas or [eta for eta in _ETAS if eta <= min(lut.header.grid.eta_max for lut in luts)]
    figure = Figure(figsize=(11, 7.6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True).ravel()
    for number, lut in enumerate(luts):
        for k, eta in enumerate(etas):
            style = {"color": f"C{k}", "linestyle": _LINES[number % len(_LINES)]}
            _draw(panels, lut, eta, r, dnch_deta, style)
    _axes(panels, luts)
    _legends(panels, luts, etas, dnch_deta)
    figure.suptitle(_title(luts, r))
    try:
        figure.savefig(path, dpi=120)
    except (ValueError, OSError) as error:
        raise UsageError(f"cannot be drawn: {error}", where=str(path)) from None


def _draw(panels: Any, lut: Lut, eta: float, r: float, dnch_deta: Sequence[float], style: dict[str, Any]) -> None:
    """One table at one eta."""
    pt = lut.header.grid.pt_centers
    panels[0].plot(pt, 100 * pt / lut.header.charge * lut.sigma("q_over_pt", eta, r), **style)
    panels[1].plot(pt, 1e4 * lut.sigma("dca_xy", eta, r), **style)
    panels[2].plot(pt, 1e4 * lut.sigma("dca_z", eta, r), **style)
    for number, occupancy in enumerate(dnch_deta if lut.header.grid.n_dnch > 1 else dnch_deta[:1]):
        panels[3].plot(pt, 100 * lut.efficiency(eta, r, occupancy), alpha=_alpha(number, len(dnch_deta)), **style)


def _alpha(number: int, n: int) -> float:
    """Opacity of the lines of an occupancy."""
    return 1.0 - 0.75 * number / max(n - 1, 1)


def _axes(panels: Any, luts: Sequence[Lut]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter  # noqa: PLC0415

    labels = ("σ(pT) / pT  [%]", "σ(DCA) in r-φ  [µm]", "σ(DCA) along z  [µm]", "efficiency  [%]")
    for axes, label in zip(panels, labels, strict=True):
        axes.set(xscale="log", ylabel=label)
        axes.grid(visible=True, which="major", alpha=0.4)
        axes.grid(visible=True, which="minor", alpha=0.12)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlim(*_range(luts))
    for axes in panels[:3]:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    for axes in panels[2:]:
        axes.set_xlabel("pT  [GeV]")
    panels[3].set_ylim(-3, 105)


def _legends(panels: Any, luts: Sequence[Lut], etas: Sequence[float], dnch_deta: Sequence[float]) -> None:
    """Colours in the first panel, line styles in the second, occupancies in the last."""
    from matplotlib.lines import Line2D  # noqa: PLC0415

    panels[0].legend(handles=[Line2D([], [], color=f"C{k}", label=f"η = {eta:g}") for k, eta in enumerate(etas)])
    if len(luts) > 1:
        lines = [
            Line2D([], [], color="0.3", linestyle=_LINES[k % len(_LINES)], label=_name(lut))
            for k, lut in enumerate(luts)
        ]
        panels[1].legend(handles=lines)
    if len(dnch_deta) > 1:
        panels[3].legend(
            title="dN$_{ch}$/dη",
            handles=[
                Line2D([], [], color="0.0", alpha=_alpha(k, len(dnch_deta)), label=f"{occupancy:g}")
                for k, occupancy in enumerate(dnch_deta)
            ],
        )


def _title(luts: Sequence[Lut], r: float) -> str:
    names = _name(luts[0]) if len(luts) == 1 else "Resolution and efficiency"
    return f"{names}, born at r = {r:g} cm" if r > 0 else names


def _name(lut: Lut) -> str:
    return f"{by_name(lut.header.species).symbol}, {lut.header.detector}, {lut.header.b_z:g} T"


def _range(luts: Sequence[Lut]) -> tuple[float, float]:
    """The range in pt where any table has tracks, and a little below, so that the onset is seen."""
    edges = [lut.header.grid.pt_edges[:-1][lut.is_valid.any(axis=(0, 1))] for lut in luts]
    return 0.7 * float(min(np.min(e) for e in edges)), float(max(lut.header.grid.pt_max for lut in luts))
