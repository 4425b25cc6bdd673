"""The whole job: what it refuses, what it notes, and what it says of itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import psutil
import pytest
import uproot

import fastsim
from fastsim import resources
from fastsim.errors import CardError, InputError, UsageError
from fastsim.io.inspect import digest
from fastsim.run import check_card
from tests import hepmc_files

CARD = Path(__file__).resolve().parent.parent.parent / "cards" / "alice3.toml"


@pytest.fixture
def events(tmp_path) -> Path:
    """Three small events."""
    path = tmp_path / "events.hepmc"
    path.write_bytes(hepmc_files.sample())
    return path


def _identity(path):
    with uproot.open(path) as file:
        return json.loads(str(file["provenance"]))["identity"]


def test_an_input_is_never_replaced(events, tmp_path):
    before = events.read_bytes()
    link = tmp_path / "link.hepmc"
    link.symlink_to(events)
    for out in (events, link):
        with pytest.raises(UsageError, match="is an input of this very run"):
            fastsim.simulate_files([events], "alice3", out, overwrite=True)
    assert events.read_bytes() == before


def test_a_pipe_or_device_is_never_replaced(events, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is not an ordinary file"):
        fastsim.simulate_files([events], "alice3", tmp_path / "pipe", overwrite=True)


def test_a_link_keeps_pointing_to_the_output(events, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "out.root").symlink_to(tmp_path / "there" / "out.root")
    fastsim.simulate_files([events], "alice3", tmp_path / "out.root")
    assert (tmp_path / "out.root").is_symlink()
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["out.root"]
    digest(tmp_path / "there" / "out.root")


def test_all_inputs_are_looked_for_before_any_work(events, tmp_path):
    with pytest.raises(InputError, match=r"nofile.hepmc: no such file"):
        fastsim.simulate_files([events, "nofile.hepmc"], "alice3", tmp_path / "out.root", events=(0, 1))


def test_ranges_behind_the_input(events, tmp_path):
    with pytest.raises(InputError, match="events 5:9 were asked for, the input has only 3"):
        fastsim.simulate_files([events], "alice3", tmp_path / "out.root", events=(5, 9))
    assert not (tmp_path / "out.root").exists()
    with pytest.raises(InputError, match="events 5: were asked for"):
        list(fastsim.simulate(events, events=(5, None)))
    summary = fastsim.simulate_files([events], "alice3", tmp_path / "out.root", events=(1, 9))
    assert summary.n_events == 2
    assert summary.notes == ["events up to 9 were asked for, the input has only 3"]


def test_an_input_given_twice_is_noted(events, tmp_path):
    summary = fastsim.simulate_files([events, events], "alice3", tmp_path / "out.root")
    assert summary.n_events == 6
    assert summary.notes == ["some input is given more than once: its events repeat, with other random numbers"]


def test_a_card_must_make_what_the_output_needs(events, tmp_path):
    card = fastsim.load_card("alice3", sets=["modules=[]"])
    with pytest.raises(CardError, match=r"the output .ao2d. needs event\.vertex_x, .*, which no module makes") as error:
        fastsim.simulate_files([events], card, tmp_path / "out.root")
    assert "add a [[modules]] table with kind = 'vertex'" in str(error.value)
    assert not (tmp_path / "out.root").exists()


def test_a_seed_keeps_the_other_changes(events):
    card = fastsim.load_card("alice3", sets=["beam_spot.x=0.1"])
    (batch,) = fastsim.simulate(events, card, seed=5)
    (other,) = fastsim.simulate(events, card, seed=6)
    assert ak.to_list(batch.vertex_x_true) == ak.to_list(other.vertex_x_true) == [0.1 + 0.001] * len(batch)
    assert ak.to_list(batch.tracks.dca_xy) != ak.to_list(other.tracks.dca_xy)
    with pytest.raises(CardError, match="seed: seed: must be greater than or equal to 0"):
        next(fastsim.simulate(events, card, seed=-1))


def test_identity_does_not_hold_places_and_packing(events, tmp_path):
    """Tables from a folder, another compression, another folder of the input: equal columns, equal identity."""
    card = fastsim.load_card("alice3")
    fastsim.simulate_files([events], card, tmp_path / "a.root")
    folder = tmp_path / "luts"
    folder.mkdir()
    for lut in resources.data_dir("luts").glob("alice3_v2.*"):
        shutil.copy(lut, folder)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(events, tmp_path / "elsewhere" / "other.hepmc")
    changed = fastsim.load_card("alice3", sets=[f'tracking.luts="{folder}"', "output.compression_level=9"])
    fastsim.simulate_files([moved], changed, tmp_path / "b.root", batch_size=1)
    assert _identity(tmp_path / "a.root") == _identity(tmp_path / "b.root")
    assert digest(tmp_path / "a.root") == digest(tmp_path / "b.root")


def test_identity_holds_what_changes_columns(events, tmp_path):
    changes = ["seed=2", "tracking.dnch_deta_eta_max=0.5", "modules.vertex.chi2_cut=16.0", "output.events_per_frame=2"]
    identities = set()
    for i, change in enumerate(["seed=1", *changes]):
        fastsim.simulate_files([events], fastsim.load_card("alice3", sets=[change]), tmp_path / f"{i}.root")
        identities.add(_identity(tmp_path / f"{i}.root")["sha256"])
    assert len(identities) == 5


def test_identity_knows_the_source(tmp_path):
    """A changed program is another program, committed or not."""
    from fastsim.provenance import source_hash

    (tmp_path / "a.py").write_text("x = 1\n")
    one = source_hash(tmp_path / "a.py")
    (tmp_path / "a.py").write_text("x = 2\n")
    assert source_hash(tmp_path / "a.py") != one
    assert len(source_hash()) == 64


def test_the_events_position_is_that_of_vertices_without_one(tmp_path):
    """HepMC3's ``@`` on the E line: pyhepmc gives it to every vertex; so the tracks start there, in truth and in the file."""
    text = (
        b"HepMC::Version 3.02.05\nHepMC::Asciiv3-START_EVENT_LISTING\nE 0 1 4 @ 0.1 0.2 30 4\nU GEV MM\n"
        b"P 1 0 2212 0 0 6500 6500 0.938 4\nP 2 0 2212 0 0 -6500 6500 0.938 4\nV -1 0 [1,2]\n"
        b"P 3 -1 211 1 0 0.5 1.13 0.1396 1\nP 4 0 -211 0 1 0.5 1.13 0.1396 1\n"
        b"HepMC::Asciiv3-END_EVENT_LISTING\n\n"
    )
    path = tmp_path / "events.hepmc"
    path.write_bytes(text)
    (batch,) = fastsim.simulate(path)
    assert [batch.vertex_x_true[0], batch.vertex_y_true[0], batch.vertex_z_true[0]] == pytest.approx([0.01, 0.02, 3.0])
    assert batch.vertex_t_true[0] == pytest.approx(0.4 / 29.9792458)
    assert ak.to_list(batch.vertices.z[0]) == pytest.approx([3.0])
    assert ak.to_list(batch.tracks.dca_z_true[0]) == pytest.approx([3.0, 3.0], abs=0.02)
    fastsim.simulate_files([path], "alice3", tmp_path / "out.root")
    with uproot.open(tmp_path / "out.root") as file:
        assert file["DF_0/O2mcparticle_001"]["fVz"].array().tolist() == pytest.approx([3.0] * 4)
        assert file["DF_0/O2mccollision_001"]["fPosZ"].array().tolist() == pytest.approx([3.0])


def _record(*lines) -> bytes:
    n_vertices = sum(line.startswith("V") for line in lines)
    head = f"E 0 {n_vertices} {len(lines) - n_vertices}\nU GEV MM\n"
    return (
        b"HepMC::Version 3.02.05\nHepMC::Asciiv3-START_EVENT_LISTING\n"
        + (head + "\n".join(lines)).encode()
        + b"\nHepMC::Asciiv3-END_EVENT_LISTING\n\n"
    )


BEAMS = ("P 1 0 2212 0 0 6500 6500 0.938 4", "P 2 0 2212 0 0 -6500 6500 0.938 4", "V -1 0 [1,2]")


def test_copies_of_a_particle_are_counted_once(tmp_path):
    """A pion that recoils twice before it is final is one charged particle: dN_ch/deta = 1 / 1.6."""
    path = tmp_path / "events.hepmc"
    pion = "211 1 0 0.1 1.02 0.1396"
    path.write_bytes(
        _record(
            *BEAMS,
            f"P 3 -1 {pion} 2",
            "V -2 0 [3]",
            f"P 4 -2 {pion} 2",
            "V -3 0 [4]",
            f"P 5 -3 {pion} 1",
            "P 6 -3 22 0.1 0 0 0.1 0 1",
        )
    )
    (batch,) = fastsim.simulate(path)
    assert batch.dnch_deta[0] == pytest.approx(1 / 1.6)
    assert ak.to_list(batch.particles.is_physical_primary[0]) == [False, False, False, False, True, True]
    assert not ak.any(batch.particles.is_from_long_lived)


def test_rescattered_hadrons_did_not_decay(tmp_path):
    """Two pions go into one vertex, two kaons come out: primary, as if produced there."""
    path = tmp_path / "events.hepmc"
    path.write_bytes(
        _record(
            *BEAMS, "P 3 -1 211 1 0 0.1 1.02 0.1396 2", "P 4 -1 -211 0.9 0 0.1 0.92 0.1396 2", "V -2 0 [3,4]",
            "P 5 -2 321 1 0 0.1 1.12 0.494 1", "P 6 -2 -321 0.9 0 0.1 1.03 0.494 1",
        )
    )  # fmt: skip
    (batch,) = fastsim.simulate(path)
    assert ak.to_list(batch.particles.is_physical_primary[0]) == [False, False, False, False, True, True]
    assert batch.dnch_deta[0] == pytest.approx(2 / 1.6)


def test_products_of_a_weak_decay_are_secondary(tmp_path):
    """Lambda -> p pi: the Lambda is the physical primary (ALICE-PUBLIC-2017-005), its daughters are not; D0 -> K pi are."""
    path = tmp_path / "events.hepmc"
    path.write_bytes(
        _record(
            *BEAMS, "P 3 -1 3122 1 0 0.1 1.5 1.116 2", "P 4 -1 421 1 0 0.1 2.1 1.865 2", "V -2 0 [3]",
            "P 5 -2 2212 0.8 0 0.1 1.2 0.938 1", "P 6 -2 -211 0.2 0 0 0.25 0.1396 1", "V -3 0 [4]",
            "P 7 -3 -321 0.5 0 0.1 0.7 0.494 1", "P 8 -3 211 0.5 0 0 0.52 0.1396 1",
        )
    )  # fmt: skip
    (batch,) = fastsim.simulate(path)
    assert ak.to_list(batch.particles.is_physical_primary[0]) == [False, False, True, False, False, False, True, True]
    assert ak.to_list(batch.particles.is_from_long_lived[0]) == [False] * 4 + [True, True, False, False]
    assert batch.dnch_deta[0] == pytest.approx(2 / 1.6)


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    """uproot remembers every tree unless told not to: 400 frames of one event may cost what 100 do, within 10 MB."""
    path = tmp_path / "events.hepmc"
    path.write_bytes(hepmc_files.sample(400))
    script = (
        "import sys, fastsim\nfrom pathlib import Path\n"
        "card = fastsim.load_card('alice3', sets=['output.events_per_frame=1'])\n"
        "fastsim.simulate_files([sys.argv[1]], card, sys.argv[2], events=(0, int(sys.argv[3])), batch_size=10)\n"
        "lines = Path('/proc/self/status').read_text().splitlines()\n"
        "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')))\n"
    )
    peaks = []
    for n in (100, 400):
        words = [sys.executable, "-c", script, path, tmp_path / f"{n}.root", str(n)]
        peaks.append(int(subprocess.run(words, check=True, capture_output=True, text=True).stdout) / 1024)
    assert peaks[1] < peaks[0] + 10  # 0.2 MB a frame would be 60


def test_workers_end_with_a_killed_parent(ttbar, tmp_path):
    """kill -9 of the main process, as an out-of-memory killer does it, leaves no process behind."""
    words = [
        sys.executable,
        "-m",
        "fastsim",
        "run",
        *[ttbar] * 20,
        "-o",
        str(tmp_path / "out.root"),
        "--workers",
        "2",
        "-q",
    ]
    main = subprocess.Popen(words)
    children: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while len(children) < 3 and time.monotonic() < deadline:  # two workers and multiprocessing's resource tracker
        time.sleep(0.2)
        children = psutil.Process(main.pid).children(recursive=True)
    time.sleep(2)
    main.send_signal(signal.SIGKILL)
    main.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
    assert not (tmp_path / "out.root").exists()


def test_summary_adds_up(ttbar, tmp_path):
    """Every charged final particle is a track or is lost for one reason; the sample's own numbers by pyhepmc."""
    import pyhepmc
    from particle import PDGID

    summary = fastsim.simulate_files([ttbar], "alice3", tmp_path / "out.root", events=(0, 4))
    with pyhepmc.open(ttbar) as file:
        records = [event for event, _ in zip(file, range(4), strict=False)]
    assert summary.n_particles == sum(len(event.particles) for event in records)
    charged = sum(p.status == 1 and PDGID(p.pid).charge != 0 for event in records for p in event.particles)
    assert sum(summary.as_dict()["charged_final_particles"].values()) == charged
    assert summary.particles["reconstructed"] == sum(summary.reconstructed.values())
    with uproot.open(tmp_path / "out.root") as file:
        assert file["DF_0/O2track"].num_entries == sum(summary.reconstructed.values())


def test_public_names():
    """What users may rely on; nothing heavy is imported for it."""
    assert sorted(fastsim.__all__) == [
        "FastsimError", "build_lut", "get_luts", "load_card", "load_detector", "read_lut", "simulate", "simulate_files",
    ]  # fmt: skip
    for name in fastsim.__all__:
        assert getattr(fastsim, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'run_everything'"):
        _ = fastsim.run_everything
    code = "import sys, fastsim; print(*{'numba', 'awkward', 'uproot', 'pyhepmc', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == ""
    assert np.isfinite(len(fastsim.__version__))


def test_truncation_names_the_last_event_that_is_known_to_be_whole(events, tmp_path):
    """Cut in the middle of the third event: the second is the last whole one, and nothing is written."""
    text = events.read_bytes()
    cut = text.rindex(b"\nP ")
    events.write_bytes(text[:cut])
    line = text[:cut].count(b"\n") + 1
    with pytest.raises(InputError, match="the last whole event before it is number 1 \\(position 1\\)") as error:
        fastsim.simulate_files([events], "alice3", tmp_path / "out.root")
    assert error.value.where == f"{events}:{line}"
    assert [p.name for p in tmp_path.iterdir()] == ["events.hepmc"]


FORMULAS = """schema_version = 1
name = "toy"
source = "made up"
b_z = 2.0
r_edges = [0.0, 10.0]
[[formulas]]
species = ["pi", "ka"]
efficiency = "(pt > 0.1 and eta < 4) * 0.9"
sigma_pt_over_pt = "0.01"
sigma_dca_xy = "1e-3"
sigma_dca_z = "1e-3"
sigma_phi = "1e-3"
sigma_tan_lambda = "1e-3"
"""


def _toy_card(tmp_path, tracking=""):
    (tmp_path / "toy.toml").write_text(FORMULAS)
    (tmp_path / "card.toml").write_text(f'extends = "alice3"\ndetector = "toy.toml"\n[tracking]\n{tracking}\n')
    return fastsim.load_card(tmp_path / "card.toml")


@pytest.mark.parametrize(
    ("tracking", "problem"),
    [
        ("", "species: toy has nothing for el, mu, pr, de, tr, he3, al (it has pi, ka)"),
        (
            'species = ["pi"]\nefficiency = "no_wrong_pair"',
            "efficiency: toy is made of formulas, which know every_hit_right only (got no_wrong_pair)",
        ),
    ],
)
def test_a_card_that_asks_a_detector_for_what_it_has_not(tmp_path, tracking, problem):
    with pytest.raises(CardError) as caught:
        check_card(_toy_card(tmp_path, tracking))
    assert caught.value.problems == [f"{tmp_path / 'card.toml'}: tracking.{problem}"]


@pytest.mark.parametrize(
    ("tracking", "problem"),
    [
        ('luts = "somewhere"', 'luts: toy names its tables itself: must be "auto" (got '),
        ("grid = { n_pt = 10 }", "grid: the tables of toy have the axes that they have"),
    ],
)
def test_a_detector_of_ready_tables_takes_no_other_axes_or_places(tmp_path, tracking, problem):
    loaded = _toy_card(tmp_path, f'species = ["pi"]\n{tracking}')
    table = {"species": "pi", "file": "pi.lut", "sha256": "0" * 64}
    changed = loaded.detector.model_dump() | {"formulas": [], "tables": [table]}
    with pytest.raises(CardError) as caught:
        check_card(replace(loaded, detector=type(loaded.detector).model_validate(changed)))
    assert problem in caught.value.problems[0]


def test_a_detector_of_formulas_runs(events, tmp_path):
    """Efficiency 0.9 for every pion and kaon above 100 MeV."""
    (batch, *_) = fastsim.simulate(events, _toy_card(tmp_path, 'species = ["pi", "ka"]'))
    tracks = ak.flatten(batch.tracks)
    inside = (tracks.pt_true > 0.11) & (abs(tracks.eta_true) < 3.9) & np.isfinite(tracks.efficiency)
    assert ak.all(abs(tracks.efficiency[inside] - 0.9) < 1e-6)
    assert ak.any(inside)
