"""ONNX -> TensorRT plan. Where versions 8.6, 10 and 11 differ, it is here, in the functions named `_seam_...`.

The precision is in the ONNX graph: casts for FP16, Q/DQ for INT8. From 10 on the network is strongly typed, so that
the plan computes as the graph says. 8.6 chooses freely among the types that flags allow; there the flags are set to
what the graph holds and the nodes that must stay in FP32 are pinned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hidemia.export import inspection, progress
from hidemia.export.progress import Progress
from hidemia.runtime.errors import EngineError, ExportError
from hidemia.runtime.manifest import Graph
from hidemia.runtime.receipt import HardwareCompatibility
from hidemia.runtime.tensorrt_binding import create, error_log, major_version

__all__ = ["Built", "PlanSettings", "build_plan"]

_LEVELS: dict[HardwareCompatibility, str] = {
    "none": "NONE",
    "same_compute_capability": "SAME_COMPUTE_CAPABILITY",  # since 10.x, not in 10.3
    "ampere_plus": "AMPERE_PLUS",
}


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """What a plan is built for.

    Attributes:
        batch: Fewest, likeliest and most images of one run.
        workspace_mib: Most memory that a layer may use while it works.
        hardware_compatibility: On which other GPUs it must run; that costs speed.
        version_compatible: Whether later TensorRT of the same major must run it; that costs size and speed.
    """

    batch: tuple[int, int, int]
    workspace_mib: int = 1024
    hardware_compatibility: HardwareCompatibility = "none"
    version_compatible: bool = False


@dataclass(frozen=True)
class Built:
    """A plan and what is known of it.

    Attributes:
        data: The pure plan, as `trtexec` loads it.
        types: Layers that do the work by the type they compute in.
        flags: Builder flags that were set, sorted.
        timing_cache: To be kept for the next build.
    """

    data: bytes
    types: dict[str, int]
    flags: list[str]
    timing_cache: bytes


def build_plan(trt: Any, onnx: bytes, graph: Graph, settings: PlanSettings, timing_cache: bytes = b"") -> Built:
    """Build a plan for this machine's GPU and prove its precision.

    Args:
        trt: The module `tensorrt`.
        onnx: The graph's file, hash checked.
        graph: What the manifest says of it.
        settings: What it is built for.
        timing_cache: As an earlier build gave it; empty at the first.

    Raises:
        EngineError: There is no GPU, or this TensorRT lacks what was asked for.
        ExportError: TensorRT cannot build it, or not in its precision.
        KeyboardInterrupt: Interrupted by the user; TensorRT stopped.
    """
    log = error_log(trt)
    builder = create(trt.Builder, log)
    network = builder.create_network(_seam_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx):
        raise ExportError(f"{graph.path}: expected an ONNX file that TensorRT reads, got {_parser_error(parser, log)}")
    config = builder.create_builder_config()
    flags = _configure(trt, config, settings) + _seam_precision_flags(trt, network, graph)
    for flag in flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    _add_profile(builder, config, network, settings.batch, graph)
    _use_timing_cache(config, timing_cache)
    monitor = progress.monitor(trt, Progress(graph.path))
    if monitor is not None:
        config.progress_monitor = monitor
    memory = builder.build_serialized_network(network, config)
    if monitor is not None and monitor.interrupted:
        raise KeyboardInterrupt
    if memory is None:
        raise ExportError(
            f"{graph.path}: expected a plan, got none: {log.last or 'no reason given'}; "
            "give it more --workspace, or report it with this line"
        )
    data = bytes(memory)
    text = _inspect(trt, data, log, settings, graph)
    types = inspection.require(text, graph.precision, graph.fp32_nodes, graph.path)
    return Built(data, types, sorted(flags), bytes(config.get_timing_cache().serialize()))


def _configure(trt: Any, config: Any, settings: PlanSettings) -> list[str]:
    """All that every version knows by the same name; the flags that are to be set."""
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mib << 20)
    # On by default, and rounds the FP32 reference to ten bits of mantissa: a stego's signal is below one level.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector knows no types
    # cuBLAS and cuDNN are not tried: plain convolutions do not gain from them, and a device can leave them out.
    sources = trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS
    config.set_tactic_sources(sum(1 << int(source) for source in sources))
    level = _LEVELS[settings.hardware_compatibility]
    if not hasattr(trt.HardwareCompatibilityLevel, level):
        raise EngineError(
            f"--hardware: expected a level that TensorRT {trt.__version__} knows, got "
            f"{settings.hardware_compatibility.replace('_', '-')}; leave it out or take ampere-plus",
            exit_code=2,
        )
    config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    return ["VERSION_COMPATIBLE"] if settings.version_compatible else []


def _seam_network_flags(trt: Any) -> int:
    """8.6 must be told of the batch dimension, 10 to obey the graph's types; 11 does both and has no such flags."""
    names = {8: "EXPLICIT_BATCH", 10: "STRONGLY_TYPED"}
    name = names.get(major_version(trt))
    return 1 << int(getattr(trt.NetworkDefinitionCreationFlag, name)) if name else 0


def _seam_precision_flags(trt: Any, network: Any, graph: Graph) -> list[str]:
    """8.6 only: the types that the graph holds are allowed, and nodes pinned. Elsewhere the names no longer exist."""
    if major_version(trt) != 8 or graph.precision == "fp32":
        return []
    flags = ["FP16"] if _holds(trt, network, trt.DataType.HALF) else []
    if graph.precision == "int8":
        flags.append("INT8")
    if graph.fp32_nodes:
        _pin(trt, network, set(graph.fp32_nodes))
        flags.append("OBEY_PRECISION_CONSTRAINTS")
    return flags


def _holds(trt: Any, network: Any, kind: Any) -> bool:
    """Whether a layer gives this type; constants aside, for weights are stored in FP16 in every precision."""
    layers = (network.get_layer(index) for index in range(network.num_layers))
    return any(
        layer.get_output_type(at) == kind
        for layer in layers
        if layer.type != trt.LayerType.CONSTANT
        for at in range(layer.num_outputs)
    )


def _pin(trt: Any, network: Any, nodes: set[str]) -> None:
    """Keep nodes in FP32; the parser names a layer after its node."""
    floats = (trt.DataType.FLOAT, trt.DataType.HALF)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.name not in nodes:
            continue
        layer.precision = trt.DataType.FLOAT
        for at in range(layer.num_outputs):
            if layer.get_output_type(at) in floats:
                layer.set_output_type(at, trt.DataType.FLOAT)


def _add_profile(builder: Any, config: Any, network: Any, batch: tuple[int, int, int], graph: Graph) -> None:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    if all(size >= 0 for tensor in inputs for size in tensor.shape):
        return  # a graph of one size needs no profile
    profile = builder.create_optimization_profile()
    for tensor in inputs:
        rest = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, *((size, *rest) for size in batch))
    if config.add_optimization_profile(profile) < 0:
        raise ExportError(f"{graph.path}: expected a profile for batch {batch}, got a refusal; ask for another --batch")


def _use_timing_cache(config: Any, data: bytes) -> None:
    """What was measured before, if this TensorRT and GPU take it; else a new one."""
    for kept in (data, b""):
        cache = config.create_timing_cache(kept)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return
    raise EngineError("timing cache: expected TensorRT to take an empty one, got a refusal; install TensorRT again")


def _inspect(trt: Any, data: bytes, log: Any, settings: PlanSettings, graph: Graph) -> str:
    runtime = create(trt.Runtime, log)
    if settings.version_compatible:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise ExportError(f"{graph.path}: expected a plan that loads, got {log.last or 'none'}; build it again")
    text: str = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return text


def _parser_error(parser: Any, log: Any) -> str:
    errors = (parser.get_error(index) for index in range(parser.num_errors))
    return "; ".join(f"node {error.node()}: {error.desc()}" for error in errors) or log.last or "no reason given"
