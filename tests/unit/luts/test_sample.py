"""Tables from tracks of a full simulation: closure against a known covariance, three formats, two kinds, every complaint."""

from __future__ import annotations

import csv
import io
import math
from hashlib import sha256

import awkward as ak
import numpy as np
import pytest
import uproot
from scipy.optimize import brentq
from scipy.stats import norm

from fastsim.columns import PARAMETERS
from fastsim.errors import InputError, LutError
from fastsim.luts import Grid, read_lut, sample_file, write_lut
from fastsim.luts.sample import MIN_TRACKS, WIDTH_ERROR, _quantiles, build_from_sample, species_in_sample
from fastsim.luts.sample_file import COVARIANCE, PAIRS, TRUE, read_sample
from fastsim.species import SPECIES, by_name

PION = by_name("pi")
GRID = Grid(n_pt=5, n_eta=6, pt_min=0.2, pt_max=20.0, eta_max=1.5)
NEED = "a track needs it; what was not found has is_reconstructed = 0"
PARITY_SIGNS = np.array([-1.0, 1.0, -1.0, 1.0, -1.0])  # y -> -y: dca_xy, phi and q/pt turn round
POWERS = np.array([-0.5, -0.4, -0.45, -0.4, 0.2])  # of sigma in pt


def sigma_at(pt, eta):
    """Resolutions (n, 5) of a made-up detector."""
    base = np.array([2e-3, 3e-3, 1e-3, 8e-4, 4e-3])
    return base * pt[:, None] ** POWERS * np.cosh(eta)[:, None] ** np.array([0.5, 1.0, 0.5, 1.0, 0.3])


def correlation_at(eta):
    """Correlations (n, 5, 5) of positive charges: those with PARITY -1 change sign with eta, as they do in a solenoid."""
    strength = np.array([0.9, 0.8, -0.7, 0.85, 0.5])
    other = np.array([0.2, -0.5, 0.5, 0.3, -0.6])
    lean = np.stack([np.tanh(eta) if k in (1, 3) else np.ones_like(eta) for k in range(5)], axis=-1)
    factor = np.stack([strength * lean, other * lean, np.full_like(lean, 0.4)], axis=-1)
    matrix = factor[..., :2] @ np.swapaxes(factor[..., :2], -1, -2) + np.eye(5) * (factor[..., 2, None] ** 2)
    spread = np.sqrt(np.einsum("...ii->...i", matrix))
    return matrix / spread[..., :, None] / spread[..., None, :]


def covariance_at(pt, eta):
    sigma = sigma_at(pt, eta)
    return correlation_at(eta) * sigma[:, :, None] * sigma[:, None, :]


def centres(x, edges, *, logarithmic):
    """Centres of the bins that hold x."""
    k = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    return np.sqrt(edges[k] * edges[k + 1]) if logarithmic else 0.5 * (edges[k] + edges[k + 1])


def make_tracks(
    n, seed=1, *, grid=GRID, pdg=211, negative=0.5, at_centres=True, kind="residuals", tails=0.0, **columns
):
    """A sample of n rows as columns, of which the share `negative` has negative charge.

    `at_centres`: covariances of the cells' centres, else those of each track.
    """
    generator = np.random.default_rng(seed)
    sign = np.where(generator.random(n) < negative, -1, 1)
    pt = np.exp(generator.uniform(np.log(grid.pt_min), np.log(grid.pt_max), n))
    eta = generator.uniform(-grid.eta_max, grid.eta_max, n)
    where = (centres(pt, grid.pt_edges, logarithmic=True), centres(eta, grid.eta_edges, logarithmic=False))
    covariance = covariance_at(*(where if at_centres else (pt, eta)))
    flip = np.where(sign[:, None] < 0, PARITY_SIGNS, 1.0)
    code = pdg * sign * (-1 if pdg in (11, 13) else 1)
    table = {"pdg": code.astype(np.int64), "pt_true": pt, "eta_true": eta}
    if kind == "covariances":
        scale = generator.uniform(0.5, 1.5, n)  # of mean 1, so that a mean is a mean of something
        covariance = covariance * flip[:, :, None] * flip[:, None, :]
        table |= {name: covariance[:, i, j] * scale for name, (i, j) in zip(COVARIANCE, PAIRS, strict=True)}
        return table | columns
    residual = np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), generator.normal(size=(n, 5)))
    residual *= flip * np.where(generator.random(n) < tails, 5.0, 1.0)[:, None]
    phi = generator.uniform(-math.pi, math.pi, n)
    charge = {k.pdg: k.charge for k in SPECIES}[pdg] * sign
    true = np.stack([np.zeros(n), generator.normal(size=n), phi, np.sinh(eta), charge / pt], axis=1)
    table |= {name: true[:, k] for k, name in enumerate(TRUE)}
    table |= {name: true[:, k] + residual[:, k] for k, name in enumerate(PARAMETERS)}
    table["phi"] = np.remainder(table["phi"], 2.0 * math.pi)  # 0 to 2 pi, the truth -pi to pi
    return table | columns


def write_tree(file, name, table):
    """A TTree (plain assignment makes an RNTuple)."""
    file.mktree(name, {key: column.dtype for key, column in table.items()}).extend(table)


def write(path, table):
    """CSV, .npz or ROOT by the name's ending; returns the path."""
    if path.suffix == ".npz":
        np.savez(path, **table)
    elif path.suffix == ".root":
        with uproot.recreate(path) as file:
            write_tree(file, "tracks", table)
    else:
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(table)
            writer.writerows(
                ["" if isinstance(x, float) and math.isnan(x) else x for x in row]
                for row in zip(*(column.tolist() for column in table.values()), strict=True)
            )
    return path


def build(path, grid=GRID, species=PION):
    lut, notes = build_from_sample(path, species, grid, detector="full", b_z=2.0, command="a test")
    return lut, notes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("samples")


def expected(lut):
    """ln sigma (.., 5) and rho (.., 10) of the cells' centres."""
    grid = lut.header.grid
    eta, pt = (a.ravel() for a in np.meshgrid(grid.eta_centers, grid.pt_centers, indexing="ij"))
    shape = (grid.n_eta, grid.n_pt)
    rho = correlation_at(eta)
    rho = np.stack([rho[:, i, j] for i in range(5) for j in range(i)], axis=1)
    return np.log(sigma_at(pt, eta)).reshape(*shape, 5), rho.reshape(*shape, 10)


def tracks_per_cell(table, grid=GRID):
    found, _, _ = np.histogram2d(table["eta_true"], table["pt_true"], (grid.eta_edges, grid.pt_edges))
    return found


# --- closure --------------------------------------------------------------------------------------------------------


def test_closure_with_residuals(folder):
    """2e5 tracks of both charges: ln sigma and Fisher's z of all cells have pulls of mean 0 and width 1, none beyond 5."""
    table = make_tracks(200_000)
    lut, notes = build(write(folder / "closure.npz", table))
    n = tracks_per_cell(table)[..., None]
    log_sigma, rho = expected(lut)
    values = lut.covariance[0].astype(np.float64)
    pulls = {
        "sigma": (values[..., :5] - log_sigma) / (WIDTH_ERROR / np.sqrt(n)),
        "rho": (np.arctanh(values[..., 5:]) - np.arctanh(rho)) * np.sqrt(n - 3),
    }
    for name, pull in pulls.items():
        independent = pull.shape[0] * pull.shape[1]  # cells; parameters of one cell are correlated
        assert abs(pull.mean()) < 4.0 / math.sqrt(independent), name
        assert pull.std() == pytest.approx(1.0, abs=4.0 / math.sqrt(2 * independent)), name
        assert np.abs(pull).max() < 5.0, name
    assert (lut.efficiencies["every_hit_right"] == 1.0).all()
    assert "tracks in the median: sigma is known to 1." in notes[0]
    assert len(notes) == 1


def test_closure_with_covariances(folder):
    """Means of covariances, to their statistical error: relative rms of the factor is 1 / sqrt(12)."""
    table = make_tracks(200_000, kind="covariances")
    lut, notes = build(write(folder / "closure_cov.npz", table))
    n = tracks_per_cell(table)[..., None]
    log_sigma, rho = expected(lut)
    values = lut.covariance[0].astype(np.float64)
    assert (np.abs(values[..., :5] - log_sigma) < 5.0 * 0.5 / np.sqrt(12 * n)).all()
    np.testing.assert_allclose(
        values[..., 5:], rho, atol=2e-5
    )  # as stored; all elements of a track have the same factor
    assert notes == [f"a filled cell holds {np.median(n):.0f} reconstructed tracks in the median"]


def test_resolutions_that_change_within_a_cell(folder):
    """Flat in ln pt over a bin of width w, sigma ~ pt^a gives (rms) 1 + (a w)^2 / 24 of the centre's: the grid's price."""
    grid = Grid(n_pt=12, n_eta=12, pt_min=0.2, pt_max=20.0, eta_max=1.5)
    table = make_tracks(200_000, grid=grid, at_centres=False)
    lut, _ = build(write(folder / "smooth.npz", table), grid)
    width = math.log(100.0) / 12
    allowed = (
        (0.5 * width) ** 2 / 24 + (1.0 * 0.25) ** 2 / 24 + 5.0 * WIDTH_ERROR / np.sqrt(tracks_per_cell(table, grid))
    )
    assert (np.abs(lut.covariance[0, ..., :5] - expected(lut)[0]) < allowed[..., None]).all()


def test_tails_hardly_move_sigma(folder):
    """5 % of tracks five times as wide: the central 68.27 % of the mixture is 5.8 % wider (the rms would be 48 %)."""
    lut, _ = build(write(folder / "tails.npz", make_tracks(200_000, 2, tails=0.05)))
    level = 2 * norm.cdf(1.0) - 1
    wider = brentq(lambda w: 0.95 * (2 * norm.cdf(w) - 1) + 0.05 * (2 * norm.cdf(w / 5) - 1) - level, 0.9, 1.2)
    assert 1.05 < wider < 1.06
    log_sigma, rho = expected(lut)
    moved = np.exp(lut.covariance[0, ..., :5] - log_sigma)
    n = 200_000 / (GRID.n_pt * GRID.n_eta)
    assert moved.mean() == pytest.approx(wider, abs=4.0 / math.sqrt(moved.size / 5 * n))
    assert moved.mean() < 1.07
    off = lut.covariance[0, ..., 5:] - rho  # the tails have the same correlations; clipping takes few off
    assert abs(off.mean()) < 0.005
    assert np.abs(off).max() < 5.0 / math.sqrt(0.9 * n) + 0.01


@pytest.mark.parametrize("n", [30, 100, 1000])
def test_half_the_central_width_is_unbiased(n):
    """Also with the fewest tracks that a cell may have; its spread is as documented."""
    n_cells = 6000
    cell = np.repeat(np.arange(n_cells), n)
    x = np.random.default_rng(n).normal(3.0, 2.0, len(cell))
    low, middle, high = _quantiles(x, cell, np.full(n_cells, n))
    sigma = 0.25 * (high - low)
    assert sigma.mean() == pytest.approx(1.0, abs=4.0 * WIDTH_ERROR / math.sqrt(n * n_cells))
    assert sigma.std() * math.sqrt(n) == pytest.approx(WIDTH_ERROR, abs=4.0 / math.sqrt(2 * n_cells) + 0.5 / n)
    assert middle.mean() == pytest.approx(3.0, abs=2.0 * 4.0 * 1.2533 / math.sqrt(n * n_cells))


def test_quantiles_are_numpy_s_normal_unbiased():
    generator = np.random.default_rng(3)
    sizes = np.array([31, 0, 200, 57])
    cell = np.repeat(np.arange(4), sizes)
    x = generator.normal(size=len(cell))
    for found, p in zip(_quantiles(x, cell, sizes), (norm.cdf(-1.0), 0.5, norm.cdf(1.0)), strict=True):
        for k in (0, 2, 3):
            assert found[k] == pytest.approx(np.quantile(x[cell == k], p, method="normal_unbiased"), abs=1e-12)
        assert math.isnan(found[1])


def test_width_error_is_that_of_two_quantiles():
    """Order statistics: cov(q_a, q_b) = a (1 - b) / (n f_a f_b)."""
    p, f = norm.cdf(-1.0), norm.pdf(1.0)
    assert math.sqrt((p * (1 - p) - p * p) / (2 * f * f)) == pytest.approx(WIDTH_ERROR, abs=5e-4)


# --- charges, species, radii, occupancy -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["residuals", "covariances"])
def test_negative_charges_make_the_same_table(folder, kind):
    """Correlations of transverse with longitudinal parameters are turned round; with one charge or the other."""
    luts = [
        build(write(folder / f"sign{negative}.npz", make_tracks(60_000, 4, negative=negative, kind=kind)))[0]
        for negative in (0.0, 1.0)
    ]
    assert (np.abs(luts[0].covariance[0, ..., 5:]).max(axis=(0, 1)) > 0.2).all()  # there is something to turn
    np.testing.assert_allclose(luts[0].covariance, luts[1].covariance, atol=2e-6)


@pytest.mark.parametrize("name", [kind.name for kind in SPECIES])
def test_every_species(folder, name):
    """Electrons and muons have positive codes for negative charges; helium has charge 2."""
    kind = by_name(name)
    table = make_tracks(20_000, 5, pdg=kind.pdg, grid=Grid(n_pt=2, n_eta=4, pt_min=0.2, pt_max=20.0, eta_max=1.5))
    path = write(folder / f"{name}.npz", table)
    grid = Grid(n_pt=2, n_eta=4, pt_min=0.2, pt_max=20.0, eta_max=1.5)
    lut, _ = build(path, grid, kind)
    assert species_in_sample(path) == [kind]
    assert (lut.header.pdg, lut.header.charge, lut.header.mass) == (kind.pdg, kind.charge, kind.mass)
    log_sigma, rho = expected(lut)
    n = 20_000 / 8
    np.testing.assert_allclose(lut.covariance[0, ..., :5], log_sigma, atol=5.5 * WIDTH_ERROR / math.sqrt(n))
    np.testing.assert_allclose(lut.covariance[0, ..., 5:], rho, atol=5.5 / math.sqrt(n))


def test_several_species_in_one_file(folder):
    """Read once, built twice; what is not tracked is passed over."""
    both = [make_tracks(30_000, 6), make_tracks(30_000, 7, pdg=2212)]
    photons = {name: np.full(10, np.nan) for name in both[0]} | {"pdg": np.full(10, 22)}
    path = write(folder / "both.npz", {k: np.concatenate([t[k] for t in (*both, photons)]) for k in both[0]})
    sample = read_sample(path)
    assert [kind.name for kind in species_in_sample(sample)] == ["pi", "pr"]
    alone, _ = build(write(folder / "alone.npz", both[1]), species=by_name("pr"))
    together, _ = build(sample, species=by_name("pr"))
    np.testing.assert_array_equal(together.covariance, alone.covariance)
    assert together.header.origin["tracks"] == 30_000


def test_efficiency_of_each_cell(folder):
    table = make_tracks(60_000, 8)
    generator = np.random.default_rng(9)
    truth = 0.9 - 0.2 * np.abs(table["eta_true"])
    found = generator.random(60_000) < truth
    for name in PARAMETERS:
        table[name] = np.where(found, table[name], np.nan)
    lut, _ = build(write(folder / "efficiency.npz", table | {"is_reconstructed": found}))
    n = tracks_per_cell(table)
    right, _, _ = np.histogram2d(table["eta_true"][found], table["pt_true"][found], (GRID.eta_edges, GRID.pt_edges))
    np.testing.assert_allclose(lut.efficiencies["every_hit_right"][0, 0], right / n, rtol=1e-6)
    middle = 0.9 - 0.2 * np.abs(GRID.eta_centers)[:, None]
    assert (np.abs(right / n - middle) < 5.0 * np.sqrt(middle * (1 - middle) / n)).all()


def test_efficiency_against_occupancy(folder):
    """In bins of dN_ch/deta; the outer ones hold what lies beyond, an empty one takes its neighbour's."""
    grid = GRID.model_copy(update={"n_dnch": 4, "dnch_min": 1.0, "dnch_max": 1e4})
    table = make_tracks(120_000, 10)
    generator = np.random.default_rng(11)
    dnch = 10.0 ** generator.choice([-0.5, 0.5, 1.5, 3.5, 4.5], 120_000)  # nothing between 100 and 1000
    found = generator.random(120_000) < 0.95 - 0.1 * np.log10(dnch)
    path = write(folder / "occupancy.npz", table | {"is_reconstructed": found, "dnch_deta": dnch})
    lut, notes = build(path, grid)
    efficiency = lut.efficiencies["every_hit_right"]
    assert efficiency.shape == (4, 1, 6, 5)
    mean = efficiency.mean(axis=(1, 2, 3))
    assert mean[[0, 1, 3]] == pytest.approx(
        [0.95, 0.8, 0.55], abs=0.015
    )  # means of what a bin holds: -.5 and .5; 3.5, 4.5
    np.testing.assert_array_equal(efficiency[2], efficiency[1])  # the nearer one of two at the same distance: the lower
    assert notes[1:] == [
        f"{np.count_nonzero((dnch < 1) | (dnch > 1e4))} rows beyond the axis of dN_ch/deta were counted in its outer bins",
        "30 bins in dN_ch/deta of filled cells have fewer than 30 rows and took the nearest one's",
    ]
    assert build(write(folder / "no_occupancy.npz", table), grid)[0].header.grid.n_dnch == 1


def test_few_rows_in_every_occupancy_bin_take_the_cell_s_efficiency(folder):
    grid = Grid(n_pt=2, n_eta=2, pt_min=0.2, pt_max=20.0, eta_max=1.5, n_dnch=50, dnch_min=1.0, dnch_max=1e4)
    dnch = 10.0 ** np.random.default_rng(12).uniform(0, 4, 400)
    found = np.arange(400) % 4 > 0
    lut, _ = build(write(folder / "few.npz", make_tracks(400, 13, dnch_deta=dnch, is_reconstructed=found)), grid)
    efficiency = lut.efficiencies["every_hit_right"]
    assert (efficiency == efficiency[0]).all()
    assert efficiency.mean() == pytest.approx(0.75, abs=0.05)


def test_bins_of_the_production_radius(folder):
    """Each bin from its own tracks; half-open, the last one closed."""
    grid = GRID.model_copy(update={"r_edges": [0.0, 1.0, 10.0]})
    near, far = make_tracks(60_000, 14), make_tracks(60_000, 15)
    for name, true in zip(PARAMETERS, TRUE, strict=True):
        if name != "phi":
            far[name] = far[true] + 3.0 * (far[name] - far[true])
    radii = np.concatenate([np.full(60_000, 0.5), np.resize([1.0, 5.0, 10.0], 60_000)])
    table = {name: np.concatenate([near[name], far[name]]) for name in near} | {"r": radii}
    lut, _ = build(write(folder / "radii.npz", table), grid)
    ratio = np.exp(lut.covariance[1, ..., :5] - lut.covariance[0, ..., :5]).mean(axis=(0, 1))
    assert ratio == pytest.approx([3, 3, 1, 3, 3], rel=0.02)
    one, _ = build(folder / "radii.npz")
    assert one.header.grid.r_edges == [0.0, 10.0]  # as far as the sample goes
    assert build(write(folder / "no_radii.npz", near))[0].header.grid.r_edges == [0.0, 100.0]
    assert build(write(folder / "prompt.npz", near | {"r": np.zeros(60_000)}))[0].header.grid.r_edges == [0.0, 100.0]


# --- formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["residuals", "covariances"])
def test_three_formats_make_one_table(folder, kind, monkeypatch):
    """In several pieces each; rows that were not found are empty in CSV."""
    monkeypatch.setattr(sample_file, "_BYTES", 50_000)
    monkeypatch.setattr(sample_file, "_ROWS", 777)
    table = make_tracks(3000, 16, kind=kind, is_reconstructed=np.arange(3000) % 3 > 0)
    for name in COVARIANCE if kind == "covariances" else PARAMETERS:
        table[name] = np.where(table["is_reconstructed"], table[name], np.nan)
    grid = Grid(n_pt=2, n_eta=2, pt_min=0.2, pt_max=20.0, eta_max=1.5)
    paths = [write(folder / f"format.{suffix}", table) for suffix in ("npz", "csv", "root")]
    assert "True" in paths[1].read_text()
    assert ",," in paths[1].read_text()
    luts = [build(path, grid)[0] for path in [*paths, folder / "format.root:tracks"]]
    for lut in luts:
        np.testing.assert_allclose(lut.covariance, luts[0].covariance, rtol=1e-6)
        np.testing.assert_array_equal(lut.efficiencies["every_hit_right"], luts[0].efficiencies["every_hit_right"])
        assert lut.efficiencies["every_hit_right"].mean() == pytest.approx(2 / 3, abs=0.02)
    assert [lut.header.origin["file"] for lut in luts] == [
        "format.npz",
        "format.csv",
        "format.root",
        "format.root:tracks",
    ]


def test_an_rntuple_is_as_good_as_a_tree(folder):
    table = make_tracks(3000, 38)
    with uproot.recreate(folder / "ntuple.root") as file:
        file["tracks"] = table
    lut, _ = build(folder / "ntuple.root")
    np.testing.assert_array_equal(lut.covariance, build(write(folder / "ntuple.npz", table))[0].covariance)


def test_other_ways_to_write_a_csv(folder):
    """CR LF, byte-order mark, quoted names, a # before the header, spaces, integers, empty lines at the end."""
    path = write(folder / "plain.csv", make_tracks(300, 17))
    grid = Grid(n_pt=2, n_eta=2, pt_min=0.2, pt_max=20.0, eta_max=1.5)
    plain = build(path, grid)[0]
    header, *rows = path.read_text().splitlines()
    quoted = ",".join(f'"{name}"' for name in header.split(","))
    for text in (
        f"# {header}\r\n" + "\r\n".join(rows),
        f"\ufeff{quoted}\n" + "\n".join(row.replace(",", " , ") for row in rows) + "\n\n  \n",
    ):
        other = folder / "other.csv"
        other.write_text(text, encoding="utf-8", newline="")
        np.testing.assert_array_equal(build(other, grid)[0].covariance, plain.covariance)


def test_header_says_where_it_comes_from(folder, tmp_path):
    path = write(folder / "origin.npz", make_tracks(3000, 18))
    lut, _ = build(path)
    header = lut.header
    assert header.origin == {
        "kind": "sample",
        "file": "origin.npz",
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "tracks": 3000,
    }
    assert (header.species, header.detector, header.b_z, header.command) == ("pi", "full", 2.0, "a test")
    assert not header.mirrored
    write_lut(lut, tmp_path / "pi.lut")
    again = read_lut(tmp_path / "pi.lut")
    assert again.header == header
    np.testing.assert_array_equal(again.covariance, lut.covariance)


def test_key_depends_on_sample_species_grid_and_field(folder):
    path = write(folder / "key.npz", make_tracks(3000, 19))
    other = write(folder / "key2.npz", make_tracks(3000, 20))
    same = folder / "renamed.npz"
    same.write_bytes(path.read_bytes())
    key = build(path)[0].header.key
    assert build(same)[0].header.key == key
    coarse = GRID.model_copy(update={"n_pt": 4})
    keys = {key, build(other)[0].header.key, build(path, coarse)[0].header.key}
    keys.add(build_from_sample(path, PION, GRID, detector="full", b_z=1.0, command="")[0].header.key)
    assert len(keys) == 4


# --- what is stored -------------------------------------------------------------------------------------------------


def test_cells_with_too_few_tracks_have_no_solution(folder):
    """29 are too few, 30 are enough."""
    grid = Grid(n_pt=2, n_eta=2, pt_min=0.1, pt_max=10.0, eta_max=1.0)
    table = make_tracks(400, 21, grid=grid)
    cell = 2 * (table["eta_true"] > 0) + (table["pt_true"] > 1)
    keep = np.concatenate([np.flatnonzero(cell == k)[:n] for k, n in enumerate((MIN_TRACKS - 1, MIN_TRACKS, 60, 0))])
    lut, notes = build(write(folder / "few_tracks.npz", {k: v[keep] for k, v in table.items()}), grid)
    assert lut.is_valid.ravel().tolist() == [False, True, True, False]
    assert lut.efficiencies["every_hit_right"].ravel().tolist() == [0, 1, 1, 0]
    assert np.isnan(lut.covariance[~lut.is_valid]).all()
    assert notes == [
        "a filled cell holds 45 reconstructed tracks in the median: sigma is known to 14.3%, correlations to 0.15",
        "2 of 4 cells have no solution: fewer than 30 reconstructed tracks",
    ]


def test_rows_outside_the_grid_are_counted(folder):
    table = make_tracks(20_000, 22)
    small = GRID.model_copy(update={"eta_max": 1.0})
    lut, notes = build(write(folder / "outside.npz", table), small)
    n_outside = np.count_nonzero(np.abs(table["eta_true"]) > 1.0)
    assert notes[-1] == f"{n_outside} of 20000 rows lie outside the grid and were left out"
    assert lut.header.origin["tracks"] == 20_000 - n_outside


def test_edges_are_half_open_and_the_last_bin_closed(folder):
    grid = Grid(n_pt=2, n_eta=2, pt_min=0.1, pt_max=10.0, eta_max=1.0)
    table = make_tracks(400, 23, grid=grid)
    eta, pt = np.resize([-1.0, 0.0, 1.0], 400), np.resize([0.1, 1.0, 10.0, 10.0], 400)
    table |= {
        "eta_true": eta,
        "pt_true": pt,
        "tan_lambda": table["tan_lambda"] - table["tan_lambda_true"] + np.sinh(eta),
    }
    sign = np.sign(table["pdg"])
    table |= {"tan_lambda_true": np.sinh(eta), "q_over_pt": table["q_over_pt"] - table["q_over_pt_true"] + sign / pt}
    lut, notes = build(write(folder / "edges.npz", table | {"q_over_pt_true": sign / pt}), grid)
    assert lut.is_valid.all()
    assert lut.header.origin["tracks"] == 400
    assert len(notes) == 1


def test_offsets_are_told(folder):
    table = make_tracks(60_000, 24)
    table["dca_z"] = table["dca_z"] + 0.5 * sigma_at(table["pt_true"], table["eta_true"])[:, 1]
    lut, notes = build(write(folder / "offset.npz", table))
    assert notes[1:] == ["dca_z is off by 0.51 sigma in the median cell: the table holds resolutions, no offsets"]
    np.testing.assert_allclose(lut.covariance[0, ..., 1], expected(lut)[0][..., 1], atol=0.15)


def test_full_correlations_stay_positive_definite_as_stored(folder):
    """phi and q/pt all but the same: drawn in by at most 1e-4, and a covariance still."""
    table = make_tracks(20_000, 25)
    for name, factor in (("phi", -0.2), ("dca_xy", 0.3)):
        table[name] = table[f"{name}_true"] + factor * (table["q_over_pt"] - table["q_over_pt_true"])
    table["dca_xy"] += 1e-9 * np.random.default_rng(26).normal(size=20_000)
    lut, _ = build(write(folder / "full.npz", table))
    for row in lut.covariance.reshape(-1, 15).astype(np.float64):
        matrix = np.eye(5)
        matrix[np.tril_indices(5, -1)] = row[5:]
        np.linalg.cholesky(matrix + np.tril(matrix, -1).T)
        assert row[5 + 7] == pytest.approx(0.0, abs=1.0)
        assert abs(row[5 + 8]) > 0.9998  # q_over_pt with phi


# --- what cannot be used --------------------------------------------------------------------------------------------


def complaint(path, error=InputError, grid=GRID, species=PION):
    with pytest.raises(error) as caught:
        build(path, grid, species)
    assert str(path) in caught.value.where
    return caught.value


def small_table(**columns):
    return make_tracks(12, 27) | columns


def replaced(name, row, value):
    table = small_table()
    column = table.get(name, np.ones(12)).astype(np.float64)
    column[row] = value
    return table | {name: column}


def test_no_such_file(tmp_path):
    assert complaint(tmp_path / "no.csv").what == "no such file"
    assert complaint(tmp_path / "no.root:tracks").what == "no such file"


def test_other_kinds_of_file(tmp_path):
    (tmp_path / "tracks.parquet").write_bytes(b"PAR1")
    assert complaint(tmp_path / "tracks.parquet").what == "a sample is a file .csv, .npz, .root (got '.parquet')"


@pytest.mark.parametrize("suffix", ["npz", "root"])
def test_damaged_files(tmp_path, suffix):
    path = write(tmp_path / f"whole.{suffix}", small_table())
    path.write_bytes(path.read_bytes()[:300])
    assert complaint(path).what.startswith(f"not a whole {'.npz' if suffix == 'npz' else 'ROOT'} file (")
    path.write_text("not a file of that kind")
    assert complaint(path).what.startswith(f"not a whole {'.npz' if suffix == 'npz' else 'ROOT'} file (")


def test_npy_is_no_npz(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    (tmp_path / "array.npz").write_bytes(buffer.getvalue())
    assert complaint(tmp_path / "array.npz").what.startswith("not a whole .npz file (")


def test_trees(tmp_path):
    with uproot.recreate(tmp_path / "two.root") as file:
        write_tree(file, "noise", {"x": np.zeros(3)})
        write_tree(file, "tracks", make_tracks(3000, 28))
    error = complaint(tmp_path / "two.root")
    assert error.what == "unknown column 'x'"
    assert error.where.endswith("two.root:noise")
    assert complaint(tmp_path / "two.root:trakcs", grid=GRID).what == "no tree 'trakcs' (there are: noise, tracks)"
    assert build(tmp_path / "two.root:tracks")[0].header.origin["tracks"] == 3000
    with uproot.recreate(tmp_path / "none.root") as file:
        file["text"] = "no tree"
    assert complaint(tmp_path / "none.root").what == "no tree (there are: none)"


@pytest.mark.parametrize("suffix", ["csv", "npz", "root"])
@pytest.mark.parametrize("name", ["pdg", "pt_true", "eta_true", "phi", "q_over_pt_true"])
def test_missing_columns(tmp_path, suffix, name):
    table = small_table()
    del table[name]
    error = complaint(write(tmp_path / f"tracks.{suffix}", table))
    assert error.what == f"missing column {name}"
    assert error.hint.startswith(
        "a sample has pdg, pt_true, eta_true; dca_xy, dca_z, phi, tan_lambda, q_over_pt and each"
    )


def test_no_values_at_all(tmp_path):
    table = {name: small_table()[name] for name in ("pdg", "pt_true", "eta_true")}
    assert complaint(write(tmp_path / "tracks.csv", table)).what == f"missing columns {', '.join((*PARAMETERS, *TRUE))}"


def test_missing_covariance_elements(tmp_path):
    table = make_tracks(12, 29, kind="covariances")
    del table["cov_phi_dca_xy"]
    assert complaint(write(tmp_path / "tracks.csv", table)).what == "missing column cov_phi_dca_xy"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("is_reco", "unknown column 'is_reco' (did you mean is_reconstructed?)"),
        ("cov_dca_xy_dca_z", "unknown column 'cov_dca_xy_dca_z' (did you mean cov_dca_z_dca_xy?)"),
        ("event", "unknown column 'event'"),
        ("R", "unknown column 'R'"),
    ],
)
def test_unknown_columns(tmp_path, name, what):
    found = complaint(write(tmp_path / "tracks.npz", small_table(**{name: np.zeros(12)})))
    assert found.what.startswith(what)


def test_both_kinds_of_columns(tmp_path):
    table = small_table() | make_tracks(12, 27, kind="covariances")
    what = complaint(write(tmp_path / "tracks.csv", table)).what
    assert what == "both dca_xy and cov_dca_xy_dca_xy: parameters or covariances, not both"


def test_a_column_twice(tmp_path):
    path = write(tmp_path / "tracks.csv", small_table())
    path.write_text(path.read_text().replace("dca_z_true", "dca_z", 1))
    assert complaint(path).what == "columns given twice: dca_z"


def test_other_separators(tmp_path):
    path = write(tmp_path / "tracks.csv", small_table())
    path.write_text(path.read_text().replace(",", ";"))
    assert complaint(path).what.startswith("unknown column 'pdg;pt_true;eta_true;")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda row: [*row[:3], "abc", *row[4:]], "dca_xy_true is 'abc' in line 4: a number is needed"),
        (lambda row: [*row[:3], '"1.0"', *row[4:]], "dca_xy_true is '\"1.0\"' in line 4: a number is needed"),
        (lambda row: row[:-1], "12 cells in line 4, the header has 13"),
        (lambda row: [*row, "1"], "14 cells in line 4, the header has 13"),
        (lambda _: [], "0 cells in line 4, the header has 13"),
        (lambda _: ["# a comment"], "1 cells in line 4, the header has 13"),
        (lambda row: ["", *row[1:]], "pdg is nan in line 4: a PDG particle code is needed"),
        (lambda row: ["True", *row[1:]], "pdg is 'True' in line 4: a number is needed"),
        (
            lambda row: [*row[:-1], ""],
            f"q_over_pt is nan in line 4: {NEED}",
        ),
    ],
)
def test_lines_that_are_no_rows(tmp_path, change, what):
    path = write(tmp_path / "tracks.csv", small_table())
    lines = path.read_text().splitlines()
    lines[3] = ",".join(change(lines[3].split(",")))
    path.write_text("\n".join(lines))
    assert complaint(path).what == what


def test_a_header_with_more_names_than_every_row(tmp_path):
    path = write(tmp_path / "tracks.csv", small_table())
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row.rsplit(",", 1)[0] for row in rows)]))
    assert complaint(path).what == "12 cells in line 2, the header has 13"


def test_numbers_that_only_python_reads(tmp_path):
    path = write(tmp_path / "tracks.csv", small_table())
    path.write_text(path.read_text().replace("211,", "2_11,"))
    assert complaint(path).what.startswith("no table of numbers from line 2 on (could not convert string '2_11'")


def test_damaged_branches(tmp_path):
    path = write(tmp_path / "tracks.root", make_tracks(3000, 39))
    content = bytearray(path.read_bytes())
    at = content.find(b"ZL", len(content) // 2)  # a compressed basket
    content[at + 20 : at + 200] = bytes(180)
    path.write_bytes(content)
    assert complaint(path).what.startswith("a branch cannot be read (")


def test_line_numbers_are_right_behind_the_first_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_file, "_BYTES", 700)
    path = write(tmp_path / "tracks.csv", make_tracks(100, 30))
    lines = path.read_text().splitlines()
    lines[76] = lines[76].replace(",", ",x", 1)
    path.write_text("\n".join(lines))
    assert "in line 77: a number is needed" in complaint(path).what
    lines[76] = ",".join(["211", "-1.0", *lines[76].split(",")[2:]])
    path.write_text("\n".join(lines))
    assert complaint(path).what == "pt_true is -1 in line 77: must be above 0 GeV"


@pytest.mark.parametrize(
    ("name", "value", "need"),
    [
        ("pdg", 211.5, "a PDG particle code is needed"),
        ("pdg", 1e300, "a PDG particle code is needed"),
        ("pt_true", 0.0, "must be above 0 GeV"),
        ("pt_true", math.nan, "must be above 0 GeV"),
        ("pt_true", math.inf, "must be above 0 GeV"),
        ("eta_true", math.inf, "must be finite"),
        ("r", -1.0, "must not be below 0"),
        ("r", math.nan, "must not be below 0"),
        ("dnch_deta", -3.0, "must not be below 0"),
        ("is_reconstructed", 2.0, "must be 0 or 1 (true or false)"),
        ("is_reconstructed", math.nan, "must be 0 or 1 (true or false)"),
        ("dca_z", math.nan, NEED),
        ("tan_lambda_true", math.inf, NEED),
        ("phi", 90.0, "must be in radian"),
        ("phi_true", -180.0, "must be in radian"),
    ],
)
@pytest.mark.parametrize("suffix", ["npz", "root"])
def test_values_that_cannot_be(tmp_path, suffix, name, value, need, monkeypatch):
    monkeypatch.setattr(sample_file, "_ROWS", 5)
    what = complaint(write(tmp_path / f"tracks.{suffix}", replaced(name, 7, value))).what
    assert what == f"{name} is {value:.10g} in row 7 (the first is 0): {need}"


def test_rows_are_named_by_the_file_s_numbers(tmp_path):
    """Rows that are passed over count."""
    table = replaced("pt_true", 7, -1.0)
    table["pdg"][:5] = 22
    what = complaint(write(tmp_path / "tracks.npz", table)).what
    assert what == "pt_true is -1 in row 7 (the first is 0): must be above 0 GeV"


@pytest.mark.parametrize(
    ("name", "value", "need"),
    [
        ("cov_phi_phi", 0.0, "a variance is positive"),
        ("cov_phi_dca_xy", 1e3, "a correlation lies within -1 and 1"),
        ("cov_tan_lambda_dca_z", math.nan, NEED),
    ],
)
def test_covariances_that_cannot_be(tmp_path, name, value, need):
    table = make_tracks(12, 31, kind="covariances")
    table[name][7] = value
    what = complaint(write(tmp_path / "tracks.npz", table)).what
    assert what == f"{name} is {value:.10g} in row 7 (the first is 0): {need}"


def test_covariances_that_are_none_together(tmp_path):
    """Each element is possible, the matrix is not: columns in the wrong order look like this."""
    table = make_tracks(20_000, 32, kind="covariances")
    sigma = {i: np.sqrt(table[COVARIANCE[k]]) for k, (i, j) in enumerate(PAIRS) if i == j}
    for name, i, j, rho in (
        ("cov_dca_z_dca_xy", 1, 0, 0.9),
        ("cov_phi_dca_xy", 2, 0, 0.9),
        ("cov_phi_dca_z", 2, 1, -0.9),
    ):
        table[name] = rho * np.where(table["pdg"] > 0, 1.0, -1.0 if 1 in (i, j) else 1.0) * sigma[i] * sigma[j]
    error = complaint(write(tmp_path / "tracks.npz", table))
    assert error.what == "the covariance at pt = 0.317 GeV, eta = -1.25 is not positive definite"
    assert error.hint == "two parameters are fully correlated there, or columns are confused"


def test_units_and_conventions(tmp_path):
    """Momenta in MeV; 1/pt instead of q/pt; the wrong sign; theta for tan(lambda)."""
    table = small_table()
    mev = table | {"pt_true": 1e4 * table["pt_true"], "q_over_pt_true": 1e-4 * table["q_over_pt_true"]}
    error = complaint(write(tmp_path / "mev.npz", mev))
    assert error.what == "pt_true is above 1000 in every row"
    assert error.hint == "pt_true is in GeV; these may be MeV"
    mixed = complaint(write(tmp_path / "mixed.npz", table | {"pt_true": 1e3 * table["pt_true"]}))
    assert "is not the charge of pdg over pt_true [1/GeV]" in mixed.what
    for change in (np.abs, np.negative):
        other = table | {"q_over_pt_true": change(table["q_over_pt_true"])}
        assert "q_over_pt_true is " in complaint(write(tmp_path / "sign.npz", other)).what
    theta = table | {"tan_lambda_true": 2 * np.arctan(np.exp(-table["eta_true"]))}
    assert complaint(write(tmp_path / "theta.npz", theta)).what.endswith("is not sinh(eta_true)")


def test_helium_with_one_over_pt(tmp_path):
    """q/pt of a charge of 2 is 2 / pt."""
    table = make_tracks(12, 33, pdg=1000020030)
    table["q_over_pt_true"] = table["q_over_pt_true"] / 2
    assert "is not the charge of pdg over pt_true" in complaint(write(tmp_path / "he3.npz", table)).what


def test_reconstructed_is_true(tmp_path):
    """The truth given for what was reconstructed."""
    table = make_tracks(3000, 34)
    table["dca_z"] = table["dca_z_true"]
    error = complaint(write(tmp_path / "tracks.npz", table))
    assert error.what == "dca_z equals dca_z_true at pt = 0.317 GeV, eta = -1.25: there is no resolution"
    assert error.hint == "dca_z must be what was reconstructed, dca_z_true what was generated"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"pdg": np.array(["pi"] * 12)}, "pdg is not one number a row (got <U2)"),
        ({"phi": np.zeros((12, 2))}, "columns must be arrays of one length (got "),
        ({"phi": np.zeros(11)}, "columns must be arrays of one length (got "),
        ({"phi": np.array([None] * 12)}, "not a whole .npz file (Object arrays cannot be loaded"),
    ],
)
def test_arrays_of_other_kinds(tmp_path, change, what):
    np.savez(tmp_path / "tracks.npz", **(small_table() | change))
    assert complaint(tmp_path / "tracks.npz").what.startswith(what)


def test_branches_with_lists(tmp_path):
    table = {k: v for k, v in small_table().items() if k != "phi"} | {"phi": ak.Array([[1.0], [2.0, 3.0]] * 6)}
    with uproot.recreate(tmp_path / "lists.root") as file:
        file["tracks"] = table
    assert complaint(tmp_path / "lists.root").what.startswith("phi is not one number a row (got object")
    with uproot.recreate(tmp_path / "tree.root") as file:
        file.mktree("tracks", {k: "var * float64" if k == "phi" else v.dtype for k, v in table.items()}).extend(table)
    assert complaint(tmp_path / "tree.root").what == "unknown column 'nphi' (did you mean phi?)"


def test_no_rows(tmp_path):
    path = write(tmp_path / "tracks.csv", small_table())
    header = path.read_text().splitlines()[0]
    for text in (header, f"{header}\n", f"{header}\n\n \n"):
        path.write_text(text)
        assert complaint(path).what == "no row holds a tracked species"
    path.write_text("")
    assert complaint(path).what == "unknown column ''"
    for suffix in ("npz", "root"):
        empty = write(tmp_path / f"tracks.{suffix}", {name: column[:0] for name, column in small_table().items()})
        assert complaint(empty).what == "no row holds a tracked species"


def test_other_species_only(tmp_path):
    path = write(tmp_path / "tracks.npz", small_table() | {"pdg": np.full(12, 22)})
    error = complaint(path)
    assert error.what == "no row holds a tracked species"
    assert error.hint.startswith("pdg codes of tracked species: 11, 13, 211, 321, 2212, 1000010020,")
    path = write(tmp_path / "pions.npz", small_table())
    assert complaint(path, species=by_name("ka")).what == "no rows of ka (there are pi)"


def test_nothing_within_the_grid(tmp_path):
    table = make_tracks(300, 35)
    grid = Grid(n_pt=2, n_eta=2, pt_min=200.0, pt_max=2000.0, eta_max=1.5)
    error = complaint(write(tmp_path / "tracks.npz", table), LutError, grid)
    assert error.what.startswith("no row lies in the grid: the sample has eta from -1.4")
    assert error.hint == "change the grid's axes; pt is in GeV"


def test_too_few_tracks_for_any_cell(tmp_path):
    table = make_tracks(300, 36)
    found = tracks_per_cell(table).max()
    error = complaint(write(tmp_path / "tracks.npz", table), LutError)
    assert error.what == f"no cell holds 30 reconstructed tracks of pi; the fullest holds {found:.0f}"
    assert error.hint == "use fewer bins in pt and eta, or more tracks"
    none = write(tmp_path / "none.npz", table | {"is_reconstructed": np.zeros(300)})
    assert complaint(none, LutError).what.endswith("the fullest holds 0")
    assert species_in_sample(none) == []


def test_radius_bins_need_radii(tmp_path):
    grid = GRID.model_copy(update={"r_edges": [0.0, 1.0, 10.0]})
    what = complaint(write(tmp_path / "tracks.npz", make_tracks(300, 37)), grid=grid).what
    assert what == "no column r, but the grid has bins of the production radius"


def test_a_file_with_a_colon_in_its_name(tmp_path):
    path = tmp_path / "a.root:b"
    path.write_text("x")
    assert complaint(path).what == "a sample is a file .csv, .npz, .root (got '.root:b')"


def test_note_on_dca_that_is_not_in_cm(tmp_path):
    table = make_tracks(6000)
    for name in ("dca_xy", "dca_xy_true"):
        table[name] = 1e4 * table[name]  # um
    _, notes = build_from_sample(write(tmp_path / "a.npz", table), PION, GRID, detector="d", b_z=1.0, command="")
    assert any(note.startswith("sigma of dca_xy is ") and note.endswith(": is dca_xy in cm?") for note in notes)


def test_flipped_sign_of_the_charge(tmp_path):
    """Of most tracks it is a mistake; some have it at the highest pt."""
    table = make_tracks(600)
    table["q_over_pt"][:200] *= -1
    assert len(read_sample(write(tmp_path / "few.npz", table)).pt) == 600
    table["q_over_pt"] *= -1
    table["q_over_pt"][:50] *= -1
    with pytest.raises(InputError, match=r"q_over_pt has the other sign than the charge of pdg in 450 of 600 tracks"):
        read_sample(write(tmp_path / "most.npz", table))
