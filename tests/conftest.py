"""Settings of all tests: our own modules only, caches of our own, and the shipped samples."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
os.environ["FASTSIM_DISABLE_PLUGINS"] = "1"
os.environ.setdefault("FASTSIM_CACHE_DIR", str(REPOSITORY / ".cache"))


@pytest.fixture(scope="session")
def ttbar() -> str:
    """40 pp -> ttbar events at 13 TeV, cut from ../shared/data (Pythia 8, HepMC3)."""
    return str(REPOSITORY / "tests" / "data" / "pp_ttbar_40.hepmc.zst")


@pytest.fixture(scope="session")
def lead() -> str:
    """Two peripheral Pb-Pb events at 5.5 TeV, cut from ../shared/data (Pythia 8 Angantyr, HepMC3)."""
    return str(REPOSITORY / "tests" / "data" / "PbPb_2.hepmc.zst")


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A failure is printed at once: of a run that is stopped before its summary, this is all that one would read."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\n{report.outcome.upper()} {report.nodeid} ({report.when})\n{report.longreprtext}", flush=True)
