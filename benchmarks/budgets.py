"""The budgets on the page for device engineers: `python -m hidemia.benchmarks.budgets docs/device.md` measures anew."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from hidemia.benchmarks.device import TRIPS, start_up, trips
from hidemia.runtime.engine import usable_threads
from hidemia.runtime.environment import gather

BEGIN, END = "<!-- budgets: python -m hidemia.benchmarks.budgets docs/device.md -->", "<!-- end of budgets -->"

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


def block(figures: Mapping[str, Mapping[str, float]], machine: str) -> str:
    """The table between its marks.

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
    return "\n".join([BEGIN, "", *lines, "", END])


def renewed(page: str, fresh: str) -> str:
    """The page with another block in the place of its own.

    Raises:
        ValueError: It has no such place.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected a page with {BEGIN} and {END}, got one without; put them where the table belongs")
    return before + fresh + after


def main(page: Path, backends: list[str]) -> None:
    """Measure and write the page anew."""
    text = page.read_text(encoding="utf-8")
    renewed(text, "")  # before the work
    machine = f"{gather().cpu}, {usable_threads()} threads, load {os.getloadavg()[0]:.1f} before"
    figures = {backend: {**start_up(backend), **trips(backend)} for backend in backends}
    page.write_text(renewed(text, block(figures, machine)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(ENGINES))
