"""OpenVINO: the same ONNX files on Intel's engine, which also runs on other x86 and Arm CPUs."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np

from hidemia.runtime.bundle import Bundle
from hidemia.runtime.engine import Arrays, Engine, EngineSettings, usable_threads
from hidemia.runtime.errors import EngineError
from hidemia.runtime.manifest import Graph
from hidemia.runtime.tensors import Found, check_arrays, check_tensors

__all__ = ["OpenVinoEngine", "compile_graph"]


class OpenVinoEngine(Engine):
    """A graph in OpenVINO, on the device that was asked for and on no other.

    Args:
        bundle: Where the graph's bytes come from, hash checked.
        graph: Which of its graphs.
        settings: Where it must run, and with how many threads.

    Raises:
        BundleError: The file is damaged, or its tensors are not those of the manifest.
        EngineError: OpenVINO is not installed, cannot load the graph, or would run it elsewhere.
    """

    def __init__(self, bundle: Bundle, graph: Graph, settings: EngineSettings) -> None:
        compiled = compile_graph(bundle.read(graph), graph, settings)
        check_tensors(f"{graph.path} inputs", _found(compiled.inputs), graph.inputs)
        check_tensors(f"{graph.path} outputs", _found(compiled.outputs), graph.outputs)
        self._name = graph.path
        self._inputs = graph.inputs
        self._outputs = [tensor.name for tensor in graph.outputs]
        self._lock = threading.Lock()
        self._request: Any = compiled.create_infer_request()

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once; see `Engine.run`. Calls from several threads take turns."""
        # OpenVINO takes what it had the last time for an input that is missing, and casts one of another dtype.
        check_arrays(self._name, inputs, self._inputs)
        with self._lock:
            if self._request is None:
                raise EngineError(f"{self._name}: expected an open engine, got a closed one; load it again")
            try:
                outputs = self._request.infer(dict(inputs))  # copies in and out: nothing is shared with the next run
            except Exception as error:  # openvino raises plain RuntimeError and others
                raise EngineError(f"{self._name}: openvino failed: {_line(error)}") from error
        return {name: np.asarray(outputs[name]) for name in self._outputs}

    def close(self) -> None:
        """Drop the request and with it the compiled graph, once a run that is going on has ended."""
        with self._lock:
            self._request = None


def compile_graph(data: bytes, graph: Graph, settings: EngineSettings) -> Any:
    """Compile a graph for the device and the precision that were asked for, and see that it got them.

    Args:
        data: Its ONNX file.
        graph: What the manifest says of it.
        settings: Where it must run, and with how many threads.

    Returns:
        An `openvino.CompiledModel`.

    Raises:
        EngineError: OpenVINO is not installed, has no such device, or cannot load the graph.
    """
    core = _core()
    kind = settings.device.upper()
    found = list(core.available_devices)
    numbered = f"{kind}.{settings.gpu}"
    device = kind if kind in found and not settings.gpu else numbered  # one GPU is GPU; several are GPU.0, GPU.1
    if device not in found:
        raise EngineError(
            f"{graph.path}: expected OpenVINO's device {numbered if settings.gpu else kind}, got a machine with "
            f"{', '.join(found) or 'none'}; install its driver or ask for another device"
        )
    precision = "f16" if (graph.precision, kind) == ("fp16", "GPU") else "f32"
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        # Left alone, OpenVINO computes FP32 graphs in bfloat16 or float16 where the device is faster in it: a
        # stego's message lies in its lowest bits and does not survive that.
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
    }
    if kind == "CPU":
        config["INFERENCE_NUM_THREADS"] = settings.threads or usable_threads()
        # A device has other work too: threads that are tied to cores wait there while another core is idle.
        config["ENABLE_CPU_PINNING"] = False
    try:
        compiled = core.compile_model(core.read_model(data), device, config)
        ran_on = [str(name) for name in compiled.get_property("EXECUTION_DEVICES")]
        got = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    except Exception as error:  # openvino raises plain RuntimeError and others
        raise EngineError(f"{graph.path}: openvino cannot load it: {_line(error)}; export the bundle again") from error
    if {name.partition(".")[0] for name in ran_on} != {kind} or got != precision:
        raise EngineError(
            f"{graph.path}: expected OpenVINO on {kind} in {precision}, got {', '.join(ran_on) or 'nothing'} in "
            f"{got}; ask for a device that can"
        )
    return compiled


@functools.cache
def _core() -> Any:
    """One for the process: its plugins are loaded once."""
    try:
        import openvino  # noqa: PLC0415  the client is useful without an engine, and starts faster
    except ModuleNotFoundError:
        raise EngineError("engine: expected openvino, got no such package; pip install 'hidemia[openvino]'") from None
    return openvino.Core()


def _found(ports: Iterable[Any]) -> list[Found]:
    return [
        Found(
            port.get_any_name(),
            port.get_element_type().to_dtype().name,
            [size.get_length() if size.is_static else str(size) for size in port.get_partial_shape()],
        )
        for port in ports
    ]


def _line(error: Exception) -> str:
    """The last line that says something: before it come file names of OpenVINO's own sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
