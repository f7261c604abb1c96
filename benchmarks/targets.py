"""The rows of the speed table: a pure function each, from what was measured to whether it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

import msgspec
import numpy as np

from hidemia.benchmarks.report.measurements import Target
from hidemia.benchmarks.timing import best

Times = Mapping[str, Sequence[float]]  # ms by rival, a value a round


def at_least(name: str, target: float, measured: float, unit: str) -> Target:
    """A row that holds from its target up."""
    return Target(id=name, target=target, measured=round(measured, 3), unit=unit, holds=measured >= target)


def at_most(name: str, target: float, measured: float, unit: str) -> Target:
    """A row that holds up to its target."""
    return Target(id=name, target=target, measured=round(measured, 3), unit=unit, holds=measured <= target)


def unmeasured(name: str, target: float, unit: str, reason: str) -> Target:
    """A row that was not measured."""
    return Target(id=name, target=target, measured=None, unit=unit, holds=None, reason=reason)


DRAWS = 400


def with_spread(row: Callable[[Times], Target], times: Times) -> Target:
    """A row, and how far it lies apart when the same number of rounds is drawn anew from those that were measured.

    Rivals take turns within a round, so that a round is drawn for all of them together.
    """
    found = row(times)
    if found.measured is None:
        return found
    rounds = len(next(iter(times.values())))
    draws = np.random.default_rng(0).integers(rounds, size=(DRAWS, rounds))
    again = [row({name: [values[i] for i in picks] for name, values in times.items()}).measured for picks in draws]
    low, high = np.percentile(np.array(again, dtype=float), (5, 95))
    return msgspec.structs.replace(found, spread=round(float(high - low) / 2, 3))


def hide_fp32_ort(ms: Mapping[str, float]) -> Target:
    """Our graph against the plain export, both in ONNX Runtime."""
    return at_least("hide_fp32_ort", 1.5, ms["plain onnxruntime"] / ms["fp32 onnxruntime"], "x")


def hide_fp32_best(ms: Mapping[str, float]) -> Target:
    """The best engine against the plain export in ONNX Runtime."""
    return at_least("hide_fp32_best", 1.8, ms["plain onnxruntime"] / best(ms, "fp32")[1], "x")


def hide_int8_best(ms: Mapping[str, float]) -> Target:
    """INT8 against the same."""
    if not any(name.startswith("int8") for name in ms):
        return unmeasured("hide_int8_best", 3.5, "x", "the bundle has no int8 graph")
    return at_least("hide_int8_best", 3.5, ms["plain onnxruntime"] / best(ms, "int8")[1], "x")


def modc_vs_branches(ms: Mapping[str, float]) -> Target:
    """Six branches against our form, the whole analyzer, the best engine on each side."""
    return at_least("modc_vs_branches", 2.0, best(ms, "branches")[1] / best(ms, "modc")[1], "x")


def modc_vs_plain(ms: Mapping[str, float]) -> Target:
    """Our form against plain convolutions of the same shape."""
    return at_most("modc_vs_plain", 1.3, best(ms, "modc")[1] / best(ms, "vanilla")[1], "x")


def peak_share(ms: Mapping[str, float], multiply_adds: int, gflops: float) -> Target:
    """Multiply-adds of the network as it is written, over time, as a share of the best matrix product.

    Both at their best in this run: the one's median beside the other's best would measure the machine's mood.
    A graph that needs fewer multiplications for the same convolution (Winograd) can reach more than 100 %.
    """
    return at_least("peak_share", 80.0, 200 * multiply_adds / best(ms, "fp32")[1] / 1e6 / gflops, "%")


def trip_overhead(trip_ms: float, engines_ms: float) -> Target:
    """What a trip takes on top of its three engines."""
    return at_most("trip_overhead", 15.0, 100 * (trip_ms - engines_ms) / engines_ms, "%")


def batch8(one_ms: float, eight_ms: float) -> Target:
    """Photos a second at batch 8 against batch 1, on a CPU."""
    return at_least("batch8", 1.0, 8 * one_ms / eight_ms, "x")


def startup(seconds: Sequence[float], mib: Sequence[float]) -> list[Target]:
    """Import of the runtime and load of a client, each in a fresh process."""
    return [
        with_spread(lambda times: at_most("startup_s", 0.5, median(times["s"]), "s"), {"s": seconds}),
        with_spread(lambda times: at_most("startup_mib", 200.0, median(times["mib"]), "MiB"), {"mib": mib}),
    ]
