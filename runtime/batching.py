"""Micro-batching: one bounded queue, one thread that owns the engine, one engine call a batch."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

import numpy as np

from hidemia.runtime.arrays import Image
from hidemia.runtime.errors import EngineError, HidemiaError

__all__ = ["Batcher", "Batching", "Busy", "analyze_batch"]

logger = logging.getLogger(__name__)


class Busy(Exception):  # noqa: N818  a signal to the app, which turns it into 503, and never an error of the caller
    """The photo was not analysed.

    Args:
        message: For the log.
        why: `full` queue, `late` photo, or server `stopping`: the label of its metric.
    """

    def __init__(self, message: str, why: str = "full") -> None:
        super().__init__(message)
        self.why = why


class Batching(Protocol):
    """What the app asks of whatever gathers its photos: `Batcher` in one process, Ray's on a cluster."""

    @property
    def waiting(self) -> int:
        """Photos in the queue."""

    @property
    def is_open(self) -> bool:
        """Whether photos are accepted."""

    def submit(self, stego: Image) -> Future[Image] | asyncio.Future[Image]:
        """Queue a photo, or raise `Busy`."""

    def close(self) -> None:
        """Refuse new photos and finish those accepted."""


@dataclass(slots=True)
class _Job:
    stego: Image
    deadline: float
    future: Future[Image] = field(default_factory=Future)
    arrived: float = field(default_factory=monotonic)


class Batcher:
    """Collects photos of many requests into batches for one engine.

    Args:
        analyze: Takes uint8 (N, S, S, 3), returns the same shape. Called by one thread only.
        max_batch_size: Most photos of one call.
        batch_wait_timeout_ms: How long the first photo of a batch waits for company.
        queue_size: Photos that may wait; one more is refused.
        deadline_s: A photo that waited longer is refused.
        observe: Told after each call: its number of photos, the longest wait and the call's time, in seconds.
    """

    def __init__(
        self,
        analyze: Callable[[Image], Image],
        *,
        max_batch_size: int = 8,
        batch_wait_timeout_ms: float = 2.0,
        queue_size: int = 64,
        deadline_s: float = 10.0,
        observe: Callable[[int, float, float], None] | None = None,
    ) -> None:
        self.max_batch_size = max_batch_size
        self.deadline_s = deadline_s
        self._analyze = analyze
        self._wait_s = batch_wait_timeout_ms / 1e3
        self._observe = observe
        self._queue: queue.Queue[_Job | None] = queue.Queue()
        self._queue_size = queue_size
        self._closed = False
        self._lock = threading.Lock()
        self._worker = threading.Thread(target=self._work, name="analyze", daemon=True)
        self._worker.start()

    @property
    def waiting(self) -> int:
        """Photos in the queue."""
        return self._queue.qsize()

    @property
    def is_open(self) -> bool:
        """Whether photos are accepted and the worker lives."""
        return not self._closed and self._worker.is_alive()

    def submit(self, stego: Image) -> Future[Image]:
        """Queue a photo.

        Args:
            stego: uint8 (S, S, 3), checked by the caller: one bad photo would fail its whole batch.

        Returns:
            The reply to come. Cancel it when nobody waits for it any more: it then joins no batch.

        Raises:
            Busy: The queue is full or closed.
        """
        with self._lock:  # so that nothing is accepted after the end mark
            if not self.is_open:
                raise Busy("the server shuts down", "stopping")
            if self._queue.qsize() >= self._queue_size:
                raise Busy(f"the queue of {self._queue_size} is full", "full")
            job = _Job(stego, monotonic() + self.deadline_s)
            self._queue.put(job)
        return job.future

    def close(self) -> None:
        """Refuse new photos, finish those accepted, and stop the worker."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._worker.join()

    def _work(self) -> None:
        last = False
        while not last:
            jobs, last = self._collect()
            batch = [job for job in jobs if self._is_wanted(job)]
            if batch:
                self._run(batch)

    def _collect(self) -> tuple[list[_Job], bool]:
        """Wait for a first photo, then for more until the batch is full or its time is over."""
        jobs: list[_Job] = []
        until = 0.0
        while len(jobs) < self.max_batch_size:
            try:
                job = self._queue.get(timeout=max(until - monotonic(), 0.0)) if jobs else self._queue.get()
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            if not jobs:
                until = monotonic() + self._wait_s
            jobs.append(job)
        return jobs, False

    def _is_wanted(self, job: _Job) -> bool:
        if not job.future.set_running_or_notify_cancel():
            return False
        if monotonic() > job.deadline:
            job.future.set_exception(Busy(f"the photo waited longer than {self.deadline_s:g} s", "late"))
            return False
        return True

    def _run(self, batch: list[_Job]) -> None:
        start = monotonic()
        try:
            replies = analyze_batch(self._analyze, [job.stego for job in batch])
        except HidemiaError as error:
            for job in batch:
                job.future.set_exception(error)
            return
        took = monotonic() - start
        for job, reply in zip(batch, replies, strict=True):
            job.future.set_result(reply)
        if self._observe:
            self._observe(len(batch), start - min(job.arrived for job in batch), took)


def analyze_batch(analyze: Callable[[Image], Image], photos: Sequence[Image]) -> Image:
    """Make one engine call.

    Args:
        analyze: Takes uint8 (N, S, S, 3), returns the same shape.
        photos: uint8 (S, S, 3) each.

    Returns:
        uint8 (N, S, S, 3).

    Raises:
        HidemiaError: Whatever the engine raised: those who wait must hear of it and the worker must go on.
    """
    try:
        replies = analyze(np.stack(photos))
        if len(replies) != len(photos):
            raise EngineError(f"analyze: expected {len(photos)} replies, got {len(replies)}; export again")
    except HidemiaError:
        raise
    except Exception as error:
        logger.exception("the engine failed")
        raise EngineError(f"analyze: {type(error).__name__}: {error}") from error
    return replies
