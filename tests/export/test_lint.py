import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.tiny import tiny

from hidemia.export.lint import REFUSED, check, problems
from hidemia.runtime.errors import ExportError


def with_node(operator, inputs, outputs, name="odd", **attributes):
    model = tiny()
    model.graph.node.append(helper.make_node(operator, inputs, outputs, name, **attributes))
    return model


def test_a_clean_graph():
    assert problems(tiny()) == []
    check(tiny())


@pytest.mark.parametrize("operator", sorted(REFUSED))
def test_every_refused_operator_is_named(operator):
    (found,) = problems(with_node(operator, ["x"], ["z"]))
    assert found.startswith(f"node odd: {operator} (")


def test_integers_that_are_computed_with():
    model = with_node("Add", ["one", "one"], ["two_of"])
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "one"))
    (found,) = problems(model)
    assert found.startswith("node odd: Add of integers (shape arithmetic")


def test_external_data_also_inside_a_constant():
    tensor = numpy_helper.from_array(np.ones(2, np.float32), "kept")
    tensor.data_location = TensorProto.EXTERNAL
    model = with_node("Constant", [], ["z"], value=tensor)
    assert problems(model) == ["kept: external data"]
    model = tiny()
    entry = model.graph.initializer[1].external_data.add()
    entry.key, entry.value = "location", "elsewhere.bin"
    assert problems(model) == ["net.conv1.weight: external data"]


def test_names_are_unique():
    assert problems(with_node("Neg", ["x"], ["z"], "conv1")) == ["node conv1: 2 nodes of one name"]


def test_free_sizes():
    model = tiny()
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "width"
    with pytest.raises(ExportError, match="x: 1 sizes other than the batch are not fixed; 1 problems in all"):
        check(model)
