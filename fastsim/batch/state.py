"""How far a batch is, and whether what is there is right."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fastsim import provenance
from fastsim.batch.runner import Sign, clear_away, note_fault, signs_of_life
from fastsim.batch.shard import failure, kept_parts, result_of
from fastsim.errors import RETRY, InputError
from fastsim.io.check import check
from fastsim.io.inspect import read_provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fastsim.batch.manifest import Batch

Kind = Literal["done", "running", "failed", "broken", "missing"]
KINDS: tuple[Kind, ...] = ("done", "running", "failed", "broken", "missing")


class State(NamedTuple):
    """A shard: done, being made, failed (and not to be tried again as it is), there but broken, or missing.

    What failed for a passing reason is missing, with the reason in `what`.
    """

    shard: int
    kind: Kind
    n_events: int
    what: str
    exit_code: int = 0


def survey(batch: Batch, shards: range | None = None, *, has_to_match: bool = False) -> list[State]:
    """The state of all shards, or of some, by what lies in the folder.

    With `has_to_match` all bytes are read and compared; what is wrong is written down, and known from then on.
    """
    signs = {sign.shard: sign for sign in signs_of_life(batch.out) if sign.is_alive}
    names = _names(batch.out)
    failures = _names(batch.out / "failed")
    with_parts = {name.partition(".")[0] for name in names if ".part_" in name}
    states = []
    for index in range(batch.n_shards) if shards is None else shards:
        name = batch.name(index)
        if name in names:
            result = result_of(batch, index, has_to_match=has_to_match)
            if not result.fault:
                states.append(State(index, "done", result.record["n_events"], ""))
                continue
            if has_to_match:
                note_fault(batch.out / name, result.fault)
            states.append(State(index, "broken", 0, result.fault))
        elif name in signs:
            states.append(_running(batch, index, signs[name]))
        else:
            why = failure(batch, index) if f"{name}.json" in failures else {}
            states.append(_not_there(batch, index, why, has_parts=name in with_parts))
    return states


def to_do(states: Sequence[State], *, failed_too: bool = False) -> list[int]:
    """The shards that are to be made (again): missing and broken ones, and those that failed if asked for."""
    wanted = {"missing", "broken", *(["failed"] if failed_too else [])}
    return [state.shard for state in states if state.kind in wanted]


def clear_dead(batch: Batch) -> int:
    """Remove what dead runners left; returns how many there were."""
    dead = [sign for sign in signs_of_life(batch.out) if not sign.is_alive]
    for sign in dead:
        clear_away(sign)
    return len(dead)


def counts(states: Sequence[State]) -> dict[str, int]:
    """How many shards are in each state."""
    found = Counter(state.kind for state in states)
    return {kind: found[kind] for kind in KINDS}


def verify(batch: Batch, told: Callable[[int], None] = lambda _: None) -> list[State]:
    """`survey`, and for shards that are done: bytes, provenance, number of events, and every index in the file.

    What is wrong is written down: from then on the shard is broken, until it is made again.
    `told` is called with the number of shards that are checked so far.
    """
    states = []
    for done, state in enumerate(survey(batch)):
        told(done)
        fault = _fault_inside(batch, state.shard) if state.kind == "done" else ""
        if fault:
            note_fault(batch.out / batch.name(state.shard), fault)
        states.append(State(state.shard, "broken", 0, fault) if fault else state)
    return states


def _fault_inside(batch: Batch, index: int) -> str:
    """What is wrong in the file of a shard that seems to be done."""
    if fault := result_of(batch, index, has_to_match=True).fault:
        return fault
    file = batch.result(index)
    try:
        made_by = read_provenance(file) or {}
        if fault := wrong_origin(batch, index, made_by):
            return f"{file}: {fault}"
        report = check(file)
    except InputError as error:
        return str(error)
    return f"{file}: {report.n_faults} faults: see `fastsim inspect --check {file}`" if report.n_faults else ""


def wrong_origin(batch: Batch, index: int, made_by: dict[str, Any]) -> str:
    """What is wrong with the provenance in a shard's file: it was made in another way, or of other events."""
    identity = made_by.get("identity", {})
    shard = batch.manifest.shards[index]
    if identity.get("events") != {"first": shard.first, "end": shard.end}:
        return f"holds events {identity.get('events')}, not {shard.first} to {shard.end}"
    mine = {key: identity.get(key) for key in batch.manifest.way}
    if different := provenance.differences(batch.manifest.way, mine):
        key, planned, found = different[0]
        return f"made in another way: {key} is {found}, planned was {planned}"
    return ""


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except OSError:
        return set()


def _running(batch: Batch, index: int, sign: Sign) -> State:
    shard = batch.manifest.shards[index]
    what = f"{sign.n_events} of {shard.end - shard.first} events, process {sign.pid} on {sign.host}"
    return State(index, "running", sign.n_events, what)


def _not_there(batch: Batch, index: int, why: dict[str, Any], *, has_parts: bool) -> State:
    parts, shard = kept_parts(batch, index) if has_parts else [], batch.manifest.shards[index]
    kept = f"{parts[-1].end - shard.first} of {shard.end - shard.first} events are kept" if parts else ""
    if not why:
        return State(index, "missing", 0, kept)
    code, times = int(why.get("exit_code", 70)), why.get("times", 1)
    what = f"{why.get('error', '')} (on {why.get('host', '?')}, {times} time{'s' if times != 1 else ''})"
    return State(index, "missing" if code == RETRY else "failed", 0, what, code)
