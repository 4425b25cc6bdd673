"""Shipped files: all of them are in the wheel, found there and in a checkout; a path wins over a shipped name."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import platformdirs
import pytest

from fastsim import resources
from fastsim.errors import CardError

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_wheel_has_every_card_and_detector_and_no_other():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    listed = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    shipped = [path for kind in ("cards", "detectors") for path in (REPOSITORY / kind).glob("*.toml")]
    names = sorted(["luts", *(str(path.relative_to(REPOSITORY)) for path in shipped)])
    assert {path.suffix for path in (REPOSITORY / "luts").iterdir()} == {
        ".lut",
        ".md",
    }  # a folder ships with all it holds
    assert sorted(listed) == names
    assert listed == {name: f"fastsim/_data/{name}" for name in listed}


@pytest.mark.slow
def test_the_installed_wheel_finds_its_card(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", str(REPOSITORY), "--no-deps", "--quiet", "-w", str(tmp_path)]
    subprocess.run([*command, "--disable-pip-version-check"], check=True)
    (wheel,) = tmp_path.glob("fastsim-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert len([name for name in names if name.startswith("fastsim/_data/luts/") and name.endswith(".lut")]) == 9
    assert {"fastsim/cards/card.schema.json", "fastsim/detector/detector.schema.json"} <= set(names)
    assert {"fastsim/models/rich_alice3.onnx", "fastsim/models/rich_alice3.json"} <= set(names)
    assert not [name for name in names if name.startswith("tests/")]
    program = (
        "import fastsim; c = fastsim.load_card('alice3'); print(fastsim.__file__, c.path, c.detector.name, sep='\\n')"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    data = tmp_path / "site" / "fastsim"
    assert done.stdout.split() == [
        str(data / "__init__.py"),
        str(data / "_data" / "cards" / "alice3.toml"),
        "alice3_v2",
    ]


def test_cache_is_where_the_user_says_or_the_platform_keeps_caches(monkeypatch):
    monkeypatch.setenv("FASTSIM_CACHE_DIR", "/some/where")
    assert resources.cache_dir() == Path("/some/where")
    monkeypatch.setenv("FASTSIM_CACHE_DIR", "")
    assert resources.cache_dir() == platformdirs.user_cache_path("fastsim", appauthor=False)


def test_a_shipped_name_means_the_same_file_wherever_we_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = resources.data_dir("cards") / "alice3.toml"
    (tmp_path / "alice3").write_text("")
    assert resources.find("cards", "alice3") == resources.find("cards", "alice3", beside=tmp_path) == shipped
    assert resources.shipped("cards")["alice3"] == shipped


def test_other_names_are_paths_relative_to_the_file_that_says_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for path in (tmp_path / "a.toml", tmp_path / "sub" / "a.toml"):
        path.write_text("")
    assert resources.find("cards", "a.toml") == Path("a.toml")
    assert resources.find("cards", "a.toml", beside=tmp_path / "sub") == tmp_path / "sub" / "a.toml"
    assert resources.find("cards", str(tmp_path / "a.toml"), beside=tmp_path / "sub") == tmp_path / "a.toml"
    (tmp_path / "b.toml").write_text("")
    with pytest.raises(CardError, match=r"no such card: b.toml"):
        resources.find("cards", "b.toml", beside=tmp_path / "sub")


@pytest.mark.parametrize(
    ("where", "text"), [("", "no such detector: x"), ("card.toml:3", "card.toml:3: no such detector: x")]
)
def test_unknown_name(where, text):
    with pytest.raises(CardError) as caught:
        resources.find("detectors", "x", where=where)
    assert caught.value.problems == [text]
    assert caught.value.hint == f"shipped: {', '.join(resources.shipped('detectors'))}; or give the path of a file"
