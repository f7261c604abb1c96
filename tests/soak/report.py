"""`soak.json` as a page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

TITLES = {
    "fuzz_small": "Bad input, a small model that every reply is checked against",
    "fuzz_packaged": "Bad input, the packaged model",
    "load": "Load: clients that never pause",
    "overload": "Overload: more clients than the queue takes",
    "ray": "Ray: replicas that are killed under load",
}
RUNS = {"one_process": "one process", "undisturbed": "Ray", "killing": "Ray, replicas killed"}
UNITS = {"mib": "MiB", "ms": "ms", "s": "s"}


def markdown(report: dict[str, Any]) -> str:
    """The page, from the report alone."""
    lines = [
        "# Soak",
        "",
        "<!-- written by: make soak -->",
        "",
        "    make soak                               # all of it, about 45 minutes on two idle cores",
        "    make soak SHARE=0.02 OUT=build/soak     # a fiftieth of every count and duration, in a few minutes",
        "",
        "Real server processes; server and clients share the cores. A part that was run with this very code is not run",
        "again, so a run that was cut off goes on where it was. What each part does: `tests/soak/parts.py`.",
    ]
    for name, title in TITLES.items():
        if name in report:
            lines += ["", f"## {title}", "", *_part(report[name])]
    return "\n".join(lines) + "\n"


def _part(part: dict[str, Any]) -> list[str]:
    share = "" if part["share"] == 1 else f" {part['share']:g} of the counts and durations alone."
    figures = dict(part["figures"])
    runs = {title: figures.pop(name) for name, title in RUNS.items() if name in figures}
    outcomes = figures.pop("outcomes", {})
    rows = [(_words(name), _value(value)) for name, value in figures.items()]
    rows += [(name, _value(count)) for name, count in sorted(outcomes.items())]
    rows.append(("failures", "; ".join(part["failures"]) or "none"))
    lines = [f"{part['machine']}; {part['took_s']} s.{share}", ""]
    if runs:
        names = list(dict.fromkeys(name for run in runs.values() for name in run))
        lines += _table(["", *runs], ((_words(n), *(_value(run.get(n)) for run in runs.values())) for n in names))
        lines.append("")
    return [*lines, *_table(["what", "measured"], rows)]


def _table(head: list[str], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [tuple(head), tuple("---" for _ in head), *rows]]


def _words(name: str) -> str:
    """`p99_ms` -> `p99, ms`."""
    words, _, unit = name.rpartition("_")
    if words and unit in UNITS and not words.endswith("per"):
        return f"{words.replace('_', ' ')}, {UNITS[unit]}"
    return name.replace("_", " ")


def _value(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{count} x {name}" for name, count in sorted(value.items())) or "none"
        case list():
            return "; ".join(value) or "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
