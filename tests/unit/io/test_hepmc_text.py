"""Damaged events: told with file and line, and no other event is lost with them."""

from __future__ import annotations

import numpy as np
import pytest

from fastsim import columns as c
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
        assert batch[c.EVENT_ID].tolist() == [1 - bad[0][0].event_id]
        if line:
            assert bad[0][1].startswith(f"line {line} is garbled, or does not fit the others: ")


@pytest.mark.parametrize("version", ["hepmc3", "hepmc2"])
@pytest.mark.parametrize("what", [b" ", b"-", b".", b"9", b"e", b"\n", b"[", b"@", b","])
def test_damage_that_may_still_be_a_number_loses_no_event_and_no_particle(tmp_path, version, what):
    for text, _ in damaged(version, what):
        (batch,), bad, _ = read_text(text, tmp_path)
        assert batch.n_events + len(bad) == 2
        assert np.diff(batch.offsets["particle"]).tolist() == [9] * batch.n_events


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b"V -1 0 [1,2]", b"V -1 0 [1,9999]", 6),  # pyhepmc alone crashes here
        (b"V -1 0 [1,2]", b"V -9 0 [1,2]", 6),
        (b"P 3 -1 211 2.9999999999", b"P 3 -1 211 2.99.9999999", 7),  # pyhepmc alone reads 2.99
        (b"U GEV MM", b"U GEV M", 4),  # and here
        (b"E 0 3 9", b"E 0 3 8", 3),
        (b"E 0 3 9", b"E 0 4 9", 3),
        (b"P 2 0 2212", b"P 3 0 2212", 6),
        (b"P 2 0 2212", b"P 2 0 2212 0.0", 6),
        (b"P 2 0 2212", b"Q 2 0 2212", 6),
    ],
)
def test_numbers_that_do_not_fit_are_told_with_their_line(tmp_path, old, new, line):
    text = files.sample(2)
    changed = text.replace(old, new, 1)
    line = changed[: changed.index(new)].count(b"\n") + 1
    _, bad, _ = read_text(changed, tmp_path)
    shown = changed.splitlines()[line - 1][:60].decode()
    assert [(event.event_id, reason) for event, reason in bad] == [
        (0, f"line {line} is garbled, or does not fit the others: {shown!r}")
    ]


def test_changed_weight_is_a_bad_event_not_a_crash(tmp_path):
    text = files.sample(2, weights=(0.5, 2.0)).replace(
        b"W 5.0000000000000000000000e-01", b"W 5.0000000000000000000000x-01", 1
    )
    (batch,), bad, _ = read_text(text, tmp_path)
    assert [(event.event_id, reason) for event, reason in bad] == [(0, "its particles and vertices do not add up")]
    assert batch[c.EVENT_ID].tolist() == [1]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize(("axis", "name"), list(enumerate(("px", "py", "pz", "e"))))
def test_momentum_that_is_not_a_number(tmp_path, value, axis, name):
    momentum = [1.0, 2.0, 3.0, 4.0]
    momentum[axis] = value
    text = files.listing(files.gun_event(0, (211, *momentum)), files.gun_event(1, (211, 1, 2, 3, 4)))
    (batch,), bad, _ = read_text(text, tmp_path)
    assert [reason for _, reason in bad] == [f"particle 3 (PDG code 211) has {name} = {float(value)}"]
    assert batch[c.EVENT_ID].tolist() == [1]


def test_vertex_that_is_nowhere(tmp_path):
    text = files.gun((211, 1, 2, 3, 4)).replace(b"@ 0 0 0 0", b"@ 0 nan 0 0")
    _, bad, _ = read_text(text, tmp_path)
    assert [reason for _, reason in bad] == ["vertex -1 is at [0.0, nan, 0.0, 0.0]"]


def test_bad_events_come_in_the_order_of_the_file(tmp_path):
    text = files.listing(*(files.gun_event(number, (211, "nan", 0, 0, 1)) for number in (10, 9, 11)))
    _, bad, _ = read_text(text, tmp_path)
    assert [event.event_id for event, _ in bad] == [0, 1, 2]
    assert [event.event_number for event, _ in bad] == ["10", "9", "11"]


def test_bad_events_leave_the_columns_of_the_others_as_they_are(tmp_path):
    text = files.sample(4)
    (whole,), _, _ = read_text(text, tmp_path)
    (rest,), bad, _ = read_text(text.replace(b"P 3 -1", b"P 3 x1", 1), tmp_path)
    assert [event.event_id for event, _ in bad] == [0]
    without_first = whole.slice_events(1, 4)
    for column in c.READ:
        np.testing.assert_array_equal(rest[column], without_first[column])


def test_the_reader_prints_nothing(tmp_path, capfd):
    for text, _ in (*damaged("hepmc3", "removed"), *damaged("hepmc2", "doubled"), *damaged("hepmc3", b"x")):
        read_text(text, tmp_path)
    assert capfd.readouterr() == ("", "")
