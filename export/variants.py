"""The other precisions of a graph: the same function, written with casts or with Q/DQ nodes."""

from __future__ import annotations

import hashlib
import re

import msgspec
import onnx
from onnx import ModelProto

from hidemia.export.calibration import GraphCalibration
from hidemia.export.half import halved
from hidemia.export.nodes import CONVOLUTIONS, constants, element_types, initializers, producers, simplified
from hidemia.export.quantize import CARRIERS, quantisable, quantised
from hidemia.export.writing import finished
from hidemia.runtime.manifest import Graph, Precision

BACKENDS: dict[Precision, list[str]] = {
    "fp16": ["onnxruntime", "openvino", "tensorrt"],
    "int8": ["onnxruntime", "openvino"],  # uint8 activations, which TensorRT cannot read: see `quantize`
}
FORMS = (None, "any")
"""The forms of MoDC that other precisions than FP32 are written for. `one` mixes its kernel at run time, so no kernel
can be quantised; in FP16 it is left out for the size of the bundle: a GPU serves batches."""


def variant(
    fp32: Graph, data: bytes, precision: Precision, calibration: GraphCalibration | None
) -> tuple[Graph, bytes]:
    """Write a graph in another precision.

    Args:
        fp32: what the manifest says of the FP32 graph.
        data: its file.
        precision: fp16 or int8.
        calibration: of this graph; for int8.

    Raises:
        ExportError: the calibration does not fit the graph.
    """
    model = simplified(onnx.load_from_string(data))
    if precision == "fp16":
        written, full = halved(model)
        low = {node.name for node in written.graph.node if node.op_type in CONVOLUTIONS} - set(full)
    else:
        assert calibration is not None  # noqa: S101 - the caller has read it
        low = chosen(model, calibration)
        written = quantised(model, calibration.ranges, low)
        full = [name for name in _float_nodes(model) if name not in low | carried(written, low)]
    total = sum(node.op_type in CONVOLUTIONS for node in model.graph.node)
    made = finished(written)
    return msgspec.structs.replace(
        fp32,
        path=fp32.path.replace(".fp32.", f".{precision}."),
        sha256=hashlib.sha256(made).hexdigest(),
        size_bytes=len(made),
        precision=precision,
        precision_achieved=f"{precision} in {len(low)} of {total} convolutions",
        fp32_nodes=full,
        backends=BACKENDS[precision],
    ), made


def chosen(model: ModelProto, calibration: GraphCalibration) -> set[str]:
    """The convolutions to quantise: all but those of the groups that stay in FP32."""
    return {
        name
        for group, names in convolution_groups(model).items()
        if group not in calibration.fp32
        for name in names
    }  # fmt: skip


def convolution_groups(model: ModelProto) -> dict[str, list[str]]:
    """The convolutions that can be quantised, by the part of the network whose weights they hold.

    The part is the path of the kernel down to the block that the convolution is of: ``hider.f.1`` for
    ``hider.f.1.conv5.terms.0.weight``.
    """
    stored, made = initializers(model), {output: node for node in model.graph.node for output in node.output}

    def kernels(name: str) -> list[str]:
        if name in stored:
            return [name]
        return [found for source in made[name].input for found in kernels(source)]

    def size(name: str) -> int:
        return len(stored[name].raw_data)

    groups: dict[str, list[str]] = {}
    for node in quantisable(model):
        kernel = max(kernels(node.input[1]), key=size)
        groups.setdefault(re.split(r"\.conv\d", kernel.rsplit(".", 1)[0])[0], []).append(node.name)
    return groups


def carried(written: ModelProto, low: set[str]) -> set[str]:
    """The nodes between quantised ones that run in 8 bits with them: all they read comes out of 8 bits."""
    made = producers(written)

    def eight_bit(name: str) -> bool:
        maker = made.get(name)
        return maker is not None and (maker.op_type == "DequantizeLinear" or maker.name in low)

    return {node.name for node in written.graph.node if node.op_type in CARRIERS and all(map(eight_bit, node.input))}


def _float_nodes(model: ModelProto) -> list[str]:
    """Nodes that compute in float32 on what the inputs bring."""
    types, known = element_types(model), constants(model)
    return [
        node.name
        for node in model.graph.node
        if any(types.get(name) == onnx.TensorProto.FLOAT and name not in known for name in node.output)
    ]
