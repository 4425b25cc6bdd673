"""`make bench` runs; nobody asserts what it measures."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def bench(monkeypatch, ttbar):
    spec = importlib.util.spec_from_file_location("bench", REPOSITORY / "benchmarks" / "bench.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "REPEAT", 1)
    monkeypatch.setattr(module, "SAMPLE", Path(ttbar))
    return module


def test_it_prints_figures_beside_targets(bench, capsys, monkeypatch):
    monkeypatch.setattr(bench, "LEAD", bench.SAMPLE)
    bench.job()
    bench.reading()
    bench.compressed()
    bench.start_up()
    text = capsys.readouterr().out
    assert "everything / pyhepmc's reading" in text
    assert "target: 1.2 ms/event" in text
    assert "target: 600" in text
    assert "zst: file to columns" in text
    assert "heavy packages loaded by it" in text


def test_it_prints_figures_of_devices(bench, capsys, monkeypatch):
    monkeypatch.setattr(bench, "LEAD", bench.SAMPLE)
    bench.devices()
    text = capsys.readouterr().out
    for name in (
        "tof",
        "rich",
        "dedx",
        "muon_id",
        "calorimeter_parametric",
        "pid",
        "all of them",
        "rich, photon by photon",
    ):
        assert re.search(rf"^  {name} +[0-9.]+ us/track", text, re.MULTILINE), name
    assert "target: 1.5" in text
    assert "target: 30" in text
