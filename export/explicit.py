"""What TensorRT 8.6, 10 and 11 ask of Q/DQ nodes, checked before a graph is written for them.

Some of it a parser refuses (a zero point, an axis, three inputs in 8.6). The rest would be built, and be wrong or slow:

- Later parsers take uint8 codes of zero point 0 for int8 with a warning, and cut off everything above 127.
- 8.6 reads no int8 constants: kernels are float32 constants behind QuantizeLinear and DequantizeLinear.
- A kernel that the graph computes is an activation to the builder, which has no scale for each channel of those.
- A bias of int32 codes has no place in a convolution, which adds float32.
- Rounding between a convolution and its activation keeps the two apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from hidemia.export.nodes import attribute, initializers, producers, readers
from hidemia.runtime.errors import ExportError

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1}
ACTIVATIONS = ("LeakyRelu", "Relu")


def check(model: ModelProto) -> None:
    """Raise ExportError with the first problem and the number of all."""
    found = problems(model)
    if found:
        raise ExportError(f"{found[0]}; {len(found)} problems in all; TensorRT would not build it as it is meant")


def problems(model: ModelProto) -> list[str]:
    """Every rule that a graph's Q/DQ nodes break, a line each."""
    graph = _Graph(initializers(model), producers(model), readers(model))
    found = [
        f"{tensor.name}: stored as uint8, which TensorRT has not"
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.UINT8
    ]
    for node in model.graph.node:
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            found += [f"node {node.name}: {text}" for text in (*_grid(node, graph), *_place(node, graph))]
        elif node.op_type in OUTPUT_AXIS:
            found += [f"node {node.name}: {text}" for text in _convolution(node, graph)]
        elif node.op_type == "Concat":
            found += [f"node {node.name}: {text}" for text in _concat(node, graph)]
    return found


@dataclass(frozen=True)
class _Graph:
    stored: Mapping[str, TensorProto]
    made: Mapping[str, NodeProto]
    read: Mapping[str, list[NodeProto]]

    def maker(self, name: str, operator: str) -> NodeProto | None:
        """The node that makes a tensor, if it is of this kind."""
        node = self.made.get(name)
        return node if node is not None and node.op_type == operator else None

    def value(self, name: str) -> NDArray[np.float32] | None:
        """A stored float32 tensor."""
        tensor = self.stored.get(name)
        return numpy_helper.to_array(tensor) if tensor is not None and tensor.data_type == TensorProto.FLOAT else None


def _grid(node: NodeProto, graph: _Graph) -> Iterator[str]:
    """Scale and zero point."""
    if len(node.input) < 3:
        yield "no zero point; without one ONNX means uint8, and 8.6 reads no such node"
        return
    scale, zero = graph.value(node.input[1]), graph.stored.get(node.input[2])
    if scale is None or not np.isfinite(scale).all() or not (scale > 0).all():
        yield "its scale is not a stored float32 above 0"
        return
    if zero is None or zero.data_type != TensorProto.INT8 or numpy_helper.to_array(zero).any():
        yield "its zero point is not a stored int8 of 0"
    elif numpy_helper.to_array(zero).size != scale.size:
        yield "its scale and zero point differ in size"


def _place(node: NodeProto, graph: _Graph) -> Iterator[str]:
    """Where it stands: pairs of Q and DQ, constants with a scale for each output channel, all else with one."""
    if node.op_type == DEQUANTIZE:
        source = graph.maker(node.input[0], QUANTIZE)
        if source is None:
            yield f"it reads {node.input[0]}, which no QuantizeLinear made; 8.6 reads no stored codes"
        elif source.input[1:] != node.input[1:] or attribute(source, "axis") != attribute(node, "axis"):
            yield f"its scale is not the one of {source.name}"
        return
    if any(reader.op_type != DEQUANTIZE for reader in graph.read.get(node.output[0], [])):
        yield "its codes are read by something other than DequantizeLinear"
    scale = graph.value(node.input[1])
    if scale is None:
        return
    if node.input[0] not in graph.stored:
        if scale.size > 1:
            yield "a scale for each channel of an activation"
        maker = graph.made.get(node.input[0])
        if maker is not None and maker.op_type in OUTPUT_AXIS and _activated(maker, graph):
            yield f"it rounds between {maker.name} and its activation"
    elif graph.value(node.input[0]) is None:
        yield "the constant it rounds is not float32"


def _activated(convolution: NodeProto, graph: _Graph) -> bool:
    """Whether an activation reads a convolution's output, rounded or not."""
    names = [convolution.output[0]]
    for _ in range(2):  # behind QuantizeLinear, behind DequantizeLinear
        names += [
            reader.output[0]
            for name in names
            for reader in graph.read.get(name, [])
            if reader.op_type in (QUANTIZE, DEQUANTIZE)
        ]
    return any(reader.op_type in ACTIVATIONS for name in names for reader in graph.read.get(name, []))


def _convolution(node: NodeProto, graph: _Graph) -> Iterator[str]:
    """A convolution runs in 8 bits if both its input and its kernel come out of them."""
    data, kernel = (graph.maker(name, DEQUANTIZE) for name in node.input[:2])
    if (data is None) != (kernel is None):
        yield f"its {'kernel' if kernel is None else 'input'} is in float32 and the other in 8 bits"
    if kernel is None:
        return
    source = graph.maker(kernel.input[0], QUANTIZE)
    stored = graph.value(source.input[0]) if source is not None else None
    scale = graph.value(kernel.input[1])
    axis = OUTPUT_AXIS[node.op_type]
    if stored is None:
        yield "its kernel is not a stored float32 that is rounded"
    elif scale is not None and (scale.size != stored.shape[axis] or attribute(kernel, "axis") != axis):
        yield f"its kernel has not a scale for each output channel, along axis {axis}"
    if len(node.input) > 2 and graph.value(node.input[2]) is None:
        yield "its bias is not a stored float32"


def _concat(node: NodeProto, graph: _Graph) -> Iterator[str]:
    """Codes are copied where all inputs and the output have one scale."""
    sources = [graph.maker(name, DEQUANTIZE) for name in node.input]
    after = [reader for reader in graph.read.get(node.output[0], []) if reader.op_type == QUANTIZE]
    scales = [graph.value(found.input[1]) for found in (*sources, *after) if found is not None]
    if all(found is not None for found in sources) and len({s.tobytes() for s in scales if s is not None}) > 1:
        yield "its inputs and its output have different scales"
