"""Damaged events: told with file and line, and no other event is lost with them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fastsim import columns as c
from fastsim.io import hepmc_text as t
from tests import hepmc_files as files
from tests.hepmc_files import read_text


def damaged(version, what):
    """Every damage of one kind to a file of two events: (text, line from 1 or None)."""
    text = files.sample(2, version)
    lines = text.splitlines(keepends=True)
    body = [i for i, line in enumerate(lines) if line[:1] in (b"P", b"V")]
    if what == "removed":
        yield from ((b"".join(lines[:i] + lines[i + 1 :]), None) for i in body)
    elif what == "doubled":
        yield from ((b"".join(lines[: i + 1] + lines[i:]), None) for i in body)
    else:
        for i in body:
            for at in range(1, len(lines[i]) - 1, 9):
                changed = lines[i][:at] + what + lines[i][at + 1 :]
                yield b"".join([*lines[:i], changed, *lines[i + 1 :]]), i + 1


@pytest.mark.parametrize("version", ["hepmc3", "hepmc2"])
@pytest.mark.parametrize("what", ["removed", "doubled", b"x", b"#", b"\xff", b"\0"])
def test_damaged_line_makes_its_event_unreadable_and_no_other(tmp_path, version, what):
    for text, line in damaged(version, what):
        (batch,), bad, _ = read_text(text, tmp_path)
        assert batch.n_events == len(bad) == 1
        assert batch[c.EVENT_ID].tolist() == [1 - bad[0][0]]
        if line:
            assert bad[0][1].where == f"{tmp_path / 'events.hepmc'}:{line}"


@pytest.mark.parametrize("version", ["hepmc3", "hepmc2"])
@pytest.mark.parametrize("what", [b" ", b"-", b".", b"9", b"e", b"\n", b"[", b"@", b","])
def test_damage_that_may_still_be_a_number_loses_no_event_and_no_particle(tmp_path, version, what):
    for text, _ in damaged(version, what):
        (batch,), bad, _ = read_text(text, tmp_path)
        assert batch.n_events + len(bad) == 2
        assert np.diff(batch.offsets["particle"]).tolist() == [9] * batch.n_events


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b"V -1 0 [1,2]", b"V -1 0 [1,9999]", t.BAD_END),  # pyhepmc alone crashes here
        (b"V -1 0 [1,2]", b"V -1 0 [1,1]", t.BAD_END),
        (b"V -1 0 [1,2]", b"V -9 0 [1,2]", t.BAD_VERTEX_ID),
        (b"V -1 0 [1,2]", b"V -1 0 1,2]", t.BAD_VERTEX3),
        (b"P 3 -1 211 2.9999999999", b"P 3 -1 211 2.99.9999999", t.BAD_PARTICLE3),  # pyhepmc alone reads 2.99
        (b"U GEV MM", b"U GEV M", t.BAD_UNITS),  # and here
        (b"E 0 3 9", b"E 0 3 x", t.BAD_EVENT3),
        (b"P 9 ", b"P 99 ", t.BAD_ID),
        (b"P 2 0 2212 ", b"P 1 0 2212  ", t.BAD_ID),
        (b"P 2 0 2212", b"P 2 2 2212", t.BAD_MOTHER),
        (b"P 2 0 2212", b"P 2 -5 2212", t.BAD_MOTHER),
        (b"P 2 0 2212", b"P 2 0 2212 0.0", t.BAD_PARTICLE3),
        (b"P 2 0 2212", b"Q 2 0 2212", t.NO_LINE),
        (b"P 3 -1 211 ", b"P 3 -1 211 nan ", t.BAD_PARTICLE3),
    ],
)
def test_numbers_that_do_not_fit_are_told_with_their_line(tmp_path, old, new, fault):
    text = files.sample(2)
    changed = text.replace(old, new, 1)
    line = changed[: changed.index(new)].count(b"\n") + 1
    _, bad, _ = read_text(changed, tmp_path)
    shown = changed.splitlines()[line - 1][:60].decode()
    shown = f"the line is {shown!r}" if len(changed.splitlines()[line - 1]) <= 60 else f"the line is '{shown}...'"
    ((event_id, error),) = bad
    assert event_id == 0
    assert error.where == f"{tmp_path / 'events.hepmc'}:{line}"
    assert error.what == f"event 0 (position 0): {t.FAULTS[fault]}; {shown}"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b"E 0 3 9", b"E 0 3 8", t.BAD_ID),
        (b"E 0 3 9", b"E 0 3 10", t.WRONG_COUNTS),
        (b"E 0 3 9", b"E 0 4 9", t.WRONG_COUNTS),
        (b"E 0 3 9", b"E 0 2000000000 2000000000", t.WRONG_COUNTS),
        (b"V -1 0 [1,2] @ ", b"A -1 0 [1,2] @ ", t.WRONG_COUNTS),
    ],
)
def test_counts_of_the_first_line_must_be_met(tmp_path, old, new, fault):
    _, bad, _ = read_text(files.sample(2).replace(old, new, 1), tmp_path)
    assert t.FAULTS[fault] in bad[0][1].what


HEPMC2_FAULTS = [
    (r"(?m)^E 0 0 ", "E x 0 ", t.BAD_EVENT2),
    (r"(?m)^P (\d+) 211 ", r"P \1 211.5 ", t.BAD_PARTICLE2),
    (r"(?m)^V -1 0 ", "V 1 0 ", t.BAD_VERTEX2),
    (r"(?m)^V -2 0 ", "V -1 0 ", t.BAD_VERTEX_ID),
    (r"(?m)^V -2 0 ", "V -7 0 ", t.NO_END),
    (r"(?m)^(V -1 .*) 2 3 0$", r"\1 2 4 0", t.NOT_ANNOUNCED),
    (r"(?m)^(V -1 .*) 2 3 0$", r"\1 2 2 0", t.NOT_ANNOUNCED),
    (r"(?m)^(V -1 .*) 2 3 0$", r"\1 3 2 0", t.NO_END),
    (r"(?m)^(P \d+ 211 )\S+", r"\1inf", t.NOT_FINITE),
    (r"(?m)^(V -1 0 )\S+", r"\1nan", t.NOWHERE),
    (r"(?m)^U GEV MM", "U MM GEV", t.BAD_UNITS),
]


@pytest.mark.parametrize(("pattern", "new", "fault"), HEPMC2_FAULTS)
def test_faults_of_hepmc2(tmp_path, pattern, new, fault):
    text, n = re.subn(pattern, new, files.sample(2, "hepmc2").decode(), count=1)
    assert n == 1, text
    _, bad, _ = read_text(text.encode(), tmp_path)
    assert t.FAULTS[fault] in bad[0][1].what


def test_particles_that_are_their_own_ancestors(tmp_path):
    text = b"E 7 2 2\nV -1 0 [1] @ 0 0 0 0\nV -2 0 [2]\nP 1 -2 22 1 0 0 1 0 2\nP 2 -1 22 1 0 0 1 0 2\n"
    _, bad, _ = read_text(files.listing(text), tmp_path)
    assert t.FAULTS[t.CYCLE] in bad[0][1].what
    text = b"E 7 1 2\nP 1 0 22 1 0 0 1 0 2\nP 2 -1 22 1 0 0 1 0 2\n"
    _, bad, _ = read_text(files.listing(text), tmp_path)
    assert t.FAULTS[t.WRONG_COUNTS] in bad[0][1].what
    text = b"E 7 2 3\nP 1 0 22 1 0 0 1 0 2\nP 2 1 22 1 0 0 1 0 2\nV -2 0 []\nP 3 -1 22 1 0 0 1 0 2\n"
    _, bad, _ = read_text(files.listing(text), tmp_path)
    assert t.FAULTS[t.NO_VERTEX] in bad[0][1].what


def test_changed_weight_is_a_bad_event_not_a_crash(tmp_path):
    text = files.sample(2, weights=(0.5, 2.0)).replace(
        b"W 5.0000000000000000000000e-01", b"W 5.0000000000000000000000x-01", 1
    )
    (batch,), bad, _ = read_text(text, tmp_path)
    assert [(event_id, t.FAULTS[t.BAD_WEIGHTS] in error.what) for event_id, error in bad] == [(0, True)]
    assert batch[c.EVENT_ID].tolist() == [1]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize("axis", range(4))
def test_momentum_that_is_not_a_number(tmp_path, value, axis):
    momentum = [1.0, 2.0, 3.0, 4.0]
    momentum[axis] = value
    text = files.listing(files.gun_event(0, (211, *momentum)), files.gun_event(1, (211, 1, 2, 3, 4)))
    (batch,), bad, _ = read_text(text, tmp_path)
    assert t.FAULTS[t.NOT_FINITE] in bad[0][1].what
    assert "the line is 'P 3 -1 211 " in bad[0][1].what
    assert batch[c.EVENT_ID].tolist() == [1]


def test_vertex_that_is_nowhere(tmp_path):
    text = files.gun((211, 1, 2, 3, 4)).replace(b"@ 0 0 0 0", b"@ 0 nan 0 0")
    _, bad, _ = read_text(text, tmp_path)
    assert t.FAULTS[t.NOWHERE] in bad[0][1].what


def test_bad_events_come_in_the_order_of_the_file(tmp_path):
    text = files.listing(*(files.gun_event(number, (211, "nan", 0, 0, 1)) for number in (10, 9, 11)))
    _, bad, _ = read_text(text, tmp_path)
    assert [event_id for event_id, _ in bad] == [0, 1, 2]
    assert [error.what.partition(" (")[0] for _, error in bad] == ["event 10", "event 9", "event 11"]


def test_bad_events_leave_the_columns_of_the_others_as_they_are(tmp_path):
    text = files.sample(4)
    (whole,), _, _ = read_text(text, tmp_path)
    (rest,), bad, _ = read_text(text.replace(b"P 3 -1", b"P 3 x1", 1), tmp_path)
    assert [event_id for event_id, _ in bad] == [0]
    without_first = whole.slice_events(1, 4)
    for column in c.READ:
        np.testing.assert_array_equal(rest[column], without_first[column])


def test_the_reader_prints_nothing(tmp_path, capfd):
    for text, _ in (*damaged("hepmc3", "removed"), *damaged("hepmc2", "doubled"), *damaged("hepmc3", b"x")):
        read_text(text, tmp_path)
    assert capfd.readouterr() == ("", "")
