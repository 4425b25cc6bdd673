"""A module from an installed package works like a built-in one, and moves nothing else."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import awkward as ak
import numpy as np
import pytest

import fastsim

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fastsim_plugin_example") is None,
    reason="the example plug-in is not installed (pip install -e tests/plugin_example)",
)
MODULE = '{ name = "angle", kind = "angle", level = "parametric", sigma_mrad = 1.0 }'


@pytest.fixture
def with_plugins(monkeypatch):
    monkeypatch.delenv("FASTSIM_DISABLE_PLUGINS")


def test_it_is_listed(with_plugins):
    out = subprocess.run(
        [sys.executable, "-m", "fastsim", "plugins", "--json"], check=True, capture_output=True, text=True
    )
    rows = {row["kind"]: row for row in json.loads(out.stdout)}
    assert rows["angle"]["package"] == "fastsim-plugin-example"
    assert rows["angle"]["makes"] == ["track.theta_example"]
    ours = {
        "calorimeter",
        "dedx",
        "electrons",
        "identification",
        "jets",
        "material",
        "met",
        "muon_id",
        "muons",
        "onnx",
        "photons",
        "pid",
        "preshower",
    }
    assert set(rows) == {"angle", *ours, "rich", "tof", "vertex"}


def test_it_can_be_switched_off(ttbar):
    with pytest.raises(fastsim.FastsimError, match="'angle' is not an installed module kind"):
        next(fastsim.simulate(ttbar, fastsim.load_card("alice3", sets=[f"modules=[{MODULE}]"])))


def test_it_runs_and_moves_nothing(with_plugins, ttbar):
    (block,) = fastsim.simulate(ttbar, fastsim.load_card("alice3", sets=[f"modules=[{MODULE}]"]), events=(0, 3))
    (plain,) = fastsim.simulate(ttbar, events=(0, 3))
    for name in set(plain.tracks.fields) - {"is_contributor"}:  # the vertex's, which is not in this card
        assert ak.array_equal(block.tracks[name], plain.tracks[name], equal_nan=True), name
    tracks = ak.flatten(block.tracks[block.tracks.is_reconstructed])
    pulls = (ak.to_numpy(tracks.theta_example) - np.arctan2(1, ak.to_numpy(tracks.tan_lambda))) / 1e-3
    assert abs(pulls.std() - 1) < 4.5 / np.sqrt(2 * len(pulls))


def test_its_options_are_checked_like_ours(with_plugins, ttbar, tmp_path):
    card = tmp_path / "card.toml"
    card.write_text(
        'extends = "alice3"\n[[modules]]\nname = "angle"\nkind = "angle"\nlevel = "parametric"\nsigma_mrd = 1.0\n'
    )
    with pytest.raises(
        fastsim.FastsimError,
        match=r"card.toml:6: modules\[0\].sigma_mrd: not a known key \(did you mean 'sigma_mrad'\?\)",
    ):
        next(fastsim.simulate(ttbar, card))
