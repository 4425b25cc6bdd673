"""Cards: layers (defaults, parents, the card, --set), every fault with its place, all of them at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastsim import resources
from fastsim.cards import load_card
from fastsim.errors import CardError
from fastsim.plugins import make_modules

DETECTOR = (resources.data_dir("detectors") / "alice3_v2.toml").read_text()
CARD = """\
schema_version = 1
detector = "my.toml"
seed = 7

[tracking]
level = "parametric"
luts = "auto"
undefined_species = "skip"
overflow = { pt = "clamp", eta = "not_reconstructed", dnch_deta = "clamp" }
dnch_deta_eta_max = 0.8
species = ["mu", "pi"]

[[modules]]
name = "vertex"
kind = "vertex"
level = "parametric"
sigma_x_um = 5.0
sigma_y_um = 5.0
sigma_z_um = 5.0

[output]
format = "ao2d"
events_per_frame = 1000
compression_level = 1
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "my.toml").write_text(DETECTOR)
    (tmp_path / "card.toml").write_text(CARD)
    return tmp_path


def problems_of(folder, text=None, name="card.toml", **options) -> list[str]:
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(CardError) as caught:
        make_modules(load_card(folder / name, **options))
    assert caught.value.exit_code == 3
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def test_shipped_card_is_fine():
    loaded = load_card("alice3")
    assert loaded.detector.name == "alice3_v2"
    assert loaded.path == resources.data_dir("cards") / "alice3.toml"
    assert [module.name for module in make_modules(loaded)] == ["vertex"]


def test_card_with_a_detector_beside_it(folder, monkeypatch):
    assert load_card(folder / "card.toml").detector.name == "alice3_v2"
    monkeypatch.chdir("/")  # relative to the card, not to where we are
    assert load_card(folder / "card.toml").card.seed == 7


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "seed = 7",
            "sed = 7",
            ["card.toml: seed: missing", "card.toml:3: sed: not a known key (did you mean 'seed'?)"],
        ),
        (
            "undefined_species",
            "undefined_specie",
            [
                "card.toml:5: tracking.undefined_species: missing",
                "card.toml:8: tracking.undefined_specie: not a known key (did you mean 'undefined_species'?)",
            ],
        ),
        ("seed = 7", "seed = -1", ["card.toml:3: seed: must be greater than or equal to 0 (got -1, an integer)"]),
        ("seed = 7", "seed = 7.0", ["card.toml:3: seed: must be a valid integer (got 7.0, a number)"]),
        ("seed = 7", 'seed = "7"', ["card.toml:3: seed: must be a valid integer (got '7', a string)"]),
        ("seed = 7", "seed = true", ["card.toml:3: seed: must be a valid integer (got True, a boolean)"]),
        ("schema_version = 1", "schema_version = 2", ["card.toml:1: schema_version: must be 1 (got 2, an integer)"]),
        ("0.8", '"0.8"', ["card.toml:10: tracking.dnch_deta_eta_max: must be a valid number (got '0.8', a string)"]),
        (
            'pt = "clamp"',
            'pt = "ignore"',
            [
                "card.toml:9: tracking.overflow.pt: must be 'clamp', 'not_reconstructed' or 'error' (got 'ignore', a string)"
            ],
        ),
        (
            'eta = "not',
            'etta = "not',
            [
                "card.toml:9: tracking.overflow.eta: missing",
                "card.toml:9: tracking.overflow.etta: not a known key (did you mean 'eta'?)",
            ],
        ),
        (
            "compression_level = 1",
            "compression_level = 10",
            ["card.toml:24: output.compression_level: must be less than or equal to 9 (got 10, an integer)"],
        ),
        (
            "dnch_deta_eta_max = 0.8",
            "dnch_deta_eta_max = 0.8\ngrid = { pt_min = 5.0, pt_max = 5.0 }",
            ["card.toml:11: tracking.grid.pt_max: must be above pt_min = 5.0 (got 5.0)"],
        ),
        (
            "dnch_deta_eta_max = 0.8",
            "dnch_deta_eta_max = 0.8\ngrid.n_pt = 1",
            ["card.toml:11: tracking.grid.n_pt: must be greater than or equal to 2 (got 1, an integer)"],
        ),
        ("my.toml", "mine.toml", ["card.toml:2: no such detector: mine.toml"]),
        ('"my.toml"', "3", ["card.toml:2: detector: must be a valid string (got 3, an integer)"]),
        ('name = "vertex"', "", ["card.toml:13: modules[0]: needs a name (a string)"]),
        ('kind = "vertex"', "kind = 1", ["card.toml:13: modules[0]: needs a kind (a string)"]),
        (
            'name = "vertex"',
            'name = "tracking"',
            ["card.toml:14: modules[0].name: 'tracking' is taken: names select random streams and must differ"],
        ),
        ("[[modules]]", "[modules]", ["card.toml:13: modules: must be an array (got a table)"]),
    ],
)
def test_fault_in_a_card(folder, old, new, problem):
    assert old in CARD
    assert problems_of(folder, CARD.replace(old, new, 1)) == problem


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('kind = "vertex"', 'kind = "vertx"', "'vertx' is not an installed module kind (did you mean 'vertex'?)"),
        ('kind = "vertex"', 'kind = "zzz"', "'zzz' is not an installed module kind (installed: "),
        ("sigma_x_um = 5.0", "sigma_x = 5.0", "sigma_x: not a known key (did you mean 'sigma_x_um'?)"),
        (
            "sigma_y_um = 5.0",
            "sigma_y_um = -5.0",
            "sigma_y_um: must be greater than or equal to 0 (got -5.0, a number)",
        ),
        (
            'name = "vertex"',
            'name = "My vertex"',
            "name: string should match pattern '^[a-z][a-z0-9_]*$' (got 'My vertex', a string)",
        ),
        (
            'level = "parametric"\nsigma',
            'level = "detailed"\nsigma',
            "level: must be 'parametric' or 'fit' (got 'detailed', a string)",
        ),
    ],
)
def test_fault_in_the_options_of_a_module(folder, old, new, what):
    text = CARD.replace(old, new, 1)
    line = text[: text.index(new) + new.index(new.splitlines()[0])].count("\n") + 1
    (problem,) = [problem for problem in problems_of(folder, text) if what in problem]
    assert problem.startswith(f"card.toml:{line}: ")


def test_two_modules_of_one_name(folder):
    table = CARD[CARD.index("[[modules]]") : CARD.index("[output]")]
    assert problems_of(folder, CARD + "\n" + table) == [
        "card.toml:27: modules[1].name: 'vertex' is taken: names select random streams and must differ"
    ]


def test_faults_of_card_and_detector_and_of_all_modules_at_once(folder):
    (folder / "my.toml").write_text(DETECTOR.replace("b_z = 2.0", "b_z = 0.0"))
    line = DETECTOR[: DETECTOR.index("b_z")].count("\n") + 1
    assert problems_of(folder, CARD.replace("seed = 7", "seed = -7").replace("clamp", "clap", 1)) == [
        "card.toml:3: seed: must be greater than or equal to 0 (got -7, an integer)",
        "card.toml:9: tracking.overflow.pt: must be 'clamp', 'not_reconstructed' or 'error' (got 'clap', a string)",
        f"my.toml:{line}: b_z: must not be 0: without a field no momentum is measured",
    ]
    (folder / "my.toml").write_text(DETECTOR)
    other = '\n[[modules]]\nname = "b"\nkind = "vertexx"\n'
    problems = problems_of(folder, CARD.replace("sigma_x_um = 5.0", "sigma_x_um = -1.0") + other)
    assert [problem.split(":")[1] for problem in problems] == ["17", "28"]


def test_unknown_card(folder):
    with pytest.raises(CardError, match="no such card: alice4") as caught:
        load_card("alice4")
    assert caught.value.hint == f"shipped: {', '.join(resources.shipped('cards'))}; or give the path of a file"


# --- parents ---


def test_card_extends_a_shipped_one_and_another(folder):
    (folder / "child.toml").write_text('extends = "card.toml"\nseed = 9\n[output]\nevents_per_frame = 5\n')
    (folder / "grandchild.toml").write_text('extends = "child.toml"\n[tracking.overflow]\npt = "error"\n')
    loaded = load_card(folder / "grandchild.toml")
    assert loaded.card.seed == 9
    assert loaded.card.output.events_per_frame == 5
    assert loaded.card.tracking.overflow.model_dump() == {
        "pt": "error",
        "eta": "not_reconstructed",
        "dnch_deta": "clamp",
    }
    origins = {path: Path(origin).name for path, origin in loaded.document.origins.items()}
    assert origins["seed",] == "child.toml:2"
    assert origins["tracking", "overflow", "pt"] == "grandchild.toml:3"
    assert origins["tracking", "luts"] == "card.toml:7"
    (folder / "mine.toml").write_text('extends = "alice3"\n')
    assert load_card(folder / "mine.toml").card == load_card("alice3").card.model_copy(update={"extends": "alice3"})


def test_parent_in_another_folder_names_its_own_detector(folder, tmp_path_factory):
    child = tmp_path_factory.mktemp("elsewhere") / "child.toml"
    child.write_text(f'extends = "{folder / "card.toml"}"\n')
    assert load_card(child).detector.name == "alice3_v2"


def test_fault_of_a_parent_is_reported_with_the_parents_line(folder):
    (folder / "card.toml").write_text(CARD.replace("events_per_frame = 1000", "events_per_frame = 0"))
    assert problems_of(folder, 'extends = "card.toml"\nsee = 3\n', "child.toml") == [
        "card.toml:23: output.events_per_frame: must be greater than or equal to 1 (got 0, an integer)",
        "child.toml:2: see: not a known key (did you mean 'seed'?)",
    ]
    (folder / "card.toml").write_text("seed = \n")
    assert problems_of(folder, name="child.toml") == ["card.toml:1: not TOML: Invalid value"]


def test_missing_parent(folder):
    (folder / "child.toml").write_text('# mine\nextends = "nobody.toml"\n')
    with pytest.raises(CardError) as caught:
        load_card(folder / "child.toml")
    assert caught.value.problems == [f"{folder / 'child.toml'}:2: no such card: nobody.toml"]
    assert caught.value.hint == f"shipped: {', '.join(resources.shipped('cards'))}; or give the path of a file"


def test_parent_that_is_not_a_name(folder):
    assert problems_of(folder, "extends = 3\n", "child.toml") == ["child.toml:1: extends: must be a string (got 3)"]


def test_cards_that_extend_each_other(folder):
    (folder / "a.toml").write_text('extends = "b.toml"\n')
    (folder / "b.toml").write_text('extends = "a.toml"\n')
    assert problems_of(folder, name="a.toml") == ["a.toml: extends itself (a.toml -> b.toml -> a.toml)"]
    assert problems_of(folder, 'extends = "self.toml"\n', "self.toml") == [
        "self.toml: extends itself (self.toml -> self.toml)"
    ]


# --- --set and --seed ---


def test_sets_and_seed_win_over_the_card(folder):
    loaded = load_card(
        folder / "card.toml", sets=["tracking.grid.n_pt=50", "modules.vertex.sigma_x_um=1.5", "seed=8"], seed=11
    )
    assert loaded.card.tracking.grid.n_pt == 50
    assert loaded.card.modules[0]["sigma_x_um"] == 1.5
    assert loaded.card.seed == 11
    assert loaded.document.where(("seed",)) == "--seed"
    assert loaded.document.where(("modules", 0, "sigma_x_um")) == "--set modules.vertex.sigma_x_um=1.5"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tracking.gird.n_pt=5", "--set tracking.gird.n_pt=5: tracking.gird: not a known key (did you mean 'grid'?)"),
        ("seed=-1", "--set seed=-1: seed: must be greater than or equal to 0 (got -1, an integer)"),
        (
            "tracking=3",
            "--set tracking=3: tracking: must be a table (got 3, an integer)",
        ),
        (
            "modules.vertex.sigma_x_um='a'",
            "--set modules.vertex.sigma_x_um='a': sigma_x_um: must be a valid number (got 'a', a string)",
        ),
        ("detector='nope'", "--set detector='nope': no such detector: nope"),
    ],
)
def test_fault_of_a_set_names_it(folder, text, problem):
    (found,) = problems_of(folder, sets=[text])
    assert found.replace("modules[0].", "") == problem


@pytest.mark.parametrize("options", [{"sets": ["tracking.luts='x'"]}, {"seed": 3}])
def test_missing_key_is_reported_in_the_card_whatever_is_set(folder, options):
    text = CARD.replace("schema_version = 1\n", "")
    assert problems_of(folder, text, **options) == ["card.toml: schema_version: missing"]


# --- the resolved card ---


def test_canonical_text_depends_on_values_not_on_how_they_are_written(folder):
    first = load_card(folder / "card.toml").canonical()
    lines = CARD.replace("seed = 7", "seed = 0x07  # seven").splitlines()
    (folder / "other.toml").write_text("\n".join(["# a comment", *lines]))
    assert load_card(folder / "other.toml").canonical() == first
    assert json.loads(first)["card"]["seed"] == 7
    assert load_card(folder / "card.toml", seed=8).canonical() != first


def test_committed_schema_is_the_current_one():
    from fastsim import cards

    path = Path(cards.__file__).parent / "card.schema.json"
    assert json.loads(path.read_text()) == cards.Card.model_json_schema(), (
        "fastsim card schema > fastsim/cards/card.schema.json"
    )
