"""Detector files: what cannot be built or would not give a track is refused with file, line, value and rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy.stats import binom

from fastsim import detector, resources
from fastsim.detector import load_detector
from fastsim.errors import CardError
from fastsim.kernels.surfaces import MOST_LOST

HEAD = """\
schema_version = 1
name = "toy"
source = "made up"
b_z = 1.0
"""
RADII = "r_edges = [0.0, 60.0]\n"
RULES = """
[tracking]
scattering = "pdg_per_layer"
min_hits = 3
max_sin_incidence = 0.9
min_radius = 0.0
"""
LAYER = '[[layers]]\nname = "{name}"\nr = {r}\nhalf_length = 100.0\nx_over_x0 = 0.01\n'
QUANTITIES = ("efficiency", "sigma_pt_over_pt", "sigma_dca_xy", "sigma_dca_z", "sigma_phi", "sigma_tan_lambda")
HITS = "sigma_rphi_um = 5.0\nsigma_z_um = 5.0\nefficiency = {efficiency}\n"


def toy(n=4, efficiency=1.0) -> str:
    """A detector of n layers: [[layers]] of layer i starts in line 11 + 8 i."""
    return (
        HEAD + RULES + "".join((LAYER + HITS).format(name=f"L{i}", r=1.0 + i, efficiency=efficiency) for i in range(n))
    )


def problems_of(tmp_path, text) -> list[str]:
    path = tmp_path / "toy.toml"
    path.write_text(text)
    with pytest.raises(CardError) as caught:
        load_detector(path)
    return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]


def test_shipped_detector_has_eleven_measuring_layers_two_pipes_and_twelve_disks_a_side():
    found = load_detector("alice3_v2")
    assert [layer.is_sensitive for layer in found.layers].count(True) == 11
    assert [layer.name for layer in found.layers if not layer.is_sensitive] == ["pipe_inner", "pipe_outer"]
    assert [disk.both_sides and disk.is_sensitive for disk in found.disks] == [True] * 12
    assert found.b_z == 2.0


def test_toy_is_fine(tmp_path):
    (tmp_path / "toy.toml").write_text(toy())
    assert len(load_detector(tmp_path / "toy.toml").layers) == 4


@pytest.mark.parametrize(
    ("old", "new", "problems"),
    [
        ("b_z = 1.0", "b_z = 0.0", ["toy.toml:4: b_z: must not be 0: without a field no momentum is measured"]),
        ("b_z = 1.0", "b_z = 0", ["toy.toml:4: b_z: must not be 0: without a field no momentum is measured"]),
        ("b_z = 1.0", "b_z = 21.0", ["toy.toml:4: b_z: must be less than or equal to 20 (got 21.0, a number)"]),
        ("b_z = 1.0", 'b_z = "1.0"', ["toy.toml:4: b_z: must be a valid number (got '1.0', a string)"]),
        ("b_z = 1.0", "b_z = nan", ["toy.toml:4: b_z: must be a finite number (got nan, a number)"]),
        ("b_z = 1.0", "bz = 1.0", ["toy.toml: b_z: missing", "toy.toml:4: bz: not a known key (did you mean 'b_z'?)"]),
        (
            '"toy"',
            '"a toy"',
            [
                "toy.toml:2: name: string should match pattern '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$' (got 'a toy', a string)"
            ],
        ),
        ('"made up"', '""', ["toy.toml:3: source: string should have at least 1 character (got '', a string)"]),
        ("r = 2.0", "r = -2.0", ["toy.toml:21: layers[1].r: must be greater than 0 (got -2.0, a number)"]),
        ("r = 2.0", "r = 0", ["toy.toml:21: layers[1].r: must be greater than 0 (got 0, an integer)"]),
        (
            "r = 2.0",
            "r = 1.00005",
            ["toy.toml:21: layers[1].r: 1.00005 cm overlaps layers[0] at 1.0 cm (surfaces must be 1 um apart)"],
        ),
        (
            "r = 2.0",
            "r = 1.0",
            ["toy.toml:21: layers[1].r: 1.0 cm overlaps layers[0] at 1.0 cm (surfaces must be 1 um apart)"],
        ),
        (
            "r = 2.0",
            "R = 2.0",
            [
                "toy.toml:19: layers[1].r: missing",
                (
                    "toy.toml:21: layers[1].R: not a known key (allowed: areal_density, efficiency, half_length, name, r, "
                    "sigma_rphi_um, sigma_z_um, views, x_over_x0)"
                ),
            ],
        ),
        ('"L1"', '"L0"', ["toy.toml:20: layers[1].name: 'L0' is already the name of layers[0]"]),
        (
            'scattering = "pdg_per_layer"',
            'scattering = "highland"',
            [
                (
                    "toy.toml:7: tracking.scattering: must be 'pdg_per_layer', 'fat_per_layer', 'pdg_whole_path' or "
                    "'no_log' (got 'highland', a string)"
                )
            ],
        ),
        (
            "min_hits = 3",
            "min_hits = 2",
            ["toy.toml:8: tracking.min_hits: must be greater than or equal to 3 (got 2, an integer)"],
        ),
        ("min_hits = 3", "min_hits = 5", ["toy.toml:11: layers: 4 measuring layers, fewer than tracking.min_hits = 5"]),
        (
            "max_sin_incidence = 0.9",
            "max_sin_incidence = 1.0",
            ["toy.toml:9: tracking.max_sin_incidence: must be less than 1 (got 1.0, a number)"],
        ),
        (
            "efficiency = 1.0",
            "efficiency = 1.5",
            ["toy.toml:18: layers[0].efficiency: must be less than or equal to 1 (got 1.5, a number)"],
        ),
        (
            "sigma_z_um = 5.0\nefficiency = 1.0\n",
            "",
            [
                (
                    "toy.toml:11: layers[0]: a measuring layer also needs efficiency and sigma_z_um (a passive one "
                    "has none of the three, one with a single view has `views`)"
                )
            ],
        ),
        (
            "sigma_rphi_um = 5.0\n",
            "",
            [
                (
                    "toy.toml:11: layers[0]: a measuring layer also needs sigma_rphi_um (a passive one has none of "
                    "the three, one with a single view has `views`)"
                )
            ],
        ),
    ],
)
def test_fault_in_a_detector(tmp_path, old, new, problems):
    text = toy()
    assert old in text
    assert problems_of(tmp_path, text.replace(old, new, 1)) == problems


def test_no_layers(tmp_path):
    none = "a detector has layers (or disks, drift_volumes), or formulas, or tables: exactly one (got none)"
    assert problems_of(tmp_path, HEAD + "layers = []\n" + RULES) == [f"toy.toml: {none}"]
    assert problems_of(tmp_path, HEAD) == [f"toy.toml: {none}"]
    assert problems_of(tmp_path, HEAD + "layers = 3\n" + RULES) == [
        "toy.toml:5: layers: must be an array (got 3, an integer)"
    ]


def test_layers_and_tracking_belong_together(tmp_path):
    assert problems_of(tmp_path, toy().replace(RULES, "")) == [
        "toy.toml: tracking: missing: a detector of layers needs it"
    ]
    formula = "\n[[formulas]]\nspecies = ['mu']\n" + "".join(f"{key} = '0.01'\n" for key in QUANTITIES)
    assert problems_of(tmp_path, HEAD + RADII + RULES + formula) == [
        "toy.toml:7: tracking: has no meaning with formulas"
    ]
    assert problems_of(tmp_path, HEAD + formula) == [
        "toy.toml: r_edges: missing: with formulas it says up to which production radius there are tracks"
    ]
    assert problems_of(tmp_path, toy() + formula) == [
        "toy.toml: a detector has layers (or disks, drift_volumes), or formulas, or tables: exactly one (got layers and formulas)"
    ]
    (tmp_path / "toy.toml").write_text(HEAD + RADII + formula)
    assert load_detector(tmp_path / "toy.toml").tracking is None


def test_faults_in_formulas_have_their_line(tmp_path):
    formula = "\n[[formulas]]\nspecies = ['mu', 'xi']\n" + "".join(f"{key} = '0.01'\n" for key in QUANTITIES)
    problems = problems_of(tmp_path, HEAD + RADII + formula.replace("sigma_phi = '0.01'", "sigma_phi = 'open(1)'"))
    assert [problem.partition(" (")[0] for problem in problems] == [
        "toy.toml:8: formulas[0].species[1]: must be 'el', 'mu', 'pi', 'ka', 'pr', 'de', 'tr', 'he3' or 'al'",
        "toy.toml:13: formulas[0].sigma_phi: 'open' is not a function",
    ]


def test_tables_are_found_beside_the_detector(tmp_path):
    (tmp_path / "toy.toml").write_text(
        HEAD + f"tables = [{{ species = 'mu', file = 'mu.lut', sha256 = '{64 * 'a'}' }}]\n"
    )
    (table,) = load_detector(tmp_path / "toy.toml").tables
    assert table.file == str(tmp_path / "mu.lut")
    (problem,) = problems_of(tmp_path, HEAD + "tables = [{ species = 'mu', file = 'mu.lut', sha256 = 'abc' }]\n")
    assert problem.startswith("toy.toml:5: tables[0].sha256: string should match pattern")


def test_layers_that_are_passive_do_not_count_as_hits(tmp_path):
    text = toy(2) + LAYER.format(name="pipe", r=0.5)
    assert problems_of(tmp_path, text) == ["toy.toml:11: layers: 2 measuring layers, fewer than tracking.min_hits = 3"]


def test_layers_so_inefficient_that_the_table_would_be_wrong(tmp_path):
    """Twenty layers of efficiency 0.9: the binomial probability of more lost hits than the table maker follows."""
    probability = binom.sf(MOST_LOST, 20, 0.1)
    assert problems_of(tmp_path, toy(20, efficiency=0.9)) == [
        (
            f"toy.toml:11: layers: more than {MOST_LOST} hits are lost with probability {probability:.1%}; "
            "the table maker allows 1% (a drift volume may lose any number)"
        )
    ]


def test_all_faults_at_once(tmp_path):
    text = (
        toy()
        .replace("b_z = 1.0", "b_z = 0.0")
        .replace("r = 3.0", "r = -3.0")
        .replace('"L1"', '"L0"')
        .replace("min_hits = 3", "min_hits = 9")
    )
    assert problems_of(tmp_path, text) == [
        "toy.toml:29: layers[2].r: must be greater than 0 (got -3.0, a number)",
        "toy.toml:4: b_z: must not be 0: without a field no momentum is measured",
        "toy.toml:20: layers[1].name: 'L0' is already the name of layers[0]",
        "toy.toml:11: layers: 4 measuring layers, fewer than tracking.min_hits = 9",
    ]


def test_unknown_detector_names_the_shipped_ones():
    with pytest.raises(CardError, match="no such detector: alice9") as caught:
        load_detector("alice9")
    assert caught.value.hint == f"shipped: {', '.join(resources.shipped('detectors'))}; or give the path of a file"
    assert "alice3_v2" in caught.value.hint


def test_every_shipped_detector_is_fine():
    for path in resources.data_dir("detectors").glob("*.toml"):
        assert load_detector(path).name == path.stem


def test_committed_schema_is_the_current_one():
    path = Path(detector.__file__).parent / "detector.schema.json"
    current = detector.Detector.model_json_schema()
    assert json.loads(path.read_text()) == current, "fastsim detector schema > fastsim/detector/detector.schema.json"
