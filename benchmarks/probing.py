"""What only a fresh process can tell: the time a client takes to start, and the memory it has then."""

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


def startup(client: Path) -> tuple[float, float]:
    """Import of `hidemia.runtime` and load of a client bundle: (seconds, resident MiB), the second time of two."""
    _fresh(_STARTUP, str(client))
    seconds, mib = _fresh(_STARTUP, str(client))  # type: ignore[misc]
    return seconds, mib


def _fresh(code: str, *arguments: str) -> object:
    # What runs is the text above.
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)  # noqa: S603
    return json.loads(done.stdout)
