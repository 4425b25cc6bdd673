"""From files that hold all our columns, Parquet and RNTuple, to any format; the other formats hold too little to go on from."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from fastsim import toml
from fastsim.cards.schema import Output
from fastsim.columns import TABLES
from fastsim.errors import CardError, InputError, UsageError
from fastsim.io.columnar import COLUMNS, described, to_batch
from fastsim.io.inspect import file_format, identity_hash, read_provenance
from fastsim.io.output import FORMATS, check_suffix
from fastsim.io.rootio import refuse_existing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from fastsim.columns import Column

READABLE = ("parquet", "rntuple")
_LACKS = {
    "ao2d": "the covariances as numbers (it has 1/128 of the correlations), the generator's vertices and what was not found",
    "delphes": "what was not found, the generator's vertices, and numbers of events that Delphes has no place for",
    "nano": "covariances, what was not found, and the generator's vertices",
}


class _Options(toml.Strict):
    """What of a card matters here."""

    output: Annotated[Output, Field(description="what is written")]


def convert_file(path: Path, out: Path, to: str, *, sets: Sequence[str] = (), overwrite: bool = False) -> int:
    """Write the columns of a Parquet or RNTuple file of fastsim in another format; returns the number of events.

    Options of the output are those of the card that made the file, changed by `sets`, ``output.key=value`` texts. Numbers in
    the new file are those of float32 columns: equal to those of a run within rounding, and equal to the bit between Parquet and
    RNTuple. Raises InputError if the file is not one of the two, CardError if the format needs what it lacks.
    """
    format_ = file_format(path)
    if format_ is None:
        raise InputError("in none of the formats that fastsim writes", where=str(path))
    if format_ not in READABLE:
        raise InputError(
            f"a file in the format {format_!r} cannot be converted: it lacks {_LACKS[format_]}",
            where=str(path),
            hint="run with --format parquet or rntuple, and convert that",
        )
    refuse_existing(out, overwrite=overwrite, inputs=[path])
    if to in FORMATS:  # else the options are refused below
        check_suffix(out, to)
    reader = import_module(FORMATS[format_].module)
    texts = reader.texts(path)
    record = _record(path)
    output = _output(record, to, sets, str(path))
    door = FORMATS[output.format]
    columns = described(texts[COLUMNS], str(path))
    _refuse_missing(columns, door.needs(output), output, path)
    n_events = 0
    with door.open(out, output, columns) as writer:
        for group in reader.read_groups(path):
            if group.n_events:
                writer.write(to_batch(group))
            n_events += group.n_events
        writer.close(
            {"provenance": json.dumps(_converted(record, format_, output, door.units(output, columns)), indent=1)}
        )
    return n_events


def _record(path: Path) -> dict[str, Any]:
    """The file's provenance; raises InputError if it has none."""
    record = read_provenance(path)
    try:
        if record and isinstance(record["identity"]["resolved"]["card"]["output"], dict) and "circumstance" in record:
            return record
    except (KeyError, TypeError):
        pass
    raise InputError("does not say what made it (no provenance)", where=str(path))


def _output(record: dict[str, Any], to: str, sets: Sequence[str], where: str) -> Output:
    """The options that the file was written with, the format, and what the user changes; raises CardError."""
    made_with = record["identity"]["resolved"]["card"]["output"]
    level = record["circumstance"].get("output.compression_level", 1)
    document = toml.Document({"output": {"compression_level": level, **made_with, "format": to}}, {}, where)
    for text in sets:
        if text.startswith("output.truth"):
            raise UsageError(f"--set {text}: what the file keeps of the truth cannot be changed")
        document = toml.merge(document, toml.assignment(text, document))
    return toml.validate(_Options, document).output


def _refuse_missing(have: Iterable[Column], needed: Iterable[Column], output: Output, path: Path) -> None:
    """Raise CardError if columns are lacking, other than those of the truth that the card left out."""
    known = set(have)
    tables = TABLES if output.truth != "none" else [table for table in TABLES if table not in {"particle", "vertex"}]
    missing = [str(column) for column in needed if column not in known and column.table in tables]
    missing = [name for name in missing if output.truth != "none" or name != "track.particle_index"]
    if missing:
        raise CardError(
            [f"{path}: the format {output.format!r} needs {', '.join(missing)}, which the file has not"],
            hint="run again with the modules that make them",
        )


def _converted(record: dict[str, Any], from_: str, output: Output, units: dict[str, str]) -> dict[str, Any]:
    """The provenance of the new file: that of the run, and where the columns came from."""
    old = record["identity"]
    identity = {key: value for key, value in old.items() if key != "sha256"}
    card = {**old["resolved"]["card"], "output": output.model_dump(mode="json", exclude={"compression_level"})}
    identity["resolved"] = {**old["resolved"], "card": card}
    identity |= {
        "units": units,
        "converted": {"from": from_, "identity_sha256": old["sha256"], "fastsim": version("fastsim")},
    }
    identity["sha256"] = identity_hash(identity)
    return {**record, "identity": identity}
