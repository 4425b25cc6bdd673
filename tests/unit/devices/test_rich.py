"""Ring-imaging counters: what cannot be built, optics and rings against brute force, columns, masks, batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

import fastsim
from fastsim import columns as c
from fastsim.detector import load_detector
from fastsim.detector.devices.rich import photons_per_cm
from fastsim.devices.rich import RichCounters, RichOptions, columns_of
from fastsim.devices.rich_fit import (
    angle_of_1,
    bending_1,
    between_1,
    compare_species,
    fill_angles,
    gather,
    most_voted_1,
    search_1,
)
from fastsim.devices.rich_photons import Hits, around_1, deflect_1, light_of_crossing
from fastsim.errors import CardError
from fastsim.kernels import cherenkov as light
from fastsim.kernels import rings
from fastsim.module import Made
from fastsim.pipeline import check
from fastsim.plugins import make_modules
from fastsim.rng import Streams
from fastsim.species import NAMES, SPECIES
from tests.rich_tracks import B_Z, BARREL, FORWARD, batch_of, counter, forward, measure, module_of

SLANT = 1.0 / math.sqrt(1.0 + 0.3**2 + 0.2**2)  # of a track with slopes 0.3 and 0.2
T = (SLANT, 0.3 * SLANT, 0.2 * SLANT)
TRACKER = """\
schema_version = 1
name = "toy"
source = "made up"
b_z = 2.0
tracking = { scattering = "pdg_per_layer", min_hits = 3, max_sin_incidence = 0.9, min_radius = 0.0 }
layers = [
  { name = "A", r = 10.0, half_length = 100.0, x_over_x0 = 0.01, sigma_rphi_um = 5.0, sigma_z_um = 5.0, efficiency = 1.0 },
  { name = "B", r = 40.0, half_length = 100.0, x_over_x0 = 0.01, sigma_rphi_um = 5.0, sigma_z_um = 5.0, efficiency = 1.0 },
  { name = "C", r = 80.0, half_length = 100.0, x_over_x0 = 0.01, sigma_rphi_um = 5.0, sigma_z_um = 5.0, efficiency = 1.0 },
]
disks = [
  { name = "D", z = 300.0, r_min = 5.0, r_max = 80.0, x_over_x0 = 0.01, sigma_rphi_um = 5.0, sigma_r_um = 5.0, efficiency = 1.0 },
]
"""
FIRST = len(TRACKER.splitlines()) + 1  # line of the first [[rich]]


def text_of(table) -> str:
    def value(x):
        return str(x).lower() if isinstance(x, bool) else f'"{x}"' if isinstance(x, str) else str(x)

    return "[[rich]]\n" + "".join(f"{key} = {value(x)}\n" for key, x in table.items() if x is not None)


def problems_of(tmp_path, *tables, more="") -> list[str]:
    path = tmp_path / "toy.toml"
    path.write_text(TRACKER + "".join(text_of(table) for table in tables) + more)
    with pytest.raises(CardError) as caught:
        load_detector(path)
    return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]


def test_both_kinds_can_be_built(tmp_path):
    (tmp_path / "toy.toml").write_text(TRACKER + text_of(BARREL) + text_of(FORWARD))
    barrel, gas = load_detector(tmp_path / "toy.toml").rich
    assert (barrel.depth, gas.depth) == (27.0, 95.0)
    assert gas.counter().is_mirror
    assert not barrel.counter().is_mirror


@pytest.mark.parametrize(
    ("changes", "line", "message"),
    [
        ({"index": 0.99}, "index", ".index: must be greater than 1 (got 0.99, a number)"),
        ({"n0": None, "efficiency": 1.2}, "efficiency",
         ".efficiency: must be less than or equal to 1 (got 1.2, a number)"),
        ({"pixel": -0.1}, "pixel", ".pixel: must be greater than 0 (got -0.1, a number)"),
        ({"sigma_track_mrad": -1.0}, "sigma_track_mrad",
         ".sigma_track_mrad: must be greater than or equal to 0 (got -1.0, a number)"),
        ({"n0": 1000.0}, "n0", ".n0: above the 963 photons per cm from 285 to 710 nm (efficiency above 1)"),
        ({"efficiency": 0.2}, None, ": needs n0 or efficiency, and not both"),
        ({"n0": None}, None, ": needs n0 or efficiency, and not both"),
        ({"gap": None}, None, '.gap: missing: focusing = "proximity" needs it'),
        ({"gap_index": 1.03}, "gap_index", ".gap_index: must be below that of the radiator, 1.03 (got 1.03)"),
        ({"focal_length": 10.0}, "focal_length", '.focal_length: belongs to focusing = "mirror", and this is "proximity"'),
        ({"wavelength_max_nm": 200.0}, "wavelength_max_nm",
         ".wavelength_max_nm: must be above wavelength_min_nm = 285 (got 200)"),
        ({"pole_nm": 300.0}, "pole_nm",
         ".pole_nm: must be below wavelength_min_nm = 285: there the index is infinite (got 300)"),
        ({"gate_ns": 5.0}, None, ": dark_rate_khz and gate_ns need each other"),
        ({"n_sectors_phi": 2}, "n_sectors_phi",
         ".n_sectors_phi: must be 1 (round) or at least 3: two flat tiles do not surround the beam"),
        ({"r": 80.0}, "r", ".r: 80.0 cm is inside the tracker: C is in it or behind it"),
        ({"r": 20.0}, "r", ".r: 20.0 cm is inside the tracker: B is in it or behind it"),
        ({"r": 70.0, "name": "x"}, "r", ".r: 70.0 cm is inside the tracker: C is in it or behind it"),
    ],
)  # fmt: skip
def test_impossible_barrels_are_refused(tmp_path, changes, line, message):
    table = {key: value for key, value in {**BARREL, **changes}.items() if value is not None}
    number = FIRST + (1 + list(table).index(line) if line else 0)
    assert f"toy.toml:{number}: rich[0]{message}" in problems_of(tmp_path, table)


@pytest.mark.parametrize(
    ("changes", "line", "message"),
    [
        ({"sigma_photon_mrad": None}, None,
         ": a mirror needs sigma_photon_mrad, or focal_length and pixel (and sigma_aberration_mrad), and not both"),
        ({"pixel": 0.1}, None,
         ": a mirror needs sigma_photon_mrad, or focal_length and pixel (and sigma_aberration_mrad), and not both"),
        ({"sigma_photon_mrad": None, "focal_length": 90.0}, None,
         ": a mirror whose single-photon resolution is made of terms needs focal_length and pixel"),
        ({"gap": 1.0}, "gap", '.gap: belongs to focusing = "proximity", and this is "mirror"'),
        ({"n_sectors_z": 3}, "n_sectors_z", ".n_sectors_z: belongs to a barrel, and this has disks"),
        ({"dark_rate_khz": 1.0, "gate_ns": 1.0}, "dark_rate_khz",
         ".dark_rate_khz: needs focal_length and pixel instead of sigma_photon_mrad: who knows the sensor's area?"),
        ({"z": 250.0}, "z", ".z: 250.0 cm is inside the tracker: D is in it or behind it"),
        ({"z": None, "r_min": None, "r_max": None, "r": 90.0, "half_length": 300.0}, None,
         ": a barrel with mirrors needs n_sectors_phi (one mirror each), and is_projective = false"),
    ],
)  # fmt: skip
def test_impossible_disks_are_refused(tmp_path, changes, line, message):
    table = {key: value for key, value in {**FORWARD, **changes}.items() if value is not None}
    number = FIRST + (1 + list(table).index(line) if line else 0)
    assert f"toy.toml:{number}: rich[0]{message}" in problems_of(tmp_path, table)


def test_counters_do_not_share_their_room(tmp_path):
    found = problems_of(tmp_path, BARREL, {**BARREL, "name": "other", "r": 116.0})
    line = FIRST + len(BARREL) + 1 + 1 + list(BARREL).index("r")
    assert found == [f"toy.toml:{line}: rich[1].r: 116 to 143 cm in r overlaps rich[0], rich"]


def card_of(tmp_path, options, table=BARREL):
    (tmp_path / "toy.toml").write_text(TRACKER + (text_of(table) if table else ""))
    (tmp_path / "card.toml").write_text(
        f'extends = "alice3"\ndetector = "toy.toml"\nmodules = [{{ name = "r", kind = "rich", {options} }}]\n'
    )
    return fastsim.load_card(tmp_path / "card.toml")


@pytest.mark.parametrize(
    ("options", "table", "message"),
    [
        ('level = "parametric", devices = ["bar"]', BARREL, "module 'r': devices: 'bar' is no [[rich]] of toy (allowed: rich)"),
        ('level = "parametric", devices = ["rich", "rich"]', BARREL,
         "module 'r': devices: a name is given twice (got rich, rich)"),
        ('level = "parametric"', None, "module 'r': toy has no [[rich]]"),
    ],
)  # fmt: skip
def test_wrong_devices_are_refused(tmp_path, options, table, message):
    with pytest.raises(CardError) as caught:
        make_modules(card_of(tmp_path, options, table))
    assert caught.value.problems == [message]


def test_the_level_is_chosen_and_truth_is_read_only_where_light_depends_on_it(tmp_path):
    for level in ("parametric", "detailed"):
        (module,) = make_modules(card_of(tmp_path, f'level = "{level}"'))
        assert isinstance(module, RichCounters)
        assert module.makes == columns_of("rich")
        assert (c.TRUE[0] in module.needs) == (level == "detailed")
    with pytest.raises(CardError, match="level: must be 'parametric', 'detailed' or 'learned'"):
        make_modules(card_of(tmp_path, 'level = "guessed"'))


# --- optics -------------------------------------------------------------------------------------------------------------------


def test_index_has_the_mean_and_the_spread_that_it_promises():
    """Frank and Tamm: photons even in energy times 1 - 1/n^2, for beta = 1; quadrature."""
    number = counter(pole_nm=83.22).counter()

    def mean(function):
        weight = lambda k: 1.0 - 1.0 / light.index_1(number, k) ** 2
        top = integrate.quad(lambda k: weight(k) * function(light.index_1(number, k)), number.k_min, number.k_max)[0]
        return top / integrate.quad(weight, number.k_min, number.k_max)[0]

    assert mean(lambda n: n * n) == pytest.approx(1.03**2, abs=1e-8)
    assert math.sqrt(mean(lambda n: (n - 1.03) ** 2)) == pytest.approx(number.sigma_index, rel=1e-4)


def test_sellmeiers_formula_of_aerogel():
    """LHCb's aerogel, Bellunato et al., EPJ C52 (2007) 759: n^2 - 1 = 0.05639 / (1 - (83.22 nm / wavelength)^2)."""
    number = (
        counter(pole_nm=83.22)._replace_index
        if hasattr(counter(), "_replace_index")
        else counter(pole_nm=83.22).counter()
    )
    for wavelength in (350.0, 400.0, 633.0):
        expected = 0.05639 / (1.0 - (83.22 / wavelength) ** 2)
        ratio = (light.index_1(number, 1.0 / wavelength) ** 2 - 1.0) / (light.index_1(number, 1.0 / 500.0) ** 2 - 1.0)
        assert ratio == pytest.approx(expected / (0.05639 / (1.0 - (83.22 / 500.0) ** 2)), rel=1e-12)


def test_one_pole_describes_c4f10():
    """The table of key4hep's k4geo (CLD_o3_v01/materials_arc_o1_v01.xml, 3204f556, from EIC's dRICH), to its last digit."""
    energy = np.array([1.87855, 1.92389, 2.10539, 2.3247, 2.59502, 2.93647, 3.38139, 3.98521, 4.85156, 6.19921])  # eV
    table = np.array([1.0013, 1.0013, 1.00131, 1.00131, 1.00132, 1.00133, 1.00134, 1.00136, 1.0014, 1.00149])
    number = forward(sigma_photon_mrad=None, focal_length=150.0, pixel=0.3).counter()
    n = np.array([light.index_1(number, e / 1239.842) for e in energy])
    scaled = 1.0 + (n - 1.0) * ((table - 1.0) @ (n - 1.0)) / ((n - 1.0) @ (n - 1.0))
    np.testing.assert_allclose(scaled, table, atol=5e-6)


def test_frank_and_tamm():
    """370 photons per cm, eV and sin^2 (PDG review, 34.7): 1 eV is 1 / 1239.84 nm."""
    assert photons_per_cm(0.0, 1.0 / 1239.842) == pytest.approx(369.8, rel=1e-3)


@pytest.mark.parametrize("mean", [0.0, 0.3, 4.0, 25.0, 290.0])
def test_poisson_by_inversion(mean):
    for u in (0.0, 0.01, 0.3, 0.5, 0.9, 0.9999):
        assert light.poisson_1(mean, u) == max(stats.poisson.ppf(u, mean), 0)


def test_large_poisson_numbers_are_drawn_in_parts():
    key = Streams(1).key("x")
    n = np.array([light.draw_number_1(1000.0, i, 5, key) for i in range(4000)])
    assert n.mean() == pytest.approx(1000.0, abs=4 * math.sqrt(1000 / 4000))
    assert n.var() == pytest.approx(1000.0, rel=4 * math.sqrt(2 / 4000))


def trace(n, theta, phi, s, number, t=T):
    """Where a photon lands, by vectors and Snell's law only."""
    t = np.array(t)
    first = np.array(
        [-math.hypot(t[1], t[2]), t[0] * t[1] / math.hypot(t[1], t[2]), t[0] * t[2] / math.hypot(t[1], t[2])]
    )
    d = math.cos(theta) * t + math.sin(theta) * (math.cos(phi) * first + math.sin(phi) * np.cross(t, first))
    place = s * t
    place = place + (number.thickness - place[0]) / d[0] * d
    normal = np.array([1.0, 0.0, 0.0])
    r = n / number.gap_index
    sin = np.cross(normal, d) * r  # Snell
    out = np.append(math.sqrt(1.0 - sin @ sin), 0.0)[0] * normal + np.cross(sin, normal)
    return (place + number.gap / out[0] * out)[1:], d


def crossing_at(t, **changes):
    zero = dict.fromkeys(rings.Crossing._fields, 0.0)
    numbers = {**zero, "is_disk": False, "tile": 0, "t_n": t[0], "t_x": t[1], "t_y": t[2], "x_low": -1e3, "x_high": 1e3,
               "y_low": -1e3, "y_high": 1e3, **changes}  # fmt: skip
    return rings.Crossing(**numbers)


@pytest.mark.parametrize("phi", [0.3, 1.7, 2.9, 4.4, 5.9])
def test_a_photon_is_reconstructed_where_it_came_from(phi):
    number = counter().counter()
    middle = 0.5 * number.thickness / T[0]
    (x, y), d = trace(1.03, 0.24, phi, middle, number)
    np.testing.assert_allclose(
        light.photon_1(*T, math.cos(0.24), math.sin(0.24), math.cos(phi), math.sin(phi)), d, atol=1e-14
    )
    scale = light.landing_1(1.03, d[0], 0.5 * number.thickness, number.gap, number.gap_index)
    np.testing.assert_allclose([middle * T[1] + scale * d[1], middle * T[2] + scale * d[2]], [x, y], atol=1e-11)
    theta, *seen = angle_of_1(number, crossing_at(T), x, y)
    assert theta == pytest.approx(0.24, abs=1e-9)
    np.testing.assert_allclose(seen, d, atol=1e-10)


@pytest.mark.parametrize("phi", [0.3, 1.7, 2.9, 4.4, 5.9])
def test_blur_is_the_derivative_of_the_reconstruction(phi):
    """Differences of traced photons, reconstructed as if they came from the middle at the mean index."""
    number = counter().counter()
    middle, theta, h = 0.5 * number.thickness / T[0], 0.24, 1e-4

    def seen(n=1.03, s=middle, shift=(0.0, 0.0)):
        angle = math.acos(math.cos(theta) * 1.03 / n)
        (x, y), _ = trace(n, angle, phi, s, number)
        return angle_of_1(number, crossing_at(T), x + shift[0], y + shift[1])[0]

    _, d = trace(1.03, theta, phi, middle, number)
    by_emission, by_place, by_index = light.blur_1(number, *T, *d)
    assert by_emission == pytest.approx((seen(s=middle + h) - seen(s=middle - h)) / (2 * h), rel=1e-4, abs=1e-9)
    gradient = [
        (seen(shift=(h, 0)) - seen(shift=(-h, 0))) / (2 * h),
        (seen(shift=(0, h)) - seen(shift=(0, -h))) / (2 * h),
    ]
    assert by_place == pytest.approx(math.hypot(*gradient), rel=1e-4)
    assert by_index == pytest.approx((seen(n=1.03 + h) - seen(n=1.03 - h)) / (2 * h), rel=1e-4)


def test_light_that_cannot_get_out():
    number = counter().counter()
    assert math.isnan(light.landing_1(1.03, 0.1, 1.0, number.gap, number.gap_index))
    assert math.isnan(light.landing_1(1.03, -0.5, 1.0, number.gap, number.gap_index))
    blur = light.make_blur(number)
    outside = light.light_of_1(blur.values, blur.largest, 0.24, math.tan(0.24) ** 2, light.slant_1(0.25))[2]
    # n sin(in the radiator) = n_gap sin(in the gap), whose cosine must be above 0.2: brute force over azimuths
    phi = np.linspace(0, 2 * np.pi, 20001)[:-1]
    d_n = math.cos(0.24) * 0.25 - math.sin(0.24) * math.sqrt(1 - 0.25**2) * np.cos(phi)
    assert outside == pytest.approx(np.mean(d_n > math.sqrt(1 - (1 - 0.2**2) * (1.000283 / 1.03) ** 2)), abs=1.5 / 48)
    assert outside < 0.9


@pytest.mark.parametrize(
    ("a", "v", "b"), [(5.0, 1.5, 0.0), (5.0, 1.5, 3.0), (5.0, 1.5, 5.0), (5.0, 1.5, 9.0), (0.0, 1.5, 2.0)]
)
def test_bending_in_the_radiator_is_averaged_harmonically(a, v, b):
    weight = (
        integrate.quad(lambda phi: 1.0 / ((a + b * math.cos(phi)) ** 2 + v * v), 0.0, math.pi, epsabs=1e-13)[0]
        / math.pi
    )
    assert light.bent_1(a * a + v * v, v * v, b * b) == pytest.approx(1.0 / weight, rel=1e-9)


def test_angles_behind_a_mirror():
    """In the focal plane by directions, the quick way and the long one; and what a bent track moves, by a small turn."""
    number = forward(sigma_photon_mrad=None, focal_length=150.0, pixel=0.1).counter()
    t_n = 1.0 / math.sqrt(1.0 + 0.1**2 + 0.05**2)
    t = (t_n, 0.1 * t_n, -0.05 * t_n)
    crossing = crossing_at(t)
    near = np.random.default_rng(2).uniform(-15.0, 15.0, (50, 2)) + 150.0 * np.array([0.1, -0.05])
    angles = np.empty(50)
    fill_angles(150.0, *t, near, angles)
    for (x, y), angle in zip(near, angles, strict=True):
        d = np.array([150.0, x, y]) / math.hypot(150.0, x, y)
        exact = math.atan2(np.linalg.norm(np.cross(d, t)), d @ t)
        assert angle == pytest.approx(exact, abs=1e-9)
        assert angle_of_1(number, crossing, x, y)[0] == pytest.approx(exact, abs=1e-9)
        b, h = np.array([0.0, 0.5e-3, 1e-3]), 1e-5
        turned = np.array(t) + h * (b - (b @ t) * np.array(t))
        other = math.atan2(np.linalg.norm(np.cross(d, turned)), d @ turned)
        bent = bending_1(crossing_at(t, b_n=b[0], b_x=b[1], b_y=b[2]), 150.0, x, y)
        assert bent == pytest.approx((exact - other) / h, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.05, 0.0999, 0.1001, 0.3, 3.0])
def test_angle_between_two_directions(angle):
    assert between_1(math.cos(angle) - 1.0, math.sin(angle), 0.0) == pytest.approx(angle, rel=1e-10)


def test_two_deflections():
    n, x, y = deflect_1(*T, 0.01, -0.02)
    assert n * n + x * x + y * y == pytest.approx(1.0, abs=1e-14)
    assert math.acos(n * T[0] + x * T[1] + y * T[2]) == pytest.approx(math.hypot(0.01, 0.02), rel=1e-4)


# --- tiles, rings and species ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (3.0, 0.5), (4.9, -6.9), (-4.0, 6.0), (4.99, 6.99)])
@pytest.mark.parametrize("radius", [1.0, 4.0, 6.0])
def test_fraction_of_a_ring_on_a_tile(x, y, radius):
    crossing = crossing_at((1.0, 0.0, 0.0), x=x, y=y, x_low=-5.0, x_high=5.0, y_low=-7.0, y_high=7.0)
    phi = np.linspace(0.0, 2 * np.pi, 100_001)[:-1]
    inside = (abs(x + radius * np.cos(phi)) <= 5.0) & (abs(y + radius * np.sin(phi)) <= 7.0)
    assert rings.seen_1(crossing, radius, 0.0) == pytest.approx(inside.mean(), abs=1e-4)


def test_fraction_of_a_ring_on_a_disk():
    """Borders of a disk are taken as straight: good to R / (2 pi r)."""
    phi = np.linspace(0.0, 2 * np.pi, 100_001)[:-1]
    for x in (16.0, 50.0, 97.0):
        crossing = crossing_at((1.0, 0.0, 0.0), is_disk=True, x=x, x_low=15.0, x_high=100.0)
        r = np.hypot(x + 5.0 * np.cos(phi), 5.0 * np.sin(phi))
        assert rings.seen_1(crossing, 5.0, 0.0) == pytest.approx(np.mean((r > 15) & (r < 100)), abs=5 / (2 * np.pi * x))


@pytest.mark.parametrize("n_phi", [1, 36])
def test_tiles_that_face_the_origin_do(n_phi):
    """Straight tracks from the origin through the middle of tiles hit them at right angles, and in the middle."""
    number = counter(is_projective=True, n_sectors_z=21, n_sectors_phi=n_phi).counter()
    eta_max = math.asinh(300.0 / 90.0)
    for tile in (0, 4, 10, 20):
        eta = ((tile + 0.5) * 2 / 21 - 1) * eta_max
        crossing = rings.cross_1(number, 0.0, 0.0, math.pi / 36, math.sinh(eta), 1e-9, B_Z)
        assert crossing.tile == tile * n_phi
        np.testing.assert_allclose([crossing.t_n, crossing.t_x, crossing.t_y], [1, 0, 0], atol=1e-6)
        assert crossing.y == pytest.approx(0.0, abs=1e-6)
        assert crossing.y_low < 0 < crossing.y_high
    widths = [high - low for *_, low, high in (rings.tile_1(number, row) for row in range(21))]
    assert max(widths) / min(widths) < 1.6  # farther sensors are larger
    for row in (0, 4, 10, 20):  # borders point to the origin: by tilts
        eta = (np.array([row, row + 0.5, row + 1]) * 2 / 21 - 1) * eta_max
        tilt, far = np.arctan(np.sinh(eta)), 90.0 * math.cosh(eta[1])
        expected = (math.cos(tilt[1]), math.sin(tilt[1]), far, *((far + 27.0) * np.tan(tilt[::2] - tilt[1])))
        assert rings.tile_1(number, row) == pytest.approx(expected, abs=1e-9)


def test_tiles_of_equal_length():
    number = counter(n_sectors_z=4).counter()
    borders = [rings.tile_1(number, row)[3:] for row in range(4)]
    np.testing.assert_allclose(borders, [[-300, -150], [-150, 0], [0, 150], [150, 300]])
    crossing = rings.cross_1(number, 0.0, 160.0, 0.0, 0.0, 1e-9, B_Z)
    assert (crossing.tile, crossing.y, crossing.y_low, crossing.y_high) == (3, 160.0, 150.0, 300.0)


def test_where_a_track_is_not_measured():
    number, gas = counter().counter(), forward(both_sides=False).counter()
    beyond = rings.cross_1(number, 0.0, 0.0, 0.0, 4.0, 1e-9, B_Z)
    curled = rings.cross_1(number, 0.0, 0.0, 0.0, 0.0, 1 / 0.2, 2.0)
    no_track = rings.cross_1(number, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0)
    other_side = rings.cross_1(gas, 0.0, 0.0, 0.0, -10.0, 1e-9, B_Z)
    assert [x.t_n for x in (beyond, curled, no_track, other_side)] == [0.0] * 4
    assert rings.cross_1(gas, 0.0, 0.0, 0.0, 10.0, 1e-9, B_Z).t_n > 0.9


@pytest.mark.parametrize("name", ["poisson_1", "landing_1", "take_off_1", "bent_1"])
def test_the_jit_changes_nothing(name):
    numbers = {
        "poisson_1": (4.0, 0.7), "landing_1": (1.03, 0.97, 1.0, 25.0, 1.0003),
        "take_off_1": (6.6, 1.03, 1.0, 25.0, 1.0003), "bent_1": (27.0, 2.0, 5.0),
    }  # fmt: skip
    kernel = getattr(light, name)
    assert getattr(kernel, "py_func", kernel)(*numbers[name]) == pytest.approx(kernel(*numbers[name]), rel=1e-14)


@pytest.mark.parametrize("t_n", [1.0, 0.9, 0.7, 0.5, 0.3])
def test_where_rings_are_looked_for(t_n):
    """The window holds all light of a fast particle that lands on the tile, by vectors, and little more.

    Of flat incidence (an arc of light that opens away from the track) at least 85 %; it stays finite.

    Its band has the area that points within one resolution cover: 4 pi R R' sigma at normal incidence.
    """
    number = counter().counter()
    blur = light.make_blur(number)
    slant = light.slant_1(t_n)
    lean = 0.6  # direction on the sensor
    t = (t_n, math.sqrt(1 - t_n**2) * math.cos(lean), math.sqrt(1 - t_n**2) * math.sin(lean))
    crossing = crossing_at(t, x=3.0, y=-2.0)
    shape = light.ring_of_1(blur.values, blur.largest, blur.fast, slant)
    own = rings.light_1(number, crossing, slant, shape, light.window_of_1(blur.windows, slant)[0])
    x, y, half_x, half_y = search_1(number, blur, crossing, own)
    landed = []
    for phi in np.linspace(0, 2 * np.pi, 721)[:-1]:
        if t_n == 1.0:
            place = 0.5 * math.tan(blur.fast) * 2.0 + 25.0 * math.tan(math.asin(1.03 * math.sin(blur.fast) / 1.000283))
            landed.append((place * math.cos(phi), place * math.sin(phi)))
            continue
        with np.errstate(invalid="ignore"):
            d = np.array(light.photon_1(*t, math.cos(blur.fast), math.sin(blur.fast), math.cos(phi), math.sin(phi)))
        if (1.03 * math.sqrt(max(1 - d[0] ** 2, 0.0)) / 1.000283) ** 2 < 1 - 0.2**2 and d[0] > 0:
            landed.append(trace(1.03, blur.fast, phi, 0.5 * number.thickness / t_n, number, t)[0])
    landed = np.add(landed, [3.0, -2.0])
    inside = (np.abs(landed - [x, y]) <= [half_x, half_y]).all(axis=1)
    assert inside.mean() == 1.0 if t_n > 0.5 else inside.mean() > 0.85
    assert half_x < 1.35 * np.abs(landed[:, 0] - x).max()
    assert half_y < 1.35 * np.abs(landed[:, 1] - y).max()
    assert max(half_x, half_y) < 60.0
    on_tile = search_1(number, blur, crossing_at(t, x=3.0, y=-2.0, y_low=-12.0, y_high=15.0), own)
    assert on_tile[1] - on_tile[3] >= -12.0
    assert on_tile[1] + on_tile[3] <= 15.0
    if t_n == 1.0:
        h = 1e-5
        radius = [
            math.tan(a) + 25.0 * math.tan(math.asin(1.03 * math.sin(a) / 1.000283))
            for a in (blur.fast - h, blur.fast + h)
        ]
        sigma = math.sqrt(shape[0]) / math.tan(blur.fast)
        area = 4 * math.pi * np.mean(radius) * (radius[1] - radius[0]) / (2 * h) * rings.BAND * sigma
        assert own.band == pytest.approx(area, rel=2e-3)


NUMBER = counter().counter()
BLUR = light.make_blur(NUMBER)
TRACKS = module_of(counter())._tracks(batch_of("pi", [1.0]))  # for the species' masses and charges


def likelihoods(p, n, theta):
    """Log-likelihoods of a straight track at normal incidence (9,)."""
    crossing = crossing_at((1.0, 0.0, 0.0))
    made = rings.make_rings(1, 9)
    compare_species(
        BLUR, TRACKS, crossing, light_of_crossing(NUMBER, BLUR, crossing), 0.0, p, 1e-4, float(n), theta, made, 0
    )
    return made.log_likelihood[0]


def test_a_ring_excludes_species_below_threshold_and_no_ring_those_above():
    with_ring = likelihoods(1.0, 16, 0.1989)
    assert np.argmax(with_ring[:3]) == NAMES.index("pi")
    assert with_ring[NAMES.index("ka")] < with_ring[NAMES.index("pi")] - 50
    without = likelihoods(1.0, 0, math.nan)
    assert without[NAMES.index("ka")] > without[NAMES.index("pi")] + 15  # exp(-16.4)
    assert without[NAMES.index("ka")] - without[NAMES.index("pi")] == pytest.approx(16.38, abs=0.3)


@pytest.mark.parametrize(("n", "theta"), [(0, math.nan), (2, math.nan), (3, 0.03), (20, 0.24), (120, 0.24)])
def test_likelihoods_are_finite_and_continuous_at_threshold(n, theta):
    threshold = SPECIES[2].mass / math.sqrt(1.03**2 - 1)
    below, above = (likelihoods(threshold * (1 + x), n, theta) for x in (-1e-9, 1e-9))
    assert np.isfinite(below).all()
    assert above[2] == pytest.approx(below[2], abs=0.05)


def test_likelihood_of_a_ring_is_a_density():
    """Summed over numbers and angles it is 1, once the factorial is back: Poisson's law and a normalised angle."""
    total = 0.0
    angles = np.linspace(0.14, 0.20, 241)
    for n in range(60):
        factorial = math.lgamma(n + 1)
        if n < 3:
            total += math.exp(likelihoods(0.8, n, math.nan)[2] - factorial)
        else:
            total += np.trapezoid([math.exp(likelihoods(0.8, n, a)[2] - factorial) for a in angles], angles)
    assert total == pytest.approx(1.0, abs=2e-3)


# --- the module -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["parametric", "detailed"])
@pytest.mark.parametrize(
    "device", [counter(), forward(), counter(is_projective=True, n_sectors_z=21, n_sectors_phi=36)]
)
def test_columns_masks_and_batches(level, device):
    generator = np.random.default_rng(5)
    n = 300
    species, p, eta = generator.choice(NAMES, n), generator.uniform(0.3, 30.0, n), generator.uniform(-3.5, 3.5, n)
    found = generator.uniform(size=n) < 0.8
    batch = batch_of(species, p, eta=eta, sigma_p=0.01, per_event=25, b_z=2.0, found=found)
    batch.columns[c.RECONSTRUCTED[2]][~found] = np.nan
    module = module_of(device, level, b_z=2.0)
    made = module.apply(batch, Streams(3)).columns
    check(module, batch, Made(made))
    measured, has_ring, n_photons, angle, sigma, expected, n_sigma, log_likelihood = (made[x] for x in module.makes)
    assert 0 < measured.sum() < n
    assert not (measured & ~found).any()
    assert not (has_ring & ~measured).any()
    assert 0 < has_ring.sum() < measured.sum()
    np.testing.assert_array_equal(np.isnan(n_photons), ~measured)
    np.testing.assert_array_equal(np.isnan(angle), ~has_ring)
    np.testing.assert_array_equal(np.isnan(sigma), ~has_ring)
    np.testing.assert_array_equal(np.isnan(log_likelihood).any(axis=1), ~measured)
    np.testing.assert_array_equal(np.isnan(log_likelihood).all(axis=1), ~measured)
    np.testing.assert_array_equal(np.isnan(n_sigma), np.isnan(expected) | ~has_ring[:, None])
    assert (n_photons[has_ring] >= 3).all()
    parts = [module.apply(batch.slice_events(a, b), Streams(3)).columns for a, b in ((0, 1), (1, 7), (7, 12))]
    for column in module.makes:
        np.testing.assert_array_equal(np.concatenate([part[column] for part in parts]), made[column])
    other = module.apply(batch, Streams(4)).columns
    assert not np.array_equal(other[module.makes[2]], n_photons, equal_nan=True)


@pytest.mark.parametrize("level", ["parametric", "detailed"])
def test_no_tracks_and_no_events(level):
    module = module_of(counter(), level)
    for batch in (batch_of("pi", [1.0]).slice_events(0, 0), batch_of("pi", [1.0], found=np.array([False]))):
        made = module.apply(batch, Streams(1)).columns
        check(module, batch, Made(made))
        assert not made[module.makes[0]].any()


def test_two_counters_have_columns_and_random_numbers_of_their_own():
    options = RichOptions.model_validate({"name": "rich", "kind": "rich", "level": "parametric"})
    both = RichCounters(options, [counter(), counter(name="second")], B_Z)
    batch = batch_of("pi", np.full(100, 3.0))
    made = both.apply(batch, Streams(1)).columns
    alone = measure(counter(), batch)
    assert {column.name for column in made} == {f"{d}_{name}" for d in ("rich", "second") for name in alone}
    by_name = {column.name: array for column, array in made.items()}
    np.testing.assert_array_equal(by_name["rich_angle"], alone["angle"])
    assert not np.array_equal(by_name["rich_n_photons"], by_name["second_n_photons"])


def test_columns_are_declared():
    for column in columns_of("rich"):
        assert (column.table, column.name[:5]) == ("track", "rich_")
        assert column.doc


def test_hits_of_a_pixel_count_once_and_the_seam_of_a_round_barrel_is_none():
    zero = np.zeros(6, dtype=np.int64)
    x, y = np.array([1.0, 1.0, 1.0, 5.0, 9.0, 9.0]), np.array([2.0, 2.0, 3.0, 0.0, 1.0, 7.0])
    hits = Hits(np.array([0, 6]), zero, np.array([0, 0, 0, 2, 4, 4]), x, y, 2.0)
    near = np.full((10, 2), np.nan)
    assert gather(hits, 0, 6, 0, (1.0, 2.0, 1.5, 1.5), 0.1, 0.0, near, 0) == 2
    assert gather(hits, 0, 6, 0, (1.0, 2.0, 1.5, 1.5), 0.0, 0.0, near, 0) == 3  # no pixels: no two are the same
    assert gather(hits, 0, 6, 0, (4.0, 1.0, 5.0, 1.5), 0.1, 0.0, near, 0) == 3  # several strips
    assert gather(hits, 0, 6, 1, (1.0, 2.0, 1.5, 1.5), 0.1, 0.0, near, 0) == 0  # another tile
    assert gather(hits, 0, 6, 0, (9.0, 2.0, 1.5, 1.5), 0.1, -10.0, near[:1], 1) == 2  # no room: counted, not written
    around = around_1(counter().counter())
    assert around == pytest.approx(2 * math.pi * 117.0)
    phi = np.array([0.0, 1e-4, -1e-4, 1.0])
    made = measure(counter(), batch_of("pi", np.full(4, 10.0), phi=phi), "detailed")
    assert (made["n_photons"] > 10).all()


def test_most_votes():
    votes = np.zeros(11)
    votes[[4, 5, 6]] = [1.0, 3.0, 1.0]  # bins 3, 4, 5
    assert most_voted_1(votes, 0.1, 0.1) == pytest.approx(0.45)
