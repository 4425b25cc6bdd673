"""`fastsim lut`: tables are built, checked, shown, drawn, compared, imported and exported, and what is wrong is told."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastsim as package
from fastsim.columns import PARAMETERS
from fastsim.luts import Grid, build_lut, plot, read_lut, write_lut
from fastsim.luts.diff import compare_luts
from fastsim.luts.file import unfold
from fastsim.species import NAMES, by_name
from tests.lutcovm_files import AXES, Axis, pack_file, random_covm

SMALL = Grid(n_pt=20, n_eta=8, n_dnch=3)
FORMULAS = """
schema_version = 1
name = "formulas"
source = "a test"
b_z = 3.0
r_edges = [0.0, 10.0]

[[formulas]]
species = ["mu", "pi"]
efficiency = "0.5"
sigma_pt_over_pt = "0.01"
sigma_dca_xy = "0.001"
sigma_dca_z = "0.002"
sigma_phi = "0.0001"
sigma_tan_lambda = "0.0002"
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> list[Path]:
    """Pions and kaons of alice3_v2."""
    folder = tmp_path_factory.mktemp("tables")
    detector = package.load_detector("alice3_v2")
    for name in ("pi", "ka"):
        write_lut(build_lut(detector, by_name(name), SMALL), folder / f"{name}.lut")
    return [folder / "pi.lut", folder / "ka.lut"]


@pytest.fixture
def covm(tmp_path) -> Path:
    path = tmp_path / "lutCovm.pi.5kG.rmin20.dat"
    path.write_bytes(pack_file())
    return path


# --- build ---


def test_build(fastsim, tmp_path):
    options = [
        "--pt-bins",
        6,
        "--eta-bins",
        4,
        "--dnch-bins",
        2,
        "--r-edges",
        "0,1,20",
        "--pt-range",
        0.1,
        50,
        "--eta-max",
        2,
    ]
    done = fastsim("lut", "build", "alice3_v2", "--out", tmp_path, "--species", "pi", "--species", "al", *options)
    assert done.code == 0
    files = sorted(tmp_path.glob("*.lut"))
    assert [file.name.rsplit(".", 2)[0] for file in files] == ["alice3_v2.al", "alice3_v2.pi"]
    for file in files:
        line = next(line for line in done.out.splitlines() if line.startswith(str(file)))
        assert line.endswith(" us per bin")
        assert " MB, " in line
    grid = read_lut(files[1]).header.grid
    assert (grid.n_pt, grid.n_eta, grid.pt_min, grid.pt_max, grid.eta_max) == (6, 4, 0.1, 50.0, 2.0)
    assert grid.r_edges == [0.0, 1.0, 20.0]
    assert fastsim("lut", "check", *files, "--detector", "alice3_v2").code == 0


def test_build_of_formulas_is_of_the_species_that_they_are_for(fastsim, tmp_path):
    (tmp_path / "f.toml").write_text(FORMULAS)
    done = fastsim("lut", "build", tmp_path / "f.toml", "--out", tmp_path, "--pt-bins", 4, "--eta-bins", 2)
    assert done.code == 0
    assert sorted(file.name.split(".")[1] for file in tmp_path.glob("*.lut")) == ["mu", "pi"]


def test_build_where_the_coarsest_grid_has_no_track(fastsim, tmp_path):
    """The kernels are compiled on a grid of 2 x 2 cells, which may be empty."""
    done = fastsim(
        "lut",
        "build",
        "alice3_v2",
        "--out",
        tmp_path,
        "--species",
        "pi",
        "--pt-range",
        0.01,
        0.1,
        "--pt-bins",
        50,
        "--eta-bins",
        2,
    )
    assert done.code == 0


def test_build_into_a_file(fastsim, tmp_path):
    (tmp_path / "file").touch()
    done = fastsim(
        "lut", "build", "alice3_v2", "--out", tmp_path / "file", "--species", "pi", "--pt-bins", 4, "--eta-bins", 2
    )
    assert done.code == 2
    assert f"error: {tmp_path / 'file'}/alice3_v2.pi." in done.err
    assert "cannot be written (" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["build", "alice3_v2", "--species", "xi"], "--species xi: not a tracked species\nhint: allowed: el, mu, pi, "),
        (["build", "alice3_v2", "--pt-range", "5", "1"], "--pt-range 5 1: must increase and be positive"),
        (["build", "alice3_v2", "--r-edges", "0,5,1"], "--r-edges 0,5,1: must be numbers that begin at 0 and increase, "),
        (["build", "alice3_v2", "--r-edges", "1,5"], "--r-edges 1,5: must be numbers that begin at 0"),
        (["build", "alice3_v2", "--r-edges", "0,a"], "--r-edges 0,a: must be numbers that begin at 0"),
        (["build"], "give a DETECTOR; or --from-sample with --b-z, --name and --out, and no detector"),
        (["build", "alice3_v2", "--b-z", "1"], "give a DETECTOR; or --from-sample with"),
        (["build", "alice3_v2", "--from-sample", "a.csv", "--b-z", "1", "--name", "a", "--out", "x"], "give a DETECTOR; or"),
        (["build", "--from-sample", "a.csv", "--b-z", "1", "--name", "a"], "give a DETECTOR; or --from-sample with"),
        (["build", "--from-sample", "a.csv", "--b-z", "0", "--name", "a", "--out", "x"], "--b-z 0: must be up to 20 T, and not"),
        (["build", "--from-sample", "a.csv", "--b-z", "1", "--name", "a b", "--out", "x"], "--name a b: may hold letters, "),
        (["show", "alice3_v2", "--species", "xi"], "--species xi: not a tracked species"),
        (["import", "a.dat", "--out", "x", "--name", "a/b"], "--name a/b: may hold letters, "),
    ],
)  # fmt: skip
def test_usage(fastsim, words, message):
    done = fastsim("lut", *words)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")


def test_build_from_a_sample(fastsim, tmp_path):
    """Gaussian residuals of known width come back, and the detector file finds the tables."""
    generator = np.random.default_rng(1)
    n = 6000
    sigma = [0.001, 0.002, 1e-4, 2e-4, 0.01]
    columns = {
        "pdg": np.where(np.arange(n) % 2, 211, 321), "pt_true": np.exp(generator.uniform(np.log(0.5), np.log(5.0), n)),
        "eta_true": generator.uniform(-1, 1, n),
    }  # fmt: skip
    true = [0.0, 0.0, generator.uniform(-3, 3, n), np.sinh(columns["eta_true"]), 1 / columns["pt_true"]]
    for name, value, width in zip(PARAMETERS, true, sigma, strict=True):
        columns[f"{name}_true"] = np.broadcast_to(value, n)
        columns[name] = value + width * generator.normal(size=n)
    np.savez(tmp_path / "sample.npz", **columns)
    grid = ["--pt-bins", 2, "--eta-bins", 2, "--pt-range", 0.5, 5, "--eta-max", 1]
    words = [
        "lut",
        "build",
        "--from-sample",
        tmp_path / "sample.npz",
        "--b-z",
        3.8,
        "--name",
        "mydet",
        "--out",
        tmp_path / "out",
    ]
    done = fastsim(*words, *grid)
    assert done.code == 0
    assert [Path(line).name for line in done.out.splitlines()] == ["mydet.pi.lut", "mydet.ka.lut", "mydet.toml"]
    assert "note: pi: a filled cell holds" in done.err
    detector = package.load_detector(tmp_path / "out" / "mydet.toml")
    assert (detector.name, detector.b_z, [table.species for table in detector.tables]) == ("mydet", 3.8, ["pi", "ka"])
    lut = read_lut(tmp_path / "out" / "mydet.pi.lut")
    assert lut.header.b_z == 3.8
    assert lut.sigma("dca_z", 0.5) == pytest.approx(0.002, rel=0.15)
    assert (
        fastsim("lut", "check", tmp_path / "out" / "mydet.pi.lut", "--detector", tmp_path / "out" / "mydet.toml").code
        == 0
    )
    done = fastsim(*words, *grid, "--species", "pi")
    assert done.code == 2
    assert "mydet.pi.lut: exists already" in done.err
    done = fastsim(*words, *grid, "--species", "pi", "--overwrite")
    assert (done.code, len(done.out.splitlines())) == (0, 2)
    for species in ([], ["--species", "pi"]):
        done = fastsim("lut", "build", tmp_path / "out" / "mydet.toml", "--out", tmp_path, *species)
        assert (done.code, done.err) == (2, "error: mydet is made of ready tables: there is nothing to build\n")


# --- check ---


def test_check(fastsim, tables, covm):
    done = fastsim("lut", "check", *tables, covm)
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{tables[0]}: fine, pi in alice3_v2, ")
    assert lines[0].endswith(" cells have a track; every_hit_right, no_wrong_pair")
    assert lines[2].startswith(f"{covm}: fine, pi in 5kG.rmin20, 20 of 20 cells have a track; ")


def test_check_tells_all_faults(fastsim, tables, tmp_path):
    matrices = random_covm()
    matrices[0, 1, 3, 1] = 2 * np.sqrt(matrices[0, 1, 3, 0] * matrices[0, 1, 3, 2])
    (tmp_path / "bad.dat").write_bytes(pack_file(covm=matrices))
    (tmp_path / "short.dat").write_bytes(pack_file()[:-5])
    lut = read_lut(tables[0])
    write_lut(lut, tmp_path / "good.lut")
    lut.efficiencies["no_wrong_pair"][0, 0, 0, -1] *= np.float32(0.5)
    write_lut(lut, tmp_path / "other.lut")
    with (  # numbers of one, header of the other
        zipfile.ZipFile(tmp_path / "good.lut") as good,
        zipfile.ZipFile(tmp_path / "other.lut") as other,
        zipfile.ZipFile(tmp_path / "changed.lut", "w") as changed_file,
    ):
        for name in good.namelist():
            changed_file.writestr(name, (good if name == "header.json" else other).read(name))
    done = fastsim(
        "lut", "check", *(tmp_path / name for name in ("bad.dat", "good.lut", "short.dat", "changed.lut", "no.lut"))
    )
    assert done.code == 3
    assert done.out.startswith(f"{tmp_path / 'good.lut'}: fine")
    assert len(done.out.splitlines()) == 1
    first, second, third, fourth, *hint = done.err.splitlines()
    assert first.startswith(
        f"error: {tmp_path / 'bad.dat'}: 1 of 20 matrices are not positive definite (the first at eta = -0.5, "
    )
    assert second.startswith(f"{tmp_path / 'short.dat'}: truncated: ")
    assert third == f"{tmp_path / 'changed.lut'}: the numbers are not those that the header's hashes were taken of"
    assert fourth == f"{tmp_path / 'no.lut'}: no such table"
    assert not hint  # of one file it would be no help with the others


def test_check_against_a_detector(fastsim, tables):
    assert fastsim("lut", "check", *tables, "--detector", "alice3_v2").code == 0
    done = fastsim("lut", "check", *tables, "--detector", "alice3_v1")
    assert done.code == 3
    assert f"error: {tables[0]}: its hash is " in done.err
    assert f"{tables[1]}: its hash is " in done.err
    assert ", that of ka in alice3_v1 is " in done.err
    assert done.err.endswith("hint: the detector or the physics has changed since: build the table again\n")


def test_check_of_what_never_was_a_table(fastsim, tmp_path):
    (tmp_path / "a.root").write_bytes(b"root")
    done = fastsim("lut", "check", tmp_path / "a.root")
    assert done.code == 3
    assert done.err.endswith("hint: tables are .lut files, or DelphesO2's .dat\n")


# --- show and plot ---


def test_show(fastsim, tables):
    out = fastsim("lut", "show", tables[0]).out
    assert "Resolution of pi in alice3_v2, 2 T, 0 < eta < 1" in out
    assert "born at 0 < r < 0.5 cm, dN_ch/deta = 10" in out
    out = fastsim("lut", "show", tables[0], "--eta", -1.5, "--r", 3, "--dnch-deta", 2000).out
    assert "2 T, 1 < eta < 2" in out  # the mirror image of -2 < eta < -1
    assert "born at 2.5 < r < 3.75 cm, dN_ch/deta = 1e+03" in out


def test_show_as_json(fastsim, tables):
    found = json.loads(fastsim("lut", "show", tables[1], "--json", "--eta", 1.5, "--r", 1, "--dnch-deta", 900).out)
    lut = read_lut(tables[1])
    assert found["header"]["species"] == "ka"
    assert found["pt"] == pytest.approx(lut.header.grid.pt_centers)
    assert found["efficiency"] == pytest.approx(lut.efficiencies["every_hit_right"][2, 1, 1])
    assert found["efficiencies"]["no_wrong_pair"] == pytest.approx(lut.efficiencies["no_wrong_pair"][2, 1, 1])
    sigma = found["sigma"]["dca_xy"]
    assert sigma[0] is None
    assert sigma[-1] == pytest.approx(np.exp(lut.covariance[1, 1, -1, 0]))


def test_show_of_a_detector_and_of_a_dat(fastsim, covm):
    assert (
        "Resolution of ka in alice3_v2, 2 T, 1 < eta < 1.1"
        in fastsim("lut", "show", "alice3_v2", "--species", "ka", "--eta", 1).out
    )
    assert "Resolution of pi in 5kG.rmin20, 0.5 T, 0 < eta < 1" in fastsim("lut", "show", covm).out
    done = fastsim("lut", "show", covm, "--species", "ka")
    assert (done.code, done.err) == (2, f"error: {covm}: --species ka: the table is of pi\n")


def test_show_where_there_is_nothing(fastsim, tmp_path, tables):
    done = fastsim("lut", "show", tmp_path / "no.lut")
    assert (done.code, done.err) == (
        3,
        f"error: {tmp_path / 'no.lut'}: no such table\nhint: make it again, with `fastsim lut build` or `lut import`\n",
    )
    done = fastsim("lut", "show", tables[0], "--r", 500)
    assert done.code == 3
    assert "alice3_v2, pi: r = 500 cm is not in the table's 0 to " in done.err
    valid = np.ones((3, 1, 4, 5), dtype=bool)
    valid[:, :, 0] = False
    (tmp_path / "empty.dat").write_bytes(pack_file(valid=valid))
    done = fastsim("lut", "show", tmp_path / "empty.dat", "--eta", -1.5)
    assert done.code == 0
    assert "│ 0.158 │     0 │        - │" in done.out


def test_plot(fastsim, tables, covm, tmp_path):
    picture = tmp_path / "a.png"
    assert fastsim("lut", "plot", tables[0], covm, "-o", picture).out == f"{picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG")
    done = fastsim("lut", "plot", tables[1], "-o", picture)
    assert (done.code, done.err) == (
        2,
        f"error: {picture}: exists already\nhint: choose another name, or say --overwrite\n",
    )
    options = ["--eta", 0, "--eta", 1.5, "--r", 2, "--dnch-deta", 10, "--dnch-deta", 2000, "--overwrite"]
    assert fastsim("lut", "plot", tables[1], "-o", picture, *options).code == 0
    done = fastsim("lut", "plot", tables[1], "-o", tmp_path / "a.xyz")
    assert done.code == 2
    assert done.err == f"error: {tmp_path / 'a.xyz'}: cannot be drawn: the name must end in .png, .pdf, .svg\n"
    done = fastsim("lut", "plot", *[tables[0]] * 5, "-o", tmp_path / "b.svg", "--eta", 0, "--eta", 1)
    assert done.code == 2
    assert done.err.endswith("hint: give one --eta: then each table has its own colour\n")
    assert fastsim("lut", "plot", *[tables[0]] * 5, "-o", tmp_path / "b.svg", "--eta", 0).code == 0


def test_at_one_eta_tables_are_told_apart_by_colour(tables):
    figures = [plot._style(k, 0, 1) for k in range(3)]
    assert [style["color"] for style in figures] == ["C0", "C1", "C2"]
    assert {plot._style(k, 0, 2)["color"] for k in range(3)} == {"C0"}
    assert plot._title([read_lut(path) for path in tables], [0.5], 0.0) == "Resolution and efficiency of π, K, η = 0.5"


def test_full_disk(fastsim, tables, covm, tmp_path, full_disk):
    before = sorted(tmp_path.iterdir())
    for words in (
        ["plot", tables[0], "--out", tmp_path / "p.pdf"],
        ["build", "alice3_v2", "--species", "pi", "--pt-bins", 4, "--eta-bins", 2, "--out", tmp_path / "a" / "b"],
        ["import", covm, "--out", tmp_path / "new"],
        ["export", covm, "--out", tmp_path / "a.dat"],
    ):
        done = fastsim("lut", *words)
        assert done.code == 75
        assert "cannot be written (No space left on device)\nhint: the disk is full" in done.err
        assert sorted(tmp_path.iterdir()) == before


def test_the_bar_of_a_flat_resolution_is_short(fastsim, tmp_path):
    (tmp_path / "f.toml").write_text(FORMULAS.replace('"0.01"', '"0.01 + 0.00001 * pt"'))
    out = fastsim("lut", "show", tmp_path / "f.toml").out
    assert "▇" in out
    assert "▇▇" not in out


def test_help_has_its_units(fastsim):
    out = " ".join(fastsim("lut", "build", "--help").out.split())
    assert "production radius in cm" in out.replace("│ │ ", "")
    assert "LOW HIGH" in out


# --- diff ---


def test_diff_of_a_table_with_itself(fastsim, tables):
    done = fastsim("lut", "diff", tables[0], tables[0], "--tolerance", 0)
    assert done.code == 0
    assert "sigma_dca_xy" in done.out
    assert "cells have a track in both\n" in done.out
    found = json.loads(fastsim("lut", "diff", tables[0], tables[0], "--json").out)
    assert all(item["largest"] == 0 for item in found["differences"])
    assert len(found["differences"]) == 5 + 10 + 2


def changed(table, path, **changes):
    """The table with some numbers changed: name=(cell, value)."""
    lut = read_lut(table)
    for name, (cell, value) in changes.items():
        (lut.covariance if name == "covariance" else lut.efficiencies[name])[cell] = value
    write_lut(lut, path)
    return path


def test_diff_finds_what_was_changed_and_where(fastsim, tables, tmp_path):
    lut = read_lut(tables[0])
    cell = (2, 1, 15)
    grid = lut.header.grid
    value = lut.covariance[(*cell, 1)] + np.log(1.25)
    efficiency = lut.efficiencies["no_wrong_pair"][(1, *cell)] - np.float32(0.125)
    other = changed(
        tables[0], tmp_path / "other.lut", covariance=((*cell, 1), value), no_wrong_pair=((1, *cell), efficiency)
    )
    done = fastsim("lut", "diff", tables[0], other, "--json", "--all-radii")
    found = {item["name"]: item for item in json.loads(done.out)["differences"]}
    sigma = found["sigma_dca_z"]
    assert sigma["is_relative"]
    assert sigma["largest"] == pytest.approx(0.25, rel=1e-5)
    assert sigma["median"] == 0
    assert sigma["pt"] == pytest.approx(grid.pt_centers[15])
    assert abs(sigma["eta"]) == pytest.approx(1.5)  # mirrored: at both sides
    assert sigma["r"] == grid.r_edges[2]
    assert found["no_wrong_pair"]["largest"] == pytest.approx(-0.125, rel=1e-5)
    assert found["no_wrong_pair"]["dnch_deta"] == pytest.approx(100.0)
    assert found["sigma_phi"]["largest"] == 0
    words = ["lut", "diff", tables[0], other, "--all-radii", "--tolerance"]
    assert fastsim(*words, 0.26).code == 0
    done = fastsim(*words, 0.24)
    assert done.code == 1
    assert "+25 %" in done.out
    assert done.out.startswith(f"{other} relative to {tables[0]}: ")
    back = fastsim("lut", "diff", other, tables[0], "--r", grid.r_edges[2], "--tolerance", 0.1)
    assert back.code == 1
    assert "-20 %" in back.out
    assert "+0.12" in back.out
    assert fastsim("lut", "diff", tables[0], other, "--tolerance", 0).code == 0  # equal in the innermost bin
    assert fastsim("lut", "diff", tables[0], other, "--r", 1e5).code == 3
    assert fastsim("lut", "diff", tables[0], other, "--r", 1, "--all-radii").code == 2


def test_diff_counts_what_only_one_has(fastsim, tables, tmp_path):
    other = changed(tables[0], tmp_path / "other.lut", covariance=((0, 0, 19), np.nan))
    done = fastsim("lut", "diff", tables[0], other)
    assert f"2 cells have one in {tables[0]} only" in done.out  # both signs of eta
    assert f"in {other} only" not in done.out


def test_diff_on_other_axes_is_at_the_coarser_centres(tables):
    """A table against a coarser one whose centres are its own: equal there, whatever is in between."""
    detector = package.load_detector("alice3_v2")
    r_edges = [0.0, 100.0]
    fine = build_lut(detector, by_name("pi"), Grid(n_pt=30, n_eta=18, n_dnch=3, r_edges=r_edges))
    coarse = build_lut(
        detector, by_name("pi"), Grid(n_pt=10, n_eta=6, n_dnch=1, r_edges=r_edges, dnch_min=10.0, dnch_max=1e3)
    )
    for pair in ((fine, coarse), (coarse, fine)):
        found = compare_luts(*pair)
        assert found.is_interpolated
        assert found.n_both == int(np.isfinite(unfold(coarse)[0][..., 0]).sum())
        assert (found.n_first_only, found.n_second_only) == (0, 0)
        assert found.largest < 1e-5


def test_diff_interpolates(fastsim, tables, tmp_path):
    """Between centres by the lookup of the simulation: a resolution linear in ln pt has no difference on any grid."""
    (tmp_path / "f.toml").write_text(FORMULAS.replace('"0.001"', '"0.001 * pt ** -0.5"'))
    detector = package.load_detector(tmp_path / "f.toml")
    a = build_lut(detector, by_name("pi"), Grid(n_pt=40, n_eta=10, r_edges=[0.0, 5.0]))
    b = build_lut(
        detector, by_name("pi"), Grid(n_pt=27, n_eta=12, eta_max=3.0, r_edges=[0.0, 9.0], pt_min=0.05, pt_max=20.0)
    )
    found = {item.name: item for item in compare_luts(a, b).differences}
    assert found["sigma_dca_xy"].largest < 1e-5
    assert found["sigma_q_over_pt"].largest < 1e-5
    assert found["every_hit_right"].largest == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{pi}", "{ka}"], "error: a table of pi cannot be compared with one of ka\n"),
        (["{pi}", "{far}"], "error: the tables have no bins in common\n"),
    ],
)
def test_diff_of_what_cannot_be_compared(fastsim, tables, tmp_path, words, message):
    (tmp_path / "far.dat").write_bytes(pack_file(axes=AXES | {"pt": Axis(5, 3.0, 4.0, True)}))
    names = {"pi": tables[0], "ka": tables[1], "far": tmp_path / "far.dat"}
    done = fastsim("lut", "diff", *(word.format(**names) for word in words))
    assert (done.code, done.err) == (3, message)


# --- import and export ---


def test_import(fastsim, covm, tmp_path):
    kaons = tmp_path / "lutCovm.ka.5kG.rmin20.dat"
    kaons.write_bytes(pack_file(pdg=321, mass=0.4937))
    done = fastsim("lut", "import", covm, kaons, "--out", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert [Path(line).name for line in done.out.splitlines()] == [
        "5kG.rmin20.pi.lut",
        "5kG.rmin20.ka.lut",
        "5kG.rmin20.toml",
    ]
    detector_file = tmp_path / "out" / "5kG.rmin20.toml"
    detector = package.load_detector(detector_file)
    assert (detector.b_z, [table.species for table in detector.tables]) == (0.5, ["pi", "ka"])
    assert "lutCovm.ka.5kG.rmin20.dat" in detector.source
    assert "Resolution of ka in 5kG.rmin20" in fastsim("lut", "show", detector_file, "--species", "ka").out
    assert fastsim("lut", "check", *(tmp_path / "out").glob("*.lut"), "--detector", detector_file).code == 0
    done = fastsim("lut", "import", covm, "--out", tmp_path / "out")
    assert done.code == 2
    assert "5kG.rmin20.pi.lut: exists already\nhint: choose another folder or name, or say --overwrite" in done.err
    assert fastsim("lut", "import", covm, "--out", tmp_path / "out", "--name", "mine").code == 0
    assert (tmp_path / "out" / "mine.toml").is_file()


def test_import_tells_what_is_particular(fastsim, tmp_path):
    axes = AXES | {"eta": Axis(1, -1e6, 1e6, False)}
    (tmp_path / "lutCovm.el.5kG.dat").write_bytes(pack_file("2020-04", axes=axes, pdg=11, mass=0.000511))
    done = fastsim("lut", "import", tmp_path / "lutCovm.el.5kG.dat", "--out", tmp_path)
    note = "lutCovm.el.5kG.dat: its only eta bin reaches from -1e+06 to 1e+06; here to |eta| = 10"
    assert done.err == f"note: {note}\n"
    assert (tmp_path / "5kG.toml").read_text().startswith(f"# {note}\n")


def test_import_of_what_does_not_belong_together(fastsim, covm, tmp_path):
    other = tmp_path / "lutCovm.ka.2kG.dat"
    other.write_bytes(pack_file(pdg=321, mass=0.4937, field=0.2))
    done = fastsim("lut", "import", covm, other, "--out", tmp_path / "out")
    assert (done.code, done.err) == (
        3,
        (
            "error: lutCovm.ka.2kG.dat: its field is 0.2 T, that of the first 0.5 T\n"
            "hint: they are tables of different detectors, so take them one by one (the first is lutCovm.pi.5kG.rmin20.dat)\n"
        ),
    )
    assert not (tmp_path / "out").exists()


def test_export_of_a_file_and_of_a_detector(fastsim, covm, tmp_path):
    fastsim("lut", "import", covm, "--out", tmp_path)
    out = tmp_path / "out.dat"
    done = fastsim("lut", "export", tmp_path / "5kG.rmin20.pi.lut", "--out", out)
    assert (done.code, done.out) == (0, f"{out}  0.0 MB\n")
    assert len(out.read_bytes()) == len(covm.read_bytes())
    assert fastsim("lut", "diff", covm, out, "--tolerance", 0).code == 0
    done = fastsim("lut", "export", covm, "--out", out)
    assert done.code == 2
    assert "exists already" in done.err
    done = fastsim("lut", "export", tmp_path / "5kG.rmin20.toml", "--out", out, "--overwrite")
    assert done.code == 0
    assert len(out.read_bytes()) == len(covm.read_bytes())


@pytest.mark.slow
def test_export_of_a_detector_is_on_delpheso2_s_grid(fastsim, tmp_path):
    """20 x 1 x 80 x 200 entries: 99 840 080 bytes, by reference/delpheso2.md 1.4."""
    out = tmp_path / "lutCovm.pr.dat"
    done = fastsim("lut", "export", "alice3_v2", "--species", "pr", "--out", out)
    assert (done.code, done.out) == (0, f"{out}  99.8 MB\n")
    assert out.stat().st_size == 99_840_080
    assert fastsim("lut", "check", out).code == 0


def test_export_of_a_table_with_other_radius_bins(fastsim, tables, tmp_path):
    done = fastsim("lut", "export", tables[0], "--out", tmp_path / "out.dat")
    assert done.code == 3
    assert done.err.startswith(
        "error: alice3_v2, pi: lutCovm has bins of the radius of equal width only\nhint: export the detector"
    )
    assert not (tmp_path / "out.dat").exists()


def test_all_species_are_known_to_the_help(fastsim):
    out = " ".join(fastsim("lut", "build", "--help").out.split())
    assert all(name in out for name in NAMES)
