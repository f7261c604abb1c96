"""The verb `serve`: the photo service on uvicorn, with health and metrics on a port of their own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import uvicorn
from starlette.applications import Starlette

from hidemia.runtime import defaults, logs
from hidemia.runtime.app import PhotoService, Settings
from hidemia.runtime.arguments import Parser, engine_settings, positive, say, usage_error
from hidemia.runtime.audit import AuditLog
from hidemia.runtime.connection import Connection
from hidemia.runtime.errors import HidemiaError, TransportError
from hidemia.runtime.server import Server, default_batching
from hidemia.runtime.transport import is_loopback
from hidemia.runtime.verbs import TOKEN_VARIABLE, read_token

__all__ = ["listen", "serve"]

logger = logging.getLogger(__name__)

_MAX_CONNECTIONS = 1024
_MAX_HEAD_BYTES = 16 << 10
_KEEP_ALIVE_S = 60
_GRACE_S = 30
_BACKLOG = 2048


def serve(arguments: list[str]) -> int:
    """Run `hidemia serve` until SIGINT or SIGTERM, then finish what was accepted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.tls_cert is None) != (options.tls_key is None):
        parser.error("--tls-cert and --tls-key go together")
    if options.client_ca and not options.tls_cert:
        parser.error("--client-ca needs --tls-cert and --tls-key")
    if not options.deadline > 0 or not (options.batch_wait_timeout_ms or 0.0) >= 0:
        parser.error("--deadline must be above 0 s and --batch-wait-timeout-ms not below 0 ms")
    if options.rate_limit is not None and not options.rate_limit > 0:
        parser.error("--rate-limit must be above 0 photos a second")
    token = read_token(options.token_file)
    guarded = options.tls_cert and (token or options.client_ca)
    if not is_loopback(options.host) and not guarded and not options.insecure:
        got = "TLS alone" if options.tls_cert else "no TLS"
        raise usage_error(
            f"--host {options.host}: expected TLS and a token or client certificates beyond this machine, "
            f"got {got}; pass --tls-cert, --tls-key and --token-file, or --insecure"
        )
    engine = engine_settings(options)
    size, wait_ms = default_batching(engine)
    settings = Settings(
        max_batch_size=options.max_batch_size or size,
        batch_wait_timeout_ms=wait_ms if options.batch_wait_timeout_ms is None else options.batch_wait_timeout_ms,
        queue_size=options.queue_size,
        deadline_s=options.deadline,
        max_body_bytes=options.max_body_bytes,
        rate_limit_per_s=options.rate_limit,
        token=token,
    )
    with (
        Server.load(
            options.server,
            precision=options.precision,
            engine=engine,
            trusted_keys=options.require_signature,
            shared_ok=options.shared_ok,
        ) as server,
        contextlib.ExitStack() as sockets,
    ):
        # The first run is the slowest, and an engine that cannot run should say so before it is asked.
        server.analyze(np.zeros((server.image_size_px, server.image_size_px, 3), np.uint8))
        audit = _open_audit(options.audit_log, server.manifest_sha256, sockets)
        service = PhotoService(server, settings, audit=audit)
        photos = sockets.enter_context(listen(options.host, options.port))
        port = photos.getsockname()[1]
        health_port = options.health_port
        if health_port is None:
            health_port = port + 1 if options.port else 0
        health = sockets.enter_context(listen(options.health_host, health_port))
        scheme = "https" if options.tls_cert else "http"
        ready = (
            f"serving {server.manifest.name} on {_address(scheme, options.host, photos)}, "
            f"health and metrics on {_address('http', options.health_host, health)}"
        )
        photos_config, health_config = _photos_config(service, options), _config(service.health, options.deadline)
        logs.configure(options.log_format)
        asyncio.run(_run(service, (photos_config, photos), (health_config, health), ready))
    return 0


def _parser() -> Parser:
    parser = Parser("serve", "Analyse photos over HTTP: POST /v1/photos, one PNG in, one PNG out.")
    parser.add_argument(
        "--server",
        type=Path,
        default=defaults.bundle("server"),
        metavar="DIR",
        help="server bundle (default: the packaged one)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8470, help="port for photos, 0 for a free one (default: 8470)")
    parser.add_argument(
        "--health-host", default="127.0.0.1", help="address for health and metrics (default: 127.0.0.1)"
    )
    parser.add_argument("--health-port", type=int, help="port for health and metrics (default: the next one)")
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate chain of this server")
    parser.add_argument("--tls-key", metavar="FILE", help="its key")
    parser.add_argument("--client-ca", metavar="FILE", help="accept only devices with a certificate of this authority")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"bearer token to ask for (default: ${TOKEN_VARIABLE}, else none)",
    )
    parser.add_argument("--insecure", action="store_true", help="listen beyond this machine without TLS or token")
    parser.add_argument(
        "--max-batch-size",
        type=positive,
        metavar="N",
        help="photos of one run (default: the threads on a CPU, 8 elsewhere)",
    )
    parser.add_argument(
        "--batch-wait-timeout-ms",
        type=float,
        metavar="MS",
        help="wait for a fuller batch (default: 0 on a CPU, 2 elsewhere)",
    )
    parser.add_argument("--queue-size", type=positive, default=64, metavar="N", help="photos that wait (default: 64)")
    parser.add_argument("--deadline", type=float, default=10.0, metavar="SECONDS", help="of one photo (default: 10)")
    parser.add_argument(
        "--max-body-bytes", type=positive, metavar="N", help="of one photo (default: twice what its size can need)"
    )
    parser.add_argument("--rate-limit", type=float, metavar="N", help="photos a second of one address (default: none)")
    parser.add_argument("--audit-log", type=Path, metavar="FILE", help="append a JSON line for every photo received")
    parser.add_argument("--log-format", choices=logs.FORMATS, default="text", help="default: text")
    parser.add_shared()
    parser.add_signature()
    parser.add_engine()
    return parser


class _Uvicorn(uvicorn.Server):
    """A uvicorn server that leaves the signals to `_run`, which has two of them to end in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _run(
    service: PhotoService,
    photos_at: tuple[uvicorn.Config, socket.socket],
    health_at: tuple[uvicorn.Config, socket.socket],
    ready: str,
) -> None:
    photos, health = _Uvicorn(photos_at[0]), _Uvicorn(health_at[0])

    def stop() -> None:
        service.stopping = True
        photos.should_exit = True

    loop = asyncio.get_running_loop()
    for kind in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # not on Windows, where Ctrl-C still raises
            loop.add_signal_handler(kind, stop)
    if service.audit is not None and hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, _reopen, service.audit)
    main = asyncio.create_task(photos.serve([photos_at[1]]))
    side = asyncio.create_task(health.serve([health_at[1]]))
    while not (photos.started and health.started) and not main.done() and not side.done():
        await asyncio.sleep(0.01)
    if photos.started and health.started:
        say(ready)
    await asyncio.wait({main, side}, return_when=asyncio.FIRST_COMPLETED)
    # Health goes last, so that an orchestrator sees "not ready" while accepted photos are finished.
    stop()
    await main
    health.should_exit = True
    await side


def _open_audit(path: Path | None, manifest_sha256: str, files: contextlib.ExitStack) -> AuditLog | None:
    if path is None:
        return None
    try:
        audit = AuditLog(path, manifest_sha256)
    except OSError as error:
        raise HidemiaError(
            f"--audit-log {path}: expected a file that can be appended to, got: {error.strerror or error}; "
            "make its folder, free its disk or fix its permissions"
        ) from None
    files.callback(audit.close)
    return audit


def _reopen(audit: AuditLog) -> None:
    try:
        audit.reopen()
    except OSError as error:
        logger.error("the audit log cannot be reopened, the old file stays in use: %s", error)


def _config(app: Starlette, deadline_s: float, **settings: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        # One parser and one loop, whatever else is installed: their limits differ.
        http=cast("type[asyncio.Protocol]", functools.partial(Connection, patience_s=deadline_s)),
        loop="asyncio",
        ws="none",
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_S,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_S,
        limit_concurrency=_MAX_CONNECTIONS,
        **settings,
    )


def _photos_config(service: PhotoService, options: argparse.Namespace) -> uvicorn.Config:
    config = _config(
        service.photos,
        options.deadline,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
        ssl_ca_certs=options.client_ca,
        ssl_cert_reqs=ssl.CERT_REQUIRED if options.client_ca else ssl.CERT_NONE,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise usage_error(f"--tls-cert: expected readable certificate files, got: {error}") from None
    return config


def listen(host: str, port: int) -> socket.socket:
    """Open a listening TCP socket.

    Args:
        host: An address or name of this machine.
        port: 0 for any free one.

    Raises:
        TransportError: The address is not this machine's, or the port is taken.
    """
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is; else an answer of
    # two writes waits 40 ms for the client's delayed acknowledgement.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # on Windows it would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
        return listening
    except (OSError, OverflowError) as error:
        listening.close()
        raise TransportError(
            f"{host}:{port}: expected a free address of this machine, got: {error}; choose another --host or --port"
        ) from None


def _address(scheme: str, host: str, listening: socket.socket) -> str:
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
