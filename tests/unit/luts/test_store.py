"""Tables are found by the hash of what made them; what is stale, missing, damaged or not meant is never used silently."""

from __future__ import annotations

import logging
from dataclasses import replace
from math import log

import numpy as np
import pytest

import fastsim
from fastsim import resources
from fastsim.errors import LutError
from fastsim.kernels.lookup import N_QUANTITIES, lookup_1
from fastsim.luts import Grid, build_lut, get_luts, read_lut, write_lut
from fastsim.luts import build as build_module
from fastsim.luts.build import lut_key
from fastsim.luts.store import file_name, no_table
from fastsim.species import NAMES, SPECIES, by_name
from fastsim.toml import Document, validate

GRID = Grid(n_pt=6, n_eta=4, n_dnch=2, r_edges=[0.0, 0.5, 7.0])
PION, KAON = by_name("pi"), by_name("ka")


@pytest.fixture(scope="module")
def detector():
    return fastsim.load_detector("alice3_v2")


@pytest.fixture(scope="module")
def pion(detector):
    return build_lut(detector, PION, GRID, command="a test")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTSIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(resources, "data_dir", lambda _: tmp_path / "shipped")
    return tmp_path / "cache" / "luts"


def file_of(detector, species=PION, grid=GRID):
    return file_name(detector, species, lut_key(detector, species, grid))


# --- tables by their hash -------------------------------------------------------------------------------------------


def test_tables_are_built_once_and_kept_in_the_cache(detector, cache):
    told = []
    first = get_luts(detector, GRID, progress=lambda *words: told.append(words), command="a test")
    n = len(SPECIES)
    assert told == [*((kind.name, i, n) for i, kind in enumerate(SPECIES)), ("", n, n)]
    assert first.sources == tuple(str(cache / file_of(detector, kind)) for kind in SPECIES)
    assert all(lut.header.command == "a test" for lut in first.luts)
    told.clear()
    second = get_luts(detector, GRID, progress=lambda *words: told.append(words))
    assert told == [("", n, n)]
    assert second.sources == first.sources
    assert [lut.header for lut in second.luts] == [lut.header for lut in first.luts]
    for one, other in zip(first.luts, second.luts, strict=True):
        np.testing.assert_array_equal(one.covariance, other.covariance)


def test_name_says_detector_species_and_hash(detector):
    key = lut_key(detector, PION, GRID)
    assert file_name(detector, PION, key) == f"alice3_v2.pi.{key[:16]}.lut"


def test_changed_detector_does_not_find_the_old_table(detector, cache):
    old = get_luts(detector, GRID, species=[PION])
    changed = detector.model_copy(update={"b_z": 1.0})
    new = get_luts(changed, GRID, species=[PION])
    assert new.sources != old.sources
    assert new.luts[0].header.b_z == 1.0
    assert new.luts[0].header.sha256 != old.luts[0].header.sha256


def test_tables_of_an_older_version_are_built_again(detector, cache, monkeypatch):
    old = get_luts(detector, GRID, species=[PION])
    monkeypatch.setattr(build_module, "PHYSICS_VERSION", 10**6)
    told = []
    new = get_luts(detector, GRID, species=[PION], progress=lambda *words: told.append(words[0]))
    assert told == ["pi", ""]
    assert new.sources != old.sources
    assert new.luts[0].header.physics_version == 10**6


def test_given_folder_is_the_only_place(detector, cache, pion, tmp_path):
    get_luts(detector, GRID, species=[PION])  # the cache has it
    name = file_of(detector)
    with pytest.raises(LutError) as caught:
        get_luts(detector, GRID, species=[PION], folder=tmp_path)
    assert caught.value.where == str(tmp_path)
    assert caught.value.what == f"no table of pi for this detector, grid and physics version ({name})"
    command = "fastsim lut build alice3_v2 --pt-bins 6 --eta-bins 4 --dnch-bins 2 --r-edges 0,0.5,7"
    assert caught.value.hint == f'make it with `{command} --out {tmp_path}`, or say luts = "auto" in the card'
    write_lut(pion, tmp_path / name)
    assert get_luts(detector, GRID, species=[PION], folder=tmp_path).sources == (str(tmp_path / name),)


def test_table_of_another_detector_under_this_ones_name(detector, cache, tmp_path):
    other = build_lut(detector.model_copy(update={"b_z": 0.5}), PION, GRID)
    write_lut(other, tmp_path / file_of(detector))
    with pytest.raises(LutError, match="the table's hash is not the one of its name") as caught:
        get_luts(detector, GRID, species=[PION], folder=tmp_path)
    assert caught.value.where == str(tmp_path / file_of(detector))
    assert caught.value.hint == "delete it, it will be rebuilt"


@pytest.mark.parametrize("damage", ["truncated", "of another detector", "of another species"])
def test_damaged_table_in_our_own_cache_is_built_anew(detector, cache, damage, caplog):
    (source,) = get_luts(detector, GRID, species=[PION]).sources
    path = cache / source
    whole = read_lut(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "of another detector":
        write_lut(build_lut(detector.model_copy(update={"b_z": 0.5}), PION, GRID), path)
    else:
        write_lut(build_lut(detector, KAON, GRID), path)
    assert get_luts(detector, GRID, species=[PION]).luts[0].header.sha256 == whole.header.sha256
    assert "it is built anew" in caplog.text
    assert read_lut(path).header.sha256 == whole.header.sha256


def test_damaged_table_in_a_given_folder_is_refused(detector, cache, pion, tmp_path):
    path = tmp_path / file_of(detector)
    write_lut(pion, path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(LutError, match="not a whole table") as caught:
        get_luts(detector, GRID, species=[PION], folder=tmp_path)
    assert caught.value.where == str(path)


def test_cache_that_cannot_be_written_costs_a_warning(detector, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTSIM_CACHE_DIR", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        luts = get_luts(detector, GRID, species=[PION])
    assert luts.luts[0].header.species == "pi"
    (text,) = caplog.messages
    assert text.startswith(f"the table of pi could not be kept in {tmp_path / 'file' / 'luts'} (")


def test_shipped_tables_come_before_the_cache(detector, cache, pion, tmp_path):
    for folder, command in ((tmp_path / "shipped", "shipped"), (cache, "cached")):
        header = pion.header.model_copy(update={"command": command})
        write_lut(replace(pion, header=header), folder / file_of(detector))
    assert get_luts(detector, GRID, species=[PION]).luts[0].header.command == "shipped"


def test_only_the_wanted_efficiencies_are_loaded(detector, cache):
    get_luts(detector, GRID, species=[PION])
    luts = get_luts(detector, GRID, species=[PION], efficiencies=["no_wrong_pair"])
    assert list(luts.luts[0].efficiencies) == ["no_wrong_pair"]
    assert list(get_luts(detector, GRID, species=[PION]).luts[0].efficiencies) == ["every_hit_right", "no_wrong_pair"]
    with pytest.raises(LutError) as caught:
        luts.table(efficiency="every_hit_right")
    assert caught.value.what == "has no efficiency 'every_hit_right' (it has no_wrong_pair)"
    assert caught.value.where == luts.sources[0]
    assert caught.value.hint == "see tracking.efficiency in the card"


# --- arrays for the kernels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["every_hit_right", "no_wrong_pair"])
def test_one_table_for_the_kernels(detector, cache, name):
    luts = get_luts(detector, GRID, species=[KAON, PION])
    table = luts.table(efficiency=name)
    assert table.row.tolist() == [{"ka": 0, "pi": 1}.get(kind.name, -1) for kind in SPECIES]
    assert table.covariance.shape == (2, 2, 2, 6, 15)
    assert table.efficiency.shape == (2, 2, 2, 6, 2)
    for k, lut in enumerate(luts.luts):
        np.testing.assert_array_equal(table.covariance[k], lut.covariance)
        np.testing.assert_array_equal(np.moveaxis(table.efficiency[k], -1, 0), lut.efficiencies[name])
    assert (table.eta_min, table.eta_width, table.mirrored, table.nearest) == (0.0, 2.0, True, False)
    assert table.log_pt_min == pytest.approx(log(0.01))
    assert table.log_pt_width == pytest.approx(log(1e4) / 6)
    assert (table.log_dnch_min, table.log_dnch_width) == pytest.approx((log(10**0.5), log(1e3) / 2))
    assert table.r_edges.tolist() == [0.0, 0.5, 7.0]
    assert luts.table(nearest=True).nearest


@pytest.mark.parametrize("nearest", [False, True])
def test_the_kernels_find_what_the_table_says(detector, cache, nearest):
    """At bin centres of both sides: `lookup_1` on the arrays is `Lut.sigma` and `Lut.efficiency`."""
    luts = get_luts(detector, GRID, species=[KAON, PION])
    table = luts.table(nearest=nearest)
    cell = np.empty(N_QUANTITIES)
    for lut in luts.luts:
        species = NAMES.index(lut.header.species)
        for r in (0.0, 0.7):
            for eta in GRID.eta_centers:
                for j, pt in enumerate(GRID.pt_centers):
                    for dnch in GRID.dnch_centers:
                        found = lookup_1(table, species, r, float(eta), log(pt), log(dnch), cell)
                        sigma = lut.sigma("phi", eta, r)[j]
                        assert found == np.isfinite(sigma) or not nearest  # 1e-16 of a neighbour is a track, too
                        if np.isfinite(sigma):
                            assert np.exp(cell[3]) == pytest.approx(sigma, rel=1e-6)
                            assert cell[0] == pytest.approx(lut.efficiency(eta, r, dnch)[j], rel=1e-6)


def test_a_table_of_both_sides(detector, cache):
    table = get_luts(detector, GRID.model_copy(update={"n_eta": 5}), species=[PION]).table()
    assert (table.eta_min, table.mirrored) == (-4.0, False)
    assert table.eta_width == pytest.approx(1.6)


def test_no_table_has_no_tracks():
    cell = np.empty(N_QUANTITIES)
    table = no_table()
    for species in range(len(SPECIES)):
        assert not lookup_1(table, species, 0.0, 0.0, 0.0, 0.0, cell)
        assert (cell == 0.0).all()


# --- formulas -------------------------------------------------------------------------------------------------------


def test_formulas_have_one_efficiency_whatever_is_asked(detector, cache):
    formula = {
        "species": ["pi"], "efficiency": "0.9", "sigma_pt_over_pt": "0.01", "sigma_dca_xy": "1e-3", "sigma_dca_z": "1e-3",
        "sigma_phi": "1e-3", "sigma_tan_lambda": "1e-3",
    }  # fmt: skip
    data = {
        "schema_version": 1,
        "name": "x",
        "source": "a test",
        "b_z": 2.0,
        "r_edges": [0.0, 1.0],
        "formulas": [formula],
    }
    found = validate(type(detector), Document(data))
    for _ in range(2):  # built, and from the cache
        luts = get_luts(found, GRID, species=[PION], efficiencies=["no_wrong_pair"])
        assert list(luts.luts[0].efficiencies) == ["every_hit_right"]
        assert luts.table().efficiency == pytest.approx(0.9)
    with pytest.raises(LutError, match="has no efficiency 'no_wrong_pair'"):
        luts.table(efficiency="no_wrong_pair")


# --- ready tables ---------------------------------------------------------------------------------------------------


@pytest.fixture
def ready(detector, pion, tmp_path):
    """A detector file that names two tables beside it, as a function of changes to the entries."""
    kaon = build_lut(detector, KAON, GRID)
    for lut in (pion, kaon):
        write_lut(lut, tmp_path / f"{lut.header.species}.lut")
    entries = [
        {"species": lut.header.species, "file": f"{lut.header.species}.lut", "sha256": lut.header.sha256}
        for lut in (pion, kaon)
    ]

    def load(b_z=2.0, **changes):
        tables = [entry | changes.get(entry["species"], {}) for entry in entries]
        text = f'schema_version = 1\nname = "full"\nsource = "a test"\nb_z = {b_z}\n'
        for table in tables:
            text += "[[tables]]\n" + "".join(f'{key} = "{value}"\n' for key, value in table.items())
        (tmp_path / "full.toml").write_text(text)
        return fastsim.load_detector(tmp_path / "full.toml")

    return load


def refused(detector, species=(PION, KAON), **arguments):
    with pytest.raises(LutError) as caught:
        get_luts(detector, species=list(species), **arguments)
    return caught.value


def test_ready_tables_are_those_that_the_detector_file_names(ready, pion, tmp_path, cache):
    """Beside the detector file, on their own axes, whatever grid is asked for; nothing is built or kept."""
    told = []
    luts = get_luts(ready(), Grid(), species=[KAON, PION], progress=lambda *words: told.append(words))
    assert luts.sources == (str(tmp_path / "ka.lut"), str(tmp_path / "pi.lut"))
    np.testing.assert_array_equal(luts.luts[1].covariance, pion.covariance)
    assert luts.table().row[NAMES.index("ka")] == 0
    assert told == []
    assert not cache.exists()
    only = get_luts(ready(), species=[PION], efficiencies=["no_wrong_pair"])
    assert list(only.luts[0].efficiencies) == ["no_wrong_pair"]


def test_a_ready_table_with_other_numbers(ready, pion, tmp_path):
    error = refused(ready(pi={"sha256": "0" * 64}))
    assert error.what == f"the table's hash is {pion.header.sha256}, full says {'0' * 64}"
    assert error.where == str(tmp_path / "pi.lut")
    assert error.hint == "make or import the table again, or correct the detector file"


def test_a_ready_table_of_another_species(ready, tmp_path, pion):
    error = refused(ready(ka={"file": "pi.lut", "sha256": pion.header.sha256}))
    assert error.what == "the table's species is pi, full says ka"
    assert error.where == str(tmp_path / "pi.lut")


def test_a_ready_table_of_another_field(ready, tmp_path):
    error = refused(ready(b_z=1.5))
    assert error.what == "the table's field is 2.0, full says 1.5"
    assert error.where == str(tmp_path / "pi.lut")


def test_a_species_without_a_ready_table(ready):
    error = refused(ready(), [PION, by_name("pr")])
    assert error.what == "no table for species pr"
    assert error.where == "full"
    assert error.hint == "it has some for pi, ka; see tracking.species in the card"


def test_a_ready_table_that_is_missing(ready, tmp_path):
    detector = ready(ka={"file": "elsewhere/ka.lut"})
    error = refused(detector)
    assert error.what == "no such table"
    assert error.where == str(tmp_path / "elsewhere" / "ka.lut")


def test_ready_tables_with_different_axes(ready, detector, tmp_path):
    """The kernels take one set of axes for all species."""
    other = build_lut(detector, KAON, GRID.model_copy(update={"n_pt": 7}))
    write_lut(other, tmp_path / "ka7.lut")
    error = refused(ready(ka={"file": "ka7.lut", "sha256": other.header.sha256}))
    assert error.what == f"has other axes than {tmp_path / 'pi.lut'}"
    assert error.where == str(tmp_path / "ka7.lut")
    assert error.hint == "make them with one grid"


def test_ready_tables_without_the_wanted_efficiency(ready, pion, tmp_path):
    one = {"every_hit_right": pion.efficiencies["every_hit_right"]}
    header = pion.header.model_copy(update={"efficiencies": list(one)})
    write_lut(replace(pion, header=header, efficiencies=one), tmp_path / "pi.lut")
    error = refused(ready(), efficiencies=["no_wrong_pair"])
    assert error.what == "has no efficiency no_wrong_pair"
    assert error.where == str(tmp_path / "pi.lut")
