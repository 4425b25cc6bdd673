"""What made a file: enough to make it again.

`identity` is everything that can change a column (two files with equal identity have equal columns); `circumstance`
is the rest: when, where, how fast.
"""

from __future__ import annotations

import json
import platform
import socket
import subprocess
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsim.io.inspect import identity_hash
from fastsim.rng import SCHEME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastsim.cards import LoadedCard
    from fastsim.luts.store import LutSet
    from fastsim.source import InputRecord

SHARD_KEYS = ("inputs", "events", "skipped_events")  # of an identity, what shards of one run may differ in
RUN_KEYS = (*SHARD_KEYS, "run_seed", "pile_up")  # and independent runs
PACKAGES = ("numpy", "numba", "awkward", "uproot", "pyhepmc", "particle", "fastjet", "onnxruntime")


def versions() -> dict[str, str]:
    """Versions of the packages that results may depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_state() -> str:
    """Commit of the source tree, with "+changes" if it was edited; "" outside a checkout."""
    folder = Path(__file__).resolve().parent
    if not (folder.parent / ".git").exists():
        return ""
    try:
        commit, changes = (
            subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603, S607
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+changes" if changes else "")


def source_hash(*files: Path) -> str:
    """sha256 of source files, by default of all of fastsim's that can change a column."""
    root = Path(__file__).resolve().parent
    chosen = files or [path for path in sorted(root.rglob("*.py")) if path.parent.name != "cli"]
    total = sha256()
    for path in chosen:
        total.update(f"{path.name}\n".encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def way(
    loaded: LoadedCard, luts: LutSet, plugins: dict[str, Any], pile_up: Sequence[InputRecord], units: dict[str, str]
) -> dict[str, Any]:
    """The way in which events are simulated: everything that changes the physics, but the events."""
    return {
        "fastsim": version("fastsim"),
        "source_sha256": source_hash(),
        "run_seed": loaded.card.seed,
        "random_numbers": SCHEME,
        "resolved": json.loads(loaded.canonical()),
        "resolved_sha256": sha256(loaded.canonical().encode()).hexdigest(),
        "luts": {lut.header.species: {"key": lut.header.key, "sha256": lut.header.sha256} for lut in luts.luts},
        "plugins": plugins,
        "pile_up": [_input(record) for record in pile_up],
        "units": units,
        "packages": versions(),
    }


def identity(
    way: dict[str, Any], inputs: Sequence[InputRecord], events: tuple[int, int], skipped: Sequence[int]
) -> dict[str, Any]:
    """Everything that changes the physics, with a hash of it. `inputs` are all up to the last one that was read."""
    return sealed(
        {
            **way,
            "inputs": _used(inputs, events),
            "events": {"first": events[0], "end": events[1]},
            "skipped_events": list(skipped),
        }
    )


def _used(inputs: Sequence[InputRecord], events: tuple[int, int]) -> list[dict[str, Any]]:
    """The inputs that hold events of the range, each with a hash of all those before it: they say where its events are."""
    found, before = [], ""
    for record in inputs:
        if record.has(events):
            found.append({**_input(record), "before": before})
        before = chained(before, record.sha256, record.n_events)
    return found


def chained(before: str, sha256_of_input: str, n_events: int) -> str:
    """Hash of a list of inputs: of all before the last one, and that."""
    return sha256(f"{before} {sha256_of_input} {n_events}".encode()).hexdigest() if n_events else before


def common(identity: dict[str, Any], left_out: tuple[str, ...]) -> dict[str, Any]:
    """What must agree of the identities of files that belong together: all but `left_out`, and what says it again."""
    kept = {k: v for k, v in identity.items() if k not in {*left_out, "sha256", "resolved_sha256", "runs"}}
    resolved = kept["resolved"]
    return {**kept, "resolved": {**resolved, "card": {k: v for k, v in resolved["card"].items() if k != "seed"}}}


def differences(a: Any, b: Any, path: str = "") -> list[tuple[str, str, str]]:
    """Where two records differ: dotted key and both values."""
    if a == b:
        return []
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [*a, *(key for key in b if key not in a)]
        return [
            found for key in keys for found in differences(a.get(key), b.get(key), f"{path}.{key}" if path else key)
        ]
    return [(path.removeprefix("resolved."), _short(a), _short(b))]


def _short(value: Any, longest: int = 40) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= longest else f"{text[:longest]}..."


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """An identity with the hash of all that is in it."""
    return {**record, "sha256": identity_hash(record)}


def _input(record: InputRecord) -> dict[str, Any]:
    """What matters of an input; its name is circumstance."""
    return {"sha256": record.sha256, "first_event": record.first_event, "n_events": record.n_events, **record.info}


def circumstance(
    inputs: Sequence[InputRecord], events: tuple[int, int], luts: LutSet, loaded: LoadedCard, settings: dict[str, Any]
) -> dict[str, Any]:
    """When, where and how the file was made."""
    return {
        **here_and_now(),
        "card": str(loaded.path),
        "inputs": [i.name for i in inputs if i.has(events)],
        "luts": list(luts.sources),
        "tracking.luts": loaded.card.tracking.luts,
        "output.compression_level": loaded.card.output.compression_level,
        **settings,
    }


def here_and_now() -> dict[str, str]:
    """The time, the code and the machine."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(),
        "host": socket.gethostname(),
        "cpu": _cpu_name(),
        "python": platform.python_version(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def as_json(record: dict[str, Any]) -> str:
    """The record as it is written to files."""
    return json.dumps(record, indent=1)
