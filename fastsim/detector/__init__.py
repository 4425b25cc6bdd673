"""What is built: the detector file's schema and its geometry."""

from fastsim.detector.schema import Detector, Disk, DriftVolume, Layer, TrackingRules, load_detector

__all__ = ["Detector", "Disk", "DriftVolume", "Layer", "TrackingRules", "load_detector"]
