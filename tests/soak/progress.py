"""What has been run, with which code, and what is still to do: `soak.json`, from which `soak.md` is written."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.soak.report import markdown

ROOT = Path(__file__).parents[2]
CODE = (
    "runtime/**/*.py",
    "runtime/bundles/**/manifest.json",
    "tests/soak/*.py",
    "tests/process.py",
    "tests/runtime/conftest.py",
)

Part = Callable[[float], dict[str, Any]]


def code_sha256(root: Path = ROOT) -> str:
    """Of everything that a part runs: figures of other code are not this code's."""
    whole = hashlib.sha256()
    for file in sorted(file for pattern in CODE for file in root.glob(pattern)):
        whole.update(hashlib.sha256(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes()).digest())
    return whole.hexdigest()[:16]


def read(folder: Path) -> dict[str, Any]:
    """The parts by name; none where nothing was run yet."""
    file = folder / "soak.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def remaining(report: dict[str, Any], parts: Iterable[str], code: str, share: float) -> list[str]:
    """The parts that were not run with this code and share, or that failed."""

    def is_done(name: str) -> bool:
        part = report.get(name, {"failures": ["not run"]})
        return not part["failures"] and (part["code"], part["share"]) == (code, share)

    return [name for name in parts if not is_done(name)]


def entry(part: Part, code: str, share: float) -> dict[str, Any]:
    """Run a part, and say what a reader needs to judge its figures."""
    start = time.monotonic()
    figures = part(share)
    failures = figures.pop("failures")
    return {
        "code": code,
        "share": share,
        "machine": _machine(),
        "took_s": round(time.monotonic() - start),
        "figures": figures,
        "failures": failures,
    }


def write(folder: Path, report: dict[str, Any]) -> None:
    """Write `soak.json` and the page, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"soak.json": json.dumps(report, indent=2) + "\n", "soak.md": markdown(report)}
    for name, text in texts.items():
        partial = folder / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{names[0] if names else platform.machine()}, {cores} cores used, Python {platform.python_version()}, "
        f"{platform.system()}"
    )
