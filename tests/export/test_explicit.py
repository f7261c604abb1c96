"""The rules of TensorRT's Q/DQ nodes, and that the parsers' own words agree with them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.standins import quantisation
from tests.tiny import tiny

from hidemia.export.explicit import check, problems
from hidemia.export.quantize import quantised
from hidemia.runtime.errors import ExportError

RANGES = {"bands": (-1.0, 1.55), "a1": (-1.0, 1.55), "cat": (-1.0, 1.55), "c1": (-0.55, 2.0), "c2": (0.0, 2.55)}
BOTH = {"conv1", "conv2"}


@pytest.fixture
def model():
    return quantised(tiny(), RANGES, BOTH, "tensorrt")


def store(model, name, array):
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(array), name))


def node(model, name):
    return next(node for node in model.graph.node if node.name == name)


def refusals(model):
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return [bool(quantisation.refusal(inferred, major)) for major in (8, 10, 11)]


def test_what_the_exporter_writes(model):
    assert problems(model) == []
    check(model)
    assert refusals(model) == [False, False, False]


def test_the_graph_for_cpus_is_not_for_tensorrt():
    model = quantised(tiny(), RANGES, BOTH)
    assert "bands.zero: stored as uint8, which TensorRT has not" in problems(model)
    assert refusals(model) == [True, True, True]
    with pytest.raises(ExportError, match=r"stored as uint8, which TensorRT has not; [0-9]+ problems in all"):
        check(model)


def test_uint8_of_zero_point_0_would_be_taken_for_int8(model):
    store(model, "bands.zero", np.uint8(0))
    assert "node bands.quantize: its zero point is not a stored int8 of 0" in problems(model)
    assert refusals(model) == [True, False, False]  # which is why a parser's word is not enough


@pytest.mark.parametrize(
    ("name", "value", "text", "refused"),
    [
        ("bands.zero", np.int8(3), "bands.quantize: its zero point is not a stored int8 of 0", [True] * 3),
        ("bands.scale", np.float32(0), "bands.quantize: its scale is not a stored float32 above 0", [True] * 3),
        ("bands.scale", np.float32(np.nan), "bands.quantize: its scale is not a stored float32 above 0", [True] * 3),
        (
            "net.conv1.weight.zero", np.int8(0),
            "net.conv1.weight.quantize: its scale and zero point differ in size", [True] * 3,
        ),
        ("bands.scale", np.float32(0.5), "cat: its inputs and its output have different scales", [False] * 3),
    ],
)  # fmt: skip
def test_scales_and_zero_points(model, name, value, text, refused):
    store(model, name, value)
    assert f"node {text}" in problems(model)
    assert refusals(model) == refused


def test_no_zero_point(model):
    del node(model, "bands.quantize").input[2]
    assert any("bands.quantize: no zero point" in text for text in problems(model))
    assert refusals(model)[0]


def test_a_scale_for_each_channel_is_for_kernels_alone(model):
    for name in ("bands.scale", "bands.zero"):
        kept = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)
        store(model, name, np.full(2, kept))
    for name in ("bands.quantize", "bands.dequantize"):
        node(model, name).attribute.append(helper.make_attribute("axis", 1))
    assert "node bands.quantize: a scale for each channel of an activation" in problems(model)
    assert refusals(model) == [True, True, True]


def test_the_axis_of_a_kernel(model):
    for name in ("net.conv1.weight.quantize", "net.conv1.weight.dequantize"):
        node(model, name).attribute[0].i = 1
    assert "node conv1: its kernel has not a scale for each output channel, along axis 0" in problems(model)
    for name in ("net.conv2.weight.quantize", "net.conv2.weight.dequantize"):
        node(model, name).attribute[0].i = 1  # 2 scales, 4 inputs
    assert refusals(model) == [True, True, True]


def test_stored_codes_are_not_for_8_6(model):
    codes = numpy_helper.from_array(np.ones((2, 2, 1, 1), np.int8), "codes")
    model.graph.initializer.append(codes)
    node(model, "net.conv1.weight.dequantize").input[0] = "codes"
    assert any("which no QuantizeLinear made; 8.6 reads no stored codes" in text for text in problems(model))
    assert refusals(model) == [True, False, False]


def test_a_bias_of_codes(model):
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.array([50, 0], np.int32), "b.codes"),
         numpy_helper.from_array(np.full(2, 0.01, np.float32), "b.scale"),
         numpy_helper.from_array(np.zeros(2, np.int32), "b.zero")]
    )  # fmt: skip
    made = helper.make_node("DequantizeLinear", ["b.codes", "b.scale", "b.zero"], ["b.rounded"], "b.dequantize", axis=0)
    model.graph.node.insert(0, made)
    node(model, "conv1").input[2] = "b.rounded"
    found = problems(model)
    assert "node conv1: its bias is not a stored float32" in found
    assert "node b.dequantize: its zero point is not a stored int8 of 0" in found


def test_half_a_convolution(model):
    node(model, "conv1").input[0] = "bands"
    assert "node conv1: its input is in float32 and the other in 8 bits" in problems(model)
    node(model, "conv2").input[1] = "net.conv2.weight"
    assert "node conv2: its kernel is in float32 and the other in 8 bits" in problems(model)


def test_a_kernel_behind_a_cast(model):
    half = numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float16), "half")
    model.graph.initializer.append(half)
    model.graph.node.insert(0, helper.make_node("Cast", ["half"], ["cast"], "cast", to=TensorProto.FLOAT))
    node(model, "net.conv1.weight.quantize").input[0] = "cast"
    assert "node conv1: its kernel is not a stored float32 that is rounded" in problems(model)


def test_rounding_before_an_activation():
    """As engines on a CPU want it."""
    model = quantised(tiny(), RANGES, BOTH, "tensorrt")
    for name in ("bands.scale", "bands.zero"):
        kept = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)
        model.graph.initializer.append(numpy_helper.from_array(kept, name.replace("bands", "c1")))
    grid = ["c1.scale", "c1.zero"]
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", ["c1", *grid], ["c1.codes"], "c1.quantize"))
    model.graph.node.insert(1, helper.make_node("DequantizeLinear", ["c1.codes", *grid], ["c1.rounded"], "c1.back"))
    node(model, "act").input[0] = "c1.rounded"
    assert "node c1.quantize: it rounds between conv1 and its activation" in problems(model)


def test_codes_are_for_dequantizelinear_alone(model):
    model.graph.node.append(helper.make_node("Cast", ["bands.codes"], ["z"], "odd", to=TensorProto.FLOAT))
    assert problems(model) == ["node bands.quantize: its codes are read by something other than DequantizeLinear"]
