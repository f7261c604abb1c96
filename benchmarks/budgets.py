"""The budgets on the page for device engineers: `python -m hidemia.benchmarks.budgets docs/device.md` measures anew."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from hidemia.benchmarks.device import TRIPS, start_up, trips
from hidemia.benchmarks.pages import renewed
from hidemia.runtime.engine import usable_threads
from hidemia.runtime.environment import gather

ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
ROWS = {
    "startup_s": ("import and load, not the first time", "{:.2f} s"),
    "startup_mib": ("memory then", "{:.0f} MiB"),
    "peak_mib": ("memory at work, at most", "{:.0f} MiB"),
    "cover": ("take a cover, bound on the disk", "{:.0f} ms"),
    "hide": ("hide", "{:.0f} ms"),
    "encode": ("stego to PNG", "{:.1f} ms"),
    "exchange": ("there and back, the server's work included", "{:.0f} ms"),
    "decode": ("reply from PNG, checked", "{:.1f} ms"),
    "recover": ("recover", "{:.0f} ms"),
    "trip": ("the whole trip", "{:.0f} ms"),
    "overhead_share": ("PNG, HTTP and copies on top of the three engines", "{:.1%}"),
}


def table(figures: Mapping[str, Mapping[str, float]], machine: str) -> list[str]:
    """The table and the line above it.

    Args:
        figures: What `device.start_up` and `device.trips` found, by engine.
        machine: Where, and how busy it was.
    """
    lines = [
        f"Packaged model, medians of {TRIPS} trips to a server on the same machine: {machine}.",
        "",
        f"| | {' | '.join(ENGINES.get(name, name) for name in figures)} |",
        f"|---{'|---' * len(figures)}|",
    ]
    for key, (words, form) in ROWS.items():
        lines.append(f"| {words} | {' | '.join(form.format(found[key]) for found in figures.values())} |")
    return lines


def main(page: Path, backends: list[str]) -> None:
    """Measure and write the page anew."""
    text = page.read_text(encoding="utf-8")
    renewed(text, "budgets", [])  # before the work
    machine = f"{gather().cpu}, {usable_threads()} threads, load {os.getloadavg()[0]:.1f} before"
    figures = {backend: {**start_up(backend), **trips(backend)} for backend in backends}
    page.write_text(renewed(text, "budgets", table(figures, machine)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(ENGINES))
