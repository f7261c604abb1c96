"""ONNX Runtime: the engine that every bundle runs on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from hidemia.runtime.bundle import Bundle
from hidemia.runtime.engine import Arrays, Engine, EngineSettings, usable_threads
from hidemia.runtime.errors import EngineError
from hidemia.runtime.manifest import Graph
from hidemia.runtime.tensors import Found, check_tensors

__all__ = ["PROVIDERS", "OnnxEngine"]

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""ONNX Runtime's name of each device."""

_ONNX_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


class OnnxEngine(Engine):
    """A graph in ONNX Runtime, on the provider that was asked for and on no other.

    Args:
        bundle: Where the graph's bytes come from, hash checked.
        graph: Which of its graphs.
        settings: Where it must run, and with how many threads.

    Raises:
        BundleError: The file is damaged, or its tensors are not those of the manifest.
        EngineError: ONNX Runtime is not installed, cannot load the graph, or would run it elsewhere.
    """

    def __init__(self, bundle: Bundle, graph: Graph, settings: EngineSettings) -> None:
        ort = _import_onnxruntime()
        data = bundle.read(graph)
        self._name = graph.path
        options = ort.SessionOptions()
        options.intra_op_num_threads = settings.threads or usable_threads()
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 4  # what fails comes back as an exception, once
        provider = PROVIDERS[settings.device]
        if provider not in ort.get_available_providers():
            raise EngineError(
                f"{graph.path}: expected {provider}, got an onnxruntime with "
                f"{', '.join(ort.get_available_providers())}; install the build that has it"
            )
        try:
            session = ort.InferenceSession(data, options, providers=[provider])
        except Exception as error:  # onnxruntime's errors share no base class
            raise EngineError(f"{graph.path}: onnxruntime cannot load it: {error}; export the bundle again") from error
        # Missing libraries make onnxruntime fall back to the CPU without a word.
        if session.get_providers()[0] != provider:
            raise EngineError(
                f"{graph.path}: expected {provider}, got {session.get_providers()[0]}; "
                "install the provider's libraries or ask for the CPU"
            )
        check_tensors(f"{graph.path} inputs", _found(session.get_inputs()), graph.inputs)
        check_tensors(f"{graph.path} outputs", _found(session.get_outputs()), graph.outputs)
        self._outputs = [tensor.name for tensor in graph.outputs]
        self._session: Any = session

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once; see `Engine.run`."""
        session = self._session
        if session is None:
            raise EngineError(f"{self._name}: expected an open engine, got a closed one; load it again")
        try:
            outputs: Sequence[NDArray[Any]] = session.run(self._outputs, dict(inputs))
        except Exception as error:  # onnxruntime's errors share no base class
            raise EngineError(f"{self._name}: onnxruntime failed: {error}") from error
        return dict(zip(self._outputs, outputs, strict=True))

    def close(self) -> None:
        """Drop the session."""
        self._session = None


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime  # noqa: PLC0415  the client is useful without an engine, and starts faster
    except ModuleNotFoundError:
        raise EngineError("engine: expected onnxruntime, got no such package; pip install 'hidemia[cpu]'") from None
    return onnxruntime


def _found(nodes: Sequence[Any]) -> list[Found]:
    return [Found(node.name, _ONNX_TYPES.get(node.type, node.type), node.shape) for node in nodes]
