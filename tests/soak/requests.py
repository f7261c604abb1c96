"""Mutated HTTP requests, as bytes for a socket. The same seed gives the same bytes."""

from __future__ import annotations

import random

TOKENS = [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE", b"post", b"P\x00ST", b"", b"A" * 3000]
TARGETS = [
    b"/v1/photos",
    b"/v1/photos?x=1",
    b"/v1/photos/../../etc/passwd",
    b"/%2e%2e/%2e%2e/etc/passwd",
    b"//v1//photos",
    b"/metrics",
    b"/healthz",
    b"*",
    b"http://other/v1/photos",
    b"/\xff\xfe",
    b"/%00",
    b"/" + b"a" * 20000,
    b"",
]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9999999999.1", b"http/1.1", b""]
HEADERS = [
    (b"Content-Type", b"image/png"),
    (b"content-type", b"image/png; charset=\xff"),
    (b"Content-Type", b"multipart/form-data; boundary=x"),
    (b"Content-Length", b"-1"),
    (b"Content-Length", b"99999999999999999999999999"),
    (b"Content-Length", b"0"),
    (b"Content-Length", b"5, 5"),
    (b"Content-Length", b"0x10"),
    (b"Transfer-Encoding", b"chunked"),
    (b"Transfer-Encoding", b"gzip, chunked"),
    (b"Transfer-Encoding", b"\x0bchunked"),
    (b"Content-Encoding", b"gzip"),
    (b"Connection", b"keep-alive, upgrade"),
    (b"Connection", b"close"),
    (b"Upgrade", b"websocket"),
    (b"Upgrade", b"h2c"),
    (b"HTTP2-Settings", b"AAMAAABkAARAAAAAAAIAAAAA"),
    (b"Expect", b"100-continue"),
    (b"Expect", b"200-ok"),
    (b"Authorization", b"Bearer \xc3\xa9"),
    (b"Authorization", b"Basic " + b"A" * 5000),
    (b"X-Forwarded-For", b"127.0.0.1"),
    (b"X-Request-Id", b"a\r\nSet-Cookie: b=c"),
    (b"Range", b"bytes=0-9999999999"),
    (b"", b"no name"),
    (b"Bad Name", b"x"),
    (b"X", b"folded\r\n more"),
    (b"X\x00", b"\x00"),
    (b"Host", b"a"),
    (b"Cookie", b"a" * 17000),
]


def request(number: int, photo: bytes) -> bytes:
    """Request `number`: structure first, bytes afterwards."""
    r = random.Random(number)
    method = r.choice(TOKENS) if r.random() < 0.2 else b"POST"
    target = r.choice(TARGETS) if r.random() < 0.2 else b"/v1/photos"
    version = r.choice(VERSIONS) if r.random() < 0.15 else b"HTTP/1.1"
    headers = [(b"Host", b"a")] if r.random() < 0.9 else []
    headers += [r.choice(HEADERS) for _ in range(r.choice([0, 0, 1, 1, 2, 2, 4, 100]))]
    body = r.choice([b"", b"hello", photo, photo[: r.randrange(len(photo))], r.randbytes(r.randint(0, 2000))])
    match r.randrange(4):
        case 0:
            headers += [(b"Content-Type", b"image/png"), (b"Content-Length", str(len(body)).encode())]
        case 1:
            claimed = max(0, len(body) + r.randint(-20, 20))
            headers += [(b"Content-Type", b"image/png"), (b"Content-Length", str(claimed).encode())]
        case 2:
            headers += [(b"Content-Type", b"image/png"), (b"Transfer-Encoding", b"chunked")]
            body = chunked(r, body)
    r.shuffle(headers)
    lines = [b" ".join([method, target, version]), *(name + b": " + value for name, value in headers)]
    end = r.choice([b"\n", b"\r"]) if r.random() < 0.05 else b"\r\n"
    data = end.join(lines) + end + end + body
    return data * r.choice([1, 1, 1, 2, 3]) if r.random() < 0.2 else _flip(r, data)


def chunked(r: random.Random, body: bytes) -> bytes:
    """Chunked coding, often wrong."""
    parts, at = [], 0
    while at < len(body):
        step = r.choice([1, 7, 1000, 1 << 16])
        piece = body[at : at + step]
        parts.append(b"%x\r\n" % (len(piece) + r.choice([0] * 30 + [1, -1, 1 << 40])) + piece + b"\r\n")
        at += step
        if len(parts) > 300:
            break
    return b"".join(parts) + r.choice([b"0\r\n\r\n", b"0\r\n\r\n", b"", b"0\r\nX: y\r\n\r\n", b"-1\r\n", b"g\r\n"])


def _flip(r: random.Random, data: bytes) -> bytes:
    if r.random() < 0.8:
        return data
    changed = bytearray(data)
    for _ in range(r.randint(1, 6)):
        changed[r.randrange(min(len(changed), 400))] = r.randrange(256)
    return bytes(changed)
