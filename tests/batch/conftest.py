"""A real Slurm, where it is installed (`.ci/slurm` does that in CI); `fastsim` in this process; batches for tests of faults."""

from __future__ import annotations

from functools import partial

import pytest

from tests.batch import fault_batches, slurm_cluster
from tests.commands import run_fastsim


@pytest.fixture
def fastsim(capsys):
    """Call as ``fastsim("batch", "status", path)``; gives exit code, stdout and stderr."""
    return partial(run_fastsim, capsys)


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """The module kind "fault" is installed, here and in processes that are started here."""
    with pytest.MonkeyPatch.context() as patch:
        fault_batches.with_module(patch, tmp_path_factory.mktemp("installed"))
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory, faults):
    """See fault_batches.World."""
    return fault_batches.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def no_faults_left(faults):
    """What a test asked the module kind "fault" for is forgotten behind it."""
    yield
    fault_batches.forget_all()


@pytest.fixture(scope="session")
def slurm():
    """A running cluster of one node with two CPUs, one for all tests of this process."""
    if lacks := slurm_cluster.missing():
        pytest.skip(f"no Slurm here, missing: {', '.join(lacks)}")
    cluster = slurm_cluster.SlurmCluster()
    try:
        cluster.start()
    except RuntimeError as error:
        pytest.skip(f"Slurm did not start: {error}")
    yield cluster
    cluster.stop()
