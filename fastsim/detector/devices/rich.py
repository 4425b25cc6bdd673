"""A ring-imaging Cherenkov detector as the detector file describes it."""

from __future__ import annotations

from fastsim.detector.devices.place import Place


class Rich(Place):
    """A ring-imaging Cherenkov detector."""
