"""Carrying one photo to the server and its answer back: PNG over HTTP, retried with the identical bytes."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import ssl
import threading
from pathlib import Path
from time import monotonic, sleep

import httpx

from hidemia.runtime.errors import ReplyError, TransportError
from hidemia.runtime.manifest import Manifest

__all__ = ["PATH", "Transport", "is_loopback"]

logger = logging.getLogger(__name__)

PATH = "/v1/photos"

_BUSY = (502, 503, 504)
# A process that dies under a photo is a 500 from the gateway before it, and another one may live.
_AGAIN = (500, *_BUSY)
_MAX_REPLY_BYTES = 64 << 20
_MAX_WAIT_S = 60.0


class Transport:
    """The way to one server. Safe across threads; keep one for many photos, it keeps the connection.

    Args:
        url: Its address, `https://host:port`; `http://` for this machine only.
        token: Bearer token, when the server asks for one.
        ca_file: Certificates to trust in place of the system's.
        client_cert: Certificate and key files, when the server asks for them.
        timeout_s: For connecting, and for every wait for bytes.
        attempts: How often the photo is sent at most.

    Raises:
        TransportError: The address is not one, or would carry photos in clear to another machine.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ca_file: str | Path | None = None,
        client_cert: tuple[str, str] | None = None,
        timeout_s: float = 30.0,
        attempts: int = 4,
    ) -> None:
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise TransportError(
                f"url: expected https://host:port, got {url!r} ({error}); fix it", exit_code=2
            ) from None
        if address.scheme not in ("http", "https") or not address.host:
            raise TransportError(f"url: expected https://host:port, got {url!r}; fix it", exit_code=2)
        if address.userinfo:
            raise TransportError("url: expected no password in the address, got one; use a token", exit_code=2)
        self.loopback = is_loopback(address.host)
        if address.scheme == "http" and not self.loopback:
            raise TransportError(
                f"url: expected https for another machine, got {url}; covertness is no encryption: use TLS",
                exit_code=2,
            )
        if attempts < 1 or timeout_s <= 0:
            raise TransportError(
                f"transport: expected at least one attempt and a timeout above 0 s, "
                f"got {attempts} and {timeout_s}; raise them",
                exit_code=2,
            )
        self._shown = f"{address.scheme}://{address.netloc.decode('ascii')}"
        self._url = address.copy_with(
            path=address.path.rstrip("/").removesuffix(PATH) + PATH, query=None, fragment=None
        )
        headers = {"Content-Type": "image/png", "Accept": "image/png"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._attempts = attempts
        tls = _tls(ca_file, client_cert) if address.scheme == "https" else False
        # A proxy of the environment is for other machines; on this one it would only be in the way.
        self._client = httpx.Client(
            timeout=timeout_s,
            verify=tls,
            trust_env=not self.loopback,
            headers=headers,
            follow_redirects=False,
        )

    def check(self, manifest: Manifest, *, public_key_ok: bool = False) -> None:
        """Refuse to send to another machine what anyone could recover.

        Raises:
            TransportError: The manifest says that the weights are public.
        """
        if manifest.public_key and not self.loopback and not public_key_ok:
            raise TransportError(
                f"{self._shown}: expected a private model, got {manifest.name!r}, whose published weights "
                "let anyone recover; train your own pair, or pass --public-key-ok (public_key_ok=True)",
                exit_code=2,
            )

    def exchange(
        self, photo: bytes, *, etag: str, patience_s: float = 0.0, cancelled: threading.Event | None = None
    ) -> bytes:
        """Send a photo and return the answer's bytes.

        Args:
            photo: One PNG. Every attempt sends these bytes.
            etag: The manifest's; a server of another model has another one.
            patience_s: How long a server that says it is busy is asked again without its counting as an attempt.
            cancelled: When set, no further attempt is made.

        Raises:
            TransportError: No attempt got an answer, or the server refused the photo.
            ReplyError: The server runs another model.
        """
        attempt, patient_until = 0, monotonic() + patience_s
        while True:
            attempt += 1
            wait_s = min(0.2 * 2 ** (attempt - 1), 5.0)
            try:
                status, headers, body = self._post(photo)
            except httpx.TransportError as error:
                failure = TransportError(
                    f"{self._shown}: expected an answer, got {_reason(error)} in {attempt} "
                    f"{'attempt' if attempt == 1 else 'attempts'}; check the address and that the server runs"
                )
                if _is_final(error):
                    raise failure from error
            else:
                if status == 200:
                    self._check_answer(headers, etag)
                    return body
                failure = TransportError(
                    f"{self._shown}: expected status 200, got {status} {_text(body)}; {_advice(status)}"
                )
                if status not in _AGAIN:
                    raise failure
                wait_s = _retry_after_s(headers, wait_s)
                if monotonic() + wait_s < patient_until:
                    attempt -= 1
            if attempt >= self._attempts:
                raise failure
            logger.info("attempt %d of %d: %s", attempt, self._attempts, failure)
            if _is_cancelled(wait_s, cancelled):
                raise failure

    def close(self) -> None:
        """Close the connection that is kept for the next photo."""
        self._client.close()

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _post(self, photo: bytes) -> tuple[int, httpx.Headers, bytes]:
        with self._client.stream("POST", self._url, content=photo) as response:
            body = bytearray()
            for part in response.iter_bytes():
                body += part
                if len(body) > _MAX_REPLY_BYTES:
                    raise TransportError(
                        f"{self._shown}: expected at most {_MAX_REPLY_BYTES} bytes, got more; check the address"
                    )
            return response.status_code, response.headers, bytes(body)

    def _check_answer(self, headers: httpx.Headers, etag: str) -> None:
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "image/png":
            raise TransportError(
                f"{self._shown}: expected image/png, got {headers.get('content-type', 'no type')}; check the address"
            )
        # A gateway that compresses marks the tag as weak.
        got = headers.get("etag", "none").removeprefix("W/")
        if got != etag:
            raise ReplyError(
                f"{self._shown}: expected a server of pair {etag}, got {got}; "
                "use the client and server bundles of one training"
            )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    if host.rstrip(".").lower() == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return False


def _tls(ca_file: str | Path | None, client_cert: tuple[str, str] | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        if client_cert is not None:
            context.load_cert_chain(*client_cert)
    except (OSError, ssl.SSLError) as error:
        raise TransportError(
            f"tls: expected readable certificate files, got: {error}; check their paths", exit_code=2
        ) from None
    return context


def _is_cancelled(wait_s: float, cancelled: threading.Event | None) -> bool:
    """Wait, unless it is cancelled before or meanwhile."""
    if cancelled is not None:
        return cancelled.wait(wait_s)
    sleep(wait_s)
    return False


def _is_final(error: httpx.TransportError) -> bool:
    """Whether trying again cannot help."""
    return isinstance(error, httpx.UnsupportedProtocol) or "CERTIFICATE_VERIFY_FAILED" in str(error)


def _reason(error: httpx.TransportError) -> str:
    return f"{type(error).__name__} ({error})" if str(error) else type(error).__name__


def _text(body: bytes) -> str:
    return " ".join(body[:80].decode("ascii", "replace").split()) or "(no body)"


def _advice(status: int) -> str:
    if status in _BUSY:
        return "the server is busy: try again later"
    if status in (401, 403):
        return "check the token or the client certificate"
    return "check the address and the server's log"


def _retry_after_s(headers: httpx.Headers, otherwise_s: float) -> float:
    with contextlib.suppress(ValueError):
        return min(max(float(headers.get("retry-after", "")), 0.0), _MAX_WAIT_S)
    return otherwise_s
