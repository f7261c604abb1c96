"""`soak.json` as a page."""

from __future__ import annotations

from typing import Any

TITLES = {
    "fuzz": "Bad input, a small model that every reply is checked against",
    "fuzz_packaged": "Bad input, the packaged model",
    "load": "Load: clients that never pause",
    "overload": "Overload: more clients than the queue takes",
}


def markdown(report: dict[str, Any]) -> str:
    """The page, from the report alone."""
    machine = report["machine"]
    lines = [
        "# Soak",
        "",
        "<!-- written by: make soak -->",
        "",
        f"    {report['command']}",
        "",
        (
            f"{machine['cpu']}, {machine['cores']} cores used, Python {machine['python']}, {machine['system']}. "
            "Server and clients share the cores. "
            "Each half can be run alone with --only fuzz or --only load, as these were."
        ),
    ]
    for name, title in TITLES.items():
        if name in report:
            lines += ["", f"## {title}", "", *_table(report[name])]
    return "\n".join(lines) + "\n"


def _table(section: dict[str, Any]) -> list[str]:
    rows = [(key.replace("_", " "), value) for key, value in section.items() if key not in ("outcomes", "failures")]
    rows += sorted(section.get("outcomes", {}).items())
    rows.append(("failures", "; ".join(section["failures"]) or "none"))
    return ["| what | measured |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)]
