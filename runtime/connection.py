"""One HTTP/1.1 connection whose caller cannot hold it for ever by saying nothing or by reading nothing."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import h11
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Connection"]

logger = logging.getLogger(__name__)

_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class _Flow(FlowControl):
    """uvicorn's flow control, but what a caller sends ahead stays in the kernel until its turn.

    Whoever waits for the caller to leave makes uvicorn read on, and pile up requests without an end.
    """

    is_ahead = False

    def resume_reading(self) -> None:
        if not self.is_ahead:
            super().resume_reading()


class Connection(H11Protocol):
    """uvicorn's connection with two deadlines that it lacks, and without its trouble over hostile callers.

    Without the deadlines as many silent connections as the server takes would shut everybody else out.

    Args:
        patience_s: For the head of a request, from its first byte or from connecting; and for reading an answer.
    """

    def __init__(self, *arguments: Any, patience_s: float, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._patience_s = patience_s
        self._head: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self.flow: _Flow = _Flow(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Begin or end the wait for a head; between requests uvicorn's own keep-alive timeout runs."""
        is_next = self.conn.their_state is h11.DONE
        super().data_received(data)
        if is_next and self.conn.their_state is h11.DONE:
            self.flow.is_ahead = True
            self.flow.pause_reading()
        if self.conn.their_state is h11.IDLE:
            self._await_head()
        elif self._head is not None:
            self._head.cancel()
            self._head = None

    def on_response_complete(self) -> None:
        """Read on."""
        self.flow.is_ahead = False
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Begin to wait for the caller to read."""
        super().pause_writing()
        self._reading = self.loop.call_later(self._patience_s, self._give_up, "read no answer")

    def resume_writing(self) -> None:
        """The caller reads again."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  the answer is always the same
        """Answer what is no HTTP, unless an answer is on its way: a second one could not be told from the first."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_BAD_REQUEST)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        for timer in (self._head, self._reading):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(self._patience_s, self._give_up, "sent no whole head")

    def _give_up(self, why: str) -> None:
        logger.warning("a caller %s in %g s: connection closed", why, self._patience_s)
        self.transport.abort()
