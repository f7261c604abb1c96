"""A stand-in for `pycuda.driver`, after its documentation and the wrapper's own table of names (2026.1).

Every call needs a current context, and each thread has its own stack of them.
"""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

import numpy as np
from tests.standins.gpu import Fault, Gpu


def modules(gpu: Gpu) -> dict[str, ModuleType]:
    """For `sys.modules`. `pycuda.driver.Device(0).make_context()` gives a context, as in the product that owns it."""
    package, driver = ModuleType("pycuda"), _driver(gpu)
    package.__path__, package.driver = [], driver  # type: ignore[attr-defined]
    return {"pycuda": package, "pycuda.driver": driver}


def _driver(gpu: Gpu) -> ModuleType:  # noqa: C901  one closure over one GPU
    driver = ModuleType("pycuda.driver")
    stacks = threading.local()

    class Error(Exception):
        pass

    class LogicError(Error):
        pass

    def stack() -> list[Context]:
        if not hasattr(stacks, "contexts"):
            stacks.contexts = []
        return stacks.contexts

    def act(function: Any, *arguments: Any) -> Any:
        if not stack():
            raise LogicError("invalid device context")
        try:
            return function(*arguments)
        except Fault as fault:
            raise LogicError(fault.args[0]) from None

    class Context:
        def push(self) -> None:
            stack().append(self)

        @staticmethod
        def pop() -> None:
            if not stack():
                raise LogicError("context::pop failed: invalid device context - cannot pop non-current context")
            stack().pop()

        @staticmethod
        def get_current() -> Context | None:
            return stack()[-1] if stack() else None

    class Device:
        def __init__(self, number: int) -> None:
            if number or not gpu.present:
                raise LogicError("invalid device ordinal")

        def make_context(self, flags: int = 0) -> Context:
            context = Context()
            context.push()
            return context

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            self._handle = act(gpu.create_stream)

        @property
        def handle(self) -> int:
            return self._handle

        def synchronize(self) -> Stream:
            act(gpu.synchronize, self._handle)
            return self

        def __del__(self) -> None:
            if stack():
                gpu.destroy_stream(self._handle)

    class DeviceAllocation:
        def __init__(self, size: int) -> None:
            self._address, self._valid = act(gpu.allocate, size), True

        def __int__(self) -> int:
            return self._address

        __index__ = __int__

        def free(self) -> None:
            if not self._valid:
                raise LogicError("device_allocation::free failed: invalid resource handle")
            act(gpu.free, self._address)
            self._valid = False

    class PagelockedHostAllocation:
        def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
            kind = np.dtype(dtype)
            self._address, self._valid = act(gpu.allocate_pinned, int(np.prod(shape)) * kind.itemsize), True
            self.__array_interface__ = {
                "shape": tuple(shape), "typestr": kind.str, "data": (self._address, False), "version": 3,
            }  # fmt: skip

        def free(self) -> None:
            if not self._valid:
                raise LogicError("pagelocked_host_allocation::free failed: invalid resource handle")
            act(gpu.free_pinned, self._address)
            self._valid = False

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        return np.asarray(PagelockedHostAllocation(shape, dtype))

    def mem_alloc(size: int, /) -> DeviceAllocation:
        return DeviceAllocation(size)

    def memcpy_htod_async(dest: Any, src: Any, stream: Stream | None = None) -> None:
        assert src.flags.c_contiguous
        act(gpu.upload, int(dest), src.ctypes.data, src.nbytes, stream.handle)

    def memcpy_dtoh_async(dest: Any, src: Any, stream: Stream | None = None) -> None:
        assert dest.flags.c_contiguous
        assert dest.flags.writeable
        act(gpu.download, dest.ctypes.data, int(src), dest.nbytes, stream.handle)

    for item in (
        Error, LogicError, Context, Device, Stream, DeviceAllocation, PagelockedHostAllocation,
        pagelocked_empty, mem_alloc, memcpy_htod_async, memcpy_dtoh_async,
    ):  # fmt: skip
        setattr(driver, item.__name__, item)
    return driver
