"""What a graph must not hold, because it hurts later: on another engine, on another machine, or in a second run."""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import ModelProto, TensorProto

from hidemia.runtime.errors import ExportError

_RANDOM = "the same input must give the same output"
_BRANCH = "control flow that depends on data"
_SHAPE = "shape arithmetic; every size but the batch is known"
_DATA_SHAPE = "a shape that depends on data"

REFUSED = {
    "ScatterND": "in-place writing; use a convolution or a concatenation",
    "ScatterElements": "in-place writing; use a comparison and a product",
    "Scatter": "in-place writing; use a comparison and a product",
    "Loop": _BRANCH,
    "If": _BRANCH,
    "Scan": _BRANCH,
    "NonZero": _DATA_SHAPE,
    "Compress": _DATA_SHAPE,
    "Unique": _DATA_SHAPE,
    "NonMaxSuppression": _DATA_SHAPE,
    "RandomNormal": _RANDOM,
    "RandomNormalLike": _RANDOM,
    "RandomUniform": _RANDOM,
    "RandomUniformLike": _RANDOM,
    "Multinomial": _RANDOM,
    "Bernoulli": _RANDOM,
    "Dropout": "training; export the network in evaluation mode",
    "BatchNormalization": "fold it into the convolution before it",
    "Einsum": "engines differ in what they accept; use a matrix product",
    "Shape": _SHAPE,
    "Size": _SHAPE,
    "ConstantOfShape": _SHAPE,
    "Range": _SHAPE,
}
_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Mod"}


def problems(model: ModelProto) -> list[str]:
    """Every rule the graph breaks, a line each."""
    found = [
        f"node {node.name or node.output[0]}: {node.op_type} ({REFUSED[node.op_type]})"
        for node in model.graph.node
        if node.op_type in REFUSED
    ]
    found += [f"node {node.output[0]}: {node.op_type} has no name" for node in model.graph.node if not node.name]
    names = Counter(node.name for node in model.graph.node if node.name)
    found += [f"node {name}: {count} nodes of one name" for name, count in names.items() if count > 1]
    found += [f"{tensor.name or 'a constant'}: external data" for tensor in _stored(model) if _outside(tensor)]
    if not found:  # types can be inferred in a sound graph only
        found += [f"node {node.name}: {node.op_type} of integers ({_SHAPE})" for node in _integer_arithmetic(model)]
    for value in model.graph.input:
        free = [d for d in value.type.tensor_type.shape.dim[1:] if not d.HasField("dim_value")]
        if free:
            found.append(f"{value.name}: {len(free)} sizes other than the batch are not fixed")
    found += _photos(model)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions != {"": 17}:
        found.append(f"opset: expected 17 of the default domain alone, got {versions}")
    if model.ir_version != 8:
        found.append(f"IR version: expected 8, got {model.ir_version}")
    return found


def _stored(model: ModelProto) -> list[TensorProto]:
    """All tensors in the file: initializers and the values of constants."""
    constants = (entry.t for node in model.graph.node for entry in node.attribute if entry.HasField("t"))
    return [*model.graph.initializer, *constants]


def _outside(tensor: TensorProto) -> bool:
    return tensor.data_location == TensorProto.EXTERNAL or bool(tensor.external_data)


def _integer_arithmetic(model: ModelProto) -> list[onnx.NodeProto]:
    """Sums and products of int64: what is left of shapes. Photos are uint8 and become float at once."""
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    integers = {value.name for value in inferred if value.type.tensor_type.elem_type == TensorProto.INT64}
    return [node for node in model.graph.node if node.op_type in _ARITHMETIC and integers & set(node.output)]


def _photos(model: ModelProto) -> list[str]:
    """Photos may go into casts and come out of casts alone: TensorRT takes uint8 nowhere else."""
    photos = {
        value.name
        for value in [*model.graph.input, *model.graph.output]
        if value.type.tensor_type.elem_type == TensorProto.UINT8
    }
    return [
        f"node {node.name or node.output[0]}: {node.op_type} of a uint8 photo; cast it before or after"
        for node in model.graph.node
        if node.op_type != "Cast" and photos & {*node.input, *node.output}
    ]


def check(model: ModelProto) -> None:
    """Raise ExportError with the first problem and the number of all."""
    found = problems(model)
    if found:
        raise ExportError(f"{found[0]}; {len(found)} problems in all; change the exported module")
