from __future__ import annotations

from pathlib import Path

from hidemia.benchmarks.budgets import ROWS, table
from hidemia.benchmarks.pages import renewed

PAGE = Path(__file__).parents[2] / "docs" / "device.md"


def test_a_table_by_hand():
    figures = {name: dict.fromkeys(ROWS, 0.0123) for name in ("onnxruntime", "mine")}
    figures["mine"]["startup_mib"] = 139.6
    lines = table(figures, "A CPU, 2 threads, load 0.1 before")
    assert lines[0] == (
        "Packaged model, medians of 12 trips to a server on the same machine: A CPU, 2 threads, load 0.1 before."
    )
    assert lines[2:6] == [
        "| | ONNX Runtime | mine |",
        "|---|---|---|",
        "| import and load, not the first time | 0.01 s | 0.01 s |",
        "| memory then | 0 MiB | 140 MiB |",
    ]
    assert lines[-1] == "| PNG, HTTP and copies on top of the three engines | 1.2% | 1.2% |"
    assert len(lines) == 4 + len(ROWS)


def test_the_page_has_its_block():
    text = PAGE.read_text(encoding="utf-8")
    assert renewed(text, "budgets", table({"onnxruntime": dict.fromkeys(ROWS, 1.0)}, "m")) != text
