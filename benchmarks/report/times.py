"""What was timed, as tables: every rival, the networks of the papers, the trip, and the machine's limits."""

from __future__ import annotations

from hidemia.benchmarks.report.document import Report
from hidemia.benchmarks.report.measurements import Timing
from hidemia.benchmarks.report.summary import PERCENTILES, per_second, summary
from hidemia.benchmarks.report.table import Table, number

LATENCY_HEAD = [
    "rival", "engine", "p50 ms", "equal to PyTorch FP32", "precision", "batch", "threads",
    *(f"p{p} ms" for p in PERCENTILES[1:]), "max", "mean", "spread %", "runs", "images/s", "load ms", "first ms",
    "resident MiB", "peak MiB", "% of product", "% of copy",
]  # fmt: skip


def limits(report: Report) -> Table:
    """What the machine can do at best."""
    rows = [
        [str(limit.threads), f"{limit.product_gflops:.0f}", f"{limit.copy_gb_s:.1f}", f"{limit.unsteadiness:.2f}"]
        for limit in report.limits
    ]
    return Table.of("threads | matrix product, GFLOP/s | copy, GB/s read and written | unsteadiness", rows, 0)


def latency(report: Report, verb: str) -> Table:
    """Every rival of a verb: accuracy, times, memory, and its share of the machine's limits."""
    rows = []
    for timing in report.timings:
        if timing.verb != verb or timing.paper:
            continue
        name = [timing.graph or timing.rival, timing.backend]
        where = [timing.precision, str(timing.batch), str(timing.threads)]
        if not timing.times_ms:
            rows.append([*name, "", timing.reason, *where, *[""] * (len(LATENCY_HEAD) - 7)])
            continue
        found = summary(timing.times_ms)
        rows.append(
            [
                *name,
                f"{found.median:.1f}",
                _agreement(timing),
                *where,
                *(f"{value:.1f}" for value in found.percentiles[1:]),
                f"{found.most:.1f}",
                f"{found.mean:.1f}",
                f"{found.spread_percent:.1f}",
                str(found.runs),
                f"{per_second(timing.batch, timing.times_ms):.2f}",
                *(number(value, ".0f") for value in (timing.load_ms, timing.first_ms)),
                *(number(value, ".0f") for value in (timing.resident_mib, timing.peak_mib)),
                *shares(report, timing),
            ]
        )
    return Table(LATENCY_HEAD, rows, frozenset({2, *range(5, len(LATENCY_HEAD))}))


def papers(report: Report) -> Table:
    """The networks of the papers, as published, in one engine."""
    rows = []
    for timing in report.timings:
        if not timing.paper:
            continue
        if not timing.times_ms:
            rows.append([timing.rival, timing.verb, "", "", "", timing.reason])
            continue
        found = summary(timing.times_ms)
        times = f"{found.median:.0f}", f"{found.most:.0f}", f"{found.spread_percent:.1f}"
        rows.append([timing.rival, timing.verb, *times, number(timing.peak_mib, ".0f")])
    return Table.of("network | verb | p50 ms | max ms | spread % | peak MiB", rows, 2)


def shares(report: Report, timing: Timing) -> tuple[str, str]:
    """A graph's rate as a share of the matrix product's and of the copy's; empty for what is no file of the bundle."""
    graph = next((graph for graph in report.graphs if graph.path == timing.graph), None)
    limit = next((limit for limit in report.limits if limit.threads == timing.threads), None)
    if graph is None or limit is None:
        return "", ""
    seconds = summary(timing.times_ms).median / 1e3
    product = 2 * graph.multiply_adds * timing.batch / seconds / 1e9 / limit.product_gflops
    copy = graph.traffic_bytes * timing.batch / seconds / 1e9 / limit.copy_gb_s
    return f"{100 * product:.0f}", f"{100 * copy:.0f}"


def trip(report: Report) -> Table:
    """The trip by stage."""
    total = sum(summary(stage.times_ms).median for stage in report.stages)
    rows = []
    for stage in report.stages:
        found = summary(stage.times_ms)
        times = (found.median, found.percentiles[2], found.most, found.spread_ms)
        share = f"{100 * found.median / total:.1f}"
        rows.append([stage.name, stage.place, *(f"{value:.2f}" for value in times), share])
    if rows:
        rows.append(["sum of medians", "", f"{total:.2f}", "", "", "", "100"])
    return Table.of("stage | where | median ms | p95 ms | max ms | spread ms | share %", rows, 2)


def _agreement(timing: Timing) -> str:
    if timing.agreement is None:
        return "computes something else: for its time alone"
    unit = "of 255" if timing.verb != "recover" else "probability"
    return f"{100 * timing.agreement.identical_share:.3f} %, largest {timing.agreement.largest:.2g} {unit}"
