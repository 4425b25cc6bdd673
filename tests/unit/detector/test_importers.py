"""Other programs' detectors: what is translated, what is refused with its line, what `lenient` corrects and tells."""

from __future__ import annotations

import contextlib
import math
import tomllib

import pytest

from fastsim.detector import load_detector
from fastsim.detector.importers import import_detector
from fastsim.detector.importers.toml_text import detector_text
from fastsim.errors import CardError

LENIENT = "--lenient corrects what can be corrected, and lists it"


@pytest.fixture
def write(tmp_path):
    def write(text, name="table.txt"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def load(tmp_path, imported):
    path = tmp_path / "out.toml"
    path.write_text(imported.text)
    return load_detector(path)


def problems_of(path, **options):
    """The faults, without the folder, and the hint."""
    with pytest.raises(CardError) as caught:
        import_detector(path, **options)
    return [problem.replace(f"{path.parent}/", "") for problem in caught.value.problems], caught.value.hint


# --- Delphes ---

# 1 mm of beryllium, three pixel layers of 0.5 mm of silicon, two double layers with stereo, one of one view, and disks.
TABLE = """\
# type label zmin zmax r w X0 n_meas th_up th_down reso_up reso_down flag
1 PIPE  -3     3     0.02  0.001  0.35    0 0     0      0       0       0

1 PIX   -0.3   0.3   0.03  0.0005 0.09375 2 0     1.5708 3e-006  5e-006  1
1 PIX   -0.3   0.3   0.05  0.0005 0.09375 2 0     1.5708 3e-006  5e-006  1   # the middle one
1\tPIX\t-0.3\t0.3\t0.07\t5E-4\t0.09375\t2\t1.5708\t0\t5e-6\t3e-6\t0.98
1 STEREO -1    1     0.50  0.001  0.1     2 0.02 -0.02   1e-05   1e-05   0.95
1 WIRE  -1     1     0.60  0.001  100     1 0     0      0.0001  0       1
2 DISK   0.1   0.4   1.1   0.0005 0.09375 2 0     1.5708 7e-06   9e-05   1
2 DISK   0.1   0.4  -1.1   0.0005 0.09375 2 0     1.5708 7e-06   9e-05   1
2 DISK   0.12  0.4   1.3   0.0005 0.09375 2 0     1.5708 7e-06   9e-05   1
2 WALL   0.1   0.4  -1.5   0.01   0.1     0 0     0      0       0       0
"""
CARD = """\
set RandomSeed 123
set B 2.5   ;# tesla
set ExecutionPath {
  TrackSmearing
}
module ParticlePropagator ParticlePropagator {
  set Bz 9.0
}
# module TrackCovariance Old { set Bz 1.0 }
module TrackCovariance TrackSmearing {
  set InputArray TrackMergerPre/tracks
  ## minimum number of hits
  set NMinHits 5
  set Bz $B
  set ElectronScaleFactor  {1.25}
  set DetectorGeometry {
@TABLE@  }
}
module Efficiency Other {
  set EfficiencyFormula {
    (pt < 0.1) * (0.0)
  }
}
"""


def card(table=TABLE, **changes):
    text = CARD.replace("@TABLE@", table)
    for old, new in changes.items():
        text = text.replace(
            {"field": "set Bz $B", "hits": "set NMinHits 5", "scale": "set ElectronScaleFactor  {1.25}"}[old], new
        )
    return text


def test_a_delphes_table_in_our_units(tmp_path, write):
    found = load(tmp_path, import_detector(write(TABLE), b_z=3.0))
    layers = {layer.name: layer for layer in found.layers}
    assert list(layers) == ["PIPE", "PIX1", "PIX2", "PIX3", "STEREO", "WIRE"]
    assert (layers["PIPE"].r, layers["PIPE"].half_length, layers["PIPE"].is_sensitive) == (2.0, 300.0, False)
    assert layers["PIPE"].x_over_x0 == pytest.approx(1 / 350)  # 1 mm of 35 cm
    assert [layers[f"PIX{i}"].r for i in (1, 2, 3)] == [3.0, 5.0, 7.0]
    for i in (1, 2, 3):  # the third has its two sides the other way round
        pixel = layers[f"PIX{i}"]
        assert (pixel.sigma_rphi_um, pixel.sigma_z_um, pixel.views) == (3.0, 5.0, None)
        assert pixel.x_over_x0 == pytest.approx(0.5 / 93.75)
    assert layers["PIX3"].efficiency == 0.98
    assert [(view.sigma_um, view.stereo_angle) for view in layers["STEREO"].views] == [(10.0, 0.02), (10.0, -0.02)]
    assert [(view.sigma_um, view.stereo_angle) for view in layers["WIRE"].views] == [(100.0, 0.0)]
    disks = [(d.name, d.z, d.r_min, d.r_max, d.both_sides, d.sigma_rphi_um, d.sigma_r_um) for d in found.disks]
    assert disks == [
        ("DISK1", 110.0, 10.0, 40.0, True, 7.0, 90.0),
        ("DISK2", 130.0, 12.0, 40.0, False, 7.0, 90.0),
        ("WALL", -150.0, 10.0, 40.0, False, None, None),
    ]
    assert (found.name, found.b_z) == ("table", 3.0)
    assert found.tracking.min_hits == 6
    assert found.tracking.scattering == "pdg_per_layer"


def test_a_bare_table_needs_a_field_and_says_which_cut_it_took(write):
    assert problems_of(write(TABLE)) == (
        ["table.txt: says nothing about the magnetic field"],
        "give it with --b-z, in tesla",
    )
    notes = import_detector(write(TABLE), b_z=2.0).notes
    assert notes == ["table.txt: sets no NMinHits: 6, which is Delphes' default"]


def test_a_card_gives_field_cut_and_scale(tmp_path, write):
    path = write(card(), "delphes_card_X.tcl")
    imported = import_detector(path)
    found = load(tmp_path, imported)
    assert (found.b_z, found.tracking.min_hits, found.tracking.electron_scale) == (2.5, 5, 1.25)
    assert found.name == "delphes_card_X"
    assert found.source.startswith("delphes_card_X.tcl (Delphes card), sha256 ")
    assert len(found.source.rpartition(" ")[2]) == 64
    assert imported.notes == [
        "delphes_card_X.tcl:10: only this module is imported: efficiencies, timing and calorimeters of the card are not"
    ]
    bare = load(tmp_path, import_detector(write(TABLE), b_z=2.5))
    assert (found.layers, found.disks) == (bare.layers, bare.disks)


def test_field_and_name_can_be_given(tmp_path, write):
    imported = import_detector(write(card()), b_z=1.0, name="mine")
    found = load(tmp_path, imported)
    assert (found.b_z, found.name) == (1.0, "mine")
    assert "table.txt: field 2.5 T replaced by 1 T, as asked for" in imported.notes
    assert problems_of(write(card()), b_z=99.0)[0] == [
        "table.txt: b_z: must be less than or equal to 20 (got 99.0, a number)"
    ]


def test_a_geometry_alone_is_enough(tmp_path, write):
    text = f"set Field 1.5\nset Bz ${{Field}}\nset NMinHits 4\nset DetectorGeometry {{\n{TABLE}}}\n"
    found = load(tmp_path, import_detector(write(text)))
    assert (found.b_z, found.tracking.min_hits, len(found.layers)) == (1.5, 4, 6)


def test_scale_formulas(tmp_path, write):
    scale = "set ElectronScaleFactor {\n (abs(eta) < 0.7 && pt > 0) * (1.5) +\n (abs(eta) >= 0.7 || pt < 0) * (2^2)\n }"
    problems, hint = problems_of(write(card(scale=scale)))
    assert problems == ["table.txt:15: ElectronScaleFactor depends on eta, which has no counterpart here"]
    assert hint == LENIENT
    imported = import_detector(write(card(scale=scale)), lenient=True)
    assert load(tmp_path, imported).tracking.electron_scale == 1.5
    assert (
        "table.txt:15: ElectronScaleFactor depends on eta, which has no counterpart here; taken as 1.5, its value at eta = 0"
        in imported.notes
    )
    muon = card(scale="set MuonScaleFactor {1.0 * 2}")
    assert problems_of(write(muon)) == (["table.txt:15: MuonScaleFactor = 2 has no counterpart here"], LENIENT)
    assert load(tmp_path, import_detector(write(muon), lenient=True)).tracking.electron_scale == 1.0
    problems, hint = problems_of(write(card(scale="set ElectronScaleFactor {sin(d0)}")))
    assert problems == ["table.txt:15: ElectronScaleFactor: 'd0' is not a variable (allowed: eta, pt, energy, pi)"]
    assert hint == ""


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"field": "set Bz $C"}, "table.txt:14: Bz: $C is set nowhere at the top of the card"),
        (
            {"field": "set Bz [expr 2*1.0]"},
            "table.txt:14: Bz: '[expr 2*1.0]' is neither a number nor a variable (expressions are not evaluated)",
        ),
        ({"hits": "set NMinHits 5.5"}, "table.txt:13: NMinHits must be a whole number (got 5.5)"),
        (
            {"hits": "set NMinHits 2"},
            "table.txt:13: tracking.min_hits: must be greater than or equal to 3 (got 2, an integer)",
        ),
        ({"field": "set Bz 0.0"}, "table.txt:14: b_z: must not be 0: without a field no momentum is measured"),
    ],
)
def test_faults_of_a_card(write, changes, problem):
    assert problems_of(write(card(**changes)))[0] == [problem]


def test_a_variable_that_is_itself(write):
    (problem,), _ = problems_of(write(card().replace("set B 2.5", "set B $B")))
    assert problem.startswith("table.txt:14: Bz: '$B' is neither a number nor a variable")


def test_cards_without_or_with_too_many_modules(write):
    text = "must have exactly one TrackCovariance module (got {}): only they have layers"
    none = card().replace("module TrackCovariance", "module MomentumSmearing")
    assert problems_of(write(none))[0] == [f"table.txt: {text.format('none')}"]
    n = len(card().splitlines())
    assert problems_of(write(card() + card()))[0] == [f"table.txt: {text.format(f'those of lines 10, {n + 10}')}"]
    empty = card().replace("DetectorGeometry", "Geometry")
    assert problems_of(write(empty))[0] == ["table.txt:10: the TrackCovariance module sets no DetectorGeometry"]


def test_a_card_that_is_cut_short(write):
    text = card().partition("2 DISK")[0]
    assert problems_of(write(text))[0] == [
        "table.txt:10: a brace that is opened here is not closed: the card is cut short"
    ]


def test_unknown_settings_are_told(write):
    notes = import_detector(write(card(hits="set NMinHits 5\n  set PtMin 1"))).notes
    assert "table.txt:14: ignored: PtMin (not a parameter of TrackCovariance)" in notes


ROW = "1 X -1 1 0.5 0.001 0.1 2 0 1.5708 1e-05 1e-05 1"
COLUMNS = (
    "type, label, min, max, position, thickness, radiation length, number of measurements, stereo angle up, "
    "stereo angle down, resolution up, resolution down, flag"
)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (ROW.removesuffix(" 1"), f"12 columns, a layer has 13: {COLUMNS}"),
        (ROW + " 1", f"14 columns, a layer has 13: {COLUMNS}"),
        (ROW.replace("0.5", "nan"), "X: not a number: position 'nan'"),
        (ROW.replace("0.5", "inf").replace("0.1 ", "$X0 "), "X: not a number: position 'inf', radiation length '$X0'"),
        (ROW.replace("0.5", "1e999"), "X: not a number: position '1e999'"),
        ("3" + ROW[1:], "X: type must be 1 (barrel) or 2 (disk) (got 3)"),
        (ROW.replace("0.001", "-0.001"), "X: thickness must not be negative (got -0.001 m)"),
        (ROW.replace("0.1 ", "0 "), "X: radiation length must be above 0 (got 0 m)"),
        (ROW.replace("-1 1", "1 -1"), "X: min 1 m must be below max -1 m"),
        (ROW.replace("-1 1", "-1 2"), "X: a barrel from -1 to 2 m is not symmetric (allowed: min = -max)"),
        (ROW.replace("0.5", "0"), "X: a barrel's radius must be above 0 (got 0 m)"),
        ("2" + ROW[1:], "X: a disk's inner radius must not be negative (got -1 m)"),
        ("2" + ROW[1:].replace("-1 1 0.5", "0.1 1 0"), "X: a disk must not be at z = 0"),
        (ROW.replace(" 2 0", " 3 0"), "X: number of measurements must be 0, 1 or 2 (got 3)"),
        (ROW.replace("05 1", "05 1.2"), "X: flag must be 0 (material only) or a hit efficiency up to 1 (got 1.2)"),
        (ROW.replace(" 2 0", " 0 0"), "X: flag 1 says that it measures, but the number of measurements is 0"),
        (ROW.replace("1e-05 1e-05", "1e-05 0"), "X: a measuring layer needs resolutions above 0"),
        (ROW.replace("0.001", "2"), "layers[6].x_over_x0: must be less than or equal to 10 (got 20.0, a number)"),
        (ROW.replace("1.5708", "0"), "layers[6].views: the two views measure the same direction"),
    ],
)
def test_faults_of_a_row(write, row, problem):
    barrel = TABLE.partition("2 DISK")[0]
    lines = [*barrel.splitlines(), row.replace("0.5 ", "0.8 ")]
    assert problems_of(write("\n".join(lines)), b_z=2.0)[0] == [f"table.txt:{len(lines)}: {problem}"]


def test_all_faults_of_a_table_at_once(write):
    text = "1 A -1 2 0.5 0.001 0.1 0 0 0 0 0 0\n1 B 0\n1 C -1 1 -0.5 -0.001 0.1 0 0 0 0 0 0\n"
    assert [problem.partition(": ")[0] for problem in problems_of(write(text))[0]] == [
        f"table.txt:{i}" for i in (1, 2, 3, 3)
    ]


def test_labels_are_made_unique(tmp_path, write):
    rows = [
        ROW.replace(" X ", f" {label} ").replace("0.5", f"0.{i}")
        for i, label in enumerate(("X", "X1", "X", "Y", "Z", "Z"), 1)
    ]
    found = load(tmp_path, import_detector(write("\n".join(rows)), b_z=1.0))
    assert [layer.name for layer in found.layers] == ["X_1", "X1", "X_2", "Y", "Z1", "Z2"]


def wires(n=12, *, slope=0.05, sign=1, first=0.3, pitch=0.0125, label="DCH"):
    """One-view rows with a stereo angle of tan = slope * r [m], in six digits as tables have them."""
    rows = []
    for i in range(n):
        r = first + i * pitch
        angle = sign * (-1) ** i * math.atan(slope * r)
        rows.append(f"1 {label} -2 2 {r:.6g} 0.0125 1250 1 {angle:.6g} 0 0.0001 0 1")
    return "\n".join(rows) + "\n"


def test_wires_become_a_drift_volume(tmp_path, write):
    imported = import_detector(write(TABLE.partition("1 STEREO")[0] + wires()), b_z=2.0)
    (volume,) = load(tmp_path, imported).drift_volumes
    assert (volume.name, volume.r_first, volume.pitch, volume.n_layers, volume.half_length) == (
        "DCH",
        30.0,
        1.25,
        12,
        200.0,
    )
    assert volume.x_over_x0 == pytest.approx(1e-5)
    assert volume.stereo_tan_per_cm == pytest.approx(0.0005, rel=1e-4)
    assert [(view.sigma_um, view.stereo_angle) for view in volume.views] == [(100.0, 0.0)]
    assert "table.txt:7: 12 equal rows, to line 18, are the drift volume 'DCH'" in imported.notes


def test_pads_become_a_drift_volume_too(tmp_path, write):
    rows = "".join(f"1 TPC -2 2 {0.3 + 0.01 * i:g} 0.01 100 2 0 1.5708 0.000173 0.00074 1\n" for i in range(20))
    (volume,) = load(tmp_path, import_detector(write(rows), b_z=2.0)).drift_volumes
    assert (volume.sigma_rphi_um, volume.sigma_z_um, volume.views, volume.stereo_tan_per_cm) == (
        173.0,
        740.0,
        None,
        0.0,
    )


@pytest.mark.parametrize(
    "rows",
    [
        wires(7),  # too few to be worth it
        wires(sign=-1),  # a drift volume begins with +
        wires().replace("0.3625 ", "0.3627 "),  # not equally spaced
        wires().replace("0.0156237", "0.0157"),  # an angle of its own
        wires() + "1 WALL -2 2 0.352 0.001 0.1 0 0 0 0 0 0\n",  # something stands in between
        "".join(reversed(wires().splitlines(keepends=True))),  # inwards
    ],
)
def test_rows_that_stay_layers(tmp_path, write, rows):
    found = load(tmp_path, import_detector(write(rows), b_z=2.0, lenient=True))
    assert found.drift_volumes == []
    assert len(found.layers) == len(rows.splitlines())


def test_two_drift_volumes_with_one_label(tmp_path, write):
    found = load(tmp_path, import_detector(write(wires() + wires(first=0.6, pitch=0.02)), b_z=2.0))
    assert [(volume.name, volume.r_first) for volume in found.drift_volumes] == [("DCH1", 30.0), ("DCH2", 60.0)]


RINGS = """\
2 R1 0.025 0.105 {z} 0.001 0.1 2 0 1.5708 7.5e-06 1.5e-05 1
2 R2 0.101 0.205 {z} 0.001 0.1 2 0 1.5708 7.5e-06 1.5e-05 1
2 R3 0.199 0.305 {z} 0.001 0.1 2 0 1.5708 7.5e-06 1.5e-05 1
"""


def test_rings_that_overlap(tmp_path, write):
    """Tracks cross both rings; Delphes lets them stand at one z, a detector file does not."""
    text = RINGS.format(z=0.95) + RINGS.format(z=-0.95) + wires(first=0.4)
    problems, hint = problems_of(write(text), b_z=4.0)
    assert problems == ["table.txt:2: R2: overlaps the disk of line 1 in r, from 10.1 to 10.5 cm"]
    assert hint == LENIENT
    imported = import_detector(write(text), b_z=4.0, lenient=True)
    found = load(tmp_path, imported)
    assert [(disk.name, disk.z, disk.both_sides) for disk in found.disks] == [
        ("R1", 95.0, True), ("R3", 95.0, True), ("R2", 95.0002, True),
    ]  # fmt: skip
    assert imported.notes[1] == f"{problems[0]}; taken as z = 95.0002 cm, 2 um further out"


def test_a_disk_through_a_barrel(tmp_path, write):
    text = TABLE + "2 END 0.02 0.0702 0.3 0.001 0.1 0 0 0 0 0 0\n"
    problems, hint = problems_of(write(text), b_z=2.0)
    assert problems == [
        f"table.txt:13: END: reaches through the barrel of line {n}, at r = {r} cm" for n, r in ((4, 3), (5, 5), (6, 7))
    ]
    assert hint == LENIENT
    assert problems_of(write(text), b_z=2.0, lenient=True)[0] == problems[:2]  # 4 and 2 cm are too much for a slip
    text = TABLE + "2 END 0.051 0.0702 0.3 0.001 0.1 0 0 0 0 0 0\n"
    imported = import_detector(write(text), b_z=2.0, lenient=True)
    assert {disk.name: disk.r_max for disk in load(tmp_path, imported).disks}["END"] == 7.0
    assert f"{problems[2]}; taken as r_max = 7 cm instead of 7.02 cm" in imported.notes


def test_no_rows_and_too_many(write):
    assert problems_of(write("set DetectorGeometry {\n}\nset Bz 1\n"))[0] == [
        "table.txt: the layer table has no rows (allowed: 1 to 2000)"
    ]
    many = write("1 X -1 1 0.5 0.1 0.1 0 0 0 0 0 0\n" * 2001)
    assert problems_of(many, b_z=1.0)[0] == ["table.txt: the layer table has 2001 rows (allowed: 1 to 2000)"]


# --- ALICE 3 ---

INI = """\
# layer.key: value
pipe.r: 0.48
pipe.z: 250
pipe.x0: 0.00042
pipe.xrho: 2.772e-02
pipe.resRPhi: 0.0
pipe.resZ: 0
pipe.eff: 0.0
pipe.type: 0
"""


def ini_layer(name, r, *, kind=1, eff="1.00", colon=":", **changes):
    values = {
        "r": r,
        "z": 250,
        "x0": "0.01",
        "xrho": "2.3292e-01",
        "resRPhi": "0.001",
        "resZ": ".0025",
        "eff": eff,
        "type": kind,
    }
    return "".join(f"{name}.{key}{colon} {value}\n" for key, value in (values | changes).items())


LAYERS = "".join(ini_layer(f"B{i}", r) for i, r in enumerate(("7.", "20", "45.", "80.")))
WORLD = "global.magneticfield: 20\n"
RULES = "table.txt: says nothing about what counts as a track: [tracking] has the rules of the detector alice3_v2"


def test_an_ini_in_our_units(tmp_path, write):
    imported = import_detector(write(INI + LAYERS + WORLD, "a3geometry_v9.ini"))
    found = load(tmp_path, imported)
    assert (found.b_z, found.name) == (2.0, "a3geometry_v9")
    pipe, first, *_, last = found.layers
    assert (pipe.name, pipe.r, pipe.half_length, pipe.x_over_x0, pipe.areal_density) == (
        "pipe",
        0.48,
        250.0,
        0.00042,
        0.02772,
    )
    assert not pipe.is_sensitive
    assert (first.sigma_rphi_um, first.sigma_z_um, first.efficiency, first.areal_density) == (10.0, 25.0, 1.0, 0.23292)
    assert (last.name, last.r) == ("B3", 80.0)
    assert found.tracking == load_detector("alice3_v2").tracking
    assert imported.notes == [RULES.replace("table.txt", "a3geometry_v9.ini")]


def test_a_short_tracker_has_no_minimum_radius(tmp_path, write):
    imported = import_detector(write("".join(ini_layer(f"B{i}", 1 + i) for i in range(5)) + WORLD))
    assert load(tmp_path, imported).tracking.min_radius == 0.0
    assert "table.txt: measures up to r = 5 cm only: tracking.min_radius is 0" in imported.notes


def test_an_ini_without_a_field(tmp_path, write):
    assert problems_of(write(LAYERS)) == (
        ["table.txt: says nothing about the magnetic field"],
        "give it with --b-z, in tesla",
    )
    assert load(tmp_path, import_detector(write(LAYERS), b_z=-0.5)).b_z == -0.5


MALFORMED = (
    INI.replace("resZ: 0\n", "resZ: 0.0f\n")  # line 7
    + ini_layer("B9", "1.2", colon="")  # lines 10 to 17
    + ini_layer("iTOF", 19, kind=0, x0="0.01*3.")  # lines 18 to 25; the expression is in line 20
    + LAYERS
    + WORLD
)


def test_malformed_lines_are_refused_all_at_once(write):
    """The mistakes of the public a3geometry_v3.ini."""
    keys = {
        "r": "1.2",
        "z": 250,
        "x0": "0.01",
        "xrho": "2.3292e-01",
        "resRPhi": "0.001",
        "resZ": ".0025",
        "eff": "1.00",
        "type": 1,
    }
    problems, hint = problems_of(write(MALFORMED))
    assert problems == [
        "table.txt:7: pipe.resZ: '0.0f' has a suffix, as C++ source has",
        *(
            f"table.txt:{10 + i}: no colon after the key in 'B9.{key} {value}'"
            for i, (key, value) in enumerate(keys.items())
        ),
        "table.txt:20: iTOF.x0: '0.01*3.' is an expression",
    ]
    assert hint == LENIENT


def test_lenient_takes_what_the_author_meant_and_lists_it(tmp_path, write):
    imported = import_detector(write(MALFORMED), lenient=True)
    layers = {layer.name: layer for layer in load(tmp_path, imported).layers}
    assert (layers["B9"].r, layers["B9"].sigma_rphi_um) == (1.2, 10.0)
    assert layers["iTOF"].x_over_x0 == 0.03
    assert not layers["iTOF"].is_sensitive
    assert imported.notes[:3] == [
        RULES,
        "table.txt:7: pipe.resZ: '0.0f' has a suffix, as C++ source has; taken as 0",
        "table.txt:10: no colon after the key in 'B9.r 1.2'; taken as 'B9.r: 1.2'",
    ]
    assert imported.notes[-2:] == [
        "table.txt:20: iTOF.x0: '0.01*3.' is an expression; taken as 0.03 (O2Physics reads 0.01)",
        "table.txt:25: 'iTOF' is inert (type 0) although its eff is 1: passive",
    ]
    assert all(f"# note: {note}" in imported.text.splitlines() for note in imported.notes)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.01f*3.f", 0.03),
        ("3.*0.01", 0.03),
        ("1e-2", 0.01),
        ("+.01", 0.01),
        ("0.03/3", 0.01),
        ("2 * (0.01 + 0.02)", 0.06),
    ],
)
def test_numbers_that_lenient_reads(tmp_path, write, text, value):
    layers = load(tmp_path, import_detector(write(LAYERS + ini_layer("X", 3, x0=text) + WORLD), lenient=True)).layers
    assert {layer.name: layer.x_over_x0 for layer in layers}["X"] == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "abc",
        "0.01 cm",
        "nan",
        "inf",
        "1e999",
        "0.01*x",
        "3*",
        "1/0.",
        "0x10",
        "--1",
        "1,5",
        "0.0ff",
        "10**400",
        "1" + 400 * "0" + "*2",
    ],
)
@pytest.mark.parametrize("lenient", [False, True])
def test_numbers_that_nobody_reads(write, text, lenient):
    problems, _ = problems_of(write(LAYERS + ini_layer("X", 3, x0=text) + WORLD), lenient=lenient)
    assert problems == [f"table.txt:35: X.x0: {text!r} is not a number"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("B0.r: 7.\n", "B0.r:\n", "table.txt:1: not a line of the form layer.key: value (got 'B0.r:')"),
        ("B0.r: 7.\n", "what is this\n", "table.txt:1: not a line of the form layer.key: value (got 'what is this')"),
        ("B0.r: 7.\n", "a.b.c: 1\n", "table.txt:1: not a line of the form layer.key: value (got 'a.b.c: 1')"),
        ("B1.r: 20\n", "B0.r: 20\n", "table.txt:9: B0.r is given already in line 1"),
        ("B0.type: 1\n", "B0.type: 4\n", "table.txt:8: B0.type: 4 is not -1, 0, 1, 2 or 3"),
        ("B0.type: 1\n", "", "table.txt:1: layer 'B0' has no type"),
        ("B0.z: 250\nB0.x0: 0.01\n", "", "table.txt:1: layer 'B0' has no z, x0"),
        ("B0.r: 7.", "B0.r: -7.", "table.txt:1: layers[0].r: must be greater than 0 (got -7.0, a number)"),
        ("B0.x0: 0.01", "B0.x0: 20", "table.txt:1: layers[0].x_over_x0: must be less than or equal to 10 (got 20.0, a number)"),
        ("B0.eff: 1.00", "B0.eff: 0", "table.txt:1: layers[0].efficiency: must be greater than 0 (got 0.0, a number)"),
        ("B0.resZ: .0025", "B0.resZ: 0", "table.txt:1: layers[0].sigma_z_um: must be greater than 0 (got 0.0, a number)"),
        (WORLD, "global.magneticfield: two\n", "table.txt:33: global.magneticfield: 'two' is not a number"),
        (WORLD, "global.magneticfield: 0\n", "table.txt:33: b_z: must not be 0: without a field no momentum is measured"),
        ("B1.r: 20", "B1.r: 7.0", "table.txt:9: layers[1].r: 7.0 cm overlaps layers[0] at 7.0 cm (surfaces must be 1 um apart)"),
    ],
)  # fmt: skip
def test_faults_of_an_ini(write, old, new, problem):
    text = LAYERS + WORLD
    assert old in text
    assert problem in problems_of(write(text.replace(old, new, 1)))[0]


def test_what_is_left_out_or_ignored_is_told(tmp_path, write):
    text = (
        LAYERS
        + ini_layer("vertex", 0, kind=-1)
        + ini_layer("tof", 85, kind=3)
        + ini_layer("gas", 50, kind=2)
        + WORLD
        + "global.lutEl: ccdb:/a/b\nB0.deadPhiRegions: ccdb:/dead\nB0.colour: 3\n"
    )
    imported = import_detector(write(text))
    layers = {layer.name: layer for layer in load(tmp_path, imported).layers}
    assert "vertex" not in layers
    assert not layers["tof"].is_sensitive
    assert layers["gas"].is_sensitive
    assert imported.notes[1:] == [
        "table.txt:33: left out: 'vertex' is the vertex (type -1), not a layer",
        "table.txt:48: 'tof' is a TOF layer (type 3), which the tracking does not use: passive",
        "table.txt:58: ignored: global.lutEl (not part of a detector)",
        "table.txt:59: ignored: B0.deadPhiRegions: dead regions in phi are NOT simulated",
        "table.txt:60: ignored: B0.colour (not a key of O2Physics' geometries)",
    ]


# --- files ---


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (bytes(range(256)), "not text (byte 128 is no UTF-8)"),
        (b"\0\1\2\3" * 10, "neither a Delphes layer table nor an ALICE 3 geometry"),
        (b"hello world\n", "neither a Delphes layer table nor an ALICE 3 geometry"),
        (b"schema_version = 1\nname = 'x'\n", "is a fastsim file already"),
        (b"\xff\xfe1 X", "not text (byte 0 is no UTF-8)"),
        (b"#" * 10_000_001, "larger than 10 MB: not a detector"),
    ],
)
def test_files_that_are_no_detector(write, content, problem):
    assert problems_of(write(content))[0] == [f"table.txt: {problem}"]


def test_files_that_cannot_be_read(tmp_path):
    assert problems_of(tmp_path / "no.tcl")[0] == ["no.tcl: no such file"]
    (tmp_path / "folder").mkdir()
    assert problems_of(tmp_path / "folder")[0] == ["folder: cannot be read (Is a directory)"]


def test_names_of_files_and_of_detectors(tmp_path, write):
    imported = import_detector(write(TABLE, 'a "b"\u20ac\x7f c.txt'), b_z=2.0)
    assert load(tmp_path, imported).name == "a_b_c"
    assert load(tmp_path, import_detector(write(TABLE, "\u20ac.txt"), b_z=2.0)).name == "imported"
    (problem,), _ = problems_of(write(TABLE), b_z=2.0, name="a b")
    assert (
        problem
        == "table.txt: name: string should match pattern '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$' (got 'a b', a string)"
    )


def test_bytes_changed_anywhere_are_told_or_harmless(write):
    """No exception other than ours, whatever is done to a file."""
    text = card().encode()
    for at in range(0, len(text), 7):
        for byte in (0, 0x7B, 0x7D, 0x23, 0x2E, 0xFF):
            path = write(text[:at] + bytes([byte]) + text[at + 1 :])
            with contextlib.suppress(CardError):
                import_detector(path)


def test_text_is_what_toml_reads_back_and_columns_are_aligned():
    data = {
        "schema_version": 1,
        "name": "x",
        "source": 'quotes " and \\',
        "b_z": 1e-05,
        "layers": [
            {"name": "a", "r": 1.0, "half_length": 10.0, "x_over_x0": 0.01},
            {"name": "long", "r": 12.25, "half_length": 10.0, "x_over_x0": 0.001, "sigma_rphi_um": 5.0, "efficiency": 1.0},
            {"name": "b", "r": 13.0, "half_length": 10.0, "x_over_x0": 0.5, "views": [{"sigma_um": 1.0, "stereo_angle": 0.0}]},
        ],
        "disks": [{"name": "d", "z": -1.0, "r_min": 0.0, "r_max": 2.0, "both_sides": False, "x_over_x0": 0.0}],
        "tracking": {"scattering": "no_log", "min_hits": 3, "occupancy": {"average_rapidity": 0.45}},
    }  # fmt: skip
    text = detector_text(data, ["one\ntwo", ""])
    assert tomllib.loads(text) == data
    lines = text.splitlines()
    assert lines[:2] == ["# one?two", "#"]
    assert lines[6:11] == [
        "",
        "# cylinders; r and half_length in cm",
        "layers = [",
        '  { name = "a",    r = 1.0,   half_length = 10.0, x_over_x0 = 0.01 },',
        '  { name = "long", r = 12.25, half_length = 10.0, x_over_x0 = 0.001, sigma_rphi_um = 5.0, efficiency = 1.0 },',
    ]
