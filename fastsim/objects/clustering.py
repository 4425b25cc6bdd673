"""Jet clustering by FastJet (M. Cacciari, G. P. Salam, G. Soyez, Eur. Phys. J. C 72 (2012) 1896).

Each event is a cluster sequence of its own, so that its jets depend on nothing else in the batch.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from fastsim.errors import PluginError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALGORITHMS: Final = {  # our names to FastJet's; for all, momenta add up (the E scheme)
    "antikt": "antikt_algorithm",  # JHEP 04 (2008) 063
    "kt": "kt_algorithm",  # Nucl. Phys. B 406 (1993) 187, Phys. Rev. D 48 (1993) 3160
    "cambridge": "cambridge_algorithm",  # Cambridge/Aachen: JHEP 08 (1997) 001, hep-ph/9907280
    "ee_genkt": "ee_genkt_algorithm",  # in angles and energies, with a power: Eur. Phys. J. C 72 (2012) 1896, section 4.5
}


class Clustered(NamedTuple):
    """Jets of a batch in FastJet's order: offsets by event, (4, n) px, py, pz, energy [GeV], and their constituents.

    `constituents` are rows of what was clustered, jet by jet, `n_constituents` of each.
    """

    offsets: NDArray[np.int64]
    momenta: NDArray[np.float64]
    n_constituents: NDArray[np.int64]
    constituents: NDArray[np.int64]


@cache
def announce_fastjet() -> None:
    """Let FastJet ask for its citation once, on stderr: stdout is for results. PluginError if it is not installed.

    Its authors ask that programs do not switch this off (ClusterSequence.hh: set_fastjet_banner_stream).
    """
    try:
        import fastjet  # noqa: PLC0415  (0.4 s, and not everybody has it)
    except ImportError as error:
        raise PluginError(
            f"jets need the package fastjet ({error})",
            hint="pip install 'fastsim[jets]', or take the [[modules]] table with kind = 'jets' out of the card",
        ) from None
    with suppress(OSError, AttributeError):  # of a closed stream, which needs no words
        sys.stdout.flush()
        standard_output = os.dup(1)
        try:
            os.dup2(2, 1)
            fastjet._swig.ClusterSequence.print_banner()  # noqa: SLF001  (the package's own name for the C++ class)
            ctypes.CDLL(None).fflush(None)
        finally:
            os.dup2(standard_output, 1)
            os.close(standard_output)


@cache
def _library() -> Any:
    """FastJet, silent: it has been announced by the process that read the card, of which this may be a worker."""
    import fastjet  # noqa: PLC0415

    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)  # noqa: SLF001
    return fastjet


def cluster(
    momenta: NDArray[np.float64], offsets: NDArray[np.int64], algorithm: str, radius: float, power: float, pt_min: float
) -> Clustered:
    """Inclusive jets above `pt_min` [GeV] of px, py, pz, energy (4, n) [GeV] with offsets by event."""
    import awkward as ak  # noqa: PLC0415

    n_events = len(offsets) - 1
    if momenta.shape[1] == 0:
        none = np.zeros(0, dtype=np.int64)
        return Clustered(np.zeros(n_events + 1, dtype=np.int64), np.empty((4, 0)), none, none)
    library = _library()
    extra = (power,) if algorithm == "ee_genkt" else ()
    definition = library.JetDefinition(getattr(library, ALGORITHMS[algorithm]), radius, *extra)
    record = ak.contents.RecordArray([ak.contents.NumpyArray(p) for p in momenta], ["px", "py", "pz", "E"])
    sequence = library.ClusterSequence(
        ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(offsets), record)), definition
    )
    jets, rows = sequence.inclusive_jets(pt_min), sequence.constituent_index(pt_min)
    n_jets = ak.to_numpy(ak.num(jets)).astype(np.int64)
    n_constituents = ak.to_numpy(ak.flatten(ak.num(rows, axis=2))).astype(np.int64)
    first = np.repeat(np.repeat(offsets[:-1], n_jets), n_constituents)  # rows count from the event's first
    return Clustered(
        np.concatenate([[0], np.cumsum(n_jets)]),
        np.array([ak.to_numpy(ak.flatten(jets[axis])) for axis in ("px", "py", "pz", "E")]),
        n_constituents,
        ak.to_numpy(ak.flatten(rows, axis=None)).astype(np.int64) + first,
    )
