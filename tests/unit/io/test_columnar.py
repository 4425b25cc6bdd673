"""Our own columns in Parquet and RNTuple: all there and equal, groups that do not show, and files that are not ours."""

from __future__ import annotations

import json
import sys

import awkward as ak
import numpy as np
import pytest
import uproot

from fastsim import columns as c
from fastsim.errors import InputError, OutputError, UsageError
from fastsim.events import EventBatch
from fastsim.io import columnar, parquet, rntuple
from fastsim.io.columnar import by_table, described, digest, list_name, to_batch, written_dtype
from tests.flat_events import output, pieces, simulated, write

FORMATS = {"parquet": parquet, "rntuple": rntuple}


@pytest.fixture(scope="module")
def batch(ttbar):
    return simulated(ttbar, 12)


@pytest.fixture(params=FORMATS)
def name(request):
    return request.param


def together(groups):
    """Groups as one batch."""
    batches = [to_batch(group) for group in groups]
    offsets = {
        table: np.concatenate([[0], np.cumsum(np.concatenate([np.diff(b.offsets[table]) for b in batches]))])
        for table in batches[0].offsets
    }
    return EventBatch(offsets, {k: np.concatenate([b[k] for b in batches]) for k in batches[0].columns})


def test_all_columns_come_back(batch, tmp_path, name):
    path = write(tmp_path / "out", [batch], output(name, truth="all"))
    again = together(FORMATS[name].read_groups(path))
    assert set(again.columns) == set(batch.columns)
    for column, values in batch.columns.items():
        assert again[column].dtype == column.dtype
        np.testing.assert_array_equal(
            again[column], values.astype(written_dtype(column)).astype(column.dtype), str(column)
        )
    for table in ("weight", "vertex", "particle", "track"):
        np.testing.assert_array_equal(again.offsets[table], batch.offsets[table])


def test_columns_of_objects_come_back(ttbar, tmp_path, name):
    batch = simulated(ttbar, 40, "standard", "atlas_like")
    again = together(FORMATS[name].read_groups(write(tmp_path / "out", pieces(batch, 3), output(name))))
    assert {"electron", "muon", "jet", "jet_constituent"} <= set(again.offsets)
    for column in (c.ELECTRON_TRACK, c.JET[0], c.JET_B_TAG, c.CONSTITUENT_TRACK, c.MET):
        np.testing.assert_array_equal(again[column], batch[column].astype(written_dtype(column)))


@pytest.mark.parametrize("group_bytes", [1, 200_000, 1 << 30])
def test_batches_and_groups_do_not_show(batch, tmp_path, name, group_bytes, monkeypatch):
    """Files of the same columns in other groups have the same digest; groups are cut at the same events from any batches."""
    first = write(tmp_path / "first", [batch], output(name))
    monkeypatch.setattr(columnar, "GROUP_BYTES", group_bytes)
    sizes = []
    for size in (1, 5, 12):
        path = write(tmp_path / f"by{size}", pieces(batch, size), output(name))
        sizes.append([group.n_events for group in FORMATS[name].read_groups(path)])
        assert digest(FORMATS[name].read_groups(path)) == digest(FORMATS[name].read_groups(first))
    assert sizes[0] == sizes[1] == sizes[2]
    assert {1: len(sizes[0]) == 12, 200_000: 2 < len(sizes[0]) < 12, 1 << 30: len(sizes[0]) == 1}[group_bytes]


def test_the_digest_sees_every_change(batch, tmp_path, name):
    options = output(name)
    reference = digest(FORMATS[name].read_groups(write(tmp_path / "a", [batch], options)))
    for column in (c.WEIGHT, c.PT, c.IS_RECONSTRUCTED, c.COV_PACKED):
        values = batch[column].copy()
        values.reshape(-1)[-1] = 0 if values.reshape(-1)[-1] else 1
        changed = write(tmp_path / column.name, [batch.with_columns({column: values})], options)
        assert digest(FORMATS[name].read_groups(changed)) != reference
    moved = np.array(batch.offsets["weight"])
    moved[1] += 1
    shifted = write(tmp_path / "moved", [batch.with_columns({}, {"weight": moved})], options)
    assert digest(FORMATS[name].read_groups(shifted)) != reference


def test_numbers_of_events_keep_their_precision(batch, tmp_path, name):
    event_id = batch[c.EVENT_ID] + np.uint64(2**63 + 1)
    path = write(tmp_path / "out", [batch.with_columns({c.EVENT_ID: event_id})], output(name))
    again = together(FORMATS[name].read_groups(path))
    np.testing.assert_array_equal(again[c.EVENT_ID], event_id)
    np.testing.assert_array_equal(again[c.DNCH_DETA], batch[c.DNCH_DETA])


def test_lists_are_called_as_in_memory(batch, tmp_path, name):
    path = write(tmp_path / "out", [batch], output(name))
    events = ak.from_parquet(path) if name == "parquet" else uproot.open(path)["events"].arrays()
    memory = batch.to_awkward()
    assert set(events.fields) == set(memory.fields)
    for table in by_table(batch.columns):
        if table != "event":
            assert set(events[list_name(table)].fields) == set(memory[list_name(table)].fields)
    assert ak.all(events.tracks.pt[events.tracks.is_reconstructed] == ak.values_astype(
        memory.tracks.pt[memory.tracks.is_reconstructed], np.float32))  # fmt: skip


def test_parquet_says_units_and_meanings_in_its_schema(batch, tmp_path):
    import pyarrow.parquet as pq

    path = write(tmp_path / "out.parquet", [batch], output("parquet"))
    schema = pq.read_schema(path)
    assert schema.field("impact_parameter").metadata == {
        b"unit": b"fm", b"doc": c.IMPACT_PARAMETER.doc.encode(),
    }  # fmt: skip
    assert schema.field("tracks").type.value_type.field("pt").metadata[b"unit"] == b"GeV"
    assert pq.read_metadata(path).metadata[b"provenance"] == b"{}"


def test_without_truth_there_are_no_particles(ttbar, tmp_path, name):
    batch = simulated(ttbar, 3, "none")
    path = write(tmp_path / "out", [batch], output(name, truth="none"))
    columns = described(FORMATS[name].texts(path)["columns"], "here")
    assert not [column for column in columns if column.table in {"particle", "vertex"}]
    assert c.PARTICLE_INDEX not in columns
    again = together(FORMATS[name].read_groups(path))
    assert (again[c.PARTICLE_INDEX] == -1).all()
    assert again.n_events == 3
    assert again.n_rows("particle") == 0


def test_a_file_without_events_has_the_columns_of_every_run(batch, tmp_path, name):
    options = output(name)
    (group,) = FORMATS[name].read_groups(write(tmp_path / "out", [], options))
    assert group.n_events == 0
    assert set(group.columns) == set(FORMATS[name].needs(options)) <= set(batch.columns)
    assert FORMATS[name].units(options)["tracks.pt"] == "GeV"


def test_a_writer_that_is_left_leaves_nothing(batch, tmp_path, name):
    with FORMATS[name].open_writer(tmp_path / "out", output(name)) as writer:
        writer.write(batch)
    assert list(tmp_path.iterdir()) == []


def test_nowhere_to_write(tmp_path, name):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UsageError, match="cannot be written"):
        FORMATS[name].open_writer(tmp_path / "file" / "out", output(name))


@pytest.mark.parametrize("when", ["begin", "put"])
def test_a_full_disk(batch, tmp_path, name, when, monkeypatch):
    """What the system says of a full disk reaches the user, and nothing is left."""
    import pyarrow.parquet as pq
    from uproot.writing.writable import WritableDirectory, WritableNTuple

    def full(*words, **options):
        raise OSError(28, "No space left on device")

    target = {
        ("parquet", "begin"): (pq.ParquetWriter, "__init__"), ("parquet", "put"): (pq.ParquetWriter, "write_table"),
        ("rntuple", "begin"): (WritableDirectory, "mkrntuple"), ("rntuple", "put"): (WritableNTuple, "extend"),
    }  # fmt: skip
    monkeypatch.setattr(*target[name, when], full)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        write(tmp_path / "out", [batch], output(name))
    assert "the disk is full" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_pyarrow_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="Parquet needs pyarrow") as caught:
        parquet.open_writer(tmp_path / "out", output("parquet"))
    assert "pip install 'fastsim[parquet]'" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_files_of_others_are_refused(tmp_path):
    ak.to_parquet(ak.Array([{"x": 1}]), tmp_path / "foreign.parquet")
    with pytest.raises(InputError, match="a Parquet file, but not one of fastsim"):
        parquet.texts(tmp_path / "foreign.parquet")
    with uproot.recreate(tmp_path / "foreign.root") as file:
        file.mkrntuple("events", {"x": "int32"})
    with pytest.raises(InputError, match="a ROOT file, but not an RNTuple of fastsim"):
        rntuple.texts(tmp_path / "foreign.root")


def test_broken_files_are_refused(batch, tmp_path, name):
    path = write(tmp_path / "out", [batch], output(name))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="not a whole"):
        list(FORMATS[name].read_groups(path))
    middle = bytearray(content)
    middle[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    path.write_bytes(bytes(middle))
    with pytest.raises(InputError, match="not a whole"):
        list(FORMATS[name].read_groups(path))


@pytest.mark.parametrize(
    "text", ["", "[{}]", '[{"name": "x"}]', "3", json.dumps([{**c.PT._asdict(), "dtype": "nonsense"}])]
)
def test_lists_of_columns_that_cannot_be_read(text):
    with pytest.raises(InputError, match="its list of columns cannot be read"):
        described(text, "here")


def test_columns_of_other_packages_are_known_by_what_the_file_says():
    strange = c.Column("time", "track", "float64", "ns", "of a plug-in", (2,))
    assert described(columnar.describe([c.PT, strange]), "here") == [c.PT, strange]
