"""Compiled kernels are kept by what their source says, in a place of ours, and without one they are still compiled."""

from __future__ import annotations

import os
import subprocess
import sys

import numba

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
