"""A stream for an event loop: its threads do the work, the loop takes the frames."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from hidemia.runtime.arrays import Image
from hidemia.runtime.stream import Frame, Stream
from hidemia.runtime.transport import Transport

if TYPE_CHECKING:
    from hidemia.runtime.client import Client

__all__ = ["run"]


async def run(
    client: Client, frames: Iterable[Image] | AsyncIterable[Image], url: str | Transport, settings: dict[str, Any]
) -> AsyncGenerator[Frame, None]:
    """A `Stream` in threads, for an event loop; see `Client.stream_async`."""
    loop = asyncio.get_running_loop()
    source = _Bridge(frames, loop) if isinstance(frames, AsyncIterable) else None
    opening = loop.run_in_executor(None, lambda: client.stream(source or frames, url, **settings))  # type: ignore[arg-type]
    try:
        stream = await asyncio.shield(opening)  # cancelled meanwhile, it opens all the same and must be closed
        while True:
            frame = await asyncio.to_thread(next, stream, None)
            if frame is None:
                return
            yield frame
    finally:
        if source is not None:
            source.close()
        # The loop goes on meanwhile. Shielded, for a second cancellation must not leave the threads behind.
        await asyncio.shield(_close(opening))


async def _close(opening: asyncio.Future[Stream]) -> None:
    await asyncio.wait({opening})
    if opening.exception() is None:  # whoever waited for it has heard of one
        await asyncio.to_thread(opening.result().close)


class _Bridge(Iterator[Image]):
    """An asynchronous iterable, read by another thread than its loop's."""

    def __init__(self, frames: AsyncIterable[Image], loop: asyncio.AbstractEventLoop) -> None:
        self._frames = frames.__aiter__()
        self._loop = loop
        self._pending: Future[Image | None] | None = None
        self._closed = False

    def __next__(self) -> Image:
        self._pending = asyncio.run_coroutine_threadsafe(self._one(), self._loop)
        if self._closed:
            self._pending.cancel()
        with contextlib.suppress(CancelledError):
            frame = self._pending.result()
            if frame is not None:
                return frame
        raise StopIteration

    async def _one(self) -> Image | None:
        return await anext(self._frames, None)

    def close(self) -> None:
        """Wait for no further frame."""
        self._closed = True
        if self._pending is not None:
            self._pending.cancel()
