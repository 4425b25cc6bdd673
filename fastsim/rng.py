"""Addressed random numbers: a draw is a pure function of (run seed, stream, event, particle, draw number).

Nobody owns a generator, so batches, workers, file splits and the order of modules cannot change a result. The bits are
Philox4x32-10: J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11; its three published test
vectors are in the tests. Words are kept in uint64 and masked, so that the same source is right with the JIT off.
"""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import numpy as np

from fastsim.jit import kernel

SCHEME = "philox4x32-10/1"  # written to provenance; change it when any bit of any draw changes
EVENT_LEVEL = 0xFFFFFFFF  # the "particle index" of draws that belong to the whole event

Word = int | np.uint64  # carries 32 or 64 random or counting bits

_MASK = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_HIGH_26, _HIGH_27, _SHIFT_26 = np.uint64(6), np.uint64(5), np.uint64(26)
_TWO_53 = 2.0**-53
_TWO_PI = 2.0 * math.pi


class Key(NamedTuple):
    """Two 32-bit words that select a stream."""

    k0: np.uint64
    k1: np.uint64


class Streams:
    """Keys of one run: ``streams.key("tracking/smearing")``."""

    def __init__(self, run_seed: int) -> None:
        self.run_seed = run_seed

    def key(self, stream: str) -> Key:
        """Key of the stream called `stream`: hashed, never added, so that no two streams or seeds are related."""
        digest = hashlib.blake2b(f"fastsim/1|{self.run_seed}|{stream}".encode(), digest_size=8).digest()
        return Key(np.uint64(int.from_bytes(digest[:4], "little")), np.uint64(int.from_bytes(digest[4:], "little")))

    def of(self, purpose: str) -> Streams:
        """Streams of their own for something beside the run's events, such as the pile-up's."""
        digest = hashlib.blake2b(f"fastsim/1|{self.run_seed}|of {purpose}".encode(), digest_size=8).digest()
        return Streams(int.from_bytes(digest, "little"))


@kernel
def philox_1(
    c0: Word, c1: Word, c2: Word, c3: Word, k0: Word, k1: Word
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Philox4x32-10: four counter words and two key words in, four random words out, all in uint64."""
    x0, x1, x2, x3 = np.uint64(c0), np.uint64(c1), np.uint64(c2), np.uint64(c3)
    a, b = np.uint64(k0), np.uint64(k1)
    for _ in range(10):
        p0 = _M0 * x0
        p1 = _M1 * x2
        x0, x1, x2, x3 = (p1 >> _HALF) ^ x1 ^ a, p1 & _MASK, (p0 >> _HALF) ^ x3 ^ b, p0 & _MASK
        a = (a + _W0) & _MASK
        b = (b + _W1) & _MASK
    return x0, x1, x2, x3


@kernel
def uniforms_1(draw: int, particle_index: int, event_id: Word, k0: Word, k1: Word) -> tuple[float, float]:
    """Two uniforms in [0, 1) with 53 random bits each."""
    event = np.uint64(event_id)
    w0, w1, w2, w3 = philox_1(
        np.uint64(draw), np.uint64(particle_index) & _MASK, event & _MASK, event >> _HALF, np.uint64(k0), np.uint64(k1)
    )
    u0 = np.float64(((w0 >> _HIGH_27) << _SHIFT_26) | (w1 >> _HIGH_26)) * _TWO_53
    u1 = np.float64(((w2 >> _HIGH_27) << _SHIFT_26) | (w3 >> _HIGH_26)) * _TWO_53
    return u0, u1


@kernel
def normals_1(draw: int, particle_index: int, event_id: Word, k0: Word, k1: Word) -> tuple[float, float]:
    """Two independent standard normals (Box and Muller, Ann. Math. Stat. 29 (1958) 610); at most 8.6 sigma."""
    u0, u1 = uniforms_1(draw, particle_index, event_id, k0, k1)
    radius = math.sqrt(-2.0 * math.log(1.0 - u0))
    angle = _TWO_PI * u1
    return radius * math.cos(angle), radius * math.sin(angle)
