"""Tracks: which particles become tracks, with which parameters, and the vertex that they come from."""

from __future__ import annotations

from typing import Final

# What became of a particle (`particle.track_status`), in the words of the summary.
NOT_A_TRACK: Final = 0
RECONSTRUCTED: Final = 1
BORN_OUTSIDE: Final = 2
UNDEFINED_SPECIES: Final = 3
UNKNOWN_PDG: Final = 4
OUT_OF_RANGE: Final = 5
NO_SOLUTION: Final = 6
INEFFICIENCY: Final = 7
POINTS_AWAY: Final = 8
CANDIDATE: Final = 9  # on the way only: never in a result

STATUS: Final[dict[int, str]] = {
    NOT_A_TRACK: "neutral or not final",
    RECONSTRUCTED: "reconstructed",
    BORN_OUTSIDE: "born beyond the last layer",
    UNDEFINED_SPECIES: "species without a table",
    UNKNOWN_PDG: "unknown PDG code",
    OUT_OF_RANGE: "outside the table's range",
    NO_SOLUTION: "too few hits in the acceptance",
    INEFFICIENCY: "lost by inefficiency",
    POINTS_AWAY: "does not come from near the origin in z",
}
