from __future__ import annotations

import contextlib
import hashlib
import json
import re
import resource
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
from tests.certificates import Authority
from tests.wire import read_message

from hidemia.runtime import TransportError, cli, png
from hidemia.runtime.app import PhotoService
from hidemia.runtime.serving import _parser, listen
from hidemia.runtime.transport import Transport

PNG = {"Content-Type": "image/png"}
HEAD = b"POST /v1/photos HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"


@pytest.fixture
def http():
    with httpx.Client(timeout=60, trust_env=False) as http:
        yield http


@pytest.fixture
def body(tiny, rng) -> bytes:
    return png.encode(tiny.photo(rng))


def post(http, serving, body, **headers):
    return http.post(f"{serving.url}/v1/photos", content=body, headers={**PNG, **headers})


def connect(serving) -> socket.socket:
    return socket.create_connection(("127.0.0.1", serving.port), timeout=30)


def test_a_real_server_serves_survives_and_stops(start, model, tiny, rng):
    serving = start("--server", model.server)
    assert serving.name == "tiny"
    body = png.encode(tiny.photo(rng))
    with httpx.Client(timeout=60, trust_env=False) as http:
        assert http.get(f"{serving.health}/healthz").text == "ok"
        assert http.get(f"{serving.health}/readyz").text == "ready"
        assert http.get(f"{serving.url}/healthz").status_code == 404
        for content in (b"text", body[:100], tiny.png(20000, 20000, raw=b"\0"), tiny.png(3, 3)):
            assert http.post(f"{serving.url}/v1/photos", content=content, headers=PNG).status_code == 400
        with socket.create_connection(("127.0.0.1", int(serving.url.rpartition(":")[2]))) as connection:
            connection.sendall(b"\x16\x03\x01 not http\r\n\r\n")
            connection.recv(1000)
        answer = http.post(f"{serving.url}/v1/photos", content=body, headers=PNG)
        assert answer.status_code == 200
        assert "server" not in answer.headers
        assert 'photos_total{status="200"} 1.0' in http.get(f"{serving.health}/metrics").text
    code, log = serving.stop()
    assert code == 0
    assert "400 in " in log
    assert "unsupported size" not in log or "20000x20000" in log
    assert "Traceback" not in log


def test_answers_are_not_delayed():
    with listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_a_taken_port(model, capsys):
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert cli.main(["serve", "--server", str(model.server), "--port", str(port)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"hidemia serve: 127.0.0.1:{port}: expected a free address of this machine, got: "
        "[Errno 98] Address already in use; choose another --host or --port"
    )


@pytest.mark.parametrize("address", [("127.0.0.1", 70000), ("192.0.2.1", 0), ("no such host", 0)])
def test_addresses_that_cannot_be(address):
    with pytest.raises(TransportError, match="expected a free address of this machine"):
        listen(*address)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--host 0.0.0.0",
            "--host 0.0.0.0: expected TLS and a token or client certificates beyond this machine, got no TLS",
        ),
        (
            "--host 0.0.0.0 --tls-cert c --tls-key k",
            "--host 0.0.0.0: expected TLS and a token or client certificates",
        ),
        ("--tls-cert c", "--tls-cert and --tls-key go together; see hidemia serve --help"),
        ("--client-ca c", "--client-ca needs --tls-cert and --tls-key; see hidemia serve --help"),
        ("--port 0 --tls-cert none --tls-key none", "--tls-cert: expected readable certificate files, got: "),
        ("--deadline 0", "--deadline must be above 0 s"),
        ("--deadline nan", "--deadline must be above 0 s"),
        ("--rate-limit 0", "--rate-limit must be above 0 photos a second"),
        ("--queue-size 0", "argument --queue-size: expected an integer of at least 1, got '0'"),
    ],
)
def test_calls_that_are_refused(model, capsys, line, message):
    assert cli.main(["serve", "--server", str(model.server), *line.split()]) == 2
    (got,) = capsys.readouterr().err.splitlines()
    assert got.startswith(f"hidemia serve: {message}")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "ours")


def send(client, serving, cover, tiny, **settings):
    """A trip over TLS that must succeed, or a `TransportError` after one attempt."""
    url = serving.url.replace("0.0.0.0", "127.0.0.1")
    with Transport(url, attempts=1, **settings) as transport:
        result = client.send(tiny.secret(), transport, cover=cover)
    assert ((result.mask > 0) == (tiny.secret()[..., 0] > 128)).all()


def test_client_certificates(start, model, authority, tmp_path, tiny, rng, client):
    """Instead of a token: only devices whose certificate the authority signed."""
    cert, key = authority.issue("server")
    tls = ("--tls-cert", cert, "--tls-key", key, "--client-ca", authority.file)
    serving = start("--server", model.server, "--host", "0.0.0.0", *tls)
    cover = tiny.photo(rng)
    send(client, serving, cover, tiny, ca_file=authority.file, client_cert=authority.issue("device"))
    stranger = Authority(tmp_path, "theirs").issue("device")
    for client_cert in (None, stranger, authority.issue("old", days=-1)):
        with pytest.raises(TransportError, match="expected an answer, got"):
            send(client, serving, cover, tiny, ca_file=authority.file, client_cert=client_cert)
    assert serving.metrics()["photo_batch_size_sum"] == 1.0
    code, log = serving.stop()
    assert code == 0
    assert "Traceback" not in log


def test_one_device_is_shut_out(start, model, authority, tmp_path, tiny, rng, client):
    """`--client-ca` with the devices' own certificates, one after the other: whose is taken out is not let in."""
    cert, key = authority.issue("server")
    first, second = (Authority(tmp_path, name).self_signed() for name in ("first", "second"))
    known = tmp_path / "devices.pem"
    cover = tiny.photo(rng)

    def is_let_in(serving, device) -> bool:
        try:
            send(client, serving, cover, tiny, ca_file=authority.file, client_cert=device)
        except TransportError:
            return False
        return True

    def trips() -> list[bool]:
        known.write_text("".join(Path(device[0]).read_text() for device in listed))
        serving = start("--server", model.server, "--tls-cert", cert, "--tls-key", key, "--client-ca", known)
        done = [is_let_in(serving, device) for device in (first, second)]
        serving.stop()
        return done

    listed = [first, second]
    assert trips() == [True, True]
    listed = [second]
    assert trips() == [False, True]


def test_tls_and_token(start, model, authority, tmp_path, tiny, rng, client):
    cert, key = authority.issue("server")
    tls = ("--tls-cert", cert, "--tls-key", key)
    serving = start("--server", model.server, "--host", "0.0.0.0", *tls, HIDEMIA_TOKEN="s3cret")
    assert serving.url.startswith("https://0.0.0.0:")
    cover = tiny.photo(rng)
    send(client, serving, cover, tiny, ca_file=authority.file, token="s3cret")
    for token in (None, "other"):
        with pytest.raises(TransportError, match="401 unauthorized"):
            send(client, serving, cover, tiny, ca_file=authority.file, token=token)
    for ca_file in (None, Authority(tmp_path, "theirs").file):
        with pytest.raises(TransportError, match="in 1 attempt; "):
            send(client, serving, cover, tiny, ca_file=ca_file, token="s3cret")
    with connect(serving) as clear:  # no TLS
        clear.sendall(HEAD + b"\r\n")
        assert clear.recv(1000) == b""
    code, log = serving.stop()
    assert code == 0
    assert "s3cret" not in log


def test_a_server_whose_certificate_expired(start, model, authority, tiny, rng, client):
    cert, key = authority.issue("server", days=-1)
    serving = start("--server", model.server, "--tls-cert", cert, "--tls-key", key)
    with pytest.raises(TransportError, match="certificate has expired"):
        send(client, serving, tiny.photo(rng), tiny, ca_file=authority.file)


def test_without_the_token_nothing_but_refusals(start, model, tiny, tmp_path, http, body):
    (tmp_path / "token").write_text("s3cret\n")
    serving = start("--server", model.server, "--token-file", tmp_path / "token")
    answers = [post(http, serving, content) for content in (body, b"", b"x" * 100, tiny.png(3, 3))]
    answers += [post(http, serving, body, Authorization=value) for value in ("s3cret", "Bearer", "Bearer s3cret2")]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, "unauthorized")}
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
        for path in ("/v1/photos", "/", "/metrics", "/v1", "/docs", "/../manifest.json"):
            assert http.request(method, serving.url + path).status_code in {404, 405}
    assert "photo_batch_size_sum" not in {name for name, value in serving.metrics().items() if value}
    assert post(http, serving, body, Authorization="Bearer s3cret").status_code == 200


def test_nothing_on_the_wire_says_what_it_is_for(start, model, body, tiny):
    """Every byte of answers of all kinds, but for the pixels, as who listens on the wire would see them."""
    serving = start("--server", model.server)
    limited = start("--server", model.server, "--rate-limit", 0.01)
    length = b"Content-Length: %d\r\n\r\n"
    requests = [
        HEAD + length % len(body) + body,
        HEAD + length % 5 + b"hello",
        HEAD + length % (1 << 30),
        HEAD + length % len(body) + body,  # over the rate
        HEAD.replace(b"png", b"jpeg") + length % 1 + b"x",
        HEAD.replace(b"POST", b"GET") + b"\r\n",
        HEAD.replace(b"photos", b"other") + b"\r\n",
        HEAD + b"X: y\r\n" * 100 + b"\r\n",
        HEAD + b"X: " + b"y" * 20000,
        b"nonsense\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nnot hex\r\n",
    ]
    statuses, heads = [], b""
    for number, request in enumerate(requests):
        with connect(limited if number in (0, 3) else serving) as connection:
            connection.sendall(request)
            answer = read_message(connection)
            statuses.append(int(answer[9:12]))
            heads += answer if statuses[-1] != 200 else answer.partition(b"\r\n\r\n")[0]
    assert statuses == [200, 400, 413, 503, 415, 405, 404, 431, 400, 400, 400]
    words = rb"medic|mia|scan|secret|stego|lesion|hid|mask|diagnos|patient|health|tiny|busi\b|uvicorn|python|starlette"
    assert not re.findall(words, heads, re.IGNORECASE)
    assert heads.lower().count(b"x-request-id: ") == 6  # all that reached the service


def test_the_rate_of_one_caller(start, model, http, body):
    serving = start("--server", model.server, "--rate-limit", 2)
    answers = [post(http, serving, body) for _ in range(6)]
    assert [answer.status_code for answer in answers[:3]] == [200, 200, 503]
    assert answers[2].headers["retry-after"] == "1"
    assert serving.metrics()['photos_busy_total{reason="rate"}'] >= 1


def test_logs_are_json_and_hold_nothing_of_the_caller(start, model, http, body):
    serving = start("--server", model.server, "--log-format", "json", HIDEMIA_TOKEN="s3cret")
    odd = {"User-Agent": "Mrs Smith", "X-Request-Id": "Mrs Smith", "Content-Type": "image/smith"}
    ids = [post(http, serving, body, Authorization="Bearer s3cret").headers["x-request-id"]]
    ids.append(post(http, serving, body, Authorization="Bearer s3cret", **odd).headers["x-request-id"])
    ids.append(post(http, serving, body, Authorization="Bearer smith").headers["x-request-id"])
    code, log = serving.stop()
    assert code == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert [(line["request"], line["status"]) for line in lines if "request" in line] == list(
        zip(ids, (200, 415, 401), strict=True)
    )
    assert not re.findall(r"smith|s3cret|127\.0\.0\.1", log, re.IGNORECASE)


def test_the_audit_log(start, model, tmp_path, http, body, server):
    """One line for every photo received; a refusal before that leaves none."""
    file = tmp_path / "audit.jsonl"
    serving = start("--server", model.server, "--audit-log", file)
    answer = post(http, serving, body)
    assert post(http, serving, b"hello").status_code == 400
    assert http.post(f"{serving.url}/v1/photos", content=body).status_code == 415
    assert serving.stop()[0] == 0
    opened, photo, refused = (json.loads(line) for line in file.read_text().splitlines())
    manifest = hashlib.sha256((model.server / "manifest.json").read_bytes()).hexdigest()
    assert [line["manifest_sha256"] for line in (opened, photo, refused)] == [manifest] * 3
    assert (photo["event"], photo["status"]) == ("photo", 200)
    assert photo["request"] == answer.headers["x-request-id"]
    assert photo["input_sha256"] == hashlib.sha256(body).hexdigest()
    assert photo["output_sha256"] == hashlib.sha256(answer.content).hexdigest()
    assert list(photo["stages_ms"]) == ["receive", "decode", "analyze", "encode"]
    assert sum(photo["stages_ms"].values()) <= photo["total_ms"] + 0.01
    assert (refused["status"], refused["output_sha256"], list(refused["stages_ms"])) == (400, None, ["receive"])


def test_the_audit_log_names_the_manifest_that_was_opened(start, tiny, tmp_path, http, body):
    """Another manifest in its place, as a careless update puts it there: what runs is still the one that was read."""
    folder = tiny.make_model(tmp_path / "model").server
    manifest, file, old = folder / "manifest.json", tmp_path / "audit.jsonl", tmp_path / "old.jsonl"
    opened = hashlib.sha256(manifest.read_bytes()).hexdigest()
    serving = start("--server", folder, "--audit-log", file)
    manifest.write_bytes(manifest.read_bytes().replace(b'"tiny"', b'"other"'))
    file.rename(old)
    serving.signal(signal.SIGHUP)
    while not file.exists() or not file.stat().st_size:
        time.sleep(0.01)
    assert post(http, serving, body).status_code == 200
    lines = [json.loads(line) for path in (old, file) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["opened", "opened", "photo"]
    assert {line["manifest_sha256"] for line in lines} == {opened}


def test_the_audit_log_is_rotated_by_sighup(start, model, tmp_path, http, body):
    file, old = tmp_path / "audit.jsonl", tmp_path / "audit.1"
    serving = start("--server", model.server, "--audit-log", file)
    post(http, serving, body)
    file.rename(old)
    post(http, serving, body)
    serving.signal(signal.SIGHUP)
    while not file.exists() or not file.stat().st_size:
        time.sleep(0.01)
    post(http, serving, body)
    assert [len(path.read_text().splitlines()) for path in (old, file)] == [3, 2]


def test_a_full_disk_withholds_replies_until_it_is_well(start, model, tmp_path, http, body):
    """No reply without its line: 503, which the device answers by sending the identical photo again."""
    file = tmp_path / "audit.jsonl"
    serving = start("--server", model.server, "--audit-log", file)
    before = post(http, serving, body).content
    _, hard = resource.prlimit(serving.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(serving.process.pid, resource.RLIMIT_FSIZE, (file.stat().st_size + 30, hard))
    for _ in range(2):
        answer = post(http, serving, body)
        assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (503, "busy", "5")
    assert http.get(f"{serving.health}/readyz").status_code == 503
    assert http.get(f"{serving.health}/healthz").status_code == 200
    metrics = serving.metrics()
    assert (metrics["photos_unaudited_total"], metrics['photos_busy_total{reason="audit"}']) == (2.0, 2.0)
    resource.prlimit(serving.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert http.get(f"{serving.health}/readyz").status_code == 200
    assert post(http, serving, body).content == before
    code, log = serving.stop()
    assert code == 0
    assert "the audit log cannot be written" in log
    *_, last = file.read_text().splitlines()
    assert json.loads(last)["status"] == 200


def test_an_audit_log_that_cannot_be(model, tmp_path, capsys):
    assert cli.main(["serve", "--server", str(model.server), "--port", "0", "--audit-log", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"hidemia serve: --audit-log {tmp_path}: expected a file that can be appended to, got: Is a directory; "
        "make its folder, free its disk or fix its permissions"
    )


def test_callers_who_say_or_read_nothing_are_let_go(start, model, http, body):
    serving = start("--server", model.server, "--deadline", 0.5)
    with connect(serving) as silent, connect(serving) as slow, connect(serving) as late:
        slow.sendall(b"POST /v1/photos HT")
        late.sendall(HEAD + b"Content-Length: 10\r\n\r\nabc")
        for connection in (silent, slow):
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1000) == b""
        assert late.recv(1000).startswith(b"HTTP/1.1 408 ")
        # A kept connection may be idle for longer than a head may take.
        assert post(http, serving, body).status_code == 200
        time.sleep(1.0)
        assert post(http, serving, body).status_code == 200


def test_a_body_that_breaks_off_is_no_failure_of_ours(start, model):
    """The answer to nonsense must not follow or cross one that is on its way."""
    serving = start("--server", model.server)
    for method in (b"POST", b"HEAD", b"GET"):
        for tail in (b"zz\r\n", b"5\r\nab", b"-1\r\n", b"ffffffffffffffffffffffffffff\r\n"):
            with connect(serving) as connection:
                head = HEAD.replace(b"POST", method) + b"Transfer-Encoding: chunked\r\n\r\n"
                connection.sendall(head)
                time.sleep(0.02)
                connection.sendall(tail)
                connection.settimeout(0.2)
                with contextlib.suppress(TimeoutError, socket.timeout):
                    assert len(re.findall(rb"HTTP/1\.1", connection.recv(10000))) <= 1
    code, log = serving.stop()
    assert code == 0
    assert "Traceback" not in log


def test_sigterm_under_load_loses_nothing_that_was_accepted(start, model, tmp_path, body):
    """Every photo has its whole reply, or was never taken; the audit log and the devices agree."""
    file = tmp_path / "audit.jsonl"
    serving = start("--server", model.server, "--audit-log", file)
    answers, began = [], threading.Barrier(9)

    def device() -> None:
        began.wait()
        # In the end not taken: refused, or a kept connection closed before a byte of an answer.
        with contextlib.suppress(httpx.NetworkError, httpx.RemoteProtocolError), httpx.Client(timeout=60) as http:
            while True:
                answers.append(post(http, serving, body))

    threads = [threading.Thread(target=device) for _ in range(8)]
    for thread in threads:
        thread.start()
    began.wait()
    while len(answers) < 40:
        time.sleep(0.005)
    code, log = serving.stop()
    for thread in threads:
        thread.join()
    assert code == 0
    assert {answer.status_code for answer in answers} <= {200, 503}
    good = [answer for answer in answers if answer.status_code == 200]
    assert len({answer.content for answer in good}) == 1
    audited = [line["request"] for line in map(json.loads, file.read_text().splitlines()) if line.get("status") == 200]
    assert sorted(audited) == sorted(answer.headers["x-request-id"] for answer in good)
    assert "Traceback" not in log


def test_the_metrics_are_those_of_the_operators_page(server):
    page = (Path(__file__).parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(photo\w+)`\S* \| (counter|gauge|histogram) ", page, re.MULTILINE))
    families = PhotoService(server).metrics.registry.collect()
    ours = {family.name + "_total" * (family.type == "counter"): family.type for family in families}
    assert told == {name: kind for name, kind in ours.items() if not name.startswith("process_")}


def test_the_knobs_are_those_of_the_operators_page():
    page = (Path(__file__).parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(--[a-z-]+)", page, re.MULTILINE))
    ours = {name for action in _parser()._actions for name in action.option_strings if name.startswith("--")}
    assert told == ours - {"--help"}
