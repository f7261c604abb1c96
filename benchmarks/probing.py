"""What only a fresh process can tell: the time a client takes to start, and the memory an engine needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_STARTUP = """
import sys, time
start = time.perf_counter()
import hidemia.runtime
client = hidemia.runtime.Client.load(sys.argv[1])
seconds = time.perf_counter() - start
import json, pathlib
status = pathlib.Path("/proc/self/status").read_text().split()
print(json.dumps([seconds, int(status[status.index("VmRSS:") + 1]) / 1024]))
"""

_MEMORY = """
import sys, json, pathlib
import numpy as np
from hidemia.benchmarks.contenders import ENGINES
data, engine, threads = pathlib.Path(sys.argv[1]).read_bytes(), sys.argv[2], int(sys.argv[3])
feed = {name: np.zeros((1, int(sys.argv[4]), int(sys.argv[4]), 3), np.uint8) for name in sys.argv[5:]}
run = ENGINES[engine](data, feed, threads)
for _ in range(3):
    run()
# VmHWM, not getrusage: its ru_maxrss starts at what the parent process had when it forked.
status = pathlib.Path("/proc/self/status").read_text().split()
print(json.dumps(int(status[status.index("VmHWM:") + 1]) / 1024))
"""


def startup(client: Path) -> tuple[float, float]:
    """Import of `hidemia.runtime` and load of a client bundle: (seconds, resident MiB), the second time of two."""
    _fresh(_STARTUP, str(client))
    seconds, mib = _fresh(_STARTUP, str(client))  # type: ignore[misc]
    return seconds, mib


def peak_mib(graph: Path, engine: str, threads: int, side: int, inputs: list[str]) -> float:
    """The most resident memory of a process that loads one graph and runs it at batch 1, in MiB."""
    return float(_fresh(_MEMORY, str(graph), engine, str(threads), str(side), *inputs))  # type: ignore[arg-type]


def _fresh(code: str, *arguments: str) -> object:
    # What runs is the text above.
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)  # noqa: S603
    return json.loads(done.stdout)
