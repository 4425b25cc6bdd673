"""fastsim: fast detector simulation. Generator events in, analysis-ready reconstructed tracks out.

>>> import fastsim
>>> for events in fastsim.simulate("events.hepmc.zst", "alice3", seed=42):  # doctest: +SKIP
...     events.tracks.pt
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastsim.cards import load_card
    from fastsim.detector import load_detector
    from fastsim.errors import FastsimError
    from fastsim.luts import build_lut, get_luts, read_lut
    from fastsim.run import simulate, simulate_files

__version__ = version("fastsim")
__all__ = [
    "FastsimError",
    "build_lut",
    "get_luts",
    "load_card",
    "load_detector",
    "read_lut",
    "simulate",
    "simulate_files",
]

# Imported on first use: `import fastsim` and `fastsim --help` load neither numba nor awkward.
_HOMES = {
    "FastsimError": "fastsim.errors",
    "build_lut": "fastsim.luts",
    "get_luts": "fastsim.luts",
    "load_card": "fastsim.cards",
    "load_detector": "fastsim.detector",
    "read_lut": "fastsim.luts",
    "simulate_files": "fastsim.run",
    "simulate": "fastsim.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'fastsim' has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
