"""Graphs made ready to run: an engine, its threads fixed, its input bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hidemia.benchmarks.timing import Run

Feed = Mapping[str, NDArray[np.uint8]]


def in_onnxruntime(data: bytes, feed: Feed, threads: int) -> Run:
    """ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, dict(feed))


def in_openvino(data: bytes, feed: Feed, threads: int) -> Run:
    """OpenVINO on the CPU, float32 throughout, its shapes fixed to the feed's.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
    """
    import openvino  # noqa: PLC0415  optional

    core = openvino.Core()
    model = core.read_model(data)
    model.reshape({name: list(value.shape) for name, value in feed.items()})
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer(dict(feed), share_inputs=True)


ENGINES = {"onnxruntime": in_onnxruntime, "openvino": in_openvino}


def installed() -> list[str]:
    """The engines of this environment."""
    try:
        import openvino  # noqa: F401, PLC0415  optional
    except ModuleNotFoundError:
        return ["onnxruntime"]
    return list(ENGINES)
