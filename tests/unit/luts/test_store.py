"""Tables are found by the hash of what made them; what is stale, missing or damaged is never used silently."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import fastsim
from fastsim import resources
from fastsim.errors import LutError
from fastsim.luts import Grid, build_lut, get_luts, read_lut, write_lut
from fastsim.luts.build import lut_key
from fastsim.luts.store import file_name
from fastsim.species import SPECIES, by_name

GRID = Grid(n_pt=6, n_eta=4)
PION = by_name("pi")


@pytest.fixture(scope="module")
def detector():
    return fastsim.load_detector("alice3_v2")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTSIM_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "luts"


def test_tables_are_built_once_and_kept_in_the_cache(detector, cache):
    told = []
    first = get_luts(detector, GRID, progress=lambda *words: told.append(words), command="a test")
    n = len(SPECIES)
    assert told == [*((kind.name, i, n) for i, kind in enumerate(SPECIES)), ("", n, n)]
    assert first.sources == tuple(
        str(cache / file_name(detector, kind, lut_key(detector, kind, GRID))) for kind in SPECIES
    )
    assert all(lut.header.command == "a test" for lut in first.luts)
    told.clear()
    second = get_luts(detector, GRID, progress=lambda *words: told.append(words))
    assert told == [("", n, n)]
    assert second.sources == first.sources
    assert [lut.sha256 for lut in second.luts] == [lut.sha256 for lut in first.luts]


def test_name_says_detector_species_and_hash(detector):
    key = lut_key(detector, PION, GRID)
    assert file_name(detector, PION, key) == f"alice3_v2.pi.{key[:16]}.lut"


def test_one_array_for_the_kernels(detector, cache):
    luts = get_luts(detector, GRID, species=[PION])
    table = luts.table()
    assert table.values.shape == (len(SPECIES), 4, 6, 16)
    np.testing.assert_array_equal(table.values[SPECIES.index(PION)], luts.luts[0].values)
    assert (np.delete(table.values[..., 0], SPECIES.index(PION), axis=0) == 0.0).all()
    assert (table.eta_min, table.eta_width) == (-4.0, 2.0)
    assert table.log_pt_min == pytest.approx(np.log(0.01))
    assert table.log_pt_width == pytest.approx(np.log(1e4) / 6)


def test_changed_detector_does_not_find_the_old_table(detector, cache):
    old = get_luts(detector, GRID, species=[PION])
    changed = detector.model_copy(update={"b_z": 1.0})
    new = get_luts(changed, GRID, species=[PION])
    assert new.sources != old.sources
    assert new.luts[0].header.b_z == 1.0
    assert new.luts[0].sha256 != old.luts[0].sha256


def test_given_folder_is_the_only_place(detector, cache, tmp_path):
    get_luts(detector, GRID, species=[PION])  # the cache has it
    name = file_name(detector, PION, lut_key(detector, PION, GRID))
    with pytest.raises(LutError) as caught:
        get_luts(detector, GRID, species=[PION], folder=tmp_path)
    assert caught.value.where == str(tmp_path)
    assert caught.value.what == f"no table of pi for this detector, grid and physics version ({name})"
    assert caught.value.hint == (
        f'make it with `fastsim lut build alice3_v2 --out {tmp_path}`, or say luts = "auto" in the card'
    )
    write_lut(build_lut(detector, PION, GRID), tmp_path / name)
    assert get_luts(detector, GRID, species=[PION], folder=tmp_path).sources == (str(tmp_path / name),)


def test_table_of_another_detector_under_this_ones_name(detector, cache):
    name = file_name(detector, PION, lut_key(detector, PION, GRID))
    write_lut(build_lut(detector.model_copy(update={"b_z": 0.5}), PION, GRID), cache / name)
    with pytest.raises(LutError, match="the table's hash is not the one of its name") as caught:
        get_luts(detector, GRID, species=[PION])
    assert caught.value.where == str(cache / name)
    assert caught.value.hint == "delete it, it will be rebuilt"


def test_truncated_table_in_the_cache(detector, cache):
    (source,) = get_luts(detector, GRID, species=[PION]).sources
    whole = read_lut(cache / source)
    (cache / source).write_bytes((cache / source).read_bytes()[:-9])
    with pytest.raises(LutError, match="not a whole table") as caught:
        get_luts(detector, GRID, species=[PION])
    assert caught.value.where == source
    (cache / source).unlink()
    assert get_luts(detector, GRID, species=[PION]).luts[0].sha256 == whole.sha256


def test_cache_that_cannot_be_written_costs_a_warning(detector, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTSIM_CACHE_DIR", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        luts = get_luts(detector, GRID, species=[PION])
    assert luts.luts[0].header.species == "pi"
    (text,) = caplog.messages
    assert text.startswith(f"the table of pi could not be kept in {tmp_path / 'file' / 'luts'} (")


def test_shipped_tables_come_before_the_cache(detector, cache, tmp_path, monkeypatch):
    shipped = tmp_path / "shipped"
    name = file_name(detector, PION, lut_key(detector, PION, GRID))
    write_lut(build_lut(detector, PION, GRID, command="shipped"), shipped / name)
    write_lut(build_lut(detector, PION, GRID, command="cached"), cache / name)
    monkeypatch.setattr(resources, "data_dir", lambda _: shipped)
    assert get_luts(detector, GRID, species=[PION]).luts[0].header.command == "shipped"
