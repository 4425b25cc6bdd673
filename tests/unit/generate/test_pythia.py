"""Pythia in process, against its own record read by plain loops and put together by HepMC3 (pyhepmc)."""

from __future__ import annotations

import logging
import pickle
import sys
from collections import Counter
from hashlib import sha256
from types import SimpleNamespace

import numpy as np
import pyhepmc
import pytest

from fastsim import columns as c
from fastsim.errors import InputError, UsageError
from fastsim.generate.pythia import (
    N_SEEDS,
    Commands,
    Pythia,
    PythiaBlock,
    chunk_of,
    configure,
    generate,
    initialised,
    ready,
    seed_of,
)
from fastsim.rng import Streams
from fastsim.source import Limits, Range
from tests.generated import assert_equal, assert_is_complete

pythia8mc = pytest.importorskip("pythia8mc")
SOFT = "Main:numberOfEvents = 12\nBeams:eCM = 13000.\nSoftQCD:nonDiffractive = on\n"
TOP = """! a comment
/* Random:seed = 5
what stands here is not read
*/
Main:numberOfEvents = 12
Beams:eCM = 13000.
Top:all = on
UncertaintyBands:doVariations = on
UncertaintyBands:List = { up fsr:muRfac=0.5,
  down fsr:muRfac=2.0 }
Beams:allowVertexSpread = on
Beams:sigmaVertexZ = 50.
"""
LEPTONS = "Beams:idA = 11\nBeams:idB = -11\nBeams:eCM = 91.2\nWeakSingleBoson:ffbar2gmZ = on\nPDF:lepton = off\n"


def opened(folder, text, seed=1):
    path = folder / "test.cmnd"
    path.write_text(text)
    return Pythia(str(path), Streams(seed))


def read(source, *, first_event=0, events=Range(), limits=Limits(1000, 10**7)):  # noqa: B008  (tuples)
    made = [block.read() for block in source.blocks(first_event, events, limits)]
    assert not any(part.bad for part in made)
    return [part.batch for part in made]


def hepmc_of(event):
    """The event as Pythia8ToHepMC3 has it: particles in Pythia's order, None for row 0; and vertices, to be kept alive."""
    particles, vertices = [None], []
    for i in range(1, event.size()):
        p = event[i]
        particles.append(pyhepmc.GenParticle((p.px(), p.py(), p.pz(), p.e()), p.id(), p.statusHepMC()))
        particles[-1].generated_mass = p.m()
    for i in range(1, event.size()):
        p = event[i]
        mothers = [mother for mother in sorted(p.motherList()) if mother > 0]
        if not mothers:
            continue
        vertex = particles[mothers[0]].end_vertex
        if vertex is None:
            vertex = pyhepmc.GenVertex()
            vertices.append(vertex)
            for mother in mothers:
                vertex.add_particle_in(particles[mother])
        position = (p.xProd(), p.yProd(), p.zProd(), p.tProd())
        if any(position) and not vertex.has_set_position():
            vertex.position = position
        vertex.add_particle_out(particles[i])
    return particles[1:], vertices


@pytest.mark.parametrize("text", [SOFT, TOP, LEPTONS])
def test_columns_are_those_of_hepmc(tmp_path, text):
    source = opened(tmp_path, text)
    (batch,) = read(source, events=Range(0, 3))
    assert_is_complete(batch)
    for event in range(3):
        generate(ready(source._commands), 1, event)  # leaves the event in Pythia
        expected, vertices = hepmc_of(ready(source._commands).event)
        assert np.diff(batch.offsets["vertex"])[event] == len(vertices)
        one = batch.slice_events(event, event + 1)
        assert one.n_rows("particle") == len(expected)
        assert one[c.PDG].tolist() == [p.pid for p in expected]
        assert one[c.STATUS].tolist() == [p.status for p in expected]
        momenta = np.column_stack([one[column] for column in (*c.MOMENTUM, c.ENERGY, c.MASS)])
        np.testing.assert_array_equal(
            momenta, [(p.momentum.x, p.momentum.y, p.momentum.z, p.momentum.t, p.generated_mass) for p in expected]
        )
        for column, name in ((c.PRODUCTION_VERTEX, "production_vertex"), (c.END_VERTEX, "end_vertex")):
            assert_same_vertices(one, one[column], [getattr(p, name) for p in expected])


def assert_same_vertices(one, ours, theirs):
    """Vertices (ours by number, -1 for none) correspond one to one, and lie at the same place."""
    pairs = {}
    for number, vertex in zip(ours.tolist(), theirs, strict=True):
        assert (number < 0) == (vertex is None)
        if vertex is not None:
            assert pairs.setdefault(number, vertex) is vertex
            place = [one[column][number] for column in c.VERTEX_POSITION]
            x = vertex.position
            mm, mm_over_c = 0.1, 0.1 / 29.9792458
            np.testing.assert_allclose(place, [x.x * mm, x.y * mm, x.z * mm, x.t * mm_over_c], rtol=1e-14)
    assert len({id(vertex) for vertex in pairs.values()}) == len(pairs)


def test_event_columns(tmp_path):
    source = opened(tmp_path, TOP)
    (batch,) = read(source)
    generate(ready(source._commands), 1, 11)
    info = ready(source._commands).infoPython()
    assert batch[c.EVENT_ID].tolist() == batch[c.EVENT_NUMBER].tolist() == list(range(12))
    assert batch[c.WEIGHT][11] == info.weight()
    assert source.record().info["weight_names"] == list(info.weightNameVector())
    weights = [info.weightValueByIndex(i) for i in range(info.numberOfWeights())]
    assert len(source.record().info["weight_names"]) == len(weights) > 1
    np.testing.assert_array_equal(batch[c.WEIGHT_VALUE].reshape(12, -1)[11], weights)
    partons = [info.id1pdf(), info.id2pdf(), info.x1pdf(), info.x2pdf(), info.QFac(), info.pdf1(), info.pdf2()]
    assert [batch[column][11] for column in c.PARTONS] == partons
    assert all(np.isnan(batch[column]).all() for column in c.HEAVY_ION)
    beam = ready(source._commands).event[1]
    z = batch[c.VERTEX_TRUE[2]]
    assert z[11] == pytest.approx(beam.zProd() * 0.1, rel=1e-14)  # Pythia's own vertex spread
    assert len(np.unique(z)) == 12


def test_cross_section_is_that_of_a_long_run(tmp_path):
    (batch,) = read(opened(tmp_path, TOP), events=Range(0, 2))
    sigma, error = (batch[column] for column in c.CROSS_SECTION)
    pythia = pythia8mc.Pythia("", False)
    for line in [*TOP.splitlines(), "PartonLevel:all = off", "Print:quiet = on"]:
        if not line.startswith(("/*", "what", "*/")):
            pythia.readString(line, False)
    pythia.init()
    for _ in range(40_000):
        pythia.next()
    info = pythia.infoPython()
    expected, its_error = info.sigmaGen() * 1e9, info.sigmaErr() * 1e9
    assert abs(sigma[0] - expected) < 4 * np.hypot(error[0], its_error)
    assert error[0] < 0.02 * sigma[0]
    assert sigma[0] == sigma[1]


@pytest.mark.parametrize("text", [SOFT, TOP, "Main:numberOfEvents = 12\nHardQCD:all = on\nPhaseSpace:pTHatMin = 20\n"])
def test_an_event_does_not_depend_on_those_before(tmp_path, text):
    source = opened(tmp_path, text)
    whole = read(source)
    ready.cache_clear()  # a Pythia of its own, as in another process
    backwards = [read(source, events=Range(event, event + 1))[0] for event in reversed(range(12))]
    assert_equal(backwards[::-1], whole)
    assert_equal(read(source, limits=Limits(5, 10**7)), whole)
    assert_equal(read(source, limits=Limits(1000, 3000)), whole)


DIFFRACTIVE = "Main:numberOfEvents = 1200\nSoftQCD:inelastic = on\nBeams:eCM = 900\n"


def test_soft_events_do_not_depend_on_those_before(tmp_path):
    """454 and 462 have diffractive systems of the same mass to 1 %, for which Pythia keeps what it interpolates."""
    source = opened(tmp_path, DIFFRACTIVE, seed=3)
    blocks = list(source.blocks(0, Range(), Limits(100, 1000)))
    assert [(block.first, block.end) for block in blocks] == [(0, 1000), (1000, 1200)]
    (whole,) = read(source, events=Range(0, 470))
    assert_equal(read(source, events=Range(462, 470)), [whole.slice_events(462, 470)])
    assert_equal(read(source, first_event=455, events=Range(460, 463)), [whole.slice_events(460, 463)])
    pythia = ready(source._commands)
    alone = generate(pythia, 3, 462)  # without the chunk: the fault is there still, and this test sees it
    assert alone is not None
    assert whole.slice_events(462, 463)[c.PDG].tolist() != alone.columns[c.PDG].tolist()


def test_a_block_begins_one_pythia(tmp_path, monkeypatch):
    """The first event of the next chunk is that of a new Pythia, and of no event before it."""
    source = opened(tmp_path, DIFFRACTIVE, seed=3)
    made = []
    monkeypatch.setattr("fastsim.generate.pythia.initialised", lambda commands: made.append(1) or initialised(commands))
    (later,) = read(source, events=Range(1000, 1002))
    assert len(made) == 1
    fresh = generate(initialised(source._commands), 3, 1000)
    assert fresh is not None
    assert later.slice_events(0, 1)[c.PDG].tolist() == fresh.columns[c.PDG].tolist()


@pytest.mark.parametrize(
    ("line", "chunk"),
    [
        ("SoftQCD:nonDiffractive = on", 0),
        ("HardQCD:all = on", 0),
        ("LowEnergyQCD:all = on", 0),
        ("Beams:allowMomentumSpread = on", 0),
        *(
            (f"SoftQCD:{name} = on", 1000)
            for name in ("all", "elastic", "inelastic", "doubleDiffractive", "singleDiffractive")
        ),
        ("SoftQCD:centralDiffractive = on", 1000),
        ("SoftQCD:singleDiffractiveAX = on", 1000),
        ("SoftQCD:singleDiffractiveXB = on", 1000),
        ("Diffraction:doHard = on", 1000),
        ("HadronLevel:Rescatter = on", 1000),
        ("PDF:beamA2gamma = on", 1000),
        ("Beams:idB = 22", 1000),
    ],
)
def test_which_settings_are_made_in_chunks(line, chunk):
    assert chunk_of(configure(Commands("x.cmnd", line + "\n", 1))) == chunk


@pytest.mark.parametrize(
    ("beams", "chunk"),
    [
        ((1000822080, 1000822080), 20),
        ((2212, 1000822080), 250),
        ((1000080160, 1000080160), 250),
        ((1000541320, 1000200400), 250),
        ((1000541320, 1000541320), 20),
    ],
)
def test_chunks_of_heavy_ions(beams, chunk):
    """By the lighter one, for that is what the number of particles goes with. Such a Pythia takes 10 s to make."""
    codes = dict(zip(("Beams:idA", "Beams:idB"), beams, strict=True))
    assert chunk_of(SimpleNamespace(heavyIonsPtr=object(), mode=codes.__getitem__)) == chunk


def test_events_are_those_of_their_position_and_seed(tmp_path):
    (whole,) = read(opened(tmp_path, SOFT))
    late = read(opened(tmp_path, SOFT), first_event=10, events=Range(0, 12))
    assert_equal(late, [whole.slice_events(10, 12)])
    (other,) = read(opened(tmp_path, SOFT, seed=2))
    assert not np.array_equal(other[c.PDG], whole[c.PDG])


def test_seeds_of_a_run_differ():
    seeds = Counter(seed_of(event, 0, 1) for event in range(20_000))
    assert max(seeds.values()) == 1
    assert min(seeds) >= 1
    assert max(seeds) <= N_SEEDS
    assert seed_of(5, 0, 1) == seed_of(5 + N_SEEDS, 0, 1)
    assert len({seed_of(5, attempt, 1) for attempt in range(10)}) == 10
    assert seed_of(5, 0, 1) != seed_of(5, 0, 2)


def test_blocks_travel_to_workers(tmp_path):
    source = opened(tmp_path, SOFT)
    block = next(source.blocks(0, Range(0, 2), Limits(10, 10**6)))
    again = pickle.loads(pickle.dumps(block))
    assert_equal([again.read().batch], [block.read().batch])
    assert again.path == source.path
    source.close()


def test_record(tmp_path):
    source = opened(tmp_path, SOFT)
    list(source.blocks(7, Range(), Limits(10, 10**6)))
    record = source.record()
    assert (record.name, record.first_event, record.n_events) == (source.path, 7, 12)
    assert record.sha256 == sha256(SOFT.encode()).hexdigest()
    assert record.info == {"generators": ["Pythia 8.317.2"], "weight_names": ["Weight"]}


def test_pythia_says_nothing(tmp_path, capfd):
    ready.cache_clear()
    read(opened(tmp_path, SOFT + "Next:numberShowEvent = 5\nInit:showProcesses = on\n"))
    assert capfd.readouterr().out == ""


def test_events_that_fail_are_told(tmp_path):
    source = opened(tmp_path, SOFT + "Check:epTolErr = 1e-17\nCheck:mTolErr = 1e-17\n")
    (block,) = source.blocks(0, Range(0, 2), Limits(10, 10**6))
    assert isinstance(block, PythiaBlock)
    made = block.read()
    assert made.batch.n_events == 0
    assert_is_complete(made.batch)
    assert [event for event, _ in made.bad] == [0, 1]
    assert str(made.bad[1][1]) == f"{source.path}: Pythia failed 10 times at event 1\nhint: loosen its checks or cuts"


def test_the_users_seed_is_overridden(tmp_path, caplog):
    (batch,) = read(opened(tmp_path, SOFT + "Random:setSeed = on\nRandom:seed = 17\n"), events=Range(0, 2))
    assert [(r.levelno, "test.cmnd: Random:seed is not used" in r.getMessage()) for r in caplog.records] == [
        (logging.WARNING, True)
    ]
    assert_equal([batch], read(opened(tmp_path, SOFT), events=Range(0, 2)))


HALF_READ = """Beams:eCM = 13 TeV
Beams:eCM = 13TeV
Beams:eCM = 1d4
Main:timesAllowErrors = 1.5
HadronLevel:all = maybe
HadronLevel:all = on! yes
HadronLevel:all = ?
HadronLevel:all = {on}
VariationFrag:flavour = {1, x}
PartonVertex:modeVertex = 2 3
Diffraction:bProfile = 1 2
Init:showProcesses =on off
SigmaTotal:zeroAXB on ;
UncertaintyBands:List = {a fsr:muRfac=0.5} b
211:mayDecay = 1 garbage
211:mayDecay = maybe
211:m0 = 0.1.3
211:tau0 = x
211:onMode = perhaps
211:onIfAny = 13 mu
211:0:bRatio = 0.5 GeV
211:0:products = 13 mu
211:addChannel = 1 0.5 0 13 x
211:all = pi+ pi- 1 3 0 0.14 x"""


@pytest.mark.parametrize("line", HALF_READ.splitlines())
def test_values_that_pythia_would_half_read_are_refused(line):
    """Those lines of which Pythia itself says nothing; some it refuses by itself in this version."""
    with pytest.raises(InputError, match=r"^x\.cmnd:2: Pythia (would read only a part of|does not know) '") as told:
        configure(Commands("x.cmnd", f"\n{line}\n", 1))
    assert line.split("=")[0].strip() in str(told.value)


def test_the_remedy_is_told():
    with pytest.raises(
        InputError, match=r"a part of 'Beams:eCM = 13 TeV'\nhint: numbers, or on and off, and no more; a comm"
    ):
        configure(Commands("x.cmnd", "Beams:eCM = 13 TeV", 1))


def test_values_in_every_form_are_taken():
    text = """Beams:eCM = 13000. ! CM energy
Beams:eCM=1.3E4
Beams::eCM 13000 # the same
beams:ecm = force 13000
Tune:pp = DEFAULT // theirs
HadronLevel:all = ON
PDF:pSet = 14
PDF:pSet = NNPDF
Weights:prefix = {a b}
StringZ:useOldAExtra = yes
MultipartonInteractions:bProfile = 2
UncertaintyBands:List = {a fsr:muRfac=0.5, ! up
 b fsr:muRfac=2.0} ! down
Charmonium:states(3S1) = 443,100443
Charmonium:states(3S1) = {443, 100443}
Charmonium:O(3S1)[3S1(1)] = {1.16,0.76}
Charmonium:gg2ccbar(3S1)[3S1(1)]g = {off,on}
211:mayDecay = off ! stable
211:m0 = 1.4e-1
211:names = a b
211:onMode = off
211:0:onMode = 1
211:onIfAny = 13 -11 ! leptons
211:onIfMatch 13 14
211:0:bRatio = .5
211:0:meMode 0
211:0:products = -13 14
211:addChannel = 1 0.5 0 -13 14
211:oneChannel = on 1. 0 -13 14
321:new = K+ K- 1 3 0 0.494 0. 0. 0. 3700.
321:all = K+ K-
-- a line that Pythia takes for a comment
é = 3, and another; in C only ASCII has letters
Beams:::eCM = 13000
"""
    pythia = configure(Commands("x.cmnd", text, 1))
    assert pythia.parm("Beams:eCM") == 13000
    assert list(pythia.settings.wvec("UncertaintyBands:List")) == ["a fsr:muRfac=0.5", " b fsr:muRfac=2.0"]
    assert list(pythia.settings.mvec("Charmonium:states(3S1)")) == [443, 100443]
    assert not pythia.particleData.mayDecay(211)


@pytest.mark.parametrize(
    "line",
    [
        "SLHA:file = spectrum.slha",
        "slha::file spectrum.slha",
        "Alpgen:file = a",
        "MultipartonInteractions:initFile = a",
        "MultipartonInteractions:reuseInit = 2",
        "HeavyIon:SigFitReuseInit = 1",
        "Init:reuseHeavyIonSigFit = {a}",
        "Init:plugins = {libx.so::X}",
        "Vincia:MEplugin = x",
        "HeavyIonA:externalNucleusFile = x",
        "Beams:LHEFheader = x",
        "PDF:pSet = LHAGrid1:x.dat",
        "PDF:piSet LHAPDF6:x",
        "xmlPath = x",
    ],
)
def test_settings_that_name_files_are_refused(line):
    with pytest.raises(InputError, match=r"^x\.cmnd:1: '.*': the file that it names could change.*\nhint: ") as told:
        configure(Commands("x.cmnd", line, 1))
    assert repr(line) in str(told.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Beams:eCMM = 3", r"test\.cmnd:4: Pythia does not know 'Beams:eCMM = 3'"),
        (
            "include = other.cmnd",
            r"test\.cmnd:4: 'include = other\.cmnd': the file that it names could change\nhint: put its lines here",
        ),
        ("Main:subrun = 1", r"test\.cmnd:4: 'Main:subrun = 1': there is one run"),
        ("Tune:pp = {", r"test\.cmnd: the file ends within \{ \}"),
        (
            "/* nothing\nMain:timesAllowErrors = 1 */",
            r"test\.cmnd: the file ends within a comment\nhint: \*/ must begin",
        ),
        ("Random:setSeed = on\nRandom:seed = {", r"test\.cmnd: the file ends within"),
        ("Beams:frameType = 4", r"test\.cmnd: Beams:frameType 4 and 5 read events from elsewhere"),
        ("ProcessLevel:all = off", r"test\.cmnd: ProcessLevel:all = off: there are no collisions"),
        ("PhaseSpace:increaseMaximum = on", r"test\.cmnd: PhaseSpace:increaseMaximum = on makes an event depend"),
        ("SoftQCD:nonDiffractive = off", r"test\.cmnd: Pythia could not be initialised with these commands"),
    ],
)
def test_faults(tmp_path, line, message):
    with pytest.raises(InputError, match=message):
        opened(tmp_path, SOFT + line + "\n")


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.cmnd: no such file"):
        Pythia(str(tmp_path / "nothing.cmnd"), Streams(1))
    with pytest.raises(InputError, match="cannot be read"):
        Pythia(str(tmp_path), Streams(1))
    (tmp_path / "binary.cmnd").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        Pythia(str(tmp_path / "binary.cmnd"), Streams(1))


def test_without_pythia(tmp_path, monkeypatch):
    ready.cache_clear()
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(UsageError, match=r"test\.cmnd: needs Pythia 8.*\nhint: pip install 'fastsim\[pythia\]'"):
        opened(tmp_path, SOFT)


def test_range_behind_the_end(tmp_path):
    assert read(opened(tmp_path, SOFT), events=Range(12, 20)) == []
