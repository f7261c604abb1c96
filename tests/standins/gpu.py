"""A GPU of bytes: memory, streams and graphs that behave, and complain, as CUDA's do.

What is put on a stream happens when the stream is waited for, never before: whoever forgets to wait reads old bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field

Work = Callable[[], None]


class Fault(Exception):  # noqa: N818  CUDA's own word
    """A call that CUDA refuses; its argument is the name of the error."""


@dataclass
class Stream:
    queue: list[Work] = field(default_factory=list)
    capture: list[Work] | None = None


class Gpu:
    """One GPU. `leaks` lists what was not given back."""

    def __init__(self, name: str = "NVIDIA Test 4000", capability: str = "8.9", memory_bytes: int = 1 << 26) -> None:
        self.name, self.capability, self.free_bytes = name, capability, memory_bytes
        self.present = True
        self.device: dict[int, bytearray] = {}
        self.pinned: dict[int, ctypes.Array] = {}
        self.streams: dict[int, Stream] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.launches = 0
        self._next = 0x7F0000000000

    def handle(self) -> int:
        self._next += 0x10000000
        return self._next

    def require_present(self) -> None:
        if not self.present:
            raise Fault("cudaErrorNoDevice")

    # memory

    def allocate(self, size: int) -> int:
        self.require_present()
        if size > self.free_bytes:
            raise Fault("cudaErrorMemoryAllocation")
        self.free_bytes -= size
        address = self.handle()
        self.device[address] = bytearray(b"\xa5" * size)  # never zeros: nothing may rely on them
        return address

    def free(self, address: int) -> None:
        if address not in self.device:
            raise Fault("cudaErrorInvalidValue")
        self.free_bytes += len(self.device.pop(address))

    def allocate_pinned(self, size: int) -> int:
        self.require_present()
        buffer = (ctypes.c_uint8 * size)()
        address = ctypes.addressof(buffer)
        self.pinned[address] = buffer
        return address

    def free_pinned(self, address: int) -> None:
        if address not in self.pinned:
            raise Fault("cudaErrorInvalidValue")
        del self.pinned[address]

    def view(self, address: int, size: int) -> memoryview:
        """Device bytes; an address that was freed or never given, or too many bytes, is the fault it is on a GPU."""
        for start, block in self.device.items():
            if start <= address and address + size <= start + len(block):
                return memoryview(block)[address - start : address - start + size]
        raise Fault("cudaErrorIllegalAddress")

    def host_view(self, address: int, size: int) -> memoryview:
        for start, block in self.pinned.items():
            if start <= address and address + size <= start + len(block):
                return memoryview(block).cast("B")[address - start : address - start + size]
        raise Fault("cudaErrorInvalidValue")  # CUDA takes pageable memory too; this project must not give it any

    # streams

    def create_stream(self) -> int:
        self.require_present()
        handle = self.handle()
        self.streams[handle] = Stream()
        return handle

    def stream(self, handle: int) -> Stream:
        if handle not in self.streams:
            raise Fault("cudaErrorInvalidResourceHandle")
        return self.streams[handle]

    def destroy_stream(self, handle: int) -> None:
        self.stream(handle)
        del self.streams[handle]

    def put(self, handle: int, work: Work) -> None:
        stream = self.stream(handle)
        (stream.queue if stream.capture is None else stream.capture).append(work)

    def synchronize(self, handle: int) -> None:
        stream = self.stream(handle)
        if stream.capture is not None:
            raise Fault("cudaErrorStreamCaptureUnsupported")
        queue, stream.queue = stream.queue, []
        for work in queue:
            work()

    def upload(self, address: int, source: int, size: int, handle: int) -> None:
        self.view(address, size), self.host_view(source, size)
        self.put(handle, lambda: _copy(self.host_view(source, size), self.view(address, size)))

    def download(self, target: int, address: int, size: int, handle: int) -> None:
        self.view(address, size), self.host_view(target, size)
        self.put(handle, lambda: _copy(self.view(address, size), self.host_view(target, size)))

    # graphs

    def begin_capture(self, handle: int) -> None:
        stream = self.stream(handle)
        if stream.capture is not None:
            raise Fault("cudaErrorIllegalState")
        stream.capture = []

    def end_capture(self, handle: int) -> int:
        stream = self.stream(handle)
        if stream.capture is None:
            raise Fault("cudaErrorIllegalState")
        graph = self.handle()
        self.graphs[graph], stream.capture = stream.capture, None
        return graph

    def copy_graph(self, graph: int) -> int:
        executable = self.handle()
        self.graphs[executable] = self.graph(graph)
        return executable

    def graph(self, handle: int) -> list[Work]:
        if handle not in self.graphs:
            raise Fault("cudaErrorInvalidValue")
        return self.graphs[handle]

    def destroy_graph(self, handle: int) -> None:
        self.graph(handle)
        del self.graphs[handle]

    def launch(self, handle: int, stream: int) -> None:
        self.launches += 1
        for work in self.graph(handle):
            self.put(stream, work)

    @property
    def leaks(self) -> list[str]:
        kinds = {"device": self.device, "pinned": self.pinned, "stream": self.streams, "graph": self.graphs}
        return [f"{len(held)} {kind}" for kind, held in kinds.items() if held]


def _copy(source: memoryview, target: memoryview) -> None:
    target[:] = source
