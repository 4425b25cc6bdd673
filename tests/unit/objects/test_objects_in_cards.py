"""The shipped cards' objects: they fit together, and their options are documented."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import awkward as ak
import pytest

import fastsim
from fastsim.objects.flavor import Flavor
from fastsim.objects.jets import Jets, Tag, TagEfficiency
from fastsim.objects.leptons import Electrons
from fastsim.objects.met import MissingMomentum
from fastsim.run import make_pipeline

REPOSITORY = Path(fastsim.__file__).parent.parent
OBJECTS = ["electrons", "jets", "met", "muons"]


@pytest.mark.parametrize("name", ["atlas_like", "cms_like", "cld", "idea"])
def test_cards_have_objects(name):
    pipeline = make_pipeline(fastsim.load_card(name))
    assert set(OBJECTS) <= {module.name for module in pipeline.modules}


def test_alice3_has_none():
    assert {module.name for module in make_pipeline(fastsim.load_card("alice3")).modules}.isdisjoint(OBJECTS)


@pytest.mark.slow
def test_objects_of_an_event(ttbar):
    """As the documents say: lists of records, the hardest first, with indices of tracks that exist."""
    events = next(fastsim.simulate(ttbar, "cms_like", events=(0, 4)))
    for table in ("electrons", "muons"):
        tracks = events.tracks[events[table].track_index]
        assert ak.all(tracks.is_reconstructed)
        assert ak.all(tracks.pt > 10)
        assert ak.all(tracks.pt[:, :-1] >= tracks.pt[:, 1:])
    assert ak.all(events.jets.pt[:, :-1] >= events.jets.pt[:, 1:])
    jets = ak.run_lengths(events.jet_constituents.jet_index)
    assert ak.to_list(jets) == ak.to_list(events.jets.n_charged)
    pt = events.tracks.pt[events.jet_constituents.track_index]
    px, py = (ak.sum(ak.unflatten(pt * turn, ak.flatten(jets), axis=1), axis=2) for turn in _turns(events))
    assert ak.all(abs(((px**2 + py**2) ** 0.5) / events.jets.pt - 1) < 1e-9)


def _turns(events):
    import numpy as np

    phi = events.tracks.phi[events.jet_constituents.track_index]
    return np.cos(phi), np.sin(phi)


@pytest.mark.slow
def test_stdout_is_for_results(ttbar, tmp_path):
    """FastJet's words go to stderr, once, also with workers."""
    command = [sys.executable, "-m", "fastsim", "run", ttbar, "--card", "cms_like", "--out", tmp_path / "a.root"]
    done = subprocess.run(
        [*command, "--events", "0:3", "--batch-size", "1", "--workers", "2"], capture_output=True, text=True, check=True
    )
    assert "FastJet" not in done.stdout
    assert done.stderr.count("arXiv:1111.6097") == 1


@pytest.mark.parametrize(
    "model",
    [Electrons.Options, Jets.Options, MissingMomentum.Options, Flavor, Tag, TagEfficiency],
    ids=lambda model: model.__qualname__,
)
def test_every_option_is_documented(model):
    text = (REPOSITORY / "docs" / "objects.md").read_text()
    for name in model.model_fields:
        assert re.search(rf"`[^`]*\b{name}\b[^`]*`", text), name
