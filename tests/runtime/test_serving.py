from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import httpx
import numpy as np
import pytest

from hidemia.runtime import TransportError, cli, png
from hidemia.runtime.serving import listen
from hidemia.runtime.transport import Transport

PNG = {"Content-Type": "image/png"}
READY = re.compile(r"serving (\S+) on (\S+), health and metrics on (\S+)\n")


class Process:
    """A real `hidemia serve`."""

    def __init__(self, *arguments: str, **environment: str):
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "hidemia.runtime.cli",
                "serve",
                "--port",
                "0",
                "--threads",
                "1",
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        match = READY.fullmatch(self.process.stdout.readline())
        assert match, self.process.communicate()[1]
        self.name, self.url, self.health = match.groups()

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=60)
        return self.process.returncode, log


@pytest.fixture
def start():
    started = []

    def start(*arguments, **environment):
        started.append(Process(*(str(argument) for argument in arguments), **environment))
        return started[-1]

    yield start
    for process in started:
        process.process.kill()
        process.process.communicate()


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
        ("--queue-size 0", "argument --queue-size: expected an integer of at least 1, got '0'"),
    ],
)
def test_calls_that_are_refused(model, capsys, line, message):
    assert cli.main(["serve", "--server", str(model.server), *line.split()]) == 2
    (got,) = capsys.readouterr().err.splitlines()
    assert got.startswith(f"hidemia serve: {message}")


@pytest.fixture
def certificate(tmp_path):
    """A certificate for this machine that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def test_client_certificates(start, model, certificate, tiny, client):
    """Instead of a token; the device's certificate is the server's own here."""
    cert, key = certificate
    tls = ("--tls-cert", cert, "--tls-key", key, "--client-ca", cert)
    serving = start("--server", model.server, "--host", "0.0.0.0", *tls)
    url = serving.url.replace("0.0.0.0", "127.0.0.1")
    cover = tiny.photo(np.random.default_rng(0))
    with Transport(url, ca_file=cert, client_cert=(str(cert), str(key))) as transport:
        assert client.send(tiny.secret(), transport, cover=cover).mask is not None
    with Transport(url, ca_file=cert, attempts=1) as transport, pytest.raises(TransportError):
        client.send(tiny.secret(), transport, cover=cover)


def test_tls_and_token(start, model, certificate, tiny, client):
    cover = tiny.photo(np.random.default_rng(0))
    cert, key = certificate
    serving = start(
        "--server",
        model.server,
        "--host",
        "0.0.0.0",
        "--tls-cert",
        cert,
        "--tls-key",
        key,
        HIDEMIA_TOKEN="s3cret",
    )
    assert serving.url.startswith("https://0.0.0.0:")
    url = serving.url.replace("0.0.0.0", "127.0.0.1")
    secret = tiny.secret()
    with Transport(url, ca_file=cert, token="s3cret") as transport:
        result = client.send(secret, transport, cover=cover)
    assert ((result.mask > 0) == (secret[..., 0] > 128)).all()
    with Transport(url, ca_file=cert) as transport, pytest.raises(TransportError, match="401 unauthorized"):
        client.send(secret, transport, cover=cover)
    with Transport(url, token="s3cret") as transport, pytest.raises(TransportError, match="in 1 attempt; "):
        client.send(secret, transport, cover=cover)
    assert serving.stop()[0] == 0
