"""Lookup tables: the tracker's answer (efficiency and covariance), computed from a detector."""

from fastsim.luts.build import build_lut
from fastsim.luts.file import Grid, Lut, read_lut, write_lut
from fastsim.luts.store import get_luts

__all__ = ["Grid", "Lut", "build_lut", "get_luts", "read_lut", "write_lut"]
