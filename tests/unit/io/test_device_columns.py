"""What devices measure arrives in every format, mask and missing values included, and does not depend on how a run is cut."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import uproot

import fastsim
from fastsim.io.check import check
from fastsim.io.inspect import digest
from fastsim.species import NAMES

EVENTS = (0, 4)
SCALARS = ("otof_time", "rich_angle", "pid_n_devices")
KA = NAMES.index("ka")


def card(*sets):
    return fastsim.load_card("alice3_pid", sets=sets)


@pytest.fixture(scope="module")
def tracks(ttbar):
    """The reconstructed tracks in memory."""
    events = ak.concatenate(list(fastsim.simulate(ttbar, card(), events=EVENTS)))
    return ak.flatten(events.tracks[events.tracks.is_reconstructed])


def written(path, name):
    """A column of tracks as a format has it, flat; `name` by our names."""
    if path.suffix == ".parquet":
        events = ak.from_parquet(path)
        return ak.to_numpy(ak.flatten(events.tracks[events.tracks.is_reconstructed])[name])
    with uproot.open(path) as file:
        if "Events" in file:
            return ak.to_numpy(ak.flatten(file["Events"][f"Track_{name}"].array()))
        if "Delphes" in file:
            return ak.to_numpy(ak.flatten(file["Delphes"][f"Track.{name}"].array()))
        return file["DF_0/O2fastsimpid"]["f" + "".join(word.capitalize() for word in name.split("_"))].array(
            library="np"
        )


@pytest.mark.parametrize(
    ("kind", "suffix"), [("ao2d", "root"), ("nano", "root"), ("delphes", "root"), ("parquet", "parquet")]
)
def test_columns_of_devices(ttbar, tracks, tmp_path, kind, suffix):
    path = tmp_path / f"out.{suffix}"
    fastsim.simulate_files([ttbar], card(f"output.format={kind}"), path, events=EVENTS)
    assert check(path).n_faults == 0
    mask = ak.to_numpy(tracks.otof_is_measured)
    assert 0 < mask.sum() < len(mask)
    np.testing.assert_array_equal(written(path, "otof_is_measured").astype(bool), mask)
    for name in SCALARS:
        np.testing.assert_array_equal(written(path, name), ak.to_numpy(tracks[name]).astype(np.float32))
    scores = written(path, "otof_n_sigma")[:, KA] if kind == "parquet" else written(path, "otof_n_sigma_ka")
    np.testing.assert_array_equal(scores, ak.to_numpy(tracks.otof_n_sigma)[:, KA].astype(np.float32))
    np.testing.assert_array_equal(np.isnan(scores), ~mask)


def test_cut_of_a_run_does_not_matter(ttbar, tmp_path):
    """Batches of one event, two processes, the detailed rings too."""
    rings = 'modules=[{name="vertex",kind="vertex",level="fit"},{name="tof",kind="tof",level="parametric"},'
    rings += '{name="rich",kind="rich",level="detailed"},{name="ecal",kind="calorimeter",level="parametric"}]'
    for number, sets in enumerate(((), (rings,))):
        digests = set()
        for k, options in enumerate(({}, {"batch_size": 1}, {"batch_size": 3, "workers": 2})):
            path = tmp_path / f"{number}{k}.parquet"
            fastsim.simulate_files([ttbar], card("output.format=parquet", *sets), path, events=EVENTS, **options)
            digests.add(digest(path))
        assert len(digests) == 1


def test_names_of_alice(ttbar, tracks, tmp_path):
    """UPGRADETOF, UPGRADETOFEXPT, UPGRADERICH and UPGRADERICHSIG in ps and cm, with the tasks' missing values."""
    fastsim.simulate_files([ttbar], card(), tmp_path / "out.root", events=EVENTS)
    with uproot.open(tmp_path / "out.root") as file:
        found = {
            name: file[f"DF_0/O2upgrade{name}"].arrays(library="np") for name in ("tof", "tofexpt", "rich", "richsig")
        }
    assert {name: len(values) for name, values in found.items()} == {"tof": 24, "tofexpt": 18, "rich": 9, "richsig": 11}
    mask = ak.to_numpy(tracks.otof_is_measured)
    start, time = (ak.to_numpy(tracks[name]) for name in ("tof_event_time", "otof_time"))
    scores = ak.to_numpy(tracks.otof_n_sigma)[:, KA]
    np.testing.assert_array_equal(found["tof"]["fNSigmaKaonOuterTOF"], np.where(mask, scores, -100).astype(np.float32))
    expected = np.where(mask, 1e3 * (time - start), -999).astype(np.float32)
    np.testing.assert_array_equal(found["tof"]["fOuterTOFTrackTimeReco"], expected)
    expected = np.where(mask, ak.to_numpy(tracks.otof_length), -100).astype(np.float32)
    np.testing.assert_array_equal(found["tof"]["fOuterTOFTrackLengthReco"], expected)
    # a kaon's time from its momentum and length, by hand; ps
    p = ak.to_numpy(tracks.pt * np.cosh(tracks.eta))[mask]
    by_hand = ak.to_numpy(tracks.otof_length)[mask] / 0.0299792458 * np.sqrt(1 + (0.493677 / p) ** 2)
    np.testing.assert_allclose(found["tofexpt"]["fOuterTOFExpectedTimeKa"][mask], by_hand, rtol=1e-6)
    ring = ak.to_numpy(tracks.rich_has_ring)
    np.testing.assert_array_equal(found["richsig"]["fHasSig"].astype(bool), ring)
    assert (found["rich"]["fNSigmaPionRich"][~ring] == -1000).all()
    above = found["richsig"]["fHasSigKa"].astype(bool)
    inside = ak.to_numpy(tracks.rich_is_measured)
    p = ak.to_numpy(tracks.pt * np.cosh(tracks.eta))
    np.testing.assert_array_equal(above, inside & (p > 0.493677 / np.sqrt(1.03**2 - 1)))
