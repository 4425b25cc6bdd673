"""A time-of-flight layer as the detector file describes it."""

from __future__ import annotations

from fastsim.detector.devices.place import Place


class Tof(Place):
    """A time-of-flight layer."""
