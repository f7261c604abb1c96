"""Memory on a GPU and the stream it is used on: the little that an engine needs of CUDA.

Two adapters: `cuda_memory` on cuda-python, in CUDA's primary context, which other libraries share; and
`pycuda_memory` for a product that owns a pycuda context.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeAlias

from numpy.typing import NDArray

__all__ = ["DeviceMemory", "Launch", "opener"]

Launch: TypeAlias = Callable[[], None]
"""Puts recorded work on the stream again."""

_OPENERS = {
    "cuda": "hidemia.runtime.cuda_memory:opener",
    "pycuda": "hidemia.runtime.pycuda_memory:opener",
}


class DeviceMemory(ABC):
    """One stream of a GPU and all that is allocated for it. Only the thread that made it may use it.

    Every method raises `EngineError` when CUDA refuses; what was put on the stream may fail as late as in
    `synchronize`.
    """

    @property
    @abstractmethod
    def stream(self) -> int:
        """CUDA's handle of the stream."""

    @abstractmethod
    def allocate(self, size_bytes: int) -> int:
        """Device memory, freed by `close`; its address."""

    @abstractmethod
    def pinned(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """A page-locked host array that the GPU copies from and to without a detour; gone after `close`."""

    @abstractmethod
    def upload(self, source: NDArray[Any], address: int) -> None:
        """Put a copy of a pinned array to the device on the stream. `source` must stay until `synchronize`."""

    @abstractmethod
    def download(self, address: int, target: NDArray[Any]) -> None:
        """Put a copy from the device to a pinned array on the stream; it is there after `synchronize`."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all that is on the stream."""

    @abstractmethod
    def capture(self, work: Callable[[], None]) -> Launch | None:
        """Record what `work` puts on the stream as a CUDA graph.

        Returns:
            What launches it, or None where this adapter has no graphs.
        """

    @abstractmethod
    def close(self) -> None:
        """Free everything, in reverse. Closing twice is allowed."""


def opener(device: str) -> Callable[[], DeviceMemory]:
    """What makes the memory of a device: call it in the thread that will own the memory.

    Args:
        device: `cuda`, or `pycuda` for the context that is current in the thread that calls this.

    Raises:
        EngineError: The package is not installed, or no pycuda context is current.
    """
    module, _, name = _OPENERS[device].partition(":")
    make: Callable[[], Callable[[], DeviceMemory]] = getattr(import_module(module), name)
    return make()
