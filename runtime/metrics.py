"""What the photo service counts and times, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_PHOTOS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts and times, in a registry of their own so that an embedding program keeps its own.

    Args:
        waiting: Gives the photos in the queue whenever the metrics are read.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        self._answers = Counter("photos", "Answers by status", ["status"], registry=registry)
        self._busy = Counter("photos_busy", "Answers of 503 by reason", ["reason"], registry=registry)
        self._unaudited = Counter("photos_unaudited", "Lines the audit log could not take", registry=registry)
        self._seconds = Histogram("photo_seconds", "One request", buckets=_SECONDS, registry=registry)
        self._batch = Histogram("photo_batch_size", "Photos of an engine call", buckets=_PHOTOS, registry=registry)
        self._wait = Histogram("photo_wait_seconds", "Longest wait in a batch", buckets=_SECONDS, registry=registry)
        self._engine = Histogram("photo_engine_seconds", "One engine call", buckets=_SECONDS, registry=registry)
        Gauge("photos_waiting", "Photos in the queue", registry=registry).set_function(waiting)
        ProcessCollector(registry=registry)

    def answered(self, status: int, took_s: float) -> None:
        """Count one answer."""
        self._answers.labels(str(status)).inc()
        self._seconds.observe(took_s)

    def busy(self, reason: str) -> None:
        """Count one answer of 503: `full`, `late`, `stopping`, `rate` or `audit`."""
        self._busy.labels(reason).inc()

    def unaudited(self) -> None:
        """Count one line that the audit log could not take."""
        self._unaudited.inc()

    def ran(self, count: int, wait_s: float, took_s: float) -> None:
        """Count one engine call of `count` photos, the first of which waited `wait_s`."""
        self._batch.observe(count)
        self._wait.observe(wait_s)
        self._engine.observe(took_s)

    def text(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self.registry)
