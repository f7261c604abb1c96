"""A real Ray cluster on loopback, replicas killed under load: `python -m tests.soak --only ray`.

Clients send photos with the device's own `Transport`, which resends the identical bytes. Every few seconds a replica
gets SIGKILL. Not a photo may be lost, and each reply must be what one process makes of that photo. Then the answers to
hostile requests are compared with those of the plain server, one by one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import psutil

# Read when Ray is imported: it reports to nobody, and talks to itself through loopback, as elsewhere than on Linux.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from tests.process import Process

from hidemia.runtime import Client, Server, defaults, png, scale
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.errors import HidemiaError
from hidemia.runtime.transport import Transport

TOKEN = "s3cret"
PNG = {"Content-Type": "image/png", "Authorization": f"Bearer {TOKEN}"}
PHOTOS = 8
KILL_EVERY_S = 8.0

# A batch runs the graph's other form, whose sums may round a value to the other side (docs/determinism.md).
MOST_LEVELS, MOST_SHARE = 1, 1e-4


@dataclass
class Load:
    """What the clients saw; `tries` counts what really went over the wire, by status or error."""

    done: int = 0
    other_bytes: int = 0
    wrong: int = 0
    lost: list[str] = field(default_factory=list)
    tries: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Counting(Transport):
    """The device's transport, which counts its attempts."""

    def __init__(self, url: str, load: Load) -> None:
        super().__init__(url, token=TOKEN, attempts=8)
        self.load = load

    def _post(self, photo: bytes):
        outcome = "error"
        try:
            answer = super()._post(photo)
            outcome = str(answer[0])
            return answer
        except httpx.TransportError as error:
            outcome = type(error).__name__
            raise
        finally:
            with self.load.lock:
                self.load.tries[outcome] += 1


def photos() -> tuple[list[bytes], list[bytes]]:
    """Stegos of the packaged model and the replies of one process."""
    rng = np.random.default_rng(0)
    one = EngineSettings(threads=1)
    with (
        Client.load(defaults.bundle("client"), engine=one) as client,
        Server.load(defaults.bundle("server"), engine=one) as server,
    ):
        stegos = []
        for _ in range(PHOTOS):
            y, x = np.mgrid[0:224, 0:224] / rng.uniform(5, 40, 2)[:, None, None]
            waves = np.stack([np.sin(x + phase) + np.cos(y - phase) for phase in rng.uniform(0, 6, 3)], axis=-1)
            cover = (128 + 45 * waves + rng.normal(0, 3, waves.shape)).clip(0, 255).astype(np.uint8)
            secret = rng.integers(0, 256, (224, 224, 3), np.uint8)
            stegos.append(client.hide(secret, cover))
        return [png.encode(stego) for stego in stegos], [png.encode(server.analyze(stego)) for stego in stegos]


def is_right(reply: bytes, expected: bytes) -> bool:
    """Whether a reply is the expected one but for the rounding of single values."""
    if reply == expected:
        return True
    apart = np.abs(png.decode(reply).astype(int) - png.decode(expected))
    return bool(apart.max() <= MOST_LEVELS and np.mean(apart > 0) <= MOST_SHARE)


def replicas() -> list[psutil.Process]:
    """Processes of the cluster that hold an analyzer."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::ServeReplica:"):
                found.append(process)
    return found


@contextlib.contextmanager
def cluster(port: int) -> Iterator[None]:
    """Ray with two replicas or more, on loopback alone, without its reports to anybody."""
    os.environ |= {"HIDEMIA_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
    ray.init(
        address="local",
        num_cpus=4,
        object_store_memory=100 << 20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    try:
        serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port))
        serve.run(scale.app({"min_replicas": 2, "max_replicas": 3, "queue_size": 64}))
        yield
    finally:
        serve.shutdown()
        ray.shutdown()


def work(url: str, load: Load, sent: list[bytes], expected: list[bytes], until: float, first: int) -> None:
    with Counting(url, load) as transport:
        number = first
        while time.monotonic() < until:
            start = time.monotonic()
            try:
                reply = transport.exchange(sent[number % PHOTOS], etag=ETAG)
            except HidemiaError as error:
                with load.lock:
                    load.lost.append(str(error))
            else:
                with load.lock:
                    load.done += 1
                    load.other_bytes += reply != expected[number % PHOTOS]
                    load.wrong += not is_right(reply, expected[number % PHOTOS])
                    load.seconds.append(time.monotonic() - start)
            number += 1


def kill_some(until: float, every_s: float) -> int:
    """SIGKILL one replica after the other, each time when two are there again."""
    killed = 0
    while time.monotonic() + every_s < until:
        time.sleep(every_s)
        there = replicas()
        if len(there) >= 2:
            os.kill(there[killed % len(there)].pid, signal.SIGKILL)
            killed += 1
    return killed


def surface(url: str, good: bytes) -> list[tuple]:
    """What a service answers to requests that it must refuse, and to one that it must not."""
    huge = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (20000).to_bytes(4, "big") * 2 + bytes(9)
    asked = [
        ("POST", "/v1/photos", good, PNG),
        ("POST", "/v1/photos", good, {**PNG, "Authorization": "Bearer other"}),
        ("POST", "/v1/photos", good, {"Content-Type": "image/png"}),
        ("POST", "/v1/photos", b"hello", PNG),
        ("POST", "/v1/photos", b"", PNG),
        ("POST", "/v1/photos", good[:-20], PNG),
        ("POST", "/v1/photos", huge, PNG),
        ("POST", "/v1/photos", good, {**PNG, "Content-Type": "image/jpeg"}),
        ("POST", "/v1/photos", good, {**PNG, "Content-Encoding": "gzip"}),
        ("POST", "/v1/photos", bytes(5 << 20), PNG),
        ("GET", "/v1/photos", b"", PNG),
        ("GET", "/", b"", PNG),
        ("GET", "/docs", b"", PNG),
    ]
    kept = ("content-type", "etag", "cache-control", "www-authenticate", "retry-after", "allow")
    with httpx.Client(timeout=60, trust_env=False) as http:
        answers = [
            http.request(method, url + path, content=body, headers=headers) for method, path, body, headers in asked
        ]
    return [(a.status_code, a.content, [a.headers.get(name) for name in kept]) for a in answers]


def memory_mib() -> int:
    """Resident memory of the whole cluster, without what its processes share."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            total += process.memory_full_info().pss
    return round(total / 2**20)


def connections_elsewhere() -> list[str]:
    """Connections of the whole cluster that leave this machine."""
    found = set()
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            for connection in process.net_connections("inet"):
                if connection.raddr and connection.raddr.ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1"):
                    found.add(f"{process.name()} -> {connection.raddr.ip}:{connection.raddr.port}")
    return sorted(found)


def run(
    url: str, clients: int, seconds: float, images: tuple[list[bytes], list[bytes]], kill_every_s: float = 0
) -> dict[str, Any]:
    """Clients that never pause, and replicas that die meanwhile."""
    load, until = Load(), time.monotonic() + seconds
    with ThreadPoolExecutor(clients + 1) as pool:
        killed = pool.submit(kill_some, until, kill_every_s) if kill_every_s else None
        jobs = [pool.submit(work, url, load, *images, until, number) for number in range(clients)]
        for job in jobs:
            job.result()
    times = np.array(load.seconds or [0.0]) * 1e3
    figures = {
        "seconds": round(seconds, 1),
        "photos": load.done,
        "photos_per_s": round(load.done / seconds, 1),
        "rounded_otherwise": load.other_bytes - load.wrong,
        "wrong": load.wrong,
        "lost": len(load.lost),
        "answers": dict(load.tries),
        "retries": sum(load.tries.values()) - load.done - len(load.lost),
        "p50_ms": round(float(np.percentile(times, 50))),
        "p99_ms": round(float(np.percentile(times, 99))),
        "max_ms": round(float(times.max())),
    }
    return figures | ({"killed": killed.result()} if killed else {})


def soak(*, clients: int, killing_s: float) -> dict[str, Any]:
    """One process, then a cluster undisturbed, each a third of `killing_s`, then the cluster while replicas die."""
    images = photos()
    server = Process("--threads", "2", HIDEMIA_TOKEN=TOKEN)
    try:
        plain = run(server.url, clients, killing_s / 3, images)
        plain["memory_mib"] = round(server.memory_mib())
        expected = surface(server.url, images[0][0])
    finally:
        server.stop()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, started = f"http://127.0.0.1:{port}", time.monotonic()
    with cluster(port):
        start_s, there = round(time.monotonic() - started, 1), len(replicas())
        undisturbed = run(url, clients, killing_s / 3, images)
        undisturbed["memory_mib"] = memory_mib()
        killing = run(url, clients, killing_s, images, KILL_EVERY_S)
        is_alike = surface(url, images[0][0]) == expected
        elsewhere = connections_elsewhere()
    runs = {"one_process": plain, "undisturbed": undisturbed, "killing": killing}
    failures = [f"{name}: {run[what]} {what}" for name, run in runs.items() for what in ("lost", "wrong") if run[what]]
    failures += [f"{name}: no photo came back" for name, run in runs.items() if not run["photos"]]
    failures += [f"a connection left this machine: {connection}" for connection in elsewhere]
    if not killing["killed"]:
        failures.append("no replica was killed")
    if there < 2:
        failures.append(f"{there} replicas")
    if not is_alike:
        failures.append("the cluster answers otherwise than one process")
    return {
        **runs,
        "clients": clients,
        "replicas": there,
        "start_s": start_s,
        "answers_as_one_process": is_alike,
        "connections_off_loopback": elsewhere,
        "failures": failures,
    }


with Server.load(defaults.bundle("server"), engine=EngineSettings(threads=1)) as _server:
    ETAG = _server.manifest.etag
