"""Graphs in ONNX: what is refused in them, and sessions that give the same bits in every process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastsim.errors import CardError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Operators with random numbers of their own (onnx.ai/onnx/operators); Dropout is one when it trains.
RANDOM: Final = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
DOMAINS: Final = ("", "ai.onnx", "ai.onnx.ml")  # whose operators are specified; others may do anything
DTYPES: Final = {1: "float32", 7: "int64", 11: "float64"}  # onnx.TensorProto.DataType
HINT: Final = "pip install 'fastsim[ml]'"


class Tensor(NamedTuple):
    """Name, type and number of columns of an input or output (rows, columns)."""

    name: str
    dtype: str
    n_columns: int

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} (rows, {self.n_columns})"


def faults(content: bytes, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Iterator[str]:
    """What is wrong with a graph that ought to have these inputs and outputs; raises UsageError without onnx."""
    try:
        import onnx  # noqa: PLC0415  (0.2 s, and an extra)
    except ImportError:
        raise UsageError("trained models need the package onnx", hint=HINT) from None
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # noqa: BLE001  (whatever its reader of protobuf raises)
        yield f"not an ONNX file ({error})"
        return
    yield from _forbidden(model)
    given = {tensor.name for tensor in model.graph.initializer}
    there = [_described(value) for value in model.graph.input if value.name not in given]
    yield from _differences("inputs", there, inputs)
    yield from _differences("outputs", [_described(value) for value in model.graph.output], outputs)


def _forbidden(model: Any) -> Iterator[str]:
    random, foreign, training = set(), set(), set()
    for node in _nodes(model):
        if node.op_type in RANDOM:
            random.add(node.op_type)
        elif node.op_type == "Dropout" and _may_train(model, node):
            random.add("Dropout (which may train)")
        elif node.op_type == "BatchNormalization" and any(a.name == "training_mode" and a.i for a in node.attribute):
            training.add("BatchNormalization (which trains)")
        local = {function.domain for function in model.functions}
        if node.domain not in DOMAINS and node.domain not in local:
            foreign.add(f"{node.domain}.{node.op_type}")
    if random:
        yield (
            f"draws random numbers in the graph: {', '.join(sorted(random))}; they must be an input (noise), so that batches and "
            "workers cannot change results"
        )
    if training:
        yield f"rows of a batch change each other: {', '.join(sorted(training))}"
    if foreign:
        allowed = ", ".join(domain for domain in DOMAINS if domain)
        yield f"operators outside the standard: {', '.join(sorted(foreign))} (allowed: those of {allowed})"
    if any(tensor.external_data for tensor in model.graph.initializer):
        yield "keeps weights in other files, which its sha256 does not know: save it as one file"


def _nodes(model: Any) -> Iterator[Any]:
    """All nodes, those of functions and of the bodies of If, Loop and Scan included."""
    waiting = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(graph.node)


def _may_train(model: Any, node: Any) -> bool:
    """Whether a Dropout drops: its third input (since opset 12) is there, and not a constant that is false."""
    from onnx import numpy_helper  # noqa: PLC0415  (as onnx)

    if len(node.input) < 3 or not node.input[2]:
        return False
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for other in _nodes(model):
        if other.op_type == "Constant" and other.attribute and other.attribute[0].name == "value":
            constants[other.output[0]] = other.attribute[0].t
    found = constants.get(node.input[2])
    return found is None or bool(numpy_helper.to_array(found).any())


def _described(value: Any) -> tuple[str, str, list[int | None]]:
    """Name, type and dimensions (None: any) of an input or output."""
    tensor = value.type.tensor_type
    sizes = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    return value.name, DTYPES.get(tensor.elem_type, f"type {tensor.elem_type} of ONNX"), sizes


def _differences(what: str, there: list[tuple[str, str, list[int | None]]], wanted: Sequence[Tensor]) -> Iterator[str]:
    if [name for name, _, _ in there] != [tensor.name for tensor in wanted]:
        names, others = ", ".join(name for name, _, _ in there), ", ".join(tensor.name for tensor in wanted)
        yield f"{what}: the graph has {names or 'none'}, the sidecar {others}, in this order"
        return
    for (name, dtype, sizes), tensor in zip(there, wanted, strict=True):
        shown = f"{name}: {dtype} ({', '.join('rows' if size is None else str(size) for size in sizes)})"
        fits = len(sizes) == 2 and sizes[0] is None and sizes[1] in (None, tensor.n_columns)
        if dtype != tensor.dtype or not fits:
            yield f"{what}: the graph has {shown}, the sidecar {tensor}"


def make_session(content: bytes, where: str) -> Any:
    """A session of one thread on the processor; raises UsageError without onnxruntime, CardError for what it cannot run."""
    try:
        import onnxruntime  # noqa: PLC0415  (an extra)
    except ImportError:
        raise UsageError("trained models need the package onnxruntime", where=where, hint=HINT) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # its default is all cores, for each session, whatever OMP_NUM_THREADS says
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they are raised, too
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no public base class
        raise CardError([f"{where}: onnxruntime cannot run it ({str(error).strip()})"]) from error
