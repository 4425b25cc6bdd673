"""The only numba decorator in the project, so that every kernel is compiled under the same rules.

No ``fastmath``: it permits reordering, so the batch size could change results. ``error_model="numpy"``: a division by
zero gives inf or nan, as in numpy, and costs no branch. With ``NUMBA_DISABLE_JIT=1`` the same source runs as Python.

Machine code is kept in the user's cache, in a folder of this very source: numba itself notices an edit of a kernel's own
file only, not of those it calls. ``NUMBA_CACHE_DIR`` overrides the folder.
"""

from __future__ import annotations

import logging
import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import numba

from fastsim import resources

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger(__name__)


@cache
def kernel_cache() -> Path:
    """Where compiled kernels are kept: in a folder of this very source, or a passing one if that cannot be written."""
    if numba.config.CACHE_DIR:
        return Path(numba.config.CACHE_DIR)
    root = Path(__file__).resolve().parent
    state = sha256()
    for source in sorted(root.rglob("*.py")):
        if source.parent.name != "cli":
            state.update(f"{source.relative_to(root)}\n".encode() + source.read_bytes())
    folder = resources.cache_dir() / "numba" / state.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("%s: %s, so kernels are compiled for this process only", folder, error.strerror)
        return Path(tempfile.mkdtemp(prefix="fastsim-kernels-"))
    return folder


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of numbers and arrays on its first call, and keep the machine code on disk."""
    others = numba.config.CACHE_DIR  # numba has one setting for all packages: ours is for our kernels only
    numba.config.CACHE_DIR = str(kernel_cache())
    try:
        compiled = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    finally:
        numba.config.CACHE_DIR = others
    if not numba.config.DISABLE_JIT:
        compiled.get_call_template = _for_any_number(compiled.get_call_template)
    return cast("Callable[P, R]", compiled)


def _for_any_number(get_call_template: Callable[..., Any]) -> Callable[..., Any]:
    """Numba compiles a function anew for each constant that another one calls it with; ours are compiled once for all."""

    def get(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        return get_call_template(
            tuple(numba.types.unliteral(kind) for kind in args),
            {name: numba.types.unliteral(kind) for name, kind in kws.items()},
        )

    return get
