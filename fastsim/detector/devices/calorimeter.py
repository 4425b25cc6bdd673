"""A calorimeter as the detector file describes it."""

from __future__ import annotations

from fastsim.detector.devices.place import Place


class Calorimeter(Place):
    """A calorimeter."""
