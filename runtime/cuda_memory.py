"""Device memory through cuda-python (`cuda.bindings.runtime`), the default."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.device_memory import DeviceMemory, Launch
from hidemia.runtime.errors import EngineError

__all__ = ["CudaMemory", "opener"]


def opener() -> Callable[[], CudaMemory]:
    """What makes a `CudaMemory`; see `device_memory.opener`."""
    return partial(CudaMemory, _import_runtime())


class CudaMemory(DeviceMemory):
    """Memory in the primary context of the first visible GPU (`CUDA_VISIBLE_DEVICES` chooses).

    Args:
        cuda: The module `cuda.bindings.runtime`.

    Raises:
        EngineError: CUDA finds no GPU.
    """

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._resources = ExitStack()
        self._call("cudaSetDevice", 0)
        self._stream: Any = self._call("cudaStreamCreateWithFlags", cuda.cudaStreamNonBlocking)
        self._resources.callback(self._call, "cudaStreamDestroy", self._stream)

    @property
    def stream(self) -> int:
        """See `DeviceMemory`."""
        return int(self._stream)

    def allocate(self, size_bytes: int) -> int:
        """See `DeviceMemory`."""
        address = int(self._call("cudaMalloc", size_bytes))
        self._resources.callback(self._call, "cudaFree", address)
        return address

    def pinned(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """See `DeviceMemory`."""
        size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = int(self._call("cudaMallocHost", size_bytes))
        self._resources.callback(self._call, "cudaFreeHost", address)
        raw = memoryview((ctypes.c_uint8 * size_bytes).from_address(address))
        array: NDArray[Any] = np.frombuffer(raw, dtype=np.dtype(dtype)).reshape(shape)
        return array

    def upload(self, source: NDArray[Any], address: int) -> None:
        """See `DeviceMemory`."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, self._stream)

    def download(self, address: int, target: NDArray[Any]) -> None:
        """See `DeviceMemory`."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, self._stream)

    def synchronize(self) -> None:
        """See `DeviceMemory`."""
        self._call("cudaStreamSynchronize", self._stream)

    def capture(self, work: Callable[[], None]) -> Launch | None:
        """See `DeviceMemory`."""
        # Thread-local: what the product's other threads do with CUDA meanwhile cannot spoil the capture.
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._stream, mode)
        try:
            work()
        except BaseException:
            # The capture must end, or the stream refuses all that follows; whether it gives a graph or an error.
            status, graph = self._cuda.cudaStreamEndCapture(self._stream)
            if status == self._cuda.cudaError_t.cudaSuccess:
                self._call("cudaGraphDestroy", graph)
            raise
        graph = self._call("cudaStreamEndCapture", self._stream)
        try:
            executable = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)
        self._resources.callback(self._call, "cudaGraphExecDestroy", executable)

        def launch() -> None:
            self._call("cudaGraphLaunch", executable, self._stream)

        return launch

    def close(self) -> None:
        """See `DeviceMemory`."""
        self._resources.close()

    def _call(self, name: str, *arguments: Any) -> Any:
        """Every function returns its status first, and perhaps one result."""
        status, *results = getattr(self._cuda, name)(*arguments)
        if status != self._cuda.cudaError_t.cudaSuccess:
            _, text = self._cuda.cudaGetErrorString(status)
            raise EngineError(f"{name}: expected CUDA to do it, got {status.name}: {text.decode()}; see hidemia doctor")
        return results[0] if results else None


def _import_runtime() -> Any:
    try:
        from cuda.bindings import runtime  # noqa: PLC0415  only engines on a GPU need it
    except ModuleNotFoundError:
        raise EngineError(
            "engine: expected cuda-python, got no such package; pip install 'hidemia[tensorrt]'"
        ) from None
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(f"engine: expected cuda-python to load, got {error}; install it again") from error
    return runtime
