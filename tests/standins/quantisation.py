"""What TensorRT's ONNX parsers say of Q/DQ nodes, acted out after their sources and documents, release by release.

Written apart from `hidemia.export.explicit`, which states the rules for the exporter: two tellings that must agree.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

KINDS = ("QuantizeLinear", "DequantizeLinear")


def refusal(graph: GraphProto, major: int) -> str:
    """The first complaint of a release's parser or builder; empty where it has none."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    shapes |= {name: list(tensor.dims) for name, tensor in stored.items()}
    for node in graph.node:
        if node.op_type in KINDS:
            for text in (*_of_data(node, stored, major), *_of_grid(node, stored, shapes, major)):
                return f"{node.name}: {text}"
    return ""


def _of_data(node: NodeProto, stored: dict[str, TensorProto], major: int) -> Iterator[str]:
    if major == 8 and len(node.input) < 3:
        yield "This version of TensorRT requires 3 inputs for the DequantizeLinear operator."
    data = stored.get(node.input[0])
    kind = data.data_type if data is not None else TensorProto.FLOAT
    if kind == TensorProto.UINT8 or (major == 8 and kind != TensorProto.FLOAT):
        yield f"invalid weights type of {TensorProto.DataType.Name(kind)}"


def _of_grid(
    node: NodeProto, stored: dict[str, TensorProto], shapes: dict[str, list[int]], major: int
) -> Iterator[str]:
    scale = numpy_helper.to_array(stored[node.input[1]])
    if not (scale > 0).all():
        yield "Scale coefficients must all be positive"
    if len(node.input) > 2:
        zero = numpy_helper.to_array(stored[node.input[2]])
        if major == 8 and zero.dtype == np.uint8:
            yield "Found invalid input type of UINT8"
        # 10 and 11 take uint8 for int8 with a warning, whatever that makes of codes above 127.
        if zero.any():
            yield "Non-zero zero point is not supported"
        if zero.size != scale.size:
            yield "The scale and zero point must have the same volume"
    if scale.size > 1:
        axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 0 if major == 8 else 1)
        if shapes[node.input[0]][axis] != scale.size:
            yield "The number of scales is not equal to the number of output channels"
        if node.op_type == "QuantizeLinear" and node.input[0] not in stored:
            yield "activations quantization does not support per-axis quantization"
