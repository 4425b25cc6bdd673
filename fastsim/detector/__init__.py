"""What is built: the detector file's schema and its geometry."""

from fastsim.detector.schema import Detector, Layer, TrackingRules, load_detector

__all__ = ["Detector", "Layer", "TrackingRules", "load_detector"]
