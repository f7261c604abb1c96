"""How times are taken: rivals in turn within one run, after a warm-up, on a fixed number of threads; medians.

What slows the machine down for a moment then slows all rivals, and a ratio of medians keeps its meaning. Before each
run there is a pause: an engine's threads go on spinning for a while after its run, and on few cores they would slow
whichever rival comes next.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter, sleep

import numpy as np

Run = Callable[[], object]

STEADY = 1.2  # median over best of the matrix product, up to which a run is worth reading
SETTLE_S = 0.05  # after which no engine of these was seen to spin
PRODUCT_SIDE = 1536  # the matrix product is 1536x1536 by 1536x1536, in float32: large enough for the best rate


def interleaved(runs: Mapping[str, Run], rounds: int, warm_up: int = 3) -> dict[str, list[float]]:
    """Every rival once a round: -> milliseconds by rival, `rounds` of them."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    gc.collect()
    gc.disable()
    try:
        for i in range(warm_up + rounds):
            for name, run in runs.items():
                sleep(SETTLE_S)
                start = perf_counter()
                run()
                if i >= warm_up:
                    times[name].append((perf_counter() - start) * 1e3)
    finally:
        gc.enable()
    return times


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of every rival, in ms."""
    return {name: statistics.median(values) for name, values in times.items()}


def bests(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The shortest time of every rival, in ms."""
    return {name: min(values) for name, values in times.items()}


def best(ms: Mapping[str, float], prefix: str) -> tuple[str, float]:
    """The fastest rival whose name starts so: (name, ms)."""
    return min(((name, value) for name, value in ms.items() if name.startswith(prefix)), key=lambda item: item[1])


def matrix_product() -> Run:
    """The machine's own limit: numpy's float32 matrix product, on the threads its library was started with."""
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((PRODUCT_SIDE, PRODUCT_SIDE), dtype=np.float32) for _ in range(2))
    return lambda: a @ b


def unsteadiness(times_ms: list[float]) -> float:
    """Median over best of one rival's times: 1 on an idle machine, more where something else was running."""
    return statistics.median(times_ms) / min(times_ms)


def product_gflops(times_ms: Sequence[float]) -> float:
    """The best rate seen, in GFLOP/s: 2 n^3 operations in the shortest time."""
    return 2 * PRODUCT_SIDE**3 / min(times_ms) / 1e6
