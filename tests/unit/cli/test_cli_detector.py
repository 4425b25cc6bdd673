"""`fastsim detector`: show, check, plot, import, new; what they print, what they refuse, which codes they end with."""

from __future__ import annotations

import json
import re

import pytest

from fastsim import resources
from fastsim.detector import load_detector

SHIPPED = sorted(resources.shipped("detectors"))
TABLE = """\
1 PIPE -3 3 0.02 0.001 0.35 0 0 0 0 0 0
1 A -1 1 0.03 0.0005 0.09375 2 0 1.5708 3e-06 5e-06 1
1 B -1 1 0.06 0.0005 0.09375 2 0 1.5708 3e-06 5e-06 1
1 C -1 1 0.09 0.0005 0.09375 2 0 1.5708 3e-06 5e-06 1
"""
CARD = (
    f"module TrackCovariance TrackSmearing {{\n set NMinHits 3\n set Bz 1.5\n set DetectorGeometry {{\n{TABLE} }}\n}}\n"
)
BROKEN = """\
schema_version = 1
name = "broken"
source = "made up"
b_z = 0.0
layers = [{ name = "a", r = 1.0, half_length = 10.0, x_over_x0 = 0.1, colour = 3 }]
"""


@pytest.fixture
def mine(fastsim, tmp_path):
    path = tmp_path / "mine.toml"
    assert fastsim("detector", "new", "mine", "--out", path).code == 0
    return path


# --- show ---


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_detector_can_be_shown(fastsim, name):
    done = fastsim("detector", "show", name)
    found = load_detector(name)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{name}: {found.b_z:g} T")
    for element in [*found.layers, *found.disks, *found.drift_volumes]:
        assert f" {element.name} " in done.out
    assert "…" not in done.out.replace("…\n", "")
    assert f"source: {found.source}\n" in done.out


def test_show_has_a_row_for_each_kind(fastsim):
    lines = {
        line.split()[0]: line.split() for line in fastsim("detector", "show", "idea").out.splitlines() if line.strip()
    }
    found = load_detector("idea")
    (gas,) = found.drift_volumes
    assert lines[gas.name][1:5] == ["36", "-", "200", "±"]
    assert lines["VTXDSK1"][-3:] == ["7", "7", "100"]
    assert lines["VTXDSK1"][4:6] == ["±", f"{next(disk.z for disk in found.disks if disk.name == 'VTXDSK1'):g}"]


def test_show_says_all_rules(fastsim):
    out = fastsim("detector", "show", "alice3_v2").out
    for text in (
        "material at normal incidence: 8.48 % of a radiation length",
        "scattering: pdg_per_layer (PDG formula, ",
        "energy loss: mean, straggling: bohr, electrons: bethe_heitler\n",
        "a track has at least 4 hits, reaches r = 20 cm, crosses layers with sin(incidence) < 0.85",
        "wrong hits: hit density at rapidity 0.45",
    ):
        assert text in out
    assert "112 layers, one every 1.47748 cm, tan(stereo) = ± 0.000566" in fastsim("detector", "show", "idea").out


def test_show_tells_views_scale_and_edges(fastsim, mine):
    text = mine.read_text()
    text = text.replace(
        "sigma_rphi_um = 5.0,  sigma_z_um = 5.0", "views = [{ sigma_um = 7.0, stereo_angle = 0.02 }]", 1
    )
    text = text.replace("electron_scale = 1.0", "electron_scale = 1.25").replace(
        "z = 180.0,", "z = -180.0, both_sides = false,"
    )
    mine.write_text(text.replace("[tracking]", "r_edges = [0.0, 2.5, 100.0]\n[tracking]"))
    out = fastsim("detector", "show", mine).out
    for part in (
        "7 at 0.02",
        "resolutions times 1.25",
        "wrong hits: none",
        "bins of the production radius: 0, 2.5, 100 cm",
        " -180 ",
    ):
        assert part in out
    assert "bins of the production radius" not in fastsim("detector", "show", "alice3_v2").out


def test_show_of_formulas(fastsim):
    out = fastsim("detector", "show", "cms_like").out
    formula = load_detector("cms_like").formulas[0]
    assert "sigma_pt_over_pt" in out
    assert " ".join(formula.species) in out
    assert "scattering" not in out


def test_show_of_tables(fastsim, tmp_path):
    text = 'schema_version = 1\nname = "t"\nsource = "s"\nb_z = 1.0\n'
    (tmp_path / "t.toml").write_text(f'{text}tables = [{{ species = "mu", file = "mu.lut", sha256 = "{64 * "0"}" }}]\n')
    out = fastsim("detector", "show", tmp_path / "t.toml").out
    assert "mu" in out
    assert "000000…" in out


@pytest.mark.parametrize("name", SHIPPED)
def test_show_as_json(fastsim, name):
    found = json.loads(fastsim("detector", "show", name, "--json").out)
    assert found["name"] == name
    assert {"layers", "disks", "drift_volumes", "formulas", "tables", "tracking"} <= set(found)


# --- check ---


def test_check_is_one_line_a_detector(fastsim, mine):
    done = fastsim("detector", "check", "alice3_v2", mine, "cms_like")
    assert (done.code, done.err) == (0, "")
    first, second, third = done.out.splitlines()
    assert (
        first == "alice3_v2: fine, 35 measuring layers, 8.48 % of a radiation length at eta = 0, tracks at |eta| < 4.61"
    )
    assert second.startswith("mine: fine, 22 measuring layers")
    assert third.startswith("cms_like: fine, formulas for el, mu, pi")


def test_check_tells_every_fault_of_every_file(fastsim, tmp_path, mine):
    (tmp_path / "broken.toml").write_text(BROKEN)
    done = fastsim("detector", "check", tmp_path / "broken.toml", mine, tmp_path / "no.toml")
    assert done.code == 3
    assert done.out.startswith("mine: fine")
    lines = done.err.replace(f"{tmp_path}/", "").splitlines()
    assert lines[0].startswith("error: broken.toml:5: layers[0].colour: not a known key")
    assert lines[1:] == [
        "broken.toml:4: b_z: must not be 0: without a field no momentum is measured",
        "broken.toml: tracking: missing: a detector of layers needs it",
        "no such detector: no.toml",
    ]


def test_check_warns(fastsim, mine):
    mine.write_text(mine.read_text().replace("min_hits = 5", "min_hits = 8"))
    done = fastsim("detector", "check", mine)
    assert done.code == 0
    assert "\n  warning: gap: from eta " in done.out


def test_check_of_what_has_no_tracks_and_of_one_side(fastsim, mine):
    text = mine.read_text()
    mine.write_text(text.replace("min_hits = 5", "min_hits = 20"))
    assert "at eta = 0, no tracks\n  warning: no straight track" in fastsim("detector", "check", mine).out
    mine.write_text(text.replace("z = 180.0,", "z = 180.0, both_sides = false,"))
    assert "tracks at -3.26 < eta < 3.28" in fastsim("detector", "check", mine).out


# --- plot ---


def test_plot(fastsim, tmp_path):
    path = tmp_path / "a.png"
    assert fastsim("detector", "plot", "alice3_v2", "idea", "--out", path) == (0, f"{path}\n", "")
    assert path.read_bytes().startswith(b"\x89PNG")
    refused = (2, "", f"error: {path}: exists already\nhint: choose another name, or say --overwrite\n")
    assert fastsim("detector", "plot", "idea", "-o", path) == refused
    assert fastsim("detector", "plot", "idea", "-o", path, "--overwrite").code == 0
    done = fastsim("detector", "plot", "cms_like", "-o", tmp_path / "b.png")
    assert (done.code, done.err) == (2, "error: cms_like is made of formulas: it has no layers to draw\n")
    assert list(tmp_path.iterdir()) == [path]


# --- import ---


def test_import(fastsim, tmp_path):
    source, path = tmp_path / "card.tcl", tmp_path / "out.toml"
    source.write_text(CARD)
    done = fastsim("detector", "import", source, "--out", path, "--name", "mine", "--b-z", "3")
    assert (done.code, done.out) == (0, f"{path}: look at it with `fastsim detector check {path}`\n")
    assert done.err.splitlines() == [
        "note: card.tcl: field 1.5 T replaced by 3 T, as asked for",
        "note: card.tcl:1: only this module is imported: efficiencies, timing and calorimeters of the card are not",
    ]
    found = load_detector(path)
    assert (found.name, found.b_z, len(found.layers)) == ("mine", 3.0, 4)
    assert fastsim("detector", "check", path).code == 0
    refused = (2, "", f"error: {path}: exists already\nhint: choose another name, or say --overwrite\n")
    assert fastsim("detector", "import", source, "--out", path) == refused
    assert fastsim("detector", "import", source, "--out", path, "--overwrite").code == 0
    assert load_detector(path).b_z == 1.5


def test_import_never_replaces_its_own_source(fastsim, tmp_path):
    source = tmp_path / "card.tcl"
    source.write_text(CARD)
    done = fastsim("detector", "import", source, "--out", source, "--overwrite")
    assert (done.code, source.read_text()) == (2, CARD)


def test_import_strict_and_lenient(fastsim, tmp_path):
    source, path = tmp_path / "geometry.ini", tmp_path / "out.toml"
    keys = {"z": 250, "x0": 0.01, "xrho": 0, "resRPhi": 0.001, "resZ": 0.001, "eff": "1.00f", "type": 1}
    source.write_text(
        "".join(f"B{i}.{key}: {value}\n" for i in range(4) for key, value in {"r": i + 1, **keys}.items())
    )
    done = fastsim("detector", "import", source, "--out", path, "--b-z", 2)
    assert (done.code, done.out) == (3, "")
    assert done.err.replace(f"{tmp_path}/", "").splitlines() == [
        "error: geometry.ini:7: B0.eff: '1.00f' has a suffix, as C++ source has",
        *(f"geometry.ini:{7 + 8 * i}: B{i}.eff: '1.00f' has a suffix, as C++ source has" for i in (1, 2, 3)),
        "hint: --lenient corrects what can be corrected, and lists it",
    ]
    assert not path.exists()
    done = fastsim("detector", "import", source, "--out", path, "--lenient")
    assert (done.code, done.err) == (
        3, f"error: {source}: says nothing about the magnetic field\nhint: give it with --b-z, in tesla\n",
    )  # fmt: skip
    done = fastsim("detector", "import", source, "--out", path, "--lenient", "--b-z", "-2")
    assert done.code == 0
    assert "note: geometry.ini:7: B0.eff: '1.00f' has a suffix, as C++ source has; taken as 1\n" in done.err
    assert load_detector(path).b_z == -2.0


def test_import_of_nothing_useful(fastsim, tmp_path):
    done = fastsim("detector", "import", tmp_path / "no.tcl", "--out", tmp_path / "out.toml")
    assert (done.code, done.err) == (3, f"error: {tmp_path / 'no.tcl'}: no such file\n")
    (tmp_path / "a.txt").write_text("hello")
    done = fastsim("detector", "import", tmp_path / "a.txt", "--out", tmp_path / "out.toml")
    assert done.code == 3
    assert done.err.startswith(
        f"error: {tmp_path / 'a.txt'}: neither a Delphes layer table nor an ALICE 3 geometry\nhint: allowed: "
    )
    assert not (tmp_path / "out.toml").exists()


# --- new ---


def test_new_is_accepted_and_drawn(fastsim, mine, tmp_path):
    done = fastsim("detector", "check", mine)
    assert (done.code, done.err) == (0, "")
    assert "warning" not in done.out
    assert fastsim("detector", "plot", mine, "--out", tmp_path / "a.svg").code == 0
    assert load_detector(mine).name == "mine"


def test_new_explains_every_key(mine):
    """Whoever starts from the template has seen all that there is."""
    from fastsim.detector import schema

    text = mine.read_text()
    hidden = {"formulas", "tables", "r_edges", "stereo_tan_per_cm", "both_sides"}
    for model in (
        schema.Layer,
        schema.Disk,
        schema.DriftVolume,
        schema.View,
        schema.TrackingRules,
        schema.Occupancy,
        schema.Detector,
    ):
        for key in set(model.model_fields) - hidden:
            assert key in text, key


def test_new_refuses(fastsim, mine, tmp_path):
    before = mine.read_text()
    refused = (2, "", f"error: {mine}: exists already\nhint: choose another name, or say --overwrite\n")
    assert fastsim("detector", "new", "other", "--out", mine) == refused
    assert mine.read_text() == before
    assert fastsim("detector", "new", "other", "--out", mine, "--overwrite").code == 0
    assert load_detector(mine).name == "other"
    refused = (2, "", "error: 'a b': not a name for a detector\nhint: letters, digits and _ . - only\n")
    assert fastsim("detector", "new", "a b", "--out", tmp_path / "a.toml") == refused
    assert fastsim("detector", "new", "a", "--out", tmp_path / "no" / "a.toml").code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_files_on_a_full_disk(fastsim, tmp_path, full_disk):
    for words in (["new", "a", "--out", tmp_path / "a.toml"], ["plot", "alice_its3", "--out", tmp_path / "a.pdf"]):
        done = fastsim("detector", *words)
        assert done.code == 75
        assert done.err.startswith(
            f"error: {words[-1]}: cannot be written (No space left on device)\nhint: the disk is full"
        )
        assert list(tmp_path.iterdir()) == []


def test_names_with_markup_are_shown_as_they_are(fastsim, mine):
    mine.write_text(mine.read_text().replace('"pipe"', '"[red]:smile:"').replace('"inner1"', '"[/x]"'))
    out = fastsim("detector", "show", mine).out
    assert "\n [red]:smile: " in out
    assert "\n [/x] " in out


def test_check_tries_formulas(fastsim, tmp_path):
    path = tmp_path / "f.toml"
    path.write_text(
        'schema_version = 1\nname = "f"\nsource = "a test"\nb_z = 3.0\nr_edges = [0.0, 10.0]\n'
        '[[formulas]]\nspecies = ["pi"]\nefficiency = "1"\n'
        'sigma_pt_over_pt = "0.01 * (eta - 5)"\nsigma_dca_xy = "0.001"\nsigma_dca_z = "0.002"\nsigma_phi = "0.0001"\n'
        'sigma_tan_lambda = "0.0002"\n'
    )
    done = fastsim("detector", "check", path)
    assert (done.code, done.out) == (3, "")
    assert "f: sigma_pt_over_pt of pi is -0.0" in done.err
    path.write_text(path.read_text().replace("(eta - 5)", "(eta + 5)"))
    assert fastsim("detector", "check", path).code == 0


def test_check_reads_tables(fastsim, tmp_path):
    path = tmp_path / "t.toml"
    path.write_text(
        'schema_version = 1\nname = "t"\nsource = "a test"\nb_z = 3.0\n[[tables]]\nspecies = "pi"\nfile = "no.lut"\n'
        f'sha256 = "{"0" * 64}"\n'
    )
    done = fastsim("detector", "check", path)
    assert done.code == 3
    assert "no.lut: no such table" in done.err


def test_check_warns_where_layers_make_no_track(fastsim, mine):
    """One coordinate only: a track's polar angle is not measured."""
    both = r"sigma_rphi_um = ([0-9.]+),\s*sigma_[zr]_um = [0-9.]+"
    mine.write_text(re.sub(both, r"views = [{ sigma_um = \1, stereo_angle = 0.0 }]", mine.read_text()))
    done = fastsim("detector", "check", mine)
    assert done.code == 0
    assert "warning: no track" in done.out
