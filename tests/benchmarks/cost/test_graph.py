import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.tiny import tiny

from hidemia.benchmarks.cost import graph
from hidemia.runtime.errors import ExportError


def written(nodes, inputs, outputs, stored=()):
    """An ONNX file; inputs and outputs are name -> shape, float32."""
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    ]
    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(stored).items()]
    made = helper.make_graph(nodes, "g", *values, kept)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def zeros(*shape):
    return np.zeros(shape, np.float32)


def test_a_graph_worked_out_by_hand():
    # (1, 2, 1, 3): conv1 has 2 outputs of 2 inputs, conv2 2 of 4, 1x1, 3 pixels: 3 * (4 + 8).
    # Element-wise: scale 6, activation 6, couple 6. Stored: 1 + 4 + 2 + 8.
    found = graph.count(tiny().SerializeToString())
    assert found.multiply_adds == 36
    assert found.flops == 2 * 36 + 18
    assert found.numbers == 15
    # bands and c1 and a1 while act runs, 24 bytes each; then bands, a1 and their concatenation of 48.
    assert found.activation_bytes == 96
    # Mul 24+4+24, conv1 24+16+8+24, act 48, cat 24+24+48, conv2 48+32+24, Add 72
    assert found.traffic_bytes == 52 + 72 + 48 + 96 + 104 + 72


def test_a_batch_multiplies_what_is_computed_and_not_what_is_stored():
    one, eight = (graph.count(tiny().SerializeToString(), batch) for batch in (1, 8))
    assert (eight.multiply_adds, eight.activation_bytes) == (8 * one.multiply_adds, 8 * one.activation_bytes)
    assert eight.numbers == one.numbers


@pytest.mark.parametrize(
    ("node", "inputs", "output", "expected"),
    [
        (helper.make_node("Conv", ["x", "w"], ["y"], group=2), {"x": [1, 4, 5, 5], "w": [6, 2, 3, 3]}, [1, 6, 3, 3],
         6 * 9 * 2 * 9),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]), {"x": [1, 4, 5, 5], "w": [4, 3, 2, 2]},
         [1, 3, 10, 10], 4 * 25 * 3 * 4),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), {"x": [2, 5, 7], "w": [7, 3]}, [2, 5, 3], 2 * 5 * 3 * 7),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transA=1), {"x": [7, 5], "w": [7, 3]}, [5, 3], 5 * 3 * 7),
        (helper.make_node("Einsum", ["x", "w"], ["y"], equation="bn,npk->bpk"), {"x": [2, 5], "w": [5, 9, 4]},
         [2, 9, 4], 2 * 5 * 9 * 4),
        (helper.make_node("Relu", ["x"], ["y"]), {"x": [3, 3]}, [3, 3], 0),
    ],
)  # fmt: skip
def test_each_kind_of_node(node, inputs, output, expected):
    assert graph.count(written([node], inputs, {"y": output})).multiply_adds == expected


def test_what_is_made_of_weights_alone_is_not_counted():
    nodes = [helper.make_node("MatMul", ["u", "v"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    found = graph.count(written(nodes, {"x": [1, 4]}, {"y": [1, 6]}, {"u": zeros(4, 5), "v": zeros(5, 6)}))
    assert found.multiply_adds == 4 * 6
    assert found.activation_bytes == 4 * (4 + 6)


def test_reshaping_copies_nothing_and_keeps_its_source_alive():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Reshape", ["a", "shape"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    found = graph.count(written(nodes, {"x": [2, 8]}, {"y": [16]}, {"shape": np.array([16])}))
    assert found.activation_bytes == 2 * 64


def test_a_shape_made_of_constants_is_worked_out():
    nodes = [
        helper.make_node("Concat", ["k", "k"], ["two"], axis=0),
        helper.make_node("Slice", ["two", "zero", "k"], ["one"]),
        helper.make_node("TopK", ["x", "one"], ["y", "i"], axis=1),
    ]
    stored = {"k": np.array([1]), "zero": np.array([0])}
    assert graph.count(written(nodes, {"x": [2, 5]}, {"y": [2, 1]}, stored)).activation_bytes == 4 * 10 + 4 * 2 + 8 * 2


def test_a_shape_that_only_the_run_knows_is_refused():
    node = helper.make_node("NonZero", ["x"], ["y"])
    with pytest.raises(ExportError, match=r"NonZero .*expected the shape of y to be known before the run"):
        graph.count(written([node, helper.make_node("Relu", ["x"], ["z"])], {"x": [2, 2]}, {"z": [2, 2]}))


def test_a_branch_is_refused():
    inside = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["t"])], "g", [],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, [2])],
    )  # fmt: skip
    node = helper.make_node("If", ["c"], ["y"], then_branch=inside, else_branch=inside)
    with pytest.raises(ExportError, match="expected a node without graphs inside"):
        graph.count(written([node], {"x": [2]}, {"y": [2]}, {"c": np.array(True)}))
