"""Bytes of event files: opened, decompressed and hashed on the way."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, cast

from fastsim.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 1 << 20
# Leading bytes of compressed files: RFC 1952 (gzip), bzip2 and xz manuals, RFC 8878 (zstd).
_MAGIC = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
    (b"\x28\xb5\x2f\xfd", zstd.ZstdFile),
)


class Hashed(io.RawIOBase):
    """A raw file that keeps count and the sha256 of all bytes read from it."""

    def __init__(self, raw: IO[bytes]) -> None:
        self.raw = raw
        self.hash = sha256()
        self.n_bytes = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, hashing."""
        data = self.raw.read(len(memoryview(buffer)))
        memoryview(buffer)[: len(data)] = data
        self.hash.update(data)
        self.n_bytes += len(data)
        return len(data)


class EventFile:
    """A file of events, or "-" for standard input; the compression is told by its first bytes, not by its name."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = "standard input" if path == "-" else path
        try:
            raw: IO[bytes] = sys.stdin.buffer if path == "-" else Path(path).open("rb")  # noqa: SIM115
            self.size = 0 if path == "-" else Path(path).stat().st_size
        except FileNotFoundError:
            raise InputError("no such file", where=path) from None
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", where=path) from None
        self.hashed = Hashed(raw)
        buffered = io.BufferedReader(self.hashed, PIECE)
        start = buffered.peek(8)[:8]
        opener = next((opener for magic, opener in _MAGIC if start.startswith(magic)), None)
        self.stream = cast("IO[bytes]", cast("Any", opener)(buffered) if opener else buffered)

    def read(self) -> bytes:
        """The next piece, decompressed; empty at the end. Raises InputError if the compressed data is damaged."""
        try:
            return self.stream.read(PIECE)
        except (EOFError, lzma.LZMAError, zlib.error, zstd.ZstdError, OSError) as error:
            raise InputError(
                f"the compressed data is truncated or damaged ({error})",
                where=self.name,
                hint="copy or produce the file again",
            ) from None

    def finish(self) -> str:
        """Read what is left and return the sha256 of the whole file as it lies on disk."""
        while self.path != "-" and self.hashed.read(PIECE):
            pass
        return self.hashed.hash.hexdigest()

    def close(self) -> None:
        """Close the file."""
        if self.path != "-":
            self.hashed.raw.close()
