"""What an attacker sees, as tables: of the page on attacks and of a report."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from hidemia.benchmarks.report.findings import Attacks
from hidemia.benchmarks.report.table import Table


def controls(attacks: Attacks) -> Table:
    """What had to come out, and whether it did."""
    rows = [[c.name, c.expected, c.got, "held" if c.held else "DID NOT HOLD"] for c in attacks.controls]
    held = all(control.held for control in attacks.controls)
    rows.append(["controls", "", "", "held" if held else "did not hold"])
    return Table(["control", "expected", "got", "verdict"], rows)


def detections(attacks: Attacks) -> Table:
    """Who finds what: means over seeds, and the widest distance between two of them."""
    rows = [
        [
            row.target,
            row.knowledge,
            row.trained_on,
            row.detector,
            f"{row.pairs:,}",
            _percent(row.error),
            f"{mean(row.auc):.3f}",
            _percent(row.found),
            f"{100 * _spread(row.error):.1f}",
        ]
        for row in sorted(attacks.detections, key=lambda row: (row.knowledge == "control", row.target != "stego"))
    ]
    head = (
        "target | attacker knows | trained on | detector | pairs | error % | AUC | found % at 1 % false alarms | spread"
    )
    return Table.of(head, rows, 4)


def learned(attacks: Attacks) -> Table:
    """Error after some pairs, a row for each hider and photo."""
    counts = sorted({point.pairs for point in attacks.learned})
    lines: dict[tuple[str, str], dict[int, list[float]]] = {}
    for point in attacks.learned:
        lines.setdefault((point.hider, point.target), {})[point.pairs] = point.error
    rows = [
        [hider, target, *(_percent(errors[count]) if count in errors else "" for count in counts)]
        for (hider, target), errors in lines.items()
    ]
    head = ["hider", "photo", *(f"{count:,} pairs" for count in counts)]
    return Table(head, rows, frozenset(range(2, len(head))))


def exposures(attacks: Attacks) -> Table:
    """What is taken out, beside the same without the photo."""
    rows = [
        [found.attack, found.reveals, name, f"{value:.3g}", f"{found.beside[name]:.3g}" if name in found.beside else ""]
        for found in attacks.exposures
        for name, value in found.figures.items()
    ]
    return Table.of("attacker has | reveals | figure | got | knowing no photo", rows, 3)


def absent(attacks: Attacks) -> Table:
    """What is not there, and why."""
    return Table(["not measured", "why"], [[name, why] for name, why in attacks.absent.items()])


def _percent(shares: Sequence[float]) -> str:
    return f"{100 * mean(shares):.1f}"


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values)
