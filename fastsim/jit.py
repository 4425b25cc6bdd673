"""The only numba decorator in the project, so that every kernel is compiled under the same rules.

No ``fastmath``: it permits reordering, so the batch size could change results. ``error_model="numpy"``: a division by
zero gives inf or nan, as in numpy, and costs no branch. With ``NUMBA_DISABLE_JIT=1`` the same source runs as Python.

Machine code is kept in the user's cache, in a folder of this very source: an edit of a kernel changes those that call it.
``NUMBA_CACHE_DIR`` overrides the folder; there, an edit of a kernel's own file is noticed, no other.

A hundred jobs may start at once, on many nodes. Numba's own files (0.61 to 0.68, numba/core/caching.py) are not made for
that: they number the machine code of a kernel and say in an index which is whose, so two nodes of different processors that
read the same index give out the same number, and one runs the code of the other. So we keep one file for each kernel, types
of arguments and processor: named by all that it depends on, written as a whole, checked when it is read. What is missing is
compiled by one process of a node, while the others wait for its file.
"""

from __future__ import annotations

import errno
import linecache
import logging
import pickle
import socket
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import numba
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from fastsim import resources

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger(__name__)

PATIENCE = 300.0  # s; all kernels of a run take 15 s on one core, but a process that compiles may have been suspended
PAUSES = 0.01, 0.1  # s; the first and the longest between two looks


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of numbers and arrays on its first call, and keep the machine code on disk."""
    compiled = numba.njit(nogil=True, error_model="numpy")(function)
    if not numba.config.DISABLE_JIT:
        compiled.get_call_template = _for_any_number(compiled.get_call_template)
        files = _KernelFiles(function, compiled.targetctx)
        # private to numba: who is asked for a compiled form first, and, if there is none, second
        compiled._cache, compiler = files, compiled._compiler  # noqa: SLF001
        compiler.compile = _once_per_node(compiler.compile, files)
    return cast("Callable[P, R]", compiled)


def _for_any_number(get_call_template: Callable[..., Any]) -> Callable[..., Any]:
    """Numba compiles a function anew for each constant that another one calls it with; ours are compiled once for all."""

    def get(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        return get_call_template(
            tuple(numba.types.unliteral(kind) for kind in args),
            {name: numba.types.unliteral(kind) for name, kind in kws.items()},
        )

    return get


@cache
def kernel_cache() -> Path:
    """Where compiled kernels are kept: in a folder of this very source, or a passing one if that cannot be made."""
    folder = Path(numba.config.CACHE_DIR) if numba.config.CACHE_DIR else _folder_of_this_source()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("%s: %s, so kernels are compiled for this process only", folder, error.strerror)
        return Path(tempfile.mkdtemp(prefix="fastsim-kernels-"))
    return folder


def _folder_of_this_source() -> Path:
    root = Path(__file__).resolve().parent
    state = sha256()
    for source in sorted(root.rglob("*.py")):
        if source.parent.name != "cli":
            state.update(f"{source.relative_to(root)}\n".encode() + source.read_bytes())
    return resources.cache_dir() / "numba" / state.hexdigest()[:16]


class _KernelFiles:
    """The compiled forms of one kernel on disk: what numba's dispatcher wants as its cache."""

    def __init__(self, function: Any, context: Any) -> None:
        self.function = function
        self.context = context
        self.cache_path = str(kernel_cache())  # numba shows it in `stats`
        self.source = _source_of(function)
        self.damaged: set[Path] = set()  # told once: who waits looks often

    def path(self, args: tuple[Any, ...], return_type: Any) -> Path:
        """Named by all that the machine code depends on, but not by where the source is: a cache may travel."""
        made_by = numba.__version__, sys.implementation.cache_tag, self.context.codegen().magic_tuple()  # the processor
        name = sha256(repr((made_by, self.source, args, return_type)).encode()).hexdigest()[:32]
        return Path(self.cache_path, f"{self.function.__name__.strip('<>')}-{name}.kernel")

    def load(self, args: tuple[Any, ...], return_type: Any) -> Any:
        """Give the compiled form for these types, or None; a damaged file counts as none."""
        path = self.path(args, return_type)
        try:
            kept = memoryview(path.read_bytes())
        except OSError:
            return None
        try:
            if sha256(kept[32:]).digest() != kept[:32]:
                raise ValueError("damaged")  # noqa: TRY301
            found = CompileResult._rebuild(self.context, *pickle.loads(kept[32:]))  # noqa: S301, SLF001  (as numba does)
        except Exception as error:  # noqa: BLE001  (unpickling may raise anything)
            if path not in self.damaged:
                log.warning("%s: %s, so this kernel is compiled again", path, error)
            self.damaged.add(path)
            return None
        return found if tuple(found.signature.args) == args else None  # classes of one name and different modules

    def save(self, args: tuple[Any, ...], return_type: Any, compiled: Any) -> None:
        """Put it in place as a whole, or say why not."""
        if not self.source or compiled.library.has_dynamic_globals:  # addresses of this process, or large arrays
            log.info("%s: cannot be kept, so each process compiles it", self.function.__qualname__)
            return
        path = self.path(args, return_type)
        content = dumps(compiled._reduce())  # noqa: SLF001
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        try:
            temporary.write_bytes(sha256(content).digest() + content)
            temporary.replace(path)
        except OSError as error:
            _turn.forgo(f"{path.parent}: {error.strerror}, so kernels are compiled for this process only")
        finally:
            with suppress(OSError):
                temporary.unlink()

    def load_overload(self, types: Any, context: Any) -> Any:
        """Numba asks this before it compiles."""
        context.refresh()  # as numba's own cache does, for types from packages loaded since
        return self.load(*numba.core.sigutils.normalize_signature(types))

    def save_overload(self, types: Any, compiled: Any) -> None:
        """Numba asks this after it compiled, when it has been done already."""


def _source_of(function: Any) -> str:
    """The place of a kernel in its file, and what the file says; empty if nobody can tell."""
    code = function.__code__
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename))  # knows the cells of notebooks too
    closure = dumps([cell.cell_contents for cell in function.__closure__]) if function.__closure__ else b""
    made_of = function.__module__, function.__qualname__, code.co_firstlineno, text, closure
    return sha256(repr(made_of).encode()).hexdigest() if text else ""


class _Turn:
    """Who compiles on this node: the process that has bound a name in Linux's abstract namespace of sockets.

    The system frees the name of a process that ends in whatever way. Unlike a lock on a file, it needs no folder that the jobs
    of a node share but those of other nodes do not: schedulers give each job its own TMPDIR, or its own /tmp (Slurm's
    job_container/tmpfs, HTCondor's MOUNT_UNDER_SCRATCH), and network file systems differ in what locks they keep.
    Elsewhere than on Linux each process compiles for itself. Numba's own lock keeps the threads of a process apart here.
    """

    def __init__(self) -> None:
        self.name: bytes | None = None
        self.held: socket.socket | None = None
        self.forgone = sys.platform != "linux"

    def wait(self, look: Callable[[], Any]) -> Any:
        """Wait until `look` gives something, which is returned, or it is our turn to make it."""
        start = time.monotonic()
        pause, longest = PAUSES
        while not (self.forgone or self._take()):
            if pause == PAUSES[0]:
                log.debug("wait for another process to compile")
            time.sleep(pause)
            pause = min(1.5 * pause, longest)
            found = look()
            if found is not None:
                return found
            if time.monotonic() - start > PATIENCE:
                self.forgo(f"kernels: waited for another process for {PATIENCE:g} s, so they are compiled here too")
        return look()

    def _take(self) -> bool:
        place = None
        try:
            if self.name is None:
                folder = kernel_cache().stat()  # jobs may know it by different paths
                self.name = f"\0fastsim-kernels-{folder.st_dev}-{folder.st_ino}".encode()
            place = socket.socket(socket.AF_UNIX)
            place.bind(self.name)
        except OSError as error:
            if place is not None:
                place.close()
            if error.errno != errno.EADDRINUSE:
                self.forgo(f"kernels: {error.strerror}, so each process compiles its own")
            return False
        self.held = place
        return True

    def end(self) -> None:
        """Let the next one."""
        if self.held is not None:
            self.held.close()
            self.held = None

    def forgo(self, why: str) -> None:
        """Wait no more in this process, and let nobody wait for it."""
        if not self.forgone:
            log.warning(why)
        self.forgone = True
        self.end()


_turn = _Turn()


def _once_per_node(compile_here: Callable[..., Any], files: _KernelFiles) -> Callable[..., Any]:
    """What numba calls for a form of a kernel that was not found: waits for another process's, or makes it and keeps it."""

    def kept(args: tuple[Any, ...], return_type: Any) -> Any:
        found = files.load(args, return_type)
        if found is not None:  # numba thinks that it compiles, where this has been done
            files.context.insert_user_function(found.entry_point, found.fndesc, [found.library])
        return found

    def make(args: tuple[Any, ...], return_type: Any) -> Any:
        log.debug("compile %s%s", files.function.__qualname__, args)
        made = compile_here(args, return_type)
        files.save(args, return_type, made)
        return made

    def compile_once(args: tuple[Any, ...], return_type: Any) -> Any:
        if _turn.held is not None or not files.source:  # a kernel that the one being compiled calls, or not for others
            return make(args, return_type)
        try:
            found = _turn.wait(lambda: kept(args, return_type))
            return make(args, return_type) if found is None else found
        finally:
            _turn.end()

    return compile_once
