"""Bytes of event files: opened wherever they are, decompressed and hashed, in a thread of their own."""

from __future__ import annotations

import bz2
import lzma
import queue
import sys
import threading
import uuid
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from isal import igzip_lib

from fastsim.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator

UNKNOWN = "unknown-"  # begins the hash of what was not read to its end, and is no file
PIECE = 1 << 20
_STEP = 1 << 16  # compressed bytes at once: at most the text of so many is lost where they are damaged
_AHEAD = 12  # pieces that may wait to be taken: more than a block of events, so that both cores are busy
# Leading bytes of compressed files: RFC 1952 (gzip), bzip2 and xz manuals, RFC 8878 (zstd).
_MAGIC: tuple[tuple[bytes, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", lzma.LZMADecompressor),
    (b"\x28\xb5\x2f\xfd", zstd.ZstdDecompressor),
)
_DAMAGED: tuple[type[Exception], ...] = (EOFError, lzma.LZMAError, cast("Any", igzip_lib.error), zstd.ZstdError)


class Hashed:
    """Bytes of a file as it lies on disk, with their number and sha256 so far."""

    def __init__(self, raw: IO[bytes]) -> None:
        self.raw = raw
        self.hash = sha256()
        self.n_bytes = 0

    def read(self, n: int) -> bytes:
        """At most `n` bytes; none at the end of the file."""
        data = self.raw.read(n)
        self.hash.update(data)
        self.n_bytes += len(data)
        return data


class ByteStream:
    """A file, a pipe, a URL, or "-" for standard input, decompressed. Its first bytes tell the compression, not its name.

    Raises InputError if it cannot be opened. `start` is the beginning of the contents. A thread reads ahead, unless the process
    has one processor only: then it would only take turns with the rest.
    """

    def __init__(self, path: str, *, read_ahead: bool = True) -> None:
        self.path = path
        self.name = "standard input" if path == "-" else path
        self.is_file = path != "-" and "://" not in path and Path(path).is_file()
        self.is_compressed = False
        self.hashed = Hashed(_open(path))
        self._pieces: queue.Queue[bytes | Exception] = queue.Queue(_AHEAD)
        self._is_closed = threading.Event()  # nobody wants more of the contents
        self._is_left = False  # nor of the file
        self._is_done = False
        self._here: Iterator[bytes] | None = None if read_ahead else self._contents()
        self._thread = threading.Thread(target=self._work, name=f"reading {self.name}", daemon=True)
        if self._here is None:
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

        Of a pipe that was not read to its end nobody knows how much was read by then: a random word, so that no two such
        inputs look alike.
        """
        if not self._is_done and not self.is_file:
            return f"{UNKNOWN}{uuid.uuid4().hex}"
        self._is_closed.set()
        while not self._is_done:
            self._take()
        if self._here is None:
            self._thread.join()
        while not self.hashed.raw.closed and self.hashed.read(PIECE):
            pass
        return self.hashed.hash.hexdigest()

    def close(self) -> None:
        """Let go of the file. A thread that waits for a pipe or a server closes it when it comes back."""
        self._is_left = True
        self._is_closed.set()
        while not self._pieces.empty():
            self._pieces.get()
        if self._here is None:
            self._thread.join(None if self.is_file else 0.1)
        if not self._thread.is_alive():
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
        piece = self._pieces.get() if self._here is None else self._read_here(self._here)
        self._is_done = not isinstance(piece, bytes) or not piece
        if piece == b"" and not self._is_closed.is_set():
            self.hashed.raw.close()  # read to its end
        return piece

    def _read_here(self, contents: Iterator[bytes]) -> bytes | Exception:
        """The next piece, an empty one or an exception at the end."""
        if self._is_closed.is_set():
            return b""
        try:
            return next(contents, b"")
        except Exception as error:  # noqa: BLE001  (raised again where the pieces are read)
            return error

    def _work(self) -> None:
        """Life of the thread: pieces into the queue, an empty one or an exception at the end."""
        end: bytes | Exception = b""
        try:
            for piece in self._contents():
                if self._is_closed.is_set():
                    break
                self._pieces.put(piece)
        except Exception as error:  # noqa: BLE001  (raised again where the pieces are read)
            end = error
        self._pieces.put(end)
        if self._is_left:
            self.hashed.raw.close()

    def _contents(self) -> Iterator[bytes]:
        """The file decompressed; damage is told after all that came before it."""
        data = self.hashed.read(PIECE)
        while 0 < len(data) < 6 and (more := self.hashed.read(PIECE)):  # pipes may give less than the magic bytes
            data += more
        make = next((make for magic, make in _MAGIC if data.startswith(magic)), None)
        self.is_compressed = make is not None
        while data and make is None:
            yield data
            data = self.hashed.read(PIECE)
        if make is None:
            return
        parts: list[bytes] = []
        try:
            for part in self._members(make, data):
                parts.append(part)
                if sum(map(len, parts)) >= PIECE:
                    yield b"".join(parts)
                    parts.clear()
        finally:
            if parts and not self._is_closed.is_set():
                yield b"".join(parts)

    def _members(self, make: Callable[[], Any], data: bytes) -> Iterator[bytes]:
        """What the members of a compressed file hold, one after another, with zeros between them; `data` is its beginning."""
        while data:
            member = make()
            while not member.eof:
                if member.needs_input and not data:
                    data = self.hashed.read(_STEP)
                    if not data:
                        raise EOFError("it ends before its end-of-stream marker")
                given, data = (data[:_STEP], data[_STEP:]) if member.needs_input else (b"", data)
                if part := member.decompress(given, PIECE):
                    yield part
            data = (member.unused_data + data).lstrip(b"\0")
            while not data and (more := self.hashed.read(_STEP)):
                data = more.lstrip(b"\0")


def _open(path: str) -> IO[bytes]:
    """The raw file, without a buffer."""
    if "://" in path:
        return _open_url(path)
    if path == "-" and sys.stdin is None:
        raise InputError("is closed", where="standard input")
    try:
        # Not sys.stdin.buffer: its lock, held by a thread that waits, would abort the interpreter's end.
        return open(sys.stdin.fileno() if path == "-" else path, "rb", buffering=0, closefd=path != "-")
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from None


def _open_url(url: str) -> IO[bytes]:
    import fsspec  # noqa: PLC0415  (0.1 s that local files do not need)

    streamed = {"block_size": 0} if url.startswith("http") else {}  # one request: not all servers give ranges
    try:
        return cast("IO[bytes]", fsspec.open(url, "rb", **streamed).open())
    except ImportError as error:
        hint = "pip install 'fastsim[remote]'"
        raise InputError(f"no library for {url.partition(':')[0]}:// ({error})", where=url, hint=hint) from None
    except Exception as error:  # whatever a protocol's library raises
        raise InputError(f"cannot be read ({type(error).__name__}: {str(error).strip()})", where=url) from error


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
