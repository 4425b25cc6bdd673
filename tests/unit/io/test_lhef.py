"""Les Houches files: what pylhe and pyhepmc say of the same text, decays in flight, and what is broken."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
from pathlib import Path

import numpy as np
import pyhepmc
import pylhe
import pytest

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.io import lhef, stream
from fastsim.io.lhef import LhefEvents, recognises
from tests.source_checks import assert_sound, joined, mothers_of, points_of, read_all, reasons

NAMES = """<header>
<!-- a > b & c: generators put what they like here -->
<initrwgt>
<weightgroup name='scales' combine='envelope'>
<weight id='up'> muR=2 </weight>
<weight id='down'> muR=0.5 </weight>
</weightgroup>
</initrwgt>
</header>
"""
INIT = """<init>
2212 2212 6.5e3 6.5e3 0 0 247000 247000 3 2
12.5 0.3 12.5 1
30.0 0.4 30.0 2
<generator name='MadGraph' version='3.5'>Alwall</generator>
</init>
"""
RWGT = "<rwgt>\n<wgt id='down'>0.25</wgt>\n<wgt id='up'>1.25</wgt>\n</rwgt>\n"


def particle(pdg, status, mothers, p, mass, lifetime=0.0):
    energy = math.sqrt(sum(x * x for x in p) + mass * mass)
    numbers = " ".join(f"{x!r}" for x in (*p, energy, mass, lifetime))
    return f" {pdg} {status} {mothers[0]} {mothers[1]} 0 0 {numbers} 9.\n"


TOPS = (
    particle(21, -1, (0, 0), (0.0, 0.0, 500.0), 0.0),
    particle(21, -1, (0, 0), (0.0, 0.0, -400.0), 0.0),
    particle(6, 2, (1, 2), (30.0, 40.0, 50.0), 173.0),
    particle(-6, 1, (1, 2), (-30.0, -40.0, 50.0), 173.0),
    particle(24, 2, (3, 3), (10.0, 20.0, 30.0), 80.0),
    particle(5, 1, (3, 0), (20.0, 20.0, 20.0), 4.8),
    particle(-11, 1, (5, 5), (5.0, 10.0, 10.0), 0.0),
    particle(12, 1, (5, 5), (5.0, 10.0, 20.0), 0.0),
)


def event(*particles, weight=0.5, n=None, more=RWGT, attributes=""):
    announced = len(particles) if n is None else n
    return f"<event{attributes}>\n {announced} 1 {weight!r} 91.0 0.0078 0.118\n{''.join(particles)}{more}</event>\n"


def document(*events, names=NAMES, init=INIT, end="</LesHouchesEvents>\n"):
    return f'<LesHouchesEvents version="3.0">\n{names}{init}{"".join(events)}{end}'


def source(tmp_path, *events, **options):
    path = tmp_path / "events.lhe"
    path.write_text(document(*events, **options))
    return LhefEvents(str(path))


def test_columns_are_what_pylhe_reads_and_links_what_pyhepmc_makes(tmp_path):
    (read,), record = read_all(source(tmp_path, event(*TOPS), event(*TOPS[:4], weight=-2.0)))
    assert_sound(read)
    batch = read.batch
    particles = [p for e in pylhe.LHEFile.fromfile(record.name).events for p in e.particles]
    for column, name in zip((c.PDG, *c.MOMENTUM, c.ENERGY, c.MASS), ("id", "px", "py", "pz", "e", "m"), strict=True):
        assert batch[column].tolist() == [getattr(p, name) for p in particles]
    assert batch[c.STATUS].tolist() == [4, 4, 2, 1, 2, 1, 1, 1, 4, 4, 2, 1]
    oracle_path = tmp_path / "oracle.lhe"
    oracle_path.write_text(Path(record.name).read_text().replace(" 5 1 3 0 ", " 5 1 3 3 "))  # a 0 means none to HepMC3
    with pyhepmc.open(str(oracle_path), format="lhef") as stream:
        for i, oracle in enumerate(stream):
            pdg = batch.slice_events(i, i + 1)[c.PDG].tolist()
            ours = [
                (code, sorted(pdg[m] for m in mothers)) for code, mothers in zip(pdg, mothers_of(batch, i), strict=True)
            ]
            assert sorted(ours) == sorted((p.pid, sorted(m.pid for m in p.parents)) for p in oracle.particles)
    assert batch[c.PRODUCTION_VERTEX].tolist() == [-1, -1, 0, 0, 1, 1, 2, 2, -1, -1, 0, 0]
    assert batch[c.EVENT_NUMBER].tolist() == [0, 1]


def test_weights_and_cross_section(tmp_path):
    (read,), record = read_all(source(tmp_path, event(*TOPS), event(*TOPS, weight=-2.0)))
    assert record.info == {"format": "LHEF", "weight_names": ["XWGTUP", "up", "down"], "generators": ["MadGraph 3.5"]}
    assert read.batch[c.WEIGHT].tolist() == [0.5, -2.0]
    assert read.batch[c.WEIGHT_VALUE].tolist() == [0.5, 1.25, 0.25, -2.0, 1.25, 0.25]
    section, error = (read.batch[column].tolist() for column in c.CROSS_SECTION)
    assert section == [42.5, 42.5]
    assert error == pytest.approx([0.5, 0.5])  # 0.3 and 0.4 in quadrature


def test_without_processes_the_cross_section_is_not_known(tmp_path):
    (read,), _ = read_all(source(tmp_path, event(*TOPS), init="\n".join(INIT.splitlines()[:2]) + "\n</init>\n"))
    assert np.isnan([read.batch[column] for column in c.CROSS_SECTION]).all()


def test_a_comment_that_swallows_the_next_event_is_told(tmp_path):
    texts = [event(*TOPS, more=RWGT + "<!--"), event(*TOPS, more="-->" + RWGT), event(*TOPS)]
    (read,), _ = read_all(source(tmp_path, *texts))
    assert 0 in reasons([read])
    assert read.batch.n_events + len(read.bad) == 3
    opened = LhefEvents(str(tmp_path / "events.lhe"))
    opened.close()
    with pytest.raises(lhef._UnreadableError, match="2 events come of 3"):
        lhef._parse(opened._header, [text.encode() for text in texts])


def test_an_event_within_a_comment_is_none(tmp_path):
    texts = [event(*TOPS), event(*TOPS).replace("<event>", "<event><!--").replace("</event>", "--></event>")]
    (read,), _ = read_all(source(tmp_path, *texts))
    assert list(reasons([read])) == [1]


def test_weights_in_their_short_form(tmp_path):
    (read,), _ = read_all(source(tmp_path, event(*TOPS, more="<weights>1.25 0.25</weights>\n")))
    assert read.batch[c.WEIGHT_VALUE].tolist() == [0.5, 1.25, 0.25]


def test_weights_without_names_in_the_header_are_named_by_the_first_event(tmp_path):
    (read,), record = read_all(source(tmp_path, event(*TOPS), event(*TOPS), names=""))
    assert record.info["weight_names"] == ["XWGTUP", "down", "up"]
    assert read.batch[c.WEIGHT_VALUE].tolist() == [0.5, 0.25, 1.25] * 2


def test_a_first_version_file_without_weights(tmp_path):
    (read,), record = read_all(source(tmp_path, event(*TOPS, more="# a comment\n"), names="<!-- a comment -->\n"))
    assert record.info["weight_names"] == ["XWGTUP"]
    assert read.batch[c.WEIGHT_VALUE].tolist() == [0.5]


def test_decays_in_flight(tmp_path):
    """A mother with c tau = 20 mm and beta gamma = 3/4 along x decays 15 mm away, after gamma tau = 25 mm/c."""
    rows = (
        particle(11, -1, (0, 0), (0.0, 0.0, 5.0), 0.0),
        particle(-11, -1, (0, 0), (0.0, 0.0, -5.0), 0.0),
        particle(1000022, 2, (1, 2), (3.0, 0.0, 0.0), 4.0, 20.0),
        particle(1000023, 2, (3, 3), (0.0, -3.0, 0.0), 4.0, 20.0),
        particle(22, 1, (4, 4), (1.0, 0.0, 0.0), 0.0),
        particle(13, 1, (3, 3), (1.0, 0.0, 0.0), 0.1),
    )
    (read,), _ = read_all(source(tmp_path, event(*rows, more=""), names=""))
    time = 2.5 / 29.9792458  # ns
    expected = [[0, 0, 0, 0], [1.5, 0, 0, time], [1.5, -1.5, 0, 2 * time], [1.5, 0, 0, time]]
    np.testing.assert_allclose(points_of(read.batch, 0)[2:], expected, rtol=1e-12, atol=1e-15)
    assert [read.batch[x][0] for x in c.VERTEX_TRUE] == [0, 0, 0, 0]


def test_mothers_are_a_range(tmp_path):
    rows = [*TOPS[:4], particle(25, 1, (2, 4), (0.0, 0.0, 1.0), 125.0), particle(25, 1, (0, 4), (0.0, 0.0, 1.0), 125.0)]
    (read,), _ = read_all(source(tmp_path, event(*rows)))
    assert mothers_of(read.batch, 0)[4] == {2, 3}  # 1 ends where it makes the tops
    assert mothers_of(read.batch, 0)[5] == set()  # 3 ends there already


MORE = RWGT.replace("</rwgt>", "<wgt id='odd'>1</wgt></rwgt>")
HEADLESS = event(*TOPS).replace("<event", "<evemt")
ODD = (22, 1, (1, 2), (0.0, 0.0, 1.0), 0.0)


def with_odd(**changes):
    """The event with one more particle, of which something is odd."""
    names = ("pdg", "status", "mothers", "p", "mass")
    return event(*TOPS, particle(*({**dict(zip(names, ODD, strict=True)), **changes}.values())))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (event(*TOPS, n=7), "it announces 7 particles and has 8"),
        (with_odd(mothers=(12, 12)), "particle 9 has the mother 12, where there are particles 1 to 9"),
        (with_odd(mothers=(-2, 0)), "particle 9 has the mother -2, where there are particles 1 to 9"),
        (with_odd(mothers=(9, 9)), "its particles are their own ancestors"),
        (with_odd(p=(math.nan, 0.0, 1.0)), "particle 9 (PDG code 22) has px = nan"),
        (with_odd(p=(0.0, 0.0, 1e39)), "particle 9 (PDG code 22) has pz = 1e+39"),
        (event(*TOPS, weight=math.nan), "it has the weight nan"),
        (event(*TOPS, weight=1e39), "it has the weight 1e+39"),
        (event(*TOPS).replace(">1.25<", ">inf<"), "it has the weight inf"),
        (event(TOPS[2].replace(" 0.0 9.", " 1e300 9."), particle(22, 1, (1, 1), (1, 0, 0), 0)), "vertex 2 is at [1.73"),
        (with_odd(pdg=10**10), "10000000000 is too large a code"),
        (event(*TOPS).replace(" 500.0", " 5oo.0"), "pylhe cannot read it: ValueError: could not convert string to float"),
        (event(*TOPS).replace("</rwgt>", ""), "pylhe cannot read it: RuntimeWarning: Parse Error: mismatched tag"),
        (event(*TOPS).replace("</event>", ""), "pylhe cannot read it: it has no </event>"),
        (event(*TOPS) + HEADLESS, "pylhe cannot read it: an event that has no <event> follows on it"),
        (event(), "pylhe cannot read it"),
        (event(*TOPS, more=""), "it has no weight 'up'"),
        (event(*TOPS, more=MORE), "it has a weight that the file does not name, 'odd'"),
    ],
)  # fmt: skip
def test_bad_events_are_told_and_the_others_kept(tmp_path, text, reason):
    if text == event():
        text = "<event>\n</event>\n"
    reads, record = read_all(source(tmp_path, event(*TOPS), text, event(*TOPS[:4])), first_event=10)
    assert list(reasons(reads)) == [11]
    assert reasons(reads)[11].startswith(f"{record.name}: event 1 (position 11): {reason}")
    assert_sound(reads[0])
    assert joined(reads, c.EVENT_ID).tolist() == [10, 12]
    assert joined(reads, c.PDG).tolist() == [21, 21, 6, -6, 24, 5, -11, 12, 21, 21, 6, -6]
    assert joined(reads, c.WEIGHT_VALUE).tolist() == [0.5, 1.25, 0.25] * 2


@pytest.mark.parametrize(
    ("events", "ids"), [((0, None), range(10, 16)), ((12, 14), [12, 13]), ((0, 11), [10]), ((16, 20), []), ((0, 5), [])]
)
@pytest.mark.parametrize("limits", [(1, 1000), (2, 1000), (100, 1000), (100, 1)])
def test_range_and_blocks(tmp_path, events, ids, limits):
    texts = [event(*TOPS, weight=float(i)) for i in range(6)]
    reads, record = read_all(source(tmp_path, *texts), first_event=10, events=events, limits=limits)
    assert [i for read in reads for i in read.batch[c.EVENT_ID]] == list(ids)
    assert [i for read in reads for i in read.batch[c.WEIGHT]] == [i - 10 for i in ids]
    assert record.first_event == 10


def test_a_file_without_events(tmp_path):
    reads, record = read_all(source(tmp_path))
    assert not reads
    assert record.n_events == 0


@pytest.mark.parametrize("piece", [70, 200, 1000])
@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, bz2.compress, lzma.compress, stream.zstd.compress],
    ids=["none", "gzip", "bzip2", "xz", "zstd"],
)
def test_compressed_files_in_pieces_of_any_size(tmp_path, monkeypatch, compress, piece):
    monkeypatch.setattr(stream, "PIECE", piece)
    path = tmp_path / "events.lhe.packed"
    path.write_bytes(compress(document(*[event(*TOPS[:n]) for n in (4, 8, 2, 3)]).encode()))
    reads, record = read_all(LhefEvents(str(path)), limits=(1, 1000))
    assert [read.batch.n_rows("particle") for read in reads] == [4, 8, 2, 3]
    assert record.n_events == 4


def test_groups_of_events_are_looked_through(tmp_path):
    texts = ["<eventgroup>\n", event(*TOPS, attributes=' npLO="1"'), event(*TOPS), "</eventgroup>\n", event(*TOPS)]
    reads, _ = read_all(source(tmp_path, *texts))
    assert joined(reads, c.EVENT_ID).tolist() == [0, 1, 2]


END = "</LesHouchesEvents>\n"


@pytest.mark.parametrize("more", [document(event(*TOPS)), event(*TOPS), "x", "<!-- -->\n</LesHouchesEvents>"])
def test_what_follows_on_the_end_is_told(tmp_path, more):
    path = tmp_path / "events.lhe"
    path.write_text(document(event(*TOPS), end=END) + more)
    message = (
        "something follows on </LesHouchesEvents>, after 1 events: are there several files in it\\?\nhint: split it"
    )
    with pytest.raises(InputError, match=f"^{path}: {message}"):
        read_all(LhefEvents(str(path)))


@pytest.mark.parametrize("more", ["", "  \n\n", "<!-- an event and so on -->\n", "\n<!-- a --> <!-- b -->"])
def test_nothing_follows_on_the_end(tmp_path, more):
    path = tmp_path / "events.lhe"
    path.write_text(document(event(*TOPS), end=END) + more)
    assert read_all(LhefEvents(str(path)))[1].n_events == 1


@pytest.mark.parametrize(
    "odd",
    [
        "<!-- an <event> has an </event>, a file </LesHouchesEvents> -->\n",
        "<slha><![CDATA[ <event> --> ]]></slha>\n",
        "<!-- <init> <event> <![CDATA[ -->\n<!-- <event> -->",
    ],
)
def test_events_in_comments_of_the_header_are_none(tmp_path, odd):
    path = tmp_path / "events.lhe"
    path.write_text(document(event(*TOPS)).replace("<header>\n", f"<header>\n{odd}", 1))
    reads, record = read_all(LhefEvents(str(path)))
    assert joined(reads, c.WEIGHT_VALUE).tolist() == [0.5, 1.25, 0.25]
    assert record.n_events == 1
    path.write_text(document(event(*TOPS)).replace("<header>\n", "<header>\n<!-- ", 1).replace("-->", "", 1))
    with pytest.raises(InputError, match=f"^{path}: a comment or CDATA of the header has no end"):
        LhefEvents(str(path))


@pytest.mark.parametrize("end", ["", "</LesHouchesEv", "</LesHouchesEvents", "<!-- -->"])
def test_a_truncated_file_is_told_after_its_events(tmp_path, end):
    path = tmp_path / "events.lhe"
    path.write_text(document(event(*TOPS), event(*TOPS), end=end))
    message = (
        f"^{path}: the file ends before </LesHouchesEvents>, after 2 events: it is truncated\nhint: copy or produce"
    )
    with pytest.raises(InputError, match=message):
        read_all(LhefEvents(str(path)))


def test_a_truncated_compressed_file_is_told(tmp_path):
    path = tmp_path / "events.lhe.gz"
    path.write_bytes(gzip.compress(document(event(*TOPS)).encode())[:-20])
    with pytest.raises(InputError, match="the compressed data is truncated or damaged"):
        read_all(LhefEvents(str(path)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cats and dogs\n", "not a Les Houches event file: it has no <LesHouchesEvents>"),
        ("", "not a Les Houches event file"),
        (document(HEADLESS), "there is an </event> before the first <event>"),
        (document(event(*TOPS), init=""), "the file has no <init> block before its first event"),
        (document(event(*TOPS), init=INIT.replace("12.5", "x")), "pylhe cannot read the <init> or <initrwgt> block: ValueError"),
        (document(event(*TOPS), names=NAMES.replace("id='up'", "ID='up'")), "block: AttributeError: weight must have"),
    ],
)  # fmt: skip
def test_what_is_no_les_houches_file_is_refused(tmp_path, text, message):
    path = tmp_path / "events.lhe"
    path.write_text(text)
    with pytest.raises(InputError, match=f"^{path}: .*{message}"):
        LhefEvents(str(path))


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        LhefEvents(str(tmp_path / "none.lhe"))


def test_recognises():
    assert recognises(document().encode()[:1000])
    assert recognises(b'<?xml version="1.0"?>\n<LesHouchesEvents version="1.0">')
    assert not recognises(b"HepMC::Version 3")
