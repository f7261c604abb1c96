import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from tests.tiny import WEIGHT1, WEIGHT2, tiny

from hidemia.export.explicit import problems
from hidemia.export.nodes import constant_values, simplified
from hidemia.export.parity import literal
from hidemia.export.quantize import activations, grid, quantisable, quantised, weight_scales
from hidemia.export.variants import carried, fused
from hidemia.runtime.errors import ExportError

RANGES = {"bands": (-1.0, 1.55), "a1": (-1.0, 1.55), "cat": (-1.0, 1.55), "c1": (-0.55, 2.0), "c2": (0.0, 2.55)}
BOTH = {"conv1", "conv2"}


def run(model, x):
    (got,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    return got


def test_groups_share_a_scale_through_the_concatenation():
    groups = [sorted(group) for group in activations(tiny(), BOTH, "cpu")]
    assert sorted(groups) == [["a1", "bands", "cat"], ["c1"], ["c2"]]
    assert sorted(sorted(group) for group in activations(tiny("Relu"), {"conv1"}, "cpu")) == [["a1"], ["bands"]]


def test_placement():
    model = quantised(tiny(), RANGES, BOTH)
    onnx.checker.check_model(model, full_check=True)
    reads = {node.name: list(node.input) for node in model.graph.node}
    assert reads["conv1"] == ["bands.rounded", "net.conv1.weight.rounded", "b"]
    assert reads["act"] == ["c1.rounded"]
    assert reads["cat"] == ["bands.rounded", "a1.rounded"]
    assert reads["conv2"] == ["cat.rounded", "net.conv2.weight.rounded"]
    assert reads["couple"] == ["bands", "c2.rounded"]  # the coupling adds to the bands themselves
    quantizers = [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert sorted(quantizers) == ["a1", "bands", "c1", "c2", "cat"]


def test_a_node_left_out_stays_as_it_was():
    model = quantised(tiny(), RANGES, {"conv1"})
    reads = {node.name: list(node.input) for node in model.graph.node}
    assert reads["conv2"] == ["cat", "net.conv2.weight"]
    assert reads["couple"] == ["bands", "c2"]
    assert quantised(tiny(), {}, set()).SerializeToString() == simplified(tiny()).SerializeToString()


def test_relu_is_part_of_the_rounding():
    ranges = RANGES | {"a1": (0.0, 1.0), "bands": (0.0, 1.0), "cat": (0.0, 1.0)}
    model = quantised(tiny("Relu"), ranges, BOTH)
    quantizers = [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert sorted(quantizers) == ["a1", "bands", "c2", "cat"]


def test_grid_by_hand():
    scale, zero = grid((-1.0, 1.55), "cpu")
    assert (scale, zero, zero.dtype) == (np.float32(0.01), 100, np.uint8)
    scale, zero = grid((0.1, 2.55), "cpu")  # 0 is always a code
    assert (scale, zero) == (np.float32(0.01), 0)
    scale, zero = grid((-1.27, 0.3), "tensorrt")
    assert (scale, zero, zero.dtype) == (np.float32(0.01), 0, np.int8)
    assert grid((0.0, 0.0), "cpu")[0] > 0


def test_weights_have_a_scale_for_each_output_channel():
    np.testing.assert_allclose(weight_scales(WEIGHT1), np.array([2.0, 0.5]) / 127, rtol=1e-6)
    assert weight_scales(np.zeros((1, 2, 1, 1), np.float32)).tolist() == [np.float32(1 / 127)]
    model = quantised(tiny(), RANGES, BOTH)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    codes = stored["net.conv2.weight.codes"]
    assert codes.dtype == np.int8
    # Row 0: 1, 0.3, -0.7, 0.01 over 1/127; row 1: 3, 0.11, -0.9, 2 over 3/127.
    assert codes[:, :, 0, 0].tolist() == [[127, 38, -89, 1], [127, 5, -38, 85]]
    assert "net.conv2.weight" not in stored


def test_numbers_by_hand():
    x = np.array([[[[0.5, 0.123, 0]], [[0.25, -0.4, 0]]]], np.float32)

    def rounded(value, name):
        scale, zero = grid(RANGES[name], "cpu")
        return (np.clip(np.rint(value / scale) + zero, 0, 255) - zero) * scale

    w1, w2 = (
        np.rint(w / weight_scales(w)[:, None, None, None])[:, :, 0, 0] * weight_scales(w)[:, None]
        for w in (WEIGHT1, WEIGHT2)
    )
    bands = 2 * x[0, :, 0]
    c1 = rounded(w1 @ rounded(bands, "bands") + np.array([[0.5], [0]]), "c1")
    a1 = rounded(np.where(c1 > 0, c1, 0.2 * c1), "a1")
    expected = bands + rounded(w2 @ np.concatenate([rounded(bands, "bands"), a1]), "c2")
    got = run(quantised(tiny(), RANGES, BOTH), x)[0, :, 0]
    np.testing.assert_allclose(got, expected, atol=0.0101)  # a code, where a sum lies between two
    assert np.median(np.abs(got - expected)) < 1e-5


def test_what_tensorrt_rounds():
    model = quantised(tiny(), RANGES, BOTH, "tensorrt")
    onnx.checker.check_model(model, full_check=True)
    quantizers = [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    # What convolutions read, and their kernels; not what they make.
    assert sorted(quantizers) == ["a1", "bands", "cat", "net.conv1.weight", "net.conv2.weight"]
    reads = {node.name: list(node.input) for node in model.graph.node}
    assert reads["conv1"] == ["bands.rounded", "net.conv1.weight.rounded", "b"]
    assert reads["act"] == ["c1"]  # fused with conv1, so nothing is rounded between them
    assert reads["couple"] == ["bands", "c2"]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    zeros = {name: zero for name, zero in stored.items() if name.endswith(".zero")}
    assert len(zeros) == 5
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros.values())
    assert stored["bands.scale"] == stored["a1.scale"] == stored["cat.scale"] == np.float32(1.55) / np.float32(127)
    assert stored["net.conv2.weight"].dtype == np.float32
    codes = stored["net.conv2.weight"][:, :, 0, 0] / stored["net.conv2.weight.scale"][:, None]
    np.testing.assert_allclose(codes, [[127, 38, -89, 1], [127, 5, -38, 85]], rtol=1e-6)


def test_the_literal_numbers_of_a_signed_graph_by_hand():
    x = np.array([[[[0.5, 0.123, 0]], [[0.25, -0.4, 0]]]], np.float32)
    scale = np.float32(1.55) / np.float32(127)

    def rounded(value):
        return np.clip(np.rint(value / scale), -128, 127) * scale

    w1, w2 = (
        np.rint(w / weight_scales(w)[:, None, None, None])[:, :, 0, 0] * weight_scales(w)[:, None]
        for w in (WEIGHT1, WEIGHT2)
    )
    bands = 2 * x[0, :, 0]
    c1 = w1 @ rounded(bands) + np.array([[0.5], [0]])
    a1 = np.where(c1 > 0, c1, 0.2 * c1)
    expected = bands + w2 @ np.concatenate([rounded(bands), rounded(a1)])
    data = quantised(tiny(), RANGES, BOTH, "tensorrt").SerializeToString()
    np.testing.assert_allclose(literal(data)({"x": x})[0][0, :, 0], expected, atol=1e-5)
    newer = onnx.load_from_string(data)
    newer.opset_import[0].version = 21  # the reference has lost the nodes of 17, which compute the same
    (by_onnx,) = ReferenceEvaluator(newer).run(None, {"x": x})
    np.testing.assert_allclose(by_onnx[0, :, 0], expected, atol=1e-5)


def test_computed_kernels_and_biases_are_constants_to_tensorrt():
    model = tiny()
    conv1 = next(node for node in model.graph.node if node.name == "conv1")
    conv1.input[1], conv1.input[2] = "kernel", "offset"
    model.graph.node.insert(0, onnx.helper.make_node("Mul", ["net.conv1.weight", "two"], ["kernel"], "mixes"))
    model.graph.node.insert(0, onnx.helper.make_node("Mul", ["b", "two"], ["offset"], "shifts"))
    made = quantised(model, RANGES, BOTH, "tensorrt")
    assert not {"mixes", "shifts"} & {node.name for node in made.graph.node}
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    np.testing.assert_allclose(stored["kernel.folded"], 2 * WEIGHT1, atol=2 / 127)
    assert stored["offset.folded"].tolist() == [1.0, 0.0]
    assert problems(made) == []


def test_a_kernel_that_the_graph_computes_is_rounded_where_it_is_made():
    model = tiny()
    conv1 = next(node for node in model.graph.node if node.name == "conv1")
    conv1.input[1] = "kernel"
    model.graph.node.insert(0, onnx.helper.make_node("Mul", ["net.conv1.weight", "two"], ["kernel"], "mixes"))
    assert [node.name for node in quantisable(model)] == ["conv1", "conv2"]
    ranges = RANGES | {"c1": (-1.1, 4.0)}
    made = quantised(model, ranges, {"conv1"})
    onnx.checker.check_model(made, full_check=True)
    order = [node.name for node in made.graph.node]
    assert order.index("mixes") < order.index("kernel.quantize") < order.index("conv1")
    values = constant_values(made, ["kernel.codes"])["kernel.codes"]
    assert values[:, :, 0, 0].tolist() == [[64, -127], [127, 64]]  # 63.5 goes to the even code


def test_a_kernel_that_depends_on_the_input_cannot_be_quantised():
    model = tiny()
    conv1 = next(node for node in model.graph.node if node.name == "conv1")
    model.graph.node.insert(0, onnx.helper.make_node("Reshape", ["x", "b"], ["kernel"], "per_sample"))
    conv1.input[1] = "kernel"
    assert [node.name for node in quantisable(model)] == ["conv2"]


def test_a_missing_range_is_named():
    with pytest.raises(ExportError, match="expected a range for c1, got none; calibrate"):
        quantised(tiny(), {name: limits for name, limits in RANGES.items() if name != "c1"}, BOTH)


def test_carriers_between_quantised_nodes_run_in_8_bits():
    assert carried(quantised(tiny(), RANGES, BOTH), BOTH) == {"act", "cat"}
    assert carried(quantised(tiny(), RANGES, {"conv2"}), {"conv2"}) == {"cat"}
    relu = RANGES | {"a1": (0.0, 1.0)}
    assert carried(quantised(tiny("Relu"), relu, {"conv1"}), {"conv1"}) == {"act"}


def test_sums_and_activations_behind_quantised_convolutions_are_fused():
    model = tiny()
    kernel = ["bands", "net.conv1.weight"]
    model.graph.node.insert(2, onnx.helper.make_node("Conv", kernel, ["d1"], "conv0"))
    model.graph.node.insert(3, onnx.helper.make_node("Add", ["c1", "d1"], ["s1"], "sum"))
    next(node for node in model.graph.node if node.name == "act").input[0] = "s1"
    three = BOTH | {"conv0"}
    assert fused(quantised(model, RANGES, three, "tensorrt"), three) == {"sum", "act", "cat"}
    # A sum with what float32 made is not, nor is what stands behind it.
    assert fused(quantised(model, RANGES, BOTH, "tensorrt"), BOTH) == {"cat"}
