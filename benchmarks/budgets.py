"""The budgets on the page for device engineers: `python -m hidemia.benchmarks.budgets docs/device.md` measures anew."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from hidemia.benchmarks.device import TRIPS, measured
from hidemia.benchmarks.pages import opened, renewed
from hidemia.runtime.engine import usable_threads
from hidemia.runtime.environment import gather
from hidemia.training.errors import one_line

PROG = "python -m hidemia.benchmarks.budgets"
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
        figures: What `device.measured` found, by engine.
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


@one_line(PROG)
def main(arguments: list[str]) -> int:
    """Measure what a device spends and write it between the marks of a page."""
    parser = argparse.ArgumentParser(prog=PROG, description=main.__doc__)
    parser.add_argument("page", type=Path, help="such as docs/device.md")
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help=f"(default: {' '.join(ENGINES)})")
    options = parser.parse_args(arguments)
    text = opened(options.page, "budgets")
    machine = f"{gather().cpu}, {usable_threads()} threads, load {os.getloadavg()[0]:.1f} before"
    figures = measured(options.engines or list(ENGINES))
    options.page.write_text(renewed(text, "budgets", table(figures, machine)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
