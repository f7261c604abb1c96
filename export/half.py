"""FP16 by explicit casts: the precision of every node is written in the graph, and every engine obeys it.

Trained convolutions, and what only carries tensors between them, compute in float16. All else stays in float32:
Haar transforms, the coupling's arithmetic, the amplified Laplacian, gates, attention, clipping and rounding. What is
hidden is weaker than one grey level, which float16 cannot tell apart at the height of an image.
"""

from __future__ import annotations

from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from hidemia.export.nodes import CONVOLUTIONS, constants, element_types, initializers, set_nodes, simplified
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
    half = _half_nodes(copy)
    types, known, stored = element_types(copy), constants(copy), initializers(copy)
    nodes: list[NodeProto] = []
    casts: dict[str, str] = {}  # tensor -> the same in the other precision

    def cast(name: str, kind: int, suffix: str) -> str:
        if types.get(name) != TensorProto.FLOAT:
            return name
        if (twin := f"{name}.{suffix}") in casts:
            return twin
        casts[twin] = name
        if kind == TensorProto.FLOAT16 and name in stored:
            copy.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(stored[name]).astype("f2"), twin))
        else:
            nodes.append(helper.make_node("Cast", [name], [twin], twin, to=kind))
        return twin

    # A half node's output carries its own name in float16; whoever needs float32 reads a cast of it.
    halves: set[str] = set()
    full: list[str] = []
    for node in copy.graph.node:
        inputs = list(node.input)
        if node.name in half:
            for i, name in enumerate(inputs):
                if name and name not in halves:
                    node.input[i] = cast(name, TensorProto.FLOAT16, "half")
            halves |= set(node.output)
        else:
            for i, name in enumerate(inputs):
                if name in halves:
                    node.input[i] = cast(name, TensorProto.FLOAT, "float")
            if any(types.get(name) == TensorProto.FLOAT and name not in known for name in node.output):
                full.append(node.name)
        nodes.append(node)
    set_nodes(copy, nodes)
    return copy, full


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


def achieved(model: ModelProto, precision: str, low: set[str]) -> str:
    """For the manifest: in how many of the convolutions the precision is there."""
    total = sum(node.op_type in CONVOLUTIONS for node in model.graph.node)
    return f"{precision} in {len(low)} of {total} convolutions"
