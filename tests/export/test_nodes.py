import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hidemia.export.nodes import constant_values, constants, set_nodes, simplified, trained_convolutions


def model(nodes, outputs, stored=()):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])], values,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_simplified_keeps_only_what_computes():
    made = model(
        [
            helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.float32(2))),
            helper.make_node("Cast", ["h"], ["w"], to=TensorProto.FLOAT),
            helper.make_node("Identity", ["x"], ["same"]),
            helper.make_node("Concat", ["same"], ["alone"], axis=1),
            helper.make_node("Cast", ["alone"], ["still"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["still", "two"], ["twice"]),
            helper.make_node("Add", ["twice", "w"], ["y"]),
            helper.make_node("Neg", ["y"], ["nobody"]),
        ],
        ["y"],
        [("h", np.array([1, 3], np.float16)), ("unread", np.float32(5))],
    )
    plain = simplified(made)
    assert [(node.op_type, list(node.input)) for node in plain.graph.node] == [
        ("Mul", ["x", "two"]), ("Add", ["twice", "w"])
    ]  # fmt: skip
    assert {t.name: numpy_helper.to_array(t).tolist() for t in plain.graph.initializer} == {"two": 2.0, "w": [1.0, 3.0]}
    assert len(made.graph.node) == 8  # the original is left alone
    (got,) = onnx.reference.ReferenceEvaluator(plain).run(None, {"x": np.array([[1, 2]], np.float32)})
    np.testing.assert_array_equal(got, [[3, 7]])


def test_an_output_keeps_its_name():
    plain = simplified(model([helper.make_node("Identity", ["x"], ["y"])], ["y"]))
    assert [node.op_type for node in plain.graph.node] == ["Identity"]


def test_constants_are_what_no_input_reaches():
    nodes = [
        helper.make_node("Mul", ["a", "a"], ["square"]),
        helper.make_node("Add", ["square", "a"], ["sum"]),
        helper.make_node("Mul", ["x", "sum"], ["y"]),
    ]
    made = model(nodes, ["y"], [("a", np.float32(3))])
    assert constants(made) == {"a", "square", "sum"}
    values = constant_values(made, ["sum", "a"])
    assert {name: float(value) for name, value in values.items()} == {"sum": 12.0, "a": 3.0}


def test_products_of_constants_do_not_depend_on_the_order_of_a_sum():
    made = model([helper.make_node("MatMul", ["a", "b"], ["y"])], ["y"], [
        ("a", np.array([[1e8, 1, -1e8]], np.float32)), ("b", np.ones((3, 1), np.float32)),
    ])  # fmt: skip
    values = constant_values(made, ["y"])["y"]
    assert (values.dtype, values.tolist()) == (np.float32, [[1.0]])  # in float32, 1e8 + 1 is 1e8


def test_set_nodes_drops_dead_branches():
    nodes = [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Add", ["x", "a"], ["z"])]
    made = model(nodes, ["y"], [("a", np.float32(3))])
    set_nodes(made, list(made.graph.node))
    assert [node.op_type for node in made.graph.node] == ["Neg"]
    assert not made.graph.initializer


@pytest.mark.parametrize(("kernel", "trained"), [([0.5, -0.5], False), ([0, 4, -1], False), ([1, 2, 3, 4], True)])
def test_fixed_filters_are_told_from_trained_ones(kernel, trained):
    weight = np.array(kernel, np.float32).reshape(1, -1, 1, 1)
    made = model([helper.make_node("Conv", ["x", "w"], ["y"])], ["y"], [("w", weight)])
    assert bool(trained_convolutions(made)) is trained
