"""One small file of every format that holds TTrees, for programs that are not ours to read."""

from __future__ import annotations

import pytest

from tests import output_files


@pytest.fixture(scope="session", params=output_files.TTREE_FORMATS)
def written(request, ttbar, tmp_path_factory):
    """A file of three events (two data frames in AO2D)."""
    path = tmp_path_factory.mktemp("clients") / f"{request.param}.root"
    output_files.write(request.param, ttbar, path, "output.events_per_frame=2", events=(0, 3))
    return path
