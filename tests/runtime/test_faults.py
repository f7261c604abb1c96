"""What may go wrong between a device and its server: real processes, real sockets.

Whatever it was: a typed error or the right mask, the identical photo on every attempt, no cover used twice.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time

import cv2
import httpx
import numpy as np
import pytest
from tests.wire import Wire, answer, carry, cut_answer, cut_request, reset, response, stall

from hidemia.runtime import CoverPool, ReplyError, TransportError, png
from hidemia.runtime.transport import Transport


@pytest.fixture(scope="module")
def serving(start_for_module, model):
    return start_for_module("--server", model.server)


@pytest.fixture
def wire(serving):
    wire = Wire(serving.port)
    yield wire
    wire.close()


@pytest.fixture
def pool(tmp_path, tiny, rng):
    (tmp_path / "covers").mkdir()
    (tmp_path / "covers" / "a.png").write_bytes(png.encode(tiny.photo(rng, 192, 192)))
    return CoverPool(tmp_path / "covers", warn_below=1)


def send(client, wire, pool, secret, attempts=4):
    patience_s = 1 if stall in wire.faults else 30  # so that a busy machine is no fault
    with Transport(wire.url, timeout_s=patience_s, attempts=attempts) as transport:
        return client.send(secret, transport, covers=pool)


def assert_one_photo(wire, pool, covers=1):
    """Every attempt sent the same bytes, as far as they came, and so many covers are in the ledger."""
    whole = max(wire.bodies, key=len)
    assert png.decode(whole) is not None
    assert all(whole.startswith(body) for body in wire.bodies)
    with sqlite3.connect(pool.ledger.path) as database:
        rows = database.execute("SELECT count(*), count(DISTINCT pixels), count(DISTINCT binding) FROM cover")
        assert rows.fetchone() == (covers,) * 3
    database.close()


def is_right(result, secret) -> bool:
    return bool(np.array_equal(result.mask > 0, secret[..., 0] > 128))


PASSING = {
    "reset at once": lambda wire, client: reset(client),
    "request cut after 10 bytes": cut_request(10),
    "request cut in the body": cut_request(2000),
    "no answer": cut_answer(0),
    "answer cut in its status": cut_answer(9),
    "answer cut in its headers": cut_answer(60),
    "answer cut in its body": cut_answer(1000),
    "answer cut before its last byte": cut_answer(-1),
    "stalled": stall,
    "garbage": answer(b"\x00\xff garbage \r\n\r\n"),
    "another protocol": answer(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "half a chunk": answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nab"),
    "longer than it is": answer(response(b"short", length=5000)),
    "gateway without a server": answer(response(b"", "502 Bad Gateway")),
    "gateway that gave up": answer(response(b"", "504 Gateway Timeout")),
    "busy": answer(response(b"busy", "503 Service Unavailable", Retry_After="0")),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_retried_with_the_identical_photo(client, wire, pool, tiny, fault):
    wire.faults = [fault]
    secret = tiny.secret()
    assert is_right(send(client, wire, pool, secret), secret)
    assert len(wire.bodies) == (1 if fault is PASSING["reset at once"] else 2)
    assert_one_photo(wire, pool)


def jpeg(rng, tiny) -> bytes:
    return cv2.imencode(".jpg", tiny.photo(rng))[1].tobytes()


LASTING = {
    "not http": (answer(b"garbage"), TransportError, "expected an answer, got"),
    "stalled": (stall, TransportError, "expected an answer, got ReadTimeout"),
    "busy": (answer(response(b"busy", "503 x", Retry_After="0")), TransportError, "got 503 busy; the server is busy"),
    "moved": (answer(response(b"", "302 Found", Location="http://127.0.0.1:1/")), TransportError, "got 302"),
    "moved for ever": (answer(response(b"", "308 x", Location="/v1/photos")), TransportError, "got 308"),
    "a web page": (answer(response(b"<html>", Content_Type="text/html")), TransportError, "got text/html"),
    "no tag": (answer(response(b"")), ReplyError, "expected a server of pair"),
}


@pytest.mark.parametrize(("fault", "kind", "message"), LASTING.values(), ids=LASTING.keys())
def test_what_lasts_is_an_error_and_the_same_photo_goes_out_later(client, wire, pool, tiny, fault, kind, message):
    secret = tiny.secret()
    wire.faults = [fault] * 2
    with pytest.raises(kind, match=message) as caught:
        send(client, wire, pool, secret, attempts=2)
    assert "\n" not in str(caught.value)
    wire.faults = []
    assert is_right(send(client, wire, pool, secret), secret)
    assert_one_photo(wire, pool)


def test_replies_that_must_give_no_mask(client, wire, pool, tiny, rng):
    """Each comes as a 200 with the right type and tag."""
    secret = tiny.secret()
    etag = client.manifest.etag
    other = png.encode(tiny.photo(np.random.default_rng(8)))
    head = b"POST /v1/photos HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
    others_reply = wire.ask(head % len(other) + other).partition(b"\r\n\r\n")[2]
    replies = {
        "another client's reply": (others_reply, "dB"),
        "a jpeg": (jpeg(rng, tiny), "expected a PNG, got a JPEG"),
        "nothing": (b"", "expected a PNG"),
        "text": (b"hello", "expected a PNG"),
        "another size": (tiny.png(32, 32), "32"),
        "a bomb": (tiny.png(64, 64, raw=bytes(50 << 20)), "bytes of pixel data"),
    }
    for name, (body, message) in replies.items():
        wire.faults = [answer(response(body, ETag=etag))]
        with pytest.raises(ReplyError, match=message):
            send(client, wire, pool, secret)
        assert not wire.faults, name

    def echo(wire, connection):
        sent = wire.receive(connection).partition(b"\r\n\r\n")[2]
        connection.sendall(response(sent, ETag=etag))

    def shortened(wire, connection):
        body = wire.ask(wire.receive(connection)).partition(b"\r\n\r\n")[2]
        connection.sendall(response(body, length=len(body) - 40, ETag=etag))

    for fault, message in ((echo, "got the same photo"), (shortened, "damaged")):
        wire.faults = [fault]
        with pytest.raises(ReplyError, match=message):
            send(client, wire, pool, secret)
    assert is_right(send(client, wire, pool, secret), secret)
    assert_one_photo(wire, pool)


def test_an_endless_answer(client, wire, pool, tiny):
    def endless(wire, connection):
        wire.receive(connection)
        connection.sendall(response(b"", length=10**15))
        while True:
            connection.sendall(bytes(1 << 20))

    wire.faults = [endless]
    with pytest.raises(TransportError, match="expected at most 67108864 bytes, got more"):
        send(client, wire, pool, tiny.secret())
    assert is_right(send(client, wire, pool, tiny.secret()), tiny.secret())
    assert_one_photo(wire, pool)


def test_killed_under_a_photo_and_started_again(client, start, model, pool, tiny):
    """The photo waits for company when the process dies; the next process gets the identical photo."""
    dying = start("--server", model.server, "--max-batch-size", 2, "--batch-wait-timeout-ms", 8000)
    wire = Wire(dying.port)

    def kill(wire, connection):
        import socket

        request = wire.receive(connection)
        with socket.create_connection(("127.0.0.1", wire.port)) as server:
            server.sendall(request)
            time.sleep(0.5)
            dying.kill()
        wire.port = start("--server", model.server).port
        reset(connection)

    wire.faults = [kill]
    with Transport(wire.url, timeout_s=60) as transport:
        result = client.send(tiny.secret(), transport, covers=pool)
    wire.close()
    assert is_right(result, tiny.secret())
    assert len(wire.bodies) == 2
    assert_one_photo(wire, pool)


def test_down_for_a_while_on_one_port(client, start, model, pool, tiny):
    first = start("--server", model.server)
    wire = Wire(first.port)
    assert is_right(send(client, wire, pool, tiny.secret()), tiny.secret())
    first.kill()
    with pytest.raises(TransportError, match="expected an answer"):
        send(client, wire, pool, tiny.secret(), attempts=2)
    start("--server", model.server, "--port", first.port, "--health-port", 0)
    assert is_right(send(client, wire, pool, tiny.secret()), tiny.secret())
    wire.close()
    assert_one_photo(wire, pool)


def test_replaced_by_a_server_of_another_model(client, start, wire, serving, pool, tiny, tmp_path):
    other = tiny.make_model(tmp_path / "other", pair_id="f" * 64)
    wire.port = start("--server", other.server).port
    with pytest.raises(ReplyError, match="expected a server of pair"):
        send(client, wire, pool, tiny.secret())
    assert len(wire.bodies) == 1
    wire.port = serving.port
    assert is_right(send(client, wire, pool, tiny.secret()), tiny.secret())
    assert_one_photo(wire, pool)


def test_many_secrets_over_a_bad_network(client, wire, pool, tiny):
    """Every other connection fails; every secret arrives, each in a cover of its own."""
    secrets = [np.roll(tiny.secret(), shift, axis=1) for shift in (0, 7, 14, 21)]
    wire.faults = [cut_answer(500), carry, cut_request(3000), carry, answer(b"?"), carry, cut_answer(-1)]
    for secret in secrets:
        assert is_right(send(client, wire, pool, secret), secret)
    assert len(wire.bodies) == 8
    assert len(set(wire.bodies[1::2])) == 4
    with sqlite3.connect(pool.ledger.path) as database:
        assert database.execute("SELECT count(*), count(DISTINCT binding) FROM cover").fetchone() == (4, 4)
    database.close()


def damaged(path):
    path.write_bytes(b"SQLite format 3\0" + bytes(5000))


def full(path):
    """A disk that takes nothing: SQLite makes its journal beside the ledger, and here nothing can be made."""
    path.mkdir()


@pytest.mark.parametrize("fault", [damaged, full])
def test_a_ledger_that_fails_sends_nothing(serving, model, pool, tmp_path, tiny, fault):
    """The whole command, in a process of its own: one line, exit code 1, and no photo leaves."""
    ledger = tmp_path / "own" / "hidemia" / "covers.sqlite"
    ledger.parent.mkdir(parents=True)
    fault(ledger)
    cv2.imwrite(str(tmp_path / "secret.png"), tiny.secret())
    before = serving.metrics().get("photo_batch_size_sum", 0.0)
    command = [sys.executable, "-m", "hidemia.runtime.cli", "send", "--client", model.client, "--url", serving.url]
    command += ["--secret", tmp_path / "secret.png", "--covers", pool.folder, "--out", tmp_path / "mask.png"]
    done = subprocess.run(
        list(map(str, command)),
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "own")},
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"hidemia send: {ledger}: expected a ledger of covers that can be written, got: ")
    assert not (tmp_path / "mask.png").exists()
    assert serving.metrics().get("photo_batch_size_sum", 0.0) == before


def test_the_server_outlives_all_of_it(serving):
    assert httpx.get(f"{serving.health}/healthz", trust_env=False).text == "ok"
    assert "Traceback" not in serving.log()
