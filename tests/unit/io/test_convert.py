"""`fastsim convert`: the same columns in every format, what cannot be converted, and what the new file says of itself."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

import fastsim
from fastsim.errors import CardError, InputError, UsageError
from fastsim.io import columnar, inspect, parquet, rntuple
from fastsim.io.convert import convert_file
from fastsim.io.inspect import file_format
from fastsim.io.output import FORMATS
from tests.commands import run_fastsim

READERS = {"parquet": parquet, "rntuple": rntuple}


@pytest.fixture(scope="module")
def files(ttbar, tmp_path_factory):
    """Four events in every format, straight from a run."""
    folder = tmp_path_factory.mktemp("runs")
    for name in FORMATS:
        card = fastsim.load_card("alice3", sets=[f"output.format={name!r}", "output.compression_level=2"])
        fastsim.simulate_files([ttbar], card, folder / name, events=(0, 4))
    return {name: folder / name for name in FORMATS}


def trees(path):
    with uproot.open(path) as file:
        return {name: file[name].arrays() for name, kind in file.classnames(cycle=False).items() if kind == "TTree"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_known_by_its_content(files, name):
    assert file_format(files[name]) == name


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize("to", READERS)
def test_columns_go_there_and_back_unchanged(files, tmp_path, source, to):
    assert convert_file(files[source], tmp_path / "out", to) == 4
    before, after = READERS[source].read_groups(files[source]), READERS[to].read_groups(tmp_path / "out")
    assert columnar.digest(before) == columnar.digest(after)
    assert file_format(tmp_path / "out") == to


@pytest.mark.parametrize("to", ["ao2d", "delphes", "nano"])
def test_both_sources_give_the_file_of_the_run(files, tmp_path, to):
    """Equal to the bit from Parquet and RNTuple; equal to what a run writes within the rounding to float32."""
    for source in READERS:
        convert_file(files[source], tmp_path / source, to)
    assert inspect.digest(tmp_path / "parquet") == inspect.digest(tmp_path / "rntuple")
    converted, run = trees(tmp_path / "parquet"), trees(files[to])
    assert converted.keys() == run.keys()
    for name, tree in run.items():
        assert tree.fields == converted[name].fields
        for branch in tree.fields:
            a, b = (ak.to_numpy(ak.flatten(t[branch], axis=None)) for t in (tree, converted[name]))
            if a.dtype.kind != "f":
                assert np.abs(a.astype(float) - b.astype(float)).max(initial=0.0) <= (1 if "Rho" in branch else 0), (
                    branch
                )
            else:  # differences of nearly equal numbers (rapidity, dxy, covariances of p) lose some digits
                scale = np.abs(a[np.isfinite(a)]).max(initial=0.0)
                np.testing.assert_allclose(a, b, rtol=2e-3 if to == "ao2d" else 2e-5, atol=2e-6 * scale, err_msg=branch)


def test_the_new_file_says_what_made_it(files, tmp_path):
    convert_file(files["parquet"], tmp_path / "out", "delphes", sets=["output.delphes_names='path'"])
    with uproot.open(tmp_path / "out") as file:
        record = json.loads(str(file["provenance"]))
        assert "Track/Track.PT" in {branch.name for branch in file["Delphes"].branches}
    old = json.loads(parquet.texts(files["parquet"])["provenance"])
    assert record["identity"]["converted"]["from"] == "parquet"
    assert (
        record["identity"]["converted"]["identity_sha256"] == old["identity"]["sha256"] != record["identity"]["sha256"]
    )
    assert record["identity"]["inputs"] == old["identity"]["inputs"]
    assert record["identity"]["units"]["Delphes.Track/Track.D0"] == "mm"
    assert record["identity"]["resolved"]["card"]["output"]["format"] == "delphes"


@pytest.mark.parametrize(("name", "lacks"), [("ao2d", "1/128"), ("delphes", "no place"), ("nano", "covariances")])
def test_other_formats_hold_too_little(files, tmp_path, name, lacks):
    with pytest.raises(
        InputError, match=f"a file in the format '{name}' cannot be converted: it lacks .*{lacks}"
    ) as caught:
        convert_file(files[name], tmp_path / "out", "parquet")
    assert caught.value.hint == "run with --format parquet or rntuple, and convert that"
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_file_of_ours(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        convert_file(tmp_path / "missing", tmp_path / "out", "nano")
    with uproot.recreate(tmp_path / "other.root") as file:
        file.mktree("t", {"x": "int32"})
    with pytest.raises(InputError, match="in none of the formats that fastsim writes"):
        convert_file(tmp_path / "other.root", tmp_path / "out", "nano")


def without(path, out, name):
    """A Parquet file without one of its texts."""
    table = pq.read_table(path)
    with pq.ParquetWriter(out, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({k: v for k, v in parquet.texts(path).items() if k != name})
    return out


def test_files_without_provenance(files, tmp_path):
    broken = without(files["parquet"], tmp_path / "broken", "provenance")
    with pytest.raises(InputError, match=r"does not say what made it \(no provenance\)"):
        convert_file(broken, tmp_path / "out", "nano")


def test_columns_that_the_format_needs(files, tmp_path):
    """A file in which nobody made a vertex."""
    texts = parquet.texts(files["parquet"])
    table = pq.read_table(files["parquet"]).drop_columns(["vertex_x"])
    texts["columns"] = json.dumps([column for column in json.loads(texts["columns"]) if column["name"] != "vertex_x"])
    with pq.ParquetWriter(tmp_path / "in", table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(texts)
    with pytest.raises(CardError, match=r"the format 'nano' needs event\.vertex_x, which the file has not") as caught:
        convert_file(tmp_path / "in", tmp_path / "out", "nano")
    assert caught.value.hint == "run again with the modules that make them"
    assert convert_file(tmp_path / "in", tmp_path / "out", "rntuple") == 4


def test_options_that_cannot_be(files, tmp_path):
    with pytest.raises(UsageError, match="what the file keeps of the truth cannot be changed"):
        convert_file(files["parquet"], tmp_path / "out", "nano", sets=["output.truth='all'"])
    with pytest.raises(CardError, match="format"):
        convert_file(files["parquet"], tmp_path / "out", "hdf5")
    with pytest.raises(UsageError, match="exists already"):
        convert_file(files["parquet"], files["nano"], "nano")
    with pytest.raises(UsageError, match="is an input of this very run"):
        convert_file(files["parquet"], files["parquet"], "nano", overwrite=True)


@pytest.mark.parametrize("to", FORMATS)
def test_files_without_truth_or_events(ttbar, tmp_path, to):
    for name, sets, events in (("none", ["output.truth='none'"], (0, 2)), ("empty", [], (0, 0))):
        card = fastsim.load_card("alice3", sets=["output.format='rntuple'", *sets])
        fastsim.simulate_files([ttbar], card, tmp_path / name, events=events)
        assert convert_file(tmp_path / name, tmp_path / f"{name}_{to}", to) == events[1]
        assert file_format(tmp_path / f"{name}_{to}") == to


def test_names_may_hold_colons(files, tmp_path):
    """Arrow takes a path with one for a URI."""
    convert_file(files["rntuple"], tmp_path / "s1:5.parquet", "parquet")
    assert inspect.content(tmp_path / "s1:5.parquet")["events"]["entries"] == 4
    assert inspect.digest(tmp_path / "s1:5.parquet") == inspect.digest(files["parquet"])


def test_names_say_the_kind_of_file(files, ttbar, tmp_path):
    with pytest.raises(
        UsageError, match=r"ends in .root, and the format 'parquet' makes .parquet files\nhint: name it a.parq"
    ):
        convert_file(files["rntuple"], tmp_path / "a.root", "parquet")
    with pytest.raises(
        UsageError, match=r"ends in .parquet, and the format 'ao2d' makes .root files\nhint: name it a.root"
    ):
        fastsim.simulate_files([ttbar], "alice3", tmp_path / "a.parquet")


def test_the_command(files, tmp_path, capsys):
    done = run_fastsim(capsys, "convert", files["rntuple"], tmp_path / "out.parquet", "--format", "parquet")
    assert done.code == 0
    assert done.out.startswith("4 events, ")
    assert len(pa.parquet.read_table(tmp_path / "out.parquet")) == 4
    done = run_fastsim(capsys, "convert", files["nano"], tmp_path / "out2", "-f", "parquet")
    assert done.code == 4
    assert "cannot be converted" in done.err
