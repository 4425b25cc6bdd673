"""Merging outputs: shards of one run into the file that it would have written unsplit, or independent runs into one file.

What made the files decides: their identities must agree in all but the events (shards), or in all but seed, inputs and events
(independent runs). Draws are addressed by seed and event, so equal seeds with overlapping events are never merged.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from fastsim import provenance
from fastsim.cards.schema import Output
from fastsim.errors import InputError, UsageError
from fastsim.io.inputs import RECIPES
from fastsim.io.inspect import file_format, read_provenance
from fastsim.io.join import Shard, open_joiner
from fastsim.io.output import check_suffix
from fastsim.io.rootio import refuse_existing
from fastsim.provenance import RUN_KEYS
from fastsim.summary import Silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastsim.summary import Progress

ONE_RUN_HINT = (
    "shards of one run are made by the same command but for --events; independent runs are merged with --renumber"
)


class Merged(NamedTuple):
    """What was written."""

    n_events: int
    n_files: int
    identity: str  # sha256
    missing: list[tuple[int, int]]  # events (first, end) that no file holds
    notes: list[str]


class Part(NamedTuple):
    """A file to be merged: its provenance, the runs in it, and the positions that its events have (end excluded)."""

    path: Path
    format: str
    record: dict[str, Any]
    runs: list[dict[str, Any]]
    first: int
    end: int

    @property
    def identity(self) -> dict[str, Any]:
        """What can change a column."""
        return dict(self.record["identity"])

    @property
    def is_empty(self) -> bool:
        """Whether no event was chosen."""
        return self.end <= self.first


def merge(
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    renumber: bool = False,
    allow_gaps: bool = False,
    overwrite: bool = False,
    compression_level: int | None = None,
    progress: Progress | None = None,
    way: dict[str, Any] | None = None,
) -> Merged:
    """Merge output files of fastsim, given in any order, into one.

    Without `renumber` they must be shards of one run; the result has the columns, and the identity, of the run over all
    their events. With it, they are independent runs (other seed or inputs) in the order given, and their events get new
    positions. `way` is what they must have in common, if it was planned. Raises
    FastsimError (InputError if the files do not belong together) and leaves nothing under `out`.
    """
    progress = progress or Silent()
    paths, target = [Path(path) for path in inputs], Path(out)
    seen: set[tuple[int, int]] = set()
    for path in filter(Path.is_file, paths):
        place = path.stat().st_dev, path.stat().st_ino
        if place in seen:
            raise UsageError("is given twice", where=str(path))
        seen.add(place)
    refuse_existing(target, overwrite=overwrite, inputs=paths)
    model, parts = _read_parts(paths, renumber=renumber)
    if way and (different := provenance.differences(way, {key: model.identity.get(key) for key in way})):
        key, planned, found = different[0]
        raise InputError(f"not made as planned: {key} is {found}, planned was {planned}", where=str(model.path))
    check_suffix(target, model.format)
    level = (
        model.record["circumstance"].get("output.compression_level", 1)
        if compression_level is None
        else compression_level
    )
    output = _output(model, level)
    if renumber:
        _check_draws(parts)
        shards, identity = _renumbered(model, parts, output.events_per_frame)
    else:
        parts = sorted(parts, key=lambda part: (part.first, part.end))
        _check_one_run(parts, allow_gaps=allow_gaps)
        shards, identity = [Shard(part.path, 0, part.first, part.end) for part in parts], _whole(model, parts)
    total, done, n_events = sum(path.stat().st_size for path in paths), 0, 0
    with open_joiner(model.format, target, output) as joiner:
        for part, shard in zip(parts, shards, strict=True):
            n_of_file = 0
            for n in joiner.add(shard):
                n_of_file += n
                progress.events(n_events + n_of_file, done, total)
            _check_count(part, n_of_file)
            n_events += n_of_file
            done += part.path.stat().st_size
        progress.events(n_events, total, total)
        joiner.close({"provenance": provenance.as_json(_record(model, parts, identity, level))})
    missing = [(first, end) for first, end in identity["events"].get("missing", [])] if "events" in identity else []
    return Merged(n_events, len(parts), identity["sha256"], missing, _repeated(parts) if renumber else [])


def read_part(path: Path) -> Part:
    """A file of ours and what made it; raises InputError if it is none, or its provenance is damaged."""
    kind, record = file_format(path), read_provenance(path)
    if record is None:
        raise InputError(
            "has no provenance: not written by fastsim", where=str(path), hint="ROOT's hadd merges any files"
        )
    if kind is None:
        raise InputError("its columns are of no format that is known: the file is damaged", where=str(path))
    try:
        identity = record["identity"]
        if provenance.sealed(identity)["sha256"] != identity["sha256"]:
            raise InputError("its provenance was changed: the hash of its identity is another", where=str(path))
        runs = identity["runs"] if "runs" in identity else [{**{key: identity[key] for key in RUN_KEYS}, "shift": 0}]
        ranges = [_range(run) for run in runs]
        _ = record["circumstance"]["inputs"], record["summary"]["events"], identity["resolved"]["card"]["output"]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"its provenance is damaged ({type(error).__name__}: {error})"
        raise InputError(what, where=str(path), hint="make the file again") from error
    return Part(path, kind, record, runs, min(first for first, _ in ranges), max(end for _, end in ranges))


def _range(run: dict[str, Any]) -> tuple[int, int]:
    """Positions (first, end) of a run's events in its file."""
    first, end = int(run["events"]["first"]), int(run["events"]["end"])
    return first + run["shift"], end + run["shift"]


def _output(part: Part, level: int) -> Output:
    """How the output is to be written: as the inputs were."""
    options = part.identity["resolved"]["card"]["output"]
    try:
        return Output.model_validate({**options, "compression_level": level})
    except ValidationError as error:
        what = "the options of its output are not those of this version of fastsim"
        raise InputError(what, where=str(part.path), hint="merge with the version that made it") from error


def _read_parts(paths: Sequence[Path], *, renumber: bool) -> tuple[Part, list[Part]]:
    """The first file, and all, made in one way: of these only what they do not have in common is kept, there may be many."""
    model = read_part(paths[0])
    parts = []
    for path in paths:
        part = model if path is paths[0] else read_part(path)
        if part is not model:
            _check_alike(model, part, renumber=renumber)
        identity = {key: part.identity[key] for key in (*RUN_KEYS, "runs", "sha256") if key in part.identity}
        circumstance = {key: part.record["circumstance"].get(key) for key in ("inputs", "created", "host")}
        record = {"identity": identity, "circumstance": circumstance, "summary": part.record["summary"]}
        parts.append(part._replace(record=record))
    return model, parts


def _check_alike(first: Part, other: Part, *, renumber: bool) -> None:
    """Raise InputError if the first file and another were made in different ways."""
    if first.format != other.format:
        raise InputError(f"is of the format {other.format}, {first.path} of {first.format}", where=str(other.path))
    if not renumber and "runs" in {**first.identity, **other.identity}:
        raise InputError(
            "holds independent runs, with events of new numbers",
            where=str(first.path if "runs" in first.identity else other.path),
            hint="merge it with other runs by --renumber",
        )
    left_out = RUN_KEYS if renumber else provenance.SHARD_KEYS
    if differences := provenance.differences(
        provenance.common(first.identity, left_out), provenance.common(other.identity, left_out)
    ):
        key, here, there = differences[0]
        n_more = sum(not key.startswith("units.") for key, *_ in differences[1:])  # the units follow from the others
        more = f" (and {n_more} more)" if n_more else ""
        what = f"made in another way than {first.path}: {key} is {there}, there {here}{more}"
        raise InputError(what, where=str(other.path), hint=_HINTS.get(key, ONE_RUN_HINT))


_CONVERTED = "merge the files as they were made, and convert the result"
_HINTS = {
    "converted": _CONVERTED,
    "converted.identity_sha256": _CONVERTED,
    "fastsim": "make all files with one version",
    "source_sha256": "make all files with one version of the code",
}


def _check_one_run(parts: Sequence[Part], *, allow_gaps: bool) -> None:
    """Raise InputError if the files are not shards of one run, share events, or leave some out. Parts in event order."""
    _inputs(parts)
    filled = [part for part in parts if not part.is_empty]
    for before, after in itertools.pairwise(filled):
        if after.first < before.end:
            what = f"holds events {after.first}:{after.end}, and {before.path} {before.first}:{before.end}: some are in both"
            hint = "leave one of them out; a file that was merged with gaps cannot be filled: merge all shards at once"
            raise InputError(what, where=str(after.path), hint=hint)
        if after.first > before.end and not allow_gaps:
            what = f"events {before.end}:{after.first} are missing between {before.path} and {after.path}"
            raise InputError(what, hint="make them, or say --allow-gaps")


def _inputs(parts: Sequence[Part]) -> tuple[list[dict[str, Any]], list[str]]:
    """The inputs of all parts, each once, in the order of their events, and their names; raises InputError if they disagree."""
    found: dict[int, tuple[dict[str, Any], str, Part]] = {}
    for part in parts:
        names = [*part.record["circumstance"]["inputs"], *[""] * len(part.identity["inputs"])]
        for record, name in zip(part.identity["inputs"], names, strict=False):
            same = found.setdefault(record["first_event"], (record, name, part))
            if any(record[key] != same[0][key] for key in ("sha256", "before")):
                raise InputError(f"made of other inputs than {same[2].path}", where=str(part.path), hint=ONE_RUN_HINT)
            if record["n_events"] > same[0]["n_events"]:  # read further
                found[record["first_event"]] = record, name, part
    ordered = [found[position] for position in sorted(found)]
    for (a, _, part), (b, _, other) in itertools.pairwise(ordered):
        n_between = b["first_event"] - a["first_event"] - a["n_events"]  # more than 0 if nobody needed its end
        chain = provenance.chained(a["before"], a["sha256"], a["n_events"])
        if n_between < 0 or (n_between == 0 and chain != b["before"]):
            raise InputError(f"made of other inputs than {part.path}", where=str(other.path), hint=ONE_RUN_HINT)
    return [record for record, *_ in ordered], [name for _, name, _ in ordered]


def _whole(model: Part, parts: Sequence[Part]) -> dict[str, Any]:
    """The identity of the run over all events of the parts, which are in event order."""
    filled = [part for part in parts if not part.is_empty] or list(parts)
    last = filled[-1]
    missing = [gap for part in filled for gap in part.identity["events"].get("missing", [])]
    missing += [[a.end, b.first] for a, b in itertools.pairwise(filled) if a.end < b.first]
    events: dict[str, Any] = {"first": filled[0].first, "end": last.identity["events"]["end"]}
    skipped = [event for part in parts for event in part.identity["skipped_events"]]
    gaps = {"missing": sorted(missing)} if missing else {}
    changed = {"inputs": _inputs(parts)[0], "events": {**events, **gaps}, "skipped_events": skipped}
    return provenance.sealed({**model.identity, **changed})


def _check_draws(parts: Sequence[Part]) -> None:
    """Raise InputError if two files have random numbers in common."""
    for a, b in itertools.combinations(parts, 2):
        for mine, other in itertools.product(a.runs, b.runs):
            (first, end), (start, stop) = (
                (run["events"]["first"], _range(run)[1] - run["shift"]) for run in (mine, other)
            )
            if mine["run_seed"] == other["run_seed"] and max(first, start) < min(end, stop):
                what = f"has the same seed ({mine['run_seed']}) as {a.path}, and events of the same positions"
                hint = "their random numbers are the same: run one of them again with another --seed"
                raise InputError(f"{what} ({start}:{stop} and {first}:{end})", where=str(b.path), hint=hint)


def _repeated(parts: Sequence[Part]) -> list[str]:
    """Notes on files that hold the same generated events, with other random numbers of the detector."""
    seen: dict[str, Part] = {}
    notes = []
    for part in parts:
        names = part.record["circumstance"]["inputs"]
        for name, record in zip(names, part.runs[-1]["inputs"], strict=False):
            if Path(name).suffix.lower() not in RECIPES and seen.setdefault(record["sha256"], part) is not part:
                notes.append(
                    f"{seen[record['sha256']].path} and {part.path} hold generated events of the same file, {name}"
                )
    return notes


def _renumbered(model: Part, parts: Sequence[Part], events_per_frame: int) -> tuple[list[Shard], dict[str, Any]]:
    """New positions for the events, each file's behind those before, in data frames of its own; and the identity of all."""
    shards, runs = [], []
    free = parts[0].first // events_per_frame * events_per_frame
    for part in parts:
        shift = (-(-free // events_per_frame) - part.first // events_per_frame) * events_per_frame
        shards.append(Shard(part.path, shift, part.first, part.end))
        runs += [{**run, "shift": run["shift"] + shift} for run in part.runs]
        free = part.end + shift
    return shards, provenance.sealed({**provenance.common(model.identity, RUN_KEYS), "runs": runs})


def _check_count(part: Part, n_events: int) -> None:
    """A file must hold as many events as its provenance says."""
    expected = part.record["summary"]["events"]
    if n_events != expected:
        raise InputError(f"holds {n_events} events, and its provenance speaks of {expected}", where=str(part.path))


def _record(model: Part, parts: Sequence[Part], identity: dict[str, Any], level: int) -> dict[str, Any]:
    """Provenance of the merged file."""
    names = [name for part in parts for name in part.record["circumstance"]["inputs"]]
    if "runs" not in identity:
        names = _inputs(parts)[1]
    circumstance = {
        **model.record["circumstance"],
        **provenance.here_and_now(),
        "inputs": names,
        "output.compression_level": level,
        "merged": [
            {
                "file": str(part.path),
                "identity": part.identity["sha256"],
                "events": [part.first, part.end],
                **{key: part.record["circumstance"].get(key) for key in ("created", "host")},
            }
            for part in parts
        ],
    }
    for key in ("batch_size", "workers"):
        circumstance.pop(key, None)
    summary = parts[0].record["summary"]
    for part in parts[1:]:
        summary = _sum(summary, part.record["summary"])
    return {"identity": identity, "circumstance": circumstance, "summary": summary}


def _sum(a: Any, b: Any) -> Any:
    """Numbers added, lists one after another, tables key by key."""
    if isinstance(a, dict):
        return {key: _sum(a[key], b[key]) if key in a and key in b else a.get(key, b.get(key)) for key in {**a, **b}}
    return a + b
