"""A network between client and server that fails as told: real sockets, one request a connection."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Wire:
    """Carries requests to a port, but for those that a fault of `faults` is for, one a connection in turn.

    Attributes:
        port: Where the server is; may change.
        faults: Called with this wire, the client's connection and nothing read yet.
        bodies: Each body that came, as far as it came.
    """

    def __init__(self, port: int):
        self.port = port
        self.faults: list[Callable[[Wire, socket.socket], None]] = []
        self.bodies: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._listening.close()

    def receive(self, client: socket.socket, most: int = 1 << 30) -> bytes:
        """One request, or its first `most` bytes; its body is kept."""
        data = read_message(client, most)
        self.bodies.append(data.partition(b"\r\n\r\n")[2])
        return data

    def ask(self, request: bytes) -> bytes:
        """Have the server answer a request."""
        with socket.create_connection(("127.0.0.1", self.port), 30) as server:
            server.sendall(request)
            return read_message(server)

    def _work(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            client.settimeout(30)
            with client:
                fault = self.faults.pop(0) if self.faults else carry
                try:
                    fault(self, client)
                except OSError:
                    reset(client)  # the server is gone, and so is the connection


def read_message(connection: socket.socket, most: int = 1 << 30) -> bytes:
    """A message with a Content-Length, or its first `most` bytes."""
    data, wanted = b"", most
    while len(data) < wanted:
        part = connection.recv(min(1 << 16, wanted - len(data)))
        if not part:
            break
        data += part
        head, mark, _ = data.partition(b"\r\n\r\n")
        if mark:
            wanted = min(most, len(head) + 4 + int(LENGTH.search(head).group(1)))
    return data


def reset(client: socket.socket) -> None:
    """End a connection as a crash does, without a goodbye."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def carry(wire: Wire, client: socket.socket) -> None:
    """No fault."""
    client.sendall(wire.ask(wire.receive(client)))


def stall(wire: Wire, client: socket.socket) -> None:
    """Take the request, say nothing, until the client gives up."""
    wire.receive(client)
    client.recv(1)


def cut_request(most: int):
    def fault(wire: Wire, client: socket.socket) -> None:
        wire.receive(client, most)
        reset(client)

    return fault


def cut_answer(most: int):
    """The server does its work; the client sees only the first bytes of the answer, or all but the last ones."""

    def fault(wire: Wire, client: socket.socket) -> None:
        client.sendall(wire.ask(wire.receive(client))[:most])

    return fault


def answer(data: bytes):
    """Something else answers in the server's place."""

    def fault(wire: Wire, client: socket.socket) -> None:
        wire.receive(client)
        client.sendall(data)

    return fault


def response(body: bytes, status: str = "200 OK", length: int | None = None, **headers: str) -> bytes:
    fields = {"Content-Type": "image/png", "Content-Length": str(len(body) if length is None else length)}
    fields["Connection"] = "close"  # the wire ends it: a client that kept it would meet that as another fault
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
