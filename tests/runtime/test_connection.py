from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
import time

import uvicorn

from hidemia.runtime.connection import Connection
from hidemia.runtime.serving import listen

PATIENCE_S = 0.4


@contextlib.contextmanager
def serving(app):
    config = uvicorn.Config(app, http=functools.partial(Connection, patience_s=PATIENCE_S), log_config=None, ws="none")
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield listening.getsockname()
        server.should_exit = True
        thread.join()


def connect(address) -> socket.socket:
    return socket.create_connection(address, timeout=10)


async def answer(send, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def huge(scope, receive, send):
    if scope["type"] == "http":
        await answer(send, bytes(32 << 20))


def test_who_reads_nothing_is_let_go(caplog):
    with serving(huge) as address, connect(address) as deaf:
        deaf.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while "read no answer in 0.4 s" not in caplog.text:
            time.sleep(0.02)
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while part := deaf.recv(1 << 20):
                got += len(part)
        assert got < 32 << 20


def test_who_reads_slowly_is_served():
    with serving(huge) as address, connect(address) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        got = 0
        while got < 32 << 20:
            part = slow.recv(1 << 20)
            assert part
            got += len(part)
            time.sleep(0.002)


def test_what_is_sent_ahead_waits_outside():
    """However much a caller pipelines, the server's memory holds one request; and all are answered in order."""
    seen = []

    async def counting(scope, receive, send):
        if scope["type"] != "http":
            return
        number = len(seen)
        seen.append((await receive())["body"])
        gone = asyncio.ensure_future(receive())  # as the service does, to notice a caller that leaves
        await asyncio.wait({gone}, timeout=1.0 if number == 0 else 0.001)
        gone.cancel()
        await answer(send, b"%04d" % number)

    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + bytes(100)
    with serving(counting) as address, connect(address) as eager:
        eager.setblocking(False)
        sent, until = 0, time.monotonic() + 0.5
        block = request * 2000
        while time.monotonic() < until and sent < 64 << 20:
            with contextlib.suppress(BlockingIOError):
                sent += eager.send(block[sent % len(request) :])
        assert sent < 32 << 20  # what kernels hold, no more
        eager.setblocking(True)
        eager.settimeout(10)
        text = b""
        while text.count(b"HTTP/1.1 200") < 50:
            text += eager.recv(1 << 16)
        assert [text.find(b"%04d" % n) for n in range(50)] == sorted(text.find(b"%04d" % n) for n in range(50))
    assert {len(body) for body in seen[:50]} == {100}
