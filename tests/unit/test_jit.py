"""Compiled kernels are kept by what their source says, in a place of ours, and without one they are still compiled."""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numba
import numpy as np
import pytest

from fastsim import jit
from fastsim.jit import kernel_cache

PROGRAM = "import fastsim.jit, numba; print(fastsim.jit.kernel_cache()); print(repr(numba.config.CACHE_DIR))"


def _run(**environment):
    clean = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"} | environment
    return subprocess.run([sys.executable, "-c", PROGRAM], env=clean, capture_output=True, text=True, check=True)


def test_cache_is_the_users_and_only_ours(tmp_path):
    """Other packages' kernels stay where numba puts them."""
    folder, others = _run(FASTSIM_CACHE_DIR=str(tmp_path)).stdout.split()
    assert folder.startswith(str(tmp_path / "numba"))
    assert others == "''"


def test_numba_s_own_setting_wins(tmp_path):
    folder, _ = _run(NUMBA_CACHE_DIR=str(tmp_path / "x")).stdout.split()
    assert folder == str(tmp_path / "x")


def test_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = _run(FASTSIM_CACHE_DIR=str(tmp_path / "file"))
    assert "fastsim-kernels-" in done.stdout
    assert "kernels are compiled for this process only" in done.stderr


def test_tests_use_their_own_cache():
    assert kernel_cache().is_dir() or numba.config.DISABLE_JIT


compiled_only = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")

FEW = """
from fastsim.jit import kernel

SCALE = 3.0

@kernel
def inner_1(x):
    return SCALE * x

@kernel
def outer_1(x):
    return inner_1(x) + 1.0

@kernel
def broken_1(x):
    return inner_1(x) + undefined

@kernel
def sum_1(pair):
    return pair.x + pair.y

def adder(n):
    @kernel
    def add_1(x):
        return x + n
    return add_1
"""


@pytest.fixture
def kernels(tmp_path, monkeypatch, caplog):
    """Load the kernels of a plug-in's file as a process does that has just started."""
    monkeypatch.setattr(jit, "kernel_cache", lambda: tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    (tmp_path / "few.py").write_text(FEW)

    def load(path=tmp_path / "few.py"):
        monkeypatch.setattr(jit, "_turn", jit._Turn())
        caplog.set_level("DEBUG", "fastsim.jit")
        caplog.clear()
        spec = importlib.util.spec_from_file_location("few", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "few", module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def compiled(caplog):
    """Names of the kernels compiled since the last load."""
    return lambda: [
        r.getMessage().split()[1].split("(")[0] for r in caplog.records if r.getMessage().startswith("compile")
    ]


@compiled_only
def test_one_file_for_each_form(kernels, compiled, tmp_path):
    few = kernels()
    assert few.outer_1(2.0) == 7.0
    assert few.outer_1(np.float32(2.0)) == 7.0
    assert compiled() == ["outer_1", "inner_1"] * 2
    assert (
        sorted(path.name.split("-")[0] for path in (tmp_path / "cache").iterdir()) == ["inner_1"] * 2 + ["outer_1"] * 2
    )
    again = kernels()
    assert again.outer_1(2.0) == 7.0
    assert again.inner_1(2.0) == 6.0
    assert compiled() == []


@compiled_only
def test_kernels_found_may_be_called_by_new_ones(kernels, compiled):
    kernels().inner_1(1.0)
    assert kernels().outer_1(2.0) == 7.0
    assert compiled() == ["outer_1"]


@compiled_only
def test_an_edit_is_noticed_but_not_a_move(kernels, compiled, tmp_path):
    kernels().outer_1(2.0)
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text(FEW)
    assert kernels(elsewhere).outer_1(2.0) == 7.0
    assert compiled() == []
    elsewhere.write_text(FEW.replace("SCALE = 3.0", "SCALE = 40.0"))
    assert kernels(elsewhere).outer_1(2.0) == 81.0
    assert compiled() == ["outer_1", "inner_1"]


@compiled_only
def test_closures_of_one_place(kernels, compiled):
    for _ in range(2):
        few = kernels()
        assert [few.adder(n)(1.0) for n in (1.0, 2.0)] == [2.0, 3.0]
    assert compiled() == []


def _signed(body):
    return sha256(body).digest() + body


DAMAGES = {
    "empty": lambda content: content[:0],
    "shorter than its checksum": lambda content: content[:20],
    "one byte short": lambda content: content[:-1],
    "zeros at the end": lambda content: content[:2000] + bytes(len(content) - 2000),
    "no pickle": lambda _: _signed(b"no pickle"),
    "of another form": lambda _: _signed(pickle.dumps(("of", "another", "form"))),
}


@compiled_only
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files(kernels, compiled, caplog, tmp_path, damage):
    kernels().inner_1(1.0)
    (path,) = (tmp_path / "cache").iterdir()
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert kernels().inner_1(2.0) == 6.0
    assert compiled() == ["inner_1"]
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told.startswith(f"{path}: ")
    assert told.endswith(", so this kernel is compiled again")
    assert kernels().inner_1(2.0) == 6.0
    assert compiled() == []


@compiled_only
def test_full_disk(kernels, compiled, caplog, tmp_path):
    """No file may get longer than 1000 bytes. The kernels run all the same, nothing is left, and it is told once."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    few = kernels()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert few.outer_1(2.0) == 7.0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [f"{tmp_path / 'cache'}: File too large, so kernels are compiled for this process only"]
    assert list((tmp_path / "cache").iterdir()) == []
    assert jit._turn.held is None


@compiled_only
@pytest.mark.skipif(sys.platform != "linux", reason="a folder that nobody can write to, not even root")
def test_folder_that_is_there_but_cannot_be_written(kernels, monkeypatch, caplog):
    monkeypatch.setattr(jit, "kernel_cache", lambda: Path("/proc"))
    assert kernels().outer_1(2.0) == 7.0
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "/proc: No such file or directory, so kernels are compiled for this process only"
    ]


@compiled_only
def test_without_a_source_nothing_is_kept(kernels, caplog, tmp_path):
    scope = {"__name__": "nowhere"}
    kernels()
    exec(FEW, scope)  # noqa: S102
    assert scope["outer_1"](2.0) == 7.0
    assert "outer_1: cannot be kept, so each process compiles it" in caplog.messages
    assert list((tmp_path / "cache").iterdir()) == []


@compiled_only
def test_types_of_one_name(kernels, compiled, tmp_path):
    """Two classes that look the same to the name of a file are not taken for each other."""
    one, other = (namedtuple("Pair", "x y", module="few") for _ in range(2))  # noqa: PYI024
    few = kernels()
    few.Pair = one
    assert few.sum_1(one(1.0, 2.0)) == 3.0
    again = kernels()
    again.Pair = one
    assert again.sum_1(other(1.0, 2.0)) == 3.0
    assert compiled() == ["sum_1"]
    assert len(list((tmp_path / "cache").iterdir())) == 1


@compiled_only
def test_what_cannot_be_compiled_ends_the_turn(kernels):
    few = kernels()
    for _ in range(2):
        with pytest.raises(numba.TypingError, match="undefined"):
            few.broken_1(1.0)
    assert jit._turn.held is None
    assert few.outer_1(1.0) == 4.0


@compiled_only
def test_threads(kernels, compiled):
    few = kernels()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: (few.outer_1, few.inner_1)[i % 2](float(i)), range(8)))
    assert answers == [1.0, 3.0, 7.0, 9.0, 13.0, 15.0, 19.0, 21.0]
    assert sorted(compiled()) == ["inner_1", "outer_1"]


@compiled_only
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each process compiles for itself")
def test_patience_ends(kernels, monkeypatch, caplog, compiled):
    """With one that has the turn and does nothing, as a suspended job; it is told once, and costs the time once."""
    few = kernels()
    sleeper = jit._Turn()
    assert sleeper._take()
    monkeypatch.setattr(jit, "PATIENCE", 0.3)
    begin = time.monotonic()
    try:
        assert few.outer_1(1.0) == 4.0
        assert few.adder(1.0)(1.0) == 2.0
    finally:
        sleeper.end()
    assert time.monotonic() - begin >= 0.3
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "kernels: waited for another process for 0.3 s, so they are compiled here too"
    ]
    assert kernels().outer_1(1.0) == 4.0
    assert compiled() == []


@compiled_only
def test_without_sockets(kernels, monkeypatch, caplog):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    few = kernels()
    monkeypatch.setattr("socket.socket", refuse)
    monkeypatch.setattr(jit._turn, "forgone", False)
    assert few.outer_1(1.0) == 4.0
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "kernels: Operation not permitted, so each process compiles its own"
    ]


def test_nothing_changes_without_the_jit(tmp_path):
    (tmp_path / "few.py").write_text(FEW + "print(type(outer_1).__name__, outer_1(2.0))")
    env = os.environ | {"NUMBA_DISABLE_JIT": "1", "FASTSIM_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, tmp_path / "few.py"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "function 7.0\n"
    assert not (tmp_path / "cache").exists()
