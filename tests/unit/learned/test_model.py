"""Models and sidecars: what is refused, with words that say what was allowed; what a model makes of rows, bit by bit."""

from __future__ import annotations

import json
import pickle
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from fastsim.errors import CardError, PluginError, UsageError
from fastsim.learned.model import ROWS_AT_ONCE, find_model, load_model
from fastsim.rng import Streams, normals_1, uniforms_1
from tests.learned_models import WEIGHTS, graph, sidecar, tensor, write

KEY = Streams(5).key("toy/noise")


def problems(path, folder):
    with pytest.raises(CardError) as caught:
        load_model(path)
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def rows(n, seed=1):
    generator = np.random.default_rng(seed)
    values = {"pt": generator.uniform(0.1, 50.0, n), "slope2": generator.uniform(0.0, 10.0, n)}
    return values, generator.integers(0, 2**40, n, dtype=np.uint64), np.arange(n, dtype=np.int32)


# --- what comes out -----------------------------------------------------------------------------------------------------------


def test_a_model_is_its_graph_of_scaled_features_and_addressed_noise(tmp_path):
    model = load_model(write(tmp_path))
    values, event_id, index = rows(100)
    found = model.run(values, event_id, index, KEY)
    noise = [normals_1(0, i, e, KEY.k0, KEY.k1)[0] for i, e in zip(index, event_id, strict=True)]
    expected = np.column_stack([(values["pt"] - 1.0) / 2.0, values["slope2"], noise]) @ WEIGHTS.astype(float)
    assert np.allclose(found.values["a"], expected[:, 0], rtol=1e-5, atol=1e-5)
    assert np.allclose(found.values["b"], 10.0 + 4.0 * expected[:, 1], rtol=1e-5, atol=1e-5)
    assert found.is_valid.all()
    assert found.counts == {}


def test_uniform_noise_of_an_odd_number(tmp_path):
    node = helper.make_node("Identity", ["noise"], ["out"])
    net = graph([node], [tensor("noise", 3)], [tensor("out", 3)], [])
    values = [{"name": name, "unit": "", "doc": "u"} for name in "abc"]
    path = write(
        tmp_path, net, inputs=[{"name": "noise", "dtype": "float32", "noise": "uniform", "n_noise": 3}],
        outputs=[{"name": "out", "dtype": "float32", "values": values}], variables={}, rows={"table": "track"},
    )  # fmt: skip
    found = load_model(path).run({}, np.array([7, 8], dtype=np.uint64), np.array([3, 4], dtype=np.int32), KEY).values
    for k, (event, index) in enumerate(((7, 3), (8, 4))):
        u = [*uniforms_1(0, index, event, KEY.k0, KEY.k1), uniforms_1(1, index, event, KEY.k0, KEY.k1)[0]]
        assert [found[name][k] for name in "abc"] == list(np.float32(u))


def deep(tmp_path):
    """A network of 40 tanh units and an odd number of outputs, whose rows a fast matrix product might treat unequally."""
    generator = np.random.default_rng(2)
    weights = [("w", (3, 40)), ("v", (40, 40)), ("u", (40, 3))]
    nodes, name = [helper.make_node("Concat", ["features", "noise"], ["x0"], axis=1)], "x0"
    for k, (weight, _) in enumerate(weights):
        nodes.append(helper.make_node("MatMul", [name, weight], [f"y{k}"]))
        name = "out" if k == 2 else f"x{k + 1}"
        nodes.append(helper.make_node("Tanh" if k < 2 else "Sigmoid", [f"y{k}"], [name]))
    numbers = [numpy_helper.from_array(generator.normal(size=s).astype(np.float32), w) for w, s in weights]
    values = [{"name": f"o{k}", "unit": "", "doc": "x"} for k in range(3)]
    outputs = [{"name": "out", "dtype": "float32", "values": values}]
    return write(tmp_path, graph(nodes, None, [tensor("out", 3)], numbers), outputs=outputs)


@pytest.mark.parametrize("size", [1, 7, 63, 64, 65, 1000])
def test_results_do_not_depend_on_the_size_of_batches(tmp_path, size):
    model = load_model(deep(tmp_path))
    values, event_id, index = rows(1000)
    whole = model.run(values, event_id, index, KEY).values
    for first in range(0, 1000, size):
        part = slice(first, first + size)
        some = model.run({k: v[part] for k, v in values.items()}, event_id[part], index[part], KEY).values
        for name in whole:
            assert np.array_equal(some[name], whole[name][part])


def test_no_rows_are_no_work(tmp_path):
    found = load_model(write(tmp_path)).run({"pt": np.empty(0), "slope2": np.empty(0)}, *rows(0)[1:], KEY)
    assert [len(values) for values in found.values.values()] == [0, 0]


def test_a_model_survives_the_way_to_another_process(tmp_path):
    model = load_model(write(tmp_path))
    values, event_id, index = rows(10)
    sent = pickle.loads(pickle.dumps(model))
    assert sent._session is None
    assert np.array_equal(
        sent.run(values, event_id, index, KEY).values["a"], model.run(values, event_id, index, KEY).values["a"]
    )


def test_sessions_have_one_thread(tmp_path):
    options = load_model(write(tmp_path)).session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


# --- outside the training -----------------------------------------------------------------------------------------------------


def test_rows_outside_are_clamped_or_not_measured_and_counted(tmp_path):
    model = load_model(write(tmp_path))
    values, event_id, index = rows(4)
    values["pt"][1] = 200.0
    values["slope2"][2], values["slope2"][3] = 401.0, np.nan
    found = model.run(values, event_id, index, KEY)
    edge = model.run({**values, "pt": np.where(values["pt"] > 100.0, 100.0, values["pt"])}, event_id, index, KEY)
    assert found.counts == {"pt outside the training, clamped": 1, "slope2 outside the training, not measured": 2}
    assert found.is_valid.tolist() == [True, True, False, False]
    assert np.array_equal(np.isnan(found.values["a"]), ~found.is_valid)
    assert found.values["a"][1] == edge.values["a"][1]


def test_rows_outside_can_end_the_run(tmp_path):
    inputs = sidecar()["inputs"]
    inputs[0]["features"][0]["outside"] = "error"
    model = load_model(write(tmp_path, inputs=inputs))
    values, event_id, index = rows(4)
    values["pt"][1] = 200.0
    with pytest.raises(
        PluginError, match=r"toy.onnx: pt = 200 GeV is outside what the model was trained for, 0 to 100\nhint: choose"
    ):
        model.run(values, event_id, index, KEY)


def test_no_number_cannot_be_clamped(tmp_path):
    values, event_id, index = rows(4)
    values["pt"][1] = np.nan
    with pytest.raises(PluginError, match="pt = nan GeV is outside what the model was trained for, 0 to 100"):
        load_model(write(tmp_path)).run(values, event_id, index, KEY)


def test_a_graph_that_gives_no_number_is_found(tmp_path):
    nodes = [
        helper.make_node("Concat", ["features", "noise"], ["all"], axis=1),
        helper.make_node("MatMul", ["all", "weights"], ["y"]),
        helper.make_node("Log", ["y"], ["out"]),
    ]
    values, event_id, index = rows(100)
    with pytest.raises(PluginError, match=r"toy.onnx: a is nan at pt = .*, slope2 = "):
        load_model(write(tmp_path, graph(nodes))).run(values, event_id, index, KEY)


# --- what is refused ----------------------------------------------------------------------------------------------------------

FALSE, TRUE = (numpy_helper.from_array(np.array(value), "flag") for value in (False, True))
RATIO = numpy_helper.from_array(np.float32(0.5), "ratio")


def dropout(*flag):
    nodes = graph().graph.node
    return [
        nodes[0],
        helper.make_node("Dropout", ["all", *flag], ["kept"]),
        helper.make_node("MatMul", ["kept", "weights"], ["out"]),
    ]


def noisy(kind, **more):
    nodes = graph().graph.node
    return [
        *nodes,
        helper.make_node(kind, *([["out"]] if kind.endswith("Like") or kind == "Bernoulli" else [[]]), ["z"], **more),
    ]


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        (noisy("RandomNormal", shape=[1]), "RandomNormal"),
        (noisy("RandomUniform", shape=[1]), "RandomUniform"),
        (noisy("RandomNormalLike"), "RandomNormalLike"),
        (noisy("RandomUniformLike"), "RandomUniformLike"),
        (noisy("Bernoulli"), "Bernoulli"),
        ([*graph().graph.node, helper.make_node("Multinomial", ["out"], ["z"])], "Multinomial"),
        (dropout("ratio", "flag"), "Dropout (which may train)"),
    ],
)  # fmt: skip
def test_graphs_with_random_numbers_are_refused(tmp_path, nodes, names):
    weights = list(graph().graph.initializer)
    path = write(tmp_path, graph(nodes, initializers=[*weights, RATIO, TRUE]))
    why = "they must be an input (noise), so that batches and workers cannot change results"
    assert problems(path, tmp_path) == [f"toy.onnx: draws random numbers in the graph: {names}; {why}"]


def test_random_numbers_are_found_in_branches_and_functions(tmp_path):
    inner = helper.make_graph([helper.make_node("RandomNormal", [], ["r"], shape=[1])], "b", [], [tensor("r", 1)])
    branch = helper.make_node("If", ["flag"], ["z"], then_branch=inner, else_branch=inner)
    weights = list(graph().graph.initializer)
    one = graph([*graph().graph.node, branch], initializers=[*weights, TRUE])
    function = helper.make_function(
        "own", "F", ["x"], ["y"], [helper.make_node("Bernoulli", ["x"], ["y"])], [helper.make_opsetid("", 17)]
    )
    call = helper.make_node("F", ["out"], ["z"], domain="own")
    two = graph([*graph().graph.node, call], functions=[function], opsets=[helper.make_opsetid("own", 1)])
    for net, name in ((one, "RandomNormal"), (two, "Bernoulli")):
        (problem,) = problems(write(tmp_path, net), tmp_path)
        assert problem.startswith(f"toy.onnx: draws random numbers in the graph: {name};")


@pytest.mark.parametrize("flag", [(), ("ratio",), ("ratio", ""), ("ratio", "flag")])
def test_dropout_that_does_not_train_is_fine(tmp_path, flag):
    weights = list(graph().graph.initializer)
    load_model(write(tmp_path, graph(dropout(*flag), initializers=[*weights, RATIO, FALSE])))
    if "flag" in flag:
        constant = helper.make_node("Constant", [], ["flag"], value=FALSE)
        load_model(write(tmp_path, graph([constant, *dropout(*flag)], initializers=[*weights, RATIO])))


def test_other_ways_for_a_graph_to_surprise_are_refused(tmp_path):
    nodes = list(graph().graph.node)
    training = helper.make_node("BatchNormalization", ["out", *"abcd"], ["z", "e", "f"], training_mode=1)
    foreign = helper.make_node("Magic", ["out"], ["z"], domain="com.example")
    external = graph()
    external.graph.initializer[0].external_data.add(key="location", value="weights.bin")
    for net, text in (
        (graph([*nodes, training]), "rows of a batch change each other: BatchNormalization (which trains)"),
        (
            graph([*nodes, foreign]),
            "operators outside the standard: com.example.Magic (allowed: those of ai.onnx, ai.onnx.ml)",
        ),
        (external, "keeps weights in other files, which its sha256 does not know: save it as one file"),
    ):
        assert f"toy.onnx: {text}" in problems(write(tmp_path, net), tmp_path)


def test_graphs_whose_rows_change_each_other_are_refused(tmp_path):
    mean = [
        helper.make_node("Concat", ["features", "noise"], ["all"], axis=1),
        helper.make_node("ReduceMean", ["all"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["all", "m"], ["x"]),
        helper.make_node("MatMul", ["x", "weights"], ["out"]),
    ]
    assert problems(write(tmp_path, graph(mean)), tmp_path) == [
        "toy.onnx: outputs: out of a row changes with the other rows of its batch"
    ]


def test_graphs_that_fail_at_work_or_give_another_shape_are_refused(tmp_path):
    free = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["rows", "columns"])
    few = [*graph().graph.node[:1], helper.make_node("MatMul", ["all", "narrow"], ["out"])]
    narrow = numpy_helper.from_array(WEIGHTS[:, :1], "narrow")
    assert problems(write(tmp_path, graph(few, outputs=[free], initializers=[narrow])), tmp_path) == [
        "toy.onnx: outputs: out of 128 rows has shape (128, 1), the sidecar (128, 2)"
    ]
    shape = numpy_helper.from_array(np.array([10, 2]), "shape")
    nodes = [*graph().graph.node[:1], helper.make_node("MatMul", ["all", "weights"], ["y"])]
    fixed = [*nodes, helper.make_node("Reshape", ["y", "shape"], ["out"])]
    weights = list(graph().graph.initializer)
    (problem,) = problems(write(tmp_path, graph(fixed, outputs=[free], initializers=[*weights, shape])), tmp_path)
    assert problem.startswith("toy.onnx: onnxruntime cannot run it (")


@pytest.mark.parametrize(
    ("net", "text"),
    [
        (graph(inputs=[tensor("noise", 1), tensor("features", 2)]),
         "inputs: the graph has noise, features, the sidecar features, noise, in this order"),
        (graph(inputs=[tensor("features", 2), tensor("noise", 1), tensor("more", 1)]),
         "inputs: the graph has features, noise, more, the sidecar features, noise, in this order"),
        (graph(inputs=[tensor("features", 2, TensorProto.DOUBLE), tensor("noise", 1)]),
         "inputs: the graph has features: float64 (rows, 2), the sidecar features: float32 (rows, 2)"),
        (graph(inputs=[tensor("features", 2, TensorProto.FLOAT16), tensor("noise", 1)]),
         "inputs: the graph has features: type 10 of ONNX (rows, 2), the sidecar features: float32 (rows, 2)"),
        (graph(inputs=[tensor("features", 3), tensor("noise", 1)]),
         "inputs: the graph has features: float32 (rows, 3), the sidecar features: float32 (rows, 2)"),
        (graph(inputs=[tensor("features", 2, rows=10), tensor("noise", 1)]),
         "inputs: the graph has features: float32 (10, 2), the sidecar features: float32 (rows, 2)"),
        (graph(inputs=[helper.make_tensor_value_info("features", 1, ["rows", 2, 1]), tensor("noise", 1)]),
         "inputs: the graph has features: float32 (rows, 2, 1), the sidecar features: float32 (rows, 2)"),
        (graph(outputs=[tensor("all", 3)]), "outputs: the graph has all, the sidecar out, in this order"),
        (graph(outputs=[tensor("out", 5)]), "outputs: the graph has out: float32 (rows, 5), the sidecar out: float32 (rows, 2)"),
    ],
)  # fmt: skip
def test_graphs_that_the_sidecar_does_not_describe_are_refused(tmp_path, net, text):
    assert problems(write(tmp_path, net), tmp_path) == [f"toy.onnx: {text}"]


def test_an_initializer_that_is_listed_as_input_is_none(tmp_path):
    load_model(write(tmp_path, graph(inputs=[tensor("features", 2), tensor("noise", 1), tensor("weights", 2, rows=3)])))


def test_files_that_are_not_there_or_not_what_they_say(tmp_path):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes() + b"\0")
    (problem,) = problems(path, tmp_path)
    assert problem.startswith("toy.onnx: is not the model that toy.json describes: sha256 is ")
    (problem,) = problems(write(tmp_path, b"no model"), tmp_path)
    assert problem.startswith("toy.onnx: not an ONNX file (")
    broken = graph([helper.make_node("MatMul", ["features", "nothing"], ["out"])])
    (problem,) = problems(write(tmp_path, broken), tmp_path)
    assert problem.startswith("toy.onnx: onnxruntime cannot run it (")
    path = write(tmp_path)
    path.unlink()
    assert problems(path, tmp_path) == ["toy.onnx: cannot be read (No such file or directory)"]
    path.with_suffix(".json").write_text("{")
    (problem,) = problems(path, tmp_path)
    assert problem.startswith("toy.json: cannot be read (")
    path.with_suffix(".json").write_text("[]")
    assert problems(path, tmp_path) == ["toy.json: must be an object (got list)"]
    path.with_suffix(".json").unlink()
    assert problems(path, tmp_path) == ["toy.json: no such file"]


def test_unknown_names_list_what_ships():
    for name in ("nothing", "pyproject.toml"):
        with pytest.raises(
            CardError,
            match=f"module 'm': model: no such model: {name}\nhint: shipped: .*; or give the path of an .onnx",
        ):
            find_model(name, where="module 'm': model")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.update(colour=1), "colour: not a known key (allowed: description, inputs, licence,"),
        (lambda s: s.update(sha256="x"), "sha256: string should match pattern"),
        (lambda s: s.pop("licence"), "licence: missing"),
        (lambda s: s["rows"].update(table="hits"), "rows.table: must be 'event', 'weight',"),
        (lambda s: s["inputs"][1].update(dtype="float16"), "inputs[1].dtype: must be 'float32', 'float64' or 'int64'"),
        (lambda s: s["inputs"][1].pop("n_noise"), "inputs[1]: noise and n_noise need each other"),
        (lambda s: s["inputs"][1].pop("noise"), "inputs[1]: needs features or noise, and not both (got neither)"),
        (lambda s: s["inputs"][0].update(noise="normal", n_noise=1),
         "inputs[0]: needs features or noise, and not both (got features and noise)"),
        (lambda s: s["inputs"][0]["features"][0].update(high=-1.0), "inputs[0].features[0].high: must be above low = 0 (got -1)"),
        (lambda s: s["inputs"][0]["features"][0].update(outside="guess"),
         "inputs[0].features[0].outside: must be 'clamp', 'not_measured' or 'error'"),
        (lambda s: s["inputs"][0]["features"][0].update(scale=0.0), "inputs[0].features[0].scale: must be greater than 0"),
        (lambda s: s["inputs"][0]["features"][1].update(name="pt"), "inputs[0].features[1].name: given twice: pt"),
        (lambda s: s["outputs"][0]["values"][1].update(name="a"), "outputs[0].values[1].name: given twice: a"),
    ],
)  # fmt: skip
def test_sidecars_are_checked(tmp_path, change, text):
    path = write(tmp_path)
    table = json.loads(path.with_suffix(".json").read_text())
    change(table)
    path.with_suffix(".json").write_text(json.dumps(table))
    assert any(problem.startswith(f"toy.json: {text}") for problem in problems(path, tmp_path)), problems(
        path, tmp_path
    )


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_missing_packages_are_named(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UsageError, match=rf"trained models need the package {package}\nhint: pip install 'fastsim\[ml\]'"
    ):
        load_model(write(tmp_path))


def test_padding_is_to_whole_blocks():
    assert ROWS_AT_ONCE % 16 == 0  # single precision numbers in the widest registers there are
