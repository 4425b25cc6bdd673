"""Pictures of lookup tables. matplotlib is imported only here, and only when a picture is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.detector.plot import check_format, save_picture
from fastsim.errors import UsageError
from fastsim.species import by_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastsim.luts.file import Lut

_LINES = ("-", "--", ":", "-.")
_N_COLORS = 10  # of matplotlib's cycle
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

    One colour an eta (by default 0, 1, 2, 3, as far as the tables reach) and one line style a table, or at a single eta one
    colour a table; fainter lines for higher occupancies; of tracks born at radius `r` [cm]. Raises UsageError if matplotlib
    is missing, the format unknown or the lines could not be told apart, OutputError if the disk is full.
    """
    check_format(path)
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  (the extra `plot`)
    except ImportError:
        raise UsageError("drawing needs matplotlib", hint="pip install 'fastsim[plot]'") from None
    etas = etas or [eta for eta in _ETAS if eta <= min(lut.header.grid.eta_max for lut in luts)]
    check_number(len(luts), len(etas))
    figure = Figure(figsize=(11, 7.6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True).ravel()
    for number, lut in enumerate(luts):
        for k, eta in enumerate(etas):
            _draw(panels, lut, eta, r, dnch_deta, _style(number, k, len(etas)))
    _axes(panels, luts)
    _legends(figure, panels, luts, etas, dnch_deta)
    figure.suptitle(_title(luts, etas, r))
    save_picture(figure, path, dpi=120)


def check_number(n_luts: int, n_etas: int) -> None:
    """Raise UsageError if so many lines cannot be told apart."""
    if n_etas > 1 and n_luts > len(_LINES):
        raise UsageError(
            f"{n_luts} tables at {n_etas} values of eta: there are line styles for {len(_LINES)} tables only",
            hint="give one --eta: then each table has its own colour",
        )
    if n_luts > _N_COLORS * len(_LINES):
        raise UsageError(f"{n_luts} tables: there are colours for {_N_COLORS * len(_LINES)} only", hint="draw fewer")


def _style(number: int, k: int, n_etas: int) -> dict[str, Any]:
    """How the lines of a table (by its number) at the k-th eta look."""
    if n_etas > 1:
        return {"color": f"C{k}", "linestyle": _LINES[number]}
    return {"color": f"C{number % _N_COLORS}", "linestyle": _LINES[number // _N_COLORS]}


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


def _legends(figure: Any, panels: Any, luts: Sequence[Lut], etas: Sequence[float], dnch_deta: Sequence[float]) -> None:
    """Colours and line styles below the picture, occupancies in the panel of the efficiency, the only one they change."""
    from matplotlib.lines import Line2D  # noqa: PLC0415

    handles = []
    if len(etas) > 1:
        handles += [Line2D([], [], color=f"C{k}", label=f"η = {eta:g}") for k, eta in enumerate(etas)]
    if len(luts) > 1:
        fixed = {"color": "0.3"} if len(etas) > 1 else {}
        handles += [Line2D([], [], **(_style(k, 0, len(etas)) | fixed), label=_name(lut)) for k, lut in enumerate(luts)]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4))
    if len(dnch_deta) > 1:
        panels[3].legend(
            title="dN$_{ch}$/dη",
            handles=[
                Line2D([], [], color="0.0", alpha=_alpha(k, len(dnch_deta)), label=f"{occupancy:g}")
                for k, occupancy in enumerate(dnch_deta)
            ],
        )


def _title(luts: Sequence[Lut], etas: Sequence[float], r: float) -> str:
    """What all lines have in common; the legend has the rest."""
    symbols = dict.fromkeys(by_name(lut.header.species).symbol for lut in luts)
    text = _name(luts[0]) if len(luts) == 1 else f"Resolution and efficiency of {', '.join(symbols)}"
    text += f", η = {etas[0]:g}" if len(etas) == 1 else ""
    return f"{text}, born at r = {r:g} cm" if r > 0 else text


def _name(lut: Lut) -> str:
    return f"{by_name(lut.header.species).symbol}, {lut.header.detector}, {lut.header.b_z:g} T"


def _range(luts: Sequence[Lut]) -> tuple[float, float]:
    """The range in pt where any table has tracks, and a little below, so that the onset is seen."""
    edges = [lut.header.grid.pt_edges[:-1][lut.is_valid.any(axis=(0, 1))] for lut in luts]
    return 0.7 * float(min(np.min(e) for e in edges)), float(max(lut.header.grid.pt_max for lut in luts))
