"""The other precisions of a graph: the same function, written with casts or with Q/DQ nodes, these in two layouts."""

from __future__ import annotations

import hashlib
import re

import msgspec
import onnx
from onnx import ModelProto

from hidemia.export import explicit
from hidemia.export.calibration import GraphCalibration
from hidemia.export.half import halved
from hidemia.export.nodes import CONVOLUTIONS, constants, element_types, initializers, producers, simplified
from hidemia.export.quantize import CARRIERS, Layout, quantisable, quantised
from hidemia.export.writing import finished, sealed
from hidemia.runtime.manifest import Graph, Precision

BACKENDS: dict[Layout, list[str]] = {"cpu": ["onnxruntime", "openvino"], "tensorrt": ["tensorrt"]}
"""Who is given an INT8 graph: see `quantize`. One in FP16 is for all."""
FUSED = ("Add", "LeakyRelu", "Relu")
FORMS = (None, "any")
"""The forms of MoDC that other precisions than FP32 are written for. `one` mixes its kernel at run time, so no kernel
can be quantised; in FP16 it is left out for the size of the bundle: a GPU serves batches."""


def in_fp16(fp32: Graph, data: bytes) -> tuple[Graph, bytes]:
    """Write a graph in FP16.

    Args:
        fp32: what the manifest says of the FP32 graph.
        data: its file.
    """
    model = simplified(onnx.load_from_string(data))
    written, full = halved(model)
    low = {node.name for node in written.graph.node if node.op_type in CONVOLUTIONS} - set(full)
    path = fp32.path.replace(".fp32.", ".fp16.")
    return _entry(fp32, path, "fp16", model, low, full, [*BACKENDS["cpu"], "tensorrt"], finished(written))


def in_int8(fp32: Graph, data: bytes, calibration: GraphCalibration, layout: Layout) -> tuple[Graph, bytes]:
    """Write a graph in INT8.

    Args:
        fp32: what the manifest says of the FP32 graph.
        data: its file.
        calibration: of this graph, for this layout.
        layout: who reads it.

    Raises:
        ExportError: the calibration does not fit the graph, or TensorRT would not read it.
    """
    model = simplified(onnx.load_from_string(data))
    low = chosen(model, calibration)
    written = quantised(model, calibration.ranges, low, layout)
    path = fp32.path.replace(".fp32.", ".int8.")
    if layout == "tensorrt":
        explicit.check(written)
        path = path.replace(".onnx", ".trt.onnx")
        with_them, made = fused(written, low), sealed(written)
    else:
        with_them, made = carried(written, low), finished(written)
    full = [name for name in _float_nodes(model) if name not in low | with_them]
    return _entry(fp32, path, "int8", model, low, full, BACKENDS[layout], made)


def _entry(
    fp32: Graph,
    path: str,
    precision: Precision,
    model: ModelProto,
    low: set[str],
    full: list[str],
    backends: list[str],
    made: bytes,
) -> tuple[Graph, bytes]:
    total = sum(node.op_type in CONVOLUTIONS for node in model.graph.node)
    return msgspec.structs.replace(
        fp32,
        path=path,
        sha256=hashlib.sha256(made).hexdigest(),
        size_bytes=len(made),
        precision=precision,
        precision_achieved=f"{precision} in {len(low)} of {total} convolutions",
        fp32_nodes=full,
        backends=backends,
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


def fused(written: ModelProto, low: set[str]) -> set[str]:
    """What TensorRT takes into the kernel of a quantised convolution: sums of such ones and activations behind them.

    They compute in float32 inside it, so a pin to float32 would only keep them outside. Copies of codes count too.
    """
    made, found = producers(written), carried(written, low)

    def inside(name: str) -> bool:
        maker = made.get(name)
        return maker is not None and maker.name in low | found

    for node in written.graph.node:
        if node.op_type in FUSED and all(map(inside, node.input)):
            found.add(node.name)
    return found


def _float_nodes(model: ModelProto) -> list[str]:
    """Nodes that compute in float32 on what the inputs bring."""
    types, known = element_types(model), constants(model)
    return [
        node.name
        for node in model.graph.node
        if any(types.get(name) == onnx.TensorProto.FLOAT and name not in known for name in node.output)
    ]
