"""FP16 by explicit casts: the precision of every node is written in the graph, and every engine obeys it.

Trained convolutions, and what only carries tensors between them, compute in float16. All else stays in float32:
Haar transforms, the coupling's arithmetic, the amplified Laplacian, gates, attention, clipping and rounding. What is
hidden is weaker than one grey level, which float16 cannot tell apart at the height of an image.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from hidemia.export.nodes import constants, element_types, initializers, set_nodes, simplified
from hidemia.export.nodes import trained_convolutions as trained

CARRIERS = ("Concat", "LeakyRelu", "MaxPool", "Relu")
"""What stands between convolutions and rounds nothing but its input."""


def halved(model: ModelProto) -> tuple[ModelProto, list[str]]:
    """Cast a float32 graph to float16 where that is safe.

    Args:
        model: uint8 or float32 at its inputs and outputs, which stay as they are.

    Returns:
        The graph, and the names of the nodes that compute in float32.
    """
    copy = simplified(model)
    half, known, casts = _half_nodes(copy), constants(copy), _Casts(copy)
    nodes: list[NodeProto] = []
    halves: set[str] = set()  # tensors that half nodes made: float16 under their own names
    full: list[str] = []
    for node in copy.graph.node:
        wanted = TensorProto.FLOAT16 if node.name in half else TensorProto.FLOAT
        for i, name in enumerate(node.input):
            if casts.is_float(name) and (name in halves) != (node.name in half):
                node.input[i], added = casts.to(name, wanted)
                nodes += added
        if node.name in half:
            halves |= set(node.output)
        elif any(casts.is_float(name) and name not in known for name in node.output):
            full.append(node.name)
        nodes.append(node)
    set_nodes(copy, nodes)
    return copy, full


class _Casts:
    """The twins of tensors in the other precision, each made once."""

    def __init__(self, model: ModelProto) -> None:
        self._model, self._types, self._stored = model, element_types(model), initializers(model)
        self._made: set[str] = set()

    def is_float(self, name: str) -> bool:
        """Whether the tensor was float32 in the original."""
        return self._types.get(name) == TensorProto.FLOAT

    def to(self, name: str, kind: int) -> tuple[str, list[NodeProto]]:
        """The twin's name, and the nodes to add for it; a stored tensor is stored again instead."""
        twin = f"{name}.{'half' if kind == TensorProto.FLOAT16 else 'float'}"
        if twin in self._made:
            return twin, []
        self._made.add(twin)
        if name in self._stored:
            values = numpy_helper.to_array(self._stored[name]).astype(np.float16)
            self._model.graph.initializer.append(numpy_helper.from_array(values, twin))
            return twin, []
        return twin, [helper.make_node("Cast", [name], [twin], twin, to=kind)]


def _half_nodes(model: ModelProto) -> set[str]:
    """Trained convolutions, and carriers between them."""
    half = {node.name for node in trained(model)}
    made = {output: node for node in model.graph.node for output in node.output}
    read: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            read.setdefault(name, []).append(node)
    for node in model.graph.node:  # downstream of a half node
        if node.op_type in CARRIERS and any(name in made and made[name].name in half for name in node.input):
            half.add(node.name)
    for node in reversed(model.graph.node):  # upstream: all that read it are half
        consumers = [reader for output in node.output for reader in read.get(output, [])]
        if node.op_type in CARRIERS and consumers and all(reader.name in half for reader in consumers):
            half.add(node.name)
    return half
