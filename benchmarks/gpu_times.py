"""One time that was measured on a GPU: a row of the verdict."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

WARM_RUNS = 5


@dataclass
class Row:
    """The times of one graph at one batch in one engine; or why there are none.

    Attributes:
        graph: A file of the bundle, a network, or a limit of the card.
        batch: Images of one run.
        engine: What ran it, and what of it was timed.
        times_ms: Every run.
    """

    graph: str
    batch: int
    engine: str
    times_ms: Sequence[float]
    reason: str = ""

    def cells(self) -> list[str]:
        """Graph, batch, engine, median, 95th percentile, median an image."""
        if not self.times_ms:
            return [self.graph, str(self.batch), self.engine, "", "", self.reason]
        median, p95 = statistics.median(self.times_ms), float(np.percentile(self.times_ms, 95))
        return [self.graph, str(self.batch), self.engine, f"{median:.3f}", f"{p95:.3f}", f"{median / self.batch:.3f}"]


def timed(work: Callable[[], object], runs: int) -> list[float]:
    """Milliseconds of every run, after a few that do not count."""
    times = []
    for _ in range(runs + WARM_RUNS):
        start = perf_counter()
        work()
        times.append((perf_counter() - start) * 1e3)
    return times[WARM_RUNS:]
