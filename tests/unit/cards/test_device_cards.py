"""The shipped cards of devices: what they make, and that what they make fits in every format."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

import fastsim
from fastsim.run import make_pipeline, simulate_files

MADE = {
    "alice3_pid": ["tracker_dedx", "mid_is_muon", "rich_angle", "otof_beta", "pid_probability"],
    "alice_its2_tpc_pid": ["tpc_dedx", "tpc_n_hits", "tof_beta", "pid_probability"],
    "idea_pid": ["dch_n_clusters", "tof_beta", "tof_forward_beta", "ecal_energy", "pid_probability"],
    "cms_like_flow": ["muon_is_muon", "muon_forward_is_muon", "ecal_energy", "hcal_forward_energy"],
}


@pytest.mark.parametrize("name", MADE)
def test_what_cards_make(name):
    made = {column.name for column in make_pipeline(fastsim.load_card(name)).makes}
    assert made.issuperset(MADE[name])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ao2d", "nano", "delphes", "parquet", "rntuple"])
@pytest.mark.parametrize("name", ["alice3_pid", "cms_like_flow"])  # their tables are there, or quick
def test_cards_in_all_formats(ttbar, tmp_path, name, kind):
    card = fastsim.load_card(name, sets=[f'output.format="{kind}"'])
    path = tmp_path / ("out.parquet" if kind == "parquet" else "out.root")
    summary = simulate_files([ttbar], card, path, events=(0, 3))
    assert summary.n_events == 3
    assert path.stat().st_size > 10_000


@pytest.mark.slow
def test_jets_of_clusters_without_towers(ttbar, tmp_path):
    """Delphes' file names constituents of three kinds; a calorimeter need not have towers."""
    (tmp_path / "card.toml").write_text(
        'extends = "cms_like"\nschema_version = 1\n[output]\nformat = "delphes"\n'
        + "".join(
            f'[[modules]]\nname = "{name}"\nkind = "{name}"\nlevel = "{level}"\n{more}'
            for name, level, more in (
                ("vertex", "fit", ""),
                ("calorimeter", "parametric", ""),
                ("jets", "parametric", 'input = "energy_flow"\n'),
            )
        )
    )
    path = tmp_path / "out.root"
    simulate_files([ttbar], fastsim.load_card(tmp_path / "card.toml"), path, events=(0, 3))
    import uproot

    with uproot.open(path) as file:
        tree = file["Delphes"]
        assert "Jet.Tower" not in tree or set(ak.flatten(tree["Jet.Tower"].array(), axis=None).tolist()) <= {-1}
        assert len(tree["Jet.PT"].array()) == 3


@pytest.mark.slow
def test_flow_of_a_card(ttbar):
    """Half of the energy of a jet is not charged: jets of the flow are harder than those of tracks."""
    jets = [
        ak.concatenate(list(fastsim.simulate(ttbar, fastsim.load_card(name, sets=["modules.jets.pt_min=20"])))).jets
        for name in ("cms_like", "cms_like_flow")
    ]
    leading = [ak.to_numpy(ak.fill_none(ak.max(j.pt, axis=1), 0.0)) for j in jets]
    assert np.median(leading[1]) > 1.2 * np.median(leading[0])
    assert ak.sum(jets[1].n_neutral) > ak.sum(jets[1].n_charged) * 0.2
