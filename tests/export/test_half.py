import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper
from tests.tiny import WEIGHT1, WEIGHT2, tiny

from hidemia.export.half import halved
from hidemia.export.nodes import element_types

HALF, FULL = TensorProto.FLOAT16, TensorProto.FLOAT


def run(model, x):
    (got,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    return got


def test_convolutions_are_half_and_the_coupling_is_not():
    model, full = halved(tiny())
    onnx.checker.check_model(model, full_check=True)
    assert full == ["scale", "couple"]
    types = element_types(model)
    assert {name: types[name] for name in ("bands", "c1", "a1", "cat", "c2", "y")} == {
        "bands": FULL, "c1": HALF, "a1": HALF, "cat": HALF, "c2": HALF, "y": FULL
    }  # fmt: skip
    # One cast into float16 for both readers of the bands, one back: nothing else changes precision.
    casts = [(node.input[0], node.output[0]) for node in model.graph.node if node.op_type == "Cast"]
    assert casts == [("bands", "bands.half"), ("c2", "c2.float")]


def test_every_operator_has_inputs_of_one_precision():
    model, _ = halved(tiny())
    types = element_types(model)
    for node in model.graph.node:
        if node.op_type != "Cast":
            assert len({types[name] for name in node.input}) == 1, node.name


def test_weights_are_stored_in_half_without_casts():
    model, _ = halved(tiny())
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    assert {name: tensor.data_type for name, tensor in stored.items()} == {
        "two": FULL, "net.conv1.weight.half": HALF, "b.half": HALF, "net.conv2.weight.half": HALF
    }  # fmt: skip
    np.testing.assert_array_equal(numpy_helper.to_array(stored["net.conv1.weight.half"]), WEIGHT1.astype(np.float16))


def test_numbers_by_hand():
    model, _ = halved(tiny())
    x = np.array([[[[1, 0.5, 0]], [[0.25, 1, 0]]]], np.float32)
    bands = 2 * x[0, :, 0].astype(np.float64)
    w1, w2 = (w.astype(np.float16).astype(np.float64)[:, :, 0, 0] for w in (WEIGHT1, WEIGHT2))
    c1 = w1 @ bands + np.array([[0.5], [0]])
    a1 = np.where(c1 > 0, c1, 0.2 * c1)
    expected = bands + w2 @ np.concatenate([bands, a1])
    np.testing.assert_allclose(run(model, x)[0, :, 0], expected, atol=4e-3)
    assert np.abs(run(model, x) - run(tiny(), x)).max() > 0  # float16 was really used


def test_the_original_is_left_alone():
    model = tiny()
    before = model.SerializeToString()
    halved(model)
    assert model.SerializeToString() == before
