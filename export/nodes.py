"""Reading and editing an ONNX graph: who makes a tensor, who reads it, and the same graph in its plainest form."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

CONVOLUTIONS = ("Conv", "ConvTranspose")
FIXED_MAGNITUDES = 3  # a filter with no more different magnitudes was written down, not trained: Haar, Laplacian


def producers(model: ModelProto) -> dict[str, NodeProto]:
    """The node that makes each tensor; inputs and initializers have none."""
    return {output: node for node in model.graph.node for output in node.output}


def readers(model: ModelProto) -> dict[str, list[NodeProto]]:
    """The nodes that read each tensor, in the graph's order."""
    found: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            found.setdefault(name, []).append(node)
    return found


def initializers(model: ModelProto) -> dict[str, TensorProto]:
    """The stored tensors by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def attribute(node: NodeProto, name: str) -> Any:
    """An attribute's value, or None."""
    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return None


def set_nodes(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    """Replace the nodes, then drop those that reach no output, and the initializers that nobody reads."""
    kept, wanted = [], {output.name for output in model.graph.output}
    for node in reversed(list(nodes)):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    stored = [tensor for tensor in model.graph.initializer if tensor.name in wanted]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(reversed(kept))
    model.graph.initializer.extend(stored)
    del model.graph.value_info[:]


def simplified(model: ModelProto) -> ModelProto:
    """A copy with every constant an initializer in its own precision, and no node that passes its input on.

    Gone are Constant, Identity, a Concat of one tensor, a Cast to the type that a tensor has, and the float16
    storage of `hidemia.export.writing`.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    types = element_types(copy)
    stored = initializers(copy)
    same: dict[str, str] = {}
    nodes = []
    for node in copy.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = same.get(name, name)
        if node.op_type == "Constant":
            tensor = TensorProto()
            tensor.CopyFrom(attribute(node, "value"))
            tensor.name = node.output[0]
            copy.graph.initializer.append(tensor)
            stored[tensor.name] = tensor
        elif node.op_type == "Cast" and node.input[0] in stored:
            kind = onnx.helper.tensor_dtype_to_np_dtype(attribute(node, "to"))
            values = numpy_helper.to_array(stored[node.input[0]]).astype(kind)
            tensor = numpy_helper.from_array(values, node.output[0])
            copy.graph.initializer.append(tensor)
            stored[tensor.name] = tensor
        elif node.output[0] not in {output.name for output in copy.graph.output} and _passes_on(node, types):
            same[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
    set_nodes(copy, nodes)
    return copy


def _passes_on(node: NodeProto, types: dict[str, int]) -> bool:
    if node.op_type == "Cast":
        return types.get(node.input[0]) == int(attribute(node, "to"))
    return node.op_type == "Identity" or (node.op_type == "Concat" and len(node.input) == 1)


def element_types(model: ModelProto) -> dict[str, int]:
    """The element type of every tensor, a value of `TensorProto.DataType`."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.input)}
    types |= {value.name: value.type.tensor_type.elem_type for value in inferred.output}
    return types | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def constants(model: ModelProto) -> set[str]:
    """Every tensor that depends on no input: the initializers, and what is computed from them alone."""
    known = set(initializers(model))
    for node in model.graph.node:
        if all(name in known for name in node.input if name):
            known |= set(node.output)
    return known


class MatMul(OpRun):
    """ONNX's MatMul, summed in float64: in float32 the last bit is that of the machine and the number of threads."""

    op_domain = ""

    def _run(self, a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any]]:
        return (np.asarray(a.astype(np.float64) @ b.astype(np.float64)).astype(a.dtype),)


def constant_values(model: ModelProto, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The values of tensors that depend on no input, computed by ONNX's own reference, but for its `MatMul`."""
    wanted = list(dict.fromkeys(names))
    stored = initializers(model)
    found = {name: numpy_helper.to_array(stored[name]) for name in wanted if name in stored}
    computed = [name for name in wanted if name not in stored]
    if computed:
        part = ModelProto()
        part.CopyFrom(model)
        del part.graph.output[:], part.graph.input[:]
        part.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in computed)
        set_nodes(part, list(part.graph.node))
        reference = ReferenceEvaluator(part, new_ops=[MatMul])
        found |= dict(zip(computed, reference.run(None, {}), strict=True))  # type: ignore[arg-type]
    return found


def trained_convolutions(model: ModelProto) -> list[NodeProto]:
    """Convolutions with a kernel that was trained; Haar transforms and the Laplacian are fixed filters."""
    stored = initializers(model)
    return [
        node
        for node in model.graph.node
        if node.op_type in CONVOLUTIONS
        and not (
            node.input[1] in stored
            and len(np.unique(np.abs(numpy_helper.to_array(stored[node.input[1]])))) <= FIXED_MAGNITUDES
        )
    ]


def after_each(model: ModelProto, made: Callable[[str], list[NodeProto]]) -> list[NodeProto]:
    """The nodes, behind each input and each node what ``made`` gives for their tensors."""
    nodes = [new for value in model.graph.input for new in made(value.name)]
    for node in model.graph.node:
        nodes.append(node)
        nodes.extend(new for output in node.output for new in made(output))
    return nodes
