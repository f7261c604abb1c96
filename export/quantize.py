"""INT8 by Q/DQ nodes, in two layouts: what engines on a CPU run in 8 bits, and what TensorRT reads.

``cpu``       for ONNX Runtime and OpenVINO. Around a quantised convolution every tensor is rounded to 8 bits, also the
              one between the convolution and its LeakyRelu: then ONNX Runtime has an 8-bit kernel for each of the three
              (without it computes all in float32, at the speed of float32), and OpenVINO fuses them. Activations are
              unsigned with a zero point: signed ones lose half of the codes on what LeakyRelu leaves, and OpenVINO
              2026.4 computes a Concat of signed tensors wrongly.
``tensorrt``  Activations are signed and their zero point is 0. Only what convolutions read is rounded: TensorRT fuses a
              convolution with the sum and the activation behind it as long as nothing between them is rounded, and
              takes the rounding behind them into the same kernel. Kernels are float32 constants that are rounded in
              the graph, the one form that 8.6 reads too (`hidemia.export.explicit` lists the rules).

In both a Concat's inputs share one scale, so that it copies codes, and weights are signed, symmetric, with a scale for
each output channel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from hidemia.export.nodes import (
    after_each,
    constant_values,
    constants,
    initializers,
    producers,
    readers,
    set_nodes,
    simplified,
    trained_convolutions,
)
from hidemia.runtime.errors import ExportError

Range = tuple[float, float]

Layout: TypeAlias = Literal["cpu", "tensorrt"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

CARRIERS = ("Concat", "LeakyRelu", "MaxPool", "Relu")
"""Nodes with an 8-bit kernel, which stay in 8 bits when their neighbours are."""
SAME_SCALE = ("Concat", "MaxPool")
"""Of these, the ones that only copy codes: inputs and output have one scale."""


def quantisable(model: ModelProto) -> list[NodeProto]:
    """The convolutions of a simplified graph that can be quantised: trained, with a kernel that no input changes."""
    known = constants(model)
    return [node for node in trained_convolutions(model) if node.op_type == "Conv" and node.input[1] in known]


def activations(model: ModelProto, convolutions: Collection[str], layout: Layout) -> list[list[str]]:
    """The tensors that are rounded when these convolutions are, in groups of one scale.

    Args:
        model: simplified.
        convolutions: names of nodes.
        layout: ``tensorrt`` leaves what convolutions make as it is.
    """
    made, read, groups = producers(model), readers(model), _Groups()
    for node in model.graph.node:
        if node.name not in convolutions:
            continue
        for name in [node.input[0], *(_made_by(node, read) if layout == "cpu" else [])]:
            groups.add(name)
            _join_sources(name, made, groups)
    return groups.members()


def _made_by(node: NodeProto, read: Mapping[str, list[NodeProto]]) -> list[str]:
    """A convolution's output, and what LeakyRelu makes of it."""
    output = output_of(node, read)
    if output != node.output[0]:
        return [output]
    return [output, *(reader.output[0] for reader in read.get(output, []) if reader.op_type == "LeakyRelu")]


def _join_sources(name: str, made: Mapping[str, NodeProto], groups: _Groups) -> None:
    """What a copying node reads has the scale of what it makes."""
    maker = made.get(name)
    if maker is None or maker.op_type not in SAME_SCALE:
        return
    for source in maker.input:
        groups.join(source, name)
        _join_sources(source, made, groups)


class _Groups:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def add(self, name: str) -> str:
        """Take a name in, and give the one that stands for its set."""
        self._parent.setdefault(name, name)
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def join(self, one: str, other: str) -> None:
        """Make two sets one."""
        self._parent[self.add(one)] = self.add(other)

    def members(self) -> list[list[str]]:
        """The sets, in the order their names were first seen."""
        sets: dict[str, list[str]] = {}
        for name in self._parent:
            sets.setdefault(self.add(name), []).append(name)
        return list(sets.values())


def output_of(node: NodeProto, read: Mapping[str, list[NodeProto]]) -> str:
    """Where a convolution's output is rounded: behind its Relu, which a range from 0 makes part of the rounding."""
    after = read.get(node.output[0], [])
    name: str = after[0].output[0] if len(after) == 1 and after[0].op_type == "Relu" else node.output[0]
    return name


def quantised(
    model: ModelProto, ranges: Mapping[str, Range], convolutions: Collection[str], layout: Layout = "cpu"
) -> ModelProto:
    """Round the weights and activations of some convolutions to 8 bits.

    Args:
        model: a float32 graph, simplified or not.
        ranges: lowest and highest value of each tensor of `activations`.
        convolutions: names of the nodes to quantise, of those that `quantisable` gives.
        layout: who reads it.

    Raises:
        ExportError: a range is missing.
    """
    copy = simplified(model)
    rounded = {name for group in activations(copy, convolutions, layout) for name in group}
    for name in sorted(rounded):
        if name not in ranges:
            raise ExportError(f"calibration: expected a range for {name}, got none; calibrate these weights again")
        _store(copy, name, *grid(ranges[name], layout))
    low = [node for node in copy.graph.node if node.name in convolutions]
    if layout == "tensorrt":
        _fold(copy, low)
        kernels, computed_kernels = _round_constant_weights(copy, low), set[str]()
    else:
        kernels, computed_kernels = _round_weights(copy, low)
    read = readers(copy)
    eight_bit = set(convolutions) | {
        reader.name for name in rounded for reader in read.get(name, []) if _stays(reader, rounded)
    }
    computed = {output_of(node, read) for node in low}
    computed |= {name for node in copy.graph.node if node.name in eight_bit for name in node.output}
    for node in copy.graph.node:
        for i, name in enumerate(node.input):
            # What 8 bits made is read from 8 bits, by all; what float32 made, such as the bands, by 8-bit nodes alone.
            if name in rounded and (node.name in eight_bit or name in computed):
                node.input[i] = f"{name}.rounded"

    def rounding(name: str) -> list[NodeProto]:
        if name in computed_kernels:
            return _rounding(name, axis=0)
        return _rounding(name) if name in rounded else []

    set_nodes(copy, [*kernels, *after_each(copy, rounding)])
    return copy


def grid(limits: Range, layout: Layout) -> tuple[NDArray[np.float32], NDArray[np.uint8] | NDArray[np.int8]]:
    """Scale and zero point for a range; 0 is always a code of its own, so that padding stays exact."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    if layout == "tensorrt":
        reach = max(-low, high) or 1.0
        return np.asarray(reach / 127, np.float32), np.asarray(0, np.int8)
    scale = np.asarray(((high - low) or 1.0) / 255, np.float32)
    return scale, np.asarray(np.clip(np.rint(-low / scale), 0, 255), np.uint8)


def weight_scales(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """One scale for each output channel of (O, I, h, w): the largest magnitude becomes 127."""
    reach = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    return np.asarray(np.where(reach > 0, reach, 1) / 127, np.float32)


def _round_weights(model: ModelProto, low: list[NodeProto]) -> tuple[list[NodeProto], set[str]]:
    """Make convolutions read their kernels from 8 bits.

    Returns:
        The nodes that give stored kernels back from their codes, and the names of the kernels that the graph computes
        from constants: those are rounded where they are made, and an engine folds that when it loads the file.
    """
    values = constant_values(model, (node.input[1] for node in low))
    stored = initializers(model)
    nodes, computed = [], set()
    for name, weight in values.items():
        scales = weight_scales(weight)
        zeros = np.zeros(len(scales), np.int8)
        _store(model, name, scales, zeros)
        if name not in stored:
            computed.add(name)
            continue
        codes = np.rint(weight / scales[:, None, None, None]).clip(-127, 127).astype(np.int8)
        model.graph.initializer.append(numpy_helper.from_array(codes, f"{name}.codes"))
        nodes.append(_rounding(name, axis=0)[1])
    for node in low:
        node.input[1] += ".rounded"
    return nodes, computed


def _fold(model: ModelProto, low: list[NodeProto]) -> None:
    """Store the kernels and biases that the graph computes from constants: TensorRT rounds none that is computed."""
    stored = initializers(model)
    computed = {name for node in low for name in node.input[1:] if name not in stored}
    for name, value in constant_values(model, sorted(computed)).items():
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), f"{name}.folded"))
    for node in low:
        for i, name in enumerate(node.input[1:], 1):
            if name in computed:
                node.input[i] = f"{name}.folded"


def _round_constant_weights(model: ModelProto, low: list[NodeProto]) -> list[NodeProto]:
    """Replace stored kernels by their rounded values, and round these in the graph; gives the nodes that do it.

    So a code is the same whether an engine divides by the scale or multiplies by its reciprocal.
    """
    stored = initializers(model)
    nodes = []
    for name in dict.fromkeys(node.input[1] for node in low):
        weight = numpy_helper.to_array(stored[name])
        scales = weight_scales(weight)
        codes = np.rint(weight / scales[:, None, None, None]).clip(-127, 127)
        stored[name].CopyFrom(numpy_helper.from_array(codes.astype(np.float32) * scales[:, None, None, None], name))
        _store(model, name, scales, np.zeros(len(scales), np.int8))
        nodes += _rounding(name, axis=0)
    for node in low:
        node.input[1] += ".rounded"
    return nodes


def _store(model: ModelProto, name: str, scale: NDArray[np.float32], zero: NDArray[Any]) -> None:
    model.graph.initializer.extend(
        [numpy_helper.from_array(scale, f"{name}.scale"), numpy_helper.from_array(zero, f"{name}.zero")]
    )


def _rounding(name: str, **axis: Any) -> list[NodeProto]:
    """QuantizeLinear and DequantizeLinear: tensor -> tensor.codes -> tensor.rounded."""
    grid_of = [f"{name}.scale", f"{name}.zero"]
    return [
        helper.make_node("QuantizeLinear", [name, *grid_of], [f"{name}.codes"], f"{name}.quantize", **axis),
        helper.make_node("DequantizeLinear", [f"{name}.codes", *grid_of], [f"{name}.rounded"], f"{name}.dequantize",
                         **axis),
    ]  # fmt: skip


def _stays(node: NodeProto, rounded: set[str]) -> bool:
    """Whether a node between quantised ones runs in 8 bits: all that it reads and makes is rounded."""
    return node.op_type in CARRIERS and all(name in rounded for name in (*node.input, *node.output))
