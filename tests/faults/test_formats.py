"""What goes wrong, or is empty, while a file is written: the same answers from every format."""

from __future__ import annotations

import json
import resource
from contextlib import contextmanager
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from fastsim.errors import OutputError, UsageError
from fastsim.io import rootio
from fastsim.io.output import FORMATS
from tests import hepmc_files as files
from tests import output_files

pytestmark = pytest.mark.parametrize("name", FORMATS)

# Counts of tracks an event, and of generated particles.
COUNTS = {
    "ao2d": ("DF_0/O2track/fIndexCollisions", "DF_0/O2mcparticle_001/fIndexMcCollisions"),
    "delphes": ("Delphes/Track_size", "Delphes/Particle_size"),
    "nano": ("Events/nTrack", "Events/nGenPart"),
    "parquet": ("tracks", "particles"),
    "rntuple": ("events/tracks", "events/particles"),
}
PION, PHOTON = (211, 1.0, 0.5, 0.2, 1.1449), (22, 1.0, 0.5, 0.2, 1.1358)
PIONS = files.gun_event(1, *[PION] * 40)  # one of them at least is found
N_PARTICLES = 2  # the protons of the gun's events


@contextmanager
def file_size_limit(n_bytes):
    """A full device of which every machine has one; the kernel's answer is another word only (EFBIG, not ENOSPC)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(n_bytes), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def out(name, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / f"out{output_files.suffix(name)}"


@pytest.fixture
def small(tmp_path):
    """A few events, for what has to be said before the first one."""
    path = tmp_path / "small.hepmc"
    path.write_bytes(files.sample(3))
    return path


def test_disk_full_at_any_moment(name, ttbar, out):
    """Room for nothing, for a part, for all but the last bytes: never a file, and the old one stays."""
    output_files.write(name, ttbar, out, events=(0, 6))
    whole = out.stat().st_size
    out.write_text("old")
    for room in (0, 100, whole / 3, whole - 500):  # the provenance tells times: some bytes more or less
        with file_size_limit(room), pytest.raises(OutputError) as caught:
            output_files.write(name, ttbar, out, events=(0, 6), overwrite=True)
        problem, hint = f"{out}: cannot be written (File too large)", "hint: a file-size limit is set (ulimit -f)"
        assert str(caught.value) == f"{problem}\n{hint}", room
        assert [path.name for path in out.parent.iterdir()] == [out.name], room
        assert out.read_text() == "old", room
    output_files.write(name, ttbar, out, events=(0, 6), overwrite=True)  # and nothing of it is remembered
    assert out.stat().st_size > whole - 500


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that nobody can write to: Linux's /sys")
def test_folder_that_nobody_can_write_to(name, small):
    out = Path("/sys/kernel") / f"fastsim{output_files.suffix(name)}"
    with pytest.raises(UsageError, match=r"cannot be written \((Permission denied|Read-only file system)\)") as caught:
        output_files.write(name, small, out)
    assert caught.value.where == str(out)
    assert caught.value.hint == "nothing is left under the final name"


def test_no_events(name, ttbar, tmp_path, out):
    """An empty file has everything that a filled one has, but rows."""
    (tmp_path / "empty.hepmc").write_bytes(files.empty())
    output_files.write(name, tmp_path / "empty.hepmc", out)
    full = tmp_path / f"full{out.suffix}"
    output_files.write(name, ttbar, full, events=(0, 1))
    empty, filled = output_files.read(out), output_files.read(full)
    assert set(empty) == set(filled)
    assert {len(array) for array in empty.values()} == {0}
    for key, array in filled.items():
        assert empty[key].type.content == array.type.content, key
    if out.suffix == ".root":
        with uproot.open(out) as file:
            assert json.loads(str(file["provenance"]))["summary"]["events"] == 0


@pytest.mark.parametrize("position", [0, 1, 2])
def test_event_without_tracks_or_particles(name, tmp_path, out, position):
    """Photons leave no track, and an event may be empty: before, between and after others."""
    events = [files.gun_event(0, PHOTON), files.gun_event(2)]
    events.insert(position, PIONS)
    (tmp_path / "events.hepmc").write_bytes(files.listing(*events))
    output_files.write(name, tmp_path / "events.hepmc", out, "output.truth='all'", batch_size=1)
    found = output_files.read(out)
    tracks, particles = (counts(found, key) for key in COUNTS[name])
    want = [N_PARTICLES + 1, N_PARTICLES]
    want.insert(position, N_PARTICLES + 40)
    assert particles == want
    assert [i for i, n in enumerate(tracks) if n] == [position]
    at_once = tmp_path / f"at_once{out.suffix}"
    output_files.write(name, tmp_path / "events.hepmc", at_once, "output.truth='all'")
    assert output_files.same(found, output_files.read(at_once))


def test_batch_of_bad_events_only(name, tmp_path, out):
    """A batch without events, before and between others."""
    bad = files.gun_event(1, (211, "nan", 0.5, 0.2, 1.1449))
    (tmp_path / "events.hepmc").write_bytes(files.listing(bad, PIONS, bad, PIONS))
    summary = output_files.write(name, tmp_path / "events.hepmc", out, batch_size=1, max_bad_events=2)
    assert len(summary.bad_events) == 2
    assert summary.n_events == 2
    at_once = tmp_path / f"at_once{out.suffix}"
    output_files.write(name, tmp_path / "events.hepmc", at_once, max_bad_events=2)
    assert output_files.same(output_files.read(out), output_files.read(at_once))


def counts(found, key):
    """Rows of each of the three events."""
    array = found[key]
    if array.ndim > 1 or array.fields:
        return ak.num(array).tolist()
    values = ak.to_numpy(array)
    return np.bincount(values, minlength=3).tolist() if "fIndex" in key else values.tolist()


def test_more_than_two_gigabytes(name, ttbar, tmp_path, out, monkeypatch):
    """A gap of 2^31 bytes, which takes no room on the disk, puts everything where addresses need 64 bits."""
    if out.suffix != ".root":
        pytest.skip("ROOT's files have addresses of 32 bits, if they are small")
    ordinary = tmp_path / "ordinary.root"
    output_files.write(name, ttbar, ordinary, events=(0, 3))
    start = "add_ntuple" if name == "rntuple" else "__init__"  # an RNTuple begins at the begin of a file
    begin = getattr(rootio.RootFile, start)

    def begin_with_gap(self, *arguments, **options):
        begin(self, *arguments, **options)
        self._file._cascading.freesegments.allocate(2**31)

    monkeypatch.setattr(rootio.RootFile, start, begin_with_gap)
    output_files.write(name, ttbar, out, events=(0, 3))
    assert out.stat().st_size > 2**31
    assert out.stat().st_blocks * 512 < 2**26
    assert output_files.same(output_files.read(out), output_files.read(ordinary))
    with uproot.open(out) as file:
        assert file.file.is_64bit
