from __future__ import annotations

import contextlib
import logging
import select
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import httpx
import numpy as np
import pytest

from hidemia.runtime import EngineError, png
from hidemia.runtime.app import PhotoService, Settings

PNG = {"Content-Type": "image/png"}


class Slow:
    """A server whose engine waits for `gate`, to see what happens meanwhile."""

    def __init__(self, server):
        self.manifest, self.image_size_px = server.manifest, server.image_size_px
        self._server = server
        self.gate, self.entered, self.sizes = threading.Event(), threading.Event(), []

    def analyze(self, photos):
        self.sizes.append(len(photos))
        self.entered.set()
        assert self.gate.wait(60)
        return self._server.analyze(photos)


@pytest.fixture
def http():
    with httpx.Client(timeout=60, trust_env=False) as http:
        yield http


@pytest.fixture
def body(tiny, rng) -> bytes:
    return png.encode(tiny.photo(rng))


def post(http, url, body, headers=PNG):
    return http.post(f"{url}/v1/photos", content=body, headers=headers)


def test_one_photo(http, service_url, server, body):
    answer = post(http, service_url, body)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["etag"] == server.manifest.etag
    assert "server" not in answer.headers or answer.headers["server"] == "uvicorn"
    assert np.array_equal(png.decode(answer.content), server.analyze(png.decode(body)))
    assert post(http, service_url, body).content == answer.content


def hostile(tiny, rng) -> dict[str, tuple[bytes, dict, int, str]]:
    good = png.encode(tiny.photo(rng))
    jpeg = cv2.imencode(".jpg", tiny.photo(rng))[1].tobytes()
    return {
        "text": (b"hello", PNG, 400, "unreadable image"),
        "nothing": (b"", PNG, 400, "unreadable image"),
        "truncated": (good[: len(good) // 2], PNG, 400, "unreadable image"),
        "jpeg": (jpeg, PNG, 415, "image/png only"),
        "jpeg by name": (jpeg, {"Content-Type": "image/jpeg"}, 415, "image/png only"),
        "no type": (good, {}, 415, "image/png only"),
        "packed": (good, {**PNG, "Content-Encoding": "gzip"}, 415, "image/png only"),
        "3x3": (tiny.png(3, 3), PNG, 400, "unsupported size"),
        "odd size": (tiny.png(65, 63), PNG, 400, "unsupported size"),
        "huge header": (tiny.png(20000, 20000, raw=b"\0"), PNG, 400, "unsupported size"),
        "bomb": (tiny.png(64, 64, raw=bytes(50 << 20)), PNG, 400, "unreadable image"),
        "grey": (tiny.png(64, 64, colour=0), PNG, 400, "unreadable image"),
        "rgba": (tiny.png(64, 64, colour=6), PNG, 400, "unreadable image"),
        "16 bit": (tiny.png(64, 64, depth=16), PNG, 400, "unreadable image"),
        "long": (bytes(5 << 20), PNG, 413, "too large"),
    }


@pytest.fixture
def hostile_bodies(tiny, rng):
    return hostile(tiny, rng)


def test_hostile_bodies_get_neutral_answers_and_the_server_goes_on(http, service_url, hostile_bodies, body, caplog):
    with caplog.at_level(logging.INFO, "hidemia"):
        for name, (content, headers, status, text) in hostile_bodies.items():
            caplog.clear()
            answer = post(http, service_url, content, headers)
            assert (answer.status_code, answer.text) == (status, text), name
            assert any(f"{status} in " in line for line in caplog.messages), name  # the log has the reason
            assert post(http, service_url, body).status_code == 200, name


def test_random_damage(http, service_url, body):
    rng = np.random.default_rng(11)
    for _ in range(60):
        damaged = bytearray(body)
        for at in rng.integers(0, len(body), 3):
            damaged[at] = rng.integers(256)
        answer = post(http, service_url, bytes(damaged))
        assert answer.status_code in {200, 400, 415}
        if answer.status_code == 200:
            assert bytes(damaged) == body
    assert post(http, service_url, body).status_code == 200


def test_other_paths_and_methods(http, service_url):
    assert http.get(f"{service_url}/v1/photos").status_code == 405
    for path in ("/", "/metrics", "/healthz", "/docs", "/v1/photos/x"):
        assert http.get(service_url + path).status_code == 404


def test_a_body_without_length_is_cut_off_at_the_limit(http, service_url):
    def endless():
        for _ in range(200):
            yield bytes(1 << 16)

    # The server may close while the client still writes.
    with contextlib.suppress(httpx.WriteError):
        assert http.post(f"{service_url}/v1/photos", content=endless(), headers=PNG).status_code == 413


def test_a_body_that_never_ends_gets_408(server, tiny):
    service = PhotoService(server, Settings(deadline_s=0.2))
    with tiny.running(service.photos) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(
                b"POST /v1/photos HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nab"
            )
            assert b"408" in connection.recv(1000)


def test_token(http, server, tiny, body):
    with tiny.running(PhotoService(server, Settings(token="s3cret")).photos) as url:
        for header in (
            {},
            {"Authorization": "Bearer other"},
            {"Authorization": "s3cret"},
            {"Authorization": "Bearer é"},
        ):
            encoded = {key: value.encode() for key, value in header.items()}
            answer = post(http, url, body, {**PNG, **encoded})
            assert (answer.status_code, answer.text) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert post(http, url, body, {**PNG, "Authorization": "Bearer s3cret"}).status_code == 200


def test_the_token_is_in_no_log():
    assert "s3cret" not in repr(Settings(token="s3cret"))


def test_concurrent_photos_share_calls_and_keep_apart(server, tiny):
    slow = Slow(server)
    service = PhotoService(slow, Settings(max_batch_size=4, batch_wait_timeout_ms=20))
    rng = np.random.default_rng(2)
    photos = [tiny.photo(rng) for _ in range(13)]
    with tiny.running(service.photos) as url, httpx.Client(timeout=60, trust_env=False) as http:
        with ThreadPoolExecutor(13) as pool:
            answers = [pool.submit(post, http, url, png.encode(photo)) for photo in photos]
            assert slow.entered.wait(60)
            slow.gate.set()
        for photo, answer in zip(photos, answers, strict=True):
            assert np.array_equal(png.decode(answer.result().content), server.analyze(photo))
    assert sum(slow.sizes) == 13
    assert len(slow.sizes) < 13
    assert max(slow.sizes) <= 4
    assert service.metrics.registry.get_sample_value("photos_total", {"status": "200"}) == 13
    assert service.metrics.registry.get_sample_value("photo_batch_size_sum") == 13


def test_a_full_queue_gives_503_with_retry_after(http, server, tiny, body):
    slow = Slow(server)
    service = PhotoService(slow, Settings(max_batch_size=1, queue_size=1))
    with tiny.running(service.photos) as url, ThreadPoolExecutor(2) as pool:
        accepted = [pool.submit(post, http, url, body)]
        assert slow.entered.wait(60)
        accepted.append(pool.submit(post, http, url, body))
        while service.batcher.waiting < 1:
            time.sleep(0.005)
        answer = post(http, url, body)
        assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (503, "busy", "1")
        slow.gate.set()
        assert [future.result().status_code for future in accepted] == [200, 200]


def test_a_late_photo_gets_503_and_the_server_goes_on(http, server, tiny, body):
    slow = Slow(server)
    with tiny.running(PhotoService(slow, Settings(deadline_s=1, max_batch_size=1)).photos) as url:
        assert post(http, url, body).status_code == 503
        slow.gate.set()
        while post(http, url, body).status_code != 200:
            time.sleep(0.05)


def test_a_client_that_left_joins_no_batch(http, server, tiny, body):
    slow = Slow(server)
    service = PhotoService(slow, Settings(max_batch_size=8))
    with tiny.running(service.photos) as url, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, http, url, body)
        assert slow.entered.wait(60)
        with httpx.Client(timeout=1, trust_env=False) as impatient, pytest.raises(httpx.TimeoutException):
            post(impatient, url, body)
        counter = lambda: service.metrics.registry.get_sample_value("photos_total", {"status": "499"})  # noqa: E731
        while not counter():
            time.sleep(0.005)
        slow.gate.set()
        assert first.result().status_code == 200
    assert slow.sizes == [1]


def test_shutdown_finishes_what_was_accepted(http, server, tiny, body):
    slow = Slow(server)
    service = PhotoService(slow, Settings(max_batch_size=1))
    with ThreadPoolExecutor(3) as pool:
        with tiny.running(service.photos) as url:
            futures = [pool.submit(post, http, url, body) for _ in range(3)]
            assert slow.entered.wait(60)
            while service.batcher.waiting < 2:
                time.sleep(0.005)
            threading.Timer(0.3, slow.gate.set).start()
        assert not service.is_ready
        assert [future.result().status_code for future in futures] == [200] * 3
    with pytest.raises(httpx.ConnectError):
        post(http, url, body)


@pytest.mark.parametrize("error", [EngineError("the engine: broke"), RuntimeError("boom")])
def test_a_failing_engine_gives_500_and_the_server_goes_on(http, server, tiny, body, error):
    failing = Slow(server)
    errors = [error]

    def analyze(photos):
        if errors:
            raise errors.pop()
        return server.analyze(photos)

    failing.analyze = analyze
    with tiny.running(PhotoService(failing).photos) as url:
        answer = post(http, url, body)
        assert (answer.status_code, answer.text) == (500, "failed")
        assert post(http, url, body).status_code == 200


def test_health_and_metrics(http, server, tiny, body):
    service = PhotoService(server)
    with tiny.running(service.health) as health:
        assert http.get(f"{health}/healthz").status_code == 200
        assert http.get(f"{health}/readyz").status_code == 503
        with tiny.running(service.photos) as url:
            assert http.get(f"{health}/readyz").status_code == 200
            post(http, url, body)
            post(http, url, b"x")
            text = http.get(f"{health}/metrics").text
            service.stopping = True
            assert http.get(f"{health}/readyz").status_code == 503
    assert 'photos_total{status="200"} 1.0' in text
    assert 'photos_total{status="400"} 1.0' in text
    assert "photo_engine_seconds_count 1.0" in text
    assert "photos_waiting 0.0" in text


def test_nothing_on_the_wire_names_medicine(http, service_url, hostile_bodies, body):
    """All that an eavesdropper without TLS could read beside the pixels."""
    answers = [post(http, service_url, body)]
    answers += [post(http, service_url, sent, headers) for sent, headers, *_ in hostile_bodies.values()]
    for answer in answers:
        text = answer.text if answer.status_code != 200 else ""
        seen = f"{answer.headers} {text}".lower()
        assert not [word for word in ("mia", "medic", "secret", "stego", "lesion", "hide", "tiny") if word in seen]
    position, kinds, data = 8, set(), answers[0].content
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        kinds.add(kind)
        position += 12 + length
    assert kinds == {b"IHDR", b"IDAT", b"IEND"}


def test_no_more_photos_than_can_be_waited_for(http, server, tiny, body):
    """Refused by its head: a body that is not read fills no memory."""
    slow = Slow(server)
    service = PhotoService(slow, Settings(max_batch_size=1, queue_size=1))
    with tiny.running(service.photos) as url, ThreadPoolExecutor(3) as pool:
        here = [pool.submit(post, http, url, body)]
        assert slow.entered.wait(60)
        host, port = url.removeprefix("http://").split(":")
        head = b"POST /v1/photos HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 99\r\n\r\n"
        with contextlib.ExitStack() as stack:
            for _ in range(3):  # one in the engine, two on their way: that is all
                connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
                connection.sendall(head)
            while not (answer := connection.recv(1000, socket.MSG_DONTWAIT) if is_readable(connection) else b""):
                time.sleep(0.005)
            assert b"503" in answer
        slow.gate.set()
        assert here[0].result().status_code == 200
        while post(http, url, body).status_code != 200:  # until those that left are forgotten
            time.sleep(0.01)
    assert service.metrics.registry.get_sample_value("photos_busy_total", {"reason": "full"}) >= 1


def is_readable(connection) -> bool:
    return bool(select.select([connection], [], [], 0)[0])


def test_the_default_limit_of_a_body_follows_the_size_of_a_photo(http, server, tiny):
    """Noise cannot be compressed, and must fit; several times as much must not."""
    noise = np.random.default_rng(4).integers(0, 256, (tiny.size, tiny.size, 3), np.uint8)
    with tiny.running(PhotoService(server).photos) as url:
        assert post(http, url, png.encode(noise)).status_code == 200
        assert post(http, url, bytes(200_000)).status_code == 413


def test_a_bug_is_answered_and_counted_like_a_failure(http, server, tiny, body, caplog, monkeypatch):
    service = PhotoService(server)
    monkeypatch.setattr("hidemia.runtime.app.decode", lambda *_: 1 / 0)
    with tiny.running(service.photos) as url:
        answer = post(http, url, body)
    assert (answer.status_code, answer.text) == (500, "failed")
    assert service.metrics.registry.get_sample_value("photos_total", {"status": "500"}) == 1
    (failure,) = [record for record in caplog.records if record.exc_info]
    assert failure.fields == {"request": answer.headers["x-request-id"]}
