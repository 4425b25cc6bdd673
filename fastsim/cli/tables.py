"""Lookup tables as tables on the terminal: resolutions against pt, differences of two."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fastsim.cli.console import out, print_uncut

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.table import Table

    from fastsim.luts import Lut
    from fastsim.luts.diff import Comparison

_SHOWN_PT = (0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 50, 100)
_LONGEST_BAR = 9


def bins_text(lut: Lut, eta: float, r: float, dnch_deta: float) -> str:
    """Which bins are shown."""
    header, grid = lut.header, lut.header.grid
    edges = grid.eta_edges[len(grid.eta_edges) // 2 :] if header.mirrored else grid.eta_edges
    low, high = edges[lut.eta_bin(eta) :][:2]
    text = f"Resolution of {header.species} in {header.detector}, {header.b_z:g} T, {low:g} < eta < {high:g}"
    more = []
    if grid.n_r > 1:
        low, high = (grid.r_edges or [])[lut.r_bin(r) :][:2]
        more.append(f"born at {low:g} < r < {high:g} cm")
    if grid.n_dnch > 1:
        nearest = grid.dnch_centers[lut.dnch_bin(dnch_deta)]
        more.append(f"dN_ch/deta = {nearest:.3g}")
    return "\n".join([text, ", ".join(more)]) if more else text


def resolutions(lut: Lut, sigma: dict[str, NDArray[Any]], efficiency: NDArray[Any], title: str) -> Table:
    """Resolutions (n_pt,) and efficiency (n_pt,) at some pt, in the units of the trade."""
    import numpy as np
    from rich.markup import escape
    from rich.table import Table

    shown = Table(title=escape(title), title_justify="left", title_style="bold")
    units = {"pt": "GeV", "found": "%", "σ(pt)/pt": "%", "dca_xy": "µm", "dca_z": "µm", "phi": "mrad", "tan λ": "1e-3"}
    for name, unit in units.items():
        shown.add_column(f"{name}\n{unit}", justify="right", no_wrap=True)
    shown.add_column("σ(pt)/pt\nlog scale", no_wrap=True)
    pt = lut.header.grid.pt_centers
    relative = sigma["q_over_pt"] * pt / lut.header.charge
    valid = np.flatnonzero(np.isfinite(relative))
    length = np.zeros(len(pt))
    if len(valid):
        length[valid] = np.log(relative[valid] / relative[valid].min())
        length *= _LONGEST_BAR / max(float(length.max()), math.log(10.0))  # so that a flat curve looks flat
    for i in sorted({int(np.argmin(np.abs(np.log(pt / x)))) for x in _SHOWN_PT}):
        if i not in valid:
            shown.add_row(f"{pt[i]:.3g}", "0", *["-"] * 5, "")
            continue
        factors = {"dca_xy": 1e4, "dca_z": 1e4, "phi": 1e3, "tan_lambda": 1e3}
        values = [100 * relative[i], *(factor * sigma[name][i] for name, factor in factors.items())]
        bar = "▇" * (1 + round(float(length[i])))
        shown.add_row(f"{pt[i]:.3g}", f"{100 * efficiency[i]:.3g}", *(f"{x:.3g}" for x in values), bar)
    return shown


def print_comparison(found: Comparison, first: str, second: str) -> None:
    """Differences by quantity, and how many cells there were."""
    from rich.table import Table

    shown = Table()
    for name in ("quantity\n", "largest\n", "median\n", "at pt\nGeV", "eta\n", "r\ncm", "dN_ch/deta\n"):
        shown.add_column(name, justify="left" if name == "quantity\n" else "right", no_wrap=True)
    for item in found.differences:
        values = [_signed(x, is_relative=item.is_relative) for x in (item.largest, item.median)]
        place = [f"{item.pt:.3g}", f"{item.eta:.3g}", f"{item.r:g}"] if item.largest else []
        occupancy = "" if item.dnch_deta is None or not item.largest else f"{item.dnch_deta:.3g}"
        shown.add_row(item.name, *values, *(place or [""] * 3), occupancy)
    out.print(f"{second} relative to {first}: + is larger in the second", style="bold", highlight=False, markup=False)
    print_uncut(shown)
    text = "; interpolated, because the axes differ" if found.is_interpolated else ""
    out.print(f"{found.n_both:,} cells have a track in both{text}", highlight=False)
    for n, which in ((found.n_first_only, first), (found.n_second_only, second)):
        if n:
            out.print(f"{n:,} cells have one in {which} only", highlight=False, markup=False)


def _signed(x: float, *, is_relative: bool) -> str:
    """A difference with its sign; what is equal has none."""
    if x == 0:
        return "0 %" if is_relative else "0"
    if is_relative:
        return f"{100 * x:+.2g} %" if abs(x) < 1 else f"{100 * x:+.0f} %"
    return f"{x:+.2g}"
