"""A trained model: a graph (ONNX) and its sidecar (JSON), checked against each other before anything runs.

The sidecar says what goes in, in which order, unit and range, and what comes out. Random numbers are an input like any other, fed
from addressed draws; a graph that makes its own is refused, and so is one whose rows know of each other. See docs/learned.md.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from fastsim import toml
from fastsim.columns import Table
from fastsim.errors import CardError, PluginError
from fastsim.jit import kernel
from fastsim.learned import graph
from fastsim.rng import Key, normals_1, uniforms_1

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

MODELS = Path(__file__).resolve().parents[1] / "models"  # package data, in a checkout and in a wheel
GOLDEN = 0.6180339887498949  # its multiples spread evenly, whatever their number
ROWS_AT_ONCE = 64  # see `Model.run`
Number = Literal["float32", "float64", "int64"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Variable(toml.Strict):
    """A number that formulas know by its name."""

    column: Annotated[str, Field(pattern=r"^[a-z_]+\.[A-Za-z0-9_]+$", description="table and column: track.eta")]
    unit: Annotated[str, Field(description="as the column has it")]
    element: Annotated[list[int] | None, Field(min_length=1, description="of a column with several numbers a row")] = (
        None
    )
    dtype: Annotated[str | None, Field(description="of a column that another module makes")] = None
    doc: Annotated[str | None, Field(description="of a column that another module makes, word for word")] = None
    shape: Annotated[list[int] | None, Field(description="of a row of a column that another module makes")] = None


class Feature(toml.Strict):
    """One number of an input: (value - mean) / scale goes into the graph."""

    name: Annotated[Name, Field(description="for messages and counts")]
    formula: Annotated[str | None, Field(description="of variables; the variable of this name, if absent")] = None
    unit: Annotated[str, Field(description="of the value, before mean and scale")]
    mean: Annotated[float, Field(description="is subtracted")] = 0.0
    scale: Annotated[float, Field(gt=0, description="divides")] = 1.0
    low: Annotated[float, Field(description="smallest value of the training")]
    high: Annotated[float, Field(description="largest value of the training")]
    outside: Annotated[
        Literal["clamp", "not_measured", "error"],
        Field(
            description="what becomes of a row beyond: the nearest value is taken, nothing is measured, the run ends"
        ),
    ]


class Input(toml.Strict):
    """A tensor (rows, k) of features, or of noise."""

    name: Annotated[str, Field(min_length=1, description="in the graph")]
    dtype: Number
    features: Annotated[list[Feature] | None, Field(min_length=1, description="in this order")] = None
    noise: Annotated[Literal["normal", "uniform"] | None, Field(description="standard normal, or from 0 to 1")] = None
    n_noise: Annotated[int | None, Field(ge=1, le=4096, description="random numbers a row")] = None


class Value(toml.Strict):
    """One number of an output: times scale, plus mean."""

    name: Annotated[Name, Field(description="of the column, after the module's name and _")]
    unit: Annotated[str, Field(description="of the column")]
    doc: Annotated[str, Field(min_length=1, description="of the column")]
    mean: Annotated[float, Field(description="is added")] = 0.0
    scale: Annotated[float, Field(gt=0, description="multiplies")] = 1.0


class Output(toml.Strict):
    """A tensor (rows, k)."""

    name: Annotated[str, Field(min_length=1, description="in the graph")]
    dtype: Number
    values: Annotated[list[Value], Field(min_length=1, description="in this order")]


class Rows(toml.Strict):
    """Which rows the model is for."""

    table: Annotated[Table, Field(description="whose rows they are")]
    where: Annotated[
        str | None, Field(description="formula of variables, true for the model's rows; all, if absent")
    ] = None


class Sidecar(toml.Strict):
    """What is said of a model, in a JSON file of its name beside it."""

    schema_version: Literal[1]
    name: Annotated[Name, Field(description="of the model")]
    description: Annotated[str, Field(min_length=1, description="what it does, and for which detector")]
    origin: Annotated[str, Field(min_length=1, description="how it was trained, on what")]
    licence: Annotated[str, Field(min_length=1, description="SPDX identifier, or a sentence")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="of the .onnx file")]
    rows: Rows
    variables: Annotated[dict[Name, Variable], Field(description="what formulas may use")]
    inputs: Annotated[list[Input], Field(min_length=1, description="in the graph's order")]
    outputs: Annotated[list[Output], Field(min_length=1, description="in the graph's order")]
    made_for: Annotated[
        dict[str, float | int | bool | str], Field(description="numbers of the device that the model is bound to")
    ] = Field(default_factory=dict)

    @classmethod
    def faults(cls, data: dict[str, Any]) -> Iterator[tuple[toml.Path, str]]:
        """Inputs that are neither features nor noise, or both; empty ranges; names given twice."""
        for i, table in _tables(data.get("inputs")):
            kinds = [key for key in ("features", "noise") if table.get(key) is not None]
            if len(kinds) != 1:
                yield ("inputs", i), f"needs features or noise, and not both (got {' and '.join(kinds) or 'neither'})"
            if (table.get("noise") is None) != (table.get("n_noise") is None):
                yield ("inputs", i), "noise and n_noise need each other"
            for j, feature in _tables(table.get("features")):
                low, high = feature.get("low"), feature.get("high")
                if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low >= high:
                    yield ("inputs", i, "features", j, "high"), f"must be above low = {low:g} (got {high:g})"
        for key, inner in (("inputs", "features"), ("outputs", "values")):
            seen: set[str] = set()
            for i, table in _tables(data.get(key)):
                for j, item in _tables(table.get(inner)):
                    name = item.get("name")
                    if isinstance(name, str) and name in seen:
                        yield (key, i, inner, j, "name"), f"given twice: {name}"
                    seen.add(str(name))


def _tables(value: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, item in enumerate(value if isinstance(value, list) else []):
        if isinstance(item, dict):
            yield i, item


class Predicted(NamedTuple):
    """Values (rows,) by name; which rows count; how many were outside the training's range, by feature and rule."""

    values: dict[str, NDArray[np.float64]]
    is_valid: NDArray[np.bool_]
    counts: dict[str, int]


class Model:
    """A graph and its sidecar. The session is made on first use and not sent to other processes: they make their own."""

    def __init__(self, sidecar: Sidecar, graph_bytes: bytes, where: str) -> None:
        self.sidecar = sidecar
        self.where = where
        self.features = [feature for tensor in sidecar.inputs for feature in tensor.features or []]
        self.fingerprint = {"model": sidecar.name, "sha256": sidecar.sha256, "sidecar_sha256": _hash_of(sidecar)}
        self._bytes = graph_bytes
        self._session: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}

    @property
    def session(self) -> Any:
        """The session; raises UsageError without onnxruntime and CardError for a graph that it does not run."""
        if self._session is None:
            self._session = graph.make_session(self._bytes, self.where)
        return self._session

    def run(
        self,
        values: Mapping[str, NDArray[np.float64]],
        event_id: NDArray[np.uint64],
        index: NDArray[np.int32],
        key: Key,
    ) -> Predicted:
        """Outputs of rows whose features have these `values` (rows,) by name, with noise addressed by event and index.

        All rows go in one call, padded to whole blocks of ROWS_AT_ONCE: kernels treat the last few rows of a matrix in another
        way, and so might round them in another way. Raises PluginError for rows outside the training's range if the sidecar
        says "error" there, and for values that are no numbers.
        """
        n = len(event_id)
        is_valid = np.ones(n, dtype=np.bool_)
        counts: dict[str, int] = {}
        prepared = {
            feature.name: self._prepared(feature, values[feature.name], is_valid, counts) for feature in self.features
        }
        feeds = {}
        draw = 0
        for tensor in self.sidecar.inputs:
            if tensor.features:
                numbers = np.column_stack([prepared[feature.name] for feature in tensor.features])
            else:
                numbers = np.empty((n, tensor.n_noise or 0))
                (fill_normals if tensor.noise == "normal" else fill_uniforms)(draw, event_id, index, key, numbers)
                draw += (numbers.shape[1] + 1) // 2
            feeds[tensor.name] = _padded(numbers.astype(tensor.dtype))
        found: dict[str, NDArray[np.float64]] = {}
        results = self.session.run([tensor.name for tensor in self.sidecar.outputs], feeds) if n else []
        for k, output in enumerate(self.sidecar.outputs):
            for column, value in enumerate(output.values):
                raw = results[k][:n, column].astype(np.float64) if n else np.empty(0)
                wrong = np.flatnonzero(is_valid & ~np.isfinite(raw))
                if len(wrong):
                    place = ", ".join(f"{f.name} = {values[f.name][wrong[0]]:.6g}" for f in self.features)
                    raise PluginError(f"{value.name} is {raw[wrong[0]]} at {place}", where=self.where)
                found[value.name] = np.where(is_valid, raw * value.scale + value.mean, np.nan)
        return Predicted(found, is_valid, counts)

    def _prepared(
        self, feature: Feature, values: NDArray[np.float64], is_valid: NDArray[np.bool_], counts: dict[str, int]
    ) -> NDArray[np.float64]:
        """A feature as the graph takes it; rows outside are counted, and marked where the rule says so."""
        beyond = ~((values >= feature.low) & (values <= feature.high))
        no_number = np.isnan(values)
        if feature.outside == "error" or (feature.outside == "clamp" and no_number.any()):
            wrong = np.flatnonzero(no_number if feature.outside == "clamp" else beyond)
            if len(wrong):
                raise PluginError(
                    f"{feature.name} = {values[wrong[0]]:.6g} {feature.unit}".rstrip()
                    + f" is outside what the model was trained for, {feature.low:g} to {feature.high:g}",
                    where=self.where,
                    hint='choose the rows (rows.where of the sidecar), or outside = "clamp" or "not_measured" there',
                )
        if beyond.any():
            what = "clamped" if feature.outside == "clamp" else "not measured"
            counts[f"{feature.name} outside the training, {what}"] = int(np.count_nonzero(beyond))
        if feature.outside == "not_measured":
            is_valid &= ~beyond
        inside = np.clip(np.where(no_number, feature.low, values), feature.low, feature.high)
        return np.asarray((inside - feature.mean) / feature.scale)


def _hash_of(sidecar: Sidecar) -> str:
    return sha256(sidecar.model_dump_json().encode()).hexdigest()


def _padded(numbers: NDArray[Any]) -> NDArray[Any]:
    """Whole blocks of rows: the last row again and again."""
    more = -len(numbers) % ROWS_AT_ONCE
    return np.concatenate([numbers, np.repeat(numbers[-1:], more, axis=0)]) if more and len(numbers) else numbers


@kernel
def fill_normals(
    first: int, event_id: NDArray[np.uint64], index: NDArray[np.int32], key: Key, noise: NDArray[np.float64]
) -> None:
    """Standard normals (rows, k), draws from `first` on, addressed by event and index."""
    for i in range(noise.shape[0]):
        for j in range(0, noise.shape[1], 2):
            a, b = normals_1(first + j // 2, index[i], event_id[i], key.k0, key.k1)
            noise[i, j] = a
            if j + 1 < noise.shape[1]:
                noise[i, j + 1] = b


@kernel
def fill_uniforms(
    first: int, event_id: NDArray[np.uint64], index: NDArray[np.int32], key: Key, noise: NDArray[np.float64]
) -> None:
    """Uniforms (rows, k) in [0, 1), draws from `first` on, addressed by event and index."""
    for i in range(noise.shape[0]):
        for j in range(0, noise.shape[1], 2):
            a, b = uniforms_1(first + j // 2, index[i], event_id[i], key.k0, key.k1)
            noise[i, j] = a
            if j + 1 < noise.shape[1]:
                noise[i, j + 1] = b


def find_model(name: str, *, where: str) -> Path:
    """The .onnx file meant by `name`: a shipped model's name, or a path; raises CardError."""
    shipped = {path.stem: path for path in sorted(MODELS.glob("*.onnx"))}
    path = shipped.get(name, Path(name))
    if not path.is_file() or path.suffix != ".onnx":
        raise CardError(
            [f"{where}: no such model: {name}"],
            hint=f"shipped: {', '.join(shipped)}; or give the path of an .onnx file",
        )
    return path


def load_model(path: Path) -> Model:
    """The model in `path` (.onnx) with its sidecar (.json beside it).

    Raises CardError for files that are missing, do not fit each other, or hold a graph that draws random numbers or mixes rows;
    UsageError without onnxruntime.
    """
    beside = path.with_suffix(".json")
    sidecar = toml.validate(Sidecar, _read(beside))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CardError([f"{path}: cannot be read ({error.strerror})"]) from None
    found = sha256(content).hexdigest()
    if found != sidecar.sha256:
        hashes = f"sha256 is {found[:12]}..., there {sidecar.sha256[:12]}..."
        raise CardError([f"{path}: is not the model that {beside.name} describes: {hashes}"])
    if problems := list(graph.faults(content, [*map(_tensor, sidecar.inputs)], [*map(_tensor, sidecar.outputs)])):
        raise CardError([f"{path}: {problem}" for problem in problems])
    model = Model(sidecar, content, str(path))
    if problems := list(_faults_of_a_try(model)):
        raise CardError([f"{path}: {problem}" for problem in problems])
    return model


def _faults_of_a_try(model: Model) -> Iterator[str]:
    """Run made-up rows from all over the training's range, together and half of them alone."""
    n = 2 * ROWS_AT_ONCE
    feeds: dict[str, NDArray[Any]] = {}
    for tensor in model.sidecar.inputs:
        features = tensor.features or [Feature(name="noise", unit="", low=0.0, high=1.0, outside="clamp")] * (
            tensor.n_noise or 0
        )
        columns: list[NDArray[np.float64]] = []
        for feature in features:
            spread = np.modf(np.arange(1, n + 1) * (GOLDEN + 0.1 * len(columns)))[0]
            columns.append((feature.low + spread * (feature.high - feature.low) - feature.mean) / feature.scale)
        feeds[tensor.name] = np.column_stack(columns).astype(tensor.dtype)
    names = [tensor.name for tensor in model.sidecar.outputs]
    session = model.session
    try:
        whole = session.run(names, feeds)
        half = session.run(names, {name: numbers[ROWS_AT_ONCE:] for name, numbers in feeds.items()})
    except Exception as error:  # noqa: BLE001  (onnxruntime's have no public base class)
        yield f"onnxruntime cannot run it ({str(error).strip()})"
        return
    for output, together, alone in zip(model.sidecar.outputs, whole, half, strict=True):
        if together.shape != (n, len(output.values)):
            yield f"outputs: {output.name} of {n} rows has shape {together.shape}, the sidecar {(n, len(output.values))}"
        elif not np.array_equal(together[ROWS_AT_ONCE:], alone, equal_nan=True):
            yield f"outputs: {output.name} of a row changes with the other rows of its batch"


def _tensor(tensor: Input | Output) -> graph.Tensor:
    columns = tensor.values if isinstance(tensor, Output) else tensor.features
    return graph.Tensor(tensor.name, tensor.dtype, len(columns) if columns else getattr(tensor, "n_noise", None) or 0)


def _read(path: Path) -> toml.Document:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CardError(
            [f"{path}: no such file"], hint="a model needs a sidecar of its name: docs/learned.md"
        ) from None
    except (OSError, ValueError) as error:
        raise CardError([f"{path}: cannot be read ({error})"]) from None
    if not isinstance(data, dict):
        raise CardError([f"{path}: must be an object (got {type(data).__name__})"])
    return toml.Document(data, {}, str(path))
