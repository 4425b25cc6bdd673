"""Inputs of all kinds: who reads what, one numbering over all of them, and what is none."""

from __future__ import annotations

import http.server
import os
import sys
import threading
from hashlib import sha256

import fsspec.registry  # noqa: F401  (its table of loaded protocols)
import numpy as np
import pytest

from fastsim import columns as c
from fastsim.errors import CardError, InputError, UsageError
from fastsim.generate import pythia
from fastsim.generate.gun import Gun
from fastsim.generate.pythia import Pythia
from fastsim.io.hepevt import HepevtEvents
from fastsim.io.hepmc import TextSource
from fastsim.io.inputs import check_exists, may_be_text, open_source, read_blocks, read_minimum_bias
from fastsim.io.lhef import LhefEvents
from fastsim.io.root_events import RootEvents
from fastsim.io.stream import ByteStream
from fastsim.rng import Streams
from fastsim.source import Limits, Range
from tests import every_source, hepmc_files
from tests.generated import assert_equal, assert_is_complete

READERS = {
    **dict.fromkeys(every_source.TEXTS, TextSource),
    **dict.fromkeys(every_source.ROOT_KINDS, RootEvents),
    "lhef": LhefEvents, "lhef.gz": LhefEvents, "hepevt": HepevtEvents, "gun": Gun, "pythia": Pythia,
}  # fmt: skip
N = every_source.N_EVENTS


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Name of an input of each kind."""
    folder = tmp_path_factory.mktemp("inputs")
    return {kind: str(every_source.write(kind, folder)) for kind in every_source.KINDS}


def read(names, events=(0, None), limits=(1000, 10**6)):
    """Batches, positions of bytes, and records of some inputs."""
    records = []
    batches, done = [], []
    for item in read_blocks(names, Streams(1), events=Range(*events), limits=Limits(*limits), records=records):
        batch, bad = item.block.read()
        assert not bad
        batches.append(batch)
        done.append(item.bytes_done)
    return batches, done, records


# --- who reads what ---


@pytest.mark.parametrize("kind", every_source.KINDS)
def test_each_kind_is_read_by_its_own_source(inputs, kind):
    source = open_source(inputs[kind], Streams(1))
    source.close()
    assert type(source) is READERS[kind]
    if kind in every_source.ROOT_KINDS:
        assert source.record().info["format"] == f"{kind} (ROOT)"
    (batch,), _, (record,) = read([inputs[kind]])
    assert_is_complete(batch)
    assert batch[c.EVENT_ID].tolist() == list(range(N))
    assert (record.name, record.first_event, record.n_events) == (inputs[kind], 0, N)
    with open(inputs[kind], "rb") as file:  # noqa: PTH123
        assert record.sha256 == sha256(file.read()).hexdigest()


def test_recipes_are_told_by_any_spelling_of_their_suffix(tmp_path):
    (tmp_path / "GUN.TOML").write_text(every_source.gun())
    assert isinstance(open_source(str(tmp_path / "GUN.TOML"), Streams(1)), Gun)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.hepmc", True),
        ("a.hepmc.gz", True),
        ("a", True),
        ("-", True),
        ("a.lhe.gz", True),
        ("a.lhe", False),
        ("a.LHE", False),
        ("a.root", False),
        ("a.toml", False),
        ("a.cmnd", False),
    ],
)
def test_kernels_of_hepmc_are_needed_where_a_name_may_hold_it(name, expected):
    assert may_be_text(name) is expected


# --- one after another ---


def test_all_kinds_are_one_stream_with_one_numbering(inputs):
    names = [*inputs.values()]
    batches, done, records = read(names, limits=(2, 10**6))
    assert np.concatenate([batch[c.EVENT_ID] for batch in batches]).tolist() == list(range(N * len(names)))
    assert [record.first_event for record in records] == list(range(0, N * len(names), N))
    assert done == sorted(done)
    assert done[-1] == sum(os.path.getsize(name) for name in names)  # noqa: PTH202
    numbers = np.concatenate([batch[c.EVENT_NUMBER] for batch in batches])
    assert numbers[:N].tolist() == [0, 1, 2]  # the file's own
    gun = [*inputs].index("gun") * N
    assert numbers[gun : gun + N].tolist() == [gun, gun + 1, gun + 2]  # a recipe counts on


@pytest.mark.parametrize("events", [(0, 1), (1, 7), (4, 5), (5, 16), (9, None), (2, 99), (6, 6)])
def test_a_range_over_several_inputs_is_a_slice_of_the_whole(inputs, events):
    names = [inputs[kind] for kind in ("hepmc3.gz", "gun", "lhef", "HepMC3", "hepevt", "pythia")]
    whole = read(names)[0]
    ids = range(N * len(names))[slice(*events)]
    part, _, _ = read(names, events)
    if not ids:
        assert part == []
        return
    cuts = [[i - first for i in ids if first <= i < first + N] for first in range(0, len(names) * N, N)]
    expected = [batch.slice_events(cut[0], cut[-1] + 1) for batch, cut in zip(whole, cuts, strict=True) if cut]
    assert_equal(part, expected)


def test_inputs_behind_the_range_are_not_opened(inputs, tmp_path):
    (tmp_path / "broken").write_bytes(b"no events\n")
    _, _, records = read([inputs["hepmc3"], str(tmp_path / "broken")], (0, N))
    assert [record.name for record in records] == [inputs["hepmc3"]]
    with pytest.raises(InputError, match="not a HepMC file"):
        read([inputs["hepmc3"], str(tmp_path / "broken")], (0, N + 1))


@pytest.mark.parametrize("kind", ["gun", "pythia"])
def test_recipes_tell_how_far_they_are(inputs, kind):
    """For the progress bar, which counts bytes: the recipe's, evenly."""
    size = os.path.getsize(inputs[kind])  # noqa: PTH202
    assert read([inputs[kind]], limits=(1, 10**6))[1] == [size * i // N for i in range(1, N + 1)]


def test_the_same_recipe_twice_gives_other_events(inputs):
    (first, second), _, _ = read([inputs["gun"]] * 2)
    assert not (first[c.MOMENTUM[0]] == second[c.MOMENTUM[0]]).any()


# --- all of it in memory ---


def test_minimum_bias_is_the_blocks_behind_one_another(inputs):
    names = [inputs[kind] for kind in ("hepmc2", "lhef", "gun")]
    batch, records = read_minimum_bias(names, Streams(1))
    whole = read(names)[0]
    for column in c.READ:
        if column.table in ("particle", "vertex"):
            expected = np.concatenate([part[column] for part in whole])
            np.testing.assert_array_equal(batch[column], expected)
        else:
            assert column not in batch
    assert [record.n_events for record in records] == [N, N, N]


def test_minimum_bias_of_many_blocks(tmp_path):
    (tmp_path / "a.hepmc").write_bytes(hepmc_files.sample(1500))  # blocks are of 1000 events at most
    batch, (record,) = read_minimum_bias([str(tmp_path / "a.hepmc")], Streams(1))
    assert batch.n_events == record.n_events == 1500


def test_minimum_bias_of_nothing(tmp_path):
    (tmp_path / "empty.hepmc").write_bytes(hepmc_files.empty())
    batch, (record,) = read_minimum_bias([str(tmp_path / "empty.hepmc")], Streams(1))
    assert (batch.n_events, record.n_events) == (0, 0)


def test_minimum_bias_stops_at_the_first_bad_event(tmp_path):
    text = hepmc_files.listing(*(hepmc_files.gun_event(i, (211, "nan" if i else 1, 0, 0, 1)) for i in range(3)))
    (tmp_path / "a").write_bytes(text)
    with pytest.raises(InputError, match=r"event 1 \(position 1\): momenta, energies and masses must be finite"):
        read_minimum_bias([str(tmp_path / "a")], Streams(1))


def test_final_particles_without_a_vertex_get_one_where_their_event_is(tmp_path):
    """They are to move with it: two events at z = 10 mm and 20 mm, the second with a vertex of its own besides."""
    lone = b"P %d 0 211 0 0 1 1 0.1 1\n"
    first = b"E 0 0 1 @ 0 0 10 0\n" + lone % 1
    second = (
        b"E 1 1 4 @ 0 0 20 0\nP 1 0 2212 0 0 9 9 0.9 4\nV -1 0 [1] @ 0 0 30 0\nP 2 -1 211 0 0 1 1 0.1 1\n"
        + lone % 3
        + lone % 4
    )
    (tmp_path / "a").write_bytes(hepmc_files.listing(first, second))
    batch, _ = read_minimum_bias([str(tmp_path / "a")], Streams(1))
    assert batch[c.PRODUCTION_VERTEX].tolist() == [0, -1, 0, 1, 1]
    assert batch[c.VERTEX_POSITION[2]].tolist() == pytest.approx(
        [1.0, 3.0, 3.0]
    )  # the second event is where its beam ends
    assert batch.offsets["vertex"].tolist() == [0, 1, 3]


# --- what is none ---


def test_missing_files_are_told_before_any_work(inputs, tmp_path):
    check_exists([*inputs.values(), "-", "http://nowhere/a", "root://nowhere//a"])
    with pytest.raises(InputError, match=r"nothing\.hepmc: no such file"):
        check_exists([inputs["gun"], str(tmp_path / "nothing.hepmc")])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.hepmc", InputError), ("a.root", InputError), ("a.cmnd", InputError), ("a.toml", CardError)],
)
def test_missing_files_are_errors_of_every_source(tmp_path, name, kind):
    with pytest.raises(kind, match=f"{name}: no such file"):
        open_source(str(tmp_path / name), Streams(1))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\0" * 100, r"not a HepMC file: it starts with b'\\x00"),
        (b"PK\3\4 a zip file", "a zip file: it starts with"),
        (b"<?xml version='1.0'?><detectors/>", "an XML file: it starts with"),
        (b"E 1 2\nnot HEPEVT\n", "not a HepMC file: it starts with b'E 1 2"),
        (b"pt eta phi\n1 2 3\n", "where HepMC2 and HepMC3 text files start with 'HepMC::Version'"),
    ],
)
def test_unknown_formats(tmp_path, text, what):
    (tmp_path / "a.root").write_bytes(text)  # whatever the name says
    with pytest.raises(InputError, match=what) as caught:
        read([str(tmp_path / "a.root")])
    assert caught.value.where == str(tmp_path / "a.root")


def test_a_recipe_that_is_none(tmp_path):
    (tmp_path / "a.toml").write_bytes(hepmc_files.sample(1))
    with pytest.raises(CardError, match=r"a\.toml:1: not TOML"):
        open_source(str(tmp_path / "a.toml"), Streams(1))
    (tmp_path / "card.toml").write_text('extends = "alice3"\n')
    with pytest.raises(CardError, match=r"card\.toml:1: extends: not a known key"):
        open_source(str(tmp_path / "card.toml"), Streams(1))


REFUSED = (
    "ROOT files cannot be read from pipes and URLs, or compressed once more\nhint: copy or unpack it to a file first"
)


def test_root_files_are_not_read_from_pipes(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "fastsim.io.inputs.ByteStream", lambda *a, **k: opened.append(ByteStream(*a, **k)) or opened[-1]
    )
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"root" + bytes(10_000),), daemon=True)
    writer.start()
    with pytest.raises(UsageError) as caught:
        open_source(str(path), Streams(1))
    writer.join()
    assert str(caught.value) == f"{path}: {REFUSED}"
    opened[0]._thread.join()  # that of a pipe ends when its writer does
    opened[0].close()


def test_root_files_are_not_read_from_urls(inputs, tmp_path):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words):
            super().__init__(*words, directory=os.path.dirname(inputs["HepMC3"]))  # noqa: PTH120

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            with pytest.raises(UsageError, match="cannot be read from pipes and URLs"):
                open_source(f"http://127.0.0.1:{server.server_port}/root_HepMC3", Streams(1))
        finally:
            server.shutdown()
            thread.join()


def test_unknown_protocol():
    with pytest.raises(InputError, match=r"^gopher://a/b: cannot be read \(ValueError: Protocol not known: gopher\)"):
        open_source("gopher://a/b", Streams(1))


@pytest.mark.parametrize(("protocol", "library"), [("http", "aiohttp"), ("https", "aiohttp"), ("root", "XRootD")])
def test_missing_library_of_a_protocol(monkeypatch, protocol, library):
    for name in [name for name in sys.modules if name.split(".")[0] in (library, "fsspec_xrootd")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    with pytest.raises(InputError, match=rf"{protocol}://a/b: no library for {protocol}:// \(") as caught:
        open_source(f"{protocol}://a/b", Streams(1))
    assert caught.value.hint == "pip install 'fastsim[remote]'"


def test_missing_pythia(monkeypatch, inputs):
    pythia.ready.cache_clear()
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(
        UsageError, match=r"needs Pythia 8, which cannot be imported .*\nhint: pip install 'fastsim\[py"
    ):
        open_source(inputs["pythia"], Streams(1))


def test_missing_pylhe(monkeypatch, inputs):
    monkeypatch.setitem(sys.modules, "pylhe", None)
    with pytest.raises(UsageError, match=r"reading LHEF needs pylhe\nhint: pip install 'fastsim\[lhef\]'"):
        open_source(inputs["lhef"], Streams(1))
