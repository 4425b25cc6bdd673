"""Muon identification and the preshower as modules: faults, tables and their files, decisions, columns, batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fastsim import columns as c
from fastsim.cli import app
from fastsim.detector import load_detector
from fastsim.devices.muon import MuonIdentification, bin_of, look_up
from fastsim.devices.muon_table import MuonTable, fault_of, muon_tables_of_root, read_muon_tables, write_muon_tables
from fastsim.devices.preshower import PreshowerTag
from fastsim.errors import CardError, InputError, LutError, PluginError
from fastsim.plugins import load_kind
from fastsim.rng import Streams
from tests.dedx_tracks import batch_of, column_of, detector

REAL = Path("/work/shared/data/mid/muonAccEffPID.root")
ABSORBER = '[[muon]]\nname = "mid"\nr = 200.0\nhalf_length = 400.0\niron_cm = 70.0\nefficiency = 0.9\np_min = 0.5\n'
PRESHOWER = """[[preshower]]
name = "pre"
eta_max = 1.75
p_min = 0.1
efficiency = "0.8 * (1 - exp(-1.6 * (p - 0.05)))"
mistag = "0.001"
"""


def module_of(found, kind="muon_id", **options):
    one = MuonIdentification if kind == "muon_id" else PreshowerTag
    return one.from_options(one.Options(name="m", kind=kind, level="parametric", **options), found)


def table(value=0.5, **changes):
    edges = {"eta": np.array([-1.0, 0.0, 1.0]), "p": np.array([1.0, 2.0, 5.0]), "z": np.array([-10.0, 10.0]),
             "multiplicity": np.array([0.0, 100.0, 1000.0])}  # fmt: skip
    return MuonTable(**(edges | {"probability": np.full((2, 2, 1, 2), value)} | changes))


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ('[[muon]]\nname = "m"\niron_cm = 70.0',
         "muon[0]: needs r and half_length (a barrel), or z, r_min, r_max (disks), and not both"),
        ('[[muon]]\nname = "m"\nr = 200.0\nhalf_length = 300.0', "muon[0]: needs a table, or iron_cm and the place of its front"),
        ('[[muon]]\nname = "m"\ntable = "t.npz"\niron_cm = 70.0', "muon[0].iron_cm: has no meaning with a table"),
        (ABSORBER.replace("0.9", "1.9"), "muon[0].efficiency: must be less than or equal to 1 (got 1.9, a number)"),
        (ABSORBER + PRESHOWER.replace('"pre"', '"mid"'),
         "preshower[0].name: 'mid' is taken: names select columns and random streams"),
        (PRESHOWER.replace("exp", "expo"), "preshower[0].efficiency: 'expo' is not a function"),
        (PRESHOWER.replace('"0.001"', '"mass"'), "preshower[0].mistag: 'mass' is not a variable (allowed: p, pt, eta, pi)"),
    ],
)  # fmt: skip
def test_devices_that_cannot_be(device, message):
    with pytest.raises(CardError) as error:
        detector(device)
    assert message in "\n".join(error.value.problems)


def test_the_kinds():
    assert load_kind("muon_id") is MuonIdentification
    assert load_kind("preshower") is PreshowerTag
    with pytest.raises(CardError, match=r"module 'm': the detector has no \[\[muon\]\]"):
        module_of(detector())
    with pytest.raises(CardError, match=r"module 'm': devices: no \[\[preshower\]\] called 'x' \(there are: pre\)"):
        module_of(detector(PRESHOWER), "preshower", devices=["x"])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (table(eta=np.array([0.0, 0.0, 1.0])), "the edges of eta do not increase"),
        (table(p=np.array([1.0, np.nan, 2.0])), "the edges of p do not increase"),
        (table(probability=np.zeros((2, 2, 1, 1))), "has (2, 2, 1, 1) probabilities for (2, 2, 1, 2) bins"),
        (table(1.1), "holds probabilities outside [0, 1]"),
        (table(np.nan), "holds probabilities outside [0, 1]"),
    ],
)
def test_tables_that_are_none(broken, message, tmp_path):
    assert fault_of(broken) == message
    write_muon_tables({"mu": broken}, tmp_path / "t.npz")
    with pytest.raises(LutError) as error:
        read_muon_tables(tmp_path / "t.npz")
    assert f"mu: {message}" in str(error.value)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(LutError, match="no such table"):
        read_muon_tables(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(LutError, match="not a table of muon identification"):
        read_muon_tables(tmp_path / "text.npz")
    write_muon_tables({"x": table()}, tmp_path / "x.npz")
    with pytest.raises(LutError, match="x: is no species"):
        read_muon_tables(tmp_path / "x.npz")
    whole = tmp_path / "whole.npz"
    write_muon_tables({"mu": table()}, whole)
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(LutError, match="not a table of muon identification"):
        read_muon_tables(tmp_path / "cut.npz")
    with pytest.raises(InputError, match="not a ROOT file of muon efficiencies"):
        muon_tables_of_root(tmp_path / "text.npz")


def test_a_root_file_without_histograms(tmp_path):
    import uproot

    with uproot.recreate(tmp_path / "f.root") as file:
        file["mAccEffMuonPID_muon"] = np.histogram([1.0])
    with pytest.raises(InputError, match="not a ROOT file of muon efficiencies"):
        muon_tables_of_root(tmp_path / "f.root")
    with uproot.recreate(tmp_path / "g.root") as file:
        file["other"] = np.histogram([1.0])
    with pytest.raises(InputError, match="mAccEffMuonPID_muon: is not there"):
        muon_tables_of_root(tmp_path / "g.root")


def test_bins_are_clamped():
    assert bin_of(np.array([0.0, 1.0, 2.0]), np.array([-5.0, 0.0, 0.99, 1.0, 2.0, 7.0])).tolist() == [0, 0, 0, 1, 1, 1]


def test_look_up():
    """The last bins in p, z and multiplicity hold what lies beyond; outside eta and below p nothing is measured."""
    values = np.arange(8.0).reshape(2, 2, 1, 2) / 10
    batch = batch_of(
        ["mu"] * 6 + ["el"], [1.5, 1.5, 3.0, 50.0, 0.9, 3.0, 3.0], eta=[-0.5, 0.5, 0.5, 0.5, 0.5, 1.2, 0.5]
    )
    from fastsim.devices.true_tracks import tracks_of

    tracks = tracks_of(batch, np.arange(7))
    eta = np.arcsinh(batch[c.RECONSTRUCTED[3]])
    found, hypotheses = look_up({"mu": table(probability=values)}, tracks, eta, np.zeros(7), np.full(7, 5e3))
    np.testing.assert_allclose(found, [0.1, 0.5, 0.7, 0.7, np.nan, np.nan, 0.0])
    np.testing.assert_allclose(hypotheses[[0, 1, 2, 3, 6], 1], [0.1, 0.5, 0.7, 0.7, 0.7])  # mu, whatever it is
    assert not np.delete(hypotheses, 1, axis=1).any()


def test_a_detector_with_a_table(tmp_path):
    """The path is relative to the detector file; the tracks' decisions follow the table."""
    write_muon_tables({"mu": table(0.8), "pi": table(0.1)}, tmp_path / "muon.npz")
    numbers = "half_length = 100, x_over_x0 = 0.001, sigma_rphi_um = 5.0, sigma_z_um = 5.0, efficiency = 1.0"
    rows = ", ".join(f'{{name = "L{r}", r = {r}, {numbers}}}' for r in (1, 5, 10, 20, 40))
    (tmp_path / "d.toml").write_text(
        f'schema_version = 1\nname = "d"\nsource = "t"\nb_z = 2.0\nlayers = [{rows}]\n[tracking]\nscattering = "no_log"\n'
        'min_hits = 3\nmax_sin_incidence = 0.9\nmin_radius = 5.0\n[[muon]]\nname = "mid"\ntable = "muon.npz"\np_min = 1.2\n'
    )
    module = module_of(load_detector(tmp_path / "d.toml"))
    n = 20_000
    batch = batch_of(["mu", "pi", "ka", "el"] * (n // 4), np.full(n, 3.0), eta=0.3)
    made = module.apply(batch, Streams(1))
    decision, probability = column_of(made, "mid_is_muon"), column_of(made, "mid_probability_true")
    for k, expected in enumerate([0.8, 0.1, 0.0, 0.0]):
        mine = np.arange(n) % 4 == k
        assert (probability[mine] == expected).all()
        assert abs(decision[mine].mean() - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / (n / 4))
    expected = np.log([[1e-6, 0.8, 0.1] + [1e-6] * 6, [1.0, 0.2, 0.9] + [1.0] * 6])
    np.testing.assert_allclose(column_of(made, "mid_log_likelihood"), expected[1 - decision.astype(int)], atol=1e-12)
    soft = module.apply(batch_of("mu", np.full(5, 1.1)), Streams(1))
    assert not column_of(soft, "mid_is_measured").any()
    assert not column_of(soft, "mid_is_muon").any()


def test_columns_of_an_absorber():
    module = module_of(detector(ABSORBER))
    batch = batch_of(["mu", "mu", "mu", "el"], [5.0, 0.3, 5.0, 5.0], eta=[0.0, 0.0, 3.0, 0.0])
    made = module.apply(batch, Streams(1))
    assert set(made.columns) == set(module.makes)
    for column, values in made.columns.items():
        assert (values.dtype, values.shape) == (np.dtype(column.dtype), (4, *column.shape)), column
    assert column_of(made, "mid_is_measured").tolist() == [True, False, False, True]
    probability = column_of(made, "mid_probability_true")
    assert probability[[0, 3]] == pytest.approx([0.9, 0.0])
    assert np.isnan(probability[[1, 2]]).all()
    likelihood = column_of(made, "mid_log_likelihood")
    assert np.isnan(likelihood[[1, 2]]).all()
    taken = column_of(made, "mid_is_muon")[[0, 3]]
    np.testing.assert_allclose(likelihood[[0, 3], 1], np.log(np.where(taken, 0.9, 0.1)))
    np.testing.assert_allclose(likelihood[[0, 3], 0], np.log(np.where(taken, 1e-6, 1.0)))
    assert all(len(v) == 0 for v in module.apply(batch.slice_events(0, 0), Streams(1)).columns.values())


@pytest.mark.parametrize("kind", ["muon_id", "preshower"])
def test_the_size_of_the_batch_changes_nothing(kind):
    module = module_of(detector(ABSORBER + PRESHOWER), kind)
    batch = batch_of(["mu", "pi", "el"] * 40, np.linspace(0.3, 5.0, 120), eta=np.linspace(-1.5, 1.5, 120), size=10)
    whole = module.apply(batch, Streams(1)).columns
    parts = [module.apply(batch.slice_events(k, k + 1), Streams(1)).columns for k in range(batch.n_events)]
    for column, values in whole.items():
        np.testing.assert_array_equal(values, np.concatenate([part[column] for part in parts]))


def test_preshower():
    """DelphesO2's formulas: 0.8 (1 - exp(-1.6 (p - 0.05))) for electrons, 0.001 for the others, within |eta| < 1.75."""
    module = module_of(detector(PRESHOWER), "preshower")
    made = module.apply(batch_of(["el", "pi", "el", "el"], [1.0, 1.0, 0.05, 1.0], eta=[0.0, 0.0, 0.0, 2.0]), Streams(1))
    probability = column_of(made, "pre_probability_true")
    assert probability[:2] == pytest.approx([0.8 * (1 - np.exp(-1.6 * 0.95)), 0.001])
    assert np.isnan(probability[2:]).all()
    tagged, likelihood = column_of(made, "pre_is_electron")[:2], column_of(made, "pre_log_likelihood")
    by_hand = np.tile([probability[0]] + [0.001] * 8, (2, 1))
    np.testing.assert_allclose(likelihood[:2], np.log(np.where(tagged[:, None], by_hand, 1 - by_hand)))
    assert np.isnan(likelihood[2:]).all()
    n = 20_000
    tagged = column_of(module.apply(batch_of("el", np.full(n, 1.0)), Streams(1)), "pre_is_electron")
    assert abs(tagged.mean() - probability[0]) < 4.5 * np.sqrt(probability[0] * (1 - probability[0]) / n)
    broken = module_of(detector(PRESHOWER.replace('"0.001"', '"sqrt(p - 10)"')), "preshower")
    with pytest.raises(PluginError, match=r"preshower 'pre': the formula 'sqrt\(p - 10\)' has no value at p = 1"):
        broken.apply(batch_of("pi", np.full(2, 1.0)), Streams(1))


@pytest.mark.skipif(not REAL.exists(), reason="the ROOT file is not here")
def test_the_real_table(tmp_path):
    """Imported by the command: bins by uproot's own axes, contents by ROOT's linear order of filling, species kept apart."""
    import uproot

    out = tmp_path / "muon.npz"
    result = CliRunner().invoke(app, ["detector", "import-muon", str(REAL), "--out", str(out)])
    assert result.exit_code == 0, result.output
    tables = read_muon_tables(out)
    assert sorted(tables) == ["ka", "mu", "pi", "pr"]
    with uproot.open(REAL) as file:
        for species, name in (("mu", "muon"), ("pi", "pion"), ("ka", "kaon"), ("pr", "proton")):
            histogram = file[f"mAccEffMuonPID_{name}"]
            for edges, axis in zip(tables[species][:4], histogram.member("fAxes"), strict=True):
                np.testing.assert_array_equal(edges, axis.edges())
            total = sum(
                float(np.sum(chunk.member("fContent"), dtype=np.float64)) for chunk in histogram.member("fBinContent")
            )
            assert tables[species].probability.sum() == pytest.approx(total, rel=1e-6)
            assert tables[species].probability.size == histogram.member("fFilledBins")  # all bins are there, none twice
    mu, pi = tables["mu"].probability, tables["pi"].probability
    assert mu[16, 10:, 5, 0].min() > 0.95  # muons above 2 GeV at mid-rapidity
    assert 0.002 < pi[16, 3, 5, 0] < pi[16, 10, 5, 0] < 0.02
    np.testing.assert_allclose(pi[:, 15, 5, 0], pi[::-1, 15, 5, 0], rtol=0.15)  # symmetric in eta
