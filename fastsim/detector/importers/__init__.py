"""Detectors from other programs' files: Delphes TrackCovariance layer tables, ALICE 3 `a3geometry*.ini`.

Strict by default: whatever is malformed or has no counterpart here is refused, all of it at once, with file and line.
With `lenient`, mistakes whose meaning is clear are corrected, and every correction is listed.
"""

from __future__ import annotations

import re
import tomllib
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from fastsim.detector.importers import a3geometry, delphes
from fastsim.detector.importers.draft import Draft
from fastsim.detector.importers.toml_text import detector_text
from fastsim.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Imported", "import_detector"]

_MOST_BYTES = 10_000_000  # far above any card, so that a data file given by mistake is not searched for layers


class Imported(NamedTuple):
    """Text of a detector file that the schema accepts, and what the user should know about how it came about."""

    text: str
    notes: list[str]


def import_detector(
    path: Path, *, lenient: bool = False, name: str | None = None, b_z: float | None = None
) -> Imported:
    """Translate a Delphes card or layer table, or an `a3geometry*.ini`; raises CardError with every fault.

    `name` (by default from the file's name) and `b_z` [T] stand above what the file says.
    """
    raw = _read(path)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CardError([f"{path}: not text (byte {error.start} is no UTF-8)"]) from None
    form, read = _format(path, text)
    draft = Draft(path, lenient)
    read(text, draft)
    if b_z is not None:
        if draft.b_z is not None and draft.b_z != b_z:
            draft.note(0, f"field {draft.b_z:g} T replaced by {b_z:g} T, as asked for")
        draft.b_z = b_z
        draft.places.pop(("b_z",), None)  # a fault of it is no longer that line's
    draft.stop_if_faulty()
    if draft.b_z is None:
        draft.fault(0, "says nothing about the magnetic field")
    draft.stop_if_faulty(hint="give it with --b-z, in tesla")
    source = f"{path.name} ({form}), sha256 {sha256(raw).hexdigest()}"
    data = draft.checked_data(_name(path) if name is None else name, source)
    comments = [f"Imported from {path.name}, {form}.", *(f"note: {note}" for note in draft.notes)]
    written = detector_text(data, comments)
    assert tomllib.loads(written)["b_z"] == data["b_z"]  # noqa: S101  (our own writer)
    return Imported(written, draft.notes)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise CardError([f"{path}: no such file"]) from None
    except OSError as error:
        raise CardError([f"{path}: cannot be read ({error.strerror})"]) from None
    if len(raw) > _MOST_BYTES:
        raise CardError([f"{path}: larger than {_MOST_BYTES // 1_000_000} MB: not a detector"])
    if not raw.strip():
        raise CardError([f"{path}: empty"])
    return raw


def _format(path: Path, text: str) -> tuple[str, Callable[[str, Draft], None]]:
    if re.search(r"^\s*module\s+\w+\s+\w+|^\s*set\s+DetectorGeometry\b", text, re.MULTILINE):
        return "Delphes card", delphes.read_card
    if re.search(rf"^\s*[^\s.#]+\.(?:{'|'.join(a3geometry.KEYS)})\b", text, re.MULTILINE):
        return "ALICE 3 geometry", a3geometry.read_ini
    if re.search(r"^\s*[12]\s+\S+(?:\s+[-+.\deE]+){3}", text, re.MULTILINE):
        return "Delphes layer table", delphes.read_table
    hint = (
        "allowed: a Delphes card with a TrackCovariance module, its 13-column layer table, an ALICE 3 a3geometry*.ini"
    )
    if re.search(r"^\s*schema_version\s*=", text, re.MULTILINE):
        raise CardError([f"{path}: is a fastsim file already"], hint=hint)
    raise CardError([f"{path}: neither a Delphes layer table nor an ALICE 3 geometry"], hint=hint)


def _name(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", path.stem).strip("_") or "imported"
