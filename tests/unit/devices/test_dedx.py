"""Energy loss as a module and its kernels: options and faults, hits by an independent helix, read-out, columns, batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import poisson

from fastsim.devices.common import MASSES
from fastsim.devices.dedx import EnergyLoss
from fastsim.devices.expected_loss import make_expected
from fastsim.devices.gas import gas_rate
from fastsim.devices.gas_charge import make_row_charge
from fastsim.devices.straggling import SCORES, kept_hits, make_straggling
from fastsim.errors import CardError
from fastsim.kernels.cluster_count import count_score_1, poisson_1
from fastsim.kernels.energy_deposit import insert, place_1, quantile_1, read_out_1, truncated_mean_1
from fastsim.kernels.gas_volumes import Volumes, arcs_in_volume_1, rate_1, rows_crossed_1
from fastsim.kernels.slants import Crossings, Sensors, fill_crossings
from fastsim.kernels.truncated_mean import distance_1, score_1
from fastsim.plugins import load_kind
from fastsim.rng import Streams
from fastsim.species import NAMES
from tests.dedx_tracks import CHAMBER, LAYERS, batch_of, column_of, detector, names_of
from tests.oracles import K_CURVATURE

SILICON = f'[[dedx]]\nname = "its"\nlayers = {names_of()}\nthickness_um = 100.0\n'
ON_L0 = 'name = "a"\nlayers = ["L0"]\nthickness_um = 50.0\n'
IN_GAS = 'name = "a"\ndrift_volumes = ["DCH"]\ngas = "he"\n'
TOF = '[[tof]]\nname = "a"\nr = 90.0\nhalf_length = 100.0\nsigma_ps = 20.0'
TPC = '[[dedx]]\nname = "tpc"\ndrift_volumes = ["DCH"]\ngas = "ne90_co2_10_n2_5"\nmeasures = "charge"\n'
GAS = '[[dedx]]\nname = "dch"\ndrift_volumes = ["DCH"]\ngas = "he90_isobutane10"\n'


def module_of(found, **options):
    return EnergyLoss.from_options(
        EnergyLoss.Options(name="dedx", kind="dedx", **{"level": "parametric", **options}), found
    )


@pytest.fixture(scope="module")
def silicon():
    return module_of(detector(SILICON))


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ('name = "a"', "dedx[0]: needs layers (of silicon, with thickness_um), or drift_volumes (with gas), and not both"),
        ('name = "a"\nlayers = ["L0"]', "dedx[0]: with layers it needs thickness_um"),
        (ON_L0 + 'gas = "he"', "dedx[0].gas: has no meaning with layers"),
        ('name = "a"\ndrift_volumes = ["DCH"]', "dedx[0]: with drift_volumes it needs gas"),
        (IN_GAS + "noise_kev = 1.0", "dedx[0].noise_kev: has no meaning with drift_volumes"),
        (IN_GAS + "constant = 0.1", "dedx[0].constant: has no meaning where clusters are measured"),
        (IN_GAS + 'measures = "charge"',
         "dedx[0].gas: electrons per cluster are not known of it (known: ne90_co2_10_n2_5)"),
        ('name = "a"\ndrift_volumes = ["DCH"]\ngas = "ne90_co2_10_n2_5"\nmeasures = "charge"\ncounting_efficiency = 0.5',
         "dedx[0].counting_efficiency: has no meaning where charges are measured"),
        ('name = "a"\ndrift_volumes = ["TPC"]\ngas = "he"', "dedx[0].drift_volumes[0]: no drift volume 'TPC' (there are: DCH)"),
        ('name = "a"\nlayers = ["L0", "L0"]\nthickness_um = 50.0', "dedx[0].layers[1]: 'L0' is listed twice"),
        ('name = "a"\nlayers = ["B"]\nthickness_um = 50.0', "dedx[0].layers[0]: no layer or disk 'B' (there are: L0, L1)"),
        (ON_L0 + "tot_step_ns = 25.0", "dedx[0]: tot_ns_per_kev and tot_step_ns go together"),
        ('name = "a"\nlayers = ["L0"]\nthickness_um = 5.0',
         "dedx[0].thickness_um: must be greater than or equal to 10 (got 5.0, a number)"),
        (ON_L0 + "noise_kev = -1.0", "dedx[0].noise_kev: must be greater than or equal to 0 (got -1.0, a number)"),
        (IN_GAS + "counting_efficiency = 1.1",
         "dedx[0].counting_efficiency: must be less than or equal to 1 (got 1.1, a number)"),
        (ON_L0 + TOF, "dedx[0].name: 'a' is taken: names select columns and random streams, and must differ"),
    ],
)  # fmt: skip
def test_devices_that_cannot_be(device, message):
    with pytest.raises(CardError) as error:
        detector(f"[[dedx]]\n{device}", layers=[1.0, 2.0], more=CHAMBER)
    assert message in "\n".join(error.value.problems)


def test_a_passive_layer_measures_nothing():
    passive = 'disks = [{ name = "wall", z = 10.0, r_min = 1.0, r_max = 5.0, x_over_x0 = 0.01 }]'
    with pytest.raises(CardError, match=r"dedx\[0\].layers\[0\]: 'wall' is passive: only what measures"):
        detector('[[dedx]]\nname = "a"\nlayers = ["wall"]\nthickness_um = 50.0', more=passive, half_length=8.0)


def test_options():
    with pytest.raises(CardError, match=r"module 'dedx': the detector has no \[\[dedx\]\]"):
        module_of(detector())
    with pytest.raises(CardError, match=r"module 'dedx': devices: no \[\[dedx\]\] called 'svt' \(there are: its\)"):
        module_of(detector(SILICON), devices=["svt"])
    path, text = next(EnergyLoss.Options.faults({"truncation": 0.1}))
    assert (path, text) == (
        ("truncation",),
        "must be between 0.2 and 0.7, where the largest deposits cannot enter (got 0.1)",
    )
    assert not list(EnergyLoss.Options.faults({"truncation": "steps"}))
    assert load_kind("dedx") is EnergyLoss


def test_a_threshold_in_the_signal_is_refused():
    text = "a minimum-ionising particle leaves less than threshold_kev = 20 in "
    with pytest.raises(CardError, match=f"dedx 'its': {text}.*% of the layers of 100 um"):
        module_of(detector(SILICON + "threshold_kev = 20.0"))


def test_how_many_hits_are_kept():
    assert [kept_hits("steps", n) for n in range(1, 10)] == [
        (0, 1.0), (0, 1.0), (1, 1.0), (1, 1.0), (2, 1.0), (2, 1.0), (3, 1.0), (3, 1.0), (3, 1.0)
    ]  # fmt: skip
    for n in range(1, 30):
        whole, part = kept_hits(0.6, n)
        assert whole + part == pytest.approx(max(0.6 * n, 1.0) if n > 2 else 1.0)
        assert 0.0 < part <= 1.0


def test_truncated_mean_by_hand(silicon):
    table = silicon._parts[0]._table
    values = np.zeros(12)
    for n, value in enumerate([5.0, 1.0, 3.0, 2.0, 9.0]):
        insert(values, n, value)
    assert values[:5].tolist() == [1.0, 2.0, 3.0, 5.0, 9.0]
    assert truncated_mean_1(table, values, 5) == pytest.approx((1 + 2 + 3) / 3)  # 0.6 * 5
    assert truncated_mean_1(table, values, 4) == pytest.approx((1 + 2 + 0.4 * 3) / 2.4)
    assert truncated_mean_1(table, values, 1) == 1.0


def test_tables_are_read_at_their_nodes(silicon):
    """At nodes the interpolation is the table, and beyond an axis it stays."""
    table = silicon._parts[0]._table
    q = table.quantiles
    for k in (3, 64, 100):
        logit = table.logits[0] + k / table.logits[1]
        assert quantile_1(q, table.logits, 2, 0.0, 1, 0.0, 1 / (1 + math.exp(-logit))) == pytest.approx(
            q[2, 1, k], rel=1e-9
        )
        assert quantile_1(q, table.logits, 2, 1.0, 1, 1.0, 1 / (1 + math.exp(-logit))) == pytest.approx(
            q[3, 2, k], rel=1e-9
        )
    assert place_1(-100.0, (0.0, 2.0), 5) == (0, 0.0)
    assert place_1(100.0, (0.0, 2.0), 5) == (3, 1.0)


@pytest.mark.parametrize(("thickness_um", "largest"), [(50, 0.13), (300, 0.06)])
def test_seven_numbers_hold_a_distribution(thickness_um, largest):
    """Scores of the table's truncated means within 2 sigma, from the seven numbers, to 0.05 from 3 hits on; they are inverted."""
    _, means = make_straggling(thickness_um * 1e-4, 0.0, 0.0, 0.0, 6, 0.6)
    table, expected = make_expected(thickness_um * 1e-4, 0.0, 0.0, 0.0, 6, 0.6)
    i = round((math.log(8.0 * MASSES[2]) - expected.p[0]) * expected.p[1])  # beyond beta gamma = 5 the shape stays
    bg = math.exp(expected.p[0] + i / expected.p[1]) / MASSES[2]
    k = (math.log(bg) - table.fine[0]) * table.fine[1]
    xi, offset = (np.interp(k, np.arange(len(x)), x) for x in (table.xi, table.offset))
    for n in (1, 2, 3, 6):
        low, middle, high, *terms = expected.rows[i * expected.n_slant * 6 + n - 1].reshape(7, 9)[:, 2]
        y = np.log(xi * (offset + table.log_thickness + means[-1, 0, n - 1]))
        above, below = high - middle, middle - low
        for score, value in zip(SCORES[4:-4], y[4:-4], strict=True):
            x = value - middle
            t = x * (above + below) / (2 * above * below + (above - below) * x)
            found, slope = score_1(t, *terms)
            assert found == pytest.approx(score, abs=0.05 if n > 2 else largest)
            assert slope > 0
            assert distance_1(above, below, *terms, found) == pytest.approx(x, abs=1e-4)
        assert distance_1(above, below, *terms, 3.0) == pytest.approx(above, rel=1e-9)
        step = distance_1(above, below, *terms, 3.0) - distance_1(above, below, *terms, 3.0 - 1e-6)
        assert distance_1(above, below, *terms, 4.0) == pytest.approx(above + 1e6 * step, rel=1e-4)


def test_read_out():
    assert read_out_1(1.0, 0.0, 0.0, 0.9) == 0.0
    assert read_out_1(1.0, 0.0, 0.0, 1.7) == 1.7
    assert read_out_1(1.0, 10.0, 25.0, 9.0) == pytest.approx(
        1.0 + 3.5 * 2.5
    )  # 80 ns over threshold: in the fourth step of 25


@pytest.mark.parametrize("is_disk", [False, True])
def test_slants_by_stepping(is_disk):
    """Against a helix stepped in small pieces, from a displaced start: crossed or not, and at which angle."""
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(60 if is_disk else 40):
        pt, tan_lambda, charge = rng.uniform(0.15, 1.0), rng.uniform(-2, 2), rng.choice([-1, 1])
        phi, x, y, z = rng.uniform(-3, 3), *rng.uniform(-3, 3, 2), rng.uniform(-5, 5)
        c = -K_CURVATURE * 2.0 * charge / pt
        place = (30.0 * np.sign(tan_lambda), 5.0, 60.0) if is_disk else (50.0, -60.0, 60.0)
        s = np.linspace(0.0, math.pi / abs(c), 400_001)
        xs = x + (np.sin(phi + c * s) - math.sin(phi)) / c
        ys = y - (np.cos(phi + c * s) - math.cos(phi)) / c
        zs, r = z + s * tan_lambda, np.hypot(xs, ys)
        passed = np.flatnonzero(np.diff(np.sign((zs if is_disk else r) - place[0])) > 0) if not is_disk else np.flatnonzero(
            np.diff(np.sign(np.abs(zs) - 30.0)) > 0)  # fmt: skip
        expected = 0.0
        if len(passed):
            k = passed[0]
            extent = r[k] if is_disk else zs[k]
            direction = np.array([math.cos(phi + c * s[k]), math.sin(phi + c * s[k]), tan_lambda]) / math.hypot(
                1, tan_lambda
            )
            normal = np.array([0, 0, 1.0]) if is_disk else np.array([xs[k], ys[k], 0]) / r[k]
            cosine = abs(direction @ normal)
            flat = not is_disk and cosine * math.hypot(1, tan_lambda) < math.sqrt(1 - 0.95**2)
            expected = 0.0 if flat or not place[1] <= extent <= place[2] else 1.0 / cosine
        u, v = x * math.cos(phi) + y * math.sin(phi), x * math.sin(phi) - y * math.cos(phi)
        one = [np.array([number]) for number in (*place, 1.0)]
        crossings = Crossings(np.zeros(1, dtype=np.int64), np.zeros(1))
        sensors = Sensors(int(not is_disk), *one, True, 0.01, 0.95, 0.0, 0.0, 0.0)
        n, total = fill_crossings(sensors, u, v, z, tan_lambda, c, crossings)
        assert total == (crossings.cosine[0] if n else 0.0)
        assert (1.0 / total if n else 0.0) == pytest.approx(expected, rel=1e-3, abs=1e-9)
        found += expected > 0
    assert found > 10


def volumes_of(*rows, pitch=1.0):
    """Of (r_in, r_out, half_length)."""
    r_in, r_out, half_length = (np.array(values) for values in zip(*rows, strict=True))
    return Volumes(r_in, r_out, half_length, np.full(len(rows), pitch), np.ones(len(rows)))


def path_in(volumes, *start):
    begin, end = arcs_in_volume_1(volumes, 0, *start)
    return (end - begin) * math.hypot(1.0, start[3])


def test_path_in_a_volume():
    """Straight and bent, from inside, out of its end, and the far point of a curl: by closed forms."""
    volume = volumes_of((50.0, 150.0, 100.0))
    assert path_in(volume, 0.0, 0.0, 0.0, 0.0, 1e-12) == pytest.approx(100.0)
    assert path_in(volume, 0.0, 0.0, 0.0, 1.0, 1e-12) == pytest.approx(50.0 * math.sqrt(2.0))
    assert path_in(volume, 0.0, 0.0, 0.0, 3.0, 1e-12) == 0.0
    assert path_in(volume, 100.0, 0.0, 0.0, 0.0, 1e-12) == pytest.approx(50.0)
    assert path_in(volume, 160.0, 0.0, 0.0, 0.0, 1e-12) == 0.0
    assert path_in(volume, 0.0, 0.0, 120.0, -1.0, 1e-12) == 0.0
    for radius in (200.0, 60.0, 20.0):  # 2 R: 400 crosses, 120 turns back inside, 40 does not get there
        arcs = [2 * radius * math.asin(min(r / (2 * radius), 1.0)) for r in (50.0, 150.0)]
        expected = arcs[1] - arcs[0] if radius > 25.0 else 0.0
        for sign in (-1, 1):
            assert path_in(volume, 0.0, 0.0, 0.0, 0.0, sign / radius) == pytest.approx(expected, abs=1e-6)


def test_rows_of_a_volume():
    """Rows at 50.5, 51.5, ... 149.5 cm: all, those before the end of the volume, up to the far point, and from inside."""
    volume = volumes_of((50.0, 150.0, 100.0))
    for start, expected in (
        ((0.0, 0.0, 0.0, 0.0, 1e-12), 100),
        ((0.0, 0.0, 0.0, 1.0, 1e-12), 50),
        ((0.0, 0.0, 0.0, 0.0, 1 / 60.0), 70),
        ((60.2, 0.0, 0.0, 0.0, 1e-12), 90),
    ):
        u, v, _, _, c = start
        assert rows_crossed_1(volume, 0, u, v, c, *arcs_in_volume_1(volume, 0, *start)) == expected


@pytest.mark.parametrize("mean", [0.3, 9.9, 10.0, 150.0, 2000.0])
def test_poisson(mean):
    """20,000 numbers against the exact law: chi2 over bins of at least 25, below its mean + 5 sigma."""
    key = Streams(1).key("poisson")
    drawn = np.array([poisson_1(mean, 3, event, key.k0, key.k1) for event in range(20_000)])
    edges = np.unique(poisson(mean).ppf(np.linspace(0, 1, 42)[1:-1]))
    cumulative = np.diff([0.0, *poisson(mean).cdf(edges), 1.0])
    counts = np.bincount(np.searchsorted(edges, drawn), minlength=len(cumulative))
    keep = cumulative * len(drawn) > 25
    chi2 = np.sum((counts - cumulative * len(drawn))[keep] ** 2 / (cumulative * len(drawn))[keep])
    assert chi2 < keep.sum() + 5 * math.sqrt(2 * keep.sum())


def test_columns(silicon):
    """Types and shapes; who is not reconstructed or has no hit is masked and NaN; an empty batch is fine."""
    batch = batch_of(["pi"] * 6, [1.0, 1.0, 1.0, 0.02, 1.0, 1.0], eta=[0, 1, 8.0, 0, -1, 0])
    mask = np.array([True, False, True, True, True, True])
    batch = batch.with_columns({next(c for c in silicon.needs if c.name == "is_reconstructed"): mask})
    made = silicon.apply(batch, Streams(1))
    assert set(made.columns) == set(silicon.makes)
    for column, values in made.columns.items():
        assert (values.dtype, values.shape) == (np.dtype(column.dtype), (6, *column.shape)), column
    measured = column_of(made, "its_is_measured")
    assert measured.tolist() == [True, False, False, True, True, True]  # eta = 8 leaves the cylinders at z = 400 cm
    np.testing.assert_array_equal(column_of(made, "its_n_hits") > 0, measured)
    for name in ("its_dedx", "its_n_sigma", "its_log_likelihood"):
        values = column_of(made, name).reshape(6, -1)
        assert np.isfinite(values[measured]).all()
        assert np.isnan(values[~measured]).all()
    empty = silicon.apply(batch.slice_events(0, 0), Streams(1))
    assert all(len(values) == 0 for values in empty.columns.values())


def test_time_over_threshold():
    """It is linear in the truncated mean, and the steps of the clock widen it as their uniform distribution does."""
    read_out = "threshold_kev = 2.0\ntot_ns_per_kev = 10.0\ntot_step_ns = 50.0"
    module = module_of(detector(SILICON + read_out), level="detailed")
    batch = batch_of("pi", np.full(20_000, 1.0))
    made = module.apply(batch, Streams(1))
    dedx, tot = column_of(made, "its_dedx"), column_of(made, "its_time_over_threshold")
    np.testing.assert_allclose(tot, (dedx * 1e6 * 0.01 - 2.0) * 10.0)  # 100 um, keV
    z = column_of(made, "its_n_sigma")[:, NAMES.index("pi")]
    assert abs(np.median(z)) < 0.06
    assert np.std(np.clip(z, -3, 3)) == pytest.approx(0.99, abs=0.04)


@pytest.mark.parametrize("level", ["parametric", "detailed"])
def test_the_size_of_the_batch_changes_nothing(level):
    module = module_of(detector(SILICON + GAS + TPC, more=CHAMBER), level=level)
    batch = batch_of(["pi", "ka", "pr"] * 40, np.linspace(0.3, 3.0, 120), eta=np.linspace(-1.5, 1.5, 120), size=10)
    whole = module.apply(batch, Streams(1)).columns
    parts = [module.apply(batch.slice_events(k, k + 1), Streams(1)).columns for k in range(batch.n_events)]
    for column, values in whole.items():
        np.testing.assert_array_equal(values, np.concatenate([part[column] for part in parts]))


def test_devices_do_not_move_each_other():
    """With a second device beside it, the first gives the same numbers to the bit."""
    both = detector(SILICON + GAS, more=CHAMBER)
    batch = batch_of("pi", np.full(50, 1.0))
    alone = module_of(both, devices=["its"]).apply(batch, Streams(1)).columns
    together = module_of(both).apply(batch, Streams(1)).columns
    for column, values in alone.items():
        np.testing.assert_array_equal(values, together[column])


def test_disks_of_both_sides():
    numbers = (
        "z = 90.0, r_min = 5.0, r_max = 60.0, x_over_x0 = 0.01, sigma_rphi_um = 5.0, sigma_r_um = 5.0, efficiency = 1.0"
    )
    more = f'disks = [{{ name = "D", {numbers} }}]'
    module = module_of(
        detector('[[dedx]]\nname = "fwd"\nlayers = ["D"]\nthickness_um = 100.0', more=more, half_length=80.0)
    )
    made = module.apply(batch_of("pi", np.full(3, 2.0), eta=[-1.5, 0.0, 1.5]), Streams(1))
    assert column_of(made, "fwd_n_hits").tolist() == [1, 0, 1]


def test_born_behind_layers():
    module = module_of(detector(SILICON))
    made = module.apply(batch_of("pi", np.full(2, 2.0), phi=0.0, origin=(15.0, 0.0, 0.0)), Streams(1))
    assert column_of(made, "its_n_hits").tolist() == [sum(r > 15.0 for r in LAYERS)] * 2


def test_rates_at_delphes_points():
    """Clusters per cm of He 90 isobutane 10 as tabulated; beyond the table a plateau, and below it a rise instead of nothing."""
    rate = gas_rate("he90_isobutane10")
    for bg, expected in ((1, 18.97), (2, 12.98), (4, 12.13), (10, 13.03), (50, 15.56), (100, 16.43), (1000, 16.98)):
        assert rate_1(rate, math.log(bg))[0] == pytest.approx(expected, rel=1e-3)
    assert rate_1(rate, math.log(1e5)) == (pytest.approx(16.98), 0.0)
    beta2 = [bg * bg / (1 + bg * bg) for bg in (0.25, 0.5)]
    ratio = rate_1(rate, math.log(0.25))[0] / rate_1(rate, math.log(0.5))[0]
    assert (beta2[1] / beta2[0]) ** 0.85 < ratio < beta2[1] / beta2[0]
    high, low = (rate_1(rate, math.log(bg))[0] for bg in (1.52, 1.48))
    assert rate_1(rate, math.log(1.5))[1] == pytest.approx((high - low) / math.log(1.52 / 1.48), rel=0.02)


def test_likelihood_of_a_number():
    """With a known momentum that of Poisson's law; with 30 % it is within 3 % of the integral over momenta, to two sigma."""
    for n in (0, 7, 300):
        values = [count_score_1(float(n), mean, 0.0, 0.0)[1] for mean in (5.0, 310.0)]
        assert values[1] - values[0] == pytest.approx(poisson(310.0).logpmf(n) - poisson(5.0).logpmf(n), rel=1e-9)
    moves = np.random.default_rng(1).normal(0.0, 40.0, 400_000)
    for n in (260, 300, 340, 380):
        exact = np.log(
            np.mean(poisson(np.maximum(300.0 + moves, 1.0)).pmf(n)) / np.mean(poisson(300.0 + moves).pmf(300))
        )
        ours = count_score_1(float(n), 300.0, 400.0, 0.1)[1] - count_score_1(300.0, 300.0, 400.0, 0.1)[1]
        # ours leaves out ln(n) / 2, which all species share
        assert ours - 0.5 * math.log(n / 300.0) == pytest.approx(exact, abs=0.04)


def test_tables_are_made_once():
    arguments = (0.01, 0.0, 0.0, 0.0, 11, 0.6)
    assert make_expected(*arguments) is make_expected(*arguments)
    assert make_row_charge("ne90_co2_10_n2_5", 0.6) is make_row_charge("ne90_co2_10_n2_5", 0.6)
