"""Pictures of devices: each has a row, decisions have no ranges, and cards without devices are refused."""

from __future__ import annotations

import numpy as np
import pytest

import fastsim
from fastsim.errors import CardError
from fastsim.pid.plot import Row, _columns_of, _draw_decision, _draw_measured, _rows, plot_pid
from fastsim.pid.sample import Sample
from fastsim.species import NAMES


def test_rows_of_a_card():
    """One for each device that a module of the card serves, in the order of the detector file."""
    rows = {row.device: row for row in _rows(fastsim.load_card("idea_pid"))}
    assert list(rows) == ["tof", "tof_forward", "dch"]
    assert _columns_of(rows["dch"]) == ["is_measured", "n_clusters", "n_sigma", "path_length"]
    assert rows["tof"].eta == (-0.5, 0.5)
    assert 1.0 < rows["tof_forward"].eta[0] < rows["tof_forward"].eta[1] < 2.7
    rows = {row.device: row for row in _rows(fastsim.load_card("alice3_pid"))}
    assert list(rows) == ["itof", "otof", "ftof", "rich", "rich_forward", "tracker", "mid"]
    assert (rows["tracker"].column, rows["tracker"].scale) == ("dedx", 1e6)
    assert _columns_of(rows["mid"]) == ["is_measured", "probability_true"]


def test_what_is_drawn():
    """Clusters are drawn per cm; of a decision the mean probability in bins of momentum."""
    from matplotlib.figure import Figure

    mu = NAMES.index("mu")
    columns = {
        "d_is_measured": np.array([True, True, False]), "d_n_clusters": np.array([100.0, 300.0, np.nan]),
        "d_path_length": np.array([10.0, 20.0, np.nan]), "d_probability_true": np.array([0.5, 0.9, np.nan]),
    }  # fmt: skip
    sample = Sample(np.array([1.0, 1.1, 5.0]), np.zeros(3), np.full(3, mu, dtype=np.int8), columns)
    left, right = Figure().subplots(1, 2)
    _draw_measured(left, sample, Row("d", "n_clusters", "", 1.0, (0, 1)))
    np.testing.assert_allclose(left.lines[1].get_ydata(), [10.0, 15.0])  # el, mu, ...
    assert left.get_yscale() == "log"
    left.clear()
    _draw_decision(left, right, sample, Row("d", "is_muon", "", 1.0, (0, 1)), np.array([0.5, 2.0, 8.0]))
    np.testing.assert_allclose(left.lines[1].get_ydata(), [0.7, np.nan])
    np.testing.assert_allclose(right.lines[1].get_ydata(), [0.7, np.nan])


def test_a_card_without_devices(tmp_path):
    with pytest.raises(CardError, match=r"alice3.toml: no module identifies particles"):
        plot_pid(fastsim.load_card("alice3"), tmp_path / "pid.png")


@pytest.mark.slow
def test_a_picture(tmp_path):
    path = tmp_path / "pid.png"
    assert plot_pid(fastsim.load_card("cms_like_flow"), path, n_events=2) == {}
    assert path.read_bytes().startswith(b"\x89PNG")
