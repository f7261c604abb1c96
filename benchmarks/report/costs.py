"""What was counted, as tables: networks of the papers, Table 7, and what is deployed."""

from __future__ import annotations

from hidemia.benchmarks.report.document import Report
from hidemia.benchmarks.report.measurements import NetworkCost
from hidemia.benchmarks.report.table import Table, giga, mib

PAPER_FACTOR = 3
PAPER = {
    "HiNet": (152.17, 4.05),
    "LightIH": (38.04, 1.01),
    "HiDDeN": (87.49, 0.58),
    "DeepStega": (73.30, 0.49),
    "DeepStega, 24 prepared maps": (73.30, 0.49),
}
"""Table 7 of the paper: GFLOPs and millions of parameters. DeepStega stands twice: as published it does not fit."""


def networks(report: Report) -> Table:
    """Both counts of every network."""
    rows = []
    for cost in report.networks:
        if cost.multiply_adds is None or cost.graph_multiply_adds is None:
            rows.append([cost.network, cost.part, "", "", "", cost.reason, "", ""])
            continue
        apart = cost.graph_multiply_adds - cost.multiply_adds
        rows.append(
            [
                cost.network,
                cost.part,
                f"{cost.parameters:,}",
                giga(cost.multiply_adds),
                giga(cost.graph_multiply_adds),
                "to the unit" if not apart else f"{apart:+,}",
                giga(cost.others),
                mib(cost.activation_bytes),
            ]
        )
    head = "network | part | parameters | GMACs, fvcore | GMACs, graph | agree | norms and pools, G | activations, MiB"
    return Table(head.split(" | "), rows, frozenset({2, 3, 4, 6, 7}))


def table7(report: Report) -> Table:
    """The paper's table of hiders, and what it is made of."""
    rows = []
    for name, (gflops, millions) in PAPER.items():
        parts = {cost.part: cost for cost in report.networks if cost.network == name}
        whole = parts.get("one direction, whole") or parts.get("hide + recover")
        if whole is None or whole.multiply_adds is None:
            reason = whole.reason if whole else "not counted in this run"
            rows.append([name, f"{gflops:.2f}", f"{millions:.2f}", *[""] * 6, reason])
            continue
        counted = (whole.multiply_adds + (whole.others or 0)) / 1e9
        got = PAPER_FACTOR * counted
        # The paper's last digit is now rounded and now cut off.
        same = abs(got - gflops) < 0.01
        rows.append(
            [
                name,
                f"{gflops:.2f}",
                f"{millions:.2f}",
                f"{(whole.parameters or 0) / 1e6:.2f}",
                f"{counted:.3f}",
                f"{got:.2f}",
                *(giga(_multiply_adds(parts.get(part))) for part in ("hide", "recover", "hide + recover")),
                "the same" if same else f"{got - gflops:+.2f}",
            ]
        )
    head = "hider | paper, G | paper, M | M | G | G times 3 | hide, G | recover, G | both, G | against the paper"
    return Table(head.split(" | "), rows, frozenset(range(1, 9)))


def graphs(report: Report) -> Table:
    """What is deployed."""
    rows = [
        [
            f"{graph.role}/{graph.path}",
            f"{graph.size_bytes / 2**20:.2f}",
            f"{graph.numbers:,}",
            giga(graph.multiply_adds),
            giga(graph.flops),
            mib(graph.activation_bytes),
            mib(graph.traffic_bytes),
        ]
        for graph in report.graphs
    ]
    return Table.of("file | MiB | numbers stored | GMACs | GFLOPs | activations, MiB | traffic, MiB", rows)


def _multiply_adds(cost: NetworkCost | None) -> int | None:
    return None if cost is None else cost.multiply_adds
