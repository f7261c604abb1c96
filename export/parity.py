"""Proof that an exported file computes what the trained network computes, in what the product sends and shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.errors import ExportError
from hidemia.runtime.manifest import Graph
from hidemia.runtime.openvino_engine import compile_graph

BACKENDS = ["onnxruntime", "openvino"]  # what `engines` gives, and so what a manifest may name
LITERAL = "literal"  # in place of these where a graph is for TensorRT alone: see `literal`

Feed: TypeAlias = Mapping[str, NDArray[np.uint8]]
Outputs: TypeAlias = list[NDArray[Any]]  # one array for each output of a graph, in its order
Run: TypeAlias = Callable[[Feed], Outputs]

IDENTICAL_SHARE = 0.995  # of the values of each colour of a photo; no value may be more than one level off
# Of TransUNet and XNet, which may be 1e-3 off before rounding: sums are long, and XNet at full width, in ONNX Runtime,
# was 2.2e-5 off on average, which moves 0.6 % of the values over a half level. A mean of 1e-4 would move 3 %.
DEEP_IDENTICAL_SHARE = 0.97
AGREEMENT = 0.999  # of a mask's pixels
SEAL_ERROR = 0.01  # of a tile's agreement, which is about 1


@dataclass
class Parity:
    """How far an engine was from PyTorch over all probes.

    Attributes:
        identical_share: least share of equal uint8 values in a colour of an image (photos).
        max_levels: largest difference in grey levels (photos).
        agreement: least share of equally classified pixels or classes in an image (results).
        max_error: largest difference of a probability (results).
        max_seal_error: largest difference of a tile's agreement (results that have a seal).
        probes: how many images were compared.
    """

    identical_share: float = 1.0
    max_levels: int = 0
    agreement: float = 1.0
    max_error: float = 0.0
    max_seal_error: float = 0.0
    probes: int = 0

    def add_photo(self, expected: NDArray[np.uint8], got: NDArray[np.uint8]) -> None:
        """Take in one photo, uint8 (..., 3), colour by colour: under a veil a reply is the stego in two of them."""
        levels = np.abs(expected.astype(np.int16) - got.astype(np.int16))
        equal = (levels == 0).reshape(-1, levels.shape[-1]).mean(axis=0)
        self.identical_share = min(self.identical_share, float(equal.min()))
        self.max_levels = max(self.max_levels, int(levels.max()))
        self.probes += 1

    def add_result(self, expected: NDArray[np.float32], got: NDArray[np.float32], threshold: float) -> None:
        """Take in one result: probabilities of a mask (H, W) or of classes (K,)."""
        if expected.ndim == 1:
            same = float(expected.argmax() == got.argmax())
        else:
            same = float(((expected >= threshold) == (got >= threshold)).mean())
        self.agreement = min(self.agreement, same)
        self.max_error = max(self.max_error, float(np.abs(expected - got).max()))
        self.probes += 1

    def add_seal(self, expected: NDArray[np.float32], got: NDArray[np.float32]) -> None:
        """Take in one seal: the agreement of each tile, (8, 8)."""
        self.max_seal_error = max(self.max_seal_error, float(np.abs(expected - got).max()))

    def require(self, name: str, identical_share: float = IDENTICAL_SHARE) -> None:
        """Raise ExportError if the budget is exceeded."""
        if self.identical_share < identical_share or self.max_levels > 1:
            raise ExportError(
                f"{name}: expected at least {identical_share:.1%} of each colour as in PyTorch and none more than 1 "
                f"level off, got {self.identical_share:.2%} and {self.max_levels}; the export is wrong, ship nothing"
            )
        if self.agreement < AGREEMENT:
            raise ExportError(
                f"{name}: expected results to agree with PyTorch's in {AGREEMENT:.1%}, got {self.agreement:.2%}; "
                "the export is wrong, ship nothing"
            )
        if self.max_seal_error > SEAL_ERROR:
            raise ExportError(
                f"{name}: expected the seal within {SEAL_ERROR} of PyTorch's, got {self.max_seal_error:.3f} off; "
                "the export is wrong, ship nothing"
            )


def session(data: bytes) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU."""
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def checked_in(graph: Graph) -> list[str]:
    """The engines on the CPU that a graph is checked with."""
    return [LITERAL] if graph.backends == ["tensorrt"] else BACKENDS


def engines(data: bytes, graph: Graph) -> dict[str, Run]:
    """The engines on the CPU that a file is checked with, by the name that a manifest gives them."""
    if checked_in(graph) == [LITERAL]:
        return {LITERAL: literal(data)}
    opened = session(data)
    settings = EngineSettings(backend="openvino")
    request = compile_graph(data, graph, settings).create_infer_request()
    return {
        "onnxruntime": lambda feed: opened.run(None, dict(feed)),
        "openvino": lambda feed: list(request.infer(dict(feed)).to_tuple()),
    }


def reference(module: nn.Module, feed: Feed) -> Outputs:
    """Run one batch through PyTorch."""
    with torch.no_grad():
        made = module(*(torch.from_numpy(value) for value in feed.values()))
    return [output.numpy() for output in (made if isinstance(made, tuple) else (made,))]


def runner(data: bytes) -> Run:
    """A graph as a function from its inputs to its outputs, in ONNX Runtime on the CPU."""
    engine = session(data)
    return lambda feed: engine.run(None, dict(feed))


def literal(data: bytes) -> Run:
    """The same, every Q/DQ node computed where it stands and all between them in float32: as the graph is written.

    That is what a strongly typed TensorRT computes, but for the rounding of float32: sums of products of codes are
    whole numbers. As it is by default, ONNX Runtime fuses Q/DQ nodes into 8-bit kernels, which round elsewhere; without
    any optimisation it computes the same as here in twice the time.
    """
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    engine = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda feed: engine.run(None, dict(feed))
