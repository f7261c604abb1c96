"""A graph small enough to work out by hand: Haar, two convolutions with a concatenation, and an addition."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

WEIGHT1 = np.array([1.0, -2.0, 0.5, 0.25], np.float32).reshape(2, 2, 1, 1)
WEIGHT2 = np.array([1.0, 0.3, -0.7, 0.01, 3.0, 0.11, -0.9, 2.0], np.float32).reshape(2, 4, 1, 1)


def tiny(activation="LeakyRelu"):
    """bands = x * 2; a = act(conv1(bands)); y = bands + conv2(cat(bands, a)); float32 (1, 2, 1, w)."""
    shape = ["batch", 2, 1, 3]
    alpha = {"alpha": 0.2} if activation == "LeakyRelu" else {}
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["bands"], "scale"),
        helper.make_node("Conv", ["bands", "net.conv1.weight", "b"], ["c1"], "conv1"),
        helper.make_node(activation, ["c1"], ["a1"], "act", **alpha),
        helper.make_node("Concat", ["bands", "a1"], ["cat"], "cat", axis=1),
        helper.make_node("Conv", ["cat", "net.conv2.weight"], ["c2"], "conv2"),
        helper.make_node("Add", ["bands", "c2"], ["y"], "couple"),
    ]
    stored = [("two", np.float32(2)), ("net.conv1.weight", WEIGHT1), ("b", np.array([0.5, 0], np.float32)),
              ("net.conv2.weight", WEIGHT2)]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in stored],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
