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

__all__ = ["PROVIDERS", "OnnxEngine", "provider_options", "session_options"]

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
        options = session_options(ort, settings)
        provider = PROVIDERS[settings.device]
        if provider not in ort.get_available_providers():
            raise EngineError(
                f"{graph.path}: expected {provider}, got an onnxruntime with "
                f"{', '.join(ort.get_available_providers())}; install the build that has it"
            )
        try:
            session = ort.InferenceSession(
                data, options, providers=[provider], provider_options=[provider_options(graph, settings)]
            )
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


def session_options(ort: Any, settings: EngineSettings) -> Any:
    """An `onnxruntime.SessionOptions` for a device that has other work too.

    Args:
        ort: The module.
        settings: How many threads.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads or usable_threads()
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what fails comes back as an exception, once
    # Waiting threads that spin burn a third of the processor time of a run, and some between runs; measured, they
    # make it no faster beside other work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Planning memory in one block took 276 MiB where single ones take 184, in the same time (hide and recover).
    options.enable_mem_pattern = False
    return options


def provider_options(graph: Graph, settings: EngineSettings) -> dict[str, str]:
    """What the provider is told; empty for the CPU, which has no options.

    Args:
        graph: Its precision decides what the TensorRT provider may compute in.
        settings: Which GPU, and how much of its memory.
    """
    if settings.device == "cpu":
        return {}
    options = {"device_id": str(settings.gpu)}
    limit = None if settings.memory_mib is None else str(settings.memory_mib << 20)
    if settings.device == "tensorrt":
        options["trt_fp16_enable"] = "1" if graph.precision == "fp16" else "0"
        options["trt_int8_enable"] = "1" if graph.precision == "int8" else "0"
        if limit:
            options["trt_max_workspace_size"] = limit
        return options
    # TF32 keeps 10 bits of what is multiplied, and a stego's message lies in its lowest bits.
    options["use_tf32"] = "0"
    # The exhaustive search times the algorithms, so that two starts may take two of them and differ in a bit.
    options["cudnn_conv_algo_search"] = "HEURISTIC"
    if limit:
        options |= {"gpu_mem_limit": limit, "arena_extend_strategy": "kSameAsRequested"}
    return options


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime  # noqa: PLC0415  the client is useful without an engine, and starts faster
    except ModuleNotFoundError:
        raise EngineError("engine: expected onnxruntime, got no such package; pip install 'hidemia[cpu]'") from None
    return onnxruntime


def _found(nodes: Sequence[Any]) -> list[Found]:
    return [Found(node.name, _ONNX_TYPES.get(node.type, node.type), node.shape) for node in nodes]
