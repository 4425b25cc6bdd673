"""One small file of every format that holds TTrees, for programs that are not ours to read."""

from __future__ import annotations

import pytest

import fastsim
from tests import output_files
from tests.flow_cards import flow_card


@pytest.fixture(scope="session", params=output_files.TTREE_FORMATS)
def written(request, ttbar, tmp_path_factory):
    """A file of three events (two data frames in AO2D), with what calorimeters and objects there can be."""
    path = tmp_path_factory.mktemp("clients") / f"{request.param}.root"
    card = flow_card(path.parent, f"output.format={request.param}", "output.events_per_frame=2")
    fastsim.simulate_files([ttbar], card, path, events=(0, 3))
    return path
