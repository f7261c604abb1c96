"""Frames of a live image: hidden, sent and recovered at the same time, and given back in order.

`stream_async` has the same for an event loop.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hidemia.runtime import trip
from hidemia.runtime.arrays import Image, check_image
from hidemia.runtime.covers import CoverPool
from hidemia.runtime.errors import CoverError, HidemiaError
from hidemia.runtime.result import Result
from hidemia.runtime.transport import Transport

if TYPE_CHECKING:
    from hidemia.runtime.client import Client

__all__ = ["Frame", "Stream", "frame_count", "start"]

PATIENCE_S = 60.0
"""How long a frame asks a busy server again: the queue of a server is a matter of seconds."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What became of one frame.

    Attributes:
        index: Its place in the stream, from 0.
        result: None where it failed.
        error: Why it failed; None where it did not.
    """

    index: int
    result: Result | None
    error: HidemiaError | None


class Stream(Iterator[Frame]):
    """Frames on their way, an iterator in their order. Made by `Client.stream`; one thread takes from it.

    One thread reads and hides, `window` threads send, one at a time of them recovers. Whatever `frames` raises
    comes out after the frames before it.

    Args:
        client: Hides and recovers.
        frames: Secrets, uint8 (H, W, 3), RGB.
        carrier: The way to the server.
        covers: Gives each frame its cover.
        window: Frames that are on their way, or done and not yet taken, at most.
        stop_on_error: End after the first frame that failed.
        owns_carrier: Close the carrier in the end.
    """

    def __init__(
        self,
        client: Client,
        frames: Iterable[Image],
        carrier: Transport,
        *,
        covers: CoverPool,
        window: int,
        stop_on_error: bool,
        owns_carrier: bool,
    ) -> None:
        self._client = client
        self._frames = frames
        self._carrier = carrier
        self._covers = covers
        self._stop_on_error = stop_on_error
        self._owns_carrier = owns_carrier
        self._slots = threading.Semaphore(window)
        self._changed = threading.Condition()
        self._window: deque[Future[Frame]] = deque()
        self._is_read = False
        self._failure: Exception | None = None
        self._closed = threading.Event()
        self._hiding = threading.Lock()
        self._recovering = threading.Lock()
        self._senders = ThreadPoolExecutor(window, "send")
        # A camera that gives no frame cannot be woken: that thread must not keep the process alive.
        self._reader = threading.Thread(target=self._read, name="hide", daemon=True)
        self._reader.start()

    def __next__(self) -> Frame:
        with self._changed:
            self._changed.wait_for(self._has_news)
            head = self._window.popleft() if self._window and not self._closed.is_set() else None
        if head is None:  # closed, or all of them are taken
            failure, self._failure = self._failure, None
            self.close()
            raise failure or StopIteration
        try:
            frame = head.result()
        except BaseException:
            self.close()
            raise
        self._slots.release()
        if frame.error is not None and self._stop_on_error:
            self._stop()
        return frame

    def close(self) -> None:
        """Read and send no more, and wait for the answers that are due; a `Transport`'s timeout bounds that.

        A frame that was on its way is as one whose answer was lost: sent again, it is the identical photo.
        """
        self._stop()
        with self._hiding:  # a frame that is being hidden is sent no more
            self._senders.shutdown(cancel_futures=True)
        if self._owns_carrier:
            self._carrier.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stop(self) -> None:
        self._closed.set()
        self._notify()
        self._slots.release()

    def _has_news(self) -> bool:
        return self._closed.is_set() or (self._window[0].done() if self._window else self._is_read)

    def _notify(self, _: object = None) -> None:
        with self._changed:
            self._changed.notify_all()

    def _read(self) -> None:
        try:
            frames = enumerate(self._frames)
            while self._slots.acquire() and not self._closed.is_set():
                index, secret = next(frames, (-1, None))
                with self._hiding:
                    if index < 0 or self._closed.is_set():
                        break
                    self._submit(index, secret)
        except Exception as error:  # the caller's own iterator may raise anything
            self._failure = error
        finally:
            self._is_read = True
            self._notify()

    def _submit(self, index: int, secret: Any) -> None:
        outcome: Future[Frame]
        try:
            sent = trip.depart(self._client, check_image(secret, "secret"), covers=self._covers)
        except HidemiaError as error:
            outcome = Future()
            outcome.set_result(Frame(index, None, error))
        else:
            outcome = self._senders.submit(self._send, index, sent)
        with self._changed:
            self._window.append(outcome)
        outcome.add_done_callback(self._notify)

    def _send(self, index: int, sent: trip.Sent) -> Frame:
        try:
            answer = self._carrier.exchange(
                sent.photo, etag=self._client.manifest.etag, patience_s=PATIENCE_S, cancelled=self._closed
            )
            with self._recovering:  # one at a time: the engine uses every thread it may
                return Frame(index, trip.arrive(self._client, sent, answer), None)
        except HidemiaError as error:
            return Frame(index, None, error)


def frame_count(count: int | None, rate: float | None, duration_s: float | None) -> int | None:
    """How many frames a stream is to have, from their number or from their rate and its duration; None if endless.

    Raises:
        CoverError: Neither of the two, or a number that is not above 0.
    """
    if (rate is None) != (duration_s is None) or (count is not None and rate is not None):
        raise CoverError(
            "stream: expected a count, or a rate and a duration_s, or none of them, "
            f"got count={count}, rate={rate}, duration_s={duration_s}; pass one of these",
            exit_code=2,
        )
    if rate is not None and duration_s is not None:
        if not (0 < rate < math.inf and 0 < duration_s < math.inf):
            raise CoverError(
                f"stream: expected a rate and a duration_s above 0, got {rate} and {duration_s}; correct them",
                exit_code=2,
            )
        return math.ceil(rate * duration_s)
    if count is not None and count < 1:
        raise CoverError(f"stream: expected a count of at least 1, got {count}; correct it", exit_code=2)
    return count


def start(
    client: Client,
    frames: Iterable[Image],
    url: str | Transport,
    *,
    covers: CoverPool,
    count: int | None,
    window: int,
    stop_on_error: bool,
    public_key_ok: bool,
    token: str | None,
) -> Stream:
    """Check everything that can be checked, then start; see `Client.stream`."""
    if window < 1:
        raise CoverError(f"stream: expected a window of at least 1, got {window}; correct it", exit_code=2)
    with contextlib.ExitStack() as opened:
        carrier = opened.enter_context(Transport(url, token=token)) if isinstance(url, str) else url
        carrier.check(client.manifest, public_key_ok=public_key_ok)
        if count is not None:
            covers.require(count, client.image_size_px)
            frames = itertools.islice(frames, count)
        stream = Stream(
            client,
            frames,
            carrier,
            covers=covers,
            window=window,
            stop_on_error=stop_on_error,
            owns_carrier=isinstance(url, str),
        )
        opened.pop_all()  # the stream closes it
    return stream
