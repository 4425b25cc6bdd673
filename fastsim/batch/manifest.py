"""The manifest of a batch: the whole run resolved, its inputs with their events counted, and the shards that it is cut into.

It lies in a folder with the tables that the run needs; results come beside it. Nothing in the folder depends on where it is, so
it can be moved, packed and sent; only inputs are named by the paths that they had.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError

from fastsim import provenance, toml
from fastsim.cards import LoadedCard
from fastsim.errors import CardError, InputError, UsageError
from fastsim.io.inputs import check_exists, count_events, may_be_text
from fastsim.io.inspect import identity_hash
from fastsim.io.output import FORMATS
from fastsim.rng import Streams
from fastsim.run import check_card, prepare
from fastsim.source import InputRecord
from fastsim.summary import Silent, Summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastsim.summary import Progress

NAME = "manifest.json"
TABLES = "luts"  # folder of the tables, beside the manifest
_MOST_SHARDS = 1_000_000


class Input(toml.Strict):
    """An input as it was when the run was planned."""

    name: Annotated[str, Field(description="absolute path, path from the manifest's folder, or URL")]
    n_bytes: Annotated[int | None, Field(description="of local files")]
    sha256: Annotated[str, Field(description="of the file as it lies on disk")]
    first_event: Annotated[int, Field(ge=0, description="position of its first event in the whole input")]
    n_events: Annotated[int, Field(ge=0, description="events in it")]
    info: Annotated[dict[str, Any], Field(description="what its header says")]


class Shard(toml.Strict):
    """Events `first` to `end` (excluded), by their position in the whole input."""

    first: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0)]


class Options(toml.Strict):
    """How each shard is run."""

    batch_size: Annotated[int, Field(ge=1, description="events in memory at once")]
    max_bad_events: Annotated[int, Field(ge=0, description="unreadable events that may be skipped in the whole run")]
    allow_truncated: Annotated[bool, Field(description="keep the whole events of HepMC text that ends in the middle")]


class Manifest(toml.Strict):
    """See the module. `way` is what all shards have in common in their identity (`fastsim.provenance`)."""

    schema_version: Annotated[Literal[1], Field(description="version of this schema")]
    kind: Annotated[Literal["fastsim batch"], Field(description="what this file is")]
    created: Annotated[dict[str, str], Field(description="when, where and by which code it was planned")]
    card: Annotated[dict[str, Any], Field(description="the card and its detector, resolved")]
    way: Annotated[dict[str, Any], Field(description="everything that changes the physics, but the events")]
    inputs: Annotated[list[Input], Field(min_length=1, description="in the order of their events")]
    options: Options
    shards: Annotated[list[Shard], Field(min_length=1, description="each is one job; numbers count from 0")]
    sha256: Annotated[str, Field(description="hash of all the rest: not to be edited by hand")]


@dataclass(frozen=True)
class Batch:
    """A manifest, its folder, the folder of the results (usually the same), and one to look for inputs in first."""

    manifest: Manifest
    folder: Path
    out: Path
    input_dir: Path | None = None

    @property
    def n_shards(self) -> int:
        """How many shards there are."""
        return len(self.manifest.shards)

    @cached_property
    def way_hash(self) -> str:
        """Hash of the way in which all is made: results of other batches have another one."""
        return identity_hash(self.manifest.way)

    def name(self, index: int) -> str:
        """Name of a shard: of its folder and, with a suffix, of its file."""
        return f"shard_{index:0{max(4, len(str(self.n_shards - 1)))}}"

    def file_name(self, index: int) -> str:
        """Name of the file of a shard."""
        return self.name(index) + FORMATS[self.manifest.card["card"]["output"]["format"]].suffix

    def result(self, index: int) -> Path:
        """The file of a shard, once it is done."""
        return self.out / self.name(index) / self.file_name(index)

    def check_index(self, index: int) -> int:
        """Raise UsageError if there is no such shard."""
        if 0 <= index < self.n_shards:
            return index
        raise UsageError(f"no shard {index}: the manifest has {self.n_shards}, from 0 to {self.n_shards - 1}")

    def card(self) -> LoadedCard:
        """The card, with the paths of its files in this folder."""
        record = self.manifest.card
        tracking, detector = record["card"]["tracking"], record["detector"]
        card = {**record["card"]}
        if tables := detector.get("tables"):
            detector = {**detector, "tables": [{**table, "file": str(self.folder / table["file"])} for table in tables]}
        else:
            card["tracking"] = {**tracking, "luts": str(self.folder / TABLES)}
        if pile_up := card.get("pile_up"):
            card["pile_up"] = {**pile_up, "file": [self.found(name) for name in self.pile_up()]}
        return LoadedCard.from_record({**record, "card": card, "detector": detector}, str(self.folder / NAME))

    def inputs(self) -> list[InputRecord]:
        """What is known of the inputs, with the names by which they are opened."""
        return [
            InputRecord(self.found(i.name), i.sha256, i.first_event, i.n_events, i.info) for i in self.manifest.inputs
        ]

    def inputs_of(self, index: int) -> list[Input]:
        """The inputs that a shard reads."""
        shard = self.manifest.shards[index]
        return [
            i
            for i in self.manifest.inputs
            if max(i.first_event, shard.first) < min(i.first_event + i.n_events, shard.end)
        ]

    def pile_up(self) -> list[str]:
        """Names of the files that pile-up is drawn from."""
        return _as_list(self.manifest.card["card"].get("pile_up", {}).get("file", []))

    def found(self, name: str) -> str:
        """A file: in the folder of inputs if it is there, else where it was (relative names: from the manifest)."""
        if "://" in name:
            return name
        if self.input_dir and (self.input_dir / Path(name).name).exists():
            return str(self.input_dir / Path(name).name)
        return str(self.folder / name)


def plan(
    inputs: Sequence[str | Path],
    loaded: LoadedCard,
    folder: str | Path,
    *,
    events_per_shard: int,
    events: tuple[int, int | None] = (0, None),
    batch_size: int = 1000,
    max_bad_events: int = 0,
    allow_truncated: bool = False,
    progress: Progress | None = None,
) -> Batch:
    """Cut a run into shards of so many events (the last one has what is left), and write the manifest and the tables.

    Everything is checked first: the card, its tables (built if missing), each input to its end. Raises FastsimError.
    """
    progress, folder = progress or Silent(), Path(folder).absolute()
    names = [str(name) if "://" in str(name) else str(Path(name).absolute()) for name in inputs]
    if "-" in map(str, inputs):
        raise UsageError("jobs cannot read standard input", where="-", hint="write it to a file first")
    check_exists(names)
    if (folder / NAME).exists():
        raise UsageError("holds a batch already", where=str(folder), hint="choose another folder")
    check_card(loaded)
    truth = loaded.card.output.truth
    job = prepare(loaded, progress, Summary(), has_text=any(map(may_be_text, names)), truth=truth)
    records = _counted(names, Streams(loaded.card.seed), progress, allow_truncated=allow_truncated)
    total = records[-1].first_event + records[-1].n_events
    first, end = events[0], total if events[1] is None else events[1]
    if end > total or first > end:
        raise InputError(
            f"events {first}:{end} were asked for, the input has {total}", where=", ".join(r.name for r in records)
        )
    if end - first > events_per_shard * _MOST_SHARDS:
        raise UsageError(f"more than {_MOST_SHARDS:,} shards", hint="larger shards: see docs/scale.md")
    starts = range(first, end, events_per_shard) or [first]
    manifest = sealed(Manifest(
        schema_version=1,
        kind="fastsim batch",
        created=provenance.here_and_now(),
        card=_with_tables(loaded, job.luts.sources, folder),
        way=json.loads(json.dumps(job.way)),
        inputs=[
            Input(
                name=record.name, n_bytes=_size(record.name), sha256=record.sha256, first_event=record.first_event,
                n_events=record.n_events, info=json.loads(json.dumps(dict(record.info))),
            )
            for record in records
        ],
        options=Options(batch_size=batch_size, max_bad_events=max_bad_events, allow_truncated=allow_truncated),
        shards=[Shard(first=start, end=min(start + events_per_shard, end)) for start in starts],
        sha256="",
    ))  # fmt: skip
    write_whole(folder / NAME, manifest.model_dump_json(indent=1))
    return Batch(manifest, folder, folder)


def open_batch(path: str | Path, *, out: Path | None = None, input_dir: Path | None = None) -> Batch:
    """The batch of a manifest, or of the folder that it lies in; raises InputError if it is damaged or was edited."""
    path = Path(path).absolute()
    path = path / NAME if path.is_dir() else path
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=str(path)) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(
            f"not a manifest of a batch: {key}{': ' if key else ''}{first['msg']}", where=str(path), hint=_AGAIN
        ) from None
    if manifest.sha256 != _hash(manifest):
        raise InputError("was changed after it was planned: its hash is another", where=str(path), hint=_AGAIN)
    return Batch(manifest, path.parent, (out or path.parent).absolute(), input_dir and input_dir.absolute())


_AGAIN = "plan again: `fastsim batch plan`"


def sealed(manifest: Manifest) -> Manifest:
    """A manifest with its hash."""
    return manifest.model_copy(update={"sha256": _hash(manifest)})


def write_whole(path: Path, text: str) -> None:
    """Write a text so that it is there whole or not at all; raises OSError."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _hash(manifest: Manifest) -> str:
    return sha256(json.dumps(manifest.model_dump(mode="json", exclude={"sha256"}), sort_keys=True).encode()).hexdigest()


def _as_list(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def _size(name: str) -> int | None:
    path = Path(name)
    return path.stat().st_size if path.is_file() else None


def _counted(names: Sequence[str], streams: Streams, progress: Progress, *, allow_truncated: bool) -> list[InputRecord]:
    """What each input is; pipes are refused: they can be read once."""
    records: list[InputRecord] = []
    total = sum(_size(name) or 0 for name in names)
    done = position = 0
    for name in names:
        if "://" not in name and not Path(name).is_file():
            raise UsageError("is not an ordinary file, which jobs could read again", where=name)
        found = count_events([name], streams, allow_truncated=allow_truncated)[0]
        records.append(InputRecord(found.name, found.sha256, position, found.n_events, found.info))
        position += found.n_events
        done += _size(name) or 0
        progress.events(position, done, total)
    return records


def _with_tables(loaded: LoadedCard, sources: Sequence[str], folder: Path) -> dict[str, Any]:
    """The card's record, with its tables copied to the folder."""
    record = loaded.as_record()
    (folder / TABLES).mkdir(parents=True, exist_ok=True)
    places = {}
    tables = record["detector"].get("tables", [])
    for i, source in enumerate(sources):
        target = folder / TABLES / (f"{i}_{Path(source).name}" if tables else Path(source).name)  # from several folders
        try:
            shutil.copyfile(source, target)
        except FileNotFoundError:  # it could not be kept in the cache
            raise CardError(
                [f"{source}: the table is not there"], hint="make the cache writable, or build it: fastsim lut build"
            ) from None
        places[source] = f"{TABLES}/{target.name}"
    if tables:  # those of species that the card does not use stay where they are
        tables = [{**table, "file": places.get(table["file"], table["file"])} for table in tables]
        record["detector"] = {**record["detector"], "tables": tables}
    return record
