"""Bad input against a live server process, and against the manifest reader."""

from __future__ import annotations

import collections
import contextlib
import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from tests.process import Process
from tests.soak.manifests import mutate
from tests.soak.pngs import Mutant, mutant, seed
from tests.soak.requests import request

from hidemia.runtime import BundleError
from hidemia.runtime import manifest as reader

THREADS = 8
MAX_MIB = 400
REFUSED = {400, 413, 415}
STATUSES = {200, 400, 404, 405, 408, 413, 415, 431, 503}
STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) ")

Check = Callable[[Mutant, bytes], bool]


class Findings:
    """What happened, counted, and what must not happen, by number so that it can be repeated."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self._lock = threading.Lock()

    def add(self, kind: str, outcome: object, failure: str = "") -> None:
        with self._lock:
            self.counts[f"{kind}: {outcome}"] += 1
            if failure and len(self.failures) < 50:
                self.failures.append(failure)


def fuzz(
    server: Process, *, size: int, pngs: int, requests: int, manifests: int, manifest: bytes, accepted_share: float,
    check: Check,
) -> dict[str, Any]:  # fmt: skip
    """Send mutants number 0 to N of each sort.

    Args:
        size: Side of the server's photos.
        pngs: Mutated PNGs over HTTP.
        requests: Mutated requests over sockets.
        manifests: Mutations of `manifest` for the reader.
        accepted_share: Of the PNGs, at least so many must reach the engine.
        check: Whether a reply is the right one.
    """
    findings = Findings()
    before = server.metrics().get("photo_batch_size_sum", 0.0)
    seeds = [seed(number, size) for number in range(6)]
    repaired = _send_pngs(server, range(pngs), seeds, accepted_share, check, findings)
    reached = server.metrics()["photo_batch_size_sum"] - before
    _send_requests(server, range(requests), seeds[0].data, findings)
    _read_manifests(range(manifests), manifest, findings)
    if not server.is_alive:
        findings.failures.append("the server died")
    elif server.metrics()["photos_waiting"]:
        findings.failures.append("photos were left in the queue")
    if "Traceback" in server.log():
        findings.failures.append("a traceback is in the log")
    peak_mib = server.memory_mib("VmHWM")
    if peak_mib >= MAX_MIB:
        findings.failures.append(f"resident memory rose to {peak_mib:.0f} MiB")
    return {
        "pngs": pngs,
        "pngs_repaired": repaired,
        "pngs_that_reached_the_engine": int(reached),
        "requests": requests,
        "manifests": manifests,
        "peak_resident_mib": round(peak_mib, 1),
        "outcomes": dict(sorted(findings.counts.items())),
        "failures": findings.failures,
    }


def _in_threads(numbers: Iterable[int], work: Callable[[Iterable[int]], None]) -> None:
    """Let each thread take the next number until none is left."""
    source, lock = iter(numbers), threading.Lock()

    def taken() -> Iterable[int]:
        for _ in count():
            with lock:
                number = next(source, None)
            if number is None:
                return
            yield number

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, taken()) for _ in range(THREADS)]:
            done.result()


def _send_pngs(server, numbers, seeds, accepted_share, check, findings) -> int:
    address = urlsplit(server.url).netloc
    repaired = collections.Counter()

    def work(mine: Iterable[int]) -> None:
        connection = http.client.HTTPConnection(address, timeout=120)
        for number in mine:
            one = mutant(number, seeds, accepted_share)
            repaired[one.repaired] += 1  # under the interpreter's lock
            try:
                connection.request("POST", "/v1/photos", one.data, {"Content-Type": "image/png"})
                answer = connection.getresponse()
                status, body = answer.status, answer.read()
            except (http.client.HTTPException, OSError) as error:
                findings.add("png", type(error).__name__, f"png {number} ({one.kind}): {error!r}")
                connection.close()
                continue
            right = {"accept": {200}, "refuse": REFUSED, "either": REFUSED | {200}}[one.verdict]
            failure = ""
            if status not in right or b"Traceback" in body:
                failure = f"png {number} ({one.kind}): expected {one.verdict}, got {status} {body[:80]!r}"
            elif status == 200 and not check(one, body):
                failure = f"png {number} ({one.kind}): a wrong reply"
            findings.add("png", status, failure)
        connection.close()

    _in_threads(numbers, work)
    return repaired[True]


def _send_requests(server, numbers, photo, findings) -> None:
    def work(mine: Iterable[int]) -> None:
        for number in mine:
            answer = _raw(server.port, request(number, photo))
            statuses = [int(status) for status in STATUS_LINE.findall(answer)] or ["nothing"]
            wrong = set(statuses) - STATUSES - {"nothing", 100}
            failure = ""
            if wrong or b"Traceback" in answer or (answer and not STATUS_LINE.match(answer)):
                failure = f"request {number}: {answer[:120]!r}"
            findings.add("request", statuses[0], failure)

    _in_threads(numbers, work)


def _raw(port: int, data: bytes) -> bytes:
    """Send bytes, and read until the server says no more for a moment."""
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 30) as connection:
        with contextlib.suppress(OSError):  # it may have closed already, having answered
            connection.sendall(data)
        connection.settimeout(0.3)
        with contextlib.suppress(TimeoutError, socket.timeout):
            while part := connection.recv(1 << 16):
                answer += part
                connection.settimeout(0.02)
    return answer


def _read_manifests(numbers: Iterable[int], good: bytes, findings: Findings) -> None:
    """A mutated manifest is read or refused, and what is read can be written and read again."""
    for number in numbers:
        outcome, failure = "refused", ""
        try:
            manifest = reader.load(mutate(number, good))
            outcome = "read"
            if reader.load(reader.dump(manifest)) != manifest:
                failure = f"manifest {number}: another one after writing and reading"
        except BundleError as error:
            if "\n" in str(error):
                failure = f"manifest {number}: an error of several lines"
        except Exception as error:
            failure = f"manifest {number}: {error!r}"
        findings.add("manifest", outcome, failure)
