"""What a device spends: start-up, memory, the parts of a trip. `python -m hidemia.benchmarks.device [ENGINE]`."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hidemia.runtime import Client, CoverPool, Server, defaults
from hidemia.runtime.demo.landscape import photo as landscape
from hidemia.runtime.demo.process import running
from hidemia.runtime.demo.scan import simulate
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.transport import Transport
from hidemia.training.errors import one_line

PROG = "python -m hidemia.benchmarks.device"
TRIPS = 12
STARTS = 3

_START = """
import time; start = time.perf_counter()
import json, pathlib, sys
from hidemia.runtime import Client, defaults
from hidemia.runtime.engine import EngineSettings
client = Client.load(defaults.bundle("client"), engine=EngineSettings(backend=sys.argv[1]))
took_s = time.perf_counter() - start
pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
print(json.dumps({"startup_s": took_s, "startup_mib": pages * 4096 / 2**20}))
"""

_WORK = """
import json, pathlib, sys
import numpy as np
from hidemia.runtime import Client, defaults
from hidemia.runtime.engine import EngineSettings
with Client.load(defaults.bundle("client"), engine=EngineSettings(backend=sys.argv[1])) as client:
    photo = np.zeros((client.image_size_px, client.image_size_px, 3), np.uint8)
    for _ in range(3):
        client.probability(client.hide(photo, photo), sent=photo)
# VmHWM, not getrusage: its ru_maxrss starts at what the parent process had when it forked.
status = pathlib.Path("/proc/self/status").read_text().split()
print(json.dumps({"peak_mib": int(status[status.index("VmHWM:") + 1]) / 1024}))
"""


def start_up(backend: str) -> dict[str, float]:
    """Import and load in fresh processes, the first of which does not count; and the peak of one that works. Linux."""
    runs = [_fresh(_START, backend) for _ in range(STARTS + 1)][1:]
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]} | _fresh(_WORK, backend)


def _fresh(code: str, backend: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", code, backend], check=True, capture_output=True, text=True)  # noqa: S603
    found: dict[str, float] = json.loads(done.stdout)
    return found


def trips(backend: Any) -> dict[str, float]:
    """Medians of one trip's parts in ms through a server process on loopback, and what comes on top of the engines."""
    settings = EngineSettings(backend=backend)
    serve = (sys.executable, "-m", "hidemia.runtime.cli", "serve", "--engine", backend)
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Client.load(defaults.bundle("client"), engine=settings) as client,
        Server.load(defaults.bundle("server"), engine=settings) as server,
        running(serve) as url,
        Transport(url) as carrier,
    ):
        size = client.image_size_px
        cover = landscape(0, size)
        cv2.imwrite(f"{folder}/a.png", sheet(cover, TRIPS + 2))
        covers = CoverPool(folder, Path(folder) / "ledger.sqlite", warn_below=0)
        for number in range(TRIPS + 2):
            scan = np.repeat(simulate(number, size).image[..., None], 3, axis=2)
            start = perf_counter()
            result = client.send(scan, carrier, covers=covers)
            trip_ms = (perf_counter() - start) * 1e3
            stego = client.hide(scan, cover)
            start = perf_counter()
            server.analyze(stego)  # the same engine as the server's, which idles now
            rows.append({**result.timings_ms, "analyze": (perf_counter() - start) * 1e3, "trip": trip_ms})
    found = {name: statistics.median(row[name] for row in rows[2:]) for name in rows[0]}
    engines = found["hide"] + found["analyze"] + found["recover"]
    share = statistics.median(
        (row["trip"] - row["cover"]) / (row["hide"] + row["analyze"] + row["recover"]) - 1 for row in rows[2:]
    )
    return {**found, "engines": engines, "overhead_share": share}


def sheet(cover: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """A photo side by side (S, S, 3) -> (S, count S, 3), each tile a level brighter: no two are the same cover."""
    side = cover.shape[0]
    marks = np.repeat(np.arange(count, dtype=np.uint8), side)[None, :, None]
    return np.asarray(np.tile(cover, (1, count, 1)) // 2 + marks, dtype=np.uint8)


def measured(backends: list[str]) -> dict[str, dict[str, float]]:
    """What each engine costs, by its name.

    Raises:
        EngineError: no such engine, or it is not installed.
    """
    for backend in backends:  # here, where it is one line, before a process of its own dies of it
        Client.load(defaults.bundle("client"), engine=EngineSettings(backend=backend)).close()  # type: ignore[arg-type]
    return {backend: {**start_up(backend), **trips(backend)} for backend in backends}


@one_line(PROG)
def main(arguments: list[str]) -> int:
    """Print what a device spends in each engine: start-up, memory, the parts of a trip."""
    parser = argparse.ArgumentParser(prog=PROG, description=main.__doc__)
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help="(default: onnxruntime openvino)")
    for backend, found in measured(parser.parse_args(arguments).engines or ["onnxruntime", "openvino"]).items():
        for name, value in found.items():
            sys.stdout.write(f"{backend:12} {name:16} {value:10.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
