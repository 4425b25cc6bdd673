"""Module kind "onnx": columns in and out, which rows, what a card and a sidecar may not say, and no change with batches."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

import fastsim
from fastsim import columns as c
from fastsim.errors import CardError
from fastsim.io.inspect import digest, read_provenance
from fastsim.learned.onnx import OnnxModule
from fastsim.pipeline import check
from fastsim.plugins import make_modules
from fastsim.rng import Streams, normals_1
from tests.learned_models import WEIGHTS, graph, helper, numpy_helper, sidecar, tensor, write
from tests.object_events import make_batch, track

OTHER = "one that another module makes needs dtype and doc as that module has them"


def card_of(folder, text='model = "toy.onnx"', output=""):
    model = text.replace("toy.onnx", str(folder / "toy.onnx"))
    (folder / "card.toml").write_text(
        f'extends = "alice3"\nmodules = [{{ name = "m", kind = "onnx", level = "learned", {model} }}]\n{output}'
    )
    return fastsim.load_card(folder / "card.toml")


def module_of(folder, **changes):
    write(folder, **changes)
    (module,) = make_modules(card_of(folder))
    assert isinstance(module, OnnxModule)
    return module


def faults(folder, model=None, **changes):
    write(folder, model, **changes)
    with pytest.raises(CardError) as caught:
        make_modules(card_of(folder))
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


EVENTS = [[track(pt=3.0, eta=0.5), track(pt=200.0, eta=-1.0)], [], [track(pt=1.0, found=False), track(pt=1.0, eta=4.0)]]


def test_columns_of_the_chosen_rows(tmp_path):
    module, batch = module_of(tmp_path), make_batch(EVENTS)
    made = module.apply(batch, Streams(3))
    check(module, batch, made)
    mask, a, b = made.columns.values()
    assert [str(column) for column in made.columns] == ["track.m_is_measured", "track.m_a", "track.m_b"]
    assert [column.unit for column in made.columns] == ["", "", "cm"]
    assert mask.tolist() == [True, True, False, False]  # not found; sinh(4)^2 = 745 is outside the training
    assert np.array_equal(np.isnan(a), ~mask)
    assert made.counts == {"m: pt outside the training, clamped": 1, "m: slope2 outside the training, not measured": 1}
    key = Streams(3).key("m/noise")
    for row in range(2):
        noise = normals_1(0, batch[c.PARTICLE_INDEX][row], 0, key.k0, key.k1)[0]
        given = np.array([(min(batch[c.PT][row], 100.0) - 1.0) / 2.0, batch[c.RECONSTRUCTED[3]][row] ** 2, noise])
        assert np.allclose([a[row], (b[row] - 10.0) / 4.0], given @ WEIGHTS, rtol=1e-5, atol=1e-5)


def test_events_and_particles_have_models_too(tmp_path):
    """A model of events, which knows their number; one of particles reads that too, element by element of vectors if need be."""
    net = graph([helper.make_node("Add", ["features", "noise"], ["out"])], [tensor("features", 1), tensor("noise", 1)],
                [tensor("out", 1)], [])  # fmt: skip
    feature = {"name": "x", "formula": "number", "unit": "", "low": -10.0, "high": 1e6, "outside": "error"}
    for table in ("event", "particle"):
        module = module_of(
            tmp_path, model=net, rows={"table": table}, variables={"number": {"column": "event.event_id", "unit": ""}},
            inputs=[{"name": "features", "dtype": "float32", "features": [feature]},
                    {"name": "noise", "dtype": "float32", "noise": "uniform", "n_noise": 1}],
            outputs=[{"name": "out", "dtype": "float32", "values": [{"name": "y", "unit": "", "doc": "y"}]}],
        )  # fmt: skip
        batch = make_batch(EVENTS)
        made = module.apply(batch, Streams(1))
        check(module, batch, made)
        _, y = made.columns.values()
        expected = batch[c.EVENT_ID] if table == "event" else batch[c.EVENT_ID][batch.event_index(table)]
        assert np.array_equal(np.floor(y), expected)
        assert len(set(y % 1.0)) == len(y)  # each row has its own noise


def test_one_element_of_a_vector(tmp_path):
    variables = {**sidecar()["variables"], "pt": {"column": "track.cov_packed", "unit": "", "element": [14]}}
    module, batch = module_of(tmp_path, variables=variables), make_batch(EVENTS)
    cov = np.zeros((4, 15))
    cov[:, 14] = [0.5, 1.5, 2.5, 3.5]
    batch = batch.with_columns({c.COV_PACKED: cov})
    (_, other, _) = module.apply(batch, Streams(3)).columns.values()
    (_, first, _) = module.apply(batch.with_columns({c.COV_PACKED: cov + 1.0}), Streams(3)).columns.values()
    assert np.allclose((first - other)[:2], WEIGHTS[0, 0] / 2.0, rtol=1e-4)


def test_columns_of_other_modules(tmp_path):
    """Described as that module does, they are needed; else nobody knows what they are."""
    text = "measured by something"
    variables = {
        **sidecar()["variables"],
        "pt": {"column": "track.tof_mass", "unit": "GeV", "dtype": "float64", "doc": text},
    }
    module = module_of(tmp_path, variables=variables)
    assert c.Column("tof_mass", "track", "float64", "GeV", text) in module.needs
    variables["pt"]["doc"] = None
    assert faults(tmp_path, variables={k: {a: b for a, b in v.items() if b is not None} for k, v in variables.items()})[
        0
    ].startswith("toy.onnx: variables.pt: track.tof_mass is not a column of fastsim (")


@pytest.mark.parametrize(
    ("key", "variable", "text"),
    [
        ("pt", {"column": "track.pt", "unit": "MeV"}, "variables.pt: track.pt is in 'GeV' (got 'MeV')"),
        ("tan_lambda", {"column": "track.tan_lambda", "unit": "rad"},
         "variables.tan_lambda: track.tan_lambda is in 'no unit' (got 'rad')"),
        ("pt", {"column": "track.ptt", "unit": "GeV"},
         f"variables.pt: track.ptt is not a column of fastsim (did you mean 'track.pt'?); {OTHER}"),
        ("pt", {"column": "hit.zzzzzz", "unit": "GeV"},
         f"variables.pt: hit.zzzzzz is not a column of fastsim (allowed of hit: none); {OTHER}"),
        ("pt", {"column": "hit.x", "unit": "", "dtype": "float64", "doc": "x"},
         f"variables.pt: hit is not a table (allowed: {', '.join(c.TABLES)})"),
        ("pt", {"column": "particle.energy", "unit": "GeV"},
         "variables.pt: particle.energy is not of the table track or event, whose rows the model knows"),
        ("pt", {"column": "track.name", "unit": "", "dtype": "str", "doc": "x"}, "variables.pt: track.name is str, not a number"),
        ("pt", {"column": "track.cov_packed", "unit": ""},
         "variables.pt: element of track.cov_packed must be a position in (15,) (got [])"),
        ("pt", {"column": "track.cov_packed", "unit": "", "element": [15]},
         "variables.pt: element of track.cov_packed must be a position in (15,) (got [15])"),
        ("pt", {"column": "track.pt", "unit": "GeV", "element": [0]},
         "variables.pt: element of track.pt must be left out: it is a single number (got [0])"),
    ],
)  # fmt: skip
def test_variables_that_cannot_be(tmp_path, key, variable, text):
    assert faults(tmp_path, variables={**sidecar()["variables"], key: variable}) == [f"toy.onnx: {text}"]


def test_formulas_that_cannot_be(tmp_path):
    inputs = sidecar()["inputs"]
    inputs[0]["features"][0]["formula"] = "pt + eta"
    assert faults(tmp_path, inputs=inputs, rows={"table": "track", "where": "pt >"}) == [
        "toy.onnx: feature pt: 'eta' is not a variable (allowed: pt, tan_lambda, is_reconstructed, pi)",
        "toy.onnx: rows.where: not a formula (invalid syntax (<unknown>, line 1))",
    ]


def test_a_card_says_learned_and_which_model(tmp_path):
    write(tmp_path)
    with pytest.raises(CardError, match="no such model: other"):
        make_modules(card_of(tmp_path, 'model = "other"'))
    path = card_of(tmp_path).path
    path.write_text(path.read_text().replace('"learned"', '"detailed"'))
    with pytest.raises(CardError, match=r"level: must be 'learned' \(got 'detailed'"):
        make_modules(fastsim.load_card(path))


@pytest.fixture
def big(tmp_path):
    """A network of the size of real ones."""
    generator = np.random.default_rng(1)
    sizes = [("w", (3, 33)), ("v", (33, 2))]
    weights = [numpy_helper.from_array(generator.normal(size=s).astype(np.float32), w) for w, s in sizes]
    nodes = [
        helper.make_node("Concat", ["features", "noise"], ["all"], axis=1),
        helper.make_node("MatMul", ["all", "w"], ["x"]),
        helper.make_node("Tanh", ["x"], ["y"]),
        helper.make_node("MatMul", ["y", "v"], ["out"]),
    ]
    write(tmp_path, graph(nodes, initializers=weights))
    return card_of(tmp_path, output='[output]\nformat = "FORMAT"\n'.replace("FORMAT", "parquet"))


def test_batches_and_workers_change_nothing(big, ttbar, tmp_path):
    digests = []
    for number, (size, workers) in enumerate(((1000, 1), (1, 1), (5, 2))):
        out = tmp_path / f"{number}.parquet"
        fastsim.simulate_files([ttbar], big, out, events=(0, 12), batch_size=size, workers=workers)
        digests.append(digest(out))
    assert len(set(digests)) == 1
    (events,) = fastsim.simulate(ttbar, big, events=(0, 12))
    assert ak.all(events.tracks.m_is_measured == (events.tracks.is_reconstructed & ~np.isnan(events.tracks.m_a)))
    assert ak.any(events.tracks.m_is_measured)


def test_the_file_says_which_model_made_it(big, ttbar, tmp_path):
    fastsim.simulate_files([ttbar], big, tmp_path / "out.parquet", events=(0, 1))
    identity = read_provenance(tmp_path / "out.parquet")["identity"]
    model = make_modules(big)[0].fingerprint
    assert identity["models"] == {"m": model}
    assert set(model) == {"model", "sha256", "sidecar_sha256"}
