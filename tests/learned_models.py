"""Tiny models for tests: a linear graph of columns and noise, and its sidecar."""

from __future__ import annotations

import json
from hashlib import sha256

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.array([[2.0, 0.5], [-1.0, 3.0], [0.25, 1.0]], dtype=np.float32)  # of two features and one noise


def graph(nodes=None, inputs=None, outputs=None, initializers=None, opset=17, **more):
    """out (rows, 2) = concat(features (rows, 2), noise (rows, 1)) @ WEIGHTS, or the same with other parts."""
    nodes = nodes or [
        helper.make_node("Concat", ["features", "noise"], ["all"], axis=1),
        helper.make_node("MatMul", ["all", "weights"], ["out"]),
    ]
    inputs = inputs or [tensor("features", 2), tensor("noise", 1)]
    outputs = outputs or [tensor("out", 2)]
    initializers = [numpy_helper.from_array(WEIGHTS, "weights")] if initializers is None else initializers
    made = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", opset), *more.pop("opsets", [])]
    return helper.make_model(made, opset_imports=opsets, ir_version=8, **more)


def tensor(name, columns, dtype=TensorProto.FLOAT, rows="rows"):
    return helper.make_tensor_value_info(name, dtype, [rows, columns])


def sidecar(**changes):
    """What fits `graph`: pt and tan(lambda) squared of reconstructed tracks."""
    table = {
        "schema_version": 1,
        "name": "toy",
        "description": "two numbers",
        "origin": "made up",
        "licence": "BSD-3-Clause",
        "rows": {"table": "track", "where": "is_reconstructed"},
        "variables": {
            "pt": {"column": "track.pt", "unit": "GeV"},
            "tan_lambda": {"column": "track.tan_lambda", "unit": ""},
            "is_reconstructed": {"column": "track.is_reconstructed", "unit": ""},
        },
        "inputs": [
            {
                "name": "features",
                "dtype": "float32",
                "features": [
                    {"name": "pt", "unit": "GeV", "mean": 1.0, "scale": 2.0, "low": 0.0, "high": 100.0, "outside": "clamp"},
                    {
                        "name": "slope2", "formula": "tan_lambda**2", "unit": "", "low": 0.0, "high": 400.0,
                        "outside": "not_measured",
                    },
                ],
            },
            {"name": "noise", "dtype": "float32", "noise": "normal", "n_noise": 1},
        ],
        "outputs": [
            {
                "name": "out",
                "dtype": "float32",
                "values": [
                    {"name": "a", "unit": "", "doc": "first"},
                    {"name": "b", "unit": "cm", "doc": "second", "mean": 10.0, "scale": 4.0},
                ],
            }
        ],
    }  # fmt: skip
    return {key: value for key, value in {**table, **changes}.items() if value is not None}


def write(folder, model=None, **changes):
    """Write model.onnx and its sidecar to a folder; returns the first's path."""
    path = folder / "toy.onnx"
    content = model if isinstance(model, bytes) else (model or graph()).SerializeToString()
    path.write_bytes(content)
    table = sidecar(**{"sha256": sha256(content).hexdigest(), **changes})
    path.with_suffix(".json").write_text(json.dumps(table))
    return path


__all__ = ["WEIGHTS", "graph", "helper", "numpy_helper", "onnx", "sidecar", "tensor", "write"]
