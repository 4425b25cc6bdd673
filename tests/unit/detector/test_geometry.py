"""Surfaces of a detector, and every fault that concerns several of its fields."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fastsim import toml
from fastsim.detector import Detector
from fastsim.detector.geometry import (
    birth_radii,
    elements,
    faults_of_edges,
    faults_of_layers,
    is_mirrored,
    radius_edges,
    surfaces_of,
)
from fastsim.errors import CardError

RULES = {"scattering": "pdg_per_layer", "min_hits": 3, "max_sin_incidence": 0.9, "min_radius": 0.0}
QUANTITIES = ("efficiency", "sigma_pt_over_pt", "sigma_dca_xy", "sigma_dca_z", "sigma_phi", "sigma_tan_lambda")
HITS = {"sigma_rphi_um": 5.0, "efficiency": 1.0}


def layer(name, r, half_length=100.0, **changes):
    return {"name": name, "r": r, "half_length": half_length, "x_over_x0": 0.01, **HITS, "sigma_z_um": 50.0} | changes


def disk(name, z, r_min=5.0, r_max=50.0, **changes):
    return {
        "name": name,
        "z": z,
        "r_min": r_min,
        "r_max": r_max,
        "x_over_x0": 0.01,
        **HITS,
        "sigma_r_um": 20.0,
    } | changes


def volume(name="gas", r_first=60.0, pitch=2.0, n_layers=5, **changes):
    numbers = {
        "name": name,
        "r_first": r_first,
        "pitch": pitch,
        "n_layers": n_layers,
        "half_length": 100.0,
        "x_over_x0": 1e-5,
    }
    return numbers | HITS | {"sigma_z_um": 500.0} | changes


def passive(element):
    return {
        key: value
        for key, value in element.items()
        if not key.startswith("sigma") and key not in {"efficiency", "views"}
    }


def data(**changes):
    parts = {"layers": [layer("a", 10.0), layer("b", 20.0), layer("c", 30.0)], "tracking": RULES}
    return {"schema_version": 1, "name": "toy", "source": "made up", "b_z": 1.0} | parts | changes


def detector(**changes) -> Detector:
    return toml.validate(Detector, toml.Document(data(**changes)))


def faults(**changes) -> list[str]:
    with pytest.raises(CardError) as caught:
        detector(**changes)
    return caught.value.problems


# --- surfaces ---


def test_elements_are_cylinders_then_disks_forward_then_backward():
    found = elements(
        detector(
            layers=[layer("b", 20.0), passive(layer("pipe", 1.0))],
            disks=[disk("d", 120.0), disk("e", 110.0), disk("f", -105.0, both_sides=False)],
            drift_volumes=[volume(n_layers=2), volume("small", r_first=3.0, n_layers=1)],
        )
    )
    assert [s.name for s in found] == ["pipe", "small.0", "b", "gas.0", "gas.1", "e+", "d+", "f", "e-", "d-"]
    assert [s.position for s in found] == [1.0, 3.0, 20.0, 60.0, 62.0, 110.0, 120.0, -105.0, -110.0, -120.0]
    assert [s.is_disk for s in found] == [False] * 5 + [True] * 5
    assert [s.is_sensitive for s in found] == [False] + [True] * 9
    assert [s.repeated for s in found] == [False, True, False, True, True] + [False] * 5
    assert [(s.low, s.high) for s in found if s.is_disk] == [(5.0, 50.0)] * 5
    assert (found[0].low, found[0].high) == (-100.0, 100.0)


def test_resolutions_become_views_in_cm():
    views = [{"sigma_um": 10.0, "stereo_angle": 0.1}]
    stereo = [*views, {"sigma_um": 30.0, "stereo_angle": -0.1}]
    plain, one, two, none = elements(
        detector(
            layers=[
                layer("a", 10.0),
                passive(layer("b", 20.0)) | {"views": views, "efficiency": 0.9},
                passive(layer("c", 30.0)) | {"views": stereo, "efficiency": 0.9, "areal_density": 0.2},
                passive(layer("d", 40.0)),
            ]
        )
    )
    assert plain.sigma == pytest.approx((5e-4, 50e-4))
    assert plain.stereo == (0.0, 0.5 * math.pi)
    assert one.sigma == (pytest.approx(1e-3), math.inf)
    assert one.stereo[0] == 0.1
    assert two.sigma == pytest.approx((1e-3, 3e-3))
    assert two.stereo == (0.1, -0.1)
    assert (two.areal_density, plain.areal_density) == (0.2, 0.0)
    assert none.sigma == (math.inf, math.inf)
    assert none.efficiency == 0.0


def test_stereo_of_a_drift_volume_grows_with_r_and_alternates():
    """tan(stereo) = 0.001 r: at 60, 62, 64 cm it is 0.060, 0.062, 0.064."""
    views = [{"sigma_um": 100.0, "stereo_angle": 0.0}]
    wires = passive(volume(n_layers=3)) | {"views": views, "efficiency": 1.0, "stereo_tan_per_cm": 0.001}
    rows = elements(detector(layers=[], drift_volumes=[wires]))
    assert [row.stereo[0] for row in rows] == pytest.approx([math.atan(0.060), -math.atan(0.062), math.atan(0.064)])


def test_surfaces_are_the_elements_as_arrays():
    found = detector(disks=[disk("d", 120.0), disk("e", -130.0, both_sides=False)], drift_volumes=[volume()])
    surfaces = surfaces_of(found)
    assert (surfaces.n_cylinders, surfaces.n_forward) == (8, 9)
    assert len(surfaces.position) == 11
    assert surfaces.sigma.shape == surfaces.stereo.shape == (11, 2)
    assert surfaces.repeated.dtype == np.bool_
    assert surfaces.repeated.sum() == 5
    for i, surface in enumerate(elements(found)):
        for name in ("position", "low", "high", "x_over_x0", "areal_density", "efficiency"):
            assert getattr(surfaces, name)[i] == getattr(surface, name)
        assert tuple(surfaces.sigma[i]) == surface.sigma


def test_no_layers_are_no_surfaces():
    formula = dict.fromkeys(QUANTITIES, "0.01")
    text = {
        key: value
        for key, value in data(formulas=[{"species": ["mu"], **formula}], r_edges=[0.0, 60.0]).items()
        if key not in {"layers", "tracking"}
    }
    found = toml.validate(Detector, toml.Document(text))
    assert elements(found) == []
    surfaces = surfaces_of(found)
    assert (surfaces.n_cylinders, surfaces.n_forward, surfaces.sigma.shape) == (0, 0, (0, 2))


TILTED = {"views": [{"sigma_um": 5.0, "stereo_angle": 0.02}], "efficiency": 1.0}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"disks": [disk("d", 120.0)]}, True),
        ({"disks": [disk("d", 120.0, both_sides=False)]}, False),
        ({"disks": [disk("d", 120.0, both_sides=False), disk("e", -120.0, both_sides=False)]}, True),
        ({"disks": [disk("d", 120.0, both_sides=False), disk("e", -120.0, both_sides=False, r_min=6.0)]}, False),
        ({"disks": [disk("d", 120.0, both_sides=False), disk("e", -120.0, both_sides=False, efficiency=0.9)]}, False),
        ({"layers": [layer("a", 1.0), layer("b", 2.0), passive(layer("c", 3.0)) | TILTED]}, False),
        ({"drift_volumes": [passive(volume()) | {**TILTED, "stereo_tan_per_cm": 1e-3}]}, False),
    ],
)
def test_is_mirrored(changes, expected):
    assert is_mirrored(detector(**changes)) is expected


def test_radius_edges_stand_behind_measuring_cylinders():
    """Three hits are needed: born behind the second of four layers, two are left; disks need no cylinder."""
    layers = [
        passive(layer("pipe", 1.0)),
        *(layer(name, r) for name, r in zip("abce", (10.0, 20.0, 30.0, 40.0), strict=True)),
    ]
    assert radius_edges(detector(layers=layers)) == [0.0, 10.0, 20.0]
    assert radius_edges(detector(layers=layers, disks=[disk("d", 120.0)])) == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    assert radius_edges(detector(layers=layers, disks=[disk("d", 120.0, r_max=25.0)])) == [0.0, 10.0, 20.0, 30.0]
    assert radius_edges(detector(r_edges=[0.0, 5.0])) == [0.0, 5.0]


def test_radius_edges_among_rows_leave_seven_tenths_of_them():
    """Rows at 60, 62 ... 120 cm: 31 are left from the first on, then 21, 14, 9, 6, 4; with two left there is no track."""
    edges = radius_edges(detector(layers=[], drift_volumes=[volume(n_layers=31)]))
    rows = 60.0 + 2.0 * np.arange(31)
    left = [int(np.count_nonzero(rows >= edge)) for edge in edges[1:]]
    assert left[0] == 31
    assert all(later == int(0.7 * earlier) for earlier, later in itertools.pairwise(left[:-1]))
    assert left[-1] == 3  # born on the third but last, two are left
    births = birth_radii(detector(layers=[], drift_volumes=[volume(n_layers=31)]), edges)
    assert births[0] == 0.0
    assert births[1] == 0.5 * (edges[1] + edges[2])


# --- faults ---

STEREO = {"views": [{"sigma_um": 1.0, "stereo_angle": 0.1}, {"sigma_um": 1.0, "stereo_angle": 0.3}], "efficiency": 1.0}
WITH_DENSITY = [layer("a", 10.0, areal_density=0.1), layer("b", 20.0, areal_density=0.0)]


@pytest.mark.parametrize(
    ("edges", "problems"),
    [
        ([1.0, 2.0], ["r_edges[0]: must be 0: primaries are born there (got 1.0)"]),
        ([0.0, 2.0, 2.0], ["r_edges[2]: must be above 2.0 (got 2.0)"]),
        ([0.0, 3.0, 2.0, 1.0], ["r_edges[2]: must be above 3.0 (got 2.0)", "r_edges[3]: must be above 2.0 (got 1.0)"]),
        ([0.0], ["r_edges: list should have at least 2 items after validation, not 1 (got an array)"]),
        ([0.0, "x"], ["r_edges[1]: must be a valid number (got 'x', a string)"]),
    ],
)
def test_faults_of_edges(edges, problems):
    assert faults(r_edges=edges) == problems


def test_edges_that_are_missing_are_no_fault():
    assert list(faults_of_edges(None)) == list(faults_of_edges([])) == list(faults_of_layers({})) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"layers": [layer("a", 10.0), layer("b", 20.0), layer("c", 10.00005)]},
            "layers[2].r: 10.00005 cm overlaps layers[0] at 10.0 cm (surfaces must be 1 um apart)",
        ),
        (
            {"drift_volumes": [volume(r_first=25.0)]},
            "layers[2].r: 30.0 cm overlaps drift_volumes[0] from 25.0 to 33 cm (surfaces must be 1 um apart)",
        ),
        (
            {"drift_volumes": [volume(), volume("more", r_first=68.0)]},
            "drift_volumes[1].r_first: 68.0 cm overlaps drift_volumes[0] from 60.0 to 68 cm (surfaces must be 1 um apart)",
        ),
        (
            {"disks": [disk("d", 120.0, both_sides=False), disk("e", 120.00005, r_min=40.0, r_max=60.0, both_sides=False)]},
            "disks[1].z: 120.00005 cm overlaps disks[0], from r = 5.0 to 50.0 cm (surfaces must be 1 um apart)",
        ),
        (
            {"disks": [disk("d", 120.0), disk("e", -120.0, both_sides=False)]},
            "disks[1].z: -120.0 cm overlaps disks[0], from r = 5.0 to 50.0 cm (surfaces must be 1 um apart)",
        ),
        (
            {"disks": [disk("d", 50.0, r_max=15.0)]},
            "disks[0]: cuts through layers[0], a cylinder at r = 10.0 cm with half_length 100.0 cm",
        ),
        (
            {"disks": [disk("d", -100.0, r_min=25.0, both_sides=False)]},
            "disks[0]: cuts through layers[2], a cylinder at r = 30.0 cm with half_length 100.0 cm",
        ),
        (
            {"drift_volumes": [volume()], "disks": [disk("d", 50.0, r_min=61.0, r_max=61.5)]},
            "disks[0]: cuts through drift_volumes[0], a cylinder at r = 60.0 cm with half_length 100.0 cm",
        ),
        ({"disks": [disk("d", 120.0, r_min=50.0)]}, "disks[0].r_min: 50.0 cm is not below r_max = 50.0 cm"),
        ({"disks": [disk("d", -120.0)]}, "disks[0].z: must be above 0 for a disk on both sides (got -120.0)"),
        ({"disks": [disk("d", 0.0, r_min=31.0)]}, "disks[0].z: must be above 0 for a disk on both sides (got 0.0)"),
        ({"disks": [disk("d", 0.0, r_min=31.0, both_sides=False)]}, "disks[0].z: must not be 0"),
        ({"disks": [disk("a", 120.0)]}, "disks[0].name: 'a' is already the name of layers[0]"),
        ({"drift_volumes": [volume("c")]}, "drift_volumes[0].name: 'c' is already the name of layers[2]"),
        ({"tracking": RULES | {"min_hits": 4}}, "layers: 3 measuring layers, fewer than tracking.min_hits = 4"),
        (
            {"layers": [], "disks": [disk("d", 120.0)]},
            "disks: 2 measuring layers, fewer than tracking.min_hits = 3",
        ),
        (
            {"tracking": RULES | {"min_radius": 31.0}},
            "tracking.min_radius: 31.0 cm lies outside the last measuring layer, at 30 cm",
        ),
        (
            {"tracking": RULES | {"energy_loss": "mean"}, "layers": [*WITH_DENSITY, layer("c", 30.0)]},
            'layers[2]: needs areal_density, because tracking.energy_loss = "mean"',
        ),
        (
            {"drift_volumes": [volume(views=TILTED["views"])]},
            "drift_volumes[0].views: stands instead of sigma_rphi_um and sigma_z_um: give one or the other",
        ),
        (
            {"disks": [passive(disk("d", 120.0)) | {"views": TILTED["views"]}]},
            "disks[0]: a measuring layer also needs efficiency (a passive one has no views)",
        ),
        (
            {"disks": [passive(disk("d", 120.0)) | {"efficiency": 0.9}]},
            (
                "disks[0]: a measuring layer also needs sigma_r_um and sigma_rphi_um "
                "(a passive one has none of the three, one with a single view has `views`)"
            ),
        ),
        (
            {"disks": [passive(disk("d", 120.0)) | {"views": TILTED["views"] * 2, "efficiency": 0.9}]},
            "disks[0].views: the two views measure the same direction",
        ),
    ],
)  # fmt: skip
def test_fault(changes, problem):
    assert faults(**changes) == [problem]


def test_what_nearly_touches_is_no_fault():
    """A disk may end at a cylinder, stand at its end, or share z with one that begins where it ends."""
    detector(
        layers=[layer("a", 10.0), layer("b", 20.0), layer("c", 30.0)],
        disks=[
            disk("d", 50.0, r_min=10.0, r_max=20.0),
            disk("e", 100.01),
            disk("f", 100.01, r_min=50.0, r_max=60.0),
            disk("g", 90.0, r_min=31.0, r_max=32.0, both_sides=False),
        ],
        drift_volumes=[volume(r_first=62.0)],
    )


def test_layers_formulas_and_tables_exclude_each_other():
    table = {"species": "mu", "file": "a.lut", "sha256": 64 * "0"}
    text = "a detector has layers (or disks, drift_volumes), or formulas, or tables: exactly one"
    assert faults(layers=[]) == [f"{text} (got none)"]
    assert faults(tables=[table]) == [f"{text} (got layers and tables)"]
    assert faults(layers=[], tables=[table]) == ["tracking: has no meaning with tables"]
    without = {key: value for key, value in data().items() if key != "tracking"}
    with pytest.raises(CardError, match="tracking: missing: a detector of layers needs it"):
        toml.validate(Detector, toml.Document(without))


@pytest.mark.parametrize(
    "value",
    ["no", True, [], {}, [1], ["x"], [{}], math.inf, -math.inf, math.nan, 10**400, -1, 0],
    ids=lambda value: repr(value)[:8],
)
def test_values_of_the_wrong_kind_are_told_and_do_not_crash(value):
    """Whatever stands in a file: a list of faults, never a traceback."""
    good = data(
        layers=[layer("a", 10.0), passive(layer("b", 20.0)) | STEREO],
        disks=[disk("d", 120.0, both_sides=True)],
        drift_volumes=[volume()],
        r_edges=[0.0, 1.0],
    )  # fmt: skip
    for path in _paths(good):
        document = _replaced(good, path, value)
        try:
            toml.validate(Detector, toml.Document(document))
        except CardError:
            pass
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{toml.dotted(path)} = {value!r}: {type(error).__name__}")


def _paths(value, path=()):
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def _replaced(value, path, new):
    if not path:
        return new
    if isinstance(value, dict):
        return {key: _replaced(inner, path[1:], new) if key == path[0] else inner for key, inner in value.items()}
    return [_replaced(inner, path[1:], new) if i == path[0] else inner for i, inner in enumerate(value)]
