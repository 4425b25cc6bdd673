"""A runner's folder: where a shard is made, with a sign of life, until it is put in place whole.

`running/NAME.HOST.PID/` holds the output and `beat.json`. When all is done the folder is renamed to `NAME/`, which fails if that
is there already: of two runners of one shard the first one wins, and no file is ever a mixture. What a killed runner leaves is
cleared away by whoever looks for it next.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from fastsim.batch.manifest import write_whole
from fastsim.errors import FastsimError, cannot_write

if TYPE_CHECKING:
    from types import TracebackType

RUNNING = "running"
RECORD = "record.json"
_BEAT = "beat.json"
_PLANNED = ("file", "first", "end", "way")  # what the plan says of a result
DAMAGED = (ValueError, KeyError, TypeError, OverflowError, RecursionError)  # what JSON of anything may lead to
SECONDS_BETWEEN_BEATS = 30.0
_LONGEST = 600.0  # seconds between beats
_MISSED = 4  # a runner that misses so many is taken for dead


class SweptError(FastsimError):
    """Somebody took the runner for dead and cleared its folder away: worth a retry."""

    exit_code = 75


class Runner:
    """Makes one shard, or a part of it, in a folder of its own. Leaving it without `publish` leaves nothing behind."""

    def __init__(self, out: Path, name: str, *, every: float = SECONDS_BETWEEN_BEATS) -> None:
        self.folder = out / RUNNING / f"{name}.{socket.gethostname()}.{os.getpid()}"
        self.n_events = 0
        self._is_published = False
        self._sign = {
            "shard": name, "host": socket.gethostname(), "pid": os.getpid(), "started": _start_of(os.getpid()), "every": every,
        }  # fmt: skip
        self._every = every
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._live, name=f"heart of {name}", daemon=True)

    def __enter__(self) -> Self:
        try:
            if self.folder.exists():  # of a process that is gone, with our number
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True)
            self._beat()
            self._thread.start()
        except BaseException as error:  # a signal too
            shutil.rmtree(self.folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise cannot_write(error, self.folder) from None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        if isinstance(error, Exception) and not self._is_published and not self.folder.exists():
            what = "somebody cleared it away while it was in use, as if its runner were dead"
            raise SweptError(what, where=str(self.folder)) from error
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self, target: Path, record: dict[str, Any]) -> bool:
        """Put the folder in place, with a record of what is in it; False if a whole one is there already."""
        self._stop()
        try:
            (self.folder / _BEAT).unlink(missing_ok=True)
            write_whole(self.folder / RECORD, json.dumps(record, indent=1))
            for path in (self.folder / RECORD, self.folder):
                _sync(path)
            for attempt in range(10):
                try:
                    self.folder.rename(target)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                    if not read_result(target, {key: record[key] for key in _PLANNED}).fault:
                        return False
                    with suppress(FileNotFoundError):  # somebody else moves it too
                        shutil.rmtree(target.rename(self.folder / f"broken{attempt}"))
                else:
                    self._is_published = True
                    _sync(target.parent)
                    return True
        except OSError as error:
            raise cannot_write(error, target) from None
        raise cannot_write(OSError(errno.EIO, "others put theirs there again and again"), target)

    def _stop(self) -> None:
        self._is_done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _live(self) -> None:
        while not self._is_done.wait(self._every):
            with suppress(OSError):  # a full disk is told by what writes the output
                self._beat()

    def _beat(self) -> None:
        write_whole(self.folder / _BEAT, json.dumps({**self._sign, "n_events": self.n_events}))


class Sign(NamedTuple):
    """A sign of life: the runner's folder, what it says, and whether its runner lives."""

    folder: Path
    shard: str
    host: str
    pid: int
    n_events: int
    age: float  # seconds
    is_alive: bool


def signs_of_life(out: Path, name: str = "") -> list[Sign]:
    """All runners' folders, or those of one shard, of dead ones too.

    On this host the process itself is looked for. Of other hosts the age of the last beat decides, as the file system of the
    folder tells the time: clocks of hosts may be wrong.
    """
    try:
        chosen = (path for path in (out / RUNNING).iterdir() if path.name.startswith(f"{name}." if name else ""))
        folders = sorted(path for path in chosen if path.is_dir())
    except OSError:
        return []
    now = _time_there(out / RUNNING) if folders else 0.0
    return [sign for folder in folders if (sign := _sign_of(folder, now))]


def clear_away(sign: Sign) -> None:
    """Remove what a dead runner left."""
    shutil.rmtree(sign.folder, ignore_errors=True)


class Result(NamedTuple):
    """What is found in a shard's place: its record, and what is wrong with it ("" if nothing is)."""

    record: dict[str, Any]
    fault: str

    @property
    def file(self) -> str:
        """Name of the output."""
        return str(self.record.get("file", ""))


def read_result(folder: Path, planned: dict[str, Any] | None = None, *, has_to_match: bool = False) -> Result:
    """The result in a shard's folder, checked by its size, or by the sha256 of its bytes; its record has what is `planned`."""
    result = _read_record(folder, planned or {})
    if result.fault:
        return result
    record, file = result.record, folder / result.file
    try:
        size = file.stat().st_size
        if size != record["n_bytes"]:
            return Result(record, f"{file} has {size} bytes, and had {record['n_bytes']} when it was made")
        if has_to_match and sha256_of(file) != record["sha256"]:
            return Result(record, f"{file} has other bytes than when it was made")
    except OSError as error:
        return Result(record, f"{file} cannot be read ({error.strerror})")
    return result


def _read_record(folder: Path, planned: dict[str, Any]) -> Result:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        record |= {key: int(record[key]) for key in ("n_bytes", "first", "end", "n_events")}
        record |= {key: str(record[key]) for key in ("file", "sha256", "identity")}
        record["skipped_events"] = [int(event) for event in record["skipped_events"]]
    except FileNotFoundError:
        return Result({}, f"{folder / RECORD} is missing")
    except (OSError, *DAMAGED) as error:
        return Result({}, f"{folder / RECORD} cannot be read ({type(error).__name__}: {error})")
    for key, value in planned.items():
        if record.get(key) != value:
            return Result(record, f"{folder} is of another manifest: {key} is {record.get(key)}, planned was {value}")
    return Result(record, str(record.get("fault", "")))


def note_fault(folder: Path, fault: str) -> None:
    """Write down that a result is wrong inside, which its size does not tell, so that it is made again."""
    with suppress(OSError, *DAMAGED):
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        write_whole(folder / RECORD, json.dumps({**record, "fault": fault}, indent=1))


def record_of(file: Path, **more: Any) -> dict[str, Any]:
    """What is written down of an output: size and sha256 of the file, and `more`."""
    return {
        "file": file.name, "n_bytes": file.stat().st_size, "sha256": sha256_of(file), **more, "host": socket.gethostname(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def sha256_of(path: Path) -> str:
    """Of the bytes of a file; raises OSError."""
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def _sign_of(folder: Path, now: float) -> Sign | None:
    """None if the folder vanished. Without a beat (about to be put in place, or left half made) its name says whose it is."""
    name, _, host_pid = folder.name.partition(".")
    host, _, pid = host_pid.rpartition(".")
    started, every, n_events = None, SECONDS_BETWEEN_BEATS, 0
    with suppress(OSError, *DAMAGED):
        says = json.loads((folder / _BEAT).read_text(encoding="utf-8"))
        started, every, n_events = says["started"], min(float(says["every"]), _LONGEST), int(says["n_events"])
    try:
        age = now - (folder / _BEAT if (folder / _BEAT).exists() else folder).stat().st_mtime
    except OSError:
        return None
    is_alive = abs(age) < _MISSED * every
    if host == socket.gethostname():
        now_there = _start_of(int(pid)) if pid.isdecimal() else None
        is_alive = now_there is not None and started in (now_there, None)
    return Sign(folder, name, host, int(pid) if pid.isdecimal() else 0, n_events, age, is_alive)


def _start_of(pid: int) -> str | None:
    """When a process of this host started (clock ticks since boot), None if there is none: numbers are used again."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if words[0] in "ZX" else words[19]  # killed, and its parent has not looked yet
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "unknown"


def _time_there(folder: Path) -> float:
    """The time by the clock of a folder's file system."""
    probe = folder / f".clock.{socket.gethostname()}.{os.getpid()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return datetime.now(UTC).timestamp()
    finally:
        probe.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Make sure that it is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
