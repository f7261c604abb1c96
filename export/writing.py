"""From a traced module to the bytes of an ONNX file: deterministic, opset 17, IR 8, checked."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from hidemia.export.batch import named
from hidemia.export.lint import check

OPSET, IR_VERSION = 17, 8  # the most that TensorRT 8.6 and the ONNX Runtime of Python 3.10 read
HALF_FROM = 512  # numbers from which storing in float16 is worth a node


def to_onnx(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: list[str],
    output_names: list[str],
    dynamic: bool,  # noqa: FBT001
) -> bytes:
    """Trace a module and write it as ONNX.

    Args:
        module: a wrapper of `hidemia.export.graphs`.
        inputs: example inputs, with a batch of two where the batch is dynamic.
        input_names: names of the graph's inputs.
        output_names: names of its outputs.
        dynamic: whether the first dimension is the symbol ``batch`` or the example's.

    Raises:
        ExportError: the graph breaks a rule of `hidemia.export.lint`.
    """
    buffer = io.BytesIO()
    axes = {name: {0: "batch"} for name in [*input_names, *output_names]} if dynamic else None
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but the one that replaces it leaves a higher opset than was asked for.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        torch.onnx.export(
            module.eval(), inputs, buffer,  # type: ignore[arg-type]
            input_names=input_names, output_names=output_names,
            dynamic_axes=axes, opset_version=OPSET, do_constant_folding=False, dynamo=False,
        )  # fmt: skip
    model = onnx.load_from_string(buffer.getvalue())
    model.ir_version = IR_VERSION
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""  # the exporter writes file names of the machine here
    return finished(model)


def finished(model: ModelProto) -> bytes:
    """The bytes of a graph's file, the same for the same graph, weights stored in half.

    Raises:
        ExportError: the graph breaks a rule of `hidemia.export.lint`.
    """
    store_in_half(model)
    return sealed(model)


def sealed(model: ModelProto) -> bytes:
    """The same, weights stored as they are: TensorRT rounds constants to 8 bits, and a cast one is none to its parser.

    Raises:
        ExportError: the graph breaks a rule of `hidemia.export.lint`.
    """
    named(model)
    onnx.checker.check_model(model, full_check=True)
    check(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def store_in_half(model: ModelProto) -> None:
    """Keep in float16 what float16 holds exactly, with a cast that engines fold when they load the file.

    Shipped weights are stored in float16, so this halves the files and changes no number.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < HALF_FROM or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
