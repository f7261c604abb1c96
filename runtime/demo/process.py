"""A server of its own process, for as long as a demonstration needs it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import IO

import httpx

from hidemia.runtime.errors import TransportError

HOST = "127.0.0.1"
START_S = 20.0
STOP_S = 5.0
POLL_S = 0.05


@contextlib.contextmanager
def running(command: Sequence[str], *, start_s: float = START_S) -> Iterator[str]:
    """Run a server until the block ends, as `watched`; yields its address alone."""
    with watched(command, start_s=start_s) as (url, _):
        yield url


@contextlib.contextmanager
def watched(command: Sequence[str], *, start_s: float = START_S) -> Iterator[tuple[str, str]]:
    """Run a server on free ports of this machine until the block ends, however it ends.

    Args:
        command: Program and arguments; `--host`, `--port` and `--health-port` are added.
        start_s: How long it may take until it is ready, in seconds.

    Yields:
        Its address for photos, and the one for health and metrics.

    Raises:
        TransportError: It ended or wasn't ready in time; the message carries the last line that it wrote.
    """
    port, health_port = _free_ports()
    ports = ("--host", HOST, "--port", str(port), "--health-port", str(health_port))
    with tempfile.TemporaryFile() as log:
        # The caller chooses the program; nothing here comes from outside.
        process = subprocess.Popen(  # noqa: S603
            [*command, *ports], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            health = f"http://{HOST}:{health_port}"
            _wait(process, f"{health}/readyz", log, start_s)
            yield f"http://{HOST}:{port}", health
        finally:
            _stop(process)


def _wait(process: subprocess.Popen[bytes], ready: str, log: IO[bytes], start_s: float) -> None:
    """Return when the server says that it is ready."""
    deadline = time.monotonic() + start_s
    # A proxy of the environment would only be in the way on this machine.
    with httpx.Client(trust_env=False, timeout=2.0) as http:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise TransportError(
                    f"server: expected it to start, got exit code {process.returncode} ({_last_line(log)}); "
                    "`hidemia doctor` checks this installation"
                )
            with contextlib.suppress(httpx.TransportError):
                if http.get(ready).status_code == httpx.codes.OK:
                    return
            time.sleep(POLL_S)
    raise TransportError(
        f"server: expected it ready within {start_s:.0f} s, got nothing ({_last_line(log)}); "
        "try again when the machine is less busy"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server: asked first, then forced."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(log: IO[bytes]) -> str:
    """Give the last line that the server wrote."""
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")


def _free_ports() -> tuple[int, int]:
    """Find two ports that nothing uses at this moment."""
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind((HOST, 0))
        return first.getsockname()[1], second.getsockname()[1]
