"""Module kinds come through one door: found by name, refused with what was meant, never two of one name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fastsim import plugins
from fastsim.errors import CardError, PluginError
from fastsim.tracking.vertex import Vertex


class Point:
    """An entry point of some package."""

    def __init__(self, name, value, package="somebody", result=None):
        self.name = name
        self.value = value
        self.dist = SimpleNamespace(name=package, version="1.0") if package else None
        self.result = result

    def load(self):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


OURS = Point("vertex", "fastsim.tracking.vertex:Vertex", "fastsim", Vertex)


@pytest.fixture
def provide(monkeypatch):
    """Make these entry points the installed ones; plug-ins are on."""

    def set_points(*points):
        monkeypatch.setattr(plugins, "entry_points", lambda *, group: points if group == "fastsim.modules" else ())

    monkeypatch.setenv("FASTSIM_DISABLE_PLUGINS", "0")
    return set_points


def test_our_own_kinds_are_installed():
    assert plugins.installed()["vertex"].value == "fastsim.tracking.vertex:Vertex"
    assert plugins.load_kind("vertex") is Vertex


def test_kinds_are_listed_by_name(provide):
    provide(OURS, Point("calo", "somebody:Calo"), Point("angle", "x:Angle", None))
    assert list(plugins.installed()) == ["angle", "calo", "vertex"]
    assert [plugins.distribution(point) for point in plugins.installed().values()] == ["unknown", "somebody", "fastsim"]


def test_plugins_can_be_switched_off(provide, monkeypatch):
    provide(OURS, Point("calo", "somebody:Calo"))
    monkeypatch.setenv("FASTSIM_DISABLE_PLUGINS", "1")
    assert list(plugins.installed()) == ["vertex"]


def test_two_packages_with_one_kind(provide):
    provide(OURS, Point("vertex", "other:Vertex", "other-package"))
    with pytest.raises(PluginError) as caught:
        plugins.installed()
    assert caught.value.what == (
        "two packages provide the module kind 'vertex': fastsim (fastsim.tracking.vertex:Vertex) and other-package (other:Vertex)"
    )
    assert caught.value.hint == "uninstall one of them"
    assert caught.value.exit_code == 5


def test_one_package_seen_twice_is_one(provide):
    provide(OURS, OURS)
    assert list(plugins.installed()) == ["vertex"]


@pytest.mark.parametrize(
    ("kind", "where", "text"),
    [
        ("vertx", "", "no module kind 'vertx' (did you mean 'vertex'?)"),
        ("zzz", "", "no module kind 'zzz' (installed: calo, vertex)"),
        (
            "calp",
            "card.toml:3: modules[0].kind",
            "card.toml:3: modules[0].kind: 'calp' is not an installed module kind (did you mean 'calo'?)",
        ),
    ],
)
def test_kind_that_nobody_provides(provide, kind, where, text):
    provide(OURS, Point("calo", "somebody:Calo"))
    with pytest.raises(CardError) as caught:
        plugins.load_kind(kind, where=where)
    assert caught.value.problems == [text]


def test_kind_whose_package_does_not_import(provide):
    provide(Point("calo", "somebody:Calo", result=ImportError("no module named torch")))
    with pytest.raises(
        PluginError, match=r"the module kind 'calo' cannot be loaded: ImportError\('no module named torch'\)"
    ) as caught:
        plugins.load_kind("calo")
    assert caught.value.where == "somebody"
    assert isinstance(caught.value.__cause__, ImportError)


def test_only_the_kind_that_is_asked_for_is_imported(provide):
    provide(OURS, Point("calo", "somebody:Calo", result=ImportError("broken")))
    assert plugins.load_kind("vertex") is Vertex
