"""Writing small files, whole or not at all, for the commands that make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastsim.errors import UsageError, cannot_write

if TYPE_CHECKING:
    from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a text file; raises UsageError, or OutputError where a full disk is the reason, and then leaves nothing."""
    from fastsim.luts.file import whole_file

    if not path.parent.is_dir():  # a folder that was mistyped is not to be made
        raise UsageError("no such folder", where=str(path.parent), hint="make it first")
    try:
        with whole_file(path) as stream:
            stream.write(text.encode())
    except OSError as error:
        raise cannot_write(error, path) from None
