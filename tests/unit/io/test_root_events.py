"""Events in ROOT files, which ROOT writes here with the members and the split branches of the packages themselves."""

from __future__ import annotations

import math

import numpy as np
import pyhepmc
import pytest

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.io.root_events import RootEvents, _Part, recognises
from fastsim.source import Limits, Range
from tests import root_files as files
from tests.source_checks import (
    NS_PER_MM,
    assert_like_pyhepmc,
    assert_sound,
    joined,
    mothers_of,
    points_of,
    read_all,
    reasons,
)

DATA = "tests/data/pp_ttbar_40.hepmc.zst"


def real_events(n=3, path=DATA):
    """The first events of a file of Pythia's."""
    with pyhepmc.open(path) as stream:
        return [event for event, _ in zip(stream, range(n), strict=False)]


def small_event(number=0, units=("GEV", "MM")):
    """Two beams give a pion, and an eta that decays on the spot (a vertex without a position)."""
    event = pyhepmc.GenEvent(getattr(pyhepmc.Units, units[0]), getattr(pyhepmc.Units, units[1]))
    event.event_number = number
    beams = [pyhepmc.GenParticle((0, 0, sign * 6500.0, 6500.0), 2212, 4) for sign in (1, -1)]
    collision, decay = pyhepmc.GenVertex((0.01, 0.02, 3.0, 0.5)), pyhepmc.GenVertex()
    eta = pyhepmc.GenParticle((-1.3, -0.5, -0.7, 1.7), 221, 2)
    for beam in beams:
        collision.add_particle_in(beam)
    for particle in (pyhepmc.GenParticle((0.3, 0.4, 0.5, 0.75), 211, 1), eta):
        collision.add_particle_out(particle)
    decay.add_particle_in(eta)
    for pz in (-0.3, -0.4):
        decay.add_particle_out(pyhepmc.GenParticle((-0.65, -0.25, pz, 0.85), 22, 1))
    event.add_tree(beams)
    for particle in event.particles:
        particle.generated_mass = 0.5
    return event


def hepmc3(tmp_path, events, **options):
    """A source of these events (pyhepmc's, or dicts as from `data_of`)."""
    path = tmp_path / "events.root"
    files.write_hepmc3(path, [e if isinstance(e, dict) else files.data_of(e) for e in events], **options)
    return RootEvents(str(path))


@pytest.mark.parametrize("limits", [(1000, 200_000), (1, 200_000), (1000, 1)])
def test_hepmc3_trees_say_what_pyhepmc_says(tmp_path, limits):
    events = real_events()
    reads, record = read_all(hepmc3(tmp_path, events), limits=limits)
    assert len(reads) == (1 if limits == (1000, 200_000) else 3)
    assert not reasons(reads)
    for read, some in zip(reads, [events] if len(reads) == 1 else [[e] for e in events], strict=True):
        assert_sound(read)
        assert_like_pyhepmc(read.batch, some)
    assert joined(reads, c.EVENT_ID).tolist() == [0, 1, 2]
    assert record.n_events == 3


@pytest.mark.parametrize("units", [("GEV", "MM"), ("MEV", "CM")])
def test_hepmc3_units_and_positions_from_upstream(tmp_path, units):
    (read,), _ = read_all(hepmc3(tmp_path, [small_event(7, units)]))
    assert_sound(read)
    assert_like_pyhepmc(read.batch, [small_event(7, units)])
    assert len(set(read.batch[c.VERTEX_POSITION[2]])) == 1  # the eta's decay is where it was made


def test_hepmc3_vertices_without_position_are_at_the_event(tmp_path):
    data = files.data_of(small_event())
    data["vertices"] = [(0, [0.0] * 4)] * 2
    data["event_pos"] = [1.0, 2.0, 3.0, 4.0]
    (read,), _ = read_all(hepmc3(tmp_path, [data]))
    for column, value in zip(c.VERTEX_POSITION, (0.1, 0.2, 0.3, 4 * NS_PER_MM), strict=True):
        assert read.batch[column].tolist() == [pytest.approx(value)] * 2
    assert read.batch[c.VERTEX_TRUE[0]][0] == pytest.approx(0.1)


def test_hepmc3_without_beams_the_primary_vertex_is_the_first_from_nowhere(tmp_path):
    data = files.data_of(small_event())
    data["particles"] = [(p[0], 3 if p[1] == 4 else p[1], *p[2:]) for p in data["particles"]]
    (read,), _ = read_all(hepmc3(tmp_path, [data]))
    assert read.batch[c.VERTEX_TRUE[2]][0] == pytest.approx(0.3)


def test_hepmc3_mass_that_is_not_set_is_the_invariant_mass(tmp_path):
    data = files.data_of(small_event())
    data["particles"][2] = (211, 1, False, 99.0, [0.3, 0.4, 0.5, 0.75])
    (read,), _ = read_all(hepmc3(tmp_path, [data]))
    assert read.batch[c.MASS][2] == pytest.approx(math.sqrt(0.75**2 - 0.3**2 - 0.4**2 - 0.5**2))


def test_hepmc3_weights_run_information_and_attributes(tmp_path):
    data = files.data_of(small_event())
    ion = pyhepmc.GenHeavyIon()
    ion.Ncoll_hard, ion.Npart_proj, ion.Npart_targ, ion.Ncoll = 3, 11, 12, 20
    ion.impact_parameter, ion.event_plane_angle = 7.5, 0.25
    data["weights"] = [0.5, 2.0]
    data["attributes"] = [
        (1, "GenPdfInfo", "9 9 9 9 9 9 9 9 9"),  # of particle 1, not of the event
        (0, "GenHeavyIon", ion.to_string()),
        (0, "GenCrossSection", "12.5 0.5 100 200"),
        (0, "GenPdfInfo", "21 2 0.1 0.2 91 0.3 0.4 0 0"),
    ]
    garbled = {**data, "attributes": [(0, name, "x") for name in ("GenHeavyIon", "GenCrossSection", "GenPdfInfo")]}
    source = hepmc3(tmp_path, [data, garbled], weight_names=["a", "b|c"], tools=[("Pythia", "8.3", "")])
    (read,), record = read_all(source)
    assert record.info == {"format": "HepMC3 (ROOT)", "weight_names": ["a", "b|c"], "generators": ["Pythia 8.3"]}
    batch = read.batch
    assert batch[c.WEIGHT].tolist() == [0.5, 0.5]
    assert batch[c.WEIGHT_VALUE].tolist() == [0.5, 2.0] * 2
    table = np.column_stack([batch[x] for x in (*c.HEAVY_ION, *c.CROSS_SECTION, *c.PARTONS)])
    assert table[0].tolist() == [3, 11, 12, 20, 7.5, 0.25, 12.5, 0.5, 21, 2, 0.1, 0.2, 91, 0.3, 0.4]
    assert np.isnan(table[1]).all()


def test_hepmc3_attributes_as_pyhepmc_names_them(tmp_path):
    event = small_event()
    event.heavy_ion, event.cross_section, event.pdf_info = ion, section, pdf = (
        pyhepmc.GenHeavyIon(), pyhepmc.GenCrossSection(), pyhepmc.GenPdfInfo(),
    )  # fmt: skip
    ion.impact_parameter, ion.Ncoll = 7.5, 20
    section.set_cross_section(12.5, 0.5)
    pdf.parton_id1, pdf.parton_id2, pdf.x1, pdf.x2, pdf.scale, pdf.xf1, pdf.xf2 = 21, 2, 0.1, 0.2, 91.0, 0.3, 0.4
    (read,), _ = read_all(hepmc3(tmp_path, [event]))
    batch = read.batch
    assert (batch[c.IMPACT_PARAMETER][0], batch[c.HEAVY_ION[3]][0]) == (7.5, 20)
    assert [batch[x][0] for x in (*c.CROSS_SECTION, *c.PARTONS)] == [12.5, 0.5, 21, 2, 0.1, 0.2, 91, 0.3, 0.4]


def test_hepmc3_without_weights_has_one_of_1(tmp_path):
    data = files.data_of(small_event())
    (read,), _ = read_all(hepmc3(tmp_path, [{**data, "weights": []}, {**data, "weights": [3.0]}]))
    assert read.batch[c.WEIGHT].tolist() == [1.0, 3.0]
    assert read.batch[c.WEIGHT_VALUE].tolist() == [1.0, 3.0]


def broken(**changes):
    return {**files.data_of(small_event(5)), **changes}


def with_particle(i, **changes):
    """The small event with another particle i."""
    particles = files.data_of(small_event())["particles"]
    names = ("pid", "status", "is_mass_set", "mass", "momentum")
    particles[i] = tuple(({**dict(zip(names, particles[i], strict=True)), **changes}).values())
    return broken(particles=particles)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: with_particle(2, momentum=[math.nan, 0, 0, 1]), "particle 3 (PDG code 211) has px = nan"),
        (lambda: with_particle(2, momentum=[0, 0, 0, 1e39]), "particle 3 (PDG code 211) has energy = 1e+39"),
        (lambda: with_particle(2, mass=math.inf), "particle 3 (PDG code 211) has mass = inf"),
        (lambda: broken(vertices=[(0, [0, math.inf, 0, 0])] * 2), "vertex 1 is at [0.0, inf, 0.0, 0.0]"),
        (lambda: broken(vertices=[(0, [0, 0, 1e40, 0])] * 2), "vertex 1 is at [0.0, 0.0, 1.0000000000000001e+39, 0.0]"),
        (lambda: broken(event_pos=[0, 0, 0, 1e42]), "it is at [0.0, 0.0, 0.0, 3.3356409519815205e+39]"),
        (lambda: broken(weights=[math.nan]), "it has the weight nan"),
        (lambda: broken(weights=[-1e39]), "it has the weight -1e+39"),
        (lambda: broken(event_pos=[0, math.nan, 0, 0]), "it is at [0.0, nan, 0.0, 0.0]"),
        (lambda: broken(links1=[1, 9], links2=[-1, -1]), "its link from 9 to -1 is between nothing that it has"),
        (lambda: broken(links1=[-3], links2=[1]), "its link from -3 to 1 is between nothing that it has"),
        (lambda: broken(links1=[1], links2=[2]), "its link from 1 to 2 is between nothing that it has"),
        (lambda: broken(links1=[1, 2], links2=[-1]), "2 of its links start, and 1 end"),
        (lambda: broken(links1=[1, 1], links2=[-1, -2]), "one of its particles ends in more than one vertex"),
        (lambda: broken(links1=[-1, -2], links2=[1, 1]), "one of its particles comes from more than one vertex"),
        (lambda: broken(links1=[-1, 1], links2=[1, -1]), "its particles are their own ancestors"),
        (lambda: broken(weights=[1, 2]), "it has 2 weights, where the file names 1"),
    ],
)  # fmt: skip
def test_hepmc3_bad_events_are_told_and_the_others_kept(tmp_path, make, reason):
    good = [{**files.data_of(small_event(n)), "weights": [1.0]} for n in (4, 6)]
    bad = {"weights": [1.0], **make(), "event_number": 5}
    bad["weights"] = bad["weights"] or [1.0]
    source = hepmc3(tmp_path, [good[0], bad, good[1]], weight_names=["w"])
    (read,), record = read_all(source, first_event=10)
    assert reasons([read]) == {11: f"{record.name}: event 5 (position 11): {reason}"}
    assert_sound(read)
    assert_like_pyhepmc(read.batch, [small_event(4), small_event(6)])
    assert read.batch[c.EVENT_ID].tolist() == [10, 12]


@pytest.mark.parametrize(
    ("events", "ids"), [((0, None), range(10, 16)), ((12, 14), [12, 13]), ((0, 11), [10]), ((16, 20), []), ((0, 5), [])]
)
@pytest.mark.parametrize("n", [1, 2, 100])
def test_range_and_blocks(tmp_path, events, ids, n):
    source = hepmc3(tmp_path, [small_event(i) for i in range(6)])
    reads, record = read_all(source, first_event=10, events=events, limits=(n, 1000))
    assert [i for read in reads for i in read.batch[c.EVENT_ID]] == list(ids)
    assert [i for read in reads for i in read.batch[c.EVENT_NUMBER]] == [i - 10 for i in ids]
    assert record.first_event == 10
    assert record.n_events == 6


def test_numbers_of_particles_are_read_once(tmp_path, monkeypatch):
    read, counts = [], _Part.counts
    monkeypatch.setattr(
        _Part, "counts", lambda part, branch: read.append(part.end - part.first) or counts(part, branch)
    )
    blocks = list(hepmc3(tmp_path, [small_event(i) for i in range(9)]).blocks(0, Range(1), Limits(5, 12)))
    assert [(block.first, block.end) for block in blocks] == [
        (1, 3),
        (3, 5),
        (5, 6),
        (6, 8),
        (8, 9),
    ]  # 6 particles each
    assert read == [5, 3]


def test_an_event_larger_than_the_limit_is_a_block(tmp_path):
    source = hepmc3(tmp_path, [small_event(i) for i in range(5)])  # of 6 particles
    reads, _ = read_all(source, limits=(100, 12))
    assert [read.batch.n_events for read in reads] == [2, 2, 1]


def test_a_file_without_events(tmp_path):
    reads, record = read_all(hepmc3(tmp_path, []))
    assert not reads
    assert record.n_events == 0


# --- EDM4hep --------------------------------------------------------------------------------------------------------


def mc(pdg, status, parents=(), *, vertex=(0.0, 0.0, 0.0), time=0.0, momentum=(0.0, 0.0, 1.0), mass=0.0, **more):
    return {"pdg": pdg, "status": status, "parents": parents, "vertex": vertex, "time": time, "momentum": momentum,
            "mass": mass, **more}  # fmt: skip


FLIGHT = {"vertex": (1.0, 2.0, 30.0), "time": 0.25}
DECAYS = [
    mc(11, 4, momentum=(0, 0, 45.6)),
    mc(-11, 4, momentum=(0, 0, -45.6)),
    mc(310, 2, (0, 1), vertex=(0.0, 0.0, 0.5), momentum=(1.0, 2.0, 2.0), mass=0.5),
    mc(211, 1, (2,), **FLIGHT, mass=0.125),
    mc(22, 1, (0, 1), vertex=(0.0, 0.0, 0.5)),
    mc(-211, 1, (2,), **FLIGHT),
]


def edm4hep(tmp_path, events, **options):
    path = tmp_path / "events.root"
    files.write_edm4hep(path, events, **options)
    return RootEvents(str(path))


@pytest.mark.parametrize(
    "options",
    [{}, {"collection": "GenParticles"}, {"old_names": True}, {"collection": "Some"}, {"other": ["GenParticles"]}],
)
def test_edm4hep_units_vertices_and_links(tmp_path, options):
    events = [{"number": 3, "particles": DECAYS}, {"number": 5, "particles": DECAYS[:2]}]
    (read,), record = read_all(edm4hep(tmp_path, events, **options))
    assert_sound(read)
    batch = read.batch
    assert record.info["format"] == "EDM4hep (ROOT)"
    assert np.diff(batch.offsets["particle"]).tolist() == [6, 2]
    assert batch[c.EVENT_NUMBER].tolist() == [3, 5]
    assert batch[c.PDG][:6].tolist() == [11, -11, 310, 211, 22, -211]
    assert batch[c.STATUS][:6].tolist() == [4, 4, 2, 1, 1, 1]
    assert batch[c.ENERGY][2] == pytest.approx(math.sqrt(1 + 4 + 4 + 0.25))
    assert mothers_of(batch, 0) == [set(), set(), {0, 1}, {2}, {0, 1}, {2}]
    assert mothers_of(batch, 1) == [set(), set()]
    assert batch[c.PRODUCTION_VERTEX].tolist() == [-1, -1, 0, 1, 0, 1, -1, -1]
    assert batch[c.END_VERTEX].tolist() == [0, 0, 1, -1, -1, -1, -1, -1]
    np.testing.assert_allclose(points_of(batch, 0)[2:4], [[0, 0, 0.05, 0], [0.1, 0.2, 3.0, 0.25]])  # mm, and ns
    assert [batch[x][0] for x in c.VERTEX_TRUE] == [0.0, 0.0, pytest.approx(0.05), 0.0]


def test_edm4hep_weights_cross_section_and_partons(tmp_path):
    pdf = {"id": (21, -1), "x": (0.1, 0.2), "xf": (0.3, 0.4), "scale": 91.0}
    events = [
        {
            "particles": DECAYS,
            "weight": 0.5,
            "weights": [3.0, 4.0],
            "cross_sections": [(7.0, 0.1), (8.0, 0.2)],
            "pdf": pdf,
        },
        {"particles": DECAYS, "weight": 0.25, "weights": [5.0, 6.0]},
        {"particles": DECAYS, "weights": [1.0], "number": 9},
    ]
    (read,), record = read_all(edm4hep(tmp_path, events, weight_names=["up", "down"]))
    assert record.info["weight_names"] == ["up", "down"]
    assert read.batch[c.WEIGHT].tolist() == [0.5, 0.25]
    assert read.batch[c.WEIGHT_VALUE].tolist() == [3.0, 4.0, 5.0, 6.0]
    table = np.column_stack([read.batch[x] for x in (*c.CROSS_SECTION, *c.PARTONS)])
    assert table[0].tolist() == [7.0, 0.1, 21, -1, 0.1, 0.2, 91, 0.3, 0.4]
    assert np.isnan(table[1]).all()
    assert "event 9 (position 2): it has 1 weights, where the file names 2" in reasons([read])[2]


def test_edm4hep_events_without_a_list_of_weights_have_their_own(tmp_path):
    events = [{"particles": DECAYS, "weight": 0.5, "weights": w} for w in ([], [3.0, 4.0], [])]
    for limits in ((10, 1000), (1, 1000)):
        reads, _ = read_all(edm4hep(tmp_path, events), limits=limits)
        assert joined(reads, c.WEIGHT_VALUE).tolist() == [0.5, 3.0, 4.0, 0.5]
        assert joined(reads, c.WEIGHT).tolist() == [0.5] * 3


def test_edm4hep_one_weight_without_names(tmp_path):
    (read,), record = read_all(edm4hep(tmp_path, [{"particles": DECAYS, "weight": 0.5}]))
    assert record.info["weight_names"] == []
    assert read.batch[c.WEIGHT_VALUE].tolist() == [0.5]


def test_edm4hep_leaves_out_what_the_simulation_made(tmp_path):
    shower = mc(11, 0, (2,), simulator_status=1 << 30, **FLIGHT)
    later = mc(13, 1, (1, 0), vertex=(0.0, 0.0, 0.5))
    cut = mc(14, 1, (3,))  # from the shower: its link is cut
    events = [{"particles": [*DECAYS[:3], shower, later, cut]}, {"particles": DECAYS}]
    (read,), _ = read_all(edm4hep(tmp_path, events))
    assert_sound(read)
    assert read.batch[c.PDG].tolist()[:5] == [11, -11, 310, 13, 14]
    assert mothers_of(read.batch, 0) == [set(), set(), {0, 1}, {0, 1}, set()]
    assert mothers_of(read.batch, 1)[3] == {2}


@pytest.mark.parametrize(
    ("particles", "reason"),
    [
        ([*DECAYS, mc(22, 1, (9,))], "particle 7 has the mother 10, where there are particles 1 to 7"),
        ([*DECAYS, mc(22, 1, (-1,))], "particle 7 has the mother 0, where there are particles 1 to 7"),
        ([*DECAYS, mc(22, 1, (6,))], "its particles are their own ancestors"),
        ([mc(22, 1, (1,)), mc(22, 1, (0,))], "its particles are their own ancestors"),
        ([mc(22, 1, (0,), parents_end=5)], "a particle's mothers are not among the 1 that the event lists"),
        ([mc(22, 1, momentum=(math.inf, 0, 0))], "particle 1 (PDG code 22) has px = inf"),
        ([mc(22, 1, vertex=(1e40, 0, 0))], "vertex 1 is at [1.0000000000000001e+39, 0.0, 0.0, 0.0]"),
        ([mc(22, 1, vertex=(math.nan, 0, 0))], "vertex 1 is at [nan, 0.0, 0.0, 0.0]"),
    ],
)  # fmt: skip
def test_edm4hep_bad_events_are_told_and_the_others_kept(tmp_path, particles, reason):
    simulated = mc(11, 0, simulator_status=1 << 30)
    events = [{"number": n, "particles": p} for n, p in enumerate((DECAYS, particles, [*particles, simulated], DECAYS))]
    (read,), record = read_all(edm4hep(tmp_path, events))
    assert_sound(read)
    assert reasons([read])[1] == f"{record.name}: event 1 (position 1): {reason}"
    assert set(reasons([read])) == {1, 2}
    assert read.batch[c.EVENT_ID].tolist() == [0, 3]
    assert mothers_of(read.batch, 1) == [set(), set(), {0, 1}, {2}, {0, 1}, {2}]


@pytest.mark.parametrize("weight", [math.nan, math.inf, 1e39])
def test_edm4hep_weights_that_are_none_are_told(tmp_path, weight):
    events = [{"particles": DECAYS, "weight": w} for w in (0.5, weight)]
    (read,), _ = read_all(edm4hep(tmp_path, events))
    assert reasons([read])[1].endswith(f": it has the weight {weight}")
    assert read.batch[c.WEIGHT_VALUE].tolist() == [0.5]


@files.quiet
def test_edm4hep_without_mothers_is_refused(tmp_path):
    ROOT = files.root()
    file = ROOT.TFile(str(tmp_path / "bare.root"), "RECREATE")
    tree, rows = ROOT.TTree("events", ""), ROOT.std.vector["edm4hep::MCParticleData"]()
    tree.Branch("MCParticles", rows)
    tree.Fill()
    tree.Write()
    file.Close()
    (block,) = RootEvents(str(tmp_path / "bare.root")).blocks(0, Range(), Limits(10, 1000))
    with pytest.raises(
        InputError, match="MCParticles has no mothers: neither a branch _MCParticles_parents nor MCParticles#0"
    ):
        block.read()


def test_edm4hep_with_several_collections_that_are_not_known_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"several branches hold events: events/A, events/B\n.*hint: keep one, or name it MCParticles"
    ):
        edm4hep(tmp_path, [], collection="A", other=["B"])


# --- O2 -------------------------------------------------------------------------------------------------------------


def track(pdg, status, mother=-1, second=-1, *, process=0, p=(0.0, 0.0, 1.0), x=(0.0, 0.0, 0.0, 0.0), prop=0):
    names = [
        f"StartVertex{kind}{axis}" for kind, axes in (("Momentum", "XYZ"), ("Coordinates", "XYZT")) for axis in axes
    ]
    return {"PdgCode": pdg, "StatusCode": status, "MotherTrackId": mother, "SecondMotherTrackId": second,
            "Prop": 1 | process << 1 | prop, **dict(zip(names, (*p, *x), strict=True))}  # fmt: skip


def o2(tmp_path, events):
    path = tmp_path / "o2sim_Kine.root"
    files.write_o2(path, events)
    return RootEvents(str(path))


AWAY = (0.5, 1.5, -2.0, 0.125)  # exact in float32
TRANSPORTED = -(1 << 31)


def test_o2_units_status_vertices_and_primaries(tmp_path):
    event = [
        track(2212, files.o2_status(4, -12)),
        track(21, files.o2_status(-5, 500), 0, x=(0, 0, 1, 0)),
        track(310, files.o2_status(2, 83), 1, 0, p=(3.0, 0.0, 4.0), x=(0, 0, 1, 0)),
        track(11, -1, 2, process=5, x=AWAY),  # pair production in the material
        track(211, files.o2_status(1, 91), 2, x=AWAY),
        track(-211, 1, 2, 2, x=AWAY),  # an older file: no two codes in one
        track(13, 0, x=(9, 9, 9, 9), prop=TRANSPORTED),  # a box: no status
        track(1000822080, 0),
    ]
    (read,), record = read_all(o2(tmp_path, [event, event[:1]]))
    assert_sound(read)
    batch = read.batch
    assert record.info == {"format": "O2 (ROOT)", "weight_names": [], "generators": []}
    assert np.diff(batch.offsets["particle"]).tolist() == [7, 1]
    assert batch[c.PDG][:7].tolist() == [2212, 21, 310, 211, -211, 13, 1000822080]
    assert batch[c.STATUS][:7].tolist() == [4, -5, 2, 1, 1, 1, 0]
    # 1 comes from {0} and 2 from {1, 0}: two vertices, and 0 ends in the first one
    assert mothers_of(batch, 0) == [set(), {0}, {1}, {2}, {2}, set(), set()]
    np.testing.assert_array_equal(points_of(batch, 0)[[1, 3, 4, 5]], [(0, 0, 1, 0), AWAY, AWAY, (9, 9, 9, 9)])
    assert batch[c.EVENT_NUMBER].tolist() == [0, 1]
    assert batch[c.WEIGHT].tolist() == [1.0, 1.0]
    assert [batch[x][0] for x in c.VERTEX_TRUE] == [0, 0, 1, 0]


def test_o2_masses_are_those_of_the_particle_data_group(tmp_path):
    codes = [211, 310, -3122, 22, 1000010020, 1000060120, 21, 99999999]
    # PDG 2024 [GeV]; the deuteron of CODATA; carbon-12 defines the mass unit, with its electrons; a gluon and nonsense have none
    masses = [0.13957039, 0.497611, 1.115683, 0.0, 1.875612945, 12 * 0.93149410372 - 6 * 0.00051099895, 0.0, 0.0]
    (read,), _ = read_all(o2(tmp_path, [[track(code, 1, p=(3.0, 0.0, 4.0)) for code in codes]]))
    np.testing.assert_allclose(read.batch[c.MASS], masses, rtol=1e-6)
    np.testing.assert_allclose(read.batch[c.ENERGY], np.sqrt(25 + np.array(masses) ** 2), rtol=1e-6)


def test_o2_particles_without_mothers_share_a_vertex_if_they_share_a_point(tmp_path):
    points = [(0, 0, 1, 0), AWAY, (0, 0, 1, 0), AWAY, (0, 0, 2, 0)]
    (read,), _ = read_all(o2(tmp_path, [[track(211, 1, x=x) for x in points]] * 2))
    assert read.batch[c.PRODUCTION_VERTEX].tolist() == [0, 1, 0, 1, 2] * 2
    np.testing.assert_array_equal(points_of(read.batch, 1), points)
    assert read.batch[c.VERTEX_TRUE[2]].tolist() == [1.0, 1.0]


def test_o2_bad_events_are_told_and_the_others_kept(tmp_path):
    good = [track(211, 1), track(22, 1, 0)]
    bad = [
        [track(22, 1, 7)],
        [track(22, 1, 7), track(11, -1, 0, process=5)],
        [track(22, 1, 1), track(22, 1, 0)],
        [track(22, 1, p=(math.nan, 0, 0))],
        [track(22, 1, x=(0, 0, math.inf, 0))],
    ]
    (read,), _ = read_all(o2(tmp_path, [good, *bad, good]))
    assert_sound(read)
    assert read.batch[c.EVENT_ID].tolist() == [0, 6]
    wrong = "particle 1 has the mother 8, where there are particles 1 to"
    for i, reason in enumerate(
        (
            f"{wrong} 1",
            f"{wrong} 2",
            "its particles are their own ancestors",
            "particle 1 (PDG code 22) has px = nan",
            "vertex 1 is at [0.0, 0.0, inf, 0.0]",
        ),
        1,
    ):
        assert f"event {i} (position {i}): {reason}" in reasons([read])[i]


def test_brute_force_of_random_families(tmp_path):
    """Vertices by the rule as it is said, with sets and loops, for random events in which mothers stand anywhere."""
    rng = np.random.default_rng(1)
    events = []
    for _ in range(40):
        n = int(rng.integers(1, 12))
        rank = rng.permutation(n)
        rows = []
        for i in range(n):
            older = [k for k in range(n) if rank[k] < rank[i]]
            mothers = sorted(
                int(k) for k in rng.choice(older, size=min(len(older), int(rng.integers(0, 3))), replace=False)
            )
            rows.append(
                track(22, 1 if mothers else int(rng.choice([1, 4])), *mothers, x=(float(rng.integers(0, 2)), 0, 0, 0))
            )
        events.append(rows)
    (read,), _ = read_all(o2(tmp_path, events))
    assert not reasons([read])
    for e, rows in enumerate(events):
        groups, end, production = {}, {}, []
        vertices = []
        for row in rows:
            mothers = [m for m in (row["MotherTrackId"], row["SecondMotherTrackId"]) if m >= 0]
            x = row["StartVertexCoordinatesX"]
            if not mothers and row["StatusCode"] == 4:
                production.append(-1)
                continue
            key = (frozenset(mothers), x)
            if key not in groups:
                groups[key] = len(vertices)
                vertices.append(x)
            production.append(groups[key])
            for m in mothers:
                end.setdefault(m, groups[key])
        one = read.batch.slice_events(e, e + 1)
        assert one[c.PRODUCTION_VERTEX].tolist() == production
        assert one[c.END_VERTEX].tolist() == [end.get(i, -1) for i in range(len(rows))]
        assert one[c.VERTEX_POSITION[0]].tolist() == vertices


# --- files ----------------------------------------------------------------------------------------------------------


def test_recognises_root_files(tmp_path):
    path = tmp_path / "o2.root"
    files.write_o2(path, [])
    assert recognises(path.read_bytes()[:1024])
    assert not recognises(b"HepMC::Version")


@files.quiet
def test_a_foreign_root_file_is_refused_and_its_trees_told(tmp_path):
    ROOT = files.root()
    path = tmp_path / "other.root"
    file = ROOT.TFile(str(path), "RECREATE")
    for name in ("cats", "dogs"):
        ROOT.TTree(name, "").Write()
    file.Close()
    message = f"^{path}: a ROOT file without events of a known class; trees in it: cats, dogs\nhint: known are"
    with pytest.raises(InputError, match=message):
        RootEvents(str(path))


def test_a_root_file_without_trees_is_refused(tmp_path):
    files.root().TFile(str(tmp_path / "empty.root"), "RECREATE").Close()
    with pytest.raises(InputError, match="a ROOT file without events of a known class; it has no trees"):
        RootEvents(str(tmp_path / "empty.root"))


def test_rntuples_are_refused(tmp_path):
    import uproot

    with uproot.recreate(tmp_path / "n.root") as file:
        file.mkrntuple("events", {"x": "f8"}).extend({"x": np.ones(3)})
    with pytest.raises(InputError, match=r"it has no trees \(and RNTuples, which are not read\)"):
        RootEvents(str(tmp_path / "n.root"))


def test_hepmc3_without_a_tree_is_refused(tmp_path):
    with pytest.raises(
        InputError, match="a ROOT file of HepMC3's WriterRoot, which only HepMC3 itself can read\nhint: convert it"
    ):
        hepmc3(tmp_path, [small_event()], as_tree=False)


def test_no_such_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        RootEvents(str(tmp_path / "none.root"))
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        RootEvents(str(tmp_path))


@pytest.mark.parametrize("share", [0.002, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_told(tmp_path, share):
    path = tmp_path / "events.root"
    files.write_hepmc3(path, [files.data_of(event) for event in real_events(2)])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=f"^{path}: .*truncated or damaged.*\nhint: copy or produce the file again"):
        read_all(RootEvents(str(path)))


def test_damage_within_the_data_is_told(tmp_path):
    path = tmp_path / "events.root"
    files.write_hepmc3(path, [files.data_of(event) for event in real_events(2)])
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 4 : len(whole) // 4 + 4000] = b"\x55" * 4000
    path.write_bytes(whole)
    with pytest.raises(InputError, match="the ROOT file is truncated or damaged"):
        read_all(RootEvents(str(path)))
