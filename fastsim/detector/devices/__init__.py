"""Devices that identify particles or measure energy: the tables of a detector file, one file a kind."""

from fastsim.detector.devices.calorimeter import Calorimeter
from fastsim.detector.devices.dedx import Dedx
from fastsim.detector.devices.muon import Muon, Preshower
from fastsim.detector.devices.place import Place
from fastsim.detector.devices.rich import Rich
from fastsim.detector.devices.tof import Tof

__all__ = ["Calorimeter", "Dedx", "Muon", "Place", "Preshower", "Rich", "Tof"]
