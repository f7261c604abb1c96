"""What moved between two reports: beyond the noise that they print, and for the worse beyond a limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hidemia.benchmarks.report.document import Report
from hidemia.benchmarks.report.measurements import Timing
from hidemia.benchmarks.report.summary import summary

LIMIT = 0.10
"""A regression is a median that grew by more than this share, and by more than the noise."""

MEMORY_NOISE = 0.05
"""Share by which peak memory may move; it is read once a rival, and an engine's was seen 3 % apart in two runs."""


@dataclass(frozen=True)
class Move:
    """One figure that is not what it was.

    Attributes:
        what: The row.
        before, after: In `unit`.
        noise: How far it may move without anything having changed.
        regression: Whether it got worse by more than the limit.
    """

    what: str
    before: float
    after: float
    unit: str
    noise: float
    regression: bool

    def line(self) -> str:
        """In one line."""
        share = f" ({100 * (self.after / self.before - 1):+.1f} %)" if self.before else ""
        worse = "REGRESSION " if self.regression else ""
        return f"{worse}{self.what}: {self.before:g} -> {self.after:g} {self.unit}{share}, noise {self.noise:.3g}"


def moves(before: Report, after: Report, limit: float = LIMIT) -> list[Move]:
    """Every figure that both reports have and that moved beyond its noise; regressions first.

    Args:
        before: The older report.
        after: The newer one.
        limit: Share by which a figure may get worse.

    Returns:
        Times and memory only where both were measured on the same machine; costs, which are counted, always.
    """
    found = list(_costs(before, after, limit))
    if comparable(before, after):
        found += [*_timings(before, after, limit), *_targets(before, after)]
    return sorted(found, key=lambda move: not move.regression)


def comparable(before: Report, after: Report) -> bool:
    """Whether times mean the same in both: the same processor, cores and threads."""
    one, other = before.environment, after.environment
    return (one.processor, one.cores, one.threads) == (other.processor, other.cores, other.threads)


def lost(before: Report, after: Report) -> list[str]:
    """Rows that were measured before and are not any more."""
    measured = {timing.key for timing in after.timings if timing.times_ms}
    return [timing.key for timing in before.timings if timing.times_ms and timing.key not in measured]


def _timings(before: Report, after: Report, limit: float) -> Iterator[Move]:
    old = {timing.key: timing for timing in before.timings if timing.times_ms}
    for timing in after.timings:
        if timing.times_ms and (earlier := old.get(timing.key)):
            yield from _time(earlier, timing, _unsteady(timing.threads, before, after), limit)
            # What PyTorch takes while it compiles is no figure of ours.
            if earlier.peak_mib and timing.peak_mib and timing.backend != "torch":
                noise = MEMORY_NOISE * earlier.peak_mib
                yield from _move(f"{timing.key}, peak", earlier.peak_mib, timing.peak_mib, "MiB", noise, limit)


def _unsteady(threads: int, *reports: Report) -> float:
    """Share by which the machine's own matrix product strayed in either report."""
    limits = (row.unsteadiness for report in reports for row in report.limits if row.threads == threads)
    return max(limits, default=1.0) - 1


def _time(before: Timing, after: Timing, unsteady: float, limit: float) -> Iterator[Move]:
    """A median that moved; by as much as the machine's own matrix product strays, any of them may."""
    one, other = summary(before.times_ms), summary(after.times_ms)
    noise = one.spread_ms + other.spread_ms + unsteady * one.median
    yield from _move(after.key, one.median, other.median, "ms", noise, limit)


def _costs(before: Report, after: Report, limit: float) -> Iterator[Move]:
    old = {graph.path: graph for graph in before.graphs}
    for graph in after.graphs:
        if earlier := old.get(graph.path):
            for name in ("multiply_adds", "activation_bytes", "size_bytes"):
                what = f"{graph.path}, {name.replace('_', ' ')}"
                yield from _move(what, getattr(earlier, name), getattr(graph, name), "", 0, limit)


def _targets(before: Report, after: Report) -> Iterator[Move]:
    """Rows of the speed table that held and do not any more, or the other way round, beyond their noise."""
    unsteady = _unsteady(before.environment.threads, before, after)
    old = {row.id: row for row in before.targets}
    for row in after.targets:
        earlier = old.get(row.id)
        if earlier is None or earlier.measured is None or row.measured is None or earlier.holds == row.holds:
            continue
        noise = (earlier.spread or 0) + (row.spread or 0) + unsteady * earlier.measured
        if abs(row.measured - earlier.measured) > noise:
            yield Move(f"target {row.id}", earlier.measured, row.measured, row.unit, noise, bool(earlier.holds))


def _move(what: str, before: float, after: float, unit: str, noise: float, limit: float) -> Iterator[Move]:
    """A figure of which less is better, if it moved."""
    if abs(after - before) > noise:
        yield Move(what, round(before, 3), round(after, 3), unit, noise, after > before * (1 + limit))
