"""TOML with locations: the right line for every fault, all faults at once, what the user meant where it can be guessed."""

from __future__ import annotations

import re
import string
import tomllib
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from fastsim import toml
from fastsim.errors import CardError


class Wheel(toml.Strict):
    name: str
    radius: Annotated[float, Field(gt=0, le=10)]
    spokes: int = 8


class Engine(toml.Strict):
    kind: Literal["petrol", "electric"]
    power: float | None = None


class Car(toml.Strict):
    name: Annotated[str, Field(min_length=1)]
    wheels: list[Wheel]
    engine: Engine
    is_open: bool = False

    @classmethod
    def faults(cls, data: dict[str, Any]):
        if data.get("name") == "submarine":
            yield ("name",), "is not a car"
            yield (), "does not drive"


def write(tmp_path, text):
    path = tmp_path / "car.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(tmp_path, text) -> list[str]:
    """Problems of a file, without its folder."""
    path = write(tmp_path, text)
    with pytest.raises(CardError) as caught:
        toml.validate(Car, toml.read(path))
    return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]


GOOD = """\
name = "beetle"
is_open = true

[engine]
kind = "petrol"
power = 44

[[wheels]]
name = "front"
radius = 0.3

[[wheels]]
name = "rear"
radius = 0.3
spokes = 6
"""


def test_good_file_is_read(tmp_path):
    car = toml.validate(Car, toml.read(write(tmp_path, GOOD)))
    assert car.engine.power == 44.0
    assert [wheel.spokes for wheel in car.wheels] == [8, 6]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("is_open", "isopen", "car.toml:2: isopen: not a known key (did you mean 'is_open'?)"),
        ("spokes = 6", "spoke = 6", "car.toml:15: wheels[1].spoke: not a known key (did you mean 'spokes'?)"),
        ("power", "zebra", "car.toml:6: engine.zebra: not a known key (allowed: kind, power)"),
        ("0.3\nspokes", '"0.3"\nspokes', "car.toml:14: wheels[1].radius: must be a valid number (got '0.3', a string)"),
        ("power = 44", 'power = "44"', "car.toml:6: engine.power: must be a valid number (got '44', a string)"),
        ("is_open = true", "is_open = 1", "car.toml:2: is_open: must be a valid boolean (got 1, an integer)"),
        ("is_open = true", 'is_open = "yes"', "car.toml:2: is_open: must be a valid boolean (got 'yes', a string)"),
        ("spokes = 6", "spokes = 6.0", "car.toml:15: wheels[1].spokes: must be a valid integer (got 6.0, a number)"),
        ("spokes = 6", "spokes = true", "car.toml:15: wheels[1].spokes: must be a valid integer (got True, a boolean)"),
        (
            "radius = 0.3\n\n",
            "radius = -1\n\n",
            "car.toml:10: wheels[0].radius: must be greater than 0 (got -1, an integer)",
        ),
        (
            "radius = 0.3\n\n",
            "radius = 11\n\n",
            "car.toml:10: wheels[0].radius: must be less than or equal to 10 (got 11, an integer)",
        ),
        (
            "radius = 0.3\n\n",
            "radius = nan\n\n",
            "car.toml:10: wheels[0].radius: must be a finite number (got nan, a number)",
        ),
        ("power = 44", "power = inf", "car.toml:6: engine.power: must be a finite number (got inf, a number)"),
        ('"petrol"', '"steam"', "car.toml:5: engine.kind: must be 'petrol' or 'electric' (got 'steam', a string)"),
        ('kind = "petrol"\n', "", "car.toml:4: engine.kind: missing"),
        ('name = "rear"\n', "", "car.toml:12: wheels[1].name: missing"),
        ('name = "beetle"\n', "", "car.toml: name: missing"),
        ('"beetle"', '""', "car.toml:1: name: string should have at least 1 character (got '', a string)"),
        ('"beetle"', '["a"]', "car.toml:1: name: must be a valid string (got an array)"),
    ],
)
def test_fault_names_place_value_rule_and_remedy(tmp_path, old, new, problem):
    assert old in GOOD
    assert faults(tmp_path, GOOD.replace(old, new, 1)) == [problem]


def test_all_faults_are_reported_at_once(tmp_path):
    text = GOOD.replace("radius = 0.3", "radius = -1").replace("petrol", "steam").replace("beetle", "submarine")
    assert faults(tmp_path, text) == [
        "car.toml:10: wheels[0].radius: must be greater than 0 (got -1, an integer)",
        "car.toml:14: wheels[1].radius: must be greater than 0 (got -1, an integer)",
        "car.toml:5: engine.kind: must be 'petrol' or 'electric' (got 'steam', a string)",
        "car.toml:1: name: is not a car",
        "car.toml: does not drive",
    ]


def test_lines_inside_inline_tables_and_arrays(tmp_path):
    text = (
        '# a car\nname = "x"\nengine = { kind = "petrol", powr = 3 }\nwheels = [\n'
        '  { name = "a", radius = 1 },\n\n  # the other one\n  { name = "b, ]} #", radius = "1" }, # here\n'
        "  { name = '''c''', radius = 99 },\n]\n"
    )
    assert faults(tmp_path, text) == [
        "car.toml:8: wheels[1].radius: must be a valid number (got '1', a string)",
        "car.toml:9: wheels[2].radius: must be less than or equal to 10 (got 99, an integer)",
        "car.toml:3: engine.powr: not a known key (did you mean 'power'?)",
    ]


# --- not TOML ---


def test_missing_file(tmp_path):
    with pytest.raises(CardError, match=re.escape(f"{tmp_path / 'no.toml'}: no such file")):
        toml.read(tmp_path / "no.toml")


def test_folder(tmp_path):
    with pytest.raises(CardError, match=r"cannot be read \(.*Is a directory"):
        toml.read(tmp_path)


def test_not_utf8(tmp_path):
    path = tmp_path / "car.toml"
    path.write_bytes('name = "Käfer"\n'.encode("latin-1"))
    with pytest.raises(
        CardError, match=r"car.toml: cannot be read \('utf-8' codec can't decode byte 0xe4 in position 9"
    ):
        toml.read(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name = beetle\n", "car.toml:1: not TOML: Invalid value"),
        ("a = 1\nb =\n", "car.toml:2: not TOML: Invalid value"),
        ("a = 1\n\na = 2\n", "car.toml:3: not TOML: Cannot overwrite a value"),
        ("[engine\n", "car.toml:1: not TOML: Expected ']' at the end of a table declaration"),
        ("a = 1\nwheels = [ { r = 1 }\n", "car.toml: not TOML: Unclosed array (at end of document)"),
    ],
)
def test_text_that_is_not_toml(tmp_path, text, problem):
    with pytest.raises(CardError) as caught:
        toml.read(write(tmp_path, text))
    assert caught.value.problems == [f"{tmp_path}/{problem}"]


# --- lines ---


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a = 1\nb = 2\n", {("a",): 1, ("b",): 2}),
        ("a.b = 1\na.c.d = 2\n", {("a", "b"): 1, ("a", "c"): 2, ("a", "c", "d"): 2}),
        ("[a]\nb = 1\n[a.c]\nd = 2\n", {("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", "d"): 4}),
        ("[[a]]\n[[a]]\nb = 1\n[a.c]\nd = 1\n", {("a", 0): 1, ("a", 1): 2, ("a", 1, "b"): 3, ("a", 1, "c", "d"): 5}),
        ("[[a]]\n[[a.b]]\nc = 1\n[[a.b]]\nc = 1\n[[a]]\n[[a.b]]\n", {("a", 0, "b", 1, "c"): 5, ("a", 1, "b", 0): 7}),
        ("a = [\n1,\n2, [ 3,\n4] ]\n", {("a", 0): 2, ("a", 1): 3, ("a", 2): 3, ("a", 2, 1): 4}),
        ('a = """\nx = 1\n\\""" [b]\n"""\nc = 1\n', {("a",): 1, ("c",): 5}),
        ("a = '''\n# ]\n'''\nb = 1\n", {("b",): 4}),
        ('"a.b" = 1\n"c" . \'d e\' = 2\n', {("a.b",): 1, ("c", "d e"): 2}),
        ("[ 'a]b' ]\nc = 1\n[[\"d]]e\"]]\nf = 1\n", {("a]b", "c"): 2, ("d]]e", 0, "f"): 4}),
        ("a = '#'  # comment = 3\n # b = 4\nb = 1979-05-27T07:32:00Z\n", {("a",): 1, ("b",): 3}),
        ('"a\\"=b" = 1\nc = 2\n', {('a"=b',): 1, ("c",): 2}),
    ],
)
def test_line_of_each_key(tmp_path, text, lines):
    document = toml.read(write(tmp_path, text))
    assert {path: int(document.origins[path].rpartition(":")[2]) for path in lines} == lines


names = st.text(string.ascii_lowercase, min_size=1, max_size=3)
scalars = st.sampled_from(
    ["1", "-2.5e3", "true", '"text # [ { ="', "'it = ]'", '"""two\nlines = [\n"""', "07:32:00", "nan"]
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda v: "[" + ",\n ".join(v) + " # end\n]")
        | st.dictionaries(names, scalars.filter(lambda v: "\n" not in v), max_size=3).map(
            lambda d: "{" + ", ".join(f"{k} = {v}" for k, v in d.items()) + "}"
        )
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(names, values, max_size=4),
    st.dictionaries(names, st.dictionaries(names, values, max_size=3), max_size=3),
)
@settings(deadline=None, max_examples=150)
def test_every_value_of_any_file_has_the_line_of_its_key(top, tables):
    """The text is built here, so the line of each key is known without the scanner."""
    lines, expected = [], {}
    for table, content in [("", top), *(item for item in tables.items() if item[0] not in top)]:
        if table:
            lines += ["# a table", f"[{table}]"]
        for key, value in content.items():
            expected[(table, key) if table else (key,)] = len(lines) + 1
            lines += f"{key} = {value}".split("\n")
    text = "\n".join(lines) + "\n"
    scanned = toml._Scanner(text).lines
    assert {path: scanned[path] for path in expected} == expected
    for path in _paths(tomllib.loads(text), ()):
        assert path in scanned


def _paths(value, path):
    if path:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _paths(inner, (*path, key))


# --- layers ---


def test_place_of_a_value_that_has_none_is_that_of_the_table_around_it():
    document = toml.Document({}, {("a",): "f:3", ("a", 1): "f:5"}, "f")
    assert [document.where(p) for p in (("a", 1, "b"), ("a", 0), ("b", "c"), ())] == ["f:5", "f:3", "f", "f"]


def test_tables_merge_and_arrays_replace():
    base = toml.Document(
        {"t": {"a": 1, "b": [1, 2]}, "x": 1},
        {("t",): "p:1", ("t", "a"): "p:2", ("t", "b"): "p:3", ("t", "b", 1): "p:4", ("x",): "p:5"},
        "p",
    )
    above = toml.Document(
        {"t": {"b": [3]}, "y": 2}, {("t",): "c:1", ("t", "b"): "c:2", ("t", "b", 0): "c:2", ("y",): "c:3"}, "c"
    )
    merged = toml.merge(base, above)
    assert merged.data == {"t": {"a": 1, "b": [3]}, "x": 1, "y": 2}
    assert merged.origins[("t", "a")] == "p:2"
    assert merged.origins[("t", "b")] == "c:2"
    assert ("t", "b", 1) not in merged.origins
    assert merged.name == "c"


def test_a_layer_without_a_name_keeps_the_name_of_the_file():
    merged = toml.merge(toml.Document({}, {}, "card.toml"), toml.Document({"a": 1}, {("a",): "x"}))
    assert merged.name == "card.toml"


BASE = toml.Document(
    {"tracking": {"b_z": 2.0}, "modules": [{"name": "vertex", "sigma": 5.0}, {"name": "tof", "sigma": 20.0}]},
    {("modules", 1, "name"): "f:7"},
    "f",
)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("tracking.b_z=1.5", ("tracking", "b_z"), 1.5),
        ("tracking.b_z = 1.5", ("tracking", "b_z"), 1.5),
        ("new.table.x=[1, 2]", ("new", "table", "x"), [1, 2]),
        ("tracking.name='a=b'", ("tracking", "name"), "a=b"),
        ("tracking.name=every_hit", ("tracking", "name"), "every_hit"),
        ("tracking.name = none ", ("tracking", "name"), "none"),
        ("tracking.name=true", ("tracking", "name"), True),
        ("modules.tof.sigma=25", ("modules", 1, "sigma"), 25),
    ],
)
def test_assignment_sets_one_value(text, path, value):
    merged = toml.merge(BASE, toml.assignment(text, BASE))
    found = merged.data
    for part in path:
        found = found[part]
    assert found == value
    assert merged.where(path) == f"--set {text}"
    assert merged.data["modules"][0] == BASE.data["modules"][0]
    assert merged.where(("missing",)) == "f"


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("tracking", "--set tracking: must read key=value", "for example --set tracking.luts=/path/to/luts"),
        ("=1", "--set =1: must read key=value", "for example"),
        ("a..b=1", "--set a..b=1: must read key=value", "for example"),
        ("a=b c", "--set a=b c: 'b c' is not a TOML value", "strings need quotes: --set 'key=\"text\"'"),
        ("a=1.x", "--set a=1.x: '1.x' is not a TOML value", "strings need quotes: --set 'key=\"text\"'"),
        ("a=", "--set a=: '' is not a TOML value", "strings need quotes"),
        ("a=1\nb=2", "--set a=1\nb=2: '1\\nb=2' is not a TOML value", "strings need quotes"),
        ("modules.rich.x=1", "--set modules.rich.x=1: no modules entry called 'rich' (there are: vertex, tof)", ""),
        ("modules.tof=1", "--set modules.tof=1: no modules entry called 'tof' (there are: vertex, tof)", ""),
    ],
)
def test_assignment_that_cannot_be_made(text, problem, hint):
    with pytest.raises(CardError) as caught:
        toml.assignment(text, BASE)
    assert caught.value.problems == [problem]
    assert caught.value.hint.startswith(hint)


def test_paths_are_written_as_people_write_them():
    assert toml.dotted(("layers", 3, "r")) == "layers[3].r"
    assert toml.dotted(("a", "b")) == "a.b"
