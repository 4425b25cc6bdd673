"""Broken input from end to end: exit code 4, one error that says where, and nothing under the name of the output."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import uproot

from fastsim import simulate, simulate_files
from fastsim.errors import InputError
from tests import hepmc_files as files

PION = (211, 1.0, 0.2, 0.3, 1.1)


@pytest.fixture
def run(fastsim, tmp_path):
    """Write a text, simulate it; gives the ended command and the output's path."""

    def call(text, *options, name="events.hepmc"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "out").mkdir(exist_ok=True)
        path = tmp_path / "in" / name
        path.write_bytes(text)
        out = tmp_path / "out" / "out.root"
        return fastsim("run", path, "-o", out, *options), path, out

    return call


def entries(path, tree="O2collision_001"):
    with uproot.open(path) as file:
        return sum(file[name].num_entries for name in file.keys(cycle=False) if name.endswith(f"/{tree}"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "the file is empty"),
        (
            b"not events\n",
            "not a HepMC file: it starts with b'not events\\n', where HepMC2 and HepMC3 text files start with 'HepMC::Version'",
        ),
        (files.sample(3)[:-50], "the file ends in the middle of an event listing"),
        (
            gzip.compress(files.sample(3))[:-50],
            "the compressed data is truncated or damaged (it ends before its end-of-stream marker)",
        ),
        (
            files.sample(3).replace(b"P 3 -1", b"P 3 *1", 1),
            ":8: event 0 (position 0): a particle must be: P id mother pdg px py pz e m status; the line is 'P 3 *1",
        ),
        (
            files.gun((211, "nan", 0, 0, 1)),
            "event 0 (position 0): momenta, energies and masses must be finite, and below 3.4e38 GeV",
        ),
        (
            files.listing(files.gun_event(5, PION), files.gun_event(8, (211, 1, 0, "inf", 1))),
            "event 8 (position 1): momenta, energies and masses must be finite, and below 3.4e38 GeV",
        ),
    ],
)
def test_broken_file_ends_with_4_and_leaves_nothing(run, text, what):
    done, path, out = run(text, "--quiet")
    assert done.code == 4
    assert done.out == ""
    assert done.err.startswith(f"error: {path}")
    assert what in done.err
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_error_names_the_line_of_the_event_and_the_way_out(run, workers):
    done, path, out = run(files.sample(3).replace(b"P 3 -1", b"P 3 *1", 1), "--quiet", "--workers", workers)
    assert (done.code, list(out.parent.iterdir())) == (4, [])
    assert done.err.splitlines()[0].startswith(f"error: {path}:8: event 0 (position 0): a particle must be: P id")
    assert done.err.splitlines()[1] == "hint: produce the file again, or skip such events with --max-bad-events N"


def test_empty_listing_gives_an_empty_but_valid_file(run):
    done, _, out = run(files.empty())
    assert done.code == 0
    assert "0 events" in done.out
    assert entries(out) == 0
    assert entries(out, "O2track") == 0


def test_events_without_particles_are_events(run):
    empty = b"E 1 0 0\nU GEV MM\n"
    done, _, out = run(files.listing(files.gun_event(0, PION), empty, files.gun_event(2, PION)), "--json")
    assert json.loads(done.out)["reconstructed"]["pi"] == 2
    assert entries(out) == 3


# --- skipping ---


def test_skipped_events_are_told_and_leave_the_others_bit_identical(tmp_path, fastsim):
    good = [files.gun_event(i, *[(211, 0.5 + i + k, 0.1, -0.3, 9.0) for k in range(4)]) for i in range(6)]
    bad = list(good)
    bad[1] = files.gun_event(1, (211, "nan", 0, 0, 1))
    bad[4] = good[4].replace(b"P 3", b"P ?", 1)
    (tmp_path / "good.hepmc").write_bytes(files.listing(*good))
    (tmp_path / "bad.hepmc").write_bytes(files.listing(*bad))
    done = fastsim("run", tmp_path / "bad.hepmc", "-o", tmp_path / "bad.root", "--max-bad-events", 2, "--json")
    path = tmp_path / "bad.hepmc"
    first, second = json.loads(done.out)["skipped_events"]
    assert first.startswith(
        f"{path}:{1 + line_of(path, b'P 3 -1 211 nan')}: event 1 (position 1): momenta, energies and masses must be finite"
    )
    assert second.startswith(
        f"{path}:{1 + line_of(path, b'P ?')}: event 4 (position 4): a particle must be: P id mother"
    )
    with uproot.open(tmp_path / "bad.root") as file:
        record = json.loads(str(file["provenance"]))
    assert record["identity"]["skipped_events"] == [1, 4]
    simulate_files([tmp_path / "good.hepmc"], "alice3", tmp_path / "good.root")
    tracks = {name: events_of(tmp_path / f"{name}.root") for name in ("good", "bad")}
    assert [len(tracks["good"]), len(tracks["bad"])] == [6, 4]
    for mine, event_id in zip(tracks["bad"], (0, 2, 3, 5), strict=True):
        np.testing.assert_array_equal(mine, tracks["good"][event_id])
        assert len(mine) > 0


def line_of(path, start) -> int:
    """Number (from 0) of the line that starts so."""
    return next(i for i, line in enumerate(path.read_bytes().splitlines()) if line.startswith(start))


def events_of(path):
    """Track parameters of each event."""
    with uproot.open(path) as file:
        table = file["DF_0/O2track"].arrays(
            ["fIndexCollisions", "fY", "fZ", "fAlpha", "fTgl", "fSigned1Pt"], library="np"
        )
        n = file["DF_0/O2collision_001"].num_entries
    names = ["fY", "fZ", "fAlpha", "fTgl", "fSigned1Pt"]
    rows = np.rec.fromarrays([table[name] for name in names], names=names)
    return [rows[table["fIndexCollisions"] == i] for i in range(n)]


def test_one_bad_event_too_many_is_an_error(run):
    text = files.listing(*(files.gun_event(i, (211, "nan", 0, 0, 1)) for i in range(3)))
    done, _, out = run(text, "--max-bad-events", 2, "--quiet")
    assert done.code == 4
    assert "event 2 (position 2)" in done.err
    assert list(out.parent.iterdir()) == []
    done, _, out = run(text, "--max-bad-events", 3)
    assert done.code == 0
    assert done.out.count("skipped") == 3
    assert entries(out) == 0


def test_python_stops_at_the_first_bad_event(tmp_path):
    (tmp_path / "a").write_bytes(files.listing(files.gun_event(0, (211, "nan", 0, 0, 1))))
    with pytest.raises(InputError, match="must be finite"):
        list(simulate(tmp_path / "a"))


# --- PDG codes ---


def test_codes_without_a_table_are_skipped_and_counted_by_code(run):
    text = files.gun(
        PION, (3112, 1, 0, 0, 2), (3112, 1, 0, 0, 2), (-3112, 1, 0, 0, 2), (99999999, 1, 0, 0, 2), (22, 1, 0, 0, 1)
    )
    done, _, _ = run(text, "--json")
    found = json.loads(done.out)
    assert found["counts"] == {
        "species without a table: PDG -3112": 1,
        "species without a table: PDG 3112": 2,
        "unknown PDG code: 99999999": 1,
    }
    assert found["charged_final_particles"]["species without a table"] == 3
    assert found["charged_final_particles"]["unknown PDG code"] == 1
    assert found["candidates"]["pi"] == 1


@pytest.mark.parametrize("code", [3112, 99999999])
def test_codes_without_a_table_are_an_error_where_the_card_says_so(run, code):
    text = files.listing(files.gun_event(0, PION), files.gun_event(1, PION, (code, 1, 0, 0, 2)))
    done, path, out = run(text, "--quiet", "--set", 'tracking.undefined_species="error"')
    assert (done.code, list(out.parent.iterdir())) == (4, [])
    assert done.err == (
        f"error: {path}: event 1: particle 3 has PDG code {code}, for which there is no table\n"
        'hint: tracking.undefined_species = "skip" skips and counts such particles\n'
    )


@pytest.mark.parametrize(
    ("axis", "momentum", "what"),
    [
        ("pt", (500.0, 0.0, 0.0, 501.0), "particles with pt above 100 GeV, where the table ends: 1"),
        ("eta", (1.0, 0.0, 100.0, 101.0), "particles with |eta| above 4, where the table ends: 1"),
    ],
)
def test_particles_beyond_the_table_are_an_error_where_the_card_says_so(run, axis, momentum, what):
    done, path, _ = run(files.gun((211, *momentum)), "--quiet", "--set", f'tracking.overflow.{axis}="error"')
    assert done.code == 4
    assert done.err == (
        f"error: {path}: events 0 to 0: {what}\n"
        f'hint: tracking.overflow.{axis} may also be "clamp" or "not_reconstructed"\n'
    )


# --- several inputs ---


def test_second_file_missing_leaves_nothing(fastsim, tmp_path):
    (tmp_path / "a.hepmc").write_bytes(files.sample(2))
    done = fastsim("run", tmp_path / "a.hepmc", tmp_path / "b.hepmc", "-o", tmp_path / "out.root", "--quiet")
    assert (done.code, done.err) == (4, f"error: {tmp_path / 'b.hepmc'}: no such file\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.hepmc"]


def test_columns_of_a_range_are_those_of_the_whole(tmp_path):
    (tmp_path / "a").write_bytes(files.sample(4))
    (tmp_path / "b").write_bytes(files.sample(3, "hepmc2"))
    paths = [tmp_path / "a", tmp_path / "b"]
    whole = [event for batch in simulate(paths) for event in batch]
    part = [event for batch in simulate(paths, events=(2, 6)) for event in batch]
    assert [int(event.event_id) for event in part] == [2, 3, 4, 5]
    for mine, expected in zip(part, whole[2:6], strict=True):
        assert repr(mine.tolist()) == repr(expected.tolist())  # nan is nan
