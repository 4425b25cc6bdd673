"""The familiar pictures of particle identification: what each device measures against momentum, and what it separates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsim.detector.plot import check_format, save_picture
from fastsim.errors import CardError, UsageError
from fastsim.pid.sample import SPECIES, gun_sample
from fastsim.pid.separation import PAIRS, ranges_above, separation
from fastsim.run import make_pipeline
from fastsim.species import by_name

if TYPE_CHECKING:
    from pathlib import Path

    from fastsim.cards import LoadedCard
    from fastsim.pid.sample import Sample

# What is drawn against momentum of each kind of device: the first of these columns that it makes, and what it is multiplied by.
_MEASURED = (
    ("beta", "β", 1.0),
    ("angle", "Cherenkov angle [rad]", 1.0),
    ("n_clusters", "clusters / cm", 1.0),
    ("dedx", "dE/dx [keV/cm]", 1e6),
    ("is_muon", "taken for a muon", 1.0),
    ("is_electron", "taken for an electron", 1.0),
)
_PER = {"n_clusters": "path_length"}  # what is divided by another column
_LOGARITHMIC = ("n_clusters", "dedx")
_DECISIONS = ("is_muon", "is_electron")
_COLORS = {"el": "C3", "mu": "C4", "pi": "C0", "ka": "C2", "pr": "C1", "de": "C5"}
_LEAST = 3.0
_SHOWN = 10.0  # n sigma, at the top of the right column


class Row(NamedTuple):
    """A device and what is drawn of it."""

    device: str
    column: str
    label: str
    scale: float
    eta: tuple[float, float]


def plot_pid(
    loaded: LoadedCard, path: Path, *, n_events: int = 300, p: tuple[float, float] = (0.1, 30.0)
) -> dict[str, Any]:
    """Draw each device of a card that identifies particles; returns the ranges of 3 sigma, by device and pair [GeV].

    Of a device that decides, shares of the species are drawn instead, and no ranges are returned.

    Single particles of six species go through the card. Raises CardError if no module identifies, UsageError without matplotlib.
    """
    check_format(path)
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  (the extra `plot`)
    except ImportError:
        raise UsageError("drawing needs matplotlib", hint="pip install 'fastsim[plot]'") from None
    rows = _rows(loaded)
    figure = Figure(figsize=(11, 3.6 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 2, squeeze=False)
    edges = np.geomspace(*p, 41)
    found: dict[str, Any] = {}
    samples: dict[tuple[float, float], Sample] = {}
    names = [f"{row.device}_{name}" for row in rows for name in _columns_of(row)]
    for row, (left, right) in zip(rows, panels, strict=True):
        if row.eta not in samples:
            samples[row.eta] = gun_sample(loaded, row.eta, p, n_events, names)
        sample = samples[row.eta]
        if row.column in _DECISIONS:
            _draw_decision(left, right, sample, row, edges)
        else:
            _draw_measured(left, sample, row)
            found[row.device] = _draw_separation(right, sample, row, edges)
        for panel in (left, right):
            panel.set(xscale="log", xlim=p, xlabel="p [GeV/c]")
    _legend(panels[0, 0])
    figure.suptitle(f"{loaded.detector.name}, card {loaded.path.stem}")
    save_picture(figure, path, dpi=110)
    return found


def _rows(loaded: LoadedCard) -> list[Row]:
    """The devices that the card's modules make numbers of, in the order of the detector file."""
    made = {str(column).removeprefix("track.") for module in make_pipeline(loaded).modules for column in module.makes}
    detector = loaded.detector
    rows = []
    devices: list[Any] = [*detector.tof, *detector.rich, *detector.dedx, *detector.muon, *detector.preshower]
    for device in devices:
        found = [entry for entry in _MEASURED if f"{device.name}_{entry[0]}" in made]
        if found:
            column, label, scale = found[0]
            rows.append(Row(device.name, column, f"{device.name}: {label}", scale, _eta_of(device)))
    if not rows:
        raise CardError(
            [f"{loaded.path}: no module identifies particles"],
            hint='add a [[modules]] table with kind = "tof", "rich", "dedx", "muon_id" or "preshower"',
        )
    return rows


def _columns_of(row: Row) -> list[str]:
    if row.column in _DECISIONS:
        return ["is_measured", "probability_true"]
    return ["is_measured", row.column, "n_sigma", *([_PER[row.column]] if row.column in _PER else [])]


def _eta_of(device: Any) -> tuple[float, float]:
    """Where single particles reach a device: the middle of a barrel, or of the disks' ring."""
    z = getattr(device, "z", None)
    if z is None:  # a barrel, or what has no place of its own
        return -0.5, 0.5
    low, high = (float(np.arcsinh(z / r)) for r in (device.r_max, max(device.r_min, 1.0)))
    middle, half = 0.5 * (low + high), 0.15 * (high - low)
    return middle - half, middle + half


def _draw_measured(panel: Any, sample: Sample, row: Row) -> None:
    values, mask = row.scale * sample.columns[f"{row.device}_{row.column}"], sample.columns[f"{row.device}_is_measured"]
    if row.column in _PER:
        values = values / sample.columns[f"{row.device}_{_PER[row.column]}"]
    shown = values[mask & np.isfinite(values)]
    for name in SPECIES:
        chosen = mask & sample.of(name) & np.isfinite(values)
        panel.plot(
            sample.p[chosen],
            values[chosen],
            ",",
            color=_COLORS[name],
            alpha=0.6,
            rasterized=True,
            label=by_name(name).symbol,
        )
    if len(shown):
        low, high = np.quantile(shown, [0.002, 0.99])
        if row.column in _LOGARITHMIC:
            panel.set(yscale="log", ylim=(0.8 * low, 1.5 * high))
        else:
            panel.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))
    panel.set_ylabel(row.label)


def _draw_decision(left: Any, right: Any, sample: Sample, row: Row, edges: Any) -> None:
    """How likely each species is taken for what the device looks for, of those that it measured; right logarithmic."""
    mask, probability = (sample.columns[f"{row.device}_{name}"] for name in ("is_measured", "probability_true"))
    centres = np.sqrt(edges[1:] * edges[:-1])
    for name in SPECIES:
        own = mask & sample.of(name)
        n, total = (np.histogram(sample.p[own], edges, weights=w)[0] for w in (None, probability[own]))
        share = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
        for panel in (left, right):
            panel.plot(centres, share, color=_COLORS[name], label=by_name(name).symbol)
    left.set(ylim=(0, 1.05), ylabel=row.label)
    right.set(yscale="log", ylim=(1e-5, 1.5), ylabel=row.label)


def _draw_separation(panel: Any, sample: Sample, row: Row, edges: Any) -> dict[str, list[tuple[float, float]]]:
    """Lines of n sigma for each pair, and bars over the ranges above 3."""
    ranges = {}
    for k, pair in enumerate(PAIRS):
        found = separation(sample, row.device, pair, edges)
        label = "/".join(by_name(name).symbol for name in pair)
        panel.plot(found.p, found.n_sigma, color=f"C{6 + k}", label=label)
        ranges["/".join(pair)] = above = ranges_above(found, _LEAST)
        for low, high in above:
            panel.plot([low, high], [9.6 - 0.45 * k] * 2, color=f"C{6 + k}", linewidth=4, solid_capstyle="butt")
            panel.annotate(
                f"{low:.2g} to {high:.2g}", (np.sqrt(low * high), 9.6 - 0.45 * k), fontsize=6, ha="center", va="center"
            )
    panel.axhline(_LEAST, color="0.5", linestyle=":", linewidth=1)
    panel.set(ylim=(0, _SHOWN), ylabel="separation [σ]")
    panel.legend(loc="upper right", fontsize=8, bbox_to_anchor=(1.0, 0.86))
    return ranges


def _legend(panel: Any) -> None:
    legend = panel.legend(fontsize=8, ncols=2)
    for handle in legend.legend_handles:
        handle.set(marker="o", markersize=4, alpha=1.0)
