"""HEPEVT text: what pyhepmc writes and reads of the same events, and what is broken."""

from __future__ import annotations

import io
import math

import numpy as np
import pyhepmc
import pytest

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.io.hepevt import HepevtEvents, recognises
from tests.source_checks import NS_PER_MM, assert_sound, joined, mothers_of, points_of, read_all, reasons

HERE, AWAY = (0.0, 0.0, 3.0, 0.0), (1.0, 2.0, 30.0, 40.0)


def row(pdg, status, mothers=(0, 0), p=(0.0, 0.0, 1.0, 1.0), mass=0.0, x=HERE, daughters=(0, 0)):
    return [status, pdg, *mothers, *daughters, *p, mass, *x]


DECAYS = [
    row(2212, 4, p=(0.0, 0.0, 6500.0, 6500.0), mass=0.938),
    row(2212, 4, p=(0.0, 0.0, -6500.0, 6500.0), mass=0.938),
    row(310, 2, (1, 2), p=(1.0, 2.0, 2.0, 3.04), mass=0.498),
    row(211, 1, (3, 3), mass=0.14, x=AWAY),
    row(22, 1, (1, 2)),
    row(-211, 1, (3, 0), mass=0.14, x=AWAY),
]


def event(number, rows, n=None):
    lines = [f"E {number} {len(rows) if n is None else n}\n"]
    for r in rows:
        lines += [" ".join(map(repr, r[:11])) + "\n", " ".join(map(repr, r[11:])) + "\n"]
    return "".join(lines)


def source(tmp_path, *events):
    path = tmp_path / "events.hepevt"
    path.write_text("".join(events))
    return HepevtEvents(str(path))


def ask_pyhepmc(text):
    """Events as pyhepmc reads them."""
    reader = pyhepmc.io.ReaderHEPEVT(stream := pyhepmc.io.pyiostream(io.BytesIO(text.encode())))
    found = []
    for _ in range(text.count("E ")):
        found.append(pyhepmc.GenEvent())
        assert reader.read_event(found[-1])
    del stream
    return found


def family(p):
    """A particle as pyhepmc has it, with its mothers and place, for comparison whatever the order."""
    x = p.production_vertex.position if p.parents else None
    place = (round(0.1 * x.x, 9), round(0.1 * x.y, 9), round(0.1 * x.z, 9), round(NS_PER_MM * x.t, 9)) if x else None
    return p.pid, p.status, p.momentum.px, p.momentum.e, p.generated_mass, sorted(m.pid for m in p.parents), place


def families(batch, i):
    """The same of a batch."""
    one = batch.slice_events(i, i + 1)
    pdg = one[c.PDG]
    return [
        (int(pdg[k]), int(one[c.STATUS][k]), float(one[c.MOMENTUM[0]][k]), float(one[c.ENERGY][k]), float(one[c.MASS][k]),
         sorted(int(pdg[m]) for m in mothers), tuple(round(float(x), 9) for x in place) if mothers else None)
        for k, (mothers, place) in enumerate(zip(mothers_of(batch, i), points_of(batch, i), strict=True))
    ]  # fmt: skip


def test_says_what_pyhepmc_says(tmp_path):
    text = event(7, DECAYS) + event(8, DECAYS[:5])
    (read,), record = read_all(source(tmp_path, text))
    assert_sound(read)
    assert not reasons([read])
    assert read.batch[c.EVENT_NUMBER].tolist() == [7, 8]
    for i, oracle in enumerate(ask_pyhepmc(text)):
        assert sorted(families(read.batch, i)) == sorted(family(p) for p in oracle.particles)
    assert read.batch[c.PDG][:6].tolist() == [2212, 2212, 310, 211, 22, -211]  # in the order of the file
    assert read.batch[c.PRODUCTION_VERTEX][:6].tolist() == [-1, -1, 0, 1, 0, 1]
    assert [read.batch[x][0] for x in c.VERTEX_TRUE] == [0, 0, pytest.approx(0.3), 0]
    assert read.batch[c.WEIGHT_VALUE].tolist() == [1.0, 1.0]
    assert record.info == {"format": "HEPEVT", "weight_names": []}


def test_reads_what_pyhepmc_writes(tmp_path):
    path = tmp_path / "events.hepevt"
    with (
        pyhepmc.open("tests/data/pp_ttbar_40.hepmc.zst") as stream,
        pyhepmc.open(str(path), "w", format="hepevt") as out,
    ):
        for some, _ in zip(stream, range(2), strict=False):
            out.write(some)
    (read,), _ = read_all(HepevtEvents(str(path)))
    assert_sound(read)
    assert not reasons([read])
    for i, oracle in enumerate(ask_pyhepmc(path.read_text())):
        ours = families(read.batch, i)
        theirs = [family(p) for p in oracle.particles]
        assert sorted(f[:5] for f in ours) == sorted(f[:5] for f in theirs)
        assert len(ours) > 100


def test_particles_without_mothers_keep_their_place(tmp_path):
    text = event(0, [row(211, 1, x=AWAY), row(-211, 1, x=HERE), row(22, 1, x=AWAY)])
    assert not ask_pyhepmc(text)[0].particles  # which is why the numbers are not read by pyhepmc
    (read,), _ = read_all(source(tmp_path, text))
    np.testing.assert_allclose(points_of(read.batch, 0)[:2], [(0.1, 0.2, 3.0, 40 * NS_PER_MM), (0, 0, 0.3, 0)])
    assert read.batch[c.PRODUCTION_VERTEX].tolist() == [0, 1, 0]


def test_mothers_are_a_range(tmp_path):
    """As HepMC3 reads them, and what it writes: only 0 0 is none; a second that is smaller counts for nothing."""
    rows = [
        *DECAYS[:2],
        *[row(21, 2, (1, 2))] * 3,
        row(111, 1, (3, 5)),
        row(221, 1, (2, 1)),
        row(331, 1, (0, 4), x=AWAY),
    ]
    (read,), _ = read_all(source(tmp_path, event(0, rows)))
    assert mothers_of(read.batch, 0)[5] == {2, 3, 4}
    assert mothers_of(read.batch, 0)[6] == set()  # of 2 alone, which has ended in the collision with 1
    assert points_of(read.batch, 0)[7].tolist() == pytest.approx([0.1, 0.2, 3.0, 40 * NS_PER_MM])


GOOD = "E 5 1\n"
LINES = (" ".join(map(repr, row(22, 1)[:11])), "0 0 0 0")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (event(5, DECAYS, n=7), "it announces 7 particles of 15 numbers, and has 90 numbers"),
        (event(5, DECAYS, n=5), "it announces 5 particles of 15 numbers, and has 90 numbers"),
        (event(5, DECAYS)[:-20] + "\n", "it announces 6 particles of 15 numbers, and has"),
        ("E 5 1 2\n" + "\n".join(LINES) + "\n", "its first line must be 'E number n_particles', and is b'E 5 1 2'"),
        ("E five 1\n" + "\n".join(LINES) + "\n", "its first line must be 'E number n_particles', and is b'E five 1'"),
        ("E 5 -1\n", "it announces -1 particles of 15 numbers, and has 0 numbers"),
        (event(5, DECAYS).replace("3.04", "3.o4"), "b'3.o4' is not a number"),
        (event(5, DECAYS).replace(" 310 ", " 310.5 "), "status, PDG code, mothers and daughters must be whole numbers"),
        (event(5, DECAYS).replace(" 310 ", " 9876543210 "), "status, PDG code, mothers and daughters must be whole numbers"),
        (event(5, DECAYS).replace(" 310 ", " nan "), "status, PDG code, mothers and daughters must be whole numbers"),
        (event(5, [*DECAYS, row(22, 1, (9, 2000000000))]), "particle 7 has the mother 9, where there are particles 1 to 7"),
        (event(5, [*DECAYS, row(22, 1, (-1, 0))]), "particle 7 has the mother -1, where there are particles 1 to 7"),
        (event(5, [*DECAYS, row(22, 1, (7, 7))]), "its particles are their own ancestors"),
        (event(5, [row(22, 1, p=(math.inf, 0, 0, 1))]), "particle 1 (PDG code 22) has px = inf"),
        (event(5, [row(22, 1, x=(math.nan, 0, 0, 1))]), "vertex 1 is at [nan, 0.0, 0.0,"),
        (event(5, [row(22, 1, x=(0, 0, 1e40, 1))]), "vertex 1 is at [0.0, 0.0, 1.0000000000000001e+39,"),
        (event(5, [row(22, 1)] * 200 + [row(22, 1, (1, 200))] * 300), "its 500 particles have 60000 mothers in all"),
        (event(5, DECAYS).replace("3.04", "3" * 3_000_000), f"b'{40 * '3'}', of 3000000 characters, is not a number"),
    ],
)  # fmt: skip
def test_bad_events_are_told_and_the_others_kept(tmp_path, text, reason):
    reads, record = read_all(source(tmp_path, event(4, DECAYS), text, event(6, DECAYS)), first_event=10)
    number = 0 if "first line" in reason else 5
    assert list(reasons(reads)) == [11]
    assert reasons(reads)[11].startswith(f"{record.name}: event {number} (position 11): {reason}")
    assert_sound(reads[0])
    assert joined(reads, c.EVENT_ID).tolist() == [10, 12]
    assert joined(reads, c.EVENT_NUMBER).tolist() == [4, 6]
    assert joined(reads, c.PDG).tolist() == [2212, 2212, 310, 211, 22, -211] * 2


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_an_event_that_is_cut_within_its_last_number_is_told(tmp_path, cut):
    away = [row(22, 1, x=(1.0, 2.0, 3.0, 12.34567))]
    (read,), _ = read_all(source(tmp_path, event(4, DECAYS), event(5, away)[:-cut]))
    assert reasons([read])[1].endswith(
        "event 0 (position 1): its last line has no end, so that the last number may be half of one: the file is truncated"
    )
    assert read.batch[c.EVENT_ID].tolist() == [0]


def test_an_empty_event_is_an_event(tmp_path):
    (read,), _ = read_all(source(tmp_path, event(4, []), event(5, DECAYS)))
    assert np.diff(read.batch.offsets["particle"]).tolist() == [0, 6]
    assert [read.batch[x][0] for x in c.VERTEX_TRUE] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("events", "ids"), [((0, None), range(10, 16)), ((12, 14), [12, 13]), ((0, 11), [10]), ((16, 20), []), ((0, 5), [])]
)
@pytest.mark.parametrize("limits", [(1, 1000), (2, 1000), (100, 1000), (100, 1)])
def test_range_and_blocks(tmp_path, events, ids, limits):
    reads, record = read_all(
        source(tmp_path, *[event(i, DECAYS) for i in range(6)]), first_event=10, events=events, limits=limits
    )
    assert [i for read in reads for i in read.batch[c.EVENT_ID]] == list(ids)
    assert [i for read in reads for i in read.batch[c.EVENT_NUMBER]] == [i - 10 for i in ids]
    assert record.first_event == 10


@pytest.mark.parametrize("text", ["", "cats\n", "cats\nE 0 0\n"])
def test_what_is_not_hepevt_is_refused(tmp_path, text):
    with pytest.raises(InputError, match=r"not HEPEVT text: it starts with b'.*', not with 'E number n_particles'"):
        source(tmp_path, text)


def test_recognises():
    assert recognises(event(0, DECAYS).encode()[:1000])
    assert recognises(event(0, DECAYS).replace("\n", "\r\n").encode())
    assert recognises(event(0, DECAYS).replace("\n", "\n\n", 1).encode())
    assert recognises(b"E 0 0\nE 1 0\n")
    assert recognises(b"E 0 0\n")
    assert not recognises(b"HepMC::Version 3.02.05\nHepMC::Asciiv3-START_EVENT_LISTING\nE 0 1 3\n")
    assert not recognises(b"E 0 1 3\nU GEV MM\n")  # of HepMC3
    assert not recognises(b"Every\n")
