"""Worker processes: in order, errors come back, and a death is noticed at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from fastsim.errors import CardError, InputError
from fastsim.workers import WorkerError, map_in_order


def double(x):
    """Slow for even numbers, so that results are ready out of order."""
    time.sleep(0.02 * (x % 2 == 0))
    return 2 * x


def fail(x):
    if x == 3:
        raise InputError("is three", where="here", hint="use another")
    if x == 4:
        raise CardError(["one", "two"], hint="mend both")
    if x == 5:
        raise ZeroDivisionError("five")
    return x


def die(x):
    if x == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return bytes(5_000_000)  # larger than a pipe holds


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_order_is_kept(workers):
    assert list(map_in_order(double, iter(range(20)), workers)) == [(x, 2 * x) for x in range(20)]
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("first", "kind", "text"),
    [(3, InputError, "here: is three\nhint: use another"), (4, CardError, "one\ntwo\nhint: mend both")],
)
def test_our_errors_come_back_whole(workers, first, kind, text):
    with pytest.raises(kind) as error:
        list(map_in_order(fail, iter([0, 1, first, 2]), workers))
    assert str(error.value) == text
    assert multiprocessing.active_children() == []


def test_other_errors_bring_their_traceback():
    with pytest.raises(RuntimeError, match="ZeroDivisionError: five"):
        list(map_in_order(fail, iter([5]), 2))


def test_a_dead_worker_is_an_error_and_no_hang():
    with pytest.raises(WorkerError, match=r"a worker process died \(killed, or out of memory\)") as error:
        list(map_in_order(die, iter(range(10)), 2))
    assert error.value.exit_code == 75
    assert multiprocessing.active_children() == []


def test_unfinished_work_is_left_behind():
    """Closing the iterator (an error in the main process) ends the workers."""
    results = map_in_order(double, iter(range(1000)), 2)
    assert next(results) == (0, 0)
    results.close()
    assert multiprocessing.active_children() == []
