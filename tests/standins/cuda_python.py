"""A stand-in for `cuda.bindings.runtime` that knows the functions of the real one, with their argument names.

`cuda_api/*.json` hold the first line of every function's documentation in the packages of those versions. What a
version has and this file does not act out raises NotImplementedError; what it has not, AttributeError.
"""

from __future__ import annotations

import enum
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.standins.gpu import Fault, Gpu

VERSIONS = ("12.9", "13.5")


class Handle:
    """As cudaStream_t and its like: an int in an object, and no number itself."""

    def __init__(self, value: int = 0) -> None:
        self._value = value

    def __int__(self) -> int:
        return self._value

    def getPtr(self) -> int:  # noqa: N802  the binding's name
        return id(self)


class Runtime(ModuleType):
    """The module `cuda.bindings.runtime` of one version, on one GPU."""

    def __init__(self, version: str, gpu: Gpu) -> None:
        super().__init__("cuda.bindings.runtime")
        self._api = json.loads((Path(__file__).parent / "cuda_api" / f"{version}.json").read_text())
        self._gpu = gpu
        for name, members in self._api["enums"].items():
            setattr(self, name, enum.IntEnum(name, members))
        for name, value in self._api["constants"].items():
            setattr(self, name, value)
        self.cudaStream_t = self.cudaGraph_t = self.cudaGraphExec_t = Handle

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._api["functions"]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        act = ACTS.get(name)
        if act is None:
            raise NotImplementedError(f"the stand-in does not act out {name}")
        parameters = self._api["functions"][name]

        def call(*arguments: Any) -> tuple[Any, ...]:
            if len(arguments) != len(parameters):
                raise TypeError(f"{name}() takes {len(parameters)} arguments, got {len(arguments)}")
            for parameter, argument in zip(parameters, arguments, strict=True):
                self._check(name, parameter, argument)
            try:
                result = act(self._gpu, *arguments)
            except Fault as fault:
                return (self.cudaError_t[fault.args[0]], *([None] if name in GIVES else []))
            return (self.cudaError_t.cudaSuccess, *([result] if name in GIVES else []))

        return call

    def _check(self, name: str, parameter: str, argument: Any) -> None:
        if parameter.startswith(("size_t ", "unsigned ", "int ")):
            fits = type(argument) is int and (argument >= 0 or parameter.startswith("int "))
        elif ": " in parameter:
            fits = isinstance(argument, getattr(self, parameter.split(": ")[1]))
        else:
            fits = isinstance(argument, int | Handle)
        if not fits:
            raise TypeError(f"{name}: expected {parameter}, got {argument!r}")


def _copy(gpu: Gpu, target: int, source: int, count: int, kind: Any, stream: Any) -> None:
    if kind.name == "cudaMemcpyHostToDevice":
        gpu.upload(target, source, count, int(stream))
    elif kind.name == "cudaMemcpyDeviceToHost":
        gpu.download(target, source, count, int(stream))
    else:
        raise NotImplementedError(kind)


def _set_device(gpu: Gpu, device: int) -> None:
    gpu.require_present()
    if device:
        raise Fault("cudaErrorInvalidDevice")


ACTS: dict[str, Any] = {
    "cudaSetDevice": _set_device,
    "cudaMalloc": Gpu.allocate,
    "cudaFree": Gpu.free,
    "cudaMallocHost": Gpu.allocate_pinned,
    "cudaFreeHost": Gpu.free_pinned,
    "cudaMemcpyAsync": _copy,
    "cudaStreamCreateWithFlags": lambda gpu, flags: Handle(gpu.create_stream()),
    "cudaStreamDestroy": lambda gpu, stream: gpu.destroy_stream(int(stream)),
    "cudaStreamSynchronize": lambda gpu, stream: gpu.synchronize(int(stream)),
    "cudaStreamBeginCapture": lambda gpu, stream, mode: gpu.begin_capture(int(stream)),
    "cudaStreamEndCapture": lambda gpu, stream: Handle(gpu.end_capture(int(stream))),
    "cudaGraphInstantiate": lambda gpu, graph, flags: Handle(gpu.copy_graph(int(graph))),
    "cudaGraphDestroy": lambda gpu, graph: gpu.destroy_graph(int(graph)),
    "cudaGraphExecDestroy": lambda gpu, graph: gpu.destroy_graph(int(graph)),
    "cudaGraphLaunch": lambda gpu, graph, stream: gpu.launch(int(graph), int(stream)),
    "cudaGetErrorString": lambda gpu, error: f"description of {error.name}".encode(),
}

GIVES = {
    "cudaMalloc", "cudaMallocHost", "cudaStreamCreateWithFlags", "cudaStreamEndCapture", "cudaGraphInstantiate",
    "cudaGetErrorString",
}  # fmt: skip
"""Those that return something beside the status."""


def modules(version: str, gpu: Gpu) -> dict[str, ModuleType]:
    """For `sys.modules`."""
    top, bindings, runtime = ModuleType("cuda"), ModuleType("cuda.bindings"), Runtime(version, gpu)
    top.__path__, bindings.__path__ = [], []  # type: ignore[attr-defined]
    top.bindings, bindings.runtime = bindings, runtime  # type: ignore[attr-defined]
    return {"cuda": top, "cuda.bindings": bindings, "cuda.bindings.runtime": runtime}
