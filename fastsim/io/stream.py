"""Bytes of event files: opened wherever they are, decompressed and hashed, in a thread of their own."""

from __future__ import annotations

import bz2
import io
import lzma
import queue
import sys
import threading
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from isal import igzip, isal_zlib

from fastsim.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator

PIECE = 1 << 20
_AHEAD = 4  # pieces that may wait to be taken
# Leading bytes of compressed files: RFC 1952 (gzip), bzip2 and xz manuals, RFC 8878 (zstd). All take several members.
_MAGIC: tuple[tuple[bytes, Callable[[Any], Any]], ...] = (
    (b"\x1f\x8b", lambda file: cast("Any", igzip.IGzipFile)(fileobj=file, mode="rb")),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
    (b"\x28\xb5\x2f\xfd", zstd.ZstdFile),
)
_DAMAGED: tuple[type[Exception], ...] = (EOFError, lzma.LZMAError, cast("Any", isal_zlib.error), zstd.ZstdError)


class Hashed(io.RawIOBase):
    """A file that keeps count and the sha256 of all bytes read from it."""

    def __init__(self, raw: IO[bytes]) -> None:
        self.raw = raw
        self.hash = sha256()
        self.n_bytes = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, hashing; may read less than there is room for."""
        view = memoryview(buffer)
        n = cast("Any", self.raw).readinto(view)
        self.hash.update(view[:n])
        self.n_bytes += n
        return int(n)


class ByteStream:
    """A file, a pipe, a URL, or "-" for standard input, decompressed. Its first bytes tell the compression, not its name.

    Raises InputError if it cannot be opened. `start` is the beginning of the contents.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = "standard input" if path == "-" else path
        raw, self.size = _open(path)
        self.is_file = path != "-" and "://" not in path and Path(path).is_file()
        self.hashed = Hashed(raw)
        self._pieces: queue.Queue[bytes | Exception] = queue.Queue(_AHEAD)
        self._is_closed = threading.Event()
        self._is_done = False
        self._thread = threading.Thread(target=self._work, name=f"reading {self.name}", daemon=True)
        self._thread.start()
        try:
            self.start = self._next()
        except InputError:
            self.close()
            raise
        self._first: bytes | None = self.start

    def read(self) -> bytes:
        """The next piece, decompressed; empty at the end. Raises InputError if the compressed data is damaged."""
        if self._first is not None:
            piece, self._first = self._first, None
            return piece
        return self._next()

    def finish(self) -> str:
        """Read what is left and return the sha256 of the whole file as it lies on disk.

        Empty for a pipe that was not read to its end: how much of it was read by then is chance.
        """
        if not self._is_done and not self.is_file:
            return ""
        self._is_closed.set()  # decompress no more
        while not self._is_done:
            self._take()
        self._thread.join()
        rest = bytearray(PIECE)
        while not self.hashed.raw.closed and self.path != "-" and self.hashed.readinto(rest):
            pass
        return self.hashed.hash.hexdigest()

    def close(self) -> None:
        """Let go of the file; a thread that waits for a pipe ends with it."""
        self._is_closed.set()
        while not self._pieces.empty():
            self._pieces.get()
        if self.is_file or "://" in self.path:  # their reads end
            self._thread.join()
        if self.path != "-" and not self._thread.is_alive():
            self.hashed.raw.close()

    def _next(self) -> bytes:
        piece = b"" if self._is_done else self._take()
        if isinstance(piece, bytes):
            return piece
        if isinstance(piece, _DAMAGED) or (isinstance(piece, OSError) and piece.errno is None):
            what = f"the compressed data is truncated or damaged ({piece})"
            raise InputError(what, where=self.name, hint="copy or produce the file again")
        if isinstance(piece, OSError) or "://" in self.path:
            raise InputError(f"cannot be read ({type(piece).__name__}: {piece})", where=self.name)
        raise piece

    def _take(self) -> bytes | Exception:
        piece = self._pieces.get()
        self._is_done = not isinstance(piece, bytes) or not piece
        if self._is_done and not self._is_closed.is_set() and self.path != "-":
            self.hashed.raw.close()  # read to its end, or as far as it goes
        return piece

    def _work(self) -> None:
        """Life of the thread: pieces into the queue, an empty one or an exception at the end."""
        try:
            stream = self._decompressed()
            while piece := b"" if self._is_closed.is_set() else stream.read(PIECE):
                self._pieces.put(piece)
            self._pieces.put(b"")
        except Exception as error:  # noqa: BLE001  (raised again where the pieces are read)
            self._pieces.put(error)

    def _decompressed(self) -> Any:
        buffered = io.BufferedReader(self.hashed, PIECE)
        start = buffered.peek(8)[:8]
        opener = next((opener for magic, opener in _MAGIC if start.startswith(magic)), None)
        return opener(buffered) if opener else buffered


def _open(path: str) -> tuple[IO[bytes], int]:
    """The raw file and its size, 0 if that is unknown."""
    if path == "-":
        return sys.stdin.buffer, 0
    if "://" in path:
        return _open_url(path)
    try:
        return Path(path).open("rb", buffering=0), Path(path).stat().st_size
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from None


def _open_url(url: str) -> tuple[IO[bytes], int]:
    import fsspec  # noqa: PLC0415  (0.1 s that local files do not need)

    try:
        file = fsspec.open(url, "rb").open()
    except ImportError as error:
        raise InputError(
            f"no library for {url.partition(':')[0]}:// ({error})", where=url, hint="pip install 'fastsim[remote]'"
        ) from None
    except Exception as error:  # whatever a protocol's library raises
        raise InputError(f"cannot be read ({type(error).__name__}: {error})", where=url) from error
    return file, int(getattr(file, "size", None) or 0)


def segments(stream: ByteStream, mark: re.Pattern[bytes]) -> Iterator[bytes]:
    """The text before the first mark, and the texts from one mark to the next. Marks are shorter than 64 bytes."""
    rest, scanned, least = b"", 0, 0
    is_open = True
    while is_open:
        piece = stream.read()
        is_open = len(piece) > 0
        rest += piece
        begin = 0
        for found in mark.finditer(rest, scanned):
            if is_open and found.end() > len(rest) - 64:  # the mark may go on in the next piece
                break
            yield rest[begin : found.start()]
            begin, least = found.start(), 1  # not to be found again
        rest = rest[begin:]
        scanned = max(len(rest) - 128, least)
    yield rest
