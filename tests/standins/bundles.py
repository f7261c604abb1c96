"""Bundles of two small convolutions each, in FP32, FP16 (casts) and INT8 (Q/DQ; for CPUs and for TensorRT)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hidemia.runtime import manifest as manifests
from hidemia.runtime.manifest import VERBS, Graph, Manifest, ReplyLimits, Tensor

SIZE = 32
INPUTS = {"hide": ["secret", "cover"], "analyze": ["stego"], "recover": ["reply", "sent"]}
OUTPUT = {"hide": "stego", "analyze": "reply", "recover": "probability"}


def make_graph(verb: str, precision: str, batch: int | None = None, *, tensorrt: bool = False) -> bytes:
    """uint8 photos -> conv_a -> conv_b -> a uint8 photo, or the probabilities of a mask.

    Photos go through a cast first and come out of one last: TensorRT takes UINT8 nowhere else. In INT8 both kinds of
    graph compute the same: the zero point of the one for CPUs is in the middle of its codes.
    """
    rng = np.random.default_rng(len(verb))
    names, nodes, constants = INPUTS[verb], [], []

    def add(kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(name: str, array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(array, name))
        return name

    def conv(source: str, name: str, inner: int, outer: int) -> str:
        weight = rng.normal(0, 0.2, (outer, inner, 3, 3)).astype(np.float32)
        bias = np.full(outer, 0.1, np.float32)
        if precision == "fp16":
            source = add("Cast", [source], f"{name}_half", to=TensorProto.FLOAT16)
            weight, bias = weight.astype(np.float16), bias.astype(np.float16)
        kernel = constant(f"{name}_weight", weight)
        if precision == "int8":
            zero = constant(f"{name}_zero", np.int8(0) if tensorrt else np.uint8(128))
            scale = constant(f"{name}_scale", np.float32(0.02))
            source = add("QuantizeLinear", [source, scale, zero], f"{name}_q")
            source = add("DequantizeLinear", [source, scale, zero], f"{name}_dq")
            scales = constant(f"{name}_scales", np.full(outer, 0.02, np.float32))
            grid = [scales, constant(f"{name}_zeros", np.zeros(outer, np.int8))]
            codes = np.clip(np.rint(weight / np.float32(0.02)), -127, 127)
            constants.remove(next(t for t in constants if t.name == kernel))
            if tensorrt:
                stored = constant(f"{name}_weight", codes.astype(np.float32) * np.float32(0.02))
                rounded = add("QuantizeLinear", [stored, *grid], f"{name}_codes", axis=0)
            else:
                rounded = constant(f"{name}_int8", codes.astype(np.int8))
            kernel = add("DequantizeLinear", [rounded, *grid], f"{name}_kernel", axis=0)
        offset = constant(f"{name}_bias", bias)
        if precision != "fp16":  # as export stores weights: in half, behind a cast
            constants.remove(next(t for t in constants if t.name == offset))
            offset = add("Cast", [constant(f"{name}_stored", bias.astype(np.float16))], offset, to=TensorProto.FLOAT)
        inputs = [source, kernel, offset]
        made = add("Conv", inputs, name, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        return add("Cast", [made], f"{name}_float", to=TensorProto.FLOAT) if precision == "fp16" else made

    level = constant("level", np.float32(255))
    planes = []
    for name in names:
        cast = add("Cast", [name], f"{name}_float", to=TensorProto.FLOAT)
        planes.append(
            add("Transpose", [add("Div", [cast, level], f"{name}_unit")], f"{name}_planes", perm=[0, 3, 1, 2])
        )
    joined = add("Concat", planes, "joined", axis=1)
    hidden = add("LeakyRelu", [conv(joined, "conv_a", 3 * len(names), 4)], "hidden")
    if verb == "recover":
        mean = add(
            "ReduceMean", [add("Sigmoid", [conv(hidden, "conv_b", 4, 2)], "unit")], "probability", axes=[1], keepdims=0
        )
        output = helper.make_tensor_value_info(mean, TensorProto.FLOAT, [batch or "batch", SIZE, SIZE])
    else:
        moved = add("Add", [planes[-1], conv(hidden, "conv_b", 4, 3)], "moved")
        low, high = constant("low", np.float32(0)), constant("high", np.float32(255))
        clipped = add("Clip", [add("Mul", [moved, level], "scaled"), low, high], "clipped")
        last = add("Transpose", [add("Round", [clipped], "rounded")], "photo", perm=[0, 2, 3, 1])
        add("Cast", [last], OUTPUT[verb], to=TensorProto.UINT8)
        output = helper.make_tensor_value_info(OUTPUT[verb], TensorProto.UINT8, [batch or "batch", SIZE, SIZE, 3])
    inputs = [helper.make_tensor_value_info(n, TensorProto.UINT8, [batch or "batch", SIZE, SIZE, 3]) for n in names]
    graph = helper.make_graph(nodes, verb, inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


def make_bundle(folder: Path, role: str, precisions: tuple[str, ...] = ("fp32",), **changes: Any) -> Path:
    """Write a bundle; `changes` go into every graph of the manifest. A server gets both forms of analyze."""
    graphs = []
    folder.mkdir(parents=True)
    for precision in precisions:
        for verb in VERBS[role]:
            for form, most in (("one", 1), ("any", None)) if verb == "analyze" else ((None, None),):
                for trt in ("", "trt") if precision == "int8" else ("",):
                    data = make_graph(verb, precision, most, tensorrt=bool(trt))
                    path = ".".join(part for part in (verb, precision, form, trt, "onnx") if part)
                    (folder / path).write_bytes(data)
                    backends = {"backends": ["tensorrt"]} if trt else {}
                    graphs.append(_entry(verb, precision, form, most, path, data, backends | changes))
    manifest = Manifest(
        schema_version=manifests.SCHEMA_VERSION, name="tiny", role=role, pair_id="0123456789abcdef",
        task="segmentation", classes=["lesion"],
        image_size_px=SIZE, mask_threshold=0.5,
        reply_limits=ReplyLimits(min_psnr_db=5.0, min_changed_share=0.01) if role == "client" else None,
        graphs=graphs, weights_sha256={}, exporter={}, licence="Apache-2.0", intended_use="tests", public_key=True,
    )  # fmt: skip
    (folder / manifests.FILE_NAME).write_bytes(manifests.dump(manifest))
    return folder


def _entry(
    verb: str, precision: str, form: str | None, most: int | None, path: str, data: bytes, changes: dict[str, Any]
) -> Graph:
    batch = most or "batch"
    values = {
        "verb": verb, "path": path, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data),
        "precision": precision, "precision_achieved": precision, "fp32_nodes": [], "opset": 17, "ir_version": 8,
        "form": form, "batch": (1, most), "backends": ["onnxruntime"],
        "inputs": [_tensor(name, "NHWC", batch) for name in INPUTS[verb]],
        "outputs": [_tensor(OUTPUT[verb], "NHW" if verb == "recover" else "NHWC", batch)],
    }  # fmt: skip
    return Graph(**{**values, **changes})


def _tensor(name: str, layout: str, batch: int | str) -> Tensor:
    photo = layout == "NHWC"
    channels = 3 if photo else 1
    return Tensor(
        name=name, type="image", format="magnitude", num_channels=channels, spatial_shape=[SIZE, SIZE],
        dtype="uint8" if photo else "float32", value_range=(0, 255) if photo else (0, 1),
        channel_def={str(channel): name for channel in range(channels)}, shape=[batch, SIZE, SIZE, 3][: len(layout)],
        layout=layout, colour_order="RGB" if photo else "",
    )  # fmt: skip
