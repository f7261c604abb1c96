"""Is the precision that was asked for in the plan? Read from what TensorRT's inspector says of every layer.

Builders have written FP32 plans for a request of FP16 and ended well. So nothing is believed but the layers.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from hidemia.runtime.errors import ExportError
from hidemia.runtime.manifest import Precision

__all__ = ["layer_types", "require"]

MIN_SHARE = 0.5
"""Of the layers that do the work, those kept in FP32 by the manifest left out; half is far above none, which is what
a request that was ignored gives, and leaves the builder the few that it runs faster in FP32."""

# Names that TensorRT 8.6 to 11 give one type: "Half", "Row major linear FP16 format", "Int8", "Float".
_TYPES = (("int8", r"\bint8\b"), ("fp16", r"\b(half|fp16|float16)\b"), ("fp32", r"\b(float|fp32|float32)\b"))
_WORK = re.compile(r"conv|correlation|gemm|matmul|matrix|fully", re.IGNORECASE)


def layer_types(text: str, fp32_nodes: Iterable[str] = ()) -> tuple[Counter[str], Counter[str]]:
    """Count the layers that do the work by the type they compute in.

    Convolutions and matrix products are counted, by the type of their first input; all layers, if there are none.

    Args:
        text: The engine's information as JSON, of a plan built with detailed profiling.
        fp32_nodes: ONNX nodes that the manifest keeps in FP32.

    Returns:
        Layers by `fp32`, `fp16`, `int8` or `other`; first those free to choose, then those of `fp32_nodes`.

    Raises:
        ExportError: The text has no details.
    """
    layers = _layers(text)
    work = [layer for layer in layers if _WORK.search(str(layer.get("LayerType", "")))] or layers
    pinned = set(fp32_nodes)
    free, kept = Counter[str](), Counter[str]()
    for layer in work:
        # A layer that was fused of both kinds is as free as its freest node.
        (kept if _nodes(layer) <= pinned else free)[_type(layer)] += 1
    return free, kept


def require(text: str, precision: Precision, fp32_nodes: Iterable[str], name: str) -> dict[str, int]:
    """Count the layers by type, if the precision asked for is there.

    Args:
        text: As for `layer_types`.
        precision: As asked for.
        fp32_nodes: As for `layer_types`.
        name: The plan's, in errors.

    Returns:
        Layers by type, sorted, for the receipt.

    Raises:
        ExportError: FP32 was asked for and something else is there, most layers are of another type than was asked
            for, or a layer that had to stay in FP32 did not.
    """
    free, kept = layer_types(text, fp32_nodes)
    counted = dict(sorted((free + kept).items()))
    share = free[precision] / max(1, sum(free.values()))
    lowered = sum(counted.get(kind, 0) for kind in ("fp16", "int8"))
    found = ", ".join(f"{count} in {kind}" for kind, count in counted.items())
    if (precision == "fp32" and lowered) or share < MIN_SHARE:
        raise ExportError(
            f"{name}: expected its layers in {precision}, got {found}; TensorRT ignored the precision: "
            "no plan was written; check that the bundle's ONNX file is in that precision"
        )
    if kept["fp16"] + kept["int8"]:
        raise ExportError(
            f"{name}: expected the manifest's fp32_nodes in fp32, got {dict(kept)}; "
            "TensorRT ignored the constraint: no plan was written"
        )
    return counted


def _layers(text: str) -> list[dict[str, Any]]:
    try:
        layers = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError):
        layers = None
    if not layers or not all(isinstance(layer, dict) for layer in layers):
        raise ExportError(
            "inspector: expected every layer with its types, got none; this TensorRT cannot prove a precision: "
            "use another release"
        )
    found: list[dict[str, Any]] = layers
    return found


def _type(layer: dict[str, Any]) -> str:
    """The type that a layer reads, which is what it computes in; the type it writes may serve the next one."""
    tensors = layer.get("Inputs") or layer.get("Outputs") or [{}]
    text = str(tensors[0].get("Format/Datatype", tensors[0].get("Datatype", ""))).lower()
    return next((name for name, pattern in _TYPES if re.search(pattern, text)), "other")


def _nodes(layer: dict[str, Any]) -> set[str]:
    """ONNX nodes that a layer was made from: in its metadata, or in its name before there was any."""
    found = set(re.findall(r"\[ONNX Layer: ([^\]]+)\]", str(layer.get("Metadata", ""))))
    return found or set(str(layer.get("Name", "")).split(" + "))
