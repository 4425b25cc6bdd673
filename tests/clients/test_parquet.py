"""Programs that read Parquet open our files: awkward, also by column and by row group; pyarrow's data sets; DuckDB's like."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pytest

import fastsim

pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def file(ttbar, tmp_path_factory):
    path = tmp_path_factory.mktemp("parquet") / "out.parquet"
    card = fastsim.load_card("alice3", sets=["output.format='parquet'"])
    fastsim.simulate_files([ttbar], card, path, events=(0, 10))
    return path


def test_awkward_reads_what_simulate_gives(file, ttbar):
    events = ak.from_parquet(file)
    memory = ak.concatenate(list(fastsim.simulate(ttbar, "alice3", events=(0, 10))))
    assert set(events.fields) == set(memory.fields)
    for name in memory.tracks.fields:
        if name != "particle_index":  # positions among the kept particles
            expected = memory.tracks[name]
            wide = "float64" in str(expected.type)
            expected = ak.values_astype(expected, np.float32) if wide else expected
            assert ak.array_equal(events.tracks[name], expected, equal_nan=True), name
    assert str(events.tracks.type) == str(ak.to_packed(events.tracks).type)
    assert "?" not in str(events.type)  # nothing may be missing: no options in the types


def test_columns_can_be_read_alone(file):
    events = ak.from_parquet(file, columns=["tracks.pt", "tracks.is_reconstructed", "vertex_z"])
    assert set(events.fields) == {"tracks", "vertex_z"}
    assert set(events.tracks.fields) == {"pt", "is_reconstructed"}


def test_arrow_reads_it_as_a_data_set(file):
    import pyarrow.dataset as ds

    table = ds.dataset(file).to_table(columns=["event_id", "dnch_deta"], filter=ds.field("event_id") >= 7)
    assert table["event_id"].to_pylist() == [7, 8, 9]


def test_who_made_it_can_be_read_without_us(file):
    record = json.loads(pq.read_metadata(file).metadata[b"provenance"])
    assert record["identity"]["run_seed"] == 1
    assert record["summary"]["events"] == 10
