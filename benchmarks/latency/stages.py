"""The trip of one scan, split: what each stage takes, on the device, on the wire and on the server."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

import cv2
import httpx

from hidemia.benchmarks.device import sheet
from hidemia.benchmarks.report.measurements import Stage
from hidemia.runtime import Client, CoverPool, photo
from hidemia.runtime.demo.landscape import photo as landscape
from hidemia.runtime.demo.process import watched
from hidemia.runtime.demo.scan import simulate
from hidemia.runtime.transport import Transport

SCAN_PX = 640
WARM_UP = 3

PLACES = {
    "read the scan": "device",
    "scale": "device",
    "cover": "device",
    "hide": "device",
    "encode the stego": "device",
    "HTTP": "wire",
    "decode the stego": "server",
    "queue": "server",
    "analyze": "server",
    "encode the reply": "server",
    "decode the reply": "device",
    "recover": "device",
    "rest": "device",
}
"""Every stage in the order of the trip, and where it passes. The rest is what no stage accounts for."""


class Trips:
    """A device and a server process on loopback, ready for `count` trips of one scan each.

    Args:
        client: Client bundle.
        server: Server bundle.
        count: Most trips that will be made; the cover pool holds as many.
    """

    def __init__(self, client: Path, server: Path, count: int) -> None:
        self._stack = contextlib.ExitStack()
        self._number = 0
        try:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            self.client = self._stack.enter_context(Client.load(client))
            size = self.client.image_size_px
            cv2.imwrite(str(folder / "covers.png"), sheet(landscape(0, size), count))
            self._covers = CoverPool(folder, folder / "ledger.sqlite", warn_below=0)
            self._scan = folder / "scan" / "scan.png"
            self._scan.parent.mkdir()
            self._audit = folder / "audit.jsonl"
            serve = (sys.executable, "-m", "hidemia.runtime.cli", "serve", "--server", str(server))
            url, self._health = self._stack.enter_context(watched((*serve, "--audit-log", str(self._audit))))
            self._carrier = self._stack.enter_context(Transport(url))
            self._http = self._stack.enter_context(httpx.Client(trust_env=False))
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Trips:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def one(self) -> dict[str, float]:
        """Make a trip: milliseconds by stage, as in `PLACES`."""
        cv2.imwrite(str(self._scan), simulate(self._number, SCAN_PX).image)  # a scan of its own
        self._number += 1
        engine_before_s = engine_seconds(self._http.get(f"{self._health}/metrics").text)
        start = perf_counter()
        scan = photo.load(self._scan)
        read = perf_counter()
        scaled = photo.fit(scan, self.client.image_size_px)
        fitted = perf_counter()
        result = self.client.send(scaled, self._carrier, covers=self._covers)
        done = perf_counter()
        engine_s = engine_seconds(self._http.get(f"{self._health}/metrics").text) - engine_before_s
        before = {"read the scan": (read - start) * 1e3, "scale": (fitted - read) * 1e3}
        visit = json.loads(self._audit.read_text().splitlines()[-1])["stages_ms"]
        return split(before, result.timings_ms, visit, engine_s * 1e3, (done - start) * 1e3)


def stages(trips: Trips, count: int) -> list[Stage]:
    """Make trips, the first few of which do not count."""
    rows = [trips.one() for _ in range(WARM_UP + count)][WARM_UP:]
    return [
        Stage(name=name, place=place, times_ms=[round(row[name], 3) for row in rows])  # type: ignore[arg-type]
        for name, place in PLACES.items()
    ]


def split(
    before_ms: Mapping[str, float],
    device_ms: Mapping[str, float],
    visit_ms: Mapping[str, float],
    engine_ms: float,
    total_ms: float,
) -> dict[str, float]:
    """One trip by stage; the stages add up to the whole.

    Args:
        before_ms: Reading and scaling.
        device_ms: `Result.timings_ms`.
        visit_ms: The server's stages, from its audit log.
        engine_ms: The engine's part of the server's `analyze`; the rest of that was spent in the queue.
        total_ms: By the device's clock.
    """
    server = {
        "decode the stego": visit_ms["decode"],
        "queue": visit_ms["analyze"] - engine_ms,
        "analyze": engine_ms,
        "encode the reply": visit_ms["encode"],
    }
    found = {
        **before_ms,
        "cover": device_ms["cover"],
        "hide": device_ms["hide"],
        "encode the stego": device_ms["encode"],
        "HTTP": device_ms["exchange"] - sum(server.values()),
        **server,
        "decode the reply": device_ms["decode"],
        "recover": device_ms["recover"],
    }
    return {**found, "rest": total_ms - sum(found.values())}


def engine_seconds(metrics: str) -> float:
    """All time in the server's engine since it started, from its Prometheus text."""
    found = re.search(r"^photo_engine_seconds_sum (\S+)$", metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0
