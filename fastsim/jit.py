"""The only numba decorator in the project, so that every kernel is compiled under the same rules.

No ``fastmath``: it permits reordering, so the batch size could change results. ``error_model="numpy"``: a division by
zero gives inf or nan, as in numpy, and costs no branch. With ``NUMBA_DISABLE_JIT=1`` the same source runs as Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of numbers and arrays on its first call, and keep the machine code on disk."""
    return cast("Callable[P, R]", numba.njit(cache=True, nogil=True, error_model="numpy")(function))
