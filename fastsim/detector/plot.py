"""Pictures of detectors. matplotlib is imported only here, and only when a picture is asked for."""

from __future__ import annotations

import io
import math
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsim.detector import geometry
from fastsim.detector.review import largest_eta, straight_line_material
from fastsim.errors import UsageError, cannot_write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastsim.detector.geometry import Surface
    from fastsim.detector.schema import Detector, DriftVolume

__all__ = ["check_format", "plot_detector", "save_picture", "straight_line_material"]

_FORMATS = (".png", ".pdf", ".svg")
_PASSIVE = "#a8a8a8"
_GROUPS = {"passive": ("passive", _PASSIVE), "measuring": ("measuring layers", "#3b75af"),
           "drift_volumes": ("drift volumes", "#e0a458")}  # fmt: skip
# Told apart by eye, in this order from fine to coarse; grey is for what does not measure.
_COLORS = ("#1f4e9c", "#c8452d", "#2e8b57", "#8e44ad", "#d98e04", "#17a2b8", "#8c564b", "#d6619c", "#7a8b00")
_MARGIN = 1.08  # of the outermost measuring surface: a beam pipe goes on for metres


def plot_detector(detectors: Sequence[Detector], path: Path) -> None:
    """Draw layout, material budget and number of measuring layers to a PNG, PDF or SVG file, one block a detector.

    Raises UsageError if matplotlib is missing, the format unknown, or a detector has no layers to draw.
    """
    for detector in detectors:
        if not geometry.elements(detector):
            kind = "formulas" if detector.formulas else "tables"
            raise UsageError(f"{detector.name} is made of {kind}: it has no layers to draw")
    check_format(path)
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  (the extra `plot`)
    except ImportError:
        raise UsageError("drawing needs matplotlib", hint="pip install 'fastsim[plot]'") from None
    figure = Figure(figsize=(15, 8.2 * len(detectors)), layout="constrained")
    eta_max = max(_eta_max(detector) for detector in detectors)
    blocks = figure.subfigures(len(detectors), 1, squeeze=False)[:, 0]
    tops = []
    for block, detector in zip(blocks, detectors, strict=True):
        block.suptitle(f"{detector.name}, {detector.b_z:g} T", fontsize="x-large", x=0.012, ha="left", weight="bold")
        grid = block.add_gridspec(2, 2, width_ratios=(1.55, 1))
        _layout(block.add_subplot(grid[0, 0]), block.add_subplot(grid[1, 0]), detector)
        tops.append(block.add_subplot(grid[0, 1]))
        _material(tops[-1], block.add_subplot(grid[1, 1], sharex=tops[-1]), detector, eta_max)
    highest = max(axes.get_ylim()[1] for axes in tops)  # the same scale for all, to compare
    for axes in tops:
        axes.set_ylim(0, highest)
    save_picture(figure, path, dpi=110)


def check_format(path: Path) -> None:
    """Raise UsageError if pictures cannot have this suffix."""
    if path.suffix not in _FORMATS:
        raise UsageError(f"cannot be drawn: the name must end in {', '.join(_FORMATS)}", where=str(path))


def save_picture(figure: Any, path: Path, *, dpi: int) -> None:
    """Write a figure, whole or not at all; raises UsageError or OutputError if that cannot be."""
    picture = io.BytesIO()  # what matplotlib makes of a full disk is anybody's guess (zlib.error for PDF)
    figure.savefig(picture, dpi=dpi, format=path.suffix[1:])
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(picture.getvalue())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(error, path) from None
    finally:
        with suppress(OSError):  # gone after the renaming, never there in a folder that does not exist
            temporary.unlink(missing_ok=True)


def _layout(linear: Any, logarithmic: Any, detector: Detector) -> None:
    """The same r-z section twice: as it is, and with the radius on a logarithmic axis, where the beam line is."""
    from matplotlib.ticker import LogLocator  # noqa: PLC0415

    surfaces = geometry.elements(detector)
    seen = [s for s in surfaces if s.is_sensitive] or surfaces
    r_max = _MARGIN * max(s.high if s.is_disk else s.position for s in seen)
    z_max = _MARGIN * max(abs(s.position) if s.is_disk else s.high for s in seen)
    r_min = 0.7 * min(s.low if s.is_disk and s.low > 0 else s.high if s.is_disk else s.position for s in surfaces)
    z_min = 0.0 if _is_mirrored(surfaces) else -z_max
    colors = _colors(seen)
    for axes, low in ((linear, 0.0), (logarithmic, r_min)):
        if low:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(lambda *_: "")
        for volume in detector.drift_volumes:
            row = next(s for s in surfaces if s.repeated and s.position == volume.r_first)
            _box(axes, volume, colors.get(_kind(row), _PASSIVE), z_min)
        for surface in surfaces:
            if not surface.repeated and not (surface.is_disk and surface.position < z_min):
                _line(axes, surface, colors)
        axes.set(xlim=(z_min, z_max), xlabel="z  [cm]", ylabel="r  [cm]")
        axes.grid(visible=True, alpha=0.25)
        axes.set_ylim(low, r_max)
        _eta_lines(axes, z_min, z_max, low, r_max)
    linear.set_title("layout", loc="left", pad=18)
    logarithmic.set_title("the same, radius on a logarithmic axis", loc="left", pad=18)
    handles = _legend(colors, any(not s.is_sensitive for s in surfaces))
    linear.legend(
        handles=handles, title="σ r-φ × z or r", loc="upper left", bbox_to_anchor=(1.03, 1.0), fontsize="small"
    )


def _is_mirrored(surfaces: Sequence[Surface]) -> bool:
    """Whether both sides look the same in a picture, where stereo angles are not seen."""
    disks = {(s.position, s.low, s.high, s.x_over_x0, s.sigma) for s in surfaces if s.is_disk}
    return {(-disk[0], *disk[1:]) for disk in disks} == disks


def _kind(surface: Surface) -> tuple[tuple[float, float], ...]:
    """Resolution [um] and stereo angle of each view: what a measuring surface is coloured by."""
    views = ((round(1e4 * s, 4), abs(a)) for s, a in zip(surface.sigma, surface.stereo, strict=True) if s < math.inf)
    return tuple((s, -1.0 if surface.repeated and 0 < a < 1.5 else round(a, 4)) for s, a in views)


def _colors(surfaces: Sequence[Surface]) -> dict[Any, Any]:
    """A colour for each kind of resolution, from fine to coarse; the coarsest share one if there are many."""
    kinds = sorted({_kind(surface) for surface in surfaces if surface.is_sensitive})
    return {kind: _COLORS[min(i, len(_COLORS) - 1)] for i, kind in enumerate(kinds)}


def _line(axes: Any, surface: Surface, colors: dict[Any, Any]) -> None:
    style = {"color": colors[_kind(surface)], "lw": 2.0} if surface.is_sensitive else {"color": _PASSIVE, "lw": 1.4}
    along, across = (surface.low, surface.high), (surface.position, surface.position)
    axes.plot(*((across, along) if surface.is_disk else (along, across)), **style, solid_capstyle="butt", zorder=3)


def _box(axes: Any, volume: DriftVolume, color: str, z_min: float) -> None:
    """A drift volume, from half a pitch below its first layer to half a pitch above its last."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    low = -volume.half_length if z_min < 0 else 0.0
    corner = (low, max(volume.r_first - 0.5 * volume.pitch, 1e-3))
    height = volume.pitch * volume.n_layers
    axes.add_patch(Rectangle(corner, volume.half_length - low, height, facecolor=color, alpha=0.22, zorder=1))
    if axes.get_yscale() == "linear":
        middle = low + 0.5 * (volume.half_length - low), corner[1] + 0.5 * height
        text = f"{volume.name}: {volume.n_layers} layers"
        axes.text(*middle, text, ha="center", va="center", zorder=2, alpha=0.8)


def _eta_lines(axes: Any, z_min: float, z_max: float, r_low: float, r_max: float) -> None:
    """Lines of constant eta from the origin, labelled where they leave the picture."""
    for eta in (0, 1, 2, 3, 4, -1, -2, -3, -4):
        slope = math.sinh(eta)  # z / r
        if slope < 0 and z_min >= 0:
            continue
        edge = z_max if slope >= 0 else -z_min
        r_end = min(r_max, edge / abs(slope)) if slope else r_max
        if r_end <= r_low:
            continue
        r = np.geomspace(max(r_low, 1e-3 * r_end), r_end, 200)
        axes.plot(slope * r, r, color="black", lw=0.7, ls=(0, (5, 4)), alpha=0.55, zorder=2)
        leaves_above = r_end == r_max
        axes.annotate(
            f"η = {eta}" if eta == 0 else f"{eta}", (slope * r_end, r_end), xytext=(0, 3) if leaves_above else (5, 0),
            textcoords="offset points", ha="center" if leaves_above else "left", va="bottom" if leaves_above else "center",
            fontsize="small", annotation_clip=False,
        )  # fmt: skip


def _legend(colors: dict[Any, Any], has_passive: bool) -> list[Any]:  # noqa: FBT001
    from matplotlib.lines import Line2D  # noqa: PLC0415

    shown = list(colors.items())
    handles = [Line2D([], [], color=color, lw=3, label=_text(kind)) for kind, color in shown[: len(_COLORS)]]
    if len(shown) > len(_COLORS):
        handles.append(Line2D([], [], lw=0, label=f"and {len(shown) - len(_COLORS)} more, coarser"))
    return handles + [Line2D([], [], color=_PASSIVE, lw=3, label="passive")] * has_passive


def _text(kind: tuple[tuple[float, float], ...]) -> str:
    straight = {0.0, round(0.5 * math.pi, 4)}
    stereo = "" if all(angle in straight for _, angle in kind) else ", stereo"
    return f"{' × '.join(f'{sigma:g}' for sigma, _ in kind)} µm{stereo}"


def _eta_max(detector: Detector) -> float:
    """Where the picture ends: a little beyond the last measuring surface, 6 at most."""
    reach = max((largest_eta(s) for s in geometry.elements(detector) if s.is_sensitive), default=4.0)
    return math.ceil(2 * min(reach, 5.8) + 0.2) / 2


def _material(top: Any, bottom: Any, detector: Detector, eta_max: float) -> None:
    """Material budget, stacked, and the number of measuring layers."""
    eta_min = 0.0 if _is_mirrored(geometry.elements(detector)) else -eta_max
    etas = np.linspace(eta_min, eta_max, 2400) + 1e-6
    found = straight_line_material(detector, etas)
    groups = [name for name in _GROUPS if getattr(found, name).any()]
    top.stackplot(
        etas, *(100 * getattr(found, name) for name in groups), labels=[_GROUPS[name][0] for name in groups],
        colors=[_GROUPS[name][1] for name in groups], alpha=0.9, lw=0,
    )  # fmt: skip
    measured = found.n_measuring > 0  # where nothing measures, a long pipe's material would dwarf the rest
    top.set(ylabel="x / X0, from the origin  [%]", xlim=(eta_min, eta_max))
    top.set_ylim(0, 118 * (found.total[measured].max() if measured.any() else found.total.max()))
    top.set_title("material", loc="left")
    top.legend(loc="upper right", fontsize="small", ncols=len(groups), framealpha=0.9)
    bottom.plot(etas, found.n_measuring, color=_GROUPS["measuring"][1], lw=1.8, drawstyle="steps-mid")
    if detector.tracking:
        hits = detector.tracking.min_hits
        bottom.axhline(hits, color="#c44e52", ls="--", lw=1.2)
        bottom.annotate(f"a track needs {hits}", (eta_min, hits), xytext=(4, 3), textcoords="offset points",
                        color="#c44e52", fontsize="small")  # fmt: skip
    bottom.set(xlabel="η", ylabel="measuring layers crossed")
    bottom.set_title("hits of straight tracks from the origin", loc="left")
    bottom.set_ylim(0, 1.1 * max(found.n_measuring.max(), 1))
    for axes in (top, bottom):
        axes.grid(visible=True, alpha=0.25)
