"""The documents name what exists, and everything that exists is named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from fastsim.cards import load_card
from fastsim.cards.schema import Card
from fastsim.cli import app
from fastsim.generate.draws import Draw
from fastsim.generate.gun import GunFile, Particles
from fastsim.generate.pile_up import PileUp
from fastsim.io.aod_tables import trees
from fastsim.io.inputs import RECIPES
from fastsim.module import Options
from tests import every_source

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TEXTS = {path.name: path.read_text() for path in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]}
EVERYTHING = "\n".join(TEXTS.values())


def _commands(group, words=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*words, name))
            if command.invoke_without_command:
                yield (*words, name), command
        else:
            yield (*words, name), command


COMMANDS = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_documented_and_has_help(words):
    assert f"fastsim {' '.join(words)}" in EVERYTHING
    assert COMMANDS[words].help


@pytest.mark.parametrize("line", sorted(set(re.findall(r"^\$ (fastsim .*?)(?:  +#.*)?$", EVERYTHING, re.MULTILINE))))
def test_documented_commands_parse(line):
    """Each `$ fastsim ...` line names a command and options that exist."""
    words = line.split()[1:]
    found = max((c for c in COMMANDS if tuple(words[: len(c)]) == c), key=len, default=None)
    assert found, line
    options = {o for parameter in COMMANDS[found].params for o in parameter.opts}
    assert {w for w in words if w.startswith("--")} <= options | {"--help"}


def test_every_option_of_run_is_documented():
    for parameter in COMMANDS[("run",)].params:
        if parameter.name not in ("inputs", "help"):
            assert any(o in EVERYTHING for o in parameter.opts), parameter.name


def test_every_tree_is_documented():
    for tree in trees(load_card("alice3").card.output):
        assert f"`{tree}`" in TEXTS["ao2d.md"]


def test_every_table_of_the_card_is_documented():
    for name in Card.model_fields:
        assert re.search(rf"\b{name}\b", EVERYTHING), name


@pytest.mark.parametrize("model", [PileUp, GunFile, Particles, Draw], ids=lambda model: model.__name__)
def test_every_key_of_recipes_and_pile_up_is_documented(model):
    for name in model.model_fields:
        assert re.search(rf"\b{name}\b", TEXTS["inputs.md"]), name


def test_every_recipe_is_documented():
    for suffix in RECIPES:
        assert f"`{suffix}`" in TEXTS["inputs.md"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What docs/inputs.md speaks of: files whose name is in their first line, and two of events."""
    path = tmp_path_factory.mktemp("docs")
    blocks = re.findall(r"^```(?:toml|ini)\n([#!] (\S+)\n.*?)^```", TEXTS["inputs.md"], re.MULTILINE | re.DOTALL)
    assert sorted(name for _, name in blocks) == ["crowded.toml", "gun.toml", "pp.cmnd"]
    for text, name in blocks:
        (path / name).write_text(text)
    for kind, name in (("hepmc3.gz", "a.hepmc.gz"), ("lhef", "b.lhe")):
        (path / name).write_bytes(every_source.TEXTS[kind]())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("line", re.findall(r"^\$ ((?!.*://).*fastsim run.*)$", TEXTS["inputs.md"], re.MULTILINE))
def test_commands_and_examples_of_inputs_work(folder, line):
    """As they stand, in a shell; but for those that need a server."""
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": search}
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / line.split("--out ")[1].split()[0]).stat().st_size > 0
    assert not re.search(r"\b0 events", done.stdout)


def test_module_options_have_descriptions():
    from fastsim.plugins import installed, load_kind

    for kind in installed():
        for name, field in load_kind(kind).Options.model_fields.items():
            assert field.description, name
    assert issubclass(load_kind("vertex").Options, Options)


def test_readme_shows_real_output():
    """The blocks are filled by `make docs`; a stale one shows commands that no longer print this."""
    readme = TEXTS["README.md"]
    assert "40 events" in readme
    assert "$ fastsim lut show alice3_v2" in readme
    assert (REPOSITORY / "docs" / "resolution.png").read_bytes()[:4] == b"\x89PNG"


def test_links_lead_somewhere():
    for path in [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"
