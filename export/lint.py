"""What a graph must not hold, because it hurts later: on another engine, on another machine, or in a second run."""

from __future__ import annotations

from onnx import ModelProto, TensorProto

from hidemia.runtime.errors import ExportError

REFUSED = {
    "ScatterND": "in-place writing; use a convolution or a concatenation",
    "ScatterElements": "in-place writing; use a comparison and a product",
    "Loop": "control flow that depends on data",
    "If": "control flow that depends on data",
    "NonZero": "a shape that depends on data",
    "RandomNormal": "the same input must give the same output",
    "RandomNormalLike": "the same input must give the same output",
    "RandomUniform": "the same input must give the same output",
    "RandomUniformLike": "the same input must give the same output",
    "Einsum": "engines differ in what they accept; use a matrix product",
    "Shape": "shape arithmetic; every size but the batch is known",
}


def problems(model: ModelProto) -> list[str]:
    """Every rule the graph breaks, a line each."""
    found = [
        f"node {node.name or node.output[0]}: {node.op_type} ({REFUSED[node.op_type]})"
        for node in model.graph.node
        if node.op_type in REFUSED
    ]
    found += [f"node {node.output[0]}: {node.op_type} has no name" for node in model.graph.node if not node.name]
    found += [
        f"initializer {tensor.name}: external data"
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
    ]
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions != {"": 17}:
        found.append(f"opset: expected 17 of the default domain alone, got {versions}")
    if model.ir_version != 8:
        found.append(f"IR version: expected 8, got {model.ir_version}")
    return found


def check(model: ModelProto) -> None:
    """Raise ExportError with the first problem and the number of all."""
    found = problems(model)
    if found:
        raise ExportError(f"{found[0]}; {len(found)} problems in all; change the exported module")
