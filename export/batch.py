"""The batch keeps a name through every reshape, so that an engine can prove of two tensors that they have one shape.

As traced, a reshape to (-1, ...) makes the batch a number that nobody knows. ONNX Runtime then adds the terms of a
sum after the convolutions that make them, in passes over memory of their own, and not as it writes them.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from hidemia.export.nodes import attribute, initializers, readers

COPIED = 0  # in a shape that a Reshape is given: as many as before
UNKNOWN = "unk__"  # how ONNX's inference begins the names that it makes up, which are not in the file


def named(model: ModelProto) -> None:
    """Name the first dimension behind every Reshape to a constant (-1, ...), in place.

    Where it stays what it was, -1 becomes 0: as many as before. Where it becomes a multiple, the file says of which: a
    pair of photos that pass through one network as a batch make ``batch`` into ``batch_x2``, and then into ``batch``.
    """
    known, shapes = _known(model), _shapes(model)
    for name, nodes in readers(model).items():  # one constant may be the shape of several
        if name in shapes and all(_growth(node, known, shapes) == 1 for node in nodes):
            shape = numpy_helper.to_array(shapes[name]).copy()
            shape[0] = COPIED
            shapes[name].CopyFrom(numpy_helper.from_array(shape, shapes[name].name))
    while (found := _unnamed(model)) is not None:
        model.graph.value_info.append(found)


def _known(model: ModelProto) -> dict[str, ValueInfoProto]:
    """What can be inferred of the tensors between the nodes, and what is known of the inputs."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {value.name: value for value in (*graph.input, *graph.value_info)}


def _shapes(model: ModelProto) -> dict[str, TensorProto]:
    """The constants that may be shapes, by name."""
    held = {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    return {
        name: value for name, value in {**held, **initializers(model)}.items() if value.data_type == TensorProto.INT64
    }


def _growth(node: NodeProto, known: dict[str, ValueInfoProto], shapes: dict[str, TensorProto]) -> Fraction | None:
    """By what a Reshape to (-1, ...) multiplies a first dimension that is free; None for all other nodes."""
    if node.op_type != "Reshape" or node.input[1] not in shapes or node.input[0] not in known:
        return None
    if attribute(node, "allowzero"):  # there 0 is no copy
        return None
    before, after = known[node.input[0]].type.tensor_type.shape.dim, numpy_helper.to_array(shapes[node.input[1]])
    fixed = [size.HasField("dim_value") for size in before]
    if after[:1].tolist() != [-1] or (after[1:] <= 0).any() or fixed[:1] != [False] or not all(fixed[1:]):
        return None
    return Fraction(prod(size.dim_value for size in before[1:]), int(np.prod(after[1:])))


def _unnamed(model: ModelProto) -> ValueInfoProto | None:
    """The first multiple of a named dimension that has no name, with one."""
    known, shapes = _known(model), _shapes(model)
    for node in model.graph.node:
        if (growth := _growth(node, known, shapes)) is None or node.output[0] not in known:
            continue
        before, after = (known[name].type.tensor_type.shape.dim[0] for name in (node.input[0], node.output[0]))
        if not before.dim_param.startswith(UNKNOWN) and after.dim_param.startswith(UNKNOWN):
            after.dim_param = _times(before.dim_param, growth)
            return known[node.output[0]]
    return None


def _times(name: str, growth: Fraction) -> str:
    """``batch`` times 2 -> ``batch_x2``, and that by half -> ``batch``."""
    symbol, _, factor = name.partition("_x")
    total = Fraction(factor or 1) * growth
    return symbol if total == 1 else f"{symbol}_x{total}"
