"""HepMC files: the columns are what pyhepmc's event objects say, and no event is ever lost without a word."""

from __future__ import annotations

import gzip
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyhepmc
import pytest

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.events import production_points
from fastsim.io import stream
from fastsim.io.hepmc import _Buffer, empty_block
from fastsim.io.stream import ByteStream
from tests import hepmc_files as files
from tests.hepmc_files import read, read_text

NS_PER_MM = 0.1 * files.NS_PER_CM


def joined(batches, column):
    return np.concatenate([batch[column] for batch in batches])


def rewrite(path, version, out):
    """The same events in another format."""
    pyhepmc.Setup.print_warnings = False
    with pyhepmc.open(path) as source, pyhepmc.open(str(out), "w", format=version) as target:
        for event in source:
            target.write(event)
    return out


def check_against_pyhepmc(path, batches, bad, version="hepmc3"):
    """Compare all columns with what a loop over pyhepmc's objects says.

    pyhepmc gives the particles of HepMC2 another order than the file: there only the set of all is compared.
    """
    oracle = files.ask_pyhepmc(path)
    assert not bad
    assert np.concatenate([np.diff(b.offsets["particle"]) for b in batches]).tolist() == oracle.n_particles
    assert np.concatenate([np.diff(b.offsets["vertex"]) for b in batches]).tolist() == oracle.n_vertices
    if version == "hepmc2":
        ours = [joined(batches, column) for column in (c.PDG, c.STATUS, *c.MOMENTUM, c.ENERGY, c.MASS)]
        ours += np.concatenate([production_points(batch) for batch in batches]).T.tolist()
        theirs = [*oracle.particles.T, *oracle.points.T]
        rows, others = (np.column_stack(columns)[np.lexsort(columns[:7])] for columns in (ours, theirs))
        np.testing.assert_allclose(rows[:, :7], others[:, :7], rtol=1e-14, atol=0)
        return
    pdg, status, px, py, pz, energy, mass = oracle.particles.T
    np.testing.assert_array_equal(joined(batches, c.PDG), pdg)
    np.testing.assert_array_equal(joined(batches, c.STATUS), status)
    for column, expected in zip((*c.MOMENTUM, c.ENERGY, c.MASS), (px, py, pz, energy, mass), strict=True):
        np.testing.assert_allclose(joined(batches, column), expected, rtol=1e-14, atol=0, err_msg=str(column))
    for column, expected in zip(c.VERTEX_POSITION, oracle.vertices.T, strict=True):
        np.testing.assert_allclose(joined(batches, column), expected, rtol=1e-14, atol=0, err_msg=str(column))
    production, end = joined(batches, c.PRODUCTION_VERTEX), joined(batches, c.END_VERTEX)
    assert production.tolist() == oracle.production
    assert end.tolist() == oracle.end
    n = 0
    for size in oracle.n_particles:  # family: mothers end where a particle starts, daughters start where it ends
        of_event = slice(n, n + size)
        born, died = production[of_event], end[of_event]
        for i in range(0, size, 7):
            mothers = set(np.flatnonzero(died == born[i])) if born[i] >= 0 else set()
            daughters = set(np.flatnonzero(born == died[i])) if died[i] >= 0 else set()
            assert (mothers, daughters) == (oracle.mothers[n + i], oracle.daughters[n + i])
        n += size
    vertices = np.column_stack([joined(batches, column) for column in c.VERTEX_POSITION])
    rows = production + np.repeat(np.cumsum([0, *oracle.n_vertices[:-1]]), oracle.n_particles)
    points = np.where((production >= 0)[:, None], vertices[rows], 0.0)
    np.testing.assert_allclose(points, oracle.points, rtol=1e-14, atol=0)


@pytest.mark.parametrize("version", ["hepmc3", "hepmc2"])
def test_lead_sample_equals_pyhepmc(lead, tmp_path, version):
    path = rewrite(lead, version, tmp_path / "lead.hepmc")
    batches, bad, _ = read(path)
    assert len(batches) == 1
    check_against_pyhepmc(path, batches, bad, version)


@pytest.mark.parametrize("version", ["hepmc3", "hepmc2"])
def test_ttbar_sample_equals_pyhepmc(ttbar, tmp_path, version):
    path = tmp_path / "some.hepmc"
    with pyhepmc.open(ttbar) as source, pyhepmc.open(str(path), "w", format=version) as target:
        for _, event in zip(range(8), source, strict=False):
            target.write(event)
    batches, bad, _ = read(path, max_events=3)
    assert [batch.n_events for batch in batches] == [3, 3, 2]
    check_against_pyhepmc(path, batches, bad, version)


@pytest.mark.parametrize("version", ["hepmc3", "hepmc2"])
@pytest.mark.parametrize("momentum_unit", ["GEV", "MEV"])
@pytest.mark.parametrize("length_unit", ["MM", "CM"])
def test_units_of_the_file(tmp_path, version, momentum_unit, length_unit):
    text = files.sample(2, version, momentum_unit=momentum_unit, length_unit=length_unit)
    batches, bad, _ = read_text(text, tmp_path)
    check_against_pyhepmc(tmp_path / "events.hepmc", batches, bad)
    (batch,) = batches
    gev, cm = {"GEV": 1.0, "MEV": 1e-3}[momentum_unit], {"MM": 0.1, "CM": 1.0}[length_unit]
    assert batch[c.MOMENTUM[2]][0] == pytest.approx(6500.0 * gev, rel=1e-15)  # the first beam
    assert batch[c.VERTEX_TRUE[2]][0] == pytest.approx(3.0 * cm, rel=1e-15)
    assert batch[c.VERTEX_TRUE[3]][0] == pytest.approx(0.5 * cm / 29.9792458, rel=1e-15)


def test_two_units_in_one_file(tmp_path):
    text = files.as_text([files.make_event(0), files.make_event(1, momentum_unit="MEV", length_unit="CM")])
    batches, bad, _ = read_text(text, tmp_path)
    check_against_pyhepmc(tmp_path / "events.hepmc", batches, bad)


def test_vertices_without_a_position_are_where_the_mother_came_from(tmp_path):
    (batch,), _, _ = read_text(files.sample(1), tmp_path)
    photon = int(np.flatnonzero(batch[c.PDG] == 22)[0])
    vertex = batch[c.PRODUCTION_VERTEX][photon]
    point = [batch[column][vertex] for column in c.VERTEX_POSITION]
    assert point == pytest.approx([0.001, 0.002, 0.3, 0.5 * NS_PER_MM], rel=1e-14)  # the collision of make_event, in mm


@pytest.mark.parametrize("version", ["hepmc3", "hepmc2"])
def test_weights_and_heavy_ions(tmp_path, version):
    events = [
        files.with_ions(files.make_event(i, weights=(0.5 + i, 2.0)), impact_parameter=7.5 + i, event_plane_angle=0.25)
        for i in range(2)
    ]
    (batch,), _, _ = read_text(files.as_text(events, version), tmp_path)
    assert batch[c.WEIGHT].tolist() == [0.5, 1.5]
    assert batch[c.IMPACT_PARAMETER].tolist() == [7.5, 8.5]
    assert batch[c.EVENT_PLANE_ANGLE].tolist() == [0.25, 0.25]


def test_without_weights_and_ions_the_weight_is_1_and_the_rest_nan(tmp_path):
    (batch,), _, _ = read_text(files.sample(1), tmp_path)
    assert batch[c.WEIGHT].tolist() == [1.0]
    assert np.isnan(batch[c.IMPACT_PARAMETER]).all()
    assert np.isnan(batch[c.EVENT_PLANE_ANGLE]).all()


def test_lead_sample_has_an_impact_parameter(lead):
    (batch,), _, _ = read(lead)
    with pyhepmc.open(lead) as stream:
        expected = [event.heavy_ion.impact_parameter if event.heavy_ion else math.nan for event in stream]
    np.testing.assert_array_equal(batch[c.IMPACT_PARAMETER], expected)


def test_event_numbers_are_the_generators_and_event_ids_are_positions(tmp_path):
    text = files.as_text([files.make_event(number) for number in (17, 4, 4)])
    (batch,), _, _ = read_text(text, tmp_path)
    assert batch[c.EVENT_NUMBER].tolist() == [17, 4, 4]
    assert batch[c.EVENT_ID].tolist() == [0, 1, 2]


def test_particles_without_vertices(tmp_path):
    text = files.listing(b"E 0 0 2\nU GEV MM\nP 1 0 211 0.1 0.2 0.3 0.5 0.14 1\nP 2 0 13 1 2 3 4 0.1 1\n")
    (batch,), bad, _ = read_text(text, tmp_path)
    assert not bad
    assert batch[c.PDG].tolist() == [211, 13]
    assert batch[c.PRODUCTION_VERTEX].tolist() == [-1, -1]
    assert batch[c.END_VERTEX].tolist() == [-1, -1]
    assert [batch[column][0] for column in c.VERTEX_TRUE] == [0.0] * 4
    assert batch.n_rows("vertex") == 0


def test_position_of_the_event_counts_where_there_are_no_beams(tmp_path):
    text = files.listing(b"E 0 0 1 @ 1 2 30 4\nU GEV MM\nP 1 0 211 0.1 0.2 0.3 0.5 0.14 1\n")
    (batch,), _, _ = read_text(text, tmp_path)
    assert [batch[column][0] for column in c.VERTEX_TRUE] == pytest.approx([0.1, 0.2, 3.0, 4 * NS_PER_MM])


@pytest.mark.parametrize("version", ["hepmc3", "hepmc2"])
def test_event_without_particles(tmp_path, version):
    middle = pyhepmc.GenEvent()
    middle.event_number = 1
    text = files.as_text([files.make_event(0), middle, files.make_event(2)], version)
    (batch,), bad, _ = read_text(text, tmp_path)
    assert not bad
    assert np.diff(batch.offsets["particle"]).tolist() == [9, 0, 9]


@pytest.mark.parametrize("version", ["hepmc3", "hepmc2"])
def test_listing_without_events_is_no_events(tmp_path, version):
    batches, bad, records = read_text(files.empty(version), tmp_path)
    assert (batches, bad, records[0].n_events) == ([], [], 0)


@pytest.mark.parametrize("version", [2, 3])
def test_no_block_gives_an_empty_batch(version):
    batch, bad = empty_block(version).read()
    assert (batch.n_events, batch.n_rows("particle"), batch.n_rows("vertex"), bad) == (0, 0, 0, [])


@pytest.mark.parametrize("version", ["hepmc3", "hepmc2"])
def test_windows_line_ends_change_nothing(tmp_path, version):
    text = files.sample(3, version, weights=(1.5, 2.5))
    (unix,), _, _ = read_text(text, tmp_path)
    (windows,), bad, _ = read_text(text.replace(b"\n", b"\r\n"), tmp_path)
    assert not bad
    for column in c.READ:
        np.testing.assert_array_equal(windows[column], unix[column])


def test_two_listings_in_one_file_are_one_stream(tmp_path):
    text = files.sample(2) + files.sample(3, "hepmc2") + files.empty() + files.sample(1, weights=(3.0,))
    batches, bad, records = read_text(text, tmp_path)
    assert not bad
    assert joined(batches, c.EVENT_ID).tolist() == [0, 1, 2, 3, 4, 5]
    assert joined(batches, c.EVENT_NUMBER).tolist() == [0, 1, 0, 1, 2, 0]
    assert joined(batches, c.WEIGHT)[-1] == 3.0
    assert records[0].n_events == 6


def test_several_files_are_one_stream_with_one_numbering(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    paths[0].write_bytes(files.sample(2))
    paths[1].write_bytes(gzip.compress(files.sample(1, "hepmc2")))
    paths[2].write_bytes(files.sample(3))
    batches, bad, records = read(*paths)
    assert not bad
    assert joined(batches, c.EVENT_ID).tolist() == [0, 1, 2, 3, 4, 5]
    assert [(r.name, r.first_event, r.n_events) for r in records] == [
        (str(p), f, n) for p, f, n in zip(paths, (0, 2, 3), (2, 1, 3), strict=True)
    ]


@pytest.mark.parametrize(
    ("events", "expected"), [((0, 2), [0, 1]), ((1, 4), [1, 2, 3]), ((3, None), [3, 4]), ((2, 2), []), ((9, None), [])]
)
def test_event_ranges_are_over_all_files(tmp_path, events, expected):
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_bytes(files.sample(3))
    paths[1].write_bytes(files.sample(2))
    batches, _, _ = read(*paths, events=events)
    assert [int(i) for batch in batches for i in batch[c.EVENT_ID]] == expected


def test_files_behind_the_range_are_not_opened(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(files.sample(3))
    _, _, records = read(path, tmp_path / "missing", events=(0, 3))
    assert [record.name for record in records] == [str(path)]


def test_blocks_hold_few_events_and_few_particles(tmp_path):
    batches, _, _ = read_text(files.sample(5), tmp_path, max_events=2)
    assert [batch.n_events for batch in batches] == [2, 2, 1]
    batches, _, _ = read_text(files.sample(5), tmp_path, max_particles=9)  # 9 in each event
    assert [batch.n_events for batch in batches] == [1] * 5


def test_pieces_of_any_size_are_cut_into_the_same_events(tmp_path, monkeypatch):
    text = files.sample(3) + files.sample(2, "hepmc2")
    whole, _, _ = read_text(text, tmp_path)
    for size in (1, 7, 100, 1000):
        monkeypatch.setattr(stream, "PIECE", size)
        for particles in (1, 30, 999):  # also the size of the buffer
            batches, bad, _ = read_text(text, tmp_path, max_particles=particles)
            assert not bad
            for column in (c.EVENT_ID, c.EVENT_NUMBER, c.PDG, *c.MOMENTUM, c.END_VERTEX):
                np.testing.assert_array_equal(joined(batches, column), joined(whole, column))


def test_buffer_grows_for_a_large_event_and_shrinks_again(tmp_path, lead):
    """Memory is that of the largest event, and goes back to that of a block behind it."""
    text = files.listing(*(files.gun_event(i, (211, 1, 2, 3, 4)) for i in range(2000)))
    buffer = _Buffer(10_000)
    path = tmp_path / "events"
    body = files.contents(lead)
    path.write_bytes(body + text)
    source = ByteStream(str(path))
    sizes = []
    while buffer.fill(source):
        sizes.append(len(buffer.data))
        marks = buffer.data[buffer.begin : buffer.end].tobytes().rfind(b"\nE ")
        buffer.begin += max(marks, 0)
    source.close()
    largest = max(len(event) for event in re.split(rb"^E ", body, flags=re.MULTILINE))
    assert largest < max(sizes) < 5 * largest
    assert sizes[-1] < 100_000


def test_standard_input(tmp_path, ttbar):
    program = "from tests.hepmc_files import read; print(sum(batch.n_events for batch in read('-')[0]))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[3],
        input=Path(ttbar).read_bytes(),
        capture_output=True,
        check=True,
    )
    assert done.stdout.strip() == b"40"


# --- what is not a whole HepMC file ---


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (gzip.compress(b"", mtime=0), "the file is empty"),
        (b"Dear all,\nplease find attached\n", "not a HepMC file: it starts with b'Dear all,\\nplease fin'"),
        (b"abc", "not a HepMC file: it starts with b'abc'"),
        (b'<?xml version="1.0"?>\n', "an XML file: it starts with"),
        (b"PK\x03\x04" + bytes(99), "a zip file: it starts with"),
        (b"E 0 1 2\nU GEV MM\n", "not a HepMC file: it starts with b'E 0 1 2"),
    ],
)
def test_file_that_is_not_hepmc(tmp_path, content, what):
    with pytest.raises(InputError) as caught:
        read_text(content, tmp_path)
    assert caught.value.what.startswith(what)
    assert caught.value.where == str(tmp_path / "events.hepmc")
    assert caught.value.exit_code == 4


def test_listing_of_another_format(tmp_path):
    text = files.sample(1).replace(b"Asciiv3", b"AsciiXX")
    with pytest.raises(
        InputError, match=r":2: listing of format 'AsciiXX' \(known: Asciiv3, IO_GenEvent\); there is no whole event"
    ):
        read_text(text, tmp_path)


def test_control_line_that_nobody_knows(tmp_path):
    text = files.sample(1).replace(b"HepMC::Version", b"HepMC::Varsion")
    with pytest.raises(
        InputError, match=r":1: 'HepMC::Varsion' does not belong here, or what follows it; there is no whole event"
    ):
        read_text(text, tmp_path)


def test_second_listing_before_the_footer_of_the_first(tmp_path):
    first = files.sample(2).partition(b"HepMC::Asciiv3-END")[0]
    line = first.count(b"\n") + 1
    with pytest.raises(InputError) as caught:
        read_text(first + files.sample(1), tmp_path)
    assert caught.value.what == (
        "a new listing starts before the footer of the last one; the last whole event before it is number 1 (position 1)"
    )
    assert caught.value.where == f"{tmp_path / 'events.hepmc'}:{line}"


def test_event_outside_a_listing(tmp_path):
    with pytest.raises(
        InputError, match=r":\d+: an event outside a listing; the last whole event before it is number 0"
    ):
        read_text(files.sample(1) + files.gun_event(1, (211, 1, 0, 0, 1)), tmp_path)


def test_lines_of_an_event_without_its_first_line(tmp_path):
    text = files.sample(2).replace(b"E 0 3 9\n", b"")
    with pytest.raises(
        InputError, match=r":3: a line that no header has, before the first event; there is no whole event"
    ):
        read_text(text, tmp_path)


@pytest.mark.parametrize("version", ["hepmc3", "hepmc2"])
def test_file_cut_anywhere_is_an_error_or_complete(tmp_path, version):
    """Every single place of a small file; only what follows the footer's words may be missing."""
    text = files.sample(2, version, weights=(1.0, 2.0))
    path = tmp_path / "cut.hepmc"
    needed = text.index(b"-END_EVENT_LISTING") + len("-END_EVENT_LISTING")
    for cut in range(len(text)):
        path.write_bytes(text[:cut])
        if cut >= needed:
            assert sum(batch.n_events for batch in read(path)[0]) == 2
            continue
        with pytest.raises(InputError) as caught:
            read(path)
        assert caught.value.where.startswith(str(path))


def test_truncation_names_line_and_last_good_event(tmp_path):
    text = files.sample(3)
    start = text.index(b"\nE 2 ") + 1
    cut = text[: start + 200]
    with pytest.raises(InputError) as caught:
        read_text(cut, tmp_path)
    assert "the file ends in the middle of an event listing (no footer): it is truncated" in caught.value.what
    assert caught.value.where == f"{tmp_path / 'events.hepmc'}:{1 + cut.count(10)}"
    assert caught.value.hint == "copy or produce the file again, or keep its whole events with --allow-truncated"
    with pytest.raises(InputError, match=r":1: the file ends before its event listing starts: it is truncated"):
        read_text(b"HepMC::Version 3.02.05\n", tmp_path)


def test_truncated_first_of_two_files_is_not_passed_over(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_bytes(files.sample(3)[:-60])
    paths[1].write_bytes(files.sample(3))
    with pytest.raises(InputError) as caught:
        read(*paths)
    assert caught.value.where.startswith(f"{paths[0]}:")
