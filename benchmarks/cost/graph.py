"""Multiply-adds, operations, stored numbers and activation memory, counted on an ONNX graph: what is really deployed.

The rule, also printed in every report, is `RULE`. It is that of fvcore for multiply-adds, so that the two can be
reconciled; what it adds are the element-wise operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper
from onnx.numpy_helper import from_array, to_array
from onnx.reference import ReferenceEvaluator

from hidemia.runtime.errors import ExportError

RULE = (
    "One multiply-add counts 1. Counted are convolutions, transposed convolutions and matrix products; biases are not. "
    "FLOPs are twice the multiply-adds and one for every element that an element-wise node writes. What is made of "
    "weights alone is made when the graph is loaded and counts as weights. Activations are the most bytes that are "
    "alive at once if nodes run in the order they are written in, each tensor from the node that writes it to the "
    "last one that reads it, and reshaping copies nothing; an engine may need less, or more for its own plans."
)

ELEMENTWISE = frozenset(
    {
        "Abs", "Add", "And", "Ceil", "Clip", "Div", "Equal", "Erf", "Exp", "Floor", "Greater",
        "GreaterOrEqual", "HardSigmoid", "HardSwish", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max",
        "Min", "Mul", "Neg", "Not", "Or", "Pow", "PRelu", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign",
        "Softmax", "Softplus", "Sqrt", "Sub", "Tanh", "Where",
    }
)  # fmt: skip
VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})

Shape = tuple[int, ...]


@dataclass(frozen=True)
class GraphCost:
    """What one run of a graph takes.

    Attributes:
        multiply_adds: See `RULE`.
        flops: See `RULE`.
        numbers: Stored in its initializers and constants.
        activation_bytes: See `RULE`.
        traffic_bytes: Every node's inputs and outputs, weights too: what moves if nothing is fused or kept in cache.
    """

    multiply_adds: int
    flops: int
    numbers: int
    activation_bytes: int
    traffic_bytes: int


def count(data: bytes, batch: int = 1) -> GraphCost:
    """Count a graph.

    Args:
        data: An ONNX file.
        batch: Images of one run, where the graph leaves it open.

    Raises:
        ExportError: A shape that is not known before the run, or a node that has graphs inside.
    """
    model = onnx.load_from_string(data)
    numbers = sum(math.prod(tensor.dims) for tensor in _stored(model))
    model = _fixed(model, batch)
    tensors = _tensors(model)
    constant = constants(model)
    multiply_adds = elementwise = traffic = 0
    for node in model.graph.node:
        if any(
            attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for attribute in node.attribute
        ):
            raise ExportError(f"{node.op_type} {node.name}: expected a node without graphs inside; count another form")
        if constant.issuperset(node.output):
            continue
        multiply_adds += node_multiply_adds(node, lambda name, node=node: _shape(tensors, name, node))
        if node.op_type in ELEMENTWISE:
            elementwise += math.prod(_shape(tensors, node.output[0], node))
        if node.op_type not in VIEWS:
            traffic += sum(_bytes(tensors, name, node) for name in (*node.input, *node.output) if name)
    return GraphCost(
        multiply_adds=multiply_adds,
        flops=2 * multiply_adds + elementwise,
        numbers=numbers,
        activation_bytes=activations(model, tensors, constant),
        traffic_bytes=traffic,
    )


def node_multiply_adds(node: NodeProto, shape: Callable[[str], Shape]) -> int:
    """Multiply-adds of one node; 0 for a kind that has none.

    Args:
        node: Of any kind.
        shape: Gives a tensor's shape by its name.
    """
    kind = node.op_type
    if kind in ("Conv", "ConvInteger", "QLinearConv"):
        kernel = shape(node.input[3 if kind == "QLinearConv" else 1])  # (O, I / groups, ...)
        return math.prod(shape(node.output[0])) * math.prod(kernel[1:])
    if kind == "ConvTranspose":
        return math.prod(shape(node.input[0])) * math.prod(shape(node.input[1])[1:])  # kernel (I, O / groups, ...)
    if kind in ("MatMul", "MatMulInteger", "QLinearMatMul"):
        return math.prod(shape(node.output[0])) * shape(node.input[0])[-1]
    if kind == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(shape(node.output[0])) * shape(node.input[0])[0 if transposed else 1]
    if kind == "Einsum":
        return einsum(next(a.s.decode() for a in node.attribute if a.name == "equation"), [*map(shape, node.input)])
    return 0


def einsum(equation: str, shapes: list[Shape]) -> int:
    """Multiply-adds of an Einstein sum of two operands: the product of all sizes that are named."""
    sizes: dict[str, int] = {}
    for labels, shape in zip(equation.replace(" ", "").split("->")[0].split(","), shapes, strict=True):
        sizes |= dict(zip(labels, shape, strict=True))
    return math.prod(sizes.values())


def activations(model: ModelProto, tensors: dict[str, tuple[Shape | None, int]], constant: set[str]) -> int:
    """The most bytes alive at once; see `RULE`."""
    root: dict[str, str] = {}
    last: dict[str, int] = {}
    for step, node in enumerate(model.graph.node):
        for name in node.input:
            last[root.get(name, name)] = step
        if node.op_type in VIEWS:
            root[node.output[0]] = root.get(node.input[0], node.input[0])
        else:
            last |= dict.fromkeys(node.output, step)
    for output in model.graph.output:
        last[root.get(output.name, output.name)] = len(model.graph.node)
    alive = {tensor.name: _bytes(tensors, tensor.name, None) for tensor in model.graph.input if tensor.name in last}
    most = sum(alive.values())
    for step, node in enumerate(model.graph.node):
        if node.op_type not in VIEWS:
            alive |= {n: _bytes(tensors, n, node) for n in node.output if n and n not in constant}
        most = max(most, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last[name] > step}
    return most


def constants(model: ModelProto) -> set[str]:
    """Names of the tensors that are weights or made of weights alone."""
    known = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if known.issuperset(name for name in node.input if name):
            known |= set(node.output)
    return known


def _fixed(model: ModelProto, batch: int) -> ModelProto:
    """The graph with its inputs' batch fixed and every shape inferred."""
    _fold_sizes(model)
    for tensor in model.graph.input:
        for dimension in tensor.type.tensor_type.shape.dim:
            if not dimension.HasField("dim_value"):
                dimension.dim_value = batch
    for tensor in model.graph.output:  # inference fills them in anew
        tensor.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _fold_sizes(model: ModelProto) -> None:
    """Work out the whole numbers that are made of constants: inference needs what they say about shapes."""
    known = {
        t.name: to_array(t) for t in model.graph.initializer if t.data_type in (TensorProto.INT32, TensorProto.INT64)
    }
    kept = []
    for node in model.graph.node:
        stored = [a.t for a in node.attribute if a.name == "value"] if node.op_type == "Constant" else []
        if stored and stored[0].data_type in (TensorProto.INT32, TensorProto.INT64):
            known[node.output[0]] = to_array(stored[0])
        elif node.input and len(node.output) == 1 and all(name in known for name in node.input):
            feed = {name: known[name] for name in node.input}
            known[node.output[0]] = ReferenceEvaluator(node).run(None, feed)[0]
            model.graph.initializer.append(from_array(known[node.output[0]], node.output[0]))
            continue
        kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _tensors(model: ModelProto) -> dict[str, tuple[Shape | None, int]]:
    """Every tensor: its shape, None where it is not known, and the bytes of an element."""
    found: dict[str, tuple[Shape | None, int]] = {
        tensor.name: (tuple(tensor.dims), _item_bytes(tensor.data_type)) for tensor in model.graph.initializer
    }
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        kind = value.type.tensor_type
        known = kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim)
        shape = tuple(dim.dim_value for dim in kind.shape.dim) if known else None
        found[value.name] = (shape, _item_bytes(kind.elem_type))
    return found


def _stored(model: ModelProto) -> list[TensorProto]:
    inside = [
        a.t for node in model.graph.node if node.op_type == "Constant" for a in node.attribute if a.name == "value"
    ]
    return [*model.graph.initializer, *inside]


def _item_bytes(kind: int) -> int:
    return int(np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize) if kind else 0


def _shape(tensors: dict[str, tuple[Shape | None, int]], name: str, node: NodeProto | None) -> Shape:
    shape = tensors.get(name, (None, 0))[0]
    if shape is None:
        where = f"{node.op_type} {node.name}" if node else "graph"
        raise ExportError(f"{where}: expected the shape of {name} to be known before the run; export a fixed form")
    return shape


def _bytes(tensors: dict[str, tuple[Shape | None, int]], name: str, node: NodeProto | None) -> int:
    return math.prod(_shape(tensors, name, node)) * tensors[name][1]
