"""Device memory through pycuda, in the context that the product already owns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from numpy.typing import NDArray

from hidemia.runtime.device_memory import DeviceMemory, Launch
from hidemia.runtime.errors import EngineError

__all__ = ["PycudaMemory", "opener"]


def opener() -> Callable[[], PycudaMemory]:
    """What makes a `PycudaMemory` in the context that is current now; see `device_memory.opener`."""
    cuda = _import_driver()
    with _one_line(cuda):
        context = cuda.Context.get_current()
    if context is None:
        raise EngineError(
            "engine: expected a current pycuda context, got none; load the bundle in the thread that made yours, "
            "or ask for device cuda"
        )
    return partial(PycudaMemory, cuda, context)


class PycudaMemory(DeviceMemory):
    """Memory in a given pycuda context, which is pushed in the owning thread and stays the product's own.

    pycuda as released (2026.1) records no CUDA graphs: `capture` returns None.

    Args:
        cuda: The module `pycuda.driver`.
        context: The product's context.

    Raises:
        EngineError: The context cannot be used.
    """

    def __init__(self, cuda: Any, context: Any) -> None:
        self._cuda = cuda
        self._resources = ExitStack()
        with _one_line(cuda):
            context.push()
            self._resources.callback(cuda.Context.pop)
            self._stream: Any = cuda.Stream()

    @property
    def stream(self) -> int:
        """See `DeviceMemory`."""
        return int(self._stream.handle)

    def allocate(self, size_bytes: int) -> int:
        """See `DeviceMemory`."""
        with _one_line(self._cuda):
            allocation = self._cuda.mem_alloc(size_bytes)
        self._resources.callback(allocation.free)
        return int(allocation)

    def pinned(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """See `DeviceMemory`."""
        with _one_line(self._cuda):
            array: NDArray[Any] = self._cuda.pagelocked_empty(shape, dtype)
        allocation: Any = array.base  # a PagelockedHostAllocation
        self._resources.callback(allocation.free)
        return array

    def upload(self, source: NDArray[Any], address: int) -> None:
        """See `DeviceMemory`."""
        with _one_line(self._cuda):
            self._cuda.memcpy_htod_async(address, source, self._stream)

    def download(self, address: int, target: NDArray[Any]) -> None:
        """See `DeviceMemory`."""
        with _one_line(self._cuda):
            self._cuda.memcpy_dtoh_async(target, address, self._stream)

    def synchronize(self) -> None:
        """See `DeviceMemory`."""
        with _one_line(self._cuda):
            self._stream.synchronize()

    def capture(self, work: Callable[[], None]) -> Launch | None:  # noqa: ARG002
        """None: pycuda has no graphs."""
        return None

    def close(self) -> None:
        """See `DeviceMemory`. The stream goes with its last reference, in its context."""
        self._stream = None
        with _one_line(self._cuda):
            self._resources.close()


@contextmanager
def _one_line(cuda: Any) -> Iterator[None]:
    try:
        yield
    except cuda.Error as error:
        raise EngineError(f"pycuda: expected CUDA to do it, got {error}; see hidemia doctor") from error


def _import_driver() -> Any:
    try:
        import pycuda.driver  # noqa: PLC0415  only for products that own a pycuda context
    except ModuleNotFoundError:
        raise EngineError("engine: expected pycuda, got no such package; pip install 'hidemia[pycuda]'") from None
    except (ImportError, OSError) as error:
        raise EngineError(f"engine: expected pycuda to load, got {error}; install it again") from error
    return pycuda.driver
