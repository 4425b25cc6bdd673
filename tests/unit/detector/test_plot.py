"""Straight lines through a detector, against numbers made by hand; pictures that exist; warnings that a person would want."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from fastsim import resources, toml
from fastsim.detector import Detector, load_detector
from fastsim.detector.plot import plot_detector
from fastsim.detector.review import review, straight_line_material
from fastsim.detector.template import template
from fastsim.errors import UsageError
from tests.unit.detector.test_geometry import data, detector, disk, layer, passive, volume

ETA_1 = 1.0  # sinh 1.1752, cosh 1.5431


@pytest.fixture(scope="module")
def mixed() -> Detector:
    """A pipe, three layers up to 10, 20 and 100 cm in z, gas from 40 to 44 cm, disks on both sides, a wall on one."""
    return detector(
        layers=[
            passive(layer("pipe", 1.0, 1000.0, x_over_x0=0.002)),
            layer("a", 5.0, 10.0),
            layer("b", 10.0, 20.0),
            layer("c", 30.0),
        ],
        drift_volumes=[volume(r_first=40.0, pitch=1.0, n_layers=5, x_over_x0=0.001)],
        disks=[
            disk("d", 120.0, 10.0, 100.0, x_over_x0=0.03),
            passive(disk("wall", -150.0, 10.0, 100.0, both_sides=False)),
        ],
    )


def test_material_at_eta_0_is_that_of_all_cylinders(mixed):
    found = straight_line_material(mixed, 0.0)
    assert found.passive == pytest.approx([0.002])
    assert found.measuring == pytest.approx([0.03])
    assert found.drift_volumes == pytest.approx([0.005])
    assert found.total == pytest.approx([0.037])
    assert found.n_measuring.tolist() == [8]


def test_material_at_eta_1_is_seen_under_an_angle(mixed):
    """z = 1.1752 r: 5.9, 11.8, 35.3, 47.0 to 51.7 cm are inside; the disk at 120 cm is crossed at r = 102 cm, outside."""
    found = straight_line_material(mixed, [ETA_1, -ETA_1])
    assert found.total == pytest.approx([0.037 * math.cosh(1.0)] * 2)
    assert found.n_measuring.tolist() == [8, 8]


def test_material_at_eta_2_is_not_the_same_on_both_sides(mixed):
    """z = 3.6269 r: a to c leave at 2.8, 5.5 and 27.6 cm, all missed, so is the gas; disks at r = 33.1 and 41.4 cm."""
    slant = math.cosh(2.0) / math.sinh(2.0)
    found = straight_line_material(mixed, [2.0, -2.0])
    assert found.measuring == pytest.approx([0.03 * slant] * 2)
    assert found.passive == pytest.approx([0.002 * math.cosh(2.0), 0.002 * math.cosh(2.0) + 0.01 * slant])
    assert found.drift_volumes.tolist() == [0.0, 0.0]
    assert found.n_measuring.tolist() == [1, 1]


def test_part_of_the_gas_is_crossed(mixed):
    """At half length 100 cm the line of eta = 1.58 (sinh 2.3240) leaves behind r = 43.03 cm: rows 40 to 43 of 5."""
    found = straight_line_material(mixed, 1.58)
    assert found.drift_volumes == pytest.approx([4 * 0.001 * math.cosh(1.58)])
    assert found.n_measuring.tolist() == [
        5 + 1
    ]  # c at 69.7 cm and four rows; the disk at r = 51.6 cm; a and b are missed


def test_edges_belong_to_the_surface():
    found = detector(layers=[layer("a", 3.0, 4.0), layer("b", 6.0, 8.0), layer("c", 9.0, 12.0)])
    eta = math.asinh(4.0 / 3.0)
    assert straight_line_material(found, [eta * (1 - 1e-12), eta * (1 + 1e-12)]).n_measuring.tolist() == [3, 0]


def test_a_line_along_the_disks_crosses_none():
    found = detector(layers=[], disks=[disk("d", 100.0), disk("e", 110.0)])
    material = straight_line_material(found, [0.0, 1e-12])
    assert np.all(material.total == 0)
    assert np.all(np.isfinite(material.total))


def test_empty_and_formula_detectors_have_no_material():
    assert straight_line_material(load_detector("cms_like"), [0.0, 1.0]).total.tolist() == [0.0, 0.0]
    assert len(straight_line_material(detector(), []).total) == 0


# --- review ---


def test_review_of_a_sound_detector():
    layers = [layer("a", 5.0, 50.0), layer("b", 10.0, 60.0), layer("c", 30.0)]
    found = review(detector(layers=layers))
    assert found.n_measuring == 3
    assert found.material_at_0 == pytest.approx(0.03)
    assert found.eta_range == pytest.approx((-math.asinh(100 / 30), math.asinh(100 / 30)), abs=0.011)
    assert found.warnings == []


def test_review_of_formulas_is_empty():
    assert review(load_detector("cms_like")) == (0, 0.0, None, [])


@pytest.mark.parametrize("name", sorted(resources.shipped("detectors")))
def test_shipped_detectors_have_no_gap_and_no_useless_layer(name):
    assert [text for text in review(load_detector(name)).warnings if "areal_density" not in text] == []


def test_gaps_are_told():
    layers = [layer("a", 10.0, 10.0), layer("b", 20.0, 20.0), layer("c", 30.0, 30.0)]  # up to asinh(1) = 0.88
    disks = [disk(f"d{i}", 100.0 + i, 5.0, 40.0) for i in range(3)]  # from asinh(102 / 40) = 1.666
    assert review(detector(layers=layers, disks=disks)).warnings == [
        "gap: from eta -1.67 to -0.88 a track crosses fewer than 3 measuring layers",
        "gap: from eta 0.88 to 1.67 a track crosses fewer than 3 measuring layers",
    ]


def test_layers_of_no_use_are_told():
    good = [layer("a", 5.0), layer("b", 10.0), layer("c", 30.0)]
    lone = disk("far", 1000.0, 1.0, 2.0)
    text = "{} measures, but no straight track from the origin that crosses it has 3 measuring layers"
    assert review(detector(layers=good, disks=[lone])).warnings == [text.format("far+"), text.format("far-")]
    gas = volume(r_first=60.0, n_layers=2, half_length=0.001)  # a track at eta = 0 crosses all: of use
    assert review(detector(layers=good, drift_volumes=[gas])).warnings == [
        text.format("gas")
    ]  # but bin centres miss it


def test_nothing_that_could_be_a_track():
    found = review(detector(layers=[], disks=[disk("d", 100.0, 1.0, 2.0), disk("e", 110.0, 50.0, 60.0)]))
    assert found.eta_range is None
    assert found.warnings == ["no straight track from the origin crosses 3 measuring layers (tracking.min_hits)"]


def test_odd_material_is_told():
    layers = [
        layer("a", 5.0, x_over_x0=0.0),
        layer("b", 10.0, areal_density=0.2182),  # 1 % of 21.82 g/cm2
        layer("c", 20.0, areal_density=0.2182 * 3.1),
        layer("d", 30.0, areal_density=0.2182 / 2.9),
        layer("e", 40.0, areal_density=0.0),  # says: no energy loss; none is asked for
    ]
    assert review(detector(layers=layers)).warnings == [
        "a measures without material (x_over_x0 = 0)",
        "c: areal_density = 0.67642 g/cm2 of silicon is 3.1 % of a radiation length, x_over_x0 says 1 %",
    ]


def test_no_energy_loss_where_it_is_asked_for_is_told():
    layers = [
        layer(name, r, areal_density=density)
        for name, r, density in (("a", 1.0, 0.2), ("b", 2.0, 0.2), ("c", 3.0, 0.0))
    ]
    rules = data()["tracking"] | {"energy_loss": "mean"}
    assert review(detector(layers=layers, tracking=rules)).warnings == [
        "c: areal_density = 0 g/cm2 of silicon is 0 % of a radiation length, x_over_x0 says 1 %"
    ]


# --- pictures ---


@pytest.mark.parametrize(("ending", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_pictures(mixed, tmp_path, ending, start):
    path = tmp_path / f"a{ending}"
    plot_detector([mixed], path)
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


def test_picture_says_what_it_shows(mixed, tmp_path):
    """Text of an SVG is drawn as paths, so that of a PDF-like form is asked for: comments name each glyph run."""
    path = tmp_path / "a.svg"
    plot_detector([mixed, load_detector("alice3_v2")], path)
    text = path.read_text()
    for word in (
        "toy, 1 T",
        "alice3_v2, 2 T",
        "gas: 5 layers",
        "η = 0",
        "passive",
        "drift volumes",
        "a track needs 3",
        "5 × 50 µm",
    ):
        assert f"<!-- {word} -->" in text, word


def test_many_kinds_of_layers_and_a_detector_of_disks_can_be_drawn(tmp_path):
    many = detector(layers=[layer(f"l{i}", 1.0 + i, sigma_rphi_um=1.0 + i) for i in range(14)])
    disks = detector(
        layers=[], disks=[disk("d", 100.0, 0.0, 50.0), disk("e", 110.0), disk("f", -120.0, both_sides=False)]
    )
    gas = detector(
        layers=[],
        drift_volumes=[passive(volume()) | {"views": [{"sigma_um": 100.0, "stereo_angle": 0.0}], "efficiency": 1.0}],
    )
    path = tmp_path / "a.svg"
    plot_detector([many, disks, gas], path)
    assert "<!-- and 5 more, coarser -->" in path.read_text()


def test_template_can_be_drawn_and_has_no_warnings(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(template("mine"))
    found = load_detector(path)
    assert found.name == "mine"
    assert review(found).warnings == []
    plot_detector([found], tmp_path / "mine.png")


def test_what_cannot_be_drawn(mixed, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="cms_like is made of formulas: it has no layers to draw"):
        plot_detector([mixed, load_detector("cms_like")], tmp_path / "a.png")
    for name in ("a.xyz", "a"):
        with pytest.raises(UsageError, match=r"cannot be drawn: the name must end in .png, .pdf, .svg"):
            plot_detector([mixed], tmp_path / name)
    with pytest.raises(UsageError, match="cannot be written"):
        plot_detector([mixed], tmp_path / "no" / "a.png")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match="drawing needs matplotlib") as caught:
        plot_detector([mixed], tmp_path / "a.png")
    assert caught.value.hint == "pip install 'fastsim[plot]'"


def test_tables_detector_cannot_be_drawn(tmp_path):
    tables = [{"species": "mu", "file": "mu.lut", "sha256": 64 * "0"}]
    content = {key: value for key, value in data(tables=tables).items() if key not in {"layers", "tracking"}}
    with pytest.raises(UsageError, match="toy is made of tables: it has no layers to draw"):
        plot_detector([toml.validate(Detector, toml.Document(content))], tmp_path / "a.png")


@pytest.mark.filterwarnings("error")
def test_disks_without_material_at_eta_0():
    """A line at eta = 0 runs along a disk: infinitely slanted, and not crossed."""
    without, found = (
        straight_line_material(detector(disks=disks), [0.0, 2.0])
        for disks in ([], [disk("d", 120.0, 10.0, 100.0, x_over_x0=0.0)])
    )
    assert found.total.tolist() == without.total.tolist()
    assert (found.n_measuring - without.n_measuring).tolist() == [0, 1]
