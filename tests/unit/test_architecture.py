"""The house's order: rooms import only from rooms above them, kernels stay pure, only the command line prints."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fastsim

PACKAGE = Path(fastsim.__file__).parent
# From the ground up, as in ARCHITECTURE.md.
ROOMS = [
    "units", "errors", "resources", "jit", "species", "rng", "columns", "toml", "events", "source", "kernels", "generate",
    "detector", "luts", "cards", "module", "learned", "tracking", "devices", "objects", "importers", "truth", "io",
    "plugins", "pipeline", "provenance", "workers", "summary", "run", "merge", "batch", "pid", "cli", "__main__",
]  # fmt: skip
SOURCES = sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "package" if part == "__init__" else part


def _imports(path: Path):
    """(module, name) of every import, type-checking ones included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def test_every_file_has_a_room():
    assert {_room(path) for path in SOURCES} - {"package"} == set(ROOMS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_import_only_from_above(path):
    room = _room(path)
    if room == "package":
        return
    for module, name in _imports(path):
        if module == "fastsim" or module.startswith("fastsim."):
            parts = module.split(".")
            other = parts[1] if len(parts) > 1 else name
            if other in ROOMS and other != room:
                assert ROOMS.index(other) < ROOMS.index(room), f"{room} imports {other}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "kernels").glob("*.py")), ids=lambda p: p.name)
def test_kernels_import_only_numpy_and_numba(path):
    for module, _ in _imports(path):
        root = module.split(".")[0]
        assert root in {"__future__", "math", "typing", "numpy", "fastsim"}, module
        assert root != "fastsim" or module.split(".")[1:2][0] in {"jit", "units", "kernels", "rng"}, module


def test_modules_do_not_import_files_or_each_other():
    for path in (PACKAGE / "tracking").glob("*.py"):
        for module, _ in _imports(path):
            assert not module.startswith("fastsim.io"), path
            if path.name != "__init__.py":
                assert not (module.startswith("fastsim.tracking.") and path.stem not in module), path


def test_only_the_command_line_prints():
    for path in SOURCES:
        if _room(path) != "cli":
            calls = [
                n.func.id
                for n in ast.walk(ast.parse(path.read_text()))
                if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
            ]
            assert "print" not in calls, path


def test_numba_is_decorated_in_one_place():
    for path in SOURCES:
        if path.name != "jit.py":
            assert all(not module.startswith("numba") for module, _ in _imports(path)), path


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_is_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 450
