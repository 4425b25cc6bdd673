"""One small input of every kind that fastsim reads, three events each."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

from fastsim.io.stream import zstd
from tests import hepmc_files, root_files

N_EVENTS = 3
COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd.compress}

LHEF = """<LesHouchesEvents version="3.0">
<init>
2212 2212 6500 6500 0 0 247000 247000 3 1
12.5 0.3 12.5 1
</init>
{events}</LesHouchesEvents>
"""
LHEF_EVENT = """<event>
 4 1 1.0 91.0 0.0078 0.118
 2 -1 0 0 501 0 0 0 100 100 0 0 9
 -2 -1 0 0 0 501 0 0 -100 100 0 0 9
 13 1 1 2 0 0 60 0 {n} {energy!r} 0.105 0 9
 -13 1 1 2 0 0 -60 0 {n} {energy!r} 0.105 0 9
</event>
"""
HEPEVT_EVENT = """E {n} 2
1 211 0 0 0 0 0.5 0.1 {n} 9 0.13957
0 0 3 0
1 -211 0 0 0 0 -0.5 0.1 {n} 9 0.13957
0 0 3 0
"""
GUN = """schema_version = 1
kind = "gun"
n_events = {n_events}
[[particles]]
pdg = [211, -211]
n = 4
pt = {{ min = 0.2, max = 5 }}
eta = {{ min = -1, max = 1 }}
"""
PYTHIA = "Main:numberOfEvents = {n_events}\nBeams:eCM = 13000.\nSoftQCD:nonDiffractive = on\n"


def lhef() -> bytes:
    """Three events of two muons."""
    events = (LHEF_EVENT.format(n=n, energy=(60.0**2 + n**2 + 0.105**2) ** 0.5) for n in range(N_EVENTS))
    return LHEF.format(events="".join(events)).encode()


def hepevt() -> bytes:
    """Three events of two pions."""
    return "".join(HEPEVT_EVENT.format(n=n) for n in range(N_EVENTS)).encode()


def gun(n_events=N_EVENTS) -> str:
    """A gun of four pions an event."""
    return GUN.format(n_events=n_events)


def _write_root(kind, path):
    if kind == "HepMC3":
        root_files.write_hepmc3(path, [root_files.data_of(hepmc_files.make_event(i)) for i in range(N_EVENTS)])
    elif kind == "EDM4hep":
        pion = {"pdg": 211, "status": 1, "time": 0.0, "mass": 0.13957, "vertex": (0.0, 0.0, 1.0), "parents": ()}
        root_files.write_edm4hep(
            path, [{"number": i, "particles": [{**pion, "momentum": (1.0, 0.2, 0.1 * i)}]} for i in range(N_EVENTS)]
        )
    else:
        momentum = dict(zip(("X", "Y", "Z"), (1.0, 0.2, 0.1), strict=True))
        track = {"PdgCode": 211, "StatusCode": 1, **{f"StartVertexMomentum{k}": v for k, v in momentum.items()}}
        root_files.write_o2(path, [[track]] * N_EVENTS)


TEXTS = {
    "hepmc3": lambda: hepmc_files.sample(N_EVENTS),
    "hepmc2": lambda: hepmc_files.sample(N_EVENTS, "hepmc2"),
    **{f"hepmc3.{name}": lambda pack=pack: pack(hepmc_files.sample(N_EVENTS)) for name, pack in COMPRESS.items()},
    "lhef": lhef,
    "lhef.gz": lambda: gzip.compress(lhef()),
    "hepevt": hepevt,
    "gun": lambda: gun().encode(),
    "pythia": lambda: PYTHIA.format(n_events=N_EVENTS).encode(),
}
ROOT_KINDS = ("HepMC3", "EDM4hep", "O2")
KINDS = (*TEXTS, *ROOT_KINDS)
SUFFIXES = {"gun": ".toml", "pythia": ".cmnd"}


def write(kind, folder) -> Path:
    """An input of this kind. Only recipes are told by their name, so only they have a telling one."""
    path = folder / f"{'root_' if kind in ROOT_KINDS else ''}{kind.replace('.', '_')}{SUFFIXES.get(kind, '')}"
    if kind in TEXTS:
        path.write_bytes(TEXTS[kind]())
    else:
        _write_root(kind, path)
    return path
