"""A small analysis gives the same numbers from every format, and the right ones: a K0S peak, a pt resolution, a jet spectrum."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

import fastsim
from tests.clients.analysis import READERS, jet_pts, k0s_masses, pt_residuals

CARD = """
extends = "alice3"
[[modules]]
name = "vertex"
kind = "vertex"
level = "fit"
[[modules]]
name = "jets"
kind = "jets"
level = "parametric"
radius = 0.4
pt_min = 5.0
"""
K0S_MASS = 0.497611  # GeV, PDG 2024


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    pytest.importorskip("fastjet")
    path = tmp_path_factory.mktemp("card") / "jets.toml"
    path.write_text(CARD)
    return lambda *sets: fastsim.load_card(path, sets=sets)


@pytest.fixture(scope="module")
def in_memory(loaded, ttbar):
    """The same events from `fastsim.simulate`, in float64: what all files are compared with."""
    return ak.concatenate(list(fastsim.simulate(ttbar, loaded(), events=(0, 40))))


@pytest.fixture(scope="module", params=READERS)
def events(request, loaded, ttbar, tmp_path_factory):
    name, read = READERS[request.param]
    if request.param.endswith("coffea"):
        pytest.importorskip("coffea")
    spelling = "path" if request.param == "delphes-coffea" else "dotted"
    card = loaded(
        f"output.format='{name}'", f"output.delphes_names='{spelling}'", "output.ao2d.truncate=false",
        "output.events_per_frame=15",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("analysis") / request.param
    fastsim.simulate_files([ttbar], card, path, batch_size=7)
    return read(path, card.detector.b_z)


def test_a_truth_matched_k0s_peak(events, in_memory):
    """Equal in all formats, and at the PDG's mass: the median within five standard errors, by the spread of the masses."""
    masses = k0s_masses(events)
    reference = k0s_masses(memory(in_memory))
    assert len(masses) == len(reference) > 30
    np.testing.assert_allclose(masses, reference, rtol=0, atol=2e-5)
    low, median, high = np.quantile(masses, [0.1587, 0.5, 0.8413])
    sigma = (high - low) / 2.0
    assert sigma < 0.01
    assert abs(median - K0S_MASS) < 5.0 * 1.253 * sigma / np.sqrt(len(masses))  # 1.253: of a median, sqrt(pi/2)


def test_the_pt_resolution(events, in_memory):
    """Residuals as in memory, and as wide as their covariances say."""
    residuals, true = pt_residuals(events)
    found = ak.flatten(in_memory.tracks[in_memory.tracks.is_reconstructed])
    np.testing.assert_allclose(residuals, found.pt / found.pt_true - 1.0, rtol=0, atol=1e-5)
    np.testing.assert_allclose(true, found.pt_true, rtol=1e-5)
    sigma = ak.to_numpy(np.sqrt(found.cov_packed[:, 14]) / abs(found.q_over_pt))
    pulls = residuals / sigma
    central = np.abs(pulls) < 4.0
    assert abs(np.std(pulls[central]) - 1.0) < 5.0 / np.sqrt(2.0 * central.sum()) + 0.01  # 1/pt is normal, pt nearly


def test_the_jet_spectrum(events, in_memory):
    """Those in memory; with AO2D, which keeps none, those that FastJet makes of its tracks."""
    np.testing.assert_allclose(jet_pts(events), ak.flatten(in_memory.jets.pt), rtol=1e-5)
    assert len(jet_pts(events)) > 100


def memory(events):
    from tests.clients.analysis import _own

    return _own(events)
