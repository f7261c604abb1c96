import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tests.micro import micro_config, micro_system

from hidemia.export.batch import named
from hidemia.export.graphs import Hide, Recover
from hidemia.export.nodes import simplified
from hidemia.export.writing import to_onnx


def chain(*shapes, stored=True):
    """batch x 2 x 4 x 6 through one Reshape after the other; a shape that occurs twice is one constant."""
    names = {shape: f"to{i}" for i, shape in enumerate(dict.fromkeys(shapes))}
    tensors = [numpy_helper.from_array(np.array(shape, np.int64), name) for shape, name in names.items()]
    constants = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in tensors]
    nodes = [
        helper.make_node("Reshape", [f"x{i}", names[shape]], [f"x{i + 1}"], f"reshape{i}")
        for i, shape in enumerate(shapes)
    ]
    graph = helper.make_graph(
        nodes if stored else [*constants, *nodes],
        "chain",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["batch", 2, 4, 6])],
        [helper.make_tensor_value_info(f"x{len(shapes)}", TensorProto.FLOAT, [None, *shapes[-1][1:]])],
        tensors if stored else [],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def first_dimensions(model):
    graph = onnx.shape_inference.infer_shapes(model).graph
    dimensions = [value.type.tensor_type.shape.dim for value in (*graph.value_info, *graph.output)]
    return [sizes[0].dim_param for sizes in dimensions if len(sizes)]  # a number has none


def shapes_of(model):
    held = {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    held |= {tensor.name: tensor for tensor in model.graph.initializer}
    return [
        numpy_helper.to_array(held[node.input[1]]).tolist() for node in model.graph.node if node.op_type == "Reshape"
    ]


@pytest.mark.parametrize("stored", [True, False])
def test_what_stays_is_copied_and_what_grows_has_a_name(stored):
    model = chain((-1, 8, 6), (-1, 4, 6), (-1, 24), (-1, 2, 24), (-1, 48), stored=stored)
    named(model)
    onnx.checker.check_model(model, full_check=True)
    assert shapes_of(model) == [[0, 8, 6], [-1, 4, 6], [0, 24], [-1, 2, 24], [0, 48]]
    dimensions = {value.name: value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.value_info}
    assert dimensions == {"x2": "batch_x2", "x4": "batch"}
    x = np.arange(3 * 48, dtype=np.float32).reshape(3, 2, 4, 6)
    (got,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x0": x})
    np.testing.assert_array_equal(got, x.reshape(3, 48))


def test_halves_are_named_by_the_fraction():
    model = chain((-1, 4, 4, 6), (-1, 2, 4, 6), (-1, 8, 6))
    named(model)
    assert [value.name for value in model.graph.value_info] == ["x1", "x2"]
    assert first_dimensions(model) == ["batch_x1/2", "batch", "batch"]


def test_a_shape_that_serves_two_is_left_where_one_of_them_grows():
    model = chain((-1, 4, 6), (-1, 2, 4, 6), (-1, 4, 6), (-1, 4, 6))
    named(model)
    assert shapes_of(model)[3] == [-1, 4, 6]
    assert first_dimensions(model)[2] == "batch_x2"


def test_it_is_done_once():
    model = chain((-1, 8, 6), (-1, 4, 6), (-1, 2, 24))
    named(model)
    once = model.SerializeToString(deterministic=True)
    named(model)
    assert model.SerializeToString(deterministic=True) == once


def test_a_first_dimension_that_is_known_is_left():
    model = chain((-1, 8, 6))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    named(model)
    assert shapes_of(model) == [[-1, 8, 6]]
    assert not model.graph.value_info


@pytest.mark.parametrize("form", ["direct", "tiled"])
@pytest.mark.parametrize(("wrapper", "names", "outputs"), [
    (Hide, ["secret", "cover"], ["stego"]), (Recover, ["reply", "sent"], ["probability", "seal"]),
])  # fmt: skip
def test_every_graph_of_a_hider_knows_its_batch(form, wrapper, names, outputs):
    photo = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    module = wrapper(micro_system(micro_config()), form, 64).eval()
    model = onnx.load_from_string(to_onnx(module, (photo, photo), names, outputs, dynamic=True))
    for written in (model, simplified(model)):
        named(written)
        free = {name for name in first_dimensions(written) if name}
        assert free == ({"batch"} if wrapper is Hide else {"batch", "batch_x2"})


def test_onnx_runtime_then_adds_as_it_convolves(tmp_path):
    """Of a dense subnet's ten sums none is left as a node: what is left adds in the coupling, once a block."""
    photo = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    system = micro_system(micro_config())
    data = to_onnx(Hide(system, "direct", 64).eval(), (photo, photo), ["secret", "cover"], ["stego"], dynamic=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # that the file is for this machine alone
    onnxruntime.InferenceSession(data, options)
    operators = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    blocks = len(system.hider.blocks())
    assert operators.count("Add") <= 2 * blocks - 1
