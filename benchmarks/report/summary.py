"""From all times of a row to the few numbers that are printed; nothing is clipped, trimmed or averaged away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Summary:
    """Of times in ms.

    Attributes:
        percentiles: Those of `PERCENTILES`, interpolated linearly between runs; with few runs the last is the maximum.
        spread_ms: Half of the interquartile range: half of all runs lie about this near to the median.
    """

    runs: int
    percentiles: tuple[float, ...]
    most: float
    mean: float
    spread_ms: float

    @property
    def median(self) -> float:
        """The 50th percentile."""
        return self.percentiles[0]

    @property
    def spread_percent(self) -> float:
        """The spread as a share of the median."""
        return 100 * self.spread_ms / self.median


def summary(times_ms: Sequence[float]) -> Summary:
    """Summarise at least one time.

    Example:
        >>> summary([1.0, 2.0, 3.0, 4.0, 5.0]).spread_ms
        1.0
    """
    low, high = np.percentile(times_ms, (25, 75))
    return Summary(
        runs=len(times_ms),
        percentiles=tuple(float(value) for value in np.percentile(times_ms, PERCENTILES)),
        most=float(max(times_ms)),
        mean=float(np.mean(times_ms)),
        spread_ms=float(high - low) / 2,
    )


def per_second(batch: int, times_ms: Sequence[float]) -> float:
    """Images a second: all images over all time, so that slow runs count in full."""
    return 1e3 * batch * len(times_ms) / sum(times_ms)
