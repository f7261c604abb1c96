from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from hidemia.runtime import CoverPool, EngineError, ReplyError, TransportError, png, trip
from hidemia.runtime.app import PhotoService, Settings
from hidemia.runtime.transport import Transport, is_loopback

ETAG = '"0123456789abcdef"'


class Scripted:
    """A service that gives its answers one after the other, the last one for ever, and keeps what it got."""

    def __init__(self, *answers: Response):
        self.answers, self.bodies, self.headers = list(answers), [], []
        self.app = Starlette(routes=[Route("/{path:path}", self.answer, methods=["GET", "POST"])])

    async def answer(self, request):
        self.bodies.append(await request.body())
        self.headers.append(request.headers)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def photo(content=b"reply", etag=ETAG, media_type="image/png") -> Response:
    return Response(content, media_type=media_type, headers={"ETag": etag})


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Record how long a transport would sleep, and do not."""
    waits: list[float] = []
    monkeypatch.setattr("hidemia.runtime.transport.sleep", waits.append)
    return waits


def test_exchange(tiny):
    service = Scripted(photo())
    with tiny.running(service.app) as url, Transport(url, token="s3cret") as transport:
        assert transport.exchange(b"photo", etag=ETAG) == b"reply"
    assert service.bodies == [b"photo"]
    assert service.headers[0]["content-type"] == "image/png"
    assert service.headers[0]["authorization"] == "Bearer s3cret"
    assert "hidemia" not in str(service.headers[0]).lower()


def test_busy_is_retried_with_the_identical_bytes(tiny, waits):
    busy = Response("busy", 503, headers={"Retry-After": "3"})
    service = Scripted(busy, Response("bad gateway", 502), Response("died", 500), photo())
    with tiny.running(service.app) as url, Transport(url) as transport:
        assert transport.exchange(b"photo", etag=ETAG) == b"reply"
    assert service.bodies == [b"photo"] * 4
    assert waits == [3.0, 0.4, 0.8]


def test_busy_for_ever(tiny, waits):
    service = Scripted(Response("busy", 503, headers={"Retry-After": "soon"}))
    with (
        tiny.running(service.app) as url,
        Transport(url, attempts=3) as transport,
        pytest.raises(TransportError) as caught,
    ):
        transport.exchange(b"photo", etag=ETAG)
    assert str(caught.value) == f"{url}: expected status 200, got 503 busy; the server is busy: try again later"
    assert len(service.bodies) == 3
    assert waits == [0.2, 0.4]


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (400, "check the address and the server's log"),
        (401, "check the token or the client certificate"),
        (302, "check the address and the server's log"),
        (501, "check the address and the server's log"),
    ],
)
def test_refusals_are_not_retried(tiny, status, advice):
    service = Scripted(Response("no\nphoto", status, headers={"Location": "/elsewhere"}))
    with (
        tiny.running(service.app) as url,
        Transport(url) as transport,
        pytest.raises(TransportError) as caught,
    ):
        transport.exchange(b"photo", etag=ETAG)
    assert str(caught.value) == f"{url}: expected status 200, got {status} no photo; {advice}"
    assert len(service.bodies) == 1


@pytest.mark.parametrize("etag", ['"ffffffffffffffff"', ""])
def test_a_server_of_another_model(tiny, etag):
    with (
        tiny.running(Scripted(photo(etag=etag)).app) as url,
        Transport(url) as transport,
        pytest.raises(ReplyError, match=r"expected a server of pair .* use the client and server bundles of one"),
    ):
        transport.exchange(b"photo", etag=ETAG)


def test_a_weak_etag_is_the_same(tiny):
    with tiny.running(Scripted(photo(etag="W/" + ETAG)).app) as url, Transport(url) as transport:
        assert transport.exchange(b"photo", etag=ETAG) == b"reply"


def test_not_a_photo(tiny):
    with (
        tiny.running(Scripted(photo(media_type="text/html")).app) as url,
        Transport(url) as transport,
        pytest.raises(TransportError, match="expected image/png, got text/html"),
    ):
        transport.exchange(b"photo", etag=ETAG)


def test_nobody_there(tiny, waits):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Transport(f"http://127.0.0.1:{port}") as transport, pytest.raises(TransportError) as caught:
        transport.exchange(b"photo", etag=ETAG)
    assert str(caught.value) == (
        f"http://127.0.0.1:{port}: expected an answer, got ConnectError ([Errno 111] Connection refused) "
        "in 4 attempts; check the address and that the server runs"
    )
    assert waits == [0.2, 0.4, 0.8]


@contextlib.contextmanager
def raw_server(*answers: bytes | None):
    """Answers each connection with raw bytes and closes it; stalls on None."""

    def work(listening):
        for answer in answers:
            connection, _ = listening.accept()
            with connection:
                request = b""
                while not request.endswith(b"photo"):
                    request += connection.recv(65536)
                if answer is None:
                    connection.recv(1)  # until the client gives up
                else:
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=work, args=(listening,))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(10)


WHOLE = b'HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nETag: "0123456789abcdef"\r\nContent-Length: 5\r\n\r\nreply'


def test_cut_dropped_and_stalled_answers_are_retried():
    with (
        raw_server(WHOLE[:-2], b"", b"garbage\r\n\r\n", None, WHOLE) as url,
        Transport(url, timeout_s=2, attempts=5) as transport,
    ):
        assert transport.exchange(b"photo", etag=ETAG) == b"reply"


def test_an_endless_answer_is_cut_off(tiny, monkeypatch):
    monkeypatch.setattr("hidemia.runtime.transport._MAX_REPLY_BYTES", 1000)
    with (
        tiny.running(Scripted(photo(bytes(1001))).app) as url,
        Transport(url) as transport,
        pytest.raises(TransportError, match="expected at most 1000 bytes, got more"),
    ):
        transport.exchange(b"photo", etag=ETAG)


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("::", False),
    ],
)
def test_loopback(host, is_local):
    assert is_loopback(host) is is_local


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:8470", "expected https://host:port"),
        ("ftp://x", "expected https://host:port"),
        ("http://", "expected https://host:port"),
        ("http://10.0.0.1:8470", "expected https for another machine"),
        ("https://user:word@x", "expected no password in the address"),
    ],
)
def test_addresses_that_are_refused(url, message):
    with pytest.raises(TransportError, match=message) as caught:
        Transport(url)
    assert caught.value.exit_code == 2
    assert "word@" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.0.0.1:1/", "http://127.0.0.1:1/v1/photos"])
def test_the_path_is_added_once(url):
    assert str(Transport(url)._url) == "http://127.0.0.1:1/v1/photos"


def test_a_gateway_may_have_a_prefix(tiny):
    assert Transport("https://host/imaging")._url.path == "/imaging/v1/photos"


def test_a_public_key_stays_on_this_machine(tiny, model):
    public = tiny.make_manifest("server", [tiny.graph_entry("analyze", b"x", [], [])], name="busi", public_key=True)
    Transport("http://127.0.0.1:1").check(public)
    Transport("https://example.org").check(public, public_key_ok=True)
    with pytest.raises(TransportError) as caught:
        Transport("https://example.org").check(public)
    assert str(caught.value) == (
        "https://example.org: expected a private model, got 'busi', whose published weights "
        "let anyone recover; train your own pair, or pass --public-key-ok (public_key_ok=True)"
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("settings", [{"attempts": 0}, {"timeout_s": 0}])
def test_settings(settings):
    with pytest.raises(TransportError, match="expected at least one attempt and a timeout above 0 s"):
        Transport("http://127.0.0.1:1", **settings)


def test_certificate_files_that_are_not_there():
    with pytest.raises(TransportError, match="tls: expected readable certificate files"):
        Transport("https://x", ca_file="nowhere.pem")


# The whole trip, through the client.


@pytest.fixture
def pool(tmp_path, tiny, rng):
    (tmp_path / "covers").mkdir()
    (tmp_path / "covers" / "a.png").write_bytes(png.encode(tiny.photo(rng, 192, 192)))
    return CoverPool(tmp_path / "covers", warn_below=1)


def test_send(client, service_url, pool, tiny):
    secret = tiny.secret(90, 120)
    result = client.send(secret, service_url, covers=pool)
    assert result.mask.shape == (90, 120)
    assert np.mean((result.mask > 0) == (secret[..., 0] > 128)) > 0.95
    assert set(result.timings_ms) == {"cover", "hide", "encode", "exchange", "decode", "recover"}


def test_sending_again_sends_the_identical_photo(client, server, pool, tiny):
    """Whether the first answer was lost or not: no two photos show the same secret or the same cover."""
    sent = []
    service = PhotoService(server)

    class Spy:
        async def __call__(self, scope, receive, send):
            async def spy():
                message = await receive()
                sent.append(message.get("body", b""))
                return message

            await service.photos(scope, spy if scope["type"] == "http" else receive, send)

    with tiny.running(Spy()) as url:
        client.send(tiny.secret(), url, covers=pool)
        first = b"".join(sent)
        sent.clear()
        client.send(tiny.secret(), url, covers=pool)
        assert b"".join(sent) == first
        sent.clear()
        client.send(tiny.secret(80, 60)[::-1] // 2, url, covers=pool)
        assert b"".join(sent) != first


class Failing:
    """A photo service that fails as often as asked, each time another way, and keeps every photo it got."""

    def __init__(self, app, ways: list[str]):
        self.app, self.ways, self.bodies = app, ways, []

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = b""
        while (message := await receive()).get("more_body") or message.get("body"):
            body += message["body"]
            if not message["more_body"]:
                break
        self.bodies.append(body)
        way = self.ways.pop(0) if self.ways else "works"

        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def again():
            return messages.pop() if messages else await receive()

        async def lossy(message):
            if way == "cut" and message["type"] == "http.response.body":
                await send({**message, "body": message["body"][:100], "more_body": True})
                raise ConnectionError("cut")
            if way != "lost":  # the photo is analysed, and its answer never comes
                await send(message)

        if way.isdecimal():
            await Response("no", int(way))(scope, again, send)
        else:
            await self.app(scope, again, send if way == "works" else lossy)


def test_however_often_it_fails_there_is_one_stego(client, server, pool, tiny, monkeypatch, caplog):
    """Whatever fails and whoever asks again: one cover, one hiding for each call, the identical bytes."""
    stegos = []
    hide = client.hide
    monkeypatch.setattr(client, "hide", lambda *images: stegos.append(hide(*images)) or stegos[-1])
    service = PhotoService(server)
    ways = ["503", "500", "502", "cut", "lost", "504", "500", "503"]
    failing = Failing(service.photos, list(ways))
    with tiny.running(failing) as url:
        with Transport(url, attempts=5) as transport, pytest.raises(TransportError):
            client.send(tiny.secret(), transport, covers=pool)
        assert len(stegos) == 1
        for covers in (pool, CoverPool(pool.folder, warn_below=1)):
            with Transport(url, attempts=5) as transport:
                result = client.send(tiny.secret(), transport, covers=covers)
            assert np.array_equal(result.mask > 0, tiny.secret()[..., 0] > 128)
    assert len(failing.bodies) == len(ways) + 2
    assert set(failing.bodies) == {png.encode(stegos[0])}
    assert len(pool.ledger.bound_to(trip.binding(client.manifest, tiny.secret()))) == 1
    with sqlite3.connect(pool.ledger.path) as database:
        assert database.execute("SELECT count(*) FROM cover").fetchone() == (1,)
    database.close()


async def _send(client, *arguments, **settings):
    return await client.send_async(*arguments, **settings)


def test_send_async(client, service_url, pool, tiny):
    import asyncio

    result = asyncio.run(_send(client, tiny.secret(), service_url, covers=pool))
    assert np.array_equal(result.mask > 0, tiny.secret()[..., 0] > 128)


def test_send_with_a_token(client, server, pool, tiny):
    with tiny.running(PhotoService(server, Settings(token="s3cret")).photos) as url:
        with pytest.raises(TransportError, match="got 401 unauthorized; check the token"):
            client.send(tiny.secret(), url, covers=pool)
        assert client.send(tiny.secret(), url, covers=pool, token="s3cret").mask is not None


def test_an_identity_server_is_refused(client, pool, tiny):
    async def identity(request):
        return Response(await request.body(), media_type="image/png", headers={"ETag": client.manifest.etag})

    app = Starlette(routes=[Route("/v1/photos", identity, methods=["POST"])])
    with tiny.running(app) as url, pytest.raises(ReplyError, match="got the same photo"):
        client.send(tiny.secret(), url, covers=pool)


def test_a_damaged_reply_is_a_reply_error(client, pool, tiny):
    with (
        tiny.running(Scripted(photo(b"not a png", etag=client.manifest.etag)).app) as url,
        pytest.raises(ReplyError, match="reply: expected a PNG"),
    ):
        client.send(tiny.secret(), url, covers=pool)


def test_one_cover_carries_one_secret(client, service_url, tiny, rng):
    from hidemia.runtime import CoverError

    cover = tiny.photo(rng, 100, 100)
    client.send(tiny.secret(), service_url, cover=cover)
    client.send(tiny.secret(), service_url, cover=cover)
    other = tiny.secret() // 2
    with pytest.raises(CoverError, match="already carries another secret"):
        client.send(other, service_url, cover=cover)
    client.send(other, service_url, cover=cover, allow_reuse=True)
    with pytest.raises(CoverError, match="got neither or both"):
        client.send(other, service_url)


def test_a_cover_is_bound_before_its_stego_exists(client, service_url, pool, tiny, monkeypatch):
    """Whatever happens afterwards, nobody else gets it; the same secret does."""
    taken = []

    def fail(secret, cover):
        taken.append(cover)
        raise EngineError("the power failed")

    with monkeypatch.context() as patch:
        patch.setattr(client, "hide", fail)
        with pytest.raises(EngineError):
            client.send(tiny.secret(), service_url, covers=pool)
        for secret in (tiny.secret() // 2, tiny.secret()):
            with pytest.raises(EngineError):
                client.send(secret, service_url, covers=CoverPool(pool.folder, warn_below=1))
    assert not np.array_equal(taken[0], taken[1])
    assert np.array_equal(taken[0], taken[2])


def test_nothing_is_bound_when_the_address_is_refused(client, pool, tiny):
    with pytest.raises(TransportError):
        client.send(tiny.secret(), "http://10.0.0.1:1", covers=pool)
    assert not pool.ledger.path.exists()


def test_http_error_types_are_all_covered():
    """What `exchange` catches is the root of everything that httpx raises on the way."""
    for name in ("ConnectError", "ReadTimeout", "RemoteProtocolError", "ProxyError", "UnsupportedProtocol"):
        assert issubclass(getattr(httpx, name), httpx.TransportError)
