"""DelphesO2's binary tables of every version, packed field by field as reference/delpheso2.md 1.1 to 1.3 and 1.9 has them."""

from __future__ import annotations

import itertools
import struct
from typing import NamedTuple

import numpy as np

# version word (None: the file begins with the PDG code), has nch, efficiencies, bytes of an entry
VERSIONS = {
    "2020-04": (None, False, (), 292),
    "2020-09": (None, False, ("eff",), 296),
    "20210611": (20210611, True, ("eff",), 300),
    "20210731": (20210731, True, ("eff", "itof", "otof"), 308),
    "20210801": (20210801, True, ("eff", "eff2", "itof", "otof"), 312),
}
MATRICES = 4 * (15 + 5 + 25 + 25)


class Axis(NamedTuple):
    """An axis map; low and high are log10 if `log`."""

    n: int
    low: float
    high: float
    log: bool

    def pack(self, order="<"):
        return struct.pack(f"{order}iff?3s", *self, b"\xa5\x5a\x01")  # real files have rubbish in the padding

    def centers(self):
        """Bin centres, to rounding."""
        centers = self.low + (np.arange(self.n) + 0.5) * (self.high - self.low) / self.n
        return np.minimum(10.0**centers, 3e38) if self.log else centers


AXES = {
    "nch": Axis(3, 0.5, 3.5, True), "rad": Axis(1, 0.0, 100.0, False), "eta": Axis(4, -2.0, 2.0, False),
    "pt": Axis(5, -1.0, 1.0, True),
}  # fmt: skip


def random_covm(seed=1, shape=(1, 4, 5)):
    """Packed covariances (*shape, 15) in float32, positive definite, of sizes as they come."""
    generator = np.random.default_rng(seed)
    factor = generator.normal(size=(*shape, 5, 5)) + 2.0 * np.eye(5)
    scale = 10.0 ** generator.uniform(-5, 0, (*shape, 5))
    covariance = (factor @ np.swapaxes(factor, -1, -2)) * scale[..., :, None] * scale[..., None, :]
    rows, columns = np.tril_indices(5)
    return covariance[..., rows, columns].astype(np.float32)


def pack_file(
    version="20210801",
    *,
    axes=AXES,
    pdg=211,
    mass=0.13957,
    field=0.5,
    covm=None,
    valid=None,
    word=None,
    order="<",
    **effs,
) -> bytes:
    """A whole file. `covm` (n_r, n_eta, n_pt, 15) or with nch before; `valid` and efficiencies (n_nch, n_r, n_eta, n_pt)."""
    first, has_nch, names, size = VERSIONS[version]
    shape = tuple(axis.n for axis in axes.values())
    covm = np.broadcast_to(random_covm(shape=shape[1:]) if covm is None else covm, (*shape, 15))
    valid = np.ones(shape, dtype=bool) if valid is None else np.broadcast_to(valid, shape)
    values = {name: np.broadcast_to(effs.get(name, efficiency(name, shape)), shape) for name in names}
    first = first if word is None else word
    parts = [] if first is None else [struct.pack(f"{order}i", first)]
    parts += [struct.pack(f"{order}iff", pdg, mass, field), *(axis.pack(order) for axis in axes.values())]
    centers = [axis.centers() for axis in axes.values()]
    for index in itertools.product(*map(range, shape)):
        nch, _, eta, pt = (center[i] for center, i in zip(centers, index, strict=True))
        place = (nch, eta, pt) if has_nch else (eta, pt)
        entry = struct.pack(f"{order}{len(place)}f?3x", *place, valid[index])
        entry += struct.pack(f"{order}{len(names)}f", *(values[name][index] for name in names))
        entry += struct.pack(f"{order}15f", *covm[index]) + bytes(MATRICES - 60)
        assert len(entry) == size
        parts.append(entry)
    return b"".join(parts)


def efficiency(name, shape):
    """Some efficiency (n_nch, ...) in float32, different for each name and bin."""
    seed = sum(map(ord, name))
    return np.random.default_rng(seed).uniform(0.1, 1.0, shape).astype(np.float32)
