"""Draws docs/tof.png: the event time from n tracks of unknown species, beside known ones and the closed form.

Toy events: pi, K and p as often as the module's defaults say, momenta as in pp, one layer of 20 ps at 85 cm, collisions spread by
200 ps. The algorithm is the module's own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastsim.devices.event_time import EventTimes, Starts, find_event_times
from fastsim.devices.tof import HADRONS, Fractions
from fastsim.species import by_name
from fastsim.units import speed_of_light

LENGTH, SIGMA, SPREAD = 85.0, 0.02, 0.2  # cm, ns, ns
N_WRONG = 4  # up to so many tracks there are wrong combinations enough to count
N_TRACKS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 14, 20, 30, 50, 100)
MASSES = np.array([by_name(name).mass for name in HADRONS])
FRACTIONS = np.array([getattr(Fractions(), name) for name in HADRONS])


def toy(n_tracks: int, *, is_known: bool) -> tuple[float, float]:
    """Width of the core of reconstructed less true event times [ps], and how many are off by more than 5 sigma."""
    n_events = max(2000, 300_000 // n_tracks**2)
    n = n_tracks * n_events
    generator = np.random.default_rng(n_tracks)
    p = 0.25 + generator.gamma(2.0, 0.3, n)
    species = generator.choice(3, n, p=FRACTIONS)
    true = generator.normal(0, SPREAD, n_events)
    flight = LENGTH / speed_of_light * np.sqrt(1 + (MASSES / p[:, None]) ** 2)
    own = flight[np.arange(n), species]
    measured = np.repeat(true, n_tracks) + own + generator.normal(0, SIGMA, n)
    start = (measured - own)[:, None] if is_known else measured[:, None] - flight
    weight = np.ones((n, 1)) if is_known else np.tile(FRACTIONS, (n, 1))
    offsets = np.arange(n_events + 1) * n_tracks
    times = EventTimes(*(np.empty(n_events) for _ in range(2)), np.empty(n_events, np.int32), np.empty(n), np.empty(n))
    starts = Starts(start, np.full(start.shape, SIGMA**-2), weight)
    find_event_times(offsets, np.arange(n), offsets, starts, 0.0, SPREAD**2, times)
    pulls = (times.time - true) / times.sigma
    right = np.abs(pulls) < 5
    return 1e3 * float((times.time - true)[right].std()), float((~right).mean())


def main() -> None:
    """Draw it."""
    import matplotlib as mpl  # noqa: PLC0415  (as in the package)

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415
    import matplotlib.ticker  # noqa: PLC0415

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), width_ratios=(3, 2), layout="constrained")
    fine = np.geomspace(1, 100, 200)
    left.plot(fine, 1e3 / np.sqrt(1 / SPREAD**2 + fine / SIGMA**2), color="0.6", label="closed form")
    for is_known, marker, text in ((True, "o", "species known"), (False, "x", "species unknown")):
        widths, wrong = zip(*(toy(n, is_known=is_known) for n in N_TRACKS), strict=True)
        left.plot(N_TRACKS, widths, marker, label=text)
    right.plot(N_TRACKS[:N_WRONG], wrong[:N_WRONG], "x", color="C1", label="species unknown")
    left.set(xscale="log", yscale="log", xlabel="tracks", ylabel="width of the event time, within 5 sigma [ps]")
    right.set(yscale="log", xlabel="tracks", ylabel="events off by more than 5 sigma", xlim=(0.5, N_WRONG + 0.5))
    right.set(xticks=range(1, N_WRONG + 1), ylim=(1e-5, 0.2))
    for axis, ticks in ((left.xaxis, (1, 2, 5, 10, 20, 50, 100)), (left.yaxis, (2, 5, 10, 20))):
        axis.set_major_locator(mpl.ticker.FixedLocator(ticks))
        axis.set_major_formatter(mpl.ticker.ScalarFormatter())
        axis.set_minor_locator(mpl.ticker.NullLocator())
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(Path(__file__).with_name("tof.png"), dpi=110)


if __name__ == "__main__":
    main()
