"""Clients that never pause against one server process: what is lost, how long it takes, what memory does."""

from __future__ import annotations

import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from tests.process import Process

HEADERS = {"Content-Type": "image/png"}


def load(server: Process, photos: list[tuple[bytes, bytes]], *, clients: int, seconds: float) -> dict[str, Any]:
    """Send photos from `clients` threads for `seconds`.

    Args:
        photos: Pairs of a photo and the reply that it must get, to the byte.
    """
    before, start = server.metrics(), time.monotonic()
    ends = start + seconds
    answers: list[tuple[float, float, object]] = []  # when, how long, what

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=120)
        turn = number
        while time.monotonic() < ends:
            sent, expected = photos[turn % len(photos)]
            turn += 1
            began = time.monotonic()
            try:
                connection.request("POST", "/v1/photos", sent, HEADERS)
                answer = connection.getresponse()
                body, what = answer.read(), answer.status
                if what == 200 and body != expected:
                    what = "another reply"
                elif what == 503 and not answer.headers["Retry-After"]:
                    what = "503 without Retry-After"
            except (http.client.HTTPException, OSError) as error:
                what = type(error).__name__
                connection.close()
            answers.append((began - start, time.monotonic() - began, what))  # under the interpreter's lock
            if what == 503:
                time.sleep(0.05)  # sooner than Retry-After says: it must hold all the same
        connection.close()

    memory: list[tuple[float, float]] = []
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(1.0):
            memory.append((time.monotonic() - start, server.memory_mib()))

    with ThreadPoolExecutor(clients + 1) as pool:
        watching = pool.submit(watch)
        for done in [pool.submit(client, number) for number in range(clients)]:
            done.result()
        finished.set()
        watching.result()
    return _summary(answers, memory, before, server.metrics(), time.monotonic() - start, clients)


def _summary(answers, memory, before, after, took_s, clients) -> dict[str, Any]:
    def grew(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    good = sorted(took for _, took, what in answers if what == 200)
    busy = sum(what == 503 for *_, what in answers)
    others = sorted({str(what) for *_, what in answers if what not in (200, 503)})
    fifth = took_s / 5  # of five minutes, a minute
    second, last = ([mib for at, mib in memory if i * fifth <= at < (i + 1) * fifth] or [memory[-1][1]] for i in (1, 4))
    second_mib, last_mib = sum(second) / len(second), sum(last) / len(last)
    failures = [f"got {other}" for other in others]
    # What the engine ran is what was accepted.
    accepted = int(grew("photo_batch_size_sum"))
    if accepted != len(good):
        failures.append(f"{accepted} were accepted, {len(good)} answered")
    if abs(last_mib / second_mib - 1) > 0.05:
        failures.append(f"memory went from {second_mib:.0f} to {last_mib:.0f} MiB")
    return {
        "clients": clients,
        "seconds": round(took_s, 1),
        "accepted": accepted,
        "answered_200": len(good),
        "answered_503": busy,
        "photos_per_s": round(len(good) / took_s, 2),
        **{f"p{share}_ms": round(1e3 * good[len(good) * share // 100]) for share in (50, 95, 99) if good},
        "server_cpu_ms_per_photo": round(1e3 * grew("process_cpu_seconds_total") / max(accepted, 1), 1),
        "resident_second_fifth_mib": round(second_mib, 1),
        "resident_last_fifth_mib": round(last_mib, 1),
        "failures": failures,
    }
