"""What only a fresh process can tell: the time a client takes to start, and the memory it has then."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

STARTS = 5
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


def startup(client: Path) -> tuple[list[float], list[float]]:
    """Import of `hidemia.runtime` and load of a client bundle: seconds and resident MiB of `STARTS`, after a first."""
    _, *found = (_fresh(_STARTUP, str(client)) for _ in range(1 + STARTS))
    seconds, mib = zip(*found, strict=True)
    return list(seconds), list(mib)


def _fresh(code: str, *arguments: str) -> list[float]:
    # What runs is the text above.
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)  # noqa: S603
    found: list[float] = json.loads(done.stdout)
    return found
