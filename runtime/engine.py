"""Running one graph: a small interface, what may be asked of it, and the one way to get an engine.

Each backend is a module of its own that is imported when it is asked for: `onnx_engine` is ONNX Runtime,
`openvino_engine` OpenVINO, `tensorrt_engine` runs the plans that `hidemia build` makes.
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any, Literal, TypeAlias, get_args

from numpy.typing import NDArray

from hidemia.runtime.bundle import Bundle
from hidemia.runtime.errors import EngineError
from hidemia.runtime.manifest import Graph

__all__ = ["DEVICES", "Arrays", "Backend", "Engine", "EngineSettings", "open_engine", "open_engines", "usable_threads"]

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Backend: TypeAlias = Literal["onnxruntime", "openvino", "tensorrt"]

DEVICES: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("cpu", "cuda", "tensorrt"),
    "openvino": ("cpu", "gpu"),
    "tensorrt": ("cuda", "pycuda"),
}
"""Where each backend can run a graph: for ONNX Runtime, its execution providers; for TensorRT, whose CUDA context."""

_OPENERS = {
    "onnxruntime": "hidemia.runtime.onnx_engine:OnnxEngine",
    "openvino": "hidemia.runtime.openvino_engine:OpenVinoEngine",
    "tensorrt": "hidemia.runtime.tensorrt_engine:TensorrtEngine",
}


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Which engine runs a bundle's graphs, and with what. It runs there or not at all.

    Attributes:
        backend: The inference engine, a key of `DEVICES`.
        device: Where it runs, one of the backend's `DEVICES`.
        threads: Threads of one run on the CPU; `usable_threads()` when None.
        gpu: Which of several GPUs, from 0; with ONNX Runtime and OpenVINO.
        memory_mib: Most memory that one graph may take on the GPU with ONNX Runtime; no limit when None.

    Raises:
        EngineError: A value that no backend knows, or one that it could not keep.
    """

    backend: Backend = "onnxruntime"
    device: str = "cpu"
    threads: int | None = None
    gpu: int = 0
    memory_mib: int | None = None

    def __post_init__(self) -> None:
        if self.backend not in get_args(Backend):
            raise EngineError(
                f"engine: expected one of {', '.join(DEVICES)}, got {self.backend!r}; ask for one of these", exit_code=2
            )
        if self.device not in DEVICES[self.backend]:
            raise EngineError(
                f"device: expected one of {', '.join(DEVICES[self.backend])} with {self.backend}, "
                f"got {self.device!r}; ask for one of these",
                exit_code=2,
            )
        if self.threads is not None and self.threads < 1:
            raise EngineError(f"threads: expected at least 1, got {self.threads}; leave it out", exit_code=2)
        chooses = self.backend != "tensorrt" and self.device != "cpu"
        if self.gpu < 0 or (self.gpu and not chooses):
            expected = "a number from 0" if chooses else f"0 with {self.backend} on {self.device}"
            raise EngineError(f"gpu: expected {expected}, got {self.gpu}; leave it out", exit_code=2)
        limited = self.backend == "onnxruntime" and self.device != "cpu"
        if self.memory_mib is not None and (self.memory_mib < 1 or not limited):
            raise EngineError(
                f"memory_mib: expected at least 1, with ONNX Runtime on cuda or tensorrt, got {self.memory_mib} on "
                f"{self.device}; leave it out, and limit the process where the engine cannot",
                exit_code=2,
            )

    @property
    def reads(self) -> Backend:
        """Whose graphs it takes: ONNX Runtime's TensorRT provider reads what TensorRT reads."""
        return "tensorrt" if self.device == "tensorrt" else self.backend


class Engine(ABC):
    """One graph, loaded and ready. Safe to call from several threads; close it or use it as a context."""

    @abstractmethod
    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once.

        Args:
            inputs: One array for each input of the manifest, by name.

        Returns:
            One array for each output of the manifest, by name.

        Raises:
            EngineError: The engine is closed or the run failed.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the engine's memory and threads back. Closing twice is allowed."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_engine(bundle: Bundle, graph: Graph, settings: EngineSettings) -> Engine:
    """Load a graph into the engine that was asked for.

    Args:
        bundle: Where the graph's bytes come from, hash checked.
        graph: Which of its graphs.
        settings: Which engine, where and how.

    Raises:
        BundleError: The file is damaged, or its tensors are not those of the manifest.
        EngineError: The engine is not installed, cannot load the graph, or would run it elsewhere; or the graph is
            written for another.
    """
    if not graph.runs_on(settings.reads):
        raise EngineError(
            f"{graph.path}: expected a graph for {settings.reads}, got one for {', '.join(graph.backends)}; "
            "take another graph or engine",
            exit_code=2,
        )
    module, _, name = _OPENERS[settings.backend].partition(":")
    opener: Callable[[Bundle, Graph, EngineSettings], Engine] = getattr(import_module(module), name)
    return opener(bundle, graph, settings)


def open_engines(bundle: Bundle, graphs: Iterable[Graph], settings: EngineSettings) -> list[Engine]:
    """Load several graphs, all of them or none: those before one that fails are closed.

    Args and errors are those of `open_engine`.
    """
    with contextlib.ExitStack() as opened:
        engines = [opened.enter_context(open_engine(bundle, graph, settings)) for graph in graphs]
        opened.pop_all()
    return engines


def usable_threads() -> int:
    """Cores that this process may use, at most 8: beyond, these graphs gain nothing."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)
