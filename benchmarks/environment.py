"""The machine that figures were taken on: what a reader needs to judge them."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from hidemia.benchmarks.report.document import Environment
from hidemia.runtime.environment import gather, package_version

PACKAGES = ("hidemia", "onnxruntime", "openvino", "numpy", "torch")


def environment(threads: int, root: Path = Path("/")) -> Environment:
    """Look at this machine.

    Args:
        threads: Of one run.
        root: The folder that stands for `/`.
    """
    found = gather(root)
    memory = _first(root / "proc/meminfo").split()
    versions = {name: version for name in PACKAGES if (version := package_version(name))}
    return Environment(
        processor=found.cpu,
        machine=found.architecture,
        cores=found.cores,
        memory_mib=int(memory[1]) // 1024 if len(memory) > 1 else None,
        os=numbered(found.os),
        python=platform.python_version(),
        versions=versions,
        gpus=[gpu.name for gpu in found.gpus],
        governor=_first(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
        threads=threads,
        load_before=round(os.getloadavg()[0], 2),
    )


def numbered(system: str) -> str:
    """`Linux 6.8.0-45-generic` -> `Linux 6.8`: what follows tells whose machine it is, and decides no figure."""
    return re.sub(r"(\d+\.\d+)\S*", r"\1", system)


def _first(file: Path) -> str:
    """A file's first line; nothing where it cannot be read."""
    try:
        return file.read_text().splitlines()[0].strip()
    except (OSError, IndexError):
        return ""
