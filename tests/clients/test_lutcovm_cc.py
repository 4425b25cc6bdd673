"""A C++ program with DelphesO2's structs reads our export, finds the bins that we find, and the numbers that are in them."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import fastsim
from fastsim.kernels.lookup import lookup_1
from fastsim.luts import build_lut
from fastsim.luts.file import Grid
from fastsim.luts.lutcovm import export_lutcovm, import_lutcovm
from fastsim.luts.store import LutSet
from fastsim.species import NAMES, by_name

COMPILER = shutil.which("g++") or shutil.which("c++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    program = tmp_path_factory.mktemp("reader") / "read_lutcovm"
    source = Path(__file__).parent / "read_lutcovm.cc"
    subprocess.run([COMPILER, "-std=c++17", "-Wall", "-Werror", "-o", program, source], check=True, timeout=300)
    return program


def test_a_c_program_reads_what_we_export(reader, tmp_path):
    grid = Grid(n_pt=40, n_eta=16, n_dnch=5, r_edges=[0.0, 100.0])
    lut = build_lut(fastsim.load_detector("alice3_v2"), by_name("ka"), grid)
    path = tmp_path / "lutCovm.ka.dat"
    export_lutcovm(lut, path)
    again, _ = import_lutcovm(path)
    generator = np.random.default_rng(1)
    n = 3000
    nch, eta, pt = 10 ** generator.uniform(0, 4, n), generator.uniform(-5, 5, n), 10 ** generator.uniform(-2.5, 2.5, n)
    queries = np.stack([nch, np.zeros(n), eta, pt], axis=1).astype(np.float32)
    text = "\n".join(" ".join(f"{float(x):.9g}" for x in query) for query in queries)
    done = subprocess.run([reader, path], input=text, capture_output=True, text=True, check=True, timeout=300)
    head, bad, *lines = done.stdout.splitlines()
    assert head.split()[0] == "321"
    assert [float.fromhex(x) for x in head.split()[1:3]] == pytest.approx([0.493677, 2.0], rel=1e-7)
    assert head.split()[3::4] == ["5", "1", "16", "40"]
    assert head.split()[6::4] == ["1", "0", "0", "1"]
    assert bad == "0"
    table = LutSet((again,), ("",)).table(nearest=True)
    valid = 0
    for query, line in zip(queries.astype(float), lines, strict=True):
        nch, _, eta, pt, is_valid, *values = line.split()
        numbers = np.array([float.fromhex(x) for x in values])
        nch, eta, pt = int(nch), int(eta), int(pt)
        cell = np.empty(16)
        found = lookup_1(table, NAMES.index("ka"), 0.0, query[2], math.log(query[3]), math.log(query[0]), cell)
        assert found == bool(int(is_valid)) == again.is_valid[0, eta, pt]
        if not found:
            continue
        valid += 1
        assert cell[0] == numbers[0] == again.efficiencies["every_hit_right"][nch, 0, eta, pt]
        assert numbers[1] == again.efficiencies["no_wrong_pair"][nch, 0, eta, pt]
        variances = numbers[4 + np.array([0, 2, 5, 9, 14])]
        assert np.exp(2 * cell[1:6]) == pytest.approx(variances, rel=3e-6)
        rows, columns = np.tril_indices(5)
        matrix = np.zeros((5, 5))
        matrix[rows, columns] = matrix[columns, rows] = numbers[4:19]
        vectors, inverse = numbers[24:49].reshape(5, 5), numbers[49:].reshape(5, 5)
        assert vectors @ np.diag(numbers[19:24]) @ vectors.T == pytest.approx(matrix, abs=1e-6 * numbers[19])
        assert inverse @ vectors == pytest.approx(np.eye(5), abs=1e-6)
    assert valid > n / 3
