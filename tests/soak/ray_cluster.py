"""A real Ray cluster on loopback, replicas killed under load: `python tests/soak/ray_cluster.py --seconds 60`.

Clients send photos with the device's own `Transport`, which resends the identical bytes. Every few seconds a replica
gets SIGKILL. Not a photo may be lost, and every reply must have the bytes that one process gives. Then the answers to
hostile requests are compared with those of the plain server, one by one. Prints its figures as JSON; 1 when they fail.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import numpy as np
import psutil
import uvicorn

# Read when Ray is imported: it reports to nobody, and talks to itself through loopback, as elsewhere than on Linux.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

import ray
from ray import serve
from ray.serve.config import HTTPOptions

from hidemia.runtime import Client, Server, defaults, png, scale
from hidemia.runtime.app import PhotoService, Settings
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.errors import HidemiaError
from hidemia.runtime.serving import listen
from hidemia.runtime.transport import Transport

TOKEN = "s3cret"
PNG = {"Content-Type": "image/png", "Authorization": f"Bearer {TOKEN}"}
PHOTOS = 8


@dataclass
class Load:
    """What the clients saw; `tries` counts what really went over the wire, by status or error."""

    done: int = 0
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
                    load.wrong += reply != expected[number % PHOTOS]
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


def plain_surface(good: bytes) -> list[tuple]:
    with (
        Server.load(defaults.bundle("server"), engine=EngineSettings(threads=1)) as server,
        listen("127.0.0.1", 0) as at,
    ):
        config = uvicorn.Config(PhotoService(server, Settings(token=TOKEN)).photos, log_config=None)
        plain = uvicorn.Server(config)
        thread = threading.Thread(target=plain.run, args=([at],))
        thread.start()
        try:
            return surface(f"http://127.0.0.1:{at.getsockname()[1]}", good)
        finally:
            plain.should_exit = True
            thread.join()


def connections_elsewhere() -> list[str]:
    """Connections of the whole cluster that leave this machine."""
    found = set()
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            for connection in process.net_connections("inet"):
                if connection.raddr and connection.raddr.ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1"):
                    found.add(f"{process.name()} -> {connection.raddr.ip}:{connection.raddr.port}")
    return sorted(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kill-every", type=float, default=8.0)
    options = parser.parse_args()
    sent, expected = photos()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, load, started = f"http://127.0.0.1:{port}", Load(), time.monotonic()
    with cluster(port):
        start_s = time.monotonic() - started
        at_start = len(replicas())
        until = time.monotonic() + options.seconds
        with ThreadPoolExecutor(options.clients + 1) as pool:
            jobs = [pool.submit(work, url, load, sent, expected, until, n) for n in range(options.clients)]
            killed = pool.submit(kill_some, until, options.kill_every)
            for job in jobs:
                job.result()
        most = len(replicas())
        outside = connections_elsewhere()
        answers = surface(url, sent[0])
    same = answers == plain_surface(sent[0])
    times = np.array(load.seconds) if load.seconds else np.zeros(1)
    retries = sum(load.tries.values()) - load.done - len(load.lost)
    report = {
        "seconds": options.seconds,
        "clients": options.clients,
        "start_s": round(start_s, 1),
        "replicas_at_start": at_start,
        "replicas_at_end": most,
        "killed": killed.result(),
        "photos": load.done,
        "photos_per_s": round(load.done / options.seconds, 1),
        "wrong_replies": load.wrong,
        "lost": len(load.lost),
        "tries": dict(load.tries),
        "retries": retries,
        "p50_ms": round(float(np.percentile(times, 50)) * 1e3),
        "p99_ms": round(float(np.percentile(times, 99)) * 1e3),
        "max_ms": round(float(times.max()) * 1e3),
        "answers_as_the_plain_server": same,
        "connections_off_loopback": outside,
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    if load.lost:
        sys.stderr.write("\n".join(load.lost[:5]) + "\n")
    if not same:
        for mine, theirs in zip(answers, plain_surface(sent[0]), strict=True):
            if mine != theirs:
                sys.stderr.write(f"{str(mine)[:300]}\n  plain: {str(theirs)[:300]}\n")
    held = (
        load.done and report["killed"] and not load.lost and not load.wrong and same and at_start >= 2 and not outside
    )
    return 0 if held else 1


with Server.load(defaults.bundle("server"), engine=EngineSettings(threads=1)) as _server:
    ETAG = _server.manifest.etag

if __name__ == "__main__":
    sys.exit(main())
